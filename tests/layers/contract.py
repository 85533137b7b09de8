"""What every layer must do: the checks that all tests of layers share."""

import json

import numpy as np
import pytest

from minivid.gradcheck import check_gradients
from minivid.models import _layer_from_config
from tests.numerics import distinct, normal


def built(make, shape, dtype="float64", seed=0):
    """Make a layer for float64 inputs of a shape, every weight random (a bias of zero hides errors)."""
    layer = make(dtype=dtype)
    layer.build((None, *shape[1:]))
    rng = np.random.default_rng(seed)
    for array in layer.params.values():
        array[...] = rng.normal(size=array.shape) * 0.5
    for array in layer.state.values():
        array[...] = rng.uniform(0.5, 1.5, size=array.shape)
    return layer


def check_layer_gradients(make, shape, training=False, mask=None, x=None, **options):
    """Compare backward with central differences: dx and the gradient of every weight."""
    layer = built(make, shape)
    x = distinct(np.random.default_rng(1), *shape) if x is None else x
    state = {name: array.copy() for name, array in layer.state.items()}

    def forward(x, **params):
        for arrays, values in ((layer.params, params), (layer.state, state)):
            for name, value in values.items():
                arrays[name][...] = value
        return layer.forward(x, training=training, mask=mask)

    def backward(dy, **inputs):
        forward(**inputs)
        layer.zero_grads()
        return {"x": layer.backward(dy), **{name: gradient.copy() for name, gradient in layer.grads.items()}}

    inputs = {"x": x, **{name: array.copy() for name, array in layer.params.items()}}
    report = check_gradients(forward, backward, inputs, smooth=False, **options)
    report.raise_if_failed()
    assert len(report.blocks) == 1 + len(layer.params)


def check_contract(make, shape, any_size=()):
    """Check all that does not depend on what the layer computes.

    ``make(**options)`` makes the layer; ``any_size`` lists axes of the input that may be None.
    """
    rng = np.random.default_rng(2)
    x = normal(rng, *shape)
    layer = built(make, shape)
    y = layer(x)
    dy = normal(rng, *y.shape)

    assert y.dtype == np.float64
    assert layer.output_shape == (None, *y.shape[1:])
    assert layer.input_shape == (None, *shape[1:])
    check_backward_adds(layer, x, dy)
    check_last_forward_counts(make, shape, x, dy)
    check_weights(make, layer, x, y)
    check_dtypes(make, shape, x)
    check_any_size(make, shape, any_size, y.shape)
    check_layouts(layer, x, dy)
    check_config(layer, shape, x, y)
    check_bad_input(layer, make, x)


def check_backward_adds(layer, x, dy):
    layer.forward(x)
    dx = layer.backward(dy)
    assert dx.shape == x.shape
    assert dx.dtype == x.dtype
    assert list(layer.grads) == list(layer.params)
    once = {name: gradient.copy() for name, gradient in layer.grads.items()}
    layer.forward(x)
    layer.backward(dy)
    for name, gradient in layer.grads.items():
        assert gradient.shape == layer.params[name].shape
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(gradient, 2 * once[name], rtol=1e-12, atol=1e-14)
    layer.zero_grads()
    assert all((gradient == 0).all() for gradient in layer.grads.values())


def check_last_forward_counts(make, shape, x, dy):
    """Backward belongs to the last forward, whatever was run before."""
    fresh, used = built(make, shape), built(make, shape)
    fresh.forward(x)
    used.forward(2 * x + 1)
    used.forward(x)
    np.testing.assert_array_equal(used.backward(dy), fresh.backward(dy))
    for name, gradient in fresh.grads.items():
        np.testing.assert_array_equal(used.grads[name], gradient)


