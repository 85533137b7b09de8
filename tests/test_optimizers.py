"""Optimizers: every rule against steps worked by hand, and the promises around them."""

import json
import math
import re
from functools import partial
from pathlib import Path

import numba
import numpy as np
import pytest

from minivid import optimizers
from minivid.optimizers import SGD, Adam, AdamW, CosineDecay, ExponentialDecay, RMSprop
from tests import numerics

ROOT = Path(__file__).resolve().parents[1]


def run(optimizer, gradients, start=1.0):
    """The values of one scalar parameter after each step."""
    w, values = np.array([start]), []
    for g in gradients:
        optimizer.step({"w": w}, {"w": np.array([g])})
        values.append(float(w[0]))
    return values


# --- the rules, worked by hand from the published formulas, beginning at w = 1 ---


def test_sgd_moves_against_the_gradient():
    # 1 - 0.1·1 = 0.9, 0.9 - 0.1·2 = 0.7, 0.7 + 0.1·1 = 0.8
    np.testing.assert_allclose(run(SGD(0.1), [1.0, 2.0, -1.0]), [0.9, 0.7, 0.8], rtol=1e-14)


def test_sgd_momentum():
    # m: -0.1, 0.9·(-0.1) - 0.2 = -0.29, 0.9·(-0.29) + 0.1 = -0.161;  w: 0.9, 0.61, 0.449
    np.testing.assert_allclose(run(SGD(0.1, momentum=0.9), [1.0, 2.0, -1.0]), [0.9, 0.61, 0.449], rtol=1e-14)


def test_sgd_nesterov():
    # m as above;  w: 1 - 0.09 - 0.1 = 0.81, 0.81 - 0.261 - 0.2 = 0.349, 0.349 - 0.1449 + 0.1 = 0.3041
    optimizer = SGD(0.1, momentum=0.9, nesterov=True)
    np.testing.assert_allclose(run(optimizer, [1.0, 2.0, -1.0]), [0.81, 0.349, 0.3041], rtol=1e-14)


def test_rmsprop():
    # v: 0.25·16 = 4, 0.75·4 + 0.25·4 = 4, 4;  √(v + 5) = 3;  u: 0.3·4/3 = 0.4, 0.3·2/3 = 0.2, -0.2
    optimizer = RMSprop(0.3, rho=0.75, epsilon=5.0)
    np.testing.assert_allclose(run(optimizer, [4.0, 2.0, -2.0]), [0.6, 0.4, 0.6], rtol=1e-14)


def test_rmsprop_momentum():
    # u as above;  m: 0.4, 0.2 + 0.2 = 0.4, 0.2 - 0.2 = 0
    optimizer = RMSprop(0.3, rho=0.75, momentum=0.5, epsilon=5.0)
    np.testing.assert_allclose(run(optimizer, [4.0, 2.0, -2.0]), [0.6, 0.2, 0.2], rtol=1e-14)


def test_rmsprop_centered():
    # v: 4, 4;  a: 0.25·4 = 1, 0.75·1 + 0.25·2 = 1.25;  v - a² + 5: 8, 4 - 1.5625 + 5 = 7.4375
    first = 1.0 - 0.3 * 4.0 / math.sqrt(8.0)
    second = first - 0.3 * 2.0 / math.sqrt(7.4375)
    optimizer = RMSprop(0.3, rho=0.75, epsilon=5.0, centered=True)
    np.testing.assert_allclose(run(optimizer, [4.0, 2.0]), [first, second], rtol=1e-14)


def test_rmsprop_centered_survives_rounding():
    # Under a constant gradient v = a² in the end, and float32 rounding of 1e8 dwarfs epsilon.
    w = np.zeros(64, dtype=np.float32)
    optimizer = RMSprop(centered=True)
    g = np.linspace(1e3, 1e4, 64, dtype=np.float32)
    for _ in range(400):
        optimizer.step({"w": w}, {"w": g})
    assert np.isfinite(w).all()


