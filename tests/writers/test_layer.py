"""A layer for an office comes back from every format as it went in, with Chinese names and values."""

import struct
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

import real_qgis
from cropland.errors import OutputError
from cropland.writers.layer import SUFFIXES, write_layer
from cropland.writers.qgis import parcels_style

PLACES = [shapely.box(500_000, 4_000_000, 500_100, 4_000_100), shapely.box(500_100, 4_000_000, 500_300, 4_000_100)]


def table(**columns: object) -> gpd.GeoDataFrame:
    plain = {
        "id": ["1", "2-1"],
        "地类编码": ["0103", None],
        "坐落": ["李家村", "王庄"],
        "亩": [1.25, 2.5],
        "层": [3, 4],
    }
    return gpd.GeoDataFrame({**plain, **columns}, geometry=PLACES, crs=4547)  # CGCS2000, zone of 114°


def read(path: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(path) if path.suffix == ".parquet" else pyogrio.read_dataframe(path)


@pytest.mark.parametrize(
    ("suffix", "encoding"), [(".shp", "GBK"), (".shp", "UTF-8"), *((suffix, None) for suffix in SUFFIXES)]
)
def test_what_went_in_comes_back(tmp_path: Path, suffix: str, encoding: str | None):
    out = tmp_path / "交付" / f"图斑{suffix}"
    for _again in range(2):  # the second time it is there already
        write_layer(table(), out, layer="图斑", encoding=encoding)
    found = read(out)
    names = {"地类编码": "地类编"} if suffix == ".shp" and encoding != "GBK" else {}
    assert list(found.columns) == [*(names.get(name, name) for name in table())]
    back = found.rename(columns={new: old for old, new in names.items()})
    assert back["id"].tolist() == ["1", "2-1"] and back["坐落"].tolist() == ["李家村", "王庄"]
    assert back["地类编码"].iloc[0] == "0103" and pd.isna(back["地类编码"].iloc[1])
    assert back["亩"].tolist() == [1.25, 2.5] and back["层"].tolist() == [3, 4]
    assert pd.api.types.is_integer_dtype(back["层"])
    assert found.crs.to_epsg() == (4326 if suffix == ".geojson" else 4547)
    apart = shapely.symmetric_difference(found.to_crs(4547).geometry.to_numpy(), PLACES)
    assert (shapely.area(apart) < (10 if suffix == ".geojson" else 1e-6)).all()
    if suffix in (".gdb", ".gpkg"):
        assert pyogrio.list_layers(out)[0, 0] == "图斑"
    assert [each for each in out.parent.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize("encoding", ["GBK", "UTF-8"])
def test_a_shapefile_names_its_encoding_and_holds_it(tmp_path: Path, encoding: str):
    write_layer(table(), tmp_path / "p.shp", layer="p", encoding=encoding)
    assert (tmp_path / "p.cpg").read_text(encoding="ascii") == encoding
    assert "李家村".encode(encoding) in (tmp_path / "p.dbf").read_bytes()


def names_in(dbf: Path) -> list[bytes]:
    """Names of fields by the header itself. Source: dBASE III, as in ESRI (1998)."""
    data = dbf.read_bytes()
    (header,) = struct.unpack_from("<H", data, 8)
    return [data[at : at + 11].split(b"\0")[0] for at in range(32, header - 1, 32)]


@pytest.mark.parametrize(
    ("encoding", "expected"), [("GBK", ["坐落单位名", "坐落单位_1"]), ("UTF-8", ["坐落单", "坐落_1"])]
)
def test_long_names_are_cut_between_letters_and_stay_apart(tmp_path: Path, encoding: str, expected: list[str]):
    given = table(
        坐落单位名称=["a", "b"], 坐落单位名号=["c", "d"], **{"metrics:area": [1.0, 2.0], "metrics_ar": [3.0, 4.0]}
    )
    (note,) = write_layer(given, tmp_path / "p.shp", layer="p", encoding=encoding)
    found = read(tmp_path / "p.shp")
    assert found[expected[0]].tolist() == ["a", "b"] and found[expected[1]].tolist() == ["c", "d"]
    assert found["metrics_ar"].tolist() == [3.0, 4.0], "a name that fits keeps it"
    assert found["metrics__1"].tolist() == [1.0, 2.0] and "metrics:area → metrics__1" in note
    assert all(f"{old} → {new}" in note for old, new in zip(["坐落单位名称", "坐落单位名号"], expected, strict=True))
    assert all(len(name) <= 10 and name.decode(encoding) for name in names_in(tmp_path / "p.dbf"))


@pytest.mark.parametrize(("encoding", "letters"), [("GBK", 127), ("UTF-8", 84)])
def test_long_texts_are_cut_between_letters_and_told(tmp_path: Path, encoding: str, letters: int):
    note = write_layer(table(备注=["田" * 300, "短"]), tmp_path / "p.shp", layer="p", encoding=encoding)[-1]
    assert read(tmp_path / "p.shp")["备注"].tolist() == ["田" * letters, "短"]
    assert "254 bytes" in note and "备注 (1)" in note


def test_names_that_a_geodatabase_changes_are_told(tmp_path: Path):
    given = table(select=[1, 2]).assign(**{"2026年": [3, 4], "metrics:area": [5, 6], "metrics_area": [7, 8]})
    note, layer = write_layer(given, tmp_path / "2026图斑.gdb", layer="2026图斑")
    found = read(tmp_path / "2026图斑.gdb")
    told = dict(pair.split(" → ") for pair in note.removesuffix(".").partition(": ")[2].split(", "))
    assert set(told) == {"select", "2026年", "metrics:area"}
    assert all(found[new].tolist() == given[old].tolist() for old, new in told.items())
    assert pyogrio.list_layers(tmp_path / "2026图斑.gdb")[0, 0] in layer


def test_times_and_truths_are_written(tmp_path: Path):
    when = pd.Series([pd.Timestamp("2024-06-01T10:30Z"), None], dtype="datetime64[ms, UTC]")
    for suffix in SUFFIXES:
        write_layer(table(when=when, dry=[True, False]), tmp_path / f"p{suffix}", layer="p")
        found = read(tmp_path / f"p{suffix}")
        assert pd.Timestamp(found["when"].iloc[0]) == when[0] and pd.isna(found["when"].iloc[1])
        assert found["dry"].astype(bool).tolist() == [True, False]


@pytest.mark.parametrize("suffix", [".gpkg", ".gdb", ".shp"])
def test_names_that_drivers_use_themselves_stay_columns(tmp_path: Path, suffix: str):
    own = {"fid": ["x", "x"], "OBJECTID": [7, 7], "SHAPE": ["a", "b"], "geom": [1, 2]}
    write_layer(table(**own), tmp_path / f"p{suffix}", layer="p")
    found = read(tmp_path / f"p{suffix}")
    assert {name: found[name].tolist() for name in own} == own


def test_a_letter_that_gbk_lacks_is_named_and_nothing_is_written(tmp_path: Path):
    with pytest.raises(OutputError, match="GBK has no letter '𠮷' \\(in '𠮷田村'\\); give encoding='UTF-8'"):
        write_layer(table(坐落=["𠮷田村", "b"]), tmp_path / "p.shp", layer="p", encoding="GBK")
    assert list(tmp_path.iterdir()) == []
    write_layer(table(坐落=["𠮷田村", "b"]), tmp_path / "p.shp", layer="p", encoding="UTF-8")
    assert read(tmp_path / "p.shp")["坐落"].iloc[0] == "𠮷田村"


def test_an_index_of_an_earlier_shapefile_goes(tmp_path: Path):
    """A reader would search the new polygons in the tree of the old ones."""
    for old in ("p.qix", "p.sbn", "p.shp.xml"):
        (tmp_path / old).write_bytes(b"old")
    (tmp_path / "p.txt").write_bytes(b"mine")
    write_layer(table(), tmp_path / "p.shp", layer="p")
    assert {each.name for each in tmp_path.iterdir()} == {"p.shp", "p.shx", "p.dbf", "p.prj", "p.cpg", "p.txt"}


@pytest.mark.parametrize(
    ("name", "encoding", "message"),
    [
        ("p.kml", None, "no format has this suffix; use .shp, .gdb"),
        ("p.gpkg", "GBK", "p.gpkg is always in UTF-8"),
        ("p.shp", "BIG5", "'BIG5' is not known; use GBK or UTF-8"),
        ("file/p.shp", None, "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, name: str, encoding: str | None, message: str):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=message):
        write_layer(table(), tmp_path / name, layer="p", encoding=encoding)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_qgis_opens_every_format(tmp_path: Path):
    for suffix in (".shp", ".gdb", ".gpkg", ".geojson"):
        out = tmp_path / f"图斑{suffix}"
        write_layer(table(), out, layer="图斑", style=parcels_style(pixel=1.0))
        found = real_qgis.opened(out, "图斑")
        assert found["valid"] and found["count"] == 2 and found["first"]["坐落"] == "李家村"
        assert found["default"] == (suffix == ".gpkg")
    numbers = np.unique(shapely.get_coordinates(read(tmp_path / "图斑.gdb").geometry.to_numpy()))
    assert (numbers == np.round(numbers, 4)).all(), "a file geodatabase rounds to a tenth of a millimetre"
