"""Convolutional LSTM: an LSTM whose states are images and whose products are convolutions.

    z_t  = x_t ∗ W + h_{t−1} ∗ R + b      (conv_lstm2d.1)      channels of W, R and b in four slots: i, f, C~, o
    i_t  = σ(z_t of slot i)               (conv_lstm2d.2)      input gate: what to add
    f_t  = σ(z_t of slot f)               (conv_lstm2d.3)      forget gate: what to keep
    C~_t = tanh(z_t of slot C~)           (conv_lstm2d.4)      candidate
    o_t  = σ(z_t of slot o)               (conv_lstm2d.5)      output gate: what to show
    c_t  = f_t ∘ c_{t−1} + i_t ∘ C~_t     (conv_lstm2d.6)
    h_t  = o_t ∘ tanh(c_t)                (conv_lstm2d.7)
    h_t  = h_{t−1} and c_t = c_{t−1}      (recurrent.2)        where the mask is False

∗ is the convolution (conv2d.1): with W it takes strides, padding and dilation; with R it is "same" with steps of one
pixel, so that states keep their size. ∗ᵀ is its gradient with respect to the input, (conv2d.2).

    δh_t = dh_t + dz_{t+1} ∗ᵀ R                                              (conv_lstm2d.8)    dh_t alone at t = T
    δc_t = dc_t + δc_{t+1} ∘ f_{t+1} + δh_t ∘ o_t ∘ (1 − tanh²(c_t))         (conv_lstm2d.9)
    dz_t of slot i  = δc_t ∘ C~_t ∘ i_t ∘ (1 − i_t)                          (conv_lstm2d.10)
    dz_t of slot f  = δc_t ∘ c_{t−1} ∘ f_t ∘ (1 − f_t)                       (conv_lstm2d.11)
    dz_t of slot C~ = δc_t ∘ i_t ∘ (1 − C~_t²)                               (conv_lstm2d.12)
    dz_t of slot o  = δh_t ∘ tanh(c_t) ∘ o_t ∘ (1 − o_t)                     (conv_lstm2d.13)
    dx_t = dz_t ∗ᵀ W                                                         (conv_lstm2d.14)
    dW   = Σ_t of (conv2d.3) with dz_t and x_t                               (conv_lstm2d.15)
    dR   = Σ_t of (conv2d.3) with dz_t and h_{t−1}                           (conv_lstm2d.16)
    db   = Σ_t Σ_n Σ over all pixels of dz_t                                 (conv_lstm2d.17)
    dh_0 = dz_1 ∗ᵀ R                                                         (conv_lstm2d.18)
    dc_0 = δc_1 ∘ f_1                                                        (conv_lstm2d.19)

for t = 1..T; step t is stored at index t−1. At a masked step dz_t = 0, and δh_t and δc_t (without its last term)
go on to step t−1 as they are (recurrent.5).

    x        (N, T, H, W, C)      clips                          W   (KH, KW, C, 4F)   kernel
    h, c     (N, T, OH, OW, F)    hidden and cell states         R   (RH, RW, F, 4F)   recurrent_kernel
    h_0, c_0 (N, OH, OW, F)       initial states                 b   (4F,)             bias

docs/ops/conv_lstm2d.md derives the gradients.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from minivid import memory, simd
from minivid.backend import Op, xp_of
from minivid.jit import compiled, inner
from minivid.ops.activations import sigmoid_forward_reference as sigmoid
from minivid.ops.conv2d import (
    conv2d_backward_input,
    conv2d_backward_input_reference,
    conv2d_backward_weights,
    conv2d_backward_weights_reference,
    conv2d_forward,
    conv2d_forward_reference,
)
from minivid.ops.recurrent import check_shapes, contiguous, mask_or_all, or_zeros, previous
from minivid.ops.window import Padding, window_of
from minivid.simd import full, load_part, store_part, width

__all__ = ["ConvLSTM2DCache", "conv_lstm2d_backward", "conv_lstm2d_forward"]


class ConvLSTM2DCache(NamedTuple):
    """What the forward pass of a convolutional LSTM saves, the same in every implementation; zeros at masked steps.

    Attributes
    ----------
    gates : (N, T, OH, OW, 4F) array
        i, f, C~ and o of every step, after their nonlinearities.
    tanh_c : (N, T, OH, OW, F) array
        tanh of the cell states.
    """

    gates: np.ndarray
    tanh_c: np.ndarray


def _state_shape(x, kernel, recurrent_kernel, strides, padding, dilation) -> tuple[int, int, int, int, int]:
    """Check x and the weights against each other; return the shape (N, T, OH, OW, F) of the states of all steps."""
    if x.ndim != 5:
        raise ValueError(f"conv_lstm2d takes x (batch, time, height, width, channels), got shape {x.shape}")
    N, T, H, W, C = x.shape
    if T == 0:
        raise ValueError(f"conv_lstm2d takes at least one time step, got x {x.shape}")
    if recurrent_kernel.ndim != 4 or recurrent_kernel.shape[3] != 4 * recurrent_kernel.shape[2]:
        raise ValueError(f"conv_lstm2d takes recurrent_kernel (RH, RW, F, 4F), got shape {recurrent_kernel.shape}")
    F = recurrent_kernel.shape[2]
    if kernel.ndim != 4 or kernel.shape[2:] != (C, 4 * F):
        raise ValueError(
            f"conv_lstm2d takes kernel (KH, KW, {C}, {4 * F}) for {C} channels (last axis of x {x.shape}) and {F} "
            f"filters (recurrent_kernel {recurrent_kernel.shape}), got shape {kernel.shape}"
        )
    win = window_of((H, W), kernel.shape[:2], strides, padding, dilation)
    return N, T, win.OH, win.OW, F


def _fold(array):
    """Lay the steps of all clips behind one another: (N, T, ...) becomes (N·T, ...)."""
    return array.reshape(-1, *array.shape[2:])


# --- reference: the equations, step by step -----------------------------------------------------------------------


def conv_lstm2d_forward_reference(
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    bias: np.ndarray | None = None,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    strides: int | tuple[int, int] = 1,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> tuple[np.ndarray, np.ndarray, ConvLSTM2DCache]:
    """Run a convolutional LSTM over clips, equations (conv_lstm2d.1) to (conv_lstm2d.7).

    Parameters
    ----------
    x : (N, T, H, W, C) array
        Clips.
    kernel : (KH, KW, C, 4F) array
        Weights of the input, in slots i, f, C~, o.
    recurrent_kernel : (RH, RW, F, 4F) array
        Weights of the previous hidden state, in the same slots.
    bias : (4F,) array, optional
        Biases; none means zero.
    h0, c0 : (N, OH, OW, F) array, optional
        Initial hidden and cell state; none means zero.
    mask : (N, T) array of bool, optional
        False where a step is padding and the states are kept; none means that every step is real.
    strides, padding, dilation
        Of the convolution with ``kernel``, as in `conv2d_forward`.

    Returns
    -------
    h : (N, T, OH, OW, F) array
        Hidden states of all steps: the output.
    c : (N, T, OH, OW, F) array
        Cell states of all steps.
    cache : ConvLSTM2DCache
        What the backward pass needs besides.

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Notes
    -----
    Shi et al., "Convolutional LSTM network", NeurIPS 2015, without its peepholes (the terms W_c ∘ c); weights as in
    Keras.

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.ones((1, 2, 1, 1, 1)), np.zeros((1, 1, 1, 4))
    >>> h, c, cache = conv_lstm2d_forward(x, w, w, c0=np.ones((1, 1, 1, 1)))
    >>> c.ravel(), cache.gates[0, 0].ravel()
    (array([0.5 , 0.25]), array([0.5, 0.5, 0. , 0.5]))
    """
    N, T, OH, OW, F = _state_shape(x, kernel, recurrent_kernel, strides, padding, dilation)
    state = N, OH, OW, F
    check_shapes("conv_lstm2d", bias=(bias, (4 * F,)), h0=(h0, state), c0=(c0, state))
    mask = mask_or_all("conv_lstm2d", mask, N, T)
    h_prev, c_prev = or_zeros(h0, state, like=x), or_zeros(c0, state, like=x)
    steps = []
    for t in range(T):
        real = mask[:, t, None, None, None]
        z = conv2d_forward_reference(x[:, t], kernel, bias, strides, padding, dilation)
        z = z + conv2d_forward_reference(h_prev, recurrent_kernel, padding="same")  # (conv_lstm2d.1)
        z_i, z_f, z_c, z_o = np.split(z, 4, axis=-1)
        i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)  # (conv_lstm2d.2), (conv_lstm2d.3), (conv_lstm2d.5)
        c_tilde = np.tanh(z_c)  # (conv_lstm2d.4)
        c_prev = np.where(real, f * c_prev + i * c_tilde, c_prev)  # (conv_lstm2d.6), (recurrent.2)
        tanh_c = np.tanh(c_prev)
        h_prev = np.where(real, o * tanh_c, h_prev)  # (conv_lstm2d.7), (recurrent.2)
        gates = np.concatenate([i, f, c_tilde, o], axis=-1)
        steps.append((h_prev, c_prev, np.where(real, gates, 0), np.where(real, tanh_c, 0)))
    h, c, gates, tanh_c = (np.stack(arrays, axis=1) for arrays in zip(*steps, strict=True))
    return h, c, ConvLSTM2DCache(gates, tanh_c)


def conv_lstm2d_backward_reference(
    dh: np.ndarray,
    dc: np.ndarray | None,
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent_kernel: np.ndarray,
    h: np.ndarray,
    c: np.ndarray,
    cache: ConvLSTM2DCache,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    strides: int | tuple[int, int] = 1,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Backpropagation through time of a convolutional LSTM, equations (conv_lstm2d.8) to (conv_lstm2d.19).

    Parameters
    ----------
    dh : (N, T, OH, OW, F) array
        Gradient with respect to the hidden states of all steps; zero where a state is not used further.
    dc : (N, T, OH, OW, F) array, optional
        Gradient with respect to the cell states of all steps; none means zero.
    x, kernel, recurrent_kernel, h0, c0, mask, strides, padding, dilation
        As in the forward pass.
    h, c, cache
        What the forward pass returned.

    Returns
    -------
    dx : (N, T, H, W, C) array
    dkernel : (KH, KW, C, 4F) array
    drecurrent_kernel : (RH, RW, F, 4F) array
    dbias : (4F,) array
    dh0, dc0 : (N, OH, OW, F) array

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.ones((1, 2, 1, 1, 1)), np.zeros((1, 1, 1, 4))
    >>> h, c, cache = conv_lstm2d_forward(x, w, w)
    >>> gradients = conv_lstm2d_backward(np.array([0.0, 8.0]).reshape(h.shape), None, x, w, w, h, c, cache)
    >>> gradients[-1].ravel()  # 8 through o = 1/2, then through f = 1/2 twice
    array([1.])
    """
    N, T, OH, OW, F = shape = _state_shape(x, kernel, recurrent_kernel, strides, padding, dilation)
    state = N, OH, OW, F
    _check_backward(dh, dc, h, c, cache, h0, c0, shape)
    mask = mask_or_all("conv_lstm2d", mask, N, T)
    h0, c0, dc = or_zeros(h0, state, like=h), or_zeros(c0, state, like=h), or_zeros(dc, shape, like=dh)
    dx, dkernel, drecurrent_kernel = np.zeros_like(x), np.zeros_like(kernel), np.zeros_like(recurrent_kernel)
    dbias = np.zeros_like(kernel[0, 0, 0])
    dh_next, dc_next = np.zeros_like(h0), np.zeros_like(c0)  # what step t+1 hands back to h_t and c_t
    for t in reversed(range(T)):
        real = mask[:, t, None, None, None]
        h_prev, c_prev = (h[:, t - 1], c[:, t - 1]) if t > 0 else (h0, c0)
        i, f, c_tilde, o = np.split(cache.gates[:, t], 4, axis=-1)
        tanh_c = cache.tanh_c[:, t]

        dh_t = dh[:, t] + dh_next  # (conv_lstm2d.8)
        dc_kept = dc[:, t] + dc_next
        dc_t = dc_kept + dh_t * o * (1 - tanh_c**2)  # (conv_lstm2d.9)
        dz_i = dc_t * c_tilde * i * (1 - i)  # (conv_lstm2d.10)
        dz_f = dc_t * c_prev * f * (1 - f)  # (conv_lstm2d.11)
        dz_c = dc_t * i * (1 - c_tilde**2)  # (conv_lstm2d.12)
        dz_o = dh_t * tanh_c * o * (1 - o)  # (conv_lstm2d.13)
        dz = np.where(real, np.concatenate([dz_i, dz_f, dz_c, dz_o], axis=-1), 0)

        window = strides, padding, dilation
        dx[:, t] = conv2d_backward_input_reference(dz, kernel, x[:, t].shape, *window)  # (conv_lstm2d.14)
        dw, db = conv2d_backward_weights_reference(dz, x[:, t], kernel.shape, *window)
        dr, _ = conv2d_backward_weights_reference(dz, h_prev, recurrent_kernel.shape, padding="same")
        dkernel += dw  # (conv_lstm2d.15)
        drecurrent_kernel += dr  # (conv_lstm2d.16)
        dbias += db  # (conv_lstm2d.17)
        back = conv2d_backward_input_reference(dz, recurrent_kernel, h_prev.shape, padding="same")
        dh_next = np.where(real, back, dh_t)  # (conv_lstm2d.8), (recurrent.5)
        dc_next = np.where(real, dc_t * f, dc_kept)  # (conv_lstm2d.9), (recurrent.5)
    return dx, dkernel, drecurrent_kernel, dbias, dh_next, dc_next  # (conv_lstm2d.18), (conv_lstm2d.19)


