"""Pictures of detections: the right boxes in the right colours, the right lines, and complete files."""

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw

from minivid import plots
from minivid.detection import ClipAnnotation, Detections, Truth
from minivid.plots.detections import (
    COLORS,
    MARGIN,
    STRIP,
    _draw_label,
    _iou_over_time_figure,
    _marks,
    _precision_recall_figure,
)
from minivid.plots.style import GREEN, ORANGE, RED

NAMES = ["disc", "square"]
FRAMES = np.full((2, 32, 48, 3), 128, np.uint8)
TRUTH = Truth(np.array([[2, 4, 12, 14], [20, 4, 30, 14], [34, 16, 46, 28]], np.float32), np.array([0, 1, 1]))
FOUND = Detections(  # the first object at IoU 90/100; the second as the wrong class; the third not at all
    np.array([[2, 4, 12, 13], [20, 4, 30, 14]], np.float32), np.array([0.9, 0.8]), np.array([0, 0])
)
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, int))
SCALE = 5


def color_at(picture, x, y):
    """The colour at a place of the frame, in pixels of the small clip."""
    return tuple(picture[round(MARGIN + SCALE * y), round(MARGIN + SCALE * x)].tolist())


def share_of(picture, color):
    return (picture == ImageColor.getrgb(color)).all(axis=-1).mean()


# --- boxes in clips --------------------------------------------------------------------------------------------


def test_boxes_are_drawn_in_their_colours():
    first, second = plots.draw_boxes(FRAMES, [FOUND, NOTHING], NAMES, [TRUTH, TRUTH], scale=SCALE)
    assert first.shape == (32 * SCALE + 2 * MARGIN + STRIP, 48 * SCALE + 2 * MARGIN, 3)
    assert color_at(first, 2, 8) == ImageColor.getrgb(GREEN)  # left sides
    assert color_at(first, 30, 10) == ImageColor.getrgb(ORANGE)  # right side: the wrong class
    assert share_of(first, RED) > 0.001
    assert color_at(first, 7, 9) == color_at(first, 25, 9) == (128, 128, 128)  # the objects themselves stay free
    assert share_of(second, GREEN) < 0.001  # only the sign in the legend, empty
    assert share_of(second, RED) > share_of(first, RED)


def test_marks_are_judged_by_class():
    marks, true_boxes = _marks(FOUND, TRUTH, NAMES, 0.5, SCALE)
    kinds = [(mark.text, mark.kind) for mark in marks]
    assert kinds == [("square", "missed"), ("square", "missed"), ("disc 0.90", "found"), ("disc 0.80", "false")]
    assert true_boxes == [tuple(MARGIN + SCALE * side for side in (2, 4, 12, 14))]
    strict, _ = _marks(FOUND, TRUTH, NAMES, 0.95, SCALE)
    assert [mark.kind for mark in strict] == ["missed"] * 3 + ["false"] * 2


def test_ignored_regions_are_neither_missed_nor_false():
    truth = TRUTH._replace(classes=np.array([0, 0, 1]), ignored=np.array([False, True, True]))
    marks, _ = _marks(FOUND, truth, NAMES, 0.5, SCALE)
    assert [mark.kind for mark in marks] == ["found", "ignored"]


def test_without_truth_all_are_detected():
    (first, _) = plots.draw_boxes(FRAMES[..., :1] / 255, [FOUND, NOTHING], NAMES, scale=SCALE)
    assert color_at(first, 2, 8) == color_at(first, 30, 10) == ImageColor.getrgb(COLORS["detected"])
    assert share_of(first, RED) == share_of(first, GREEN) == 0


def test_labels_find_room():
    """The label of a box stays out of every box where there is room, and on the canvas."""
    draw = ImageDraw.Draw(Image.new("RGB", (300, 200)))
    marks, _ = _marks(FOUND, TRUTH, NAMES, 0.5, SCALE)
    boxes = [mark.box for mark in marks]
    for mark in marks:
        x1, y1, x2, y2 = _draw_label(draw, mark, [box for box in boxes if box != mark.box], (300, 200))
        assert 0 <= x1 < x2 <= 300
        assert 0 <= y1 < y2 <= 200
        assert all(x2 <= b[0] or x1 >= b[2] or y2 <= b[1] or y1 >= b[3] for b in boxes)


@pytest.mark.parametrize("size", [(31, 33), (32, 640)])
def test_clips_are_large_and_even(size):
    frames = np.zeros((1, *size, 3), np.uint8)
    clip = plots.draw_boxes(frames, [NOTHING], NAMES)
    assert clip.dtype == np.uint8
    assert clip.shape[1] % 2 == clip.shape[2] % 2 == 0
    assert clip.shape[2] >= 320


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detections": [FOUND]}, "there are 2 frames, but 1 detections"),
        ({"truths": [TRUTH]}, "there are 2 frames, but 1 truths"),
        ({"class_names": ["disc"], "truths": [TRUTH] * 2}, "truths have class 1, but there are 1 class names"),
        ({"scale": 0}, "scale must be a positive int, got 0"),
        ({"frames": FRAMES[0]}, r"frames must be \(time, height, width, 3 or 1\)"),
    ],
)
def test_draw_boxes_refuses(arguments, message):
    usual = {"frames": FRAMES, "detections": [FOUND, NOTHING], "class_names": NAMES}
    with pytest.raises(ValueError, match=message):
        plots.draw_boxes(**usual | arguments)


