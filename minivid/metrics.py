"""Metrics: how good the predictions are, in figures that people read.

A metric is a function ``(y_true, y_pred) -> values``, one value per sample (N,) or per time step (N, T), and
`Mean` averages the values over all batches, weighted by the sample weights. The classes are the last axis of
`y_pred`, so everything works on (N, K) and on (N, T, K).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minivid.backend import to_device, xp_of

__all__ = [
    "Mean",
    "Metric",
    "binary_accuracy",
    "categorical_accuracy",
    "classification_report",
    "confusion_matrix",
    "get",
    "mae",
    "mse",
    "sparse_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return 1 where the largest prediction is the class of the one-hot target, else 0.

    Parameters
    ----------
    y_true : array, shape (..., K)
        One-hot targets.
    y_pred : array, shape (..., K)
        Probabilities or logits; of equal ones the first is taken.

    Returns
    -------
    array, float64, shape (...)

    Examples
    --------
    >>> from minivid.metrics import categorical_accuracy
    >>> categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])
    array([1., 0.])
    """
    y_true, y_pred = _same_shape("categorical_accuracy", y_true, y_pred)
    return (y_true.argmax(axis=-1) == y_pred.argmax(axis=-1)).astype("float64")


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Return 1 where the largest prediction is the class that the target names, else 0.

    Parameters
    ----------
    y_true : array, shape (...) or (..., 1)
        Class numbers.
    y_pred : array, shape (..., K)
        Probabilities or logits; of equal ones the first is taken.

    Returns
    -------
    array, float64, shape (...)

    Examples
    --------
    >>> from minivid.metrics import sparse_categorical_accuracy
    >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.4, 0.6]])
    array([1., 0.])
    """
    y_true, y_pred = _array(y_true), _array(y_pred)
    if y_true.ndim == y_pred.ndim and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    if y_true.shape != y_pred.shape[:-1]:
        raise ValueError(
            f"sparse_categorical_accuracy takes class numbers of shape {y_pred.shape[:-1]} for predictions "
            f"of shape {y_pred.shape}, got shape {y_true.shape}; for one-hot targets use categorical_accuracy"
        )
    return (y_true == y_pred.argmax(axis=-1)).astype("float64")


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    """Return the share of the last axis on the right side of the threshold.

    Parameters
    ----------
    y_true : array, shape (..., K), or (...) where K = 1
        Targets 0 or 1.
    y_pred : array, shape (..., K)
        Probabilities; above `threshold` means 1.
    threshold : float, default 0.5

    Returns
    -------
    array, float64, shape (...)

    Examples
    --------
    >>> from minivid.metrics import binary_accuracy
    >>> binary_accuracy([1, 0], [[0.9], [0.6]])
    array([1., 0.])
    """
    y_true, y_pred = _same_shape("binary_accuracy", y_true, y_pred)
    return ((y_pred > threshold) == y_true).mean(axis=-1)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    """Return 1 where fewer than `k` classes are predicted above the class of the one-hot target, else 0.

    Parameters
    ----------
    y_true : array, shape (..., K)
        One-hot targets.
    y_pred : array, shape (..., K)
        Probabilities or logits; a class equal to the target's does not count as above it.
    k : int, default 5

    Returns
    -------
    array, float64, shape (...)

    Examples
    --------
    >>> from minivid.metrics import top_k_categorical_accuracy
    >>> top_k_categorical_accuracy([[0, 1, 0], [1, 0, 0]], [[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]], k=2)
    array([1., 0.])
    """
    y_true, y_pred = _same_shape("top_k_categorical_accuracy", y_true, y_pred)
    xp = xp_of(y_pred)
    of_target = xp.take_along_axis(y_pred, y_true.argmax(axis=-1)[..., None], axis=-1)  # (..., 1)
    return ((y_pred > of_target).sum(axis=-1) < k).astype("float64")


def mse(y_true: Any, y_pred: Any) -> Any:
    """Return the mean squared error over the last axis.

    Parameters
    ----------
    y_true : array, shape (..., D), or (...) where D = 1
    y_pred : array, shape (..., D)

    Returns
    -------
    array, float64, shape (...)

    Examples
    --------
    >>> from minivid.metrics import mse
    >>> mse([[1.0, 2.0]], [[3.0, 2.0]])
    array([2.])
    """
    y_true, y_pred = _same_shape("mse", y_true, y_pred)
    return ((y_pred.astype("float64") - y_true) ** 2).mean(axis=-1)


def mae(y_true: Any, y_pred: Any) -> Any:
    """Return the mean absolute error over the last axis.

    Parameters
    ----------
    y_true : array, shape (..., D), or (...) where D = 1
    y_pred : array, shape (..., D)

    Returns
    -------
    array, float64, shape (...)

    Examples
    --------
    >>> from minivid.metrics import mae
    >>> mae([[1.0, 2.0]], [[3.0, 2.0]])
    array([1.])
    """
    y_true, y_pred = _same_shape("mae", y_true, y_pred)
    return abs(y_pred.astype("float64") - y_true).mean(axis=-1)


class Metric:
    """What `fit` and `evaluate` need of a metric: subclass it for one that is no mean (a recall, say).

    Parameters
    ----------
    name : str
        The key in the logs.

    Examples
    --------
    >>> from minivid.metrics import Metric
    >>> class LargestPrediction(Metric):
    ...     def reset(self):
    ...         self.largest = 0.0
    ...     def update(self, y_true, y_pred, sample_weight=None):
    ...         self.largest = max(self.largest, float(y_pred.max()))
    ...     def result(self):
    ...         return self.largest
    >>> LargestPrediction("largest").result()
    0.0
    """

    def __init__(self, name: str):
        self.name = name
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        raise NotImplementedError(f"{type(self).__name__} must implement reset()")

    def update(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Take one batch into account."""
        raise NotImplementedError(f"{type(self).__name__} must implement update(y_true, y_pred, sample_weight)")

    def result(self) -> float:
        """Return the figure over all batches since `reset`."""
        raise NotImplementedError(f"{type(self).__name__} must implement result()")


