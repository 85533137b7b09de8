"""Arrays whose memory is used again: the next training step needs the same large buffers as the last.

The pages of a fresh array are handed out by the operating system one by one, at the first touch, and filled with
zeros: for an array of 50 MB that takes longer than the arithmetic that fills it. Here the buffer of a large array goes
back to a pool when the array and all its views are gone, and a later array of about the same size gets it.

How it works: NumPy makes an array of any object that says, by ``__array_interface__``, where its numbers are, and keeps
that object alive as the array's ``base``. The object here is a `_Loan`; when it dies, its buffer goes back.
"""

import math
import threading
from collections import deque

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["empty", "release", "zeros"]

_SMALL = 1 << 20  # bytes; below, NumPy's own memory is as fast
_ROOM = 1.6  # times the greatest use so far: what buffers in use and free ones may take together
_ALIGNMENT = 64  # bytes of a cache line, and of the widest vector


class _Loan:
    """A buffer that an array uses."""

    def __init__(self, buffer: np.ndarray, returned: deque, shape: tuple[int, ...], dtype: np.dtype):
        self.buffer, self.returned = buffer, returned
        address = -(-buffer.__array_interface__["data"][0] // _ALIGNMENT) * _ALIGNMENT
        self.__array_interface__ = {"shape": shape, "typestr": dtype.str, "data": (address, False), "version": 3}

    def __del__(self):
        # May run at any moment, in any thread, even inside the pool: one atomic step, and no lock.
        self.returned.append(self.buffer)


class _Pool:
    """Buffers in use, counted, and free ones, oldest first; both together within a bound."""

    def __init__(self):
        self.lock = threading.Lock()
        self.returned: deque[np.ndarray] = deque()  # by arrays that are gone, not counted as free yet
        self.free: list[np.ndarray] = []
        self.in_use = self.unused = self.greatest = 0  # bytes

    def array(self, shape: tuple[int, ...], dtype: np.dtype, nbytes: int) -> np.ndarray:
        size = _size_class(nbytes)
        with self.lock:
            self.collect()
            buffer = self.take(size)
            self.in_use += size
            self.greatest = max(self.greatest, self.in_use)
            excess = []
            while self.free and self.in_use + self.unused > _ROOM * self.greatest:
                excess.append(self.free.pop(0))
                self.unused -= len(excess[-1])
        del excess  # gives it to the operating system, before a fresh buffer is touched
        if buffer is None:
            buffer = np.empty(size, np.uint8)
        return np.asarray(_Loan(buffer, self.returned, shape, dtype))

    def collect(self) -> None:
        while self.returned:
            self.free.append(self.returned.popleft())
            self.in_use -= len(self.free[-1])
            self.unused += len(self.free[-1])

    def take(self, size: int) -> np.ndarray | None:
        """Return the free buffer of this size that was used last: it is the likeliest to be in a cache."""
        for index in reversed(range(len(self.free))):
            if len(self.free[index]) == size:
                self.unused -= size
                return self.free.pop(index)
        return None

    def release(self) -> None:
        with self.lock:
            self.collect()
            self.free, free = [], self.free
            self.unused, self.greatest = 0, self.in_use
        del free


def _size_class(nbytes: int) -> int:
    """Round up to one of eight sizes per power of two, so that at most an eighth of a buffer stays untouched."""
    step = 1 << max((nbytes + _ALIGNMENT).bit_length() - 4, 0)
    return -(-(nbytes + _ALIGNMENT) // step) * step


_POOL = _Pool()


def empty(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """Return an array of any values, as `numpy.empty`, with memory that is used again after it.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype, default float32
        Numbers or truth values.

    Returns
    -------
    array
        C-contiguous. It begins at a multiple of 64 bytes, so that none of its vectors lies across two cache lines.

    Notes
    -----
    The memory is free for the next array when the last view of this one is gone, and not before. The pool holds at most
    1.6 times what the arrays made here have had in use together at one time.

    Examples
    --------
    >>> import numpy as np
    >>> x = empty((1024, 1024))
    >>> address = x.ctypes.data
    >>> del x
    >>> empty((1024, 1024)).ctypes.data == address
    True
    """
    shape = (shape,) if hasattr(shape, "__index__") else tuple(shape)
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _SMALL:
        memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
        first = -memory.__array_interface__["data"][0] % _ALIGNMENT
        return np.ndarray(shape, dtype, memory, first)
    return _POOL.array(shape, dtype, nbytes)


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """Return an array of zeros, as `numpy.zeros`, with memory that is used again after it; see `empty`.

    Parameters
    ----------
    shape : int or tuple of int
    dtype : dtype, default float32

    Returns
    -------
    array

    Examples
    --------
    >>> zeros((2, 2))
    array([[0., 0.],
           [0., 0.]], dtype=float32)
    """
    x = empty(shape, dtype)
    x.fill(0)
    return x


def release() -> None:
    """Give the memory of arrays that are gone back to the operating system.

    Examples
    --------
    >>> import numpy as np, minivid.memory
    >>> x = minivid.memory.empty((1024, 1024))
    >>> del x
    >>> minivid.memory.release()
    """
    _POOL.release()
