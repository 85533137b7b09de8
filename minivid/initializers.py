"""Initial weights, with the names, rules and defaults of Keras.

The fans of a weight of shape (..., I, O) with receptive field R, the product of the leading sizes, are
fan_in = R·I and fan_out = R·O: (D, U) of a dense layer has fans D and U, (KH, KW, C, F) of a convolution has
KH·KW·C and KH·KW·F. A vector of size n has both fans n.

Values are drawn in float64 and then cast, so that a float32 and a float64 model start alike from one seed.
"""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import minivid.rng

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "get",
    "serialize",
]

# Standard deviation of a standard normal that is cut off at ±2.
TRUNCATED_STDDEV = 0.87962566103423978


class Initializer:
    """What all initializers share; a subclass implements ``draw(shape, rng)`` in float64.

    Parameters
    ----------
    seed : int, optional
        With a seed every call draws the same values; without one they come from `rng` at the call.

    Examples
    --------
    >>> from minivid.initializers import Initializer
    >>> class Half(Initializer):
    ...     def draw(self, shape, rng):
    ...         return np.full(shape, 0.5)
    >>> Half()((2,), "float32")
    array([0.5, 0.5], dtype=float32)
    """

    def __init__(self, seed: int | None = None):
        if seed is not None and (not isinstance(seed, (int, np.integer)) or seed < 0):
            raise ValueError(f"seed must be an integer >= 0 or None, got {seed!r}")
        self.seed = None if seed is None else int(seed)

    def __call__(
        self, shape: tuple[int, ...], dtype: DTypeLike = "float32", rng: np.random.Generator | None = None
    ) -> np.ndarray:
        """Return a new array of initial values.

        Parameters
        ----------
        shape : tuple of int
        dtype : dtype, default "float32"
            A floating dtype.
        rng : numpy.random.Generator, optional
            Where to draw from if the initializer has no seed; default `minivid.rng.generator()`.

        Returns
        -------
        numpy.ndarray
            Of the given shape and dtype.
        """
        if self.seed is not None:
            rng = np.random.default_rng(self.seed)
        elif rng is None:
            rng = minivid.rng.generator()
        return self.draw(tuple(shape), rng).astype(dtype)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return float64 values of the given shape."""
        raise NotImplementedError(f"{type(self).__name__} must implement draw(shape, rng)")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, fit for JSON."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


class Constant(Initializer):
    """One value everywhere.

    Parameters
    ----------
    value : float, default 0.0

    Examples
    --------
    >>> from minivid.initializers import Constant
    >>> Constant(2.0)((2,))
    array([2., 2.], dtype=float32)
    """

    def __init__(self, value: float = 0.0):
        super().__init__()
        self.value = value

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return `value` everywhere."""
        return np.full(shape, self.value, dtype=np.float64)


class Zeros(Constant):
    """Zero everywhere.

    Examples
    --------
    >>> from minivid.initializers import Zeros
    >>> Zeros()((2,))
    array([0., 0.], dtype=float32)
    """

    def __init__(self):
        super().__init__(0.0)


class Ones(Constant):
    """One everywhere.

    Examples
    --------
    >>> from minivid.initializers import Ones
    >>> Ones()((2,))
    array([1., 1.], dtype=float32)
    """

    def __init__(self):
        super().__init__(1.0)


class RandomNormal(Initializer):
    """Normal values.

    Parameters
    ----------
    mean : float, default 0.0
    stddev : float, default 0.05
    seed : int, optional

    Examples
    --------
    >>> from minivid.initializers import RandomNormal
    >>> RandomNormal(stddev=0.1, seed=0)((2, 3)).shape
    (2, 3)
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        _check_not_negative("stddev", stddev)
        self.mean = mean
        self.stddev = stddev

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return normal values."""
        return rng.normal(self.mean, self.stddev, shape)


