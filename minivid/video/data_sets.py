"""Folders of drawn clips: complete or not there, and not drawn twice."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["draw_once"]

_MARKER = ".drawn_with.json"


def draw_once(directory: str | os.PathLike, settings: dict, draw: Callable[[Path], None]) -> Path:
    """Fill a folder, unless the same settings have filled it before; after an error there is none.

    Parameters
    ----------
    directory : path
        Appears when it is complete.
    settings : dict
        What decides the content, as JSON has it. Kept in the folder, in a hidden file.
    draw : callable
        Takes the path of an empty folder and fills it.

    Returns
    -------
    Path
        ``directory``.

    Raises
    ------
    FileExistsError
        If ``directory`` holds something else, or was filled with other settings.

    Examples
    --------
    >>> target = Path(tempfile.mkdtemp()) / "set"
    >>> for seed in (3, 3):
    ...     _ = draw_once(target, {"what": "text", "seed": seed}, lambda folder: (folder / "a.txt").write_text("a"))
    >>> (target / "a.txt").read_text()
    'a'
    """
    directory = Path(directory)
    if directory.exists():
        _check_same(directory, settings)
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        draw(temporary)
        (temporary / _MARKER).write_text(json.dumps(settings))
        temporary.chmod(0o755)
        os.replace(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return directory


def _check_same(directory: Path, settings: dict) -> None:
    try:
        found = json.loads((directory / _MARKER).read_text())
    except (OSError, ValueError):
        found = "something else"
    if found != settings:
        raise FileExistsError(f"{directory} holds {found}, not {settings}; choose another folder")
