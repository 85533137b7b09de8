"""Which samples of an array `fit` trains on, and which it holds out to validate."""

import math
from collections.abc import Hashable, Sequence

import numpy as np

from minivid.video.splits import group_split, stratified_split, warn_if_classes_differ

__all__ = ["split_validation"]


def split_validation(
    count: int,
    fraction: float,
    labels: np.ndarray | None = None,
    stratify: bool = False,
    groups: Sequence[Hashable] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut samples into those to train on and those to hold out; the same arguments always give the same cut.

    Parameters
    ----------
    count : int
        N, the number of samples.
    fraction : float
        Part to hold out, between 0 and 1.
    labels : (N,) array, optional
        Class of each sample, where there are classes.
    stratify : bool
        Hold out the same part of every class; otherwise the last samples, as Keras does.
    groups : (N,) sequence, optional
        Source of each sample (person, recording): none lies on both sides then. With ``stratify`` the classes are
        spread as evenly as the groups allow.

    Returns
    -------
    training, held_out : int arrays
        Indices, in rising order.

    Raises
    ------
    ValueError
        For a fraction outside (0, 1), an empty side, lengths that differ, or ``stratify`` without labels.

    Warns
    -----
    minivid.video.SplitWarning
        If a class is on one side only.

    Examples
    --------
    >>> split_validation(5, 0.4)
    (array([0, 1, 2]), array([3, 4]))
    """
    if isinstance(fraction, bool) or not 0 < fraction < 1:
        raise ValueError(f"validation_split must be between 0 and 1, got {fraction!r}")
    if labels is not None and labels.ndim != 1:
        labels = None  # classes of steps, not of samples
    if stratify and labels is None:
        raise ValueError("stratify= needs one class per sample: targets of a classification loss")
    if groups is not None and len(groups) != count:
        raise ValueError(f"there are {count} samples, but {len(groups)} groups")
    if groups is not None:
        training, held_out = group_split(groups, fraction, labels=labels if stratify else None)
    elif stratify:
        training, held_out = stratified_split(labels, fraction)
    else:
        training, held_out = _last_rows(count, fraction)
    if labels is not None:
        warn_if_classes_differ(set(labels[training].tolist()), set(labels[held_out].tolist()))
    return training, held_out


def _last_rows(count: int, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    cut = math.floor(round(count * (1 - fraction), 9))  # rounded: 10 * (1 - 0.9) is a little less than 1
    if cut == 0 or cut == count:
        side = "train on" if cut == 0 else "validate on"
        raise ValueError(f"validation_split={fraction} of {count} samples leaves none to {side}")
    return np.arange(cut), np.arange(cut, count)
