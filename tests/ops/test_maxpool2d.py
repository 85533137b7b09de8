from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops import maxpool2d
from minivid.ops.maxpool2d import maxpool2d_backward, maxpool2d_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, distinct, implementations, kernels, normal, run
from tests.strategies import seeds, windows

IMPLEMENTATIONS = implementations(maxpool2d_forward)
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])


@st.composite
def poolings(draw):
    image, pool_size, options = draw(windows())
    padding = options["padding"]
    if not isinstance(padding, str):  # no window may lie wholly in the padding
        rows, columns = padding if isinstance(padding, tuple) else [(padding, padding)] * 2
        assume(pool_size[0] > max(rows) and pool_size[1] > max(columns))
    N, C = draw(st.integers(1, 3)), draw(st.sampled_from([1, 3, 5, 8, 16, 19, 33]))
    return (N, *image, C), {"pool_size": pool_size, **options}


def draw_arrays(x_shape, options, seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x = distinct(rng, *x_shape)
    dy = normal(rng, *maxpool2d_forward(x, **options)[0].shape)
    return x.astype(dtype), dy.astype(dtype)


# (1) answers worked by hand


@EVERY
def test_hand_worked(name):
    x = np.array([1.0, 3.0, 2.0, 3.0, 0.0]).reshape(1, 1, 5, 1)
    dy = np.array([10.0, 100.0, 1000.0]).reshape(1, 1, 3, 1)
    y, offset = run(name, maxpool2d_forward, x, (1, 3), strides=1)
    dx = run(name, maxpool2d_backward, dy, offset, x.shape, (1, 3), strides=1)
    # windows (1, 3, 2), (3, 2, 3), (2, 3, 0): the tie of the second goes to its first tap, pixel 1
    np.testing.assert_array_equal(y.ravel(), [3.0, 3.0, 3.0])
    np.testing.assert_array_equal(offset.ravel(), [1, 0, 1])
    # pixel 1 wins windows 0 and 1, pixel 3 wins window 2
    np.testing.assert_array_equal(dx.ravel(), [0.0, 110.0, 0.0, 1000.0, 0.0])


@EVERY
def test_ties_go_to_the_first_maximum_row_by_row(name):
    x = np.array([[1.0, 5.0, 7.0, 7.0], [5.0, 2.0, 7.0, 7.0]]).reshape(1, 2, 4, 1)
    y, offset = run(name, maxpool2d_forward, x, 2)
    dx = run(name, maxpool2d_backward, np.array([10.0, 100.0]).reshape(y.shape), offset, x.shape, 2)
    np.testing.assert_array_equal(y.ravel(), [5.0, 7.0])
    np.testing.assert_array_equal(offset.ravel(), [1, 0])  # column-major order would find tap 2
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0.0, 10.0, 100.0, 0.0], [0.0, 0.0, 0.0, 0.0]])


@EVERY
@pytest.mark.parametrize("padding", ["same", 1, ((0, 1), (1, 0))])
def test_padding_never_wins(name, padding):
    for value in (-1.0, -np.inf):
        x = np.full((1, 3, 3, 2), value)
        y, offset = run(name, maxpool2d_forward, x, 2, padding=padding)
        dx = run(name, maxpool2d_backward, np.ones_like(y), offset, x.shape, 2, padding=padding)
        np.testing.assert_array_equal(y, value)  # padding with zeros would give 0
        assert dx.sum() == y.size  # every gradient reaches a pixel, none is lost in the padding


@EVERY
def test_padded_corner(name):
    x = np.arange(-4.0, 0.0).reshape(1, 2, 2, 1)  # [[-4, -3], [-2, -1]]
    y, offset = run(name, maxpool2d_forward, x, 2, strides=2, padding=1)
    # each window holds one pixel, under its last, third, second and first tap
    np.testing.assert_array_equal(y.ravel(), [-4.0, -3.0, -2.0, -1.0])
    np.testing.assert_array_equal(offset.ravel(), [3, 2, 1, 0])


