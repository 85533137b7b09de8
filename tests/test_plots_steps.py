import pytest
from PIL import Image

from minivid import plots
from minivid.plots import steps


def test_a_line_for_every_way_to_predict(tmp_path):
    errors = {"model": [0.01, 0.02, 0.04], "copy last": [0.03, 0.05, 0.06]}
    (axes,) = steps._error_per_step_figure(errors, "MSE").axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert set(lines) == set(errors)
    assert lines["model"].get_xdata().tolist() == [1, 2, 3]
    assert list(lines["copy last"].get_ydata()) == errors["copy last"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["+1", "+2", "+3"]
    assert axes.get_ylim()[0] == 0
    path = plots.error_per_step(errors, tmp_path / "steps.png")
    with Image.open(path) as picture:
        assert min(picture.size) > 200


def test_many_steps_have_readable_ticks():
    (axes,) = steps._error_per_step_figure({"model": [0.1] * 40}, "MSE").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"+{t}" for t in range(1, 41, 4)]


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({}, "draws 1 to 4 lines, got 0"),
        ({name: [1.0] for name in "abcde"}, "draws 1 to 4 lines, got 5"),
        ({"a": [1.0], "b": [1.0, 2.0]}, r"the same number of steps, got .*'a': 1, 'b': 2"),
        ({"a": []}, "one error per step"),
    ],
)
def test_lines_that_do_not_fit(errors, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        plots.error_per_step(errors, tmp_path / "steps.png")
    assert not list(tmp_path.iterdir())
