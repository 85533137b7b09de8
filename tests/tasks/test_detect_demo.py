import json
from dataclasses import replace

import pytest
from PIL import Image

from minivid.cli import main
from minivid.models import load_model
from minivid.tasks import detect_demo as demo
from minivid.video import read_clip


@pytest.fixture
def small(monkeypatch):
    """A demo of a few clips and one epoch."""
    monkeypatch.setattr(demo, "CLIPS", 8)
    monkeypatch.setattr(demo, "HELD_OUT_CLIPS", 5)
    monkeypatch.setattr(demo, "ANNOTATED_CLIPS", 2)
    monkeypatch.setattr(demo, "SETTINGS", replace(demo.SETTINGS, frames=8, epochs=1))


def figures_of(out):
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def test_demo_writes_everything(small, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "detect", "--out", str(out), "--seed", "1"]) == 0
    figures = figures_of(out)
    maps = ["mAP@0.5", "mAP@0.5:0.95"]
    maps += [f"mAP@0.5_{part}" for part in ("visible_objects", "hidden_objects", "frames_with_hidden")]
    for part in (figures, figures["without_recurrence"]):
        assert all(0 <= part[name] <= 1 for name in maps)
        assert set(part["per_class"]) == {"disc", "square", "triangle"}
    assert figures["seconds"] > 0
    assert figures["peak_memory_mb"] is None or figures["peak_memory_mb"] > 50
    assert figures["seed"] == 1
    assert figures["machine"]
    assert figures["clips"] == 5
    assert figures["hidden_objects"] > 0

    assert len(list((out / "data" / "train").glob("objects_*.mp4"))) == 8
    assert len(list((out / "data" / "train").glob("objects_*.json"))) == 8
    assert load_model(out / "model.safetensors").output_shape == (None, 8, 8, 8, 8)
    for name in ("learning_curves.png", "precision_recall.png", "iou_over_time.png"):
        with Image.open(out / name) as picture:
            picture.load()
            assert min(picture.size) > 200
    annotated = sorted((out / "annotated").iterdir())
    assert len(annotated) == 2 * demo.ANNOTATED_CLIPS
    assert {path.suffix for path in annotated} == {".mp4", ".gif"}
    assert all(len(read_clip(path, frames=None)) == 8 for path in annotated)

    text = capsys.readouterr().out
    assert f"{figures['mAP@0.5']:.3f}" in text
    for line in text.splitlines():
        if line.startswith(f"  {out}"):  # where everything was written
            path, *_ = line.removeprefix(f"  {out}/").split("  ")
            assert all((out / name).exists() for name in path.rstrip("/").split(", "))


def test_demo_again_reuses_the_data_and_can_be_evaluated(small, tmp_path):
    out = tmp_path / "demo"
    results, times = [], []
    for _ in range(2):
        assert main(["demo", "detect", "--out", str(out)]) == 0
        figures = figures_of(out)
        results.append({name: value for name, value in figures.items() if name not in ("seconds", "peak_memory_mb")})
        times.append({path: path.stat().st_mtime_ns for path in (out / "data").rglob("*.mp4")})
    assert results[0] == results[1]
    assert times[0] == times[1]
    assert main(["evaluate", str(out), str(out / "data" / "held_out")]) == 0
    measured = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert measured["mAP@0.5"] == results[0]["mAP@0.5"]


def test_held_out_clips_are_others(small, tmp_path):
    folders = [
        demo._clips(tmp_path / name, 4, seed, replace(demo.SETTINGS, frames=4), training)
        for name, seed, training in (("train", demo.DATA_SEEDS[0], True), ("held_out", demo.DATA_SEEDS[1], False))
    ]
    first, second = ([path.read_bytes() for path in clips.paths] for clips in folders)
    assert len(set(first + second)) == 8
