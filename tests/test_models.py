import numpy as np
import pytest

import minivid
from minivid.gradcheck import check_gradients
from minivid.layers import (
    GRU,
    LSTM,
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    Masking,
    MaxPooling2D,
    SimpleRNN,
    TimeDistributed,
)
from minivid.models import Sequential
from minivid.optimizers import SGD
from minivid.utils import to_categorical


def mnist_convnet():
    return Sequential(
        [
            Conv2D(32, kernel_size=(3, 3), activation="relu", input_shape=(28, 28, 1)),
            MaxPooling2D(pool_size=(2, 2)),
            Conv2D(64, kernel_size=(3, 3), activation="relu"),
            MaxPooling2D(pool_size=(2, 2)),
            Flatten(),
            Dropout(0.5),
            Dense(10, activation="softmax"),
        ]
    )


def video_classifier(recurrent=LSTM, dtype="float64", classes=3):
    return Sequential(
        [
            Input((None, 6, 7, 2), dtype=dtype),
            TimeDistributed(Conv2D(3, (2, 3), activation="tanh")),
            TimeDistributed(MaxPooling2D(2)),
            TimeDistributed(Flatten()),
            recurrent(4, return_sequences=True),
            recurrent(5),
            Dense(classes, activation="softmax"),
        ]
    )


# --- building ---------------------------------------------------------------------------------------------------


def test_summary_of_the_mnist_convnet(capsys):
    model = mnist_convnet()
    model.summary()
    shown = capsys.readouterr().out
    for line in (
        "320",
        "18,496",
        "16,010",
        "total 34,826 weights, 34,826 trainable",
        "(None, 5, 5, 64)",
        "(None, 1600)",
    ):
        assert line in shown
    assert model.count_params() == 34_826 == 320 + 18_496 + 16_010
    assert [layer.name for layer in model.layers][:4] == ["conv2d", "max_pooling2d", "conv2d_1", "max_pooling2d_1"]


def test_summary_of_the_articles_cnn_by_shapes_alone():
    model = Sequential([Conv2D(32, 3), MaxPooling2D(), Conv2D(64, 3), MaxPooling2D(), Flatten()])
    assert model.compute_output_shape((None, 224, 224, 3)) == (None, 54 * 54 * 64)


def test_summary_counts_untrained_weights(capsys):
    Sequential([BatchNormalization(input_shape=(5,)), Dense(2)]).summary()
    assert "total 32 weights, 22 trainable" in capsys.readouterr().out  # 4·5 + 5·2 + 2, of which 2·5 move by themselves
    model = Sequential([Dense(3, input_shape=(4,), trainable=False), Dense(2)])
    model.summary()
    assert "total 23 weights, 8 trainable" in capsys.readouterr().out


def test_summary_names_what_is_inside_time_distributed(capsys):
    Sequential([TimeDistributed(Sequential([Flatten(), Dense(2)]), input_shape=(None, 3, 4))]).summary()
    shown = capsys.readouterr().out
    assert "time_distributed: TimeDistributed(Sequential)" in shown
    assert "26" in shown
    with pytest.raises(ValueError, match=r"not built: give the first layer an input_shape, or call build\(\)"):
        Sequential([Dense(2)]).summary()


def test_four_ways_to_tell_the_shape():
    models = [
        Sequential([Dense(3, input_shape=(4,)), Dense(2)]),
        Sequential([Input((4,)), Dense(3), Dense(2)]),
        Sequential([Dense(3), Dense(2)]),
        Sequential([Dense(3), Dense(2)]),
    ]
    models[2].build((None, 4))
    models[3](np.ones((2, 4)))
    for model in models:
        assert model.built
        assert model.output_shape == (None, 2)
        assert model.input_shape == (None, 4)
        assert model.count_params() == 15 + 8


def test_names_are_unique():
    model = Sequential([Dense(2), Dense(2), Dense(2, name="out")])
    assert [layer.name for layer in model.layers] == ["dense", "dense_1", "out"]
    with pytest.raises(ValueError, match="two layers are named 'out'"):
        model.add(Dense(2, name="out"))
    layer = Dense(2)
    model.add(layer)
    with pytest.raises(ValueError, match="in this model already"):
        model.add(layer)


