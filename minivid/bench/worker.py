"""One side of a comparison: a process that prepares cases and times blocks of calls, as it is told line by line.

minivid and PyTorch each have a pool of threads, and the idle threads of one pool would take the cores from the other
in a common process. So each side has a process of its own. A request is one line of JSON with the name of a
function below under ``"do"`` and its arguments; the reply is one line of JSON.

How long PyTorch takes depends on what its process did before: whether the memory of a large result comes from an
earlier case or from the system, page by page. So on Linux each of its cases runs in a fresh copy of its process.
"""

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import platform
import re
import signal
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

from minivid.backend import use
from minivid.bench.cases import Case
from minivid.runs import peak_memory_mb

__all__ = ["Side"]

WARM_UP_CALLS = 2
MODULES = {"minivid": "minivid.bench.ours", "torch": "minivid.bench.peer"}


class Side:
    """What a worker holds: the case that it prepared last, and the functions that a request may call.

    Parameters
    ----------
    name : {"minivid", "torch"}
        Whose kernels are timed.
    threads : int
        How many threads they may use.

    Raises
    ------
    ImportError
        If the library is not installed.

    Examples
    --------
    >>> from minivid.bench.cases import maxpool2d
    >>> side = Side("minivid", threads=1)
    >>> prepared = side.prepare(vars(maxpool2d(1, 4, 8, pool=2, stride=2)))
    >>> list(prepared)
    ['channels last']
    >>> side.block("channels last", calls=3) > 0
    True
    """

    def __init__(self, name: str, threads: int):
        self.name, self.threads = name, threads
        self.module = importlib.import_module(MODULES[name])
        self.library = self.module.load(threads)
        self.baseline_mb = peak_memory_mb()
        self.variants, self.rung = {}, None

    def about(self) -> dict[str, str]:
        """Return the versions of what does the work."""
        if self.name == "torch":
            return {"PyTorch": self.library.__version__}
        names = {"minivid": "minivid", "Numba": "numba", "NumPy": "numpy"}
        return {"Python": platform.python_version()} | {key: version(name) for key, name in names.items()}

    def machine(self) -> dict[str, object]:
        """Measure the ceilings."""
        from minivid import simd
        from minivid.bench.machine import copy_bandwidth, cpu_name, fma_peak

        return {
            "cpu": cpu_name(),
            "system": f"{platform.system()} {platform.machine()}",
            "threads": self.threads,
            "vector_bytes": simd.BYTES,
            "flops_per_second": fma_peak(self.threads),
            "bytes_per_second": copy_bandwidth(),
        }

    def prepare(self, case: dict, rung: str | None = None) -> dict[str, float]:
        """Make the arrays of a case, call each layout a few times, and return how long the last call took."""
        case = Case(**case)
        self.variants = {}  # the arrays of the case before are let go first
        self.variants, self.rung = getattr(self.module, case.kind)(**case.settings), rung
        return {layout: self._warm_up(layout) for layout in self.variants}

    def _warm_up(self, layout: str) -> float:
        for _ in range(WARM_UP_CALLS - 1):
            self._seconds(layout, calls=1)
        return self._seconds(layout, calls=1)

    def block(self, layout: str, calls: int) -> float:
        """Return the seconds of a call, out of some in a row, after one that wakes threads and caches."""
        self._seconds(layout, calls=1)
        return self._seconds(layout, calls)

    def _seconds(self, layout: str, calls: int) -> float:
        """Return the median seconds of some calls."""
        call, times = self.variants[layout], []
        with self._forced():
            for _ in range(calls):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
        return statistics.median(times)

    def _forced(self) -> contextlib.AbstractContextManager:
        return use(self.rung) if self.rung else contextlib.nullcontext()

    def rungs(self, kind: str) -> list[str]:
        """Return the names of an operation's implementations, the reference first."""
        from minivid import ops

        table = getattr(ops, kind).implementations
        named = {name: function for name, function in table.items() if name != "cpu" and not name.startswith("gpu")}
        return [*named, *(["cpu"] if table["cpu"] not in named.values() else [])]

    def memory(self, case: dict, layout: str, steps: list[int]) -> dict:
        """Run a case and return, in MB, the peak of this process and what it occupies after so many calls."""
        call = getattr(self.module, Case(**case).kind)(**Case(**case).settings)[layout]
        occupied = []
        for done in range(1, max(steps) + 1):
            call()
            if done in steps:
                gc.collect()
                occupied.append(_occupied_mb())
        return {"baseline_mb": self.baseline_mb, "peak_mb": peak_memory_mb(), "occupied_mb": occupied}


def _occupied_mb() -> float | None:
    """Return the memory that this process occupies now; None where the system does not tell."""
    try:
        found = re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return round(int(found[1]) * 1024 / 1e6, 1)


class FreshProcesses:
    """A side of which each case is prepared and timed in a fresh copy of this process.

    Parameters
    ----------
    side : Side
        Has prepared nothing yet, so that its library has no threads: they would be missing in a copy.

    Examples
    --------
    >>> fresh = FreshProcesses(Side("torch", threads=2))  # doctest: +SKIP
    >>> fresh.answer({"do": "block", "layout": "channels last", "calls": 3})  # doctest: +SKIP
    {'result': 0.0021}
    """

    def __init__(self, side: Side):
        self.side, self.process, self.requests = side, None, None

    def answer(self, request: dict) -> dict:
        """Do what a request asks for, in a fresh process if it prepares a case."""
        if request["do"] not in ("prepare", "block"):
            return answer(self.side, request)
        if request["do"] == "prepare":
            self._renew()
        self.requests.send(request)
        return self.requests.recv()

    def _renew(self):
        if self.process is not None:
            self.requests.close()
            self.process.join()
        fork = multiprocessing.get_context("fork")
        self.requests, theirs = fork.Pipe()
        self.process = fork.Process(target=_answer_all, args=(self.side, self.requests, theirs), daemon=True)
        self.process.start()
        theirs.close()


def _answer_all(side: Side, requests, replies):
    requests.close()  # the copy of what the parent holds: its end must be the end
    with contextlib.suppress(EOFError):
        while True:
            replies.send(answer(side, replies.recv()))


def answer(side: Side, request: dict) -> dict:
    """Call the function of a side that a request names; return its result, or what went wrong."""
    do, arguments = request["do"], {key: value for key, value in request.items() if key != "do"}
    try:
        return {"result": getattr(side, do)(**arguments)}
    except Exception as error:  # the parent says which case it was
        return {"error": f"{type(error).__name__}: {error}"}


def _side(name: str, threads: int) -> Side:
    if "-gpu" not in name:
        return Side(name.removesuffix("-kept"), threads)
    from minivid.bench.gpu import GpuSide

    return GpuSide(name, threads)


def serve(name: str, threads: int) -> None:
    """Answer requests on standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the input
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not get among the replies

    def reply(content):
        print(json.dumps(content), file=replies, flush=True)

    try:
        side = _side(name, threads)
    except ImportError as error:
        return reply({"missing": str(error)})
    reply({"result": side.about()})
    fresh = FreshProcesses(side) if side.name == "torch" and sys.platform == "linux" and "-gpu" not in name else None
    for line in sys.stdin:
        request = json.loads(line)
        reply(fresh.answer(request) if fresh else answer(side, request))


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
