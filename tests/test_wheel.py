"""The wheel: built from a copy of the sources, installed elsewhere, and used from there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minivid
from minivid.cuda.emulator import compiler

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = """
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import minivid
from minivid.layers import Dense
from minivid.models import Sequential, load_model

assert Path(minivid.__file__).is_relative_to(sys.argv[1]), minivid.__file__
minivid.set_seed(0)
x = np.random.default_rng(0).normal(size=(32, 2)).astype(np.float32)
y = x[:, :1] * x[:, 1:]
model = Sequential([Dense(8, activation="tanh", input_shape=(2,)), Dense(1)])
model.compile("adam", "mse")
losses = model.fit(x, y, epochs=20, verbose=0).history["loss"]
assert losses[-1] < losses[0], losses
model.save("model.safetensors")
assert load_model("model.safetensors").count_params() == model.count_params()
print(*sorted(file.name for file in resources.files("minivid.kernels").iterdir() if file.is_file()))
"""

KERNEL_PROGRAM = """
import sys
from pathlib import Path

import numpy as np
import minivid
from minivid.cuda import emulator
from minivid.ops import maxpool2d_forward

assert Path(emulator.__file__).is_relative_to(sys.argv[1]), emulator.__file__
x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype(np.float32)
with minivid.use("emulator"):
    y, offset = maxpool2d_forward(x, 2, 2)
expected, places = maxpool2d_forward(x, 2, 2)
assert (y == expected).all() and (offset == places).all()
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder in which the wheel of this checkout is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"  # a copy: building leaves files behind, and takes in those of earlier builds
    sources.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in ("minivid", "kernels"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(sources))
    (wheel,) = folder.glob("*.whl")
    assert wheel.name == f"minivid-{minivid.__version__}-py3-none-any.whl"
    run(*pip, "install", "--no-deps", "--no-index", "--target", str(folder / "site"), str(wheel))
    return folder / "site"


@pytest.fixture
def environment(installed, tmp_path):
    """The folder of the wheel first, then the libraries that the tests have; a cache of its own."""
    return os.environ | {"PYTHONPATH": str(installed), "MINIVID_CACHE_DIR": str(tmp_path / "cache")}


def test_the_wheel_trains_and_holds_the_kernels(installed, environment, tmp_path):
    names = run(sys.executable, "-P", "-c", PROGRAM, str(installed), cwd=tmp_path, env=environment).split()
    sources = {path.name for path in (ROOT / "kernels").iterdir() if path.suffix in (".cu", ".cuh", ".md")}
    assert sources <= set(names)
    for name in sources:
        assert (installed / "minivid" / "kernels" / name).read_bytes() == (ROOT / "kernels" / name).read_bytes()


def test_the_wheel_has_every_module_and_the_sources_of_the_emulator(installed):
    def files(package):
        return {
            path.relative_to(package).as_posix()
            for path in package.rglob("*")
            if path.suffix in (".py", ".cpp", ".h") and "kernels" not in path.relative_to(package).parts
        }

    assert files(installed / "minivid") == files(ROOT / "minivid")
    assert any(name.endswith(".cpp") for name in files(installed / "minivid"))


def test_kernels_of_the_wheel_run_from_there(installed, environment, tmp_path):
    if compiler() is None:
        pytest.skip("no C++ compiler, so no emulator: see `minivid doctor`")
    run(sys.executable, "-P", "-c", KERNEL_PROGRAM, str(installed), cwd=tmp_path, env=environment)


def test_every_kernel_file_of_the_wheel_loads(installed, environment, tmp_path):
    program = """if True:
        from minivid.cuda import source
        print(source.folder(), *[len(source.load(stem).kernels) for stem in source.stems()])
    """
    folder, *counts = run(sys.executable, "-P", "-c", program, cwd=tmp_path, env=environment).split()
    assert Path(folder) == installed / "minivid" / "kernels"
    assert len(counts) == len(list((ROOT / "kernels").glob("*.cu")))
    assert all(int(count) > 0 for count in counts)


def test_the_wheel_installs_one_name(installed):
    names = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert names - {"bin", "Scripts"} == {"minivid"}


def test_the_command_of_the_wheel(installed, environment, tmp_path):
    (command,) = [*installed.glob("bin/minivid"), *installed.glob("Scripts/minivid.exe")]
    assert run(str(command), "--version", cwd=tmp_path, env=environment) == f"minivid {minivid.__version__}\n"
