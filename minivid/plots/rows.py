"""Predicted frames beside the true ones: a row per clip as a picture, or the clips side by side to watch."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.clips import font_for
from minivid.plots.style import BLUE, GREY, INK, ORANGE, as_pictures, blue_colors, literal, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["prediction_clip", "prediction_rows"]

ERROR = "error"  # the row that is drawn in colours: white where it is 0, dark blue where it is 1
MOST_FRAMES = 20  # of a row; smaller ones say nothing
GAP = 0.06  # between frames, as part of their width


def prediction_rows(
    rows: Mapping[str, np.ndarray], path: str | os.PathLike, seen: int = 0, title: str | None = None
) -> Path:
    """Draw clips as rows of frames, time from left to right.

    Parameters
    ----------
    rows : dict of str to (T, H, W, 3) or (T, H, W, 1) array
        The clips from top to bottom with their names: uint8, or floats from 0 to 1. A clip may be shorter than the
        longest; it then holds the last frames. A row named "error" is drawn in colours, white for 0.
    path : path
        PNG file to write.
    seen : int
        The first frames of the longest clip that the model was given; the others, it predicted.
    title : str, optional
        Line above.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        For no rows, frames of different sizes, or ``seen`` outside 0 to T - 1.

    Examples
    --------
    >>> import os, tempfile
    >>> truth, predicted = np.zeros((6, 16, 16, 1)), np.zeros((3, 16, 16, 1))
    >>> path = os.path.join(tempfile.mkdtemp(), "rows.png")
    >>> prediction_rows({"truth": truth, "prediction": predicted}, path, seen=3).name
    'rows.png'
    """
    return save(_prediction_rows_figure(rows, seen, title), path)


@styled
def _prediction_rows_figure(rows, seen, title) -> "Figure":
    clips, T = _checked_rows(rows, seen)
    every = math.ceil(T / MOST_FRAMES)
    shown = np.arange(T - 1 - (T - 1) // every * every, T, every)  # with the last one
    width = min(0.62 * len(shown), 10.0)
    H, W = next(iter(clips.values())).shape[1:3]
    figure = new_figure(width, len(clips) * width / len(shown) * H / W)
    lefts = np.arange(len(shown)) * (1 + GAP) + 3 * GAP * (shown >= seen) * (seen > 0)
    grid = figure.subplots(len(clips), 1, squeeze=False)[:, 0]
    for axes, (name, clip) in zip(grid, clips.items(), strict=True):
        _draw_row(axes, clip, shown - (T - len(clip)), lefts, H / W)
        axes.set_ylabel(literal(name), rotation=0, ha="right", va="center")
    _write_steps(grid[-1], shown, seen, lefts)
    if title:
        grid[0].set_title(literal(title), pad=8)
    return figure


def _draw_row(axes: "Axes", clip: np.ndarray, which: np.ndarray, lefts: np.ndarray, height: float) -> None:
    """Draw some frames, each one unit wide; below 0 there is none."""
    for t, left in zip(which, lefts, strict=True):
        if t >= 0:
            axes.imshow(clip[t], extent=(left, left + 1, 0, height), interpolation="nearest")
    axes.set(xlim=(lefts[0], lefts[-1] + 1), ylim=(0, height), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _write_steps(axes: "Axes", shown: np.ndarray, seen: int, lefts: np.ndarray) -> None:
    """Number the frames: seen ones from 1 on, predicted ones from +1 on."""
    axes.set_xticks(lefts + 0.5, [str(t + 1) if t < seen or not seen else f"+{t - seen + 1}" for t in shown])
    axes.tick_params(bottom=False)
    for label, t in zip(axes.get_xticklabels(), shown, strict=True):
        label.set_color(ORANGE if seen and t >= seen else GREY)
    if seen:
        for first, text, color in ((shown < seen, "seen", GREY), (shown >= seen, "predicted", ORANGE)):
            if first.any():
                at = (lefts[first][0], 0)
                axes.annotate(text, at, (0, -20), "data", "offset points", color=color, va="top", annotation_clip=False)


def prediction_clip(rows: Mapping[str, np.ndarray], seen: int = 0, scale: int | None = None) -> np.ndarray:
    """Set clips side by side, with their names, for people to watch.

    Parameters
    ----------
    rows : dict of str to (T, H, W, 3) or (T, H, W, 1) array
        As for `prediction_rows`, from left to right.
    seen : int
        The first frames of the longest clip that the model was given. A line below tells seen and predicted frames
        apart.
    scale : int, optional
        Each pixel becomes scale x scale pixels, without smoothing. By default what makes a clip at least 128 pixels
        wide.

    Returns
    -------
    clip : (T, height, width, 3) uint8 array
        For `minivid.video.write_clip`; height and width are even, as MP4 wants them.

    Raises
    ------
    ValueError
        As for `prediction_rows`, and for a scale below 1.

    Examples
    --------
    >>> truth, predicted = np.zeros((6, 16, 16, 1)), np.zeros((3, 16, 16, 1))
    >>> prediction_clip({"truth": truth, "prediction": predicted}, seen=3, scale=4).shape
    (6, 116, 152, 3)
    """
    clips, T = _checked_rows(rows, seen)
    H, W = next(iter(clips.values())).shape[1:3]
    scale = math.ceil(128 / W) if scale is None else scale
    if not hasattr(scale, "__index__") or scale < 1:
        raise ValueError(f"scale must be a positive int, got {scale!r}")
    margin, top, bottom = 8, 22, 22
    height, width = top + H * scale + 8 + bottom, margin + len(clips) * (W * scale + margin)
    movie = np.empty((T, height + height % 2, width + width % 2, 3), np.uint8)
    movie[:] = _headings(list(clips), W * scale, margin, top, movie.shape[1:3])
    for n, clip in enumerate(clips.values()):
        large = np.round(clip * 255).astype(np.uint8).repeat(scale, axis=1).repeat(scale, axis=2)
        left = margin + n * (W * scale + margin)
        movie[T - len(clip) :, top : top + H * scale, left : left + W * scale] = large
    for t in range(T):
        _write_status(movie[t], t, T, seen, top + H * scale + 8, margin)
    return movie


def _headings(names: list[str], width: int, margin: int, top: int, size: tuple[int, int]) -> np.ndarray:
    """Draw an empty movie frame with the names of the clips, (height, width, 3)."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", size[::-1], INK)
    draw = ImageDraw.Draw(picture)
    for n, name in enumerate(names):
        left = margin + n * (width + margin)
        draw.text((left, top / 2), name, font=font_for(name, 12), fill="white", anchor="lm")
        draw.rectangle((left, top, left + width - 1, size[0] - 31), fill="#2a3642")
    return np.asarray(picture)


