"""Which frames a clip gets, and what an unreadable file is told."""

import warnings

import numpy as np
import pytest
from PIL import Image

from minivid.video import VideoError, VideoWarning, read_clip, write_clip
from minivid.video.reading import sample_indices
from tests.video import files


@pytest.fixture
def clip10(tmp_path):
    path = tmp_path / "clip.mp4"
    write_clip(path, files.numbered(10))
    return path


@pytest.mark.parametrize(
    ("count", "frames", "short", "expected"),
    [
        (10, 4, "repeat", [1, 3, 6, 8]),  # ⌊1.25⌋, ⌊3.75⌋, ⌊6.25⌋, ⌊8.75⌋
        (7, 3, "repeat", [1, 3, 5]),  # ⌊7/6⌋, ⌊21/6⌋, ⌊35/6⌋
        (5, 5, "repeat", [0, 1, 2, 3, 4]),
        (9, 1, "repeat", [4]),  # ⌊4.5⌋, the middle
        (3, 5, "repeat", [0, 1, 2, 2, 2]),
        (3, 7, "loop", [0, 1, 2, 0, 1, 2, 0]),
        (1, 3, "repeat", [0, 0, 0]),
        (4, None, "repeat", [0, 1, 2, 3]),
    ],
)
def test_sampled_frames_worked_by_hand(count, frames, short, expected):
    assert sample_indices(count, frames, short) == expected


def test_segment_centres_are_exact_for_long_videos():
    # (i + 1/2)·M/T with M = 2^53 + 1 is beyond float64: the last is ⌊(3/2)·(2^53 + 1)/2⌋ = 3·2^51
    assert sample_indices(2**53 + 1, 2)[1] == 3 * 2**51


@pytest.mark.parametrize(("frames", "expected"), [(4, [1, 3, 6, 8]), (10, list(range(10))), (None, list(range(10)))])
def test_the_chosen_frames_are_read(clip10, frames, expected):
    clip = read_clip(clip10, frames)
    assert clip.dtype == np.uint8
    assert clip.shape == (len(expected), 32, 48, 3)
    assert files.numbers(clip) == expected


def test_short_clips(clip10):
    assert files.numbers(read_clip(clip10, 12))[-3:] == [9, 9, 9]
    assert files.numbers(read_clip(clip10, 12, short="loop"))[-3:] == [9, 0, 1]
    with pytest.raises(VideoError, match=r"clip\.mp4 has 10 frames, fewer than the 12"):
        read_clip(clip10, 12, short="error")


def test_resize_and_grayscale(tmp_path):
    halves = np.zeros((3, 32, 64, 3), dtype=np.uint8)
    halves[:, :, 32:] = 240
    write_clip(tmp_path / "halves.mp4", halves)
    clip = read_clip(tmp_path / "halves.mp4", 2, (8, 16), color_mode="grayscale")
    assert clip.shape == (2, 8, 16, 1)
    assert clip[:, :, :7].max() < 12
    assert clip[:, :, 9:].min() > 228


def test_resizing_averages_over_what_a_pixel_covers(tmp_path):
    board = np.indices((64, 64)).sum(axis=0) % 2 * 200
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "1.png")
    small = read_clip(tmp_path, 1, (8, 8))  # a checkerboard of single pixels becomes even grey, not a moiré
    assert np.abs(small.astype(int) - 100).max() <= 6


def test_a_folder_of_images_in_natural_order(tmp_path):
    for number in (0, 1, 2, 9, 10, 11):
        Image.new("RGB", (20, 12), (20 + 8 * number,) * 3).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.png").write_text("not a frame")
    assert files.numbers(read_clip(tmp_path, None)) == [0, 1, 2, 9, 10, 11]
    assert files.numbers(read_clip(tmp_path, 3)) == [1, 9, 11]  # of six: numbers 1, 3 and 5


def test_images_are_turned_upright_as_their_exif_says(tmp_path):
    picture = Image.new("RGB", (20, 12))
    exif = picture.getexif()
    exif[0x0112] = 6  # turn clockwise to show
    picture.save(tmp_path / "1.jpg", exif=exif)
    assert read_clip(tmp_path, 1).shape == (1, 20, 12, 3)


