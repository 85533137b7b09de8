"""Equations, code and documentation name each other: what is cited exists, and what is derived is cited."""

import pkgutil
import re
from pathlib import Path

import pytest

from docs._ext.traceability import TAG, cited_in, how_often, without_code_blocks
from minivid import ops
from minivid.backend import Op
from minivid.gradcheck.cases import cases

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
SOURCES = sorted((ROOT / "minivid").rglob("*.py"))
KERNELS = sorted((ROOT / "kernels").glob("*.cu*"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))


def operations():
    """Return the files of `minivid.ops` that define operations."""
    public = [getattr(ops, name) for name in ops.__all__]
    modules = {op.__module__ for op in public if isinstance(op, Op)}
    return sorted(module.rpartition(".")[2] for module in modules)


def test_equations_have_one_place():
    assert {tag: count for tag, count in how_often().items() if count > 1} == {}


def test_equations_have_the_name_of_their_page():
    for page in (ROOT / "docs" / "ops").glob("*.md"):
        families = {"relu", "tanh", "sigmoid", "softmax"} if page.stem == "activations" else {page.stem}
        tags = TAG.findall(page.read_text(encoding="utf-8"))
        assert {tag.partition(".")[0] for tag in tags} <= families, page


def test_equations_are_numbered_from_one():
    numbers = {}
    for tag in how_often():
        family, _, number = tag.partition(".")
        numbers.setdefault(family, []).append(int(number.rstrip("abc")))
    for family, found in numbers.items():
        assert sorted(set(found)) == list(range(1, max(found) + 1)), family


@pytest.mark.parametrize("files", [SOURCES, KERNELS, PAGES], ids=["code", "kernels", "pages"])
def test_cited_equations_exist(files):
    known = how_often()
    assert {tag: path for tag, path in cited_in(files).items() if tag not in known} == {}


def test_equations_are_cited_by_code_or_tests():
    assert sorted(set(how_often()) - set(cited_in([*SOURCES, *TESTS]))) == []


def test_equations_of_the_gradient_checker_exist():
    known = how_often()
    for case in cases(seed=0):
        for equation in case.equations.values():
            assert equation in known, (case.operation, equation)


@pytest.mark.parametrize("name", operations())
def test_an_operation_has_one_name_everywhere(name):
    for path in (f"docs/ops/{name}.md", f"tests/ops/test_{name}.py"):
        assert (ROOT / path).is_file(), f"minivid/ops/{name}.py has no {path}"
    page = (ROOT / "docs" / "ops" / f"{name}.md").read_text(encoding="utf-8")
    assert f"`minivid/ops/{name}.py`" in page
    assert f"`tests/ops/test_{name}.py`" in page


@pytest.mark.parametrize("name", operations())
def test_an_operation_states_its_equations_first(name):
    """The docstring of an operation's file has every equation that its code cites as its own."""
    text = (ROOT / "minivid" / "ops" / f"{name}.py").read_text(encoding="utf-8")
    docstring = text.split('"""')[1]
    own = {tag for tag in how_often() if tag.partition(".")[0] == name}
    in_code = {tag for tag in own if f"({tag})" in text.replace(docstring, "")}
    assert sorted(tag for tag in in_code if f"({tag})" not in docstring) == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_pages_name_exists(page):
    names = set(re.findall(r"`([^`\n]+)`", without_code_blocks(page)))
    paths = {name for name in names if re.fullmatch(r"(minivid|tests|docs|examples|kernels)/[\w./]*", name)}
    assert sorted(path for path in paths if not (ROOT / path).exists()) == []
    tests = {name for name in names if re.fullmatch(r"test_\w+", name)}
    written = "\n".join(path.read_text(encoding="utf-8") for path in TESTS) if tests else ""
    assert sorted(name for name in tests if f"def {name}(" not in written) == []
    dotted = {name for name in names if re.fullmatch(r"minivid(\.\w+)+", name)}
    assert sorted(name for name in dotted if not resolves(name)) == []


def resolves(dotted):
    """Whether a name such as ``minivid.video.read_clip`` leads to something."""
    try:
        pkgutil.resolve_name(dotted)
    except (ImportError, AttributeError):
        return False
    return True
