"""What recurrent operations share: their shapes, their masks, and backpropagation through time.

    s_t   = f(x_t, s_{t−1}; θ)   for t = 1..T                            (recurrent.1)
    s_t   = s_{t−1}              where the mask is False                 (recurrent.2)
    δs_t  = ds_t + (∂s_{t+1}/∂s_t)ᵀ δs_{t+1}                             (recurrent.3)
    dθ    = Σ_t (∂s_t/∂θ)ᵀ δs_t                                          (recurrent.4)
    δs_t  = ds_t + δs_{t+1}      where the mask of step t+1 is False     (recurrent.5)

s is the state (h, and c for the LSTM), s_0 its initial value, θ the weights: the same ones at every step. ds_t
is the gradient that arrives from above, at the output of step t; δs_t counts all later steps as well.
docs/ops/recurrent.md derives them.
"""

from typing import NamedTuple

import numba
import numpy as np

from minivid.backend import xp_of
from minivid.cuda import blocks, constants, resident_blocks
from minivid.jit import inner
from minivid.simd import REGISTERS, add_outers, spaced, tile_load, tile_store, width


def sizes_of(op: str, slots: int, x, kernel, recurrent_kernel) -> tuple[int, int, int, int]:
    """Check x (N, T, D) against weights of ``slots`` blocks of U columns; return N, T, D and U."""
    if x.ndim != 3:
        raise ValueError(f"{op} takes x (batch, time, features), got shape {x.shape}")
    N, T, D = x.shape
    if T == 0:
        raise ValueError(f"{op} takes at least one time step, got x (batch, time, features) of {x.shape}")
    columns = "U" if slots == 1 else f"{slots}U"
    if recurrent_kernel.ndim != 2 or recurrent_kernel.shape[1] != slots * recurrent_kernel.shape[0]:
        raise ValueError(f"{op} takes recurrent_kernel (U, {columns}), got shape {recurrent_kernel.shape}")
    U = recurrent_kernel.shape[0]
    if kernel.shape != (D, slots * U):
        raise ValueError(
            f"{op} takes kernel (D, {columns}): {(D, slots * U)} for {D} features (last axis of x {x.shape}) "
            f"and {U} units (recurrent_kernel {recurrent_kernel.shape}), got shape {kernel.shape}"
        )
    return N, T, D, U


def check_shapes(op: str, **arrays: tuple) -> None:
    """Check ``name=(array, shape)``; None in place of an array passes."""
    for name, (array, shape) in arrays.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{op} takes {name} of shape {shape}, got {array.shape}")


def mask_or_all(op: str, mask, N: int, T: int, like=None) -> np.ndarray:
    """Return the checked mask, or one that keeps every step, on the device of another array."""
    if mask is None:
        return xp_of(like).ones((N, T), dtype=bool)
    if mask.shape != (N, T) or mask.dtype != bool:
        raise ValueError(
            f"{op} takes a mask (N, T) of bool, True at real steps: shape {(N, T)}, "
            f"got shape {mask.shape} of {mask.dtype}"
        )
    return contiguous_as(mask, bool)


