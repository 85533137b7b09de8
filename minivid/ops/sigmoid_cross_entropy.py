"""Sigmoid followed by binary cross-entropy, one loss per row; and binary cross-entropy of probabilities.

    p[m,k]  = 1 / (1 + e^(−z[m,k]))                                                 (sigmoid_cross_entropy.1)
    l[m]    = (1/K) Σ_k ( max(z, 0) − z·t + log(1 + e^(−|z|)) )                     (sigmoid_cross_entropy.2)
    dz[m,k] = dl[m] · (p[m,k] − t[m,k]) / K                                         (sigmoid_cross_entropy.3)

    z, dz   (M, K)   logits, gradient          l, dl   (M,)   losses (the mean over K), upstream gradient
    p, t    (M, K)   probabilities, targets: 0, 1 or between

From probabilities r that did not come from a sigmoid next to the loss, with ε = 10⁻⁷ and c = min(max(r, ε), 1 − ε):

    l[m]    = −(1/K) Σ_k ( t · log c + (1 − t) · log(1 − c) )                       (sigmoid_cross_entropy.4)
    dr[m,k] = dl[m] · (c − t) / (c · (1 − c)) / K where ε ≤ r ≤ 1 − ε, else 0       (sigmoid_cross_entropy.5)

docs/ops/sigmoid_cross_entropy.md derives both.
"""

import math

import numpy as np
from numba import prange

from minivid.backend import Op, xp_of
from minivid.jit import compiled
from minivid.ops.rows import check_rows

__all__ = [
    "binary_cross_entropy_backward",
    "binary_cross_entropy_forward",
    "sigmoid_cross_entropy_backward",
    "sigmoid_cross_entropy_forward",
]

_SMALLEST = 1e-7  # ε: Keras's backend.epsilon()


# --- reference: the equations, which serve the GPU too; signs are those of the real part -------------------


