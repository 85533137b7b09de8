import sys

import av
import pytest

import minivid
from minivid import doctor, jit
from minivid.cli import main
from minivid.cuda import device, emulator, nvrtc


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
    names = {"Python", "NumPy, Numba", "threads", "cache", "video", "pictures", "emulator", "compile check", "GPU"}
    assert findings().keys() == names


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


@pytest.mark.parametrize(
    ("found", "expected"),
    [(None, "no C++ compiler, so CUDA kernels do not run without a GPU; install g++"), ("g++-12", "built by g++-12")],
)
def test_doctor_on_the_emulator(monkeypatch, found, expected):
    monkeypatch.setattr(emulator, "compiler", lambda: found)
    assert expected in findings()["emulator"]


def test_doctor_on_the_compile_check(monkeypatch):
    monkeypatch.setattr(nvrtc, "missing", lambda: None)
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    assert "NVRTC 13.0: `minivid cuda compile`" in findings()["compile check"]
    monkeypatch.setattr(nvrtc, "missing", lambda: 'no compile check; pip install "minivid[cuda-check]"')
    assert findings()["compile check"].strip() == 'no compile check; pip install "minivid[cuda-check]"'


def test_doctor_without_a_gpu(monkeypatch):
    monkeypatch.setattr(device, "missing", lambda: "no GPU: CuPy does not load; pip install 'minivid[gpu]'")
    expected = "no GPU: CuPy does not load; pip install 'minivid[gpu]'; everything else runs without"
    assert findings()["GPU"].strip() == expected


@pytest.mark.gpu
def test_doctor_with_a_gpu():
    assert "model.to('gpu')" in findings()["GPU"]