def test_a_layer_of_two_models_keeps_its_name_and_weights():
    first = Sequential([Dense(4, input_shape=(4,)), Dense(4)])
    shared = first.layers[1]
    kernel = shared.params["kernel"].copy()
    second = Sequential([shared, Dense(2)])
    assert shared.name == "dense_1"
    np.testing.assert_array_equal(second.params["dense_1/kernel"], kernel)
    assert second.layers[1].name == "dense"
    with pytest.raises(ValueError, match="two layers are named 'dense'"):
        Sequential([Dense(4), first.layers[0]])
    assert sorted(first.params) == ["dense/bias", "dense/kernel", "dense_1/bias", "dense_1/kernel"]


def test_a_failing_add_leaves_the_model_as_it_was():
    model = Sequential([Conv2D(2, 3, input_shape=(8, 8, 1))])
    with pytest.raises(ValueError, match=r"layer 'lstm'.*\(batch, time, features\)"):
        model.add(LSTM(3))
    assert len(model.layers) == 1
    model.add(Flatten())
    assert model.output_shape == (None, 72)


def test_add_takes_layers():
    with pytest.raises(TypeError, match=r"got the class; write Dense\(\.\.\.\)"):
        Sequential([Dense])
    with pytest.raises(TypeError, match=r"wrap it, TimeDistributed\(model\)"):
        Sequential([Sequential([Dense(2)])])
    with pytest.raises(TypeError, match="add\\(\\) takes a layer, got 'dense'"):
        Sequential(["dense"])


def test_empty_model():
    for use in (lambda m: m(np.ones((2, 3))), lambda m: m.build((None, 3))):
        with pytest.raises(ValueError, match="no layers"):
            use(Sequential())
    assert Sequential().input_shape is None


def test_dtype_of_the_model():
    x = np.ones((2, 4))
    assert Sequential([Dense(3, input_shape=(4,)), Dense(2)])(x).dtype == np.float32  # declared: float32 by default
    assert Sequential([Dense(3), Dense(2)])(x).dtype == np.float64  # otherwise that of the first input
    assert Sequential([Dense(3), Dense(2)])(np.ones((2, 4), dtype=np.uint8)).dtype == np.float32
    model = Sequential([Dense(3, input_shape=(4,), dtype="float64"), Dense(2)])
    assert model(x.astype(np.float32)).dtype == np.float64
    assert all(a.dtype == np.float64 for a in model.get_weights())
    model = video_classifier(dtype="float64")
    assert {a.dtype for a in model.get_weights()} == {np.dtype("float64")}


# --- errors of the article and of the course --------------------------------------------------------------------


def test_lstm_on_clips():
    with pytest.raises(ValueError, match=r"layer 'lstm': LSTM takes \(batch, time, features\).*TimeDistributed"):
        Sequential([LSTM(100, return_sequences=True, input_shape=(None, 224, 224, 3))])


@pytest.mark.parametrize("between", [[], [Dropout(0.5)], [Dense(3), Activation("relu")]])
@pytest.mark.parametrize("second", [LSTM(3, name="second"), TimeDistributed(Dense(3), name="second")])
def test_second_recurrent_layer_without_sequences(between, second):
    between = [type(layer)(**layer.get_config()) for layer in between]
    with pytest.raises(ValueError, match=r"layer 'second'.*set return_sequences=True on layer 'lstm'"):
        Sequential([LSTM(4, input_shape=(None, 5)), *between, type(second)(**second_config(second))])


def second_config(layer):
    config = layer.get_config()
    return config | {"layer": Dense(3)} if "layer" in config else config


def test_return_state_is_not_for_sequential():
    with pytest.raises(ValueError, match=r"layer 'gru' has return_state=True.*several outputs"):
        Sequential([GRU(3, return_state=True, input_shape=(None, 4))])


def test_wrong_data_names_the_layer():
    model = mnist_convnet()
    with pytest.raises(
        ValueError, match=r"layer 'conv2d' was made with input_shape=\(28, 28, 1\), got .*\(2, 32, 32, 1\)"
    ):
        model(np.ones((2, 32, 32, 1)))
    with pytest.raises(ValueError, match=r"layer 'conv2d'.*channel axis"):
        model(np.ones((2, 28, 28)))
    with pytest.raises(ValueError, match="model 'sequential': the batch holds no samples"):
        model(np.ones((0, 28, 28, 1)))
    with pytest.raises(TypeError, match="model 'sequential' takes an array of numbers, got dtype object"):
        model(np.array([None, None]))


