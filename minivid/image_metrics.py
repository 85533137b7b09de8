"""How near a predicted frame is to the true one: MSE, MAE, PSNR and SSIM, one number per frame.

For frames x and y of H·W pixels and C channels, with values from 0 to 1,

    MSE  = 1/(HWC) Σ (x − y)²                             (image_metrics.1)
    MAE  = 1/(HWC) Σ |x − y|                              (image_metrics.2)
    PSNR = 10 log₁₀(1 / MSE)                              (image_metrics.3)    in decibels
    SSIM = 1/(H'W'C) Σ  (2 μx μy + c₁)(2 σxy + c₂) / ((μx² + μy² + c₁)(σx² + σy² + c₂))    (image_metrics.4)

with c₁ = 0.01² and c₂ = 0.03². The means μ, variances σ² and covariance σxy are those of a Gaussian window of 11 x 11
pixels, 1.5 pixels wide, around a pixel; the sum goes over the H'·W' pixels whose window lies inside the frame.

docs/image_metrics.md says what each of them sees and what it does not.
"""

import numpy as np

__all__ = ["frame_mae", "frame_mse", "frame_psnr", "frame_squared_error", "frame_ssim"]

_SIGMA, _RADIUS = 1.5, 5  # pixels; an 11 x 11 window
_C1, _C2 = 0.01**2, 0.03**2


def frame_mse(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean squared error of every frame, per pixel and channel, equation (image_metrics.1).

    Parameters
    ----------
    x, y : (..., H, W, C) array
        Frames, floats from 0 to 1. Which is the truth does not matter.

    Returns
    -------
    (...) float64 array
        One number per frame; 0 for equal frames.

    Raises
    ------
    ValueError
        For shapes that differ, values outside 0 to 1, or frames without the axis of channels.

    Examples
    --------
    >>> frame_mse(np.zeros((2, 4, 4, 1)), np.full((2, 4, 4, 1), 0.5))
    array([0.25, 0.25])
    """
    x, y = _checked(x, y)
    return ((x - y) ** 2).mean(axis=(-3, -2, -1))  # (image_metrics.1)


def frame_squared_error(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Squared error of every frame, summed over pixels and channels: H·W·C times (image_metrics.1).

    What papers on Moving MNIST call MSE: 285 for a copy of the last frame of 64 x 64 pixels.

    Parameters
    ----------
    x, y : (..., H, W, C) array
        As for `frame_mse`.

    Returns
    -------
    (...) float64 array

    Raises
    ------
    ValueError
        As for `frame_mse`.

    Examples
    --------
    >>> frame_squared_error(np.zeros((2, 4, 4, 1)), np.full((2, 4, 4, 1), 0.5))
    array([4., 4.])
    """
    x, y = _checked(x, y)
    return ((x - y) ** 2).sum(axis=(-3, -2, -1))


def frame_mae(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mean absolute error of every frame, per pixel and channel, equation (image_metrics.2).

    Parameters
    ----------
    x, y : (..., H, W, C) array
        As for `frame_mse`.

    Returns
    -------
    (...) float64 array

    Raises
    ------
    ValueError
        As for `frame_mse`.

    Examples
    --------
    >>> float(frame_mae(np.zeros((4, 4, 1)), np.full((4, 4, 1), 0.5)))
    0.5
    """
    x, y = _checked(x, y)
    return np.abs(x - y).mean(axis=(-3, -2, -1))  # (image_metrics.2)


def frame_psnr(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of every frame in decibels, equation (image_metrics.3).

    Parameters
    ----------
    x, y : (..., H, W, C) array
        As for `frame_mse`.

    Returns
    -------
    (...) float64 array
        20 dB for an MSE of 0.01; infinity for equal frames.

    Raises
    ------
    ValueError
        As for `frame_mse`.

    Examples
    --------
    >>> float(frame_psnr(np.zeros((4, 4, 1)), np.full((4, 4, 1), 0.1)).round(6))
    20.0
    """
    with np.errstate(divide="ignore"):
        return -10 * np.log10(frame_mse(x, y))  # (image_metrics.3)


def frame_ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Structural similarity of every frame, equation (image_metrics.4), the mean over pixels and channels.

    Parameters
    ----------
    x, y : (..., H, W, C) array
        As for `frame_mse`, of 11 x 11 pixels or more.

    Returns
    -------
    (...) float64 array
        From −1 to 1; 1 for equal frames.

    Raises
    ------
    ValueError
        As for `frame_mse`, and for frames smaller than the window.

    Notes
    -----
    Wang, Bovik, Sheikh and Simoncelli, *Image quality assessment: from error visibility to structural similarity*,
    IEEE Transactions on Image Processing 13(4), 2004. The same as scikit-image's ``structural_similarity`` with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1`` and ``channel_axis=-1``. Windows
    that reach over the border are left out, there and here: of H x W pixels the mean takes (H − 10) x (W − 10).

    Examples
    --------
    >>> x = np.linspace(0, 1, 16 * 16).reshape(16, 16, 1)
    >>> float(frame_ssim(x, x)), bool(frame_ssim(x, 1 - x) < 0)
    (1.0, True)
    """
    x, y = _checked(x, y)
    if min(x.shape[-3:-1]) < 2 * _RADIUS + 1:
        raise ValueError(
            f"SSIM looks at windows of {2 * _RADIUS + 1} x {2 * _RADIUS + 1} pixels, but frames have {x.shape[-3:-1]}"
        )
    mx, my = _windowed_mean(x), _windowed_mean(y)  # (..., H', W', C)
    vx, vy = _windowed_mean(x * x) - mx * mx, _windowed_mean(y * y) - my * my
    covariance = _windowed_mean(x * y) - mx * my
    likeness = (2 * mx * my + _C1) * (2 * covariance + _C2)
    ssim = likeness / ((mx * mx + my * my + _C1) * (vx + vy + _C2))
    return ssim.mean(axis=(-3, -2, -1))  # (image_metrics.4)


def _windowed_mean(x: np.ndarray) -> np.ndarray:
    """Return the mean under the Gaussian window at every pixel whose window lies inside, (..., H', W', C)."""
    weights = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / _SIGMA) ** 2)
    weights /= weights.sum()
    for axis in (-3, -2):  # the window is a product of one along rows and one along columns
        views = np.lib.stride_tricks.sliding_window_view(x, len(weights), axis=axis)  # (..., H', W, C, 11)
        x = views @ weights
    return x


def _checked(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 arrays of frames."""
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or x.ndim < 3 or x.size == 0:
        raise ValueError(f"frames must be two arrays (..., height, width, channels) alike, got {x.shape} and {y.shape}")
    for name, frames in (("x", x), ("y", y)):
        if frames.dtype.kind != "f" or not (frames.min() >= 0 and frames.max() <= 1):
            found = f"{frames.dtype} from {frames.min()} to {frames.max()}"
            raise ValueError(f"frames must be floats from 0 to 1, but {name} has {found}")
    return x.astype(np.float64), y.astype(np.float64)
