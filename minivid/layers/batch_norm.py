"""Batch normalisation layer: weights, moving averages and cache around `minivid.ops.batch_norm`."""

from minivid import initializers
from minivid.layers.base import Layer, Shape
from minivid.ops.batch_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_inference_backward,
)

__all__ = ["BatchNormalization"]


class BatchNormalization(Layer):
    """Normalise each channel by the mean and variance of the batch, (batch_norm.1).

    Parameters
    ----------
    momentum : float
        Weight of the past in the moving averages.
    epsilon : float
        Added to the variance.
    beta_initializer, gamma_initializer : str or Initializer
        How shift and scale start.
    **layer
        ``input_shape``, ``name``, ``dtype``, ``trainable``: see `Layer`.

    Notes
    -----
    Input and output (N, ..., C); statistics over all axes but the last. Training uses the batch's statistics and
    updates the moving ones; otherwise, or when ``trainable`` is False, the moving ones are used. Weights in Keras's
    order: gamma, beta, moving_mean, moving_variance. Ioffe & Szegedy, ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNormalization(epsilon=0.0)
    >>> layer(np.array([[1.0], [3.0]]), training=True)
    array([[-1.],
           [ 1.]])
    >>> layer.state["moving_mean"]
    array([0.02])
    """

    def __init__(
        self,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        beta_initializer: str | initializers.Initializer = "zeros",
        gamma_initializer: str | initializers.Initializer = "ones",
        **layer,
    ):
        super().__init__(**layer)
        if not 0 <= momentum <= 1:
            raise ValueError(f"layer {self.name!r}: momentum must be in [0, 1], got {momentum!r}")
        if not epsilon >= 0:
            raise ValueError(f"layer {self.name!r}: epsilon must not be negative, got {epsilon!r}")
        self.momentum = float(momentum)
        self.epsilon = float(epsilon)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"layer {self.name!r}: BatchNormalization takes (batch, ..., channels) with a known number of "
                f"channels, got {input_shape}"
            )
        return input_shape

    def create_weights(self, input_shape: Shape) -> None:
        C = input_shape[-1]
        self.add_weight("gamma", (C,), self.gamma_initializer)
        self.add_weight("beta", (C,), self.beta_initializer)
        self.add_state("moving_mean", (C,), "zeros")
        self.add_state("moving_variance", (C,), "ones")

    def forward(self, x, training: bool = False, mask=None):
        self.x, self.by_batch = x, training and self.trainable
        gamma, beta = self.params["gamma"], self.params["beta"]
        if not self.by_batch:
            return batch_norm_inference(x, gamma, beta, *self.state.values(), self.epsilon)
        y, self.mean, self.variance = batch_norm_forward(x, gamma, beta, self.epsilon)
        for moving, batch in zip(self.state.values(), (self.mean, self.variance), strict=True):
            moving *= self.momentum
            moving += (1 - self.momentum) * batch
        return y

    def backward(self, dy, need_dx: bool = True):
        gamma = self.params["gamma"]
        if self.by_batch:
            gradients = batch_norm_backward(dy, self.x, gamma, self.mean, self.variance, self.epsilon)
        else:
            gradients = batch_norm_inference_backward(dy, self.x, gamma, *self.state.values(), self.epsilon)
        dx, dgamma, dbeta = gradients
        self.add_grad("gamma", dgamma)
        self.add_grad("beta", dbeta)
        return dx

    def get_config(self) -> dict:
        return super().get_config() | {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
        }
