"""minivid's side of the comparison: each function prepares one case and returns what is timed, by name of a layout."""

from collections.abc import Callable

import numpy as np

from minivid import ops
from minivid.memory import empty

__all__ = []

Variants = dict[str, Callable[[], object]]

place = np.asarray  #: moves an array to the device that is timed; `minivid.bench.gpu` puts CuPy's in its place


def load(threads: int):
    """Let Numba use so many threads."""
    import numba

    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    return numba


def _random(*shape: int):
    """Return an array as a layer hands it to the next: it begins where a cache line does, like PyTorch's."""
    x = empty(shape)
    np.random.default_rng(0).standard_normal(dtype=np.float32, out=x)
    return place(x)


def conv2d_forward(N, C, H, F, kernel, stride, padding) -> Variants:
    """Time y."""
    x, w, b = _random(N, H, H, C), _random(kernel, kernel, C, F), _random(F)
    return {"channels last": lambda: ops.conv2d_forward(x, w, b, stride, padding)}


def conv2d_backward(N, C, H, F, kernel, stride, padding) -> Variants:
    """Time dx, dw and db."""
    x, w = _random(N, H, H, C), _random(kernel, kernel, C, F)
    dy = _random(*ops.conv2d_forward(x, w, None, stride, padding).shape)
    return {"channels last": lambda: ops.conv2d_backward(dy, x, w, stride, padding)}


def maxpool2d_forward(N, C, H, pool, stride) -> Variants:
    """Time y and where the maxima are."""
    x = _random(N, H, H, C)
    return {"channels last": lambda: ops.maxpool2d_forward(x, pool, stride)}


def maxpool2d_backward(N, C, H, pool, stride) -> Variants:
    """Time dx."""
    x = _random(N, H, H, C)
    y, offset = ops.maxpool2d_forward(x, pool, stride)
    dy = _random(*y.shape)
    return {"channels last": lambda: ops.maxpool2d_backward(dy, offset, x.shape, pool, stride)}


def _lstm_arrays(N, T, D, U) -> tuple[np.ndarray, ...]:
    scale = np.float32(1 / np.sqrt(U))
    return _random(N, T, D), _random(D, 4 * U) * scale, _random(U, 4 * U) * scale, _random(4 * U) * scale


def lstm_forward(N, T, D, U) -> Variants:
    """Time the states of all steps, with what a backward pass would need."""
    x, kernel, recurrent_kernel, bias = _lstm_arrays(N, T, D, U)
    return {"batch first": lambda: ops.lstm_forward(x, kernel, recurrent_kernel, bias)}


def lstm_both(N, T, D, U) -> Variants:
    """Time the states, then the gradients of the input, the weights and the first state."""
    x, kernel, recurrent_kernel, bias = _lstm_arrays(N, T, D, U)
    dh = _random(N, T, U)

    def both():
        h, c, cache = ops.lstm_forward(x, kernel, recurrent_kernel, bias)
        return ops.lstm_backward(dh, None, x, kernel, recurrent_kernel, h, c, cache)

    return {"batch first": both}


def dense_forward(M, D, U) -> Variants:
    """Time y."""
    x, w, b = _random(M, D), _random(D, U), _random(U)
    return {"": lambda: ops.dense_forward(x, w, b)}


def dense_both(M, D, U) -> Variants:
    """Time y, then dx, dw and db."""
    x, w, b, dy = _random(M, D), _random(D, U), _random(U), _random(M, U)
    return {"": lambda: (ops.dense_forward(x, w, b), ops.dense_backward(dy, x, w))}


def classifier(T, H):
    """Return the CNN + LSTM classifier of 10 classes, with Adam."""
    from minivid.layers import LSTM, Conv2D, Dense, Flatten, Input, MaxPooling2D, TimeDistributed
    from minivid.models import Sequential

    model = Sequential(
        [
            Input((T, H, H, 3)),
            TimeDistributed(Conv2D(32, 3, activation="relu")),
            TimeDistributed(MaxPooling2D(2)),
            TimeDistributed(Conv2D(64, 3, activation="relu")),
            TimeDistributed(MaxPooling2D(2)),
            TimeDistributed(Flatten()),
            LSTM(100, return_sequences=True),
            LSTM(100),
            Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def training_step(N, T, H) -> Variants:
    """Time forward, loss, backward and update of the classifier."""
    model = classifier(T, H)
    x, y = _random(N, T, H, H, 3), np.arange(N) % 10
    return {"channels last": lambda: model.train_on_batch(x, y)}
