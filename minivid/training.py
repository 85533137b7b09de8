"""Training: a short loop over forward, loss, backward and optimizer step, and what can go wrong in it."""

import sys
import warnings
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from minivid.backend import device_of, to_device, xp_of
from minivid.batches import (
    ArrayBatches,
    Batch,
    BatchSequence,
    as_batches,
    check_arrays,
    is_sequence_of_batches,
    iterate,
    take,
    unpack,
)
from minivid.callbacks import Callback, CallbackList, History, TerminateOnNaN
from minivid.passes import all_finite
from minivid.progress import ProgressBar, track
from minivid.splitting import split_validation

__all__ = ["NonFiniteError", "Trainable"]


class NonFiniteError(FloatingPointError):
    """Training met NaN or infinity; the message names epoch, batch and layer."""


class Trainable:
    """Base class of models: `fit`, `evaluate`, `predict` and `train_on_batch`.

    A subclass has ``layers``, `forward`, `backward` and `backward_logits`, ``activation`` and ``logits`` of its last
    layer, ``output_mask``, ``device``, ``params``, ``trainable_params``, ``grads`` and ``state``, `build`, `cast`,
    `tensors` and `load_tensors`, and after ``compile`` an ``optimizer``, a ``loss`` and ``metrics``; see
    `minivid.models.Sequential`.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.layers import Dense
    >>> from minivid.models import Sequential
    >>> model = Sequential([Dense(1, input_shape=(2,))])
    >>> model.compile("sgd", "mse")
    >>> history = model.fit(np.eye(2), np.ones((2, 1)), epochs=2, verbose=0)
    >>> len(history.history["loss"])
    2
    """

    def fit(
        self,
        x: ArrayLike | BatchSequence,
        y: ArrayLike | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: tuple | BatchSequence | None = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: ArrayLike | None = None,
        initial_epoch: int = 0,
        *,
        lengths: ArrayLike | None = None,
        stratify: bool = False,
        groups: Sequence[Hashable] | None = None,
    ) -> History:
        """Train the model.

        Parameters
        ----------
        x : (N, ...) array or batch sequence
            Inputs; a batch sequence, such as `minivid.video.clips_from_directory` returns, holds the targets too.
        y : (N, ...) array, optional
            Targets.
        batch_size : int, optional
            Samples per step, by default 32. For arrays only: a batch sequence has its own.
        epochs : int
            Epoch at which to stop.
        verbose : {"auto", 0, 1, 2}
            0 is silent, 1 a progress bar, 2 one line per epoch; "auto" is 1.
        callbacks : list of Callback, optional
        validation_split : float
            Fraction of the arrays' last samples (before shuffling, as in Keras) to validate on. Data sorted by class
            needs ``stratify`` or ``groups``.
        validation_data : (x, y), (x, y, sample_weight), (x, y, sample_weight, lengths) or batch sequence, optional
            What to validate on after each epoch; comes before ``validation_split``.
        shuffle : bool
            Draw a new order of the arrays' samples for each epoch.
        class_weight : dict of int to float, optional
            Weight of the samples of each class, by default 1.
        sample_weight : (N,) or (N, T) array, optional
            Weight of each sample, or of each step, in the loss.
        initial_epoch : int
            Epoch at which to start, to resume a training.
        lengths : (N,) array of int, optional
            Number of real steps of each sequence; the rest is masked.
        stratify : bool
            Take the validation part of each class alike.
        groups : (N,) array, optional
            Source of each sample (person, recording); the split keeps every source on one side.

        Returns
        -------
        History
            ``history.history`` maps each figure to its values, one per epoch.

        Raises
        ------
        RuntimeError
            If the model was not compiled.
        NonFiniteError
            If loss or gradients are NaN or infinite; names epoch, batch and layer. The weights are those before that
            batch. With a `TerminateOnNaN` callback `fit` warns and ends instead.
        KeyboardInterrupt
            After Ctrl-C; weights and optimizer are those after the last complete epoch then, or those from before
            `fit` if there is none. ``model.history`` has the figures so far.
        """
        self._check_compiled("fit()")
        for name, value in (("epochs", epochs), ("initial_epoch", initial_epoch)):
            if not hasattr(value, "__index__"):
                raise ValueError(f"{name} must be a whole number of epochs, got {value!r}")
        train, validation = self._training_data(
            x, y, batch_size, validation_split, validation_data, shuffle, sample_weight, lengths, stratify, groups
        )
        if not epochs >= initial_epoch >= 0:
            raise ValueError(f"fit goes from initial_epoch to epochs, got {initial_epoch} and {epochs}")
        if not self.built:
            self.cast(_first_sample(train))
        history = self.history = History()
        callbacks = [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])
        params = {"epochs": epochs, "steps": len(train)}
        self.stop_training = False
        complete, logs = (None, self.tensors()), {}
        try:
            with CallbackList([*callbacks, ProgressBar(verbose), history], self, params) as hooks:
                hooks.on_train_begin({})
                for epoch in range(initial_epoch, epochs):
                    hooks.on_epoch_begin(epoch, {})
                    logs = self._train_epoch(train, epoch, class_weight, hooks)
                    if validation is not None:
                        logs |= self._validate(validation, epoch, hooks)
                    complete = epoch, self.tensors()
                    hooks.on_epoch_end(epoch, logs)
                    if self.stop_training:
                        break
                hooks.on_train_end(logs)
        except KeyboardInterrupt:
            self._go_back_to(*complete)
            raise
        return history

    def _train_epoch(self, batches, epoch: int, class_weight, hooks: CallbackList) -> dict[str, float]:
        figures = _Figures(self.metrics)
        for step, batch in enumerate(iterate(batches)):
            hooks.on_train_batch_begin(step, {})
            batch = self._at_hand(self._weighted(batch, class_weight))
            loss, y_pred, trouble = self._step(batch)
            if trouble is not None:
                self._report(f"{trouble} (epoch {epoch + 1}, batch {step + 1})", hooks)
            figures.update(loss, batch, y_pred, self.output_mask)
            hooks.on_train_batch_end(step, figures.result())
            if self.stop_training:
                break
        if hasattr(batches, "on_epoch_end"):
            batches.on_epoch_end()
        return figures.result()

    def _validate(self, batches, epoch: int, hooks: CallbackList) -> dict[str, float]:
        figures = self._evaluate(batches, hooks)
        if not np.isfinite(figures["loss"]):
            self._report(f"the validation loss is {figures['loss']:g} (after epoch {epoch + 1})", hooks)
        return {f"val_{name}": value for name, value in figures.items()}

    def _step(self, batch: Batch) -> tuple[float, np.ndarray, str | None]:
        """Run forward, loss, backward and the optimizer; return loss, predictions and what is not finite, if any."""
        state = {name: array.copy() for name, array in self.state.items()}
        with np.errstate(over="ignore", invalid="ignore"):  # `_trouble` reports these, and where they come from
            loss, y_pred = self._gradients(batch)
            trouble = self._trouble(loss, batch)
            if trouble is None:
                params, grads = self.trainable_params, self.grads
                self.optimizer.step(params, {name: grads[name] for name in params})
        if trouble is not None:
            for name, array in self.state.items():  # moving averages have seen the batch already
                array[...] = state[name]
        return loss, y_pred, trouble

    def _gradients(self, batch: Batch) -> tuple[float, np.ndarray]:
        """Run forward, loss and backward; return loss and predictions."""
        y_pred = self.forward(batch.x, training=True, mask=batch.mask)
        loss = self._loss_of(y_pred, batch)
        self.zero_grads()
        if self._fused:
            self.backward_logits(self.loss.backward(), need_dx=False)
        else:
            self.backward(self.loss.backward(), need_dx=False)
        return loss, y_pred

    def _loss_of(self, y_pred, batch: Batch) -> float:
        if batch.y is None:
            raise ValueError("there are no targets: pass y, or a batch sequence that gives (x, y)")
        scores = self.logits if self._fused else y_pred
        return self.loss.forward(scores, batch.y, batch.weight, from_logits=self._fused or None, mask=self.output_mask)

    @property
    def _fused(self) -> bool:
        """Whether the loss starts from the logits of the last layer, so that nothing overflows."""
        return self.activation is not None and self.activation.name == self.loss.fused_activation

    def _check_compiled(self, what: str) -> None:
        if self.loss is None:
            raise RuntimeError(
                f"{what} needs an optimizer and a loss; before it, add\n"
                "    model.compile(optimizer='adam', loss='categorical_crossentropy', metrics=['accuracy'])"
            )

    def train_on_batch(
        self,
        x: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        class_weight: dict[int, float] | None = None,
    ) -> float:
        """Take one step of training.

        Parameters
        ----------
        x, y : (N, ...) arrays
        sample_weight : (N,) or (N, T) array, optional
        class_weight : dict of int to float, optional

        Returns
        -------
        loss : float
            Before the step.

        Raises
        ------
        NonFiniteError
            If loss or gradients are NaN or infinite; the weights stay as they were.
        """
        self._check_compiled("train_on_batch()")
        batch = self._weighted(check_arrays(x, y, sample_weight), class_weight)
        loss, _, trouble = self._step(self._at_hand(batch))
        if trouble is not None:
            raise NonFiniteError(trouble)
        return loss

    # --- data -------------------------------------------------------------------------------------------------

    def _at_hand(self, batch: Batch) -> Batch:
        """Return the batch on the device of the model."""
        return Batch(*(to_device(array, self.device) for array in batch))

    def _training_data(
        self, x, y, batch_size, fraction, validation_data, shuffle, sample_weight, lengths, stratify, groups
    ):
        """Return the batches to train on, and those to validate on or None."""
        splits = bool(fraction) and validation_data is None
        if (stratify or groups is not None) and not splits:
            raise ValueError("stratify= and groups= say how validation_split= cuts; give a validation_split")
        if not splits:
            train = as_batches(x, y, sample_weight, lengths, batch_size, shuffle)
            return train, _validation_batches(validation_data, batch_size)
        if is_sequence_of_batches(x):
            raise ValueError(
                "validation_split cuts arrays; for clips in folders, make two sequences with "
                "clips_from_directory(..., validation_split=0.2, subset='training' and 'validation')"
            )
        data = check_arrays(x, y, sample_weight, lengths)
        labels = None if data.y is None else self._labels(data)
        train, held_out = split_validation(len(data.x), fraction, labels, stratify, groups)
        size = 32 if batch_size is None else batch_size
        return ArrayBatches(take(data, train), size, shuffle), ArrayBatches(take(data, held_out), size)

    def _labels(self, batch: Batch) -> np.ndarray | None:
        """Return the class numbers that targets stand for, (N,) or (N, T), or None if there are no classes."""
        y = batch.y
        if self.loss.name == "categorical_crossentropy":
            return y.argmax(axis=-1) if y.ndim > 1 else y
        if self.loss.name not in ("sparse_categorical_crossentropy", "binary_crossentropy"):
            return None
        y = y[..., 0] if y.ndim > 1 and y.shape[-1] == 1 else y
        self.cast(batch.x[:1])  # builds the model
        return y if y.ndim < len(self.output_shape) else None  # several yes-or-no outputs are no classes

    def _weighted(self, batch: Batch, class_weight: dict[int, float] | None) -> Batch:
        """Multiply the weight of each class into the weights of its samples."""
        if class_weight is None or batch.y is None:
            return batch
        labels = self._labels(batch)
        if labels is None or not isinstance(class_weight, dict):
            raise ValueError(
                f"class_weight takes a dict of class number to weight, and a loss for classes; got {class_weight!r} "
                f"and {self.loss.name}"
            )
        weight = xp_of(labels).ones(labels.shape)
        for label, value in class_weight.items():
            weight[labels == label] = value
        return batch._replace(weight=weight if batch.weight is None else _product(weight, batch.weight))

    # --- what can go wrong ------------------------------------------------------------------------------------

    def _trouble(self, loss: float, batch: Batch) -> str | None:
        """Say what is not finite, or return None."""
        xp = xp_of(batch.x)
        finite = [all_finite(gradient) for layer in self.layers for gradient in layer.grads.values()]
        if np.isfinite(loss) and (not finite or bool(xp.stack(finite).all())):  # one question to the device, not many
            return None
        bad_gradient = self._first_bad_gradient()
        if not xp.isfinite(batch.x).all():
            culprit = "the input x"
        else:
            culprit = bad_gradient if np.isfinite(loss) else self._first_bad_output(batch)
        return (
            f"training met NaN or infinity: the loss is {loss:g}, and the first thing that is not finite is {culprit}. "
            "Lower the learning rate, clip gradients (clipnorm=1), or look at the inputs"
        )

    def _first_bad_gradient(self) -> str | None:
        for layer in reversed(self.layers):  # in the order of the backward pass
            for name, gradient in layer.grads.items():
                if not xp_of(gradient).isfinite(gradient).all():
                    return f"the gradient of {name!r} in layer {layer.name!r}"
        return None

    def _first_bad_output(self, batch: Batch) -> str:
        x, mask = self.cast(batch.x), batch.mask
        for layer in self.layers:
            for name, weight in (layer.params | layer.state).items():
                if not xp_of(weight).isfinite(weight).all():
                    return f"the weight {name!r} of layer {layer.name!r}"
            y = layer(x, training=True, mask=mask)
            if not xp_of(y).isfinite(y).all():
                return f"the output of layer {layer.name!r}"
            x, mask = y, layer.compute_mask(x, mask)
        return f"the loss itself, after layer {self.layers[-1].name!r}"

    def _report(self, trouble: str, hooks: CallbackList) -> None:
        """Raise, unless a TerminateOnNaN callback is there: then warn and end the training."""
        if not any(isinstance(callback, TerminateOnNaN) for callback in hooks.callbacks):
            raise NonFiniteError(trouble)
        warnings.warn(trouble, RuntimeWarning, stacklevel=5)
        self.stop_training = True

    def _go_back_to(self, epoch: int | None, tensors: dict[str, np.ndarray]) -> None:
        self.load_tensors(tensors)
        which = (
            "before fit(), as no epoch is complete" if epoch is None else f"epoch {epoch + 1}, the last complete one"
        )
        print(
            f"Interrupted: the model in memory is that of {which}; model.save(path) keeps it.",
            file=sys.stderr,
        )

    # --- evaluation and prediction ----------------------------------------------------------------------------

    def evaluate(
        self,
        x: ArrayLike | BatchSequence,
        y: ArrayLike | None = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        sample_weight: ArrayLike | None = None,
        return_dict: bool = False,
        callbacks: Sequence[Callback] | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> float | list[float] | dict[str, float]:
        """Measure loss and metrics on data.

        Parameters
        ----------
        x, y, batch_size, sample_weight, lengths
            As for `fit`.
        verbose : {"auto", 0, 1, 2}
            Whether to print the figures.
        return_dict : bool
            Return a dict instead of a list.
        callbacks : list of Callback, optional
            Their ``on_test_...`` hooks are called.

        Returns
        -------
        float, list of float, or dict of str to float
            The loss if there are no metrics, otherwise the loss and then the metrics.
        """
        self._check_compiled("evaluate()")
        batches = as_batches(x, y, sample_weight, lengths, batch_size)
        with CallbackList(callbacks, self, {"steps": len(batches)}) as hooks:
            figures = self._evaluate(batches, hooks)
        if verbose != 0:
            print("  ".join(f"{name}: {value:.4f}" for name, value in figures.items()))
        if return_dict:
            return figures
        return list(figures.values()) if self.metrics else figures["loss"]

    def _evaluate(self, batches, hooks: CallbackList) -> dict[str, float]:
        figures = _Figures(self.metrics)
        hooks.on_test_begin({})
        for step, batch in enumerate(iterate(batches)):
            hooks.on_test_batch_begin(step, {})
            batch = self._at_hand(batch)
            y_pred = self.forward(batch.x, mask=batch.mask)
            figures.update(self._loss_of(y_pred, batch), batch, y_pred, self.output_mask)
            hooks.on_test_batch_end(step, figures.result())
        hooks.on_test_end(figures.result())
        return figures.result()

    def predict(
        self,
        x: ArrayLike | BatchSequence,
        batch_size: int | None = None,
        verbose: str | int = 0,
        callbacks: Sequence[Callback] | None = None,
        *,
        lengths: ArrayLike | None = None,
    ) -> np.ndarray:
        """Compute the outputs for inputs.

        Parameters
        ----------
        x : (N, ...) array or batch sequence
        batch_size : int, optional
            By default 32; for arrays only.
        verbose : {"auto", 0, 1, 2}
            Whether to show a bar when it takes more than 2 s.
        callbacks : list of Callback, optional
            Their ``on_predict_...`` hooks are called.
        lengths : (N,) array of int, optional
            Number of real steps of each sequence.

        Returns
        -------
        y : (N, ...) array
            Where x is: NumPy arrays in give NumPy arrays out, whatever device the model is on.
        """
        batches = as_batches(x, lengths=lengths, batch_size=batch_size)
        shown = track(iterate(batches), "Predicting", len(batches)) if verbose else iterate(batches)
        outputs = []
        with CallbackList(callbacks, self, {"steps": len(batches)}) as hooks:
            hooks.on_predict_begin({})
            for step, batch in enumerate(shown):
                hooks.on_predict_batch_begin(step, {})
                there = self._at_hand(batch)
                y = self.forward(there.x, mask=there.mask)
                outputs.append(to_device(y, device_of(batch.x)))
                hooks.on_predict_batch_end(step, {})
            hooks.on_predict_end({})
        return xp_of(*outputs).concatenate(outputs)


def _validation_batches(data, batch_size):
    if data is None or is_sequence_of_batches(data):
        return None if data is None else as_batches(data)
    if not isinstance(data, tuple | list) or not 2 <= len(data) <= 4:
        raise TypeError("validation_data must be (x, y), (x, y, sample_weight[, lengths]) or a batch sequence")
    return as_batches(*data, batch_size=batch_size)


def _first_sample(batches):
    x = batches.data.x if isinstance(batches, ArrayBatches) else unpack(batches[0]).x
    return x[:1]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Multiply weights of samples (N,) or steps (N, T)."""
    ndim = max(a.ndim, b.ndim)
    return a.reshape(a.shape + (1,) * (ndim - a.ndim)) * b.reshape(b.shape + (1,) * (ndim - b.ndim))


class _Figures:
    """Loss and metrics over the batches of one pass: means over all samples, or over all steps that a mask shows."""

    def __init__(self, metrics):
        self.metrics = metrics
        self.loss, self.samples = 0.0, 0
        for metric in metrics:
            metric.reset()

    def update(self, loss: float, batch: Batch, y_pred, mask) -> None:
        y_true = batch.y
        if mask is not None:  # what targets say of padding may be anything, even NaN
            y_true, y_pred = y_true[mask], y_pred[mask]
        count = len(batch.x) if mask is None else len(y_pred)
        self.loss += loss * count
        self.samples += count
        for metric in self.metrics:
            metric.update(y_true, y_pred)

    def result(self) -> dict[str, float]:
        return {"loss": self.loss / self.samples} | {metric.name: metric.result() for metric in self.metrics}
