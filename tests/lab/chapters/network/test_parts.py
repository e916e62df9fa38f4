"""What two distributions have in common."""

import pytest

from cropland.lab.chapters.network.parts import overlap


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ({"a": 1.0, "b": 3.0}, {"a": 10.0, "b": 30.0}, 1.0),
        ({"a": 1.0, "b": 0.0}, {"a": 0.0, "b": 5.0}, 0.0),
        ({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 3.0}, 0.75),
        ({"a": 1.0, "": 1.0}, {"a": 2.0}, 0.5),
    ],
)
def test_overlap_is_the_sum_of_the_smaller_shares(one: dict[str, float], other: dict[str, float], common: float):
    assert overlap(one, other) == pytest.approx(common)
