"""Average precision, with numbers worked by hand and numbers of COCO's own evaluation."""

import numpy as np
import pytest

from minivid.detection import Detections, Truth, average_precision, mean_average_precision, precision_recall

NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
EMPTY = Truth(np.zeros((0, 4), np.float32), np.zeros(0, int))

# The example of docs/detection_metrics.md: four objects A, B | C, D in two frames, five detections.
TRUTHS = [
    Truth(np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32), np.array([0, 0])),
    Truth(np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32), np.array([0, 0])),
]
DETECTIONS = [
    Detections(
        # A, IoU 1; A again, 90/100, but it is taken; B, 80/100
        np.array([[0, 0, 10, 10], [0, 1, 10, 10], [20, 0, 30, 8]], np.float32),
        np.array([0.95, 0.6, 0.8], np.float32),
        np.array([0, 0, 0]),
    ),
    Detections(
        # nothing there; C, 60/100; nobody finds D
        np.array([[40, 40, 50, 50], [0, 0, 10, 6]], np.float32),
        np.array([0.9, 0.7], np.float32),
        np.array([0, 0]),
    ),
]


def frame(*boxes):
    """One frame of class 0: boxes of 10 x 10 from x on, as truth."""
    return Truth(np.array([[x, 0, x + 10, 10] for x in boxes], np.float32).reshape(-1, 4), np.zeros(len(boxes), int))


def found(*pairs):
    """Detections of class 0 in one frame: 10 x 10 from x on, with a score."""
    boxes = np.array([[x, 0, x + 10, 10] for x, _ in pairs], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([score for _, score in pairs]), np.zeros(len(pairs), int))


def test_the_curve_of_hits_and_misses():
    """Equations (ap.4) and (ap.5). By falling score: A hit, false, B hit, C hit, A again: false."""
    precision, recall, scores = precision_recall(DETECTIONS, TRUTHS, k=0)
    np.testing.assert_allclose(scores, [0.95, 0.9, 0.8, 0.7, 0.6], rtol=1e-6)
    np.testing.assert_allclose(precision, [1, 1 / 2, 2 / 3, 3 / 4, 3 / 5], rtol=1e-15)
    np.testing.assert_allclose(recall, [1 / 4, 1 / 4, 2 / 4, 3 / 4, 3 / 4], rtol=1e-15)


def test_its_average_precision():
    """Equations (ap.6), (ap.7): 1 at the 26 recalls up to 0.25, 3/4 at the 50 up to 0.75, 0 at the last 25."""
    np.testing.assert_allclose(average_precision(DETECTIONS, TRUTHS, 1), [(26 + 50 * 3 / 4) / 101], rtol=1e-14)


def test_its_mean_over_overlaps():
    """Equations (ap.8), (ap.9).

    Up to 0.6 all three hits count. From 0.65 to 0.8 C is missed: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 2/4. From
    0.85 B is missed too.
    """
    result = mean_average_precision(DETECTIONS, TRUTHS, 1)
    three, two, one = (26 + 50 * 3 / 4) / 101, (26 + 25 * 2 / 3) / 101, 26 / 101
    assert result["mAP@0.5"] == pytest.approx(three, rel=1e-14)
    assert result["mAP@0.5:0.95"] == pytest.approx((3 * three + 4 * two + 3 * one) / 10, rel=1e-14)
    assert result["per_class"] == [{"AP@0.5": result["mAP@0.5"], "AP@0.5:0.95": result["mAP@0.5:0.95"]}]


def test_a_perfect_and_a_blind_detector():
    perfect = [Detections(t.boxes, np.array([0.9, 0.8]), t.classes) for t in TRUTHS]
    assert mean_average_precision(perfect, TRUTHS, 1)["mAP@0.5:0.95"] == 1
    assert mean_average_precision([NOTHING] * 2, TRUTHS, 1)["mAP@0.5"] == 0


