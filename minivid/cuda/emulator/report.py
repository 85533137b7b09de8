"""Put what the checker found into words: kernel, array, block, thread, line of the source."""

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from minivid.cuda.emulator.module import Function

__all__ = ["lines_of", "text"]

_ANYWHERE = "an address that belongs to no array"


class Problem(IntEnum):
    """Problem in checker.h."""

    RACE = 0
    OUT_OF_BOUNDS = 1
    MISALIGNED = 2
    READ_ONLY = 3
    UNINITIALISED = 4
    DIFFERENT_BARRIERS = 5
    EXITED_BEFORE_BARRIER = 6
    STUCK_THREADS = 7
    LANE_OUTSIDE_MASK = 8
    MASKS_DIFFER = 9
    MISSING_LANES = 10
    ABSENT_LANE = 11
    NOT_COOPERATIVE = 12
    MISSING_BLOCKS = 13
    TOO_MUCH_SHARED = 14
    ASSERTION = 15
    NEVER_WRITTEN = 16
    FOREIGN_STACK = 17


_DEEDS = ("nothing", "read", "write", "atomic", "call")


class _Event(ctypes.Structure):
    """Event in checker.h."""

    _fields_ = [
        ("site", ctypes.c_uint64),
        ("block", ctypes.c_uint32),
        ("thread", ctypes.c_uint32),
        ("deed", ctypes.c_uint16),
        ("bytes", ctypes.c_uint32),
    ]


class _Finding(ctypes.Structure):
    """Finding in checker.h."""

    _fields_ = [
        ("problem", ctypes.c_uint32),
        ("argument", ctypes.c_int32),
        ("name", ctypes.c_char * 64),
        ("offset", ctypes.c_int64),
        ("bytes", ctypes.c_uint64),
        ("element", ctypes.c_uint32),
        ("extents", ctypes.c_uint32 * 4),
        ("times", ctypes.c_uint32),
        ("number", ctypes.c_uint64),
        ("first", _Event),
        ("second", _Event),
    ]


class _Launch:
    """What is needed to name the things of a launch."""

    def __init__(self, function, grid, block, args, where: dict[int, str]):
        self.function = function
        self.grid, self.block = _three(grid), _three(block)
        self.args = args
        self.where = where

    def place(self, event: _Event) -> str:
        return self.where[event.site]

    def thread(self, event: _Event, block: bool = True) -> str:
        thread = f"thread {_unravel(event.thread, self.block)}"
        return f"block {_unravel(event.block, self.grid)} {thread}" if block else thread

    def who(self, event: _Event) -> str:
        return f"{self.thread(event)} at {self.place(event)}"

    def element(self, finding: _Finding) -> str:
        """Name an array and the element in question, as the source would write it."""
        index = finding.offset // finding.element if finding.element else 0
        inside = 0 <= finding.offset < finding.bytes
        if finding.argument == -1:
            sizes = [size for size in finding.extents if size]
            return f"shared {finding.name.decode()}{_c_index(index, sizes) if inside else f'[{index}]'}"
        if finding.argument < 0:
            return _ANYWHERE
        name = self.function.parameters[finding.argument].name
        shape = self.args[finding.argument].shape
        if inside and len(shape) > 1:
            return f"{name}[{', '.join(map(str, map(int, np.unravel_index(index, shape))))}]"
        return f"{name}[{index}]"

    def size(self, finding: _Finding) -> str:
        """Say how large the array of a finding is."""
        count = finding.bytes // max(finding.element, 1)
        sizes = [size for size in finding.extents if size]
        if finding.argument >= 0:
            sizes = list(self.args[finding.argument].shape)
        shape = f", {' x '.join(map(str, sizes))}" if len(sizes) > 1 else ""
        return f"{count} element{'s' * (count != 1)}{shape}"


def text(library: Path, function: "Function", grid: tuple, block: tuple, args: tuple, findings: list[_Finding]) -> str:
    """Return the findings of a launch, one a line; nothing if, at a second look, there is none.

    Parameters
    ----------
    library : pathlib.Path
        The compiled kernel file, which knows its lines.
    function : Function
    grid, block, args : tuple
        Of the launch.
    findings : list of Finding
        As the checker noted them.

    Examples
    --------
    >>> import minivid.cuda.emulator as emulator
    >>> code = 'extern "C" __global__ void shift(float* y) { y[threadIdx.x] = y[threadIdx.x + 1]; }'
    >>> shift = emulator.RawModule(code, (), "shift").get_function("shift")
    >>> try:
    ...     shift((1,), (4,), (np.zeros(4, np.float32),)) if emulator.compiler() else None
    ... except emulator.EmulatorError as error:
    ...     assert "OUT OF BOUNDS read of y[4]" in str(error)
    """
    sites = {event.site for finding in findings for event in (finding.first, finding.second)}
    launch = _Launch(function, grid, block, args, lines_of(library, sites, function.module.name))
    lines = [_with_times(_WORDS[f.problem](launch, f), f) for f in _merged(launch, findings) if _real(launch, f)]
    if not lines:
        return ""
    sizes = f"grid {_tuple(launch.grid)}, block {_tuple(launch.block)}"
    return "\n".join([f"{function.kernel} ({function.module.name}.cu), {sizes}:", *(f"  {line}" for line in lines)])


