import math
from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.lstm import LSTMCache, lstm_backward, lstm_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, normal, run
from tests.strategies import seeds

EQUATIONS = {
    "x": "lstm.14",
    "kernel": "lstm.15",
    "recurrent_kernel": "lstm.16",
    "bias": "lstm.17",
    "h0": "lstm.18",
    "c0": "lstm.19",
}
WEIGHTS = ("kernel", "recurrent_kernel", "bias")
IMPLEMENTATIONS = implementations(lstm_forward)
sizes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 5))


def draw_arrays(N, T, D, U, seed, masked=False, dtype=np.float64):
    """Inputs of the forward pass by name, with non-zero states, and upstream gradients (dh, dc)."""
    rng = np.random.default_rng(seed)
    inputs = {
        "x": normal(rng, N, T, D),
        "kernel": normal(rng, D, 4 * U) / np.sqrt(D),
        "recurrent_kernel": normal(rng, U, 4 * U) / np.sqrt(U),
        "bias": normal(rng, 4 * U),
        "h0": normal(rng, N, U),
        "c0": normal(rng, N, U),
    }
    mask = rng.random((N, T)) < 0.6
    mask[0, 0] = True  # at least one real step, so that no gradient is all zero
    upstream = normal(rng, N, T, U).astype(dtype), normal(rng, N, T, U).astype(dtype)
    return {name: a.astype(dtype) for name, a in inputs.items()}, upstream, mask if masked else None


def gradients_of(upstream, inputs, mask=None):
    """Run forward and backward; return the gradients by input name."""
    states = lstm_forward(**inputs, mask=mask)
    x, kernel, recurrent_kernel, _, h0, c0 = inputs.values()
    gradients = lstm_backward(*upstream, x, kernel, recurrent_kernel, *states, h0, c0, mask)
    return dict(zip(EQUATIONS, gradients, strict=True))


def gates_of(U):
    """The columns of each gate, for reports."""
    names = ("input gate", "forget gate", "candidate", "output gate")
    return {name: np.s_[..., slot * U : (slot + 1) * U] for slot, name in enumerate(names)}


def assert_all_close(actual, expected, beside, terms, dtype):
    """Compare arrays on the scale of the largest, ``beside`` included: one alone may cancel to nearly nothing."""
    for a, b in zip(actual, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, dtype)
    flat = [np.concatenate([a.ravel() for a in (*beside, *arrays)]) for arrays in (actual, expected)]
    assert_close(*flat, terms=terms, dtype=dtype)


