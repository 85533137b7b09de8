"""Synthetic clips for detection: discs, squares and triangles that are hidden again and again.

One to three objects of any colour move over a drifting texture, straight on, and bounce off the edges of the frame.
Only their shape tells their class. Two things hide them, and what is hidden still is in the truth, with the share of
it that can be seen:

- a frame is *dropped*: noise or grey is there instead, and nothing can be seen;
- a bar moves across the frame, in front of everything.

A detector of single frames cannot know where a hidden object is. One that remembers place and speed can, because the
first frames of every clip are clear.
"""

import os
from pathlib import Path

import numpy as np

from minivid.detection.annotations import ClipAnnotation, write_coco
from minivid.detection.average_precision import Truth
from minivid.video.data_sets import draw_once
from minivid.video.writing import write_clip

__all__ = ["OBJECTS", "moving_objects", "write_moving_objects"]

#: The classes, in the order of their numbers.
OBJECTS = ("disc", "square", "triangle")

CLEAR_FRAMES = 3  # at the beginning: place and speed can be seen
LONGEST_DROP = 3  # frames
MOST_OBJECTS = 3
STARTS = 8  # of which the one is taken whose objects are furthest apart
HALF_SIDES = np.array([[1.0, 1.0], [0.88, 0.88], [0.95, 1.05]])  # per class: of the box, rows and columns, in radii


def moving_objects(
    clips: int = 240,
    frames: int = 16,
    size: tuple[int, int] = (48, 48),
    seed: int | None = None,
    *,
    dropped: float = 0.2,
    occluders: float = 0.5,
) -> tuple[np.ndarray, list[ClipAnnotation]]:
    """Draw clips of discs, squares and triangles, and say where they are.

    Parameters
    ----------
    clips : int
        N.
    frames : int
        T, frames per clip.
    size : (H, W)
        In pixels, even numbers from 32 on.
    seed : int, optional
        The same seed draws the same clips.
    dropped : float
        Share of the frames that are dropped, below 1, in stretches of one to three. The first three frames of a clip
        never are.
    occluders : float
        Share of the clips across which a bar moves.

    Returns
    -------
    x : (N, T, H, W, 3) uint8 array
    annotations : list of ClipAnnotation
        Boxes of all objects in all frames, hidden or not; their tracks, from 1; and their visibility, the share of an
        object that neither the bar nor another object covers, 0 in dropped frames.

    Raises
    ------
    ValueError
        For numbers or sizes that are too small, odd sizes, or shares outside 0 to 1.

    Examples
    --------
    >>> x, annotations = moving_objects(clips=2, frames=8, size=(32, 32), seed=0)
    >>> x.shape, len(annotations[0].frames), annotations[0].frames[0].boxes.shape[1]
    ((2, 8, 32, 32, 3), 8, 4)
    """
    _check(clips, frames, size, dropped, occluders)
    rng = np.random.default_rng(seed)
    pairs = [_draw_clip(Path(f"objects_{n:03d}.mp4"), frames, size, dropped, occluders, rng) for n in range(clips)]
    return np.stack([x for x, _ in pairs]), [annotation for _, annotation in pairs]


def write_moving_objects(
    directory: str | os.PathLike,
    clips: int = 240,
    frames: int = 16,
    size: tuple[int, int] = (48, 48),
    seed: int = 0,
    *,
    dropped: float = 0.2,
    occluders: float = 0.5,
) -> Path:
    """Write moving objects as MP4 files, each with its COCO annotation, unless they are there already.

    Parameters
    ----------
    directory : path
        Where to; appears when all its files are written.
    clips, frames, size, seed, dropped, occluders
        As for `moving_objects`.

    Returns
    -------
    Path
        ``directory``, which `minivid.detection.read_annotations` reads.

    Raises
    ------
    FileExistsError
        If ``directory`` holds something else, or objects drawn with other settings.
    ValueError
        As `moving_objects`.

    Examples
    --------
    >>> import tempfile
    >>> folder = write_moving_objects(tempfile.mkdtemp() + "/objects", clips=1, frames=4, size=(32, 32))
    >>> sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    ['objects_000.json', 'objects_000.mp4']
    """
    _check(clips, frames, size, dropped, occluders)
    settings = {"what": "moving objects", "clips": clips, "frames": frames, "size": list(size), "seed": seed}
    settings |= {"dropped": dropped, "occluders": occluders}

    def draw(folder: Path) -> None:
        x, annotations = moving_objects(clips, frames, size, seed, dropped=dropped, occluders=occluders)
        for clip, annotation in zip(x, annotations, strict=True):
            write_clip(folder / annotation.path, clip)
            write_coco(folder / annotation.path.with_suffix(".json"), annotation, OBJECTS)

    return draw_once(directory, settings, draw)


