"""`minivid cuda check` and `minivid cuda profile`; `minivid cuda compile` is in test_nvrtc.py."""

import pytest

from minivid.cli import main
from minivid.cuda import profile
from minivid.cuda.emulator.profiling import Line
from minivid.cuda.profile import CASES, Version, print_profile
from minivid.ops import maxpool2d_forward
from tests.numerics import kernel_versions

REVERSE = """
// run: reverse<<<1, 64>>>(x[64], out y[64])
extern "C" __global__ void reverse(const float* x, float* y) {
    __shared__ float row[64];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = row[63 - threadIdx.x];
}
"""


@pytest.mark.emulator
def test_check(tmp_path, capsys):
    right, wrong, silent = (tmp_path / f"{name}.cu" for name in ("right", "wrong", "silent"))
    right.write_text(REVERSE)
    wrong.write_text(REVERSE.replace("    __syncthreads();\n", ""))
    silent.write_text(REVERSE.replace("// run:", "//"))
    assert main(["cuda", "check", str(right)]) == 0
    assert "reverse<<<1, 64>>>(x[64], out y[64]): no findings" in capsys.readouterr().out
    assert main(["cuda", "check", str(wrong), str(silent), str(right)]) == 1
    captured = capsys.readouterr()
    assert "no findings" in captured.out
    assert f"{wrong}: " in captured.err
    assert "RACE on shared row" in captured.err
    assert "silent.cu does not say how to launch reverse" in captured.err


def test_check_of_a_file_that_is_not_there(tmp_path, capsys):
    assert main(["cuda", "check", str(tmp_path / "gone.cu")]) == 1
    assert "gone.cu" in capsys.readouterr().err


@pytest.mark.emulator
def test_profile(capsys):
    assert main(["cuda", "profile", "maxpool2d"]) == 0
    out = capsys.readouterr().out
    versions = [name for name in kernel_versions(maxpool2d_forward) if name.startswith("emulator")]
    for version in versions:
        assert f"\n{version} " in out  # in the table
        assert f"\n{version}: maxpool2d_forward_" in out  # and above its lines
    # 8·8 windows of 64 channels are 128 warps, each with 2·2 taps of 32 neighbouring floats
    assert "512 requests   4.0 sectors each, least 4.0   const real pixel = x[" in out


def test_profile_of_an_operation_without_a_case(capsys):
    assert main(["cuda", "profile", "conv3d"]) == 2
    assert "no case to profile for 'conv3d'; there are conv2d, maxpool2d" in capsys.readouterr().err


@pytest.mark.parametrize("operation", CASES)
def test_the_naive_version_comes_first(operation):
    names = profile._versions(CASES[operation])
    assert names[-1] == "emulator"
    assert names[:-1] == [f"emulator_{k + 1}" for k in range(len(names) - 1)]


def test_printed_profile(capsys):
    slow = [
        Line("conv2d_forward_1", "maxpool2d.cu", 1, "global", "read", 10, 320, 40),
        Line("conv2d_forward_1", "maxpool2d.cu", 2, "global", "write", 5, 20, 20),
    ]
    fast = [Line("conv2d_forward_2", "nowhere.cu", 1, "shared", "read", 100, 400, 100)]
    print_profile("conv2d", [Version("emulator_1", ["conv2d_forward_1"], slow), Version("emulator", ["b"], fast)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == CASES["conv2d"].name
    assert lines[3].split() == ["emulator_1", "conv2d_forward_1", "15", "340", "60", "0", "0", "0"]
    assert lines[4].split() == ["emulator", "b", "0", "0", "0", "100", "400", "100"]
    assert lines[6] == "emulator_1: conv2d_forward_1"
    costs = "  maxpool2d.cu:1   global   read    10 requests   32.0 sectors each, least 4.0"
    assert lines[7] == f'{costs}   #include "common.cuh"'
    assert lines[-1] == "  nowhere.cu:1   shared   read   100 requests   4.0 wavefronts each, least 1.0"
