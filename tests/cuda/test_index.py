"""The index of kernels lists every kernel, no other, and what the sources and the compiler say of each."""

import re

import pytest

from minivid.cli import main
from minivid.cuda import nvrtc, source
from minivid.cuda.index import equations, index
from minivid.cuda.nvrtc import Resources

PAGE = source.folder() / "README.md"
SOURCE = """
// A helper (page.3), and another.
__device__ real twice(real x) {
    return x + x;
}

template <int K>
__device__ __forceinline__ real many(real x) {
    return K * twice(x) / 2;  // (page.10a)
}

// What it computes (page.1), (page.2).
extern "C" __global__ void first_1(const real* x, real* y) {
    if (x[0] > 0) {
        y[0] = many<2>(x[0]);  // (page.2)
    }
}

// See (other.1a). Named like the first.
extern "C" __global__ void __launch_bounds__(32) second_1(real* y) {
    y[0] = 0;
}
"""


def test_equations():
    assert equations(SOURCE) == {"first_1": ["page.1", "page.2", "page.3", "page.10a"], "second_1": ["other.1a"]}


def rows_of_the_index():
    [table] = re.findall(r"<!-- kernels -->\n(.*?)\n<!-- end -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_index_lists_every_kernel_and_its_equations():
    expected = [
        (f"`{kernel}`", ", ".join(f"({tag})" for tag in tags))
        for stem in source.stems()
        for kernel, tags in sorted(equations(source.load(stem).text).items())
    ]
    assert [(row[1], row[2]) for row in rows_of_the_index()] == expected, (
        "minivid cuda compile --page kernels/README.md"
    )


def test_every_kernel_cites_an_equation():
    assert [row[1] for row in rows_of_the_index() if not row[2]] == []


@pytest.mark.skipif(nvrtc.missing() is not None, reason=str(nvrtc.missing()))
def test_the_index_has_the_threads_and_the_memory_of_every_kernel():
    assert index(nvrtc.compile_kernels(architectures=["sm_80"])) in PAGE.read_text(encoding="utf-8")


def test_a_row(tmp_path, monkeypatch):
    (tmp_path / "page.cu").write_text(SOURCE)
    monkeypatch.setattr(source, "folder", lambda: tmp_path)
    source.load.cache_clear()
    rows = [
        Resources("page", "first_1", "float32", "sm_80", 40, 512, True, 0, 0, 256),
        Resources("page", "first_1", "float64", "sm_80", 40, 1024, True, 0, 0, 128),
        Resources("page", "second_1", "float32", "sm_80", 40, 0, False, 0, 0, None),
        Resources("page", "second_1", "float64", "sm_80", 40, 0, False, 0, 0, None),
    ]
    assert index(rows).splitlines()[2:] == [
        "| page | `first_1` | (page.1), (page.2), (page.3), (page.10a) | 256 / 128 | "
        "512 B + by launch / 1024 B + by launch |",
        "|  | `second_1` | (other.1a) | any | 0 |",
    ]


def test_a_page_without_marks(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    monkeypatch.setattr(nvrtc, "compile_kernels", lambda stems: [])
    assert main(["cuda", "compile", "--page", str(page)]) == 1
    assert "has no marks <!-- kernels -->" in capsys.readouterr().err