class TruncatedNormal(RandomNormal):
    """Normal values, those further than two `stddev` from the mean drawn anew.

    Parameters
    ----------
    mean : float, default 0.0
    stddev : float, default 0.05
        Before the truncation; the values' own is 0.8796 times that.
    seed : int, optional

    Examples
    --------
    >>> from minivid.initializers import TruncatedNormal
    >>> bool(abs(TruncatedNormal(stddev=1.0, seed=0)((1000,))).max() <= 2.0)
    True
    """

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return truncated normal values."""
        return self.mean + self.stddev * _truncated_standard_normal(shape, rng)


class RandomUniform(Initializer):
    """Uniform values.

    Parameters
    ----------
    minval, maxval : float, default -0.05 and 0.05
    seed : int, optional

    Examples
    --------
    >>> from minivid.initializers import RandomUniform
    >>> bool((RandomUniform(0.0, 1.0, seed=0)((10,)) >= 0.0).all())
    True
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        if not minval <= maxval:
            raise ValueError(f"minval must be <= maxval, got {minval} and {maxval}")
        self.minval = minval
        self.maxval = maxval

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return uniform values."""
        return rng.uniform(self.minval, self.maxval, shape)


class VarianceScaling(Initializer):
    """Values of variance scale / n, where n is a fan of the weight.

    Parameters
    ----------
    scale : float, default 1.0
        Positive.
    mode : {"fan_in", "fan_out", "fan_avg"}, default "fan_in"
        What n is; ``"fan_avg"`` is (fan_in + fan_out) / 2.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}, default "truncated_normal"
    seed : int, optional

    Notes
    -----
    With σ² = scale / max(1, n): uniform on ±√3 σ, normal with deviation σ, or truncated normal whose deviation
    is σ *after* the truncation (σ / 0.8796 before it). The named initializers are:

    ============= ====== ======= ================ ===================================================
    name          scale  n       distribution     source
    ============= ====== ======= ================ ===================================================
    GlorotUniform 1      fan_avg uniform          Glorot and Bengio, 2010: limit √(6/(fan_in+fan_out))
    GlorotNormal  1      fan_avg truncated normal Glorot and Bengio, 2010
    HeUniform     2      fan_in  uniform          He et al., arXiv:1502.01852, 2015
    HeNormal      2      fan_in  truncated normal He et al., arXiv:1502.01852, 2015
    LecunUniform  1      fan_in  uniform          LeCun et al., *Efficient BackProp*, 1998
    LecunNormal   1      fan_in  truncated normal LeCun et al., *Efficient BackProp*, 1998
    ============= ====== ======= ================ ===================================================

    Examples
    --------
    >>> from minivid.initializers import VarianceScaling
    >>> VarianceScaling(2.0, "fan_out", "uniform", seed=0)((3, 3, 8, 16)).shape
    (3, 3, 8, 16)
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ):
        super().__init__(seed)
        if not 0.0 < scale < math.inf:
            raise ValueError(f"scale must be a finite number > 0, got {scale!r}")
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode must be 'fan_in', 'fan_out' or 'fan_avg', got {mode!r}")
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                f"distribution must be 'truncated_normal', 'untruncated_normal' or 'uniform', got {distribution!r}"
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return scaled random values."""
        fan_in, fan_out = _fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, n))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return rng.uniform(-limit, limit, shape)
        if self.distribution == "untruncated_normal":
            return rng.normal(0.0, stddev, shape)
        return stddev / TRUNCATED_STDDEV * _truncated_standard_normal(shape, rng)


class GlorotUniform(VarianceScaling):
    """Uniform on ±√(6 / (fan_in + fan_out)); see `VarianceScaling`.

    Parameters
    ----------
    seed : int, optional

    Examples
    --------
    >>> from minivid.initializers import GlorotUniform
    >>> bool(abs(GlorotUniform(seed=0)((2, 4))).max() <= 1.0)
    True
    """

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "uniform", seed)


class GlorotNormal(VarianceScaling):
    """Truncated normal with variance 2 / (fan_in + fan_out); see `VarianceScaling`.

    Parameters
    ----------
    seed : int, optional

    Examples
    --------
    >>> from minivid.initializers import GlorotNormal
    >>> GlorotNormal(seed=0)((2, 4)).shape
    (2, 4)
    """

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


class HeUniform(VarianceScaling):
    """Uniform on ±√(6 / fan_in); see `VarianceScaling`.

    Parameters
    ----------
    seed : int, optional

    Examples
    --------
    >>> from minivid.initializers import HeUniform
    >>> bool(abs(HeUniform(seed=0)((6, 4))).max() <= 1.0)
    True
    """

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "uniform", seed)


class HeNormal(VarianceScaling):
    """Truncated normal with variance 2 / fan_in; see `VarianceScaling`.

    Parameters
    ----------
    seed : int, optional

    Examples
    --------
    >>> from minivid.initializers import HeNormal
    >>> HeNormal(seed=0)((6, 4)).shape
    (6, 4)
    """

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


class LecunUniform(VarianceScaling):
    """Uniform on ±√(3 / fan_in); see `VarianceScaling`.

    Parameters
    ----------
    seed : int, optional

    Examples
    --------
    >>> from minivid.initializers import LecunUniform
    >>> bool(abs(LecunUniform(seed=0)((3, 4))).max() <= 1.0)
    True
    """

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "uniform", seed)


class LecunNormal(VarianceScaling):
    """Truncated normal with variance 1 / fan_in; see `VarianceScaling`.

    Parameters
    ----------
    seed : int, optional

    Examples
    --------
    >>> from minivid.initializers import LecunNormal
    >>> LecunNormal(seed=0)((3, 4)).shape
    (3, 4)
    """

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


class Orthogonal(Initializer):
    """Orthonormal columns, or rows where there are fewer of them; the recurrent layers' default.

    Parameters
    ----------
    gain : float, default 1.0
        Factor on all values.
    seed : int, optional

    Notes
    -----
    A shape (..., O) is treated as the matrix (product of the others, O). The values are Q of the QR
    decomposition of a normal matrix, with the signs of its columns fixed by diag(R) so that Q is uniform among
    orthogonal matrices. Source: Saxe et al., arXiv:1312.6120, 2014.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.initializers import Orthogonal
    >>> q = Orthogonal(seed=0)((3, 3), "float64")
    >>> bool(np.allclose(q.T @ q, np.eye(3)))
    True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        super().__init__(seed)
        self.gain = gain

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """Return an orthogonal matrix in the given shape."""
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of at least two sizes, got {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
        q *= np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
        if rows < columns:
            q = q.T
        return self.gain * q.reshape(shape)


INITIALIZERS = {
    cls.__name__: cls
    for cls in (
        Constant,
        GlorotNormal,
        GlorotUniform,
        HeNormal,
        HeUniform,
        LecunNormal,
        LecunUniform,
        Ones,
        Orthogonal,
        RandomNormal,
        RandomUniform,
        TruncatedNormal,
        VarianceScaling,
        Zeros,
    )
}


def get(initializer: str | Initializer | dict[str, Any]) -> Initializer:
    """Return the initializer meant by a name, an object, or what `serialize` returned.

    Parameters
    ----------
    initializer : str, Initializer or dict
        A name such as ``"glorot_uniform"`` or ``"GlorotUniform"``, an initializer, which is returned as it is, or
        ``{"class_name": ..., "config": ...}``.

    Returns
    -------
    Initializer

    Raises
    ------
    ValueError
        If the name or the dict is unknown.
    TypeError
        If it is none of these.

    Examples
    --------
    >>> from minivid import initializers
    >>> type(initializers.get("he_normal")).__name__
    'HeNormal'
    """
    if isinstance(initializer, Initializer):
        return initializer
    names = {_snake_case(name): cls for name, cls in INITIALIZERS.items()}
    if isinstance(initializer, dict):
        return _from_dict(initializer)
    if isinstance(initializer, str):
        cls = names.get(initializer) or INITIALIZERS.get(initializer)
        if cls is None:
            raise ValueError(f"there is no initializer {initializer!r}; there are {', '.join(map(repr, names))}")
        return cls()
    raise TypeError(
        "an initializer is a name such as 'glorot_uniform' or an object such as GlorotUniform(seed=0), "
        f"got {initializer!r}"
    )


def serialize(initializer: Initializer) -> dict[str, Any]:
    """Return ``{"class_name": ..., "config": ...}``, fit for JSON; `get` turns it back.

    Parameters
    ----------
    initializer : Initializer

    Returns
    -------
    dict

    Examples
    --------
    >>> from minivid import initializers
    >>> initializers.serialize(initializers.Constant(0.5))
    {'class_name': 'Constant', 'config': {'value': 0.5}}
    """
    return {"class_name": type(initializer).__name__, "config": initializer.get_config()}


def _from_dict(saved: dict[str, Any]) -> Initializer:
    name, config = saved.get("class_name"), saved.get("config")
    if not isinstance(name, str) or name not in INITIALIZERS or not isinstance(config, dict):
        raise ValueError(f"expected a saved initializer of class {', '.join(INITIALIZERS)}, got {saved!r}")
    try:
        return INITIALIZERS[name](**config)
    except TypeError as error:
        raise ValueError(f"the saved initializer {name} cannot be made: {error}") from error


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of inputs and of outputs of one unit; see the head of the file."""
    if len(shape) == 0:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    receptive_field = math.prod(shape[:-2])
    return receptive_field * shape[-2], receptive_field * shape[-1]


def _truncated_standard_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Standard normal values, those beyond ±2 drawn anew until none is."""
    z = rng.normal(size=math.prod(shape))
    outside = np.flatnonzero(abs(z) > 2.0)
    while outside.size:
        z[outside] = rng.normal(size=outside.size)
        outside = outside[abs(z[outside]) > 2.0]
    return z.reshape(shape)


def _check_not_negative(name: str, value: float) -> None:
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
