"""Moving shapes: the motion is the class, and one frame does not give it away."""

import json
import sys

import numpy as np
import pytest

from minivid.video import MOTIONS, moving_shapes, read_clip, write_moving_shapes


def shape_pixels(x: np.ndarray) -> np.ndarray:
    """Return where the bright shape is, (N, T, H, W) of 0 and 1; the background stays below 40 %."""
    return (x.max(axis=-1) > 150).astype(float)


def torus_position(x: np.ndarray) -> np.ndarray:
    """Return the shape's centre as complex angles around the torus, (N, T, 2): rows, columns."""
    mask = shape_pixels(x)
    H, W = mask.shape[2:]
    rows = np.einsum("nthw,h->nt", mask, np.exp(2j * np.pi * np.arange(H) / H))
    columns = np.einsum("nthw,w->nt", mask, np.exp(2j * np.pi * np.arange(W) / W))
    return np.stack([rows, columns], axis=-1)


def steps(x: np.ndarray) -> np.ndarray:
    """Return the pixels that the shape moves per step, (N, T−1, 2), worked from the pictures alone."""
    position = torus_position(x)
    return np.angle(position[:, 1:] * position[:, :-1].conj()) / (2 * np.pi) * np.array(x.shape[2:4])


def test_every_class_moves_as_its_name_says():
    x, y = moving_shapes(60, frames=12, size=(32, 40), seed=0)
    moves = steps(x)
    mean = moves.mean(axis=1)  # (N, 2)
    for name, axis, sign in (("down", 0, 1), ("up", 0, -1), ("right", 1, 1), ("left", 1, -1)):
        of_class = mean[y == MOTIONS.index(name)]
        assert (sign * of_class[:, axis] > 0.5).all()
        assert np.abs(of_class[:, 1 - axis]).max() < 0.2
    assert np.abs(moves[y == MOTIONS.index("still")]).max() < 0.5
    jumps = moves[y == MOTIONS.index("jump")]
    assert (jumps.std(axis=1) > 3).all()  # uniform over 32 pixels has √(32²/12) = 9


@pytest.mark.parametrize("t", [0, 7, 15])
def test_one_frame_says_nothing_about_the_class(t):
    x, y = moving_shapes(1200, frames=16, size=(16, 16), seed=1)
    pictures = x[:, t].reshape(len(x), -1) / 255.0
    train, test = slice(0, 600), slice(600, None)
    means = np.stack([pictures[train][y[train] == k].mean(axis=0) for k in range(len(MOTIONS))])
    distance = ((pictures[test][:, None] - means) ** 2).sum(axis=-1)
    accuracy = (distance.argmin(axis=1) == y[test]).mean()
    assert accuracy < 0.23  # chance is 1/6; √(1/6·5/6/600) = 0.015, so this is four standard deviations above


@pytest.mark.parametrize("t", [0, 7, 15])
def test_the_centre_is_uniform_in_every_class(t):
    x, y = moving_shapes(1200, frames=16, size=(16, 16), seed=2)
    position = torus_position(x)[:, t]
    unit = position / np.abs(position)
    for k in range(len(MOTIONS)):
        # The mean of 200 uniform unit vectors has length √(1/200) = 0.07 on average; 0.25 has probability e^−12.5.
        assert np.abs(unit[y == k].mean(axis=0)).max() < 0.25


def test_size_and_colour_do_not_depend_on_the_class():
    x, y = moving_shapes(1200, frames=2, size=(16, 16), seed=3)
    area, colour = shape_pixels(x).sum(axis=(2, 3))[:, 0], x[:, 0].mean(axis=(1, 2))
    for values in (area, *colour.T):
        groups = [values[y == k] for k in range(len(MOTIONS))]
        between = 200 * np.var([group.mean() for group in groups], ddof=1)
        within = np.mean([np.var(group, ddof=1) for group in groups])
        assert between / within < 4.2  # F(5, 1194): exceeded by chance once in a thousand


def test_the_seed_decides_everything():
    first, again, other = (moving_shapes(12, 4, (16, 16), seed)[0] for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_shape_dtype_and_balance():
    x, y = moving_shapes(13, frames=5, size=(16, 20), seed=0)
    assert x.shape == (13, 5, 16, 20, 3)
    assert x.dtype == np.uint8
    assert y.dtype == np.int64
    assert np.bincount(y).tolist() == [3, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("arguments", [{"clips": 0}, {"frames": 0}, {"size": (8, 32)}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="moving_shapes needs"):
        moving_shapes(**arguments)


SETTINGS = {"clips_per_class": 2, "frames": 5, "size": (16, 16)}


def test_the_files_hold_the_clips(tmp_path):
    folder = write_moving_shapes(tmp_path / "deep" / "shapes", **SETTINGS, seed=4)
    x, y = moving_shapes(2 * len(MOTIONS), 5, (16, 16), seed=4)
    assert sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) == sorted(MOTIONS)
    for k, name in enumerate(MOTIONS):
        found = np.stack([read_clip(path, None) for path in sorted((folder / name).glob("*.mp4"))])
        assert found.shape == (2, 5, 16, 16, 3)
        # 4:2:0 halves the colour's resolution, so compare brightness
        assert np.abs(found.mean(axis=-1) - x[y == k].mean(axis=-1)).mean() < 8


def test_a_complete_set_is_kept_and_another_refused(tmp_path):
    folder = write_moving_shapes(tmp_path / "shapes", **SETTINGS)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_moving_shapes(folder, **SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    with pytest.raises(FileExistsError, match=r'"?seed"?.*choose another folder'):
        write_moving_shapes(folder, **SETTINGS, seed=1)
    (tmp_path / "photos").mkdir()
    with pytest.raises(FileExistsError, match="photos holds something else"):
        write_moving_shapes(tmp_path / "photos", **SETTINGS)


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    folders = [write_moving_shapes(tmp_path / name, **SETTINGS, seed=9) for name in ("a", "b")]
    first, second = ([path.read_bytes() for path in sorted(folder.rglob("*.mp4"))] for folder in folders)
    assert len(first) == 2 * len(MOTIONS)
    assert first == second


def test_an_interrupted_set_leaves_nothing(tmp_path, monkeypatch):
    module = sys.modules[write_moving_shapes.__module__]
    written = []

    def write_five(path, clip):
        written.append(path)
        if len(written) > 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_clip", write_five)
    with pytest.raises(KeyboardInterrupt):
        write_moving_shapes(tmp_path / "shapes", **SETTINGS)
    assert not list(tmp_path.iterdir())


def test_the_marker_is_hidden_json(tmp_path):
    folder = write_moving_shapes(tmp_path / "shapes", **SETTINGS, seed=3)
    (marker,) = (entry for entry in folder.iterdir() if entry.is_file())
    assert marker.name.startswith(".")
    assert json.loads(marker.read_text())["seed"] == 3
