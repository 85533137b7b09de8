import json
import math
import re

import numpy as np
import pytest

from minivid import losses
from minivid.gradcheck import check_gradients
from minivid.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    MeanAbsoluteError,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from minivid.ops.activations import sigmoid_forward, softmax_forward
from tests.numerics import DTYPES, normal

ALL = [
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    BinaryCrossentropy,
    MeanSquaredError,
    MeanAbsoluteError,
]


def draw(cls, lead, K=3, seed=0, dtype=np.float64):
    """Predictions (probabilities for the cross-entropies) and targets that fit a loss."""
    rng = np.random.default_rng(seed)
    z, labels = normal(rng, *lead, K), rng.integers(0, K, lead)
    if cls is SparseCategoricalCrossentropy:
        y_pred, y_true = softmax_forward(z), labels
    elif cls is CategoricalCrossentropy:
        y_pred, y_true = softmax_forward(z), np.eye(K)[labels]
    elif cls is BinaryCrossentropy:
        y_pred, y_true = sigmoid_forward(z), rng.integers(0, 2, z.shape)
    else:
        y_pred, y_true = z, normal(rng, *z.shape)
    return y_pred.astype(dtype), y_true


# answers worked by hand


def test_mean_squared_error():
    loss = MeanSquaredError()
    y_pred, y_true = np.array([[1.0, 5.0], [0.0, 4.0]]), np.array([[2, 2], [0, 0]])
    # rows (1 + 9)/2 = 5 and (0 + 16)/2 = 8; with weights (5·3 + 8·1)/2: divided by the rows, not by the weights
    assert loss.forward(y_pred, y_true) == 6.5
    np.testing.assert_array_equal(loss.backward(), [[-0.5, 1.5], [0.0, 2.0]])
    assert loss.forward(y_pred, y_true, sample_weight=[3, 1]) == 11.5
    np.testing.assert_array_equal(loss.backward(), [[-1.5, 4.5], [0.0, 2.0]])


def test_mean_absolute_error():
    loss = MeanAbsoluteError()
    y_pred, y_true = np.array([[1.0, 5.0], [0.0, 4.0]]), np.array([[2, 2], [0, 0]])
    assert loss.forward(y_pred, y_true) == 2.0  # rows (1 + 3)/2 and (0 + 4)/2
    np.testing.assert_array_equal(loss.backward(), [[-0.25, 0.25], [0.0, 0.25]])


def test_categorical_crossentropy():
    loss = CategoricalCrossentropy()
    y_pred, y_true = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]), np.array([[0, 1, 0], [1, 0, 0]])
    # (log 4 + log 8) / 2 = 2.5 log 2
    assert loss.forward(y_pred, y_true) == pytest.approx(2.5 * math.log(2), rel=1e-15)
    # row 1: g = (0, −4, 0)/2, Σ g·q = −0.5, the row sums to 1: dr = g + 0.5; row 2: g = (−8, 0, 0)/2, Σ = −0.5
    np.testing.assert_allclose(loss.backward(), [[0.5, -1.5, 0.5], [-3.5, 0.5, 0.5]], rtol=1e-14)


def test_categorical_crossentropy_from_logits():
    loss = CategoricalCrossentropy(from_logits=True)
    # e^z = 1 : 2 : 5: p = (1/8, 1/4, 5/8); log 4, and dz = p − t
    assert loss.forward(np.log([[1.0, 2.0, 5.0]]), [[0, 1, 0]]) == pytest.approx(math.log(4), rel=1e-15)
    np.testing.assert_allclose(loss.backward(), [[0.125, -0.75, 0.625]], rtol=1e-14)


def test_sparse_categorical_crossentropy():
    loss = SparseCategoricalCrossentropy()
    y_pred = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    for labels in (np.array([1, 0]), [[1], [0]], np.array([1.0, 0.0]), np.array([1, 0], dtype=np.uint8)):
        assert loss.forward(y_pred, labels) == pytest.approx(2.5 * math.log(2), rel=1e-15)
    np.testing.assert_allclose(loss.backward(), [[0.5, -1.5, 0.5], [-3.5, 0.5, 0.5]], rtol=1e-14)