# (1) answers worked by hand


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_hand_worked(name):
    # One step, one unit: x = 2, h_0 = 3. The biases make z = (0, 0, ln 2, 0):
    #   z_i = 2·1 + 3·0 − 2, z_f = −2·1 + 3·1 − 1, z_C = 2·0 − 3·1 + 3 + ln 2, z_o = 2·2 + 3·1 − 7
    # so i = f = o = σ(0) = 1/2 and C~ = tanh(ln 2) = (2 − 1/2)/(2 + 1/2) = 3/5.
    # c_0 = 2 ln 2 − 3/5 makes c = c_0/2 + 3/10 = ln 2, so tanh c = 3/5 and h = 3/10.
    x, h0, c0 = np.array([[[2.0]]]), np.array([[3.0]]), np.array([[2 * math.log(2) - 0.6]])
    kernel, recurrent_kernel = np.array([[1.0, -1.0, 0.0, 2.0]]), np.array([[0.0, 1.0, -1.0, 1.0]])
    bias = np.array([-2.0, -1.0, 3 + math.log(2), -7.0])
    h, c, cache = run(name, lstm_forward, x, kernel, recurrent_kernel, bias, h0, c0)
    gradients = run(
        name, lstm_backward, np.array([[[10.0]]]), np.array([[[1.0]]]), x, kernel, recurrent_kernel, h, c, cache, h0, c0
    )
    np.testing.assert_allclose(cache.gates[0, 0], [0.5, 0.5, 0.6, 0.5], rtol=1e-14)
    np.testing.assert_allclose(cache.tanh_c, [[[0.6]]], rtol=1e-14)
    np.testing.assert_allclose(c, [[[math.log(2)]]], rtol=1e-14)
    np.testing.assert_allclose(h, [[[0.3]]], rtol=1e-14)
    # dh = 10 and dc = 1 give δc = 1 + 10·(1/2)·(1 − 9/25) = 4.2, and with σ' = 1/4
    #   dz_i = 4.2·0.6/4 = 0.63         dz_f = 4.2·c_0/4 = 2.1 ln 2 − 0.63
    #   dz_C = 4.2·(1/2)·0.64 = 1.344   dz_o = 10·0.6/4 = 1.5
    dz = np.array([0.63, 2.1 * math.log(2) - 0.63, 1.344, 1.5])
    dx, dkernel, drecurrent_kernel, dbias, dh0, dc0 = gradients
    np.testing.assert_allclose(dbias, dz, rtol=1e-13)
    np.testing.assert_allclose(dkernel, [2 * dz], rtol=1e-13)  # x = 2
    np.testing.assert_allclose(drecurrent_kernel, [3 * dz], rtol=1e-13)  # h_0 = 3
    # dx = dz_i − dz_f + 2 dz_o = 0.63 + 0.63 − 2.1 ln 2 + 3;  dh_0 = dz_f − dz_C + dz_o
    np.testing.assert_allclose(dx, [[[4.26 - 2.1 * math.log(2)]]], rtol=1e-13)
    np.testing.assert_allclose(dh0, [[2.1 * math.log(2) - 0.474]], rtol=1e-13)
    np.testing.assert_allclose(dc0, [[2.1]], rtol=1e-13)  # δc·f


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_two_steps_written_out_in_scalars(name):
    def sigma(z):
        return 1 / (1 + math.exp(-z))

    x1, x2, h0, c0 = 0.5, -1.5, 0.3, -0.7
    kernel = np.array([[0.1, 0.2, 0.3, 0.4]])  # i, f, C~, o
    recurrent_kernel = np.array([[-0.5, 0.6, -0.7, 0.8]])
    bias = np.array([0.01, 1.02, 0.03, 0.04])
    c1 = sigma(0.2 * x1 + 0.6 * h0 + 1.02) * c0
    c1 += sigma(0.1 * x1 - 0.5 * h0 + 0.01) * math.tanh(0.3 * x1 - 0.7 * h0 + 0.03)
    h1 = sigma(0.4 * x1 + 0.8 * h0 + 0.04) * math.tanh(c1)
    c2 = sigma(0.2 * x2 + 0.6 * h1 + 1.02) * c1
    c2 += sigma(0.1 * x2 - 0.5 * h1 + 0.01) * math.tanh(0.3 * x2 - 0.7 * h1 + 0.03)
    h2 = sigma(0.4 * x2 + 0.8 * h1 + 0.04) * math.tanh(c2)
    x = np.array([[[x1], [x2]]])
    h, c, _ = run(name, lstm_forward, x, kernel, recurrent_kernel, bias, np.array([[h0]]), np.array([[c0]]))
    np.testing.assert_allclose(h[0, :, 0], [h1, h2], rtol=1e-14)
    np.testing.assert_allclose(c[0, :, 0], [c1, c2], rtol=1e-14)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_zero_weights_halve_the_cell_at_every_step(name):
    # All gates are σ(0) = 1/2 and C~ = 0: c = c_0/2, c_0/4, c_0/8. Backward, dc at the end halves as well.
    c0 = np.array([[8.0, -4.0]])
    x, kernel, recurrent_kernel = np.ones((1, 3, 1)), np.zeros((1, 8)), np.zeros((2, 8))
    dc = np.zeros((1, 3, 2))
    dc[:, -1] = 8.0
    h, c, cache = run(name, lstm_forward, x, kernel, recurrent_kernel, c0=c0)
    dc0 = run(name, lstm_backward, 0 * dc, dc, x, kernel, recurrent_kernel, h, c, cache, c0=c0)[-1]
    np.testing.assert_array_equal(c[0], [[4.0, -2.0], [2.0, -1.0], [1.0, -0.5]])
    np.testing.assert_allclose(h[0], np.tanh(c[0]) / 2, rtol=1e-15)
    np.testing.assert_array_equal(cache.gates[0, 0], [0.5] * 4 + [0.0] * 2 + [0.5] * 2)
    np.testing.assert_array_equal(dc0, [[1.0, 1.0]])


# (2) the reference against complex steps; every other backward pass against the same derivative


@given(sizes, seeds, st.booleans())
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_gradients(name, case, seed, masked):
    inputs, _, mask = draw_arrays(*case, seed, masked)
    gates = gates_of(case[-1])

    def forward(**inputs):
        with minivid.use("reference"):
            h, c, _ = lstm_forward(**inputs, mask=mask)
        return h, c

    def backward(upstream, **inputs):
        return run(name, gradients_of, upstream, inputs, mask)

    parts = dict.fromkeys(WEIGHTS, gates)
    report = check_gradients(forward, backward, inputs, equations=EQUATIONS, parts=parts, seed=seed)
    report.raise_if_failed()


