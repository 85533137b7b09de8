from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.upsampling2d import upsampling2d_backward, upsampling2d_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, assert_same_bits, implementations, normal, run
from tests.strategies import seeds

IMPLEMENTATIONS = implementations(upsampling2d_forward)
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
shapes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))
sizes = st.tuples(st.integers(1, 3), st.integers(1, 3))


def draw_arrays(shape, size, seed, dtype=np.float64):
    rng, (N, H, W, C) = np.random.default_rng(seed), shape
    return normal(rng, *shape).astype(dtype), normal(rng, N, H * size[0], W * size[1], C).astype(dtype)


@EVERY
def test_hand_worked(name):
    x = np.array([1.0, 2.0]).reshape(1, 1, 2, 1)
    dy = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]]).repeat(2, axis=1).reshape(1, 2, 6, 1)
    y = run(name, upsampling2d_forward, x, (2, 3))
    dx = run(name, upsampling2d_backward, dy, x.shape, (2, 3))
    np.testing.assert_array_equal(y[0, :, :, 0], [[1, 1, 1, 2, 2, 2]] * 2)
    # dy is (1 1 2 2 4 4), (8 8 16 16 32 32): left 1 + 1 + 2 + 8 + 8 + 16 = 36, right 2 + 4 + 4 + 16 + 32 + 32 = 90
    np.testing.assert_array_equal(dx.ravel(), [36.0, 90.0])


@given(shapes, sizes, seeds)
@EVERY
def test_gradient(name, shape, size, seed):
    x, _ = draw_arrays(shape, size, seed)

    def forward(x):
        with minivid.use("reference"):
            return upsampling2d_forward(x, size)

    def backward(dy, x):
        return {"x": run(name, upsampling2d_backward, dy, x.shape, size)}

    check_gradients(forward, backward, {"x": x}, equations={"x": "upsampling2d.2"}, seed=seed).raise_if_failed()


@given(shapes, sizes, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, shape, size, seed):
    x, dy = draw_arrays(shape, size, seed, dtype)
    with minivid.use("reference"):
        y_expected = upsampling2d_forward(x, size)
        dx_expected = upsampling2d_backward(dy.astype(np.float64), shape, size)
    y = assert_not_mutated(partial(run, name, upsampling2d_forward), x, size=size)
    dx = assert_not_mutated(partial(run, name, upsampling2d_backward), dy, x_shape=shape, size=size)
    np.testing.assert_array_equal(y, y_expected)  # copies, no arithmetic
    assert not np.shares_memory(x, y)
    assert y.dtype == dtype
    assert_close(dx, dx_expected, size[0] * size[1], dtype)


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    x, dy = (a.transpose(0, 2, 1, 3)[..., ::-1] for a in draw_arrays((2, 3, 4, 2), (2, 2), 0))
    np.testing.assert_array_equal(run(name, upsampling2d_forward, x), run(name, upsampling2d_forward, x.copy()))
    actual, wanted = (run(name, upsampling2d_backward, d, x.shape) for d in (dy, dy.copy()))
    np.testing.assert_allclose(actual, wanted, rtol=1e-15, atol=1e-15)


@given(shapes, sizes, seeds)
def test_backward_is_the_adjoint_of_forward(shape, size, seed):
    x, dy = draw_arrays(shape, size, seed)
    inner = (dy * upsampling2d_forward(x, size)).sum()
    dx = upsampling2d_backward(dy, shape, size)
    assert abs(inner - (dx * x).sum()) <= 1e-14 * np.abs(dy).sum() * np.abs(x).max()


def test_bits_do_not_depend_on_the_number_of_threads():
    x, dy = draw_arrays((3, 17, 13, 5), (2, 3), 0, np.float32)
    assert_same_bits(lambda: [upsampling2d_forward(x, (2, 3)), upsampling2d_backward(dy, x.shape, (2, 3))])


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    with pytest.raises(ValueError, match=r"takes x \(N, H, W, C\), got \(4, 4, 3\)"):
        run(name, upsampling2d_forward, np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match="size must be a positive int or a pair of them, got 0"):
        run(name, upsampling2d_forward, np.zeros((1, 4, 4, 3)), 0)
    with pytest.raises(ValueError, match=r"dy has shape \(1, 4, 4, 3\).*\(1, 8, 8, 3\)"):
        run(name, upsampling2d_backward, np.zeros((1, 4, 4, 3)), (1, 4, 4, 3))
