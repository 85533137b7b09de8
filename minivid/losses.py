"""Losses with the names, defaults and reductions of Keras 3.

A loss flattens all axes but the last into M rows of K numbers, gives each row a loss l[m] (the formulas are in
docs/ops: mse.md, mae.md, huber.md, softmax_cross_entropy.md, sigmoid_cross_entropy.md, iou.md), and averages

    L = (1/M) Σ_m w[m] · l[m]        so that   dl[m] = w[m] / M

w is the sample weight, or one. As in Keras's "sum_over_batch_size", the weights are not normalised. Rows that a
mask hides do not exist: they count neither in the sum nor in M.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np

from minivid.backend import xp_of
from minivid.ops.huber import huber_backward, huber_forward
from minivid.ops.iou import giou_backward, giou_forward, iou_backward, iou_forward
from minivid.ops.mae import mae_backward, mae_forward
from minivid.ops.mse import mse_backward, mse_forward
from minivid.ops.sigmoid_cross_entropy import (
    binary_cross_entropy_backward,
    binary_cross_entropy_forward,
    sigmoid_cross_entropy_backward,
    sigmoid_cross_entropy_forward,
)
from minivid.ops.softmax_cross_entropy import (
    cross_entropy_backward,
    cross_entropy_forward,
    softmax_cross_entropy_backward,
    softmax_cross_entropy_forward,
)
from minivid.utils import to_categorical

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "GIoULoss",
    "Huber",
    "IoULoss",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "get",
    "serialize",
]


class Loss:
    """Base class of all losses.

    A subclass says what targets look like (`target_rows`, `target_values`) and what one row costs (`rows_forward`,
    `rows_backward`).

    Attributes
    ----------
    name : str
        The name that `get` knows.
    fused_activation : {"softmax", "sigmoid", None}
        If a model ends in this activation, pass the logits before it to `forward` with ``from_logits=True``, and what
        `backward` returns past it: then nothing overflows and small probabilities keep their digits.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.losses import MeanSquaredError
    >>> loss = MeanSquaredError()
    >>> loss.forward(np.array([[1.0], [4.0]]), np.array([[1.0], [2.0]]))
    2.0
    >>> loss.backward()
    array([[0.],
           [2.]])
    """

    name = "loss"
    fused_activation: str | None = None
    from_logits = False

    def __init__(self):
        self._cache = None

    def forward(
        self,
        y_pred: Any,
        y_true: Any,
        sample_weight: Any = None,
        from_logits: bool | None = None,
        mask: Any = None,
    ) -> float:
        """Compute the loss of a batch and keep what `backward` needs.

        Parameters
        ----------
        y_pred : (..., K) or (N,) array, float32 or float64
            Predictions: (N, K), per time step (N, T, K), images (N, H, W, C), clips (N, T, H, W, C); (N,) means (N, 1).
        y_true : array
            Targets of the shape of y_pred, whose last axis may be missing if it has length 1; for
            `SparseCategoricalCrossentropy` class numbers, without the last axis of y_pred.
        sample_weight : (N,) array, or one weight per time step (N, T), ..., optional
            Factors of the losses.
        from_logits : bool, optional
            Whether y_pred are logits; by default what the constructor was told.
        mask : (N,) or (N, T) bool array, optional
            False where a step is padding: it counts nowhere, and what y_true says there is not looked at.

        Returns
        -------
        loss : float
            Summed in float64.

        Raises
        ------
        TypeError
            If an array has a dtype that the loss cannot take.
        ValueError
            If shapes or values do not fit.
        """
        xp = xp_of(y_pred, y_true, sample_weight, mask)
        y_pred, y_true = self._predictions(xp.asarray(y_pred)), self._numbers("y_true", xp.asarray(y_true))
        shape = y_pred.shape if y_pred.ndim > 1 else (*y_pred.shape, 1)
        y, t = y_pred.reshape(-1, shape[-1]), self.target_rows(y_true, shape)
        visible = self._visible(mask, shape[:-1], xp)  # (M,) bool, or a slice of all rows
        y, t = y[visible], t[visible]  # from here on M counts visible rows
        dlosses = self._weights(sample_weight, shape[:-1], xp)[visible] / len(y)  # (M,) float64
        from_logits = self.from_logits if from_logits is None else from_logits
        losses, cache = self.rows_forward(y, self.target_values(t, y), from_logits)
        self._cache = y_pred, visible, dlosses, cache
        return float((dlosses * losses).sum())

    def backward(self) -> Any:
        """Return the gradient of the last `forward` with respect to y_pred, of the shape and dtype of y_pred.

        Raises
        ------
        ValueError
            If `forward` was not called.
        """
        if self._cache is None:
            raise ValueError(f"{self.name}: call forward before backward")
        y_pred, visible, dlosses, cache = self._cache
        dy = xp_of(y_pred).zeros(y_pred.shape, dtype=y_pred.dtype)
        rows = dy.reshape(-1, y_pred.shape[-1] if y_pred.ndim > 1 else 1)  # a view
        rows[visible] = self.rows_backward(dlosses.astype(y_pred.dtype), cache)
        return dy

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, fit for JSON; ``type(loss)(**config)`` makes an equal loss."""
        return {argument: getattr(self, argument) for argument in inspect.signature(type(self)).parameters}

    # --- what a subclass may change -----------------------------------------------------------------------

    def target_rows(self, y_true: Any, shape: tuple[int, ...]) -> Any:
        """Check the shape of y_true against that of y_pred and return it as M rows."""
        if y_true.shape != shape and (*y_true.shape, 1) != shape:
            raise ValueError(
                f"{self.name}: y_true must have the shape of y_pred, got y_true {y_true.shape} and y_pred {shape}"
            )
        return y_true.reshape(-1, shape[-1])  # (M, K)

    def target_values(self, t: Any, y: Any) -> Any:
        """Check the values of the targets and return them as (M, K), in the dtype of the predictions."""
        finite = xp_of(t).isfinite(t)
        if not finite.all():
            wrong = int((~finite).sum())
            raise ValueError(f"{self.name}: y_true has {wrong} values that are NaN or infinite, of {t.size}")
        return t.astype(y.dtype, copy=False)

    def rows_forward(self, y: Any, t: Any, from_logits: bool) -> tuple[Any, Any]:
        """Return the losses (M,) of predictions and targets (M, K), and the cache of `rows_backward`."""
        raise NotImplementedError(f"{type(self).__name__} must implement rows_forward(y, t, from_logits)")

    def rows_backward(self, dlosses: Any, cache: Any) -> Any:
        """Return the gradient (M, K) of the predictions, given that of the losses (M,)."""
        raise NotImplementedError(f"{type(self).__name__} must implement rows_backward(dlosses, cache)")

    # --- checks of the other arguments --------------------------------------------------------------------

    def _predictions(self, y_pred):
        if y_pred.dtype not in (np.float32, np.float64):
            raise TypeError(f"{self.name}: y_pred must be float32 or float64, got {y_pred.dtype}")
        if y_pred.size == 0 or y_pred.ndim == 0:
            raise ValueError(f"{self.name}: there are no samples in y_pred of shape {y_pred.shape}")
        return y_pred

    def _numbers(self, argument, array):
        if array.dtype.kind not in "fiub":
            reason = "; are its rows of different lengths?" if array.dtype == object else ""
            raise TypeError(f"{self.name}: {argument} must be an array of numbers, got {array.dtype}{reason}")
        return array

    def _weights(self, sample_weight, lead, xp):
        """Give every row its weight: those of a sample, or of a step, hold for all rows within."""
        if sample_weight is None:
            return xp.ones(lead).reshape(-1)
        weights = self._numbers("sample_weight", xp.asarray(sample_weight)).astype(np.float64)
        if not xp.isfinite(weights).all():
            raise ValueError(f"{self.name}: sample_weight has values that are NaN or infinite")
        return self._one_per_row("sample_weight", weights, lead, xp)

    def _visible(self, mask, lead, xp):
        if mask is None:
            return np.s_[:]
        mask = xp.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(f"{self.name}: mask must be bool (False where a step is padding), got {mask.dtype}")
        if not mask.any():
            raise ValueError(f"{self.name}: the mask {mask.shape} hides every step of the batch")
        return self._one_per_row("mask", mask, lead, xp)

    def _one_per_row(self, argument, array, lead, xp):
        if array.ndim == 0 or array.shape != lead[: array.ndim]:
            raise ValueError(
                f"{self.name}: {argument} must have one value per sample {lead[:1]}"
                + (f", or per step {lead}" if len(lead) > 1 else "")
                + f", got shape {array.shape}"
            )
        steps = (1,) * (len(lead) - array.ndim)
        return xp.broadcast_to(array.reshape(array.shape + steps), lead).reshape(-1)  # (M,)


