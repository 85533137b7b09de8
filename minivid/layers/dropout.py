"""Dropout layer: cache around `minivid.ops.dropout`."""

import numpy as np

from minivid import rng
from minivid.layers.base import Layer
from minivid.ops.dropout import dropout_backward, dropout_forward

__all__ = ["Dropout"]


class Dropout(Layer):
    """Set a random part of the inputs to zero while training, (dropout.1).

    Parameters
    ----------
    rate : float
        Probability of an input to be dropped, in [0, 1). The others grow by 1 / (1 − rate), so that the mean stays.
    seed : int, optional
        For a random stream of its own; by default that of `minivid.set_seed`.
    **layer
        ``input_shape``, ``name``: see `Layer`.

    Notes
    -----
    Srivastava et al., "Dropout", JMLR 15, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dropout(0.5, seed=0)
    >>> layer(np.ones(6), training=True)
    array([2., 2., 2., 0., 0., 0.])
    >>> layer(np.ones(6))
    array([1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, rate: float, seed: int | None = None, **layer):
        super().__init__(**layer)
        if not 0 <= rate < 1:
            raise ValueError(f"layer {self.name!r}: rate must be in [0, 1), got {rate!r}")
        self.rate = float(rate)
        self.seed = seed
        self.generator = None if seed is None else np.random.default_rng(seed)

    def forward(self, x, training: bool = False, mask=None):
        self.keep = None
        if not training or self.rate == 0:
            return x
        y, self.keep = dropout_forward(x, self.rate, self.generator or rng.generator())
        return y

    def backward(self, dy, need_dx: bool = True):
        return dy if self.keep is None else dropout_backward(dy, self.keep, self.rate)

    def get_config(self) -> dict:
        return super().get_config() | {"rate": self.rate, "seed": self.seed}
