import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import minivid
from minivid.callbacks import ModelCheckpoint
from minivid.cli import main
from minivid.models import load_model
from minivid.tasks import classify, common
from minivid.tasks.classify import MODEL_SIZES, Settings, build_classifier, open_clips
from minivid.tasks.common import load_run
from minivid.video import clips_from_directory, read_clip

CLASSES = ["down", "jump", "left", "right", "still", "up"]
FILES = {
    "model.safetensors",
    "config.json",
    "history.csv",
    "metrics.json",
    "learning_curves.png",
    "confusion_matrix.png",
}


def json_of(path):
    return json.loads(path.read_text(encoding="utf-8"))


def history_of(run):
    with (run / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def copy_of(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


# --- the model and its settings -------------------------------------------------------------------------------


def test_size_of_the_tiny_model():
    model = build_classifier((16, 48, 64, 1), num_classes=6, size="tiny", dropout=0.5)
    # Convolutions 3·3·1·8 + 8, 3·3·8·16 + 16, 3·3·16·16 + 16; three poolings leave 6 x 8 pixels of 16 channels;
    # LSTM 4·32·(768 + 32 + 1); dense 32·6 + 6. Dropout has no weights.
    assert model.count_params() == 80 + 1168 + 2320 + 102528 + 198
    assert model.input_shape == (None, 16, 48, 64, 1)


def test_model_sizes_differ():
    counts = [build_classifier((4, 16, 16, 3), 2, size).count_params() for size in MODEL_SIZES]
    assert counts == sorted(set(counts))


def test_frames_too_small_for_the_poolings():
    with pytest.raises(ValueError, match="at least 8x8 pixels"):
        build_classifier((16, 7, 64, 3), 6)
    with pytest.raises(ValueError, match="tiny, small, medium, got 'huge'"):
        build_classifier((16, 64, 64, 3), 6, "huge")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"color": "cmyk"}, "color must be one of rgb, grayscale, got 'cmyk'"),
        ({"model": "huge"}, "model must be one of tiny, small, medium, got 'huge'"),
        ({"on_error": "ignore"}, "on_error must be one of raise, skip, got 'ignore'"),
        ({"augment": ("flip", "zoom")}, "augment must be of flip, shift, brightness, got .*zoom"),
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
        ({"batch_size": -1}, "batch_size must be 1 or more, got -1"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1, got 1.0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0, got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, got nan"),
        ({"validation_split": 1.0}, "validation_split must be between 0 and 1, got 1.0"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"groups": "seq("}, "no regular expression"),
        ({"groups": "seq"}, "must have one group in parentheses"),
        ({"test_groups": ("1",)}, "test_groups needs groups"),
    ],
)
def test_impossible_settings(setting, message):
    with pytest.raises(ValueError, match=message):
        Settings(**setting)


# --- train ----------------------------------------------------------------------------------------------------


