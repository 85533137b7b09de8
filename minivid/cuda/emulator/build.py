"""From the text of a ``.cu`` file to a library that runs it: rewritten as C++, compiled once, kept on disk."""

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from minivid.cuda import source
from minivid.jit import cache_home

__all__ = ["EmulatorError", "compiler", "library"]

_HERE = Path(__file__).parent
_HEADERS = sorted(path.name for path in _HERE.glob("*.h"))
_RUNTIME = sorted(path.name for path in _HERE.glob("*.cpp"))
_COMMON = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-ffp-contract=off")
_LINES = ("-g1", "-gdwarf-4")  # addr2line misreads the file names of version 5
_KERNEL = ("-Wno-unknown-pragmas", "-Wno-attributes", "-fno-strict-aliasing")
# Every access to memory calls a hook. Accesses must stay what they are in the source: numbers single, structs whole.
_CHECKED = ("-O1", "-fsanitize=thread", "-DMINIVID_CHECKED", "-fno-tree-vectorize", "-fno-builtin-memset")
_CHECKED_BY_GCC = ("-fno-tree-sra",)
# Otherwise libraries of one process would share what is static inside templates: the places of shared arrays.
_GCC = ("-fno-gnu-unique",)

_SHARED = re.compile(
    r"(?P<before>(?:\b(?:extern|static|volatile)\s+|\b(?:__align__|alignas)\s*\([^)]*\)\s*)*)"
    r"\b__shared__\s+(?P<declaration>(?:(?:__align__|alignas)\s*\([^)]*\)\s*)?[^;]+);"
)
_TOOLKIT_HEADER = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<(?:cuda|device|math|stdio|vector_)[\w.]*>", re.MULTILINE)
_ALIGNMENT = re.compile(r"\b(?:__align__|alignas)\s*\([^)]*\)")
_DECLARATOR = re.compile(r"(?P<type>.*?)\s*(?P<name>\w+)\s*(?P<sizes>(?:\[.*\])?)$", re.DOTALL)


class EmulatorError(RuntimeError):
    """A kernel cannot be built for the emulator, or the emulator found something wrong with it."""


@functools.cache
def compiler() -> str | None:
    """Return the path and version of the C++ compiler that the emulator uses; None if there is none.

    Returns
    -------
    str or None
        ``$CXX`` if set, otherwise ``g++``, ``clang++`` or ``c++``, the first that is installed.

    Examples
    --------
    >>> compiler() is None or "/" in compiler()
    True
    """
    path = _compiler_path()
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return f"{path} ({done.stdout.partition(chr(10))[0]})"


def _compiler_path() -> str | None:
    candidates = [os.environ.get("CXX"), "g++", "clang++", "c++"]
    return next((path for path in map(shutil.which, filter(None, candidates)) if path), None)


@functools.cache
def library(code: str, options: tuple[str, ...], name: str, checked: bool) -> Path:
    """Compile a kernel file, unless that has been done before.

    Parameters
    ----------
    code : str
        CUDA C.
    options : tuple of str
        For the compiler, e.g. ``-Dreal=float``.
    name : str
        Name of the file without ``.cu``, for messages.
    checked : bool
        Whether the checker sees every access to memory.

    Returns
    -------
    pathlib.Path
        The shared library.

    Raises
    ------
    EmulatorError
        If there is no C++ compiler, or it does not understand the file.

    Examples
    --------
    >>> if compiler():
    ...     assert library('extern "C" __global__ void nothing() {}', (), "nothing", checked=False).is_file()
    """
    text = _as_cpp(code, name)
    flags = [*_COMMON, *_LINES, *_KERNEL, *(_CHECKED if checked else ("-O2",)), *options]
    if "clang" not in (compiler() or ""):
        flags += [*_GCC, *(_CHECKED_BY_GCC if checked else ())]
    runtime = _runtime()
    folder = _folder(text, *flags, *map(str, runtime), *_shim_texts())
    result = folder / f"{name}.so"
    if not result.is_file():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            kernel, built = Path(scratch) / f"{name}.o", Path(scratch) / f"{name}.so"
            _compile(text, kernel, flags, name)
            _call("-shared", "-o", str(built), str(kernel), *map(str, runtime), name=name)
            os.replace(built, result)
    return result


