"""The figures of a benchmark: as a record (what the JSON file holds), as tables on the terminal, as blocks of a page.

Everything that is shown is computed once, for the record; the tables only format it. A page holds pairs of marks,
``<!-- bench:NAME -->`` and ``<!-- end -->``; what stands between them is replaced, so no figure is typed by hand.
"""

import os
import re
import textwrap
from pathlib import Path

from minivid.bench.cases import NEIGHBOUR_GOAL, Case, Group, geometric_mean, ideal_seconds
from minivid.files import replacing

__all__ = ["markdown_blocks", "print_report", "write_page"]

NO_PEER = "PyTorch is not installed: these are minivid's own figures. To compare: pip install torch"
QUIET = 0.1  # cores that other programs may use while a benchmark runs
HIGH_SHARE = 0.8  # of its ceiling: what is below is listed with what binds it
BLOCK = re.compile(r"(<!-- bench:([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Lines = list[list[str]]


# --- the record ---------------------------------------------------------------------------------------------------


def row(
    case: Case,
    machine: dict,
    ours: tuple[float, str],
    peer: tuple[float, str] | None = None,
    eased: tuple[float, str] | None = None,
) -> dict:
    """Return the figures of one case: seconds of each side and what they mean.

    ``eased`` is PyTorch in a way that targets are not judged by: with memory kept, or on a GPU with TF32.
    """
    seconds = ours[0]
    least, binds = ideal_seconds(case.flops, case.bytes, machine["flops_per_second"], machine["bytes_per_second"])
    figures = {
        "case": case.name,
        "base": case.base,
        "flops": case.flops,
        "bytes": case.bytes,
        "minivid_ms": _rounded(1e3 * seconds),
        "gflops": _rounded(case.flops / seconds / 1e9),
        "gbytes": _rounded(case.bytes / seconds / 1e9),
        "share": _rounded(least / seconds),
        "binds": binds,
    }
    if peer is not None:
        figures |= {
            "pytorch_ms": _rounded(1e3 * peer[0]),
            "pytorch_layout": peer[1],
            "ratio": _rounded(peer[0] / seconds),
        }
    if eased is not None:
        way = "tf32" if "gpu" in machine else "kept"
        figures |= {f"{way}_ms": _rounded(1e3 * eased[0]), f"{way}_ratio": _rounded(eased[0] / seconds)}
    return figures


def group_record(group: Group, times: list[list[tuple[float, str]]], machine: dict) -> dict:
    """Return the rows of a group and its verdict: geometric mean, worst case, target, met or not."""
    rows = [row(case, machine, *sides) for case, sides in zip(group.cases, times, strict=True)]
    if not group.with_peer:
        rates = {figures["case"]: _rate(figures) for figures in rows}
        for figures in rows:
            figures["efficiency"] = _rounded(_rate(figures) / rates[figures["base"]]) if figures["base"] else None
    key = "ratio" if group.with_peer else "efficiency"
    values = {figures["case"]: figures[key] for figures in rows if figures.get(key) is not None}
    verdict = {"mean": None, "worst": None, "worst_case": None, "met": None}
    if values:
        worst_case = min(values, key=values.get)
        mean, worst = geometric_mean(list(values.values())), values[worst_case]
        met = mean >= group.target and worst >= group.floor if group.with_peer else worst >= group.target
        verdict = {"mean": _rounded(mean), "worst": worst, "worst_case": worst_case, "met": met}
    return {
        "key": group.key,
        "title": group.title,
        "target": group.target,
        "floor": group.floor,
        **verdict,
        **_kept_mean(rows),
        "rows": rows,
    }


def _kept_mean(rows: list[dict]) -> dict[str, float]:
    ratios = [figures["kept_ratio"] for figures in rows if "kept_ratio" in figures]
    return {"kept_mean": _rounded(geometric_mean(ratios))} if ratios else {}


def _rate(row: dict) -> float:
    """Return what a kernel is judged by among its neighbours: arithmetic per time, or bytes where there is none."""
    return row["gflops"] or row["gbytes"]


def ladder_record(operation: str, case: Case, small: Case, times: dict[str, tuple[float, str]], machine: dict) -> dict:
    """Return the figures of all implementations of an operation; the reference ran on the smaller case."""
    peak = machine["flops_per_second"] if case.flops else machine["bytes_per_second"]
    rungs = []
    for rung, measured in times.items():
        figures = row(small if rung == "reference" else case, machine, measured)
        kept = {key: figures[key] for key in ("case", "gflops", "gbytes")}
        share = _rounded(1e9 * _rate(figures) / peak)
        rungs.append({"rung": rung, "ms": figures["minivid_ms"], "share_of_peak": share} | kept)
    return {"operation": operation, "case": case.name, "reference_case": small.name, "rungs": rungs}


def memory_record(sides: dict[str, dict], steps: int, growth_steps: list[int], occupied_mb: list) -> dict:
    """Return the memory of both sides, and of minivid early and late in a long run."""
    known = None not in occupied_mb
    return {
        "steps": steps,
        "sides": {
            name: {key: side[key] for key in ("baseline_mb", "peak_mb")}
            | {"increase_mb": round(side["peak_mb"] - side["baseline_mb"], 1)}
            for name, side in sides.items()
        },
        "growth_steps": growth_steps,
        "occupied_mb": occupied_mb,
        "growth_mb": round(occupied_mb[-1] - occupied_mb[0], 1) if known else None,
        "met": sides["minivid"]["peak_mb"] <= sides["PyTorch"]["peak_mb"] if "PyTorch" in sides else None,
    }


def _rounded(value: float) -> float:
    """Return four significant digits: more would be noise."""
    return float(f"{value:.4g}")


# --- sentences ----------------------------------------------------------------------------------------------------


def method_of(record: dict) -> str:
    """Say in two sentences how the times were taken."""
    threads, rounds = record["machine"]["threads"], f"{record['rounds']} rounds"
    if "gpu" in record["machine"]:
        return _method_on_gpu(record)
    if "PyTorch" not in record["versions"]:
        return (
            f"minivid runs in a process of its own on {threads} threads, float32, in {rounds} through all shapes, "
            "in each a block of calls after a warm-up. Times are medians over the rounds of the medians of the blocks."
        )
    fresh = (
        " PyTorch runs each block in a fresh process, as a program that does nothing else; and a second time with an "
        "allocator that keeps all memory for the next call (“kept”), which no target is judged by."
    )
    kept = any("kept_mean" in group for group in record["groups"])
    return (
        f"minivid and PyTorch run in two processes, {threads} threads each, float32, and take turns: {rounds} "
        "through all shapes, in each a block of calls of the one, then of the other, after a warm-up. Times are "
        "medians over the rounds of the medians of the blocks; PyTorch is timed in each memory layout that suits it, "
        "and the faster one counts." + (fresh if kept else "")
    )


def _method_on_gpu(record: dict) -> str:
    sides = (
        "minivid, PyTorch with TF32 off and PyTorch with TF32 on run in three processes and take turns"
        if "PyTorch" in record["versions"]
        else "minivid runs in a process of its own"
    )
    return (
        f"{sides}, float32: {record['rounds']} rounds through all shapes, in each a block "
        "of calls, after a warm-up, timed by CUDA events. Times are medians over the rounds. Copies of the arrays take "
        "turns, so that the cache does not hold them. Each case is launched from Python and replayed as a CUDA graph, "
        "PyTorch's in each memory layout too; the fastest of a side counts."
    )


def machine_lines(record: dict) -> list[str]:
    """Say what was measured where."""
    machine, versions = record["machine"], record["versions"]
    about = ", ".join(f"{name} {version}" for name, version in versions.items()) + f"; {record['date']}"
    if "gpu" in machine:
        return [
            f"{machine['gpu']}, {machine['system']}",
            f"NVIDIA's own matrix product (cuBLAS, float32) {machine['flops_per_second'] / 1e12:.1f} TFLOP/s, "
            f"copy bandwidth {machine['bytes_per_second'] / 1e9:.0f} GB/s",
            about,
        ]
    limited = " (both sides limited to AVX2)" if record["instructions"] == "avx2" else ""
    return [
        f"{machine['cpu']}, {machine['system']}, {machine['threads']} threads, "
        f"vectors of {machine['vector_bytes']} bytes{limited}",
        f"multiply-add peak {machine['flops_per_second'] / 1e9:.0f} GFLOP/s, "
        f"copy bandwidth {machine['bytes_per_second'] / 1e9:.1f} GB/s",
        about,
    ]


def is_disturbed(record: dict) -> bool:
    """Return whether other programs were so busy that no target can be said to be met or missed."""
    return (record["busy_cores"] or 0) > QUIET


def doubts(record: dict) -> list[str]:
    """Say why the figures should not be relied on, if there is a reason."""
    lines = []
    if is_disturbed(record):
        lines.append(
            f"Other programs kept {record['busy_cores']:.2f} cores busy during this run: do not rely on these figures, "
            "and least of all on the ratios. Close them and run it again."
        )
    if record["quick"]:
        lines.append("A quick run: few rounds and a part of the shapes.")
    return lines


def verdict_of(group: dict) -> str:
    """Say whether a group reaches its target."""
    if group["mean"] is None:
        return ""
    outcome = _OUTCOMES[group["met"]]
    if group["key"] == "neighbours":
        return (
            f"worst {group['worst']:.0%} of the efficiency next door ({group['worst_case']}); "
            f"goal {NEIGHBOUR_GOAL:.0%}: {outcome}"
        )
    if len(group["rows"]) == 1:
        return f"{group['mean']:.2f} times as fast as PyTorch; target {group['target']:.1f}: {outcome}"
    floor = " and no case below 1" if group.get("floor", 1) else ""
    return (
        f"geometric mean {group['mean']:.2f}, worst {group['worst']:.2f} ({group['worst_case']}); "
        f"target {group['target']:.1f}{floor}: {outcome}"
    )


def memory_lines(memory: dict) -> list[str]:
    """Say how much memory the training step takes."""
    lines = []
    if memory["met"] is not None:
        outcome = "no more than PyTorch: met" if memory["met"] else "more than PyTorch: missed"
        lines.append(f"minivid's peak is {memory['sides']['minivid']['peak_mb']:.0f} MB, {outcome}")
    if memory["growth_mb"] is not None:
        (first, last), (early, late) = memory["growth_steps"], memory["occupied_mb"]
        lines.append(f"minivid occupies {early:.0f} MB after {first} steps and {late:.0f} MB after {last}")
    return lines


def shortfalls(record: dict) -> list[str]:
    """Say which targets are missed, by how much, and what binds the kernels that are far from their ceiling."""
    lines = []
    for group in record["groups"]:
        if group["met"] is False:
            lines.append(f"{group['title']}: {verdict_of(group)}.")
        low = [row for row in group["rows"] if row["share"] < HIGH_SHARE and group["key"] != "neighbours"]
        for binds in ("arithmetic", "memory"):
            shares = [row["share"] for row in low if row["binds"] == binds]
            if shares:
                few = f"{min(shares):.0%}" if len(shares) == 1 else f"{min(shares):.0%} to {max(shares):.0%}"
                lines.append(
                    f"{group['title']}: {len(shares)} of {len(group['rows'])} cases below {HIGH_SHARE:.0%} of their "
                    f"ceiling, which is {_ceilings(record)[binds]}: {few}."
                )
    return lines


_OUTCOMES = {True: "met", False: "missed", None: "not judged"}


def _ceilings(record: dict) -> dict[str, str]:
    arithmetic = "the speed of cuBLAS" if "gpu" in record["machine"] else "the multiply-add peak"
    return {"arithmetic": arithmetic, "memory": "the copy bandwidth"}


# --- tables: the same cells on the terminal and on a page ---------------------------------------------------------


_EASED = {"kept": "kept ms", "tf32": "TF32 ms"}


def group_table(group: dict) -> Lines:
    """Return header and rows of a group."""
    rows, neighbours = group["rows"], group["key"] == "neighbours"
    compared = any("ratio" in row for row in rows)
    eased = [way for way in _EASED if any(f"{way}_ms" in row for row in rows)]
    moved_only = all(row["flops"] == 0 for row in rows)
    rate = "GB/s" if moved_only else "GFLOP/s or GB/s" if any(row["flops"] == 0 for row in rows) else "GFLOP/s"
    header = ["case", "minivid ms"]
    header += ["PyTorch ms", "ratio"] if compared else []
    for way in eased:
        header += [_EASED[way], "ratio"]
    header += [rate, "of ceiling", "ceiling"]
    header += ["of next door"] if neighbours else []
    lines = [header]
    for row in rows:
        line = [("  " if row["base"] else "") + row["case"], _digits(row["minivid_ms"])]
        line += [_digits(row["pytorch_ms"]), f"{row['ratio']:.2f}"] if compared else []
        for way in eased:
            line += [_digits(row[f"{way}_ms"]), f"{row[f'{way}_ratio']:.2f}"]
        line += [_digits(_rate(row)), f"{row['share']:.0%}", row["binds"]]
        line += ["" if row["efficiency"] is None else f"{row['efficiency']:.0%}"] if neighbours else []
        lines.append(line)
    return lines


def summary_table(record: dict) -> Lines:
    """Return one line per group: geometric mean, worst, target, met or not."""
    groups = [group for group in record["groups"] if group["key"] != "neighbours"]
    compared = any(group["mean"] is not None for group in groups)
    with_kept = any("kept_mean" in group for group in groups)
    verdict = ["geometric mean", "worst", "target", ""] if compared else []
    kept = ["kept"] if with_kept else []
    lines = [["group", *verdict, *kept, "of ceiling"]]
    for group in groups:
        if compared:
            figures = [f"{group['mean']:.2f}", f"{group['worst']:.2f}", f"{group['target']:.1f}"]
            verdict = [*figures, _OUTCOMES[group["met"]]]
        if with_kept:
            kept = [f"{group['kept_mean']:.2f}"]
        shares = sorted(row["share"] for row in group["rows"])
        span = f"{shares[0]:.0%}" if len(shares) == 1 else f"{shares[0]:.0%} to {shares[-1]:.0%}"
        lines.append([group["title"], *verdict, *kept, span])
    return lines


def ladder_table(ladder: dict) -> Lines:
    """Return header and rows of a ladder."""
    moves = all(rung["gflops"] == 0 for rung in ladder["rungs"])
    unit, peak = ("GB/s", "of copy bandwidth") if moves else ("GFLOP/s", "of multiply-add peak")
    return [
        ["implementation", "ms", unit, peak],
        *(
            [
                rung["rung"] + ("" if rung["case"] == ladder["case"] else " (smaller batch)"),
                _digits(rung["ms"]),
                _digits(_rate(rung)),
                f"{100 * rung['share_of_peak']:.2g} %"
                if rung["share_of_peak"] < 0.1
                else f"{rung['share_of_peak']:.0%}",
            ]
            for rung in ladder["rungs"]
        ),
    ]


def memory_table(memory: dict) -> Lines:
    """Return header and rows: peak of each side, with and without the imported libraries."""
    sides = memory["sides"].items()
    return [
        [f"{memory['steps']} training steps", "peak MB", "libraries alone", "increase"],
        *([name, *(f"{side[key]:.0f}" for key in ("peak_mb", "baseline_mb", "increase_mb"))] for name, side in sides),
    ]


def _digits(value: float) -> str:
    """Return three significant digits, without an exponent."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"


# --- the terminal -------------------------------------------------------------------------------------------------


def print_report(record: dict) -> None:
    """Print a benchmark on the terminal.

    Examples
    --------
    >>> machine = {"cpu": "a CPU", "system": "Linux x86_64", "threads": 2, "vector_bytes": 32,
    ...            "flops_per_second": 2e11, "bytes_per_second": 2e10}
    >>> print_report({"date": "2030-01-02", "versions": {"minivid": "0.1.0"}, "machine": machine, "rounds": 9,
    ...               "instructions": "native", "quick": False, "busy_cores": 0.01, "groups": [],
    ...               "ladders": [], "memory": None})
    a CPU, Linux x86_64, 2 threads, vectors of 32 bytes
    multiply-add peak 200 GFLOP/s, copy bandwidth 20.0 GB/s
    minivid 0.1.0; 2030-01-02
    <BLANKLINE>
    minivid runs in a process of its own on 2 threads, float32, in 9 rounds through all shapes, in each a block of calls
    after a warm-up. Times are medians over the rounds of the medians of the blocks.
    PyTorch is not installed: these are minivid's own figures. To compare: pip install torch
    """
    from rich.console import Console
    from rich.text import Text

    terminal = Console(highlight=False)
    console = terminal if terminal.is_terminal else Console(highlight=False, width=122)

    def say(text, style="", indent=""):
        lines = textwrap.fill(text, console.width - 1, initial_indent=indent, subsequent_indent=indent)
        console.print(Text(lines, style))

    for line in machine_lines(record):
        say(line)
    console.print()
    say(method_of(record), "dim")
    if "PyTorch" not in record["versions"]:
        say(NO_PEER, "yellow")
    for line in doubts(record):
        say(line, "yellow")
    for group in record["groups"]:
        _print_table(console, group["title"], group_table(group))
        say(verdict_of(group), {True: "green", False: "red", None: ""}[group["met"]], "  ")
    for ladder in record["ladders"]:
        _print_table(console, f"Ladder of {ladder['operation']}: {ladder['case']}", ladder_table(ladder))
    if record["memory"]:
        _print_table(console, "Memory of the training step", memory_table(record["memory"]))
        for line in memory_lines(record["memory"]):
            say(line, indent="  ")
    if len(record["groups"]) > 1:
        _print_table(console, "Summary", summary_table(record))
        for line in doubts(record):
            say(line, "yellow", "  ")


def _print_table(console, title: str, lines: Lines) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for k, name in enumerate(lines[0]):
        words = k == 0 or name in ("ceiling", "")
        table.add_column(Text(name), justify="left" if words else "right", no_wrap=True)
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    console.print()
    console.print(table)


# --- pages --------------------------------------------------------------------------------------------------------


def markdown_blocks(record: dict) -> dict[str, str]:
    """Return the tables of a benchmark in Markdown, by the names of the marks that they go between.

    Parameters
    ----------
    record : dict
        What ``bench.json`` holds.

    Examples
    --------
    >>> machine = {"cpu": "a CPU", "system": "Linux x86_64", "threads": 2, "vector_bytes": 32,
    ...            "flops_per_second": 2e11, "bytes_per_second": 2e10}
    >>> blocks = markdown_blocks({"date": "2030-01-02", "versions": {"minivid": "0.1.0"}, "machine": machine,
    ...     "rounds": 9, "instructions": "native", "quick": False, "busy_cores": 0.01, "groups": [],
    ...     "ladders": [], "memory": None})
    >>> print(blocks["machine"])
    - a CPU, Linux x86_64, 2 threads, vectors of 32 bytes
    - multiply-add peak 200 GFLOP/s, copy bandwidth 20.0 GB/s
    - minivid 0.1.0; 2030-01-02
    """
    blocks = {
        "machine": "\n".join(f"- {line}" for line in [*machine_lines(record), *doubts(record)]),
        "method": method_of(record),
        "summary": _markdown(summary_table(record)),
        "shortfalls": "\n".join(f"- {line}" for line in shortfalls(record)) or "Nothing.",
    }
    for group in record["groups"]:
        blocks[group["key"]] = _markdown(group_table(group)) + "\n\n" + _sentence(verdict_of(group))
    for ladder in record["ladders"]:
        blocks[f"ladder-{ladder['operation']}"] = (
            f"{ladder['case']}; the reference on {ladder['reference_case']}.\n\n" + _markdown(ladder_table(ladder))
        )
    if record["memory"]:
        said = " ".join(map(_sentence, memory_lines(record["memory"])))
        blocks["memory"] = _markdown(memory_table(record["memory"])) + "\n\n" + said
    return blocks


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." if text else ""


def _markdown(lines: Lines) -> str:
    header, *rows = lines
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(cell.strip() for cell in line) + " |" for line in [header, rule, *rows])


def check_page(page: str | os.PathLike) -> None:
    """Raise ValueError if a page has no marks for tables."""
    if not BLOCK.search(Path(page).read_text(encoding="utf-8")):
        raise ValueError(f"{page} has no marks such as <!-- bench:summary --> and <!-- end --> for tables")


def filled(text: str, record: dict) -> str:
    """Return the text of a page with the tables of a benchmark between its marks."""
    blocks = markdown_blocks(record)
    return BLOCK.sub(lambda found: f"{found[1]}{blocks.get(found[2], 'Not part of this run.')}\n{found[3]}", text)


def write_page(page: str | os.PathLike, record: dict) -> None:
    """Replace the tables of a Markdown page by those of a benchmark.

    Parameters
    ----------
    page : path
        Has marks ``<!-- bench:NAME -->`` and ``<!-- end -->``, each on a line of its own.
    record : dict
        What ``bench.json`` holds.

    Examples
    --------
    >>> import tempfile
    >>> page = Path(tempfile.mkdtemp()) / "page.md"
    >>> _ = page.write_text("<!-- bench:memory -->\\nold\\n<!-- end -->\\n")
    >>> machine = {"cpu": "a CPU", "system": "Linux x86_64", "threads": 2, "vector_bytes": 32,
    ...            "flops_per_second": 2e11, "bytes_per_second": 2e10}
    >>> write_page(page, {"date": "2030-01-02", "versions": {"minivid": "0.1.0"}, "machine": machine,
    ...     "rounds": 9, "instructions": "native", "quick": False, "busy_cores": 0.01, "groups": [],
    ...     "ladders": [], "memory": None})
    >>> print(page.read_text().strip())
    <!-- bench:memory -->
    Not part of this run.
    <!-- end -->
    """
    page = Path(page)
    with replacing(page) as temporary:
        temporary.write_text(filled(page.read_text(encoding="utf-8"), record), encoding="utf-8")
