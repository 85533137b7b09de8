"""Pictures: complete PNG files, and the right values drawn in the right places."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from minivid import plots
from minivid.plots import style
from minivid.plots.clips import fitted
from minivid.plots.confusion import _confusion_matrix_figure
from minivid.plots.curves import _learning_curves_figure
from minivid.plots.gates import _lstm_gates_figure
from minivid.plots.gradients import _gradient_norms_figure
from minivid.plots.kernels import _filters_figure
from minivid.plots.pictures import _images_figure


def all_texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def some_gates(T: int, U: int, seed: int = 0) -> np.ndarray:
    """Random activations in the slots i, f, C~, o: the candidate from -1 to 1, the gates from 0 to 1."""
    slots = np.random.default_rng(seed).random((T, 4, U))
    slots[:, 2] = 2 * slots[:, 2] - 1
    return slots.reshape(T, 4 * U)


def some_frames(T: int, H: int = 6, W: int = 8, C: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (T, H, W, C), dtype=np.uint8)


DRAWINGS = {
    "learning_curves": lambda path: plots.learning_curves({"loss": [2.0, 1.0], "accuracy": [0.1, 0.5]}, path),
    "confusion_matrix": lambda path: plots.confusion_matrix(
        np.eye(20, dtype=int), [f"class {k}" for k in range(20)], path
    ),
    "lstm_gates": lambda path: plots.lstm_gates(some_gates(8, 5), some_frames(8), path, title="costs $5 or $6"),
    "gradient_norms": lambda path: plots.gradient_norms({"RNN": 0.5 ** np.arange(9), "LSTM": np.ones(9)}, path),
    "filters": lambda path: plots.filters(np.random.default_rng(0).normal(size=(3, 3, 3, 10)), path),
    "images": lambda path: plots.images({"grey": np.eye(9), "colour": np.zeros((4, 7, 3), np.uint8)}, path),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_writes_one_complete_png(tmp_path, name):
    path = tmp_path / "picture.png"
    assert DRAWINGS[name](str(path)) == path
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert 100 < picture.width < 2000
        assert 50 < picture.height < 2000
        assert len(picture.convert("RGB").getcolors(maxcolors=10**6)) > 3


@pytest.mark.parametrize("name", DRAWINGS)
def test_same_values_give_the_same_bytes(tmp_path, name):
    first, second = (DRAWINGS[name](tmp_path / f"{k}.png").read_bytes() for k in range(2))
    assert first == second


def test_a_failure_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")

    def fail(figure, file, **options):
        file.write_bytes(b"half a pict")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plots.learning_curves({"loss": [1.0]}, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_refuses_other_formats_and_missing_folders(tmp_path):
    with pytest.raises(ValueError, match=r"PNG files: got .*curves\.jpg', write 'curves\.png'"):
        plots.learning_curves({"loss": [1.0]}, tmp_path / "curves.jpg")
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        plots.learning_curves({"loss": [1.0]}, tmp_path / "nowhere" / "curves.png")
    assert not list(tmp_path.iterdir())


def test_leaves_the_callers_style_alone_and_draws_its_own(tmp_path):
    path = DRAWINGS["learning_curves"](tmp_path / "a.png")
    with matplotlib.rc_context({"lines.linewidth": 9.0, "savefig.facecolor": "black", "axes.grid": True}):
        other = DRAWINGS["learning_curves"](tmp_path / "b.png")
        assert matplotlib.rcParams["lines.linewidth"] == 9.0
    assert path.read_bytes() == other.read_bytes()


def test_needs_neither_pyplot_nor_matplotlib_at_import():
    code = (
        "import sys, minivid.plots.curves as p; assert 'matplotlib' not in sys.modules;"
        "p._learning_curves_figure({'loss': [1.0]}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_an_installed_font_first():
    assert style.installed_fonts()[0] == "DejaVu Sans"


# --- learning curves -------------------------------------------------------------------------------------------


def test_learning_curves_draws_the_history():
    history = {"loss": [2.0, 1.0, 0.5], "accuracy": [0.2, 0.6, 0.9], "val_loss": [1.5, 1.2, 1.1]}
    history |= {"val_accuracy": [0.3, 0.5, 0.7], "learning_rate": [0.1, 0.1, 0.01]}
    loss, accuracy = _learning_curves_figure(history).axes
    assert (loss.get_title(loc="left"), accuracy.get_title(loc="left")) == ("loss", "accuracy")
    for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
        train, validation = axes.get_lines()
        assert (train.get_label(), validation.get_label()) == ("train", "validation")
        assert train.get_color() != validation.get_color()
        np.testing.assert_array_equal(train.get_xdata(), [1, 2, 3])
        np.testing.assert_array_equal(train.get_ydata(), history[name])
        np.testing.assert_array_equal(validation.get_ydata(), history[f"val_{name}"])
    assert {text.get_text() for text in loss.texts} == {"train 0.5", "validation 1.1"}
    assert loss.get_ylim()[0] == 0
    assert accuracy.get_ylim() == (0, 1.02)


@pytest.mark.parametrize("with_validation", [False, True])
def test_learning_curves_of_one_epoch(with_validation):
    history = {"loss": [0.7]} | ({"val_loss": [0.9]} if with_validation else {})
    (axes,) = _learning_curves_figure(history).axes
    assert axes.get_xlim() == (0.5, 1.5)
    assert len(axes.get_lines()) == 1 + with_validation
    assert axes.get_lines()[0].get_marker() == "o"  # a line of one point would be invisible
    assert axes.get_ylim()[1] > 0.9 if with_validation else 0.7


def test_learning_curves_pushes_close_labels_apart_in_order():
    (axes,) = _learning_curves_figure({"accuracy": [0.5, 1.0], "val_accuracy": [0.5, 0.999]}).axes
    low, high = sorted(axes.texts, key=lambda text: text.xy[1])
    assert (low.get_text(), high.get_text()) == ("validation 0.999", "train 1")
    assert high.xy[1] - low.xy[1] == pytest.approx(0.075)
    assert high.xy[1] <= 1


def test_learning_curves_leaves_gaps_and_labels_the_last_finite_value():
    (axes,) = _learning_curves_figure({"loss": [3.0, np.nan, 2.0, np.inf]}).axes
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), [3.0, np.nan, 2.0, np.nan])
    assert [text.get_text() for text in axes.texts] == ["train 2"]


def test_learning_curves_of_negative_losses_shows_them():
    (axes,) = _learning_curves_figure({"loss": [1.0, -2.0]}).axes
    assert axes.get_ylim()[0] < -2


@pytest.mark.parametrize(
    ("history", "error", "message"),
    [
        ([1.0, 0.5], TypeError, r"a dict such as model\.fit\(\.\.\.\)\.history, got list"),
        ({}, ValueError, "no epochs: fit the model first"),
        ({"loss": []}, ValueError, "no epochs"),
        (
            {"loss": [1.0, 2.0], "val_loss": [1.0]},
            ValueError,
            "one value per epoch each, got {'loss': 2, 'val_loss': 1}",
        ),
        ({"val_loss": [1.0]}, ValueError, r"has \['val_loss'\], but not what they validate"),
        ({"loss": [np.nan]}, ValueError, "no finite value of loss"),
    ],
)
def test_learning_curves_refuses(history, error, message, tmp_path):
    with pytest.raises(error, match=message):
        plots.learning_curves(history, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


# --- confusion matrix ------------------------------------------------------------------------------------------


def test_confusion_matrix_shows_counts_and_shares_of_the_row():
    figure = _confusion_matrix_figure(np.array([[3, 1], [0, 8]]), ["left", "right"])
    axes = figure.axes[0]
    # 3 and 1 of 4, 0 and 8 of 8
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.75, 0.25], [0.0, 1.0]])
    assert axes.images[0].get_clim() == (0, 1)
    cells = {}
    for text in axes.texts:
        cells.setdefault(tuple(text.xy), []).append(text.get_text())  # (column, row)
    assert cells == {(0, 0): ["3", "75 %"], (1, 0): ["1", "25 %"], (0, 1): ["0"], (1, 1): ["8", "100 %"]}
    assert axes.get_title() == "11 of 12 right (91.7 %)"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["left", "right"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["left", "right"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")


def test_confusion_matrix_of_a_class_without_samples():
    axes = _confusion_matrix_figure(np.array([[2, 0], [0, 0]]), ["a", "b"]).axes[0]
    np.testing.assert_array_equal(axes.images[0].get_array(), [[1, 0], [0, 0]])


def test_confusion_matrix_writes_light_on_dark():
    axes = _confusion_matrix_figure(np.array([[1, 9], [10, 0]]), ["a", "b"]).axes[0]
    colors = {text.get_text(): text.get_color() for text in axes.texts}
    assert (colors["9"], colors["10"]) == ("white", "white")
    assert colors["1"] == style.INK
    assert colors["0"] == style.FAINT


def test_confusion_matrix_keeps_long_names_apart():
    names = [f"a class with a rather long name, number {k}" for k in range(12)]
    figure = _confusion_matrix_figure(np.eye(12, dtype=int), names)
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(set(shown)) == 12
    assert max(map(len, shown)) == 25
    assert {label.get_rotation() for label in figure.axes[0].get_xticklabels()} == {90}


def test_confusion_matrix_draws_dollars_as_they_are():
    figure = _confusion_matrix_figure(np.eye(2, dtype=int), ["$5", "$x^2$"])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [r"\$5", r"\$x^2\$"]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros((2, 3), int), r"\(classes, classes\), got shape \(2, 3\)"),
        (np.zeros((0, 0), int), r"got shape \(0, 0\)"),
        (np.eye(2), "counts, integers >= 0; got float64"),
        (np.array([[1, -1], [0, 1]]), "got int64 from -1"),
        (np.eye(3, dtype=int), "3 classes, but there are 2 names"),
    ],
)
def test_confusion_matrix_refuses(matrix, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plots.confusion_matrix(matrix, ["a", "b"], tmp_path / "confusion.png")
    assert not list(tmp_path.iterdir())


# --- LSTM gates ------------------------------------------------------------------------------------------------


def panels_of(figure) -> dict[str, np.ndarray]:
    """What each panel draws, (U, T), and its range of colours, by the panel's name."""
    named = {axes.texts[0].get_text(): axes.images[0] for axes in figure.axes if axes.texts}
    return {name: (np.asarray(image.get_array()), image.get_clim()) for name, image in named.items()}


