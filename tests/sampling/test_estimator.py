"""Estimators against two published examples, and as laws over every sample that can be drawn."""

from itertools import combinations, product
from math import isnan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropland.sampling.allocation import Z
from cropland.sampling.estimator import Figure, StratifiedSample, mean, ratio


def is_(values: np.ndarray, name: object) -> np.ndarray:
    return (values == name).astype(float)


@pytest.fixture
def stehman() -> tuple[np.ndarray, np.ndarray, StratifiedSample]:
    """Map and reference of Stehman (2014), table 2, as the help of the R package mapaccuracy has them."""
    strata = np.repeat(range(4), 10)
    mapped = np.array([*"A" * 7, *"B" * 3, "A", *"B" * 11, *"C" * 6, *"BB", *"D" * 10])
    reference = np.array([*"AAAAACBABC", *"ABBBBBAABB", *"CCCCCDDBBA", *"DDDDDDDCCB"])
    sizes = np.array([40_000, 30_000, 20_000, 10_000])
    return mapped, reference, StratifiedSample(strata, sizes.astype(float), sizes)


@pytest.mark.parametrize(("name", "value", "se"), [("A", 0.35, 0.082), ("C", 0.20, 0.064)])
def test_areas_of_stehman(stehman, name, value, se):
    _, reference, sample = stehman
    found = mean(is_(reference, name), sample)
    assert (round(found.value, 3), round(found.se, 3)) == (value, se)


def test_accuracies_of_stehman(stehman):
    mapped, reference, sample = stehman
    both = is_(mapped, "B") * is_(reference, "B")
    overall = mean((mapped == reference).astype(float), sample)
    users, producers = ratio(both, is_(mapped, "B"), sample), ratio(both, is_(reference, "B"), sample)
    found = [(round(each.value, 3), round(each.se, 3)) for each in (overall, users, producers)]
    assert found == [(0.630, 0.085), (0.574, 0.125), (0.794, 0.117)]  # the paper cuts the last to 0.116
    assert mean(is_(mapped, "B") * is_(reference, "C"), sample).value == pytest.approx(0.08)


@pytest.fixture
def olofsson() -> tuple[np.ndarray, np.ndarray, StratifiedSample]:
    """Table 8 of Olofsson et al. (2014): map, reference, and strata that are the map classes, in pixels of 30 m."""
    table = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    mapped, reference = (np.repeat(each.ravel(), table.ravel()) for each in np.indices(table.shape))
    sizes = np.array([200_000, 150_000, 3_200_000, 6_450_000])
    return mapped, reference, StratifiedSample(mapped, sizes.astype(float), sizes)


def test_the_area_of_olofsson(olofsson):
    _, reference, sample = olofsson
    found, hectares = mean(is_(reference, 0), sample), 10_000_000 * 0.09
    assert found.value * hectares == pytest.approx(21_158, abs=0.5)
    assert 1.96 * found.se * hectares == pytest.approx(6_158, abs=1)  # the paper rounds on the way


@pytest.mark.parametrize(
    ("kind", "users", "producers"),
    [
        (0, (0.88, 0.07), (0.75, 0.21)),
        (1, (0.73, 0.10), (0.85, 0.25)),
        (2, (0.93, 0.04), (0.93, 0.03)),
        (3, (0.96, 0.02), (0.96, 0.02)),
    ],
)
def test_accuracies_of_olofsson(olofsson, kind, users, producers):
    mapped, reference, sample = olofsson
    both = is_(mapped, kind) * is_(reference, kind)
    for expected, found in (
        (users, ratio(both, is_(mapped, kind), sample)),
        (producers, ratio(both, is_(reference, kind), sample)),
    ):
        assert (round(found.value, 2), round(1.96 * found.se, 2)) == expected
    overall = mean((mapped == reference).astype(float), sample)
    assert (round(overall.value, 2), round(1.96 * overall.se, 2)) == (0.95, 0.02)


