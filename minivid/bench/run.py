"""`minivid bench`: time minivid and PyTorch in turns, relate the times to the machine's ceilings, and report."""

import contextlib
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from minivid.bench import report
from minivid.bench.cases import LADDERS, Case, Group, groups, ladder_cases, training_step
from minivid.cuda.device import require as require_gpu
from minivid.progress import track
from minivid.runs import write_json

__all__ = ["run_bench"]

ROUNDS, QUICK_ROUNDS = 7, 3  # through all cases: a slow minute of the machine spoils one or two rounds of a case
BLOCK_SECONDS = 0.1
PAUSE_SECONDS = 0.02  # idle threads of the other side spin for some milliseconds before they sleep
MEMORY_STEPS, QUICK_MEMORY_STEPS = [20, 220], [2, 6]
PEAK_STEPS = [5]

SIDES = {
    "cpu": ("minivid", "torch", "torch-kept") if sys.platform == "linux" else ("minivid", "torch"),
    "gpu": ("minivid-gpu", "torch-gpu", "torch-gpu-tf32"),
}
LADDER_PEERS = {"cpu": ("PyTorch",), "gpu": ("PyTorch", "PyTorch, TF32")}

# glibc gives large arrays back to the system when they are freed, and takes them anew, page by page. Not so with these.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**28)}

