"""Callbacks, against a model that is nothing but one weight and an optimizer."""

import csv
import math

import numpy as np
import pytest

from minivid.callbacks import (
    Callback,
    CallbackList,
    CSVLogger,
    EarlyStopping,
    History,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from minivid.optimizers import SGD, CosineDecay


class FakeModel:
    """Its weight at the end of epoch e is e."""

    def __init__(self, optimizer=None):
        self.weight = np.array([-1.0])
        self.stop_training = False
        self.optimizer = optimizer or SGD(0.1)

    def get_weights(self):
        return [self.weight.copy()]

    def set_weights(self, weights):
        self.weight = weights[0]

    def save(self, path):
        with open(path, "w") as file:
            file.write(str(self.weight[0]))


def fit(model, callbacks, logs_of_epochs, batches=1):
    """What `fit` does with callbacks; returns the number of epochs trained."""
    with CallbackList(callbacks, model, {"epochs": len(logs_of_epochs), "steps": batches}) as hooks:
        hooks.on_train_begin()
        for epoch, logs in enumerate(logs_of_epochs):
            hooks.on_epoch_begin(epoch)
            for batch in range(batches):
                hooks.on_train_batch_begin(batch)
                model.weight[0] = epoch
                hooks.on_train_batch_end(batch, {"loss": logs.get("loss", 0.0)})
            hooks.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        hooks.on_train_end(logs)
    return epoch + 1


def val_losses(*values):
    return [{"val_loss": value} for value in values]


# --- the list and the hooks ---


def test_the_list_calls_every_callback_in_order():
    calls = []

    class Recorder(Callback):
        def __init__(self, name):
            self.name = name

        def on_epoch_end(self, epoch, logs=None):
            calls.append((self.name, epoch, logs["loss"]))

        def close(self):
            calls.append((self.name, "closed"))

    model = FakeModel()
    first, second = Recorder("first"), Recorder("second")
    fit(model, [first, second], [{"loss": 0.5}])
    assert calls == [("first", 0, 0.5), ("second", 0, 0.5), ("first", "closed"), ("second", "closed")]
    assert first.model is model
    assert first.params == {"epochs": 1, "steps": 1}


def test_callbacks_are_closed_when_training_fails():
    closed = []

    class Holder(Callback):
        def close(self):
            closed.append(True)

    with pytest.raises(RuntimeError, match="boom"), CallbackList([Holder()]):
        raise RuntimeError("boom")
    assert closed == [True]


def test_every_hook_can_be_called_on_an_empty_callback():
    hooks = CallbackList(Callback())
    for stage in ("train", "test", "predict"):
        getattr(hooks, f"on_{stage}_begin")()
        getattr(hooks, f"on_{stage}_batch_begin")(0)
        getattr(hooks, f"on_{stage}_batch_end")(0, {})
        getattr(hooks, f"on_{stage}_end")({})
    hooks.on_epoch_begin(0)
    hooks.on_epoch_end(0, {})
    with pytest.raises(AttributeError, match="no attribute 'on_epoch'"):
        hooks.on_epoch(0)


def test_the_list_refuses_what_is_no_callback():
    with pytest.raises(TypeError, match=r"write EarlyStopping\(\)"):
        CallbackList([EarlyStopping])
    with pytest.raises(TypeError, match="list of Callback objects, got 'early'"):
        CallbackList(["early"])


def test_history():
    history = History()
    fit(FakeModel(), [history], [{"loss": 2.0, "val_loss": 3.0}, {"loss": 1.0, "val_loss": 2.5}])
    assert history.history == {"loss": [2.0, 1.0], "val_loss": [3.0, 2.5]}
    assert history.epoch == [0, 1]


def test_lambda_callback():
    seen = []
    hooks = LambdaCallback(
        on_epoch_begin=lambda epoch, logs=None: seen.append(epoch),
        on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]),
    )
    fit(FakeModel(), [hooks], [{"loss": 0.5}])
    assert seen == [0, 0.5]
    with pytest.raises(TypeError, match=r"knows no hook 'on_epoch_finish'; there are .*on_epoch_end"):
        LambdaCallback(on_epoch_finish=print)


# --- early stopping ---


@pytest.mark.parametrize(
    ("settings", "losses", "epochs"),
    [
        ({"patience": 2}, (3, 2, 4, 4, 1), 4),  # best at epoch 1, then two without improvement
        ({"patience": 2}, (3, 2, 4, 1, 4, 4, 4), 6),  # improvement in time renews the patience
        ({}, (3, 4, 1), 2),
        ({}, (3, 3, 1), 2),  # equal is no improvement
        ({}, (math.nan, 3, 2, 2, 1), 4),  # the first epoch never stops training
        ({"patience": 1, "min_delta": 0.5}, (3, 2.6, 1), 2),  # 0.4 better is too little
        ({"patience": 1, "min_delta": 0.5}, (3, 2.4, 1.8), 3),
        ({"patience": 1, "mode": "max"}, (1, 2, 3, 2, 5), 4),
        ({"patience": 1, "start_from_epoch": 3}, (1, 2, 3, 4, 5, 6), 5),
        ({"patience": 2, "baseline": 1}, (5, 4, 4.5, 3), 3),  # wait 1, 2, 3: nothing beat the baseline
        ({"patience": 2, "baseline": 4.2}, (5, 4, 4.5, 3), 4),
    ],
)
def test_early_stopping(settings, losses, epochs):
    model = FakeModel()
    assert fit(model, [EarlyStopping(**settings)], val_losses(*losses)) == epochs


