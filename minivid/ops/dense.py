"""Dense layer: every output is a weighted sum of all inputs.

    y[m,u]  = b[u] + Σ_d x[m,d] · w[d,u]          (dense.1)      y  = x w + b
    dx[m,d] = Σ_u dy[m,u] · w[d,u]                (dense.2)      dx = dy wᵀ
    dw[d,u] = Σ_m x[m,d] · dy[m,u]                (dense.3)      dw = xᵀ dy
    db[u]   = Σ_m dy[m,u]                         (dense.4)

    x   (..., D)    samples, in any number of axes; m counts all of them
    w   (D, U)      weights                   b   (U,)    one bias per unit u
    y   (..., U)    outputs

docs/ops/dense.md derives the gradients.
"""

from functools import partial

import numpy as np

from minivid.backend import Op
from minivid.ops.matmul import matmul_gpu, matmul_loops, matmul_plus, matmul_tiled, sums_of_columns
from minivid.ops.tile import column_sums

__all__ = ["dense_backward", "dense_backward_input", "dense_backward_weights", "dense_forward"]


def _rows(x, name: str = "x") -> np.ndarray:
    """Flatten all axes but the last: (..., D) to (M, D)."""
    if x.ndim < 2:
        raise ValueError(
            f"dense takes {name} of two axes or more, one sample per row, got shape {x.shape}; "
            f"write {name}[None] for a single sample"
        )
    return x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])


def _check_weights(x, w, b) -> None:
    if w.ndim != 2:
        raise ValueError(f"dense takes weights w (D, U), got shape {w.shape}")
    if x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"x has {x.shape[-1]} features (last axis of {x.shape}), but the weights {w.shape} take {w.shape[0]}"
        )
    if b is not None and b.shape != w.shape[1:]:
        raise ValueError(
            f"b has shape {b.shape}, but weights {w.shape} have {w.shape[1]} units: expected {w.shape[1:]}"
        )


# --- reference: the equations, entry by entry ------------------------------------------------------------


