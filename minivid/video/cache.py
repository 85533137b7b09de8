"""Decoded clips on disk: decode once, read many times."""

import hashlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minivid.files import replacing
from minivid.jit import cache_home

__all__ = ["ClipCache"]

VERSION = 1  # of the way clips are decoded: raise it when the same file would give other pixels


class ClipCache:
    """Arrays of uint8 on disk, each named by a hash of what it was made of.

    Parameters
    ----------
    folder : path, optional
        By default ``clips`` in `minivid.jit.cache_home`. Where it cannot be written to, clips stay in memory.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> cache = ClipCache(tempfile.mkdtemp())
    >>> key = cache.key_of(__file__, {"frames": 2})
    >>> cache.get(key, make=lambda: np.zeros((2, 4, 4, 1), dtype=np.uint8)).shape
    (2, 4, 4, 1)
    """

    def __init__(self, folder: str | os.PathLike | None = None):
        home = cache_home()
        self.folder = Path(folder) if folder is not None else None if home is None else home / "clips"
        self.memory: dict[str, np.ndarray] = {}

    def key_of(self, path: str | os.PathLike, settings: dict) -> str:
        """Return the name of an entry: of the file's path, time, size, and of the settings."""
        path = Path(path).resolve()
        files = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
        stamps = [(str(file), *_time_and_size(file)) for file in files]
        return hashlib.sha256(repr((VERSION, stamps, sorted(settings.items()))).encode()).hexdigest()[:32]

    def get(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the entry, making and keeping it if it is missing or damaged."""
        if key in self.memory:
            return self.memory[key]
        found = self._read(key)
        return self._keep(key, make()) if found is None else found

    def _read(self, key: str) -> np.ndarray | None:
        try:
            return np.load(self.folder / f"{key}.npy", allow_pickle=False)
        except (OSError, ValueError, EOFError, TypeError):
            return None

    def _keep(self, key: str, clip: np.ndarray) -> np.ndarray:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / f"{key}.npy") as temporary:
                np.save(temporary, clip, allow_pickle=False)
        except (OSError, AttributeError) as error:
            if not self.memory:
                warnings.warn(f"clips stay in memory: {self.folder} cannot be written to ({error})", stacklevel=4)
            self.memory[key] = clip
        return clip


def _time_and_size(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0  # a broken link: reading it will say so
    return status.st_mtime_ns, status.st_size
