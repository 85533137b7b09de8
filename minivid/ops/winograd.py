"""Winograd's minimal filtering: convolutions with fewer multiplications.

m outputs of a correlation with r taps need only m + r − 1 multiplications, one for each of as many points:

    y = Aᵀ [(G g) ⊙ (Bᵀ d)]                 g: r taps, d: m + r − 1 inputs, y: m outputs          (winograd.1)
    A[p,i] = pⁱ,  G[p,k] = pᵏ / Π_{q≠p} (p − q),  Σ_s B[s,p] zˢ = Π_{q≠p} (z − q)                 (winograd.2)

for the points p, and of the point "infinity" the leading coefficients. In two dimensions, with C channels, a tile
of MH x MW outputs costs 36 products for each channel and filter, instead of MH·MW·KH·KW:

    y[f] = Aᵀ [Σ_c (G w[c,f] Gᵀ) ⊙ (Bᵀ x[c] B)] A + b[f]                                          (winograd.3)
    dw[c,f] = Gᵀ [Σ_tiles (Bᵀ x[c] B) ⊙ (A dy[f] Aᵀ)] G                                           (winograd.4)

The six points 0, ±5/8, ±3/2 and infinity serve every kernel of 2 to 5 taps, because B does not depend on m and r.
The gradient with respect to x is (winograd.3) of dy with the kernel turned by 180°. With strides, a convolution is a
sum of convolutions without: pixels are sorted by phases a = row mod SH, each of which meets every SH-th tap,

    y[i] = Σ_a Σ_t x[SH·(i + t) + a] · w[SH·t + a]                a < SH, t < ⌈KH/SH⌉                 (winograd.5)

so phases are summed over like channels. docs/ops/winograd.md derives all this.
"""

import functools
from fractions import Fraction

import numba
import numpy as np
from numba import get_thread_id, prange

from minivid.jit import PIECES, compiled, inner
from minivid.memory import empty, zeros
from minivid.ops import tile
from minivid.ops.window import Window
from minivid.simd import (
    BYTES,
    REGISTERS,
    add_inner,
    add_inner_part,
    add_outer,
    add_outers,
    fma,
    full,
    load,
    load_part,
    prefetch,
    spaced,
    splat,
    store,
    store_part,
    stream,
    stream_copy,
    tile_full,
    tile_load,
    tile_load_transposed,
    tile_store,
    tile_store_totals,
    where,
    width,
)

TAPS = range(2, 6)  # kernel sizes that six points serve
POINTS = (0, Fraction(5, 8), -Fraction(5, 8), Fraction(3, 2), -Fraction(3, 2))  # and infinity
SIZE = 6  # points, inputs of a tile
SQUARE = SIZE * SIZE

WORKSPACE = 500_000  # bytes of a block of tiles, to stay in the second cache of a core
SHARED = 8_000_000  # bytes of the tiles of (winograd.4) that all threads work on, to stay in the third cache
PER_CHANNEL, PER_WEIGHT, START = 400, 500, 500_000  # multiplications that take as long, see `saves`
PER_PIXEL = 30  # the same for (conv2d.2) with strides, which takes the tile once for each phase
PER_FETCH = 4  # the same for a weight of (winograd.3) that does not stay in the second cache from block to block
PER_SUM = 8  # the same for each sum of (winograd.4), which go to memory and back with every chunk of tiles
PER_SHARED = 600  # the same for each channel and filter of a tile of (winograd.4) that all threads work on
TOTAL, PER_FEW = 7, 4800  # the same for filters that fill no vector: vectors for a total; for each tile
MARGIN = 1.1  # how many fewer there must be
APART, TILES_APART = 8, 40  # pieces of the tiles of (winograd.4), each of one thread; tiles of a piece at least
PARTIAL_SUMS = 1_200_000  # elements that their partial sums may take together
CHUNK = 256  # tiles of (winograd.4) whose products are summed in registers
GROUP = 8  # tiles that a thread transforms at a time
ROWS = 8 if REGISTERS == 32 else 6  # tiles per step of the products in (winograd.3); of one vector, twice as many
CHANNELS = 8 if REGISTERS == 32 else 4  # channels per step of the products in (winograd.4)
TOTALS = 8 if REGISTERS == 32 else 4  # tiles per step of the products in (winograd.3) with few filters

# The numbers in the transforms: the positive points, their squares, and what follows from them.
A, B = float(POINTS[1]), float(POINTS[3])
AA, BB = A * A, B * B
AAAA, BBBB = AA * AA, BB * BB
SUM, PRODUCT = AA + BB, AA * BB


