"""The two sides of the comparison on a GPU: the cases of `ours` and `peer` on its arrays, timed by its own clock.

A GPU does what it is asked later: a clock on the CPU would time the asking. Events, which the GPU passes in its work,
tell how long the work took. Each case is prepared several times and the copies take turns, because a case that is
repeated would find its arrays in the cache. And each is timed twice: launched from Python, and as a CUDA graph, which
replays recorded launches; the faster counts, for both sides alike.
"""

import itertools
import math
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version

import numpy as np

from minivid import ops
from minivid.bench import ours
from minivid.bench.cases import Case
from minivid.bench.worker import Side

__all__ = ["GpuSide"]

COPIED_BYTES = 256 * 2**20  # what the copies of a case take together: more than any cache
MAX_COPIES = 16
WARM_UPS_BEFORE_GRAPH = 3
PEAK_SIZE = 8192  # rows and columns of the matrices whose product is the ceiling of arithmetic
COPY_SIZE = 2**28  # numbers in the array whose copy is the ceiling of memory
CEILING_CALLS = 20


class GpuSide(Side):
    """What a worker for a GPU holds.

    Parameters
    ----------
    name : {"minivid-gpu", "torch-gpu", "torch-gpu-tf32"}
        Whose kernels are timed; PyTorch's with products of full float32, or of its short form TF32.
    threads : int
        How many threads of the CPU they may use.

    Raises
    ------
    ImportError
        If the library is not installed, or PyTorch's cannot use the GPU.

    Examples
    --------
    >>> GpuSide("minivid-gpu", threads=2).about()  # doctest: +SKIP
    {'Python': '3.11.7', 'minivid': '0.1.0', 'CuPy': '14.2.0', 'CUDA': '13.0', 'driver': '13.0'}
    """

    def __init__(self, name: str, threads: int):
        library, _, short = name.partition("-gpu")
        super().__init__(library, threads)
        self.gpu = _CuPy() if library == "minivid" else _Torch(tf32=bool(short))

    def about(self) -> dict[str, str]:
        """Return the versions of what does the work."""
        return self.gpu.about()

    def machine(self) -> dict[str, object]:
        """Measure the ceilings: NVIDIA's own matrix product in float32, and a copy."""
        import cupy

        a, b = cupy.random.standard_normal((2, PEAK_SIZE, PEAK_SIZE), dtype=np.float32)
        x, y, c = cupy.ones(COPY_SIZE, np.float32), cupy.zeros(COPY_SIZE, np.float32), cupy.empty_like(a)
        properties = cupy.cuda.runtime.getDeviceProperties(0)
        return {
            "gpu": properties["name"].decode(),
            "system": f"{platform.system()} {platform.machine()}",
            "threads": self.threads,
            "flops_per_second": 2 * PEAK_SIZE**3 / self._ceiling(lambda: cupy.matmul(a, b, out=c)),
            "bytes_per_second": 2 * x.nbytes / self._ceiling(lambda: cupy.copyto(y, x)),
        }

    def _ceiling(self, call: Callable[[], object]) -> float:
        call()
        return self._elapsed(call, CEILING_CALLS)

    def prepare(self, case: dict, rung: str | None = None) -> dict[str, float]:
        """Make the arrays of a case, several times over; see `Side.prepare`."""
        case = Case(**case)
        self.variants, self.rung = {}, rung
        self.gpu.free()
        copies = 1 if case.kind == "training_step" else min(MAX_COPIES, math.ceil(COPIED_BYTES / case.bytes))
        with self._forced():
            made = [self._variants(case) for _ in range(copies)]
            for layout in made[0]:
                calls = [variants[layout] for variants in made]
                self._check(case.name, calls[0])
                self.variants[layout] = _in_turn(calls)
                graphs = self._graphs(calls)
                if graphs:
                    self.variants[f"{layout}, graph"] = _in_turn(graphs)
        return {layout: self._warm_up(layout) for layout in self.variants}

    def _variants(self, case: Case) -> dict[str, Callable[[], object]]:
        if case.kind == "training_step" and self.name == "minivid":
            return {"channels last": _training_step(**case.settings)}
        return getattr(self.module, case.kind)(**case.settings)

    def _check(self, name: str, call: Callable[[], object]) -> None:
        """Refuse a kernel that leaves something unwritten: the memory it writes to is full of NaN before."""
        array = None
        for array in _arrays(call()):
            array[...] = np.nan
        del array  # the next call gets this memory again
        if not all(bool(self.gpu.isfinite(array).all()) for array in _arrays(call())):
            raise RuntimeError(f"{name}: a result is not finite, or not written at all")

    def _graphs(self, calls: Sequence[Callable[[], object]]) -> list[Callable[[], object]]:
        """Return the calls as CUDA graphs; none if they do what cannot be recorded, such as asking for a result."""
        try:
            return [self.gpu.graph(call) for call in calls]
        except Exception as error:
            print(f"{self.name}: no CUDA graph ({error})", file=sys.stderr)
            return []

    def _seconds(self, layout: str, calls: int) -> float:
        with self._forced():
            return self._elapsed(self.variants[layout], calls)

    def _elapsed(self, call: Callable[[], object], calls: int) -> float:
        """Return the mean seconds of some calls in a row, from one event to another."""
        start, end = self.gpu.event(), self.gpu.event()
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return self.gpu.milliseconds(start, end) / 1e3 / calls

    def rungs(self, kind: str) -> list[str]:
        """Return the names of the versions of an operation's kernels, the first first."""
        names = [name for name in getattr(ops, kind).implementations if name.startswith("gpu_")]
        return [*sorted(names), "gpu"]


