from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.conv2d import conv2d_backward, conv2d_forward
from tests.numerics import (
    DTYPES,
    assert_close,
    assert_not_mutated,
    assert_same_bits,
    implementations,
    kernels,
    normal,
    run,
    without_reference,
)
from tests.strategies import seeds, windows

EQUATIONS = {"x": "conv2d.2", "w": "conv2d.3", "b": "conv2d.4"}
IMPLEMENTATIONS = implementations(conv2d_forward)
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])


@st.composite
def convolutions(draw):
    image, kernel, options = draw(windows())
    # Mostly few channels and filters; sometimes more than one vector, more than two, and not a whole number of them.
    N, C = draw(st.integers(1, 3)), draw(st.integers(1, 4) | st.sampled_from([9, 17, 33]))
    F = draw(st.integers(1, 5) | st.sampled_from([16, 19, 40, 65]))
    return (N, *image, C), (*kernel, C, F), options


def draw_arrays(x_shape, w_shape, options, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x, w, b = normal(rng, *x_shape), normal(rng, *w_shape), normal(rng, w_shape[3])
    dy = normal(rng, *conv2d_forward(x, w, b, **options).shape)
    return [a.astype(dtype) for a in (x, w, b, dy)]


# (1) answers worked by hand


@EVERY
def test_hand_worked_forward(name):
    x = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 0.0, 1.0]]).reshape(1, 3, 3, 1)
    w = np.array([[1.0, 0.0], [2.0, -1.0]]).reshape(2, 2, 1, 1)
    y = run(name, conv2d_forward, x, w, np.array([10.0]))
    # y[0,0] = 10 + 1·1 + 2·0 + 0·2 − 1·1 = 10; y[0,1] = 10 + 2·1 + 0 + 1·2 − 3 = 11;
    # y[1,0] = 10 + 0 + 0 + 2·2 − 0 = 14; y[1,1] = 10 + 1 + 0 + 0·2 − 1 = 10
    np.testing.assert_allclose(y[0, :, :, 0], [[10.0, 11.0], [14.0, 10.0]], rtol=1e-14)  # Winograd's G has thirds


@EVERY
def test_hand_worked_backward(name):
    x = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 3, 1)
    w = np.array([3.0, 5.0]).reshape(1, 2, 1, 1)
    dy = np.array([10.0, 100.0]).reshape(1, 1, 2, 1)
    dx, dw, db = run(name, conv2d_backward, dy, x, w)
    # dx = [10·3, 10·5 + 100·3, 100·5]; dw = [1·10 + 2·100, 2·10 + 4·100]; db = 110
    np.testing.assert_array_equal(dx.ravel(), [30.0, 350.0, 500.0])
    np.testing.assert_array_equal(dw.ravel(), [210.0, 420.0])
    np.testing.assert_array_equal(db, [110.0])


@EVERY
def test_hand_worked_relu(name):
    x, w = np.array([1.0, 2.0, 4.0]).reshape(1, 1, 3, 1), np.array([3.0, -2.0]).reshape(1, 2, 1, 1)
    y = run(name, conv2d_forward, x, w, np.array([1.5]), relu=True)
    # (conv2d.5): 1·3 − 2·2 + 1.5 = 0.5, and 2·3 − 4·2 + 1.5 = −0.5 becomes zero
    np.testing.assert_allclose(y.ravel(), [0.5, 0.0], rtol=1e-14)


@given(convolutions(), seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@EVERY
def test_relu_on_the_way_out_equals_relu_afterwards(name, dtype, case, seed):
    x, w, b, _ = draw_arrays(*case, seed, dtype)
    y, fused = (run(name, conv2d_forward, x, w, b, **case[2], relu=relu) for relu in (False, True))
    np.testing.assert_array_equal(fused, np.maximum(y, 0))
    assert fused.dtype == dtype


@EVERY
def test_relu_keeps_nan(name):
    y = run(name, conv2d_forward, np.full((1, 7, 7, 2), np.nan), np.ones((3, 3, 2, 2)), relu=True)
    assert np.isnan(y).all()


def test_same_padding_puts_the_odd_pixel_at_the_bottom_and_right():
    x = np.arange(1.0, 5.0).reshape(1, 2, 2, 1)
    w = np.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 2, 1, 1)
    y = conv2d_forward(x, w, padding="same")[0, :, :, 0]
    np.testing.assert_array_equal(y, [[4321.0, 402.0], [43.0, 4.0]])


