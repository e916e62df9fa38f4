"""Regions come into another CRS with their names, and stay neighbours on the way."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely

from cropland.errors import LabelError
from cropland.geo.regions import named_regions

UTM = "EPSG:32650"


def layer(path: Path, shapes: list[shapely.Geometry], crs: int = 4490, **columns: object) -> Path:
    gpd.GeoDataFrame(columns, geometry=shapes, crs=crs).to_file(path)
    return path


def test_names_come_first_and_the_other_columns_stay(tmp_path: Path):
    path = layer(tmp_path / "v.gpkg", [shapely.box(116, 40, 117, 41)], ZLDWMC=["李家村"], KCXS=[0.08])
    found = named_regions(path, UTM, longest_m=100, name="ZLDWMC")
    assert list(found.columns) == ["region", "ZLDWMC", "KCXS", "geometry"] and found["region"].tolist() == ["李家村"]
    with pytest.raises(LabelError, match="no column 'town'; it has ZLDWMC, KCXS"):
        named_regions(path, UTM, longest_m=100, name="town")


def test_neighbours_share_their_edges_to_the_bit_in_another_crs(tmp_path: Path):
    """Of three, one runs along an edge in the other direction, and one has a hole that another fills."""
    hole = shapely.box(116.21, 40.13, 116.47, 40.39)
    shapes = [shapely.difference(shapely.box(116, 40, 116.7, 40.61), hole), hole]
    shapes.append(shapely.Polygon([(116.7, 40), (116.7, 40.61), (117.3, 40.4), (117.1, 39.9)]))
    found = named_regions(layer(tmp_path / "v.gpkg", shapes), UTM, longest_m=100)
    assert shapely.coverage_is_valid(found.geometry.to_numpy())
    apart = gpd.GeoSeries(shapely.segmentize(shapes, 0.001), crs=4490).to_crs(UTM)
    assert not shapely.coverage_is_valid(apart.to_numpy()), "which points that are counted from the start do not keep"


def test_a_long_edge_becomes_the_curve_that_it_is(tmp_path: Path):
    box = shapely.box(116, 40, 117, 40.5)
    (found,) = named_regions(layer(tmp_path / "v.gpkg", [box]), UTM, longest_m=100).geometry
    (fine,) = gpd.GeoSeries([shapely.segmentize(box, 1e-4)], crs=4490).to_crs(UTM)
    assert shapely.hausdorff_distance(found, fine) < 100 and found.symmetric_difference(fine).area / found.length < 1e-3
    corners = gpd.GeoSeries([box], crs=4490).to_crs(UTM).get_coordinates().to_numpy()
    kept = shapely.get_coordinates(found)
    assert all((np.abs(kept - corner).max(axis=1) == 0).any() for corner in corners)


def test_regions_of_the_same_crs_stay_as_they_are(tmp_path: Path):
    box = shapely.box(500_000, 4_000_000, 590_000, 4_090_000)
    (found,) = named_regions(layer(tmp_path / "v.gpkg", [box], crs=32650), UTM, longest_m=100).geometry
    assert shapely.get_num_coordinates(found) == 5 and found.equals(box)
