"""Learning curves: what the epochs of a training did."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.style import LINES, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["learning_curves"]


def learning_curves(history: Mapping[str, Sequence[float]], path: str | os.PathLike) -> Path:
    """Draw loss and metrics over the epochs of a training, one panel each.

    Parameters
    ----------
    history : dict of str to list of float
        ``History.history``: ``"loss"`` and metrics, each with its ``"val_..."`` counterpart if there was validation.
        Learning rates are left out.
    path : path
        Of the PNG file.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If there are no epochs, or the figures have different numbers of them.
    TypeError
        If ``history`` is no dict.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "curves.png")
    >>> learning_curves({"loss": [1.1, 0.6], "val_loss": [1.0, 0.7]}, path).name
    'curves.png'
    """
    return save(_learning_curves_figure(history), path)


@styled
def _learning_curves_figure(history) -> "Figure":
    curves = _checked_history(history)
    names = [name for name in curves if not name.startswith("val_")]
    figure = new_figure(1.0 + 3.7 * len(names), 3.0)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.set_title(name.replace("_", " "))
        sides = {"train": name, "validation": f"val_{name}"}
        lines = {label: curves[key] for label, key in sides.items() if key in curves}
        _draw_curves(axes, lines)
        highest, lowest = np.nanmax([*lines.values()]), np.nanmin([*lines.values()])
        if name.endswith("accuracy"):
            axes.set_ylim(0, 1.02)
        elif lowest >= 0 and highest > 0:
            axes.set_ylim(0, 1.05 * highest)
        _label_ends(axes)
    return figure


def _checked_history(history) -> dict[str, np.ndarray]:
    if not isinstance(history, Mapping):
        raise TypeError(f"learning_curves takes a dict such as model.fit(...).history, got {type(history).__name__}")
    curves = {k: np.asarray(v, dtype=float) for k, v in history.items() if k not in ("learning_rate", "lr")}
    curves = {name: np.where(np.isfinite(values), values, np.nan) for name, values in curves.items()}
    lengths = {name: len(values) for name, values in curves.items()}
    if not any(lengths.values()):
        raise ValueError("the history holds no epochs: fit the model first")
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the figures of a history have one value per epoch each, got {lengths} values")
    empty = [name for name, values in curves.items() if np.isnan(values).all()]
    if empty:
        raise ValueError(f"the history has no finite value of {', '.join(empty)}")
    orphans = [name for name in curves if name.startswith("val_") and name.removeprefix("val_") not in curves]
    if orphans:
        raise ValueError(f"the history has {orphans}, but not what they validate")
    return curves


def _draw_curves(axes: "Axes", lines: dict[str, np.ndarray]) -> None:
    """Draw the lines over the epochs, each with a dot at its last finite value."""
    from matplotlib.ticker import MaxNLocator

    E = len(next(iter(lines.values())))
    epochs = np.arange(1, E + 1)
    for (label, values), color in zip(lines.items(), LINES, strict=False):
        last = [int(np.flatnonzero(np.isfinite(values))[-1])]
        axes.plot(epochs, values, "-o", markevery=last, markersize=4.5, color=color, label=label, clip_on=False)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel("epoch")
    axes.set_xlim(*((0.5, 1.5) if E == 1 else (1, E)))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def _label_ends(axes: "Axes") -> None:
    """Write each line's name and last value to the right of its end, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    lines = {line: line.get_ydata()[np.isfinite(line.get_ydata())][-1] for line in axes.get_lines()}
    lines = dict(sorted(lines.items(), key=lambda item: item[1]))
    heights = _pushed_apart([(value - low) / (high - low) for value in lines.values()], gap=0.075)
    for height, (line, value) in zip(heights, lines.items(), strict=True):
        place = line.get_xdata()[-1], height
        axes.annotate(
            f"{line.get_label()} {value:.3g}",
            place,
            (8, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=line.get_color(),
            va="center",
        )


def _pushed_apart(heights: Sequence[float], gap: float) -> list[float]:
    """Return two or fewer sorted heights at least ``gap`` apart, around the same middle."""
    if len(heights) < 2 or heights[1] - heights[0] >= gap:
        return list(heights)
    middle = min(max(sum(heights) / 2, gap / 2), 1 - gap / 2)
    return [middle - gap / 2, middle + gap / 2]