def test_rmsprop_of_the_keras_documentation():
    # keras.optimizers.RMSprop's docstring: learning rate 0.1, one step from 10 under the gradient 10.
    np.testing.assert_allclose(run(RMSprop(0.1), [10.0], start=10.0), [9.683772], atol=5e-7)


def test_adam():
    # m: 2, 1 + 1 = 2, 1 - 2 = -1;  v: 0.25·16 = 4, 3 + 1 = 4, 3 + 4 = 7;  ε = 1
    # α: 0.3·√0.25/0.5 = 0.3, 0.3·√(1 - 0.5625)/0.75, 0.3·√(1 - 0.421875)/0.875
    first = 1.0 - 0.3 * 2.0 / (2.0 + 1.0)
    second = first - 0.3 * math.sqrt(0.4375) / 0.75 * 2.0 / (2.0 + 1.0)
    third = second + 0.3 * math.sqrt(0.578125) / 0.875 * 1.0 / (math.sqrt(7.0) + 1.0)
    optimizer = Adam(0.3, beta_1=0.5, beta_2=0.75, epsilon=1.0)
    np.testing.assert_allclose(run(optimizer, [4.0, 2.0, -4.0]), [first, second, third], rtol=1e-14)


def test_adam_amsgrad_keeps_the_largest_denominator():
    # m: 2, 1;  v: 4, 3 but v̂: 4, 4
    first = 1.0 - 0.3 * 2.0 / (2.0 + 1.0)
    second = first - 0.3 * math.sqrt(0.4375) / 0.75 * 1.0 / (2.0 + 1.0)
    optimizer = Adam(0.3, beta_1=0.5, beta_2=0.75, epsilon=1.0, amsgrad=True)
    np.testing.assert_allclose(run(optimizer, [4.0, 0.0]), [first, second], rtol=1e-14)


def test_adam_first_step_has_the_size_of_the_learning_rate():
    # α m / √v = 0.001·√0.001/0.1 · 0.1 g / (√0.001 |g|) = 0.001 sign(g)
    np.testing.assert_allclose(run(Adam(), [1e3]), [1.0 - 0.001], rtol=1e-9)


def test_adamw_decays_beside_the_gradient():
    # decay first: 1·(1 - 0.3·0.5) = 0.85, then Adam's 0.2 as above
    optimizer = AdamW(0.3, weight_decay=0.5, beta_1=0.5, beta_2=0.75, epsilon=1.0)
    np.testing.assert_allclose(run(optimizer, [4.0]), [0.65], rtol=1e-14)


def test_weight_decay_of_the_others():
    # 1·(1 - 0.1·0.5) - 0.1·2 = 0.75
    np.testing.assert_allclose(run(SGD(0.1, weight_decay=0.5), [2.0]), [0.75], rtol=1e-14)


def test_defaults_are_those_of_keras():
    assert SGD().get_config() == {
        "learning_rate": 0.01,
        "momentum": 0.0,
        "nesterov": False,
        "weight_decay": None,
        "clipnorm": None,
        "clipvalue": None,
        "global_clipnorm": None,
    }
    rmsprop, adam, adamw = RMSprop().get_config(), Adam().get_config(), AdamW().get_config()
    assert (rmsprop["learning_rate"], rmsprop["rho"], rmsprop["epsilon"]) == (0.001, 0.9, 1e-7)
    assert (adam["learning_rate"], adam["beta_1"], adam["beta_2"], adam["epsilon"]) == (0.001, 0.9, 0.999, 1e-7)
    assert (adam["weight_decay"], adamw["weight_decay"], adamw["learning_rate"]) == (None, 0.004, 0.001)


# --- clipping ---


def gradients_3_4():
    """Two gradients of norms 3 and 4, so 5 together."""
    return {"a": np.array([3.0, 0.0]), "b": np.array([[0.0], [-4.0]])}


