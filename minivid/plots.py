"""Every picture: learning curves, confusion matrices, LSTM gates, gradient norms, filters, images, annotated clips.

Each function that takes a ``path`` writes one PNG file and returns its path; the file appears when it is complete.
The figures are made without a display and without pyplot, so nothing of the caller's own plotting is touched.
"""

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = [
    "annotate_clip",
    "confusion_matrix",
    "filters",
    "gradient_norms",
    "images",
    "learning_curves",
    "lstm_gates",
]

INK, GREY, FAINT, PALE = "#1f2933", "#7b8794", "#b8c0c8", "#e4e7eb"
BLUE, ORANGE, GREEN, RED = "#2463a8", "#d9681d", "#2f9e5f", "#cf3f3f"
LINES = (BLUE, ORANGE, GREEN, GREY)
DPI = 120
LONGEST_NAME = 25  # characters of a class name that are shown

#: The first comes with matplotlib; the others, where installed, have Chinese, Japanese and Korean class names.
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "WenQuanYi Zen Hei", "Arial Unicode MS")

STYLE = {
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": PALE,
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
}


def _installed_fonts() -> list[str]:
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return [font for font in FONTS if font in installed]


def _styled(function: Callable) -> Callable:
    """Run a function under this module's style and give the caller's back."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE | {"font.family": _installed_fonts()})
            return function(*args, **kwargs)

    return wrapper


def _new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


@_styled
def _save(figure: "Figure", path: str | os.PathLike) -> Path:
    """Write a PNG, trimmed to what is drawn."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"pictures are PNG files: got {str(path)!r}, write {path.with_suffix('.png').name!r}")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return path


def _blues() -> "Colormap":
    """0 to 1: from almost white to deep blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blues", ["#f5f8fb", "#bcd6ec", "#5b9bd0", BLUE, "#0c2f57"])


def _signed() -> "Colormap":
    """-1 to 1: orange, white, blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "signed", ["#7a3206", ORANGE, "#f5c6a2", "#fafafa", "#a9cbe8", BLUE, "#0c2f57"]
    )


