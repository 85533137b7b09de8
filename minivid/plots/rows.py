"""Predicted frames beside the true ones: a row per clip as a picture, or the clips side by side to watch."""

import functools
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.clips import fitted, font_for
from minivid.plots.style import BLUE, DPI, GREY, INK, ORANGE, as_pictures, literal, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = ["prediction_clip", "prediction_rows"]

ERROR = "error"  # the row that is drawn in colours: black where it is 0, over orange to almost white where it is 1
MOST_FRAMES = 20  # of a row; smaller ones say nothing
GAP, PAUSE = 4, 12  # pixels between frames, and what is added between seen and predicted ones
MARGIN, HEADING, STATUS = 8, 22, 30  # pixels of a movie: around clips, above them, below them


def prediction_rows(
    rows: Mapping[str, np.ndarray], path: str | os.PathLike, seen: int = 0, title: str | None = None
) -> Path:
    """Draw clips as rows of frames, time from left to right.

    Parameters
    ----------
    rows : dict of str to (T, H, W, 3) or (T, H, W, 1) array
        The clips from top to bottom with their names: uint8, or floats from 0 to 1. A clip may be shorter than the
        longest; it then holds the last frames. A row named "error" is drawn in colours, black for 0.
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
    """Draw on a figure of the frames' size alone: names, steps and title stand outside, and `save` includes them."""
    from matplotlib.figure import Figure

    clips, T = _checked_rows(rows, seen)
    every = math.ceil(T / MOST_FRAMES)
    shown = np.arange(T - 1 - (T - 1) // every * every, T, every)  # with the last one
    H, W = next(iter(clips.values())).shape[1:3]
    width = _frame_width(W, len(shown))
    height = max(round(width * H / W), 1)
    lefts = np.arange(len(shown)) * (width + GAP) + PAUSE * (shown >= seen) * (seen > 0)
    whole = lefts[-1] + width, len(clips) * (height + GAP) - GAP  # pixels
    figure = Figure(figsize=(whole[0] / DPI, whole[1] / DPI), dpi=DPI)
    for n, (name, clip) in enumerate(clips.items()):
        bottom = (len(clips) - 1 - n) * (height + GAP) / whole[1]
        axes = figure.add_axes((0, bottom, 1, height / whole[1]), xlim=(0, whole[0]), ylim=(0, height))
        _draw_row(axes, clip, shown - (T - len(clip)), lefts, (width, height))
        axes.set_ylabel(literal(name), rotation=0, ha="right", va="center")
        if name == ERROR:
            _draw_scale(axes)
    _write_steps(figure.axes[-1], shown, seen, lefts + width / 2)
    if title:
        figure.axes[0].set_title(literal(title), pad=8)
    return figure


def _frame_width(W: int, frames: int) -> int:
    """Return how many pixels wide to draw a frame: a whole number of times its own width, if there is room."""
    room = min(112, 1440 // frames)
    return room // W * W or room


def _draw_row(axes: "Axes", clip: np.ndarray, which: np.ndarray, lefts: np.ndarray, size: tuple[int, int]) -> None:
    """Draw some frames, each of a size in pixels; below 0 there is none."""
    width, height = size
    interpolation = "nearest" if clip.shape[2] <= width else "antialiased"
    for t, left in zip(which, lefts, strict=True):
        if t >= 0:
            extent = (left, left + width, 0, height)
            axes.imshow(clip[t], extent=extent, aspect="auto", interpolation=interpolation)
    axes.set(xlim=(0, lefts[-1] + width), ylim=(0, height), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_scale(axes: "Axes") -> None:
    """Draw the colours of errors on the right of a row."""
    from matplotlib.cm import ScalarMappable

    right, height = axes.get_xlim()[1], axes.get_ylim()[1]
    inset = axes.inset_axes((right + 8, 0, 8, height), transform=axes.transData)
    bar = axes.figure.colorbar(ScalarMappable(cmap=_error_colors()), cax=inset, ticks=[0, 1])
    bar.outline.set_visible(False)
    inset.tick_params(length=0, pad=3)
    lowest, highest = inset.set_yticklabels(["0", "1"])
    lowest.set_verticalalignment("bottom")
    highest.set_verticalalignment("top")


def _write_steps(axes: "Axes", shown: np.ndarray, seen: int, middles: np.ndarray) -> None:
    """Number the frames: seen ones from 1 on, predicted ones from +1 on."""
    axes.set_xticks(middles, [str(t + 1) if t < seen or not seen else f"+{t - seen + 1}" for t in shown])
    axes.tick_params(bottom=False)
    for label, t in zip(axes.get_xticklabels(), shown, strict=True):
        label.set_color(ORANGE if seen and t >= seen else GREY)
    if seen:
        below = {"xytext": (0, -20), "textcoords": "offset points", "ha": "center", "va": "top"}
        for which, text, color in ((shown < seen, "seen", GREY), (shown >= seen, "predicted", ORANGE)):
            if which.any():
                axes.annotate(text, (middles[which].mean(), 0), color=color, annotation_clip=False, **below)


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
    height, width = HEADING + H * scale + STATUS, MARGIN + len(clips) * (W * scale + MARGIN)
    movie = np.empty((T, height + height % 2, width + width % 2, 3), np.uint8)
    movie[:] = _headings(list(clips), (H * scale, W * scale), movie.shape[1:3])
    for n, clip in enumerate(clips.values()):
        large = np.round(clip * 255).astype(np.uint8).repeat(scale, axis=1).repeat(scale, axis=2)
        left = MARGIN + n * (W * scale + MARGIN)
        movie[T - len(clip) :, HEADING : HEADING + H * scale, left : left + W * scale] = large
    for t in range(T):
        _write_status(movie[t, HEADING + H * scale + MARGIN :], t, T, seen)
    return movie


def _headings(names: list[str], panel: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Draw an empty movie frame: the names of the clips, and a grey panel for each, (height, width, 3)."""
    from PIL import Image, ImageDraw

    height, width = panel
    picture = Image.new("RGB", size[::-1], INK)
    draw = ImageDraw.Draw(picture)
    for n, name in enumerate(names):
        left = MARGIN + n * (width + MARGIN)
        _write(draw, (left, HEADING / 2), name, width, "white")
        draw.rectangle((left, HEADING, left + width - 1, HEADING + height - 1), fill="#2a3642")
    return np.asarray(picture)


def _write_status(strip: np.ndarray, t: int, T: int, seen: int) -> None:
    """Draw a line that grows with time, blue for seen frames and orange for predicted ones, and say which this is."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(strip)
    draw = ImageDraw.Draw(picture)
    length = picture.width - 2 * MARGIN
    edge, now = (MARGIN + round(length * steps / T) for steps in (min(seen or T, t + 1), t + 1))
    draw.rectangle((MARGIN, 0, max(edge - 1, MARGIN), 2), fill=BLUE)
    if now > edge:
        draw.rectangle((edge, 0, now - 1, 2), fill=ORANGE)
    state = "" if not seen else ", seen" if t < seen else f", predicted +{t - seen + 1}"
    _write(draw, (MARGIN, 12), f"{t + 1} of {T}{state}", length, "#f0a26b" if 0 < seen <= t else "white")
    strip[:] = np.asarray(picture)


def _write(draw, at: tuple[float, float], text: str, width: float, color: str) -> None:
    """Write a line of text from its left middle on, or as much of it as fits."""
    font = font_for(text, 12)
    draw.text(
        at, fitted(text, width, functools.partial(draw.textlength, font=font)), font=font, fill=color, anchor="lm"
    )


def _error_colors() -> "Colormap":
    """0 to 1: black, orange, almost white; no error is no light, beside frames that are mostly dark."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("errors", ["#000000", "#7a3206", ORANGE, "#f5b57f", "#fff6ee"])


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
        clips[ERROR] = _error_colors()(clips[ERROR].mean(axis=-1))[..., :3]
    return clips, T
