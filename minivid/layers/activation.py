"""Layers whose last step is an activation, and the layer that is nothing but one."""

import numpy as np

from minivid import activations
from minivid.layers.base import Layer

__all__ = ["ActivatedLayer", "Activation"]


class ActivatedLayer(Layer):
    """Base class of layers that compute logits and then an activation of them.

    The two steps are apart so that a loss can start from the logits: the gradient of softmax and cross-entropy
    together is p − t, which never overflows; one after the other they divide by p.

    Parameters
    ----------
    activation : str, optional
        "relu", "tanh", "sigmoid", "softmax" or None.
    **layer
        See `Layer`.

    Attributes
    ----------
    logits : array
        What the last activation was applied to; kept for softmax and sigmoid only.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.layers import Activation
    >>> Activation("relu")(np.array([[-1.0, 2.0]]))
    array([[0., 2.]])
    """

    def __init__(self, activation: str | None = None, **layer):
        super().__init__(**layer)
        self.activation = activations.get(activation)
        self.logits = None

    def forward(self, x, training: bool = False, mask=None):
        logits = self.forward_logits(x)
        self.logits = logits if self.activation.name in ("softmax", "sigmoid") else None
        return self.activation.forward(logits)

    def backward(self, dy, need_dx: bool = True):
        return self.backward_logits(self.activation.backward(dy), need_dx)

    def forward_logits(self, x: np.ndarray) -> np.ndarray:
        """Compute what the activation is applied to."""
        raise NotImplementedError(f"{type(self).__name__} has no forward pass")

    def backward_logits(self, dlogits: np.ndarray, need_dx: bool = True) -> np.ndarray | None:
        """Run `backward` from the gradient with respect to the logits."""
        raise NotImplementedError(f"{type(self).__name__} has no backward pass")

    def get_config(self) -> dict:
        return super().get_config() | {"activation": self.activation.name}


class Activation(ActivatedLayer):
    """An activation as a layer of its own.

    Parameters
    ----------
    activation : {"linear", "relu", "tanh", "sigmoid", "softmax"}
        Its name.
    **layer
        ``input_shape``, ``name``: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> Activation("softmax")(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """

    def __init__(self, activation: str, **layer):
        super().__init__(activation, **layer)

    def forward_logits(self, x):
        return x

    def backward_logits(self, dlogits, need_dx: bool = True):
        return dlogits
