"""Video classification: a CNN on every frame, an LSTM over time, trained from folders of clips."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import minivid
from minivid import metrics, plots
from minivid.layers import LSTM, Conv2D, Dense, Dropout, Flatten, Input, MaxPooling2D, TimeDistributed
from minivid.models import Sequential
from minivid.optimizers import Adam, CosineDecay
from minivid.progress import track
from minivid.runs import check_free, new_run_folder, write_json
from minivid.tasks import common
from minivid.tasks.common import AUGMENTATIONS, account, check_rules, fit, free_path, load_run, write_config
from minivid.video import ClipSequence, VideoError, read_clip, without_median, write_clip
from minivid.video.sequence import group_pattern

__all__ = ["MODEL_SIZES", "Settings", "build_classifier", "evaluate_run", "open_clips", "predict_run", "train_run"]

#: Filters of the convolutions, and units of the LSTM.
MODEL_SIZES = {"tiny": ((8, 16, 16), 32), "small": ((16, 32, 32), 64), "medium": ((32, 64, 64), 100)}

CHOICES = {"color": ("rgb", "grayscale"), "model": tuple(MODEL_SIZES), "on_error": ("raise", "skip")}
COUNTS = ("frames", "height", "width", "epochs", "batch_size")


def cnn_layers(filters: tuple[int, ...]) -> list:
    """Return the layers that turn an image into features: convolution, ReLU, max-pooling, once per entry."""
    layers = []
    for count in filters:
        layers += [
            Conv2D(count, 3, padding="same", activation="relu", kernel_initializer="he_uniform"),
            MaxPooling2D(2),
        ]
    return [*layers, Flatten()]


def build_classifier(
    input_shape: tuple[int, int, int, int], num_classes: int, size: str = "tiny", dropout: float = 0.0
) -> Sequential:
    """Make a CNN + LSTM classifier for clips.

    Parameters
    ----------
    input_shape : (T, H, W, C)
        Shape of a clip.
    num_classes : int
        K, the number of classes.
    size : {"tiny", "small", "medium"}
        See `MODEL_SIZES`.
    dropout : float
        Part of the CNN's features and of the LSTM's output to drop while training.

    Returns
    -------
    Sequential
        Not compiled; output (N, K), probabilities.

    Raises
    ------
    ValueError
        If the size is unknown, or the frames are too small for the poolings.

    Examples
    --------
    >>> build_classifier((16, 32, 32, 3), num_classes=6).output_shape
    (None, 6)
    """
    if size not in MODEL_SIZES:
        raise ValueError(f"model size must be one of {', '.join(MODEL_SIZES)}, got {size!r}")
    filters, units = MODEL_SIZES[size]
    smallest = 2 ** len(filters)
    if min(input_shape[1:3]) < smallest:
        raise ValueError(f"frames must be at least {smallest}x{smallest} pixels for the poolings, got {input_shape}")
    layers = [Input(input_shape), *(TimeDistributed(layer) for layer in cnn_layers(filters))]
    layers += [Dropout(dropout)] if dropout else []
    layers += [LSTM(units)]
    layers += [Dropout(dropout)] if dropout else []
    return Sequential([*layers, Dense(num_classes, activation="softmax")], name="video_classifier")


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run; written to its ``config.json``.

    Attributes
    ----------
    frames : int
        T, frames per clip.
    height, width : int
        Frames are resized to this, in pixels.
    color : {"rgb", "grayscale"}
    subtract_median : bool
        Subtract each clip's per-pixel median: removes the background of a camera that stands still.
    model : {"tiny", "small", "medium"}
    dropout : float
    epochs, batch_size : int
    learning_rate : float
        Of Adam, at the start; it falls to zero along half a cosine.
    validation_split : float
        Part of the clips that is held out, if ``test_groups`` is empty.
    groups : str or None
        Regular expression with one group, searched in the path of a clip: its source (person, recording). No source
        lands on both sides of the split.
    test_groups : tuple of str
        Sources that are held out.
    augment : tuple of str
        Of "flip", "shift", "brightness"; applied to a whole clip alike.
    on_error : {"raise", "skip"}
        What an unreadable file does.
    seed : int

    Raises
    ------
    ValueError
        For values that no run can have.
    """

    frames: int = 16
    height: int = 64
    width: int = 64
    color: str = "rgb"
    subtract_median: bool = False
    model: str = "tiny"
    dropout: float = 0.0
    epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 2e-3
    validation_split: float = 0.2
    groups: str | None = None
    test_groups: tuple[str, ...] = ()
    augment: tuple[str, ...] = ()
    on_error: str = "raise"
    seed: int = 0

    def __post_init__(self):
        rules = [
            *((name, getattr(self, name) in known, f"one of {', '.join(known)}") for name, known in CHOICES.items()),
            *((name, getattr(self, name) >= 1, "1 or more") for name in COUNTS),
            ("dropout", 0 <= self.dropout < 1, "from 0 to below 1"),
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("validation_split", 0 < self.validation_split < 1, "between 0 and 1"),
            ("augment", set(self.augment) <= set(AUGMENTATIONS), f"of {', '.join(AUGMENTATIONS)}"),
            ("seed", self.seed >= 0, "0 or more"),
        ]
        check_rules(self, rules)
        if self.groups is not None:
            group_pattern(self.groups)
        elif self.test_groups:
            raise ValueError("test_groups needs groups, to know the source of each clip")


