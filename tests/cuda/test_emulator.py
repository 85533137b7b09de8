"""The CUDA emulator: right numbers, and what its checks find and do not find."""

import re
from pathlib import Path

import numpy as np
import pytest

from minivid.cuda import emulator, source
from minivid.cuda.emulator import EmulatorError, RawModule, build, check_file

pytestmark = pytest.mark.emulator
PLANTED = sorted((Path(__file__).parent / "planted").glob("*.cu"))
BOTH_MODES = pytest.mark.parametrize("mode", ["check", "fast"])
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def run(body, *arrays, grid=(1,), block=(32,), shared_mem=0, cooperative=False, fresh=()):
    """Run a kernel whose parameters are float arrays x, y, z, ... as given; return the last one."""
    names = "xyzw"[: len(arrays)]
    parameters = ", ".join(f"{_C_TYPES[a.dtype.name]}* {name}" for a, name in zip(arrays, names, strict=True))
    module = RawModule(f'extern "C" __global__ void k({parameters}) {{ {body} }}', (), "k")
    module.get_function("k")(grid, block, arrays, shared_mem, cooperative, fresh)
    return arrays[-1]


_C_TYPES = {"float32": "float", "float64": "double", "int32": "int", "uint32": "unsigned int", "uint8": "unsigned char"}


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def counted(*shape, dtype=np.float32):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


# --- Right numbers ----------------------------------------------------------------------------------------------------


@BOTH_MODES
@SEEDS
def test_every_thread_knows_where_it_is(mode, seed):
    body = """
        const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        x[block * blockDim.x * blockDim.y * blockDim.z + thread] = 100 * block + thread;
    """
    with emulator.mode(mode), emulator.schedule(seed):
        x = run(body, zeros(24 * 30, dtype=np.int32), grid=(2, 3, 4), block=(5, 3, 2))
    np.testing.assert_array_equal(x.reshape(24, 30), 100 * np.arange(24)[:, None] + np.arange(30))


@BOTH_MODES
@SEEDS
def test_shared_memory_and_barriers(mode, seed):
    body = """
        __shared__ float a[8][4], b;
        extern __shared__ float c[];
        a[threadIdx.x / 4][threadIdx.x % 4] = x[threadIdx.x];
        c[threadIdx.x] = 2 * x[threadIdx.x];
        if (threadIdx.x == 5) b = 7;
        __syncthreads();
        y[threadIdx.x] = a[7 - threadIdx.x / 4][3 - threadIdx.x % 4] + c[(threadIdx.x + 1) % 32] + b;
    """
    with emulator.mode(mode), emulator.schedule(seed):
        y = run(body, counted(32), zeros(32), shared_mem=128)
    t = np.arange(32)
    np.testing.assert_array_equal(y, (31 - t) + 2 * ((t + 1) % 32) + 7)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("__shfl_sync(0xffffffffu, v, 3)", lambda t: 0 * t + 3),
        ("__shfl_sync(0xffffffffu, v, 3, 8)", lambda t: t // 8 * 8 + 3),
        ("__shfl_up_sync(0xffffffffu, v, 2)", lambda t: np.where(t < 2, t, t - 2)),
        ("__shfl_down_sync(0xffffffffu, v, 2, 16)", lambda t: np.where(t % 16 > 13, t, t + 2)),
        ("__shfl_xor_sync(0xffffffffu, v, 5)", lambda t: t ^ 5),
        ("__ballot_sync(0xffffffffu, t < 3)", lambda t: 0 * t + 7),
        ("__any_sync(0xffffffffu, t == 31)", lambda t: 0 * t + 1),
        ("__all_sync(0xffffffffu, t < 31)", lambda t: 0 * t),
        ("__popc(__match_any_sync(0xffffffffu, t % 4))", lambda t: 0 * t + 8),
        ("__syncthreads_count(t < 9)", lambda t: 0 * t + 9),
        ("__syncthreads_or(t == 9)", lambda t: 0 * t + 1),
        ("__syncthreads_and(t < 9)", lambda t: 0 * t),
    ],
)
@SEEDS
def test_warps_and_votes(expression, expected, seed):
    with emulator.schedule(seed):
        x = run(f"const int t = threadIdx.x; const float v = t; x[t] = {expression};", zeros(32))
    np.testing.assert_array_equal(x, expected(np.arange(32)))


