"""Slivers are united with the right neighbour, whatever the order, and no ground is lost."""

import numpy as np
import pytest
import shapely

from cropland.delivering.slivers import merged
from cropland.geo.area import ellipsoidal_area_m2
from delivering.small_coverage import EDGE, cells, series, square

ONE = np.zeros(9, int)  # region of all


def test_a_sliver_goes_to_the_neighbour_with_the_longest_edge():
    low, high, sliver = square(0, 0, 100, 60), square(0, 60, 100, 160), square(100, 40, 104, 100)
    found = merged(series([low, high, sliver]), ONE[:3], min_area_m2=400, min_width_m=0)
    assert found.kept.tolist() == [0, 1] and len(found.alone) == 0
    assert found.shapes[1].equals(shapely.union(high, sliver)), "40 m of edge, and 20 m with the other"


def test_the_region_comes_before_the_edge():
    low, high, sliver = square(0, 0, 100, 60), square(0, 60, 100, 160), square(100, 40, 104, 100)
    found = merged(series([low, high, sliver]), np.array([0, 1, 0]), min_area_m2=400, min_width_m=0)
    assert found.shapes[0].equals(shapely.union(low, sliver))


def test_without_a_neighbour_it_stays_and_is_told():
    """A corner is no edge, and a neighbour of another region is none."""
    shapes = [square(0, 0, 100, 100), square(100, 100, 110, 110), square(-10, 0, 0, 30)]
    found = merged(series(shapes), np.array([0, 0, 1]), min_area_m2=400, min_width_m=0)
    assert found.kept.tolist() == [0, 1, 2] and found.alone.tolist() == [1, 2]
    assert all(a.equals(b) for a, b in zip(found.shapes, shapes, strict=True))


def test_slivers_make_each_other_large_enough():
    """What two of them make is no sliver any more, and stays apart from the large one."""
    row = [square(15 * k, 0, 15 * (k + 1), 15) for k in range(2)]
    found = merged(series([*row, square(30, 5, 400, 300)]), ONE[:3], min_area_m2=400, min_width_m=0)
    assert sorted(shapely.area(found.shapes)) == [450, 109_150]


def test_a_thin_strip_is_a_sliver_whatever_its_area():
    field, strip = square(0, 0, 500, 300), square(0, 300, 500, 302)
    assert len(merged(series([field, strip]), ONE[:2], min_area_m2=400, min_width_m=0).shapes) == 2
    assert len(merged(series([field, strip]), ONE[:2], min_area_m2=400, min_width_m=1.9).shapes) == 2
    assert len(merged(series([field, strip]), ONE[:2], min_area_m2=400, min_width_m=2.1).shapes) == 1


@pytest.mark.parametrize("seed", range(4))
def test_the_order_does_not_matter_and_no_ground_is_lost(seed: int):
    shapes, draw = cells(250, seed=seed), np.random.default_rng(seed)
    region = (shapely.get_x(shapely.centroid(shapes)) > shapes[0].centroid.x).astype(int)
    rule = {"min_area_m2": 16_000.0, "min_width_m": 20.0}
    found = merged(series(shapes), region, **rule)
    order = draw.permutation(len(shapes))
    other = merged(series(shapes[order]), region[order], **rule)
    assert {shape.wkb for shape in found.shapes} == {shape.wkb for shape in other.shapes}
    assert {shapes[kept].wkb for kept in found.kept} == {shapes[order][kept].wkb for kept in other.kept}
    assert shapely.area(found.shapes).sum() == pytest.approx(EDGE**2, rel=1e-12)
    assert shapely.coverage_is_valid(found.shapes) and len(found.shapes) < len(shapes)


@pytest.mark.parametrize("seed", range(4))
def test_no_sliver_is_left_that_has_a_neighbour(seed: int):
    shapes = cells(250, seed=seed)
    found = merged(series(shapes), np.zeros(len(shapes), int), min_area_m2=16_000, min_width_m=0)
    assert (ellipsoidal_area_m2(series(found.shapes)) >= 16_000).all() and len(found.alone) == 0


def test_it_works_in_degrees():
    boxes = [shapely.box(116, 40, 116.001, 40.001), shapely.box(116.001, 40, 116.00103, 40.001)]
    found = merged(series(boxes, crs=4490), ONE[:2], min_area_m2=400, min_width_m=0)
    assert len(found.shapes) == 1 and found.shapes[0].equals(shapely.union_all(boxes))
