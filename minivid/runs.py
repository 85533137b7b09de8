"""Run folders: where a training leaves its model, figures and pictures."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import minivid
from minivid.files import replacing

__all__ = ["new_run_folder", "peak_memory_mb", "read_json", "write_json"]

RESULTS = ("model.safetensors", "metrics.json")


def new_run_folder(out: str | os.PathLike, overwrite: bool = False) -> Path:
    """Make a folder for a run.

    Parameters
    ----------
    out : path
        The folder; its parents are made too.
    overwrite : bool
        Whether an older run there may be replaced.

    Raises
    ------
    FileExistsError
        If the folder holds a run and ``overwrite`` is False.

    Examples
    --------
    >>> import tempfile
    >>> folder = new_run_folder(tempfile.mkdtemp() + "/runs/first")
    >>> folder.is_dir()
    True
    """
    folder = Path(out)
    check_free(folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    for name in RESULTS:  # if this run is interrupted, those of the run before must not pass for its own
        (folder / name).unlink(missing_ok=True)
    return folder


def check_free(out: str | os.PathLike, overwrite: bool) -> None:
    """Raise FileExistsError if the folder holds a run that may not be replaced."""
    if not overwrite and any((Path(out) / name).exists() for name in RESULTS):
        raise FileExistsError(f"{out} holds a run; choose another --out, or add --overwrite")


def write_json(path: str | os.PathLike, content: dict | list) -> None:
    """Write a JSON file; the old one stays until the new one is complete.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "config.json"
    >>> write_json(path, {"seed": 0})
    >>> read_json(path)
    {'seed': 0}
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike) -> dict:
    """Read a JSON file that `write_json` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no JSON object.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "config.json"
    >>> write_json(path, {"seed": 0})
    >>> read_json(path)
    {'seed': 0}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is no run folder: it has no {path.name}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds no JSON object")
    return content


def peak_memory_mb() -> float | None:
    """Return the most memory that this process has had, in MB; None where the system does not tell.

    Examples
    --------
    >>> peak_memory_mb() is None or peak_memory_mb() > 10
    True
    """
    try:  # Linux; what getrusage says there includes the memory of the process that started this one
        found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
        return None if found is None else round(int(found[1]) * 1024 / 1e6, 1)
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3), 1)


def commit() -> str | None:
    """Return the commit of the checkout that minivid runs from, with "+" if files differ from it; None elsewhere."""
    root = Path(minivid.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    describe = ["git", "-C", str(root), "describe", "--always", "--exclude=*", "--abbrev=10", "--dirty=+"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):  # no git here, or a checkout of somebody else
        return None


def about_this_machine() -> dict:
    """Return what a reader needs to judge figures: version, commit, Python, system, cores."""
    return {
        "version": minivid.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
