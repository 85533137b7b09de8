"""Plant mistakes that students make in backward passes, and see that the checker rejects every one of them.

Each backward pass below is right unless ``bug`` names a mistake. The right one must be accepted and each wrong
one rejected, by one random direction per block, whatever the seed.
"""

import numpy as np
import pytest

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.activations import relu_forward, sigmoid_forward, softmax_forward, tanh_forward
from minivid.ops.avgpool2d import avgpool2d_forward
from minivid.ops.batch_norm import batch_norm_forward
from minivid.ops.conv2d import conv2d_forward
from minivid.ops.conv2d_transpose import conv2d_transpose_forward, conv2d_transpose_window
from minivid.ops.conv_lstm2d import conv_lstm2d_backward, conv_lstm2d_forward
from minivid.ops.dense import dense_forward
from minivid.ops.dropout import dropout_forward
from minivid.ops.gru import gru_forward
from minivid.ops.huber import huber_forward
from minivid.ops.iou import giou_backward, giou_forward, iou_backward
from minivid.ops.lstm import lstm_forward
from minivid.ops.mae import mae_forward
from minivid.ops.maxpool2d import maxpool2d_backward, maxpool2d_forward, pixels_per_window
from minivid.ops.mse import mse_forward
from minivid.ops.sigmoid_cross_entropy import sigmoid_cross_entropy_forward
from minivid.ops.simple_rnn import simple_rnn_forward
from minivid.ops.softmax_cross_entropy import softmax_cross_entropy_forward
from minivid.ops.upsampling2d import upsampling2d_forward
from minivid.ops.window import window_of
from tests.numerics import distinct, normal

SEEDS = range(3)
SUBJECTS = {}


class Subject:
    """A forward pass, its backward pass with mistakes to choose from, and a point to check at."""

    def __init__(self, forward, backward, inputs, bugs, smooth=True):
        self.forward, self.backward, self.inputs, self.bugs, self.smooth = forward, backward, inputs, bugs, smooth

    def check(self, bug, seed):
        def forward(**inputs):
            with minivid.use("reference"):
                return self.forward(**inputs)

        def backward(dy, **inputs):
            with minivid.use("reference"):
                return self.backward(dy, bug=bug, **inputs)

        inputs = self.inputs(np.random.default_rng(seed + 1000))
        return check_gradients(forward, backward, inputs, smooth=self.smooth, seed=seed)


def planted():
    return [(name, bug) for name, subject in SUBJECTS.items() for bug in subject.bugs]


# --- convolution: "same" padding with an even kernel, a stride and a dilation ---------------------------------

CONV = {"strides": (2, 1), "padding": "same", "dilation": (1, 2)}


def conv2d_backward(dy, x, w, b, bug):
    N, H, W, C = x.shape
    F = w.shape[3]
    win = window_of((H, W), w.shape[:2], **CONV)
    SH, SW, DW, top, left = win.SH, win.SW, win.DW, win.top, win.left
    if bug == "stride ignored":
        SH, SW = 1, 1
    if bug == "stride of rows and columns swapped":
        SH, SW = SW, SH
    if bug == "dilation ignored":
        DW = 1
    if bug == "padding ignored":
        top = left = 0
    if bug == "padding off by one":
        left -= 1
    if bug == "odd pixel of 'same' at the top":
        top = win.bottom
    wraps = bug == "taps in the padding wrap around"
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, k, l in np.ndindex(win.OH, win.OW, win.KH, win.KW):
        r, s = i * SH + k * win.DH - top, j * SW + l * DW - left
        if r >= H or s >= W or (min(r, s) < 0 and not wraps):
            continue
        tap = w[win.KH - 1 - k, win.KW - 1 - l] if bug == "kernel flipped" else w[k, l]  # (C, F)
        back = tap.reshape(F, C) if bug == "channels reshaped, not transposed" else tap.T
        dx_here, dw_here = dy[:, i, j] @ back, x[:, r, s].T @ dy[:, i, j]
        if bug == "dw of the first image only":
            dw_here = x[0, r, s][:, None] * dy[0, i, j]
        dx[:, r, s] = dx_here if bug == "dx written where windows overlap" else dx[:, r, s] + dx_here
        dw[k, l] = dw_here if bug == "dw of the last position only" else dw[k, l] + dw_here
    if bug == "dw averaged over the batch":
        dw /= N
    if bug == "sign of dx":
        dx = -dx
    db = {
        "db averaged over the batch": dy.sum(axis=(1, 2)).mean(axis=0),
        "db of the last row only": dy[:, -1].sum(axis=(0, 1)),
    }.get(bug, dy.sum(axis=(0, 1, 2)))
    return {"x": dx, "w": dw, "b": db}


