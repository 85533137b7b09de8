import numpy as np
import pytest

from minivid.layers import UpSampling2D
from tests.layers.contract import check_contract, check_layer_gradients


@pytest.mark.parametrize("size", [2, (1, 3)])
def test_contract_and_gradients(size):
    check_contract(lambda **o: UpSampling2D(size, **o), (2, 3, 4, 3), any_size=(1, 2))
    check_layer_gradients(lambda **o: UpSampling2D(size, **o), (2, 3, 4, 3))


def test_known_answer():
    y = UpSampling2D()(np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1))
    np.testing.assert_array_equal(y[0, :, :, 0], [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]])


def test_errors():
    with pytest.raises(ValueError, match="layer 'up': size must be a positive int or a pair of them, got 0"):
        UpSampling2D(0, name="up")
    with pytest.raises(ValueError, match="interpolation must be 'nearest', got 'bilinear'"):
        UpSampling2D(2, "bilinear")
    with pytest.raises(ValueError, match=r"TimeDistributed\(UpSampling2D"):
        UpSampling2D()(np.ones((1, 2, 3, 4, 5)))
