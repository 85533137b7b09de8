import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivid.detection import read_annotations
from minivid.detection.moving_regions import moving_regions, write_moving_regions
from minivid.video import write_clip


def clip_of(*masks):
    """A clip whose background is 10, and 100 where a mask is set; more frames of background make it the median."""
    frames = [np.where(mask, 100, 10) for mask in masks]
    frames += [np.full_like(frames[0], 10)] * (len(masks) + 1)
    return np.stack(frames).astype(np.uint8)[..., None]


def boxes_of(mask, **options):
    return moving_regions(clip_of(mask), **{"closing": 0, "least_area": 0.0} | options)[0].boxes.tolist()


def picture(*rows):
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_regions_worked_by_hand():
    """Pixels that share a corner are one region; the largest comes first."""
    mask = picture(
        "##......",
        "##...#..",
        "..#...#.",
        "........",
    )
    assert boxes_of(mask) == [[0, 0, 3, 3], [5, 1, 7, 3]]
    assert boxes_of(mask, least_area=3 / 32) == [[0, 0, 3, 3]]  # 5 and 2 of 32 pixels
    assert boxes_of(mask, least_area=6 / 32) == []


def test_arms_that_meet_below_are_one_region():
    mask = picture("#.#.#", "#.#.#", "#####")
    assert boxes_of(mask) == [[0, 0, 5, 3]]


def test_gaps_are_closed():
    """A gap of 2 columns is closed by a square of 3; nothing grows, not at the frame's edge either."""
    mask = picture("##..##...", "##..##...")
    assert boxes_of(mask) == [[0, 0, 2, 2], [4, 0, 6, 2]]
    assert boxes_of(mask, closing=1) == [[0, 0, 6, 2]]


def test_threshold():
    """The difference is 90."""
    mask = picture("##", "##")
    assert boxes_of(mask, threshold=90) == [[0, 0, 2, 2]]
    assert boxes_of(mask, threshold=91) == []


def test_truth_of_every_frame():
    truths = moving_regions(clip_of(np.eye(8, dtype=bool), np.zeros((8, 8), bool)), closing=0)
    assert [len(truth.boxes) for truth in truths] == [1, 0, 0, 0, 0]
    assert truths[0].boxes.dtype == np.float32
    assert truths[0].classes.tolist() == [0]
    assert truths[0].ignored.tolist() == [False]


def flooded(mask):
    """Return the boxes of the regions, found pixel by pixel."""
    left, boxes = {tuple(pixel) for pixel in np.argwhere(mask)}, []
    while left:
        todo, region = [left.pop()], []
        while todo:
            y, x = todo.pop()
            region.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            todo += near
        rows, columns = zip(*region, strict=True)
        boxes.append([min(columns), min(rows), max(columns) + 1, max(rows) + 1])
    return sorted(boxes)


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.05, 0.8), st.integers(0, 2**32 - 1))
def test_regions_equal_those_of_a_flood(H, W, density, seed):
    mask = np.random.default_rng(seed).random((H, W)) < density
    assert sorted(boxes_of(mask)) == flooded(mask)


@pytest.mark.parametrize(
    ("clip", "options"),
    [
        (np.zeros((4, 8, 8), np.uint8), {}),
        (np.zeros((4, 8, 8, 1), np.float32), {}),
        (np.zeros((4, 8, 8, 1), np.uint8), {"threshold": 0}),
        (np.zeros((4, 8, 8, 1), np.uint8), {"closing": -1}),
        (np.zeros((4, 8, 8, 1), np.uint8), {"least_area": 1.5}),
    ],
)
def test_wrong_arguments(clip, options):
    with pytest.raises(ValueError, match=r"a clip is uint8|threshold goes from 1 to 255"):
        moving_regions(clip, **options)


def test_write_moving_regions(tmp_path):
    (tmp_path / "clips" / "walk").mkdir(parents=True)
    clip = np.full((5, 32, 48, 3), 20, np.uint8)
    for t in range(5):
        clip[t, 8:24, 8 * t : 8 * t + 8] = 220
    write_clip(tmp_path / "clips" / "walk" / "ann.mp4", clip)
    folder = write_moving_regions(tmp_path / "clips", tmp_path / "regions")
    names, (annotation,) = read_annotations(folder)
    assert names == ["moving"]
    assert annotation.path == folder / "ann.mp4"
    for t in (1, 3):  # each pixel shows the bar once in five frames, so that the background is the median
        np.testing.assert_allclose(annotation.frames[t].boxes, [[8 * t, 8, 8 * t + 8, 24]], atol=1)
    assert write_moving_regions(tmp_path / "clips", tmp_path / "regions") == folder
    with pytest.raises(FileExistsError, match="choose another folder"):
        write_moving_regions(tmp_path / "clips", tmp_path / "regions", threshold=50)


def test_write_moving_regions_of_clips_of_one_name(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "clips" / name).mkdir(parents=True)
        (tmp_path / "clips" / name / "ann.mp4").touch()
    with pytest.raises(ValueError, match="several clips named ann"):
        write_moving_regions(tmp_path / "clips", tmp_path / "regions")
    assert not (tmp_path / "regions").exists()


@pytest.mark.data
def test_a_real_clip(data_dir):
    """Two people: most frames have one region (they touch) or two, as high as people are."""
    from minivid.video import read_clip

    clip = read_clip(data_dir / "ut_interaction_set1" / "hug" / "set1_seq09_053.mp4", 40)
    truths = moving_regions(clip)
    counts = [len(truth.boxes) for truth in truths]
    assert np.mean([count in (1, 2) for count in counts]) > 0.8
    heights = np.concatenate([truth.boxes[:, 3] - truth.boxes[:, 1] for truth in truths])
    assert np.median(heights) > 0.4 * clip.shape[1]
