"""Rows of predicted frames: the right frame at the right place, seen and predicted told apart."""

import numpy as np
import pytest
from PIL import Image

from minivid.plots import prediction_clip, prediction_rows
from minivid.plots.rows import _prediction_rows_figure
from minivid.plots.style import BLUE, ORANGE
from minivid.video import write_clip


def rgb(color):
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def brightening(T, size=(8, 12)):
    """Frame t is t/10 everywhere."""
    return np.broadcast_to((np.arange(T) / 10)[:, None, None, None], (T, *size, 1))


@pytest.fixture
def rows():
    truth = brightening(6)
    return {"truth": truth, "prediction": truth[4:] + 0.1, "error": np.full((2, 8, 12, 1), 0.1)}


def test_a_complete_png(rows, tmp_path):
    path = prediction_rows(rows, tmp_path / "rows.png", seen=4, title="a clip that costs $5")
    with Image.open(path) as picture:
        assert picture.width > 200
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.png"]


def test_each_frame_stands_at_its_time(rows):
    truth, prediction, _ = _prediction_rows_figure(rows, 4, None).axes
    np.testing.assert_allclose([image.get_array().mean() for image in truth.images], np.arange(6) / 10)
    np.testing.assert_allclose([image.get_array().mean() for image in prediction.images], [0.5, 0.6])
    assert [image.get_extent()[0] for image in prediction.images] == [
        image.get_extent()[0] for image in truth.images[4:]
    ]
    gaps = np.diff([image.get_extent()[0] for image in truth.images])
    assert gaps[3] > gaps[2] == pytest.approx(gaps[0])  # between seen and predicted


