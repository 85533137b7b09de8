"""The benchmark itself, on shapes so small that its times mean nothing."""

import json
import signal
import subprocess
import sys

import pytest

from minivid.bench import cases, run
from minivid.bench.cases import LADDERS, Group, conv2d, maxpool2d
from minivid.bench.machine import cpu_name
from minivid.bench.run import Worker, interleaved
from minivid.bench.worker import Side
from minivid.cli import main
from minivid.cuda import device

TINY = maxpool2d(1, 4, 8, 2, 2)


@pytest.fixture
def no_torch(tmp_path, monkeypatch):
    """A PyTorch that cannot be imported, also where there is one."""
    folder = tmp_path / "broken" / "torch"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise ImportError('no torch here')\n")
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))


@pytest.fixture
def tiny(monkeypatch):
    """Benchmarks of one tiny group, a tiny ladder and no waiting."""
    group = Group("maxpool", "Max-pooling", 5.0, [TINY, maxpool2d(1, 4, 8, 2, 2, backward=True)])
    monkeypatch.setattr(run, "groups", lambda device: [group])
    monkeypatch.setitem(LADDERS, "conv2d", (conv2d(2, 2, 6, 3), conv2d(1, 2, 6, 3)))
    monkeypatch.setattr(run, "BLOCK_SECONDS", 1e-5)
    monkeypatch.setattr(run, "PAUSE_SECONDS", 0)


def test_worker():
    with Worker("minivid", threads=1) as worker:
        assert worker.missing is None
        assert set(worker.about) == {"Python", "minivid", "Numba", "NumPy"}
        assert worker.ask("rungs", kind="maxpool2d_forward")[:2] == ["reference", "loops"]
        [(seconds, layout)] = interleaved([worker], TINY, rounds=2)
        assert seconds > 0
        assert layout == "channels last"
        with pytest.raises(RuntimeError, match="minivid, prepare of 1×8×8×4, 2×2: AttributeError"):
            worker.ask("prepare", case=vars(TINY) | {"kind": "conv9d"})
        assert worker.ask("prepare", case=vars(TINY), rung="reference")["channels last"] > 0  # and goes on
    assert worker.process.returncode == 0


@pytest.mark.parametrize("ended", [False, True], ids=["while it ends", "after its end"])
def test_a_worker_that_dies_is_reported(ended):
    with Worker("minivid", threads=1) as worker:
        worker.process.kill()
        if ended:
            worker.process.wait()
        with pytest.raises(RuntimeError, match=r"the minivid process of the benchmark ended with code -?\d+"):
            worker.ask("rungs", kind="dense_forward")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT of another process there")
def test_ctrl_c_is_left_to_the_parent():
    with Worker("minivid", threads=1) as worker:
        worker.process.send_signal(signal.SIGINT)
        assert "reference" in worker.ask("rungs", kind="dense_forward")
    assert worker.process.returncode == 0


