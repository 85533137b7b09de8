"""The work of each case, counted by hand."""

import inspect

import pytest

from minivid.bench import ours, peer
from minivid.bench.cases import (
    GPU_LADDERS,
    LADDERS,
    conv2d,
    dense,
    geometric_mean,
    groups,
    ideal_seconds,
    ladder_cases,
    lstm,
    maxpool2d,
    training_step,
)

ON_GPU = [case for group in groups("gpu") for case in group.cases] + list(GPU_LADDERS.values())
CASES = [case for group in groups() for case in group.cases] + [case for pair in LADDERS.values() for case in pair]


def test_conv2d_by_hand():
    case = conv2d(2, 3, 7, 5, kernel=3, stride=2, padding=1)
    # OH = (7 + 2 − 3) // 2 + 1 = 4; y has 2·4·4·5 = 160 elements, each a sum of 3·3·3 = 27 products
    assert case.flops == 2 * 160 * 27
    # x 2·7·7·3 = 294, w 27·5 = 135, b 5, y 160
    assert case.bytes == 4 * (294 + 135 + 5 + 160)
    assert case.name == "2×7×7×3 → 5, 3×3/2"
    back = conv2d(2, 3, 7, 5, kernel=3, stride=2, padding=1, backward=True)
    assert back.flops == 2 * case.flops
    assert back.bytes == 4 * (160 + 294 + 135 + 294 + 135 + 5)  # dy, x, w; dx, dw, db


def test_maxpool2d_by_hand():
    for backward in (False, True):
        case = maxpool2d(2, 3, 7, 3, 2, backward)
        # OH = (7 − 3) // 2 + 1 = 3: y and its places 2·3·3·3 = 54, x 294
        assert (case.flops, case.bytes) == (0, 4 * (294 + 54) + 54)


def test_lstm_by_hand():
    case = lstm(2, 3, 5, 4)
    assert case.flops == 2 * (2 * 3) * 16 * 9  # 6 rows, 4·4 columns, 5 + 4 inputs each
    assert case.bytes == 4 * (2 * 3 * 5 + 5 * 16 + 4 * 16 + 16 + 2 * 3 * 4)
    assert lstm(2, 3, 5, 4, backward=True).flops == 3 * case.flops


def test_dense_by_hand():
    case = dense(2, 3, 5)
    assert case.flops == 3 * 2 * 2 * 3 * 5
    # x 6, w 15, b 5, y 10 forward; dx 6, dw 15, db 5, dy 10 backward
    assert case.bytes == 4 * (36 + 36)


def test_training_step_by_hand():
    # 64×64 → conv 62 → pool 31 → conv 29 → pool 14; 128 frames; 14·14·64 = 12544 features
    conv1 = 2 * 128 * 62 * 62 * 27 * 32
    conv2 = 2 * 128 * 29 * 29 * 288 * 64
    lstms = 2 * 128 * 400 * (12544 + 100) + 2 * 128 * 400 * 200
    head = 2 * 8 * 100 * 10
    assert training_step(8, 16, 64).flops == 2 * conv1 + 3 * (conv2 + lstms + head)


def test_geometric_mean():
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1)
    assert geometric_mean([1.0, 10.0, 100.0]) == pytest.approx(10)


def test_ideal_seconds():
    assert ideal_seconds(600, 10, flops_per_second=100, bytes_per_second=10) == (6, "arithmetic")
    assert ideal_seconds(600, 100, flops_per_second=100, bytes_per_second=10) == (10, "memory")


def test_the_groups_of_the_targets():
    found = {group.key: (len(group.cases), group.target) for group in groups()}
    assert found.pop("neighbours")[0] > 20
    assert found == {
        "conv3x3-forward": (12, 1.5),
        "conv3x3-backward": (12, 1.3),
        "conv-other": (8, 1.2),
        "maxpool": (8, 5.0),
        "lstm": (10, 1.2),
        "dense": (2, 1.0),
        "step": (1, 2.5),
    }


def test_the_groups_of_the_gpu():
    found = {group.key: (len(group.cases), group.target) for group in groups("gpu")}
    assert found == {
        "conv3x3-forward": (12, 0.7),
        "conv3x3-backward": (12, 0.7),
        "conv-other": (8, 0.7),
        "maxpool": (8, 1.2),
        "lstm-forward": (3, 1.5),
        "lstm-both": (3, 1.0),
        "dense": (3, 0.7),
        "step": (1, 1.0),
    }


def test_a_gpu_gets_eight_times_the_batch():
    for key in ("conv3x3-forward", "conv3x3-backward", "conv-other", "maxpool", "step"):
        small, large = (next(group for group in groups(device) if group.key == key) for device in ("cpu", "gpu"))
        for case, larger in zip(small.cases, large.cases, strict=True):
            assert larger.settings == case.settings | {"N": 8 * case.settings["N"]}


def test_names_are_unique_within_a_group():
    for group in groups() + groups("gpu"):
        names = [case.name for case in group.cases]
        assert len(set(names)) == len(names), group.key


def test_neighbours_follow_the_shape_they_are_next_to():
    [group] = [group for group in groups() if group.key == "neighbours"]
    for shown in (group, group.quick()):
        seen = set()
        for case in shown.cases:
            assert case.base is None or case.base in seen
            seen.add(case.name)


@pytest.mark.parametrize("side", [ours, peer], ids=["ours", "peer"])
def test_both_sides_can_prepare_every_case(side):
    for case in CASES + ON_GPU:
        assert set(inspect.signature(getattr(side, case.kind)).parameters) == set(case.settings), case


@pytest.mark.parametrize("operation", LADDERS)
def test_reference_has_a_smaller_batch(operation):
    case, small = ladder_cases(operation)
    assert case.kind == small.kind
    assert case.settings | {"N": 0, "M": 0} == small.settings | {"N": 0, "M": 0}
    assert 0 < small.bytes < case.bytes
