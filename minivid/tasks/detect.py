"""Object detection in video: a CNN on every frame, a convolutional LSTM over time, a grid that says what is where."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import minivid
from minivid import plots
from minivid.detection import (
    ClipAnnotation,
    Detections,
    Truth,
    mean_average_precision,
    read_annotations,
)
from minivid.detection.grid import NUMBERS_PER_CELL, GridLoss, decode, grid_targets, mirrored
from minivid.layers import Conv2D, ConvLSTM2D, Input, MaxPooling2D, TimeDistributed
from minivid.models import Sequential
from minivid.optimizers import Adam, CosineDecay
from minivid.progress import track
from minivid.runs import check_free, new_run_folder, write_json
from minivid.tasks.common import account, check_rules, fit, free_path, load_run, write_config
from minivid.video import ClipSequence, VideoError, read_clip, without_median, write_clip
from minivid.video.augmentation import random_brightness
from minivid.video.cache import ClipCache
from minivid.video.reading import sample_indices
from minivid.video.sequence import decode_clips, group_names, group_pattern, split_sides

__all__ = [
    "HIDDEN",
    "MODEL_SIZES",
    "AnnotatedClips",
    "Settings",
    "build_detector",
    "evaluate_run",
    "open_clips",
    "predict_run",
    "train_run",
]

#: Filters of the convolutions, with a pooling between two of them, and of the convolutional LSTM.
MODEL_SIZES = {"tiny": ((16, 32, 32), 32), "small": ((24, 48, 48), 48), "medium": ((16, 32, 48, 64), 64)}

#: Below this visibility an object counts as hidden.
HIDDEN = 0.3

SHOWN = 0.5  # score from which `predict` counts a detection
LEAST_SCORE = 0.02  # of a detection that precision and recall look at
AUGMENTATIONS = ("flip", "brightness")
CHOICES = {"color": ("rgb", "grayscale"), "model": tuple(MODEL_SIZES)}
COUNTS = ("frames", "height", "width", "epochs", "batch_size")


# --- the model ------------------------------------------------------------------------------------------------


def build_detector(
    input_shape: tuple[int, int, int, int], num_classes: int, size: str = "tiny", recurrent: bool = True
) -> Sequential:
    """Make a single-stage detector for clips.

    Parameters
    ----------
    input_shape : (T, H, W, C)
        Shape of a clip.
    num_classes : int
        K, the number of classes.
    size : {"tiny", "small", "medium"}
        See `MODEL_SIZES`. A cell is 4x4 pixels, for "medium" 8x8.
    recurrent : bool
        False puts a convolution of every frame by itself in the place of the convolutional LSTM.

    Returns
    -------
    Sequential
        Not compiled; output (N, T, GH, GW, 5 + K), what `minivid.detection.grid.decode` takes.

    Raises
    ------
    ValueError
        If the size is unknown, there is no class, or the frames are too small for the poolings.

    Examples
    --------
    >>> build_detector((16, 32, 48, 3), num_classes=2).output_shape
    (None, 16, 8, 12, 7)
    """
    if size not in MODEL_SIZES:
        raise ValueError(f"model size must be one of {', '.join(MODEL_SIZES)}, got {size!r}")
    if num_classes < 1:
        raise ValueError(f"a detector needs at least one class, got {num_classes}")
    filters, units = MODEL_SIZES[size]
    smallest = 2 ** (len(filters) - 1)
    if min(input_shape[1:3]) < smallest:
        raise ValueError(f"frames must be at least {smallest}x{smallest} pixels for the poolings, got {input_shape}")
    first, *others = filters
    layers = [_convolution(first)]
    for count in others:
        layers += [TimeDistributed(MaxPooling2D(2)), _convolution(count)]
    layers += [ConvLSTM2D(units, 3, padding="same", return_sequences=True) if recurrent else _convolution(units)]
    head = TimeDistributed(Conv2D(NUMBERS_PER_CELL + num_classes, 1))
    return Sequential([Input(input_shape), *layers, head], name="video_detector")


def _convolution(filters: int) -> TimeDistributed:
    return TimeDistributed(Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_uniform"))


def compile_detector(model: Sequential, learning_rate: float, steps: int) -> None:
    """Say how a detector is trained: Adam, whose learning rate falls to zero along half a cosine, on `GridLoss`."""
    model.compile(Adam(CosineDecay(learning_rate, steps), global_clipnorm=1.0), GridLoss())


# --- settings and data ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run; written to its ``config.json``.

    Attributes
    ----------
    frames : int
        T, frames per clip.
    height, width : int
        Frames are resized to this, in pixels, and the boxes with them.
    color : {"rgb", "grayscale"}
    subtract_median : bool
        Subtract each clip's per-pixel median: removes the background of a camera that stands still.
    model : {"tiny", "small", "medium"}
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
        Of "flip" and "brightness"; applied to a whole clip, and its boxes, alike.
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
    epochs: int = 20
    batch_size: int = 16
    learning_rate: float = 2e-3
    validation_split: float = 0.2
    groups: str | None = None
    test_groups: tuple[str, ...] = ()
    augment: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self):
        rules = [
            *((name, getattr(self, name) in known, f"one of {', '.join(known)}") for name, known in CHOICES.items()),
            *((name, getattr(self, name) >= 1, "1 or more") for name in COUNTS),
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

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.height, self.width

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells: what is left of height and width after the poolings."""
        cell = 2 ** (len(MODEL_SIZES[self.model][0]) - 1)
        return self.height // cell, self.width // cell


