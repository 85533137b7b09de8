"""How the numbers of Keras that tests compare with were made.

The tests hold outputs of Keras 3.15.1 (JAX backend, floatx float64); its LSTM and GRU differ from minivid by up to
1e-7. Weights and inputs are not stored: both libraries were given `wave` arrays, each weight with the phase of its
place in ``get_weights()``, as `set_waves` does.
"""

import numpy as np


def wave(*shape, phase=0.0):
    """Return numbers between -1 and 1 that any library can repeat: sin(1.3 k + phase) of the k-th element."""
    return np.sin(1.3 * np.arange(np.prod(shape)) + phase).reshape(shape)


def set_waves(layer):
    """Set the weights of a built layer, of minivid or of Keras, to waves of phases 1, 2, ..."""
    layer.set_weights([wave(*w.shape, phase=1.0 + place) for place, w in enumerate(layer.get_weights())])
