import numpy as np
import pytest

from minivid.gradcheck import check_gradients, tolerance

SEEDS = range(5)


def cube(x):
    return x**3


def cube_backward(dy, x):
    return {"x": 3 * x**2 * dy}


def affine(x, w):
    return x @ w


def affine_backward(dy, x, w):
    return {"x": dy @ w.T, "w": x.T @ dy}


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def verdicts(report):
    return {block.name: block.verdict for block in report.blocks}


# right gradients


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_right_gradients_are_accepted(seed, smooth, full):
    inputs = {"x": draw(4, 3, seed=seed), "w": draw(3, 2, seed=seed + 1)}
    report = check_gradients(affine, affine_backward, inputs, smooth=smooth, full=full, seed=seed)
    assert verdicts(report) == {"dx": "ok", "dw": "ok"}
    assert report.max_error < (1e-14 if smooth else 1e-8)
    assert "agree" in str(report)
    report.raise_if_failed()


def test_a_scalar_output_and_a_scalar_input():
    def backward(dy, x, s):
        return {"x": dy * s * np.cos(x), "s": dy * np.sin(x).sum()}

    inputs = {"x": draw(3), "s": np.array(2.0)}
    for full in (False, True):
        check_gradients(lambda x, s: s * np.sin(x).sum(), backward, inputs, full=full).raise_if_failed()


def test_several_outputs():
    def backward(dy, x):
        return {"x": dy[0] * np.cos(x) + 2 * x * dy[1].sum()}

    inputs = {"x": draw(3)}
    for full in (False, True):
        check_gradients(lambda x: (np.sin(x), (x**2).sum()), backward, inputs, full=full).raise_if_failed()
    wrong = check_gradients(lambda x: (np.sin(x), x**2), lambda dy, x: {"x": dy[0] * np.cos(x)}, inputs)
    assert wrong.blocks[0].where.startswith("∂y1[")
    named = check_gradients(
        lambda x: (np.sin(x), x**2), lambda dy, x: {"x": dy[0] * np.cos(x)}, inputs, outputs=("s", "square")
    )
    assert named.blocks[0].where.startswith("∂square[")


def test_a_kink_is_for_central_differences():
    x = np.array([-0.3, -1.0, 0.2, 2.0])

    def forward(x):
        assert not np.iscomplexobj(x)
        return np.maximum(x, 0)

    report = check_gradients(forward, lambda dy, x: {"x": dy * (x > 0)}, {"x": x}, smooth=False)
    assert report.passed
    assert report.method == "central differences"
    wrong = check_gradients(forward, lambda dy, x: {"x": dy * (x < 0)}, {"x": x}, smooth=False)
    assert verdicts(wrong) == {"dx": "wrong"}


def test_float32_backward_within_its_own_tolerance():
    x, w = draw(6, 50).astype(np.float32).astype(np.float64), draw(50, 4).astype(np.float32).astype(np.float64)

    def backward(dy, x, w):
        return affine_backward(*(a.astype(np.float32) for a in (dy, x, w)))

    assert check_gradients(affine, backward, {"x": x, "w": w}, rtol=tolerance(np.float32, 6)).passed
    exact = check_gradients(affine, backward, {"x": x, "w": w})
    assert verdicts(exact) == {"dx": "wrong", "dw": "wrong"}
    assert "float32" in exact.blocks[0].hint


def test_tolerance_by_hand():
    assert tolerance(np.float64) == 8 * 2.0**-52
    assert tolerance(np.float32, terms=16) == 8 * 2.0**-23 * 4  # √16 = 4


# wrong gradients


@pytest.mark.parametrize("seed", SEEDS)
def test_a_scale_wrong_by_one_in_a_million_is_rejected(seed):
    report = check_gradients(
        cube, lambda dy, x: {"x": 3 * x**2 * dy * (1 + 1e-6)}, {"x": draw(20, seed=seed)}, seed=seed
    )
    assert verdicts(report) == {"dx": "wrong"}
    assert 1e-7 < report.max_error < 1e-5
    with pytest.raises(AssertionError, match=r"gradients DIFFER \(complex step\)\n  dx +wrong"):
        report.raise_if_failed()


@pytest.mark.parametrize("seed", SEEDS)
def test_one_wrong_entry_among_many_is_rejected_and_named(seed):
    def backward(dy, x, w):
        dx, dw = dy @ w.T, x.T @ dy
        dw[2, 1] += 0.001 * dy[3, 1]
        return {"x": dx, "w": dw}

    report = check_gradients(affine, backward, {"x": draw(5, 4), "w": draw(4, 3)}, seed=seed)
    assert verdicts(report) == {"dx": "ok", "dw": "wrong"}
    dw = report.blocks[1]
    assert dw.where == "∂y[3, 1]/∂w[2, 1]"
    # ∂y[3,1]/∂w[2,1] = x[3,2], and the wrong pass has 0.001 more
    assert dw.numeric == pytest.approx(draw(5, 4)[3, 2], rel=1e-14)
    assert dw.analytic == pytest.approx(dw.numeric + 0.001, rel=1e-12)


