"""Max-pooling of images with channels last.

    y[n,i,j,c]      = max_k max_l x[n, i·SH + k·DH − top, j·SW + l·DW − left, c]            (maxpool2d.1)
    offset[n,i,j,c] = k·KW + l of the first tap (k, l), row by row, that holds the maximum  (maxpool2d.2)
    dx[n,r,s,c]     = Σ_i Σ_j dy[n,i,j,c]                                                   (maxpool2d.3)
                      over the positions whose winning tap lies on pixel (r, s)

where x is minus infinity outside the image, so that the padding never wins. A NaN beats every number.

    x   (N, H, W, C)      images            y, offset   (N, OH, OW, C)    maxima, and where they were

(OH, OW) and the padding follow from (window.1) to (window.4). docs/ops/maxpool2d.md derives the gradient.
"""

import math
from collections.abc import Iterator

import numpy as np
from numba import get_num_threads, get_thread_id, prange

from minivid import memory, simd
from minivid.backend import Op, xp_of
from minivid.cuda import aligned, blocks, constants, launch
from minivid.jit import compiled, inner
from minivid.ops.window import Padding, Window, pair, window_of
from minivid.simd import any_of, fma, full, full_as, load, load_as, store, stream, stream_copy, where, width

__all__ = ["maxpool2d_backward", "maxpool2d_forward"]


# --- windows that pool: shared with average pooling ------------------------------------------------------


def pool_window(x_shape, pool_size, strides, padding: Padding, dilation=1) -> Window:
    """Check the shape of x, let ``strides`` default to ``pool_size``, and refuse windows without a pixel."""
    if len(x_shape) != 4:
        raise ValueError(f"pooling takes x (N, H, W, C), got {tuple(x_shape)}")
    if isinstance(strides, Window):  # from an implementation that has checked it
        return strides
    pool_size = pair(pool_size, "pool_size")
    win = window_of(x_shape[1:3], pool_size, pool_size if strides is None else strides, padding, dilation)
    if not (win.top or win.bottom or win.left or win.right):
        return win
    empty = np.argwhere(pixels_per_window(win, *x_shape[1:3]) == 0)
    if len(empty):
        raise ValueError(
            f"padding={padding!r} leaves the {win.KH}x{win.KW} window at position {tuple(empty[0].tolist())} "
            f"without a single pixel of the {x_shape[1]}x{x_shape[2]} image; use less padding or dilation"
        )
    return win


def pixels_per_window(win: Window, H: int, W: int) -> np.ndarray:
    """Count the taps that lie inside the image, for every position: (OH, OW)."""
    r = np.arange(win.OH)[:, None] * win.SH + np.arange(win.KH) * win.DH - win.top  # (window.4)
    s = np.arange(win.OW)[:, None] * win.SW + np.arange(win.KW) * win.DW - win.left
    return np.outer(((r >= 0) & (r < H)).sum(axis=1), ((s >= 0) & (s < W)).sum(axis=1))


