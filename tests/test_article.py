"""The article that minivid teaches: its mistakes, as printed, and what is said about them.

`PRINTED` is the article's program, line for line but for the imports. The tests run its lines and check that each
mistake meets the message that names it. The snippets of docs/article/index.md run as doctests.
"""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

from minivid.layers import LSTM, Conv2D, Dense, Flatten, MaxPooling2D, TimeDistributed
from minivid.models import Sequential
from minivid.ops import conv2d_backward_input, conv2d_forward, dense_forward, lstm_forward, maxpool2d_forward
from minivid.preprocessing import ImageDataGenerator
from minivid.video import VideoError, clips_from_directory, moving_shapes, write_moving_shapes

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "article" / "index.md"

PRINTED = """\
datagen = ImageDataGenerator(rescale=1/255)
frames = datagen.flow_from_directory('data', target_size=(224, 224), batch_size=32, class_mode='categorical')

model = Sequential()
model.add(Conv2D(32, (3, 3), activation='relu', input_shape=(224, 224, 3)))
model.add(MaxPooling2D((2, 2)))
model.add(Conv2D(64, (3, 3), activation='relu'))
model.add(MaxPooling2D((2, 2)))
model.add(Flatten())
model.add(Dense(1000, activation='relu'))
model.add(Dense(10, activation='softmax'))

model = Sequential()
model.add(LSTM(100, return_sequences=True, input_shape=(None, 224, 224, 3)))
model.add(LSTM(100))
model.add(Dense(10, activation='softmax'))

model.fit(frames, epochs=10, batch_size=32, verbose=1)
"""


def lines_from(first: str, last: str, size: int = 224) -> str:
    """Return the printed lines from one that begins with ``first`` to one that begins with ``last``.

    Another size than 224 stands in for it where the printed one takes gigabytes and tells nothing more.
    """
    lines = PRINTED.splitlines()
    begin = next(k for k, line in enumerate(lines) if line.startswith(first))
    end = next(k for k, line in enumerate(lines) if line.startswith(last) and k >= begin)
    return "\n".join(lines[begin : end + 1]).replace("224", str(size))


def execute(code: str, variables: dict) -> dict:
    """Run lines of the program with the names that its imports bring."""
    names = (ImageDataGenerator, Sequential, Conv2D, MaxPooling2D, Flatten, Dense, LSTM)
    variables.update({name.__name__: name for name in names})
    exec(code, variables)
    return variables


# --- the page --------------------------------------------------------------------------------------------------


def test_snippets_of_the_page_run():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    parser, runner, report = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False), []
    variables = {}
    for number, block in enumerate(blocks):
        test = parser.get_doctest(block, variables, f"block {number}", str(PAGE), 0)
        runner.run(test, out=report.append, clear_globs=False)
        variables = test.globs
    assert runner.summarize(verbose=False).attempted > 40
    assert not report, "".join(report)


def test_page_and_program_name_every_erratum():
    page = PAGE.read_text(encoding="utf-8")
    assert [int(number) for number in re.findall(r"^### (\d+)\.", page, re.M)] == list(range(1, 14))
    program = (ROOT / "examples" / "article.py").read_text(encoding="utf-8")
    assert {int(number) for number in re.findall(r"# erratum (\d+)", program)} == {6, 7, 8, 9, 10, 11}
    for quoted in re.findall(r"# printed: (.*?) *(?:#.*)?$", program, re.M):
        if not quoted.startswith(("from", "frames")):  # imports change, and the long line is broken in two
            assert quoted in PRINTED


# --- errata 1 to 5: the formulas -------------------------------------------------------------------------------


def test_erratum_1_the_printed_index_leaves_the_image():
    H, K = 6, 3
    outside = {(i, k) for i in range(1, H - K + 2) for k in range(1, K + 1) if not 1 <= k - i + 1 <= H}
    assert outside == {(i, k) for i in range(1, H - K + 2) for k in range(1, K + 1) if i > k}
    inside = [i + k - 1 for i in range(1, H - K + 2) for k in range(1, K + 1)]  # cross-correlation
    assert (min(inside), max(inside)) == (1, H)


