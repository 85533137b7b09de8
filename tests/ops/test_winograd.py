from fractions import Fraction

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid import simd
from minivid.ops import tile, winograd
from minivid.ops.conv2d import conv2d_backward, conv2d_backward_input, conv2d_forward
from minivid.ops.window import window_of
from tests.numerics import DTYPES, assert_close, assert_not_mutated, normal
from tests.strategies import seeds

LANES = 16  # a vector holds 4, 8 or 16 numbers


@st.composite
def convolutions(draw):
    strides = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 1), (1, 3)]))
    kernel = tuple(draw(st.integers(step + 1, 5 * step)) for step in strides)
    padding = draw(st.sampled_from(["valid", "same", 1, 6, ((0, 3), (2, 0))]))
    image = kernel[0] + draw(st.integers(0, 9)), kernel[1] + draw(st.integers(0, 9))
    N, C, F = draw(st.integers(1, 3)), draw(st.sampled_from([1, 3, 8, 17, 32])), draw(st.sampled_from([1, 5, 16, 33]))
    return (N, *image, C), (*kernel, C, F), padding, strides


def draw_arrays(x_shape, w_shape, padding, strides, seed, dtype):
    rng = np.random.default_rng(seed)
    x, w, b = normal(rng, *x_shape), normal(rng, *w_shape), normal(rng, w_shape[3])
    win = window_of(x_shape[1:3], w_shape[:2], strides, padding)
    dy = normal(rng, x_shape[0], win.OH, win.OW, w_shape[3])
    return [a.astype(dtype) for a in (x, w, b, dy)]


def compute(name, x, w, b, dy, padding, strides=1):
    with minivid.use(name):
        y = assert_not_mutated(conv2d_forward, x, w, b, strides=strides, padding=padding)
        return [y, *assert_not_mutated(conv2d_backward, dy, x, w, strides=strides, padding=padding)]


# the matrices


def test_two_taps_by_hand():
    # The points 0, 1, -1 would give two outputs of two taps for three products. With the six points of the library,
    # two taps g give five outputs: y_i = g_0·d_i + g_1·d_{i+1}.
    At, G, Bt = winograd.matrices(5, 2)
    d = np.array([Fraction(n) for n in (1, 2, 0, -1, 3, 5)], dtype=object)
    y = At @ ((G @ np.array([2, 10], dtype=object)) * (Bt @ d))  # (winograd.1)
    # 2·1 + 10·2 = 22; 2·2 + 10·0 = 4; 0 − 10 = −10; −2 + 30 = 28; 6 + 50 = 56
    assert y.tolist() == [22, 4, -10, 28, 56]


def test_matrices_by_hand():
    At, G, Bt = winograd.matrices(4, 3)
    # (winograd.2) with p = 5/8: its powers; and Π (p − q) = p·2p·(p² − 9/4) = 2·25/64·(25/64 − 144/64) = −2975/2048
    assert At[:, 1].tolist() == [1, Fraction(5, 8), Fraction(25, 64), Fraction(125, 512)]
    assert G[1].tolist() == [Fraction(-2048, 2975), Fraction(-1280, 2975), Fraction(-800, 2975)]
    # Π over the points without 0: (z² − 25/64)(z² − 9/4) = z⁴ − 169/64 z² + 225/256
    assert Bt[0].tolist() == [Fraction(225, 256), 0, Fraction(-169, 64), 0, 1, 0]
    assert At[:, 5].tolist() == [0, 0, 0, 1]
    assert G[5].tolist() == [0, 0, 1]


@pytest.mark.parametrize("r", winograd.TAPS)
def test_matrices_are_exact(r):
    m = 7 - r
    At, G, Bt = winograd.matrices(m, r)
    for k in range(r):
        for s in range(6):
            # One tap at k and one input at s: output i = s − k is 1, all others are 0.
            y = At @ (G[:, k] * Bt[:, s])
            assert y.tolist() == [int(i == s - k) for i in range(m)]


def test_strides_by_hand():
    """(winograd.5): with strides of 2, even pixels meet taps 0 and 2, odd ones tap 1, with no product at infinity."""
    win = window_of((1, 9), (1, 3), (1, 2))
    w = np.arange(1.0, 4).reshape(1, 3, 1, 1)
    assert winograd._by_phase(w, win).ravel().tolist() == [1, 2, 3, 0]  # the first taps of both phases, then the second
    assert winograd._full(win) == (1, 1)
    # Seen from the input with the kernel turned, 2 + 1 outputs: an even pixel r meets r/2 and r/2 − 1, an odd one one.
    over = winograd.over_output(win, (1, 1, 9, 1))
    assert (over.KW, over.left, over.OW) == (2, 1, 5)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 2), (2, 4)])
