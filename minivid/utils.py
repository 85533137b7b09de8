"""Small helpers for data."""

from collections.abc import Sequence

import numpy as np

from minivid.backend import xp_of

__all__ = ["to_categorical"]


def to_categorical(
    labels: np.ndarray | Sequence[int], num_classes: int | None = None, dtype: str | np.dtype = "float32"
) -> np.ndarray:
    """Turn class numbers into one-hot vectors.

    Parameters
    ----------
    labels : (...) or (..., 1) array or sequence of int
        Class numbers from 0 to K − 1; whole numbers of a floating dtype will do.
    num_classes : int, optional
        K; by default the largest label plus one.
    dtype : dtype
        Of the result.

    Returns
    -------
    one_hot : (..., K) array
        One at the label, zero elsewhere.

    Raises
    ------
    TypeError
        If the labels are not numbers.
    ValueError
        If a label is no whole number, negative, or not below ``num_classes``.

    Examples
    --------
    >>> to_categorical([0, 2], num_classes=3)
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    xp = xp_of(labels)
    labels = xp.asarray(labels)
    if labels.dtype.kind not in "fiub":
        raise TypeError(f"labels must be whole numbers, got an array of {labels.dtype}")
    if labels.size == 0 and num_classes is None:
        raise ValueError("there are no labels to count the classes of; pass num_classes")
    whole = xp.isfinite(labels) & (xp.floor(labels) == labels)
    if not whole.all():
        raise ValueError(f"labels must be whole numbers, got {float(labels[~whole][0]):g}")
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, -1)
    K = high + 1 if num_classes is None else num_classes
    if low < 0 or high >= K:
        raise ValueError(f"labels must be from 0 to {K - 1} for {K} classes, got labels from {low} to {high}")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    return (labels[..., None] == xp.arange(K)).astype(dtype)
