"""Causes that add up."""

import random

import pytest

from cropland.lab.experiments.separable_causes import CAUSES, bounds, causes, gap, paging, shares
from cropland.lab.measure import exactly
from cropland.lab.roofline import Roofline

# 100 operations per second, 10 bytes per second.
ROOF = Roofline({"float32": {"made up": exactly(100.0)}}, {2**28: exactly(10.0)})
PARTS = ("depthwise", "pointwise")


def measured(draw: random.Random) -> dict[str, float]:
    names = ["ordinary", *PARTS]
    runs = [*names, *(f"{name} call" for name in names), *(f"{name} pages" for name in names)]
    runs += ["ordinary layer", "separable layer", "ordinary layer pages", "separable layer pages"]
    return {name: draw.random() for name in runs}


@pytest.mark.parametrize("seed", range(20))
def test_causes_add_up_to_the_gap_whatever_was_measured(seed: int):
    draw = random.Random(seed)
    seconds = measured(draw)
    limits = {"arithmetic": draw.random(), "input and output": draw.random(), "intermediate activation": draw.random()}
    split = [causes(layer, seconds, limits) for layer in ("ordinary", "separable")]
    expected = 1 + 8 * draw.random()
    whole = seconds["separable layer"] - seconds["ordinary layer"] / expected
    assert sum(gap(split, expected).values()) == pytest.approx(whole, abs=1e-12)
    assert all(list(its) == list(CAUSES) and min(its.values()) >= 0 for its in split)


def test_what_no_cost_explains_is_the_library():
    assert shares(10.0, {"calls": 2.0, "arithmetic": 3.0}) == {"calls": 2.0, "arithmetic": 3.0, "library": 5.0}


def test_a_cost_takes_no_more_than_is_left_and_not_less_than_nothing():
    assert shares(4.0, {"calls": 3.0, "norm": -1.0, "arithmetic": 3.0}) == {
        "calls": 3.0,
        "norm": 0.0,
        "arithmetic": 1.0,
        "library": 0.0,
    }


def test_bound_by_arithmetic_the_multiply_adds_are_all():
    work, least = {"depthwise": 100.0, "pointwise": 300.0}, {"depthwise": 1.0, "pointwise": 3.0}
    found = bounds(ROOF, work, least, PARTS, ends=10.0)
    assert found == {"arithmetic": 4.0, "input and output": 0.0, "intermediate activation": 0.0}


def test_bound_by_memory_the_intermediate_costs_as_much_as_input_and_output():
    work, least = {"depthwise": 100.0, "pointwise": 100.0}, {"depthwise": 8.0, "pointwise": 8.0}
    found = bounds(ROOF, work, least, PARTS, ends=80.0)
    assert found == {"arithmetic": 2.0, "input and output": 6.0, "intermediate activation": 8.0}


def test_pages_are_paid_at_the_price_of_those_of_much_new_memory():
    seconds = {"new memory": 5.0, "old memory": 1.0, "depthwise": 1.0}
    found = paging(seconds, {"new memory": 8.0, "old memory": 0.0, "depthwise": 3.0})
    assert found == {"new memory pages": 4.0, "old memory pages": 0.0, "depthwise pages": 1.5}
