"""Polygons of any file: layers, conditions, encodings, repairs, and the lack of each."""

import geopandas
import pytest
import shapely
from pyproj import CRS

from cropland.errors import GridError, LabelError
from cropland.geo.vectors import read_polygons, to_grid_crs

FIELD, POND = shapely.box(116, 40, 116.01, 40.01), shapely.box(116.02, 40, 116.03, 40.01)


@pytest.fixture
def frame():
    return geopandas.GeoDataFrame(
        {"DLBM": ["0101", "1104"], "名称": ["水田", "坑塘"]}, geometry=[FIELD, POND], crs=4490
    )


@pytest.fixture
def package(tmp_path, frame):
    path = tmp_path / "survey.gpkg"
    frame.to_file(path, layer="DLTB")
    return path


def test_all_polygons_with_their_attributes(package):
    frame = read_polygons(package)
    assert list(frame.columns) == ["DLBM", "名称", "geometry"] and len(frame) == 2
    assert frame.crs.to_epsg() == 4490


def test_where(package):
    assert list(read_polygons(package, where="DLBM IN ('0101', '0102')")["名称"]) == ["水田"]


def test_nothing_left_shows_the_values_there_are(package):
    with pytest.raises(LabelError, match=r"leaves none of the 2 features.*DLBM has '0101' \(1\), '1104' \(1\)"):
        read_polygons(package, where="DLBM = '011'")


def test_a_condition_that_is_none_shows_the_fields(package):
    with pytest.raises(LabelError, match=r"where='DLMC = 1' is no condition.*has the fields DLBM, 名称"):
        read_polygons(package, where="DLMC = 1")


def test_layers(package, frame):
    geopandas.GeoDataFrame(geometry=[shapely.Point(116, 40)], crs=4490).to_file(package, layer="points")
    assert len(read_polygons(package)) == 2, "the only layer of polygons"
    frame.to_file(package, layer="AOI")
    with pytest.raises(LabelError, match=r"choose one with layer=: .*AOI"):
        read_polygons(package)
    assert len(read_polygons(package, layer="AOI")) == 2
    with pytest.raises(LabelError, match=r"has no layer 'DLTB2'; it has DLTB, points, AOI"):
        read_polygons(package, layer="DLTB2")
    with pytest.raises(LabelError, match=r"no polygon among 1 features \(Point\)"):
        read_polygons(package, layer="points")


def test_a_file_geodatabase(tmp_path, frame):
    path = tmp_path / "survey.gdb"
    frame.to_file(path, driver="OpenFileGDB", layer="DLTB")
    frame.to_file(path, driver="OpenFileGDB", layer="AOI", mode="a")
    assert list(read_polygons(path, layer="DLTB", where="DLBM = '0101'")["名称"]) == ["水田"]


def test_a_shapefile_in_gbk_that_does_not_say_so(tmp_path, frame):
    path = tmp_path / "survey.shp"
    frame.to_file(path, encoding="GBK")
    path.with_suffix(".cpg").unlink()
    assert list(read_polygons(path, encoding="GBK", where="DLBM = '0101'")["名称"]) == ["水田"]
    assert len(read_polygons(path, encoding="GBK", where="名称 = '水田'")) == 1


def test_no_crs(tmp_path, frame):
    path = tmp_path / "fields.shp"
    frame.set_crs(None, allow_override=True).to_file(path)
    with pytest.raises(LabelError, match=r"fields.shp has no coordinate reference system.*ogr2ogr -a_srs"):
        read_polygons(path)
    assert read_polygons(path, crs="EPSG:4490").crs.to_epsg() == 4490


def test_bow_ties_heights_and_empty_rows(tmp_path):
    bow_tie = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    spike = shapely.Polygon([(2, 0), (3, 0), (3, 1), (5, 1), (3, 1), (2, 1)])
    shapes = [bow_tie, spike, None, shapely.force_3d(FIELD, 7), shapely.Polygon()]
    path = tmp_path / "fields.gpkg"
    geopandas.GeoDataFrame({"id": range(5)}, geometry=shapes, crs=4326).to_file(path)
    frame = read_polygons(path)
    assert list(frame["id"]) == [0, 1, 3] and frame.is_valid.all() and not frame.has_z.any()
    assert set(frame.geom_type) <= {"Polygon", "MultiPolygon"}
    assert frame.area.tolist() == pytest.approx([0.5, 1, 1e-4])


@pytest.mark.parametrize(("name", "expected"), [("no.gpkg", "is not there"), ("text.gpkg", "is not a vector file")])
def test_no_vector_file(tmp_path, name, expected):
    (tmp_path / "text.gpkg").write_text("hello", encoding="utf-8")
    with pytest.raises(LabelError, match=expected):
        read_polygons(tmp_path / name)


def test_cgcs2000_is_the_frame_of_wgs84(frame):
    moved = to_grid_crs(frame, CRS(4326))
    assert moved.geometry.iloc[0].equals_exact(FIELD, 1e-9)
    assert to_grid_crs(frame, "EPSG:32650").crs.to_epsg() == 32650


def test_xian_1980_needs_a_word(frame):
    old = frame.set_crs(4610, allow_override=True)
    with pytest.raises(GridError, match="allow_datum_shift=True"):
        to_grid_crs(old, "EPSG:32650")
    assert len(to_grid_crs(old, "EPSG:32650", allow_datum_shift=True)) == 2


def test_a_grid_without_a_crs_has_no_place_for_polygons(frame):
    with pytest.raises(GridError, match="polygons cannot be placed"):
        to_grid_crs(frame, None)
