"""Polygons of any geometry, CRS and format: the answer is a chip folder or one line, never a traceback."""

import json
import math
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyogrio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet
from pyproj import CRS
from small_scene import CRS as UTM
from small_scene import LEFT, TOP, write_raster

from cropland.cli import main

ENGINEERING = 'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]'  #
SYSTEMS = (
    *(UTM, "EPSG:4326", "EPSG:4490", "EPSG:3857", "EPSG:2334", "EPSG:3031", "EPSG:4978", "EPSG:5773", "EPSG:32610"),
    *("EPSG:32650+5773", "IAU_2015:30100", "ESRI:54052", "+proj=geos +h=35785831 +lon_0=-75", "+proj=ortho +lon_0=-60"),
    *("+proj=gnom +lat_0=-90", "EPSG:4979", ENGINEERING, None),
)
SUFFIXES = (".gpkg", ".fgb", ".shp", ".parquet", ".feather", ".sqlite", ".csv")
DRIVERS = {".sqlite": "SQLite", ".csv": "CSV"}
NUMBERS = st.one_of(
    st.floats(0, 1),
    st.sampled_from([0.0, 1.0, 0.5, -0.0, 40.0, -1000.0, math.nan, math.inf, -math.inf, 1e30, 1e154, -1e300, 5e-324]),
)


@st.composite
def rings(draw, size: int) -> bytes:
    points = draw(st.lists(st.tuples(*[NUMBERS] * 2), max_size=6))
    if points and draw(st.booleans()):
        points.append(points[0])
    placed = [(LEFT + 1920 * x, TOP - 1280 * y, *[7.0] * (size - 2)) for x, y in points]
    return struct.pack("<I", len(placed)) + b"".join(struct.pack(f"<{size}d", *point) for point in placed)


@st.composite
def geometries(draw, size: int = 2, depth: int = 2) -> bytes:
    """WKB of any type, most of it polygons, now and then cut short."""
    kind = draw(st.sampled_from([3, 3, 3, 17, 2, 1] + ([6, 7, 15, 16] if depth else [])))
    head = struct.pack("<BI", 1, kind + (1000 if size == 3 else 0))
    if kind == 1:
        return head + struct.pack(f"<{size}d", *draw(st.tuples(*[NUMBERS] * size)))
    if kind == 2:
        return head + draw(rings(size))
    parts = draw(st.lists(rings(size) if kind in (3, 17) else geometries(size, depth - 1), max_size=3))
    return head + struct.pack("<I", len(parts)) + b"".join(parts)


def write(path: Path, shapes: list[bytes | None], crs: str | None) -> bool:
    """Whether the format can hold them."""
    names = np.array([f"field {number}" for number in range(len(shapes))], object)
    if path.suffix in (".parquet", ".feather"):
        column = {"encoding": "WKB", "geometry_types": [], "crs": crs and CRS(crs).to_json_dict()}
        about = json.dumps({"version": "1.1.0", "primary_column": "geom", "columns": {"geom": column}})
        table = pa.table({"name": names, "geom": pa.array(shapes, pa.binary())}).replace_schema_metadata({"geo": about})
        (parquet.write_table if path.suffix == ".parquet" else feather.write_feather)(table, path)
        return True
    how = {"driver": DRIVERS.get(path.suffix), "geometry_type": "Unknown", "crs": crs}
    how |= {"GEOMETRY": "AS_WKT"} if path.suffix == ".csv" else {}
    try:
        pyogrio.raw.write(path, np.array(shapes, object), [names], ["name"], **how)
    except (RuntimeError, ValueError):
        return False
    return path.exists()


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", shape=(16, 24))


@given(
    shapes=st.sampled_from([2, 3]).flatmap(
        lambda size: st.lists(st.one_of(st.none(), geometries(size)), min_size=1, max_size=4)
    ),
    crs=st.sampled_from(SYSTEMS),
    suffix=st.sampled_from(SUFFIXES),
    role=st.sampled_from(["--labels", "--inside"]),
    more=st.sampled_from([[], ["--where", "name <> 'field 0'"], ["--allow-datum-shift"]]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
def test_whatever_the_polygons_are(scene, shapes, crs, suffix, role, more, capfd):
    with TemporaryDirectory() as folder:
        path, out = Path(folder) / f"fields{suffix}", Path(folder) / "chips"
        if not write(path, shapes, crs):
            return
        other = ["--labels", str(path)] if role == "--inside" else []
        line = ["chips", str(scene), role, str(path), *other, "--background", "known", "--split", "train", *more]
        capfd.readouterr()
        status = main([*line, "--out", str(out)])
        said = capfd.readouterr().err
        assert status in (0, 2), said
        if status == 2:
            assert said.startswith("cropland: ") and said.count("\n") == 1 and not out.exists()
