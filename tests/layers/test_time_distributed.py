import numpy as np
import pytest

from minivid.layers import LSTM, BatchNormalization, Conv2D, Dense, Dropout, Flatten, MaxPooling2D, TimeDistributed
from minivid.models import Sequential
from tests.layers.contract import check_contract, check_layer_gradients


def small_cnn(**options):
    return Sequential(
        [
            Conv2D(3, (2, 3), activation="tanh", padding="same", **options),
            MaxPooling2D(2),
            BatchNormalization(),
            Flatten(),
            Dense(4, activation="sigmoid"),
        ]
    )


CASES = {
    "conv2d": (lambda **o: TimeDistributed(Conv2D(2, 3, activation="relu"), **o), (2, 3, 5, 6, 2), (1, 2, 3)),
    "dense": (lambda **o: TimeDistributed(Dense(3, activation="softmax"), **o), (2, 4, 5), (1,)),
    "pooling": (lambda **o: TimeDistributed(MaxPooling2D(2), **o), (2, 3, 5, 6, 2), (1, 2, 3)),
    "sequential": (lambda **o: TimeDistributed(small_cnn(), **o), (2, 3, 4, 5, 2), (1,)),
    "nested": (lambda **o: TimeDistributed(TimeDistributed(Dense(3)), **o), (2, 3, 2, 4), (1, 2)),
}


@pytest.mark.parametrize("case", CASES)
def test_gradients(case):
    make, shape, _ = CASES[case]
    check_layer_gradients(make, shape)


def test_gradients_in_training():
    check_layer_gradients(lambda **o: TimeDistributed(small_cnn(), **o), (2, 3, 4, 5, 2), training=True)


@pytest.mark.parametrize("case", CASES)
def test_contract(case):
    make, shape, any_size = CASES[case]
    check_contract(make, shape, any_size)


def test_each_frame_alike():
    layer = TimeDistributed(Conv2D(2, 3))
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6, 1))
    y = layer(x)
    for t in range(3):
        np.testing.assert_array_equal(y[:, t], layer.layer(x[:, t]))


def test_weights_in_keras_order_layer_by_layer():
    layer = TimeDistributed(Sequential([BatchNormalization(), Dense(2)]))
    layer.build((None, None, 3))
    # Keras lists a nested model layer by layer: the moving averages come before the next layer's kernel
    assert [w.shape for w in layer.get_weights()] == [(3,), (3,), (3,), (3,), (3, 2), (2,)]


def test_takes_the_dtype_of_the_layer_inside():
    x = np.ones((2, 3, 4), dtype=np.float32)
    assert TimeDistributed(Dense(2, dtype="float64"))(x).dtype == np.float64
    assert TimeDistributed(Dense(2))(x.astype(np.float64)).dtype == np.float64
    model = Sequential([TimeDistributed(Dense(2, dtype="float64"), input_shape=(3, 4)), Dense(2)])
    assert model.dtype == np.float64
    precise = model(np.full((1, 3, 4), 1 / 3))
    assert (precise != model(np.full((1, 3, 4), np.float32(1 / 3)))).all()  # nothing was cut to float32 on the way


def test_a_trained_layer_keeps_its_weights():
    dense = Dense(2)
    dense(np.ones((1, 4)))
    kernel = dense.params["kernel"].copy()
    layer = TimeDistributed(dense)
    layer(np.ones((2, 3, 4)))
    np.testing.assert_array_equal(layer.params["kernel"], kernel)


def test_freezing():
    cnn = small_cnn()
    cnn.layers[0].trainable = False
    layer = TimeDistributed(cnn)
    layer.build((None, 3, 4, 5, 2))
    assert layer.trainable
    assert not any(name.startswith("conv2d") for name in layer.trainable_params)
    layer.trainable = False
    assert layer.trainable_params == {}
    moving = layer.get_weights()
    layer(np.random.default_rng(0).normal(size=(2, 3, 4, 5, 2)), training=True)
    for before, after in zip(moving, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)  # frozen batch normalisation stays, too
    layer.trainable = True
    assert layer.trainable_params.keys() == layer.params.keys()
    assert not TimeDistributed(Dense(2, name="a"), trainable=False).layer.trainable


def test_freezing_is_saved():
    from minivid.models import _layer_from_config

    cnn = small_cnn()
    cnn.layers[0].trainable = False
    config = {"class_name": "TimeDistributed", "config": TimeDistributed(cnn).get_config()}
    copy = _layer_from_config(config)
    assert [layer.trainable for layer in copy.layer.layers] == [False, True, True, True, True]


def test_need_dx_false():
    layer = TimeDistributed(Conv2D(2, 2))
    y = layer(np.ones((2, 3, 4, 4, 1)))
    assert layer.backward(np.ones_like(y), need_dx=False) is None
    np.testing.assert_array_equal(layer.grads["bias"], [54, 54])  # 2 clips of 3 frames of 3x3 positions


def test_the_mask_passes():
    mask = np.array([[True, False]])
    assert TimeDistributed(Dense(2)).compute_mask(np.ones((1, 2, 3)), mask) is mask


def test_dropout_differs_from_frame_to_frame():
    y = TimeDistributed(Dropout(0.5, seed=0))(np.ones((1, 8, 16)), training=True)
    assert len({tuple(frame) for frame in y[0]}) > 1


def test_errors():
    with pytest.raises(TypeError, match="wraps a layer object or a Sequential model"):
        TimeDistributed(Dense)
    with pytest.raises(TypeError, match="wraps a layer object or a Sequential model"):
        TimeDistributed("dense")
    with pytest.raises(ValueError, match=r"layer 'time_distributed': TimeDistributed takes \(batch, time"):
        TimeDistributed(Dense(2))(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"layer 'conv2d': Conv2D takes .*\(None, 6\)"):
        TimeDistributed(Conv2D(2, 3))(np.ones((2, 3, 6)))
    with pytest.raises(ValueError, match="no layers"):
        TimeDistributed(Sequential([]))(np.ones((2, 3, 4)))


def test_a_recurrent_layer_for_every_window():
    # sequences of sequences: (N, T, t, D) -> (N, T, U)
    check_layer_gradients(lambda **o: TimeDistributed(LSTM(3), **o), (2, 3, 4, 2))


def test_single_images_are_no_clips():
    with pytest.raises(
        ValueError, match=r"takes clips \(batch, time.*got shape \(2, 32, 32, 3\).*clips_from_directory"
    ):
        TimeDistributed(Conv2D(4, 3))(np.zeros((2, 32, 32, 3)))


def test_a_mistake_inside_a_clip_keeps_its_own_message():
    with pytest.raises(ValueError, match="window of 5x5"):
        TimeDistributed(Conv2D(4, 5))(np.zeros((2, 3, 4, 4, 3)))
