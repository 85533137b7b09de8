"""Every operation gives the same bits for any number of threads, and from run to run."""

from functools import partial

import numpy as np
import pytest

import minivid
from minivid import ops
from minivid.backend import Op
from tests.numerics import assert_same_bits, normal, without_reference

OPERATIONS = [value for value in vars(ops).values() if isinstance(value, Op)]


def draw(*shape):
    return normal(np.random.default_rng(sum(shape)), *shape, dtype=np.float32)


# Many vectors, and not a whole number of them; more pieces of work than there are threads.
N, T, D, U = 21, 5, 40, 19
images, rows, features, sequences = draw(9, 21, 19, 35), draw(4099, 37), draw(100, 300), draw(N, T, D)
kernels, weights = draw(3, 3, 35, 40), draw(300, 70)
mask = np.random.default_rng(0).random((N, T)) < 0.8
targets = np.eye(37, dtype=np.float32)[np.arange(len(rows)) % 37]
per_row, per_channel = draw(len(rows)), np.abs(draw(35))


def recurrent_weights(slots):
    return draw(D, slots * U) / 8, draw(U, slots * U) / 8


def both_ways(forward, backward):
    """Call forward and backward; return all their arrays."""
    y = forward()
    y = y if isinstance(y, tuple) else (y,)
    dx = backward(*y)
    return list(flat([*y, dx]))


def flat(results):
    for result in results:
        if isinstance(result, tuple):
            yield from flat(result)
        else:
            yield result


def convolution(**options):
    return both_ways(
        lambda: ops.conv2d_forward(images, kernels, draw(40), **options),
        lambda y: ops.conv2d_backward(y, images, kernels, **options),
    )


def transposed_convolution():
    w, options = draw(3, 3, 40, 35), {"strides": 2, "padding": "same"}
    return both_ways(
        lambda: ops.conv2d_transpose_forward(images, w, draw(40), **options),
        lambda y: ops.conv2d_transpose_backward(y, images, w, **options),
    )


def upsampling():
    return both_ways(
        lambda: ops.upsampling2d_forward(images, (2, 3)),
        lambda y: ops.upsampling2d_backward(y, images.shape, (2, 3)),
    )


def conv_lstm2d():
    clips, w, r = draw(5, 4, 9, 11, 7), draw(3, 3, 7, 4 * 19) / 8, draw(3, 3, 19, 4 * 19) / 8
    return both_ways(
        lambda: ops.conv_lstm2d_forward(clips, w, r, mask=mask[:5, :4], padding="same"),
        lambda h, c, cache: ops.conv_lstm2d_backward(h, c, clips, w, r, h, c, cache, mask=mask[:5, :4], padding="same"),
    )


def max_pooling(size, strides):
    return both_ways(
        lambda: ops.maxpool2d_forward(images, size, strides),
        lambda y, offset: ops.maxpool2d_backward(y, offset, images.shape, size, strides),
    )


def lstm():
    w = recurrent_weights(4)
    return both_ways(
        lambda: ops.lstm_forward(sequences, *w, mask=mask),
        lambda h, c, cache: ops.lstm_backward(h, c, sequences, *w, h, c, cache, mask=mask),
    )


def gru():
    w = recurrent_weights(3)
    return both_ways(
        lambda: ops.gru_forward(sequences, *w, mask=mask),
        lambda h, cache: ops.gru_backward(h, sequences, *w, h, cache, mask=mask),
    )


def simple_rnn():
    w = recurrent_weights(1)
    return both_ways(
        lambda: ops.simple_rnn_forward(sequences, *w, mask=mask),
        lambda h: ops.simple_rnn_backward(h, sequences, *w, h, mask=mask),
    )


def batch_norm():
    return both_ways(
        lambda: ops.batch_norm_forward(images, per_channel, per_channel),
        lambda y, mean, variance: ops.batch_norm_backward(y, images, per_channel, mean, variance),
    )


