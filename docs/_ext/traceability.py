"""Which lines of code, and which tests, belong to which equation: read from the tags that pages and sources share.

An equation of a page has a tag, ``\\tag{conv2d.3}``. A line of code or of a test that has to do with it cites the tag,
``(conv2d.3)``. Sources are read here as text and never imported.
"""

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Equation", "Function", "cited_in", "equations", "functions", "how_often", "problems", "source_files"]

ROOT = Path(__file__).resolve().parents[2]
TAG = re.compile(r"\\tag\{([^}]*)\}")
CITATION = re.compile(r"\(([a-z]\w*\.\d+[a-z]?)\)")
IN_A_TEST = re.compile(r"""[("'{ ]([a-z]\w*\.\d+[a-z]?)[)"'}]""")
RUNG = re.compile(r"_(reference|loops|tiled|simd|winograd|cpu|gpu(?:_\d+)?)$")


@dataclass(frozen=True)
class Equation:
    """A tagged formula: its tag, its page relative to ``docs/``, and its LaTeX with the tag."""

    tag: str
    page: str
    latex: str

    @property
    def family(self) -> str:
        """What stands before the number: ``conv2d``."""
        return self.tag.partition(".")[0]


@dataclass
class Function:
    """A function of a source file, and the lines in it that cite equations.

    Attributes
    ----------
    path : str
        File, relative to the repository.
    name : str
        ``_forward``, ``Adam.step``, ``maxpool2d_forward_1``.
    first, body, last : int
        Line numbers, from 1: where it begins, where its body begins after signature and docstring, where it ends.
    signature : int
        Last line of the signature.
    rungs : list of str
        Implementations of operations that run it: ``reference``, ``loops``, ``gpu_1``; of a CUDA helper, the kernels.
    lines : dict of str to list of int
        Tag to the lines that cite it.
    mentions : set of str
        Tags in the docstring, which says what the function computes.
    """

    path: str
    name: str
    first: int
    signature: int
    body: int
    last: int
    rungs: list[str] = field(default_factory=list)
    lines: dict[str, list[int]] = field(default_factory=dict)
    mentions: set[str] = field(default_factory=set)

    @property
    def kind(self) -> str:
        """``reference``, ``cpu``, ``cuda`` (a kernel), ``launch`` (of one) or ``shared`` by all implementations."""
        if self.path.startswith("kernels/"):
            return "cuda"
        devices = {"reference" if r == "reference" else "launch" if r.startswith("gpu") else "cpu" for r in self.rungs}
        return devices.pop() if len(devices) == 1 else "shared"


# --- pages ------------------------------------------------------------------------------------------------------


def pages() -> list[Path]:
    """Return all pages of the documentation, those of the operations first."""
    return sorted((ROOT / "docs").rglob("*.md"), key=lambda page: (page.parent.name != "ops", page))


def how_often(files: Iterable[Path] | None = None) -> Counter:
    """Return every equation of the documentation and how often it is there."""
    files = pages() if files is None else files
    return Counter(tag for page in files for tag in TAG.findall(page.read_text(encoding="utf-8")))


@functools.cache
def equations() -> dict[str, Equation]:
    """Return all equations by tag, in the order of the pages."""
    found = {}
    for page in pages():
        for block in re.findall(r"\$\$(.*?)\$\$", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            for tag in TAG.findall(block):
                found[tag] = Equation(tag, page.relative_to(ROOT / "docs").as_posix(), block.strip())
    return found


def without_code_blocks(path: Path) -> str:
    """Return the text of a file without its fenced code."""
    return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def cited_in(files: Iterable[Path]) -> dict[str, str]:
    """Return every equation that files name, ``(conv2d.3)``, and the first file that does."""
    found: dict[str, str] = {}
    for path in files:
        for tag in CITATION.findall(without_code_blocks(path)):
            found.setdefault(tag, path.relative_to(ROOT).as_posix())
    return found


# --- code -------------------------------------------------------------------------------------------------------


@functools.cache
def source_files() -> list[str]:
    """Return the files that the site shows: code, kernels and tests, relative to the repository."""
    patterns = ("minivid/**/*.py", "kernels/*.cu", "kernels/*.cuh", "tests/**/*.py", "examples/*.py")
    return sorted(path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern))