def _in_turn(calls: Sequence[Callable[[], object]]) -> Callable[[], object]:
    following = itertools.cycle(calls)
    return lambda: next(following)()


def _arrays(result: object) -> Iterator:
    """Find the arrays of floating-point numbers in nested tuples."""
    if isinstance(result, tuple | list):
        for item in result:
            yield from _arrays(item)
    elif "float" in str(getattr(result, "dtype", "")):
        yield result


def _training_step(N: int, T: int, H: int) -> Callable[[], None]:
    """Return a step that never waits for a result, as `train_on_batch` does to return the loss.

    A graph replays the very same step: the number of the step, which Adam's rate depends on, stays what it was.
    """
    model = ours.classifier(T, H).to("gpu")
    x = ours._random(N, T, H, H, 3)
    targets = ours.place(np.eye(10, dtype=np.float32)[np.arange(N) % 10])  # (N, 10)
    dlosses = ours.place(np.full(N, 1 / N, np.float32))

    def step():
        model.forward(x, training=True)
        _, probabilities = ops.softmax_cross_entropy_forward(model.logits, targets)
        model.zero_grads()
        model.backward_logits(ops.softmax_cross_entropy_backward(dlosses, probabilities, targets), need_dx=False)
        model.optimizer.step(model.trainable_params, {name: model.grads[name] for name in model.trainable_params})

    return step


# --- the two libraries --------------------------------------------------------------------------------------------


class _CuPy:
    """How CuPy is asked."""

    def __init__(self):
        import cupy

        ours.place = cupy.asarray
        self.cupy, self.isfinite, self.event = cupy, cupy.isfinite, cupy.cuda.Event
        self.milliseconds = cupy.cuda.get_elapsed_time
        self.stream = cupy.cuda.Stream(non_blocking=True)  # launches of the default stream cannot be recorded
        self.stream.use()
        self.pools = []

    def about(self) -> dict[str, str]:
        runtime = self.cupy.cuda.runtime
        found = {"CUDA": runtime.runtimeGetVersion(), "driver": runtime.driverGetVersion()}
        return {
            "Python": platform.python_version(),
            "minivid": version("minivid"),
            "CuPy": self.cupy.__version__,
            **{name: f"{number // 1000}.{number % 1000 // 10}" for name, number in found.items()},
        }

    def graph(self, call: Callable[[], object]) -> Callable[[], object]:
        pool = self.cupy.cuda.MemoryPool()  # what the graph writes to is nobody else's
        with self.cupy.cuda.using_allocator(pool.malloc):
            for _ in range(WARM_UPS_BEFORE_GRAPH):
                call()
            self.stream.synchronize()
            self.stream.begin_capture()
            try:
                call()
            finally:
                graph = self.stream.end_capture()
        self.pools.append(pool)
        return lambda: graph.launch(self.stream)

    def free(self) -> None:
        self.stream.synchronize()
        self.pools.clear()
        self.cupy.get_default_memory_pool().free_all_blocks()


class _Torch:
    """How PyTorch is asked."""

    def __init__(self, tf32: bool):
        import torch

        if not torch.cuda.is_available():
            raise ImportError(f"PyTorch {torch.__version__} cannot use the GPU")
        torch.set_default_device("cuda")
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        self.torch, self.isfinite = torch, torch.isfinite

    def event(self):
        return self.torch.cuda.Event(enable_timing=True)

    def milliseconds(self, start, end) -> float:
        return start.elapsed_time(end)

    def about(self) -> dict[str, str]:
        return {"PyTorch": self.torch.__version__, "cuDNN": str(self.torch.backends.cudnn.version())}

    def graph(self, call: Callable[[], object]) -> Callable[[], object]:
        cuda = self.torch.cuda
        stream, graph = cuda.Stream(), cuda.CUDAGraph()
        stream.wait_stream(cuda.current_stream())
        with cuda.stream(stream):
            for _ in range(WARM_UPS_BEFORE_GRAPH):
                call()
        cuda.current_stream().wait_stream(stream)
        with cuda.graph(graph):
            call()
        return graph.replay

    def free(self) -> None:
        self.torch.cuda.empty_cache()