def test_binary_crossentropy():
    loss = BinaryCrossentropy()
    # (log 4 + log 2) / 2 = 1.5 log 2; slopes −1/0.25 and 1/0.5, halved by the mean over the batch
    assert loss.forward(np.array([[0.25], [0.5]]), [1, 0]) == pytest.approx(1.5 * math.log(2), rel=1e-15)
    np.testing.assert_allclose(loss.backward(), [[-2.0], [1.0]], rtol=1e-15)
    # from logits log 3, −log 3: p = 3/4, 1/4; −log(3/4) both; p − t = −1/4, 1/4, halved by the mean over K
    logits = np.log([[3.0, 1 / 3]])
    assert loss.forward(logits, [[1, 0]], from_logits=True) == pytest.approx(math.log(4 / 3), rel=1e-15)
    np.testing.assert_allclose(loss.backward(), [[-0.125, 0.125]], rtol=1e-14)


def test_label_smoothing():
    # α = 0.3, K = 3: t = (0.7 + 0.1, 0.1, 0.1); p = (1/2, 1/4, 1/4): 0.8·log 2 + 0.2·log 4 = 1.2 log 2
    loss = CategoricalCrossentropy(label_smoothing=0.3)
    assert loss.forward(np.array([[0.5, 0.25, 0.25]]), [[1, 0, 0]]) == pytest.approx(1.2 * math.log(2), rel=1e-14)
    # α = 0.5: t = 0.5 + 0.25; p = 1/4: −0.75·log(1/4) − 0.25·log(3/4) = log 4 − 0.25·log 3
    loss = BinaryCrossentropy(label_smoothing=0.5)
    expected = math.log(4) - 0.25 * math.log(3)
    assert loss.forward(np.array([[0.25]]), [[1]]) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("K", [2, 6, 10])
def test_knowing_nothing_costs_the_logarithm_of_the_number_of_classes(K):
    labels = np.arange(7) % K
    for loss, y_true in ((SparseCategoricalCrossentropy(), labels), (CategoricalCrossentropy(), np.eye(K)[labels])):
        assert loss.forward(np.full((7, K), 1 / K), y_true) == pytest.approx(math.log(K), rel=1e-14)
        assert loss.forward(np.zeros((7, K)), y_true, from_logits=True) == pytest.approx(math.log(K), rel=1e-14)


def test_time_steps_weights_and_masks():
    loss = MeanSquaredError()
    y_pred, y_true = np.array([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]]), np.zeros((2, 3))
    # squares 1 4 9 / 16 25 36
    assert loss.forward(y_pred, y_true) == pytest.approx(91 / 6)
    assert loss.forward(y_pred, y_true, sample_weight=[1, 2]) == pytest.approx((14 + 2 * 77) / 6)
    steps = np.array([[1, 0, 1], [0, 0, 0.5]])
    assert loss.forward(y_pred, y_true, sample_weight=steps) == pytest.approx((1 + 9 + 18) / 6)
    mask = np.array([[True, True, False], [True, False, False]])
    assert loss.forward(y_pred, y_true, mask=mask) == pytest.approx((1 + 4 + 16) / 3)
    assert loss.forward(y_pred, y_true, sample_weight=[1, 2], mask=mask) == pytest.approx((1 + 4 + 32) / 3)
    # 2·y·w/3 where the mask is true
    np.testing.assert_allclose(loss.backward()[..., 0], np.array([[2, 4, 0], [16, 0, 0]]) / 3)


def test_what_a_mask_hides_is_not_looked_at():
    y_pred = np.array([[[0.5, 0.5], [np.nan, np.nan]]])
    loss = SparseCategoricalCrossentropy()
    value = loss.forward(y_pred, np.array([[1, -1]]), mask=np.array([[True, False]]))
    assert value == pytest.approx(math.log(2), rel=1e-15)
    np.testing.assert_allclose(loss.backward(), [[[1.0, -1.0], [0.0, 0.0]]])


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((4,), (4, 1)), ((4, 1), (4,)), ((4, 1), (4, 1))])
def test_one_number_per_sample_with_or_without_its_axis(shapes):
    y_pred, y_true = np.array([1.0, 2.0, 3.0, 4.0]).reshape(shapes[0]), np.zeros(shapes[1])
    loss = MeanSquaredError()
    assert loss.forward(y_pred, y_true, sample_weight=[1, 1, 0, 0]) == 1.25  # (1 + 4) / 4
    np.testing.assert_array_equal(loss.backward(), np.array([0.5, 1.0, 0.0, 0.0]).reshape(shapes[0]))


