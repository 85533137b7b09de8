import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivid.ops.tile import column_sums, gather_product, gather_product_transposed
from tests.numerics import DTYPES, assert_close, normal
from tests.strategies import seeds

# Sizes around every edge of the tile: fewer positions than a tile has, not divisible, columns of less than one vector,
# an odd number of vectors, more positions than one piece of work.
sizes = st.tuples(st.integers(1, 120), st.integers(1, 14), st.integers(1, 40))


def windows(rng, M, K):
    """Draw inputs, and windows of K scattered inputs that begin anywhere: start (M,), tap (K,)."""
    tap = np.sort(rng.choice(3 * K, K, replace=False))
    start = rng.integers(0, 50, M)
    return normal(rng, 50 + 3 * K), start, tap


@given(sizes, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
def test_product_of_gathered_windows(dtype, size, seed):
    M, K, F = size
    rng = np.random.default_rng(seed)
    x, start, tap = windows(rng, M, K)
    x, w, b = (a.astype(dtype) for a in (x, normal(rng, K, F), normal(rng, F)))
    expected = x.astype(np.float64)[start[:, None] + tap] @ w.astype(np.float64) + b  # (tile.1)
    assert_close(gather_product(x, start, tap, w, b), expected, terms=K + 1, dtype=dtype)


@given(sizes, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_product_of_gathered_windows(dtype, size, seed):
    M, K, F = size
    rng = np.random.default_rng(seed)
    x, start, tap = windows(rng, M, K)
    x, dy = x.astype(dtype), normal(rng, M, F, dtype=dtype)
    expected = x.astype(np.float64)[start[:, None] + tap].T @ dy.astype(np.float64)  # (tile.2)
    assert_close(gather_product_transposed(x, start, tap, dy), expected, terms=M, dtype=dtype)


def test_large_weights_take_fewer_partial_sums():
    rng = np.random.default_rng(0)
    a, dy = normal(rng, 5, 1030), normal(rng, 5, 1001)
    z = gather_product_transposed(a.ravel(), np.arange(5) * 1030, np.arange(1030), dy)
    assert_close(z, a.T @ dy, terms=5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_column_sums(dtype):
    dy = normal(np.random.default_rng(0), 37, 11, dtype=dtype)
    assert_close(column_sums(dy), dy.astype(np.float64).sum(axis=0), terms=37, dtype=dtype)


def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    x, w, dy = normal(rng, 500 * 20), normal(rng, 20, 70), normal(rng, 500, 70)
    start, tap = np.arange(500) * 20, np.arange(20)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            results.append(
                [gather_product(x, start, tap, w), gather_product_transposed(x, start, tap, dy), column_sums(dy)]
            )
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


def test_other_dtypes_are_refused():
    with pytest.raises(TypeError, match="float32 or float64 arrays, got int64"):
        gather_product(np.arange(4), np.array([0]), np.arange(4), np.ones((4, 2)))