def _check_backward(dh, dc, h, c, cache, h0, c0, shape) -> None:
    N, T, OH, OW, F = shape
    state, gates = (N, OH, OW, F), (N, T, OH, OW, 4 * F)
    check_shapes("conv_lstm2d", dh=(dh, shape), dc=(dc, shape), h=(h, shape), c=(c, shape))
    check_shapes("conv_lstm2d", h0=(h0, state), c0=(c0, state))
    check_shapes("conv_lstm2d", gates=(cache.gates, gates), tanh_c=(cache.tanh_c, shape))


# --- CPU and GPU: the input's convolution for all steps at once, the state's one step at a time -------------------


def _forward(cells, empty, x, kernel, recurrent_kernel, bias, h0, c0, mask, strides, padding, dilation):
    """Run all steps; ``cells`` computes the gates and states of one step, ``empty`` makes an array."""
    N, T, OH, OW, F = shape = _state_shape(x, kernel, recurrent_kernel, strides, padding, dilation)
    state = N, OH, OW, F
    check_shapes("conv_lstm2d", bias=(bias, (4 * F,)), h0=(h0, state), c0=(c0, state))
    starts = h0 is not None
    bias, c0 = or_zeros(bias, (4 * F,), like=x), or_zeros(c0, state, like=x)
    h_t = h0.copy() if starts else or_zeros(None, state, like=x)  # (N, OH, OW, F), overwritten by every step
    x, kernel, recurrent_kernel, bias, h_t, c0 = contiguous(x, kernel, recurrent_kernel, bias, h_t, c0)
    mask = mask_or_all("conv_lstm2d", mask, N, T, like=x)
    gates = conv2d_forward(_fold(x), kernel, bias, strides, padding, dilation)  # (N·T, OH, OW, 4F)
    gates = gates.reshape(N, T, OH, OW, 4 * F)
    h, c, tanh_c = (empty(shape, x.dtype) for _ in range(3))
    for t in range(T):
        if t == 0 and not starts:
            product = or_zeros(None, (N, OH, OW, 4 * F), like=x)
        else:
            product = conv2d_forward(h_t, recurrent_kernel, padding="same")  # (conv_lstm2d.1)
        cells(gates, product, h_t, h, c, tanh_c, c0, mask, t)
    return h, c, ConvLSTM2DCache(gates, tanh_c)


