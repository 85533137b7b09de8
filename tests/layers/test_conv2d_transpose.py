import numpy as np
import pytest

from minivid.layers import Conv2DTranspose
from tests.keras_numbers import set_waves, wave
from tests.layers.contract import check_contract, check_layer_gradients

OPTIONS = [
    {},
    {"padding": "same", "strides": (2, 1), "activation": "relu"},
    {"padding": "valid", "strides": 2, "output_padding": (1, 0), "activation": "tanh"},
    {"padding": "same", "dilation_rate": (1, 2), "use_bias": False, "activation": "sigmoid"},
]

# Conv2DTranspose(1, (2, 3), **options) of Keras 3.15.1 on wave(1, 2, 3, 2): tests/keras_numbers.py
KERAS = [
    (
        {"strides": 2, "padding": "same"},
        [
            [1.62782779, -0.03735283, 1.73402362, 1.35687519, -0.36164528, 1.08889898],
            [0.30700549, 1.03767425, 2.02300811, 0.34374982, 0.49587913, 1.75014337],
            [1.98749599, 0.15392256, -0.13916377, 2.02424033, 1.35273982, -0.24609177],
            [1.29390358, 0.03382217, 2.01714472, 1.56882129, -0.58410263, 0.65449553],
        ],
    ),
    (
        {"strides": (2, 1), "padding": "valid"},
        [
            [1.62782779, -0.11644419, 1.67770738, 0.40094164, 1.18448569],
            [0.30700549, 1.76910231, 0.07481944, 1.98793808, 0.11948757],
            [1.98749599, -1.11088452, 3.32998558, -0.89204875, 1.79997808],
            [1.29390358, 0.02590581, 2.31354567, -0.46786527, 1.71701046],
        ],
    ),
    (
        {"strides": 2, "padding": "same", "output_padding": 1},
        [
            [1.62782779, -0.03735283, 1.73402362, 1.35687519, -0.36164528, 1.08889898],
            [0.30700549, 1.03767425, 2.02300811, 0.34374982, 0.49587913, 1.75014337],
            [1.98749599, 0.15392256, -0.13916377, 2.02424033, 1.35273982, -0.24609177],
        ],
    ),
    (
        {"strides": (3, 2), "padding": "valid", "output_padding": (2, 0)},
        [
            [1.62782779, -0.03735283, 1.73402362, 1.35687519, -0.36164528, 1.08889898, 1.18448569],
            [0.30700549, 1.03767425, 2.02300811, 0.34374982, 0.49587913, 1.75014337, 0.11948757],
            [0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743],
            [1.98749599, 0.15392256, -0.13916377, 2.02424033, 1.35273982, -0.24609177, 1.79997808],
            [1.29390358, 0.03382217, 2.01714472, 1.56882129, -0.58410263, 0.65449553, 1.71701046],
            [0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743],
            [0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743],
        ],
    ),
    (
        {"strides": (1, 1), "padding": "same", "dilation_rate": (2, 1)},
        [[-1.11088452, 3.32998558, -0.89204875], [1.76910231, 0.07481944, 1.98793808]],
    ),
    (
        {"strides": (3, 2), "padding": "same", "output_padding": (0, 1)},
        [
            [0.30700549, 1.03767425, 2.02300811, 0.34374982, 0.49587913, 1.75014337],
            [0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743, 0.90929743],
            [1.98749599, 0.15392256, -0.13916377, 2.02424033, 1.35273982, -0.24609177],
        ],
    ),
]


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients(options):
    check_layer_gradients(lambda **o: Conv2DTranspose(4, (2, 3), **options, **o), (2, 3, 4, 3))


@pytest.mark.parametrize("options", OPTIONS)
def test_contract(options):
    check_contract(lambda **o: Conv2DTranspose(4, (2, 3), **options, **o), (2, 3, 4, 3), any_size=(1, 2))


@pytest.mark.parametrize(
    ("options", "expected"), KERAS, ids=lambda value: str(value) if isinstance(value, dict) else ""
)
def test_equals_keras(options, expected):
    layer = Conv2DTranspose(1, (2, 3), dtype="float64", **options)
    layer.build((None, 2, 3, 2))
    set_waves(layer)
    np.testing.assert_allclose(layer(wave(1, 2, 3, 2))[0, :, :, 0], expected, atol=2e-7)


def test_weights_in_keras_order():
    layer = Conv2DTranspose(8, (3, 5))
    layer.build((None, 7, 7, 16))
    assert [w.shape for w in layer.get_weights()] == [(3, 5, 8, 16), (8,)]  # filters before channels


def test_doubles_an_image_of_any_size():
    layer = Conv2DTranspose(2, 4, strides=2, padding="same")
    layer.build((None, None, 7, 1))
    assert layer.output_shape == (None, None, 14, 2)


def test_need_dx_false():
    layer = Conv2DTranspose(2, 2)
    y = layer(np.ones((2, 3, 4, 1)))
    assert layer.backward(np.ones_like(y), need_dx=False) is None
    np.testing.assert_array_equal(layer.grads["bias"], [40, 40])  # 2 images of 4x5 pixels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0, "kernel_size": 3}, "layer 'up': filters must be a positive int, got 0"),
        ({"filters": 2, "kernel_size": 0}, "layer 'up': kernel_size must be"),
        ({"filters": 2, "kernel_size": 3, "padding": 1}, "layer 'up': padding .* must be 'valid' or 'same', got 1"),
        ({"filters": 2, "kernel_size": 3, "strides": 2, "output_padding": 2}, "layer 'up': output_padding must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv2DTranspose(**arguments, name="up")


def test_clips_want_time_distributed():
    with pytest.raises(ValueError, match=r"TimeDistributed\(Conv2DTranspose"):
        Conv2DTranspose(2, 3)(np.ones((2, 16, 8, 8, 3)))
