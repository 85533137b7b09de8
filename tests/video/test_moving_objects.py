"""Moving objects: the truth is where the pictures are, hidden objects stay in it, and files are all there or none."""

import sys

import numpy as np
import pytest

from minivid.detection import read_annotations
from minivid.video import OBJECTS, moving_objects, read_clip, write_moving_objects
from minivid.video.moving_objects import CLEAR_FRAMES, _coverage, _dropped_frames, _paths, _visible_shares

MODULE = sys.modules[moving_objects.__module__]


def test_shapes_and_counts():
    x, annotations = moving_objects(clips=30, frames=10, size=(32, 48), seed=0)
    assert (x.shape, x.dtype) == ((30, 10, 32, 48, 3), np.uint8)
    counts = {len(annotation.frames[0].boxes) for annotation in annotations}
    assert counts == {1, 2, 3}
    assert {int(k) for annotation in annotations for k in annotation.frames[0].classes} == {0, 1, 2}
    for annotation in annotations:
        assert annotation.size == (32, 48)
        assert len(annotation.frames) == len(annotation.tracks) == len(annotation.visibility) == 10
        for truth, ids, seen in zip(annotation.frames, annotation.tracks, annotation.visibility, strict=True):
            assert truth.boxes.dtype == np.float32
            assert len(truth.boxes) == len(truth.classes) == len(seen) == len(ids)
            assert (truth.boxes[:, :2] >= 0).all()
            assert (truth.boxes[:, 2:] <= [48, 32]).all()
            assert ((seen >= 0) & (seen <= 1)).all()


