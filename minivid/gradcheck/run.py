"""`minivid gradcheck`: check every operation, in every implementation and precision, and print a table."""

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from minivid.backend import use
from minivid.gradcheck.cases import Case, cases
from minivid.gradcheck.checker import check_gradients, tolerance
from minivid.gradcheck.report import Block, Report
from minivid.progress import track
from minivid.runs import write_json

__all__ = ["Row", "main", "print_table", "run_gradchecks"]

_HEADER = ("operation", "implementation", "dtype", "max error", "at most", "verdict")
_NUMBERS = ("max error", "at most")

# In float64. What is not smooth here is piecewise linear: a central difference errs by rounding alone.
_RTOL = {True: 1e-10, False: 1e-8}


@dataclass
class Row:
    """One line of the table: an operation at one point, in one implementation and precision.

    Attributes
    ----------
    operation, options, implementation, dtype : str
        What was checked.
    max_error : float
        Largest relative error of all blocks.
    tolerance : float
        What the errors of gradients may be at most.
    verdict : str
        ``"ok"``, or that of the first block that failed.
    report : Report
        All blocks: the gradients, their named parts, and the outputs against the reference's.
    """

    operation: str
    options: str
    implementation: str
    dtype: str
    max_error: float
    tolerance: float
    verdict: str
    report: Report


def run_gradchecks(
    operations: Sequence[str] | None = None,
    implementations: Sequence[str] | None = None,
    dtypes: Sequence[str] = ("float64", "float32"),
    full: bool = False,
    seed: int = 0,
) -> list[Row]:
    """Check operations of the library against numerical derivatives of their float64 references.

    Parameters
    ----------
    operations : sequence of str, optional
        Names such as ``"conv2d"``; all if not given.
    implementations : sequence of str, optional
        Names such as ``"loops"``; all that run on the CPU if not given. One that shares all its functions with
        an earlier one is not checked twice.
    dtypes : sequence of {"float64", "float32"}
        Precisions of the backward pass; the numerical derivative is always taken in float64.
    full : bool
        Compare whole Jacobians, entry by entry, instead of one random direction per block.
    seed : int
        Draws the points, the upstream gradients and the directions.

    Returns
    -------
    list of Row

    Raises
    ------
    ValueError
        If there is no operation or implementation of a name.

    Examples
    --------
    >>> [row] = run_gradchecks(["relu"], ["reference"], ["float64"])
    >>> row.verdict, [block.name for block in row.report.blocks]
    ('ok', ['dx', 'y'])
    """
    work = list(_work(operations, implementations, dtypes, seed))
    return [_row(*item, full, seed) for item in track(work, "Checking gradients")]


def _work(operations, implementations, dtypes, seed) -> Iterator[tuple[Case, str, str]]:
    every = cases(seed)
    _check_names("operation", operations, [case.operation for case in every])
    _check_names("implementation", implementations, [name for case in every for name in _implementations(case)])
    for case in every:
        if operations and case.operation not in operations:
            continue
        for name in _distinct_implementations(case, implementations):
            for dtype in dtypes:
                yield case, name, dtype


def _check_names(kind: str, names, known) -> None:
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"no {kind} {unknown[0]!r}; there are: {', '.join(dict.fromkeys(known))}")


def _implementations(case: Case) -> dict[str, tuple[Callable, ...]]:
    """Name to the functions that run under it; an operation without that rung runs its default."""
    names = dict.fromkeys(["reference", *(name for op in case.ops for name in op.implementations)])
    tables = [op.implementations for op in case.ops]
    return {
        name: tuple(table.get(name, table["cpu"]) for table in tables)
        for name in names
        if not name.startswith("gpu")  # checked by the tests: a numerical derivative of the reference needs NumPy
    }


def _distinct_implementations(case: Case, wanted) -> list[str]:
    functions = {name: f for name, f in _implementations(case).items() if not wanted or name in wanted}
    first = {f: name for name, f in reversed(functions.items())}
    return [name for name, f in functions.items() if first[f] == name]


# --- one row --------------------------------------------------------------------------------------------------


def _row(case: Case, implementation: str, dtype: str, full: bool, seed: int) -> Row:
    rtol = tolerance(np.float32, case.terms) if dtype == "float32" else _RTOL[case.smooth]
    try:
        report = _check(case, implementation, dtype, rtol, full, seed)
    except Exception as error:
        where = f"{type(error).__name__}: {error}"
        report = Report(
            "not run to the end",
            [Block("forward or backward", math.inf, rtol, math.nan, math.nan, where, verdict="error")],
        )
    verdict = next((block.verdict for block in report.blocks if block.verdict != "ok"), "ok")
    return Row(case.operation, case.options, implementation, dtype, report.max_error, rtol, verdict, report)


