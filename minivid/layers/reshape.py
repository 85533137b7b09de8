"""Reshape: the same numbers of every sample, in other axes."""

from math import prod

from minivid.layers.base import Layer, Shape

__all__ = ["Reshape"]


class Reshape(Layer):
    """Lay out every sample in another shape, row by row.

    Parameters
    ----------
    target_shape : tuple of int
        Shape of one sample; one size may be -1, which is then worked out from the others.
    **layer
        ``input_shape``, ``name``: see `Layer`.

    Notes
    -----
    Input (N, ...), output ``(N, *target_shape)``. A mask does not survive: the time axis may be another.

    Examples
    --------
    >>> import numpy as np
    >>> Reshape((4, -1))(np.zeros((2, 4, 4, 3))).shape
    (2, 4, 12)
    """

    def __init__(self, target_shape: tuple[int, ...], **layer):
        super().__init__(**layer)
        sizes = tuple(target_shape) if isinstance(target_shape, tuple | list) else (target_shape,)
        if not all(hasattr(n, "__index__") and (n == -1 or n >= 1) for n in sizes) or sizes.count(-1) > 1:
            raise ValueError(
                f"layer {self.name!r}: target_shape takes positive ints, at most one of them -1, got {target_shape!r}"
            )
        self.target_shape = tuple(int(n) for n in sizes)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        known = prod(n for n in self.target_shape if n != -1)
        if None in input_shape[1:]:
            return (None, *(None if n == -1 else n for n in self.target_shape))
        size = prod(input_shape[1:])
        if size % known != 0 or (-1 not in self.target_shape and size != known):
            raise ValueError(
                f"layer {self.name!r}: a sample of shape {input_shape[1:]} has {size} numbers, which do not fit "
                f"target_shape={self.target_shape}"
            )
        return (None, *(size // known if n == -1 else n for n in self.target_shape))

    def forward(self, x, training: bool = False, mask=None):
        self.x_shape = x.shape
        return x.reshape(len(x), *self.compute_output_shape(x.shape)[1:])

    def backward(self, dy, need_dx: bool = True):
        return dy.reshape(self.x_shape)

    def compute_mask(self, x, mask):
        return None

    def get_config(self) -> dict:
        return super().get_config() | {"target_shape": list(self.target_shape)}
