"""The compile check: every kernel for several generations of GPUs, by NVIDIA's compiler, without a GPU or a driver.

NVRTC, the compiler that CuPy calls when a kernel is first launched, is a library of its own, and on PyPI:
``pip install "minivid[cuda-check]"``. It is called here through `ctypes`, with CuPy's options and three more: warnings
are errors, registers that spill to memory are errors, and the assembler reports the resources of each kernel.
"""

import ctypes
import functools
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from minivid.cuda import source
from minivid.cuda.launcher import options
from minivid.cuda.occupancy import ARCHITECTURES, occupancy

__all__ = ["CompileError", "Resources", "compile_kernels", "compile_text", "missing", "version"]

DTYPES = ("float32", "float64")

_WHEELS = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")  # of CUDA 13 and 12
_NAME = re.compile(r"(libnvrtc\.so\.\d+|nvrtc64_\d+_0\.dll)$")
_BUILTINS = ("libnvrtc-builtins.so.*", "nvrtc-builtins64_*.dll")
_FROM_CUPY = ("-ftz=true", "--device-as-default-execution-space")
_STRICT = (
    *("-Xcudafe", "--promote_warnings"),
    *("--ptxas-options=-v", "--ptxas-options=-warn-spills", "--ptxas-options=-Werror"),
)
_ENTRY = re.compile(r"^ptxas info\s*: Compiling entry function '(\w+)'", re.MULTILINE)
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_PTX_ENTRY = re.compile(r"\.entry (\w+)\([^)]*\)([^{]*)\{")
_BLOCK = re.compile(r"\.maxntid (\d+)(?:, (\d+))?(?:, (\d+))?")
_DYNAMIC = re.compile(r"\.extern \.shared [^;]*?(\w+)\[\]")


class CompileError(RuntimeError):
    """A kernel file that the compiler, or the check of its report, refuses."""


class Resources(NamedTuple):
    """What one compiled kernel takes.

    Attributes
    ----------
    stem, kernel, dtype, architecture : str
        The kernel file, the kernel, what ``real`` stands for, and the GPU it was compiled for.
    registers : int
        Per thread.
    shared : int
        Bytes of static shared memory per block.
    dynamic : bool
        Whether it also uses shared memory whose size the launch decides.
    local : int
        Bytes of memory per thread for arrays that do not fit into registers.
    spilled : int
        Bytes that are moved out of registers and back for lack of registers. The check refuses any.
    threads : int or None
        Largest block, where the kernel promises one (``__launch_bounds__``).
    """

    stem: str
    kernel: str
    dtype: str
    architecture: str
    registers: int
    shared: int
    dynamic: bool
    local: int
    spilled: int
    threads: int | None

    @property
    def occupancy(self) -> float | None:
        """Part of a multiprocessor's warps that fit; None if only the launch decides."""
        if self.threads is None or self.dynamic:
            return None
        return occupancy(self.architecture, self.threads, self.registers, self.shared)


# --- the library --------------------------------------------------------------------------------------------------


def missing() -> str | None:
    """Say in one sentence why the compile check cannot run here; None if it can.

    Examples
    --------
    >>> missing() is None or "NVRTC" in missing()
    True
    """
    try:
        _library()
    except OSError as error:
        return f'no compile check: NVRTC does not load ({error}); pip install "minivid[cuda-check]"'
    return None


def version() -> str:
    """Return the version of the compiler, e.g. ``"13.0"``.

    Raises
    ------
    RuntimeError
        If it is not installed.

    Examples
    --------
    >>> missing() is not None or version().split(".")[0] in ("12", "13")
    True
    """
    major, minor = ctypes.c_int(), ctypes.c_int()
    _loaded().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _loaded() -> ctypes.CDLL:
    problem = missing()
    if problem is not None:
        raise RuntimeError(problem)
    return _library()


@functools.cache
def _library() -> ctypes.CDLL:
    """Load NVRTC, and before it the library of built-in functions that it would look for in the system only."""
    path = _find()
    for pattern in _BUILTINS:
        for builtins in path.parent.glob(pattern):
            ctypes.CDLL(str(builtins))
    return ctypes.CDLL(str(path))


def _find() -> Path:
    """Return where NVRTC is: in a wheel of this environment, or in an installed CUDA toolkit."""
    for wheel in _WHEELS:
        try:
            files = distribution(wheel).files or ()
        except PackageNotFoundError:
            continue
        for file in files:
            if _NAME.fullmatch(file.name):
                return Path(file.locate())
    toolkit = Path(os.environ.get("CUDA_PATH", "/usr/local/cuda"))
    for folder in ("lib64", "bin", "bin/x64"):
        for path in sorted((toolkit / folder).glob("*nvrtc*")):
            if _NAME.fullmatch(path.name):
                return path
    raise OSError("it is neither among Python's packages nor in " + str(toolkit))


# --- compiling ----------------------------------------------------------------------------------------------------


