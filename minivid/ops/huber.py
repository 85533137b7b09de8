"""Huber's loss, one per row: squared near the target, absolute far from it.

    l[m]    = (1/K) Σ_k ρ(d[m,k])    with d = y − t, ρ(d) = d²/2 if |d| ≤ δ, otherwise δ·(|d| − δ/2)   (huber.1)
    dy[m,k] = dl[m] · (1/K) · max(−δ, min(δ, d[m,k]))                                                  (huber.2)

    y, t, dy   (M, K)   predictions, targets, gradient         l, dl   (M,)   losses, upstream gradient

Smooth L1 is ρ with δ = 1. docs/ops/huber.md derives the gradient.
"""

import numpy as np
from numba import prange

from minivid.backend import Op, xp_of
from minivid.jit import compiled
from minivid.ops.rows import check_rows

__all__ = ["huber_backward", "huber_forward"]


def _check(predictions, targets, delta, dlosses=None) -> None:
    check_rows(predictions, targets, dlosses)
    if not delta > 0:
        raise ValueError(f"delta must be positive, got {delta!r}")


# --- reference: the equations, which serve the GPU too; comparisons are those of the real part --------------


def huber_forward_reference(predictions: np.ndarray, targets: np.ndarray, delta: float = 1.0) -> np.ndarray:
    """Huber's loss of every row, equation (huber.1).

    Parameters
    ----------
    predictions, targets : (M, K) array
        Of one dtype.
    delta : float
        δ, the distance from which an error counts by its size and no longer by its square.

    Returns
    -------
    losses : (M,) array

    Raises
    ------
    ValueError
        If the shapes do not fit, or δ is not positive.

    Notes
    -----
    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35(1), 1964. Girshick's smooth
    L1 (Fast R-CNN, ICCV 2015) is the sum, where this is the mean, over k with δ = 1.

    Examples
    --------
    >>> import numpy as np
    >>> huber_forward(np.array([[1.5, 5.0]]), np.array([[2.0, 2.0]]))  # (1/8 + 5/2) / 2
    array([1.3125])
    """
    _check(predictions, targets, delta)
    d = predictions - targets  # (M, K)
    xp = xp_of(d)
    size = xp.where(d.real < 0, -d, d)
    return xp.where(size.real <= delta, d * d / 2, delta * (size - delta / 2)).mean(axis=1)  # (huber.1)


def huber_backward_reference(
    dlosses: np.ndarray, predictions: np.ndarray, targets: np.ndarray, delta: float = 1.0
) -> np.ndarray:
    """Gradient of the loss with respect to the predictions, equation (huber.2).

    Parameters
    ----------
    dlosses : (M,) array
        Gradient with respect to the losses of the rows.
    predictions, targets : (M, K) array
        As in the forward pass.
    delta : float
        As in the forward pass.

    Returns
    -------
    dpredictions : (M, K) array

    Raises
    ------
    ValueError
        If the shapes do not fit, or δ is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> huber_backward(np.array([10.0]), np.array([[1.5, 5.0]]), np.array([[2.0, 2.0]]))
    array([[-2.5,  5. ]])
    """
    _check(predictions, targets, delta, dlosses)
    xp = xp_of(dlosses, predictions, targets)
    return dlosses[:, None] / predictions.shape[1] * xp.clip(predictions - targets, -delta, delta)  # (huber.2)


# --- CPU: the same loops, compiled ------------------------------------------------------------------------


def huber_forward_loops(predictions, targets, delta=1.0):
    """See `huber_forward`."""
    _check(predictions, targets, delta)
    losses = np.empty(predictions.shape[0], dtype=np.result_type(predictions, targets))
    _forward(*(np.ascontiguousarray(a, dtype=losses.dtype) for a in (predictions, targets)), float(delta), losses)
    return losses


@compiled
def _forward(y, t, delta, losses):
    M, K = y.shape
    for m in prange(M):  # one thread owns a row
        total = 0.0
        for k in range(K):
            size = abs(y[m, k] - t[m, k])
            total += delta * (size - delta / 2) if size > delta else size * size / 2
        losses[m] = total / K  # (huber.1)


def huber_backward_loops(dlosses, predictions, targets, delta=1.0):
    """See `huber_backward`."""
    _check(predictions, targets, delta, dlosses)
    dy = np.empty(predictions.shape, dtype=np.result_type(dlosses, predictions, targets))
    arrays = (np.ascontiguousarray(a, dtype=dy.dtype) for a in (dlosses, predictions, targets))
    _backward(*arrays, float(delta), dy)
    return dy


@compiled
def _backward(dlosses, y, t, delta, dy):
    M, K = y.shape
    for m in prange(M):
        scale = dlosses[m] / K
        for k in range(K):
            d = y[m, k] - t[m, k]
            if d > delta:
                dy[m, k] = scale * delta
            elif d < -delta:
                dy[m, k] = -scale * delta
            else:
                dy[m, k] = scale * d  # (huber.2)


# --- the table -------------------------------------------------------------------------------------------

huber_forward = Op(reference=huber_forward_reference, loops=huber_forward_loops, gpu=huber_forward_reference)
huber_backward = Op(reference=huber_backward_reference, loops=huber_backward_loops, gpu=huber_backward_reference)