def test_compiled_transforms_are_the_matrices(kernel):
    """One pixel, one tap: the loops share sums of even and odd points, and must still be (winograd.3)."""
    KH, KW = kernel
    MH, MW = 7 - KH, 7 - KW
    win = window_of((6, 6), kernel)
    for r, s, k, l in [(0, 0, 0, 0), (5, 5, KH - 1, KW - 1), (3, 2, 1, 1), (2, 4, 1, 0), (4, 1, 0, 1)]:
        x, w = np.zeros((1, 6, 6, 1)), np.zeros((KH, KW, 1, 1))
        x[0, r, s, 0] = w[k, l, 0, 0] = 1.0
        y = winograd.correlate(x, w, None, win)[0, :, :, 0]
        expected = np.array([[float((i, j) == (r - k, s - l)) for j in range(MW)] for i in range(MH)])
        np.testing.assert_allclose(y, expected, atol=1e-14)


# against the reference


@given(convolutions(), seeds)
@pytest.mark.parametrize("dtype", DTYPES)
def test_matches_the_reference(dtype, case, seed):
    x_shape, w_shape, padding, strides = case
    x, w, b, dy = draw_arrays(*case, seed, dtype)
    y, dx, dw, db = compute("winograd", x, w, b, dy, padding, strides)
    expected = compute("reference", *(a.astype(np.float64) for a in (x, w, b, dy)), padding, strides)
    assert_close(y, expected[0], terms=int(np.prod(w_shape[:3])) + 1, dtype=dtype)
    assert_close(dx, expected[1], terms=w_shape[0] * w_shape[1] * w_shape[3], dtype=dtype)
    assert_close(dw, expected[2], terms=dy.size, dtype=dtype)
    assert_close(db, expected[3], terms=dy.size, dtype=dtype)


