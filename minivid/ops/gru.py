"""Gated recurrent unit: a recurrent network with two gates and no separate cell state.

    a_t  = x_t W + b[0]                            (gru.1)      columns of W, R and b in three slots: z, r, h~
    g_t  = h_{t−1} R + b[1]                        (gru.2)
    z_t  = σ(a_t + g_t of slot z)                  (gru.3)      update gate: what to keep
    r_t  = σ(a_t + g_t of slot r)                  (gru.4)      reset gate: what the candidate may see
    h~_t = tanh(a_t + r_t ∘ g_t of slot h~)        (gru.5)      candidate
    h_t  = z_t ∘ h_{t−1} + (1 − z_t) ∘ h~_t        (gru.6)
    h_t  = h_{t−1}   where the mask is False       (recurrent.2)

The reset gate acts after the product with R (Keras: ``reset_after=True``), so that one product serves all slots.

    δh_t = dh_t + δh_{t+1} ∘ z_{t+1} + dg_{t+1} Rᵀ           (gru.7)    dh_t alone at t = T
    da_t of slot z  = δh_t ∘ (h_{t−1} − h~_t) ∘ z_t ∘ (1 − z_t)                       (gru.8)
    da_t of slot h~ = δh_t ∘ (1 − z_t) ∘ (1 − h~_t²)                                  (gru.9)
    da_t of slot r  = (da_t of slot h~) ∘ (g_t of slot h~) ∘ r_t ∘ (1 − r_t)          (gru.10)
    dg_t = da_t, but in slot h~ (da_t of slot h~) ∘ r_t                               (gru.11)
    dx_t = da_t Wᵀ                                           (gru.12)
    dW   = Σ_t x_tᵀ da_t                                     (gru.13)
    dR   = Σ_t h_{t−1}ᵀ dg_t                                 (gru.14)
    db   = (Σ_t Σ_n da_t, Σ_t Σ_n dg_t)                      (gru.15)
    dh_0 = δh_1 ∘ z_1 + dg_1 Rᵀ                              (gru.16)

for t = 1..T; step t is stored at index t−1. At a masked step da_t = dg_t = 0, and δh_t goes on to h_{t−1} as it
is (recurrent.5).

    x   (N, T, D)     sequences          W   (D, 3U)   kernel
    h   (N, T, U)     hidden states      R   (U, 3U)   recurrent_kernel
    h_0 (N, U)        initial state      b   (2, 3U)   bias: of the input in row 0, recurrent in row 1

docs/ops/gru.md derives the gradients.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import prange

from minivid import simd
from minivid.backend import Op, xp_of
from minivid.cuda import launch
from minivid.jit import PIECES, compiled, inner
from minivid.memory import empty, zeros
from minivid.ops.activations import sigmoid_forward_reference as sigmoid
from minivid.ops.matmul import matmul, matmul_loops, matmul_tiled, sums_of_columns
from minivid.ops.recurrent import (
    add_product,
    add_row,
    backward_grid,
    check_shapes,
    clear_row,
    contiguous,
    copy_row,
    counters_of,
    exchange_of,
    forward_grid,
    is_small,
    mask_or_all,
    or_zeros,
    parts_of,
    per_unit,
    previous,
    shares,
    sizes_of,
)
from minivid.ops.tile import column_sums, packed
from minivid.simd import load_part, prefetch, store_part, width

__all__ = ["GRUCache", "gru_backward", "gru_forward"]


class GRUCache(NamedTuple):
    """What the forward pass of a GRU saves, the same in every implementation; zeros at masked steps.

    Attributes
    ----------
    gates : (N, T, 3U) array
        z, r and h~ of every step, after their nonlinearities.
    g_h : (N, T, U) array
        Slot h~ of g, equation (gru.2): what the reset gate multiplies.
    """

    gates: np.ndarray
    g_h: np.ndarray


# --- reference: the equations, step by step --------------------------------------------------------------


def gru_forward_reference(
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> tuple[np.ndarray, GRUCache]:
    """Run a GRU over sequences, equations (gru.1) to (gru.6).

    Parameters
    ----------
    x : (N, T, D) array
        Sequences.
    kernel : (D, 3U) array
        Weights of the input, in slots z, r, h~.
    recurrent_kernel : (U, 3U) array
        Weights of the previous hidden state, in the same slots.
    bias : (2, 3U) array, optional
        Biases of the input (row 0) and of the recurrent product (row 1); none means zero.
    h0 : (N, U) array, optional
        Initial hidden state; none means zero.
    mask : (N, T) array of bool, optional
        False where a step is padding and the state is kept; none means that every step is real.

    Returns
    -------
    h : (N, T, U) array
        Hidden states of all steps: the output.
    cache : GRUCache
        What the backward pass needs besides.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Notes
    -----
    Cho et al., arXiv:1406.1078, with the reset gate after the product; weights as in Keras (``reset_after=True``).

    Examples
    --------
    >>> import numpy as np
    >>> h, cache = gru_forward(np.ones((1, 2, 1)), np.zeros((1, 3)), np.zeros((1, 3)), h0=np.ones((1, 1)))
    >>> h.ravel(), cache.gates[0, 0]
    (array([0.5 , 0.25]), array([0.5, 0.5, 0. ]))
    """
    N, T, D, U = sizes_of("gru", 3, x, kernel, recurrent_kernel)
    check_shapes("gru", bias=(bias, (2, 3 * U)), h0=(h0, (N, U)))
    mask = mask_or_all("gru", mask, N, T)
    bias = or_zeros(bias, (2, 3 * U), like=x)
    h_prev = or_zeros(h0, (N, U), like=x)
    steps = []
    for t in range(T):
        real = mask[:, t, None]
        a_z, a_r, a_h = np.split(x[:, t] @ kernel + bias[0], 3, axis=1)  # (gru.1)
        g_z, g_r, g_h = np.split(h_prev @ recurrent_kernel + bias[1], 3, axis=1)  # (gru.2)
        z, r = sigmoid(a_z + g_z), sigmoid(a_r + g_r)  # (gru.3), (gru.4)
        h_tilde = np.tanh(a_h + r * g_h)  # (gru.5)
        h_prev = np.where(real, z * h_prev + (1 - z) * h_tilde, h_prev)  # (gru.6), (recurrent.2)
        gates = np.concatenate([z, r, h_tilde], axis=1)
        steps.append((h_prev, np.where(real, gates, 0), np.where(real, g_h, 0)))
    h, gates, g_h = (np.stack(arrays, axis=1) for arrays in zip(*steps, strict=True))
    return h, GRUCache(gates, g_h)


def gru_backward_reference(
    dh: np.ndarray,
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    h: np.ndarray,
    cache: GRUCache,
    h0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Backpropagation through time of a GRU, equations (gru.7) to (gru.16).

    Parameters
    ----------
    dh : (N, T, U) array
        Gradient with respect to the hidden states of all steps; zero where a state is not used further.
    x, kernel, recurrent_kernel, h0, mask
        As in the forward pass.
    h, cache
        What the forward pass returned.

    Returns
    -------
    dx : (N, T, D) array
    dkernel : (D, 3U) array
    drecurrent_kernel : (U, 3U) array
    dbias : (2, 3U) array
    dh0 : (N, U) array

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, r = np.ones((1, 2, 1)), np.zeros((1, 3)), np.zeros((1, 3))
    >>> h, cache = gru_forward(x, w, r)
    >>> gradients = gru_backward(np.array([[[0.0], [8.0]]]), x, w, r, h, cache)
    >>> gradients[-1]  # 8 through z = 1/2 twice
    array([[2.]])
    """
    N, T, D, U = sizes_of("gru", 3, x, kernel, recurrent_kernel)
    _check_backward(dh, h, cache, h0, (N, T, U))
    mask = mask_or_all("gru", mask, N, T)
    h0 = or_zeros(h0, (N, U), like=h)
    dx, dkernel, drecurrent_kernel = np.zeros_like(x), np.zeros_like(kernel), np.zeros_like(recurrent_kernel)
    dbias = np.zeros_like(np.stack([kernel[0], kernel[0]]))
    dh_next = np.zeros_like(h0)  # what step t+1 hands back to h_t
    for t in reversed(range(T)):
        real = mask[:, t, None]
        h_prev = h[:, t - 1] if t > 0 else h0
        z, r, h_tilde = np.split(cache.gates[:, t], 3, axis=1)

        dh_t = dh[:, t] + dh_next  # (gru.7)
        da_z = dh_t * (h_prev - h_tilde) * z * (1 - z)  # (gru.8)
        da_h = dh_t * (1 - z) * (1 - h_tilde**2)  # (gru.9)
        da_r = da_h * cache.g_h[:, t] * r * (1 - r)  # (gru.10)
        da = np.where(real, np.concatenate([da_z, da_r, da_h], axis=1), 0)
        dg = np.where(real, np.concatenate([da_z, da_r, da_h * r], axis=1), 0)  # (gru.11)

        dx[:, t] = da @ kernel.T  # (gru.12)
        dkernel += x[:, t].T @ da  # (gru.13)
        drecurrent_kernel += h_prev.T @ dg  # (gru.14)
        dbias += np.stack([da.sum(axis=0), dg.sum(axis=0)])  # (gru.15)
        dh_next = np.where(real, dh_t * z + dg @ recurrent_kernel.T, dh_t)  # (gru.7), (recurrent.5)
    return dx, dkernel, drecurrent_kernel, dbias, dh_next  # (gru.16)


