"""minivid: deep learning for video, to read beside the equations.

The parts are imported when they are first used: ``import minivid`` alone loads no compiler, codec or plotting.
"""

import importlib

from minivid import rng
from minivid.backend import use
from minivid.rng import set_seed

__version__ = "0.1.0"

_PARTS = (
    "callbacks",
    "gradcheck",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "plots",
    "preprocessing",
    "tasks",
    "utils",
    "video",
)

__all__ = [*_PARTS, "rng", "set_seed", "use"]


def __getattr__(name: str):
    if name in _PARTS:
        return importlib.import_module(f"minivid.{name}")
    raise AttributeError(f"module 'minivid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_PARTS]