# --- regression --------------------------------------------------------------------------------------------


class _Regression(Loss):
    def rows_forward(self, y, t, from_logits):
        if from_logits:
            raise ValueError(f"{self.name} compares values and knows no logits: leave out from_logits")
        return self.row_forward(y, t), (y, t)

    def rows_backward(self, dlosses, cache):
        return self.row_backward(dlosses, *cache)


class MeanSquaredError(_Regression):
    """Mean of (y_pred − y_true)² over the last axis, then over the batch: "mse", "mean_squared_error".

    Notes
    -----
    Rows: (mse.1) and (mse.2). See `Loss` for shapes, weights and masks.

    Examples
    --------
    >>> import numpy as np
    >>> MeanSquaredError().forward(np.array([[1.0, 5.0]]), np.array([[2.0, 2.0]]))
    5.0
    """

    name = "mean_squared_error"
    row_forward, row_backward = staticmethod(mse_forward), staticmethod(mse_backward)


class MeanAbsoluteError(_Regression):
    """Mean of |y_pred − y_true| over the last axis, then over the batch: "mae", "mean_absolute_error".

    Notes
    -----
    Rows: (mae.1) and (mae.2). See `Loss` for shapes, weights and masks.

    Examples
    --------
    >>> import numpy as np
    >>> MeanAbsoluteError().forward(np.array([[1.0, 5.0]]), np.array([[2.0, 2.0]]))
    2.0
    """

    name = "mean_absolute_error"
    row_forward, row_backward = staticmethod(mae_forward), staticmethod(mae_backward)