def test_producers_accuracy_is_that_of_the_formula_for_map_classes(olofsson):
    """Olofsson et al. (2014), eq. 7, written out."""
    mapped, reference, sample = olofsson
    table = np.histogram2d(mapped, reference, bins=4)[0]
    sizes, counts, j = sample.pixels.astype(float), table.sum(axis=1), 0
    users = np.diag(table) / counts
    total = (sizes / counts * table[:, j]).sum()
    producers = sizes[j] * users[j] / total
    others = np.arange(4) != j
    share = table[:, j] / counts
    variance = sizes[j] ** 2 * (1 - producers) ** 2 * users[j] * (1 - users[j]) / (counts[j] - 1)
    variance += producers**2 * (sizes**2 * share * (1 - share) / (counts - 1))[others].sum()
    found = ratio(is_(mapped, j) * is_(reference, j), is_(reference, j), sample)
    assert found.value == pytest.approx(producers)
    assert found.se == pytest.approx(sqrt(variance) / total, rel=1e-3)  # the formula has no finite population


POPULATION = [np.array([1, 0, 1, 1, 0.0]), np.array([0, 0, 1, 0.0])]
DRAWN = (3, 2)


def every_sample():
    """Every stratified sample that can be drawn, all of them equally likely."""
    choices = (combinations(range(len(part)), n) for part, n in zip(POPULATION, DRAWN, strict=True))
    for chosen in product(*choices):
        yield np.concatenate([part[list(which)] for part, which in zip(POPULATION, chosen, strict=True)])


def test_the_mean_is_unbiased_and_so_is_its_variance():
    sizes = np.array([len(part) for part in POPULATION])
    sample = StratifiedSample(np.repeat([0, 1], DRAWN), sizes.astype(float), sizes)
    found = [mean(y, sample) for y in every_sample()]
    values = np.array([each.value for each in found])
    assert values.mean() == pytest.approx(np.concatenate(POPULATION).mean())
    assert np.mean([each.se**2 for each in found]) == pytest.approx(values.var())


def pure(n: int, others: int = 0) -> tuple[np.ndarray, StratifiedSample]:
    """Points of one stratum, of which so many are 1, and the others 0."""
    y = np.r_[np.ones(others), np.zeros(n - others)]
    return y, StratifiedSample(np.zeros(n, np.int64), np.ones(1), np.array([10**9]))


@given(st.integers(2, 500))
def test_a_stratum_of_one_answer_reaches_as_far_as_wilsons_interval(n):
    y, sample = pure(n)
    assert mean(y, sample).se == 0, "the textbook formula takes it as known"
    low, high = mean(y, sample, otherwise=1 - y).interval
    assert low == 0 and high == pytest.approx(Z**2 / (n + Z**2), rel=1e-6)


def test_a_stratum_of_two_answers_is_left_alone():
    y, sample = pure(50, others=1)
    assert mean(y, sample, otherwise=1 - y) == mean(y, sample)


def test_what_does_not_depend_on_the_answers_is_known():
    mapped = np.repeat([1.0, 0.0], 20)
    sample = StratifiedSample((mapped == 0).astype(np.int64), np.array([1.0, 1.0]), np.array([10**6, 10**6]))
    right, other = mapped.copy(), np.zeros(40)  # all that is mapped is right
    found = ratio(right, mapped, sample, otherwise=(other, mapped))
    alone = mean(
        right[:20], StratifiedSample(np.zeros(20, np.int64), np.ones(1), np.array([10**6])), otherwise=other[:20]
    )
    assert found.value == 1 and found.se == pytest.approx(alone.se), "the second stratum says nothing of it"


def test_few_points_have_no_error_and_none_no_value():
    sizes = np.array([100, 100])
    one = mean(np.array([1.0, 0, 1]), StratifiedSample(np.array([0, 0, 1]), sizes.astype(float), sizes))
    assert one.value == 0.75 and isnan(one.se)
    none = mean(np.array([1.0, 0]), StratifiedSample(np.array([0, 0]), sizes.astype(float), sizes))
    assert isnan(none.value)


def test_an_empty_stratum_counts_for_nothing_and_a_counted_one_is_known():
    sample = StratifiedSample(np.array([0, 0, 2]), np.array([2.0, 0.0, 1.0]), np.array([2, 0, 1]))
    assert mean(np.array([1.0, 0, 1]), sample) == Figure(pytest.approx(2 / 3), 0)


def test_a_ratio_of_nothing_is_not_known():
    y, sample = pure(10)
    assert isnan(ratio(y, y, sample).value)
