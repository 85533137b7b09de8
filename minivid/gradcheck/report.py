"""What a gradient check found: one block per gradient or named part of it."""

import math
from dataclasses import dataclass, field

__all__ = ["Block", "Report"]


@dataclass
class Block:
    """The verdict on one block: the gradient of an input, a named part of it, or the output itself.

    Attributes
    ----------
    name : str
        What was checked, e.g. ``"dw"``, ``"dkernel[forget gate]"``, or ``"y"`` for an output.
    error : float
        Largest difference between analytic and numeric value, relative to the size of the block.
    tolerance : float
        What the error may be at most.
    analytic, numeric : float
        The two values where they differ most; for an output, this implementation's and the reference's.
    where : str
        The entry, or the direction, where they differ most.
    equation : str
        Tag of the equation that the block computes, or an empty string.
    verdict : str
        ``"ok"``, ``"wrong"``, ``"not finite"``, ``"missing"``, ``"wrong shape"``; ``"all zero"`` if analytic and
        numeric gradient are both zero, which proves nothing; ``"not repeatable"`` if a second call of backward
        gave another gradient; ``"error"`` if a pass raised one.
    hint : str
        Likely cause of a failure, where its shape tells; otherwise empty.
    """

    name: str
    error: float
    tolerance: float
    analytic: float
    numeric: float
    where: str
    equation: str = ""
    verdict: str = "ok"
    hint: str = ""

    def __str__(self) -> str:
        title = f"{self.name} ({self.equation})" if self.equation else self.name
        line = f"{title:<34} {self.verdict:<10} error {self.error:.1e} (at most {self.tolerance:.1e})"
        if self.verdict == "ok":
            return line
        nothing_compared = math.isnan(self.analytic) and math.isnan(self.numeric)
        values = "" if nothing_compared else f": analytic {self.analytic:+.9e}, numeric {self.numeric:+.9e}"
        details = [self.where + values]
        if self.hint:
            details.append(f"likely cause: {self.hint}")
        return "\n      ".join([line, *details])


@dataclass
class Report:
    """The outcome of a gradient check.

    Attributes
    ----------
    method : str
        How the numeric derivative was taken.
    blocks : list of Block
        One entry per gradient or named part of it.

    Examples
    --------
    >>> report = Report("complex step", [Block("dx", 2e-16, 1e-10, 1.0, 1.0, "a random direction", "relu.2")])
    >>> report.passed, report.max_error
    (True, 2e-16)
    >>> print(report)
    gradients agree (complex step)
      dx (relu.2)                        ok         error 2.0e-16 (at most 1.0e-10)
    """

    method: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every block is right."""
        return all(block.verdict == "ok" for block in self.blocks)

    @property
    def max_error(self) -> float:
        """The largest relative error of all blocks."""
        return max((block.error for block in self.blocks), default=0.0)

    def raise_if_failed(self) -> None:
        """Raise AssertionError with the whole report if any block is wrong."""
        if not self.passed:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        verdict = "gradients agree" if self.passed else "gradients DIFFER"
        shown = [block for block in self.blocks if self.passed or block.verdict != "ok"]
        lines = [f"{verdict} ({self.method})", *(f"  {block}" for block in shown)]
        right = [block.name for block in self.blocks if block not in shown]
        whole = [name for name in right if name.partition("[")[0] not in right or "[" not in name]
        return "\n".join([*lines, *([f"  right: {', '.join(whole)}"] if whole else [])])