SUBJECTS["conv2d"] = Subject(
    lambda x, w, b: conv2d_forward(x, w, b, **CONV),
    conv2d_backward,
    lambda rng: {"x": normal(rng, 2, 5, 6, 2), "w": normal(rng, 2, 3, 2, 3), "b": normal(rng, 3)},
    [
        "stride ignored",
        "stride of rows and columns swapped",
        "dilation ignored",
        "padding ignored",
        "padding off by one",
        "odd pixel of 'same' at the top",
        "taps in the padding wrap around",
        "kernel flipped",
        "channels reshaped, not transposed",
        "dx written where windows overlap",
        "dw of the first image only",
        "dw of the last position only",
        "dw averaged over the batch",
        "sign of dx",
        "db averaged over the batch",
        "db of the last row only",
    ],
)


# --- transposed convolution and upsampling ---------------------------------------------------------------------

TRANSPOSED = {"strides": (2, 1), "padding": "same", "dilation": (1, 2)}


def conv2d_transpose_backward(dy, x, w, b, bug):
    (H, W), (KH, KW) = x.shape[1:3], w.shape[:2]
    (OH, OW), win = conv2d_transpose_window((H, W), (KH, KW), **TRANSPOSED)
    SH, DW, top, left = win.SH, win.DW, win.top, win.left
    if bug == "stride ignored":
        SH = 1
    if bug == "dilation ignored":
        DW = 1
    if bug == "padding ignored":
        top = left = 0
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i, j, k, l in np.ndindex(H, W, KH, KW):
        r, s = i * SH + k - top, j + l * DW - left
        if not (0 <= r < OH and 0 <= s < OW):
            continue
        tap = w[KH - 1 - k, KW - 1 - l] if bug == "kernel flipped" else w[k, l]  # (F, C)
        dx_here = dy[:, r, s] @ tap
        dx[:, i, j] = dx_here if bug == "dx of the last tap only" else dx[:, i, j] + dx_here
        dw[k, l] += dy[:, r, s].T @ x[:, i, j]
    if bug == "channels of dw swapped":
        dw = dw.transpose(0, 1, 3, 2).reshape(w.shape)
    db = dy.sum(axis=(0, 1, 2))
    if bug == "db from as many rows as x has":
        db = dy[:, :H].sum(axis=(0, 1, 2))
    return {"x": dx, "w": dw, "b": db}


SUBJECTS["conv2d_transpose"] = Subject(
    lambda x, w, b: conv2d_transpose_forward(x, w, b, **TRANSPOSED),
    conv2d_transpose_backward,
    lambda rng: {"x": normal(rng, 2, 3, 4, 2), "w": normal(rng, 3, 2, 3, 2), "b": normal(rng, 3)},
    [
        "stride ignored",
        "dilation ignored",
        "padding ignored",
        "kernel flipped",
        "dx of the last tap only",
        "channels of dw swapped",
        "db from as many rows as x has",
    ],
)


def upsampling2d_backward(dy, x, bug):
    N, H, W, C = x.shape
    blocks = dy.reshape(N, H, 2, W, 3, C)
    if bug == "mean of a block":
        return {"x": blocks.mean(axis=(2, 4))}
    if bug == "first pixel of a block":
        return {"x": blocks[:, :, 0, :, 0]}
    if bug == "rows and columns of a block swapped":
        blocks = dy.reshape(N, H, 3, W, 2, C)
    return {"x": blocks.sum(axis=(2, 4))}


SUBJECTS["upsampling2d"] = Subject(
    lambda x: upsampling2d_forward(x, (2, 3)),
    upsampling2d_backward,
    lambda rng: {"x": normal(rng, 2, 3, 4, 2)},
    ["mean of a block", "first pixel of a block", "rows and columns of a block swapped"],
)


# --- convolutional LSTM: the right backward pass, given something wrong ----------------------------------------

CLIP_MASK = np.array([[True, False, True], [True, True, True]])
WINDOW = {"strides": (1, 2), "padding": "same"}


def conv_lstm2d_wrong(upstream, x, kernel, recurrent_kernel, bias, h0, c0, bug):
    dh, dc = upstream
    h, c, cache = conv_lstm2d_forward(x, kernel, recurrent_kernel, bias, h0, c0, CLIP_MASK, **WINDOW)
    r, h_0, c_0, mask = recurrent_kernel, h0, c0, CLIP_MASK
    if bug == "dc from above ignored":
        dc = None
    if bug == "mask forgotten":
        mask = None
    if bug == "c_0 taken as zero":
        c_0 = None
    if bug == "h_0 taken as zero":
        h_0 = None
    if bug == "recurrent kernel flipped":
        r = r[::-1, ::-1].copy()
    if bug == "gates i and f swapped":
        i, f, *rest = np.split(cache.gates, 4, axis=-1)
        cache = cache._replace(gates=np.concatenate([f, i, *rest], axis=-1))
    if bug == "tanh left out of h":
        cache = cache._replace(tanh_c=c)
    gradients = list(conv_lstm2d_backward(dh, dc, x, kernel, r, h, c, cache, h_0, c_0, mask, **WINDOW))
    if bug == "time stops after one step":
        last = np.zeros_like(dh)
        last[:, -1] = dh[:, -1]
        gradients[2] = conv_lstm2d_backward(last, dc, x, kernel, r, h, c, cache, h_0, c_0, mask, **WINDOW)[2]
    return dict(zip(("x", "kernel", "recurrent_kernel", "bias", "h0", "c0"), gradients, strict=True))


