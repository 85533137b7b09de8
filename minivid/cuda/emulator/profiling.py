"""What the accesses of a kernel would cost on a GPU, line by line: count sectors and wavefronts without having one."""

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from minivid.cuda.emulator.report import lines_of

__all__ = ["Line", "profile", "table"]


class Line(NamedTuple):
    """What one line of a kernel asked of the memory, over all launches of a profile.

    Attributes
    ----------
    kernel, file : str
    line : int
        In the file; 0 where it is not known.
    space : {"global", "shared"}
    access : {"read", "write"}
    requests : int
        How often a warp came to an instruction of the line.
    transactions : int
        What these requests cost: sectors of 32 bytes of global memory, wavefronts of shared memory.
    ideal : int
        The fewest transactions that could have moved the same bytes.
    """

    kernel: str
    file: str
    line: int
    space: str
    access: str
    requests: int
    transactions: int
    ideal: int


_lines: ContextVar[list[Line] | None] = ContextVar("minivid_emulator_profile", default=None)


@contextmanager
def profile() -> Iterator[list[Line]]:
    """Count the accesses of every launch inside the ``with`` block; the launches are checked as well.

    Returns
    -------
    context manager of list of Line
        Filled when the block ends, in the order of files and lines.

    Notes
    -----
    The C++ compiler keeps some numbers in registers, as NVIDIA's does, but not always the same ones. The accesses of
    the lanes of a warp are put together by counting, so a loop of different lengths in one warp is blurred.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.cuda.emulator import RawModule, compiler
    >>> code = 'extern "C" __global__ void fill(float* y) { y[2 * threadIdx.x] = 1; }'
    >>> with profile() as lines:
    ...     if compiler():
    ...         RawModule(code, (), "fill").get_function("fill")((1,), (32,), (np.zeros(64, np.float32),))
    >>> [(line.requests, line.transactions, line.ideal) for line in lines] in ([], [(1, 8, 4)])
    True
    """
    collected: list[Line] = []
    token = _lines.set(collected)
    try:
        yield collected
    finally:
        _lines.reset(token)
        collected[:] = _merged(collected)


def wanted() -> bool:
    """Say whether launches are being profiled."""
    return _lines.get() is not None


class _Row(ctypes.Structure):
    """ProfileRow in profile.h."""

    _fields_ = [
        ("site", ctypes.c_uint64),
        ("shared", ctypes.c_uint32),
        ("write", ctypes.c_uint32),
        ("requests", ctypes.c_uint64),
        ("transactions", ctypes.c_uint64),
        ("ideal", ctypes.c_uint64),
    ]


def collect(library: ctypes.CDLL, path: Path, kernel: str, name: str) -> None:
    """Add what a launch has just done to the profile."""
    library.emulator_profile.restype = ctypes.c_size_t
    library.emulator_profile.argtypes = [ctypes.POINTER(_Row), ctypes.c_size_t]
    rows = (_Row * library.emulator_profile(None, 0))()
    library.emulator_profile(rows, len(rows))
    where = lines_of(path, {row.site for row in rows}, name)
    for row in rows:
        # A helper in a header is charged to the line of the kernel that calls it.
        file, line = re.match(r"(?:.*from )?([^:]+):?(\d*)", where[row.site]).groups()
        space, access = "shared" if row.shared else "global", "write" if row.write else "read"
        counts = (row.requests, row.transactions, row.ideal)
        _lines.get().append(Line(kernel, file, int(line or 0), space, access, *counts))


def _merged(lines: list[Line]) -> list[Line]:
    """Add up the lines that differ in nothing but their counts."""
    sums: dict[tuple, list[int]] = {}
    for line in lines:
        counts = sums.setdefault(line[:5], [0, 0, 0])
        counts[:] = [a + b for a, b in zip(counts, line[5:], strict=True)]
    return sorted(Line(*key, *counts) for key, counts in sums.items())


def table(lines: list[Line], sources: dict[str, str]) -> str:
    """Return a profile as text: the costs beside the lines of the source.

    Parameters
    ----------
    lines : list of Line
    sources : dict of str to str
        Text of each file, by its name.

    Examples
    --------
    >>> line = Line("fill", "fill.cu", 1, "global", "write", 1, 8, 4)
    >>> print(table([line], {"fill.cu": "y[2 * threadIdx.x] = 1;"}))
    fill
      file:line                   access   requests  transactions  per request  ideal
      fill.cu:1             global write          1             8         8.00   4.00  y[2 * threadIdx.x] = 1;
    """
    out = []
    for kernel in dict.fromkeys(line.kernel for line in lines):
        out.append(kernel)
        out.append("  file:line                   access   requests  transactions  per request  ideal")
        out += [f"  {_row(line, sources)}" for line in lines if line.kernel == kernel]
    return "\n".join(out)


def _row(line: Line, sources: dict[str, str]) -> str:
    texts = sources.get(line.file, "").splitlines()
    text = texts[line.line - 1].strip() if 0 < line.line <= len(texts) else ""
    place, access = f"{line.file}:{line.line}", f"{line.space} {line.access}"
    each, ideal = line.transactions / line.requests, line.ideal / line.requests
    return f"{place:<20} {access:>13} {line.requests:>10} {line.transactions:>13} {each:>12.2f} {ideal:>6.2f}  {text}"
