import numpy as np
import pytest

from minivid import activations
from minivid.gradcheck import check_gradients
from tests.numerics import normal


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # e^x = 1/3, 3: tanh = (e²ˣ − 1) / (e²ˣ + 1) = ∓0.8, sigmoid = eˣ / (1 + eˣ), softmax = (1/3, 3) / (10/3)
        ("relu", [0.0, np.log(3)]),
        ("tanh", [-0.8, 0.8]),
        ("sigmoid", [0.25, 0.75]),
        ("softmax", [0.1, 0.9]),
        ("linear", [-np.log(3), np.log(3)]),
        (None, [-np.log(3), np.log(3)]),
    ],
)
def test_forward_by_name(name, expected):
    activation = activations.get(name)
    assert activation.name == (name or "linear")
    np.testing.assert_allclose(activation.forward(np.array([[-np.log(3), np.log(3)]])), [expected], rtol=1e-14)


@pytest.mark.parametrize("name", ["linear", "relu", "tanh", "sigmoid", "softmax"])
def test_backward_is_the_gradient_of_forward(name):
    activation = activations.get(name)

    def backward(dy, x):
        activation.forward(x)
        return {"x": activation.backward(dy)}

    x = normal(np.random.default_rng(0), 3, 4)
    report = check_gradients(activations.get(name).forward, backward, {"x": x}, smooth=False)
    assert report.passed, str(report)


def test_every_call_gives_a_cache_of_its_own():
    one = activations.get("tanh")
    other, copy = activations.get("tanh"), activations.get(one)
    one.forward(np.array([0.0]))
    other.forward(np.array([50.0]))
    copy.forward(np.array([-50.0]))
    np.testing.assert_array_equal(one.backward(np.array([3.0])), [3.0])  # tanh'(0) = 1


def test_an_activation_of_ones_own():
    cube = activations.Activation("cube", lambda x: x**3, lambda dy, y: 3 * np.cbrt(y) ** 2 * dy)
    used = activations.get(cube)
    assert used.name == "cube"
    np.testing.assert_array_equal(used.forward(np.array([2.0])), [8.0])
    np.testing.assert_allclose(used.backward(np.array([10.0])), [120.0])


def test_errors_say_what_to_write():
    with pytest.raises(ValueError, match=r"no activation 'rleu'; write one of linear, relu, tanh, sigmoid, softmax"):
        activations.get("rleu")
    with pytest.raises(ValueError, match="no activation 3"):
        activations.get(3)
    with pytest.raises(TypeError, match=r"no backward pass.*Activation\('name', forward_function"):
        activations.get(np.tanh)
    with pytest.raises(ValueError, match="'relu': call forward before backward"):
        activations.get("relu").backward(np.zeros(3))
    relu = activations.get("relu")
    relu.forward(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"dy has shape \(3,\)"):
        relu.backward(np.zeros(3))