def dense_forward_reference(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Weighted sums of the features of every sample, equation (dense.1).

    Parameters
    ----------
    x : (..., D) array
        Samples, in at least one axis.
    w : (D, U) array
        Weights.
    b : (U,) array, optional
        Biases; none means zero.

    Returns
    -------
    y : (..., U) array

    Raises
    ------
    ValueError
        If the shapes do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> dense_forward(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([10.0, 20.0]))
    array([[23., 36.]])
    """
    rows = _rows(x)  # (M, D)
    _check_weights(x, w, b)
    y = np.zeros((rows.shape[0], w.shape[1]), dtype=np.result_type(x, w))
    for m, u in np.ndindex(*y.shape):
        y[m, u] = (rows[m] * w[:, u]).sum()  # (dense.1)
    y = y if b is None else y + b
    return y.reshape(*x.shape[:-1], w.shape[1])


def dense_backward_input_reference(dy: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Gradient of the loss with respect to the samples, equation (dense.2).

    Parameters
    ----------
    dy : (..., U) array
        Gradient with respect to the output.
    w : (D, U) array
        Weights.

    Returns
    -------
    dx : (..., D) array

    Examples
    --------
    >>> import numpy as np
    >>> dense_backward_input(np.array([[1.0, 10.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]))
    array([[43., 65.]])
    """
    dy_rows = _rows(dy, "dy")  # (M, U)
    _check_dy(dy, w)
    dx = np.zeros((dy_rows.shape[0], w.shape[0]), dtype=np.result_type(dy, w))
    for m, d in np.ndindex(*dx.shape):
        dx[m, d] = (dy_rows[m] * w[d]).sum()  # (dense.2)
    return dx.reshape(*dy.shape[:-1], w.shape[0])


def dense_backward_weights_reference(dy: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the loss with respect to weights and biases, equations (dense.3) and (dense.4).

    Parameters
    ----------
    dy : (..., U) array
        Gradient with respect to the output.
    x : (..., D) array
        Samples of the forward pass.

    Returns
    -------
    dw : (D, U) array
    db : (U,) array

    Examples
    --------
    >>> import numpy as np
    >>> dense_backward_weights(np.array([[1.0, 10.0]]), np.array([[5.0, 7.0]]))
    (array([[ 5., 50.],
           [ 7., 70.]]), array([ 1., 10.]))
    """
    x_rows, dy_rows = _rows(x), _rows(dy, "dy")  # (M, D), (M, U)
    _check_samples(dy, x)
    dw = np.zeros((x.shape[-1], dy.shape[-1]), dtype=np.result_type(dy, x))
    for d, u in np.ndindex(*dw.shape):
        dw[d, u] = (x_rows[:, d] * dy_rows[:, u]).sum()  # (dense.3)
    return dw, dy_rows.sum(axis=0)  # (dense.4)


def _check_dy(dy, w) -> None:
    if w.ndim != 2 or dy.shape[-1] != w.shape[1]:
        raise ValueError(f"dy has shape {dy.shape}, but weights (D, U) of shape {w.shape} give (..., U)")


def _check_samples(dy, x) -> None:
    if dy.shape[:-1] != x.shape[:-1]:
        raise ValueError(f"dy has shape {dy.shape}, but the samples x of shape {x.shape} give another batch")


# --- CPU: compiled matrix products -----------------------------------------------------------------------


def _forward_with(matmul, x, w, b=None):
    """Run `dense_forward` compiled, its matrix products by ``matmul``."""
    rows = _rows(x)  # (M, D)
    _check_weights(x, w, b)
    y = matmul(rows, w)  # (dense.1)
    if b is not None:
        y = y + b
    return y.reshape(*x.shape[:-1], w.shape[1])


def _backward_input_with(matmul, dy, w):
    """Run `dense_backward_input` compiled, its matrix products by ``matmul``."""
    dy_rows = _rows(dy, "dy")  # (M, U)
    _check_dy(dy, w)
    dx = matmul(dy_rows, w, transpose_b=True)  # (dense.2)
    return dx.reshape(*dy.shape[:-1], w.shape[0])


def _backward_weights_with(matmul, dy, x):
    """Run `dense_backward_weights` compiled, its matrix products by ``matmul``."""
    x_rows, dy_rows = _rows(x), _rows(dy, "dy")  # (M, D), (M, U)
    _check_samples(dy, x)
    return matmul(x_rows, dy_rows, transpose_a=True), dy_rows.sum(axis=0)  # (dense.3), (dense.4)


# --- CPU: the register tile, whose sums begin with the bias ---------------------------------------------------


def dense_forward_tiled(x, w, b=None):
    """See `dense_forward`."""
    rows = _rows(x)  # (M, D)
    _check_weights(x, w, b)
    return matmul_plus(rows, w, b).reshape(*x.shape[:-1], w.shape[1])  # (dense.1)


def dense_backward_weights_tiled(dy, x):
    """See `dense_backward_weights`."""
    dtype = np.result_type(dy, x)
    x_rows, dy_rows = _rows(x), np.ascontiguousarray(_rows(dy, "dy"), dtype=dtype)  # (M, D), (M, U)
    _check_samples(dy, x)
    return matmul_tiled(x_rows, dy_rows, transpose_a=True), column_sums(dy_rows)  # (dense.3), (dense.4)


# --- GPU: kernels/matmul.cu ------------------------------------------------------------------------------
#
# The functions above serve there as well, with another product; only the bias has a kernel of its own.


def dense_backward_weights_gpu(dy, x):
    """See `dense_backward_weights`."""
    x_rows, dy_rows = _rows(x), _rows(dy, "dy")  # (M, D), (M, U)
    _check_samples(dy, x)
    return matmul_gpu(x_rows, dy_rows, transpose_a=True), sums_of_columns(dy_rows)  # (dense.3), (dense.4)


# --- the table -------------------------------------------------------------------------------------------

dense_forward = Op(
    reference=dense_forward_reference,
    loops=partial(_forward_with, matmul_loops),
    tiled=dense_forward_tiled,
    gpu=partial(_forward_with, matmul_gpu),
)
dense_backward_input = Op(
    reference=dense_backward_input_reference,
    loops=partial(_backward_input_with, matmul_loops),
    tiled=partial(_backward_input_with, matmul_tiled),
    gpu=partial(_backward_input_with, matmul_gpu),
)
dense_backward_weights = Op(
    reference=dense_backward_weights_reference,
    loops=partial(_backward_weights_with, matmul_loops),
    tiled=dense_backward_weights_tiled,
    gpu=dense_backward_weights_gpu,
)


def dense_backward(dy: np.ndarray, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All three gradients of a dense layer, equations (dense.2) to (dense.4).

    Parameters
    ----------
    dy : (..., U) array
        Gradient with respect to the output.
    x : (..., D) array
        Samples of the forward pass.
    w : (D, U) array
        Weights of the forward pass.

    Returns
    -------
    dx : (..., D) array
    dw : (D, U) array
    db : (U,) array

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.array([[1.0, 2.0]]), np.array([[3.0], [5.0]])
    >>> dx, dw, db = dense_backward(np.array([[10.0]]), x, w)
    >>> dx, dw.ravel(), db
    (array([[30., 50.]]), array([10., 20.]), array([10.]))
    """
    dx = dense_backward_input(dy, w)
    dw, db = dense_backward_weights(dy, x)
    return dx, dw, db