ISA_SETTINGS = {
    "native": {},
    "avx2": {
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+sse4.2,+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+popcnt,+movbe",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}


class Worker:
    """The process of one side, and how to ask it."""

    def __init__(self, side: str, threads: int, isa: str = "native"):
        names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        package = str(Path(__file__).parents[2])
        settings = ISA_SETTINGS[isa] | (KEEP_MEMORY if side.endswith("-kept") else {})
        search = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        self.side = side
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minivid.bench.worker", side, str(threads)],
            env=os.environ | {name: str(threads) for name in names} | settings | {"PYTHONPATH": search},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        hello = self._reply()
        self.missing = hello.get("missing")  # why the library could not be imported
        self.about = hello.get("result", {})

    def ask(self, do: str, **arguments):
        """Send a request and wait for its result."""
        with contextlib.suppress(BrokenPipeError):  # it has ended: the missing reply tells with which code
            print(json.dumps({"do": do} | arguments), file=self.process.stdin, flush=True)
        reply = self._reply()
        if "error" in reply:
            case = f" of {arguments['case']['name']}" if "case" in arguments else ""
            raise RuntimeError(f"{self.side}, {do}{case}: {reply['error']}")
        return reply["result"]

    def _reply(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {self.side} process of the benchmark ended with code {self.process.wait()}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):  # a request that it never read
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


def run_bench(
    out: str | os.PathLike,
    only: Sequence[str] = (),
    ladders: Sequence[str] = (),
    quick: bool = False,
    threads: int | None = None,
    isa: str = "native",
    page: str | os.PathLike | None = None,
    device: str = "cpu",
) -> dict:
    """Measure, print a table, and write ``bench.json`` and the pictures.

    Parameters
    ----------
    out : path
        Folder for the results; what an older benchmark left there is replaced.
    only : sequence of str
        Groups to measure, by key; ``"memory"`` is one of them. By default all, or none if ``ladders`` are given.
    ladders : sequence of str
        Operations all of whose implementations are compared.
    quick : bool
        Two cases per group and fewer rounds.
    threads : int, optional
        Of each side; 2 by default, or the cores of the machine if those are fewer.
    isa : {"native", "avx2"}
        Instructions that both sides may use.
    page : path, optional
        A Markdown page whose marked tables are replaced, with its JSON file and pictures beside it.
    device : {"cpu", "gpu"}
        On a CPU with Linux, PyTorch is timed as it is and with memory kept for the next call. On a GPU it is timed with
        TF32 off and on; there are no pictures, and memory is not measured.

    Returns
    -------
    dict
        What ``bench.json`` holds.

    Raises
    ------
    ValueError
        If there is no such group, operation or set of instructions, or the page has no marks.
    RuntimeError
        If the GPU is asked for and cannot be used; says what is missing.

    Examples
    --------
    >>> run_bench("runs/bench", only=["convolution"])
    Traceback (most recent call last):
        ...
    ValueError: no group 'convolution'; there are: conv3x3-forward, conv3x3-backward, conv-other, maxpool, lstm, \
dense, step, neighbours, memory
    """
    check_wanted(only, ladders, isa, page, device)
    if device == "gpu":
        require_gpu()
    wanted = {group.key: group for group in groups(device)}
    if page is not None:
        ladders = ladders or ["conv2d"]
    everything = [*wanted, "memory"] if device == "cpu" else list(wanted)
    keys = list(only) or (everything if page is not None or not ladders else [])
    threads = threads or min(2, os.cpu_count() or 1)
    rounds = QUICK_ROUNDS if quick else ROUNDS

    before = _cpu_seconds()
    with contextlib.ExitStack() as stack:
        ours, *peers = [stack.enter_context(Worker(side, threads, isa)) for side in SIDES[device]]
        peers = [peer for peer in peers if not peer.missing]
        machine = ours.ask("machine")
        measured = [wanted[key].quick() if quick else wanted[key] for key in wanted if key in keys]
        times = _time_groups(measured, ours, peers, rounds)
        rungs = [_time_ladder(operation, ours, peers, rounds, device) for operation in ladders]
        again = ours.ask("machine")  # a ceiling is the best that was seen
        machine |= {key: max(machine[key], again[key]) for key in ("flops_per_second", "bytes_per_second")}
    record = {
        "date": datetime.date.today().isoformat(),
        "device": device,
        "versions": ours.about | (peers[0].about if peers else {}),
        "machine": machine,
        "instructions": isa,
        "quick": quick,
        "rounds": rounds,
        "groups": [report.group_record(*timed, machine) for timed in zip(measured, times, strict=True)],
        "ladders": [
            report.ladder_record(name, *ladder_cases(name, device), found, machine)
            for name, found in zip(ladders, rungs, strict=True)
        ],
        "memory": None,
    }
    if "memory" in keys:
        record["memory"] = _measure_memory(threads, isa, bool(peers), quick)
    record["busy_cores"] = _busy_cores(before, _cpu_seconds())
    if report.is_disturbed(record):
        for group in record["groups"]:
            group["met"] = None
    _write(record, out, page)
    return record


def check_wanted(
    only: Sequence[str], ladders: Sequence[str], isa: str, page: str | os.PathLike | None, device: str = "cpu"
) -> None:
    """Raise ValueError if a group, an operation, instructions, the marks of a page or a device do not exist."""
    _check("device", [device], list(SIDES))
    _check("group", only, [*(group.key for group in groups(device)), *(["memory"] if device == "cpu" else [])])
    _check("ladder for", ladders, list(LADDERS))
    _check("instruction set", [isa], list(ISA_SETTINGS))
    if page is not None:
        report.check_page(page)


def _check(what: str, given: Sequence[str], known: list[str]) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f"no {what} {name!r}; there are: {', '.join(known)}")


def _cpu_seconds() -> tuple[float, float, float] | None:
    """Return the time, what all cores together have worked, and what this process and its workers have, in seconds."""
    try:  # Linux: user, nice, system, idle, waiting, interrupts, soft interrupts, stolen by other virtual machines
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    except (OSError, ValueError):
        return None
    everything = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return time.monotonic(), everything, sum(os.times()[:4])  # workers count once they have ended


def _busy_cores(before: tuple | None, after: tuple | None) -> float | None:
    """Return how many cores other programs used meanwhile; None where the system does not tell."""
    if before is None or after is None:
        return None
    seconds, everything, own = (end - start for start, end in zip(before, after, strict=True))
    return round(max(0.0, everything - own) / seconds, 3)


# --- times --------------------------------------------------------------------------------------------------------


Seconds = dict[tuple[str, str], list[float]]  # of each round, by side and layout


def _time_groups(
    measured: list[Group], ours: Worker, peers: list[Worker], rounds: int
) -> list[list[list[tuple[float, str]]]]:
    """Return seconds and layout of each side, for each case of each group."""
    found: list[list[Seconds]] = [[{} for _ in group.cases] for group in measured]
    jobs = [
        (case, [ours, *peers] if group.with_peer else [ours], seconds)
        for group, of_group in zip(measured, found, strict=True)
        for case, seconds in zip(group.cases, of_group, strict=True)
    ]
    for turn in range(rounds if jobs else 0):
        for case, workers, seconds in track(jobs, f"Round {turn + 1} of {rounds}"):
            for side_layout, times in _in_turns(workers, case, rounds=1).items():
                seconds.setdefault(side_layout, []).extend(times)
    return [[_medians(seconds) for seconds in of_group] for of_group in found]


def interleaved(workers: Sequence[Worker], case: Case, rounds: int, rung: str | None = None) -> list[tuple[float, str]]:
    """Time a case on several sides in turns; return each side's median seconds in its faster layout, and the layout."""
    return _medians(_in_turns(workers, case, rounds, rung))


def _in_turns(workers: Sequence[Worker], case: Case, rounds: int, rung: str | None = None) -> Seconds:
    plan, seconds = [], {}
    for worker in workers:
        only_ours = {"rung": rung} if rung and worker.side.startswith("minivid") else {}
        for layout, estimate in worker.ask("prepare", case=vars(case), **only_ours).items():
            plan.append((worker, layout, max(1, math.ceil(BLOCK_SECONDS / estimate))))
            seconds[worker.side, layout] = []
    for _ in range(rounds):
        for worker, layout, calls in plan:
            time.sleep(PAUSE_SECONDS)
            seconds[worker.side, layout].append(worker.ask("block", layout=layout, calls=calls))
    return seconds


def _medians(seconds: Seconds) -> list[tuple[float, str]]:
    """Return each side's median in its faster layout, and the layout."""
    fastest: dict[str, tuple[float, str]] = {}
    for (side, layout), times in seconds.items():
        fastest[side] = min((statistics.median(times), layout), fastest.get(side, (math.inf, "")))
    return list(fastest.values())


def _time_ladder(
    operation: str, ours: Worker, peers: list[Worker], rounds: int, device: str
) -> dict[str, tuple[float, str]]:
    """Return seconds and layout of every implementation of an operation; of the reference, on the smaller case."""
    case, small = ladder_cases(operation, device)
    times = {}
    for rung in track(ours.ask("rungs", kind=case.kind), f"Ladder of {operation}"):
        [times[rung]] = interleaved([ours], small if rung == "reference" else case, rounds, rung)
    for name, peer in zip(LADDER_PEERS[device], peers, strict=False):
        [times[name]] = interleaved([peer], case, rounds)
    return times


# --- memory -------------------------------------------------------------------------------------------------------


def _measure_memory(threads: int, isa: str, with_peer: bool, quick: bool) -> dict:
    """Run training steps in fresh processes; return each side's peak, and how minivid's memory grows."""
    case, growth_steps = vars(training_step(8, 16, 64)), QUICK_MEMORY_STEPS if quick else MEMORY_STEPS

    def fresh(side, layout, steps):
        with Worker(side, threads, isa) as worker:
            return worker.ask("memory", case=case, layout=layout, steps=steps)

    fresh("minivid", "channels last", [1])  # compiles what is not on disk yet: the compiler's memory is not ours
    jobs = [("minivid", "channels last", PEAK_STEPS)]
    if with_peer:
        jobs += [("torch", layout, PEAK_STEPS) for layout in ("channels first", "channels last")]
    jobs.append(("minivid", "channels last", growth_steps))
    *peaks, growth = [fresh(*job) for job in track(jobs, "Memory of the training step")]
    sides = {"minivid": peaks[0]}
    if with_peer:
        sides["PyTorch"] = min(peaks[1:], key=lambda side: side["peak_mb"])
    return report.memory_record(sides, PEAK_STEPS[0], growth_steps, growth["occupied_mb"])


# --- results ------------------------------------------------------------------------------------------------------


def _write(record: dict, out: str | os.PathLike, page: str | os.PathLike | None) -> None:
    from minivid.bench import pictures

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "bench.json", record)
    written = [out / "bench.json"]
    on_cpu = record["device"] == "cpu"
    if on_cpu:
        written += pictures.draw_all(record, out)
    report.print_report(record)
    if page is not None:
        page = Path(page)
        write_json(page.with_suffix(".json"), record)
        report.write_page(page, record)
        if on_cpu:
            pictures.draw_all(record, page.parent / "images")
        written.append(page)
    print("\nwritten: " + ", ".join(map(str, written)))