@pytest.mark.parametrize(
    ("monitor", "values", "epochs"),
    [("val_accuracy", (0.5, 0.7, 0.6, 0.9), 3), ("loss", (0.5, 0.4, 0.6, 0.1), 3), ("mae", (2, 1, 1.5), 3)],
)
def test_early_stopping_tells_the_direction_by_the_name(monitor, values, epochs):
    logs = [{monitor: value} for value in values]
    assert fit(FakeModel(), [EarlyStopping(monitor=monitor)], logs) == epochs


def test_early_stopping_does_not_guess():
    with pytest.raises(ValueError, match=r"a smaller 'elbow' is better .* pass mode='max' or mode='min'"):
        EarlyStopping(monitor="elbow")
    with pytest.raises(ValueError, match="mode must be 'auto', 'min' or 'max', got 'up'"):
        EarlyStopping(mode="up")


@pytest.mark.parametrize("losses", [(3, 2, 4, 5), (3, 2, 4)])  # stopped, and run to the end
def test_early_stopping_restores_the_best_weights(losses, capsys):
    model = FakeModel()
    stopping = EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    fit(model, [stopping], val_losses(*losses))
    assert model.weight[0] == 1
    assert (stopping.best, stopping.best_epoch) == (2, 1)
    assert "Restoring the weights of the best epoch: 2" in capsys.readouterr().out


def test_early_stopping_keeps_the_last_weights_otherwise():
    model = FakeModel()
    stopping = EarlyStopping(patience=1)
    fit(model, [stopping], val_losses(3, 2, 4, 5))
    assert model.weight[0] == 2
    assert (stopping.best_epoch, stopping.stopped_epoch) == (1, 2)


def test_nan_is_no_improvement():
    model = FakeModel()
    stopping = EarlyStopping(patience=2, restore_best_weights=True)
    assert fit(model, [stopping], val_losses(math.nan, 3, math.nan, math.nan, 1)) == 4
    assert model.weight[0] == 1


def test_early_stopping_can_be_used_again():
    stopping = EarlyStopping(patience=1)
    assert fit(FakeModel(), [stopping], val_losses(1, 2, 0)) == 2
    assert fit(FakeModel(), [stopping], val_losses(9, 8, 7)) == 3


def test_a_missing_figure_is_named_with_those_there_are():
    message = (
        "EarlyStopping monitors 'val_loss', which is not available; available are: loss, accuracy; pass validation"
    )
    with pytest.warns(UserWarning, match=message):
        assert fit(FakeModel(), [EarlyStopping()], [{"loss": 1.0, "accuracy": 0.5}]) == 1


# --- saving ---


def test_checkpoint_after_every_epoch(tmp_path, capsys):
    checkpoint = ModelCheckpoint(tmp_path / "new" / "{epoch:02d}-{val_loss:.2f}.safetensors", verbose=1)
    fit(FakeModel(), [checkpoint], val_losses(0.456, 0.4))
    saved = {path.name: path.read_text() for path in (tmp_path / "new").iterdir()}
    assert saved == {"01-0.46.safetensors": "0.0", "02-0.40.safetensors": "1.0"}
    assert "Epoch 2: saved the model to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "epoch"),
    [({}, 3), ({"mode": "max"}, 2), ({"initial_value_threshold": 0.5}, None)],
)
def test_checkpoint_of_the_best(tmp_path, settings, epoch):
    path = tmp_path / "best.safetensors"
    checkpoint = ModelCheckpoint(path, save_best_only=True, **settings)
    fit(FakeModel(), [checkpoint], val_losses(4, 2, 5, 1, 3))
    assert (float(path.read_text()) if path.exists() else None) == epoch


