import numpy as np
import pytest

from minivid.layers import GRU, LSTM, Bidirectional, ConvLSTM2D, Dense, SimpleRNN
from minivid.models import Sequential, load_model
from tests.keras_numbers import set_waves, wave
from tests.layers.contract import built, check_contract, check_layer_gradients

SHAPE = (3, 5, 4)
MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]], dtype=bool)
LAYERS = [SimpleRNN, LSTM, GRU]
MODES = ["concat", "sum", "mul", "ave"]

# Keras 3.15.1 (tests/keras_numbers.py) on wave(2, 3, 2) with the mask below, two units.
KERAS_MASK = np.array([[True, True, False], [False, True, True]])
KERAS_SEQUENCES = {
    "SimpleRNN": [
        [
            [-0.27777937, -0.95293838, 0.4208878, 0.93168646],
            [0.91759527, 0.49604279, -0.70832586, -0.2595599],
            [0.0, 0.0, 0.0, 0.0],
        ],
        [
            [0.0, 0.0, 0.0, 0.0],
            [-0.21487677, -0.65549183, 0.84938449, 0.8413415],
            [0.47304121, -0.85999697, -0.28211516, 0.9026736],
        ],
    ],
    "LSTM": [
        [
            [0.02078546, -0.13381554, -0.3100941, 0.16854041],
            [0.15997832, 0.02455316, -0.1210685, -0.37180498],
            [0.0, 0.0, 0.0, 0.0],
        ],
        [
            [0.0, 0.0, 0.0, 0.0],
            [0.06911555, -0.01240283, -0.36941894, 0.08545911],
            [0.12911019, -0.09605386, -0.07474876, 0.11365355],
        ],
    ],
    "GRU": [
        [
            [0.53863711, -0.41775879, -0.48474253, -0.0029475],
            [0.32714759, -0.21548352, -0.04558711, 0.04606613],
            [0.0, 0.0, 0.0, 0.0],
        ],
        [
            [0.0, 0.0, 0.0, 0.0],
            [0.03045624, -0.79180192, -0.52583726, 0.05344123],
            [0.38940159, 0.03144654, -0.54741618, -0.10075639],
        ],
    ],
}
KERAS_LAST = {
    "sum": [[-0.15011578, 0.19309357], [-0.24030875, -0.01059475]],
    "mul": [[-0.04960833, 0.0041382], [-0.04769575, -0.00820868]],
    "ave": [[-0.07505789, 0.09654678], [-0.12015437, -0.00529738]],
    "concat": [[0.15997832, 0.02455316, -0.3100941, 0.16854041], [0.12911019, -0.09605386, -0.36941894, 0.08545911]],
}
# LSTM(2) forwards and GRU(3) backwards, without a mask
KERAS_TWO_KINDS = [
    [0.09906682, -0.00861963, 0.47915542, 0.34421978, -0.1582694],
    [0.15057958, -0.02804357, 0.22147993, 0.66248924, 0.01531946],
]
# last h and c of both directions, LSTM(2), without a mask
KERAS_STATES = [
    [[0.09906682, -0.00861963], [0.15057958, -0.02804357]],
    [[0.58322419, -0.01589679], [0.38876976, -0.05078655]],
    [[-0.19139392, 0.1666042], [-0.1738677, -0.0496096]],
    [[-0.29679035, 0.54806376], [-0.3590367, -0.08509219]],
]


def both(layer, merge_mode="concat", backward_layer=None):
    return lambda **o: Bidirectional(layer(), merge_mode, backward_layer and backward_layer(), **o)


@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("cls", LAYERS)
def test_contract_and_gradients(cls, sequences):
    make = both(lambda: cls(3, return_sequences=sequences))
    check_contract(make, SHAPE, any_size=(1,))
    for mask in (None, MASK):
        check_layer_gradients(make, SHAPE, mask=mask)


@pytest.mark.parametrize("mode", MODES)
def test_contract_and_gradients_of_modes(mode):
    make = both(lambda: GRU(3, return_sequences=True), mode)
    check_contract(make, SHAPE, any_size=(1,))
    check_layer_gradients(make, SHAPE, mask=MASK)


def test_contract_and_gradients_of_two_kinds():
    make = both(lambda: LSTM(3), "concat", lambda: SimpleRNN(2, go_backwards=True))
    check_contract(make, SHAPE, any_size=(1,))
    check_layer_gradients(make, SHAPE, mask=MASK)


def test_convolutional():
    check_layer_gradients(both(lambda: ConvLSTM2D(2, 3, padding="same", return_sequences=True)), (2, 3, 4, 3, 1))


def keras_layer(layer, *arguments):
    wrapped = Bidirectional(layer, *arguments, dtype="float64")
    wrapped.build((None, 3, 2))
    set_waves(wrapped)
    return wrapped