def _merged(launch: _Launch, findings: list[_Finding]) -> list[_Finding]:
    """Put together what is the same problem at the same lines: `y[0] += 1` reads and writes."""
    first: dict[tuple, _Finding] = {}
    for finding in findings:
        places = launch.place(finding.first), launch.place(finding.second)
        kept = first.setdefault((finding.problem, finding.argument, finding.name, *places), finding)
        if kept is not finding:
            kept.times = max(kept.times, finding.times)
    return list(first.values())


def _real(launch: _Launch, finding: _Finding) -> bool:
    """Whether a finding holds: the compiler may have made two copies of one barrier."""
    same_line = launch.place(finding.first) == launch.place(finding.second)
    return not (finding.problem == Problem.DIFFERENT_BARRIERS and same_line)


def _with_times(line: str, finding: _Finding) -> str:
    return f"{line} ({finding.times} times)" if finding.times > 1 else line


def _race(launch: _Launch, finding: _Finding) -> str:
    first, second = finding.first, finding.second
    same_block = first.block == second.block
    reason = "no barrier between" if same_block else "blocks of one launch run in any order"
    if same_block and first.thread // 32 == second.thread // 32:
        reason = "no barrier between, and threads of a warp need __syncwarp()"
    return (
        f"RACE on {launch.element(finding)}: {_DEEDS[first.deed]} by {launch.who(first)}, then "
        f"{_DEEDS[second.deed]} by {launch.thread(second, block=not same_block)} at {launch.place(second)}, {reason}"
    )


def _out_of_bounds(launch: _Launch, finding: _Finding) -> str:
    event = finding.first
    size = "" if finding.argument == -2 else f" (it has {launch.size(finding)})"
    of = "read of" if event.deed == 1 else f"{_DEEDS[event.deed]} to"
    return f"OUT OF BOUNDS {of} {launch.element(finding)}{size}: {launch.who(event)}"


def _misaligned(launch: _Launch, finding: _Finding) -> str:
    event = finding.first
    what = f"{_DEEDS[event.deed]} of {event.bytes} bytes at {launch.element(finding)}"
    return f"MISALIGNED {what}, whose address is no multiple of {event.bytes}: {launch.who(event)}"


def _read_only(launch: _Launch, finding: _Finding) -> str:
    return f"WRITE TO CONST {launch.element(finding)}: {launch.who(finding.first)}"


def _uninitialised(launch: _Launch, finding: _Finding) -> str:
    element, who = launch.element(finding), launch.who(finding.first)
    return f"UNINITIALISED {element}: read by {who}, before anything was written there"


def _different_barriers(launch: _Launch, finding: _Finding) -> str:
    first, second = finding.first, finding.second
    return (
        f"DIVERGENT BARRIER: {launch.thread(first)} waits at {launch.place(first)}, "
        f"{launch.thread(second, block=False)} at {launch.place(second)}; all threads must come to the same barrier"
    )


def _exited_before_barrier(launch: _Launch, finding: _Finding) -> str:
    first, gone = finding.first, launch.thread(finding.second, block=False)
    return (
        f"DIVERGENT BARRIER: {launch.thread(first)} waits at {launch.place(first)}, "
        f"but {finding.number} threads of its block have returned, among them {gone}"
    )


def _stuck_threads(launch: _Launch, finding: _Finding) -> str:
    return f"STUCK: {launch.who(finding.first)} waits at a barrier, {launch.who(finding.second)} at a grid barrier"


def _lane_outside_mask(launch: _Launch, finding: _Finding) -> str:
    return f"WRONG MASK: {launch.who(finding.first)} is not in the mask {finding.number:#010x} that it gives"


def _masks_differ(launch: _Launch, finding: _Finding) -> str:
    first, second = launch.who(finding.first), launch.who(finding.second)
    return f"WRONG MASK: lanes of one warp meet with different masks or in different functions: {first}, {second}"


def _missing_lanes(launch: _Launch, finding: _Finding) -> str:
    lanes = _ranges([lane for lane in range(32) if finding.number >> lane & 1])
    second = finding.second
    return (
        f"MISSING LANES: {launch.who(finding.first)} waits for lanes {lanes}, which its mask names "
        f"but which do not come; {launch.thread(second, block=False)} waits at {launch.place(second)}"
    )


def _absent_lane(launch: _Launch, finding: _Finding) -> str:
    return (
        f"MISSING LANES: {launch.who(finding.first)} reads from lane {finding.number}, which its mask names but which "
        f"did not come"
    )


