import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minivid
from minivid import runs
from minivid.runs import new_run_folder, peak_memory_mb, read_json, write_json


def test_new_run_folder_is_made_with_its_parents(tmp_path):
    folder = new_run_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert new_run_folder(folder) == folder  # nothing in it yet


@pytest.mark.parametrize("result", ["metrics.json", "model.safetensors"])
def test_a_run_is_not_replaced_by_accident(tmp_path, result):
    (tmp_path / result).write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="add --overwrite"):
        new_run_folder(tmp_path)
    assert (tmp_path / result).read_text() == "old"
    new_run_folder(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_run_folder_is_a_file(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError):
        new_run_folder(tmp_path / "run")


def test_json_round_trip(tmp_path):
    content = {"class_names": ["hüpfen", "走る"], "loss": 0.1, "groups": None}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert "hüpfen" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_json_is_never_half_written(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"seed": 1})
    with pytest.raises(TypeError):
        write_json(path, {"seed": 2, "what": object()})
    assert read_json(path) == {"seed": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_read_json_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is no run folder: it has no config\.json"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="holds no JSON object"):
        read_json(tmp_path / "config.json")


def test_peak_memory_counts_what_is_allocated():
    if peak_memory_mb() is None:
        pytest.skip("this system does not tell the peak memory of a process")
    code = (
        "from minivid.runs import peak_memory_mb\n"
        "before = peak_memory_mb()\n"
        "block = bytearray(200_000_000)\n"
        "del block\n"
        "print(peak_memory_mb() - before)\n"
    )
    root = Path(minivid.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, check=True
    )
    assert 150 < float(done.stdout) < 300  # MB


def test_about_this_machine():
    about = runs.about_this_machine()
    assert about["version"] == minivid.__version__
    assert "cores" in about["machine"]


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
def test_commit_of_a_checkout_and_whether_it_was_changed(tmp_path, monkeypatch):
    (tmp_path / "minivid").mkdir()
    monkeypatch.setattr(minivid, "__file__", str(tmp_path / "minivid" / "__init__.py"))
    assert runs.commit() is None  # no checkout
    git(tmp_path, "init", "-q")
    assert runs.commit() is None  # nothing committed
    (tmp_path / "a.txt").write_text("a")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD").stdout[:10]
    assert runs.commit() == commit
    (tmp_path / "a.txt").write_text("b")
    assert runs.commit() == f"{commit}+"
