import numpy as np
import pytest

from minivid.passes import _LARGE, add_into, all_finite, clear
from tests.numerics import DTYPES, assert_same_bits, normal

SIZES = [(3, 5), (_LARGE + 7,), (700, 401)]  # a small one, and large ones that fill no vectors


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_passes_are_those_of_numpy(dtype, shape):
    rng = np.random.default_rng(0)
    total, x = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    expected = total + x
    add_into(total, x)
    np.testing.assert_array_equal(total, expected)
    clear(total)
    assert not total.any()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_number_that_is_not_finite_is_found_anywhere(dtype, shape, odd):
    x = np.full(shape, np.finfo(dtype).max, dtype)
    assert all_finite(x)
    for place in (0, x.size // 2, x.size - 1):
        x.flat[place] = odd
        assert not all_finite(x)
        x.flat[place] = 1


def test_views_and_other_types_are_left_to_numpy():
    x = np.ones((2 * _LARGE, 2), np.float32)
    clear(x[:, 0])
    add_into(x[:, 1], np.ones(2 * _LARGE))  # float64
    np.testing.assert_array_equal(x[:3], [[0, 2]] * 3)
    x[5, 1] = np.nan
    assert all_finite(x[:, 0])
    assert not all_finite(x[:, 1])
    with pytest.raises(ValueError, match="broadcast"):
        add_into(x, x[:-1])


def test_bits_do_not_depend_on_the_number_of_threads():
    x = normal(np.random.default_rng(0), _LARGE + 7)

    def passes():
        total = x.copy()
        add_into(total, x)
        return [total, np.array(all_finite(total))]

    assert_same_bits(passes)