def _backward(cells, empty, dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask, strides, padding, dilation):
    """Run all steps back; ``cells`` computes dz of one step, ``empty`` makes an array."""
    N, T, OH, OW, F = shape = _state_shape(x, kernel, recurrent_kernel, strides, padding, dilation)
    state, xp = (N, OH, OW, F), xp_of(x)
    _check_backward(dh, dc, h, c, cache, h0, c0, shape)
    h0, c0 = or_zeros(h0, state, like=h), or_zeros(c0, state, like=h)
    dc = or_zeros(dc, (N, 1, OH, OW, F), like=dh)
    arrays = contiguous(dh, dc, x, kernel, recurrent_kernel, h, c, *cache, h0, c0)
    dh, dc, x, kernel, recurrent_kernel, h, c, gates, tanh_c, h0, c0 = arrays
    some_hidden, mask = mask is not None, mask_or_all("conv_lstm2d", mask, N, T, like=x)
    dz, dz_t = empty(gates.shape, x.dtype), empty((N, OH, OW, 4 * F), x.dtype)
    dh_next, dc_next, kept = xp.zeros_like(h0), xp.zeros_like(c0), xp.zeros_like(h0)
    for t in range(T - 1, -1, -1):
        cells(dz, dz_t, dh, dc, dh_next, dc_next, kept, gates, tanh_c, c, c0, mask, t)
        dh_next = conv2d_backward_input(dz_t, recurrent_kernel, state, padding="same")  # (conv_lstm2d.8)
        if some_hidden:
            dh_next = xp.where(mask[:, t, None, None, None], dh_next, kept)  # (recurrent.5)
    window, dz = (strides, padding, dilation), _fold(dz)
    dx = conv2d_backward_input(dz, kernel, _fold(x).shape, *window).reshape(x.shape)  # (conv_lstm2d.14)
    dkernel, dbias = conv2d_backward_weights(dz, _fold(x), kernel.shape, *window)  # (conv_lstm2d.15), (conv_lstm2d.17)
    h_prev = _fold(previous(h, h0))
    drecurrent_kernel, _ = conv2d_backward_weights(dz, h_prev, recurrent_kernel.shape, padding="same")
    # (conv_lstm2d.16), (conv_lstm2d.18), (conv_lstm2d.19)
    return dx, dkernel, drecurrent_kernel, dbias, dh_next, dc_next


