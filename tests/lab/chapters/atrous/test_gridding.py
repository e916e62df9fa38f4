"""Paths through stacked layers by counting, and the rule that leaves no gap."""

from itertools import combinations_with_replacement, product

import pytest
import torch

from cropland.lab.chapters.atrous.gridding import averaged, contrast_kept, paths_to, reached, rule, shared


def sums(rates: tuple[int, ...]) -> list[int]:
    """All that the taps of the layers add up to, one per path."""
    return [sum(map(int.__mul__, rates, signs)) for signs in product((-1, 0, 1), repeat=len(rates))]


@pytest.mark.parametrize("rates", [(2, 2, 2), (1, 2, 3), (1, 2, 5), (3, 4, 5), (1, 3, 9)])
def test_paths_are_the_sums_of_the_taps(rates: tuple[int, ...]):
    found = sums(rates)
    reach = sum(rates)
    assert paths_to(rates).tolist() == [found.count(place) for place in range(-reach, reach + 1)]


def test_gaps_of_one_rate():
    assert reached((2, 2, 2)) == pytest.approx((7 / 13) ** 2)
    assert reached((4, 4, 4)) == pytest.approx((7 / 25) ** 2)
    assert reached((1, 2, 5)) == reached((1, 3, 8)) == 1
    assert shared((2, 2, 2)) == 0
    assert shared((1, 1, 1)) == pytest.approx(6 / 7)


def test_the_rule_decides_for_every_triple_and_quadruple():
    for layers, largest in ((3, 12), (4, 7)):
        for rates in combinations_with_replacement(range(1, largest + 1), layers):
            assert rule(rates) == (len(set(sums(rates))) == 2 * sum(rates) + 1)


def test_the_rule_does_not_ask_for_an_order():
    assert rule((5, 1, 2))
    assert not rule((5, 4, 3))


@pytest.mark.parametrize("rates", [(4, 4, 4), (1, 3, 8)])
@pytest.mark.parametrize("period", [3, 4, 8, 10])
def test_the_contrast_left_of_a_wave_is_that_of_the_formula(rates: tuple[int, ...], period: int):
    wave = torch.cos(2 * torch.pi * torch.arange(120.0).double() / period).float()
    left = averaged(wave.expand(1, 1, 32, -1), rates)[0, 0, 0]
    assert float((left.max() - left.min()) / (wave.max() - wave.min())) == pytest.approx(
        contrast_kept(rates, period), abs=0.06 if period == 10 else 1e-5
    )
