import numpy as np
import pytest

from minivid.layers import GRU
from tests.layers import recurrent_cases as cases


@pytest.mark.parametrize("options", cases.OPTIONS)
def test_contract_and_gradients(options):
    cases.check_recurrent(GRU, options)


def test_gradients_of_states():
    cases.check_states(GRU, ["h"])


def test_states_carry_a_sequence_on():
    cases.check_state_halves(GRU)


def test_masked_steps():
    cases.check_masked_steps(GRU)


def test_go_backwards():
    cases.check_go_backwards(GRU)


def test_errors_name_the_layer():
    cases.check_errors(GRU, "gru", "h")


def test_weights_in_keras_order():
    layer = GRU(3)
    layer.build((None, None, 4))
    assert list(layer.params) == ["kernel", "recurrent_kernel", "bias"]
    assert [w.shape for w in layer.get_weights()] == [(4, 9), (3, 9), (2, 9)]
    assert not layer.params["bias"].any()
    assert layer.count_params() == 36 + 27 + 18


def test_known_answer():
    layer = GRU(1)
    layer.build((None, 1, 1))
    layer.set_weights([[[0.0, 0.0, 1.0]], [[0.0, 0.0, 0.0]], [[np.log(3.0), 0.0, 0.0], [0.0, 0.0, 4.0]]])
    # z = σ(log 3) = 3/4, r = 1/2, h~ = tanh(x + r·4) = tanh(1 + 2); from h_0 = 0: h = (1 - z)·h~
    np.testing.assert_allclose(layer(np.ones((1, 1, 1))), [[np.tanh(3.0) / 4]], rtol=1e-6)
