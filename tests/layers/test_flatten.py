import numpy as np
import pytest

from minivid.layers import Flatten
from tests.layers.contract import check_contract, check_layer_gradients


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4)])
def test_gradients(shape):
    check_layer_gradients(Flatten, shape)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4)])
def test_contract(shape):
    check_contract(Flatten, shape)


def test_channels_of_a_pixel_stay_together():
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    np.testing.assert_array_equal(Flatten()(x), np.arange(12.0)[None])


def test_unknown_sizes():
    with pytest.raises(ValueError, match=r"layer 'flatten'.*known sizes.*GlobalAveragePooling2D"):
        Flatten().build((None, None, 4, 3))


def test_the_mask_ends_here():
    assert Flatten().compute_mask(np.ones((2, 3, 4)), np.ones((2, 3), dtype=bool)) is None
