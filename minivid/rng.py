"""The library-wide random generator: one seed, one stream, the same bits on every run."""

import operator

import numpy as np

__all__ = ["generator", "set_seed"]

_generator = np.random.default_rng()


def set_seed(seed: int) -> None:
    """Seed everything that minivid draws: initial weights, dropout, shuffling.

    Parameters
    ----------
    seed : int
        A non-negative integer.

    Raises
    ------
    TypeError, ValueError
        If it is no integer, or negative.

    Examples
    --------
    >>> import minivid
    >>> minivid.set_seed(0)
    >>> a = minivid.rng.generator().random()
    >>> minivid.set_seed(0)
    >>> a == minivid.rng.generator().random()
    True
    """
    global _generator
    _generator = np.random.default_rng(operator.index(seed))


def generator() -> np.random.Generator:
    """Return the generator that every draw without a seed of its own uses.

    Returns
    -------
    numpy.random.Generator
        The generator that `set_seed` made last; seeded by the operating system before that.

    Examples
    --------
    >>> generator().random() < 1.0
    True
    """
    return _generator