def _literal(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def _bare(axes: "Axes", framed: bool = False) -> None:
    """Take away the ticks, and the frame or all but a thin line of it."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=framed, color=FAINT, linewidth=0.6)


# --- learning curves -------------------------------------------------------------------------------------------


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
    return _save(_learning_curves_figure(history), path)


@_styled
def _learning_curves_figure(history) -> "Figure":
    curves = _checked_history(history)
    names = [name for name in curves if not name.startswith("val_")]
    figure = _new_figure(1.0 + 3.7 * len(names), 3.0)
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


# --- confusion matrix ------------------------------------------------------------------------------------------


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
    return _save(_confusion_matrix_figure(matrix, class_names), path)


@_styled
def _confusion_matrix_figure(matrix, class_names) -> "Figure":
    matrix = np.asarray(matrix)
    _check_confusion(matrix, class_names)
    K = len(matrix)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = [_shortened(str(name)) for name in class_names]
    longest = 0.07 * max(map(len, names))  # inches
    side, upright = K * _cell_inches(K), longest > 0.95 * _cell_inches(K)
    names = [_literal(name) for name in names]
    figure = _new_figure(side + longest + 1.5, side + (longest if upright else 0.2) + 0.9)
    axes = figure.subplots()
    shading = axes.imshow(shares, cmap=_blues(), vmin=0, vmax=1, aspect="equal")
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


# --- LSTM gates ------------------------------------------------------------------------------------------------

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
    return _save(_lstm_gates_figure(gates, frames, title, sort_units), path)


@_styled
def _lstm_gates_figure(gates, frames, title, sort_units) -> "Figure":
    gates, frames = np.asarray(gates, dtype=float), _as_pictures(frames)
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
        strip.set_title(_literal(title), pad=8)
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
    colors = {"cmap": _signed() if signed else _blues(), "vmin": -1 if signed else 0, "vmax": 1}
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
    _bare(axes)


def _draw_bar(axes: "Axes", heat, ticks: dict[float, str]) -> None:
    """Draw a colour bar; the figure's first and last labels stay within its height."""
    bar = axes.figure.colorbar(heat, cax=axes, ticks=[*ticks])
    bar.outline.set_visible(False)
    lowest, *_, highest = axes.set_yticklabels(ticks.values())
    lowest.set_verticalalignment("bottom")
    highest.set_verticalalignment("top")


def _as_pictures(frames) -> np.ndarray:
    """Return frames (T, H, W, 3 or 1) as (T, H, W, 3) floats from 0 to 1."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[3] not in (1, 3) or frames.size == 0:
        raise ValueError(f"frames must be (time, height, width, 3 or 1), got shape {frames.shape}")
    if frames.dtype == np.uint8:
        frames = frames / 255
    elif frames.dtype.kind != "f" or not (frames.min() >= 0 and frames.max() <= 1):
        raise ValueError(f"frames must be uint8 or floats from 0 to 1, got {_range_of(frames)}")
    return np.broadcast_to(frames, (*frames.shape[:3], 3))


def _range_of(array: np.ndarray) -> str:
    return f"{array.dtype} from {array.min():g} to {array.max():g}"


def _check_gates(gates: np.ndarray, frames: np.ndarray) -> None:
    if gates.ndim != 2 or gates.shape[1] % 4 or gates.size == 0:
        raise ValueError(
            f"gates must be (time, 4 x units), one sequence of LSTM.gate_activations; got shape {gates.shape}"
        )
    if len(gates) != len(frames):
        raise ValueError(f"the gates have {len(gates)} time steps, but there are {len(frames)} frames")
    if not np.abs(gates).max() <= 1:
        raise ValueError(f"gate activations are from -1 to 1 (after sigmoid and tanh), got {_range_of(gates)}")


# --- gradient norms --------------------------------------------------------------------------------------------


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
    return _save(_gradient_norms_figure(norms), path)


@_styled
def _gradient_norms_figure(norms) -> "Figure":
    norms = {name: np.asarray(values, dtype=float) for name, values in norms.items()}
    _check_norms(norms)
    figure = _new_figure(7.4, 3.8)
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


# --- filters and images ----------------------------------------------------------------------------------------


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
    return _save(_filters_figure(kernel), path)


@_styled
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
    figure = _new_figure(columns * 0.85, rows * 0.85 * kernel.shape[0] / kernel.shape[1])
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        _bare(axes)
    for axes, w in zip(grid.flat, np.moveaxis(kernel, 3, 0), strict=False):
        if w.shape[2] == 3:
            axes.imshow(0.5 + w / (2 * largest))
        else:
            axes.imshow(w[:, :, 0], cmap=_signed(), vmin=-largest, vmax=largest)
            _bare(axes, framed=True)
    return figure


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
    return _save(_images_figure(pictures, columns), path)


@_styled
def _images_figure(pictures, columns) -> "Figure":
    arrays = {name: _checked_picture(name, picture) for name, picture in pictures.items()}
    if not arrays:
        raise ValueError("there are no pictures to draw")
    columns = min(columns, len(arrays))
    rows = math.ceil(len(arrays) / columns)
    tallest = max(a.shape[0] / a.shape[1] for a in arrays.values())
    figure = _new_figure(2.3 * columns, rows * (2.2 * min(tallest, 2) + 0.35))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        _bare(axes)
    for axes, (name, picture) in zip(grid.flat, arrays.items(), strict=False):
        axes.set_title(_literal(name), loc="center")
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
        raise ValueError(f"colour picture {name!r} must be uint8 or floats from 0 to 1, got {_range_of(picture)}")
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
    axes.imshow(picture, cmap=_signed(), vmin=-largest, vmax=largest)
    _bare(axes, framed=True)
    for row, column in np.ndindex(picture.shape) if small else ():
        value = picture[row, column]
        color = "white" if abs(value) > 0.6 * largest else INK
        axes.text(column, row, f"{value:.3g}".replace("-", "−"), ha="center", va="center", color=color)


# --- clips -----------------------------------------------------------------------------------------------------


def annotate_clip(
    frames: np.ndarray,
    lines: Sequence[str],
    good: bool | None = None,
    confidence: float | None = None,
    scale: int | None = None,
) -> np.ndarray:
    """Enlarge a clip and write lines of text below it, for people to watch.

    Parameters
    ----------
    frames : (T, H, W, 3) or (T, H, W, 1) array
        The clip: uint8, or floats from 0 to 1.
    lines : list of str
        Text below the clip, one line each; a line that is too long ends in an ellipsis.
    good : bool, optional
        Colour of the bar beside the text: green if True, red if False, blue if not given.
    confidence : float, optional
        From 0 to 1: length of a bar below the text.
    scale : int, optional
        Each pixel becomes scale x scale pixels, without smoothing. By default what makes the clip at least 256
        pixels wide.

    Returns
    -------
    clip : (T, height, width, 3) uint8 array
        Height and width are even, as MP4 wants them.

    Raises
    ------
    ValueError
        For frames of another shape or range, a confidence outside 0 to 1, or a scale below 1.

    Examples
    --------
    >>> annotate_clip(np.zeros((5, 32, 32, 3), np.uint8), ["predicted left"], good=True, scale=8).shape
    (5, 292, 256, 3)
    """
    pictures = (_as_pictures(frames) * 255).round().astype(np.uint8)  # (T, H, W, 3)
    if confidence is not None and not 0 <= confidence <= 1:
        raise ValueError(f"confidence must be from 0 to 1, got {confidence!r}")
    scale = math.ceil(256 / pictures.shape[2]) if scale is None else scale
    if not hasattr(scale, "__index__") or scale < 1:
        raise ValueError(f"scale must be a positive int, got {scale!r}")
    large = pictures.repeat(scale, axis=1).repeat(scale, axis=2)
    strip = _text_strip(large.shape[2], lines, {True: GREEN, False: RED, None: BLUE}[good], confidence)
    clip = np.concatenate([large, np.broadcast_to(strip, (len(large), *strip.shape))], axis=1)
    even = [(0, 0), (0, clip.shape[1] % 2), (0, clip.shape[2] % 2), (0, 0)]
    return np.pad(clip, even, mode="edge")


def _text_strip(width: int, lines: Sequence[str], color: str, confidence: float | None) -> np.ndarray:
    """Draw lines of text, a coloured bar on their left and a bar for the confidence below: (height, width, 3)."""
    from PIL import Image, ImageDraw

    spacing, margin, bar = 21, 7, 6
    height = len(lines) * spacing + 2 * margin + (0 if confidence is None else bar + margin)
    strip = Image.new("RGB", (width, height), INK)
    draw = ImageDraw.Draw(strip)
    draw.rectangle((0, 0, bar - 1, height), fill=color)
    left = bar + 8
    for row, line in enumerate(lines):
        font = _font_for(line)
        text = _fitted(line, width - left - margin, functools.partial(draw.textlength, font=font))
        draw.text((left, margin + (row + 0.5) * spacing), text, font=font, fill="white", anchor="lm")
    if confidence is not None:
        top, right = height - margin - bar, width - margin - 1
        draw.rectangle((left, top, right, top + bar - 1), fill="#3e4c59")
        if confidence * (right - left) >= 1:
            draw.rectangle((left, top, left + round(confidence * (right - left)), top + bar - 1), fill=color)
    return np.asarray(strip)


def _font_for(text: str):
    """Return a font that Pillow draws with, one with Chinese characters if they are needed and it is there."""
    from matplotlib.font_manager import findfont
    from PIL import ImageFont

    first, *others = _installed_fonts()
    needed = any(letter > "\u2e7f" for letter in text)
    return ImageFont.truetype(findfont(others[0] if needed and others else first), 13)


def _fitted(text: str, width: float, length: Callable[[str], float]) -> str:
    """Return the text, or as much of its beginning as fits with an ellipsis."""
    if length(text) <= width:
        return text
    fits = (text[:end] + "…" for end in range(len(text) - 1, 0, -1) if length(text[:end] + "…") <= width)
    return next(fits, "")