class Huber(_Regression):
    """Mean of Huber's function of y_pred − y_true over the last axis, then over the batch: "huber".

    Parameters
    ----------
    delta : float
        δ, the distance from which an error counts by its size and no longer by its square.

    Notes
    -----
    Rows: (huber.1) and (huber.2), as in Keras. Smooth L1 is this with δ = 1, up to the factor K of a sum in place of a
    mean. See `Loss` for shapes, weights and masks.

    Examples
    --------
    >>> import numpy as np
    >>> Huber().forward(np.array([[1.5, 5.0]]), np.array([[2.0, 2.0]]))  # (1/8 + 5/2) / 2
    1.3125
    """

    name = "huber"

    def __init__(self, delta: float = 1.0):
        super().__init__()
        if not delta > 0:
            raise ValueError(f"{self.name}: delta must be positive, got {delta!r}")
        self.delta = float(delta)
        self.row_forward = partial(huber_forward, delta=self.delta)
        self.row_backward = partial(huber_backward, delta=self.delta)


class _BoxLoss(_Regression):
    """One minus an overlap of boxes."""

    def target_rows(self, y_true, shape):
        if shape[-1] != 4:
            raise ValueError(f"{self.name} takes boxes (..., 4) of x1, y1, x2, y2, got y_pred of shape {shape}")
        return super().target_rows(y_true, shape)

    def row_forward(self, y, t):
        return 1 - self.overlap_forward(y, t)

    def row_backward(self, dlosses, y, t):
        return self.overlap_backward(-dlosses, y, t)


