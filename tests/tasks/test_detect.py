import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import minivid
from minivid.cli import main
from minivid.detection import Detections, read_annotations, write_coco
from minivid.detection.grid import decode, grid_targets
from minivid.losses import Loss
from minivid.models import load_model
from minivid.tasks.detect import (
    MODEL_SIZES,
    AnnotatedClips,
    Settings,
    build_detector,
    detect,
    measure,
    open_clips,
)
from minivid.video import OBJECTS, read_clip, write_clip, write_moving_objects

FILES = {
    "model.safetensors",
    "config.json",
    "history.csv",
    "metrics.json",
    "learning_curves.png",
    "precision_recall.png",
}
SMALL = ["--task", "detect", "--size", "32x48", "--frames", "4", "--epochs", "1", "--validation-split", "0.4"]
SETTINGS = Settings(height=32, width=48, frames=4, epochs=1, validation_split=0.4)


def json_of(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Ten clips of 8 frames of 40 x 48 pixels with annotations: ``objects_000.mp4``, ``objects_000.json`` ..."""
    return write_moving_objects(tmp_path_factory.mktemp("objects") / "objects", 10, 8, (40, 48))


@pytest.fixture(scope="module")
def finished_run(objects, tmp_path_factory):
    """A run folder; tests only read it, or work on a copy."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert main(["train", str(objects), "--out", str(out), *SMALL]) == 0
    return out


# --- the model and its settings -------------------------------------------------------------------------------


def test_size_of_the_tiny_model():
    model = build_detector((16, 32, 48, 3), num_classes=4)
    # Convolutions 3·3·3·16 + 16, 3·3·16·32 + 32, 3·3·32·32 + 32; ConvLSTM 3·3·(32 + 32)·4·32 + 4·32; head 32·9 + 9.
    assert model.count_params() == 448 + 4640 + 9248 + 73856 + 297
    assert model.output_shape == (None, 16, 8, 12, 9)


def test_the_model_without_recurrence_sees_frames_by_themselves():
    """What happens in a frame changes the outputs of this frame only; with recurrence, those of later ones too."""
    x = np.random.default_rng(0).random((1, 4, 16, 16, 3)).astype(np.float32)
    changed = x.copy()
    changed[0, 1] = 1 - changed[0, 1]
    for recurrent, expected in ((True, [False, True, True, True]), (False, [False, True, False, False])):
        model = build_detector(x.shape[1:], 2, recurrent=recurrent)
        assert model.output_shape == (None, 4, 4, 4, 7)
        differs = np.abs(model.predict(x) - model.predict(changed)).max(axis=(0, 2, 3, 4)) > 1e-6
        assert differs.tolist() == expected


def test_model_sizes_differ():
    counts = [build_detector((4, 16, 16, 3), 2, size).count_params() for size in MODEL_SIZES]
    assert counts == sorted(set(counts))
    assert build_detector((4, 16, 24, 3), 2, "medium").output_shape == (None, 4, 2, 3, 7)  # cells of 8 pixels


@pytest.mark.parametrize(("size", "height"), [(size, height) for size in MODEL_SIZES for height in (32, 39)])
def test_the_grid_of_the_settings_is_that_of_the_model(size, height):
    settings = Settings(frames=2, height=height, width=48, model=size)
    assert build_detector((2, height, 48, 3), 1, size).output_shape[2:4] == settings.grid


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((4, 16, 16, 3), 2, "huge"), "model size must be one of tiny, small, medium, got 'huge'"),
        (((4, 16, 16, 3), 0), "at least one class, got 0"),
        (((4, 3, 16, 3), 2), "at least 4x4 pixels for the poolings"),
    ],
)
def test_wrong_models(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_detector(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "epochs must be 1 or more, got 0"),
        (["--augment", "shift"], "augment must be of flip, brightness"),
        (["--dropout", "0.5", "--on-error", "skip"], "--task detect does not take --dropout, --on-error"),
        (["--test-groups", "1"], "test_groups needs groups"),
    ],
)
def test_bad_usage(options, message, capsys):
    assert main(["train", "clips", "--task", "detect", *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


# --- clips and targets ----------------------------------------------------------------------------------------


def test_clips_and_boxes_are_sampled_and_scaled_alike(objects):
    """4 of 8 frames: the second of every pair. Frames of 40 x 48 become 32 x 48, so that y shrinks to 4/5."""
    clips = open_clips(objects, SETTINGS)
    _, annotations = read_annotations(objects)
    assert [annotation.path for annotation in annotations] == clips.paths
    for k in (0, 7):
        for t, truth in enumerate(clips.annotations[k].frames):
            original = annotations[k].frames[2 * t + 1]
            np.testing.assert_allclose(truth.boxes, original.boxes * [1, 0.8, 1, 0.8], rtol=1e-6)
            np.testing.assert_array_equal(truth.classes, original.classes)
    x, y = clips[0]
    assert x.shape == (10, 4, 32, 48, 3)
    assert y.shape == (10, 4, 8, 12, 8)
    np.testing.assert_array_equal(x[3] * 255, read_clip(clips.paths[3], 4, (32, 48)))
    np.testing.assert_array_equal(y[3, 2], grid_targets(clips.annotations[3].frames[2], (32, 48), (8, 12), 3))


def test_every_clip_is_on_one_side_of_the_split(objects):
    training, held_out = (open_clips(objects, SETTINGS, subset) for subset in ("training", "validation"))
    assert len(training.paths) == 6
    assert len(held_out.paths) == 4
    assert sorted(training.paths + held_out.paths) == sorted(open_clips(objects, SETTINGS).paths)
    assert training.shuffle
    assert not held_out.shuffle


def test_split_by_source(objects):
    settings = replace(SETTINGS, groups=r"_(\d+)\.mp4", test_groups=("002", "005"))
    assert [path.name for path in open_clips(objects, settings, "validation").paths] == [
        "objects_002.mp4",
        "objects_005.mp4",
    ]


def test_flipped_clips_have_flipped_boxes(objects):
    settings = replace(SETTINGS, augment=("flip",), batch_size=10)
    plain, flipped = open_clips(objects, SETTINGS), open_clips(objects, settings, training=True)
    x, y = plain[0]
    kinds = set()
    for _ in range(2):
        for k, clip, targets in zip(flipped.order, *flipped[0], strict=True):
            turned = not np.array_equal(clip, x[k])
            kinds.add(turned)
            np.testing.assert_array_equal(clip, x[k][:, :, ::-1] if turned else x[k])
            W = 48
            truths = [
                truth._replace(boxes=truth.boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [W, 0, W, 0]) if turned else truth
                for truth in plain.annotations[k].frames
            ]
            expected = np.stack([grid_targets(truth, (32, 48), (8, 12), 3) for truth in truths])
            np.testing.assert_allclose(targets, expected, atol=1e-5)
        flipped.on_epoch_end()
    assert kinds == {False, True}
    np.testing.assert_array_equal(y, plain[0][1])  # nothing was changed in place


def test_brightness_changes_pixels_only(objects):
    clips = open_clips(objects, replace(SETTINGS, augment=("brightness",)), training=True)
    x, y = clips[0]
    assert not np.array_equal(x[0], open_clips(objects, SETTINGS)[0][0][clips.order[0]])
    np.testing.assert_array_equal(y[0], clips.targets[clips.order[0]])


def test_clips_without_objects(objects, tmp_path):
    _, (annotation, *_) = read_annotations(objects)
    nothing = [
        truth._replace(boxes=truth.boxes[:0], classes=truth.classes[:0], ignored=None) for truth in annotation.frames
    ]
    empty = annotation._replace(frames=nothing, tracks=None, visibility=[np.zeros(0)] * len(nothing))
    shutil.copy(annotation.path, tmp_path / "a.mp4")
    write_coco(tmp_path / "a.json", empty, OBJECTS)
    with pytest.raises(ValueError, match="no object is annotated in the 1 clips"):
        open_clips(tmp_path, SETTINGS)


# --- measuring ------------------------------------------------------------------------------------------------


def perfect(clips: AnnotatedClips) -> list[list[Detections]]:
    return [
        [Detections(truth.boxes, np.ones(len(truth.boxes)), truth.classes) for truth in clip.frames]
        for clip in clips.annotations
    ]


def test_a_perfect_detector(objects):
    clips = open_clips(objects, SETTINGS)
    figures = measure(perfect(clips), clips)
    for name in ("mAP@0.5", "mAP@0.5:0.95", "mAP@0.5_hidden_objects", "mAP@0.5_visible_objects"):
        assert figures[name] == 1.0
    assert figures["mAP@0.5_frames_with_hidden"] == 1.0
    assert set(figures["per_class"]) == set(OBJECTS)
    assert figures["frames"] == 40


def test_a_detector_that_sees_only_what_is_visible(objects):
    clips = open_clips(objects, SETTINGS)
    seen = []
    for clip, found in zip(clips.annotations, perfect(clips), strict=True):
        seen.append(
            [
                Detections(*(values[visible >= 0.3] for values in frame))
                for frame, visible in zip(found, clip.visibility, strict=True)
            ]
        )
    figures = measure(seen, clips)
    hidden = sum(int((visible < 0.3).sum()) for clip in clips.annotations for visible in clip.visibility)
    assert figures["hidden_objects"] == hidden > 0
    assert figures["mAP@0.5_visible_objects"] == 1.0
    assert figures["mAP@0.5_hidden_objects"] == 0.0
    assert figures["mAP@0.5_frames_with_hidden"] < figures["mAP@0.5"] < 1.0


# --- train ----------------------------------------------------------------------------------------------------


def test_train_writes_a_run_folder(finished_run):
    assert {path.name for path in finished_run.iterdir()} == FILES
    metrics = json_of(finished_run / "metrics.json")
    assert 0 <= metrics["mAP@0.5:0.95"] <= metrics["mAP@0.5"] <= 1
    assert metrics["clips"] == 4
    assert metrics["seed"] == 0
    assert metrics["version"] == minivid.__version__
    config = json_of(finished_run / "config.json")
    assert config["task"] == "detect"
    assert config["class_names"] == list(OBJECTS)
    with (finished_run / "history.csv").open(newline="") as file:
        assert set(next(csv.DictReader(file))) >= {"loss", "val_loss"}
    for name in ("learning_curves.png", "precision_recall.png"):
        with Image.open(finished_run / name) as picture:
            picture.load()
            assert min(picture.size) > 200


def test_training_twice_gives_the_same(finished_run, objects, tmp_path):
    assert main(["train", str(objects), "--out", str(tmp_path / "run"), *SMALL]) == 0
    assert (tmp_path / "run" / "metrics.json").read_bytes() == (finished_run / "metrics.json").read_bytes()


def test_the_model_learns(objects):
    clips = open_clips(objects, replace(SETTINGS, batch_size=5))
    model = build_detector(clips.input_shape, clips.num_classes)
    from minivid.tasks.detect import compile_detector

    compile_detector(model, 4e-3, 60)
    losses = model.fit(clips, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < losses[0] / 2
    assert isinstance(model.loss, Loss)


def test_train_on_gray_median_subtracted_clips(objects, tmp_path):
    options = ["--color", "grayscale", "--subtract-median", "--augment", "flip,brightness", "--batch-size", "4"]
    assert main(["train", str(objects), "--out", str(tmp_path / "run"), *SMALL, *options]) == 0
    assert load_model(tmp_path / "run" / "model.safetensors").input_shape == (None, 4, 32, 48, 1)


def test_train_keeps_an_older_run(finished_run, objects, capsys):
    assert main(["train", str(objects), "--out", str(finished_run), *SMALL]) == 1
    assert "holds a run; choose another --out, or add --overwrite" in capsys.readouterr().err


def test_train_on_clips_without_annotations(objects, tmp_path, capsys):
    shutil.copytree(objects, tmp_path / "clips")
    (tmp_path / "clips" / "objects_003.json").unlink()
    assert main(["train", str(tmp_path / "clips"), "--out", str(tmp_path / "run"), *SMALL]) == 1
    assert "clips without an annotation, objects_003.mp4" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- evaluate -------------------------------------------------------------------------------------------------


def test_evaluate_held_out_gives_the_figures_of_the_training(finished_run, objects, tmp_path, capsys):
    run = shutil.copytree(finished_run, tmp_path / "run")
    assert main(["evaluate", str(run), str(objects), "--held-out"]) == 0
    assert "mAP@0.5 on 4 held-out clips" in capsys.readouterr().out
    assert json_of(run / "evaluation" / "metrics.json") == json_of(run / "metrics.json")
    assert main(["evaluate", str(run), str(objects)]) == 0
    assert json_of(run / "evaluation" / "metrics.json")["clips"] == 10


def test_evaluate_on_other_classes(finished_run, objects, tmp_path, capsys):
    clips = shutil.copytree(objects, tmp_path / "clips")
    (clips / "classes.txt").write_text("square\ndisc\ntriangle\n")
    assert main(["evaluate", str(finished_run), str(clips)]) == 1
    assert "knows the classes ['disc', 'square', 'triangle'], but" in capsys.readouterr().err


def test_evaluate_skips_nothing(finished_run, objects, capsys):
    assert main(["evaluate", str(finished_run), str(objects), "--on-error", "skip"]) == 1
    assert "detection takes no --on-error skip" in capsys.readouterr().err


# --- predict --------------------------------------------------------------------------------------------------


@pytest.fixture
def sure_run(finished_run, tmp_path):
    """A run whose model finds squares all over every frame, whatever it sees."""
    run = shutil.copytree(finished_run, tmp_path / "sure")
    model = load_model(run / "model.safetensors")
    weights = [np.zeros_like(weight) for weight in model.get_weights()]
    weights[-1][:] = 3, 0, 0, np.log(4), np.log(4), 0, 20, 0  # the head's bias: a square of 4 x 4 cells, σ(3) = 95 %
    model.set_weights(weights)
    model.save(run / "model.safetensors")
    return run


def test_predict_says_how_many_and_how_sure(sure_run, tmp_path, capsys):
    write_clip(tmp_path / "other.mp4", np.zeros((3, 64, 80, 3), np.uint8))
    assert main(["predict", str(sure_run), str(tmp_path / "other.mp4")]) == 0
    path, text = capsys.readouterr().out.strip().split("  ", 1)
    model = load_model(sure_run / "model.safetensors")
    found = decode(model.predict(np.zeros((1, 4, 32, 48, 3), np.float32))[0, 0], (32, 48), 0.5)
    assert set(found.classes) == {1}
    assert path == str(tmp_path / "other.mp4")
    assert text == f"square: up to {len(found.boxes)} in 4 of 4 frames, best 95%"


def test_predict_finds_nothing(sure_run, tmp_path, capsys):
    model = load_model(sure_run / "model.safetensors")
    weights = model.get_weights()
    weights[-1][0] = -5
    model.set_weights(weights)
    model.save(sure_run / "model.safetensors")
    write_clip(tmp_path / "other.mp4", np.zeros((3, 64, 80, 3), np.uint8))
    assert main(["predict", str(sure_run), str(tmp_path / "other.mp4")]) == 0
    assert capsys.readouterr().out.endswith("nothing above 50%\n")


def test_predict_annotates_at_the_clips_own_size(sure_run, tmp_path, monkeypatch):
    """Boxes are scaled back: 4 cells of 12 along the frame's 48 pixels are 80 of 240."""
    given = []
    monkeypatch.setattr(
        minivid.plots,
        "draw_boxes",
        lambda frames, found, names: given.append((frames, found)) or np.zeros((4, 32, 32, 3), np.uint8),
    )
    clip = tmp_path / "other.mp4"
    write_clip(clip, np.zeros((4, 96, 240, 3), np.uint8))
    before = clip.read_bytes()
    assert main(["predict", str(sure_run), str(clip), str(clip), "--annotate", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.glob("*.mp4")} == {"other.mp4", "other_detected.mp4", "other_detected_2.mp4"}
    assert clip.read_bytes() == before
    frames, found = given[0]
    assert frames.shape == (4, 96, 240, 3)
    widths = found[0].boxes[:, 2] - found[0].boxes[:, 0]
    assert max(widths) == pytest.approx(4 / 12 * 240)


def test_predict_draws_boxes(sure_run, objects, tmp_path):
    assert main(["predict", str(sure_run), str(objects / "objects_000.mp4"), "--annotate", str(tmp_path / "out")]) == 0
    copy = read_clip(tmp_path / "out" / "objects_000_detected.mp4", None)
    assert len(copy) == 4
    assert min(copy.shape[1:3]) >= 256


def test_predict_goes_on_after_a_bad_file(finished_run, objects, tmp_path, capsys):
    good = objects / "objects_000.mp4"
    assert main(["predict", str(finished_run), str(tmp_path / "gone.mp4"), str(good)]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith(str(good))
    assert captured.err == f"error: {tmp_path / 'gone.mp4'}: no such file\n"


def test_detections_are_those_of_predict(finished_run, objects):
    """`detect` looks at clips in the order of their paths."""
    clips = open_clips(objects, replace(SETTINGS, batch_size=3))
    model = load_model(finished_run / "model.safetensors")
    found = detect(model, clips)
    assert len(found) == 10
    frames = read_clip(clips.paths[5], 4, (32, 48)) / np.float32(255)
    alone = decode(model.predict(frames[None])[0, 2], (32, 48), 0.02)
    np.testing.assert_allclose(found[5][2].scores, alone.scores, rtol=1e-4)
