import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minivid
from minivid import ops
from minivid.ops import recurrent
from minivid.ops.recurrent import Grid, add_product, backward_grid, contiguous, forward_grid, previous
from minivid.ops.tile import packed
from tests.numerics import DTYPES, assert_close, implementations, normal, run
from tests.strategies import seeds

SLOTS = {"simple_rnn": 1, "gru": 3, "lstm": 4}
sizes = st.tuples(st.integers(0, 21), st.integers(1, 3), st.integers(1, 5), st.integers(1, 40))


def draw_arrays(op, N, T, D, U, seed, dtype, masked=False):
    """Arguments of `results_of` besides the operation."""
    rng = np.random.default_rng(seed)
    slots = SLOTS[op]
    x, h0 = normal(rng, N, T, D, dtype=dtype), normal(rng, N, U, dtype=dtype)
    kernel = normal(rng, D, slots * U, dtype=dtype)
    recurrent_kernel = (normal(rng, U, slots * U) / np.sqrt(U)).astype(dtype)
    bias = normal(rng, *((2,) if op == "gru" else ()), slots * U, dtype=dtype)
    mask = rng.random((N, T)) < 0.7 if masked else None
    return x, kernel, recurrent_kernel, bias, h0, mask, normal(rng, N, T, U, dtype=dtype)


def results_of(op, x, kernel, recurrent_kernel, bias, h0, mask, upstream):
    """Return all that forward and backward give."""
    states = getattr(ops, f"{op}_forward")(x, kernel, recurrent_kernel, bias, h0, mask=mask)
    states = states if isinstance(states, tuple) else (states,)
    given = (upstream, None) if op == "lstm" else (upstream,)
    gradients = getattr(ops, f"{op}_backward")(*given, x, kernel, recurrent_kernel, *states, h0, mask=mask)
    *states, cache = states if len(states) > 1 else (*states, ())
    return [*states, *cache, *gradients]


def forward_and_backward(op, N, T, D, U, seed, dtype, masked=False):
    """Run an operation on random arrays; return all that forward and backward give."""
    return results_of(op, *draw_arrays(op, N, T, D, U, seed, dtype, masked))


# Few sizes leave a remainder of every kind: of rows in a tile, of units in a vector, of vectors in a block.
@settings(max_examples=40)
@given(sizes, seeds, st.booleans())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", SLOTS)
def test_every_size_matches_the_reference(op, dtype, case, seed, masked):
    N, T, D, U = case
    with minivid.use("tiled"):
        actual = forward_and_backward(op, *case, seed, dtype, masked)
    with minivid.use("reference"):
        expected = forward_and_backward(op, *case, seed, dtype, masked)
    for a, b in zip(actual, expected, strict=True):
        assert_close(a, b, terms=20 * (N + 1) * T * (D + 4 * U + 1), dtype=dtype)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("op", SLOTS)
def test_bits_depend_neither_on_the_threads_nor_on_the_run(op, masked):
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads, threads):
            numba.set_num_threads(n)
            results.append(forward_and_backward(op, 29, 5, 7, 37, 0, np.float32, masked))
    finally:
        numba.set_num_threads(threads)
    for one, many, again in zip(*results, strict=True):
        np.testing.assert_array_equal(one, many)
        np.testing.assert_array_equal(many, again)


@pytest.mark.parametrize("op", SLOTS)
def test_a_sequence_does_not_depend_on_the_others(op):
    whole = forward_and_backward(op, 13, 4, 64, 33, 0, np.float32)[0]
    rng = np.random.default_rng(0)  # draws x first, then h0, as above
    x, h0 = normal(rng, 13, 4, 64, dtype=np.float32), normal(rng, 13, 33, dtype=np.float32)
    kernel = normal(rng, 64, SLOTS[op] * 33, dtype=np.float32)
    recurrent_kernel = (normal(rng, 33, SLOTS[op] * 33) / np.sqrt(33)).astype(np.float32)
    bias = normal(rng, *((2,) if op == "gru" else ()), SLOTS[op] * 33, dtype=np.float32)
    some = getattr(ops, f"{op}_forward")(x[4:13], kernel, recurrent_kernel, bias, h0[4:13])
    some = some[0] if isinstance(some, tuple) else some
    np.testing.assert_array_equal(some, whole[4:13])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", range(1, 20))
def test_add_product_adds_to_its_own_rows_only(dtype, rows):
    K, columns, q = 3, 37, 2
    rng = np.random.default_rng(rows)
    a, w = rng.integers(-9, 10, (rows + 2, K + q)).astype(dtype), rng.integers(-9, 10, (K, columns)).astype(dtype)
    weights = packed(w[None], np.dtype(dtype), vectors=2)
    y = np.ones((rows + 2, weights.padded), dtype)
    add_product(a.ravel(), K + q, q, K, weights.blocks, columns, y.reshape(-1), weights.padded, 1, rows + 1)
    np.testing.assert_array_equal(y[1:-1, :columns], 1 + a[1:-1, q:] @ w)  # whole numbers: exact
    np.testing.assert_array_equal(y[[0, -1]], 1)