# (2) the reference against complex steps; every other backward pass against the same derivative


@given(convolutions(), seeds)
@EVERY
def test_gradients(name, case, seed):
    x_shape, w_shape, options = case
    x, w, b, _ = draw_arrays(*case, seed)

    def forward(x, w, b):
        with minivid.use("reference"):
            return conv2d_forward(x, w, b, **options)

    def backward(dy, x, w, b):
        return dict(zip("xwb", run(name, conv2d_backward, dy, x, w, **options), strict=True))

    report = check_gradients(forward, backward, {"x": x, "w": w, "b": b}, equations=EQUATIONS, seed=seed)
    # With large strides some pixels, or some taps in the padding, are never read: their gradient is zero.
    assert all(block.verdict in ("ok", "all zero") for block in report.blocks), str(report)


# (3) every implementation against the float64 reference


@given(convolutions(), seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, case, seed):
    x_shape, w_shape, options = case
    x, w, b, dy = draw_arrays(*case, seed, dtype)
    with minivid.use("reference"):
        wide = [a.astype(np.float64) for a in (x, w, b, dy)]
        y_expected = conv2d_forward(*wide[:3], **options)
        expected = conv2d_backward(wide[3], *wide[:2], **options)
    y = assert_not_mutated(partial(run, name, conv2d_forward), x, w, b, **options)
    gradients = assert_not_mutated(partial(run, name, conv2d_backward), dy, x, w, **options)
    assert_close(y, y_expected, terms=int(np.prod(w_shape[:3])) + 1, dtype=dtype)
    for actual, wanted in zip(gradients, expected, strict=True):
        assert_close(actual, wanted, terms=dy.size, dtype=dtype)


# (5) layouts and (6) algebra


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    rng = np.random.default_rng(0)
    x, w = normal(rng, 4, 2, 5, 6).transpose(1, 2, 3, 0)[:, ::-1], normal(rng, 5, 4, 3, 2).T
    y = run(name, conv2d_forward, x, w)
    np.testing.assert_array_equal(y, run(name, conv2d_forward, x.copy(), w.copy()))
    dy = y[..., ::-1]
    gradients = (run(name, conv2d_backward, upstream, x, w) for upstream in (dy, dy.copy()))
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_array_equal(a, b)


