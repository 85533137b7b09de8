"""Check a hand-written backward pass against numerical derivatives.

A forward pass y = f(x) and a random upstream gradient dy define the scalar L(x) = <dy, f(x)>. Its gradient is
what the backward pass claims to compute, and along a unit direction v

    complex step         <dx, v> ≈ Im L(x + i·h·v) / h,                  h = 1e-30           (gradcheck.1)
    central difference   <dx, v> ≈ (L(x + h·v) − L(x − h·v)) / (2h),     h = ε^(1/3)         (gradcheck.2)
    full Jacobian        J[o,e] = ∂y[o]/∂x[e], one entry e perturbed at a time               (gradcheck.3)

The complex step has no subtraction, so it is exact to rounding; it needs a forward pass that is smooth and
takes complex numbers. docs/gradcheck.md says more. Source: Squire & Trapp, SIAM Review 40(1), 1998.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Block", "Report", "check_gradients", "tolerance"]

_COMPLEX_STEP = 1e-30
_LARGEST_JACOBIAN = 4_000_000  # entries; beyond this a failed check names the worst direction only


@dataclass
class Block:
    """The verdict on one block of a gradient: an input, or a named part of it.

    Attributes
    ----------
    name : str
        Name of the gradient, e.g. ``"dw"`` or ``"dkernel[forget gate]"``.
    error : float
        Largest difference between analytic and numeric value, relative to the size of the gradient.
    tolerance : float
        What the error may be at most.
    analytic, numeric : float
        The two values where they differ most.
    where : str
        The entry, or the direction, where they differ most.
    equation : str
        Tag of the equation that the block computes, or an empty string.
    verdict : {"ok", "wrong", "not finite", "all zero", "missing", "wrong shape"}
        ``"all zero"``: analytic and numeric gradients are both zero, which proves nothing.
    """

    name: str
    error: float
    tolerance: float
    analytic: float
    numeric: float
    where: str
    equation: str = ""
    verdict: str = "ok"

    def __str__(self) -> str:
        equation = f" ({self.equation})" if self.equation else ""
        return (
            f"{self.name + equation:<28} {self.verdict:<10} error {self.error:.1e} (at most {self.tolerance:.1e}): "
            f"analytic {self.analytic:+.9e}, numeric {self.numeric:+.9e} at {self.where}"
        )


@dataclass
class Report:
    """The outcome of a gradient check.

    Attributes
    ----------
    blocks : list of Block
        One entry per gradient or named part of it.
    method : str
        How the numeric derivative was taken.
    """

    method: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every block is right."""
        return all(block.verdict == "ok" for block in self.blocks)

    @property
    def max_error(self) -> float:
        """The largest relative error of all blocks."""
        return max((block.error for block in self.blocks), default=0.0)

    def raise_if_failed(self) -> None:
        """Raise AssertionError with the whole report if any block is wrong."""
        if not self.passed:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        verdict = "gradients agree" if self.passed else "gradients DIFFER"
        return "\n".join([f"{verdict} ({self.method})", *(f"  {block}" for block in self.blocks)])


def tolerance(dtype: np.dtype | type, terms: int = 1) -> float:
    """Return the relative error that rounding explains in a sum of ``terms`` products.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.
    terms : int
        Length of the longest sum.

    Returns
    -------
    float
        ``8·ε·sqrt(terms)``: errors of independent roundings grow like a random walk.

    Examples
    --------
    >>> import numpy as np
    >>> tolerance(np.float32, 100) < 1e-5
    True
    """
    return float(8 * np.finfo(dtype).eps * np.sqrt(max(terms, 1)))


