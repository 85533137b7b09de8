"""`minivid demo`: moving shapes as video files, a CNN + LSTM that tells how they move, and proof that it does."""

import time
from pathlib import Path

import numpy as np

import minivid
from minivid import plots
from minivid.layers import Dense
from minivid.models import Sequential
from minivid.optimizers import Adam
from minivid.runs import about_this_machine, new_run_folder, peak_memory_mb, write_json
from minivid.tasks.classify import (
    Settings,
    build_classifier,
    cnn_layers,
    fit,
    measure,
    open_clips,
    print_confusion,
)
from minivid.video import read_clip, write_clip, write_moving_shapes

__all__ = ["run_demo"]

CLIPS_PER_CLASS = 80
SETTINGS = Settings(frames=16, height=32, width=32, model="tiny", epochs=14, batch_size=16, learning_rate=3e-3)
SINGLE_FRAME_EPOCHS = 10
ANNOTATED_CLIPS = 4


def run_demo(out: str | Path, seed: int = 0) -> dict:
    """Run the whole demonstration.

    Parameters
    ----------
    out : path
        Folder for the data set, model, figures and pictures; an older demo there is replaced, its data reused.
    seed : int
        Decides data, initial weights and the order of the clips.

    Returns
    -------
    dict
        What metrics.json holds: ``test_accuracy``, ``single_frame_accuracy``, ``seconds``, ``peak_memory_mb``, ...
    """
    start = time.monotonic()
    minivid.set_seed(seed)
    settings = replace(SETTINGS, seed=seed)
    out = new_run_folder(out, overwrite=True)
    print(f"minivid {minivid.__version__} demo, seed {seed}\n")

    data = write_moving_shapes(out / "data", clips_per_class=CLIPS_PER_CLASS, seed=seed)
    clips, held_out = (open_clips(data, settings, subset) for subset in ("training", "validation"))
    print(
        f"1. data: {len(clips.paths)} clips to train on, {len(held_out.paths)} held out, MP4 files in {data}\n"
        f"   classes, how a shape moves: {', '.join(clips.class_names)}\n"
    )
