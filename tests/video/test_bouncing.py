"""Bouncing shapes and digits: they fly straight, turn at the walls, and are the same for the same seed."""

import sys

import numpy as np
import pytest

from minivid.video import bouncing_digits, bouncing_shapes, read_clip, write_bouncing_shapes


def centres(x):
    """Return the centre of brightness, rows and columns, of each frame (N, T, 2)."""
    picture = x[..., 0].astype(float)
    total = picture.sum(axis=(2, 3))
    rows = np.einsum("nthw,h->nt", picture, np.arange(x.shape[2]) + 0.5) / total
    columns = np.einsum("nthw,w->nt", picture, np.arange(x.shape[3]) + 0.5) / total
    return np.stack([rows, columns], axis=-1)


def test_shapes_fly_straight_and_turn_at_the_walls():
    size = (32, 40)
    x = bouncing_shapes(40, 30, size, shapes=1, seed=0)
    assert x.shape == (40, 30, 32, 40, 1)
    assert x.dtype == np.uint8
    centre = centres(x)
    step = np.diff(centre, axis=1)  # (N, T−1, 2)
    inside = ((centre[:, 1:-1] > 9) & (centre[:, 1:-1] < np.array(size) - 9)).all(axis=2)  # no wall within reach
    turns = np.abs(np.diff(step, axis=1)).max(axis=2)
    assert turns[inside].max() < 0.4  # the brightness of edge pixels is not exactly their covered part
    assert turns.max() > 1  # some do turn
    assert np.hypot(*np.moveaxis(step, 2, 0)).max() < 2.2  # and none comes back elsewhere
    speed = np.hypot(*np.moveaxis(step[:, :-1], 2, 0))[inside]
    assert 0.8 < speed.min() < speed.max() < 2.2  # drawn from 1 to 2 pixels per frame


def test_shapes_stay_whole():
    x = bouncing_shapes(20, 40, (16, 24), shapes=1, seed=1)
    area = (x[..., 0].astype(float) / x.max(axis=(1, 2, 3, 4), keepdims=True)[..., 0]).sum(axis=(2, 3))  # (N, T)
    assert (area.std(axis=1) / area.mean(axis=1) < 0.05).all()


def test_the_brighter_shape_is_seen():
    x = bouncing_shapes(30, 30, shapes=3, seed=2)
    # The brightest of the three is never covered, and nothing adds to it: the brightest pixel stays the same.
    brightest = x.max(axis=(2, 3, 4))  # (N, T)
    np.testing.assert_array_equal(brightest, np.broadcast_to(brightest[:, :1], brightest.shape))
    assert (x > 100).sum() > 2 * (bouncing_shapes(30, 30, shapes=1, seed=2) > 100).sum()


def test_digits_take_a_tenth_of_the_way_per_frame_and_stop_at_the_wall():
    # One bright pixel in a frame of 101: the way from wall to wall has 100 pixels, a step 10 of them, rounded down.
    digit = np.full((1, 1, 1), 255, np.uint8)
    x = bouncing_digits(digit, 20, 60, (101, 101), digits_per_clip=1, seed=0)
    assert (x.reshape(20, 60, -1).astype(bool).sum(axis=2) == 1).all()
    place = centres(x) - 0.5  # (N, T, 2), whole pixels
    length = np.hypot(*np.moveaxis(np.diff(place, axis=1), 2, 0))
    between = ((place[:, 1:-1] > 11) & (place[:, 1:-1] < 89)).all(axis=2)
    assert np.abs(length[:, 1:][between] - 10).max() < 1.5  # rounding moves each end by less than a pixel
    assert place.min() == 0
    assert place.max() == 100
    assert length.max() < 11.5


