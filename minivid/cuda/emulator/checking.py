"""Check a ``.cu`` file that says itself how to launch its kernels: ``// run: scale<<<4, 64>>>(x[256], y[256])``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minivid.cuda import source
from minivid.cuda.emulator.build import EmulatorError
from minivid.cuda.emulator.module import RawModule, schedule

__all__ = ["check_file"]

_RUN = re.compile(r"^[ \t]*//[ \t]*run(?P<together>[ \t]+cooperative)?:[ \t]*(?P<launch>.+?)[ \t]*$", re.MULTILINE)
_LAUNCH = re.compile(r"(?P<kernel>\w+)\s*<<<(?P<sizes>.+?)>>>\s*\((?P<arguments>.*)\)\s*;?$")
_ARRAY = re.compile(r"(?:(?P<how>out|zero)\s+)?(?P<name>\w+)(?P<sizes>(?:\[[\d\s*+]+\])+)(?:\s*<\s*(?P<below>\d+))?$")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_PRODUCT = re.compile(r"\d+(?:\s*[*+]\s*\d+)*$")
_DTYPES = {
    "float": np.float32,
    "real": np.float32,
    "double": np.float64,
    "int": np.int32,
    "unsigned": np.uint32,
    "unsigned int": np.uint32,
    "unsigned char": np.uint8,
    "bool": np.bool_,
}
_EXAMPLE = """a comment line of the file says how to launch its kernel, for example
  // run: saxpy<<<4, 64>>>(x[256], y[256], 2.0, 250)
where x and y are arrays of random numbers, `out y[256]` holds nothing yet, `zero y[256]` zeros, and `index[64] < 256`
whole numbers from 0 to 255; dim3 sizes are written (8, 4), and dynamic shared memory as in <<<4, 64, 1024>>>"""


class _Run(NamedTuple):
    """A launch, as a line of the file asks for it."""

    text: str
    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    cooperative: bool
    arguments: tuple
    fresh: tuple[str, ...]


def check_file(path: str | Path, seeds: Sequence[int] = (0, 1, 2), defines: Sequence[str] = ()) -> str:
    """Run the kernels of a file as its ``// run:`` lines say, and return a report.

    Parameters
    ----------
    path : str or pathlib.Path
        A ``.cu`` file. Headers that it includes by name lie beside it.
    seeds : sequence of int
        The schedules to try, see `minivid.cuda.emulator.schedule`.
    defines : sequence of str
        Macros for the compiler, e.g. ``"TILE=8"``; ``real`` is float.

    Returns
    -------
    str
        A line for each launch.

    Raises
    ------
    EmulatorError
        If anything is wrong with a kernel; the message lists it.
    ValueError
        If the file does not say how to launch its kernels, or not in a way that can be understood.

    Examples
    --------
    >>> check_file("saxpy.cu")  # doctest: +SKIP
    'saxpy<<<4, 64>>>(x[256], y[256], 2.0, 250): no findings on 3 schedules'
    """
    path = Path(path)
    options = [f"-D{macro}" for macro in ("real=float", *defines)]
    module = RawModule(source.with_includes(path), options, path.stem)
    runs = [_read(match, module, path.name) for match in _RUN.finditer(path.read_text(encoding="utf-8"))]
    if not runs:
        raise ValueError(f"{path.name} does not say how to launch {_kernels(module)}: {_EXAMPLE}")
    findings = [text for run in runs if (text := _findings(module, run, seeds))]
    if findings:
        raise EmulatorError("\n".join(findings))
    return "\n".join(f"{run.text}: no findings on {len(seeds)} schedules" for run in runs)


def _findings(module: RawModule, run: _Run, seeds: Sequence[int]) -> str:
    """Return what the first schedule finds that finds anything."""
    function = module.get_function(run.kernel)
    for seed in seeds:
        arguments = tuple(a.copy() for a in run.arguments)
        try:
            with schedule(seed):
                function(run.grid, run.block, arguments, run.shared, run.cooperative, fresh=run.fresh)
        except EmulatorError as error:
            return str(error)
    return ""


def _kernels(module: RawModule) -> str:
    return ", ".join(module.kernels) or "a kernel (there is no __global__ function)"


def _read(match: re.Match, module: RawModule, name: str) -> _Run:
    text = match["launch"]
    launch = _LAUNCH.match(text)
    if launch is None:
        raise ValueError(f"{name}: {text!r} is not a launch; {_EXAMPLE}")
    sizes = [_size(part, text) for part in _split(launch["sizes"])]
    if len(sizes) not in (2, 3):
        raise ValueError(f"{name}: {text!r} needs a grid and a block; {_EXAMPLE}")
    parameters = module.get_function(launch["kernel"]).parameters
    given = _split(launch["arguments"])
    if len(given) != len(parameters):
        wanted = ", ".join(f"{p.type} {p.name}" for p in parameters)
        raise ValueError(
            f"{name}: {text!r} gives {len(given)} arguments; the kernel takes {len(parameters)} ({wanted})"
        )
    rng = np.random.default_rng(0)
    arguments = tuple(_argument(p, a, rng) for p, a in zip(parameters, given, strict=True))
    fresh = tuple(p.name for p, a in zip(parameters, given, strict=True) if a.startswith("out "))
    shared = sizes[2][0] if len(sizes) == 3 else 0
    return _Run(text, launch["kernel"], sizes[0], sizes[1], shared, bool(match["together"]), arguments, fresh)


def _split(text: str) -> list[str]:
    """Split at the commas outside parentheses."""
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _size(text: str, launch: str) -> tuple[int, ...]:
    """Read ``64``, ``4 * 16`` or ``(8, 4)``, also written ``dim3(8, 4)``."""
    parts = text.removeprefix("dim3").strip("() ").split(",")
    if not all(_PRODUCT.match(part.strip()) for part in parts):
        raise ValueError(f"{text!r} in {launch!r} is no size; {_EXAMPLE}")
    return tuple(_product(part) for part in parts)


def _product(text: str) -> int:
    return sum(int(np.prod([int(factor) for factor in term.split("*")])) for term in text.split("+"))


def _argument(parameter: source.Parameter, text: str, rng: np.random.Generator):
    """Make the argument that a run line asks for, of the type that the kernel's signature says."""
    pointer = parameter.type.endswith("*")
    dtype = _DTYPES.get(parameter.type.removeprefix("const ").removesuffix("*"))
    match = _ARRAY.match(text) if pointer else _NUMBER.match(text)
    if dtype is None or match is None:
        expected = f"an array, e.g. {parameter.name}[256]" if pointer else "a number"
        raise ValueError(f"{text!r} for {parameter.type} {parameter.name}: expected {expected}; {_EXAMPLE}")
    if not pointer:
        return dtype(float(match[0]))
    if match["name"] != parameter.name:
        raise ValueError(f"{text!r}: the parameter in this place is {parameter.type} {parameter.name}")
    shape = tuple(_product(size) for size in re.findall(r"\[([^\]]+)\]", match["sizes"]))
    if match["how"] == "zero":
        return np.zeros(shape, dtype)
    if np.issubdtype(dtype, np.floating):
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, int(match["below"] or 10), size=shape).astype(dtype)
