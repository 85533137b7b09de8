"""The filters of a convolution."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.style import bare, new_figure, save, signed_colors, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["filters"]


def filters(kernel: np.ndarray, path: str | os.PathLike) -> Path:
    """Draw the filters of a first convolution layer.

    Parameters
    ----------
    kernel : (KH, KW, C, F) array
        For C = 3 each filter is a colour picture, grey where its weight is zero; for C = 1 weights are drawn from
        orange (negative) over white to blue (positive). All filters share one scale.
    path : path
        Of the PNG file.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If the kernel has another number of axes or channels.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "filters.png")
    >>> filters(np.random.default_rng(0).normal(size=(3, 3, 3, 8)), path).name
    'filters.png'
    """
    return save(_filters_figure(kernel), path)


@styled
def _filters_figure(kernel) -> "Figure":
    kernel = np.asarray(kernel)
    if kernel.ndim != 4 or kernel.shape[2] not in (1, 3) or kernel.size == 0:
        raise ValueError(
            f"filters draws a kernel (KH, KW, C, F) with C = 1 or 3, got shape {kernel.shape}; deeper layers have no "
            "pictures, draw one channel: kernel[:, :, c : c + 1]"
        )
    largest = np.abs(kernel).max() or 1.0
    F = kernel.shape[3]
    columns = min(F, 8)
    rows = math.ceil(F / columns)
    figure = new_figure(columns * 0.85, rows * 0.85 * kernel.shape[0] / kernel.shape[1])
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for axes, w in zip(grid.flat, np.moveaxis(kernel, 3, 0), strict=False):
        if w.shape[2] == 3:
            axes.imshow(0.5 + w / (2 * largest))
        else:
            axes.imshow(w[:, :, 0], cmap=signed_colors(), vmin=-largest, vmax=largest)
            bare(axes, framed=True)
    return figure
