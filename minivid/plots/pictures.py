"""Pictures side by side: inputs, feature maps, small tables of numbers."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.style import INK, bare, literal, new_figure, range_of, save, signed_colors, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["images"]


def images(pictures: Mapping[str, np.ndarray], path: str | os.PathLike, columns: int = 4) -> Path:
    """Draw pictures, feature maps and kernels in a grid, each under its name.

    Parameters
    ----------
    pictures : dict of str to array
        (H, W) or (H, W, 1) grey, (H, W, 3) colour. uint8, and floats from 0 to 1, are drawn as they are; other
        values of one channel from orange (negative) over white to blue (positive), white at zero. Pictures of up to
        5 x 5 pixels, such as kernels, show their numbers.
    path : path
        Of the PNG file.
    columns : int
        Pictures in a row.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If there are no pictures, or one has another shape or values that are not finite.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "images.png")
    >>> images({"ramp": np.linspace(0, 1, 64).reshape(8, 8), "kernel": np.array([[1, -1]])}, path).name
    'images.png'
    """
    return save(_images_figure(pictures, columns), path)


@styled
def _images_figure(pictures, columns) -> "Figure":
    arrays = {name: _checked_picture(name, picture) for name, picture in pictures.items()}
    if not arrays:
        raise ValueError("there are no pictures to draw")
    columns = min(columns, len(arrays))
    rows = math.ceil(len(arrays) / columns)
    tallest = max(a.shape[0] / a.shape[1] for a in arrays.values())
    figure = new_figure(2.3 * columns, rows * (2.2 * min(tallest, 2) + 0.35))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for axes, (name, picture) in zip(grid.flat, arrays.items(), strict=False):
        axes.set_title(literal(name), loc="center")
        _draw_picture(axes, picture)
    return figure


def _checked_picture(name: str, picture) -> np.ndarray:
    picture = np.asarray(picture)
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[:, :, 0]
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] != 3) or picture.size == 0:
        raise ValueError(f"picture {name!r} must be (H, W), (H, W, 1) or (H, W, 3), got shape {picture.shape}")
    if not np.isfinite(picture).all():
        raise ValueError(f"picture {name!r} has values that are not finite")
    if picture.ndim == 3 and not _is_plain(picture):
        raise ValueError(f"colour picture {name!r} must be uint8 or floats from 0 to 1, got {range_of(picture)}")
    return picture


def _is_plain(picture: np.ndarray) -> bool:
    in_range = picture.dtype.kind == "f" and picture.min() >= 0 and picture.max() <= 1
    return picture.dtype == np.uint8 or bool(in_range)


def _draw_picture(axes: "Axes", picture: np.ndarray) -> None:
    small = picture.ndim == 2 and max(picture.shape) <= 5
    if _is_plain(picture) and not small:
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255 if picture.dtype == np.uint8 else 1)
        return
    largest = np.abs(picture).max() or 1.0
    axes.imshow(picture, cmap=signed_colors(), vmin=-largest, vmax=largest)
    bare(axes, framed=True)
    for row, column in np.ndindex(picture.shape) if small else ():
        value = picture[row, column]
        color = "white" if abs(value) > 0.6 * largest else INK
        axes.text(column, row, f"{value:.3g}".replace("-", "−"), ha="center", va="center", color=color)
