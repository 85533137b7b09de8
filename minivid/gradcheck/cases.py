"""What `minivid gradcheck` checks: every operation at small points that leave no term of its gradients zero.

Sizes differ from axis to axis, windows do not divide the image, states and upstream gradients are not zero, and
maxima are not tied. Numbers are rounded to float32, so that a check in float32 starts from the same point.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from minivid import ops
from minivid.backend import Op

__all__ = ["Case", "cases"]


@dataclass
class Case:
    """An operation at one point, ready for `check_gradients`.

    Attributes
    ----------
    operation, options : str
        What is checked: ``"conv2d"``, ``"same, stride 2x3"``.
    ops : tuple of Op
        The tables that the passes call; empty for operations of a single implementation.
    forward : callable
        ``forward(**inputs) -> y``.
    backward : callable
        ``backward(dy, **inputs) -> dict`` of gradients, from the cache of its own forward pass.
    inputs : dict of str to float64 array
        The point.
    terms : int
        Length of the longest sum, for the tolerance in float32.
    equations : dict of str to str
        Tags of the equations of gradients, by input, and of outputs.
    outputs : tuple of str
        Names of what forward returns.
    smooth : bool
        Whether a complex step applies.
    parts : dict
        Named parts of the inputs, as in `check_gradients`.
    """

    operation: str
    options: str
    ops: tuple[Op, ...]
    forward: Callable
    backward: Callable
    inputs: dict[str, np.ndarray]
    terms: int
    equations: dict[str, str]
    outputs: tuple[str, ...] = ("y",)
    smooth: bool = True
    parts: dict[str, dict[str, tuple]] = field(default_factory=dict)


def cases(seed: int = 0) -> list[Case]:
    """Return all cases, their points drawn from a seed.

    Parameters
    ----------
    seed : int
        Draws the inputs.

    Returns
    -------
    list of Case

    Examples
    --------
    >>> [case.options for case in cases() if case.operation == "batch_norm"]
    ['training']
    """
    rng = np.random.default_rng(seed)
    return [
        _conv2d(rng, "valid"),
        _conv2d(rng, "same, stride 2x3", padding="same", strides=(2, 3)),
        _conv2d(rng, "padded, dilated", padding=((0, 2), (1, 0)), dilation=(2, 1)),
        _conv2d_transpose(rng, "valid, stride 2x3", strides=(2, 3), output_padding=1),
        _conv2d_transpose(rng, "same, dilated", strides=(2, 1), padding="same", dilation=(1, 2)),
        _maxpool2d(rng, "overlapping", pool_size=(3, 2), strides=(2, 1)),
        _maxpool2d(rng, "same", pool_size=(2, 3), padding="same"),
        _avgpool2d(rng, "overlapping", pool_size=(3, 2), strides=(2, 1)),
        _avgpool2d(rng, "same", pool_size=(2, 3), padding="same"),
        _global_avgpool2d(rng),
        _upsampling2d(rng),
        _matmul(rng),
        _dense(rng),
        *(_activation(rng, name) for name in ("relu", "tanh", "sigmoid", "softmax")),
        *(_simple_rnn(rng, mask) for mask in (None, _MASK)),
        *(_lstm(rng, mask) for mask in (None, _MASK)),
        *(_gru(rng, mask) for mask in (None, _MASK)),
        *(_conv_lstm2d(rng, mask) for mask in (None, _MASK)),
        _batch_norm(rng),
        _batch_norm_inference(rng),
        _dropout(rng),
        *(_loss(rng, *loss) for loss in _LOSSES),
        *(_boxes(rng, *loss) for loss in _BOXES),
    ]


def _normal(rng, *shape) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32).astype(np.float64)


def _shares(rng, *shape) -> np.ndarray:
    return rng.uniform(0.1, 0.9, size=shape).astype(np.float32).astype(np.float64)


def _distinct(rng, *shape) -> np.ndarray:
    """Values from −2 to 2 in random order, all apart and none near zero: no kink within reach of a step."""
    size = int(np.prod(shape))
    values = rng.permutation(np.arange(size) - size // 2 + 0.5) * 4 / size
    return values.reshape(shape).astype(np.float32).astype(np.float64)


# --- images ---------------------------------------------------------------------------------------------------


def _conv2d(rng, options: str, **kwargs) -> Case:
    def forward(x, w, b):
        return ops.conv2d_forward(x, w, b, **kwargs)

    def backward(dy, x, w, b):
        dx, dw, db = ops.conv2d_backward(dy, x, w, **kwargs)
        return {"x": dx, "w": dw, "b": db}

    x, w, b = _normal(rng, 2, 6, 7, 2), _normal(rng, 3, 2, 2, 3), _normal(rng, 3)
    return Case(
        operation="conv2d",
        options=options,
        ops=(ops.conv2d_forward, ops.conv2d_backward_input, ops.conv2d_backward_weights),
        forward=forward,
        backward=backward,
        inputs={"x": x, "w": w, "b": b},
        terms=x.size // 2,  # dw sums over images and positions
        equations={"y": "conv2d.1", "x": "conv2d.2", "w": "conv2d.3", "b": "conv2d.4"},
    )


def _conv2d_transpose(rng, options: str, **kwargs) -> Case:
    def forward(x, w, b):
        return ops.conv2d_transpose_forward(x, w, b, **kwargs)

    def backward(dy, x, w, b):
        dx, dw, db = ops.conv2d_transpose_backward(dy, x, w, **kwargs)
        return {"x": dx, "w": dw, "b": db}

    x, w, b = _normal(rng, 2, 3, 4, 2), _normal(rng, 3, 2, 3, 2), _normal(rng, 3)
    return Case(
        operation="conv2d_transpose",
        options=options,
        ops=(
            ops.conv2d_transpose_forward,
            ops.conv2d_transpose_backward_input,
            ops.conv2d_transpose_backward_weights,
        ),
        forward=forward,
        backward=backward,
        inputs={"x": x, "w": w, "b": b},
        terms=2 * 8 * 12,  # db sums over images and positions
        equations={
            "y": "conv2d_transpose.1",
            "x": "conv2d_transpose.2",
            "w": "conv2d_transpose.3",
            "b": "conv2d_transpose.4",
        },
    )


def _upsampling2d(rng) -> Case:
    def forward(x):
        return ops.upsampling2d_forward(x, (2, 3))

    def backward(dy, x):
        return {"x": ops.upsampling2d_backward(dy, x.shape, (2, 3))}

    return Case(
        operation="upsampling2d",
        options="2x3",
        ops=(ops.upsampling2d_forward, ops.upsampling2d_backward),
        forward=forward,
        backward=backward,
        inputs={"x": _normal(rng, 2, 3, 4, 3)},
        terms=6,
        equations={"y": "upsampling2d.1", "x": "upsampling2d.2"},
    )


def _maxpool2d(rng, options: str, **kwargs) -> Case:
    def forward(x):
        return ops.maxpool2d_forward(x, **kwargs)[0]

    def backward(dy, x):
        _, offset = ops.maxpool2d_forward(x, **kwargs)
        return {"x": ops.maxpool2d_backward(dy, offset, x.shape, **kwargs)}

    return Case(
        operation="maxpool2d",
        options=options,
        ops=(ops.maxpool2d_forward, ops.maxpool2d_backward),
        forward=forward,
        backward=backward,
        inputs={"x": _distinct(rng, 2, 6, 7, 3)},
        terms=6,  # windows over one pixel
        equations={"y": "maxpool2d.1", "x": "maxpool2d.3"},
        smooth=False,
    )


def _avgpool2d(rng, options: str, **kwargs) -> Case:
    def forward(x):
        return ops.avgpool2d_forward(x, **kwargs)

    def backward(dy, x):
        return {"x": ops.avgpool2d_backward(dy, x.shape, **kwargs)}

    return Case(
        operation="avgpool2d",
        options=options,
        ops=(ops.avgpool2d_forward, ops.avgpool2d_backward),
        forward=forward,
        backward=backward,
        inputs={"x": _normal(rng, 2, 6, 7, 3)},
        terms=6,
        equations={"y": "avgpool2d.1", "x": "avgpool2d.2"},
    )


def _global_avgpool2d(rng) -> Case:
    def backward(dy, x):
        return {"x": ops.global_avgpool2d_backward(dy, x.shape)}

    return Case(
        operation="global_avgpool2d",
        options="",
        ops=(ops.global_avgpool2d_forward, ops.global_avgpool2d_backward),
        forward=ops.global_avgpool2d_forward,
        backward=backward,
        inputs={"x": _normal(rng, 2, 5, 4, 3)},
        terms=5 * 4,
        equations={"y": "global_avgpool2d.1", "x": "global_avgpool2d.2"},
    )


# --- products and elementwise operations ----------------------------------------------------------------------


def _matmul(rng) -> Case:
    def backward(dy, a, b):
        return {"a": ops.matmul(dy, b, transpose_b=True), "b": ops.matmul(a, dy, transpose_a=True)}

    return Case(
        operation="matmul",
        options="",
        ops=(ops.matmul,),
        forward=ops.matmul,
        backward=backward,
        inputs={"a": _normal(rng, 4, 3), "b": _normal(rng, 3, 5)},
        terms=5,
        equations={"y": "matmul.1", "a": "matmul.2", "b": "matmul.3"},
    )


def _dense(rng) -> Case:
    def backward(dy, x, w, b):
        dx, dw, db = ops.dense_backward(dy, x, w)
        return {"x": dx, "w": dw, "b": db}

    return Case(
        operation="dense",
        options="",
        ops=(ops.dense_forward, ops.dense_backward_input, ops.dense_backward_weights),
        forward=ops.dense_forward,
        backward=backward,
        inputs={"x": _normal(rng, 2, 4, 3), "w": _normal(rng, 3, 5), "b": _normal(rng, 5)},
        terms=2 * 4,
        equations={"y": "dense.1", "x": "dense.2", "w": "dense.3", "b": "dense.4"},
    )


def _activation(rng, name: str) -> Case:
    forward, backward = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    return Case(
        operation=name,
        options="",
        ops=(forward, backward),
        forward=forward,
        backward=lambda dy, x: {"x": backward(dy, forward(x))},
        inputs={"x": _distinct(rng, 3, 2, 5)},
        terms=5,
        equations={"y": f"{name}.1", "x": "softmax.3" if name == "softmax" else f"{name}.2"},
        smooth=name != "relu",
    )


# --- sequences: the states of all steps are outputs, so gradients arrive at every one of them ------------------

_N, _T, _D, _U = 3, 4, 2, 3
_MASK = np.array([[True, True, True, True], [True, False, True, False], [False, False, True, True]])  # (N, T)


def _sequences(rng, slots: int, bias_shape: tuple[int, ...], states: tuple[str, ...]) -> dict:
    return {
        "x": _normal(rng, _N, _T, _D),
        "kernel": _normal(rng, _D, slots * _U) / 2,  # not so large that gates saturate: 1 − tanh² would cancel
        "recurrent_kernel": _normal(rng, _U, slots * _U) / 2,
        "bias": _normal(rng, *bias_shape),
        **{state: _normal(rng, _N, _U) for state in states},
    }


def _slots(*names: str) -> dict:
    """Name the columns of every gate, in all weights."""
    columns = {name: np.s_[..., slot * _U : (slot + 1) * _U] for slot, name in enumerate(names)}
    return dict.fromkeys(("kernel", "recurrent_kernel", "bias"), columns)


def _of_slots(tags: dict[str, str]) -> dict[str, str]:
    weights = ("kernel", "recurrent_kernel", "bias")
    return {f"{weight}[{slot}]": tag for weight in weights for slot, tag in tags.items()}


def _simple_rnn(rng, mask) -> Case:
    def forward(x, kernel, recurrent_kernel, bias, h0):
        return ops.simple_rnn_forward(x, kernel, recurrent_kernel, bias, h0, mask)

    def backward(dh, x, kernel, recurrent_kernel, bias, h0):
        h = forward(x, kernel, recurrent_kernel, bias, h0)
        gradients = ops.simple_rnn_backward(dh, x, kernel, recurrent_kernel, h, h0, mask)
        return dict(zip(("x", "kernel", "recurrent_kernel", "bias", "h0"), gradients, strict=True))

    return Case(
        operation="simple_rnn",
        options="" if mask is None else "mask",
        ops=(ops.simple_rnn_forward, ops.simple_rnn_backward),
        forward=forward,
        backward=backward,
        inputs=_sequences(rng, 1, (_U,), ("h0",)),
        terms=_N * _T * _U,
        equations={
            "h": "simple_rnn.2",
            "x": "simple_rnn.5",
            "kernel": "simple_rnn.6",
            "recurrent_kernel": "simple_rnn.7",
            "bias": "simple_rnn.8",
            "h0": "simple_rnn.9",
        },
        outputs=("h",),
    )


def _lstm(rng, mask) -> Case:
    def forward(x, kernel, recurrent_kernel, bias, h0, c0):
        return ops.lstm_forward(x, kernel, recurrent_kernel, bias, h0, c0, mask)[:2]

    def backward(upstream, x, kernel, recurrent_kernel, bias, h0, c0):
        dh, dc = upstream
        h, c, cache = ops.lstm_forward(x, kernel, recurrent_kernel, bias, h0, c0, mask)
        gradients = ops.lstm_backward(dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask)
        return dict(zip(("x", "kernel", "recurrent_kernel", "bias", "h0", "c0"), gradients, strict=True))

    gates = {"i": "lstm.10", "f": "lstm.11", "C~": "lstm.12", "o": "lstm.13"}
    return Case(
        operation="lstm",
        options="" if mask is None else "mask",
        ops=(ops.lstm_forward, ops.lstm_backward),
        forward=forward,
        backward=backward,
        inputs=_sequences(rng, 4, (4 * _U,), ("h0", "c0")),
        terms=_N * _T * 4 * _U,
        equations={
            "h": "lstm.7",
            "c": "lstm.6",
            "x": "lstm.14",
            "kernel": "lstm.15",
            "recurrent_kernel": "lstm.16",
            "bias": "lstm.17",
            "h0": "lstm.18",
            "c0": "lstm.19",
            **_of_slots(gates),
        },
        outputs=("h", "c"),
        parts=_slots(*gates),
    )


def _gru(rng, mask) -> Case:
    def forward(x, kernel, recurrent_kernel, bias, h0):
        return ops.gru_forward(x, kernel, recurrent_kernel, bias, h0, mask)[0]

    def backward(dh, x, kernel, recurrent_kernel, bias, h0):
        h, cache = ops.gru_forward(x, kernel, recurrent_kernel, bias, h0, mask)
        gradients = ops.gru_backward(dh, x, kernel, recurrent_kernel, h, cache, h0, mask)
        return dict(zip(("x", "kernel", "recurrent_kernel", "bias", "h0"), gradients, strict=True))

    gates = {"z": "gru.8", "r": "gru.10", "h~": "gru.9"}
    return Case(
        operation="gru",
        options="" if mask is None else "mask",
        ops=(ops.gru_forward, ops.gru_backward),
        forward=forward,
        backward=backward,
        inputs=_sequences(rng, 3, (2, 3 * _U), ("h0",)),
        terms=_N * _T * 3 * _U,
        equations={
            "h": "gru.6",
            "x": "gru.12",
            "kernel": "gru.13",
            "recurrent_kernel": "gru.14",
            "bias": "gru.15",
            "h0": "gru.16",
            **_of_slots(gates),
        },
        outputs=("h",),
        parts=_slots(*gates),
    )


def _conv_lstm2d(rng, mask) -> Case:
    options = {"strides": (2, 1), "padding": "same"}

    def forward(x, kernel, recurrent_kernel, bias, h0, c0):
        return ops.conv_lstm2d_forward(x, kernel, recurrent_kernel, bias, h0, c0, mask, **options)[:2]

    def backward(upstream, x, kernel, recurrent_kernel, bias, h0, c0):
        dh, dc = upstream
        h, c, cache = ops.conv_lstm2d_forward(x, kernel, recurrent_kernel, bias, h0, c0, mask, **options)
        arguments = dh, dc, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask
        gradients = ops.conv_lstm2d_backward(*arguments, **options)
        return dict(zip(("x", "kernel", "recurrent_kernel", "bias", "h0", "c0"), gradients, strict=True))

    gates = {"i": "conv_lstm2d.10", "f": "conv_lstm2d.11", "C~": "conv_lstm2d.12", "o": "conv_lstm2d.13"}
    return Case(
        operation="conv_lstm2d",
        options="" if mask is None else "mask",
        ops=(ops.conv_lstm2d_forward, ops.conv_lstm2d_backward),
        forward=forward,
        backward=backward,
        inputs={
            "x": _normal(rng, _N, _T, 3, 4, _D),
            "kernel": _normal(rng, 3, 2, _D, 4 * _U) / 6,
            "recurrent_kernel": _normal(rng, 2, 3, _U, 4 * _U) / 6,
            "bias": _normal(rng, 4 * _U),
            "h0": _normal(rng, _N, 2, 4, _U),
            "c0": _normal(rng, _N, 2, 4, _U),
        },
        terms=_N * _T * 4 * _U * 8,
        equations={
            "h": "conv_lstm2d.7",
            "c": "conv_lstm2d.6",
            "x": "conv_lstm2d.14",
            "kernel": "conv_lstm2d.15",
            "recurrent_kernel": "conv_lstm2d.16",
            "bias": "conv_lstm2d.17",
            "h0": "conv_lstm2d.18",
            "c0": "conv_lstm2d.19",
            **_of_slots(gates),
        },
        outputs=("h", "c"),
        parts=_slots(*gates),
    )


# --- training -------------------------------------------------------------------------------------------------


def _batch_norm(rng) -> Case:
    def forward(x, gamma, beta):
        return ops.batch_norm_forward(x, gamma, beta)[0]

    def backward(dy, x, gamma, beta):
        _, mean, variance = ops.batch_norm_forward(x, gamma, beta)
        dx, dgamma, dbeta = ops.batch_norm_backward(dy, x, gamma, mean, variance)
        return {"x": dx, "gamma": dgamma, "beta": dbeta}

    return Case(
        operation="batch_norm",
        options="training",
        ops=(ops.batch_norm_forward, ops.batch_norm_backward),
        forward=forward,
        backward=backward,
        inputs={"x": _normal(rng, 2, 3, 5, 4), "gamma": _normal(rng, 4), "beta": _normal(rng, 4)},
        terms=2 * 3 * 5,
        equations={"y": "batch_norm.4", "x": "batch_norm.7", "gamma": "batch_norm.5", "beta": "batch_norm.6"},
    )


def _batch_norm_inference(rng) -> Case:
    mean, variance = _normal(rng, 4), _shares(rng, 4)

    def statistics(x):
        return mean.astype(x.dtype), variance.astype(x.dtype)

    def forward(x, gamma, beta):
        return ops.batch_norm_inference(x, gamma, beta, *statistics(x))

    def backward(dy, x, gamma, beta):
        dx, dgamma, dbeta = ops.batch_norm_inference_backward(dy, x, gamma, *statistics(x))
        return {"x": dx, "gamma": dgamma, "beta": dbeta}

    return Case(
        operation="batch_norm_inference",
        options="",
        ops=(ops.batch_norm_inference, ops.batch_norm_inference_backward),
        forward=forward,
        backward=backward,
        inputs={"x": _normal(rng, 2, 3, 5, 4), "gamma": _normal(rng, 4), "beta": _normal(rng, 4)},
        terms=2 * 3 * 5,
        equations={"y": "batch_norm.4", "x": "batch_norm.8", "gamma": "batch_norm.5", "beta": "batch_norm.6"},
    )


def _dropout(rng) -> Case:
    rate, mask_seed = 0.4, 7  # one seed, one mask: dropout is differentiated with its mask held fixed

    def forward(x):
        return ops.dropout_forward(x, rate, np.random.default_rng(mask_seed))[0]

    def backward(dy, x):
        _, keep = ops.dropout_forward(x, rate, np.random.default_rng(mask_seed))
        return {"x": ops.dropout_backward(dy, keep, rate)}

    return Case(
        operation="dropout",
        options="fixed mask",
        ops=(ops.dropout_forward, ops.dropout_backward),
        forward=forward,
        backward=backward,
        inputs={"x": _normal(rng, 3, 2, 5)},
        terms=1,
        equations={"y": "dropout.2", "x": "dropout.3"},
    )


# --- losses: one per row, so that the upstream gradient weighs every row differently ---------------------------

_LOSSES = (  # operation, its argument, equations of the loss and of its gradient
    ("softmax_cross_entropy", "logits", "softmax_cross_entropy.2", "softmax_cross_entropy.3"),
    ("cross_entropy", "probabilities", "softmax_cross_entropy.5", "softmax_cross_entropy.6"),
    ("sigmoid_cross_entropy", "logits", "sigmoid_cross_entropy.2", "sigmoid_cross_entropy.3"),
    ("binary_cross_entropy", "probabilities", "sigmoid_cross_entropy.4", "sigmoid_cross_entropy.5"),
    ("mse", "predictions", "mse.1", "mse.2"),
    ("mae", "predictions", "mae.1", "mae.2"),
    ("huber", "predictions", "huber.1", "huber.2"),
)


def _loss(rng, operation: str, argument: str, loss_equation: str, gradient_equation: str) -> Case:
    loss_forward, loss_backward = getattr(ops, f"{operation}_forward"), getattr(ops, f"{operation}_backward")
    targets = _shares(rng, 4, 3)  # soft, and their rows do not sum to one
    points = {
        "logits": _normal(rng, 4, 3),
        "probabilities": _shares(rng, 4, 3),
        "predictions": targets + _distinct(rng, 4, 3),
    }

    def run(x):
        """Return the losses, and what backward takes: of logits, the probabilities that forward saves."""
        losses = loss_forward(x, targets.astype(x.dtype))
        return losses if argument == "logits" else (losses, x)

    def forward(**inputs):
        return run(inputs[argument])[0]

    def backward(dlosses, **inputs):
        x = inputs[argument]
        return {argument: loss_backward(dlosses, run(x)[1], targets.astype(x.dtype))}

    return Case(
        operation=operation,
        options="",
        ops=tuple(op for op in (loss_forward, loss_backward) if isinstance(op, Op)),
        forward=forward,
        backward=backward,
        inputs={argument: points[argument]},
        terms=3,
        equations={"losses": loss_equation, argument: gradient_equation},
        outputs=("losses",),
        smooth=operation != "mae",
    )


# --- overlaps of boxes: corner by corner, some nested, some apart; no two sides in one place --------------------

_BOXES = (("iou", "iou.4"), ("giou", "iou.6"))


def _boxes(rng, operation: str, equation: str) -> Case:
    overlap_forward, overlap_backward = getattr(ops, f"{operation}_forward"), getattr(ops, f"{operation}_backward")
    targets = np.array([[0.0, 0.0, 4.0, 3.0]] * 5)
    corners = np.array(
        [[1, 1, 2, 2], [-1, -2, 5, 4], [1, -1, 6, 2], [-2, 1, 3, 5], [-1, -1, 2, 2]], np.float64
    )  # inside, around, and across three corners
    predictions = (corners + rng.uniform(0.1, 0.4, size=corners.shape)).astype(np.float32).astype(np.float64)

    def forward(boxes):
        return overlap_forward(boxes, targets.astype(boxes.dtype))

    def backward(dvalues, boxes):
        return {"boxes": overlap_backward(dvalues, boxes, targets.astype(boxes.dtype))}

    return Case(
        operation=operation,
        options="",
        ops=(overlap_forward, overlap_backward),
        forward=forward,
        backward=backward,
        inputs={"boxes": predictions},
        terms=4,
        equations={"values": equation, "boxes": "iou.10"},
        outputs=("values",),
    )
