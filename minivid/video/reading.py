"""From a file to frames: decode, pick, turn upright, resize.

PyAV (FFmpeg) decodes. Headers are not believed: the frames that count are those that really decode.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

__all__ = ["VideoError", "VideoWarning", "read_clip"]

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
SHORT = ("repeat", "loop", "error")
SMALL_PICTURE = 320 * 240  # pixels


class VideoError(ValueError):
    """A video that cannot be read; the message names the file and the reason."""


class VideoWarning(UserWarning):
    """A video of which only a part could be read; the message names the file and the reason."""


def read_clip(
    path: str | Path,
    frames: int | None = 16,
    target_size: tuple[int, int] | None = None,
    *,
    color_mode: str = "rgb",
    short: str = "repeat",
) -> np.ndarray:
    """Read a fixed number of frames, evenly spread over a video.

    Parameters
    ----------
    path : path
        A video file, an animated GIF, or a folder of images in natural order (``frame2`` before ``frame10``).
    frames : int, optional
        T, the number of frames; None for all.
    target_size : (height, width), optional
        Resize to this, in pixels, whatever the aspect ratio; by default the size of the video.
    color_mode : {"rgb", "grayscale"}
        Three channels or one.
    short : {"repeat", "loop", "error"}
        What a video with fewer than ``frames`` frames does: repeat its last frame, start again, or fail.

    Returns
    -------
    clip : (T, H, W, C) uint8 array
        Upright: the rotation and mirroring that phones write into the file are applied. Pixels are taken as square.

    Raises
    ------
    VideoError
        If there is no file, or nothing in it that decodes.
    ValueError
        For impossible arguments.

    Warns
    -----
    VideoWarning
        If the file is damaged and only its first frames could be decoded.

    Notes
    -----
    Of the M frames that decode, frame i of the clip is number ⌊(i + 1/2)·M / T⌋: the centre of the i-th of T equal
    segments. The file is decoded twice, once to count, so that memory holds no more than the clip.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> from minivid.video import write_clip
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.gif")
    >>> write_clip(path, np.zeros((10, 32, 48, 3), dtype=np.uint8))
    >>> read_clip(path, frames=4, target_size=(16, 16)).shape
    (4, 16, 16, 3)
    """
    check_settings(frames, target_size, color_mode, short)
    path = Path(path)
    source = _source(path)
    count = source.count()
    wanted = sample_indices(count, frames, short, path)
    keep = set(wanted)
    pictures = {}
    for index, picture in enumerate(source.pictures(keep)):
        if picture is not None:
            pictures[index] = _finish(picture, target_size, color_mode)
        if len(pictures) == len(keep):
            break
    if len(pictures) < len(keep):
        raise VideoError(f"{path}: decoding gave {count} frames the first time and fewer the second")
    sizes = {picture.shape for picture in pictures.values()}
    if len(sizes) > 1:
        raise VideoError(f"{path}: the frames have different sizes {sorted(sizes)}; give a target_size")
    return np.stack([pictures[index] for index in wanted])


def check_settings(frames, target_size, color_mode: str, short: str = "repeat") -> None:
    """Raise ValueError for settings that no file can meet."""
    if frames is not None and (not hasattr(frames, "__index__") or isinstance(frames, bool) or frames < 1):
        raise ValueError(f"frames must be a positive int or None for all frames, got {frames!r}")
    if target_size is not None:
        pair = isinstance(target_size, tuple | list) and len(target_size) == 2
        if not pair or not all(hasattr(s, "__index__") and s > 0 for s in target_size):
            raise ValueError(f"target_size must be (height, width) in pixels, got {target_size!r}")
    if color_mode not in ("rgb", "grayscale"):
        raise ValueError(f"color_mode must be 'rgb' or 'grayscale', got {color_mode!r}")
    if short not in SHORT:
        raise ValueError(f"short must be one of {SHORT}, got {short!r}")


def sample_indices(count: int, frames: int | None, short: str = "repeat", path: str | Path = "clip") -> list[int]:
    """Return which of ``count`` frames make a clip of ``frames`` frames; see `read_clip`."""
    if frames is None:
        return list(range(count))
    if count >= frames:
        return [(2 * i + 1) * count // (2 * frames) for i in range(frames)]  # ⌊(i + 1/2)·M / T⌋ without rounding
    if short == "error":
        raise VideoError(f"{path} has {count} frames, fewer than the {frames} asked for")
    return [i % count if short == "loop" else min(i, count - 1) for i in range(frames)]


def _finish(picture, target_size, color_mode: str) -> np.ndarray:
    """Turn a Pillow image into an array of the wanted size and colour."""
    from PIL import Image

    picture = picture.convert("L" if color_mode == "grayscale" else "RGB")
    if target_size is not None and picture.size != (target_size[1], target_size[0]):
        picture = picture.resize((target_size[1], target_size[0]), Image.Resampling.BILINEAR)
    array = np.asarray(picture)
    return array[..., None] if color_mode == "grayscale" else array


def _source(path: Path):
    """Return what can count and give the pictures of a path."""
    if path.is_dir():
        return _FolderOfImages(path)
    if not path.is_file():
        raise VideoError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (zero bytes)")
    return _GifFile(path) if path.suffix.lower() == ".gif" else _VideoFile(path)


class _VideoFile:
    """The frames of a video file, in the order of showing."""

    def __init__(self, path: Path):
        self.path = path

    def count(self) -> int:
        """Decode everything and return the number of frames."""
        count = sum(1 for _ in self._decode(warn=True))
        if count == 0:
            raise VideoError(f"{self.path}: not one frame can be decoded")
        return count

    def pictures(self, keep: set[int]) -> Iterator:
        """Yield a Pillow image for each frame in ``keep``, None for the others."""
        from av.video.reformatter import VideoReformatter

        to_rgb = VideoReformatter()  # one for all frames: making it takes longer than using it
        for index, frame in enumerate(self._decode(warn=False)):
            yield _upright(frame, to_rgb) if index in keep else None

    def _decode(self, warn: bool) -> Iterator:
        import av

        count = 0
        with self._open(av) as (container, stream):
            codec = stream.codec_context
            if codec.width * codec.height <= SMALL_PICTURE:
                codec.thread_count = 1  # starting threads would take longer than decoding
            try:
                for frame in container.decode(stream):
                    count += 1
                    yield frame
            except (av.error.FFmpegError, ValueError) as error:
                if not count:
                    raise VideoError(f"{self.path}: not one frame can be decoded ({_reason(error)})") from None
                if warn:
                    _warn_of_damage(self.path, count, error)

    @contextmanager
    def _open(self, av):
        try:  # "file:" keeps FFmpeg from taking a colon or a dash in the name for something else
            container = av.open(f"file:{self.path.resolve()}", metadata_errors="ignore")
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(f"{self.path}: not a video that FFmpeg can read ({_reason(error)})") from None
        with container:
            cover = av.stream.Disposition.attached_pic  # the picture of a song is no video
            streams = [stream for stream in container.streams.video if not stream.disposition & cover]
            if not streams:
                raise VideoError(f"{self.path}: holds no moving pictures ({_streams(container)})")
            yield container, streams[0]


def _upright(frame, to_rgb):
    """Return a decoded frame as a Pillow image, turned and mirrored as its display matrix says."""
    from PIL import Image

    pixels = to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()  # (H, W, 3)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        pixels = apply_display_matrix(pixels, np.frombuffer(bytes(matrix), dtype=np.int32).reshape(3, 3))
    return Image.fromarray(np.ascontiguousarray(pixels))


def apply_display_matrix(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn pixels (H, W, C) by quarter turns and mirror them; a matrix of anything else is garbage, and ignored.

    A pixel in column x and row y is shown in column a·x + c·y and row b·x + d·y (ISO/IEC 14496-12, 8.3.2).
    FFmpeg's own angle, ``frame.rotation``, does not tell a mirror from half a turn.
    """
    (a, b), (c, d) = np.rint(matrix[:2, :2] / max(np.abs(matrix[:2, :2]).max(), 1)).astype(int)
    if b and c and not a and not d:
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    elif b or c or not a or not d:
        return pixels
    return pixels[::d, ::a]


