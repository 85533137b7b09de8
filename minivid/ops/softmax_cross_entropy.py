"""Softmax followed by cross-entropy, one loss per row; and cross-entropy of probabilities.

    p[m,k]  = e^(z[m,k]) / Σ_j e^(z[m,j])                         (softmax_cross_entropy.1)
    l[m]    = Σ_k t[m,k] · (log Σ_j e^(z[m,j]) − z[m,k])          (softmax_cross_entropy.2)
    dz[m,k] = dl[m] · (p[m,k] · Σ_j t[m,j] − t[m,k])              (softmax_cross_entropy.3)

    z, dz   (M, K)   logits, gradient          l, dl   (M,)   losses, upstream gradient
    p, t    (M, K)   probabilities, targets (one-hot or soft, any sum)

From probabilities r that did not come from a softmax next to the loss, with ε = 10⁻⁷:

    q[m,k]  = r[m,k] / S[m],  S[m] = Σ_j r[m,j]                   (softmax_cross_entropy.4)
    l[m]    = −Σ_k t[m,k] · log min(max(q[m,k], ε), 1 − ε)        (softmax_cross_entropy.5)
    dr[m,k] = (g[m,k] − Σ_j g[m,j] · q[m,j]) / S[m]               (softmax_cross_entropy.6)
    g[m,k]  = −dl[m] · t[m,k] / q[m,k] where ε ≤ q ≤ 1 − ε, else 0

docs/ops/softmax_cross_entropy.md derives the gradients and says why the first form is the one to use.
"""

import math

import numpy as np
from numba import prange

from minivid.backend import Op, xp_of
from minivid.cuda import blocks, constants, launch
from minivid.jit import compiled
from minivid.ops.rows import check_rows

__all__ = [
    "cross_entropy_backward",
    "cross_entropy_forward",
    "softmax_cross_entropy_backward",
    "softmax_cross_entropy_forward",
]

_SMALLEST = 1e-7  # ε: Keras's backend.epsilon()


# --- reference: the equations, shifted by the largest logit of the row (softmax.2) -------------------------