# --- CPU: gates and states by vectors of channels -----------------------------------------------------------------


def conv_lstm2d_forward_cpu(
    x, kernel, recurrent_kernel, bias=None, h0=None, c0=None, mask=None, strides=1, padding="valid", dilation=1
):
    """See `conv_lstm2d_forward`."""
    arguments = x, kernel, recurrent_kernel, bias, h0, c0, mask, strides, padding, dilation
    return _forward(_cells_cpu, memory.empty, *arguments)


def _cells_cpu(gates, product, h_t, h, c, tanh_c, c0, mask, t):
    N, T, OH, OW, F = h.shape
    c_prev, start, step = (c0, 0, 1) if t == 0 else (c, t - 1, T)  # image n of c_{t−1} is number start + n·step
    flat = (array.reshape(-1) for array in (gates, product, h_t, h, c, tanh_c, c_prev))
    _all_cells(*flat, start, step, mask, t, OH, OW, F)


@compiled
def _all_cells(gates, product, h_t, h, c, tanh_c, c_prev, start, step, mask, t, OH, OW, F):
    N, T = mask.shape
    for work in prange(N * OH):  # one thread owns a row of pixels
        n, row = work // OH, work % OH
        at, state, before = (n * T + t) * OH + row, n * OH + row, (start + n * step) * OH + row
        for s in range(OW):
            out, own, prev = (at * OW + s) * F, (state * OW + s) * F, (before * OW + s) * F
            for f in range(0, F, width(h)):
                if not mask[n, t]:
                    _keep(gates, h_t, h, c, tanh_c, c_prev, out, own, prev, f, F)
                elif F - f >= width(h):
                    _cell(gates, product, h_t, h, c, tanh_c, c_prev, out, own, prev, f, F, width(h))
                else:
                    _cell(gates, product, h_t, h, c, tanh_c, c_prev, out, own, prev, f, F, F - f)


