"""The one place where kernels are launched: CuPy's raw kernels check nothing, so every argument is checked here.

Passed to a raw kernel, a Python int becomes 64 bits wide where the kernel reads 32, a float becomes a double, a wrong
dtype or a strided view is read as if it were right, and a missing argument is whatever lies in memory. The signature in
the CUDA source says what is right; `launch` holds every argument against it.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from minivid.backend import device_of
from minivid.cuda import source

__all__ = ["EMULATED_BLOCKS", "aligned", "blocks", "launch", "options", "resident_blocks"]

_REALS = {"float32": "float", "float64": "double"}
_ARRAYS = {"int*": ("int32",), "unsigned char*": ("uint8", "bool"), "unsigned int*": ("uint32",)}
_INT32 = 2**31
_STATIC_SHARED = 48 * 1024  # bytes of shared memory per block that need no permission
#: Blocks of a cooperative launch in the emulator: few, so that it stays quick, but enough to wait for each other.
EMULATED_BLOCKS = 4


def blocks(size: int, per_block: int) -> int:
    """Return how many blocks cover ``size`` things: the quotient, rounded up.

    Examples
    --------
    >>> blocks(1000, 256)
    4
    """
    return -(-size // per_block)


def aligned(*arrays: Any, to: int = 16) -> bool:
    """Return whether all arrays begin where a vector of ``to`` bytes may begin, as far as memory is concerned.

    New arrays do, on the GPU and in NumPy; a slice of one may not.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros(8, np.float32)
    >>> aligned(x), aligned(x[1:])
    (True, False)
    """
    return all((a.ctypes.data if isinstance(a, np.ndarray) else a.data.ptr) % to == 0 for a in arrays)


def launch(
    stem: str,
    kernel: str,
    grid: int | tuple[int, ...],
    block: int | tuple[int, ...],
    *arguments: Any,
    shared: int = 0,
    cooperative: bool = False,
) -> None:
    """Run a kernel of ``kernels/<stem>.cu``: on the GPU if its arrays are CuPy's, in the emulator if they are NumPy's.

    Parameters
    ----------
    stem : str
        Name of the kernel file without ``.cu``.
    kernel : str
        Name of the kernel.
    grid, block : int or tuple of up to three int
        Number of blocks, and of threads per block.
    *arguments : array, int, float or Window
        The kernel's arguments, in the order of its parameters. Arrays are C-contiguous; ``real`` is the dtype of the
        first one where the kernel says ``real*``.
    shared : int
        Bytes of dynamic shared memory per block.
    cooperative : bool
        Whether all blocks must be on the device at the same time, because they wait for each other.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit the signature of the kernel.
    RuntimeError
        If CuPy arrays are given and the GPU cannot be used, or a cooperative grid does not fit on the device.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.cuda.emulator import compiler
    >>> from minivid.ops.window import Window
    >>> x, y = np.array([[[[1.0], [3.0]], [[2.0], [0.0]]]]), np.empty((1, 1, 1, 1))
    >>> offset = np.empty((1, 1, 1, 1), np.uint8)
    >>> window = Window(2, 2, 2, 2, 1, 1, 0, 0, 0, 0, 1, 1)
    >>> if compiler():
    ...     launch("maxpool2d", "maxpool2d_forward_1", 1, 32, x, y, offset, 1, 2, 2, 1, window)
    ...     assert y.item() == 3 and offset.item() == 1
    """
    parameters = _parameters(stem, kernel)
    if len(arguments) != len(parameters):
        names = ", ".join(f"{p.type} {p.name}" for p in parameters)
        raise TypeError(f"{kernel} takes {len(parameters)} arguments ({names}), got {len(arguments)}")
    device = device_of(*arguments)
    real = _real(kernel, parameters, arguments)
    checked = tuple(_checked(kernel, p, a, real) for p, a in zip(parameters, arguments, strict=True))
    grid, block = _sizes(kernel, "grid", grid), _sizes(kernel, "block", block)
    if 0 in grid:
        return
    run = _on_gpu if device == "gpu" else _in_emulator
    run(stem, kernel, real, grid, block, checked, shared, cooperative)


def _parameters(stem: str, kernel: str) -> tuple[source.Parameter, ...]:
    kernels = source.load(stem).kernels
    if kernel not in kernels:
        raise ValueError(f"kernels/{stem}.cu has no kernel {kernel!r}; it has {', '.join(kernels)}")
    return kernels[kernel]


def _real(kernel: str, parameters, arguments) -> str:
    """Return the dtype that ``real`` stands for in this launch."""
    for parameter, argument in zip(parameters, arguments, strict=True):
        if parameter.type.endswith("real*"):
            name = str(getattr(argument, "dtype", type(argument).__name__))
            if name not in _REALS:
                raise TypeError(f"{kernel} takes {parameter.name} of float32 or float64, got {name}")
            return name
    raise TypeError(f"{kernel} has no array of real numbers, so nothing says in which precision to compile it")


def _checked(kernel: str, parameter: source.Parameter, argument: Any, real: str):
    """Return the argument as the kernel reads it, or say what is wrong with it."""
    what = f"{kernel} takes {parameter.type} {parameter.name}"
    if parameter.type.endswith("*"):
        return _checked_array(what, parameter.type.removeprefix("const "), argument, real)
    if parameter.type == "Window":
        return _struct(what, argument)
    if parameter.type == "int":
        if isinstance(argument, bool | np.bool_) or not hasattr(argument, "__index__"):
            raise TypeError(f"{what}, got {type(argument).__name__}")
        if not -_INT32 <= argument < _INT32:
            raise ValueError(f"{what}, and {argument} does not fit in its 32 bits; use smaller batches")
        return np.int32(argument)
    if parameter.type == "real":
        if not isinstance(argument, int | float | np.floating):
            raise TypeError(f"{what}, got {type(argument).__name__}")
        return np.dtype(real).type(argument)
    raise TypeError(f"{what}: minivid launches kernels of arrays, int, real and Window only")


def _struct(what: str, window: Any) -> np.void:
    """Return a `minivid.ops.window.Window` as the bytes of the struct of the same name."""
    from minivid.ops.window import Window  # whose package imports this module

    if not isinstance(window, Window):
        raise TypeError(f"{what}, got {type(window).__name__}")
    return np.array(tuple(window), dtype=[(name, np.int32) for name in Window._fields])[()]


def _checked_array(what: str, pointer: str, array: Any, real: str):
    dtypes = (real,) if pointer == "real*" else _ARRAYS.get(pointer)
    if dtypes is None:
        raise TypeError(f"{what}: minivid launches kernels of arrays of {', '.join(['real*', *_ARRAYS])} only")
    if not hasattr(array, "flags"):
        raise TypeError(f"{what}: an array, got {type(array).__name__}")
    if str(array.dtype) not in dtypes:
        raise TypeError(f"{what}: an array of {' or '.join(dtypes)}, got {array.dtype}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{what}: a C-contiguous array, got one of strides {array.strides}; use xp.ascontiguousarray")
    if array.size >= _INT32:
        raise ValueError(f"{what}: fewer than 2^31 numbers, got shape {array.shape}; use smaller batches")
    return array


def _sizes(kernel: str, name: str, sizes: int | tuple[int, ...]) -> tuple[int, ...]:
    sizes = (sizes,) if hasattr(sizes, "__index__") else tuple(sizes)
    limits = (_INT32 - 1, 65535, 65535) if name == "grid" else (1024, 1024, 64)
    fits = 1 <= len(sizes) <= 3 and all(0 <= size <= limit for size, limit in zip(sizes, limits, strict=False))
    if not fits or (name == "block" and not 1 <= np.prod(sizes) <= 1024):
        raise ValueError(f"{kernel} cannot have a {name} of {sizes}; a {name} has up to three sizes, at most {limits}")
    return sizes


def options(real: str) -> tuple[str, ...]:
    """Return the compiler options for kernels in which ``real`` stands for a dtype.

    Examples
    --------
    >>> options("float64")
    ('-std=c++17', '-Dreal=double')
    """
    return ("-std=c++17", f"-Dreal={_REALS[real]}")


def _in_emulator(stem, kernel, real, grid, block, arguments, shared, cooperative) -> None:
    _emulated(stem, kernel, real)(grid, block, arguments, shared_mem=shared, cooperative=cooperative)


@functools.cache
def _emulated(stem: str, kernel: str, real: str) -> Callable:
    from minivid.cuda import emulator

    return emulator.RawModule(source.load(stem).text, options(real), stem).get_function(kernel)


def _on_gpu(stem, kernel, real, grid, block, arguments, shared, cooperative) -> None:
    function = _compiled(stem, kernel, real)
    if shared > _STATIC_SHARED:
        function.max_dynamic_shared_size_bytes = shared
    if cooperative:
        _require_room(stem, kernel, real, grid, block, shared)
    function.kernel(grid, block, arguments, shared_mem=shared, enable_cooperative_groups=cooperative)


@functools.cache
def _compiled(stem: str, kernel: str, real: str):
    from minivid.cuda import device

    device.require()
    module = sys.modules["cupy"].RawModule(code=source.load(stem).text, options=options(real))
    return module.get_function(kernel)


def _require_room(stem: str, kernel: str, real: str, grid, block, shared: int) -> None:
    """Refuse a cooperative grid that does not fit: CuPy would shrink it with a warning, and sums would be missing."""
    room = _room(stem, kernel, real, int(np.prod(block)), shared, sys.modules["cupy"].cuda.Device().id)
    if np.prod(grid) > room:
        raise RuntimeError(f"{kernel} needs {np.prod(grid)} blocks at the same time, this GPU has room for {room}")


@functools.cache  # asking the driver takes longer than a launch
def _room(stem: str, kernel: str, real: str, threads: int, shared: int, device: int) -> int:
    cupy, function = sys.modules["cupy"], _compiled(stem, kernel, real)
    attributes = cupy.cuda.Device(device).attributes
    if shared > attributes["MaxSharedMemoryPerBlockOptin"]:
        return 0
    if shared > _STATIC_SHARED:
        function.max_dynamic_shared_size_bytes = shared
    per_processor = cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor(function.kernel.ptr, threads, shared)
    return per_processor * attributes["MultiProcessorCount"]


def resident_blocks(stem: str, kernel: str, threads: int, shared: int, like: Any) -> int:
    """Return how many blocks of a kernel can be on the device at the same time, as a cooperative launch needs.

    Parameters
    ----------
    stem, kernel : str
        The kernel file without ``.cu``, and the kernel.
    threads : int
        Threads per block.
    shared : int
        Bytes of dynamic shared memory per block.
    like : array
        Its device and dtype are those of the launch.

    Returns
    -------
    int
        0 if not even one does. In the emulator, which has room for any number, `EMULATED_BLOCKS`.

    Examples
    --------
    >>> import numpy as np
    >>> resident_blocks("lstm", "lstm_forward_3", 256, 0, like=np.zeros(1))
    4
    """
    if device_of(like) == "cpu":
        return EMULATED_BLOCKS
    return _room(stem, kernel, str(like.dtype), threads, shared, sys.modules["cupy"].cuda.Device().id)
