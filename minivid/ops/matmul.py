"""Matrix product: what dense and recurrent layers are made of.

    y[m,n]  = Σ_k a[m,k] · b[k,n]                 (matmul.1)
    da[m,k] = Σ_n dy[m,n] · b[k,n]                (matmul.2)      da = dy bᵀ
    db[k,n] = Σ_m a[m,k] · dy[m,n]                (matmul.3)      db = aᵀ dy

    a   (M, K)      b   (K, N)      y   (M, N)

The gradients are products again, so one operation with transposes does it all. minivid multiplies in its
own loops: one pool of threads, and the same bits for any number of them. docs/ops/matmul.md has the derivation.
"""

import numpy as np
from numba import prange

from minivid.backend import Op, xp_of
from minivid.cuda import aligned, blocks, constants, launch
from minivid.jit import compiled
from minivid.memory import empty
from minivid.ops.tile import gather_product_transposed, matrix_product, product_transposed, rows_of, transposed

__all__ = ["matmul"]

_ROWS, _COLUMNS = 32, 128  # a block of y that stays in the innermost cache


# --- reference: the equation, entry by entry -------------------------------------------------------------


def matmul_reference(a: np.ndarray, b: np.ndarray, transpose_a: bool = False, transpose_b: bool = False) -> np.ndarray:
    """Multiply two matrices, either of them transposed on the way, equation (matmul.1).

    Parameters
    ----------
    a : (M, K) array, or (K, M) with ``transpose_a``
    b : (K, N) array, or (N, K) with ``transpose_b``
    transpose_a, transpose_b : bool
        ``transpose_b`` gives (matmul.2) from ``dy`` and ``b``, ``transpose_a`` gives (matmul.3).

    Returns
    -------
    y : (M, N) array

    Raises
    ------
    ValueError
        If the operands are not matrices, or their inner sizes differ.

    Examples
    --------
    >>> import numpy as np
    >>> matmul(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]), transpose_b=True)
    array([[11.]])
    """
    a, b = _operands(a, b, transpose_a, transpose_b)
    y = np.zeros((a.shape[0], b.shape[1]), dtype=np.result_type(a, b))
    for m, n in np.ndindex(*y.shape):
        y[m, n] = (a[m] * b[:, n]).sum()  # (matmul.1)
    return y


def _operands(a, b, transpose_a, transpose_b):
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"matmul takes two matrices, got shapes {a.shape} and {b.shape}")
    a = a.T if transpose_a else a
    b = b.T if transpose_b else b
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"inner sizes differ: {a.shape} times {b.shape}")
    return a, b


# --- CPU: the same loops, compiled, block by block -------------------------------------------------------


def matmul_loops(a, b, transpose_a=False, transpose_b=False):
    """See `matmul`."""
    return _by_loops(*_operands(a, b, transpose_a, transpose_b))


def _by_loops(a, b):
    y = np.zeros((a.shape[0], b.shape[1]), dtype=np.result_type(a, b))
    _matmul(np.ascontiguousarray(a, dtype=y.dtype), np.ascontiguousarray(b, dtype=y.dtype), y)
    return y