def test_erratum_1_convolution_is_correlation_with_a_flipped_kernel():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(7, 8)), rng.normal(size=(3, 2))
    correlation = conv2d_forward(x[None, :, :, None], w[:, :, None, None])[0, :, :, 0]
    flipped = conv2d_forward(x[None, :, :, None], w[::-1, ::-1, None, None])[0, :, :, 0]
    for i, j in np.ndindex(5, 7):  # the output's row i, column j; the kernel's last tap on the image's row i + 2
        ahead = sum(x[i + k, j + l] * w[k, l] for k, l in np.ndindex(3, 2))
        behind = sum(x[i + 2 - k, j + 1 - l] * w[k, l] for k, l in np.ndindex(3, 2))
        assert correlation[i, j] == pytest.approx(ahead)
        assert flipped[i, j] == pytest.approx(behind)


def test_erratum_2_a_bias_per_row_is_not_translation_invariant():
    rng = np.random.default_rng(0)
    x, w = np.zeros((1, 9, 9, 1)), rng.normal(size=(3, 3, 1, 2))
    x[0, 2:5, 2:5, 0] = rng.normal(size=(3, 3))
    moved = np.roll(x, 2, axis=1)
    b_f, b_i = rng.normal(size=2), rng.normal(size=(7, 1, 1))
    np.testing.assert_allclose(conv2d_forward(moved, w, b_f)[:, 2:], conv2d_forward(x, w, b_f)[:, :-2], atol=1e-12)
    difference = (conv2d_forward(moved, w) + b_i)[:, 2:] - (conv2d_forward(x, w) + b_i)[:, :-2]
    np.testing.assert_allclose(difference, np.broadcast_to(b_i[2:] - b_i[:-2], difference.shape), atol=1e-12)


def test_erratum_3_a_filter_sums_over_channels():
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(1, 7, 6, 3)), rng.normal(size=(3, 2, 3, 4)), rng.normal(size=4)
    y = conv2d_forward(x, w, b, strides=(2, 3), padding=((1, 0), (0, 1)))
    # rows: (7 + 1 - 3) // 2 + 1 = 3; columns: (6 + 1 - 2) // 3 + 1 = 2
    assert y.shape == (1, 3, 2, 4)
    padded = np.pad(x[0], [(1, 0), (0, 1), (0, 0)])
    for i, j, f in np.ndindex(3, 2, 4):
        assert y[0, i, j, f] == pytest.approx(b[f] + (padded[2 * i : 2 * i + 3, 3 * j : 3 * j + 2] * w[..., f]).sum())


def test_erratum_4_the_printed_maximum_ranges_over_nothing():
    y = np.array([[1.0, 9.0, 2.0, 3.0], [4.0, 5.0, 8.0, 7.0]])[None, :, :, None]
    as_printed, _ = maxpool2d_forward(y, pool_size=1, strides=1)
    np.testing.assert_array_equal(as_printed, y)
    right, _ = maxpool2d_forward(y, pool_size=2)
    assert right.ravel().tolist() == [9.0, 8.0]


def test_erratum_5_the_lstm_formulas_are_right():
    rng = np.random.default_rng(0)
    D, U, T = 3, 4, 5
    W = {gate: rng.normal(size=(U, D)) for gate in "ifCo"}  # columns, as in the article: W_xi x_t
    R = {gate: rng.normal(size=(U, U)) for gate in "ifCo"}
    b = {gate: rng.normal(size=U) for gate in "ifCo"}
    x = rng.normal(size=(T, D))
    h = c = np.zeros(U)
    for t in range(T):
        z = {gate: W[gate] @ x[t] + R[gate] @ h + b[gate] for gate in "ifCo"}
        i, f, o = (1 / (1 + np.exp(-z[gate])) for gate in "ifo")
        c = f * c + i * np.tanh(z["C"])
        h = o * np.tanh(c)
    kernel, recurrent = (np.concatenate([matrices[gate].T for gate in "ifCo"], axis=1) for matrices in (W, R))
    states, cells, _ = lstm_forward(x[None], kernel, recurrent, np.concatenate([b[gate] for gate in "ifCo"]))
    np.testing.assert_allclose(states[0, -1], h, atol=1e-12)
    np.testing.assert_allclose(cells[0, -1], c, atol=1e-12)


# --- errata 6 to 11: the program -------------------------------------------------------------------------------


