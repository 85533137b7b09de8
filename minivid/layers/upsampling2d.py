"""Upsampling layer around `minivid.ops.upsampling2d`."""

from minivid.layers.base import Layer, Shape
from minivid.ops.upsampling2d import upsampling2d_backward, upsampling2d_forward
from minivid.ops.window import pair

__all__ = ["UpSampling2D"]


class UpSampling2D(Layer):
    """Repeat the rows and columns of images, (upsampling2d.1).

    Parameters
    ----------
    size : int or (int, int)
        Rows and columns that a pixel becomes.
    interpolation : {"nearest"}
        Only the nearest pixel is copied; Keras's other kinds are not there.
    **layer
        ``input_shape`` (H, W, C), ``name``: see `Layer`.

    Notes
    -----
    Input (N, H, W, C), output (N, H·SH, W·SW, C).

    Examples
    --------
    >>> import numpy as np
    >>> UpSampling2D((1, 2))(np.arange(4.0).reshape(1, 2, 2, 1))[0, :, :, 0]
    array([[0., 0., 1., 1.],
           [2., 2., 3., 3.]])
    """

    def __init__(self, size: int | tuple[int, int] = 2, interpolation: str = "nearest", **layer):
        super().__init__(**layer)
        with self.named_errors():
            self.size = pair(size, "size")
        if interpolation != "nearest":
            raise ValueError(f"layer {self.name!r}: interpolation must be 'nearest', got {interpolation!r}")
        self.interpolation = interpolation

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.require_rank(input_shape, 4, "(batch, height, width, channels)")
        OH, OW = (None if n is None else n * times for n, times in zip(input_shape[1:3], self.size, strict=True))
        return (None, OH, OW, input_shape[3])

    def forward(self, x, training: bool = False, mask=None):
        self.x_shape = x.shape
        return upsampling2d_forward(x, self.size)

    def backward(self, dy, need_dx: bool = True):
        return upsampling2d_backward(dy, self.x_shape, self.size)

    def get_config(self) -> dict:
        return super().get_config() | {"size": list(self.size), "interpolation": self.interpolation}