def check_gradients(
    forward: Callable,
    backward: Callable,
    inputs: dict[str, np.ndarray],
    *,
    smooth: bool = True,
    full: bool = False,
    rtol: float | None = None,
    equations: dict[str, str] | None = None,
    parts: dict[str, dict[str, tuple]] | None = None,
    seed: int = 0,
) -> Report:
    """Compare a backward pass with numerical derivatives of the forward pass.

    Parameters
    ----------
    forward : callable
        ``forward(**inputs) -> y``, an array or a tuple of arrays. With ``smooth`` it must take complex numbers.
    backward : callable
        ``backward(dy, **inputs) -> dict`` from input name to gradient; ``dy`` has the structure of ``y``. May
        use any implementation and precision; it is judged against float64 derivatives.
    inputs : dict of str to float64 array
        The point of the check; more than 1e-4 away from kinks (ties of a maximum, zeros of a ReLU).
    smooth : bool
        Complex step (gradcheck.1) if True, central differences (gradcheck.2) if False.
    full : bool
        Compare the whole Jacobian (gradcheck.3), entry by entry, instead of one random direction per block. A
        directional check that fails does this by itself, to name the worst entry.
    rtol : float, optional
        Relative error allowed; by default 1e-10 for complex steps and 1e-6 for central differences.
    equations : dict of str to str, optional
        Input name to the tag of its gradient's equation, for the report.
    parts : dict of str to dict of str to index, optional
        Named parts of an input, checked as blocks of their own: ``{"kernel": {"input gate": np.s_[:, :U]}}``.
    seed : int
        Draws the upstream gradient and the directions.

    Returns
    -------
    Report

    Raises
    ------
    TypeError
        If an input is not float64.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.1, 0.2])
    >>> report = check_gradients(lambda x: x**3, lambda dy, x: {"x": 3 * x**2 * dy}, {"x": x})
    >>> report.passed
    True
    >>> wrong = check_gradients(lambda x: x**3, lambda dy, x: {"x": 2 * x**2 * dy}, {"x": x})
    >>> wrong.passed, wrong.blocks[0].name
    (False, 'dx')
    """
    for name, value in inputs.items():
        if np.asarray(value).dtype != np.float64:
            raise TypeError(
                f"input {name!r} is {np.asarray(value).dtype}; gradient checks start from float64"
            )
    rtol = rtol if rtol is not None else (1e-10 if smooth else 1e-6)
    rng = np.random.default_rng(seed)
    dy = _map(lambda y: rng.normal(size=np.shape(y)), forward(**inputs))
    gradients = backward(dy, **inputs)
    check = _Check(forward, backward, inputs, dy, gradients, smooth, rtol, equations or {})
    report = Report("complex step" if smooth else "central differences")
    for name in inputs:
        for label, index in {"": np.s_[...], **(parts or {}).get(name, {})}.items():
            report.blocks.append(_block(check, name, label, index, full, rng))
    return report


@dataclass
class _Check:
    forward: Callable
    backward: Callable
    inputs: dict
    dy: object
    gradients: dict
    smooth: bool
    rtol: float
    equations: dict


def _block(check: _Check, name: str, label: str, index, full: bool, rng) -> Block:
    title = f"d{name}[{label}]" if label else f"d{name}"
    equation = check.equations.get(name, "")
    gradient = check.gradients.get(name)
    expected = check.inputs[name].shape
    if gradient is None or gradient.shape != expected:
        verdict = "missing" if gradient is None else "wrong shape"
        found = "none" if gradient is None else f"shape {gradient.shape}"
        where = f"expected shape {expected}, found {found}"
        return Block(title, np.inf, check.rtol, np.nan, np.nan, where, equation, verdict)
    block = _along_direction(check, name, index, rng)
    if full or block.verdict == "wrong":
        block = _entry_by_entry(check, name, index) or block
    block.name, block.equation = title, equation
    return block


def _along_direction(check: _Check, name: str, index, rng) -> Block:
    direction = np.zeros(check.inputs[name].shape)
    direction[index] = rng.normal(size=direction[index].shape)
    direction /= np.linalg.norm(direction)
    gradient = np.asarray(check.gradients[name], dtype=np.float64)
    analytic = float((gradient * direction).sum())
    numeric = float(_inner(check.dy, _derivative(check, name, direction)))
    # A direction nearly orthogonal to the gradient has a tiny slope; its rounding error is not tiny.
    typical = np.linalg.norm(gradient[index]) / np.sqrt(max(gradient[index].size, 1))
    return _judge(check, analytic, numeric, typical, "a random direction")


