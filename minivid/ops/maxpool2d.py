"""Max-pooling of images with channels last.

    y[n,i,j,c]      = max_k max_l x[n, i·SH + k·DH − top, j·SW + l·DW − left, c]            (maxpool2d.1)
    offset[n,i,j,c] = k·KW + l of the first tap (k, l), row by row, that holds the maximum  (maxpool2d.2)
    dx[n,r,s,c]     = Σ_i Σ_j dy[n,i,j,c]                                                   (maxpool2d.3)
                      over the positions whose winning tap lies on pixel (r, s)

where x is minus infinity outside the image, so that the padding never wins. A NaN beats every number.

    x   (N, H, W, C)      images            y, offset   (N, OH, OW, C)    maxima, and where they were

(OH, OW) and the padding follow from (window.1) to (window.4). docs/ops/maxpool2d.md derives the gradient.
"""

from collections.abc import Iterator

import numpy as np
from numba import prange

from minivid.backend import Op
from minivid.jit import compiled
from minivid.ops.window import Padding, Window, pair, window_of

__all__ = ["maxpool2d_backward", "maxpool2d_forward"]


# --- windows that pool: shared with average pooling ------------------------------------------------------


def pool_window(x_shape, pool_size, strides, padding: Padding, dilation=1) -> Window:
    """Check the shape of x, let ``strides`` default to ``pool_size``, and refuse windows without a pixel."""
    if len(x_shape) != 4:
        raise ValueError(f"pooling takes x (N, H, W, C), got {tuple(x_shape)}")
    pool_size = pair(pool_size, "pool_size")
    win = window_of(x_shape[1:3], pool_size, pool_size if strides is None else strides, padding, dilation)
    empty = np.argwhere(pixels_per_window(win, *x_shape[1:3]) == 0)
    if len(empty):
        raise ValueError(
            f"padding={padding!r} leaves the {win.KH}x{win.KW} window at position {tuple(empty[0].tolist())} "
            f"without a single pixel of the {x_shape[1]}x{x_shape[2]} image; use less padding or dilation"
        )
    return win


def pixels_per_window(win: Window, H: int, W: int) -> np.ndarray:
    """Count the taps that lie inside the image, for every position: (OH, OW)."""
    r = np.arange(win.OH)[:, None] * win.SH + np.arange(win.KH) * win.DH - win.top  # (window.4)
    s = np.arange(win.OW)[:, None] * win.SW + np.arange(win.KW) * win.DW - win.left
    return np.outer(((r >= 0) & (r < H)).sum(axis=1), ((s >= 0) & (s < W)).sum(axis=1))