class AnnotatedClips(ClipSequence):
    """Batches of clips and what every cell of the grid should say of them; what `open_clips` returns.

    ``clips[i]`` gives ``(x, y)``: x float32 (N, T, H, W, C), y float32 (N, T, GH, GW, 5 + K).

    Parameters
    ----------
    class_names : list of str
        K names.
    annotations : list of ClipAnnotation
        Their paths are the clips.
    read : callable
        Gives the frames of a path as a run with these settings sees them.
    settings : Settings
    training : bool
        Draw a new order and augmentation for every pass.
    groups : list, optional
        Source of each clip.

    Attributes
    ----------
    annotations : list of ClipAnnotation
        Of the frames that the model sees, in their pixels.
    targets : list of (T, GH, GW, 5 + K) float32 arrays
        One for each clip, without augmentation.

    Examples
    --------
    >>> import tempfile
    >>> from minivid.video import write_moving_objects
    >>> folder = write_moving_objects(tempfile.mkdtemp() + "/objects", clips=4, frames=6, size=(32, 32))
    >>> clips = open_clips(folder, Settings(frames=4, height=32, width=32, batch_size=2))
    >>> x, y = clips[0]
    >>> x.shape, y.shape, len(clips.annotations), len(clips.annotations[0].frames)
    ((2, 4, 32, 32, 3), (2, 4, 8, 8, 8), 4, 4)
    """

    def __init__(
        self,
        class_names: list[str],
        annotations: Sequence[ClipAnnotation],
        read,
        settings: Settings,
        training: bool = False,
        groups: list | None = None,
    ):
        self.annotations = [_sampled(annotation, settings.frames, settings.size) for annotation in annotations]
        self.targets = [
            np.stack([grid_targets(truth, settings.size, settings.grid, len(class_names)) for truth in clip.frames])
            for clip in self.annotations
        ]
        self.augmentations = settings.augment if training else ()
        super().__init__(
            class_names,
            [annotation.path for annotation in annotations],
            np.zeros(len(annotations)),
            read,
            batch_size=settings.batch_size,
            class_mode=None,
            shuffle=training,
            seed=settings.seed,
            augment=random_brightness if "brightness" in self.augmentations else None,
            groups=groups,
        )

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        x, members = super().__getitem__(index), self.members(index)
        y = np.stack([self.targets[k] for k in members])  # (N, T, GH, GW, 5 + K)
        if "flip" in self.augmentations:
            turned = np.random.default_rng([self.seed, self.epoch, index]).random(len(members)) < 0.5
            x[turned], y[turned] = x[turned][:, :, :, ::-1], mirrored(y[turned])
        return x, y


