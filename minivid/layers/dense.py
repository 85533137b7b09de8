"""Fully connected layer: weights and cache around `minivid.ops.dense`."""

from minivid import initializers
from minivid.layers.activation import ActivatedLayer
from minivid.layers.base import Shape
from minivid.ops.dense import dense_backward_input, dense_backward_weights, dense_forward

__all__ = ["Dense"]


class Dense(ActivatedLayer):
    """A linear map of the last axis, (dense.1), followed by an activation.

    Parameters
    ----------
    units : int
        U, the number of outputs.
    activation : str, optional
        "relu", "tanh", "sigmoid", "softmax" or None.
    use_bias : bool
        Whether a bias per unit is added.
    kernel_initializer, bias_initializer : str or Initializer
        How the weights start.
    **layer
        ``input_shape`` (..., D), ``name``, ``dtype``, ``trainable``: see `Layer`.

    Notes
    -----
    Input (N, ..., D), output (N, ..., U). Weights: kernel (D, U), bias (U,), as in Keras.

    Examples
    --------
    >>> layer = Dense(10, activation="softmax")
    >>> layer.build((None, 1600))
    >>> layer.count_params()
    16010
    """

    def __init__(
        self,
        units: int,
        activation: str | None = None,
        use_bias: bool = True,
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        bias_initializer: str | initializers.Initializer = "zeros",
        **layer,
    ):
        super().__init__(activation, **layer)
        self.units = self.positive(units, "units")
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"layer {self.name!r}: Dense takes (batch, ..., features) with a known number of features, "
                f"got {input_shape}"
            )
        return (*input_shape[:-1], self.units)

    def create_weights(self, input_shape: Shape) -> None:
        self.add_weight("kernel", (input_shape[-1], self.units), self.kernel_initializer)
        if self.use_bias:
            self.add_weight("bias", (self.units,), self.bias_initializer)

    def forward_logits(self, x):
        self.x = x
        return dense_forward(x, self.params["kernel"], self.params.get("bias"))

    def backward_logits(self, dlogits, need_dx: bool = True):
        dw, db = dense_backward_weights(dlogits, self.x)
        self.add_grad("kernel", dw)
        if self.use_bias:
            self.add_grad("bias", db)
        return dense_backward_input(dlogits, self.params["kernel"]) if need_dx else None

    def get_config(self) -> dict:
        return super().get_config() | {
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }
