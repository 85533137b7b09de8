"""Random changes of whole clips: every frame of a clip changes alike, so that motion stays motion."""

from collections.abc import Callable

import numpy as np

__all__ = ["compose", "random_brightness", "random_flip", "random_shift"]

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def random_flip(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirror a clip left to right, half of the time.

    Parameters
    ----------
    clip : (T, H, W, C) float array
    rng : numpy.random.Generator

    Returns
    -------
    (T, H, W, C) array

    Notes
    -----
    Wrong where left and right are what the classes differ in.

    Examples
    --------
    >>> random_flip(np.arange(2.0).reshape(1, 1, 2, 1), np.random.default_rng(1)).ravel()
    array([0., 1.])
    """
    return clip[:, :, ::-1] if rng.random() < 0.5 else clip


def random_shift(clip: np.ndarray, rng: np.random.Generator, part: float = 0.1) -> np.ndarray:
    """Move a clip by up to ``part`` of its height and width; what comes in repeats the edge.

    Parameters
    ----------
    clip : (T, H, W, C) float array
    rng : numpy.random.Generator
    part : float
        Largest shift, relative to the size.

    Returns
    -------
    (T, H, W, C) array

    Examples
    --------
    >>> random_shift(np.zeros((2, 8, 8, 1)), np.random.default_rng(0)).shape
    (2, 8, 8, 1)
    """
    H, W = clip.shape[1:3]
    down, right = (rng.integers(-int(part * size), int(part * size) + 1) for size in (H, W))
    rows, columns = np.clip(np.arange(H) - down, 0, H - 1), np.clip(np.arange(W) - right, 0, W - 1)
    return clip[:, rows][:, :, columns]


def random_brightness(clip: np.ndarray, rng: np.random.Generator, part: float = 0.2) -> np.ndarray:
    """Scale contrast and move brightness by up to ``part``, the same for all frames.

    Parameters
    ----------
    clip : (T, H, W, C) float array
        Values from 0 to 1, or from −1 to 1 where the median was subtracted.
    rng : numpy.random.Generator
    part : float
        Largest change.

    Returns
    -------
    (T, H, W, C) array
        Within the range of values that a clip may have.

    Examples
    --------
    >>> random_brightness(np.full((1, 1, 1, 1), 0.5), np.random.default_rng(0)).shape
    (1, 1, 1, 1)
    """
    contrast, brightness = rng.uniform(1 - part, 1 + part), rng.uniform(-part, part) / 2
    centred = clip.min() < 0
    changed = clip * contrast if centred else (clip - 0.5) * contrast + 0.5 + brightness
    return np.clip(changed, -1 if centred else 0, 1).astype(clip.dtype)


def compose(*augmentations: Augmentation) -> Augmentation:
    """Return one augmentation that applies several in order.

    Parameters
    ----------
    *augmentations : callable
        Each takes ``(clip, rng)`` and returns a clip.

    Examples
    --------
    >>> both = compose(random_flip, random_shift)
    >>> both(np.zeros((2, 8, 8, 1)), np.random.default_rng(0)).shape
    (2, 8, 8, 1)
    """

    def composed(clip: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for augmentation in augmentations:
            clip = augmentation(clip, rng)
        return clip

    return composed
