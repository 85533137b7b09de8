import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.sigmoid_cross_entropy import (
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    sigmoid_cross_entropy_backward,
    sigmoid_cross_entropy_forward,
)
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, normal, run
from tests.strategies import seeds

IMPLEMENTATIONS = implementations(sigmoid_cross_entropy_forward)
rows = st.tuples(st.integers(1, 6), st.integers(1, 6))


def draw_arrays(shape, seed, dtype=np.float64):
    """Logits, targets between 0 and 1, and an upstream gradient."""
    rng = np.random.default_rng(seed)
    logits, targets, dlosses = 3 * normal(rng, *shape), rng.random(shape), normal(rng, shape[0])
    return [a.astype(dtype) for a in (logits, targets, dlosses)]


# (1) answers worked by hand


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_hand_worked(name):
    # sigmoid(log 3) = 3/4, sigmoid(−log 3) = 1/4
    logits, targets = np.array([[np.log(3), -np.log(3)]]), np.array([[1.0, 0.5]])
    losses, probabilities = run(name, sigmoid_cross_entropy_forward, logits, targets)
    dlogits = run(name, sigmoid_cross_entropy_backward, np.array([8.0]), probabilities, targets)
    # −log(3/4) = log(4/3); −0.5·log(1/4) − 0.5·log(3/4) = log(4) − log(3)/2; their mean
    np.testing.assert_allclose(losses, [(np.log(4 / 3) + np.log(4) - np.log(3) / 2) / 2], rtol=1e-15)
    np.testing.assert_allclose(probabilities, [[0.75, 0.25]], rtol=1e-15)
    np.testing.assert_allclose(dlogits, [[-1.0, -1.0]], rtol=1e-14)  # 8 · (3/4 − 1, 1/4 − 1/2) / 2


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_the_slope_at_zero_is_one_half_minus_the_target(name):
    targets = np.array([[0.0, 1.0]])
    losses, p = run(name, sigmoid_cross_entropy_forward, np.zeros((1, 2)), targets)
    np.testing.assert_allclose(losses, [np.log(2)], rtol=1e-15)
    np.testing.assert_array_equal(run(name, sigmoid_cross_entropy_backward, np.array([2.0]), p, targets), [[0.5, -0.5]])


def test_hand_worked_from_probabilities():
    # −log(1/4) = log 4 and −log(1 − 1/2) = log 2; slopes (1/4 − 1) / (3/16) = −4 and (1/2 − 0) / (1/4) = 2
    r, t = np.array([[0.25, 0.5]]), np.array([[1.0, 0.0]])
    np.testing.assert_allclose(binary_cross_entropy_forward(r, t), [np.log(8) / 2], rtol=1e-15)
    np.testing.assert_allclose(binary_cross_entropy_backward(np.array([6.0]), r, t), [[-12.0, 6.0]], rtol=1e-15)


# (2) gradients


@given(rows, seeds)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_gradients(name, shape, seed):
    logits, targets, _ = draw_arrays(shape, seed)
    logits[0, 0] = 0.0  # where the two branches of the stable form meet

    def forward(z):
        with minivid.use("reference"):
            return sigmoid_cross_entropy_forward(z, targets)[0]

    def backward(dlosses, z):
        with minivid.use("reference"):
            _, probabilities = sigmoid_cross_entropy_forward(z, targets)
        return {"z": run(name, sigmoid_cross_entropy_backward, dlosses, probabilities, targets)}

    equations = {"z": "sigmoid_cross_entropy.3"}
    report = check_gradients(forward, backward, {"z": logits}, equations=equations, seed=seed)
    assert report.passed, str(report)


@given(rows, seeds)
def test_gradients_from_probabilities(shape, seed):
    rng = np.random.default_rng(seed)
    r, targets = rng.uniform(0.05, 0.95, (shape[0], shape[1] + 2)), rng.random((shape[0], shape[1] + 2))
    r[0, :2] = 1e-9, 1 - 1e-9  # clipped: no gradient
    report = check_gradients(
        lambda r: binary_cross_entropy_forward(r, targets),
        lambda dlosses, r: {"r": binary_cross_entropy_backward(dlosses, r, targets)},
        {"r": r},
        equations={"r": "sigmoid_cross_entropy.5"},
        seed=seed,
    )
    assert report.passed, str(report)


# (3) every implementation against the float64 reference