def sigmoid_cross_entropy_forward_reference(logits: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean binary cross-entropy between targets and the sigmoid of logits, equation (sigmoid_cross_entropy.2).

    Parameters
    ----------
    logits : (M, K) array
        K independent yes-or-no scores per row, of any finite size: nothing overflows.
    targets : (M, K) array
        Probabilities of "yes", of the dtype of the logits.

    Returns
    -------
    losses : (M,) array
        Mean over the K scores of a row, as in Keras.
    probabilities : (M, K) array
        Sigmoid of the logits. The cache of `sigmoid_cross_entropy_backward`.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> losses, probabilities = sigmoid_cross_entropy_forward(np.array([[1e4, -6e3]]), np.array([[0.0, 1.0]]))
    >>> losses, probabilities
    (array([8000.]), array([[1., 0.]]))
    """
    check_rows(logits, targets)
    xp = xp_of(logits, targets)
    negative = logits.real < 0
    e = xp.exp(xp.where(negative, logits, -logits))  # (M, K), e^(−|z|), at most 1
    costs = xp.where(negative, 0, logits) - logits * targets + xp.log1p(e)  # (M, K)
    probabilities = xp.where(negative, e, 1) / (1 + e)  # (sigmoid_cross_entropy.1)
    return costs.mean(axis=1), probabilities  # (sigmoid_cross_entropy.2)


def sigmoid_cross_entropy_backward_reference(
    dlosses: np.ndarray, probabilities: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """Gradient of the loss with respect to the logits, equation (sigmoid_cross_entropy.3).

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

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid_cross_entropy_backward(np.array([8.0]), np.array([[0.25, 0.5]]), np.array([[1.0, 0.0]]))
    array([[-3.,  2.]])
    """
    check_rows(probabilities, targets, dlosses)
    K = probabilities.shape[1]
    return dlosses[:, None] * (probabilities - targets) / K  # (sigmoid_cross_entropy.3)


# --- CPU: the same loops, compiled ------------------------------------------------------------------------


def sigmoid_cross_entropy_forward_loops(logits, targets):
    """See `sigmoid_cross_entropy_forward`."""
    check_rows(logits, targets)
    dtype = np.result_type(logits, targets)
    losses, probabilities = np.empty(logits.shape[0], dtype=dtype), np.empty(logits.shape, dtype=dtype)
    _forward(*(np.ascontiguousarray(a, dtype=dtype) for a in (logits, targets)), losses, probabilities)
    return losses, probabilities


@compiled
def _forward(logits, targets, losses, probabilities):
    M, K = logits.shape
    for m in prange(M):  # one thread owns a row
        total = 0.0
        for k in range(K):
            z = logits[m, k]
            e = math.exp(-abs(z))
            total += (0.0 if z < 0.0 else z) - z * targets[m, k] + math.log1p(e)
            probabilities[m, k] = (e if z < 0.0 else 1.0) / (1.0 + e)  # (sigmoid_cross_entropy.1)
        losses[m] = total / K  # (sigmoid_cross_entropy.2)


def sigmoid_cross_entropy_backward_loops(dlosses, probabilities, targets):
    """See `sigmoid_cross_entropy_backward`."""
    check_rows(probabilities, targets, dlosses)
    dlogits = np.empty(probabilities.shape, dtype=np.result_type(dlosses, probabilities, targets))
    arrays = (np.ascontiguousarray(a, dtype=dlogits.dtype) for a in (dlosses, probabilities, targets))
    _backward(*arrays, dlogits)
    return dlogits


@compiled
def _backward(dlosses, probabilities, targets, dlogits):
    M, K = probabilities.shape
    for m in prange(M):
        for k in range(K):
            dlogits[m, k] = dlosses[m] * (probabilities[m, k] - targets[m, k]) / K  # (sigmoid_cross_entropy.3)


# --- the table -------------------------------------------------------------------------------------------

sigmoid_cross_entropy_forward = Op(
    reference=sigmoid_cross_entropy_forward_reference,
    loops=sigmoid_cross_entropy_forward_loops,
    gpu=sigmoid_cross_entropy_forward_reference,
)
sigmoid_cross_entropy_backward = Op(
    reference=sigmoid_cross_entropy_backward_reference,
    loops=sigmoid_cross_entropy_backward_loops,
    gpu=sigmoid_cross_entropy_backward_reference,
)


# --- from probabilities: a few lines that run on either device --------------------------------------------


def binary_cross_entropy_forward(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Mean binary cross-entropy of probabilities, as Keras computes it, equation (sigmoid_cross_entropy.4).

    Parameters
    ----------
    probabilities : (M, K) array
        Between 0 and 1; clipped to [1e-7, 1 − 1e-7].
    targets : (M, K) array
        Probabilities of "yes", of the dtype of the probabilities.

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
    >>> binary_cross_entropy_forward(np.array([[0.25, 0.25]]), np.array([[1.0, 1.0]])) == np.log(4)
    array([ True])
    """
    check_rows(probabilities, targets)
    xp = xp_of(probabilities, targets)
    c, _ = _clipped(probabilities, xp)
    return -(targets * xp.log(c) + (1 - targets) * xp.log(1 - c)).mean(axis=1)  # (sigmoid_cross_entropy.4)


def binary_cross_entropy_backward(dlosses: np.ndarray, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient of the loss with respect to the probabilities, equation (sigmoid_cross_entropy.5).

    Parameters
    ----------
    dlosses : (M,) array
        Gradient with respect to the losses of the rows.
    probabilities, targets : (M, K) array
        As in the forward pass.

    Returns
    -------
    dprobabilities : (M, K) array
        Zero where the probability was clipped.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> binary_cross_entropy_backward(np.array([3.0]), np.array([[0.25, 0.5]]), np.array([[1.0, 0.0]]))
    array([[-6.,  3.]])
    """
    check_rows(probabilities, targets, dlosses)
    xp = xp_of(dlosses, probabilities, targets)
    c, outside = _clipped(probabilities, xp)
    slope = xp.where(outside, 0, (c - targets) / (c * (1 - c)))  # (M, K)
    return dlosses[:, None] * slope / probabilities.shape[1]  # (sigmoid_cross_entropy.5)


def _clipped(r, xp):
    """Clip probabilities; also say where, which is never at NaN."""
    outside = (r.real < _SMALLEST) | (r.real > 1 - _SMALLEST)
    return xp.where(outside, xp.clip(r.real, _SMALLEST, 1 - _SMALLEST), r), outside