def compile_kernels(
    stems: Sequence[str] = (),
    dtypes: Sequence[str] = DTYPES,
    architectures: Sequence[str] = tuple(ARCHITECTURES),
) -> list[Resources]:
    """Compile kernel files in every precision for every GPU.

    Parameters
    ----------
    stems : sequence of str
        Names of kernel files without ``.cu``; all of them if empty.
    dtypes : sequence of {"float32", "float64"}
        What ``real`` stands for.
    architectures : sequence of str
        Keys of `minivid.cuda.occupancy.ARCHITECTURES`.

    Returns
    -------
    list of Resources
        One per kernel, precision and GPU.

    Raises
    ------
    ValueError
        If there is no such kernel file.
    CompileError
        With the compiler's own message.
    RuntimeError
        If NVRTC is not installed.

    Examples
    --------
    >>> if missing() is None:
    ...     [row] = [row for row in compile_kernels(["maxpool2d"], ["float32"], ["sm_80"])
    ...              if row.kernel == "maxpool2d_forward_1"]
    ...     assert 10 < row.registers < 100 and row.spilled == 0
    """
    _loaded()
    files = [source.load(stem) for stem in (stems or source.stems())]
    jobs = [(file.text, file.stem, dtype, arch) for file in files for dtype in dtypes for arch in architectures]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # ctypes lets other threads run meanwhile
        rows = [row for report in pool.map(lambda job: compile_text(*job), jobs) for row in report]
    order = {stem: k for k, stem in enumerate(file.stem for file in files)}
    return sorted(rows, key=lambda row: (order[row.stem], row.kernel, row.dtype, row.architecture))


def compile_text(text: str, stem: str, dtype: str, architecture: str) -> list[Resources]:
    """Compile one CUDA source in one precision for one GPU.

    Parameters
    ----------
    text : str
        The source, headers put in.
    stem : str
        Its name in messages, without ``.cu``.
    dtype : {"float32", "float64"}
        What ``real`` stands for.
    architecture : str
        Such as ``"sm_80"``.

    Returns
    -------
    list of Resources
        One per kernel.

    Raises
    ------
    CompileError
        With the compiler's own message; or if the compiler did not see a kernel that stands in the source, or saw one
        that the loader does not find there: the launcher could not check its arguments.
    RuntimeError
        If NVRTC is not installed.

    Examples
    --------
    >>> fill = 'extern "C" __global__ void fill(real* y, real value) { y[threadIdx.x] = value; }'
    >>> if missing() is None:
    ...     [row] = compile_text(fill, "fill", "float64", "sm_80")
    ...     assert (row.kernel, row.shared, row.threads) == ("fill", 0, None)
    """
    failed, log, ptx = _compiled(text, f"{stem}.cu", (*options(dtype), f"-arch={architecture}", *_FROM_CUPY, *_STRICT))
    if failed:
        reason = _spills(log) or f"\n{log.strip()}"
        raise CompileError(f"{stem}.cu does not pass in {dtype} for {architecture}, NVRTC {version()}: {reason}")
    names, reports = set(source.kernels_in(text)), _reports(log)
    for name in sorted(names ^ set(reports)):
        where = "is in the source, but was not compiled" if name in names else "was compiled, but is not in the source"
        raise CompileError(
            f'{stem}.cu: the kernel {name} {where}; write it out as extern "C" __global__ void {name}(...)'
        )
    dynamic, entries = _DYNAMIC.findall(ptx), _entries(ptx)
    return [
        Resources(stem, name, dtype, architecture, dynamic=_uses(entries[name], dynamic), threads=threads, **figures)
        for name, figures in reports.items()
        for threads in [_threads(entries[name])]
    ]


def _compiled(text: str, name: str, arguments: tuple[str, ...]) -> tuple[bool, str, str]:
    """Return whether compiling failed, the compiler's report, and the assembly language it wrote."""
    nvrtc, program = _loaded(), ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
    try:
        values = (ctypes.c_char_p * len(arguments))(*(argument.encode() for argument in arguments))
        failed = nvrtc.nvrtcCompileProgram(program, len(arguments), values) != 0
        log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
        return failed, log, "" if failed else _text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(size_of, read, program: ctypes.c_void_p) -> str:
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    read(program, buffer)
    return buffer.value.decode(errors="replace")


# --- what the compiler says ---------------------------------------------------------------------------------------


def _reports(log: str) -> dict[str, dict[str, int]]:
    """Return registers, shared memory, local memory and spills of each kernel, from the assembler's report."""
    _, *parts = _ENTRY.split(log)
    found = {}
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        stack, stores, loads = map(int, _STACK.search(text).groups())
        shared = _SHARED.search(text)
        found[name] = {
            "registers": int(_REGISTERS.search(text)[1]),
            "shared": int(shared[1]) if shared else 0,
            "local": stack,
            "spilled": stores + loads,
        }
    return found


def _spills(log: str) -> str:
    """Say which kernels have too few registers."""
    found = {name: figures for name, figures in _reports(log).items() if figures["spilled"]}
    return "; ".join(
        f"{name} spills {figures['spilled']} bytes for lack of registers (it has {figures['registers']})"
        for name, figures in found.items()
    )


def _entries(ptx: str) -> dict[str, tuple[str, str]]:
    """Return the directives and the body of each kernel in the assembly language."""
    _, *parts = _PTX_ENTRY.split(ptx)
    return {name: (head, body) for name, head, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}


def _threads(entry: tuple[str, str]) -> int | None:
    found = _BLOCK.search(entry[0])
    if found is None:
        return None
    x, y, z = (int(size or 1) for size in found.groups())
    return x * y * z


def _uses(entry: tuple[str, str], names: list[str]) -> bool:
    return any(re.search(rf"\b{name}\b", entry[1]) for name in names)