def open_clips(directory: str | os.PathLike, settings: Settings, subset: str | None = None) -> ClipSequence:
    """Return the clips of a folder as a run with these settings sees them.

    Parameters
    ----------
    directory : path
        One folder of video files per class.
    settings : Settings
    subset : {"training", "validation"}, optional
        One side of the split; both by default.

    Returns
    -------
    ClipSequence

    Examples
    --------
    >>> import tempfile
    >>> from minivid.video import write_moving_shapes
    >>> folder = write_moving_shapes(tempfile.mkdtemp() + "/shapes", clips_per_class=2, frames=4, size=(16, 16))
    >>> clips = open_clips(folder, Settings(frames=4, height=16, width=16, validation_split=0.5), "training")
    >>> len(clips.paths), clips.input_shape
    (6, (4, 16, 16, 3))
    """
    return common.open_clips(directory, settings, subset, subtract_median=settings.subtract_median)


def train_run(
    directory: str | os.PathLike,
    out: str | os.PathLike,
    settings: Settings,
    overwrite: bool = False,
    device: str = "cpu",
) -> dict:
    """Train a classifier, measure it on held-out clips, and write everything to a run folder.

    Parameters
    ----------
    directory : path
        One folder of video files per class.
    out : path
        The run folder; gets model.safetensors, config.json, history.csv, metrics.json and pictures.
    settings : Settings
    overwrite : bool
        Whether an older run there may be replaced.
    device : {"cpu", "gpu"}
        Where the model is trained.

    Returns
    -------
    dict
        What metrics.json holds.

    Raises
    ------
    ValueError
        For settings or data that do not fit; nothing was written then.
    FileExistsError
        If ``out`` holds a run and ``overwrite`` is False.

    Examples
    --------
    >>> figures = train_run("my_clips", "runs/first", Settings(epochs=30))  # doctest: +SKIP
    """
    check_free(out, overwrite)
    minivid.set_seed(settings.seed)
    clips = open_clips(directory, settings, "training")
    held_out = open_clips(directory, settings, "validation")
    model = build_classifier(clips.input_shape, clips.num_classes, settings.model, settings.dropout).to(device)
    steps = settings.epochs * len(clips)
    model.compile(Adam(CosineDecay(settings.learning_rate, steps)), "categorical_crossentropy", ["accuracy"])
    out = new_run_folder(out, overwrite)
    print(
        f"{len(clips.paths)} clips to train on, {len(held_out.paths)} held out, classes: {', '.join(clips.class_names)}"
    )
    write_config(out, settings, clips.class_names)
    history = fit(model, clips, held_out, settings.epochs, out)
    plots.learning_curves(history.history, out / "learning_curves.png")
    figures = measure(model, held_out, out) | account(settings.seed, clips.skipped + held_out.skipped, device)
    write_json(out / "metrics.json", figures)
    print_figures(figures, held_out.class_names, "held-out clips")
    print(f"\nmodel, figures and pictures: {out}")
    return figures


def measure(model: Sequential, clips, out: Path) -> dict:
    """Return accuracy, loss and per-class figures on clips, and draw the confusion matrix."""
    probabilities = np.concatenate([model.predict(x) for x in track(clips.inputs(), "Measuring", len(clips))])
    confusion = metrics.confusion_matrix(clips.labels, probabilities.argmax(axis=1), clips.num_classes)
    plots.confusion_matrix(confusion, clips.class_names, out / "confusion_matrix.png")
    true_class = probabilities[np.arange(len(clips.labels)), clips.labels]
    return {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "loss": float(-np.log(np.maximum(true_class, 1e-7)).mean()),
        "clips": len(clips.labels),
        "per_class": metrics.classification_report(confusion, clips.class_names),
        "confusion": confusion.tolist(),
    }


