"""The axis of a picture."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropland.lab.draw import axis_of

POSITIVE = st.lists(st.floats(1e-6, 1e9), min_size=1, max_size=8)
ANY = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)


@given(st.one_of(st.tuples(ANY, st.just(False)), st.tuples(POSITIVE, st.just(True))))
def test_values_lie_on_the_axis_in_their_order(given_values: tuple[list[float], bool]):
    values, log = given_values
    axis = axis_of(values, 50, 400, log=log)
    places = [axis(value) for value in sorted(values)]
    assert all(50 <= place <= 400 for place in places)
    assert all(a <= b + 1e-9 for a, b in pairwise(places))
    assert all(axis.low * 0.99 - 1e-9 <= tick <= axis.high * 1.01 + 1e-9 for tick in axis.ticks if log)


@pytest.mark.parametrize(
    ("values", "log", "ticks"),
    [
        ([0, 10], False, (0, 2, 4, 6, 8, 10)),
        ([3, 3], False, (3.0, 4.0)),
        ([1, 1000], True, (1, 10, 100, 1000)),
        ([8, 64], True, (10, 20, 50)),
    ],
)
def test_ticks_are_round(values: list[float], log: bool, ticks: tuple[float, ...]):
    assert axis_of(values, 0, 100, log=log).ticks == pytest.approx(ticks)


def test_an_axis_may_run_downwards():
    axis = axis_of([0, 10], 300, 20, log=False)
    assert (axis(0), axis(10), axis(5)) == (300, 20, 160)
