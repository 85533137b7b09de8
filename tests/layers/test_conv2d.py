import numpy as np
import pytest

from minivid.layers import Conv2D
from tests.layers.contract import check_contract, check_layer_gradients

OPTIONS = [
    {},
    {"padding": "same", "strides": (2, 1), "activation": "relu"},
    {"padding": ((0, 1), (2, 0)), "dilation_rate": (1, 2), "activation": "tanh"},
    {"padding": 1, "use_bias": False, "activation": "sigmoid"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients(options):
    check_layer_gradients(lambda **o: Conv2D(4, (2, 3), **options, **o), (2, 5, 6, 3))


@pytest.mark.parametrize("options", OPTIONS)
def test_contract(options):
    check_contract(lambda **o: Conv2D(4, (2, 3), **options, **o), (2, 5, 6, 3), any_size=(1, 2))


def test_known_answer():
    layer = Conv2D(1, (1, 2))
    layer.build((None, 1, 3, 1))
    layer.set_weights([np.array([1.0, 10.0]).reshape(1, 2, 1, 1), [0.5]])
    # pixels 1 2 3: 1 + 20 + 0.5 and 2 + 30 + 0.5 (cross-correlation: the kernel is not flipped)
    np.testing.assert_array_equal(layer(np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)).ravel(), [21.5, 32.5])


def test_weights_in_keras_order():
    layer = Conv2D(32, 3)
    layer.build((None, 28, 28, 1))
    assert [w.shape for w in layer.get_weights()] == [(3, 3, 1, 32), (32,)]
    assert layer.count_params() == 320


def test_unknown_height_only():
    layer = Conv2D(2, 3, strides=2)
    layer.build((None, None, 7, 1))
    assert layer.output_shape == (None, None, 3, 2)


def test_need_dx_false():
    layer = Conv2D(2, 2)
    y = layer(np.ones((2, 3, 4, 1)))
    assert layer.backward(np.ones_like(y), need_dx=False) is None
    np.testing.assert_array_equal(layer.grads["bias"], [12, 12])  # 2 images of 2x3 positions


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": -1, "kernel_size": 3}, "layer 'edges': filters must be a positive int, got -1"),
        ({"filters": 2, "kernel_size": 0}, "layer 'edges': kernel_size must be"),
        ({"filters": 2, "kernel_size": (3, 3, 3)}, "layer 'edges': kernel_size must be"),
        ({"filters": 2, "kernel_size": 3, "strides": -2}, "layer 'edges': strides must be"),
        ({"filters": 2, "kernel_size": 3, "padding": "full"}, "layer 'edges': padding must be"),
        ({"filters": 2, "kernel_size": 3, "dilation_rate": 0}, "layer 'edges': dilation_rate must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv2D(**arguments, name="edges")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 16, 8, 8, 3), r"layer 'conv2d'.*\(batch, height, width, channels\).*TimeDistributed\(Conv2D"),
        ((2, 8, 8), r"layer 'conv2d'.*channel axis, x\[\.\.\., None\]"),
        ((2, 8), r"layer 'conv2d': Conv2D takes"),
        ((2, 2, 8, 3), r"layer 'conv2d'.*2x8 pixels.*smaller than the window of 3x3"),
    ],
)
def test_bad_input_shapes(shape, message):
    with pytest.raises(ValueError, match=message):
        Conv2D(2, 3)(np.ones(shape))


def test_wrong_channels():
    layer = Conv2D(2, 3, input_shape=(8, 8, 3))
    layer(np.ones((1, 8, 8, 3)))
    with pytest.raises(
        ValueError, match=r"layer 'conv2d' was built for inputs of shape \(None, 8, 8, 3\), got \(1, 8, 8, 1\)"
    ):
        layer(np.ones((1, 8, 8, 1)))


def test_unknown_channels():
    with pytest.raises(ValueError, match=r"layer 'conv2d': Conv2D takes"):
        Conv2D(2, 3).build((None, 8, 8, None))
