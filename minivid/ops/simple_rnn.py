"""Simple recurrent network: one tanh layer that also reads its own previous output.

    z_t  = x_t W + h_{t−1} R + b                          (simple_rnn.1)
    h_t  = tanh(z_t)                                      (simple_rnn.2)
    h_t  = h_{t−1}   where the mask is False              (recurrent.2)

    δh_t = dh_t + dz_{t+1} Rᵀ                             (simple_rnn.3)     dh_t alone at the last step
    dz_t = δh_t ∘ (1 − h_t²)                              (simple_rnn.4)
    dx_t = dz_t Wᵀ                                        (simple_rnn.5)
    dW   = Σ_t x_tᵀ dz_t                                  (simple_rnn.6)
    dR   = Σ_t h_{t−1}ᵀ dz_t                              (simple_rnn.7)
    db   = Σ_t Σ_n dz_t                                   (simple_rnn.8)
    dh_0 = dz_1 Rᵀ                                        (simple_rnn.9)

for t = 1..T; step t is stored at index t−1. At a masked step dz_t = 0 and δh_t goes on to h_{t−1} (recurrent.5).

    x   (N, T, D)     sequences          W   (D, U)    kernel
    h   (N, T, U)     hidden states      R   (U, U)    recurrent_kernel
    h_0 (N, U)        initial state      b   (U,)      bias

docs/ops/simple_rnn.md derives the gradients.
"""

import math
from functools import partial

import numpy as np
from numba import prange

from minivid.backend import Op
from minivid.jit import PIECES, compiled
from minivid.ops.matmul import matmul_loops, matmul_tiled
from minivid.ops.recurrent import check_shapes, contiguous, mask_or_all, or_zeros, previous, sizes_of

__all__ = ["simple_rnn_backward", "simple_rnn_forward"]


# --- reference: the equations, step by step --------------------------------------------------------------


