import warnings
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.softmax_cross_entropy import (
    cross_entropy_backward,
    cross_entropy_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, kernels, normal, run
from tests.strategies import seeds

IMPLEMENTATIONS = implementations(softmax_cross_entropy_forward)
rows = st.tuples(st.integers(1, 6), st.integers(2, 6))


def draw_arrays(shape, seed, dtype=np.float64):
    """Logits, soft targets whose rows do not sum to one, and an upstream gradient."""
    rng = np.random.default_rng(seed)
    logits, targets, dlosses = 3 * normal(rng, *shape), rng.random(shape), normal(rng, shape[0])
    return [a.astype(dtype) for a in (logits, targets, dlosses)]


# (1) answers worked by hand


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_hand_worked(name):
    # e^z = 1 : 2 : 5, sum 8: p = (1/8, 1/4, 5/8)
    logits, targets = np.log([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0]]), np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    losses, probabilities = run(name, softmax_cross_entropy_forward, logits, targets)
    dlogits = run(name, softmax_cross_entropy_backward, np.array([8.0, 1.0]), probabilities, targets)
    # −log(1/4) = log 4; −2·log(1/4) − 2·log(5/8) = 2·log 6.4
    np.testing.assert_allclose(losses, [np.log(4), 2 * np.log(6.4)], rtol=1e-15)
    np.testing.assert_allclose(probabilities, [[0.125, 0.25, 0.625]] * 2, rtol=1e-15)
    # 8·(p − t) = (1, −6, 5); p·4 − t = (0.5, 1 − 2, 2.5 − 2)
    np.testing.assert_allclose(dlogits, [[1.0, -6.0, 5.0], [0.5, -1.0, 0.5]], rtol=1e-14)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(name):
    losses, _ = run(name, softmax_cross_entropy_forward, np.full((1, 10), -3.0), np.eye(10)[4:5])
    np.testing.assert_allclose(losses, [np.log(10)], rtol=1e-15)


def test_hand_worked_from_probabilities():
    # r = (1, 3) has the sum 4: q = (1/4, 3/4); l = −log(3/4) = log(4/3)
    r, t = np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]])
    np.testing.assert_allclose(cross_entropy_forward(r, t), [np.log(4 / 3)], rtol=1e-15)
    # g = (0, −3 · 4/3) = (0, −4); Σ g·q = −3; dr = (0 + 3, −4 + 3) / 4
    np.testing.assert_allclose(cross_entropy_backward(np.array([3.0]), r, t), [[0.75, -0.25]], rtol=1e-15)


# (2) gradients


@given(rows, seeds)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_gradients(name, shape, seed):
    logits, targets, _ = draw_arrays(shape, seed)

    def forward(z):
        with minivid.use("reference"):
            return softmax_cross_entropy_forward(z, targets)[0]

    def backward(dlosses, z):
        with minivid.use("reference"):
            _, probabilities = softmax_cross_entropy_forward(z, targets)
        return {"z": run(name, softmax_cross_entropy_backward, dlosses, probabilities, targets)}

    equations = {"z": "softmax_cross_entropy.3"}
    report = check_gradients(forward, backward, {"z": logits}, equations=equations, seed=seed)
    assert report.passed, str(report)


@given(rows, seeds)
def test_gradients_from_probabilities(shape, seed):
    rng = np.random.default_rng(seed)
    shape = (shape[0], shape[1] + 1)  # two classes or more besides the clipped one
    r, targets = rng.uniform(0.1, 1.0, shape), rng.random(shape)
    r[0, 0] = 1e-9  # clipped: its gradient comes through the sum of the row alone
    report = check_gradients(
        lambda r: cross_entropy_forward(r, targets),
        lambda dlosses, r: {"r": cross_entropy_backward(dlosses, r, targets)},
        {"r": r},
        equations={"r": "softmax_cross_entropy.6"},
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
        losses_expected, p_expected = softmax_cross_entropy_forward(*wide[:2])
        dlogits_expected = softmax_cross_entropy_backward(wide[2], p_expected, wide[1])
    losses, p = assert_not_mutated(partial(run, name, softmax_cross_entropy_forward), logits, targets)
    dlogits = assert_not_mutated(
        partial(run, name, softmax_cross_entropy_backward), dlosses, p_expected.astype(dtype), targets
    )
    # a logit of size 10 is itself rounded by 10 ε
    assert_close(losses, losses_expected, terms=shape[1] + 10, dtype=dtype)
    assert_close(p, p_expected, terms=shape[1] + 10, dtype=dtype)
    np.testing.assert_allclose(
        dlogits, dlogits_expected, atol=16 * shape[1] * np.finfo(dtype).eps * np.abs(dlosses).max()
    )
    assert dlogits.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(131, 7), (9, 70)])  # several blocks; more classes than a warp has threads
