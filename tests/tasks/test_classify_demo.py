import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import minivid
from minivid.cli import main
from minivid.models import load_model
from minivid.tasks import classify_demo as demo
from minivid.tasks.classify_demo import SingleFrames
from minivid.video import clips_from_directory, read_clip

CLASSES = ["down", "jump", "left", "right", "still", "up"]


@pytest.fixture
def small(monkeypatch):
    """A demo of six classes of four clips and one epoch."""
    monkeypatch.setattr(demo, "CLIPS_PER_CLASS", 4)
    monkeypatch.setattr(demo, "SINGLE_FRAME_EPOCHS", 1)
    monkeypatch.setattr(demo, "SETTINGS", replace(demo.SETTINGS, frames=4, epochs=1))


def test_demo_writes_everything(small, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--seed", "1"]) == 0

    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= metrics["test_accuracy"] <= 1
    assert 0 <= metrics["single_frame_accuracy"] <= 1
    assert metrics["seconds"] > 0
    assert metrics["peak_memory_mb"] is None or metrics["peak_memory_mb"] > 50
    assert metrics["seed"] == 1
    assert metrics["version"] == minivid.__version__
    assert np.sum(metrics["confusion"]) == 6  # a quarter of four clips of six classes
    assert metrics["test_accuracy"] == pytest.approx(np.trace(metrics["confusion"]) / 6)

    assert sorted(folder.name for folder in (out / "data").iterdir() if folder.is_dir()) == CLASSES
    assert len(list((out / "data").rglob("*.mp4"))) == 24
    assert load_model(out / "model.safetensors").output_shape == (None, 6)
    with (out / "history.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1
    for name in ("learning_curves.png", "confusion_matrix.png", "lstm_gates.png"):
        with Image.open(out / name) as picture:
            picture.load()
            assert min(picture.size) > 200
    annotated = sorted((out / "annotated").iterdir())
    assert {path.suffix for path in annotated} == {".mp4", ".gif"}
    assert len(annotated) == 2 * demo.ANNOTATED_CLIPS
    assert all(len(read_clip(path, frames=None)) == 4 for path in annotated)
    assert len({path.stem.partition("_")[0] for path in annotated}) > 1  # of several classes

    text = capsys.readouterr().out
    assert f"accuracy on held-out clips   {metrics['test_accuracy']:.1%}" in text
    assert "chance: 16.7%" in text
    for line in text.splitlines():
        if line.startswith(f"  {out}"):  # where everything was written
            path, *_ = line.removeprefix(f"  {out}/").split("  ")
            assert all((out / name).exists() for name in path.rstrip("/").split(", "))


def test_demo_again(small, tmp_path):
    """A second demo reuses the data; the same seed gives the same figures."""
    out = tmp_path / "demo"
    results, times = [], []
    for seed in ("1", "1", "2"):
        assert main(["demo", "--out", str(out), "--seed", seed]) == 0
        figures = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        results.append((figures["test_loss"], figures["single_frame_accuracy"], figures["confusion"]))
        times.append({path: path.stat().st_mtime_ns for path in (out / "data").rglob("*.mp4")})
    assert results[0] == results[1]
    assert results[0] != results[2]
    assert times[0] == times[1] == times[2]


def test_demo_run_can_be_evaluated(small, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out)]) == 0
    trained = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert main(["evaluate", str(out), str(out / "data"), "--held-out"]) == 0
    measured = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert measured["confusion"] == trained["confusion"]
    assert main(["predict", str(out), str(out / "data" / "up" / "up_000.mp4")]) == 0


def test_demo_does_not_touch_other_data(small, tmp_path, capsys):
    (tmp_path / "demo" / "data").mkdir(parents=True)
    (tmp_path / "demo" / "data" / "notes.txt").write_text("mine")
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert "choose another folder" in capsys.readouterr().err
    assert (tmp_path / "demo" / "data" / "notes.txt").read_text() == "mine"


def test_single_frames(shapes):
    clips = clips_from_directory(shapes, 4, (16, 16), batch_size=5, shuffle=False)
    frames = SingleFrames(clips, seed=0)
    assert len(frames) == len(clips) == 4
    for (x, y), (clip, label) in zip(frames, clips, strict=True):
        assert x.shape == (len(clip), 16, 16, 3)
        np.testing.assert_array_equal(y, label)
        for frame, whole in zip(x, clip, strict=True):
            assert any(np.array_equal(frame, other) for other in whole)
    with pytest.raises(IndexError):
        frames[4]


def test_single_frames_draw_other_frames_and_a_new_order(shapes):
    clips = clips_from_directory(shapes, 6, (24, 24), batch_size=18, shuffle=True, seed=0)
    frames = SingleFrames(clips, seed=0)
    first, second = frames[0][0], frames[0][0]
    assert not np.array_equal(first, second)
    labels = frames[0][1]
    frames.on_epoch_end()
    assert not np.array_equal(frames[0][1], labels)