@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (2, 3, 4, 5, 2)])
def test_images_and_clips(shape):
    rng = np.random.default_rng(0)
    y_pred, y_true = normal(rng, *shape), normal(rng, *shape)
    loss = MeanSquaredError()
    assert loss.forward(y_pred, y_true) == pytest.approx(((y_pred - y_true) ** 2).mean(), rel=1e-14)
    np.testing.assert_allclose(loss.backward(), 2 * (y_pred - y_true) / y_pred.size, rtol=1e-14)
    weighted = loss.forward(y_pred, y_true, sample_weight=[2.0, 0.0])
    assert weighted == pytest.approx(((y_pred - y_true) ** 2)[0].mean(), rel=1e-14)


# gradients of the whole loss


@pytest.mark.parametrize("lead", [(4,), (3, 4)])
@pytest.mark.parametrize("cls", ALL)
def test_gradients(cls, lead):
    y_pred, y_true = draw(cls, lead)
    rng = np.random.default_rng(1)
    options = {"sample_weight": rng.random(lead[0]), "mask": rng.random(lead) < 0.7}
    check_loss(cls(), y_pred, y_true, **options)


@pytest.mark.parametrize("cls", [cls for cls in ALL if cls.fused_activation])
def test_gradients_from_logits(cls):
    _, y_true = draw(cls, (3, 4))
    logits = normal(np.random.default_rng(2), 3, 4, 3)
    check_loss(cls(from_logits=True), logits, y_true, sample_weight=np.random.default_rng(3).random((3, 4)))


@pytest.mark.parametrize("cls", [CategoricalCrossentropy, BinaryCrossentropy])
def test_gradients_with_smoothed_labels_and_rows_that_do_not_sum_to_one(cls):
    y_pred, y_true = draw(cls, (5,))
    check_loss(cls(label_smoothing=0.2), 0.5 * y_pred, y_true)


def check_loss(loss, y_pred, y_true, **options):
    def forward(y_pred):
        return np.array(loss.forward(y_pred, y_true, **options))

    def backward(dloss, y_pred):
        loss.forward(y_pred, y_true, **options)
        return {"y_pred": dloss * loss.backward()}

    check_gradients(forward, backward, {"y_pred": y_pred}, smooth=False).raise_if_failed()


@pytest.mark.parametrize("cls", [cls for cls in ALL if cls.fused_activation])
def test_fused_and_unfused_agree(cls):
    _, y_true = draw(cls, (6,))
    logits = normal(np.random.default_rng(4), 6, 3)
    activation = {"softmax": softmax_forward, "sigmoid": sigmoid_forward}[cls.fused_activation]
    fused = cls().forward(logits, y_true, from_logits=True)
    assert cls().forward(activation(logits), y_true) == pytest.approx(fused, rel=1e-12)


# dtype, extremes, layouts


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cls", ALL)
def test_keeps_shape_and_dtype_and_changes_no_argument(cls, dtype):
    y_pred, y_true = draw(cls, (3, 4), dtype=dtype)
    before = y_pred.copy(), y_true.copy()
    loss = cls()
    value, dy = loss.forward(y_pred, y_true), loss.backward()
    assert type(value) is float
    assert dy.shape == y_pred.shape
    assert dy.dtype == dtype
    np.testing.assert_array_equal(y_pred, before[0])
    np.testing.assert_array_equal(y_true, before[1])


@pytest.mark.parametrize("cls", ALL)
def test_takes_arrays_that_are_not_contiguous(cls):
    y_pred, y_true = draw(cls, (3, 4))
    loss = cls()
    value, dy = loss.forward(y_pred, y_true), loss.backward()
    strided = np.asfortranarray(y_pred), np.asfortranarray(y_true)
    assert loss.forward(*strided) == value
    np.testing.assert_array_equal(loss.backward(), dy)


