"""Bidirectional: two recurrent layers, one of which reads the sequence from its end."""

from minivid.backend import xp_of
from minivid.layers.base import Layer, Shape
from minivid.layers.recurrent import RecurrentLayer

__all__ = ["Bidirectional"]

_MODES = ("concat", "sum", "mul", "ave", None)


class Bidirectional(Layer):
    """Run a recurrent layer forwards and another backwards in time, and merge what they say.

    Parameters
    ----------
    layer : RecurrentLayer
        SimpleRNN, LSTM, GRU or ConvLSTM2D: its arguments, for the direction that it has.
    merge_mode : {"concat", "sum", "mul", "ave", None}
        How the two outputs become one: side by side along the last axis, added, multiplied, averaged; None gives both.
    backward_layer : RecurrentLayer, optional
        The other direction; by default a layer like the first with ``go_backwards`` turned.
    **options
        ``input_shape`` (T, D), ``name``, ``dtype``, ``trainable``: see `Layer`; by default the last two are those of
        the first layer.

    Attributes
    ----------
    forward_layer, backward_layer : RecurrentLayer
        The two directions.

    Notes
    -----
    With ``return_sequences`` the backward output is turned, so that step t of both is about x_t; as in Keras, masked
    steps of it are zero. With ``return_state`` the states of the forward layer come after the output, then those of the
    backward one. Weights in Keras's order: forward layer, backward layer. Schuster & Paliwal, "Bidirectional recurrent
    neural networks", IEEE Transactions on Signal Processing 45(11), 1997.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.layers import LSTM
    >>> Bidirectional(LSTM(8, return_sequences=True))(np.zeros((2, 5, 4))).shape
    (2, 5, 16)
    """

    def __init__(
        self,
        layer: RecurrentLayer,
        merge_mode: str | None = "concat",
        backward_layer: RecurrentLayer | None = None,
        **options,
    ):
        for given in (layer, backward_layer):
            if not isinstance(given, RecurrentLayer) and not (given is backward_layer is None):
                raise TypeError(f"Bidirectional wraps a recurrent layer object, e.g. LSTM(32), got {given!r}")
        self.forward_layer = layer
        self.given_backward_layer = backward_layer
        self.backward_layer = backward_layer or _turned(layer)
        super().__init__(**{"dtype": layer.dtype} | options)
        if merge_mode not in _MODES:
            raise ValueError(f"layer {self.name!r}: merge_mode must be one of {_MODES}, got {merge_mode!r}")
        self.merge_mode = merge_mode
        self._check_directions()

    def _check_directions(self) -> None:
        ahead, back = self.forward_layer, self.backward_layer
        if ahead.go_backwards == back.go_backwards:
            raise ValueError(
                f"layer {self.name!r}: both layers have go_backwards={ahead.go_backwards}; one has to read backwards"
            )
        for option in ("return_sequences", "return_state", "stateful"):
            if getattr(ahead, option) != getattr(back, option):
                raise ValueError(f"layer {self.name!r}: the two layers must have the same {option}")

    @property
    def trainable(self) -> bool:
        """Whether an optimizer may change the weights of the layers inside."""
        return self.forward_layer.trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self.forward_layer.trainable = self.backward_layer.trainable = value

    @property
    def return_sequences(self) -> bool:
        """Whether the layers inside give the hidden states of every step."""
        return self.forward_layer.return_sequences

    # --- shapes and weights -----------------------------------------------------------------------------------

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        ahead, back = (layer.compute_output_shape(input_shape) for layer in (self.forward_layer, self.backward_layer))
        if self.merge_mode is None:
            return ahead, back
        if self.merge_mode == "concat":
            return (*ahead[:-1], ahead[-1] + back[-1])
        if ahead != back:
            raise ValueError(
                f"layer {self.name!r}: merge_mode={self.merge_mode!r} needs outputs of one shape, got {ahead} and "
                f"{back}; use merge_mode='concat'"
            )
        return ahead

    def build(self, input_shape: Shape) -> None:
        input_shape = (None, *self._sizes(input_shape)[1:])
        self.compute_output_shape(input_shape)  # raises what does not fit before the layers inside are built
        for layer in (self.forward_layer, self.backward_layer):
            layer.dtype = layer.dtype or self.dtype
            layer.build(input_shape)
        super().build(input_shape)
        self._share_arrays()

    def _share_arrays(self) -> None:
        directions = {"forward": self.forward_layer, "backward": self.backward_layer}
        for kind in ("params", "grads", "state"):
            arrays = {f"{d}_{name}": a for d, layer in directions.items() for name, a in getattr(layer, kind).items()}
            setattr(self, kind, arrays)

    def to(self, device: str) -> None:
        self.forward_layer.to(device)
        self.backward_layer.to(device)
        self._share_arrays()

    def reset_states(self) -> None:
        """Forget the states that stateful layers carry to the next batch."""
        self.forward_layer.reset_states()
        self.backward_layer.reset_states()

    # --- running ----------------------------------------------------------------------------------------------

    def __call__(self, x, training: bool = False, mask=None, initial_state=None):
        """Build the layer if it is not built, check the input, and run `forward`."""
        return self.forward(self.check_input(x), training=training, mask=mask, initial_state=initial_state)

    def forward(self, x, training: bool = False, mask=None, initial_state: list | None = None):
        """Run both layers over a batch; see `RecurrentLayer.forward`.

        Parameters
        ----------
        x : (N, T, D) array
        training : bool
        mask : (N, T) bool array, optional
            False where a step is padding.
        initial_state : list of array, optional
            States of the forward layer, then those of the backward layer.

        Returns
        -------
        array, or a tuple with ``return_state`` or ``merge_mode=None``
        """
        ahead, back = self.forward_layer, self.backward_layer
        states = self._split(initial_state, ahead, back)
        y, *last = _as_tuple(ahead.forward(x, training, mask, states[0]))
        y_back, *last_back = _as_tuple(back.forward(x, training, mask, states[1]))
        self.real = None
        if self.return_sequences:
            y, y_back = self._in_time(y, ahead), self._in_time(y_back, back)
            if mask is not None:
                self.real = xp_of(x).asarray(mask, dtype=bool).reshape(*mask.shape, *[1] * (y.ndim - 2))
                y, y_back = self._visible(y), self._visible(y_back)
        self.y, self.y_back = y, y_back
        merged = self._merge(y, y_back)
        outputs = (*(merged if self.merge_mode is None else (merged,)), *last, *last_back)
        return outputs if len(outputs) > 1 else merged

    def _split(self, given, ahead, back) -> tuple:
        if given is None:
            return None, None
        n = len(ahead.state_names)
        if len(given) != n + len(back.state_names):
            raise ValueError(
                f"layer {self.name!r}: initial_state takes {n} states of the forward and "
                f"{len(back.state_names)} of the backward layer, got {len(given)}"
            )
        return given[:n], given[n:]

    def _in_time(self, y, layer):
        """Turn what a layer gives in reading order into the order of time, or back."""
        return y[:, ::-1] if layer.go_backwards else y

    def _visible(self, y):
        return y if self.real is None else xp_of(y).where(self.real, y, y.dtype.type(0))

    def _merge(self, y, y_back):
        if self.merge_mode == "concat":
            return xp_of(y).concatenate([y, y_back], axis=-1)
        if self.merge_mode == "mul":
            return y * y_back
        if self.merge_mode is None:
            return y, y_back
        return (y + y_back) / 2 if self.merge_mode == "ave" else y + y_back

    def backward(self, dy, need_dx: bool = True):
        """Backpropagate through both layers; see `Layer.backward`.

        Parameters
        ----------
        dy : array, or tuple of arrays where `forward` gave one
            Gradient with respect to what `forward` returned.
        need_dx : bool

        Returns
        -------
        dx : (N, T, D) array
        """
        ahead, back = self.forward_layer, self.backward_layer
        outputs = list(_as_tuple(dy))
        merged = 2 if self.merge_mode is None else 1
        dlast, n = outputs[merged:], len(ahead.state_names)
        directions = (ahead, back), self._unmerge(*outputs[:merged]), (dlast[:n], dlast[n:])
        dx = []
        for layer, d, states in zip(*directions, strict=True):
            if self.return_sequences:
                d = self._in_time(self._visible(d), layer)
            dx.append(layer.backward((d, *states) if states else d, need_dx))
        return dx[0] + dx[1]

    def _unmerge(self, *dy):
        """Return the gradients of both outputs."""
        if self.merge_mode is None:
            return dy
        d = dy[0]
        if self.merge_mode == "concat":
            width = self.y.shape[-1]
            return d[..., :width], d[..., width:]
        if self.merge_mode == "mul":
            return d * self.y_back, d * self.y
        return (d / 2, d / 2) if self.merge_mode == "ave" else (d, d)

    def compute_mask(self, x, mask):
        return mask if self.return_sequences else None

    def get_config(self) -> dict:
        config = super().get_config() | {"layer": _described(self.forward_layer), "merge_mode": self.merge_mode}
        if self.given_backward_layer is not None:
            config["backward_layer"] = _described(self.given_backward_layer)
        return config


def _turned(layer: RecurrentLayer) -> RecurrentLayer:
    """Return a new layer of the same arguments that reads the other way."""
    config = layer.get_config()
    return type(layer)(**config | {"go_backwards": not layer.go_backwards})


def _described(layer: Layer) -> dict:
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def _as_tuple(outputs) -> tuple:
    return outputs if isinstance(outputs, tuple) else (outputs,)
