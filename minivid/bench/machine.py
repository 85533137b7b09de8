"""The ceilings of this machine, measured: multiply-adds per second and bytes per second; and what machine it is."""

import platform
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import prange

from minivid.jit import compiled
from minivid.simd import BYTES, fma, load, store, width

__all__ = ["copy_bandwidth", "fma_peak"]

SUMS = 14  # registers of running sums: enough to keep two units busy for the 4 cycles that a multiply-add takes
STEPS = 2_000_000  # some milliseconds: waking the threads costs nothing beside it
COPY_BYTES = 256 * 2**20  # larger than any cache
ROUNDS = 9


def fma_peak(threads: int) -> float:
    """Measure how many float32 operations per second the cores do when nothing but registers is involved.

    Parameters
    ----------
    threads : int
        Of Numba, all busy at the same time.

    Returns
    -------
    float
        Operations per second, two per multiply-add and element.

    Examples
    --------
    >>> fma_peak(threads=1) > 1e8
    True
    """
    # With a between 0 and 1/2 the sums come to rest at a / (1 − a): no overflow, no denormal number.
    start = np.random.default_rng(0).uniform(0.1, 0.5, (threads, SUMS * BYTES // 4)).astype(np.float32)
    end = np.empty_like(start)
    return 2 * STEPS * start.size / _fastest(lambda: _multiply_add(start, STEPS, end))


@compiled
def _multiply_add(start, steps, end):
    """Repeat s = a·s + a on 14 vectors s of each thread, which nothing but registers holds."""
    for thread in prange(len(start)):
        row, sums = start[thread], end[thread]
        V = width(row)
        a = load(row, 0)
        s0, s1, s2, s3, s4 = a, load(row, V), load(row, 2 * V), load(row, 3 * V), load(row, 4 * V)
        s5, s6, s7, s8, s9 = load(row, 5 * V), load(row, 6 * V), load(row, 7 * V), load(row, 8 * V), load(row, 9 * V)
        s10, s11, s12, s13 = load(row, 10 * V), load(row, 11 * V), load(row, 12 * V), load(row, 13 * V)
        for _ in range(steps):
            s0, s1, s2, s3 = fma(a, s0, a), fma(a, s1, a), fma(a, s2, a), fma(a, s3, a)
            s4, s5, s6, s7 = fma(a, s4, a), fma(a, s5, a), fma(a, s6, a), fma(a, s7, a)
            s8, s9, s10, s11 = fma(a, s8, a), fma(a, s9, a), fma(a, s10, a), fma(a, s11, a)
            s12, s13 = fma(a, s12, a), fma(a, s13, a)
        store(sums, 0, s0)  # unused sums would be left out by the compiler
        store(sums, V, s1)
        store(sums, 2 * V, s2)
        store(sums, 3 * V, s3)
        store(sums, 4 * V, s4)
        store(sums, 5 * V, s5)
        store(sums, 6 * V, s6)
        store(sums, 7 * V, s7)
        store(sums, 8 * V, s8)
        store(sums, 9 * V, s9)
        store(sums, 10 * V, s10)
        store(sums, 11 * V, s11)
        store(sums, 12 * V, s12)
        store(sums, 13 * V, s13)


def copy_bandwidth(size: int = COPY_BYTES) -> float:
    """Measure how many bytes per second a large copy moves, on all threads.

    Parameters
    ----------
    size : int
        Bytes of the array that is copied.

    Returns
    -------
    float
        Bytes per second, those read plus those written.

    Examples
    --------
    >>> copy_bandwidth(size=2**20) > 1e8
    True
    """
    x, y = np.ones(size // 4, np.float32), np.zeros(size // 4, np.float32)
    return 2 * x.nbytes / _fastest(lambda: _copy(x, y))


@compiled
def _copy(x, y):
    for i in prange(len(x)):
        y[i] = x[i]


def _fastest(call: Callable[[], None]) -> float:
    """Return the shortest of some runs, in seconds: a ceiling is what the machine does when nothing disturbs it."""
    call()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def cpu_name() -> str:
    """Return what the processor calls itself."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