def _check_backward(dh, h, cache, h0, shape) -> None:
    N, T, U = shape
    check_shapes("gru", dh=(dh, shape), h=(h, shape), h0=(h0, (N, U)))
    check_shapes("gru", gates=(cache.gates, (N, T, 3 * U)), g_h=(cache.g_h, shape))


# --- CPU: the same loops, compiled; the products that need no state are taken over all steps at once --------


def _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask):
    """Check the arguments of `gru_forward`; return them all as contiguous arrays."""
    N, T, D, U = sizes_of("gru", 3, x, kernel, recurrent_kernel)
    check_shapes("gru", bias=(bias, (2, 3 * U)), h0=(h0, (N, U)))
    bias, h0 = or_zeros(bias, (2, 3 * U), like=x), or_zeros(h0, (N, U), like=x)
    return *contiguous(x, kernel, recurrent_kernel, bias, h0), mask_or_all("gru", mask, N, T, like=x)


def gru_forward_loops(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `gru_forward`."""
    x, kernel, recurrent_kernel, bias, h0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    gates = (matmul_loops(x.reshape(N * T, D), kernel) + bias[0]).reshape(N, T, 3 * U)  # (gru.1)
    h, g_h = (np.empty((N, T, U), dtype=x.dtype) for _ in range(2))
    g = np.empty((N, 3 * U), dtype=x.dtype)
    _forward(gates, recurrent_kernel, bias[1], h0, mask, g, h, g_h)
    return h, GRUCache(gates, g_h)


@compiled
def _forward(gates, recurrent_kernel, recurrent_bias, h0, mask, g, h, g_h):
    """Walk forward in time; ``gates`` holds x W + b[0] at first and the gates at the end, ``g`` one step."""
    N, T, U = h.shape
    for piece in prange(PIECES):  # one thread owns some sequences and walks all their steps: no barrier
        first, last = piece * N // PIECES, (piece + 1) * N // PIECES
        for t in range(T):
            for n in range(first, last):
                for j in range(3 * U):
                    g[n, j] = recurrent_bias[j]
            for k in range(U):
                row = recurrent_kernel[k]  # serves all sequences of the piece while it is in the cache
                for n in range(first, last):
                    g_t = g[n]
                    h_k = h0[n, k] if t == 0 else h[n, t - 1, k]
                    for j in range(3 * U):
                        g_t[j] += h_k * row[j]  # (gru.2)
            for n in range(first, last):
                h_prev = h0[n] if t == 0 else h[n, t - 1]
                a, g_t, h_t, g_h_t = gates[n, t], g[n], h[n, t], g_h[n, t]
                if not mask[n, t]:
                    for u in range(U):  # Numba loses a[:] = 0 inside this prange
                        h_t[u], g_h_t[u] = h_prev[u], 0  # (recurrent.2)
                        a[u] = a[U + u] = a[2 * U + u] = 0
                    continue
                for u in range(U):
                    z = 1 / (1 + math.exp(-a[u] - g_t[u]))  # (gru.3)
                    r = 1 / (1 + math.exp(-a[U + u] - g_t[U + u]))  # (gru.4)
                    h_tilde = math.tanh(a[2 * U + u] + r * g_t[2 * U + u])  # (gru.5)
                    h_t[u] = z * h_prev[u] + (1 - z) * h_tilde  # (gru.6)
                    a[u], a[U + u], a[2 * U + u], g_h_t[u] = z, r, h_tilde, g_t[2 * U + u]


def _backward_arrays(dh, x, kernel, recurrent_kernel, h, cache, h0, mask):
    """Check the arguments of `gru_backward`; return them all as contiguous arrays."""
    N, T, D, U = sizes_of("gru", 3, x, kernel, recurrent_kernel)
    _check_backward(dh, h, cache, h0, (N, T, U))
    h0 = or_zeros(h0, (N, U), like=h)
    return *contiguous(dh, x, kernel, recurrent_kernel, h, *cache, h0), mask_or_all("gru", mask, N, T, like=x)


def gru_backward_loops(dh, x, kernel, recurrent_kernel, h, cache, h0=None, mask=None):
    """See `gru_backward`."""
    dh, x, kernel, recurrent_kernel, h, gates, g_h, h0, mask = _backward_arrays(
        dh, x, kernel, recurrent_kernel, h, cache, h0, mask
    )
    (N, T, D), U = x.shape, len(recurrent_kernel)
    turned = np.ascontiguousarray(recurrent_kernel.T)
    da, dg, dh_next = np.empty_like(gates), np.empty_like(gates), np.zeros_like(h0)
    _backward(dh, turned, gates, g_h, h, h0, mask, da, dg, dh_next)
    da, dg = da.reshape(N * T, 3 * U), dg.reshape(N * T, 3 * U)
    dx = matmul_loops(da, kernel, transpose_b=True).reshape(N, T, D)  # (gru.12)
    dkernel = matmul_loops(x.reshape(N * T, D), da, transpose_a=True)  # (gru.13)
    h_prev = previous(h, h0).reshape(N * T, U)
    drecurrent_kernel = matmul_loops(h_prev, dg, transpose_a=True)  # (gru.14)
    dbias = np.stack([da.sum(axis=0), dg.sum(axis=0)])  # (gru.15)
    return dx, dkernel, drecurrent_kernel, dbias, dh_next  # (gru.16)


@compiled
def _backward(dh, turned, gates, g_h, h, h0, mask, da, dg, dh_next):
    """Walk back in time; ``turned`` is Rᵀ, and ``dh_next`` ends as the gradient of h_0."""
    N, T, U = h.shape
    for piece in prange(PIECES):  # one thread owns some sequences, as in the forward pass
        first, last = piece * N // PIECES, (piece + 1) * N // PIECES
        for t in range(T - 1, -1, -1):
            for n in range(first, last):
                h_prev = h0[n] if t == 0 else h[n, t - 1]
                dh_t, gate, g_h_t = dh[n, t], gates[n, t], g_h[n, t]
                da_t, dg_t, carry = da[n, t], dg[n, t], dh_next[n]
                for u in range(U):
                    carry[u] += dh_t[u]  # (gru.7)
                if not mask[n, t]:
                    for j in range(3 * U):
                        da_t[j], dg_t[j] = 0, 0  # (recurrent.5)
                    continue
                for u in range(U):
                    z, r, h_tilde = gate[u], gate[U + u], gate[2 * U + u]
                    da_z = carry[u] * (h_prev[u] - h_tilde) * z * (1 - z)  # (gru.8)
                    da_h = carry[u] * (1 - z) * (1 - h_tilde * h_tilde)  # (gru.9)
                    da_r = da_h * g_h_t[u] * r * (1 - r)  # (gru.10)
                    da_t[u], da_t[U + u], da_t[2 * U + u] = da_z, da_r, da_h
                    dg_t[u], dg_t[U + u], dg_t[2 * U + u] = da_z, da_r, da_h * r  # (gru.11)
                    carry[u] *= z  # (gru.7)
            for j in range(3 * U):
                row = turned[j]
                for n in range(first, last):
                    if mask[n, t]:
                        carry, dg_j = dh_next[n], dg[n, t, j]
                        for u in range(U):
                            carry[u] += dg_j * row[u]  # (gru.7)


# --- CPU: the recurrence on vectors; thread, row and step as in the loops ------------------------------------------


def gru_forward_tiled(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `gru_forward`."""
    x, kernel, recurrent_kernel, bias, h0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    gates = matmul_tiled(x.reshape(N * T, D), kernel)  # (N·T, 3U)
    h, g_h = empty((N, T, U), x.dtype), empty((N, T, U), x.dtype)
    w = packed(recurrent_kernel[None], x.dtype, vectors=2)
    g = zeros((N, w.padded), x.dtype)
    flat = (array.reshape(-1) for array in (gates, h, g_h, h0.copy(), g, bias))
    _forward_tiled(*flat, mask, w.blocks, shares(N))
    return h, GRUCache(gates.reshape(N, T, 3 * U), g_h)


@compiled
def _forward_tiled(gates, h, g_h, state, g, bias, mask, w, pieces):
    N = len(mask)
    for piece in prange(pieces):  # one thread owns some sequences and walks all their steps: no barrier
        first, last = piece * N // pieces, (piece + 1) * N // pieces
        _walk_forward(gates, h, g_h, state, g, bias, mask, w, first, last)


@inner
def _walk_forward(gates, h, g_h, state, g, bias, mask, w, first, last):
    """Walk the sequences from first to last forward in time.

    ``gates`` holds x W at first and the gates at the end, ``state`` (N, U) the hidden states of the step.
    """
    (N, T), U = mask.shape, len(bias) // 6
    padded = len(g) // N
    for t in range(T):
        for n in range(first, last):
            at = n * T + t
            copy_row(bias, 3 * U, g, n * padded, 3 * U)
            prefetch(gates, at * 3 * U, 3 * U)  # while the product runs
            prefetch(h, at * U, U)
            prefetch(g_h, at * U, U)
        add_product(state, U, 0, U, w, 3 * U, g, padded, first, last)  # (gru.2)
        for n in range(first, last):
            at = n * T + t
            if mask[n, t]:
                _cell(gates, h, g_h, at, state, n, g, n * padded, bias, U)
            else:
                clear_row(gates, at * 3 * U, 3 * U)
                clear_row(g_h, at * U, U)
                copy_row(state, n * U, h, at * U, U)  # (recurrent.2)


@inner
def _cell(gates, h, g_h, at, state, n, g, row, bias, U):
    """Compute the gates and the state of one sequence at one step, a vector of units at a time."""
    V, whole = width(g), U // width(g) * width(g)
    for u in range(0, whole, V):
        _units(gates, h, g_h, at, state, n, g, row, bias, U, u, V)
    if whole < U:
        _units(gates, h, g_h, at, state, n, g, row, bias, U, whole, U - whole)


@inner(forceinline=True)
def _units(gates, h, g_h, at, state, n, g, row, bias, U, u, left):
    """Compute ``left`` units, a constant where that is a whole vector."""
    z_at = at * 3 * U + u
    r_at, h_at = z_at + U, z_at + 2 * U
    a_z = load_part(gates, z_at, left) + load_part(bias, u, left)  # (gru.1)
    a_r = load_part(gates, r_at, left) + load_part(bias, U + u, left)
    a_h = load_part(gates, h_at, left) + load_part(bias, 2 * U + u, left)
    g_h_t = load_part(g, row + 2 * U + u, left)
    z = simd.sigmoid(a_z + load_part(g, row + u, left))  # (gru.3)
    r = simd.sigmoid(a_r + load_part(g, row + U + u, left))  # (gru.4)
    h_tilde = simd.tanh(a_h + r * g_h_t)  # (gru.5)
    h_t = z * load_part(state, n * U + u, left) + (1 - z) * h_tilde  # (gru.6)
    store_part(h, at * U + u, h_t, left)
    store_part(state, n * U + u, h_t, left)
    store_part(g_h, at * U + u, g_h_t, left)
    store_part(gates, z_at, z, left)
    store_part(gates, r_at, r, left)
    store_part(gates, h_at, h_tilde, left)


def gru_backward_tiled(dh, x, kernel, recurrent_kernel, h, cache, h0=None, mask=None):
    """See `gru_backward`."""
    dh, x, kernel, recurrent_kernel, h, gates, g_h, h0, mask = _backward_arrays(
        dh, x, kernel, recurrent_kernel, h, cache, h0, mask
    )
    (N, T, D), U = x.shape, len(recurrent_kernel)
    da, dg = empty((N * T, 3 * U), x.dtype), empty((N * T, 3 * U), x.dtype)
    w = packed(recurrent_kernel[None], x.dtype, transpose=True, vectors=2)
    dh_next = zeros((N, w.padded), x.dtype)
    flat = (array.reshape(-1) for array in (da, dg, dh, gates, g_h, h, h0, dh_next))
    _backward_tiled(*flat, mask, w.blocks, U, shares(N))
    dx = matmul_tiled(da, kernel, transpose_b=True).reshape(N, T, D)  # (gru.12)
    dkernel = matmul_tiled(x.reshape(N * T, D), da, transpose_a=True)  # (gru.13)
    h_prev = previous(h, h0).reshape(N * T, U)
    drecurrent_kernel = matmul_tiled(h_prev, dg, transpose_a=True)  # (gru.14)
    dbias = np.stack([column_sums(da), column_sums(dg)])  # (gru.15)
    return dx, dkernel, drecurrent_kernel, dbias, np.ascontiguousarray(dh_next[:, :U])  # (gru.16)


@compiled
def _backward_tiled(da, dg, dh, gates, g_h, h, h0, dh_next, mask, w, U, pieces):
    N = len(mask)
    for piece in prange(pieces):  # one thread owns some sequences, as in the forward pass
        first, last = piece * N // pieces, (piece + 1) * N // pieces
        _walk_back(da, dg, dh, gates, g_h, h, h0, dh_next, mask, w, U, first, last)


@inner
def _walk_back(da, dg, dh, gates, g_h, h, h0, dh_next, mask, w, U, first, last):
    """Walk back in time; ``dh_next`` (N, padded) ends as the gradient of h_0."""
    N, T = mask.shape
    padded = len(dh_next) // N
    for t in range(T - 1, -1, -1):
        for n in range(first, last):
            at, row = n * T + t, n * padded
            add_row(dh, at * U, dh_next, row, U)  # (gru.7)
            if mask[n, t]:
                if t == 0:  # a variable that is h0 or h would be counted as a reference anew for each sequence
                    _cell_back(da, dg, dh_next, row, gates, g_h, at, h0, n * U, U)
                else:
                    _cell_back(da, dg, dh_next, row, gates, g_h, at, h, (at - 1) * U, U)
            else:
                clear_row(da, at * 3 * U, 3 * U)  # (recurrent.5)
                clear_row(dg, at * 3 * U, 3 * U)
            if t > 0:
                prefetch(gates, (at - 1) * 3 * U, 3 * U)  # while the product runs
                prefetch(da, (at - 1) * 3 * U, 3 * U)
                prefetch(dg, (at - 1) * 3 * U, 3 * U)
                prefetch(g_h, (at - 1) * U, U)
                prefetch(dh, (at - 1) * U, U)
            if t > 1:
                prefetch(h, (at - 2) * U, U)
        add_product(dg, T * 3 * U, t * 3 * U, 3 * U, w, U, dh_next, padded, first, last)  # (gru.7)


@inner
def _cell_back(da, dg, dh_next, row, gates, g_h, at, h_prev, before, U):
    """Compute da and dg of one sequence at one step, a vector of units at a time."""
    V, whole = width(da), U // width(da) * width(da)
    for u in range(0, whole, V):
        _units_back(da, dg, dh_next, row, gates, g_h, at, h_prev, before, U, u, V)
    if whole < U:
        _units_back(da, dg, dh_next, row, gates, g_h, at, h_prev, before, U, whole, U - whole)


@inner(forceinline=True)
def _units_back(da, dg, dh_next, row, gates, g_h, at, h_prev, before, U, u, left):
    """Compute ``left`` units, a constant where that is a whole vector."""
    z_at = at * 3 * U + u
    r_at, h_at = z_at + U, z_at + 2 * U
    z, r, h_tilde = load_part(gates, z_at, left), load_part(gates, r_at, left), load_part(gates, h_at, left)
    dh_t = load_part(dh_next, row + u, left)
    da_z = dh_t * (load_part(h_prev, before + u, left) - h_tilde) * z * (1 - z)  # (gru.8)
    da_h = dh_t * (1 - z) * (1 - h_tilde * h_tilde)  # (gru.9)
    da_r = da_h * load_part(g_h, at * U + u, left) * r * (1 - r)  # (gru.10)
    store_part(da, z_at, da_z, left)
    store_part(da, r_at, da_r, left)
    store_part(da, h_at, da_h, left)
    store_part(dg, z_at, da_z, left)  # (gru.11)
    store_part(dg, r_at, da_r, left)
    store_part(dg, h_at, da_h * r, left)
    store_part(dh_next, row + u, dh_t * z, left)  # (gru.7)


# --- CPU: the faster of the two -------------------------------------------------------------------------------------


def gru_forward_cpu(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `gru_forward`."""
    run = gru_forward_loops if is_small(x, kernel, recurrent_kernel) else gru_forward_tiled
    return run(x, kernel, recurrent_kernel, bias, h0, mask)


def gru_backward_cpu(dh, x, kernel, recurrent_kernel, h, cache, h0=None, mask=None):
    """See `gru_backward`."""
    run = gru_backward_loops if is_small(x, kernel, recurrent_kernel) else gru_backward_tiled
    return run(dh, x, kernel, recurrent_kernel, h, cache, h0, mask)


# --- GPU: kernels/gru.cu -------------------------------------------------------------------------------------------


def gru_forward_gpu_1(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `gru_forward`. The equations as they stand, one launch per time step."""
    inputs = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    x, (N, T, D), U, xp = inputs[0], inputs[0].shape, len(recurrent_kernel), xp_of(x)
    h, gates, g_h = (xp.empty((N, T, slots * U), x.dtype) for slots in (1, 3, 1))
    for t in range(T):
        launch("gru", "gru_forward_1", *per_unit("gru", h), *inputs, h, gates, g_h, t, N, T, D, U)
    return h, GRUCache(gates, g_h)


def gru_forward_gpu_2(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `gru_forward`. Matrix products, and one launch for the rest of each time step."""
    x, kernel, recurrent_kernel, bias, h0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    (N, T, D), U, xp = x.shape, len(recurrent_kernel), xp_of(x)
    gates = matmul(x.reshape(N * T, D), kernel).reshape(N, T, 3 * U)  # x W of all steps, which the gates replace
    h, g_h, h_prev = xp.empty((N, T, U), x.dtype), xp.empty((N, T, U), x.dtype), h0.copy()
    for t in range(T):
        product = matmul(h_prev, recurrent_kernel)  # (N, 3U)
        launch("gru", "gru_forward_2", *per_unit("gru", h), product, bias, mask, h_prev, h, gates, g_h, t, N, T, U)
    return h, GRUCache(gates, g_h)


def gru_forward_gpu(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `gru_forward`. One launch for all time steps if the recurrent weights fit, otherwise version 2."""
    x, kernel, recurrent_kernel, bias, h0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    (N, T, D), U, xp = x.shape, len(recurrent_kernel), xp_of(x)
    grid = forward_grid("gru", N, U, like=x)
    if grid is None:
        return gru_forward_gpu_2(x, kernel, recurrent_kernel, bias, h0, mask)
    gates = matmul(x.reshape(N * T, D), kernel).reshape(N, T, 3 * U)  # x W of all steps, which the gates replace
    h, g_h = xp.empty((N, T, U), x.dtype), xp.empty((N, T, U), x.dtype)
    exchange, counters = exchange_of("gru", N, U, like=x), counters_of("gru", grid, like=x)
    arrays = recurrent_kernel, bias, h0, mask, exchange, counters, h, gates, g_h
    how = {"shared": grid.shared, "cooperative": True}
    launch("gru", "gru_forward_3", grid.blocks, grid.threads, *arrays, N, T, U, **how)
    return h, GRUCache(gates, g_h)


def gru_backward_gpu_1(dh, x, kernel, recurrent_kernel, h, cache, h0=None, mask=None):
    """See `gru_backward`. The equations of the time steps as they stand, one launch for each."""
    dh, x, kernel, recurrent_kernel, h, gates, g_h, h0, mask = _backward_arrays(
        dh, x, kernel, recurrent_kernel, h, cache, h0, mask
    )
    (N, T, U), xp = h.shape, xp_of(h)
    da, dg, dh0 = xp.empty_like(gates), xp.empty_like(gates), xp.zeros_like(h0)
    for t in range(T - 1, -2, -1):  # t = -1 finishes the gradient of the initial state
        arrays = dh, recurrent_kernel, gates, g_h, h, h0, mask, da, dg, dh0
        launch("gru", "gru_backward_1", *per_unit("gru", h), *arrays, t, N, T, U)
    return *_weight_gradients(da, dg, x, kernel, h, h0), dh0  # (gru.16)


def _weight_gradients(da, dg, x, kernel, h, h0):
    """Return dx, dW, dR and db from da and dg of all steps: large products, which need no order of time."""
    (N, T, D), U, xp = x.shape, h.shape[2], xp_of(x)
    da, dg = da.reshape(N * T, 3 * U), dg.reshape(N * T, 3 * U)
    dx = matmul(da, kernel, transpose_b=True).reshape(N, T, D)  # (gru.12)
    dkernel = matmul(x.reshape(N * T, D), da, transpose_a=True)  # (gru.13)
    drecurrent_kernel = matmul(previous(h, h0).reshape(N * T, U), dg, transpose_a=True)  # (gru.14)
    return dx, dkernel, drecurrent_kernel, xp.stack([sums_of_columns(da), sums_of_columns(dg)])  # (gru.15)


def gru_backward_gpu_2(dh, x, kernel, recurrent_kernel, h, cache, h0=None, mask=None):
    """See `gru_backward`. A matrix product, and one launch for the rest of each time step."""
    dh, x, kernel, recurrent_kernel, h, gates, g_h, h0, mask = _backward_arrays(
        dh, x, kernel, recurrent_kernel, h, cache, h0, mask
    )
    (N, T, U), xp = h.shape, xp_of(h)
    da, dg, dg_t = xp.empty_like(gates), xp.empty_like(gates), xp.empty((N, 3 * U), h.dtype)
    dh0, product = xp.zeros_like(h0), xp.zeros_like(h0)
    for t in range(T - 1, -1, -1):
        arrays = product, dh, gates, g_h, h, h0, mask, da, dg, dg_t, dh0
        launch("gru", "gru_backward_2", *per_unit("gru", h), *arrays, t, N, T, U)
        product = matmul(dg_t, recurrent_kernel, transpose_b=True)  # (N, U)
    return *_weight_gradients(da, dg, x, kernel, h, h0), dh0 + product  # (gru.16)


def gru_backward_gpu(dh, x, kernel, recurrent_kernel, h, cache, h0=None, mask=None):
    """See `gru_backward`. One launch for all time steps if the recurrent weights fit, otherwise version 2."""
    dh, x, kernel, recurrent_kernel, h, gates, g_h, h0, mask = _backward_arrays(
        dh, x, kernel, recurrent_kernel, h, cache, h0, mask
    )
    (N, T, U), xp = h.shape, xp_of(h)
    grid = backward_grid("gru", N, U, like=h)
    if grid is None:
        return gru_backward_gpu_2(dh, x, kernel, recurrent_kernel, h, GRUCache(gates, g_h), h0, mask)
    da, dg, dh0 = xp.empty_like(gates), xp.empty_like(gates), xp.zeros_like(h0)
    parts, counters = parts_of("gru", N, U, like=h), counters_of("gru", grid, like=h)
    arrays = dh, recurrent_kernel, gates, g_h, h, h0, mask, parts, counters, da, dg, dh0
    how = {"shared": grid.shared, "cooperative": True}
    launch("gru", "gru_backward_3", grid.blocks, grid.threads, *arrays, N, T, U, **how)
    return *_weight_gradients(da, dg, x, kernel, h, h0), dh0  # (gru.16)


# --- the table -------------------------------------------------------------------------------------------

gru_forward = Op(
    reference=gru_forward_reference,
    loops=gru_forward_loops,
    tiled=gru_forward_tiled,
    cpu=gru_forward_cpu,
    gpu_1=gru_forward_gpu_1,
    gpu_2=gru_forward_gpu_2,
    gpu=gru_forward_gpu,
)
gru_backward = Op(
    reference=gru_backward_reference,
    loops=gru_backward_loops,
    tiled=gru_backward_tiled,
    cpu=gru_backward_cpu,
    gpu_1=gru_backward_gpu_1,
    gpu_2=gru_backward_gpu_2,
    gpu=gru_backward_gpu,
)
