"""Check a hand-written backward pass against numerical derivatives.

A forward pass y = f(x) and a random upstream gradient dy define the scalar L(x) = <dy, f(x)>. Its gradient is
what the backward pass claims to compute, and along a unit direction v

    complex step         <dx, v> ≈ Im L(x + i·h·v) / h,                  h = 1e-30           (gradcheck.1)
    central difference   <dx, v> ≈ (L(x + h·v) − L(x − h·v)) / (2h),     h = ε^(1/3)         (gradcheck.2)
    full Jacobian        J[o,e] = ∂y[o]/∂x[e], one entry e perturbed at a time               (gradcheck.3)

The complex step has no subtraction, so it is exact to rounding; it needs a forward pass that is smooth and
takes complex numbers. docs/gradcheck.md says more. Source: Squire & Trapp, SIAM Review 40(1), 1998.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from minivid.gradcheck.hints import likely_cause
from minivid.gradcheck.report import Block, Report

__all__ = ["check_gradients", "tolerance"]

_COMPLEX_STEP = 1e-30
_REAL_STEP = np.finfo(np.float64).eps ** (1 / 3)
_MOST_CALLS = 2000  # of forward and backward; a Jacobian that needs more is not built


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
    outputs: Sequence[str] = (),
    may_be_zero: Collection[str] = (),
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
        The point of the check; more than 1e-4 away from kinks (ties of a maximum, zeros of a ReLU). What is not
        differentiated (masks, targets, options) stays out of here: let forward and backward close over it.
    smooth : bool
        Complex step (gradcheck.1) if True, central differences (gradcheck.2) if False.
    full : bool
        Compare the whole Jacobian (gradcheck.3) as well, entry by entry, besides one random direction per
        block. A directional check that fails does this by itself, to name the worst entry.
    rtol : float, optional
        Relative error allowed; by default 1e-10 for complex steps and 1e-6 for central differences.
    equations : dict of str to str, optional
        Input name, or ``"name[part]"``, to the tag of its gradient's equation, for the report.
    parts : dict of str to dict of str to index, optional
        Named parts of an input, checked as blocks of their own: ``{"kernel": {"input gate": np.s_[:, :U]}}``.
    outputs : sequence of str, optional
        Names of what forward returns, for the report; by default ``y``, or ``y0``, ``y1``, ... for a tuple.
    may_be_zero : collection of str, optional
        Inputs whose gradient may be zero everywhere, as far as this point shows. They are judged relative to dy
        rather than to the gradient. For all others a gradient of zero fails: it compares nothing with nothing.
    seed : int
        Draws the upstream gradient and the directions.

    Returns
    -------
    Report

    Raises
    ------
    TypeError
        If an input is not a float64 array, or backward does not return a dict.
    ValueError
        If an input is empty, ``parts`` or ``may_be_zero`` name none, or a pass changes its inputs or dy in place.

    Notes
    -----
    An error is relative to the larger of the two slopes and the root mean square of the block's gradient: along
    a direction that is nearly orthogonal to the gradient the slope is tiny, its rounding error is not.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.1, 0.2])
    >>> report = check_gradients(lambda x: x**3, lambda dy, x: {"x": 3 * x**2 * dy}, {"x": x})
    >>> report.passed
    True
    >>> wrong = check_gradients(lambda x: x**3, lambda dy, x: {"x": -3 * x**2 * dy}, {"x": x})
    >>> wrong.passed, wrong.blocks[0].name, wrong.blocks[0].hint
    (False, 'dx', 'the sign is wrong')
    """
    parts = parts or {}
    _check_inputs(inputs, named={*parts, *may_be_zero})
    rng = np.random.default_rng(seed)
    before = {name: x.copy() for name, x in inputs.items()}
    dy = _map(lambda y: _exact_in_float32(rng.normal(size=np.shape(y))), forward(**inputs))
    before_dy = _flat(dy).copy()
    gradients, again = (_gradients(backward, dy, inputs) for _ in range(2))
    _check_unchanged({**inputs, "dy": _flat(dy)}, {**before, "dy": before_dy})

    rtol = rtol if rtol is not None else (1e-10 if smooth else 1e-6)
    check = _Check(forward, backward, inputs, dy, gradients, again, smooth, rtol, frozenset(may_be_zero), outputs)
    report = Report("complex step" if smooth else "central differences")
    for name in inputs:
        for part, index in {"": np.s_[...], **parts.get(name, {})}.items():
            key = f"{name}[{part}]" if part else name
            block = _block(check, name, index, full, rng)
            block.name, block.equation = f"d{key}", (equations or {}).get(key, (equations or {}).get(name, ""))
            report.blocks.append(block)
    return report