# (3) every implementation against the float64 reference, (4) with the reference's cache, (5) inputs kept


@given(sizes, seeds, st.booleans())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, case, seed, masked):
    N, T, D, U = case
    inputs, upstream, mask = draw_arrays(*case, seed, masked, dtype)
    wide = {key: a.astype(np.float64) for key, a in inputs.items()}
    with minivid.use("reference"):
        h, c, cache = lstm_forward(**wide, mask=mask)
        expected = gradients_of([a.astype(np.float64) for a in upstream], wide, mask)
    h_actual, c_actual, cache_actual = assert_not_mutated(partial(run, name, lstm_forward), *inputs.values(), mask)
    x, kernel, recurrent_kernel, _, h0, c0 = inputs.values()
    saved = [a.astype(dtype) for a in (h, c, *cache)]
    gradients = assert_not_mutated(
        lambda dh, dc, x, w, r, h, c, gates, tanh_c, h0, c0, mask: run(
            name, lstm_backward, dh, dc, x, w, r, h, c, LSTMCache(gates, tanh_c), h0, c0, mask
        ),
        *(*upstream, x, kernel, recurrent_kernel, *saved, h0, c0, mask),
    )
    assert_all_close(
        (h_actual, c_actual, *cache_actual), (h, c, *cache), inputs.values(), terms=T * (D + U + 1), dtype=dtype
    )
    terms = N * T * (D + 4 * U + 1)
    assert_all_close(gradients, expected.values(), upstream, terms=terms, dtype=dtype)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_the_reference_takes_every_cache(name, masked):
    inputs, upstream, mask = draw_arrays(3, 4, 2, 5, seed=0, masked=masked)
    x, kernel, recurrent_kernel, _, h0, c0 = inputs.values()
    states = run(name, lstm_forward, **inputs, mask=mask)
    with minivid.use("reference"):
        gradients = lstm_backward(*upstream, x, kernel, recurrent_kernel, *states, h0, c0, mask)
        expected = gradients_of(upstream, inputs, mask)
    for actual, wanted in zip(gradients, expected.values(), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_masked_steps_save_zeros(name):
    inputs, _, mask = draw_arrays(3, 4, 2, 5, seed=0, masked=True)
    cache = run(name, lstm_forward, **inputs, mask=mask)[-1]
    assert not mask.all()
    for array in cache:
        np.testing.assert_array_equal(array[~mask], 0)
        assert (array[mask] != 0).all()


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nothing_given_means_zero(name):
    inputs, (dh, dc), _ = draw_arrays(3, 4, 2, 5, seed=0)
    zeros = {"bias": np.zeros(20), "h0": np.zeros((3, 5)), "c0": np.zeros((3, 5))}
    x, kernel, recurrent_kernel = (inputs[key] for key in ("x", "kernel", "recurrent_kernel"))
    h, c, cache = run(name, lstm_forward, x, kernel, recurrent_kernel)
    gradients = run(name, lstm_backward, dh, None, x, kernel, recurrent_kernel, h, c, cache)
    np.testing.assert_array_equal(h, run(name, lstm_forward, x, kernel, recurrent_kernel, **zeros)[0])
    expected = run(name, gradients_of, (dh, 0 * dc), inputs | zeros, np.ones((3, 4), dtype=bool))
    for actual, wanted in zip(gradients, expected.values(), strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_takes_arrays_that_are_not_contiguous(name):
    inputs, upstream, mask = draw_arrays(3, 4, 2, 5, seed=0, masked=True)
    strided = {key: np.repeat(a, 2, axis=-1)[..., ::2] for key, a in inputs.items()}
    assert not strided["x"].flags.c_contiguous
    turned = [np.asfortranarray(a) for a in upstream]
    for actual, wanted in zip(
        run(name, lstm_forward, **strided, mask=np.asfortranarray(mask))[:2],
        run(name, lstm_forward, **inputs, mask=mask)[:2],
        strict=True,
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-13)
    expected = run(name, gradients_of, upstream, inputs, mask)
    for key, actual in run(name, gradients_of, turned, strided, np.asfortranarray(mask)).items():
        np.testing.assert_allclose(actual, expected[key], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_takes_arrays_that_are_read_only(name):
    inputs, upstream, mask = draw_arrays(3, 4, 2, 5, seed=0, masked=True)
    expected = run(name, gradients_of, upstream, inputs, mask)
    for array in (*inputs.values(), mask):
        array.flags.writeable = False
    for key, actual in run(name, gradients_of, upstream, inputs, mask).items():
        np.testing.assert_array_equal(actual, expected[key])


# (6) algebra: a sequence is a chain of cells, and a masked step is no step


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_a_sequence_is_a_chain_of_single_cells(name):
    T = 4
    inputs, (dh, dc), _ = draw_arrays(3, T, 2, 5, seed=1)
    h, c, _ = run(name, lstm_forward, **inputs)
    whole = run(name, gradients_of, (dh, dc), inputs)
    steps, h_t, c_t = [], inputs["h0"], inputs["c0"]
    for t in range(T):
        steps.append(inputs | {"x": inputs["x"][:, t : t + 1], "h0": h_t, "c0": c_t})
        h_t, c_t = (states[:, 0] for states in run(name, lstm_forward, **steps[-1])[:2])
        np.testing.assert_allclose(h_t, h[:, t], rtol=1e-12)
        np.testing.assert_allclose(c_t, c[:, t], rtol=1e-12)
    total, dh_next, dc_next = dict.fromkeys(WEIGHTS, 0.0), 0.0, 0.0
    for t in reversed(range(T)):  # backpropagation through time, one cell per call
        upstream = dh[:, t : t + 1] + dh_next, dc[:, t : t + 1] + dc_next
        gradients = run(name, gradients_of, upstream, steps[t])
        dh_next, dc_next = gradients["h0"][:, None], gradients["c0"][:, None]
        np.testing.assert_allclose(gradients["x"][:, 0], whole["x"][:, t], rtol=1e-11)
        for key in WEIGHTS:  # (recurrent.4): the sum over steps
            total[key] += gradients[key]
    np.testing.assert_allclose(dh_next[:, 0], whole["h0"], rtol=1e-11)
    np.testing.assert_allclose(dc_next[:, 0], whole["c0"], rtol=1e-11)
    for key in WEIGHTS:
        np.testing.assert_allclose(total[key], whole[key], rtol=1e-11)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_a_padded_sequence_is_the_shorter_sequence(name, side):
    N, T, length = 3, 6, 4
    inputs, upstream, _ = draw_arrays(N, T, 2, 5, seed=2)
    real, padding = np.s_[:, :length], np.s_[:, length:]
    if side == "left":
        real, padding = np.s_[:, T - length :], np.s_[:, : T - length]
    mask = np.zeros((N, T), dtype=bool)
    mask[real] = True
    short = inputs | {"x": inputs["x"][real]}
    states, states_short = run(name, lstm_forward, **inputs, mask=mask)[:2], run(name, lstm_forward, **short)[:2]
    for state, state_short, initial in zip(states, states_short, ("h0", "c0"), strict=True):
        np.testing.assert_allclose(state[real], state_short, rtol=1e-12)
        kept = state_short[:, -1:] if side == "right" else inputs[initial][:, None]
        np.testing.assert_allclose(state[padding], np.repeat(kept, T - length, axis=1), rtol=1e-12)
    # What arrives at a padded step belongs to the state it kept: the last real one, or the initial one.
    upstream_short = [a[real].copy() for a in upstream]
    late = [a[padding].sum(axis=1) for a in upstream]
    if side == "right":
        for a, b in zip(upstream_short, late, strict=True):
            a[:, -1] += b
    expected = run(name, gradients_of, upstream_short, short)
    if side == "left":
        expected["h0"], expected["c0"] = expected["h0"] + late[0], expected["c0"] + late[1]
    gradients = run(name, gradients_of, upstream, inputs, mask)
    np.testing.assert_array_equal(gradients["x"][padding], 0)
    gradients["x"] = gradients["x"][real]
    for key in EQUATIONS:
        np.testing.assert_allclose(gradients[key], expected[key], rtol=1e-11)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_values_under_the_mask_change_nothing(name):
    inputs, upstream, mask = draw_arrays(3, 5, 2, 4, seed=5, masked=True)
    changed = inputs | {"x": np.where(mask[..., None], inputs["x"], 1e3)}
    before, after = run(name, gradients_of, upstream, inputs, mask), run(name, gradients_of, upstream, changed, mask)
    assert not mask.all()
    for key in EQUATIONS:
        np.testing.assert_array_equal(before[key], after[key])


@pytest.mark.parametrize("sizes", [(21, 7, 5, 13), (12, 3, 256, 161)])  # the second: weights beyond a core's cache
def test_bits_do_not_depend_on_the_number_of_threads(sizes):
    inputs, upstream, mask = draw_arrays(*sizes, seed=3, masked=True, dtype=np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            h, c, cache = lstm_forward(**inputs, mask=mask)
            results.append([h, c, *cache, *gradients_of(upstream, inputs, mask).values()])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


# numbers that are large or not finite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_saturates_without_overflow(name, dtype):
    # x = 1e6 opens all gates, x = −1e6 shuts them: c = 1·0 + 1·1 = 1, then 0·1 + 0·(−1) = 0
    x = np.array([1e6, -1e6], dtype=dtype).reshape(1, 2, 1)
    kernel, recurrent_kernel = np.ones((1, 4), dtype=dtype), np.zeros((1, 4), dtype=dtype)
    h, c, cache = run(name, lstm_forward, x, kernel, recurrent_kernel)
    dx = run(name, lstm_backward, np.ones_like(h), None, x, kernel, recurrent_kernel, h, c, cache)[0]
    np.testing.assert_array_equal(cache.gates[0], [[1, 1, 1, 1], [0, 0, -1, 0]])
    np.testing.assert_array_equal(c.ravel(), [1, 0])
    np.testing.assert_array_equal(dx.ravel(), [0, 0])


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nan_stays_in_its_sequence_and_travels_forward(name):
    inputs, _, _ = draw_arrays(3, 4, 2, 5, seed=4)
    inputs["x"][1, 2, 0] = np.nan
    h, c, _ = run(name, lstm_forward, **inputs)
    for state in (h, c):
        assert np.isnan(state[1, 2:]).all()
        assert np.isfinite(state[1, :2]).all()
        assert np.isfinite(state[[0, 2]]).all()


# errors


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_errors_say_what_was_given_and_expected(name):
    x, w, r = np.zeros((2, 3, 4)), np.zeros((4, 20)), np.zeros((5, 20))
    h, c, cache = lstm_forward(x, w, r)
    with pytest.raises(ValueError, match=r"\(batch, time, features\), got shape \(2, 3, 8, 8, 3\)"):
        run(name, lstm_forward, np.zeros((2, 3, 8, 8, 3)), w, r)
    with pytest.raises(ValueError, match=r"at least one time step.*\(2, 0, 4\)"):
        run(name, lstm_forward, x[:, :0], w, r)
    with pytest.raises(ValueError, match=r"recurrent_kernel \(U, 4U\), got shape \(5, 15\)"):
        run(name, lstm_forward, x, w, r[:, :15])
    with pytest.raises(ValueError, match=r"kernel \(D, 4U\): \(4, 20\) for 4 features.*shape \(3, 20\)"):
        run(name, lstm_forward, x, w[:3], r)
    with pytest.raises(ValueError, match=r"bias of shape \(20,\), got \(5,\)"):
        run(name, lstm_forward, x, w, r, np.zeros(5))
    with pytest.raises(ValueError, match=r"h0 of shape \(2, 5\), got \(5,\)"):
        run(name, lstm_forward, x, w, r, h0=np.zeros(5))
    with pytest.raises(ValueError, match=r"c0 of shape \(2, 5\), got \(2, 4\)"):
        run(name, lstm_forward, x, w, r, c0=np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"mask \(N, T\) of bool.*\(2, 3\), got shape \(3,\) of bool"):
        run(name, lstm_forward, x, w, r, mask=np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match=r"got shape \(2, 3\) of int64"):
        run(name, lstm_forward, x, w, r, mask=np.ones((2, 3), dtype=np.int64))
    with pytest.raises(ValueError, match=r"dh of shape \(2, 3, 5\), got \(2, 5\)"):
        run(name, lstm_backward, h[:, -1], None, x, w, r, h, c, cache)
    with pytest.raises(ValueError, match=r"dc of shape \(2, 3, 5\), got \(2, 5\)"):
        run(name, lstm_backward, h, c[:, -1], x, w, r, h, c, cache)
    with pytest.raises(ValueError, match=r"gates of shape \(2, 3, 20\), got \(2, 3, 15\)"):
        run(name, lstm_backward, h, None, x, w, r, h, c, cache._replace(gates=cache.gates[..., :15]))