class Mean(Metric):
    """The mean of a function's values over all samples of all batches.

    Parameters
    ----------
    function : callable
        ``function(y_true, y_pred)`` gives the values, of shape (N,) or (N, T).
    name : str, optional
        The key in the logs; default the function's name.

    Examples
    --------
    >>> import numpy as np
    >>> from minivid.metrics import Mean, sparse_categorical_accuracy
    >>> accuracy = Mean(sparse_categorical_accuracy, name="accuracy")
    >>> accuracy.update(np.array([1, 0]), np.array([[0.2, 0.8], [0.4, 0.6]]))
    >>> accuracy.result()
    0.5
    """

    def __init__(self, function: Callable[[Any, Any], Any], name: str | None = None):
        self.function = function
        super().__init__(name or getattr(function, "__name__", type(function).__name__))

    def reset(self) -> None:
        """Forget all batches."""
        self.total = 0.0
        self.weight = 0.0

    def update(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add one batch.

        Parameters
        ----------
        y_true, y_pred : array
            Targets and predictions as the function takes them.
        sample_weight : array, optional
            A weight per sample (N,) or per value (N, T), for example a mask; default 1.
        """
        values = _array(self.function(y_true, y_pred)).astype("float64")
        if values.ndim == 0:
            raise ValueError(
                f"the metric {self.name!r} must give one value per sample, got a single number; "
                "take the mean over the last axis only"
            )
        if sample_weight is None:
            self.total += float(values.sum())
            self.weight += values.size
            return
        weight = _weights_like(values, _array(sample_weight), self.name)
        self.total += float((weight * values).sum())
        self.weight += float(weight.sum())

    def result(self) -> float:
        """Return the weighted mean; 0.0 while all weights together are 0, as in Keras."""
        return self.total / self.weight if self.weight else 0.0


FUNCTIONS = {
    "binary_accuracy": binary_accuracy,
    "categorical_accuracy": categorical_accuracy,
    "mae": mae,
    "mean_absolute_error": mae,
    "mean_squared_error": mse,
    "mse": mse,
    "sparse_categorical_accuracy": sparse_categorical_accuracy,
    "top_k_categorical_accuracy": top_k_categorical_accuracy,
}
ACCURACY_OF_LOSS = {
    "binary_crossentropy": binary_accuracy,
    "categorical_crossentropy": categorical_accuracy,
    "sparse_categorical_crossentropy": sparse_categorical_accuracy,
}


def get(
    metric: str | Metric | Callable[[Any, Any], Any],
    loss_name: str | None = None,
    output_shape: tuple[int | None, ...] | None = None,
) -> Metric:
    """Return the metric meant by a name, an object or a function.

    Parameters
    ----------
    metric : str, Metric or callable
        A name of this module; ``"accuracy"`` or ``"acc"``, which means the accuracy that fits the loss, or else
        the output: binary where its last size is 1, categorical otherwise; a `Metric`, returned as it is; or a
        function ``(y_true, y_pred) -> values``.
    loss_name : str, optional
        The loss of the model, to resolve ``"accuracy"``.
    output_shape : tuple, optional
        The shape of the model's output, to resolve ``"accuracy"``.

    Returns
    -------
    Metric
        Named as the string that was given.

    Raises
    ------
    ValueError
        If there is no metric of that name.
    TypeError
        If it is none of these.

    Examples
    --------
    >>> from minivid import metrics
    >>> accuracy = metrics.get("accuracy", loss_name="sparse_categorical_crossentropy")
    >>> accuracy.name, accuracy.function.__name__
    ('accuracy', 'sparse_categorical_accuracy')
    """
    if isinstance(metric, Metric):
        return metric
    if metric in ("accuracy", "acc"):
        return Mean(_accuracy_for(loss_name, output_shape), name=metric)
    if isinstance(metric, str):
        if metric not in FUNCTIONS:
            names = ", ".join(map(repr, ["accuracy", *FUNCTIONS]))
            raise ValueError(f"there is no metric {metric!r}; there are {names}")
        return Mean(FUNCTIONS[metric], name=metric)
    if callable(metric) and not isinstance(metric, type):
        return Mean(metric)
    raise TypeError(
        "a metric is a name such as 'accuracy', a Metric object, or a function (y_true, y_pred) -> values, "
        f"got {metric!r}"
    )


def confusion_matrix(y_true: Any, y_pred: Any, num_classes: int) -> np.ndarray:
    """Count how often each true class was predicted as each class.

    Parameters
    ----------
    y_true, y_pred : array of int, of the same shape
        Class numbers from 0 to ``num_classes - 1``.
    num_classes : int
        K.

    Returns
    -------
    numpy.ndarray, int64, shape (K, K)
        Row: true class; column: predicted class.

    Raises
    ------
    ValueError
        If the shapes differ or a value is no class number.

    Examples
    --------
    >>> from minivid.metrics import confusion_matrix
    >>> confusion_matrix([0, 0, 1], [0, 1, 1], num_classes=2)
    array([[1, 1],
           [0, 1]])
    """
    true, predicted = _labels("y_true", y_true, num_classes), _labels("y_pred", y_pred, num_classes)
    if true.shape != predicted.shape:
        raise ValueError(f"y_true and y_pred must have the same shape, got {true.shape} and {predicted.shape}")
    cells = np.bincount(num_classes * true.ravel() + predicted.ravel(), minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def classification_report(confusion: np.ndarray, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return precision, recall, F1 and support of every class.

    Parameters
    ----------
    confusion : array of int, shape (K, K)
        As from `confusion_matrix`: rows true, columns predicted.
    class_names : sequence of K str

    Returns
    -------
    list of K dict
        With the keys ``"class"``, ``"precision"`` (right among those predicted so), ``"recall"`` (right among
        those that are so), ``"f1"`` (their harmonic mean) and ``"support"`` (number of samples of the class, int).
        A figure that would be 0/0 is 0.0.

    Raises
    ------
    ValueError
        If the matrix is not square or the names do not fit it.

    Examples
    --------
    >>> from minivid.metrics import classification_report
    >>> classification_report([[1, 1], [0, 1]], ["left", "right"])[0]
    {'class': 'left', 'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666, 'support': 2}
    """
    confusion = np.asarray(confusion)
    if confusion.shape != (len(class_names), len(class_names)):
        raise ValueError(
            f"a confusion matrix of {len(class_names)} class names has shape "
            f"{(len(class_names), len(class_names))}, got {confusion.shape}"
        )
    report = []
    for k, name in enumerate(class_names):
        right, support, predicted = (int(n) for n in (confusion[k, k], confusion[k].sum(), confusion[:, k].sum()))
        report.append(
            {
                "class": name,
                "precision": _ratio(right, predicted),
                "recall": _ratio(right, support),
                "f1": _ratio(2 * right, predicted + support),
                "support": support,
            }
        )
    return report


def _accuracy_for(loss_name: str | None, output_shape: tuple[int | None, ...] | None) -> Callable:
    if loss_name in ACCURACY_OF_LOSS:
        return ACCURACY_OF_LOSS[loss_name]
    return binary_accuracy if output_shape is not None and output_shape[-1] == 1 else categorical_accuracy


def _array(values: Any) -> Any:
    return values if hasattr(values, "ndim") else np.asarray(values)


def _same_shape(name: str, y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Targets (...) become (..., 1) for predictions (..., 1): else they would broadcast to a wrong table."""
    y_true, y_pred = _array(y_true), _array(y_pred)
    if y_true.shape == y_pred.shape[:-1] and y_pred.shape[-1:] == (1,):
        y_true = y_true[..., None]
    if y_true.shape != y_pred.shape or y_pred.ndim == 0:
        raise ValueError(
            f"{name} takes targets and predictions of the same shape, got {y_true.shape} and {y_pred.shape}"
        )
    return y_true, y_pred


def _weights_like(values: Any, weight: Any, name: str) -> Any:
    """Weights (N,) serve all T values (N, T) of their sample."""
    if weight.shape != values.shape[: weight.ndim] or weight.ndim == 0:
        raise ValueError(
            f"sample_weight of the metric {name!r} must have shape {values.shape[:1]} or {values.shape}, "
            f"got {weight.shape}"
        )
    weight = weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim)).astype("float64")
    return xp_of(values, weight).broadcast_to(weight, values.shape)


def _labels(name: str, values: Any, num_classes: int) -> np.ndarray:
    values = np.asarray(to_device(values, "cpu"))
    if values.size == 0:
        return values.astype(np.int64)
    if values.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be integer class numbers, got {values.dtype}; of probabilities take .argmax(axis=-1)"
        )
    if values.min() < 0 or values.max() >= num_classes:
        raise ValueError(
            f"{name} must be from 0 to {num_classes - 1} for {num_classes} classes, "
            f"got values from {values.min()} to {values.max()}"
        )
    return values.astype(np.int64)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