def or_zeros(array, shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
    """Return the array, or zeros of the dtype and device of another one in place of None."""
    return xp_of(like).zeros(shape, dtype=like.dtype) if array is None else array


def contiguous(*arrays: np.ndarray) -> list[np.ndarray]:
    """Bring arrays into the one layout and floating-point dtype that the compiled loops take."""
    dtype = np.result_type(np.float32, *(a.dtype for a in arrays))
    return [contiguous_as(a, dtype) for a in arrays]


def contiguous_as(array: np.ndarray, dtype) -> np.ndarray:
    """Bring an array into C order; NumPy's also writeable, as Numba would compile anew for each other layout."""
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.carray:
        return array  # the usual case: a call that passes ten arrays is not to spend its time here
    array = xp_of(array).ascontiguousarray(array, dtype)
    return array if getattr(array.flags, "writeable", True) else array.copy()  # all of CuPy's are


def previous(states: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Return s_{t−1} for every step t: the states (N, T, U) one step later, the initial one in front."""
    return xp_of(states).concatenate([initial[:, None], states[:, :-1]], axis=1)


# --- the recurrent product, on the register tile -------------------------------------------------------------------
#
# A step multiplies a few rows of states by the recurrent weights, and the next step needs the result. Sequences do
# not read each other's states, so a thread owns some of them and walks all their steps without waiting for others.

_ROWS = 8 if REGISTERS == 32 else 4  # rows of the tallest tile
FEW = 8  # sequences; fewer make too little use of each weight that a step fetches
_CACHE = 3 << 18  # bytes of weights that stay in a core's own cache
_SMALL = 350_000  # multiplications
_NONLINEAR = 50  # multiplications that take as long as a sigmoid or tanh


def is_small(x: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray) -> bool:
    """Whether all steps together are so little work that packing weights and starting threads would take longer."""
    N, T, D = x.shape if x.ndim == 3 else (0, 0, 0)
    return N * T * kernel.shape[-1] * (D + len(recurrent_kernel) + _NONLINEAR) < _SMALL


def shares(N: int) -> int:
    """Return among how many threads to share out N sequences: who owns one has no influence on its bits."""
    return max(1, min(numba.get_num_threads(), N))


def input_in_step(N: int, kernel: np.ndarray, recurrent_kernel: np.ndarray) -> bool:
    """Whether to take x_t W in step t, and not for all steps at once.

    That saves writing the products to memory, and reading them again; but each thread fetches all weights in each step.
    So they are to stay in a core's own cache: from the one of all cores, they come fast in some machines only.
    """
    return N >= FEW and kernel.nbytes + recurrent_kernel.nbytes <= _CACHE


@inner
def add_product(a, stride, q, K, w, columns, y, padded, first, last):
    """Add a.flat[n·stride + q : + K] · w to row n of y (N, padded), for n from first to last.

    w (K, columns) is packed in blocks of two vectors of columns (tile.py): one block serves all the rows while it is
    in the cache.
    """
    V = width(y)
    for f in range(0, columns, 2 * V):
        n = first
        while n < last:
            if last - n >= _ROWS:
                _add_tile(a, spaced(n * stride, stride, _ROWS), q, K, w, columns, y, padded, n, f)
                n += _ROWS
            elif last - n >= 4:
                _add_tile(a, spaced(n * stride, stride, 4), q, K, w, columns, y, padded, n, f)
                n += 4
            elif last - n >= 2:
                _add_tile(a, spaced(n * stride, stride, 2), q, K, w, columns, y, padded, n, f)
                n += 2
            else:
                _add_tile(a, spaced(n * stride, stride, 1), q, K, w, columns, y, padded, n, f)
                n += 1


@inner
def _add_tile(a, rows, q, K, w, columns, y, padded, n, f):
    """Add one tile of `add_product`: as many rows as there are offsets, the two or the last vectors from f on."""
    V, R = width(y), len(rows)
    into, packed = n * padded + f, f * K
    if columns - f > V:
        wide = tile_load(y, into, padded, R, 2)
        tile_store(y, into, padded, add_outers(wide, a, rows, q, K, w, packed, 2 * V))
    else:
        narrow = tile_load(y, into, padded, R, 1)
        tile_store(y, into, padded, add_outers(narrow, a, rows, q, K, w, packed, V))


@inner
def copy_row(source, at, target, into, count):
    """Copy ``count`` elements of one flat array to another."""
    for u in range(count):
        target[into + u] = source[at + u]


@inner
def add_row(source, at, target, into, count):
    """Add ``count`` elements of one flat array to another."""
    for u in range(count):
        target[into + u] += source[at + u]


@inner
def clear_row(target, into, count):
    """Set ``count`` elements of a flat array to zero."""
    for u in range(count):
        target[into + u] = 0


# --- GPU: how the kernels of all recurrent operations are launched, kernels/recurrent.cuh --------------------------


def per_unit(stem: str, h: np.ndarray) -> tuple[int, int]:
    """Return blocks and threads of versions 1 and 2: a thread for each unit of each sequence of h (N, T, U)."""
    threads = constants(stem, h.dtype).STEP_THREADS
    return blocks(h.shape[0] * h.shape[2], threads), threads


_MOST_TILES = 8  # per group and step; more of them are work enough for the products of version 2


class Grid(NamedTuple):
    """How to launch a persistent kernel."""

    blocks: tuple[int, int]  # slices of units, groups of sequences
    threads: int
    shared: int  # bytes


def forward_grid(stem: str, N: int, U: int, like: np.ndarray) -> Grid | None:
    """Return how to run all steps of a forward pass in one launch; None where the recurrent weights have no room.

    That depends on the shapes and on the GPU, and so may the last bits of a result.
    """
    size, quads = constants(stem, like.dtype), blocks(U, 4)
    return _grid(stem, f"{stem}_forward_3", N, U, size.WARPS * (4 * quads + 1) + size.ROWS * quads, like)


def backward_grid(stem: str, N: int, U: int, like: np.ndarray) -> Grid | None:
    """Return how to run all steps of a backward pass in one launch; None as in `forward_grid`."""
    size, quads = constants(stem, like.dtype), blocks(U, 4)
    dz = size.COLUMNS * size.ROWS // 4
    return _grid(stem, f"{stem}_backward_3", N, U, size.COLUMNS * (quads + 1) + size.THREADS + dz, like)


def _grid(stem, kernel, N, U, quads, like) -> Grid | None:
    size, shared = constants(stem, like.dtype), quads * 4 * like.itemsize
    slices, tiles = blocks(U, size.UNITS), blocks(N, size.ROWS)
    room = resident_blocks(stem, kernel, size.THREADS, shared, like)
    if slices == 0 or tiles == 0 or slices > room:
        return None
    tiles_of_group = blocks(tiles, room // slices)
    if tiles_of_group > _MOST_TILES:
        return None
    return Grid((slices, blocks(tiles, tiles_of_group)), size.THREADS, shared)


def exchange_of(stem: str, N: int, U: int, like: np.ndarray) -> np.ndarray:
    """Return room for the states that blocks exchange: two halves, whole tiles of sequences, whole quads of units."""
    rows = constants(stem, like.dtype).ROWS
    return xp_of(like).empty((2, blocks(N, rows) * rows, 4 * blocks(U, 4)), like.dtype)


def parts_of(stem: str, N: int, U: int, like: np.ndarray) -> np.ndarray:
    """Return room for what slices of units hand back to each other (2, tiles, slices to, slices from, ROWS, UNITS)."""
    size = constants(stem, like.dtype)
    slices = blocks(U, size.UNITS)
    return xp_of(like).empty((2, blocks(N, size.ROWS), slices, slices, size.ROWS, size.UNITS), like.dtype)


def counters_of(stem: str, grid: Grid, like: np.ndarray) -> np.ndarray:
    """Return the counters of the barriers of all groups."""
    return xp_of(like).zeros(grid.blocks[1] * constants(stem, like.dtype).APART, np.uint32)