# --- precision over recall -------------------------------------------------------------------------------------


def test_precision_recall_draws_the_curve():
    """Of class 0: one of two objects found, then a false detection. Class 1 has one object, which nobody finds."""
    truth = TRUTH._replace(classes=np.array([0, 1, 0]))
    axes = _precision_recall_figure([FOUND], [truth], NAMES, 0.5).axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.get_lines()}
    np.testing.assert_allclose(lines[f"disc  {51 / 101:.3f}"], [[0, 1], [0.5, 1], [0.5, 0.5]])
    assert lines["square  0.000"][:, 0].tolist() == [0]
    assert axes.get_title(loc="left") == f"mAP@0.5 = {51 / 202:.3f}"


def test_equal_f1_is_the_harmonic_mean():
    axes = _precision_recall_figure([FOUND], [TRUTH], NAMES, 0.5).axes[0]
    x, y = axes.get_lines()[0].get_xydata().T
    np.testing.assert_allclose(2 * x * y / (x + y), 0.2)
    assert y.max() == pytest.approx(1)


def test_precision_recall_without_objects():
    with pytest.raises(ValueError, match="no class has objects"):
        _precision_recall_figure([FOUND], [TRUTH._replace(ignored=np.ones(3, bool))], NAMES, 0.5)


# --- overlap over time -----------------------------------------------------------------------------------------


def an_annotation(**changes):
    ids = [np.array([4, 5, 6])] * 2
    seen = [np.ones(3), np.array([1, 0.1, 1])]
    return ClipAnnotation("ann.mp4", (32, 48), [TRUTH, TRUTH], ids, seen)._replace(**changes)


def test_iou_over_time_has_a_panel_for_every_object():
    right = Detections(TRUTH.boxes, np.ones(3), TRUTH.classes)
    figure = _iou_over_time_figure({"a": [FOUND, NOTHING], "b": [right, right]}, an_annotation(), NAMES, FRAMES, 0.5)
    thumbnails, *panels = figure.axes
    assert len(thumbnails.get_images()) == 2
    assert [axes.get_title(loc="left") for axes in panels] == ["disc, object 4", "square, object 5", "square, object 6"]
    values = [[line.get_ydata().tolist() for line in axes.get_lines()[:2]] for axes in panels]
    assert values[0] == [[pytest.approx(0.9), 0], [1, 1]]
    assert values[1] == [[0, 0], [1, 1]]  # found as the wrong class
    shaded = [[patch.get_x() for patch in axes.patches] for axes in panels]
    assert shaded == [[], [0.5], []]  # frame 1, from 0.5 to 1.5


@pytest.mark.parametrize("tracks", [None, [np.arange(3), np.arange(7, 13)[:3]]])
def test_iou_over_time_without_tracks_is_the_mean(tracks):
    figure = _iou_over_time_figure({"a": [FOUND, NOTHING]}, an_annotation(tracks=tracks), NAMES, None, 0.5)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    if tracks is None:
        assert titles == ["mean of all objects"]
        np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_ydata(), [0.9 / 3, 0])
    else:
        assert len(titles) == 6  # each object is there in one of two frames


def test_iou_over_time_refuses():
    with pytest.raises(ValueError, match="there are 2 frames, but 1 detections"):
        _iou_over_time_figure({"a": [FOUND]}, an_annotation(), NAMES, None, 0.5)
    with pytest.raises(ValueError, match="the annotation has 2 frames, but the clip has 1"):
        _iou_over_time_figure({"a": [FOUND] * 2}, an_annotation(), NAMES, FRAMES[:1], 0.5)
    empty = Truth(np.zeros((0, 4)), np.zeros(0, int))
    bare = an_annotation(frames=[empty] * 2, tracks=None, visibility=[np.zeros(0)] * 2)
    with pytest.raises(ValueError, match=r"ann\.mp4 has no objects"):
        _iou_over_time_figure({"a": [NOTHING] * 2}, bare, NAMES, None, 0.5)


# --- files -----------------------------------------------------------------------------------------------------

DRAWINGS = {
    "precision_recall_curves": lambda path: plots.precision_recall_curves([FOUND], [TRUTH], NAMES, path),
    "iou_over_time": lambda path: plots.iou_over_time({"$a$": [FOUND] * 2}, an_annotation(), NAMES, path, FRAMES),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_writes_one_complete_png_always_the_same(tmp_path, name):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    assert DRAWINGS[name](first) == first
    DRAWINGS[name](second)
    assert sorted(tmp_path.iterdir()) == [first, second]
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as picture:
        assert picture.format == "PNG"
        assert 300 < picture.width < 2000
