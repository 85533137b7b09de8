import json
from dataclasses import replace

import pytest
from PIL import Image

import minivid
from minivid.cli import main
from minivid.tasks import generate_demo as demo
from minivid.video import read_clip


@pytest.fixture
def small(monkeypatch):
    """A demo of ten clips of 16 x 16 pixels and one epoch."""
    monkeypatch.setattr(demo, "CLIPS", 10)
    settings = replace(demo.SETTINGS, frames=6, seen=3, height=16, width=16, epochs=1, validation_split=0.2)
    monkeypatch.setattr(demo, "SETTINGS", settings)


def test_demo_writes_everything(small, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "generate", "--out", str(out), "--seed", "1"]) == 0

    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["seed"], metrics["clips"], metrics["predicted"]) == (1, 2, 3)
    assert metrics["seconds"] > 0
    assert metrics["peak_memory_mb"] is None or metrics["peak_memory_mb"] > 50
    assert metrics["version"] == minivid.__version__
    assert set(metrics["roll_out"]) == {"model", "model_fed_back", "copy_last", "mean_frame"}
    for part in ("one_step", "roll_out"):
        mse = {name: row["mse"] for name, row in metrics[part].items()}
        assert metrics["gain"][part] == pytest.approx(mse["copy_last"] / mse["model"])

    assert len(list((out / "data").glob("*.mp4"))) == 10
    for name in ("learning_curves.png", "error_per_step.png"):
        with Image.open(out / name) as picture:
            assert min(picture.size) > 200
    rows = sorted((out / "rows").iterdir())
    assert [path.suffix for path in rows] == [".gif", ".mp4", ".png"] * 2
    assert all(len(read_clip(path, frames=None)) == 6 for path in rows if path.suffix != ".png")

    text = capsys.readouterr().out
    assert "one-step: frames 4 to 6, each from all frames before it" in text
    assert "roll-out: the same frames, from the first 3 frames alone" in text
    for line in text.splitlines():
        if line.startswith(f"  {out}"):  # where everything was written
            path, *_ = line.removeprefix(f"  {out}/").split("  ")
            assert all((out / name).exists() for name in path.rstrip("/").split(", "))


def test_demo_again_and_evaluate(small, tmp_path):
    """A second demo reuses the data and gives the same figures; its run can be evaluated."""
    out = tmp_path / "demo"
    results = []
    for _ in range(2):
        assert main(["demo", "generate", "--out", str(out)]) == 0
        results.append(json.loads((out / "metrics.json").read_text(encoding="utf-8")))
    assert results[0]["roll_out"] == results[1]["roll_out"]
    assert main(["evaluate", str(out), str(out / "data"), "--held-out"]) == 0
    measured = json.loads((out / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert measured["one_step"] == results[1]["one_step"]
    assert measured["roll_out"]["model"] == results[1]["roll_out"]["model"]
