"""A small folder of clips, and a run trained on it, for the tests of the applications."""

import pytest

from minivid.cli import main
from minivid.video import write_moving_shapes

SMALL = ["--size", "16x16", "--frames", "4", "--epochs", "1", "--validation-split", "0.4"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MINIVID_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """Six classes of three clips each: ``left/left_000.mp4`` ..."""
    return write_moving_shapes(tmp_path_factory.mktemp("clips") / "shapes", 3, frames=6, size=(24, 24))


@pytest.fixture
def train(shapes, tmp_path):
    """Run `minivid train` on the shapes; returns the exit code."""

    def train(*options, directory=shapes, out=tmp_path / "run"):
        return main(["train", str(directory), "--out", str(out), *SMALL, *options])

    return train


@pytest.fixture(scope="session")
def finished_run(shapes, tmp_path_factory):
    """A run folder; tests only read it, or work on a copy."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert main(["train", str(shapes), "--out", str(out), *SMALL]) == 0
    return out
