"""Images in class folders, in the spelling of Keras's tutorials."""

import os
from pathlib import Path

import numpy as np

from minivid.video.folders import find_samples, is_video
from minivid.video.reading import VideoError, check_settings, is_image, read_image
from minivid.video.sequence import ClipSequence
from minivid.video.splits import stratified_split

__all__ = ["ImageDataGenerator"]


class ImageDataGenerator:
    """Batches of single images from class folders.

    It yields shuffled single images: if they are frames of videos, their order in time is lost, and with it all
    that an LSTM could learn. For clips use `minivid.video.clips_from_directory`.

    Parameters
    ----------
    rescale : float, optional
        Factor for the pixels' values from 0 to 255; ``1 / 255`` gives values from 0 to 1.
    horizontal_flip : bool
        Mirror each image left to right, half of the time.
    validation_split : float
        Part of each class that ``subset="validation"`` holds out.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from PIL import Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (folder / name).mkdir()
    ...     Image.new("RGB", (20, 20)).save(folder / name / "1.png")
    >>> images = ImageDataGenerator(rescale=1 / 255).flow_from_directory(folder, target_size=(8, 8))
    Found 2 images belonging to 2 classes.
    >>> images[0][0].shape
    (2, 8, 8, 3)
    """

    def __init__(self, rescale: float | None = None, horizontal_flip: bool = False, validation_split: float = 0.0):
        if not 0 <= validation_split < 1:
            raise ValueError(f"validation_split must be in [0, 1), got {validation_split!r}")
        self.rescale = rescale
        self.horizontal_flip = horizontal_flip
        self.validation_split = validation_split

    def flow_from_directory(
        self,
        directory: str | os.PathLike,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        subset: str | None = None,
    ) -> ClipSequence:
        """Read a directory with one folder of images per class.

        Parameters
        ----------
        directory : path
            ``directory/<class>/<image>``.
        target_size : (height, width)
            Images are resized to this, in pixels.
        color_mode : {"rgb", "grayscale"}
        class_mode : {"categorical", "sparse", "binary", None}
        batch_size : int
        shuffle : bool
        seed : int, optional
        subset : {"training", "validation"}, optional

        Returns
        -------
        ClipSequence
            Gives ``(x, y)`` with x float32 (N, H, W, C).

        Raises
        ------
        ValueError
            If the directory holds no class folders of images; a folder of videos is told apart.
        """
        if target_size is None:
            raise ValueError("images of a batch have one size: give target_size=(height, width), not None")
        check_settings(1, target_size, color_mode)
        directory = Path(directory)
        try:
            class_names, paths, labels = find_samples(directory, _is_picture, "images")
        except ValueError:
            _refuse_videos(directory)
            raise
        chosen = self._side(labels, subset, seed)
        print(f"Found {len(chosen)} images belonging to {len(class_names)} classes.")
        return ClipSequence(
            class_names,
            [paths[k] for k in chosen],
            np.array([labels[k] for k in chosen]),
            lambda path: self._read(path, target_size, color_mode),
            batch_size=batch_size,
            class_mode=class_mode,
            shuffle=shuffle,
            seed=seed,
            augment=_flip_image if self.horizontal_flip else None,
        )

    def _side(self, labels: list[int], subset: str | None, seed: int | None) -> np.ndarray:
        if subset not in (None, "training", "validation"):
            raise ValueError(f"subset must be 'training' or 'validation', got {subset!r}")
        if subset is None:
            return np.arange(len(labels))
        if not self.validation_split:
            raise ValueError("subset needs ImageDataGenerator(validation_split=...)")
        return stratified_split(labels, self.validation_split, 0 if seed is None else seed)[subset == "validation"]

    def _read(self, path: Path, target_size, color_mode: str) -> np.ndarray:
        pixels = read_image(path, target_size, color_mode).astype(np.float32)
        return pixels if self.rescale is None else pixels * np.float32(self.rescale)


def _is_picture(entry: Path) -> bool:
    return entry.is_file() and is_image(entry)


def _flip_image(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return image[:, ::-1] if rng.random() < 0.5 else image


def _refuse_videos(directory: Path) -> None:
    """Raise a better error where the class folders hold videos."""
    folders = [entry for entry in directory.iterdir() if entry.is_dir()]
    if any(is_video(entry) for folder in folders for entry in folder.iterdir()):
        raise VideoError(
            f"{directory} holds clips, not single images; read them in order with "
            f"minivid.video.clips_from_directory({str(directory)!r})"
        )
