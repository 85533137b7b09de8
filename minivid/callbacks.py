"""Callbacks: what `fit` does besides training, with the hooks, names and meaning of Keras's.

They touch the model only through ``model.stop_training``, ``model.get_weights()`` (copies) and
``model.set_weights(list)``, ``model.save(path)`` and ``model.optimizer.learning_rate``.
"""

from __future__ import annotations

import csv
import inspect
import math
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]

Logs = dict[str, Any]


class Callback:
    """Base class: hooks that `fit`, `evaluate` and `predict` call; every one does nothing until overridden.

    Epochs and batches count from 0. The logs of a batch are the running means of the loss and the metrics so
    far; those of an epoch also have the validation figures as ``val_...``. An entry that a callback adds to the
    logs of an epoch is seen by the callbacks after it.

    Attributes
    ----------
    model : Sequential or None
        Set by `set_model`.
    params : dict or None
        Set by `set_params`: ``"epochs"`` and ``"steps"`` (batches per epoch, None if unknown).

    Examples
    --------
    >>> from minivid.callbacks import Callback
    >>> class Announce(Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(f"epoch {epoch} done, loss {logs['loss']}")
    >>> Announce().on_epoch_end(0, {"loss": 0.5})
    epoch 0 done, loss 0.5
    """

    model: Any = None
    params: dict[str, Any] | None = None

    def set_model(self, model: Any) -> None:
        """Tell the callback which model it serves."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Tell the callback the number of epochs and steps."""
        self.params = params

    def close(self) -> None:
        """Give back what the callback holds (a file, the terminal); called also when training fails."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Called at the beginning of `fit`."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Called at the end of `fit`, with the logs of the last epoch."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Called before the first batch of an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Called after the validation of an epoch."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a training step."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a training step."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Called at the beginning of `evaluate` and of a validation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Called at the end of `evaluate` and of a validation."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of `evaluate` or of a validation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of `evaluate` or of a validation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Called at the beginning of `predict`."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """Called at the end of `predict`."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Called before a batch of `predict`."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Called after a batch of `predict`."""


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))


class CallbackList:
    """Several callbacks as one: every hook called on the list is called on each of them, in order.

    Leaving its ``with`` block closes them all, so that a training that fails leaves no open file and no broken
    terminal behind.

    Parameters
    ----------
    callbacks : list of Callback, Callback or None
    model : Sequential, optional
    params : dict, optional
        ``{"epochs": ..., "steps": ...}``.

    Raises
    ------
    TypeError
        If an entry is no `Callback` object.

    Examples
    --------
    >>> from minivid.callbacks import CallbackList, History
    >>> history = History()
    >>> with CallbackList([history], params={"epochs": 1, "steps": 3}) as callbacks:
    ...     callbacks.on_train_begin()
    ...     callbacks.on_epoch_end(0, {"loss": 0.5})
    >>> history.history
    {'loss': [0.5]}
    """

    def __init__(
        self,
        callbacks: list[Callback] | Callback | None = None,
        model: Any = None,
        params: dict[str, Any] | None = None,
    ):
        callbacks = [callbacks] if isinstance(callbacks, (Callback, type)) else list(callbacks or [])
        for callback in callbacks:
            if isinstance(callback, type):
                raise TypeError(f"callbacks takes objects, got the class; write {callback.__name__}()")
            if not isinstance(callback, Callback):
                raise TypeError(f"callbacks takes a list of Callback objects, got {callback!r} in it")
            callback.set_model(model)
            callback.set_params(params or {})
        self.callbacks = callbacks

    def __getattr__(self, hook: str) -> Callable[..., None]:
        if hook not in HOOKS:
            raise AttributeError(f"CallbackList has no attribute {hook!r}")

        def call_each(*args: Any) -> None:
            for callback in self.callbacks:
                getattr(callback, hook)(*args)

        return call_each

    def __enter__(self) -> CallbackList:
        return self

    def __exit__(self, *exception: object) -> None:
        for callback in self.callbacks:
            callback.close()


class History(Callback):
    """The logs of every epoch; `fit` adds one by itself, as the last callback, and returns it.

    Attributes
    ----------
    history : dict of str to list
        The figures of each epoch.
    epoch : list of int
        The numbers of the epochs.

    Examples
    --------
    >>> from minivid.callbacks import History
    >>> history = History()
    >>> history.on_epoch_end(0, {"loss": 2.0})
    >>> history.on_epoch_end(1, {"loss": 1.0})
    >>> history.history
    {'loss': [2.0, 1.0]}
    """

    def __init__(self):
        self.history: dict[str, list] = {}
        self.epoch: list[int] = []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Append the figures."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class _Monitor(Callback):
    """Compares a figure of the logs with the best so far."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0):
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.mode = _direction(monitor) if mode == "auto" else mode
        self.min_delta = abs(min_delta)

    def worst(self) -> float:
        """Return what every figure but NaN improves on."""
        return math.inf if self.mode == "min" else -math.inf

    def improves(self, value: float, reference: float) -> bool:
        """Whether the value is better by more than min_delta; NaN never is."""
        if self.mode == "min":
            return value < reference - self.min_delta
        return value > reference + self.min_delta

    def monitored(self, logs: Logs) -> float | None:
        """Return the monitored figure, or warn and return None."""
        if self.monitor not in logs:
            warnings.warn(
                f"{type(self).__name__} monitors {self.monitor!r}, which is not available; "
                f"available are: {', '.join(logs) or 'none'}"
                + ("; pass validation_data to fit" if self.monitor.startswith("val_") else ""),
                stacklevel=2,
            )
            return None
        return logs[self.monitor]


