"""Guess the cause of a wrong gradient from the shape of its error; silent where the shape does not tell."""

import numpy as np

__all__ = ["likely_cause"]

_SAME = 1e-6  # relative difference that counts as none here


def likely_cause(analytic: np.ndarray, numeric: np.ndarray, batch: int) -> str:
    """Name the mistake that would explain how two Jacobians differ.

    Parameters
    ----------
    analytic, numeric : (outputs, entries) array
        What the backward pass computes, and what is right.
    batch : int
        Size of the batch, to recognise a mean over it.

    Returns
    -------
    str
        One sentence; empty if the difference has no such shape.

    Examples
    --------
    >>> import numpy as np
    >>> right = np.array([[1.0, 0.0], [3.0, 8.0]])
    >>> likely_cause(-right, right, batch=2)
    'the sign is wrong'
    >>> likely_cause(right / 2, right, batch=2)
    'everywhere 1/2 of the right value: a mean over the batch instead of a sum?'
    """
    if not np.isfinite(analytic).all():
        return "not finite: a division by zero, the logarithm of zero, or memory that was never written?"
    if not np.isfinite(numeric).all():
        return "the forward pass itself is not finite at this point"
    if not numeric.any():
        return (
            "the numeric derivative is zero everywhere: y does not depend on this input, or forward drops the "
            "imaginary part of complex numbers (then pass smooth=False)"
        )
    if not analytic.any():
        return "no gradient arrives here: a term that is missing, or never written?"
    if _same(analytic, numeric, numeric):
        return f"right to {_SAME:g}, but no better: is something computed in float32, or with an ε of its own?"
    if (analytic == analytic[0]).all() and not (numeric == numeric[0]).all():
        return "the gradient is the same whatever dy is: is dy used?"
    ratio = (analytic * numeric).sum() / (numeric**2).sum()
    if _same(analytic, ratio * numeric, numeric):
        return _constant_factor(ratio, batch)
    return _misplaced(analytic, numeric)


def _same(a, b, scale) -> bool:
    return np.abs(a - b).max() <= _SAME * np.abs(scale).max()


def _constant_factor(ratio: float, batch: int) -> str:
    sign = "the sign is wrong, and " if ratio < 0 else ""
    times, part = round(abs(ratio)), round(1 / abs(ratio)) if ratio else 0
    if np.isclose(ratio, -1, rtol=_SAME):
        return "the sign is wrong"
    if part > 1 and np.isclose(abs(ratio) * part, 1, rtol=_SAME):
        over = " over the batch" if part == batch else ""
        return f"{sign}everywhere 1/{part} of the right value: a mean{over} instead of a sum?"
    if times > 1 and np.isclose(abs(ratio), times, rtol=_SAME):
        return f"{sign}everywhere {times} times the right value: is the 1/{times} of a mean missing?"
    return f"{sign}everywhere {abs(ratio):.6g} times the right value: a constant factor"


def _misplaced(analytic, numeric) -> str:
    """Right values at wrong places, or right everywhere but at some places."""
    wrong = np.abs(analytic - numeric) > _SAME * np.abs(numeric).max()
    others = f"in {wrong.sum()} of the {wrong.size} entries of the Jacobian; all others are right"
    if not analytic[wrong].any():
        return f"gradient missing {others}: a term left out, or '=' where '+=' must add?"
    if not numeric[wrong].any():
        return f"gradient where there should be none, {others}: a mask or a border not respected?"
    if _same(np.sort(analytic, axis=None), np.sort(numeric, axis=None), numeric):
        return "the right values in the wrong places: axes, gates or taps swapped, transposed or flipped?"
    return ""