def test_a_shuffle_from_a_lane_outside_the_mask_gives_nan():
    body = "if (threadIdx.x < 4) x[threadIdx.x] = __shfl_sync(0xfu, 1.0f, threadIdx.x == 0 ? 9 : 1);"
    np.testing.assert_array_equal(run(body, zeros(4)), [np.nan, 1, 1, 1])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("atomicAdd(x, 2.5f)", 10 + 64 * 2.5),
        ("atomicSub(x, 1)", 10 - 64),
        ("atomicMax(x, threadIdx.x)", 31),
        ("atomicMin(x, threadIdx.x)", 0),
        ("atomicExch(x, 4)", 4),
        ("atomicCAS(x, 10, 5)", 5),
        ("atomicInc(reinterpret_cast<unsigned int*>(y), 5)", 10),
    ],
)
def test_atomics(call, expected):
    x, y = np.array([10], np.float32), zeros(1)
    run(f"{call};", x, y, grid=(2,))
    assert x[0] == expected
    assert y.view(np.uint32)[0] == (64 % 6 if "Inc" in call else 0)  # counts 0 1 2 3 4 5 0 1 ...


@BOTH_MODES
def test_vector_types(mode):
    body = """
        const float4 v = reinterpret_cast<const float4*>(x)[threadIdx.x];
        float4 doubled = make_float4(2 * v.x, 2 * v.y, 2 * v.z, 2 * v.w);
        doubled.w = -1;
        reinterpret_cast<float4*>(y)[threadIdx.x] = doubled;
    """
    with emulator.mode(mode):
        y = run(body, counted(8, 4), zeros(8, 4), block=(8,))
    np.testing.assert_array_equal(y, np.where(np.arange(4) == 3, -1, 2 * counted(8, 4)))


def test_blocks_of_a_cooperative_launch_wait_for_each_other_and_keep_their_shared_memory():
    body = """
        __shared__ float mine;
        if (threadIdx.x == 0) mine = x[blockIdx.x] = blockIdx.x;
        __emulator_grid_barrier();
        if (threadIdx.x == 1) y[blockIdx.x] = x[3 - blockIdx.x] + 10 * mine;
    """
    y = run(body, zeros(4), zeros(4), grid=(4,), cooperative=True)
    np.testing.assert_array_equal(y, [3, 12, 21, 30])


def test_scalars_and_structs_reach_the_kernel():
    code = """
        struct Pair { int first, second; };
        extern "C" __global__ void k(double* y, double a, int n, Pair p) { y[0] = a + n * p.second - p.first; }
    """
    pair = np.array((3, 5), dtype=[("first", np.int32), ("second", np.int32)])[()]
    y = zeros(1, dtype=np.float64)
    RawModule(code).get_function("k")((1,), (1,), (y, np.float64(0.5), np.int32(4), pair))
    assert y[0] == 0.5 + 4 * 5 - 3


def test_an_argument_of_the_wrong_size_is_refused():
    code = 'extern "C" __global__ void k(float* y, int n) {}'
    with pytest.raises(TypeError, match="int n has 4 bytes, got 8"):
        RawModule(code).get_function("k")((1,), (1,), (zeros(1), np.int64(4)))


def test_two_instances_of_a_template_have_their_own_shared_arrays():
    code = """
        template <int N> __device__ float sum(const float* x) {
            __shared__ float s[N];
            if (threadIdx.x < N) s[threadIdx.x] = N * x[threadIdx.x];
            __syncthreads();
            float total = 0;
            for (int i = 0; i < N; i++) total += s[i];
            return total;
        }
        extern "C" __global__ void k(const float* x, float* y) { y[threadIdx.x] = sum<2>(x) + sum<4>(x); }
    """
    y = zeros(8)
    RawModule(code).get_function("k")((1,), (8,), (counted(8), y))
    np.testing.assert_array_equal(y, np.full(8, 2 * (0 + 1) + 4 * (0 + 1 + 2 + 3)))


def test_the_same_array_twice_is_the_same_memory():
    x = counted(32)
    run("y[threadIdx.x] = x[threadIdx.x] + 1;", x, x)
    np.testing.assert_array_equal(x, counted(32) + 1)


# --- Planted bugs -----------------------------------------------------------------------------------------------------


def test_there_are_enough_planted_bugs():
    assert len(PLANTED) >= 30


@pytest.mark.parametrize("path", PLANTED, ids=lambda path: path.stem)
@SEEDS
def test_planted_bugs_are_found(path, seed):
    expected = re.search("// finds: (.*)", path.read_text())[1]
    if expected == "wrong numbers":
        pytest.skip("nothing but the numbers is wrong: the next test compares them")
    with pytest.raises(EmulatorError, match=re.escape(expected)) as caught:
        check_file(path, seeds=[seed], defines=["BUG"])
    if expected.split()[0] in ("RACE", "OUT", "UNINITIALISED", "DIVERGENT", "WRITE", "MISALIGNED"):
        assert re.search(rf"thread \(\d+,\d+,\d+\) (waits )?at {path.stem}.cu:\d+", str(caught.value))


