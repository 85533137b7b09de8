import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivid.ops import tile
from minivid.ops.tile import (
    Grid,
    column_sums,
    few_columns,
    gather_product,
    gather_product_transposed,
    matrix_product,
    packed,
    product_transposed,
    rows_of,
    transposed,
)
from tests.numerics import DTYPES, assert_close, assert_same_bits, normal
from tests.strategies import seeds

# Sizes around every edge of the tile: fewer positions than a tile has, not divisible, columns of less than one vector,
# an odd number of vectors, more positions than one piece of work; images smaller and wider than one.
sizes = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 40))
margins = st.tuples(*[st.integers(0, 2)] * 4)


def windows(rng, size, frame, steps):
    """Draw images, and windows of scattered inputs over the images in their frame of zeros."""
    N, OH, OW, C, _ = size
    top, bottom, left, right = frame
    reach = rng.integers(1, 4, 2)  # rows and columns that a window covers
    H, W = np.maximum(np.subtract([OH, OW], 1) * steps + reach - [top + bottom, left + right], 1)
    grid = Grid(N, H, W, C, OH, OW, *steps, *frame)
    FH, FW = grid.framed
    inside = (np.arange(reach[0])[:, None, None] * FW + np.arange(reach[1])[:, None]) * C + np.arange(C)
    tap = np.sort(rng.choice(inside.ravel(), rng.integers(1, inside.size + 1), replace=False))
    x = normal(rng, N, H, W, C)
    framed = np.pad(x, [(0, 0), (top, FH - H - top), (left, FW - W - left), (0, 0)])
    n, i, j = (a.ravel() for a in np.indices((N, OH, OW)))
    start = ((n * FH + i * steps[0]) * FW + j * steps[1]) * C
    return x, grid, tap, int(reach[0]), framed.ravel()[start[:, None] + tap]  # the last: (M, K)


def product(x, grid, tap, rows, w, b=None):
    """Pack the weights (K, F) and compute (tile.1) into a fresh matrix."""
    y = np.full((grid.positions, w.shape[1]), np.nan, x.dtype)
    gather_product(x, grid, tap, rows, packed(w[None], x.dtype), b, y)
    return y


@given(sizes, margins, st.tuples(st.integers(1, 2), st.integers(1, 3)), seeds)
@pytest.mark.parametrize("dtype", DTYPES)
def test_product_of_gathered_windows(dtype, size, frame, steps, seed):
    rng = np.random.default_rng(seed)
    x, grid, tap, rows, gathered = windows(rng, size, frame, steps)
    F, K = size[-1], len(tap)
    x, w, b = (a.astype(dtype) for a in (x, normal(rng, K, F), normal(rng, F)))
    expected = gathered.astype(dtype).astype(np.float64) @ w.astype(np.float64) + b  # (tile.1)
    assert_close(product(x, grid, tap, rows, w, b), expected, terms=K + 1, dtype=dtype)


@given(sizes, margins, st.tuples(st.integers(1, 2), st.integers(1, 3)), seeds)
@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_product_of_gathered_windows(dtype, size, frame, steps, seed):
    rng = np.random.default_rng(seed)
    x, grid, tap, rows, gathered = windows(rng, size, frame, steps)
    x, dy = x.astype(dtype), normal(rng, grid.positions, size[-1], dtype=dtype)
    expected = gathered.astype(dtype).astype(np.float64).T @ dy.astype(np.float64)  # (tile.2)
    assert_close(gather_product_transposed(x, grid, tap, rows, dy), expected, terms=grid.positions, dtype=dtype)


@pytest.mark.parametrize("size", [(1, 3, 300, 2, 20), (40, 5, 5, 3, 20), (2, 40, 30, 17, 70), (7, 13, 1, 33, 5)])
@pytest.mark.parametrize("frame", [(0, 0, 0, 0), (1, 1, 2, 0)])
def test_strips_of_images_and_of_rows(size, frame):
    rng = np.random.default_rng(0)
    x, grid, tap, rows, gathered = windows(rng, size, frame, (1, 1))
    w, dy = normal(rng, len(tap), size[-1]), normal(rng, grid.positions, size[-1])
    assert_close(product(x, grid, tap, rows, w), gathered @ w, terms=len(tap))
    assert_close(gather_product_transposed(x, grid, tap, rows, dy), gathered.T @ dy, terms=grid.positions)


@pytest.mark.parametrize("M", [1, 5, 7, 300])
@pytest.mark.parametrize("F", [64, 70, 100, 112, 129, 200])
@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_of_wide_tiles_and_of_what_is_left(dtype, F, M):
    rng = np.random.default_rng(0)
    for K in (10, 11):  # a round of the loop takes two
        x, w, b = normal(rng, M, K, dtype=dtype), normal(rng, K, F, dtype=dtype), normal(rng, F, dtype=dtype)
        y = product(x, rows_of(M, K), np.arange(K), 1, w, b)
        assert_close(y, x.astype(np.float64) @ w + b, terms=K + 1, dtype=dtype)


