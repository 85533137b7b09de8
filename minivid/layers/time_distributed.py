"""TimeDistributed: one layer, or a stack of layers, for every frame of a clip."""

from typing import TYPE_CHECKING

import numpy as np

from minivid.activations import Activation
from minivid.layers.base import Layer, Shape

if TYPE_CHECKING:
    from minivid.models import Sequential

__all__ = ["TimeDistributed"]


class TimeDistributed(Layer):
    """Apply a layer to every time step alike: frames are folded into the batch axis and back.

    Parameters
    ----------
    layer : Layer or Sequential
        What is applied to each step; its weights are shared by all steps.
    **options
        ``input_shape`` (T, ...), ``name``, ``dtype``, ``trainable``: see `Layer`; by default the last two are those
        of the layer inside.

    Notes
    -----
    Input (N, T, ...), output (N, T, ...). A mask passes through to the layers behind (Keras drops it here); the
    layer inside sees all frames, padded ones too.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.layers import Conv2D
    >>> TimeDistributed(Conv2D(8, 3))(np.zeros((2, 16, 32, 32, 3), dtype=np.float32)).shape
    (2, 16, 30, 30, 8)
    """

    def __init__(self, layer: "Layer | Sequential", **options):
        if isinstance(layer, type) or not hasattr(layer, "compute_output_shape"):
            raise TypeError(f"TimeDistributed wraps a layer object or a Sequential model, got {layer!r}")
        self.layer = layer
        super().__init__(**{"dtype": layer.dtype} | options)

    @property
    def trainable(self) -> bool:
        """Whether an optimizer may change the weights of the layer inside."""
        return self.layer.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.layer.trainable = value

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) < 3:
            raise ValueError(f"layer {self.name!r}: TimeDistributed takes (batch, time, ...), got shape {input_shape}")
        try:
            inner = self.layer.compute_output_shape((None, *input_shape[2:]))
        except ValueError as error:
            if len(input_shape) != 4:
                raise
            raise ValueError(
                f"layer {self.name!r}: TimeDistributed({type(self.layer).__name__}) takes clips (batch, time, height, "
                f"width, channels), got shape {input_shape}; single images have no order in time: read clips with "
                "minivid.video.clips_from_directory"
            ) from error
        return (None, input_shape[1], *inner[1:])

    def build(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)  # raises what does not fit before the layer inside is built
        self.layer.dtype = self.layer.dtype or self.dtype
        self.layer.build((None, *input_shape[2:]))
        super().build(input_shape)
        self.params, self.grads, self.state = self.layer.params, self.layer.grads, self.layer.state

    def forward(self, x, training: bool = False, mask=None):
        self.N, self.T = x.shape[:2]
        return self._unfold(self.layer(self._fold(x), training=training))

    def backward(self, dy, need_dx: bool = True):
        return self._unfold(self.layer.backward(self._fold(dy), need_dx))

    @property
    def trainable_params(self) -> dict:
        """The weights of the layer inside that an optimizer may change."""
        return self.layer.trainable_params

    def arrays(self) -> list:
        return self.layer.arrays()

    def to(self, device: str) -> None:
        self.layer.to(device)
        self.params, self.grads, self.state = self.layer.params, self.layer.grads, self.layer.state

    @property
    def activation(self) -> Activation | None:
        """The activation of the layer inside, if it has one."""
        return getattr(self.layer, "activation", None)

    @property
    def logits(self) -> np.ndarray | None:
        """The logits of the layer inside, (N, T, ...)."""
        return self._unfold(self.layer.logits)

    def backward_logits(self, dlogits: np.ndarray, need_dx: bool = True) -> np.ndarray | None:
        """Run `backward` from the gradient with respect to the logits."""
        return self._unfold(self.layer.backward_logits(self._fold(dlogits), need_dx))

    def _fold(self, x):
        return x.reshape(self.N * self.T, *x.shape[2:])

    def _unfold(self, y):
        return None if y is None else y.reshape(self.N, self.T, *y.shape[1:])

    def get_config(self) -> dict:
        inner = {"class_name": type(self.layer).__name__, "config": self.layer.get_config()}
        return super().get_config() | {"layer": inner}
