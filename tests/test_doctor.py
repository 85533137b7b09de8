import sys

import av
import pytest

import minivid
from minivid import doctor, jit
from minivid.cli import main


def findings():
    first, *lines = doctor.report().splitlines()
    assert first == f"minivid {minivid.__version__}"
    return {name: text for name, _, text in (line.strip().partition("  ") for line in lines)}


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"minivid {minivid.__version__}\n")
    assert f"PyAV {av.__version__}" in out


def test_doctor_names_what_matters():
    assert findings().keys() == {"Python", "NumPy, Numba", "threads", "cache", "video", "pictures", "GPU"}


def test_doctor_without_pyav(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    text = findings()["video"]
    assert "PyAV does not load" in text
    assert "GIFs and folders of images still work" in text


@pytest.mark.parametrize(("codecs", "expected"), [({"libx264"}, "writes MP4"), (set(), "no H.264 encoder: write GIF")])
def test_doctor_on_encoders(monkeypatch, codecs, expected):
    monkeypatch.setattr(av, "codecs_available", codecs)
    assert expected in findings()["video"]


def test_doctor_without_a_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(jit, "cache_home", lambda: None)
    assert "compiled anew in every process; set MINIVID_CACHE_DIR" in findings()["cache"]
    monkeypatch.setattr(jit, "cache_home", lambda: tmp_path)
    assert findings()["cache"].strip().startswith(str(tmp_path))


@pytest.mark.parametrize(("spec", "expected"), [(None, "CuPy is not installed"), (object(), "CuPy is installed")])
def test_doctor_on_the_gpu(monkeypatch, spec, expected):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: spec)
    assert expected in findings()["GPU"]
