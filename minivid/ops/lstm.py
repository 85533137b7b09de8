"""Long short-term memory: a recurrent network that decides what to keep, what to add and what to show.

    z_t  = x_t W + h_{t−1} R + b          (lstm.1)      columns of W, R and b in four slots: i, f, C~, o
    i_t  = σ(z_t of slot i)               (lstm.2)      input gate: what to add
    f_t  = σ(z_t of slot f)               (lstm.3)      forget gate: what to keep
    C~_t = tanh(z_t of slot C~)           (lstm.4)      candidate
    o_t  = σ(z_t of slot o)               (lstm.5)      output gate: what to show
    c_t  = f_t ∘ c_{t−1} + i_t ∘ C~_t     (lstm.6)
    h_t  = o_t ∘ tanh(c_t)                (lstm.7)
    h_t  = h_{t−1} and c_t = c_{t−1}      (recurrent.2) where the mask is False

In the notation of textbooks, with a matrix of its own per gate, i_t = σ(W_xi x_t + W_hi h_{t−1} + b_i), and alike
for f, C and o. Here sequences are rows, so W_xiᵀ = W[:, 0:U], W_xfᵀ = W[:, U:2U], W_xCᵀ = W[:, 2U:3U] and
W_xoᵀ = W[:, 3U:4U]; the same columns of R are W_hiᵀ ..., those of b are b_i ... One product computes all gates.

    δh_t = dh_t + dz_{t+1} Rᵀ                                                (lstm.8)    dh_t alone at t = T
    δc_t = dc_t + δc_{t+1} ∘ f_{t+1} + δh_t ∘ o_t ∘ (1 − tanh²(c_t))         (lstm.9)
    dz_t of slot i  = δc_t ∘ C~_t ∘ i_t ∘ (1 − i_t)                          (lstm.10)
    dz_t of slot f  = δc_t ∘ c_{t−1} ∘ f_t ∘ (1 − f_t)                       (lstm.11)
    dz_t of slot C~ = δc_t ∘ i_t ∘ (1 − C~_t²)                               (lstm.12)
    dz_t of slot o  = δh_t ∘ tanh(c_t) ∘ o_t ∘ (1 − o_t)                     (lstm.13)
    dx_t = dz_t Wᵀ                                                           (lstm.14)
    dW   = Σ_t x_tᵀ dz_t                                                     (lstm.15)
    dR   = Σ_t h_{t−1}ᵀ dz_t                                                 (lstm.16)
    db   = Σ_t Σ_n dz_t                                                      (lstm.17)
    dh_0 = dz_1 Rᵀ                                                           (lstm.18)
    dc_0 = δc_1 ∘ f_1                                                        (lstm.19)

for t = 1..T; step t is stored at index t−1. At a masked step dz_t = 0, and δh_t and δc_t (without its last term)
go on to step t−1 as they are (recurrent.5).

    x        (N, T, D)    sequences                      W   (D, 4U)   kernel
    h, c     (N, T, U)    hidden and cell states         R   (U, 4U)   recurrent_kernel
    h_0, c_0 (N, U)       initial states                 b   (4U,)     bias

docs/ops/lstm.md derives the gradients.
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
from minivid.ops.matmul import matmul, matmul_loops, matmul_plus, matmul_tiled, sums_of_columns
from minivid.ops.recurrent import (
    add_product,
    backward_grid,
    check_shapes,
    contiguous,
    counters_of,
    exchange_of,
    forward_grid,
    input_in_step,
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
from minivid.simd import (
    BYTES,
    REGISTERS,
    add_outers,
    full,
    load,
    load_part,
    spaced,
    store,
    store_part,
    tile_load,
    tile_store,
    width,
)

__all__ = ["LSTMCache", "lstm_backward", "lstm_forward"]


class LSTMCache(NamedTuple):
    """What the forward pass of an LSTM saves, the same in every implementation; zeros at masked steps.

    Attributes
    ----------
    gates : (N, T, 4U) array
        i, f, C~ and o of every step, after their nonlinearities.
    tanh_c : (N, T, U) array
        tanh of the cell states.
    """

    gates: np.ndarray
    tanh_c: np.ndarray


# --- reference: the equations, step by step --------------------------------------------------------------


def lstm_forward_reference(
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, LSTMCache]:
    """Run an LSTM over sequences, equations (lstm.1) to (lstm.7).

    Parameters
    ----------
    x : (N, T, D) array
        Sequences.
    kernel : (D, 4U) array
        Weights of the input, in slots i, f, C~, o.
    recurrent_kernel : (U, 4U) array
        Weights of the previous hidden state, in the same slots.
    bias : (4U,) array, optional
        Biases; none means zero.
    h0, c0 : (N, U) array, optional
        Initial hidden and cell state; none means zero.
    mask : (N, T) array of bool, optional
        False where a step is padding and the states are kept; none means that every step is real.

    Returns
    -------
    h : (N, T, U) array
        Hidden states of all steps: the output.
    c : (N, T, U) array
        Cell states of all steps.
    cache : LSTMCache
        What the backward pass needs besides.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Notes
    -----
    Hochreiter & Schmidhuber, Neural Computation 9(8), 1997, with the forget gate of Gers, Schmidhuber & Cummins,
    Neural Computation 12(10), 2000. No peepholes; weights as in Keras.

    Examples
    --------
    >>> import numpy as np
    >>> h, c, cache = lstm_forward(np.ones((1, 2, 1)), np.zeros((1, 4)), np.zeros((1, 4)), c0=np.ones((1, 1)))
    >>> c.ravel(), cache.gates[0, 0]
    (array([0.5 , 0.25]), array([0.5, 0.5, 0. , 0.5]))
    """
    N, T, D, U = sizes_of("lstm", 4, x, kernel, recurrent_kernel)
    check_shapes("lstm", bias=(bias, (4 * U,)), h0=(h0, (N, U)), c0=(c0, (N, U)))
    mask = mask_or_all("lstm", mask, N, T)
    bias = or_zeros(bias, (4 * U,), like=x)
    h_prev, c_prev = or_zeros(h0, (N, U), like=x), or_zeros(c0, (N, U), like=x)
    steps = []
    for t in range(T):
        real = mask[:, t, None]
        z = x[:, t] @ kernel + h_prev @ recurrent_kernel + bias  # (lstm.1)
        z_i, z_f, z_c, z_o = np.split(z, 4, axis=1)
        i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)  # (lstm.2), (lstm.3), (lstm.5)
        c_tilde = np.tanh(z_c)  # (lstm.4)
        c_prev = np.where(real, f * c_prev + i * c_tilde, c_prev)  # (lstm.6), (recurrent.2)
        tanh_c = np.tanh(c_prev)
        h_prev = np.where(real, o * tanh_c, h_prev)  # (lstm.7), (recurrent.2)
        gates = np.concatenate([i, f, c_tilde, o], axis=1)
        steps.append((h_prev, c_prev, np.where(real, gates, 0), np.where(real, tanh_c, 0)))
    h, c, gates, tanh_c = (np.stack(arrays, axis=1) for arrays in zip(*steps, strict=True))
    return h, c, LSTMCache(gates, tanh_c)


def lstm_backward_reference(
    dh: np.ndarray,
    dc: np.ndarray | None,
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    h: np.ndarray,
    c: np.ndarray,
    cache: LSTMCache,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Backpropagation through time of an LSTM, equations (lstm.8) to (lstm.19).

    Parameters
    ----------
    dh : (N, T, U) array
        Gradient with respect to the hidden states of all steps; zero where a state is not used further.
    dc : (N, T, U) array, optional
        Gradient with respect to the cell states of all steps; none means zero.
    x, kernel, recurrent_kernel, h0, c0, mask
        As in the forward pass.
    h, c, cache
        What the forward pass returned.

    Returns
    -------
    dx : (N, T, D) array
    dkernel : (D, 4U) array
    drecurrent_kernel : (U, 4U) array
    dbias : (4U,) array
    dh0, dc0 : (N, U) array

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> x, w, r, c0 = np.ones((1, 2, 1)), np.zeros((1, 4)), np.zeros((1, 4)), np.zeros((1, 1))
    >>> h, c, cache = lstm_forward(x, w, r, c0=c0)
    >>> gradients = lstm_backward(np.array([[[0.0], [8.0]]]), None, x, w, r, h, c, cache, c0=c0)
    >>> gradients[-1]  # 8 through o = 1/2, then through f = 1/2 twice
    array([[1.]])
    """
    N, T, D, U = sizes_of("lstm", 4, x, kernel, recurrent_kernel)
    _check_backward(dh, dc, h, c, cache, h0, c0, (N, T, U))
    mask = mask_or_all("lstm", mask, N, T)
    h0, c0, dc = or_zeros(h0, (N, U), like=h), or_zeros(c0, (N, U), like=h), or_zeros(dc, (N, T, U), like=dh)
    dx, dkernel, drecurrent_kernel = np.zeros_like(x), np.zeros_like(kernel), np.zeros_like(recurrent_kernel)
    dbias = np.zeros_like(kernel[0])
    dh_next, dc_next = np.zeros_like(h0), np.zeros_like(c0)  # what step t+1 hands back to h_t and c_t
    for t in reversed(range(T)):
        real = mask[:, t, None]
        h_prev, c_prev = (h[:, t - 1], c[:, t - 1]) if t > 0 else (h0, c0)
        i, f, c_tilde, o = np.split(cache.gates[:, t], 4, axis=1)
        tanh_c = cache.tanh_c[:, t]

        dh_t = dh[:, t] + dh_next  # (lstm.8)
        dc_kept = dc[:, t] + dc_next
        dc_t = dc_kept + dh_t * o * (1 - tanh_c**2)  # (lstm.9)
        dz_i = dc_t * c_tilde * i * (1 - i)  # (lstm.10)
        dz_f = dc_t * c_prev * f * (1 - f)  # (lstm.11)
        dz_c = dc_t * i * (1 - c_tilde**2)  # (lstm.12)
        dz_o = dh_t * tanh_c * o * (1 - o)  # (lstm.13)
        dz = np.where(real, np.concatenate([dz_i, dz_f, dz_c, dz_o], axis=1), 0)

        dx[:, t] = dz @ kernel.T  # (lstm.14)
        dkernel += x[:, t].T @ dz  # (lstm.15)
        drecurrent_kernel += h_prev.T @ dz  # (lstm.16)
        dbias += dz.sum(axis=0)  # (lstm.17)
        dh_next = np.where(real, dz @ recurrent_kernel.T, dh_t)  # (lstm.8), (recurrent.5)
        dc_next = np.where(real, dc_t * f, dc_kept)  # (lstm.9), (recurrent.5)
    return dx, dkernel, drecurrent_kernel, dbias, dh_next, dc_next  # (lstm.18), (lstm.19)


