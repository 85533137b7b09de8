"""Which device an array is on, and which implementation of an operation runs there.

This is the only dispatch code of the library. An operation is an `Op`: a table of implementations with one
signature. A call looks at where its arrays live (NumPy: ``cpu``, CuPy: ``gpu``) or obeys the name that
``with minivid.use("reference"):`` forces, and calls the function it finds in the table.

The implementations whose names begin with ``gpu`` launch CUDA kernels. They take NumPy arrays as well, and the kernels
then run in the emulator: ``with minivid.use("emulator"):`` asks for that.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["Op", "device_of", "to_device", "use", "xp_of"]

_forced: ContextVar[str | None] = ContextVar("minivid_forced_implementation", default=None)
_known_names = {"reference", "loops", "cpu", "gpu", "emulator"}


def _is_cupy(array: object) -> bool:
    return type(array) is not np.ndarray and type(array).__module__.partition(".")[0] == "cupy"


def xp_of(*arrays: object) -> ModuleType:
    """Return the array module, ``numpy`` or ``cupy``, that the arrays belong to.

    Parameters
    ----------
    *arrays : array or None
        Arrays of one device; None and Python numbers are passed over.

    Raises
    ------
    TypeError
        If the arrays are on different devices.

    Examples
    --------
    >>> import numpy as np
    >>> xp_of(np.zeros(3)).__name__
    'numpy'
    """
    return sys.modules["cupy"] if device_of(*arrays) == "gpu" else np


def device_of(*arrays: object) -> str:
    """Return ``"cpu"`` or ``"gpu"``: where the arrays live.

    Parameters
    ----------
    *arrays : array or None
        Arrays of one device; anything that is no array is passed over.

    Raises
    ------
    TypeError
        If the arrays are on different devices.

    Examples
    --------
    >>> import numpy as np
    >>> device_of(np.zeros(3), None)
    'cpu'
    """
    on_gpu = any(_is_cupy(a) for a in arrays)
    if on_gpu and any(isinstance(a, np.ndarray) for a in arrays):
        raise TypeError(
            "arrays of one call are on different devices (NumPy and CuPy); "
            "move them to one, e.g. model.to('gpu') or cupy.asarray(x)"
        )
    return "gpu" if on_gpu else "cpu"


def to_device(array: Any, device: str) -> Any:
    """Return an array where ``device`` says: the same object if it is there already, otherwise a copy.

    Parameters
    ----------
    array : array or None
        None stays None.
    device : {"cpu", "gpu"}

    Raises
    ------
    RuntimeError
        For ``"gpu"`` where there is none; says what is missing.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.zeros(3)
    >>> to_device(x, "cpu") is x
    True
    """
    if array is None or device_of(array) == device:
        return array
    if device == "cpu":
        return array.get()
    from minivid.cuda.device import require

    require()
    return sys.modules["cupy"].asarray(array)


@contextmanager
def use(name: str) -> Iterator[None]:
    """Force one implementation of every operation called inside the ``with`` block.

    Parameters
    ----------
    name : str
        ``"reference"`` (the equations, loop for loop), ``"loops"`` (the same loops compiled), ``"cpu"``,
        ``"gpu"`` (the default of that device), ``"emulator"`` (the CUDA kernels, run on NumPy arrays without a
        GPU), or another name that an operation's table knows. Earlier versions of the CUDA kernels are ``"gpu_1"``,
        ``"gpu_2"``, ... and ``"emulator_1"``, ... An operation without the named rung runs the default of the device.

    Raises
    ------
    ValueError
        If no operation has an implementation of that name.
    TypeError
        On a call whose arrays the implementation cannot take.

    Examples
    --------
    >>> import numpy as np, minivid
    >>> from minivid.ops import relu_forward
    >>> with minivid.use("reference"):
    ...     relu_forward(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    if name not in _known_names:
        raise ValueError(f"no operation has an implementation {name!r}; there are {sorted(_known_names)}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


class Op:
    """An operation: one name, one signature, several implementations.

    Parameters
    ----------
    reference : callable
        The equations in NumPy; gives the operation its name, signature and documentation.
    cpu : callable, optional
        What runs on NumPy arrays by default: if not given, the last rung.
    gpu : callable, optional
        What runs on CuPy arrays by default, and in the emulator.
    **rungs : callable
        Further implementations worth reading and comparing. On NumPy arrays, the fastest last: ``loops``, ``tiled``;
        by earlier versions of the CUDA kernels: ``gpu_1``, ``gpu_2``.

    Attributes
    ----------
    implementations : dict of str to callable
        The table.

    Examples
    --------
    >>> def double_reference(x):
    ...     return x + x
    >>> double = Op(reference=double_reference, cpu=lambda x: 2 * x)
    >>> double(21)
    42
    >>> double
    <Op double: reference, cpu>
    """

    def __init__(
        self, *, reference: Callable, cpu: Callable | None = None, gpu: Callable | None = None, **rungs: Callable
    ):
        on_cpu = {"reference": reference, **{k: f for k, f in rungs.items() if not k.startswith("gpu")}}
        on_cpu["cpu"] = cpu or list(on_cpu.values())[-1]
        on_gpu = {name: function for name, function in rungs.items() if name not in on_cpu}
        if gpu is not None:
            on_gpu["gpu"] = gpu
        self.implementations = on_cpu | on_gpu
        _known_names.update(on_cpu, on_gpu, (name.replace("gpu", "emulator") for name in on_gpu))
        functools.update_wrapper(self, reference)
        self.__name__ = self.__qualname__ = reference.__name__.removesuffix("_reference")

    def __call__(self, *args, **kwargs):
        return self.choose(*args, *kwargs.values())(*args, **kwargs)

    def choose(self, *arrays: object) -> Callable:
        """Return the implementation that a call with these arrays runs."""
        device, forced = device_of(*arrays), _forced.get()
        wanted = device if forced is None else forced.replace("emulator", "gpu")
        if forced is not None:
            self._check_device(forced, device)
        candidates = (wanted, "gpu", device) if wanted.startswith("gpu") else (wanted, device)
        for name in candidates:
            if name in self.implementations:
                return self.implementations[name]
        raise TypeError(f"{self.__name__} does not run on the {device} yet; move its arrays to the CPU")

    def _check_device(self, forced: str, device: str) -> None:
        """Refuse arrays that the forced implementation cannot take."""
        needed = "gpu" if forced.startswith("gpu") else "cpu"
        if needed != device:
            needs, given = ("CuPy", "NumPy") if needed == "gpu" else ("NumPy", "CuPy")
            raise TypeError(f"use({forced!r}) needs {needs} arrays, but {self.__name__} was given {given} arrays")

    def __repr__(self) -> str:
        return f"<Op {self.__name__}: {', '.join(self.implementations)}>"