def _check(clips: int, frames: int, size: tuple[int, int], dropped: float, occluders: float) -> None:
    if clips < 1 or frames < 1 or min(size) < 32 or size[0] % 2 or size[1] % 2:
        raise ValueError(
            "moving_objects needs clips, frames >= 1 and even sizes >= 32 (MP4 has no odd ones), "
            f"got {clips}, {frames}, {size}"
        )
    if not (0 <= dropped < 1 and 0 <= occluders <= 1):
        raise ValueError(f"dropped and occluders must be shares from 0 to 1, got {dropped} and {occluders}")


def _draw_clip(
    path: Path, frames: int, size: tuple[int, int], dropped: float, occluders: float, rng: np.random.Generator
) -> tuple[np.ndarray, ClipAnnotation]:
    M = int(rng.integers(1, MOST_OBJECTS + 1))
    classes = rng.integers(len(OBJECTS), size=M)
    radii = min(size) / 32 * rng.uniform(4.0, 6.0, M)
    half = HALF_SIDES[classes] * radii[:, None]  # (M, 2)
    centres = _paths(half, frames, size, rng)  # (T, M, 2)
    layers = [_coverage(OBJECTS[classes[m]], centres[:, m], radii[m], size) for m in range(M)]  # each (T, H, W)
    colors = [np.broadcast_to(_bright_color(rng), (*size, 3)) for _ in range(M)]
    if rng.random() < occluders:
        coverage, stripes = _bar(frames, size, rng)
        layers, colors = [*layers, coverage], [*colors, stripes]
    picture = _drifting_texture(frames, size, rng)  # (T, H, W, 3)
    for coverage, color in zip(layers, colors, strict=True):
        picture += coverage[..., None] * (color - picture)
    lost = _dropped_frames(frames, dropped, rng)  # (T,)
    picture[lost] = _nothing(int(lost.sum()), size, rng)
    picture += rng.normal(scale=0.02, size=(frames, *size, 1))
    visibility = _visible_shares(layers)[:, :M] * ~lost[:, None]  # (T, M)
    annotation = _annotation(path, size, centres, half, classes, visibility)
    return np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8), annotation


def _annotation(path, size, centres, half, classes, visibility) -> ClipAnnotation:
    T, M = visibility.shape
    corners = np.concatenate([centres - half, centres + half], axis=-1)  # (T, M, 4): row, column, row, column
    boxes = np.clip(corners[..., [1, 0, 3, 2]], 0, [size[1], size[0]] * 2).astype(np.float32)
    truths = [Truth(boxes[t], classes, np.zeros(M, dtype=bool)) for t in range(T)]
    return ClipAnnotation(path, size, truths, [np.arange(1, M + 1)] * T, list(visibility.astype(np.float32)))