SUBJECTS["conv_lstm2d"] = Subject(
    lambda x, kernel, recurrent_kernel, bias, h0, c0: conv_lstm2d_forward(
        x, kernel, recurrent_kernel, bias, h0, c0, CLIP_MASK, **WINDOW
    )[:2],
    conv_lstm2d_wrong,
    lambda rng: {
        "x": normal(rng, 2, 3, 3, 4, 2),
        "kernel": normal(rng, 2, 3, 2, 8) / 3,
        "recurrent_kernel": normal(rng, 3, 2, 2, 8) / 3,
        "bias": normal(rng, 8),
        "h0": normal(rng, 2, 3, 2, 2),
        "c0": normal(rng, 2, 3, 2, 2),
    },
    [
        "dc from above ignored",
        "mask forgotten",
        "c_0 taken as zero",
        "h_0 taken as zero",
        "recurrent kernel flipped",
        "gates i and f swapped",
        "tanh left out of h",
        "time stops after one step",
    ],
)


# --- pooling: windows that overlap, some of them in the padding -----------------------------------------------

POOL = {"pool_size": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1))}


def pool_input(rng):
    return {"x": distinct(rng, 2, 6, 5, 2)}


def add_at(dx, n, r, s, c, value, bug):
    inside = 0 <= r < dx.shape[1] and 0 <= s < dx.shape[2]
    if inside:
        dx[n, r, s, c] = value if bug == "written where windows overlap" else dx[n, r, s, c] + value


def maxpool2d_backward_by_hand(dy, x, bug):
    _, offset = maxpool2d_forward(x, **POOL)
    win = window_of(x.shape[1:3], POOL["pool_size"], POOL["strides"], POOL["padding"])
    SH, SW = (win.KH, win.KW) if bug == "pool size in place of the strides" else (win.SH, win.SW)
    top = 0 if bug == "padding ignored" else win.top
    dx = np.zeros_like(x)
    for n, i, j, c in np.ndindex(*dy.shape):
        taps = (
            np.ndindex(win.KH, win.KW) if bug == "every pixel of the window" else [divmod(offset[n, i, j, c], win.KW)]
        )
        for k, l in taps:
            if bug == "offset read column by column":
                l, k = divmod(offset[n, i, j, c], win.KH)
            if bug == "first pixel of the window":
                k = l = 0
            add_at(dx, n, i * SH + int(k) - top, j * SW + int(l) - win.left, c, dy[n, i, j, c], bug)
    return {"x": dx}


SUBJECTS["maxpool2d"] = Subject(
    lambda x: maxpool2d_forward(x, **POOL)[0],
    maxpool2d_backward_by_hand,
    pool_input,
    [
        "pool size in place of the strides",
        "padding ignored",
        "every pixel of the window",
        "offset read column by column",
        "first pixel of the window",
        "written where windows overlap",
    ],
    smooth=False,
)


def avgpool2d_backward_by_hand(dy, x, bug):
    win = window_of(x.shape[1:3], POOL["pool_size"], POOL["strides"], POOL["padding"])
    area = pixels_per_window(win, *x.shape[1:3])  # (OH, OW)
    if bug == "padding counted":
        area = np.full_like(area, win.KH * win.KW)
    if bug == "not divided":
        area = np.ones_like(area)
    dx = np.zeros_like(x)
    for n, i, j, c in np.ndindex(*dy.shape):
        for k, l in np.ndindex(win.KH, win.KW):
            r, s = i * win.SH + k - win.top, j * win.SW + l - win.left
            add_at(dx, n, r, s, c, dy[n, i, j, c] / area[i, j], bug)
    return {"x": dx}


SUBJECTS["avgpool2d"] = Subject(
    lambda x: avgpool2d_forward(x, **POOL),
    avgpool2d_backward_by_hand,
    pool_input,
    ["padding counted", "not divided", "written where windows overlap"],
)


# --- dense: square weights, so that a transpose does not show in the shape ------------------------------------


