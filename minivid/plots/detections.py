"""Detections: boxes drawn into clips, precision over recall, and overlap over time."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from minivid.detection import (
    ClipAnnotation,
    Detections,
    Truth,
    average_precision,
    match,
    pairwise_iou,
    precision_recall,
)
from minivid.detection.boxes import shares_inside
from minivid.plots.clips import font_for
from minivid.plots.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    LINES,
    ORANGE,
    PALE,
    RED,
    as_pictures,
    bare,
    literal,
    new_figure,
    save,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_boxes", "iou_over_time", "precision_recall_curves"]

COLORS = {"found": GREEN, "missed": RED, "false": ORANGE, "ignored": GREY, "detected": BLUE}
SMALLEST_WIDTH = 320  # of an enlarged clip
MARGIN, STRIP, TEXT = 20, 28, 12  # pixels: around the frames, height of the legend, height of letters
MOST_PANELS = 8
HIDDEN = 0.3  # visibility below which an object counts as hidden


class _Mark(NamedTuple):
    """A box to draw, in pixels of the enlarged clip."""

    box: tuple[float, float, float, float]
    text: str
    kind: str


# --- boxes in clips -----------------------------------------------------------------------------------------------


def draw_boxes(
    frames: np.ndarray,
    detections: Sequence[Detections],
    class_names: Sequence[str],
    truths: Sequence[Truth] | None = None,
    iou_threshold: float = 0.5,
    scale: int | None = None,
) -> np.ndarray:
    """Enlarge a clip and draw what a detector found, and what it missed.

    Parameters
    ----------
    frames : (T, H, W, 3) or (T, H, W, 1) array
        The clip: uint8, or floats from 0 to 1.
    detections : list of Detections
        One for each frame; labelled with class and score.
    class_names : list of str
        K names.
    truths : list of Truth, optional
        One for each frame. Then found objects are green, with their true box in thin white; missed ones red and
        dashed; false detections orange; those inside ignored regions grey. Without, detections are blue.
    iou_threshold : float
        Least overlap of a detection with an object of its class, above 0 and at most 1.
    scale : int, optional
        Each pixel becomes scale x scale pixels, without smoothing. By default what makes the frames at least 320
        pixels wide.

    Returns
    -------
    clip : (T, height, width, 3) uint8 array
        The frames with a margin for the labels, and a legend with the counts below. Height and width are even, as MP4
        wants them.

    Raises
    ------
    ValueError
        For frames of another shape or range, lists of another length, unknown classes, or a scale below 1.

    Examples
    --------
    >>> frames = np.zeros((2, 32, 48, 3), np.uint8)
    >>> found = Detections([[4, 4, 14, 14]], [0.9], [0])
    >>> draw_boxes(frames, [found, found], ["disc"], scale=4).shape
    (2, 196, 232, 3)
    """
    pictures = (as_pictures(frames) * 255).round().astype(np.uint8)  # (T, H, W, 3)
    scale = math.ceil(SMALLEST_WIDTH / pictures.shape[2]) if scale is None else scale
    if not hasattr(scale, "__index__") or scale < 1:
        raise ValueError(f"scale must be a positive int, got {scale!r}")
    _check_lengths(len(pictures), class_names, detections, truths)
    clip = []
    for t, picture in enumerate(pictures):
        marks, true_boxes = _marks(detections[t], truths[t] if truths else None, class_names, iou_threshold, scale)
        clip.append(_draw_frame(picture, scale, marks, true_boxes, f"{t + 1} / {len(pictures)}", truths is not None))
    clip = np.stack(clip)
    return np.pad(clip, [(0, 0), (0, clip.shape[1] % 2), (0, clip.shape[2] % 2), (0, 0)], mode="edge")


def _check_lengths(T: int, class_names, detections, truths=None) -> None:
    for name, entries in {"detections": detections, "truths": truths}.items():
        if entries is None:
            continue
        if len(entries) != T:
            raise ValueError(f"there are {T} frames, but {len(entries)} {name}: one entry per frame")
        highest = max((int(np.max(entry.classes, initial=0)) for entry in entries), default=0)
        if highest >= len(class_names):
            raise ValueError(f"{name} have class {highest}, but there are {len(class_names)} class names")


def _marks(found: Detections, truth: Truth | None, class_names, iou_threshold: float, scale: int):
    """Return what to draw: the marks, and the true boxes of found objects."""
    if truth is None:
        return _as_marks(found, ["detected"] * len(found.boxes), class_names, scale), []
    matched, ignored = _outcome(found, truth, iou_threshold)
    kinds = np.where(matched >= 0, "found", np.where(ignored, "ignored", "false")).tolist()
    boxes = MARGIN + scale * np.asarray(truth.boxes, dtype=float).reshape(-1, 4)
    counted = np.ones(len(boxes), bool) if truth.ignored is None else ~np.asarray(truth.ignored)
    missed = [m for m in np.flatnonzero(counted) if m not in matched]
    marks = [_Mark(tuple(boxes[m]), str(class_names[truth.classes[m]]), "missed") for m in missed]
    return marks + _as_marks(found, kinds, class_names, scale), [tuple(boxes[m]) for m in matched[matched >= 0]]


def _as_marks(found: Detections, kinds: Sequence[str], class_names, scale: int) -> list[_Mark]:
    boxes = MARGIN + scale * np.asarray(found.boxes, dtype=float).reshape(-1, 4)
    texts = [f"{class_names[k]} {score:.2f}" for k, score in zip(found.classes, found.scores, strict=True)]
    return [_Mark(tuple(box), text, kind) for box, text, kind in zip(boxes, texts, kinds, strict=True)]


def _outcome(found: Detections, truth: Truth, iou_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which object each detection has found, or -1, and which others lie inside ignored regions, (M,) each."""
    found = Detections(*map(np.asarray, found))
    ignored = np.zeros(len(truth.boxes), bool) if truth.ignored is None else np.asarray(truth.ignored)
    matched, excused = np.full(len(found.boxes), -1), np.zeros(len(found.boxes), bool)
    for k in np.unique(found.classes):
        mine = np.flatnonzero(found.classes == k)
        objects, regions = (
            np.flatnonzero((np.asarray(truth.classes) == k) & (ignored == flag)) for flag in (False, True)
        )
        boxes, others = found.boxes[mine], np.asarray(truth.boxes)
        own = match(boxes, found.scores[mine], others[objects], iou_threshold)
        matched[mine] = np.where(own >= 0, np.append(objects, -1)[own], -1)
        excused[mine] = shares_inside(boxes, others[regions]).max(axis=1, initial=0) >= iou_threshold
    return matched, excused & (matched < 0)


def _draw_frame(picture: np.ndarray, scale: int, marks: list[_Mark], true_boxes, number: str, judged: bool):
    """Return one enlarged frame with boxes, labels and legend, (height, width, 3)."""
    from PIL import Image, ImageDraw

    large = Image.fromarray(picture.repeat(scale, axis=0).repeat(scale, axis=1))
    width, height = large.width + 2 * MARGIN, large.height + 2 * MARGIN
    canvas = Image.new("RGB", (width, height + STRIP), INK)
    canvas.paste(large, (MARGIN, MARGIN))
    draw = ImageDraw.Draw(canvas)
    for box in true_boxes:
        draw.rectangle([round(side) for side in box], outline="white")
    for mark in marks:
        _draw_outline(draw, mark)
    placed = []
    for mark in sorted(marks, key=lambda mark: mark.box[1]):
        placed.append(_draw_label(draw, mark, [m.box for m in marks if m is not mark] + placed, (width, height)))
    kinds = ("found", "missed", "false") if judged else ("detected",)
    _draw_legend(draw, {kind: sum(mark.kind == kind for mark in marks) for kind in kinds}, number, (width, height))
    return np.asarray(canvas)


def _draw_outline(draw, mark: _Mark) -> None:
    """Draw a box, dashed if it was missed, on a dark outline that keeps it apart from any picture."""
    x1, y1, x2, y2 = (round(side) for side in mark.box)
    draw.rectangle((x1 - 2, y1 - 2, x2 + 2, y2 + 2), outline=INK, width=5)
    if mark.kind != "missed":
        draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=COLORS[mark.kind], width=3)
        return
    dash, period = 7, 12
    for x in range(x1, x2, period):
        for y in (y1, y2):
            draw.line((x, y, min(x + dash, x2), y), fill=RED, width=3)
    for y in range(y1, y2, period):
        for x in (x1, x2):
            draw.line((x, y, x, min(y + dash, y2)), fill=RED, width=3)


def _draw_label(draw, mark: _Mark, others: list, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Write a label beside its box, where it hides least of the other boxes and labels; return its own box."""
    font = font_for(mark.text, TEXT)
    w, h = draw.textlength(mark.text, font=font) + 8, TEXT + 5
    x1, y1, x2, y2 = mark.box
    corners = [(x1 - 1, y1 - h - 1), (x1 - 1, y2 + 2), (x2 - w + 2, y1 - h - 1), (x2 - w + 2, y2 + 2), (x2 + 3, y1 - 1)]
    corners += [(x1 - w - 2, y1 - 1), (x1 + 2, y1 + 2)]  # left of it; as a last resort, inside
    inside = [(min(max(x, 0), size[0] - w), min(max(y, 0), size[1] - h)) for x, y in corners]
    hidden = [_shared((x, y, x + w, y + h), [mark.box, *others]) for x, y in inside]
    x, y = inside[int(np.argmin(hidden))]
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=COLORS[mark.kind])
    draw.text((x + 4, y + h / 2), mark.text, font=font, fill="white", anchor="lm")
    return x, y, x + w, y + h


def _shared(box: tuple[float, float, float, float], others: list) -> float:
    """Return how many pixels a box shares with others."""
    x1, y1, x2, y2 = np.array(others).T
    wide = np.minimum(x2, box[2]) - np.maximum(x1, box[0])
    high = np.minimum(y2, box[3]) - np.maximum(y1, box[1])
    return float((wide.clip(0) * high.clip(0)).sum())


def _draw_legend(draw, counts: dict[str, int], number: str, size: tuple[int, int]) -> None:
    """Write below the frame what the colours mean, how many boxes have them, and the number of the frame."""
    width, top = size
    middle, x = top + STRIP / 2 - 3, MARGIN
    font = font_for(number, TEXT)
    for kind, count in counts.items():
        draw.rectangle((x, middle - 5, x + 10, middle + 5), fill=COLORS[kind] if count else None, outline=COLORS[kind])
        text = f"{count} {kind}"
        draw.text((x + 17, middle), text, font=font, fill="white" if count else FAINT, anchor="lm")
        x += 17 + draw.textlength(text, font=font) + 16
    draw.text((width - MARGIN, middle), number, font=font, fill=FAINT, anchor="rm")


# --- precision over recall ----------------------------------------------------------------------------------------


def precision_recall_curves(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    class_names: Sequence[str],
    path: str | os.PathLike,
    iou_threshold: float = 0.5,
) -> Path:
    """Draw precision over recall, a line for each class, with its average precision.

    Parameters
    ----------
    detections, truths : list of Detections, list of Truth
        One each for every frame, as for `minivid.detection.average_precision`.
    class_names : list of str
        K names.
    path : path
        Of the PNG file.
    iou_threshold : float
        Least overlap of a hit, above 0 and at most 1.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        As `minivid.detection.average_precision`, and if no class has objects.

    Notes
    -----
    The thick line is the precision that average precision takes the mean of, equation (ap.6); the thin one is that of
    every single detection. Grey lines join points of equal F1, the harmonic mean of both.

    Examples
    --------
    >>> import tempfile
    >>> found = Detections([[0, 0, 10, 10], [20, 0, 30, 10]], [0.9, 0.8], [0, 0])
    >>> truth = Truth([[0, 0, 10, 10], [40, 0, 50, 10]], [0, 0])
    >>> precision_recall_curves([found], [truth], ["disc"], tempfile.mkdtemp() + "/curves.png").name
    'curves.png'
    """
    return save(_precision_recall_figure(detections, truths, class_names, iou_threshold), path)


@styled
def _precision_recall_figure(detections, truths, class_names, iou_threshold) -> "Figure":
    ap = average_precision(detections, truths, len(class_names), iou_threshold)  # (K,)
    known = np.flatnonzero(~np.isnan(ap))
    if not len(known):
        raise ValueError("no class has objects, so there is no recall to draw")
    figure = new_figure(5.6, 4.2)
    axes = figure.subplots()
    _draw_equal_f1(axes)
    for place, k in enumerate(known[np.argsort(-ap[known], kind="stable")]):
        precision, recall, _ = precision_recall(detections, truths, int(k), iou_threshold)
        color, dashes = LINES[place % len(LINES)], ("-", "--", ":")[place // len(LINES) % 3]
        best = np.maximum.accumulate(precision[::-1])[::-1]
        label = f"{literal(str(class_names[k]))}  {ap[k]:.3f}"
        axes.plot(recall, precision, color=color, linewidth=0.8, alpha=0.45)
        axes.step(
            np.append(0, recall), np.append(best.max(initial=0), best), dashes, color=color, label=label, clip_on=False
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision", aspect="equal")
    axes.set_title(f"mAP@{iou_threshold:g} = {np.nanmean(ap):.3f}")
    axes.legend(
        title="average precision", loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, alignment="left"
    )
    return figure


def _draw_equal_f1(axes: "Axes") -> None:
    for f1 in (0.2, 0.4, 0.6, 0.8):
        lowest = f1 / (2 - f1)  # recall at precision 1, and the other way round
        recall = np.linspace(lowest, 1, 200)
        axes.plot(recall, f1 * recall / (2 * recall - f1), color=PALE, linewidth=1, zorder=0)  # F1 = 2 P R / (P + R)
        axes.text(1.015, lowest, f"F1 {f1}", color=FAINT, fontsize=7.5, va="center")


# --- overlap over time --------------------------------------------------------------------------------------------


def iou_over_time(
    detections: Mapping[str, Sequence[Detections]],
    annotation: ClipAnnotation,
    class_names: Sequence[str],
    path: str | os.PathLike,
    frames: np.ndarray | None = None,
    iou_threshold: float = 0.5,
) -> Path:
    """Draw how well each object of a clip is found in every frame, with frames in which it is hidden shaded.

    Parameters
    ----------
    detections : dict of str to list of Detections
        For every detector to compare, its name and what it found in each frame.
    annotation : ClipAnnotation
        With tracks of up to eight objects, there is a panel for each; otherwise one for the mean over the objects of
        each frame.
    class_names : list of str
        K names.
    path : path
        Of the PNG file.
    frames : (T, H, W, 3) or (T, H, W, 1) array, optional
        The clip, drawn above.
    iou_threshold : float
        Where a dashed line is drawn.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        For lists or frames of another length, unknown classes, or a clip without objects.

    Notes
    -----
    Drawn is the largest overlap of an object with a detection of its class. Hidden means a visibility below 0.3.

    Examples
    --------
    >>> import tempfile
    >>> from minivid.video import moving_objects
    >>> _, (annotation,) = moving_objects(clips=1, frames=6, size=(32, 32), seed=0)
    >>> perfect = [Detections(truth.boxes, np.ones(len(truth.boxes)), truth.classes) for truth in annotation.frames]
    >>> path = tempfile.mkdtemp() + "/iou.png"
    >>> iou_over_time({"perfect": perfect}, annotation, ["disc", "square", "triangle"], path).name
    'iou.png'
    """
    return save(_iou_over_time_figure(detections, annotation, class_names, frames, iou_threshold), path)


@styled
def _iou_over_time_figure(detections, annotation, class_names, frames, iou_threshold) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    T = len(annotation.frames)
    for found in detections.values():
        _check_lengths(T, class_names, found, annotation.frames)
    if frames is not None and len(frames) != T:
        raise ValueError(f"the annotation has {T} frames, but the clip has {len(frames)}")
    rows = _rows(annotation, class_names)
    overlaps = {name: _overlaps(found, annotation) for name, found in detections.items()}
    width = max(6.0, 0.5 * T + 1.0)
    heights = ([] if frames is None else [0.85 * width / T]) + [1.1] * len(rows)
    figure = new_figure(width, sum(heights) + 0.35 * len(heights) + 0.5)
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    if frames is not None:
        _draw_thumbnails(panels[0], as_pictures(frames))
    for axes, (title, members) in zip(panels[-len(rows) :], rows.items(), strict=True):
        _shade_hidden(axes, [annotation.visibility[t][members[t]] for t in range(T)])
        for color, (name, values) in zip(LINES, overlaps.items(), strict=False):
            means = [values[t][members[t]].mean() if len(members[t]) else np.nan for t in range(T)]
            axes.plot(range(T), means, "-o", color=color, markersize=3.5, label=literal(name), clip_on=False)
        axes.axhline(iou_threshold, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axes.set(xlim=(-0.5, T - 0.5), ylim=(0, 1), yticks=[0, 0.5, 1], ylabel="IoU")
        axes.set_title(literal(title))
    panels[-1].set_xlabel("frame")
    panels[-1].xaxis.set_major_locator(MaxNLocator(nbins=16, integer=True, min_n_ticks=1))
    _name_lines(panels[-1], figure)
    return figure


def _rows(annotation: ClipAnnotation, class_names) -> dict[str, list[np.ndarray]]:
    """Return the title of every panel, and which boxes of each frame belong to it."""
    tracks = annotation.tracks or []
    ids = np.unique(np.concatenate([np.zeros(0, int), *tracks]))
    if 0 < len(ids) <= MOST_PANELS:
        rows = {}
        for number in ids.tolist():
            members = [np.flatnonzero(present == number) for present in tracks]
            t = next(t for t, found in enumerate(members) if len(found))
            rows[f"{class_names[annotation.frames[t].classes[members[t][0]]]}, object {number}"] = members
        return rows
    if not any(len(truth.boxes) for truth in annotation.frames):
        raise ValueError(f"{annotation.path} has no objects, so there is no overlap to draw")
    return {"mean of all objects": [np.arange(len(truth.boxes)) for truth in annotation.frames]}


def _overlaps(detections: Sequence[Detections], annotation: ClipAnnotation) -> list[np.ndarray]:
    """Return the largest IoU of every object with a detection of its class, (M,) for each frame."""
    best = []
    for found, truth in zip(detections, annotation.frames, strict=True):
        same = np.asarray(truth.classes)[:, None] == np.asarray(found.classes)
        best.append((pairwise_iou(truth.boxes, found.boxes) * same).max(axis=1, initial=0))
    return best


def _shade_hidden(axes: "Axes", visibility: list[np.ndarray]) -> None:
    """Shade the frames in which an object is hidden."""
    for t, seen in enumerate(visibility):
        if len(seen) and seen.min() < HIDDEN:
            axes.axvspan(t - 0.5, t + 0.5, color=PALE, linewidth=0, zorder=0)


def _draw_thumbnails(axes: "Axes", pictures: np.ndarray) -> None:
    """Draw the frames side by side, each above its place in the panels below."""
    T, H, W, _ = pictures.shape
    half = 0.46  # of the distance of two frames
    for t, picture in enumerate(pictures):
        axes.imshow(picture, extent=(t - half, t + half, 0, 2 * half * H / W), interpolation="nearest")
    axes.set(xlim=(-0.5, T - 0.5), ylim=(0, 2 * half * H / W), aspect="equal")
    bare(axes)
    axes.tick_params(labelbottom=False)


def _name_lines(axes: "Axes", figure: "Figure") -> None:
    """Write a legend below all panels: a line for each detector, and what the shading means."""
    from matplotlib.patches import Patch

    handles, labels = axes.get_legend_handles_labels()
    handles, labels = [*handles, Patch(color=PALE)], [*labels, f"hidden (visibility below {HIDDEN:g})"]
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
