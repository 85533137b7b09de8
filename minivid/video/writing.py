"""From frames to a file: MP4 through PyAV, GIF through Pillow."""

from fractions import Fraction
from numbers import Real
from pathlib import Path

import numpy as np

from minivid.files import replacing

__all__ = ["write_clip"]


def write_clip(path: str | Path, frames: np.ndarray, fps: float = 12, *, min_size: int = 0) -> None:
    """Write frames as a video file.

    Parameters
    ----------
    path : path
        Ends in ``.mp4`` (H.264, yuv420p: what every player shows) or ``.gif``. The file appears when it is complete.
    frames : (T, H, W, 3), (T, H, W, 1) or (T, H, W) array
        uint8, or floats from 0 to 1.
    fps : float
        Frames per second, from 0.001 to 1000. GIF counts in hundredths of a second, two at least.
    min_size : int
        Enlarge by a whole factor, pixel by pixel, until the shorter side has this many pixels.

    Raises
    ------
    ValueError
        For another suffix, shape, dtype or range. MP4 needs even sizes: an odd last row or column is doubled.
    FileNotFoundError
        If there is no folder to write to.

    Examples
    --------
    >>> import numpy as np, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "clip.mp4")
    >>> write_clip(path, np.zeros((8, 32, 32, 3), dtype=np.uint8))
    >>> os.path.getsize(path) > 0
    True
    """
    path = Path(path)
    writers = {".mp4": _write_mp4, ".gif": _write_gif}
    if path.suffix.lower() not in writers:
        raise ValueError(f"write_clip writes .mp4 and .gif, got {path.name!r}")
    if not isinstance(fps, Real) or not 0.001 <= fps <= 1000:
        raise ValueError(f"fps must be frames per second, from 0.001 to 1000, got {fps!r}")
    frames = enlarge(as_rgb(frames), min_size)
    with replacing(path) as temporary:
        writers[path.suffix.lower()](temporary, frames, fps)


def as_rgb(frames: np.ndarray) -> np.ndarray:
    """Return frames as uint8 (T, H, W, 3), or raise ValueError."""
    frames = np.asarray(frames)
    frames = frames[..., None] if frames.ndim == 3 else frames
    if frames.ndim != 4 or frames.shape[-1] not in (1, 3) or 0 in frames.shape:
        raise ValueError(f"frames must be (T, H, W, 3), (T, H, W, 1) or (T, H, W) and not empty, got {frames.shape}")
    if frames.dtype.kind == "f":
        if not (frames.min() >= 0 and frames.max() <= 1):
            raise ValueError(f"frames of floats must be from 0 to 1, got {frames.min():g} to {frames.max():g}")
        frames = np.round(frames * 255).astype(np.uint8)
    if frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 or floats from 0 to 1, got {frames.dtype}")
    return np.broadcast_to(frames, (*frames.shape[:3], 3))


def enlarge(frames: np.ndarray, min_size: int) -> np.ndarray:
    """Repeat pixels until the shorter side of (T, H, W, C) has ``min_size`` of them."""
    factor = -(-min_size // min(frames.shape[1:3]))
    return frames if factor <= 1 else frames.repeat(factor, axis=1).repeat(factor, axis=2)


#: x264's look-ahead over trees of macroblocks (mbtree) gives other bytes now and then on processors with AVX-512.
H264 = {"preset": "veryfast", "crf": "18", "x264-params": "mbtree=0"}


def _write_mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    import av

    odd = [(0, size % 2) for size in frames.shape[1:3]]
    frames = np.pad(frames, ((0, 0), *odd, (0, 0)), mode="edge")
    with av.open(f"file:{path.resolve()}", "w", format="mp4") as container:  # "file:": the name may hold a colon
        rate = Fraction(float(fps)).limit_denominator(1001)  # 30000/1001 is exact
        stream = container.add_stream("libx264", rate=rate, options=H264)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))


def _write_gif(path: Path, frames: np.ndarray, fps: float) -> None:
    from PIL import GifImagePlugin, Image

    pictures = [Image.fromarray(frame).quantize() for frame in frames]
    milliseconds = 10 * max(2, round(100 / fps))
    # Frame by frame, because Image.save(save_all=True) merges equal frames: the clip would come back shorter.
    with path.open("wb") as file:
        file.writelines(GifImagePlugin.getheader(pictures[0], info={"loop": 0})[0])
        for picture in pictures:
            file.writelines(GifImagePlugin.getdata(picture, duration=milliseconds, include_color_table=True))
        file.write(b";")
