"""`minivid cuda profile`: what memory has to do for each version of a kernel, counted by the emulator.

A warp, 32 threads in step, asks for memory with one instruction: a **request**. Global memory answers in **sectors** of
32 bytes. 32 floats side by side are 4 sectors; 32 floats far apart are 32, and 7/8 of what is moved is thrown away. The
same sectors in fewer requests are better too: a thread that moves 16 bytes at a time has more of them under way.
Shared memory has 32 banks, each of which serves one word of 4 bytes at a time; where threads want different words of
one bank the request takes several **wavefronts**.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from minivid.bench import ours
from minivid.bench.cases import Case, conv2d, dense, lstm, maxpool2d

__all__ = ["CASES", "Version", "print_profile", "profile"]

#: Small enough for the emulator, large enough to fill warps.
CASES = {
    "conv2d": conv2d(1, 16, 18, 32),
    "maxpool2d": maxpool2d(1, 64, 16, 2, 2),
    "dense": dense(64, 64, 64, backward=False),
    "lstm": lstm(4, 3, 32, 32),
}

_UNITS = {"global": "sectors", "shared": "wavefronts"}
_LINES = 6  # of each version, those with most traffic


class Version(NamedTuple):
    """One version of an operation, and the accesses to memory of its kernels, by line of the source."""

    name: str
    kernels: list[str]
    lines: list


def profile(operation: str) -> list[Version]:
    """Run every version of an operation's kernels on one small case.

    Parameters
    ----------
    operation : str
        A key of `CASES`.

    Returns
    -------
    list of Version
        The naive version first.

    Raises
    ------
    ValueError
        If there is no case for the operation.
    EmulatorError
        If there is no C++ compiler.

    Examples
    --------
    >>> profile("conv3d")
    Traceback (most recent call last):
        ...
    ValueError: no case to profile for 'conv3d'; there are conv2d, maxpool2d, dense, lstm
    """
    if operation not in CASES:
        raise ValueError(f"no case to profile for {operation!r}; there are {', '.join(CASES)}")
    case = CASES[operation]
    [call] = getattr(ours, case.kind)(**case.settings).values()
    return [_profiled(name, call) for name in _versions(case)]


def _versions(case: Case) -> list[str]:
    from minivid import ops

    names = [name for name in getattr(ops, case.kind).implementations if name.startswith("gpu")]
    numbered = sorted(name for name in names if name != "gpu")
    return [name.replace("gpu", "emulator") for name in [*numbered, "gpu"]]


def _profiled(version: str, call: Callable[[], object]) -> Version:
    from minivid import use
    from minivid.cuda import emulator

    with use(version), emulator.profile() as lines:
        call()
    return Version(version, list(dict.fromkeys(line.kernel for line in lines)), lines)


def print_profile(operation: str, versions: Sequence[Version]) -> None:
    """Print the totals of all versions side by side, then the lines of each that make memory work most.

    "least" is what the same requests would cost if their threads asked for neighbouring numbers.

    Parameters
    ----------
    operation : str
        A key of `CASES`.
    versions : sequence of Version
        From `profile`.

    Examples
    --------
    >>> print_profile("conv2d", [Version("emulator_1", [], [])])
    1×18×18×16 → 32, 3×3 valid
    <BLANKLINE>
    version      kernels   global requests   sectors   least   shared requests   wavefronts   least
    emulator_1                           0         0       0                 0            0       0
    """
    print(CASES[operation].name)
    print()
    header = ["version", "kernels"]
    for space, unit in _UNITS.items():
        header += [f"{space} requests", unit, "least"]
    _print_columns([header, *(_totals(version) for version in versions)])
    for version in versions:
        heaviest = sorted(version.lines, key=lambda line: -line.transactions)[:_LINES]
        if heaviest:
            print(f"\n{version.name}: {', '.join(version.kernels)}")
            _print_columns([_described(line) for line in heaviest])


def _totals(version: Version) -> list[str]:
    cells = [version.name, ", ".join(version.kernels)]
    for space in _UNITS:
        lines = [line for line in version.lines if line.space == space]
        cells += [str(sum(getattr(line, name) for line in lines)) for name in ("requests", "transactions", "ideal")]
    return cells


def _described(line) -> list[str]:
    cost, least = line.transactions / line.requests, line.ideal / line.requests
    each = f"{cost:.1f} {_UNITS[line.space]} each, least {least:.1f}"
    return [f"  {line.file}:{line.line}", line.space, line.access, f"{line.requests} requests", each, _source(line)]


def _source(line) -> str:
    from minivid.cuda import source

    path = source.folder() / Path(line.file).name
    text = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return text[line.line - 1].strip() if line.line <= len(text) else ""


def _print_columns(rows: list[list[str]]) -> None:
    """Print cells in columns, to the right where the last row has numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    to_the_right = [cell[:1].isdigit() for cell in rows[-1]]
    for row in rows:
        columns = zip(row, widths, to_the_right, strict=True)
        print("   ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in columns).rstrip())
