"""Nearest-neighbour upsampling: every pixel becomes a block of equal pixels.

    y[n,r,s,c]  = x[n, ⌊r/SH⌋, ⌊s/SW⌋, c]                          (upsampling2d.1)
    dx[n,i,j,c] = Σ_k Σ_l dy[n, i·SH + k, j·SW + l, c]             (upsampling2d.2)      k < SH, l < SW

    x   (N, H, W, C)      images            y   (N, H·SH, W·SW, C)    larger images

docs/ops/upsampling2d.md derives the gradient.
"""

import numpy as np
from numba import prange

from minivid.backend import Op, xp_of
from minivid.jit import compiled
from minivid.memory import empty
from minivid.ops.window import pair

__all__ = ["upsampling2d_backward", "upsampling2d_forward"]


def _sizes(x_shape, size) -> tuple[int, int, tuple[int, int, int, int]]:
    """Check the shape of x; return SH, SW and the shape of y."""
    if len(x_shape) != 4:
        raise ValueError(f"upsampling2d takes x (N, H, W, C), got {tuple(x_shape)}")
    SH, SW = pair(size, "size")
    N, H, W, C = x_shape
    return SH, SW, (N, H * SH, W * SW, C)


def _check_dy(dy, y_shape) -> None:
    if dy.shape != y_shape:
        raise ValueError(f"dy has shape {dy.shape}, but the output of this upsampling has {y_shape}")


# --- reference: the equations, pixel by pixel ---------------------------------------------------------------------


def upsampling2d_forward_reference(x: np.ndarray, size: int | tuple[int, int] = 2) -> np.ndarray:
    """Repeat rows and columns, equation (upsampling2d.1).

    Parameters
    ----------
    x : (N, H, W, C) array
        Images.
    size : int or (int, int)
        SH and SW: rows and columns that a pixel becomes.

    Returns
    -------
    y : (N, H·SH, W·SW, C) array

    Raises
    ------
    ValueError
        If x is no batch of images, or a size is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> upsampling2d_forward(np.array([1.0, 2.0]).reshape(1, 1, 2, 1))[0, :, :, 0]
    array([[1., 1., 2., 2.],
           [1., 1., 2., 2.]])
    """
    SH, SW, y_shape = _sizes(x.shape, size)
    y = np.empty(y_shape, dtype=x.dtype)
    for r, s in np.ndindex(*y_shape[1:3]):
        y[:, r, s] = x[:, r // SH, s // SW]  # (upsampling2d.1)
    return y


def upsampling2d_backward_reference(
    dy: np.ndarray, x_shape: tuple[int, int, int, int], size: int | tuple[int, int] = 2
) -> np.ndarray:
    """Gradient of the loss with respect to the input of an upsampling, equation (upsampling2d.2).

    Parameters
    ----------
    dy : (N, H·SH, W·SW, C) array
        Gradient with respect to the output.
    x_shape : (N, H, W, C)
        Shape of the input.
    size : int or (int, int)
        As in the forward pass.

    Returns
    -------
    dx : (N, H, W, C) array

    Examples
    --------
    >>> import numpy as np
    >>> upsampling2d_backward(np.arange(8.0).reshape(1, 2, 4, 1), (1, 1, 2, 1)).ravel()
    array([10., 18.])
    """
    SH, SW, y_shape = _sizes(x_shape, size)
    _check_dy(dy, y_shape)
    dx = np.zeros(x_shape, dtype=dy.dtype)
    for r, s in np.ndindex(*y_shape[1:3]):
        dx[:, r // SH, s // SW] += dy[:, r, s]  # (upsampling2d.2)
    return dx


# --- CPU: the same loops, compiled; the innermost runs over contiguous channels -----------------------------------


def upsampling2d_forward_loops(x, size=2):
    """See `upsampling2d_forward`."""
    SH, SW, y_shape = _sizes(x.shape, size)
    y = empty(y_shape, x.dtype)
    _forward(np.ascontiguousarray(x), SH, SW, y)
    return y


@compiled
def _forward(x, SH, SW, y):
    N, H, W, C = x.shape
    for row in prange(N * H):  # one thread owns a row of x and the rows of y that repeat it
        n, i = row // H, row % H
        for k in range(SH):
            for j in range(W):
                for l in range(SW):
                    y_pixel, x_pixel = y[n, i * SH + k, j * SW + l], x[n, i, j]
                    for c in range(C):
                        y_pixel[c] = x_pixel[c]  # (upsampling2d.1)


def upsampling2d_backward_loops(dy, x_shape, size=2):
    """See `upsampling2d_backward`."""
    SH, SW, y_shape = _sizes(x_shape, size)
    _check_dy(dy, y_shape)
    dx = empty(tuple(x_shape), dy.dtype)
    _backward(np.ascontiguousarray(dy), SH, SW, dx)
    return dx


@compiled
def _backward(dy, SH, SW, dx):
    N, H, W, C = dx.shape
    for row in prange(N * H):  # a gather: one thread owns a row of dx
        n, i = row // H, row % H
        for j in range(W):
            dx_pixel = dx[n, i, j]
            for c in range(C):
                dx_pixel[c] = 0
            for k in range(SH):
                for l in range(SW):
                    dy_pixel = dy[n, i * SH + k, j * SW + l]
                    for c in range(C):
                        dx_pixel[c] += dy_pixel[c]  # (upsampling2d.2)


# --- GPU: array expressions ---------------------------------------------------------------------------------------


def upsampling2d_forward_gpu(x, size=2):
    """See `upsampling2d_forward`."""
    SH, SW, y_shape = _sizes(x.shape, size)
    N, H, W, C = x.shape
    y = xp_of(x).empty((N, H, SH, W, SW, C), x.dtype)
    y[...] = x[:, :, None, :, None]  # (upsampling2d.1)
    return y.reshape(y_shape)


def upsampling2d_backward_gpu(dy, x_shape, size=2):
    """See `upsampling2d_backward`."""
    SH, SW, y_shape = _sizes(x_shape, size)
    _check_dy(dy, y_shape)
    N, H, W, C = x_shape
    return dy.reshape(N, H, SH, W, SW, C).sum(axis=(2, 4))  # (upsampling2d.2)


# --- the table ----------------------------------------------------------------------------------------------------

upsampling2d_forward = Op(
    reference=upsampling2d_forward_reference, loops=upsampling2d_forward_loops, gpu=upsampling2d_forward_gpu
)
upsampling2d_backward = Op(
    reference=upsampling2d_backward_reference, loops=upsampling2d_backward_loops, gpu=upsampling2d_backward_gpu
)
