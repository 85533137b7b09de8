import numpy as np
import pytest

from minivid.layers import GlobalAveragePooling2D
from tests.layers.contract import check_contract, check_layer_gradients


def test_gradients():
    check_layer_gradients(GlobalAveragePooling2D, (2, 3, 4, 5))


def test_contract():
    check_contract(GlobalAveragePooling2D, (2, 3, 4, 5), any_size=(1, 2))


def test_known_answer():
    # channel 0 holds 0 2 4 6, mean 3; channel 1 holds 1 3 5 7, mean 4
    np.testing.assert_array_equal(GlobalAveragePooling2D()(np.arange(8.0).reshape(1, 2, 2, 2)), [[3, 4]])


def test_clips_need_time_distributed():
    with pytest.raises(ValueError, match=r"layer 'global_average_pooling2d'.*TimeDistributed"):
        GlobalAveragePooling2D()(np.ones((1, 2, 3, 3, 1)))
