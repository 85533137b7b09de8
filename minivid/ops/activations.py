"""Activation functions: ReLU, tanh and sigmoid element by element, softmax along the last axis.

    y = max(x, 0)                               (relu.1)       dx = dy where y > 0, else 0            (relu.2)
    y = tanh x                                  (tanh.1)       dx = dy · (1 − y²)                     (tanh.2)
    y = 1 / (1 + e⁻ˣ)                           (sigmoid.1)    dx = dy · y · (1 − y)                  (sigmoid.2)
    y_k = e^(x_k − μ) / Σ_l e^(x_l − μ)         (softmax.1)    dx_k = y_k · (dy_k − Σ_l dy_l · y_l)   (softmax.3)
    μ = max_k x_k                               (softmax.2)

    x, y, dy, dx   any shape; for softmax (..., K), one distribution over K classes per row

Every backward pass needs the output y alone, so y is all that forward saves. docs/ops/activations.md derives
the gradients.
"""

import math

import numpy as np
from numba import prange

from minivid import memory, simd
from minivid.backend import Op, xp_of
from minivid.cuda import aligned, blocks, constants, launch
from minivid.jit import compiled, inner
from minivid.simd import BYTES, full, load_part, store_part, stream, where, width

__all__ = [
    "relu_backward",
    "relu_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax_backward",
    "softmax_forward",
    "tanh_backward",
    "tanh_forward",
]

_CHUNK = 4096  # elements that one thread takes at a time, whatever the number of threads
_LARGE = 1 << 24  # bytes of outputs from which they go to memory past the caches
_SMALL = 1 << 16  # elements: one thread is done with them before another has woken up


def _check_upstream(dy, y) -> None:
    if dy.shape != y.shape:
        raise ValueError(f"dy has shape {dy.shape}, but the output y of this activation has {y.shape}")


def _check_classes(x) -> None:
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"softmax takes (..., K) with at least one class, got shape {x.shape}")


# --- reference: the equations; signs and maxima are those of the real part --------------------------------


def relu_forward_reference(x: np.ndarray) -> np.ndarray:
    """Set negative numbers to zero, equation (relu.1).

    Parameters
    ----------
    x : array
        Any shape.

    Returns
    -------
    y : array
        Shape and dtype of x; NaN stays NaN.

    Notes
    -----
    Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

    Examples
    --------
    >>> import numpy as np
    >>> relu_forward(np.array([-1.0, 0.0, 2.0]))
    array([0., 0., 2.])
    """
    return np.where(x.real <= 0, 0, x)  # (relu.1)


