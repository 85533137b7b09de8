import numpy as np
import pytest

from minivid.jit import compiled
from minivid.simd import (
    BYTES,
    REGISTERS,
    add_outer,
    entries,
    fma,
    full,
    load,
    splat,
    store,
    tile_full,
    tile_load,
    tile_repeat,
    tile_store,
    where,
    width,
)
from tests.numerics import DTYPES


def vector_of(dtype) -> int:
    return BYTES // np.dtype(dtype).itemsize


def whole_numbers(seed, size, dtype):
    """Small whole numbers: their products and sums are exact, so that the answers are too."""
    return np.random.default_rng(seed).integers(-9, 10, size).astype(dtype)


def test_a_vector_fills_a_register_of_a_known_kind():
    assert (BYTES, REGISTERS) in [(64, 32), (32, 16)]


@compiled(parallel=False)
def multiply_add(a, b, c, out, offset, factor_at):
    """Write a·b + c, elementwise and then with one element of a for all."""
    V = width(a)
    store(out, 0, fma(load(a, offset), load(b, offset), load(c, offset)))
    store(out, V, fma(splat(a, factor_at), load(b, offset), load(c, offset)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0, 1, 5])
def test_load_splat_fma_store(dtype, offset):
    V = vector_of(dtype)
    a, b, c = (whole_numbers(seed, 32, dtype) for seed in range(3))
    out = np.zeros(2 * V + 1, dtype)
    multiply_add(a, b, c, out, offset, 3)
    here = slice(offset, offset + V)
    np.testing.assert_array_equal(out[:V], a[here] * b[here] + c[here])
    np.testing.assert_array_equal(out[V : 2 * V], a[3] * b[here] + c[here])
    assert out[-1] == 0


def test_fma_rounds_once():
    # (1 + e)² = 1 + 2e + e² with e² below half a unit of the last place: rounding the product first loses it.
    V = vector_of(np.float32)
    e = np.float32(2.0**-12)
    a = np.full(V, 1 + e, np.float32)
    c = np.full(V, -(1 + 2 * e), np.float32)
    out = np.zeros(2 * V, np.float32)
    multiply_add(a, a, c, out, 0, 0)
    np.testing.assert_array_equal(out, np.full(2 * V, e * e))


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_infinity_pass_through(dtype):
    V = vector_of(dtype)
    a = np.resize(np.array([np.nan, np.inf, -np.inf, 0], dtype), V)
    one = np.ones(V, dtype)
    out = np.zeros(2 * V, dtype)
    multiply_add(a, one, one, out, 0, 1)
    np.testing.assert_array_equal(out[:V], a + one)
    np.testing.assert_array_equal(out[V:], np.full(V, np.inf, dtype))


@compiled(parallel=False)
def arithmetic(a, b, out):
    V = width(a)
    x, y = load(a, 0), load(b, 0)
    store(out, 0 * V, x + y)
    store(out, 1 * V, x - 2 * y)
    store(out, 2 * V, x * y * 3.0)
    store(out, 3 * V, 1 / (x / y))
    store(out, 4 * V, full(x, 7))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic_is_written_as_on_numbers(dtype):
    V = vector_of(dtype)
    a, b = whole_numbers(0, V, dtype), np.resize(np.array([1, 2, 4, 8], dtype), V)
    a[a == 0] = 1
    out = np.empty((5, V), dtype)
    arithmetic(a, b, out)
    for got, expected in zip(out, [a + b, a - 2 * b, a * b * 3, 1 / (a / b), np.full(V, 7)], strict=True):
        np.testing.assert_array_equal(got, expected)


@compiled(parallel=False)
def comparisons(a, b, out):
    V = width(a)
    x, y, one, zero = load(a, 0), load(b, 0), full(a, 1), full(a, 0)
    store(out, 0 * V, where(x < y, one, zero))
    store(out, 1 * V, where(x <= y, one, zero))
    store(out, 2 * V, where(x == y, one, zero))
    store(out, 3 * V, where(x != y, one, zero))
    store(out, 4 * V, where(x > y, one, zero))
    store(out, 5 * V, where(x >= y, one, zero))
    store(out, 6 * V, where((x > 0) & (y > 0), x, y))
    store(out, 7 * V, where((x > 0) | (y > 0), x, y))


@pytest.mark.parametrize("dtype", DTYPES)
def test_comparisons_follow_ieee_with_nan(dtype):
    V = vector_of(dtype)
    a = np.resize(np.array([np.nan, 1, 2, -3], dtype), V)
    b = np.resize(np.array([1, np.nan, 2, 2, -5], dtype), V)
    out = np.empty((8, V), dtype)
    comparisons(a, b, out)
    both, either = (a > 0) & (b > 0), (a > 0) | (b > 0)
    expected = [a < b, a <= b, a == b, a != b, a > b, a >= b, np.where(both, a, b), np.where(either, a, b)]
    for got, want in zip(out, expected, strict=True):
        np.testing.assert_array_equal(got, want)


@compiled(parallel=False)
def tile_product(x, start, w, bias, y, steps):
    """Three rows of y, two vectors wide: bias, plus what y holds, plus the products of rows of x with w."""
    V = width(x)
    offsets = entries(start, 1, 3)
    sums = tile_repeat(bias, 0, 3, 2)
    for q in range(steps):
        sums = add_outer(sums, x, offsets, q, w, q * 2 * V)
    tile_store(y, 1, 2 * V + 1, sums)
    tile_store(y, 3 * (2 * V + 1) + 1, 2 * V, tile_load(y, 1, 2 * V + 1, 3, 2))
    tile_store(y, 3 * (2 * V + 1) + 1 + 6 * V, V, tile_full(y, 2, 1, 5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tile_sums_outer_products_row_by_row(dtype):
    V = vector_of(dtype)
    x, w, bias = whole_numbers(0, 40, dtype), whole_numbers(1, (4, 2 * V), dtype), whole_numbers(2, 2 * V, dtype)
    start = np.array([99, 3, 30, 11])  # the first entry is not used
    y = np.zeros(1 + 3 * (2 * V + 1) + 6 * V + 2 * V, dtype)
    tile_product(x, start, w, bias, y, 4)
    expected = np.stack([bias + x[s : s + 4] @ w for s in (3, 30, 11)])
    rows = y[1 : 1 + 3 * (2 * V + 1)].reshape(3, 2 * V + 1)
    np.testing.assert_array_equal(rows[:, :-1], expected)
    assert not rows[:, -1].any()  # nothing is written between the rows
    assert y[0] == 0
    copied = y[1 + 3 * (2 * V + 1) :][: 6 * V]
    np.testing.assert_array_equal(copied.reshape(3, 2 * V), expected)
    np.testing.assert_array_equal(y[-2 * V :], np.full(2 * V, 5))
