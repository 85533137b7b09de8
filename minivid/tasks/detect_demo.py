"""`minivid demo detect`: objects that hide, a detector that remembers them, and the same detector without a memory."""

import time
from dataclasses import replace
from pathlib import Path

import minivid
from minivid import plots
from minivid.detection import Detections
from minivid.runs import new_run_folder, peak_memory_mb, write_json
from minivid.tasks.common import account, fit, write_config
from minivid.tasks.detect import (
    HIDDEN,
    AnnotatedClips,
    Settings,
    build_detector,
    compile_detector,
    detect,
    draw,
    measure,
    open_clips,
    surest,
)
from minivid.video import read_clip, write_clip, write_moving_objects

__all__ = ["run_demo"]

CLIPS, HELD_OUT_CLIPS = 600, 120
SETTINGS = Settings(height=32, width=32, epochs=20, batch_size=8, learning_rate=4e-3)
DATA_SEEDS = (0, 1)  # of the clips to train on and of those held out; they stay the same whatever the run's seed
ANNOTATED_CLIPS = 4


def run_demo(out: str | Path, seed: int = 0, device: str = "cpu") -> dict:
    """Run the whole demonstration.

    Parameters
    ----------
    out : path
        Folder for the data sets, model, figures and pictures; an older demo there is replaced, its data reused.
    seed : int
        Decides initial weights and the order of the clips.
    device : {"cpu", "gpu"}
        Where the models are trained.

    Returns
    -------
    dict
        What metrics.json holds: ``mAP@0.5`` of all objects and of parts of them, the same in ``without_recurrence``,
        ``seconds``, ``peak_memory_mb``, ...

    Examples
    --------
    >>> results = run_demo("minivid_demo_detect")  # doctest: +SKIP
    """
    start = time.monotonic()
    minivid.set_seed(seed)
    out = new_run_folder(out, overwrite=True)
    settings = replace(SETTINGS, seed=seed)
    print(f"minivid {minivid.__version__} demo of detection, seed {seed}")

    clips = _clips(out / "data" / "train", CLIPS, DATA_SEEDS[0], settings, training=True)
    held_out = _clips(out / "data" / "held_out", HELD_OUT_CLIPS, DATA_SEEDS[1], settings, training=False)
    write_config(out, settings, clips.class_names)
    print(
        f"\n{len(clips.paths)} clips to train on and {len(held_out.paths)} held out, MP4 and COCO files in {out}/data"
    )
    print(f"classes: {', '.join(clips.class_names)}")

    print("\nCNN + ConvLSTM, on clips")
    detections, history = _train(clips, held_out, settings, device, out)
    print("\nthe same, a convolution in the place of the ConvLSTM: every frame by itself")
    memoryless, _ = _train(clips, held_out, settings, device)

    figures, without = (measure(found, held_out) for found in (detections, memoryless))
    plots.learning_curves(history.history, out / "learning_curves.png")
    draw(detections, held_out, out)
    _draw_overlap({"CNN + ConvLSTM": detections, "frame by frame": memoryless}, held_out, out / "iou_over_time.png")
    _annotate(detections, held_out, out / "annotated")
    results = (
        figures
        | {"without_recurrence": {name: without[name] for name in (*_maps(without), "per_class")}}
        | {"seconds": round(time.monotonic() - start, 1), "peak_memory_mb": peak_memory_mb()}
        | account(seed, [], device)
    )
    write_json(out / "metrics.json", results)
    _print_results(results, out)
    return results


def _clips(folder: Path, count: int, seed: int, settings: Settings, training: bool) -> AnnotatedClips:
    """Write moving objects, and open what was written."""
    write_moving_objects(folder, count, settings.frames, settings.size, seed)
    return open_clips(folder, settings, training=training)


def _train(clips, held_out, settings: Settings, device: str, out: Path | None = None):
    """Train a detector, the recurrent one if there is a folder to keep it in, and return what it finds."""
    model = build_detector(clips.input_shape, clips.num_classes, settings.model, recurrent=out is not None).to(device)
    compile_detector(model, settings.learning_rate, settings.epochs * len(clips))
    if out is not None:
        history = fit(model, clips, held_out, settings.epochs, out)
    else:
        history = model.fit(clips, epochs=settings.epochs)
    return detect(model, held_out), history


def _maps(figures: dict) -> list[str]:
    return [name for name in figures if name.startswith("mAP")]


def _most_hidden(clips: AnnotatedClips, count: int) -> list[int]:
    """Return clips of two objects and more in which many are hidden."""
    hidden = [sum((visible < HIDDEN).sum() for visible in clip.visibility) for clip in clips.annotations]
    return sorted(range(len(hidden)), key=lambda k: (len(clips.annotations[k].frames[0].boxes) < 2, -hidden[k]))[:count]


def _draw_overlap(detections: dict[str, list[list[Detections]]], clips: AnnotatedClips, path: Path) -> None:
    """Draw how well every object of a held-out clip is found over time, by both detectors."""
    (k,) = _most_hidden(clips, 1)
    found = {name: surest(of_clips[k]) for name, of_clips in detections.items()}
    plots.iou_over_time(found, clips.annotations[k], clips.class_names, path, read_clip(clips.paths[k], None))


def _annotate(detections: list[list[Detections]], clips: AnnotatedClips, folder: Path) -> None:
    """Write the held-out clips in which most is hidden, with boxes, classes, scores and what was missed."""
    folder.mkdir(exist_ok=True)
    for k in _most_hidden(clips, ANNOTATED_CLIPS):
        frames, truths = read_clip(clips.paths[k], None), clips.annotations[k].frames
        annotated = plots.draw_boxes(frames, surest(detections[k]), clips.class_names, truths)
        for suffix in (".mp4", ".gif"):
            write_clip((folder / clips.paths[k].stem).with_suffix(suffix), annotated, fps=6)


def _print_results(results: dict, out: Path) -> None:
    without = results["without_recurrence"]
    print(f"\n{results['objects']} objects in {results['frames']} frames of {results['clips']} held-out clips")
    print(f"\n{'mAP@0.5':<34} {'ConvLSTM':>9} {'without':>9}")
    rows = {
        "all objects": "mAP@0.5",
        f"hidden objects ({results['hidden_objects']})": "mAP@0.5_hidden_objects",
        f"visible objects ({results['objects'] - results['hidden_objects']})": "mAP@0.5_visible_objects",
        f"frames with hidden objects ({results['frames_with_hidden']})": "mAP@0.5_frames_with_hidden",
        "all objects, mAP@0.5:0.95": "mAP@0.5:0.95",
    }
    table = {name: (results[key], without[key]) for name, key in rows.items()}
    table |= {
        f"class {name}": (row["AP@0.5"], without["per_class"][name]["AP@0.5"])
        for name, row in results["per_class"].items()
    }
    for name, (ours, theirs) in table.items():
        print(f"  {name:<32} {ours:>9.3f} {theirs:>9.3f}")
    print(f"\ntime, peak memory: {results['seconds']} s, {results['peak_memory_mb']} MB\n")
    for name, what in {
        "model.safetensors": "the trained model",
        "metrics.json, history.csv": "all figures",
        "learning_curves.png": "loss over the epochs",
        "precision_recall.png": "precision over recall, per class",
        "iou_over_time.png": "how well the objects of a clip are found, with and without memory",
        "annotated/": "held-out clips with boxes, MP4 and GIF",
    }.items():
        print(f"  {out}/{name:<27} {what}")
