"""The pool of large buffers: used again, never shared, never more than was in use at one time."""

import copy
import gc
import pickle
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivid import memory
from minivid.layers import Conv2D, Dense, GlobalAveragePooling2D, MaxPooling2D
from minivid.models import Sequential
from minivid.tasks.classify import build_classifier

MIB = 1 << 20


@pytest.fixture
def pool(monkeypatch):
    """A pool of its own, so that arrays of other tests do not count."""
    pool = memory._Pool()
    monkeypatch.setattr(memory, "_POOL", pool)
    return pool


def mebibytes(count):
    return memory.empty(count * MIB - 64, np.uint8)  # with 64 bytes of alignment exactly `count` MiB


def address(array):
    return array.ctypes.data


@pytest.mark.parametrize("shape", [(3, 1 << 20), (1 << 21,), 1 << 21, (2,), (), 0, (5, 0, 7)])
@pytest.mark.parametrize("dtype", [np.float32, "float64", np.int64, bool, np.complex64])
def test_arrays_are_as_asked_for(pool, shape, dtype):
    for x in (memory.empty(shape, dtype), memory.zeros(shape, dtype)):
        assert x.shape == np.empty(shape).shape
        assert x.dtype == np.dtype(dtype)
        assert x.flags.c_contiguous
        assert x.flags.writeable
        if x.nbytes >= MIB:
            assert address(x) % 64 == 0


def test_zeros_are_zero_in_used_memory(pool):
    memory.empty(MIB).fill(7)
    assert not memory.zeros(MIB).any()


def test_memory_is_used_again(pool):
    first, second = mebibytes(2), mebibytes(2)
    assert address(first) != address(second)
    where = address(first)
    del first
    assert address(mebibytes(2)) == where
    assert address(mebibytes(2)) == where  # as that one is gone, too


def test_sizes_a_little_smaller_fit(pool):
    for size in (16 * MIB - 64, 15 * MIB, 16 * MIB - 64):
        memory.empty(size, np.uint8)
        assert held(pool) == 16 * MIB
    memory.empty(13 * MIB, np.uint8)  # would waste more than an eighth
    assert pool.greatest == 16 * MIB
    assert held(pool) == 14 * MIB  # 13 MiB and 64 bytes make 14; with the 16 it would be too much


@pytest.mark.parametrize("view", [lambda x: x[5:], lambda x: x.reshape(2, -1).T, lambda x: x.view(np.int32)])
def test_a_view_keeps_the_memory(pool, view):
    x = memory.empty(MIB)
    where, x = address(x), view(x)
    assert address(memory.empty(MIB)) != where
    del x
    assert address(memory.empty(MIB)) == where


def test_copies_and_pickles_are_ordinary_arrays(pool):
    x = memory.zeros(MIB)
    for y in (x.copy(), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x + 1):
        assert not isinstance(y.base, memory._Loan)
        assert y.shape == x.shape


@given(st.lists(st.tuples(st.sampled_from(["new", "drop", "view"]), st.integers(0, 99)), max_size=60))
def test_arrays_never_share_memory(steps):
    alive = []  # arrays, and the number that all their entries have
    for number, (action, choice) in enumerate(steps):
        if action == "new":
            x = memory.empty((1 + choice % 3, MIB // 4 + choice % 5))
            x.fill(number)
            alive.append((x, number))
        elif alive and action == "drop":
            del alive[choice % len(alive)]
        elif alive:
            x, value = alive.pop(choice % len(alive))
            alive.append((x[:, choice:], value))
        assert all((x == value).all() for x, value in alive)


def held(pool):
    """Return the bytes of all buffers, in use and free."""
    pool.collect()
    return pool.in_use + sum(map(len, pool.free))


def test_the_pool_holds_no_more_than_its_bound(pool, monkeypatch):
    monkeypatch.setattr(memory, "_ROOM", 1.0)  # no more than was in use at one time
    x = [mebibytes(4), mebibytes(8)]
    assert held(pool) == 12 * MIB
    del x[0]  # the older one
    del x[0]
    assert held(pool) == 12 * MIB
    x.append(mebibytes(2))  # 4 + 8 free and 2 more would be 14: the oldest goes
    assert held(pool) == 10 * MIB
    x.append(mebibytes(10))  # in use 12, so nothing may be free
    assert held(pool) == 12 * MIB
    x.append(mebibytes(2))
    assert held(pool) == pool.greatest == 14 * MIB


def test_release(pool):
    x, y = mebibytes(2), mebibytes(4)
    del y
    memory.release()
    assert held(pool) == pool.greatest == 2 * MIB
    assert address(x) not in {address(mebibytes(2)), address(mebibytes(2))}


def test_an_array_may_die_inside_the_pool(pool, monkeypatch):
    # The garbage collector may find arrays in a cycle at any time, in the thread that holds the lock, too.
    cycle = [memory.empty(MIB)]
    cycle.append(cycle)
    del cycle
    monkeypatch.setattr(pool, "take", lambda size: gc.collect() and None)
    memory.empty(MIB)
    assert held(pool) == 2 * memory._size_class(4 * MIB)


def test_threads(pool):
    wrong = []

    def work(number):
        for step in range(200):
            x = memory.empty(MIB // 4 + step % 3)
            x.fill(number)
            y = x[1:]
            del x
            if not (y == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    pool.collect()
    assert pool.in_use == 0
    assert pool.unused == held(pool) <= memory._ROOM * pool.greatest
    assert pool.greatest <= 2 * 4 * memory._size_class(MIB + 8)  # x and the last y


def test_training_does_not_leak():
    """After a hundred steps the peak has been reached: 200 outputs of 1 MiB, kept, would be far above it."""
    resource = pytest.importorskip("resource")
    model = Sequential(
        [Conv2D(8, 3, activation="relu", input_shape=(96, 96, 3)), MaxPooling2D(2), GlobalAveragePooling2D(), Dense(2)]
    )
    model.compile("adam", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 96, 96, 3)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    peaks = []
    for _ in range(2):
        for _ in range(100):
            model.train_on_batch(x, y)
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    assert peaks[1] - peaks[0] < 16 * MIB


@pytest.mark.parametrize("shape", [(), 0, 1, (3, 5), (2, 0, 3), (300, 300)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, bool])
def test_small_arrays_are_aligned_too(shape, dtype):
    x = memory.empty(shape, dtype)
    assert x.shape == np.empty(shape).shape
    assert x.dtype == dtype
    assert x.ctypes.data % 64 == 0 or x.size == 0
    assert x.flags.c_contiguous
    assert x.flags.writeable


def test_a_training_step_takes_the_memory_of_the_one_before(pool, monkeypatch):
    fresh = []
    take = memory._Pool.take

    def counting_take(self, size):
        buffer = take(self, size)
        if buffer is None:
            fresh.append(size)
        return buffer

    monkeypatch.setattr(memory._Pool, "take", counting_take)
    model = build_classifier((16, 64, 64, 3), 6, "tiny")
    model.compile("adam", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).random((16, 16, 64, 64, 3), dtype=np.float32)
    for _ in range(4):
        fresh.clear()
        model.train_on_batch(x, np.arange(16) % 6)
    assert fresh == []
