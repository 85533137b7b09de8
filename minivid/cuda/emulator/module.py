"""Launch kernels in the emulator: the spelling of CuPy's ``RawModule``, the arrays of NumPy."""

import ctypes
import functools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import numpy as np

from minivid.cuda import source
from minivid.cuda.emulator import profiling, report
from minivid.cuda.emulator.build import EmulatorError, library

__all__ = ["Function", "RawModule", "mode", "schedule"]

_checked: ContextVar[bool] = ContextVar("minivid_emulator_checked", default=True)
_seed: ContextVar[int] = ContextVar("minivid_emulator_seed", default=0)
_one_at_a_time = threading.Lock()


@contextmanager
def mode(name: str) -> Iterator[None]:
    """Choose between checking every access to memory and speed, inside the ``with`` block.

    Parameters
    ----------
    name : {"check", "fast"}
        ``"check"`` is the default. ``"fast"`` is up to ten times faster and finds nothing: a kernel that writes out
        of bounds damages the memory of Python.

    Examples
    --------
    >>> with mode("fast"):
    ...     pass
    """
    if name not in ("check", "fast"):
        raise ValueError(f"the emulator has the modes 'check' and 'fast', not {name!r}")
    token = _checked.set(name == "check")
    try:
        yield
    finally:
        _checked.reset(token)


@contextmanager
def schedule(seed: int) -> Iterator[None]:
    """Choose the order in which blocks and threads take turns, inside the ``with`` block.

    Parameters
    ----------
    seed : int
        0 (the default): in order; 1: in reverse; other numbers: at random, reproducibly.

    Examples
    --------
    >>> with schedule(1):
    ...     pass
    """
    token = _seed.set(int(seed))
    try:
        yield
    finally:
        _seed.reset(token)


class _Sizes(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint32) for axis in "xyz"]


class _Array(ctypes.Structure):
    """ArrayArgument in scheduler.h."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_uint64),
        ("element", ctypes.c_uint32),
        ("read_only", ctypes.c_uint32),
        ("fresh", ctypes.c_uint32),
        ("argument", ctypes.c_uint32),
    ]


class _Launch(ctypes.Structure):
    """LaunchRequest in scheduler.h."""

    _fields_ = [
        ("entry", ctypes.c_void_p),
        ("arguments", ctypes.POINTER(ctypes.c_void_p)),
        ("grid", _Sizes),
        ("block", _Sizes),
        ("dynamic_shared", ctypes.c_uint64),
        ("seed", ctypes.c_uint64),
        ("arrays", ctypes.POINTER(_Array)),
        ("array_count", ctypes.c_uint32),
        ("cooperative", ctypes.c_uint32),
        ("checked", ctypes.c_uint32),
        ("profiled", ctypes.c_uint32),
    ]


class RawModule:
    """A kernel file, compiled on the first launch of one of its kernels.

    Parameters
    ----------
    code : str
        CUDA C, shared headers put in.
    options : sequence of str
        For the compiler, e.g. ``-Dreal=float``.
    name : str
        Name of the file without ``.cu``, for messages.

    Examples
    --------
    >>> from minivid.cuda.emulator import compiler
    >>> code = 'extern "C" __global__ void add(float* y, float a) { y[threadIdx.x] += a; }'
    >>> y = np.arange(4, dtype=np.float32)
    >>> if compiler():
    ...     RawModule(code, (), "add").get_function("add")((1,), (4,), (y, np.float32(1)))
    ...     assert y.tolist() == [1, 2, 3, 4]
    """

    def __init__(self, code: str, options: Sequence[str] = (), name: str = "kernel"):
        self.code = code
        self.options = tuple(options)
        self.name = name
        self.kernels = source.kernels_in(code)

    def get_function(self, kernel: str) -> "Function":
        """Return a kernel to launch."""
        if kernel not in self.kernels:
            raise ValueError(f"{self.name}.cu has no kernel {kernel!r}; it has {', '.join(self.kernels) or 'none'}")
        return Function(self, kernel)


class Function:
    """A kernel: call it with a grid, a block and arguments.

    Parameters
    ----------
    module : RawModule
    kernel : str

    Examples
    --------
    >>> code = 'extern "C" __global__ void add(float* y, float a) {}'
    >>> RawModule(code).get_function("add").parameters[0].name
    'y'
    """

    def __init__(self, module: RawModule, kernel: str):
        self.module = module
        self.kernel = kernel
        self.parameters = module.kernels[kernel]

    def __call__(
        self,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple,
        shared_mem: int = 0,
        cooperative: bool = False,
        fresh: tuple[str, ...] = (),
    ) -> None:
        """Run the kernel to its end.

        Parameters
        ----------
        grid, block : tuple of up to three int
        args : tuple
            C-contiguous NumPy arrays, NumPy scalars and ``np.void`` structs of the kernel's types.
        shared_mem : int
            Bytes of dynamic shared memory.
        cooperative : bool
            Whether all blocks live at the same time, so that they can wait for each other.
        fresh : tuple of str
            Names of arrays that hold nothing yet: reading an element before it is written, or never writing it, is
            reported. Only in check mode.

        Raises
        ------
        EmulatorError
            With all findings of check mode. The arrays are then as they were before the launch.
        """
        checked = _checked.get() or profiling.wanted()
        path = library(self.module.code, self.module.options, self.module.name, checked)
        built = _load(path)
        values = [_bytes_of(p, a) for p, a in zip(self.parameters, args, strict=True)]
        pointers = (ctypes.c_void_p * len(values))(*(v.ctypes.data for v in values))
        sizes = getattr(built, f"emulator_sizes_{self.kernel}")
        sizes.restype = ctypes.POINTER(ctypes.c_uint32)
        for parameter, value, size in zip(self.parameters, values, sizes(), strict=False):
            if value.nbytes != size:
                raise TypeError(f"{parameter.type} {parameter.name} has {size} bytes, got {value.nbytes}")
        arrays = [
            _Array(a.ctypes.data, a.nbytes, a.itemsize, p.type.startswith("const "), p.name in fresh, i)
            for i, (p, a) in enumerate(zip(self.parameters, args, strict=True))
            if isinstance(a, np.ndarray)
        ]
        request = _Launch(
            entry=ctypes.cast(getattr(built, f"emulator_run_{self.kernel}"), ctypes.c_void_p),
            arguments=pointers,
            grid=_Sizes(*grid, *[1] * (3 - len(grid))),
            block=_Sizes(*block, *[1] * (3 - len(block))),
            dynamic_shared=shared_mem,
            seed=_seed.get(),
            arrays=(_Array * len(arrays))(*arrays),
            array_count=len(arrays),
            cooperative=cooperative,
            checked=checked,
            profiled=profiling.wanted(),
        )
        with _one_at_a_time:
            count = built.emulator_launch(ctypes.byref(request))
            if count < 0:
                raise EmulatorError(f"{self.kernel}: no memory for that many threads at the same time")
            problems = report.text(path, self, grid, block, args, report.findings_of(built, count)) if count else ""
            if problems:
                raise EmulatorError(problems)
            if checked:
                built.emulator_copy_back()
            if profiling.wanted():
                profiling.collect(built, path, self.kernel, self.module.name)


def _bytes_of(parameter: source.Parameter, argument) -> np.ndarray:
    """Return what the kernel gets for an argument: the address of an array, or the bytes of a number or struct."""
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise ValueError(f"{parameter.name} is not C-contiguous")
        return np.array(argument.ctypes.data, np.uintp)
    return np.array(argument)


@functools.cache
def _load(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))
