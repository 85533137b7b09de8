from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.huber import huber_backward, huber_forward
from minivid.ops.mse import mse_forward
from tests.numerics import (
    DTYPES,
    assert_close,
    assert_not_mutated,
    assert_same_bits,
    distinct,
    implementations,
    normal,
    run,
)
from tests.strategies import seeds

IMPLEMENTATIONS = implementations(huber_forward)
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
rows = st.tuples(st.integers(1, 6), st.integers(1, 6))


def draw_arrays(shape, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [a.astype(dtype) for a in (normal(rng, *shape), normal(rng, *shape), normal(rng, shape[0]))]


@EVERY
def test_hand_worked(name):
    y, t = np.array([[1.5, 5.0], [0.0, 4.0]]), np.array([[2.0, 2.0], [0.0, 4.5]])
    # (1/8 + (3 − 1/2)) / 2; (0 + 1/8) / 2; dy = 10/2 · (−1/2, 1) and 1/2 · (0, −1/2)
    np.testing.assert_array_equal(run(name, huber_forward, y, t), [1.3125, 0.0625])
    dy = run(name, huber_backward, np.array([10.0, 1.0]), y, t)
    np.testing.assert_array_equal(dy, [[-2.5, 5.0], [0.0, -0.25]])
    # δ = 2: 1/8 and 2·(3 − 1) = 4; slopes −1/2 and 2
    np.testing.assert_array_equal(run(name, huber_forward, y[:1], t[:1], delta=2.0), [2.0625])
    np.testing.assert_array_equal(run(name, huber_backward, np.ones(1), y[:1], t[:1], delta=2.0), [[-0.25, 1.0]])


def test_a_large_delta_is_half_the_squared_error():
    y, t, _ = draw_arrays((4, 3), 0)
    np.testing.assert_allclose(huber_forward(y, t, delta=1e3), mse_forward(y, t) / 2, rtol=1e-14)


@given(rows, seeds)
@EVERY
def test_gradients(name, shape, seed):
    rng = np.random.default_rng(seed)
    t = normal(rng, *shape)
    y = t + distinct(rng, *shape)  # errors away from the kink of the slope, at 0.7

    def forward(y):
        with minivid.use("reference"):
            return huber_forward(y, t, 0.7)

    def backward(dlosses, y):
        return {"y": run(name, huber_backward, dlosses, y, t, delta=0.7)}

    report = check_gradients(forward, backward, {"y": y}, equations={"y": "huber.2"}, seed=seed)
    assert report.passed, str(report)


@given(rows, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, shape, seed):
    y, t, dlosses = draw_arrays(shape, seed, dtype)
    with minivid.use("reference"):
        wide = [a.astype(np.float64) for a in (y, t, dlosses)]
        expected = huber_forward(*wide[:2], 0.7), huber_backward(wide[2], *wide[:2], 0.7)
    losses = assert_not_mutated(partial(run, name, huber_forward), y, t, delta=0.7)
    dy = assert_not_mutated(partial(run, name, huber_backward), dlosses, y, t, delta=0.7)
    assert_close(losses, expected[0], terms=shape[1], dtype=dtype)
    assert_close(dy, expected[1], dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@EVERY
def test_takes_arrays_that_are_not_contiguous(name, dtype):
    y, t, dlosses = (a.T[::-1] for a in draw_arrays((5, 5), 0, dtype))
    losses, dy = run(name, huber_forward, y, t), run(name, huber_backward, dlosses, y, t)
    np.testing.assert_array_equal(losses, run(name, huber_forward, y.copy(), t.copy()))
    np.testing.assert_array_equal(dy, run(name, huber_backward, dlosses.copy(), y.copy(), t.copy()))
    assert losses.dtype == dy.dtype == dtype


@EVERY
def test_nan_goes_through(name):
    y = np.array([[1.0, np.nan], [1.0, 2.0]])
    np.testing.assert_array_equal(run(name, huber_forward, y, np.ones((2, 2))), [np.nan, 0.25])
    np.testing.assert_array_equal(run(name, huber_backward, np.ones(2), y, np.ones((2, 2))), [[0, np.nan], [0, 0.5]])


def test_bits_do_not_depend_on_the_number_of_threads():
    y, t, dlosses = draw_arrays((157, 301), 0, np.float32)
    assert_same_bits(lambda: [huber_forward(y, t), huber_backward(dlosses, y, t)])


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    with pytest.raises(ValueError, match=r"\(M, K\).*got \(2, 3\) and \(2, 1\)"):
        run(name, huber_forward, np.zeros((2, 3)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match="delta must be positive, got 0"):
        run(name, huber_forward, np.zeros((2, 3)), np.zeros((2, 3)), delta=0)
