"""`minivid demo generate`: bouncing shapes as video files, and a ConvLSTM that draws how they go on."""

import time
from dataclasses import replace
from pathlib import Path

import minivid
from minivid import plots
from minivid.runs import new_run_folder, peak_memory_mb, write_json
from minivid.tasks.common import account
from minivid.tasks.generate import (
    Settings,
    draw_clips,
    gain,
    measure,
    open_clips,
    print_figures,
    read_mean_frame,
    train,
)
from minivid.video import write_bouncing_shapes

__all__ = ["run_demo"]

CLIPS = 2000
DATA_SEED = 0  # the data set stays the same; the seed of a run decides weights, split and order
SETTINGS = Settings(
    frames=20,
    seen=10,
    height=32,
    width=32,
    color="grayscale",
    output="frame",
    epochs=12,
    batch_size=8,
    learning_rate=1e-2,
    validation_split=0.05,
)


def run_demo(out: str | Path, seed: int = 0, device: str = "cpu") -> dict:
    """Run the whole demonstration.

    Parameters
    ----------
    out : path
        Folder for the data set, model, figures and pictures; an older demo there is replaced, its data reused.
    seed : int
        Decides initial weights, the split and the order of the clips.
    device : {"cpu", "gpu"}
        Where the model is trained.

    Returns
    -------
    dict
        What metrics.json holds: figures of ``one_step`` and ``roll_out`` for the model and the baselines, ``gain``,
        ``seconds``, ``peak_memory_mb``, ...

    Examples
    --------
    >>> results = run_demo("minivid_demo_generate")  # doctest: +SKIP
    """
    start = time.monotonic()
    minivid.set_seed(seed)
    out = new_run_folder(out, overwrite=True)
    settings = replace(SETTINGS, seed=seed)
    S = settings.frames_seen
    print(f"minivid {minivid.__version__} demo generate, seed {seed}")

    data = write_bouncing_shapes(
        out / "data", CLIPS, settings.frames, (settings.height, settings.width), seed=DATA_SEED
    )
    clips, held_out = (open_clips(data, settings, subset) for subset in ("training", "validation"))
    print(f"\n{len(clips.paths)} clips to train on and {len(held_out.paths)} held out, MP4 files in {data}")
    print(f"\n{settings.network}, trained to go on after {S} frames, and to predict one step")
    model, history = train(clips, held_out, settings, out, device)

    plots.learning_curves(history.history, out / "learning_curves.png")
    figures = measure(model, held_out, S, read_mean_frame(out, settings), feedback=True)
    errors = {name.replace("_", " "): row["per_step"]["mse"] for name, row in figures["roll_out"].items()}
    plots.error_per_step(errors, out / "error_per_step.png")
    draw_clips(model, held_out, S, out / "rows")
    results = figures | {
        "gain": {part: gain(figures, part) for part in ("one_step", "roll_out")},
        "seconds": round(time.monotonic() - start, 1),
        "peak_memory_mb": peak_memory_mb(),
    }
    results |= account(seed, clips.skipped + held_out.skipped, device)
    write_json(out / "metrics.json", results)
    _print_results(results, out)
    return results


def _print_results(results: dict, out: Path) -> None:
    print_figures(results, "held-out clips")
    print(f"\ntime, peak memory   {results['seconds']} s, {results['peak_memory_mb']} MB\n")
    for name, what in {
        "model.safetensors": "the trained model",
        "metrics.json, history.csv": "all figures",
        "learning_curves.png": "loss and squared error over the epochs",
        "error_per_step.png": "how the error grows with every step of the roll-out",
        "mean_frame.png": "the mean of all frames to train on",
        "rows/": "truth, roll-out, copy-last and error, as PNG, MP4 and GIF",
    }.items():
        print(f"  {out}/{name:<27} {what}")