@inner(forceinline=True)
def _cell(gates, product, h_t, h, c, tanh_c, c_prev, out, own, prev, f, F, left):
    """Compute the gates and states of a vector of channels of one pixel at one step."""
    i_at, z = 4 * out + f, 4 * own + f
    f_at, c_at, o_at = i_at + F, i_at + 2 * F, i_at + 3 * F
    i = simd.sigmoid(load_part(gates, i_at, left) + load_part(product, z, left))  # (conv_lstm2d.2)
    forget = simd.sigmoid(load_part(gates, f_at, left) + load_part(product, z + F, left))  # (conv_lstm2d.3)
    c_tilde = simd.tanh(load_part(gates, c_at, left) + load_part(product, z + 2 * F, left))  # (conv_lstm2d.4)
    o = simd.sigmoid(load_part(gates, o_at, left) + load_part(product, z + 3 * F, left))  # (conv_lstm2d.5)
    new_c = forget * load_part(c_prev, prev + f, left) + i * c_tilde  # (conv_lstm2d.6)
    new_tanh_c = simd.tanh(new_c)
    new_h = o * new_tanh_c  # (conv_lstm2d.7)
    store_part(c, out + f, new_c, left)
    store_part(tanh_c, out + f, new_tanh_c, left)
    store_part(h, out + f, new_h, left)
    store_part(h_t, own + f, new_h, left)
    store_part(gates, i_at, i, left)
    store_part(gates, f_at, forget, left)
    store_part(gates, c_at, c_tilde, left)
    store_part(gates, o_at, o, left)