@compiled
def _matmul(a, b, y):
    M, K = a.shape
    N = y.shape[1]
    row_blocks, column_blocks = -(-M // _ROWS), -(-N // _COLUMNS)
    for block in prange(row_blocks * column_blocks):  # one thread owns a block of y
        m0, n0 = block // column_blocks * _ROWS, block % column_blocks * _COLUMNS
        m1, n1 = min(m0 + _ROWS, M), min(n0 + _COLUMNS, N)
        for k in range(K):
            b_row = b[k, n0:n1]  # views of rows: LLVM vectorises loops over them, not over y[m, n]
            for m in range(m0, m1):
                y_row = y[m, n0:n1]
                for n in range(n1 - n0):
                    y_row[n] += a[m, k] * b_row[n]  # (matmul.1)


# --- CPU: the register tile of tile.py ---------------------------------------------------------------------------

_LONG = 4096  # terms of a sum, from which on a block of columns of b fills the second cache
_LEAST = 16  # terms, a vector of float32, that are transposed at a time


def _suits_loops(M: int, K: int, N: int, transpose_a: bool, transpose_b: bool) -> bool:
    """Whether the plain loops are faster: few products, or little use of what the tile would copy first."""
    products = M * K * (N + 20)  # starting a row of the loops takes as long as 20 products
    few_rows = not transpose_b and M < 4 and N > 120 * M
    return few_rows or products < (300_000 if transpose_a else 150_000)


def matmul_tiled(a, b, transpose_a=False, transpose_b=False):
    """See `matmul`."""
    return matmul_plus(a, b, None, transpose_a, transpose_b)


def matmul_plus(a, b, bias, transpose_a=False, transpose_b=False):
    """Compute the same, plus ``bias`` (N,) in every row, if there is one: where it can be, the sums begin with it."""
    given_a, given_b = a, b
    a, b = _operands(a, b, transpose_a, transpose_b)
    (M, K), N = a.shape, b.shape[1]
    if _suits_loops(M, K, N, transpose_a, transpose_b):
        return _plus(_by_loops(a, b), bias)
    dtype = np.result_type(a, b)
    if transpose_a and not transpose_b:  # (matmul.3): the rows of what lies in memory are positions, its columns taps
        rows = np.ascontiguousarray(given_a, dtype=dtype)
        b = np.ascontiguousarray(b, dtype=dtype)
        if _LEAST <= K <= min(_LONG, M * N // 10):  # transposing is little work beside the product
            return _product(transposed(rows), b, False, bias)
        return _plus(product_transposed(rows, b), bias)
    a = np.ascontiguousarray(a, dtype=dtype)
    if K > _LONG and not transpose_b:
        # As transpose_a, with rows and columns of a exchanged: b is read where it lies, and some rows of it at a time.
        b = np.ascontiguousarray(b, dtype=dtype)
        return _plus(gather_product_transposed(a, rows_of(K, 1), np.arange(M) * K, 1, b), bias)
    return _product(a, np.ascontiguousarray(given_b, dtype=dtype), transpose_b, bias)


def _product(a, b, transpose_b, bias):
    y = empty((len(a), b.shape[0 if transpose_b else 1]), a.dtype)
    matrix_product(a, b, transpose_b, bias, y)  # (matmul.1)
    return y


def _plus(y, bias):
    return y if bias is None else np.add(y, bias, out=y)


# --- GPU: kernels/matmul.cu --------------------------------------------------------------------------------------

_PROCESSORS = 132  # multiprocessors of a large GPU, an H200; sizes and parts depend on the shapes only, not on the GPU
_BLOCK_TERMS = 512  # terms of a sum that are worth a block of their own
_STEP = 16  # terms that a block adds per step, at most: parts are whole steps


def matmul_gpu_1(a, b, transpose_a=False, transpose_b=False):
    """See `matmul`: one thread per element of y."""
    return _launched(a, b, transpose_a, transpose_b, "matmul_1", (16, 16))


def matmul_gpu_2(a, b, transpose_a=False, transpose_b=False):
    """See `matmul`: tiles in shared memory."""
    tile = constants("matmul", "float32").TILE
    return _launched(a, b, transpose_a, transpose_b, "matmul_2", (tile, tile))


def _launched(a, b, transpose_a, transpose_b, kernel, block):
    a, b, y, sizes = _matrices(a, b, transpose_a, transpose_b)
    M, N = y.shape
    launch("matmul", kernel, (blocks(N, block[0]), blocks(M, block[1])), block, a, b, y, *sizes)
    return y


def matmul_gpu_3(a, b, transpose_a=False, transpose_b=False):
    """See `matmul`: tiles in registers."""
    return _launched_tiles(*_matrices(a, b, transpose_a, transpose_b), "matmul_3", "SMALL", resident=4)


def matmul_gpu(a, b, transpose_a=False, transpose_b=False):
    """See `matmul`: tiles in registers, carried as vectors; large tiles if there are enough of them."""
    a, b, y, sizes = _matrices(a, b, transpose_a, transpose_b)
    (M, N), K, size = y.shape, sizes[2], constants("matmul", y.dtype)
    if any(matrix.shape[1] % size.VECTOR for matrix in (a, b, y)) or not aligned(a, b):
        return _launched_tiles(a, b, y, sizes, "matmul_3", "SMALL", resident=4)
    if blocks(M, size.LARGE) * blocks(N, size.LARGE) * max(1, K // _BLOCK_TERMS) >= _PROCESSORS:
        return _launched_tiles(a, b, y, sizes, "matmul_4", "LARGE", resident=2)
    return _launched_tiles(a, b, y, sizes, "matmul_4_small", "SMALL", resident=4)


def _launched_tiles(a, b, y, sizes, kernel: str, tile: str, resident: int):
    """Launch a kernel of tiles in registers, of whose blocks so many are resident on a multiprocessor."""
    (M, N), K, size = y.shape, sizes[2], vars(constants("matmul", y.dtype))
    tiles = blocks(M, size[tile]) * blocks(N, size[tile])
    terms = terms_of_a_part(tiles, K, resident)
    parts = blocks(K, terms) if K else 1
    sums = y if parts == 1 else xp_of(y).empty((parts, M, N), y.dtype)
    launch("matmul", kernel, (tiles, parts), size[f"{tile}_THREADS"], a, b, sums, *sizes, terms)  # (matmul.1)
    return y if parts == 1 else sum_of_parts(sums, y)


def _matrices(a, b, transpose_a, transpose_b):
    """Return both matrices as they lie in memory, an empty y, and the sizes and steps that the kernels take."""
    xp, dtype = xp_of(a, b), np.result_type(a.dtype, b.dtype)
    (M, K), N = _operands(a, b, transpose_a, transpose_b)[0].shape, b.shape[0 if transpose_b else 1]
    if transpose_a and transpose_b:  # rare: no kernel of its own
        a, transpose_a = a.T, False
    a, b = (xp.ascontiguousarray(matrix, dtype=dtype) for matrix in (a, b))
    steps_a = (1, M) if transpose_a else (K, 1)
    steps_b = (1, K) if transpose_b else (N, 1)
    return a, b, xp.empty((M, N), dtype), (M, N, K, *steps_a, *steps_b)


def terms_of_a_part(tiles: int, terms: int, resident: int) -> int:
    """Return how many terms of a long sum one block adds: the parts of all tiles fill a GPU, and not more than that."""
    parts = max(1, min(_PROCESSORS * resident // max(tiles, 1), terms // _BLOCK_TERMS))
    return max(1, blocks(terms, _STEP * parts)) * _STEP


def sum_of_parts(parts, y):
    """Add parts (count, ...) up into y on the GPU, in their order; return y."""
    threads = constants("matmul", y.dtype).SUM_THREADS
    launch("matmul", "sum_of_parts", blocks(y.size, threads), threads, parts, y, len(parts), y.size)
    return y


def sums_of_columns(x):
    """Sum a matrix (M, N) over its rows on the GPU: pieces of rows first, whose number depends on the shape only."""
    (M, N), xp, size = x.shape, xp_of(x), constants("matmul", x.dtype)
    rows = max(64, blocks(M, 2 * _PROCESSORS))
    parts = xp.empty((max(1, blocks(M, rows)), N), x.dtype)
    grid = blocks(N, size.SUM_COLUMNS), len(parts)
    x, block = xp.ascontiguousarray(x), (size.SUM_COLUMNS, size.SUM_ROWS)
    launch("matmul", "sums_of_columns", grid, block, x, parts, M, N, rows)
    return parts[0] if len(parts) == 1 else sum_of_parts(parts, xp.empty(N, x.dtype))


# --- the table --------------------------------------------------------------------------------------------------

matmul = Op(
    reference=matmul_reference,
    loops=matmul_loops,
    tiled=matmul_tiled,
    gpu_1=matmul_gpu_1,
    gpu_2=matmul_gpu_2,
    gpu_3=matmul_gpu_3,
    gpu=matmul_gpu,
)
