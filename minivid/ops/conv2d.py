"""Two-dimensional convolution of images with channels last.

    y[n,i,j,f]  = b[f] + Σ_k Σ_l Σ_c x[n, i·SH + k·DH − top, j·SW + l·DW − left, c] · w[k,l,c,f]   (conv2d.1)
    dx[n,r,s,c] = Σ_k Σ_l Σ_f dy[n,i,j,f] · w[k,l,c,f]                                             (conv2d.2)
                  over the taps and positions with i·SH + k·DH − top = r and j·SW + l·DW − left = s
    dw[k,l,c,f] = Σ_n Σ_i Σ_j x[n, i·SH + k·DH − top, j·SW + l·DW − left, c] · dy[n,i,j,f]         (conv2d.3)
    db[f]       = Σ_n Σ_i Σ_j dy[n,i,j,f]                                                          (conv2d.4)
    y[n,i,j,f]  = max(0, the right side of (conv2d.1)), if ``relu`` is asked for                   (conv2d.5)

where x is zero outside the image. This is cross-correlation, as in every deep-learning library: a true
convolution is the same with the kernel flipped.

    x   (N, H, W, C)      images            w   (KH, KW, C, F)    one kernel per filter f
    y   (N, OH, OW, F)    feature maps      b   (F,)              one bias per filter

(OH, OW) and the padding follow from (window.1) to (window.4). docs/ops/conv2d.md derives the gradients.
"""

from functools import lru_cache

import numpy as np
from numba import prange

from minivid.backend import Op, xp_of
from minivid.cuda import aligned, blocks, constants, launch
from minivid.jit import PIECES, compiled
from minivid.memory import empty
from minivid.ops import winograd
from minivid.ops.matmul import sum_of_parts, sums_of_columns, terms_of_a_part
from minivid.ops.tile import (
    Grid,
    column_sums,
    gather_product,
    gather_product_transposed,
    packed,
    product_transposed,
)
from minivid.ops.window import Padding, Window, window_of

__all__ = ["conv2d_backward", "conv2d_backward_input", "conv2d_backward_weights", "conv2d_forward"]


def _conv2d_window(x_shape, w_shape, strides, padding, dilation) -> Window:
    """Check the shapes of x and w against each other and return the window."""
    if len(x_shape) != 4 or len(w_shape) != 4:
        raise ValueError(f"conv2d takes x (N, H, W, C) and w (KH, KW, C, F), got {tuple(x_shape)} and {tuple(w_shape)}")
    if x_shape[3] != w_shape[2]:
        raise ValueError(
            f"x has {x_shape[3]} channels (last axis of {tuple(x_shape)}), "
            f"but the kernel {tuple(w_shape)} takes {w_shape[2]} (axis 2)"
        )
    return window_of(x_shape[1:3], w_shape[:2], strides, padding, dilation)


# --- reference: the equations, tap by tap ----------------------------------------------------------------


