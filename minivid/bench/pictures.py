"""Pictures of a benchmark: who is faster, how far the ceilings are, the ladder; and the register tile."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.plots.style import BLUE, FAINT, GREEN, GREY, INK, ORANGE, PALE, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["draw_all", "draw_tile"]

SHORT = {
    "conv3x3-forward": "conv 3×3 forward",
    "conv3x3-backward": "conv 3×3 backward",
    "conv-other": "conv 1×1, 5×5, stride 2",
    "maxpool": "max-pooling",
    "lstm": "LSTM",
    "dense": "dense",
    "step": "training step",
}


def draw_all(record: dict, folder: str | os.PathLike) -> list[Path]:
    """Draw what a benchmark measured: ``bench.png``, ``roofline.png``, ``ladder_OPERATION.png``.

    Parameters
    ----------
    record : dict
        What ``bench.json`` holds.
    folder : path
        Where the pictures go.

    Returns
    -------
    list of pathlib.Path
        Those that there was something to draw for.

    Examples
    --------
    >>> draw_all({"groups": [], "ladders": []}, "runs")
    []
    """
    folder = Path(folder)
    written = []
    groups = [group for group in record["groups"] if group["key"] in SHORT]
    if groups:
        compared = all(group["mean"] for group in groups)
        written.append(save((_ratios_figure if compared else _shares_figure)(groups), folder / "bench.png"))
    if any(row["flops"] for group in groups for row in group["rows"]):
        written.append(save(_roofline_figure(record["machine"], groups), folder / "roofline.png"))
    for ladder in record["ladders"]:
        written.append(save(_ladder_figure(ladder), folder / f"ladder_{ladder['operation']}.png"))
    return written


@styled
def _ratios_figure(groups: list[dict]) -> "Figure":
    """One line per group: a small dot per shape, a large one at the geometric mean, a bar at the target."""
    figure, axes = _strips(groups, "ratio")
    axes.set_xscale("log")
    for y, group in enumerate(groups):
        color = ORANGE if group["met"] is False else BLUE
        axes.plot([group["mean"]], [y], "o", color=color, markersize=10, zorder=3)
        axes.plot([group["target"]] * 2, [y - 0.3, y + 0.3], color=INK, linewidth=1.2, zorder=4)
        place = {"xy": (1.01, y), "xycoords": ("axes fraction", "data")}
        axes.annotate(f"{group['mean']:.2f}", **place, va="center", color=color, weight="bold")
    everything = [row["ratio"] for group in groups for row in group["rows"]] + [group["target"] for group in groups]
    low, high = min([0.8, *everything]) / 1.15, max([2, *everything]) * 1.15
    _log_ticks(axes.xaxis, low, high)
    axes.set_xlim(low, high)
    axes.axvline(1, color=GREY, linewidth=1, zorder=0)
    axes.set_xlabel("PyTorch time / minivid time; small dots: shapes, large: their geometric mean, bar: target")
    axes.set_title("How many times as fast as PyTorch", pad=12)
    return figure


@styled
def _shares_figure(groups: list[dict]) -> "Figure":
    """One line per group: a dot per shape, at its share of the ceiling that binds it."""
    figure, axes = _strips(groups, "share")
    axes.set_xlim(0, 1.1 * max([1, *(row["share"] for group in groups for row in group["rows"])]))
    axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.axvline(1, color=INK, linewidth=1.2, zorder=0)
    axes.set_xlabel("share of the multiply-add peak or the copy bandwidth, whichever binds")
    axes.set_title("How close each shape comes to its ceiling", pad=12)
    return figure


def _strips(groups: list[dict], key: str) -> tuple["Figure", "Axes"]:
    """Draw one line per group, with a small dot per shape."""
    figure = new_figure(7.6, 1.5 + 0.48 * len(groups))
    axes = figure.subplots()
    for y, group in enumerate(groups):
        values = [row[key] for row in group["rows"]]
        color = ORANGE if group["met"] is False else BLUE
        axes.plot([min(values), max(values)], [y, y], color=PALE, linewidth=5, zorder=1)
        axes.plot(values, [y] * len(values), "o", color=color, alpha=0.45, markersize=5, markeredgewidth=0, zorder=2)
    axes.set_yticks(range(len(groups)), [SHORT[group["key"]] for group in groups])
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    return figure, axes


def _log_ticks(axis, low: float, high: float) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10, 20, ... in plain numbers."""
    from matplotlib.ticker import NullLocator

    decades = 10.0 ** np.arange(-3, 6)
    ticks = [tick for tick in np.outer(decades, (1, 2, 5)).ravel() if low <= tick <= high]
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


