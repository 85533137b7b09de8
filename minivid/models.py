"""Sequential: a list of layers, trained by a short visible loop."""

import os
from collections.abc import Sequence

import numpy as np

from minivid import layers as layer_classes
from minivid import losses, metrics, optimizers
from minivid.layers.base import Layer, Shape
from minivid.layers.recurrent import RecurrentLayer
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
    stop_training : bool
        Set by callbacks to end `fit` after the current epoch.

    Examples
    --------
    >>> import numpy as np, minivid
    >>> from minivid.layers import Dense
    >>> minivid.set_seed(0)
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> model = Sequential([Dense(16, activation="tanh", input_shape=(2,)), Dense(2, activation="softmax")])
    >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    >>> history = model.fit(x, y, epochs=40, verbose=0)
    >>> history.history["accuracy"][-1] > 0.8
    True
    """

    def __init__(self, layers: Sequence[Layer] = (), name: str = "sequential"):
        self.name = name
        self.layers: list[Layer] = []
        self.dtype = None
        self.optimizer = None
        self.loss = None
        self.metrics: list = []
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
        if not isinstance(layer, Layer):
            raise TypeError(f"add() takes a layer, got {layer!r}")
        if any(layer is other for other in self.layers):
            raise ValueError(f"layer {layer.name!r} is in this model already; make a second object")
        layer.name = self._free_name(layer)
        self.layers.append(layer)
        shape = self.layers[-2].output_shape if len(self.layers) > 1 else layer.given_input_shape
        if shape is None:
            return
        try:
            self._build_layer(len(self.layers) - 1, shape)
        except ValueError:
            self.layers.pop()
            raise

    def _free_name(self, layer: Layer) -> str:
        taken = {other.name for other in self.layers}
        if layer.given_name is not None and layer.name in taken:
            raise ValueError(f"two layers are named {layer.name!r}; give them different names")
        name, count = layer.name, 0
        while name in taken:
            count += 1
            name = f"{layer.name}_{count}"
        return name

    def _build_layer(self, index: int, shape: Shape) -> None:
        layer = self.layers[index]
        before = self.layers[index - 1] if index else None
        if len(shape) == 2 and isinstance(before, RecurrentLayer) and _wants_sequence(layer):
            raise ValueError(
                f"layer {layer.name!r} takes a sequence (batch, time, features), but layer {before.name!r} gives only "
                f"its last state {shape}: set return_sequences=True on layer {before.name!r}"
            )
        if isinstance(before, RecurrentLayer) and before.return_state:
            raise ValueError(
                f"layer {before.name!r} has return_state=True and gives several outputs; a Sequential model passes on "
                "one. Call the layer by itself, or leave return_state out"
            )
        if layer.dtype is None:
            layer.dtype = self.dtype
        if not layer.built or layer.input_shape != shape:
            layer.build(shape)
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
            self._build_layer(index, shape)
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

    def compile(self, optimizer="rmsprop", loss=None, metrics: Sequence = ()) -> None:
        """Say how the model is trained.

        Parameters
        ----------
        optimizer : str or Optimizer
            E.g. "adam" or ``Adam(learning_rate=1e-3)``.
        loss : str or Loss
            E.g. "categorical_crossentropy" (one-hot targets) or "sparse_categorical_crossentropy" (class numbers).
        metrics : list of str, Metric or callable
            E.g. ["accuracy"].
        """
        if loss is None:
            raise ValueError("compile needs a loss, e.g. loss='categorical_crossentropy'")
        self.optimizer = optimizers.get(optimizer)
        self.loss = losses.get(loss)
        self._metrics_given = list(metrics) if isinstance(metrics, list | tuple) else [metrics]
        self._resolve_metrics()

    def _resolve_metrics(self) -> None:
        self.metrics = [metrics.get(m, self.loss.name, self.output_shape) for m in self._metrics_given]

    # --- forward and backward ---------------------------------------------------------------------------------

    def __call__(self, x, training: bool = False, mask=None):
        """Run `forward`."""
        return self.forward(x, training=training, mask=mask)

    def forward(self, x, training: bool = False, mask=None):
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
        if not self.built:
            self.build(np.shape(x))
        for layer in self.layers:
            y = layer(x, training=training, mask=mask)
            mask = layer.compute_mask(x, mask)
            x = y
        self.output_mask = mask
        return x

    def backward(self, dy, need_dx: bool = True):
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
        for layer in reversed(self.layers):
            dy = layer.backward(dy, need_dx or layer is not self.layers[0])
        return dy

    @property
    def activation(self):
        """The activation of the last layer, if it has one."""
        return getattr(self.layers[-1], "activation", None)

    @property
    def logits(self):
        """What the last layer's activation was applied to."""
        return self.layers[-1].logits

    def backward_logits(self, dlogits, need_dx: bool = True):
        """Run `backward` from the gradient with respect to the logits of the last layer."""
        *others, last = self.layers
        dy = last.backward_logits(dlogits, need_dx or bool(others))
        for layer in reversed(others):
            dy = layer.backward(dy, need_dx or layer is not self.layers[0])
        return dy

    def zero_grads(self) -> None:
        """Set all gradients to zero."""
        for layer in self.layers:
            layer.zero_grads()

    # --- weights ----------------------------------------------------------------------------------------------

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
        """The gradients of the trainable weights, under the same names."""
        gradients = self._collect("grads")
        return {name: gradients[name] for name in self.trainable_params}

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What is saved but not trained."""
        return self._collect("state")

    def _collect(self, kind: str) -> dict[str, np.ndarray]:
        return {f"{layer.name}/{name}": a for layer in self.layers for name, a in getattr(layer, kind).items()}

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of the weights of all layers, in Keras's order."""
        return [weight for layer in self.layers for weight in layer.get_weights()]

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
        expected = [weight.shape for weight in self.get_weights()]
        shapes = [np.shape(weight) for weight in weights]
        if shapes != expected:
            raise ValueError(f"the model has weights of shapes {expected}, got {shapes}")
        weights = list(weights)
        for layer in self.layers:
            count = len(layer.params) + len(layer.state)
            layer.set_weights(weights[:count])
            del weights[:count]

    def count_params(self) -> int:
        """Return the number of weights, untrained state included."""
        return sum(layer.count_params() for layer in self.layers)

    def summary(self) -> None:
        """Print each layer with its output's shape and its number of weights."""
        if not self.built:
            raise ValueError("the model is not built: give the first layer an input_shape, or call build()")
        print(summary_of(self))

    def to(self, device: str) -> "Sequential":
        """Move the weights to a device.

        Parameters
        ----------
        device : {"cpu", "gpu"}

        Raises
        ------
        RuntimeError
            For "gpu": this version has no GPU kernels yet.
        """
        if device not in ("cpu", "gpu"):
            raise ValueError(f"device must be 'cpu' or 'gpu', got {device!r}")
        if device == "gpu":
            raise RuntimeError("this version of minivid has no GPU kernels yet; the model stays on the CPU")
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
            By convention ``*.safetensors``.
        """
        if not self.built:
            raise ValueError("a model without weights cannot be saved; build it or train it first")
        config = {"model": self.get_config()}
        if self.loss is not None:
            config["compile"] = {
                "optimizer": optimizers.serialize(self.optimizer),
                "loss": losses.serialize(self.loss),
                "metrics": [m for m in self._metrics_given if isinstance(m, str)],  # functions cannot be saved
            }
        write_model_file(path, config, self._tensors())

    def _tensors(self) -> dict[str, np.ndarray]:
        tensors = {f"model/{name}": array.copy() for name, array in (self.params | self.state).items()}
        if self.optimizer is not None:
            tensors |= {f"optimizer/{name}": np.asarray(array) for name, array in self.optimizer.state().items()}
        return tensors

    def _load_tensors(self, tensors: dict[str, np.ndarray]) -> None:
        own = self.params | self.state
        given = {name.removeprefix("model/"): a for name, a in tensors.items() if name.startswith("model/")}
        shapes = {name: array.shape for name, array in own.items()}
        found = {name: array.shape for name, array in given.items()}
        if shapes != found:
            odd = sorted(set(shapes.items()) ^ set(found.items()))[:4]
            raise ValueError(f"the weights do not fit the model: {odd}")
        for name, array in own.items():
            array[...] = given[name]
        if self.optimizer is not None:
            prefix = "optimizer/"
            self.optimizer.load_state({n.removeprefix(prefix): a for n, a in tensors.items() if n.startswith(prefix)})


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
        model = _from_config(config["model"])
        if "compile" in config:
            model.compile(
                optimizers.get(config["compile"]["optimizer"]),
                losses.get(config["compile"]["loss"]),
                config["compile"]["metrics"],
            )
        model._load_tensors(tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{path}: the model description does not fit its weights or this version: {error}") from error
    return model


def _from_config(config: dict) -> Sequential:
    model = Sequential([_layer_from_config(layer) for layer in config["layers"]], name=config["name"])
    if config["input_shape"] is not None and not model.built:
        model.build(tuple(config["input_shape"]))
    return model


def _layer_from_config(description: dict):
    class_name, config = description["class_name"], dict(description["config"])
    if class_name == "Sequential":
        return _from_config(config)
    cls = getattr(layer_classes, class_name, None) if class_name in layer_classes.__all__ else None
    if cls is None:
        raise ValueError(f"there is no layer class {class_name!r}")
    if "layer" in config:
        config["layer"] = _layer_from_config(config["layer"])
    return cls(**config)


def _wants_sequence(layer) -> bool:
    return isinstance(layer, RecurrentLayer | layer_classes.TimeDistributed)
