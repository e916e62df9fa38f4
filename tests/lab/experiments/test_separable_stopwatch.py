"""The naive stopwatch, and how wrong it is."""

import pytest
import torch

from cropland.lab.experiments.separable_stopwatch import factors, naive, off
from cropland.lab.measure import Budget

TINY = Budget("tiny", rounds=2, size=16, channels=4, seeds=0, steps=0, every=8)


@pytest.mark.parametrize(("found", "wrong"), [(3.0, 1.5), (2.0, 1.0), (1.0, 2.0)])
def test_a_ratio_is_wrong_either_way(found: float, wrong: float):
    assert off(found, 2.0) == pytest.approx(wrong)


def test_repeats_are_compared_in_pairs():
    assert factors({"ordinary": [6.0, 9.0], "separable": [2.0, 1.0]}) == [3.0, 9.0]


def test_the_naive_process_tells_one_first_call_of_each():
    told = naive(torch.device("cpu"), TINY, order=("separable", "ordinary"))
    assert {name: len(its) for name, its in told.items()} == {"ordinary": 1, "separable": 1}
    assert all(seconds > 0 for its in told.values() for seconds in its)
