"""What the benchmark of a GPU does around the timing, on a pretended GPU whose arrays are NumPy's."""

import numpy as np
import pytest

from minivid.bench import gpu
from minivid.bench.cases import lstm, maxpool2d
from minivid.bench.gpu import GpuSide

CASE = vars(maxpool2d(1, 4, 8, 2, 2))  # 4·(256 + 64) + 64 = 1344 bytes


class PretendedGpu:
    """Its clock ticks once per event, a millisecond each; its graphs are the calls themselves."""

    isfinite = staticmethod(np.isfinite)
    records_graphs = True

    def __init__(self):
        self.ticks, self.recorded = 0, []

    def event(self):
        return PretendedEvent(self)

    def milliseconds(self, start, end):
        return end.tick - start.tick

    def graph(self, call):
        if not self.records_graphs:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.recorded.append(call)
        return call

    def free(self):
        pass


class PretendedEvent:
    def __init__(self, device):
        self.device = device

    def record(self):
        self.device.ticks += 1
        self.tick = self.device.ticks

    def synchronize(self):
        pass


@pytest.fixture
def side(monkeypatch):
    monkeypatch.setattr(gpu, "_CuPy", PretendedGpu)
    return GpuSide("minivid-gpu", threads=1)


@pytest.fixture
def calls(side, monkeypatch):
    """Which copy of a case each call used."""
    made, used = [], []

    def prepared(**settings):
        number = len(made)
        made.append(number)
        return {"channels last": lambda: used.append(number)}

    monkeypatch.setattr(side.module, CASE["kind"], prepared)
    return used


def test_as_many_copies_as_fill_the_cache_take_turns(side, calls, monkeypatch):
    monkeypatch.setattr(gpu, "COPIED_BYTES", 3000)  # 2.2 times the case
    assert list(side.prepare(CASE)) == ["channels last", "channels last, graph"]
    calls.clear()
    assert side._seconds("channels last", calls=5) == 1e-3 / 5
    assert sorted(calls[:3]) == [0, 1, 2]
    assert calls[3:] == calls[:2]


def test_no_more_copies_than_needed(side, calls, monkeypatch):
    monkeypatch.setattr(gpu, "MAX_COPIES", 2)
    side.prepare(CASE)
    assert set(calls) == {0, 1}
    assert len(side.gpu.recorded) == 2


def test_what_cannot_be_recorded_is_launched(side, calls, monkeypatch, capsys):
    monkeypatch.setattr(PretendedGpu, "records_graphs", False)
    assert list(side.prepare(CASE)) == ["channels last"]
    assert "minivid: no CUDA graph (operation not permitted when stream is capturing)" in capsys.readouterr().err


def test_a_result_that_is_not_written_is_refused(side, monkeypatch):
    y, z = np.zeros(3, np.float32), np.zeros(3)

    def forgets():
        y[:2] = 1  # and leaves y[2] as it was
        z[:] = 1
        return y, (z, np.zeros(3, np.uint8))

    monkeypatch.setattr(side.module, CASE["kind"], lambda **settings: {"channels last": forgets})
    with pytest.raises(RuntimeError, match="1×8×8×4, 2×2: a result is not finite, or not written at all"):
        side.prepare(CASE)
    y[2] = z[2] = 0

    def writes():
        y[:] = z[:] = 1
        return y, [z]

    monkeypatch.setattr(side.module, CASE["kind"], lambda **settings: {"channels last": writes})
    side.prepare(CASE)


@pytest.mark.parametrize("case", [CASE, vars(lstm(2, 3, 5, 4, backward=True))], ids=["maxpool2d", "lstm"])
def test_the_kernels_of_minivid_pass_it(side, case):
    prepared = side.prepare(case)
    assert all(seconds > 0 for seconds in prepared.values())


def test_rungs_are_the_versions_of_the_kernels(side):
    from minivid.ops import maxpool2d_forward

    versions = [name for name in maxpool2d_forward.implementations if name.startswith("gpu_")]
    assert side.rungs("maxpool2d_forward") == [*sorted(versions), "gpu"]


def test_a_pytorch_that_cannot_use_the_gpu_is_missing():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this PyTorch can use the GPU")
    with pytest.raises(ImportError, match="cannot use the GPU"):
        gpu._Torch(tf32=False)
