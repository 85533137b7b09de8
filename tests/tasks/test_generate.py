import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import minivid
from minivid.cli import main
from minivid.models import load_model
from minivid.optimizers import Adam
from minivid.tasks import generate
from minivid.tasks.common import load_run
from minivid.tasks.generate import (
    NextFrames,
    Settings,
    build_generator,
    masked_input,
    measure,
    newest_given,
    one_step,
    open_clips,
    roll_out,
)
from minivid.video import read_clip, write_bouncing_shapes, write_clip

SMALL = ["--task", "generate", "--size", "16x16", "--frames", "6", "--color", "grayscale", "--epochs", "1"]
FIGURES = ["mse", "squared_error", "mae", "psnr", "ssim"]


@pytest.fixture(scope="session")
def bouncing(tmp_path_factory):
    """Ten clips of six frames, loose in one folder."""
    return write_bouncing_shapes(tmp_path_factory.mktemp("clips") / "bouncing", 10, frames=6, size=(16, 16))


@pytest.fixture(scope="session")
def generator_run(bouncing, tmp_path_factory):
    """A run folder; tests only read it, or work on a copy."""
    out = tmp_path_factory.mktemp("runs") / "generator"
    assert main(["train", str(bouncing), "--out", str(out), *SMALL, "--validation-split", "0.3"]) == 0
    return out


def json_of(path):
    return json.loads(path.read_text(encoding="utf-8"))


def random_frames(*shape, seed=0):
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


class Batches(list):
    """Batches of frames, and what `measure` asks of a ClipSequence."""

    @property
    def paths(self):
        return [n for batch in self for n in range(len(batch))]

    @property
    def input_shape(self):
        return self[0].shape[1:]

    def inputs(self):
        return iter(self)


# --- the model and its settings -------------------------------------------------------------------------------


def test_size_of_the_tiny_networks():
    # Convolution 4·4·2·24 + 24, ConvLSTM 4·(3·3·24·24 + 3·3·24·24 + 24), transposed convolution 4·4·1·24 + 1.
    assert build_generator((32, 32, 1)).count_params() == 792 + 41568 + 385
    # Convolutions 4·4·4·16 + 16, 4·4·16·32 + 32, 4·4·32·32 + 32 leave 2 x 3 pixels of 32 channels: 192 features;
    # LSTM 4·256·(192 + 256 + 1), dense 256·192 + 192, transposed convolutions 4·4·32·32 + 32, 4·4·32·16 + 16,
    # 4·4·16·3 + 3.
    encoder, lstm, dense = 1040 + 8224 + 16416, 459776, 49344
    assert build_generator((16, 24, 3), "cnn-lstm").count_params() == encoder + lstm + dense + 16416 + 8208 + 771


@pytest.mark.parametrize("network", ["convlstm", "cnn-lstm"])
@pytest.mark.parametrize("size", ["small", "medium"])
def test_networks_keep_the_shape_of_a_frame(network, size):
    assert build_generator((8, 16, 3), network, size).output_shape == (None, None, 8, 16, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((32, 32, 1), "transformer"), "network must be one of convlstm, cnn-lstm, got 'transformer'"),
        (((32, 32, 1), "convlstm", "huge"), "model size must be one of tiny, small, medium, got 'huge'"),
        (((32, 32, 1), "convlstm", "tiny", "flow"), "output must be one of frame, difference, got 'flow'"),
        (((32, 33, 1),), "convlstm tiny takes frames whose height and width are multiples of 2, got 32x33"),
        (((36, 32, 1), "cnn-lstm"), "cnn-lstm tiny takes frames .* multiples of 8, got 36x32"),
    ],
)
def test_impossible_networks(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_generator(*arguments)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"frames": 1}, "frames must be 2 or more, got 1"),
        ({"seen": 16}, "seen must be from 1 to 15, below frames, got 16"),
        ({"seen": 0}, "seen must be from 1 to 15"),
        ({"network": "gan"}, "network must be one of convlstm, cnn-lstm, got 'gan'"),
        ({"output": "flow"}, "output must be one of frame, difference, got 'flow'"),
        ({"color": "cmyk"}, "color must be one of"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"validation_split": 0.0}, "validation_split must be between 0 and 1"),
        ({"augment": ("zoom",)}, "augment must be of flip, shift, brightness"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"test_groups": ("1",)}, "test_groups needs groups"),
    ],
)
def test_impossible_settings(setting, message):
    with pytest.raises(ValueError, match=message):
        Settings(**setting)