@dataclass
class _Check:
    forward: Callable
    backward: Callable
    inputs: dict[str, np.ndarray]
    dy: np.ndarray | tuple[np.ndarray, ...]
    gradients: dict[str, np.ndarray]
    again: dict[str, np.ndarray]
    smooth: bool
    rtol: float
    may_be_zero: frozenset[str]
    outputs: Sequence[str]
    numeric_jacobians: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def analytic_jacobians(self) -> dict[str, np.ndarray]:
        """(outputs, entries) per input: row o is the backward pass of a unit vector at output o."""
        units = (_like(self.dy, unit) for unit in _units(_flat(self.dy).size))
        rows = [_gradients(self.backward, unit, self.inputs) for unit in units]
        return {name: np.array([row[name].ravel() for row in rows], dtype=np.float64) for name in self.gradients}

    def numeric_jacobian(self, name: str) -> np.ndarray:
        """(outputs, entries): column e is the derivative along a unit vector at entry e (gradcheck.3)."""
        if name not in self.numeric_jacobians:
            x = self.inputs[name]
            columns = [_flat(_derivative(self, name, unit.reshape(x.shape))) for unit in _units(x.size)]
            self.numeric_jacobians[name] = np.stack(columns, axis=1)
        return self.numeric_jacobians[name]


def _check_inputs(inputs, named: set[str]) -> None:
    if named - inputs.keys():
        raise ValueError(f"parts and may_be_zero name {sorted(named - inputs.keys())}; the inputs are {list(inputs)}")
    for name, x in inputs.items():
        found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
        if found != np.float64:
            raise TypeError(f"input {name!r} is {found}; gradient checks start from float64 arrays")
        if x.size == 0:
            raise ValueError(f"input {name!r} of shape {x.shape} is empty; there is nothing to check")


def _check_unchanged(arrays, before) -> None:
    for name, array in arrays.items():
        if not np.array_equal(array, before[name], equal_nan=True):
            raise ValueError(f"the forward or backward pass changed {name} in place; let it work on a copy")


def _gradients(backward, dy, inputs) -> dict[str, np.ndarray]:
    gradients = backward(dy, **inputs)
    if not isinstance(gradients, dict):
        example = ", ".join(f"{name!r}: d{name}" for name in inputs)
        raise TypeError(f"backward must return a dict {{{example}}}, got {type(gradients).__name__}")
    return {name: np.array(gradient) for name, gradient in gradients.items() if gradient is not None}


def _exact_in_float32(values: np.ndarray) -> np.ndarray:
    """Round to numbers that float32 holds too: casting dy is then no error of a float32 backward pass."""
    return values.astype(np.float32).astype(np.float64)


# --- one block: along a direction, then entry by entry --------------------------------------------------------


def _block(check: _Check, name: str, index, full: bool, rng) -> Block:
    direction = np.zeros(check.inputs[name].shape)
    direction[index] = rng.normal(size=direction[index].shape)
    direction /= np.linalg.norm(direction)
    if name not in check.gradients:
        return _unusable(check, "missing", f"backward returned gradients of {sorted(check.gradients)}, not {name!r}")
    gradient, expected = check.gradients[name], check.inputs[name].shape
    if gradient.shape != expected:
        return _unusable(check, "wrong shape", f"expected {expected}, found {gradient.shape}")
    block = _along_direction(check, name, index, direction)
    if full or block.verdict in ("wrong", "not finite"):
        block = _more_telling(block, _entry_by_entry(check, name, index))
    if not np.array_equal(gradient, check.again.get(name, np.nan), equal_nan=True):
        block.verdict = "not repeatable"
        block.hint = "a second call of backward gave another gradient: set it to zero between calls"
    return block


def _more_telling(along: Block, entry: Block | None) -> Block:
    """Prefer the entry to the direction, unless that would hide a failure."""
    if entry is None:
        return along
    if along.verdict != "ok" and entry.verdict == "ok":
        along.hint = "every entry of the Jacobian is right: does backward sum in float32, or is it not linear in dy?"
        return along
    return entry


def _unusable(check: _Check, verdict: str, where: str) -> Block:
    return Block("", np.inf, check.rtol, np.nan, np.nan, where, verdict=verdict)


