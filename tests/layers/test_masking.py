import numpy as np
import pytest

from minivid.layers import Masking
from tests.layers.contract import check_contract, check_layer_gradients


def test_gradients():
    check_layer_gradients(Masking, (2, 3, 4))


def test_contract():
    check_contract(lambda **o: Masking(mask_value=-1.0, **o), (2, 3, 4), any_size=(1, 2))


def test_mask_of_features():
    x = np.array([[[0.0, 1.0], [0.0, 0.0], [2.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_array_equal(Masking().compute_mask(x, None), [[True, False, True, False]])


def test_mask_of_frames():
    x = np.ones((2, 3, 4, 5, 1))
    x[0, 2] = 0
    np.testing.assert_array_equal(Masking().compute_mask(x, None), [[True, True, False], [True, True, True]])


def test_joins_the_mask_before():
    x = np.array([[[1.0], [0.0], [1.0]]])
    mask = np.array([[True, True, False]])
    layer = Masking()
    np.testing.assert_array_equal(layer.compute_mask(x, mask), [[True, False, False]])
    np.testing.assert_array_equal(layer(x, mask=mask), [[[1], [0], [0]]])


def test_padding_becomes_zero_and_gets_no_gradient():
    x = np.array([[[5.0, 6.0], [-1.0, -1.0]]])
    layer = Masking(mask_value=-1)
    np.testing.assert_array_equal(layer(x), [[[5, 6], [0, 0]]])
    np.testing.assert_array_equal(layer.backward(np.full_like(x, 3.0)), [[[3, 3], [0, 0]]])


def test_nan_in_padding_is_hidden():
    x = np.array([[[1.0], [np.nan]]])
    np.testing.assert_array_equal(Masking()(x, mask=np.array([[True, False]])), [[[1], [0]]])


def test_images_have_no_steps():
    with pytest.raises(
        ValueError, match=r"layer 'masking': Masking takes \(batch, time, \.\.\.\), got shape \(None, 5\)"
    ):
        Masking()(np.ones((2, 5)))