def conv2d_forward_reference(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    strides: int | tuple[int, int] = 1,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
    relu: bool = False,
) -> np.ndarray:
    """Convolve images with a bank of filters, equation (conv2d.1).

    Parameters
    ----------
    x : (N, H, W, C) array
        Images.
    w : (KH, KW, C, F) array
        Kernels.
    b : (F,) array, optional
        Biases; none means zero.
    strides, dilation : int or (int, int)
        Step of the window and distance of its taps, in pixels.
    padding : {"valid", "same"}, int, or ((top, bottom), (left, right))
        Rows and columns of zeros around the image.
    relu : bool
        Whether negative outputs become zero, (conv2d.5): saves a pass over y. Its gradient is that of
        `relu_backward`, taken before those of the convolution.

    Returns
    -------
    y : (N, OH, OW, F) array

    Raises
    ------
    ValueError
        If the shapes do not fit each other, or the window does not fit the image.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(9.0).reshape(1, 3, 3, 1)
    >>> w = np.ones((2, 2, 1, 1))
    >>> conv2d_forward(x, w)[0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    win = _conv2d_window(x.shape, w.shape, strides, padding, dilation)
    N, H, W, _ = x.shape
    y = np.zeros((N, win.OH, win.OW, w.shape[3]), dtype=np.result_type(x, w))
    for i, j, k, l, r, s in _taps_inside(win, H, W):
        y[:, i, j] += x[:, r, s] @ w[k, l]  # (conv2d.1)
    y = y if b is None else y + b
    return np.where(y.real < 0, 0, y) if relu else y  # (conv2d.5)


def conv2d_backward_input_reference(
    dy: np.ndarray,
    w: np.ndarray,
    x_shape: tuple[int, int, int, int],
    strides: int | tuple[int, int] = 1,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> np.ndarray:
    """Gradient of the loss with respect to the input of a convolution, equation (conv2d.2).

    Parameters
    ----------
    dy : (N, OH, OW, F) array
        Gradient with respect to the output.
    w : (KH, KW, C, F) array
        Kernels.
    x_shape : (N, H, W, C)
        Shape of the input (several input sizes give one output size).
    strides, padding, dilation
        As in the forward pass.

    Returns
    -------
    dx : (N, H, W, C) array

    Examples
    --------
    >>> import numpy as np
    >>> conv2d_backward_input(np.ones((1, 1, 2, 1)), np.full((1, 2, 1, 1), 3.0), (1, 1, 3, 1)).ravel()
    array([3., 6., 3.])
    """
    win = _conv2d_window(x_shape, w.shape, strides, padding, dilation)
    _check_dy(dy, x_shape, w.shape, win)
    dx = np.zeros(x_shape, dtype=np.result_type(dy, w))
    for i, j, k, l, r, s in _taps_inside(win, *x_shape[1:3]):
        dx[:, r, s] += dy[:, i, j] @ w[k, l].T  # (conv2d.2)
    return dx


def conv2d_backward_weights_reference(
    dy: np.ndarray,
    x: np.ndarray,
    w_shape: tuple[int, int, int, int],
    strides: int | tuple[int, int] = 1,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the loss with respect to kernels and biases, equations (conv2d.3) and (conv2d.4).

    Parameters
    ----------
    dy : (N, OH, OW, F) array
        Gradient with respect to the output.
    x : (N, H, W, C) array
        Input of the forward pass.
    w_shape : (KH, KW, C, F)
        Shape of the kernels.
    strides, padding, dilation
        As in the forward pass.

    Returns
    -------
    dw : (KH, KW, C, F) array
    db : (F,) array

    Examples
    --------
    >>> import numpy as np
    >>> x, dy = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 3, 1), np.ones((1, 1, 2, 1))
    >>> dw, db = conv2d_backward_weights(dy, x, w_shape=(1, 2, 1, 1))
    >>> dw.ravel(), db
    (array([3., 6.]), array([2.]))
    """
    win = _conv2d_window(x.shape, w_shape, strides, padding, dilation)
    _check_dy(dy, x.shape, w_shape, win)
    dw = np.zeros(w_shape, dtype=np.result_type(dy, x))
    for i, j, k, l, r, s in _taps_inside(win, *x.shape[1:3]):
        dw[k, l] += x[:, r, s].T @ dy[:, i, j]  # (conv2d.3)
    return dw, dy.sum(axis=(0, 1, 2))  # (conv2d.4)


def _taps_inside(win: Window, H: int, W: int):
    """Yield every position (i, j), tap (k, l) and the pixel (r, s) under it that lies inside the image."""
    for i, j, k, l in np.ndindex(win.OH, win.OW, win.KH, win.KW):
        r = i * win.SH + k * win.DH - win.top  # (window.4)
        s = j * win.SW + l * win.DW - win.left
        if 0 <= r < H and 0 <= s < W:
            yield i, j, k, l, r, s


def _check_dy(dy, x_shape, w_shape, win: Window) -> None:
    expected = (x_shape[0], win.OH, win.OW, w_shape[3])
    if dy.shape != expected:
        raise ValueError(f"dy has shape {dy.shape}, but the output of this convolution has {expected}")


# --- CPU: the same loops, compiled; the innermost runs over contiguous channels --------------------------


def conv2d_forward_loops(x, w, b=None, strides=1, padding="valid", dilation=1, relu=False):
    """See `conv2d_forward`."""
    win = _conv2d_window(x.shape, w.shape, strides, padding, dilation)
    y = np.empty((x.shape[0], win.OH, win.OW, w.shape[3]), dtype=np.result_type(x, w))
    b = np.zeros(w.shape[3], dtype=y.dtype) if b is None else b
    _forward(*(np.ascontiguousarray(a, dtype=y.dtype) for a in (x, w, b)), win, relu, y)
    return y


