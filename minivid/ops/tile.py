"""The register tile: the one inner loop of matrix products and convolutions.

    y[m,f] = b[f] + Σ_k x.flat[start[m] + tap[k]] · w[k,f]            (tile.1)
    z[k,f] = Σ_m x.flat[start[m] + tap[k]] · dy[m,f]                  (tile.2)

``start`` says where the window of an output position m begins in x, ``tap`` where in the window input k lies:

    matrix product a b            start[m] = m·K                          tap[k] = k
    convolution, position (n,i,j) start = ((n·H + i·SH)·W + j·SW)·C       tap = (k·DH·W + l·DW)·C + c

so one loop does both, without copying windows out of the image. A tile is 6 positions by 2 vectors of columns: its
12 sums stay in registers while k runs, and each step costs 2 loads of w, 6 broadcasts of x and 12 multiply-adds.
The weights are packed so that the 2 vectors of each k follow one another. docs/ops/tile.md draws it.
"""

import numpy as np
from numba import prange

from minivid.jit import PIECES, compiled
from minivid.simd import BYTES, fma, load, splat, store, width

ROWS = 6  # positions per tile
CHUNK = 96  # positions, or taps, of a piece of work whose inputs stay in the cache
PARTIAL_SUMS = 1_000_000  # elements that the partial sums of (tile.2) may take together


def gather_product(x, start, tap, w, b=None) -> np.ndarray:
    """Compute (tile.1): x flat (…), start (M,), tap (K,), w (K, F), b (F,) or None -> y (M, F)."""
    K, F = w.shape
    columns = _padded(F, x.dtype)
    bias = np.zeros(columns, x.dtype)
    if b is not None:
        bias[:F] = b
    y = np.empty((len(start), columns), x.dtype)
    if len(start):
        segment, run = _segments(tap)
        _products(x, start, segment, run, _packed(w, columns, x.dtype), bias, y)
    return y if columns == F else np.ascontiguousarray(y[:, :F])