# --- forward and backward -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recurrent", [LSTM, GRU, SimpleRNN])
def test_gradients_of_a_whole_model(recurrent):
    model = video_classifier(recurrent)
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 7, 2))

    def forward(x, **params):
        for name, value in params.items():
            model.params[name.replace("|", "/")][...] = value
        return model.forward(x)

    def backward(dy, **inputs):
        forward(**inputs)
        model.zero_grads()
        return {"x": model.backward(dy), **{n.replace("/", "|"): g.copy() for n, g in model.grads.items()}}

    inputs = {"x": x, **{name.replace("/", "|"): array.copy() for name, array in model.params.items()}}
    check_gradients(forward, backward, inputs, smooth=False).raise_if_failed()


def loss_of(model, loss, x, y, **options):
    """The loss as training computes it, and its gradients, through the model's own step."""
    model.compile(SGD(1e-30), loss)  # a step that changes nothing
    value = model.train_on_batch(x, y, **options)
    return value, {name: gradient.copy() for name, gradient in model.grads.items()}


LOSSES = {
    "categorical_crossentropy": ("softmax", 3, lambda labels: to_categorical(labels, 3, "float64")),
    "sparse_categorical_crossentropy": ("softmax", 3, lambda labels: labels),
    "binary_crossentropy": ("sigmoid", 2, lambda labels: np.stack([labels == 0, labels == 2], axis=-1)),
    "mse": (None, 1, lambda labels: labels[..., None] * 0.5),
    "mae": (None, 1, lambda labels: labels[..., None] * 0.5),
}


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_of_the_loss_with_respect_to_every_weight(loss, per_step):
    activation, K, target = LOSSES[loss]
    cnn = Sequential([Conv2D(2, 2, activation="tanh"), GlobalAveragePooling2D()])
    head = Sequential([Dense(3, activation="tanh"), Dense(K, activation=activation)])
    model = Sequential(
        [
            Input((None, 4, 5, 1), dtype="float64"),
            TimeDistributed(cnn),
            LSTM(3, return_sequences=per_step),
            TimeDistributed(head) if per_step else Dense(K, activation=activation),
        ]
    )
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(4, 3, 4, 5, 1)), target(rng.integers(3, size=(4, 3) if per_step else 4))
    weight = rng.uniform(0.5, 2, size=4)
    _, gradients = loss_of(model, loss, x, y, sample_weight=weight)
    assert model._fused == (activation is not None)
    h = 1e-5
    for name, w in model.params.items():
        v = rng.normal(size=w.shape)
        start = w.copy()
        w[...] = start + h * v
        ahead, _ = loss_of(model, loss, x, y, sample_weight=weight)
        w[...] = start - h * v
        behind, _ = loss_of(model, loss, x, y, sample_weight=weight)
        w[...] = start
        np.testing.assert_allclose((gradients[name] * v).sum(), (ahead - behind) / (2 * h), rtol=2e-6, atol=1e-10)


@pytest.mark.parametrize(
    ("activation", "loss", "y", "expected"),
    [
        # softmax: logits 500 and -500 times x; the right class far ahead costs nothing, the wrong one 1000
        ("softmax", "sparse_categorical_crossentropy", [0], 0.0),
        ("softmax", "sparse_categorical_crossentropy", [1], 1000.0),
        ("softmax", "categorical_crossentropy", [[0, 1]], 1000.0),
        # sigmoid: the mean of log(1 + exp(500)) = 500 and log(1 + exp(500))
        ("sigmoid", "binary_crossentropy", [[0, 1]], 500.0),
        ("sigmoid", "binary_crossentropy", [[1, 0]], 0.0),
    ],
)
def test_extreme_logits_do_not_overflow(activation, loss, y, expected):
    for wrap in (lambda layer: layer, TimeDistributed):
        clip = wrap is TimeDistributed
        model = Sequential([wrap(Dense(2, activation=activation, use_bias=False))])
        x = np.ones((1, 1, 1) if clip else (1, 1))
        model.build(x.shape)
        model.set_weights([np.array([[500.0, -500.0]])])
        value, gradients = loss_of(model, loss, x, np.array([y] if clip else y))
        assert value == pytest.approx(expected, abs=1e-30)
        (gradient,) = gradients.values()
        assert np.isfinite(gradient).all()
        # p - t: nothing to correct where the prediction is right, one whole step where it is wrong
        wrong = expected > 0
        share = 2 if activation == "sigmoid" else 1  # binary cross-entropy is a mean over the outputs
        np.testing.assert_allclose(np.abs(gradient), np.full((1, 2), float(wrong)) / share, atol=1e-30)


