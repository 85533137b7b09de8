from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.conv2d import conv2d_forward
from minivid.ops.conv2d_transpose import (
    conv2d_transpose_backward,
    conv2d_transpose_forward,
    conv2d_transpose_window,
)
from tests.numerics import (
    DTYPES,
    assert_close,
    assert_not_mutated,
    assert_same_bits,
    kernels,
    normal,
    run,
    without_reference,
)
from tests.strategies import seeds

EQUATIONS = {"x": "conv2d_transpose.2", "w": "conv2d_transpose.3", "b": "conv2d_transpose.4"}
# Those of the convolution that does the work on the CPU, and its default kernels.
IMPLEMENTATIONS = [*without_reference(conv2d_forward), *kernels(conv2d_transpose_forward)]
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])


@st.composite
def transposed(draw):
    """Draw shapes and options; output_padding less than the strides, and an output in any case."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    strides = draw(st.sampled_from([(1, 1), (2, 1), (1, 3), (2, 2)]))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2)]))
    more = draw(st.none() | st.tuples(*(st.integers(0, s - 1) for s in strides)))
    image = draw(st.tuples(st.integers(2, 5), st.integers(2, 5)))
    N, C, F = draw(st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 4) | st.sampled_from([17, 33])))
    options = {"strides": strides, "padding": draw(st.sampled_from(["valid", "same"])), "dilation": dilation}
    return (N, *image, C), (*kernel, F, C), options | {"output_padding": more}


def draw_arrays(x_shape, w_shape, options, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x, w, b = normal(rng, *x_shape), normal(rng, *w_shape), normal(rng, w_shape[2])
    dy = normal(rng, *conv2d_transpose_forward(x, w, b, **options).shape)
    return [a.astype(dtype) for a in (x, w, b, dy)]


# (1) answers worked by hand


@EVERY
def test_hand_worked(name):
    x, w = np.array([1.0, 10.0]).reshape(1, 1, 2, 1), np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    dy = np.array([1.0, 2.0, 4.0, 8.0, 16.0]).reshape(1, 1, 5, 1)
    y = run(name, conv2d_transpose_forward, x, w, np.array([100.0]), strides=(1, 2))
    dx, dw, db = run(name, conv2d_transpose_backward, dy, x, w, strides=(1, 2))
    # 1·(1, 2, 3) at column 0 and 10·(1, 2, 3) at column 2 meet in column 2: 3 + 10
    np.testing.assert_array_equal(y.ravel(), [101.0, 102.0, 113.0, 120.0, 130.0])
    # dx = (1 + 2·2 + 3·4, 4 + 2·8 + 3·16); dw = (1 + 10·4, 2 + 10·8, 4 + 10·16); db = 1 + 2 + 4 + 8 + 16
    np.testing.assert_array_equal(dx.ravel(), [17.0, 68.0])
    np.testing.assert_array_equal(dw.ravel(), [41.0, 82.0, 164.0])
    np.testing.assert_array_equal(db, [31.0])


@pytest.mark.parametrize(
    ("options", "size"),
    [
        # H = 4, KH = 3, SH = 2
        ({"padding": "valid"}, 9),  # (4 − 1)·2 + 3
        ({"padding": "same"}, 8),  # 4·2
        ({"padding": "valid", "output_padding": 1}, 10),  # 3·2 + 3 + 1
        ({"padding": "same", "output_padding": 0}, 7),  # 3·2 + 1 + 0
        ({"padding": "same", "output_padding": 1}, 8),
        ({"padding": "valid", "dilation": 2}, 11),  # extent 5
    ],
    ids=str,
)
def test_sizes_worked_by_hand(options, size):
    """The output's size, (conv2d_transpose.5) to (conv2d_transpose.7)."""
    assert conv2d_transpose_window((4, 4), 3, 2, **options)[0] == (size, size)


def test_a_window_smaller_than_the_stride_leaves_gaps():
    assert conv2d_transpose_window((2, 2), 1, 3)[0] == (6, 6)  # (2 − 1)·3 + 1 + (3 − 1)
    y = conv2d_transpose_forward(np.ones((1, 1, 2, 1)), np.ones((1, 1, 1, 1)), strides=(1, 3))
    np.testing.assert_array_equal(y.ravel(), [1, 0, 0, 1, 0, 0])


# (2) gradients of every implementation against complex steps through the reference