def test_erratum_6_almost_all_weights_are_in_one_layer(capsys):
    # Up to Flatten as printed. The next line would take 2 x 750 MB, so its weights are counted, not made.
    model = execute(lines_from("model = Sequential()", "model.add(Flatten())"), {})["model"]
    assert model.output_shape == (None, 54 * 54 * 64) == (None, 186_624)
    convolutions = (3 * 3 * 3 + 1) * 32 + (3 * 3 * 32 + 1) * 64
    assert model.count_params() == convolutions == 19_392
    dense, last = (186_624 + 1) * 1000, 1001 * 10
    assert f"{dense / 1e6:.1f} million, {dense / (convolutions + dense + last):.2%}" == "186.6 million, 99.98%"

    execute(lines_from("model = Sequential()", "model.add(Dense(10,", size=32), {})["model"].summary()
    printed = capsys.readouterr().out
    # 32 -> 30 -> 15 -> 13 -> 6, and (6 * 6 * 64 + 1) * 1000
    assert re.search(r"dense: Dense +\(None, 1000\) +2,305,000\n", printed)
    assert "total 2,334,402 weights" in printed  # 19,392 + 2,305,000 + 10,010


def test_erratum_7_an_lstm_takes_features():
    with pytest.raises(ValueError, match=r"LSTM takes \(batch, time, features\)") as raised:
        execute("model = Sequential()\n" + lines_from("model.add(LSTM(100, ret", "model.add(LSTM(100, ret"), {})
    message = str(raised.value)
    assert "got shape (None, None, 224, 224, 3)" in message
    assert "TimeDistributed(Conv2D(...))" in message


def test_erratum_8_the_second_model_overwrites_the_cnn(capsys):
    lines = lines_from("model = Sequential()", "model.add(Dense(10,", size=16) + "\nmodel = Sequential()"
    variables = execute(lines, {})
    assert variables["model"].layers == []
    with pytest.raises(ValueError, match="the model has no layers"):
        variables["model"].forward(np.zeros((1, 16, 16, 3)))
    # with an input that an LSTM takes, what is printed next makes a model that has never heard of the CNN
    execute("model.add(LSTM(100, input_shape=(None, 7)))\nmodel.add(Dense(10, activation='softmax'))", variables)
    variables["model"].summary()
    printed = capsys.readouterr().out
    assert "LSTM" in printed
    assert "Conv2D" not in printed


def test_erratum_9_the_generator_tells_clips_from_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_moving_shapes("data", clips_per_class=1, frames=4)
    with pytest.raises(VideoError, match=r"data holds clips, not single images.*clips_from_directory\('data'\)"):
        execute(lines_from("datagen", "frames"), {})


def test_erratum_9_images_have_no_order_in_time(tmp_path, monkeypatch):
    """A clip and the same clip backwards differ as clips, not as images."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    x, _ = moving_shapes(clips=3, frames=5, seed=0)
    for name, clip in (("left", x[2]), ("right", x[2][::-1])):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "clips" / name / "clip").mkdir(parents=True)
        for t, frame in enumerate(clip):
            Image.fromarray(frame).save(tmp_path / "images" / name / f"{t}.png")
            Image.fromarray(frame).save(tmp_path / "clips" / name / "clip" / f"{t}.png")

    frames = execute(lines_from("datagen", "frames", size=32).replace("'data'", "'images'"), {})["frames"]
    images, targets = frames[0]
    assert images.shape == (10, 32, 32, 3)  # no axis of time
    left, right = (sorted(images[targets[:, k] == 1].reshape(5, -1).tolist()) for k in (0, 1))
    assert left == right
    with pytest.raises(ValueError, match=r"LSTM takes \(batch, time, features\), got shape \(None, 32, 32, 3\)"):
        LSTM(100)(images)

    clips, targets = clips_from_directory("clips", frames=5, target_size=(32, 32), shuffle=False)[0]
    assert clips.shape == (2, 5, 32, 32, 3)
    np.testing.assert_array_equal(clips[0], clips[1][::-1])
    assert not np.array_equal(clips[0], clips[1])


@pytest.fixture
def readable():
    """The program's second model with an input that it can take, and a generator that fits it."""

    class Sequences:
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return np.zeros((4, 3, 7), np.float32), np.eye(10, dtype=np.float32)[:4]

    lines = lines_from("model.add(LSTM(100, ret", "model.add(Dense(10,").replace("(None, 224, 224, 3)", "(None, 7)")
    return execute("model = Sequential()\n" + lines, {"frames": Sequences()})