@styled
def _roofline_figure(machine: dict, groups: list[dict]) -> "Figure":
    """Arithmetic per byte against arithmetic per second, below the two ceilings."""
    peak, bandwidth = machine["flops_per_second"] / 1e9, machine["bytes_per_second"] / 1e9
    points = {
        SHORT[group["key"]]: [(row["flops"] / row["bytes"], row["gflops"]) for row in group["rows"] if row["flops"]]
        for group in groups
    }
    points = {name: found for name, found in points.items() if found}
    x, y = np.concatenate([*points.values()]).T
    low, high = min(peak / bandwidth / 4, x.min() / 1.3), max(peak / bandwidth * 4, x.max() * 1.3)
    floor, top = min(bandwidth * low, y.min()) / 1.4, max(peak, y.max()) * 1.7
    figure = new_figure(7.6, 4.4)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    corner = peak / bandwidth
    axes.plot([low, corner, high], [bandwidth * low, peak, peak], color=INK, linewidth=1.6, zorder=1)
    offset = {"textcoords": "offset points"}
    axes.annotate(f"multiply-add peak, {peak:.0f} GFLOP/s", (high, peak), (-2, 4), ha="right", **offset)
    axes.annotate(f"copy bandwidth, {bandwidth:.0f} GB/s", (corner / 2, peak / 2), (8, -4), va="top", **offset)
    looks = [(BLUE, "o"), (BLUE, "^"), (GREEN, "o"), (ORANGE, "o"), (ORANGE, "^"), (INK, "D")]
    for (name, found), (color, marker) in zip(points.items(), looks, strict=False):
        look = {"color": color, "markersize": 6, "alpha": 0.8, "markeredgewidth": 0, "clip_on": False}
        axes.plot(*zip(*found, strict=True), marker, label=name, **look)
    _log_ticks(axes.xaxis, low, high)
    _log_ticks(axes.yaxis, floor, top)
    axes.set_xlim(low, high)
    axes.set_ylim(floor, top)
    axes.set_xlabel("arithmetic per byte that must move (FLOP/byte)")
    axes.set_ylabel("GFLOP/s")
    axes.grid()
    axes.set_axisbelow(True)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handletextpad=0.2)
    axes.set_title("The roofline: how far each shape is from the ceiling above it")
    return figure


@styled
def _ladder_figure(ladder: dict) -> "Figure":
    """One bar per implementation, below the ceiling."""
    rungs = ladder["rungs"]
    moves = all(rung["gflops"] == 0 for rung in rungs)
    rates = [rung["gbytes"] if moves else rung["gflops"] for rung in rungs]
    peak = rates[-1] / rungs[-1]["share_of_peak"]
    unit, ceiling = ("GB/s", "copy bandwidth") if moves else ("GFLOP/s", "multiply-add peak")
    figure = new_figure(7.6, 1.3 + 0.42 * len(rungs))
    axes = figure.subplots()
    axes.axvline(peak, color=INK, linewidth=1.2, zorder=1)
    axes.annotate(f"{ceiling}, {peak:.0f}", (peak, -0.8), (-4, 0), textcoords="offset points", ha="right", va="center")
    colors = [FAINT if rung["rung"] == "PyTorch" else BLUE for rung in rungs]
    axes.barh(range(len(rungs)), rates, color=colors, height=0.62, zorder=2)
    for y, (rung, rate) in enumerate(zip(rungs, rates, strict=True)):
        inside = rate > 0.3 * max(rates)
        color = INK if not inside or rung["rung"] == "PyTorch" else "white"
        place = {"xytext": (-6 if inside else 5, 0), "textcoords": "offset points", "ha": "right" if inside else "left"}
        axes.annotate(f"{_rate(rate)} {unit}", (rate, y), **place, va="center", color=color, zorder=3)
    axes.set_yticks(range(len(rungs)), [rung["rung"] for rung in rungs])
    axes.set_ylim(len(rungs) - 0.5, -1.15)
    axes.set_xlim(0, 1.05 * max([peak, *rates]))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(unit)
    axes.set_title(f"The ladder of {ladder['operation']}: {ladder['case']}")
    return figure


