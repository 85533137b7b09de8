"""Dropout: training with random elements set to zero.

    u     ~ U[0, 1), keep = (u ≥ rate)           (dropout.1)
    y     = x / (1 − rate) where kept, else 0    (dropout.2)
    dx    = dy / (1 − rate) where kept, else 0   (dropout.3)

    x, y, keep, dy, dx   any shape, all the same

"Inverted": the division while training keeps the expectation of y at x, so prediction needs no dropout and no
scale. Source: Srivastava et al., JMLR 15, 2014. docs/ops/dropout.md derives the rest.
"""

import numpy as np
from numba import prange

from minivid import memory
from minivid.backend import Op, xp_of
from minivid.jit import compiled

__all__ = ["dropout_backward", "dropout_forward"]

_CHUNK = 4096  # elements that one thread takes at a time, whatever the number of threads


def _check_rate(rate) -> None:
    if not 0 <= rate < 1:
        raise ValueError(f"dropout sets a share of 0 <= rate < 1 of the elements to zero, got rate={rate!r}")


def _check_upstream(dy, keep) -> None:
    if dy.shape != keep.shape:
        raise ValueError(f"dy has shape {dy.shape}, but the output of this dropout has {keep.shape}")


def _draw(shape, rate, rng) -> np.ndarray:
    """Draw which elements stay: on the CPU, so that every implementation and device drops the same ones."""
    return rng.random(shape, dtype=np.float32) >= rate  # (dropout.1)


# --- reference: the equations, which serve the GPU too ---------------------------------------------------


def dropout_forward_reference(x: np.ndarray, rate: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Set random elements to zero and scale up the rest, equation (dropout.2).

    Parameters
    ----------
    x : array
        Any shape.
    rate : float
        Probability that an element is set to zero, at least 0 and less than 1.
    rng : numpy.random.Generator
        Draws the elements; the same state drops the same ones for every dtype and implementation.

    Returns
    -------
    y : array
        Shape and dtype of x.
    keep : bool array
        Shape of x; False where y was set to zero. The cache of `dropout_backward`.

    Raises
    ------
    ValueError
        If the rate is not in [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> y, keep = dropout_forward(np.ones(1000), 0.2, np.random.default_rng(0))
    >>> sorted(set(y.tolist())), round(float(keep.mean()), 1)
    ([0.0, 1.25], 0.8)
    """
    _check_rate(rate)
    xp = xp_of(x)
    keep = xp.asarray(_draw(x.shape, rate, rng))
    return xp.where(keep, x * (1 / (1 - rate)), 0), keep  # (dropout.2)


def dropout_backward_reference(dy: np.ndarray, keep: np.ndarray, rate: float) -> np.ndarray:
    """Gradient of the loss with respect to the input of a dropout, equation (dropout.3).

    Parameters
    ----------
    dy : array
        Gradient with respect to the output.
    keep : bool array
        From the forward pass.
    rate : float
        As in the forward pass.

    Returns
    -------
    dx : array

    Raises
    ------
    ValueError
        If the rate is not in [0, 1), or dy and keep have different shapes.

    Examples
    --------
    >>> import numpy as np
    >>> dropout_backward(np.array([3.0, 4.0]), np.array([True, False]), 0.5)
    array([6., 0.])
    """
    _check_rate(rate)
    _check_upstream(dy, keep)
    return xp_of(dy, keep).where(keep, dy * (1 / (1 - rate)), 0)  # (dropout.3)


# --- CPU: one compiled loop serves both passes -------------------------------------------------------------


def dropout_forward_loops(x, rate, rng):
    """See `dropout_forward`."""
    _check_rate(rate)
    keep = _draw(x.shape, rate, rng)
    return _keep_and_scale(x, keep, rate), keep


def dropout_backward_loops(dy, keep, rate):
    """See `dropout_backward`."""
    _check_rate(rate)
    _check_upstream(dy, keep)
    return _keep_and_scale(dy, keep, rate)


def _keep_and_scale(x, keep, rate):
    y = memory.empty(x.shape, x.dtype)
    x, keep = np.ascontiguousarray(x).reshape(-1), np.ascontiguousarray(keep).reshape(-1)
    _select(x, keep, 1 / (1 - rate), y.reshape(-1))
    return y


@compiled
def _select(x, keep, scale, y):
    for chunk in prange(-(-x.size // _CHUNK)):
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, x.size)):
            y[i] = x[i] * scale if keep[i] else 0.0  # (dropout.2), (dropout.3)


# --- the table -------------------------------------------------------------------------------------------

dropout_forward = Op(reference=dropout_forward_reference, loops=dropout_forward_loops, gpu=dropout_forward_reference)
dropout_backward = Op(
    reference=dropout_backward_reference, loops=dropout_backward_loops, gpu=dropout_backward_reference
)