@pytest.mark.parametrize("path", PLANTED, ids=lambda path: path.stem)
def test_their_clean_twins_have_no_findings(path):
    assert check_file(path).endswith("no findings on 3 schedules")


@pytest.mark.parametrize("macros", [["-DBUG"], []])
def test_wrong_numbers_are_found_by_comparing(macros):
    (path,) = [path for path in PLANTED if path.stem == "next_row"]
    x, y = counted(8, 8), zeros(8, 8)
    RawModule(path.read_text(), ["-Dreal=float", *macros]).get_function("transpose")((1,), (8, 8), (x, y))
    assert np.array_equal(y, x.T) == (not macros)


# --- Messages ---------------------------------------------------------------------------------------------------------


def findings(body, *arrays, **options):
    with pytest.raises(EmulatorError) as caught:
        run(body, *arrays, **options)
    return str(caught.value)


def test_a_race_names_everything():
    body = """
        __shared__ float s[2][16];
        s[0][threadIdx.x] = 1;
        s[1][threadIdx.x] = 2;
        x[threadIdx.x] = s[1][15 - threadIdx.x];
    """
    message = findings(body, zeros(16), block=(16,), grid=(1, 2))
    assert message.startswith("k (k.cu), grid (1,2,1), block (16,1,1):\n")
    # In order, thread 8 is the first that writes to what another thread has read: 15 - 7 = 8.
    assert (
        "RACE on shared s[1][8]: read by block (0,0,0) thread (7,0,0) at k.cu:5, "
        "then write by thread (8,0,0) at k.cu:4, no barrier between, and threads of a warp need __syncwarp()"
    ) in message


def test_an_array_is_named_by_its_parameter_and_index():
    message = findings("x[threadIdx.x] += y[threadIdx.x + 24];", zeros(32), zeros(5, 10))
    assert (
        "OUT OF BOUNDS read of y[50] (it has 50 elements, 5 x 10): block (0,0,0) thread (26,0,0) at k.cu:1" in message
    )


def test_a_wild_address_belongs_to_no_array():
    assert "an address that belongs to no array" in findings("x[1000000000 + threadIdx.x] = 1;", zeros(32))


def test_arrays_stay_as_they_were_when_something_is_wrong():
    x = counted(32)
    findings("x[31 - threadIdx.x] = -1; if (threadIdx.x == 31) x[32] = 0;", x)
    np.testing.assert_array_equal(x, counted(32))


def test_a_view_keeps_its_alignment():
    run("const float4 v = reinterpret_cast<const float4*>(x)[0]; y[0] = v.x;", counted(64)[4:], zeros(8), block=(1,))
    body = "const float4 v = reinterpret_cast<const float4*>(x)[0]; y[0] = v.x;"
    assert "MISALIGNED read of 16 bytes at x[0]" in findings(body, counted(64)[1:], zeros(8), block=(1,))


def test_an_assertion_of_the_kernel():
    assert "ASSERTION failed: block (0,0,0) thread (7,0,0) at k.cu:1" in findings("assert(threadIdx.x < 7);", zeros(1))


def test_a_grid_barrier_needs_a_cooperative_launch():
    assert "not cooperative" in findings("__emulator_grid_barrier();", zeros(1))


def test_too_much_static_shared_memory():
    body = "__shared__ float s[12289]; s[0] = 1; x[0] = s[0];"
    assert "need 49168 bytes, a block has 49152" in findings(body, zeros(1), block=(1,))


def test_an_error_of_the_compiler_names_the_line():
    with pytest.raises(EmulatorError, match=r"k\.cu:2:.*error.*missing"):
        run("\nmissing(1);", zeros(1))


def test_without_a_compiler_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    build.compiler.cache_clear()
    try:
        assert build.compiler() is None
        with pytest.raises(EmulatorError, match="needs a C\\+\\+ compiler and finds none; install one"):
            run("x[0] = 123456;", zeros(1))
    finally:
        monkeypatch.undo()
        build.compiler.cache_clear()


def test_unknown_kernels_and_modes():
    with pytest.raises(ValueError, match="has no kernel 'b'; it has a"):
        RawModule('extern "C" __global__ void a() {}').get_function("b")
    with pytest.raises(ValueError, match="'check' and 'fast'"), emulator.mode("quick"):
        pass