@pytest.mark.parametrize(
    ("clip", "a", "b"),
    [
        ({"clipvalue": 3.5}, 3.0, -3.5),
        ({"clipvalue": 1.0}, 1.0, -1.0),
        ({"clipnorm": 3.5}, 3.0, -3.5),
        ({"clipnorm": 1.0}, 1.0, -1.0),
        ({"global_clipnorm": 1.0}, 0.6, -0.8),
        ({"global_clipnorm": 5.5}, 3.0, -4.0),
    ],
)
def test_clipping(clip, a, b):
    params, grads = {"a": np.zeros(2), "b": np.zeros((2, 1))}, gradients_3_4()
    SGD(1.0, **clip).step(params, grads)
    np.testing.assert_allclose(params["a"], [-a, 0.0], rtol=1e-14)
    np.testing.assert_allclose(params["b"], [[0.0], [-b]], rtol=1e-14)
    for name, g in gradients_3_4().items():
        np.testing.assert_array_equal(grads[name], g)


def test_clipnorm_keeps_the_direction_where_clipvalue_does_not():
    g = {"w": np.array([3.0, 4.0])}
    by_norm, by_value = {"w": np.zeros(2)}, {"w": np.zeros(2)}
    SGD(1.0, clipnorm=1.0).step(by_norm, g)
    SGD(1.0, clipvalue=1.0).step(by_value, g)
    np.testing.assert_allclose(by_norm["w"], [-0.6, -0.8], rtol=1e-14)
    np.testing.assert_allclose(by_value["w"], [-1.0, -1.0], rtol=1e-14)


def test_the_norm_of_huge_float32_gradients_does_not_overflow():
    params = {"w": np.zeros(2, dtype=np.float32)}
    SGD(1.0, global_clipnorm=1.0).step(params, {"w": np.array([3e30, 4e30], dtype=np.float32)})
    np.testing.assert_allclose(params["w"], [-0.6, -0.8], rtol=1e-6)


def test_a_nan_gradient_is_not_hidden_by_clipping():
    params = {"w": np.zeros(2)}
    SGD(1.0, clipnorm=1.0).step(params, {"w": np.array([np.nan, 1.0])})
    assert np.isnan(params["w"][0])


def test_only_one_clipping():
    with pytest.raises(ValueError, match="only one of clipnorm, clipvalue and global_clipnorm"):
        SGD(clipnorm=1.0, clipvalue=1.0)


# --- state ---

EVERY_KIND = [
    lambda: SGD(0.05),
    lambda: SGD(0.05, momentum=0.9, nesterov=True),
    lambda: RMSprop(0.01, momentum=0.5, centered=True),
    lambda: Adam(0.01, amsgrad=True, global_clipnorm=0.5),
    lambda: AdamW(CosineDecay(0.01, decay_steps=5)),
]


@pytest.mark.parametrize("make", EVERY_KIND)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_restored_optimizer_continues_bit_for_bit(make, dtype):
    rng = np.random.default_rng(0)
    start = {"lstm/kernel": rng.normal(size=(3, 8)), "lstm/bias": rng.normal(size=8)}
    start = {name: w.astype(dtype) for name, w in start.items()}
    gradients = [{name: rng.normal(size=w.shape).astype(dtype) for name, w in start.items()} for _ in range(6)]

    whole, optimizer = {name: w.copy() for name, w in start.items()}, make()
    for g in gradients:
        optimizer.step(whole, g)

    split, first = {name: w.copy() for name, w in start.items()}, make()
    for g in gradients[:3]:
        first.step(split, g)
    saved = first.state()
    config = json.loads(json.dumps(optimizers.serialize(first)))
    first.step(split | {name: w.copy() for name, w in split.items()}, gradients[3])  # must not reach into `saved`
    second = optimizers.get(config)
    second.load_state(saved)
    for g in gradients[3:]:
        second.step(split, g)

    assert second.iterations == 6
    for name in start:
        assert whole[name].dtype == dtype
        np.testing.assert_array_equal(split[name], whole[name])


