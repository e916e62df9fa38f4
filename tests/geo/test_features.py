"""Features near a box: those of the whole file, from every format, and the rest stays on the disk."""

import json
import subprocess
import sys
import time

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio
import pytest
import shapely
from pyarrow import parquet

from cropland.errors import LabelError
from cropland.geo.features import open_layer
from cropland.geo.vectors import open_polygons, read_polygons

BOX = (116.2, 40.2, 116.31, 40.33)


def many(count: int = 60) -> gpd.GeoDataFrame:
    """Rows of small fields, more than are kept in memory whatever the file."""
    x, y = (each.ravel() for each in np.meshgrid(116 + np.arange(count) * 0.01, 40 + np.arange(count) * 0.01))
    crops = np.where(np.arange(len(x)) % 3, "rice", "wheat")
    return gpd.GeoDataFrame(
        {"crop": crops, "n": range(len(x))}, geometry=shapely.box(x, y, x + 0.008, y + 0.008), crs=4326
    )


def write(frame: gpd.GeoDataFrame, path, **options) -> None:
    if path.suffix == ".parquet":
        frame.to_parquet(path, schema_version="1.1.0", row_group_size=500, **options)
    elif path.suffix == ".feather":
        frame.to_feather(path)
    else:
        frame.to_file(path, **options)


FORMATS = {
    **{name: {} for name in ("a.gpkg", "a.fgb", "a.shp", "a.geojson", "a.parquet", "a.feather")},
    "without_index.gpkg": {"SPATIAL_INDEX": "NO"},
    "covering.parquet": {"write_covering_bbox": True},
    "native.parquet": {"geometry_encoding": "geoarrow"},
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_lies_near_a_box_is_what_the_whole_has_there(tmp_path, name):
    path, frame = tmp_path / name, many()
    write(frame, path, **FORMATS[name])
    for where in (None, "crop = 'wheat'"):
        near, notes = open_polygons(path, where=where).near(BOX)
        there = near[near.intersects(shapely.box(*BOX))]
        whole = frame if where is None else frame[frame["crop"] == "wheat"]
        wanted = whole[whole.intersects(shapely.box(*BOX))]
        assert notes == () and len(wanted) > 40 and len(near) < 2 * len(wanted)
        assert set(there.geometry.normalize().to_wkt()) == set(wanted.geometry.normalize().to_wkt())
        whole_read = read_polygons(path, where=where)
        assert sorted(whole_read["n"]) == sorted(whole["n"]) and set(whole_read["crop"]) == set(whole["crop"])
        assert open_polygons(path, where=where).bounds() == pytest.approx(tuple(whole.total_bounds))
    with pytest.raises(LabelError, match=r"leaves none of the 3600 features.*'rice' \(2400\)"):
        open_polygons(path, where="crop = 'maize'")
    with pytest.raises(LabelError, match=r"is no condition in SQL; .* has the fields crop, n"):
        open_polygons(path, where="kind = 1")


@pytest.mark.parametrize("name", FORMATS)
def test_a_polygon_has_the_same_number_and_its_attributes_near_any_box(tmp_path, name):
    path, frame = tmp_path / name, many().sample(frac=1, random_state=0)  # so that a box meets many groups of rows
    write(frame, path, **FORMATS[name])
    for where in (None, "crop = 'wheat'"):
        polygons = open_polygons(path, where=where, columns=["n"])
        numbered = polygons.near((0.0, 0.0, 180.0, 90.0))[0]["n"]
        assert numbered.index.is_unique and numbered.is_unique and len(numbered) == (1200 if where else 3600)
        for box in (BOX, (116.0, 40.1, 116.6, 40.2), (116.245, 40.245, 116.246, 40.246)):
            near = polygons.near(box)[0]["n"]
            assert 0 < len(near) < 1500 and (numbered[near.index] == near).all()
        assert polygons.near((1.0, 1.0, 2.0, 2.0))[0].empty
    with pytest.raises(LabelError, match=r"has no column 'kind'; it has crop, n"):
        open_polygons(path, columns=["kind"])


def test_several_geometries_structures_and_names_of_other_programs(tmp_path):
    """As FTW and fiboa write them: another name, a point beside the polygon, bounds, lists and dates."""
    frame = many(3).rename_geometry("polygon_geom")
    frame["centre"] = frame.centroid
    frame["determined"] = pd.Timestamp("2024-05-01", tz="UTC")
    frame["tags"] = [["a", "b"]] * len(frame)
    frame.to_parquet(tmp_path / "fields.parquet", write_covering_bbox=True, schema_version="1.1.0")
    assert open_layer(tmp_path / "fields.parquet").fields == ["crop", "n", "determined"]
    read = read_polygons(tmp_path / "fields.parquet", where="determined >= '2024-01-01' AND n < 4")
    assert read["n"].tolist() == [0, 1, 2, 3] and read.geometry.iloc[0].equals(frame.geometry.iloc[0])


def test_a_parquet_file_names_its_crs_or_is_in_longitude_and_latitude(tmp_path):
    path = tmp_path / "fields.parquet"
    for about, code in (({}, "OGC:CRS84"), ({"crs": None}, None), ({"crs": {"type": "nonsense"}}, "damaged")):
        column = {"encoding": "WKB", "geometry_types": ["Polygon"], **about}
        geo = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}}
        table = pa.table({"geometry": [shapely.to_wkb(shapely.box(0, 0, 1, 1))]})
        parquet.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)
        if code == "damaged":
            with pytest.raises(LabelError, match="is not a GeoParquet or Feather file that can be read"):
                open_layer(path)
        else:
            crs = open_layer(path).crs
            assert (crs and ":".join(crs.to_authority())) == code