class IoULoss(_BoxLoss):
    """Mean of 1 − IoU of boxes (..., 4), x1, y1, x2, y2: "iou".

    Notes
    -----
    Rows: (iou.4). No gradient where prediction and target do not meet: see `GIoULoss`. Yu et al., "UnitBox", ACM
    Multimedia 2016, use −log IoU. See `Loss` for shapes, weights and masks.

    Examples
    --------
    >>> import numpy as np
    >>> IoULoss().forward(np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[0.0, 0.0, 2.0, 1.0]]))
    0.5
    """

    name = "iou"
    overlap_forward, overlap_backward = staticmethod(iou_forward), staticmethod(iou_backward)


class GIoULoss(_BoxLoss):
    """Mean of 1 − GIoU of boxes (..., 4), x1, y1, x2, y2: "giou".

    Notes
    -----
    Rows: (iou.6), Rezatofighi et al., CVPR 2019. From 0, equal, to 2, far apart. See `Loss` for shapes, weights and
    masks.

    Examples
    --------
    >>> import numpy as np
    >>> GIoULoss().forward(np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[3.0, 0.0, 4.0, 1.0]]))
    1.5
    """

    name = "giou"
    overlap_forward, overlap_backward = staticmethod(giou_forward), staticmethod(giou_backward)


# --- classification ----------------------------------------------------------------------------------------


class _SoftmaxCrossentropy(Loss):
    """Cross-entropy over the last axis, from logits or from probabilities."""

    fused_activation = "softmax"

    def rows_forward(self, y, t, from_logits):
        if from_logits:
            losses, probabilities = softmax_cross_entropy_forward(y, t)
            return losses, (softmax_cross_entropy_backward, probabilities, t)
        _check_probabilities(self.name, "softmax", y)
        if not y.sum(axis=1).all():
            raise ValueError(f"{self.name}: a row of y_pred sums to zero; end the model in softmax")
        return cross_entropy_forward(y, t), (cross_entropy_backward, y, t)

    def rows_backward(self, dlosses, cache):
        row_backward, probabilities, t = cache
        return row_backward(dlosses, probabilities, t)


class CategoricalCrossentropy(_SoftmaxCrossentropy):
    """Cross-entropy with one-hot or soft targets: "categorical_crossentropy".

    Parameters
    ----------
    from_logits : bool
        Whether y_pred are logits, (softmax_cross_entropy.2), or probabilities, (softmax_cross_entropy.5).
    label_smoothing : float
        α in [0, 1]: a target t becomes (1 − α)·t + α/K. Szegedy et al., CVPR 2016, section 7.

    Notes
    -----
    Of probabilities, each row is divided by its sum and clipped to [1e-7, 1 − 1e-7], as in Keras, and the gradient is
    that of this expression. See `Loss` for shapes, weights and masks.

    Examples
    --------
    >>> import numpy as np
    >>> loss = CategoricalCrossentropy(from_logits=True)
    >>> round(loss.forward(np.array([[0.0, 0.0]]), np.array([[0.0, 1.0]])), 4)  # log 2
    0.6931
    >>> loss.backward()
    array([[ 0.5, -0.5]])
    """

    name = "categorical_crossentropy"

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__()
        self.from_logits, self.label_smoothing = from_logits, _smoothing(label_smoothing)

    def target_rows(self, y_true, shape):
        lead, K = shape[:-1], shape[-1]
        _check_classes(self.name, shape)
        if y_true.shape in (lead, (*lead, 1)):
            raise ValueError(
                f"{self.name} takes one-hot targets {shape}, got y_true of shape {y_true.shape}; for class numbers use "
                f"sparse_categorical_crossentropy, or minivid.utils.to_categorical(y_true, {K})"
            )
        if y_true.shape[:-1] == lead and y_true.shape[-1] != K:
            raise ValueError(
                f"{self.name}: y_true has {y_true.shape[-1]} classes (last axis of {y_true.shape}), but y_pred has {K} "
                f"(last axis of {shape}); the last layer needs {y_true.shape[-1]} units"
            )
        return super().target_rows(y_true, shape)

    def target_values(self, t, y):
        t = super().target_values(t, y)
        low, high = float(t.min()), float(t.max())
        if low < 0:
            raise ValueError(f"{self.name}: y_true must not be negative, got values from {low:g} to {high:g}")
        return t if self.label_smoothing == 0 else t * (1 - self.label_smoothing) + self.label_smoothing / t.shape[1]


