import numpy as np
import pytest

from minivid import memory
from minivid.jit import compiled
from minivid.simd import (
    BYTES,
    REGISTERS,
    add_inner,
    add_inner_part,
    add_outer,
    any_of,
    entries,
    exp,
    fma,
    full,
    full_as,
    load,
    load_as,
    load_part,
    sigmoid,
    spaced,
    splat,
    sqrt,
    store,
    store_part,
    stream_copy,
    tanh,
    tile_full,
    tile_load,
    tile_repeat,
    tile_scatter_totals,
    tile_store,
    tile_store_totals,
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
def three_spaced(first, step):
    return spaced(first, step, 3)


def test_spaced_numbers():
    assert three_spaced(5, 7) == (5, 12, 19)
    assert three_spaced(-1, 0) == (-1, -1, -1)


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


@compiled(parallel=False)
def inner_products(x, start, w, bias, low, y, places, count):
    """Two rows of x, a vector and 3 elements long, times up to three rows of w."""
    V = width(x)
    offsets, step = entries(start, 0, 2), 2 * V
    sums = add_inner(tile_full(x, 2, 3, 0), x, offsets, 1, w, 0, step)
    sums = add_inner_part(sums, x, offsets, 1 + V, w, V, step, 3)
    tile_scatter_totals(y, entries(places, 0, 2), 1, sums, bias, 2, low, count)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tile_sums_inner_products_and_writes_their_totals(dtype, count):
    V = vector_of(dtype)
    K = V + 3
    x, w, bias = whole_numbers(0, 60, dtype), whole_numbers(1, (3, 2 * V), dtype), whole_numbers(2, 5, dtype)
    x[[4 + 1 + K, 34 + 1 + K]] = np.nan  # behind the rows: must not be read
    y, low = np.full(12, 999, dtype), dtype(-50)
    inner_products(x, np.array([4, 34]), w, bias, low, y, np.array([0, 6]), count)
    expected = np.full(12, 999, dtype)
    for begin, place in [(4, 0), (34, 6)]:
        row = x[begin + 1 : begin + 1 + K]
        expected[place + 1 : place + 1 + count] = np.maximum(w[:count, :K] @ row + bias[2 : 2 + count], low)
    np.testing.assert_array_equal(y, expected)


@compiled(parallel=False)
def totals(x, y):
    """Of one, two and eight vectors."""
    V = width(x)
    tile_store_totals(y, 1, tile_load(x, 0, V, 1, 1))
    tile_store_totals(y, 2, tile_load(x, V, 2 * V, 1, 2))
    tile_store_totals(y, 4, tile_load(x, 3 * V, 2 * V, 4, 2))


@pytest.mark.parametrize("dtype", DTYPES)
def test_totals_of_a_tile_are_stored_one_after_the_other(dtype):
    V = vector_of(dtype)
    x, y = whole_numbers(0, (11, V), dtype), np.full(13, 999, dtype)
    totals(x, y)
    np.testing.assert_array_equal(y, [999, *x.sum(axis=1), 999])


@compiled(parallel=False)
def flagged(like, x, y, offset):
    small = load_as(full(like, 0.0), x, offset)
    store(y, offset, where(small == 125, full_as(small, x, 7), small * 2))
    return any_of(small == 125), any_of(small == 99)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("small", [np.uint8, np.uint16])
def test_vectors_of_small_integers_beside_vectors_of_numbers(dtype, small):
    V = vector_of(dtype)
    x, y = np.arange(V + 5, dtype=small) + small(121 - V), np.zeros(V + 5, small)  # the last one read is 123
    x[4] = 125
    assert flagged(np.zeros(1, dtype), x, y, 3) == (True, False)
    expected = [0] * 3 + [2 * n for n in x[3 : V + 3]] + [0] * 2
    expected[4] = 7
    np.testing.assert_array_equal(y, expected)


@compiled(parallel=False)
def copied(source, start, target, offset, count):
    stream_copy(source, start, target, offset, count)


@pytest.mark.parametrize("dtype", DTYPES)
def test_stream_copy_takes_any_offset_and_count(dtype):
    V = vector_of(dtype)
    source = np.arange(1, 8 * V, dtype=dtype)
    for offset in (0, 1, V - 1, V, 2 * V + 3):
        for count in (0, 1, V - 1, V, V + 1, 4 * V, 5 * V - 2):
            target = memory.zeros(1 << 18, dtype)  # large, so that it begins where a vector may
            copied(source, 2, target, offset, count)
            np.testing.assert_array_equal(target[offset : offset + count], source[2 : 2 + count])
            assert np.count_nonzero(target) == count


@compiled(parallel=False)
def copy_part(a, out, offset, count):
    store_part(out, offset, load_part(a, offset, count) + 1, count)
    store_part(out, 40, load_part(a, offset, count), 40)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 3, 99])
def test_a_part_of_a_vector_touches_no_more(dtype, count):
    V = vector_of(dtype)
    used = min(count, V)
    a = whole_numbers(0, 80, dtype)
    out = np.full(80, 77, dtype)
    copy_part(a, out, 2, count)
    np.testing.assert_array_equal(out[:40], np.concatenate([[77] * 2, a[2 : 2 + used] + 1, [77] * (38 - used)]))
    np.testing.assert_array_equal(out[40 : 40 + V], np.concatenate([a[2 : 2 + used], np.zeros(V - used)]))
    np.testing.assert_array_equal(out[40 + V :], 77)


