"""Overlap of two boxes: intersection over union, and its generalised form for boxes that do not meet.

    A(b)  = max(0, x2 − x1) · max(0, y2 − y1)                     (iou.1)    area of a box
    I     = max(0, min(x2, x2') − max(x1, x1')) · max(0, min(y2, y2') − max(y1, y1'))    (iou.2)    intersection
    U     = A(b) + A(b') − I                                      (iou.3)    union
    IoU   = I / U                                                 (iou.4)    zero where U is
    E     = (max(x2, x2') − min(x1, x1')) · (max(y2, y2') − min(y1, y1'))                (iou.5)    box around both
    GIoU  = IoU − (E − U) / E                                     (iou.6)    IoU − 0 where E is zero

for the boxes b = (x1, y1, x2, y2), predicted, and b', the target, row by row. Backward, with dv the upstream gradient,

    dI    = dv / U − dU           dA = dU                         (iou.7)    from (iou.3) and (iou.4)
    dU    = −dv · I / U²  (IoU),  dv · (1/E − I / U²)  (GIoU)     (iou.8)
    dE    = −dv · U / E²          (GIoU only)                     (iou.9)
    dx2   = dA·h + dI·hI·[x2 < x2'] + dE·hE·[x2 > x2']            (iou.10)
    dx1   = −dA·h − dI·hI·[x1 > x1'] − dE·hE·[x1 < x1']           (iou.11)

where h, hI, hE are the heights of b, of the intersection and of E, alike for y with widths, and [·] is 1, 0, or 1/2
where both sides are equal. A side that max(0, ·) cuts off has no gradient.

    b, b'   (M, 4)   boxes (x1, y1, x2, y2), x to the right and y down           v, dv   (M,)   IoU or GIoU

docs/ops/iou.md derives the gradient.
"""

import numpy as np

from minivid.backend import Op, xp_of

__all__ = ["giou_backward", "giou_forward", "iou_backward", "iou_forward"]


def _check(predictions, targets, dvalues=None) -> None:
    if predictions.ndim != 2 or predictions.shape[1] != 4 or targets.shape != predictions.shape:
        raise ValueError(
            "boxes are (M, 4): x1, y1, x2, y2 of a prediction and of its target in every row, "
            f"got {predictions.shape} and {targets.shape}"
        )
    if dvalues is not None and dvalues.shape != predictions.shape[:1]:
        raise ValueError(f"the upstream gradient has shape {dvalues.shape}, but there are {predictions.shape[:1]} rows")


# --- one implementation for every device: a row has 4 numbers; comparisons are those of the real part -------------


def iou_forward_reference(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Intersection over union of the boxes in every row, equation (iou.4).

    Parameters
    ----------
    predictions, targets : (M, 4) array
        Boxes x1, y1, x2, y2. A box whose x2 is not above x1, or y2 not above y1, is empty.

    Returns
    -------
    iou : (M,) array
        From 0 to 1.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Also called the Jaccard index.

    Examples
    --------
    >>> import numpy as np
    >>> iou_forward(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0]]))  # 2 of 6 pixels
    array([0.33333333])
    """
    _check(predictions, targets)
    _, inner, _, union = _measures(predictions, targets)
    return _quotient(inner[0] * inner[1], union)  # (iou.4)


def giou_forward_reference(predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Generalised intersection over union of the boxes in every row, equation (iou.6).

    Parameters
    ----------
    predictions, targets : (M, 4) array
        Boxes x1, y1, x2, y2.

    Returns
    -------
    giou : (M,) array
        From -1, far apart, to 1, equal.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Notes
    -----
    Rezatofighi et al., "Generalized intersection over union", CVPR 2019.

    Examples
    --------
    >>> import numpy as np
    >>> giou_forward(np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[3.0, 0.0, 4.0, 1.0]]))  # 0 - (4 - 2) / 4
    array([-0.5])
    """
    _check(predictions, targets)
    _, inner, outer, union = _measures(predictions, targets)
    around = outer[0] * outer[1]
    return _quotient(inner[0] * inner[1], union) - _quotient(around - union, around)  # (iou.6)