def dense_backward(dy, x, w, b, bug):
    dx = dy @ (w if bug == "w not transposed" else w.T)
    dw = dy.T @ x if bug == "dw transposed" else x.T @ dy
    db = dy.mean(axis=0) if bug == "db averaged over the batch" else dy.sum(axis=0)
    if bug == "dw averaged over the batch":
        dw = dw / len(x)
    if bug == "dw of the first sample only":
        dw = np.outer(x[0], dy[0])
    if bug == "db left out":
        db = np.zeros_like(b)
    return {"x": dx, "w": dw, "b": db}


SUBJECTS["dense"] = Subject(
    dense_forward,
    dense_backward,
    lambda rng: {"x": normal(rng, 4, 3), "w": normal(rng, 3, 3), "b": normal(rng, 3)},
    [
        "w not transposed",
        "dw transposed",
        "db averaged over the batch",
        "dw averaged over the batch",
        "dw of the first sample only",
        "db left out",
    ],
)


# --- recurrent networks: D = U, so that the two kernels can be mistaken for each other; two masked steps -------

N, T, U = 2, 4, 3
MASK = np.array([[True, True, True, True], [True, False, True, False]])  # (N, T)


def sequences(*states, slots, bias_rows=()):
    def draw(rng):
        return {
            "x": normal(rng, N, T, U),
            "kernel": normal(rng, U, slots * U),
            "recurrent_kernel": normal(rng, U, slots * U),
            "bias": normal(rng, *bias_rows, slots * U),
            **{state: normal(rng, N, U) for state in states},
        }

    return draw


def simple_rnn_backward(dh, x, kernel, recurrent_kernel, bias, h0, bug):
    h = simple_rnn_forward(x, kernel, recurrent_kernel, bias, h0, MASK)
    dx, dkernel, drecurrent_kernel, dbias = map(np.zeros_like, (x, kernel, recurrent_kernel, bias))
    dh_next = dh_before = np.zeros_like(h0)
    for t in reversed(range(T)):
        real = MASK[:, t, None]
        h_prev = h[:, t - 1] if t > 0 else h0
        dh_t = dh[:, t] + dh_next
        if bug == "dh_next not added":
            dh_t = dh[:, t]
        if bug == "dh of the last step only" and t < T - 1:
            dh_t = dh_next
        slope = {
            "tanh' left out": 1,
            "tanh' of the step before": 1 - h_prev**2,
            "tanh' of tanh": 1 - np.tanh(h[:, t]) ** 2,
        }.get(bug, 1 - h[:, t] ** 2)
        dz = dh_t * slope
        if bug != "masked step gets a gradient":
            dz = np.where(real, dz, 0)
        if bug == "h0 taken as zero" and t == 0:
            h_prev = np.zeros_like(h0)
        if bug == "dR from h_t":
            h_prev = h[:, t]
        dx[:, t] = dz @ (recurrent_kernel.T if bug == "dx from the recurrent kernel" else kernel.T)
        dkernel = x[:, t].T @ dz + (0 if bug == "dkernel of one step only" else dkernel)
        drecurrent_kernel += h_prev.T @ dz
        dbias += dz.sum(axis=0)
        dh_before = dh_next
        back = dz @ (recurrent_kernel if bug == "recurrent kernel not transposed" else recurrent_kernel.T)
        dh_next = np.where(real, back, 0 if bug == "masked step stops the gradient" else dh_t)
        if bug == "truncated after two steps" and t == T - 2:
            dh_next = np.zeros_like(dh_next)
    dh0 = dh_before if bug == "dh0 without the first step" else dh_next
    return {"x": dx, "kernel": dkernel, "recurrent_kernel": drecurrent_kernel, "bias": dbias, "h0": dh0}


SUBJECTS["simple_rnn"] = Subject(
    lambda **inputs: simple_rnn_forward(**inputs, mask=MASK),
    simple_rnn_backward,
    sequences("h0", slots=1),
    [
        "tanh' left out",
        "tanh' of the step before",
        "tanh' of tanh",
        "dh_next not added",
        "dh of the last step only",
        "masked step gets a gradient",
        "masked step stops the gradient",
        "h0 taken as zero",
        "dR from h_t",
        "dx from the recurrent kernel",
        "dkernel of one step only",
        "recurrent kernel not transposed",
        "truncated after two steps",
        "dh0 without the first step",
    ],
)