def taps_inside(win: Window, i: int, j: int, H: int, W: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number k·KW + l of every tap of one window inside the image, and the pixel (r, s) under it."""
    for k, l in np.ndindex(win.KH, win.KW):
        r = i * win.SH + k * win.DH - win.top  # (window.4)
        s = j * win.SW + l * win.DW - win.left
        if 0 <= r < H and 0 <= s < W:
            yield k * win.KW + l, r, s


# --- reference: the equations, window by window ----------------------------------------------------------


def maxpool2d_forward_reference(
    x: np.ndarray,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Take the maximum of every window, equations (maxpool2d.1) and (maxpool2d.2).

    Parameters
    ----------
    x : (N, H, W, C) array
        Images. Complex values are compared by their real parts.
    pool_size : int or (int, int)
        Rows and columns of the window.
    strides : int or (int, int), optional
        Step of the window in pixels; ``pool_size`` if not given.
    padding : {"valid", "same"}, int, or ((top, bottom), (left, right))
        Rows and columns of minus infinity around the image.
    dilation : int or (int, int)
        Distance of the window's taps, in pixels.

    Returns
    -------
    y : (N, OH, OW, C) array
        Maxima; NaN where the window holds one.
    offset : (N, OH, OW, C) array of unsigned int
        Number ``k·KW + l`` of the first tap that holds the maximum (or the first NaN), for the backward pass;
        uint8 for windows of up to 256 taps.

    Raises
    ------
    ValueError
        If the window does not fit the image, or lies wholly in the padding somewhere.

    Examples
    --------
    >>> import numpy as np
    >>> y, offset = maxpool2d_forward(np.array([[1.0, 5.0], [5.0, 2.0]]).reshape(1, 2, 2, 1))
    >>> y.item(), offset.item()
    (5.0, 1)
    """
    win = pool_window(x.shape, pool_size, strides, padding, dilation)
    N, H, W, C = x.shape
    y = np.empty((N, win.OH, win.OW, C), dtype=x.dtype)
    offset = np.empty(y.shape, dtype=_offset_dtype(win))
    for i, j in np.ndindex(win.OH, win.OW):
        taps, r, s = np.array(list(taps_inside(win, i, j, H, W))).T
        pixels = x[:, r, s]  # (N, pixels in the window, C)
        first = pixels.real.argmax(axis=1)  # the first maximum, or the first NaN
        y[:, i, j] = np.take_along_axis(pixels, first[:, None], axis=1)[:, 0]  # (maxpool2d.1)
        offset[:, i, j] = taps[first]  # (maxpool2d.2)
    return y, offset


def maxpool2d_backward_reference(
    dy: np.ndarray,
    offset: np.ndarray,
    x_shape: tuple[int, int, int, int],
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> np.ndarray:
    """Gradient of the loss with respect to the input of a max-pooling, equation (maxpool2d.3).

    Parameters
    ----------
    dy : (N, OH, OW, C) array
        Gradient with respect to the maxima.
    offset : (N, OH, OW, C) array of unsigned int
        Winning taps, from the forward pass.
    x_shape : (N, H, W, C)
        Shape of the input (several input sizes give one output size).
    pool_size, strides, padding, dilation
        As in the forward pass.

    Returns
    -------
    dx : (N, H, W, C) array

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([3.0, 7.0, 5.0]).reshape(1, 1, 3, 1)
    >>> y, offset = maxpool2d_forward(x, (1, 2), strides=1)
    >>> maxpool2d_backward(np.ones((1, 1, 2, 1)), offset, x.shape, (1, 2), strides=1).ravel()
    array([0., 2., 0.])
    """
    win = pool_window(x_shape, pool_size, strides, padding, dilation)
    _check_output(dy, offset, x_shape, win)
    dx = np.zeros(x_shape, dtype=dy.dtype)
    for i, j in np.ndindex(win.OH, win.OW):
        for tap, r, s in taps_inside(win, i, j, *x_shape[1:3]):
            dx[:, r, s] += np.where(offset[:, i, j] == tap, dy[:, i, j], 0)  # (maxpool2d.3)
    return dx


def _offset_dtype(win: Window) -> np.dtype:
    return np.min_scalar_type(win.KH * win.KW - 1)


def _check_output(dy, offset, x_shape, win: Window) -> None:
    expected = (x_shape[0], win.OH, win.OW, x_shape[3])
    for name, array in (("dy", dy), ("offset", offset)):
        if array.shape != expected:
            raise ValueError(f"{name} has shape {array.shape}, but the output of this max-pooling has {expected}")


# --- CPU: the same loops, compiled; the innermost runs over contiguous channels --------------------------


def maxpool2d_forward_loops(x, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_forward`."""
    win = pool_window(x.shape, pool_size, strides, padding, dilation)
    y = np.empty((x.shape[0], win.OH, win.OW, x.shape[3]), dtype=x.dtype)
    offset = np.empty(y.shape, dtype=_offset_dtype(win))
    _forward(np.ascontiguousarray(x), win, y, offset)
    return y, offset


@compiled
def _forward(x, win, y, offset):
    _, H, W, C = x.shape
    N, OH, OW, _ = y.shape
    for row in prange(N * OH):  # one thread owns a row of outputs
        n, i = row // OH, row % OH
        for j in range(OW):
            y_row, offset_row = y[n, i, j], offset[n, i, j]
            empty = True
            for k in range(win.KH):
                r = i * win.SH + k * win.DH - win.top  # (window.4)
                if r < 0 or r >= H:
                    continue
                for l in range(win.KW):
                    s = j * win.SW + l * win.DW - win.left
                    if s < 0 or s >= W:
                        continue
                    x_row, tap = x[n, r, s], k * win.KW + l
                    for c in range(C):
                        # Greater, or the first NaN: NaN fails every comparison, and is never equal to itself.
                        wins = empty or (not x_row[c] <= y_row[c] and y_row[c] == y_row[c])
                        y_row[c] = x_row[c] if wins else y_row[c]  # (maxpool2d.1)
                        offset_row[c] = tap if wins else offset_row[c]  # (maxpool2d.2)
                    empty = False


def maxpool2d_backward_loops(dy, offset, x_shape, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_backward`."""
    win = pool_window(x_shape, pool_size, strides, padding, dilation)
    _check_output(dy, offset, x_shape, win)
    dx = np.zeros(x_shape, dtype=dy.dtype)
    _backward(np.ascontiguousarray(dy), np.ascontiguousarray(offset, dtype=_offset_dtype(win)), win, dx)
    return dx


@compiled
def _backward(dy, offset, win, dx):
    _, OH, OW, _ = dy.shape
    N, H, W, C = dx.shape
    for row in prange(N * H):  # a gather: one thread owns a row of dx, so no two add to one element
        n, r = row // H, row % H
        for k in range(win.KH):
            step = r + win.top - k * win.DH  # (window.4) solved for i
            i = step // win.SH
            if step < 0 or step % win.SH != 0 or i >= OH:
                continue
            for j in range(OW):
                dy_row, offset_row = dy[n, i, j], offset[n, i, j]
                for l in range(win.KW):
                    s = j * win.SW + l * win.DW - win.left
                    if s < 0 or s >= W:
                        continue
                    dx_row, tap = dx[n, r, s], k * win.KW + l
                    for c in range(C):
                        dx_row[c] += dy_row[c] if offset_row[c] == tap else 0  # (maxpool2d.3)


# --- the table -------------------------------------------------------------------------------------------

maxpool2d_forward = Op(reference=maxpool2d_forward_reference, loops=maxpool2d_forward_loops)
maxpool2d_backward = Op(reference=maxpool2d_backward_reference, loops=maxpool2d_backward_loops)
