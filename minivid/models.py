"""Sequential: a list of layers, trained by a short visible loop."""

import json
import os
from collections.abc import Sequence

import numpy as np

from minivid import layers as layer_classes
from minivid import losses, optimizers
from minivid.activations import Activation
from minivid.backend import device_of, to_device, xp_of
from minivid.cuda.device import require as require_gpu
from minivid.layers.base import Layer, Shape, adopted_dtype, as_batch, copies, copy_into, weights_left_empty
from minivid.layers.recurrent import RecurrentLayer
from minivid.metrics import get as get_metric
from minivid.saving import ModelFileError, read_model_file, write_model_file
from minivid.summary import summary_of
from minivid.training import Trainable

__all__ = ["Sequential", "load_model"]


class Sequential(Trainable):
    """A model whose layers run one after the other.

    Parameters
    ----------
    layers : list of Layer, optional
        The first one tells the input's shape by ``input_shape=``, or is an `Input`; otherwise the model is built by
        the first batch.
    name : str
        Shown by `summary`.

    Attributes
    ----------
    layers : list of Layer
        `Input` layers included.
    optimizer, loss
        Set by `compile`; None before.
    history : History
        Of the last `fit`, an interrupted one too; None before.
    stop_training : bool
        Set by callbacks to end `fit` after the current epoch.

    Examples
    --------
    >>> import numpy as np, minivid
    >>> from minivid.layers import Dense
    >>> from minivid.optimizers import Adam
    >>> minivid.set_seed(0)
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> model = Sequential([Dense(16, activation="tanh", input_shape=(2,)), Dense(2, activation="softmax")])
    >>> model.compile(Adam(0.02), "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> history = model.fit(x, y, epochs=40, verbose=0)
    >>> history.history["accuracy"][-1] > 0.8
    True
    """

    def __init__(self, layers: Sequence[Layer] = (), name: str = "sequential"):
        self.name = name
        self.layers: list[Layer] = []
        self.dtype = None
        self.device = "cpu"
        self.optimizer = None
        self.loss = None
        self.metrics: list = []
        self.history = None
        self.stop_training = False
        for layer in layers:
            self.add(layer)

    # --- building ---------------------------------------------------------------------------------------------

    def add(self, layer: Layer) -> None:
        """Append a layer.

        Parameters
        ----------
        layer : Layer
            A layer object; a nested Sequential goes inside `TimeDistributed`.

        Raises
        ------
        TypeError
            If it is no layer.
        ValueError
            If its name is taken, or its input shape does not fit the layers before it.
        """
        if isinstance(layer, type):
            raise TypeError(f"add() takes a layer object, got the class; write {layer.__name__}(...)")
        if isinstance(layer, Sequential):
            raise TypeError(
                "add() takes a layer, got a Sequential model: wrap it, TimeDistributed(model), to run it on every "
                "frame of a clip, or add its layers one by one"
            )
        if not isinstance(layer, Layer):
            raise TypeError(f"add() takes a layer, got {layer!r}")
        if any(layer is other for other in self.layers):
            raise ValueError(f"layer {layer.name!r} is in this model already; make a second object")
        layer.name = self._free_name(layer)
        shape = self.layers[-1].output_shape if self.layers else layer.given_input_shape or layer.input_shape
        if shape is not None:
            self._build_layer(len(self.layers), layer, shape)
        layer.given_name = layer.name  # from now on it keys the weights, here and in files
        self.layers.append(layer)

    def _free_name(self, layer: Layer) -> str:
        taken = {other.name for other in self.layers}
        if layer.given_name is not None and layer.name in taken:
            raise ValueError(f"two layers are named {layer.name!r}; give them different names")
        names = (f"{layer.name}_{count}" if count else layer.name for count in range(len(taken) + 1))
        return next(name for name in names if name not in taken)

    def _build_layer(self, index: int, layer: Layer, shape: Shape) -> None:
        recurrent = [before for before in self.layers[:index] if isinstance(before, RecurrentLayer)]
        if len(shape) == 2 and recurrent and _wants_sequence(layer):
            last = recurrent[-1]
            raise ValueError(
                f"layer {layer.name!r} takes a sequence (batch, time, features), but layer {last.name!r} gives only "
                f"its last state {last.output_shape}: set return_sequences=True on layer {last.name!r}"
            )
        if isinstance(layer, RecurrentLayer) and layer.return_state:
            raise ValueError(
                f"layer {layer.name!r} has return_state=True and gives several outputs; a Sequential model passes on "
                "one. Call the layer by itself, or leave return_state out"
            )
        layer.dtype = layer.dtype or self.dtype
        layer.build(shape)
        layer.to(self.device)
        self.dtype = self.dtype or layer.dtype

    def build(self, input_shape: Shape) -> None:
        """Make the weights of all layers.

        Parameters
        ----------
        input_shape : tuple of int or None
            With the batch axis first; None for an axis of any size.
        """
        if not self.layers:
            raise ValueError("the model has no layers; add() some first")
        shape = (None, *input_shape[1:])
        for index, layer in enumerate(self.layers):
            self._build_layer(index, layer, shape)
            shape = layer.output_shape

    @property
    def built(self) -> bool:
        """Whether all layers have their weights."""
        return bool(self.layers) and all(layer.built for layer in self.layers)

    @property
    def input_shape(self) -> Shape | None:
        """Shape of a batch of inputs; None before the model is built."""
        return self.layers[0].input_shape if self.layers else None

    @property
    def output_shape(self) -> Shape | None:
        """Shape of a batch of outputs; None before the model is built."""
        return self.layers[-1].output_shape if self.layers else None

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        """Return the shape of the output for a shape of input, batch axis included."""
        for layer in self.layers:
            input_shape = layer.compute_output_shape(input_shape)
        return input_shape

    def compile(
        self,
        optimizer: str | optimizers.Optimizer = "rmsprop",
        loss: str | losses.Loss | None = None,
        metrics: Sequence | None = None,
    ) -> None:
        """Say how the model is trained.

        Parameters
        ----------
        optimizer : str or Optimizer
            E.g. "adam" or ``Adam(learning_rate=1e-3)``.
        loss : str or Loss
            E.g. "categorical_crossentropy" (one-hot targets) or "sparse_categorical_crossentropy" (class numbers).
        metrics : list of str, Metric or callable, optional
            E.g. ["accuracy"].

        Raises
        ------
        ValueError
            If a name is unknown, or there is no loss; the model stays as it was.
        """
        if loss is None:
            raise ValueError("compile needs a loss, e.g. loss='categorical_crossentropy'")
        optimizer, loss = optimizers.get(optimizer), losses.get(loss)
        given = list(metrics or ()) if metrics is None or isinstance(metrics, list | tuple) else [metrics]
        resolved = [get_metric(metric, loss.name, self.output_shape) for metric in given]
        names = [metric.name for metric in resolved]
        if len({"loss", *names}) <= len(names):
            raise ValueError(f"metrics need different names, and none may be called 'loss'; got {names}")
        self.optimizer, self.loss, self.metrics, self._metrics_given = optimizer, loss, resolved, given

    # --- forward and backward ---------------------------------------------------------------------------------

    def __call__(self, x, training: bool = False, mask=None):
        """Run `forward`."""
        return self.forward(x, training=training, mask=mask)

    def forward(self, x: np.ndarray, training: bool = False, mask: np.ndarray | None = None) -> np.ndarray:
        """Run all layers.

        Parameters
        ----------
        x : (N, ...) array
            A batch of inputs.
        training : bool
            Whether dropout and batch normalisation work as in training.
        mask : (N, T) bool array, optional
            False where a step of a sequence is padding. Travels to the recurrent layers.

        Returns
        -------
        y : array
        """
        if not self.layers:
            raise ValueError("the model has no layers; add() some first")
        x = self.cast(x)
        mask = None if mask is None else xp_of(x).asarray(mask, dtype=bool)
        for layer in self.layers:
            y = layer(x, training=training, mask=mask)
            mask = layer.compute_mask(x, mask)
            x = y
        self.output_mask = mask
        return x

    def cast(self, x: np.ndarray) -> np.ndarray:
        """Return ``x`` as an array of the dtype that the model computes in; build the model for it if need be."""
        x = as_batch(x, f"model {self.name!r}")
        if not self.built:
            self.dtype = self.dtype or adopted_dtype(x)
            self.build(x.shape)
        return x.astype(self.dtype, copy=False)

    def backward(self, dy: np.ndarray, need_dx: bool = True) -> np.ndarray | None:
        """Run the backward passes of all layers, last to first, after a `forward`.

        Parameters
        ----------
        dy : array
            Gradient of the loss with respect to the output of `forward`.
        need_dx : bool
            False lets the first layer skip the gradient of its input.

        Returns
        -------
        dx : array or None
            Gradient with respect to the input. The weights' gradients were added to ``grads``.
        """
        return self._backward(len(self.layers), dy, need_dx)

    def _backward(self, count: int, dy, need_dx: bool):
        """Run the backward passes of the first ``count`` layers, as far back as something is to be learned."""
        for index in reversed(range(count)):
            needed = need_dx or self._learns(index)
            dy = self.layers[index].backward(dy, needed)
            if not needed:
                return None
        return dy

    def _learns(self, count: int) -> bool:
        return any(layer.trainable_params for layer in self.layers[:count])

    @property
    def activation(self) -> Activation | None:
        """The activation of the last layer, if it has one."""
        return getattr(self.layers[-1], "activation", None) if self.layers else None

    @property
    def logits(self) -> np.ndarray | None:
        """What the last layer's activation was applied to."""
        return self.layers[-1].logits

    def backward_logits(self, dlogits: np.ndarray, need_dx: bool = True) -> np.ndarray | None:
        """Run `backward` from the gradient with respect to the logits of the last layer."""
        before = len(self.layers) - 1
        needed = need_dx or self._learns(before)
        dy = self.layers[-1].backward_logits(dlogits, needed)
        return self._backward(before, dy, need_dx) if needed else None

    def zero_grads(self) -> None:
        """Set all gradients to zero."""
        for layer in self.layers:
            layer.zero_grads()

    def reset_states(self) -> None:
        """Forget the states that stateful recurrent layers carry to the next batch."""
        for layer in self.layers:
            if isinstance(layer, RecurrentLayer):
                layer.reset_states()

    # --- weights ----------------------------------------------------------------------------------------------

    @property
    def trainable(self) -> bool:
        """Whether an optimizer may change the weights of any layer; set it for all layers at once."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    @property
    def params(self) -> dict[str, np.ndarray]:
        """All weights, ``"<layer>/<weight>"`` to array."""
        return self._collect("params")

    @property
    def trainable_params(self) -> dict[str, np.ndarray]:
        """The weights that the optimizer may change."""
        return self._collect("trainable_params")

    @property
    def grads(self) -> dict[str, np.ndarray]:
        """The gradients of all weights, under the same names."""
        return self._collect("grads")

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What is saved but not trained."""
        return self._collect("state")

    def _collect(self, kind: str) -> dict[str, np.ndarray]:
        return {f"{layer.name}/{name}": a for layer in self.layers for name, a in getattr(layer, kind).items()}

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of the weights of all layers, in Keras's order, as NumPy arrays."""
        return copies(self.arrays())

    def set_weights(self, weights: list[np.ndarray]) -> None:
        """Copy arrays into the weights.

        Parameters
        ----------
        weights : list of array
            As `get_weights` gives them.

        Raises
        ------
        ValueError
            If the number or a shape differs; nothing is changed then.
        """
        copy_into(self.arrays(), weights, "the model")

    def arrays(self) -> list[np.ndarray]:
        """Return the weights and the untrained state themselves, layer by layer."""
        return [array for layer in self.layers for array in layer.arrays()]

    def count_params(self) -> int:
        """Return the number of weights, untrained state included."""
        return sum(layer.count_params() for layer in self.layers)

    def summary(self) -> None:
        """Print each layer with its output's shape and its number of weights."""
        if not self.built:
            raise ValueError("the model is not built: give the first layer an input_shape, or call build()")
        print(summary_of(self))

    def to(self, device: str) -> "Sequential":
        """Move the model to a device: its weights, gradients and untrained state, and weights that it gets later.

        Parameters
        ----------
        device : {"cpu", "gpu"}
            `fit`, `evaluate` and `predict` move each batch there by themselves; `forward` and `backward` take arrays
            that are there.

        Returns
        -------
        Sequential
            The model itself.

        Raises
        ------
        RuntimeError
            For "gpu" where CuPy, the driver or the compiler is missing; says which, and what to install. The model
            stays where it was then.

        Examples
        --------
        >>> from minivid.layers import Dense
        >>> Sequential([Dense(1, input_shape=(2,))]).to("cpu").device
        'cpu'
        """
        if device not in ("cpu", "gpu"):
            raise ValueError(f"device must be 'cpu' or 'gpu', got {device!r}")
        if device == "gpu":
            require_gpu()
        for layer in self.layers:
            layer.to(device)
        self.device = device
        return self

    # --- saving -----------------------------------------------------------------------------------------------

    def get_config(self) -> dict:
        """Return the architecture, fit for JSON."""
        return {
            "name": self.name,
            "input_shape": None if self.input_shape is None else list(self.input_shape),
            "layers": [{"class_name": type(layer).__name__, "config": layer.get_config()} for layer in self.layers],
        }

    def save(self, path: str | os.PathLike) -> None:
        """Write architecture, weights, optimizer and its state to one safetensors file.

        Parameters
        ----------
        path : path
            By convention ``*.safetensors``. A file that is there already stays until the new one is complete.

        Raises
        ------
        ValueError
            If the model has no weights yet, or a part that a file cannot hold: a layer, activation, loss or optimizer
            of your own. Nothing is written then.
        OSError
            If the folder does not exist or cannot be written to.

        Notes
        -----
        Metrics that are objects or functions are left out. Random streams and the carried states of stateful layers
        are not part of a model.
        """
        if not self.built:
            raise ValueError("a model without weights cannot be saved; build it or train it first")
        config = {"model": self.get_config()}
        if self.loss is not None:
            config["compile"] = {
                "optimizer": optimizers.serialize(self.optimizer),
                "loss": losses.serialize(self.loss),
                "metrics": [metric for metric in self._metrics_given if isinstance(metric, str)],
            }
        try:
            _from_config(
                json.loads(json.dumps(config)), room=self.count_params()
            )  # better now than when the file is wanted back
        except (TypeError, ValueError) as error:
            raise ValueError(f"a file cannot hold this model: {error}") from error
        write_model_file(path, config, self.tensors())

    def tensors(self) -> dict[str, np.ndarray]:
        """Return copies of all that training changes: weights, untrained state and the optimizer's state.

        Returns
        -------
        dict of str to NumPy array
            ``"model/<layer>/<weight>"`` and, if the model is compiled, ``"optimizer/<layer>/<weight>/<slot>"``.
        """
        tensors = {f"model/{name}": array.copy() for name, array in (self.params | self.state).items()}
        if self.optimizer is not None:
            tensors |= {f"optimizer/{name}": array for name, array in self.optimizer.state().items()}
        return {name: to_device(array, "cpu") for name, array in tensors.items()}

    def load_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        """Go back to what `tensors` returned.

        Parameters
        ----------
        tensors : dict of str to array

        Raises
        ------
        ValueError
            If a name, shape or dtype differs; nothing is changed then.
        """
        own = self.params | self.state
        given = {kind: _under(f"{kind}/", tensors) for kind in ("model", "optimizer")}
        _require_same(_kinds(own), _kinds(given["model"]))
        if len(tensors) != sum(map(len, given.values())) or (given["optimizer"] and self.optimizer is None):
            raise ValueError("there are tensors that belong neither to the model nor to its optimizer")
        if self.optimizer is not None:
            slots = {name: a for name, a in given["optimizer"].items() if "/" in name}
            owners = {name: self.params.get(name.rpartition("/")[0]) for name in slots}
            _require_same(_kinds(owners), _kinds(slots))
            self.optimizer.load_state(given["optimizer"])
        for name, array in own.items():
            array[...] = to_device(given["model"][name], device_of(array))


