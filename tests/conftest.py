"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("default", max_examples=15, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

ROOT = Path(__file__).resolve().parents[1]
CORES = os.cpu_count() or 1

# More threads than a small machine has cores: tests ask whether results depend on their number. Read by Numba's import.
os.environ.setdefault("NUMBA_NUM_THREADS", str(max(4, CORES)))


def pytest_configure():
    """Use one thread per core, where a test does not ask for more."""
    import numba

    numba.set_num_threads(min(CORES, numba.config.NUMBA_NUM_THREADS))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real clips and odd video files; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("MINIVID_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real clips here; set MINIVID_TEST_DATA to their folder")
    return folder


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same random stream."""
    import minivid

    minivid.set_seed(1234)


def pytest_runtest_setup(item):
    """Skip, visibly, what this machine cannot run; MINIVID_REQUIRE_GPU=1 makes a missing GPU a failure."""
    if item.get_closest_marker("emulator"):
        from minivid.cuda.emulator import compiler

        if compiler() is None:
            pytest.skip("no C++ compiler, so no emulator: see `minivid doctor`")
    if item.get_closest_marker("gpu"):
        from minivid.cuda.device import missing

        if missing() is not None:
            report = pytest.fail if os.environ.get("MINIVID_REQUIRE_GPU") == "1" else pytest.skip
            report(missing())
