"""Max-pooling layer: cache around `minivid.ops.maxpool2d`."""

from minivid.layers.base import Layer, Shape
from minivid.layers.window import checked_window, positions
from minivid.ops.maxpool2d import maxpool2d_backward, maxpool2d_forward
from minivid.ops.window import Padding

__all__ = ["MaxPool2D", "MaxPooling2D"]


class MaxPooling2D(Layer):
    """The largest value under a sliding window, channel by channel, (maxpool2d.1).

    Parameters
    ----------
    pool_size : int or (int, int)
        Size of the window, in pixels.
    strides : int or (int, int), optional
        Step of the window; by default its size.
    padding : {"valid", "same"}, int, or ((top, bottom), (left, right))
        Rows and columns of minus infinity around the image.
    **layer
        ``input_shape`` (H, W, C), ``name``: see `Layer`.

    Notes
    -----
    Input (N, H, W, C), output (N, OH, OW, C). The first maximum of a window, row by row, gets the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> MaxPooling2D(2)(np.arange(16.0).reshape(1, 4, 4, 1))[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = 2,
        strides: int | tuple[int, int] | None = None,
        padding: Padding = "valid",
        **layer,
    ):
        super().__init__(**layer)
        strides = pool_size if strides is None else strides
        self.pool_size, self.strides, self.padding, _ = checked_window(self, "pool_size", pool_size, strides, padding)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.require_rank(input_shape, 4, "(batch, height, width, channels)")
        OH, OW = positions(self, input_shape[1:3], self.pool_size, self.strides, self.padding)
        return (None, OH, OW, input_shape[3])

    def forward(self, x, training: bool = False, mask=None):
        self.x_shape = x.shape
        y, self.offset = maxpool2d_forward(x, self.pool_size, self.strides, self.padding)
        return y

    def backward(self, dy, need_dx: bool = True):
        return maxpool2d_backward(dy, self.offset, self.x_shape, self.pool_size, self.strides, self.padding)

    def get_config(self) -> dict:
        return super().get_config() | {
            "pool_size": list(self.pool_size),
            "strides": list(self.strides),
            "padding": self.padding,
        }


MaxPool2D = MaxPooling2D
