"""Intervals over blocks: always the same, narrower with more blocks, and as wide as chance asks for."""

import numpy as np
import pytest

from cropland.evaluation.bootstrap import differences, intervals


def share(sums: np.ndarray) -> dict[str, np.ndarray]:
    """A ratio estimator, as all figures are: the first column over the second."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"share": sums[:, 0] / sums[:, 1]}


def blocks(seed: int, count: int, *, mean: float = 0.6) -> np.ndarray:
    """Independent blocks of unequal size whose shares vary about a mean."""
    draw = np.random.default_rng(seed)
    sizes = draw.uniform(50, 150, count)
    return np.stack([sizes * draw.beta(6 * mean, 6 * (1 - mean), count), sizes], axis=1)


def test_the_same_blocks_give_the_same_interval():
    assert intervals(blocks(1, 30), share) == intervals(blocks(1, 30), share)


def test_more_blocks_give_a_narrower_interval():
    widths = [np.ptp(intervals(blocks(2, count), share)["share"]) for count in (10, 40, 160, 640)]
    assert widths == sorted(widths, reverse=True) and widths[0] / widths[-1] == pytest.approx(8, rel=0.4)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    """Of 200 sets of 40 blocks, the truth is in the 95 % interval of 90 to 98 %: the percentile interval of a ratio is
    a little short for few blocks (Efron and Tibshirani 1993, chapter 14)."""
    found = [intervals(blocks(seed, 40), share)["share"] for seed in range(200)]
    assert 0.90 <= np.mean([low <= 0.6 <= high for low, high in found]) <= 0.98


def test_a_paired_difference_is_narrower_than_either_side_and_has_its_sign():
    hard = blocks(3, 40)
    easier = hard + np.array([0.05, 0]) * hard[:, 1:]
    low, high = differences(easier, hard, share)["share"]
    assert low == pytest.approx(0.05) and high == pytest.approx(0.05)
    back = differences(hard, easier, share)["share"]
    assert back == pytest.approx([-high, -low])
    assert np.ptp(intervals(hard, share)["share"]) > 0.05


def test_one_block_or_a_figure_that_is_rarely_defined_has_no_interval():
    assert intervals(blocks(4, 1), share) == {}
    rare = np.zeros((10, 2))
    rare[0] = 5, 10  # in 65 % of the draws
    assert intervals(rare, share)["share"] == [0.5, 0.5]
    assert intervals(np.zeros((10, 2)), share)["share"] is None


def test_the_draws_do_not_depend_on_how_many_are_in_memory(monkeypatch: pytest.MonkeyPatch):
    whole = intervals(blocks(5, 20), share)
    monkeypatch.setattr("cropland.evaluation.bootstrap.AT_ONCE", 20 * 64)
    assert intervals(blocks(5, 20), share) == whole