def test_train_writes_a_run(train, tmp_path, capsys):
    assert train("--epochs", "2", "--seed", "3") == 0
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == FILES
    metrics = json_of(run / "metrics.json")
    assert metrics.keys() >= {"accuracy", "loss", "per_class", "skipped", "seed", "version"}
    assert metrics["seed"] == 3
    assert metrics["version"] == minivid.__version__
    assert metrics["skipped"] == []
    assert metrics["clips"] == 6  # round(0.4 · 3) of each of six classes
    assert [entry["class"] for entry in metrics["per_class"]] == CLASSES
    assert metrics["accuracy"] == pytest.approx(np.trace(metrics["confusion"]) / 6)
    history = history_of(run)
    assert len(history) == 2
    assert history[0].keys() >= {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history[1]["val_loss"] == pytest.approx(metrics["loss"], rel=1e-4)  # of the last epoch, not the best
    assert json_of(run / "config.json")["class_names"] == CLASSES
    for picture in run.glob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 200
    out = capsys.readouterr().out
    assert "12 clips to train on, 6 held out" in out
    assert f"accuracy on 6 held-out clips: {metrics['accuracy']:.1%}" in out
    assert str(run) in out


def test_same_seed_same_run(train, tmp_path):
    options = ["--dropout", "0.3", "--augment", "flip,shift,brightness", "--epochs", "2"]
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert train(*options, "--seed", seed, out=tmp_path / name) == 0
    weights = {name: load_model(tmp_path / name / "model.safetensors").get_weights() for name in "abc"}
    assert all(np.array_equal(a, b) for a, b in zip(weights["a"], weights["b"], strict=True))
    assert not np.array_equal(weights["a"][0], weights["c"][0])
    assert json_of(tmp_path / "a" / "metrics.json") == json_of(tmp_path / "b" / "metrics.json")


def test_train_does_not_replace_a_run(train, tmp_path, capsys):
    run = tmp_path / "run"
    assert train() == 0
    before = (run / "model.safetensors").read_bytes()
    assert train("--seed", "1") == 1
    assert "holds a run; choose another --out, or add --overwrite" in capsys.readouterr().err
    assert (run / "model.safetensors").read_bytes() == before
    assert train("--seed", "1", "--overwrite") == 0
    assert (run / "model.safetensors").read_bytes() != before
    assert json_of(run / "metrics.json")["seed"] == 1


def test_bad_data_leave_no_run(train, shapes, tmp_path, capsys):
    clips = copy_of(shapes, tmp_path)
    (clips / "left" / "left_001.mp4").write_bytes(b"no video")
    assert train(directory=clips) == 1
    error = capsys.readouterr().err
    assert "left_001.mp4" in error
    assert "Traceback" not in error
    shutil.rmtree(clips / "up")
    (clips / "up").mkdir()
    assert train(directory=clips) == 1
    assert "up holds no video files" in capsys.readouterr().err
    assert train("--size", "4x4") == 1
    assert "at least 8x8 pixels" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("default::minivid.video.VideoWarning")
def test_train_skips_bad_files_and_reports_them(train, shapes, tmp_path, capsys):
    clips = copy_of(shapes, tmp_path)
    (clips / "left" / "broken.mp4").write_bytes(b"no video")
    (clips / "up" / "empty.avi").touch()
    assert train("--on-error", "skip", directory=clips) == 0
    captured = capsys.readouterr()
    assert "warning: skipped" in captured.err
    assert "skipped 2 unreadable files; metrics.json lists them" in captured.out
    metrics = json_of(tmp_path / "run" / "metrics.json")
    skipped = dict(metrics["skipped"])
    assert {path.rpartition("/")[2] for path in skipped} == {"broken.mp4", "empty.avi"}
    assert any("zero bytes" in reason for reason in skipped.values())


def test_held_out_groups(train, tmp_path, shapes):
    options = ["--groups", r"_(\d+)", "--test-groups", "000, 002"]
    assert train(*options) == 0
    assert json_of(tmp_path / "run" / "metrics.json")["clips"] == 12
    _, settings, _ = load_run(tmp_path / "run", Settings)
    assert settings.test_groups == ("000", "002")
    assert set(open_clips(shapes, settings, "training").groups) == {"001"}
    assert set(open_clips(shapes, settings, "validation").groups) == {"000", "002"}


def test_groups_of_no_clip(train, tmp_path, capsys):
    assert train("--groups", r"_(\d+)", "--test-groups", "007") == 1
    assert "validation_groups ['007'] do not occur; there are ['000', '001', '002']" in capsys.readouterr().err
    assert train("--groups", r"person(\d+)") == 1
    assert "does not match" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_options_reach_the_clips(shapes):
    settings = Settings(frames=4, height=16, width=20, color="grayscale", subtract_median=True, augment=("flip",))
    training, held_out = (open_clips(shapes, settings, subset) for subset in ("training", "validation"))
    assert training.input_shape == (4, 16, 20, 1)
    assert not set(training.paths) & set(held_out.paths)
    x, _ = training[0]
    assert x.min() < 0 <= np.median(x) < 0.1  # the background is gone
    assert training.augment is not None
    assert held_out.augment is None
    assert held_out.shuffle is False


# --- Ctrl-C ---------------------------------------------------------------------------------------------------


def interrupt_in(monkeypatch, epoch):
    """Press Ctrl-C at the beginning of an epoch, counted from 0."""

    class Checkpoint(ModelCheckpoint):
        def on_epoch_begin(self, number, logs=None):
            super().on_epoch_begin(number, logs)
            if number == epoch:
                raise KeyboardInterrupt

    monkeypatch.setattr(common, "ModelCheckpoint", Checkpoint)


def test_interrupted_run_keeps_the_last_complete_epoch(train, shapes, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    interrupt_in(monkeypatch, epoch=2)
    assert train("--epochs", "5") == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == f"interrupted; {run / 'model.safetensors'} holds the last complete epoch"
    assert "Traceback" not in error
    assert len(history_of(run)) == 2
    assert not (run / "metrics.json").exists()
    assert main(["evaluate", str(run), str(shapes), "--held-out"]) == 0
    val_loss = history_of(run)[-1]["val_loss"]
    assert json_of(run / "evaluation" / "metrics.json")["loss"] == pytest.approx(val_loss, rel=1e-4)


def test_interrupted_before_the_first_epoch_ends(train, tmp_path, monkeypatch, capsys):
    assert train() == 0
    interrupt_in(monkeypatch, epoch=0)
    assert train("--overwrite") == 1
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted; no epoch was complete"
    assert not (tmp_path / "run" / "model.safetensors").exists()  # that of the run before is not this run's


# --- evaluate -------------------------------------------------------------------------------------------------


def test_evaluate(finished_run, shapes, tmp_path, capsys):
    run = copy_of(finished_run, tmp_path)
    trained = json_of(run / "metrics.json")
    assert main(["evaluate", str(run), str(shapes), "--held-out"]) == 0
    held_out = json_of(run / "evaluation" / "metrics.json")
    assert held_out == trained  # the same clips, the same model
    assert "on 6 held-out clips" in capsys.readouterr().out
    assert main(["evaluate", str(run), str(shapes)]) == 0
    everything = json_of(run / "evaluation" / "metrics.json")
    assert everything["clips"] == 18
    assert everything.keys() >= {"accuracy", "loss", "per_class", "skipped", "seed", "version"}
    assert "on 18 clips" in capsys.readouterr().out
    assert (run / "evaluation" / "confusion_matrix.png").is_file()
    assert json_of(run / "metrics.json") == trained


def test_evaluate_figures(finished_run, shapes, tmp_path):
    """Accuracy and loss are those of the clips, one by one."""
    run = copy_of(finished_run, tmp_path)
    assert main(["evaluate", str(run), str(shapes)]) == 0
    model = load_model(run / "model.safetensors")
    clips = clips_from_directory(shapes, 4, (16, 16), batch_size=5, class_mode="sparse", shuffle=False)
    probabilities = np.concatenate([model.predict(x) for x, _ in clips])
    labels = np.concatenate([y for _, y in clips])
    metrics = json_of(run / "evaluation" / "metrics.json")
    assert metrics["accuracy"] == pytest.approx(np.mean(probabilities.argmax(axis=1) == labels))
    assert metrics["loss"] == pytest.approx(-np.log(probabilities[np.arange(18), labels]).mean(), rel=1e-5)


def test_evaluate_on_other_classes(finished_run, shapes, tmp_path, capsys):
    run, clips = copy_of(finished_run, tmp_path), shutil.copytree(shapes, tmp_path / "clips")
    (clips / "up").rename(clips / "fly")
    assert main(["evaluate", str(run), str(clips)]) == 1
    error = capsys.readouterr().err
    assert "knows the classes" in error
    assert "'fly'" in error
    assert not (run / "evaluation").exists()


@pytest.mark.filterwarnings("default::minivid.video.VideoWarning")
def test_evaluate_skips_bad_files(finished_run, shapes, tmp_path):
    run, clips = copy_of(finished_run, tmp_path), shutil.copytree(shapes, tmp_path / "clips")
    (clips / "up" / "empty.mp4").touch()
    assert main(["evaluate", str(run), str(clips)]) == 1
    assert main(["evaluate", str(run), str(clips), "--on-error", "skip"]) == 0
    assert len(json_of(run / "evaluation" / "metrics.json")["skipped"]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "config.json is damaged"),
        ("[]", "holds no JSON object"),
        ('{"settings": {}}', "config.json is damaged: 'class_names'"),
        ('{"settings": {"frames": "many"}, "class_names": []}', "config.json is damaged"),
        ('{"settings": {"model": "huge"}, "class_names": []}', "config.json is damaged: model must be one of"),
    ],
)
def test_damaged_config(finished_run, tmp_path, content, message):
    run = copy_of(finished_run, tmp_path)
    (run / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        load_run(run, Settings)


def test_no_run_folder(shapes, tmp_path, capsys):
    for command in (["evaluate", str(tmp_path), str(shapes)], ["predict", str(tmp_path), "clip.mp4"]):
        assert main(command) == 1
        assert capsys.readouterr().err == f"error: {tmp_path} is no run folder: it has no config.json\n"


# --- predict --------------------------------------------------------------------------------------------------


def test_predict(finished_run, shapes, capsys):
    clips = [shapes / "up" / "up_000.mp4", shapes / "still" / "still_001.mp4"]
    assert main(["predict", str(finished_run), *map(str, clips), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    model = load_model(finished_run / "model.safetensors")
    for line, path in zip(lines, clips, strict=True):
        probabilities = model.predict(read_clip(path, 4, (16, 16))[None] / np.float32(255))[0]
        first, second = np.argsort(-probabilities)[:2]
        shown = f"{CLASSES[first]} {probabilities[first]:.0%}  {CLASSES[second]} {probabilities[second]:.0%}"
        assert line.split(None, 1) == [str(path), shown]


def test_predict_prepares_clips_as_training_did(train, shapes, tmp_path, monkeypatch, capsys):
    assert train("--color", "grayscale", "--subtract-median") == 0
    seen = []
    load = classify.load_run

    def spy(run, kind, device):
        model, *rest = load(run, kind, device)
        predict = model.predict
        monkeypatch.setattr(model, "predict", lambda x: seen.append(x) or predict(x))
        return model, *rest

    monkeypatch.setattr(classify, "load_run", spy)
    path = shapes / "down" / "down_000.mp4"
    assert main(["predict", str(tmp_path / "run"), str(path)]) == 0
    _, settings, _ = load(tmp_path / "run", Settings)
    trained_on = open_clips(shapes, settings)
    assert trained_on.paths[0] == path
    np.testing.assert_array_equal(seen[0], next(trained_on.inputs())[:1])


def test_predict_goes_on_after_a_bad_file(finished_run, shapes, tmp_path, capsys):
    bad, good = tmp_path / "bad.mp4", shapes / "up" / "up_000.mp4"
    bad.write_bytes(b"no video")
    assert main(["predict", str(finished_run), str(bad), str(tmp_path / "gone.mp4"), str(good)]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith(str(good))
    assert len(captured.out.splitlines()) == 1
    first, second = captured.err.splitlines()
    assert first.startswith(f"error: {bad}: not a video")
    assert second == f"error: {tmp_path / 'gone.mp4'}: no such file"


def test_predict_annotates(finished_run, shapes, tmp_path):
    twins = [tmp_path / "a" / "clip.mp4", tmp_path / "b" / "clip.mp4"]
    for path, source in zip(twins, ("up", "left"), strict=True):
        path.parent.mkdir()
        shutil.copy(shapes / source / f"{source}_000.mp4", path)
    before = twins[0].read_bytes()
    folder = twins[0].parent  # the folder of a clip itself: the clip must survive
    assert main(["predict", str(finished_run), *map(str, twins), "--annotate", str(folder)]) == 0
    assert twins[0].read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {"clip.mp4", "clip_predicted.mp4", "clip_predicted_2.mp4"}
    copy = read_clip(folder / "clip_predicted.mp4", frames=None)
    assert len(copy) == 4
    assert min(copy.shape[1:3]) >= 128


# --- real clips -----------------------------------------------------------------------------------------------


@pytest.mark.data
def test_real_clips(data_dir, tmp_path, capsys):
    clips = data_dir / "ut_interaction_set1"
    options = "--frames 8 --size 48x64 --color grayscale --subtract-median --augment flip --epochs 8 --batch-size 6"
    groups = ["--groups", r"seq(\d+)", "--test-groups", "02,04,06,08,10"]
    run = tmp_path / "run"
    assert main(["train", str(clips), "--out", str(run), *options.split(), *groups]) == 0
    metrics = json_of(run / "metrics.json")
    assert metrics["clips"] == 30
    losses = [epoch["loss"] for epoch in history_of(run)]
    assert losses[-1] < 0.8 * losses[0]
    assert metrics["accuracy"] > 0.25  # chance is 1/6
