import numpy as np
import pytest

from minivid.layers import Dense, Input
from minivid.models import Sequential


def test_builds_the_model_behind():
    model = Sequential([Input(shape=(None, 4)), Dense(3)])
    assert model.built
    assert model.output_shape == (None, None, 3)
    assert model.count_params() == 15


def test_sets_the_dtype_of_the_model():
    model = Sequential([Input((4,), dtype="float64"), Dense(3)])
    assert model(np.ones((2, 4), dtype=np.float32)).dtype == np.float64


def test_passes_both_ways():
    x = np.arange(6.0).reshape(2, 3)
    layer = Input((3,))
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.backward(x), x)


def test_config_round_trip():
    layer = Input([None, 3], name="clips", dtype="float64")
    copy = Input(**layer.get_config())
    assert copy.get_config() == layer.get_config()
    assert copy.given_input_shape == (None, None, 3)


@pytest.mark.parametrize("shape", [(-1, 3), (0,), (2.5,), ("3",)])
def test_bad_sizes(shape):
    with pytest.raises(ValueError, match="layer 'input': sizes must be positive ints"):
        Input(shape)


def test_not_a_tuple():
    with pytest.raises(TypeError, match=r"e\.g\. \(28, 28, 1\) or \(28,\), got 3"):
        Input(3)


def test_wrong_shape_of_data():
    model = Sequential([Input((28, 28, 1)), Dense(2)])
    with pytest.raises(
        ValueError, match=r"layer 'input' was made with input_shape=\(28, 28, 1\), got .*\(2, 32, 32, 1\)"
    ):
        model(np.ones((2, 32, 32, 1)))