def _rate(value: float) -> str:
    """Three digits, and no exponent."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


# --- the register tile --------------------------------------------------------------------------------------------


def draw_tile(path: str | os.PathLike) -> Path:
    """Draw the register tile of a convolution: which pixels and weights meet in which registers.

    Parameters
    ----------
    path : path
        Of the PNG file.

    Examples
    --------
    >>> import tempfile
    >>> draw_tile(tempfile.mkdtemp() + "/tile.png").name
    'tile.png'
    """
    return save(_tile_figure(), path)


@styled
def _tile_figure() -> "Figure":
    figure = new_figure(9.4, 4.9)
    axes = figure.subplots()
    axes.set_aspect("equal")
    axes.axis("off")
    _draw_image(axes)
    _draw_sums(axes, left=11.2)
    axes.set_xlim(-0.2, 22.2)
    axes.set_ylim(-1.9, 8.4)
    axes.set_title("The register tile: 10 loads feed 16 multiply-adds of whole vectors")
    return figure


TILE_ROWS, TILE_VECTOR = 8, 16  # with AVX-512; docs/ops/tile.md tells of others
PALE_BLUE, PALE_ORANGE, PALE_GREEN = "#dbe8f5", "#fae3d3", "#dcf0e3"


def _draw_image(axes: "Axes") -> None:
    """Draw a part of one channel of an image, and where in it the tap of each of the positions lies."""
    side, top = 0.85, 4.6
    for r, s in np.ndindex(3, TILE_ROWS + 2):
        tapped = r == 1 and 1 <= s <= TILE_ROWS  # the middle tap of every window
        x, y = s * side, top - r * side
        _box(
            axes, x, y, side, side, PALE_ORANGE if tapped else "white", ORANGE if tapped else FAINT, 2 if tapped else 1
        )
        if tapped:
            _text(axes, x + side / 2, y + side / 2, f"x{s - 1}", fontsize=8.5)
    _box(axes, 0, top - 2 * side, 3 * side, 3 * side, "none", INK, 3)
    _box(axes, side, top - 2 * side, 3 * side, 3 * side, "none", GREY, 3, linestyle=":")
    middle = (TILE_ROWS + 2) * side / 2
    _text(axes, middle, top + 1.75, "one channel of an image, 8 windows side by side")
    _text(axes, 0, top + 1.15, "window 0, window 1 (dotted), ...", ha="left", fontsize=8.5, color=GREY)
    words = "for each tap k of the windows:\n8 inputs x, each repeated over a vector,\n2 vectors of weights w,\n"
    words += "16 multiply-adds"
    _text(axes, middle, 0.85, words, linespacing=1.5)


def _draw_sums(axes: "Axes", left: float) -> None:
    """Draw the weights of one tap above the registers of sums, and the inputs beside them."""
    cell, gap = 0.32, 0.3
    long = TILE_VECTOR * cell
    for half in range(2):
        x = left + half * (long + gap)
        _vector(axes, x, 6.5, cell, PALE_GREEN, GREEN)
        first = half * TILE_VECTOR
        _text(axes, x + long / 2, 7.4, f"w[k], filters {first} to {first + TILE_VECTOR - 1}")
        _arrow(axes, (x + long / 2, 6.4), (x + long / 2, 5.75))
        for row in range(TILE_ROWS):
            _vector(axes, x, 5.1 - 0.8 * row, cell, PALE_BLUE, BLUE)
    for row in range(TILE_ROWS):
        y = 5.38 - 0.8 * row
        _box(axes, left - 1.75, y - 0.28, 0.75, 0.56, PALE_ORANGE, ORANGE, 2)
        _text(axes, left - 1.375, y, f"x{row}", fontsize=8.5)
        _arrow(axes, (left - 0.95, y), (left - 0.05, y))
    words = "8 positions × 32 filters: 256 running sums in 16 registers"
    _text(axes, left + long + gap / 2, -1.4, words, color=BLUE)


def _vector(axes: "Axes", x: float, y: float, cell: float, face: str, edge: str) -> None:
    for f in range(TILE_VECTOR):
        _box(axes, x + f * cell, y, cell, 0.56, face, edge, 1, linewidth=0.5)
    _box(axes, x, y, TILE_VECTOR * cell, 0.56, "none", edge, 2)


def _box(axes: "Axes", x, y, width, height, face, edge, zorder, **options) -> None:
    from matplotlib.patches import Rectangle

    look = {"linewidth": 1.0, "facecolor": face, "edgecolor": edge, "zorder": zorder} | options
    axes.add_patch(Rectangle((x, y), width, height, **look))


def _text(axes: "Axes", x, y, words, **options) -> None:
    axes.text(x, y, words, **({"ha": "center", "va": "center", "fontsize": 9.5} | options))


def _arrow(axes: "Axes", start, end) -> None:
    from matplotlib.patches import FancyArrowPatch

    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=GREY, linewidth=1))
