"""Overlap, suppression and matching of boxes, with numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivid.detection import match, non_maximum_suppression, pairwise_iou
from minivid.detection.boxes import shares_inside
from minivid.ops import iou_forward

NONE = np.zeros((0, 4), np.float32)


def some_boxes(rng, count):
    corner = rng.uniform(0, 20, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(1, 15, (count, 2))], axis=1)


# --- overlap ---------------------------------------------------------------------------------------------------


def test_iou_by_hand():
    """Equations (iou.2) to (iou.4)."""
    a = [[0, 0, 4, 4], [2, 2, 4, 6]]  # areas 16 and 8
    b = [[0, 0, 4, 4], [1, 1, 3, 3], [4, 0, 8, 4], [2, 0, 6, 4]]  # areas 16, 4, 16, 16
    expected = [
        [1, 4 / 16, 0, 8 / 24],  # the same; inside; touching at a side; half of each: 8 / (16 + 16 - 8)
        [4 / 20, 1 / 11, 0, 4 / 20],  # 2x2 of 8 + 16 - 4; 1x1 of 8 + 4 - 1; a corner; 2x2
    ]
    np.testing.assert_allclose(pairwise_iou(a, b), expected, rtol=1e-15)


@given(A=st.integers(0, 5), B=st.integers(0, 5), seed=st.integers(0, 99))
def test_iou_is_that_of_the_rows(A, B, seed):
    rng = np.random.default_rng(seed)
    a, b = some_boxes(rng, A), some_boxes(rng, B)
    expected = iou_forward(np.repeat(a, B, axis=0), np.tile(b, (A, 1))).reshape(A, B)
    np.testing.assert_allclose(pairwise_iou(a, b), expected, rtol=1e-12)
    np.testing.assert_array_equal(pairwise_iou(b, a), pairwise_iou(a, b).T)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_iou_keeps_the_dtype(dtype):
    boxes = np.array([[0, 0, 4, 4]], dtype)
    assert pairwise_iou(boxes, boxes).dtype == dtype


@pytest.mark.parametrize(("a", "b", "shape"), [(NONE, NONE, (0, 0)), ([], np.ones((3, 4)).cumsum(1), (0, 3))])
def test_iou_of_no_boxes(a, b, shape):
    assert pairwise_iou(a, b).shape == shape


def test_share_inside_by_hand():
    """Equation (ap.3): the share of the box, however large the region is."""
    found = shares_inside(np.array([[0.0, 0, 4, 4]]), np.array([[0.0, 0, 100, 100], [3, 0, 4, 100]]))
    np.testing.assert_array_equal(found, [[1, 0.25]])


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, 4, np.nan]], "a: box 0 is not finite"),
        ([[0, 0, 4, 4], [0, 0, np.inf, 4]], "a: box 1 is not finite"),
        ([[0, 0, 4, 4], [1, 0, 4, 4], [5, 0, 5, 4]], "a: box 2 has no area, x2 must be above x1"),
        ([[0, 6, 4, 4]], "a: box 0 has no area"),
        ([0, 0, 4, 4], r"a must be numbers \(M, 4\): x1, y1, x2, y2, got int64 \(4,\)"),
        ([[0, 0, 4]], r"a must be numbers .* got int64 \(1, 3\)"),
        ([["0", "0", "4", "4"]], r"a must be numbers .* got <U1 \(1, 4\)"),
    ],
)
def test_what_is_no_box_is_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        pairwise_iou(boxes, [[0, 0, 4, 4]])


# --- suppression -----------------------------------------------------------------------------------------------

# Along x, ten wide and high. A box one to the right shares 90 of 110: 0.82; two: 80/120 = 0.67; four: 60/140 = 0.43.
ROW = np.array([[x, 0, x + 10, 10] for x in (0, 2, 4, 40)], np.float32)


def test_suppression_by_hand():
    """Equation (ap.1): 1 drops 0 and 2, with which it shares 0.67; nothing meets 3."""
    assert non_maximum_suppression(ROW, [0.7, 0.9, 0.8, 0.1]).tolist() == [1, 3]


def test_what_is_dropped_drops_nothing():
    """0 drops 1; 2 shares 0.67 with 1, which is gone, and 0.43 with 0: it stays."""
    assert non_maximum_suppression(ROW, [0.9, 0.8, 0.7, 0.6]).tolist() == [0, 2, 3]


def test_an_overlap_equal_to_the_threshold_stays():
    pair = [[0, 0, 4, 4], [0, 0, 4, 2]]  # 8 / 16
    assert non_maximum_suppression(pair, [0.9, 0.8], iou_threshold=0.5).tolist() == [0, 1]
    assert non_maximum_suppression(pair, [0.9, 0.8], iou_threshold=0.49).tolist() == [0]


def test_suppression_per_class():
    scores = [0.7, 0.9, 0.8, 0.1]
    assert non_maximum_suppression(ROW, scores, classes=[0, 1, 0, 1]).tolist() == [1, 2, 0, 3]  # 0, 2: 0.43
    assert non_maximum_suppression(ROW, scores, classes=[1, 1, 0, 1]).tolist() == [1, 2, 3]


def test_equal_scores_first_come_first():
    assert non_maximum_suppression(ROW, [0.5, 0.5, 0.5, 0.5]).tolist() == [0, 2, 3]


def test_suppression_of_no_boxes():
    kept = non_maximum_suppression(NONE, [], classes=[])
    assert kept.shape == (0,)
    assert kept.dtype.kind == "i"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scores": [0.5]}, r"there are 2 boxes, so scores must be \(2,\), got \(1,\)"),
        ({"scores": [0.5, np.nan]}, "scores must be finite: number 1 is nan"),
        ({"classes": [0]}, r"classes must be integers \(2,\), got int64 \(1,\)"),
        ({"classes": [0.0, 1.0]}, r"classes must be integers \(2,\), got float64 \(2,\)"),
        ({"iou_threshold": 1.5}, "iou_threshold must be from 0 to 1, got 1.5"),
        ({"iou_threshold": np.nan}, "iou_threshold must be from 0 to 1, got nan"),
    ],
)
def test_suppression_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        non_maximum_suppression(**{"boxes": ROW[:2], "scores": [0.5, 0.6]} | arguments)


# --- matching --------------------------------------------------------------------------------------------------


def test_a_truth_is_matched_once_and_by_the_best_score():
    """Equation (ap.2): the second fits better, but the first is surer."""
    assert match([[0, 0, 10, 10], [0, 0, 10, 8]], [0.3, 0.9], [[0, 0, 10, 10]]).tolist() == [-1, 0]


def test_the_larger_overlap_is_taken():
    truth = [[0, 0, 10, 10], [2, 0, 12, 10]]
    # from x = 2: 1.0 with truth 1, although it also shares 0.67 with truth 0
    assert match([[2, 0, 12, 10]], [0.5], truth).tolist() == [1]
    # the second detection, from x = 2 too, takes what is left: truth 0, 80 / 120
    assert match([[2, 0, 12, 10], [2, 0, 12, 10]], [0.9, 0.5], truth).tolist() == [1, 0]


def test_greedy_is_not_optimal():
    """The surer takes truth 1 (0.82 against 0.67) and leaves the other without a match: 7 to the right of truth 0."""
    truth = [[0, 0, 10, 10], [3, 0, 13, 10]]
    assert match([[2, 0, 12, 10], [7, 0, 17, 10]], [0.9, 0.8], truth, 0.4).tolist() == [1, -1]  # 30/170 with truth 0
    assert match([[2, 0, 12, 10], [7, 0, 17, 10]], [0.8, 0.9], truth, 0.4).tolist() == [0, 1]  # 60/140 with truth 1


def test_the_threshold_itself_matches():
    boxes = np.array([[0, 0, 10, 6]], np.float32)  # 60 / 100
    assert match(boxes, [1.0], [[0, 0, 10, 10]], 0.6).tolist() == [0]
    assert match(boxes, [1.0], [[0, 0, 10, 10]], 0.61).tolist() == [-1]


def test_ties_first_come_first():
    assert match([[0, 0, 4, 4]] * 2, [0.5, 0.5], [[0, 0, 4, 4]]).tolist() == [0, -1]
    assert match([[0, 0, 4, 4]], [0.5], [[0, 0, 4, 4]] * 2).tolist() == [0]


@pytest.mark.parametrize(("M", "G"), [(0, 0), (0, 2), (2, 0)])
def test_matching_without_boxes(M, G):
    boxes = np.array([[0, 0, 4, 4]] * 2, np.float32)
    assert match(boxes[:M], np.ones(M), boxes[:G]).tolist() == [-1] * M


def test_matching_refuses():
    with pytest.raises(ValueError, match="truth: box 0 has no area"):
        match([[0, 0, 4, 4]], [1.0], [[3, 3, 3, 3]])
    with pytest.raises(ValueError, match="iou_threshold must be from 0 to 1, got 0"):
        match([[0, 0, 4, 4]], [1.0], [[0, 0, 4, 4]], 0)
