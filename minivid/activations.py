"""Activation functions as small objects, for the ``activation=`` argument of layers.

An activation remembers its output, which is all that its backward pass needs (docs/ops/activations.md).
"""

from collections.abc import Callable

import numpy as np

from minivid.ops.activations import (
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    softmax_backward,
    softmax_forward,
    tanh_backward,
    tanh_forward,
)

__all__ = ["Activation", "get"]


class Activation:
    """An activation function with its backward pass and its cache.

    Parameters
    ----------
    name : str
        What layers write into their configuration.
    forward_function : callable
        ``forward_function(x) -> y``.
    backward_function : callable
        ``backward_function(dy, y) -> dx``, from the gradient of the output and the output itself.

    Examples
    --------
    >>> import numpy as np
    >>> square = Activation("square", lambda x: x * x, lambda dy, y: 2 * np.sqrt(y) * dy)
    >>> square.forward(np.array([3.0]))
    array([9.])
    >>> square.backward(np.array([10.0]))
    array([60.])
    """

    def __init__(self, name: str, forward_function: Callable, backward_function: Callable):
        self.name = name
        self.forward_function, self.backward_function = forward_function, backward_function
        self._y = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y, of the shape and dtype of x, and keep it for `backward`."""
        return self.remember(self.forward_function(x))

    def remember(self, y: np.ndarray) -> np.ndarray:
        """Keep an output computed elsewhere, together with what it was applied to, for `backward`; return it."""
        self._y = y
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Return dx, given the gradient dy with respect to the output of the last `forward`.

        Raises
        ------
        ValueError
            If `forward` was not called, or dy does not have the shape of its output.
        """
        if self._y is None:
            raise ValueError(f"activation {self.name!r}: call forward before backward")
        return self.backward_function(dy, self._y)

    def __repr__(self) -> str:
        return f"<Activation {self.name!r}>"


_FUNCTIONS = {
    "linear": (lambda x: x, lambda dy, y: dy),
    "relu": (relu_forward, relu_backward),
    "tanh": (tanh_forward, tanh_backward),
    "sigmoid": (sigmoid_forward, sigmoid_backward),
    "softmax": (softmax_forward, softmax_backward),
}


def get(activation: str | Activation | None) -> Activation:
    """Return a new activation, with a cache of its own.

    Parameters
    ----------
    activation : str, Activation or None
        "relu", "tanh", "sigmoid", "softmax" or "linear"; None means "linear"; an `Activation` is copied, so that
        two layers never share a cache.

    Returns
    -------
    Activation

    Raises
    ------
    ValueError
        If there is no activation of that name.
    TypeError
        If it is neither a name nor an `Activation`.

    Examples
    --------
    >>> from minivid import activations
    >>> activations.get("relu"), activations.get(None)
    (<Activation 'relu'>, <Activation 'linear'>)
    """
    if isinstance(activation, Activation):
        return Activation(activation.name, activation.forward_function, activation.backward_function)
    if callable(activation):
        raise TypeError(
            f"a function alone has no backward pass: got activation {activation!r}; "
            "write Activation('name', forward_function, backward_function), or one of the names "
            + ", ".join(_FUNCTIONS)
        )
    name = "linear" if activation is None else activation
    if not isinstance(name, str) or name not in _FUNCTIONS:
        raise ValueError(f"there is no activation {activation!r}; write one of {', '.join(_FUNCTIONS)}, or None")
    return Activation(name, *_FUNCTIONS[name])