def _sampled(annotation: ClipAnnotation, frames: int, size: tuple[int, int]) -> ClipAnnotation:
    """Return the annotation of the frames that `read_clip` picks, and scales to a size."""
    (H, W), (height, width) = annotation.size, size
    scale = np.array([width / W, height / H, width / W, height / H], np.float32)
    chosen = sample_indices(len(annotation.frames), frames)
    truths = [annotation.frames[t]._replace(boxes=annotation.frames[t].boxes * scale) for t in chosen]
    tracks = None if annotation.tracks is None else [annotation.tracks[t] for t in chosen]
    return ClipAnnotation(annotation.path, size, truths, tracks, [annotation.visibility[t] for t in chosen])


def open_clips(
    directory: str | os.PathLike, settings: Settings, subset: str | None = None, training: bool | None = None
) -> AnnotatedClips:
    """Return the annotated clips of a folder as a run with these settings sees them.

    Parameters
    ----------
    directory : path
        Clips, each with its annotation beside it: see `minivid.detection.read_annotations`.
    settings : Settings
    subset : {"training", "validation"}, optional
        One side of the split; both by default.
    training : bool, optional
        Whether every pass has a new order, and augmentation; by default only on the training side.

    Returns
    -------
    AnnotatedClips

    Raises
    ------
    ValueError
        If clips, annotations or the split do not fit; the message says what.

    Examples
    --------
    >>> import tempfile
    >>> from minivid.video import write_moving_objects
    >>> folder = write_moving_objects(tempfile.mkdtemp() + "/objects", clips=4, frames=4, size=(32, 32))
    >>> clips = open_clips(folder, Settings(frames=4, height=32, width=32, validation_split=0.25), "training")
    >>> len(clips.paths), clips.class_names
    (3, ['disc', 'square', 'triangle'])
    """
    directory = Path(directory)
    class_names, annotations = read_annotations(directory)
    paths = [annotation.path for annotation in annotations]
    names = None if settings.groups is None else group_names(settings.groups, paths, directory)
    chosen = np.arange(len(paths))
    if subset is not None:
        given = (None, settings.test_groups) if settings.test_groups else (settings.validation_split, None)
        chosen = split_sides([0] * len(paths), names, *given, settings.seed)[subset == "validation"]
    reading = {"frames": settings.frames, "target_size": settings.size, "color_mode": settings.color}
    if not any(len(truth.boxes) for k in chosen for truth in annotations[k].frames):
        side = f"{subset} clips" if subset else "clips"
        raise ValueError(f"{directory}: no object is annotated in the {len(chosen)} {side}")
    cache = ClipCache()
    keys, _ = decode_clips([paths[k] for k in chosen], reading, cache, "raise")

    def read(path: Path) -> np.ndarray:
        clip = cache.get(keys[path], lambda: read_clip(path, **reading))
        return without_median(clip) if settings.subtract_median else clip

    groups = None if names is None else [names[k] for k in chosen]
    training = subset == "training" if training is None else training
    return AnnotatedClips(class_names, [annotations[k] for k in chosen], read, settings, training, groups)


# --- training and measuring -----------------------------------------------------------------------------------


