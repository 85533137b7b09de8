"""Optimizers and learning-rate schedules, with the update rules and defaults of Keras 3.

Equation tags such as (adam.3) refer to docs/optimizers.md. Throughout, w is a parameter, g its gradient after
clipping, η the learning rate and t = 1, 2, ... the number of the step.

    SGD      (sgd.1)      w ← w − η g
             (sgd.2)      m ← μ m − η g
             (sgd.3)      w ← w + m
             (sgd.4)      w ← w + μ m − η g                  with nesterov=True, instead of (sgd.3)
    RMSprop  (rmsprop.1)  v ← ρ v + (1 − ρ) g²
             (rmsprop.2)  u = η g / √(v + ε)
             (rmsprop.3)  a ← ρ a + (1 − ρ) g                with centered=True
             (rmsprop.4)  u = η g / √(v − a² + ε)            with centered=True, instead of (rmsprop.2)
             (rmsprop.5)  w ← w − u
             (rmsprop.6)  m ← μ m + u,  w ← w − m            with momentum, instead of (rmsprop.5)
    Adam     (adam.1)     m ← β₁ m + (1 − β₁) g
             (adam.2)     v ← β₂ v + (1 − β₂) g²
             (adam.3)     α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ)
             (adam.4)     w ← w − α m / (√v + ε)
             (adam.5)     v̂ ← max(v̂, v), used in (adam.4)    with amsgrad=True
    AdamW    (adamw.1)    w ← w − η λ w, then Adam
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from numba import prange

from minivid.backend import Op, device_of, to_device, xp_of
from minivid.cuda import blocks, constants, launch
from minivid.jit import compiled
from minivid.simd import load_part, sqrt, store_part, where, width

__all__ = ["SGD", "Adam", "AdamW", "CosineDecay", "ExponentialDecay", "Optimizer", "RMSprop", "get", "serialize"]

Arrays = dict[str, Any]  # name -> numpy or cupy array


class Optimizer:
    """What all optimizers share: learning rate, clipping, weight decay, slots and their saving.

    A subclass names its slots in `slot_names` and implements ``update(name, w, g, rate)``, which changes `w` in
    place.

    Parameters
    ----------
    learning_rate : float or callable
        η > 0, or a schedule: a callable from the number of finished steps (int) to a rate (float).
    weight_decay : float, optional
        λ ≥ 0 of (adamw.1), applied to every parameter before its update.
    clipnorm, clipvalue, global_clipnorm : float, optional
        At most one of them: bound on the norm of each gradient (clip.2), on the size of each entry (clip.1), or
        on the norm of all gradients together (clip.3).

    Attributes
    ----------
    iterations : int
        Number of finished steps.
    slots : dict of str to array
        What the optimizer remembers of each parameter, as ``"<parameter name>/<slot>"``, on the parameter's
        device and of its shape and dtype. Created at the first step.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.optimizers import SGD
    >>> params, grads = {"w": np.array([1.0, 2.0])}, {"w": np.array([0.5, -0.5])}
    >>> SGD(learning_rate=0.1).step(params, grads)
    >>> params["w"]
    array([0.95, 2.05])
    """

    slot_names: tuple[str, ...] = ()

    def __init__(
        self,
        learning_rate: float | Callable[[int], float],
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ):
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = {name: value for name, value in clips.items() if value is not None}
        if len(given) > 1:
            listed = ", ".join(f"{name}={value}" for name, value in given.items())
            raise ValueError(f"only one of clipnorm, clipvalue and global_clipnorm may be set, got {listed}")
        self._rate = _rate(learning_rate)
        self.weight_decay = None if weight_decay is None else _not_negative("weight_decay", weight_decay)
        self.clipnorm = None if clipnorm is None else _positive("clipnorm", clipnorm)
        self.clipvalue = None if clipvalue is None else _positive("clipvalue", clipvalue)
        self.global_clipnorm = None if global_clipnorm is None else _positive("global_clipnorm", global_clipnorm)
        self.iterations = 0
        self.slots: Arrays = {}

    @property
    def learning_rate(self) -> float:
        """The rate of the next step; settable unless a schedule drives it."""
        if not callable(self._rate):
            return self._rate
        what = f"what the learning-rate schedule {_name_of(self._rate)} returns at step {self.iterations}"
        return _not_negative(what, self._rate(self.iterations))

    @learning_rate.setter
    def learning_rate(self, value: float | Callable[[int], float]) -> None:
        if callable(self._rate) and not callable(value):
            raise TypeError(
                f"the learning rate follows the schedule {_name_of(self._rate)} and cannot be set to a number "
                f"(LearningRateScheduler and ReduceLROnPlateau do that); create the optimizer with a number: "
                f"{type(self).__name__}(learning_rate={self.learning_rate:g})"
            )
        self._rate = _rate(value)

    def step(self, params: Arrays, grads: Arrays) -> None:
        """Update every parameter in place by its gradient; the gradients are not changed.

        Parameters
        ----------
        params, grads : dict of str to array
            Parameters and gradients under the same names, each pair of the same shape and floating dtype.

        Raises
        ------
        ValueError
            If the names, a shape or a dtype do not match; nothing has been changed then.
        """
        self._check(params, grads)
        rate = self.learning_rate
        grads = self._clip(grads)
        for name, w in params.items():
            if self.weight_decay:
                w *= 1.0 - rate * self.weight_decay  # (adamw.1)
            self.update(name, w, grads[name], rate)
        self.iterations += 1

    def update(self, name: str, w: Any, g: Any, rate: float) -> None:
        """Update one parameter `w` in place by its clipped gradient `g`."""
        raise NotImplementedError(f"{type(self).__name__} must implement update(name, w, g, rate)")

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, fit for JSON; `from_config` makes an equal optimizer of them."""
        config = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        config["learning_rate"] = self._rate_config()
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """Make an optimizer from what `get_config` returned."""
        config = dict(config)
        if isinstance(config.get("learning_rate"), dict):
            config["learning_rate"] = _from_dict(config["learning_rate"], SCHEDULES, "learning-rate schedule")
        return cls(**config)

    def state(self) -> Arrays:
        """Return copies of the slots, and the number of steps as ``"iterations"`` (int64, 0-d)."""
        slots = {key: slot.copy() for key, slot in self.slots.items()}
        return {"iterations": np.array(self.iterations, dtype=np.int64), **slots}

    def load_state(self, state: Arrays) -> None:
        """Continue from what `state` returned, bit for bit.

        Parameters
        ----------
        state : dict of str to array
            As from `state`; the arrays are copied.

        Raises
        ------
        ValueError
            If the number of steps is missing or negative, or a slot is none of this optimizer's.
        """
        kind = type(self).__name__
        if "iterations" not in state or np.shape(state["iterations"]) != () or int(state["iterations"]) < 0:
            raise ValueError(f"the state of {kind} needs 'iterations', the number of finished steps (>= 0)")
        slots = {key: slot for key, slot in state.items() if key != "iterations"}
        for key in slots:
            if key.rpartition("/")[2] not in self.slot_names:
                raise ValueError(
                    f"{key!r} is no slot of {kind}, whose slots are {_listed(self.slot_names)}; "
                    "was the state saved by another optimizer?"
                )
        self.iterations = int(state["iterations"])
        self.slots = {key: slot.copy() for key, slot in slots.items()}

    def slot(self, name: str, kind: str, w: Any) -> Any:
        """Return the slot `kind` of the parameter `name`: zeros like `w` at first use."""
        key = f"{name}/{kind}"
        if key not in self.slots:
            self.slots[key] = xp_of(w).zeros_like(w)
        slot = self.slots[key] = to_device(self.slots[key], device_of(w))  # w may have moved since
        if slot.shape != w.shape or slot.dtype != w.dtype:
            raise ValueError(
                f"the optimizer's slot {key!r} is {slot.dtype} of shape {slot.shape}, but the parameter is "
                f"{w.dtype} of shape {w.shape}; use a new optimizer for another model"
            )
        return slot

    def _check(self, params: Arrays, grads: Arrays) -> None:
        if params.keys() != grads.keys():
            raise ValueError(
                "params and grads must have the same names; "
                f"without gradient: {_listed(params.keys() - grads.keys())}; "
                f"without parameter: {_listed(grads.keys() - params.keys())}"
            )
        for name, w in params.items():
            g = grads[name]
            xp_of(w, g)  # refuses arrays of two devices
            if w.shape != g.shape or w.dtype != g.dtype:
                raise ValueError(
                    f"the gradient of {name!r} must be {w.dtype} of shape {w.shape} like the parameter, "
                    f"got {g.dtype} of shape {g.shape}"
                )
            if w.dtype.kind != "f":
                raise ValueError(f"the parameter {name!r} must be float32 or float64, got {w.dtype}")

    def _clip(self, grads: Arrays) -> Arrays:
        if self.clipvalue is not None:
            limit = self.clipvalue
            return {name: xp_of(g).clip(g, -limit, limit) for name, g in grads.items()}  # (clip.1)
        if self.clipnorm is not None:
            return {name: _scaled(g, math.sqrt(_square_sum(g)), self.clipnorm) for name, g in grads.items()}
        if self.global_clipnorm is not None:
            norm = math.sqrt(sum(_square_sum(g) for g in grads.values()))
            return {name: _scaled(g, norm, self.global_clipnorm) for name, g in grads.items()}  # (clip.3)
        return grads

    def _rate_config(self) -> float | dict[str, Any]:
        if type(self._rate) in SCHEDULES.values():
            return serialize(self._rate)
        if callable(self._rate):
            warnings.warn(
                f"the learning-rate schedule {_name_of(self._rate)} cannot be written to a file; "
                f"its present value {self.learning_rate:g} is written instead",
                stacklevel=3,
            )
        return self.learning_rate


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    Parameters
    ----------
    learning_rate : float or callable, default 0.01
    momentum : float, default 0.0
        μ in [0, 1).
    nesterov : bool, default False
        Look ahead by (sgd.4); without momentum it changes nothing.
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `Optimizer`.

    Notes
    -----
    Without momentum (sgd.1): w ← w − η g. With it (sgd.2), (sgd.3): m ← μ m − η g, w ← w + m; with Nesterov's
    look-ahead (sgd.4): w ← w + μ m − η g. Sources: Polyak, *Some methods of speeding up the convergence of
    iteration methods*, 1964; Sutskever et al., *On the importance of initialization and momentum in deep
    learning*, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.optimizers import SGD
    >>> w, optimizer = np.array([1.0]), SGD(learning_rate=0.1, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.step({"w": w}, {"w": np.array([1.0])})
    >>> w
    array([0.75])
    """

    slot_names = ("m",)

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ):
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm)
        self.momentum = _fraction("momentum", momentum)
        self.nesterov = nesterov

    def update(self, name: str, w: Any, g: Any, rate: float) -> None:
        """Update one parameter in place, (sgd.1) to (sgd.4)."""
        if self.momentum == 0.0:
            _sgd(w, g, rate)
        else:
            _momentum(w, g, self.slot(name, "m", w), self.nesterov, rate, self.momentum)


def _sgd_reference(w, g, rate) -> None:
    """Update w in place."""
    w -= rate * g  # (sgd.1)


def _sgd_gpu(w, g, rate) -> None:
    if not _fits_kernels(w, g):
        return _sgd_reference(w, g, rate)
    _launch("sgd_1", [w, g], w.size, rate)


def _momentum_reference(w, g, m, nesterov, rate, momentum) -> None:
    """Update w and m in place."""
    m *= momentum
    m -= rate * g  # (sgd.2)
    if nesterov:
        w += momentum * m
        w -= rate * g  # (sgd.4)
    else:
        w += m  # (sgd.3)


def _momentum_gpu(w, g, m, nesterov, rate, momentum) -> None:
    if not _fits_kernels(w, g, m):
        return _momentum_reference(w, g, m, nesterov, rate, momentum)
    _launch("momentum_1", [w, g, m], int(nesterov), w.size, rate, momentum)


def _fits_kernels(*arrays) -> bool:
    return arrays[0].dtype in (np.float32, np.float64) and all(a.flags.c_contiguous for a in arrays)


def _launch(kernel: str, arrays, *numbers) -> None:
    """Run a kernel of kernels/optimizers.cu, one pass over memory, with one thread per number of the parameter."""
    threads = constants("optimizers", arrays[0].dtype).THREADS
    launch("optimizers", kernel, blocks(arrays[0].size, threads), threads, *arrays, *numbers)


_sgd = Op(reference=_sgd_reference, gpu=_sgd_gpu)
_momentum = Op(reference=_momentum_reference, gpu=_momentum_gpu)


class RMSprop(Optimizer):
    """Divide the gradient by a running root mean square of itself.

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    rho : float, default 0.9
        ρ in [0, 1), how much of the running averages each step keeps.
    momentum : float, default 0.0
        μ in [0, 1).
    epsilon : float, default 1e-7
        ε > 0, inside the root as in Keras.
    centered : bool, default False
        Divide by the standard deviation instead, (rmsprop.4).
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `Optimizer`.

    Notes
    -----
    v ← ρ v + (1 − ρ) g² (rmsprop.1), u = η g / √(v + ε) (rmsprop.2), w ← w − u (rmsprop.5), or with momentum
    m ← μ m + u, w ← w − m (rmsprop.6). Sources: Tieleman and Hinton, *Lecture 6e*, Coursera, 2012; for the
    centred form Graves, *Generating sequences with recurrent neural networks*, arXiv:1308.0850, 2013.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.optimizers import RMSprop
    >>> w = np.array([10.0])
    >>> RMSprop(learning_rate=0.1).step({"w": w}, {"w": np.array([10.0])})
    >>> w.round(6)
    array([9.683772])
    """

    slot_names = ("v", "a", "m")

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ):
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm)
        self.rho = _fraction("rho", rho)
        self.momentum = _fraction("momentum", momentum)
        self.epsilon = _positive("epsilon", epsilon)
        self.centered = centered

    def update(self, name: str, w: Any, g: Any, rate: float) -> None:
        """Update one parameter in place, (rmsprop.1) to (rmsprop.6)."""
        v = self.slot(name, "v", w)
        a = self.slot(name, "a", w) if self.centered else None
        m = self.slot(name, "m", w) if self.momentum else None
        _rmsprop(w, g, v, a, m, rate, self.rho, self.momentum, self.epsilon)


def _rmsprop_reference(w, g, v, a, m, rate, rho, momentum, epsilon) -> None:
    """Update w, v and, unless they are None, a and m in place."""
    xp = xp_of(w)
    _average(v, g * g, rho)  # (rmsprop.1)
    u = v.copy()
    if a is not None:
        _average(a, g, rho)  # (rmsprop.3)
        u -= a * a
        xp.maximum(u, 0.0, out=u)  # v ≥ a² but for rounding
    u += epsilon
    xp.sqrt(u, out=u)
    xp.divide(g, u, out=u)
    u *= rate  # (rmsprop.2), (rmsprop.4)
    if m is None:
        w -= u  # (rmsprop.5)
        return
    m *= momentum
    m += u
    w -= m  # (rmsprop.6)


def _rmsprop_gpu(w, g, v, a, m, rate, rho, momentum, epsilon) -> None:
    arrays = [w, g, v, v if a is None else a, v if m is None else m]  # v stands in for what is not used
    if not _fits_kernels(*arrays):
        return _rmsprop_reference(w, g, v, a, m, rate, rho, momentum, epsilon)
    flags = int(a is not None), int(m is not None)
    _launch("rmsprop_1", arrays, *flags, w.size, rate, rho, 1.0 - rho, momentum, epsilon)


_rmsprop = Op(reference=_rmsprop_reference, gpu=_rmsprop_gpu)


class Adam(Optimizer):
    """Adaptive moments: a running mean of the gradient over the root of a running mean of its square.

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    beta_1, beta_2 : float, default 0.9 and 0.999
        β₁ and β₂ in [0, 1).
    epsilon : float, default 1e-7
        ε > 0, beside the uncorrected root as in Keras: the ε̂ of section 2 of the paper.
    amsgrad : bool, default False
        Divide by the largest v so far, (adam.5).
    weight_decay, clipnorm, clipvalue, global_clipnorm : float, optional
        See `Optimizer`.

    Notes
    -----
    m ← β₁ m + (1 − β₁) g (adam.1), v ← β₂ v + (1 − β₂) g² (adam.2), α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ) (adam.3),
    w ← w − α m / (√v + ε) (adam.4). Sources: Kingma and Ba, *Adam: a method for stochastic optimization*,
    arXiv:1412.6980, 2014; Reddi et al., *On the convergence of Adam and beyond*, 2018, for amsgrad.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.optimizers import Adam
    >>> w = np.array([1.0, 1.0])
    >>> Adam(learning_rate=0.1).step({"w": w}, {"w": np.array([1e-2, -1e3])})
    >>> w.round(3)
    array([0.9, 1.1])
    """

    slot_names = ("m", "v", "v_hat")

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ):
        super().__init__(learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm)
        self.beta_1 = _fraction("beta_1", beta_1)
        self.beta_2 = _fraction("beta_2", beta_2)
        self.epsilon = _positive("epsilon", epsilon)
        self.amsgrad = amsgrad

    def update(self, name: str, w: Any, g: Any, rate: float) -> None:
        """Update one parameter in place, (adam.1) to (adam.5)."""
        t = self.iterations + 1
        m = self.slot(name, "m", w)
        v = self.slot(name, "v", w)
        v_hat = self.slot(name, "v_hat", w) if self.amsgrad else None
        alpha = rate * math.sqrt(1.0 - self.beta_2**t) / (1.0 - self.beta_1**t)  # (adam.3)
        _adam(w, g, m, v, v_hat, alpha, self.beta_1, self.beta_2, self.epsilon)


def _adam_reference(w, g, m, v, v_hat, alpha, beta_1, beta_2, epsilon) -> None:
    """Update w, m, v and, unless it is None, v_hat in place."""
    xp = xp_of(w)
    _average(m, g, beta_1)  # (adam.1)
    _average(v, g * g, beta_2)  # (adam.2)
    if v_hat is not None:
        v = xp.maximum(v_hat, v, out=v_hat)  # (adam.5)
    u = xp.sqrt(v)
    u += epsilon
    xp.divide(m, u, out=u)
    u *= alpha
    w -= u  # (adam.4)


def _adam_loops(w, g, m, v, v_hat, alpha, beta_1, beta_2, epsilon) -> None:
    """Update in one pass over memory instead of one per operation."""
    arrays = w, g, m, v, v if v_hat is None else v_hat
    known = w.dtype in (np.float32, np.float64) and all(a.flags.c_contiguous for a in arrays)
    if w.size < _LARGE or not known:
        return _adam_reference(w, g, m, v, v_hat, alpha, beta_1, beta_2, epsilon)
    numbers = map(w.dtype.type, (alpha, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, epsilon))
    _adam_pass(*(a.reshape(-1) for a in arrays), v_hat is not None, *numbers)


_LARGE = 1 << 15  # entries; for fewer, NumPy is done before the threads have woken
_CHUNK = 4096  # entries that one thread takes at a time, whatever the number of threads


@compiled
def _adam_pass(w, g, m, v, v_hat, amsgrad, alpha, keep_m, take_m, keep_v, take_v, epsilon):
    V = width(w)
    for chunk in prange(-(-w.size // _CHUNK)):
        for i in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, w.size), V):
            left = w.size - i  # a vector at the very end is not whole
            g_i = load_part(g, i, left)
            m_i = load_part(m, i, left) * keep_m + g_i * take_m  # (adam.1)
            v_i = load_part(v, i, left) * keep_v + g_i * g_i * take_v  # (adam.2)
            store_part(m, i, m_i, left)
            store_part(v, i, v_i, left)
            if amsgrad:
                largest = load_part(v_hat, i, left)
                v_i = where(largest > v_i, largest, v_i)  # (adam.5)
                store_part(v_hat, i, v_i, left)
            w_i = load_part(w, i, left) - m_i / (sqrt(v_i) + epsilon) * alpha  # (adam.4)
            store_part(w, i, w_i, left)


def _adam_gpu(w, g, m, v, v_hat, alpha, beta_1, beta_2, epsilon) -> None:
    arrays = [w, g, m, v, v if v_hat is None else v_hat]
    if not _fits_kernels(*arrays):
        return _adam_reference(w, g, m, v, v_hat, alpha, beta_1, beta_2, epsilon)
    numbers = alpha, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, epsilon
    _launch("adam_1", arrays, int(v_hat is not None), w.size, *numbers)


_adam = Op(reference=_adam_reference, loops=_adam_loops, gpu=_adam_gpu)


class AdamW(Adam):
    """Adam with decoupled weight decay.

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    weight_decay : float, default 0.004
        λ ≥ 0 of (adamw.1).
    beta_1, beta_2, epsilon, amsgrad
        See `Adam`.
    clipnorm, clipvalue, global_clipnorm : float, optional
        See `Optimizer`.

    Notes
    -----
    w ← w − η λ w (adamw.1), then Adam's step: the decay does not pass through m and v, as an L2 term in the loss
    would. As in Keras every parameter decays, biases too. Source: Loshchilov and Hutter, *Decoupled weight decay
    regularization*, arXiv:1711.05101, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.optimizers import AdamW
    >>> w = np.array([1.0])
    >>> AdamW(learning_rate=0.1, weight_decay=0.5).step({"w": w}, {"w": np.array([0.0])})
    >>> w
    array([0.95])
    """

    def __init__(
        self,
        learning_rate: float | Callable[[int], float] = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
    ):
        if weight_decay is None:
            raise ValueError("AdamW needs a number for weight_decay, got None; use Adam for none")
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay, clipnorm, clipvalue, global_clipnorm
        )


class ExponentialDecay:
    """A learning rate that falls by a constant factor per `decay_steps` steps.

    Parameters
    ----------
    initial_learning_rate : float
        η₀ > 0.
    decay_steps : int
        S ≥ 1, in optimizer steps.
    decay_rate : float
        r > 0.
    staircase : bool, default False
        Round s/S down, so that the rate falls in steps.

    Notes
    -----
    η(s) = η₀ r^(s/S) at s finished steps, (schedule.1); as `keras.optimizers.schedules.ExponentialDecay`.

    Examples
    --------
    >>> from minivid.optimizers import ExponentialDecay
    >>> schedule = ExponentialDecay(0.1, decay_steps=100, decay_rate=0.5)
    >>> schedule(0), schedule(200)
    (0.1, 0.025)
    """

    def __init__(self, initial_learning_rate: float, decay_steps: int, decay_rate: float, staircase: bool = False):
        self.initial_learning_rate = _positive("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.decay_rate = _positive("decay_rate", decay_rate)
        self.staircase = staircase

    def __call__(self, step: int) -> float:
        """Return the rate after `step` finished steps."""
        exponent = step // self.decay_steps if self.staircase else step / self.decay_steps
        return self.initial_learning_rate * self.decay_rate**exponent  # (schedule.1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


class CosineDecay:
    """A learning rate that falls along half a cosine, after a linear warm-up if wanted.

    Parameters
    ----------
    initial_learning_rate : float
        η₀ > 0; with a warm-up the rate it starts from, which may be 0.
    decay_steps : int
        S ≥ 1, in optimizer steps; the rate stays constant afterwards.
    alpha : float, default 0.0
        Lowest rate as a fraction of the highest, in [0, 1].
    warmup_target : float, optional
        η₁ > 0, the rate at the end of the warm-up; None for no warm-up.
    warmup_steps : int, default 0
        W ≥ 0, steps of the warm-up, before the S steps of the decay.

    Notes
    -----
    Decay, (schedule.2): η(s) = η₀ [α + (1 − α) (1 + cos(π min(s, S)/S)) / 2]. With a warm-up, (schedule.3):
    η(s) = η₀ + (η₁ − η₀) s/W while s < W, then the decay from η₁ with s − W for s. As
    `keras.optimizers.schedules.CosineDecay`. Source: Loshchilov and Hutter, *SGDR*, arXiv:1608.03983, 2016.

    Examples
    --------
    >>> from minivid.optimizers import CosineDecay
    >>> schedule = CosineDecay(0.1, decay_steps=100)
    >>> [round(schedule(step), 3) for step in (0, 50, 100)]
    [0.1, 0.05, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        check_start = _positive if warmup_target is None else _not_negative
        self.initial_learning_rate = check_start("initial_learning_rate", initial_learning_rate)
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.alpha = _not_negative("alpha", alpha)
        self.warmup_target = None if warmup_target is None else _positive("warmup_target", warmup_target)
        self.warmup_steps = _not_negative("warmup_steps", warmup_steps)

    def __call__(self, step: int) -> float:
        """Return the rate after `step` finished steps."""
        highest = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                return highest + (self.warmup_target - highest) * step / self.warmup_steps  # (schedule.3)
            highest = self.warmup_target
            step = step - self.warmup_steps
        done = min(step, self.decay_steps) / self.decay_steps
        return highest * (self.alpha + (1.0 - self.alpha) * 0.5 * (1.0 + math.cos(math.pi * done)))  # (schedule.2)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


OPTIMIZERS = {"SGD": SGD, "RMSprop": RMSprop, "Adam": Adam, "AdamW": AdamW}
SCHEDULES = {"ExponentialDecay": ExponentialDecay, "CosineDecay": CosineDecay}


def get(optimizer: str | Optimizer | dict[str, Any]) -> Optimizer:
    """Return the optimizer meant by a name, an object, or what `serialize` returned.

    Parameters
    ----------
    optimizer : str, Optimizer or dict
        One of ``"sgd"``, ``"rmsprop"``, ``"adam"``, ``"adamw"`` (in any case) for the defaults, an optimizer,
        which is returned as it is, or ``{"class_name": ..., "config": ...}``.

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        If the name or the dict is unknown.
    TypeError
        If it is none of these.

    Examples
    --------
    >>> from minivid import optimizers
    >>> optimizers.get("adam").learning_rate
    0.001
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, dict):
        return _from_dict(optimizer, OPTIMIZERS, "optimizer")
    names = {name.lower(): cls for name, cls in OPTIMIZERS.items()}
    if isinstance(optimizer, str):
        if optimizer.lower() not in names:
            raise ValueError(f"there is no optimizer {optimizer!r}; there are {_listed(names)}")
        return names[optimizer.lower()]()
    raise TypeError(
        f"an optimizer is one of the names {_listed(names)} or an object such as Adam(learning_rate=0.001), "
        f"got {optimizer!r}"
    )


def serialize(thing: Optimizer | ExponentialDecay | CosineDecay) -> dict[str, Any]:
    """Return ``{"class_name": ..., "config": ...}``, fit for JSON; `get` turns it back.

    Parameters
    ----------
    thing : Optimizer, ExponentialDecay or CosineDecay

    Returns
    -------
    dict

    Examples
    --------
    >>> from minivid import optimizers
    >>> saved = optimizers.serialize(optimizers.SGD(0.5, momentum=0.9))
    >>> optimizers.get(saved).momentum
    0.9
    """
    return {"class_name": type(thing).__name__, "config": thing.get_config()}


def _from_dict(saved: dict[str, Any], classes: dict[str, type], kind: str) -> Any:
    name, config = saved.get("class_name"), saved.get("config")
    if not isinstance(name, str) or name not in classes or not isinstance(config, dict):
        raise ValueError(f"expected a saved {kind} of class {_listed(classes)}, got {saved!r}")
    cls = classes[name]
    try:
        return cls.from_config(config) if issubclass(cls, Optimizer) else cls(**config)
    except TypeError as error:
        raise ValueError(f"the saved {kind} {name} cannot be made: {error}") from error


def _average(mean: Any, value: Any, keep: float) -> None:
    """Update a running mean in place: mean ← keep·mean + (1 − keep)·value."""
    mean *= keep
    mean += (1.0 - keep) * value


def _square_sum(g: Any) -> float:
    """Sum of squares in float64, so that neither overflow nor the order of the arrays matters in float32."""
    xp = xp_of(g)
    return float(xp.sum(xp.square(g, dtype=np.float64)))


def _scaled(g: Any, norm: float, limit: float) -> Any:
    return g * (limit / norm) if norm > limit else g  # (clip.2)


def _rate(rate: Any) -> float | Callable[[int], float]:
    return rate if callable(rate) else _positive("learning_rate", rate)


def _positive(name: str, value: Any) -> float:
    if not (_is_number(value) and 0.0 < value < math.inf):
        raise ValueError(f"{name} must be a finite number > 0, got {value!r}")
    return float(value)


def _not_negative(name: str, value: Any) -> float:
    if not (_is_number(value) and 0.0 <= value < math.inf):
        raise ValueError(f"{name} must be a finite number >= 0, got {value!r}")
    return float(value)


def _fraction(name: str, value: Any) -> float:
    if not (_is_number(value) and 0.0 <= value < 1.0):
        raise ValueError(f"{name} must be a number in [0, 1), got {value!r}")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _listed(names: Any) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"


def _name_of(schedule: Any) -> str:
    return getattr(schedule, "__name__", type(schedule).__name__)