@pytest.mark.parametrize("M", [1, 7, 300])
@pytest.mark.parametrize("F", [1, 16, 31, 33, 48, 63, 64, 65, 97, 128, 144, 200])
@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_of_turned_tiles_and_of_what_is_left(dtype, F, M):
    rng = np.random.default_rng(0)
    for K in (1, 6, 13):  # a tile has 6 taps
        x, dy = normal(rng, M, K, dtype=dtype), normal(rng, M, F, dtype=dtype)
        z = gather_product_transposed(x, rows_of(M, K), np.arange(K), 1, dy)
        assert_close(z, x.astype(np.float64).T @ dy, terms=M, dtype=dtype)


@pytest.mark.parametrize(("K", "F"), [(64, 70), (32, 300), (16, 5), (5, 16), (64, 64), (7, 9)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed_product_of_matrices(dtype, K, F):
    rng = np.random.default_rng(0)
    x, dy = normal(rng, 333, K, dtype=dtype), normal(rng, 333, F, dtype=dtype)
    z = product_transposed(x, dy)
    assert z.flags.c_contiguous
    assert_close(z, x.astype(np.float64).T @ dy, terms=333, dtype=dtype)


def matrices(rng, M, K, F, transpose, dtype):
    """Draw the operands of a product and return its value in float64, too."""
    a, w, b = normal(rng, M, K, dtype=dtype), normal(rng, K, F, dtype=dtype), normal(rng, F, dtype=dtype)
    expected = a.astype(np.float64) @ w.astype(np.float64)
    return a, np.ascontiguousarray(w.T) if transpose else w, b, expected


@pytest.mark.parametrize("M", [1, 5, 6, 50])
@pytest.mark.parametrize("F", [1, 15, 16, 33, 48, 64, 65, 130, 200])
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_product_of_matrices(dtype, transpose, F, M):
    rng = np.random.default_rng(0)
    for K in (1, 16, 21):  # less than a vector, whole ones, and some left
        a, w, b, expected = matrices(rng, M, K, F, transpose, dtype)
        y = np.full((M, F), np.nan, dtype)
        matrix_product(a, w, transpose, None, y)
        assert_close(y, expected, terms=K, dtype=dtype)
        matrix_product(a, w, transpose, b, y)
        assert_close(y, expected + b, terms=K + 1, dtype=dtype)


@pytest.mark.parametrize("M", [40, 41, 100])
@pytest.mark.parametrize("transpose", [False, True])
def test_product_of_matrices_by_groups_of_rows(transpose, M, monkeypatch):
    monkeypatch.setattr(tile, "MANY_ROWS", 20)
    a, w, b, expected = matrices(np.random.default_rng(0), M, 30, 70, transpose, np.float64)
    y = np.full((M, 70), np.nan)
    matrix_product(a, w, transpose, b, y)
    assert_close(y, expected + b, terms=31)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("blocks", [1, 2, 7])
@pytest.mark.parametrize("M", [1, 8, 33, 300, 10_000])
def test_every_row_is_part_of_some_work(M, blocks, threads):
    rows = tile._rows_of_work(M, blocks, threads)
    assert 1 <= rows <= tile.MANY_ROWS
    assert rows == M or rows >= tile.FEW_ROWS


@pytest.mark.parametrize("shape", [(16, 1), (17, 5), (40, 33), (64, 64), (200, 16)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_transposed(dtype, shape):
    a = normal(np.random.default_rng(0), *shape, dtype=dtype)
    np.testing.assert_array_equal(transposed(a), a.T)


@pytest.mark.parametrize("M", [3, 50])
@pytest.mark.parametrize("F", [1, 2, 3, 18, 36, 49, 53])
@pytest.mark.parametrize("dtype", DTYPES)
def test_few_columns_take_vectors_of_taps(dtype, F, M):
    rng = np.random.default_rng(0)
    K = 203  # no whole number of vectors; what lies behind a row must not be read, or it must not count
    x, w, b = normal(rng, M, K, dtype=dtype), normal(rng, K, F, dtype=dtype), normal(rng, F, dtype=dtype)
    rows = np.hstack([x, np.full((M, 7), np.nan, dtype)])
    y = product(rows, rows_of(M, K + 7), np.arange(K), 1, w, b)
    assert_close(y, x.astype(np.float64) @ w + b, terms=K + 1, dtype=dtype)


def test_few_columns_by_hand():
    # One column of 100 neighbouring taps, 8 to a vector: 3 rows of 13 vectors and 8 steps for the total are 47 steps
    # instead of 100; 4 columns are 6 rows, 78 + 32 = 110 steps. A run of 9 taps is 2 vectors: 3·2 + 8 = 14 for 9.
    assert few_columns(17, 1, 100, 8) == 1
    assert few_columns(20, 1, 100, 8) == 0
    assert few_columns(17, 1, 9, 8) == 0
    assert few_columns(16, 1, 100, 8) == 0  # whole vectors


def test_large_weights_take_fewer_partial_sums():
    rng = np.random.default_rng(0)
    for K in (1030, 1032):  # with and without rows that fill up the last tile
        a, dy = normal(rng, 500, K), normal(rng, 500, 1001)
        z = gather_product_transposed(a, rows_of(500, K), np.arange(K), 1, dy)
        assert_close(z, a.T @ dy, terms=500)


@pytest.mark.parametrize("dtype", DTYPES)
def test_column_sums(dtype):
    dy = normal(np.random.default_rng(0), 37, 11, dtype=dtype)
    assert_close(column_sums(dy), dy.astype(np.float64).sum(axis=0), terms=37, dtype=dtype)


def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    x, w, dy = normal(rng, 500, 20), normal(rng, 20, 200), normal(rng, 500, 70)
    images, grid = normal(rng, 9, 20, 20, 3), Grid(9, 20, 20, 3, 20, 20, 1, 1, 0, 0, 1, 1)
    tap, d_images = np.arange(9), normal(rng, grid.positions, 33)

    def of_matrices(w, transpose):
        y = np.empty((500, 200))
        matrix_product(x, w, transpose, None, y)
        return y

    assert_same_bits(
        lambda: [
            of_matrices(w, False),
            of_matrices(w.reshape(200, 20), True),
            transposed(x),
            product_transposed(x, dy),
            product_transposed(dy[:, :32], x),
            product(x, rows_of(500, 20), np.arange(20), 1, w),
            product(images, grid, tap, 1, w[:9]),
            gather_product_transposed(x, rows_of(500, 20), np.arange(20), 1, dy),
            gather_product_transposed(images, grid, tap, 1, d_images),
            column_sums(dy),
        ]
    )


@pytest.mark.parametrize("F", [16, 32, 48])
def test_outputs_past_the_caches_are_the_same(F, monkeypatch):
    rng = np.random.default_rng(0)
    grid, tap = Grid(3, 9, 9, 2, 9, 9, 1, 1, 0, 0, 1, 1), np.arange(6)
    x, w, b = normal(rng, 3, 9, 9, 2), normal(rng, 6, F), normal(rng, F)
    expected = product(x, grid, tap, 1, w, b)
    monkeypatch.setattr(tile, "is_streamed", lambda y: True)
    room = np.empty(expected.nbytes + 64, np.uint8)
    y = room[-room.ctypes.data % 64 :][: expected.nbytes].view(expected.dtype).reshape(expected.shape)
    gather_product(x, grid, tap, 1, packed(w[None], x.dtype), b, y)
    np.testing.assert_array_equal(y, expected)


def test_outputs_go_where_they_are_told_and_nowhere_else():
    # Two positions in one row: 1·3 + 2·5 = 13, and 2·3 + 4·5 = 26; the second goes two elements before the first.
    grid = Grid(1, 1, 3, 1, 1, 2)
    w, y = packed(np.array([[[3.0], [5.0]]]), np.dtype(float)), np.zeros(5)
    gather_product(np.array([1.0, 2.0, 4.0]), grid, np.array([0, 1]), 1, w, None, y, into=(3, 0, 0, -2))
    np.testing.assert_array_equal(y, [0, 26, 0, 13, 0])


def test_matrices_are_packed_in_the_order_asked_for():
    rng = np.random.default_rng(0)
    stack, x = normal(rng, 3, 4, 35), normal(rng, 50, 70)
    y = np.empty((50, 4))
    weights = packed(stack, x.dtype, np.array([2, 0]), transpose=True)
    gather_product(x, rows_of(50, 70), np.arange(70), 1, weights, None, y)
    assert_close(y, x @ np.concatenate([stack[2].T, stack[0].T]), terms=70)


def test_windows_of_nothing_give_the_bias():
    y = product(np.zeros((9, 1)), rows_of(9, 1), np.zeros(0, np.intp), 1, np.zeros((0, 3)), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(y, np.tile([1.0, 2.0, 3.0], (9, 1)))


def test_other_dtypes_are_refused():
    with pytest.raises(TypeError, match="float32 or float64 arrays, got int64"):
        packed(np.ones((1, 4, 2), int), np.dtype(int))