def batch_norm_inference():
    statistics = per_channel, per_channel
    return both_ways(
        lambda: ops.batch_norm_inference(images, per_channel, per_channel, *statistics),
        lambda y: ops.batch_norm_inference_backward(y, images, per_channel, *statistics),
    )


def dropout():
    return both_ways(
        lambda: ops.dropout_forward(rows, 0.3, np.random.default_rng(0)),
        lambda y, keep: ops.dropout_backward(y, keep, 0.3),
    )


def average_pooling():
    return both_ways(
        lambda: ops.avgpool2d_forward(images, 3, 2), lambda y: ops.avgpool2d_backward(y, images.shape, 3, 2)
    )


def global_average_pooling():
    return both_ways(
        lambda: ops.global_avgpool2d_forward(images), lambda y: ops.global_avgpool2d_backward(y, images.shape)
    )


def dense():
    return both_ways(
        lambda: ops.dense_forward(features, weights, draw(70)), lambda y: ops.dense_backward(y, features, weights)
    )


def products():
    return [
        ops.matmul(features, weights),
        ops.matmul(features[:9], weights),
        ops.matmul(features, features, transpose_b=True),
        ops.matmul(features, features, transpose_a=True),
    ]


def activation(name):
    forward, backward = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    return both_ways(lambda: forward(rows), lambda y: backward(rows, y))


def losses():
    cross_entropies = [
        both_ways(
            lambda forward=forward: forward(rows, targets),
            lambda _, probabilities, backward=backward: backward(per_row, probabilities, targets),
        )
        for forward, backward in [
            (ops.softmax_cross_entropy_forward, ops.softmax_cross_entropy_backward),
            (ops.sigmoid_cross_entropy_forward, ops.sigmoid_cross_entropy_backward),
        ]
    ]
    distances = [
        both_ways(lambda forward=forward: forward(rows, targets), lambda _, b=backward: b(per_row, rows, targets))
        for forward, backward in [
            (ops.mse_forward, ops.mse_backward),
            (ops.mae_forward, ops.mae_backward),
            (ops.huber_forward, ops.huber_backward),
        ]
    ]
    return [array for arrays in cross_entropies + distances for array in arrays]


def boxes():
    first, second = np.abs(draw(1001, 4)), np.abs(draw(1002, 4))[:1001]
    first[:, 2:] += first[:, :2]
    second[:, 2:] += second[:, :2]
    return [
        array
        for forward, backward in [(ops.iou_forward, ops.iou_backward), (ops.giou_forward, ops.giou_backward)]
        for array in both_ways(lambda f=forward: f(first, second), lambda v, b=backward: b(v, first, second))
    ]


CALLS = {
    "convolution": lambda: convolution(padding="same"),
    "convolution, stride 2": lambda: convolution(strides=2),
    "max-pooling": lambda: max_pooling(2, 2),
    "max-pooling, overlapping": lambda: max_pooling(3, 2),
    **{
        f.__name__: f
        for f in (average_pooling, global_average_pooling, lstm, gru, simple_rnn, batch_norm, batch_norm_inference)
    },
    **{f.__name__: f for f in (dropout, dense, products, losses, boxes)},
    **{f.__name__: f for f in (transposed_convolution, upsampling, conv_lstm2d)},
    **{name: partial(activation, name) for name in ("relu", "tanh", "sigmoid", "softmax")},
}


@pytest.mark.parametrize("rung", sorted({rung for op in OPERATIONS for rung in without_reference(op)}))
@pytest.mark.parametrize("name", CALLS)
def test_same_bits(name, rung):
    with minivid.use(rung):
        assert_same_bits(CALLS[name])


def test_no_operation_is_left_out(monkeypatch):
    called, call = set(), Op.__call__

    def recorded(op, *args, **kwargs):
        called.add(op)
        return call(op, *args, **kwargs)

    monkeypatch.setattr(Op, "__call__", recorded)
    for compute in CALLS.values():
        compute()
    assert {op.__name__ for op in OPERATIONS} == {op.__name__ for op in called}
