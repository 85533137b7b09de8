"""Synthetic clips for prediction: shapes or digits that fly straight on and bounce off the walls.

A frame does not tell where things fly; two frames do, and then everything that follows is decided, the walls included.
"""

import os
from pathlib import Path

import numpy as np

from minivid.video.data_sets import draw_once
from minivid.video.writing import write_clip

__all__ = ["bouncing_digits", "bouncing_shapes", "write_bouncing_shapes"]

_STEP = 0.1  # of digits per frame, as part of the way from wall to wall


def bouncing_shapes(
    clips: int, frames: int, size: tuple[int, int] = (32, 32), shapes: int = 2, seed: int | None = None
) -> np.ndarray:
    """Draw clips of discs, squares and diamonds that bounce off the walls and pass through each other.

    Parameters
    ----------
    clips, frames : int
        N and T.
    size : (H, W)
        In pixels, at least 16.
    shapes : int
        Shapes per clip. Kind, size, brightness, place and speed of each are random.
    seed : int, optional
        The same seed draws the same clips.

    Returns
    -------
    (N, T, H, W, 1) uint8 array
        Bright on black; where shapes overlap, the brighter is seen.

    Raises
    ------
    ValueError
        For numbers or sizes that are too small.

    Examples
    --------
    >>> bouncing_shapes(clips=2, frames=5, seed=0).shape
    (2, 5, 32, 32, 1)
    """
    if min(clips, frames, shapes) < 1 or len(size) != 2 or min(size) < 16:
        raise ValueError(
            "bouncing_shapes needs 1 or more clips, frames and shapes, and sizes of 16 or more, "
            f"got {clips}, {frames}, {shapes} and {size}"
        )
    rng = np.random.default_rng(seed)
    pictures = np.zeros((clips, frames, *size))
    for clip in pictures:
        for _ in range(shapes):
            np.maximum(clip, _flying_shape(frames, size, rng), out=clip)
    return np.round(pictures[..., None] * 255).astype(np.uint8)


