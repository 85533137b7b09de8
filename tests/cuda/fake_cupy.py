"""A stand-in for CuPy on machines without a GPU: its arrays are in the memory of the CPU, its kernels in the emulator.

It is as strict as CuPy where minivid could go wrong: an array of NumPy in an operation with an array of this module
raises TypeError, and a raw kernel runs with the arguments as they come. So a whole training, run with it, shows that
no array stays behind on the wrong device. It says nothing about speed, or about CuPy's own functions.
"""

import sys
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from minivid.cuda import device, emulator, launcher
from tests.numerics import moved


class ndarray(NDArrayOperatorsMixin):  # noqa: N801 (CuPy's name)
    """An array on the pretended device."""

    __module__ = "cupy"
    __hash__ = object.__hash__

    def __init__(self, values: np.ndarray):
        self.values = values

    def get(self) -> np.ndarray:
        return self.values.copy()

    @property
    def data(self):
        return SimpleNamespace(ptr=self.values.ctypes.data)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        inputs = inside(inputs)
        if out is None:
            return on_device(np.asarray(getattr(ufunc, method)(*inputs, **inside(kwargs))))
        getattr(ufunc, method)(*inputs, out=inside(out), **inside(kwargs))
        return out[0]

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array is not allowed; use .get()")

    def __getattr__(self, name: str):
        if name.startswith("__"):  # such as __array_interface__, by which NumPy would take the numbers
            raise AttributeError(name)
        value = getattr(self.values, name)
        return on_device(value) if not callable(value) or isinstance(value, np.ndarray) else lifted(value)

    def __setattr__(self, name, value):
        super().__setattr__(name, value) if name == "values" else setattr(self.values, name, inside(value))

    def __getitem__(self, index):
        return on_device(np.asarray(self.values[inside(index)]))

    def __setitem__(self, index, value):
        self.values[inside(index)] = inside(value)

    def __iter__(self):
        return (self[index] for index in range(len(self.values)))

    def __len__(self):
        return len(self.values)

    def __float__(self):
        return float(self.values)

    def __int__(self):
        return int(self.values)

    def __bool__(self):
        return bool(self.values)


def inside(value):
    """Return the NumPy arrays inside; refuse an array that is NumPy's already."""

    def refuse(array):
        raise TypeError(f"Unsupported type {type(array)}")  # CuPy's words

    moved(value, refuse, np.ndarray)
    return moved(value, lambda array: array.values, ndarray)


def on_device(value):
    return moved(value, ndarray, np.ndarray)


def lifted(function):
    """Return a function of NumPy arrays as one of arrays on the device."""

    def call(*args, **kwargs):
        result = function(*inside(args), **inside(kwargs))
        return on_device(np.asarray(result) if isinstance(result, np.generic) else result)

    return call


class RawModule:
    """Compiles for the emulator what CuPy would compile for a GPU."""

    def __init__(self, code: str, options: tuple[str, ...]):
        self.module = emulator.RawModule(code, options, "fake")

    def get_function(self, name: str):
        function = self.module.get_function(name)

        def kernel(grid, block, args, shared_mem=0, enable_cooperative_groups=False):
            function(grid, block, inside(args), shared_mem=shared_mem, cooperative=enable_cooperative_groups)

        kernel.ptr = None
        return SimpleNamespace(kernel=kernel, max_dynamic_shared_size_bytes=0)


def _module() -> ModuleType:
    cupy = ModuleType("cupy")
    cupy.ndarray, cupy.RawModule = ndarray, RawModule
    cupy.asarray = lambda x, dtype=None: on_device(
        np.array(x, dtype) if isinstance(x, np.ndarray) else np.asarray(inside(x), dtype)
    )
    cupy.asnumpy = ndarray.get
    attributes = {"MultiProcessorCount": launcher.EMULATED_BLOCKS, "MaxSharedMemoryPerBlockOptin": 96 * 1024}
    driver = SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=lambda *launch: 1)
    cupy.cuda = SimpleNamespace(
        is_available=lambda: True,
        nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
        driver=driver,
        Device=lambda number=0: SimpleNamespace(id=number, attributes=attributes),
    )
    cupy.__getattr__ = lambda name: lifted(getattr(np, name)) if callable(getattr(np, name)) else getattr(np, name)
    return cupy


@contextmanager
def pretended_gpu():
    """Have minivid find a GPU, which is the emulator."""
    real = sys.modules.get("cupy")
    sys.modules["cupy"] = _module()
    caches = (device.missing, launcher._compiled, launcher._room)
    try:
        for cache in caches:
            cache.cache_clear()
        with emulator.mode("fast"):
            yield sys.modules["cupy"]
    finally:
        sys.modules.pop("cupy")
        if real is not None:
            sys.modules["cupy"] = real
        for cache in caches:
            cache.cache_clear()