def test_full_finds_what_one_direction_may_not():
    def wrong_by_little(dy, x):
        gradient = 3 * x**2 * dy
        gradient[0] *= 1 + 1e-9  # of an entry 1e-6 of the largest: far below rtol along any direction
        return {"x": gradient}

    x = np.array([1e-3, 1.0, -1.0])
    assert check_gradients(cube, wrong_by_little, {"x": x}).passed
    strict = check_gradients(cube, lambda dy, x: {"x": 3 * x**2 * dy * np.array([1 + 1e-3, 1, 1])}, {"x": x}, full=True)
    assert strict.blocks[0].where == "∂y[0]/∂x[0]"


def test_the_report_names_equation_part_and_values():
    def backward(dy, x, w):
        dw = x.T @ dy
        dw[:, 2:] *= -1
        return {"x": dy @ w.T, "w": dw}

    report = check_gradients(
        affine,
        backward,
        {"x": draw(3, 2), "w": draw(2, 4)},
        equations={"x": "dense.2", "w": "dense.3", "w[right]": "dense.9"},
        parts={"w": {"left": np.s_[:, :2], "right": np.s_[:, 2:]}},
    )
    assert verdicts(report) == {"dx": "ok", "dw": "wrong", "dw[left]": "ok", "dw[right]": "wrong"}
    assert [block.equation for block in report.blocks] == ["dense.2", "dense.3", "dense.3", "dense.9"]
    right = report.blocks[3]
    assert right.analytic == -right.numeric != 0
    assert right.hint == "the sign is wrong"
    text = str(report)
    assert "dw[right] (dense.9)" in text
    assert f"analytic {right.analytic:+.9e}, numeric {right.numeric:+.9e}" in text
    assert "at most 1.0e-10" in text
    assert text.endswith("right: dx, dw[left]")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(bad):
    def backward(dy, x):
        gradient = 3 * x**2 * dy
        gradient[1] = bad
        return {"x": gradient}

    report = check_gradients(cube, backward, {"x": draw(3)})
    assert verdicts(report) == {"dx": "not finite"}
    assert report.max_error == np.inf


def test_a_forward_pass_that_is_not_finite():
    with np.errstate(divide="ignore", invalid="ignore"):
        report = check_gradients(lambda x: 1 / x, lambda dy, x: {"x": -dy / x**2}, {"x": np.array([0.0, 1.0])})
    assert verdicts(report) == {"dx": "not finite"}


def test_missing_and_wrong_shape():
    report = check_gradients(affine, lambda dy, x, w: {"dx": dy, "w": dy.T @ x}, {"x": draw(3, 2), "w": draw(2, 4)})
    assert verdicts(report) == {"dx": "missing", "dw": "wrong shape"}
    assert report.blocks[0].where == "backward returned gradients of ['dx', 'w'], not 'x'"
    assert report.blocks[1].where == "expected (2, 4), found (4, 2)"
    assert not check_gradients(cube, lambda dy, x: {"x": None}, {"x": draw(3)}).passed


def test_zero_compared_with_zero_proves_nothing():
    def forward(x, w):
        return x + 0 * w

    def backward(dy, x, w):
        return {"x": dy, "w": np.zeros_like(w)}

    inputs = {"x": draw(3), "w": draw(3)}
    assert verdicts(check_gradients(forward, backward, inputs)) == {"dx": "ok", "dw": "all zero"}
    assert check_gradients(forward, backward, inputs, may_be_zero={"w"}).passed


def test_rounding_noise_of_a_gradient_that_is_zero():
    x = draw(4, 3)  # a shift of a row does not change its softmax

    def forward(b):
        e = np.exp(x + b)
        return e / e.sum(axis=1, keepdims=True)

    def backward(dy, b):
        y = forward(b)
        return {"b": (y * (dy - (dy * y).sum(axis=1, keepdims=True))).sum(axis=1, keepdims=True)}

    assert check_gradients(forward, backward, {"b": draw(4, 1)}, may_be_zero=["b"]).passed
    wrong = check_gradients(
        forward, lambda dy, b: {"b": dy.sum(axis=1, keepdims=True)}, {"b": draw(4, 1)}, may_be_zero=["b"]
    )
    assert verdicts(wrong) == {"db": "wrong"}


def test_a_gradient_that_grows_with_every_call():
    total = np.zeros(3)

    def backward(dy, x):
        total[...] += 3 * x**2 * dy
        return {"x": total}

    report = check_gradients(cube, backward, {"x": draw(3)})
    assert verdicts(report) == {"dx": "not repeatable"}
    assert "zero between calls" in report.blocks[0].hint


