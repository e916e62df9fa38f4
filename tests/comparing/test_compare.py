"""Polygons edited by known amounts are found and measured; the tables add up; nothing of a file is lost."""

import itertools
import json
import re
import sqlite3
import struct
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import rasterio
import rasterio.warp
import shapely
from affine import Affine
from rasterio.features import rasterize

import cropland
from cropland.comparing.compare import Comparison, compare
from cropland.comparing.polygons import PolygonOptions
from cropland.demo import FIELDS
from cropland.errors import GridError, InputError, LabelError, OutputError, SceneError
from cropland.evaluation.subject import SubjectOptions
from rasters import write_raster

CRS = "EPSG:32615"
KNOWN = PolygonOptions(background="known")


@pytest.fixture(scope="module")
def fields() -> gpd.GeoDataFrame:
    """The fields of the sample that are larger than 0.3 ha, in metres."""
    frame = gpd.read_file(FIELDS).to_crs(CRS)[["geometry"]]
    frame = frame[frame.area > 3000].reset_index(drop=True)
    return frame.assign(DLBM="0103", name=[f"field {number}" for number in range(len(frame))])


@pytest.fixture(scope="module")
def mask(fields: gpd.GeoDataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map on which exactly these fields are cropland."""
    return drawn(fields, tmp_path_factory.mktemp("map") / "mask.tif")


@pytest.fixture(scope="module")
def small_map(quarter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A map of a quarter of the sample by the model that ships."""
    return cropland.map(quarter, tmp_path_factory.mktemp("small") / "map").folder


def drawn(fields: gpd.GeoDataFrame, out: Path, *, at: gpd.GeoDataFrame | None = None) -> Path:
    west, south, east, north = (fields if at is None else at).total_bounds
    shape = int(north - south) + 200, int(east - west) + 200
    affine = Affine(1, 0, west - 100, 0, -1, north + 100)
    values = rasterize(fields.geometry, shape, transform=affine, dtype="uint8")
    return write_raster(out, values, crs=CRS, transform=affine)


def largest(fields: gpd.GeoDataFrame, place: int) -> int:
    return int(fields.area.nlargest(place + 1).index[place])


def saved(frame: gpd.GeoDataFrame, folder: Path) -> Path:
    frame.to_file(folder / "survey.gpkg")
    return folder / "survey.gpkg"


def test_the_same_fields_have_neither_gain_nor_loss(fields, mask, tmp_path: Path):
    found = compare(saved(fields, tmp_path), mask, options=KNOWN)
    assert found["changes"] == {kind: {"count": 0, "area_ha": 0.0} for kind in ("gain", "loss")}
    assert found["total"]["disagreeing"] == 0
    assert found.polygons["ground_ha"].to_numpy() == pytest.approx(fields.area / 1e4, rel=1e-3)  # UTM's own scale
    # By the centres of pixels a mask has half a pixel of the outline too much or too little.
    assert found["total"]["cropland_ha"] == pytest.approx(found["total"]["ground_ha"], rel=0.005)


def test_a_removed_field_is_a_gain(fields, mask, tmp_path: Path):
    gone = largest(fields, 3)
    found = compare(saved(fields.drop(index=gone), tmp_path), mask, options=KNOWN)
    (change,) = found.changes.itertuples()
    assert change.kind == "gain"
    assert change.area_ha == pytest.approx(fields.area[gone] / 1e4, rel=0.01)
    assert change.area_mu == pytest.approx(15 * change.area_ha)
    assert pd.isna(change.code) and pd.isna(change.polygon)


def test_ground_in_no_polygon_is_no_gain_unless_it_is_known(fields, mask, tmp_path: Path):
    found = compare(saved(fields.drop(index=largest(fields, 3)), tmp_path), mask)
    assert found.changes.empty


def test_a_new_field_is_a_loss(fields, tmp_path: Path):
    new = largest(fields, 2)
    mask = drawn(fields.drop(index=new), tmp_path / "mask.tif", at=fields)
    found = compare(saved(fields, tmp_path), mask, options=PolygonOptions(id="name"))
    (change,) = found.changes.itertuples()
    assert (change.kind, change.code, change.polygon) == ("loss", "0103", f"field {new}")
    assert change.shared == pytest.approx(1, abs=0.01)
    assert change.area_ha == pytest.approx(fields.area[new] / 1e4, rel=0.01)
    row = found.polygons.loc[new]
    assert (row["rank"], row["cropland_share"], row["loss_ha"]) == (1, 0, pytest.approx(row["ground_ha"]))


def test_a_grown_field_loses_its_rim(fields, mask, tmp_path: Path):
    free = (n for n in fields.index if fields.geometry[n].buffer(25).disjoint(fields.drop(index=n).union_all()))
    one = next(free)
    grown = fields.geometry.copy()
    grown[one] = grown[one].buffer(20)
    found = compare(saved(fields.set_geometry(grown), tmp_path), mask)
    assert (found.changes["kind"] == "loss").all()
    assert found.changes["area_ha"].sum() == pytest.approx((grown[one].area - fields.area[one]) / 1e4, rel=0.01)


def test_a_moved_field_is_a_loss_here_and_a_gain_there(fields, mask, tmp_path: Path):
    one = fields.area.nsmallest(6).index[-1]
    around = fields.union_all().buffer(5)
    inside = shapely.box(*fields.total_bounds)
    steps = itertools.product(range(-900, 900, 20), repeat=2)
    places = (shapely.affinity.translate(fields.geometry[one], *step) for step in steps)
    moved = fields.geometry.copy()
    moved[one] = next(place for place in places if place.within(inside) and place.disjoint(around))
    found = compare(saved(fields.set_geometry(moved), tmp_path), mask, options=KNOWN)
    area = found.changes.groupby("kind")["area_ha"].sum()
    assert area.to_dict() == pytest.approx(dict.fromkeys(("gain", "loss"), fields.area[one] / 1e4), rel=0.01)


def test_a_field_of_another_code_is_a_gain_with_this_code(fields, mask, tmp_path: Path):
    one = largest(fields, 1)
    survey = fields.assign(DLBM=fields["DLBM"].where(fields.index != one, "0301"))
    found = compare(saved(survey, tmp_path), mask)
    (change,) = found.changes.itertuples()
    assert (change.kind, change.code, change.polygon) == ("gain", "0301", str(one + 1))
    assert change.area_ha == pytest.approx(fields.area[one] / 1e4, rel=0.01)
    row = found.polygons.loc[one]
    assert (row["coded"], row["rank"]) == ("other", 1) and row["disagreement"] > 0.98


@pytest.mark.parametrize("background", ["known", "unknown"])
@pytest.mark.parametrize(("right", "down"), [(2, 0), (-1.5, 1.3), (0, -2), (5, 3)])
def test_a_shift_makes_neither_gain_nor_loss_and_is_told(right, down, background, fields, mask, tmp_path: Path):
    moved = fields.set_geometry(fields.geometry.translate(right, -down))
    found = compare(saved(moved, tmp_path), mask, options=PolygonOptions(background=background))
    assert found.changes.empty
    assert found["shift"]["is_measured"]
    assert (found["shift"]["right_px"], found["shift"]["down_px"]) == pytest.approx((right, down), abs=0.3)
    assert found["rule"]["min_width_m"] == pytest.approx(2 + np.hypot(right, down), abs=0.3)
    bearing = np.degrees(np.arctan2(right, -down)) % 360
    (told,) = (note for note in found["notes"] if "outlines lie" in note)
    assert float(re.search(r"towards (\d+)°", told)[1]) == pytest.approx(bearing, abs=10)


def test_a_shift_is_told_in_metres_of_the_ground(fields, mask, tmp_path: Path):
    """The same map in degrees, south up: its pixels are narrower than they are high."""
    with rasterio.open(mask) as file:
        bounds = rasterio.warp.transform_bounds(file.crs, "EPSG:4326", *file.bounds)
        height, width = file.shape
    affine = Affine((bounds[2] - bounds[0]) / width, 0, bounds[0], 0, (bounds[3] - bounds[1]) / height, bounds[1])
    degrees = fields.to_crs(4326)
    values = rasterize(degrees.geometry, (height, width), transform=affine, dtype="uint8")
    north_up = write_raster(tmp_path / "degrees.tif", values, crs="EPSG:4326", transform=affine)
    moved = fields.set_geometry(fields.geometry.translate(3, 4)).to_crs(4326)
    found = compare(saved(moved, tmp_path), north_up, options=KNOWN)
    assert (found["shift"]["east_m"], found["shift"]["north_m"]) == pytest.approx((3, 4), abs=0.4)
    assert found.changes.empty


def test_a_shift_is_measured_where_polygons_are(fields, tmp_path: Path):
    """A map of a hundred windows, with polygons in a few of them."""
    west, _south, _east, north = fields.total_bounds
    affine = Affine(1, 0, west - 2600, 0, -1, north + 2600)
    values = rasterize(fields.geometry, (5632, 5632), transform=affine, dtype="uint8")
    mask = write_raster(tmp_path / "mask.tif", values, crs=CRS, transform=affine, compress="deflate")
    found = compare(saved(fields.set_geometry(fields.geometry.translate(6, 0)), tmp_path), mask, options=KNOWN)
    assert found["shift"]["right_px"] == pytest.approx(6, abs=0.3) and found.changes.empty


def test_between_two_maps_the_code_does_not_matter(fields, mask, tmp_path: Path):
    gone, new = largest(fields, 1), largest(fields, 3)
    later = drawn(fields.drop(index=gone), tmp_path / "later.tif", at=fields)
    earlier = drawn(fields.drop(index=new), tmp_path / "earlier.tif", at=fields)
    found = compare(
        saved(fields.assign(DLBM="0201"), tmp_path),
        earlier,
        later,
        options=PolygonOptions(code="DLBM", cropland_codes=("0201",)),
    )
    kinds = found.changes.set_index("kind")["area_ha"]
    assert kinds["loss"] == pytest.approx(fields.area[gone] / 1e4, rel=0.01)
    assert kinds["gain"] == pytest.approx(fields.area[new] / 1e4, rel=0.01)
    polygons = found.polygons
    assert polygons["loss_ha"][gone] == pytest.approx(polygons["ground_ha"][gone], rel=0.01)
    assert polygons["gain_ha"][new] == pytest.approx(polygons["ground_ha"][new], rel=0.01)
    assert polygons["earlier_cropland_ha"][new] == pytest.approx(0, abs=0.01)
    assert polygons["gain_ha"].drop(new).sum() + polygons["loss_ha"].drop(gone).sum() == pytest.approx(0, abs=0.02)


def test_a_later_map_on_another_grid_is_laid_on_it(fields, mask, tmp_path: Path):
    with rasterio.open(mask) as file:
        values, affine = file.read(1), file.transform
    coarse = write_raster(tmp_path / "coarse.tif", values[::2, ::2], crs=CRS, transform=affine @ Affine.scale(2))
    found = compare(saved(fields, tmp_path), coarse, mask)
    assert found["total"]["gain_ha"] + found["total"]["loss_ha"] < 0.02 * found["total"]["ground_ha"]
    assert found.changes.empty


def test_ground_without_data_and_ground_outside_are_unknown(fields, tmp_path: Path):
    values = np.ones((300, 400), np.uint8)
    values[:, 300:] = 255
    mask = write_raster(tmp_path / "mask.tif", values, crs=CRS, transform=Affine(1, 0, 5e5, 0, -1, 5e6))
    shapes = [shapely.box(5e5 + left, 5e6 - 150, 5e5 + left + 100, 5e6 - 50) for left in (10.25, 250.5, 350, -60.75)]
    survey = saved(gpd.GeoDataFrame({"number": range(4)}, geometry=shapes, crs=CRS), tmp_path)
    table = compare(survey, mask, options=KNOWN).polygons
    assert table["unknown_share"].to_numpy() == pytest.approx([0, 0.505, 1, 0.6075], abs=1e-6)
    assert table["cropland_share"].to_numpy() == pytest.approx([1, 1, np.nan, 1], nan_ok=True)
    assert table["rank"].isna().tolist() == [False, False, True, False]


def test_every_row_and_column_of_the_file_is_kept(fields, mask, tmp_path: Path):
    bow_tie = shapely.Polygon([(0, 0), (100, 100), (100, 0), (0, 100)])
    bow_tie = shapely.affinity.translate(bow_tie, *fields.geometry[0].centroid.coords[0])
    shapes = [*fields.geometry[:3], bow_tie, None]
    survey = gpd.GeoDataFrame(
        {
            "地类": ["水田", "旱地", "水田", None, "林地"],
            "count": pd.array([1, None, 3, 4, 5], "Int64"),
            "Rank": [9.5, 8.5, 7.5, 6.5, 5.5],
            "seen": pd.to_datetime(["2024-05-01", None, None, "2024-06-01", None]),
        },
        geometry=shapes,
        crs=CRS,
    )
    options = PolygonOptions(code="地类", cropland_codes=("水田", "旱地"))
    found = compare(saved(survey, tmp_path), mask, options=options)
    for table in (found.polygons, gpd.read_file(found.folder / "polygons.gpkg", layer="polygons")):
        assert table["地类"].fillna("").tolist() == ["水田", "旱地", "水田", "", "林地"]
        assert table["count"].isna().tolist() == [False, True, False, False, False]
        assert table["Rank_given"].tolist() == [9.5, 8.5, 7.5, 6.5, 5.5]
        assert table["coded"].isna().tolist() == [False, False, False, True, False]
        assert table.geometry[4] is None and table.geometry[3].is_valid
        assert table["verdict"].isna().all()
    text = (found.folder / "polygons.csv").read_text(encoding="utf-8-sig").splitlines()
    assert len(text) == 6 and text[0].startswith("地类,count,Rank_given,seen,coded,")
    notes = " ".join(found["notes"])
    assert "1 polygons of survey.gpkg have no code" in notes
    assert "1 polygons of survey.gpkg were not valid and are repaired" in notes
    assert "1 features of survey.gpkg have no area" in notes and "Rank_given" in notes


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg", ".feather"])
def test_names_and_types_of_columns_are_kept_as_far_as_formats_allow(suffix, fields, mask, tmp_path: Path):
    """What broke: names that formats use themselves, cases of letters, unsigned and decimal numbers, domains, times."""
    survey = fields.assign(
        geom="a",
        bbox=1.5,
        rank=1,
        RANK_given="b",
        unsigned=np.arange(len(fields), dtype="uint32"),
        price=pd.array([Decimal("1.25")] * len(fields), pd.ArrowDtype(pa.decimal128(9, 2))),
        kind=pd.Categorical(["x", "y"] * (len(fields) // 2) + ["x"] * (len(fields) % 2)),
        when=pd.Timestamp("2024-05-01 10:00", tz="UTC"),
    ).rename_geometry("shape")
    path = tmp_path / f"survey{suffix}"
    if suffix == ".gpkg":
        survey.drop(columns=["geom", "price"]).astype({"unsigned": "int64", "kind": "str"}).to_file(path)
    else:
        getattr(survey, f"to_{suffix[1:]}")(path)
    found = compare(path, mask, options=PolygonOptions(by=("kind", "when", "kind")))
    names = {*found.polygons.columns}
    assert {"bbox_given", "rank_given", "RANK_given_given", "unsigned", "kind"} <= names
    assert found.polygons["unsigned"].tolist() == [*range(len(fields))]
    assert [*found["by"]] == ["kind", "when"] and sum(row["polygons"] for row in found["by"]["kind"]) == len(fields)
    if suffix != ".gpkg":
        assert {"geom_given", "price"} <= names
    again = compare(found.folder / "polygons.gpkg", mask)
    third = compare(again.folder / "polygons.gpkg", mask)
    assert {"verdict_given", "verdict_given2"} <= {*third.polygons.columns}


def test_codes_of_a_domain_are_codes(fields, mask, tmp_path: Path):
    path = saved(fields.assign(code=[11, 12, 31] * (len(fields) // 3) + [11] * (len(fields) % 3)), tmp_path)
    with closing(sqlite3.connect(path)) as file, file:
        file.executescript(
            """CREATE TABLE gpkg_data_column_constraints (constraint_name TEXT, constraint_type TEXT, value TEXT,
                 min NUMERIC, min_is_inclusive BOOLEAN, max NUMERIC, max_is_inclusive BOOLEAN, description TEXT);
               CREATE TABLE gpkg_data_columns (table_name TEXT, column_name TEXT, name TEXT, title TEXT,
                 description TEXT, mime_type TEXT, constraint_name TEXT);
               INSERT INTO gpkg_data_columns VALUES ('survey', 'code', NULL, NULL, NULL, NULL, 'use');
               INSERT INTO gpkg_data_column_constraints VALUES
                 ('use', 'enum', '11', NULL, NULL, NULL, NULL, 'paddy'),
                 ('use', 'enum', '12', NULL, NULL, NULL, NULL, 'dry'),
                 ('use', 'enum', '31', NULL, NULL, NULL, NULL, 'wood');
               INSERT INTO gpkg_extensions VALUES ('gpkg_data_columns', NULL, 'gpkg_schema', 'x', 'read-write'),
                 ('gpkg_data_column_constraints', NULL, 'gpkg_schema', 'x', 'read-write');"""
        )
    options = PolygonOptions(code="code", cropland_codes=("11,12",))
    coded = compare(path, mask, options=options).polygons
    assert coded["code"].astype(int).tolist()[:3] == [11, 12, 31]
    assert coded["coded"].tolist()[:3] == ["cropland", "cropland", "other"]


def test_curves_are_compared_as_lines(fields, mask, tmp_path: Path):
    """A circle as a CurvePolygon of a CircularString: kinds 10 and 8 of ISO 13249-3, in the blob of a GeoPackage."""
    x, y = fields.geometry[largest(fields, 0)].representative_point().coords[0]
    path = tmp_path / "curve.gpkg"
    gpd.GeoDataFrame(geometry=[shapely.Point(x, y).buffer(1)], crs=CRS).to_file(path, SPATIAL_INDEX="NO")
    arc = np.array([(-30, 0), (0, 30), (30, 0), (0, -30), (-30, 0)]) + np.array([x, y])
    wkb = struct.pack("<BIIBII", 1, 10, 1, 1, 8, len(arc)) + arc.astype("<f8").tobytes()
    with closing(sqlite3.connect(path)) as file, file:
        blob = struct.pack("<2sBBi", b"GP", 0, 1, 32615) + wkb
        file.execute("UPDATE curve SET geom = ?", (blob,))
        file.execute("UPDATE gpkg_geometry_columns SET geometry_type_name = 'CURVEPOLYGON'")
    found = compare(path, mask)
    assert found.polygons["ground_ha"][0] == pytest.approx(np.pi * 0.09, rel=0.01)


def test_features_that_are_nowhere_on_the_earth_keep_their_row(fields, mask, tmp_path: Path):
    shapes = [fields.geometry[0], shapely.box(1e12, 0, 2e12, 1), shapely.box(0, 3e8, 1, 4e8)]
    found = compare(saved(gpd.GeoDataFrame(geometry=shapes, crs=CRS), tmp_path), mask)
    assert found.polygons["ground_ha"].to_numpy() == pytest.approx([fields.geometry[0].area / 1e4, 0, 0], rel=1e-3)
    assert any("2 features of survey.gpkg have no area on the Earth" in note for note in found["notes"])
    degrees = [
        shapely.box(-93.8, 45.3, -93.7, 1000),
        shapely.box(-93.8, 45.33, -93.79, 45.34),
        shapely.box(-179, -89, 179, 89),
    ]
    found = compare(saved(gpd.GeoDataFrame(geometry=degrees, crs=4326), tmp_path), mask)
    assert found.polygons["ground_ha"][0] == 0 < found.polygons["cropland_ha"][1]
    assert found.polygons["cropland_ha"][2] == pytest.approx(
        compare(saved(fields, tmp_path), mask)["total"]["cropland_ha"], rel=0.01
    )


def test_columns_whose_names_no_file_may_have(fields, mask, tmp_path: Path):
    survey = saved(fields.assign(**{"区/县": "a", "区:县": "b"}), tmp_path)
    found = compare(survey, mask, options=PolygonOptions(by=("区/县", "区:县")))
    assert {path.name for path in found.folder.glob("by_*")} == {"by_区_县.csv", "by_区_县_2.csv"}


def test_sums_by_a_column_are_those_of_its_rows(fields, mask, tmp_path: Path):
    survey = saved(fields.assign(village=[f"村 {number % 3}" for number in range(len(fields))]), tmp_path)
    found = compare(survey, mask, options=PolygonOptions(by=("village",)))
    sums, table = found.by("village").set_index("value"), found.polygons
    assert sums["polygons"].sum() == len(fields)
    for name in ("ground_ha", "cropland_ha", "loss_ha"):
        assert sums[name].to_dict() == pytest.approx(table.groupby("village")[name].sum().to_dict())
        assert sums[name].sum() == pytest.approx(found["total"][name])
    changes = compare(survey, mask, options=PolygonOptions(by=("village",)))  # there are none
    assert changes.by("village")["gained_ha"].tolist() == [0, 0, 0]
    gone = largest(fields, 2)
    survey = fields.assign(village=[f"村 {number % 3}" for number in range(len(fields))]).drop(index=gone)
    survey.loc[largest(fields, 5), "DLBM"] = "0201"
    partly = compare(saved(survey, tmp_path), mask, options=PolygonOptions(by=("village",), background="known"))
    table = partly.by("village")
    assert table["value"].isna().tolist() == [False, False, False, True], "what lies in no polygon comes last"
    assert table["gained_ha"].iloc[-1] == pytest.approx(fields.area[gone] / 1e4, rel=0.01)
    assert table["gained_ha"].sum() == pytest.approx(partly["changes"]["gain"]["area_ha"])
    assert (found.folder / "by_village.csv").read_text(encoding="utf-8-sig").startswith("village,ground_ha")


def test_insured_areas_against_planted_ones(tmp_path: Path):
    """Four plots of a hectare side by side: half planted, planted, bare, planted; the last without insurance."""
    values = np.zeros((140, 460), np.uint8)
    values[20:120, 20:70] = values[20:120, 130:230] = values[20:120, 348:448] = 1
    mask = write_raster(tmp_path / "mask.tif", values, crs=CRS, transform=Affine(1, 0, 5e5, 0, -1, 5e6))
    shapes = [shapely.box(5e5 + left, 5e6 - 120, 5e5 + left + 100, 5e6 - 20) for left in (20, 130, 240, 348)]
    plots = {"mu": ["15", "15", "7.5", ""], "owner": ["li", "wang", "li", "li"], "insurer": ["a", "a", "b", "b"]}
    survey = saved(gpd.GeoDataFrame(plots, geometry=shapes, crs=CRS), tmp_path)
    options = PolygonOptions(insured_mu="mu", owner="owner", by=("insurer",))
    found = compare(survey, mask, options=options)
    table = found.polygons
    assert table["insured_ha"].tolist() == [1, 1, 0.5, 0]
    assert table["over_insured_ha"].to_numpy() == pytest.approx([0.5, 0, 0.5, 0], abs=0.002)
    assert table["insured_not_cropland_ha"].tolist() == [0, 0, 0.5, 0]
    assert table["uninsured_neighbour_ha"].to_numpy() == pytest.approx([0, 0, 0, 1], abs=0.002), (
        "8 m from li's bare one"
    )
    assert found.by("insurer")["insured_ha"].tolist() == [2, 0.5]
    far = plots | {"owner": ["li", "wang", "wang", "li"]}
    survey = saved(gpd.GeoDataFrame(far, geometry=shapes, crs=CRS), tmp_path)
    assert compare(survey, mask, options=options).polygons["uninsured_neighbour_ha"].sum() == 0


def test_fields_of_the_map_are_counted_where_most_of_them_lies(small_map: Path, tmp_path: Path):
    parcels = gpd.read_parquet(small_map / "parcels.parquet")
    one, two = parcels.geometry.iloc[0], parcels.geometry.iloc[1]
    everything = shapely.box(*parcels.total_bounds)
    survey = gpd.GeoDataFrame({"n": range(3)}, geometry=[one, shapely.union(one, two), everything], crs=parcels.crs)
    table = compare(saved(survey, tmp_path), small_map, options=KNOWN).polygons
    assert table["fields"].tolist() == [1, 2, len(parcels)]
    assert table["mean_field_ha"][2] == pytest.approx(parcels["area_ha"].mean(), rel=1e-3)
    assert table["mean_probability"].between(0, 1).all()


def test_a_comparison_is_kept_with_its_project(fields, mask, tmp_path: Path):
    found = compare(saved(fields, tmp_path), mask)
    kept = found.save(tmp_path / "kept")
    assert {path.name for path in kept.folder.iterdir()} == {
        *("polygons.gpkg", "polygons.parquet", "polygons.csv", "changes.gpkg", "changes.parquet"),
        *("report.html", "comparison.json", "compare.qgs"),
    }
    assert isinstance(kept, Comparison) and kept.polygons.equals(found.polygons)
    assert json.loads((kept.folder / "comparison.json").read_text(encoding="utf-8"))["total"] == found["total"]
    with pytest.raises(OutputError, match="holds a comparison already"):
        found.save(tmp_path / "kept")
    found.save(tmp_path / "kept", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="no comparison"):
        compare(tmp_path / "survey.gpkg", mask, out=tmp_path / "other", overwrite=True)


BAD = {
    "no column": (
        PolygonOptions(code="DLMC", cropland_codes=("1",)),
        LabelError,
        "no column 'DLMC'; it has DLBM, name",
    ),
    "no codes": (PolygonOptions(code="name"), InputError, "which values of name are cropland"),
    "other codes": (PolygonOptions(cropland_codes=("0201",)), LabelError, "no polygon of .* 0201 .*0103"),
    "twice": (PolygonOptions(id="DLBM"), LabelError, "DLBM 0103 more than once"),
    "no area": (PolygonOptions(insured_ha="name"), LabelError, "field 0, .* in name, expected areas"),
    "no insurance": ({"owner": "name"}, InputError, "owner= finds plots"),
    "both": ({"insured_ha": "a", "insured_mu": "b"}, InputError, "name the same area"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused(name, fields, mask, tmp_path: Path):
    options, error, words = BAD[name]
    with pytest.raises(error, match=words):
        compare(
            saved(fields, tmp_path),
            mask,
            out=tmp_path / "out",
            options=PolygonOptions(**options) if isinstance(options, dict) else options,
        )
    assert not (tmp_path / "out").exists()


def test_places_that_do_not_fit_are_refused(fields, mask, tmp_path: Path):
    far = saved(fields.set_geometry(fields.geometry.translate(50_000, 0)), tmp_path)
    with pytest.raises(LabelError, match=r"no polygon of survey\.gpkg lies on the map mask"):
        compare(far, mask)
    fields.set_crs(None, allow_override=True).to_file(tmp_path / "bare.shp")
    with pytest.raises(LabelError, match="no coordinate reference system"):
        compare(tmp_path / "bare.shp", mask)
    xian = saved(fields.set_crs("EPSG:4610", allow_override=True), tmp_path)
    with pytest.raises(GridError, match="Xian"):
        compare(xian, mask)
    bare = write_raster(tmp_path / "bare.tif", np.ones((9, 9), np.uint8), crs=None, transform=Affine.identity())
    with pytest.raises((GridError, SceneError)):
        compare(far, bare, reading=SubjectOptions(pixel_m=1))