@pytest.mark.parametrize("cls", LAYERS)
def test_sequences_equal_keras(cls):
    y = keras_layer(cls(2, return_sequences=True))(wave(2, 3, 2), mask=KERAS_MASK)
    np.testing.assert_allclose(y, KERAS_SEQUENCES[cls.__name__], atol=2e-7)


@pytest.mark.parametrize("mode", MODES)
def test_last_outputs_equal_keras(mode):
    y = keras_layer(LSTM(2), mode)(wave(2, 3, 2), mask=KERAS_MASK)
    np.testing.assert_allclose(y, KERAS_LAST[mode], atol=2e-7)


def test_two_kinds_equal_keras():
    layer = keras_layer(LSTM(2), "concat", GRU(3, go_backwards=True))
    np.testing.assert_allclose(layer(wave(2, 3, 2)), KERAS_TWO_KINDS, atol=2e-7)
    assert [w.shape for w in layer.get_weights()] == [(2, 8), (2, 8), (8,), (2, 9), (3, 9), (2, 9)]


def test_states_equal_keras():
    _, *states = keras_layer(LSTM(2, return_sequences=True, return_state=True))(wave(2, 3, 2))
    np.testing.assert_allclose(states, KERAS_STATES, atol=2e-7)


def test_known_answer():
    layer = Bidirectional(SimpleRNN(1, return_sequences=True), dtype="float64")
    layer.build((None, 2, 1))
    layer.set_weights([[[1.0]], [[1.0]], [0.0], [[2.0]], [[1.0]], [0.0]])
    y = layer(np.array([1.0, 3.0]).reshape(1, 2, 1))
    first, last = np.tanh(1.0), np.tanh(6.0)  # where each direction begins
    np.testing.assert_allclose(y[0], [[first, np.tanh(2 + last)], [np.tanh(3 + first), last]])


def test_both_outputs_with_merge_mode_none():
    layer = built(both(lambda: LSTM(3, return_sequences=True), None), SHAPE)
    merged = built(both(lambda: LSTM(3, return_sequences=True)), SHAPE)
    x = np.random.default_rng(0).normal(size=SHAPE)
    y, y_back = layer(x)
    np.testing.assert_array_equal(np.concatenate([y, y_back], axis=-1), merged(x))
    dx = merged.backward(np.ones((3, 5, 6)))
    np.testing.assert_array_equal(layer.backward((np.ones_like(y), np.ones_like(y))), dx)
    assert layer.output_shape == ((None, 5, 3), (None, 5, 3))


def test_states_in_and_out():
    rng = np.random.default_rng(0)
    layer = built(both(lambda: LSTM(3, return_state=True)), SHAPE)
    x, initial = rng.normal(size=SHAPE), [rng.normal(size=(3, 3)) for _ in range(4)]
    y, *states = layer(x, initial_state=initial)
    assert [s.shape for s in states] == [(3, 3)] * 4
    np.testing.assert_array_equal(y, np.concatenate([states[0], states[2]], axis=-1))
    dy = [rng.normal(size=a.shape) for a in (y, *states)]
    dx, v, h = layer.backward(tuple(dy)), rng.normal(size=SHAPE), 1e-6

    def loss(x):
        return sum((d * a).sum() for d, a in zip(dy, layer(x, initial_state=initial), strict=True))

    np.testing.assert_allclose((dx * v).sum(), (loss(x + h * v) - loss(x - h * v)) / (2 * h), rtol=1e-7)
    with pytest.raises(ValueError, match=r"layer 'bidirectional': initial_state takes 2 .* 2 .* got 1"):
        layer(x, initial_state=initial[:1])


def test_a_model_is_saved_and_trained(tmp_path):
    model = Sequential(
        [Bidirectional(LSTM(3, return_sequences=True), input_shape=(5, 4)), Bidirectional(GRU(2)), Dense(1)]
    )
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 5, 4)).astype(np.float32), rng.normal(size=(8, 1)).astype(np.float32)
    history = model.fit(x, y, epochs=20, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(load_model(tmp_path / "m.safetensors").predict(x), model.predict(x))


def test_errors():
    with pytest.raises(TypeError, match="wraps a recurrent layer object"):
        Bidirectional(Dense(3))
    with pytest.raises(ValueError, match=r"merge_mode must be one of .* got 'max'"):
        Bidirectional(LSTM(3), "max")
    with pytest.raises(ValueError, match="both layers have go_backwards=False"):
        Bidirectional(LSTM(3), backward_layer=LSTM(3))
    with pytest.raises(ValueError, match="must have the same return_sequences"):
        Bidirectional(LSTM(3), backward_layer=LSTM(3, go_backwards=True, return_sequences=True))
    with pytest.raises(ValueError, match=r"merge_mode='sum' needs outputs of one shape"):
        Bidirectional(LSTM(3), "sum", LSTM(2, go_backwards=True))(np.ones(SHAPE))
