"""What convolution and pooling layers share: the arguments of their window, and its positions."""

from minivid.layers.base import Layer
from minivid.ops.window import pair, window_of

_ANY = 1_000_000  # pixels of an axis of unknown size: larger than any window


def checked_window(layer: Layer, size_name: str, size, strides, padding, dilation=1) -> tuple:
    """Return size, strides, padding and dilation of a layer's window; all but the padding as pairs."""
    with layer.named_errors():
        size, strides, dilation = pair(size, size_name), pair(strides, "strides"), pair(dilation, "dilation_rate")
        window_of((_ANY, _ANY), (1, 1), padding=padding)  # checks the padding
        return size, strides, padding, dilation


def positions(layer: Layer, image: tuple, *window, **options) -> tuple[int | None, int | None]:
    """Return the number of positions (OH, OW) of a layer's window; None along an axis of unknown size."""
    with layer.named_errors():
        win = window_of(tuple(_ANY if size is None else size for size in image), *window, **options)
    return None if image[0] is None else win.OH, None if image[1] is None else win.OW