def _check_backward(dh, dc, h, c, cache, h0, c0, shape) -> None:
    N, T, U = shape
    check_shapes("lstm", dh=(dh, shape), dc=(dc, shape), h=(h, shape), c=(c, shape))
    check_shapes("lstm", h0=(h0, (N, U)), c0=(c0, (N, U)))
    check_shapes("lstm", gates=(cache.gates, (N, T, 4 * U)), tanh_c=(cache.tanh_c, shape))


# --- CPU: the same loops, compiled; the products that need no state are taken over all steps at once --------


def _forward_arrays(x, kernel, recurrent_kernel, bias, h0, c0, mask):
    """Check the arguments of `lstm_forward`; return them all as contiguous arrays."""
    N, T, D, U = sizes_of("lstm", 4, x, kernel, recurrent_kernel)
    check_shapes("lstm", bias=(bias, (4 * U,)), h0=(h0, (N, U)), c0=(c0, (N, U)))
    bias = or_zeros(bias, (4 * U,), like=x)
    h0, c0 = or_zeros(h0, (N, U), like=x), or_zeros(c0, (N, U), like=x)
    return *contiguous(x, kernel, recurrent_kernel, bias, h0, c0), mask_or_all("lstm", mask, N, T, like=x)


def lstm_forward_loops(x, kernel, recurrent_kernel, bias=None, h0=None, c0=None, mask=None):
    """See `lstm_forward`."""
    x, kernel, recurrent_kernel, bias, h0, c0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, c0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    gates = (matmul_loops(x.reshape(N * T, D), kernel) + bias).reshape(N, T, 4 * U)
    h, c, tanh_c = (np.empty((N, T, U), dtype=x.dtype) for _ in range(3))
    _forward(gates, recurrent_kernel, h0, c0, mask, h, c, tanh_c)
    return h, c, LSTMCache(gates, tanh_c)


