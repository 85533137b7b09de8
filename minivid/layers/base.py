"""What every layer is: a shape, some weights and a cache around operations of `minivid.ops`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod

import numpy as np

from minivid import initializers
from minivid.backend import device_of, to_device
from minivid.passes import add_into, clear

__all__ = ["Layer"]

Shape = tuple[int | None, ...]

_room: ContextVar[int | None] = ContextVar("minivid_room_for_weights", default=None)


@contextmanager
def weights_left_empty(room: int) -> Iterator[None]:
    """Make new weights of zeros, for a file to fill; refuse any that has more than ``room`` entries."""
    token = _room.set(room)
    try:
        yield
    finally:
        _room.reset(token)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", name).lower()


def _is_int(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _fits(shape: Shape, expected: Shape) -> bool:
    """Whether two shapes agree beside the batch axis; None agrees with any size."""
    return len(shape) == len(expected) and all(
        None in (size, e) or size == e for size, e in zip(shape[1:], expected[1:], strict=True)
    )


class _Weights(dict):
    """Weights by name; asking a layer for one that it has not got yet says how it gets them."""

    def __init__(self, layer: "Layer"):
        super().__init__()
        self.layer = layer

    def __missing__(self, name: str):
        if self.layer.built:
            raise KeyError(f"layer {self.layer.name!r} has no weight {name!r}, only {', '.join(self) or 'none at all'}")
        raise ValueError(
            f"layer {self.layer.name!r} has no weights yet: call it, layer(x), or layer.build(shape), before forward"
        )


class Layer:
    """Base class of all layers.

    A layer is built for an input shape, runs forward and backward, and holds its weights in ``params`` and what
    the backward pass found in ``grads``. Subclasses write `create_weights`, `compute_output_shape`, `forward`,
    `backward` and `get_config`.

    Parameters
    ----------
    input_shape : tuple of int or None, optional
        Shape of one sample, without the batch axis; None for an axis of any size. Only the first layer of a
        model needs it.
    name : str, optional
        By default the class name in snake case: ``conv2d``, ``simple_rnn``.
    dtype : {"float32", "float64"}, optional
        Of the weights. By default that of the first input, or float32.
    trainable : bool
        Whether an optimizer may change the weights.

    Attributes
    ----------
    params, grads : dict of str to array
        Weights, and the gradients of the loss with respect to them. `backward` adds to ``grads``.
    state : dict of str to array
        Arrays that are saved with the layer but not trained, e.g. moving averages.
    input_shape, output_shape : tuple
        With the batch axis first; None for an axis of any size. Set by `build`.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.layers import Dense
    >>> layer = Dense(3)
    >>> layer(np.ones((2, 4), dtype=np.float32)).shape
    (2, 3)
    >>> sorted(layer.params), layer.output_shape
    (['bias', 'kernel'], (None, 3))
    """

    trainable = True

    def __init__(
        self,
        *,
        input_shape: Shape | None = None,
        name: str | None = None,
        dtype: str | np.dtype | None = None,
        trainable: bool = True,
        **unknown,
    ):
        if unknown:
            raise TypeError(f"{type(self).__name__} has no argument {', '.join(map(repr, unknown))}")
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            raise ValueError(f"the name of a layer must be a non-empty string without '/', got {name!r}")
        self.given_name = name
        self.name = name or _snake_case(type(self).__name__)
        self.given_input_shape = None if input_shape is None else (None, *self._sizes(input_shape))
        self.dtype = None if dtype is None else np.dtype(dtype)
        if self.dtype not in (None, np.float32, np.float64):
            raise ValueError(f"layer {self.name!r}: dtype must be float32 or float64, got {dtype!r}")
        if not trainable:
            self.trainable = False
        self.params: dict[str, np.ndarray] = _Weights(self)
        self.grads: dict[str, np.ndarray] = {}
        self.state: dict[str, np.ndarray] = {}
        self.input_shape: Shape | None = None
        self.output_shape: Shape | None = None

    # --- building -----------------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the layer has its weights."""
        return self.output_shape is not None

    def build(self, input_shape: Shape) -> None:
        """Make the weights for inputs of a shape.

        Parameters
        ----------
        input_shape : tuple of int or None
            With the batch axis; None for an axis of any size. A layer that has its weights already keeps them.

        Raises
        ------
        ValueError
            If the layer cannot take inputs of this shape.
        """
        shape = (None, *self._sizes(input_shape)[1:])
        if self.given_input_shape is not None and not _fits(shape, self.given_input_shape):
            raise ValueError(
                f"layer {self.name!r} was made with input_shape={self.given_input_shape[1:]}, but its input is {shape}"
            )
        output_shape = self.compute_output_shape(shape)
        if not self.built:
            self.dtype = self.dtype or np.dtype(np.float32)
            self.create_weights(shape)
        elif self.params and shape[-1] != self.input_shape[-1]:
            raise ValueError(
                f"layer {self.name!r} has weights for inputs of shape {self.input_shape}; they do not fit {shape}: "
                "make a new layer"
            )
        self.input_shape, self.output_shape = shape, output_shape

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output, or raise ValueError if ``input_shape`` does not fit."""
        return input_shape

    def create_weights(self, input_shape: Shape) -> None:
        """Add the weights for this input shape to ``params`` and ``state``."""

    def add_weight(self, name: str, shape: tuple[int, ...], initializer: initializers.Initializer) -> None:
        """Add a trainable weight and its gradient."""
        self.params[name] = self._new_array(name, shape, initializer)
        self.grads[name] = np.zeros(shape, self.dtype)

    def add_state(self, name: str, shape: tuple[int, ...], initializer: initializers.Initializer) -> None:
        """Add an array that is saved but not trained."""
        self.state[name] = self._new_array(name, shape, initializer)

    def _new_array(self, name: str, shape: tuple[int, ...], initializer) -> np.ndarray:
        room = _room.get()
        if room is None:
            return initializers.get(initializer)(shape, self.dtype)
        if prod(shape) > room:
            raise ValueError(f"layer {self.name!r} asks for a {name} of shape {shape}, more than the file holds")
        return np.zeros(shape, self.dtype)

    # --- checks of the constructor's arguments and of shapes ------------------------------------------------

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Put the layer's name in front of the message of a ValueError."""
        try:
            yield
        except ValueError as error:
            raise ValueError(f"layer {self.name!r}: {error}") from None

    def positive(self, value: int, name: str) -> int:
        """Return an argument as an int of at least 1."""
        if not _is_int(value) or value < 1:
            raise ValueError(f"layer {self.name!r}: {name} must be a positive int, got {value!r}")
        return int(value)

    def _sizes(self, shape: Shape) -> Shape:
        if not isinstance(shape, tuple | list):
            raise TypeError(
                f"layer {self.name!r}: a shape is a tuple of sizes, e.g. (28, 28, 1) or (28,), got {shape!r}"
            )
        if not all(size is None or (_is_int(size) and size >= 1) for size in shape):
            raise ValueError(f"layer {self.name!r}: sizes must be positive ints, or None for any, got {tuple(shape)}")
        return tuple(None if size is None else int(size) for size in shape)

    def require_rank(self, shape: Shape, rank: int, axes: str) -> None:
        """Raise ValueError unless ``shape`` has ``rank`` axes, the last of a known size."""
        if len(shape) == rank and shape[-1] is not None:
            return
        kind, hint = type(self).__name__, ""
        if rank == 4 and len(shape) == 5:
            hint = f"; clips have a time axis: wrap the layer, TimeDistributed({kind}(...))"
        if rank == 4 and len(shape) == 3:
            hint = "; grey images need a channel axis, x[..., None]"
        raise ValueError(f"layer {self.name!r}: {kind} takes {axes}, got shape {shape}{hint}")

    # --- running ------------------------------------------------------------------------------------------

    def __call__(self, x, training: bool = False, mask=None):
        """Build the layer if it is not built, check the input, and run `forward`."""
        x = self.check_input(x)
        return self.forward(x, training=training, mask=mask)

    def check_input(self, x: np.ndarray) -> np.ndarray:
        """Return ``x`` as an array that this layer, built on the way if need be, can take.

        A layer with weights computes in their dtype; one without keeps float32 and float64 as they are.
        """
        x = as_batch(x, f"layer {self.name!r}")
        if self.built:
            self._check_shape(x.shape)
        else:
            self.dtype = self.dtype or adopted_dtype(x)
            self.build(x.shape)
        keep = x.dtype in (np.float32, np.float64) and not self.params
        return x if keep else x.astype(self.dtype, copy=False)

    def _check_shape(self, shape: Shape) -> None:
        """Other sizes than at `build` are fine, unless they were declared or the weights depend on them."""
        if shape[1:] == self.input_shape[1:]:
            return
        if len(shape) == len(self.input_shape) - 1 and _fits((1, *shape), self.input_shape):
            raise ValueError(
                f"layer {self.name!r} takes a batch {self.input_shape}, got one sample {shape}: "
                "add the batch axis, x[None]"
            )
        self.compute_output_shape((None, *shape[1:]))  # raises the layer's own message if it has one
        if len(shape) != len(self.input_shape) or (self.params and shape[-1] != self.input_shape[-1]):
            raise ValueError(f"layer {self.name!r} was built for inputs of shape {self.input_shape}, got {shape}")
        if self.given_input_shape is not None and not _fits(shape, self.given_input_shape):
            raise ValueError(
                f"layer {self.name!r} was made with input_shape={self.given_input_shape[1:]}, got inputs of shape "
                f"{shape}; write None for an axis of any size"
            )

    def forward(self, x: np.ndarray, training: bool = False, mask: np.ndarray | None = None) -> np.ndarray:
        """Compute the output and keep what `backward` needs.

        Parameters
        ----------
        x : array
            A batch.
        training : bool
            Whether the batch is for training; changes dropout and batch normalisation.
        mask : (N, T) bool array, optional
            False where a step of a sequence is padding.

        Returns
        -------
        array
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward pass")

    def backward(self, dy: np.ndarray, need_dx: bool = True) -> np.ndarray | None:
        """Add the gradients of the weights to ``grads`` and return the gradient of the input.

        Parameters
        ----------
        dy : array
            Gradient of the loss with respect to the output of the last `forward`.
        need_dx : bool
            False allows the layer to skip the gradient of its input and return None.

        Returns
        -------
        dx : array or None
        """
        raise NotImplementedError(f"{type(self).__name__} has no backward pass")

    def compute_mask(self, x: np.ndarray, mask: np.ndarray | None) -> np.ndarray | None:
        """Return the mask of the output, given the input and its mask."""
        return mask

    # --- weights ------------------------------------------------------------------------------------------

    @property
    def trainable_params(self) -> dict[str, np.ndarray]:
        """The weights that an optimizer may change."""
        return self.params if self.trainable else {}

    def zero_grads(self) -> None:
        """Set all gradients to zero."""
        for gradient in self.grads.values():
            clear(gradient)

    def add_grad(self, name: str, gradient: np.ndarray) -> None:
        """Add to the gradient of a weight: one that is used twice gets the sum."""
        add_into(self.grads[name], gradient)

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of all weights, then of the untrained state, in Keras's order, as NumPy arrays."""
        return copies(self.arrays())

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Copy arrays into the weights.

        Parameters
        ----------
        weights : list of array
            As `get_weights` gives them.

        Raises
        ------
        ValueError
            If the number or a shape differs; nothing is changed then.
        """
        copy_into(self.arrays(), weights, f"layer {self.name!r}")

    def count_params(self) -> int:
        """Return the number of weights, untrained state included."""
        return sum(array.size for array in self.arrays())

    def arrays(self) -> list[np.ndarray]:
        """Return the weights themselves, then the untrained state, in Keras's order."""
        if not self.built:
            raise ValueError(
                f"layer {self.name!r} has no weights yet: give it an input_shape, call build(), or call it on data"
            )
        return [*self.params.values(), *self.state.values()]

    def to(self, device: str) -> None:
        """Move weights, gradients and untrained state to ``"cpu"`` or ``"gpu"``."""
        for arrays in (self.params, self.grads, self.state):
            for name, array in arrays.items():
                arrays[name] = to_device(array, device)

    # --- configuration ------------------------------------------------------------------------------------

    def get_config(self) -> dict:
        """Return the constructor's arguments; ``type(layer)(**config)`` makes an equal layer."""
        config = {"name": self.given_name, "trainable": self.trainable}
        if self.given_input_shape is not None:
            config["input_shape"] = list(self.given_input_shape[1:])
        if self.dtype is not None:
            config["dtype"] = self.dtype.name
        return config

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {self.input_shape} -> {self.output_shape}>"


