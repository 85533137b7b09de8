"""How good a detector is: precision, recall, average precision, and its mean over classes and overlaps, as COCO does.

The detections of a class, of all frames together and best first, are hits or false. Every hit is another object.

    precision_n  =  hits among the first n / n                                   (ap.4)
    recall_n     =  hits among the first n / number of objects                   (ap.5)
    p(r)         =  the largest precision_n with recall_n ≥ r, 0 if there is none  (ap.6)
    AP           =  mean of p(r) over r = 0, 0.01, ..., 1                         (ap.7)
    mAP@θ        =  mean of AP over the classes that have objects                (ap.8)
    mAP@0.5:0.95 =  mean of mAP@θ over θ = 0.5, 0.55, ..., 0.95                   (ap.9)

Lin et al., "Microsoft COCO: common objects in context", ECCV 2014, and its evaluation code. There, two more things
hold: a frame has at most 100 detections, and objects may be limited to a range of sizes. docs/detection_metrics.md
works an example by hand.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minivid.detection.boxes import (
    as_boxes,
    as_classes,
    as_scores,
    best_first,
    check_threshold,
    greedy_matches,
    pairwise_iou,
    shares_inside,
)

__all__ = ["Detections", "Truth", "average_precision", "mean_average_precision", "precision_recall"]

COCO_THRESHOLDS = tuple(percent / 100 for percent in range(50, 100, 5))


class Detections(NamedTuple):
    """What a detector found in one frame.

    Attributes
    ----------
    boxes : (M, 4) array
        x1, y1, x2, y2 in pixels.
    scores : (M,) array
        The higher, the surer.
    classes : (M,) array of int
        From 0.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


class Truth(NamedTuple):
    """The objects in one frame.

    Attributes
    ----------
    boxes : (M, 4) array
        x1, y1, x2, y2 in pixels.
    classes : (M,) array of int
        From 0.
    ignored : (M,) array of bool, optional
        Regions that count neither as found nor as missed, COCO's ``iscrowd``: detections inside are left out.
    """

    boxes: np.ndarray
    classes: np.ndarray
    ignored: np.ndarray | None = None


def average_precision(
    detections: Sequence[Detections], truths: Sequence[Truth], num_classes: int, iou_threshold: float = 0.5
) -> np.ndarray:
    """Average precision of every class, equation (ap.7).

    Parameters
    ----------
    detections : list of Detections
        One for each frame, of all clips one after the other.
    truths : list of Truth
        One for each frame.
    num_classes : int
        K.
    iou_threshold : float
        Least overlap of a hit, above 0 and at most 1.

    Returns
    -------
    ap : (K,) array
        From 0 to 1; NaN for a class without objects.

    Raises
    ------
    ValueError
        If lists or arrays do not fit together, or hold what is no box, score or class. The message names the frame.

    Notes
    -----
    In every frame and class, `minivid.detection.match` tells hits from false detections. A detection that is no hit
    and lies inside an ignored region, by the threshold's share of its own area, is left out. Equal scores stay in the
    order of the frames.

    Examples
    --------
    >>> truths = [Truth([[0, 0, 10, 10]], [0]), Truth([[5, 5, 15, 15]], [0])]
    >>> found = Detections([[0, 0, 10, 9], [20, 0, 30, 10]], [0.9, 0.8], [0, 0])  # a hit, then a false detection
    >>> nothing = Detections([], [], [])
    >>> average_precision([found, nothing], truths, num_classes=2)  # class 0: precision 1 at 51 of 101 recalls
    array([0.5049505,       nan])
    """
    check_threshold(iou_threshold)
    return _table(detections, truths, num_classes, (iou_threshold,))[0]


