"""The mean over places: by its definition, and what it chooses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chip_folder import write_chips
from cropland.evaluation.counts import count_at
from cropland.recipe import parse_recipe
from cropland.training.validate import mean_over_places, validate


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_the_mean_over_places_is_that_of_the_counts(seed, places):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 5, (places, 2, 255)) * (rng.random((places, 2, 1)) < 0.7)
    means = mean_over_places(levels)
    for level in (0, 17, 126, 253):
        counts = [count_at(each, (level + 0.5) / 254) for each in levels]
        mixed = [each.iou for each in counts if each.has_both_classes]
        single = [each.accuracy for each in counts if each.total and not each.has_both_classes]
        expected = [*mixed, *([np.mean(single)] if single else [])]
        assert means[level] == pytest.approx(np.mean(expected) if expected else 0.0)


def test_a_place_counts_once_however_many_pixels_it_has():
    small, large = np.zeros((2, 2, 255), np.int64)
    small[:, 100], large[:, 200] = (1, 1), (0, 10_000)
    large[0, 150] = 10_000
    means = mean_over_places(np.stack([small, large]))
    assert means[160] == pytest.approx((0 + 1) / 2) and means[50] == pytest.approx((0.5 + 0.5) / 2)


class Square(torch.nn.Module):
    """Of the test's chips, whose squares are bright: cropland where it is bright, the rim from the true one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, x):
        smooth = torch.nn.functional.avg_pool2d(x.mean(1, keepdim=True), 5, 1, 2, count_include_pad=False)
        return torch.cat([20 * (smooth - 0.55), -((smooth - 0.5).abs()) * 20 + 2], 1)


def test_both_outputs_are_scored_at_one_threshold(tmp_path):
    chips = write_chips(tmp_path / "chips").where(split="validation")
    recipe = parse_recipe(
        {"outputs": ["cropland", "boundary"], "validation": {"working_pixels": [2.0, 2.8]}, "boundary": {"width_m": 8}}
    )
    score = validate(Square(), recipe, chips, None)
    fine, coarse = score.pixels
    assert fine.threshold == coarse.threshold and fine.iou > 0.8 and coarse.iou == pytest.approx(fine.iou, abs=0.2)
    assert score.iou == pytest.approx(fine.iou)  # the chips are of 2 m
    assert score.boundary_iou > 0.2 and score.row()["boundary_iou"] == score.boundary_iou
    cropland_only = torch.nn.Sequential(Square(), torch.nn.Conv2d(2, 1, 1))
    assert math.isnan(validate(cropland_only, parse_recipe({}), chips, None).boundary_iou)
