"""Compile NumPy loops with Numba: one decorator, one cache on disk, no silence while compiling.

Numba notices an edit in a compiled function's own file, but not in the files of the functions it calls
(numba issue 9483). The cache folder is therefore named by a hash of every source that holds loops: after an edit
of any of them the old machine code is simply not found.
"""

import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

# Idle OpenMP threads soon sleep. Spinning on would be several times slower when another process needs the cores, and
# sleeping at once costs 50 µs of waking at each loop: GNU's threads wait about 0.1 ms for the next one. Read once, when
# the first parallel loop starts; whoever sets the variables keeps the say.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "6000")

import numba
from numba.core import event

__all__ = ["PIECES", "cache_home", "compiled", "inner"]

#: Loops that end in a sum over pixels or rows are cut into this many pieces, whatever the number of threads;
#: the partial sums are added in order. So the bits of a result do not depend on the threads.
PIECES = 16

_PATIENCE = 2.0  # seconds of compiling before the user is told


def cache_home() -> Path | None:
    """Return the folder for everything that minivid keeps on disk between runs.

    Returns
    -------
    pathlib.Path or None
        ``$MINIVID_CACHE_DIR``, or ``$XDG_CACHE_HOME/minivid``, or ``~/.cache/minivid``, or a folder of this
        user under the system's temporary folder: the first that can be written to. None when none can.

    Examples
    --------
    >>> cache_home() is None or cache_home().is_dir()
    True
    """
    own = os.environ.get("MINIVID_CACHE_DIR")
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "minivid"
    shared = Path(tempfile.gettempdir()) / f"minivid-{getattr(os, 'getuid', int)()}"
    candidates = [*([Path(own)] if own else []), user, shared]
    return next((usable for usable in map(_usable, candidates) if usable is not None), None)


def _usable(folder: Path) -> Path | None:
    """Return the folder, made if need be, if this user can write to it and nobody else owns it."""
    try:
        folder = folder.expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Compiled code is loaded from here: a stranger's folder under /tmp would run a stranger's code.
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return None
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        return None


def _hash_of_sources() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    package = Path(__file__).parent
    for source in [Path(__file__), package / "simd.py", *sorted((package / "ops").rglob("*.py"))]:
        digest.update(str(source.relative_to(package)).encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> str | None:
    home = cache_home()
    return None if home is None else str(home / "compiled" / _hash_of_sources())


_CACHE_FOLDER = _cache_folder()


def compiled(function: Callable | None = None, *, parallel: bool = True, **options) -> Callable:
    """Compile a function of arrays and numbers on its first call with each set of argument types.

    Division follows NumPy (no exception on zero), multiply-adds may be fused (``contract``), and nothing else
    about floating point is relaxed: NaN, infinities and the order of sums stay as written.

    Parameters
    ----------
    function : callable
        The loops, in the subset of Python that Numba compiles.
    parallel : bool
        Whether ``numba.prange`` loops are shared out among threads.
    **options
        Passed on to ``numba.njit``.

    Returns
    -------
    callable
        The compiled function.

    Examples
    --------
    >>> import numpy as np
    >>> @compiled(parallel=False)
    ... def total(x):
    ...     s = 0.0
    ...     for value in x:
    ...         s += value
    ...     return s
    >>> total(np.arange(4.0))
    6.0
    """
    if function is None:
        return lambda f: compiled(f, parallel=parallel, **options)
    options = {"error_model": "numpy", "fastmath": {"contract"}, "parallel": parallel} | options
    previous, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _CACHE_FOLDER or ""
    try:
        # A function typed at a prompt has no source file that a cache could be keyed by.
        keep = _CACHE_FOLDER is not None and Path(function.__code__.co_filename).is_file()
        return numba.njit(function, cache=keep, **options)
    finally:
        numba.config.CACHE_DIR = previous


def inner(function: Callable | None = None, *, forceinline: bool = False) -> Callable:
    """Compile a function that runs inside of compiled loops, on arrays that it is handed.

    Numba counts who holds an array: a function counts itself in and out at each call, by atomic additions to one
    number in memory that all threads want at the same time. For a tile of 16 vectors that took as long as the
    arithmetic. Here nobody counts, as the loops outside hold the arrays all the while.

    Parameters
    ----------
    function : callable
        It may make views of arrays, but no arrays, and hand none back to Python.
    forceinline : bool
        Whether it becomes a part of each function that calls it.

    Returns
    -------
    callable
        The compiled function.

    Examples
    --------
    >>> import numpy as np
    >>> @inner
    ... def add_into(x, y):
    ...     for i in range(len(x)):
    ...         y[i] += x[i]
    >>> y = np.ones(2)
    >>> add_into(np.arange(2.0), y)
    >>> y
    array([1., 2.])
    """
    if function is None:
        return lambda f: inner(f, forceinline=forceinline)
    return compiled(function, parallel=False, forceinline=forceinline, _nrt=False)


class _CompileNotice(event.Listener):
    """Tells the user, once, that a long silence is the compiler at work: all compiling so far counts."""

    def __init__(self, patience: float = _PATIENCE):
        self.told = False
        self.left = patience  # seconds
        self.open: list[str] = []  # functions being compiled; one may compile another that it calls

    def on_start(self, started: event.Event) -> None:
        self.open.append(str(started.data["dispatcher"].py_func.__module__))
        if self.told or len(self.open) > 1 or not self.open[0].startswith("minivid."):
            return
        self.started = time.monotonic()
        self.timer = threading.Timer(max(self.left, 0.0), self.tell)
        self.timer.daemon = True
        self.timer.start()

    def on_end(self, ended: event.Event) -> None:
        module = self.open.pop()
        if not self.open and module.startswith("minivid."):
            self.timer.cancel()
            self.left -= time.monotonic() - self.started

    def tell(self) -> None:
        if self.told:
            return
        self.told = True
        where = f"kept in {_CACHE_FOLDER}" if _CACHE_FOLDER else "no writable cache folder: not kept"
        print(f"minivid: compiling its loops for this machine (first run only; {where})", file=sys.stderr)


event.register("numba:compile", _CompileNotice())