def _flying_shape(frames: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Draw one shape, from 0 to its brightness, (T, H, W)."""
    radius = min(size) / 32 * rng.uniform(3, 5)
    angle, speed = rng.uniform(0, 2 * np.pi), min(size) / 32 * rng.uniform(1, 2)  # pixels per frame
    way = np.array(size) - 2 * radius  # of the centre, from wall to wall
    start = rng.uniform(0, way)
    straight = start + speed * np.arange(frames)[:, None] * np.array([np.sin(angle), np.cos(angle)])  # (T, 2)
    centres = radius + way - np.abs(straight % (2 * way) - way)  # a mirror at 0 and at `way`
    down, across = (np.arange(n) + 0.5 - centres[:, axis, None] for axis, n in enumerate(size))  # (T, H), (T, W)
    down, across = np.abs(down)[:, :, None], np.abs(across)[:, None, :]
    distance = (np.hypot(down, across), np.maximum(down, across) * 1.15, (down + across) * 0.85)[rng.integers(3)]
    return rng.uniform(0.6, 1.0) * np.clip(radius - distance + 0.5, 0, 1)


def bouncing_digits(
    digits: np.ndarray,
    clips: int,
    frames: int,
    size: tuple[int, int] = (64, 64),
    digits_per_clip: int = 2,
    seed: int | None = None,
) -> np.ndarray:
    """Draw clips of digits that bounce off the walls: Moving MNIST, of any pictures.

    Parameters
    ----------
    digits : (D, h, w) uint8 array, or floats from 0 to 1
        The pictures, bright on black; for Moving MNIST the 28x28 digits of MNIST, those for training and those for
        testing apart. Each clip shows some of them, drawn at random.
    clips, frames : int
        N and T; 20 frames are usual, 10 to see and 10 to predict.
    size : (H, W)
        In pixels, larger than a digit.
    digits_per_clip : int
    seed : int, optional
        The same seed draws the same clips.

    Returns
    -------
    (N, T, H, W, 1) uint8 array
        Where digits overlap, the brighter pixel is seen.

    Raises
    ------
    ValueError
        For numbers below 1, digits of another shape or range, or a size that they do not fit into.

    Notes
    -----
    The procedure of Srivastava, Mansimov and Salakhutdinov, *Unsupervised learning of video representations using
    LSTMs*, ICML 2015: a digit starts anywhere, in any direction, and goes on by a tenth of the way from wall to wall
    per frame. Where it would leave, it stops at the wall for that frame and turns.

    Examples
    --------
    >>> digits = np.zeros((10, 28, 28), np.uint8)
    >>> digits[:, 4:24, 12:16] = 255  # ten times a one
    >>> bouncing_digits(digits, clips=3, frames=20, seed=0).shape
    (3, 20, 64, 64, 1)
    """
    digits = _checked_digits(digits, size)
    if min(clips, frames, digits_per_clip) < 1:
        raise ValueError(
            "bouncing_digits needs 1 or more clips, frames and digits_per_clip, "
            f"got {clips}, {frames} and {digits_per_clip}"
        )
    rng = np.random.default_rng(seed)
    h, w = digits.shape[1:]
    x = np.zeros((clips, frames, *size), np.uint8)
    for clip in x:
        for digit in digits[rng.integers(len(digits), size=digits_per_clip)]:
            corners = _digit_path(frames, rng) * (size[0] - h, size[1] - w)
            for frame, (row, column) in zip(clip, corners.astype(int), strict=True):
                seen = frame[row : row + h, column : column + w]
                np.maximum(seen, digit, out=seen)
    return x[..., None]


def _digit_path(frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return the way of a digit from wall to wall, each coordinate from 0 to 1, (T, 2)."""
    at, angle = rng.uniform(size=2), rng.uniform(0, 2 * np.pi)
    step = _STEP * np.array([np.sin(angle), np.cos(angle)])
    path = np.empty((frames, 2))
    for t in range(frames):
        at = at + step
        step = np.where((at <= 0) | (at >= 1), -step, step)
        at = path[t] = np.clip(at, 0, 1)
    return path


def _checked_digits(digits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    digits = np.asarray(digits)
    if digits.ndim != 3 or digits.size == 0:
        raise ValueError(f"digits must be (D, h, w), D pictures of h x w pixels, got shape {digits.shape}")
    if digits.dtype.kind == "f" and digits.min() >= 0 and digits.max() <= 1:
        digits = np.round(digits * 255).astype(np.uint8)
    if digits.dtype != np.uint8:
        raise ValueError(f"digits must be uint8, or floats from 0 to 1, got {digits.dtype} up to {digits.max()}")
    if len(size) != 2 or digits.shape[1] > size[0] or digits.shape[2] > size[1]:
        raise ValueError(f"digits of {digits.shape[1]}x{digits.shape[2]} pixels do not fit into frames of {size}")
    return digits


def write_bouncing_shapes(
    directory: str | os.PathLike,
    clips: int = 200,
    frames: int = 20,
    size: tuple[int, int] = (32, 32),
    shapes: int = 2,
    seed: int = 0,
) -> Path:
    """Write bouncing shapes as MP4 files into one folder, unless they are there already.

    Parameters
    ----------
    directory : path
        Where to; appears when all its files are written.
    clips, frames, size, shapes, seed
        As for `bouncing_shapes`.

    Returns
    -------
    Path
        ``directory``.

    Raises
    ------
    FileExistsError
        If ``directory`` holds something else, or shapes drawn with other settings.

    Examples
    --------
    >>> import tempfile
    >>> folder = write_bouncing_shapes(tempfile.mkdtemp() + "/shapes", clips=2, frames=4, size=(16, 16))
    >>> sorted(path.name for path in folder.glob("*.mp4"))
    ['bouncing_0000.mp4', 'bouncing_0001.mp4']
    """
    settings = {"bouncing_shapes": shapes, "clips": clips, "frames": frames, "size": list(size), "seed": seed}

    def draw(folder: Path) -> None:
        for n, clip in enumerate(bouncing_shapes(clips, frames, size, shapes, seed)):
            write_clip(folder / f"bouncing_{n:04d}.mp4", clip)

    return draw_once(directory, settings, draw)