def matrices(m: int, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Aᵀ (m, 6), G (6, r) and Bᵀ (6, 6) of (winograd.2) as exact fractions; m + r = 7."""
    # (winograd.2), the last row of each at infinity
    At = np.array([[p**i for p in POINTS] + [int(i == m - 1)] for i in range(m)], dtype=object)
    G = np.array([[Fraction(p**k) / _scale(p) for k in range(r)] for p in POINTS] + [[0] * (r - 1) + [1]], dtype=object)
    others = [[q for q in POINTS if q != p] for p in POINTS]
    Bt = np.array([_coefficients(roots) for roots in [*others, POINTS]], dtype=object)
    return At, G, Bt


def _scale(p):
    return np.prod([p - q for q in POINTS if q != p])


def _coefficients(roots) -> list:
    """Return the coefficients of Π (z − root), the constant first, as many as there are points."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [0, *coefficients], [*(root * c for c in coefficients), 0]
        coefficients = [s - t for s, t in zip(shifted, scaled, strict=True)]
    return coefficients + [Fraction(0)] * (SIZE - len(coefficients))


def applies(win: Window) -> bool:
    """Whether six points serve this window: 2 to 5 neighbouring taps of each phase, in both directions."""
    KH, KW = _taps(win)
    return (win.DH, win.DW) == (1, 1) and KH in TAPS and KW in TAPS


def _taps(win: Window) -> tuple[int, int]:
    """Return how many taps the pixels of a phase meet at most, t of (winograd.5)."""
    return -(-win.KH // win.SH), -(-win.KW // win.SW)


def _full(win: Window) -> tuple[int, int]:
    """Return how many phases meet as many; the others, which follow, have no product at infinity."""
    KH, KW = _taps(win)
    return win.KH - (KH - 1) * win.SH, win.KW - (KW - 1) * win.SW


def _tiles(N: int, win: Window) -> int:
    KH, KW = _taps(win)
    return N * -(-win.OH // (SIZE + 1 - KH)) * -(-win.OW // (SIZE + 1 - KW))


@functools.lru_cache(maxsize=256)
def saves(N: int, win: Window, C: int, F: int, dtype) -> bool:
    """Whether (winograd.3), from C to F channels, takes less time than (conv2d.1).

    All work is counted in multiplications that take as long: for each tile, the products of 36 points, and the
    transforms of its channels and filters; the transform of each weight; and starting it all. Vectors are whole.
    """
    vector = BYTES // np.dtype(dtype).itemsize
    direct = N * win.OH * win.OW * tile.products(F, win.KH, win.KW * C, vector)
    if not applies(win):
        return False
    cost = _cost(N, win, C, F, vector, _few(win, C, F, vector)) + _cost_of_fetching(N, win, C, F, vector)
    return MARGIN * cost < direct


@functools.lru_cache(maxsize=256)
def saves_input(x_shape: tuple[int, ...], win: Window, F: int, dtype) -> bool:
    """Whether (winograd.3) takes less time than (conv2d.2), counted as in `saves`."""
    (N, H, W, C), vector, over = x_shape, BYTES // np.dtype(dtype).itemsize, over_output(win, x_shape)
    if not applies(over):
        return False
    if win.SH * win.SW == 1:
        return saves(N, over, F, C, dtype)
    phases, lanes = win.SH * win.SW, _whole(C, vector)
    taps = win.KH * win.KW * F // phases
    few = tile.few_columns(C, 1, taps, vector)
    odd = 0 if few else lanes // vector % 2 * vector // 2  # a tile of one vector takes longer than half a tile of two
    direct = N * H * W * (tile.products(C, 1, taps, vector) + taps * odd + PER_PIXEL * lanes) + 2 * phases * START
    cost = _cost(N, over, F, phases * lanes, vector) + _cost_of_fetching(N, over, F, phases * lanes, vector)
    return MARGIN * cost < direct


@functools.lru_cache(maxsize=256)
def saves_weights(N: int, win: Window, C: int, F: int, dtype) -> bool:
    """Whether (winograd.4) takes less time than (conv2d.3), counted as in `saves`."""
    vector = BYTES // np.dtype(dtype).itemsize
    direct = N * win.OH * win.OW * win.KH * win.KW * C * _whole(F, vector)
    if not applies(win):
        return False
    cost, tiles = _cost(N, win, C, F, vector), _tiles(N, win)
    lanes_C, lanes_F = win.SH * win.SW * _whole(C, vector), _whole(F, vector)
    pieces, chunk = _pieces(lanes_C, lanes_F, tiles, BYTES // vector)
    cost += PER_SUM * -(-tiles // chunk) * SQUARE * lanes_C * lanes_F
    if pieces == 1:
        cost += PER_SHARED * tiles * (lanes_C + lanes_F)
    return MARGIN * cost < direct


def _cost(N: int, win: Window, C: int, F: int, vector: int, few: int = 0) -> int:
    phases, (full_H, full_W), weights = win.SH * win.SW, _full(win), C * _whole(F - few, vector)
    products = (win.SH * (SIZE - 1) + full_H) * (win.SW * (SIZE - 1) + full_W) * weights
    per_tile = products + PER_CHANNEL * (phases * _whole(C, vector) + _whole(F - few, vector))
    per_tile += few * _cost_of_few(C, vector)
    return _tiles(N, win) * per_tile + PER_WEIGHT * (phases * weights + C * few) + START


def _cost_of_fetching(N: int, win: Window, C: int, F: int, vector: int) -> int:
    """Return what it costs that each block of tiles fetches the weights, if the cache has no room for both."""
    weights, itemsize = SQUARE * win.SH * win.SW * C * _whole(F, vector), BYTES // vector
    blocks = -(-_tiles(N, win) // _tiles_of_block(win.SH * win.SW * _whole(C, vector), itemsize))
    return PER_FETCH * blocks * weights if weights * itemsize > WORKSPACE else 0


def _tiles_of_block(channels: int, itemsize: int) -> int:
    """Return how many tiles are transformed before they are multiplied: whole steps of the products."""
    block = WORKSPACE // (SQUARE * itemsize * channels + SQUARE * 2 * BYTES) // (2 * ROWS) * 2 * ROWS
    return max(block, 2 * ROWS)


def _cost_of_few(C: int, vector: int) -> int:
    """Return what one filter costs, for each tile, if the vectors of its products run along the channels."""
    return SQUARE * (_whole(C, vector) + TOTAL * vector) + PER_FEW


def _few(win: Window, C: int, F: int, vector: int) -> int:
    """Return how many filters at the end, less than a vector, cost less that way."""
    few = F % vector if win.SH * win.SW == 1 else 0
    return few if few * _cost_of_few(C, vector) < (SQUARE * C + PER_CHANNEL) * vector else 0


# --- forward, and the gradient with respect to the input -------------------------------------------------------------


def correlate(x: np.ndarray, w: np.ndarray, b: np.ndarray | None, win: Window, low: float = -np.inf) -> np.ndarray:
    """Compute (winograd.3): x (N, H, W, C), w (KH, KW, C, F), b (F,) or None -> y (N, OH, OW, F), at least ``low``."""
    y = empty((len(x), win.OH, win.OW, w.shape[3]), x.dtype)
    bias = np.zeros(_whole(w.shape[3], BYTES // x.itemsize), x.dtype)
    if b is not None:
        bias[: len(b)] = b
    _correlated(x, _by_phase(w, win), bias, win, _full(win), low, y, (1, 1))
    return y


def correlate_input(dy: np.ndarray, w: np.ndarray, x_shape: tuple[int, ...], win: Window) -> np.ndarray:
    """Compute (conv2d.2) as (winograd.3): dy (N, OH, OW, F), w (KH, KW, C, F) -> dx of ``x_shape``."""
    dx, over = empty(x_shape, dy.dtype), over_output(win, x_shape)
    bias = np.zeros(_whole(x_shape[3], BYTES // dy.itemsize), dy.dtype)
    _correlated(dy, _by_phase_of_dx(_turned(w, dy.dtype), win, over), bias, over, (1, 1), -np.inf, dx, (win.SH, win.SW))
    return dx


def _by_phase(w: np.ndarray, win: Window) -> np.ndarray:
    """Sort the taps of w (KH, KW, C, F) by phases of x, (winograd.5): (⌈KH/SH⌉, ⌈KW/SW⌉, SH·SW·C, F)."""
    if win.SH * win.SW == 1:
        return w
    (KH, KW), (C, F) = _taps(win), w.shape[2:]
    padded = np.zeros((KH * win.SH, KW * win.SW, C, F), w.dtype)
    padded[: win.KH, : win.KW] = w
    return padded.reshape(KH, win.SH, KW, win.SW, C, F).swapaxes(1, 2).reshape(KH, KW, win.SH * win.SW * C, F)


def over_output(win: Window, x_shape: tuple[int, ...]) -> Window:
    """Return the window over dy that the pixels of one phase of dx see: the union of what those of each phase see.

    Pixel SH·r + a sees the outputs i = r + (a + top − k) / SH, (window.4) solved for i: from the last tap and a = 0
    to the first tap and a = SH − 1.
    """
    top, left = (win.KH - 1 - win.top) // win.SH, (win.KW - 1 - win.left) // win.SW
    KH, KW = (win.SH - 1 + win.top) // win.SH + top + 1, (win.SW - 1 + win.left) // win.SW + left + 1
    OH, OW = -(-x_shape[1] // win.SH), -(-x_shape[2] // win.SW)
    return win._replace(KH=KH, KW=KW, SH=1, SW=1, top=top, left=left, OH=OH, OW=OW)


def _by_phase_of_dx(turned: np.ndarray, win: Window, over: Window) -> np.ndarray:
    """Sort the taps of a turned kernel (KH, KW, F, C) by phases of dx: (taps, taps, F, SH·SW·C), C as whole vectors."""
    if win.SH * win.SW == 1:
        return turned
    F, C = turned.shape[2:]
    lanes = _whole(C, BYTES // turned.itemsize)
    w = np.zeros((over.KH, over.KW, F, win.SH, win.SW, lanes), turned.dtype)
    for k, l in np.ndindex(win.KH, win.KW):
        a, b = (k - win.top) % win.SH, (l - win.left) % win.SW
        i, j = (a + win.top - k) // win.SH, (b + win.left - l) // win.SW
        w[i + over.top, j + over.left, :, a, b, :C] = turned[win.KH - 1 - k, win.KW - 1 - l]
    return w.reshape(over.KH, over.KW, F, win.SH * win.SW * lanes)


def _correlated(x, w, bias, win: Window, full, low: float, y, phases: tuple[int, int]) -> None:
    """Write (winograd.3) to y: w sorted by phases of x, and by the ``phases`` of y, which are pixels apart in y."""
    (KH, KW, _, F), C = w.shape, x.shape[3]
    dtype = x.dtype
    vector = BYTES // dtype.itemsize
    few = 0 if phases != (1, 1) else _few(win, C, F, vector)
    lanes_C = win.SH * win.SW * _whole(C, vector)
    MH, MW = SIZE + 1 - KH, SIZE + 1 - KW
    tiles = _tiles(len(x), win)
    threads = numba.get_num_threads()
    share = -(-tiles // threads)
    block = min(_tiles_of_block(lanes_C, dtype.itemsize), _whole(max(share, 1), 2 * ROWS))
    v_step = lanes_C * block + vector  # one vector more, lest the 36 stores of a tile meet in one place of the cache
    m_step = 2 * vector * block + vector
    v = empty((threads, SQUARE * v_step), dtype)
    m = empty((threads, SQUARE * m_step), dtype)
    u = _transformed_weights(w[..., : F - few], dtype)
    u_few = _transformed_weights(w[..., F - few :].transpose(0, 1, 3, 2), dtype)  # channels in place of filters
    streamed = tile.is_streamed(y)
    # Pixels that are no whole vectors are collected in rows, of which only the ends are no whole lines of the cache.
    is_collected = tile.is_large(y) and not streamed and phases == (1, 1)
    rows_of_tiles = (block - 2) // -(-win.OW // MW) + 2 if is_collected else 0
    rows = empty((threads, rows_of_tiles * MH * win.OW * F), dtype)
    patch = empty((threads, SIZE, SIZE, _whole(C, vector)), dtype)
    half = empty((threads, 2, SQUARE * vector), dtype)
    work = tiles, share, block, MH, MW
    into = *y.shape[1:], *phases, len(bias)
    weights = u, _whole(F - few, vector), u_few, few, bias, *full
    _correlate(
        x, win, work, weights, into, v, v_step, m, m_step, patch, half, streamed, rows, dtype.type(low), y.ravel()
    )


def _whole(count: int, unit: int) -> int:
    """Return ``count``, rounded up to a multiple of ``unit``."""
    return -(-count // unit) * unit


def _transformed_weights(w: np.ndarray, dtype) -> np.ndarray:
    """Return G w Gᵀ in blocks of two vectors of filters, the last of them one vector wide if odd: (block, 36, C, ·)."""
    KH, KW, C, F = w.shape
    vector = BYTES // dtype.itemsize
    lanes = _whole(F, vector)
    if w.size == 0:
        return empty((0,), dtype)
    if lanes == F:
        wide = np.ascontiguousarray(w, dtype)
    else:
        wide = np.zeros((KH, KW, C, lanes), dtype)
        wide[..., :F] = w
    blocks = -(-lanes // (2 * vector))
    u = empty((SQUARE * (C * lanes + blocks * vector),), dtype)
    halves = empty((PIECES, SQUARE * vector), dtype)
    _transform_weights(wide, _scales(dtype), halves, u)
    return u


def _turned(w: np.ndarray, dtype) -> np.ndarray:
    """Return the kernel turned by 180°, with its channels and filters exchanged: (KH, KW, F, C)."""
    KH, KW, C, F = w.shape
    w_turned = empty((KH, KW, F, C), dtype)
    _turn(np.ascontiguousarray(w, dtype), w_turned)
    return w_turned


@compiled
def _turn(w, w_turned):
    KH, KW, C, F = w.shape
    V = width(w)
    blocks = -(-C // V)
    for work in prange(KH * KW * blocks):
        tap, c = work // blocks, work % blocks * V
        begin, into = tap * C * F, (KH * KW - 1 - tap) * F * C
        whole = F // V * V if C - c >= V else 0
        for f in range(0, whole, V):
            tile_store(w_turned, into + f * C + c, C, tile_load_transposed(w, begin + c * F + f, F))
        for f in range(whole, F):
            for row in range(c, min(c + V, C)):
                w_turned.flat[into + f * C + row] = w.flat[begin + row * F + f]


@functools.cache
def _scales(dtype) -> np.ndarray:
    """Return what (winograd.2) divides pᵏ by, inverted, for each pair of points: G is A of as many taps, scaled."""
    scales = [1 / _scale(p) for p in POINTS] + [1]
    return np.outer(scales, scales).ravel().astype(dtype)


@compiled
def _transform_weights(w, scales, halves, u):
    """Write G w Gᵀ."""
    KH, KW, C, F = w.shape
    V = width(w)
    blocks = -(-F // (2 * V))
    for piece in prange(PIECES):
        half = halves[piece]
        for item in range(piece * blocks * C // PIECES, (piece + 1) * blocks * C // PIECES):
            f, c = item // C * 2 * V, item % C
            into, panel = _place(c, f, C, F, V)
            for column in range(0, min(2 * V, F - f), V):
                for l in range(KW):
                    spread = _spread(w, (l * C + c) * F + f + column, KW * C * F, KH)
                    _store_six(half, l * V, SIZE * V, *spread)
                for i in range(SIZE):
                    q0, q1, q2, q3, q4, q5 = _spread(half, i * SIZE * V, V, KW)
                    q0, q1, q2 = splat(scales, 6 * i) * q0, splat(scales, 6 * i + 1) * q1, splat(scales, 6 * i + 2) * q2
                    q3, q4, q5 = (
                        splat(scales, 6 * i + 3) * q3,
                        splat(scales, 6 * i + 4) * q4,
                        splat(scales, 6 * i + 5) * q5,
                    )
                    _store_six(u, into + i * SIZE * panel + column, panel, q0, q1, q2, q3, q4, q5)


@inner
def _place(c, f, C, F, V):
    """Return where in u the vector of filters from f on is, for channel c and the first point, and a point's size."""
    block = f // (2 * V) * 2 * V
    step = min(2 * V, F - block)
    return block // (2 * V) * SQUARE * (C * 2 * V + V) + c * step + f - block, C * step + V


@compiled
def _correlate(x, win, work, weights, into, v, v_step, m, m_step, patches, halves, streamed, collected_rows, low, y):
    tiles, share, block, MH, MW = work
    u, whole, u_few, few, b, full_H, full_W = weights
    C, F, V = x.shape[3], into[2], width(x)
    phase_step = -(-C // V) * V * block  # from the tiles of one phase of x to those of the next
    strided = into[3] * into[4] > 1
    down, right = into[3] * into[1] * F, into[4] * F  # steps in y to the next pixel of a phase
    for thread in prange(len(v)):
        v_own, m_own, rows = v[thread], m[thread], collected_rows[thread]
        collected = len(rows) > 0
        target = rows if collected else y
        patch, half, outputs = patches[thread], halves[thread, 0], halves[thread, 1]
        end = min((thread + 1) * share, tiles)
        for first in range(thread * share, end, block):
            count = min(block, end - first)
            n, i, j = _position(first, win, MH, MW)
            for t in range(count):
                r, s = i * win.SH - win.top, j * win.SW - win.left
                _prefetch_tile(x, n, r, s + win.SW * SIZE, win.SH * SIZE, win.SW * MW)  # of the next tile
                _input_tiles(x, n, r, s, win, patch, half, v_own, t * V, phase_step, block * V, v_step)  # (winograd.3)
                n, i, j = _next(n, i, j, win, MH, MW)
            for f in range(0, whole, 2 * V):
                columns, (u_at, panel) = min(2, (whole - f) // V), _place(0, f, win.SH * win.SW * C, whole, V)
                phases = win.SH, win.SW, full_H, full_W, phase_step
                _products(
                    v_own, v_step, u, u_at, panel, C, phases, block, count, columns, m_own, m_step
                )  # (winograd.3)
                n, i, j = _position(first, win, MH, MW)
                for t in range(count):
                    height, breadth = min(MH, win.OH - i), min(MW, win.OW - j)
                    pixel = (_row_of(first, t, win, MW) * MH if collected else n * win.OH + i) * win.OW + j
                    for column in range(columns):
                        c = f + column * V
                        at = pixel * F + c
                        if strided:
                            c, at, height, breadth = _destination(n, i, j, c, into, MH, MW)
                        _output_tile(m_own, (t * columns + column) * V, m_step, half, outputs, MH, MW)  # (winograd.3)
                        _put(outputs, b, height, breadth, c, F - c, streamed, low, target, at, down, right)
                    n, i, j = _next(n, i, j, win, MH, MW)
            for f in range(F - few, F):
                _few_products(v_own, v_step, u_few, f - F + few, few, C, block, count, m_own, m_step)
                n, i, j = _position(first, win, MH, MW)
                for t in range(count):
                    if t % V == 0:
                        _output_tile(m_own, t, m_step, half, outputs, MH, MW)  # of V tiles at a time
                    height, breadth = min(MH, win.OH - i), min(MW, win.OW - j)
                    pixel = (_row_of(first, t, win, MW) * MH if collected else n * win.OH + i) * win.OW + j
                    _put_lane(outputs, t % V, b[f], height, breadth, low, target, pixel * F + f, down, right)
                    n, i, j = _next(n, i, j, win, MH, MW)
            if collected:
                _write_rows(rows, first, count, win, MH, MW, F, y)


@inner
def _destination(n, i, j, f, into, MH, MW):
    """Return the channel of y that filter f is, where in y its outputs of a tile begin, and how many there are."""
    H, W, C, phases_H, phases_W, lanes = into
    phase, c = f // lanes, f % lanes
    a, b = phase // phases_W, phase % phases_W
    at = ((n * H + i * phases_H + a) * W + j * phases_W + b) * C + c
    rows, columns = -(-(H - a) // phases_H), -(-(W - b) // phases_W)  # of this phase
    return c, at, min(MH, rows - i), min(MW, columns - j)


@inner
def _position(tile, win, MH, MW):
    """Return the image of a tile, and the row and column of its first output."""
    TH, TW = -(-win.OH // MH), -(-win.OW // MW)
    return tile // (TH * TW), tile // TW % TH * MH, tile % TW * MW


@inner
def _next(n, i, j, win, MH, MW):
    """Return the same of the tile after that at (n, i, j), without dividing."""
    j += MW
    if j >= win.OW:
        i, j = i + MH, 0
    if i >= win.OH:
        n, i = n + 1, 0
    return n, i, j


@inner(forceinline=True)
def _input_tiles(x, n, r, s, win, patch, half, v, into, phase_step, block_step, point_step):
    """Write Bᵀ d B of the 6 x 6 pixels of each phase of image n from (r, s) on, zeros outside the image."""
    SH, SW = win.SH, win.SW
    if SH * SW == 1:  # constants make the compiler drop them
        _input_tile(x, n, r, s, 1, 1, patch, half, v, into, block_step, point_step)
    else:
        for a in range(SH):
            for b in range(SW):
                _input_tile(x, n, r + a, s + b, SH, SW, patch, half, v, into, block_step, point_step)
                into += phase_step


@inner(forceinline=True)
def _input_tile(x, n, r, s, SH, SW, patch, half, v, into, block_step, point_step):
    _, H, W, C = x.shape
    lanes = patch.shape[2]
    begin = ((n * H + r) * W + s) * C
    end = begin + (SIZE - 1) * (SH * W + SW) * C + lanes  # whole vectors reach beyond the last channel
    if r >= 0 and s >= 0 and r + (SIZE - 1) * SH < H and s + (SIZE - 1) * SW < W and end <= x.size:
        _transform(x, begin, SH * W * C, SW * C, C, half, v, into, block_step, point_step)
    else:
        _cut(x, n, r, s, SH, SW, SIZE, SIZE, patch)
        _transform(patch, 0, SIZE * lanes, lanes, C, half, v, into, block_step, point_step)


@inner
def _cut(x, n, r, s, SH, SW, height, breadth, patch):
    """Copy every SH-th row and SW-th column of image n from (r, s) on, zeros outside the image."""
    _, H, W, C = x.shape
    V, lanes = width(x), patch.shape[2]
    for k in range(height):
        row = r + k * SH
        inside = row >= 0 and row < H
        start, stop = min(max(0, -(s // SW)), breadth) if inside else breadth, min(breadth, -((s - W) // SW))
        begin, into = ((n * H + row) * W + s) * C, k * SIZE * lanes
        _clear(patch, into, into + start * lanes)
        for l in range(start, stop):
            for c in range(0, lanes, V):
                store(patch, into + l * lanes + c, load_part(x, begin + l * SW * C + c, C - c))
        _clear(patch, into + max(start, stop) * lanes, into + breadth * lanes)


@inner
def _clear(patch, start, stop):
    """Write zeros, whole vectors of them."""
    for at in range(start, stop, width(patch)):
        store(patch, at, full(patch, 0.0))


@inner
def _prefetch_tile(x, n, r, s, height, breadth):
    """Ask for a rectangle of image n from (r, s) on: rows far apart, which a core does not guess."""
    _, H, W, C = x.shape
    count = min(breadth, W - s) * C
    for k in range(max(r, 0), min(r + height, H)):
        prefetch(x, ((n * H + k) * W + s) * C, count)


@inner
def _transform(x, begin, row, pixel, C, half, v, into, block_step, point_step):
    """Write Bᵀ d B for C channels, one vector of them after the other."""
    V = width(x)
    for c in range(0, C, V):
        for s in range(SIZE):
            at = begin + s * pixel + c
            q0, q1, q2, q3, q4, q5 = _analysed(
                load(x, at),
                load(x, at + row),
                load(x, at + 2 * row),
                load(x, at + 3 * row),
                load(x, at + 4 * row),
                load(x, at + 5 * row),
            )
            _store_six(half, s * V, SIZE * V, q0, q1, q2, q3, q4, q5)
        for i in range(SIZE):
            at = i * SIZE * V
            q0, q1, q2, q3, q4, q5 = _analysed(
                load(half, at),
                load(half, at + V),
                load(half, at + 2 * V),
                load(half, at + 3 * V),
                load(half, at + 4 * V),
                load(half, at + 5 * V),
            )
            _store_six(v, into + i * SIZE * point_step, point_step, q0, q1, q2, q3, q4, q5)
        into += block_step


@inner
def _analysed(d0, d1, d2, d3, d4, d5):
    """Return Bᵀ d: the rows of ±a and ±b share their even and their odd part."""
    even_a, odd_a = d4 - BB * d2, d3 - BB * d1
    even_b, odd_b = d4 - AA * d2, d3 - AA * d1
    zero = d4 - SUM * d2 + PRODUCT * d0
    infinity = d5 - SUM * d3 + PRODUCT * d1
    return zero, even_a + A * odd_a, even_a - A * odd_a, even_b + B * odd_b, even_b - B * odd_b, infinity


@inner
def _store_six(array, at, step, q0, q1, q2, q3, q4, q5):
    store(array, at, q0)
    store(array, at + step, q1)
    store(array, at + 2 * step, q2)
    store(array, at + 3 * step, q3)
    store(array, at + 4 * step, q4)
    store(array, at + 5 * step, q5)


@inner
def _products(v, v_step, u, u_at, panel, C, phases, block, count, columns, m, m_step):
    """Multiply the transformed tiles (count, C) by the transformed weights (C, columns), for each of 36 points."""
    SH, SW, full_H, full_W, phase_step = phases
    V = width(v)
    for point in range(SQUARE):
        rows = full_H if point // SIZE == SIZE - 1 else SH  # of phases that have a product at this point
        steps = rows, full_W if point % SIZE == SIZE - 1 else SW, SW, phase_step, block * V
        for t in range(0, count, ROWS * 2 // columns):
            at, into = point * v_step + t * V, point * m_step + t * columns * V
            if columns == 2 and SH * SW == 1:
                _wide_product(v, at, block * V, C, u, u_at, m, into)
            elif columns == 2:
                _wide_product_of_phases(v, at, steps, C, u, u_at, m, into)
            elif SH * SW == 1:
                _narrow_product(v, at, block * V, C, u, u_at, m, into)
            else:
                _narrow_product_of_phases(v, at, steps, C, u, u_at, m, into)
        u_at += panel


def _product(rows, columns):
    @inner
    def product(v, at, block_step, C, u, u_at, m, into):
        """Write the sums over c of v[t,c] · u[c,f], for as many tiles t as there are rows."""
        sums = _summed(tile_full(v, rows, columns, 0.0), v, at, block_step, C, u, u_at, rows, columns)
        tile_store(m, into, columns * width(v), sums)

    return product


def _product_of_phases(rows, columns):
    @inner
    def product(v, at, steps, C, u, u_at, m, into):
        """Write the sums over c and phases, (winograd.5)."""
        phases_H, phases_W, SW, phase_step, block_step = steps
        sums = tile_full(v, rows, columns, 0.0)
        for a in range(phases_H):
            for b in range(phases_W):
                phase = a * SW + b
                begin = u_at + phase * C * columns * width(v)
                sums = _summed(sums, v, at + phase * phase_step, block_step, C, u, begin, rows, columns)
        tile_store(m, into, columns * width(v), sums)

    return product


@inner(forceinline=True)
def _summed(sums, v, at, block_step, C, u, u_at, rows, columns):
    V = width(v)
    tiles = spaced(0, V, rows)
    for c in range(0, C, V):
        sums = add_outers(sums, v, tiles, at, min(V, C - c), u, u_at, columns * V)
        u_at += V * columns * V
        at += block_step
    return sums


_wide_product, _narrow_product = _product(ROWS, 2), _product(2 * ROWS, 1)
_wide_product_of_phases, _narrow_product_of_phases = _product_of_phases(ROWS, 2), _product_of_phases(2 * ROWS, 1)


@inner
def _few_products(v, v_step, u, f, few, C, block, count, m, m_step):
    """Do the same for one filter: vectors run along the channels, and their totals along the tiles."""
    V = width(v)
    tiles = spaced(0, V, TOTALS)
    for point in range(SQUARE):
        for t in range(0, count, TOTALS):
            sums = tile_full(v, TOTALS, 1, 0.0)
            for c in range(0, C, V):
                at, (u_at, panel) = point * v_step + c * block + t * V, _place(f, c, few, -(-C // V) * V, V)
                if C - c >= V:
                    sums = add_inner(sums, v, tiles, at, u, u_at + point * panel, 0)
                else:
                    sums = add_inner_part(sums, v, tiles, at, u, u_at + point * panel, 0, C - c)
            tile_store_totals(m, point * m_step + t, sums)


@inner
def _output_tile(m, at, point_step, half, outputs, MH, MW):
    """Write Aᵀ q A of 36 products q, a vector of filters each, to outputs (6, 6)."""
    V = width(m)
    for s in range(SIZE):
        begin = at + s * point_step
        row = SIZE * point_step
        _synthesise(m, begin, row, MH, half, s * V, SIZE * V)
    for i in range(MH):
        _synthesise(half, i * SIZE * V, V, MW, outputs, i * SIZE * V, V)


@inner
def _synthesise(q, at, step, M, y, into, y_step):
    """Write Aᵀ q for up to 5 outputs; the last of the M has the product of infinity too."""
    q1, q2, q3, q4 = load(q, at + step), load(q, at + 2 * step), load(q, at + 3 * step), load(q, at + 4 * step)
    even_a, odd_a, even_b, odd_b = q1 + q2, A * (q1 - q2), q3 + q4, B * (q3 - q4)
    store(y, into, load(q, at) + even_a + even_b)
    store(y, into + y_step, odd_a + odd_b)
    store(y, into + 2 * y_step, AA * even_a + BB * even_b)
    store(y, into + 3 * y_step, AA * odd_a + BB * odd_b)
    store(y, into + 4 * y_step, AAAA * even_a + BBBB * even_b)
    last = into + (M - 1) * y_step
    store(y, last, load(y, last) + load(q, at + 5 * step))


@inner
def _put(outputs, b, height, breadth, f, left, streamed, low, y, at, row, pixel):
    """Write a rectangle of outputs, plus bias, and at least ``low``."""
    V = width(y)
    bias, floor = load(b, f), full(y, low)
    for k in range(height):
        for l in range(breadth):
            into = at + k * row + l * pixel
            value = load(outputs, (k * SIZE + l) * V) + bias
            value = where(value < floor, floor, value)
            if streamed:
                stream(y, into, value)
            else:
                store_part(y, into, value, left)


@inner
def _put_lane(outputs, lane, bias, height, breadth, low, y, at, row, pixel):
    """Write a rectangle of outputs of one filter, each an element of a vector of tiles."""
    V = width(y)
    for k in range(height):
        for l in range(breadth):
            value = outputs[(k * SIZE + l) * V + lane] + bias
            y[at + k * row + l * pixel] = low if value < low else value


@inner
def _row_of(first, t, win, MW):
    """Return in which of the rows of tiles, from that of the first on, tile first + t is."""
    TW = -(-win.OW // MW)
    return (first + t) // TW - first // TW


@inner
def _write_rows(rows, first, count, win, MH, MW, F, y):
    """Write the collected outputs of tiles past the caches, a row of pixels after the other."""
    TW, t = -(-win.OW // MW), 0
    while t < count:
        n, i, j = _position(first + t, win, MH, MW)
        neighbours = min(TW - (first + t) % TW, count - t)
        pixels = min(neighbours * MW, win.OW - j)
        for k in range(min(MH, win.OH - i)):
            at = (_row_of(first, t, win, MW) * MH + k) * win.OW + j
            stream_copy(rows, at * F, y, ((n * win.OH + i + k) * win.OW + j) * F, pixels * F)
        t += neighbours


# --- the gradient with respect to the weights ------------------------------------------------------------------------


def correlate_weights(dy: np.ndarray, x: np.ndarray, win: Window) -> np.ndarray:
    """Compute (winograd.4): dy (N, OH, OW, F), x (N, H, W, C) -> dw (KH, KW, C, F)."""
    C, F = x.shape[3], dy.shape[3]
    dtype = x.dtype
    vector = BYTES // dtype.itemsize
    phases, few = win.SH * win.SW, _few(win, C, F, vector)
    lanes_C, lanes_F = phases * _whole(C, vector), _whole(F, vector)
    tiles = _tiles(len(x), win)
    if tiles == 0:
        return np.zeros((win.KH, win.KW, C, F), dtype)
    pieces, chunk = _pieces(lanes_C, lanes_F, tiles, dtype.itemsize)
    chunks = numba.get_num_threads() if pieces > 1 else 1  # that are worked on at a time
    v_step, q_step = lanes_C * chunk + vector, lanes_F * chunk + vector
    v, q = empty((chunks, SQUARE * v_step), dtype), empty((chunks, SQUARE * q_step), dtype)
    z = (empty if phases == 1 else zeros)((pieces, SQUARE, lanes_C, _whole(F - few, vector)), dtype)
    z_few = empty((pieces, SQUARE, few, lanes_C), dtype)  # vectors run along the channels
    groups = chunk // GROUP if pieces == 1 else chunks
    patches = empty((groups, SIZE, SIZE, _whole(C, vector)), dtype)
    outputs = empty((groups, SIZE, SIZE, lanes_F), dtype)
    halves = empty((groups, SQUARE * vector), dtype)
    KH, KW = _taps(win)
    work = tiles, chunk, SIZE + 1 - KH, SIZE + 1 - KW, *_full(win)
    sum_products = _sum_products if pieces == 1 else _sum_products_apart
    sum_products(x, dy, win, work, v, v_step, q, q_step, patches, outputs, halves, z, z_few)
    if phases > 1:
        dw = _gathered_weights(z, lanes_C, KH, KW).reshape(KH, KW, win.SH, win.SW, lanes_C // phases, -1)
        dw = dw.swapaxes(1, 2).reshape(KH * win.SH, KW * win.SW, lanes_C // phases, -1)  # (winograd.5)
        return np.ascontiguousarray(dw[: win.KH, : win.KW, :C, :F])
    dw = _gathered_weights(z, C, KH, KW)[..., : F - few]
    if few:
        dw_few = _gathered_weights(z_few, few, KH, KW)[..., :C]
        dw = np.concatenate([dw, dw_few.transpose(0, 1, 3, 2)], axis=3)
    return np.ascontiguousarray(dw)


def _pieces(lanes_C: int, lanes_F: int, tiles: int, itemsize: int) -> tuple[int, int]:
    """Return in how many pieces the tiles are summed, each by one thread, and how many tiles of a piece at a time.

    One piece means that all threads share its chunks. By the shapes alone: the bits do not depend on the threads.
    """
    pieces = min(APART, PARTIAL_SUMS // (SQUARE * lanes_C * lanes_F), tiles // TILES_APART) // 2 * 2
    pieces, room = (pieces, WORKSPACE) if pieces > 2 else (1, SHARED)
    chunk = min(CHUNK, max(GROUP, room // (SQUARE * itemsize * (lanes_C + lanes_F))))
    share = -(-tiles // pieces)
    return pieces, _whole(-(-share // -(-share // chunk)), GROUP)


@compiled
def _sum_products(x, dy, win, work, v, v_step, q, q_step, patches, outputs, halves, z, z_few):
    """Write the sums of (winograd.4) over all tiles: chunk after chunk, all threads sharing each."""
    tiles, chunk = work[:2]
    blocks = win.SH * win.SW * -(-x.shape[3] // width(x))
    for first in range(0, tiles, chunk):
        count = min(chunk, tiles - first)
        for group in prange(-(-count // GROUP)):
            scratch = patches[group], outputs[group], halves[group]
            begin, end = group * GROUP, min((group + 1) * GROUP, count)
            _transform_tiles(x, dy, win, work, first, begin, end, v[0], v_step, q[0], q_step, scratch)
        sums = z[0], z_few[0], first == 0
        for item in prange(SQUARE * blocks):
            _add_products(x, win, work, item, v[0], v_step, q[0], q_step, count, sums)


@compiled
def _sum_products_apart(x, dy, win, work, v, v_step, q, q_step, patches, outputs, halves, z, z_few):
    """Do the same for each piece of the tiles: a thread on its own, in the second cache of its core."""
    tiles, chunk = work[:2]
    blocks = win.SH * win.SW * -(-x.shape[3] // width(x))
    for piece in prange(len(z)):
        thread = get_thread_id()
        v_own, q_own, scratch = v[thread], q[thread], (patches[thread], outputs[thread], halves[thread])
        start, stop = piece * tiles // len(z), (piece + 1) * tiles // len(z)
        for first in range(start, stop, chunk):
            count = min(chunk, stop - first)
            _transform_tiles(x, dy, win, work, first, 0, count, v_own, v_step, q_own, q_step, scratch)
            sums = z[piece], z_few[piece], first == start
            for item in range(SQUARE * blocks):
                _add_products(x, win, work, item, v_own, v_step, q_own, q_step, count, sums)


@inner
def _transform_tiles(x, dy, win, work, first, begin, end, v, v_step, q, q_step, scratch):
    """Write Bᵀ x B and A dy Aᵀ of the tiles first + begin to first + end."""
    _, chunk, MH, MW, _, _ = work
    patch, outputs, half = scratch
    V = width(x)
    phase_step = -(-x.shape[3] // V) * chunk * V
    n, i, j = _position(first + begin, win, MH, MW)
    for t in range(begin, end):
        r, s = i * win.SH - win.top, j * win.SW - win.left
        _prefetch_tile(x, n, r, s + win.SW * SIZE, win.SH * SIZE, win.SW * MW)  # of the next tile
        _prefetch_tile(dy, n, i, j + MW, MH, MW)
        _input_tiles(x, n, r, s, win, patch, half, v, t * V, phase_step, chunk * V, v_step)
        _gradient_tile(dy, n, i, j, MH, MW, outputs, half, q, t * V, chunk * V, q_step)  # (winograd.4)
        n, i, j = _next(n, i, j, win, MH, MW)


@inner
def _add_products(x, win, work, item, v, v_step, q, q_step, count, sums):
    """Add the products of ``count`` tiles at one point, for one vector of channels and all filters."""
    _, chunk, _, _, full_H, full_W = work
    z, z_few, fresh = sums
    C, lanes, few, V = x.shape[3], z.shape[2], z_few.shape[1], width(x)
    per_phase = -(-C // V)
    blocks = win.SH * win.SW * per_phase
    point, block = item // blocks, item % blocks
    a, b = block // per_phase // win.SW, block // per_phase % win.SW
    if (point // SIZE == SIZE - 1 and a >= full_H) or (point % SIZE == SIZE - 1 and b >= full_W):
        return  # no product at infinity
    v_begin = point * v_step + block * chunk * V
    for f in range(0, lanes, 2 * V):
        for lane in range(0, min(V, C - block % per_phase * V), CHANNELS):
            v_at = v_begin + lane
            q_at = point * q_step + f // V * chunk * V
            into = ((point * blocks + block) * V + lane) * lanes + f
            if f + 2 * V <= lanes:
                _add_pair(v, v_at, q, q_at, chunk * V, count, z, into, lanes, fresh)
            else:
                _add_single(v, v_at, q, q_at, count, z, into, lanes, fresh)
    for single in range(few):
        q_at = point * q_step + lanes * chunk + single
        into = ((point * few + single) * blocks + block) * V
        _add_turned(v, v_begin, q, q_at, count, z_few, into, fresh)


@inner
def _gradient_tile(dy, n, i, j, MH, MW, patch, half, q, into, block_step, point_step):
    """Write A dy Aᵀ of the MH x MW outputs of image n from (i, j) on, zeros outside the image."""
    _, OH, OW, F = dy.shape
    lanes = patch.shape[2]
    begin = ((n * OH + i) * OW + j) * F
    end = begin + ((MH - 1) * OW + MW - 1) * F + lanes  # whole vectors reach beyond the last filter
    if i + MH <= OH and j + MW <= OW and end <= dy.size:
        _transform_outputs(dy, begin, OW * F, F, F, MH, MW, half, q, into, block_step, point_step)
    else:
        _cut(dy, n, i, j, 1, 1, MH, MW, patch)
        _transform_outputs(patch, 0, SIZE * lanes, lanes, F, MH, MW, half, q, into, block_step, point_step)


@inner
def _transform_outputs(dy, begin, row, pixel, F, MH, MW, half, q, into, block_step, point_step):
    """Write A dy Aᵀ for F filters, one vector of them after the other."""
    V = width(dy)
    for f in range(0, F, V):
        for s in range(MW):
            _store_six(half, s * V, SIZE * V, *_spread(dy, begin + s * pixel + f, row, MH))
        for i in range(SIZE):
            _store_six(q, into + i * SIZE * point_step, point_step, *_spread(half, i * SIZE * V, V, MW))
        into += block_step


@inner
def _spread(y, at, step, M):
    """Return A y of M numbers y."""
    zero = full(y, 0.0)
    y0, y1 = load(y, at), load(y, at + step)
    y2 = load(y, at + 2 * step) if M > 2 else zero
    y3 = load(y, at + 3 * step) if M > 3 else zero
    y4 = load(y, at + 4 * step) if M > 4 else zero
    even_a, odd_a = y0 + AA * y2 + AAAA * y4, A * (y1 + AA * y3)
    even_b, odd_b = y0 + BB * y2 + BBBB * y4, B * (y1 + BB * y3)
    infinity = load(y, at + (M - 1) * step)
    return y0, even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, infinity


@inner
def _add_pair(v, v_at, q, q_at, q_block, count, z, into, lanes, fresh):
    """Add the products of ``count`` tiles, for CHANNELS channels and two vectors of filters, to z."""
    V = width(v)
    rows = (0, 1, 2, 3, 4, 5, 6, 7)[:CHANNELS]
    first = tile_full(v, CHANNELS, 1, 0.0) if fresh else tile_load(z, into, lanes, CHANNELS, 1)
    second = tile_full(v, CHANNELS, 1, 0.0) if fresh else tile_load(z, into + V, lanes, CHANNELS, 1)
    for _ in range(count):
        first = add_outer(first, v, rows, v_at, q, q_at)  # (winograd.4)
        second = add_outer(second, v, rows, v_at, q, q_at + q_block)
        v_at += V
        q_at += V
    tile_store(z, into, lanes, first)
    tile_store(z, into + V, lanes, second)


@inner
def _add_single(v, v_at, q, q_at, count, z, into, lanes, fresh):
    """Add the products of ``count`` tiles, for CHANNELS channels and one vector of filters, to z."""
    V = width(v)
    rows = (0, 1, 2, 3, 4, 5, 6, 7)[:CHANNELS]
    sums = tile_full(v, CHANNELS, 1, 0.0) if fresh else tile_load(z, into, lanes, CHANNELS, 1)
    for _ in range(count):
        sums = add_outer(sums, v, rows, v_at, q, q_at)  # (winograd.4)
        v_at += V
        q_at += V
    tile_store(z, into, lanes, sums)


@inner
def _add_turned(v, v_at, q, q_at, count, z, into, fresh):
    """Add the products of ``count`` tiles, for one vector of channels and one filter, to z."""
    V = width(v)
    zero = full(v, 0.0)
    first, second, third, fourth = zero if fresh else load(z, into), zero, zero, zero
    whole = count // 4 * 4
    for t in range(0, whole * V, 4 * V):  # four sums, as each waits for its multiply-add before
        first = fma(load(v, v_at + t), splat(q, q_at + t), first)
        second = fma(load(v, v_at + t + V), splat(q, q_at + t + V), second)
        third = fma(load(v, v_at + t + 2 * V), splat(q, q_at + t + 2 * V), third)
        fourth = fma(load(v, v_at + t + 3 * V), splat(q, q_at + t + 3 * V), fourth)
    for t in range(whole * V, count * V, V):
        first = fma(load(v, v_at + t), splat(q, q_at + t), first)
    store(z, into, (first + second) + (third + fourth))


def _gathered_weights(z: np.ndarray, C: int, KH: int, KW: int) -> np.ndarray:
    """Return Gᵀ z G of the first C channels of z (pieces, 36, C or more, F), F being whole vectors: (KH, KW, C, F)."""
    dw = empty((KH, KW, C, z.shape[3]), z.dtype)
    halves = empty((PIECES, 2, SQUARE * BYTES // z.itemsize), z.dtype)
    _gather_weights(z, _scales(z.dtype), halves, dw)
    return dw


@compiled
def _gather_weights(z, scales, halves, dw):
    """Write Gᵀ z G, that is Aᵀ of the scaled z."""
    KH, KW, C, F = dw.shape
    V = width(z)
    for piece in prange(PIECES):
        half, taps = halves[piece, 0], halves[piece, 1]
        for c in range(piece * C // PIECES, (piece + 1) * C // PIECES):
            for f in range(0, F, V):
                for point in range(SQUARE):
                    total = load(z, (point * z.shape[2] + c) * F + f)
                    for other in range(1, len(z)):
                        total = total + load(z, ((other * SQUARE + point) * z.shape[2] + c) * F + f)
                    store(taps, point * V, splat(scales, point) * total)
                _output_tile(taps, 0, V, half, taps, KH, KW)
                for k in range(KH):
                    for l in range(KW):
                        store(dw, ((k * KW + l) * C + c) * F + f, load(taps, (k * SIZE + l) * V))  # (winograd.4)
