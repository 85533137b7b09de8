import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops import activations
from minivid.ops.activations import (
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    softmax_backward,
    softmax_forward,
    tanh_backward,
    tanh_forward,
)
from tests.numerics import (
    DTYPES,
    assert_close,
    assert_not_mutated,
    distinct,
    implementations,
    kernels,
    normal,
    run,
    without_reference,
)
from tests.strategies import seeds

EQUATIONS = {"relu": "relu.2", "tanh": "tanh.2", "sigmoid": "sigmoid.2", "softmax": "softmax.3"}
NAMES = list(EQUATIONS)
IMPLEMENTATIONS = implementations(relu_forward)
short = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
wide = st.tuples(st.integers(1, 3), st.sampled_from([16, 17, 40]))  # rows of softmax that fill vectors
shapes = st.one_of(short, wide)


def passes(name):
    return getattr(activations, f"{name}_forward"), getattr(activations, f"{name}_backward")


# (1) answers worked by hand


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_hand_worked_elementwise(name):
    np.testing.assert_array_equal(run(name, relu_forward, np.array([-2.0, 0.0, 3.0])), [0.0, 0.0, 3.0])
    dx = run(name, relu_backward, np.array([5.0, 6.0, 7.0]), np.array([0.0, 0.0, 3.0]))
    np.testing.assert_array_equal(dx, [0, 0, 7])
    # tanh(log 2) = (2 − 1/2) / (2 + 1/2) = 0.6, and 10 · (1 − 0.36) = 6.4
    y = run(name, tanh_forward, np.array([np.log(2)]))
    np.testing.assert_allclose(y, [0.6], rtol=1e-15)
    np.testing.assert_allclose(run(name, tanh_backward, np.array([10.0]), y), [6.4], rtol=1e-15)
    # sigmoid(log 3) = 1 / (1 + 1/3) = 0.75, sigmoid(−log 3) = 0.25, and 16 · 0.75 · 0.25 = 3
    y = run(name, sigmoid_forward, np.array([np.log(3), -np.log(3)]))
    np.testing.assert_allclose(y, [0.75, 0.25], rtol=1e-15)
    np.testing.assert_allclose(run(name, sigmoid_backward, np.array([16.0, 16.0]), y), [3.0, 3.0], rtol=1e-15)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_hand_worked_softmax(name):
    # e^log 1 : e^log 2 : e^log 5 = 1 : 2 : 5, sum 8
    x = np.log([[1.0, 2.0, 5.0]])
    dy = np.array([[8.0, 16.0, 0.0]])
    y = run(name, softmax_forward, x)
    np.testing.assert_allclose(y, [[0.125, 0.25, 0.625]], rtol=1e-15)
    # Σ dy·y = 8/8 + 16/4 = 5; dx = [(8 − 5)/8, (16 − 5)/4, −5·0.625]
    np.testing.assert_allclose(run(name, softmax_backward, dy, y), [[0.375, 2.75, -3.125]], rtol=1e-14)


# (2) gradients


@given(shapes, seeds)
@pytest.mark.parametrize("implementation", ["reference", *IMPLEMENTATIONS])
@pytest.mark.parametrize("name", NAMES)
def test_gradients(name, implementation, shape, seed):
    forward_pass, backward_pass = passes(name)
    shape = (*shape[:-1], shape[-1] + 1)  # over one class, softmax is constant
    x = distinct(np.random.default_rng(seed), *shape)

    def forward(x):
        with minivid.use("reference"):
            return forward_pass(x)

    def backward(dy, x):
        return {"x": run(implementation, backward_pass, dy, run(implementation, forward_pass, x))}

    # ReLU has a kink; `distinct` stays away from it.
    report = check_gradients(
        forward, backward, {"x": x}, smooth=name != "relu", equations={"x": EQUATIONS[name]}, seed=seed
    )
    assert report.passed, str(report)


# (3) every implementation against the float64 reference


