"""GRU layer: weights and cache around `minivid.ops.gru`."""

from minivid.layers.recurrent import RecurrentLayer
from minivid.ops.gru import gru_backward, gru_forward

__all__ = ["GRU"]


class GRU(RecurrentLayer):
    """Gated recurrent unit, (gru.1) to (gru.4), as Keras's with ``reset_after=True``.

    See `RecurrentLayer` for the parameters.

    Notes
    -----
    Input (N, T, D), output (N, U) or (N, T, U). Weights as in Keras: kernel (D, 3U), recurrent_kernel (U, 3U),
    bias (2, 3U): of the input and of the recurrent product; the slots in the order z, r, h~. Cho et al. 2014.

    Examples
    --------
    >>> import numpy as np
    >>> layer = GRU(8)
    >>> layer(np.zeros((2, 16, 4))).shape, layer.params["bias"].shape
    ((2, 8), (2, 24))
    """

    gates = 3

    def bias_shape(self) -> tuple[int, ...]:
        return (2, 3 * self.units)

    def run(self, x, initial, mask):
        h, self.cache = gru_forward(x, *self._weights(), *initial, mask)
        return [h]

    def run_backward(self, dstates, x, states, initial, mask):
        kernel, recurrent_kernel, _ = self._weights()
        return gru_backward(*dstates, x, kernel, recurrent_kernel, *states, self.cache, *initial, mask)

    def _weights(self):
        return self.params["kernel"], self.params["recurrent_kernel"], self.params.get("bias")
