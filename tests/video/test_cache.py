"""Decoded clips are kept, found again, and never the wrong ones."""

import os

import numpy as np
import pytest
from PIL import Image

from minivid.video import clips_from_directory, read_clip, sequence, write_clip
from minivid.video.cache import ClipCache
from tests.video import files

SMALL = {"frames": 3, "target_size": (16, 16), "shuffle": False}


@pytest.fixture
def folder(tmp_path):
    return files.class_folders(tmp_path / "clips", clips=2)


@pytest.fixture
def decoded(monkeypatch):
    """Count the files that are decoded."""
    paths = []

    def counting(path, **settings):
        paths.append(path.name)
        return read_clip(path, **settings)

    monkeypatch.setattr(sequence, "read_clip", counting)
    return paths


def test_files_are_decoded_once(folder, decoded):
    first = clips_from_directory(folder, **SMALL)
    x, _ = first[0]
    assert len(decoded) == 4
    again, _ = clips_from_directory(folder, **SMALL)[0]
    assert len(decoded) == 4
    np.testing.assert_array_equal(x, again)


def test_the_environment_names_the_folder(folder, decoded):
    clips_from_directory(folder, **SMALL)
    kept = [name for _, _, names in os.walk(os.environ["MINIVID_CACHE_DIR"]) for name in names]
    assert len(kept) == 4
    assert all(name.endswith(".npy") for name in kept)


@pytest.mark.parametrize(
    "change", [{"frames": 2}, {"target_size": (8, 16)}, {"target_size": (16, 8)}, {"color_mode": "grayscale"}]
)
def test_other_settings_are_decoded_anew(folder, decoded, change):
    clips_from_directory(folder, **SMALL)
    x, _ = clips_from_directory(folder, **{**SMALL, **change})[0]
    assert len(decoded) == 8
    settings = {key: value for key, value in {**SMALL, **change}.items() if key != "shuffle"}
    assert x.shape[1:] == read_clip(folder / "jump" / "ann_0.mp4", **settings).shape


def test_a_new_time_is_decoded_anew(folder, decoded):
    clips_from_directory(folder, **SMALL)
    path = folder / "jump" / "ann_0.mp4"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    clips_from_directory(folder, **SMALL)
    assert decoded[4:] == ["ann_0.mp4"]


def test_a_replaced_file_is_decoded_anew(folder, decoded):
    clips_from_directory(folder, **SMALL)
    path = folder / "jump" / "ann_0.mp4"
    time = path.stat().st_mtime_ns
    write_clip(path, np.full((6, 16, 16, 3), 220, dtype=np.uint8))
    os.utime(path, ns=(time, time))  # even if it claims to be as old: its size differs
    x, _ = clips_from_directory(folder, **SMALL)[0]
    assert x[0].min() > 0.8


def test_a_changed_image_of_a_folder_is_decoded_anew(tmp_path, decoded):
    for name in ("a", "b"):
        (tmp_path / "clips" / name / "clip").mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8)).save(tmp_path / "clips" / name / "clip" / f"{number}.png")
    clips_from_directory(tmp_path / "clips", **SMALL)
    changed = tmp_path / "clips" / "a" / "clip" / "1.png"
    Image.new("RGB", (8, 8), (255, 255, 255)).save(changed)
    os.utime(changed, ns=(0, 1))
    x, _ = clips_from_directory(tmp_path / "clips", **SMALL)[0]
    assert x[0].mean(axis=(1, 2, 3)).tolist() == [0, 1, 0]


def test_files_of_one_name_in_two_folders_are_two(tmp_path):
    for name, value in (("first", 40), ("second", 200)):
        for label in ("a", "b"):
            (tmp_path / name / label).mkdir(parents=True)
            write_clip(tmp_path / name / label / "clip.mp4", np.full((3, 16, 16, 3), value, dtype=np.uint8))
    means = [clips_from_directory(tmp_path / name, **SMALL)[0][0].mean() * 255 for name in ("first", "second")]
    assert means == pytest.approx([40, 200], abs=3)


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", b"hello", None])
def test_a_damaged_entry_is_made_anew(folder, decoded, tmp_path, damage):
    good, _ = clips_from_directory(folder, **SMALL, cache_dir=tmp_path / "cache")[0]
    for entry in (tmp_path / "cache").iterdir():
        entry.write_bytes(entry.read_bytes()[:-100] if damage is None else damage)
    again, _ = clips_from_directory(folder, **SMALL, cache_dir=tmp_path / "cache")[0]
    np.testing.assert_array_equal(good, again)
    assert len(decoded) == 8
    clips_from_directory(folder, **SMALL, cache_dir=tmp_path / "cache")
    assert len(decoded) == 8


def test_pickles_are_not_loaded(folder, decoded, tmp_path):
    clips_from_directory(folder, **SMALL, cache_dir=tmp_path / "cache")
    for entry in (tmp_path / "cache").iterdir():
        with entry.open("wb") as file:
            np.save(file, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    clips_from_directory(folder, **SMALL, cache_dir=tmp_path / "cache")
    assert len(decoded) == 8


def test_a_cache_that_is_emptied_meanwhile(folder, tmp_path):
    clips = clips_from_directory(folder, **SMALL, cache_dir=tmp_path / "cache")
    x, _ = clips[0]
    for entry in (tmp_path / "cache").iterdir():
        entry.unlink()
    np.testing.assert_array_equal(clips[0][0], x)


def test_where_nothing_can_be_written_clips_stay_in_memory(folder, decoded, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.warns(UserWarning, match="clips stay in memory: .*cache cannot be written to") as caught:
        clips = clips_from_directory(folder, **SMALL, cache_dir=tmp_path / "cache")
    assert len(caught) == 1
    clips[0]
    assert len(decoded) == 4


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    cache = ClipCache(tmp_path)
    clip = np.ones((2, 4, 4, 1), dtype=np.uint8)
    with pytest.warns(UserWarning, match="disk full"):
        assert cache.get("key", lambda: clip) is clip
    assert not list(tmp_path.iterdir())