def evaluate_run(
    run: str | os.PathLike,
    directory: str | os.PathLike,
    held_out: bool = False,
    on_error: str | None = None,
    device: str = "cpu",
) -> dict:
    """Measure a trained classifier on a folder of clips; writes to the run's folder ``evaluation``.

    Parameters
    ----------
    run : path
        What `train_run` wrote.
    directory : path
        One folder of video files per class; the classes of the training.
    held_out : bool
        Only the clips that the training held out of this same folder.
    on_error : {"raise", "skip"}, optional
        What an unreadable file does; by default as in training.
    device : {"cpu", "gpu"}
        Where the model runs.

    Returns
    -------
    dict
        What ``evaluation/metrics.json`` holds.

    Raises
    ------
    FileNotFoundError
        If ``run`` is no run folder.
    ValueError
        If the classes differ from those of the training.

    Examples
    --------
    >>> figures = evaluate_run("runs/first", "other_clips")  # doctest: +SKIP
    """
    model, settings, class_names = load_run(run, Settings, device)
    if on_error is not None:
        settings = replace(settings, on_error=on_error)
    clips = open_clips(directory, settings, "validation" if held_out else None)
    if clips.class_names != class_names:
        raise ValueError(f"{run} knows the classes {class_names}, but {directory} holds {clips.class_names}")
    out = new_run_folder(Path(run) / "evaluation", overwrite=True)
    figures = measure(model, clips, out) | account(settings.seed, clips.skipped, device)
    write_json(out / "metrics.json", figures)
    print_figures(figures, class_names, "held-out clips" if held_out else "clips")
    print(f"\nfigures and confusion matrix: {out}")
    return figures


def predict_run(
    run: str | os.PathLike,
    paths: Sequence[str | os.PathLike],
    top: int = 3,
    annotate: str | os.PathLike | None = None,
    device: str = "cpu",
) -> bool:
    """Print what a trained classifier sees in clips.

    Parameters
    ----------
    run : path
        What `train_run` wrote.
    paths : list of path
        Video files. One that cannot be read is named on the error stream; the others are still predicted.
    top : int
        How many classes to show per clip.
    annotate : path, optional
        Folder for copies of the clips with the prediction drawn in.
    device : {"cpu", "gpu"}
        Where the model runs.

    Returns
    -------
    bool
        Whether all clips could be read.

    Examples
    --------
    >>> predict_run("runs/first", ["new.mp4"])  # doctest: +SKIP
    """
    model, settings, class_names = load_run(run, Settings, device)
    width = max(len(str(path)) for path in paths)
    unreadable, annotated = 0, set()
    for path in paths:
        try:
            frames = read_clip(path, settings.frames, (settings.height, settings.width), color_mode=settings.color)
        except VideoError as error:
            print(f"error: {error}", file=sys.stderr)
            unreadable += 1
            continue
        x = without_median(frames) if settings.subtract_median else frames.astype(np.float32) / 255
        probabilities = model.predict(x[None])[0]
        best = np.argsort(-probabilities, kind="stable")[:top]
        print(f"{path!s:<{width}}  " + "  ".join(f"{class_names[k]} {probabilities[k]:.0%}" for k in best))
        if annotate is not None:
            lines = [f"{class_names[best[0]]} {probabilities[best[0]]:.0%}"]
            copy = free_path(Path(annotate), f"{Path(path).stem}_predicted", annotated)
            write_clip(copy, plots.annotate_clip(frames, lines, confidence=float(probabilities[best[0]])))
    return unreadable == 0


def print_figures(figures: dict, class_names: list[str], kind: str) -> None:
    """Print accuracy and confusion matrix of some kind of clips."""
    print(f"\naccuracy on {figures['clips']} {kind}: {figures['accuracy']:.1%}   loss: {figures['loss']:.3f}")
    if figures["skipped"]:
        print(f"skipped {len(figures['skipped'])} unreadable files; metrics.json lists them")
    print_confusion(figures["confusion"], class_names)


def print_confusion(confusion: list[list[int]], class_names: list[str]) -> None:
    """Print a confusion matrix: a row per true class, a column per predicted one."""
    width = max(map(len, class_names))
    column = max(5, *(len(str(count)) + 2 for row in confusion for count in row))
    print(f"\n{'true class':>{width}} | predicted, in the same order")
    for name, row in zip(class_names, confusion, strict=True):
        print(f"{name:>{width}} |" + "".join(f"{count or '.':>{column}}" for count in row))
