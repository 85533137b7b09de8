"""What the tests of all operations share: drawing arrays, and comparing within rounding."""

import numba
import numpy as np
import pytest

import minivid
from minivid.gradcheck import tolerance

DTYPES = [np.float64, np.float32]


def normal(rng, *shape, dtype=np.float64):
    """Draw a standard normal array."""
    return rng.normal(size=shape).astype(dtype)


def distinct(rng, *shape, dtype=np.float64):
    """Draw an array of well-separated values in random order: no ties, and no value near zero."""
    size = int(np.prod(shape))
    values = (np.arange(size) - size // 2 + 0.5) / max(size, 1) * 4  # gaps of 4/size, far above any step
    return rng.permutation(values).reshape(shape).astype(dtype)


def assert_close(actual, expected, terms=1, dtype=None):
    """Assert equal shapes and dtype, and values equal within the rounding of a sum of ``terms`` products."""
    dtype = np.dtype(dtype or actual.dtype)
    assert actual.shape == expected.shape
    assert actual.dtype == dtype
    scale = np.abs(expected).max(initial=0.0)
    difference = np.abs(actual.astype(np.float64) - expected).max(initial=0.0)
    assert difference <= tolerance(dtype, terms) * max(scale, 1e-30), f"{difference} of {scale}"


def without_reference(op):
    """Names of the different implementations of an operation on the CPU, besides the reference."""
    names = {function: name for name, function in reversed(op.implementations.items()) if not name.startswith("gpu")}
    return [name for name in reversed(names.values()) if name != "reference"]


def kernel_versions(op):
    """Names of the versions of an operation's CUDA kernels: on a GPU, and in the emulator."""
    names = [name for name in op.implementations if name.startswith("gpu")]
    return [name.replace("gpu", "emulator") for name in names] + names


def kernels(op):
    """Parameters for a test of all versions of an operation's CUDA kernels, on every device: see `run`."""
    marks = {"gpu": pytest.mark.gpu, "emulator": pytest.mark.emulator}
    return [pytest.param(name, marks=marks[name.partition("_")[0]]) for name in kernel_versions(op)]


def implementations(op):
    """Parameters for a test of all implementations besides the reference, on every device: see `run`."""
    return [*without_reference(op), *kernels(op)]


def run(name, function, *arrays, **options):
    """Call ``function`` with one implementation, on the device where that runs: NumPy arrays in, NumPy arrays out."""
    if not name.startswith("gpu"):
        with minivid.use(name):
            return function(*arrays, **options)
    import cupy

    with minivid.use(name):
        result = function(*moved(arrays, cupy.asarray, np.ndarray), **moved(options, cupy.asarray, np.ndarray))
    return moved(result, cupy.asnumpy, cupy.ndarray)


def moved(value, move, kind):
    """Apply ``move`` to every array of one kind inside tuples, named tuples, lists and dicts."""
    if isinstance(value, kind):
        return move(value)
    if isinstance(value, dict):
        return {key: moved(item, move, kind) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(moved(item, move, kind) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(moved(item, move, kind) for item in value)
    return value


def assert_not_mutated(function, *arrays, **kwargs):
    """Call ``function`` and assert that it left its arrays as they were; return its result."""
    before = [None if a is None else a.copy() for a in arrays]
    result = function(*arrays, **kwargs)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    return result


def assert_same_bits(compute):
    """Assert that the arrays that ``compute()`` returns do not depend on the number of threads, nor on the run."""
    before = numba.get_num_threads()
    try:
        runs = []
        for threads in [1, 2, numba.config.NUMBA_NUM_THREADS, numba.config.NUMBA_NUM_THREADS]:
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            runs.append([np.array(array) for array in compute()])
    finally:
        numba.set_num_threads(before)
    for other in runs[1:]:
        for first, again in zip(runs[0], other, strict=True):
            np.testing.assert_array_equal(first, again)