# (3) of the CUDA kernels: several blocks in each direction, none of them full


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "case",
    [
        ((2, 13, 11, 3), (3, 2, 3, 70), {"padding": "same"}),
        ((3, 9, 10, 67), (2, 3, 67, 5), {"strides": (2, 1), "padding": ((1, 0), (2, 1))}),
        ((1, 15, 14, 2), (3, 3, 2, 33), {"strides": 2, "dilation": 2, "padding": 2}),
        ((1, 13, 11, 20), (2, 2, 20, 40), {"strides": (1, 2), "padding": 1}),  # the rest in whole vectors
        ((2, 16, 12, 8), (2, 2, 8, 28), {"strides": (1, 2), "padding": "same"}),
        ((1, 13, 11, 60), (1, 2, 60, 124), {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", kernels(conv2d_forward))
def test_blocks_of_a_kernel_meet_without_gaps(name, case, dtype):
    with minivid.use("reference"):
        x, w, b, dy = draw_arrays(*case, seed=0, dtype=dtype)
        wide = [a.astype(np.float64) for a in (x, w, b, dy)]
        expected = [conv2d_forward(*wide[:3], **case[2]), *conv2d_backward(wide[3], *wide[:2], **case[2])]
    actual = [run(name, conv2d_forward, x, w, b, **case[2]), *run(name, conv2d_backward, dy, x, w, **case[2])]
    for array, wanted in zip(actual, expected, strict=True):
        assert_close(array, wanted, terms=dy.size, dtype=dtype)


@pytest.mark.parametrize("name", kernels(conv2d_forward))
def test_arrays_that_begin_within_a_vector(name):
    rng = np.random.default_rng(0)
    x, w = normal(rng, 401)[1:].reshape(1, 10, 10, 4), normal(rng, 65)[1:].reshape(2, 2, 4, 4)
    y = run(name, conv2d_forward, x, w)
    np.testing.assert_allclose(y, conv2d_forward(x, w), rtol=1e-12, atol=1e-12)
    dy = normal(rng, y.size + 1)[1:].reshape(y.shape)
    for actual, wanted in zip(run(name, conv2d_backward, dy, x, w), conv2d_backward(dy, x, w), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "shapes", [((0, 4, 4, 4), (2, 2, 4, 8)), ((1, 4, 4, 0), (2, 2, 0, 8)), ((1, 4, 4, 4), (2, 2, 4, 0))]
)
@pytest.mark.parametrize("name", kernels(conv2d_forward))
def test_sums_over_nothing(name, shapes):
    x, w, b = *(np.ones(shape) for shape in shapes), np.arange(shapes[1][3], dtype=float)
    y = run(name, conv2d_forward, x, w, b)
    np.testing.assert_array_equal(y, np.broadcast_to(b if x.shape[3] == 0 else b + 16, (len(x), 3, 3, len(b))))
    dx, dw, db = run(name, conv2d_backward, y, x, w)
    assert (dx.shape, dw.shape) == shapes
    np.testing.assert_array_equal(db, y.sum(axis=(0, 1, 2)))
    assert not dx.any()


@given(convolutions(), seeds)
def test_backward_is_the_adjoint_of_forward(case, seed):
    x_shape, w_shape, options = case
    x, w, _, dy = draw_arrays(*case, seed)
    dx, dw, _ = conv2d_backward(dy, x, w, **options)
    inner = (dy * conv2d_forward(x, w, **options)).sum()
    scale = np.abs(dy).sum() * np.abs(x).max() * np.abs(w).max() * np.prod(w_shape[:3])
    assert abs(inner - (dx * x).sum()) <= 1e-14 * scale
    assert abs(inner - (dw * w).sum()) <= 1e-14 * scale


@pytest.mark.parametrize("options", [{}, {"strides": 2}], ids=str)
@pytest.mark.parametrize("name", without_reference(conv2d_forward))
def test_bits_do_not_depend_on_the_number_of_threads(name, options):
    rng = np.random.default_rng(0)
    x, w = normal(rng, 5, 17, 13, 20, dtype=np.float32), normal(rng, 3, 3, 20, 35, dtype=np.float32)
    dy = normal(rng, *conv2d_forward(x, w, **options).shape, dtype=np.float32)
    with minivid.use(name):
        assert_same_bits(lambda: [conv2d_forward(x, w, **options), *conv2d_backward(dy, x, w, **options)])


# errors


def test_errors_say_what_was_given_and_expected():
    x, w = np.zeros((1, 4, 4, 3)), np.zeros((3, 3, 2, 8))
    with pytest.raises(ValueError, match=r"x has 3 channels .* takes 2"):
        conv2d_forward(x, w)
    with pytest.raises(ValueError, match=r"\(N, H, W, C\)"):
        conv2d_forward(x[0], w)
    with pytest.raises(ValueError, match=r"smaller than the window of 5x5.*padding='same'"):
        conv2d_forward(x, np.zeros((3, 3, 3, 8)), dilation=2)
    with pytest.raises(ValueError, match=r"dy has shape \(1, 3, 3, 8\).*\(1, 2, 2, 8\)"):
        conv2d_backward(np.zeros((1, 3, 3, 8)), x, np.zeros((3, 3, 3, 8)))
