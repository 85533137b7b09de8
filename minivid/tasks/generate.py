"""Video generation: a recurrent network sees the first frames of a clip and draws those that come next.

At step t the network sees frame t, or nothing, and predicts frame t + 1. A last channel says which of the two it is:

    x[t] = (frame t, 1)   if frame t is given
    x[t] = (0, 0)         if not                                t = 0 ... T−2

*One-step* prediction gives all frames before the predicted one. *Roll-out* gives the first S frames only; from there on
the network runs freely, on nothing but its own state, as the forecasting networks of Srivastava et al., "Unsupervised
learning of video representations using LSTMs" (ICML 2015) and Shi et al., "Convolutional LSTM network" (NeurIPS 2015).
Both are trained at once, by plain backpropagation through time. docs/generate.md says more.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import minivid
from minivid import image_metrics, plots
from minivid.files import replacing
from minivid.layers import (
    LSTM,
    Conv2D,
    Conv2DTranspose,
    ConvLSTM2D,
    Dense,
    Flatten,
    Input,
    Reshape,
    TimeDistributed,
)
from minivid.models import Sequential
from minivid.optimizers import Adam, CosineDecay
from minivid.progress import track
from minivid.runs import check_free, new_run_folder, write_json
from minivid.tasks import common
from minivid.tasks.common import AUGMENTATIONS, account, check_rules, fit, free_path, load_run, write_config
from minivid.video import ClipSequence, VideoError, read_clip, write_clip
from minivid.video.reading import read_image
from minivid.video.sequence import group_pattern

__all__ = [
    "MODEL_SIZES",
    "NextFrames",
    "Settings",
    "build_generator",
    "evaluate_run",
    "masked_input",
    "newest_given",
    "one_step",
    "open_clips",
    "predict_run",
    "roll_out",
    "train_run",
]

#: Of each network: filters of the convolutions, then channels of the states (convlstm) or units (cnn-lstm).
MODEL_SIZES = {
    "convlstm": {"tiny": ((24,), 24), "small": ((32,), 32), "medium": ((32, 48), 48)},
    "cnn-lstm": {"tiny": ((16, 32, 32), 256), "small": ((16, 32, 64), 384), "medium": ((32, 64, 64), 512)},
}

OUTPUTS = {"frame": ("sigmoid", "binary_crossentropy"), "difference": (None, "mse")}  # last activation, loss
CHOICES = {
    "color": ("rgb", "grayscale"),
    "network": tuple(MODEL_SIZES),
    "model": ("tiny", "small", "medium"),
    "output": tuple(OUTPUTS),
    "on_error": ("raise", "skip"),
}
HIGHEST_PSNR = 60.0  # in decibels: frames that 8 bits per pixel do not tell apart; equal ones would be at infinity
COUNTS = ("height", "width", "epochs", "batch_size")
FIGURES = {
    "mse": image_metrics.frame_mse,
    "squared_error": image_metrics.frame_squared_error,
    "mae": image_metrics.frame_mae,
    "psnr": lambda x, y: np.minimum(image_metrics.frame_psnr(x, y), HIGHEST_PSNR),
    "ssim": image_metrics.frame_ssim,
}
DRAWN_CLIPS = 3


# --- the model ------------------------------------------------------------------------------------------------


def build_generator(
    frame_shape: tuple[int, int, int], network: str = "convlstm", size: str = "tiny", output: str = "frame"
) -> Sequential:
    """Make a network that predicts the next frame at every step of a clip.

    Parameters
    ----------
    frame_shape : (H, W, C)
        Height and width must be whole multiples of what the strided convolutions shrink them by: 2 per entry in
        `MODEL_SIZES`.
    network : {"convlstm", "cnn-lstm"}
        Strided convolutions, a recurrent part, transposed convolutions. The recurrent part keeps the image's layout
        (`ConvLSTM2D`), or is an `LSTM` on a row of features with a dense layer behind it.
    size : {"tiny", "small", "medium"}
        See `MODEL_SIZES`.
    output : {"frame", "difference"}
        What the network says: the next frame, through a sigmoid; or its difference to the newest frame given.

    Returns
    -------
    Sequential
        Not compiled. Input (N, T, H, W, C + 1) as `masked_input` makes it, output (N, T, H, W, C), for any T.

    Raises
    ------
    ValueError
        If a name is unknown, or the frames do not fit.

    Examples
    --------
    >>> build_generator((32, 32, 1), "convlstm").output_shape
    (None, None, 32, 32, 1)
    """
    for name, value, known in (
        ("network", network, MODEL_SIZES),
        ("model size", size, CHOICES["model"]),
        ("output", output, OUTPUTS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    filters, units = MODEL_SIZES[network][size]
    H, W, C = frame_shape
    step = 2 ** len(filters)
    if H % step or W % step:
        raise ValueError(f"{network} {size} takes frames whose height and width are multiples of {step}, got {H}x{W}")
    if network == "convlstm":
        recurrent = [ConvLSTM2D(units, 3, padding="same", return_sequences=True)]
    else:
        small = (H // step, W // step, filters[-1])
        recurrent = [
            TimeDistributed(Flatten()),
            LSTM(units, return_sequences=True),
            TimeDistributed(Dense(int(np.prod(small)), activation="relu", kernel_initializer="he_uniform")),
            TimeDistributed(Reshape(small)),
        ]
    activation, _ = OUTPUTS[output]
    first = "zeros" if output == "difference" else "glorot_uniform"  # no difference: it starts as copy last frame
    decoder = [*(_enlarge(count, "relu", "he_uniform") for count in filters[-2::-1]), _enlarge(C, activation, first)]
    layers = [Input((None, H, W, C + 1)), *map(_shrink, filters), *recurrent, *decoder]
    return Sequential(layers, name="video_generator")


def _shrink(filters: int) -> TimeDistributed:
    """Return a convolution that halves height and width."""
    return TimeDistributed(
        Conv2D(filters, 4, strides=2, padding="same", activation="relu", kernel_initializer="he_uniform")
    )


def _enlarge(filters: int, activation: str | None, initializer: str) -> TimeDistributed:
    """Return a transposed convolution that doubles height and width; 4 is a multiple of 2, so no checkerboard."""
    return TimeDistributed(
        Conv2DTranspose(filters, 4, strides=2, padding="same", activation=activation, kernel_initializer=initializer)
    )


# --- frames that are given and frames that are not --------------------------------------------------------------


def masked_input(frames: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Black out the frames that are not given, and add a channel that says which they are.

    Parameters
    ----------
    frames : (N, T, H, W, C) float array
    given : (N, T) bool array

    Returns
    -------
    (N, T, H, W, C + 1) array
        Of the dtype of ``frames``; the last channel is 1 where the frame is given and 0 where not.

    Examples
    --------
    >>> frames = np.full((1, 2, 1, 1, 1), 0.5, dtype=np.float32)
    >>> masked_input(frames, np.array([[True, False]])).ravel()
    array([0.5, 1. , 0. , 0. ], dtype=float32)
    """
    shown = np.asarray(given, bool)[:, :, None, None, None]
    x = np.empty((*frames.shape[:-1], frames.shape[-1] + 1), frames.dtype)
    x[..., :-1] = np.where(shown, frames, 0)
    x[..., -1:] = shown
    return x


