"""Pseudo-labels: boxes of what moves in front of a still camera, found by subtracting the background.

The background is the per-pixel median over the clip. Where a frame differs from it something moves, or has moved
away; small gaps are closed, and every connected region of some size gets a box. Nobody has looked at these boxes: two
people who touch are one region, who stands still for half of the clip is background, a shadow is a region as well.
"""

import os
from pathlib import Path

import numpy as np

from minivid.detection.annotations import ClipAnnotation, write_coco
from minivid.detection.average_precision import Truth

__all__ = ["moving_regions", "write_moving_regions"]

CLASS_NAMES = ["moving"]


def moving_regions(clip: np.ndarray, threshold: int = 30, closing: int = 4, least_area: float = 0.01) -> list[Truth]:
    """Find boxes around what moves.

    Parameters
    ----------
    clip : (T, H, W, C) uint8 array
        Of a camera that stands still, as many frames as there are.
    threshold : int
        Difference from the median, in the channel where it is largest, from which a pixel moves, 1 to 255.
    closing : int
        In pixels: gaps up to twice this size are closed.
    least_area : float
        Least part of the frame that a region's pixels make up.

    Returns
    -------
    list of Truth
        One for each frame; boxes in pixels, all of class 0.

    Raises
    ------
    ValueError
        For a clip of another shape or dtype, and impossible numbers.

    Examples
    --------
    >>> clip = np.zeros((5, 32, 32, 1), np.uint8)
    >>> for t in range(5):
    ...     clip[t, 4:12, 6 * t : 6 * t + 6] = 200
    >>> moving_regions(clip, closing=0)[2].boxes.tolist()
    [[12.0, 4.0, 18.0, 12.0]]
    """
    if clip.ndim != 4 or clip.dtype != np.uint8 or 0 in clip.shape:
        raise ValueError(f"a clip is uint8 (T, H, W, C) and not empty, got {clip.dtype} {clip.shape}")
    if not 1 <= threshold <= 255 or closing < 0 or not 0 <= least_area <= 1:
        raise ValueError(
            "threshold goes from 1 to 255, closing from 0, least_area from 0 to 1, "
            f"got {threshold}, {closing}, {least_area}"
        )
    background = np.median(clip, axis=0)  # (H, W, C)
    return [
        _truth(_closed(np.abs(frame - background).max(axis=-1) >= threshold, closing), least_area) for frame in clip
    ]


def write_moving_regions(source: str | os.PathLike, directory: str | os.PathLike, **options) -> Path:
    """Annotate clips with the boxes of what moves: a folder for `read_annotations`, unless it is there already.

    Parameters
    ----------
    source : path
        A folder of clips, or of folders of clips; it stays as it is.
    directory : path
        Where to: gets a link to every clip (a copy where the system has no links) and, beside it, COCO JSON.
    **options
        Of `moving_regions`.

    Returns
    -------
    Path
        ``directory``.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    FileExistsError
        If ``directory`` holds something else, or the regions of other options.
    ValueError
        If there is no clip, or two have the same name.

    Examples
    --------
    >>> import tempfile
    >>> from minivid.detection import read_annotations
    >>> from minivid.video import write_moving_shapes
    >>> place = Path(tempfile.mkdtemp())
    >>> shapes = write_moving_shapes(place / "shapes", clips_per_class=1, frames=5)
    >>> class_names, annotations = read_annotations(write_moving_regions(shapes, place / "regions"))
    >>> class_names, len(annotations)
    (['moving'], 6)
    """
    from minivid.progress import track
    from minivid.video import read_clip  # not above: minivid.video imports minivid.detection
    from minivid.video.data_sets import draw_once
    from minivid.video.folders import find_unsorted, is_video

    source = Path(source)
    _, paths, _ = find_unsorted(source, is_video, "video files")
    stems = [path.stem for path in paths]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(f"{source} holds several clips named {twice[0]}; their annotations need different names")

    def draw(folder: Path) -> None:
        for path in track(paths, "Looking for what moves"):
            clip = read_clip(path, None)
            truths = moving_regions(clip, **options)
            seen = [np.ones(len(truth.boxes), np.float32) for truth in truths]
            annotation = ClipAnnotation(Path(path.name), clip.shape[1:3], truths, None, seen)
            write_coco(folder / f"{path.stem}.json", annotation, CLASS_NAMES)
            _link(path, folder / path.name)

    return draw_once(directory, {"what": "moving regions", "source": str(source.resolve()), **options}, draw)


def _link(path: Path, target: Path) -> None:
    try:
        target.symlink_to(path.resolve())
    except OSError:  # Windows, without the right to make links
        import shutil

        shutil.copyfile(path, target)


def _truth(mask: np.ndarray, least_area: float) -> Truth:
    """Return a box for each connected region of a mask (H, W) that is large enough, the largest first."""
    rows, first, end, region = _runs(mask)
    R = region.max(initial=-1) + 1
    boxes, areas = np.zeros((R, 4), np.float32), np.zeros(R)
    boxes[:, :2] = np.inf
    np.minimum.at(boxes, (region[:, None], [0, 1]), np.stack([first, rows], axis=1))
    np.maximum.at(boxes, (region[:, None], [2, 3]), np.stack([end, rows + 1], axis=1))
    np.add.at(areas, region, end - first)
    kept = [k for k in np.argsort(-areas, kind="stable") if areas[k] >= least_area * mask.size]
    return Truth(boxes[kept], np.zeros(len(kept), np.int64), np.zeros(len(kept), bool))


def _runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return row, first column, column behind the last, and number of the region of every run of a mask (H, W).

    Runs of neighbouring rows that share a side or a corner belong to one region: a forest in which every run points to
    an earlier one of its region, or to itself.
    """
    edges = np.diff(np.pad(mask.astype(np.int8), [(0, 0), (1, 1)]), axis=1)  # (H, W + 1)
    (rows, first), (_, end) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    touch = (rows == rows[:, None] + 1) & (first <= end[:, None]) & (first[:, None] <= end)
    parent = list(range(len(rows)))

    def root(k: int) -> int:
        while parent[k] != k:
            k = parent[k]
        return k

    for upper, lower in np.argwhere(touch):
        low, high = sorted((root(upper), root(lower)))
        parent[high] = low
    roots = np.array([root(k) for k in range(len(rows))], dtype=np.int64)
    return rows, first, end, np.unique(roots, return_inverse=True)[1]


def _closed(mask: np.ndarray, reach: int) -> np.ndarray:
    """Dilate and then erode a mask (H, W) with a square of 2·reach + 1 pixels; the frame's edge does not count."""
    wide = np.pad(mask, reach)
    return ~_dilated(~_dilated(wide, reach), reach)[reach : reach + mask.shape[0], reach : reach + mask.shape[1]]


def _dilated(mask: np.ndarray, reach: int) -> np.ndarray:
    """Return where some pixel of the square around it is set, (H, W): along the rows, then along the columns."""
    for axis in (0, 1):
        padded = np.pad(mask, [(reach, reach) if axis == a else (0, 0) for a in (0, 1)])
        mask = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis).any(axis=-1)
    return mask
