"""Batch normalisation: every channel is centred and scaled by the statistics of the batch.

    mean[c]     = 1/M · Σ_m x[m,c]                                                    (batch_norm.1)
    variance[c] = 1/M · Σ_m (x[m,c] − mean[c])²                                       (batch_norm.2)
    x̂[m,c]      = (x[m,c] − mean[c]) / √(variance[c] + ε)                             (batch_norm.3)
    y[m,c]      = gamma[c] · x̂[m,c] + beta[c]                                         (batch_norm.4)
    dgamma[c]   = Σ_m dy[m,c] · x̂[m,c]                                                (batch_norm.5)
    dbeta[c]    = Σ_m dy[m,c]                                                         (batch_norm.6)
    dx[m,c]     = gamma[c] / √(variance[c] + ε)                                       (batch_norm.7)
                  · (dy[m,c] − dbeta[c] / M − x̂[m,c] · dgamma[c] / M)

Inference takes mean and variance from a moving average, which does not depend on x; then

    dx[m,c]     = gamma[c] / √(variance[c] + ε) · dy[m,c]                             (batch_norm.8)

    x, y    (..., C)    m counts the entries of all axes but the last: N·H·W pixels of (N, H, W, C)
    gamma, beta, mean, variance    (C,)

The cache of the backward pass is x, gamma, mean and variance. docs/ops/batch_norm.md derives the gradients.
Source: Ioffe & Szegedy, Batch Normalization, 2015.
"""

import numpy as np
from numba import prange

from minivid import memory
from minivid.backend import Op, xp_of
from minivid.cuda import aligned, blocks, constants, launch
from minivid.jit import PIECES, compiled

__all__ = [
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
]


def _rows(x, **per_channel) -> np.ndarray:
    """Flatten all axes but the last, (..., C) to (M, C), and check that the other arrays are (C,)."""
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"batch normalisation takes x (..., C) of two axes or more and not empty, got shape {x.shape}")
    for name, array in per_channel.items():
        if array.shape != x.shape[-1:]:
            raise ValueError(
                f"{name} has shape {array.shape}, but x {x.shape} has {x.shape[-1]} channels (last axis): "
                f"{name} must have shape {x.shape[-1:]}"
            )
    return x.reshape(-1, x.shape[-1])


def _check_dy(dy, x) -> None:
    if dy.shape != x.shape:
        raise ValueError(f"dy has shape {dy.shape}, but the output of this normalisation has {x.shape}")


# --- reference: the equations ----------------------------------------------------------------------------


