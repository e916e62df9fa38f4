"""Boundary F1 on squares worked out by hand, in metres; parts of a mask add up to the whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cropland.evaluation.boundary import boundary, boundary_counts, boundary_distance_m, boundary_f1


def square(first: int, last: int, size: int = 40) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[first:last, first:last] = 1
    return mask


def f1(said: np.ndarray, true: np.ndarray, tolerances=(1.0, 2.0, 5.0), pixel=(1.0, 1.0)) -> np.ndarray:
    return boundary_f1(boundary_counts(said, true, pixel_m=pixel, tolerances_m=tolerances))


def test_a_square_has_the_boundary_of_a_square():
    known = np.ones((40, 40), bool)
    assert boundary(square(10, 20), known).sum() == 4 * 9
    assert not boundary(np.ones((40, 40), np.uint8), known).any()


def test_unknown_makes_no_boundary():
    mask, known = square(10, 20), np.ones((40, 40), bool)
    known[:, 20:] = False
    assert boundary(mask, known).sum() == 4 * 9 - 8


def test_a_shrunken_square_is_right_at_its_own_distance():
    """Golden: all sides 2 m inside the true ones, whose corners are 2 sqrt 2 m away from the boundary said."""
    counts = boundary_counts(square(12, 28), square(10, 30), pixel_m=(1, 1), tolerances_m=(1, 2, 3))
    said, true = 4 * 15, 4 * 19
    assert counts[:, :4].tolist() == [[said, 0, true, 0], [said, said, true, true - 4 * 3], [said, said, true, true]]
    assert boundary_f1(counts)[0] == 0 and boundary_f1(counts)[2] == 1
    recall = (true - 12) / true
    assert boundary_f1(counts)[1] == pytest.approx(2 * recall / (1 + recall))


def test_the_mean_distance_is_that_of_what_is_within_the_tolerance():
    """Golden: a shrunken square is 2 m inside; of the corners, three pixels each are further away."""
    counts = boundary_counts(square(12, 28), square(10, 30), pixel_m=(1, 1), tolerances_m=(1, 2, 3))
    near, far = boundary_distance_m(counts)[1:]
    assert np.isnan(boundary_distance_m(counts)[0]) and near == 2
    said, true = 4 * 15, 4 * 19
    corners = 4 * (np.hypot(2, 2) + 2 * np.hypot(2, 1))
    assert far == pytest.approx((2 * said + 2 * (true - 12) + corners) / (said + true))


def test_metres_not_pixels():
    said, true = square(12, 28), square(10, 30)
    np.testing.assert_allclose(f1(said, true, (3.0,), (1, 1)), f1(said, true, (30.0,), (10, 10)))


def test_a_tolerance_below_a_pixel_says_nothing():
    assert np.isnan(f1(square(10, 20), square(10, 20), (5.0,), (10.0, 10.0))).all()


def test_one_side_without_boundary_is_zero_and_none_is_nan():
    nothing = np.zeros((40, 40), np.uint8)
    assert (f1(nothing, square(10, 20)) == 0).all()
    assert np.isnan(f1(nothing, nothing)).all()


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_parts_with_context_add_up_to_the_whole(seed: int):
    rng = np.random.default_rng(seed)
    said, true = rng.choice(np.array([0, 1, 255], np.uint8), (2, 30, 40), p=[0.5, 0.45, 0.05])
    options = {"pixel_m": (1.0, 1.5), "tolerances_m": (2.0, 4.0)}
    whole = boundary_counts(said, true, **options)
    parts = [
        boundary_counts(said[:, :26], true[:, :26], core=np.s_[:, :20], **options),
        boundary_counts(said[:, 14:], true[:, 14:], core=np.s_[:, 6:], **options),
    ]
    np.testing.assert_allclose(sum(parts), whole)
    assert (np.diff(whole[:, 1]) >= 0).all() and (boundary_f1(whole) <= 1).all()