def lstm_backward(upstream, x, kernel, recurrent_kernel, bias, h0, c0, bug):
    dh, dc = upstream
    h, c, cache = lstm_forward(x, kernel, recurrent_kernel, bias, h0, c0, MASK)
    dx, dkernel, drecurrent_kernel, dbias = map(np.zeros_like, (x, kernel, recurrent_kernel, bias))
    dh_next, dc_next = np.zeros_like(h0), np.zeros_like(c0)
    dh_before, dc_before = dh_next, dc_next
    for t in reversed(range(T)):
        real = MASK[:, t, None]
        h_prev, c_prev = (h[:, t - 1], c[:, t - 1]) if t > 0 else (h0, c0)
        i, f, g, o = np.split(cache.gates[:, t], 4, axis=1)  # g is C~
        tanh_c = cache.tanh_c[:, t]
        if bug == "masked step gets a gradient":  # as when the cache holds the gates of masked steps too
            _, _, step = lstm_forward(x[:, t : t + 1], kernel, recurrent_kernel, bias, h_prev, c_prev)
            i, f, g, o = np.split(step.gates[:, 0], 4, axis=1)
        if bug == "h0 taken as zero" and t == 0:
            h_prev = np.zeros_like(h0)
        if bug == "c0 taken as zero" and t == 0:
            c_prev = np.zeros_like(c0)

        dh_t = dh[:, t] + (0 if bug == "dh_next not added" else dh_next)
        dc_kept = (0 if bug == "dc not added" else dc[:, t]) + (0 if bug == "dc_next not added" else dc_next)
        through_h = {
            "tanh' of c left out": dh_t * o,
            "gradient from h to c left out": 0,
            "tanh' of c from c": dh_t * o * (1 - c[:, t] ** 2),
            "o left out between h and c": dh_t * (1 - tanh_c**2),
        }.get(bug, dh_t * o * (1 - tanh_c**2))
        dc_t = dc_kept + through_h

        slope_i = 1 if bug == "σ' of the input gate left out" else i * (1 - i)
        slope_f = 1 if bug == "σ' of the forget gate left out" else f * (1 - f)
        slope_o = 1 if bug == "σ' of the output gate left out" else o * (1 - o)
        slope_g = {"tanh' of the candidate left out": 1, "σ' on the candidate": g * (1 - g)}.get(bug, 1 - g**2)
        dz_i = dc_t * g * slope_i
        dz_f = dc_t * (c[:, t] if bug == "forget gate from c_t" else c_prev) * slope_f
        dz_g = dc_t * i * slope_g
        dz_o = dh_t * (c[:, t] if bug == "output gate from c without tanh" else tanh_c) * slope_o
        slots = {
            "gates in the order i, f, o, C~ (cs231n)": [dz_i, dz_f, dz_o, dz_g],
            "gates in the order i, C~, f, o (TensorFlow 1)": [dz_i, dz_g, dz_f, dz_o],
            "input and forget gate swapped": [dz_f, dz_i, dz_g, dz_o],
        }.get(bug, [dz_i, dz_f, dz_g, dz_o])
        dz = np.concatenate(slots, axis=1)
        if bug != "masked step gets a gradient":
            dz = np.where(real, dz, 0)

        dx[:, t] = dz @ (recurrent_kernel.T if bug == "dx from the recurrent kernel" else kernel.T)
        dkernel += x[:, t].T @ dz
        drecurrent_kernel += (h[:, t] if bug == "dR from h_t" else h_prev).T @ dz
        dbias = dz.sum(axis=0) + (0 if bug == "dbias of one step only" else dbias)
        dh_before, dc_before = dh_next, dc_next
        f_back = {
            "dc_next times f of the step before": cache.gates[:, t - 1, U : 2 * U],
            "dc_next without f": 1,
        }.get(bug, f)
        dh_next = np.where(real, dz @ recurrent_kernel.T, 0 if bug == "masked step stops dh" else dh_t)
        dc_next = np.where(real, dc_t * f_back, 0 if bug == "masked step stops dc" else dc_kept)
    if bug == "averaged over the batch":
        dkernel, drecurrent_kernel, dbias = dkernel / N, drecurrent_kernel / N, dbias / N
    return {
        "x": dx,
        "kernel": dkernel,
        "recurrent_kernel": drecurrent_kernel,
        "bias": dbias,
        "h0": dh_before if bug == "dh0 without the first step" else dh_next,
        "c0": dc_before if bug == "dc0 without the first step" else dc_next,
    }


SUBJECTS["lstm"] = Subject(
    lambda **inputs: lstm_forward(**inputs, mask=MASK)[:2],
    lstm_backward,
    sequences("h0", "c0", slots=4),
    [
        "σ' of the input gate left out",
        "σ' of the forget gate left out",
        "σ' of the output gate left out",
        "tanh' of the candidate left out",
        "σ' on the candidate",
        "tanh' of c left out",
        "tanh' of c from c",
        "gradient from h to c left out",
        "o left out between h and c",
        "dh_next not added",
        "dc_next not added",
        "dc not added",
        "dc_next times f of the step before",
        "dc_next without f",
        "gates in the order i, f, o, C~ (cs231n)",
        "gates in the order i, C~, f, o (TensorFlow 1)",
        "input and forget gate swapped",
        "forget gate from c_t",
        "output gate from c without tanh",
        "h0 taken as zero",
        "c0 taken as zero",
        "dx from the recurrent kernel",
        "dR from h_t",
        "dbias of one step only",
        "masked step gets a gradient",
        "masked step stops dh",
        "masked step stops dc",
        "averaged over the batch",
        "dh0 without the first step",
        "dc0 without the first step",
    ],
)