def load_model(path: str | os.PathLike) -> Sequential:
    """Read a model that `Sequential.save` wrote: architecture, weights, optimizer and its state.

    Parameters
    ----------
    path : path

    Returns
    -------
    Sequential

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    minivid.saving.ModelFileError
        If the file is damaged, is no minivid model, or its parts do not fit each other.

    Notes
    -----
    No random numbers are drawn: a training that goes on after loading shuffles as it would have without.

    Examples
    --------
    >>> import os, tempfile
    >>> from minivid.layers import Dense
    >>> model = Sequential([Dense(3, input_shape=(2,))])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> model.save(path)
    >>> load_model(path).count_params()
    9
    """
    config, tensors = read_model_file(path)
    try:
        model = _from_config(config, room=sum(tensor.size for tensor in tensors.values()))
        model.load_tensors(tensors)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else error
        raise ModelFileError(
            f"{path}: the model description does not fit its weights or this version: {reason}"
        ) from error
    return model


def _from_config(config: dict, room: int) -> Sequential:
    """Make the model of a file; its weights are zeros, and none has more than ``room`` entries."""
    with weights_left_empty(room):
        model = _model_from_config(config["model"])
    if not model.built:
        raise ValueError("the layers do not say for which inputs they are")
    if "compile" in config:
        given = config["compile"]
        model.compile(optimizers.get(given["optimizer"]), losses.get(given["loss"]), given["metrics"])
    return model


