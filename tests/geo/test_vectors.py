"""Polygons of any file: layers, conditions, encodings, repairs, and the lack of each."""

import struct

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from odc.geo import geom
from pyproj import CRS

from cropland.errors import GridError, LabelError
from cropland.geo.vectors import Polygons, open_polygons, read_polygons, to_grid_crs

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


@pytest.mark.parametrize(
    ("name", "expected"), [("no.gpkg", "is not there"), ("text.gpkg", "is not a vector file that can be read")]
)
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


def test_polygons_that_meet_an_extent_in_its_crs_keep_their_numbers():
    """Also those that reach to where the CRS of the extent does not."""
    x = np.arange(115, 118, 0.25)
    shapes = [*shapely.box(x, 40, x + 0.01, 40.01), shapely.box(27, 0, 207, 40)]
    polygons = Polygons.of(geopandas.GeoDataFrame({"x": [*x, np.nan]}, geometry=shapes, crs=4326).iloc[::-1])
    extent = geom.box(300_000, 4_000_000, 500_000, 4_500_000, "EPSG:32650")
    found, notes = polygons.meeting(extent)
    expected = {len(x) - k: place for k, place in enumerate(x) if place <= 117}
    assert found.crs.to_epsg() == 32650 and notes == ()
    assert found["x"].dropna().to_dict() == expected and 0 in found.index
    assert 0 < found.geometry[0].intersection(extent.geom).area < extent.geom.area
    with pytest.raises(GridError, match="different frames"):
        Polygons.of(polygons.near((0, 0, 180, 90))[0].set_crs(4610, allow_override=True)).meeting(extent)


SQUARE = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0), (0.0, 0.0)]
ROOF = [[(0, 0, 1), (4, 0, 2), (4, 4, 3), (0, 0, 1)], [(0, 0, 1), (4, 4, 2), (0, 4, 3), (0, 0, 1)]]
FLOOR = [[(*point, 0.0) for point in SQUARE]]
WALL = [[(0, 0, 0), (4, 0, 0), (4, 0, 9), (0, 0, 0)]]


def wkb(kind: int, *parts: list | bytes) -> bytes:
    """A geometry of rings, or of other geometries (OGC 06-103r4, 8.2)."""
    body = b"".join(
        part
        if isinstance(part, bytes)
        else struct.pack("<I", len(part)) + b"".join(struct.pack(f"<{len(point)}d", *point) for point in part)
        for part in parts
    )
    return struct.pack("<BII", 1, kind, len(parts)) + body


def surface(kind: int, face: int, faces: list) -> bytes:
    return wkb(kind, *(wkb(face, ring) for ring in faces))


SQUARE_WKB = wkb(3, SQUARE)
TIN = surface(1016, 1017, ROOF)
ARC = wkb(10, struct.pack("<BII6d", 1, 8, 3, 0, 0, 4, 0, 0, 0))  # a circle of radius 2


def write_wkb(path, shapes) -> None:
    names = np.array([f"{number}" for number in range(len(shapes))], object)
    pyogrio.raw.write(
        path, np.array(shapes, object), [names], ["name"], geometry_type="Unknown", crs="EPSG:32650", layer="a"
    )


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (TIN, 16),
        (surface(1015, 1003, ROOF), 16),
        (wkb(1007, TIN), 16),
        (surface(1015, 1003, [*ROOF, *FLOOR, *WALL]), 16),  # a roof above a floor is one piece of ground
        (ARC, 4 * np.pi),
        (wkb(12, ARC, wkb(3, [(x + 9, y) for x, y in SQUARE])), 16 + 4 * np.pi),
    ],
)
def test_surfaces_are_seen_from_above_and_arcs_are_lines(tmp_path, suffix, shape, area):
    write_wkb(tmp_path / f"a{suffix}", [shape])
    assert read_polygons(tmp_path / f"a{suffix}").union_all().area == pytest.approx(area, rel=1e-3)


