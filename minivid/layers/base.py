"""What every layer is: a shape, some weights and a cache around operations of `minivid.ops`."""

import re

import numpy as np

from minivid import initializers

__all__ = ["Layer"]

Shape = tuple[int | None, ...]


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", name).lower()


def positive(value: int, name: str) -> int:
    """Return ``value`` as an int of at least 1."""
    if not hasattr(value, "__index__") or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a positive int, got {value!r}")
    return int(value)


def require_rank(layer: "Layer", shape: Shape, rank: int, axes: str) -> None:
    """Raise ValueError unless ``shape`` has ``rank`` axes, the last of a known size."""
    if len(shape) == rank and shape[-1] is not None:
        return
    hint = ""
    if rank == 4 and len(shape) == 5:
        hint = f"; clips have a time axis: wrap the layer, TimeDistributed({type(layer).__name__}(...))"
    if rank == 4 and len(shape) == 3:
        hint = "; grey images need a channel axis, x[..., None]"
    raise ValueError(f"layer {layer.name!r}: {type(layer).__name__} takes {axes}, got shape {shape}{hint}")


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

    def __init__(
        self,
        *,
        input_shape: Shape | None = None,
        name: str | None = None,
        dtype: str | np.dtype | None = None,
        trainable: bool = True,
    ):
        self.given_input_shape = None if input_shape is None else (None, *input_shape)
        self.given_name = name
        self.name = name or _snake_case(type(self).__name__)
        self.dtype = None if dtype is None else np.dtype(dtype)
        if self.dtype not in (None, np.float32, np.float64):
            raise ValueError(f"layer {self.name!r}: dtype must be float32 or float64, got {dtype!r}")
        self.trainable = trainable
        self.params: dict[str, np.ndarray] = {}
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
            With the batch axis; None for an axis of any size.

        Raises
        ------
        ValueError
            If the layer cannot take inputs of this shape.
        """
        shape = tuple(None if size is None else int(size) for size in input_shape)
        if any(size is not None and size < 0 for size in shape):
            raise ValueError(f"layer {self.name!r}: input shape {shape} has a negative size")
        shape = (None, *shape[1:])
        self.output_shape = self.compute_output_shape(shape)
        self.input_shape = shape
        self.dtype = self.dtype or np.dtype(np.float32)
        self.params, self.grads, self.state = {}, {}, {}
        self.create_weights(shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output, or raise ValueError if ``input_shape`` does not fit."""
        return input_shape

    def create_weights(self, input_shape: Shape) -> None:
        """Add the weights for this input shape to ``params`` and ``state``."""

    def add_weight(self, name: str, shape: tuple[int, ...], initializer) -> None:
        """Add a trainable weight and its gradient."""
        self.params[name] = initializers.get(initializer)(shape, self.dtype)
        self.grads[name] = np.zeros(shape, self.dtype)

    # --- running ------------------------------------------------------------------------------------------

    def __call__(self, x, training: bool = False, mask=None):
        """Build the layer if it is not built, check the input, and run `forward`."""
        x = self.check_input(x)
        return self.forward(x, training=training, mask=mask)

    def check_input(self, x):
        """Return ``x`` as an array that this layer, built on the way if need be, can take."""
        x = np.asarray(x) if isinstance(x, list | tuple) else x
        if x.dtype.kind not in "fiub" or x.dtype.itemsize > 8:
            raise TypeError(
                f"layer {self.name!r} takes an array of numbers, got dtype {x.dtype}"
                + ("; are the samples of different lengths?" if x.dtype == object else "")
            )
        if not self.built:
            if self.dtype is None and x.dtype in (np.float32, np.float64):
                self.dtype = x.dtype
            self.build(x.shape)
        expected = self.input_shape
        fits = len(x.shape) == len(expected) and all(
            e is None or e == size for e, size in zip(expected, x.shape, strict=True)
        )
        if not fits:
            self.compute_output_shape((None, *x.shape[1:]))  # raises the layer's own message if it has one
            raise ValueError(f"layer {self.name!r} was built for inputs of shape {expected}, got {x.shape}")
        return x

    def forward(self, x, training: bool = False, mask=None):
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

    def backward(self, dy, need_dx: bool = True):
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

    def compute_mask(self, x, mask):
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
            gradient[...] = 0

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of all weights, then of the untrained state, in Keras's order."""
        return [array.copy() for array in self._arrays()]

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
        arrays = self._arrays()
        shapes, expected = [np.shape(w) for w in weights], [a.shape for a in arrays]
        if shapes != expected:
            raise ValueError(f"layer {self.name!r} has weights of shapes {expected}, got {shapes}")
        for array, value in zip(arrays, weights, strict=True):
            array[...] = value

    def count_params(self) -> int:
        """Return the number of weights, untrained state included."""
        return sum(array.size for array in self._arrays())

    def _arrays(self) -> list[np.ndarray]:
        if not self.built:
            raise ValueError(
                f"layer {self.name!r} has no weights yet: give it an input_shape, call build(), or call it on data"
            )
        return [*self.params.values(), *self.state.values()]

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
