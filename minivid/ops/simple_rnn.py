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

import numpy as np
from numba import prange

from minivid import simd
from minivid.backend import Op, xp_of
from minivid.cuda import launch
from minivid.jit import PIECES, compiled, inner
from minivid.memory import empty, zeros
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
from minivid.simd import full, load_part, prefetch, store_part, width

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


def _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask):
    """Check the arguments of `simple_rnn_forward`; return them all as contiguous arrays."""
    N, T, D, U = sizes_of("simple_rnn", 1, x, kernel, recurrent_kernel)
    check_shapes("simple_rnn", bias=(bias, (U,)), h0=(h0, (N, U)))
    bias, h0 = or_zeros(bias, (U,), like=x), or_zeros(h0, (N, U), like=x)
    return *contiguous(x, kernel, recurrent_kernel, bias, h0), mask_or_all("simple_rnn", mask, N, T, like=x)


def simple_rnn_forward_loops(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `simple_rnn_forward`."""
    x, kernel, recurrent_kernel, bias, h0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    h = (matmul_loops(x.reshape(N * T, D), kernel) + bias).reshape(N, T, U)
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


def _backward_arrays(dh, x, kernel, recurrent_kernel, h, h0, mask):
    """Check the arguments of `simple_rnn_backward`; return them all as contiguous arrays."""
    N, T, D, U = sizes_of("simple_rnn", 1, x, kernel, recurrent_kernel)
    check_shapes("simple_rnn", dh=(dh, (N, T, U)), h=(h, (N, T, U)), h0=(h0, (N, U)))
    h0 = or_zeros(h0, (N, U), like=h)
    return *contiguous(dh, x, kernel, recurrent_kernel, h, h0), mask_or_all("simple_rnn", mask, N, T, like=x)


def simple_rnn_backward_loops(dh, x, kernel, recurrent_kernel, h, h0=None, mask=None):
    """See `simple_rnn_backward`."""
    dh, x, kernel, recurrent_kernel, h, h0, mask = _backward_arrays(dh, x, kernel, recurrent_kernel, h, h0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    turned = np.ascontiguousarray(recurrent_kernel.T)
    dz, dh_next = np.empty_like(h), np.zeros_like(h0)
    _backward(dh, turned, h, mask, dz, dh_next)
    dz = dz.reshape(N * T, U)
    dx = matmul_loops(dz, kernel, transpose_b=True).reshape(N, T, D)  # (simple_rnn.5)
    dkernel = matmul_loops(x.reshape(N * T, D), dz, transpose_a=True)  # (simple_rnn.6)
    h_prev = previous(h, h0).reshape(N * T, U)
    drecurrent_kernel = matmul_loops(h_prev, dz, transpose_a=True)  # (simple_rnn.7)
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


# --- CPU: the recurrence on vectors; thread, row and step as in the loops ------------------------------------------


def simple_rnn_forward_tiled(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `simple_rnn_forward`."""
    x, kernel, recurrent_kernel, bias, h0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    h = matmul_tiled(x.reshape(N * T, D), kernel)  # (N·T, U)
    w = packed(recurrent_kernel[None], x.dtype, vectors=2)
    z = zeros((N, w.padded), x.dtype)
    _forward_tiled(h.reshape(-1), h0.copy().reshape(-1), z.reshape(-1), bias, mask, w.blocks, shares(N))
    return h.reshape(N, T, U)


@compiled
def _forward_tiled(h, state, z, bias, mask, w, pieces):
    N = len(mask)
    for piece in prange(pieces):  # one thread owns some sequences and walks all their steps: no barrier
        first, last = piece * N // pieces, (piece + 1) * N // pieces
        _walk_forward(h, state, z, bias, mask, w, first, last)


@inner
def _walk_forward(h, state, z, bias, mask, w, first, last):
    """Walk the sequences from first to last forward in time.

    ``h`` holds x W at first and the hidden states at the end, ``state`` (N, U) those of the step.
    """
    (N, T), U = mask.shape, len(bias)
    padded = len(z) // N
    for t in range(T):
        for n in range(first, last):
            copy_row(bias, 0, z, n * padded, U)
            prefetch(h, (n * T + t) * U, U)  # while the product runs
        add_product(state, U, 0, U, w, U, z, padded, first, last)  # (simple_rnn.1) without x W
        for n in range(first, last):
            at = n * T + t
            if mask[n, t]:
                _cell(h, at, state, n, z, n * padded, U)
            else:
                copy_row(state, n * U, h, at * U, U)  # (recurrent.2)


@inner
def _cell(h, at, state, n, z, row, U):
    """Compute the state of one sequence at one step, a vector of units at a time."""
    V, whole = width(z), U // width(z) * width(z)
    for u in range(0, whole, V):
        _units(h, at * U + u, state, n * U + u, z, row + u, V)
    if whole < U:
        _units(h, at * U + whole, state, n * U + whole, z, row + whole, U - whole)


@inner(forceinline=True)
def _units(h, out, state, at, z, row, left):
    """Compute ``left`` units, a constant where that is a whole vector."""
    h_t = simd.tanh(load_part(h, out, left) + load_part(z, row, left))  # (simple_rnn.1), (simple_rnn.2)
    store_part(h, out, h_t, left)
    store_part(state, at, h_t, left)


def simple_rnn_backward_tiled(dh, x, kernel, recurrent_kernel, h, h0=None, mask=None):
    """See `simple_rnn_backward`."""
    dh, x, kernel, recurrent_kernel, h, h0, mask = _backward_arrays(dh, x, kernel, recurrent_kernel, h, h0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    dz = empty((N * T, U), x.dtype)
    w = packed(recurrent_kernel[None], x.dtype, transpose=True, vectors=2)
    dh_next = zeros((N, w.padded), x.dtype)
    flat = (array.reshape(-1) for array in (dz, dh, h, dh_next))
    _backward_tiled(*flat, mask, w.blocks, U, shares(N))
    dx = matmul_tiled(dz, kernel, transpose_b=True).reshape(N, T, D)  # (simple_rnn.5)
    dkernel = matmul_tiled(x.reshape(N * T, D), dz, transpose_a=True)  # (simple_rnn.6)
    h_prev = previous(h, h0).reshape(N * T, U)
    drecurrent_kernel = matmul_tiled(h_prev, dz, transpose_a=True)  # (simple_rnn.7)
    dbias = column_sums(dz)  # (simple_rnn.8)
    return dx, dkernel, drecurrent_kernel, dbias, np.ascontiguousarray(dh_next[:, :U])  # (simple_rnn.9)


@compiled
def _backward_tiled(dz, dh, h, dh_next, mask, w, U, pieces):
    N = len(mask)
    for piece in prange(pieces):  # one thread owns some sequences, as in the forward pass
        first, last = piece * N // pieces, (piece + 1) * N // pieces
        _walk_back(dz, dh, h, dh_next, mask, w, U, first, last)


@inner
def _walk_back(dz, dh, h, dh_next, mask, w, U, first, last):
    """Walk back in time; ``dh_next`` (N, padded) ends as the gradient of h_0."""
    N, T = mask.shape
    padded = len(dh_next) // N
    for t in range(T - 1, -1, -1):
        for n in range(first, last):
            at, row = n * T + t, n * padded
            add_row(dh, at * U, dh_next, row, U)  # (simple_rnn.3)
            if mask[n, t]:
                _cell_back(dz, dh_next, row, h, at, U)
            else:
                clear_row(dz, at * U, U)  # (recurrent.5)
            if t > 0:
                prefetch(h, (at - 1) * U, U)  # while the product runs
                prefetch(dh, (at - 1) * U, U)
                prefetch(dz, (at - 1) * U, U)
        add_product(dz, T * U, t * U, U, w, U, dh_next, padded, first, last)  # (simple_rnn.3)


@inner
def _cell_back(dz, dh_next, row, h, at, U):
    """Compute dz of one sequence at one step, a vector of units at a time."""
    V, whole = width(dz), U // width(dz) * width(dz)
    for u in range(0, whole, V):
        _units_back(dz, dh_next, row + u, h, at * U + u, V)
    if whole < U:
        _units_back(dz, dh_next, row + whole, h, at * U + whole, U - whole)


@inner(forceinline=True)
def _units_back(dz, dh_next, row, h, at, left):
    """Compute ``left`` units, a constant where that is a whole vector."""
    h_t, dh_t = load_part(h, at, left), load_part(dh_next, row, left)
    store_part(dz, at, dh_t * (1 - h_t * h_t), left)  # (simple_rnn.4)
    store_part(dh_next, row, full(h_t, 0), left)


# --- CPU: the faster of the two -------------------------------------------------------------------------------------


def simple_rnn_forward_cpu(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `simple_rnn_forward`."""
    run = simple_rnn_forward_loops if is_small(x, kernel, recurrent_kernel) else simple_rnn_forward_tiled
    return run(x, kernel, recurrent_kernel, bias, h0, mask)


def simple_rnn_backward_cpu(dh, x, kernel, recurrent_kernel, h, h0=None, mask=None):
    """See `simple_rnn_backward`."""
    run = simple_rnn_backward_loops if is_small(x, kernel, recurrent_kernel) else simple_rnn_backward_tiled
    return run(dh, x, kernel, recurrent_kernel, h, h0, mask)


# --- GPU: kernels/simple_rnn.cu ------------------------------------------------------------------------------------


def simple_rnn_forward_gpu_1(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `simple_rnn_forward`. The equations as they stand, one launch per time step."""
    inputs = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    x, (N, T, D), U = inputs[0], inputs[0].shape, len(recurrent_kernel)
    h = xp_of(x).empty((N, T, U), x.dtype)
    for t in range(T):
        launch("simple_rnn", "simple_rnn_forward_1", *per_unit("simple_rnn", h), *inputs, h, t, N, T, D, U)
    return h


def simple_rnn_forward_gpu_2(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `simple_rnn_forward`. Matrix products, and one launch for the rest of each time step."""
    x, kernel, recurrent_kernel, bias, h0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    h = matmul(x.reshape(N * T, D), kernel).reshape(N, T, U)  # x W of all steps, which the states replace
    h_prev = h0.copy()
    for t in range(T):
        product = matmul(h_prev, recurrent_kernel)
        launch(
            "simple_rnn", "simple_rnn_forward_2", *per_unit("simple_rnn", h), product, bias, mask, h_prev, h, t, N, T, U
        )
    return h


def simple_rnn_forward_gpu(x, kernel, recurrent_kernel, bias=None, h0=None, mask=None):
    """See `simple_rnn_forward`. One launch for all time steps if the recurrent weights fit, otherwise version 2."""
    x, kernel, recurrent_kernel, bias, h0, mask = _forward_arrays(x, kernel, recurrent_kernel, bias, h0, mask)
    (N, T, D), U = x.shape, len(recurrent_kernel)
    grid = forward_grid("simple_rnn", N, U, like=x)
    if grid is None:
        return simple_rnn_forward_gpu_2(x, kernel, recurrent_kernel, bias, h0, mask)
    h = matmul(x.reshape(N * T, D), kernel).reshape(N, T, U)  # x W of all steps, which the states replace
    exchange, counters = exchange_of("simple_rnn", N, U, like=x), counters_of("simple_rnn", grid, like=x)
    arrays = recurrent_kernel, bias, h0, mask, exchange, counters, h
    how = {"shared": grid.shared, "cooperative": True}
    launch("simple_rnn", "simple_rnn_forward_3", grid.blocks, grid.threads, *arrays, N, T, U, **how)
    return h


def simple_rnn_backward_gpu_1(dh, x, kernel, recurrent_kernel, h, h0=None, mask=None):
    """See `simple_rnn_backward`. The equations of the time steps as they stand, one launch for each."""
    dh, x, kernel, recurrent_kernel, h, h0, mask = _backward_arrays(dh, x, kernel, recurrent_kernel, h, h0, mask)
    (N, T, U), xp = h.shape, xp_of(h)
    dz, dh0 = xp.empty_like(h), xp.zeros_like(h0)
    for t in range(T - 1, -2, -1):  # t = -1 finishes the gradient of the initial state
        arrays = dh, recurrent_kernel, h, mask, dz, dh0
        launch("simple_rnn", "simple_rnn_backward_1", *per_unit("simple_rnn", h), *arrays, t, N, T, U)
    return *_weight_gradients(dz, x, kernel, h, h0), dh0  # (simple_rnn.9)


def _weight_gradients(dz, x, kernel, h, h0):
    """Return dx, dW, dR and db from dz of all steps: large products, which need no order of time."""
    (N, T, D), U = x.shape, h.shape[2]
    dz = dz.reshape(N * T, U)
    dx = matmul(dz, kernel, transpose_b=True).reshape(N, T, D)  # (simple_rnn.5)
    dkernel = matmul(x.reshape(N * T, D), dz, transpose_a=True)  # (simple_rnn.6)
    drecurrent_kernel = matmul(previous(h, h0).reshape(N * T, U), dz, transpose_a=True)  # (simple_rnn.7)
    return dx, dkernel, drecurrent_kernel, sums_of_columns(dz)  # (simple_rnn.8)


def simple_rnn_backward_gpu_2(dh, x, kernel, recurrent_kernel, h, h0=None, mask=None):
    """See `simple_rnn_backward`. A matrix product, and one launch for the rest of each time step."""
    dh, x, kernel, recurrent_kernel, h, h0, mask = _backward_arrays(dh, x, kernel, recurrent_kernel, h, h0, mask)
    (N, T, U), xp = h.shape, xp_of(h)
    dz, dz_t, dh0, product = xp.empty_like(h), xp.empty_like(h0), xp.zeros_like(h0), xp.zeros_like(h0)
    for t in range(T - 1, -1, -1):
        arrays = product, dh, h, mask, dz, dz_t, dh0
        launch("simple_rnn", "simple_rnn_backward_2", *per_unit("simple_rnn", h), *arrays, t, N, T, U)
        product = matmul(dz_t, recurrent_kernel, transpose_b=True)
    return *_weight_gradients(dz, x, kernel, h, h0), dh0 + product  # (simple_rnn.9)


def simple_rnn_backward_gpu(dh, x, kernel, recurrent_kernel, h, h0=None, mask=None):
    """See `simple_rnn_backward`. One launch for all time steps if the recurrent weights fit, otherwise version 2."""
    dh, x, kernel, recurrent_kernel, h, h0, mask = _backward_arrays(dh, x, kernel, recurrent_kernel, h, h0, mask)
    (N, T, U), xp = h.shape, xp_of(h)
    grid = backward_grid("simple_rnn", N, U, like=h)
    if grid is None:
        return simple_rnn_backward_gpu_2(dh, x, kernel, recurrent_kernel, h, h0, mask)
    dz, dh0 = xp.empty_like(h), xp.zeros_like(h0)
    parts, counters = parts_of("simple_rnn", N, U, like=h), counters_of("simple_rnn", grid, like=h)
    arrays = dh, recurrent_kernel, h, mask, parts, counters, dz, dh0
    how = {"shared": grid.shared, "cooperative": True}
    launch("simple_rnn", "simple_rnn_backward_3", grid.blocks, grid.threads, *arrays, N, T, U, **how)
    return *_weight_gradients(dz, x, kernel, h, h0), dh0  # (simple_rnn.9)


# --- the table -------------------------------------------------------------------------------------------

simple_rnn_forward = Op(
    reference=simple_rnn_forward_reference,
    loops=simple_rnn_forward_loops,
    tiled=simple_rnn_forward_tiled,
    cpu=simple_rnn_forward_cpu,
    gpu_1=simple_rnn_forward_gpu_1,
    gpu_2=simple_rnn_forward_gpu_2,
    gpu=simple_rnn_forward_gpu,
)
simple_rnn_backward = Op(
    reference=simple_rnn_backward_reference,
    loops=simple_rnn_backward_loops,
    tiled=simple_rnn_backward_tiled,
    cpu=simple_rnn_backward_cpu,
    gpu_1=simple_rnn_backward_gpu_1,
    gpu_2=simple_rnn_backward_gpu_2,
    gpu=simple_rnn_backward_gpu,
)
