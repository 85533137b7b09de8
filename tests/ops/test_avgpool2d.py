from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.avgpool2d import avgpool2d_backward, avgpool2d_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, kernels, normal, run
from tests.strategies import seeds, windows

IMPLEMENTATIONS = implementations(avgpool2d_forward)
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])


@st.composite
def poolings(draw):
    image, pool_size, options = draw(windows())
    strides, padding = options["strides"], options["padding"]
    if not isinstance(padding, str):  # no window may lie wholly in the padding
        rows, columns = padding if isinstance(padding, tuple) else [(padding, padding)] * 2
        assume(pool_size[0] > max(rows) and pool_size[1] > max(columns))
    N, C = draw(st.tuples(st.integers(1, 3), st.integers(1, 5)))
    return (N, *image, C), {"pool_size": pool_size, "strides": strides, "padding": padding}


def draw_arrays(x_shape, options, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = normal(rng, *x_shape)
    dy = normal(rng, *avgpool2d_forward(x, **options).shape)
    return x.astype(dtype), dy.astype(dtype)


# (1) answers worked by hand


@EVERY
def test_hand_worked(name):
    x = np.array([1.0, 2.0, 6.0]).reshape(1, 1, 3, 1)
    dy = np.array([10.0, 100.0]).reshape(1, 1, 2, 1)
    y = run(name, avgpool2d_forward, x, (1, 2), strides=1)
    dx = run(name, avgpool2d_backward, dy, x.shape, (1, 2), strides=1)
    np.testing.assert_array_equal(y.ravel(), [1.5, 4.0])  # (1 + 2) / 2, (2 + 6) / 2
    np.testing.assert_array_equal(dx.ravel(), [5.0, 55.0, 50.0])  # 10/2, 10/2 + 100/2, 100/2


@EVERY
def test_padding_is_not_counted(name):
    x = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    dy = np.array([4.0, 20.0, 200.0, 1000.0]).reshape(1, 2, 2, 1)
    y = run(name, avgpool2d_forward, x, 2, padding="same")
    dx = run(name, avgpool2d_backward, dy, x.shape, 2, padding="same")
    # windows (1, 2, 4, 5), (3, 6), (7, 8), (9): dividing by four everywhere would give 3, 2.25, 3.75, 2.25
    np.testing.assert_array_equal(y.ravel(), [3.0, 4.5, 7.5, 9.0])
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 1, 10], [1, 1, 10], [100, 100, 1000]])


@EVERY
def test_the_mean_of_integers_is_no_integer(name):
    x = np.array([1, 2], dtype=np.uint8).reshape(1, 1, 2, 1)
    y = run(name, avgpool2d_forward, x, (1, 2))
    assert y.item() == 1.5
    assert y.dtype == np.float64


# (2) every backward pass against complex steps through the reference


@given(poolings(), seeds)
@EVERY
def test_gradient(name, case, seed):
    x_shape, options = case
    x, _ = draw_arrays(x_shape, options, seed)

    def forward(x):
        with minivid.use("reference"):
            return avgpool2d_forward(x, **options)

    def backward(dy, x):
        return {"x": run(name, avgpool2d_backward, dy, x.shape, **options)}

    report = check_gradients(forward, backward, {"x": x}, equations={"x": "avgpool2d.2"}, seed=seed)
    report.raise_if_failed()


# (3) every implementation against the float64 reference


@given(poolings(), seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, case, seed):
    x_shape, options = case
    x, dy = draw_arrays(x_shape, options, seed, dtype)
    with minivid.use("reference"):
        y_expected = avgpool2d_forward(x.astype(np.float64), **options)
        dx_expected = avgpool2d_backward(dy.astype(np.float64), x_shape, **options)
    y = assert_not_mutated(partial(run, name, avgpool2d_forward), x, **options)
    dx = assert_not_mutated(partial(run, name, avgpool2d_backward), dy, x_shape=x_shape, **options)
    terms = int(np.prod(options["pool_size"]))
    assert_close(y, y_expected, terms, dtype)
    assert_close(dx, dx_expected, terms, dtype)


@pytest.mark.parametrize("padding", ["valid", "same", 1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", kernels(avgpool2d_forward))
def test_kernels_of_several_blocks(name, dtype, padding):
    rng = np.random.default_rng(0)
    x = normal(rng, 2, 11, 9, 12, dtype=dtype)  # whole vectors of channels
    y = avgpool2d_forward(x, 3, 2, padding)
    dy = normal(rng, *y.shape, dtype=dtype)
    assert_close(run(name, avgpool2d_forward, x, 3, 2, padding), y, 9)
    dx = run(name, avgpool2d_backward, dy, x.shape, 3, 2, padding)
    assert_close(dx, avgpool2d_backward(dy, x.shape, 3, 2, padding), 9)


# (5) layouts and (6) algebra


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    rng = np.random.default_rng(0)
    x = normal(rng, 3, 7, 6, 2).transpose(3, 1, 2, 0)[:, ::-1]
    y = run(name, avgpool2d_forward, x, 3, 2)
    np.testing.assert_array_equal(y, run(name, avgpool2d_forward, x.copy(), 3, 2))
    dy = normal(rng, *y.shape[::-1]).T
    np.testing.assert_array_equal(
        run(name, avgpool2d_backward, dy, x.shape, 3, 2), run(name, avgpool2d_backward, dy.copy(), x.shape, 3, 2)
    )


@given(poolings(), seeds)
def test_backward_is_the_adjoint_of_forward(case, seed):
    x_shape, options = case
    x, dy = draw_arrays(x_shape, options, seed)
    inner = (dy * avgpool2d_forward(x, **options)).sum()
    dx = avgpool2d_backward(dy, x_shape, **options)
    assert abs(inner - (dx * x).sum()) <= 1e-14 * np.abs(dy).sum() * np.abs(x).max()


@given(poolings())
def test_a_constant_image_keeps_its_value(case):
    x_shape, options = case
    y = avgpool2d_forward(np.full(x_shape, 3.7), **options)
    np.testing.assert_allclose(y, 3.7, rtol=1e-15)


def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    x, dy = normal(rng, 3, 17, 13, 5, dtype=np.float32), normal(rng, 3, 8, 6, 5, dtype=np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            results.append([avgpool2d_forward(x, 3, 2), avgpool2d_backward(dy, x.shape, 3, 2)])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


# errors


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    x = np.zeros((1, 4, 4, 3))
    with pytest.raises(ValueError, match=r"takes x \(N, H, W, C\), got \(4, 4, 3\)"):
        run(name, avgpool2d_forward, x[0])
    with pytest.raises(ValueError, match=r"pool_size must be a positive int or a pair of them, got -2"):
        run(name, avgpool2d_forward, x, -2)
    with pytest.raises(ValueError, match=r"smaller than the window of 5x5.*padding='same'"):
        run(name, avgpool2d_forward, x, 5)
    with pytest.raises(ValueError, match=r"2x2 window at position \(0, 0\) without a single pixel"):
        run(name, avgpool2d_forward, x, 2, padding=2)
    with pytest.raises(ValueError, match=r"dy has shape \(1, 4, 4, 3\).*\(1, 2, 2, 3\)"):
        run(name, avgpool2d_backward, x, x.shape, 2)
