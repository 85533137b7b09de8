"""Transposed convolution: a convolution read backwards, so that every pixel spreads over a window of the output.

    y[n,r,s,f]  = b[f] + Σ_k Σ_l Σ_c x[n,i,j,c] · w[k,l,f,c]     (conv2d_transpose.1)
                  over the taps and pixels with i·SH + k·DH − top = r and j·SW + l·DW − left = s
    dx[n,i,j,c] = Σ_k Σ_l Σ_f dy[n, i·SH + k·DH − top, j·SW + l·DW − left, f] · w[k,l,f,c]     (conv2d_transpose.2)
    dw[k,l,f,c] = Σ_n Σ_i Σ_j dy[n, i·SH + k·DH − top, j·SW + l·DW − left, f] · x[n,i,j,c]     (conv2d_transpose.3)
    db[f]       = Σ_n Σ_r Σ_s dy[n,r,s,f]     (conv2d_transpose.4)

where dy is zero outside the output. (conv2d_transpose.1) is (conv2d.2) of a convolution from F to C channels, and
(conv2d_transpose.2) and (conv2d_transpose.3) are (conv2d.1) and (conv2d.3) of it: that convolution does all the work.

    x   (N, H, W, C)      images            w   (KH, KW, F, C)    as in Keras: filters, then channels
    y   (N, OH, OW, F)    larger images     b   (F,)              one bias per filter

With EH of (window.1), and P output rows more than need be (``output_padding``), the size follows Keras:

    OH  = (H − 1)·SH + EH + P             "valid"; P = max(SH − EH, 0) if not given     (conv2d_transpose.5)
    OH  = H·SH                            "same" if P is not given     (conv2d_transpose.6)
    OH  = (H − 1)·SH + (EH mod 2) + P     "same" if P is given     (conv2d_transpose.7)
    top = ⌊max(0, (H − 1)·SH + EH − OH) / 2⌋     (conv2d_transpose.8)

and alike for columns. docs/ops/conv2d_transpose.md derives the gradients.
"""

import numpy as np

from minivid.backend import Op
from minivid.ops.conv2d import conv2d_backward_input, conv2d_backward_weights, conv2d_forward
from minivid.ops.window import Window, pair, window_of

__all__ = [
    "conv2d_transpose_backward",
    "conv2d_transpose_backward_input",
    "conv2d_transpose_backward_weights",
    "conv2d_transpose_forward",
    "conv2d_transpose_window",
]


def conv2d_transpose_window(
    image: tuple[int, int],
    kernel: int | tuple[int, int],
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    dilation: int | tuple[int, int] = 1,
    output_padding: int | tuple[int, int] | None = None,
) -> tuple[tuple[int, int], Window]:
    """Work out the output size of a transposed convolution, and the window that moves over that output.

    Parameters
    ----------
    image : (H, W)
        Size of the input in pixels.
    kernel, strides, dilation : int or (int, int)
        Taps, step in the output from one input pixel to the next, and distance of the taps.
    padding : {"valid", "same"}
        Whether the output keeps all that the windows reach, or strides times the input.
    output_padding : int or (int, int), optional
        P, less than the strides; see (conv2d_transpose.5) and (conv2d_transpose.7).

    Returns
    -------
    output : (OH, OW)
    window : Window
        The convolution's over the output; its positions are the input's pixels.

    Raises
    ------
    ValueError
        For sizes that are not positive integers, another padding, or an output without pixels.

    Examples
    --------
    >>> conv2d_transpose_window((4, 5), 3, strides=2, padding="same")[0]
    (8, 10)
    >>> conv2d_transpose_window((4, 5), 3, strides=2)[0]
    (9, 11)
    """
    image, kernel = pair(image, "image"), pair(kernel, "kernel_size")
    strides, dilation = pair(strides, "strides"), pair(dilation, "dilation")
    more = _output_padding(output_padding, strides)
    if padding not in ("valid", "same"):
        raise ValueError(f"padding of a transposed convolution must be 'valid' or 'same', got {padding!r}")
    axes = zip(image, kernel, strides, dilation, more, strict=True)
    (OH, rows), (OW, columns) = (_axis(*axis, padding) for axis in axes)
    if OH < 1 or OW < 1:
        raise ValueError(
            f"a transposed convolution of {image[0]}x{image[1]} pixels with padding 'same' and output_padding "
            f"{output_padding!r} has no output: {OH}x{OW}; leave out output_padding"
        )
    return (OH, OW), window_of((OH, OW), kernel, strides, (rows, columns), dilation)