def _model_from_config(config: dict) -> Sequential:
    model = Sequential([_layer_from_config(layer) for layer in config["layers"]], name=config["name"])
    if config["input_shape"] is not None and not model.built:
        model.build(tuple(config["input_shape"]))
    return model


def _layer_from_config(description: dict):
    class_name, config = description["class_name"], dict(description["config"])
    if class_name == "Sequential":
        return _model_from_config(config)
    if class_name not in layer_classes.__all__ or class_name == "Layer":
        raise ValueError(f"there is no layer class {class_name!r}")
    for inner in config.keys() & {"layer", "backward_layer"}:
        config[inner] = _layer_from_config(config[inner])
    return getattr(layer_classes, class_name)(**config)


def _wants_sequence(layer) -> bool:
    return isinstance(layer, RecurrentLayer | layer_classes.TimeDistributed | layer_classes.Bidirectional)


def _under(prefix: str, tensors: dict) -> dict:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _kinds(tensors: dict) -> dict[str, str]:
    return {name: "nothing" if a is None else f"{a.dtype} {a.shape}" for name, a in tensors.items()}


def _require_same(expected: dict[str, str], found: dict[str, str]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"the model has {expected.get(name, 'nothing')} for {name!r}, the file {found.get(name, 'nothing')}"
            )
