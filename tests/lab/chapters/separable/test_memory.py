"""What fits, and what is lost."""

import pytest
from torch import nn

from cropland.lab.chapters.separable.memory import largest_batch, lost
from cropland.lab.measure import Times

TIMES = {
    4: {"ordinary": Times(1.0, (1.0, 1.0)), "separable": Times(1.0, (1.0, 1.0))},  # 4 images per second
    8: {"ordinary": Times(1.0, (1.0, 1.0)), "separable": Times(1.0, (1.6, 1.6))},  # 5
}


def test_weights_leave_the_rest_to_the_images():
    layer = nn.Linear(10, 10, bias=False)  # 100 weights of 16 bytes
    assert largest_batch(1600 + 1099, layer, 100) == 10
    assert largest_batch(1600 + 1100, layer, 100) == 11
    assert largest_batch(1000, layer, 100) == 0


def test_nothing_is_lost_where_both_fit_the_same():
    assert lost(TIMES, {"ordinary": 8, "separable": 8}).value == 0


def test_a_smaller_batch_loses_what_the_larger_one_is_faster():
    assert lost(TIMES, {"ordinary": 8, "separable": 4}).value == pytest.approx(0.2)
