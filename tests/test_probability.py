"""A probability in a byte, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cropland.probability import LEVELS, NO_DATA, ONE, classes, from_levels, from_logits, to_levels

EVERY = np.arange(256, dtype=np.uint8)
VALID = np.ones((4, 5), bool)


def test_levels_come_back_as_they_were():
    probability = from_levels(EVERY)
    assert np.isnan(probability[NO_DATA]) and probability[0] == 0 and probability[ONE] == 1
    np.testing.assert_array_equal(to_levels(probability[:LEVELS], np.ones(LEVELS, bool)), EVERY[:LEVELS])


@given(arrays(np.float32, (4, 5), elements=st.floats(0, 1, width=32)))
def test_a_level_is_within_half_a_step(probability):
    assert np.abs(from_levels(to_levels(probability, VALID)) - probability).max() <= 0.5 / ONE + 1e-6


@given(arrays(np.float32, (4, 5), elements=st.floats(-100, 100, width=32)), arrays(bool, (4, 5)))
def test_logits_become_the_levels_of_their_sigmoid(logits, valid):
    levels = from_logits(logits.copy(), valid)
    with np.errstate(over="ignore"):
        expected = ONE / (1 + np.exp(-logits.astype(np.float64)))
    assert (levels[~valid] == NO_DATA).all() and (levels[valid] <= ONE).all()
    assert np.abs(levels - expected)[valid].max(initial=0) <= 0.5 + 1e-3
    both = from_logits(np.stack([logits, -logits]), valid)
    np.testing.assert_array_equal(both, [levels, from_logits(-logits, valid)])


@given(st.floats(0, 1))
def test_a_class_is_whether_the_threshold_is_reached(threshold):
    table = classes(threshold)
    assert table[NO_DATA] == NO_DATA
    np.testing.assert_array_equal(table[:LEVELS], np.arange(LEVELS) / ONE >= threshold)


@pytest.mark.parametrize(("threshold", "first"), [(0.0, 0), (0.5, 127), (1.0, ONE)])
def test_the_first_level_of_cropland(threshold, first):
    assert int(np.argmax(classes(threshold) == 1)) == first