@inner
def _keep(gates, h_t, h, c, tanh_c, c_prev, out, own, prev, f, F):
    """Keep the states of a vector of channels of one pixel at a masked step."""
    left, zeros = F - f, full(h, 0)
    store_part(h, out + f, load_part(h_t, own + f, left), left)  # (recurrent.2)
    store_part(c, out + f, load_part(c_prev, prev + f, left), left)
    store_part(tanh_c, out + f, zeros, left)
    for slot in range(4):
        store_part(gates, 4 * out + slot * F + f, zeros, left)


def conv_lstm2d_backward_cpu(
    dh,
    dc,
    x,
    kernel,
    recurrent_kernel,
    h,
    c,
    cache,
    h0=None,
    c0=None,
    mask=None,
    strides=1,
    padding="valid",
    dilation=1,
):
    """See `conv_lstm2d_backward`."""
    arguments = dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask, strides, padding, dilation
    return _backward(_cells_back_cpu, memory.empty, *arguments)


def _cells_back_cpu(dz, dz_t, dh, dc, dh_next, dc_next, kept, gates, tanh_c, c, c0, mask, t):
    N, T, OH, OW, F = dh.shape
    c_prev, start, step = (c0, 0, 1) if t == 0 else (c, t - 1, T)
    arrays = dz, dz_t, dh, dc, dh_next, dc_next, kept, gates, tanh_c, c_prev
    _all_cells_back(*(array.reshape(-1) for array in arrays), start, step, mask, t, OH, OW, F)