@compiled
def _forward(gates, recurrent_kernel, h0, c0, mask, h, c, tanh_c):
    """Walk forward in time; ``gates`` holds x W + b at first and the gates at the end."""
    N, T, U = h.shape
    for piece in prange(PIECES):  # one thread owns some sequences and walks all their steps: no barrier
        first, last = piece * N // PIECES, (piece + 1) * N // PIECES
        for t in range(T):
            for k in range(U):
                row = recurrent_kernel[k]  # serves all sequences of the piece while it is in the cache
                for n in range(first, last):
                    z = gates[n, t]
                    h_k = h0[n, k] if t == 0 else h[n, t - 1, k]
                    for j in range(4 * U):
                        z[j] += h_k * row[j]  # (lstm.1)
            for n in range(first, last):
                h_prev, c_prev = (h0[n], c0[n]) if t == 0 else (h[n, t - 1], c[n, t - 1])
                z, h_t, c_t, tanh_c_t = gates[n, t], h[n, t], c[n, t], tanh_c[n, t]
                if not mask[n, t]:
                    for u in range(U):  # Numba loses z[:] = 0 inside this prange
                        h_t[u], c_t[u], tanh_c_t[u] = h_prev[u], c_prev[u], 0  # (recurrent.2)
                        z[u] = z[U + u] = z[2 * U + u] = z[3 * U + u] = 0
                    continue
                for u in range(U):
                    i = 1 / (1 + math.exp(-z[u]))  # (lstm.2)
                    f = 1 / (1 + math.exp(-z[U + u]))  # (lstm.3)
                    c_tilde = math.tanh(z[2 * U + u])  # (lstm.4)
                    o = 1 / (1 + math.exp(-z[3 * U + u]))  # (lstm.5)
                    c_t[u] = f * c_prev[u] + i * c_tilde  # (lstm.6)
                    tanh_c_t[u] = math.tanh(c_t[u])
                    h_t[u] = o * tanh_c_t[u]  # (lstm.7)
                    z[u], z[U + u], z[2 * U + u], z[3 * U + u] = i, f, c_tilde, o


def _backward_arrays(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask):
    """Check the arguments of `lstm_backward`; return them all as contiguous arrays, dc (N, 1, U) if there is none."""
    N, T, D, U = sizes_of("lstm", 4, x, kernel, recurrent_kernel)
    _check_backward(dh, dc, h, c, cache, h0, c0, (N, T, U))
    h0, c0 = or_zeros(h0, (N, U), like=h), or_zeros(c0, (N, U), like=h)
    dc = or_zeros(dc, (N, 1, U), like=dh)
    arrays = contiguous(dh, dc, x, kernel, recurrent_kernel, h, c, *cache, h0, c0)
    return *arrays, mask_or_all("lstm", mask, N, T, like=x)


