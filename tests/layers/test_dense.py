import numpy as np
import pytest

from minivid.layers import Dense
from tests.layers.contract import check_contract, check_layer_gradients


@pytest.mark.parametrize("activation", [None, "relu", "tanh", "sigmoid", "softmax"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_gradients(activation, shape):
    check_layer_gradients(lambda **o: Dense(5, activation=activation, **o), shape)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_contract(shape):
    check_contract(lambda **o: Dense(5, activation="tanh", **o), shape, any_size=range(1, len(shape) - 1))


def test_known_answer():
    layer = Dense(2, activation="relu")
    layer.build((None, 3))
    layer.set_weights([[[1, 2], [3, 4], [5, 6]], [10, -100]])
    # (1, 1, 2): 1 + 3 + 10 + 10 = 24; 2 + 4 + 12 - 100 = -82, cut to 0
    np.testing.assert_array_equal(layer([[1, 1, 2]]), [[24, 0]])


def test_weights_in_keras_order():
    layer = Dense(5)
    layer.build((None, 4))
    assert [w.shape for w in layer.get_weights()] == [(4, 5), (5,)]
    assert list(layer.params) == ["kernel", "bias"]
    assert not layer.params["bias"].any()


def test_without_bias():
    check_layer_gradients(lambda **o: Dense(5, use_bias=False, **o), (3, 4))
    layer = Dense(5, use_bias=False)
    layer.build((None, 4))
    assert layer.count_params() == 20


def test_need_dx_false_skips_dx_only():
    layer = Dense(5)
    layer(np.ones((2, 4)))
    assert layer.backward(np.ones((2, 5)), need_dx=False) is None
    np.testing.assert_array_equal(layer.grads["bias"], np.full(5, 2.0))


def test_backward_logits_skips_the_activation():
    # y = tanh(z): backward(dy) = backward_logits(dy * (1 - y²))
    layer = Dense(3, activation="tanh", dtype="float64")
    y = layer(np.linspace(-1, 1, 8).reshape(2, 4))
    dy = np.linspace(0.5, 2, 6).reshape(2, 3)
    dx = layer.backward(dy)
    np.testing.assert_allclose(layer.backward_logits(dy * (1 - y**2)), dx, rtol=1e-12)


@pytest.mark.parametrize("units", [0, -3, 2.5, True, "4", None])
def test_bad_units(units):
    with pytest.raises(ValueError, match="layer 'hidden': units must be a positive int, got"):
        Dense(units, name="hidden")


def test_unknown_features():
    with pytest.raises(ValueError, match=r"layer 'dense'.*known number of features.*\(None, None\)"):
        Dense(3).build((None, None))


def test_building_again_keeps_the_weights():
    layer = Dense(3)
    layer.build((None, 4))
    kernel = layer.params["kernel"].copy()
    layer.build((None, 7, 4))
    np.testing.assert_array_equal(layer.params["kernel"], kernel)
    assert layer.output_shape == (None, 7, 3)
    with pytest.raises(ValueError, match=r"layer 'dense' has weights.*make a new layer"):
        layer.build((None, 5))


def test_weights_before_building():
    with pytest.raises(ValueError, match="layer 'dense' has no weights yet"):
        Dense(3).get_weights()


def test_set_weights_changes_nothing_if_one_does_not_fit():
    layer = Dense(2)
    layer.build((None, 2))
    before = layer.get_weights()
    with pytest.raises(ValueError, match="real numbers"):
        layer.set_weights([np.ones((2, 2)), np.array(["a", "b"])])
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_declared_input_shape_is_held_to():
    layer = Dense(3, input_shape=(7, 4))
    with pytest.raises(ValueError, match=r"layer 'dense' was made with input_shape=\(7, 4\), but its input is"):
        layer.build((None, 6, 4))
    layer.build((None, 7, 4))
    with pytest.raises(ValueError, match=r"input_shape=\(7, 4\).*None for an axis of any size"):
        layer(np.ones((2, 6, 4)))


def test_input_shape_must_be_a_tuple():
    with pytest.raises(TypeError, match=r"a shape is a tuple of sizes.*got 4"):
        Dense(3, input_shape=4)
    with pytest.raises(ValueError, match=r"positive ints.*\(0,\)"):
        Dense(3, input_shape=(0,))


@pytest.mark.parametrize("name", ["", "a/b", 5])
def test_bad_names(name):
    with pytest.raises(ValueError, match="name of a layer"):
        Dense(3, name=name)


def test_one_sample_is_no_batch():
    layer = Dense(2)
    layer.build((None, 5))
    with pytest.raises(
        ValueError, match=r"takes a batch \(None, 5\), got one sample \(5,\): add the batch axis, x\[None\]"
    ):
        layer(np.zeros(5))


def test_a_layer_is_no_input():
    with pytest.raises(TypeError, match=r"takes an array, got the layer 'dense'; layers are joined by Sequential"):
        Dense(2)(Dense(3))


def test_forward_of_a_layer_that_is_not_built():
    layer = Dense(2, name="scores")
    with pytest.raises(ValueError, match=r"layer 'scores' has no weights yet: call it, layer\(x\)"):
        layer.forward(np.ones((1, 3), np.float32))
    layer.build((None, 3))
    with pytest.raises(KeyError, match="layer 'scores' has no weight 'gamma', only kernel, bias"):
        layer.params["gamma"]
