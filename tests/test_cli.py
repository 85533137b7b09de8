"""The command line itself: exit codes, messages, consoles; the commands have tests beside their code."""

import io
import json
import os
import subprocess
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import typer

import minivid
from minivid.cli import app, main
from minivid.ops import relu_backward
from minivid.tasks import TASKS, classify, load_task

COMMANDS = ["demo", "train", "evaluate", "predict", "gradcheck", "bench", "cuda", "doctor"]


def minivid_command(*arguments, **environment):
    """Run `python -m minivid` in a process of its own."""
    root = Path(minivid.__file__).parents[1]
    return subprocess.run(
        [sys.executable, "-m", "minivid", *arguments],
        env=os.environ | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        check=False,
    )


def test_in_a_process_of_its_own(tmp_path):
    assert minivid_command("--version").stdout.decode().strip() == f"minivid {minivid.__version__}"
    failed = minivid_command("train", str(tmp_path / "gone"))
    assert failed.returncode == 1
    assert failed.stdout == b""
    assert failed.stderr.decode().strip() == f"error: there is no folder {tmp_path / 'gone'}"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(f"  {command}  " in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"Usage: minivid {command}" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"minivid {minivid.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "No such command 'fly'"),
        (["--fly"], "--fly"),
        (["train"], "Missing argument"),
        (["train", "clips", "--epochs", "many"], "--epochs"),
        (["train", "clips", "--epochs", "0"], "epochs must be 1 or more, got 0"),
        (["train", "clips", "--size", "48"], "'48' is no size; write height x width in pixels, e.g. 64x64"),
        (["train", "clips", "--size", "0x64"], "'0x64' is no size"),
        (["train", "clips", "--color", "cmyk"], "color must be one of rgb, grayscale, got 'cmyk'"),
        (["train", "clips", "--model", "huge"], "model must be one of tiny, small, medium, got 'huge'"),
        (["train", "clips", "--augment", "flip, zoom"], "augment must be of flip, shift, brightness"),
        (["train", "clips", "--on-error", "ignore"], "on_error must be one of raise, skip"),
        (["train", "clips", "--groups", "seq("], "no regular expression"),
        (["train", "clips", "--test-groups", "02"], "test_groups needs groups"),
        (["train", "clips", "--seed", "-1"], "--seed"),
        (["evaluate", "run", "clips", "--on-error", "ignore"], "on_error must be raise or skip, got 'ignore'"),
        (["predict", "run"], "Missing argument"),
        (["predict", "run", "clip.mp4", "--top", "0"], "--top"),
        (["gradcheck", "conv3d"], "no operation 'conv3d'; there are: conv2d, "),
    ],
)
def test_bad_usage(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Usage: minivid" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_failure_is_one_line_and_debug_shows_where(tmp_path, capsys):
    gone = str(tmp_path / "gone")
    assert main(["train", gone]) == 1
    assert capsys.readouterr().err == f"error: there is no folder {gone}\n"
    for arguments in (["--debug", "train", gone], ["train", gone, "--debug"]):
        assert main(arguments) == 1
        error = capsys.readouterr().err
        assert error.startswith("Traceback")
        assert error.endswith(f"FileNotFoundError: there is no folder {gone}\n")


def test_error_without_a_message(monkeypatch, capsys):
    def fails(*args):
        raise MemoryError

    monkeypatch.setattr(classify, "train_run", fails)
    assert main(["train", "clips"]) == 1
    assert capsys.readouterr().err == "error: MemoryError\n"


@pytest.mark.parametrize(("interrupt", "said"), [(KeyboardInterrupt(), "interrupted"), (KeyboardInterrupt("x"), "x")])
def test_interrupt(interrupt, said, monkeypatch, capsys):
    def interrupted(*args):
        raise interrupt

    monkeypatch.setattr(classify, "train_run", interrupted)
    assert main(["train", "clips"]) == 1
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.filterwarnings("default::UserWarning")
def test_warnings_are_one_line(monkeypatch, capsys):
    def warns(*args):
        warnings.warn("the left is not the right", stacklevel=1)

    monkeypatch.setattr(classify, "train_run", warns)
    assert main(["train", "clips"]) == 0
    assert capsys.readouterr().err == "warning: the left is not the right\n"


def test_train_passes_its_options_on(monkeypatch):
    given = []
    monkeypatch.setattr(classify, "train_run", lambda *arguments: given.extend(arguments))
    options = (
        "--out run --frames 8 --size 48X64 --color grayscale --subtract-median --model small --dropout 0.5 --epochs 7 "
        "--batch-size 6 --learning-rate 0.01 --validation-split 0.3 --groups seq(\\d+) --test-groups 02,04 "
        "--augment flip,shift --on-error skip --overwrite --seed 5"
    )
    assert main(["train", "clips", *options.split()]) == 0
    settings = classify.Settings(
        frames=8,
        height=48,
        width=64,
        color="grayscale",
        subtract_median=True,
        model="small",
        dropout=0.5,
        epochs=7,
        batch_size=6,
        learning_rate=0.01,
        validation_split=0.3,
        groups=r"seq(\d+)",
        test_groups=("02", "04"),
        augment=("flip", "shift"),
        on_error="skip",
        seed=5,
    )
    assert given == [Path("clips"), Path("run"), settings, True, "cpu"]


def test_defaults_of_train_are_those_of_its_settings(monkeypatch):
    given = []
    monkeypatch.setattr(classify, "train_run", lambda *arguments: given.extend(arguments))
    assert main(["train", "clips"]) == 0
    assert given[2] == classify.Settings()


def test_help_shows_the_defaults_of_the_settings():
    shown = {
        option.name: option.show_default
        for option in typer.main.get_command(app).commands["train"].params
        if isinstance(option.show_default, str)
    }
    for task in TASKS:
        defaults = asdict(load_task(task).Settings())
        defaults["size"] = f"{defaults['height']}x{defaults['width']}"
        assert {"frames", "epochs", "size"} <= set(shown)
        known = {name: text for name, text in shown.items() if name in defaults}
        assert known == {name: str(defaults[name]) for name in known}


def test_unknown_task_is_bad_usage(capsys):
    for arguments in (["train", "clips", "--task", "sing"], ["demo", "sing"]):
        assert main(arguments) == 2
        assert "task must be one of classify" in capsys.readouterr().err


def test_a_task_refuses_options_that_are_not_its_own(monkeypatch, capsys):
    @dataclass
    class OwnSettings:
        seed: int = 0
        frames: int = 4

    monkeypatch.setattr(classify, "Settings", OwnSettings)
    monkeypatch.setattr(classify, "train_run", lambda *arguments: None)
    assert main(["train", "clips", "--frames", "5"]) == 0
    assert main(["train", "clips", "--batch-size", "5", "--augment", "flip"]) == 2
    assert "--task classify does not take --augment, --batch-size" in " ".join(capsys.readouterr().err.split())


# --- gradcheck ------------------------------------------------------------------------------------------------


def test_gradcheck(capsys, tmp_path):
    assert main(["gradcheck", "relu", "mse", "--json", str(tmp_path / "table.json")]) == 0
    out = capsys.readouterr().out
    assert "all right" in out
    rows = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert {row["operation"] for row in rows} == {"relu", "mse"}
    assert {row["verdict"] for row in rows} == {"ok"}


def test_gradcheck_fails_when_a_backward_is_wrong(monkeypatch, capsys):
    right = relu_backward.implementations["loops"]
    monkeypatch.setitem(relu_backward.implementations, "loops", lambda *arguments: 2 * right(*arguments))
    assert main(["gradcheck", "relu"]) == 1
    out = capsys.readouterr().out
    assert "wrong" in out
    assert "2 failed" in out  # loops in float64 and in float32


# --- consoles -------------------------------------------------------------------------------------------------


def test_ascii_console_in_a_process_of_its_own():
    done = minivid_command("gradcheck", "dense", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()


def test_class_names_that_a_console_cannot_show(monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", console)
    monkeypatch.setattr(classify, "train_run", lambda *args: print("classes: hüpfen, 走る"))
    assert main(["train", "clips"]) == 0
    console.flush()
    assert console.buffer.getvalue() == b"classes: h?pfen, ??\n"
