"""What recurrent operations share: their shapes, their masks, and backpropagation through time.

    s_t   = f(x_t, s_{t−1}; θ)   for t = 1..T                            (recurrent.1)
    s_t   = s_{t−1}              where the mask is False                 (recurrent.2)
    δs_t  = ds_t + (∂s_{t+1}/∂s_t)ᵀ δs_{t+1}                             (recurrent.3)
    dθ    = Σ_t (∂s_t/∂θ)ᵀ δs_t                                          (recurrent.4)
    δs_t  = ds_t + δs_{t+1}      where the mask of step t+1 is False     (recurrent.5)

s is the state (h, and c for the LSTM), s_0 its initial value, θ the weights: the same ones at every step. ds_t
is the gradient that arrives from above, at the output of step t; δs_t counts all later steps as well.
docs/ops/recurrent.md derives them.
"""

import numpy as np

_LAYOUT = ["C_CONTIGUOUS", "WRITEABLE"]  # Numba would compile anew for each other layout


def sizes_of(op: str, slots: int, x, kernel, recurrent_kernel) -> tuple[int, int, int, int]:
    """Check x (N, T, D) against weights of ``slots`` blocks of U columns; return N, T, D and U."""
    if x.ndim != 3:
        raise ValueError(f"{op} takes x (batch, time, features), got shape {x.shape}")
    N, T, D = x.shape
    if T == 0:
        raise ValueError(f"{op} takes at least one time step, got x (batch, time, features) of {x.shape}")
    columns = "U" if slots == 1 else f"{slots}U"
    if recurrent_kernel.ndim != 2 or recurrent_kernel.shape[1] != slots * recurrent_kernel.shape[0]:
        raise ValueError(f"{op} takes recurrent_kernel (U, {columns}), got shape {recurrent_kernel.shape}")
    U = recurrent_kernel.shape[0]
    if kernel.shape != (D, slots * U):
        raise ValueError(
            f"{op} takes kernel (D, {columns}): {(D, slots * U)} for {D} features (last axis of x {x.shape}) "
            f"and {U} units (recurrent_kernel {recurrent_kernel.shape}), got shape {kernel.shape}"
        )
    return N, T, D, U


def check_shapes(op: str, **arrays: tuple) -> None:
    """Check ``name=(array, shape)``; None in place of an array passes."""
    for name, (array, shape) in arrays.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{op} takes {name} of shape {shape}, got {array.shape}")


def mask_or_all(op: str, mask, N: int, T: int) -> np.ndarray:
    """Return the checked mask, or one that keeps every step."""
    if mask is None:
        return np.ones((N, T), dtype=bool)
    if mask.shape != (N, T) or mask.dtype != bool:
        raise ValueError(
            f"{op} takes a mask (N, T) of bool, True at real steps: shape {(N, T)}, "
            f"got shape {mask.shape} of {mask.dtype}"
        )
    return np.require(mask, requirements=_LAYOUT)


def or_zeros(array, shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
    """Return the array, or zeros of the dtype of another one in place of None."""
    return np.zeros(shape, dtype=like.dtype) if array is None else array


def contiguous(*arrays: np.ndarray) -> list[np.ndarray]:
    """Bring arrays into the one layout and floating-point dtype that the compiled loops take."""
    dtype = np.result_type(np.float32, *arrays)
    return [np.require(a, dtype, _LAYOUT) for a in arrays]


def previous(states: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Return s_{t−1} for every step t: the states (N, T, U) one step later, the initial one in front."""
    return np.concatenate([initial[:, None], states[:, :-1]], axis=1)