def test_sums_in_float64():
    # 2²⁴ + 1 is no float32: a sum in float32 loses ones next to the first row
    y_pred = np.ones((1001, 1), dtype=np.float32)
    y_pred[0] = 2**12
    assert MeanSquaredError().forward(y_pred, np.zeros(1001)) * 1001 == pytest.approx(2**24 + 1000, abs=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logits_far_apart_neither_overflow_nor_clip(dtype):
    logits = np.array([[1e4, -1e4]], dtype=dtype)
    loss = SparseCategoricalCrossentropy(from_logits=True)
    assert loss.forward(logits, [1]) == 2e4
    np.testing.assert_array_equal(loss.backward(), [[1.0, -1.0]])
    loss = BinaryCrossentropy(from_logits=True)
    assert loss.forward(logits, [[0, 1]]) == 1e4
    np.testing.assert_array_equal(loss.backward(), [[0.5, -0.5]])


@pytest.mark.parametrize("cls", ALL)
def test_nan_predictions_give_a_nan_loss(cls):
    y_pred, y_true = draw(cls, (3,))
    y_pred[1, 1] = np.nan
    assert math.isnan(cls().forward(y_pred, y_true))


# names


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("categorical_crossentropy", CategoricalCrossentropy),
        ("sparse_categorical_crossentropy", SparseCategoricalCrossentropy),
        ("binary_crossentropy", BinaryCrossentropy),
        ("mse", MeanSquaredError),
        ("mean_squared_error", MeanSquaredError),
        ("mae", MeanAbsoluteError),
        ("mean_absolute_error", MeanAbsoluteError),
    ],
)
def test_get_by_name(name, cls):
    assert type(losses.get(name)) is cls
    assert losses.get(name) is not losses.get(name)


def test_get_passes_objects_on_and_serialize_goes_through_json():
    loss = CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)
    assert losses.get(loss) is loss
    again = losses.get(json.loads(json.dumps(losses.serialize(loss))))
    assert type(again) is CategoricalCrossentropy
    assert (again.from_logits, again.label_smoothing) == (True, 0.1)
    assert type(losses.get(losses.serialize(MeanSquaredError()))) is MeanSquaredError


def test_fused_activations():
    assert [cls.fused_activation for cls in ALL] == ["softmax", "softmax", "sigmoid", None, None]


def test_unknown_losses():
    with pytest.raises(ValueError, match="no loss 'crossentropy'; write one of categorical_crossentropy, sparse_"):
        losses.get("crossentropy")
    with pytest.raises(TypeError, match=r"a name \(.*or a Loss object, got <function"):
        losses.get(check_loss)
    with pytest.raises(ValueError, match="expected a saved loss of class"):
        losses.get({"class_name": "Nothing", "config": {}})
    with pytest.raises(ValueError, match="MeanSquaredError cannot be made"):
        losses.get({"class_name": "MeanSquaredError", "config": {"power": 3}})
    with pytest.raises(ValueError, match=r"from 0 to 1, got 1\.5"):
        BinaryCrossentropy(label_smoothing=1.5)


# errors

HALVES = np.full((4, 2), 0.5)


