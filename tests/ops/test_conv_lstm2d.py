from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.conv_lstm2d import conv_lstm2d_backward, conv_lstm2d_forward
from minivid.ops.lstm import lstm_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, assert_same_bits, implementations, normal, run
from tests.strategies import seeds, windows

IMPLEMENTATIONS = implementations(conv_lstm2d_forward)
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
INPUTS = ("x", "kernel", "recurrent_kernel", "bias", "h0", "c0")
FEW = settings(max_examples=5)  # each runs four convolutions per step
EQUATIONS = dict(zip(INPUTS, (f"conv_lstm2d.{number}" for number in range(14, 20)), strict=True))


@st.composite
def clips(draw):
    """Draw sizes and the options of the input's convolution; now and then more filters than a vector has numbers."""
    image, kernel, options = draw(windows())
    N, T, C = draw(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3)))
    recurrent = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    return (N, T, *image, C), kernel, recurrent, draw(st.sampled_from([1, 2, 3, 17])), options, draw(st.booleans())


def draw_arrays(case, seed, dtype=np.float64):
    """Return the inputs, a mask or none, the options, and gradients of h and c."""
    (N, T, H, W, C), kernel, recurrent, F, options, masked = case
    rng = np.random.default_rng(seed)
    x, w, r = normal(rng, N, T, H, W, C), normal(rng, *kernel, C, 4 * F), normal(rng, *recurrent, F, 4 * F)
    w, r = w / np.sqrt(w[..., 0].size), r / np.sqrt(r[..., 0].size)
    h, _, _ = conv_lstm2d_forward(x, w, r, **options)
    state = h[:, 0].shape
    inputs = [x, w, r, normal(rng, 4 * F), normal(rng, *state), normal(rng, *state)]
    mask = rng.random((N, T)) < 0.6 if masked else None
    upstream = normal(rng, *h.shape), normal(rng, *h.shape)
    return [a.astype(dtype) for a in inputs], mask, options, [a.astype(dtype) for a in upstream]


def both_ways(name, inputs, mask, options, upstream, forward_name=None):
    """Run forward and backward; the forward pass possibly in another implementation (crossed caches)."""
    x, kernel, recurrent_kernel, bias, h0, c0 = inputs
    h, c, cache = run(forward_name or name, conv_lstm2d_forward, *inputs, mask, **options)
    arguments = *upstream, x, kernel, recurrent_kernel, h, c, cache, h0, c0, mask
    return [h, c, *cache], list(run(name, conv_lstm2d_backward, *arguments, **options))


# (1) answers worked by hand


@EVERY
def test_hand_worked(name):
    """Frames of one pixel: the example of the LSTM's page, which has the arithmetic."""
    log2 = np.log(2.0)
    x, h0, c0 = np.full((1, 1, 1, 1, 1), 2.0), np.full((1, 1, 1, 1), 3.0), np.full((1, 1, 1, 1), 2 * log2 - 0.6)
    w, r = np.array([1.0, -1.0, 0.0, 2.0]).reshape(1, 1, 1, 4), np.array([0.0, 1.0, -1.0, 1.0]).reshape(1, 1, 1, 4)
    inputs = x, w, r, np.array([-2.0, -1.0, 3 + log2, -7.0]), h0, c0
    upstream = np.full((1, 1, 1, 1, 1), 10.0), np.full((1, 1, 1, 1, 1), 1.0)
    (h, c, gates, tanh_c), (dx, dw, dr, db, dh0, dc0) = both_ways(name, inputs, None, {}, upstream)
    np.testing.assert_allclose(gates.ravel(), [0.5, 0.5, 0.6, 0.5], rtol=1e-14)
    np.testing.assert_allclose([h.item(), c.item(), tanh_c.item()], [0.3, log2, 0.6], rtol=1e-14)
    dz = np.array([0.63, 2.1 * log2 - 0.63, 1.344, 1.5])
    for actual, expected in ((db, dz), (dw, 2 * dz), (dr, 3 * dz)):
        np.testing.assert_allclose(actual.ravel(), expected, rtol=1e-14)
    np.testing.assert_allclose([dx.item(), dh0.item(), dc0.item()], [4.26 - 2.1 * log2, 2.1 * log2 - 0.474, 2.1])


@EVERY
def test_states_move_through_space(name):
    """One tap of R, to the left, in the candidate's slot: what h holds appears one pixel further right."""
    r = np.zeros((1, 3, 1, 4))
    r[0, 0, 0, 2] = 1.0
    h0 = np.zeros((1, 1, 4, 1))
    h0[0, 0, 0] = 1.0
    h, _, _ = run(name, conv_lstm2d_forward, np.zeros((1, 2, 1, 4, 1)), np.zeros((1, 1, 1, 4)), r, None, h0)
    first = 0.5 * np.tanh(0.5 * np.tanh(1.0))  # every gate is 1/2: c = tanh(1)/2, h = tanh(c)/2
    again = 0.5 * np.tanh(0.5 * np.tanh(first))
    stays = 0.5 * np.tanh(0.25 * np.tanh(1.0))  # the memory halves where it is
    np.testing.assert_allclose(h[0, :, 0, :, 0], [[0, first, 0, 0], [0, stays, again, 0]], rtol=1e-14, atol=1e-300)


# (2) every backward pass against complex steps through the reference


