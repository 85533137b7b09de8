import numpy as np
import pytest

from minivid.layers import ConvLSTM2D
from minivid.models import Sequential, load_model
from tests.keras_numbers import set_waves, wave
from tests.layers.contract import built, check_contract, check_layer_gradients

SHAPE = (2, 3, 4, 5, 2)
MASK = np.array([[True, True, False], [False, True, True]])
OPTIONS = [
    {"padding": "same"},
    {"return_sequences": True, "strides": (2, 1), "padding": "same"},
    {"go_backwards": True, "return_sequences": True, "use_bias": False, "dilation_rate": (1, 2)},
]

# ConvLSTM2D(1, (2, 3), **options) of Keras 3.15.1 on wave(2, 3, 3, 4, 2): tests/keras_numbers.py
KERAS = [
    (
        {"padding": "same", "return_sequences": True},
        [
            [
                [
                    [-0.3830547, 0.08511929, -0.12360341, -0.04583065],
                    [-0.18910221, -0.42531732, 0.11767065, -0.18893646],
                    [0.12234805, -0.18897372, 0.04250603, -0.08487363],
                ],
                [
                    [-0.38181912, 0.10736275, -0.12998378, -0.05191952],
                    [-0.24271895, -0.44253862, 0.13514656, -0.2121208],
                    [0.17855165, -0.16670042, 0.04586457, -0.13734824],
                ],
                [
                    [-0.34788466, 0.1045663, -0.13304234, -0.10802207],
                    [-0.1275091, -0.44271427, 0.11171196, -0.19433138],
                    [0.18446086, -0.1239032, 0.05086212, -0.18127188],
                ],
            ],
            [
                [
                    [-0.29183267, 0.06902198, -0.10209007, -0.23365296],
                    [0.07086153, -0.32828191, 0.07524333, -0.11887992],
                    [0.08341404, -0.07282197, 0.03237252, -0.02031615],
                ],
                [
                    [-0.33030918, 0.0787603, -0.16359213, -0.25508399],
                    [0.12977918, -0.33195461, 0.07251996, -0.16727637],
                    [0.10852921, -0.08185442, -0.04054909, 0.01749189],
                ],
                [
                    [-0.33406011, 0.0703836, -0.2169971, -0.30592697],
                    [0.16644022, -0.26600993, 0.07228749, -0.19986387],
                    [0.11116963, -0.08887418, -0.17037839, 0.10792014],
                ],
            ],
        ],
    ),
    ({"padding": "valid", "strides": 2}, [[[0.08727709]], [[0.05546215]]]),
    (
        {"padding": "same", "dilation_rate": 2, "go_backwards": True, "return_sequences": True},
        [
            [
                [
                    [-0.23893396, 0.00603135, -0.24754983, -0.17316452],
                    [-0.04420722, -0.29070519, -0.14147561, -0.13873542],
                    [-0.25956905, 0.02120913, -0.20824757, -0.20116875],
                ],
                [
                    [-0.25449491, 0.00278603, -0.35702491, -0.19831745],
                    [-0.17129694, -0.36218332, -0.09009892, -0.21390147],
                    [-0.31640707, 0.0399806, -0.28447848, -0.22007501],
                ],
                [
                    [-0.22327047, -0.09882307, -0.38316073, -0.15074993],
                    [-0.24086334, -0.35118698, -0.03451219, -0.28203864],
                    [-0.3019691, 0.02274055, -0.31998799, -0.16939282],
                ],
            ],
            [
                [
                    [-0.28742673, 0.01605709, -0.14730459, -0.23115056],
                    [0.01802868, -0.31528743, -0.19742218, -0.06451165],
                    [-0.30602462, 0.01211304, -0.09976116, -0.25268667],
                ],
                [
                    [-0.31586779, 0.08270639, -0.31429848, -0.29233734],
                    [-0.07791849, -0.40635217, -0.16276639, -0.08235685],
                    [-0.36711511, 0.0775916, -0.18609166, -0.3062398],
                ],
                [
                    [-0.28542274, 0.05035024, -0.37693124, -0.27344034],
                    [-0.15014177, -0.40738079, -0.07973078, -0.15066653],
                    [-0.35787904, 0.09513231, -0.24583181, -0.28777766],
                ],
            ],
        ],
    ),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_contract_and_gradients(options):
    make = lambda **o: ConvLSTM2D(3, (2, 3), **options, **o)  # noqa: E731
    check_contract(make, SHAPE, any_size=(1, 2, 3))
    for mask in (None, MASK):
        check_layer_gradients(make, SHAPE, mask=mask)


@pytest.mark.parametrize(("options", "expected"), KERAS, ids=["same", "strides", "dilated, backwards"])
def test_equals_keras(options, expected):
    layer = ConvLSTM2D(1, (2, 3), dtype="float64", **options)
    layer.build((None, 3, 3, 4, 2))
    set_waves(layer)
    np.testing.assert_allclose(layer(wave(2, 3, 3, 4, 2))[..., 0], expected, atol=2e-7)


def test_weights_in_keras_order():
    layer = ConvLSTM2D(2, (3, 5))
    layer.build((None, None, 8, 8, 4))
    assert [w.shape for w in layer.get_weights()] == [(3, 5, 4, 8), (3, 5, 2, 8), (8,)]
    np.testing.assert_array_equal(layer.params["bias"], [0, 0, 1, 1, 0, 0, 0, 0])  # slots i, f, C~, o
    assert layer.output_shape == (None, 6, 4, 2)


def test_states_in_and_out():
    rng = np.random.default_rng(0)
    layer = built(lambda **o: ConvLSTM2D(2, 3, padding="same", return_state=True, return_sequences=True, **o), SHAPE)
    x = rng.normal(size=SHAPE)
    h, h_last, c_last = layer(x)
    assert h.shape == (2, 3, 4, 5, 2)
    np.testing.assert_array_equal(h_last, h[:, -1])
    _, *state = layer(x[:, :2])
    np.testing.assert_allclose(layer(x[:, 2:], initial_state=state)[2], c_last, rtol=1e-12)
    dy = [rng.normal(size=a.shape) for a in (h, h_last, c_last)]
    layer(x)
    dx, v, e = layer.backward(tuple(dy)), rng.normal(size=SHAPE), 1e-6

    def loss(x):
        return sum((d * a).sum() for d, a in zip(dy, layer(x), strict=True))

    np.testing.assert_allclose((dx * v).sum(), (loss(x + e * v) - loss(x - e * v)) / (2 * e), rtol=1e-7)
    with pytest.raises(ValueError, match=r"initial_state takes h and c of shape \(2, 4, 5, 2\)"):
        layer(x, initial_state=[np.zeros((2, 2))] * 2)


def test_a_masked_frame_is_not_seen():
    layer = built(lambda **o: ConvLSTM2D(2, 3, padding="same", return_sequences=True, **o), SHAPE)
    x = np.random.default_rng(0).normal(size=SHAPE)
    y = layer(x, mask=MASK)
    np.testing.assert_array_equal(y[0, 2], y[0, 1])
    np.testing.assert_array_equal(y[1, 0], np.zeros((4, 5, 2)))
    np.testing.assert_array_equal(layer(np.where(MASK[:, :, None, None, None], x, 99.0), mask=MASK), y)


def test_a_model_is_saved_and_loaded(tmp_path):
    model = Sequential([ConvLSTM2D(2, 3, padding="same", input_shape=(3, 4, 5, 1))])
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 1)).astype(np.float32)
    model.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(load_model(tmp_path / "m.safetensors").predict(x), model.predict(x))


def test_errors():
    with pytest.raises(ValueError, match=r"layer 'conv_lstm2d': ConvLSTM2D takes clips \(batch, time"):
        ConvLSTM2D(2, 3)(np.ones((2, 8, 8, 1)))
    with pytest.raises(ValueError, match="layer 'conv_lstm2d': filters must be a positive int, got 0"):
        ConvLSTM2D(0, 3)
    with pytest.raises(ValueError, match="layer 'conv_lstm2d': kernel_size must be"):
        ConvLSTM2D(2, 0)
    with pytest.raises(TypeError, match="ConvLSTM2D has no argument 'recurrent_dropout'"):
        ConvLSTM2D(2, 3, recurrent_dropout=0.1)
