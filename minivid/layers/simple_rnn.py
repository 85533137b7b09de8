"""Simple recurrent layer: weights and cache around `minivid.ops.simple_rnn`."""

from minivid.layers.recurrent import RecurrentLayer
from minivid.ops.simple_rnn import simple_rnn_backward, simple_rnn_forward

__all__ = ["SimpleRNN"]


class SimpleRNN(RecurrentLayer):
    """Elman's recurrent layer, h_t = tanh(x_t W + h_{t−1} R + b), (simple_rnn.1).

    See `RecurrentLayer` for the parameters.

    Notes
    -----
    Input (N, T, D), output (N, U) or (N, T, U). Weights: kernel W (D, U), recurrent_kernel R (U, U), bias b (U,),
    as in Keras. Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Examples
    --------
    >>> import numpy as np
    >>> SimpleRNN(8)(np.zeros((2, 16, 4))).shape
    (2, 8)
    """

    def run(self, x, initial, mask):
        return [simple_rnn_forward(x, *self._weights(), *initial, mask)]

    def run_backward(self, dstates, x, states, initial, mask):
        kernel, recurrent_kernel, _ = self._weights()
        return simple_rnn_backward(*dstates, x, kernel, recurrent_kernel, *states, *initial, mask)

    def _weights(self):
        return self.params["kernel"], self.params["recurrent_kernel"], self.params.get("bias")
