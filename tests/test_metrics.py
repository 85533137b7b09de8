"""Metrics: figures worked by hand, per sample and per time step."""

import numpy as np
import pytest

from minivid import metrics
from minivid.metrics import Mean

# Four samples of three classes; the largest predictions are 0, 2, 1, 1.
PREDICTIONS = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1]], dtype=np.float32)
LABELS = np.array([0, 2, 2, 1])  # right, right, wrong (its class is second), right
ONE_HOT = np.eye(3)[LABELS]


def test_accuracies_agree_on_the_same_targets():
    expected = [1.0, 1.0, 0.0, 1.0]
    np.testing.assert_array_equal(metrics.sparse_categorical_accuracy(LABELS, PREDICTIONS), expected)
    np.testing.assert_array_equal(metrics.sparse_categorical_accuracy(LABELS[:, None], PREDICTIONS), expected)
    np.testing.assert_array_equal(metrics.categorical_accuracy(ONE_HOT, PREDICTIONS), expected)


def test_accuracy_per_time_step():
    labels, predictions = LABELS.reshape(2, 2), PREDICTIONS.reshape(2, 2, 3)
    np.testing.assert_array_equal(metrics.sparse_categorical_accuracy(labels, predictions), [[1.0, 1.0], [0.0, 1.0]])
    np.testing.assert_array_equal(
        metrics.categorical_accuracy(ONE_HOT.reshape(2, 2, 3), predictions), [[1.0, 1.0], [0.0, 1.0]]
    )


def test_top_k():
    # The third sample's class is in second place.
    np.testing.assert_array_equal(metrics.top_k_categorical_accuracy(ONE_HOT, PREDICTIONS, k=1), [1, 1, 0, 1])
    np.testing.assert_array_equal(metrics.top_k_categorical_accuracy(ONE_HOT, PREDICTIONS, k=2), [1, 1, 1, 1])


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_binary_accuracy_does_not_broadcast_to_a_table(shape):
    predictions = np.array([[0.9], [0.2], [0.6], [0.5]])  # 1, 0, 1, and 0.5 is not above 0.5
    targets = np.array([1, 0, 0, 0]).reshape(shape)
    np.testing.assert_array_equal(metrics.binary_accuracy(targets, predictions), [1.0, 1.0, 0.0, 1.0])


def test_binary_accuracy_of_several_outputs_is_their_share():
    assert metrics.binary_accuracy([[1, 0, 1, 1]], [[0.9, 0.9, 0.9, 0.1]]) == [0.5]


def test_errors():
    y_true, y_pred = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[2.0, 5.0], [0.0, -1.0]], dtype=np.float32)
    np.testing.assert_array_equal(metrics.mse(y_true, y_pred), [(1 + 9) / 2, (0 + 1) / 2])
    np.testing.assert_array_equal(metrics.mae(y_true, y_pred), [(1 + 3) / 2, (0 + 1) / 2])
    np.testing.assert_array_equal(metrics.mse(np.array([1.0, 2.0]), np.array([[3.0], [2.0]])), [4.0, 0.0])


def test_mean_counts_samples_not_batches():
    accuracy = Mean(metrics.sparse_categorical_accuracy, name="accuracy")
    accuracy.update(LABELS[:3], PREDICTIONS[:3])  # 2 of 3
    accuracy.update(LABELS[3:], PREDICTIONS[3:])  # 1 of 1
    assert accuracy.result() == 0.75
    accuracy.reset()
    accuracy.update(LABELS[3:], PREDICTIONS[3:])
    assert accuracy.result() == 1.0


def test_sample_weights():
    accuracy = Mean(metrics.sparse_categorical_accuracy)
    accuracy.update(LABELS, PREDICTIONS, sample_weight=np.array([1.0, 0.0, 3.0, 2.0]))
    # (1 + 0 + 0 + 2) / (1 + 0 + 3 + 2)
    assert accuracy.result() == 0.5
    assert accuracy.name == "sparse_categorical_accuracy"


def test_weights_of_samples_and_masks_of_time_steps():
    labels, predictions = LABELS.reshape(2, 2), PREDICTIONS.reshape(2, 2, 3)  # right: [[1, 1], [0, 1]]
    accuracy = Mean(metrics.sparse_categorical_accuracy)
    accuracy.update(labels, predictions, sample_weight=np.array([3.0, 1.0]))
    assert accuracy.result() == (3 + 3 + 0 + 1) / (3 + 3 + 1 + 1)
    accuracy.reset()
    accuracy.update(labels, predictions, sample_weight=np.array([[True, False], [True, False]]))
    assert accuracy.result() == 0.5


