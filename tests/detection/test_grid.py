"""Targets, loss and decoding of the grid; docs/detect.md has the equations (grid.1) to (grid.7)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivid import losses
from minivid.detection import Truth, pairwise_iou
from minivid.detection.grid import GridLoss, decode, grid_targets, mirrored
from minivid.gradcheck import check_gradients
from minivid.layers import Conv2D
from minivid.models import Sequential, load_model

SIZE, GRID = (24, 32), (3, 4)  # cells of 8x8 pixels


def targets_of(boxes, classes, reach=1.0, ignored=None, K=2):
    return grid_targets(Truth(np.array(boxes, np.float32), np.array(classes), ignored), SIZE, GRID, K, reach)


# --- targets --------------------------------------------------------------------------------------------------


def test_targets_worked_by_hand():
    """Box 10..18 x 4..16: centre (14, 10) pixels = (1.75, 1.25) cells, (grid.1); size (1, 1.5) cells, (grid.2)."""
    targets = targets_of([[10, 4, 18, 16]], [1], reach=0.5)
    expected = np.zeros((3, 4, 7))
    expected[1, 1] = 1, 0.75, 0.25, 1, 1.5, 0, 1
    np.testing.assert_array_equal(targets, expected)
    assert targets.dtype == np.float32


def test_four_cells_are_responsible_with_reach_one():
    """(grid.3): columns 1 and 2 (centres 1.5, 2.5), rows 0 and 1 (0.5, 1.5) are within 1 of (1.75, 1.25)."""
    targets = targets_of([[10, 4, 18, 16]], [1])
    assert list(zip(*np.nonzero(targets[..., 0]), strict=True)) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    np.testing.assert_array_equal(targets[0, 2], [1, -0.25, 1.25, 1, 1.5, 0, 1])


def test_the_nearer_object_has_the_cell_and_of_equal_ones_the_larger():
    near, far = [10, 8, 14, 16], [8, 2, 15, 14]  # centres (1.5, 1.5), in the middle of a cell, and (1.44, 1)
    for order in ([0, 1], [1, 0]):
        targets = targets_of([[near, far][k] for k in order], order, reach=0.5)
        np.testing.assert_array_equal(targets[1, 1], [1, 0.5, 0.5, 0.5, 1, 1, 0])
    small, large = [11, 11, 13, 13], [9, 9, 15, 15]
    for order in ([0, 1], [1, 0]):
        targets = targets_of([[small, large][k] for k in order], order, reach=0.5)
        np.testing.assert_array_equal(targets[1, 1], [1, 0.5, 0.5, 0.75, 0.75, 0, 1])


def test_ignored_objects_are_marked():
    targets = targets_of([[10, 4, 18, 16]], [1], ignored=np.array([True]))
    assert sorted(np.unique(targets[..., 0])) == [-1, 0]


def test_frames_without_objects():
    assert not targets_of(np.zeros((0, 4)), np.zeros(0, int)).any()


def test_wrong_targets():
    with pytest.raises(ValueError, match="reach must be at least 1/2"):
        targets_of([[0, 0, 1, 1]], [0], reach=0.4)
    with pytest.raises(ValueError, match=r"classes must be from 0 to 1, got \[2\]"):
        targets_of([[0, 0, 1, 1]], [2])


def test_mirrored_targets_are_the_targets_of_mirrored_boxes():
    truth = np.array([[10, 4, 18, 16], [25, 11, 31, 20], [1, 2, 6, 5]], np.float32)
    turned = truth[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [32, 0, 32, 0]
    np.testing.assert_allclose(mirrored(targets_of(truth, [0, 1, 1])), targets_of(turned, [0, 1, 1]))


# --- decoding -------------------------------------------------------------------------------------------------


def outputs_that_say(targets):
    """Return the outputs that (grid.4) turns into the targets, sure of everything."""
    outputs = np.zeros(targets.shape)
    there = targets[..., 0] == 1
    outputs[..., 0] = np.where(there, 8, -8)
    outputs[..., 1:3] = targets[..., 1:3] - 0.5
    outputs[..., 3:5] = np.log(np.where(there[..., None], targets[..., 3:5], 1))
    outputs[..., 5:] = 9 * targets[..., 5:]
    return outputs


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 1.0]))
def test_decoding_gives_the_boxes_back(seed, reach):
    rng = np.random.default_rng(seed)
    corner = rng.uniform([0, 0], [16, 8])  # the other object is in another cell, apart from this one
    boxes = np.array([[*corner, *(corner + rng.uniform(2, 7, 2))], [*(corner + 8), *(corner + 15)]])
    classes = rng.permutation(2)
    found = decode(outputs_that_say(targets_of(boxes, classes, reach)), SIZE)
    nearest = pairwise_iou(boxes, found.boxes).argmax(axis=1)
    assert len(found.boxes) == 2  # cells that speak of the same object are one detection
    np.testing.assert_allclose(found.boxes[nearest], boxes, atol=1e-4)
    np.testing.assert_array_equal(found.classes[nearest], classes)


def test_scores():
    """(grid.5): σ(0) · softmax(ln 3, 0) = 1/2 · 3/4."""
    outputs = np.full((1, 1, 7), 0.0)
    outputs[0, 0, 5] = np.log(3)
    found = decode(outputs, (8, 8))
    assert found.scores == pytest.approx([0.375])
    assert found.classes.tolist() == [0]
    assert len(decode(outputs, (8, 8), threshold=0.4).scores) == 0


def test_boxes_are_cut_at_the_frame_and_dropped_outside():
    outputs = np.zeros((1, 2, 6))
    outputs[0, 0, 1:5] = 0, 0, np.log(4), np.log(4)
    outputs[0, 1, 1:5] = 5, 0, 0, 0  # five cells to the right: outside
    found = decode(outputs, (8, 16))
    np.testing.assert_array_equal(found.boxes, [[0, 0, 16, 8]])  # centre 4, half 16


def test_wrong_outputs():
    for shape in ((2, 2, 5), (1, 2, 2, 7)):
        with pytest.raises(ValueError, match=r"outputs of a frame are \(GH, GW, 5 \+ K\)"):
            decode(np.zeros(shape), SIZE)


# --- loss -----------------------------------------------------------------------------------------------------


def test_loss_worked_by_hand():
    """One responsible cell, one that is not, one that is ignored.

    BCE is ln 2 in each. The predicted box is 2x2 cells around the true one of 1x1: IoU 1/4, and the box around both is
    the larger one, so GIoU 1/4 as well. Two classes, equally likely: CE = ln 2. With w, β, γ = 4, 8, 2 the cells cost
    4·ln 2 + 8·3/4 + 2·ln 2, ln 2 and 0, (grid.6); their mean is (7·ln 2 + 6) / 3.
    """
    y, t = np.zeros((1, 3, 7)), np.zeros((1, 3, 7))
    y[0, 0, 3:5] = np.log(2)
    t[0, 0] = 1, 0.5, 0.5, 1, 1, 1, 0
    t[0, 2] = -1, 0.5, 0.5, 1, 1, 1, 0
    loss = GridLoss(positive_weight=4, box_weight=8, class_weight=2)
    assert loss.forward(y, t) == pytest.approx((7 * np.log(2) + 6) / 3)
    dy = loss.backward()
    np.testing.assert_allclose(dy[0, :, 0], [-4 / 2 / 3, 1 / 2 / 3, 0])
    assert not dy[0, 1:, 1:].any()


def batch(K=3, dtype=np.float64):
    """Random outputs and targets of 2 clips of 2 frames, with every kind of cell; no box side is tied with another."""
    rng = np.random.default_rng(3)
    boxes = [[2, 3, 13, 12], [15, 9, 30, 23], [20, 1, 26, 8]]
    truth = Truth(np.array(boxes, np.float32), np.array([0, K - 1, 0]), np.array([False, False, True]))
    t = np.broadcast_to(grid_targets(truth, SIZE, GRID, K), (2, 2, *GRID, 5 + K))
    return rng.normal(scale=0.7, size=t.shape).astype(dtype), t


def checked(loss, K=3, weights=None):
    y, t = batch(K)

    def forward(y):
        return np.array(loss.forward(y, t, sample_weight=weights))

    def backward(dy, y):
        forward(y)
        return {"y": dy * loss.backward()}

    parts = {"objectness": np.s_[..., 0], "centre": np.s_[..., 1:3], "size": np.s_[..., 3:5], "classes": np.s_[..., 5:]}
    parts = parts if K > 1 else {name: part for name, part in parts.items() if name != "classes"}
    return check_gradients(forward, backward, {"y": y}, smooth=False, parts={"y": parts})


@pytest.mark.parametrize("weights", [None, [0.5, 2.0]])
@pytest.mark.parametrize("K", [1, 3])
def test_gradient_of_the_whole_loss(K, weights):
    """(grid.7) and the cross-entropies, against central differences."""
    checked(GridLoss(3.0, 2.0, 1.5), K, weights).raise_if_failed()


@pytest.mark.parametrize(
    ("part", "factor"),
    [(np.s_[:, 0], 1 / 3), (np.s_[:, 1], -1.0), (np.s_[:, 3:5], 2.0), (np.s_[:, 4], 0.0), (np.s_[:, 5:], 1 / 1.5)],
    ids=["weight forgotten", "sign", "half forgotten", "one size forgotten", "class weight forgotten"],
)
def test_planted_wrong_backwards_are_found(part, factor):
    class Wrong(GridLoss):
        def rows_backward(self, dlosses, cache):
            dy = super().rows_backward(dlosses, cache)
            dy[part] *= factor
            return dy

    assert not checked(Wrong(3.0, 2.0, 1.5)).passed


def test_float32_stays_float32():
    loss = GridLoss()
    y, t = batch(dtype=np.float32)
    double = GridLoss()
    assert loss.forward(y, t) == pytest.approx(double.forward(y.astype(np.float64), t), rel=1e-5)
    assert loss.backward().dtype == np.float32
    np.testing.assert_allclose(loss.backward(), double.backward(), rtol=1e-4, atol=1e-7)


def test_wrong_weights_and_shapes():
    with pytest.raises(ValueError, match="grid: box_weight must be 0 or more, got -1"):
        GridLoss(box_weight=-1)
    with pytest.raises(ValueError, match=r"takes cells \(\.\.\., 5 \+ K\)"):
        GridLoss().forward(np.zeros((2, 2, 5)), np.zeros((2, 2, 5)))


def test_a_model_with_this_loss_is_saved(tmp_path):
    model = Sequential([Conv2D(7, 1, input_shape=(3, 4, 2))])
    model.compile("adam", GridLoss(box_weight=5.0))
    y = np.zeros((2, 3, 4, 7))
    model.fit(np.ones((2, 3, 4, 2)), y, epochs=1, verbose=0)
    model.save(tmp_path / "model.safetensors")
    loss = load_model(tmp_path / "model.safetensors").loss
    assert isinstance(loss, GridLoss)
    assert loss.get_config() == {"positive_weight": 4.0, "box_weight": 5.0, "class_weight": 2.0}
    assert losses.get(losses.serialize(loss)).box_weight == 5.0
