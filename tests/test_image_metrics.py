"""Image metrics: answers worked by hand, scikit-image's numbers, and what every metric must hold."""

import numpy as np
import pytest

from minivid.image_metrics import frame_mae, frame_mse, frame_psnr, frame_squared_error, frame_ssim

METRICS = (frame_mse, frame_squared_error, frame_mae, frame_psnr, frame_ssim)

#: scikit-image 0.26.0: structural_similarity(x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
#: data_range=1, channel_axis=-1), peak_signal_noise_ratio(x, y, data_range=1), mean_squared_error(x, y).
SCIKIT_IMAGE = {
    "noise": (0.93705309258927, 20.398827540444906, 0.009122570870562043),
    "strong noise": (0.436885652225191, 9.19021730592734, 0.12049756460525737),
    "smallest": (0.8389231404927959, 14.949138761715359, 0.0319952953730664),
    "waves": (0.888797832799528, 20.231671669214304, 0.009480534720515165),
    "colour": (0.9090745532712047, 19.992020932140402, 0.01001838937045629),
    "constants": (0.600063989761638, 6.020599913279624, 0.25),
    "almost black": (0.4688754631807998, 38.73764279638649, 0.00013373211723156393),
}


def noisy(seed, shape, noise):
    rng = np.random.default_rng(seed)
    x = rng.random(shape)
    return x, np.clip(x + noise * rng.standard_normal(shape), 0, 1)


def waves(*shape):
    row, column, channel = np.ogrid[: shape[0], : shape[1], : shape[2]]
    return tuple(0.5 + 0.5 * np.sin(row / 3 + channel + shift) * np.cos(column / 5) for shift in (0, 0.4))


def pictures(name):
    return {
        "noise": lambda: noisy(0, (32, 32, 1), 0.1),
        "strong noise": lambda: noisy(1, (17, 29, 3), 0.5),
        "smallest": lambda: noisy(2, (11, 11, 1), 0.2),
        "waves": lambda: waves(24, 31, 1),
        "colour": lambda: waves(40, 16, 3),
        "constants": lambda: (np.full((16, 16, 1), 0.25), np.full((16, 16, 1), 0.75)),
        "almost black": lambda: (np.zeros((16, 16, 1)), noisy(3, (16, 16, 1), 0)[0] * 0.02),
    }[name]()


@pytest.mark.parametrize("name", SCIKIT_IMAGE)
def test_numbers_of_scikit_image(name):
    x, y = pictures(name)
    ssim, psnr, mse = SCIKIT_IMAGE[name]
    np.testing.assert_allclose(frame_ssim(x, y), ssim, rtol=1e-10)
    np.testing.assert_allclose(frame_psnr(x, y), psnr, rtol=1e-12)
    np.testing.assert_allclose(frame_mse(x, y), mse, rtol=1e-12)


def test_hand_worked():
    x = np.array([[[0.0], [0.5]], [[1.0], [0.5]]])
    y = np.array([[[0.1], [0.5]], [[0.8], [0.2]]])
    # differences 0.1, 0, 0.2, 0.3: squares 0.01 + 0 + 0.04 + 0.09 = 0.14, absolute values 0.6
    assert frame_squared_error(x, y) == pytest.approx(0.14)
    assert frame_mse(x, y) == pytest.approx(0.035)
    assert frame_mae(x, y) == pytest.approx(0.15)
    assert frame_psnr(np.zeros((2, 2, 1)), np.full((2, 2, 1), 0.1)) == pytest.approx(20)  # 10 log10(1/0.01)


def test_mean_of_psnrs_is_not_psnr_of_the_mean():
    x = np.zeros((2, 4, 4, 1))
    y = x + np.array([0.1, 0.01])[:, None, None, None]
    np.testing.assert_allclose(frame_psnr(x, y), [20, 40])  # mean 30
    assert -10 * np.log10(frame_mse(x, y).mean()) == pytest.approx(22.967, abs=5e-4)  # 10 log10(1/0.00505)


