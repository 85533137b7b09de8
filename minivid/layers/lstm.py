"""LSTM layer: weights and cache around `minivid.ops.lstm`."""

import numpy as np

from minivid.initializers import Initializer
from minivid.layers.base import Shape
from minivid.layers.recurrent import RecurrentLayer
from minivid.ops.lstm import lstm_backward, lstm_forward

__all__ = ["LSTM"]


class LSTM(RecurrentLayer):
    """Long short-term memory, (lstm.1) to (lstm.7).

    Parameters
    ----------
    units : int
        U, the size of the hidden and of the cell state.
    return_sequences, return_state, go_backwards, stateful, use_bias : bool
        See `RecurrentLayer`; the states are h and c.
    unit_forget_bias : bool
        Start the forget gate's bias at one, so that a new layer remembers (Jozefowicz et al. 2015).
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        How the weights start.
    **layer
        ``input_shape`` (T, D), ``name``, ``dtype``, ``trainable``: see `Layer`.

    Attributes
    ----------
    gate_activations : (N, T, 4U) array
        Input gate, forget gate, candidate and output gate of the last batch: what `plots.lstm_gates` draws.

    Notes
    -----
    Input (N, T, D), output (N, U) or (N, T, U). Weights as in Keras: kernel (D, 4U), recurrent_kernel (U, 4U),
    bias (4U,), the slots in the order i, f, C~, o. Hochreiter & Schmidhuber, Neural Computation 9(8), 1997; the
    forget gate is of Gers et al. 2000.

    Examples
    --------
    >>> import numpy as np
    >>> layer = LSTM(100, return_sequences=True)
    >>> layer(np.zeros((2, 16, 50))).shape
    (2, 16, 100)
    >>> float(layer.params["bias"][100])
    1.0
    """

    gates = 4
    state_names = ("h", "c")

    def __init__(
        self,
        units: int,
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
            units,
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
        self.unit_forget_bias = unit_forget_bias

    def create_weights(self, input_shape: Shape) -> None:
        super().create_weights(input_shape)
        if self.use_bias and self.unit_forget_bias:
            self.params["bias"][self.units : 2 * self.units] = 1

    @property
    def gate_activations(self) -> np.ndarray:
        """Input gate, forget gate, candidate and output gate of the last batch, (N, T, 4U)."""
        return self.cache.gates

    def run(self, x, initial, mask):
        h, c, self.cache = lstm_forward(
            x, self.params["kernel"], self.params["recurrent_kernel"], self.params.get("bias"), *initial, mask
        )
        return [h, c]

    def run_backward(self, dstates, x, states, initial, mask):
        kernel, recurrent_kernel = self.params["kernel"], self.params["recurrent_kernel"]
        return lstm_backward(*dstates, x, kernel, recurrent_kernel, *states, self.cache, *initial, mask)

    def get_config(self) -> dict:
        return super().get_config() | {"unit_forget_bias": self.unit_forget_bias}