def test_nothing_to_average_is_zero():
    accuracy = Mean(metrics.sparse_categorical_accuracy)
    assert accuracy.result() == 0.0
    accuracy.update(LABELS, PREDICTIONS, sample_weight=np.zeros(4))
    assert accuracy.result() == 0.0


@pytest.mark.parametrize(
    ("loss", "shape", "function"),
    [
        ("categorical_crossentropy", (None, 3), metrics.categorical_accuracy),
        ("sparse_categorical_crossentropy", (None, 5, 3), metrics.sparse_categorical_accuracy),
        ("binary_crossentropy", (None, 4), metrics.binary_accuracy),
        ("mse", (None, 1), metrics.binary_accuracy),
        ("mse", (None, 3), metrics.categorical_accuracy),
        (None, None, metrics.categorical_accuracy),
    ],
)
@pytest.mark.parametrize("name", ["accuracy", "acc"])
def test_accuracy_fits_the_loss(name, loss, shape, function):
    metric = metrics.get(name, loss, shape)
    assert (metric.name, metric.function) == (name, function)


def test_get_takes_names_objects_and_functions():
    assert metrics.get("mean_squared_error").function is metrics.mse
    assert metrics.get("mean_squared_error").name == "mean_squared_error"
    metric = Mean(metrics.mae)
    assert metrics.get(metric) is metric

    def largest_error(y_true, y_pred):
        return abs(y_true - y_pred).max(axis=-1)

    own = metrics.get(largest_error)
    own.update(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, -3.0], [1.0, 2.0]]))
    assert (own.name, own.result()) == ("largest_error", 2.0)


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ("acuracy", ValueError, "there is no metric 'acuracy'; there are 'accuracy', "),
        (3, TypeError, "a metric is a name such as 'accuracy'"),
        (Mean, TypeError, "a metric is a name such as 'accuracy'"),
    ],
)
def test_get_names_what_exists(wanted, error, message):
    with pytest.raises(error, match=message):
        metrics.get(wanted)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"class numbers of shape \(4,\) .* for one-hot targets"):
        metrics.sparse_categorical_accuracy(ONE_HOT, PREDICTIONS)
    with pytest.raises(ValueError, match=r"same shape, got \(4,\) and \(4, 3\)"):
        metrics.categorical_accuracy(LABELS, PREDICTIONS)
    with pytest.raises(ValueError, match=r"must have shape \(4,\) or \(4,\), got \(3,\)"):
        Mean(metrics.sparse_categorical_accuracy).update(LABELS, PREDICTIONS, np.ones(3))
    with pytest.raises(ValueError, match="must give one value per sample"):
        Mean(lambda y_true, y_pred: 0.5).update(LABELS, PREDICTIONS)


def test_confusion_matrix():
    confusion = metrics.confusion_matrix([0, 0, 0, 1, 2], [0, 2, 2, 1, 0], num_classes=4)
    expected = [[1, 0, 2, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    np.testing.assert_array_equal(confusion, expected)
    assert confusion.dtype == np.int64


def test_confusion_matrix_of_small_integers_does_not_overflow():
    labels = np.full(3, 19, dtype=np.uint8)  # 20·19 + 19 = 399 > 255
    assert metrics.confusion_matrix(labels, labels, 20)[19, 19] == 3


@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([0, 3], [0, 1], "y_true must be from 0 to 2 for 3 classes, got values from 0 to 3"),
        ([0, 1], [-1, 1], "y_pred must be from 0 to 2"),
        ([0, 1], [0.2, 0.8], r"y_pred must be integer class numbers, got float64; .*argmax"),
        ([0, 1], [0], r"same shape, got \(2,\) and \(1,\)"),
    ],
)
def test_confusion_matrix_refuses(y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(y_true, y_pred, 3)


def test_classification_report():
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    up, down, never = metrics.classification_report(confusion, ["up", "down", "never"])
    # up: 3 of 5 predicted, 3 of 4 true, F1 = 2·(3/5)(3/4) / (3/5 + 3/4) = 0.9/1.35
    assert up == {"class": "up", "precision": 0.6, "recall": 0.75, "f1": pytest.approx(2 / 3), "support": 4}
    # down: 4 of 5, 4 of 6, F1 = 2·(4/5)(2/3) / (4/5 + 2/3) = (16/15)/(22/15)
    assert down["f1"] == pytest.approx(8 / 11)
    assert never == {"class": "never", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_classification_report_of_wrong_names():
    with pytest.raises(ValueError, match=r"2 class names has shape \(2, 2\), got \(3, 3\)"):
        metrics.classification_report(np.zeros((3, 3), dtype=int), ["a", "b"])


def test_an_own_metric_must_be_complete():
    class Half(metrics.Metric):
        def reset(self):
            pass

    with pytest.raises(NotImplementedError, match="Half must implement result"):
        Half("half").result()
