"""What the tests of SimpleRNN, LSTM and GRU share."""

import numpy as np
import pytest

from tests.layers.contract import built, check_contract, check_layer_gradients

SHAPE = (3, 5, 4)
MASK = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]], dtype=bool)
OPTIONS = [
    {},
    {"return_sequences": True},
    {"go_backwards": True},
    {"return_sequences": True, "go_backwards": True, "use_bias": False},
]


def check_recurrent(cls, options):
    check_contract(lambda **o: cls(3, **options, **o), SHAPE, any_size=(1,))
    for mask in (None, MASK):
        check_layer_gradients(lambda **o: cls(3, **options, **o), SHAPE, mask=mask)


def check_states(cls, state_names):
    """Gradients through return_state and initial_state: outputs and inputs are tuples."""
    rng = np.random.default_rng(0)
    layer = built(lambda **o: cls(3, return_sequences=True, return_state=True, **o), SHAPE)
    x, initial = rng.normal(size=SHAPE), [rng.normal(size=(3, 3)) for _ in state_names]
    y, *last = layer(x, initial_state=initial, mask=MASK)
    assert len(last) == len(state_names)
    np.testing.assert_array_equal(last[0], y[:, -1])

    dy = [rng.normal(size=a.shape) for a in (y, *last)]

    def loss(x, initial):
        return sum((d * a).sum() for d, a in zip(dy, layer.forward(x, mask=MASK, initial_state=initial), strict=True))

    dx = layer.backward(tuple(dy))
    h = 1e-6
    v = rng.normal(size=x.shape)
    slope = (loss(x + h * v, initial) - loss(x - h * v, initial)) / (2 * h)
    np.testing.assert_allclose((dx * v).sum(), slope, rtol=1e-7)
    for slot in range(len(initial)):
        v = rng.normal(size=(3, 3))
        ahead, behind = ([s + (i == slot) * sign * h * v for i, s in enumerate(initial)] for sign in (1, -1))
        slope = (loss(x, ahead) - loss(x, behind)) / (2 * h)
        layer.forward(x, mask=MASK, initial_state=initial)
        layer.backward(tuple(dy))
        np.testing.assert_allclose((layer.dinitial[slot] * v).sum(), slope, rtol=1e-7)

    # what was not used has no gradient: None is zero
    zeros = tuple(None if i else np.zeros_like(y) for i in range(len(dy)))
    assert not layer.backward(zeros).any()


def check_state_halves(cls):
    """A sequence in one piece, in two pieces with initial_state, and in two batches of a stateful layer."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=SHAPE)
    make = lambda **o: cls(3, return_sequences=True, **o)  # noqa: E731
    whole = built(make, SHAPE)(x)
    pieces = built(lambda **o: make(return_state=True, **o), SHAPE)
    first, *state = pieces(x[:, :2])
    second, *_ = pieces(x[:, 2:], initial_state=state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, rtol=1e-13)

    stateful = built(lambda **o: make(stateful=True, **o), SHAPE)
    for _ in range(2):
        halves = [stateful(x[:, :2]), stateful(x[:, 2:])]
        np.testing.assert_allclose(np.concatenate(halves, axis=1), whole, rtol=1e-13)
        stateful.reset_states()
    stateful(x)
    with pytest.raises(
        ValueError, match=r"is stateful: the batch before had 3 sequences, this one 2.*reset_states\(\)"
    ):
        stateful(x[:2])
    zeros = [np.zeros((2, 3))] * len(state)
    np.testing.assert_allclose(stateful(x[:2], initial_state=zeros), whole[:2], rtol=1e-13)  # given ones come first


def check_masked_steps(cls):
    """A masked step repeats the output before, does not see its input, and gets no gradient."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=SHAPE)
    layer = built(lambda **o: cls(3, return_sequences=True, **o), SHAPE)
    y = layer(x, mask=MASK)
    np.testing.assert_array_equal(y[0, 3], y[0, 2])
    np.testing.assert_array_equal(y[0, 4], y[0, 2])
    np.testing.assert_array_equal(y[1, 0], np.zeros(3))  # before the first real step: the initial state
    np.testing.assert_array_equal(y[1, 3], y[1, 2])
    dx = layer.backward(rng.normal(size=y.shape))
    assert not dx[~MASK].any()
    assert dx[MASK].all()
    other = np.where(MASK[..., None], x, 99.0)
    np.testing.assert_array_equal(layer(other, mask=MASK), y)
    np.testing.assert_allclose(y[1, [1, 2, 4]], layer(x[1:2, [1, 2, 4]])[0], rtol=1e-13)  # as if they were not there


def check_go_backwards(cls):
    """Keras: the sequence is read from its end, and the output is in reading order, not turned back."""
    x = np.random.default_rng(0).normal(size=SHAPE)
    forwards = built(lambda **o: cls(3, return_sequences=True, **o), SHAPE)
    backwards = built(lambda **o: cls(3, return_sequences=True, go_backwards=True, **o), SHAPE)
    np.testing.assert_array_equal(backwards(x), forwards(x[:, ::-1]))
    # padding at the end comes first then, and the mask of the output in the same order
    np.testing.assert_array_equal(backwards.compute_mask(x, MASK), MASK[:, ::-1])
    y = backwards(x, mask=MASK)
    np.testing.assert_array_equal(y[0, :2], np.zeros((2, 3)))
    np.testing.assert_allclose(y[0, 2:], forwards(x[:1, 2::-1])[0], rtol=1e-13)


def check_errors(cls, name, states):
    with pytest.raises(
        ValueError, match=rf"layer '{name}'.*\(batch, time, features\).*TimeDistributed\(Conv2D.*{cls.__name__}"
    ):
        cls(3)(np.ones((2, 3, 8, 8, 1)))
    with pytest.raises(ValueError, match=rf"layer '{name}'.*\(batch, time, features\).*return_sequences=True"):
        cls(3)(np.ones((2, 3)))
    with pytest.raises(ValueError, match=f"layer '{name}': units must be a positive int, got -1"):
        cls(-1)
    with pytest.raises(ValueError, match=rf"layer '{name}': mask has shape \(3, 4\), expected \(3, 5\)"):
        cls(3)(np.ones(SHAPE), mask=np.ones((3, 4), dtype=bool))
    with pytest.raises(ValueError, match=rf"layer '{name}': initial_state takes {states} of shape \(3, 6\)"):
        cls(6)(np.ones(SHAPE), initial_state=[np.ones((3, 5))])
    with pytest.raises(ValueError, match=f"layer '{name}': call forward before backward"):
        cls(3).backward(np.ones((3, 3)))
    layer = cls(3)
    layer(np.ones(SHAPE))
    with pytest.raises(ValueError, match=rf"layer '{name}': the output has shape \(3, 3\), but dy \(3,\)"):
        layer.backward(np.ones(3))
