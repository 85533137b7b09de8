import math
from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.gru import GRUCache, gru_backward, gru_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, normal, run
from tests.strategies import seeds

EQUATIONS = {
    "x": "gru.12",
    "kernel": "gru.13",
    "recurrent_kernel": "gru.14",
    "bias": "gru.15",
    "h0": "gru.16",
}
WEIGHTS = ("kernel", "recurrent_kernel", "bias")
IMPLEMENTATIONS = implementations(gru_forward)
sizes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 5))


def draw_arrays(N, T, D, U, seed, masked=False, dtype=np.float64):
    """Inputs of the forward pass by name, with a non-zero state, and an upstream gradient."""
    rng = np.random.default_rng(seed)
    inputs = {
        "x": normal(rng, N, T, D),
        "kernel": normal(rng, D, 3 * U) / np.sqrt(D),
        "recurrent_kernel": normal(rng, U, 3 * U) / np.sqrt(U),
        "bias": normal(rng, 2, 3 * U),
        "h0": normal(rng, N, U),
    }
    mask = rng.random((N, T)) < 0.6
    mask[0, 0] = True  # at least one real step, so that no gradient is all zero
    dh = normal(rng, N, T, U).astype(dtype)
    return {name: a.astype(dtype) for name, a in inputs.items()}, dh, mask if masked else None


def gradients_of(dh, inputs, mask=None):
    """Run forward and backward; return the gradients by input name."""
    h, cache = gru_forward(**inputs, mask=mask)
    x, kernel, recurrent_kernel, _, h0 = inputs.values()
    gradients = gru_backward(dh, x, kernel, recurrent_kernel, h, cache, h0, mask)
    return dict(zip(EQUATIONS, gradients, strict=True))


def gates_of(U):
    """The columns of each gate, for reports."""
    names = ("update gate", "reset gate", "candidate")
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
    # One step, one unit: x = 2, h_0 = 3.
    #   a = (2·1, 2·(−1), 2·2) + b[0] = (2 + 3, −2 + 1, 4 + ln 2 − 6) = (5, −1, ln 2 − 2)
    #   g = (3·(−1), 3·1, 3·2) + b[1] = (−3 − 2, 3 − 2, 6 − 2) = (−5, 1, 4)
    # so z = r = σ(0) = 1/2 and h~ = tanh(ln 2 − 2 + 4/2) = (2 − 1/2)/(2 + 1/2) = 3/5.
    x, h0 = np.array([[[2.0]]]), np.array([[3.0]])
    kernel, recurrent_kernel = np.array([[1.0, -1.0, 2.0]]), np.array([[-1.0, 1.0, 2.0]])
    bias = np.array([[3.0, 1.0, math.log(2) - 6], [-2.0, -2.0, -2.0]])
    h, cache = run(name, gru_forward, x, kernel, recurrent_kernel, bias, h0)
    gradients = run(name, gru_backward, np.array([[[10.0]]]), x, kernel, recurrent_kernel, h, cache, h0)
    np.testing.assert_allclose(cache.gates[0, 0], [0.5, 0.5, 0.6], rtol=1e-14)
    np.testing.assert_allclose(cache.g_h, [[[4.0]]], rtol=1e-14)
    np.testing.assert_allclose(h, [[[1.8]]], rtol=1e-14)  # 3/2 + 0.6/2
    # dh = 10 gives da_z = 10·(3 − 0.6)/4 = 6, da_h = 10·(1/2)·(1 − 0.36) = 3.2, da_r = 3.2·4/4 = 3.2,
    # and dg differs in the last slot: 3.2/2 = 1.6.
    dx, dkernel, drecurrent_kernel, dbias, dh0 = gradients
    np.testing.assert_allclose(dbias, [[6.0, 3.2, 3.2], [6.0, 3.2, 1.6]], rtol=1e-13)
    np.testing.assert_allclose(dkernel, [[12.0, 6.4, 6.4]], rtol=1e-13)  # x·da
    np.testing.assert_allclose(drecurrent_kernel, [[18.0, 9.6, 4.8]], rtol=1e-13)  # h_0·dg
    np.testing.assert_allclose(dx, [[[9.2]]], rtol=1e-13)  # 6 − 3.2 + 2·3.2
    np.testing.assert_allclose(dh0, [[5.4]], rtol=1e-13)  # 10·z + (−6 + 3.2 + 2·1.6)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_two_steps_written_out_in_scalars(name):
    def sigma(z):
        return 1 / (1 + math.exp(-z))

    x1, x2, h0 = 0.5, -1.5, 0.3
    kernel = np.array([[0.1, 0.2, 0.3]])  # z, r, h~
    recurrent_kernel = np.array([[-0.5, 0.6, -0.7]])
    bias = np.array([[0.01, 0.02, 0.03], [0.4, 0.5, 0.6]])
    z1, r1 = sigma(0.1 * x1 + 0.01 - 0.5 * h0 + 0.4), sigma(0.2 * x1 + 0.02 + 0.6 * h0 + 0.5)
    h1 = z1 * h0 + (1 - z1) * math.tanh(0.3 * x1 + 0.03 + r1 * (-0.7 * h0 + 0.6))
    z2, r2 = sigma(0.1 * x2 + 0.01 - 0.5 * h1 + 0.4), sigma(0.2 * x2 + 0.02 + 0.6 * h1 + 0.5)
    h2 = z2 * h1 + (1 - z2) * math.tanh(0.3 * x2 + 0.03 + r2 * (-0.7 * h1 + 0.6))
    h, _ = run(name, gru_forward, np.array([[[x1], [x2]]]), kernel, recurrent_kernel, bias, np.array([[h0]]))
    np.testing.assert_allclose(h[0, :, 0], [h1, h2], rtol=1e-14)


