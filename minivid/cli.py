"""The command line: `minivid demo`, `train`, `evaluate`, `predict`, `gradcheck`, `bench`, `cuda`, `doctor`."""

import sys
import traceback
import warnings
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer

import minivid
from minivid.cuda.commands import app as cuda_app
from minivid.tasks import TASKS

__all__ = ["app", "main"]

app = typer.Typer(
    help="minivid: deep learning for video, to read beside the equations.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cuda_app, name="cuda")

Directory = Annotated[
    Path,
    typer.Argument(help="Folder of clips: one folder per class; to detect, an annotation per clip; to generate, any."),
]
Run = Annotated[Path, typer.Argument(help="Folder that `minivid train` or `minivid demo` wrote.")]
Device = Annotated[
    str, typer.Option(callback=lambda device: _checked_device(device), help="Where the model runs: cpu or gpu.")
]
Seed = Annotated[int, typer.Option(min=0, help="Decides the initial weights, the order of the clips and the split.")]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the process.

    Returns
    -------
    int
        0 on success, 1 on failure, 2 on bad usage.

    Examples
    --------
    >>> main(["--version"])
    minivid 0.1.0
    0
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"] or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a letter of a class name shows "?"
    with warnings.catch_warnings():
        warnings.showwarning = _print_warning
        return _run(arguments, debug)


def _run(arguments: list[str], debug: bool) -> int:
    command = typer.main.get_command(app)
    try:
        with command.make_context("minivid", arguments) as context:
            command.invoke(context)
        return 0
    except typer.Exit as exit_:
        return exit_.exit_code
    except KeyboardInterrupt as interrupt:
        print(str(interrupt) or "interrupted", file=sys.stderr)
        return 1
    except Exception as error:  # the last line of defence: a user gets one line, --debug gets the traceback
        if hasattr(error, "format_message"):  # a mistake in the arguments
            error.show()
            return 2
        if debug:
            traceback.print_exc()
        else:
            print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
        return 1


def _print_warning(message: Warning | str, *_) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"minivid {minivid.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass  # both options act before a command runs


@app.command()
def demo(
    task: Annotated[
        str, typer.Argument(help=f"{', '.join(TASKS)}.", callback=lambda task: _checked_task(task))
    ] = "classify",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for data, model, figures and pictures.", show_default="minivid_demo[_TASK]"),
    ] = None,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Draw clips and write them as video files, train a model on them, and show what it learned."""
    import importlib

    out = out or Path("minivid_demo" if task == "classify" else f"minivid_demo_{task}")
    importlib.import_module(f"minivid.tasks.{task}_demo").run_demo(out, seed, device)


@app.command()
def train(
    directory: Directory,
    task: Annotated[
        str, typer.Option(help=f"{', '.join(TASKS)}.", callback=lambda task: _checked_task(task))
    ] = "classify",
    out: Annotated[Path, typer.Option(help="Folder for model, figures and pictures.")] = Path("minivid_run"),
    frames: Annotated[int | None, typer.Option(help="Frames per clip.", show_default="16")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Frames are resized to this.", show_default="64x64")
    ] = None,
    color: Annotated[str | None, typer.Option(help="rgb or grayscale.", show_default="rgb")] = None,
    subtract_median: Annotated[
        bool | None,
        typer.Option("--subtract-median", help="Subtract each clip's per-pixel median (still camera)."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="tiny, small or medium.", show_default="tiny")] = None,
    seen: Annotated[
        int | None, typer.Option(help="Generate: frames that are given, by default half; the others are predicted.")
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Generate: convlstm or cnn-lstm.", show_default="convlstm")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="Generate: what the network draws, difference (to the last frame) or frame.",
            show_default="difference",
        ),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Part of the features to drop while training.", show_default="0.0")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the clips.", show_default="20")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Clips per step.", show_default="16")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of Adam, at the start; falls to zero.", show_default="0.002")
    ] = None,
    validation_split: Annotated[
        float | None, typer.Option(help="Part of the clips that is held out.", show_default="0.2")
    ] = None,
    groups: Annotated[
        str | None, typer.Option(help="Regular expression whose group names a clip's source (person, recording).")
    ] = None,
    test_groups: Annotated[str | None, typer.Option(help="Sources to hold out, separated by commas.")] = None,
    augment: Annotated[str | None, typer.Option(help="flip, shift, brightness, separated by commas.")] = None,
    on_error: Annotated[
        str | None, typer.Option(help="What an unreadable file does: raise or skip.", show_default="raise")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace an older run in the same folder.")] = False,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Train a model on a folder of clips and measure it on held-out ones."""
    given = {
        "frames": frames,
        "size": size,
        "color": color,
        "subtract_median": subtract_median,
        "model": model,
        "seen": seen,
        "network": network,
        "output": output,
        "dropout": dropout,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "validation_split": validation_split,
        "groups": groups,
        "test_groups": test_groups,
        "augment": augment,
        "on_error": on_error,
    }
    settings = _settings(task, {name: value for name, value in given.items() if value is not None}, seed)
    _load_task(task).train_run(directory, out, settings, overwrite, device)


@app.command()
def evaluate(
    run: Run,
    directory: Directory,
    held_out: Annotated[
        bool, typer.Option(help="Only the clips that the training held out of this same folder.")
    ] = False,
    on_error: Annotated[str | None, typer.Option(help="raise or skip; by default as in training.")] = None,
    device: Device = "cpu",
) -> None:
    """Measure a trained model on a folder of clips."""
    if on_error not in (None, "raise", "skip"):
        raise typer.BadParameter(f"on_error must be raise or skip, got {on_error!r}")
    _task_of(run).evaluate_run(run, directory, held_out, on_error, device)


@app.command()
def predict(
    run: Run,
    clips: Annotated[list[Path], typer.Argument(help="Video files.")],
    top: Annotated[int, typer.Option(min=1, help="Classify: how many classes to show per clip.")] = 3,
    annotate: Annotated[
        Path | None, typer.Option(help="Folder for clips and pictures with the prediction drawn in.")
    ] = None,
    device: Device = "cpu",
) -> None:
    """Say what a trained model sees in clips."""
    if not _task_of(run).predict_run(run, clips, top, annotate, device):
        raise typer.Exit(1)


@app.command()
def gradcheck(
    operations: Annotated[list[str] | None, typer.Argument(help="Operations to check; all by default.")] = None,
    full: Annotated[bool, typer.Option(help="Compare whole Jacobians instead of one random direction.")] = False,
    json: Annotated[Path | None, typer.Option(help="Also write the table to this file.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws inputs, upstream gradients and directions.")] = 0,
) -> None:
    """Compare every hand-written backward pass with numerical derivatives."""
    from minivid.gradcheck.run import main as run_gradcheck

    try:
        code = run_gradcheck(operations, full, seed, json)
    except ValueError as error:  # no operation of that name
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(code)


@app.command()
def bench(
    out: Annotated[Path, typer.Option(help="Folder for bench.json and the pictures.")] = Path("runs/bench"),
    only: Annotated[list[str] | None, typer.Option(metavar="GROUP", help="Measure this group; repeatable.")] = None,
    ladder: Annotated[
        list[str] | None, typer.Option(metavar="OPERATION", help="Compare all implementations of it; repeatable.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Few rounds, two shapes per group.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Of each side; 2 by default, or all cores.")] = None,
    isa: Annotated[str, typer.Option(help="native, or avx2 to limit both sides to it.")] = "native",
    page: Annotated[Path | None, typer.Option(help="Markdown page whose marked tables are written anew.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or gpu to time the CUDA kernels.")] = "cpu",
) -> None:
    """Time the kernels: against PyTorch if it is installed, and against the ceilings of this machine."""
    from minivid.bench.run import check_wanted, run_bench

    try:
        check_wanted(only or (), ladder or (), isa, page, device)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    run_bench(out, only or (), ladder or (), quick, threads, isa, page, device)


@app.command()
def doctor() -> None:
    """Say what this machine has, what is missing, and what works without it."""
    from minivid.doctor import report

    print(report())


def _checked_device(device: str) -> str:
    """Refuse an unknown device as bad usage, and a GPU that cannot be used before anything is written."""
    if device not in ("cpu", "gpu"):
        raise typer.BadParameter(f"device must be cpu or gpu, got {device!r}")
    if device == "gpu":
        from minivid.cuda.device import require

        require()
    return device


def _checked_task(task: str) -> str:
    if task not in TASKS:
        raise typer.BadParameter(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    return task


def _load_task(task: str) -> ModuleType:
    from minivid.tasks import load_task

    return load_task(task)


def _task_of(run: Path) -> ModuleType:
    from minivid.tasks.common import task_of

    return _load_task(task_of(run))


def _settings(task: str, given: dict[str, Any], seed: int) -> Any:
    """Return the settings of a task, from the options that were given."""
    kind = _load_task(task).Settings
    try:
        if "size" in given:
            given["height"], given["width"] = _size(given.pop("size"))
        for name in {"test_groups", "augment"} & set(given):
            given[name] = _names(given[name])
        foreign = set(given) - {field.name for field in fields(kind)}
        if foreign:
            options = ", ".join(sorted(f"--{name.replace('_', '-')}" for name in foreign))
            raise ValueError(f"--task {task} does not take {options}")
        return kind(**given, seed=seed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ValueError(f"{text!r} is no size; write height x width in pixels, e.g. 64x64")
    return int(height), int(width)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    sys.exit(main())