def test_a_multipatch_of_a_shapefile(tmp_path):
    """A strip of two triangles, by the bytes of ESRI's technical description of 1998, with a .dbf of GDAL."""
    path, points = tmp_path / "roof.shp", [(0, 0, 1), (4, 0, 2), (0, 4, 1), (4, 4, 3)]
    geopandas.GeoDataFrame({"id": [1]}, geometry=[shapely.box(0, 0, 4, 4)], crs=32650).to_file(path)
    content = struct.pack("<i4d4i", 31, 0, 0, 4, 4, 1, 4, 0, 0)
    content += b"".join(struct.pack("<2d", x, y) for x, y, _ in points)
    content += struct.pack("<6d", 1, 3, *(z for _, _, z in points)) + struct.pack("<6d", *[0.0] * 6)
    box = struct.pack("<8d", 0, 0, 4, 4, 1, 3, 0, 0)
    words = (100 + 8 + len(content)) // 2
    head = struct.pack(">7i", 9994, *[0] * 5, words) + struct.pack("<2i", 1000, 31) + box
    path.write_bytes(head + struct.pack(">2i", 1, len(content) // 2) + content)
    index = struct.pack(">7i", 9994, *[0] * 5, 54) + struct.pack("<2i", 1000, 31) + box
    path.with_suffix(".shx").write_bytes(index + struct.pack(">2i", 50, len(content) // 2))
    assert read_polygons(path).area.tolist() == pytest.approx([16])


BROKEN = {
    "not closed": wkb(3, SQUARE[:-1]),
    "with a ring of one or two points": wkb(3, SQUARE[:2]),
    "with a coordinate that is infinite or no number": wkb(3, [(0, 0), (np.inf, 0), (4, 4), (0, 0)]),
}


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
@pytest.mark.parametrize("why", BROKEN)
def test_broken_polygons_are_left_out_and_told(tmp_path, suffix, why):
    path = tmp_path / f"a{suffix}"
    write_wkb(path, [SQUARE_WKB, BROKEN[why], SQUARE_WKB, *([None] if suffix == ".gpkg" else [])])
    near, notes = open_polygons(path).near((0, 0, 4, 4))
    assert near.area.tolist() == [16, 16]
    assert notes == (f"1 of 3 polygons read from {path.name} cannot be used: 1 {why}",)
    path.unlink()
    write_wkb(path, [BROKEN[why]] * 2)
    with pytest.raises(
        LabelError, match=f"2 of 2 polygons read from a{suffix} cannot be used: 2 {why}; repair the file"
    ):
        open_polygons(path)


def test_a_broken_one_among_many_is_told_where_it_lies(tmp_path):
    """More than are kept in memory: GDAL cannot compare the ring with a box, so all are read."""
    write_wkb(tmp_path / "a.gpkg", [SQUARE_WKB] * 1200 + [BROKEN["not closed"]])
    near, notes = open_polygons(tmp_path / "a.gpkg").near((1, 1, 9, 2))
    assert len(near) == 1200 and "1 not closed" in notes[0]


def test_rings_of_geojson_that_are_not_closed(tmp_path):
    ring = "[[116,40],[117,40],[117,41],[116,41]{}]"
    feature = '{{"type":"Feature","properties":{{}},"geometry":{{"type":"Polygon","coordinates":[{}]}}}}'
    features = ",".join(feature.format(ring.format(end)) for end in ("", ",[116,40]"))
    (tmp_path / "a.geojson").write_text(f'{{"type":"FeatureCollection","features":[{features}]}}', encoding="utf-8")
    near, notes = open_polygons(tmp_path / "a.geojson").near((116, 40, 117, 41))
    assert len(near) == 1 and notes == ("1 of 2 polygons read from a.geojson cannot be used: 1 not closed",)


def test_tables_without_geometry_say_what_they_hold(tmp_path, package):
    rows = pd.DataFrame({"lon": [116.0], "lat": [40.0], "crop": ["rice"]})
    rows.to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(LabelError, match=r"table without geometry, 'points' with the columns lon, lat, crop.*no area"):
        read_polygons(tmp_path / "points.csv")
    for name in ("a.gpkg", "a.dbf", "b.csv"):
        pyogrio.write_dataframe(rows[["crop"]], tmp_path / name, driver="ESRI Shapefile" if "dbf" in name else None)
        with pytest.raises(LabelError, match=r"without geometry.* with the columns crop: give a file of polygons"):
            read_polygons(tmp_path / name)
    pyogrio.write_dataframe(rows, tmp_path / "a.xlsx")
    with pytest.raises(LabelError, match=r"without geometry.* with the columns lon, lat, crop.*no area"):
        read_polygons(tmp_path / "a.xlsx")
    pyogrio.write_dataframe(rows, package, layer="notes", append=True)
    with pytest.raises(LabelError, match=r"'notes' with the columns lon, lat, crop: choose .* with layer=: DLTB"):
        read_polygons(package, layer="notes")
