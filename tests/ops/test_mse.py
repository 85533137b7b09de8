from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.mse import mse_backward, mse_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, normal, run
from tests.strategies import seeds

IMPLEMENTATIONS = implementations(mse_forward)
rows = st.tuples(st.integers(1, 6), st.integers(1, 6))


def draw_arrays(shape, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [a.astype(dtype) for a in (normal(rng, *shape), normal(rng, *shape), normal(rng, shape[0]))]


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_hand_worked(name):
    y, t = np.array([[1.0, 5.0], [0.0, 4.0]]), np.array([[2.0, 2.0], [0.0, 0.0]])
    losses = run(name, mse_forward, y, t)
    dy = run(name, mse_backward, np.array([10.0, 1.0]), y, t)
    # ((−1)² + 3²) / 2 = 5; (0 + 16) / 2 = 8; dy = 10 · 2/2 · (−1, 3) and 1 · 2/2 · (0, 4)
    np.testing.assert_array_equal(losses, [5.0, 8.0])
    np.testing.assert_array_equal(dy, [[-10.0, 30.0], [0.0, 4.0]])


@given(rows, seeds)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_gradients(name, shape, seed):
    y, t, _ = draw_arrays(shape, seed)

    def forward(y):
        with minivid.use("reference"):
            return mse_forward(y, t)

    def backward(dlosses, y):
        return {"y": run(name, mse_backward, dlosses, y, t)}

    report = check_gradients(forward, backward, {"y": y}, equations={"y": "mse.2"}, seed=seed)
    assert report.passed, str(report)


@given(rows, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, shape, seed):
    y, t, dlosses = draw_arrays(shape, seed, dtype)
    with minivid.use("reference"):
        wide = [a.astype(np.float64) for a in (y, t, dlosses)]
        expected = mse_forward(*wide[:2]), mse_backward(wide[2], *wide[:2])
    losses = assert_not_mutated(partial(run, name, mse_forward), y, t)
    dy = assert_not_mutated(partial(run, name, mse_backward), dlosses, y, t)
    assert_close(losses, expected[0], terms=shape[1], dtype=dtype)
    assert_close(dy, expected[1], dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_takes_arrays_that_are_not_contiguous(name, dtype):
    y, t, dlosses = (a.T[::-1] for a in draw_arrays((5, 5), 0, dtype))
    losses, dy = run(name, mse_forward, y, t), run(name, mse_backward, dlosses, y, t)
    np.testing.assert_array_equal(losses, run(name, mse_forward, y.copy(), t.copy()))
    np.testing.assert_array_equal(dy, run(name, mse_backward, dlosses.copy(), y.copy(), t.copy()))
    assert losses.dtype == dy.dtype == dtype


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nan_goes_through(name):
    y = np.array([[1.0, np.nan], [1.0, 2.0]])
    np.testing.assert_array_equal(run(name, mse_forward, y, np.ones((2, 2))), [np.nan, 0.5])
    np.testing.assert_array_equal(run(name, mse_backward, np.ones(2), y, np.ones((2, 2))), [[0, np.nan], [0, 1]])


def test_bits_do_not_depend_on_the_number_of_threads():
    import numba

    y, t, dlosses = draw_arrays((157, 301), 0, np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            results.append([mse_forward(y, t), mse_backward(dlosses, y, t)])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_errors_say_what_was_given_and_expected(name):
    with pytest.raises(ValueError, match=r"\(M, K\).*got \(2, 3\) and \(2, 1\)"):
        run(name, mse_forward, np.zeros((2, 3)), np.zeros((2, 1)))
    with pytest.raises(ValueError, match=r"dlosses has shape \(3,\), but there are losses \(2,\)"):
        run(name, mse_backward, np.zeros(3), np.zeros((2, 3)), np.zeros((2, 3)))