@functools.cache
def text_of(path: str) -> str:
    """Return the text of a file of the repository."""
    return (ROOT / path).read_text(encoding="utf-8")


@functools.cache
def functions() -> dict[str, list[Function]]:
    """Return, for every equation, the functions of the library that cite it, reference first.

    Those that cite it in a line of their body; if there is none, those whose docstring does.
    """
    every = [f for path in source_files() if path.startswith(("minivid/", "kernels/")) for f in functions_of(path)]
    found: dict[str, list[Function]] = {}
    for tag in equations():
        found[tag] = [f for f in every if tag in f.lines] or [f for f in every if tag in f.mentions]
    order = {"reference": 0, "shared": 1, "cpu": 2, "cuda": 3, "launch": 4}
    return {
        tag: sorted(some, key=lambda f: (order[f.kind], Path(f.path).stem != tag.partition(".")[0], f.path, f.first))
        for tag, some in found.items()
    }


@functools.cache
def functions_of(path: str) -> list[Function]:
    """Return the functions of a file, each with its implementations and citations."""
    found = _of_python(path) if path.endswith(".py") else _of_cuda(path)
    lines = text_of(path).splitlines()
    for function in found:
        for number in range(function.signature, function.last + 1):
            for tag in CITATION.findall(lines[number - 1]):
                if function.signature < number < function.body:
                    function.mentions.add(tag)
                else:
                    function.lines.setdefault(tag, []).append(number)
    return found


def _of_python(path: str) -> list[Function]:
    tree = ast.parse(text_of(path))
    found, called = [], {}
    for node, owner in _definitions(tree):
        name = owner + node.name
        after = node.body[1:] if ast.get_docstring(node) is not None else node.body
        body = after[0].lineno if after else node.end_lineno
        signature = node.body[0].lineno - 1
        first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        found.append(Function(path, name, first, max(signature, node.lineno), body, node.end_lineno))
        called[name] = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
    _spread(found, called, _rungs(tree, found))
    return found


def _definitions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef, str]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node, ""
        elif isinstance(node, ast.ClassDef):
            yield from ((method, f"{node.name}.") for method in node.body if isinstance(method, ast.FunctionDef))


