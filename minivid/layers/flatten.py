"""Flatten: every sample becomes one row of features."""

from math import prod

from minivid.layers.base import Layer, Shape

__all__ = ["Flatten"]


class Flatten(Layer):
    """Lay out every sample as one row.

    Parameters
    ----------
    **layer
        ``input_shape``, ``name``: see `Layer`.

    Notes
    -----
    Input (N, ...), output (N, D) with D the product of the other axes. Channels last: the features of one pixel
    stay together.

    Examples
    --------
    >>> import numpy as np
    >>> Flatten()(np.zeros((2, 5, 5, 64))).shape
    (2, 1600)
    """

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if None in input_shape[1:]:
            raise ValueError(
                f"layer {self.name!r}: Flatten needs known sizes, got {input_shape}; "
                "for images of any size use GlobalAveragePooling2D, for clips TimeDistributed(Flatten())"
            )
        return (None, prod(input_shape[1:]))

    def forward(self, x, training: bool = False, mask=None):
        self.x_shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy, need_dx: bool = True):
        return dy.reshape(self.x_shape)

    def compute_mask(self, x, mask):
        return None  # the time axis, if there was one, is gone