@pytest.mark.parametrize(
    ("loss", "y_pred", "y_true", "message"),
    [
        ("sparse_categorical_crossentropy", HALVES, [0, 1, 2, 3], "from 0 to 1 for 2 classes, got labels from 0 to 3"),
        ("sparse_categorical_crossentropy", HALVES, [0, 1, -1, 0], "got labels from -1 to 1"),
        ("sparse_categorical_crossentropy", HALVES, [0, 1, 0.5, 0], "whole numbers, got 0.5"),
        ("sparse_categorical_crossentropy", HALVES, [0, 1, np.nan, 0], "whole numbers, got nan"),
        ("sparse_categorical_crossentropy", HALVES, HALVES, "for one-hot targets use categorical_crossentropy"),
        ("sparse_categorical_crossentropy", HALVES, [0, 1, 0], "shape (4,) for y_pred (4, 2), got y_true (3,)"),
        ("sparse_categorical_crossentropy", HALVES[:, :1], [0] * 4, "use binary_crossentropy"),
        ("categorical_crossentropy", HALVES, [0, 1, 0, 1], "for class numbers use sparse_categorical_crossentropy"),
        ("categorical_crossentropy", HALVES, [0, 1, 0, 1], "minivid.utils.to_categorical(y_true, 2)"),
        (
            "categorical_crossentropy",
            HALVES,
            np.zeros((4, 3)),
            "y_true has 3 classes (last axis of (4, 3)), but y_pred",
        ),
        ("categorical_crossentropy", HALVES, np.zeros((4, 3)), "the last layer needs 3 units"),
        ("categorical_crossentropy", HALVES, np.zeros((3, 2)), "got y_true (3, 2) and y_pred (4, 2)"),
        ("categorical_crossentropy", HALVES[:, :1], HALVES[:, :1], "at least 2 classes"),
        ("categorical_crossentropy", HALVES, HALVES - 1, "not be negative, got values from -0.5 to -0.5"),
        ("categorical_crossentropy", HALVES - 1, HALVES, "got values from -0.5 to -0.5; end the model in softmax, or"),
        ("categorical_crossentropy", 0 * HALVES, HALVES, "a row of y_pred sums to zero"),
        ("categorical_crossentropy", HALVES, HALVES * np.nan, "y_true has 8 values that are NaN or infinite, of 8"),
        ("binary_crossentropy", HALVES, 4 * HALVES, "from 0 to 1, got values from 2 to 2"),
        ("binary_crossentropy", 4 * HALVES, HALVES, "end the model in sigmoid, or say from_logits=True"),
        ("mse", HALVES, np.zeros((2, 4)), "got y_true (2, 4) and y_pred (4, 2)"),
        ("mse", HALVES, [[0, np.inf]] * 4, "y_true has 4 values that are NaN or infinite, of 8"),
        ("mae", np.zeros((0, 2)), np.zeros((0, 2)), "no samples in y_pred of shape (0, 2)"),
    ],
)
def test_values_and_shapes_that_do_not_fit(loss, y_pred, y_true, message):
    loss = losses.get(loss)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        loss.forward(y_pred, y_true)
    assert str(caught.value).startswith(loss.name)


@pytest.mark.parametrize(
    ("y_pred", "y_true", "options", "message"),
    [
        (HALVES.astype(int), HALVES, {}, "y_pred must be float32 or float64, got int64"),
        (
            HALVES,
            HALVES.astype(object),
            {},
            "y_true must be an array of numbers, got object; are its rows of different",
        ),
        (HALVES, HALVES.astype(str), {}, "y_true must be an array of numbers, got <U"),
        (HALVES, HALVES, {"sample_weight": ["1"] * 4}, "sample_weight must be an array of numbers, got <U1"),
        (HALVES, HALVES, {"mask": np.ones(4)}, "mask must be bool (False where a step is padding), got float64"),
    ],
)
def test_dtypes_that_do_not_fit(y_pred, y_true, options, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        MeanSquaredError().forward(y_pred, y_true, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_weight": [1, 2]}, "sample_weight must have one value per sample (4,), got shape (2,)"),
        ({"sample_weight": 2.0}, "got shape ()"),
        ({"sample_weight": [1, 2, np.nan, 4]}, "sample_weight has values that are NaN or infinite"),
        ({"mask": np.ones((4, 3), dtype=bool)}, "mask must have one value per sample (4,), got shape (4, 3)"),
        ({"mask": np.zeros(4, dtype=bool)}, "hides every step"),
        ({"from_logits": True}, "compares values and knows no logits"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MeanSquaredError().forward(HALVES, HALVES, **options)


def test_weights_per_step_are_offered_where_there_are_steps():
    with pytest.raises(ValueError, match=r"per sample \(2,\), or per step \(2, 3\), got shape \(3, 2\)"):
        MeanSquaredError().forward(np.zeros((2, 3, 4)), np.zeros((2, 3, 4)), sample_weight=np.ones((3, 2)))


def test_backward_needs_forward():
    with pytest.raises(ValueError, match="mean_squared_error: call forward before backward"):
        MeanSquaredError().backward()
