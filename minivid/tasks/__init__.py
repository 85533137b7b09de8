"""The applications: each module has Settings, train_run, evaluate_run and predict_run, and a demo beside it."""

import importlib
from types import ModuleType

TASKS = ("classify", "detect", "generate")


def load_task(name: str) -> ModuleType:
    """Return the module of a task.

    Raises
    ------
    ValueError
        If there is no such task.
    """
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {name!r}")
    return importlib.import_module(f"minivid.tasks.{name}")