def mean_average_precision(
    detections: Sequence[Detections],
    truths: Sequence[Truth],
    num_classes: int,
    iou_thresholds: Sequence[float] = COCO_THRESHOLDS,
) -> dict:
    """Mean average precision, at the first threshold and over all of them, equations (ap.8) and (ap.9).

    Parameters
    ----------
    detections, truths, num_classes
        As for `average_precision`.
    iou_thresholds : list of float
        By default COCO's ten: 0.5, 0.55, ..., 0.95.

    Returns
    -------
    dict
        ``"mAP@0.5"`` and ``"mAP@0.5:0.95"``, named by the first and by the first and last threshold; and
        ``"per_class"``, a list of K dicts with ``"AP@0.5"`` and ``"AP@0.5:0.95"``. Classes without objects have NaN and
        are left out of the means.

    Raises
    ------
    ValueError
        As `average_precision`.

    Examples
    --------
    >>> truths = [Truth([[0, 0, 10, 10]], [0])]
    >>> detections = [Detections([[0, 0, 10, 7]], [0.9], [0])]  # IoU 0.7: a hit at five thresholds of ten
    >>> mean_average_precision(detections, truths, num_classes=1)
    {'mAP@0.5': 1.0, 'mAP@0.5:0.95': 0.5, 'per_class': [{'AP@0.5': 1.0, 'AP@0.5:0.95': 0.5}]}
    """
    if len(iou_thresholds) == 0:
        raise ValueError("iou_thresholds must hold at least one number")
    for threshold in iou_thresholds:
        check_threshold(threshold)
    table = _table(detections, truths, num_classes, iou_thresholds)  # (L, K)
    first, last = f"{iou_thresholds[0]:g}", f"{iou_thresholds[-1]:g}"
    counted = table[:, ~np.isnan(table[0])]
    per_class = zip(table[0], table.mean(axis=0), strict=True)
    return {
        f"mAP@{first}": float(counted[0].mean()) if counted.size else float("nan"),  # (ap.8)
        f"mAP@{first}:{last}": float(counted.mean()) if counted.size else float("nan"),  # (ap.9)
        "per_class": [{f"AP@{first}": float(a), f"AP@{first}:{last}": float(b)} for a, b in per_class],
    }


