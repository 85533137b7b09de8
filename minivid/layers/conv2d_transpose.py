"""Transposed convolution layer: weights and cache around `minivid.ops.conv2d_transpose`."""

from minivid import initializers
from minivid.layers.activation import ActivatedLayer
from minivid.layers.base import Shape
from minivid.ops.conv2d_transpose import (
    conv2d_transpose_backward_input,
    conv2d_transpose_backward_weights,
    conv2d_transpose_forward,
    conv2d_transpose_window,
)
from minivid.ops.window import pair

__all__ = ["Conv2DTranspose"]


class Conv2DTranspose(ActivatedLayer):
    """Transposed convolution, (conv2d_transpose.1), followed by an activation: makes images larger.

    Parameters
    ----------
    filters : int
        F, the number of feature maps.
    kernel_size, strides, dilation_rate : int or (int, int)
        Size of the window, its step in the output from one input pixel to the next, and distance of its taps.
    padding : {"valid", "same"}
        Whether the output keeps all that the windows reach, or strides times the input.
    output_padding : int or (int, int), optional
        Rows and columns more, less than the strides: (conv2d_transpose.5), (conv2d_transpose.7).
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
    Input (N, H, W, C), output (N, OH, OW, F). Weights: kernel (KH, KW, F, C), bias (F,), as in Keras.

    Examples
    --------
    >>> layer = Conv2DTranspose(8, 3, strides=2, padding="same")
    >>> layer.build((None, 7, 7, 16))
    >>> layer.output_shape, layer.count_params()
    ((None, 14, 14, 8), 1160)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "valid",
        output_padding: int | tuple[int, int] | None = None,
        dilation_rate: int | tuple[int, int] = 1,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        **layer,
    ):
        super().__init__(activation, **layer)
        self.filters = self.positive(filters, "filters")
        with self.named_errors():
            self.kernel_size = pair(kernel_size, "kernel_size")
            self.window = {
                "strides": pair(strides, "strides"),
                "padding": padding,
                "dilation": pair(dilation_rate, "dilation_rate"),
                "output_padding": output_padding,
            }
            conv2d_transpose_window((2, 2), self.kernel_size, **self.window)  # checks the rest
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        self.require_rank(input_shape, 4, "(batch, height, width, channels)")
        known = tuple(size or 2 for size in input_shape[1:3])
        with self.named_errors():
            output, _ = conv2d_transpose_window(known, self.kernel_size, **self.window)
        OH, OW = (given and size for given, size in zip(input_shape[1:3], output, strict=True))
        return (None, OH, OW, self.filters)

    def create_weights(self, input_shape: Shape) -> None:
        self.add_weight("kernel", (*self.kernel_size, self.filters, input_shape[3]), self.kernel_initializer)
        if self.use_bias:
            self.add_weight("bias", (self.filters,), self.bias_initializer)

    def forward_logits(self, x):
        self.x = x
        return conv2d_transpose_forward(x, self.params["kernel"], self.params.get("bias"), **self.window)

    def backward_logits(self, dlogits, need_dx: bool = True):
        kernel = self.params["kernel"]
        dw, db = conv2d_transpose_backward_weights(dlogits, self.x, kernel.shape, **self.window)
        self.add_grad("kernel", dw)
        if self.use_bias:
            self.add_grad("bias", db)
        return conv2d_transpose_backward_input(dlogits, kernel, self.x.shape, **self.window) if need_dx else None

    def get_config(self) -> dict:
        more = self.window["output_padding"]
        return super().get_config() | {
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.window["strides"]),
            "padding": self.window["padding"],
            "output_padding": list(more) if isinstance(more, tuple) else more,
            "dilation_rate": list(self.window["dilation"]),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }
