"""Losses of maps (N, H, W, 1) and of boxes (..., 4); Keras's numbers are of tests/keras_numbers.py."""

import numpy as np
import pytest

from minivid import losses
from minivid.gradcheck import check_gradients
from minivid.layers import Conv2D
from minivid.losses import BinaryCrossentropy, GIoULoss, Huber, IoULoss
from minivid.models import Sequential
from tests.keras_numbers import wave


@pytest.mark.parametrize(("delta", "expected"), [(1.0, 0.6325644850730896), (0.5, 0.41711844007174176)])
def test_huber_equals_keras(delta, expected):
    t, y = wave(3, 4, phase=1.0), 2 * wave(3, 4)
    np.testing.assert_allclose(Huber(delta).forward(y, t), expected, rtol=1e-6)


def test_binary_crossentropy_of_maps_equals_keras():
    t, p = (wave(2, 3, 2, 1) > 0) * 1.0, (wave(2, 3, 2, 1, phase=2.0) + 1.1) / 2.2
    assert BinaryCrossentropy().forward(p, t) == pytest.approx(1.4658256731927395, rel=1e-6)
    assert BinaryCrossentropy().forward(p, t[..., 0]) == pytest.approx(1.4658256731927395, rel=1e-6)


def test_a_model_learns_a_map():
    """Every pixel says whether it is bright: one weight and one bias, through sigmoid and the fused cross-entropy."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(8, 6, 5, 1)).astype(np.float32)
    y = (x > 0.5).astype(np.float32)
    model = Sequential([Conv2D(1, 1, activation="sigmoid", input_shape=(6, 5, 1))])
    model.compile("adam", "binary_crossentropy")
    p = np.clip(model.predict(x).astype(np.float64), 1e-7, 1 - 1e-7)
    by_hand = -np.where(y > 0, np.log(p), np.log(1 - p)).mean()
    losses_seen = model.fit(x, y, epochs=60, batch_size=8, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(losses_seen[0], by_hand, rtol=1e-5)
    assert losses_seen[-1] < losses_seen[0]
    assert model.predict(x).shape == (8, 6, 5, 1)


def test_boxes_worked_by_hand():
    t = np.array([[[0.0, 0.0, 4.0, 2.0]] * 2])
    y = np.array([[[0.0, 0.0, 2.0, 2.0], [12.0, 0.0, 16.0, 2.0]]])  # IoU 1/2 and 0, GIoU 1/2 and −1/2
    assert IoULoss().forward(y, t) == 0.75
    assert GIoULoss().forward(y, t) == 1.0
    assert GIoULoss().forward(y, t, mask=np.array([[True, False]])) == 0.5


@pytest.mark.parametrize("loss", [Huber(0.7), IoULoss(), GIoULoss()], ids=lambda loss: loss.name)
def test_gradients(loss):
    corners = np.array([[1, 1, 2, 2], [-1, -2, 5, 4], [1, -1, 6, 2]], np.float64)
    y = corners + np.random.default_rng(0).uniform(0.1, 0.4, size=corners.shape)
    t = np.array([[0.0, 0.0, 4.0, 3.0]] * 3)

    def forward(y):
        return np.array(loss.forward(y, t, sample_weight=[1.0, 2.0, 3.0]))

    def backward(dy, y):
        forward(y)
        return {"y": dy * loss.backward()}

    check_gradients(forward, backward, {"y": y}, smooth=False, rtol=1e-6).raise_if_failed()


@pytest.mark.parametrize("name", ["huber", "iou", "giou"])
def test_by_name_and_back(name):
    loss = losses.get(name)
    assert type(losses.get(losses.serialize(loss))) is type(loss)
    assert loss.name == name
    assert losses.get(losses.serialize(Huber(0.3))).delta == 0.3


def test_errors():
    with pytest.raises(ValueError, match="huber: delta must be positive, got -1"):
        Huber(-1)
    with pytest.raises(ValueError, match=r"giou takes boxes \(\.\.\., 4\).*got y_pred of shape \(2, 3\)"):
        GIoULoss().forward(np.ones((2, 3)), np.ones((2, 3)))
    with pytest.raises(ValueError, match="iou compares values and knows no logits"):
        IoULoss().forward(np.ones((2, 4)), np.ones((2, 4)), from_logits=True)
