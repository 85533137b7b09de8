import numpy as np
import pytest

from minivid.utils import to_categorical


def test_one_at_the_label_zero_elsewhere():
    one_hot = to_categorical([1, 0, 3], num_classes=4)
    np.testing.assert_array_equal(one_hot, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    assert one_hot.dtype == np.float32
    assert to_categorical(np.array([[1, 2], [0, 2]], dtype=np.uint8)).shape == (2, 2, 3)  # K = 2 + 1
    assert to_categorical([True, False], dtype="float64").dtype == np.float64


def test_a_last_axis_of_length_one_is_dropped_as_in_keras():
    np.testing.assert_array_equal(to_categorical([[1.0], [0.0]]), [[0, 1], [1, 0]])


def test_no_labels_give_no_rows():
    assert to_categorical(np.zeros(0, dtype=int), num_classes=3).shape == (0, 3)


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        ([3, 5], 5, "from 0 to 4 for 5 classes, got labels from 3 to 5"),
        ([-1, 1], None, "got labels from -1 to 1"),
        ([0.0, 1.5], 3, "whole numbers, got 1.5"),
        ([0.0, np.nan], 3, "whole numbers, got nan"),
        (np.zeros(0), None, "pass num_classes"),
    ],
)
def test_labels_that_are_no_classes(labels, num_classes, message):
    with pytest.raises(ValueError, match=message):
        to_categorical(labels, num_classes)


def test_labels_that_are_no_numbers():
    with pytest.raises(TypeError, match="whole numbers, got an array of <U3"):
        to_categorical(["cat", "dog"])
