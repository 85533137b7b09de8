"""What SimpleRNN, LSTM and GRU share: sequences in, sequences or last states out."""

import numpy as np

from minivid import initializers
from minivid.layers.base import Layer, Shape, positive

__all__ = ["RecurrentLayer"]


class RecurrentLayer(Layer):
    """Base class of the recurrent layers.

    Subclasses set ``gates`` and ``state_names`` and write `run` and `run_backward` around their operation.

    Parameters
    ----------
    units : int
        U, the size of the hidden state.
    return_sequences : bool
        Give the hidden state of every step, (N, T, U), instead of the last, (N, U).
    return_state : bool
        Give a tuple: the output, then the last state or states, each (N, U).
    go_backwards : bool
        Read the sequence from its end; with ``return_sequences`` the output is in reading order, as in Keras.
    stateful : bool
        Start each batch from the last states of the batch before, until `reset_states`. No gradient flows from
        one batch to the one before.
    use_bias : bool
        Whether biases are added.
    kernel_initializer, recurrent_initializer, bias_initializer : str or Initializer
        How the weights start.
    **layer
        ``input_shape`` (T, D), ``name``, ``dtype``, ``trainable``: see `Layer`.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.layers import SimpleRNN
    >>> layer = SimpleRNN(3, return_sequences=True)
    >>> layer(np.zeros((2, 5, 4))).shape
    (2, 5, 3)
    """

    gates = 1
    state_names: tuple[str, ...] = ("h",)

    def __init__(
        self,
        units: int,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        use_bias: bool = True,
        kernel_initializer="glorot_uniform",
        recurrent_initializer="orthogonal",
        bias_initializer="zeros",
        **layer,
    ):
        super().__init__(**layer)
        self.units = positive(units, "units")
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.reset_states()

    # --- to be written by subclasses --------------------------------------------------------------------------

    def run(self, x, initial: list, mask) -> list:
        """Run the operation; return all states, each (N, T, U), the hidden one first."""
        raise NotImplementedError(f"{type(self).__name__} has no forward pass")

    def run_backward(self, dstates: list, x, states: list, initial: list, mask) -> tuple:
        """Run backpropagation through time; return dx, dkernel, drecurrent_kernel, dbias, then the initial states'."""
        raise NotImplementedError(f"{type(self).__name__} has no backward pass")

    # --- shapes and weights -----------------------------------------------------------------------------------

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) == 3 and input_shape[2] is not None:
            return (None, input_shape[1], self.units) if self.return_sequences else (None, self.units)
        name = type(self).__name__
        message = f"layer {self.name!r}: {name} takes (batch, time, features), got shape {input_shape}"
        if len(input_shape) == 5:
            message += (
                "; a clip is (batch, time, height, width, channels): turn each frame into features first, "
                f"TimeDistributed(Conv2D(...)), ..., TimeDistributed(Flatten()), then {name}"
            )
        if len(input_shape) == 2:
            message += "; if a recurrent layer comes before it, set return_sequences=True on that layer"
        raise ValueError(message)

    def create_weights(self, input_shape: Shape) -> None:
        U, width = self.units, self.gates * self.units
        self.add_weight("kernel", (input_shape[2], width), self.kernel_initializer)
        self.add_weight("recurrent_kernel", (U, width), self.recurrent_initializer)
        if self.use_bias:
            self.add_weight("bias", self.bias_shape(), self.bias_initializer)

    def bias_shape(self) -> tuple[int, ...]:
        """Return the shape of the bias."""
        return (self.gates * self.units,)

    # --- running ----------------------------------------------------------------------------------------------

    def forward(self, x, training: bool = False, mask=None, initial_state=None):
        """Run over a batch of sequences; see `Layer.forward`.

        Parameters
        ----------
        x : (N, T, D) array
        training : bool
        mask : (N, T) bool array, optional
            False where a step is padding; the state stays as it was there.
        initial_state : list of (N, U) array, optional
            States before the first step; zero by default, or the last batch's if ``stateful``.

        Returns
        -------
        (N, U) array, (N, T, U) with ``return_sequences``, or a tuple with ``return_state``
        """
        if mask is not None and mask.shape != x.shape[:2]:
            raise ValueError(f"layer {self.name!r}: mask has shape {mask.shape}, expected {x.shape[:2]}")
        self.x = x[:, ::-1] if self.go_backwards else x
        self.mask = mask[:, ::-1] if self.go_backwards and mask is not None else mask
        self.initial = self._initial_states(x, initial_state)
        self.states = self.run(self.x, self.initial, self.mask)
        last = [state[:, -1] for state in self.states]
        if self.stateful:
            self.carried = [state.copy() for state in last]
        y = self.states[0] if self.return_sequences else last[0]
        return (y, *last) if self.return_state else y

    def _initial_states(self, x, given) -> list:
        if given is None:
            given = self.carried or [None] * len(self.state_names)
        given = given if isinstance(given, list | tuple) else [given]
        if len(given) != len(self.state_names):
            raise ValueError(f"layer {self.name!r} has states {self.state_names}, got {len(given)} initial states")
        if self.carried and len(self.carried[0]) != len(x):
            raise ValueError(
                f"layer {self.name!r} is stateful: the batch before had {len(self.carried[0])} sequences, this one "
                f"{len(x)}; use batches of one size or call reset_states()"
            )
        return list(given)

    def backward(self, dy, need_dx: bool = True):
        """Backpropagate through time; see `Layer.backward`.

        Parameters
        ----------
        dy : array, or tuple of arrays with ``return_state``
            Gradient with respect to what `forward` returned.
        need_dx : bool

        Returns
        -------
        dx : (N, T, D) array
            ``dinitial`` holds the gradients of the initial states afterwards.
        """
        dy, *dlast = dy if self.return_state else (dy,)
        dstates = [None] * len(self.states)
        dstates[0] = dy.copy() if self.return_sequences else self._at_last_step(dy)
        for slot, d in enumerate(dlast):
            dstates[slot] = self._at_last_step(d) if dstates[slot] is None else dstates[slot]
            if slot == 0:
                dstates[0][:, -1] += d
        dx, dkernel, drecurrent_kernel, dbias, *self.dinitial = self.run_backward(
            dstates, self.x, self.states, self.initial, self.mask
        )
        self.grads["kernel"] += dkernel
        self.grads["recurrent_kernel"] += drecurrent_kernel
        if self.use_bias:
            self.grads["bias"] += dbias
        return dx[:, ::-1] if self.go_backwards else dx

    def _at_last_step(self, d):
        dstate = np.zeros_like(self.states[0])
        dstate[:, -1] = d
        return dstate

    def reset_states(self) -> None:
        """Forget the states that a stateful layer carries to the next batch."""
        self.carried: list = []

    def compute_mask(self, x, mask):
        return mask if self.return_sequences else None

    def get_config(self) -> dict:
        return super().get_config() | {
            "units": self.units,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "recurrent_initializer": initializers.serialize(self.recurrent_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
        }
