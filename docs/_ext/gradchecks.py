"""The gradient checks that the site quotes: all implementations in float64, run while the site is built.

``python docs/_ext/gradchecks.py OUT.json`` writes what `minivid gradcheck` finds for the CPU, and the same for the CUDA
kernels in the emulator where there is a C++ compiler.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["Results", "start"]


def rows() -> Iterator[dict]:
    """Yield one record per block: what was compared, with which equation, in which implementation."""
    from minivid.cuda.emulator import compiler
    from minivid.gradcheck.cases import cases
    from minivid.gradcheck.run import _row, run_gradchecks  # the emulator is no implementation of its own there

    checked = run_gradchecks(dtypes=["float64"])
    if compiler() is not None:
        on_gpu = [case for case in cases(seed=0) if any("gpu" in op.implementations for op in case.ops)]
        checked += [_row(case, "emulator", "float64", full=False, seed=0) for case in on_gpu]
    for row in checked:
        for block in row.report.blocks:
            yield {
                "equation": block.equation,
                "operation": row.operation,
                "options": row.options,
                "implementation": row.implementation,
                "gradient": block.name,
                "method": row.report.method,
                "error": block.error,
                "tolerance": block.tolerance,
                "verdict": block.verdict,
            }


def start(out: Path) -> subprocess.Popen:
    """Begin the checks in a process of their own, beside the reading of pages and the running of examples."""
    out.unlink(missing_ok=True)
    environment = os.environ | {"NUMBA_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(out)]
    with out.with_suffix(".log").open("w") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


class Results:
    """What the checks found.

    Parameters
    ----------
    records : list of dict
        As `rows` yields them.
    """

    def __init__(self, records: list[dict]):
        self.records = records

    def of(self, tag: str) -> list[dict]:
        """Return the records of an equation that a gradient or an output of the checker belongs to."""
        return [record for record in self.records if record["equation"] == tag]

    def of_operation(self, family: str) -> list[dict]:
        """Return all records of an operation: what its intermediate equations go into."""
        return [record for record in self.records if record["operation"] == family]

    @property
    def has_emulator(self) -> bool:
        """Whether the CUDA kernels ran."""
        return any(record["implementation"] == "emulator" for record in self.records)


def _write(out: Path) -> None:
    records = list(rows())
    partial = out.with_suffix(".part")
    partial.write_text(json.dumps(records), encoding="utf-8")
    os.replace(partial, out)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
