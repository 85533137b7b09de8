import importlib
import io
import json
import pkgutil
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minivid.ops
from minivid.backend import Op
from minivid.gradcheck.cases import cases
from minivid.gradcheck.run import main, print_table, run_gradchecks
from minivid.ops.activations import relu_backward, relu_forward, tanh_forward
from minivid.ops.dense import dense_backward_weights
from minivid.ops.lstm import lstm_backward


def public_names_of_operations():
    for module in pkgutil.iter_modules(minivid.ops.__path__):
        operation = importlib.import_module(f"minivid.ops.{module.name}")
        for name in getattr(operation, "__all__", ()):
            yield name, getattr(operation, name)


def plant(monkeypatch, op, name, change):
    """Make one implementation of an operation wrong."""
    right = op.implementations[name]
    monkeypatch.setitem(op.implementations, name, lambda *args, **kwargs: change(right(*args, **kwargs)))


def verdicts(rows):
    return {(row.implementation, row.dtype): row.verdict for row in rows}


# the cases


def test_every_backward_pass_has_a_case():
    checked = {op for case in cases() for op in case.ops}
    operations = {case.operation for case in cases()}
    backward = {name: value for name, value in public_names_of_operations() if "_backward" in name}
    assert len(backward) >= 20
    for name, value in backward.items():
        assert value in checked if isinstance(value, Op) else name.partition("_backward")[0] in operations, name


def test_every_implementation_of_every_operation_is_right():
    rows = run_gradchecks()
    failed = [f"{row.operation} {row.options}, {row.implementation}, {row.dtype}: {row.report}" for row in rows]
    failed = [text for text, row in zip(failed, rows, strict=True) if row.verdict != "ok"]
    assert not failed, "\n".join(failed)
    assert {row.operation for row in rows} == {case.operation for case in cases()}
    assert all(row.max_error <= max(row.tolerance, 1e-10) for row in rows)


@pytest.mark.parametrize("seed", range(1, 6))
def test_other_seeds_pass_too(seed):
    assert {row.verdict for row in run_gradchecks(implementations=["reference"], seed=seed)} == {"ok"}


def test_whole_jacobians_pass_too():
    rows = run_gradchecks(["conv2d", "maxpool2d", "lstm", "batch_norm"], ["reference"], full=True)
    assert {row.verdict for row in rows} == {"ok"}
    assert all("∂" in block.where for row in rows for block in row.report.blocks if block.name.startswith("d"))


def test_gates_are_blocks_of_their_own():
    row = run_gradchecks(["lstm"], ["reference"], ["float64"])[0]
    equations = {block.name: block.equation for block in row.report.blocks}
    assert equations["dkernel[f]"] == equations["drecurrent_kernel[f]"] == equations["dbias[f]"] == "lstm.11"
    assert equations["dkernel"] == "lstm.15"
    assert equations["h"] == "lstm.7"
    assert equations["c"] == "lstm.6"