def test_lstm_gates_draws_every_slot_under_its_name():
    gates = some_gates(5, 3)
    panels = panels_of(_lstm_gates_figure(gates, some_frames(5), None, sort_units=False))
    assert list(panels) == ["input gate", "forget gate", "output gate", "candidate"]
    np.testing.assert_array_equal(panels["input gate"][0], gates[:, 0:3].T)
    np.testing.assert_array_equal(panels["forget gate"][0], gates[:, 3:6].T)
    np.testing.assert_array_equal(panels["candidate"][0], gates[:, 6:9].T)
    np.testing.assert_array_equal(panels["output gate"][0], gates[:, 9:12].T)
    assert [clim for _, clim in panels.values()] == [(0, 1), (0, 1), (0, 1), (-1, 1)]


def test_lstm_gates_sorts_the_units_of_all_panels_by_the_forget_gate():
    gates = some_gates(2, 3).reshape(2, 4, 3)
    gates[:, 1] = [[0.1, 0.9, 0.6], [0.3, 0.7, 0.6]]  # means 0.2, 0.8, 0.6: the order is 1, 2, 0
    panels = panels_of(_lstm_gates_figure(gates.reshape(2, 12), some_frames(2), None, sort_units=True))
    for name, slot in (("input gate", 0), ("forget gate", 1), ("candidate", 2), ("output gate", 3)):
        np.testing.assert_array_equal(panels[name][0], gates[:, slot, [1, 2, 0]].T)