@pytest.mark.parametrize("name", ["a.parquet", "a.feather"])
def test_a_file_of_arrow_that_is_cut_short_is_one_line(tmp_path, name):
    write(many(), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in (8, 1000, len(whole) - 3):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(LabelError, match=r"can be read|is damaged"):
            open_polygons(tmp_path / name).near(BOX)


def test_a_table_of_arrow_without_geometry(tmp_path):
    pd.DataFrame({"x": [1.0], "y": [2.0], "crop": ["rice"]}).to_parquet(tmp_path / "fields.parquet")
    with pytest.raises(LabelError, match=r"a table without geometry, 'fields' with the columns x, y, crop.*no area"):
        open_layer(tmp_path / "fields.parquet")


NEAR = """
import resource, sys
from cropland.geo.vectors import open_polygons
kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
near, _ = open_polygons(sys.argv[1]).near((500.0, 500.0, 520.0, 520.0))
print(len(near), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kept) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes there")
@pytest.mark.parametrize("name", ["a.parquet", "a.fgb"])
def test_a_million_polygons_stay_on_the_disk(tmp_path, name):
    """They take some 700 MB as a table in memory."""
    x, y = (each.ravel() for each in np.meshgrid(np.arange(1000.0), np.arange(1000.0)))
    shapes, path = shapely.box(x, y, x + 0.9, y + 0.9), tmp_path / name
    if name == "a.fgb":
        pyogrio.raw.write(path, shapely.to_wkb(shapes), [], [], geometry_type="Polygon", crs="EPSG:32650")
    else:
        frame = gpd.GeoDataFrame(geometry=shapes, crs=32650)
        frame.to_parquet(path, write_covering_bbox=True, schema_version="1.1.0", row_group_size=20_000)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", NEAR, path], capture_output=True, text=True, encoding="utf-8", check=True
    )
    count, megabytes = map(float, done.stdout.split())
    assert 400 <= count <= 25 * 25 and megabytes < 150 and time.monotonic() - began < 20


def test_a_condition_that_leaves_nothing_of_a_file_without_fields(tmp_path) -> None:
    path = tmp_path / "bare.geojson"
    gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=4326).to_file(path)
    with pytest.raises(
        LabelError, match=r"leaves none of the 1 features of bare\.geojson; bare\.geojson has no fields"
    ):
        read_polygons(path, where="-fid > 3")
