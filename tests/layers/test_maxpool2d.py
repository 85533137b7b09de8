import numpy as np
import pytest

from minivid.layers import MaxPooling2D
from tests.layers.contract import check_contract, check_layer_gradients

OPTIONS = [
    {},
    {"pool_size": (2, 3), "strides": 1},
    {"pool_size": 3, "strides": (2, 1), "padding": "same"},
    {"pool_size": 2, "padding": ((1, 0), (0, 1))},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients(options):
    check_layer_gradients(lambda **o: MaxPooling2D(**options, **o), (2, 5, 6, 3))


@pytest.mark.parametrize("options", OPTIONS)
def test_contract(options):
    check_contract(lambda **o: MaxPooling2D(**options, **o), (2, 5, 6, 3), any_size=(1, 2))


def test_known_answer():
    # rows 0..3, 4..7, 8..11; windows of 2x2 at every position
    y = MaxPooling2D(2, strides=1)(np.arange(12.0).reshape(1, 3, 4, 1))[0, :, :, 0]
    np.testing.assert_array_equal(y, [[5, 6, 7], [9, 10, 11]])


def test_strides_are_the_pool_size_by_default():
    layer = MaxPooling2D((2, 3))
    layer.build((None, 8, 9, 1))
    assert layer.output_shape == (None, 4, 3, 1)
    assert layer.count_params() == 0


def test_bad_arguments_name_the_layer():
    with pytest.raises(ValueError, match="layer 'pool': pool_size must be"):
        MaxPooling2D(0, name="pool")
    with pytest.raises(ValueError, match="layer 'pool': strides must be"):
        MaxPooling2D(2, strides=-1, name="pool")
    with pytest.raises(ValueError, match="layer 'pool': padding must be"):
        MaxPooling2D(2, padding="none", name="pool")
    with pytest.raises(ValueError, match=r"layer 'pool'.*smaller than the window"):
        MaxPooling2D(9, name="pool")(np.ones((1, 4, 4, 1)))
    with pytest.raises(ValueError, match=r"layer 'pool'.*TimeDistributed\(MaxPooling2D"):
        MaxPooling2D(2, name="pool")(np.ones((1, 3, 4, 4, 1)))


def test_both_names():
    from minivid.layers import MaxPool2D

    assert MaxPool2D is MaxPooling2D