def _check(case: Case, implementation: str, dtype: str, rtol: float, full: bool, seed: int) -> Report:
    def reference(**inputs):
        with use("reference"):
            return case.forward(**inputs)

    def forward(**inputs):
        with use(implementation):
            return case.forward(**_cast(inputs, dtype))

    def backward(dy, **inputs):
        dy = tuple(leaf.astype(dtype) for leaf in dy) if isinstance(dy, tuple) else dy.astype(dtype)
        with use(implementation):
            return case.backward(dy, **_cast(inputs, dtype))

    report = check_gradients(
        reference,
        backward,
        case.inputs,
        smooth=case.smooth,
        full=full,
        rtol=rtol,
        equations=case.equations,
        parts=case.parts,
        outputs=case.outputs,
        seed=seed,
    )
    report.blocks += _compare_outputs(case, forward(**case.inputs), reference(**case.inputs), dtype)
    return report


def _cast(inputs: dict[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    return {name: x.astype(dtype) for name, x in inputs.items()}


def _compare_outputs(case: Case, found, expected, dtype: str) -> Iterator[Block]:
    """One block per output: this implementation's forward pass against the float64 reference's."""
    rtol = tolerance(np.float32, case.terms) if dtype == "float32" else 1e-10
    found, expected = (y if isinstance(y, tuple) else (y,) for y in (found, expected))
    for name, y, right in zip(case.outputs, found, expected, strict=True):
        difference = np.abs(y - right)
        worst = np.unravel_index(difference.argmax(), right.shape)  # NaN counts as the largest
        error = float(difference[worst] / np.abs(right).max())
        if not math.isfinite(error):
            error, verdict = math.inf, "not finite"
        else:
            verdict = "ok" if error <= rtol else "wrong"
        where = f"{name}[{', '.join(map(str, worst))}], of this implementation and of the reference"
        equation = case.equations.get(name, "")
        yield Block(name, error, rtol, float(y[worst]), float(right[worst]), where, equation, verdict)


# --- the command ----------------------------------------------------------------------------------------------


def main(
    operations: Sequence[str] = (), full: bool = False, seed: int = 0, json_path: str | os.PathLike | None = None
) -> int:
    """Do what `minivid gradcheck` does: check, print the table, write the JSON file.

    Parameters
    ----------
    operations : sequence of str
        Names such as ``"conv2d"``; all if empty.
    full : bool
        Compare whole Jacobians.
    seed : int
        Draws the points and directions.
    json_path : path, optional
        Where to write all rows and blocks as a list of JSON objects.

    Returns
    -------
    int
        Exit code: 0 if every check passed, otherwise 1.

    Raises
    ------
    ValueError
        If there is no operation of a name.
    OSError
        If the JSON file cannot be written.

    Examples
    --------
    >>> main(["lstm"], full=True)  # doctest: +SKIP
    """
    rows = run_gradchecks(operations, full=full, seed=seed)
    print_table(rows)
    if json_path is not None:
        write_json(json_path, [_plain(row) for row in rows])
        print(f"written to {json_path}")
    return 0 if all(row.verdict == "ok" for row in rows) else 1


def print_table(rows: Sequence[Row]) -> None:
    """Print one line per row, then the reports of those that failed, then a summary.

    Parameters
    ----------
    rows : sequence of Row
        From `run_gradchecks`.

    Examples
    --------
    >>> print_table(run_gradchecks(["dropout"], ["reference"], ["float64"]))  # doctest: +ELLIPSIS
    operation            implementation  dtype    max error  at most  verdict
    dropout: fixed mask  reference       float64    ...  1.0e-10  ok
    <BLANKLINE>
    1 check, all right
    """
    (_print_rich if sys.stdout.isatty() else _print_plain)([_cells(row) for row in rows])
    failed = [row for row in rows if row.verdict != "ok"]
    for row in failed:
        print(f"\n{_title(row)}, {row.implementation}, {row.dtype}: {row.report}")
    checks = f"{len(rows)} check{'s' * (len(rows) != 1)}"
    print(f"\n{checks}, {f'{len(failed)} failed' if failed else 'all right'}")


def _title(row: Row) -> str:
    return f"{row.operation}: {row.options}" if row.options else row.operation


def _cells(row: Row) -> tuple[str, ...]:
    errors = f"{row.max_error:.1e}", f"{row.tolerance:.1e}"
    return _title(row), row.implementation, row.dtype, *errors, row.verdict


def _print_plain(lines: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(_HEADER, *lines, strict=True)]
    for line in [_HEADER, *lines]:
        cells = [
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(_HEADER, line, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


def _print_rich(lines: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for name in _HEADER:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=name != "operation")
    previous = None
    for title, *cells, verdict in lines:
        style = "green" if verdict == "ok" else "bold red"
        table.add_row(Text(title if title != previous else ""), *cells, Text(verdict, style=style))
        previous = title
    Console(highlight=False).print(table)


def _plain(row: Row) -> dict:
    """What JSON can hold; infinity and NaN, which it cannot, become null."""
    values = {name: value for name, value in vars(row).items() if name != "report"}
    blocks = [_finite(vars(block)) for block in row.report.blocks]
    return _finite(values) | {"method": row.report.method, "blocks": blocks}


def _finite(values: dict) -> dict:
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()}