@pytest.mark.parametrize("name", kernels(softmax_cross_entropy_forward))
def test_kernels_of_several_blocks(name, shape, dtype):
    logits, targets, dlosses = draw_arrays(shape, 0, dtype)
    losses_expected, p_expected = softmax_cross_entropy_forward(logits, targets)
    losses, p = run(name, softmax_cross_entropy_forward, logits, targets)
    assert_close(losses, losses_expected, shape[1])
    assert_close(p, p_expected, shape[1])
    dlogits = run(name, softmax_cross_entropy_backward, dlosses, p_expected, targets)
    assert_close(dlogits, softmax_cross_entropy_backward(dlosses, p_expected, targets), shape[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_and_probabilities_agree_where_both_work(dtype):
    logits, _, dlosses = draw_arrays((5, 4), 0, dtype)
    targets = np.eye(4, dtype=dtype)[[0, 3, 2, 1, 1]]
    losses, p = softmax_cross_entropy_forward(logits, targets)
    assert_close(cross_entropy_forward(p, targets), losses, terms=100, dtype=dtype)
    # p·(dp − Σ dp·p), softmax's own backward
    dp = cross_entropy_backward(dlosses, p, targets)
    dlogits = p * (dp - (dp * p).sum(axis=1, keepdims=True))
    assert_close(dlogits, softmax_cross_entropy_backward(dlosses, p, targets), terms=100, dtype=dtype)
    assert dp.dtype == dtype


# extremes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_large_logits_give_exact_losses(name, dtype):
    logits = np.array([[1e4, 0, -1e4], [1e4, 0, -1e4], [1e4, 0, -1e4], [1e30, 1e30, 0], [0, -np.inf, 0]], dtype=dtype)
    targets = np.eye(3, dtype=dtype)[[0, 1, 2, 0, 0]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses, p = run(name, softmax_cross_entropy_forward, logits, targets)
        dlogits = run(name, softmax_cross_entropy_backward, np.ones(5, dtype=dtype), p, targets)
    np.testing.assert_allclose(losses, [0, 1e4, 2e4, np.log(2), np.log(2)], rtol=4 * np.finfo(dtype).eps)
    expected = [[0, 0, 0], [1, -1, 0], [1, 0, -1], [-0.5, 0.5, 0], [-0.5, 0, 0.5]]
    np.testing.assert_allclose(dlogits, expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_of_zero_and_one_are_clipped(dtype):
    r, t = np.array([[0.0, 1.0], [0.0, 1.0]], dtype=dtype), np.array([[1.0, 0.0], [0.0, 1.0]], dtype=dtype)
    losses = cross_entropy_forward(r, t)
    # −log(1e-7) = 16.118...; −log(1 − 1e-7) = 1e-7, which in float32 is the next number below one, 1.19e-7
    np.testing.assert_allclose(losses, [16.11809565095832, 1e-7], rtol=1e-6, atol=0.2e-7)
    np.testing.assert_array_equal(cross_entropy_backward(np.ones(2, dtype=dtype), r, t), np.zeros((2, 2)))
    assert losses.dtype == dtype


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nan_goes_through(name):
    logits, targets = np.array([[0.0, np.nan], [0.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    losses, p = run(name, softmax_cross_entropy_forward, logits, targets)
    dlogits = run(name, softmax_cross_entropy_backward, np.ones(2), p, targets)
    np.testing.assert_array_equal(np.isnan(losses), [True, False])
    np.testing.assert_array_equal(np.isnan(dlogits), [[True, True], [False, False]])
    np.testing.assert_array_equal(np.isnan(cross_entropy_forward(logits + 0.5, targets)), [True, False])
    gradient = cross_entropy_backward(np.ones(2), logits + 0.5, targets)
    np.testing.assert_array_equal(np.isnan(gradient), [[True, True], [False, False]])


# (5) layouts


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_takes_arrays_that_are_not_contiguous(name):
    logits, targets, dlosses = (a.T[::-1] for a in draw_arrays((5, 5), 0))
    losses, p = run(name, softmax_cross_entropy_forward, logits, targets)
    np.testing.assert_array_equal(losses, run(name, softmax_cross_entropy_forward, logits.copy(), targets.copy())[0])
    dlogits = run(name, softmax_cross_entropy_backward, dlosses, np.asfortranarray(p), targets)
    np.testing.assert_array_equal(dlogits, run(name, softmax_cross_entropy_backward, dlosses.copy(), p, targets.copy()))


def test_bits_do_not_depend_on_the_number_of_threads():
    import numba

    logits, targets, dlosses = draw_arrays((157, 301), 0, np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            losses, p = softmax_cross_entropy_forward(logits, targets)
            results.append([losses, p, softmax_cross_entropy_backward(dlosses, p, targets)])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


# errors


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_errors_say_what_was_given_and_expected(name):
    z = np.zeros((2, 3))
    for forward in (softmax_cross_entropy_forward, cross_entropy_forward):
        with pytest.raises(ValueError, match=r"\(M, K\).*got \(2, 3\) and \(2,\)"):
            run(name, forward, z, np.zeros(2))
    for backward in (softmax_cross_entropy_backward, cross_entropy_backward):
        with pytest.raises(ValueError, match=r"dlosses has shape \(2, 1\), but there are losses \(2,\)"):
            run(name, backward, np.zeros((2, 1)), z, z)