def iou_backward_reference(diou: np.ndarray, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient with respect to the predicted boxes, equations (iou.7) to (iou.11).

    Parameters
    ----------
    diou : (M,) array
        Gradient with respect to the IoU of the rows.
    predictions, targets : (M, 4) array
        As in the forward pass.

    Returns
    -------
    dpredictions : (M, 4) array
        Zero for boxes that do not meet, and for a prediction equal to its target.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0]])
    >>> iou_backward(np.array([18.0]), *boxes)
    array([[2., 0., 6., 0.]])
    """
    _check(predictions, targets, diou)
    own, inner, outer, union = _measures(predictions, targets)
    intersection = inner[0] * inner[1]
    dunion = -_quotient(_quotient(diou * intersection, union), union)  # (iou.8)
    dintersection = _quotient(diou, union) - dunion  # (iou.7)
    return _sides(dunion, dintersection, 0 * dunion, own, inner, outer, predictions, targets)


def giou_backward_reference(dgiou: np.ndarray, predictions: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Gradient with respect to the predicted boxes, equations (iou.7) to (iou.11).

    Parameters
    ----------
    dgiou : (M,) array
        Gradient with respect to the GIoU of the rows.
    predictions, targets : (M, 4) array
        As in the forward pass.

    Returns
    -------
    dpredictions : (M, 4) array
        Not zero for boxes that do not meet; zero for a prediction equal to its target.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> boxes = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[3.0, 0.0, 4.0, 1.0]])
    >>> giou_backward(np.array([8.0]), *boxes)  # to the left and to the right: larger
    array([[-1.,  0.,  2.,  0.]])
    """
    _check(predictions, targets, dgiou)
    own, inner, outer, union = _measures(predictions, targets)
    intersection, around = inner[0] * inner[1], outer[0] * outer[1]
    from_iou = -_quotient(_quotient(dgiou * intersection, union), union)
    dunion = from_iou + _quotient(dgiou, around)  # (iou.8)
    dintersection = _quotient(dgiou, union) - dunion  # (iou.7)
    daround = -_quotient(_quotient(dgiou * union, around), around)  # (iou.9)
    return _sides(dunion, dintersection, daround, own, inner, outer, predictions, targets)


def _measures(b, t):
    """Return widths and heights of the predictions, of intersections and of boxes around both, and the unions."""
    own = [_positive(b[:, 2 + axis] - b[:, axis]) for axis in (0, 1)]
    other = [_positive(t[:, 2 + axis] - t[:, axis]) for axis in (0, 1)]
    inner = [_positive(-_larger(-b[:, 2 + a], -t[:, 2 + a]) - _larger(b[:, a], t[:, a])) for a in (0, 1)]  # (iou.2)
    outer = [_larger(b[:, 2 + a], t[:, 2 + a]) + _larger(-b[:, a], -t[:, a]) for a in (0, 1)]  # (iou.5)
    union = own[0] * own[1] + other[0] * other[1] - inner[0] * inner[1]  # (iou.1), (iou.3)
    return own, inner, outer, union


def _sides(dunion, dintersection, daround, own, inner, outer, b, t):
    """Return the gradient of the four sides, (iou.10) and (iou.11)."""
    xp = xp_of(dunion, b, t)
    db = xp.empty(b.shape, np.result_type(dunion.dtype, b.dtype))
    for axis in (0, 1):
        across = 1 - axis  # the other axis: its length times a step of this side is the step of an area
        dlength = dunion * own[across] * (own[axis] > 0)
        dinner = dintersection * inner[across] * (inner[axis] > 0)
        douter = daround * outer[across]
        first, last = b[:, axis] - t[:, axis], b[:, 2 + axis] - t[:, 2 + axis]
        db[:, axis] = -dlength - dinner * _share(first) - douter * _share(-first)  # (iou.11)
        db[:, 2 + axis] = dlength + dinner * _share(-last) + douter * _share(last)  # (iou.10)
    return db


def _positive(x):
    return xp_of(x).where(x.real > 0, x, 0 * x)


def _larger(a, b):
    return xp_of(a, b).where(a.real > b.real, a, b)


def _share(difference):
    """Return 1 where the difference is positive, 0 where it is negative, 1/2 at a tie."""
    return (0.5 * xp_of(difference).sign(difference.real) + 0.5).astype(difference.real.dtype)


def _quotient(a, b):
    """Return a / b, and 0 where b is 0."""
    nothing = b == 0
    return xp_of(a, b).where(nothing, 0 * a, a / xp_of(b).where(nothing, b.dtype.type(1), b))


# --- the table ----------------------------------------------------------------------------------------------------

iou_forward = Op(reference=iou_forward_reference, gpu=iou_forward_reference)
iou_backward = Op(reference=iou_backward_reference, gpu=iou_backward_reference)
giou_forward = Op(reference=giou_forward_reference, gpu=giou_forward_reference)
giou_backward = Op(reference=giou_backward_reference, gpu=giou_backward_reference)
