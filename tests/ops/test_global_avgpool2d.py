from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.global_avgpool2d import global_avgpool2d_backward, global_avgpool2d_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, normal, run, without_reference
from tests.strategies import seeds

NAMES = [*without_reference(global_avgpool2d_backward), *implementations(global_avgpool2d_forward)]
EVERY = pytest.mark.parametrize("name", ["reference", *NAMES])
shapes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))


# (1) answers worked by hand


@EVERY
def test_hand_worked(name):
    x = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [6.0, 80.0]]).reshape(1, 2, 2, 2)
    y = run(name, global_avgpool2d_forward, x)
    dx = run(name, global_avgpool2d_backward, np.array([[8.0, -4.0]]), x.shape)
    np.testing.assert_array_equal(y, [[3.0, 35.0]])  # 12 / 4, 140 / 4
    np.testing.assert_array_equal(dx.reshape(4, 2), [[2.0, -1.0]] * 4)


@EVERY
def test_the_mean_of_integers_is_no_integer(name):
    x = np.array([1, 2], dtype=np.uint8).reshape(1, 1, 2, 1)
    assert run(name, global_avgpool2d_forward, x).item() == 1.5


# (2) every backward pass against complex steps through the reference


@given(shapes, seeds)
@EVERY
def test_gradient(name, x_shape, seed):
    def forward(x):
        with minivid.use("reference"):
            return global_avgpool2d_forward(x)

    def backward(dy, x):
        return {"x": run(name, global_avgpool2d_backward, dy, x.shape)}

    x = normal(np.random.default_rng(seed), *x_shape)
    equations = {"x": "global_avgpool2d.2"}
    check_gradients(forward, backward, {"x": x}, equations=equations, seed=seed).raise_if_failed()


# (3) every implementation against the float64 reference


@given(shapes, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_matches_the_reference(name, dtype, x_shape, seed):
    rng = np.random.default_rng(seed)
    x, dy = normal(rng, *x_shape, dtype=dtype), normal(rng, x_shape[0], x_shape[3], dtype=dtype)
    with minivid.use("reference"):
        y_expected = global_avgpool2d_forward(x.astype(np.float64))
        dx_expected = global_avgpool2d_backward(dy.astype(np.float64), x_shape)
    y = assert_not_mutated(partial(run, name, global_avgpool2d_forward), x)
    dx = assert_not_mutated(partial(run, name, global_avgpool2d_backward), dy, x_shape=x_shape)
    assert np.abs(y - y_expected).max() <= 8 * np.finfo(dtype).eps * np.abs(x).max()
    assert y.dtype == dtype
    assert_close(dx, dx_expected, dtype=dtype)
    assert dx.flags.writeable


def test_a_large_image_keeps_its_mean_in_float32():
    x = np.full((1, 1000, 1000, 1), 0.1, dtype=np.float32)
    y = global_avgpool2d_forward(x)
    assert abs(y.item() - 0.1) < 1e-5  # one running sum of a million terms would be off by 1e-3


# (5) layouts and (6) algebra


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    rng = np.random.default_rng(0)
    x, dy = normal(rng, 3, 7, 6, 2).transpose(3, 1, 2, 0)[:, ::-1], normal(rng, 3, 2).T
    np.testing.assert_array_equal(run(name, global_avgpool2d_forward, x), run(name, global_avgpool2d_forward, x.copy()))
    np.testing.assert_array_equal(
        run(name, global_avgpool2d_backward, dy, x.shape), run(name, global_avgpool2d_backward, dy.copy(), x.shape)
    )


@given(shapes, seeds)
def test_backward_is_the_adjoint_of_forward(x_shape, seed):
    rng = np.random.default_rng(seed)
    x, dy = normal(rng, *x_shape), normal(rng, x_shape[0], x_shape[3])
    inner = (dy * global_avgpool2d_forward(x)).sum()
    dx = global_avgpool2d_backward(dy, x_shape)
    assert abs(inner - (dx * x).sum()) <= 1e-14 * np.abs(dy).sum() * np.abs(x).max()


def test_bits_do_not_depend_on_the_number_of_threads():
    x = normal(np.random.default_rng(0), 3, 17, 13, 5, dtype=np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            results.append(global_avgpool2d_forward(x))
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(*results)


# errors


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    with pytest.raises(ValueError, match=r"takes x \(N, H, W, C\).*got \(4, 4, 3\)"):
        run(name, global_avgpool2d_forward, np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"H and W at least 1, got \(2, 0, 4, 3\)"):
        run(name, global_avgpool2d_forward, np.zeros((2, 0, 4, 3)))
    with pytest.raises(ValueError, match=r"dy has shape \(2, 4\).*\(2, 4, 4, 3\) has \(2, 3\)"):
        run(name, global_avgpool2d_backward, np.zeros((2, 4)), (2, 4, 4, 3))