def test_checkpoint_by_batches(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{epoch}-{batch}.safetensors", save_freq=2)
    fit(FakeModel(), [checkpoint], val_losses(1, 1), batches=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{e}-{b}.safetensors" for e, b in ("12", "21", "23")]


def test_checkpoint_without_the_figure_saves_and_warns(tmp_path):
    path = tmp_path / "best.safetensors"
    with pytest.warns(UserWarning, match="ModelCheckpoint monitors 'val_loss'"):
        fit(FakeModel(), [ModelCheckpoint(path, save_best_only=True)], [{"loss": 1.0}])
    assert path.exists()


def test_checkpoint_with_an_unknown_figure_in_its_name(tmp_path):
    checkpoint = ModelCheckpoint(tmp_path / "{val_acc:.2f}.safetensors")
    with pytest.raises(ValueError, match=r"cannot be filled in .*val_acc.*available are: epoch, val_loss"):
        fit(FakeModel(), [checkpoint], val_losses(1))
    with pytest.raises(ValueError, match="save_freq must be 'epoch' or a number of batches"):
        ModelCheckpoint("model.safetensors", save_freq=0)


def rows(path, delimiter=","):
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_csv_logger(tmp_path):
    path = tmp_path / "new" / "history.csv"
    fit(FakeModel(), [CSVLogger(path, separator=";")], [{"loss": 0.5, "accuracy": 0.25}, {"loss": 0.125}])
    assert rows(path, ";") == [["epoch", "loss", "accuracy"], ["0", "0.5", "0.25"], ["1", "0.125", "NA"]]


def test_csv_rows_are_on_disk_while_training_goes_on(tmp_path):
    path, seen = tmp_path / "history.csv", []
    reader = LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(len(rows(path))))
    fit(FakeModel(), [CSVLogger(path), reader], [{"loss": 0.5}, {"loss": 0.4}])
    assert seen == [2, 3]


def test_csv_append(tmp_path):
    path = tmp_path / "history.csv"
    for _ in range(2):
        fit(FakeModel(), [CSVLogger(path, append=True)], [{"loss": 0.5}])
    assert rows(path) == [["epoch", "loss"], ["0", "0.5"], ["0", "0.5"]]
    fit(FakeModel(), [CSVLogger(path)], [{"loss": 0.25}])
    assert rows(path) == [["epoch", "loss"], ["0", "0.25"]]
    with pytest.raises(ValueError, match="has the columns epoch, loss, which lack accuracy; write to another file"):
        fit(FakeModel(), [CSVLogger(path, append=True)], [{"loss": 0.5, "accuracy": 1.0}])
    assert len(rows(path)) == 2


# --- learning rate ---


@pytest.mark.parametrize("schedule", [lambda epoch, rate: rate / 2, lambda epoch: 0.1 / 2 ** (epoch + 1)])
def test_learning_rate_scheduler(schedule, capsys):
    model, history = FakeModel(), History()
    fit(model, [LearningRateScheduler(schedule, verbose=1), history], [{}, {}])
    assert history.history["learning_rate"] == [0.05, 0.025]
    assert "Epoch 2: learning rate 0.025" in capsys.readouterr().out


def test_learning_rate_scheduler_needs_a_number():
    with pytest.raises(ValueError, match="must return a number, got None for epoch 0"):
        fit(FakeModel(), [LearningRateScheduler(lambda epoch, rate: None)], [{}])
    with pytest.raises(TypeError, match="schedule must be a function"):
        LearningRateScheduler(0.1)


@pytest.mark.parametrize(
    ("settings", "losses", "rates"),
    [
        # The rate in the logs is the one the epoch was trained with: a reduction shows one epoch later.
        ({"patience": 2}, (3, 2, 2, 2, 2, 2), (0.1, 0.1, 0.1, 0.1, 0.05, 0.05)),
        ({"patience": 1, "cooldown": 2}, (2, 2, 2, 2, 2), (0.1, 0.1, 0.05, 0.05, 0.025)),
        ({"patience": 1, "min_lr": 0.04}, (2, 2, 2, 2), (0.1, 0.1, 0.05, 0.04)),
        ({"patience": 1, "min_delta": 0.5}, (2, 1.6, 1.4, 1.4), (0.1, 0.1, 0.05, 0.05)),
    ],
)
def test_reduce_on_plateau(settings, losses, rates):
    model, history = FakeModel(), History()
    fit(model, [ReduceLROnPlateau(factor=0.5, **settings), history], val_losses(*losses))
    np.testing.assert_allclose(history.history["learning_rate"], rates, rtol=1e-14)


def test_reduce_on_plateau_says_so(capsys):
    fit(FakeModel(), [ReduceLROnPlateau(patience=1, verbose=1)], val_losses(1, 1))
    assert "Epoch 2: learning rate reduced to 0.01" in capsys.readouterr().out


@pytest.mark.parametrize("callback", [ReduceLROnPlateau(), LearningRateScheduler(lambda epoch, rate: rate / 2)])
def test_a_schedule_of_the_optimizer_excludes_callbacks_that_set_the_rate(callback):
    with pytest.raises(TypeError, match="follows the schedule CosineDecay and cannot be set"):
        fit(FakeModel(SGD(CosineDecay(0.1, 10))), [callback], val_losses(1))


def test_reduce_on_plateau_needs_a_reducing_factor():
    with pytest.raises(ValueError, match=r"factor must be in \(0, 1\), got 1.5"):
        ReduceLROnPlateau(factor=1.5)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_terminate_on_nan(loss, capsys):
    model = FakeModel()
    assert fit(model, [TerminateOnNaN()], [{"loss": 1.0}, {"loss": loss}, {"loss": 1.0}]) == 2
    assert f"the loss is {loss}" in capsys.readouterr().out
