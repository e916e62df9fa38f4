"""The exact fractions of pixels against shapely."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from cropland.geo import coverage
from cropland.geo.coverage import covered, sums_within
from cropland.geo.window import Window

HEIGHT, WIDTH = 7, 9
PLACE = st.tuples(st.integers(-8, 4 * WIDTH + 8), st.integers(-8, 4 * HEIGHT + 8))
SHAPES = st.lists(st.lists(PLACE, min_size=4, max_size=9, unique=True), min_size=1, max_size=5)
PIXELS = np.array([[shapely.box(col, row, col + 1, row + 1) for col in range(WIDTH)] for row in range(HEIGHT)])


def holed(corners, scale):
    """The hull of some places, in quarters of a pixel, with a hole."""
    hull = shapely.buffer(shapely.convex_hull(shapely.multipoints(corners)), 0)
    shape = shapely.difference(hull, shapely.affinity.scale(hull, 0.4, 0.5))
    return shapely.transform(shape, lambda points: points / 4 * scale)


@given(SHAPES, st.sampled_from([1.0, 0.97, 0.731]))
def test_fractions_are_those_of_shapely(all_corners, scale):
    """Polygons with holes, also along the lines between pixels, and some of no area."""
    shapes = np.array([holed(corners, scale) for corners in all_corners])
    found = np.zeros((len(shapes), HEIGHT, WIDTH))
    at = covered(shapely.clip_by_rect(shapes, 0, 0, WIDTH, HEIGHT))
    found[at.owner, at.row, at.col] = at.fraction
    assert found == pytest.approx(
        np.array([shapely.area(shapely.intersection(PIXELS, each)) for each in shapes]), abs=1e-9
    )


@given(SHAPES)
def test_sums_do_not_depend_on_what_is_summed_with_them(all_corners):
    shapes = np.array([*(holed(corners, 1.0) for corners in all_corners), shapely.box(-50, -50, 50, 50)])
    window = Window(2, 3, 4, 5)
    classes = np.arange(20).reshape(4, 5) % 3
    weights = np.linspace(1, 2, 20).reshape(4, 5)
    together = sums_within(shapes, window, classes, weights, 2 * weights, count=3)
    assert together[:, 1] == pytest.approx(2 * together[:, 0], abs=1e-12)
    together = together[:, 0]
    alone = [sums_within(shapes[[number]], window, classes, weights, count=3)[0, 0] for number in range(len(shapes))]
    parts = shapely.area(shapely.intersection(PIXELS[window.slices][..., None], shapes))
    exact = [[(weights * parts[..., n] * (classes == k)).sum() for k in range(3)] for n in range(len(shapes))]
    assert together == pytest.approx(np.array(alone), abs=1e-12)
    assert together == pytest.approx(np.array(exact), abs=1e-9)


def test_sums_do_not_depend_on_how_many_pixels_are_looked_at_together(monkeypatch: pytest.MonkeyPatch):
    shapes = shapely.buffer(shapely.points(np.random.default_rng(0).uniform(0, 90, (40, 2))), 7.3)
    classes, weights = np.zeros((80, 90), np.int64), np.ones((80, 90))
    whole = sums_within(shapes, Window(0, 0, 80, 90), classes, weights, count=1)
    monkeypatch.setattr(coverage, "MOST", 300)
    assert sums_within(shapes, Window(0, 0, 80, 90), classes, weights, count=1) == pytest.approx(whole, abs=1e-12)


def test_a_ring_that_is_larger_than_many_pixels_has_its_area():
    shape = shapely.difference(
        shapely.buffer(shapely.Point(100, 90), 80.3, quad_segs=200), shapely.buffer(shapely.Point(120, 95), 30.1)
    )
    assert covered(np.array([shape])).fraction.sum() == pytest.approx(shape.area, rel=1e-12)
