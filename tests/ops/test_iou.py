import numpy as np
import pytest
from hypothesis import given

import minivid
from minivid.gradcheck import check_gradients
from minivid.ops.iou import giou_backward, giou_forward, iou_backward, iou_forward
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, run
from tests.strategies import seeds

PAIRS = {"iou": (iou_forward, iou_backward), "giou": (giou_forward, giou_backward)}
EVERY = pytest.mark.parametrize("name", ["reference", *implementations(iou_forward)])
BOTH = pytest.mark.parametrize("measure", PAIRS)


def draw_boxes(rng, M, dtype=np.float64):
    """Boxes of 1 to 4 in a field of 6: some meet, some do not."""
    corner, size = rng.uniform(0, 3, size=(M, 2)), rng.uniform(1, 4, size=(M, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(dtype)


@EVERY
def test_hand_worked(name):
    b, t = np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 0.0, 3.0, 2.0]])
    np.testing.assert_allclose(run(name, iou_forward, b, t), [1 / 3], rtol=1e-15)  # 2 of 4 + 4 − 2
    # dU = −18·2/36 = −1, dI = 3 + 1: dx1 = 2, dx2 = −2 + 4·2; y sides are equal: half of 4·1 against 2
    np.testing.assert_allclose(run(name, iou_backward, np.array([18.0]), b, t), [[2, 0, 6, 0]], atol=1e-14)
    b, t = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[3.0, 0.0, 4.0, 1.0]])
    np.testing.assert_array_equal(run(name, giou_forward, b, t), [-0.5])  # 0 − (4 − 2)/4
    # dU = 8/4, dE = −8·2/16: dx2 = 2, dx1 = −2 + 1; y: 2 − 4/2 and −2 + 4/2
    np.testing.assert_array_equal(run(name, giou_backward, np.array([8.0]), b, t), [[-1, 0, 2, 0]])


@pytest.mark.parametrize(
    ("box", "iou", "giou"),
    [
        # against (0, 0, 4, 2), area 8
        ([0, 0, 4, 2], 1.0, 1.0),
        ([0, 0, 2, 2], 1 / 2, 1 / 2),  # inside: E = U
        ([0, 0, 8, 4], 1 / 4, 1 / 4),  # around
        ([2, 1, 6, 3], 2 / 14, 2 / 14 - 4 / 18),  # I = 2·1, U = 8 + 8 − 2, E = 6·3
        ([4, 0, 8, 2], 0.0, 0.0),  # side by side: E = 16 = U
        ([4, 2, 8, 4], 0.0, -1 / 2),  # corner to corner: E = 32, U = 16
        ([12, 0, 16, 2], 0.0, -1 / 2),  # apart: E = 32
        ([3, 1, 1, 2], 0.0, 0.0),  # an empty box inside: U = E = 8
    ],
)
def test_overlaps_worked_by_hand(box, iou, giou):
    b, t = np.array([box], np.float64), np.array([[0.0, 0.0, 4.0, 2.0]])
    np.testing.assert_allclose(iou_forward(b, t), [iou], rtol=1e-15)
    np.testing.assert_allclose(giou_forward(b, t), [giou], rtol=1e-14)


@given(seeds)
@BOTH
@EVERY
def test_gradients(name, measure, seed):
    forward_op, backward_op = PAIRS[measure]
    rng = np.random.default_rng(seed)
    boxes, targets = draw_boxes(rng, 6), draw_boxes(rng, 6)

    def forward(boxes):
        with minivid.use("reference"):
            return forward_op(boxes, targets)

    def backward(dvalues, boxes):
        return {"boxes": run(name, backward_op, dvalues, boxes, targets)}

    report = check_gradients(forward, backward, {"boxes": boxes}, equations={"boxes": "iou.10"}, seed=seed)
    assert all(block.verdict in ("ok", "all zero") for block in report.blocks), str(report)


@given(seeds)
@BOTH
def test_does_not_depend_on_place_scale_or_order(measure, seed):
    forward_op, _ = PAIRS[measure]
    rng = np.random.default_rng(seed)
    b, t = draw_boxes(rng, 6), draw_boxes(rng, 6)
    expected = forward_op(b, t)
    np.testing.assert_allclose(forward_op(t, b), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(forward_op(7 * b + 3, 7 * t + 3), expected, rtol=1e-11, atol=1e-13)
    assert (forward_op(b, b) == 1).all()
    assert (expected <= 1).all()
    assert (giou_forward(b, t) <= iou_forward(b, t)).all()


@BOTH
def test_a_prediction_on_its_target_stays(measure):
    boxes = draw_boxes(np.random.default_rng(0), 5)
    np.testing.assert_allclose(PAIRS[measure][1](np.ones(5), boxes, boxes), 0, atol=1e-15)


def test_boxes_apart_have_a_gradient_of_giou_only():
    b, t = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[3.0, 2.0, 4.0, 5.0]])
    assert not iou_backward(np.ones(1), b, t).any()
    assert giou_backward(np.ones(1), b, t).any()


@pytest.mark.parametrize("dtype", DTYPES)
@BOTH
@EVERY
def test_dtypes_layouts_and_inputs(name, measure, dtype):
    forward_op, backward_op = PAIRS[measure]
    rng = np.random.default_rng(0)
    boxes, targets, dvalues = draw_boxes(rng, 9, dtype), draw_boxes(rng, 9, dtype), rng.normal(size=9).astype(dtype)
    wide = [a.astype(np.float64) for a in (dvalues, boxes, targets)]
    views = [np.asfortranarray(a) for a in (boxes, targets)]
    values = assert_not_mutated(lambda *a: run(name, forward_op, *a), *views)
    gradient = assert_not_mutated(lambda *a: run(name, backward_op, *a), dvalues, *views)
    assert_close(values, forward_op(*wide[1:]), terms=4, dtype=dtype)
    assert_close(gradient, backward_op(*wide), terms=16, dtype=dtype)


@BOTH
def test_empty_boxes_give_numbers(measure):
    nothing = np.zeros((1, 4))
    assert PAIRS[measure][0](nothing, nothing).item() == 0
    assert not PAIRS[measure][1](np.ones(1), nothing, nothing).any()


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    with pytest.raises(ValueError, match=r"boxes are \(M, 4\).*got \(2, 3\) and \(2, 3\)"):
        run(name, iou_forward, np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"upstream gradient has shape \(3,\), but there are \(2,\) rows"):
        run(name, giou_backward, np.zeros(3), np.zeros((2, 4)), np.zeros((2, 4)))