def gru_backward(dh, x, kernel, recurrent_kernel, bias, h0, bug):
    h, cache = gru_forward(x, kernel, recurrent_kernel, bias, h0, MASK)
    dx, dkernel, drecurrent_kernel, dbias = map(np.zeros_like, (x, kernel, recurrent_kernel, bias))
    dh_next = np.zeros_like(h0)
    for t in reversed(range(T)):
        real = MASK[:, t, None]
        h_prev = h[:, t - 1] if t > 0 else h0
        z, r, h_tilde = np.split(cache.gates[:, t], 3, axis=1)
        g_h = cache.g_h[:, t]
        dh_t = dh[:, t] + dh_next
        change = h_tilde - h_prev if bug == "z and 1 - z swapped" else h_prev - h_tilde
        da_z = dh_t * change * (1 if bug == "σ' of the update gate left out" else z * (1 - z))
        da_h = dh_t * (1 - z) * (1 if bug == "tanh' of the candidate left out" else 1 - h_tilde**2)
        da_r = da_h * (h_prev if bug == "reset gate from h" else g_h) * r * (1 - r)
        slots = [da_r, da_z] if bug == "update and reset gate swapped" else [da_z, da_r]
        da = np.where(real, np.concatenate([*slots, da_h], axis=1), 0)
        through_r = da_h if bug == "reset gate not in dg" else da_h * r
        dg = np.where(real, np.concatenate([*slots, through_r], axis=1), 0)
        dx[:, t] = da @ kernel.T
        dkernel += x[:, t].T @ da
        drecurrent_kernel += h_prev.T @ (da if bug == "dR from da" else dg)
        dbias += np.stack([da.sum(axis=0), (da if bug == "both biases alike" else dg).sum(axis=0)])
        kept = 0 if bug == "dh · z left out" else dh_t * z
        back = 0 if bug == "dg Rᵀ left out" else dg @ recurrent_kernel.T
        dh_next = np.where(real, kept + back, dh_t)
    return {"x": dx, "kernel": dkernel, "recurrent_kernel": drecurrent_kernel, "bias": dbias, "h0": dh_next}


SUBJECTS["gru"] = Subject(
    lambda **inputs: gru_forward(**inputs, mask=MASK)[0],
    gru_backward,
    sequences("h0", slots=3, bias_rows=(2,)),
    [
        "z and 1 - z swapped",
        "σ' of the update gate left out",
        "tanh' of the candidate left out",
        "reset gate from h",
        "update and reset gate swapped",
        "reset gate not in dg",
        "dR from da",
        "both biases alike",
        "dh · z left out",
        "dg Rᵀ left out",
    ],
)


# --- activations ----------------------------------------------------------------------------------------------


def activation_input(rng):
    return {"x": distinct(rng, 4, 5)}


def relu_backward(dy, x, bug):
    gate = dy > 0 if bug == "gate from dy" else x > 0
    return {"x": dy if bug == "gate left out" else dy * gate}


def tanh_backward(dy, x, bug):
    y = np.tanh(x)
    return {"x": dy * (1 - y if bug == "y not squared" else 1 - y**2)}


def sigmoid_backward(dy, x, bug):
    y = x if bug == "σ' of x in place of y" else 1 / (1 + np.exp(-x))
    return {"x": dy * y * (1 - y)}


def softmax_backward(dy, x, bug):
    y = np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)
    if bug == "diagonal of the Jacobian only":
        return {"x": dy * y * (1 - y)}
    axis = None if bug == "sum over all rows" else -1
    total = (dy * y).sum(axis=axis, keepdims=True)
    return {"x": y * (dy - (0 if bug == "Σ dy·y left out" else total))}


KEEP_SEED, RATE = 5, 0.3


def dropout_backward(dy, x, bug):
    y, keep = dropout_forward(x, RATE, np.random.default_rng(KEEP_SEED))
    scale = 1 if bug == "not scaled" else 1 / (1 - RATE)
    return {"x": dy * scale if bug == "dropped elements get a gradient" else dy * keep * scale}


