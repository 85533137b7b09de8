"""How every picture looks, and how it is written."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minivid.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

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


def installed_fonts() -> list[str]:
    """Return those of FONTS that this machine has."""
    from matplotlib.font_manager import get_font_names

    installed = set(get_font_names())
    return [font for font in FONTS if font in installed]


def styled(function: Callable) -> Callable:
    """Run a function under this module's style and give the caller's back."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        import matplotlib

        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(STYLE | {"font.family": installed_fonts()})
            return function(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


@styled
def save(figure: "Figure", path: str | os.PathLike) -> Path:
    """Write a PNG, trimmed to what is drawn."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"pictures are PNG files: got {str(path)!r}, write {path.with_suffix('.png').name!r}")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return path


def blue_colors() -> "Colormap":
    """0 to 1: from almost white to deep blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("blues", ["#f5f8fb", "#bcd6ec", "#5b9bd0", BLUE, "#0c2f57"])


def signed_colors() -> "Colormap":
    """-1 to 1: orange, white, blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list(
        "signed", ["#7a3206", ORANGE, "#f5c6a2", "#fafafa", "#a9cbe8", BLUE, "#0c2f57"]
    )


def literal(text: str) -> str:
    """Return text that matplotlib does not take for mathematics."""
    return text.replace("$", r"\$")


def bare(axes: "Axes", framed: bool = False) -> None:
    """Take away the ticks, and the frame or all but a thin line of it."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=framed, color=FAINT, linewidth=0.6)


def as_pictures(frames) -> np.ndarray:
    """Return frames (T, H, W, 3 or 1) as (T, H, W, 3) floats from 0 to 1."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[3] not in (1, 3) or frames.size == 0:
        raise ValueError(f"frames must be (time, height, width, 3 or 1), got shape {frames.shape}")
    if frames.dtype == np.uint8:
        frames = frames / 255
    elif frames.dtype.kind != "f" or not (frames.min() >= 0 and frames.max() <= 1):
        raise ValueError(f"frames must be uint8 or floats from 0 to 1, got {range_of(frames)}")
    return np.broadcast_to(frames, (*frames.shape[:3], 3))


def range_of(array: np.ndarray) -> str:
    """Say dtype and range of an array, for error messages."""
    return f"{array.dtype} from {array.min():g} to {array.max():g}"
