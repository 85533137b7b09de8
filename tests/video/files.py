"""Video files that the tests make: numbered frames, class folders, and the oddities of files in the wild."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from minivid.video import write_clip

# Display matrices (a, b, c, d): a pixel (x, y) is shown at (a·x + c·y, b·x + d·y). Rows grow downwards.
CLOCKWISE, HALF_TURN, COUNTERCLOCKWISE, MIRROR = (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1)
GARBAGE = (0, 0, 0, 0)


def numbered(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Return frames whose brightness tells their number: 20 + 8·i, up to 25 frames."""
    brightness = (20 + 8 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(brightness[:, None, None, None], (count, height, width, 3)).copy()


def numbers(clip: np.ndarray) -> list[int]:
    """Return the frame numbers that `numbered` wrote into the brightness."""
    return np.rint((clip.mean(axis=(1, 2, 3)) - 20) / 8).astype(int).tolist()


def class_folders(folder: Path, clips: int = 4, classes: tuple[str, ...] = ("jump", "wave"), frames: int = 6) -> Path:
    """Write numbered clips ``folder/<class>/<person>_<n>.mp4`` of two persons, ann and bob."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for n in range(clips):
            write_clip(folder / name / f"{('ann', 'bob')[n % 2]}_{n}.mp4", numbered(frames, 16, 16))
    return folder


def encode(path: Path, frames: np.ndarray, codec: str = "libx264", times: list[int] | None = None) -> None:
    """Write a video as some other program might; ``times`` are in milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.time_base, frame.pts = Fraction(1, 1000), times[number]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def set_display_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Overwrite the matrix in the track header of an MP4 file, as phones do."""
    data = bytearray(path.read_bytes())
    start = data.find(b"tkhd") + 4 + 40
    a, b, c, d = (16**4 * entry for entry in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def damage_tail(path: Path, part: float = 0.4) -> None:
    """Overwrite the last part of an MP4 file's pictures with zeros; its header stays."""
    data = bytearray(path.read_bytes())
    start, end = data.find(b"mdat") + 4, data.find(b"moov") - 4
    first = end - int(part * (end - start))
    data[first:end] = bytes(end - first)
    path.write_bytes(data)


def write_sound(path: Path) -> None:
    """Write a file with an audio stream only."""
    with av.open(str(path), "w") as container:
        _encode_silence(container, "aac", 1024)


def write_song(path: Path) -> None:
    """Write MP3 sound with a cover picture, which FFmpeg calls a video stream."""
    sound, cover = io.BytesIO(), io.BytesIO()
    with av.open(sound, "w", format="mp3") as container:
        _encode_silence(container, "mp3", 576)
    Image.new("RGB", (8, 8)).save(cover, "PNG")
    picture = b"\0image/png\0\3\0" + cover.getvalue()
    tag = b"APIC" + len(picture).to_bytes(4, "big") + b"\0\0" + picture
    size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\3\0\0" + size + tag + sound.getvalue())


def _encode_silence(container, codec: str, samples: int) -> None:
    stream = container.add_stream(codec, rate=16000)
    for number in range(8):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, samples * number
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
