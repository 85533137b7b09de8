"""Masking: find the padded steps of sequences."""

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
    Input and output (N, T, ...). The mask (N, T) travels on, through `TimeDistributed` too, to the recurrent
    layers, which keep their state in a masked step. Works on sequences of frames as well as of features.

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
        self.real = self.compute_mask(x, mask)
        return self._only_real(x)

    def backward(self, dy, need_dx: bool = True):
        return self._only_real(dy)

    def _only_real(self, x):
        real = self.real.reshape(*self.real.shape, *[1] * (x.ndim - 2))
        return x * real.astype(x.dtype)

    def compute_mask(self, x, mask):
        real = (x != self.mask_value).reshape(*x.shape[:2], -1).any(axis=-1)  # (N, T)
        return real if mask is None else real & mask

    def get_config(self) -> dict:
        return super().get_config() | {"mask_value": self.mask_value}
