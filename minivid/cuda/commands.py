"""`minivid cuda`: what can be done with the CUDA kernels on a machine that has no GPU."""

import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(help="Check and study the CUDA kernels, without a GPU.", no_args_is_help=True)

Stems = Annotated[
    list[str] | None, typer.Argument(metavar="[STEM]...", help="Kernel files, e.g. conv2d; all by default.")
]


@app.command(name="compile")
def compile_(
    stems: Stems = None,
    json: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
    page: Annotated[Path | None, typer.Option(help="kernels/README.md, whose index is written anew.")] = None,
) -> None:
    """Compile every kernel for three generations of GPUs; print the registers and the memory that each takes.

    A warning fails, and so do registers that spill to memory. Needs NVIDIA's compiler: pip install
    "minivid[cuda-check]".
    """
    from minivid.cuda import nvrtc, report, source

    for stem in stems or ():
        if stem not in source.stems():
            raise typer.BadParameter(f"there is no kernel file {stem!r}; there are {', '.join(source.stems())}")
    if page is not None and stems:
        raise typer.BadParameter("--page writes the index of all kernels: leave out the names")
    rows = nvrtc.compile_kernels(stems or ())
    report.print_resources(rows)
    if json is not None:
        from minivid.runs import write_json

        write_json(json, report.records(rows))
        print(f"written: {json}")
    if page is not None:
        from minivid.cuda.index import write_index

        write_index(page, rows)
        print(f"written: {page}")


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(help="CUDA sources, yours or those in kernels/.")],
) -> None:
    """Run kernels on the CPU and look for races, missing barriers and accesses out of bounds."""
    from minivid.cuda import emulator

    failed = False
    for file in files:
        try:
            print(emulator.check_file(file))
        except (emulator.EmulatorError, ValueError) as error:  # findings, or no way to launch it
            print(f"{file}: {error}", file=sys.stderr)
            failed = True
    if failed:
        raise typer.Exit(1)


@app.command()
def profile(
    operation: Annotated[str, typer.Argument(help="conv2d, maxpool2d, dense or lstm.")],
) -> None:
    """Count what memory has to do for each version of an operation's kernels, line by line."""
    from minivid.cuda.profile import print_profile
    from minivid.cuda.profile import profile as profile_operation

    try:
        versions = profile_operation(operation)
    except ValueError as error:  # no case of that name
        raise typer.BadParameter(str(error)) from None
    print_profile(operation, versions)