def test_half_of_the_frames_are_seen_unless_told_otherwise():
    assert Settings(frames=7).frames_seen == 3
    assert Settings(frames=7, seen=5).frames_seen == 5


# --- what the network sees and what it learns -------------------------------------------------------------------


def test_masked_input_hides_what_is_not_given():
    frames = random_frames(2, 3, 4, 4, 2) + 0.1
    given = np.array([[True, False, True], [True, True, False]])
    x = masked_input(frames, given)
    assert x.shape == (2, 3, 4, 4, 3)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[given][..., :2], frames[given])
    assert (x[given][..., 2] == 1).all()
    assert (x[~given] == 0).all()


def test_newest_given():
    frames = np.arange(6).reshape(1, 6, 1, 1, 1)
    given = np.array([[True, False, False, True, False, True]])
    assert newest_given(frames, given).ravel().tolist() == [0, 0, 0, 3, 3, 5]


def test_next_frames_of_both_kinds():
    frames = random_frames(4, 5, 8, 8, 1)
    batches = NextFrames([frames], seen=2, output="difference")
    x, y = batches[0]
    shown = x[..., 0, 0, 1]
    np.testing.assert_array_equal(shown[0::2], [[1, 1, 0, 0]] * 2)
    np.testing.assert_array_equal(shown[1::2], [[1, 1, 1, 1]] * 2)
    np.testing.assert_array_equal(x[1, ..., 0], frames[1, :4, ..., 0])
    # Clip 0 sees frames 0 and 1: steps 2 and 3 are compared with frame 1. Clip 1 sees all of them.
    np.testing.assert_allclose(y[0, 3], frames[0, 4] - frames[0, 1], atol=1e-6)
    np.testing.assert_allclose(y[1, 3], frames[1, 4] - frames[1, 3], atol=1e-6)
    np.testing.assert_array_equal(NextFrames([frames], seen=2)[0][1], frames[:, 1:])
    assert len(batches) == 1
    with pytest.raises(IndexError):
        batches[1]


# --- prediction -------------------------------------------------------------------------------------------------


