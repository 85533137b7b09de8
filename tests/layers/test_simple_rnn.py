import numpy as np
import pytest

from minivid.layers import SimpleRNN
from tests.layers import recurrent_cases as cases


@pytest.mark.parametrize("options", cases.OPTIONS)
def test_contract_and_gradients(options):
    cases.check_recurrent(SimpleRNN, options)


def test_gradients_of_states():
    cases.check_states(SimpleRNN, ["h"])


def test_states_carry_a_sequence_on():
    cases.check_state_halves(SimpleRNN)


def test_masked_steps():
    cases.check_masked_steps(SimpleRNN)


def test_go_backwards():
    cases.check_go_backwards(SimpleRNN)


def test_errors_name_the_layer():
    cases.check_errors(SimpleRNN, "simple_rnn", "h")


def test_weights_in_keras_order():
    layer = SimpleRNN(3)
    layer.build((None, None, 4))
    assert list(layer.params) == ["kernel", "recurrent_kernel", "bias"]
    assert [w.shape for w in layer.get_weights()] == [(4, 3), (3, 3), (3,)]
    np.testing.assert_allclose(
        layer.params["recurrent_kernel"].T @ layer.params["recurrent_kernel"], np.eye(3), atol=1e-6
    )


def test_known_answer():
    layer = SimpleRNN(1)
    layer.build((None, 2, 1))
    layer.set_weights([[[2.0]], [[3.0]], [0.5]])
    h1 = np.tanh(2 * 1 + 0.5)
    h2 = np.tanh(2 * -1 + 3 * h1 + 0.5)
    np.testing.assert_allclose(layer(np.array([[[1.0], [-1.0]]])), [[h2]], rtol=1e-6)
