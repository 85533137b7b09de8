"""Whole models on a GPU: a real one where there is, and a stand-in for CuPy whose kernels run in the emulator."""

import numpy as np
import pytest

import minivid
from minivid.backend import device_of, to_device
from minivid.callbacks import EarlyStopping
from minivid.detection import Truth
from minivid.detection.grid import GridLoss, grid_targets
from minivid.layers import (
    GRU,
    LSTM,
    AveragePooling2D,
    BatchNormalization,
    Bidirectional,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    Masking,
    MaxPooling2D,
    RepeatVector,
    Reshape,
    SimpleRNN,
    TimeDistributed,
    UpSampling2D,
)
from minivid.models import Sequential, load_model
from minivid.optimizers import SGD, Adam, AdamW, RMSprop
from minivid.tasks.detect import build_detector
from minivid.tasks.generate import build_generator
from minivid.training import NonFiniteError
from tests.cuda.fake_cupy import pretended_gpu
from tests.numerics import moved, normal


@pytest.fixture(
    params=[pytest.param("pretended", marks=pytest.mark.emulator), pytest.param("real", marks=pytest.mark.gpu)]
)
def cupy(request):
    """The module that a GPU's arrays belong to."""
    if request.param == "real":
        yield pytest.importorskip("cupy")
    else:
        with pretended_gpu() as module:
            yield module


def classifier():
    minivid.set_seed(3)
    cnn = [Conv2D(4, 3, padding="same", activation="relu"), MaxPooling2D(2), BatchNormalization(), Flatten()]
    layers = [Input((3, 6, 6, 2)), *map(TimeDistributed, cnn), Dropout(0.2), LSTM(5), Dense(3, activation="softmax")]
    return Sequential(layers)


def clips():
    rng = np.random.default_rng(0)
    return normal(rng, 9, 3, 6, 6, 2, dtype=np.float32), np.arange(9) % 3


def assert_alike(actual, expected):
    """Single precision, sums in another order, over a few steps of training."""
    np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9, nesterov=True), RMSprop(), Adam(), AdamW()])
def test_training_gives_what_it_gives_on_the_cpu(cupy, optimizer):
    x, y = clips()
    results = []
    for device in ("cpu", "gpu"):
        model = classifier().to(device)
        model.compile(
            type(optimizer).from_config(optimizer.get_config()), "sparse_categorical_crossentropy", "accuracy"
        )
        history = model.fit(x, y, batch_size=3, epochs=2, validation_split=0.4, stratify=True, verbose=0)
        figures = model.evaluate(x, y, verbose=0)
        results.append((list(history.history.values()), figures, model.predict(x), *model.get_weights()))
        assert {device_of(array) for array in model.arrays()} == {device}
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert_alike(on_gpu, on_cpu)


def test_every_layer_runs_forward_and_backward(cupy):
    x = normal(np.random.default_rng(0), 2, 3, 8, 8, 2, dtype=np.float32)
    results = []
    for device in ("cpu", "gpu"):
        minivid.set_seed(3)
        cnn = [
            Conv2D(3, 3, strides=2, padding="same", activation="tanh"),
            AveragePooling2D(2, strides=1),
            GlobalAveragePooling2D(),
        ]
        recurrent = [SimpleRNN(4, return_sequences=True), GRU(4, return_sequences=True), LSTM(4, go_backwards=True)]
        head = [Dense(4, activation="relu"), Dense(2, activation="sigmoid")]
        model = Sequential([*map(TimeDistributed, cnn), Masking(), *recurrent, *head]).to(device)
        y = model(to_device(x, device))
        model.zero_grads()
        dx = model.backward(to_device(np.ones((2, 2), np.float32), device))
        results.append([to_device(array, "cpu") for array in (y, dx, *model.grads.values())])
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert_alike(on_gpu, on_cpu)


def detector():
    truth = Truth(np.array([[2, 1, 6, 5]], np.float32), np.array([1]))
    y = np.broadcast_to(grid_targets(truth, (8, 8), (2, 2), num_classes=2), (2, 3, 2, 2, 7))
    return build_detector((3, 8, 8, 3), num_classes=2), GridLoss(), (2, 3, 8, 8, 3), y


def generator(network):
    y = np.random.default_rng(1).random((2, 3, 8, 8, 1), np.float32)
    return build_generator((8, 8, 1), network), "binary_crossentropy", (2, 3, 8, 8, 2), y


def bidirectional():
    layers = [Flatten(), RepeatVector(3), Bidirectional(LSTM(4, return_sequences=True)), Reshape((6, 4, 1))]
    return Sequential([Input((2, 4)), *layers, UpSampling2D(2)]), "huber", (2, 2, 4), np.ones((2, 12, 8, 1), np.float32)


