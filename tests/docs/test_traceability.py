"""The logic that joins equations, code and tests, on files written for it and on the library's own."""

import pytest

from docs._ext import traceability as trace

PYTHON = '''
def scale_forward_reference(x):
    """Twice x, (scale.1)."""
    return 2 * x  # (scale.1)


def scale_forward_loops(x):
    return _scale(x)


def _scale(x):
    for k in range(len(x)):
        x[k] *= 2  # (scale.1)
    return x


def scale_forward_gpu(x):
    return launch("scale_1", x)  # (scale.2)


scale_forward = Op(reference=scale_forward_reference, loops=scale_forward_loops, gpu=scale_forward_gpu)
'''
CUDA = """
struct Pair { float a, b; };

__device__ float twice(float x) {
    return 2 * x;  // (scale.1)
}

// Computes  twice x
extern "C" __global__ void __launch_bounds__(THREADS)
    scale_1(float* x) {
    x[0] = twice(x[0]);  // (scale.2) }
}
"""


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Write two files where the logic looks for the library's, and give back the functions found in them."""
    for path, text in (("minivid/ops/scale.py", PYTHON), ("kernels/scale.cu", CUDA)):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    monkeypatch.setattr(trace, "ROOT", tmp_path)
    for function in (trace.text_of, trace.functions_of):
        function.cache_clear()
        monkeypatch.setattr(trace, function.__name__, function.__wrapped__)
    return {f.name: f for path in ("minivid/ops/scale.py", "kernels/scale.cu") for f in trace.functions_of(path)}


def test_functions_and_their_kinds(sources):
    assert {name: function.kind for name, function in sources.items()} == {
        "scale_forward_reference": "reference",
        "scale_forward_loops": "cpu",
        "_scale": "cpu",
        "scale_forward_gpu": "launch",
        "twice": "cuda",
        "scale_1": "cuda",
    }
    assert sources["_scale"].rungs == ["loops"]
    assert sources["twice"].rungs == ["scale_1"]  # the kernel that calls it


def test_citations_are_lines_of_code(sources):
    lines = (PYTHON.splitlines(), CUDA.splitlines())
    for function in sources.values():
        for tag, numbers in function.lines.items():
            assert all(f"({tag})" in lines[function.path.endswith(".cu")][n - 1] for n in numbers)
    assert sources["scale_forward_reference"].lines == {"scale.1": [4]}  # the docstring in line 3 is none
    assert sources["scale_forward_reference"].mentions == {"scale.1"}
    assert sources["scale_1"].lines == {"scale.2": [11]}


def test_every_equation_has_code_and_a_test():
    """What stops the build of the site, with the tags of the gradient checker's cases."""
    from minivid.gradcheck.cases import cases

    assert trace.problems(tag for case in cases(seed=0) for tag in case.equations.values()) == []


def test_an_equation_without_code_and_test_is_found(monkeypatch):
    orphan = trace.Equation("orphan.1", "ops/orphan.md", r"x = y \tag{orphan.1}")
    monkeypatch.setattr(trace, "equations", lambda: {"orphan.1": orphan})
    monkeypatch.setattr(trace, "functions", dict)
    monkeypatch.setattr(trace, "source_files", list)
    code, test = trace.problems()
    assert "docs/ops/orphan.md: no code cites (orphan.1)" in code
    assert "no test cites (orphan.1)" in test
