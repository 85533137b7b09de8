import numpy as np
import pytest

from minivid.layers import LSTM
from tests.layers import recurrent_cases as cases


@pytest.mark.parametrize("options", cases.OPTIONS)
def test_contract_and_gradients(options):
    cases.check_recurrent(LSTM, options)


def test_gradients_of_states():
    cases.check_states(LSTM, ["h", "c"])


def test_states_carry_a_sequence_on():
    cases.check_state_halves(LSTM)


def test_masked_steps():
    cases.check_masked_steps(LSTM)


def test_go_backwards():
    cases.check_go_backwards(LSTM)


def test_errors_name_the_layer():
    cases.check_errors(LSTM, "lstm", "h and c")


def test_weights_in_keras_order():
    layer = LSTM(3)
    layer.build((None, None, 4))
    assert list(layer.params) == ["kernel", "recurrent_kernel", "bias"]
    assert [w.shape for w in layer.get_weights()] == [(4, 12), (3, 12), (12,)]


def test_forget_bias_starts_at_one():
    layer = LSTM(2)
    layer.build((None, None, 4))
    np.testing.assert_array_equal(layer.params["bias"], [0, 0, 1, 1, 0, 0, 0, 0])  # slots i, f, C~, o
    layer = LSTM(2, unit_forget_bias=False)
    layer.build((None, None, 4))
    assert not layer.params["bias"].any()
    assert LSTM(**layer.get_config()).unit_forget_bias is False


def test_known_answer():
    layer = LSTM(1)
    layer.build((None, 1, 1))
    layer.set_weights([[[0.0, 0.0, 1.0, 0.0]], [[0.0] * 4], [np.log(3.0), 0.0, 0.0, np.log(1 / 3)]])
    # i = σ(log 3) = 3/4, f = 1/2, C~ = tanh(2), o = σ(-log 3) = 1/4; from c_0 = 1: c = 1/2 + 3/4·tanh(2)
    h = layer(np.full((1, 1, 1), 2.0), initial_state=[np.zeros((1, 1)), np.ones((1, 1))])
    np.testing.assert_allclose(h, [[np.tanh(0.5 + 0.75 * np.tanh(2.0)) / 4]], rtol=1e-6)
    np.testing.assert_allclose(layer.gate_activations.ravel(), [0.75, 0.5, np.tanh(2.0), 0.25], rtol=1e-6)


def test_arguments_of_keras_that_are_missing():
    with pytest.raises(TypeError, match="LSTM has no argument 'recurrent_dropout'"):
        LSTM(3, recurrent_dropout=0.2)


def test_images_and_rows_are_no_sequences():
    with pytest.raises(ValueError, match="single images have no order in time: read clips"):
        LSTM(3)(np.zeros((2, 8, 8, 3)))
    with pytest.raises(ValueError, match="if a CNN does, wrap its layers in TimeDistributed"):
        LSTM(3)(np.zeros((2, 8)))
