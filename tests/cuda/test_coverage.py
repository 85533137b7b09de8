"""Every operation runs on the GPU: what the table of an operation promises there."""

import importlib
import pkgutil

import pytest

from minivid import ops, optimizers
from minivid.backend import Op
from minivid.cuda import source

MODULES = [importlib.import_module(f"minivid.ops.{module.name}") for module in pkgutil.iter_modules(ops.__path__)]
OPERATIONS = {
    op.__name__: op for module in [*MODULES, optimizers] for op in vars(module).values() if isinstance(op, Op)
}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_has_an_implementation_for_the_gpu(name):
    assert "gpu" in OPERATIONS[name].implementations


@pytest.mark.parametrize("stem", source.stems())
def test_every_kernel_file_is_launched_somewhere(stem):
    """Files and operations have one name; the updates of all optimizers are in one file."""
    assert stem in {module.__name__.rpartition(".")[2] for module in [*MODULES, optimizers]}
