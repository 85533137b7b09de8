import numpy as np
import pytest
from hypothesis import given

from minivid.ops.window import window_of
from tests.strategies import windows

# (H, kernel, stride, dilation), positions, (top, bottom): worked by hand from (window.1) to (window.3)
SAME = [
    ((5, 3, 2, 1), 3, (1, 1)),  # 2·2 + 3 − 5 = 2 rows of padding
    ((6, 3, 2, 1), 3, (0, 1)),  # 2·2 + 3 − 6 = 1, the odd row at the bottom
    ((4, 2, 1, 1), 4, (0, 1)),  # 3·1 + 2 − 4 = 1
    ((4, 4, 1, 1), 4, (1, 2)),  # 3·1 + 4 − 4 = 3
    ((7, 2, 2, 1), 4, (0, 1)),  # 3·2 + 2 − 7 = 1
    ((5, 3, 1, 2), 5, (2, 2)),  # extent 2·2 + 1 = 5; 4·1 + 5 − 5 = 4
    ((6, 2, 3, 3), 2, (0, 1)),  # extent 3·1 + 1 = 4; 1·3 + 4 − 6 = 1
    ((5, 1, 3, 1), 2, (0, 0)),  # 1·3 + 1 − 5 < 0: steps longer than the window need no padding
]

VALID = [
    ((5, 2, 2, 1), 2),  # ⌊(5 − 2) / 2⌋ + 1: the last row is left over
    ((5, 3, 1, 2), 1),  # extent 5 fits once
    ((7, 3, 2, 2), 2),  # extent 5; ⌊2 / 2⌋ + 1
    ((4, 1, 1, 1), 4),
]


@pytest.mark.parametrize(("sizes", "positions", "rows"), SAME)
def test_same_padding_is_keras_s(sizes, positions, rows):
    H, kernel, stride, dilation = sizes
    win = window_of((H, 9), (kernel, 1), (stride, 1), "same", (dilation, 1))
    assert (win.OH, win.top, win.bottom) == (positions, *rows)
    assert (win.OW, win.left, win.right) == (9, 0, 0)
    win = window_of((9, H), (1, kernel), (1, stride), "same", (1, dilation))
    assert (win.OW, win.left, win.right) == (positions, *rows)
    assert (win.OH, win.top, win.bottom) == (9, 0, 0)


@pytest.mark.parametrize(("sizes", "positions"), VALID)
def test_valid_pads_nothing(sizes, positions):
    H, kernel, stride, dilation = sizes
    win = window_of((H, H), kernel, stride, dilation=dilation)
    assert win.OH == win.OW == positions
    assert (win.top, win.bottom, win.left, win.right) == (0, 0, 0, 0)


def test_explicit_padding():
    win = window_of((3, 4), (2, 3), padding=((1, 0), (0, 2)))
    assert (win.top, win.bottom, win.left, win.right) == (1, 0, 0, 2)
    assert (win.OH, win.OW) == (3 + 1 - 2 + 1, 4 + 2 - 3 + 1)
    assert window_of((3, 4), 2, padding=2) == window_of((3, 4), 2, padding=((2, 2), (2, 2)))


def test_a_window_in_place_of_strides_is_returned():
    win = window_of((5, 6), 3, 2, "same", 1)
    assert window_of((5, 6), 3, win) is win


def test_numbers_of_numpy_will_do():
    win = window_of((np.int64(5), 6), np.int32(3), [1, np.int64(2)], np.int64(1))
    assert win == window_of((5, 6), 3, (1, 2), 1)


@given(windows())
def test_positions_are_those_whose_taps_all_fit(case):
    image, kernel, options = case
    win = window_of(image, kernel, **options)
    axes = (
        (image[0], win.KH, win.SH, win.DH, win.top, win.bottom, win.OH),
        (image[1], win.KW, win.SW, win.DW, win.left, win.right, win.OW),
    )
    for size, taps, stride, dilation, before, after, positions in axes:
        padded = range(-before, size + after)
        fits = [
            all(i * stride + k * dilation - before in padded for k in range(taps))  # (window.4)
            for i in range(size + before + after)
        ]
        assert sum(fits) == positions
        if options["padding"] == "same":
            assert positions == -(-size // stride)
            assert 0 <= after - before <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": 0}, r"kernel_size must be a positive int or a pair of them, got 0"),
        ({"kernel": (3, -1)}, r"kernel_size .*\(3, -1\)"),
        ({"kernel": 2.0}, r"kernel_size .*2\.0"),
        ({"kernel": (2, 2, 2)}, r"kernel_size .*\(2, 2, 2\)"),
        ({"kernel": True}, r"kernel_size .*True"),
        ({"kernel": "22"}, r"kernel_size .*'22'"),
        ({"strides": 0}, r"strides .*0"),
        ({"strides": None}, r"strides .*None"),
        ({"dilation": (1, 0)}, r"dilation .*\(1, 0\)"),
        ({"image": (0, 4)}, r"image .*\(0, 4\)"),
        ({"padding": "full"}, r"'valid', 'same', a non-negative int .*got 'full'"),
        ({"padding": -1}, r"padding .*-1"),
        ({"padding": (1, 1)}, r"padding .*\(1, 1\)"),
        ({"padding": ((0, 1), (-1, 0))}, r"padding .*-1"),
        ({"padding": 1.5}, r"padding .*1\.5"),
        ({"padding": None}, r"padding .*None"),
        ({"kernel": 6}, r"image of 5x4 pixels .*smaller than the window of 6x6; use padding='same'"),
        ({"kernel": 3, "dilation": 2}, r"smaller than the window of 5x5"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        window_of(**({"image": (5, 4), "kernel": 2} | arguments))
