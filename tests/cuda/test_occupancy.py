"""How many blocks fit on a multiprocessor, worked by hand."""

import pytest

from minivid.cuda.occupancy import blocks_that_fit, occupancy


@pytest.mark.parametrize(
    ("architecture", "threads", "registers", "shared", "expected"),
    [
        ("sm_75", 256, 16, 0, 4),  # warps: 32 of them, 8 per block
        ("sm_80", 256, 16, 0, 8),  # 64 warps
        ("sm_75", 32, 16, 0, 16),  # no more than 16 blocks
        ("sm_90", 32, 16, 0, 32),  # no more than 32 blocks
        ("sm_80", 256, 64, 0, 4),  # registers: 64·32 = 2048 per warp, 8 warps in each quarter of 16384: 32 warps
        ("sm_80", 256, 65, 0, 3),  # 65·32 = 2080 is rounded up to 2304: 7 warps per quarter, 28 in all
        ("sm_80", 1024, 65, 0, 0),  # a block of 32 warps, and only 28 fit
        ("sm_75", 128, 32, 16 * 1024, 4),  # shared memory: 64 KB / 16 KB
        ("sm_80", 128, 32, 16 * 1024, 9),  # 164 KB / (16 + 1 of the system) KB = 9.6
        ("sm_90", 128, 32, 16 * 1024, 13),  # 228 KB / 17 KB = 13.4
        ("sm_75", 64, 32, 6000, 10),  # 6000 bytes are rounded up to 24 · 256 = 6144: 65536 / 6144 = 10.7
        ("sm_90", 33, 128, 0, 8),  # 33 threads are 2 warps; 128·32 = 4096, 4 per quarter: 16 warps
    ],
)
def test_by_hand(architecture, threads, registers, shared, expected):
    assert blocks_that_fit(architecture, threads, registers, shared) == expected


def test_occupancy_is_a_part_of_all_warps():
    assert occupancy("sm_80", 256, 65, 0) == 3 * 8 / 64
    assert occupancy("sm_75", 256, 65, 0) == 3 * 8 / 32
    assert occupancy("sm_80", 1024, 65, 0) == 0