def _write_status(frame: np.ndarray, t: int, T: int, seen: int, row: int, margin: int) -> None:
    """Draw a line that grows with time, blue for seen frames and orange for predicted ones, and say which this is."""
    from PIL import Image, ImageDraw

    strip = Image.fromarray(frame[row:].copy())
    draw = ImageDraw.Draw(strip)
    end = frame.shape[1] - margin
    edge = margin + round((end - margin) * min(seen, t + 1) / T)
    now = margin + round((end - margin) * (t + 1) / T)
    draw.rectangle((margin, 0, max(edge - 1, margin), 2), fill=BLUE)
    if now > edge:
        draw.rectangle((edge, 0, now - 1, 2), fill=ORANGE)
    text = f"frame {t + 1} of {T}" + ("" if not seen else ", seen" if t < seen else f", predicted +{t - seen + 1}")
    draw.text((margin, 12), text, font=font_for(text, 12), fill="white", anchor="lm")
    frame[row:] = np.asarray(strip)


def _checked_rows(rows: Mapping[str, np.ndarray], seen: int) -> tuple[dict[str, np.ndarray], int]:
    """Return the clips as (T, H, W, 3) floats from 0 to 1, the error in colours, and the length of the longest."""
    clips = {name: as_pictures(clip) for name, clip in rows.items()}
    if not clips:
        raise ValueError("there are no rows to draw")
    sizes = {clip.shape[1:3] for clip in clips.values()}
    if len(sizes) > 1:
        raise ValueError(f"the frames of all rows must have one size, got {sorted(sizes)}")
    T = max(map(len, clips.values()))
    if not 0 <= seen < T:
        raise ValueError(f"seen must be from 0 to {T - 1}, for clips of {T} frames, got {seen!r}")
    if ERROR in clips:
        clips[ERROR] = blue_colors()(clips[ERROR].mean(axis=-1))[..., :3]
    return clips, T