def _along_direction(check: _Check, name: str, index, direction) -> Block:
    gradient = check.gradients[name].astype(np.float64)
    analytic = float((gradient * direction).sum())
    numeric = float(_flat(check.dy) @ _flat(_derivative(check, name, direction)))
    typical = float(np.linalg.norm(gradient[index])) / np.sqrt(np.size(gradient[index]))  # root mean square
    upstream = np.abs(_flat(check.dy)).max(initial=0.0)
    return _judge(check, name, analytic, numeric, typical, upstream, "along a random direction")


def _entry_by_entry(check: _Check, name: str, index) -> Block | None:
    """Compare the whole Jacobian; None if it takes too long to build."""
    if _flat(check.dy).size + check.inputs[name].size > _MOST_CALLS:
        return None
    shape = check.inputs[name].shape
    entries = np.arange(check.inputs[name].size).reshape(shape)[index].ravel()
    analytic, numeric = check.analytic_jacobians[name][:, entries], check.numeric_jacobian(name)[:, entries]
    o, column = np.unravel_index(np.abs(analytic - numeric).argmax(), numeric.shape)
    where = f"∂{_output(check, o)}/∂{_entry(name, shape, entries[column])}"
    values = float(analytic[o, column]), float(numeric[o, column])
    block = _judge(check, name, *values, np.abs(numeric).max(), 1.0, where)
    if block.verdict != "ok":
        block.hint = likely_cause(analytic, numeric, batch=len(np.atleast_1d(_leaves(check.dy)[0])))
    return block


def _judge(check: _Check, name, analytic, numeric, typical, upstream, where) -> Block:
    scale = max(abs(analytic), abs(numeric), typical)
    nothing = scale <= np.finfo(np.float64).eps * upstream
    if name in check.may_be_zero:
        scale, nothing = max(scale, upstream), False
    if not np.isfinite([analytic, numeric, typical]).all():
        error, verdict = np.inf, "not finite"
    elif nothing:
        error, verdict = 0.0, "all zero"
    else:
        error = abs(analytic - numeric) / scale
        verdict = "ok" if error <= check.rtol else "wrong"
    return Block("", float(error), check.rtol, analytic, numeric, where, verdict=verdict)


def _derivative(check: _Check, name: str, direction: np.ndarray):
    """Directional derivative of every output along ``direction`` of one input."""
    x = check.inputs[name]
    if check.smooth:
        moved = check.forward(**{**check.inputs, name: x + 1j * _COMPLEX_STEP * direction})
        return _map(lambda y: np.imag(y) / _COMPLEX_STEP, moved)  # (gradcheck.1)
    h = _REAL_STEP * max(1.0, float(np.abs(x).max()))
    ahead = check.forward(**{**check.inputs, name: x + h * direction})
    behind = check.forward(**{**check.inputs, name: x - h * direction})
    return _map(lambda a, b: (a - b) / (2 * h), ahead, behind)  # (gradcheck.2)


# --- one output or several: small helpers over an array or a tuple of arrays ----------------------------------


def _leaves(y) -> tuple:
    return y if isinstance(y, tuple) else (y,)


def _map(function: Callable, *ys):
    mapped = tuple(function(*leaves) for leaves in zip(*map(_leaves, ys), strict=True))
    return mapped if isinstance(ys[0], tuple) else mapped[0]


def _units(size: int) -> Iterator[np.ndarray]:
    for position in range(size):
        unit = np.zeros(size)
        unit[position] = 1.0
        yield unit


def _flat(y) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in _leaves(y)])


def _like(y, flat: np.ndarray):
    """Cut a flat vector into the structure of ``y``."""
    ends = np.cumsum([np.size(leaf) for leaf in _leaves(y)])
    pieces = iter(np.split(flat, ends[:-1]))
    return _map(lambda leaf: next(pieces).reshape(np.shape(leaf)), y)


def _output(check: _Check, position: int) -> str:
    """Name an entry of the output: ``y[0, 1]``, or ``y1[0, 1]`` in the second array of a tuple."""
    by_default = [f"y{number}" for number in range(len(check.dy))] if isinstance(check.dy, tuple) else ["y"]
    for name, leaf in zip(check.outputs or by_default, _leaves(check.dy), strict=True):
        if position < np.size(leaf):
            return _entry(name, np.shape(leaf), position)
        position -= np.size(leaf)
    raise IndexError(position)


def _entry(name: str, shape: tuple[int, ...], position: int) -> str:
    index = ", ".join(map(str, np.unravel_index(position, shape)))
    return f"{name}[{index}]" if shape else name