@pytest.mark.parametrize(
    ("hits", "objects"), [(1, 1), (1, 3), (1, 100), (7, 10), (35, 100), (14, 25), (3, 7), (19, 20)]
)
def test_recalls_are_compared_without_rounding(hits, objects):
    """With h hits of n objects, precision is 1 at the recalls 0, 0.01, ... up to h/n: ⌊100 h / n⌋ + 1 of them."""
    places = range(0, 20 * objects, 20)
    ap = average_precision([found(*((x, 0.9) for x in places[:hits]))], [frame(*places)], 1)
    np.testing.assert_allclose(ap, (100 * hits // objects + 1) / 101, rtol=1e-14)


def test_duplicates_are_false():
    """Found three times: a hit and two false; the other object comes last, at precision 2/4."""
    precision, recall, _ = precision_recall([found((0, 0.9), (1, 0.8), (0, 0.7), (50, 0.6))], [frame(0, 50)], 0)
    np.testing.assert_allclose(precision, [1, 1 / 2, 1 / 3, 2 / 4])
    np.testing.assert_allclose(recall, [1 / 2, 1 / 2, 1 / 2, 1])


def test_an_object_is_found_in_its_own_frame_only():
    assert average_precision([NOTHING, found((0, 0.9))], [frame(0), EMPTY], 1) == 0


def test_another_class_is_no_hit():
    other = found((0, 0.9))._replace(classes=np.array([1]))
    np.testing.assert_array_equal(average_precision([other], [frame(0)], 2), [0, np.nan])


def test_a_class_without_objects_is_left_out_of_the_mean():
    """Class 1 has a false detection but no object; class 2 one of two objects: (51 of 101)."""
    truth = Truth(np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]), np.array([0, 2, 2]))
    detections = Detections(truth.boxes, np.array([0.9, 0.8, 0.7]), np.array([0, 2, 1]))
    result = mean_average_precision([detections], [truth], 3)
    assert result["mAP@0.5"] == pytest.approx((1 + 51 / 101) / 2)
    assert np.isnan(result["per_class"][1]["AP@0.5"])


def test_nothing_at_all():
    assert np.isnan(average_precision([], [], 2)).all()
    assert np.isnan(mean_average_precision([NOTHING], [EMPTY], 1)["mAP@0.5"])
    precision, recall, scores = precision_recall([NOTHING], [EMPTY], 0)
    assert precision.shape == recall.shape == scores.shape == (0,)


def test_ignored_regions_count_neither_way():
    """Equation (ap.3): two detections inside the region are left out; one a third inside is false."""
    truth = frame(0)
    region = np.array([[100, 0, 140, 10]], np.float32)
    truth = Truth(np.concatenate([truth.boxes, region]), np.array([0, 0]), np.array([False, True]))
    detections = found((105, 0.95), (120, 0.9), (93.3, 0.8), (0, 0.7))
    precision, recall, scores = precision_recall([detections], [truth], 0)
    np.testing.assert_allclose(scores, [0.8, 0.7])
    np.testing.assert_allclose(precision, [0, 1 / 2])
    np.testing.assert_allclose(recall, [0, 1])  # of one object


def test_a_hit_is_not_ignored():
    """What finds an object counts, even inside an ignored region; the second detection is excused, not a duplicate."""
    boxes = np.array([[0, 0, 10, 10], [0, 0, 40, 40]], np.float32)
    truth = Truth(boxes, np.array([0, 0]), np.array([False, True]))
    precision, recall, scores = precision_recall([found((0, 0.6), (0, 0.9))], [truth], 0)
    assert (precision.tolist(), recall.tolist(), scores.tolist()) == ([1], [1], [0.9])


def test_only_ignored_objects_are_no_objects():
    truth = frame(0)._replace(ignored=np.array([True]))
    assert np.isnan(average_precision([found((0, 0.9))], [truth], 1)).all()


def test_equal_scores_stay_in_the_order_of_the_frames():
    hit_first = precision_recall([found((0, 0.5)), found((50, 0.5))], [frame(0), frame(0)], 0)
    miss_first = precision_recall([found((50, 0.5)), found((0, 0.5))], [frame(0), frame(0)], 0)
    np.testing.assert_allclose(hit_first[0], [1, 1 / 2])
    np.testing.assert_allclose(miss_first[0], [0, 1 / 2])


def test_the_order_of_detections_does_not_matter():
    shuffled = [Detections(*(part[::-1] for part in frame)) for frame in DETECTIONS]
    np.testing.assert_array_equal(average_precision(shuffled, TRUTHS, 1), average_precision(DETECTIONS, TRUTHS, 1))


def test_other_thresholds_have_their_names():
    result = mean_average_precision(DETECTIONS, TRUTHS, 1, (0.3, 0.4))
    assert [*result] == ["mAP@0.3", "mAP@0.3:0.4", "per_class"]
    assert [*result["per_class"][0]] == ["AP@0.3", "AP@0.3:0.4"]


@pytest.mark.parametrize(
    ("detections", "truths", "message"),
    [
        ([NOTHING], [], "one entry per frame, got 1 detections and 0 truths"),
        ([NOTHING, found((0, np.nan))], [EMPTY, EMPTY], "frame 1: scores must be finite"),
        ([NOTHING], [frame(np.inf)], "frame 0: truth: box 0 is not finite"),
        ([found((0, 1))._replace(boxes=[[0, 0, 0, 1]])], [EMPTY], "frame 0: detections: box 0 has no area"),
        ([found((0, 1))._replace(classes=[2])], [EMPTY], "frame 0: classes must be from 0 to 1, got 2"),
        ([NOTHING], [frame(0)._replace(classes=[-1])], "frame 0: classes must be from 0 to 1, got -1"),
        ([NOTHING], [frame(0)._replace(ignored=[])], r"frame 0: truth: there are 1 boxes, but ignored is \(0,\)"),
    ],
)
def test_what_does_not_fit_is_refused(detections, truths, message):
    with pytest.raises(ValueError, match=message):
        average_precision(detections, truths, 2)


@pytest.mark.parametrize("thresholds", [[], [0.5, 0], [0.5, 1.1]])
def test_bad_thresholds_are_refused(thresholds):
    with pytest.raises(ValueError, match="iou_threshold"):
        mean_average_precision(DETECTIONS, TRUTHS, 1, thresholds)


# --- against COCO's own evaluation -----------------------------------------------------------------------------


def many_frames(frames=20, seed=7):
    """Objects of three classes, some ignored; up to three shaken copies of each as detections, and some strays."""
    rng = np.random.default_rng(seed)
    detections, truths = [], []
    for _ in range(frames):
        G = int(rng.integers(0, 5))
        corner, sides = rng.integers(0, 60, (G, 2)), rng.integers(8, 30, (G, 2))
        boxes, classes = np.concatenate([corner, corner + sides], axis=1), rng.integers(0, 3, G)
        truths.append(Truth(boxes, classes, rng.random(G) < 0.2))
        copies = np.repeat(np.arange(G), rng.integers(0, 4, G))
        near = boxes[copies] + rng.integers(-3, 4, (len(copies), 4))
        kinds = np.where(rng.random(len(copies)) < 0.85, classes[copies], rng.integers(0, 3, len(copies)))
        strays = int(rng.integers(0, 3))
        corner = rng.integers(0, 60, (strays, 2))
        far = np.concatenate([corner, corner + rng.integers(8, 30, (strays, 2))], axis=1)
        kinds = np.concatenate([kinds, rng.integers(0, 3, strays)])
        scores = rng.permutation(1000)[: len(kinds)] / 1000
        detections.append(Detections(np.concatenate([near, far]), scores, kinds))
    return detections, truths


def test_the_numbers_of_cocos_evaluation():
    """Of pycocotools 2.0.11, ``COCOeval``, for the same boxes with ``iscrowd``: at 0.5, at 0.75, and the means."""
    detections, truths = many_frames()
    result = mean_average_precision(detections, truths, 3)
    assert result["mAP@0.5"] == pytest.approx(0.43072378666438066, rel=1e-12)
    assert result["mAP@0.5:0.95"] == pytest.approx(0.19018778467178105, rel=1e-12)
    expected = [0.553394625176803, 0.4203420342034204, 0.31843470061291845]
    np.testing.assert_allclose(average_precision(detections, truths, 3), expected, rtol=1e-12)
    expected = [0.27491749174917507, 0.06480648064806477, 0.03566816308960089]
    np.testing.assert_allclose(average_precision(detections, truths, 3, 0.75), expected, rtol=1e-12)