def gather_product_transposed(x, start, tap, dy) -> np.ndarray:
    """Compute (tile.2): x flat (…), start (M,), tap (K,), dy (M, F) -> z (K, F)."""
    F = dy.shape[1]
    columns = _padded(F, x.dtype)
    if columns != F:
        wide = np.zeros((len(dy), columns), x.dtype)
        wide[:, :F] = dy
        dy = wide
    rows = -(-len(tap) // ROWS) * ROWS  # the last tile repeats the last tap; its extra rows are cut off
    tap_rows = np.concatenate([tap, np.repeat(tap[-1:], rows - len(tap))])
    pieces = max(1, min(PIECES, PARTIAL_SUMS // (rows * columns)))
    z = np.zeros((pieces, rows, columns), x.dtype)
    _products_transposed(x, start, tap_rows, dy, z)
    return z.sum(axis=0)[: len(tap), :F]


def column_sums(dy) -> np.ndarray:
    """Return Σ_m dy[m,f], (F,): the sums of the pieces of the rows, added in order."""
    sums = np.zeros((PIECES, dy.shape[1]), dy.dtype)
    _column_sums(dy, sums)
    return sums.sum(axis=0)


@compiled
def _column_sums(dy, sums):
    M = len(dy)
    for piece in prange(PIECES):
        sum_row = sums[piece]
        for m in range(piece * M // PIECES, (piece + 1) * M // PIECES):
            dy_row = dy[m]
            for f in range(len(sum_row)):
                sum_row[f] += dy_row[f]


def _padded(F: int, dtype) -> int:
    """Return F, rounded up to whole vectors."""
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"the register tile takes float32 or float64 arrays, got {dtype}; convert with x.astype")
    vector = BYTES // dtype.itemsize
    return -(-F // vector) * vector


def _segments(tap: np.ndarray) -> tuple[np.ndarray, int]:
    """Cut the taps into runs of neighbours, all of one length; return where they begin, and that length."""
    breaks = np.flatnonzero(np.diff(tap) != 1) + 1
    run = int(np.gcd.reduce(np.append(breaks, len(tap))))
    return np.ascontiguousarray(tap[::run]), run


def _packed(w: np.ndarray, columns: int, dtype) -> np.ndarray:
    """Lay out w (K, F) as blocks (columns / 2 vectors, K, 2 vectors), the last of them one vector wide if odd."""
    K, F = w.shape
    vector = BYTES // np.dtype(dtype).itemsize
    wide = np.zeros((K, columns), dtype)
    wide[:, :F] = w
    pairs = columns // (2 * vector) * 2 * vector
    blocks = wide[:, :pairs].reshape(K, -1, 2 * vector).transpose(1, 0, 2)
    return np.concatenate([blocks.ravel(), wide[:, pairs:].ravel()])


@compiled
def _products(x, start, segment, run, w, b, y):
    M, columns = y.shape
    V, K = width(x), len(segment) * run
    blocks = -(-columns // (2 * V))
    for work in prange(-(-M // CHUNK) * blocks):
        chunk, f = work // blocks, work % blocks * 2 * V
        for m in range(chunk * CHUNK, min((chunk + 1) * CHUNK, M), ROWS):
            # The last tile begins early enough to be full: what it shares with the one before comes out equal.
            first = max(min(m, M - ROWS), 0)
            if f + 2 * V <= columns:
                _tile(x, start, first, segment, run, w, f * K, b, f, y)
            else:
                _narrow_tile(x, start, first, segment, run, w, f * K, b, f, y)


@compiled(parallel=False)
def _tile(x, start, m, segment, run, w, packed, b, f, y):
    """Compute 6 positions from m on, 2 vectors of columns from f on, (tile.1)."""
    V, columns, last = width(x), y.shape[1], len(start) - 1
    m1, m2, m3, m4, m5 = min(m + 1, last), min(m + 2, last), min(m + 3, last), min(m + 4, last), min(m + 5, last)
    p0, p1, p2, p3, p4, p5 = start[m], start[m1], start[m2], start[m3], start[m4], start[m5]
    b0, b1 = load(b, f), load(b, f + V)
    y00, y10, y20, y30, y40, y50 = b0, b0, b0, b0, b0, b0
    y01, y11, y21, y31, y41, y51 = b1, b1, b1, b1, b1, b1
    for s in range(len(segment)):
        begin = segment[s]
        for q in range(begin, begin + run):
            w0, w1 = load(w, packed), load(w, packed + V)
            packed += 2 * V
            x0 = splat(x, p0 + q)
            y00, y01 = fma(x0, w0, y00), fma(x0, w1, y01)
            x1 = splat(x, p1 + q)
            y10, y11 = fma(x1, w0, y10), fma(x1, w1, y11)
            x2 = splat(x, p2 + q)
            y20, y21 = fma(x2, w0, y20), fma(x2, w1, y21)
            x3 = splat(x, p3 + q)
            y30, y31 = fma(x3, w0, y30), fma(x3, w1, y31)
            x4 = splat(x, p4 + q)
            y40, y41 = fma(x4, w0, y40), fma(x4, w1, y41)
            x5 = splat(x, p5 + q)
            y50, y51 = fma(x5, w0, y50), fma(x5, w1, y51)
    _store_pair(y, m * columns + f, V, y00, y01)
    _store_pair(y, m1 * columns + f, V, y10, y11)
    _store_pair(y, m2 * columns + f, V, y20, y21)
    _store_pair(y, m3 * columns + f, V, y30, y31)
    _store_pair(y, m4 * columns + f, V, y40, y41)
    _store_pair(y, m5 * columns + f, V, y50, y51)


@compiled(parallel=False)
def _narrow_tile(x, start, m, segment, run, w, packed, b, f, y):
    """Compute 6 positions from m on, the last single vector of columns from f on, (tile.1)."""
    V, columns, last = width(x), y.shape[1], len(start) - 1
    m1, m2, m3, m4, m5 = min(m + 1, last), min(m + 2, last), min(m + 3, last), min(m + 4, last), min(m + 5, last)
    p0, p1, p2, p3, p4, p5 = start[m], start[m1], start[m2], start[m3], start[m4], start[m5]
    y0 = y1 = y2 = y3 = y4 = y5 = load(b, f)
    for s in range(len(segment)):
        begin = segment[s]
        for q in range(begin, begin + run):
            w0 = load(w, packed)
            packed += V
            y0 = fma(splat(x, p0 + q), w0, y0)
            y1 = fma(splat(x, p1 + q), w0, y1)
            y2 = fma(splat(x, p2 + q), w0, y2)
            y3 = fma(splat(x, p3 + q), w0, y3)
            y4 = fma(splat(x, p4 + q), w0, y4)
            y5 = fma(splat(x, p5 + q), w0, y5)
    store(y, m * columns + f, y0)
    store(y, m1 * columns + f, y1)
    store(y, m2 * columns + f, y2)
    store(y, m3 * columns + f, y3)
    store(y, m4 * columns + f, y4)
    store(y, m5 * columns + f, y5)


@compiled(parallel=False)
def _store_pair(y, offset, V, first, second):
    store(y, offset, first)
    store(y, offset + V, second)


@compiled
def _products_transposed(x, start, tap, dy, z):
    pieces, K, columns = z.shape
    M, V = len(dy), width(x)
    groups = -(-K // CHUNK)
    for work in prange(pieces * groups):  # each piece of the positions sums into a z of its own
        piece, group = work // groups, work % groups
        end = (piece + 1) * M // pieces
        for m in range(piece * M // pieces, end, CHUNK):
            stop = min(m + CHUNK, end)
            for f in range(0, columns, 2 * V):
                for k in range(group * CHUNK, min((group + 1) * CHUNK, K), ROWS):
                    into = (piece * K + k) * columns + f
                    if f + 2 * V <= columns:
                        _turned_tile(x, start, m, stop, tap, k, dy, f, z, into)
                    else:
                        _narrow_turned_tile(x, start, m, stop, tap, k, dy, f, z, into)


@compiled(parallel=False)
def _turned_tile(x, start, m0, m1, tap, k, dy, f, z, into):
    """Add the positions m0..m1 to 6 taps from k on, 2 vectors of columns from f on, (tile.2)."""
    V, columns = width(x), dy.shape[1]
    t0, t1, t2, t3, t4, t5 = tap[k], tap[k + 1], tap[k + 2], tap[k + 3], tap[k + 4], tap[k + 5]
    i1, i2, i3, i4, i5 = into + columns, into + 2 * columns, into + 3 * columns, into + 4 * columns, into + 5 * columns
    z00, z01, z10, z11 = load(z, into), load(z, into + V), load(z, i1), load(z, i1 + V)
    z20, z21, z30, z31 = load(z, i2), load(z, i2 + V), load(z, i3), load(z, i3 + V)
    z40, z41, z50, z51 = load(z, i4), load(z, i4 + V), load(z, i5), load(z, i5 + V)
    for m in range(m0, m1):
        p = start[m]
        dy0, dy1 = load(dy, m * columns + f), load(dy, m * columns + f + V)
        x0 = splat(x, p + t0)
        z00, z01 = fma(x0, dy0, z00), fma(x0, dy1, z01)
        x1 = splat(x, p + t1)
        z10, z11 = fma(x1, dy0, z10), fma(x1, dy1, z11)
        x2 = splat(x, p + t2)
        z20, z21 = fma(x2, dy0, z20), fma(x2, dy1, z21)
        x3 = splat(x, p + t3)
        z30, z31 = fma(x3, dy0, z30), fma(x3, dy1, z31)
        x4 = splat(x, p + t4)
        z40, z41 = fma(x4, dy0, z40), fma(x4, dy1, z41)
        x5 = splat(x, p + t5)
        z50, z51 = fma(x5, dy0, z50), fma(x5, dy1, z51)
    _store_pair(z, into, V, z00, z01)
    _store_pair(z, i1, V, z10, z11)
    _store_pair(z, i2, V, z20, z21)
    _store_pair(z, i3, V, z30, z31)
    _store_pair(z, i4, V, z40, z41)
    _store_pair(z, i5, V, z50, z51)


@compiled(parallel=False)
def _narrow_turned_tile(x, start, m0, m1, tap, k, dy, f, z, into):
    """Add the positions m0..m1 to 6 taps from k on, the last single vector of columns from f on, (tile.2)."""
    columns = dy.shape[1]
    t0, t1, t2, t3, t4, t5 = tap[k], tap[k + 1], tap[k + 2], tap[k + 3], tap[k + 4], tap[k + 5]
    i1, i2, i3, i4, i5 = into + columns, into + 2 * columns, into + 3 * columns, into + 4 * columns, into + 5 * columns
    z0, z1, z2, z3, z4, z5 = load(z, into), load(z, i1), load(z, i2), load(z, i3), load(z, i4), load(z, i5)
    for m in range(m0, m1):
        p, dy0 = start[m], load(dy, m * columns + f)
        z0 = fma(splat(x, p + t0), dy0, z0)
        z1 = fma(splat(x, p + t1), dy0, z1)
        z2 = fma(splat(x, p + t2), dy0, z2)
        z3 = fma(splat(x, p + t3), dy0, z3)
        z4 = fma(splat(x, p + t4), dy0, z4)
        z5 = fma(splat(x, p + t5), dy0, z5)
    store(z, into, z0)
    store(z, i1, z1)
    store(z, i2, z2)
    store(z, i3, z3)
    store(z, i4, z4)
    store(z, i5, z5)
