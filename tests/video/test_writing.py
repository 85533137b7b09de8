"""Frames that are written come back: as many, in order, of the same size."""

import numpy as np
import pytest
from PIL import Image

from minivid.video import moving_objects, read_clip, write_clip
from tests.video import files


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize("count", [1, 2, 25])
def test_round_trip_keeps_count_and_order(tmp_path, suffix, count):
    path = tmp_path / f"clip{suffix}"
    write_clip(path, files.numbered(count))
    clip = read_clip(path, None)
    assert clip.shape == (count, 32, 48, 3)
    assert files.numbers(clip) == list(range(count))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_frames_that_do_not_change_are_kept(tmp_path, suffix):
    write_clip(tmp_path / f"still{suffix}", np.full((9, 16, 16, 3), 90, dtype=np.uint8))
    assert len(read_clip(tmp_path / f"still{suffix}", None)) == 9


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_pictures_come_back_close(tmp_path, suffix):
    rows, columns = np.mgrid[:48, :64]
    frames = np.stack([np.stack([rows * 5, columns * 3, rows + columns + 5 * t], axis=-1) for t in range(6)])
    write_clip(tmp_path / f"clip{suffix}", frames.astype(np.uint8))
    error = np.abs(read_clip(tmp_path / f"clip{suffix}", None).astype(int) - frames)
    assert error.mean() < 4


@pytest.mark.parametrize("shape", [(4, 16, 18), (4, 16, 18, 1), (4, 16, 18, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_layouts_and_dtypes(tmp_path, shape, dtype):
    frames = np.full(shape, 102 if dtype == np.uint8 else 0.4, dtype=dtype)  # 0.4·255 = 102
    write_clip(tmp_path / "clip.mp4", frames)
    clip = read_clip(tmp_path / "clip.mp4", None)
    assert clip.shape == (4, 16, 18, 3)
    assert np.abs(clip.astype(int) - 102).max() <= 2


def test_odd_sizes_repeat_the_edge(tmp_path):
    frames = np.zeros((3, 15, 17, 3), dtype=np.uint8)
    frames[:, -1] = 240
    write_clip(tmp_path / "clip.mp4", frames)
    clip = read_clip(tmp_path / "clip.mp4", None)
    assert clip.shape == (3, 16, 18, 3)
    assert clip[:, -1].min() > 200


@pytest.mark.parametrize(("min_size", "expected"), [(0, (16, 24)), (16, (16, 24)), (17, (32, 48)), (64, (64, 96))])
def test_min_size_enlarges_by_a_whole_factor(tmp_path, min_size, expected):
    frames = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    write_clip(tmp_path / "clip.gif", frames, min_size=min_size)
    assert read_clip(tmp_path / "clip.gif", None).shape == (2, *expected, 3)


def test_a_gif_plays_for_ever_at_its_rate(tmp_path):
    write_clip(tmp_path / "clip.gif", files.numbered(3), fps=5)
    with Image.open(tmp_path / "clip.gif") as gif:
        assert gif.info["loop"] == 0
        assert gif.info["duration"] == 200  # milliseconds


def test_an_mp4_has_its_rate(tmp_path):
    import av

    write_clip(tmp_path / "clip.mp4", files.numbered(6), fps=30000 / 1001)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        rate = container.streams.video[0].average_rate
        assert (rate.numerator, rate.denominator) == (30000, 1001)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), "not empty"),
        (np.zeros((8, 8), np.uint8), r"got \(8, 8\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), r"got \(2, 8, 8, 4\)"),
        (np.zeros((2, 8, 8, 3), np.int64), "uint8 or floats from 0 to 1, got int64"),
        (np.zeros((2, 8, 8, 3), bool), "got bool"),
        (np.full((2, 8, 8, 3), 1.5), "from 0 to 1, got 1.5"),
        (np.full((2, 8, 8, 3), np.nan), "from 0 to 1, got nan"),
    ],
)
def test_bad_frames(tmp_path, frames, message):
    with pytest.raises(ValueError, match=message):
        write_clip(tmp_path / "clip.mp4", frames)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e-9, "12", None])
def test_bad_rates(tmp_path, fps):
    with pytest.raises(ValueError, match="fps must be frames per second"):
        write_clip(tmp_path / "clip.mp4", files.numbered(2), fps=fps)


def test_bad_suffix_and_folder(tmp_path):
    with pytest.raises(ValueError, match=r"writes \.mp4 and \.gif, got 'clip\.avi'"):
        write_clip(tmp_path / "clip.avi", files.numbered(2))
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        write_clip(tmp_path / "nowhere" / "clip.mp4", files.numbered(2))


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_nothing_is_half_written(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"clip{suffix}"
    write_clip(path, files.numbered(3))
    before = path.read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_clip(path, files.numbered(9))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_have_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "other").touch()
    write_clip(tmp_path / "clip.mp4", files.numbered(2))
    assert (tmp_path / "clip.mp4").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("seed", range(6))
def test_the_same_frames_give_the_same_bytes(tmp_path, seed):
    """Not so with all of x264's options: then about one of ten of these files differed."""
    clip = moving_objects(1, 16, (32, 32), seed=seed)[0][0]
    written = set()
    for _ in range(12):
        write_clip(tmp_path / "clip.mp4", clip)
        written.add((tmp_path / "clip.mp4").read_bytes())
        read_clip(tmp_path / "clip.mp4", 16)  # leaves other things in memory
    assert len(written) == 1