def test_slots_are_named_shaped_and_typed_like_the_parameters():
    params = {"lstm/kernel": np.ones((2, 3), dtype=np.float32)}
    optimizer = Adam()
    optimizer.step(params, {"lstm/kernel": np.ones((2, 3), dtype=np.float32)})
    assert set(optimizer.slots) == {"lstm/kernel/m", "lstm/kernel/v"}
    assert all(slot.shape == (2, 3) and slot.dtype == np.float32 for slot in optimizer.slots.values())


@pytest.mark.parametrize("make", EVERY_KIND)
def test_parameters_change_in_place_and_gradients_do_not(make):
    rng = np.random.default_rng(1)
    big = rng.normal(size=(4, 6))
    w, g = big[:, ::2], rng.normal(size=(4, 3))  # a view: its owner must see the change
    before, g_before = big.copy(), g.copy()
    optimizer = make()
    for _ in range(2):
        optimizer.step({"w": w}, {"w": g})
    assert (big[:, ::2] != before[:, ::2]).all()
    np.testing.assert_array_equal(big[:, 1::2], before[:, 1::2])
    np.testing.assert_array_equal(g, g_before)


def test_load_state_refuses_the_state_of_another_optimizer():
    optimizer = Adam()
    optimizer.step({"w": np.ones(2)}, {"w": np.ones(2)})
    with pytest.raises(ValueError, match=r"'w/v' is no slot of SGD, whose slots are 'm'"):
        SGD(momentum=0.9).load_state(optimizer.state())
    with pytest.raises(ValueError, match="needs 'iterations'"):
        Adam().load_state({})
    with pytest.raises(ValueError, match="needs 'iterations'"):
        Adam().load_state({"iterations": np.array(-1)})


# --- learning rate and schedules ---


def test_learning_rate_can_be_set():
    optimizer = SGD(0.1)
    optimizer.learning_rate = 0.5
    assert run(optimizer, [1.0]) == [0.5]


def test_a_schedule_is_asked_with_the_number_of_finished_steps():
    # 1 - 0.5·1, then - 0.25·1
    optimizer = SGD(lambda step: [0.5, 0.25][step])
    assert run(optimizer, [1.0, 1.0]) == [0.5, 0.25]


def test_a_schedule_cannot_be_overruled_by_a_number():
    optimizer = SGD(CosineDecay(0.1, 10))
    with pytest.raises(TypeError, match=r"follows the schedule CosineDecay .* SGD\(learning_rate=0.1\)"):
        optimizer.learning_rate = 0.5
    optimizer.learning_rate = ExponentialDecay(0.2, 10, 0.5)
    assert optimizer.learning_rate == 0.2


def test_exponential_decay():
    schedule = ExponentialDecay(0.1, decay_steps=10, decay_rate=0.25)
    # 0.1·0.25^0.5 = 0.05, 0.1·0.25^2 = 0.00625
    np.testing.assert_allclose([schedule(0), schedule(5), schedule(20)], [0.1, 0.05, 0.00625], rtol=1e-14)
    stairs = ExponentialDecay(0.1, decay_steps=10, decay_rate=0.25, staircase=True)
    np.testing.assert_allclose([stairs(9), stairs(10), stairs(19)], [0.1, 0.025, 0.025], rtol=1e-14)


def test_cosine_decay():
    schedule = CosineDecay(0.1, decay_steps=90, alpha=0.2)
    # a third of the way cos(π/3) = 1/2: 0.1·(0.2 + 0.8·0.75) = 0.08; two thirds: 0.1·(0.2 + 0.8·0.25) = 0.04
    expected = [0.1, 0.08, 0.04, 0.02, 0.02]
    np.testing.assert_allclose([schedule(s) for s in (0, 30, 60, 90, 1000)], expected, rtol=1e-13)


def test_cosine_decay_with_warmup():
    schedule = CosineDecay(0.0, decay_steps=90, warmup_target=0.4, warmup_steps=10)
    # up: 0.4·5/10; the top at step 10; a third of the decay later 0.4·0.75
    expected = [0.0, 0.2, 0.4, 0.3, 0.0]
    np.testing.assert_allclose([schedule(s) for s in (0, 5, 10, 40, 100)], expected, atol=1e-15)


