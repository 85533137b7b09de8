"""Which device an array is on, and which implementation of an operation runs there.

This is the only dispatch code of the library. An operation is an `Op`: a table of implementations with one
signature. A call looks at where its arrays live (NumPy: ``cpu``, CuPy: ``gpu``) or obeys the name that
``with minivid.use("reference"):`` forces, and calls the function it finds in the table.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import numpy as np

__all__ = ["Op", "device_of", "use", "xp_of"]

_forced: ContextVar[str | None] = ContextVar("minivid_forced_implementation", default=None)
_known_names = {"reference", "loops", "cpu", "gpu"}


def _is_cupy(array: object) -> bool:
    return type(array).__module__.partition(".")[0] == "cupy"


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


@contextmanager
def use(name: str) -> Iterator[None]:
    """Force one implementation of every operation called inside the ``with`` block.

    Parameters
    ----------
    name : str
        ``"reference"`` (the equations, loop for loop), ``"loops"`` (the same loops compiled), ``"cpu"``,
        ``"gpu"`` (the default of that device), or another name that an operation's table knows. An operation
        without the named rung runs the default of the device.

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
        What runs on CuPy arrays by default.
    **rungs : callable
        Further implementations on NumPy arrays, worth reading and comparing, the fastest last: ``loops``, ``tiled``.

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
        self.implementations = {"reference": reference, **rungs}
        self.implementations["cpu"] = cpu or list(self.implementations.values())[-1]
        if gpu is not None:
            self.implementations["gpu"] = gpu
        _known_names.update(self.implementations)
        functools.update_wrapper(self, reference)
        self.__name__ = self.__qualname__ = reference.__name__.removesuffix("_reference")

    def __call__(self, *args, **kwargs):
        return self.choose(*args, *kwargs.values())(*args, **kwargs)

    def choose(self, *arrays: object) -> Callable:
        """Return the implementation that a call with these arrays runs."""
        device = device_of(*arrays)
        forced = _forced.get()
        name = device if forced is None or forced not in self.implementations else forced
        if device == "gpu" and name != "gpu":
            raise TypeError(f"use({name!r}) needs NumPy arrays, but {self.__name__} was given CuPy arrays")
        if forced == "gpu" and device == "cpu":
            raise TypeError(f"use('gpu') needs CuPy arrays, but {self.__name__} was given NumPy arrays")
        if name not in self.implementations:
            raise TypeError(f"{self.__name__} does not run on the {name} yet; move its arrays to the CPU")
        return self.implementations[name]

    def __repr__(self) -> str:
        return f"<Op {self.__name__}: {', '.join(self.implementations)}>"