def test_a_seed_decides_everything():
    (x, a), (y, b), (z, _) = (moving_objects(3, 6, (32, 32), seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(a[2].frames[4].boxes, b[2].frames[4].boxes)
    assert (x != z).any()


@pytest.mark.parametrize("name", OBJECTS)
def test_boxes_are_tight(name):
    """What is at least half covered lies inside the box, and comes within a pixel of each of its sides."""
    k, radius, size = OBJECTS.index(name), 8.0, (48, 64)
    centre = np.array([[20.3, 31.8]])
    (coverage,) = _coverage(name, centre, radius, size)
    rows, columns = np.nonzero(coverage >= 0.5)
    half = MODULE.HALF_SIDES[k] * radius
    top, left, bottom, right = *(centre[0] - half), *(centre[0] + half)
    for first, last, low, high in ((rows.min(), rows.max(), top, bottom), (columns.min(), columns.max(), left, right)):
        assert low - 0.51 <= first <= low + 1.51  # the tip of the triangle is narrower than a pixel
        assert high - 1.51 <= last + 1 <= high + 0.51


def test_areas_are_those_of_geometry():
    """Sum of the coverage: π r², (2 · 0.88 r)², and half of 2.1 r times 1.9 r."""
    areas = [_coverage(name, np.array([[24.2, 23.9]]), 9.0, (48, 48)).sum() / 81 for name in OBJECTS]
    np.testing.assert_allclose(areas, [np.pi, 1.76**2, 2.1 * 1.9 / 2], rtol=0.02)


def test_boxes_are_where_the_pictures_are():
    """With nothing hidden, the brightest channel inside the boxes is far above that outside."""
    x, annotations = moving_objects(clips=6, frames=6, size=(48, 48), seed=1, dropped=0, occluders=0)
    for clip, annotation in zip(x.max(axis=-1).astype(float), annotations, strict=True):
        for picture, truth in zip(clip, annotation.frames, strict=True):
            inside = np.zeros(picture.shape, bool)
            for x1, y1, x2, y2 in truth.boxes.round().astype(int):
                inside[y1:y2, x1:x2] = True
                assert picture[(y1 + y2) // 2, (x1 + x2) // 2] > 180
            assert np.percentile(picture[~inside], 95) < 130


def test_objects_go_straight_on_and_bounce():
    """Between 2 and 10, from 2 + 8/4 = 4, 3 to the right a frame: 4, 7, 10; then 13 comes back to 7, 4, and 1 to 3."""

    class Chosen:
        """Starts at a quarter of the room, moves to the right, 3 pixels a frame (of 32 pixels, so here 3 · 12 / 32)."""

        def uniform(self, low, high, shape):
            return {1: np.full((1, 2), 0.25), 2 * np.pi: np.zeros(1), 1.6: np.array([3 * 32 / 12])}[high]

    centres = _paths(np.full((1, 2), 2.0), 6, (12, 12), Chosen())  # rows and columns
    np.testing.assert_allclose(centres[:, 0, 1], [4, 7, 10, 7, 4, 3])
    np.testing.assert_allclose(centres[:, 0, 0], 4)


def test_what_is_in_front_hides():
    """Two layers of four pixels: the second covers half of the first pixel and all of the second."""
    first, second = np.array([[[1.0, 1, 0, 0]]]), np.array([[[0.5, 1, 1, 0]]])
    np.testing.assert_allclose(_visible_shares([first, second]), [[0.25, 1]])


@pytest.mark.parametrize("share", [0.0, 0.15, 0.4])
def test_dropped_frames_are_the_share_and_the_first_are_clear(share):
    rng = np.random.default_rng(0)
    lost = np.array([_dropped_frames(16, share, rng) for _ in range(400)])
    assert not lost[:, :CLEAR_FRAMES].any()
    assert abs(lost.mean() - share) < 0.01


def test_dropped_frames_keep_their_truth_and_cannot_be_seen():
    x, annotations = moving_objects(clips=20, frames=12, size=(32, 32), seed=2, dropped=0.3, occluders=0)
    for clip, annotation in zip(x, annotations, strict=True):
        lost = np.array([seen.max() == 0 for seen in annotation.visibility])
        assert not lost[:CLEAR_FRAMES].any()
        assert len({len(truth.boxes) for truth in annotation.frames}) == 1
        for picture in clip[lost].astype(float):  # grey with a little noise, or noise: the same everywhere
            blocks = picture.mean(axis=-1).reshape(4, 8, 4, 8).mean(axis=(1, 3))
            assert np.ptp(blocks) < 50
    assert lost.any()


def test_a_bar_hides_objects():
    hidden = [
        np.mean([np.concatenate(a.visibility).min() < 0.3 for a in annotations])
        for _, annotations in (moving_objects(40, 16, (32, 32), seed=3, dropped=0, occluders=o) for o in (0, 1))
    ]
    assert hidden[1] > hidden[0] + 0.4


@pytest.mark.parametrize(
    "arguments",
    [{"clips": 0}, {"frames": 0}, {"size": (30, 48)}, {"size": (33, 48)}, {"dropped": 1.0}, {"occluders": -0.1}],
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=r"moving_objects needs|must be shares"):
        moving_objects(**arguments)


SETTINGS = {"clips": 3, "frames": 5, "size": (32, 48)}


def test_the_files_hold_clips_and_truth(tmp_path):
    folder = write_moving_objects(tmp_path / "deep" / "objects", **SETTINGS, seed=4)
    x, expected = moving_objects(**SETTINGS, seed=4)
    names, found = read_annotations(folder)
    assert names == list(OBJECTS)
    for n in range(3):
        clip = read_clip(found[n].path, None)
        assert np.abs(clip.mean(axis=-1) - x[n].mean(axis=-1)).mean() < 8  # 4:2:0 halves the colour's resolution
        for a, b in zip(found[n].frames, expected[n].frames, strict=True):
            np.testing.assert_allclose(a.boxes, b.boxes, atol=2e-3)
            np.testing.assert_array_equal(a.classes, b.classes)
        for a, b in zip(found[n].visibility, expected[n].visibility, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3)
        assert [ids.tolist() for ids in found[n].tracks] == [ids.tolist() for ids in expected[n].tracks]


def test_a_complete_set_is_kept_and_another_refused(tmp_path):
    folder = write_moving_objects(tmp_path / "objects", **SETTINGS)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    write_moving_objects(folder, **SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    with pytest.raises(FileExistsError, match=r"'dropped': 0\.4.*choose another folder"):
        write_moving_objects(folder, **SETTINGS, dropped=0.4)
    (tmp_path / "photos").mkdir()
    with pytest.raises(FileExistsError, match="photos holds something else"):
        write_moving_objects(tmp_path / "photos", **SETTINGS)


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    folders = [write_moving_objects(tmp_path / name, **SETTINGS, seed=9) for name in ("a", "b")]
    first, second = ([path.read_bytes() for path in sorted(folder.iterdir())] for folder in folders)
    assert len(first) == 7
    assert first == second


def test_an_interrupted_set_leaves_nothing(tmp_path, monkeypatch):
    written = []

    def write_two(path, clip):
        written.append(path)
        if len(written) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(MODULE, "write_clip", write_two)
    with pytest.raises(KeyboardInterrupt):
        write_moving_objects(tmp_path / "objects", **SETTINGS)
    assert not list(tmp_path.iterdir())