@compiled
def _forward(x, w, b, win, relu, y):
    _, H, W, C = x.shape
    N, OH, OW, F = y.shape
    for row in prange(N * OH):  # one thread owns a row of outputs
        n, i = row // OH, row % OH
        for j in range(OW):
            for f in range(F):
                y[n, i, j, f] = b[f]
            for k in range(win.KH):
                r = i * win.SH + k * win.DH - win.top  # (window.4)
                if r < 0 or r >= H:
                    continue
                for l in range(win.KW):
                    s = j * win.SW + l * win.DW - win.left
                    if s < 0 or s >= W:
                        continue
                    for c in range(C):
                        for f in range(F):
                            y[n, i, j, f] += x[n, r, s, c] * w[k, l, c, f]  # (conv2d.1)
            if relu:
                for f in range(F):
                    y[n, i, j, f] = 0 if y[n, i, j, f] < 0 else y[n, i, j, f]  # (conv2d.5)


def conv2d_backward_input_loops(dy, w, x_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_input`."""
    win = _conv2d_window(x_shape, w.shape, strides, padding, dilation)
    _check_dy(dy, x_shape, w.shape, win)
    dx = np.zeros(x_shape, dtype=np.result_type(dy, w))
    w_turned = np.ascontiguousarray(w.transpose(0, 1, 3, 2), dtype=dx.dtype)  # (KH, KW, F, C)
    _backward_input(np.ascontiguousarray(dy, dtype=dx.dtype), w_turned, win, dx)
    return dx


@compiled
def _backward_input(dy, w_turned, win, dx):
    _, OH, OW, F = dy.shape
    N, H, W, C = dx.shape
    for row in prange(N * H):  # a gather: one thread owns a row of dx, so no two add to one element
        n, r = row // H, row % H
        for k in range(win.KH):
            step = r + win.top - k * win.DH  # (window.4) solved for i
            i = step // win.SH
            if step < 0 or step % win.SH != 0 or i >= OH:
                continue
            for j in range(OW):
                for l in range(win.KW):
                    s = j * win.SW + l * win.DW - win.left
                    if s < 0 or s >= W:
                        continue
                    for f in range(F):
                        for c in range(C):
                            dx[n, r, s, c] += dy[n, i, j, f] * w_turned[k, l, f, c]  # (conv2d.2)


def conv2d_backward_weights_loops(dy, x, w_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_weights`."""
    win = _conv2d_window(x.shape, w_shape, strides, padding, dilation)
    _check_dy(dy, x.shape, w_shape, win)
    dtype = np.result_type(dy, x)
    dw = np.zeros((PIECES, *w_shape), dtype=dtype)
    db = np.zeros((PIECES, w_shape[3]), dtype=dtype)
    _backward_weights(np.ascontiguousarray(dy, dtype=dtype), np.ascontiguousarray(x, dtype=dtype), win, dw, db)
    return dw.sum(axis=0), db.sum(axis=0)


@compiled
def _backward_weights(dy, x, win, dw, db):
    _, H, W, C = x.shape
    N, OH, OW, F = dy.shape
    for piece in prange(PIECES):  # each piece of the output rows sums into a gradient of its own
        for row in range(piece * N * OH // PIECES, (piece + 1) * N * OH // PIECES):
            n, i = row // OH, row % OH
            for j in range(OW):
                for f in range(F):
                    db[piece, f] += dy[n, i, j, f]  # (conv2d.4)
            for k in range(win.KH):
                r = i * win.SH + k * win.DH - win.top  # (window.4)
                if r < 0 or r >= H:
                    continue
                for l in range(win.KW):
                    for j in range(OW):
                        s = j * win.SW + l * win.DW - win.left
                        if s < 0 or s >= W:
                            continue
                        for c in range(C):
                            for f in range(F):
                                dw[piece, k, l, c, f] += x[n, r, s, c] * dy[n, i, j, f]  # (conv2d.3)


# --- CPU: the register tile of tile.py, on whole windows -----------------------------------------------------


def conv2d_forward_tiled(x, w, b=None, strides=1, padding="valid", dilation=1, relu=False):
    """See `conv2d_forward`."""
    win = _conv2d_window(x.shape, w.shape, strides, padding, dilation)
    C, F, dtype = x.shape[3], w.shape[3], np.result_type(x, w)
    y = empty((x.shape[0], win.OH, win.OW, F), dtype)
    weights = packed(w.reshape(-1, C, F), dtype)
    # (conv2d.1), (conv2d.5)
    gather_product(np.ascontiguousarray(x, dtype=dtype), *_windows(x.shape, win), weights, b, y, low=_lowest(relu))
    return y


def _lowest(relu: bool) -> float:
    return 0 if relu else -np.inf


def conv2d_backward_input_tiled(dy, w, x_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_input`."""
    win = _conv2d_window(x_shape, w.shape, strides, padding, dilation)
    _check_dy(dy, x_shape, w.shape, win)
    dtype = np.result_type(dy, w)
    _, H, W, C = x_shape
    vertical, top, bottom = _phases(H, win.KH, win.SH, win.DH, win.top, win.OH)
    horizontal, left, right = _phases(W, win.KW, win.SW, win.DW, win.left, win.OW)
    dy, w = np.ascontiguousarray(dy, dtype=dtype), w.reshape(win.KH * win.KW, *w.shape[2:])
    dx = empty(x_shape, dtype)
    for a, (k, i) in enumerate(vertical):
        for b, (l, j) in enumerate(horizontal):
            # The pixels (a + SH·r', b + SW·s') see these taps k, l of outputs (r' + i, s' + j).
            weights = packed(w, dtype, np.add.outer(k * win.KW, l).ravel(), transpose=True)
            rows, columns = len(range(a, H, win.SH)), len(range(b, W, win.SW))
            grid = Grid(*dy.shape, rows, columns, 1, 1, top, bottom, left, right)
            tap = _taps(i + top, j + left, grid)
            into = ((a * W + b) * C, H * W * C, win.SH * W * C, win.SW * C)
            gather_product(dy, grid, tap, int(max(i + top, default=0)) + 1, weights, None, dx, into)  # (conv2d.2)
    return dx


def conv2d_backward_weights_tiled(dy, x, w_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_weights`."""
    win = _conv2d_window(x.shape, w_shape, strides, padding, dilation)
    _check_dy(dy, x.shape, w_shape, win)
    dtype = np.result_type(dy, x)
    dy = np.ascontiguousarray(dy, dtype=dtype).reshape(-1, w_shape[3])
    x = np.ascontiguousarray(x, dtype=dtype)
    if win.KH == win.KW == win.SH == win.SW == 1 and dy.shape[0] == x[..., 0].size:  # each window is one pixel
        dw = product_transposed(x.reshape(-1, x.shape[3]), dy)
    else:
        dw = gather_product_transposed(x, *_windows(x.shape, win), dy)
    return dw.reshape(w_shape), column_sums(dy)  # (conv2d.3), (conv2d.4)


@lru_cache(maxsize=256)
def _windows(x_shape, win: Window) -> tuple[Grid, np.ndarray, int]:
    """Return the output positions, the taps of their windows in framed images, and the rows that a window covers."""
    grid = Grid(*x_shape, win.OH, win.OW, win.SH, win.SW, win.top, win.bottom, win.left, win.right)
    k, l = np.arange(win.KH) * win.DH, np.arange(win.KW) * win.DW
    return grid, _taps(k, l, grid), int(k[-1]) + 1


def _taps(rows: np.ndarray, columns: np.ndarray, grid: Grid) -> np.ndarray:
    """Return where all channels of the pixels of these rows and columns lie in framed images, from the first pixel."""
    pixels = np.add.outer(rows * grid.framed[1], columns)
    return np.add.outer(pixels * grid.C, np.arange(grid.C)).ravel()


@lru_cache(maxsize=256)
def _phases(size: int, taps: int, stride: int, dilation: int, before: int, positions: int):
    """Sort the pixels of an axis by r mod S: all pixels r = a + S·r' meet the same taps k, in outputs r' + i_k.

    Returns, for each a < S, the taps k and i_k = (a + top − k·D) / S, (window.4) solved for i, both by growing i_k; and
    how many outputs beyond both ends these pixels meet.
    """
    phases, before_first, after_last = [], 0, 0
    for a in range(min(stride, size)):
        k = np.array([k for k in reversed(range(taps)) if (a + before - k * dilation) % stride == 0], np.intp)
        i = (a + before - k * dilation) // stride
        phases.append((k, i))
        if len(k):
            last = (size - 1 - a) // stride
            before_first, after_last = max(before_first, -i[0]), max(after_last, last + i[-1] - (positions - 1))
    return phases, int(before_first), int(after_last)


# --- CPU: Winograd's minimal filtering, with fewer multiplications -----------------------------------------------


def conv2d_forward_winograd(x, w, b=None, strides=1, padding="valid", dilation=1, relu=False):
    """See `conv2d_forward`. A NaN or an infinity in x reaches every output of the tiles that see it."""
    win = _conv2d_window(x.shape, w.shape, strides, padding, dilation)
    if not winograd.applies(win):
        return conv2d_forward_tiled(x, w, b, win, relu=relu)
    x = np.ascontiguousarray(x, dtype=np.result_type(x, w))
    return winograd.correlate(x, w, b, win, _lowest(relu))


def conv2d_backward_input_winograd(dy, w, x_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_input`, and `conv2d_forward_winograd` for NaN."""
    win = _conv2d_window(x_shape, w.shape, strides, padding, dilation)
    if not winograd.applies(winograd.over_output(win, x_shape)):
        return conv2d_backward_input_tiled(dy, w, x_shape, win)
    _check_dy(dy, x_shape, w.shape, win)
    return winograd.correlate_input(np.ascontiguousarray(dy, dtype=np.result_type(dy, w)), w, x_shape, win)


def conv2d_backward_weights_winograd(dy, x, w_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_weights`; a NaN or an infinity in x or dy reaches all taps of its channel or filter."""
    win = _conv2d_window(x.shape, w_shape, strides, padding, dilation)
    if not winograd.applies(win):
        return conv2d_backward_weights_tiled(dy, x, w_shape, win)
    _check_dy(dy, x.shape, w_shape, win)
    dtype = np.result_type(dy, x)
    dy, x = np.ascontiguousarray(dy, dtype=dtype), np.ascontiguousarray(x, dtype=dtype)
    return winograd.correlate_weights(dy, x, win), column_sums(dy.reshape(-1, w_shape[3]))


# --- CPU: the fastest of the three ---------------------------------------------------------------------------------

_SMALL = 30_000  # products, for each number that the innermost loop vectorises, that take as long as starting the tile


def _is_small(products: int, lanes: int, starts: int = 1) -> bool:
    """Whether the plain loops, which gain from up to 24 lanes, are done before the tile has started so often."""
    return products < _SMALL * min(lanes, 24) * starts


def conv2d_forward_cpu(x, w, b=None, strides=1, padding="valid", dilation=1, relu=False):
    """See `conv2d_forward`."""
    win = _conv2d_window(x.shape, w.shape, strides, padding, dilation)
    if _is_small(len(x) * win.OH * win.OW * w.size, w.shape[3]):
        forward = conv2d_forward_loops
    elif winograd.saves(len(x), win, *w.shape[2:], np.result_type(x, w)):
        forward = conv2d_forward_winograd
    else:
        forward = conv2d_forward_tiled
    return forward(x, w, b, win, relu=relu)


def conv2d_backward_input_cpu(dy, w, x_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_input`."""
    win = _conv2d_window(x_shape, w.shape, strides, padding, dilation)
    if _is_small(len(dy) * win.OH * win.OW * w.size, w.shape[2], starts=win.SH * win.SW):
        backward = conv2d_backward_input_loops
    elif winograd.saves_input(tuple(x_shape), win, w.shape[3], np.result_type(dy, w)):
        backward = conv2d_backward_input_winograd
    else:
        backward = conv2d_backward_input_tiled
    return backward(dy, w, x_shape, win)


def conv2d_backward_weights_cpu(dy, x, w_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_weights`."""
    win = _conv2d_window(x.shape, w_shape, strides, padding, dilation)
    if _is_small(dy.size * win.KH * win.KW * w_shape[2], w_shape[2] * w_shape[3], starts=2):
        backward = conv2d_backward_weights_loops
    elif winograd.saves_weights(len(x), win, *w_shape[2:], np.result_type(dy, x)):
        backward = conv2d_backward_weights_winograd
    else:
        backward = conv2d_backward_weights_tiled
    return backward(dy, x, w_shape, win)


# --- GPU: kernels/conv2d.cu ---------------------------------------------------------------------------------------

_PER_BLOCK = 256  # threads of the first versions
_RESIDENT = 384  # threads of tiles in registers that a multiprocessor holds at the same time


def conv2d_forward_gpu_1(x, w, b=None, strides=1, padding="valid", dilation=1, relu=False):
    """See `conv2d_forward`: one thread per output."""
    y, arguments = _forward_arguments(x, w, b, strides, padding, dilation, relu)
    _launch_per_element("conv2d_forward_1", y.size, *arguments)
    return y


def conv2d_forward_gpu_2(x, w, b=None, strides=1, padding="valid", dilation=1, relu=False):
    """See `conv2d_forward`: tiles in shared memory."""
    y, arguments = _forward_arguments(x, w, b, strides, padding, dilation, relu)
    tile = constants("conv2d", y.dtype).TILE
    grid = blocks(_positions(y), tile), blocks(y.shape[3], tile)
    launch("conv2d", "conv2d_forward_2", grid, (tile, tile), *arguments)
    return y


def conv2d_forward_gpu_3(x, w, b=None, strides=1, padding="valid", dilation=1, relu=False):
    """See `conv2d_forward`: tiles in registers."""
    y, arguments = _forward_arguments(x, w, b, strides, padding, dilation, relu)
    _launch_tiles("conv2d_forward_3", _positions(y), y.shape[3], *arguments)
    return y


def conv2d_forward_gpu(x, w, b=None, strides=1, padding="valid", dilation=1, relu=False):
    """See `conv2d_forward`: tiles in registers, carried as vectors."""
    y, arguments = _forward_arguments(x, w, b, strides, padding, dilation, relu)
    kernel = "conv2d_forward_4" if _whole_vectors(*arguments[:2]) else "conv2d_forward_3"
    _launch_tiles(kernel, _positions(y), y.shape[3], *arguments)
    return y


def _forward_arguments(x, w, b, strides, padding, dilation, relu):
    """Return an empty y, and what the kernels of the forward pass take."""
    win, xp = _conv2d_window(x.shape, w.shape, strides, padding, dilation), xp_of(x, w, b)
    (N, H, W, C), F, dtype = x.shape, w.shape[3], np.result_type(x.dtype, w.dtype)
    b = xp.zeros(F, dtype) if b is None else b
    x, w, b = (xp.ascontiguousarray(array, dtype=dtype) for array in (x, w, b))
    y = xp.empty((N, win.OH, win.OW, F), dtype)
    return y, (x, w, b, y, N, H, W, C, F, win, int(relu))


def conv2d_backward_input_gpu_1(dy, w, x_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_input`: one thread per pixel and channel."""
    dx, arguments = _backward_input_arguments(dy, w, x_shape, strides, padding, dilation)
    _launch_per_element("conv2d_backward_input_1", dx.size, *arguments)
    return dx


def conv2d_backward_input_gpu_2(dy, w, x_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_input`: tiles in registers, one convolution for each class of pixels."""
    dx, arguments = _backward_input_arguments(dy, w, x_shape, strides, padding, dilation)
    _launch_classes("conv2d_backward_input_2", "WIDE", dx, arguments)
    return dx


def conv2d_backward_input_gpu(dy, w, x_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_input`: tiles in registers, carried as vectors."""
    dx, arguments = _backward_input_arguments(dy, w, x_shape, strides, padding, dilation)
    dy, w, C, size = *arguments[:2], dx.shape[3], constants("conv2d", dx.dtype)
    if w.shape[3] % size.VECTOR or not aligned(dy, w):
        _launch_classes("conv2d_backward_input_2", "WIDE", dx, arguments)
    elif C <= size.FEW:
        _launch_classes("conv2d_backward_input_3_few", "FEW", dx, arguments)
    elif _narrow(C, size):
        _launch_classes("conv2d_backward_input_3_narrow", "NARROW", dx, arguments)
    else:
        _launch_classes("conv2d_backward_input_3", "WIDE", dx, arguments)
    return dx


def _backward_input_arguments(dy, w, x_shape, strides, padding, dilation):
    win, xp = _conv2d_window(x_shape, w.shape, strides, padding, dilation), xp_of(dy, w)
    _check_dy(dy, x_shape, w.shape, win)
    dtype = np.result_type(dy.dtype, w.dtype)
    dy, w = (xp.ascontiguousarray(array, dtype=dtype) for array in (dy, w))
    dx = xp.empty(x_shape, dtype)
    return dx, (dy, w, dx, *x_shape, w.shape[3], win)


def _launch_classes(kernel: str, tile: str, dx, arguments) -> None:
    """Launch a kernel that takes the classes of pixels along y, as many tiles as the largest class, the first, has."""
    (N, H, W, C), size, win = dx.shape, vars(constants("conv2d", dx.dtype)), arguments[-1]
    pixels = N * blocks(H, win.SH) * blocks(W, win.SW)
    grid = blocks(pixels, size["ROWS"]) * blocks(C, size[tile]), win.SH * win.SW
    launch("conv2d", kernel, grid, size[f"{tile}_THREADS"], *arguments)  # (conv2d.2)


def conv2d_backward_weights_gpu_1(dy, x, w_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_weights`: one thread per weight."""
    dy, x, win = _backward_weights_arguments(dy, x, w_shape, strides, padding, dilation)
    dw = xp_of(dy).empty(w_shape, dy.dtype)
    _launch_per_element("conv2d_backward_weights_1", dw.size, dy, x, dw, *x.shape, w_shape[3], win)
    return dw, sums_of_columns(dy.reshape(_positions(dy), w_shape[3]))  # (conv2d.4)


def conv2d_backward_weights_gpu_2(dy, x, w_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_weights`: tiles in registers, the positions in parts."""
    dy, x, win = _backward_weights_arguments(dy, x, w_shape, strides, padding, dilation)
    return _weights_in_parts("conv2d_backward_weights_2", "TINY", "TINY", dy, x, w_shape, win)


def conv2d_backward_weights_gpu(dy, x, w_shape, strides=1, padding="valid", dilation=1):
    """See `conv2d_backward_weights`: tiles in registers, carried as vectors, the positions in parts."""
    dy, x, win = _backward_weights_arguments(dy, x, w_shape, strides, padding, dilation)
    (KH, KW, C, F), size = w_shape, constants("conv2d", dy.dtype)
    if not _whole_vectors(x, dy):
        return _weights_in_parts("conv2d_backward_weights_2", "TINY", "TINY", dy, x, w_shape, win)
    wide = blocks(KH * KW * C, size.ROWS) * blocks(F, size.WIDE) * size.ROWS * size.WIDE
    low = blocks(KH * KW * C, size.LOW) * blocks(F, size.NARROW) * size.LOW * size.NARROW
    if low * 1.2 < wide:  # small tiles do more work per sum, but fewer sums beyond the edges
        return _weights_in_parts("conv2d_backward_weights_3_low", "LOW", "NARROW", dy, x, w_shape, win)
    return _weights_in_parts("conv2d_backward_weights_3", "ROWS", "WIDE", dy, x, w_shape, win)


def _backward_weights_arguments(dy, x, w_shape, strides, padding, dilation):
    win, xp = _conv2d_window(x.shape, w_shape, strides, padding, dilation), xp_of(dy, x)
    _check_dy(dy, x.shape, w_shape, win)
    dtype = np.result_type(dy.dtype, x.dtype)
    return xp.ascontiguousarray(dy, dtype=dtype), xp.ascontiguousarray(x, dtype=dtype), win


def _weights_in_parts(kernel: str, rows: str, columns: str, dy, x, w_shape, win):
    """Launch a kernel that sums over the positions in parts; return both gradients."""
    (KH, KW, C, F), size = w_shape, vars(constants("conv2d", dy.dtype))
    tiles, positions = blocks(KH * KW * C, size[rows]) * blocks(F, size[columns]), _positions(dy)
    threads = size["WIDE_THREADS"] if columns == "WIDE" else size["LOW_THREADS"]
    terms = terms_of_a_part(tiles, positions, resident=_RESIDENT // threads)
    parts = max(1, blocks(positions, terms))
    sums = xp_of(dy).empty((parts, *w_shape), dy.dtype)
    launch("conv2d", kernel, (tiles, parts), threads, dy, x, sums, *x.shape, F, win, terms)  # (conv2d.3)
    dw = sums[0] if parts == 1 else sum_of_parts(sums, xp_of(dy).empty(w_shape, dy.dtype))
    return dw, sums_of_columns(dy.reshape(positions, F))  # (conv2d.4)


def _launch_per_element(kernel: str, elements: int, *arguments) -> None:
    launch("conv2d", kernel, blocks(elements, _PER_BLOCK), _PER_BLOCK, *arguments)


def _launch_tiles(kernel: str, positions: int, filters: int, *arguments) -> None:
    """Launch a kernel of tiles in registers: its narrow twin where that leaves less of the tiles empty."""
    size = constants("conv2d", arguments[0].dtype)
    narrow = _narrow(filters, size)
    columns, threads = (size.NARROW, size.NARROW_THREADS) if narrow else (size.WIDE, size.WIDE_THREADS)
    grid = blocks(positions, size.ROWS) * blocks(filters, columns)
    launch("conv2d", f"{kernel}_narrow" if narrow else kernel, grid, threads, *arguments)


def _narrow(columns: int, size) -> bool:
    """Whether narrow tiles cover so many columns with fewer to spare."""
    return blocks(columns, size.NARROW) * size.NARROW < blocks(columns, size.WIDE) * size.WIDE


def _whole_vectors(*arrays) -> bool:
    """Whether the last axes consist of whole vectors that begin where a GPU may read them."""
    vector = constants("conv2d", arrays[0].dtype).VECTOR
    return all(array.shape[3] % vector == 0 for array in arrays) and aligned(*arrays)


def _positions(y) -> int:
    """Return N · OH · OW."""
    return y.shape[0] * y.shape[1] * y.shape[2]


# --- the table --------------------------------------------------------------------------------------------------

conv2d_forward = Op(
    reference=conv2d_forward_reference,
    loops=conv2d_forward_loops,
    tiled=conv2d_forward_tiled,
    winograd=conv2d_forward_winograd,
    cpu=conv2d_forward_cpu,
    gpu_1=conv2d_forward_gpu_1,
    gpu_2=conv2d_forward_gpu_2,
    gpu_3=conv2d_forward_gpu_3,
    gpu=conv2d_forward_gpu,
)
conv2d_backward_input = Op(
    reference=conv2d_backward_input_reference,
    loops=conv2d_backward_input_loops,
    tiled=conv2d_backward_input_tiled,
    winograd=conv2d_backward_input_winograd,
    cpu=conv2d_backward_input_cpu,
    gpu_1=conv2d_backward_input_gpu_1,
    gpu_2=conv2d_backward_input_gpu_2,
    gpu=conv2d_backward_input_gpu,
)
conv2d_backward_weights = Op(
    reference=conv2d_backward_weights_reference,
    loops=conv2d_backward_weights_loops,
    tiled=conv2d_backward_weights_tiled,
    winograd=conv2d_backward_weights_winograd,
    cpu=conv2d_backward_weights_cpu,
    gpu_1=conv2d_backward_weights_gpu_1,
    gpu_2=conv2d_backward_weights_gpu_2,
    gpu=conv2d_backward_weights_gpu,
)


def conv2d_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    strides: int | tuple[int, int] = 1,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All three gradients of a convolution, equations (conv2d.2) to (conv2d.4).

    Parameters
    ----------
    dy : (N, OH, OW, F) array
        Gradient with respect to the output.
    x : (N, H, W, C) array
        Input of the forward pass.
    w : (KH, KW, C, F) array
        Kernels of the forward pass.
    strides, padding, dilation
        As in the forward pass.

    Returns
    -------
    dx : (N, H, W, C) array
    dw : (KH, KW, C, F) array
    db : (F,) array

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.ones((1, 3, 3, 1)), np.ones((2, 2, 1, 1))
    >>> dx, dw, db = conv2d_backward(conv2d_forward(x, w), x, w)
    >>> dx[0, :, :, 0]
    array([[ 4.,  8.,  4.],
           [ 8., 16.,  8.],
           [ 4.,  8.,  4.]])
    """
    dx = conv2d_backward_input(dy, w, x.shape, strides, padding, dilation)
    dw, db = conv2d_backward_weights(dy, x, w.shape, strides, padding, dilation)
    return dx, dw, db