# In the persistent kernels a block owns a slice of 8 units (float64: 4, simple RNN: twice as many) of tiles of 8
# sequences. The emulator has room for 4 blocks.
CUDA = [version for version in implementations(ops.lstm_forward) if hasattr(version, "marks")]
SEVERAL = {
    "slices, the last with 3 units": (3, 3, 2, 19, np.float32),
    "slices of float64, the last with 1 unit": (3, 3, 2, 9, np.float64),
    "slices and tiles, the last with 1 sequence": (17, 2, 3, 21, np.float32),
    "groups, each with tiles of its own": (70, 2, 1, 7, np.float32),
    "more slices than blocks: not persistent": (2, 3, 2, 70, np.float32),
    "no sequences": (0, 2, 3, 5, np.float32),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", SEVERAL.values(), ids=SEVERAL)
@pytest.mark.parametrize("op", SLOTS)
@pytest.mark.parametrize("name", CUDA)
def test_several_blocks_match_the_reference(name, op, case, masked):
    *sizes, dtype = case
    actual = run(name, results_of, op, *draw_arrays(op, *sizes, 0, dtype, masked))
    with minivid.use("reference"):
        expected = forward_and_backward(op, *sizes, 0, dtype, masked)
    N, T, D, U = sizes
    for a, b in zip(actual, expected, strict=True):
        assert_close(a, b, terms=20 * (N + 1) * T * (D + 4 * U + 1), dtype=dtype)


@pytest.mark.emulator
@pytest.mark.parametrize("op", SLOTS)
def test_bits_do_not_depend_on_the_number_of_blocks(op, monkeypatch):
    results = []
    for room in (3, 4, 7, 20):
        monkeypatch.setattr("minivid.cuda.launcher.EMULATED_BLOCKS", room)
        with minivid.use("emulator"):
            results.append(forward_and_backward(op, 30, 2, 3, 21, 0, np.float32, masked=True))
    for first, *others in zip(*results, strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_the_grid_of_a_persistent_kernel(monkeypatch):
    def room_for(blocks):
        monkeypatch.setattr(recurrent, "resident_blocks", lambda *_, **__: blocks)

    x = np.zeros((1, 1, 1), np.float32)
    room_for(132)  # one block on each multiprocessor of an H200
    # U = 256: 64 quads of k. 8 warps keep 4·64 + 1 quads of weights each, beside the states of 8 rows: 8·257 + 8·64
    # quads of 16 bytes. 256/8 slices of units; 32/8 tiles of sequences are 4 groups, and 32·4 blocks fit.
    assert forward_grid("lstm", 32, 256, like=x) == Grid((32, 4), 256, 16 * (8 * 257 + 8 * 64))
    # Backward: 32 columns of 64 + 1 quads, one quad per thread for sums, and 32·8 numbers of dz.
    assert backward_grid("lstm", 32, 256, like=x) == Grid((32, 4), 256, 16 * (32 * 65 + 256 + 64))
    assert forward_grid("lstm", 8, 1024, like=x).blocks == (128, 1)
    # U = 512: 64 slices, so there is room for 2 groups; 5 tiles are shared out as 3 and 2, 20 would be 10 each.
    assert forward_grid("lstm", 40, 512, like=x).blocks == (64, 2)
    assert forward_grid("lstm", 160, 512, like=x) is None
    assert forward_grid("lstm", 1, 132 * 8 + 1, like=x) is None
    room_for(0)  # not even one block, as where a slice of R is larger than the shared memory
    assert forward_grid("lstm", 8, 256, like=x) is None
    assert backward_grid("gru", 8, 256, like=x) is None


def test_previous_is_one_step_later_with_the_initial_state_in_front():
    states, initial = np.arange(12.0).reshape(2, 3, 2), np.array([[-1.0, -2.0], [-3.0, -4.0]])
    expected = [[[-1, -2], [0, 1], [2, 3]], [[-3, -4], [6, 7], [8, 9]]]
    np.testing.assert_array_equal(previous(states, initial), expected)


def test_contiguous_keeps_float32_and_widens_only_when_an_array_is_wider():
    narrow, wide = np.ones((2, 3), dtype=np.float32).T, np.ones(2)
    assert [a.dtype for a in contiguous(narrow)] == [np.float32]
    assert [a.dtype for a in contiguous(narrow, wide)] == [np.float64, np.float64]
    assert contiguous(narrow)[0].flags.c_contiguous


def test_contiguous_copies_what_is_read_only():
    x = np.ones((2, 3))
    assert contiguous(x)[0] is x
    x.flags.writeable = False
    assert contiguous(x)[0].flags.writeable
