"""Initializers: bounds, variances, fans and determinism, worked from the published rules."""

import json
import math

import numpy as np
import pytest

import minivid
from minivid import initializers
from minivid.initializers import (
    Constant,
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LecunNormal,
    LecunUniform,
    Ones,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    Zeros,
)

DENSE, CONV = (200, 300), (3, 5, 40, 60)  # fans 200 and 300; 15·40 = 600 and 15·60 = 900


@pytest.mark.parametrize(("initializer", "value"), [(Zeros(), 0.0), (Ones(), 1.0), (Constant(-2.5), -2.5)])
def test_constants(initializer, value):
    np.testing.assert_array_equal(initializer((2, 3)), np.full((2, 3), value, dtype=np.float32))


@pytest.mark.parametrize(
    ("cls", "shape", "limit"),
    [
        (GlorotUniform, DENSE, math.sqrt(6 / (200 + 300))),
        (GlorotUniform, CONV, math.sqrt(6 / (600 + 900))),
        (HeUniform, DENSE, math.sqrt(6 / 200)),
        (HeUniform, CONV, math.sqrt(6 / 600)),
        (LecunUniform, DENSE, math.sqrt(3 / 200)),
        (LecunUniform, CONV, math.sqrt(3 / 600)),
        (RandomUniform, DENSE, 0.05),
    ],
)
def test_uniform_limits(cls, shape, limit):
    values = cls(seed=0)(shape, "float64")
    assert abs(values).max() <= limit
    # The largest of 60,000 or 36,000 falls short by 0.03 % at most in all but e^-10 of the draws.
    assert values.max() > 0.999 * limit
    assert values.min() < -0.999 * limit
    assert abs(values.mean()) < 0.02 * limit


@pytest.mark.parametrize(
    ("cls", "shape", "stddev"),
    [
        (GlorotNormal, DENSE, math.sqrt(2 / (200 + 300))),
        (GlorotNormal, CONV, math.sqrt(2 / (600 + 900))),
        (HeNormal, DENSE, math.sqrt(2 / 200)),
        (HeNormal, CONV, math.sqrt(2 / 600)),
        (LecunNormal, DENSE, math.sqrt(1 / 200)),
        (LecunNormal, CONV, math.sqrt(1 / 600)),
    ],
)
def test_truncated_normals_have_their_deviation_after_the_truncation(cls, shape, stddev):
    values = cls(seed=0)(shape, "float64")
    np.testing.assert_allclose(values.std(), stddev, rtol=0.02)
    # A standard normal cut at ±2 has the deviation 0.8796, so these are cut at ±2/0.8796 = ±2.2737 of their own.
    assert 2.2 * stddev < abs(values).max() <= 2.2738 * stddev


def test_truncated_normal_is_cut_at_two_deviations():
    values = TruncatedNormal(mean=1.0, stddev=0.5, seed=0)(DENSE, "float64")
    assert 0.0 <= values.min() < 0.01
    assert 1.99 < values.max() <= 2.0
    np.testing.assert_allclose(values.std(), 0.5 * 0.87962566, rtol=0.02)


def test_random_normal():
    values = RandomNormal(mean=3.0, stddev=0.5, seed=0)(DENSE, "float64")
    np.testing.assert_allclose([values.mean(), values.std()], [3.0, 0.5], rtol=0.02)
    assert abs(values - 3.0).max() > 1.5  # no truncation: some of 60,000 lie beyond three deviations


def test_variance_scaling_by_fan_out():
    values = VarianceScaling(3.0, "fan_out", "untruncated_normal", seed=0)(CONV, "float64")
    np.testing.assert_allclose(values.std(), math.sqrt(3 / 900), rtol=0.02)


@pytest.mark.parametrize("shape", [(64, 64), (64, 256), (256, 64), (3, 3, 8, 16)])
def test_orthogonal(shape):
    q = Orthogonal(seed=0)(shape, "float64").reshape(-1, shape[-1])
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-13)


def test_orthogonal_gain():
    q = Orthogonal(gain=3.0, seed=0)((5, 5), "float64")
    np.testing.assert_allclose(q.T @ q, 9.0 * np.eye(5), atol=1e-13)


def test_orthogonal_has_no_preferred_sign():
    # Without the sign fix LAPACK's Q has a negative first entry always.
    firsts = [Orthogonal(seed=seed)((4, 4))[0, 0] for seed in range(40)]
    assert 8 <= sum(first > 0 for first in firsts) <= 32


def test_orthogonal_of_a_vector():
    with pytest.raises(ValueError, match=r"at least two sizes, got \(3,\)"):
        Orthogonal()((3,))


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "orthogonal", "random_normal", "random_uniform"])
def test_draws_come_from_the_library_wide_seed(name):
    initializer = initializers.get(name)
    minivid.set_seed(7)
    first, second = initializer((4, 5)), initializer((4, 5))
    minivid.set_seed(7)
    np.testing.assert_array_equal(initializer((4, 5)), first)
    assert (first != second).any()


def test_a_seed_of_its_own_gives_the_same_values_every_time():
    initializer = HeNormal(seed=3)
    np.testing.assert_array_equal(initializer((4, 5)), initializer((4, 5)))
    assert (initializer((4, 5)) != HeNormal(seed=4)((4, 5))).any()


def test_rng_is_drawn_from():
    expected = np.random.default_rng(5).uniform(-0.05, 0.05, (2, 3))
    np.testing.assert_array_equal(RandomUniform()((2, 3), "float64", rng=np.random.default_rng(5)), expected)


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "orthogonal"])
def test_float32_and_float64_start_alike(name):
    minivid.set_seed(11)
    single = initializers.get(name)((6, 7), "float32")
    minivid.set_seed(11)
    double = initializers.get(name)((6, 7), "float64")
    assert (single.dtype, double.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_every_name_and_every_configuration_goes_round():
    for name, cls in initializers.INITIALIZERS.items():
        initializer = initializers.get(name)
        assert type(initializer) is cls
        config = json.loads(json.dumps(initializers.serialize(initializer)))
        assert initializers.get(config).get_config() == initializer.get_config()
    assert initializers.get(initializers.serialize(RandomNormal(1.0, 2.0, seed=3))).get_config() == {
        "mean": 1.0,
        "stddev": 2.0,
        "seed": 3,
    }


def test_get_passes_an_initializer_through():
    initializer = HeNormal()
    assert initializers.get(initializer) is initializer


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ("glorot", ValueError, "there is no initializer 'glorot'; there are .*'glorot_uniform'"),
        (GlorotUniform, TypeError, r"an object such as GlorotUniform\(seed=0\)"),
        ({"class_name": "eval", "config": {}}, ValueError, "expected a saved initializer of class"),
        ({"class_name": "HeNormal", "config": {"a": 1}}, ValueError, "saved initializer HeNormal cannot be made"),
    ],
)
def test_get_names_what_exists(wanted, error, message):
    with pytest.raises(error, match=message):
        initializers.get(wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GlorotUniform(seed=-1), "seed must be an integer >= 0 or None, got -1"),
        (lambda: RandomNormal(stddev=-1.0), "stddev must be a finite number >= 0"),
        (lambda: RandomUniform(1.0, 0.0), "minval must be <= maxval"),
        (lambda: VarianceScaling(0.0), "scale must be a finite number > 0"),
        (lambda: VarianceScaling(mode="fan"), "mode must be 'fan_in', 'fan_out' or 'fan_avg'"),
        (lambda: VarianceScaling(distribution="cauchy"), "distribution must be"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_subclass_must_draw():
    with pytest.raises(NotImplementedError, match="Initializer must implement draw"):
        Initializer()((2,))
