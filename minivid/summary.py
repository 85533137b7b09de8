"""The table that `Sequential.summary` prints."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minivid.models import Sequential

__all__ = ["summary_of"]


def summary_of(model: "Sequential") -> str:
    """Return a table of a model's layers, output shapes and numbers of weights.

    Parameters
    ----------
    model : Sequential
        Built.

    Returns
    -------
    str

    Examples
    --------
    >>> from minivid.layers import Dense
    >>> from minivid.models import Sequential
    >>> print(summary_of(Sequential([Dense(3, input_shape=(2,))])))
    Model: sequential
    layer: type     output shape    weights
    ---------------------------------------
    dense: Dense    (None, 3)             9
    ---------------------------------------
    total 9 weights, 9 trainable, 0.00 MB
    """
    rows = [("layer: type", "output shape", "weights")]
    for layer in model.layers:
        rows.append((f"{layer.name}: {_kind(layer)}", str(layer.output_shape), f"{layer.count_params():,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"{name:<{widths[0]}}    {shape:<{widths[1]}}    {count:>{widths[2]}}" for name, shape, count in rows]
    rule = "-" * len(lines[0])
    trainable = sum(array.size for array in model.trainable_params.values())
    size = sum(array.nbytes for array in (model.params | model.state).values()) / 1e6
    total = f"total {model.count_params():,} weights, {trainable:,} trainable, {size:.2f} MB"
    return "\n".join([f"Model: {model.name}", lines[0], rule, *lines[1:], rule, total])


def _kind(layer) -> str:
    inner = getattr(layer, "layer", None)
    return f"{type(layer).__name__}({type(inner).__name__})" if inner is not None else type(layer).__name__
