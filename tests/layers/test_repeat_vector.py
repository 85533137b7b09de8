import numpy as np
import pytest

from minivid.layers import RepeatVector
from tests.layers.contract import check_contract, check_layer_gradients


def test_contract_and_gradients():
    check_contract(lambda **o: RepeatVector(3, **o), (2, 4))
    check_layer_gradients(lambda **o: RepeatVector(3, **o), (2, 4))


def test_known_answer():
    layer = RepeatVector(2)
    np.testing.assert_array_equal(layer(np.array([[1.0, 2.0]])), [[[1, 2], [1, 2]]])
    np.testing.assert_array_equal(layer.backward(np.array([[[1.0, 10.0], [2.0, 20.0]]])), [[3, 30]])


def test_errors():
    with pytest.raises(ValueError, match="layer 'repeat_vector': n must be a positive int, got 0"):
        RepeatVector(0)
    with pytest.raises(ValueError, match=r"RepeatVector takes \(batch, features\), got shape"):
        RepeatVector(2)(np.ones((2, 3, 4)))
