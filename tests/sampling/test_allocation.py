"""Sizes and allocations of samples: a published example, and what must hold of any."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cropland.sampling.allocation import Z, allocate, anticipated_error, points_for_margin, sample_size

# Olofsson et al. (2014), section 5.1: deforestation, forest gain, stable forest, stable non-forest.
WEIGHTS = np.array([0.020, 0.015, 0.320, 0.645])
USERS = np.array([0.70, 0.60, 0.90, 0.95])
PIXELS = np.array([200_000, 150_000, 3_200_000, 6_450_000])

SIZES = st.lists(st.integers(0, 500), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 20)


def test_the_size_is_that_of_the_published_example():
    assert sample_size(WEIGHTS, USERS, standard_error=0.01) == 641


def test_rare_strata_get_the_least_and_the_others_the_rest_by_area():
    counts = allocate(640, weights=WEIGHTS, pixels=PIXELS, least=50)
    assert counts.tolist() == [50, 50, 179, 361]


@given(SIZES, st.integers(1, 600), st.integers(1, 80))
def test_an_allocation_adds_up_and_stays_within_the_strata(sizes, n, least):
    pixels = np.array(sizes)
    n = min(n, int(pixels.sum()))
    counts = allocate(n, weights=pixels / pixels.sum(), pixels=pixels, least=least)
    strata = int((pixels > 0).sum())
    assert counts.sum() == n and (counts <= pixels).all() and (counts >= 0).all()
    assert (counts >= np.minimum(min(least, n // (2 * strata)), pixels)).all()
    if n >= 2 * strata:
        assert (counts >= np.minimum(2, pixels)).all(), "a variance needs two points"


@given(SIZES, st.floats(0.01, 0.3), st.integers(0, 2**32))
def test_the_size_for_a_margin_is_enough_and_one_less_is_not(sizes, margin, seed):
    pixels = np.array(sizes)
    weights, strata = pixels / pixels.sum(), int((pixels > 0).sum())
    shares = np.random.default_rng(seed).uniform(0.05, 0.95, len(pixels))

    def margin_of(n: int) -> float:
        counts = allocate(n, weights=weights, pixels=pixels, least=10)
        return Z * anticipated_error(counts, weights=weights, shares=shares, pixels=pixels)

    n = points_for_margin(margin, weights=weights, shares=shares, pixels=pixels, least=10)
    # Rounding makes the margin rise a little from one size to the next now and then.
    assert n == pixels.sum() or margin_of(n) <= margin
    assert n <= 2 * strata or margin_of(n - 1) > margin


def test_no_allocation_needs_fewer_points_than_the_optimal_one():
    n = points_for_margin(0.02, weights=WEIGHTS, shares=USERS, pixels=PIXELS, least=50)
    assert n > sample_size(WEIGHTS, USERS, standard_error=0.02 / Z)