def _entry_by_entry(check: _Check, name: str, index) -> Block | None:
    """Compare the whole Jacobian; None if it is too large to build."""
    outputs = sum(np.size(y) for y in _leaves(check.dy))
    entries = np.arange(check.inputs[name].size).reshape(check.inputs[name].shape)[index].ravel()
    if outputs * entries.size > _LARGEST_JACOBIAN:
        return None
    numeric = np.empty((outputs, entries.size))
    for column, entry in enumerate(entries):
        direction = np.zeros(check.inputs[name].shape)
        direction.flat[entry] = 1.0
        numeric[:, column] = _flat(_derivative(check, name, direction))  # (gradcheck.3)
    analytic = np.stack([_row_of_jacobian(check, name, o)[entries] for o in range(outputs)])
    o, column = np.unravel_index(np.abs(analytic - numeric).argmax(), numeric.shape)
    entry = ", ".join(map(str, np.unravel_index(entries[column], check.inputs[name].shape)))
    where = f"∂y.flat[{o}]/∂{name}[{entry}]"
    return _judge(check, analytic[o, column], numeric[o, column], np.abs(numeric).max(), where)


def _row_of_jacobian(check: _Check, name: str, output: int) -> np.ndarray:
    unit = np.zeros(sum(np.size(y) for y in _leaves(check.dy)))
    unit[output] = 1.0
    return np.asarray(check.backward(_like(check.dy, unit), **check.inputs)[name], dtype=np.float64).ravel()


def _judge(check: _Check, analytic: float, numeric: float, typical: float, where: str) -> Block:
    scale = max(abs(analytic), abs(numeric), typical)
    error = abs(analytic - numeric) / scale if scale > 0 else 0.0
    if not np.isfinite([analytic, numeric, typical]).all():
        error, verdict = np.inf, "not finite"
    elif scale == 0:
        verdict = "all zero"
    else:
        verdict = "ok" if error <= check.rtol else "wrong"
    return Block("", float(error), check.rtol, float(analytic), float(numeric), where, verdict=verdict)


def _derivative(check: _Check, name: str, direction: np.ndarray):
    """Directional derivative of every output along ``direction`` of one input."""
    x = check.inputs[name]
    if check.smooth:
        moved = check.forward(**{**check.inputs, name: x + 1j * _COMPLEX_STEP * direction})
        return _map(lambda y: np.imag(y) / _COMPLEX_STEP, moved)  # (gradcheck.1)
    h = np.finfo(np.float64).eps ** (1 / 3) * max(1.0, float(np.abs(x).max(initial=0.0)))
    ahead = check.forward(**{**check.inputs, name: x + h * direction})
    behind = check.forward(**{**check.inputs, name: x - h * direction})
    return _map(lambda a, b: (a - b) / (2 * h), ahead, behind)  # (gradcheck.2)


# --- one output or several: small helpers over an array or a tuple of arrays --------------------------------


def _leaves(y) -> tuple:
    return y if isinstance(y, tuple) else (y,)


def _map(function: Callable, *ys):
    mapped = tuple(function(*leaves) for leaves in zip(*map(_leaves, ys), strict=True))
    return mapped if isinstance(ys[0], tuple) else mapped[0]


def _flat(y) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in _leaves(y)])


def _inner(a, b) -> float:
    return float(_flat(a) @ _flat(b))


def _like(y, flat: np.ndarray):
    """Cut a flat vector into the structure of ``y``."""
    ends = np.cumsum([np.size(leaf) for leaf in _leaves(y)])
    pieces = np.split(flat, ends[:-1])
    shaped = tuple(piece.reshape(np.shape(leaf)) for piece, leaf in zip(pieces, _leaves(y), strict=True))
    return shaped if isinstance(y, tuple) else shaped[0]