def precision_recall(
    detections: Sequence[Detections], truths: Sequence[Truth], k: int, iou_threshold: float = 0.5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall of one class when all detections down to a score count, equations (ap.4) and (ap.5).

    Parameters
    ----------
    detections, truths, iou_threshold
        As for `average_precision`.
    k : int
        The class.

    Returns
    -------
    precision, recall, scores : (D,) arrays
        One entry for each detection that counts, best score first. Recall is NaN for a class without objects.

    Raises
    ------
    ValueError
        As `average_precision`.

    Examples
    --------
    >>> truths = [Truth([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 0])]
    >>> detections = [Detections([[0, 0, 10, 10], [50, 0, 60, 10]], [0.9, 0.8], [0, 0])]
    >>> precision_recall(detections, truths, k=0)
    (array([1. , 0.5]), array([0.5, 0.5]), array([0.9, 0.8]))
    """
    check_threshold(iou_threshold)
    scores, hits, excused, objects = _judge(*_checked(detections, truths), k, np.array([iou_threshold]))
    counted = ~excused[0]
    precision, recall = _precision_and_recall(hits[0, counted], objects)
    return precision, recall, scores[counted]


def _table(detections, truths, num_classes, thresholds) -> np.ndarray:
    """Return average precision for every threshold and class, (L, K)."""
    detections, truths = _checked(detections, truths, num_classes)
    table = np.empty((len(thresholds), num_classes))
    for k in range(num_classes):
        _, hits, excused, objects = _judge(detections, truths, k, np.asarray(thresholds))
        table[:, k] = [_mean_of_101(row[~left_out], objects) for row, left_out in zip(hits, excused, strict=True)]
    return table


def _judge(detections, truths, k, thresholds):
    """Return scores (D,) of class k, best first, which are hits, which are excused (L, D), and how many objects."""
    frames = [_judge_frame(found, truth, k, thresholds) for found, truth in zip(detections, truths, strict=True)]
    objects = sum(int(np.sum((truth.classes == k) & ~truth.ignored)) for truth in truths)
    scores = np.concatenate([np.zeros(0), *(frame[0] for frame in frames)])
    nothing = np.zeros((len(thresholds), 0), dtype=bool)
    hits, excused = (np.concatenate([nothing, *(frame[n] for frame in frames)], axis=1) for n in (1, 2))
    order = best_first(scores)
    return scores[order], hits[:, order], excused[:, order], objects


def _judge_frame(found: Detections, truth: Truth, k: int, thresholds: np.ndarray):
    """Return scores (M,) of one frame, best first, which are hits and which are excused (L, M)."""
    chosen = np.flatnonzero(found.classes == k)
    chosen = chosen[best_first(found.scores[chosen])]
    boxes = found.boxes[chosen]
    objects = truth.boxes[(truth.classes == k) & ~truth.ignored]
    regions = truth.boxes[(truth.classes == k) & truth.ignored]
    hits = greedy_matches(pairwise_iou(boxes, objects), thresholds) >= 0  # (L, M)
    inside = shares_inside(boxes, regions).max(axis=1, initial=0) >= thresholds[:, None]
    return found.scores[chosen], hits, inside & ~hits


def _precision_and_recall(hits: np.ndarray, objects: int) -> tuple[np.ndarray, np.ndarray]:
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)  # (ap.4)
    recall = found / (objects or np.nan)  # (ap.5)
    return precision, recall


def _mean_of_101(hits: np.ndarray, objects: int) -> float:
    """Return average precision of detections, best first, that are hits or not."""
    if objects == 0:
        return np.nan
    precision, _ = _precision_and_recall(hits, objects)
    best_from_here = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    # The first n with hits/objects >= i/100: in whole numbers, so that no rounding decides.
    first = np.searchsorted(100 * np.cumsum(hits), objects * np.arange(101))
    return best_from_here[first].mean()  # (ap.6), (ap.7)


def _checked(detections, truths, num_classes: int | None = None) -> tuple[list[Detections], list[Truth]]:
    """Return all frames as arrays that fit together, or raise ValueError that names the frame."""
    if len(detections) != len(truths):
        raise ValueError(
            f"there must be one entry per frame, got {len(detections)} detections and {len(truths)} truths"
        )
    checked = []
    for t, (found, truth) in enumerate(zip(detections, truths, strict=True)):
        try:
            checked.append((_checked_detections(found, num_classes), _checked_truth(truth, num_classes)))
        except ValueError as error:
            raise ValueError(f"frame {t}: {error}") from None
    return [found for found, _ in checked], [truth for _, truth in checked]


def _checked_detections(found: Detections, num_classes: int | None) -> Detections:
    boxes = as_boxes(found.boxes, "detections").astype(np.float64)
    return Detections(boxes, as_scores(found.scores, len(boxes)), _known(found.classes, len(boxes), num_classes))


def _checked_truth(truth: Truth, num_classes: int | None) -> Truth:
    boxes = as_boxes(truth.boxes, "truth").astype(np.float64)
    ignored = np.zeros(len(boxes), bool) if truth.ignored is None else np.asarray(truth.ignored, dtype=bool)
    if ignored.shape != (len(boxes),):
        raise ValueError(f"truth: there are {len(boxes)} boxes, but ignored is {ignored.shape}")
    return Truth(boxes, _known(truth.classes, len(boxes), num_classes), ignored)


def _known(classes, count: int, num_classes: int | None) -> np.ndarray:
    classes = as_classes(classes, count)
    unknown = classes[(classes < 0) | (classes >= (np.inf if num_classes is None else num_classes))]
    if len(unknown):
        expected = "from 0 on" if num_classes is None else f"from 0 to {num_classes - 1}"
        raise ValueError(f"classes must be {expected}, got {unknown[0]}")
    return classes