def taps_inside(win: Window, i: int, j: int, H: int, W: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number k·KW + l of every tap of one window inside the image, and the pixel (r, s) under it."""
    for k, l in np.ndindex(win.KH, win.KW):
        r = i * win.SH + k * win.DH - win.top  # (window.4)
        s = j * win.SW + l * win.DW - win.left
        if 0 <= r < H and 0 <= s < W:
            yield k * win.KW + l, r, s


# --- reference: the equations, window by window ----------------------------------------------------------


def maxpool2d_forward_reference(
    x: np.ndarray,
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Take the maximum of every window, equations (maxpool2d.1) and (maxpool2d.2).

    Parameters
    ----------
    x : (N, H, W, C) array
        Images. Complex values are compared by their real parts.
    pool_size : int or (int, int)
        Rows and columns of the window.
    strides : int or (int, int), optional
        Step of the window in pixels; ``pool_size`` if not given.
    padding : {"valid", "same"}, int, or ((top, bottom), (left, right))
        Rows and columns of minus infinity around the image.
    dilation : int or (int, int)
        Distance of the window's taps, in pixels.

    Returns
    -------
    y : (N, OH, OW, C) array
        Maxima; NaN where the window holds one.
    offset : (N, OH, OW, C) array of unsigned int
        Number ``k·KW + l`` of the first tap that holds the maximum (or the first NaN), for the backward pass;
        uint8 for windows of up to 256 taps.

    Raises
    ------
    ValueError
        If the window does not fit the image, or lies wholly in the padding somewhere.

    Examples
    --------
    >>> import numpy as np
    >>> y, offset = maxpool2d_forward(np.array([[1.0, 5.0], [5.0, 2.0]]).reshape(1, 2, 2, 1))
    >>> y.item(), offset.item()
    (5.0, 1)
    """
    win = pool_window(x.shape, pool_size, strides, padding, dilation)
    N, H, W, C = x.shape
    y = np.empty((N, win.OH, win.OW, C), dtype=x.dtype)
    offset = np.empty(y.shape, dtype=_offset_dtype(win))
    for i, j in np.ndindex(win.OH, win.OW):
        taps, r, s = np.array(list(taps_inside(win, i, j, H, W))).T
        pixels = x[:, r, s]  # (N, pixels in the window, C)
        first = pixels.real.argmax(axis=1)  # the first maximum, or the first NaN
        y[:, i, j] = np.take_along_axis(pixels, first[:, None], axis=1)[:, 0]  # (maxpool2d.1)
        offset[:, i, j] = taps[first]  # (maxpool2d.2)
    return y, offset


def maxpool2d_backward_reference(
    dy: np.ndarray,
    offset: np.ndarray,
    x_shape: tuple[int, int, int, int],
    pool_size: int | tuple[int, int] = 2,
    strides: int | tuple[int, int] | None = None,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> np.ndarray:
    """Gradient of the loss with respect to the input of a max-pooling, equation (maxpool2d.3).

    Parameters
    ----------
    dy : (N, OH, OW, C) array
        Gradient with respect to the maxima.
    offset : (N, OH, OW, C) array of unsigned int
        Winning taps, from the forward pass.
    x_shape : (N, H, W, C)
        Shape of the input (several input sizes give one output size).
    pool_size, strides, padding, dilation
        As in the forward pass.

    Returns
    -------
    dx : (N, H, W, C) array

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([3.0, 7.0, 5.0]).reshape(1, 1, 3, 1)
    >>> y, offset = maxpool2d_forward(x, (1, 2), strides=1)
    >>> maxpool2d_backward(np.ones((1, 1, 2, 1)), offset, x.shape, (1, 2), strides=1).ravel()
    array([0., 2., 0.])
    """
    win = pool_window(x_shape, pool_size, strides, padding, dilation)
    _check_output(dy, offset, x_shape, win)
    dx = np.zeros(x_shape, dtype=dy.dtype)
    for i, j in np.ndindex(win.OH, win.OW):
        for tap, r, s in taps_inside(win, i, j, *x_shape[1:3]):
            dx[:, r, s] += np.where(offset[:, i, j] == tap, dy[:, i, j], 0)  # (maxpool2d.3)
    return dx


def _outputs(x, win: Window) -> tuple[np.ndarray, np.ndarray]:
    shape = x.shape[0], win.OH, win.OW, x.shape[3]
    return memory.empty(shape, x.dtype), memory.empty(shape, _offset_dtype(win))


def _offset_dtype(win: Window) -> np.dtype:
    return np.min_scalar_type(win.KH * win.KW - 1)


def _check_output(dy, offset, x_shape, win: Window) -> None:
    expected = (x_shape[0], win.OH, win.OW, x_shape[3])
    for name, array in (("dy", dy), ("offset", offset)):
        if array.shape != expected:
            raise ValueError(f"{name} has shape {array.shape}, but the output of this max-pooling has {expected}")


# --- CPU: the same loops, compiled; the innermost runs over contiguous channels --------------------------


def maxpool2d_forward_loops(x, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_forward`."""
    win = pool_window(x.shape, pool_size, strides, padding, dilation)
    y, offset = _outputs(x, win)
    _forward(np.ascontiguousarray(x), win, y, offset)
    return y, offset


@compiled
def _forward(x, win, y, offset):
    _, H, W, C = x.shape
    N, OH, OW, _ = y.shape
    for row in prange(N * OH):  # one thread owns a row of outputs
        n, i = row // OH, row % OH
        for j in range(OW):
            y_row, offset_row = y[n, i, j], offset[n, i, j]
            empty = True
            for k in range(win.KH):
                r = i * win.SH + k * win.DH - win.top  # (window.4)
                if r < 0 or r >= H:
                    continue
                for l in range(win.KW):
                    s = j * win.SW + l * win.DW - win.left
                    if s < 0 or s >= W:
                        continue
                    x_row, tap = x[n, r, s], k * win.KW + l
                    for c in range(C):
                        # Greater, or the first NaN: NaN fails every comparison, and is never equal to itself.
                        wins = empty or (not x_row[c] <= y_row[c] and y_row[c] == y_row[c])
                        y_row[c] = x_row[c] if wins else y_row[c]  # (maxpool2d.1)
                        offset_row[c] = tap if wins else offset_row[c]  # (maxpool2d.2)
                    empty = False


def maxpool2d_backward_loops(dy, offset, x_shape, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_backward`."""
    win = pool_window(x_shape, pool_size, strides, padding, dilation)
    _check_output(dy, offset, x_shape, win)
    dx = memory.zeros(x_shape, dy.dtype)
    _backward(np.ascontiguousarray(dy), np.ascontiguousarray(offset, dtype=_offset_dtype(win)), win, dx)
    return dx


@compiled
def _backward(dy, offset, win, dx):
    _, OH, OW, _ = dy.shape
    N, H, W, C = dx.shape
    for row in prange(N * H):  # a gather: one thread owns a row of dx, so no two add to one element
        n, r = row // H, row % H
        for k in range(win.KH):
            step = r + win.top - k * win.DH  # (window.4) solved for i
            i = step // win.SH
            if step < 0 or step % win.SH != 0 or i >= OH:
                continue
            for j in range(OW):
                dy_row, offset_row = dy[n, i, j], offset[n, i, j]
                for l in range(win.KW):
                    s = j * win.SW + l * win.DW - win.left
                    if s < 0 or s >= W:
                        continue
                    dx_row, tap = dx[n, r, s], k * win.KW + l
                    for c in range(C):
                        dx_row[c] += dy_row[c] if offset_row[c] == tap else 0  # (maxpool2d.3)


# --- CPU: explicit vectors of channels; the maxima of a window and their taps stay in registers ------------------


def maxpool2d_forward_simd(x, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_forward`."""
    win = pool_window(x.shape, pool_size, strides, padding, dilation)
    if not _fills_vectors(x.shape, x.dtype):
        return maxpool2d_forward_loops(x, pool_size, win)
    y, offset = _outputs(x, win)
    _forward_simd(np.ascontiguousarray(x), win, y, offset)
    return y, offset


_STREAMED = 16_000_000  # bytes of dx from which it goes to memory past the caches


def _fills_vectors(shape, dtype) -> bool:
    return dtype in (np.float32, np.float64) and shape[3] * dtype.itemsize >= simd.BYTES


@compiled
def _forward_simd(x, win, y, offset):
    W, EW = x.shape[2], win.DW * (win.KW - 1) + 1  # (window.1)
    first = min(-(-win.left // win.SW), win.OW)  # windows first ... last - 1 lie wholly inside a row of the image
    last = max(first, min((W + win.left - EW) // win.SW + 1, win.OW))
    for row in prange(len(x) * win.OH):  # one thread owns a row of outputs
        if _pool_row(x, win, first, last, row, False, y, offset):
            _pool_row(x, win, first, last, row, True, y, offset)


@inner(forceinline=True)
def _pool_row(x, win, first, last, row, careful, y, offset):
    """Pool one row of windows; return whether a pixel is NaN or infinite, which calls for doing it carefully."""
    _, H, W, C = x.shape
    n, r = row // win.OH, row % win.OH * win.SH - win.top
    k0, k1 = _taps_on(r, win.KH, win.DH, H)
    steps = win.DH * W * C, win.DW * C, win.SW * C  # to the next tap down and to the right, and to the next window
    corner, at = ((n * H + r) * W - win.left) * C, row * win.OW * C  # of the window at j = 0, and of its output
    odd = False
    for edge in range(first + win.OW - last):
        j = edge if edge < first else edge - first + last
        l0, l1 = _taps_on(j * win.SW - win.left, win.KW, win.DW, W)
        window = corner + j * steps[2]
        odd |= _pool(x, window, steps, k0, k1, l0, l1, win.KW, 1, careful, y, offset, at + j * C)
    corner, at, count = corner + first * steps[2], at + first * C, last - first
    # Numbers of taps that are constants here make LLVM unroll the loops over them.
    if not careful and win.KH == 2 and win.KW == 2 and k1 - k0 == 2:
        return odd | _pool(x, corner, steps, 0, 2, 0, 2, 2, count, careful, y, offset, at)
    if not careful and win.KH == 3 and win.KW == 3 and k1 - k0 == 3:
        return odd | _pool(x, corner, steps, 0, 3, 0, 3, 3, count, careful, y, offset, at)
    return odd | _pool(x, corner, steps, k0, k1, 0, win.KW, win.KW, count, careful, y, offset, at)


@inner
def _taps_on(r, K, D, H):
    """Return the first tap of a window at row r that lies on the image of H rows, and one past the last."""
    return max(0, -(r // D)), min(K, (H - 1 - r) // D + 1)


@inner(forceinline=True)
def _pool(x, corner, steps, k0, k1, l0, l1, KW, count, careful, y, offset, at):
    """Pool ``count`` windows of one row, from tap (k0, l0) up to (k1 - 1, l1 - 1)."""
    C, V = x.shape[3], width(x)
    down, right, step = steps
    odd = full(x, 0.0)
    for j in range(count):
        for block in range(0, C, V):
            c = min(block, C - V)  # the last vector may overlap the one before
            pixels = corner + j * step + c
            best = load(x, pixels + k0 * down + l0 * right)
            won = full_as(best, offset, k0 * KW + l0)
            zero = full(best, 0.0)
            for k in range(k0, k1):
                for l in range(l0, l1):
                    pixel = load(x, pixels + k * down + l * right)
                    wins = pixel > best
                    if careful:
                        wins = wins | ((pixel != pixel) & (best == best))  # a NaN, if it is the first
                    best = where(wins, pixel, best)  # (maxpool2d.1)
                    won = where(wins, full(won, k * KW + l), won)  # (maxpool2d.2)
                    zero = fma(pixel, full(pixel, 0.0), zero)  # stays zero, but for NaN and infinities
            odd = odd + zero
            store(y, at + j * C + c, best)
            store(offset, at + j * C + c, won)
    return any_of(odd != odd)


def maxpool2d_backward_simd(dy, offset, x_shape, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_backward`."""
    win = pool_window(x_shape, pool_size, strides, padding, dilation)
    _check_output(dy, offset, x_shape, win)
    if not _fills_vectors(x_shape, dy.dtype):
        return maxpool2d_backward_loops(dy, offset, x_shape, pool_size, win)
    dx = memory.empty(x_shape, dy.dtype)
    arrays = np.ascontiguousarray(dy), np.ascontiguousarray(offset, dtype=_offset_dtype(win)), win, dx
    streamed = dx.nbytes > _STREAMED and dx.ctypes.data % simd.BYTES == 0
    direct = streamed and x_shape[3] * dx.itemsize % simd.BYTES == 0  # whole vectors, each of which can go by itself
    side_by_side = _side_by_side(win)
    shape = (0, 0)
    if streamed and not direct:
        shape = get_num_threads(), _segment(x_shape[3]) * x_shape[3] * (win.KH * win.KW if side_by_side else 1)
    run = _backward_side_by_side if side_by_side else _backward_simd
    run(*arrays, dx.reshape(-1), np.empty(shape, dx.dtype), direct)
    return dx


@inner(forceinline=True)
def _write(out, to, vector, direct):
    if direct:
        stream(out, to, vector)
    else:
        store(out, to, vector)


@inner
def _segment(C):
    """Return how many pixels go past the caches at a time: few enough that stores wait while the next are computed."""
    return -(-1024 // C)


def _side_by_side(win: Window) -> bool:
    """Whether the windows cover the image without gaps, overlaps and padding, but for a rest at its end."""
    tiling = (win.KH, win.KW, 1, 1) == (win.SH, win.SW, win.DH, win.DW)
    return tiling and not (win.top or win.bottom or win.left or win.right)


@compiled
def _backward_side_by_side(dy, offset, win, dx, pixels, scratch, direct):
    N, H, W, C = dx.shape
    _, OH, OW, _ = dy.shape
    for row in prange(N * OH):  # one thread owns the rows of dx under a row of windows
        n, i = row // OH, row % OH
        place, streamed = (n * H + i * win.KH) * W * C, len(scratch) > 0
        segment = _segment(C) if streamed else OW
        for j in range(0, OW, segment):
            count, to, at = min(segment, OW - j), place + j * win.KW * C, (row * OW + j) * C
            out, start, line = (scratch[get_thread_id()], 0, count * win.KW * C) if streamed else (pixels, to, W * C)
            if win.KH == 2 and win.KW == 2:  # constants, as above
                _spread(dy, offset, at, 2, 2, count, out, start, line, direct)
            else:
                _spread(dy, offset, at, win.KH, win.KW, count, out, start, line, direct)
            if streamed:
                for k in range(win.KH):
                    stream_copy(out, k * line, pixels, to + k * W * C, line)
        dx[n, i * win.KH : (i + 1) * win.KH, OW * win.KW :] = 0
        if i == OH - 1:
            dx[n, OH * win.KH :] = 0


@inner(forceinline=True)
def _spread(dy, offset, at, KH, KW, count, out, to, line, direct):
    """Write dy, or zero, to each pixel of ``count`` windows, (maxpool2d.3) without a sum."""
    C, V = dy.shape[3], width(dy)
    for j in range(count):
        for block in range(0, C, V):
            c = min(block, C - V)
            dy_vector = load(dy, at + j * C + c)
            won = load_as(dy_vector, offset, at + j * C + c)
            for k in range(KH):
                for l in range(KW):
                    pixel = where(won == full(won, k * KW + l), dy_vector, full(dy_vector, 0.0))
                    _write(out, to + k * line + (j * KW + l) * C + c, pixel, direct)


@compiled
def _backward_simd(dy, offset, win, dx, pixels, scratch, direct):
    N, H, W, C = dx.shape
    _, OH, OW, _ = dy.shape
    rows, first_i, first_k = _windows_over(H, OH, win.KH, win.SH, win.DH, win.top)
    columns, first_j, first_l = _windows_over(W, OW, win.KW, win.SW, win.DW, win.left)
    # From one window over a pixel to the next: S·i + D·k stays, so i grows by D / gcd(S, D), and k falls by S / gcd.
    common_h, common_w = math.gcd(win.SH, win.DH), math.gcd(win.SW, win.DW)
    down, right = win.DH // common_h * OW * C, win.DW // common_w * C
    tap_down, tap_right = -(win.SH // common_h) * win.KW, -(win.SW // common_w)
    steps = down, right, tap_down, tap_right
    # The pixels where steps of the window begin, from its second to its last position, if it has 3 taps and moves by 2.
    begin, inside = 2 - win.left, 0
    if win.KW == 3 and win.SW == 2 and win.DW == 1 and begin >= 0:
        inside = max(0, min(OW - 1, (W - begin) // 2))
    for row in prange(N * H):  # a gather: one thread owns a row of dx, and writes every element once
        n, r = row // H, row % H
        a, place, streamed = rows[r], row * W * C, len(scratch) > 0
        at, tap = (n * OH + first_i[r]) * OW * C, first_k[r] * win.KW
        over = columns, first_j, first_l
        if streamed:
            out, segment = scratch[get_thread_id()], _segment(C)
            for first in range(0, W, segment):
                last = min(first + segment, W)
                _gather_pixels(dy, offset, at, tap, a, over, first, last, steps, out, -first * C, direct)
                stream_copy(out, 0, pixels, place + first * C, (last - first) * C)
        elif inside > 0 and (a == 1 or a == 2):
            _gather_pixels(dy, offset, at, tap, a, over, 0, begin, steps, pixels, place, direct)
            if a == 1:
                _gather_steps(dy, offset, at, tap, 1, inside, steps, pixels, place + begin * C, direct)
            else:
                _gather_steps(dy, offset, at, tap, 2, inside, steps, pixels, place + begin * C, direct)
            _gather_pixels(dy, offset, at, tap, a, over, begin + 2 * inside, W, steps, pixels, place, direct)
        else:
            _gather_pixels(dy, offset, at, tap, a, over, 0, W, steps, pixels, place, direct)


@inner
def _gather_pixels(dy, offset, at, tap, rows, over, first, last, steps, out, to, direct):
    """Sum what the pixels of a row from first to last get from the windows over them; ``at`` is of the first window."""
    columns, first_j, first_l = over
    C = dy.shape[3]
    for s in range(first, last):
        b, window, t = columns[s], at + first_j[s] * C, tap + first_l[s]
        if rows == 1 and b == 1:  # constants, as above: all pixels where windows overlap by less than half
            _gather(dy, offset, window, t, 1, 1, steps, out, to + s * C, direct)
        elif rows == 1 and b == 2:
            _gather(dy, offset, window, t, 1, 2, steps, out, to + s * C, direct)
        elif rows == 2 and b == 1:
            _gather(dy, offset, window, t, 2, 1, steps, out, to + s * C, direct)
        elif rows == 2 and b == 2:
            _gather(dy, offset, window, t, 2, 2, steps, out, to + s * C, direct)
        else:
            _gather(dy, offset, window, t, rows, b, steps, out, to + s * C, direct)


@inner(forceinline=True)
def _gather_steps(dy, offset, at, tap, rows, count, steps, out, to, direct):
    """Do the same for two pixels at a time: the last tap of a window and the first of the next, then its second tap.

    Which taps these are is the same all along the row, so that the loop keeps them in registers.
    """
    C = dy.shape[3]
    for j in range(count):
        window, pixel = at + j * C, to + 2 * j * C
        _gather(dy, offset, window, tap + 2, rows, 2, steps, out, pixel, direct)
        _gather(dy, offset, window + C, tap + 1, rows, 1, steps, out, pixel + C, direct)


@compiled(parallel=False)
def _windows_over(size, positions, K, S, D, before):
    """Return how many windows cover each row, the position of the first, and the tap with which it does."""
    count, position, tap = np.zeros((3, size), np.int64)
    for r in range(size):
        for k in range(K):  # the first window covers with its last tap
            step = r + before - k * D  # (window.4) solved for i
            if step >= 0 and step % S == 0 and step // S < positions:
                count[r] += 1
                position[r], tap[r] = step // S, k
    return count, position, tap


@inner(forceinline=True)
def _gather(dy, offset, at, tap, rows, columns, steps, out, to, direct):
    """Sum what a pixel gets from the rows x columns windows over it."""
    C, V = dy.shape[3], width(dy)
    down, right, tap_down, tap_right = steps
    for block in range(0, C, V):
        c = min(block, C - V)
        total = full(dy, 0.0)
        for a in range(rows):
            for b in range(columns):
                window = at + a * down + b * right + c
                won = load_as(total, offset, window)
                wins = won == full(won, tap + a * tap_down + b * tap_right)
                total = total + where(wins, load(dy, window), full(total, 0.0))  # (maxpool2d.3)
        _write(out, to + c, total, direct)


# --- GPU: kernels/maxpool2d.cu ---------------------------------------------------------------------------


def maxpool2d_forward_gpu_1(x, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_forward`: one thread per output."""
    return _forward_on_gpu(x, pool_window(x.shape, pool_size, strides, padding, dilation), vectors=False)


def maxpool2d_forward_gpu(x, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_forward`: a vector of channels per thread, where C is a multiple of a vector."""
    return _forward_on_gpu(x, pool_window(x.shape, pool_size, strides, padding, dilation), vectors=True)


def _forward_on_gpu(x, win: Window, vectors: bool):
    xp, (N, H, W, C) = xp_of(x), x.shape
    x = xp.ascontiguousarray(x)
    y = xp.empty((N, win.OH, win.OW, C), x.dtype)
    offset = xp.empty(y.shape, _gpu_offset_dtype(win))
    version, numbers = _version(win, vectors, x, y, offset)
    _launch(f"maxpool2d_forward_{version}", y.size // numbers, x, y, offset, N, H, W, C, win)
    return y, offset.astype(_offset_dtype(win), copy=False)


def _version(win: Window, vectors: bool, *arrays) -> tuple[str, int]:
    """Return the version of a kernel that can take these arrays, and how many numbers one of its threads owns."""
    if _gpu_offset_dtype(win) != np.uint8:
        return "wide", 1
    V = constants("maxpool2d", arrays[0].dtype).VECTOR
    return ("2", V) if vectors and arrays[0].shape[-1] % V == 0 and aligned(*arrays) else ("1", 1)


def _launch(kernel: str, threads: int, *arguments) -> None:
    per_block = constants("maxpool2d", "float32").THREADS
    launch("maxpool2d", kernel, blocks(threads, per_block), per_block, *arguments)


def _gpu_offset_dtype(win: Window) -> np.dtype:
    """Return the dtype of offsets in the kernels: bytes, or for windows of more than 256 taps 32-bit integers."""
    return np.dtype(np.uint8 if win.KH * win.KW <= 256 else np.int32)


def maxpool2d_backward_gpu_1(dy, offset, x_shape, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_backward`: one thread per pixel and channel asks the windows over it."""
    win = pool_window(x_shape, pool_size, strides, padding, dilation)
    return _backward_on_gpu(dy, offset, x_shape, win, vectors=False)


def maxpool2d_backward_gpu_2(dy, offset, x_shape, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_backward`: a vector of channels per thread, where C is a multiple of a vector."""
    win = pool_window(x_shape, pool_size, strides, padding, dilation)
    return _backward_on_gpu(dy, offset, x_shape, win, vectors=True)


def maxpool2d_backward_gpu(dy, offset, x_shape, pool_size=2, strides=None, padding="valid", dilation=1):
    """See `maxpool2d_backward`: a step of the window per thread, where the kernel knows this window."""
    win = pool_window(x_shape, pool_size, strides, padding, dilation)
    known = (win.KH, win.KW) in ((2, 2), (3, 3)) and (win.SH, win.SW, win.DH, win.DW) == (2, 2, 1, 1)
    return _backward_on_gpu(dy, offset, x_shape, win, vectors=True, steps=known)


def _backward_on_gpu(dy, offset, x_shape, win: Window, vectors: bool, steps: bool = False):
    _check_output(dy, offset, x_shape, win)
    xp, (N, H, W, C) = xp_of(dy, offset), x_shape
    dy, offset = xp.ascontiguousarray(dy), xp.ascontiguousarray(offset, dtype=_gpu_offset_dtype(win))
    dx = xp.empty(x_shape, dy.dtype)
    version, numbers = _version(win, vectors, dy, offset, dx)
    if steps and version == "2":
        down, across = blocks(H + win.top, win.SH), blocks(W + win.left, win.SW)  # steps of the window over the image
        threads = N * down * across * C // numbers
        _launch("maxpool2d_backward_3", threads, dy, offset, dx, N, H, W, C, down, across, win)
    else:
        _launch(f"maxpool2d_backward_{version}", dx.size // numbers, dy, offset, dx, N, H, W, C, win)
    return dx


# --- the table -------------------------------------------------------------------------------------------

maxpool2d_forward = Op(
    reference=maxpool2d_forward_reference,
    loops=maxpool2d_forward_loops,
    simd=maxpool2d_forward_simd,
    gpu_1=maxpool2d_forward_gpu_1,
    gpu=maxpool2d_forward_gpu,
)
maxpool2d_backward = Op(
    reference=maxpool2d_backward_reference,
    loops=maxpool2d_backward_loops,
    simd=maxpool2d_backward_simd,
    gpu_1=maxpool2d_backward_gpu_1,
    gpu_2=maxpool2d_backward_gpu_2,
    gpu=maxpool2d_backward_gpu,
)