def test_schedules_survive_serialisation():
    optimizer = RMSprop(CosineDecay(0.0, 90, warmup_target=0.4, warmup_steps=10), rho=0.8)
    again = optimizers.get(json.loads(json.dumps(optimizers.serialize(optimizer))))
    optimizer.iterations = again.iterations = 5
    assert again.learning_rate == optimizer.learning_rate == 0.2
    assert again.rho == 0.8


def test_a_function_as_schedule_is_saved_as_its_present_value():
    optimizer = SGD(lambda step: 0.5)
    with pytest.warns(UserWarning, match="cannot be written to a file; its present value 0.5"):
        config = optimizer.get_config()
    assert SGD.from_config(config).learning_rate == 0.5


def test_a_schedule_must_return_a_rate():
    with pytest.raises(ValueError, match=r"<lambda> returns at step 0 must be a finite number >= 0, got nan"):
        run(SGD(lambda step: math.nan), [1.0])


# --- names and errors ---


@pytest.mark.parametrize(("name", "cls"), [("sgd", SGD), ("rmsprop", RMSprop), ("Adam", Adam), ("AdamW", AdamW)])
def test_get_by_name(name, cls):
    assert type(optimizers.get(name)) is cls


def test_get_passes_an_optimizer_through():
    optimizer = SGD(0.5)
    assert optimizers.get(optimizer) is optimizer


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ("adamm", ValueError, "there is no optimizer 'adamm'; there are 'adam', 'adamw', 'rmsprop', 'sgd'"),
        (Adam, TypeError, r"an object such as Adam\(learning_rate=0.001\)"),
        ({"class_name": "os.system", "config": {}}, ValueError, "expected a saved optimizer of class"),
        ({"class_name": "Adam", "config": {"speed": 3}}, ValueError, "the saved optimizer Adam cannot be made"),
        ({"class_name": "Adam", "config": {"learning_rate": {}}}, ValueError, "saved learning-rate schedule"),
    ],
)
def test_get_names_what_exists(wanted, error, message):
    with pytest.raises(error, match=message):
        optimizers.get(wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(0.0), "learning_rate must be a finite number > 0, got 0.0"),
        (lambda: SGD(-1), "learning_rate must be a finite number > 0"),
        (lambda: SGD(math.nan), "learning_rate must be a finite number > 0, got nan"),
        (lambda: SGD("fast"), "learning_rate must be a finite number > 0, got 'fast'"),
        (lambda: SGD(momentum=1.0), r"momentum must be a number in \[0, 1\), got 1.0"),
        (lambda: RMSprop(rho=-0.1), r"rho must be a number in \[0, 1\)"),
        (lambda: Adam(beta_2=1.5), r"beta_2 must be a number in \[0, 1\)"),
        (lambda: Adam(epsilon=0.0), "epsilon must be a finite number > 0"),
        (lambda: AdamW(weight_decay=None), "AdamW needs a number for weight_decay"),
        (lambda: SGD(weight_decay=-1.0), "weight_decay must be a finite number >= 0"),
        (lambda: SGD(clipnorm=0.0), "clipnorm must be a finite number > 0"),
        (lambda: CosineDecay(0.1, 0), "decay_steps must be a finite number > 0"),
        (lambda: ExponentialDecay(0.1, 10, -1.0), "decay_rate must be a finite number > 0"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({}, "without gradient: 'w'; without parameter: none"),
        ({"w": np.ones(2), "v": np.ones(2)}, "without gradient: none; without parameter: 'v'"),
        ({"w": np.ones(3)}, r"gradient of 'w' must be float64 of shape \(2,\) like the parameter, got .* \(3,\)"),
        ({"w": np.ones(2, dtype=np.float32)}, "got float32"),
    ],
)
def test_gradients_must_fit_the_parameters(grads, message):
    params, optimizer = {"w": np.ones(2)}, SGD()
    with pytest.raises(ValueError, match=message):
        optimizer.step(params, grads)
    np.testing.assert_array_equal(params["w"], 1.0)
    assert optimizer.iterations == 0


