"""How the error of a prediction grows with every step into the future."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.style import LINES, literal, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["error_per_step"]


def error_per_step(errors: Mapping[str, Sequence[float]], path: str | os.PathLike, ylabel: str = "MSE") -> Path:
    """Draw errors over the predicted steps, a line per way to predict.

    Parameters
    ----------
    errors : dict of str to (P,) sequence of float
        Names, four at most, and their errors at steps +1 to +P.
    path : path
        PNG file to write.
    ylabel : str
        What the errors are.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        For no lines or more than four, or numbers of steps that differ.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "steps.png")
    >>> error_per_step({"model": [0.01, 0.02], "copy last": [0.03, 0.05]}, path).name
    'steps.png'
    """
    return save(_error_per_step_figure(errors, ylabel), path)


@styled
def _error_per_step_figure(errors, ylabel) -> "Figure":
    if not 1 <= len(errors) <= len(LINES):
        raise ValueError(f"error_per_step draws 1 to {len(LINES)} lines, got {len(errors)}")
    lengths = {name: len(values) for name, values in errors.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"all lines must have one error per step, the same number of steps, got {lengths}")
    figure = new_figure(5.2, 3.2)
    axes = figure.subplots()
    P = next(iter(lengths.values()))
    for (name, values), color in zip(errors.items(), LINES, strict=False):
        axes.plot(np.arange(1, P + 1), values, "-o", markersize=3.5, color=color, label=literal(name))
    axes.set_ylim(bottom=0)
    axes.set_xticks(np.arange(1, P + 1, -(-P // 12)), [f"+{t}" for t in range(1, P + 1, -(-P // 12))])
    axes.set_xlabel("step after the last frame seen")
    axes.set_ylabel(ylabel)
    axes.grid(axis="y")
    axes.legend(frameon=False)
    return figure
