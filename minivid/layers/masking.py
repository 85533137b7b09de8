"""Masking: find the padded steps of sequences."""

from minivid.backend import xp_of
from minivid.layers.base import Layer

__all__ = ["Masking"]


class Masking(Layer):
    """Mark the steps of a sequence whose every entry equals a value.

    Parameters
    ----------
    mask_value : float
        The value that pads.
    **layer
        ``input_shape`` (T, ...), ``name``: see `Layer`.

    Notes
    -----
    Input and output (N, T, ...), the padded steps of the output zero. The mask (N, T) travels on, through
    `TimeDistributed` too, to the recurrent layers, which keep their state in a masked step. Works on sequences of
    frames as well as of features.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[[1.0, 2.0], [0.0, 0.0]]])
    >>> Masking().compute_mask(x, None)
    array([[ True, False]])
    """

    def __init__(self, mask_value: float = 0.0, **layer):
        super().__init__(**layer)
        self.mask_value = float(mask_value)

    def compute_output_shape(self, input_shape):
        if len(input_shape) < 3:
            raise ValueError(f"layer {self.name!r}: Masking takes (batch, time, ...), got shape {input_shape}")
        return input_shape

    def forward(self, x, training: bool = False, mask=None):
        real = self.compute_mask(x, mask)
        self.real = real.reshape(*real.shape, *[1] * (x.ndim - 2))
        return xp_of(x).where(self.real, x, x.dtype.type(0))  # not a product: padding may hold NaN

    def backward(self, dy, need_dx: bool = True):
        return xp_of(dy).where(self.real, dy, dy.dtype.type(0))

    def compute_mask(self, x, mask):
        real = (x != self.mask_value).reshape(*x.shape[:2], -1).any(axis=-1)  # (N, T)
        return real if mask is None else real & mask

    def get_config(self) -> dict:
        return super().get_config() | {"mask_value": self.mask_value}