@pytest.mark.parametrize(("C", "strides", "apart"), [(70, 1, True), (200, 1, False), (70, 2, False), (20, 2, True)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_many_tiles_and_channels(dtype, C, strides, apart):
    """More tiles than a block and a chunk hold, more channels than a vector: (winograd.3) to (winograd.5).

    (winograd.4) has a piece of the tiles for each thread, or chunks that all threads share where its sums are many.
    """
    size = 33 * strides, 30 * strides
    win = window_of(size, 3, strides, "same")
    itemsize = np.dtype(dtype).itemsize
    lanes_C, lanes_F = (winograd._whole(n, simd.BYTES // itemsize) for n in (C, 50))
    pieces = winograd._pieces(strides**2 * lanes_C, lanes_F, winograd._tiles(5, win), itemsize)[0]
    assert (pieces > 1) == apart
    case = (5, *size, C), (3, 3, C, 50), "same", strides
    x, w, b, dy = draw_arrays(*case, 0, dtype)
    y, dx, dw, db = compute("winograd", x, w, b, dy, "same", strides)
    expected = compute("loops", *(a.astype(np.float64) for a in (x, w, b, dy)), "same", strides)
    for actual, wanted, terms in zip((y, dx, dw, db), expected, (9 * C + 1, 450, dy.size, dy.size), strict=True):
        assert_close(actual, wanted, terms=terms, dtype=dtype)


@pytest.mark.parametrize("F", [1, 16, 24, 33])
@pytest.mark.parametrize(("image", "kernel"), [((33, 30), 3), ((9, 150), 5), ((70, 3), 2)])
def test_outputs_past_the_caches_are_the_same(image, kernel, F, monkeypatch):
    """Written vector by vector or, where filters fill no whole vectors, collected in rows."""
    x, w, b, _ = draw_arrays((3, *image, 4), (kernel, kernel, 4, F), "same", 1, 0, np.float32)
    with minivid.use("winograd"):
        expected = conv2d_forward(x, w, b, padding="same")
        monkeypatch.setattr(tile, "STREAMED", 0)
        np.testing.assert_array_equal(conv2d_forward(x, w, b, padding="same"), expected)


@pytest.mark.parametrize("C", [5, 16, 33])
def test_pixels_of_phases_past_the_caches_are_the_same(C, monkeypatch):
    """The gradient with respect to the input, with strides: the pixels of a phase are not next to each other."""
    _, w, _, dy = draw_arrays((2, 31, 30, C), (4, 4, C, 7), "same", 2, 0, np.float32)
    with minivid.use("winograd"):
        expected = conv2d_backward_input(dy, w, (2, 31, 30, C), strides=2, padding="same")
        monkeypatch.setattr(tile, "STREAMED", 0)
        actual = conv2d_backward_input(dy, w, (2, 31, 30, C), strides=2, padding="same")
    np.testing.assert_array_equal(actual, expected)


@given(convolutions(), seeds)
def test_backward_is_the_adjoint_of_forward(case, seed):
    x, w, b, dy = draw_arrays(*case, seed, np.float64)
    y, dx, dw, _ = compute("winograd", x, w, np.zeros_like(b), dy, *case[2:])
    scale = np.abs(dy).sum() * np.abs(x).max() * np.abs(w).max() * np.prod(w.shape[:3])
    assert abs((dy * y).sum() - (dx * x).sum()) <= 1e-14 * scale
    assert abs((dy * y).sum() - (dw * w).sum()) <= 1e-14 * scale


@pytest.mark.parametrize("name", ["winograd", "cpu"])
def test_empty_batch(name):
    x, w = np.zeros((0, 9, 9, 16), np.float32), np.ones((3, 3, 16, 32), np.float32)
    y, dx, dw, db = compute(name, x, w, np.ones(32, np.float32), np.zeros((0, 7, 7, 32), np.float32), "valid")
    assert y.shape == (0, 7, 7, 32)
    assert dx.shape == x.shape
    assert not dw.any()
    assert not db.any()


@pytest.mark.parametrize(("C", "F"), [(3, 5), (19, 17)])
def test_the_margins_beyond_the_arrays_are_neither_read_nor_written(C, F):
    """Channels that fill no vector: what lies around x, in the same memory, has no say."""
    rng = np.random.default_rng(0)
    x, w = normal(rng, 2, 8, 8, C, dtype=np.float32), normal(rng, 3, 3, C, F, dtype=np.float32)
    memory = np.full(x.size + 2 * LANES, np.nan, np.float32)
    memory[LANES:-LANES] = x.ravel()
    inside = memory[LANES:-LANES].reshape(x.shape)
    with minivid.use("winograd"):
        np.testing.assert_array_equal(conv2d_forward(inside, w), conv2d_forward(x, w))


def test_nan_spreads_within_the_tiles_that_see_it():
    x, w = np.ones((1, 12, 12, 2)), np.ones((3, 3, 2, 4))
    x[0, 1, 1, 0] = np.nan
    with minivid.use("winograd"):
        y = conv2d_forward(x, w)  # 10 x 10 outputs: tiles of 4 x 4, the first of them reads pixels 0 to 5
    assert np.isnan(y[0, :4, :4]).all()
    np.testing.assert_allclose(y[0, 4:], 18.0)
    np.testing.assert_allclose(y[0, :4, 4:], 18.0)


# the same bits


@pytest.mark.parametrize(("C", "F", "strides"), [(19, 33, 1), (19, 40, 1), (300, 33, 1), (19, 33, 2)])
def test_bits_do_not_depend_on_the_number_of_threads_or_the_run(C, F, strides):
    x, w, b, dy = draw_arrays((3, 37, 29, C), (3, 3, C, F), "same", strides, 0, np.float32)
    threads = numba.get_num_threads()
    results = []
    try:
        for n in (1, threads, threads):
            numba.set_num_threads(n)
            results.append(compute("winograd", x, w, b, dy, "same", strides))
    finally:
        numba.set_num_threads(threads)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


# filters that fill no vector


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("over", [1, 2])
def test_filters_beyond_whole_vectors_are_exact_too(dtype, over):
    """One or two more: the vectors of their products run along the channels."""
    C, F = 70, 2 * LANES + over
    assert winograd._few(window_of((19, 30), 3), C, F, simd.BYTES // np.dtype(dtype).itemsize) == over
    case = (4, 19, 30, C), (3, 3, C, F), "same", 1
    x, w, b, dy = draw_arrays(*case, 0, dtype)
    y, dx, dw, _ = compute("winograd", x, w, b, dy, "same")
    expected = compute("loops", *(a.astype(np.float64) for a in (x, w, b, dy)), "same")
    for actual, wanted, terms in zip((y, dx, dw), expected, (9 * C + 1, 9 * F, dy.size), strict=False):
        assert_close(actual, wanted, terms=terms, dtype=dtype)


# the choice


def test_winograd_is_taken_where_it_saves():
    def saves(N, size, C, F, kernel=3, strides=1, dilation=1):
        return winograd.saves(N, window_of((size, size), kernel, strides, "valid", dilation), C, F, np.float32)

    assert saves(16, 56, 64, 64)
    assert not saves(8, 224, 3, 32)  # three channels: the transforms cost more than they save
    assert not saves(8, 224, 32, 3)  # three filters: the tile's vectors run along the taps
    assert saves(8, 224, 32, 12)  # twelve take a whole vector in either way
    assert not saves(1, 6, 256, 256)  # one tile: transforming the weights does
    assert saves(16, 56, 64, 64, kernel=4, strides=2)  # 144 products for 25 outputs, instead of 400
    assert saves(32, 32, 16, 32, kernel=5, strides=2)  # 144 products for 16 outputs, instead of 400
    assert not saves(16, 56, 64, 64, strides=2)  # 121 instead of 225, but each block fetches weights of four phases
    win = window_of((224, 224), 7, 2, "valid")
    assert not winograd.saves_input((8, 224, 224, 3), win, 64, np.float32)  # three channels: vectors along the taps
    assert not saves(16, 56, 64, 64, kernel=2, strides=2)  # one tap in each phase
    assert not saves(16, 56, 64, 64, dilation=2)
    assert not saves(16, 56, 64, 64, kernel=1)
    assert not saves(16, 56, 64, 64, kernel=7)