def _output_padding(value, strides) -> tuple[int | None, int | None]:
    if value is None:
        return None, None
    values = (value, value) if hasattr(value, "__index__") else value
    is_pair = isinstance(values, tuple | list) and len(values) == 2 and all(hasattr(p, "__index__") for p in values)
    if not is_pair or not all(0 <= p < stride for p, stride in zip(values, strides, strict=True)):
        raise ValueError(f"output_padding must be None, or at least 0 and less than strides {strides}, got {value!r}")
    return int(values[0]), int(values[1])


def _axis(size, taps, stride, dilation, more, padding) -> tuple[int, tuple[int, int]]:
    """Return the size of the output along one axis, and how much of the windows is cut off before and after it."""
    extent = dilation * (taps - 1) + 1  # (window.1)
    if padding == "valid":
        # (conv2d_transpose.5)
        output = (size - 1) * stride + extent + (max(stride - extent, 0) if more is None else more)
    else:
        # (conv2d_transpose.6), or (conv2d_transpose.7) if given how much more
        output = size * stride if more is None else (size - 1) * stride + extent % 2 + more
    cut = max(0, (size - 1) * stride + extent - output)
    return output, (cut // 2, cut - cut // 2)  # (conv2d_transpose.8)


def _window(x_shape, w_shape, strides, padding, dilation, output_padding) -> tuple[tuple[int, ...], Window]:
    """Check the shapes of x and w against each other; return the shape of y and the window over it."""
    if len(x_shape) != 4 or len(w_shape) != 4:
        raise ValueError(
            f"conv2d_transpose takes x (N, H, W, C) and w (KH, KW, F, C), got {tuple(x_shape)} and {tuple(w_shape)}"
        )
    if x_shape[3] != w_shape[3]:
        raise ValueError(
            f"x has {x_shape[3]} channels (last axis of {tuple(x_shape)}), "
            f"but the kernel {tuple(w_shape)} takes {w_shape[3]} (axis 3)"
        )
    output, win = conv2d_transpose_window(x_shape[1:3], w_shape[:2], strides, padding, dilation, output_padding)
    return (x_shape[0], *output, w_shape[2]), win


def _check_dy(dy, y_shape) -> None:
    if dy.shape != y_shape:
        raise ValueError(f"dy has shape {dy.shape}, but the output of this transposed convolution has {y_shape}")


# --- reference: the equations, tap by tap ------------------------------------------------------------------------


def conv2d_transpose_forward_reference(
    x: np.ndarray,
    w: np.ndarray,
    b: np.ndarray | None = None,
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    dilation: int | tuple[int, int] = 1,
    output_padding: int | tuple[int, int] | None = None,
) -> np.ndarray:
    """Spread every pixel over a window of a larger image, equation (conv2d_transpose.1).

    Parameters
    ----------
    x : (N, H, W, C) array
        Images.
    w : (KH, KW, F, C) array
        Kernels.
    b : (F,) array, optional
        Biases; none means zero.
    strides, dilation : int or (int, int)
        Step in the output from one input pixel to the next, and distance of the taps, in pixels.
    padding : {"valid", "same"}
        Whether the output keeps all that the windows reach, or strides times the input.
    output_padding : int or (int, int), optional
        Rows and columns more, less than the strides; see (conv2d_transpose.5) and (conv2d_transpose.7).

    Returns
    -------
    y : (N, OH, OW, F) array

    Raises
    ------
    ValueError
        If the shapes or options do not fit each other.

    Notes
    -----
    Zeiler, Krishnan, Taylor & Fergus, "Deconvolutional networks", CVPR 2010; sizes as in Keras.

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.array([1.0, 10.0]).reshape(1, 1, 2, 1), np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    >>> conv2d_transpose_forward(x, w, strides=(1, 2)).ravel()
    array([ 1.,  2., 13., 20., 30.])
    """
    y_shape, win = _window(x.shape, w.shape, strides, padding, dilation, output_padding)
    y = np.zeros(y_shape, dtype=np.result_type(x, w))
    for i, j, k, l, r, s in _taps_inside(win, *y_shape[1:3]):
        y[:, r, s] += x[:, i, j] @ w[k, l].T  # (conv2d_transpose.1)
    return y if b is None else y + b


def conv2d_transpose_backward_input_reference(
    dy: np.ndarray,
    w: np.ndarray,
    x_shape: tuple[int, int, int, int],
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    dilation: int | tuple[int, int] = 1,
    output_padding: int | tuple[int, int] | None = None,
) -> np.ndarray:
    """Gradient of the loss with respect to the input, equation (conv2d_transpose.2): a convolution of dy.

    Parameters
    ----------
    dy : (N, OH, OW, F) array
        Gradient with respect to the output.
    w : (KH, KW, F, C) array
        Kernels.
    x_shape : (N, H, W, C)
        Shape of the input.
    strides, padding, dilation, output_padding
        As in the forward pass.

    Returns
    -------
    dx : (N, H, W, C) array

    Examples
    --------
    >>> import numpy as np
    >>> dy, w = np.array([1.0, 10.0, 100.0]).reshape(1, 1, 3, 1), np.array([3.0, 5.0]).reshape(1, 2, 1, 1)
    >>> conv2d_transpose_backward_input(dy, w, (1, 1, 2, 1)).ravel()
    array([ 53., 530.])
    """
    y_shape, win = _window(x_shape, w.shape, strides, padding, dilation, output_padding)
    _check_dy(dy, y_shape)
    dx = np.zeros(x_shape, dtype=np.result_type(dy, w))
    for i, j, k, l, r, s in _taps_inside(win, *y_shape[1:3]):
        dx[:, i, j] += dy[:, r, s] @ w[k, l]  # (conv2d_transpose.2)
    return dx


def conv2d_transpose_backward_weights_reference(
    dy: np.ndarray,
    x: np.ndarray,
    w_shape: tuple[int, int, int, int],
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    dilation: int | tuple[int, int] = 1,
    output_padding: int | tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients with respect to kernels and biases, equations (conv2d_transpose.3) and (conv2d_transpose.4).

    Parameters
    ----------
    dy : (N, OH, OW, F) array
        Gradient with respect to the output.
    x : (N, H, W, C) array
        Input of the forward pass.
    w_shape : (KH, KW, F, C)
        Shape of the kernels.
    strides, padding, dilation, output_padding
        As in the forward pass.

    Returns
    -------
    dw : (KH, KW, F, C) array
    db : (F,) array

    Examples
    --------
    >>> import numpy as np
    >>> dy, x = np.array([1.0, 10.0, 100.0]).reshape(1, 1, 3, 1), np.array([3.0, 5.0]).reshape(1, 1, 2, 1)
    >>> dw, db = conv2d_transpose_backward_weights(dy, x, (1, 2, 1, 1))
    >>> dw.ravel(), db
    (array([ 53., 530.]), array([111.]))
    """
    y_shape, win = _window(x.shape, w_shape, strides, padding, dilation, output_padding)
    _check_dy(dy, y_shape)
    dw = np.zeros(w_shape, dtype=np.result_type(dy, x))
    for i, j, k, l, r, s in _taps_inside(win, *y_shape[1:3]):
        dw[k, l] += dy[:, r, s].T @ x[:, i, j]  # (conv2d_transpose.3)
    return dw, dy.sum(axis=(0, 1, 2))  # (conv2d_transpose.4)


def _taps_inside(win: Window, OH: int, OW: int):
    """Yield every input pixel (i, j), tap (k, l) and the output pixel (r, s) under it, if there is one."""
    for i, j, k, l in np.ndindex(win.OH, win.OW, win.KH, win.KW):
        r = i * win.SH + k * win.DH - win.top  # (window.4)
        s = j * win.SW + l * win.DW - win.left
        if 0 <= r < OH and 0 <= s < OW:
            yield i, j, k, l, r, s


# --- CPU and GPU: the convolution that goes the other way ---------------------------------------------------------


def _options(win: Window) -> dict:
    padding = (win.top, win.bottom), (win.left, win.right)
    return {"strides": (win.SH, win.SW), "padding": padding, "dilation": (win.DH, win.DW)}


def conv2d_transpose_forward_composed(x, w, b=None, strides=1, padding="valid", dilation=1, output_padding=None):
    """See `conv2d_transpose_forward`."""
    y_shape, win = _window(x.shape, w.shape, strides, padding, dilation, output_padding)
    y = conv2d_backward_input(x, w, y_shape, **_options(win))  # (conv2d_transpose.1) is (conv2d.2)
    if b is not None:
        y += b
    return y


def conv2d_transpose_backward_input_composed(
    dy, w, x_shape, strides=1, padding="valid", dilation=1, output_padding=None
):
    """See `conv2d_transpose_backward_input`."""
    y_shape, win = _window(x_shape, w.shape, strides, padding, dilation, output_padding)
    _check_dy(dy, y_shape)
    return conv2d_forward(dy, w, None, **_options(win))  # (conv2d_transpose.2) is (conv2d.1)


def conv2d_transpose_backward_weights_composed(
    dy, x, w_shape, strides=1, padding="valid", dilation=1, output_padding=None
):
    """See `conv2d_transpose_backward_weights`."""
    y_shape, win = _window(x.shape, w_shape, strides, padding, dilation, output_padding)
    _check_dy(dy, y_shape)
    dw, _ = conv2d_backward_weights(x, dy, w_shape, **_options(win))  # (conv2d_transpose.3) is (conv2d.3)
    return dw, dy.sum(axis=(0, 1, 2))  # (conv2d_transpose.4)


# --- the table ----------------------------------------------------------------------------------------------------

conv2d_transpose_forward = Op(
    reference=conv2d_transpose_forward_reference,
    cpu=conv2d_transpose_forward_composed,
    gpu=conv2d_transpose_forward_composed,
)
conv2d_transpose_backward_input = Op(
    reference=conv2d_transpose_backward_input_reference,
    cpu=conv2d_transpose_backward_input_composed,
    gpu=conv2d_transpose_backward_input_composed,
)
conv2d_transpose_backward_weights = Op(
    reference=conv2d_transpose_backward_weights_reference,
    cpu=conv2d_transpose_backward_weights_composed,
    gpu=conv2d_transpose_backward_weights_composed,
)


def conv2d_transpose_backward(
    dy: np.ndarray,
    x: np.ndarray,
    w: np.ndarray,
    strides: int | tuple[int, int] = 1,
    padding: str = "valid",
    dilation: int | tuple[int, int] = 1,
    output_padding: int | tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All three gradients of a transposed convolution, (conv2d_transpose.2) to (conv2d_transpose.4).

    Parameters
    ----------
    dy : (N, OH, OW, F) array
        Gradient with respect to the output.
    x : (N, H, W, C) array
        Input of the forward pass.
    w : (KH, KW, F, C) array
        Kernels of the forward pass.
    strides, padding, dilation, output_padding
        As in the forward pass.

    Returns
    -------
    dx : (N, H, W, C) array
    dw : (KH, KW, F, C) array
    db : (F,) array

    Examples
    --------
    >>> import numpy as np
    >>> x, w = np.ones((1, 2, 2, 1)), np.ones((3, 3, 1, 1))
    >>> dx, dw, db = conv2d_transpose_backward(np.ones((1, 4, 4, 1)), x, w)
    >>> dx[0, :, :, 0], db
    (array([[9., 9.],
           [9., 9.]]), array([16.]))
    """
    options = strides, padding, dilation, output_padding
    dx = conv2d_transpose_backward_input(dy, w, x.shape, *options)
    dw, db = conv2d_transpose_backward_weights(dy, x, w.shape, *options)
    return dx, dw, db