def batch_norm_forward_reference(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, epsilon: float = 1e-3
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalise with the statistics of the batch, equations (batch_norm.1) to (batch_norm.4).

    Parameters
    ----------
    x : (..., C) array
        Activations; every axis but the last is averaged over.
    gamma, beta : (C,) array
        Scale and shift of every channel.
    epsilon : float
        Added to the variance, so that a constant channel does not divide by zero.

    Returns
    -------
    y : (..., C) array
    mean, variance : (C,) array
        Statistics of the batch (the variance is biased: divided by M), for the backward pass and for moving
        averages.

    Raises
    ------
    ValueError
        If x has fewer than two axes or is empty, or the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([[0.0], [0.0], [0.0], [4.0]])
    >>> y, mean, variance = batch_norm_forward(x, np.array([4.0]), np.array([10.0]), epsilon=1.0)
    >>> y.ravel(), mean, variance
    (array([ 8.,  8.,  8., 16.]), array([1.]), array([3.]))
    """
    rows = _rows(x, gamma=gamma, beta=beta)  # (M, C)
    M = len(rows)
    mean = rows.sum(axis=0) / M  # (batch_norm.1)
    variance = ((rows - mean) ** 2).sum(axis=0) / M  # (batch_norm.2)
    return batch_norm_inference_reference(x, gamma, beta, mean, variance, epsilon), mean, variance


def batch_norm_backward_reference(
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients through the statistics of the batch, equations (batch_norm.5) to (batch_norm.7).

    Parameters
    ----------
    dy : (..., C) array
        Gradient with respect to the output.
    x : (..., C) array
        Input of the forward pass.
    gamma : (C,) array
        Scale of the forward pass.
    mean, variance : (C,) array
        What the forward pass returned.
    epsilon : float
        As in the forward pass.

    Returns
    -------
    dx : (..., C) array
    dgamma, dbeta : (C,) array

    Examples
    --------
    >>> import numpy as np
    >>> x, dy = np.array([[0.0], [0.0], [0.0], [4.0]]), np.array([[8.0], [0.0], [0.0], [0.0]])
    >>> dx, dgamma, dbeta = batch_norm_backward(dy, x, np.array([4.0]), np.array([1.0]), np.array([3.0]), 1.0)
    >>> dx.ravel(), dgamma, dbeta
    (array([11., -5., -5., -1.]), array([-4.]), array([8.]))
    """
    _check_dy(dy, x)
    rows, dy_rows = _rows(x, gamma=gamma, mean=mean, variance=variance), _rows(dy)  # (M, C)
    M = len(rows)
    sigma = np.sqrt(variance + epsilon)
    x_hat = (rows - mean) / sigma  # (batch_norm.3)
    dgamma = (dy_rows * x_hat).sum(axis=0)  # (batch_norm.5)
    dbeta = dy_rows.sum(axis=0)  # (batch_norm.6)
    dx = gamma / sigma * (dy_rows - dbeta / M - x_hat * dgamma / M)  # (batch_norm.7)
    return dx.reshape(x.shape), dgamma, dbeta


def batch_norm_inference_reference(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    moving_mean: np.ndarray,
    moving_variance: np.ndarray,
    epsilon: float = 1e-3,
) -> np.ndarray:
    """Normalise with given statistics, equations (batch_norm.3) and (batch_norm.4).

    Parameters
    ----------
    x : (..., C) array
        Activations.
    gamma, beta : (C,) array
        Scale and shift of every channel.
    moving_mean, moving_variance : (C,) array
        Statistics gathered during training.
    epsilon : float
        Added to the variance.

    Returns
    -------
    y : (..., C) array

    Raises
    ------
    ValueError
        If x has fewer than two axes or is empty, or the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.array([1.0])
    >>> batch_norm_inference(np.array([[0.0], [4.0]]), 4 * one, 10 * one, 2 * one, 3 * one, epsilon=1.0).ravel()
    array([ 6., 14.])
    """
    rows = _rows(x, gamma=gamma, beta=beta, moving_mean=moving_mean, moving_variance=moving_variance)
    x_hat = (rows - moving_mean) / np.sqrt(moving_variance + epsilon)  # (batch_norm.3)
    return (gamma * x_hat + beta).reshape(x.shape)  # (batch_norm.4)


def batch_norm_inference_backward_reference(
    dy: np.ndarray,
    x: np.ndarray,
    gamma: np.ndarray,
    moving_mean: np.ndarray,
    moving_variance: np.ndarray,
    epsilon: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients where the statistics are given, equations (batch_norm.5), (batch_norm.6) and (batch_norm.8).

    Parameters
    ----------
    dy : (..., C) array
        Gradient with respect to the output.
    x : (..., C) array
        Input of the forward pass.
    gamma : (C,) array
        Scale of the forward pass.
    moving_mean, moving_variance : (C,) array
        Statistics of the forward pass.
    epsilon : float
        As in the forward pass.

    Returns
    -------
    dx : (..., C) array
    dgamma, dbeta : (C,) array

    Examples
    --------
    >>> import numpy as np
    >>> x, dy, one = np.array([[0.0], [4.0]]), np.array([[1.0], [5.0]]), np.array([1.0])
    >>> dx, dgamma, dbeta = batch_norm_inference_backward(dy, x, 4 * one, 2 * one, 3 * one, epsilon=1.0)
    >>> dx.ravel(), dgamma, dbeta
    (array([ 2., 10.]), array([4.]), array([6.]))
    """
    _check_dy(dy, x)
    rows = _rows(x, gamma=gamma, moving_mean=moving_mean, moving_variance=moving_variance)  # (M, C)
    dy_rows = _rows(dy)
    sigma = np.sqrt(moving_variance + epsilon)
    dgamma = (dy_rows * (rows - moving_mean) / sigma).sum(axis=0)  # (batch_norm.5)
    dbeta = dy_rows.sum(axis=0)  # (batch_norm.6)
    return gamma / sigma * dy, dgamma, dbeta  # (batch_norm.8)


# --- CPU: compiled loops; sums over the batch are kept in float64, in a fixed order ------------------------


def batch_norm_forward_loops(x, gamma, beta, epsilon=1e-3):
    """See `batch_norm_forward`."""
    rows = np.ascontiguousarray(_rows(x, gamma=gamma, beta=beta))  # (M, C)
    M, C = rows.shape
    sums = np.zeros((PIECES, C))
    _sums(rows, sums)
    mean = sums.sum(axis=0) / M  # (batch_norm.1)
    squares = np.zeros((PIECES, C))
    _sums_of_squares(rows, mean, squares)
    variance = squares.sum(axis=0) / M  # (batch_norm.2)
    dtype = np.result_type(x, gamma, beta)
    mean, variance = mean.astype(dtype), variance.astype(dtype)
    return batch_norm_inference_loops(x, gamma, beta, mean, variance, epsilon), mean, variance


@compiled
def _sums(x, sums):
    M, C = x.shape
    for piece in prange(PIECES):  # each piece of the rows has a sum of its own
        sum_row = sums[piece]
        for m in range(piece * M // PIECES, (piece + 1) * M // PIECES):
            x_row = x[m]
            for c in range(C):
                sum_row[c] += x_row[c]


@compiled
def _sums_of_squares(x, mean, squares):
    M, C = x.shape
    for piece in prange(PIECES):
        square_row = squares[piece]
        for m in range(piece * M // PIECES, (piece + 1) * M // PIECES):
            x_row = x[m]
            for c in range(C):
                square_row[c] += (x_row[c] - mean[c]) ** 2


def batch_norm_inference_loops(x, gamma, beta, moving_mean, moving_variance, epsilon=1e-3):
    """See `batch_norm_inference`."""
    rows = _rows(x, gamma=gamma, beta=beta, moving_mean=moving_mean, moving_variance=moving_variance)
    y = memory.empty(rows.shape, np.result_type(x, gamma, beta, moving_mean, moving_variance))
    scale = gamma / np.sqrt(moving_variance + epsilon)
    _normalise(*(np.ascontiguousarray(a, dtype=y.dtype) for a in (rows, moving_mean, scale, beta)), y)
    return y.reshape(x.shape)


@compiled
def _normalise(x, mean, scale, beta, y):
    M, C = x.shape
    for m in prange(M):
        x_row, y_row = x[m], y[m]
        for c in range(C):
            y_row[c] = scale[c] * (x_row[c] - mean[c]) + beta[c]  # (batch_norm.3), (batch_norm.4)


def batch_norm_backward_loops(dy, x, gamma, mean, variance, epsilon=1e-3):
    """See `batch_norm_backward`."""
    _check_dy(dy, x)
    rows, dy_rows = _rows(x, gamma=gamma, mean=mean, variance=variance), _rows(dy)  # (M, C)
    M = len(rows)
    dx = memory.empty(rows.shape, np.result_type(dy, x, gamma))
    sigma = np.sqrt(variance + epsilon)
    dgamma, dbeta = _channel_gradients(dy_rows, rows, mean, sigma, dx.dtype)
    factors = mean, gamma / sigma, dbeta / M, dgamma / M / sigma
    _backward_input(*(np.ascontiguousarray(a, dtype=dx.dtype) for a in (dy_rows, rows, *factors)), dx)
    return dx.reshape(x.shape), dgamma, dbeta


def _channel_gradients(dy, x, mean, sigma, dtype):
    dgamma, dbeta = np.zeros((2, PIECES, x.shape[1]))
    _sums_of_gradients(np.ascontiguousarray(dy), np.ascontiguousarray(x), mean, dgamma, dbeta)
    return (dgamma.sum(axis=0) / sigma).astype(dtype), dbeta.sum(axis=0).astype(dtype)


@compiled
def _sums_of_gradients(dy, x, mean, dgamma, dbeta):
    M, C = x.shape
    for piece in prange(PIECES):
        dgamma_row, dbeta_row = dgamma[piece], dbeta[piece]
        for m in range(piece * M // PIECES, (piece + 1) * M // PIECES):
            dy_row, x_row = dy[m], x[m]
            for c in range(C):
                dgamma_row[c] += dy_row[c] * (x_row[c] - mean[c])  # (batch_norm.5) without 1/√(variance + ε)
                dbeta_row[c] += dy_row[c]  # (batch_norm.6)


@compiled
def _backward_input(dy, x, mean, scale, dy_mean, slope, dx):
    M, C = x.shape
    for m in prange(M):
        dy_row, x_row, dx_row = dy[m], x[m], dx[m]
        for c in range(C):
            # (batch_norm.7): dy_mean is dbeta / M, slope is dgamma / M / √(variance + ε)
            dx_row[c] = scale[c] * (dy_row[c] - dy_mean[c] - (x_row[c] - mean[c]) * slope[c])


def batch_norm_inference_backward_loops(dy, x, gamma, moving_mean, moving_variance, epsilon=1e-3):
    """See `batch_norm_inference_backward`."""
    _check_dy(dy, x)
    rows = _rows(x, gamma=gamma, moving_mean=moving_mean, moving_variance=moving_variance)  # (M, C)
    sigma = np.sqrt(moving_variance + epsilon)
    dx = gamma / sigma * dy  # (batch_norm.8)
    dgamma, dbeta = _channel_gradients(_rows(dy), rows, moving_mean, sigma, dx.dtype)
    return dx, dgamma, dbeta


# --- GPU: kernels/batch_norm.cu --------------------------------------------------------------------------

_MOST_PIECES = 512  # of the rows: more would take the second stage longer than they save in the first
_ROWS_PER_THREAD = 16  # in a piece: fewer would not be worth a block


def _of_one_dtype(*arrays) -> list:
    dtype = np.result_type(*(a.dtype for a in arrays))
    return [xp_of(*arrays).ascontiguousarray(a, dtype=dtype) for a in arrays]


def _elements_on_gpu(kernel: str, version: int, arrays, epsilon: float):
    """Run a kernel over the elements of the first array (M, C), in vectors if wanted and possible."""
    (M, C), size = arrays[0].shape, constants("batch_norm", arrays[0].dtype)
    out = xp_of(*arrays).empty((M, C), arrays[0].dtype)
    whole = version == 2 and C % size.VECTOR == 0 and aligned(*arrays)
    version, threads = (2, out.size // size.VECTOR) if whole else (1, out.size)
    grid = blocks(threads, size.THREADS)
    launch("batch_norm", f"{kernel}_{version}", grid, size.THREADS, *arrays, out, M, C, float(epsilon))
    return out


def _channels_on_gpu(kernel: str, arrays, results: int, *numbers):
    """Run a kernel whose threads own a channel each of the first array (M, C); return its results, (results, C)."""
    xp, (M, C) = xp_of(*arrays), arrays[0].shape
    out, threads = xp.empty((results, C), arrays[0].dtype), constants("batch_norm", arrays[0].dtype).THREADS
    launch("batch_norm", kernel, blocks(C, threads), threads, *arrays, *out, M, C, *numbers)
    return out


def _sums_on_gpu(kernel: str, arrays, results: int, divisor: int, *numbers):
    """Sum over the rows of arrays (M, C) in two stages, first in pieces of them; return the sums, (results, C)."""
    xp, (M, C) = xp_of(*arrays), arrays[0].shape
    size = constants("batch_norm", arrays[0].dtype)
    across = blocks(C, size.THREADS)
    rows_at_once = size.THREADS // min(C, size.THREADS)
    pieces = max(1, min(M // (rows_at_once * _ROWS_PER_THREAD), _MOST_PIECES // across))  # whatever the GPU
    partial = xp.empty((results, pieces, C), arrays[0].dtype)
    launch("batch_norm", kernel, (across, pieces), size.THREADS, *arrays, partial, M, C, pieces, *numbers)
    total, grid = xp.empty((results, C), partial.dtype), (blocks(C, size.COLUMNS), results)
    launch("batch_norm", "batch_norm_finish_2", grid, size.THREADS, partial, total, pieces, C, divisor)
    return total


def batch_norm_forward_gpu_1(x, gamma, beta, epsilon=1e-3):
    """See `batch_norm_forward`: one thread per channel, then one per element."""
    rows, gamma, beta = _of_one_dtype(_rows(x, gamma=gamma, beta=beta), gamma, beta)
    mean, variance = _channels_on_gpu("batch_norm_statistics_1", [rows], 2)
    return batch_norm_inference_gpu_1(x, gamma, beta, mean, variance, epsilon), mean, variance


def batch_norm_forward_gpu(x, gamma, beta, epsilon=1e-3):
    """See `batch_norm_forward`: sums in two stages, then a vector of channels per thread."""
    rows, gamma, beta = _of_one_dtype(_rows(x, gamma=gamma, beta=beta), gamma, beta)
    M = len(rows)
    (mean,) = _sums_on_gpu("batch_norm_mean_2", [rows], 1, M)
    (variance,) = _sums_on_gpu("batch_norm_variance_2", [rows, mean], 1, M)
    return batch_norm_inference_gpu(x, gamma, beta, mean, variance, epsilon), mean, variance


def batch_norm_inference_gpu_1(x, gamma, beta, moving_mean, moving_variance, epsilon=1e-3):
    """See `batch_norm_inference`: one thread per element."""
    return _inference_on_gpu(1, x, gamma, beta, moving_mean, moving_variance, epsilon)


def batch_norm_inference_gpu(x, gamma, beta, moving_mean, moving_variance, epsilon=1e-3):
    """See `batch_norm_inference`: a vector of channels per thread, where C is a multiple of a vector."""
    return _inference_on_gpu(2, x, gamma, beta, moving_mean, moving_variance, epsilon)


def _inference_on_gpu(version, x, gamma, beta, moving_mean, moving_variance, epsilon):
    rows = _rows(x, gamma=gamma, beta=beta, moving_mean=moving_mean, moving_variance=moving_variance)
    arrays = _of_one_dtype(rows, gamma, beta, moving_mean, moving_variance)
    return _elements_on_gpu("batch_norm_normalise", version, arrays, epsilon).reshape(x.shape)


def batch_norm_backward_gpu_1(dy, x, gamma, mean, variance, epsilon=1e-3):
    """See `batch_norm_backward`: one thread per channel, then one per element."""
    arrays, dgamma, dbeta = _gradients_on_gpu(1, dy, x, gamma, mean, variance, epsilon)
    dx = _elements_on_gpu("batch_norm_backward", 1, [*arrays, dgamma, dbeta], epsilon)
    return dx.reshape(x.shape), dgamma, dbeta


def batch_norm_backward_gpu(dy, x, gamma, mean, variance, epsilon=1e-3):
    """See `batch_norm_backward`: sums in two stages, then a vector of channels per thread."""
    arrays, dgamma, dbeta = _gradients_on_gpu(2, dy, x, gamma, mean, variance, epsilon)
    dx = _elements_on_gpu("batch_norm_backward", 2, [*arrays, dgamma, dbeta], epsilon)
    return dx.reshape(x.shape), dgamma, dbeta


def _gradients_on_gpu(version, dy, x, gamma, mean, variance, epsilon):
    """Return the arrays as the kernels take them, dgamma and dbeta."""
    _check_dy(dy, x)
    rows = _rows(x, gamma=gamma, mean=mean, variance=variance)
    arrays = dy, rows, gamma, mean, variance = _of_one_dtype(_rows(dy), rows, gamma, mean, variance)
    if version == 1:
        dgamma, dbeta = _channels_on_gpu("batch_norm_sums_1", [dy, rows, mean, variance], 2, float(epsilon))
    else:
        dgamma, dbeta = _sums_on_gpu("batch_norm_sums_2", [dy, rows, mean, variance], 2, 1, float(epsilon))
    return arrays, dgamma, dbeta


def batch_norm_inference_backward_gpu_1(dy, x, gamma, moving_mean, moving_variance, epsilon=1e-3):
    """See `batch_norm_inference_backward`: one thread per channel."""
    _, dgamma, dbeta = _gradients_on_gpu(1, dy, x, gamma, moving_mean, moving_variance, epsilon)
    return gamma / xp_of(dy).sqrt(moving_variance + epsilon) * dy, dgamma, dbeta  # (batch_norm.8)


def batch_norm_inference_backward_gpu(dy, x, gamma, moving_mean, moving_variance, epsilon=1e-3):
    """See `batch_norm_inference_backward`: sums in two stages."""
    _, dgamma, dbeta = _gradients_on_gpu(2, dy, x, gamma, moving_mean, moving_variance, epsilon)
    return gamma / xp_of(dy).sqrt(moving_variance + epsilon) * dy, dgamma, dbeta  # (batch_norm.8)


# --- the table -------------------------------------------------------------------------------------------

batch_norm_forward = Op(
    reference=batch_norm_forward_reference,
    loops=batch_norm_forward_loops,
    gpu_1=batch_norm_forward_gpu_1,
    gpu=batch_norm_forward_gpu,
)
batch_norm_backward = Op(
    reference=batch_norm_backward_reference,
    loops=batch_norm_backward_loops,
    gpu_1=batch_norm_backward_gpu_1,
    gpu=batch_norm_backward_gpu,
)
batch_norm_inference = Op(
    reference=batch_norm_inference_reference,
    loops=batch_norm_inference_loops,
    gpu_1=batch_norm_inference_gpu_1,
    gpu=batch_norm_inference_gpu,
)
batch_norm_inference_backward = Op(
    reference=batch_norm_inference_backward_reference,
    loops=batch_norm_inference_backward_loops,
    gpu_1=batch_norm_inference_backward_gpu_1,
    gpu=batch_norm_inference_backward_gpu,
)
