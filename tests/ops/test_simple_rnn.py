import math
from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.simple_rnn import simple_rnn_backward, simple_rnn_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, normal, run
from tests.strategies import seeds

EQUATIONS = {
    "x": "simple_rnn.5",
    "kernel": "simple_rnn.6",
    "recurrent_kernel": "simple_rnn.7",
    "bias": "simple_rnn.8",
    "h0": "simple_rnn.9",
}
WEIGHTS = ("kernel", "recurrent_kernel", "bias")
IMPLEMENTATIONS = implementations(simple_rnn_forward)
sizes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 5))


def draw_arrays(N, T, D, U, seed, masked=False, dtype=np.float64):
    """Inputs of the forward pass by name, with a non-zero state, and an upstream gradient."""
    rng = np.random.default_rng(seed)
    inputs = {
        "x": normal(rng, N, T, D),
        "kernel": normal(rng, D, U) / np.sqrt(D),
        "recurrent_kernel": normal(rng, U, U) / np.sqrt(U),
        "bias": normal(rng, U),
        "h0": normal(rng, N, U),
    }
    mask = rng.random((N, T)) < 0.6
    mask[0, 0] = True  # at least one real step, so that no gradient is all zero
    dh = normal(rng, N, T, U).astype(dtype)
    return {name: a.astype(dtype) for name, a in inputs.items()}, dh, mask if masked else None


def gradients_of(dh, inputs, mask=None):
    """Run forward and backward; return the gradients by input name."""
    h = simple_rnn_forward(**inputs, mask=mask)
    x, kernel, recurrent_kernel, _, h0 = inputs.values()
    gradients = simple_rnn_backward(dh, x, kernel, recurrent_kernel, h, h0, mask)
    return dict(zip(EQUATIONS, gradients, strict=True))


def assert_all_close(actual, expected, beside, terms, dtype):
    """Compare arrays on the scale of the largest, ``beside`` included: one alone may cancel to nearly nothing."""
    for a, b in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, dtype)
    flat = [np.concatenate([a.ravel() for a in (*beside, *arrays)]) for arrays in (actual, expected)]
    assert_close(*flat, terms=terms, dtype=dtype)


# (1) answers worked by hand


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_hand_worked(name):
    # tanh(ln a) = (a − 1/a)/(a + 1/a), so tanh(ln 2) = 3/5 and tanh(ln 3) = 4/5.
    # With w = 2, r = 5, b = 1 and h_0 = −1 choose x so that z_1 = 2x_1 − 5 + 1 = ln 2, z_2 = 2x_2 + 3 + 1 = ln 3.
    x1, x2 = (math.log(2) + 4) / 2, (math.log(3) - 4) / 2
    x = np.array([x1, x2]).reshape(1, 2, 1)
    w, r, b, h0 = np.array([[2.0]]), np.array([[5.0]]), np.array([1.0]), np.array([[-1.0]])
    dh = np.array([10.0, 100.0]).reshape(1, 2, 1)
    h = run(name, simple_rnn_forward, x, w, r, b, h0)
    dx, dw, dr, db, dh0 = run(name, simple_rnn_backward, dh, x, w, r, h, h0)
    np.testing.assert_allclose(h.ravel(), [0.6, 0.8], rtol=1e-14)
    # dz_2 = 100·(1 − 0.64) = 36; δh_1 = 10 + 36·5 = 190; dz_1 = 190·(1 − 0.36) = 121.6; dh_0 = 121.6·5 = 608
    np.testing.assert_allclose(dx.ravel(), [243.2, 72.0], rtol=1e-13)
    np.testing.assert_allclose(dw, [[121.6 * x1 + 36 * x2]], rtol=1e-13)
    np.testing.assert_allclose(dr, [[-100.0]], rtol=1e-13)  # −1·121.6 + 0.6·36
    np.testing.assert_allclose(db, [157.6], rtol=1e-13)
    np.testing.assert_allclose(dh0, [[608.0]], rtol=1e-13)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_recurrent_kernel_is_used_as_rows_times_matrix(name):
    # h_0 = (1, 0) and R = [[0, 1], [0, 0]]: unit 0 feeds unit 1, so h_1 = (0, tanh 1)
    x, h0, r = np.zeros((1, 1, 3)), np.array([[1.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 0.0]])
    h = run(name, simple_rnn_forward, x, np.zeros((3, 2)), r, h0=h0)
    np.testing.assert_allclose(h[0, 0], [0.0, math.tanh(1)], rtol=1e-15)


# (2) the reference against complex steps; every other backward pass against the same derivative


@given(sizes, seeds, st.booleans())
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_gradients(name, case, seed, masked):
    inputs, _, mask = draw_arrays(*case, seed, masked)

    def forward(**inputs):
        with minivid.use("reference"):
            return simple_rnn_forward(**inputs, mask=mask)

    def backward(dh, **inputs):
        return run(name, gradients_of, dh, inputs, mask)

    check_gradients(forward, backward, inputs, equations=EQUATIONS, seed=seed).raise_if_failed()