def _as_cpp(code: str, name: str) -> str:
    """Return the kernel file as C++: shared arrays asked for by name, and an entry point for every kernel."""
    entries = "".join(f"EMULATOR_ENTRY({kernel})\n" for kernel in source.kernels_in(code))
    code = _SHARED.sub(_shared_arrays, _TOOLKIT_HEADER.sub("", code))
    return f'#include "shim.h"\n#line 1 "{name}.cu"\n{code}\n#line 1 "entries"\n{entries}'


def _shared_arrays(match: re.Match) -> str:
    """Rewrite ``__shared__ float a[8], b;``: see emulator_shared in shim.h. Keeps the number of lines."""
    declaration = _ALIGNMENT.sub("", match["declaration"])
    qualifier = "volatile " if "volatile" in match["before"] else ""
    type_name, statements = "", []
    for i, declarator in enumerate(_split(declaration)):
        parts = _DECLARATOR.match(declarator.strip())
        if parts is None:
            return match[0]  # the compiler will point at it
        type_name = parts["type"] if i == 0 else type_name
        c_type, variable, sizes = qualifier + type_name, parts["name"], parts["sizes"]
        if "extern" in match["before"]:
            statements.append(f'auto* const {variable} = emulator_dynamic_shared<{c_type}>("{variable}");')
        else:
            statements.append(f'auto& {variable} = emulator_shared<{c_type}{sizes}>("{variable}", [] {{}});')
    return " ".join(statements) + "\n" * match[0].count("\n")


def _split(declaration: str) -> list[str]:
    """Split at the commas that are not inside brackets."""
    depth, parts = 0, [""]
    for character in declaration:
        depth += (character in "([{<") - (character in ")]}>")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


@functools.cache
def _shim_texts() -> tuple[str, ...]:
    return tuple((_HERE / header).read_text(encoding="utf-8") for header in _HEADERS)


@functools.cache
def _runtime() -> tuple[Path, ...]:
    """Compile the scheduler and the checker, once for all kernels."""
    objects = []
    for name in _RUNTIME:
        text = (_HERE / name).read_text(encoding="utf-8")
        flags = [*_COMMON, "-O2"]
        result = _folder(text, *flags, *_shim_texts()) / f"{name}.o"
        if not result.is_file():
            with tempfile.TemporaryDirectory(dir=result.parent) as scratch:
                built = Path(scratch) / result.name
                _compile(text, built, flags, name)
                os.replace(built, result)
        objects.append(result)
    return tuple(objects)


def _compile(text: str, result: Path, flags: list[str], name: str) -> None:
    cpp = result.with_suffix(".cpp")
    cpp.write_text(text, encoding="utf-8")
    _call(*flags, f"-I{_HERE}", "-c", str(cpp), "-o", str(result), name=name)


def _call(*arguments: str, name: str) -> None:
    path = _compiler_path()
    if path is None:
        raise EmulatorError(
            "the CUDA emulator needs a C++ compiler and finds none; install one, "
            "e.g. apt install g++, or xcode-select --install, or name yours in the variable CXX"
        )
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EmulatorError(f"{name}.cu does not compile as C++:\n{_readable(done.stderr)}")


def _readable(messages: str) -> str:
    """Return the first errors of the compiler, with a hint where the emulator is the reason."""
    errors = [line for line in messages.splitlines() if "error" in line or "warning" in line][:10]
    text = "\n".join(errors or messages.splitlines()[:10])
    if "asm" in text:
        text += (
            "\nInline PTX cannot run on a CPU: put it under #ifndef MINIVID_EMULATOR, with a plain twin after #else."
        )
    return text


def _folder(*parts: str) -> Path:
    """Return the folder for what these texts compile to."""
    digest = hashlib.sha256("\0".join([*parts, compiler() or ""]).encode()).hexdigest()[:24]
    folder = _home() / digest
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def _home() -> Path:
    home = cache_home()
    return Path(tempfile.mkdtemp(prefix="minivid-")) if home is None else home / "emulator"