def test_steps_are_numbered_from_the_first_predicted_one(rows):
    axes = _prediction_rows_figure(rows, 4, None).axes[-1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4", "+1", "+2"]
    assert [text.get_text() for text in axes.texts] == ["seen", "predicted"]
    axes = _prediction_rows_figure(rows, 0, None).axes[-1]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4", "5", "6"]


def test_long_clips_show_some_frames_and_the_last():
    axes = _prediction_rows_figure({"truth": np.zeros((50, 8, 8, 1))}, 10, None).axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert len(labels) == 17  # every third of 50
    assert labels[-1] == "+40"


def test_movie_shows_each_clip_when_it_has_frames(rows, tmp_path):
    movie = prediction_clip(rows, seen=4, scale=10)
    assert movie.shape == (6, 22 + 80 + 8 + 22, 8 + 3 * 128, 3)
    middle = 22 + 40
    for t in range(6):
        assert (movie[t, middle, 8 + 60] == round(t * 25.5)).all()
    blank = movie[0, middle, 8 + 128 + 60]
    assert (movie[3, middle, 8 + 128 + 60] == blank).all()
    assert (movie[4, middle, 8 + 128 + 60] == 128).all()  # 0.5 · 255, rounded to even
    assert (movie[5, middle, 8 + 128 + 60] == 153).all()
    write_clip(tmp_path / "rows.mp4", movie)
    write_clip(tmp_path / "rows.gif", movie)


def test_movie_tells_seen_from_predicted_frames(rows):
    movie = prediction_clip(rows, seen=4, scale=10)
    line = movie[:, 22 + 80 + 8 + 1]  # (T, width, 3)
    blue, orange = ((line == rgb(color)).all(axis=2).sum(axis=1) for color in (BLUE, ORANGE))
    assert (np.diff(blue[:4]) > 0).all()
    assert (orange[:4] == 0).all()
    assert 0 < orange[4] < orange[5]
    assert blue[4] == blue[5] == blue[3]


def test_error_is_black_where_there_is_none_and_bright_where_it_is_large():
    axes = _prediction_rows_figure({"error": np.linspace(0, 1, 4).reshape(4, 1, 1, 1)}, 0, None).axes[0]
    brightness = [image.get_array().mean() for image in axes.images]
    assert brightness[0] == 0
    assert brightness[-1] > 0.9
    assert (np.diff(brightness) > 0).all()


@pytest.mark.parametrize(("W", "T", "enlarged"), [(32, 20, 2), (16, 6, 7), (64, 12, 1)])
def test_every_pixel_of_a_small_frame_becomes_a_square(W, T, enlarged, tmp_path):
    clip = np.random.default_rng(W).integers(256, size=(T, W, W, 1), dtype=np.uint8)
    with Image.open(prediction_rows({"a long name": clip, "truth": clip}, tmp_path / "a.png", seen=2)) as picture:
        found = np.asarray(picture.convert("L")).astype(int)
    want = clip[1, :, :, 0].repeat(enlarged, axis=0).repeat(enlarged, axis=1).astype(int)
    places = np.lib.stride_tricks.sliding_window_view(found[: len(want) + 40], want.shape)  # the first row, somewhere
    starts = np.argwhere(np.abs(places[:, :, 0, :].astype(int) - want[0]).max(axis=-1) <= 1)
    assert any(np.abs(places[row, column] - want).max() <= 1 for row, column in starts)


def test_frames_keep_their_size_whatever_the_names_are(rows):
    long = {f"{name}, of a model with a very long name": clip for name, clip in rows.items()}
    sizes = [_prediction_rows_figure(named, 4, "title").get_size_inches() for named in (rows, long)]
    np.testing.assert_array_equal(*sizes)


def test_the_error_has_a_scale(rows):
    *others, error = _prediction_rows_figure(rows, 4, None).axes
    (scale,) = error.child_axes
    assert [label.get_text() for label in scale.get_yticklabels()] == ["0", "1"]
    assert not any(axes.child_axes for axes in others)


def test_a_long_name_stays_above_its_own_clip(rows):
    truth = rows["truth"]
    short, long = (prediction_clip({"truth": truth, name: truth, "b": truth}, scale=8) for name in ("", "m" * 60))
    changed = np.flatnonzero((short[0] != long[0]).any(axis=(0, 2)))
    assert 8 + 96 + 8 <= changed.min() < changed.max() < 8 + 2 * 96 + 8


def test_the_empty_panel_has_the_size_of_the_clip():
    clip = np.full((2, 5, 7, 1), 1.0)  # height 22 + 15 + 30 is odd
    movie = prediction_clip({"truth": clip, "prediction": clip[1:]}, seen=1, scale=3)
    assert movie.shape[1] == 68
    left = 8 + 21 + 8
    panel = (movie[0, :, left] == movie[0, 22, left]).all(axis=-1)
    np.testing.assert_array_equal(np.flatnonzero(panel), np.arange(22, 22 + 15))


@pytest.mark.parametrize(
    ("rows", "seen", "said"),
    [
        ({}, 0, "no rows to draw"),
        ({"a": np.zeros((4, 8, 8, 1)), "b": np.zeros((4, 8, 9, 1))}, 0, r"one size, got \[\(8, 8\), \(8, 9\)\]"),
        ({"a": np.zeros((4, 8, 8, 1))}, 4, "seen must be from 0 to 3, for clips of 4 frames, got 4"),
        ({"a": np.zeros((4, 8, 8, 1))}, -1, "seen must be from 0 to 3"),
        ({"a": np.full((4, 8, 8, 1), 2.0)}, 0, "floats from 0 to 1"),
    ],
)
def test_rows_that_cannot_be_drawn(rows, seen, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        prediction_rows(rows, tmp_path / "rows.png", seen)
    with pytest.raises(ValueError, match=said):
        prediction_clip(rows, seen)
    assert not list(tmp_path.iterdir())


def test_scale_below_one():
    with pytest.raises(ValueError, match="scale must be a positive int, got 0"):
        prediction_clip({"a": np.zeros((4, 8, 8, 1))}, scale=0)