def as_batch(x, taker: str):
    """Return ``x`` as an array; raise if it is no batch of numbers."""
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if isinstance(x, Layer):
        raise TypeError(f"{taker} takes an array, got the layer {x.name!r}; layers are joined by Sequential([...])")
    if x.dtype.kind not in "fiub" or x.dtype.itemsize > 8:
        raise TypeError(
            f"{taker} takes an array of numbers, got dtype {x.dtype}"
            + ("; are the samples of different lengths?" if x.dtype == object else "")
        )
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"{taker}: the batch holds no samples, its shape is {x.shape}")
    return x


def adopted_dtype(x) -> np.dtype:
    """Return the dtype that an unbuilt layer takes over from its first input."""
    return x.dtype if x.dtype in (np.float32, np.float64) else np.dtype(np.float32)


def copies(arrays: list) -> list[np.ndarray]:
    """Return copies of arrays in the memory of the CPU."""
    return [to_device(array.copy(), "cpu") for array in arrays]


def copy_into(arrays: list[np.ndarray], values: list, owner: str) -> None:
    """Copy values into arrays; check all of them first."""
    values = [value if hasattr(value, "dtype") else np.asarray(value) for value in values]
    shapes, expected = [value.shape for value in values], [array.shape for array in arrays]
    if shapes != expected:
        raise ValueError(f"{owner} has weights of shapes {expected}, got {shapes}")
    if not all(value.dtype.kind in "fiub" for value in values):
        raise ValueError(f"{owner} takes weights of real numbers, got {sorted({str(v.dtype) for v in values})}")
    for array, value in zip(arrays, values, strict=True):
        array[...] = to_device(value, device_of(array))