# --- Files that say how to run ----------------------------------------------------------------------------------------


def test_a_file_without_a_run_line_is_told_how(tmp_path):
    path = tmp_path / "a.cu"
    path.write_text("__global__ void scale(float* x) {}")
    with pytest.raises(ValueError, match=r"a\.cu does not say how to launch scale(.|\n)*// run: saxpy<<<4, 64>>>"):
        check_file(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("scale<<4>>(x[3])", "is not a launch"),
        ("scale<<<4>>>(x[3], 1.0)", "needs a grid and a block"),
        ("scale<<<4, a>>>(x[3], 1.0)", "'a' in .* is no size"),
        ("scale<<<4, 32>>>(x[3])", r"gives 1 arguments; the kernel takes 2 \(float\* x, float a\)"),
        ("scale<<<4, 32>>>(y[3], 1.0)", r"'y\[3\]': the parameter in this place is float\* x"),
        ("scale<<<4, 32>>>(1.0, 1.0)", r"expected an array, e\.g\. x\[256\]"),
        ("other<<<4, 32>>>(x[3], 1.0)", "has no kernel 'other'"),
    ],
)
def test_run_lines_that_cannot_be_read(tmp_path, line, message):
    path = tmp_path / "a.cu"
    path.write_text(f"// run: {line}\n__global__ void scale(float* x, float a) {{}}")
    with pytest.raises(ValueError, match=message):
        check_file(path)


# --- Profile ----------------------------------------------------------------------------------------------------------


def profiled(body, *arrays):
    with emulator.profile() as lines:
        run(body, *arrays)
    return {(line.space, line.access): (line.requests, line.transactions, line.ideal) for line in lines}


@pytest.mark.parametrize(
    ("index", "sectors"),
    [
        ("threadIdx.x", 4),  # 32 numbers of 4 bytes in a row: 128 bytes
        ("2 * threadIdx.x", 8),  # spread over 256 bytes
        ("8 * threadIdx.x", 32),  # each in a sector of its own
        ("0", 1),
    ],
)
def test_sectors_of_a_global_read(index, sectors):
    body = f"const float v = x[{index}]; y[threadIdx.x] = v;"
    ideal = 1 if index == "0" else 4
    assert profiled(body, counted(256), zeros(32)) == {
        ("global", "read"): (1, sectors, ideal),
        ("global", "write"): (1, 4, 4),
    }


@pytest.mark.parametrize(("stride", "wavefronts"), [(1, 1), (2, 2), (32, 32), (33, 1)])
def test_wavefronts_of_a_shared_write(stride, wavefronts):
    body = f"__shared__ float s[33 * 32]; s[{stride} * threadIdx.x] = x[0];"
    assert profiled(body, zeros(1))["shared", "write"] == (1, wavefronts, 1)


def test_float4_in_shared_memory_takes_four_wavefronts():
    body = "__shared__ float4 s[32]; s[threadIdx.x] = make_float4(1, 2, 3, 4);"
    assert profiled(body, zeros(1))["shared", "write"] == (1, 4, 4)


def test_a_struct_is_loaded_at_once_and_charged_to_the_kernel(tmp_path):
    (tmp_path / "pixel.cuh").write_text("""
        struct alignas(16) Pixel { float r, g, b, a; };
        __device__ __forceinline__ Pixel load(const float* x) { return *reinterpret_cast<const Pixel*>(x); }
    """)
    path = tmp_path / "k.cu"
    path.write_text("""#include "pixel.cuh"
        extern "C" __global__ void k(const float* x, float* y) {
            const Pixel p = load(x + 4 * threadIdx.x);
            y[threadIdx.x] = p.r + p.g + p.b + p.a;
        }
    """)
    with emulator.profile() as lines:
        RawModule(source.with_includes(path), (), "k").get_function("k")((1,), (32,), (zeros(128), zeros(32)))
    assert lines[0] == ("k", "k.cu", 3, "global", "read", 1, 16, 16)


def test_a_struct_of_aligned_numbers_need_not_be_aligned_itself():
    code = """
        struct Pair { float first, second; };
        extern "C" __global__ void k(const float* x, float* y) {
            const Pair p = *reinterpret_cast<const Pair*>(x + 1);
            y[0] = p.first + 10 * p.second;
        }
    """
    y = zeros(1)
    RawModule(code).get_function("k")((1,), (1,), (counted(4), y))
    assert y[0] == 1 + 10 * 2