SUBJECTS["relu"] = Subject(
    relu_forward, relu_backward, activation_input, ["gate from dy", "gate left out"], smooth=False
)
SUBJECTS["tanh"] = Subject(tanh_forward, tanh_backward, activation_input, ["y not squared"])
SUBJECTS["sigmoid"] = Subject(sigmoid_forward, sigmoid_backward, activation_input, ["σ' of x in place of y"])
SUBJECTS["softmax"] = Subject(
    softmax_forward,
    softmax_backward,
    activation_input,
    ["diagonal of the Jacobian only", "sum over all rows", "Σ dy·y left out"],
)
SUBJECTS["dropout"] = Subject(
    lambda x: dropout_forward(x, RATE, np.random.default_rng(KEEP_SEED))[0],
    dropout_backward,
    activation_input,
    ["not scaled", "dropped elements get a gradient"],
)


# --- batch normalisation --------------------------------------------------------------------------------------

EPSILON = 0.1


def batch_norm_backward(dy, x, gamma, beta, bug):
    M = len(x)
    centred, variance = x - x.mean(axis=0), x.var(axis=0)
    sigma = np.sqrt(variance + (0 if bug == "ε forgotten" else EPSILON))
    x_hat = centred / sigma
    dgamma = (dy * (x if bug == "dgamma from x" else x_hat)).sum(axis=0)
    dbeta = dy.mean(axis=0) if bug == "dbeta averaged over the batch" else dy.sum(axis=0)
    dx_hat = dy * (1 if bug == "gamma left out" else gamma)
    dvariance = (dx_hat * centred).sum(axis=0) * -0.5 / sigma**3
    dmean = -dx_hat.sum(axis=0) / sigma
    if bug in ("mean taken as constant", "statistics taken as constants"):
        dmean = 0
    if bug in ("variance taken as constant", "statistics taken as constants"):
        dvariance = 0
    share = M - 1 if bug == "variance divided by M - 1" else M
    dx = dx_hat / sigma + dvariance * 2 * centred / share + dmean / M
    return {"x": dx, "gamma": dgamma, "beta": dbeta}


SUBJECTS["batch_norm"] = Subject(
    lambda x, gamma, beta: batch_norm_forward(x, gamma, beta, EPSILON)[0],
    batch_norm_backward,
    lambda rng: {"x": normal(rng, 6, 3), "gamma": normal(rng, 3), "beta": normal(rng, 3)},
    [
        "ε forgotten",
        "dgamma from x",
        "dbeta averaged over the batch",
        "gamma left out",
        "mean taken as constant",
        "variance taken as constant",
        "statistics taken as constants",
        "variance divided by M - 1",
    ],
)


# --- losses, one per row; soft targets whose rows do not sum to one --------------------------------------------

M, K = 4, 3
TARGETS = np.random.default_rng(99).uniform(0.1, 0.9, size=(M, K))


def targets_like(x):
    return TARGETS.astype(x.dtype)


def logits(rng):
    return {"x": normal(rng, M, K)}


def predictions(rng):
    return {"x": TARGETS + distinct(rng, M, K)}


def weigh(dlosses, slope, bug):
    """What all losses do with the upstream gradient."""
    if bug == "upstream gradient ignored":
        return {"x": slope}
    if bug == "averaged over the batch as well":
        slope = slope / M
    if bug == "sign: target minus output":
        slope = -slope
    return {"x": dlosses[:, None] * slope}


IN_ALL_LOSSES = ["upstream gradient ignored", "averaged over the batch as well", "sign: target minus output"]


def softmax_cross_entropy_backward(dlosses, x, bug):
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    t = TARGETS
    if bug == "targets turned into the best class":
        t = np.eye(K)[TARGETS.argmax(axis=1)]
    mass = 1 if bug == "Σ t left out" else t.sum(axis=1, keepdims=True)
    slope = p * mass - t
    if bug == "softmax' applied once more":
        slope = slope * p * (1 - p)
    return weigh(dlosses, slope, bug)


def sigmoid_cross_entropy_backward(dlosses, x, bug):
    p = 1 / (1 + np.exp(-x))
    slope = p - TARGETS
    if bug == "σ' applied once more":
        slope = slope * p * (1 - p)
    return weigh(dlosses, slope if bug == "1/K left out" else slope / K, bug)


def mse_backward(dlosses, x, bug):
    factor = 1 if bug == "2 left out" else 2
    return weigh(dlosses, factor * (x - TARGETS) / (1 if bug == "1/K left out" else K), bug)


def mae_backward(dlosses, x, bug):
    sign = np.sign(x if bug == "sign of the prediction" else x - TARGETS)
    return weigh(dlosses, sign / (1 if bug == "1/K left out" else K), bug)