@given(rows, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, shape, seed):
    logits, targets, dlosses = draw_arrays(shape, seed, dtype)
    wide = [a.astype(np.float64) for a in (logits, targets, dlosses)]
    with minivid.use("reference"):
        losses_expected, p_expected = sigmoid_cross_entropy_forward(*wide[:2])
        dlogits_expected = sigmoid_cross_entropy_backward(wide[2], p_expected, wide[1])
    losses, p = assert_not_mutated(partial(run, name, sigmoid_cross_entropy_forward), logits, targets)
    dlogits = assert_not_mutated(
        partial(run, name, sigmoid_cross_entropy_backward), dlosses, p_expected.astype(dtype), targets
    )
    # z·t of a logit of size 10 is rounded by 10 ε
    atol = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(losses, losses_expected, atol=10 * atol)
    assert_close(p, p_expected, dtype=dtype)
    np.testing.assert_allclose(dlogits, dlogits_expected, atol=atol * np.abs(dlosses).max())
    assert losses.dtype == dlogits.dtype == dtype


# extremes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_large_logits_give_exact_losses(name, dtype):
    logits = np.array([[1e4], [1e4], [-1e4], [-1e4], [-20.0]], dtype=dtype)
    targets = np.array([[0], [1], [0], [1], [0]], dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses, p = run(name, sigmoid_cross_entropy_forward, logits, targets)
        dlogits = run(name, sigmoid_cross_entropy_backward, np.ones(5, dtype=dtype), p, targets)
    # log(1 + e^−20) = e^−20 − e^−40/2 = 2.0611536203143807e-9, which log(1 + ·) in float32 would round to zero
    small = 2.0611536203143807e-9
    np.testing.assert_allclose(losses, [1e4, 0, 0, 1e4, small], rtol=64 * np.finfo(dtype).eps)
    np.testing.assert_allclose(dlogits[:4, 0], [1, 0, 0, -1], rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_of_zero_and_one_are_clipped(dtype):
    r, t = np.array([[0.0], [1.0], [0.0]], dtype=dtype), np.array([[1.0], [1.0], [0.0]], dtype=dtype)
    losses = binary_cross_entropy_forward(r, t)
    # −log(1e-7) = 16.118...; −log(1 − 1e-7) = 1e-7, in float32 1.19e-7
    np.testing.assert_allclose(losses, [16.11809565095832, 1e-7, 1e-7], rtol=1e-6, atol=0.2e-7)
    np.testing.assert_array_equal(binary_cross_entropy_backward(np.ones(3, dtype=dtype), r, t), np.zeros((3, 1)))
    assert losses.dtype == dtype


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nan_goes_through(name):
    logits, targets = np.array([[0.5, np.nan], [0.5, 0.5]]), np.ones((2, 2))
    losses, p = run(name, sigmoid_cross_entropy_forward, logits, targets)
    dlogits = run(name, sigmoid_cross_entropy_backward, np.ones(2), p, targets)
    np.testing.assert_array_equal(np.isnan(losses), [True, False])
    np.testing.assert_array_equal(np.isnan(dlogits), np.isnan(logits))
    np.testing.assert_array_equal(np.isnan(binary_cross_entropy_forward(logits, targets)), [True, False])
    np.testing.assert_array_equal(
        np.isnan(binary_cross_entropy_backward(np.ones(2), logits, targets)), np.isnan(logits)
    )


# (5) layouts


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_takes_arrays_that_are_not_contiguous(name):
    logits, targets, dlosses = (a.T[::-1] for a in draw_arrays((5, 5), 0))
    losses, p = run(name, sigmoid_cross_entropy_forward, logits, targets)
    np.testing.assert_array_equal(losses, run(name, sigmoid_cross_entropy_forward, logits.copy(), targets.copy())[0])
    dlogits = run(name, sigmoid_cross_entropy_backward, dlosses, np.asfortranarray(p), targets)
    np.testing.assert_array_equal(dlogits, run(name, sigmoid_cross_entropy_backward, dlosses.copy(), p, targets.copy()))


def test_bits_do_not_depend_on_the_number_of_threads():
    import numba

    logits, targets, dlosses = draw_arrays((157, 301), 0, np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            losses, p = sigmoid_cross_entropy_forward(logits, targets)
            results.append([losses, p, sigmoid_cross_entropy_backward(dlosses, p, targets)])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


# errors


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_errors_say_what_was_given_and_expected(name):
    z = np.zeros((2, 3))
    for forward in (sigmoid_cross_entropy_forward, binary_cross_entropy_forward):
        with pytest.raises(ValueError, match=r"\(M, K\).*got \(2, 3\) and \(2,\)"):
            run(name, forward, z, np.zeros(2))
    for backward in (sigmoid_cross_entropy_backward, binary_cross_entropy_backward):
        with pytest.raises(ValueError, match=r"dlosses has shape \(2, 1\), but there are losses \(2,\)"):
            run(name, backward, np.zeros((2, 1)), z, z)