@FEW
@given(clips(), seeds)
@EVERY
def test_gradients(name, case, seed):
    inputs, mask, options, _ = draw_arrays(case, seed)

    def forward(**inputs):
        with minivid.use("reference"):
            return conv_lstm2d_forward(*inputs.values(), mask, **options)[:2]

    def backward(upstream, **inputs):
        _, gradients = both_ways(name, list(inputs.values()), mask, options, upstream)
        return dict(zip(INPUTS, gradients, strict=True))

    point = dict(zip(INPUTS, inputs, strict=True))
    report = check_gradients(forward, backward, point, equations=EQUATIONS, seed=seed)
    # Pixels that strides jump over, and weights of steps that are all masked, have no gradient.
    assert all(block.verdict in ("ok", "all zero") for block in report.blocks), str(report)


# (3) every implementation against the float64 reference, (4) crossed caches, (5) nothing mutated


@FEW
@given(clips(), seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, case, seed):
    inputs, mask, options, upstream = draw_arrays(case, seed, dtype)
    wide = [[a.astype(np.float64) for a in arrays] for arrays in (inputs, upstream)]
    expected = both_ways("reference", wide[0], mask, options, wide[1])
    outputs, gradients = both_ways(name, inputs, mask, options, upstream)
    crossed = both_ways(name, inputs, mask, options, upstream, forward_name="reference")[1]
    terms = int(np.prod(case[0])) * 8
    for actual, wanted in zip(
        [*outputs, *gradients, *crossed], [*expected[0], *expected[1], *expected[1]], strict=True
    ):
        assert_close(actual, wanted, terms=terms, dtype=dtype)
    assert_not_mutated(partial(run, name, conv_lstm2d_forward), *inputs, **options)


@EVERY
def test_no_states_are_states_of_zero_and_no_dc_is_zero(name):
    inputs, _, options, (dh, dc) = draw_arrays(((2, 3, 4, 5, 2), (3, 2), (2, 3), 3, {"padding": "same"}, False), 0)
    zero = np.zeros_like(inputs[4])
    given_zeros = both_ways(name, [*inputs[:4], zero, zero], None, options, (dh, 0 * dc))
    left_out = both_ways(name, [*inputs[:4], None, None], None, options, (dh, None))
    for some, none in zip(given_zeros, left_out, strict=True):
        for a, b in zip(some, none, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    inputs, mask, options, upstream = draw_arrays(((2, 3, 4, 5, 2), (3, 2), (2, 3), 3, {"padding": "same"}, True), 0)
    turned = [a[..., ::-1] for a in inputs]
    results = [
        both_ways(name, [f(a) for a in turned], mask, options, [f(a[..., ::-1]) for a in upstream])
        for f in (lambda a: a, np.ascontiguousarray)
    ]
    for views, copies in zip(*results, strict=True):
        for a, b in zip(views, copies, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


# (6) algebra


def test_one_pixel_is_an_lstm():
    rng = np.random.default_rng(0)
    x, w, r, b = normal(rng, 3, 5, 4), normal(rng, 4, 8), normal(rng, 2, 8), normal(rng, 8)
    mask = rng.random((3, 5)) < 0.7
    expected, _, _ = lstm_forward(x, w, r, b, mask=mask)
    frames, taps = (slice(None), slice(None), None, None), (None, None)
    h, _, _ = conv_lstm2d_forward(x[frames], w[taps], r[taps], b, mask=mask)
    np.testing.assert_allclose(h[:, :, 0, 0], expected, rtol=1e-12)


def test_a_clip_in_two_parts():
    (x, w, r, b, h0, c0), _, _, _ = draw_arrays(((2, 5, 4, 5, 2), (3, 3), (3, 3), 3, {"padding": "same"}, False), 0)
    h, c, _ = conv_lstm2d_forward(x, w, r, b, h0, c0, padding="same")
    h1, c1, _ = conv_lstm2d_forward(x[:, :2], w, r, b, h0, c0, padding="same")
    h2, c2, _ = conv_lstm2d_forward(x[:, 2:], w, r, b, h1[:, -1], c1[:, -1], padding="same")
    np.testing.assert_allclose(np.concatenate([h1, h2], axis=1), h, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([c1, c2], axis=1), c, rtol=1e-12)


def test_bits_do_not_depend_on_the_number_of_threads():
    case = (3, 4, 11, 9, 5), (3, 3), (3, 3), 19, {"padding": "same"}, True
    inputs, mask, options, upstream = draw_arrays(case, 0, np.float32)
    assert_same_bits(lambda: [a for arrays in both_ways("cpu", inputs, mask, options, upstream) for a in arrays])


# errors


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    x, w, r = np.zeros((1, 2, 4, 4, 3)), np.zeros((3, 3, 3, 8)), np.zeros((3, 3, 2, 8))
    with pytest.raises(ValueError, match=r"takes x \(batch, time, height, width, channels\), got shape \(2, 4, 4, 3\)"):
        run(name, conv_lstm2d_forward, x[0], w, r)
    with pytest.raises(ValueError, match=r"at least one time step"):
        run(name, conv_lstm2d_forward, x[:, :0], w, r)
    with pytest.raises(ValueError, match=r"recurrent_kernel \(RH, RW, F, 4F\), got shape \(3, 3, 3, 8\)"):
        run(name, conv_lstm2d_forward, x, w, w)
    with pytest.raises(ValueError, match=r"takes kernel \(KH, KW, 3, 8\).*got shape \(3, 3, 2, 8\)"):
        run(name, conv_lstm2d_forward, x, r, r)
    with pytest.raises(ValueError, match=r"takes h0 of shape \(1, 2, 2, 2\), got \(1, 4, 4, 2\)"):
        run(name, conv_lstm2d_forward, x, w, r, None, np.zeros((1, 4, 4, 2)))
    with pytest.raises(ValueError, match=r"a mask \(N, T\) of bool"):
        run(name, conv_lstm2d_forward, x, w, r, mask=np.ones((1, 3), dtype=bool))