class EarlyStopping(_Monitor):
    """Stop training when a figure has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
        The figure.
    min_delta : float, default 0
        A smaller change does not count as an improvement.
    patience : int, default 0
        Epochs without improvement after which training stops.
    verbose : {0, 1}, default 0
        1 prints a line when training stops and when weights are restored.
    mode : {"auto", "min", "max"}, default "auto"
        Whether smaller or larger is better; ``"auto"`` tells by the name.
    baseline : float, optional
        Patience is only renewed by an improvement that also beats this value.
    restore_best_weights : bool, default False
        At the end of training, go back to the weights of the best epoch (also where training was not stopped).
    start_from_epoch : int, default 0
        Epochs before this one (counted from 0) are not looked at.

    Attributes
    ----------
    best, best_epoch
        The best figure and its epoch, counted from 0.
    stopped_epoch : int
        The epoch that stopped training, counted from 0; 0 if none did.

    Examples
    --------
    >>> from minivid.callbacks import EarlyStopping
    >>> EarlyStopping(monitor="val_accuracy", patience=3).mode
    'max'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training."""
        self.wait = 0
        self.stopped_epoch = 0
        self.best = self.worst()
        self.best_epoch = 0
        self.best_weights: list | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare, remember, and stop training when patience is over."""
        current = self.monitored(logs or {})
        if current is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.improves(current, self.best):
            self.best = current
            self._remember(epoch)
            if self.baseline is None or self.improves(current, self.baseline):
                self.wait = 0
            return
        if self.restore_best_weights and self.best_weights is None:  # NaN from the first epoch on
            self._remember(epoch)
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Restore the best weights if asked to."""
        if self.stopped_epoch > 0 and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring the weights of the best epoch: {self.best_epoch + 1}")
            self.model.set_weights(self.best_weights)

    def _remember(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()


class ModelCheckpoint(_Monitor):
    """Save the model during training.

    Parameters
    ----------
    filepath : str or path
        May hold ``{epoch}``, counted from 1, and the names of the logs, with formats:
        ``"{epoch:02d}-{val_loss:.2f}.safetensors"``. Missing folders are made.
    monitor : str, default "val_loss"
        The figure that tells the best model.
    verbose : {0, 1}, default 0
        1 prints a line at every save.
    save_best_only : bool, default False
        Save only when the figure is the best so far.
    mode : {"auto", "min", "max"}, default "auto"
        Whether smaller or larger is better; ``"auto"`` tells by the name.
    save_freq : "epoch" or int, default "epoch"
        Save after every epoch, or after every so many batches; the file name may hold ``{batch}`` then.
    initial_value_threshold : float, optional
        The figure to beat from the beginning, for a training that goes on.

    Notes
    -----
    Keras's ``save_weights_only`` is not offered: a model file is small and holds the optimizer's state as well.

    Examples
    --------
    >>> from minivid.callbacks import ModelCheckpoint
    >>> checkpoint = ModelCheckpoint("run/{epoch:02d}-{val_loss:.2f}.safetensors")
    >>> checkpoint.path_for(epoch=2, logs={"val_loss": 0.4567})
    'run/03-0.46.safetensors'
    """

    def __init__(
        self,
        filepath: str | os.PathLike,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        *,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        if mode == "auto" and not save_best_only:
            mode = "min"  # not used
        super().__init__(monitor, mode)
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise ValueError(f"save_freq must be 'epoch' or a number of batches >= 1, got {save_freq!r}")
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_freq = save_freq
        self.best = self.worst() if initial_value_threshold is None else initial_value_threshold
        self._epoch = 0
        self._batches = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note the epoch, for the file names of saves by batch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Save if `save_freq` batches are over."""
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches % self.save_freq == 0:
            self._save(self._epoch, {"batch": batch + 1, **(logs or {})})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Save if `save_freq` is ``"epoch"``."""
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def path_for(self, epoch: int, logs: Logs) -> str:
        """Return the file name for an epoch (counted from 0) with these logs."""
        try:
            return self.filepath.format(epoch=epoch + 1, **logs)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(
                f"the file name {self.filepath!r} of ModelCheckpoint cannot be filled in ({error!r}); "
                f"available are: {', '.join(['epoch', *logs])}"
            ) from error

    def _save(self, epoch: int, logs: Logs) -> None:
        path = self.path_for(epoch, logs)
        if self.save_best_only:
            current = self.monitored(logs)
            if current is not None:
                if not self.improves(current, self.best):
                    return
                self.best = current
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.model.save(path)
        if self.verbose:
            print(f"Epoch {epoch + 1}: saved the model to {path}")


class CSVLogger(Callback):
    """Write one row per epoch to a CSV file, each as soon as it is known.

    Parameters
    ----------
    filename : str or path
        Missing folders are made.
    separator : str, default ","
    append : bool, default False
        Go on with an existing file of the same columns instead of replacing it.

    Raises
    ------
    ValueError
        On appending, if the columns differ.

    Notes
    -----
    The columns are ``epoch``, counted from 0, and the names of the first logs in their order. A figure that a
    later epoch lacks is written as ``NA``.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from minivid.callbacks import CSVLogger
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "history.csv"
    >>> logger = CSVLogger(path)
    >>> logger.on_train_begin()
    >>> logger.on_epoch_end(0, {"loss": 0.5})
    >>> logger.on_train_end()
    >>> path.read_text().split()
    ['epoch,loss', '0,0.5']
    """

    def __init__(self, filename: str | os.PathLike, separator: str = ",", append: bool = False):
        self.filename = Path(filename)
        self.separator = separator
        self.append = append
        self._file: TextIO | None = None

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Open the file."""
        self.close()
        self.filename.parent.mkdir(parents=True, exist_ok=True)
        self._columns = self._existing_columns() if self.append else []
        self._header_written = bool(self._columns)
        self._file = open(self.filename, "a" if self.append else "w", newline="", encoding="utf-8")  # noqa: SIM115

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write a row."""
        logs = logs or {}
        if not self._columns:
            self._columns = ["epoch", *logs]
        elif unknown := logs.keys() - set(self._columns):
            raise ValueError(
                f"{self.filename} has the columns {', '.join(self._columns)}, which lack "
                f"{', '.join(sorted(unknown))}; write to another file"
            )
        writer = csv.writer(self._file, delimiter=self.separator, lineterminator="\n")
        if not self._header_written:
            writer.writerow(self._columns)
            self._header_written = True
        row = {**logs, "epoch": epoch}
        writer.writerow([row.get(column, "NA") for column in self._columns])
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _existing_columns(self) -> list[str]:
        if not self.filename.exists():
            return []
        with open(self.filename, newline="", encoding="utf-8") as file:
            return next(csv.reader(file, delimiter=self.separator), [])


class LearningRateScheduler(Callback):
    """Set the learning rate at the beginning of every epoch.

    Parameters
    ----------
    schedule : callable
        ``schedule(epoch, learning_rate) -> float``, or ``schedule(epoch) -> float``; epochs count from 0.
    verbose : {0, 1}, default 0
        1 prints a line per epoch.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from minivid.callbacks import LearningRateScheduler
    >>> halve = LearningRateScheduler(lambda epoch, learning_rate: learning_rate / 2)
    >>> halve.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=0.1)))
    >>> halve.on_epoch_begin(0)
    >>> halve.model.optimizer.learning_rate
    0.05
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        if not callable(schedule):
            raise TypeError(f"schedule must be a function (epoch, learning_rate) -> float, got {schedule!r}")
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Set the rate."""
        optimizer = self.model.optimizer
        arguments = (epoch, optimizer.learning_rate) if self._takes_rate else (epoch,)
        rate = self.schedule(*arguments)
        if rate is None or callable(rate):
            raise ValueError(
                f"the schedule of LearningRateScheduler must return a number, got {rate!r} for epoch {epoch}"
            )
        optimizer.learning_rate = rate
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate {optimizer.learning_rate:g}")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Add the rate to the logs."""
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


class ReduceLROnPlateau(_Monitor):
    """Reduce the learning rate when a figure has stopped improving.

    Parameters
    ----------
    monitor : str, default "val_loss"
        The figure.
    factor : float, default 0.1
        In (0, 1); the new rate is factor times the old one.
    patience : int, default 10
        Epochs without improvement after which the rate is reduced.
    verbose : {0, 1}, default 0
        1 prints a line at every reduction.
    mode : {"auto", "min", "max"}, default "auto"
        Whether smaller or larger is better; ``"auto"`` tells by the name.
    min_delta : float, default 1e-4
        A smaller change does not count as an improvement.
    cooldown : int, default 0
        Epochs after a reduction in which none is counted.
    min_lr : float, default 0.0
        The rate never falls below it.

    Raises
    ------
    TypeError
        At the beginning of training, if the optimizer's rate follows a schedule.

    Examples
    --------
    >>> from minivid.callbacks import ReduceLROnPlateau
    >>> ReduceLROnPlateau(factor=0.5, patience=3, min_lr=1e-5).mode
    'min'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta)
        if not 0.0 < factor < 1.0:
            raise ValueError(f"factor must be in (0, 1), got {factor!r}")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier training."""
        self.best = self.worst()
        self.wait = 0
        self.cooldown_counter = 0
        optimizer = self.model.optimizer
        optimizer.learning_rate = optimizer.learning_rate  # refuses a schedule now rather than epochs later

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compare, and reduce the rate when patience is over."""
        optimizer = self.model.optimizer
        logs = {} if logs is None else logs
        logs["learning_rate"] = optimizer.learning_rate
        current = self.monitored(logs)
        if current is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(current, self.best):
            self.best = current
            self.wait = 0
        elif self.cooldown_counter == 0:
            self.wait += 1
            if self.wait >= self.patience and optimizer.learning_rate > self.min_lr:
                self._reduce(epoch)

    def _reduce(self, epoch: int) -> None:
        optimizer = self.model.optimizer
        optimizer.learning_rate = max(optimizer.learning_rate * self.factor, self.min_lr)
        self.cooldown_counter = self.cooldown
        self.wait = 0
        if self.verbose:
            print(f"Epoch {epoch + 1}: learning rate reduced to {optimizer.learning_rate:g}")


class TerminateOnNaN(Callback):
    """Stop training after a batch whose loss is NaN or infinite.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from minivid.callbacks import TerminateOnNaN
    >>> guard = TerminateOnNaN()
    >>> guard.set_model(SimpleNamespace(stop_training=False))
    >>> guard.on_train_batch_end(7, {"loss": float("nan")})
    Batch 8: the loss is nan, training stops
    >>> guard.model.stop_training
    True
    """

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Look at the loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            print(f"Batch {batch + 1}: the loss is {loss}, training stops")
            self.model.stop_training = True


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    **hooks : callable
        Functions under the names of the hooks, with the hook's arguments (an epoch or batch, and the logs).

    Raises
    ------
    TypeError
        If a name is no hook.

    Examples
    --------
    >>> from minivid.callbacks import LambdaCallback
    >>> LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs)).on_epoch_end(0, {"loss": 0.5})
    0 {'loss': 0.5}
    """

    def __init__(self, **hooks: Callable[..., Any]):
        for name, function in hooks.items():
            if name not in HOOKS:
                raise TypeError(f"LambdaCallback knows no hook {name!r}; there are {', '.join(HOOKS)}")
            setattr(self, name, function)


LARGER_IS_BETTER = ("acc", "auc", "f1", "precision", "recall", "iou")
SMALLER_IS_BETTER = ("loss", "error", "mse", "mae")


def _direction(monitor: str) -> str:
    if any(word in monitor for word in LARGER_IS_BETTER):
        return "max"
    if any(word in monitor for word in SMALLER_IS_BETTER):
        return "min"
    raise ValueError(
        f"whether a larger or a smaller {monitor!r} is better cannot be told from its name; "
        "pass mode='max' or mode='min'"
    )


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    return True