@given(shapes, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_matches_the_reference(name, implementation, dtype, shape, seed):
    forward_pass, backward_pass = passes(name)
    rng = np.random.default_rng(seed)
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    with minivid.use("reference"):
        y_expected = forward_pass(x.astype(np.float64))
        y_saved = y_expected.astype(dtype)  # the reference's cache, for the other implementation's backward
        dx_expected = backward_pass(dy.astype(np.float64), y_saved.astype(np.float64))
    y = assert_not_mutated(partial(run, implementation, forward_pass), x)
    dx = assert_not_mutated(partial(run, implementation, backward_pass), dy, y_saved)
    assert_close(y, y_expected, dtype=dtype)
    # Over one class dx is dy − dy·1: zero up to the rounding of dy.
    np.testing.assert_allclose(dx, dx_expected, atol=8 * np.finfo(dtype).eps * max(1, np.abs(dy).max()) * shape[-1])
    assert dx.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_reference_keeps_the_dtype(name, dtype):
    forward_pass, backward_pass = passes(name)
    x = normal(np.random.default_rng(0), 3, 4, dtype=dtype)
    with minivid.use("reference"):
        y = assert_not_mutated(forward_pass, x)
        assert y.dtype == assert_not_mutated(backward_pass, x, y).dtype == dtype


# extremes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_large_numbers_neither_overflow_nor_lose_small_probabilities(name, dtype):
    x = np.array([-np.inf, -1e4, -80.0, 0.0, 80.0, 1e4, np.inf], dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = run(name, sigmoid_forward, x)
        # e^−80 = 1.8048513878454152e-35, and 1 + e^−80 rounds to 1
        np.testing.assert_allclose(y, [0, 0, 1.8048513878454152e-35, 0.5, 1, 1, 1], rtol=32 * np.finfo(dtype).eps)
        np.testing.assert_array_equal(run(name, tanh_forward, x), [-1, -1, -1, 0, 1, 1, 1])
        np.testing.assert_array_equal(run(name, relu_forward, x), [0, 0, 0, 0, 80, x[-2], np.inf])
        np.testing.assert_array_equal(run(name, softmax_forward, x[[1, 3, 5]]), [0, 0, 1])
        np.testing.assert_array_equal(run(name, softmax_forward, x[[0, 4, 4]]), [0, 0.5, 0.5])
        # e^−95 = 5.521082277028533e-42: in float32 below the smallest normal number, with ten bits left; a GPU has no
        # such numbers, because CuPy compiles with -ftz=true ("flush to zero")
        flushed = dtype == np.float32 and name.startswith("gpu")
        y = run(name, sigmoid_forward, np.array([-95], dtype=dtype))
        np.testing.assert_allclose(y, [0.0 if flushed else 5.521082277028533e-42], rtol=1e-3)
        assert run(name, sigmoid_forward, np.array([-100.0]))[0] == pytest.approx(3.720075976020836e-44, rel=1e-14)


@pytest.mark.parametrize("implementation", ["reference", *IMPLEMENTATIONS])
@pytest.mark.parametrize("name", NAMES)
def test_nan_goes_through(name, implementation):
    forward_pass, backward_pass = passes(name)
    x = np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, np.nan]])
    y = run(implementation, forward_pass, x)
    dx = run(implementation, backward_pass, np.full(x.shape, np.nan), np.full(x.shape, 0.5))
    expected = np.isnan(x).any(axis=1, keepdims=True) if name == "softmax" else np.isnan(x)
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to(expected, x.shape))
    assert np.isnan(dx).all()


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_relu_lets_no_gradient_through_where_it_is_off(name):
    dx = run(name, relu_backward, np.array([np.nan, np.inf, 3.0]), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_array_equal(dx, [0.0, 0.0, 3.0])


# (5) layouts and (6) algebra


@pytest.mark.parametrize("implementation", ["reference", *IMPLEMENTATIONS])
@pytest.mark.parametrize("name", NAMES)
def test_takes_arrays_that_are_not_contiguous(name, implementation):
    forward_pass, backward_pass = passes(name)
    x = normal(np.random.default_rng(0), 4, 6, 3).transpose(2, 0, 1)[:, ::-1, ::2]
    dy = normal(np.random.default_rng(1), 3, 4, 3)[..., ::-1]
    y = run(implementation, forward_pass, x)
    np.testing.assert_array_equal(y, run(implementation, forward_pass, x.copy()))
    dx = run(implementation, backward_pass, dy.copy(), y.copy())
    np.testing.assert_array_equal(run(implementation, backward_pass, dy, y[:]), dx)
    np.testing.assert_array_equal(run(implementation, backward_pass, dy, np.asfortranarray(y)), dx)


@given(shapes, seeds)
def test_softmax_is_a_distribution_and_its_gradient_sums_to_zero(shape, seed):
    rng = np.random.default_rng(seed)
    x = normal(rng, *shape)
    y = softmax_forward(x)
    np.testing.assert_allclose(y.sum(axis=-1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(softmax_forward(x + 100.0), y, rtol=1e-12)
    np.testing.assert_allclose(softmax_backward(normal(rng, *shape), y).sum(axis=-1), 0.0, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_empty_batches_stay_empty(name):
    assert passes(name)[0](np.zeros((0, 3), dtype=np.float32)).shape == (0, 3)


@pytest.mark.parametrize("shape", [(9, 113), (259, 3), (1, 1025)])  # the last vector is not whole; several blocks
@pytest.mark.parametrize("implementation", kernels(relu_forward))
@pytest.mark.parametrize("name", NAMES)
def test_kernels_of_several_blocks(name, implementation, shape):
    forward_pass, backward_pass = passes(name)
    rng = np.random.default_rng(0)
    x, dy = normal(rng, *shape, dtype=np.float32), normal(rng, *shape, dtype=np.float32)
    y = forward_pass(x)
    assert_close(run(implementation, forward_pass, x), y.astype(np.float64), dtype=np.float32)
    assert_close(run(implementation, backward_pass, dy, y), backward_pass(dy, y), shape[1], dtype=np.float32)


@pytest.mark.parametrize("implementation", without_reference(relu_forward))
@pytest.mark.parametrize("name", NAMES)
def test_bits_do_not_depend_on_the_number_of_threads(name, implementation):
    import numba

    forward_pass, backward_pass = passes(name)
    rng = np.random.default_rng(0)
    x, dy = normal(rng, 701, 97, dtype=np.float32), normal(rng, 701, 97, dtype=np.float32)  # many chunks
    assert x.size > activations._SMALL
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads, threads):
            numba.set_num_threads(n)
            with minivid.use(implementation):
                y = forward_pass(x)
                results.append([y, backward_pass(dy, y)])
    finally:
        numba.set_num_threads(threads)
    for one, many, again in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)
        np.testing.assert_array_equal(many, again)


@pytest.mark.parametrize("name", NAMES)
def test_a_large_array_is_many_small_ones(name):
    x = normal(np.random.default_rng(0), 701, 97, dtype=np.float32)
    assert x.size > activations._SMALL  # shared out among threads; its halves are not
    forward_pass, _ = passes(name)
    np.testing.assert_array_equal(forward_pass(x), np.concatenate([forward_pass(x[:350]), forward_pass(x[350:])]))


@pytest.mark.parametrize("name", NAMES[:3])
def test_arrays_that_go_past_the_caches(name, monkeypatch):
    rng = np.random.default_rng(0)
    x, dy = normal(rng, 1_000_011, dtype=np.float32), normal(rng, 1_000_011, dtype=np.float32)
    forward_pass, backward_pass = passes(name)
    monkeypatch.setattr(activations, "_LARGE", 3_000_000)  # bytes: less than the whole, more than its parts
    y = forward_pass(x)
    np.testing.assert_array_equal(y, np.concatenate([forward_pass(part) for part in np.split(x, [500_001])]))
    parts = zip(np.split(dy, [500_001]), np.split(y, [500_001]), strict=True)
    np.testing.assert_array_equal(backward_pass(dy, y), np.concatenate([backward_pass(*part) for part in parts]))


# errors


@pytest.mark.parametrize("implementation", ["reference", *IMPLEMENTATIONS])
@pytest.mark.parametrize("name", NAMES)
def test_upstream_of_another_shape_is_refused(name, implementation):
    with pytest.raises(ValueError, match=r"dy has shape \(3, 2\).*\(2, 3\)"):
        run(implementation, passes(name)[1], np.zeros((3, 2)), np.zeros((2, 3)))


def test_errors_say_what_was_given_and_expected():
    with pytest.raises(ValueError, match=r"at least one class, got shape \(2, 0\)"):
        softmax_forward(np.zeros((2, 0)))
    with pytest.raises(TypeError, match=r"got int64; write x.astype\('float32'\)"):
        relu_forward(np.arange(3))
