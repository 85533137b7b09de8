"""Clips for people to watch, with text below."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np

from minivid.plots.style import BLUE, GREEN, INK, RED, as_pictures, installed_fonts

__all__ = ["annotate_clip"]


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
    pictures = (as_pictures(frames) * 255).round().astype(np.uint8)  # (T, H, W, 3)
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
        font = font_for(line)
        text = fitted(line, width - left - margin, functools.partial(draw.textlength, font=font))
        draw.text((left, margin + (row + 0.5) * spacing), text, font=font, fill="white", anchor="lm")
    if confidence is not None:
        top, right = height - margin - bar, width - margin - 1
        draw.rectangle((left, top, right, top + bar - 1), fill="#3e4c59")
        if confidence * (right - left) >= 1:
            draw.rectangle((left, top, left + round(confidence * (right - left)), top + bar - 1), fill=color)
    return np.asarray(strip)


def font_for(text: str, size: int = 13):
    """Return a font that Pillow draws with, one with Chinese characters if they are needed and it is there."""
    from matplotlib.font_manager import findfont
    from PIL import ImageFont

    first, *others = installed_fonts()
    needed = any(letter > "\u2e7f" for letter in text)
    return ImageFont.truetype(findfont(others[0] if needed and others else first), size)


def fitted(text: str, width: float, length: Callable[[str], float]) -> str:
    """Return the text, or as much of its beginning as fits with an ellipsis."""
    if length(text) <= width:
        return text
    fits = (text[:end] + "…" for end in range(len(text) - 1, 0, -1) if length(text[:end] + "…") <= width)
    return next(fits, "")
