import numpy as np
import pytest

from minivid.layers import Activation
from minivid.layers.activation import ActivatedLayer
from tests.layers.contract import check_contract, check_layer_gradients


@pytest.mark.parametrize("name", ["linear", "relu", "tanh", "sigmoid", "softmax"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (2, 3, 4, 5)])
def test_gradients(name, shape):
    check_layer_gradients(lambda **o: Activation(name, **o), shape)


def test_contract():
    check_contract(lambda **o: Activation("tanh", **o), (2, 3, 4), any_size=(1, 2))


def test_logits_are_kept_where_a_loss_can_start_from_them():
    x = np.array([[1.0, 2.0]])
    for name, kept in (("softmax", True), ("sigmoid", True), ("relu", False)):
        layer = Activation(name)
        layer(x)
        assert (layer.logits is not None) == kept
    np.testing.assert_array_equal(Activation("relu")(-x), [[0, 0]])


def test_backward_needs_forward():
    with pytest.raises(ValueError, match="call forward before backward"):
        Activation("relu").backward(np.ones((2, 3)))


def test_unknown_name():
    with pytest.raises(ValueError, match="no activation 'swish'"):
        Activation("swish")


def test_subclasses_must_write_both_passes():
    layer = ActivatedLayer("relu")
    with pytest.raises(NotImplementedError):
        layer(np.ones((2, 3)))
    with pytest.raises(NotImplementedError):
        layer.backward_logits(np.ones((2, 3)))