def test_an_object_beside_its_place():
    x = np.zeros((64, 64, 1))
    x[30:34, 30:34] = 1.0
    near, beside = np.roll(x, 1, axis=1), np.roll(x, 4, axis=1)
    # None: its 16 pixels. One pixel beside: a column of 4 missing, one of 4 too many. Wholly beside: 16 + 16.
    assert [frame_squared_error(x, y) for y in (np.zeros_like(x), near, beside)] == [16, 8, 32]
    assert frame_squared_error(x, (x + beside) / 2) == pytest.approx(8)  # 32 pixels wrong by a half


def test_ssim_hardly_sees_a_missed_object_on_black():
    x = np.zeros((64, 64, 1))
    x[30:34, 30:34] = 1.0
    # The 4 + 10 = 14 by 14 windows that see the object count 0 or more, all others of the 54 x 54 exactly 1.
    assert 1 - 14**2 / 54**2 < frame_ssim(x, np.zeros_like(x)) < 0.96


def test_ssim_of_constant_frames_by_hand():
    # Variances are 0, so SSIM is the comparison of means: (2 · 0.2 · 0.4 + 0.0001) / (0.04 + 0.16 + 0.0001)
    x, y = np.full((2, 12, 13, 3), 0.2), np.full((2, 12, 13, 3), 0.4)
    np.testing.assert_allclose(frame_ssim(x, y), 0.1601 / 0.2001)


def test_ssim_takes_the_gaussian_window():
    x = np.zeros((11, 11, 1))
    y = x.copy()
    y[5, 5] = 1.0
    # One window. Its middle weight is g = (1 / sum exp(-i^2 / 4.5))^2, so mean g, variance g - g^2, covariance 0.
    g = 1 / np.exp(-(np.arange(-5, 6) ** 2) / 4.5).sum() ** 2
    expected = 1e-4 / (g * g + 1e-4) * 9e-4 / (g - g * g + 9e-4)
    np.testing.assert_allclose(frame_ssim(x, y), expected, rtol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_one_number_per_frame(metric):
    x, y = (np.random.default_rng(seed).random((2, 3, 12, 14, 3)).astype(np.float32) for seed in (0, 1))
    result = metric(x, y)
    assert result.shape == (2, 3)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result[1, 2], metric(x[1, 2], y[1, 2]), rtol=1e-12)
    np.testing.assert_allclose(result, metric(y, x), rtol=1e-12)


@pytest.mark.parametrize(("metric", "best"), list(zip(METRICS, (0, 0, 0, np.inf, 1), strict=True)))
def test_equal_frames(metric, best):
    x = np.random.default_rng(0).random((2, 11, 11, 1))
    np.testing.assert_array_equal(metric(x, x.copy()), [best, best])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (np.zeros((12, 12, 1)), np.zeros((12, 13, 1)), r"alike, got \(12, 12, 1\) and \(12, 13, 1\)"),
        (np.zeros((12, 12)), np.zeros((12, 12)), "height, width, channels"),
        (np.zeros((0, 12, 12, 1)), np.zeros((0, 12, 12, 1)), "alike, got"),
        (np.zeros((12, 12, 1)), np.full((12, 12, 1), 255.0), "y has float64 from 255.0"),
        (np.full((12, 12, 1), np.nan), np.zeros((12, 12, 1)), "x has float64 from nan"),
        (np.zeros((12, 12, 1), np.uint8), np.zeros((12, 12, 1)), "x has uint8"),
    ],
)
def test_frames_that_do_not_fit(metric, x, y, said):
    with pytest.raises(ValueError, match=said):
        metric(x, y)


def test_ssim_of_frames_below_its_window():
    with pytest.raises(ValueError, match=r"windows of 11 x 11 pixels, but frames have \(10, 32\)"):
        frame_ssim(np.zeros((10, 32, 1)), np.zeros((10, 32, 1)))
