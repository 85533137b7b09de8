import numpy as np
import pytest

from minivid.layers import BatchNormalization
from tests.layers.contract import built, check_contract, check_layer_gradients


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4, 5)])
def test_gradients(training, shape):
    check_layer_gradients(lambda **o: BatchNormalization(**o), shape, training=training)


def test_contract():
    check_contract(lambda **o: BatchNormalization(epsilon=0.01, momentum=0.5, **o), (2, 3, 4), any_size=(1,))


def test_moving_averages_by_hand():
    layer = BatchNormalization(momentum=0.75, epsilon=0.0)
    x = np.array([[1.0], [3.0]])  # mean 2, variance 1
    layer(x, training=True)
    np.testing.assert_array_equal(layer.state["moving_mean"], [0.5])  # 0.75 * 0 + 0.25 * 2
    np.testing.assert_array_equal(layer.state["moving_variance"], [1.0])  # 0.75 * 1 + 0.25 * 1
    layer(3 * x, training=True)  # mean 6, variance 9
    np.testing.assert_array_equal(layer.state["moving_mean"], [1.875])  # 0.75 * 0.5 + 0.25 * 6
    np.testing.assert_array_equal(layer.state["moving_variance"], [3.0])  # 0.75 * 1 + 0.25 * 9
    # inference uses them: (1.875 - 1.875) / √3 and (4.875 - 1.875) / √3 = √3
    np.testing.assert_allclose(layer(np.array([[1.875], [4.875]])), [[0], [np.sqrt(3)]], rtol=1e-12)


def test_weights_in_keras_order():
    layer = BatchNormalization()
    layer.build((None, 6))
    assert [*layer.params, *layer.state] == ["gamma", "beta", "moving_mean", "moving_variance"]
    np.testing.assert_array_equal(layer.get_weights(), [np.ones(6), np.zeros(6), np.zeros(6), np.ones(6)])
    assert layer.count_params() == 24


def test_frozen_layer_runs_as_in_inference():
    layer = built(BatchNormalization, (5, 3))
    x = np.random.default_rng(0).normal(size=(5, 3))
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    np.testing.assert_array_equal(layer.get_weights(), before)


@pytest.mark.parametrize(
    "options", [{"momentum": 1.5}, {"momentum": float("nan")}, {"epsilon": -1.0}, {"epsilon": float("nan")}]
)
def test_bad_arguments(options):
    with pytest.raises(ValueError, match=f"layer 'batch_normalization': {next(iter(options))}"):
        BatchNormalization(**options)


def test_unknown_channels():
    with pytest.raises(ValueError, match=r"layer 'batch_normalization'.*known number of channels"):
        BatchNormalization().build((None, None))
