"""Synthetic clips whose class is *how* a shape moves, so that one frame says nothing about the class.

A shape moves down, left, right or up, stays still, or jumps from place to place. Its centre starts anywhere on a
torus (what leaves on one side comes in on the other), with equal probability. Every motion adds something that does
not depend on that starting point, which keeps the distribution uniform: at every time step, and in every class, the
centre is uniform. Kind, size and colour of the shape, background and noise are drawn from the same distributions in
every class. So single frames of all classes are equally distributed, and a classifier of single frames cannot do
better than chance; only order in time tells the classes apart.
"""

import os
from pathlib import Path

import numpy as np

from minivid.video.data_sets import draw_once
from minivid.video.writing import write_clip

__all__ = ["MOTIONS", "moving_shapes", "write_moving_shapes"]

#: The classes, in the order of their numbers.
MOTIONS = ("down", "jump", "left", "right", "still", "up")

_DIRECTIONS = {"down": (1, 0), "left": (0, -1), "right": (0, 1), "still": (0, 0), "up": (-1, 0)}  # rows, columns


def moving_shapes(
    clips: int = 480, frames: int = 16, size: tuple[int, int] = (32, 32), seed: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw clips of a disc, square or diamond that moves in one of the ways of `MOTIONS`.

    Parameters
    ----------
    clips : int
        N, spread evenly over the classes `MOTIONS`.
    frames : int
        T, frames per clip.
    size : (H, W)
        In pixels, at least 16.
    seed : int, optional
        The same seed draws the same clips.

    Returns
    -------
    x : (N, T, H, W, 3) uint8 array
    y : (N,) int64 array
        Class numbers, indices of `MOTIONS`.

    Raises
    ------
    ValueError
        For numbers or sizes that are too small.

    Examples
    --------
    >>> x, y = moving_shapes(clips=12, frames=8, size=(24, 24), seed=0)
    >>> x.shape, np.bincount(y).tolist()
    ((12, 8, 24, 24, 3), [2, 2, 2, 2, 2, 2])
    """
    if clips < 1 or frames < 1 or min(size) < 16:
        raise ValueError(f"moving_shapes needs clips, frames >= 1 and sizes >= 16, got {clips}, {frames}, {size}")
    rng = np.random.default_rng(seed)
    y = np.arange(clips) % len(MOTIONS)
    x = np.stack([_draw_clip(MOTIONS[k], frames, size, rng) for k in y])
    return x, y


def write_moving_shapes(
    directory: str | os.PathLike,
    clips_per_class: int = 80,
    frames: int = 16,
    size: tuple[int, int] = (32, 32),
    seed: int = 0,
) -> Path:
    """Write moving shapes as MP4 files, one folder per class, unless they are there already.

    Parameters
    ----------
    directory : path
        Where to; appears when all its files are written.
    clips_per_class : int
        Number of files in each folder.
    frames, size, seed
        As for `moving_shapes`.

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
    >>> folder = write_moving_shapes(tempfile.mkdtemp() + "/shapes", clips_per_class=1, frames=4, size=(16, 16))
    >>> sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    ['down', 'jump', 'left', 'right', 'still', 'up']
    """
    settings = {
        "moving_shapes": list(MOTIONS),
        "clips_per_class": clips_per_class,
        "frames": frames,
        "size": list(size),
        "seed": seed,
    }

    def draw(folder: Path) -> None:
        for name in MOTIONS:
            (folder / name).mkdir()
        x, y = moving_shapes(clips_per_class * len(MOTIONS), frames, size, seed)
        for n, (clip, k) in enumerate(zip(x, y, strict=True)):
            write_clip(folder / MOTIONS[k] / f"{MOTIONS[k]}_{n // len(MOTIONS):03d}.mp4", clip)

    return draw_once(directory, settings, draw)


def _draw_clip(motion: str, frames: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    H, W = size
    centres = rng.uniform(0, size, 2) + _path(motion, size, frames, rng)  # (T, 2)
    radius = min(size) / 32 * rng.uniform(3.5, 5.5)
    coverage = _coverage(centres, size, radius, kind=rng.integers(3))  # (T, H, W)
    hue = np.zeros(3)
    hue[rng.permutation(3)] = 1.0, rng.uniform(0.2, 1.0), rng.uniform(0.0, 0.4)  # bright, never grey
    background = _texture(size, rng)  # (H, W, 3)
    picture = background + coverage[..., None] * (hue - background)  # (T, H, W, 3)
    picture += rng.normal(scale=0.02, size=(frames, H, W, 1))
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def _path(motion: str, size: tuple[int, int], frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return the way from the starting point, in rows and columns, (T, 2)."""
    speed = min(size) / 32 * rng.uniform(1.5, 2.5)  # pixels per frame
    jumps = rng.uniform(0, size, (frames, 2))
    return jumps if motion == "jump" else speed * np.arange(frames)[:, None] * np.array(_DIRECTIONS[motion])


def _coverage(centres: np.ndarray, size: tuple[int, int], radius: float, kind: int) -> np.ndarray:
    """Return how much of each pixel the shape covers, from 0 to 1, on a torus, (T, H, W)."""
    rows, columns = (
        np.abs((np.arange(n) - centres[:, axis, None] + n / 2) % n - n / 2) for axis, n in enumerate(size)
    )  # distances from the centre: (T, H) and (T, W)
    down, across = rows[:, :, None], columns[:, None, :]
    distance = (np.hypot(down, across), np.maximum(down, across), (down + across) * 0.8)[kind]
    return np.clip(radius - distance + 0.5, 0, 1)


def _texture(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a dark, smooth, random background, (H, W, 3): a few waves that fit the torus."""
    H, W = size
    rows, columns = np.arange(H)[:, None] / H, np.arange(W)[None, :] / W
    waves = np.zeros((H, W))
    for _ in range(4):
        p, q = rng.integers(-3, 4, 2)
        waves += np.cos(2 * np.pi * (p * rows + q * columns) + rng.uniform(0, 2 * np.pi))
    return 0.15 + 0.04 * waves[..., None] * rng.uniform(0.3, 1.0, 3)