def test_integer_parameters_are_refused():
    with pytest.raises(ValueError, match="'w' must be float32 or float64, got int64"):
        SGD().step({"w": np.ones(2, dtype=np.int64)}, {"w": np.ones(2, dtype=np.int64)})


def test_an_optimizer_does_not_serve_two_models():
    optimizer = Adam()
    optimizer.step({"w": np.ones(2)}, {"w": np.ones(2)})
    with pytest.raises(ValueError, match="use a new optimizer for another model"):
        optimizer.step({"w": np.ones(3)}, {"w": np.ones(3)})


def test_code_and_documentation_have_the_same_equations():
    code = (ROOT / "minivid" / "optimizers.py").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
    comments = "".join(line.partition("#")[2] for line in code.splitlines())
    tag = r"[a-z]+\.\d"
    assert set(re.findall(rf"\(({tag})\)", comments)) == set(re.findall(rf"\\tag{{({tag})}}", page))


def trained(name, make, start, steps):
    """Return the parameter, and the slots in order of their names, after steps with one implementation."""

    def train(start, steps):
        w, optimizer = start.copy(), make()
        for g in steps:
            optimizer.step({"w": w}, {"w": g})
        return [w, *(optimizer.slots[key] for key in sorted(optimizer.slots))]

    return numerics.run(name, train, start, steps)


RULES = {
    "sgd": lambda: SGD(0.1),
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: RMSprop(0.1),
    "rmsprop with everything": lambda: RMSprop(0.1, momentum=0.5, centered=True, epsilon=1e-3),
    "adam": lambda: Adam(0.1),
    "amsgrad": lambda: Adam(0.1, amsgrad=True),
    "adamw": lambda: AdamW(0.1),
}


@pytest.mark.parametrize("name", numerics.kernels(optimizers._adam))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
def test_kernels_update_as_the_equations(rule, dtype, name):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(31, 21)).astype(dtype)  # several blocks, the last not full
    steps = [rng.normal(size=start.shape).astype(dtype) * 10.0**-step for step in range(4)]
    for expected, found in zip(*(trained(n, RULES[rule], start, steps) for n in ("reference", name)), strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=8 * np.finfo(dtype).eps * np.abs(expected).max())


@pytest.mark.parametrize("name", numerics.kernels(optimizers._adam))
def test_kernels_let_nan_through(name):
    start, g = np.ones(3), np.array([1.0, np.nan, 1.0])
    for make in RULES.values():
        np.testing.assert_array_equal(np.isnan(trained(name, make, start, [g])[0]), [False, True, False])


@pytest.mark.parametrize("name", numerics.kernels(optimizers._adam))
def test_arrays_that_no_kernel_takes_are_updated_too(name):
    big, g = np.ones((4, 6)), np.ones((4, 3))

    def step(big, g):
        for make in RULES.values():
            make().step({"w": big[:, ::2]}, {"w": g})
        return big

    assert (numerics.run(name, step, big, g)[:, ::2] < 1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_in_one_pass_is_adam(dtype, amsgrad):
    rng = np.random.default_rng(0)
    start = rng.normal(size=(300, 211)).astype(dtype)  # not a multiple of a thread's chunk
    steps = [rng.normal(size=start.shape).astype(dtype) * 10.0**-step for step in range(4)]
    make = partial(Adam, learning_rate=0.1, amsgrad=amsgrad)
    results = [trained(name, make, start, steps) for name in ("reference", "cpu")]
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=4 * np.finfo(dtype).eps * np.abs(expected).max())
    turned = start.T.copy().T  # no row-by-row layout
    optimizer = make()
    for g in steps:
        optimizer.step({"w": turned}, {"w": g})
    np.testing.assert_array_equal(turned, results[0][0])


def test_adam_has_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(0)
    start, g = rng.normal(size=(2, 40_001)).astype(np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            w, optimizer = start.copy(), Adam()
            for _ in range(3):
                optimizer.step({"w": w}, {"w": g})
            results.append(w)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(*results)