def _paths(half: np.ndarray, frames: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the centres, in rows and columns, of objects that go straight on and bounce, (T, M, 2)."""
    M = len(half)
    angle = rng.uniform(0, 2 * np.pi, M)
    speed = min(size) / 32 * rng.uniform(0.5, 1.6, M)  # pixels per frame
    step = speed[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    room = np.array(size) - 2 * half  # between the extreme centres
    starts = max((rng.uniform(0, 1, (M, 2)) * room for _ in range(STARTS)), key=lambda at: _least_distance(at + half))
    way = starts + step * np.arange(frames)[:, None, None]
    return half + np.abs((way + room) % (2 * room) - room)  # there and back again


def _least_distance(points: np.ndarray) -> float:
    """Return the distance of the two nearest of several points (M, 2)."""
    distances = np.hypot(*(points[:, None] - points).transpose(2, 0, 1))  # (M, M)
    return distances[np.triu_indices(len(points), 1)].min(initial=np.inf)


def _coverage(name: str, centres: np.ndarray, radius: float, size: tuple[int, int]) -> np.ndarray:
    """Return how much of each pixel an object covers, from 0 to 1, (T, H, W)."""
    rows, columns = (np.arange(n) + 0.5 - centres[:, axis, None] for axis, n in enumerate(size))  # (T, H), (T, W)
    down, across = rows[:, :, None], np.abs(columns)[:, None, :]
    tall, wide = HALF_SIDES[OBJECTS.index(name)] * radius
    if name == "disc":
        inside = radius - np.hypot(down, across)
    elif name == "square":
        inside = wide - np.maximum(np.abs(down), across)
    else:  # its tip is above, its base below
        slope = wide / (2 * tall)
        inside = np.minimum(tall - down, (slope * (down + tall) - across) / np.hypot(1, slope))
    return np.clip(inside + 0.5, 0, 1)  # pixels inside the outline


def _bar(frames: int, size: tuple[int, int], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return coverage (T, H, W) and colours (H, W, 3) of a bar that crosses the frame once."""
    axis = int(rng.integers(2))
    n = size[axis]
    width = n * rng.uniform(0.3, 0.4)
    start, end = CLEAR_FRAMES, max(frames * rng.uniform(0.8, 1.0), CLEAR_FRAMES + 1)
    middle = (n + width) * (np.arange(frames) - start) / (end - start) - width / 2
    middle = middle if rng.random() < 0.5 else n - middle
    along = np.clip(width / 2 - np.abs(np.arange(n) + 0.5 - middle[:, None]) + 0.5, 0, 1)  # (T, n)
    coverage = along[:, :, None] if axis == 0 else along[:, None, :]
    stripes = np.sin(np.add.outer(np.arange(size[0]), np.arange(size[1])) * rng.uniform(0.7, 1.1))
    grey = 0.55 + 0.12 * np.repeat(stripes[..., None], 3, axis=2)
    return np.broadcast_to(coverage, (frames, *size)), grey


def _visible_shares(layers: list[np.ndarray]) -> np.ndarray:
    """Return the share of every layer that those after it leave to see, (T, layers)."""
    free, shares = 1.0, []
    for coverage in reversed(layers):
        shares.append((coverage * free).sum(axis=(1, 2)) / np.maximum(coverage.sum(axis=(1, 2)), 1e-9))
        free = free * (1 - coverage)
    return np.stack(shares[::-1], axis=1)


def _dropped_frames(frames: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return which frames are dropped, (T,)."""
    lost = np.zeros(frames, dtype=bool)
    count = max(min(int(share * frames + rng.random()), frames - CLEAR_FRAMES), 0)
    while lost.sum() < count:
        length = min(int(rng.integers(1, LONGEST_DROP + 1)), count - int(lost.sum()))
        first = int(rng.integers(CLEAR_FRAMES, frames - length + 1))
        lost[first : first + length] = True
    return lost


def _nothing(count: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return frames of noise or of grey, (count, H, W, 3)."""
    contrast = rng.integers(2, size=(count, 1, 1, 1))
    return 0.5 + contrast * rng.uniform(-0.5, 0.5, (count, *size, 3))


def _bright_color(rng: np.random.Generator) -> np.ndarray:
    """Return a colour that is never grey, (3,)."""
    color = np.zeros(3)
    color[rng.permutation(3)] = 1.0, rng.uniform(0.2, 1.0), rng.uniform(0.0, 0.4)
    return color


def _drifting_texture(frames: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return a dark background of waves, each with its own speed, (T, H, W, 3)."""
    rows, columns = np.arange(size[0])[:, None] / size[0], np.arange(size[1]) / size[1]
    waves = np.zeros((frames, *size))
    for _ in range(5):
        p, q = rng.integers(-4, 5, 2)
        phases = rng.uniform(0, 2 * np.pi) + rng.uniform(-0.5, 0.5) * np.arange(frames)[:, None, None]
        waves += np.cos(2 * np.pi * (p * rows + q * columns) + phases)
    return 0.2 + 0.05 * waves[..., None] * rng.uniform(0.3, 1.0, 3)
