import numpy as np
import pytest

import minivid
from minivid import rng


def test_one_seed_one_stream():
    minivid.set_seed(5)
    first = rng.generator().random(4)
    assert (rng.generator().random(4) != first).any()  # the stream goes on
    minivid.set_seed(5)
    np.testing.assert_array_equal(rng.generator().random(4), first)
    np.testing.assert_array_equal(first, np.random.default_rng(5).random(4))
    minivid.set_seed(np.int64(6))
    assert (rng.generator().random(4) != first).any()


@pytest.mark.parametrize("seed", [1.5, "1", None])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(TypeError):
        minivid.set_seed(seed)


def test_a_seed_is_not_negative():
    with pytest.raises(ValueError, match="non-negative"):
        minivid.set_seed(-1)
