"""Class folders of clips as a sequence of batches."""

import os
import re
import warnings
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from pathlib import Path

import numpy as np

from minivid import rng as library_rng
from minivid.progress import track
from minivid.video.augmentation import Augmentation
from minivid.video.cache import ClipCache
from minivid.video.folders import find_samples, find_unsorted, is_video
from minivid.video.reading import VideoError, VideoWarning, check_settings, read_clip
from minivid.video.splits import group_split, stratified_split, warn_if_classes_differ

__all__ = ["ClipSequence", "clips_from_directory", "without_median"]

CLASS_MODES = ("categorical", "sparse", "binary", None)
Groups = str | Callable[[Path], Hashable]


class ClipSequence:
    """Batches of clips and their classes; what `clips_from_directory` returns.

    ``sequence[i]`` and iteration give ``(x, y)``: x float32 (N, T, H, W, C), y as ``class_mode`` says.

    Attributes
    ----------
    class_names : list of str
        K names, in natural order.
    class_indices : dict of str to int
        Name to class number.
    paths : list of Path
        One per clip.
    labels : (clips,) int array
        Class number of each clip.
    groups : list or None
        Source of each clip.
    skipped : list of (Path, str)
        Files that could not be read, and why.
    input_shape : (T, H, W, C)
        Shape of one clip.

    Examples
    --------
    >>> import tempfile
    >>> from minivid.video import clips_from_directory, write_moving_shapes
    >>> folder = write_moving_shapes(tempfile.mkdtemp() + "/shapes", clips_per_class=2, size=(24, 24))
    >>> clips = clips_from_directory(folder, frames=8, target_size=(24, 24), batch_size=4)
    >>> x, y = clips[0]
    >>> x.shape, y.shape, len(clips)
    ((4, 8, 24, 24, 3), (4, 6), 3)
    """

    def __init__(
        self,
        class_names: list[str],
        paths: list[Path],
        labels: np.ndarray,
        read: Callable[[Path], np.ndarray],
        *,
        batch_size: int = 32,
        class_mode: str | None = "categorical",
        shuffle: bool = True,
        seed: int | None = None,
        augment: Augmentation | None = None,
        groups: list | None = None,
        skipped: list | None = None,
    ):
        if not hasattr(batch_size, "__index__") or isinstance(batch_size, bool) or batch_size < 1:
            raise ValueError(f"batch_size must be a positive int, got {batch_size!r}")
        if class_mode not in CLASS_MODES:
            raise ValueError(f"class_mode must be one of {CLASS_MODES}, got {class_mode!r}")
        if class_mode == "binary" and len(class_names) != 2:
            raise ValueError(f"class_mode='binary' takes two classes, found {len(class_names)}: {class_names}")
        self.class_names, self.paths, self.labels = class_names, paths, np.asarray(labels, dtype=np.int64)
        self.read, self.augment, self.groups, self.skipped = read, augment, groups, skipped or []
        self.batch_size, self.class_mode, self.shuffle = int(batch_size), class_mode, shuffle
        self.seed = int(library_rng.generator().integers(2**31)) if seed is None else seed
        self.epoch = -1
        self.on_epoch_end()
        self.input_shape = self._float(self.read(self.paths[0])).shape

    @property
    def class_indices(self) -> dict[str, int]:
        """Class name to class number, as in Keras."""
        return {name: k for k, name in enumerate(self.class_names)}

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    def __len__(self) -> int:
        return -(-len(self.paths) // self.batch_size)

    def __getitem__(self, index: int):
        members = self.members(index)
        x = np.stack([self._clip(k) for k in members])  # (N, T, H, W, C)
        return x if self.class_mode is None else (x, self._targets(self.labels[members]))

    def members(self, index: int) -> np.ndarray:
        """Return which clips are in a batch of the current pass, as indices of ``paths``."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        start = (index % len(self)) * self.batch_size
        return self.order[start : start + self.batch_size]

    def __iter__(self) -> Iterator:
        return (self[index] for index in range(len(self)))

    def on_epoch_end(self) -> None:
        """Draw the order, and the augmentation, of the next pass."""
        self.epoch += 1
        count = len(self.paths)
        self.order = (
            np.random.default_rng([self.seed, self.epoch]).permutation(count) if self.shuffle else np.arange(count)
        )

    def inputs(self) -> Iterator[np.ndarray]:
        """Yield x of each batch, in the order of ``paths`` and without augmentation: what `predict` needs."""
        for start in range(0, len(self.paths), self.batch_size):
            yield np.stack([self._float(self.read(path)) for path in self.paths[start : start + self.batch_size]])

    def _clip(self, k: int) -> np.ndarray:
        clip = self._float(self.read(self.paths[k]))
        if self.augment is None:
            return clip
        changed = self.augment(clip, np.random.default_rng([self.seed, self.epoch, int(k)]))
        if changed.shape != clip.shape:
            raise ValueError(f"augment changed the shape of a clip from {clip.shape} to {changed.shape}")
        return changed.astype(np.float32, copy=False)

    @staticmethod
    def _float(clip: np.ndarray) -> np.ndarray:
        return clip.astype(np.float32) / np.float32(255) if clip.dtype == np.uint8 else clip

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        if self.class_mode == "categorical":
            return np.eye(self.num_classes, dtype=np.float32)[labels]
        return labels if self.class_mode == "sparse" else labels.astype(np.float32)[:, None]


def clips_from_directory(
    directory: str | os.PathLike,
    frames: int = 16,
    target_size: tuple[int, int] = (64, 64),
    batch_size: int = 32,
    class_mode: str | None = "categorical",
    color_mode: str = "rgb",
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    groups: Groups | None = None,
    on_error: str = "raise",
    *,
    validation_groups: Collection[Hashable] | None = None,
    subtract_median: bool = False,
    augment: Augmentation | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> ClipSequence:
    """Read a directory with one folder of clips per class.

    Parameters
    ----------
    directory : path
        ``directory/<class>/<clip>``; a clip is a video file or a folder of images. Hidden and other files are ignored.
    frames, target_size, color_mode
        T, (height, width) and colour of the clips; see `read_clip`.
    batch_size : int
        Clips per batch.
    class_mode : {"categorical", "sparse", "binary", None}
        Targets: one-hot float32 (N, K); int64 (N,); float32 (N, 1) of two classes; none at all. Without targets the
        clips may also lie loose, or in a single folder.
    shuffle : bool
        Draw a new order for every pass.
    seed : int, optional
        Decides split, order and augmentation; by default the split is always the same, the rest from `minivid.rng`.
    validation_split : float, optional
        Part of the clips to hold out: of every class alike, or by whole ``groups``.
    subset : {"training", "validation"}, optional
        Which side of the split to return. Two calls that differ in nothing else never share a clip.
    groups : str or callable, optional
        Source of a clip (person, recording): a regular expression with one group, searched in the path below
        ``directory``, or a function of that path. No source lands on both sides of a split.
    on_error : {"raise", "skip"}
        What an unreadable file does. Skipped files are listed in ``skipped`` and counted in a warning.
    validation_groups : collection, optional
        Exactly these sources are held out; instead of ``validation_split``.
    subtract_median : bool
        Subtract each clip's per-pixel median over time: what a camera that stands still sees all the time vanishes.
        Values are then from −1 to 1 instead of from 0 to 1.
    augment : callable, optional
        ``(clip, rng) -> clip`` for every clip of every pass, e.g. `random_flip`.
    cache_dir : path, optional
        Where decoded clips are kept between runs; by default the user's cache folder.

    Returns
    -------
    ClipSequence

    Raises
    ------
    VideoError
        If a file cannot be read and ``on_error`` is "raise"; names the file and the reason.
    ValueError
        If the directory or the arguments do not fit; says what would.

    Warns
    -----
    SplitWarning
        If the two sides of a split hold different classes.

    Examples
    --------
    >>> import tempfile
    >>> from minivid.video import write_moving_shapes
    >>> folder = write_moving_shapes(tempfile.mkdtemp() + "/shapes", clips_per_class=4, size=(24, 24))
    >>> train = clips_from_directory(folder, 8, (24, 24), validation_split=0.25, subset="training")
    >>> test = clips_from_directory(folder, 8, (24, 24), validation_split=0.25, subset="validation")
    >>> len(train.paths), len(test.paths)
    (18, 6)
    """
    if frames is None or target_size is None:
        raise ValueError("clips of a batch have one shape: give frames and target_size=(height, width), not None")
    check_settings(frames, target_size, color_mode)
    _check_split(validation_split, validation_groups, subset, groups, on_error)
    directory = Path(directory)
    find = find_unsorted if class_mode is None else find_samples
    class_names, paths, labels = find(directory, is_video, "video files")
    names = None if groups is None else group_names(groups, paths, directory)
    chosen = np.arange(len(paths))
    if subset is not None:
        sides = split_sides(labels, names, validation_split, validation_groups, 0 if seed is None else seed)
        if class_mode is not None:
            warn_if_classes_differ(*({labels[k] for k in side} for side in sides), class_names)
        chosen = sides[subset == "validation"]
    settings = {"frames": frames, "target_size": tuple(target_size), "color_mode": color_mode}
    cache = ClipCache(cache_dir)
    readable, skipped = decode_clips([paths[k] for k in chosen], settings, cache, on_error)
    before, chosen = chosen, [k for k in chosen if paths[k] in readable]
    _check_what_is_left(class_names, {labels[k] for k in before}, {labels[k] for k in chosen}, skipped, subset)

    def read(path: Path) -> np.ndarray:
        clip = cache.get(readable[path], lambda: read_clip(path, **settings))
        return without_median(clip) if subtract_median else clip

    return ClipSequence(
        class_names,
        [paths[k] for k in chosen],
        np.array([labels[k] for k in chosen]),
        read,
        batch_size=batch_size,
        class_mode=class_mode,
        shuffle=shuffle,
        seed=seed,
        augment=augment,
        groups=None if names is None else [names[k] for k in chosen],
        skipped=skipped,
    )


def without_median(clip: np.ndarray) -> np.ndarray:
    """Subtract the per-pixel median over time: what a camera that stands still sees all the time vanishes.

    Parameters
    ----------
    clip : (T, H, W, C) uint8 array

    Returns
    -------
    (T, H, W, C) float32 array
        From −1 to 1; zero where a pixel has its median value.

    Examples
    --------
    >>> without_median(np.array([10, 10, 61], dtype=np.uint8).reshape(3, 1, 1, 1)).ravel()
    array([0. , 0. , 0.2], dtype=float32)
    """
    return (clip - np.median(clip, axis=0)).astype(np.float32) / np.float32(255)


def _check_split(validation_split, validation_groups, subset, groups, on_error) -> None:
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    if subset not in (None, "training", "validation"):
        raise ValueError(f"subset must be 'training' or 'validation', got {subset!r}")
    if validation_split is not None and validation_groups is not None:
        raise ValueError("give validation_split or validation_groups, not both")
    if (subset is None) != (validation_split is None and validation_groups is None):
        raise ValueError("subset goes with validation_split or validation_groups: give both or neither")
    if validation_groups is not None and groups is None:
        raise ValueError("validation_groups needs groups, to know the source of each clip")
    if validation_split is not None and not 0 < validation_split < 1:
        raise ValueError(f"validation_split must be between 0 and 1, got {validation_split!r}")


def group_pattern(groups: str) -> re.Pattern:
    """Return the regular expression that tells the source of a clip, or raise ValueError if it cannot."""
    try:
        pattern = re.compile(groups)
    except re.error as error:
        raise ValueError(f"groups={groups!r} is no regular expression: {error}") from None
    if pattern.groups != 1:
        raise ValueError(f"groups={groups!r} must have one group in parentheses, e.g. r'seq(\\d+)'")
    return pattern


def group_names(groups: Groups, paths: list[Path], directory: Path) -> list[Hashable]:
    """Return the source of every clip, or raise ValueError if the path of one does not tell."""
    if callable(groups):
        return [groups(path.relative_to(directory)) for path in paths]
    pattern = group_pattern(groups)
    matches = [pattern.search(path.relative_to(directory).as_posix()) for path in paths]
    for path, match in zip(paths, matches, strict=True):
        if match is None:
            raise ValueError(f"groups={groups!r} does not match {path.relative_to(directory)}")
    return [match.group(1) for match in matches]


def split_sides(
    labels: Sequence[int],
    names: list[Hashable] | None,
    fraction: float | None,
    validation_groups: Collection[Hashable] | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which clips are trained on and which are held out, from their classes and the names of their sources."""
    if validation_groups is None:
        return stratified_split(labels, fraction, seed) if names is None else group_split(names, fraction, seed, labels)
    unknown = set(validation_groups) - set(names)
    if unknown:
        raise ValueError(
            f"validation_groups {sorted(unknown, key=str)} do not occur; there are {sorted(set(names), key=str)}"
        )
    held_out = np.array([name in set(validation_groups) for name in names])
    if held_out.all() or not held_out.any():
        raise ValueError("validation_groups leave one side of the split empty")
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def decode_clips(
    paths: list[Path], settings: dict, cache: ClipCache, on_error: str
) -> tuple[dict[Path, str], list[tuple[Path, str]]]:
    """Decode every clip into the cache; return path -> cache key, and the files that could not be read."""
    readable: dict[Path, str] = {}
    skipped: list[tuple[Path, str]] = []
    for path in track(paths, "Decoding clips"):
        key = cache.key_of(path, settings)
        try:
            cache.get(key, lambda path=path: read_clip(path, **settings))
        except VideoError as error:
            if on_error == "raise":
                raise
            skipped.append((path, str(error)))
        else:
            readable[path] = key
    if skipped:
        first = skipped[0][1]
        message = f"skipped {len(skipped)} of {len(paths)} files that cannot be read; the first: {first}"
        warnings.warn(message, VideoWarning, stacklevel=3)
    return readable, skipped


def _check_what_is_left(class_names, before: set, after: set, skipped, subset) -> None:
    if not after:
        raise VideoError(f"none of the {len(skipped)} files can be read; the first: {skipped[0][1]}")
    for k, name in enumerate(class_names):
        if subset != "validation" and k in before - after:
            raise VideoError(f"no file of class {name!r} can be read; the first: {skipped[0][1]}")
