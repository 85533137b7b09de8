"""RepeatVector: one row of features becomes a sequence that says the same at every step."""

from minivid.backend import xp_of
from minivid.layers.base import Layer, Shape

__all__ = ["RepeatVector"]


class RepeatVector(Layer):
    """Repeat a row of features over time: what a decoder reads at every step.

    Parameters
    ----------
    n : int
        Number of time steps.
    **layer
        ``input_shape`` (D,), ``name``: see `Layer`.

    Notes
    -----
    Input (N, D), output (N, n, D). The gradient of the input is the sum over the steps.

    Examples
    --------
    >>> import numpy as np
    >>> RepeatVector(3)(np.array([[1.0, 2.0]]))
    array([[[1., 2.],
            [1., 2.],
            [1., 2.]]])
    """

    def __init__(self, n: int, **layer):
        super().__init__(**layer)
        self.n = self.positive(n, "n")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 2:
            raise ValueError(f"layer {self.name!r}: RepeatVector takes (batch, features), got shape {input_shape}")
        return (None, self.n, input_shape[1])

    def forward(self, x, training: bool = False, mask=None):
        return xp_of(x).repeat(x[:, None], self.n, axis=1)

    def backward(self, dy, need_dx: bool = True):
        return dy.sum(axis=1)

    def compute_mask(self, x, mask):
        return None

    def get_config(self) -> dict:
        return super().get_config() | {"n": self.n}