@EVERY
def test_nan_in_a_window_gives_nan(name):
    nan = np.nan
    x = np.array([[9.0, nan, nan, 1.0, 9.0, 1.0], [nan, 2.0, 3.0, 8.0, 3.0, nan]]).reshape(1, 2, 6, 1)
    y, offset = run(name, maxpool2d_forward, x, 2)
    dx = run(name, maxpool2d_backward, np.array([1.0, 10.0, 100.0]).reshape(y.shape), offset, x.shape, 2)
    assert np.isnan(y).all()
    np.testing.assert_array_equal(offset.ravel(), [1, 0, 3])  # the first NaN of each window
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 1, 10, 0, 0, 0], [0, 0, 0, 0, 0, 100]])


@pytest.mark.parametrize("C", [37, 24])  # part of a vector, and whole vectors
@pytest.mark.parametrize("options", [{"pool_size": 2}, {"pool_size": 3, "strides": 2}, {"pool_size": 3, "padding": 1}])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_nan_and_infinities_among_many_channels(name, dtype, options, C):
    rng = np.random.default_rng(0)
    x = rng.choice([np.nan, np.inf, -np.inf, -1.0, 1.0, 2.0], (2, 9, 8, C), p=[0.1, 0.1, 0.2, 0.2, 0.2, 0.2])
    x = x.astype(dtype)
    x[0, :3, :, :] = -np.inf  # nothing in these windows beats anything
    x[:, -1, 0, 16] = np.nan  # alone in its row of windows
    with minivid.use("reference"):
        y_expected, offset_expected = maxpool2d_forward(x, **options)
    y, offset = run(name, maxpool2d_forward, x, **options)
    np.testing.assert_array_equal(y, y_expected)
    np.testing.assert_array_equal(offset, offset_expected)


@EVERY
def test_a_gradient_that_is_not_finite_stays_with_its_pixel(name):
    x = np.array([1.0, 2.0, 4.0, 3.0]).reshape(1, 1, 4, 1)
    _, offset = run(name, maxpool2d_forward, x, (1, 2))
    dx = run(name, maxpool2d_backward, np.array([np.nan, np.inf]).reshape(1, 1, 2, 1), offset, x.shape, (1, 2))
    np.testing.assert_array_equal(dx.ravel(), [0.0, np.nan, np.inf, 0.0])


@EVERY
@pytest.mark.parametrize(("size", "dtype"), [(16, np.uint8), (17, np.uint16)])
def test_offset_is_the_smallest_unsigned_int_that_counts_the_taps(name, size, dtype):
    x = np.zeros((1, size, size, 1))
    x[0, -1, -1] = 1
    _, offset = run(name, maxpool2d_forward, x, size)
    dx = run(name, maxpool2d_backward, np.ones((1, 1, 1, 1)), offset, x.shape, size)
    assert offset.dtype == dtype
    assert offset.item() == size * size - 1
    assert dx[0, -1, -1, 0] == 1


def test_the_reference_compares_real_parts():
    x = np.array([2 + 1j, 3 - 5j, 1 + 9j]).reshape(1, 1, 3, 1)
    with minivid.use("reference"):
        y, offset = maxpool2d_forward(x, (1, 3))
    assert y.item() == 3 - 5j
    assert offset.item() == 1


# (2) every backward pass against central differences, on values without ties


@given(poolings(), seeds)
@EVERY
def test_gradient(name, case, seed):
    x_shape, options = case
    x, _ = draw_arrays(x_shape, options, seed)

    def forward(x):
        return maxpool2d_forward(x, **options)[0]

    def backward(dy, x):
        _, offset = run(name, maxpool2d_forward, x, **options)
        return {"x": run(name, maxpool2d_backward, dy, offset, x.shape, **options)}

    equations = {"x": "maxpool2d.3"}
    report = check_gradients(forward, backward, {"x": x}, smooth=False, equations=equations, seed=seed)
    report.raise_if_failed()


# (3) every implementation against the reference, and (4) each backward pass after the other's forward pass