def test_points_are_drawn_from_the_seed():
    first, same, other = (cases(seed)[0].inputs["x"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


# what is run


def test_an_implementation_that_differs_in_no_function_is_not_run_twice(monkeypatch):
    monkeypatch.setitem(tanh_forward.implementations, "gpu", None)  # not on the CPU: must be passed over
    rungs = [row.implementation for row in run_gradchecks(["tanh"], dtypes=["float64"])]
    assert rungs == ["reference", "loops", "simd"]  # and no "cpu", which is "simd" by another name
    # the default of a convolution chooses between two rungs: a function of its own
    rungs = {row.implementation for row in run_gradchecks(["conv2d"], dtypes=["float64"])}
    assert rungs == {"reference", "loops", "tiled", "winograd", "cpu"}
    assert [row.implementation for row in run_gradchecks(["relu"], ["cpu"], ["float64"])] == ["cpu"]


def test_unknown_names():
    with pytest.raises(ValueError, match=r"no operation 'conv'; there are: conv2d, conv2d_transpose, maxpool2d, .*mae"):
        run_gradchecks(["dense", "conv"])
    with pytest.raises(ValueError, match=r"no implementation 'fast'; there are: reference, loops"):
        run_gradchecks(implementations=["fast"])


# planted mistakes


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_wrong_backward_pass_fails_in_either_precision(monkeypatch, dtype):
    plant(monkeypatch, dense_backward_weights, "loops", lambda grads: (grads[0] * np.float32(1.001), grads[1]))
    rows = run_gradchecks(["dense"], dtypes=[dtype])
    assert verdicts(rows) == {("reference", dtype): "ok", ("loops", dtype): "wrong", ("tiled", dtype): "ok"}
    blocks = {block.name: block for block in rows[1].report.blocks}
    assert {name for name, block in blocks.items() if block.verdict != "ok"} == {"dw"}
    assert blocks["dw"].equation == "dense.3"
    assert blocks["dw"].error == pytest.approx(0.001, rel=0.1)


def test_a_wrong_forward_pass_fails(monkeypatch):
    plant(monkeypatch, relu_forward, "loops", lambda y: y + np.float32(0.5) * (y > 1))
    row = run_gradchecks(["relu"], ["loops"], ["float64"])[0]
    failed = [block for block in row.report.blocks if block.verdict != "ok"]
    assert [(block.name, block.equation) for block in failed] == [("y", "relu.1")]
    assert failed[0].analytic == pytest.approx(failed[0].numeric + 0.5)


def test_a_forward_pass_that_gives_nan_fails(monkeypatch):
    plant(monkeypatch, relu_forward, "loops", lambda y: y * np.nan)
    row = run_gradchecks(["relu"], ["loops"], ["float64"])[0]
    assert row.max_error == np.inf
    assert {block.name: block.verdict for block in row.report.blocks}["y"] == "not finite"


def test_a_gate_is_named(monkeypatch):
    def forget(gradients):
        dx, dkernel, *others = gradients
        dkernel = dkernel.copy()
        dkernel[:, 3:6] = 0  # U = 3: the columns of f
        return dx, dkernel, *others

    plant(monkeypatch, lstm_backward, "loops", forget)
    report = run_gradchecks(["lstm"], ["loops"], ["float64"])[0].report
    assert [block.name for block in report.blocks if block.verdict != "ok"] == ["dkernel", "dkernel[f]"]
    assert "no gradient arrives" in str(report)
    # parts are named only where the whole is wrong
    assert str(report).endswith(
        "right: dx, dkernel[i], dkernel[C~], dkernel[o], drecurrent_kernel, dbias, dh0, dc0, h, c"
    )


def test_an_implementation_that_raises_is_a_row_and_not_a_traceback(monkeypatch):
    def unwritten(*args, **kwargs):
        raise NotImplementedError("exercise 3")

    monkeypatch.setitem(relu_backward.implementations, "loops", unwritten)
    rows = run_gradchecks(["relu"], dtypes=["float64"])
    assert verdicts(rows) == {("reference", "float64"): "ok", ("loops", "float64"): "error", ("simd", "float64"): "ok"}
    assert str(rows[1].report).endswith("\n      NotImplementedError: exercise 3")


# the command


def test_the_command_prints_a_table_and_returns_0(capsys):
    assert main(["relu", "mse"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["operation", "implementation", "dtype", "max", "error", "at", "most", "verdict"]
    assert [line.split()[:3] for line in lines[1:5]] == [
        ["relu", "reference", "float64"],
        ["relu", "reference", "float32"],
        ["relu", "loops", "float64"],
        ["relu", "loops", "float32"],
    ]
    assert all(line.endswith("ok") for line in lines[1:11])
    assert lines[-1] == "10 checks, all right"


def test_the_command_reports_failures_and_returns_1(capsys, monkeypatch):
    plant(monkeypatch, relu_backward, "loops", lambda dx: -dx)
    assert main(["relu"]) == 1
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "relu, loops, float64: gradients DIFFER (central differences)" in text
    assert "dx (relu.2)" in text
    assert "likely cause: the sign is wrong" in text
    assert text.endswith("6 checks, 2 failed\n")


def test_json(tmp_path, capsys, monkeypatch):
    plant(monkeypatch, relu_backward, "loops", lambda dx: dx * np.nan)
    path = tmp_path / "checks.json"
    assert main(["relu"], json_path=path, seed=3) == 1
    assert str(path) in capsys.readouterr().out
    rows = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)  # no NaN: it is not JSON
    assert [(row["implementation"], row["dtype"], row["verdict"]) for row in rows] == [
        ("reference", "float64", "ok"),
        ("reference", "float32", "ok"),
        ("loops", "float64", "not finite"),
        ("loops", "float32", "not finite"),
        ("simd", "float64", "ok"),
        ("simd", "float32", "ok"),
    ]
    assert rows[2]["max_error"] is None
    assert {"operation", "options", "max_error", "tolerance", "method", "blocks"} <= rows[0].keys()
    assert rows[0]["blocks"][0]["name"] == "dx"
    assert rows[0]["blocks"][0]["equation"] == "relu.2"
    assert [file.name for file in tmp_path.iterdir()] == ["checks.json"]


def test_a_terminal_gets_a_coloured_table_with_every_name_once(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    rows = run_gradchecks(["softmax"], dtypes=["float64"])
    monkeypatch.setattr(sys, "stdout", Terminal())
    print_table(rows)
    text = sys.stdout.getvalue()
    assert "\x1b[32mok" in text
    assert text.count("softmax") == 1
    assert "3 checks, all right" in text


def test_the_page_shows_what_its_examples_print(capsys):
    page = (Path(__file__).parents[2] / "docs" / "gradcheck.md").read_text(encoding="utf-8")
    examples = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    exec("\n".join(examples), {"__name__": "page"})
    shown = page.partition("```text\n")[2].partition("```")[0]
    assert without_rounding(shown) in without_rounding(capsys.readouterr().out)


def without_rounding(report):
    """Hide the errors of blocks that are right: they are rounding, which differs between machines."""
    return re.sub(r"(ok +error )\S+", r"\1", report)
