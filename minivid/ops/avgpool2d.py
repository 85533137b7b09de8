"""Average pooling of images with channels last.

    y[n,i,j,c]  = 1/A[i,j] · Σ_k Σ_l x[n, i·SH + k − top, j·SW + l − left, c]               (avgpool2d.1)
                  over the A[i,j] taps of the window at (i, j) that lie inside the image
    dx[n,r,s,c] = Σ_i Σ_j dy[n,i,j,c] / A[i,j]                                              (avgpool2d.2)
                  over the positions whose window covers pixel (r, s)

Padding is not counted, as in Keras: the mean of a window is the mean of real pixels.

    x   (N, H, W, C)      images            y   (N, OH, OW, C)    means

(OH, OW) and the padding follow from (window.1) to (window.4). docs/ops/avgpool2d.md derives the gradient.
"""

import numpy as np
from numba import prange

from minivid import memory
from minivid.backend import Op, xp_of
from minivid.cuda import aligned, blocks, constants, launch
from minivid.jit import compiled
from minivid.ops.maxpool2d import pixels_per_window, pool_window, taps_inside
from minivid.ops.window import Padding, Window

__all__ = ["avgpool2d_backward", "avgpool2d_forward"]


# --- reference: the equations, window by window ----------------------------------------------------------


def avgpool2d_forward_reference(
    x: np.ndarray,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: Padding = "valid",
) -> np.ndarray:
    """Take the mean of every window, equation (avgpool2d.1).

    Parameters
    ----------
    x : (N, H, W, C) array
        Images.
    pool_size : int or (int, int)
        Rows and columns of the window.
    strides : int or (int, int), optional
        Step of the window in pixels; ``pool_size`` if not given.
    padding : {"valid", "same"}, int, or ((top, bottom), (left, right))
        Rows and columns around the image that windows may reach into; they are not counted in the mean.

    Returns
    -------
    y : (N, OH, OW, C) array
        Means; float64 if x holds integers.

    Raises
    ------
    ValueError
        If the window does not fit the image, or lies wholly in the padding somewhere.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).reshape(1, 2, 3, 1)
    >>> avgpool2d_forward(x, padding="same").ravel()
    array([3. , 4.5])
    """
    win = pool_window(x.shape, pool_size, strides, padding)
    N, H, W, C = x.shape
    y = np.zeros((N, win.OH, win.OW, C), dtype=np.result_type(x, 0.5))
    for i, j in np.ndindex(win.OH, win.OW):
        pixels = [x[:, r, s] for _, r, s in taps_inside(win, i, j, H, W)]
        for pixel in pixels:
            y[:, i, j] += pixel / len(pixels)  # (avgpool2d.1)
    return y


def avgpool2d_backward_reference(
    dy: np.ndarray,
    x_shape: tuple[int, int, int, int],
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: Padding = "valid",
) -> np.ndarray:
    """Gradient of the loss with respect to the input of an average pooling, equation (avgpool2d.2).

    Parameters
    ----------
    dy : (N, OH, OW, C) array
        Gradient with respect to the means.
    x_shape : (N, H, W, C)
        Shape of the input (several input sizes give one output size).
    pool_size, strides, padding
        As in the forward pass.

    Returns
    -------
    dx : (N, H, W, C) array

    Examples
    --------
    >>> import numpy as np
    >>> avgpool2d_backward(np.full((1, 1, 2, 1), 6.0), (1, 1, 3, 1), (1, 2), padding="same").ravel()
    array([3., 3., 6.])
    """
    win = pool_window(x_shape, pool_size, strides, padding)
    _check_dy(dy, x_shape, win)
    dx = np.zeros(x_shape, dtype=dy.dtype)
    for i, j in np.ndindex(win.OH, win.OW):
        pixels = [(r, s) for _, r, s in taps_inside(win, i, j, *x_shape[1:3])]
        for r, s in pixels:
            dx[:, r, s] += dy[:, i, j] / len(pixels)  # (avgpool2d.2)
    return dx


def _check_dy(dy, x_shape, win: Window) -> None:
    expected = (x_shape[0], win.OH, win.OW, x_shape[3])
    if dy.shape != expected:
        raise ValueError(f"dy has shape {dy.shape}, but the output of this average pooling has {expected}")


# --- CPU: the same loops, compiled; the innermost runs over contiguous channels --------------------------


def avgpool2d_forward_loops(x, pool_size=2, strides=None, padding="valid"):
    """See `avgpool2d_forward`."""
    win = pool_window(x.shape, pool_size, strides, padding)
    y = memory.zeros((x.shape[0], win.OH, win.OW, x.shape[3]), np.result_type(x, 0.5))
    area = pixels_per_window(win, *x.shape[1:3]).astype(y.dtype)  # (OH, OW)
    _forward(np.ascontiguousarray(x, dtype=y.dtype), area, win, y)
    return y