@given(transposed(), seeds)
@EVERY
def test_gradients(name, case, seed):
    _, _, options = case
    x, w, b, _ = draw_arrays(*case, seed)

    def forward(x, w, b):
        with minivid.use("reference"):
            return conv2d_transpose_forward(x, w, b, **options)

    def backward(dy, x, w, b):
        return dict(zip("xwb", run(name, conv2d_transpose_backward, dy, x, w, **options), strict=True))

    report = check_gradients(forward, backward, {"x": x, "w": w, "b": b}, equations=EQUATIONS, seed=seed)
    # With "same" a small output may miss some pixels or taps: their gradient is zero.
    assert all(block.verdict in ("ok", "all zero") for block in report.blocks), str(report)


# (3) every implementation against the float64 reference


@given(transposed(), seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, case, seed):
    x_shape, w_shape, options = case
    x, w, b, dy = draw_arrays(*case, seed, dtype)
    with minivid.use("reference"):
        wide = [a.astype(np.float64) for a in (x, w, b, dy)]
        expected = [
            conv2d_transpose_forward(*wide[:3], **options),
            *conv2d_transpose_backward(wide[3], *wide[:2], **options),
        ]
    actual = [
        assert_not_mutated(partial(run, name, conv2d_transpose_forward), x, w, b, **options),
        *assert_not_mutated(partial(run, name, conv2d_transpose_backward), dy, x, w, **options),
    ]
    for array, wanted in zip(actual[:3], expected, strict=False):
        assert_close(array, wanted, terms=max(dy.size, w.size), dtype=dtype)
    rounding = 4 * np.finfo(dtype).eps * np.abs(wide[3]).sum(axis=(0, 1, 2)).max()
    np.testing.assert_allclose(actual[3], expected[3], rtol=0, atol=rounding)  # a sum that may cancel
    assert actual[3].dtype == dtype


# (5) layouts and (6) algebra


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    rng = np.random.default_rng(0)
    x, w = normal(rng, 3, 2, 5, 4).transpose(1, 2, 3, 0)[:, ::-1], normal(rng, 3, 4, 3, 2).T
    y = run(name, conv2d_transpose_forward, x, w, strides=2)
    np.testing.assert_array_equal(y, run(name, conv2d_transpose_forward, x.copy(), w.copy(), strides=2))


@given(transposed(), seeds)
def test_is_the_transpose_of_a_convolution(case, seed):
    """⟨y, conv_transpose(x)⟩ = ⟨conv(y), x⟩, whatever the sizes: (conv2d_transpose.8) pads as that convolution does."""
    (N, H, W, C), w_shape, options = case
    x, w, _, dy = draw_arrays(*case, seed)
    (_, _), win = conv2d_transpose_window((H, W), w_shape[:2], **options)
    padding = (win.top, win.bottom), (win.left, win.right)
    back = conv2d_forward(dy, w, strides=options["strides"], padding=padding, dilation=options["dilation"])
    inner = (dy * conv2d_transpose_forward(x, w, **options)).sum()
    scale = np.abs(dy).sum() * np.abs(x).max() * np.abs(w).max() * np.prod(w_shape[:2]) * C
    assert abs(inner - (back * x).sum()) <= 1e-14 * scale


def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    x, w = normal(rng, 5, 9, 7, 20, dtype=np.float32), normal(rng, 3, 3, 35, 20, dtype=np.float32)
    options = {"strides": 2, "padding": "same"}
    dy = normal(rng, *conv2d_transpose_forward(x, w, **options).shape, dtype=np.float32)
    assert_same_bits(
        lambda: [conv2d_transpose_forward(x, w, **options), *conv2d_transpose_backward(dy, x, w, **options)]
    )


# errors


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    x, w = np.zeros((1, 4, 4, 3)), np.zeros((3, 3, 8, 3))
    with pytest.raises(ValueError, match=r"x has 3 channels .* takes 2 \(axis 3\)"):
        run(name, conv2d_transpose_forward, x, np.zeros((3, 3, 8, 2)))
    with pytest.raises(ValueError, match=r"\(KH, KW, F, C\)"):
        run(name, conv2d_transpose_forward, x[0], w)
    with pytest.raises(ValueError, match="must be 'valid' or 'same', got 1"):
        run(name, conv2d_transpose_forward, x, w, padding=1)
    for wrong in (2, -1, (0,), 0.5):
        with pytest.raises(
            ValueError, match=r"output_padding must be None, or at least 0 and less than strides \(2, 2\)"
        ):
            run(name, conv2d_transpose_forward, x, w, strides=2, output_padding=wrong)
    with pytest.raises(ValueError, match=r"has no output: 0x0; leave out output_padding"):
        run(name, conv2d_transpose_forward, x[:, :1, :1], np.zeros((2, 2, 8, 3)), padding="same", output_padding=0)
    with pytest.raises(ValueError, match=r"dy has shape \(1, 4, 4, 8\).*\(1, 6, 6, 8\)"):
        run(name, conv2d_transpose_backward, np.zeros((1, 4, 4, 8)), x, w)
