"""The register tile: the one inner loop of matrix products and convolutions.

    y[m,f] = b[f] + Σ_k x.flat[start[m] + tap[k]] · w[k,f]            (tile.1)
    z[k,f] = Σ_m x.flat[start[m] + tap[k]] · dy[m,f]                  (tile.2)

``start`` says where the window of an output position m begins in x, ``tap`` where in the window input k lies:

    matrix product a b            start[m] = m·K                          tap[k] = k
    convolution, position (n,i,j) start = ((n·H + i·SH)·W + j·SW)·C       tap = (k·DH·W + l·DW)·C + c

so one loop does both, without copying windows out of the image. A tile is 8 positions by 2 vectors of columns, or 6 by
4 (6 by 2 where there are but 16 vector registers): its sums stay in registers while k runs, and a step of the first
costs 2 loads of w, 8 broadcasts of x and 16 multiply-adds. The weights are packed so that the vectors of each k follow
one another. docs/ops/tile.md draws it.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from minivid.jit import PIECES, compiled, inner
from minivid.memory import empty
from minivid.simd import (
    BYTES,
    REGISTERS,
    add_inner,
    add_inner_part,
    add_outer,
    add_outers,
    entries,
    load,
    load_part,
    prefetch,
    store,
    tile_at_least,
    tile_full,
    tile_load,
    tile_load_part,
    tile_load_transposed,
    tile_repeat,
    tile_scatter,
    tile_scatter_totals,
    tile_store,
    tile_stream,
    width,
)

ROWS = 8 if REGISTERS == 32 else 6  # positions per tile of 2 vectors
WIDE = 4 if REGISTERS == 32 else 2  # vectors of a block of weights, and of a wide tile
WIDE_ROWS = 6  # positions of a wide tile
TURNED_ROWS = 6  # taps of a tile of (tile.2)
NEIGHBOURS = tuple(range(TURNED_ROWS))
STRIP = 192  # positions, more or less, that share a piece of work: their inputs stay in the cache
LONG_STRIP = 264  # of (tile.2), whose sums go to memory and back for each strip
TAPS = 576  # taps, at most, of a piece of work of (tile.2)
MANY = 4  # blocks of columns, from which on the inputs of a strip are copied tile by tile
STREAMED = 4_000_000  # bytes of outputs from which they go to memory past the caches
INNER_ROWS = 8 if REGISTERS == 32 else 4  # positions per tile whose vectors run along the taps
TOTAL, SAVED = 8, 0.5  # vector operations for the total of a vector; when vectors along the taps are worth it
FEW_ROWS, MANY_ROWS = 8, 2048  # of a piece of work of a matrix product, for which weights are packed
ROWS_AHEAD = 4  # of the weights that are packed
SERIAL = 20_000  # elements, up to which one thread is done with them before another has woken up
PARTIAL_SUMS = 1_000_000  # elements that the partial sums of (tile.2) may take together


class Grid(NamedTuple):
    """Output positions (n, i, j) over images, and the frame of zeros that their windows may reach into."""

    N: int  # images of H x W pixels and C channels
    H: int
    W: int
    C: int
    OH: int  # rows and columns of positions, SH and SW pixels apart
    OW: int
    SH: int = 1
    SW: int = 1
    top: int = 0  # the frame
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def framed(self) -> tuple[int, int]:
        """Height and width of an image with its frame."""
        return self.top + self.H + self.bottom, self.left + self.W + self.right

    @property
    def is_framed(self) -> bool:
        """Whether there is a frame at all."""
        return self.framed != (self.H, self.W)

    @property
    def positions(self) -> int:
        """How many there are."""
        return self.N * self.OH * self.OW


def rows_of(M: int, K: int) -> Grid:
    """Return the rows of a matrix (M, K) as positions: M images of one row, one pixel and K channels."""
    return Grid(M, 1, 1, K, 1, 1)


class _Strips(NamedTuple):
    """The positions, cut into pieces of work: some rows of one image, or some whole images."""

    images: int
    rows: int
    start: np.ndarray  # where the windows of the positions of a strip begin, from where the first does
    size: int  # elements of the framed part of the images that a strip covers
    count: int


@lru_cache(maxsize=256)
def _strips(grid: Grid, window_rows: int, most: int, threads: int = 1) -> _Strips:
    # Strips in a frame overlap by some rows of pixels, which are copied twice: they are at least three times as high.
    least = 2 * (window_rows - grid.SH) // grid.SH if grid.is_framed else 1
    rows = _evenly(grid.OH, max(most // grid.OW, least))
    images = _evenly(grid.N, most // (grid.OH * grid.OW)) if rows == grid.OH else 1
    if grid.OH * grid.OW == 1:
        parts = -(-grid.N // images)
        parts = -(-parts // threads) * threads if parts > 1 else 1  # as many for each thread
        images = -(-grid.N // (parts * ROWS)) * ROWS  # whole tiles
    FH, FW = grid.framed
    start = np.add.outer(np.arange(images) * FH * FW, np.arange(rows) * grid.SH * FW)
    start = np.add.outer(start, np.arange(grid.OW) * grid.SW).ravel() * grid.C
    size = ((images - 1) * FH + (rows - 1) * grid.SH + window_rows) * FW * grid.C
    return _Strips(images, rows, start, size, -(-grid.N // images) * -(-grid.OH // rows))


@lru_cache(maxsize=256)
def _places(images: int, rows: int, columns: int, into: tuple[int, int, int, int]) -> np.ndarray:
    """Return where the outputs of the positions of a strip begin, from where those of the first do."""
    places = np.add.outer(np.arange(images) * into[1], np.arange(rows) * into[2])
    return np.add.outer(places, np.arange(columns) * into[3]).ravel()


def _evenly(count: int, most: int) -> int:
    """Return the size of parts, at least 1 and at most ``most``, that cut ``count`` into nearly equal parts."""
    parts = -(-count // max(1, most))
    return -(-count // max(1, parts))


@lru_cache(maxsize=64)
def _segments(taps: bytes) -> tuple[np.ndarray, int]:
    """Cut the taps into runs of neighbours, all of one length; return where they begin, and that length."""
    tap = np.frombuffer(taps, np.int64)
    breaks = np.flatnonzero(np.diff(tap) != 1) + 1
    run = int(np.gcd.reduce(breaks, initial=len(tap)))
    return np.ascontiguousarray(tap[:: run or 1]), run


# --- the tile: (tile.1) --------------------------------------------------------------------------------------------


def gather_product(
    x,
    grid: Grid,
    tap,
    window_rows: int,
    w,
    b,
    y,
    into: tuple[int, int, int, int] | None = None,
    low: float = -np.inf,
) -> None:
    """Compute (tile.1): packed weights w and b (F,) or None; ``y`` gets F outputs per position, at least ``low``.

    ``window_rows`` is how many rows of pixels the taps reach over. ``into`` says where in y the outputs of position
    (n, i, j) begin: at its first number + n·second + i·third + j·fourth; by default one after the other.
    """
    bias = np.zeros(w.padded, y.dtype)
    if b is not None:
        bias[: w.columns] = b
    if grid.positions == 0:
        return
    F, strips = w.columns, _strips(grid, window_rows, STRIP, get_num_threads())
    into = into or (0, grid.OH * grid.OW * F, grid.OW * F, F)
    rows = _places(strips.images, strips.rows, grid.OW, into)
    segment, run = _segments(tap.astype(np.int64).tobytes())
    few = _few(w, segment, run)
    whole = _whole(F - few.columns, BYTES // y.itemsize) * y.itemsize // BYTES  # vectors of columns
    vectors = WIDE if strips.count * whole >= WIDE * get_num_threads() else 2  # so that there is work for all threads
    blocks = -(-whole // vectors) + (few.columns > 0)
    splits = min(blocks, -(-2 * get_num_threads() // strips.count))
    scratch = empty((get_num_threads(), strips.size if grid.is_framed else 0), y.dtype)
    sizes = (strips.images, strips.rows, strips.count, splits, vectors)
    out = (y.dtype.type(low), is_streamed(y), *into)
    weights = w.blocks, F, w.padded, few.rows, few.columns
    _products(x.ravel(), grid, sizes, strips.start, segment, run, weights, bias, y.ravel(), rows, out, scratch)


class _Few(NamedTuple):
    """Columns at the end whose vectors run along the taps: one row each, every run filled up to whole vectors."""

    rows: np.ndarray
    columns: int


def _few(w: "Packed", segment: np.ndarray, run: int) -> _Few:
    """Return the columns that do not fill a vector, if `few_columns` says so."""
    V = BYTES // w.blocks.itemsize
    columns = few_columns(w.columns, len(segment), run, V)
    first = w.columns - columns
    begin = first // (WIDE * V) * WIDE * V  # of the block that they are in
    step, K = min(WIDE * V, w.padded - begin), len(segment) * run
    rows = np.zeros((_whole(columns, 3), len(segment), _whole(run, V)), w.blocks.dtype)
    if columns:
        block = w.blocks[begin * K : (begin + step) * K].reshape(len(segment), run, step)
        rows[:columns, :, :run] = block[..., first - begin : first - begin + columns].transpose(2, 0, 1)
    return _Few(rows.ravel(), columns)


def few_columns(columns: int, segments: int, run: int, vector: int) -> int:
    """Return how many columns at the end, less than a vector, cost less if vectors run along the taps."""
    few = columns % vector
    return few if _inner_products(few, segments, run, vector) < SAVED * segments * run * vector else 0


def _inner_products(few: int, segments: int, run: int, vector: int) -> int:
    return _whole(few, 3) * segments * _whole(run, vector) + TOTAL * vector * few


def products(columns: int, segments: int, run: int, vector: int) -> int:
    """Return the multiplications for each position, vectors being whole, of taps in so many runs of neighbours."""
    few = few_columns(columns, segments, run, vector)
    return segments * run * _whole(columns - few, vector) + _inner_products(few, segments, run, vector)


def _whole(count: int, unit: int) -> int:
    """Return ``count``, rounded up to a multiple of ``unit``."""
    return -(-count // unit) * unit


def is_large(y) -> bool:
    """Whether outputs are so many that they should go to memory past the caches, and begin where a vector may."""
    return y.nbytes > STREAMED and y.ctypes.data % BYTES == 0


def is_streamed(y) -> bool:
    """Whether outputs go to memory past the caches, vector by vector: `is_large`, and every row is whole vectors."""
    return is_large(y) and y.shape[-1] * y.itemsize % BYTES == 0


@compiled
def _products(x, grid, sizes, start, segment, run, weights, b, y, rows, out, scratch):
    images, strip_rows, strips, splits, vectors = sizes
    _, F, _, _, few = weights
    columns = vectors * width(x)
    blocks, per_image = -(-(F - few) // columns) + (few > 0), -(-grid.OH // strip_rows)
    for work in prange(strips * splits):
        strip, split = work // splits, work % splits
        n, i = strip // per_image * images, strip % per_image * strip_rows
        M = min(images, grid.N - n) * min(strip_rows, grid.OH - i) * grid.OW
        place = out[2] + n * out[3] + i * out[4]
        framed = scratch[get_thread_id()]
        if len(framed):
            _frame(x, grid, n, i, framed)
        first = (n * grid.H + i * grid.SH) * grid.W * grid.C
        begin = 0 if len(framed) else first  # a literal 0 below would have everything compiled twice
        for block in range(split * blocks // splits, (split + 1) * blocks // splits):
            f = block * columns
            if len(framed):
                _strip_products(framed, begin, start, M, segment, run, weights, b, f, columns, out, y, rows, place)
            else:
                _strip_products(x, begin, start, M, segment, run, weights, b, f, columns, out, y, rows, place)


@inner
def _frame(x, grid, n, i, framed):
    """Copy the images from n on, from the first row under position row i on, with their frame of zeros."""
    FH = grid.top + grid.H + grid.bottom
    row = (grid.left + grid.W + grid.right) * grid.C
    left, inside = grid.left * grid.C, grid.W * grid.C
    for at in range(len(framed) // row):
        image, r = n + (i * grid.SH + at) // FH, (i * grid.SH + at) % FH - grid.top
        into = framed[at * row : (at + 1) * row]
        if image >= grid.N or r < 0 or r >= grid.H:
            for j in range(row):
                into[j] = 0
        else:
            for j in range(left):
                into[j] = 0
            middle, x_row = (
                into[left : left + inside],
                x[(image * grid.H + r) * inside : (image * grid.H + r + 1) * inside],
            )
            for j in range(inside):
                middle[j] = x_row[j]
            for j in range(left + inside, row):
                into[j] = 0


@inner
def _strip_products(x, first, start, M, segment, run, weights, b, f, columns, out, y, rows, place):
    """Compute the columns from f on of a strip: in wide tiles if they are as many vectors, or two vectors at a time."""
    w, F, padded, few_rows, few = weights
    V = width(x)
    end = min(f + columns, F - few)
    if f >= end:
        _strip_inner_products(x, first, start, M, segment, run, few_rows, b, F - few, few, out, y, rows, place)
    elif WIDE == 4 and end - f > 3 * V:
        _wide_tiles(x, first, start, M, segment, run, w, padded, b, f, end, out, y, rows, place)
    else:
        for pair in range(f, end, 2 * V):
            if end - pair > V:
                _tiles(x, first, start, M, segment, run, w, padded, b, pair, end, out, y, rows, place)
            else:
                _narrow_tiles(x, first, start, M, segment, run, w, padded, b, pair, end, out, y, rows, place)


def _tiler(size, vectors):
    @inner
    def tiles(x, first, start, M, segment, run, w, padded, b, f, F, out, y, rows, place):
        """Compute up to so many vectors of columns from f on, for the positions of a strip."""
        for m in range(M if size > M else 0):
            offsets, into = entries(start, m, 1), entries(rows, m, 1)
            _tile(x, offsets, first, segment, run, w, padded, b, f, F, vectors, out, y, into, place)
        for m in range(0, M if size <= M else 0, size):
            # The last tile begins early enough to be full: what it shares with the one before comes out equal.
            at = min(m, M - size)
            offsets, into = entries(start, at, size), entries(rows, at, size)
            _tile(x, offsets, first, segment, run, w, padded, b, f, F, vectors, out, y, into, place)

    return tiles


@inner(forceinline=True)
def _tile(x, offsets, first, segment, run, w, padded, b, f, F, vectors, out, y, rows, place):
    """Compute as many positions as there are offsets, up to so many vectors of columns from f on: (tile.1)."""
    block = f // (WIDE * width(x)) * WIDE * width(x)  # of weights, that column f is in
    packed, step = block * len(segment) * run + f - block, min(WIDE * width(x), padded - block)
    sums = _summed(tile_repeat(b, f, len(offsets), vectors), x, offsets, first, segment, run, w, packed, step)
    _write(y, rows, place + f, tile_at_least(sums, out[0]), F - f, out[1])


_wide_tiles, _tiles, _narrow_tiles = _tiler(WIDE_ROWS, WIDE), _tiler(ROWS, 2), _tiler(ROWS, 1)


@inner(forceinline=True)
def _write(y, rows, place, sums, left, streamed):
    if streamed:
        tile_stream(y, rows, place, sums)
    else:
        tile_scatter(y, rows, place, sums, left)


@inner(forceinline=True)
def _summed(sums, x, offsets, first, segment, run, w, packed, step):
    for s in range(len(segment)):
        sums = add_outers(sums, x, offsets, first + segment[s], run, w, packed, step)  # (tile.1)
        packed += run * step
    return sums


# --- the same for few columns: vectors run along the taps ----------------------------------------------------------


@inner
def _strip_inner_products(x, first, start, M, segment, run, w, b, f, columns, out, y, rows, place):
    step = len(segment) * -(-run // width(x)) * width(x)
    for c in range(0, columns, 3):
        for m in range(M if M < INNER_ROWS else 0):
            offsets, into = entries(start, m, 1), entries(rows, m, 1)
            _inner_tile(x, offsets, first, segment, run, w, c * step, step, b, f + c, columns - c, out, y, into, place)
        for m in range(0, M if M >= INNER_ROWS else 0, INNER_ROWS):
            at = min(m, M - INNER_ROWS)
            offsets, into = entries(start, at, INNER_ROWS), entries(rows, at, INNER_ROWS)
            _inner_tile(x, offsets, first, segment, run, w, c * step, step, b, f + c, columns - c, out, y, into, place)


@inner(forceinline=True)
def _inner_tile(x, offsets, first, segment, run, w, i, step, b, f, left, out, y, rows, place):
    """Compute as many positions as there are offsets, up to 3 columns from f on: (tile.1)."""
    sums = _inner(tile_full(x, len(offsets), 3, 0), x, offsets, first, segment, run, w, i, step)
    tile_scatter_totals(y, rows, place + f, sums, b, f, out[0], left)


@inner(forceinline=True)
def _inner(sums, x, offsets, first, segment, run, w, i, step):
    V = width(x)
    whole = run // V * V
    for s in range(len(segment)):
        begin = first + segment[s]
        for q in range(begin, begin + whole, V):
            sums = add_inner(sums, x, offsets, q, w, i, step)  # (tile.1)
            i += V
        if whole < run:
            sums = add_inner_part(sums, x, offsets, begin + whole, w, i, step, run - whole)
            i += V
    return sums


# --- its weights ---------------------------------------------------------------------------------------------------


class Packed(NamedTuple):
    """Weights (K, columns) in blocks of 4 vectors of columns, say, (K, 4V) each; the last is as wide as it needs."""

    blocks: np.ndarray
    columns: int
    padded: int  # columns, rounded up to whole vectors


def packed(w, dtype, order=None, transpose: bool = False, vectors: int = WIDE) -> Packed:
    """Pack the matrices w[t] of a stack (taps, C, F), transposed if so wished, one below the other in ``order``.

    ``vectors`` of columns make a block: `WIDE` for `gather_product`.
    """
    w = np.ascontiguousarray(w, dtype=dtype)
    order = np.arange(len(w)) if order is None else order
    K, columns = w.shape[1:] if not transpose else w.shape[:0:-1]
    padded = _whole_vectors(columns, w.dtype)
    blocks = empty((padded * K * len(order),), w.dtype)
    _pack(w, order, transpose, vectors, blocks)
    return Packed(blocks, columns, padded)


def _whole_vectors(columns: int, dtype) -> int:
    """Return the columns, rounded up to whole vectors."""
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"the register tile takes float32 or float64 arrays, got {dtype}; convert with x.astype")
    return _whole(columns, BYTES // dtype.itemsize)


@compiled
def _pack(w, order, transpose, vectors, blocks):
    columns = w.shape[1] if transpose else w.shape[2]
    works = len(order) * -(-columns // (vectors * width(blocks)))
    if w.size < SERIAL:
        for work in range(works):
            _pack_block(w, order, transpose, vectors, work, blocks)
    else:
        for work in prange(works):
            _pack_block(w, order, transpose, vectors, work, blocks)


@inner
def _pack_block(w, order, transpose, vectors, work, blocks):
    """Pack one matrix's part of one block of columns."""
    K, columns = (w.shape[2], w.shape[1]) if transpose else (w.shape[1], w.shape[2])
    V, all_K, flat = width(blocks), len(order) * K, w.reshape(w.size)
    wide = -(-columns // (vectors * V))
    t, f = work // wide, work % wide * vectors * V
    step = min(vectors * V, -(-(columns - f) // V) * V)
    _pack_columns(flat, order[t] * K * columns, K, columns, transpose, f, step, blocks, f * all_K + t * K * step)


@inner
def _pack_columns(w, matrix, K, columns, transpose, f, step, blocks, into):
    """Pack the columns f..f + step, whole vectors, of the matrix (K, columns) that begins there."""
    if transpose:
        for j in range(f, f + step, width(w)):
            _pack_transposed(w, matrix + j * K, K, columns - j, blocks, into + j - f, step)
    else:
        _pack_straight(w, matrix + f, K, columns, columns - f, blocks, into, step)


@inner
def _pack_straight(w, first, K, columns, left, blocks, into, step):
    """Copy K rows of so many columns, whole vectors, or as many as are left."""
    V = width(w)
    for k in range(K):
        row, at = first + k * columns, into + k * step
        prefetch(w, row + ROWS_AHEAD * columns, min(step, left))  # rows far apart, which a core does not guess
        for j in range(0, step, V):
            store(blocks, at + j, load_part(w, row + j, left - j))


@inner
def _pack_transposed(w, first, K, left, blocks, into, step):
    """Copy V columns, or as many as are left, of a matrix that lies in memory column by column."""
    V = width(w)
    done = K // V * V if left >= V else 0
    for k in range(0, done, V):
        tile_store(blocks, into + k * step, step, tile_load_transposed(w, first + k, K))
    for j in range(V):
        for k in range(done, K):
            blocks[into + k * step + j] = w[first + j * K + k] if j < left else 0


# --- the same for matrices: each thread packs the columns that it needs next ---------------------------------------


def matrix_product(a, w, transpose: bool, b, y) -> None:
    """Compute (tile.1) for the rows of a (M, K), w (K, F), or (F, K) with ``transpose``, and b (F,) or None: y (M, F).

    A piece of work is some rows by a block of columns, whose weights stay in the thread's own cache.
    """
    (M, K), F = a.shape, y.shape[1]
    padded = _whole_vectors(F, y.dtype)
    bias = np.zeros(padded, y.dtype)
    if b is not None:
        bias[:F] = b
    columns = WIDE * BYTES // y.itemsize
    rows = _evenly(M, _rows_of_work(M, -(-F // columns), get_num_threads()))
    each = np.arange(rows)
    panels = empty((get_num_threads(), K * columns), y.dtype)
    out = y.dtype.type(-np.inf), is_streamed(y)
    _matrix_products(a.ravel(), w.ravel(), transpose, (M, K, F, rows), each * K, bias, y.ravel(), each * F, out, panels)


def _rows_of_work(M: int, blocks: int, threads: int) -> int:
    """Return how many rows to give to a piece of work, so that the threads have about as much of it."""
    groups = -(-M // MANY_ROWS)
    while blocks * groups % threads and blocks * groups < MANY * threads and M // (groups + 1) >= FEW_ROWS:
        groups += 1
    return -(-M // groups)


@compiled
def _matrix_products(a, w, transpose, sizes, start, b, y, rows, out, panels):
    M, K, F, strip = sizes
    V = width(a)
    columns, groups = WIDE * V, -(-M // strip)
    blocks = -(-F // columns)
    segment, zero = np.zeros(1, np.int64), len(y) // (len(y) + 1)  # a literal 0 would have it compiled twice
    for work in prange(blocks * groups):
        f, m = work % blocks * columns, work // blocks * strip
        panel, wide = panels[get_thread_id()], min(columns, -(-(F - f) // V) * V)
        _pack_columns(w, zero, K, F, transpose, f, wide, panel, zero)
        weights, count = (panel, F - f, wide, panel, zero), min(strip, M - m)
        _strip_products(a, m * K, start, count, segment, K, weights, b[f:], zero, wide, out, y, rows, m * F + f)


def transposed(a) -> np.ndarray:
    """Copy a matrix (M, K) of at least a vector of rows to (K, M)."""
    turned = empty(a.shape[::-1], a.dtype)
    _transpose(a.ravel(), *a.shape, turned.ravel())
    return turned


@compiled
def _transpose(a, M, K, turned):
    V = width(a)
    for block in prange(-(-M // V)):
        m = min(block * V, M - V)  # the last block begins early enough to be full
        _pack_transposed(a, m * K, K, V, turned, m, M)


# --- the tile turned round: its rows are taps, and it walks over positions: (tile.2) -------------------------------


def gather_product_transposed(x, grid: Grid, tap, window_rows: int, dy) -> np.ndarray:
    """Compute (tile.2): x, positions and taps (K,) as in `gather_product`, dy (M, F) -> z (K, F)."""
    F, K = dy.shape[1], len(tap)
    if grid.positions == 0 or K == 0:
        return np.zeros((K, F), dy.dtype)
    in_place = _is_block(dy)
    strips = _strips(grid, window_rows, STRIP if in_place else LONG_STRIP)
    rows = _whole(K, TURNED_ROWS)  # the last tile repeats the last tap; its extra rows are cut off
    tap = np.concatenate([tap, np.repeat(tap[-1:], rows - K)])
    # Partial sums or one: by the shapes alone, so that the bits do not depend on the threads.
    pieces = min(PIECES, PARTIAL_SUMS // (rows * F)) if strips.count >= PIECES else 1
    pieces = max(1, pieces)
    works = -(-get_num_threads() // pieces)  # groups of taps, so that there is work for all threads
    while pieces * works % get_num_threads():
        works += 1
    taps = min(TAPS, -(-rows // works // TURNED_ROWS) * TURNED_ROWS)
    partial = empty((pieces, rows, F), dy.dtype)
    scratch = empty((get_num_threads(), strips.size if grid.is_framed else 0), dy.dtype)
    dy_blocks = empty((get_num_threads(), len(strips.start) * WIDE * BYTES // dy.itemsize), dy.dtype)
    sizes = (strips.images, strips.rows, strips.count, pieces, taps, in_place)
    # Panels of inputs: tile by tile, position by position, so that the loop reads them as one stream.
    positions, panelled = len(strips.start), F * dy.itemsize > MANY * 2 * BYTES
    panels = empty((get_num_threads(), taps * positions + BYTES if panelled else 0), dy.dtype)
    panel_start = np.arange(positions) * TURNED_ROWS
    panel_tap = np.arange(rows) // TURNED_ROWS * positions * TURNED_ROWS + np.arange(rows) % TURNED_ROWS
    tables = strips.start, tap, panel_start, panel_tap, np.arange(TURNED_ROWS) * F
    _products_transposed(x.ravel(), grid, sizes, tables, dy.ravel(), F, partial.ravel(), scratch, dy_blocks, panels)
    if partial.shape == (1, K, F):
        return partial[0]
    z = empty((K, F), dy.dtype)
    _add_partial(partial, z)
    return z


def product_transposed(x, dy) -> np.ndarray:
    """Compute (tile.2) for matrices: x (M, K), dy (M, F) -> z = xᵀ dy (K, F)."""
    if _is_block(x) and not _is_block(dy):  # (dyᵀ x)ᵀ reads both where they lie
        return np.ascontiguousarray(product_transposed(dy, x).T)
    return gather_product_transposed(x, rows_of(*x.shape), np.arange(x.shape[1]), 1, dy)


def _is_block(x) -> bool:
    """Whether the rows of a matrix are a block of vectors, which a strip can be read from where it lies."""
    return x.shape[1] * x.itemsize in (BYTES, 2 * BYTES, 4 * BYTES)


@compiled
def _products_transposed(x, grid, sizes, tables, dy, F, z, scratch, dy_blocks, panels):
    images, strip_rows, strips, pieces, group_taps, in_place = sizes
    start, tap, panel_start, panel_tap, steps = tables
    K, V = len(tap), width(x)
    groups, per_image = -(-K // group_taps), -(-grid.OH // strip_rows)
    for work in prange(pieces * groups):
        piece, group = work // groups, work % groups
        thread = get_thread_id()
        framed, panel = scratch[thread], panels[thread]
        k0, k1 = group * group_taps, min((group + 1) * group_taps, K)
        for strip in range(piece * strips // pieces, (piece + 1) * strips // pieces):
            n, i = strip // per_image * images, strip % per_image * strip_rows
            M = min(images, grid.N - n) * min(strip_rows, grid.OH - i) * grid.OW
            if len(framed):
                _frame(x, grid, n, i, framed)
            first = 0 if len(framed) else (n * grid.H + i * grid.SH) * grid.W * grid.C
            anew = strip == piece * strips // pieces
            if len(panel) and len(framed):
                _copy_panels(framed, first, start, M, tap, k0, k1, panel)
            elif len(panel):
                _copy_panels(x, first, start, M, tap, k0, k1, panel)
            for f in range(0, F, WIDE * V):
                row, columns = (n * grid.OH + i) * grid.OW, min(WIDE, -(-(F - f) // V)) * V
                if in_place:  # each tile asks for a part of the next strip
                    block, step = dy[row * F + f : (row + M) * F], F
                    ahead = dy, (row + M) * F, M * F * TURNED_ROWS // (k1 - k0) + 1 if f == 0 else 0
                else:
                    block, step, ahead = dy_blocks[thread], columns, (dy, 0, 0)
                    _copy_block(dy, F, row, M, f, step, block)
                into, of_dy = piece * K * F + f, (block, step, columns, f)
                if len(panel):
                    at = -k0 * len(start)
                    _strip_turned(panel, at, panel_start, M, panel_tap, k0, k1, of_dy, F, steps, z, into, anew, ahead)
                elif len(framed):
                    _strip_turned(framed, first, start, M, tap, k0, k1, of_dy, F, steps, z, into, anew, ahead)
                else:
                    _strip_turned(x, first, start, M, tap, k0, k1, of_dy, F, steps, z, into, anew, ahead)


@inner
def _copy_block(dy, F, first, M, f, step, block):
    """Copy M rows from the first on, columns f..f + step, next to each other; columns beyond the last are zeros."""
    V = width(dy)
    for m in range(M):
        into, begin = m * step, (first + m) * F + f
        prefetch(dy, begin + step, step)  # for the next block
        if F - f >= step:
            for j in range(0, step, V):
                store(block, into + j, load(dy, begin + j))
        else:
            for j in range(step):
                block[into + j] = dy[begin + j] if f + j < F else 0


@inner
def _copy_panels(x, first, start, M, tap, k0, k1, panels):
    """Copy the inputs at the taps k0..k1, of each position of a strip: (positions, TURNED_ROWS) for each tile."""
    V = width(x)
    reach = -(-TURNED_ROWS // V) * V
    for k in range(k0, k1, TURNED_ROWS):
        taps, into = entries(tap, k, TURNED_ROWS), (k - k0) * len(start)
        for m in range(M):
            begin = first + start[m]
            if _are_neighbours(taps) and begin + taps[0] + reach <= len(x):
                for r in range(0, reach, V):  # what it writes beyond the row, the next row replaces
                    store(panels, into + r, load(x, begin + taps[0] + r))
            else:
                for r in range(TURNED_ROWS):
                    panels[into + r] = x[begin + taps[r]]
            into += TURNED_ROWS


@inner(forceinline=True)
def _are_neighbours(taps):
    """Whether taps follow one another. They grow, but for the last, which may be repeated."""
    last = taps[TURNED_ROWS - 1]
    return last == taps[0] + TURNED_ROWS - 1 and last != taps[TURNED_ROWS - 2]


@inner
def _strip_turned(x, first, start, M, tap, k0, k1, of_dy, F, steps, z, into, anew, ahead):
    """Add the positions of a strip to the taps k0..k1, for the vectors of columns of a block: (tile.2)."""
    dy, step, columns, f = of_dy
    V, left = width(x), F - f
    if WIDE == 4 and columns > 3 * V:
        _wide_turned(x, first, start, M, tap, k0, k1, dy, step, left, F, steps, z, into, anew, ahead)
    elif columns > V:
        _turned(x, first, start, M, tap, k0, k1, dy, step, left, F, steps, z, into, anew, ahead)
        if WIDE == 4 and columns > 2 * V:
            at, last = into + 2 * V, dy[2 * V :]
            _narrow_turned(x, first, start, M, tap, k0, k1, last, step, left - 2 * V, F, steps, z, at, anew, ahead)
    else:
        _narrow_turned(x, first, start, M, tap, k0, k1, dy, step, left, F, steps, z, into, anew, ahead)


def _turned_tiler(vectors):
    @inner
    def tiles(x, first, start, M, tap, k0, k1, dy, step, left, F, steps, z, into, anew, ahead):
        """Add up to so many vectors of columns, those that dy begins with; so many columns are ``left`` in z."""
        row_starts = entries(steps, 0, TURNED_ROWS)
        for k in range(k0, k1, TURNED_ROWS):
            at, taps = into + k * F, entries(tap, k, TURNED_ROWS)
            prefetch(ahead[0], ahead[1] + (k - k0) // TURNED_ROWS * ahead[2], ahead[2])
            if not anew:
                for r in range(TURNED_ROWS, 2 * TURNED_ROWS):  # of the next tile: rows that a core does not guess
                    prefetch(z, at + r * F, vectors * width(x))
            if vectors > 1 and left >= vectors * width(x):
                sums = tile_full(x, TURNED_ROWS, vectors, 0) if anew else tile_load(z, at, F, TURNED_ROWS, vectors)
                tile_store(z, at, F, _summed_transposed(sums, x, first, start, M, taps, dy, step))
            else:
                sums = tile_full(x, TURNED_ROWS, vectors, 0)
                if not anew:
                    sums = tile_load_part(z, at, F, TURNED_ROWS, vectors, left)
                sums = _summed_transposed(sums, x, first, start, M, taps, dy, step)
                tile_scatter(z, row_starts, at, sums, left)

    return tiles


@inner(forceinline=True)
def _summed_transposed(sums, x, first, start, M, taps, dy, step):
    if _are_neighbours(taps):  # constants in place of the taps leave more registers
        for m in range(M):
            sums = add_outer(sums, x, NEIGHBOURS, first + taps[0] + entries(start, m, 1)[0], dy, m * step)  # (tile.2)
    else:
        for m in range(M):
            sums = add_outer(sums, x, taps, first + entries(start, m, 1)[0], dy, m * step)  # (tile.2)
    return sums


_wide_turned, _turned, _narrow_turned = _turned_tiler(WIDE), _turned_tiler(2), _turned_tiler(1)


@compiled
def _add_partial(partial, z):
    if partial.size < SERIAL:
        for k in range(len(z)):
            _add_row(partial, k, z[k])
    else:
        for k in prange(len(z)):
            _add_row(partial, k, z[k])


@inner
def _add_row(partial, k, z):
    """Add the pieces of (tile.2) in order, leaving out the rows and columns that fill tiles up."""
    for f in range(len(z)):
        z[f] = partial[0, k, f]
    for piece in range(1, len(partial)):
        row = partial[piece, k]
        for f in range(len(z)):
            z[f] += row[f]


def column_sums(dy) -> np.ndarray:
    """Return Σ_m dy[m,f], (F,): the sums of the pieces of the rows, added in order."""
    sums = np.zeros((PIECES, dy.shape[1]), dy.dtype)
    _column_sums(dy, sums)
    return sums.sum(axis=0)


@compiled
def _column_sums(dy, sums):
    if dy.size < SERIAL:
        for piece in range(PIECES):
            _add_rows(dy, piece, sums[piece])
    else:
        for piece in prange(PIECES):
            _add_rows(dy, piece, sums[piece])


@inner
def _add_rows(dy, piece, total):
    M = len(dy)
    for m in range(piece * M // PIECES, (piece + 1) * M // PIECES):
        row = dy[m]
        for f in range(len(total)):
            total[f] += row[f]
