"""The confusion matrix of a classifier."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.style import FAINT, INK, LONGEST_NAME, blue_colors, literal, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["confusion_matrix"]


def confusion_matrix(matrix: np.ndarray, class_names: Sequence[str], path: str | os.PathLike) -> Path:
    """Draw a confusion matrix: counts in the cells, shaded by their share of the true class.

    Parameters
    ----------
    matrix : (K, K) array of int
        Number of samples per true class (row) and predicted class (column).
    class_names : list of str
        K names; of long ones the beginning and the end are shown.
    path : path
        Of the PNG file.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If the matrix is no square of counts, or the number of names differs.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "confusion.png")
    >>> confusion_matrix(np.array([[9, 1], [0, 10]]), ["left", "right"], path).name
    'confusion.png'
    """
    return save(_confusion_matrix_figure(matrix, class_names), path)


@styled
def _confusion_matrix_figure(matrix, class_names) -> "Figure":
    matrix = np.asarray(matrix)
    _check_confusion(matrix, class_names)
    K = len(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = [_shortened(str(name)) for name in class_names]
    longest = 0.07 * max(map(len, names))  # inches
    side, upright = K * _cell_inches(K), longest > 0.95 * _cell_inches(K)
    names = [literal(name) for name in names]
    figure = new_figure(side + longest + 1.5, side + (longest if upright else 0.2) + 0.9)
    axes = figure.subplots()
    shading = axes.imshow(shares, cmap=blue_colors(), vmin=0, vmax=1, aspect="equal")
    for row, column in np.ndindex(K, K):
        _write_cell(axes, row, column, int(matrix[row, column]), shares[row, column], with_percent=K <= 10)
    axes.set_xticks(range(K), names, rotation=90 if upright else 0)
    axes.set_yticks(range(K), names)
    axes.set_xticks(np.arange(K + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(K + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    right, total = int(np.trace(matrix)), int(matrix.sum())
    axes.set_title(f"{right:,} of {total:,} right ({100 * right / max(total, 1):.1f} %)", loc="center")
    bar = figure.colorbar(shading, cax=axes.inset_axes((1 + 0.15 / side, 0, 0.13 / side, 1)), ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["0 %", "50 %", "100 %"])
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    return figure


def _check_confusion(matrix: np.ndarray, class_names) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"a confusion matrix is (classes, classes), got shape {matrix.shape}")
    if matrix.dtype.kind not in "iu" or matrix.min() < 0:
        raise ValueError(f"a confusion matrix holds counts, integers >= 0; got {matrix.dtype} from {matrix.min()}")
    if len(class_names) != len(matrix):
        raise ValueError(f"the matrix has {len(matrix)} classes, but there are {len(class_names)} names")


def _cell_inches(K: int) -> float:
    return min(max(4.2 / K, 0.42), 0.95)


def _shortened(name: str) -> str:
    half = (LONGEST_NAME - 1) // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _write_cell(axes: "Axes", row: int, column: int, count: int, share: float, with_percent: bool) -> None:
    texts = [(f"{count:,}", 0, 9.5)]
    if with_percent and count:
        texts = [(f"{count:,}", 6, 9.5), (f"{100 * share:.0f} %", -7, 7.5)]
    color = "white" if share > 0.55 else INK if count else FAINT
    for text, above, size in texts:
        place = {"xy": (column, row), "xytext": (0, above), "textcoords": "offset points"}
        axes.annotate(text, **place, ha="center", va="center", color=color, fontsize=size)
