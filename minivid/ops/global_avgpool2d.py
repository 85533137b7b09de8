"""Global average pooling: every channel of an image becomes its mean.

    y[n,c]      = 1/(H·W) · Σ_r Σ_s x[n,r,s,c]        (global_avgpool2d.1)
    dx[n,r,s,c] = dy[n,c] / (H·W)                     (global_avgpool2d.2)

    x   (N, H, W, C)    images          y   (N, C)    means

docs/ops/global_avgpool2d.md derives the gradient. Source: Lin, Chen & Yan, Network in Network, 2014.
"""

import numpy as np
from numba import prange

from minivid.backend import Op, xp_of
from minivid.jit import compiled

__all__ = ["global_avgpool2d_backward", "global_avgpool2d_forward"]


def _check_images(x_shape) -> None:
    if len(x_shape) != 4 or x_shape[1] * x_shape[2] == 0:
        raise ValueError(f"global average pooling takes x (N, H, W, C) with H and W at least 1, got {tuple(x_shape)}")


# --- reference: the equations, pixel by pixel ------------------------------------------------------------


def global_avgpool2d_forward_reference(x: np.ndarray) -> np.ndarray:
    """Average every channel of every image over its pixels, equation (global_avgpool2d.1).

    Parameters
    ----------
    x : (N, H, W, C) array
        Images.

    Returns
    -------
    y : (N, C) array
        Means; float64 if x holds integers.

    Raises
    ------
    ValueError
        If x is not a batch of images, or they have no pixels.

    Examples
    --------
    >>> import numpy as np
    >>> global_avgpool2d_forward(np.array([1.0, 2.0, 3.0, 6.0]).reshape(1, 2, 2, 1))
    array([[3.]])
    """
    _check_images(x.shape)
    N, H, W, C = x.shape
    y = np.zeros((N, C), dtype=np.result_type(x, 0.5))
    for r, s in np.ndindex(H, W):
        y += x[:, r, s]
    return y / (H * W)  # (global_avgpool2d.1)


def global_avgpool2d_backward_reference(dy: np.ndarray, x_shape: tuple[int, int, int, int]) -> np.ndarray:
    """Gradient of the loss with respect to the averaged images, equation (global_avgpool2d.2).

    Parameters
    ----------
    dy : (N, C) array
        Gradient with respect to the means.
    x_shape : (N, H, W, C)
        Shape of the images.

    Returns
    -------
    dx : (N, H, W, C) array

    Examples
    --------
    >>> import numpy as np
    >>> global_avgpool2d_backward(np.array([[8.0]]), (1, 2, 2, 1)).ravel()
    array([2., 2., 2., 2.])
    """
    N, H, W, C = _check_dy(dy, x_shape)
    dx = np.zeros(x_shape, dtype=dy.dtype)
    for r, s in np.ndindex(H, W):
        dx[:, r, s] = dy / (H * W)  # (global_avgpool2d.2)
    return dx


def _check_dy(dy, x_shape) -> tuple[int, int, int, int]:
    _check_images(x_shape)
    N, H, W, C = x_shape
    if dy.shape != (N, C):
        raise ValueError(f"dy has shape {dy.shape}, but the mean of images {tuple(x_shape)} has {(N, C)}")
    return N, H, W, C


# --- CPU: the sum as compiled loops; the gradient is one line, which serves the GPU too ------------------


def global_avgpool2d_forward_loops(x):
    """See `global_avgpool2d_forward`."""
    _check_images(x.shape)
    N, H, W, C = x.shape
    sums = np.zeros((N, H, C), dtype=np.result_type(x, 0.5))
    _sums_of_rows(np.ascontiguousarray(x, dtype=sums.dtype), sums)
    return sums.sum(axis=1) / (H * W)  # (global_avgpool2d.1)


@compiled
def _sums_of_rows(x, sums):
    N, H, W, C = x.shape
    for row in prange(N * H):  # one thread owns a row of pixels, so the order of summation is fixed
        n, r = row // H, row % H
        sum_row = sums[n, r]
        for s in range(W):
            x_row = x[n, r, s]
            for c in range(C):
                sum_row[c] += x_row[c]


def global_avgpool2d_backward_vectorised(dy, x_shape):
    """See `global_avgpool2d_backward`."""
    N, H, W, C = _check_dy(dy, x_shape)
    xp = xp_of(dy)
    return xp.broadcast_to(dy[:, None, None] / (H * W), x_shape).copy()  # (global_avgpool2d.2)


# --- GPU: the array library's own sums --------------------------------------------------------------------


def global_avgpool2d_forward_gpu(x):
    """See `global_avgpool2d_forward`: sums of rows, then their sum, as on the CPU."""
    _check_images(x.shape)
    sums = x.sum(axis=2, dtype=np.result_type(x.dtype, 0.5))  # (N, H, C)
    return sums.sum(axis=1) / (x.shape[1] * x.shape[2])  # (global_avgpool2d.1)


# --- the table -------------------------------------------------------------------------------------------

global_avgpool2d_forward = Op(
    reference=global_avgpool2d_forward_reference,
    loops=global_avgpool2d_forward_loops,
    gpu=global_avgpool2d_forward_gpu,
)
global_avgpool2d_backward = Op(
    reference=global_avgpool2d_backward_reference,
    cpu=global_avgpool2d_backward_vectorised,
    gpu=global_avgpool2d_backward_vectorised,
)
