import sys
from functools import partial

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minivid
from minivid.cuda import constants, launch
from minivid.gradcheck import check_gradients
from minivid.ops.matmul import matmul, sums_of_columns
from tests.numerics import DTYPES, assert_close, assert_not_mutated, implementations, kernels, normal, run
from tests.strategies import seeds

IMPLEMENTATIONS = implementations(matmul)
EVERY = pytest.mark.parametrize("name", ["reference", *IMPLEMENTATIONS])
TRANSPOSES = [(False, False), (False, True), (True, False)]
sizes = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7))


# (1) answers worked by hand


@EVERY
def test_hand_worked(name):
    a = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    b = np.array([[1.0, 0.0], [10.0, -1.0], [100.0, 2.0]])
    dy = np.array([[1.0, 10.0], [100.0, 1000.0]])
    y = run(name, matmul, a, b)
    da = run(name, matmul, dy, b, transpose_b=True)
    db = run(name, matmul, a, dy, transpose_a=True)
    # y[0,0] = 1·1 + 2·10 + 3·100 = 321; y[0,1] = 0 − 2 + 6 = 4; y[1,0] = 4 + 50 + 600; y[1,1] = −5 + 12
    np.testing.assert_array_equal(y, [[321.0, 4.0], [654.0, 7.0]])
    # da[0] = (1·1 + 10·0, 1·10 − 10, 1·100 + 10·2); da[1] = (100, 1000 − 1000, 10000 + 2000)
    np.testing.assert_array_equal(da, [[1.0, 0.0, 120.0], [100.0, 0.0, 12000.0]])
    # db[0] = (1·1 + 4·100, 1·10 + 4·1000); db[1] = (2 + 500, 20 + 5000); db[2] = (3 + 600, 30 + 6000)
    np.testing.assert_array_equal(db, [[401.0, 4010.0], [502.0, 5020.0], [603.0, 6030.0]])


# (2) gradients against complex steps


@given(sizes, seeds)
@EVERY
def test_gradients(name, case, seed):
    M, K, N = case
    rng = np.random.default_rng(seed)

    def forward(a, b):
        with minivid.use("reference"):
            return matmul(a, b)

    def backward(dy, a, b):
        return {"a": run(name, matmul, dy, b, transpose_b=True), "b": run(name, matmul, a, dy, transpose_a=True)}

    inputs = {"a": normal(rng, M, K), "b": normal(rng, K, N)}
    equations = {"a": "matmul.2", "b": "matmul.3"}
    check_gradients(forward, backward, inputs, equations=equations, seed=seed).raise_if_failed()


# (3) every implementation against the float64 reference


@given(sizes, seeds, st.booleans(), st.booleans())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_matches_the_reference(name, dtype, case, seed, transpose_a, transpose_b):
    M, K, N = case
    rng = np.random.default_rng(seed)
    a = normal(rng, *((K, M) if transpose_a else (M, K)), dtype=dtype)
    b = normal(rng, *((N, K) if transpose_b else (K, N)), dtype=dtype)
    with minivid.use("reference"):
        expected = matmul(a.astype(np.float64), b.astype(np.float64), transpose_a, transpose_b)
    options = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    y = assert_not_mutated(partial(run, name, matmul), a, b, **options)
    assert_close(y, expected, terms=K, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 300, 1), (33, 5, 129), (64, 17, 256), (70, 1, 300), (3, 1100, 5)])
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_blocks_meet_without_gaps(name, shape, dtype):
    M, K, N = shape
    rng = np.random.default_rng(0)
    a, b = normal(rng, M, K, dtype=dtype), normal(rng, K, N, dtype=dtype)
    y, wanted = run(name, matmul, a, b), a.astype(np.float64) @ b.astype(np.float64)
    assert_close(y, wanted, terms=K, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("transpose_a", "transpose_b"), TRANSPOSES)
@pytest.mark.parametrize(
    "shape",
    [
        *[(1, 1, 1), (7, 3, 5), (1, 300, 40), (33, 5, 129), (64, 17, 96), (65, 130, 40), (200, 30, 1), (3, 1100, 5)],
        *[(20, 4100, 30), (64, 4100, 40)],  # long sums
    ],
)
def test_the_tile_takes_any_shape(shape, transpose_a, transpose_b, dtype, monkeypatch):
    """Small matrices go to the plain loops by default."""
    monkeypatch.setattr(sys.modules["minivid.ops.matmul"], "_suits_loops", lambda *sizes: False)
    M, K, N = shape
    rng = np.random.default_rng(0)
    a, b = normal(rng, M, K, dtype=dtype), normal(rng, K, N, dtype=dtype)
    lying = np.ascontiguousarray(a.T if transpose_a else a), np.ascontiguousarray(b.T if transpose_b else b)
    y = run("tiled", matmul, *lying, transpose_a=transpose_a, transpose_b=transpose_b)
    assert_close(y, a.astype(np.float64) @ b.astype(np.float64), terms=K, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("transpose_a", "transpose_b"), TRANSPOSES)
