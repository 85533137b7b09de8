"""Splits: no sample twice, no class forgotten, no source on both sides."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivid.video import SplitWarning, group_split, stratified_split
from minivid.video.splits import warn_if_classes_differ


@given(st.lists(st.integers(2, 12), min_size=1, max_size=5), st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_stratified_split_takes_the_same_part_of_every_class(sizes, fraction, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    training, held_out = stratified_split(labels, fraction, seed)
    assert sorted([*training, *held_out]) == list(range(len(labels)))
    for k, size in enumerate(sizes):
        held = int((labels[held_out] == k).sum())
        assert 1 <= held <= size - 1
        assert abs(held - fraction * size) <= 1


def test_stratified_split_counts_worked_by_hand():
    labels = ["a"] * 10 + ["b"] * 5
    _, held_out = stratified_split(labels, 0.2)
    assert [labels[k] for k in held_out] == ["a", "a", "b"]  # 0.2·10 = 2 and 0.2·5 = 1


def test_the_seed_decides_which():
    labels = [0] * 50 + [1] * 50
    first, again, other = (stratified_split(labels, 0.2, seed)[1].tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other


@given(st.integers(2, 8), st.integers(1, 4), st.floats(0.1, 0.9), st.integers(0, 2**31), st.booleans())
def test_group_split_keeps_groups_whole(groups, classes, fraction, seed, with_labels):
    rng = np.random.default_rng(seed)
    names = [*range(groups), *rng.integers(groups, size=30).tolist()]
    labels = rng.integers(classes, size=len(names)) if with_labels else None
    training, held_out = group_split(names, fraction, seed, labels)
    assert sorted([*training, *held_out]) == list(range(len(names)))
    assert len(training)
    assert len(held_out)
    assert not {names[k] for k in training} & {names[k] for k in held_out}


def test_group_split_meets_fraction_and_classes():
    # ten recordings, each with one clip of every class: 0.3 is met exactly, by three whole recordings
    names, labels = np.repeat(np.arange(10), 6), np.tile(np.arange(6), 10)
    _, held_out = group_split(names, 0.3, 1, labels)
    assert len(held_out) == 18
    assert np.bincount(labels[held_out]).tolist() == [3] * 6


def test_group_split_spreads_the_classes():
    # ann and bob show only class 0, cid and dan only class 1: half of the samples with both classes takes one of each
    names = ["ann"] * 4 + ["bob"] * 4 + ["cid"] * 4 + ["dan"] * 4
    labels = [0] * 8 + [1] * 8
    for seed in range(5):
        _, held_out = group_split(names, 0.5, seed, labels)
        assert np.bincount(np.array(labels)[held_out]).tolist() == [4, 4]


@pytest.mark.parametrize("fraction", [0, 1, -0.2, 1.5])
def test_bad_fractions(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        stratified_split([0, 1], fraction)
    with pytest.raises(ValueError, match="between 0 and 1"):
        group_split(["a", "b"], fraction)


def test_splits_that_cannot_be():
    with pytest.raises(ValueError, match="at least two groups, found \\['ann'\\]"):
        group_split(["ann", "ann"], 0.5)
    with pytest.raises(ValueError, match="there are 2 groups but 3 labels"):
        group_split(["ann", "bob"], 0.5, labels=[0, 1, 1])
    with pytest.raises(ValueError, match="leaves one side empty"):
        stratified_split([0, 1], 0.2)  # a class of one cannot give to both sides: round(0.2) = 0 of each


def test_the_warning_lists_the_classes():
    with pytest.warns(SplitWarning, match="training side of the split has no sample of: kick"):
        warn_if_classes_differ({0}, {0, 1}, ["hug", "kick"])
    with pytest.warns(SplitWarning, match="held-out side .* no sample of: 0, 2"):
        warn_if_classes_differ({0, 1, 2}, {1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_classes_differ({0, 1}, {1, 0})