# (2) the reference against complex steps; every other backward pass against the same derivative


@given(sizes, seeds, st.booleans())
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_gradients(name, case, seed, masked):
    inputs, _, mask = draw_arrays(*case, seed, masked)

    def forward(**inputs):
        with minivid.use("reference"):
            return gru_forward(**inputs, mask=mask)[0]

    def backward(dh, **inputs):
        return run(name, gradients_of, dh, inputs, mask)

    parts = dict.fromkeys(WEIGHTS, gates_of(case[-1]))
    report = check_gradients(forward, backward, inputs, equations=EQUATIONS, parts=parts, seed=seed)
    report.raise_if_failed()


# (3) every implementation against the float64 reference, (4) with the reference's cache, (5) inputs kept


@given(sizes, seeds, st.booleans())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, case, seed, masked):
    N, T, D, U = case
    inputs, dh, mask = draw_arrays(*case, seed, masked, dtype)
    wide = {key: a.astype(np.float64) for key, a in inputs.items()}
    with minivid.use("reference"):
        h, cache = gru_forward(**wide, mask=mask)
        expected = gradients_of(dh.astype(np.float64), wide, mask)
    h_actual, cache_actual = assert_not_mutated(partial(run, name, gru_forward), *inputs.values(), mask)
    x, kernel, recurrent_kernel, _, h0 = inputs.values()
    saved = [a.astype(dtype) for a in (h, *cache)]
    gradients = assert_not_mutated(
        lambda dh, x, w, r, h, gates, g_h, h0, mask: run(
            name, gru_backward, dh, x, w, r, h, GRUCache(gates, g_h), h0, mask
        ),
        *(dh, x, kernel, recurrent_kernel, *saved, h0, mask),
    )
    assert_all_close((h_actual, *cache_actual), (h, *cache), inputs.values(), terms=T * (D + U + 1), dtype=dtype)
    terms = N * T * (D + 3 * U + 1)
    assert_all_close(gradients, expected.values(), [dh], terms=terms, dtype=dtype)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_the_reference_takes_every_cache(name, masked):
    inputs, dh, mask = draw_arrays(3, 4, 2, 5, seed=0, masked=masked)
    x, kernel, recurrent_kernel, _, h0 = inputs.values()
    h, cache = run(name, gru_forward, **inputs, mask=mask)
    with minivid.use("reference"):
        gradients = gru_backward(dh, x, kernel, recurrent_kernel, h, cache, h0, mask)
        expected = gradients_of(dh, inputs, mask)
    for actual, wanted in zip(gradients, expected.values(), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_masked_steps_save_zeros(name):
    inputs, _, mask = draw_arrays(3, 4, 2, 5, seed=0, masked=True)
    cache = run(name, gru_forward, **inputs, mask=mask)[-1]
    assert not mask.all()
    for array in cache:
        np.testing.assert_array_equal(array[~mask], 0)
        assert (array[mask] != 0).all()


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nothing_given_means_zero(name):
    inputs, dh, _ = draw_arrays(3, 4, 2, 5, seed=0)
    zeros = {"bias": np.zeros((2, 15)), "h0": np.zeros((3, 5))}
    x, kernel, recurrent_kernel = (inputs[key] for key in ("x", "kernel", "recurrent_kernel"))
    h, cache = run(name, gru_forward, x, kernel, recurrent_kernel)
    gradients = run(name, gru_backward, dh, x, kernel, recurrent_kernel, h, cache)
    np.testing.assert_array_equal(h, run(name, gru_forward, x, kernel, recurrent_kernel, **zeros)[0])
    expected = run(name, gradients_of, dh, inputs | zeros, np.ones((3, 4), dtype=bool))
    for actual, wanted in zip(gradients, expected.values(), strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_takes_arrays_that_are_not_contiguous(name):
    inputs, dh, mask = draw_arrays(3, 4, 2, 5, seed=0, masked=True)
    strided = {key: np.repeat(a, 2, axis=-1)[..., ::2] for key, a in inputs.items()}
    assert not strided["x"].flags.c_contiguous
    h = run(name, gru_forward, **strided, mask=np.asfortranarray(mask))[0]
    np.testing.assert_allclose(h, run(name, gru_forward, **inputs, mask=mask)[0], rtol=1e-13)
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
    (h, _), whole = run(name, gru_forward, **inputs), run(name, gradients_of, dh, inputs)
    steps, state = [], inputs["h0"]
    for t in range(T):
        steps.append(inputs | {"x": inputs["x"][:, t : t + 1], "h0": state})
        state = run(name, gru_forward, **steps[-1])[0][:, 0]
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
    h, h_short = run(name, gru_forward, **inputs, mask=mask)[0], run(name, gru_forward, **short)[0]
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
            h, cache = gru_forward(**inputs, mask=mask)
            results.append([h, *cache, *gradients_of(dh, inputs, mask).values()])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


# numbers that are large or not finite


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_saturates_without_overflow(name, dtype):
    # Only slot z reads x: z = 1 keeps h_0 = 0.5; then z = 0 takes the candidate, tanh(0) = 0
    x = np.array([1e6, -1e6], dtype=dtype).reshape(1, 2, 1)
    kernel, recurrent_kernel = np.array([[1, 0, 0]], dtype=dtype), np.zeros((1, 3), dtype=dtype)
    h0 = np.full((1, 1), 0.5, dtype=dtype)
    h, cache = run(name, gru_forward, x, kernel, recurrent_kernel, h0=h0)
    dx = run(name, gru_backward, np.ones_like(h), x, kernel, recurrent_kernel, h, cache, h0)[0]
    np.testing.assert_array_equal(cache.gates[0], [[1, 0.5, 0], [0, 0.5, 0]])
    np.testing.assert_array_equal(h.ravel(), [0.5, 0])
    np.testing.assert_array_equal(dx.ravel(), [0, 0])


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_nan_stays_in_its_sequence_and_travels_forward(name):
    inputs, _, _ = draw_arrays(3, 4, 2, 5, seed=4)
    inputs["x"][1, 2, 0] = np.nan
    h, _ = run(name, gru_forward, **inputs)
    assert np.isnan(h[1, 2:]).all()
    assert np.isfinite(h[1, :2]).all()
    assert np.isfinite(h[[0, 2]]).all()


# errors


@pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
def test_errors_say_what_was_given_and_expected(name):
    x, w, r = np.zeros((2, 3, 4)), np.zeros((4, 15)), np.zeros((5, 15))
    h, cache = gru_forward(x, w, r)
    with pytest.raises(ValueError, match=r"\(batch, time, features\), got shape \(2, 4\)"):
        run(name, gru_forward, x[:, 0], w, r)
    with pytest.raises(ValueError, match=r"at least one time step.*\(2, 0, 4\)"):
        run(name, gru_forward, x[:, :0], w, r)
    with pytest.raises(ValueError, match=r"recurrent_kernel \(U, 3U\), got shape \(5, 20\)"):
        run(name, gru_forward, x, w, np.zeros((5, 20)))
    with pytest.raises(ValueError, match=r"kernel \(D, 3U\): \(4, 15\) for 4 features.*shape \(3, 15\)"):
        run(name, gru_forward, x, w[:3], r)
    with pytest.raises(ValueError, match=r"bias of shape \(2, 15\), got \(15,\)"):
        run(name, gru_forward, x, w, r, np.zeros(15))
    with pytest.raises(ValueError, match=r"h0 of shape \(2, 5\), got \(5,\)"):
        run(name, gru_forward, x, w, r, h0=np.zeros(5))
    with pytest.raises(ValueError, match=r"mask \(N, T\) of bool.*\(2, 3\), got shape \(3,\) of bool"):
        run(name, gru_forward, x, w, r, mask=np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match=r"got shape \(2, 3\) of float64"):
        run(name, gru_forward, x, w, r, mask=np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"dh of shape \(2, 3, 5\), got \(2, 5\)"):
        run(name, gru_backward, h[:, -1], x, w, r, h, cache)
    with pytest.raises(ValueError, match=r"g_h of shape \(2, 3, 5\), got \(2, 2, 5\)"):
        run(name, gru_backward, h, x, w, r, h, cache._replace(g_h=cache.g_h[:, :2]))
