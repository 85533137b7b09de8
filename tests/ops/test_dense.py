from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.dense import dense_backward, dense_backward_input, dense_backward_weights, dense_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, normal, run
from tests.strategies import seeds

EQUATIONS = {"x": "dense.2", "w": "dense.3", "b": "dense.4"}
IMPLEMENTATIONS = implementations(dense_forward)
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
sizes = st.tuples(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 7), st.integers(1, 6))


def draw_arrays(sizes, seed, dtype=np.float64):
    batch, D, U = sizes
    rng = np.random.default_rng(seed)
    return [normal(rng, *shape, dtype=dtype) for shape in ((*batch, D), (D, U), (U,), (*batch, U))]


# (1) answers worked by hand


@EVERY
def test_hand_worked(name):
    x, w = np.array([[1.0, 2.0], [3.0, 0.0]]), np.array([[3.0, 4.0], [5.0, 6.0]])
    b, dy = np.array([10.0, 20.0]), np.array([[1.0, 10.0], [100.0, 0.0]])
    y = run(name, dense_forward, x, w, b)
    dx, dw, db = run(name, dense_backward, dy, x, w)
    # y = [[1·3 + 2·5 + 10, 1·4 + 2·6 + 20], [3·3 + 10, 3·4 + 20]]
    np.testing.assert_array_equal(y, [[23.0, 36.0], [19.0, 32.0]])
    # dx = [[1·3 + 10·4, 1·5 + 10·6], [100·3, 100·5]]
    np.testing.assert_array_equal(dx, [[43.0, 65.0], [300.0, 500.0]])
    # dw = [[1·1 + 3·100, 1·10], [2·1, 2·10]]: a sum over the samples
    np.testing.assert_array_equal(dw, [[301.0, 10.0], [2.0, 20.0]])
    np.testing.assert_array_equal(db, [101.0, 10.0])


@EVERY
def test_no_bias_means_zero(name):
    x, w = np.array([[1.0, 2.0]]), np.array([[3.0], [5.0]])
    assert run(name, dense_forward, x, w).item() == 13.0


# (2) the reference against complex steps; every other backward pass against the same derivative


@given(sizes, seeds)
@EVERY
def test_gradients(name, sizes, seed):
    x, w, b, _ = draw_arrays(sizes, seed)

    def forward(x, w, b):
        with minivid.use("reference"):
            return dense_forward(x, w, b)

    def backward(dy, x, w, b):
        return dict(zip("xwb", run(name, dense_backward, dy, x, w), strict=True))

    inputs = {"x": x, "w": w, "b": b}
    check_gradients(forward, backward, inputs, equations=EQUATIONS, seed=seed).raise_if_failed()


# (3) every implementation against the float64 reference


@given(sizes, seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, sizes, seed):
    x, w, b, dy = draw_arrays(sizes, seed, dtype)
    with minivid.use("reference"):
        wide = [a.astype(np.float64) for a in (x, w, b, dy)]
        y_expected = dense_forward(*wide[:3])
        expected = dense_backward(wide[3], *wide[:2])
    y = assert_not_mutated(partial(run, name, dense_forward), x, w, b)
    gradients = assert_not_mutated(partial(run, name, dense_backward), dy, x, w)
    assert_close(y, y_expected, terms=x.shape[-1] + 1, dtype=dtype)
    for actual, wanted in zip(gradients, expected, strict=True):
        assert_close(actual, wanted, terms=dy.size, dtype=dtype)


# (5) layouts and (6) algebra


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    rng = np.random.default_rng(0)
    x, w = normal(rng, 5, 4, 3).transpose(1, 2, 0)[:, ::-1], normal(rng, 6, 5).T
    dy = normal(rng, 4, 3, 12)[..., ::2]
    copies = dy.copy(), x.copy(), w.copy()
    np.testing.assert_array_equal(run(name, dense_forward, x, w), run(name, dense_forward, *copies[1:]))
    for a, b in zip(run(name, dense_backward, dy, x, w), run(name, dense_backward, *copies), strict=True):
        np.testing.assert_array_equal(a, b)


@given(sizes, seeds)
def test_backward_is_the_adjoint_of_forward(sizes, seed):
    x, w, _, dy = draw_arrays(sizes, seed)
    inner = (dy * dense_forward(x, w)).sum()
    scale = np.abs(dy).sum() * np.abs(x).max() * np.abs(w).max() * len(w)
    assert abs(inner - (dense_backward_input(dy, w) * x).sum()) <= 1e-14 * scale
    assert abs(inner - (dense_backward_weights(dy, x)[0] * w).sum()) <= 1e-14 * scale


@EVERY
def test_a_sequence_is_a_batch_of_its_steps(name):
    x, w, b, dy = draw_arrays(((2, 3), 4, 5), seed=0)
    y, (dx, dw, db) = run(name, dense_forward, x, w, b), run(name, dense_backward, dy, x, w)
    np.testing.assert_array_equal(y.reshape(6, 5), run(name, dense_forward, x.reshape(6, 4), w, b))
    flat = run(name, dense_backward, dy.reshape(6, 5), x.reshape(6, 4), w)
    for a, b in zip((dx.reshape(6, 4), dw, db), flat, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bits_do_not_depend_on_the_number_of_threads():
    x, w, b, dy = draw_arrays(((70,), 150, 200), seed=0, dtype=np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            results.append([dense_forward(x, w, b), *dense_backward(dy, x, w)])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


# errors


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    x, w = np.zeros((2, 3)), np.zeros((3, 5))
    with pytest.raises(ValueError, match=r"two axes or more.*\(3,\); write x\[None\]"):
        run(name, dense_forward, x[0], w)
    with pytest.raises(ValueError, match=r"x has 2 features .*\(3, 5\) take 3"):
        run(name, dense_forward, x[:, :2], w)
    with pytest.raises(ValueError, match=r"weights w \(D, U\), got shape \(15,\)"):
        run(name, dense_forward, x, w.ravel())
    with pytest.raises(ValueError, match=r"b has shape \(1,\).*5 units.*\(5,\)"):
        run(name, dense_forward, x, w, np.zeros(1))
    with pytest.raises(ValueError, match=r"dy has shape \(2, 4\).*\(3, 5\)"):
        run(name, dense_backward_input, np.zeros((2, 4)), w)
    with pytest.raises(ValueError, match=r"dy has shape \(1, 5\).*\(2, 3\)"):
        run(name, dense_backward_weights, np.zeros((1, 5)), x)
