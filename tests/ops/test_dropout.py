from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.dropout import dropout_backward, dropout_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, normal, run
from tests.strategies import seeds

IMPLEMENTATIONS = implementations(dropout_forward)
shapes = st.lists(st.integers(2, 5), min_size=1, max_size=4).map(tuple)
rates = st.sampled_from([0.0, 0.1, 0.5, 0.9])


class FixedDraws:
    """A generator that draws given numbers."""

    def __init__(self, *draws):
        self.draws = np.array(draws)

    def random(self, shape, dtype):
        return self.draws.reshape(shape).astype(dtype)


# (1) answers worked by hand


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_hand_worked(name):
    y, keep = run(name, dropout_forward, np.array([1.0, 2.0, 3.0, 4.0]), 0.75, FixedDraws(0.8, 0.1, 0.75, 0.7))
    dx = run(name, dropout_backward, np.array([10.0, 20.0, 30.0, 40.0]), keep, 0.75)
    # kept where the draw is at least 0.75, and multiplied by 1 / 0.25 = 4
    np.testing.assert_array_equal(keep, [True, False, True, False])
    np.testing.assert_array_equal(y, [4.0, 0.0, 12.0, 0.0])
    np.testing.assert_array_equal(dx, [40.0, 0.0, 120.0, 0.0])


def test_rate_zero_changes_nothing():
    x = normal(np.random.default_rng(0), 3, 4, dtype=np.float32)
    y, keep = dropout_forward(x, 0.0, np.random.default_rng(1))
    np.testing.assert_array_equal(y, x)
    assert keep.all()


def test_share_and_mean_are_what_the_rate_says():
    y, keep = dropout_forward(np.ones(100_000), 0.3, np.random.default_rng(0))
    # standard deviations: sqrt(0.3 · 0.7 / 1e5) = 0.00145 of the share, that / 0.7 = 0.0021 of the mean
    assert keep.mean() == pytest.approx(0.7, abs=5 * 0.00145)
    assert y.mean() == pytest.approx(1.0, abs=5 * 0.0021)


def test_drops_elements_independently_of_each_other():
    _, keep = dropout_forward(np.ones((200, 200)), 0.5, np.random.default_rng(0))
    # a whole row or column dropped together would give shares of 0 and 1; 5 sigma of 200 draws is 0.18
    assert np.abs(keep.mean(axis=0) - 0.5).max() < 0.18
    assert np.abs(keep.mean(axis=1) - 0.5).max() < 0.18


# (2) the gradient


@given(shapes, rates, seeds)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_gradients(name, shape, rate, seed):
    x = normal(np.random.default_rng(seed), *shape)

    def forward(x):
        with minivid.use("reference"):
            return dropout_forward(x, rate, np.random.default_rng(seed))[0]

    def backward(dy, x):
        _, keep = run(name, dropout_forward, x, rate, np.random.default_rng(seed))
        return {"x": run(name, dropout_backward, dy, keep, rate)}

    report = check_gradients(forward, backward, {"x": x}, equations={"x": "dropout.3"}, seed=seed)
    assert all(block.verdict in ("ok", "all zero") for block in report.blocks), str(report)  # all may be dropped


# (3) every implementation against the float64 reference


@given(shapes, rates, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, shape, rate, seed):
    rng = np.random.default_rng(seed)
    x, dy = normal(rng, *shape, dtype=dtype), normal(rng, *shape, dtype=dtype)
    with minivid.use("reference"):
        wide = [a.astype(np.float64) for a in (x, dy)]
        y_expected, keep_expected = dropout_forward(wide[0], rate, np.random.default_rng(seed))
        dx_expected = dropout_backward(wide[1], keep_expected, rate)
    y, keep = assert_not_mutated(lambda x: run(name, dropout_forward, x, rate, np.random.default_rng(seed)), x)
    dx = assert_not_mutated(partial(run, name, dropout_backward), dy, keep_expected, rate=rate)
    np.testing.assert_array_equal(keep, keep_expected)
    assert_close(y, y_expected, dtype=dtype)
    assert_close(dx, dx_expected, dtype=dtype)


# (5) layouts, dtypes and special values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_takes_arrays_that_are_not_contiguous(name, dtype):
    x = normal(np.random.default_rng(0), 4, 5, 6, dtype=dtype).transpose(2, 0, 1)[::2]
    y, keep = run(name, dropout_forward, x, 0.5, np.random.default_rng(0))
    np.testing.assert_array_equal(y, run(name, dropout_forward, x.copy(), 0.5, np.random.default_rng(0))[0])
    dx = run(name, dropout_backward, x, np.asfortranarray(keep), 0.5)
    np.testing.assert_array_equal(dx, run(name, dropout_backward, x.copy(), keep, 0.5))
    assert y.dtype == dx.dtype == dtype


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nan_stays_where_it_is_kept(name):
    y, _ = run(name, dropout_forward, np.array([np.nan, np.nan, np.inf]), 0.5, FixedDraws(0.9, 0.1, 0.1))
    np.testing.assert_array_equal(y, [np.nan, 0.0, 0.0])


def test_bits_do_not_depend_on_the_number_of_threads():
    import numba

    x = normal(np.random.default_rng(0), 301, 97, dtype=np.float32)  # several chunks
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            results.append(dropout_forward(x, 0.3, np.random.default_rng(0))[0])
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(*results)


# errors


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_errors_say_what_was_given_and_expected(name):
    for rate in (-0.1, 1.0, 50):
        with pytest.raises(ValueError, match=rf"0 <= rate < 1 .*rate={rate}"):
            run(name, dropout_forward, np.zeros(3), rate, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"dy has shape \(3,\).*\(2,\)"):
        run(name, dropout_backward, np.zeros(3), np.array([True, False]), 0.5)