@compiled
def _forward(x, area, win, y):
    _, H, W, C = x.shape
    N, OH, OW, _ = y.shape
    for row in prange(N * OH):  # one thread owns a row of outputs
        n, i = row // OH, row % OH
        for j in range(OW):
            y_row = y[n, i, j]
            for k in range(win.KH):
                r = i * win.SH + k * win.DH - win.top  # (window.4)
                if r < 0 or r >= H:
                    continue
                for l in range(win.KW):
                    s = j * win.SW + l * win.DW - win.left
                    if s < 0 or s >= W:
                        continue
                    x_row = x[n, r, s]
                    for c in range(C):
                        y_row[c] += x_row[c] / area[i, j]  # (avgpool2d.1)


def avgpool2d_backward_loops(dy, x_shape, pool_size=2, strides=None, padding="valid"):
    """See `avgpool2d_backward`."""
    win = pool_window(x_shape, pool_size, strides, padding)
    _check_dy(dy, x_shape, win)
    dx = memory.zeros(x_shape, dy.dtype)
    area = pixels_per_window(win, *x_shape[1:3]).astype(dx.dtype)  # (OH, OW)
    _backward(np.ascontiguousarray(dy), area, win, dx)
    return dx


@compiled
def _backward(dy, area, win, dx):
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
                dy_row = dy[n, i, j]
                for l in range(win.KW):
                    s = j * win.SW + l * win.DW - win.left
                    if s < 0 or s >= W:
                        continue
                    dx_row = dx[n, r, s]
                    for c in range(C):
                        dx_row[c] += dy_row[c] / area[i, j]  # (avgpool2d.2)


# --- GPU: kernels/avgpool2d.cu ---------------------------------------------------------------------------


def avgpool2d_forward_gpu_1(x, pool_size=2, strides=None, padding="valid"):
    """See `avgpool2d_forward`: one thread per output."""
    return _forward_on_gpu(x, pool_window(x.shape, pool_size, strides, padding), vectors=False)


def avgpool2d_forward_gpu(x, pool_size=2, strides=None, padding="valid"):
    """See `avgpool2d_forward`: a vector of channels per thread, where C is a multiple of a vector."""
    return _forward_on_gpu(x, pool_window(x.shape, pool_size, strides, padding), vectors=True)


def _forward_on_gpu(x, win: Window, vectors: bool):
    xp, (N, H, W, C) = xp_of(x), x.shape
    x = xp.ascontiguousarray(x, dtype=np.result_type(x.dtype, 0.5))
    y = xp.empty((N, win.OH, win.OW, C), x.dtype)
    _launch("avgpool2d_forward", vectors, x, y, N, H, W, C, win)
    return y


def avgpool2d_backward_gpu_1(dy, x_shape, pool_size=2, strides=None, padding="valid"):
    """See `avgpool2d_backward`: one thread per pixel and channel."""
    return _backward_on_gpu(dy, x_shape, pool_window(x_shape, pool_size, strides, padding), vectors=False)


def avgpool2d_backward_gpu(dy, x_shape, pool_size=2, strides=None, padding="valid"):
    """See `avgpool2d_backward`: a vector of channels per thread, where C is a multiple of a vector."""
    return _backward_on_gpu(dy, x_shape, pool_window(x_shape, pool_size, strides, padding), vectors=True)


def _backward_on_gpu(dy, x_shape, win: Window, vectors: bool):
    _check_dy(dy, x_shape, win)
    xp = xp_of(dy)
    dy, dx = xp.ascontiguousarray(dy), xp.empty(x_shape, dy.dtype)
    _launch("avgpool2d_backward", vectors, dy, dx, *x_shape, win)
    return dx


def _launch(kernel: str, vectors: bool, source, result, *sizes) -> None:
    """Launch the version that moves vectors, if wanted and possible, or version 1."""
    size = constants("avgpool2d", source.dtype)
    whole = vectors and result.shape[-1] % size.VECTOR == 0 and aligned(source, result)
    version, threads = (2, result.size // size.VECTOR) if whole else (1, result.size)
    launch("avgpool2d", f"{kernel}_{version}", blocks(threads, size.THREADS), size.THREADS, source, result, *sizes)


# --- the table -------------------------------------------------------------------------------------------

avgpool2d_forward = Op(
    reference=avgpool2d_forward_reference,
    loops=avgpool2d_forward_loops,
    gpu_1=avgpool2d_forward_gpu_1,
    gpu=avgpool2d_forward_gpu,
)
avgpool2d_backward = Op(
    reference=avgpool2d_backward_reference,
    loops=avgpool2d_backward_loops,
    gpu_1=avgpool2d_backward_gpu_1,
    gpu=avgpool2d_backward_gpu,
)