def softmax_cross_entropy_forward_reference(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cross-entropy between targets and the softmax of logits, equation (softmax_cross_entropy.2).

    Parameters
    ----------
    logits : (M, K) array
        Scores of K classes, of any size: nothing overflows. Minus infinity rules a class out.
    targets : (M, K) array
        One-hot or soft, of the dtype of the logits; they need not sum to one.

    Returns
    -------
    losses : (M,) array
    probabilities : (M, K) array
        Softmax of the logits. The cache of `softmax_cross_entropy_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Goodfellow, Bengio & Courville, "Deep Learning", 2016, section 6.2.2.3.

    Examples
    --------
    >>> import numpy as np
    >>> losses, probabilities = softmax_cross_entropy_forward(np.array([[1e4, 0.0]]), np.array([[0.0, 1.0]]))
    >>> losses, probabilities
    (array([10000.]), array([[1., 0.]]))
    """
    check_rows(logits, targets)
    shifted = logits - logits.real.max(axis=1, keepdims=True)  # (M, K), at most 0
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)  # (M, 1)
    # A class that no target asks for costs nothing, even at a logit of minus infinity.
    costs = np.where(targets == 0, 0, np.log(total) - shifted)  # (M, K)
    losses = (targets * costs).sum(axis=1)  # (softmax_cross_entropy.2)
    return losses, e / total  # (softmax_cross_entropy.1)


def softmax_cross_entropy_backward_reference(
    dlosses: np.ndarray, probabilities: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """Gradient of the loss with respect to the logits, equation (softmax_cross_entropy.3).

    Parameters
    ----------
    dlosses : (M,) array
        Gradient with respect to the losses of the rows.
    probabilities : (M, K) array
        From the forward pass.
    targets : (M, K) array
        As in the forward pass.

    Returns
    -------
    dlogits : (M, K) array
        Every row sums to zero.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> softmax_cross_entropy_backward(np.array([8.0]), np.array([[0.25, 0.75]]), np.array([[0.0, 1.0]]))
    array([[ 2., -2.]])
    """
    check_rows(probabilities, targets, dlosses)
    mass = targets.sum(axis=1, keepdims=True)  # (M, 1)
    return dlosses[:, None] * (probabilities * mass - targets)  # (softmax_cross_entropy.3)


# --- CPU: the same loops, compiled ------------------------------------------------------------------------


def softmax_cross_entropy_forward_loops(logits, targets):
    """See `softmax_cross_entropy_forward`."""
    check_rows(logits, targets)
    dtype = np.result_type(logits, targets)
    losses, probabilities = np.empty(logits.shape[0], dtype=dtype), np.empty(logits.shape, dtype=dtype)
    _forward(*(np.ascontiguousarray(a, dtype=dtype) for a in (logits, targets)), losses, probabilities)
    return losses, probabilities


@compiled
def _forward(logits, targets, losses, probabilities):
    M, K = logits.shape
    for m in prange(M):  # one thread owns a row
        largest = logits[m, 0]
        for k in range(1, K):
            largest = max(largest, logits[m, k])
        total = 0.0
        for k in range(K):
            probabilities[m, k] = math.exp(logits[m, k] - largest)
            total += probabilities[m, k]
        loss, log_total = 0.0, math.log(total)
        for k in range(K):
            probabilities[m, k] /= total  # (softmax_cross_entropy.1)
            if targets[m, k] != 0.0:
                loss += targets[m, k] * (log_total - (logits[m, k] - largest))  # (softmax_cross_entropy.2)
        losses[m] = loss


def softmax_cross_entropy_backward_loops(dlosses, probabilities, targets):
    """See `softmax_cross_entropy_backward`."""
    check_rows(probabilities, targets, dlosses)
    dlogits = np.empty(probabilities.shape, dtype=np.result_type(dlosses, probabilities, targets))
    arrays = (np.ascontiguousarray(a, dtype=dlogits.dtype) for a in (dlosses, probabilities, targets))
    _backward(*arrays, dlogits)
    return dlogits


@compiled
def _backward(dlosses, probabilities, targets, dlogits):
    M, K = probabilities.shape
    for m in prange(M):
        mass = 0.0
        for k in range(K):
            mass += targets[m, k]
        for k in range(K):
            dlogits[m, k] = dlosses[m] * (probabilities[m, k] * mass - targets[m, k])  # (softmax_cross_entropy.3)


# --- GPU: kernels/softmax_cross_entropy.cu -----------------------------------------------------------------


def softmax_cross_entropy_forward_gpu_1(logits, targets):
    """See `softmax_cross_entropy_forward`: one thread per row."""
    return _forward_on_gpu(1, logits, targets)


def softmax_cross_entropy_forward_gpu(logits, targets):
    """See `softmax_cross_entropy_forward`: one warp per row."""
    return _forward_on_gpu(2, logits, targets)


def _forward_on_gpu(version, logits, targets):
    check_rows(logits, targets)
    xp, dtype = xp_of(logits, targets), np.result_type(logits.dtype, targets.dtype)
    losses, probabilities = xp.empty(logits.shape[0], dtype), xp.empty(logits.shape, dtype)
    arrays = (xp.ascontiguousarray(a, dtype=dtype) for a in (logits, targets))
    _launch("softmax_cross_entropy_forward", version, *arrays, losses, probabilities)
    return losses, probabilities


def softmax_cross_entropy_backward_gpu_1(dlosses, probabilities, targets):
    """See `softmax_cross_entropy_backward`: one thread per row."""
    return _backward_on_gpu(1, dlosses, probabilities, targets)


def softmax_cross_entropy_backward_gpu(dlosses, probabilities, targets):
    """See `softmax_cross_entropy_backward`: one warp per row."""
    return _backward_on_gpu(2, dlosses, probabilities, targets)


def _backward_on_gpu(version, dlosses, probabilities, targets):
    check_rows(probabilities, targets, dlosses)
    xp = xp_of(dlosses, probabilities, targets)
    dlogits = xp.empty(probabilities.shape, np.result_type(dlosses.dtype, probabilities.dtype, targets.dtype))
    arrays = (xp.ascontiguousarray(a, dtype=dlogits.dtype) for a in (dlosses, probabilities, targets))
    _launch("softmax_cross_entropy_backward", version, *arrays, dlogits)
    return dlogits


def _launch(kernel, version, *arrays):
    M, K = arrays[-1].shape
    size = constants("softmax_cross_entropy", arrays[-1].dtype)
    grid = blocks(M, size.THREADS if version == 1 else size.ROWS)
    launch("softmax_cross_entropy", f"{kernel}_{version}", grid, size.THREADS, *arrays, M, K)


# --- the table -------------------------------------------------------------------------------------------

softmax_cross_entropy_forward = Op(
    reference=softmax_cross_entropy_forward_reference,
    loops=softmax_cross_entropy_forward_loops,
    gpu_1=softmax_cross_entropy_forward_gpu_1,
    gpu=softmax_cross_entropy_forward_gpu,
)
softmax_cross_entropy_backward = Op(
    reference=softmax_cross_entropy_backward_reference,
    loops=softmax_cross_entropy_backward_loops,
    gpu_1=softmax_cross_entropy_backward_gpu_1,
    gpu=softmax_cross_entropy_backward_gpu,
)


# --- from probabilities: a few lines that run on either device --------------------------------------------


def cross_entropy_forward(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Cross-entropy between targets and probabilities, as Keras computes it, equation (softmax_cross_entropy.5).

    Parameters
    ----------
    probabilities : (M, K) array
        Not negative; every row is divided by its sum, then clipped to [1e-7, 1 − 1e-7].
    targets : (M, K) array
        One-hot or soft, of the dtype of the probabilities.

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
    >>> cross_entropy_forward(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]])) == -np.log(0.75)
    array([ True])
    """
    check_rows(probabilities, targets)
    xp = xp_of(probabilities, targets)
    q, _ = _normalised(probabilities)
    clipped = xp.where(_outside(q), xp.clip(q.real, _SMALLEST, 1 - _SMALLEST), q)  # (M, K)
    return -(targets * xp.log(clipped)).sum(axis=1)  # (softmax_cross_entropy.5)


def cross_entropy_backward(dlosses: np.ndarray, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient of the loss with respect to the probabilities, equation (softmax_cross_entropy.6).

    Parameters
    ----------
    dlosses : (M,) array
        Gradient with respect to the losses of the rows.
    probabilities, targets : (M, K) array
        As in the forward pass.

    Returns
    -------
    dprobabilities : (M, K) array

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> cross_entropy_backward(np.array([1.0]), np.array([[0.25, 0.75]]), np.array([[1.0, 0.0]]))
    array([[-3.,  1.]])
    """
    check_rows(probabilities, targets, dlosses)
    xp = xp_of(dlosses, probabilities, targets)
    q, total = _normalised(probabilities)
    outside = _outside(q)
    g = xp.where(outside, 0, -dlosses[:, None] * targets / xp.where(outside, 1, q))  # (M, K)
    return (g - (g * q).sum(axis=1, keepdims=True)) / total  # (softmax_cross_entropy.6)


def _normalised(probabilities):
    total = probabilities.sum(axis=1, keepdims=True)  # (M, 1)
    return probabilities / total, total  # (softmax_cross_entropy.4)


def _outside(q):
    """Whether a probability is clipped; never for NaN, which goes through."""
    return (q.real < _SMALLEST) | (q.real > 1 - _SMALLEST)
