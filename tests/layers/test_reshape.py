import numpy as np
import pytest

from minivid.layers import Reshape
from tests.layers.contract import check_contract, check_layer_gradients


@pytest.mark.parametrize("target", [(4, 6), (2, -1), (-1,), (3, 2, 4)])
def test_contract_and_gradients(target):
    check_contract(lambda **o: Reshape(target, **o), (2, 6, 4))
    check_layer_gradients(lambda **o: Reshape(target, **o), (2, 6, 4))


def test_known_answer():
    y = Reshape((3, -1))(np.arange(12.0).reshape(2, 6))
    np.testing.assert_array_equal(y[1], [[6, 7], [8, 9], [10, 11]])  # row by row, sample by sample


def test_shapes_of_keras():
    assert Reshape((-1, 2)).compute_output_shape((None, None, 4)) == (None, None, 2)
    assert Reshape((3, -1)).compute_output_shape((None, 6, 4)) == (None, 3, 8)
    assert Reshape((3, -1)).compute_mask(None, np.ones((2, 6), bool)) is None


@pytest.mark.parametrize("target", [(-1, -1), (0, 2), (2.5,), "ab"])
def test_bad_targets(target):
    with pytest.raises(ValueError, match="layer 'reshape': target_shape takes positive ints, at most one of them -1"):
        Reshape(target)


@pytest.mark.parametrize("target", [(5, 5), (5, -1)])
def test_sizes_that_do_not_fit(target):
    with pytest.raises(ValueError, match=r"a sample of shape \(6, 4\) has 24 numbers, which do not fit"):
        Reshape(target)(np.ones((2, 6, 4)))
