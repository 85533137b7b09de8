"""Arrays and batch sequences as one thing: what `fit`, `evaluate` and `predict` loop over."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from minivid import rng
from minivid.backend import xp_of

__all__ = ["ArrayBatches", "Batch", "BatchSequence", "as_batches", "check_arrays", "iterate", "take", "unpack"]


class Batch(NamedTuple):
    """One batch: inputs, targets, weight of each sample, and mask of the steps of its sequences."""

    x: np.ndarray
    y: np.ndarray | None = None
    weight: np.ndarray | None = None
    mask: np.ndarray | None = None


class BatchSequence(Protocol):
    """Anything with a length and, for each index, one batch of what `unpack` takes.

    Examples
    --------
    >>> import numpy as np
    >>> class Noise:
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, index):
    ...         return np.random.default_rng(index).random((8, 5)), np.zeros((8, 1))
    >>> len(list(iterate(Noise())))
    3
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Batch | tuple | np.ndarray: ...


class ArrayBatches:
    """Arrays cut into batches.

    Parameters
    ----------
    data : Batch
        All samples.
    batch_size : int
        Samples per batch; the last batch may be smaller.
    shuffle : bool
        Draw a new order for every pass, from `minivid.rng`.

    Examples
    --------
    >>> import numpy as np
    >>> batches = ArrayBatches(Batch(np.arange(5)), batch_size=2)
    >>> [batch.x.tolist() for batch in batches]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(self, data: Batch, batch_size: int = 32, shuffle: bool = False):
        if not hasattr(batch_size, "__index__") or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(f"batch_size must be a positive int, got {batch_size!r}")
        self.data = data
        self.batch_size = int(batch_size)
        self.shuffle = shuffle

    def __len__(self) -> int:
        return -(-len(self.data.x) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = rng.generator().permutation(len(self.data.x)) if self.shuffle else np.arange(len(self.data.x))
        for start in range(0, len(order), self.batch_size):
            yield take(self.data, order[start : start + self.batch_size])


def take(data: Batch, index: np.ndarray) -> Batch:
    """Return the samples of ``data`` at ``index``.

    Examples
    --------
    >>> take(Batch(np.arange(5)), np.array([0, 4])).x
    array([0, 4])
    """
    return Batch(*(None if array is None else array[xp_of(array).asarray(index)] for array in data))


def check_arrays(
    x: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None, lengths: ArrayLike | None = None
) -> Batch:
    """Return the arguments as arrays of one number of samples, or raise an error that names the odd one.

    Parameters
    ----------
    x : (N, ...) array
    y : (N, ...) array, optional
    sample_weight : (N,) or (N, T) array, optional
    lengths : (N,) array of int, optional
        How many steps of each sequence are real; the rest is padding.

    Raises
    ------
    TypeError
        For arrays of objects or strings.
    ValueError
        For no samples, or numbers of samples that differ.

    Examples
    --------
    >>> check_arrays([[1.0, 2.0]], [1]).y
    array([1])
    """
    x = _numbers(x, "x")
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x holds no samples: its shape is {x.shape}")
    y = None if y is None else _numbers(y, "y")
    weight = None if sample_weight is None else _numbers(sample_weight, "sample_weight")
    mask = None if lengths is None else _mask(_numbers(lengths, "lengths"), x.shape)
    for name, array in (("y", y), ("sample_weight", weight)):
        if array is not None and (array.ndim == 0 or len(array) != len(x)):
            raise ValueError(f"x has {len(x)} samples, but {name} has shape {array.shape}")
    return Batch(x, y, weight, mask)


def _numbers(values, name: str) -> np.ndarray:
    if hasattr(values, "__array__") or not hasattr(values, "__getitem__"):
        array = values if hasattr(values, "dtype") else np.asarray(values)
    else:
        try:
            array = np.asarray(values)
        except ValueError:
            raise ValueError(
                f"{name} is a list of samples of different shapes; pad them to one length and pass lengths=[...]"
            ) from None
    if array.dtype.kind not in "fiub":
        hint = "; turn labels into numbers first" if array.dtype.kind in "US" and name == "y" else ""
        if hasattr(values, "__next__"):
            hint = "; a generator has no length: give arrays, or an object with len() whose items are batches (x, y)"
        raise TypeError(f"{name} must be an array of real numbers, got dtype {array.dtype}{hint}")
    return array


def _mask(lengths: np.ndarray, x_shape: tuple[int, ...]) -> np.ndarray:
    if len(x_shape) < 3 or lengths.shape != x_shape[:1]:
        raise ValueError(f"lengths needs one number per sequence (N, T, ...): got {lengths.shape} for x {x_shape}")
    if lengths.dtype.kind not in "iu" or lengths.min() < 0 or lengths.max() > x_shape[1]:
        raise ValueError(f"lengths must be whole numbers from 0 to {x_shape[1]}, got {lengths}")
    return np.arange(x_shape[1]) < lengths[:, None]  # (N, T)


def is_sequence_of_batches(x) -> bool:
    """Whether ``x`` is an object with batches, such as a ClipSequence, rather than an array or a list."""
    is_array = hasattr(x, "dtype") or hasattr(x, "__array__") or isinstance(x, list | tuple | str | dict | range)
    return hasattr(x, "__getitem__") and hasattr(x, "__len__") and not is_array


def as_batches(
    x: ArrayLike | BatchSequence,
    y: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    lengths: ArrayLike | None = None,
    batch_size: int | None = None,
    shuffle: bool = False,
) -> ArrayBatches | BatchSequence:
    """Return something whose iteration gives batches.

    Parameters
    ----------
    x : array or batch sequence
        A batch sequence has a length and gives for each index what `unpack` takes.
    y, sample_weight, lengths, batch_size, shuffle
        For arrays only; see `check_arrays` and `ArrayBatches`. ``batch_size`` is 32 by default.

    Raises
    ------
    ValueError
        If a batch sequence comes with arguments that belong to arrays, or has no batches.

    Examples
    --------
    >>> import numpy as np
    >>> len(as_batches(np.zeros((100, 3))))
    4
    """
    if not is_sequence_of_batches(x):
        data = check_arrays(x, y, sample_weight, lengths)
        return ArrayBatches(data, 32 if batch_size is None else batch_size, shuffle)
    if batch_size is not None:
        raise ValueError(
            f"batch_size={batch_size} belongs to the generator: {type(x).__name__} already comes in batches; "
            "give it batch_size where it is made and leave it out here"
        )
    for name, value in (("y", y), ("sample_weight", sample_weight), ("lengths", lengths)):
        if value is not None:
            raise ValueError(f"{name} comes with the batches of {type(x).__name__}; leave {name}= out")
    if len(x) == 0:
        raise ValueError(f"{type(x).__name__} has no batches")
    return x


def iterate(batches: ArrayBatches | BatchSequence) -> Iterator[Batch]:
    """Yield each batch of what `as_batches` returned as a `Batch`.

    Examples
    --------
    >>> import numpy as np
    >>> [len(batch.x) for batch in iterate(as_batches(np.zeros((5, 3)), batch_size=4))]
    [4, 1]
    """
    # A class with only __len__ and __getitem__ need not raise IndexError at its end.
    by_index = (batches[index] for index in range(len(batches)))
    yield from map(unpack, batches if hasattr(batches, "__iter__") else by_index)


def unpack(batch: Batch | ArrayLike | tuple) -> Batch:
    """Return what a batch sequence gave as a `Batch`.

    Parameters
    ----------
    batch : Batch, array, (x, y), (x, y, sample_weight) or (x, y, sample_weight, lengths)

    Raises
    ------
    TypeError
        For tuples of another length.

    Examples
    --------
    >>> import numpy as np
    >>> unpack((np.zeros((2, 3)), np.array([0, 1]))).y
    array([0, 1])
    """
    if isinstance(batch, Batch):
        return batch
    if not isinstance(batch, tuple):
        return check_arrays(batch)
    if not 1 <= len(batch) <= 4:
        raise TypeError(f"a batch is x, (x, y) or (x, y, sample_weight[, lengths]); got a tuple of {len(batch)}")
    return check_arrays(*batch)
