"""Input: says what a model takes."""

from minivid.layers.base import Layer, Shape

__all__ = ["Input"]


class Input(Layer):
    """The shape of one sample, as the first entry of a model.

    Parameters
    ----------
    shape : tuple of int or None
        Without the batch axis; None for an axis of any size, e.g. the time axis of clips of any length.
    **layer
        ``name``, ``dtype``: see `Layer`.

    Examples
    --------
    >>> from minivid.layers import Dense
    >>> from minivid.models import Sequential
    >>> Sequential([Input((28, 28, 1))]).output_shape
    (None, 28, 28, 1)
    """

    def __init__(self, shape: Shape, **layer):
        super().__init__(input_shape=shape, **layer)

    def forward(self, x, training: bool = False, mask=None):
        return x

    def backward(self, dy, need_dx: bool = True):
        return dy

    def get_config(self) -> dict:
        config = super().get_config()
        return {"shape": config.pop("input_shape")} | config