@compiled
def _all_cells_back(dz, dz_t, dh, dc, dh_next, dc_next, kept, gates, tanh_c, c_prev, start, step, mask, t, OH, OW, F):
    N, T = mask.shape
    every_step = len(dc) == len(dh)  # or zeros for one step
    for work in prange(N * OH):  # one thread owns a row of pixels
        n, row = work // OH, work % OH
        at, state, before = (n * T + t) * OH + row, n * OH + row, (start + n * step) * OH + row
        for s in range(OW):
            out, own, prev = (at * OW + s) * F, (state * OW + s) * F, (before * OW + s) * F
            dc_at = out if every_step else own
            for f in range(0, F, width(dh)):
                if not mask[n, t]:
                    _keep_back(dz, dz_t, dh, dc, dh_next, dc_next, kept, out, own, dc_at, f, F)
                elif F - f >= width(dh):
                    left = width(dh)
                    _cell_back(
                        dz, dz_t, dh, dc, dh_next, dc_next, gates, tanh_c, c_prev, out, own, prev, dc_at, f, F, left
                    )
                else:
                    left = F - f
                    _cell_back(
                        dz, dz_t, dh, dc, dh_next, dc_next, gates, tanh_c, c_prev, out, own, prev, dc_at, f, F, left
                    )


@inner(forceinline=True)
def _cell_back(dz, dz_t, dh, dc, dh_next, dc_next, gates, tanh_c, c_prev, out, own, prev, dc_at, f, F, left):
    """Compute dz of a vector of channels of one pixel at one step, and what goes back to c_{t−1}."""
    i_at, z = 4 * out + f, 4 * own + f
    i, forget = load_part(gates, i_at, left), load_part(gates, i_at + F, left)
    c_tilde, o = load_part(gates, i_at + 2 * F, left), load_part(gates, i_at + 3 * F, left)
    tanh_c_t = load_part(tanh_c, out + f, left)
    dh_t = load_part(dh, out + f, left) + load_part(dh_next, own + f, left)  # (conv_lstm2d.8)
    d = load_part(dc, dc_at + f, left) + load_part(dc_next, own + f, left)
    d = d + dh_t * o * (1 - tanh_c_t * tanh_c_t)  # (conv_lstm2d.9)
    dz_i = d * c_tilde * i * (1 - i)  # (conv_lstm2d.10)
    dz_f = d * load_part(c_prev, prev + f, left) * forget * (1 - forget)  # (conv_lstm2d.11)
    dz_c = d * i * (1 - c_tilde * c_tilde)  # (conv_lstm2d.12)
    dz_o = dh_t * tanh_c_t * o * (1 - o)  # (conv_lstm2d.13)
    store_part(dc_next, own + f, d * forget, left)  # (conv_lstm2d.9)
    store_part(dz, i_at, dz_i, left)
    store_part(dz, i_at + F, dz_f, left)
    store_part(dz, i_at + 2 * F, dz_c, left)
    store_part(dz, i_at + 3 * F, dz_o, left)
    store_part(dz_t, z, dz_i, left)
    store_part(dz_t, z + F, dz_f, left)
    store_part(dz_t, z + 2 * F, dz_c, left)
    store_part(dz_t, z + 3 * F, dz_o, left)


@inner
def _keep_back(dz, dz_t, dh, dc, dh_next, dc_next, kept, out, own, dc_at, f, F):
    """Hand the gradients of a vector of channels of one pixel on at a masked step."""
    left, zeros = F - f, full(dh, 0)
    dh_t = load_part(dh, out + f, left) + load_part(dh_next, own + f, left)
    dc_t = load_part(dc, dc_at + f, left) + load_part(dc_next, own + f, left)
    store_part(kept, own + f, dh_t, left)  # (recurrent.5)
    store_part(dc_next, own + f, dc_t, left)
    for slot in range(4):
        store_part(dz, 4 * out + slot * F + f, zeros, left)
        store_part(dz_t, 4 * own + slot * F + f, zeros, left)


# --- GPU: gates and states by array expressions -------------------------------------------------------------------


