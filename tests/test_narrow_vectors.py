"""Vectors of 32 bytes and 16 registers, as on most machines: a machine with wider ones never runs those kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minivid import simd

ROOT = Path(__file__).resolve().parents[1]

# Few tests, because all is compiled anew: both directions of the tile and of Winograd, framed and not, with panels.
TESTS = [
    "tests/ops/test_tile.py::test_large_weights_take_fewer_partial_sums",
    "tests/ops/test_tile.py::test_few_columns_take_vectors_of_taps",
    "tests/ops/test_tile.py::test_strips_of_images_and_of_rows",
    "tests/ops/test_winograd.py::test_many_tiles_and_channels",
]


@pytest.mark.skipif(simd.BYTES == 32, reason="all tests run with vectors of 32 bytes here")
def test_kernels_for_vectors_of_32_bytes(tmp_path):
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "MINIVID_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, "-k", "not float32"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
