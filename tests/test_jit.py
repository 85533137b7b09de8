import json
import os
import re
import shutil
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numba.core.errors import NumbaError

import minivid
from minivid import jit

PACKAGE = Path(minivid.__file__).parent


def python(code, **environment):
    """Run a program in a new interpreter and return what it printed."""
    env = {"PYTHONPATH": str(PACKAGE.parent)} | {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | environment
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    """No cache folder but those that a test sets."""
    for name in ("MINIVID_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(jit.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    return tmp_path


def test_cache_home_in_order(homeless, monkeypatch):
    assert jit.cache_home() == homeless / "home/.cache/minivid"
    monkeypatch.setenv("XDG_CACHE_HOME", str(homeless / "xdg"))
    assert jit.cache_home() == homeless / "xdg/minivid"
    monkeypatch.setenv("MINIVID_CACHE_DIR", str(homeless / "own"))
    assert jit.cache_home() == homeless / "own"
    assert (homeless / "own").is_dir()


def test_cache_home_falls_back(homeless, monkeypatch):
    (homeless / "file").write_text("")
    monkeypatch.setenv("MINIVID_CACHE_DIR", str(homeless / "file" / "below a file"))  # cannot be made
    monkeypatch.setenv("XDG_CACHE_HOME", str(homeless / "file"))
    shared = jit.cache_home()
    assert shared.parent == homeless / "tmp"
    assert shared.name.startswith("minivid-")
    if os.name == "posix":
        assert shared.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(jit.tempfile, "gettempdir", lambda: str(homeless / "file"))
    assert jit.cache_home() is None


def test_nobody_has_a_home(homeless, monkeypatch):
    def expanduser(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(jit.Path, "expanduser", expanduser)
    assert jit.cache_home() is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders have no owner here")
def test_a_strangers_folder_is_not_used(homeless, monkeypatch):
    (homeless / "own").mkdir()
    monkeypatch.setenv("MINIVID_CACHE_DIR", str(homeless / "own"))
    mine = os.getuid()
    monkeypatch.setattr(jit.os, "getuid", lambda: mine + 1)
    assert jit.cache_home() is None


def test_an_edit_of_any_source_of_loops_changes_the_folder(tmp_path, monkeypatch):
    shutil.copytree(PACKAGE / "ops", tmp_path / "ops", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("jit.py", "simd.py"):
        shutil.copy(PACKAGE / name, tmp_path / name)
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "jit.py"))
    before = jit._hash_of_sources()
    assert jit._hash_of_sources() == before
    hashes = {before}
    for name in ("ops/matmul.py", "ops/window.py", "jit.py", "simd.py"):
        source = tmp_path / name
        source.write_text(source.read_text() + "\n# edited\n")
        hashes.add(jit._hash_of_sources())
    assert len(hashes) == 5


def test_every_source_of_loops_that_others_call_is_hashed():
    # Numba itself notices an edit in the file of the compiled function, so only files that others import from matter.
    imports = re.compile(r"^from minivid\.jit import .*\b(compiled|inner)\b", re.MULTILINE)
    with_loops = {path for path in PACKAGE.rglob("*.py") if imports.search(path.read_text())}
    assert PACKAGE / "ops" / "tile.py" in with_loops
    hashed = {PACKAGE / "simd.py", *(PACKAGE / "ops").rglob("*.py")}
    outside = with_loops - hashed
    for path in outside:
        module = f"minivid.{path.relative_to(PACKAGE).with_suffix('').as_posix().replace('/', '.')}"
        assert not any(f"from {module} import" in other.read_text() for other in with_loops - {path})


def test_compiled_functions_are_kept_on_disk(tmp_path):
    script = tmp_path / "loops.py"
    script.write_text(
        "from minivid.jit import compiled\n"
        "@compiled(parallel=False)\n"
        "def double(x):\n"
        "    return 2 * x\n"
        "print(double(21), sum(double.stats.cache_hits.values()))\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), "MINIVID_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert runs == [["42", "0"], ["42", "1"]]
    assert list((tmp_path / "cache" / "compiled").rglob("*.nbc"))


LAYER = """
import numba.core.event as event
with event.install_recorder("numba:compile") as compiled:
    import numpy as np
    from minivid.layers import MaxPooling2D
    y = MaxPooling2D(2)(np.arange(16.0, dtype=np.float32).reshape(1, 4, 4, 1))
print(len(compiled.buffer), *y.ravel().tolist())
"""


def test_the_second_start_compiles_nothing(tmp_path):
    first, second = (python(LAYER, MINIVID_CACHE_DIR=str(tmp_path)).split() for _ in range(2))
    assert int(first[0]) > 0
    assert second == ["0", *first[1:]]


def test_several_processes_start_at_once_with_an_empty_cache(tmp_path):
    with ThreadPoolExecutor() as together:
        runs = list(together.map(lambda _: python(LAYER, MINIVID_CACHE_DIR=str(tmp_path)).split(), range(3)))
    assert [run[1:] for run in runs] == [["5.0", "7.0", "13.0", "15.0"]] * 3
    assert python(LAYER, MINIVID_CACHE_DIR=str(tmp_path)).split()[0] == "0"  # what they left is whole


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders have no modes here")
def test_a_read_only_installation(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "installed" / "minivid", ignore=shutil.ignore_patterns("__pycache__"))
    folders = [path for path in (tmp_path / "installed").rglob("*") if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        run = python(LAYER, PYTHONPATH=str(tmp_path / "installed"), MINIVID_CACHE_DIR=str(tmp_path / "cache"))
        assert run.split()[1:] == ["5.0", "7.0", "13.0", "15.0"]
        assert not list((tmp_path / "installed").rglob("*.nb?"))  # even root writes nothing there
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_division_and_fused_sums_as_in_numpy():
    @jit.compiled(parallel=False)
    def divide(a, b):
        return a / b

    assert divide(1.0, 0.0) == np.inf
    assert np.isnan(divide(0.0, 0.0))


def test_inner_functions_count_no_references(monkeypatch):
    monkeypatch.setattr(jit, "_CACHE_FOLDER", None)  # what comes from the disk cannot be looked into

    def add_into(x, y):
        for i in range(len(x)):
            y[i] += x[i]

    counts = []
    for add in (jit.inner(add_into), jit.compiled(add_into, parallel=False)):
        y = np.ones(3)
        add(np.arange(3.0), y)
        np.testing.assert_array_equal(y, [1, 2, 3])
        counts.append("".join(add.inspect_llvm().values()).count("NRT_"))
    assert counts[0] == 0 < counts[1]


def test_inner_functions_make_and_return_no_arrays():
    @jit.inner
    def sum_of_copy(x):
        return x.copy().sum()

    @jit.inner
    def tail(x):
        return x[1:]

    for function in (sum_of_copy, tail):
        with pytest.raises(NumbaError):
            function(np.ones(3))


def test_import_is_light():
    code = (
        "import sys, json, minivid, minivid.layers, minivid.models, minivid.video\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    loaded = set(json.loads(python(code)))
    assert "minivid" in loaded
    assert not loaded & {"cupy", "matplotlib", "av", "typer", "rich", "PIL", "safetensors", "scipy", "IPython"}


class Timer:
    """Stands in for threading.Timer: rings when a test says so."""

    made: ClassVar[list] = []

    def __init__(self, seconds, function):
        self.seconds, self.function, self.cancelled = seconds, function, False
        Timer.made.append(self)

    def start(self):
        pass

    def cancel(self):
        self.cancelled = True


@pytest.fixture
def notice(monkeypatch):
    Timer.made = []
    clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(jit.threading, "Timer", Timer)
    monkeypatch.setattr(jit, "time", clock)
    notice = jit._CompileNotice(patience=2.0)
    notice.clock = clock
    return notice


def compiling(module):
    return types.SimpleNamespace(
        data={"dispatcher": types.SimpleNamespace(py_func=types.SimpleNamespace(__module__=module))}
    )


def test_notice_is_printed_once(notice, capsys):
    loops = compiling("minivid.ops.lstm")
    notice.on_start(loops)
    Timer.made[0].function()
    Timer.made[0].function()
    notice.on_end(loops)
    notice.on_start(loops)
    notice.on_end(loops)
    assert len(Timer.made) == 1
    assert capsys.readouterr().err.count("minivid: compiling its loops") == 1


def test_notice_counts_all_compiling(notice):
    for module, seconds in (("minivid.ops.a", 1.5), ("minivid.ops.b", 1.0), ("minivid.ops.c", 1.0)):
        notice.on_start(compiling(module))
        notice.clock.now += seconds
        notice.on_end(compiling(module))
    assert [timer.seconds for timer in Timer.made] == [2.0, 0.5, 0.0]
    assert all(timer.cancelled for timer in Timer.made)


def test_notice_survives_nested_compiling(notice):
    outer, inner = compiling("minivid.ops.outer"), compiling("minivid.ops.inner")
    notice.on_start(outer)
    notice.on_start(inner)
    notice.on_end(inner)
    assert not Timer.made[0].cancelled
    notice.on_end(outer)
    assert len(Timer.made) == 1
    assert Timer.made[0].cancelled


def test_notice_is_about_minivid_only(notice):
    for module in ("users.code", None):
        notice.on_start(compiling(module))
        notice.on_end(compiling(module))
    assert not Timer.made
