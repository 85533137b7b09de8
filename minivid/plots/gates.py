"""The gates of an LSTM over time, below the frames it saw."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.style import (
    DPI,
    GREY,
    as_pictures,
    bare,
    blue_colors,
    literal,
    range_of,
    save,
    signed_colors,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["lstm_gates"]


#: Name, meaning, slot of the weights.
PANELS = (
    ("input gate", "what is added", 0),
    ("forget gate", "what is kept", 1),
    ("output gate", "what is shown", 3),
    ("candidate", "the new content", 2),
)


def lstm_gates(
    gates: np.ndarray,
    frames: np.ndarray,
    path: str | os.PathLike,
    title: str | None = None,
    sort_units: bool = True,
) -> Path:
    """Draw what the gates of an LSTM do while it watches a clip: frames on top, units x time below.

    Parameters
    ----------
    gates : (T, 4U) array
        Activations in the slots i, f, C~, o: one sequence of ``LSTM.gate_activations``.
    frames : (T, H, W, 3) or (T, H, W, 1) array
        The clip: uint8, or floats from 0 to 1. Each frame stands above its own column; of more than 24 every second,
        third, ... is shown.
    path : path
        Of the PNG file.
    title : str, optional
        Line above the picture.
    sort_units : bool
        Order the units by their mean forget activation, the longest memory on top; the order is the same in all
        panels. Otherwise unit 0 is on top.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If shapes do not fit each other, or the gates leave their range.

    Notes
    -----
    The three gates, sigmoids, share one scale from 0 (closed) to 1 (open) and stand together; the candidate, a
    tanh, has a scale of its own from -1 to 1. So the panels are in the order i, f, o, C~.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "gates.png")
    >>> lstm_gates(np.full((5, 4 * 3), 0.5), np.zeros((5, 8, 8, 1)), path).name
    'gates.png'
    """
    return save(_lstm_gates_figure(gates, frames, title, sort_units), path)


@styled
def _lstm_gates_figure(gates, frames, title, sort_units) -> "Figure":
    gates, frames = np.asarray(gates, dtype=float), as_pictures(frames)
    _check_gates(gates, frames)
    T, U = len(gates), gates.shape[1] // 4
    slots = gates.reshape(T, 4, U)
    order = np.argsort(-slots[:, 1].mean(axis=0), kind="stable") if sort_units else np.arange(U)
    every = math.ceil(T / 24)  # smaller frames say nothing: show every second, third, ...
    shown = np.arange((every - 1) // 2, T - every // 2, every)  # the middle ones
    width = min(max(0.55 * T, 5.0), 10.0)
    strip, panels, bars = _gates_layout(width, width / T * every * frames.shape[1] / frames.shape[2], U)
    _draw_strip(strip, frames[shown], every)
    for axes, (name, meaning, slot) in zip(panels, PANELS, strict=True):
        heat = _draw_gate(axes, slots[:, slot, order], signed=name == "candidate")
        axes.annotate(name, (0, 0.5), (-8, 2), "axes fraction", "offset points", ha="right", va="bottom")
        axes.annotate(
            meaning, (0, 0.5), (-8, -2), "axes fraction", "offset points", ha="right", va="top", color=GREY, fontsize=8
        )
        if name == "output gate":
            _draw_bar(bars[0], heat, {0: "0 closed", 0.5: "0.5", 1: "1 open"})
        elif name == "candidate":
            _draw_bar(bars[1], heat, {-1: "−1", 0: "0", 1: "1"})
    for axes in (strip, *panels):
        axes.set_xlim(0.5, T + 0.5)
    panels[-1].set_xticks(shown + 1)
    panels[-1].set_xlabel("time step", loc="left")
    by = "sorted by their mean forget gate, the longest memory on top" if sort_units else "unit 0 on top"
    panels[-1].set_title(f"rows: {U} units, {by}", loc="right", y=0, pad=-38, color=GREY, fontsize=8)
    if title:
        strip.set_title(literal(title), pad=8)
    return strip.figure


def _gates_layout(width: float, strip_height: float, U: int) -> tuple["Axes", list["Axes"], list["Axes"]]:
    """Return axes for the frames, the four panels and the two colour bars, on a new figure; sizes in inches."""
    from matplotlib.figure import Figure

    panel, gap, left, right = min(max(0.035 * U, 0.7), 1.6), 0.1, 1.3, 1.0
    heights = [0.45, panel, gap + 0.1, panel, gap, panel, gap, panel, gap, strip_height, 0.35]  # from the bottom
    edges = np.cumsum(heights)
    whole = left + width + right, edges[-1]
    figure = Figure(figsize=whole, dpi=DPI)

    def place(x, y, w, h):
        return figure.add_axes((x / whole[0], y / whole[1], w / whole[0], h / whole[1]))

    strip = place(left, edges[8], width, strip_height)
    panels = [place(left, edges[row], width, panel) for row in (6, 4, 2, 0)]
    bars = [
        place(left + width + 0.12, bottom, 0.11, height)
        for bottom, height in ((edges[2], 3 * panel + 2 * gap), (edges[0], panel))
    ]
    return strip, panels, bars


def _draw_gate(axes: "Axes", values: np.ndarray, signed: bool):
    """Draw one gate, values (T, U), as units x time; step t covers t - 0.5 to t + 0.5."""
    T, U = values.shape
    colors = {"cmap": signed_colors() if signed else blue_colors(), "vmin": -1 if signed else 0, "vmax": 1}
    axes.tick_params(left=False, labelleft=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    return axes.imshow(values.T, extent=(0.5, T + 0.5, U, 0), aspect="auto", interpolation="nearest", **colors)


def _draw_strip(axes: "Axes", frames: np.ndarray, every: int) -> None:
    """Draw each frame above its own columns, a little smaller than they are."""
    for index, frame in enumerate(frames):
        left = 0.5 + index * every
        extent = (left + 0.04 * every, left + 0.96 * every, 0.04, 0.96)
        axes.imshow(frame, extent=extent, aspect="auto", interpolation="nearest")
    axes.set_ylim(0, 1)
    bare(axes)


def _draw_bar(axes: "Axes", heat, ticks: dict[float, str]) -> None:
    """Draw a colour bar; the figure's first and last labels stay within its height."""
    bar = axes.figure.colorbar(heat, cax=axes, ticks=[*ticks])
    bar.outline.set_visible(False)
    lowest, *_, highest = axes.set_yticklabels(ticks.values())
    lowest.set_verticalalignment("bottom")
    highest.set_verticalalignment("top")


def _check_gates(gates: np.ndarray, frames: np.ndarray) -> None:
    if gates.ndim != 2 or gates.shape[1] % 4 or gates.size == 0:
        raise ValueError(
            f"gates must be (time, 4 x units), one sequence of LSTM.gate_activations; got shape {gates.shape}"
        )
    if len(gates) != len(frames):
        raise ValueError(f"the gates have {len(gates)} time steps, but there are {len(frames)} frames")
    if not np.abs(gates).max() <= 1:
        raise ValueError(f"gate activations are from -1 to 1 (after sigmoid and tanh), got {range_of(gates)}")