def test_lstm_gates_sets_each_frame_above_its_column():
    frames = some_frames(4, C=1)
    figure = _lstm_gates_figure(some_gates(4, 2), frames, "a clip", sort_units=True)
    strip, first, *_ = figure.axes
    assert strip.get_title(loc="left") == "a clip"
    for t, image in enumerate(strip.images, start=1):
        np.testing.assert_allclose(image.get_array(), np.repeat(frames[t - 1] / 255, 3, axis=2))
        left, right, *_ = image.get_extent()
        assert t - 0.5 <= left < t < right <= t + 0.5
    assert first.images[0].get_extent()[:2] == [0.5, 4.5]
    assert strip.get_xlim() == first.get_xlim() == (0.5, 4.5)
    box, below = strip.get_position(), first.get_position()
    assert (box.x0, box.x1) == pytest.approx((below.x0, below.x1))
    assert box.y0 > below.y1


@pytest.mark.parametrize("T", [1, 24, 25, 49, 60])
def test_lstm_gates_of_long_clips_shows_some_frames_at_their_time(T):
    frames = np.broadcast_to(np.linspace(0, 1, T)[:, None, None, None], (T, 2, 2, 3))
    strip, *_, last, _, _ = _lstm_gates_figure(some_gates(T, 2), frames, None, sort_units=True).axes
    assert min(T, 12) <= len(strip.images) <= 24
    for image, tick in zip(strip.images, last.get_xticks(), strict=True):
        shown = frames[int(tick) - 1]
        np.testing.assert_array_equal(image.get_array(), shown)
        left, right, *_ = image.get_extent()
        assert left < tick < right <= T + 0.5