def simple_rnn_forward_reference(
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> np.ndarray:
    """Run a simple recurrent network over sequences, equations (simple_rnn.1) and (simple_rnn.2).

    Parameters
    ----------
    x : (N, T, D) array
        Sequences.
    kernel : (D, U) array
        Weights of the input.
    recurrent_kernel : (U, U) array
        Weights of the previous hidden state.
    bias : (U,) array, optional
        Biases; none means zero.
    h0 : (N, U) array, optional
        Initial hidden state; none means zero.
    mask : (N, T) array of bool, optional
        False where a step is padding and the state is kept; none means that every step is real.

    Returns
    -------
    h : (N, T, U) array
        Hidden states of all steps: the output, and all that the backward pass needs.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 1))
    >>> simple_rnn_forward(np.array([[[0.0], [0.5], [0.5]]]), one, 0 * one, mask=np.array([[True, True, False]]))
    array([[[0.        ],
            [0.46211716],
            [0.46211716]]])
    """
    N, T, D, U = sizes_of("simple_rnn", 1, x, kernel, recurrent_kernel)
    check_shapes("simple_rnn", bias=(bias, (U,)), h0=(h0, (N, U)))
    mask = mask_or_all("simple_rnn", mask, N, T)
    bias = or_zeros(bias, (U,), like=x)
    h_prev = or_zeros(h0, (N, U), like=x)
    steps = []
    for t in range(T):
        z = x[:, t] @ kernel + h_prev @ recurrent_kernel + bias  # (simple_rnn.1)
        h_prev = np.where(mask[:, t, None], np.tanh(z), h_prev)  # (simple_rnn.2), (recurrent.2)
        steps.append(h_prev)
    return np.stack(steps, axis=1)


def simple_rnn_backward_reference(
    dh: np.ndarray,
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    h: np.ndarray,
    h0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Backpropagation through time of a simple recurrent network, (simple_rnn.3) to (simple_rnn.9).

    Parameters
    ----------
    dh : (N, T, U) array
        Gradient with respect to the hidden states of all steps; zero where a state is not used further.
    x, kernel, recurrent_kernel, h0, mask
        As in the forward pass.
    h : (N, T, U) array
        Hidden states that the forward pass returned.

    Returns
    -------
    dx : (N, T, D) array
    dkernel : (D, U) array
    drecurrent_kernel : (U, U) array
    dbias : (U,) array
    dh0 : (N, U) array

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, r = np.zeros((1, 2, 1)), np.array([[3.0]]), np.array([[0.5]])
    >>> h = simple_rnn_forward(x, w, r)
    >>> dx, dw, dr, db, dh0 = simple_rnn_backward(np.ones((1, 2, 1)), x, w, r, h)
    >>> dx.ravel(), dh0
    (array([4.5, 3. ]), array([[0.75]]))
    """
    N, T, D, U = sizes_of("simple_rnn", 1, x, kernel, recurrent_kernel)
    check_shapes("simple_rnn", dh=(dh, (N, T, U)), h=(h, (N, T, U)), h0=(h0, (N, U)))
    mask = mask_or_all("simple_rnn", mask, N, T)
    h0 = or_zeros(h0, (N, U), like=h)
    dx, dkernel, drecurrent_kernel = np.zeros_like(x), np.zeros_like(kernel), np.zeros_like(recurrent_kernel)
    dbias = np.zeros_like(kernel[0])
    dh_next = np.zeros_like(h0)  # what step t+1 hands back to h_t
    for t in reversed(range(T)):
        real = mask[:, t, None]
        h_prev = h[:, t - 1] if t > 0 else h0
        dh_t = dh[:, t] + dh_next  # (simple_rnn.3)
        dz = np.where(real, dh_t * (1 - h[:, t] ** 2), 0)  # (simple_rnn.4)
        dx[:, t] = dz @ kernel.T  # (simple_rnn.5)
        dkernel += x[:, t].T @ dz  # (simple_rnn.6)
        drecurrent_kernel += h_prev.T @ dz  # (simple_rnn.7)
        dbias += dz.sum(axis=0)  # (simple_rnn.8)
        dh_next = np.where(real, dz @ recurrent_kernel.T, dh_t)  # (simple_rnn.3), (recurrent.5)
    return dx, dkernel, drecurrent_kernel, dbias, dh_next  # (simple_rnn.9)


# --- CPU: the same loops, compiled; the products that need no state are taken over all steps at once --------


def _forward_with(matmul, x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """Run `simple_rnn_forward` compiled, its matrix products by ``matmul``."""
    N, T, D, U = sizes_of("simple_rnn", 1, x, kernel, recurrent_kernel)
    check_shapes("simple_rnn", bias=(bias, (U,)), h0=(h0, (N, U)))
    mask = mask_or_all("simple_rnn", mask, N, T)
    bias, h0 = or_zeros(bias, (U,), like=x), or_zeros(h0, (N, U), like=x)
    x, kernel, recurrent_kernel, bias, h0 = contiguous(x, kernel, recurrent_kernel, bias, h0)
    h = (matmul(x.reshape(N * T, D), kernel) + bias).reshape(N, T, U)
    _forward(h, recurrent_kernel, h0, mask)
    return h


@compiled
def _forward(h, recurrent_kernel, h0, mask):
    """Turn x W + b into the hidden states, in place."""
    N, T, U = h.shape
    for piece in prange(PIECES):  # one thread owns some sequences and walks all their steps: no barrier
        first, last = piece * N // PIECES, (piece + 1) * N // PIECES
        for t in range(T):
            for k in range(U):
                row = recurrent_kernel[k]  # serves all sequences of the piece while it is in the cache
                for n in range(first, last):
                    z = h[n, t]
                    h_prev = h0[n, k] if t == 0 else h[n, t - 1, k]
                    for u in range(U):
                        z[u] += h_prev * row[u]  # (simple_rnn.1)
            for n in range(first, last):
                h_t = h[n, t]
                h_prev_row = h0[n] if t == 0 else h[n, t - 1]
                for u in range(U):
                    h_t[u] = math.tanh(h_t[u]) if mask[n, t] else h_prev_row[u]  # (simple_rnn.2), (recurrent.2)


def _backward_with(matmul, dh, x, kernel, recurrent_kernel, h, h0=None, mask=None):
    """Run `simple_rnn_backward` compiled, its matrix products by ``matmul``."""
    N, T, D, U = sizes_of("simple_rnn", 1, x, kernel, recurrent_kernel)
    check_shapes("simple_rnn", dh=(dh, (N, T, U)), h=(h, (N, T, U)), h0=(h0, (N, U)))
    mask = mask_or_all("simple_rnn", mask, N, T)
    h0 = or_zeros(h0, (N, U), like=h)
    dh, x, kernel, turned, h, h0 = contiguous(dh, x, kernel, recurrent_kernel.T, h, h0)
    dz, dh_next = np.empty_like(h), np.zeros_like(h0)
    _backward(dh, turned, h, mask, dz, dh_next)
    dz = dz.reshape(N * T, U)
    dx = matmul(dz, kernel, transpose_b=True).reshape(N, T, D)  # (simple_rnn.5)
    dkernel = matmul(x.reshape(N * T, D), dz, transpose_a=True)  # (simple_rnn.6)
    h_prev = previous(h, h0).reshape(N * T, U)
    drecurrent_kernel = matmul(h_prev, dz, transpose_a=True)  # (simple_rnn.7)
    return dx, dkernel, drecurrent_kernel, dz.sum(axis=0), dh_next  # (simple_rnn.8), (simple_rnn.9)


@compiled
def _backward(dh, turned, h, mask, dz, dh_next):
    """Walk back in time; ``turned`` is Rᵀ, and ``dh_next`` ends as the gradient of h_0."""
    N, T, U = h.shape
    for piece in prange(PIECES):  # one thread owns some sequences, as in the forward pass
        first, last = piece * N // PIECES, (piece + 1) * N // PIECES
        for t in range(T - 1, -1, -1):
            for n in range(first, last):
                h_t, dh_t, dz_t, carry = h[n, t], dh[n, t], dz[n, t], dh_next[n]
                for u in range(U):
                    total = dh_t[u] + carry[u]  # (simple_rnn.3)
                    dz_t[u] = total * (1 - h_t[u] * h_t[u]) if mask[n, t] else 0  # (simple_rnn.4)
                    carry[u] = 0 if mask[n, t] else total  # (recurrent.5)
            for k in range(U):
                row = turned[k]
                for n in range(first, last):
                    if mask[n, t]:
                        carry, dz_k = dh_next[n], dz[n, t, k]
                        for u in range(U):
                            carry[u] += dz_k * row[u]  # (simple_rnn.3)


# --- the table -------------------------------------------------------------------------------------------

simple_rnn_forward = Op(
    reference=simple_rnn_forward_reference,
    loops=partial(_forward_with, matmul_loops),
    tiled=partial(_forward_with, matmul_tiled),
)
simple_rnn_backward = Op(
    reference=simple_rnn_backward_reference,
    loops=partial(_backward_with, matmul_loops),
    tiled=partial(_backward_with, matmul_tiled),
)
