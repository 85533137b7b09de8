"""The resources of the kernels as tables on the terminal, and as records for a file."""

from collections.abc import Sequence

from minivid.cuda.nvrtc import Resources, version
from minivid.cuda.occupancy import ARCHITECTURES

__all__ = ["print_resources", "records"]

_LEGEND = """\
threads     per block, where the kernel says so (__launch_bounds__)
shared      bytes of shared memory per block; + where the launch adds to it
local       bytes of memory per thread for arrays that do not fit into registers
registers   per thread, on sm_75, sm_80 and sm_90
occupancy   warps on a multiprocessor, in percent of the most it holds, on each; - where the launch decides"""


def records(rows: Sequence[Resources]) -> list[dict]:
    """Return the resources as what a JSON file holds.

    Examples
    --------
    >>> row = Resources("fill", "fill_1", "float32", "sm_80", 40, 0, False, 0, 0, 256)
    >>> [record] = records([row])
    >>> record["registers"], record["occupancy"]
    (40, 0.75)
    """
    return [row._asdict() | {"occupancy": row.occupancy} for row in rows]


def print_resources(rows: Sequence[Resources]) -> None:
    """Print one table per kernel file: a line for each kernel and precision, one figure for each GPU.

    Examples
    --------
    >>> print_resources([])
    <BLANKLINE>
    0 kernels in float32 and float64 for sm_75, sm_80, sm_90: no warning, no spill.
    """
    from rich.console import Console

    terminal = Console(highlight=False)
    console = terminal if terminal.is_terminal else Console(highlight=False, width=118)
    groups: dict[str, dict[tuple[str, str], list[Resources]]] = {}
    for row in rows:
        groups.setdefault(row.stem, {}).setdefault((row.kernel, row.dtype), []).append(row)
    for stem, kernels in groups.items():
        _print_table(console, stem, list(kernels.values()))
    if rows:
        print(_LEGEND)
    count = len({row.kernel for row in rows})
    print(f"\n{count} kernels in float32 and float64 for {', '.join(ARCHITECTURES)}: no warning, no spill.")


def _print_table(console, stem: str, kernels: list[list[Resources]]) -> None:
    from rich import box
    from rich.table import Table

    title = f"kernels/{stem}.cu, by NVRTC {version()}"
    table = Table(title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("kernel", no_wrap=True)
    table.add_column("real", no_wrap=True)
    for name in ("threads", "shared", "local", "registers", "occupancy"):
        table.add_column(name, justify="right", no_wrap=True)
    for gpus in kernels:
        row = gpus[0]  # the memory is that of the source, on every GPU
        table.add_row(
            row.kernel,
            {"float32": "float", "float64": "double"}[row.dtype],
            str(row.threads or ""),
            str(row.shared) + (" +" if row.dynamic else ""),
            str(max(gpu.local for gpu in gpus)),
            " ".join(f"{gpu.registers:3}" for gpu in gpus),
            " ".join("  -" if gpu.occupancy is None else f"{100 * gpu.occupancy:3.0f}" for gpu in gpus),
        )
    console.print(table)
