"""What the losses share: predictions and targets in rows, one loss per row."""

import numpy as np

__all__ = ["check_rows"]


def check_rows(predictions: np.ndarray, targets: np.ndarray, dlosses: np.ndarray | None = None) -> None:
    """Check that predictions, targets and upstream gradient of a loss fit each other.

    Parameters
    ----------
    predictions, targets : (M, K) array
        One sample per row.
    dlosses : (M,) array, optional
        Gradient with respect to the losses.

    Raises
    ------
    ValueError
        If a shape does not fit, or the rows are empty.

    Examples
    --------
    >>> import numpy as np
    >>> check_rows(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(2))
    """
    if predictions.ndim != 2 or predictions.shape[1] == 0 or targets.shape != predictions.shape:
        raise ValueError(
            "a loss takes predictions (M, K) and targets of the same shape with K >= 1, "
            f"got {predictions.shape} and {targets.shape}"
        )
    if dlosses is not None and dlosses.shape != predictions.shape[:1]:
        raise ValueError(f"dlosses has shape {dlosses.shape}, but there are losses {predictions.shape[:1]}")