def train_run(
    directory: str | os.PathLike,
    out: str | os.PathLike,
    settings: Settings,
    overwrite: bool = False,
    device: str = "cpu",
) -> dict:
    """Train a detector, measure it on held-out clips, and write everything to a run folder.

    Parameters
    ----------
    directory : path
        Clips, each with its annotation beside it: see `minivid.detection.read_annotations`.
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
    model = build_detector(clips.input_shape, clips.num_classes, settings.model).to(device)
    compile_detector(model, settings.learning_rate, settings.epochs * len(clips))
    out = new_run_folder(out, overwrite)
    print(
        f"{len(clips.paths)} clips to train on, {len(held_out.paths)} held out, classes: {', '.join(clips.class_names)}"
    )
    write_config(out, settings, clips.class_names)
    history = fit(model, clips, held_out, settings.epochs, out)
    plots.learning_curves(history.history, out / "learning_curves.png")
    detections = detect(model, held_out)
    figures = measure(detections, held_out) | account(settings.seed, [], device)
    draw(detections, held_out, out)
    write_json(out / "metrics.json", figures)
    print_figures(figures, "held-out clips")
    print(f"\nmodel, figures and pictures: {out}")
    return figures


def detect(model: Sequential, clips: AnnotatedClips) -> list[list[Detections]]:
    """Return what a detector finds in every frame of every clip, in pixels of the frames that it sees."""
    size = clips.input_shape[1:3]
    return [
        [decode(frame, size, LEAST_SCORE) for frame in outputs]
        for x in track(clips.inputs(), "Detecting", len(clips))
        for outputs in model.predict(x)
    ]


def measure(detections: Sequence[Sequence[Detections]], clips: AnnotatedClips) -> dict:
    """Return mean average precision on clips: of all objects, of visible and of hidden ones, and per class."""
    found, truths, hidden = _by_frame(detections, clips)
    with_hidden = [t for t, lost in enumerate(hidden) if lost.any()]
    visible_only = [_ignoring(truth, lost) for truth, lost in zip(truths, hidden, strict=True)]
    hidden_only = [_ignoring(truth, ~lost) for truth, lost in zip(truths, hidden, strict=True)]
    K = clips.num_classes
    overall = mean_average_precision(found, truths, K)
    per_class = {
        name: {figure: _number(value) for figure, value in row.items()}
        for name, row in zip(clips.class_names, overall.pop("per_class"), strict=True)
    }
    return {
        **{figure: _number(value) for figure, value in overall.items()},
        "mAP@0.5_visible_objects": _map(found, visible_only, K),
        "mAP@0.5_hidden_objects": _map(found, hidden_only, K),
        "mAP@0.5_frames_with_hidden": _map([found[t] for t in with_hidden], [truths[t] for t in with_hidden], K),
        "clips": len(clips.paths),
        "frames": len(truths),
        "frames_with_hidden": len(with_hidden),
        "objects": sum(len(lost) for lost in hidden),
        "hidden_objects": int(sum(lost.sum() for lost in hidden)),
        "per_class": per_class,
    }


def _by_frame(detections, clips: AnnotatedClips) -> tuple[list[Detections], list[Truth], list[np.ndarray]]:
    """Return detections, truths, and which objects are hidden, of all frames of all clips one after the other."""
    found = [frame for clip in detections for frame in clip]
    truths = [truth for clip in clips.annotations for truth in clip.frames]
    return found, truths, [visible < HIDDEN for clip in clips.annotations for visible in clip.visibility]


def _ignoring(truth: Truth, left_out: np.ndarray) -> Truth:
    ignored = left_out if truth.ignored is None else left_out | truth.ignored
    return truth._replace(ignored=ignored)


def _map(found: list[Detections], truths: list[Truth], num_classes: int) -> float | None:
    return _number(mean_average_precision(found, truths, num_classes, (0.5,))["mAP@0.5"])


def _number(value: float) -> float | None:
    """Return a figure as JSON has it: null where there is none."""
    return None if np.isnan(value) else float(value)


def surest(detections: Sequence[Detections]) -> list[Detections]:
    """Return what people are shown of the detections of some frames: those with a score of one half and more."""
    return [Detections(*(values[found.scores >= SHOWN] for values in found)) for found in detections]


def draw(detections: Sequence[Sequence[Detections]], clips: AnnotatedClips, out: Path) -> None:
    """Draw the precision-recall curves of all classes."""
    found, truths, _ = _by_frame(detections, clips)
    plots.precision_recall_curves(found, truths, clips.class_names, out / "precision_recall.png")


def evaluate_run(
    run: str | os.PathLike,
    directory: str | os.PathLike,
    held_out: bool = False,
    on_error: str | None = None,
    device: str = "cpu",
) -> dict:
    """Measure a trained detector on a folder of annotated clips; writes to the run's folder ``evaluation``.

    Parameters
    ----------
    run : path
        What `train_run` wrote.
    directory : path
        Clips, each with its annotation beside it; the classes of the training.
    held_out : bool
        Only the clips that the training held out of this same folder.
    on_error : {"raise"}, optional
        Clips and annotations belong together, so an unreadable file is always an error.
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
        If the classes differ from those of the training, or ``on_error`` is "skip".

    Examples
    --------
    >>> figures = evaluate_run("runs/first", "other_clips")  # doctest: +SKIP
    """
    if on_error not in (None, "raise"):
        raise ValueError("detection takes no --on-error skip: remove an unreadable clip together with its annotation")
    model, settings, class_names = load_run(run, Settings, device)
    clips = open_clips(directory, settings, "validation" if held_out else None)
    if clips.class_names != class_names:
        raise ValueError(f"{run} knows the classes {class_names}, but {directory} holds {clips.class_names}")
    out = new_run_folder(Path(run) / "evaluation", overwrite=True)
    detections = detect(model, clips)
    figures = measure(detections, clips) | account(settings.seed, [], device)
    draw(detections, clips, out)
    write_json(out / "metrics.json", figures)
    print_figures(figures, "held-out clips" if held_out else "clips")
    print(f"\nfigures and curves: {out}")
    return figures


def predict_run(
    run: str | os.PathLike,
    paths: Sequence[str | os.PathLike],
    top: int = 3,
    annotate: str | os.PathLike | None = None,
    device: str = "cpu",
) -> bool:
    """Print what a trained detector finds in clips, with or without annotations and of any size.

    Parameters
    ----------
    run : path
        What `train_run` wrote.
    paths : list of path
        Video files. One that cannot be read is named on the error stream; the others are still looked at.
    top : int
        How many classes to show per clip.
    annotate : path, optional
        Folder for copies of the clips, at their own size, with the boxes drawn in.
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
            frames = read_clip(path, settings.frames, settings.size, color_mode=settings.color)
            pictures = None if annotate is None else read_clip(path, settings.frames)
        except VideoError as error:
            print(f"error: {error}", file=sys.stderr)
            unreadable += 1
            continue
        x = without_median(frames) if settings.subtract_median else frames.astype(np.float32) / 255
        outputs = model.predict(x[None])[0]  # (T, GH, GW, 5 + K)
        print(f"{path!s:<{width}}  {_summary([decode(y, settings.size, SHOWN) for y in outputs], class_names, top)}")
        if pictures is not None:
            found = [decode(y, pictures.shape[1:3], SHOWN) for y in outputs]
            copy = free_path(Path(annotate), f"{Path(path).stem}_detected", annotated)
            write_clip(copy, plots.draw_boxes(pictures, found, class_names))
    return unreadable == 0