def lstm_backward_loops(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0=None, c0=None, mask=None):
    """See `lstm_backward`."""
    dh, dc, x, kernel, recurrent_kernel, h, c, gates, tanh_c, h0, c0, mask = _backward_arrays(
        dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask
    )
    (N, T, D), U = x.shape, len(recurrent_kernel)
    turned, dc = np.ascontiguousarray(recurrent_kernel.T), np.ascontiguousarray(np.broadcast_to(dc, dh.shape))
    dz, dh_next, dc_next = np.empty_like(gates), np.zeros_like(h0), np.zeros_like(c0)
    _backward(dh, dc, turned, gates, tanh_c, c, c0, mask, dz, dh_next, dc_next)
    dz = dz.reshape(N * T, 4 * U)
    dx = matmul_loops(dz, kernel, transpose_b=True).reshape(N, T, D)  # (lstm.14)
    dkernel = matmul_loops(x.reshape(N * T, D), dz, transpose_a=True)  # (lstm.15)
    h_prev = previous(h, h0).reshape(N * T, U)
    drecurrent_kernel = matmul_loops(h_prev, dz, transpose_a=True)  # (lstm.16)
    dbias = dz.sum(axis=0)  # (lstm.17)
    return dx, dkernel, drecurrent_kernel, dbias, dh_next, dc_next  # (lstm.18), (lstm.19)


@compiled
def _backward(dh, dc, turned, gates, tanh_c, c, c0, mask, dz, dh_next, dc_next):
    """Walk back in time; ``turned`` is Rᵀ, and ``dh_next``, ``dc_next`` end as the gradients of h_0, c_0."""
    N, T, U = dh.shape
    for piece in prange(PIECES):  # one thread owns some sequences, as in the forward pass
        first, last = piece * N // PIECES, (piece + 1) * N // PIECES
        for t in range(T - 1, -1, -1):
            for n in range(first, last):
                c_prev = c0[n] if t == 0 else c[n, t - 1]
                dh_t, dc_t, g, tanh_c_t, dz_t = dh[n, t], dc[n, t], gates[n, t], tanh_c[n, t], dz[n, t]
                dh_carry, dc_carry = dh_next[n], dc_next[n]
                for u in range(U):
                    dh_carry[u] += dh_t[u]  # (lstm.8)
                    dc_carry[u] += dc_t[u]
                if not mask[n, t]:
                    for j in range(4 * U):
                        dz_t[j] = 0  # (recurrent.5)
                    continue
                for u in range(U):
                    i, f, c_tilde, o = g[u], g[U + u], g[2 * U + u], g[3 * U + u]
                    d = dc_carry[u] + dh_carry[u] * o * (1 - tanh_c_t[u] * tanh_c_t[u])  # (lstm.9)
                    dz_t[u] = d * c_tilde * i * (1 - i)  # (lstm.10)
                    dz_t[U + u] = d * c_prev[u] * f * (1 - f)  # (lstm.11)
                    dz_t[2 * U + u] = d * i * (1 - c_tilde * c_tilde)  # (lstm.12)
                    dz_t[3 * U + u] = dh_carry[u] * tanh_c_t[u] * o * (1 - o)  # (lstm.13)
                    dh_carry[u], dc_carry[u] = 0, d * f  # (lstm.9)
            for j in range(4 * U):
                row = turned[j]
                for n in range(first, last):
                    if mask[n, t]:
                        dh_carry, dz_j = dh_next[n], dz[n, t, j]
                        for u in range(U):
                            dh_carry[u] += dz_j * row[u]  # (lstm.8)


# --- CPU: the recurrence on vectors; thread, row and step as in the loops ------------------------------------------

_SLOTS = 4 if REGISTERS == 32 else 2  # of which a tile of 6 sequences holds a vector