class _GifFile:
    """The frames of an animated GIF; read by Pillow, so that it works without FFmpeg."""

    def __init__(self, path: Path):
        self.path = path

    def count(self) -> int:
        return sum(1 for _ in self._decode(warn=True))

    def pictures(self, keep: set[int]) -> Iterator:
        for index, frame in enumerate(self._decode(warn=False)):
            yield frame.convert("RGB") if index in keep else None

    def _decode(self, warn: bool) -> Iterator:
        from PIL import Image, ImageSequence, UnidentifiedImageError

        count = 0
        try:
            with Image.open(self.path) as gif:
                for frame in ImageSequence.Iterator(gif):
                    frame.load()
                    count += 1
                    yield frame
        except (UnidentifiedImageError, OSError, EOFError, ValueError, SyntaxError) as error:
            if not count:
                raise VideoError(f"{self.path}: not a GIF that Pillow can read ({_reason(error)})") from None
            if warn:
                _warn_of_damage(self.path, count, error)


class _FolderOfImages:
    """The images of a folder, in natural order of their names."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files = sorted((f for f in folder.iterdir() if is_image(f)), key=lambda f: natural_key(f.name))

    def count(self) -> int:
        if not self.files:
            raise VideoError(f"{self.folder}: a folder without images")
        return len(self.files)

    def pictures(self, keep: set[int]) -> Iterator:
        for index, file in enumerate(self.files):
            yield _open_image(file) if index in keep else None


def _open_image(file: Path):
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.mode == "F":
                raise ValueError("its pixels are floats; save it with 8 or 16 bits per channel")
            if upright.mode.startswith("I"):  # 16 bits, which convert() would cut off at 255
                upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
            return upright.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise VideoError(f"{file}: not an image that Pillow can read ({_reason(error)})") from None


def read_image(file: Path, target_size: tuple[int, int], color_mode: str) -> np.ndarray:
    """Read one image as uint8 (H, W, C)."""
    return _finish(_open_image(file), target_size, color_mode)


def is_image(file: Path) -> bool:
    """Whether a name is that of an image: by its suffix, hidden files left out."""
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")


def natural_key(name: str) -> list:
    """Return a sort key by which ``frame2`` comes before ``frame10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"([0-9]+)", name.lower())]


def _warn_of_damage(path: Path, count: int, error: Exception) -> None:
    message = f"{path}: damaged after {count} frames ({_reason(error)}); the rest is left out"
    warnings.warn(message, VideoWarning, stacklevel=3)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _streams(container) -> str:
    kinds = sorted({"a cover picture" if stream.type == "video" else stream.type for stream in container.streams})
    return f"only {', '.join(kinds)}" if kinds else "no streams"