# (3) every implementation against the float64 reference, (4) with the reference's states, (5) inputs kept


@given(sizes, seeds, st.booleans())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, case, seed, masked):
    N, T, D, U = case
    inputs, dh, mask = draw_arrays(*case, seed, masked, dtype)
    wide = {key: a.astype(np.float64) for key, a in inputs.items()}
    with minivid.use("reference"):
        h_expected = simple_rnn_forward(**wide, mask=mask)
        expected = gradients_of(dh.astype(np.float64), wide, mask)
    h = assert_not_mutated(partial(run, name, simple_rnn_forward), *inputs.values(), mask)
    x, kernel, recurrent_kernel, _, h0 = inputs.values()
    states = h_expected.astype(dtype)
    gradients = assert_not_mutated(
        partial(run, name, simple_rnn_backward), dh, x, kernel, recurrent_kernel, states, h0, mask
    )
    assert_all_close([h], [h_expected], inputs.values(), terms=T * (D + U + 1), dtype=dtype)
    terms = N * T * (D + U + 1)
    assert_all_close(gradients, expected.values(), [dh], terms=terms, dtype=dtype)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nothing_given_means_zero(name):
    inputs, dh, _ = draw_arrays(3, 4, 2, 5, seed=0)
    zeros = {"bias": np.zeros(5), "h0": np.zeros((3, 5))}
    x, kernel, recurrent_kernel = (inputs[key] for key in ("x", "kernel", "recurrent_kernel"))
    h = run(name, simple_rnn_forward, x, kernel, recurrent_kernel)
    gradients = run(name, simple_rnn_backward, dh, x, kernel, recurrent_kernel, h)
    np.testing.assert_array_equal(h, run(name, simple_rnn_forward, x, kernel, recurrent_kernel, **zeros))
    expected = run(name, gradients_of, dh, inputs | zeros, np.ones((3, 4), dtype=bool))
    for actual, wanted in zip(gradients, expected.values(), strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_takes_arrays_that_are_not_contiguous(name):
    inputs, dh, mask = draw_arrays(3, 4, 2, 5, seed=0, masked=True)
    strided = {key: np.repeat(a, 2, axis=-1)[..., ::2] for key, a in inputs.items()}
    assert not strided["x"].flags.c_contiguous
    h = run(name, simple_rnn_forward, **strided, mask=np.asfortranarray(mask))
    np.testing.assert_allclose(h, run(name, simple_rnn_forward, **inputs, mask=mask), rtol=1e-13)
    expected = run(name, gradients_of, dh, inputs, mask)
    for key, actual in run(name, gradients_of, np.asfortranarray(dh), strided, np.asfortranarray(mask)).items():
        np.testing.assert_allclose(actual, expected[key], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_takes_arrays_that_are_read_only(name):
    inputs, dh, mask = draw_arrays(3, 4, 2, 5, seed=0, masked=True)
    expected = run(name, gradients_of, dh, inputs, mask)
    for array in (*inputs.values(), mask):
        array.flags.writeable = False
    for key, actual in run(name, gradients_of, dh, inputs, mask).items():
        np.testing.assert_array_equal(actual, expected[key])


# (6) algebra: a sequence is a chain of steps, and a masked step is no step


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_a_sequence_is_a_chain_of_single_steps(name):
    T = 4
    inputs, dh, _ = draw_arrays(3, T, 2, 5, seed=1)
    h, whole = run(name, simple_rnn_forward, **inputs), run(name, gradients_of, dh, inputs)
    steps, state = [], inputs["h0"]
    for t in range(T):
        steps.append(inputs | {"x": inputs["x"][:, t : t + 1], "h0": state})
        state = run(name, simple_rnn_forward, **steps[-1])[:, 0]
        np.testing.assert_allclose(state, h[:, t], rtol=1e-13)
    total, carry = dict.fromkeys(WEIGHTS, 0.0), 0.0
    for t in reversed(range(T)):  # backpropagation through time, one step per call
        gradients = run(name, gradients_of, dh[:, t : t + 1] + carry, steps[t])
        carry = gradients["h0"][:, None]
        np.testing.assert_allclose(gradients["x"][:, 0], whole["x"][:, t], rtol=1e-11)
        for key in WEIGHTS:  # (recurrent.4): the sum over steps
            total[key] += gradients[key]
    np.testing.assert_allclose(carry[:, 0], whole["h0"], rtol=1e-11)
    for key in WEIGHTS:
        np.testing.assert_allclose(total[key], whole[key], rtol=1e-11)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_a_padded_sequence_is_the_shorter_sequence(name, side):
    N, T, length = 3, 6, 4
    inputs, dh, _ = draw_arrays(N, T, 2, 5, seed=2)
    real, padding = np.s_[:, :length], np.s_[:, length:]
    if side == "left":
        real, padding = np.s_[:, T - length :], np.s_[:, : T - length]
    mask = np.zeros((N, T), dtype=bool)
    mask[real] = True
    short = inputs | {"x": inputs["x"][real]}
    h, h_short = run(name, simple_rnn_forward, **inputs, mask=mask), run(name, simple_rnn_forward, **short)
    np.testing.assert_allclose(h[real], h_short, rtol=1e-12)
    kept = h_short[:, -1:] if side == "right" else inputs["h0"][:, None]
    np.testing.assert_allclose(h[padding], np.repeat(kept, T - length, axis=1), rtol=1e-12)
    # What arrives at a padded step belongs to the state it kept: the last real one, or h_0.
    dh_short, late = dh[real].copy(), dh[padding].sum(axis=1)
    if side == "right":
        dh_short[:, -1] += late
    expected = run(name, gradients_of, dh_short, short)
    if side == "left":
        expected["h0"] = expected["h0"] + late
    gradients = run(name, gradients_of, dh, inputs, mask)
    np.testing.assert_array_equal(gradients["x"][padding], 0)
    gradients["x"] = gradients["x"][real]
    for key in EQUATIONS:
        np.testing.assert_allclose(gradients[key], expected[key], rtol=1e-11)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_values_under_the_mask_change_nothing(name):
    inputs, dh, mask = draw_arrays(3, 5, 2, 4, seed=5, masked=True)
    changed = inputs | {"x": np.where(mask[..., None], inputs["x"], 1e3)}
    before, after = run(name, gradients_of, dh, inputs, mask), run(name, gradients_of, dh, changed, mask)
    assert not mask.all()
    for key in EQUATIONS:
        np.testing.assert_array_equal(before[key], after[key])


def test_bits_do_not_depend_on_the_number_of_threads():
    inputs, dh, mask = draw_arrays(21, 7, 5, 13, seed=3, masked=True, dtype=np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            results.append([simple_rnn_forward(**inputs, mask=mask), *gradients_of(dh, inputs, mask).values()])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


# numbers that are large or not finite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_saturates_without_overflow(name, dtype):
    x = np.array([1e6, -1e6], dtype=dtype).reshape(1, 2, 1)
    one = np.ones((1, 1), dtype=dtype)
    h = run(name, simple_rnn_forward, x, one, one)
    dx = run(name, simple_rnn_backward, np.ones_like(h), x, one, one, h)[0]
    np.testing.assert_array_equal(h.ravel(), [1, -1])
    np.testing.assert_array_equal(dx.ravel(), [0, 0])


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nan_stays_in_its_sequence_and_travels_forward(name):
    inputs, _, _ = draw_arrays(3, 4, 2, 5, seed=4)
    inputs["x"][1, 2, 0] = np.nan
    h = run(name, simple_rnn_forward, **inputs)
    assert np.isnan(h[1, 2:]).all()
    assert np.isfinite(h[1, :2]).all()
    assert np.isfinite(h[[0, 2]]).all()


# errors


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_errors_say_what_was_given_and_expected(name):
    x, w, r = np.zeros((2, 3, 4)), np.zeros((4, 5)), np.zeros((5, 5))
    h = np.zeros((2, 3, 5))
    with pytest.raises(ValueError, match=r"\(batch, time, features\), got shape \(2, 4\)"):
        run(name, simple_rnn_forward, x[:, 0], w, r)
    with pytest.raises(ValueError, match=r"at least one time step.*\(2, 0, 4\)"):
        run(name, simple_rnn_forward, x[:, :0], w, r)
    with pytest.raises(ValueError, match=r"recurrent_kernel \(U, U\), got shape \(4, 5\)"):
        run(name, simple_rnn_forward, x, w, r[:4])
    with pytest.raises(ValueError, match=r"kernel \(D, U\): \(4, 5\) for 4 features.*got shape \(3, 5\)"):
        run(name, simple_rnn_forward, x, w[:3], r)
    with pytest.raises(ValueError, match=r"bias of shape \(5,\), got \(4,\)"):
        run(name, simple_rnn_forward, x, w, r, np.zeros(4))
    with pytest.raises(ValueError, match=r"h0 of shape \(2, 5\), got \(5,\)"):
        run(name, simple_rnn_forward, x, w, r, h0=np.zeros(5))
    with pytest.raises(ValueError, match=r"mask \(N, T\) of bool.*\(2, 3\), got shape \(2, 4\) of bool"):
        run(name, simple_rnn_forward, x, w, r, mask=np.ones((2, 4), dtype=bool))
    with pytest.raises(ValueError, match=r"got shape \(2, 3\) of float64"):
        run(name, simple_rnn_forward, x, w, r, mask=np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"dh of shape \(2, 3, 5\), got \(2, 5\)"):
        run(name, simple_rnn_backward, h[:, -1], x, w, r, h)
    with pytest.raises(ValueError, match=r"h of shape \(2, 3, 5\), got \(2, 2, 5\)"):
        run(name, simple_rnn_backward, h, x, w, r, h[:, :2])