SUBJECTS["softmax_cross_entropy"] = Subject(
    lambda x: softmax_cross_entropy_forward(x, targets_like(x))[0],
    softmax_cross_entropy_backward,
    logits,
    ["targets turned into the best class", "Σ t left out", "softmax' applied once more", *IN_ALL_LOSSES],
)
SUBJECTS["sigmoid_cross_entropy"] = Subject(
    lambda x: sigmoid_cross_entropy_forward(x, targets_like(x))[0],
    sigmoid_cross_entropy_backward,
    logits,
    ["σ' applied once more", "1/K left out", *IN_ALL_LOSSES],
)
SUBJECTS["mse"] = Subject(
    lambda x: mse_forward(x, targets_like(x)), mse_backward, predictions, ["2 left out", "1/K left out", *IN_ALL_LOSSES]
)
SUBJECTS["mae"] = Subject(
    lambda x: mae_forward(x, targets_like(x)),
    mae_backward,
    predictions,
    ["sign of the prediction", "1/K left out", *IN_ALL_LOSSES],
    smooth=False,
)


DELTA = 0.8


def huber_backward(dlosses, x, bug):
    d = x - TARGETS
    slope = np.clip(d, -DELTA, DELTA)
    if bug == "absolute everywhere":
        slope = DELTA * np.sign(d)
    if bug == "squared everywhere":
        slope = d
    if bug == "δ taken as 1":
        slope = np.clip(d, -1, 1)
    return weigh(dlosses, slope if bug == "1/K left out" else slope / K, bug)


SUBJECTS["huber"] = Subject(
    lambda x: huber_forward(x, targets_like(x), DELTA),
    huber_backward,
    predictions,
    ["absolute everywhere", "squared everywhere", "δ taken as 1", "1/K left out", *IN_ALL_LOSSES],
)

TARGET_BOX = np.array([[0.0, 0.0, 4.0, 3.0]])


def giou_wrong(dvalues, boxes, bug):
    right = giou_backward(dvalues, boxes, TARGET_BOX)
    if bug == "no box around both":
        right = iou_backward(dvalues, boxes, TARGET_BOX)
    if bug == "x and y swapped":
        right = right[:, [1, 0, 3, 2]]
    if bug == "sign of the first corner":
        right = right * [-1, -1, 1, 1]
    if bug == "upstream gradient ignored":
        right = giou_backward(np.ones(1), boxes, TARGET_BOX)
    return {"boxes": right}


SUBJECTS["giou"] = Subject(
    lambda boxes: giou_forward(boxes, TARGET_BOX.astype(boxes.dtype)),
    giou_wrong,
    lambda rng: {"boxes": np.array([[1.0, -1.0, 6.0, 2.0]]) + rng.uniform(0.1, 0.4, size=(1, 4))},
    ["no box around both", "x and y swapped", "sign of the first corner", "upstream gradient ignored"],
)


# --- the tests ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_right_backward_pass_is_accepted(name, seed):
    SUBJECTS[name].check(bug="", seed=seed).raise_if_failed()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "bug"), planted(), ids=[f"{name}: {bug}" for name, bug in planted()])
def test_a_wrong_backward_pass_is_rejected(name, bug, seed):
    report = SUBJECTS[name].check(bug, seed)
    assert not report.passed
    assert {block.verdict for block in report.blocks} <= {"ok", "wrong", "all zero"}


def test_there_are_enough_of_them():
    assert len(planted()) >= 100
    assert len(set(planted())) == len(planted())


def test_ties_are_checked_by_hand_because_no_derivative_exists_there():
    x = np.array([[7.0, 7.0], [3.0, 7.0]]).reshape(1, 2, 2, 1)
    dy = np.array([10.0]).reshape(1, 1, 1, 1)
    for name in ("reference", "loops"):
        with minivid.use(name):
            _, offset = maxpool2d_forward(x)
            dx = maxpool2d_backward(dy, offset, x.shape)
        # three maxima; the first one, row by row, gets all of the gradient
        np.testing.assert_array_equal(dx[0, :, :, 0], [[10.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("batch_norm", "gamma left out"),
        ("batch_norm", "variance taken as constant"),
        ("batch_norm", "ε forgotten"),
        ("softmax_cross_entropy", "upstream gradient ignored"),
        ("mse", "upstream gradient ignored"),
    ],
)
def test_an_upstream_gradient_of_ones_would_miss_these(name, bug):
    """Why dy is random: with ones, these wrong passes compute what the right one does."""
    subject = SUBJECTS[name]
    with minivid.use("reference"):
        inputs = subject.inputs(np.random.default_rng(0))
        ones = np.ones_like(subject.forward(**inputs))
        right, wrong = (subject.backward(ones, bug=b, **inputs) for b in ("", bug))
    for block in right:
        np.testing.assert_allclose(wrong[block], right[block], atol=1e-14)