def _summary(detections: Sequence[Detections], class_names: list[str], top: int) -> str:
    """Return, for the surest classes, the most objects in a frame, how many frames have some, and the best score."""
    rows = []
    for k, name in enumerate(class_names):
        scores = [found.scores[found.classes == k] for found in detections]
        counts = [len(frame) for frame in scores]
        if any(counts):
            best = max(frame.max() for frame in scores if len(frame))
            rows.append((best, f"{name}: up to {max(counts)} in {np.count_nonzero(counts)} of {len(counts)} frames"))
    rows.sort(key=lambda row: -row[0])
    return "   ".join(f"{text}, best {best:.0%}" for best, text in rows[:top]) or f"nothing above {SHOWN:.0%}"


def print_figures(figures: dict, kind: str) -> None:
    """Print mean average precision of some kind of clips, whole and in parts."""
    print(f"\nmAP@0.5 on {figures['clips']} {kind}, {figures['objects']} boxes in {figures['frames']} frames")
    rows = {
        "all objects": figures["mAP@0.5"],
        "visible objects": figures["mAP@0.5_visible_objects"],
        f"hidden objects ({figures['hidden_objects']})": figures["mAP@0.5_hidden_objects"],
        f"frames with hidden objects ({figures['frames_with_hidden']})": figures["mAP@0.5_frames_with_hidden"],
        "all objects, mAP@0.5:0.95": figures["mAP@0.5:0.95"],
    }
    rows |= {f"class {name}": row["AP@0.5"] for name, row in figures["per_class"].items()}
    for name, value in rows.items():
        if value is not None:
            print(f"  {name:<34} {value:.3f}")
