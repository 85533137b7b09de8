import numpy as np

from minivid.ops.recurrent import contiguous, previous


def test_previous_is_one_step_later_with_the_initial_state_in_front():
    states, initial = np.arange(12.0).reshape(2, 3, 2), np.array([[-1.0, -2.0], [-3.0, -4.0]])
    expected = [[[-1, -2], [0, 1], [2, 3]], [[-3, -4], [6, 7], [8, 9]]]
    np.testing.assert_array_equal(previous(states, initial), expected)


def test_contiguous_keeps_float32_and_widens_only_when_an_array_is_wider():
    narrow, wide = np.ones((2, 3), dtype=np.float32).T, np.ones(2)
    assert [a.dtype for a in contiguous(narrow)] == [np.float32]
    assert [a.dtype for a in contiguous(narrow, wide)] == [np.float64, np.float64]
    assert contiguous(narrow)[0].flags.c_contiguous


def test_contiguous_copies_what_is_read_only():
    x = np.ones((2, 3))
    assert contiguous(x)[0] is x
    x.flags.writeable = False
    assert contiguous(x)[0].flags.writeable
