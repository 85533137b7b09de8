"""The compile check: it passes on every kernel, and fails on what is planted."""

import json

import pytest

from minivid.cli import main
from minivid.cuda import nvrtc, report, source
from minivid.cuda.nvrtc import CompileError, Resources, compile_kernels, compile_text

needs_nvrtc = pytest.mark.skipif(nvrtc.missing() is not None, reason=str(nvrtc.missing()))

COPY = """
extern "C" __global__ void copy(const real* x, real* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = x[i];
}
"""

REVERSE = """
constexpr int THREADS = 128;
extern "C" __global__ void __launch_bounds__(THREADS) reverse(const real* x, real* y) {
    __shared__ real row[THREADS];
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = row[THREADS - 1 - threadIdx.x];
}
"""

DYNAMIC = """
extern __shared__ real row[];
extern "C" __global__ void reverse(const real* x, real* y, int n) {
    row[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = row[n - 1 - threadIdx.x];
}
"""

WARNING = COPY.replace("if (i", "int unused; if (i")

MISTAKE = COPY.replace("x[i];", "x[i]")

# 200 running values in each of 1024 threads, which have 64 registers each
SPILL = """
extern "C" __global__ void __launch_bounds__(1024) mix(const real* x, real* y, int n) {
    real a[200];
    #pragma unroll
    for (int i = 0; i < 200; i++) a[i] = x[i * n + threadIdx.x];
    for (int k = 0; k < n; k++) {
        #pragma unroll
        for (int i = 0; i < 200; i++) a[i] = a[i] * a[(i + 37) % 200] + a[(i + 11) % 200];
    }
    #pragma unroll
    for (int i = 0; i < 200; i++) y[i * n + threadIdx.x] = a[i];
}
"""

TEMPLATE = """
template <int K> __global__ void scale(const real* x, real* y) { y[threadIdx.x] = K * x[threadIdx.x]; }
"""

HIDDEN = '#define KERNEL extern "C" __global__ void\nKERNEL fill(real* y) { y[threadIdx.x] = 1; }\n'


@needs_nvrtc
def test_every_kernel_compiles_for_every_gpu():
    rows = compile_kernels()
    kernels = {(stem, kernel) for stem in source.stems() for kernel in source.load(stem).kernels}
    assert {(row.stem, row.kernel) for row in rows} == kernels
    assert len(rows) == 6 * len(kernels)
    assert all(row.spilled == 0 and 0 < row.registers < 256 for row in rows)
    never_fits = [row for row in rows if row.occupancy == 0]
    assert never_fits == []


@needs_nvrtc
def test_resources():
    [copied] = compile_text(COPY, "copy", "float32", "sm_80")
    assert copied[:4] == ("copy", "copy", "float32", "sm_80")
    assert (copied.shared, copied.dynamic, copied.threads, copied.occupancy) == (0, False, None, None)
    [turned] = compile_text(REVERSE, "reverse", "float64", "sm_80")
    assert (turned.shared, turned.dynamic, turned.threads) == (128 * 8, False, 128)
    assert turned.occupancy == 1
    [decided_later] = compile_text(DYNAMIC, "reverse", "float32", "sm_75")
    assert (decided_later.shared, decided_later.dynamic, decided_later.occupancy) == (0, True, None)


@needs_nvrtc
def test_local_memory_is_reported():
    picked = """
    extern "C" __global__ void pick(const real* x, const int* places, real* y, int n) {
        real a[64];
        for (int i = 0; i < 64; i++) a[i] = x[i * n];
        for (int i = 0; i < n; i++) a[places[i]] += 1;
        for (int i = 0; i < 64; i++) y[i] = a[i];
    }
    """
    [row] = compile_text(picked, "pick", "float64", "sm_90")
    assert (row.local, row.spilled) == (64 * 8, 0)


@needs_nvrtc
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            WARNING,
            r'(?s)planted.cu does not pass in float32 for sm_80.*planted.cu\(4\).*"unused" was declared but never',
        ),
        (MISTAKE, r'(?s)planted.cu\(\d\): error: expected a ";"'),
        (SPILL, r"planted.cu does not pass .*: mix spills \d+ bytes for lack of registers \(it has 64\)"),
        (TEMPLATE, "the kernel scale is in the source, but was not compiled; write it out"),
        (COPY.replace('extern "C"', ""), "the kernel _Z4copyPKfPfi was compiled, but is not in the source"),
        (HIDDEN, "the kernel fill was compiled, but is not in the source"),
    ],
    ids=["warning", "mistake", "spill", "template", "mangled", "hidden"],
)
def test_what_is_planted_fails(text, message):
    with pytest.raises(CompileError, match=message):
        compile_text(text, "planted", "float32", "sm_80")


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A folder of kernels with one file, whose text a test writes."""
    (tmp_path / "common.cuh").write_text("")
    monkeypatch.setattr(source, "folder", lambda: tmp_path)
    source.load.cache_clear()
    yield tmp_path / "planted.cu"
    source.load.cache_clear()


@needs_nvrtc
def test_command(planted, tmp_path, capsys):
    planted.write_text(REVERSE)
    assert main(["cuda", "compile", "--json", str(tmp_path / "table.json")]) == 0
    out = capsys.readouterr().out
    assert f"kernels/planted.cu, by NVRTC {nvrtc.version()}" in out
    [line] = [line.split() for line in out.splitlines() if "reverse   double" in line]
    assert line[2:5] == ["128", "1024", "0"]
    assert "1 kernels in float32 and float64 for sm_75, sm_80, sm_90: no warning, no spill." in out
    rows = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert len(rows) == 6
    assert rows[0]["kernel"] == "reverse"


@needs_nvrtc
def test_command_fails_with_the_words_of_the_compiler(planted, capsys):
    planted.write_text(MISTAKE)
    assert main(["cuda", "compile", "planted"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert 'error: expected a ";"' in captured.err


def test_command_on_a_file_that_is_not_there(planted, capsys):
    planted.write_text(COPY)
    assert main(["cuda", "compile", "conv9d"]) == 2
    assert "there is no kernel file 'conv9d'; there are planted" in " ".join(capsys.readouterr().err.split())


def test_without_nvrtc(planted, monkeypatch, capsys):
    planted.write_text(COPY)
    monkeypatch.setattr(nvrtc, "_WHEELS", ("no-such-package",))
    monkeypatch.setenv("CUDA_PATH", str(planted.parent))
    nvrtc._library.cache_clear()
    try:
        assert 'pip install "minivid[cuda-check]"' in nvrtc.missing()
        assert main(["cuda", "compile"]) == 1
    finally:
        nvrtc._library.cache_clear()
    assert "error: no compile check: NVRTC does not load" in capsys.readouterr().err


def test_table(capsys, monkeypatch):
    monkeypatch.setattr(report, "version", lambda: "13.0")
    rows = [Resources("fill", "fill_1", "float64", arch, 40, 48, True, 0, 0, 256) for arch in ("sm_75", "sm_80")]
    report.print_resources(rows)
    out = capsys.readouterr().out
    assert ["fill_1", "double", "256", "48", "+", "0", "40", "40", "-", "-"] in [
        line.split() for line in out.splitlines()
    ]