def newest_given(frames: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the newest frame that is given at or before each step: what *copy last frame* predicts.

    Parameters
    ----------
    frames : (N, T, H, W, C) array
    given : (N, T) bool array
        The first frame must be given.

    Returns
    -------
    (N, T, H, W, C) array

    Examples
    --------
    >>> newest_given(np.arange(4).reshape(1, 4, 1, 1, 1), np.array([[True, True, False, False]])).ravel()
    array([0, 1, 1, 1])
    """
    steps = np.where(given, np.arange(frames.shape[1]), 0)
    newest = np.maximum.accumulate(steps, axis=1)  # (N, T)
    return frames[np.arange(len(frames))[:, None], newest]


def _first(seen: int, frames: np.ndarray) -> np.ndarray:
    """Return, for every clip, that the first ``seen`` frames are given: (N, T)."""
    return np.broadcast_to(np.arange(frames.shape[1]) < seen, frames.shape[:2])


class NextFrames:
    """Clips as what a generator learns: frames, given or not, and the next frame at every step.

    Parameters
    ----------
    clips : ClipSequence
        With ``class_mode=None``: its batches are frames (N, T, H, W, C).
    seen : int
        S. Of every second clip of a batch the first S frames are given: the network learns to go on. Of the others
        all frames are given: it learns to predict one step.
    output : {"frame", "difference"}
        As for `build_generator`.

    Examples
    --------
    >>> batches = NextFrames([np.random.default_rng(0).random((2, 5, 8, 8, 3))], seen=3)
    >>> x, y = batches[0]
    >>> x.shape, y.shape, x[..., 0, 0, 3].tolist()
    ((2, 4, 8, 8, 4), (2, 4, 8, 8, 3), [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    """

    def __init__(self, clips: ClipSequence, seen: int, output: str = "frame"):
        self.clips, self.seen, self.output = clips, seen, output

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index >= len(self):
            raise IndexError(index)
        frames = self.clips[index]
        before, after = frames[:, :-1], frames[:, 1:]
        given = _first(self.seen, before).copy()
        given[1::2] = True
        return masked_input(before, given), after if self.output == "frame" else after - newest_given(before, given)

    def on_epoch_end(self) -> None:
        """Pass the end of an epoch on to the clips."""
        self.clips.on_epoch_end()


# --- prediction ---------------------------------------------------------------------------------------------------


def _predict(model: Sequential, frames: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the frame that is predicted at every step, t + 1 at step t, (N, T, H, W, C)."""
    y = model.predict(masked_input(frames, given))
    if model.activation.name != "sigmoid":
        y = newest_given(frames, given) + y
    return np.clip(y, 0, 1)


def one_step(model: Sequential, frames: np.ndarray) -> np.ndarray:
    """Predict every frame of a clip from all frames before it.

    Parameters
    ----------
    model : Sequential
        As `build_generator` makes it.
    frames : (N, T, H, W, C) float array
        From 0 to 1.

    Returns
    -------
    (N, T, H, W, C) array
        Step t holds the prediction of frame t + 1.

    Examples
    --------
    >>> one_step(build_generator((8, 8, 1)), np.zeros((2, 5, 8, 8, 1), np.float32)).shape
    (2, 5, 8, 8, 1)
    """
    return _predict(model, frames, np.ones(frames.shape[:2], bool))


def roll_out(model: Sequential, seen: np.ndarray, steps: int, feedback: bool = False) -> np.ndarray:
    """Predict the frames that follow on those seen, without a look at any of them.

    Parameters
    ----------
    model : Sequential
        As `build_generator` makes it.
    seen : (N, S, H, W, C) float array
        The frames that are given, from 0 to 1.
    steps : int
        P, the number of frames to predict.
    feedback : bool
        Give each prediction back to the network as if it were a frame of the clip, instead of nothing. The network was
        trained on real frames, so its errors grow with every step ("exposure bias"): there for comparison.

    Returns
    -------
    (N, P, H, W, C) array

    Raises
    ------
    ValueError
        If ``steps`` is below 1.

    Examples
    --------
    >>> roll_out(build_generator((8, 8, 1)), np.zeros((2, 3, 8, 8, 1), np.float32), steps=4).shape
    (2, 4, 8, 8, 1)
    """
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps!r}")
    S = seen.shape[1]
    nothing = np.zeros((len(seen), steps - 1, *seen.shape[2:]), seen.dtype)
    frames = np.concatenate([seen, nothing], axis=1)  # (N, S + P - 1, H, W, C)
    if feedback:
        for t in range(S, S + steps - 1):
            frames[:, t] = one_step(model, frames[:, :t])[:, -1]
    given = _first(frames.shape[1] if feedback else S, frames)
    return _predict(model, frames, given)[:, S - 1 :]


# --- settings and clips -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run; written to its ``config.json``.

    Attributes
    ----------
    frames : int
        T, frames per clip, evenly spread over the file.
    seen : int or None
        S, how many of them are given before the roll-out; by default half.
    height, width : int
        Frames are resized to this, in pixels.
    color : {"rgb", "grayscale"}
    network : {"convlstm", "cnn-lstm"}
    model : {"tiny", "small", "medium"}
    output : {"difference", "frame"}
        What the network says: the difference to the newest frame given, or the next frame itself.
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
    seen: int | None = None
    height: int = 64
    width: int = 64
    color: str = "rgb"
    network: str = "convlstm"
    model: str = "tiny"
    output: str = "difference"
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
            ("frames", self.frames >= 2, "2 or more"),
            ("seen", self.seen is None or 0 < self.seen < self.frames, f"from 1 to {self.frames - 1}, below frames"),
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
    def frames_seen(self) -> int:
        """S: ``seen``, or half of the frames."""
        return self.frames // 2 if self.seen is None else self.seen


def open_clips(directory: str | os.PathLike, settings: Settings, subset: str | None = None) -> ClipSequence:
    """Return the clips of a folder as a run with these settings sees them.

    Parameters
    ----------
    directory : path
        Video files, loose or in folders, whose names do not matter.
    settings : Settings
    subset : {"training", "validation"}, optional
        One side of the split; both by default.

    Returns
    -------
    ClipSequence
        Its batches are frames (N, T, H, W, C) without targets.

    Examples
    --------
    >>> import tempfile
    >>> from minivid.video import write_moving_shapes
    >>> folder = write_moving_shapes(tempfile.mkdtemp() + "/shapes", clips_per_class=2, frames=4, size=(16, 16))
    >>> clips = open_clips(folder, Settings(frames=4, height=16, width=16, validation_split=0.5), "training")
    >>> len(clips.paths), clips.input_shape
    (6, (4, 16, 16, 3))
    """
    return common.open_clips(directory, settings, subset, class_mode=None)


# --- train, evaluate, predict -------------------------------------------------------------------------------------


def train_run(
    directory: str | os.PathLike,
    out: str | os.PathLike,
    settings: Settings,
    overwrite: bool = False,
    device: str = "cpu",
) -> dict:
    """Train a generator, measure it on held-out clips, and write everything to a run folder.

    Parameters
    ----------
    directory : path
        Video files, loose or in folders.
    out : path
        The run folder; gets model.safetensors, config.json, mean_frame.png, history.csv, metrics.json and pictures.
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
    check_size(settings)
    clips = open_clips(directory, settings, "training")
    held_out = open_clips(directory, settings, "validation")
    out = new_run_folder(out, overwrite)
    print(f"{len(clips.paths)} clips to train on, {len(held_out.paths)} held out")
    model, history = train(clips, held_out, settings, out, device)
    plots.learning_curves(history.history, out / "learning_curves.png")
    figures = measure(model, held_out, settings.frames_seen, read_mean_frame(out, settings))
    figures |= account(settings.seed, clips.skipped + held_out.skipped, device)
    write_json(out / "metrics.json", figures)
    draw_clips(model, held_out, settings.frames_seen, out / "rows")
    print_figures(figures, "held-out clips")
    print(f"\nmodel, figures and pictures: {out}")
    return figures


def check_size(settings: Settings) -> None:
    """Raise ValueError, before any clip is decoded, for frames that the network or the figures cannot take."""
    build_generator((settings.height, settings.width, 1), settings.network, settings.model)
    image_metrics.frame_ssim(*np.zeros((2, settings.height, settings.width, 1)))


def train(clips: ClipSequence, held_out: ClipSequence, settings: Settings, out: Path, device: str):
    """Return a generator trained on clips, and its history; writes what `evaluate_run` needs to a run folder."""
    write_config(out, settings)
    write_mean_frame(out, clips)
    model = build_generator(clips.input_shape[1:], settings.network, settings.model, settings.output).to(device)
    steps = settings.epochs * len(clips)
    _, loss = OUTPUTS[settings.output]
    optimizer = Adam(CosineDecay(settings.learning_rate, steps), global_clipnorm=1.0)
    model.compile(optimizer, loss, ["mse"] if loss != "mse" else [])
    batches = (NextFrames(side, settings.frames_seen, settings.output) for side in (clips, held_out))
    return model, fit(model, *batches, settings.epochs, out)


def write_mean_frame(out: Path, clips: ClipSequence) -> None:
    """Write the mean of all frames of clips, for people to look at and as a baseline."""
    from PIL import Image

    total = sum(x.sum(axis=(0, 1), dtype=np.float64) for x in track(clips.inputs(), "Averaging", len(clips)))
    mean = total / (len(clips.paths) * clips.input_shape[0])  # (H, W, C)
    pixels = np.round(mean * 255).astype(np.uint8)
    with replacing(out / "mean_frame.png") as temporary:
        Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(temporary, format="png")


def read_mean_frame(run: str | os.PathLike, settings: Settings) -> np.ndarray:
    """Return the mean frame of the training clips of a run, (H, W, C) floats."""
    pixels = read_image(Path(run) / "mean_frame.png", (settings.height, settings.width), settings.color)
    return pixels.astype(np.float32) / 255


def measure(model: Sequential, clips: ClipSequence, seen: int, mean_frame: np.ndarray, feedback: bool = False) -> dict:
    """Return the figures of one-step prediction and roll-out, for the model and the baselines, over the same frames.

    Both predict frames S ... T−1. Of each figure, the mean over clips and steps, and the mean at each step. With
    ``feedback`` also of roll-out with the predictions fed back.
    """
    found: dict[str, dict[str, list]] = {"one_step": {}, "roll_out": {}}
    for frames in track(clips.inputs(), "Measuring", len(clips)):
        truth = frames[:, seen:]  # (N, P, H, W, C)
        steps = truth.shape[1]
        mean = np.broadcast_to(mean_frame, truth.shape)
        one = {"model": one_step(model, frames[:, :-1])[:, seen - 1 :], "copy_last": frames[:, seen - 1 : -1]}
        free = {"model": roll_out(model, frames[:, :seen], steps), "copy_last": frames[:, [seen - 1] * steps]}
        if feedback:
            free["model_fed_back"] = roll_out(model, frames[:, :seen], steps, feedback=True)
        for kind, predictions in (("one_step", one), ("roll_out", free)):
            for name, predicted in (predictions | {"mean_frame": mean}).items():
                values = [figure(truth, predicted) for figure in FIGURES.values()]  # each (N, P)
                found[kind].setdefault(name, []).append(np.stack(values))
    results = {"seen": seen, "predicted": clips.input_shape[0] - seen, "clips": len(clips.paths)}
    for kind, predictions in found.items():
        results[kind] = {name: _summary(np.concatenate(parts, axis=1)) for name, parts in predictions.items()}
    return results


def _summary(values: np.ndarray) -> dict:
    """Return means over clips and steps of figures (figure, clip, step), and the means at each step."""
    per_step = values.mean(axis=1)
    overall = dict(zip(FIGURES, per_step.mean(axis=1).tolist(), strict=True))
    return overall | {"per_step": dict(zip(FIGURES, per_step.tolist(), strict=True))}


def evaluate_run(
    run: str | os.PathLike,
    directory: str | os.PathLike,
    held_out: bool = False,
    on_error: str | None = None,
    device: str = "cpu",
) -> dict:
    """Measure a trained generator on a folder of clips; writes to the run's folder ``evaluation``.

    Parameters
    ----------
    run : path
        What `train_run` wrote.
    directory : path
        Video files, loose or in folders.
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

    Examples
    --------
    >>> figures = evaluate_run("runs/first", "other_clips")  # doctest: +SKIP
    """
    model, settings, _ = load_run(run, Settings, device)
    if on_error is not None:
        settings = replace(settings, on_error=on_error)
    mean_frame = read_mean_frame(run, settings)
    clips = open_clips(directory, settings, "validation" if held_out else None)
    clips.shuffle = False
    out = new_run_folder(Path(run) / "evaluation", overwrite=True)
    figures = measure(model, clips, settings.frames_seen, mean_frame)
    figures |= account(settings.seed, clips.skipped, device)
    write_json(out / "metrics.json", figures)
    draw_clips(model, clips, settings.frames_seen, out / "rows")
    print_figures(figures, "held-out clips" if held_out else "clips")
    print(f"\nfigures and pictures: {out}")
    return figures


def predict_run(
    run: str | os.PathLike,
    paths: Sequence[str | os.PathLike],
    top: int = 3,
    annotate: str | os.PathLike | None = None,
    device: str = "cpu",
) -> bool:
    """Let a trained generator go on from the first frames of clips, and print how far off it is.

    Parameters
    ----------
    run : path
        What `train_run` wrote.
    paths : list of path
        Video files. One that cannot be read is named on the error stream; the others are still predicted.
    top : int
        For classifiers; not used.
    annotate : path, optional
        Folder for rows of truth, prediction, copy-last and error, as MP4 and PNG.
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
    model, settings, _ = load_run(run, Settings, device)
    seen = settings.frames_seen
    width = max(len(str(path)) for path in paths)
    unreadable, written = 0, set()
    for path in paths:
        try:
            clip = read_clip(path, settings.frames, (settings.height, settings.width), color_mode=settings.color)
        except VideoError as error:
            print(f"error: {error}", file=sys.stderr)
            unreadable += 1
            continue
        frames = clip[None].astype(np.float32) / 255
        truth, steps = frames[:, seen:], settings.frames - seen
        errors = {
            "one-step": (one_step(model, frames[:, :-1])[:, seen - 1 :], frames[:, seen - 1 : -1]),
            f"roll-out over {steps} frames": (roll_out(model, frames[:, :seen], steps), frames[:, [seen - 1] * steps]),
        }
        shown = [
            f"{kind} MSE {_mse(truth, model_):.5f} (copy last {_mse(truth, copy):.5f})"
            for kind, (model_, copy) in errors.items()
        ]
        print(f"{path!s:<{width}}  " + "  ".join(shown))
        if annotate is not None:
            movie = free_path(Path(annotate), f"{Path(path).stem}_predicted", written)
            draw_rows(model, frames[0], seen, movie.with_suffix(""), (".mp4", ".png"), Path(path).name)
    return unreadable == 0


def _mse(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(image_metrics.frame_mse(truth, predicted).mean())


# --- what people see ----------------------------------------------------------------------------------------------


def draw_clips(model: Sequential, clips: ClipSequence, seen: int, folder: Path) -> None:
    """Draw the roll-out on a few clips, spread over all: PNG strip, MP4 and GIF."""
    folder.mkdir(exist_ok=True)
    count = min(DRAWN_CLIPS, len(clips.paths))
    for k in range(count):
        path = clips.paths[k * len(clips.paths) // count]
        frames = clips.read(path).astype(np.float32) / 255
        draw_rows(model, frames, seen, folder / f"clip_{k + 1}", (".png", ".mp4", ".gif"), path.name)


def draw_rows(
    model: Sequential, frames: np.ndarray, seen: int, stem: Path, suffixes: Sequence[str], title: str
) -> None:
    """Draw truth, roll-out, copy-last and the error of the roll-out over a clip (T, H, W, C)."""
    truth, steps = frames[seen:], len(frames) - seen
    predicted = roll_out(model, frames[None, :seen], steps)[0]
    copied = frames[[seen - 1] * steps]
    rows = {"truth": frames, "roll-out": predicted, "copy last": copied, "error": np.abs(predicted - truth)}
    for suffix in suffixes:
        path = stem.with_name(stem.name + suffix)
        if suffix == ".png":
            plots.prediction_rows(rows, path, seen, title)
        else:
            write_clip(path, plots.prediction_clip(rows, seen), fps=6)


def print_figures(figures: dict, kind: str) -> None:
    """Print all figures of some kind of clips: one-step prediction, then roll-out."""
    S, P = figures["seen"], figures["predicted"]
    titles = {
        "one_step": f"one-step: frames {S + 1} to {S + P}, each from all frames before it",
        "roll_out": f"roll-out: the same frames, from the first {S} frames alone",
    }
    print(f"\n{figures['clips']} {kind}")
    for part, title in titles.items():
        print(f"\n{title}\n{'':<17}{'MSE':>9}{'per frame':>11}{'MAE':>9}{'PSNR':>8}{'SSIM':>8}")
        for name, row in figures[part].items():
            shown = (
                f"{row['mse']:9.5f}{row['squared_error']:11.2f}{row['mae']:9.5f}{row['psnr']:8.2f}{row['ssim']:8.3f}"
            )
            print(f"{name.replace('_', ' '):<17}{shown}")
        print(f"{'copy last / model':<17}{gain(figures, part):9.2f}")
    if figures.get("skipped"):
        print(f"\nskipped {len(figures['skipped'])} unreadable files; metrics.json lists them")


def gain(figures: dict, part: str) -> float:
    """Return how many times larger the MSE of *copy last frame* is than the model's."""
    return figures[part]["copy_last"]["mse"] / max(figures[part]["model"]["mse"], 1e-12)
