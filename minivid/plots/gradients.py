"""Norms of gradients over time steps: do they vanish or explode?"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.style import LINES, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_norms"]


def gradient_norms(norms: Mapping[str, np.ndarray], path: str | os.PathLike) -> Path:
    """Draw how large the gradient of the loss is at each time step, on a logarithmic scale.

    Parameters
    ----------
    norms : dict of str to (T,) array
        Norms ``|dL/dh_t|`` for t = 1..T, by the name of the network or state. Zeros are left out.
    path : path
        Of the PNG file.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If there are no positive norms, or a norm is negative or not finite.

    Notes
    -----
    Backpropagation through time multiplies by one Jacobian per step; norms that fall on a straight line here vanish
    exponentially (Bengio, Simard & Frasconi, IEEE Transactions on Neural Networks 5(2), 1994).

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "norms.png")
    >>> gradient_norms({"SimpleRNN": 0.5 ** np.arange(20)[::-1], "LSTM": np.ones(20)}, path).name
    'norms.png'
    """
    return save(_gradient_norms_figure(norms), path)


@styled
def _gradient_norms_figure(norms) -> "Figure":
    norms = {name: np.asarray(values, dtype=float) for name, values in norms.items()}
    _check_norms(norms)
    figure = new_figure(7.4, 3.8)
    axes = figure.subplots()
    axes.set_yscale("log")
    for (name, values), color in zip(norms.items(), LINES, strict=False):
        axes.plot(np.arange(1, len(values) + 1), np.where(values > 0, values, np.nan), color=color, label=name)
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    axes.set_xlabel("time step t")
    axes.set_title("norm of the gradient of the loss at time step t")
    axes.legend(loc="lower right", frameon=False, labelcolor="linecolor", handlelength=1.2, fontsize=10)
    return figure


def _check_norms(norms: dict[str, np.ndarray]) -> None:
    if not 1 <= len(norms) <= len(LINES):
        raise ValueError(f"gradient_norms draws 1 to {len(LINES)} networks, got {len(norms)}")
    for name, values in norms.items():
        if values.ndim != 1 or not np.isfinite(values).all() or not (values >= 0).all():
            raise ValueError(f"the norms of {name!r} must be one finite number >= 0 per time step, shape (T,)")
        if not (values > 0).any():
            raise ValueError(f"all norms of {name!r} are zero: nothing can be drawn on a logarithmic scale")
