"""Convolution layer: weights and cache around `minivid.ops.conv2d`."""

from minivid import initializers
from minivid.layers.activation import ActivatedLayer
from minivid.layers.base import Shape
from minivid.layers.window import checked_window, positions
from minivid.ops.activations import relu_forward
from minivid.ops.conv2d import conv2d_backward_input, conv2d_backward_weights, conv2d_forward
from minivid.ops.window import Padding

__all__ = ["Conv2D"]


class Conv2D(ActivatedLayer):
    """Two-dimensional convolution, (conv2d.1), followed by an activation.

    Parameters
    ----------
    filters : int
        F, the number of feature maps.
    kernel_size, strides, dilation_rate : int or (int, int)
        Size and step of the window and distance of its taps, in pixels.
    padding : {"valid", "same"}, int, or ((top, bottom), (left, right))
        Rows and columns of zeros around the image.
    activation : str, optional
        Applied to the output: "relu", "tanh", "sigmoid", "softmax" or None.
    use_bias : bool
        Whether a bias per filter is added.
    kernel_initializer, bias_initializer : str or Initializer
        How the weights start.
    **layer
        ``input_shape`` (H, W, C), ``name``, ``dtype``, ``trainable``: see `Layer`.

    Notes
    -----
    Input (N, H, W, C), output (N, OH, OW, F). Weights: kernel (KH, KW, C, F), bias (F,), as in Keras.

    Examples
    --------
    >>> layer = Conv2D(32, 3, padding="same", activation="relu")
    >>> layer.build((None, 28, 28, 1))
    >>> layer.output_shape, layer.count_params()
    ((None, 28, 28, 32), 320)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: Padding = "valid",
        dilation_rate: int | tuple[int, int] = 1,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        **layer,
    ):
        super().__init__(activation, **layer)
        self.filters = self.positive(filters, "filters")
        self.kernel_size, strides, padding, dilation = checked_window(
            self, "kernel_size", kernel_size, strides, padding, dilation_rate
        )
        self.window = {"strides": strides, "padding": padding, "dilation": dilation}
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.require_rank(input_shape, 4, "(batch, height, width, channels)")
        OH, OW = positions(self, input_shape[1:3], self.kernel_size, **self.window)
        return (None, OH, OW, self.filters)

    def create_weights(self, input_shape: Shape) -> None:
        self.add_weight("kernel", (*self.kernel_size, input_shape[3], self.filters), self.kernel_initializer)
        if self.use_bias:
            self.add_weight("bias", (self.filters,), self.bias_initializer)

    def forward(self, x, training=False, mask=None):
        if self.activation.forward_function is not relu_forward:
            return super().forward(x, training, mask)
        self.x, self.logits = x, None
        y = conv2d_forward(x, self.params["kernel"], self.params.get("bias"), **self.window, relu=True)
        return self.activation.remember(y)

    def forward_logits(self, x):
        self.x = x
        return conv2d_forward(x, self.params["kernel"], self.params.get("bias"), **self.window)

    def backward_logits(self, dlogits, need_dx: bool = True):
        kernel = self.params["kernel"]
        dw, db = conv2d_backward_weights(dlogits, self.x, kernel.shape, **self.window)
        self.add_grad("kernel", dw)
        if self.use_bias:
            self.add_grad("bias", db)
        return conv2d_backward_input(dlogits, kernel, self.x.shape, **self.window) if need_dx else None

    def get_config(self) -> dict:
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.window["strides"]),
            "padding": self.window["padding"],
            "dilation_rate": list(self.window["dilation"]),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }
