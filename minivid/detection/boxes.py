"""Boxes: how much they overlap, which of many to keep, and which belongs to which object.

A box is x1, y1, x2, y2 in pixels, x to the right and y down. Pixel column j covers j to j + 1, so that a whole frame
is (0, 0, W, H). docs/detection_metrics.md has the formulas; minivid/ops/iou.py has the overlap row by row, with its
gradient.
"""

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["match", "non_maximum_suppression", "pairwise_iou"]


def pairwise_iou(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Intersection over union of every box with every other, equation (iou.4).

    Parameters
    ----------
    a : (A, 4) array
        Boxes x1, y1, x2, y2.
    b : (B, 4) array
        Others.

    Returns
    -------
    iou : (A, B) array
        From 0, apart, to 1, equal.

    Raises
    ------
    ValueError
        For other shapes, numbers that are not finite, or boxes without area.

    Examples
    --------
    >>> pairwise_iou([[0, 0, 2, 2]], [[1, 0, 3, 2], [0, 0, 2, 2], [5, 5, 6, 6]])
    array([[0.33333333, 1.        , 0.        ]])
    """
    a, b = as_boxes(a, "a"), as_boxes(b, "b")
    shared = _intersections(a, b)  # (A, B)
    return shared / (_areas(a)[:, None] + _areas(b) - shared)  # (iou.3), (iou.4)


def non_maximum_suppression(
    boxes: ArrayLike, scores: ArrayLike, iou_threshold: float = 0.5, classes: ArrayLike | None = None
) -> np.ndarray:
    """Keep the best of boxes that overlap, equation (ap.1).

    Parameters
    ----------
    boxes : (M, 4) array
        Boxes x1, y1, x2, y2.
    scores : (M,) array
        The higher, the better. Of equal scores the first is taken first.
    iou_threshold : float
        Above this overlap with a kept box, a box is dropped. From 0 to 1.
    classes : (M,) array of int, optional
        Boxes of different classes do not drop each other.

    Returns
    -------
    kept : array of int
        Indices of the kept boxes, best score first.

    Raises
    ------
    ValueError
        For boxes or scores that are none, lengths that differ, or a threshold outside 0 to 1.

    Examples
    --------
    >>> boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]]  # the first two: 90 of 110 pixels
    >>> non_maximum_suppression(boxes, [0.8, 0.9, 0.7])
    array([1, 2])
    >>> non_maximum_suppression(boxes, [0.8, 0.9, 0.7], classes=[0, 1, 0])
    array([1, 0, 2])
    """
    boxes, scores = as_boxes(boxes), as_scores(scores, len(boxes))
    check_threshold(iou_threshold, lowest=0)
    rivals = pairwise_iou(boxes, boxes) > iou_threshold  # (M, M)
    if classes is not None:
        classes = as_classes(classes, len(boxes))
        rivals &= classes[:, None] == classes
    kept, dropped = [], np.zeros(len(boxes), dtype=bool)
    for m in best_first(scores):  # (ap.1)
        if not dropped[m]:
            kept.append(m)
            dropped |= rivals[m]
    return np.array(kept, dtype=np.intp)


def match(boxes: ArrayLike, scores: ArrayLike, truth: ArrayLike, iou_threshold: float = 0.5) -> np.ndarray:
    """Give detections to objects, best score first, each object to one detection at most, equation (ap.2).

    Parameters
    ----------
    boxes : (M, 4) array
        Detected boxes x1, y1, x2, y2 of one frame and class.
    scores : (M,) array
        The higher, the earlier a detection chooses. Of equal scores the first comes first.
    truth : (G, 4) array
        Boxes of the objects.
    iou_threshold : float
        Least overlap, above 0 and at most 1.

    Returns
    -------
    matched : (M,) array of int
        Index of the object that each detection has found, or -1.

    Raises
    ------
    ValueError
        For boxes or scores that are none, lengths that differ, or a threshold outside (0, 1].

    Notes
    -----
    A detection takes the object with which it overlaps most among those still free; of equal ones the first.

    Examples
    --------
    >>> truth = [[0, 0, 10, 10], [20, 0, 30, 10]]
    >>> match([[0, 0, 10, 9], [0, 0, 10, 10], [21, 0, 31, 10]], [0.9, 0.8, 0.7], truth)  # the second comes too late
    array([ 0, -1,  1])
    """
    boxes = as_boxes(boxes).astype(np.float64)
    scores = as_scores(scores, len(boxes))
    check_threshold(iou_threshold)
    order = best_first(scores)
    overlap = pairwise_iou(boxes[order], as_boxes(truth, "truth").astype(np.float64))
    matched = np.empty(len(boxes), dtype=np.intp)
    matched[order] = greedy_matches(overlap, np.array([iou_threshold]))[0]
    return matched


def greedy_matches(overlap: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the object of every detection, or -1, for every threshold: (M, G) and (L,) to (L, M).

    The rows of ``overlap`` are detections, best first.
    """
    M, G = overlap.shape
    matched = np.full((len(thresholds), M), -1, dtype=np.intp)
    free = np.ones((len(thresholds), G), dtype=bool)
    for m in range(M if G else 0):  # (ap.2)
        candidates = np.where(free, overlap[m], -1.0)  # (L, G)
        best = candidates.argmax(axis=1)
        good = np.flatnonzero(candidates.max(axis=1) >= thresholds)
        matched[good, m] = best[good]
        free[good, best[good]] = False
    return matched


def shares_inside(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Return which share of each box lies inside each region, equation (ap.3): (M, 4) and (R, 4) to (M, R)."""
    return _intersections(boxes, regions) / _areas(boxes)[:, None]  # (ap.3)


def best_first(scores: np.ndarray) -> np.ndarray:
    """Return the order of falling scores, in which equal ones stay as they were."""
    return np.argsort(-scores, kind="stable")


def as_boxes(boxes: ArrayLike, name: str = "boxes") -> np.ndarray:
    """Return boxes as floats (M, 4), or raise ValueError that names the first that is none."""
    boxes = np.asarray(boxes)
    boxes = boxes.reshape(0, 4) if boxes.shape == (0,) else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or boxes.dtype.kind not in "iuf":
        raise ValueError(f"{name} must be numbers (M, 4): x1, y1, x2, y2, got {boxes.dtype} {boxes.shape}")
    boxes = boxes.astype(np.result_type(boxes.dtype, np.float32), copy=False)
    finite = np.isfinite(boxes).all(axis=1)
    if not finite.all():
        m = int(finite.argmin())
        raise ValueError(f"{name}: box {m} is not finite: {boxes[m].tolist()}")
    solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    if not solid.all():
        m = int(solid.argmin())
        raise ValueError(f"{name}: box {m} has no area, x2 must be above x1 and y2 above y1: {boxes[m].tolist()}")
    return boxes


def as_scores(scores: ArrayLike, count: int) -> np.ndarray:
    """Return finite scores (M,), or raise ValueError."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (count,):
        raise ValueError(f"there are {count} boxes, so scores must be ({count},), got {scores.shape}")
    if not np.isfinite(scores).all():
        m = int(np.isfinite(scores).argmin())
        raise ValueError(f"scores must be finite: number {m} is {scores[m]}")
    return scores


def as_classes(classes: ArrayLike, count: int) -> np.ndarray:
    """Return class numbers (M,), or raise ValueError."""
    classes = np.asarray(classes)
    classes = classes.astype(np.intp) if classes.size == 0 else classes
    if classes.shape != (count,) or classes.dtype.kind not in "iu":
        raise ValueError(
            f"there are {count} boxes, so classes must be integers ({count},), got {classes.dtype} {classes.shape}"
        )
    return classes


def check_threshold(iou_threshold: float, lowest: float | None = None) -> None:
    """Raise ValueError for a threshold outside (0, 1], or below ``lowest``."""
    enough = iou_threshold > 0 if lowest is None else iou_threshold >= lowest
    if not (enough and iou_threshold <= 1):
        raise ValueError(f"iou_threshold must be from 0 to 1, got {iou_threshold!r}")


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)  # (iou.1)


def _intersections(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the area that every a shares with every b, (A, B)."""
    first = np.maximum(a[:, None, :2], b[:, :2])  # (A, B, 2)
    last = np.minimum(a[:, None, 2:], b[:, 2:])
    return np.maximum(last - first, 0).prod(axis=2)  # (iou.2)
