"""`minivid demo`: moving shapes as video files, a CNN + LSTM that tells how they move, and proof that it does."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import minivid
from minivid import plots
from minivid.backend import to_device
from minivid.layers import LSTM, Dense, Input
from minivid.models import Sequential
from minivid.optimizers import Adam, CosineDecay
from minivid.runs import about_this_machine, new_run_folder, peak_memory_mb, write_json
from minivid.tasks.classify import (
    MODEL_SIZES,
    Settings,
    build_classifier,
    cnn_layers,
    measure,
    open_clips,
    print_confusion,
)
from minivid.tasks.common import fit, write_config
from minivid.video import ClipSequence, read_clip, write_clip, write_moving_shapes

__all__ = ["SingleFrames", "run_demo"]

CLIPS_PER_CLASS = 180
DATA_SEED = 0  # the data set stays the same; the seed of a run decides weights, split and order
SETTINGS = Settings(height=32, width=32, epochs=12, batch_size=16, learning_rate=4e-3, validation_split=0.25)
SINGLE_FRAME_EPOCHS = 6
ANNOTATED_CLIPS = 4


class SingleFrames:
    """One random frame of every clip: what is left when order in time is thrown away.

    Parameters
    ----------
    clips : ClipSequence
    seed : int
        Decides which frames.

    Examples
    --------
    >>> class TwoClips:
    ...     def __len__(self):
    ...         return 1
    ...     def __getitem__(self, index):
    ...         return np.zeros((2, 16, 8, 8, 3)), np.eye(2)
    >>> SingleFrames(TwoClips())[0][0].shape
    (2, 8, 8, 3)
    """

    def __init__(self, clips: ClipSequence, seed: int = 0):
        self.clips = clips
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int):
        if index >= len(self):
            raise IndexError(index)
        x, y = self.clips[index]
        frame = self.rng.integers(x.shape[1], size=len(x))
        return x[np.arange(len(x)), frame], y

    def on_epoch_end(self) -> None:
        """Pass the end of an epoch on to the clips."""
        self.clips.on_epoch_end()


def run_demo(out: str | Path, seed: int = 0, device: str = "cpu") -> dict:
    """Run the whole demonstration.

    Parameters
    ----------
    out : path
        Folder for the data set, model, figures and pictures; an older demo there is replaced, its data reused.
    seed : int
        Decides initial weights, the split and the order of the clips.
    device : {"cpu", "gpu"}
        Where the models are trained.

    Returns
    -------
    dict
        What metrics.json holds: ``test_accuracy``, ``single_frame_accuracy``, ``seconds``, ``peak_memory_mb``, ...

    Examples
    --------
    >>> results = run_demo("minivid_demo")  # doctest: +SKIP
    """
    start = time.monotonic()
    minivid.set_seed(seed)
    out = new_run_folder(out, overwrite=True)
    settings = replace(SETTINGS, seed=seed)
    print(f"minivid {minivid.__version__} demo, seed {seed}")

    data = write_moving_shapes(out / "data", CLIPS_PER_CLASS, seed=DATA_SEED)
    clips, held_out = (open_clips(data, settings, subset) for subset in ("training", "validation"))
    write_config(out, settings, clips.class_names)
    print(f"\n{len(clips.paths)} clips to train on and {len(held_out.paths)} held out, MP4 files in {data}")
    print(f"classes: {', '.join(clips.class_names)}")

    print("\nCNN + LSTM, on clips")
    model = build_classifier(clips.input_shape, clips.num_classes, settings.model).to(device)
    _compile(model, settings, settings.epochs * len(clips))
    history = fit(model, clips, held_out, settings.epochs, out)
    figures = measure(model, held_out, out)

    print("\nthe same CNN, on single frames")
    single = _single_frame_model(clips).to(device)
    _compile(single, settings, SINGLE_FRAME_EPOCHS * len(clips))
    single.fit(SingleFrames(clips, seed), epochs=SINGLE_FRAME_EPOCHS)
    single_accuracy = _single_frame_accuracy(single, held_out)

    plots.learning_curves(history.history, out / "learning_curves.png")
    _draw_gates(model, held_out, out / "lstm_gates.png")
    _annotate(model, held_out, settings, out / "annotated")
    results = {
        "test_accuracy": figures["accuracy"],
        "single_frame_accuracy": single_accuracy,
        "seconds": round(time.monotonic() - start, 1),
        "peak_memory_mb": peak_memory_mb(),
        "seed": seed,
        "device": device,
        "test_loss": figures["loss"],
        "per_class": figures["per_class"],
        "confusion": figures["confusion"],
    } | about_this_machine()
    write_json(out / "metrics.json", results)
    _print_results(results, clips.class_names, out)
    return results


def _compile(model: Sequential, settings: Settings, steps: int) -> None:
    optimizer = Adam(CosineDecay(settings.learning_rate, steps), global_clipnorm=1.0)
    model.compile(optimizer, "categorical_crossentropy", ["accuracy"])


def _single_frame_model(clips) -> Sequential:
    """Return the CNN of the classifier with a dense layer where the LSTM was."""
    filters, units = MODEL_SIZES[SETTINGS.model]
    layers = [*cnn_layers(filters), Dense(units, activation="tanh"), Dense(clips.num_classes, activation="softmax")]
    return Sequential([Input(clips.input_shape[1:]), *layers], name="single_frame_classifier")


def _single_frame_accuracy(model: Sequential, clips) -> float:
    """Measure on all frames of all clips, each frame judged by itself."""
    right = total = 0
    labels = iter(clips.labels)
    for x in clips.inputs():
        predicted = model.predict(x.reshape(-1, *x.shape[2:])).argmax(axis=1).reshape(x.shape[:2])  # (N, T)
        truth = np.array([next(labels) for _ in x])[:, None]
        right, total = right + (predicted == truth).sum(), total + predicted.size
    return float(right / total)


def _draw_gates(model: Sequential, clips, path: Path) -> None:
    """Draw the gates of the LSTM over the first held-out clip."""
    x = next(clips.inputs())[:1]
    predicted = clips.class_names[int(model.predict(x)[0].argmax())]
    lstm = next(layer for layer in model.layers if isinstance(layer, LSTM))
    truth = clips.class_names[clips.labels[0]]
    plots.lstm_gates(
        to_device(lstm.gate_activations[0], "cpu"), x[0], path, title=f"truth: {truth}, predicted: {predicted}"
    )


def _annotate(model: Sequential, clips, settings: Settings, folder: Path) -> None:
    """Write a few held-out clips, of different classes, with the prediction drawn in."""
    folder.mkdir(exist_ok=True)
    step = max(1, len(clips.paths) // ANNOTATED_CLIPS)
    for k in range(0, step * ANNOTATED_CLIPS, step):
        frames = read_clip(clips.paths[k], settings.frames)
        probabilities = model.predict(frames[None].astype(np.float32) / 255)[0]
        best, truth = int(probabilities.argmax()), clips.class_names[clips.labels[k]]
        lines = [f"{clips.class_names[best]} {probabilities[best]:.0%}", f"truth: {truth}"]
        annotated = plots.annotate_clip(
            frames, lines, good=clips.class_names[best] == truth, confidence=float(probabilities[best])
        )
        for suffix in (".mp4", ".gif"):
            write_clip((folder / clips.paths[k].stem).with_suffix(suffix), annotated)


def _print_results(results: dict, class_names: list[str], out: Path) -> None:
    print_confusion(results["confusion"], class_names)
    print(f"\naccuracy on held-out clips   {results['test_accuracy']:.1%}")
    print(f"the same on single frames    {results['single_frame_accuracy']:.1%} (chance: {1 / len(class_names):.1%})")
    print(f"time, peak memory            {results['seconds']} s, {results['peak_memory_mb']} MB\n")
    for name, what in {
        "model.safetensors": "the trained model",
        "metrics.json, history.csv": "all figures",
        "learning_curves.png": "loss and accuracy over the epochs",
        "confusion_matrix.png": "which motions are taken for which",
        "lstm_gates.png": "the LSTM's gates over time, below the frames",
        "annotated/": "held-out clips with the prediction, MP4 and GIF",
    }.items():
        print(f"  {out}/{name:<27} {what}")
