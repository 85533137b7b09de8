"""Passes over large arrays by all threads: NumPy takes one, and one does not keep memory busy.

Small arrays, and those of a GPU, are left to NumPy and CuPy.
"""

import numpy as np
from numba import prange

from minivid.backend import xp_of
from minivid.jit import PIECES, compiled
from minivid.simd import any_of, fma, full, load_part, width

__all__ = ["add_into", "all_finite", "clear"]

_LARGE = 1 << 18  # entries; for fewer, NumPy is done before the threads have woken


def _flat(*arrays: np.ndarray) -> list[np.ndarray] | None:
    """Return the arrays as vectors, if they are large, of one floating-point type and in order."""
    first = arrays[0]
    if type(first) is not np.ndarray or first.size < _LARGE or first.dtype not in (np.float32, np.float64):
        return None
    if any(a.dtype != first.dtype or a.shape != first.shape or not a.flags.c_contiguous for a in arrays):
        return None
    return [a.reshape(-1) for a in arrays]


def clear(x: np.ndarray) -> None:
    """Set all numbers of an array to zero.

    Parameters
    ----------
    x : array

    Examples
    --------
    >>> x = np.ones(2)
    >>> clear(x)
    >>> x
    array([0., 0.])
    """
    flat = _flat(x)
    if flat is None:
        x[...] = 0
    else:
        _clear(*flat)


@compiled
def _clear(x):
    for i in prange(len(x)):
        x[i] = 0


def add_into(total: np.ndarray, x: np.ndarray) -> None:
    """Add an array to another one in place.

    Parameters
    ----------
    total, x : array
        Of the same shape.

    Examples
    --------
    >>> total = np.ones(2)
    >>> add_into(total, np.array([2.0, 3.0]))
    >>> total
    array([3., 4.])
    """
    flat = _flat(total, x)
    if flat is None:
        total += x
    else:
        _add_into(*flat)


@compiled
def _add_into(total, x):
    for i in prange(len(total)):
        total[i] += x[i]


def all_finite(x: np.ndarray) -> bool:
    """Return whether an array has neither NaN nor infinities.

    Parameters
    ----------
    x : array

    Returns
    -------
    bool
        On a GPU an array of one truth value, which need not have been computed yet.

    Examples
    --------
    >>> bool(all_finite(np.array([1.0, np.inf])))
    False
    """
    flat = _flat(x)
    return xp_of(x).isfinite(x).all() if flat is None else not _has_others(*flat).any()


@compiled
def _has_others(x):
    """Say whether a number is not finite, for each piece of x."""
    found = np.zeros(PIECES, np.bool_)
    for piece in prange(PIECES):
        zero, last = full(x, 0.0), (piece + 1) * len(x) // PIECES
        for i in range(piece * len(x) // PIECES, last, width(x)):
            x_i = load_part(x, i, last - i)
            zero = fma(x_i, full(x_i, 0.0), zero)  # stays zero, but for NaN and infinities
        found[piece] = any_of(zero != zero)
    return found