FRESH_PROCESSES = """
import os
from minivid.bench.worker import FreshProcesses

class Side:
    def prepare(self, case):
        self.case = case
        return os.getpid()

    def block(self):
        return os.getpid(), self.case

    def about(self):
        return os.getpid()

fresh = FreshProcesses(Side())
first = fresh.answer({"do": "prepare", "case": 1})["result"]
assert fresh.answer({"do": "block"})["result"] == (first, 1)
second = fresh.answer({"do": "prepare", "case": 2})["result"]
assert fresh.answer({"do": "block"})["result"] == (second, 2)
assert fresh.answer({"do": "block"})["result"] == (second, 2)
assert fresh.answer({"do": "about"})["result"] == os.getpid()
assert len({first, second, os.getpid()}) == 3
assert fresh.answer({"do": "prepare", "shape": 3})["error"].startswith("TypeError: ")
assert fresh.answer({"do": "block"})["error"].startswith("AttributeError: ")
assert fresh.answer({"do": "prepare", "case": 4})["result"] not in (first, second, os.getpid())
try:
    os.kill(first, 0)
except ProcessLookupError:
    print("good")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="cases get fresh processes on Linux only")
def test_each_case_of_a_side_can_have_a_fresh_process():
    done = subprocess.run([sys.executable, "-c", FRESH_PROCESSES], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("good\n", "")


def test_the_forced_rung_is_what_runs(monkeypatch):
    from minivid import ops

    calls = []
    monkeypatch.setitem(ops.maxpool2d_forward.implementations, "reference", lambda *a: calls.append("reference"))
    side = Side("minivid", threads=1)
    side.prepare(vars(TINY), rung="reference")
    before = len(calls)
    side.block("channels last", calls=4)
    assert len(calls) - before == 5  # one that is not timed


def test_memory_of_a_side():
    found = Side("minivid", threads=1).memory(vars(TINY), "channels last", [1, 3])
    assert len(found["occupied_mb"]) == 2
    assert found["peak_mb"] is None or found["peak_mb"] >= found["baseline_mb"]


def test_bench_without_the_peer(tiny, no_torch, tmp_path, capsys):
    assert main(["bench", "--out", str(tmp_path / "out"), "--ladder", "conv2d", "--only", "maxpool", "--quick"]) == 0
    out = capsys.readouterr().out
    assert "PyTorch is not installed" in out
    record = json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8"))
    assert [group["key"] for group in record["groups"]] == ["maxpool"]
    rungs = [rung["rung"] for rung in record["ladders"][0]["rungs"]]
    assert rungs[:3] == ["reference", "loops", "tiled"]
    assert "PyTorch" not in rungs
    assert record["machine"]["flops_per_second"] > 1e8
    assert record["machine"]["bytes_per_second"] > 1e8
    assert (tmp_path / "out" / "bench.png").is_file()
    assert (tmp_path / "out" / "ladder_conv2d.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "convolution"], "no group 'convolution'; there are: conv3x3-forward, "),
        (["--ladder", "conv3d"], "no ladder for 'conv3d'; there are: conv2d, maxpool2d, dense, lstm"),
        (["--isa", "sse9"], "no instruction set 'sse9'; there are: native, avx2"),
        (["--threads", "0"], "--threads"),
        (["--device", "tpu"], "no device 'tpu'; there are: cpu, gpu"),
        (["--device", "gpu", "--only", "memory"], "no group 'memory'; there are: conv3x3-forward, "),
    ],
)
def test_bad_usage(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.replace("│", " ").split())
    assert captured.out == ""


def test_without_a_gpu_one_sentence_says_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(device, "missing", lambda: "no GPU: CuPy does not load; pip install 'minivid[gpu]'")
    assert main(["bench", "--device", "gpu", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "error: no GPU: CuPy does not load; pip install 'minivid[gpu]'\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.gpu
def test_bench_on_a_gpu(tmp_path, capsys):
    assert main(["bench", "--device", "gpu", "--quick", "--only", "maxpool", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert record["machine"]["flops_per_second"] > 1e10
    assert all(row["minivid_ms"] > 0 for row in record["groups"][0]["rows"])


def test_page_that_is_missing(tmp_path, capsys):
    assert main(["bench", "--page", str(tmp_path / "gone.md")]) == 1
    assert "gone.md" in capsys.readouterr().err


def test_the_library_and_the_command_line_do_without_it():
    program = "import sys, minivid, minivid.cli; print([m for m in sys.modules if 'bench' in m or m == 'torch'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_busy_cores():
    # In 10 s all cores worked 14 s, 9 s of them for the benchmark: the other 5 s are half a core.
    assert run._busy_cores((100.0, 50.0, 1.0), (110.0, 64.0, 10.0)) == 0.5
    assert run._busy_cores(None, None) is None


def test_cpu_name():
    assert cpu_name()


def test_keys_are_what_only_takes():
    assert [group.key for group in cases.groups()] == [
        *("conv3x3-forward", "conv3x3-backward", "conv-other", "maxpool", "lstm", "dense", "step", "neighbours")
    ]