def check_weights(make, layer, x, y):
    weights = layer.get_weights()
    assert [w.shape for w in weights] == [a.shape for a in layer.arrays()]
    assert layer.count_params() == sum(w.size for w in weights)
    other = built(make, x.shape, seed=9)
    other.set_weights(weights)
    np.testing.assert_array_equal(other(x), y)
    for w in weights:
        w[...] = np.nan  # copies: neither layer may notice
    np.testing.assert_array_equal(layer(x), y)
    np.testing.assert_array_equal(other(x), y)
    with pytest.raises(ValueError, match=layer.name):
        layer.set_weights([*layer.get_weights(), np.zeros(3)])
    if weights:
        with pytest.raises(ValueError, match=layer.name):
            layer.set_weights([w[..., :-1] for w in layer.get_weights()])
    np.testing.assert_array_equal(layer(x), y)


def check_dtypes(make, shape, x):
    for dtype in ("float32", "float64"):
        layer = make()
        y = layer(x.astype(dtype), training=True)
        dx = layer.backward(np.ones_like(y))
        arrays = [y, dx, *layer.params.values(), *layer.grads.values(), *layer.state.values()]
        assert {a.dtype for a in arrays} == {np.dtype(dtype)}
        assert layer.dtype == dtype
    assert make()(np.ones(shape, dtype=np.uint8)).dtype == np.float32
    layer = make(dtype="float32")
    if layer(x.astype(np.float32)) is not None and layer.params:
        assert layer(x).dtype == np.float32  # the weights decide
    layer = make()
    layer.build((None, *shape[1:]))
    assert all(a.dtype == np.float32 for a in layer.arrays())


def check_any_size(make, shape, any_size, y_shape):
    if not any_size:
        return
    layer = make()
    layer.build(tuple(None if axis in (0, *any_size) else size for axis, size in enumerate(shape)))
    assert len(layer.output_shape) == len(y_shape)
    assert all(size in (None, real) for size, real in zip(layer.output_shape, y_shape, strict=True))
    assert layer(np.ones(shape, dtype=np.float32)).shape == y_shape
    larger = tuple(size + 2 if axis in any_size else size for axis, size in enumerate(shape))
    assert layer(np.ones(larger, dtype=np.float32)).shape[0] == shape[0]


def check_layouts(layer, x, dy):
    """Arrays that are views, with other strides, give the same numbers and are not changed."""
    y, dx = layer.forward(x), layer.backward(dy)
    strided_x, strided_dy = (np.repeat(a, 2, axis=-1)[..., ::2] for a in (x, dy))
    np.testing.assert_array_equal(layer(strided_x), y)
    np.testing.assert_array_equal(layer.backward(strided_dy), dx)
    x_before, dy_before = x.copy(), dy.copy()
    np.testing.assert_array_equal(layer(np.asfortranarray(x)), y)
    np.testing.assert_array_equal(layer.backward(np.asfortranarray(dy)), dx)
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(dy, dy_before)


def check_config(layer, shape, x, y):
    layer.trainable = False
    description = {"class_name": type(layer).__name__, "config": json.loads(json.dumps(layer.get_config()))}
    copy = _layer_from_config(description)
    copy.build(shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x), y)
    assert json.dumps(copy.get_config()) == json.dumps(layer.get_config())
    assert copy.trainable is False
    assert copy.trainable_params == {}
    layer.trainable = True
    assert layer.trainable_params.keys() == layer.params.keys()


def check_bad_input(layer, make, x):
    with pytest.raises(ValueError, match=rf"{layer.name}.*no samples"):
        layer(x[:0])
    with pytest.raises(TypeError, match=rf"{layer.name}.*object"):
        layer(x.astype(object))
    with pytest.raises(TypeError, match=rf"{layer.name}.*complex"):
        layer(x.astype(complex))
    with pytest.raises(ValueError, match=r"my layer.*positive"):
        make(name="my layer").build((None, -1, *x.shape[2:]))
    with pytest.raises(TypeError, match="no argument 'colour'"):
        make(colour="red")
    with pytest.raises(ValueError, match="float32 or float64"):
        make(dtype="float16")
    if layer.params:
        with pytest.raises(ValueError, match=rf"{layer.name}"):
            layer(np.concatenate([x, x], axis=-1))