@pytest.mark.parametrize(
    ("gates", "frames", "message"),
    [
        (some_gates(4, 2)[None], some_frames(4), r"one sequence of LSTM\.gate_activations; got shape \(1, 4, 8\)"),
        (np.zeros((4, 6)), some_frames(4), r"\(time, 4 x units\).*got shape \(4, 6\)"),
        (some_gates(4, 2), some_frames(5), "4 time steps, but there are 5 frames"),
        (some_gates(4, 2) * 3, some_frames(4), "from -1 to 1"),
        (np.full((4, 8), np.nan), some_frames(4), "from -1 to 1"),
        (some_gates(4, 2), some_frames(4)[..., 0], r"\(time, height, width, 3 or 1\), got shape \(4, 6, 8\)"),
        (some_gates(4, 2), some_frames(4) / 1.0, "uint8 or floats from 0 to 1, got float64 from 0 to 255"),
        (some_gates(4, 2), some_frames(4).astype(int), "uint8 or floats"),
    ],
)
def test_lstm_gates_refuses(gates, frames, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plots.lstm_gates(gates, frames, tmp_path / "gates.png")
    assert not list(tmp_path.iterdir())


# --- gradient norms --------------------------------------------------------------------------------------------


def test_gradient_norms_draws_lines_on_a_logarithmic_scale():
    norms = {"SimpleRNN": np.array([0.0, 1e-8, 1e-4, 1.0]), "LSTM": np.array([0.1, 0.2, 0.5, 1.0])}
    (axes,) = _gradient_norms_figure(norms).axes
    assert axes.get_yscale() == "log"
    rnn, lstm = axes.get_lines()
    np.testing.assert_array_equal(rnn.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(rnn.get_ydata(), [np.nan, 1e-8, 1e-4, 1.0])
    np.testing.assert_array_equal(lstm.get_ydata(), norms["LSTM"])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["SimpleRNN", "LSTM"]


@pytest.mark.parametrize(
    ("norms", "message"),
    [
        ({}, "1 to 4 networks, got 0"),
        ({str(k): np.ones(3) for k in range(5)}, "1 to 4 networks, got 5"),
        ({"RNN": np.zeros(3)}, "all norms of 'RNN' are zero"),
        ({"RNN": np.array([1.0, -1.0])}, "'RNN' must be one finite number >= 0"),
        ({"RNN": np.array([1.0, np.nan])}, "finite"),
        ({"RNN": np.ones((3, 2))}, r"shape \(T,\)"),
    ],
)
def test_gradient_norms_refuses(norms, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plots.gradient_norms(norms, tmp_path / "norms.png")
    assert not list(tmp_path.iterdir())


# --- filters and images ----------------------------------------------------------------------------------------


def test_filters_in_colour_are_grey_at_zero_and_share_one_scale():
    kernel = np.zeros((1, 2, 3, 2))
    kernel[0, 0, 0, 0], kernel[0, 1, 2, 1] = 4.0, -2.0
    first, second = _filters_figure(kernel).axes
    # 0.5 + w / (2 * 4): 4 -> 1, -2 -> 0.25, 0 -> 0.5
    np.testing.assert_allclose(first.images[0].get_array(), [[[1.0, 0.5, 0.5], [0.5, 0.5, 0.5]]])
    np.testing.assert_allclose(second.images[0].get_array(), [[[0.5, 0.5, 0.5], [0.5, 0.5, 0.25]]])


def test_filters_of_one_channel_have_white_at_zero():
    kernel = np.arange(-3.0, 9.0).reshape(2, 2, 1, 3)
    for f, axes in enumerate(_filters_figure(kernel).axes):
        np.testing.assert_array_equal(axes.images[0].get_array(), kernel[:, :, 0, f])
        assert axes.images[0].get_clim() == (-8, 8)


@pytest.mark.parametrize("shape", [(3, 3, 8, 4), (3, 3, 3), (3, 3, 1, 0)])
def test_filters_refuses(shape, tmp_path):
    with pytest.raises(ValueError, match=r"with C = 1 or 3, got shape \(3, 3"):
        plots.filters(np.zeros(shape), tmp_path / "filters.png")
    assert not list(tmp_path.iterdir())


def test_images_draws_pictures_as_they_are_and_maps_around_zero():
    ramp = np.linspace(0, 1, 48).reshape(6, 8)
    colour = some_frames(1)[0]
    arrays = {"ramp": ramp, "bytes": colour[:, :, :1], "colour": colour, "map": ramp - 0.75, "kernel": np.eye(2)}
    figure = _images_figure(arrays, columns=3)
    drawn = {axes.get_title(): axes for axes in figure.axes}
    assert list(drawn) == [*arrays, ""]  # two rows of three, the last one empty
    assert drawn["ramp"].images[0].get_clim() == (0, 1)
    assert drawn["bytes"].images[0].get_clim() == (0, 255)
    np.testing.assert_array_equal(drawn["bytes"].images[0].get_array(), colour[:, :, 0])
    np.testing.assert_array_equal(drawn["colour"].images[0].get_array(), colour)
    assert drawn["map"].images[0].get_clim() == (-0.75, 0.75)
    assert [text.get_text() for text in drawn["kernel"].texts] == ["1", "0", "0", "1"]
    assert not drawn["ramp"].texts


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ({}, "no pictures"),
        (
            {"a": np.zeros((2, 2, 2))},
            r"picture 'a' must be \(H, W\), \(H, W, 1\) or \(H, W, 3\), got shape \(2, 2, 2\)",
        ),
        ({"a": np.full((2, 2), np.nan)}, "picture 'a' has values that are not finite"),
        (
            {"a": np.full((2, 2, 3), 7.0)},
            "colour picture 'a' must be uint8 or floats from 0 to 1, got float64 from 7 to 7",
        ),
    ],
)
def test_images_refuses(pictures, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plots.images(pictures, tmp_path / "images.png")
    assert not list(tmp_path.iterdir())


# --- clips -----------------------------------------------------------------------------------------------------


def rgb(color: str) -> list[int]:
    return [int(color[k : k + 2], 16) for k in (1, 3, 5)]


@pytest.mark.parametrize("C", [1, 3])
def test_annotate_clip_enlarges_every_pixel(C):
    frames = some_frames(3, H=5, W=7, C=C)
    clip = plots.annotate_clip(frames, ["one line"], scale=3)
    assert clip.dtype == np.uint8
    T, height, width, channels = clip.shape
    assert (T, channels, height % 2, width % 2) == (3, 3, 0, 0)
    assert width == 22  # 3 * 7, made even
    for i, j in np.ndindex(3, 3):
        np.testing.assert_array_equal(clip[:, i:15:3, j:21:3], np.broadcast_to(frames, (3, 5, 7, 3)))


def test_annotate_clip_takes_floats_and_is_large_by_default():
    frames = np.array([0.0, 0.5, 1.0]).reshape(3, 1, 1, 1) * np.ones((3, 8, 60, 3))
    clip = plots.annotate_clip(frames, ["a"])
    assert clip.shape[2] == 300  # 5 * 60 is the first multiple of 60 above 256
    assert [int(value) for value in clip[:, 0, 0, 0]] == [0, 128, 255]  # 127.5 rounds to even


@pytest.mark.parametrize(("good", "color"), [(True, style.GREEN), (False, style.RED), (None, style.BLUE)])
def test_annotate_clip_colours_the_bar(good, color):
    clip = plots.annotate_clip(some_frames(1, 8, 8), ["predicted left", "truth: left"], good, scale=32)
    strip = clip[0, 8 * 32 :]
    assert (strip[:, 0] == rgb(color)).all()
    assert (strip.max(axis=2) > 200).any()  # the text


def test_annotate_clip_measures_the_confidence():
    def length(confidence):
        strip = plots.annotate_clip(np.zeros((1, 8, 8, 1)), ["x"], True, confidence, scale=40)[0, 320:, 8:]
        return (strip == rgb(style.GREEN)).all(axis=2).sum(axis=1).max()

    full = length(1.0)
    assert full > 280
    assert length(0.25) == pytest.approx(full / 4, abs=2)
    assert length(0.0) == 0


def test_annotate_clip_cuts_long_lines_and_keeps_short_ones():
    assert fitted("short", 5, len) == "short"
    assert fitted("longer", 5, len) == "long…"
    assert fitted("longer", 0, len) == ""
    clip = plots.annotate_clip(np.zeros((1, 8, 8, 1)), ["a very long name of a class " * 9], scale=32)
    assert clip.shape[2] == 256
    assert (clip[0, 256:, -6:] == rgb(style.INK)).all()  # the margin is free


def test_annotate_clip_draws_letters_beyond_ascii():
    def strip(text):
        return plots.annotate_clip(np.zeros((1, 8, 8, 1)), [text], scale=32)[0, 256:]

    assert (strip("é") != strip("ü")).any()  # two letters, not two boxes for letters that are missing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": np.zeros((4, 8, 8))}, r"\(time, height, width, 3 or 1\), got shape \(4, 8, 8\)"),
        ({"frames": np.full((4, 8, 8, 3), 200.0)}, "floats from 0 to 1, got float64 from 200 to 200"),
        ({"confidence": 1.5}, r"confidence must be from 0 to 1, got 1\.5"),
        ({"scale": 0}, "scale must be a positive int, got 0"),
        ({"scale": 2.5}, "scale must be a positive int"),
    ],
)
def test_annotate_clip_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.annotate_clip(**{"frames": some_frames(2), "lines": ["a"]} | arguments)