def conv_lstm2d_forward_gpu(
    x, kernel, recurrent_kernel, bias=None, h0=None, c0=None, mask=None, strides=1, padding="valid", dilation=1
):
    """See `conv_lstm2d_forward`."""
    arguments = x, kernel, recurrent_kernel, bias, h0, c0, mask, strides, padding, dilation
    return _forward(_cells_gpu, xp_of(x).empty, *arguments)


def _cells_gpu(gates, product, h_t, h, c, tanh_c, c0, mask, t):
    xp, F, real = xp_of(h), h.shape[4], mask[:, t, None, None, None]
    c_prev = c[:, t - 1] if t > 0 else c0
    z = gates[:, t] + product
    c_tilde = xp.tanh(z[..., 2 * F : 3 * F])  # (conv_lstm2d.4)
    z = 0.5 * xp.tanh(0.5 * z) + 0.5  # σ that never overflows: (conv_lstm2d.2), (conv_lstm2d.3), (conv_lstm2d.5)
    z[..., 2 * F : 3 * F] = c_tilde
    i, f, o = z[..., :F], z[..., F : 2 * F], z[..., 3 * F :]
    c[:, t] = xp.where(real, f * c_prev + i * c_tilde, c_prev)  # (conv_lstm2d.6), (recurrent.2)
    new_tanh_c = xp.tanh(c[:, t])
    h_t[...] = xp.where(real, o * new_tanh_c, h_t)  # (conv_lstm2d.7), (recurrent.2)
    h[:, t] = h_t
    gates[:, t], tanh_c[:, t] = xp.where(real, z, 0), xp.where(real, new_tanh_c, 0)


def conv_lstm2d_backward_gpu(
    dh,
    dc,
    x,
    kernel,
    recurrent_kernel,
    h,
    c,
    cache,
    h0=None,
    c0=None,
    mask=None,
    strides=1,
    padding="valid",
    dilation=1,
):
    """See `conv_lstm2d_backward`."""
    arguments = dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask, strides, padding, dilation
    return _backward(_cells_back_gpu, xp_of(x).empty, *arguments)


def _cells_back_gpu(dz, dz_t, dh, dc, dh_next, dc_next, kept, gates, tanh_c, c, c0, mask, t):
    xp, F, real = xp_of(dh), dh.shape[4], mask[:, t, None, None, None]
    i, f, c_tilde, o = (gates[:, t, ..., slot * F : (slot + 1) * F] for slot in range(4))
    c_prev = c[:, t - 1] if t > 0 else c0
    kept[...] = dh_t = dh[:, t] + dh_next  # (conv_lstm2d.8)
    dc_kept = dc[:, t if dc.shape[1] > 1 else 0] + dc_next
    dc_t = dc_kept + dh_t * o * (1 - tanh_c[:, t] ** 2)  # (conv_lstm2d.9)
    dz_t[..., :F] = dc_t * c_tilde * i * (1 - i)  # (conv_lstm2d.10)
    dz_t[..., F : 2 * F] = dc_t * c_prev * f * (1 - f)  # (conv_lstm2d.11)
    dz_t[..., 2 * F : 3 * F] = dc_t * i * (1 - c_tilde**2)  # (conv_lstm2d.12)
    dz_t[..., 3 * F :] = dh_t * tanh_c[:, t] * o * (1 - o)  # (conv_lstm2d.13)
    dz[:, t] = dz_t  # zeros at masked steps, as the gates are
    dc_next[...] = xp.where(real, dc_t * f, dc_kept)  # (conv_lstm2d.9), (recurrent.5)


# --- the table ----------------------------------------------------------------------------------------------------

conv_lstm2d_forward = Op(
    reference=conv_lstm2d_forward_reference, cpu=conv_lstm2d_forward_cpu, gpu=conv_lstm2d_forward_gpu
)
conv_lstm2d_backward = Op(
    reference=conv_lstm2d_backward_reference, cpu=conv_lstm2d_backward_cpu, gpu=conv_lstm2d_backward_gpu
)