@pytest.mark.parametrize(
    ("kernel", "tile"), [("matmul_3", "SMALL"), ("matmul_4", "LARGE"), ("matmul_4_small", "SMALL")]
)
@pytest.mark.emulator
def test_register_tiles_meet_without_gaps(kernel, tile, transpose_a, transpose_b, dtype):
    """Matrices for which the large tile is the default take the emulator long: two blocks each way must do."""
    size = vars(constants("matmul", dtype))
    M, N, K, terms = size[tile] + 4, size[tile] + 8, 44, 32  # two parts of the sums
    rng = np.random.default_rng(0)
    a, b = normal(rng, M, K, dtype=dtype), normal(rng, K, N, dtype=dtype)
    stored_a, stored_b = (
        np.ascontiguousarray(x.T if turned else x) for x, turned in ((a, transpose_a), (b, transpose_b))
    )
    steps = (1, M) if transpose_a else (K, 1), (1, K) if transpose_b else (N, 1)
    parts, sizes = np.empty((2, M, N), dtype), (M, N, K, *steps[0], *steps[1], terms)
    launch("matmul", kernel, (4, 2), size[f"{tile}_THREADS"], stored_a, stored_b, parts, *sizes)
    for part, own in zip(parts, (slice(terms), slice(terms, K)), strict=True):
        assert_close(part, a[:, own].astype(np.float64) @ b[own].astype(np.float64), terms=terms, dtype=dtype)


@pytest.mark.parametrize("name", kernels(matmul))
def test_matrices_that_begin_within_a_vector(name):
    rng = np.random.default_rng(0)
    a, b = normal(rng, 65)[1:].reshape(8, 8), normal(rng, 65)[1:].reshape(8, 8)
    np.testing.assert_allclose(run(name, matmul, a, b), a @ b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (65, 33), (700, 5)])
@pytest.mark.emulator
def test_sums_of_columns(shape, dtype):
    x = normal(np.random.default_rng(0), *shape, dtype=dtype)
    assert_close(sums_of_columns(x), x.astype(np.float64).sum(axis=0), terms=len(x), dtype=dtype)


@EVERY
def test_sums_over_nothing_are_zero(name):
    np.testing.assert_array_equal(run(name, matmul, np.ones((2, 0)), np.ones((0, 3))), np.zeros((2, 3)))
    assert run(name, matmul, np.ones((0, 2)), np.ones((2, 3))).shape == (0, 3)


@EVERY
def test_nan_is_not_lost_beside_zeros(name):
    a, b = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([[np.nan], [2.0]])
    assert np.isnan(run(name, matmul, a, b)).all()  # 0·NaN is NaN


# (5) layouts, (6) algebra


@EVERY
def test_takes_arrays_that_are_not_contiguous(name):
    rng = np.random.default_rng(0)
    a, b = normal(rng, 6, 5).T[:, ::-1], normal(rng, 12, 7)[::2]
    np.testing.assert_array_equal(run(name, matmul, a, b), run(name, matmul, a.copy(), b.copy()))


@given(sizes, seeds)
def test_backward_is_the_adjoint_of_forward(case, seed):
    M, K, N = case
    rng = np.random.default_rng(seed)
    a, b, dy = normal(rng, M, K), normal(rng, K, N), normal(rng, M, N)
    inner = (dy * matmul(a, b)).sum()
    scale = np.abs(dy).sum() * np.abs(a).max() * np.abs(b).max() * K
    assert abs(inner - (matmul(dy, b, transpose_b=True) * a).sum()) <= 1e-14 * scale
    assert abs(inner - (matmul(a, dy, transpose_a=True) * b).sum()) <= 1e-14 * scale


def test_bits_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(0)
    a, b = normal(rng, 100, 77, dtype=np.float32), normal(rng, 77, 300, dtype=np.float32)
    results, threads = [], numba.get_num_threads()
    try:
        for n in (1, threads):
            numba.set_num_threads(n)
            results.append(matmul(a, b))
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(*results)


# errors


@EVERY
def test_errors_say_what_was_given_and_expected(name):
    with pytest.raises(ValueError, match=r"two matrices, got shapes \(2, 3, 4\) and \(4, 5\)"):
        run(name, matmul, np.zeros((2, 3, 4)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"inner sizes differ: \(2, 3\) times \(4, 5\)"):
        run(name, matmul, np.zeros((2, 3)), np.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"inner sizes differ: \(3, 2\) times \(3, 5\)"):
        run(name, matmul, np.zeros((2, 3)), np.zeros((3, 5)), transpose_a=True)