@given(poolings(), seeds)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, case, seed):
    x_shape, options = case
    x, dy = draw_arrays(x_shape, options, seed, dtype)
    x = np.round(x * 2)  # ties, which must go the same way
    with minivid.use("reference"):
        y_expected, offset_expected = maxpool2d_forward(x.astype(np.float64), **options)
        dx_expected = maxpool2d_backward(dy.astype(np.float64), offset_expected, x_shape, **options)
    y, offset = assert_not_mutated(partial(run, name, maxpool2d_forward), x, **options)
    dx = assert_not_mutated(partial(run, name, maxpool2d_backward), dy, offset_expected, x_shape=x_shape, **options)
    assert y.dtype == x.dtype
    assert offset.dtype == offset_expected.dtype
    np.testing.assert_array_equal(y, y_expected)
    np.testing.assert_array_equal(offset, offset_expected)
    assert_close(dx, dx_expected, terms=int(np.prod(options["pool_size"])), dtype=dtype)
    with minivid.use("reference"):
        crossed = maxpool2d_backward(dy, offset, x_shape, **options)
    assert_close(crossed, dx_expected, terms=int(np.prod(options["pool_size"])), dtype=dtype)


WINDOWS = [
    {"pool_size": 2},
    {"pool_size": 2, "padding": "same"},
    {"pool_size": 2, "padding": ((1, 0), (1, 1))},
    {"pool_size": 3, "strides": 2},
    {"pool_size": 3, "strides": 2, "padding": "same"},
    {"pool_size": 3, "strides": 2, "padding": 1},
    {"pool_size": 2, "strides": 2, "dilation": 2},
    {"pool_size": (2, 3), "strides": (2, 1)},
]


