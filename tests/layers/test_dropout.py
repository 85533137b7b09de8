import numpy as np
import pytest

import minivid
from minivid.layers import Dropout
from tests.layers.contract import check_contract, check_layer_gradients


def test_contract():
    check_contract(lambda **o: Dropout(0.4, seed=0, **o), (2, 3, 4), any_size=(1, 2))


def test_gradients_at_inference():
    check_layer_gradients(lambda **o: Dropout(0.4, **o), (3, 4))


def test_training_drops_and_scales():
    layer, x = Dropout(0.75, seed=3), np.full((50, 40), 2.0)
    y = layer(x, training=True)
    assert set(np.unique(y)) == {0.0, 8.0}  # 2 / (1 - 0.75)
    assert abs((y == 0).mean() - 0.75) < 0.05  # 2000 draws: a standard deviation of 0.01
    dy = np.random.default_rng(0).normal(size=x.shape)
    np.testing.assert_allclose(layer.backward(dy), dy * (y > 0) * 4, rtol=1e-12)  # linear: the same factors
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer.backward(dy), dy)


def test_seeds():
    x = np.ones((4, 5))
    np.testing.assert_array_equal(Dropout(0.5, seed=7)(x, training=True), Dropout(0.5, seed=7)(x, training=True))
    layer = Dropout(0.5)
    minivid.set_seed(1)
    first, second = layer(x, training=True), layer(x, training=True)
    minivid.set_seed(1)
    np.testing.assert_array_equal(layer(x, training=True), first)
    assert (first != second).any()


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, float("nan")])
def test_bad_rate(rate):
    with pytest.raises(ValueError, match=r"layer 'dropout': rate must be in \[0, 1\)"):
        Dropout(rate)
