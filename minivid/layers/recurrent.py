"""What SimpleRNN, LSTM and GRU share: sequences in, sequences or last states out."""

import numpy as np

from minivid import initializers
from minivid.backend import xp_of
from minivid.layers.base import Layer, Shape

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
        Read the sequence from its end; with ``return_sequences`` the output (and its mask) is in reading order, as
        in Keras: the last step comes first.
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
        kernel_initializer: str | initializers.Initializer = "glorot_uniform",
        recurrent_initializer: str | initializers.Initializer = "orthogonal",
        bias_initializer: str | initializers.Initializer = "zeros",
        **layer,
    ):
        super().__init__(**layer)
        self.units = self.positive(units, "units")
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.go_backwards = go_backwards
        self.stateful = stateful
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.states: list | None = None
        self.reset_states()

    # --- to be written by subclasses --------------------------------------------------------------------------

    def run(self, x: np.ndarray, initial: list, mask: np.ndarray | None) -> list:
        """Run the operation; return all states, each (N, T, U), the hidden one first."""
        raise NotImplementedError(f"{type(self).__name__} has no forward pass")

    def run_backward(self, dstates: list, x: np.ndarray, states: list, initial: list, mask: np.ndarray | None) -> tuple:
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
        if len(input_shape) == 4:
            message += (
                "; single images have no order in time: read clips with minivid.video.clips_from_directory, and wrap "
                "the CNN in TimeDistributed"
            )
        if len(input_shape) == 2:
            message += (
                "; if a recurrent layer comes before it, set return_sequences=True on that layer; if a CNN does, wrap "
                "its layers in TimeDistributed"
            )
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

    def __call__(self, x, training: bool = False, mask=None, initial_state=None):
        """Build the layer if it is not built, check the input, and run `forward`."""
        return self.forward(self.check_input(x), training=training, mask=mask, initial_state=initial_state)

    def forward(
        self,
        x: np.ndarray,
        training: bool = False,
        mask: np.ndarray | None = None,
        initial_state: np.ndarray | list | None = None,
    ) -> np.ndarray | tuple:
        """Run over a batch of sequences; see `Layer.forward`.

        Parameters
        ----------
        x : (N, T, D) array
        training : bool
        mask : (N, T) bool array, optional
            False where a step is padding; the state stays as it was there.
        initial_state : (N, U) array or list of them, optional
            States before the first step: h, or [h, c]. Zero by default, or the last batch's if ``stateful``.

        Returns
        -------
        (N, U) array, (N, T, U) with ``return_sequences``, or a tuple with ``return_state``
        """
        if mask is not None and np.shape(mask) != x.shape[:2]:
            raise ValueError(f"layer {self.name!r}: mask has shape {np.shape(mask)}, expected {x.shape[:2]}")
        mask = None if mask is None else xp_of(x).asarray(mask, dtype=bool)
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
        if given is not None:
            return self._checked_states(given, x)
        if self.carried and len(self.carried[0]) != len(x):
            raise ValueError(
                f"layer {self.name!r} is stateful: the batch before had {len(self.carried[0])} sequences, this one "
                f"{len(x)}; use batches of one size or call reset_states()"
            )
        return self.carried or [None] * len(self.state_names)

    def _checked_states(self, given, x) -> list:
        shape = self.state_shape(x)
        given = given if isinstance(given, list | tuple) else [given]
        shapes = [np.shape(state) for state in given]
        if shapes != [shape] * len(self.state_names):
            raise ValueError(
                f"layer {self.name!r}: initial_state takes {' and '.join(self.state_names)} of shape {shape}, "
                f"got shapes {shapes}"
            )
        return [xp_of(x).asarray(state, dtype=self.dtype) for state in given]

    def state_shape(self, x: np.ndarray) -> tuple[int, ...]:
        """Return the shape of a state for a batch."""
        return (len(x), self.units)

    def backward(self, dy: np.ndarray | tuple, need_dx: bool = True) -> np.ndarray | None:
        """Backpropagate through time; see `Layer.backward`.

        Parameters
        ----------
        dy : array, or tuple of arrays with ``return_state``
            Gradient with respect to what `forward` returned; in a tuple, None for what was not used.
        need_dx : bool

        Returns
        -------
        dx : (N, T, D) array
            ``dinitial`` holds the gradients of the initial states afterwards.
        """
        if self.states is None:
            raise ValueError(f"layer {self.name!r}: call forward before backward")
        dstates = self._dstates(dy)
        dx, dkernel, drecurrent_kernel, dbias, *self.dinitial = self.run_backward(
            dstates, self.x, self.states, self.initial, self.mask
        )
        self.add_grad("kernel", dkernel)
        self.add_grad("recurrent_kernel", drecurrent_kernel)
        if self.use_bias:
            self.add_grad("bias", dbias)
        return dx[:, ::-1] if self.go_backwards else dx

    def _dstates(self, dy) -> list:
        """Return the gradients of all states, each (N, T, U), from those of what `forward` returned."""
        dy, *dlast = dy if self.return_state else (dy,)
        dstates = [xp_of(state).zeros_like(state) for state in self.states]
        if dy is not None:
            of_output = dstates[0] if self.return_sequences else dstates[0][:, -1]
            if dy.shape != of_output.shape:
                raise ValueError(f"layer {self.name!r}: the output has shape {of_output.shape}, but dy {dy.shape}")
            of_output += dy
        for dstate, d in zip(dstates, dlast, strict=bool(dlast)):
            if d is not None:
                dstate[:, -1] += d
        return dstates

    def reset_states(self) -> None:
        """Forget the states that a stateful layer carries to the next batch."""
        self.carried: list = []

    def compute_mask(self, x, mask):
        if mask is None or not self.return_sequences:
            return None
        return mask[:, ::-1] if self.go_backwards else mask

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
