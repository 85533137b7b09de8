import numpy as np
import pytest

from minivid.jit import compiled
from minivid.simd import BYTES, fma, load, splat, store, width
from tests.numerics import DTYPES


@compiled(parallel=False)
def multiply_add(a, b, c, out, offset, factor_at):
    """Write a·b + c, elementwise and then with one element of a for all."""
    V = width(a)
    store(out, 0, fma(load(a, offset), load(b, offset), load(c, offset)))
    store(out, V, fma(splat(a, factor_at), load(b, offset), load(c, offset)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1, 5])
def test_load_splat_fma_store(dtype, offset):
    V = BYTES // np.dtype(dtype).itemsize
    rng = np.random.default_rng(0)
    # Small whole numbers: products and sums are exact, so that the answer is too.
    a, b, c = (rng.integers(-9, 10, 32).astype(dtype) for _ in range(3))
    out = np.zeros(2 * V + 1, dtype)
    multiply_add(a, b, c, out, offset, 3)
    here = slice(offset, offset + V)
    np.testing.assert_array_equal(out[:V], a[here] * b[here] + c[here])
    np.testing.assert_array_equal(out[V : 2 * V], a[3] * b[here] + c[here])
    assert out[-1] == 0


def test_fma_rounds_once():
    # (1 + e)² = 1 + 2e + e² with e² below half a unit of the last place: rounding the product first loses it.
    e = np.float32(2.0**-12)
    a = np.full(8, 1 + e, np.float32)
    c = np.full(8, -(1 + 2 * e), np.float32)
    out = np.zeros(16, np.float32)
    multiply_add(a, a, c, out, 0, 0)
    np.testing.assert_array_equal(out, np.full(16, e * e))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_pass_through(dtype):
    a = np.array([np.nan, np.inf, -np.inf, 0, 1, 2, 3, 4], dtype)
    one = np.ones(8, dtype)
    out = np.zeros(16, dtype)
    multiply_add(a, one, one, out, 0, 1)
    V = BYTES // np.dtype(dtype).itemsize
    np.testing.assert_array_equal(out[:V], (a + one)[:V])
    np.testing.assert_array_equal(out[V : 2 * V], np.full(V, np.inf, dtype))
