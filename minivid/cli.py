"""The command line: `minivid demo`, `train`, `evaluate`, `predict`, `gradcheck`, `bench`, `cuda`, `doctor`."""

import sys
import traceback
import warnings
from pathlib import Path
from typing import Annotated

import typer

import minivid
from minivid.cuda.commands import app as cuda_app

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

Directory = Annotated[Path, typer.Argument(help="Folder with one folder of video files per class.")]
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
    out: Annotated[Path, typer.Option(help="Folder for data, model, figures and pictures.")] = Path("minivid_demo"),
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Write moving shapes as video files, train a CNN + LSTM on them, and show what it learned."""
    from minivid.tasks.demo import run_demo

    run_demo(out, seed, device)


@app.command()
def train(
    directory: Directory,
    out: Annotated[Path, typer.Option(help="Folder for model, figures and pictures.")] = Path("minivid_run"),
    frames: Annotated[int, typer.Option(help="Frames per clip.")] = 16,
    size: Annotated[str, typer.Option(metavar="HxW", help="Frames are resized to this.")] = "64x64",
    color: Annotated[str, typer.Option(help="rgb or grayscale.")] = "rgb",
    subtract_median: Annotated[
        bool, typer.Option(help="Subtract each clip's per-pixel median (still camera).")
    ] = False,
    model: Annotated[str, typer.Option(help="tiny, small or medium.")] = "tiny",
    dropout: Annotated[float, typer.Option(help="Part of the features to drop while training.")] = 0.0,
    epochs: Annotated[int, typer.Option(help="Passes over the clips.")] = 20,
    batch_size: Annotated[int, typer.Option(help="Clips per step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Of Adam, at the start; falls to zero.")] = 2e-3,
    validation_split: Annotated[float, typer.Option(help="Part of the clips that is held out.")] = 0.2,
    groups: Annotated[
        str | None, typer.Option(help="Regular expression whose group names a clip's source (person, recording).")
    ] = None,
    test_groups: Annotated[str, typer.Option(help="Sources to hold out, separated by commas.")] = "",
    augment: Annotated[str, typer.Option(help="flip, shift, brightness, separated by commas.")] = "",
    on_error: Annotated[str, typer.Option(help="What an unreadable file does: raise or skip.")] = "raise",
    overwrite: Annotated[bool, typer.Option(help="Replace an older run in the same folder.")] = False,
    device: Device = "cpu",
    seed: Seed = 0,
) -> None:
    """Train a classifier on a folder of clips and measure it on held-out ones."""
    from minivid.tasks.classify import Settings, train_run

    try:
        height, width = _size(size)
        settings = Settings(
            frames=frames,
            height=height,
            width=width,
            color=color,
            subtract_median=subtract_median,
            model=model,
            dropout=dropout,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            validation_split=validation_split,
            groups=groups,
            test_groups=_names(test_groups),
            augment=_names(augment),
            on_error=on_error,
            seed=seed,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    train_run(directory, out, settings, overwrite, device)


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
    """Measure a trained classifier on a folder of clips."""
    from minivid.tasks.classify import evaluate_run

    if on_error not in (None, "raise", "skip"):
        raise typer.BadParameter(f"on_error must be raise or skip, got {on_error!r}")
    evaluate_run(run, directory, held_out, on_error, device)


@app.command()
def predict(
    run: Run,
    clips: Annotated[list[Path], typer.Argument(help="Video files.")],
    top: Annotated[int, typer.Option(min=1, help="How many classes to show per clip.")] = 3,
    annotate: Annotated[Path | None, typer.Option(help="Folder for copies with the prediction drawn in.")] = None,
    device: Device = "cpu",
) -> None:
    """Say what a trained classifier sees in clips."""
    from minivid.tasks.classify import predict_run

    if not predict_run(run, clips, top, annotate, device):
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


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise ValueError(f"{text!r} is no size; write height x width in pixels, e.g. 64x64")
    return int(height), int(width)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


if __name__ == "__main__":
    sys.exit(main())