class SparseCategoricalCrossentropy(_SoftmaxCrossentropy):
    """Cross-entropy with class numbers as targets: "sparse_categorical_crossentropy".

    Parameters
    ----------
    from_logits : bool
        Whether y_pred are logits, (softmax_cross_entropy.2), or probabilities, (softmax_cross_entropy.5).

    Notes
    -----
    y_true has the shape of y_pred without its last axis (or with a last axis of length 1) and whole numbers from 0 to
    K − 1. Probabilities are normalised and clipped as in `CategoricalCrossentropy`. See `Loss` for shapes, weights
    and masks.

    Examples
    --------
    >>> import numpy as np
    >>> loss = SparseCategoricalCrossentropy(from_logits=True)
    >>> round(loss.forward(np.array([[0.0, 0.0]]), np.array([1])), 4)  # log 2
    0.6931
    """

    name = "sparse_categorical_crossentropy"

    def __init__(self, from_logits: bool = False):
        super().__init__()
        self.from_logits = from_logits

    def target_rows(self, y_true, shape):
        lead = shape[:-1]
        _check_classes(self.name, shape)
        if y_true.shape == shape:
            raise ValueError(
                f"{self.name} takes class numbers of shape {lead}, got y_true of the shape of y_pred {shape}; "
                "for one-hot targets use categorical_crossentropy"
            )
        if y_true.shape not in (lead, (*lead, 1)):
            raise ValueError(
                f"{self.name} takes class numbers of shape {lead} for y_pred {shape}, got y_true {y_true.shape}"
            )
        return y_true.reshape(-1)  # (M,)

    def target_values(self, t, y):
        try:
            return to_categorical(t, y.shape[1], dtype=y.dtype)  # (M, K)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None


class BinaryCrossentropy(Loss):
    """Cross-entropy of K independent yes-or-no outputs, averaged over the last axis: "binary_crossentropy".

    Parameters
    ----------
    from_logits : bool
        Whether y_pred are logits, (sigmoid_cross_entropy.2), or probabilities, (sigmoid_cross_entropy.4).
    label_smoothing : float
        α in [0, 1]: a target t becomes (1 − α)·t + α/2.

    Notes
    -----
    Probabilities are clipped to [1e-7, 1 − 1e-7], as in Keras, and the gradient is that of the clipped ones. See
    `Loss` for shapes, weights and masks.

    Examples
    --------
    >>> import numpy as np
    >>> loss = BinaryCrossentropy()
    >>> round(loss.forward(np.array([[0.5], [0.5]]), np.array([[1.0], [0.0]])), 4)  # log 2
    0.6931
    >>> loss.backward()
    array([[-1.],
           [ 1.]])
    """

    name = "binary_crossentropy"
    fused_activation = "sigmoid"

    def __init__(self, from_logits: bool = False, label_smoothing: float = 0.0):
        super().__init__()
        self.from_logits, self.label_smoothing = from_logits, _smoothing(label_smoothing)

    def target_values(self, t, y):
        t = super().target_values(t, y)
        low, high = float(t.min()), float(t.max())
        if low < 0 or high > 1:
            raise ValueError(f"{self.name}: y_true must be from 0 to 1, got values from {low:g} to {high:g}")
        return t if self.label_smoothing == 0 else t * (1 - self.label_smoothing) + self.label_smoothing / 2

    def rows_forward(self, y, t, from_logits):
        if from_logits:
            losses, probabilities = sigmoid_cross_entropy_forward(y, t)
            return losses, (sigmoid_cross_entropy_backward, probabilities, t)
        _check_probabilities(self.name, "sigmoid", y)
        return binary_cross_entropy_forward(y, t), (binary_cross_entropy_backward, y, t)

    def rows_backward(self, dlosses, cache):
        row_backward, probabilities, t = cache
        return row_backward(dlosses, probabilities, t)


