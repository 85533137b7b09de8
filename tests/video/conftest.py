"""The tests of the video package keep their decoded clips to themselves."""

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MINIVID_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