def _rungs(tree: ast.Module, found: list[Function]) -> dict[str, list[str]]:
    """Return the functions that stand in a table ``Op(...)``, or are named like it, and their names there."""
    rungs = {f.name: [match[1]] for f in found if (match := RUNG.search(f.name))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Op":
            for keyword in node.keywords:
                if isinstance(keyword.value, ast.Name):
                    names = rungs.setdefault(keyword.value.id, [])
                    names += [keyword.arg] if keyword.arg not in names else []
    return rungs


def _spread(found: list[Function], called: dict[str, set[str]], rungs: dict[str, list[str]]) -> None:
    """Give helpers the implementations that call them, directly or through other helpers."""
    by_name = {function.name: function for function in found}
    for start, names in rungs.items():
        todo, seen = [start], set()
        while todo:
            name = todo.pop()
            if name not in by_name or name in seen or (name in rungs and name != start):
                continue
            seen.add(name)
            by_name[name].rungs += [rung for rung in names if rung not in by_name[name].rungs]
            todo += called[name]


def _of_cuda(path: str) -> list[Function]:
    """Return the functions of a CUDA file: what stands in braces at the outermost level, with the comment above."""
    lines = text_of(path).splitlines()
    plain = [re.sub(r'//.*|"[^"]*"', "", line) for line in lines]
    found, called, depth, header, brace = [], {}, 0, 0, 0
    for number, line in enumerate(plain, 1):
        if depth == 0 and not header and line.strip() and not line.lstrip().startswith("#"):
            header = number
        brace = number if depth == 0 and "{" in line else brace
        depth += line.count("{") - line.count("}")
        if depth == 0 and header and ("}" in line or line.rstrip().endswith(";")):
            head = re.sub(r"__launch_bounds__\([^)]*\)|alignas\([^)]*\)", "", " ".join(plain[header - 1 : number]))
            if name := re.search(r"(\w+)\s*\([^()]*(?:\([^()]*\)[^()]*)*\)[^;{]*\{", head.split("}")[0]):
                first = header
                while first > 1 and lines[first - 2].startswith("//") and not lines[first - 2].startswith("// ---"):
                    first -= 1
                found.append(Function(path, name[1], first, brace, brace + 1, number))
                called[name[1]] = set(re.findall(r"\w+", "\n".join(plain[brace - 1 : number])))
            header = 0
    kernels = {f.name: [f.name] for f in found if "__global__" in "\n".join(plain[f.first - 1 : f.signature])}
    _spread(found, called, kernels)
    return found


# --- tests ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Test:
    """A test that cites an equation: file, name and line; of a whole file, the name is empty."""

    path: str
    name: str
    line: int


@functools.cache
def citing_tests() -> dict[str, list[Test]]:
    """Return, for every equation, the tests that name it."""
    found: dict[str, list[Test]] = {}
    for path in source_files():
        # Tests of the gradient checker and of this use equations as examples.
        if path.startswith("tests/") and not path.startswith(("tests/gradcheck/", "tests/docs/")):
            for tag, test in _citations_of_tests(path):
                if test not in found.setdefault(tag, []):
                    found[tag].append(test)
    return found


def _citations_of_tests(path: str) -> Iterator[tuple[str, Test]]:
    """Yield tags and tests: a tag in a test is its own; one in a constant, of all tests that use the constant."""
    text = text_of(path)
    lines = text.splitlines()
    tests, constants = [], {}
    for node in ast.parse(text).body:
        inside = "\n".join(lines[node.lineno - 1 : node.end_lineno])
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            tests.append((Test(path, node.name, node.lineno), inside))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constants[node.targets[0].id] = IN_A_TEST.findall(inside)
    for test, inside in tests:
        used = [tag for name, tags in constants.items() if re.search(rf"\b{name}\b", inside) for tag in tags]
        yield from ((tag, test) for tag in dict.fromkeys([*IN_A_TEST.findall(inside), *used]))


@functools.cache
def hand_worked(family: str) -> list[Test]:
    """Return the tests of a family's file whose numbers were worked by hand."""
    return [test for path in _files_of(family) for test in _tests_of(path) if "hand_worked" in test.name]


@functools.cache
def test_named(name: str, docname: str) -> Test | None:
    """Return the test of a name that a page speaks of: the one in the page's own test file, or the only one."""
    found = [t for path in source_files() if path.startswith("tests/") for t in _tests_of(path) if t.name == name]
    stem = docname.rpartition("/")[2]
    own = [test for test in found if test.path.endswith(f"/test_{stem}.py")]
    return (own or found if len(found) == 1 else own or [None])[0]


@functools.cache
def _tests_of(path: str) -> list[Test]:
    tree = ast.parse(text_of(path))
    return [Test(path, n.name, n.lineno) for n in tree.body if isinstance(n, ast.FunctionDef) and n.name[:5] == "test_"]


def _files_of(family: str) -> list[str]:
    return [path for path in source_files() if path.startswith("tests/") and path.endswith(f"/test_{family}.py")]


def file_tests(tag: str) -> list[Test]:
    """Return the test files of the modules that cite an equation; tests mirror the library."""
    modules = [f.path for f in functions().get(tag, ())] or [
        path for path in source_files() if f"({tag})" in text_of(path)
    ]
    files = []
    for path in dict.fromkeys(modules):
        folder, _, name = path.removeprefix("minivid/").rpartition("/")
        mirrored = "/".join(filter(None, ("tests", folder, f"test_{name}")))
        if path.startswith("minivid/") and mirrored in source_files():
            files.append(Test(mirrored, "", 1))
    return files


# --- what is missing ---------------------------------------------------------------------------------------------


def cites(tag: str, *folders: str) -> bool:
    """Whether a file of these folders cites an equation, in code or docstring."""
    return any(f"({tag})" in text_of(path) for path in source_files() if path.startswith(folders))


def problems(checked: Iterable[str] = ()) -> list[str]:
    """Return one line for every equation without code or without a test.

    Parameters
    ----------
    checked : iterable of str
        Tags that the gradient checker names; these have a test.
    """
    checked = set(checked)
    found = []
    for tag, equation in equations().items():
        if not cites(tag, "minivid/", "kernels/"):
            found.append(f"docs/{equation.page}: no code cites ({tag})")
        if not (tag in checked or citing_tests().get(tag) or file_tests(tag)):
            found.append(f"docs/{equation.page}: no test cites ({tag}), and no module that cites it has a test file")
    return found
