import math
import re
from pathlib import Path

import numba
import numpy as np
import pytest

import minivid
from minivid.batches import Batch
from minivid.callbacks import (
    Callback,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    LearningRateScheduler,
    ModelCheckpoint,
    ReduceLROnPlateau,
    TerminateOnNaN,
)
from minivid.layers import (
    GRU,
    LSTM,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    Masking,
    MaxPooling2D,
    SimpleRNN,
    TimeDistributed,
)
from minivid.models import Sequential, load_model
from minivid.optimizers import SGD
from minivid.splitting import split_validation
from minivid.training import NonFiniteError
from minivid.utils import to_categorical
from minivid.video import SplitWarning


def points(n=24, K=3, seed=0):
    """Points around K centres, classes in turn."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % K
    return (rng.normal(size=(n, 4)) + 3 * np.eye(K, 4)[y]).astype(np.float32), y


def classifier(optimizer="adam", metrics=("accuracy",), loss="sparse_categorical_crossentropy", **options):
    model = Sequential([Dense(5, activation="tanh", input_shape=(4,)), Dense(3, activation="softmax")], **options)
    model.compile(optimizer, loss, metrics)
    return model


def one_weight(optimizer=None, dtype="float64", **options):
    """y = w·x, from w = 1: what training does can be worked by hand."""
    model = Sequential([Dense(1, use_bias=False, kernel_initializer="ones", input_shape=(1,), dtype=dtype)])
    model.compile(optimizer or SGD(0.5), "mse", **options)
    return model


def weight_of(model):
    return float(model.params["dense/kernel"].item())


class Record(Callback):
    """Notes every hook."""

    def __init__(self, name="", calls=None):
        self.name, self.calls = name, [] if calls is None else calls


for _hook in [name for name in vars(Callback) if name.startswith("on_")]:
    setattr(Record, _hook, lambda self, *a, _hook=_hook: self.calls.append((self.name + _hook, *a[:-1])))


class Batches:
    """A batch sequence of the least kind."""

    def __init__(self, x, y, size=4):
        self.x, self.y, self.size, self.epochs = x, y, size, 0

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, index):
        part = slice(index * self.size, (index + 1) * self.size)
        return self.x[part], self.y[part]

    def on_epoch_end(self):
        self.epochs += 1


# --- the loop -----------------------------------------------------------------------------------------------------


def test_steps_by_hand():
    model = one_weight(metrics=["mae"])
    history = model.fit(np.array([[1.0], [2.0]]), np.array([[3.0], [2.0]]), batch_size=1, shuffle=False, verbose=0)
    # x = 1: y = 1, error -2, loss 4, dw = 2·(-2)·1 = -4, w = 1 + 0.5·4 = 3
    # x = 2: y = 6, error 4, loss 16, dw = 2·4·2 = 16, w = 3 - 8 = -5
    assert weight_of(model) == -5.0
    assert history.history == {"loss": [10.0], "mae": [3.0]}  # means of 4 and 16, of 2 and 4
    assert history.epoch == [0]
    assert model.history is history


def test_last_smaller_batch_counts_by_its_samples():
    model = one_weight(SGD(1e-12))
    x, y = np.array([[1.0], [1.0], [1.0]]), np.array([[1.0], [1.0], [4.0]])
    assert model.fit(x, y, batch_size=2, shuffle=False, verbose=0).history["loss"] == [pytest.approx(3.0)]  # 9 / 3


def test_learns():
    minivid.set_seed(0)
    x, y = points(60)
    model = classifier(SGD(0.5))
    history = model.fit(x, y, epochs=60, batch_size=10, verbose=0, validation_data=points(30, seed=1))
    assert list(history.history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(values) == 60 for values in history.history.values())
    assert history.history["accuracy"][-1] > 0.95
    assert history.history["val_accuracy"][-1] > 0.9
    assert model.predict(x).argmax(axis=1).tolist().count(0) == pytest.approx(20, abs=3)


def test_the_hand_written_loop_is_fit():
    x, y = points()
    minivid.set_seed(0)
    fitted = classifier()
    fitted.fit(x, y, batch_size=6, epochs=3, shuffle=False, verbose=0)
    minivid.set_seed(0)
    model = classifier()
    for _ in range(3):
        for start in range(0, len(x), 6):
            probabilities = model.forward(x[start : start + 6], training=True)
            t = to_categorical(y[start : start + 6], 3)
            model.zero_grads()
            model.backward_logits((probabilities - t) / np.float32(len(t)))
            model.optimizer.step(model.params, model.grads)
    for ours, theirs in zip(model.get_weights(), fitted.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("how", ["arrays", "lists", "sequence", "batch tuples"])
def test_kinds_of_input(how):
    x, y = points()
    minivid.set_seed(0)
    expected = classifier()
    expected.fit(x, y, batch_size=4, shuffle=False, epochs=2, verbose=0)
    minivid.set_seed(0)
    model = classifier()
    batches = Batches(x, y)
    if how == "arrays":
        model.fit(x.astype(np.float64), y[:, None], batch_size=4, shuffle=False, epochs=2, verbose=0)
    elif how == "lists":
        model.fit(x.tolist(), y.tolist(), batch_size=4, shuffle=False, epochs=2, verbose=0)
    elif how == "sequence":
        model.fit(batches, epochs=2, verbose=0)
        assert batches.epochs == 2
    else:
        model.fit(BatchTuples(batches), epochs=2, verbose=0)
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(model.predict(batches), model.predict(x))
    assert model.evaluate(batches, verbose=0) == pytest.approx(model.evaluate(x, y, verbose=0))


class BatchTuples(Batches):
    def __init__(self, batches):
        super().__init__(batches.x, batches.y, batches.size)

    def __iter__(self):
        return (Batch(*self[index]) for index in range(len(self)))


def test_initial_epoch_and_no_epochs():
    x, y = points()
    record = Record()
    history = classifier().fit(x, y, initial_epoch=3, epochs=5, verbose=0, callbacks=record)
    assert history.epoch == [3, 4]
    assert [call for call in record.calls if call[0] == "on_epoch_begin"] == [
        ("on_epoch_begin", 3),
        ("on_epoch_begin", 4),
    ]
    assert classifier().fit(x, y, initial_epoch=2, epochs=2, verbose=0).history == {}
    for epochs, initial in ((1, 2), (-1, 0), (3, -1)):
        with pytest.raises(ValueError, match="from initial_epoch to epochs"):
            classifier().fit(x, y, epochs=epochs, initial_epoch=initial, verbose=0)


def test_frozen_layers_stay():
    x, y = points()
    model = classifier()
    model.layers[0].trainable = False
    before = model.get_weights()
    model.fit(x, y, verbose=0)
    after = model.get_weights()
    for index, frozen in enumerate([True, True, False, False]):
        assert (before[index] == after[index]).all() == frozen


def test_verbose(capsys):
    x, y = points()
    model = classifier()
    model.fit(x, y, verbose=0, epochs=2)
    model.predict(x)
    model.evaluate(x, y, verbose=0)
    assert capsys.readouterr().out == ""
    for verbose in (1, 2, "auto"):
        model.fit(x, y, verbose=verbose, epochs=2)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert lines[0].startswith("Epoch 1/2")
        assert "loss" in lines[0]
        assert "accuracy" in lines[0]
    with pytest.raises(ValueError, match="verbose must be"):
        model.fit(x, y, verbose=3)
    model.evaluate(x, y)
    assert "accuracy: " in capsys.readouterr().out


def test_evaluate_and_predict():
    model = one_weight(metrics=["mae"])
    x, y = np.array([[1.0], [2.0], [4.0]]), np.array([[2.0], [2.0], [1.0]])
    # errors -1, 0, 3: mse 10/3, mae 4/3
    assert model.evaluate(x, y, verbose=0) == pytest.approx([10 / 3, 4 / 3])
    assert model.evaluate(x, y, batch_size=2, verbose=0, return_dict=True) == pytest.approx(
        {"loss": 10 / 3, "mae": 4 / 3}
    )
    assert one_weight().evaluate(x, y, verbose=0) == pytest.approx(10 / 3)
    assert model.evaluate(x, y, sample_weight=[3.0, 1.0, 0.0], verbose=0)[0] == pytest.approx(1.0)
    np.testing.assert_array_equal(model.predict(x, batch_size=2), x)
    assert weight_of(model) == 1.0


def test_train_on_batch():
    model = one_weight()
    assert model.train_on_batch(np.array([[1.0]]), np.array([[3.0]])) == 4.0
    assert weight_of(model) == 3.0
    assert model.train_on_batch(np.array([[1.0]]), np.array([[5.0]]), sample_weight=[0.25]) == 1.0


# --- weights of classes and samples -------------------------------------------------------------------------------


def test_sample_weight_by_hand():
    model = one_weight()
    model.fit(np.ones((2, 1)), np.array([[3.0], [5.0]]), sample_weight=[1.0, 0.5], shuffle=False, verbose=0)
    # dw = (1·2·(-2) + 0.5·2·(-4)) / 2 = -4, w = 1 + 2
    assert weight_of(model) == 3.0


@pytest.mark.parametrize("sample_weight", [None, [1.0, 2.0, 3.0, 4.0]])
@pytest.mark.parametrize("kind", ["sparse", "sparse column", "one-hot", "binary", "steps", "one-hot steps"])
def test_class_weight_is_a_sample_weight(kind, sample_weight):
    labels = np.array([0, 1, 1, 0])
    steps = "steps" in kind
    if steps:
        labels = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1]])  # as many steps as samples
    loss, activation, K = "sparse_categorical_crossentropy", "softmax", 2
    y = labels
    if kind == "sparse column":
        y = labels[:, None]
    if "one-hot" in kind:
        y, loss = to_categorical(labels, 2), "categorical_crossentropy"
    if kind == "binary":
        loss, activation, K = "binary_crossentropy", "sigmoid", 1
    model = Sequential([Input((4, 3) if steps else (3,)), Dense(K, activation=activation)])
    model.compile(SGD(1e-12), loss)
    x = np.random.default_rng(0).normal(size=(4, 4, 3) if steps else (4, 3))
    weight = np.where(labels == 1, 5.0, 1.0)
    if sample_weight is not None:
        weight = weight * np.reshape(sample_weight, (4, 1) if steps else 4)
    by_class = model.train_on_batch(x, y, class_weight={1: 5.0}, sample_weight=sample_weight)
    assert by_class == pytest.approx(model.train_on_batch(x, y, sample_weight=weight), rel=1e-6)
    history = model.fit(x, y, class_weight={0: 1.0, 1: 5.0}, sample_weight=sample_weight, verbose=0)
    assert history.history["loss"][0] == pytest.approx(by_class, rel=1e-6)


def test_class_weight_needs_classes():
    with pytest.raises(ValueError, match=r"class_weight takes a dict .* a loss for classes"):
        one_weight().fit(np.ones((2, 1)), np.ones((2, 1)) * 2, class_weight=[1, 2], verbose=0)
    model = Sequential([Dense(2, input_shape=(1,))])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"a loss for classes; got .* and mean_squared_error"):
        model.fit(np.ones((2, 1)), np.ones((2, 2)), class_weight={0: 2.0}, verbose=0)


def test_class_weight_does_not_change_the_validation():
    x, y = points()
    model = classifier(SGD(1e-12))
    history = model.fit(x, y, class_weight={0: 10.0}, validation_data=(x, y), verbose=0).history
    assert history["val_loss"][0] == pytest.approx(model.evaluate(x, y, verbose=0)[0])
    assert history["loss"][0] > history["val_loss"][0]


# --- validation ---------------------------------------------------------------------------------------------------


def test_validation_split_takes_the_last_rows():
    model = one_weight(SGD(1e-12))
    y = np.arange(10.0)[:, None]
    history = model.fit(np.zeros((10, 1)), y, validation_split=0.3, verbose=0).history
    # predictions are 0: the mean of 7², 8², 9², and of 0² ... 6²
    assert history["val_loss"] == [pytest.approx((49 + 64 + 81) / 3)]
    assert history["loss"] == [pytest.approx(91 / 7)]


def test_validation_data_forms():
    x, y = points()
    val_x, val_y = points(9, seed=5)
    model = classifier(SGD(1e-12))
    forms = [(val_x, val_y), [val_x, val_y], (val_x, val_y, None), Batches(val_x, val_y)]
    losses = [model.fit(x, y, validation_data=form, verbose=0).history["val_loss"][0] for form in forms]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-5)
    weighted = model.fit(x, y, validation_data=(val_x, val_y, np.full(9, 2.0)), verbose=0).history["val_loss"][0]
    assert weighted == pytest.approx(2 * losses[0], rel=1e-5)
    both = model.fit(x, y, validation_data=forms[0], validation_split=0.5, verbose=0).history["val_loss"][0]
    assert both == pytest.approx(losses[0], rel=1e-5)  # Keras: the data given come first
    for bad in (val_x, (val_x,), 3, "data"):
        with pytest.raises((TypeError, ValueError), match="validation_data must be"):
            model.fit(x, y, validation_data=bad, verbose=0)


def test_split_of_data_sorted_by_class_warns():
    x, y = points()
    order = np.argsort(y, kind="stable")
    with pytest.warns(SplitWarning, match="the training side of the split has no sample of: 2"):
        split_validation(24, 0.4, np.where(y[order] == 1, 0, y[order]))
    with pytest.warns(SplitWarning, match="the held-out side of the split has no sample of: 0, 1"):
        classifier().fit(x[order], y[order], validation_split=0.25, verbose=0)
    one_hot = classifier(loss="categorical_crossentropy")
    with pytest.warns(SplitWarning, match="no sample of: 0, 1"):
        one_hot.fit(x[order], to_categorical(y[order], 3), validation_split=0.25, verbose=0)


def test_stratified_split():
    x, y = points()
    order = np.argsort(y, kind="stable")
    history = classifier().fit(x[order], y[order], validation_split=0.25, stratify=True, verbose=0)  # and no warning
    assert "val_loss" in history.history
    training, held_out = split_validation(24, 0.25, y[order], stratify=True)
    np.testing.assert_array_equal(np.bincount(y[order][held_out]), [2, 2, 2])
    np.testing.assert_array_equal(np.sort(np.concatenate([training, held_out])), np.arange(24))
    again = split_validation(24, 0.25, y[order], stratify=True)
    np.testing.assert_array_equal(again[1], held_out)  # a training that goes on validates on the same samples


def test_group_split():
    x, y = points()
    groups = np.array([f"person {n // 6}" for n in range(24)])  # each has samples of all classes
    classifier().fit(x, y, validation_split=0.25, groups=groups, verbose=0)
    for stratify in (False, True):
        training, held_out = split_validation(24, 0.25, y, stratify, groups)
        assert not set(groups[training]) & set(groups[held_out])
        assert len(held_out) == 6


@pytest.mark.parametrize("classes", [[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]])
def test_group_split_with_stratify_looks_at_the_classes(classes):
    """Four sources of four samples of one class: by count alone any two sources are half of the data."""
    groups, labels = np.repeat(["a", "b", "c", "d"], 4), np.repeat(classes, 4)
    _, held_out = split_validation(16, 0.5, labels, True, groups)
    assert np.bincount(labels[held_out]).tolist() == [4, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation_split": 1.0}, "validation_split must be between 0 and 1, got 1.0"),
        ({"validation_split": -0.2}, "validation_split must be between 0 and 1, got -0.2"),
        ({"validation_split": 3}, "validation_split must be between 0 and 1, got 3"),
        ({"validation_split": True}, "validation_split must be between 0 and 1, got True"),
        ({"validation_split": float("nan")}, "validation_split must be between 0 and 1, got nan"),
        ({"validation_split": 0.999}, "of 24 samples leaves none to train on"),
        ({"validation_split": 0.01}, "of 24 samples leaves 1|leaves none to validate on"),
        ({"validation_split": 0.5, "groups": ["a"] * 3}, "24 samples, but 3 groups"),
        ({"validation_split": 0.5, "groups": ["a"] * 24}, "at least two groups"),
        ({"stratify": True}, "give a validation_split"),
        ({"groups": ["a", "b"] * 12}, "give a validation_split"),
    ],
)
def test_bad_splits(options, message):
    x, y = points()
    if options.get("validation_split") == 0.01:
        training, held_out = split_validation(24, 0.01)
        assert (len(training), len(held_out)) == (23, 1)  # Keras rounds the training part down
        return
    with pytest.raises(ValueError, match=message):
        classifier().fit(x, y, verbose=0, **options)


def test_split_is_keras_but_for_rounding():
    for fraction, held_out in ((0.2, 2), (0.25, 3), (0.3, 3), (0.9, 9)):  # 10·(1 - 0.9) is 0.9999999999999998
        assert len(split_validation(10, fraction)[1]) == held_out


def test_split_without_classes():
    with pytest.raises(ValueError, match="stratify= needs one class per sample"):
        one_weight().fit(np.ones((4, 1)), np.ones((4, 1)), validation_split=0.5, stratify=True, verbose=0)
    x, y = points()
    with pytest.raises(ValueError, match=r"validation_split cuts arrays; for clips .*clips_from_directory"):
        classifier().fit(Batches(x, y), validation_split=0.2, verbose=0)


def test_a_model_that_is_not_built_yet():
    x, y = points()
    for fit in (
        lambda model: model.fit(x, y, validation_split=0.25, stratify=True, verbose=0),
        lambda model: model.train_on_batch(x, y, class_weight={0: 2.0}),
        lambda model: model.evaluate(x, y, verbose=0),
    ):
        model = Sequential([Dense(5), Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
        fit(model)
        assert model.output_shape == (None, 3)


# --- callbacks ----------------------------------------------------------------------------------------------------


def test_order_of_the_hooks():
    x, y = points(8)
    calls = []
    first, second = Record("1.", calls), Record("2.", calls)
    classifier().fit(x, y, batch_size=4, validation_data=(x[:4], y[:4]), verbose=0, callbacks=[first, second])
    own = [(name[2:], *index) for name, *index in calls if name.startswith("1.")]
    assert own == [
        ("on_train_begin",),
        ("on_epoch_begin", 0),
        ("on_train_batch_begin", 0),
        ("on_train_batch_end", 0),
        ("on_train_batch_begin", 1),
        ("on_train_batch_end", 1),
        ("on_test_begin",),
        ("on_test_batch_begin", 0),
        ("on_test_batch_end", 0),
        ("on_test_end",),
        ("on_epoch_end", 0),
        ("on_train_end",),
    ]
    assert [name[:2] for name, *_ in calls] == ["1.", "2."] * len(own)


def test_hooks_of_evaluate_and_predict():
    x, y = points(8)
    model, record = classifier(), Record()
    model.evaluate(x, y, batch_size=8, verbose=0, callbacks=[record])
    assert [name for name, *_ in record.calls] == [
        "on_test_begin",
        "on_test_batch_begin",
        "on_test_batch_end",
        "on_test_end",
    ]
    record.calls.clear()
    model.predict(x, batch_size=8, callbacks=[record])
    assert [name[3:] for name, *_ in record.calls] == [
        "predict_begin",
        "predict_batch_begin",
        "predict_batch_end",
        "predict_end",
    ]


def test_logs_of_batches_and_epochs():
    x, y = np.ones((2, 1)), np.array([[3.0], [2.0]])
    seen = []
    callback = LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]),
        on_epoch_end=lambda epoch, logs: seen.append(dict(logs)),
        on_train_end=lambda logs: seen.append(dict(logs)),
    )
    one_weight(SGD(1e-12)).fit(x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[callback])
    assert seen == [pytest.approx(4.0), pytest.approx(2.5), {"loss": pytest.approx(2.5)}, {"loss": pytest.approx(2.5)}]


def test_a_callback_sees_the_model_built():
    built = []
    model = Sequential([Dense(3), Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    watch = LambdaCallback(on_train_begin=lambda logs=None: built.append(model.built))
    x, y = points()
    model.fit(Batches(x, y), verbose=0, callbacks=[watch])
    assert built == [True]


def test_early_stopping_restores_the_best_weights():
    model = one_weight(SGD(1.0))  # w = 1; too large a rate: w - 3 becomes -(w - 3), then validation grows
    weights = []
    note = LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(weight_of(model)))
    x, y = np.full((1, 1), 1.2), np.full((1, 1), 3.6)  # dw = 2·1.44·(w - 3): w - 3 times -1.88 in each step
    stop = EarlyStopping(patience=2, restore_best_weights=True)
    history = model.fit(x, y, epochs=20, validation_data=(x, y), verbose=0, callbacks=[note, stop])
    assert len(history.history["loss"]) == 3  # best, then two that are worse
    assert weight_of(model) == weights[0]
    assert model.stop_training


def test_learning_rate_callbacks_show_in_the_history():
    x, y = points()
    model = classifier(SGD(0.1))
    history = model.fit(
        x, y, epochs=3, verbose=0, callbacks=[LearningRateScheduler(lambda epoch, rate: 0.1 / (epoch + 1))]
    )
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.05, 0.1 / 3])
    plateau = ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=100.0)
    history = classifier(SGD(0.1)).fit(x, y, epochs=3, verbose=0, callbacks=[plateau])
    assert history.history["learning_rate"] == pytest.approx([0.1, 0.1, 0.05])


def test_checkpoint_and_csv(tmp_path):
    x, y = points()
    model = classifier()
    checkpoint = ModelCheckpoint(tmp_path / "run" / "{epoch:02d}.safetensors")
    logger = CSVLogger(tmp_path / "history.csv")
    model.fit(x, y, epochs=2, validation_split=0.25, verbose=0, callbacks=[checkpoint, logger])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["01.safetensors", "02.safetensors"]
    for ours, theirs in zip(
        model.get_weights(), load_model(tmp_path / "run/02.safetensors").get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert (tmp_path / "history.csv").read_text().splitlines()[0] == "epoch,loss,accuracy,val_loss,val_accuracy"


def test_stop_training_in_mid_epoch():
    x, y = points(24)
    model, record = classifier(), Record()
    stop = LambdaCallback(on_train_batch_end=lambda batch, logs: setattr(model, "stop_training", batch == 1))
    model.fit(x, y, batch_size=4, epochs=5, verbose=0, callbacks=[stop, record])
    assert [call for call in record.calls if "batch_begin" in call[0]] == [
        ("on_train_batch_begin", 0),
        ("on_train_batch_begin", 1),
    ]
    assert record.calls[-2:] == [("on_epoch_end", 0), ("on_train_end",)]
    assert model.fit(x, y, epochs=2, verbose=0).epoch == [0, 1]  # stop_training does not stay


# --- masks --------------------------------------------------------------------------------------------------------


def padded_clips(dtype=np.float64):
    rng = np.random.default_rng(0)
    lengths = np.array([3, 1, 2, 3])
    x = rng.normal(size=(4, 3, 4, 4, 1)).astype(dtype)
    x[np.arange(3) >= lengths[:, None]] = 0
    return x, lengths


def clip_model(per_step=False, masking=False, activation="softmax", K=3):
    return Sequential(
        [
            Input((None, 4, 4, 1), dtype="float64"),
            *([Masking()] if masking else []),
            TimeDistributed(Conv2D(2, 2, activation="tanh")),
            TimeDistributed(Flatten()),
            LSTM(3, return_sequences=True),
            GRU(3, return_sequences=per_step),
            Dense(K, activation=activation),
        ]
    )


@pytest.mark.parametrize("masking", [False, True])
def test_training_on_padded_clips_is_training_on_clips_alone(masking):
    """The gradient of a padded batch is the mean of the gradients of its clips, each run alone."""
    x, lengths = padded_clips()
    y = np.array([0, 2, 1, 1])
    model = clip_model(masking=masking)
    model.compile(SGD(1e-30), "sparse_categorical_crossentropy")
    model.fit(x, y, lengths=None if masking else lengths, shuffle=False, verbose=0)
    padded = {name: gradient.copy() for name, gradient in model.grads.items()}
    total = {name: np.zeros_like(gradient) for name, gradient in padded.items()}
    for n, length in enumerate(lengths):
        model.train_on_batch(x[n : n + 1, :length], y[n : n + 1])
        for name, gradient in model.grads.items():
            total[name] += gradient / 4
    for name, gradient in padded.items():
        np.testing.assert_allclose(gradient, total[name], rtol=1e-9, atol=1e-13)
    alone = np.concatenate([model.predict(x[n : n + 1, :length]) for n, length in enumerate(lengths)])
    np.testing.assert_allclose(model.predict(x, lengths=None if masking else lengths, batch_size=2), alone, rtol=1e-12)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "mse"])
def test_outputs_of_every_step(loss):
    """Masked steps count neither in the loss nor in the metrics, whatever their targets say."""
    x, lengths = padded_clips()
    real = np.arange(3) < lengths[:, None]
    rng = np.random.default_rng(1)
    sparse = loss.startswith("sparse")
    y = rng.integers(3, size=(4, 3)) if sparse else rng.normal(size=(4, 3, 3))
    y = np.where(real if sparse else real[..., None], y, 99 if sparse else np.nan)
    model = clip_model(per_step=True, activation="softmax" if sparse else None)
    model.compile(SGD(1e-30), loss, ["accuracy"] if sparse else ["mae"])
    figures = model.evaluate(x, y, lengths=lengths, verbose=0)
    p = model.predict(x, lengths=lengths)
    if sparse:
        expected = -np.log([p[n, t, y[n, t]] for n, t in np.argwhere(real)]).mean()
        metric = np.mean([p[n, t].argmax() == y[n, t] for n, t in np.argwhere(real)])
    else:
        expected = np.mean([((p[n, t] - y[n, t]) ** 2).mean() for n, t in np.argwhere(real)])
        metric = np.mean([np.abs(p[n, t] - y[n, t]).mean() for n, t in np.argwhere(real)])
    assert figures == pytest.approx([expected, metric], rel=1e-9)
    # in batches of 1 and 3: the same mean over all real steps
    assert model.evaluate(x, y, lengths=lengths, batch_size=3, verbose=0) == pytest.approx(figures, rel=1e-9)
    history = model.fit(
        x, y, lengths=lengths, batch_size=3, shuffle=False, verbose=0, validation_data=(x, y, None, lengths)
    )
    assert history.history["loss"] == pytest.approx(figures[:1], rel=1e-9)
    assert history.history["val_loss"] == pytest.approx(figures[:1], rel=1e-9)
    other = np.where(real[..., None, None, None], x, 5.0)
    np.testing.assert_allclose(model.evaluate(other, y, lengths=lengths, verbose=0), figures, rtol=1e-12)


def test_masked_steps_leak_no_gradient():
    x, lengths = padded_clips()
    model = clip_model(per_step=True)
    model.compile("sgd", "sparse_categorical_crossentropy")
    mask = np.arange(3) < lengths[:, None]
    p = model.forward(x, training=True, mask=mask)
    model.loss.forward(model.logits, np.zeros((4, 3), dtype=int), from_logits=True, mask=model.output_mask)
    dx = model.backward_logits(model.loss.backward())
    assert p.shape == (4, 3, 3)
    assert not dx[~mask].any()
    assert all(dx[n, t].any() for n, t in np.argwhere(mask))


def test_class_weight_and_masked_steps():
    x, lengths = padded_clips()
    y = np.arange(12).reshape(4, 3) % 3
    model = clip_model(per_step=True)
    model.compile(SGD(1e-30), "sparse_categorical_crossentropy")
    loss = model.fit(x, y, lengths=lengths, class_weight={1: 3.0}, verbose=0, shuffle=False).history["loss"][0]
    weight = np.where(y == 1, 3.0, 1.0)
    assert loss == pytest.approx(model.evaluate(x, y, lengths=lengths, sample_weight=weight, verbose=0), rel=1e-9)


# --- what can go wrong --------------------------------------------------------------------------------------------


def test_fit_before_compile():
    x, y = points()
    model = Sequential([Dense(3, input_shape=(4,))])
    uses = {"fit": model.fit, "evaluate": model.evaluate, "train_on_batch": model.train_on_batch}
    for name, use in uses.items():
        with pytest.raises(
            RuntimeError, match=rf"{name}\(\) needs.*\n    model\.compile\(optimizer='adam', loss='categ"
        ):
            use(x, y)


def test_the_articles_fit():
    """batch_size belongs to the generator; frames without targets."""
    x, y = points()
    with pytest.raises(ValueError, match="batch_size=32 belongs to the generator"):
        classifier().fit(Batches(x, y), epochs=10, batch_size=32, verbose=1)
    with pytest.raises(ValueError, match="there are no targets: pass y, or a batch sequence"):
        classifier().fit(x, epochs=10, batch_size=32, verbose=0)
    with pytest.raises(TypeError, match="a generator has no length"):
        classifier().fit(((x, y) for _ in range(3)), verbose=0)


@pytest.mark.parametrize(
    ("loss", "y", "error", "message"),
    [
        ("sparse_categorical_crossentropy", np.full(24, 3), ValueError, "labels must be from 0 to 2 for 3 classes"),
        ("sparse_categorical_crossentropy", np.full(24, -1), ValueError, "labels must be from 0 to 2"),
        ("sparse_categorical_crossentropy", np.full(24, 0.5), ValueError, "whole numbers"),
        ("sparse_categorical_crossentropy", np.zeros((24, 3)), ValueError, "for one-hot targets use categorical"),
        ("categorical_crossentropy", np.zeros(24), ValueError, "for class numbers use sparse_categorical"),
        ("categorical_crossentropy", np.zeros((24, 4)), ValueError, "the last layer needs 4 units"),
        ("mse", np.zeros((24, 2)), ValueError, "y_true must have the shape of y_pred"),
        ("sparse_categorical_crossentropy", np.zeros(23), ValueError, "x has 24 samples, but y has shape"),
        ("sparse_categorical_crossentropy", np.array(["a"] * 24), TypeError, "turn labels into numbers first"),
    ],
)
def test_wrong_targets(loss, y, error, message):
    x, _ = points()
    model = classifier(loss=loss, metrics=None)
    before = model.get_weights()
    with pytest.raises(error, match=message):
        model.fit(x, y, verbose=0)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_bad_callbacks():
    x, y = points()
    with pytest.raises(TypeError, match=r"write EarlyStopping\(\)"):
        classifier().fit(x, y, callbacks=[EarlyStopping], verbose=0)


def assert_finite(model):
    assert all(np.isfinite(array).all() for array in model.get_weights())


def test_nan_in_the_data():
    x, y = points()
    x[13, 2] = np.nan  # batch 2 of 8, unshuffled
    model = classifier()
    with pytest.raises(NonFiniteError, match=r"the loss is nan, .* is the input x.*\(epoch 1, batch 2\)"):
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert_finite(model)
    assert model.optimizer.iterations == 1


def test_nan_in_hidden_steps():
    """NaN that the loss does not see still spoils gradients: the message names the input."""
    x, lengths = padded_clips()
    x[1, 2] = np.nan
    model = clip_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(NonFiniteError, match="is the input x"):
        model.fit(x, np.zeros(4, dtype=int), lengths=lengths, verbose=0)


def test_exploding_learning_rate():
    model = Sequential([Dense(4, activation="relu", input_shape=(4,), name="first"), Dense(1, name="second")])
    model.compile(SGD(1e30), "mse")
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    with pytest.raises(
        NonFiniteError, match=r"not finite is .*layer '(first|second)'.*Lower the learning rate.*\(epoch \d"
    ):
        model.fit(x, np.ones((8, 1)), epochs=20, verbose=0)


def test_nan_weight_is_named():
    x, y = points()
    model = classifier()
    model.params["dense_1/kernel"][0, 0] = np.nan
    with pytest.raises(NonFiniteError, match=r"is the weight 'kernel' of layer 'dense_1'.*\(epoch 1, batch 1\)"):
        model.fit(x, y, verbose=0)


def test_first_bad_output_and_gradient_are_named():
    huge = np.full((2, 4), 1e38, dtype=np.float32)
    model = Sequential([Dense(3, kernel_initializer="ones", input_shape=(4,), name="grows"), Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(NonFiniteError, match="is the output of layer 'grows'"):
        model.train_on_batch(huge, np.ones((2, 1)))
    # a finite loss of 1e30, but dw = 2·1e15·1e30 is too large for float32
    model = Sequential([Dense(1, use_bias=False, kernel_initializer="ones", input_shape=(1,), name="steep")])
    model.compile("sgd", "mse")
    model.set_weights([[[1e-15]]])
    with pytest.raises(NonFiniteError, match=r"the loss is 1e\+30, .* the gradient of 'kernel' in layer 'steep'"):
        model.train_on_batch(np.full((1, 1), 1e30), np.zeros((1, 1)))


def test_nan_leaves_moving_averages_alone():
    x, y = points()
    model = Sequential([BatchNormalization(input_shape=(4,)), Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0)
    before = model.tensors()
    with pytest.raises(NonFiniteError):
        model.train_on_batch(np.full_like(x, np.inf), y)
    for name, tensor in model.tensors().items():
        np.testing.assert_array_equal(tensor, before[name])


@pytest.mark.parametrize("gradient_only", [False, True])
def test_terminate_on_nan_ends_gently(gradient_only, capsys):
    x, lengths = padded_clips()
    y = np.zeros(4, dtype=int)
    model = clip_model()
    model.compile("sgd", "sparse_categorical_crossentropy")
    x[1, 2 if gradient_only else 0] = np.nan
    record = Record()
    with pytest.warns(RuntimeWarning, match=r"is the input x.*\(epoch 1, batch 2\)"):
        history = model.fit(
            x,
            y,
            batch_size=1,
            lengths=lengths,
            shuffle=False,
            epochs=3,
            verbose=0,
            callbacks=[TerminateOnNaN(), record],
        )
    assert history.epoch == [0]
    assert math.isfinite(history.history["loss"][0]) == gradient_only
    assert record.calls[-1] == ("on_train_end",)
    assert_finite(model)


def test_nan_in_the_validation_data():
    x, y = points()
    bad = x.copy()
    bad[0] = np.nan
    with pytest.raises(NonFiniteError, match=r"the validation loss is nan \(after epoch 1\)"):
        classifier().fit(x, y, validation_data=(bad, y), epochs=3, verbose=0)
    with pytest.warns(RuntimeWarning, match="the validation loss is nan"):
        history = classifier().fit(x, y, validation_data=(bad, y), epochs=3, verbose=0, callbacks=TerminateOnNaN())
    assert history.epoch == [0]


# --- interruption -------------------------------------------------------------------------------------------------


def interrupt(epoch, hook="on_train_batch_end", batch=1):
    """A callback that raises KeyboardInterrupt in an epoch, counted from 1."""
    now = []

    def raises(index, logs=None):
        if len(now) == epoch and (hook != "on_train_batch_end" or index == batch):
            raise KeyboardInterrupt

    return LambdaCallback(**{"on_epoch_begin": lambda e, logs: now.append(e), hook: raises})


@pytest.mark.parametrize("epoch", [1, 3])
def test_an_interrupted_training_keeps_the_last_complete_epoch(epoch, capsys):
    x, y = points()
    minivid.set_seed(0)
    reference = Sequential([Dense(5), BatchNormalization(), Dropout(0.3), Dense(3, activation="softmax")])
    reference.compile("adam", "sparse_categorical_crossentropy")
    reference.build((None, 4))
    start = reference.tensors()
    reference.fit(x, y, batch_size=6, epochs=epoch - 1, verbose=0)
    expected = reference.tensors() if epoch > 1 else start

    minivid.set_seed(0)
    model = Sequential([Dense(5), BatchNormalization(), Dropout(0.3), Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=6, epochs=9, verbose=0, callbacks=[interrupt(epoch)])
    tensors = model.tensors()
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensors[name], tensor)
    assert model.history.epoch == list(range(epoch - 1))
    message = capsys.readouterr().err
    assert "Interrupted" in message
    assert ("no epoch is complete" if epoch == 1 else "epoch 2, the last complete one") in message
    assert "model.save(path) keeps it" in message


def test_interrupted_while_an_epoch_is_reported():
    """At on_epoch_end the epoch is complete: its weights stay."""
    x, y = points()
    model = classifier()
    weights = []
    note = LambdaCallback(on_train_batch_end=lambda batch, logs: weights.append(model.get_weights()))
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=5, verbose=0, callbacks=[note, interrupt(2, "on_epoch_end")])
    assert len(weights) == 2
    for ours, theirs in zip(model.get_weights(), weights[-1], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_interrupted_training_goes_on(tmp_path):
    """Interrupt, then fit again from the next epoch: the bits of a training that was never interrupted."""
    x, y = points()
    minivid.set_seed(0)
    whole = classifier()
    whole.fit(x, y, epochs=4, shuffle=False, verbose=0)
    minivid.set_seed(0)
    model = classifier()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, epochs=4, shuffle=False, verbose=0, callbacks=[interrupt(3, batch=0)])
    model.fit(x, y, initial_epoch=2, epochs=4, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_files_are_closed_when_training_fails(tmp_path):
    x, y = points()
    logger = CSVLogger(tmp_path / "h.csv")
    with pytest.raises(KeyboardInterrupt):
        classifier().fit(x, y, epochs=4, verbose=0, callbacks=[logger, interrupt(3, batch=0)])
    assert logger._file is None
    assert len((tmp_path / "h.csv").read_text().splitlines()) == 3


# --- determinism --------------------------------------------------------------------------------------------------


def train_a_bit_of_everything(recurrent=LSTM):
    minivid.set_seed(11)
    cnn = Sequential(
        [Conv2D(4, 3, padding="same", activation="relu"), BatchNormalization(), MaxPooling2D(2), Flatten()]
    )
    model = Sequential(
        [
            TimeDistributed(cnn, input_shape=(None, 8, 9, 2)),
            Dropout(0.2),
            recurrent(6, return_sequences=True),
            recurrent(5),
            Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", ["accuracy"])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 5, 8, 9, 2)).astype(np.float32), rng.integers(3, size=20)
    history = model.fit(x, y, batch_size=6, epochs=2, verbose=0, validation_split=0.25, stratify=True)
    return model.tensors(), history.history


@pytest.mark.parametrize("recurrent", [LSTM, GRU, SimpleRNN])
def test_same_seed_same_bits_for_any_number_of_threads(recurrent):
    threads = numba.get_num_threads()
    try:
        runs = []
        for count in (1, min(2, numba.config.NUMBA_NUM_THREADS), 1):
            numba.set_num_threads(count)
            runs.append(train_a_bit_of_everything(recurrent))
    finally:
        numba.set_num_threads(threads)
    (tensors, history), *others = runs
    for other_tensors, other_history in others:
        assert other_history == history
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(other_tensors[name], tensor)


def test_another_seed_other_bits():
    x, y = points()

    def final_loss(seed):
        minivid.set_seed(seed)
        return classifier().fit(x, y, verbose=0).history["loss"][0]

    assert final_loss(0) == final_loss(0) != final_loss(1)


# --- documentation ------------------------------------------------------------------------------------------------


def test_the_blocks_of_the_documentation_run(capsys):
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    names = {}
    for block in blocks:
        exec(compile(block, "docs/training.md", "exec"), names)
    assert "['accuracy', 'loss', 'val_accuracy', 'val_loss']" in capsys.readouterr().out


@pytest.mark.parametrize("epochs", [1.5, "3"])
def test_epochs_are_whole_numbers(epochs):
    model = Sequential([Dense(1, input_shape=(2,))])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="epochs must be a whole number of epochs, got"):
        model.fit(np.zeros((4, 2)), np.zeros((4, 1)), epochs=epochs, verbose=0)
