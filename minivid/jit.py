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
from collections.abc import Callable
from pathlib import Path

import numba
from numba.core import event

__all__ = ["PIECES", "cache_home", "compiled"]

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
    candidates = []
    if os.environ.get("MINIVID_CACHE_DIR"):
        candidates.append(Path(os.environ["MINIVID_CACHE_DIR"]))
    xdg = os.environ.get("XDG_CACHE_HOME")
    candidates.append((Path(xdg) if xdg else Path("~/.cache").expanduser()) / "minivid")
    candidates.append(Path(tempfile.gettempdir()) / f"minivid-{getattr(os, 'getuid', int)()}")
    return next((folder for folder in candidates if _writable(folder)), None)


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, RuntimeError):
        return False


def _hash_of_sources() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    package = Path(__file__).parent
    for source in [Path(__file__), *sorted((package / "ops").rglob("*.py"))]:
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


class _CompileNotice(event.Listener):
    """Tells the user, once, that a long silence is the compiler at work."""

    def __init__(self):
        self.told = False
        self.timers: dict[int, threading.Timer] = {}

    def on_start(self, started: event.Event) -> None:
        dispatcher = started.data["dispatcher"]
        if self.told or not dispatcher.py_func.__module__.startswith("minivid."):
            return
        timer = threading.Timer(_PATIENCE, self.tell)
        timer.daemon = True
        self.timers[threading.get_ident()] = timer
        timer.start()

    def on_end(self, ended: event.Event) -> None:
        timer = self.timers.pop(threading.get_ident(), None)
        if timer is not None:
            timer.cancel()

    def tell(self) -> None:
        if self.told:
            return
        self.told = True
        where = f"kept in {_CACHE_FOLDER}" if _CACHE_FOLDER else "no writable cache folder: not kept"
        print(f"minivid: compiling its loops for this machine (first run only; {where})", file=sys.stderr)


event.register("numba:compile", _CompileNotice())
