"""Taps that lie beyond the map."""

import pytest

from cropland.lab.chapters.atrous.trained import inside


def test_taps_beyond_the_map():
    assert inside((12,), 12) == 0
    assert inside((1,), 2) == pytest.approx(3 / 8)
    assert inside((1, 12), 2) == pytest.approx(3 / 16)