def test_images_of_16_bits_keep_their_range(tmp_path):
    Image.fromarray(np.array([[0, 256 * 100, 256 * 255]], dtype=np.uint16)).save(tmp_path / "1.png")
    assert read_clip(tmp_path, 1)[0, 0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("frames", [1, 4])
def test_images_of_different_sizes(tmp_path, frames):
    for number in range(4):
        Image.new("RGB", (20 + number, 12)).save(tmp_path / f"{number}.png")
    assert read_clip(tmp_path, frames, (6, 6)).shape == (frames, 6, 6, 3)
    if frames > 1:
        with pytest.raises(VideoError, match=r"different sizes.*give a target_size"):
            read_clip(tmp_path, frames)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": 0}, "frames must be a positive int or None"),
        ({"frames": -3}, "got -3"),
        ({"frames": 2.0}, "got 2.0"),
        ({"frames": True}, "got True"),
        ({"target_size": (0, 4)}, r"target_size must be \(height, width\)"),
        ({"target_size": 64}, "got 64"),
        ({"target_size": (4, 4, 3)}, "target_size"),
        ({"color_mode": "bgr"}, "color_mode must be 'rgb' or 'grayscale', got 'bgr'"),
        ({"short": "stretch"}, "short must be one of"),
    ],
)
def test_bad_arguments_are_told_before_the_file_is_looked_at(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_clip("/there/is/no/such/file.mp4", **arguments)
    assert not isinstance(caught.value, VideoError)


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("missing.mp4", lambda path: None, "no such file"),
        ("folder", lambda path: path.mkdir(), "a folder without images"),
        ("empty.mp4", lambda path: path.touch(), "zero bytes"),
        ("empty.gif", lambda path: path.touch(), "zero bytes"),
        ("text.mp4", lambda path: path.write_text("hello\n" * 99), "not a video that FFmpeg can read"),
        ("text.gif", lambda path: path.write_text("hello\n" * 99), "not a GIF that Pillow can read"),
        ("sound.mp4", files.write_sound, r"no moving pictures \(only audio\)"),
        ("song.mp4", files.write_song, r"no moving pictures \(only a cover picture, audio\)"),
        ("link.mp4", lambda path: path.symlink_to("nowhere"), "no such file"),
    ],
)
def test_unreadable_files_are_named_with_the_reason(tmp_path, name, make, reason):
    make(tmp_path / name)
    with pytest.raises(VideoError, match=f"{name}: .*{reason}"):
        read_clip(tmp_path / name)


def test_an_unreadable_image_is_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"2\.png: not an image"):
        read_clip(tmp_path, 2)


def test_a_truncated_file_without_its_header(clip10):
    data = clip10.read_bytes()
    clip10.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(VideoError, match=r"clip\.mp4: (not a video|holds no)"):
        read_clip(clip10)


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_what_decodes_of_a_damaged_tail_is_kept(tmp_path, suffix):
    path = tmp_path / f"damaged{suffix}"
    noise = np.random.default_rng(0).integers(-15, 16, (20, 64, 64, 3))
    write_clip(path, (files.numbered(20, 64, 64) + noise).clip(0, 255).astype(np.uint8))
    if suffix == ".mp4":
        files.damage_tail(path)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.warns(VideoWarning, match=rf"damaged\{suffix}: damaged after \d+ frames"):
        clip = read_clip(path, None)
    assert 5 <= len(clip) < 20
    assert files.numbers(clip) == list(range(len(clip)))


@pytest.mark.parametrize("name", ["a b.mp4", "-y.mp4", "движение 動画.mp4", "a:b.mp4", "p%03d.mp4", "UPPER.MP4"])
def test_names_that_could_be_mistaken(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_clip(name, files.numbered(3))
    assert files.numbers(read_clip(name, None)) == [0, 1, 2]


def test_nothing_spills_onto_the_terminal(tmp_path, capfd):
    write_clip(tmp_path / "damaged.mp4", np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8))
    files.damage_tail(tmp_path / "damaged.mp4")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_clip(tmp_path / "damaged.mp4")
    assert capfd.readouterr() == ("", "")