def _check_classes(name, shape) -> None:
    if shape[-1] < 2:
        raise ValueError(
            f"{name} chooses among at least 2 classes, but y_pred {shape} has 1 (its last axis); "
            "for one sigmoid output use binary_crossentropy"
        )


def _check_probabilities(name, activation, y) -> None:
    """Refuse logits; NaN is left to whoever looks at the loss."""
    low, high = float(y.min()), float(y.max())
    if low < 0 or high > 1 + 1e-5:  # a sum of probabilities may exceed 1 by its rounding
        raise ValueError(
            f"{name}: y_pred must be probabilities from 0 to 1, got values from {low:g} to {high:g}; "
            f"end the model in {activation}, or say from_logits=True"
        )


def _smoothing(label_smoothing: float) -> float:
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing!r}")
    return float(label_smoothing)


# --- by name -----------------------------------------------------------------------------------------------

_NAMES = {
    "categorical_crossentropy": CategoricalCrossentropy,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
    "binary_crossentropy": BinaryCrossentropy,
    "mse": MeanSquaredError,
    "mean_squared_error": MeanSquaredError,
    "mae": MeanAbsoluteError,
    "mean_absolute_error": MeanAbsoluteError,
    "huber": Huber,
    "iou": IoULoss,
    "giou": GIoULoss,
}


def get(loss: str | Loss | dict[str, Any]) -> Loss:
    """Return the loss of a name.

    Parameters
    ----------
    loss : str, Loss or dict
        "categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy", "mse" or
        "mean_squared_error", "mae" or "mean_absolute_error", "huber", "iou", "giou"; a `Loss`, which is returned as it
        is; or what `serialize` returned.

    Returns
    -------
    Loss

    Raises
    ------
    ValueError
        If there is no loss of that name.
    TypeError
        If it is neither a name, a `Loss` nor a dict.

    Examples
    --------
    >>> from minivid import losses
    >>> losses.get("mse").name
    'mean_squared_error'
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, dict):
        return _from_dict(loss)
    if not isinstance(loss, str):
        raise TypeError(f"a loss is a name ({', '.join(_NAMES)}) or a Loss object, got {loss!r}")
    if loss not in _NAMES:
        raise ValueError(f"there is no loss {loss!r}; write one of {', '.join(_NAMES)}")
    return _NAMES[loss]()


def serialize(loss: Loss) -> dict[str, Any]:
    """Return ``{"class_name": ..., "config": ...}``, fit for JSON; `get` turns it back.

    Parameters
    ----------
    loss : Loss

    Returns
    -------
    dict

    Examples
    --------
    >>> from minivid import losses
    >>> saved = losses.serialize(losses.CategoricalCrossentropy(label_smoothing=0.1))
    >>> losses.get(saved).label_smoothing
    0.1
    """
    return {"class_name": type(loss).__name__, "config": loss.get_config()}


def _from_dict(saved: dict[str, Any]) -> Loss:
    from minivid.detection.grid import GridLoss  # not above: it is a subclass of Loss, with the rest of detection

    classes = {cls.__name__: cls for cls in (*_NAMES.values(), GridLoss)}
    name, config = saved.get("class_name"), saved.get("config")
    if not isinstance(name, str) or name not in classes or not isinstance(config, dict):
        raise ValueError(f"expected a saved loss of class {', '.join(classes)}, got {saved!r}")
    try:
        return classes[name](**config)
    except TypeError as error:
        raise ValueError(f"the saved loss {name} cannot be made: {error}") from error