# exp, sigmoid, tanh: against NumPy in a wider type, in units of the last place (ulp) of the right answer


@compiled(parallel=False)
def exp_of(x, y):
    for i in range(0, x.size, width(x)):
        store_part(y, i, exp(load_part(x, i, x.size - i)), x.size - i)


@compiled(parallel=False)
def sigmoid_of(x, y):
    for i in range(0, x.size, width(x)):
        store_part(y, i, sigmoid(load_part(x, i, x.size - i)), x.size - i)


@compiled(parallel=False)
def tanh_of(x, y):
    for i in range(0, x.size, width(x)):
        store_part(y, i, tanh(load_part(x, i, x.size - i)), x.size - i)


def wide_sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


FUNCTIONS = {"exp": (exp_of, np.exp), "sigmoid": (sigmoid_of, wide_sigmoid), "tanh": (tanh_of, np.tanh)}
BOUNDS = {
    ("exp", np.float32): 1.1,
    ("sigmoid", np.float32): 2.5,
    ("tanh", np.float32): 2.5,
    ("exp", np.float64): 1.1,
    ("sigmoid", np.float64): 2.5,
    ("tanh", np.float64): 2.5,
}
WIDER = {np.float32: np.float64, np.float64: np.longdouble}


def numbers_of(dtype):
    """Numbers of every exponent and both signs: evenly spaced bit patterns, infinities and NaN among them."""
    if dtype == np.float32:
        return np.arange(0, 2**32, 1009, dtype=np.uint32).view(np.float32)
    return np.arange(0, 2**64 - 2**46, 2**45 + 12_345, dtype=np.uint64).view(np.float64)


def units_in_the_last_place(y, wide, dtype):
    """Distance of y from the right answers in units of their last place; zero where both are infinite or NaN."""
    right = wide.astype(dtype)  # rounded, with denormals and infinities where they belong
    off = np.abs(y - wide) / np.spacing(np.abs(right))
    return np.where((y == right) | (np.isnan(y) & np.isnan(right)), np.minimum(off, 0.5), off)


@pytest.mark.parametrize(("name", "dtype"), BOUNDS)
def test_functions_are_right_to_a_few_units_in_the_last_place(name, dtype):
    if dtype == np.float64 and np.finfo(np.longdouble).nmant <= 52:
        pytest.skip("no type wider than float64 on this machine")
    function, wide_function = FUNCTIONS[name]
    # Besides all magnitudes, the range where the functions bend, and the edges of exp.
    with np.errstate(all="ignore"):
        x = np.concatenate([numbers_of(dtype), np.linspace(-20, 20, 100_001), np.linspace(-760, 720, 100_001)])
        x = x.astype(dtype)
        y = np.empty_like(x)
        function(x, y)
        wide = wide_function(x.astype(WIDER[dtype]))
        off = units_in_the_last_place(y, wide, dtype)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    worst = np.nanargmax(off)
    assert off[worst] <= BOUNDS[name, dtype], f"{off[worst]} units at {x[worst]!r}: {y[worst]!r}"


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_at_the_edges(dtype):
    info = np.finfo(dtype)
    tiny, largest = info.smallest_subnormal, info.max
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, tiny, -tiny, largest, -largest], dtype)
    expected = {
        "exp": [1, 1, np.inf, 0, np.nan, 1, 1, np.inf, 0],
        "sigmoid": [0.5, 0.5, 1, 0, np.nan, 0.5, 0.5, 1, 0],
        "tanh": [0, -0.0, 1, -1, np.nan, tiny, -tiny, 1, -1],
    }
    for name, (function, _) in FUNCTIONS.items():
        y = np.empty_like(x)
        function(x, y)
        np.testing.assert_array_equal(y, np.array(expected[name], dtype))
        if name == "tanh":
            np.testing.assert_array_equal(np.signbit(y)[:2], [False, True])


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_of_denormal_results(dtype):
    # e^(ln(tiny) + ln 3) is three times the smallest denormal number; half of it, and less, is zero.
    smallest = np.finfo(dtype).smallest_subnormal
    log = np.log(np.longdouble(smallest))
    x = (log + np.log(np.array([3, 0.3, 1000.0], np.longdouble))).astype(dtype)
    y = np.empty_like(x)
    exp_of(x, y)
    np.testing.assert_array_equal((y / smallest).round(-1)[2:], 1000)
    np.testing.assert_array_equal(y[:2], np.array([3, 0], dtype) * smallest)
    sigmoid_of(x, y)
    np.testing.assert_array_equal(y[:2], np.array([3, 0], dtype) * smallest)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_do_not_depend_on_the_place_in_the_vector(name):
    x = np.random.default_rng(0).normal(size=64).astype(np.float32) * 5
    whole, single = np.empty_like(x), np.empty_like(x)
    FUNCTIONS[name][0](x, whole)
    for i in range(x.size):
        FUNCTIONS[name][0](x[i : i + 1], single[i : i + 1])
    np.testing.assert_array_equal(whole, single)


@compiled(parallel=False)
def roots(x, y):
    store(y, 0, sqrt(load(x, 0)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sqrt(dtype):
    x = np.linspace(-1, 9, vector_of(dtype)).astype(dtype)
    x[1:4] = 0.0, np.inf, 2.0
    y = np.empty_like(x)
    roots(x, y)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, np.sqrt(x))
