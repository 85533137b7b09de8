"""What every public name owes its reader: a docstring, type hints, an example, and examples that run."""

import doctest
import importlib
import inspect
import pkgutil
from dataclasses import is_dataclass

import pytest

import minivid
from minivid.backend import Op

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(minivid.__path__, "minivid.")
    if not module.name.startswith(("minivid.kernels", "minivid.__main__"))
)


def public_objects(module_name):
    """Yield name and object of all functions and classes that a module defines and lists in its ``__all__``."""
    module = importlib.import_module(module_name)
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        thing = thing.implementations["reference"] if isinstance(thing, Op) else thing
        if getattr(thing, "__module__", None) == module_name and (inspect.isfunction(thing) or inspect.isclass(thing)):
            yield name, thing


def public_methods(cls):
    """Yield name and function of the public methods and properties that a class defines itself, and ``__init__``."""
    for name, member in vars(cls).items():
        if isinstance(member, property):
            member = member.fget
        function = getattr(member, "__func__", member)  # of a static method or a class method
        if (
            getattr(function, "__module__", None) == cls.__module__
            and inspect.isfunction(function)
            and (name == "__init__" or not name.startswith("_"))
        ):
            yield name, function


def hinted(function, owner=None):
    """Return the names of parameters with a type; those of an overriding method may be in the class above."""
    above = [vars(cls).get(function.__name__) for cls in (owner.__mro__ if owner else ())]
    names = set()
    for version in (function, *above):
        version = version.fget if isinstance(version, property) else getattr(version, "__func__", version)
        names |= set(getattr(version, "__annotations__", ()))
    return names


def without_hint(function, owner=None):
    signature = inspect.signature(function)
    wanted = {
        name
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls") and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }
    if function.__name__ != "__init__":
        wanted.add("return")
    return sorted(wanted - hinted(function, owner))


def is_record_or_exception(thing):
    """Whether a class holds values and does nothing: an example would only repeat its attributes."""
    return inspect.isclass(thing) and (is_dataclass(thing) or issubclass(thing, tuple | Exception))


@pytest.mark.parametrize("module_name", MODULES)
def test_public_names_are_explained(module_name):
    missing = []
    for name, thing in public_objects(module_name):
        if not inspect.getdoc(thing):
            missing.append(name)
        if inspect.isclass(thing):
            missing += [f"{name}.{key}" for key, _ in public_methods(thing) if not inspect.getdoc(getattr(thing, key))]
    assert not missing, f"without a docstring: {missing}"


@pytest.mark.parametrize("module_name", MODULES)
def test_public_functions_are_typed(module_name):
    missing = {}
    for name, thing in public_objects(module_name):
        if inspect.isfunction(thing):
            missing[name] = without_hint(thing)
        else:
            missing |= {f"{name}.{key}": without_hint(method, thing) for key, method in public_methods(thing)}
    missing = {name: parameters for name, parameters in missing.items() if parameters}
    assert not missing, f"without a type hint: {missing}"


@pytest.mark.parametrize("module_name", MODULES)
def test_public_names_have_examples(module_name):
    missing = [
        name
        for name, thing in public_objects(module_name)
        if not is_record_or_exception(thing) and ">>>" not in (inspect.getdoc(thing) or "")
    ]
    assert not missing, f"without an example: {missing}"


@pytest.mark.parametrize("module_name", MODULES)
def test_examples_run(module_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(module_name)
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(verbose=False)
    report = []
    for example in [*finder.find(module), *examples_of_operations(module, finder)]:
        runner.run(example, out=report.append, clear_globs=False)
    assert not "".join(report)
    assert not list(tmp_path.iterdir()), "an example leaves files in the current folder"


def examples_of_operations(module, finder):
    """Yield the examples of Ops, which doctest does not take for functions."""
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if isinstance(thing, Op) and thing.__module__ == module.__name__:
            yield from finder.find(thing.implementations["reference"], name, module=module, globs=dict(vars(module)))


def test_every_public_name_exists():
    for module_name in ["minivid", *MODULES]:
        module = importlib.import_module(module_name)
        names = getattr(module, "__all__", ())
        assert len(set(names)) == len(names), module_name
        for name in names:
            assert hasattr(module, name), f"{module_name}.{name}"
