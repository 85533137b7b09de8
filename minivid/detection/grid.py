"""A single-stage detector's targets, loss and decoding: every cell of a grid over the frame says what is at it.

A frame of H x W pixels is cut into GH x GW cells. In units of cells, an object with the box (x1, y1, x2, y2) has

    u = (x1 + x2)/2 · GW/W      v = (y1 + y2)/2 · GH/H      centre          (grid.1)
    a = (x2 − x1) · GW/W        b = (y2 − y1) · GH/H        size            (grid.2)

Cell (i, j), which covers j..j+1 to the right and i..i+1 down, is responsible for the object if its own centre is near:

    |u − j − 1/2| ≤ r   and   |v − i − 1/2| ≤ r             r: the reach    (grid.3)

With r = 1/2 that is one cell, with r = 1 it is four. Of several objects the one whose centre is nearest to the cell's
wins; of equally near ones the larger. A responsible cell learns t = (1, u − j, v − i, a, b, one-hot class), the others
t = 0. The model's output z = (o, zx, zy, zw, zh, c₁ ... c_K) at a cell means

    û = j + 1/2 + zx      v̂ = i + 1/2 + zy      â = exp(zw)      b̂ = exp(zh)               (grid.4)
    score of class k = σ(o) · softmax(c)ₖ                                                    (grid.5)

and costs, averaged over all cells of all frames,

    l = (1 + (w − 1)·t₀) · BCE(o, t₀) + t₀ · ( β·(1 − GIoU) + γ·CE(c, class) )               (grid.6)

    w weight of responsible cells      β, γ weights of box and class      GIoU of predicted and true box, in cells

Backward, with B = (x̂1, ŷ1, x̂2, ŷ2) the predicted box and dB its gradient from (iou.7) to (iou.11),

    dzx = dx̂1 + dx̂2           dzw = (dx̂2 − dx̂1) · â/2           alike for y and h            (grid.7)

The scheme is that of YOLO (Redmon et al., CVPR 2016) with FCOS's several cells per object (Tian et al., ICCV 2019) and
the box loss of Rezatofighi et al., CVPR 2019. docs/detect.md says more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minivid.backend import xp_of
from minivid.detection.average_precision import Detections, Truth
from minivid.detection.boxes import non_maximum_suppression
from minivid.losses import Loss
from minivid.ops.activations import sigmoid_forward, softmax_forward
from minivid.ops.iou import giou_backward, giou_forward
from minivid.ops.sigmoid_cross_entropy import sigmoid_cross_entropy_backward, sigmoid_cross_entropy_forward
from minivid.ops.softmax_cross_entropy import softmax_cross_entropy_backward, softmax_cross_entropy_forward

__all__ = ["GridLoss", "decode", "grid_targets", "mirrored"]

NUMBERS_PER_CELL = 5  # objectness and box; the classes come after them


def grid_targets(
    truth: Truth, size: tuple[int, int], grid: tuple[int, int], num_classes: int, reach: float = 1.0
) -> np.ndarray:
    """Return what every cell of a grid should say of one frame, (grid.1) to (grid.3).

    Parameters
    ----------
    truth : Truth
        Boxes in pixels, classes, and which of them are ignored.
    size : (H, W)
        Of the frame, in pixels.
    grid : (GH, GW)
        Cells over the frame.
    num_classes : int
        K.
    reach : float
        r, in cells: how far from an object's centre the centre of a cell may be that is responsible for it. From 1/2,
        so that there always is one.

    Returns
    -------
    targets : (GH, GW, 5 + K) float32 array
        1, u − j, v − i, a, b and the one-hot class where a cell is responsible for an object, otherwise zeros. Where
        the object is ignored the first number is −1: `GridLoss` does not look at such a cell.

    Raises
    ------
    ValueError
        For a reach below 1/2, or a class number that is not below K.

    Examples
    --------
    >>> truth = Truth(np.array([[0, 0, 4, 8]], np.float32), np.array([1]))
    >>> grid_targets(truth, size=(16, 16), grid=(2, 2), num_classes=2, reach=0.5)[0, 0].tolist()
    [1.0, 0.25, 0.5, 0.5, 1.0, 0.0, 1.0]
    """
    if reach < 0.5:
        raise ValueError(f"reach must be at least 1/2, so that every object has a cell, got {reach!r}")
    (GH, GW), (H, W) = grid, size
    boxes, classes = np.asarray(truth.boxes, np.float64).reshape(-1, 4), np.asarray(truth.classes)
    ignored = np.zeros(len(boxes), bool) if truth.ignored is None else truth.ignored
    if len(classes) and not (classes.min() >= 0 and classes.max() < num_classes):
        raise ValueError(f"classes must be from 0 to {num_classes - 1}, got {sorted(set(classes.tolist()))}")
    x1, y1, x2, y2 = (boxes * [GW / W, GH / H, GW / W, GH / H]).T  # (M,) each
    a, b = x2 - x1, y2 - y1  # (grid.2)
    u = np.clip((x1 + x2) / 2, 0, GW)[:, None, None] - np.arange(GW)  # (M, 1, GW), (grid.1) seen from the cell
    v = np.clip((y1 + y2) / 2, 0, GH)[:, None, None] - np.arange(GH)[:, None]  # (M, GH, 1)
    targets = np.zeros((GH, GW, NUMBERS_PER_CELL + num_classes), np.float32)
    distance = np.full((GH, GW), np.inf)
    for m in np.argsort(-a * b, kind="stable"):  # the largest first: an equally near one does not replace it
        away = np.maximum(abs(u[m] - 0.5), abs(v[m] - 0.5))  # (GH, GW)
        own = (away <= reach) & (away < distance)  # (grid.3)
        distance[own] = away[own]
        targets[own] = 0
        targets[own, 0] = -1 if ignored[m] else 1
        targets[own, 1] = np.broadcast_to(u[m], own.shape)[own]
        targets[own, 2] = np.broadcast_to(v[m], own.shape)[own]
        targets[own, 3:5] = a[m], b[m]
        targets[own, NUMBERS_PER_CELL + classes[m]] = 1
    return targets


def mirrored(targets: np.ndarray) -> np.ndarray:
    """Return the targets of frames that are mirrored left to right.

    Parameters
    ----------
    targets : (..., GH, GW, 5 + K) array

    Returns
    -------
    array of the same shape

    Examples
    --------
    >>> targets = np.zeros((1, 2, 6))
    >>> targets[0, 0] = 1, 0.25, 0.5, 1, 1, 1
    >>> mirrored(targets)[0, 1].tolist()
    [1.0, 0.75, 0.5, 1.0, 1.0, 1.0]
    """
    turned = targets[..., ::-1, :].copy()
    turned[..., 1] = np.where(turned[..., 0] == 0, 0, 1 - turned[..., 1])
    return turned


def decode(
    outputs: np.ndarray,
    size: tuple[int, int],
    threshold: float = 0.05,
    iou_threshold: float = 0.5,
) -> Detections:
    """Turn a detector's output for one frame into boxes, (grid.4) and (grid.5), and drop those found twice.

    Parameters
    ----------
    outputs : (GH, GW, 5 + K) array
        o, zx, zy, zw, zh and the logits of the classes of every cell.
    size : (H, W)
        Of the frame that the boxes are for, in pixels.
    threshold : float
        Least score that counts.
    iou_threshold : float
        For `non_maximum_suppression`, across classes: one object has one class.

    Returns
    -------
    Detections
        Cut off at the frame, best score first.

    Raises
    ------
    ValueError
        If ``outputs`` has another number of axes, or no class.

    Examples
    --------
    >>> outputs = np.full((2, 2, 6), -9.0)
    >>> outputs[0, 1] = 9, 0, 0, 0, 0, 0  # an object as large as the cell to the upper right
    >>> decode(outputs, size=(16, 16)).boxes.tolist()
    [[8.0, 0.0, 16.0, 8.0]]
    """
    if outputs.ndim != 3 or outputs.shape[2] <= NUMBERS_PER_CELL:
        raise ValueError(f"outputs of a frame are (GH, GW, 5 + K), K at least 1, got {outputs.shape}")
    (GH, GW), (H, W) = outputs.shape[:2], size
    j, i = np.meshgrid(np.arange(GW), np.arange(GH))
    rows = outputs.reshape(GH * GW, -1)
    probabilities = _probabilities(rows[:, NUMBERS_PER_CELL:])  # (GH·GW, K)
    scores = sigmoid_forward(rows[:, 0]) * probabilities.max(axis=1)  # (grid.5)
    boxes = _boxes(rows) + np.stack([j, i, j, i], axis=-1).reshape(-1, 4)  # (GH·GW, 4), (grid.4)
    boxes = np.clip(boxes * [W / GW, H / GH, W / GW, H / GH], 0, [W, H, W, H]).astype(np.float32)
    solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # not so of a box that lies outside the frame
    found = np.flatnonzero(solid & (scores >= threshold))
    kept = found[non_maximum_suppression(boxes[found], scores[found], iou_threshold)]
    return Detections(boxes[kept], scores[kept], probabilities[kept].argmax(axis=1))


class GridLoss(Loss):
    """What a grid of cells that detects objects costs, (grid.6): "grid".

    Parameters
    ----------
    positive_weight : float
        w, the weight of a responsible cell's objectness; the others are many and have 1.
    box_weight, class_weight : float
        β and γ.

    Notes
    -----
    Predictions (..., GH, GW, 5 + K) are what `decode` takes, targets what `grid_targets` makes. As in every loss the
    mean is over all rows, here cells. The gradient is (grid.7) for the boxes, and those of the cross-entropies. See
    `Loss` for weights and masks.

    Examples
    --------
    >>> outputs, targets = np.zeros((1, 2, 2, 7)), np.zeros((1, 2, 2, 7))
    >>> loss = GridLoss()
    >>> round(loss.forward(outputs, targets), 4)  # an object or none, all equally likely: log 2
    0.6931
    >>> loss.backward()[0, 0, 0].tolist()
    [0.125, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    name = "grid"

    def __init__(self, positive_weight: float = 4.0, box_weight: float = 4.0, class_weight: float = 2.0):
        super().__init__()
        self.positive_weight, self.box_weight, self.class_weight = positive_weight, box_weight, class_weight
        for name, weight in self.get_config().items():
            if not 0 <= weight < np.inf:
                raise ValueError(f"{self.name}: {name} must be 0 or more, got {weight!r}")

    def target_rows(self, y_true, shape):
        """See `Loss`: rows of a cell each."""
        if shape[-1] <= NUMBERS_PER_CELL:
            raise ValueError(
                f"{self.name} takes cells (..., 5 + K): objectness, box and K classes; got y_pred of shape {shape}"
            )
        return super().target_rows(y_true, shape)

    def rows_forward(self, y, t, from_logits):
        """See `Loss`; (grid.6)."""
        xp = xp_of(y, t)
        objects = xp.flatnonzero(t[:, 0] > 0)  # (P,)
        weight = xp.where(t[:, 0] > 0, y.dtype.type(self.positive_weight), (t[:, 0] == 0).astype(y.dtype))  # (M,)
        presence = xp.clip(t[:, :1], 0, 1)  # (M, 1)
        losses, probabilities = sigmoid_cross_entropy_forward(y[:, :1], presence)
        losses = weight * losses
        cell, target = y[objects], t[objects]  # (P, 5 + K)
        overlap = giou_forward(_boxes(cell), _boxes_of_targets(target))
        surprise, chances = softmax_cross_entropy_forward(cell[:, NUMBERS_PER_CELL:], target[:, NUMBERS_PER_CELL:])
        losses[objects] += self.box_weight * (1 - overlap) + self.class_weight * surprise
        return losses, (objects, weight, presence, probabilities, cell, target, chances)

    def rows_backward(self, dlosses, cache):
        """See `Loss`; (grid.7) and the gradients of the cross-entropies."""
        objects, weight, presence, probabilities, cell, target, chances = cache
        xp = xp_of(dlosses, cell)
        dy = xp.zeros((len(dlosses), cell.shape[1]), cell.dtype)
        dy[:, :1] = sigmoid_cross_entropy_backward(weight * dlosses, probabilities, presence)
        up = dlosses[objects]
        boxes = _boxes(cell)
        dboxes = giou_backward(-self.box_weight * up, boxes, _boxes_of_targets(target))  # (P, 4)
        d1, d2 = dboxes[:, :2], dboxes[:, 2:]
        dclasses = softmax_cross_entropy_backward(self.class_weight * up, chances, target[:, NUMBERS_PER_CELL:])
        halves = (boxes[:, 2:] - boxes[:, :2]) / 2
        dy[objects, 1:] = xp.concatenate([d1 + d2, (d2 - d1) * halves, dclasses], axis=1)  # (grid.7)
        return dy


def _boxes(rows: Any) -> Any:
    """Return the boxes that cells predict, (M, 4), in cells from the cell's corner: (grid.4) less (j, i)."""
    xp = xp_of(rows)
    centres, halves = rows[:, 1:3] + 0.5, xp.exp(rows[:, 3:5]) / 2
    return xp.concatenate([centres - halves, centres + halves], axis=1)


def _boxes_of_targets(rows: Any) -> Any:
    """Return the boxes of targets of responsible cells, (M, 4), in cells from the cell's corner."""
    return xp_of(rows).concatenate([rows[:, 1:3] - rows[:, 3:5] / 2, rows[:, 1:3] + rows[:, 3:5] / 2], axis=1)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return softmax_forward(logits) if logits.shape[1] > 1 else np.ones_like(logits)
