import numpy as np
import pytest

from minivid.ops.rows import check_rows


def test_rows_that_fit_pass():
    check_rows(np.zeros((2, 3)), np.zeros((2, 3)))
    check_rows(np.zeros((2, 1)), np.zeros((2, 1)), np.zeros(2))


@pytest.mark.parametrize("shapes", [((2, 3), (3, 2)), ((2,), (2,)), ((2, 0), (2, 0)), ((2, 1), (2,))])
def test_predictions_and_targets_must_be_rows_of_one_shape(shapes):
    with pytest.raises(ValueError, match=r"predictions \(M, K\) and targets of the same shape with K >= 1"):
        check_rows(*map(np.zeros, shapes))


def test_one_upstream_gradient_per_row():
    with pytest.raises(ValueError, match=r"dlosses has shape \(1,\), but there are losses \(2,\)"):
        check_rows(np.zeros((2, 3)), np.zeros((2, 3)), np.zeros(1))