@pytest.mark.parametrize(
    "make",
    [detector, lambda: generator("convlstm"), lambda: generator("cnn-lstm"), bidirectional],
    ids=["detector", "convlstm", "cnn-lstm", "bidirectional"],
)
def test_what_detection_and_generation_need(cupy, make):
    results = []
    for device in ("cpu", "gpu"):
        minivid.set_seed(3)
        model, loss, shape, y = make()
        x = np.random.default_rng(0).random(shape, np.float32)
        model.to(device).compile(SGD(0.05), loss)
        losses = [model.train_on_batch(x, y) for _ in range(2)]
        results.append((losses, model.predict(x), *model.get_weights()))
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert_alike(on_gpu, on_cpu)


@pytest.mark.parametrize("loss", ["mse", "mae", "binary_crossentropy", "categorical_crossentropy"])
def test_losses_weights_and_masks(cupy, loss):
    rng = np.random.default_rng(1)
    x, y = normal(rng, 5, 4, 3, dtype=np.float32), np.eye(2, dtype=np.float32)[rng.integers(0, 2, (5, 4))]
    results = []
    for device in ("cpu", "gpu"):
        minivid.set_seed(3)
        activation = "softmax" if loss == "categorical_crossentropy" else "sigmoid"
        model = Sequential([LSTM(4, return_sequences=True, input_shape=(4, 3)), Dense(2, activation=activation)])
        model.to(device).compile(Adam(0.01, global_clipnorm=0.1), loss, ["accuracy"])
        history = model.fit(x, y, lengths=[4, 3, 1, 2, 4], sample_weight=np.arange(1.0, 6.0), epochs=2, verbose=0)
        results.append(list(history.history.values()))
    assert_alike(*results)


def test_a_model_is_saved_and_goes_on_where_it_was(cupy, tmp_path):
    x, y = clips()
    model = classifier().to("gpu")
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(x, y, epochs=1, verbose=0)
    model.save(tmp_path / "model.safetensors")
    on_cpu = load_model(tmp_path / "model.safetensors")
    on_gpu = load_model(tmp_path / "model.safetensors").to("gpu")
    assert on_cpu.device == "cpu"
    for other in (on_cpu, on_gpu):
        assert_alike(other.predict(x), model.predict(x))
    for each in (model, on_cpu, on_gpu):
        minivid.set_seed(5)
        each.fit(x, y, epochs=1, verbose=0)
    assert_alike(on_cpu.predict(x), model.predict(x))
    np.testing.assert_array_equal(on_gpu.predict(x), model.predict(x))


def test_there_and_back(cupy):
    x, _ = clips()
    model = classifier()
    before = model.get_weights()
    model.to("gpu")
    model.set_weights([weight + 1 for weight in before])
    back = model.to("cpu").get_weights()
    for old, new in zip(before, back, strict=True):
        np.testing.assert_array_equal(new, old + 1)
    assert isinstance(model.predict(x), np.ndarray)


def test_predictions_come_back_to_where_the_inputs_were(cupy):
    x, _ = clips()
    model = classifier().to("gpu")
    assert device_of(model.predict(x)) == "cpu"
    assert device_of(model.predict(to_device(x, "gpu"))) == "gpu"


def test_arrays_of_two_devices_are_refused(cupy):
    x, _ = clips()
    with pytest.raises(TypeError, match="different devices"):
        classifier().to("gpu").forward(x)
    with pytest.raises(TypeError, match="different devices"):
        classifier().forward(to_device(x, "gpu"))


def test_what_is_not_finite_is_named_and_the_best_weights_come_back(cupy):
    x, y = clips()
    model = classifier().to("gpu")
    model.compile("adam", "sparse_categorical_crossentropy")
    before = model.get_weights()
    with pytest.raises(NonFiniteError, match=r"the input x.*epoch 1, batch 1"):
        model.fit(np.where(x > 2, np.nan, x), y, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    stopping = EarlyStopping(monitor="loss", patience=0, restore_best_weights=True)
    model.fit(x, y, epochs=3, callbacks=[stopping], verbose=0)
    assert model.device == "gpu"


def test_without_a_gpu_one_sentence_says_what_is_missing(monkeypatch):
    monkeypatch.setattr("minivid.cuda.device.missing", lambda: "no GPU: install one")
    model = Sequential([Dense(1, input_shape=(2,))])
    with pytest.raises(RuntimeError, match="no GPU: install one"):
        model.to("gpu")
    assert model.device == "cpu"


def test_the_stand_in_is_as_strict_as_cupy():
    with pretended_gpu() as cupy:
        x = cupy.asarray(np.arange(3.0))
        assert device_of(x) == "gpu"
        for mixed in (
            lambda: x + np.ones(3),
            lambda: np.ones(3) * x,
            lambda: cupy.where(x > 1, x, np.ones(3)),
            lambda: np.asarray(x),
        ):
            with pytest.raises(TypeError):
                mixed()
        assert moved(cupy.exp(x) + 1, cupy.asnumpy, cupy.ndarray).tolist() == (np.exp(np.arange(3.0)) + 1).tolist()
