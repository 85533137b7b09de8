"""Every example runs at toy size, leaves its pictures, and shows what it says it shows."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run an example in a folder of its own and return its variables and its output folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIVID_EXAMPLE_TOY", "1")
    monkeypatch.setenv("MINIVID_CACHE_DIR", str(tmp_path / "cache"))

    def run_example(name: str, *arguments: str) -> tuple[dict, Path]:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        variables = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        assert {entry.name for entry in tmp_path.iterdir()} <= {"minivid_examples", "cache", *arguments}
        return variables, tmp_path / "minivid_examples" / name

    return run_example


def check_pictures(folder: Path, *names: str) -> None:
    for name in names:
        with Image.open(folder / name) as picture:
            picture.load()
            assert picture.width > 100


def test_every_example_is_tested_and_listed():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {
        "adding_problem",
        "article",
        "detect_objects",
        "edges",
        "generate_video",
        "handwritten_loop",
        "in_painting",
        "three_questions",
        "video_io",
    }
    index = (EXAMPLES.parent / "docs" / "examples.md").read_text(encoding="utf-8")
    assert all(f"(../examples/{name}.py)" in index for name in names)


def test_edges(run):
    variables, out = run("edges")
    check_pictures(out, "feature_maps.png", "edges.png", "pooling.png")
    np.testing.assert_allclose(variables["convolved"], variables["correlated"], atol=1e-12)
    np.testing.assert_array_equal(variables["maps"]["unchanged"], variables["image"][1:-1, 1:-1])
    # a step of 0.75 between ground and disc, smoothed over (1 + 2 + 1) / 4: the map cannot be stronger
    assert 0.5 < np.abs(variables["maps"]["sobel, across"]).max() <= 0.75 + 1e-12
    assert variables["pooled"].shape == (1, 11, 11, 1)
    assert variables["pooled"].max() == variables["edges"].max()


def test_edges_of_a_photograph(run, tmp_path):
    pixels = np.zeros((30, 60, 3), np.uint8)
    pixels[:, 30:] = 255  # one upright edge
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    variables, out = run("edges", "photo.png")
    check_pictures(out, "feature_maps.png")
    assert variables["image"].shape == (48, 96)
    np.testing.assert_allclose(variables["maps"]["sobel, down"], 0, atol=1e-12)
    assert (variables["maps"]["sobel, across"].max(axis=1) > 0.2).all()


def test_adding_problem(run):
    variables, out = run("adding_problem")
    check_pictures(out, "gradient_norms_before.png", "gradient_norms_after.png")
    # Var of a sum of two numbers from U[0, 1] is 2 / 12
    assert variables["baseline"] == pytest.approx(1 / 6, rel=0.1)
    assert list(variables["after"]) == ["SimpleRNN, h", "LSTM, h", "LSTM, c"]
    assert all(norms.shape == (9,) and (norms > 0).all() for norms in variables["after"].values())
    assert np.isfinite([variables["lstm_error"], variables["rnn_error"]]).all()


def test_adding_problem_measures_the_gradient_of_the_state(run):
    """The norm at a step, against central differences of the loss with respect to the state after that step."""
    from minivid.layers import LSTM, Dense
    from minivid.models import Sequential
    from minivid.ops import lstm_forward

    variables, _ = run("adding_problem")
    T, t = variables["T"], 4
    x, y = variables["sequences"](1, np.random.default_rng(5))
    x = x.astype(np.float64)
    model = Sequential([LSTM(3, input_shape=(T, 2), dtype="float64"), Dense(1, dtype="float64")])
    found = variables["gradient_norms"](model, x, y)
    layer, dense = model.layers
    weights = layer.params["kernel"], layer.params["recurrent_kernel"], layer.params["bias"]
    states = [state[:, t - 1].copy() for state in layer.states]

    def loss(h0, c0):
        h, _, _ = lstm_forward(x[:, t:], *weights, h0, c0)
        return ((dense(h[:, -1]) - y) ** 2).mean()

    for slot, name in enumerate("hc"):
        gradient = np.zeros(3)
        for u in range(3):
            step = np.zeros((2, 1, 3))
            step[slot, 0, u] = 1e-6
            ahead, behind = (loss(*(np.array(states) + sign * step)) for sign in (1, -1))
            gradient[u] = (ahead - behind) / 2e-6
        assert found[name][t - 1] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


def test_handwritten_loop(run):
    variables, out = run("handwritten_loop")
    check_pictures(out, "learning_curves.png", "confusion_matrix.png", "filters.png")
    assert variables["same"] is True  # fit gives the same weights as the loop
    assert variables["history"]["loss"][0] == pytest.approx(np.log(6), abs=0.5)
    assert set(variables["train"]) & set(variables["test"]) == set()


def test_video_io(run):
    variables, out = run("video_io")
    assert variables["clip"].shape == (5, 48, 64, 3)
    written = {path.name for path in out.iterdir()}
    assert {"sweep.mp4", "sweep.gif", "moving_shapes.gif", "before_and_after.gif", "shapes"} <= written
    assert variables["x"].shape == (6, 8, 32, 32, 3)


def test_article(run):
    variables, out = run("article")
    check_pictures(out, "learning_curves.png")
    assert variables["frames"].class_names == ["down", "jump", "left", "right", "still", "up"]
    assert variables["model"].output_shape == (None, 6)
    assert len(variables["history"].history["loss"]) == 10
    # 10 epochs on 12 clips know some of them by heart: better than guessing, ln 6 = 1.79
    assert variables["history"].history["loss"][-1] < 1.79


def test_article_uses_the_clips_that_are_there(run, tmp_path):
    from minivid.video import write_clip

    for name, brightness in (("dark", 30), ("light", 220)):
        folder = tmp_path / "minivid_examples" / "article" / "data" / name
        folder.mkdir(parents=True)
        for k in range(3):
            write_clip(folder / f"{k}.gif", np.full((8, 32, 32, 3), brightness + k, np.uint8))
    variables, _ = run("article")
    assert variables["frames"].class_names == ["dark", "light"]
    assert variables["model"].output_shape == (None, 2)


def test_three_questions(run, capsys):
    variables, out = run("three_questions")
    check_pictures(out, "gradient_norms.png")
    fields = {name: variables["receptive_field"](layers) for name, layers in variables["stacks"].items()}
    assert fields["one 15x15"] == fields["seven 3x3"] == 15
    assert fields["3x3, pool 2, 3x3, pool 2, 3x3"] == 3 + 1 + 2 * 2 + 2 + 2 * 4  # the step doubles at each pooling
    # Two layers of 3·3·64·64 weights and 64 biases; no padding is lost, so each weight works once per pixel.
    assert variables["cost"](variables["stacks"]["two 3x3"]) == (2 * (9 * 64 * 64 + 64), 2 * 9 * 64 * 64)
    norms = variables["norms"]
    ratios = {name: values[0] / values[-1] for name, values in norms.items()}
    assert ratios["SimpleRNN, 1 layer"] < ratios["LSTM, 1 layer"] < ratios["LSTM, 1 layer, forget bias 4"]
    assert capsys.readouterr().out.count("held-out clips right") == 3


def test_detect_objects(run, capsys):
    variables, out = run("detect_objects")
    check_pictures(out, "clip.png", "iou_over_time.png")
    assert {path.name for path in out.glob("*.gif")} == {"CNN_and_ConvLSTM.gif", "frame_by_frame.gif"}
    assert variables["targets"].shape == (12, 6, 8, 8, 8)
    assert set(variables["table"]) == {"CNN + ConvLSTM", "frame by frame"}
    assert all(0 <= value <= 1 for row in variables["table"].values() for value in row.values())
    assert capsys.readouterr().out.count("#") == np.count_nonzero(variables["targets"][0, 0, ..., 0])


def test_generate_video(run, capsys):
    variables, out = run("generate_video")
    check_pictures(out, "rows.png", "error_per_step.png")
    assert {path.name for path in out.iterdir()} >= {"rows.gif", "rows.mp4", "metrics.json"}
    assert variables["test"].shape == (4, 16, 32, 32, 1)
    # The first step of a roll-out knows as much as a one-step prediction.
    errors = variables["errors"]
    for name in ("model", "copy last", "mean frame"):
        assert errors["roll-out"][name][0] == pytest.approx(errors["one-step"][name][0], rel=1e-5)
    assert capsys.readouterr().out.count("MSE at step") == 2


def test_generate_video_of_digits(run, tmp_path):
    digits = np.zeros((3, 28, 28), np.uint8)
    digits[:, 4:24, 10:18] = 255
    np.save(tmp_path / "digits.npy", digits)
    variables, _ = run("generate_video", "digits.npy")
    assert variables["test"].shape == (4, 16, 64, 64, 1)


def test_in_painting(run):
    variables, out = run("in_painting")
    check_pictures(out, "rows.png")
    assert {path.name for path in out.iterdir()} >= {"rows.gif", "rows.mp4", "metrics.json"}
    assert list(variables["figures"]) == ["interpolation", "copy last", "network, seed 0"]
    clip, given = variables["test"][0], variables["given"]
    np.testing.assert_array_equal(variables["rows"]["network"][given], clip[given])
    # Of the way from frame 3 to frame 8, frame 5 has gone two fifths.
    faded = variables["rows"]["interpolation"][4]
    np.testing.assert_allclose(faded, 0.6 * clip[2] + 0.4 * clip[7], atol=1e-6)
