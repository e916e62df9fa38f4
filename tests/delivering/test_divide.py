"""Cutting by regions: nothing is lost or gained, and neighbours stay neighbours."""

import numpy as np
import pytest
import shapely

from cropland.delivering.divide import NOWHERE, divided
from delivering.small_coverage import EDGE, cells, series, square


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_and_neighbours_still_share_their_edges(seed: int):
    parcels, villages = cells(150, seed=seed)[:120], cells(9, seed=seed + 100)
    found = divided(series(parcels), series(villages))
    areas = shapely.area(found.pieces)
    assert np.bincount(found.parcel, areas) == pytest.approx(shapely.area(parcels), rel=1e-9)
    expected = [shapely.area(shapely.intersection(parcels, village)).sum() for village in villages]
    assert np.bincount(found.region, areas, minlength=len(villages)) == pytest.approx(expected, rel=1e-9)
    assert shapely.coverage_is_valid(parcels) and shapely.coverage_is_valid(found.pieces)
    assert set(shapely.get_type_id(found.pieces)) == {3} and len(found.pieces) > len(parcels)


def test_what_lies_in_no_region_is_kept():
    found = divided(series([square(0, 0, 100, 100), square(500, 0, 600, 100)]), series([square(-50, 0, 40, 100)]))
    assert found.region.tolist() == [0, NOWHERE, NOWHERE] and found.parcel.tolist() == [0, 0, 1]
    assert shapely.area(found.pieces).tolist() == [4000, 6000, 10_000]


def test_a_region_in_several_parts_and_one_with_a_hole():
    inner = square(20, 20, 60, 60)
    outer = shapely.difference(square(-10, -10, 200, 200), inner)
    found = divided(series([square(0, 0, 100, 100)]), series([inner, outer]))
    assert shapely.area(found.pieces).tolist() == [1600, 8400] and found.region.tolist() == [0, 1]
    apart = shapely.union(square(0, 0, 30, 100), square(70, 0, 100, 100))
    found = divided(series([square(0, 0, 100, 100)]), series([apart, square(30, 0, 70, 100)]))
    assert found.region.tolist() == [0, 0, 1] and shapely.area(found.pieces).tolist() == [3000, 3000, 4000]


def test_cut_parcels_are_not_cut_again():
    parcels, villages = cells(60, seed=1), cells(7, seed=2)
    first = divided(series(parcels), series(villages))
    again = divided(series(first.pieces), series(villages))
    assert again.region.tolist() == first.region.tolist() and len(again.pieces) == len(first.pieces)
    assert shapely.area(again.pieces) == pytest.approx(shapely.area(first.pieces), rel=1e-9)


def test_a_border_that_is_one_but_for_the_last_bits_leaves_no_strip():
    """As two layers hold it that were computed from each other: points along it differ by some 1e-10 m."""
    villages = shapely.segmentize(cells(9, seed=3), 3.7)  # counts from where an edge begins
    assert not shapely.coverage_is_valid(villages)
    found = divided(series(cells(150, seed=4)), series(villages))
    assert (found.region != NOWHERE).all() and shapely.area(found.pieces).min() > 1e-3
    assert shapely.coverage_is_valid(found.pieces)
    assert shapely.area(found.pieces).sum() == pytest.approx(EDGE**2, rel=1e-12)


def test_ground_in_two_regions_belongs_to_the_first_and_is_told():
    found = divided(series([square(0, 0, 100, 100)]), series([square(0, 0, 60, 100), square(40, 0, 100, 100)]))
    assert shapely.area(found.pieces).tolist() == [6000, 4000] and found.doubtful.tolist() == [0]


def test_a_parcel_that_is_hardly_there_is_not_lost():
    hair = square(50, 0, 50 + 1.2e-10, 100)
    found = divided(series([hair, square(60, 0, 90, 100)]), series([square(0, -9, 99, 50), square(0, 50, 99, 109)]))
    assert set(found.parcel) == {0, 1} and shapely.area(found.pieces).sum() == pytest.approx(3000)
