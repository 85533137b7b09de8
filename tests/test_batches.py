import numpy as np
import pytest

import minivid
from minivid.batches import ArrayBatches, Batch, as_batches, check_arrays, is_sequence_of_batches, iterate, take, unpack


class Batches:
    """The least a batch sequence is: no __iter__, and no IndexError at its end."""

    def __init__(self, count=3):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return np.full((2, 4), index), np.full(2, index)


def test_cuts_into_batches():
    data = Batch(np.arange(7), np.arange(7) * 10, np.arange(7) / 2)
    batches = ArrayBatches(data, batch_size=3)
    assert len(batches) == 3
    assert [b.x.tolist() for b in batches] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [b.y.tolist() for b in batches] == [[0, 10, 20], [30, 40, 50], [60]]
    assert [b.weight.tolist() for b in batches] == [[0, 0.5, 1], [1.5, 2, 2.5], [3]]
    assert all(b.mask is None for b in batches)


def test_shuffles_all_parts_alike_and_anew():
    data = check_arrays(
        np.arange(20.0)[:, None, None] * np.ones((20, 3, 1)), np.arange(20), np.arange(20), [1, 2, 3, 0] * 5
    )
    batches = ArrayBatches(data, batch_size=20, shuffle=True)
    minivid.set_seed(0)
    (first,), (second,) = batches, batches
    for b in (first, second):
        assert sorted(b.y) == list(range(20))
        np.testing.assert_array_equal(b.x[:, 0, 0], b.y)
        np.testing.assert_array_equal(b.weight, b.y)
        np.testing.assert_array_equal(b.mask.sum(axis=1), np.array([1, 2, 3, 0] * 5)[b.y])
    assert (first.y != np.arange(20)).any()
    assert (first.y != second.y).any()
    minivid.set_seed(0)
    np.testing.assert_array_equal(next(iter(batches)).y, first.y)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, True, "8"])
def test_bad_batch_size(batch_size):
    with pytest.raises(ValueError, match="batch_size must be a positive int, got"):
        as_batches(np.zeros((4, 2)), batch_size=batch_size)


def test_lists_become_arrays():
    data = check_arrays([[1, 2], [3, 4]], [0, 1])
    assert data.x.shape == (2, 2)
    assert data.y.tolist() == [0, 1]


def test_lengths_become_a_mask():
    data = check_arrays(np.zeros((3, 4, 2)), lengths=[4, 0, 2])
    np.testing.assert_array_equal(data.mask, [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": np.zeros((0, 3))}, ValueError, r"x holds no samples: its shape is \(0, 3\)"),
        ({"x": 3.0}, ValueError, "x holds no samples"),
        ({"x": np.array([None])}, TypeError, "x must be an array of real numbers, got dtype object"),
        ({"x": np.array(["a"])}, TypeError, "x must be an array of real numbers"),
        ({"x": np.ones(2, dtype=complex)}, TypeError, "x must be an array of real numbers"),
        ({"x": (i for i in range(3))}, TypeError, r"a generator has no length.*len\(\)"),
        ({"x": [np.zeros((2, 3)), np.zeros((4, 3))]}, ValueError, r"different shapes; pad them.*lengths="),
        ({"x": np.zeros((3, 2)), "y": np.zeros(2)}, ValueError, r"x has 3 samples, but y has shape \(2,\)"),
        ({"x": np.zeros((3, 2)), "y": np.array(["a"] * 3)}, TypeError, "y must be.*turn labels into numbers first"),
        ({"x": np.zeros((3, 2)), "sample_weight": [1, 2]}, ValueError, "sample_weight has shape"),
        ({"x": np.zeros((3, 2)), "lengths": [1, 1, 1]}, ValueError, r"one number per sequence \(N, T, \.\.\.\)"),
        ({"x": np.zeros((3, 2, 1)), "lengths": [1, 1]}, ValueError, "one number per sequence"),
        ({"x": np.zeros((3, 2, 1)), "lengths": [1, 1, 3]}, ValueError, "whole numbers from 0 to 2"),
        ({"x": np.zeros((3, 2, 1)), "lengths": [1, 1, -1]}, ValueError, "whole numbers from 0 to 2"),
        ({"x": np.zeros((3, 2, 1)), "lengths": [1, 1, 0.5]}, ValueError, "whole numbers from 0 to 2"),
    ],
)
def test_bad_arrays(arguments, error, message):
    with pytest.raises(error, match=message):
        check_arrays(**arguments)


def test_what_is_a_batch_sequence():
    assert is_sequence_of_batches(Batches())
    for other in (np.zeros(3), [1, 2], (1, 2), "ab", {"x": 1}, range(3), (i for i in range(3)), 5, None):
        assert not is_sequence_of_batches(other)


def test_a_batch_sequence_stays_as_it_is():
    batches = Batches()
    assert as_batches(batches) is batches
    assert [b.y.tolist() for b in iterate(batches)] == [[0, 0], [1, 1], [2, 2]]


def test_what_belongs_to_the_sequence():
    with pytest.raises(ValueError, match="batch_size=32 belongs to the generator: Batches already comes in batches"):
        as_batches(Batches(), batch_size=32)
    for name in ("y", "sample_weight", "lengths"):
        with pytest.raises(ValueError, match=f"{name} comes with the batches of Batches; leave {name}= out"):
            as_batches(Batches(), **{name: np.zeros(2)})
    with pytest.raises(ValueError, match="Batches has no batches"):
        as_batches(Batches(0))


def test_unpack():
    x, y, w = np.zeros((2, 3, 1)), np.ones(2), np.full(2, 0.5)
    assert unpack(x).y is None
    assert unpack((x,)).y is None
    assert unpack((x, y)).y is y
    assert unpack((x, y, w)).weight is w
    np.testing.assert_array_equal(unpack((x, y, None, [1, 3])).mask, [[1, 0, 0], [1, 1, 1]])
    batch = Batch(x, y)
    assert unpack(batch) is batch
    with pytest.raises(TypeError, match="got a tuple of 5"):
        unpack((x, y, w, [1, 1], 0))


def test_take():
    data = take(Batch(np.arange(5), np.arange(5) * 2), np.array([3, 0]))
    assert data.x.tolist() == [3, 0]
    assert data.y.tolist() == [6, 0]
    assert data.weight is None