def test_digits_turn_at_the_wall():
    x = bouncing_digits(np.full((1, 1, 1), 255, np.uint8), 20, 60, (101, 101), digits_per_clip=1, seed=0)
    place = np.moveaxis(centres(x) - 0.5, 2, 1).reshape(40, 60)  # each coordinate of each clip over time
    steps = np.abs(np.diff(place, axis=1))
    full = np.broadcast_to(steps.max(axis=1, keepdims=True), steps.shape)
    at_wall = (place[:, :-1] == 100) & (full >= 3)  # pixel 100 is the wall alone; pixel 0 is also just before it
    assert at_wall.sum() > 50
    assert (steps >= full - 1)[at_wall].all()  # a full step back, up to rounding
    stays = (place[:, :-2] == 0) & (place[:, 1:-1] == 0) & (place[:, 2:] == 0)
    assert not stays[full[:, 1:] >= 3].any()


def test_digits_overlap_by_their_maximum():
    dim, bright = np.full((1, 20, 20), 100, np.uint8), np.full((1, 20, 20), 200, np.uint8)
    x = bouncing_digits(np.concatenate([dim, bright]), 30, 10, (24, 24), digits_per_clip=4, seed=3)
    assert set(np.unique(x)) == {0, 100, 200}
    seen = (x == 200).sum(axis=(2, 3, 4))  # (N, T)
    assert (seen[(seen > 0).any(axis=1)] >= 20 * 20).all()  # a dim digit never covers a bright one


def test_digits_as_floats():
    digits = np.random.default_rng(0).random((3, 5, 7))
    as_bytes = np.round(digits * 255).astype(np.uint8)
    np.testing.assert_array_equal(
        bouncing_digits(digits, 2, 3, (16, 16), seed=1), bouncing_digits(as_bytes, 2, 3, (16, 16), seed=1)
    )


@pytest.mark.parametrize(
    "draw",
    [
        lambda seed: bouncing_shapes(3, 4, seed=seed),
        lambda seed: bouncing_digits(np.eye(5)[None], 3, 4, (16, 16), seed=seed),
    ],
)
def test_seed(draw):
    np.testing.assert_array_equal(draw(7), draw(7))
    assert (draw(7) != draw(8)).any()


def test_written_clips_are_the_drawn_ones(tmp_path):
    folder = write_bouncing_shapes(tmp_path / "a", clips=2, frames=5, size=(32, 32), seed=4)
    drawn = bouncing_shapes(2, 5, (32, 32), seed=4)
    for clip, path in zip(drawn, sorted(folder.glob("*.mp4")), strict=True):
        difference = np.abs(read_clip(path, 5).astype(int) - clip)
        assert difference.mean() < 4  # of 255; H.264 loses some
    assert write_bouncing_shapes(tmp_path / "a", clips=2, frames=5, size=(32, 32), seed=4) == folder
    with pytest.raises(FileExistsError, match="choose another folder"):
        write_bouncing_shapes(tmp_path / "a", clips=3, frames=5, size=(32, 32), seed=4)


def test_an_interrupted_set_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(path, clip):
        path.write_bytes(b"half a clip")
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules[write_bouncing_shapes.__module__], "write_clip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bouncing_shapes(tmp_path / "a", clips=2, frames=3, size=(16, 16))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [(0, 4), (4, 0), (4, 4, (8, 32)), (4, 4, (32, 32), 0)])
def test_shapes_refuse_small_numbers(arguments):
    with pytest.raises(ValueError, match="1 or more clips, frames and shapes, and sizes of 16 or more"):
        bouncing_shapes(*arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((np.zeros((28, 28)), 2, 4), r"D pictures of h x w pixels, got shape \(28, 28\)"),
        ((np.full((1, 28, 28), 255.0), 2, 4), "uint8, or floats from 0 to 1, got float64 up to 255"),
        ((np.zeros((1, 28, 28)), 2, 4, (20, 64)), r"28x28 pixels do not fit into frames of \(20, 64\)"),
        ((np.zeros((1, 28, 28)), 0, 4), "1 or more clips"),
    ],
)
def test_digits_refuse(arguments, said):
    with pytest.raises(ValueError, match=said):
        bouncing_digits(*arguments)
