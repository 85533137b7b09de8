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

INK, GREY, PALE = "#1f2933", "#7b8794", "#e4e7eb"
BLUE, ORANGE, GREEN, RED = "#2463a8", "#d9681d", "#2f9e5f", "#cf3f3f"
LINES = (BLUE, ORANGE, GREEN, GREY)
DPI = 120
LONGEST_NAME = 26  # characters of a class name that are shown

STYLE = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",  # comes with matplotlib
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


def _styled(function: Callable) -> Callable:
    """Run a function under this module's style and give the caller's back."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE)
            return function(*args, **kwargs)

    return wrapper


def _new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _save(figure: "Figure", path: str | os.PathLike) -> Path:
    """Write a PNG beside its final place, then move it there."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"pictures are PNG files: got {str(path)!r}, write {path.with_suffix('.png').name!r}")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})
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


def _bare(axes: "Axes") -> None:
    """Take away ticks and frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


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
        lines = {"train": curves[name], "validation": curves.get(f"val_{name}")}
        _draw_curves(axes, {label: values for label, values in lines.items() if values is not None})
        if name.endswith("accuracy"):
            axes.set_ylim(0, 1.02)
        elif min(np.nanmin(values) for values in lines.values() if values is not None) >= 0:
            axes.set_ylim(bottom=0)
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
    orphans = [name for name in curves if name.startswith("val_") and name.removeprefix("val_") not in curves]
    if orphans:
        raise ValueError(f"the history has {orphans}, but not what they validate")
    return curves


def _draw_curves(axes: "Axes", lines: dict[str, np.ndarray]) -> None:
    """Draw the lines over the epochs, each with a dot at its last finite value."""
    from matplotlib.ticker import MaxNLocator

    epochs = np.arange(1, len(next(iter(lines.values()))) + 1)
    for (label, values), color in zip(lines.items(), LINES, strict=False):
        axes.plot(epochs, values, color=color, label=label)
        last = np.flatnonzero(np.isfinite(values))[-1:]
        axes.plot(epochs[last], values[last], "o", color=color, markersize=4.5)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel("epoch")
    axes.set_xlim(1 - 0.02 * len(epochs), max(len(epochs), 1.02) + 0.02 * len(epochs))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def _label_ends(axes: "Axes") -> None:
    """Write each line's name and last value to the right of its end, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    ends = []
    for line in axes.get_lines():
        if line.get_label().startswith("_") or not np.isfinite(line.get_ydata()).any():
            continue
        value = line.get_ydata()[np.isfinite(line.get_ydata())][-1]
        ends.append((value, f"{line.get_label()} {value:.3g}", line.get_color()))
    ends.sort(key=lambda end: end[0])
    heights = _pushed_apart([(value - low) / (high - low) for value, *_ in ends], gap=0.075)
    for height, (_, text, color) in zip(heights, ends, strict=True):
        axes.annotate(
            text, (1, height), (6, 0), xycoords="axes fraction", textcoords="offset points", color=color, va="center"
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
        K names; of long ones the beginning is shown.
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
    longest = max(map(len, names))
    upright = longest * 0.085 > _cell_inches(K) * 0.95
    side, margin = K * _cell_inches(K), 0.075 * longest
    figure = _new_figure(side + margin + 1.5, side + (margin if upright else 0.2) + 0.9)
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
    bar = figure.colorbar(shading, ax=axes, fraction=0.046, pad=0.02, aspect=30, ticks=[0, 0.5, 1])
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
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _write_cell(axes: "Axes", row: int, column: int, count: int, share: float, with_percent: bool) -> None:
    color = "white" if share > 0.55 else INK if count else "#b8c0c8"
    two_lines = with_percent and count > 0
    axes.text(column, row - (0.12 if two_lines else 0), f"{count:,}", ha="center", va="center", color=color)
    if two_lines:
        percent = f"{100 * share:.0f} %"
        axes.text(column, row + 0.2, percent, ha="center", va="center", color=color, fontsize=7.5)


# --- LSTM gates ------------------------------------------------------------------------------------------------

PANELS = (("input gate", "what is added", 0), ("forget gate", "what is kept", 1), ("output gate", "what is shown", 3))
CANDIDATE = ("candidate", "the new content", 2)


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
        The clip: uint8, or floats from 0 to 1. Every frame stands above its own column.
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
    every = math.ceil(T / 24)  # frames narrower than this say nothing: show every second, third, ...
    width = min(max(0.55 * T, 5.5), 11.0)
    frame_height = width / T * every * frames.shape[1] / frames.shape[2]
    panel_height = min(max(0.035 * U, 0.75), 1.6)
    figure = _new_figure(width + 1.9, frame_height + 4 * panel_height + 1.3)
    figure.get_layout_engine().set(h_pad=0.03, hspace=0.02)
    strip, *panels = figure.subplots(5, 1, sharex=True, height_ratios=[frame_height, *[panel_height] * 4])
    _draw_strip(strip, frames[::every], every)
    for axes, (name, meaning, slot) in zip(panels, (*PANELS, CANDIDATE), strict=True):
        scale = {"cmap": _signed(), "vmin": -1, "vmax": 1} if slot == 2 else {"cmap": _blues(), "vmin": 0, "vmax": 1}
        heat = axes.imshow(
            slots[:, slot, order].T, extent=(0.5, T + 0.5, U, 0), aspect="auto", interpolation="nearest", **scale
        )
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(f"{name}\n{meaning}", rotation=0, ha="right", va="center", linespacing=1.4)
        if slot == 3:
            _color_bar(figure, heat, panels[:3], [0, 0.5, 1], ["0 closed", "0.5", "1 open"])
        if slot == 2:
            _color_bar(figure, heat, [axes], [-1, 0, 1], ["−1", "0", "1"])
    panels[-1].set_xlim(0.5, T + 0.5)
    panels[-1].set_xticks(range(1, T + 1, every))
    panels[-1].set_xlabel("time step")
    for axes in (strip, *panels[:-1]):
        axes.tick_params(bottom=False, labelbottom=False)
    by = "sorted by mean forget gate, longest memory on top" if sort_units else "unit 0 on top"
    panels[-1].annotate(
        f"rows: {U} units, {by}",
        (1, 0),
        (0, -19),
        "axes fraction",
        "offset points",
        ha="right",
        va="top",
        color=GREY,
        fontsize=8,
    )
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    return figure


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


def _draw_strip(axes: "Axes", frames: np.ndarray, every: int) -> None:
    """Draw each frame above the middle of its columns."""
    for index, frame in enumerate(frames):
        left = 0.5 + index * every
        axes.imshow(frame, extent=(left + 0.04 * every, left + 0.96 * every, 0, 1), aspect="auto")
    axes.set_ylim(0, 1)
    _bare_strip(axes)


def _bare_strip(axes: "Axes") -> None:
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _color_bar(figure: "Figure", heat, panels: list["Axes"], ticks: list[float], labels: list[str]) -> None:
    bar = figure.colorbar(heat, ax=panels, fraction=0.05, pad=0.015, aspect=10 * len(panels), ticks=ticks)
    bar.ax.set_yticklabels(labels)
    bar.outline.set_visible(False)


# --- gradient norms --------------------------------------------------------------------------------------------


def gradient_norms(norms: Mapping[str, np.ndarray], path: str | os.PathLike) -> Path:
    """Draw how large the gradient of the loss is at each time step, on a logarithmic scale.

    Parameters
    ----------
    norms : dict of str to (T,) array
        Norms ``|dL/dh_t|`` for t = 1..T, by the name of the network. Zeros are left out.
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
        t = np.arange(1, len(values) + 1)
        drawn = np.where(values > 0, values, np.nan)
        axes.plot(t, drawn, color=color, label=name)
        first = np.flatnonzero(values > 0)[0]
        axes.annotate(name, (t[first], drawn[first]), (4, 6), textcoords="offset points", color=color, va="bottom")
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel("time step t")
    axes.set_title("norm of the gradient dL/dh at each time step: the error enters at the end and walks to the left")
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
        axes.set_title(name, loc="center")
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
    (5, 290, 256, 3)
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
    from PIL import Image, ImageDraw, ImageFont

    size, spacing, margin, bar = 15, 21, 7, 6
    height = len(lines) * spacing + 2 * margin + (0 if confidence is None else bar + margin)
    strip = Image.new("RGB", (width, height), INK)
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size)
    draw.rectangle((0, 0, bar - 1, height), fill=color)
    left = bar + 8
    for row, line in enumerate(lines):
        text = _fitted(line, width - left - margin, lambda t: draw.textlength(t, font=font))
        draw.text((left, margin + (row + 0.5) * spacing), text, font=font, fill="white", anchor="lm")
    if confidence is not None:
        top, right = height - margin - bar, width - margin - 1
        draw.rectangle((left, top, right, top + bar - 1), fill="#3e4c59")
        if confidence * (right - left) >= 1:
            draw.rectangle((left, top, left + round(confidence * (right - left)), top + bar - 1), fill=color)
    return np.asarray(strip)


def _fitted(text: str, width: float, length: Callable[[str], float]) -> str:
    """Return the text, or as much of its beginning as fits with an ellipsis."""
    if length(text) <= width:
        return text
    fits = (text[:end] + "…" for end in range(len(text) - 1, 0, -1) if length(text[:end] + "…") <= width)
    return next(fits, "")
