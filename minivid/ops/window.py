r"""Sliding windows: the arithmetic that convolution and pooling share.

A window of KH x KW taps, DH and DW pixels apart, moves over an image of H x W pixels in steps of SH and SW,
after ``top, bottom, left, right`` rows and columns of padding were added.

    extent of the window        EH = DH·(KH − 1) + 1                                      (window.1)
    number of positions         OH = ⌊(H + top + bottom − EH) / SH⌋ + 1                   (window.2)
    "same": as many positions as steps fit in the image, OH = ⌈H / SH⌉, so that           (window.3)
            top + bottom = max(0, (OH − 1)·SH + EH − H), the odd row at the bottom
    pixel under tap k of position i:  r = i·SH + k·DH − top                               (window.4)

and alike for columns. docs/ops/window.md derives them.
"""

from typing import NamedTuple

__all__ = ["Padding", "Window", "window_of"]

Padding = str | int | tuple[tuple[int, int], tuple[int, int]]


class Window(NamedTuple):
    """A window over images of one size, all in pixels. Taps outside the image read the padding."""

    KH: int
    KW: int
    SH: int
    SW: int
    DH: int
    DW: int
    top: int
    bottom: int
    left: int
    right: int
    OH: int
    OW: int


def window_of(
    image: tuple[int, int],
    kernel: int | tuple[int, int],
    strides: "int | tuple[int, int] | Window" = 1,
    padding: Padding = "valid",
    dilation: int | tuple[int, int] = 1,
) -> Window:
    """Work out a sliding window's padding and number of positions.

    Parameters
    ----------
    image : (H, W)
        Size of the image in pixels.
    kernel, strides, dilation : int or (int, int)
        Taps, step and distance of the taps, vertically and horizontally. In place of ``strides``, a `Window` that has
        been worked out before: it is returned as it is.
    padding : {"valid", "same"}, int, or ((top, bottom), (left, right))
        ``"same"`` is Keras's rule: the odd row or column goes to the bottom or right.

    Returns
    -------
    Window

    Raises
    ------
    ValueError
        For sizes that are not positive integers, unknown padding, or an image smaller than the window.

    Examples
    --------
    >>> window_of((5, 6), 3, strides=2, padding="same")
    Window(KH=3, KW=3, SH=2, SW=2, DH=1, DW=1, top=1, bottom=1, left=0, right=1, OH=3, OW=3)
    """
    if isinstance(strides, Window):
        return strides
    H, W = pair(image, "image")
    KH, KW = pair(kernel, "kernel_size")
    SH, SW = pair(strides, "strides")
    DH, DW = pair(dilation, "dilation")
    EH, EW = DH * (KH - 1) + 1, DW * (KW - 1) + 1  # (window.1)
    (top, bottom), (left, right) = _padding(padding, (H, W), (EH, EW), (SH, SW))
    if H + top + bottom < EH or W + left + right < EW:
        raise ValueError(
            f"an image of {H}x{W} pixels (padding {padding!r}) is smaller than the window of {EH}x{EW}; "
            "use padding='same', a smaller kernel or a larger image"
        )
    OH = (H + top + bottom - EH) // SH + 1  # (window.2)
    OW = (W + left + right - EW) // SW + 1
    return Window(KH, KW, SH, SW, DH, DW, top, bottom, left, right, OH, OW)


def pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    """Return ``value`` as two positive ints, doubling a single one."""
    first, second = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, value)
    if not (_is_int(first) and _is_int(second) and first > 0 and second > 0):
        raise ValueError(f"{name} must be a positive int or a pair of them, got {value!r}")
    return int(first), int(second)


def _is_int(value: object) -> bool:
    return type(value) is int or (hasattr(value, "__index__") and not isinstance(value, bool))


def _padding(padding, image, extent, strides) -> tuple[tuple[int, int], tuple[int, int]]:
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        return tuple(_same(*sizes) for sizes in zip(image, extent, strides, strict=True))
    if _is_int(padding) and padding >= 0:
        return (padding, padding), (padding, padding)
    try:
        (top, bottom), (left, right) = padding
    except (TypeError, ValueError):
        top = None
    if top is None or not all(_is_int(p) and p >= 0 for p in (top, bottom, left, right)):
        raise ValueError(
            f"padding must be 'valid', 'same', a non-negative int or ((top, bottom), (left, right)), got {padding!r}"
        )
    return (int(top), int(bottom)), (int(left), int(right))


def _same(size: int, extent: int, stride: int) -> tuple[int, int]:
    positions = -(-size // stride)  # (window.3)
    total = max(0, (positions - 1) * stride + extent - size)
    return total // 2, total - total // 2
