"""The figures of the pages are those of the JSON files beside them, and those name where they come from."""

import json
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def kept(page):
    return json.loads((DOCS / f"{page}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def figures():
    return runpy.run_path(str(DOCS / "figures.py"))


@pytest.mark.parametrize("page", ["detect", "generate"])
def test_tables_are_those_of_the_figures(figures, page):
    assert figures["with_tables"](page) == (DOCS / f"{page}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["detect", "generate"])
def test_figures_name_seed_and_machine(page):
    for runs in kept(page).values():
        if isinstance(runs, list):
            assert [run["seed"] for run in runs] == list(range(len(runs)))
            assert all(run["machine"] and run["version"] for run in runs)


def test_demos_are_of_a_commit_and_keep_their_promises():
    detect, generate = (
        json.loads((DOCS / f"{page}.json").read_text(encoding="utf-8")) for page in ("detect", "generate")
    )
    assert len(detect["demo"]) == len(generate["demo"]) == 3
    for run in (*detect["demo"], *generate["demo"]):
        assert run["commit"]
        assert not run["commit"].endswith("+")
    for run in detect["demo"]:
        assert run["mAP@0.5"] >= 0.85
        key = "mAP@0.5_frames_with_hidden"
        assert run[key] - run["without_recurrence"][key] >= 0.10
    for run in generate["demo"]:
        assert run["roll_out"]["copy_last"]["mse"] >= 2 * run["roll_out"]["model"]["mse"]