def lstm_forward_tiled(x, kernel, recurrent_kernel, bias=None, h0=None, c0=None, mask=None):
    """See `lstm_forward`."""
    x, kernel, recurrent_kernel, bias, h0, c0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, c0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    in_step = input_in_step(N, kernel, recurrent_kernel)
    rows = x.reshape(N * T, D)
    gates = empty((N * T, 4 * U), x.dtype) if in_step else matmul_plus(rows, kernel, bias)  # (lstm.1) without h R
    features = D if in_step else 0
    h, c, tanh_c = (empty((N, T, U), x.dtype) for _ in range(3))
    w, r = _by_units(kernel[:features]), _by_units(recurrent_kernel)
    z = zeros((N, 4 * BYTES // x.itemsize), x.dtype)
    flat = (array.reshape(-1) for array in (gates, h, c, tanh_c, h0, c0, z, x))
    _forward_tiled(*flat, mask, w, r, bias, in_step, shares(N))
    return h, c, LSTMCache(gates.reshape(N, T, 4 * U), tanh_c)


def _by_units(w: np.ndarray) -> np.ndarray:
    """Pack weights (K, 4U) by vectors of units and by the slots of a tile, (blocks, 4 / slots, K, slots, V), flat.

    A block has all four slots of V units: their gates need no others.
    """
    K, U, V = len(w), w.shape[1] // 4, BYTES // w.itemsize
    blocks = empty((-(-U // V) * K * 4 * V,), w.dtype)
    if len(blocks):
        _pack_by_units(w, blocks)
    return blocks


@compiled
def _pack_by_units(w, blocks):
    K, U, V, flat = len(w), w.shape[1] // 4, width(w), w.reshape(w.size)
    for block in prange(-(-U // V)):
        u = block * V
        for k in range(K):
            for slot in range(4):
                into = (block * 4 * K + (slot // _SLOTS * K + k) * _SLOTS + slot % _SLOTS) * V
                store(blocks, into, load_part(flat, (k * 4 + slot) * U + u, U - u))


@compiled
def _forward_tiled(gates, h, c, tanh_c, h0, c0, z, x, mask, w, r, bias, in_step, pieces):
    N = len(mask)
    for piece in prange(pieces):  # one thread owns some sequences and walks all their steps: no barrier
        first, last = piece * N // pieces, (piece + 1) * N // pieces
        _walk_forward(gates, h, c, tanh_c, h0, c0, z, x, mask, w, r, bias, in_step, first, last)


@inner
def _walk_forward(gates, h, c, tanh_c, h0, c0, z, x, mask, w, r, bias, in_step, first, last):
    """Walk the sequences from first to last forward in time, a vector of units at a time.

    ``gates`` holds x W + b at first, if that is not taken in the step, and the gates at the end;
    z (N, 4V) the pre-activations of these units.
    """
    (N, T), U, V = mask.shape, len(bias) // 4, width(z)
    D = len(x) // (N * T) if in_step else 0
    for t in range(T):
        for u in range(0, U, V):
            for n in range(first, last):
                if U - u >= V:
                    _start(z, n * 4 * V, gates, n * T + t, bias, in_step, u, U, V)
                else:
                    _start(z, n * 4 * V, gates, n * T + t, bias, in_step, u, U, U - u)
            inputs = x, T * D, t * D, D, w
            if t == 0:
                _step(gates, h, c, tanh_c, h0, c0, U, 0, z, mask, inputs, r, t, u, first, last)
            else:
                _step(gates, h, c, tanh_c, h, c, T * U, (t - 1) * U, z, mask, inputs, r, t, u, first, last)


@inner
def _step(gates, h, c, tanh_c, h_prev, c_prev, stride, q, z, mask, inputs, r, t, u, first, last):
    """Compute a vector of units of step t; sequence n's previous states begin at n·stride + q."""
    T, U, V = mask.shape[1], h.size // mask.size, width(z)
    _add_products(z, u, inputs, (h_prev, stride, q, U, r), first, last)  # (lstm.1)
    for n in range(first, last):
        at, before = n * T + t, n * stride + q + u
        if not mask[n, t]:
            _keep(gates, h, c, tanh_c, at, h_prev, c_prev, before, u, U)
        elif U - u >= V:
            _cell(gates, h, c, tanh_c, at, z, n * 4 * V, c_prev, before, u, U, V)
        else:
            _cell(gates, h, c, tanh_c, at, z, n * 4 * V, c_prev, before, u, U, U - u)


@inner
def _add_products(z, u, inputs, states, first, last):
    """Add x_t W, if taken in the step, and h_{t−1} R to the pre-activations of the units from u on.

    ``inputs`` and ``states`` say: row n of this matrix, from n·stride + q on, of K columns, times these weights.
    """
    x, h = inputs[1], states[1]
    for slot in range(0, 4, _SLOTS):
        n = first
        while n < last:
            if last - n >= 6:
                _add_tile(z, n, u, slot, inputs, states, spaced(n * x, x, 6), spaced(n * h, h, 6))
                n += 6
            elif last - n >= 4:
                _add_tile(z, n, u, slot, inputs, states, spaced(n * x, x, 4), spaced(n * h, h, 4))
                n += 4
            elif last - n >= 2:
                _add_tile(z, n, u, slot, inputs, states, spaced(n * x, x, 2), spaced(n * h, h, 2))
                n += 2
            else:
                _add_tile(z, n, u, slot, inputs, states, spaced(n * x, x, 1), spaced(n * h, h, 1))
                n += 1


@inner(forceinline=True)
def _add_tile(z, n, u, slot, inputs, states, input_rows, state_rows):
    """Add one tile: as many sequences as there are offsets, from n on, by a vector of some slots."""
    V = width(z)
    at = (n * 4 + slot) * V
    sums = tile_load(z, at, 4 * V, len(state_rows), _SLOTS)
    sums = _summed(sums, u, slot, inputs, input_rows)
    sums = _summed(sums, u, slot, states, state_rows)
    tile_store(z, at, 4 * V, sums)


@inner(forceinline=True)
def _summed(sums, u, slot, operands, rows):
    a, _, q, K, w = operands
    return add_outers(sums, a, rows, q, K, w, (4 * u + slot * width(w)) * K, _SLOTS * width(w))


@inner(forceinline=True)
def _start(z, row, gates, at, bias, in_step, u, U, left):
    """Begin the pre-activations of a vector of units of one sequence: b, or x W + b."""
    V = width(z)
    for slot in range(4):
        z_slot = load_part(bias, slot * U + u, left) if in_step else load_part(gates, (at * 4 + slot) * U + u, left)
        store(z, row + slot * V, z_slot)


@inner(forceinline=True)
def _cell(gates, h, c, tanh_c, at, z, row, c_prev, before, u, U, left):
    """Compute the gates and states of a vector of units of one sequence at one step."""
    V, out, i_at = width(z), at * U + u, at * 4 * U + u
    i = simd.sigmoid(load(z, row))  # (lstm.2)
    f = simd.sigmoid(load(z, row + V))  # (lstm.3)
    c_tilde = simd.tanh(load(z, row + 2 * V))  # (lstm.4)
    o = simd.sigmoid(load(z, row + 3 * V))  # (lstm.5)
    c_t = f * load_part(c_prev, before, left) + i * c_tilde  # (lstm.6)
    tanh_c_t = simd.tanh(c_t)
    store_part(c, out, c_t, left)
    store_part(tanh_c, out, tanh_c_t, left)
    store_part(h, out, o * tanh_c_t, left)  # (lstm.7)
    store_part(gates, i_at, i, left)
    store_part(gates, i_at + U, f, left)
    store_part(gates, i_at + 2 * U, c_tilde, left)
    store_part(gates, i_at + 3 * U, o, left)


@inner
def _keep(gates, h, c, tanh_c, at, h_prev, c_prev, before, u, U):
    """Keep the states of a vector of units of one sequence at a masked step."""
    left, out, zeros = U - u, at * U + u, full(h, 0)
    store_part(h, out, load_part(h_prev, before, left), left)  # (recurrent.2)
    store_part(c, out, load_part(c_prev, before, left), left)
    store_part(tanh_c, out, zeros, left)
    for slot in range(4):
        store_part(gates, (at * 4 + slot) * U + u, zeros, left)


def lstm_backward_tiled(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0=None, c0=None, mask=None):
    """See `lstm_backward`."""
    dh, dc, x, kernel, recurrent_kernel, h, c, gates, tanh_c, h0, c0, mask = _backward_arrays(
        dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask
    )
    (N, T, D), U = x.shape, len(recurrent_kernel)
    dz = empty((N * T, 4 * U), x.dtype)
    w = packed(recurrent_kernel[None], x.dtype, transpose=True, vectors=2)
    dh_next, dc_next = zeros((N, w.padded), x.dtype), np.zeros((N, U), x.dtype)
    flat = (array.reshape(-1) for array in (dz, dh, dc, gates, tanh_c, c, c0, dh_next))
    _backward_tiled(*flat, mask, w.blocks, dc_next, shares(N))
    dx = matmul_tiled(dz, kernel, transpose_b=True).reshape(N, T, D)  # (lstm.14)
    dkernel = matmul_tiled(x.reshape(N * T, D), dz, transpose_a=True)  # (lstm.15)
    h_prev = previous(h, h0).reshape(N * T, U)
    drecurrent_kernel = matmul_tiled(h_prev, dz, transpose_a=True)  # (lstm.16)
    dbias = column_sums(dz)  # (lstm.17)
    return dx, dkernel, drecurrent_kernel, dbias, np.ascontiguousarray(dh_next[:, :U]), dc_next  # (lstm.18), (lstm.19)


@compiled
def _backward_tiled(dz, dh, dc, gates, tanh_c, c, c0, dh_next, mask, w, dc_next, pieces):
    N = len(mask)
    for piece in prange(pieces):  # one thread owns some sequences, as in the forward pass
        first, last = piece * N // pieces, (piece + 1) * N // pieces
        _walk_back(dz, dh, dc, gates, tanh_c, c, c0, dh_next, mask, w, dc_next, first, last)


@inner
def _walk_back(dz, dh, dc, gates, tanh_c, c, c0, dh_next, mask, w, dc_next, first, last):
    """Walk back in time, two vectors of units at a time.

    ``dh_next`` (N, padded) and ``dc_next`` end as the gradients of h_0, c_0.
    """
    (N, T), U, V = mask.shape, dc_next.shape[1], width(dz)
    padded, flat_dc = len(dh_next) // N, dc_next.reshape(-1)
    for t in range(T - 1, -2, -1):
        for block in range(0, U, 2 * V):
            if t < T - 1:
                k, columns = (t + 1) * 4 * U, min(2 * V, U - block)
                add_product(dz, T * 4 * U, k, 4 * U, w[block * 4 * U :], columns, dh_next[block:], padded, first, last)
            if t < 0:
                continue  # what is left is the gradient of h_0
            stop = min(block + 2 * V, U)
            if t == 0:
                _step_back(dz, dh, dc, dh_next, flat_dc, gates, tanh_c, c0, U, 0, mask, t, block, stop, first, last)
            else:
                q = (t - 1) * U
                _step_back(dz, dh, dc, dh_next, flat_dc, gates, tanh_c, c, T * U, q, mask, t, block, stop, first, last)


@inner
def _step_back(dz, dh, dc, dh_next, dc_next, gates, tanh_c, c_prev, stride, q, mask, t, block, stop, first, last):
    """Compute dz of the units from block to stop at step t; sequence n's previous states begin at n·stride + q."""
    (N, T), U, V = mask.shape, tanh_c.size // mask.size, width(dz)
    padded = dh_next.size // N
    for n in range(first, last):
        at = n * T + t
        dc_at = at * U if len(dc) == len(dh) else n * U
        for u in range(block, stop, V):
            row, before = n * padded, n * stride + q + u
            if not mask[n, t]:
                _keep_back(dz, dh, dc, dc_at, dh_next, row, dc_next, n * U, at, u, U)
            elif U - u >= V:
                _cell_back(dz, dh, dc, dc_at, dh_next, row, dc_next, n * U, gates, tanh_c, at, c_prev, before, u, U, V)
            else:
                left = U - u
                _cell_back(
                    dz, dh, dc, dc_at, dh_next, row, dc_next, n * U, gates, tanh_c, at, c_prev, before, u, U, left
                )


@inner(forceinline=True)
def _cell_back(dz, dh, dc, dc_at, dh_next, row, dc_next, c_row, gates, tanh_c, at, c_prev, before, u, U, left):
    """Compute dz of a vector of units of one sequence at one step, and what goes back to c_{t−1}."""
    i_at = at * 4 * U + u
    f_at, c_at, o_at = i_at + U, i_at + 2 * U, i_at + 3 * U
    i, f = load_part(gates, i_at, left), load_part(gates, f_at, left)
    c_tilde, o = load_part(gates, c_at, left), load_part(gates, o_at, left)
    tanh_c_t = load_part(tanh_c, at * U + u, left)
    dh_t = load_part(dh, at * U + u, left) + load(dh_next, row + u)  # (lstm.8)
    d = load_part(dc, dc_at + u, left) + load_part(dc_next, c_row + u, left)
    d = d + dh_t * o * (1 - tanh_c_t * tanh_c_t)  # (lstm.9)
    store_part(dz, i_at, d * c_tilde * i * (1 - i), left)  # (lstm.10)
    store_part(dz, f_at, d * load_part(c_prev, before, left) * f * (1 - f), left)  # (lstm.11)
    store_part(dz, c_at, d * i * (1 - c_tilde * c_tilde), left)  # (lstm.12)
    store_part(dz, o_at, dh_t * tanh_c_t * o * (1 - o), left)  # (lstm.13)
    store(dh_next, row + u, full(d, 0))
    store_part(dc_next, c_row + u, d * f, left)  # (lstm.9)


@inner
def _keep_back(dz, dh, dc, dc_at, dh_next, row, dc_next, c_row, at, u, U):
    """Hand the gradients of a vector of units of one sequence on at a masked step."""
    left = U - u
    dh_t = load_part(dh, at * U + u, left) + load(dh_next, row + u)
    dc_t = load_part(dc, dc_at + u, left) + load_part(dc_next, c_row + u, left)
    store(dh_next, row + u, dh_t)  # (recurrent.5)
    store_part(dc_next, c_row + u, dc_t, left)
    for slot in range(4):
        store_part(dz, (at * 4 + slot) * U + u, full(dh_t, 0), left)


# --- CPU: the faster of the two -------------------------------------------------------------------------------------


def lstm_forward_cpu(x, kernel, recurrent_kernel, bias=None, h0=None, c0=None, mask=None):
    """See `lstm_forward`."""
    run = lstm_forward_loops if is_small(x, kernel, recurrent_kernel) else lstm_forward_tiled
    return run(x, kernel, recurrent_kernel, bias, h0, c0, mask)


def lstm_backward_cpu(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0=None, c0=None, mask=None):
    """See `lstm_backward`."""
    run = lstm_backward_loops if is_small(x, kernel, recurrent_kernel) else lstm_backward_tiled
    return run(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask)


# --- GPU: kernels/lstm.cu ------------------------------------------------------------------------------------------


def lstm_forward_gpu_1(x, kernel, recurrent_kernel, bias=None, h0=None, c0=None, mask=None):
    """See `lstm_forward`. The equations as they stand, one launch per time step."""
    inputs = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, c0, mask)
    (N, T, D), U = inputs[0].shape, len(recurrent_kernel)
    gates, h, c, tanh_c = _forward_outputs(inputs[0], U)
    for t in range(T):
        launch("lstm", "lstm_forward_1", *per_unit("lstm", h), *inputs, h, c, gates, tanh_c, t, N, T, D, U)
    return h, c, LSTMCache(gates, tanh_c)


def _forward_outputs(x, U):
    (N, T, _), xp = x.shape, xp_of(x)
    return xp.empty((N, T, 4 * U), x.dtype), *(xp.empty((N, T, U), x.dtype) for _ in range(3))


def lstm_forward_gpu_2(x, kernel, recurrent_kernel, bias=None, h0=None, c0=None, mask=None):
    """See `lstm_forward`. Matrix products, and one launch for the rest of each time step."""
    x, kernel, recurrent_kernel, bias, h0, c0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, c0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    gates = matmul(x.reshape(N * T, D), kernel).reshape(N, T, 4 * U)  # x W of all steps, which the gates replace
    _, h, c, tanh_c = _forward_outputs(x, U)
    h_prev, c_prev = h0.copy(), c0.copy()
    for t in range(T):
        product = matmul(h_prev, recurrent_kernel)  # (N, 4U)
        states = h_prev, c_prev, h, c, gates, tanh_c
        launch("lstm", "lstm_forward_2", *per_unit("lstm", h), product, bias, mask, *states, t, N, T, U)
    return h, c, LSTMCache(gates, tanh_c)


def lstm_forward_gpu(x, kernel, recurrent_kernel, bias=None, h0=None, c0=None, mask=None):
    """See `lstm_forward`. One launch for all time steps if the recurrent weights fit, otherwise version 2."""
    x, kernel, recurrent_kernel, bias, h0, c0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, c0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    grid = forward_grid("lstm", N, U, like=x)
    if grid is None:
        return lstm_forward_gpu_2(x, kernel, recurrent_kernel, bias, h0, c0, mask)
    gates = matmul(x.reshape(N * T, D), kernel).reshape(N, T, 4 * U)  # x W of all steps, which the gates replace
    _, h, c, tanh_c = _forward_outputs(x, U)
    exchange, counters = exchange_of("lstm", N, U, like=x), counters_of("lstm", grid, like=x)
    arrays = recurrent_kernel, bias, h0, c0, mask, exchange, counters, h, c, gates, tanh_c
    how = {"shared": grid.shared, "cooperative": True}
    launch("lstm", "lstm_forward_3", grid.blocks, grid.threads, *arrays, N, T, U, **how)
    return h, c, LSTMCache(gates, tanh_c)


def lstm_backward_gpu_1(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0=None, c0=None, mask=None):
    """See `lstm_backward`. The equations of the time steps as they stand, one launch for each."""
    dh, dc, x, kernel, recurrent_kernel, h, c, gates, tanh_c, h0, c0, mask = _backward_arrays(
        dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask
    )
    (N, T, U), xp = h.shape, xp_of(h)
    dz, dh0, dc0 = xp.empty_like(gates), xp.zeros_like(h0), xp.zeros_like(c0)
    for t in range(T - 1, -2, -1):  # t = -1 finishes the gradients of the initial states
        arrays = dh, dc, recurrent_kernel, gates, tanh_c, c, c0, mask, dz, dh0, dc0
        launch("lstm", "lstm_backward_1", *per_unit("lstm", h), *arrays, t, N, T, U, dc.shape[1])
    return *_weight_gradients(dz, x, kernel, h, h0), dh0, dc0  # (lstm.18), (lstm.19)


def _weight_gradients(dz, x, kernel, h, h0):
    """Return dx, dW, dR and db from dz of all steps: large products, which need no order of time."""
    (N, T, D), U = x.shape, h.shape[2]
    dz = dz.reshape(N * T, 4 * U)
    dx = matmul(dz, kernel, transpose_b=True).reshape(N, T, D)  # (lstm.14)
    dkernel = matmul(x.reshape(N * T, D), dz, transpose_a=True)  # (lstm.15)
    drecurrent_kernel = matmul(previous(h, h0).reshape(N * T, U), dz, transpose_a=True)  # (lstm.16)
    return dx, dkernel, drecurrent_kernel, sums_of_columns(dz)  # (lstm.17)


def lstm_backward_gpu_2(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0=None, c0=None, mask=None):
    """See `lstm_backward`. A matrix product, and one launch for the rest of each time step."""
    return _backward_gpu_2(*_backward_arrays(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask))


def _backward_gpu_2(dh, dc, x, kernel, recurrent_kernel, h, c, gates, tanh_c, h0, c0, mask):
    (N, T, U), xp = h.shape, xp_of(h)
    dz, dz_t = xp.empty_like(gates), xp.empty((N, 4 * U), h.dtype)
    dh0, dc0, product = xp.zeros_like(h0), xp.zeros_like(c0), xp.zeros_like(h0)
    for t in range(T - 1, -1, -1):
        arrays = product, dh, dc, gates, tanh_c, c, c0, mask, dz, dz_t, dh0, dc0
        launch("lstm", "lstm_backward_2", *per_unit("lstm", h), *arrays, t, N, T, U, dc.shape[1])
        product = matmul(dz_t, recurrent_kernel, transpose_b=True)  # (N, U)
    return *_weight_gradients(dz, x, kernel, h, h0), dh0 + product, dc0  # (lstm.18), (lstm.19)


def lstm_backward_gpu(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0=None, c0=None, mask=None):
    """See `lstm_backward`. One launch for all time steps if the recurrent weights fit, otherwise version 2."""
    arrays = _backward_arrays(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask)
    dh, dc, x, kernel, recurrent_kernel, h, c, gates, tanh_c, h0, c0, mask = arrays
    (N, T, U), xp = h.shape, xp_of(h)
    grid = backward_grid("lstm", N, U, like=h)
    if grid is None:
        return _backward_gpu_2(*arrays)
    dz, dh0, dc0 = xp.empty_like(gates), xp.zeros_like(h0), xp.zeros_like(c0)
    parts, counters = parts_of("lstm", N, U, like=h), counters_of("lstm", grid, like=h)
    arrays = dh, dc, recurrent_kernel, gates, tanh_c, c, c0, mask, parts, counters, dz, dh0, dc0
    how = {"shared": grid.shared, "cooperative": True}
    launch("lstm", "lstm_backward_3", grid.blocks, grid.threads, *arrays, N, T, U, dc.shape[1], **how)
    return *_weight_gradients(dz, x, kernel, h, h0), dh0, dc0  # (lstm.18), (lstm.19)


# --- the table -------------------------------------------------------------------------------------------

lstm_forward = Op(
    reference=lstm_forward_reference,
    loops=lstm_forward_loops,
    tiled=lstm_forward_tiled,
    cpu=lstm_forward_cpu,
    gpu_1=lstm_forward_gpu_1,
    gpu_2=lstm_forward_gpu_2,
    gpu=lstm_forward_gpu,
)
lstm_backward = Op(
    reference=lstm_backward_reference,
    loops=lstm_backward_loops,
    tiled=lstm_backward_tiled,
    cpu=lstm_backward_cpu,
    gpu_1=lstm_backward_gpu_1,
    gpu_2=lstm_backward_gpu_2,
    gpu=lstm_backward_gpu,
)