def test_backward_stops_where_nothing_is_learned():
    model = Sequential([Input((4,)), Dense(3, name="a"), Dense(2, name="b"), Dropout(0.5), Dense(2, name="c")])
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    dy = np.ones((3, 2), dtype=np.float32)
    model(x)
    dx = model.backward(dy)
    assert dx.shape == x.shape
    whole = {name: g.copy() for name, g in model.grads.items()}
    model.zero_grads()
    assert model.backward(dy, need_dx=False) is None
    for name, gradient in model.grads.items():
        np.testing.assert_array_equal(gradient, whole[name])
    model.zero_grads()
    model.layers[1].trainable = model.layers[2].trainable = False
    assert model.backward(dy, need_dx=False) is None
    assert sorted(model.trainable_params) == ["c/bias", "c/kernel"]
    np.testing.assert_array_equal(model.grads["c/kernel"], whole["c/kernel"])
    assert not model.grads["b/kernel"].any()


def test_trainable_of_the_whole_model():
    model = Sequential([Dense(3, input_shape=(4,)), Dense(2)])
    model.trainable = False
    assert not model.trainable
    assert model.trainable_params == {}
    model.layers[1].trainable = True
    assert model.trainable
    assert list(model.trainable_params) == ["dense_1/kernel", "dense_1/bias"]
    assert set(model.grads) == set(model.params)


def test_the_reference_trains_alike():
    """All operations of a model run as written in their equations, too."""
    x, y = np.random.default_rng(0).normal(size=(4, 3, 6, 7, 2)), np.array([0, 1, 2, 1])
    weights = []
    for implementation in ("cpu", "reference"):
        minivid.set_seed(0)
        model = video_classifier()
        model.compile("adam", "sparse_categorical_crossentropy")
        with minivid.use(implementation):
            model.fit(x, y, batch_size=2, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for fast, reference in zip(*weights, strict=True):
        np.testing.assert_allclose(fast, reference, rtol=1e-8, atol=1e-10)


def test_stateful_layers_of_a_model():
    model = Sequential([LSTM(3, stateful=True, input_shape=(None, 2)), Dense(1)])
    x = np.random.default_rng(0).normal(size=(2, 4, 2))
    whole = model.predict(x)
    model.reset_states()
    model.predict(x[:, :3])
    np.testing.assert_allclose(model.predict(x[:, 3:]), whole, rtol=1e-5)
    with pytest.raises(ValueError, match=r"layer 'lstm' is stateful.*reset_states"):
        model.predict(x[:1])
    model.reset_states()
    model.predict(x[:1])


# --- masks --------------------------------------------------------------------------------------------------------


def clips_of_lengths(lengths, rng):
    x = np.zeros((len(lengths), max(lengths), 6, 7, 2))
    for clip, length in zip(x, lengths, strict=True):
        clip[:length] = rng.normal(size=(length, 6, 7, 2))
    return x


@pytest.mark.parametrize("recurrent", [LSTM, GRU, SimpleRNN])
@pytest.mark.parametrize("how", ["masking", "mask"])
def test_padded_clips_equal_clips_alone(recurrent, how):
    """Masking or lengths -> TimeDistributed(CNN) -> two recurrent layers: as if the padding were not there."""
    rng = np.random.default_rng(0)
    lengths = [4, 2, 3]
    x = clips_of_lengths(lengths, rng)
    model = video_classifier(recurrent)
    padded = model
    mask = np.arange(4) < np.array(lengths)[:, None]
    if how == "masking":
        padded = Sequential([Input((None, 6, 7, 2), dtype="float64"), Masking(), *model.layers[1:]])
        mask = None
    else:
        x = np.where(mask[..., None, None, None], x, 7.5)  # whatever the padding holds
    y = padded.forward(x, mask=mask)
    dy = rng.normal(size=y.shape)
    padded.zero_grads()
    dx = padded.backward(dy)
    gradients = {name: g.copy() for name, g in padded.grads.items()}

    model.zero_grads()
    for n, length in enumerate(lengths):
        alone = model.forward(x[n : n + 1, :length])
        np.testing.assert_allclose(y[n : n + 1], alone, rtol=1e-12)
        np.testing.assert_allclose(dx[n : n + 1, :length], model.backward(dy[n : n + 1]), rtol=1e-10, atol=1e-14)
        assert not dx[n, length:].any()
    for name, gradient in model.grads.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-10, atol=1e-13)


