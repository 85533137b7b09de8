import inspect
import sys
import threading
import types

import numpy as np
import pytest

import minivid
from minivid.backend import Op, device_of, use, xp_of


class FakeCupyArray:
    """Looks like a CuPy array to the dispatcher, which goes by the module of the type."""


FakeCupyArray.__module__ = "cupy"


def add_reference(x, y=None):
    """Add."""
    return "reference"


def make_op(**implementations):
    return Op(reference=add_reference, cpu=lambda x, y=None: "cpu", **implementations)


def test_the_device_of_the_data_decides():
    op = make_op(gpu=lambda x, y=None: "gpu")
    assert op(np.zeros(2)) == "cpu"
    assert op(FakeCupyArray()) == "gpu"
    assert op(FakeCupyArray(), None) == "gpu"
    assert op(x=1, y=FakeCupyArray()) == "gpu"
    assert op(3) == "cpu"


def test_mixed_devices():
    for arguments in [(np.zeros(2), FakeCupyArray()), (FakeCupyArray(), np.zeros(2))]:
        with pytest.raises(TypeError, match=r"different devices.*model\.to\('gpu'\)"):
            make_op()(*arguments)
    with pytest.raises(TypeError, match="different devices"):
        make_op()(np.zeros(2), y=FakeCupyArray())
    with pytest.raises(TypeError, match="different devices"):
        xp_of(np.zeros(2), FakeCupyArray())


def test_an_operation_without_gpu_says_so():
    with pytest.raises(TypeError, match="add does not run on the gpu yet"):
        make_op()(FakeCupyArray())


def test_forced_implementation():
    op = make_op(loops=lambda x, y=None: "loops")
    for name in ("reference", "loops", "cpu"):
        with use(name):
            assert op(np.zeros(2)) == name
    assert op(np.zeros(2)) == "cpu"
    with use("loops"):
        assert make_op()(np.zeros(2)) == "cpu"  # an operation without that rung runs its default


def test_forced_implementation_that_does_not_fit():
    op = make_op(gpu=lambda x, y=None: "gpu")
    with (
        use("reference"),
        pytest.raises(TypeError, match=r"use\('reference'\) needs NumPy arrays, but add was given CuPy"),
    ):
        op(FakeCupyArray())
    with use("gpu"), pytest.raises(TypeError, match=r"use\('gpu'\) needs CuPy arrays, but add was given NumPy"):
        op(np.zeros(2))
    with use("gpu"), pytest.raises(TypeError, match=r"use\('gpu'\) needs CuPy arrays"):
        make_op()(np.zeros(2))
    with use("gpu"):
        assert op(FakeCupyArray()) == "gpu"


def test_use_unwinds():
    op = make_op(loops=lambda x, y=None: "loops")
    with use("reference"):
        with use("loops"):
            assert op(1) == "loops"
        assert op(1) == "reference"
        with pytest.raises(ZeroDivisionError), use("loops"):
            raise ZeroDivisionError
        assert op(1) == "reference"
    assert op(1) == "cpu"


def test_use_in_another_thread():
    op, seen = make_op(), {}

    def forced():
        with use("reference"):
            started.set()
            done.wait(5)
            seen["forced"] = op(1)

    started, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=forced)
    thread.start()
    started.wait(5)
    seen["here"] = op(1)  # while the other thread is inside its block
    done.set()
    thread.join()
    assert seen == {"forced": "reference", "here": "cpu"}


def test_unknown_name():
    with pytest.raises(ValueError, match=r"no operation has an implementation 'fast'; there are \['cpu', 'emulator'"):
        use("fast").__enter__()
    make_op(cleverer=lambda x, y=None: "cleverer")
    with use("cleverer"):
        pass


def test_an_op_looks_like_its_reference():
    op = make_op(loops=lambda x, y=None: "loops")
    assert op.__name__ == "add"
    assert op.__doc__ == "Add."
    assert list(inspect.signature(op).parameters) == ["x", "y"]
    assert repr(op) == "<Op add: reference, loops, cpu>"
    assert list(op.implementations) == ["reference", "loops", "cpu"]
    assert op.choose(np.zeros(1)) is op.implementations["cpu"]


def test_every_operation_has_documentation_and_one_signature():
    import minivid.ops

    ops = {name: value for name, value in vars(minivid.ops).items() if isinstance(value, Op)}
    modules = [m for name, m in sys.modules.items() if name.startswith("minivid.ops.") and m]
    ops |= {name: value for m in modules for name, value in vars(m).items() if isinstance(value, Op)}
    assert len(ops) >= 20
    for name, op in ops.items():
        assert op.__name__ == name
        assert "Parameters" in op.__doc__
        expected = list(inspect.signature(op).parameters)
        for implementation in op.implementations.values():
            assert list(inspect.signature(implementation).parameters) == expected, name


def test_device_and_module(monkeypatch):
    cupy = types.ModuleType("cupy")
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert device_of(np.zeros(1), None, 3) == "cpu"
    assert device_of(FakeCupyArray(), None) == "gpu"
    assert device_of() == "cpu"
    assert xp_of(np.zeros(1)) is np
    assert xp_of(FakeCupyArray()) is cupy


def test_layers_and_training_obey():
    from minivid.layers import Conv2D

    x = np.random.default_rng(0).normal(size=(2, 4, 5, 2))
    layer = Conv2D(3, 2, activation="tanh")
    y = layer(x)
    with minivid.use("reference"):
        np.testing.assert_allclose(layer(x), y, rtol=1e-12)
