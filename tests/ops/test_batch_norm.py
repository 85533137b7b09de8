from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.batch_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_inference_backward,
)
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, kernels, normal, run
from tests.strategies import seeds

EQUATIONS = {"x": "batch_norm.7", "gamma": "batch_norm.5", "beta": "batch_norm.6"}
INFERENCE_EQUATIONS = EQUATIONS | {"x": "batch_norm.8"}
IMPLEMENTATIONS = implementations(batch_norm_forward)
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
shapes = st.lists(st.integers(2, 5), min_size=2, max_size=5)
epsilons = st.sampled_from([1e-3, 0.5])


def draw_arrays(x_shape, seed, dtype=np.float64):
    """Draw x, gamma, beta, moving mean, moving variance and dy; every channel has a mean and scale of its own."""
    rng = np.random.default_rng(seed)
    C = x_shape[-1]
    gamma, beta, mean = normal(rng, C), normal(rng, C), normal(rng, C)
    variance = rng.uniform(0.5, 2, C)
    x = normal(rng, *x_shape) * np.sqrt(variance) + mean
    return [a.astype(dtype) for a in (x, gamma, beta, mean, variance, normal(rng, *x_shape))]


# (1) answers worked by hand


@EVERY
def test_hand_worked(name):
    x, dy = np.array([[0.0], [0.0], [0.0], [4.0]]), np.array([[8.0], [0.0], [0.0], [0.0]])
    gamma, beta = np.array([4.0]), np.array([10.0])
    y, mean, variance = run(name, batch_norm_forward, x, gamma, beta, epsilon=1.0)
    dx, dgamma, dbeta = run(name, batch_norm_backward, dy, x, gamma, mean, variance, epsilon=1.0)
    # mean 4/4, variance (1 + 1 + 1 + 9)/4 (not 12/3), √(3 + 1) = 2, x̂ = (−½, −½, −½, 1½)
    np.testing.assert_array_equal([mean, variance], [[1.0], [3.0]])
    np.testing.assert_array_equal(y.ravel(), [8.0, 8.0, 8.0, 16.0])
    # dgamma = 8·(−½), dbeta = 8; dx = 4/2 · (dy − 8/4 + x̂·4/4)
    np.testing.assert_array_equal([dgamma, dbeta], [[-4.0], [8.0]])
    np.testing.assert_array_equal(dx.ravel(), [11.0, -5.0, -5.0, -1.0])


@EVERY
def test_hand_worked_inference(name):
    x, dy = np.array([[0.0], [4.0]]), np.array([[1.0], [5.0]])
    gamma, beta, mean, variance = (np.array([v]) for v in (4.0, 10.0, 2.0, 3.0))
    y = run(name, batch_norm_inference, x, gamma, beta, mean, variance, epsilon=1.0)
    dx, dgamma, dbeta = run(name, batch_norm_inference_backward, dy, x, gamma, mean, variance, epsilon=1.0)
    # √(3 + 1) = 2, x̂ = (−1, 1)
    np.testing.assert_array_equal(y.ravel(), [6.0, 14.0])
    np.testing.assert_array_equal(dx.ravel(), [2.0, 10.0])
    np.testing.assert_array_equal([dgamma, dbeta], [[-1.0 + 5.0], [6.0]])


@EVERY
def test_a_constant_channel_gives_beta(name):
    x, gamma, beta = np.full((3, 2, 1), 0.7), np.array([2.0]), np.array([-1.0])
    y, _, variance = run(name, batch_norm_forward, x, gamma, beta)
    np.testing.assert_allclose(y, -1.0, atol=1e-13)
    np.testing.assert_allclose(variance, 0.0, atol=1e-30)


@EVERY
def test_a_variance_far_from_zero_survives_float32(name):
    rng = np.random.default_rng(0)
    x = (1000 + normal(rng, 5000, 2)).astype(np.float32)
    _, _, variance = run(name, batch_norm_forward, x, np.ones(2, np.float32), np.zeros(2, np.float32))
    # mean(x²) − mean(x)² would lose everything: both are 1e6, where float32 steps by 0.06
    np.testing.assert_allclose(variance, x.astype(np.float64).var(axis=0), rtol=1e-5)


# (2) the reference against complex steps; every other backward pass against the same derivative


