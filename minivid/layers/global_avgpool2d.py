"""Global average pooling layer: cache around `minivid.ops.global_avgpool2d`."""

from minivid.layers.base import Layer, Shape
from minivid.ops.global_avgpool2d import global_avgpool2d_backward, global_avgpool2d_forward

__all__ = ["GlobalAveragePooling2D"]


class GlobalAveragePooling2D(Layer):
    """The mean of each channel over the whole image, (global_avgpool2d.1).

    Parameters
    ----------
    **layer
        ``input_shape`` (H, W, C), ``name``: see `Layer`.

    Notes
    -----
    Input (N, H, W, C), output (N, C). After a stack of convolutions it replaces Flatten and a large Dense: a
    thousand times fewer weights, and images of any size.

    Examples
    --------
    >>> import numpy as np
    >>> GlobalAveragePooling2D()(np.arange(8.0).reshape(1, 2, 2, 2))
    array([[3., 4.]])
    """

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.require_rank(input_shape, 4, "(batch, height, width, channels)")
        return (None, input_shape[3])

    def forward(self, x, training: bool = False, mask=None):
        self.x_shape = x.shape
        return global_avgpool2d_forward(x)

    def backward(self, dy, need_dx: bool = True):
        return global_avgpool2d_backward(dy, self.x_shape)