@pytest.mark.parametrize("options", WINDOWS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", kernels(maxpool2d_backward))
def test_kernels_of_several_blocks(name, dtype, options):
    rng = np.random.default_rng(0)
    x = np.round(normal(rng, 2, 11, 9, 12, dtype=dtype) * 2)  # whole vectors of channels, and ties
    y_expected, offset_expected = maxpool2d_forward(x, **options)
    dy = np.round(normal(rng, *y_expected.shape, dtype=dtype) * 4)  # whole numbers: sums are exact in any order
    y, offset = run(name, maxpool2d_forward, x, **options)
    np.testing.assert_array_equal(y, y_expected)
    np.testing.assert_array_equal(offset, offset_expected)
    dx = run(name, maxpool2d_backward, dy, offset, x.shape, **options)
    np.testing.assert_array_equal(dx, maxpool2d_backward(dy, offset, x.shape, **options))


LARGE = pytest.mark.parametrize(
    ("x_shape", "options"),
    [
        ((1, 97, 91, 33), {"pool_size": 2}),  # side by side, with a rest on both sides
        ((1, 89, 99, 32), {"pool_size": (3, 2)}),
        ((1, 97, 91, 33), {"pool_size": 3, "strides": 2}),
        ((1, 97, 91, 33), {"pool_size": 3, "strides": 1, "padding": 1}),
        ((1, 3, 5, 20001), {"pool_size": 2, "strides": 1, "padding": "same"}),
    ],
)


@LARGE
def test_gradients_that_go_past_the_caches(x_shape, options, monkeypatch):
    monkeypatch.setattr(maxpool2d, "_STREAMED", 1_000_000)  # a sixteenth: small images will do
    rng = np.random.default_rng(0)
    x = np.round(normal(rng, *x_shape, dtype=np.float32) * 2)
    assert x.nbytes > maxpool2d._STREAMED
    results = []
    for name in ("loops", "simd"):
        y, offset = run(name, maxpool2d_forward, x, **options)
        dy = np.round(y * 3) + 1  # whole numbers: sums are exact in any order
        results.append([y, offset, run(name, maxpool2d_backward, dy, offset, x.shape, **options)])
    for expected, given_back in zip(*results, strict=True):
        np.testing.assert_array_equal(given_back, expected)


# (5) layouts and (6) algebra


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    rng = np.random.default_rng(0)
    x = distinct(rng, 3, 7, 6, 2).transpose(3, 1, 2, 0)[:, ::-1]
    y, offset = run(name, maxpool2d_forward, x, 3, 2)
    for a, b in zip((y, offset), run(name, maxpool2d_forward, x.copy(), 3, 2), strict=True):
        np.testing.assert_array_equal(a, b)
    dy, wide = normal(rng, *y.shape[::-1]).T, np.repeat(offset, 2, axis=3)[..., ::2]
    dx = run(name, maxpool2d_backward, dy.copy(), offset, x.shape, 3, 2)
    np.testing.assert_array_equal(run(name, maxpool2d_backward, dy, wide, x.shape, 3, 2), dx)


@given(poolings(), seeds)
def test_backward_is_the_adjoint_of_taking_the_winners(case, seed):
    x_shape, options = case
    x, dy = draw_arrays(x_shape, options, seed)
    y, offset = maxpool2d_forward(x, **options)
    dx = maxpool2d_backward(dy, offset, x_shape, **options)
    assert abs((dy * y).sum() - (dx * x).sum()) <= 1e-13 * np.abs(dy * y).sum()


def test_pooling_twice_is_pooling_once_with_a_larger_window():
    x = distinct(np.random.default_rng(0), 2, 8, 12, 3)
    twice = maxpool2d_forward(maxpool2d_forward(x, 2)[0], (2, 3))[0]
    np.testing.assert_array_equal(twice, maxpool2d_forward(x, (4, 6))[0])


@pytest.mark.parametrize("x_shape", [(3, 17, 13, 5), (3, 17, 13, 19), (2, 161, 97, 33)])
def test_bits_do_not_depend_on_the_number_of_threads(x_shape):
    rng = np.random.default_rng(0)
    x = normal(rng, *x_shape, dtype=np.float32)
    dy = normal(rng, *maxpool2d_forward(x, 3, 2)[0].shape, dtype=np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            y, offset = maxpool2d_forward(x, 3, 2)
            results.append([y, offset, maxpool2d_backward(dy, offset, x.shape, 3, 2)])
    finally:
        numba.set_num_threads(threads)
    for one, many in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)


# errors


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    x = np.zeros((1, 4, 4, 3))
    with pytest.raises(ValueError, match=r"takes x \(N, H, W, C\), got \(4, 4, 3\)"):
        run(name, maxpool2d_forward, x[0])
    with pytest.raises(ValueError, match=r"pool_size must be a positive int or a pair of them, got 0"):
        run(name, maxpool2d_forward, x, 0)
    with pytest.raises(ValueError, match=r"smaller than the window of 5x5.*padding='same'"):
        run(name, maxpool2d_forward, x, 5)
    y, offset = run(name, maxpool2d_forward, x, 2)
    with pytest.raises(ValueError, match=r"dy has shape \(1, 2, 2\).*\(1, 2, 2, 3\)"):
        run(name, maxpool2d_backward, y[..., 0], offset, x.shape, 2)
    with pytest.raises(ValueError, match=r"offset has shape \(1, 2, 2, 2\).*\(1, 2, 2, 3\)"):
        run(name, maxpool2d_backward, y, offset[..., :2], x.shape, 2)


@EVERY
@pytest.mark.parametrize(
    ("image", "options", "position"),
    [
        ((4, 4), {"pool_size": 2, "padding": 2}, r"2x2 window at position \(0, 0\)"),
        ((4, 4), {"pool_size": 1, "padding": ((0, 0), (0, 1))}, r"1x1 window at position \(0, 4\)"),
        ((1, 4), {"pool_size": (2, 1), "strides": 1, "padding": "same", "dilation": 2}, r"2x1 window"),
    ],
)
def test_windows_without_a_pixel_are_refused(name, image, options, position):
    with pytest.raises(ValueError, match=position + r".* without a single pixel .*less padding"):
        run(name, maxpool2d_forward, np.zeros((1, *image, 1)), **options)
