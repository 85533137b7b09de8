"""Mean squared error, one loss per row.

    l[m]    = (1/K) Σ_k (y[m,k] − t[m,k])²        (mse.1)
    dy[m,k] = dl[m] · (2/K) · (y[m,k] − t[m,k])   (mse.2)

    y, t, dy   (M, K)   predictions, targets, gradient         l, dl   (M,)   losses, upstream gradient

docs/ops/mse.md derives the gradient.
"""

import numpy as np
from numba import prange

from minivid.backend import Op
from minivid.jit import compiled
from minivid.ops.rows import check_rows

__all__ = ["mse_backward", "mse_forward"]


# --- reference: the equations, which serve the GPU too ---------------------------------------------------


def mse_forward_reference(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean squared error of every row, equation (mse.1).

    Parameters
    ----------
    predictions, targets : (M, K) array
        Of one dtype.

    Returns
    -------
    losses : (M,) array

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> mse_forward(np.array([[1.0, 5.0]]), np.array([[2.0, 2.0]]))
    array([5.])
    """
    check_rows(predictions, targets)
    difference = predictions - targets  # (M, K)
    return (difference * difference).mean(axis=1)  # (mse.1)


def mse_backward_reference(dlosses: np.ndarray, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient of the loss with respect to the predictions, equation (mse.2).

    Parameters
    ----------
    dlosses : (M,) array
        Gradient with respect to the losses of the rows.
    predictions, targets : (M, K) array
        As in the forward pass.

    Returns
    -------
    dpredictions : (M, K) array

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> mse_backward(np.array([10.0]), np.array([[1.0, 5.0]]), np.array([[2.0, 2.0]]))
    array([[-10.,  30.]])
    """
    check_rows(predictions, targets, dlosses)
    return dlosses[:, None] * (2 / predictions.shape[1]) * (predictions - targets)  # (mse.2)


# --- CPU: the same loops, compiled ------------------------------------------------------------------------


def mse_forward_loops(predictions, targets):
    """See `mse_forward`."""
    check_rows(predictions, targets)
    losses = np.empty(predictions.shape[0], dtype=np.result_type(predictions, targets))
    _forward(*(np.ascontiguousarray(a, dtype=losses.dtype) for a in (predictions, targets)), losses)
    return losses


@compiled
def _forward(y, t, losses):
    M, K = y.shape
    for m in prange(M):  # one thread owns a row
        total = 0.0
        for k in range(K):
            difference = y[m, k] - t[m, k]
            total += difference * difference
        losses[m] = total / K  # (mse.1)


def mse_backward_loops(dlosses, predictions, targets):
    """See `mse_backward`."""
    check_rows(predictions, targets, dlosses)
    dy = np.empty(predictions.shape, dtype=np.result_type(dlosses, predictions, targets))
    _backward(*(np.ascontiguousarray(a, dtype=dy.dtype) for a in (dlosses, predictions, targets)), dy)
    return dy


@compiled
def _backward(dlosses, y, t, dy):
    M, K = y.shape
    for m in prange(M):
        scale = dlosses[m] * (2.0 / K)
        for k in range(K):
            dy[m, k] = scale * (y[m, k] - t[m, k])  # (mse.2)


# --- the table -------------------------------------------------------------------------------------------

mse_forward = Op(reference=mse_forward_reference, loops=mse_forward_loops, gpu=mse_forward_reference)
mse_backward = Op(reference=mse_backward_reference, loops=mse_backward_loops, gpu=mse_backward_reference)
