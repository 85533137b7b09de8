"""Which clips are trained on and which are held out: by class, by source, never by accident."""

import warnings
from collections.abc import Hashable, Sequence

import numpy as np

__all__ = ["SplitWarning", "group_split", "stratified_split", "warn_if_classes_differ"]


class SplitWarning(UserWarning):
    """The two sides of a split do not hold the same classes."""


def stratified_split(labels: Sequence[Hashable], fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Split so that every class gives the same part of its samples.

    Parameters
    ----------
    labels : (N,) sequence
        Class of each sample.
    fraction : float
        Part to hold out, between 0 and 1. A class of two samples or more gives at least one to each side.
    seed : int
        Decides which samples.

    Returns
    -------
    training, held_out : int arrays
        Indices, in rising order.

    Raises
    ------
    ValueError
        For a fraction outside (0, 1), or when a side would be empty.

    Examples
    --------
    >>> training, held_out = stratified_split([0, 0, 0, 1, 1, 1], 1 / 3)
    >>> len(training), len(held_out)
    (4, 2)
    """
    _check_fraction(fraction)
    rng = np.random.default_rng(seed)
    classes = np.unique(np.asarray(labels), return_inverse=True)[1]
    held_out = np.zeros(len(classes), dtype=bool)
    for k in range(classes.max(initial=-1) + 1):
        members = rng.permutation(np.flatnonzero(classes == k))
        count = round(fraction * len(members))
        if len(members) > 1:
            count = min(max(count, 1), len(members) - 1)
        held_out[members[:count]] = True
    return _both_sides(held_out)


def group_split(
    groups: Sequence[Hashable], fraction: float, seed: int = 0, labels: Sequence[Hashable] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split so that no group (person, recording) lies on both sides.

    Parameters
    ----------
    groups : (N,) sequence
        Source of each sample.
    fraction : float
        Part of the samples to hold out, met as nearly as whole groups allow.
    seed : int
        Decides the order in which groups are tried.
    labels : (N,) sequence, optional
        Class of each sample; the classes are then spread over both sides as evenly as groups allow.

    Returns
    -------
    training, held_out : int arrays
        Indices, in rising order.

    Raises
    ------
    ValueError
        For a fraction outside (0, 1), fewer than two groups, or lengths that differ.

    Examples
    --------
    >>> training, held_out = group_split(["ann", "bob", "ann", "bob", "eve"], 0.4)
    >>> len(training), len(held_out)
    (3, 2)
    """
    _check_fraction(fraction)
    names = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    members = np.array([names[group] for group in groups])
    if len(names) < 2:
        raise ValueError(f"a split by groups needs at least two groups, found {list(names)}")
    if labels is not None and len(labels) != len(members):
        raise ValueError(f"there are {len(members)} groups but {len(labels)} labels")
    classes = np.unique(np.zeros(len(members)) if labels is None else np.asarray(labels), return_inverse=True)[1]
    table = np.zeros((len(names), classes.max() + 1))  # samples of each group and class
    np.add.at(table, (members, classes), 1)
    chosen = _choose_groups(table, fraction * table.sum(axis=0), seed)
    return _both_sides(np.isin(members, chosen))


def _choose_groups(table: np.ndarray, target: np.ndarray, seed: int) -> list[int]:
    """Add the group that brings the held-out counts nearest to the target, until none does."""
    candidates = list(np.random.default_rng(seed).permutation(len(table)))
    chosen: list[int] = []
    held = np.zeros(table.shape[1])
    while len(candidates) > 1:
        distances = [np.abs(held + table[group] - target).sum() for group in candidates]
        best = int(np.argmin(distances))
        if chosen and distances[best] >= np.abs(held - target).sum():
            break
        group = candidates.pop(best)
        chosen.append(group)
        held += table[group]
    return chosen


def warn_if_classes_differ(training: set, held_out: set, names: Sequence[str] | None = None) -> None:
    """Warn, naming the classes, when one side of a split lacks some of the other's.

    Examples
    --------
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_if_classes_differ({0, 1}, {0}, ["jump", "wave"])
    >>> print(str(caught[0].message).partition(".")[0])
    the held-out side of the split has no sample of: wave
    """
    for side, missing in (("training", held_out - training), ("held-out", training - held_out)):
        if missing:
            listed = ", ".join(str(k if names is None else names[k]) for k in sorted(missing))
            warnings.warn(
                f"the {side} side of the split has no sample of: {listed}. Figures on it mean little; "
                "use a stratified split, or groups that all contain every class",
                SplitWarning,
                stacklevel=3,
            )


def _check_fraction(fraction: float) -> None:
    if not 0 < fraction < 1:
        raise ValueError(f"the part to hold out must be between 0 and 1, got {fraction!r}")


def _both_sides(held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    training, held = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(training) or not len(held):
        raise ValueError(f"a split of {len(held_out)} samples leaves one side empty; use more samples")
    return training, held