@given(shapes, epsilons, seeds)
@EVERY
def test_gradients(name, x_shape, epsilon, seed):
    x, gamma, beta, *_ = draw_arrays(x_shape, seed)

    def forward(x, gamma, beta):
        with minivid.use("reference"):
            return batch_norm_forward(x, gamma, beta, epsilon)[0]

    def backward(dy, x, gamma, beta):
        _, mean, variance = run(name, batch_norm_forward, x, gamma, beta, epsilon)
        gradients = run(name, batch_norm_backward, dy, x, gamma, mean, variance, epsilon)
        return dict(zip(("x", "gamma", "beta"), gradients, strict=True))

    inputs = {"x": x, "gamma": gamma, "beta": beta}
    # Two nearly equal rows have x̂ ≈ ±1 and dx ≈ 0: what is left of dx is rounding, hence more than 1e-10.
    check_gradients(forward, backward, inputs, equations=EQUATIONS, rtol=1e-9, seed=seed).raise_if_failed()


@given(shapes, epsilons, seeds)
@EVERY
def test_inference_gradients(name, x_shape, epsilon, seed):
    x, gamma, beta, mean, variance, _ = draw_arrays(x_shape, seed)

    def forward(x, gamma, beta):
        with minivid.use("reference"):
            return batch_norm_inference(x, gamma, beta, mean, variance, epsilon)

    def backward(dy, x, gamma, beta):
        gradients = run(name, batch_norm_inference_backward, dy, x, gamma, mean, variance, epsilon)
        return dict(zip(("x", "gamma", "beta"), gradients, strict=True))

    inputs = {"x": x, "gamma": gamma, "beta": beta}
    check_gradients(forward, backward, inputs, equations=INFERENCE_EQUATIONS, seed=seed).raise_if_failed()


# (3) every implementation against the float64 reference, and (4) backward after the reference's forward pass


@given(shapes, epsilons, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, x_shape, epsilon, seed):
    x, gamma, beta, _, _, dy = draw_arrays(x_shape, seed, dtype)
    wide = [a.astype(np.float64) for a in (x, gamma, beta, dy)]
    with minivid.use("reference"):
        y_expected, mean, variance = batch_norm_forward(*wide[:3], epsilon)
        expected = batch_norm_backward(wide[3], *wide[:2], mean, variance, epsilon)
    cache = mean.astype(dtype), variance.astype(dtype)
    y, *statistics = assert_not_mutated(partial(run, name, batch_norm_forward), x, gamma, beta, epsilon=epsilon)
    gradients = assert_not_mutated(partial(run, name, batch_norm_backward), dy, x, gamma, *cache, epsilon=epsilon)
    # Errors of x and of the mean are magnified by 1 / √(variance + ε) in x̂.
    x_terms = dy.size * max(1.0, np.abs(x).max() / np.sqrt(variance.min() + epsilon)) ** 2
    assert_close(y, y_expected, x_terms, dtype)
    for actual, wanted in zip(statistics, (mean, variance), strict=True):
        assert_close(actual, wanted, x_terms, dtype)
    dx_scale = np.abs(gamma).max() / np.sqrt(variance.min() + epsilon) * np.abs(dy).max()
    for actual, wanted, scale in zip(gradients, expected, (dx_scale, 1.0, 1.0), strict=True):
        assert actual.dtype == dtype
        difference = np.abs(actual - wanted).max()
        assert difference <= 8 * np.finfo(dtype).eps * np.sqrt(x_terms) * max(scale, np.abs(wanted).max())


