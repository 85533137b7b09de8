"""Class folders: which samples a directory holds, and what is wrong with it."""

from collections.abc import Callable
from pathlib import Path

from minivid.video.reading import is_image, natural_key

__all__ = ["find_samples", "find_unsorted"]

VIDEO_SUFFIXES = {".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"}
VIDEO_SUFFIXES |= {".3gp", ".asf", ".flv", ".m2ts", ".mts", ".mxf", ".ogg", ".ogv", ".ts", ".vob"}


def is_video(entry: Path) -> bool:
    """Whether an entry of a class folder is a clip: a video file, or a folder of images."""
    if entry.name.startswith("."):
        return False
    if entry.is_dir():
        return any(is_image(file) for file in entry.iterdir())
    return entry.suffix.lower() in VIDEO_SUFFIXES


def find_samples(
    directory: Path, is_sample: Callable[[Path], bool], kind: str
) -> tuple[list[str], list[Path], list[int]]:
    """Return the class names, and the path and class number of every sample, in natural order.

    Parameters
    ----------
    directory : path
        Holds one folder per class.
    is_sample : callable
        Tells a sample from other entries of a class folder, which are ignored.
    kind : str
        What samples are called in error messages, e.g. "video files".

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    ValueError
        If it holds no class folders, a single one, or an empty one.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("wave", "jump"):
    ...     (folder / name).mkdir()
    ...     (folder / name / "ann.mp4").touch()
    >>> class_names, paths, labels = find_samples(folder, is_video, "video files")
    >>> class_names, labels
    (['jump', 'wave'], [0, 1])
    """
    entries = _entries(directory, f"a folder with one folder of {kind} per class")
    folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    if not folders:
        loose = any(is_sample(entry) for entry in entries)
        hint = f"its {kind} lie loose: put them into one folder per class" if loose else "it has no folders"
        raise ValueError(f"{directory} must hold one folder of {kind} per class, but {hint}")
    found = [[e for e in _in_natural_order(folder) if is_sample(e)] for folder in folders]
    for folder, samples in zip(folders, found, strict=True):
        if not samples:
            raise ValueError(f"the class folder {folder} holds no {kind}; fill it or remove it")
    if len(folders) == 1:
        raise ValueError(f"{directory} holds a single class, {folders[0].name!r}; a classifier needs two or more")
    paths = [path for samples in found for path in samples]
    labels = [k for k, samples in enumerate(found) for _ in samples]
    return [folder.name for folder in folders], paths, labels


def find_unsorted(
    directory: Path, is_sample: Callable[[Path], bool], kind: str
) -> tuple[list[str], list[Path], list[int]]:
    """Return the same as `find_samples` for samples whose class does not matter: they may lie loose, or in any folders.

    Parameters
    ----------
    directory : path
        Holds samples, or folders of samples, or both.
    is_sample, kind
        As for `find_samples`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    ValueError
        If there are no samples.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "wave").mkdir()
    >>> for name in ("ann.mp4", "wave/bob.mp4", "wave/notes.txt"):
    ...     (folder / name).touch()
    >>> names, paths, labels = find_unsorted(folder, is_video, "video files")
    >>> names[1:], [path.name for path in paths], labels
    (['wave'], ['ann.mp4', 'bob.mp4'], [0, 1])
    """
    entries = _entries(directory, f"a folder of {kind}")
    found = {directory: [entry for entry in entries if is_sample(entry)]}
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith(".") and not is_sample(entry):
            found[entry] = [sample for sample in _in_natural_order(entry) if is_sample(sample)]
    found = {folder: samples for folder, samples in found.items() if samples}
    if not found:
        raise ValueError(f"{directory} and the folders in it hold no {kind}")
    paths = [path for samples in found.values() for path in samples]
    labels = [k for k, samples in enumerate(found.values()) for _ in samples]
    return [folder.name for folder in found], paths, labels


def _entries(directory: Path, expected: str) -> list[Path]:
    if not directory.exists():
        raise FileNotFoundError(f"there is no folder {directory}")
    if not directory.is_dir():
        raise NotADirectoryError(f"{directory} is a file; expected {expected}")
    return _in_natural_order(directory)


def _in_natural_order(directory: Path) -> list[Path]:
    return sorted(directory.iterdir(), key=lambda entry: natural_key(entry.name))
