"""Mean absolute error, one loss per row.

    l[m]    = (1/K) Σ_k |y[m,k] − t[m,k]|             (mae.1)
    dy[m,k] = dl[m] · (1/K) · sign(y[m,k] − t[m,k])   (mae.2)      sign(0) = 0

    y, t, dy   (M, K)   predictions, targets, gradient         l, dl   (M,)   losses, upstream gradient

docs/ops/mae.md derives the gradient.
"""

import numpy as np
from numba import prange

from minivid.backend import Op, xp_of
from minivid.jit import compiled
from minivid.ops.rows import check_rows

__all__ = ["mae_backward", "mae_forward"]


# --- reference: the equations, which serve the GPU too; the sign is that of the real part -----------------


def mae_forward_reference(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean absolute error of every row, equation (mae.1).

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
    >>> mae_forward(np.array([[1.0, 5.0]]), np.array([[2.0, 2.0]]))
    array([2.])
    """
    check_rows(predictions, targets)
    difference = predictions - targets  # (M, K)
    xp = xp_of(difference)
    return xp.where(difference.real < 0, -difference, difference).mean(axis=1)  # (mae.1)


def mae_backward_reference(dlosses: np.ndarray, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient of the loss with respect to the predictions, equation (mae.2).

    Parameters
    ----------
    dlosses : (M,) array
        Gradient with respect to the losses of the rows.
    predictions, targets : (M, K) array
        As in the forward pass.

    Returns
    -------
    dpredictions : (M, K) array
        Zero where the prediction equals the target.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> mae_backward(np.array([10.0]), np.array([[1.0, 5.0]]), np.array([[2.0, 2.0]]))
    array([[-5.,  5.]])
    """
    check_rows(predictions, targets, dlosses)
    xp = xp_of(dlosses, predictions, targets)
    return dlosses[:, None] / predictions.shape[1] * xp.sign((predictions - targets).real)  # (mae.2)


# --- CPU: the same loops, compiled ------------------------------------------------------------------------


def mae_forward_loops(predictions, targets):
    """See `mae_forward`."""
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
            total += abs(y[m, k] - t[m, k])
        losses[m] = total / K  # (mae.1)


def mae_backward_loops(dlosses, predictions, targets):
    """See `mae_backward`."""
    check_rows(predictions, targets, dlosses)
    dy = np.empty(predictions.shape, dtype=np.result_type(dlosses, predictions, targets))
    _backward(*(np.ascontiguousarray(a, dtype=dy.dtype) for a in (dlosses, predictions, targets)), dy)
    return dy


@compiled
def _backward(dlosses, y, t, dy):
    M, K = y.shape
    for m in prange(M):
        scale = dlosses[m] / K
        for k in range(K):
            dy[m, k] = scale * np.sign(y[m, k] - t[m, k])  # (mae.2)


# --- the table -------------------------------------------------------------------------------------------

mae_forward = Op(reference=mae_forward_reference, loops=mae_forward_loops, gpu=mae_forward_reference)
mae_backward = Op(reference=mae_backward_reference, loops=mae_backward_loops, gpu=mae_backward_reference)
