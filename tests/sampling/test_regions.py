"""Areas of regions against pyproj's geodesic ones."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS, Geod, Transformer

from cropland.errors import GridError, LabelError
from cropland.geo.mask import Mask
from cropland.sampling import regions
from cropland.sampling.regions import areas_within, placed, points_within, read_regions
from cropland.sampling.strata import make_strata
from rasters import write_raster
from sampling.small_sample import mask_of, truth, write_mask


def geodesic_m2(shape: shapely.Geometry, crs: str) -> float:
    """The area between geodesics along the edges, which are cut so short that they are straight in the CRS too."""
    fine = shapely.segmentize(shape, shape.length / 20_000)
    lonlat = shapely.transform(
        fine, lambda points: np.column_stack(Transformer.from_crs(crs, 4326, always_xy=True).transform(*points.T))
    )
    return abs(CRS(crs).get_geod().geometry_area_perimeter(lonlat)[0])


GRIDS = {
    "geographic": ("EPSG:4326", Affine(2e-4, 0, 116, 0, -2e-4, 60)),
    "utm": ("EPSG:32650", Affine(10, 0, 500_000, 0, -10, 4_000_000)),
    "polar": ("EPSG:3413", Affine(30, 0, -200_000, 0, -30, -1_000_000)),
    "turned": ("EPSG:32650", Affine.translation(5e5, 4e6) @ Affine.rotation(25) @ Affine.scale(10, -10)),
}


@pytest.mark.parametrize("name", GRIDS)
def test_areas_of_regions_are_geodesic_to_a_millionth(name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(regions, "TILE", 64)
    crs, affine = GRIDS[name]
    path = write_raster(tmp_path / "mask.tif", np.ones((150, 160), np.uint8), crs=crs, transform=affine)
    blob = shapely.buffer(shapely.Point(80, 70), 55.7)
    holed = shapely.difference(blob, shapely.box(60.3, 50.2, 70.9, 90.1))
    small = shapely.Polygon([(3.2, 4.1), (12.9, 5.3), (8.8, 17.7)])
    shapes = shapely.transform([holed, small], lambda points: np.column_stack(affine @ tuple(points.T)))
    layer = tmp_path / "regions.gpkg"
    gpd.GeoDataFrame({"name": ["holed", "small"]}, geometry=list(shapes), crs=crs).to_file(layer)
    mask = Mask.open(path)
    table = read_regions(layer, mask)
    found = areas_within(placed(table, mask), mask, make_strata(mask, "mask"))
    assert table["region"].tolist() == ["holed", "small"]
    assert found.sum(axis=(1, 2)) == pytest.approx([geodesic_m2(each, crs) for each in shapes], rel=1e-6)
    assert (found[:, [0, 2]] == 0).all() and (found[:, 1, 0] == 0).all(), "all is mapped as cropland"


def test_regions_of_another_crs_with_long_edges(tmp_path: Path):
    """The edge of a box in degrees is a curve in UTM, 150 m off its chord here."""
    grid = {"transform": Affine(100, 0, 600_000, 0, -100, 5_600_000)}
    mask = Mask.open(write_raster(tmp_path / "mask.tif", np.zeros((600, 1400), np.uint8), **grid))
    box = shapely.box(118.5, 50.1, 120.2, 50.3)
    gpd.GeoDataFrame({"geometry": [box]}, crs=4326).to_file(tmp_path / "box.gpkg")
    table = read_regions(tmp_path / "box.gpkg", mask)
    found = areas_within(placed(table, mask), mask, make_strata(mask, "mask")).sum()
    fine = shapely.segmentize(box, 1e-4)
    assert found == pytest.approx(abs(Geod(ellps="WGS84").geometry_area_perimeter(fine)[0]), rel=1e-6)


def test_classes_and_ground_without_data_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(regions, "TILE", 32)
    mask, values = Mask.open(write_mask(tmp_path / "mask.tif")), mask_of(truth())
    whole = gpd.GeoDataFrame({"geometry": [shapely.box(500_000, 3_998_800, 501_500, 4_000_000)]}, crs=32650)
    found = areas_within(placed(whole, mask), mask, make_strata(mask, "mask"))[0]
    counts = [[(values == 0).sum(), 0], [0, (values == 1).sum()], [(values == 255).sum(), 0]]
    assert found == pytest.approx(100 * np.array(counts, float), rel=1e-3)


def test_points_belong_to_the_region_around_their_centre():
    shapes = np.array([shapely.box(0, 0, 5, 5), shapely.box(5, 0, 9, 5)])
    rows, cols = np.array([0, 4, 2, 6]), np.array([0, 5, 4, 1])
    assert [each.tolist() for each in points_within(shapes, rows, cols)] == [[0, 2], [1]]


def test_names_of_regions(tmp_path: Path):
    mask = Mask.open(write_mask(tmp_path / "mask.tif"))
    boxes = [shapely.box(500_000, 3_999_000, 500_500, 4_000_000), shapely.box(500_500, 3_999_000, 501_000, 4_000_000)]
    layer = tmp_path / "towns.gpkg"
    gpd.GeoDataFrame({"code": [7, 8]}, geometry=boxes, crs=32650).to_file(layer)
    assert read_regions(layer, mask)["region"].tolist() == ["1", "2"]
    assert read_regions(layer, mask, name="code")["region"].tolist() == ["7", "8"]
    gpd.GeoDataFrame({"name": ["north", None]}, geometry=boxes, crs=32650).to_file(tmp_path / "unnamed.gpkg")
    assert read_regions(tmp_path / "unnamed.gpkg", mask)["region"].tolist() == ["north", "2"]
    with pytest.raises(LabelError, match="has no column 'town'; it has code"):
        read_regions(layer, mask, name="town")
    with pytest.raises(LabelError):
        read_regions(tmp_path / "none.gpkg", mask)
    nowhere = Mask.open(write_mask(tmp_path / "nowhere.tif", crs=None), pixel_m=10)
    with pytest.raises(GridError, match="no coordinate reference system"):
        read_regions(layer, nowhere)
