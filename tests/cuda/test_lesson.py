"""The lesson of kernels/README.md: its matrix product is right, and its races are where it says."""

import re

import numpy as np
import pytest

from minivid.cuda import emulator, source
from minivid.cuda.source import folder

PAGE = folder() / "README.md"
LOADS, SUMS = "Bs[threadIdx.y][threadIdx.x] =", "sum += As"


def product():
    """The matrix product of the lesson."""
    [code] = re.findall(r"```cpp\n(// Save as tiled.cu.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return code


def line_of(text, code):
    [number] = [k for k, line in enumerate(code.splitlines(), start=1) if text in line]
    return f"tiled.cu:{number}"


@pytest.mark.emulator
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_product_is_right(dtype):
    rng = np.random.default_rng(0)
    A, B, C = rng.normal(size=(40, 50)), rng.normal(size=(50, 36)), np.empty((40, 36), dtype)
    real = {"float32": "float", "float64": "double"}[C.dtype.name]
    tiled = emulator.RawModule(product(), (f"-Dreal={real}",), "tiled").get_function("tiled")
    tiled((3, 3), (16, 16), (A.astype(dtype), B.astype(dtype), C, np.int32(40), np.int32(36), np.int32(50)))
    np.testing.assert_allclose(C, A @ B, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-12)


@pytest.mark.emulator
def test_the_file_can_be_checked(tmp_path):
    (tmp_path / "tiled.cu").write_text(product())
    assert "no findings" in emulator.check_file(tmp_path / "tiled.cu")


@pytest.mark.emulator
@pytest.mark.parametrize("barrier", ["  // the tiles are complete", "  // nobody reads them any more"])
def test_without_a_barrier_there_is_a_race(barrier, tmp_path):
    code = product().replace(f"__syncthreads();{barrier}", barrier)
    (tmp_path / "tiled.cu").write_text(code)
    with pytest.raises(emulator.EmulatorError, match=r"RACE on shared [AB]s") as error:
        emulator.check_file(tmp_path / "tiled.cu")
    assert line_of(LOADS, code) in str(error.value)
    assert line_of(SUMS, code) in str(error.value)


@pytest.mark.emulator
def test_a_thread_that_leaves_early_is_missed_at_the_barrier(tmp_path):
    code = product().replace("    real sum = 0;\n", "    if (m >= M) return;\n    real sum = 0;\n")
    (tmp_path / "tiled.cu").write_text(code)
    with pytest.raises(emulator.EmulatorError, match="DIVERGENT BARRIER"):
        emulator.check_file(tmp_path / "tiled.cu")


@pytest.mark.emulator
@pytest.mark.parametrize(("index", "wavefronts"), [("As[threadIdx.y][k]", 1), ("As[threadIdx.x][k]", 8)])
def test_bank_conflicts(index, wavefronts):
    code = product().replace("As[threadIdx.y][k]", index)
    tiled = emulator.RawModule(code, ("-Dreal=float",), "tiled").get_function("tiled")
    A, B, C = (np.ones((16, 16), np.float32) for _ in range(3))
    with emulator.profile() as lines:
        tiled((1, 1), (16, 16), (A, B, C, *[np.int32(16)] * 3))
    [line] = [line for line in lines if f"tiled.cu:{line.line}" == line_of(SUMS, code)]
    # 8 warps, 16 steps, a request for As and one for Bs; the latter is one wavefront
    assert (line.requests, line.transactions) == (2 * 8 * 16, (wavefronts + 1) * 8 * 16)


def test_what_the_first_walk_quotes_is_in_the_kernel():
    text = source.load("maxpool2d").text
    [walk] = re.findall(r"### A first walk.*?### A second walk", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    quoted = [line.strip() for block in re.findall(r"```cpp\n(.*?)```", walk, re.DOTALL) for line in block.splitlines()]
    assert len(quoted) > 5
    assert [line for line in quoted if line != "..." and line not in text] == []