@given(shapes, epsilons, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_inference_matches_the_reference(name, dtype, x_shape, epsilon, seed):
    x, gamma, beta, mean, variance, dy = draw_arrays(x_shape, seed, dtype)
    wide = [a.astype(np.float64) for a in (x, gamma, beta, mean, variance, dy)]
    with minivid.use("reference"):
        y_expected = batch_norm_inference(*wide[:5], epsilon)
        expected = batch_norm_inference_backward(wide[5], *wide[:2], *wide[3:5], epsilon)
    y = assert_not_mutated(partial(run, name, batch_norm_inference), x, gamma, beta, mean, variance, epsilon=epsilon)
    gradients = assert_not_mutated(
        partial(run, name, batch_norm_inference_backward), dy, x, gamma, mean, variance, epsilon=epsilon
    )
    assert_close(y, y_expected, dy.size, dtype)
    for actual, wanted in zip(gradients, expected, strict=True):
        assert_close(actual, wanted, dy.size, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x_shape", [(40, 17, 4), (35, 300), (1537, 6)])  # vectors, blocks side by side, pieces of rows
@pytest.mark.parametrize("name", kernels(batch_norm_forward))
def test_kernels_of_several_blocks(name, x_shape, dtype):
    x, gamma, beta, mean, variance, dy = draw_arrays(x_shape, 0, dtype)
    for op, arrays in [
        (batch_norm_forward, (x, gamma, beta)),
        (batch_norm_backward, (dy, x, gamma, mean, variance)),
        (batch_norm_inference_backward, (dy, x, gamma, mean, variance)),
    ]:
        for actual, expected in zip(run(name, op, *arrays), op(*arrays), strict=True):
            assert_close(actual, expected, 1000)


@pytest.mark.emulator
def test_bits_do_not_depend_on_the_order_of_threads():
    from minivid.cuda import emulator

    x, gamma, beta, mean, variance, dy = draw_arrays((1537, 6), 0, np.float32)
    results = []
    for seed in (0, 1, 2):
        with emulator.schedule(seed), minivid.use("emulator"):
            forward = batch_norm_forward(x, gamma, beta)
            results.append([*forward, *batch_norm_backward(dy, x, gamma, mean, variance)])
    for first, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_array_equal(other, first)


# (5) layouts and (6) algebra


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    x, gamma, beta, mean, variance, dy = draw_arrays((4, 5, 3), 0)
    strided = [np.repeat(a, 2, axis=-1)[..., ::2] for a in (x, gamma, beta, mean, variance, dy)]
    sx, sgamma, sbeta, smean, svariance, sdy = strided
    pairs = [
        (run(name, batch_norm_forward, sx, sgamma, sbeta), run(name, batch_norm_forward, x, gamma, beta)),
        (
            run(name, batch_norm_backward, sdy, sx, sgamma, smean, svariance),
            run(name, batch_norm_backward, dy, x, gamma, mean, variance),
        ),
        (
            (run(name, batch_norm_inference, sx, sgamma, sbeta, smean, svariance),),
            (run(name, batch_norm_inference, x, gamma, beta, mean, variance),),
        ),
        (
            run(name, batch_norm_inference_backward, sdy, sx, sgamma, smean, svariance),
            run(name, batch_norm_inference_backward, dy, x, gamma, mean, variance),
        ),
    ]
    for some, others in pairs:
        for a, b in zip(some, others, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-15)


@given(shapes, seeds)
@EVERY
def test_output_and_gradient_are_centred(name, x_shape, seed):
    x, gamma, beta, _, _, dy = draw_arrays(x_shape, seed)
    axes = tuple(range(x.ndim - 1))
    y, mean, variance = run(name, batch_norm_forward, x, gamma, beta, epsilon=0.1)
    dx, _, _ = run(name, batch_norm_backward, dy, x, gamma, mean, variance, epsilon=0.1)
    # y has mean beta and variance gamma²·variance/(variance + ε); shifting x changes nothing, so dx sums to zero
    np.testing.assert_allclose(y.mean(axis=axes), beta, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=axes), gamma**2 * variance / (variance + 0.1), atol=1e-12)
    np.testing.assert_allclose(dx.sum(axis=axes), 0, atol=1e-11)


def test_bits_do_not_depend_on_the_number_of_threads():
    x, gamma, beta, _, _, dy = draw_arrays((3, 17, 13, 5), 0, np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            y, mean, variance = batch_norm_forward(x, gamma, beta)
            frozen = batch_norm_inference_backward(dy, x, gamma, mean, variance)
            results.append([y, mean, variance, *batch_norm_backward(dy, x, gamma, mean, variance), *frozen])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


# errors


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    x, one = np.zeros((4, 3)), np.ones(3)
    with pytest.raises(ValueError, match=r"two axes or more.*got shape \(4,\)"):
        run(name, batch_norm_forward, x[:, 0], one, one)
    with pytest.raises(ValueError, match=r"not empty, got shape \(0, 3\)"):
        run(name, batch_norm_forward, x[:0], one, one)
    with pytest.raises(ValueError, match=r"gamma has shape \(2,\).*3 channels.*must have shape \(3,\)"):
        run(name, batch_norm_forward, x, one[:2], one)
    with pytest.raises(ValueError, match=r"moving_variance has shape \(1,\)"):
        run(name, batch_norm_inference, x, one, one, one, one[:1])
    with pytest.raises(ValueError, match=r"dy has shape \(4, 2\).*\(4, 3\)"):
        run(name, batch_norm_backward, x[:, :2], x, one, one, one)
    with pytest.raises(ValueError, match=r"dy has shape \(3, 3\).*\(4, 3\)"):
        run(name, batch_norm_inference_backward, x[:3], x, one, one, one)