def _not_cooperative(launch: _Launch, finding: _Finding) -> str:
    return f"GRID BARRIER in a launch that is not cooperative: {launch.who(finding.first)}"


def _missing_blocks(launch: _Launch, finding: _Finding) -> str:
    who = launch.who(finding.first)
    return f"MISSING BLOCKS: {who} waits at a grid barrier, but {finding.number} blocks have finished"


def _too_much_shared(launch: _Launch, finding: _Finding) -> str:
    return f"TOO MUCH SHARED MEMORY: the static arrays need {finding.number} bytes, a block has 49152"


def _assertion(launch: _Launch, finding: _Finding) -> str:
    return f"ASSERTION failed: {launch.who(finding.first)}"


def _never_written(launch: _Launch, finding: _Finding) -> str:
    count = finding.bytes // max(finding.element, 1)
    return f"NEVER WRITTEN: {finding.number} of {count} elements of an output, the first {launch.element(finding)}"


def _foreign_stack(launch: _Launch, finding: _Finding) -> str:
    return f"OUT OF BOUNDS access to a local variable of another thread: {launch.who(finding.first)}"


_WORDS = {
    Problem.RACE: _race,
    Problem.OUT_OF_BOUNDS: _out_of_bounds,
    Problem.MISALIGNED: _misaligned,
    Problem.READ_ONLY: _read_only,
    Problem.UNINITIALISED: _uninitialised,
    Problem.DIFFERENT_BARRIERS: _different_barriers,
    Problem.EXITED_BEFORE_BARRIER: _exited_before_barrier,
    Problem.STUCK_THREADS: _stuck_threads,
    Problem.LANE_OUTSIDE_MASK: _lane_outside_mask,
    Problem.MASKS_DIFFER: _masks_differ,
    Problem.MISSING_LANES: _missing_lanes,
    Problem.ABSENT_LANE: _absent_lane,
    Problem.NOT_COOPERATIVE: _not_cooperative,
    Problem.MISSING_BLOCKS: _missing_blocks,
    Problem.TOO_MUCH_SHARED: _too_much_shared,
    Problem.ASSERTION: _assertion,
    Problem.NEVER_WRITTEN: _never_written,
    Problem.FOREIGN_STACK: _foreign_stack,
}


def findings_of(library: ctypes.CDLL, count: int) -> list[_Finding]:
    """Copy the findings out of the library, which forgets them at the next launch."""
    library.emulator_findings.restype = ctypes.POINTER(_Finding)
    first = library.emulator_findings()
    return [_Finding.from_buffer_copy(first[i]) for i in range(count)]


def lines_of(library: Path, sites: Iterable[int], name: str) -> dict[int, str]:
    """Return the source line of each instruction of a library, e.g. ``conv2d.cu:31``.

    Parameters
    ----------
    library : pathlib.Path
    sites : iterable of int
        Offsets behind the instructions: return addresses.
    name : str
        Of the kernel file, named alone where no line is known.

    Examples
    --------
    >>> lines_of(Path("nothing.so"), [0], "conv2d")
    {0: 'conv2d.cu'}
    """
    sites = sorted(set(sites))
    found = dict.fromkeys(sites, f"{name}.cu")
    tool = shutil.which("addr2line") or shutil.which("llvm-addr2line")
    wanted = [site for site in sites if site]
    if tool is None or not wanted:
        return found
    command = [tool, "-a", "-i", "-e", str(library), *(hex(site - 1) for site in wanted)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for part in re.split(r"^(?=0x)", done.stdout, flags=re.MULTILINE)[1:]:
        address, *frames = part.splitlines()
        where = _frame(frames, name)
        if where:
            found[int(address, 16) + 1] = where
    return found


def _frame(frames: list[str], name: str) -> str | None:
    """Return the line, and for a line of a header also the line of the kernel file that led there."""
    lines = [match.groups() for match in map(re.compile(r"(?:.*/)?([\w.-]+\.cuh?):(\d+)").match, frames) if match]
    if not lines:
        return None
    where = ":".join(lines[0])
    outer = next((":".join(line) for line in lines if line[0] == f"{name}.cu"), None)
    return where if outer in (None, where) or lines[0][0] == f"{name}.cu" else f"{where} (from {outer})"


def _c_index(index: int, sizes: list[int]) -> str:
    """Write an index as C does; a single variable has none."""
    return "".join(f"[{i}]" for i in np.unravel_index(index, sizes)) if sizes else ""


def _ranges(numbers: list[int]) -> str:
    """Write 1, 2, 3, 7 as 1-3, 7."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(f"{a}-{b}" if a != b else str(a) for a, b in zip(starts, ends, strict=True))


def _three(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return (*sizes, 1, 1)[:3]


def _unravel(number: int, sizes: tuple[int, ...]) -> str:
    return _tuple((number % sizes[0], number // sizes[0] % sizes[1], number // sizes[0] // sizes[1]))


def _tuple(numbers: Iterable[int]) -> str:
    return f"({','.join(map(str, numbers))})"