def generator(output="frame", seed=3):
    """A network with random weights, larger than at the start, so that its predictions differ from each other."""
    minivid.set_seed(seed)
    model = build_generator((8, 8, 1), output=output)
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(scale=0.3, size=w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("output", ["frame", "difference"])
def test_one_step_does_not_look_ahead(output):
    model, frames = generator(output), random_frames(2, 5, 8, 8, 1)
    changed = frames.copy()
    changed[:, 3:] = 0
    before, after = one_step(model, frames), one_step(model, changed)
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert not np.allclose(before[:, 3], after[:, 3])


@pytest.mark.parametrize("output", ["frame", "difference"])
@pytest.mark.parametrize("feedback", [False, True])
def test_first_step_of_a_roll_out_is_a_one_step_prediction(output, feedback):
    model, frames = generator(output), random_frames(2, 4, 8, 8, 1)
    with minivid.use("tiled"):  # by default the number of frames decides which implementation runs: they round apart
        rolled = roll_out(model, frames, 3, feedback)
        assert rolled.shape == (2, 3, 8, 8, 1)
        np.testing.assert_allclose(rolled[:, 0], one_step(model, frames)[:, -1], atol=1e-6)
        np.testing.assert_allclose(rolled[:, :1], roll_out(model, frames, 1, feedback), atol=1e-6)


def test_feedback_sees_its_own_predictions():
    model, frames = generator(), random_frames(2, 3, 8, 8, 1)
    first = one_step(model, frames)[:, -1:]
    second = one_step(model, np.concatenate([frames, first], axis=1))[:, -1]
    np.testing.assert_allclose(roll_out(model, frames, 2, feedback=True)[:, 1], second, atol=1e-6)
    assert not np.allclose(roll_out(model, frames, 2)[:, 1], second)


def test_a_network_that_draws_no_difference_copies_the_last_frame():
    model, frames = build_generator((8, 8, 1), output="difference"), random_frames(2, 3, 8, 8, 1)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    np.testing.assert_allclose(roll_out(model, frames, 4), frames[:, [2, 2, 2, 2]], atol=1e-7)
    np.testing.assert_allclose(one_step(model, frames), frames, atol=1e-7)


def test_no_steps():
    with pytest.raises(ValueError, match="steps must be 1 or more, got 0"):
        roll_out(build_generator((8, 8, 1)), random_frames(1, 2, 8, 8, 1), 0)


def test_figures_worked_by_hand():
    """A network that always copies, on frames that grow brighter: 0, 0.1, 0.2, 0.3, of 16 x 16 pixels."""
    model = build_generator((16, 16, 1), output="difference")
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    frames = np.repeat(np.arange(4, dtype=np.float32) / 10, 256).reshape(1, 4, 16, 16, 1)
    figures = measure(model, Batches([frames, frames]), 2, np.full((16, 16, 1), 0.2, np.float32), feedback=True)
    assert (figures["seen"], figures["predicted"], figures["clips"]) == (2, 2, 2)
    one, free = figures["one_step"], figures["roll_out"]
    # One step: 0.1 off at both frames. Roll-out: 0.1 off, then 0.2 off. The mean frame 0.2: 0 off, then 0.1 off.
    for name in ("model", "copy_last"):
        assert one[name]["mse"] == pytest.approx(0.01, rel=1e-5)
        assert one[name]["psnr"] == pytest.approx(20, rel=1e-5)
        assert free[name]["per_step"]["mse"] == pytest.approx([0.01, 0.04], rel=1e-5)
        assert free[name]["mse"] == pytest.approx(0.025, rel=1e-5)
        assert free[name]["squared_error"] == pytest.approx(256 * 0.025, rel=1e-5)
        assert free[name]["mae"] == pytest.approx(0.15, rel=1e-5)
    assert free["model_fed_back"]["mse"] == pytest.approx(0.025, rel=1e-5)
    assert free["mean_frame"]["per_step"]["mse"] == pytest.approx([0, 0.01], abs=1e-6)
    assert free["mean_frame"]["per_step"]["psnr"] == pytest.approx([60, 20], rel=1e-4)  # equal frames count as 60 dB
    assert free["mean_frame"]["per_step"]["ssim"][0] == pytest.approx(1, abs=1e-4)
    assert set(one) == {"model", "copy_last", "mean_frame"}
    assert generate.gain(figures, "one_step") == pytest.approx(1)


@pytest.mark.parametrize("network", ["convlstm", "cnn-lstm"])
def test_a_network_learns(network):
    """A bright column that moves on by two pixels per frame, another start in every clip."""
    frames = np.zeros((4, 6, 16, 16, 1), np.float32)
    for n in range(4):
        for t in range(6):
            frames[n, t, :, (4 * n + 2 * t) % 16] = 1
    minivid.set_seed(0)
    model = build_generator((16, 16, 1), network, output="difference")
    model.compile(Adam(3e-3), "mse")
    x, y = NextFrames([frames], 3, "difference")[0]
    losses = [model.train_on_batch(x, y) for _ in range(80)]
    assert losses[0] == pytest.approx(1 / 8)  # a copy of the last frame: two columns of sixteen are off by one
    assert losses[-1] < 0.1 * losses[0]


# --- clips ------------------------------------------------------------------------------------------------------


def test_clips_may_lie_loose_or_in_folders(bouncing, tmp_path):
    settings = Settings(frames=4, height=16, width=16, color="grayscale", validation_split=0.3)
    loose = open_clips(bouncing, settings)
    assert len(loose.paths) == 10
    assert loose[0].shape == (10, 4, 16, 16, 1)
    mixed = tmp_path / "mixed"
    shutil.copytree(bouncing, mixed / "one")
    shutil.copy(loose.paths[0], mixed)
    training, held_out = (open_clips(mixed, settings, subset) for subset in ("training", "validation"))
    assert len(training.paths) + len(held_out.paths) == 11
    assert not set(training.paths) & set(held_out.paths)
    assert held_out.shuffle is False


def test_a_folder_without_clips(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="and the folders in it hold no video files"):
        open_clips(tmp_path, Settings())
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        open_clips(tmp_path / "gone", Settings())


# --- train, evaluate, predict -------------------------------------------------------------------------------------


def test_train_writes_a_run(generator_run):
    names = {path.name for path in generator_run.iterdir()}
    assert names == {
        "model.safetensors",
        "config.json",
        "mean_frame.png",
        "history.csv",
        "metrics.json",
        "learning_curves.png",
        "rows",
    }
    metrics = json_of(generator_run / "metrics.json")
    assert (metrics["clips"], metrics["seen"], metrics["predicted"]) == (3, 3, 3)
    assert metrics["version"] == minivid.__version__
    assert metrics["skipped"] == []
    for part in ("one_step", "roll_out"):
        for row in ("model", "copy_last", "mean_frame"):
            figures = metrics[part][row]
            assert list(figures) == [*FIGURES, "per_step"]
            assert figures["squared_error"] == pytest.approx(256 * figures["mse"])
            for name in FIGURES:
                assert len(figures["per_step"][name]) == 3
                assert figures[name] == pytest.approx(np.mean(figures["per_step"][name]))
    with (generator_run / "history.csv").open(newline="") as file:
        (epoch,) = csv.DictReader(file)
    assert {"loss", "val_loss"} <= set(epoch)
    config = json_of(generator_run / "config.json")
    assert config["task"] == "generate"
    assert config["settings"]["output"] == "difference"
    drawn = sorted((generator_run / "rows").iterdir())
    assert [path.suffix for path in drawn] == [".gif", ".mp4", ".png"] * 3
    assert len(read_clip(drawn[0], frames=None)) == len(read_clip(drawn[1], frames=None)) == 6
    with Image.open(drawn[2]) as picture:
        assert min(picture.size) > 200


def test_mean_frame_is_that_of_the_training_clips(generator_run, bouncing):
    _, settings, _ = load_run(generator_run, Settings)
    clips = open_clips(bouncing, settings, "training")
    expected = np.mean([clips.read(path) for path in clips.paths], axis=(0, 1)) / 255
    np.testing.assert_allclose(generate.read_mean_frame(generator_run, settings), expected, atol=0.5 / 255 + 1e-6)


def test_same_seed_same_run(bouncing, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert main(["train", str(bouncing), "--out", str(tmp_path / name), *SMALL, "--seed", seed]) == 0
    weights = {name: load_model(tmp_path / name / "model.safetensors").get_weights() for name in "abc"}
    assert all(np.array_equal(a, b) for a, b in zip(weights["a"], weights["b"], strict=True))
    assert not np.array_equal(weights["a"][0], weights["c"][0])
    assert json_of(tmp_path / "a" / "metrics.json") == json_of(tmp_path / "b" / "metrics.json")


def test_output_names_one_step_and_roll_out(bouncing, tmp_path, capsys):
    options = ["--network", "cnn-lstm", "--output", "frame", "--seen", "4", "--augment", "flip"]
    assert main(["train", str(bouncing), "--out", str(tmp_path / "run"), *SMALL, *options]) == 0
    out = capsys.readouterr().out
    assert "8 clips to train on, 2 held out" in out
    assert "one-step: frames 5 to 6, each from all frames before it" in out
    assert "roll-out: the same frames, from the first 4 frames alone" in out
    metrics = json_of(tmp_path / "run" / "metrics.json")
    assert f"{metrics['roll_out']['copy_last']['mse']:.5f}" in out


def test_bad_input_leaves_no_run(bouncing, tmp_path, capsys):
    run = ["--out", str(tmp_path / "run")]
    assert main(["train", str(bouncing), *run, *SMALL, "--size", "17x16"]) == 1
    assert "multiples of 2, got 17x16" in capsys.readouterr().err
    assert main(["train", str(bouncing), *run, *SMALL, "--seen", "6"]) == 2
    assert "seen must be from 1 to 5" in capsys.readouterr().err
    assert main(["train", str(bouncing), *run, *SMALL, "--dropout", "0.5"]) == 2
    assert "--task generate does not take --dropout" in " ".join(capsys.readouterr().err.split())
    assert main(["train", str(bouncing), *run, "--task", "classify", "--seen", "3"]) == 2
    assert "--task classify does not take --seen" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "run").exists()


def test_frames_too_small_for_ssim(bouncing, tmp_path, capsys):
    assert main(["train", str(bouncing), "--out", str(tmp_path / "run"), *SMALL, "--size", "8x16"]) == 1
    assert "11" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_evaluate(generator_run, bouncing, tmp_path, capsys):
    run = shutil.copytree(generator_run, tmp_path / "run")
    assert main(["evaluate", str(run), str(bouncing), "--held-out"]) == 0
    assert json_of(run / "evaluation" / "metrics.json") == json_of(run / "metrics.json")
    assert "3 held-out clips" in capsys.readouterr().out
    assert main(["evaluate", str(run), str(bouncing)]) == 0
    assert json_of(run / "evaluation" / "metrics.json")["clips"] == 10
    assert len(list((run / "evaluation" / "rows").iterdir())) == 9


def test_predict(generator_run, bouncing, tmp_path, capsys):
    good, bad = bouncing / "bouncing_0003.mp4", tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    folder = tmp_path / "annotated"
    assert main(["predict", str(generator_run), str(good), str(bad), "--annotate", str(folder)]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {bad}: not a video")
    frames = read_clip(good, 6, (16, 16), color_mode="grayscale")[None] / np.float32(255)
    predicted = roll_out(load_model(generator_run / "model.safetensors"), frames[:, :3], 3)
    error, copied = ((predicted - frames[:, 3:]) ** 2).mean(), ((frames[:, [2] * 3] - frames[:, 3:]) ** 2).mean()
    assert f"roll-out over 3 frames MSE {error:.5f} (copy last {copied:.5f})" in captured.out
    assert {path.name for path in folder.iterdir()} == {
        "bouncing_0003_predicted.mp4",
        "bouncing_0003_predicted.png",
    }
    assert len(read_clip(folder / "bouncing_0003_predicted.mp4", frames=None)) == 6


def test_a_still_clip_has_figures_too(generator_run, tmp_path):
    """Copy-last is then without any error; its PSNR must stay a number that JSON knows."""
    run = shutil.copytree(generator_run, tmp_path / "run")
    still = tmp_path / "still"
    still.mkdir()
    write_clip(still / "still.gif", np.full((6, 16, 16, 3), 100, np.uint8))
    assert main(["evaluate", str(run), str(still)]) == 0
    text = (run / "evaluation" / "metrics.json").read_text()
    assert "Infinity" not in text
    assert "NaN" not in text
    assert json.loads(text)["roll_out"]["copy_last"]["psnr"] == 60


# --- real clips ---------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_real_clips(data_dir, tmp_path):
    options = (
        "--task generate --frames 8 --size 24x32 --color grayscale --epochs 3 --batch-size 6 --learning-rate 0.004"
    )
    groups = ["--groups", r"seq(\d+)", "--test-groups", "02,04,06,08,10"]
    run = tmp_path / "run"
    assert main(["train", str(data_dir / "ut_interaction_set1"), "--out", str(run), *options.split(), *groups]) == 0
    metrics = json_of(run / "metrics.json")
    assert metrics["clips"] == 30
    assert metrics["one_step"]["model"]["mse"] < metrics["one_step"]["copy_last"]["mse"]