def test_the_mask_reaches_the_output_of_every_step():
    model = Sequential([Input((None, 3)), Masking(), LSTM(4, return_sequences=True), Dense(2)])
    x = np.ones((2, 4, 3), dtype=np.float32)
    x[1, 2:] = 0
    model(x)
    np.testing.assert_array_equal(model.output_mask, [[1, 1, 1, 1], [1, 1, 0, 0]])
    model.add(LSTM(3))
    model(x)
    assert model.output_mask is None


# --- weights ------------------------------------------------------------------------------------------------------


def test_weights_in_keras_order_are_copies():
    model = Sequential([BatchNormalization(input_shape=(3,)), Dense(2)])
    shapes = [w.shape for w in model.get_weights()]
    assert shapes == [(3,), (3,), (3,), (3,), (3, 2), (2,)]
    weights = model.get_weights()
    weights[4][...] = 7
    assert not (model.params["dense/kernel"] == 7).any()
    model.set_weights(weights)
    assert (model.params["dense/kernel"] == 7).all()
    weights[4][...] = 8
    assert (model.params["dense/kernel"] == 7).all()


def test_set_weights_checks_before_it_changes():
    model = Sequential([Dense(2, input_shape=(3,)), Dense(2)])
    before = model.get_weights()
    for bad in (before[:-1], [*before[:-1], np.ones(5)], [*before[:-1], np.array(["a", "b"])]):
        with pytest.raises(ValueError, match="the model"):
            model.set_weights([np.ones_like(bad[0]), *bad[1:]])
        for old, new in zip(before, model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_to_device():
    model = mnist_convnet()
    assert model.to("cpu") is model
    with pytest.raises(ValueError, match="'cpu' or 'gpu', got 'tpu'"):
        model.to("tpu")


# --- compile ------------------------------------------------------------------------------------------------------


def test_compile_takes_names_and_objects():
    model = Sequential([Dense(2, input_shape=(3,), activation="softmax")])
    for metrics in (None, [], "accuracy", ["accuracy"], ("accuracy",), minivid.metrics.get("mse")):
        model.compile("adam", "categorical_crossentropy", metrics)
    assert [metric.name for metric in model.metrics] == ["mse"]
    model.compile(loss="mse")
    assert type(model.optimizer).__name__ == "RMSprop"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "compile needs a loss"),
        ({"loss": "entropy"}, ValueError, "there is no loss 'entropy'"),
        ({"loss": "mse", "optimizer": "sgdd"}, ValueError, "there is no optimizer 'sgdd'"),
        ({"loss": "mse", "metrics": ["acuracy"]}, ValueError, "there is no metric 'acuracy'"),
        ({"loss": "mse", "metrics": ["mae", "mae"]}, ValueError, "metrics need different names"),
        ({"loss": 3}, TypeError, "a loss is a name"),
    ],
)
def test_compile_errors_leave_the_model_as_it_was(arguments, error, message):
    model = Sequential([Dense(2, input_shape=(3,))])
    model.compile("sgd", "mae", ["mse"])
    with pytest.raises(error, match=message):
        model.compile(**arguments)
    assert type(model.optimizer).__name__ == "SGD"
    assert model.loss.name == "mean_absolute_error"
    assert [metric.name for metric in model.metrics] == ["mse"]
