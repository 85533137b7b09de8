"""Convolutional LSTM layer: weights and cache around `minivid.ops.conv_lstm2d`."""

import numpy as np

from minivid.initializers import Initializer
from minivid.layers.base import Shape
from minivid.layers.recurrent import RecurrentLayer
from minivid.layers.window import checked_window, positions
from minivid.ops.conv_lstm2d import conv_lstm2d_backward, conv_lstm2d_forward
from minivid.ops.window import Padding

__all__ = ["ConvLSTM2D"]


class ConvLSTM2D(RecurrentLayer):
    """An LSTM whose states are images, (conv_lstm2d.1) to (conv_lstm2d.7).

    Parameters
    ----------
    filters : int
        F, the number of channels of the hidden and of the cell state.
    kernel_size, strides, dilation_rate : int or (int, int)
        Size and step of the window over the input and distance of its taps, in pixels. The window over the state has
        the same size and moves by one pixel.
    padding : {"valid", "same"}, int, or ((top, bottom), (left, right))
        Rows and columns of zeros around the input's frames.
    return_sequences, return_state, go_backwards, stateful, use_bias : bool
        See `RecurrentLayer`; the states are h and c.
    unit_forget_bias : bool
        Start the forget gate's bias at one, so that a new layer remembers (Jozefowicz et al. 2015).
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        How the weights start.
    **layer
        ``input_shape`` (T, H, W, C), ``name``, ``dtype``, ``trainable``: see `Layer`.

    Notes
    -----
    Input (N, T, H, W, C), output (N, OH, OW, F) or (N, T, OH, OW, F). Weights as in Keras: kernel (KH, KW, C, 4F),
    recurrent_kernel (KH, KW, F, 4F), bias (4F,), the slots in the order i, f, C~, o. Shi et al., "Convolutional LSTM
    network", NeurIPS 2015, without peepholes.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvLSTM2D(8, 3, padding="same", return_sequences=True)
    >>> layer(np.zeros((2, 5, 16, 16, 3), dtype=np.float32)).shape
    (2, 5, 16, 16, 8)
    """

    gates = 4
    state_names = ("h", "c")

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: Padding = "valid",
        dilation_rate: int | tuple[int, int] = 1,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        use_bias: bool = True,
        unit_forget_bias: bool = True,
        kernel_initializer: str | Initializer = "glorot_uniform",
        recurrent_initializer: str | Initializer = "orthogonal",
        bias_initializer: str | Initializer = "zeros",
        **layer,
    ):
        super().__init__(
            1,  # units: none but the channels
            return_sequences,
            return_state,
            go_backwards,
            stateful,
            use_bias,
            kernel_initializer,
            recurrent_initializer,
            bias_initializer,
            **layer,
        )
        self.filters = self.units = self.positive(filters, "filters")
        self.kernel_size, strides, padding, dilation = checked_window(
            self, "kernel_size", kernel_size, strides, padding, dilation_rate
        )
        self.window = {"strides": strides, "padding": padding, "dilation": dilation}
        self.unit_forget_bias = unit_forget_bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 5 or input_shape[4] is None:
            raise ValueError(
                f"layer {self.name!r}: ConvLSTM2D takes clips (batch, time, height, width, channels), got shape "
                f"{input_shape}; if a recurrent layer comes before it, set return_sequences=True on that layer"
            )
        OH, OW = positions(self, input_shape[2:4], self.kernel_size, **self.window)
        time = (input_shape[1],) if self.return_sequences else ()
        return (None, *time, OH, OW, self.filters)

    def create_weights(self, input_shape: Shape) -> None:
        F = self.filters
        self.add_weight("kernel", (*self.kernel_size, input_shape[4], 4 * F), self.kernel_initializer)
        self.add_weight("recurrent_kernel", (*self.kernel_size, F, 4 * F), self.recurrent_initializer)
        if self.use_bias:
            self.add_weight("bias", (4 * F,), self.bias_initializer)
            if self.unit_forget_bias:
                self.params["bias"][F : 2 * F] = 1

    def state_shape(self, x: np.ndarray) -> tuple[int, ...]:
        return (len(x), *positions(self, x.shape[2:4], self.kernel_size, **self.window), self.filters)

    @property
    def gate_activations(self) -> np.ndarray:
        """Input gate, forget gate, candidate and output gate of the last batch, (N, T, OH, OW, 4F)."""
        return self.cache.gates

    def run(self, x, initial, mask):
        weights = self.params["kernel"], self.params["recurrent_kernel"], self.params.get("bias")
        h, c, self.cache = conv_lstm2d_forward(x, *weights, *initial, mask, **self.window)
        return [h, c]

    def run_backward(self, dstates, x, states, initial, mask):
        weights = self.params["kernel"], self.params["recurrent_kernel"]
        return conv_lstm2d_backward(*dstates, x, *weights, *states, self.cache, *initial, mask, **self.window)

    def get_config(self) -> dict:
        config = super().get_config() | {
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "strides": list(self.window["strides"]),
            "padding": self.window["padding"],
            "dilation_rate": list(self.window["dilation"]),
            "unit_forget_bias": self.unit_forget_bias,
        }
        del config["units"]
        return config