def test_erratum_10_fit_before_compile_prints_the_line_to_add(readable):
    with pytest.raises(RuntimeError, match=r"fit\(\) needs an optimizer and a loss") as raised:
        execute(lines_from("model.fit", "model.fit"), readable)
    line_to_add = str(raised.value).splitlines()[-1].strip()
    assert line_to_add.startswith("model.compile(")
    execute(line_to_add + "\nmodel.fit(frames, epochs=1, verbose=0)", readable)  # and it is enough


def test_erratum_11_the_batch_size_belongs_to_the_generator(readable):
    readable["model"].compile("adam", "categorical_crossentropy")
    with pytest.raises(ValueError, match="batch_size=32 belongs to the generator") as raised:
        execute(lines_from("model.fit", "model.fit"), readable)
    assert "leave it out here" in str(raised.value)


# --- errata 12 and 13: the questions ---------------------------------------------------------------------------


def test_erratum_12_a_kernel_as_large_as_the_input_is_a_dense_layer():
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 5, 6, 3)), rng.normal(size=(5, 6, 3, 4)), rng.normal(size=4)
    y = conv2d_forward(x, w, b)
    assert y.shape == (2, 1, 1, 4)
    np.testing.assert_allclose(y.reshape(2, 4), dense_forward(x.reshape(2, -1), w.reshape(-1, 4), b), atol=1e-12)
    with pytest.raises(ValueError, match=r"image of 5x6 pixels .* smaller than the window of 6x6"):
        Sequential([Conv2D(4, (6, 6), input_shape=(5, 6, 3))])


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_erratum_12_small_kernels_in_layers_see_as_far(layers):
    rng = np.random.default_rng(0)
    C, field = 2, 2 * layers + 1
    kernels = [rng.normal(size=(3, 3, C, C)) for _ in range(layers)]
    gradient = np.zeros((1, 15, 15, C))
    gradient[0, 7, 7] = rng.normal(size=C)  # which pixels does the output in the middle depend on?
    for w in reversed(kernels):
        gradient = conv2d_backward_input(gradient, w, gradient.shape, padding="same")
    seen = np.argwhere(np.abs(gradient[0]).sum(axis=2) > 0)
    assert seen.min() == 7 - layers
    assert seen.max() == 7 + layers
    assert len(seen) == field**2
    row = f"| {layers} | {field}x{field} | {9 * layers} C² | {field**2} C² |"
    assert sum(w.size for w in kernels) == 9 * layers * C**2
    assert row in PAGE.read_text(encoding="utf-8")


def test_erratum_13_depth_and_length_are_independent():
    model = Sequential([LSTM(3, return_sequences=True, input_shape=(None, 2)), LSTM(3)])
    x = np.random.default_rng(0).normal(size=(1, 40, 2)).astype(np.float32)
    before = model.get_weights()
    for T in (1, 7, 40):
        assert model.predict(x[:, :T]).shape == (1, 3)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# --- the program, corrected ------------------------------------------------------------------------------------


def test_the_fused_model_connects_frames_to_the_answer():
    """The corrected program's layers: every frame reaches the answer, and every weight gets a gradient."""
    model = Sequential()
    model.add(TimeDistributed(Conv2D(4, (3, 3), activation="relu"), input_shape=(None, 12, 12, 3)))
    model.add(TimeDistributed(MaxPooling2D((2, 2))))
    model.add(TimeDistributed(Flatten()))
    model.add(LSTM(5, return_sequences=True))
    model.add(LSTM(5))
    model.add(Dense(10, activation="softmax"))
    rng = np.random.default_rng(0)
    y = model.forward(rng.random((2, 6, 12, 12, 3)).astype(np.float32), training=True)
    dx = model.backward(rng.normal(size=y.shape).astype(np.float32))
    assert (np.abs(dx).sum(axis=(2, 3, 4)) > 0).all()
    assert all(np.abs(gradient).max() > 0 for gradient in model.grads.values())