def test_a_backward_pass_that_is_not_linear_is_not_excused_by_its_jacobian():
    # Unit upstream gradients of the Jacobian are not clipped; random ones are.
    report = check_gradients(cube, lambda dy, x: {"x": 3 * x**2 * np.clip(dy, -1, 1)}, {"x": draw(30)})
    assert verdicts(report) == {"dx": "wrong"}
    assert "linear" in report.blocks[0].hint


def test_a_large_block_is_judged_without_its_jacobian():
    report = check_gradients(cube, lambda dy, x: {"x": 2 * x**2 * dy}, {"x": draw(1001)})
    assert verdicts(report) == {"dx": "wrong"}
    assert report.blocks[0].where == "along a random direction"


# hints


@pytest.mark.parametrize(
    ("backward", "hint"),
    [
        (lambda dy, x, w: dy.T @ x, "the right values in the wrong places"),
        (lambda dy, x, w: x.T @ dy / 5, "1/5 of the right value: a mean over the batch instead of a sum?"),
        (lambda dy, x, w: x.T @ dy / 3, "1/3 of the right value: a mean instead of a sum?"),
        (lambda dy, x, w: 4 * x.T @ dy, "4 times the right value: is the 1/4 of a mean missing?"),
        (lambda dy, x, w: -2 * x.T @ dy, "the sign is wrong, and everywhere 2 times"),
        (lambda dy, x, w: 0.7 * x.T @ dy, "0.7 times the right value: a constant factor"),
        (lambda dy, x, w: 0 * w, "no gradient arrives here"),
        # 4 of the 5 images are missing, each with 4 outputs that depend on 4 entries of w
        (lambda dy, x, w: x[:1].T @ dy[:1], "gradient missing in 64 of the 320 entries"),
    ],
)
def test_hints(backward, hint):
    # x (5, 4), w (4, 4): 20 outputs and 16 entries of w, a Jacobian of 320
    report = check_gradients(
        affine, lambda dy, x, w: {"x": dy @ w.T, "w": backward(dy, x, w)}, {"x": draw(5, 4), "w": draw(4, 4)}
    )
    assert hint in report.blocks[1].hint


def test_no_hint_where_nothing_tells():
    report = check_gradients(cube, lambda dy, x: {"x": np.cos(x) * dy}, {"x": draw(3)})
    assert verdicts(report) == {"dx": "wrong"}
    assert report.blocks[0].hint == ""
    assert "likely cause" not in str(report)


def test_hint_for_a_gradient_that_leaks():
    mask = np.array([1.0, 0.0, 1.0])
    report = check_gradients(lambda x: mask * x**3, cube_backward, {"x": draw(3)})
    # of the 9 entries of the Jacobian only ∂y[1]/∂x[1] is wrong
    assert report.blocks[0].hint.startswith("gradient where there should be none, in 1 of the 9 entries")


def test_hint_for_a_forward_pass_that_drops_the_imaginary_part():
    report = check_gradients(lambda x: np.real(x) ** 3, cube_backward, {"x": draw(3)})
    assert "smooth=False" in report.blocks[0].hint


# misuse


def test_errors_say_what_to_do():
    with pytest.raises(TypeError, match=r"input 'x' is float32; gradient checks start from float64"):
        check_gradients(cube, cube_backward, {"x": np.ones(3, dtype=np.float32)})
    with pytest.raises(TypeError, match=r"input 'x' is list"):
        check_gradients(cube, cube_backward, {"x": [1.0]})
    with pytest.raises(ValueError, match=r"'x' of shape \(0, 2\) is empty"):
        check_gradients(cube, cube_backward, {"x": np.ones((0, 2))})
    with pytest.raises(TypeError, match=r"backward must return a dict \{'x': dx\}, got ndarray"):
        check_gradients(cube, lambda dy, x: dy, {"x": draw(3)})
    with pytest.raises(ValueError, match=r"name \['kernel'\]; the inputs are \['x'\]"):
        check_gradients(cube, cube_backward, {"x": draw(3)}, parts={"kernel": {"a": np.s_[:1]}})


def test_passes_that_write_into_their_inputs():
    def greedy_forward(x):
        x *= 1.5
        return x

    def greedy_backward(dy, x):
        dy *= 3 * x**2
        return {"x": dy}

    with pytest.raises(ValueError, match="changed x in place"):
        check_gradients(greedy_forward, lambda dy, x: {"x": dy}, {"x": draw(3)})
    with pytest.raises(ValueError, match="changed dy in place"):
        check_gradients(cube, greedy_backward, {"x": draw(3)})


def test_seeds():
    inputs = {"x": draw(3)}
    first, same, other = (
        check_gradients(cube, lambda dy, x: {"x": 0 * x}, inputs, rtol=1.0, seed=seed) for seed in (3, 3, 4)
    )
    assert first.blocks[0].numeric == same.blocks[0].numeric != other.blocks[0].numeric
