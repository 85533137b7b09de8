"""Progress: what is written where, with and without a terminal."""

import io
import os
import re
import subprocess
import sys

import pytest

from minivid import progress
from minivid.callbacks import CallbackList, LambdaCallback
from minivid.progress import ProgressBar, track

LOGS = {"loss": 0.3124, "accuracy": 0.91, "val_loss": 0.4, "learning_rate": 1e-4}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal()


def fit(callbacks, epochs=2, steps=3, logs=LOGS):
    with CallbackList(callbacks, params={"epochs": epochs, "steps": steps}) as hooks:
        hooks.on_train_begin()
        for epoch in range(epochs):
            hooks.on_epoch_begin(epoch)
            for batch in range(steps or 3):
                hooks.on_train_batch_end(batch, {"loss": 1.0})
            hooks.on_epoch_end(epoch, logs)
        hooks.on_train_end()


def final_screen(text):
    """The lines that a terminal shows in the end, as far as this output needs: erase line and cursor up."""
    lines = [""]
    for token in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\n":
            lines.append("")
        elif token == "\x1b[1A":
            lines.pop()
        elif token == "\x1b[2K":
            lines[-1] = ""
        elif not token.startswith(("\x1b", "\r")):
            lines[-1] += token
    return [line.rstrip() for line in lines if line.strip()]


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_plain_lines_without_a_terminal(verbose, capsys):
    fit(ProgressBar(verbose))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\r" not in out
    assert out.isascii()
    line = (
        r"Epoch {}/2  3/3  \d+\.\ds  \d+ (us|ms)/step  "
        r"loss: 0\.3124  accuracy: 0\.9100  val_loss: 0\.4000  learning_rate: 1\.00e-04"
    )
    first, second = out.splitlines()
    assert re.fullmatch(line.format(1), first)
    assert re.fullmatch(line.format(2), second)


def test_silence(capsys, terminal):
    fit(ProgressBar(0))
    fit(ProgressBar(0, stream=terminal))
    assert capsys.readouterr() == ("", "")
    assert terminal.getvalue() == ""


def test_verbose_must_be_known():
    with pytest.raises(ValueError, match=r"verbose must be 'auto', 0 .* got 3"):
        ProgressBar(3)


def test_epochs_are_aligned_and_unknown_numbers_left_out(capsys):
    fit(ProgressBar(), epochs=10, steps=None, logs={})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Epoch  1/10  3  ")
    assert lines[9].startswith("Epoch 10/10  3  ")


def test_a_bar_on_a_terminal_leaves_one_line_per_epoch(terminal):
    fit(ProgressBar(stream=terminal))
    assert "\x1b[?25l" in terminal.getvalue()  # the cursor was hidden
    assert terminal.getvalue().rindex("\x1b[?25h") > terminal.getvalue().rindex("\x1b[?25l")  # and is back
    first, second = final_screen(terminal.getvalue())
    assert re.fullmatch(r"Epoch 1/2 ━+ 3/3 \d+ (us|ms)/step loss 0\.3124 accuracy 0\.9100 val_loss .*1\.00e-04", first)
    assert second.startswith("Epoch 2/2 ━")


def test_the_bar_gives_way_on_a_narrow_terminal(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    fit(ProgressBar(stream=terminal), epochs=1)
    (line,) = final_screen(terminal.getvalue())
    assert line == "Epoch 1/1 3/3 loss 0.3124 accuracy 0.9100 val_loss 0.4000 learning_rate 1.00e-04"


def test_two_means_lines_even_on_a_terminal(terminal):
    fit(ProgressBar(2, stream=terminal))
    assert "\x1b" not in terminal.getvalue()
    assert len(terminal.getvalue().splitlines()) == 2


def test_a_dumb_terminal_gets_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    fit(ProgressBar(stream=terminal))
    assert "\x1b" not in terminal.getvalue()
    assert terminal.getvalue().count("  loss: 0.3124  ") == 2


def test_the_terminal_is_given_back_when_training_fails(terminal):
    def fails(*args):
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fit([ProgressBar(stream=terminal), LambdaCallback(on_train_batch_end=fails)])
    assert "\x1b[?25h" in terminal.getvalue()


# --- track ---


def test_short_work_shows_nothing(capsys):
    assert list(track(iter([1, 2, 3]), "Counting")) == [1, 2, 3]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("total", "first", "last"), [(3, "1/3", "3/3"), (None, "1", "3")])
def test_long_work_shows_lines_on_stderr(total, first, last, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SHOW_AFTER_SECONDS", 0.0)
    assert list(track(iter("abc"), "Decoding clips", total)) == ["a", "b", "c"]
    out, err = capsys.readouterr()
    assert out == ""
    assert "\x1b" not in err
    shown = [re.fullmatch(r"Decoding clips  (\S+)  \d+\.\ds", line)[1] for line in err.splitlines()]
    assert shown == [first, last]


def test_long_work_shows_a_bar_on_a_terminal(terminal, monkeypatch):
    monkeypatch.setattr(progress, "SHOW_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(track([1, 2, 3], "Decoding clips")) == [1, 2, 3]
    (line,) = final_screen(terminal.getvalue())
    assert re.match(r"Decoding clips ━+ 3/3", line)


def test_track_is_closed_when_the_loop_is_left(monkeypatch, capsys):
    monkeypatch.setattr(progress, "SHOW_AFTER_SECONDS", 0.0)
    items = track(range(10), "Decoding clips")
    for item in items:
        if item == 4:
            break
    items.close()
    assert capsys.readouterr().err.splitlines()[-1].startswith("Decoding clips  4/10  ")


def test_rich_is_imported_only_for_a_terminal():
    code = "import sys, minivid.progress; sys.exit('rich' in sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
