"""Read ``kernels/<stem>.cu``: its text, the signatures of its kernels, and its tile sizes."""

import functools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["Parameter", "Source", "constants", "folder", "kernels_in", "load", "stems"]

_INCLUDE = re.compile(r'^#include "([\w.]+)"[ \t]*$', re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)", re.DOTALL)
_CONSTANT = re.compile(r"^constexpr int (\w+) = ([^;]+);", re.MULTILINE)
_CHOICE = re.compile(r"^(.*?)\?(.*?):(.*)$", re.DOTALL)


class Parameter(NamedTuple):
    """A parameter of a kernel: its C type, of the qualifiers only ``const``, e.g. ``const real*``, and its name."""

    type: str
    name: str


class Source(NamedTuple):
    """A kernel file as the compiler gets it: shared headers put in as text, and what can be launched in it."""

    stem: str
    text: str
    kernels: dict[str, tuple[Parameter, ...]]


def folder() -> Path:
    """Return the folder of the kernel sources: inside an installed package, or beside it in a checkout.

    Raises
    ------
    FileNotFoundError
        If there is neither.

    Examples
    --------
    >>> (folder() / "common.cuh").is_file()
    True
    """
    package = Path(__file__).resolve().parents[1]
    for candidate in (package / "kernels", package.parent / "kernels"):
        if (candidate / "common.cuh").is_file():
            return candidate
    raise FileNotFoundError(
        f"the kernel sources are neither in {package / 'kernels'} nor beside {package}; reinstall minivid"
    )


def stems() -> list[str]:
    """Return the names of all kernel files, without ``.cu``.

    Examples
    --------
    >>> "conv2d" in stems()
    True
    """
    return sorted(path.stem for path in folder().glob("*.cu"))


@functools.cache
def load(stem: str) -> Source:
    """Read a kernel file.

    Parameters
    ----------
    stem : str
        Name of the file without ``.cu``.

    Returns
    -------
    Source

    Raises
    ------
    ValueError
        If there is no such file.

    Notes
    -----
    Headers are put in as text, because the cache of compiled kernels is keyed by the text alone.

    Examples
    --------
    >>> load("maxpool2d").kernels["maxpool2d_forward_1"][0]
    Parameter(type='const real*', name='x')
    """
    path = folder() / f"{stem}.cu"
    if not path.is_file():
        raise ValueError(f"there is no kernel file {stem!r}; there are {', '.join(stems())}")
    text = with_includes(path)
    return Source(stem, text, kernels_in(text))


def with_includes(path: Path) -> str:
    """Return the text of a file with its headers put in; ``#line`` keeps the compiler's messages right."""
    text = path.read_text(encoding="utf-8")

    def included(match: re.Match) -> str:
        line = text.count("\n", 0, match.start()) + 1
        return f'#line 1 "{match[1]}"\n{with_includes(_header(path.parent, match[1]))}\n#line {line + 1} "{path.name}"'

    return f'#line 1 "{path.name}"\n' + _INCLUDE.sub(included, text)


def _header(beside: Path, name: str) -> Path:
    """Return the header of that name beside the file that includes it, or, for files elsewhere, minivid's own."""
    return beside / name if (beside / name).is_file() else folder() / name


def kernels_in(text: str) -> dict[str, tuple[Parameter, ...]]:
    """Find the kernels of a CUDA source and their parameters.

    Parameters
    ----------
    text : str
        CUDA C.

    Returns
    -------
    dict of str to tuple of Parameter

    Examples
    --------
    >>> kernels_in('extern "C" __global__ void fill(float* __restrict__ y, const float value, int n) {}')["fill"]
    (Parameter(type='float*', name='y'), Parameter(type='float', name='value'), Parameter(type='int', name='n'))
    """
    return {
        name: tuple(map(_parameter, filter(str.strip, inside.split(","))))
        for name, inside in _KERNEL.findall(_plain(text))
    }


def _plain(text: str) -> str:
    return _COMMENT.sub(" ", text)


def _parameter(declaration: str) -> Parameter:
    words = declaration.replace("*", " * ").replace("__restrict__", " ").split()
    *type_words, name = words
    if "*" not in type_words:
        type_words = [word for word in type_words if word != "const"]
    else:  # "const" after the star says nothing about what the pointer points to
        type_words = type_words[: type_words.index("*") + 1]
    return Parameter(" ".join(type_words).replace(" *", "*"), name)


@functools.cache
def constants(stem: str, dtype: DTypeLike) -> SimpleNamespace:
    """Return the ``constexpr int`` sizes of a kernel file, so that no tile size is written twice.

    Parameters
    ----------
    stem : str
        Name of the file without ``.cu``.
    dtype : dtype
        What ``real`` stands for.

    Returns
    -------
    types.SimpleNamespace
        One attribute per constant.

    Examples
    --------
    >>> constants("maxpool2d", "float32").THREADS
    256
    """
    values: dict[str, int] = {}
    for name, expression in _CONSTANT.findall(_plain(load(stem).text)):
        values[name] = _value(expression.replace("sizeof(real)", str(np.dtype(dtype).itemsize)), values)
    return SimpleNamespace(**values)


def _value(expression: str, names: dict[str, int]) -> int:
    """Evaluate an expression of C whose integer operators mean the same in Python, except ``/`` and ``? :``."""
    choice = _CHOICE.match(expression)
    if choice:
        condition, first, second = choice.groups()
        return _value(first if _value(condition, names) else second, names)
    return int(eval(expression.strip().replace("/", "//"), {"__builtins__": {}}, names))