def relu_backward_reference(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradient of the loss with respect to the input of a ReLU, equation (relu.2).

    Parameters
    ----------
    dy : array
        Gradient with respect to the output.
    y : array
        Output of the forward pass.

    Returns
    -------
    dx : array
        Zero where y is zero, the kink included.

    Raises
    ------
    ValueError
        If dy and y have different shapes.

    Examples
    --------
    >>> import numpy as np
    >>> relu_backward(np.array([5.0, 7.0]), np.array([0.0, 2.0]))
    array([0., 7.])
    """
    _check_upstream(dy, y)
    return np.where(y.real > 0, dy, 0)  # (relu.2)


def tanh_forward_reference(x: np.ndarray) -> np.ndarray:
    """Squash numbers into (−1, 1), equation (tanh.1).

    Parameters
    ----------
    x : array
        Any shape.

    Returns
    -------
    y : array
        Shape and dtype of x.

    Examples
    --------
    >>> import numpy as np
    >>> tanh_forward(np.array([-100.0, 0.0, 100.0]))
    array([-1.,  0.,  1.])
    """
    return np.tanh(x)  # (tanh.1)


def tanh_backward_reference(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradient of the loss with respect to the input of a tanh, equation (tanh.2).

    Parameters
    ----------
    dy : array
        Gradient with respect to the output.
    y : array
        Output of the forward pass.

    Returns
    -------
    dx : array

    Raises
    ------
    ValueError
        If dy and y have different shapes.

    Examples
    --------
    >>> import numpy as np
    >>> tanh_backward(np.array([2.0]), np.array([0.5]))
    array([1.5])
    """
    _check_upstream(dy, y)
    return dy * (1 - y * y)  # (tanh.2)


def sigmoid_forward_reference(x: np.ndarray) -> np.ndarray:
    """Squash numbers into (0, 1), equation (sigmoid.1).

    Parameters
    ----------
    x : array
        Any shape and size: nothing overflows, and small probabilities keep their digits.

    Returns
    -------
    y : array
        Shape and dtype of x.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid_forward(np.array([0.0, -100.0, 1e4]))
    array([5.00000000e-01, 3.72007598e-44, 1.00000000e+00])
    """
    e = np.exp(np.where(x.real < 0, x, -x))  # at most 1
    return np.where(x.real < 0, e, 1) / (1 + e)  # (sigmoid.1), times eˣ/eˣ where x < 0


def sigmoid_backward_reference(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradient of the loss with respect to the input of a sigmoid, equation (sigmoid.2).

    Parameters
    ----------
    dy : array
        Gradient with respect to the output.
    y : array
        Output of the forward pass.

    Returns
    -------
    dx : array

    Raises
    ------
    ValueError
        If dy and y have different shapes.

    Examples
    --------
    >>> import numpy as np
    >>> sigmoid_backward(np.array([8.0]), np.array([0.25]))
    array([1.5])
    """
    _check_upstream(dy, y)
    return dy * y * (1 - y)  # (sigmoid.2)


def softmax_forward_reference(x: np.ndarray) -> np.ndarray:
    """Turn scores into probabilities along the last axis, equation (softmax.1).

    Parameters
    ----------
    x : (..., K) array
        Scores (logits) of K classes. Minus infinity rules a class out; a row with plus infinity gives NaN.

    Returns
    -------
    y : (..., K) array
        Positive numbers that sum to one in every row.

    Raises
    ------
    ValueError
        If there is no class axis, or it is empty.

    Notes
    -----
    Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.

    Examples
    --------
    >>> import numpy as np
    >>> softmax_forward(np.array([[0.0, 0.0], [1e4, 0.0]]))
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    _check_classes(x)
    e = np.exp(x - x.real.max(axis=-1, keepdims=True))  # (softmax.2): no exponent above 0
    return e / e.sum(axis=-1, keepdims=True)  # (softmax.1)


def softmax_backward_reference(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradient of the loss with respect to the input of a softmax, equation (softmax.3).

    Parameters
    ----------
    dy : (..., K) array
        Gradient with respect to the output.
    y : (..., K) array
        Output of the forward pass.

    Returns
    -------
    dx : (..., K) array
        Every row sums to zero.

    Raises
    ------
    ValueError
        If dy and y have different shapes, or there is no class axis.

    Examples
    --------
    >>> import numpy as np
    >>> softmax_backward(np.array([8.0, 0.0]), np.array([0.25, 0.75]))
    array([ 1.5, -1.5])
    """
    _check_classes(y)
    _check_upstream(dy, y)
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))  # (softmax.3)


# --- CPU: the same loops, compiled ------------------------------------------------------------------------


def _elementwise(kernel, *arrays):
    """Run a compiled loop over the elements of arrays of one shape; return what it wrote."""
    dtype = _real_dtype(*arrays)
    out = memory.empty(arrays[0].shape, dtype)
    kernel(*(np.ascontiguousarray(a, dtype=dtype).reshape(-1) for a in arrays), out.reshape(-1))
    return out


def _by_rows(kernel, *arrays):
    """Run a compiled loop over the rows (last axes) of arrays of one shape; return what it wrote."""
    dtype = _real_dtype(*arrays)
    out = memory.empty(arrays[0].shape, dtype)
    rows = -1, out.shape[-1]
    kernel(*(np.ascontiguousarray(a, dtype=dtype).reshape(rows) for a in arrays), out.reshape(rows))
    return out


def _real_dtype(*arrays):
    dtype = np.result_type(*(a.dtype for a in arrays))
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"activations take float32 or float64, got {dtype}; write x.astype('float32')")
    return dtype


def relu_forward_loops(x):
    """See `relu_forward`."""
    return _elementwise(_relu_forward, x)


@compiled
def _relu_forward(x, y):
    for chunk in prange(-(-x.size // _CHUNK)):
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, x.size)):
            y[i] = 0.0 if x[i] <= 0.0 else x[i]  # (relu.1)


def relu_backward_loops(dy, y):
    """See `relu_backward`."""
    _check_upstream(dy, y)
    return _elementwise(_relu_backward, dy, y)


@compiled
def _relu_backward(dy, y, dx):
    for chunk in prange(-(-y.size // _CHUNK)):
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, y.size)):
            dx[i] = dy[i] if y[i] > 0.0 else 0.0  # (relu.2)


def tanh_forward_loops(x):
    """See `tanh_forward`."""
    return _elementwise(_tanh_forward, x)


@compiled
def _tanh_forward(x, y):
    for chunk in prange(-(-x.size // _CHUNK)):
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, x.size)):
            y[i] = math.tanh(x[i])  # (tanh.1)


def tanh_backward_loops(dy, y):
    """See `tanh_backward`."""
    _check_upstream(dy, y)
    return _elementwise(_tanh_backward, dy, y)


@compiled
def _tanh_backward(dy, y, dx):
    for chunk in prange(-(-y.size // _CHUNK)):
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, y.size)):
            dx[i] = dy[i] * (1.0 - y[i] * y[i])  # (tanh.2)


def sigmoid_forward_loops(x):
    """See `sigmoid_forward`."""
    return _elementwise(_sigmoid_forward, x)


@compiled
def _sigmoid_forward(x, y):
    for chunk in prange(-(-x.size // _CHUNK)):
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, x.size)):
            e = math.exp(-abs(x[i]))
            y[i] = (e if x[i] < 0.0 else 1.0) / (1.0 + e)  # (sigmoid.1)


def sigmoid_backward_loops(dy, y):
    """See `sigmoid_backward`."""
    _check_upstream(dy, y)
    return _elementwise(_sigmoid_backward, dy, y)


@compiled
def _sigmoid_backward(dy, y, dx):
    for chunk in prange(-(-y.size // _CHUNK)):
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, y.size)):
            dx[i] = dy[i] * y[i] * (1.0 - y[i])  # (sigmoid.2)


def softmax_forward_loops(x):
    """See `softmax_forward`."""
    _check_classes(x)
    return _by_rows(_softmax_forward, x)


@compiled
def _softmax_forward(x, y):
    M, K = x.shape
    for m in prange(M):  # one thread owns a row
        largest = x[m, 0]
        for k in range(1, K):
            largest = max(largest, x[m, k])  # (softmax.2)
        total = 0.0
        for k in range(K):
            y[m, k] = math.exp(x[m, k] - largest)
            total += y[m, k]
        for k in range(K):
            y[m, k] /= total  # (softmax.1)


def softmax_backward_loops(dy, y):
    """See `softmax_backward`."""
    _check_classes(y)
    _check_upstream(dy, y)
    return _by_rows(_softmax_backward, dy, y)


@compiled
def _softmax_backward(dy, y, dx):
    M, K = y.shape
    for m in prange(M):  # one thread owns a row
        mean = 0.0
        for k in range(K):
            mean += dy[m, k] * y[m, k]
        for k in range(K):
            dx[m, k] = y[m, k] * (dy[m, k] - mean)  # (softmax.3)


# --- CPU: a vector of elements at a time -----------------------------------------------------------------------


def _over_vectors(in_one_piece, in_chunks, *arrays):
    """Run a loop over the elements of arrays of one shape, by one thread if they are few; return what it wrote."""
    dtype = _real_dtype(*arrays)
    out = memory.empty(arrays[0].shape, dtype)
    flat = *(np.ascontiguousarray(a, dtype=dtype).reshape(-1) for a in arrays), out.reshape(-1)
    if out.size <= _SMALL:
        in_one_piece(*flat, 0, out.size, False)
    else:
        in_chunks(*flat, out.nbytes > _LARGE and out.ctypes.data % BYTES == 0)
    return out


@inner(forceinline=True)
def _put(out, i, vector, left, streamed):
    """Write a vector, or what is left for it to write; past the caches if there is much more to come."""
    if streamed and left >= width(out):
        stream(out, i, vector)
    else:
        store_part(out, i, vector, left)


def relu_forward_simd(x):
    """See `relu_forward`."""
    return _over_vectors(_relu_forward_piece, _relu_forward_chunks, x)


@compiled
def _relu_forward_chunks(x, y, streamed):
    for chunk in prange(-(-y.size // _CHUNK)):
        _relu_forward_piece(x, y, chunk * _CHUNK, min((chunk + 1) * _CHUNK, y.size), streamed)


@inner
def _relu_forward_piece(x, y, first, last, streamed):
    for i in range(first, last, width(x)):
        x_i = load_part(x, i, last - i)
        _put(y, i, where(x_i <= 0, full(x_i, 0), x_i), last - i, streamed)  # (relu.1)


def relu_backward_simd(dy, y):
    """See `relu_backward`."""
    _check_upstream(dy, y)
    return _over_vectors(_relu_backward_piece, _relu_backward_chunks, dy, y)


@compiled
def _relu_backward_chunks(dy, y, dx, streamed):
    for chunk in prange(-(-y.size // _CHUNK)):
        _relu_backward_piece(dy, y, dx, chunk * _CHUNK, min((chunk + 1) * _CHUNK, y.size), streamed)


@inner
def _relu_backward_piece(dy, y, dx, first, last, streamed):
    for i in range(first, last, width(dy)):
        dy_i, y_i = load_part(dy, i, last - i), load_part(y, i, last - i)
        _put(dx, i, where(y_i > 0, dy_i, full(y_i, 0)), last - i, streamed)  # (relu.2)


def tanh_forward_simd(x):
    """See `tanh_forward`."""
    return _over_vectors(_tanh_forward_piece, _tanh_forward_chunks, x)


@compiled
def _tanh_forward_chunks(x, y, streamed):
    for chunk in prange(-(-y.size // _CHUNK)):
        _tanh_forward_piece(x, y, chunk * _CHUNK, min((chunk + 1) * _CHUNK, y.size), streamed)


@inner
def _tanh_forward_piece(x, y, first, last, streamed):
    for i in range(first, last, width(x)):
        x_i = load_part(x, i, last - i)
        _put(y, i, simd.tanh(x_i), last - i, streamed)  # (tanh.1)


def tanh_backward_simd(dy, y):
    """See `tanh_backward`."""
    _check_upstream(dy, y)
    return _over_vectors(_tanh_backward_piece, _tanh_backward_chunks, dy, y)


@compiled
def _tanh_backward_chunks(dy, y, dx, streamed):
    for chunk in prange(-(-y.size // _CHUNK)):
        _tanh_backward_piece(dy, y, dx, chunk * _CHUNK, min((chunk + 1) * _CHUNK, y.size), streamed)


@inner
def _tanh_backward_piece(dy, y, dx, first, last, streamed):
    for i in range(first, last, width(dy)):
        dy_i, y_i = load_part(dy, i, last - i), load_part(y, i, last - i)
        _put(dx, i, dy_i * (1 - y_i * y_i), last - i, streamed)  # (tanh.2)


def sigmoid_forward_simd(x):
    """See `sigmoid_forward`."""
    return _over_vectors(_sigmoid_forward_piece, _sigmoid_forward_chunks, x)


@compiled
def _sigmoid_forward_chunks(x, y, streamed):
    for chunk in prange(-(-y.size // _CHUNK)):
        _sigmoid_forward_piece(x, y, chunk * _CHUNK, min((chunk + 1) * _CHUNK, y.size), streamed)


@inner
def _sigmoid_forward_piece(x, y, first, last, streamed):
    for i in range(first, last, width(x)):
        x_i = load_part(x, i, last - i)
        _put(y, i, simd.sigmoid(x_i), last - i, streamed)  # (sigmoid.1)


def sigmoid_backward_simd(dy, y):
    """See `sigmoid_backward`."""
    _check_upstream(dy, y)
    return _over_vectors(_sigmoid_backward_piece, _sigmoid_backward_chunks, dy, y)


@compiled
def _sigmoid_backward_chunks(dy, y, dx, streamed):
    for chunk in prange(-(-y.size // _CHUNK)):
        _sigmoid_backward_piece(dy, y, dx, chunk * _CHUNK, min((chunk + 1) * _CHUNK, y.size), streamed)


@inner
def _sigmoid_backward_piece(dy, y, dx, first, last, streamed):
    for i in range(first, last, width(dy)):
        dy_i, y_i = load_part(dy, i, last - i), load_part(y, i, last - i)
        _put(dx, i, dy_i * y_i * (1 - y_i), last - i, streamed)  # (sigmoid.2)


def softmax_forward_simd(x):
    """See `softmax_forward`."""
    _check_classes(x)
    if x.shape[-1] * x.itemsize < simd.BYTES:  # less than a vector
        return softmax_forward_loops(x)
    return _by_rows(_softmax_forward_vectors, x)


@compiled
def _softmax_forward_vectors(x, y):
    M, K = x.shape
    if x.size <= _SMALL:
        for m in range(M):
            _softmax_row(x, y, m)
    else:
        for m in prange(M):  # one thread owns a row
            _softmax_row(x, y, m)


@inner
def _softmax_row(x, y, m):
    K = x.shape[1]
    largest = x[m, 0]
    for k in range(1, K):
        largest = max(largest, x[m, k])  # (softmax.2)
    for k in range(0, K, width(x)):
        store_part(y, m * K + k, simd.exp(load_part(x, m * K + k, K - k) - largest), K - k)
    total = 0.0
    for k in range(K):
        total += y[m, k]
    for k in range(K):
        y[m, k] /= total  # (softmax.1)


# --- GPU: kernels/activations.cu --------------------------------------------------------------------------------


def _elements_on_gpu(kernel, *arrays, vectors=True):
    """Run a kernel over the elements of arrays of one shape; return what it wrote."""
    xp, dtype = xp_of(*arrays), _real_dtype(*arrays)
    flat = [xp.ascontiguousarray(a, dtype=dtype).reshape(-1) for a in arrays]
    flat = [a if aligned(a) else a.copy() for a in flat]
    out = xp.empty(flat[0].shape, dtype)
    size = constants("activations", dtype)
    threads = blocks(out.size, size.VECTOR) if vectors else out.size
    launch("activations", kernel, blocks(threads, size.THREADS), size.THREADS, *flat, out, out.size)
    return out.reshape(arrays[0].shape)


def _rows_on_gpu(kernel, rows_per_block, *arrays):
    """Run a kernel over the rows (last axes) of arrays of one shape; return what it wrote."""
    xp, dtype = xp_of(*arrays), _real_dtype(*arrays)
    out = xp.empty(arrays[0].shape, dtype)
    K, size = out.shape[-1], constants("activations", dtype)
    M, per_block = out.size // K, getattr(size, rows_per_block)
    arrays = [xp.ascontiguousarray(a, dtype=dtype) for a in arrays]
    launch("activations", kernel, blocks(M, per_block), size.THREADS, *arrays, out, M, K)
    return out


def relu_forward_gpu_1(x):
    """See `relu_forward`: one thread per element."""
    return _elements_on_gpu("relu_forward_1", x, vectors=False)


def relu_forward_gpu(x):
    """See `relu_forward`: a vector of elements per thread."""
    return _elements_on_gpu("relu_forward_2", x)


def relu_backward_gpu_1(dy, y):
    """See `relu_backward`: one thread per element."""
    _check_upstream(dy, y)
    return _elements_on_gpu("relu_backward_1", dy, y, vectors=False)


def relu_backward_gpu(dy, y):
    """See `relu_backward`: a vector of elements per thread."""
    _check_upstream(dy, y)
    return _elements_on_gpu("relu_backward_2", dy, y)


def tanh_forward_gpu_1(x):
    """See `tanh_forward`: one thread per element."""
    return _elements_on_gpu("tanh_forward_1", x, vectors=False)


def tanh_forward_gpu(x):
    """See `tanh_forward`: a vector of elements per thread."""
    return _elements_on_gpu("tanh_forward_2", x)


def tanh_backward_gpu_1(dy, y):
    """See `tanh_backward`: one thread per element."""
    _check_upstream(dy, y)
    return _elements_on_gpu("tanh_backward_1", dy, y, vectors=False)


def tanh_backward_gpu(dy, y):
    """See `tanh_backward`: a vector of elements per thread."""
    _check_upstream(dy, y)
    return _elements_on_gpu("tanh_backward_2", dy, y)


def sigmoid_forward_gpu_1(x):
    """See `sigmoid_forward`: one thread per element."""
    return _elements_on_gpu("sigmoid_forward_1", x, vectors=False)


def sigmoid_forward_gpu(x):
    """See `sigmoid_forward`: a vector of elements per thread."""
    return _elements_on_gpu("sigmoid_forward_2", x)


def sigmoid_backward_gpu_1(dy, y):
    """See `sigmoid_backward`: one thread per element."""
    _check_upstream(dy, y)
    return _elements_on_gpu("sigmoid_backward_1", dy, y, vectors=False)


def sigmoid_backward_gpu(dy, y):
    """See `sigmoid_backward`: a vector of elements per thread."""
    _check_upstream(dy, y)
    return _elements_on_gpu("sigmoid_backward_2", dy, y)


def softmax_forward_gpu_1(x):
    """See `softmax_forward`: one thread per row."""
    _check_classes(x)
    return _rows_on_gpu("softmax_forward_1", "THREADS", x)


def softmax_forward_gpu(x):
    """See `softmax_forward`: one warp per row."""
    _check_classes(x)
    return _rows_on_gpu("softmax_forward_2", "ROWS", x)


def softmax_backward_gpu_1(dy, y):
    """See `softmax_backward`: one thread per row."""
    _check_classes(y)
    _check_upstream(dy, y)
    return _rows_on_gpu("softmax_backward_1", "THREADS", dy, y)


def softmax_backward_gpu(dy, y):
    """See `softmax_backward`: one warp per row."""
    _check_classes(y)
    _check_upstream(dy, y)
    return _rows_on_gpu("softmax_backward_2", "ROWS", dy, y)


# --- the table -------------------------------------------------------------------------------------------

relu_forward = Op(
    reference=relu_forward_reference,
    loops=relu_forward_loops,
    simd=relu_forward_simd,
    gpu_1=relu_forward_gpu_1,
    gpu=relu_forward_gpu,
)
relu_backward = Op(
    reference=relu_backward_reference,
    loops=relu_backward_loops,
    simd=relu_backward_simd,
    gpu_1=relu_backward_gpu_1,
    gpu=relu_backward_gpu,
)
tanh_forward = Op(
    reference=tanh_forward_reference,
    loops=tanh_forward_loops,
    simd=tanh_forward_simd,
    gpu_1=tanh_forward_gpu_1,
    gpu=tanh_forward_gpu,
)
tanh_backward = Op(
    reference=tanh_backward_reference,
    loops=tanh_backward_loops,
    simd=tanh_backward_simd,
    gpu_1=tanh_backward_gpu_1,
    gpu=tanh_backward_gpu,
)
sigmoid_forward = Op(
    reference=sigmoid_forward_reference,
    loops=sigmoid_forward_loops,
    simd=sigmoid_forward_simd,
    gpu_1=sigmoid_forward_gpu_1,
    gpu=sigmoid_forward_gpu,
)
sigmoid_backward = Op(
    reference=sigmoid_backward_reference,
    loops=sigmoid_backward_loops,
    simd=sigmoid_backward_simd,
    gpu_1=sigmoid_backward_gpu_1,
    gpu=sigmoid_backward_gpu,
)
softmax_forward = Op(
    reference=softmax_forward_reference,
    loops=softmax_forward_loops,
    simd=softmax_forward_simd,
    gpu_1=softmax_forward_gpu_1,
    gpu=softmax_forward_gpu,
)
softmax_backward = Op(
    reference=softmax_backward_reference,
    loops=softmax_backward_loops,
    gpu_1=softmax_backward_gpu_1,
    gpu=softmax_backward_gpu,
)
