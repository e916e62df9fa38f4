"""The threshold of the boundary is chosen by the fields that it gives."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cropland.data.boundary import boundary_distance
from cropland.data.chips import Chip
from cropland.geo.scene import Image
from cropland.training.field_threshold import THRESHOLDS, matches, predicted_fields, reference_fields


def chip(label: np.ndarray, field: np.ndarray | None) -> Chip:
    image = Image(np.zeros((1, *label.shape), np.float32), np.ones(label.shape, bool))
    return Chip(image, label, "a", "g", 2.0, (0.0,), (1.0,), boundary_distance(label, field))


def strips(width: int = 20) -> np.ndarray:
    """Fields side by side, 100 pixels high."""
    return np.repeat(np.arange(1, 7), width)[None].repeat(100, 0).astype(np.int32)


def test_the_fields_of_a_chip_come_back_from_its_boundary():
    field = strips()
    found = reference_fields(chip(np.ones(field.shape, np.uint8), field))
    assert matches(found, field) == (6, 6, 6)
    assert (ndimage.label(found == found[0, 0])[1], (found > 0).all()) == (1, True)


def test_a_chip_that_knows_a_mask_only_has_none():
    label = np.ones((60, 60), np.uint8)
    label[:10] = 0
    assert reference_fields(chip(label, None)) is None
    strips_of_a_mask = (np.arange(60)[None].repeat(60, 0) % 10 < 6).astype(np.uint8)
    assert reference_fields(chip(strips_of_a_mask, None)) is None
    assert reference_fields(chip(np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.int32))) is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000))
def test_matches_are_one_to_one(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 4, (2, 6, 7))
    found = matches(one.astype(np.int32), other.astype(np.int32))
    pairs = 0
    for a in range(1, 4):
        for b in range(1, 4):
            both, either = ((one == a) & (other == b)).sum(), ((one == a) | (other == b)).sum()
            pairs += either > 0 and both / either > 0.5
    assert found.matched == pairs <= min(found.predicted, found.reference)
    assert matches(one.astype(np.int32), one.astype(np.int32)).f1 in (0.0, 1.0)


def test_the_threshold_between_noise_and_lines_gives_the_fields():
    """Lines of a probability of 0.22 on a noise of up to 0.12: only thresholds between the two find six fields."""
    field = strips()
    label = np.ones(field.shape, np.uint8)
    here = chip(label, field)
    noise = np.random.default_rng(0).uniform(0, 0.12, field.shape)
    noise[::9, ::7] = 0.12
    boundary = np.where(here.boundary <= 15, 0.22, noise) * 254
    levels = label * 254, boundary.astype(np.uint8)
    found = {
        at: matches(fields, field).f1 for at, fields in predicted_fields(2.0, *levels, at=0.5, thresholds=THRESHOLDS)
    }
    assert [at for at in THRESHOLDS if found[at] == 1.0] == [0.125, 0.15, 0.175, 0.2]
    assert found[0.5] < 0.4
