"""`cropland deliver` from outside: what goes in, what lies in the files, and what is refused."""

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

import cropland
import real_qgis
from cropland import cli
from cropland.delivering.deliver import deliver
from cropland.errors import GridError, InputError, LabelError, OutputError
from cropland.geo.area import ellipsoidal_area_m2
from delivering.small_coverage import EDGE, cells, series, square

FAR = [shapely.box(-70, -33, -69, -32)]


def write(path: Path, shapes: object, *, crs: int | None = 32650, layer: str | None = None, **columns: object) -> Path:
    gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs).to_file(path, layer=layer)
    return path


@pytest.fixture
def parcels(tmp_path: Path) -> Path:
    """Three in a row, of which the last lies in no village."""
    shapes = [square(0, 0, 100, 100), square(100, 0, 200, 100), square(200, 0, 300, 100)]
    return write(tmp_path / "parcels.gpkg", shapes, KCXS=[0.1, 0.2, None], 地类=["旱地", "水田", "旱地"])


@pytest.fixture
def villages(tmp_path: Path) -> Path:
    """Two in degrees, with the border through the second parcel, 1 mm beside its middle at most."""
    shapes = series([square(-50, -50, 150, 150), square(150, -50, 200, 150)]).to_crs(4490)
    return write(tmp_path / "villages.gpkg", shapes, crs=4490, ZLDWMC=["李家村", "王庄"], 系数=[0.05, 0.06])


def test_parcels_are_cut_named_measured_and_written(tmp_path: Path, parcels: Path, villages: Path, capsys):
    out = tmp_path / "DLTB.shp"
    words = ["deliver", parcels, "--out", out, "--by", villages, "--name", "ZLDWMC", "--encoding", "GBK"]
    words += ["--deduction", "KCXS", "--code", "DLBM=0103", "--drop", "地类"]
    for old, new in {"area_m2": "TBMJ", "deduction": "KCXS", "net_m2": "TBDLMJ", "region": "ZLDWMC"}.items():
        words += ["--rename", f"{old}={new}"]
    assert cli.main([*map(str, words)]) == 0
    shown = capsys.readouterr().out
    assert "in no region: 1 (1.00 ha)" in shown and "without a factor of deduction: 1 (1.00 ha)" in shown
    found = pyogrio.read_dataframe(out)
    assert found["id"].tolist() == ["1", "2-1", "2-2", "3"]
    assert found["ZLDWMC"].iloc[:3].tolist() == ["李家村", "李家村", "王庄"] and pd.isna(found["ZLDWMC"].iloc[3])
    assert found["KCXS"].tolist() == [0.1, 0.2, 0.2, 0.0] and set(found["DLBM"]) == {"0103"}
    gross = ellipsoidal_area_m2(found.geometry)
    assert found["TBMJ"].to_numpy() == pytest.approx(gross, rel=1e-9) and "地类" not in found
    assert gross == pytest.approx([1e4, 5e3, 5e3, 1e4], rel=1e-3)
    assert found["TBDLMJ"].to_numpy() == pytest.approx(gross * [0.9, 0.8, 0.8, 1.0], rel=1e-9)


def test_the_table_of_regions_adds_up(tmp_path: Path, parcels: Path, villages: Path):
    done = deliver(parcels, tmp_path / "d.gpkg", by=villages, name="ZLDWMC", deduction="系数")
    table = pd.read_csv(tmp_path / "d_report" / "regions.csv")
    assert table["region"].tolist() == ["李家村", "王庄", "in no region", "total"]
    assert table["parcels"].tolist() == [2, 1, 1, 4]
    for unit in ("m2", "ha", "mu"):
        for kind, column in (("gross", "area"), ("net", "net")):
            figures = table[f"{kind}_{unit}"]
            assert figures.iloc[-1] == pytest.approx(figures.iloc[:-1].sum(), rel=1e-6)
            assert figures.iloc[-1] == pytest.approx(done.parcels[f"{column}_{unit}"].sum(), rel=1e-6)
    assert table["net_m2"].iloc[0] == pytest.approx(0.95 * table["gross_m2"].iloc[0], rel=1e-9)
    assert (tmp_path / "d_report" / "regions.csv").read_bytes().startswith(b"\xef\xbb\xbf"), "for Excel"


def test_it_is_delivered_in_another_crs_with_the_same_areas(parcels: Path, villages: Path):
    own = deliver(parcels, by=villages, name="ZLDWMC")
    other = deliver(parcels, by=villages, name="ZLDWMC", crs="EPSG:4490")
    assert other.parcels.crs.to_epsg() == 4490
    assert other.regions["gross_m2"].to_numpy() == pytest.approx(own.regions["gross_m2"], rel=1e-6)


def test_villages_of_an_old_shapefile(tmp_path: Path, parcels: Path, villages: Path):
    old = gpd.read_file(villages).rename(columns={"ZLDWMC": "村名"})[["村名", "geometry"]]
    old.to_file(tmp_path / "old.shp", encoding="GBK")
    (tmp_path / "old.cpg").unlink()
    with pytest.raises(LabelError, match="if this is garbled, give encoding='GBK'"):
        deliver(parcels, by=tmp_path / "old.shp", name="村名")
    found = deliver(parcels, by=tmp_path / "old.shp", name="村名", input_encoding="GBK")
    assert "王庄" in set(found.regions["region"])
    numbered = deliver(parcels, by=tmp_path / "old.shp", input_encoding="GBK")
    assert any("its regions are numbered. --name takes one of 村名" in note for note in numbered.notes)


def test_slivers_of_the_cut_are_united_within_their_village(tmp_path: Path):
    """The border leaves 4 m of one parcel on its other side, where the neighbour lies that takes it in."""
    rows = [square(0, 0, 104, 100), square(104, 0, 200, 100), square(300, 0, 302, 10)]
    parcels = write(tmp_path / "p.gpkg", rows)
    by = write(tmp_path / "v.gpkg", [square(-9, -9, 100, 109), square(100, -9, 400, 109)], name=["a", "b"])
    done = deliver(parcels, by=by, min_area_mu=0.9)
    assert done.parcels["id"].tolist() == ["1-1", "2", "3"] and done.parcels["region"].tolist() == ["a", "b", "b"]
    assert shapely.area(done.parcels.geometry.to_numpy()).tolist() == [10_000, 10_000, 20]
    assert "united with a neighbour: 1; slivers that have none in their region and stay: 1 (0.0020 ha)" in " ".join(
        done.notes
    )


def test_a_map_of_the_program_is_delivered_without_an_alarm(tmp_path: Path):
    from cropland.demo import TILE

    result = cropland.Model.open().map(TILE)
    west, south, east, north = result.parcels.total_bounds
    halves = [shapely.box(west, south, (west + east) / 2, north), shapely.box((west + east) / 2, south, east, north)]
    whole = cropland.deliver(result, tmp_path / "whole.parquet")
    assert len(whole.topology) == 0 and len(whole.parcels) == len(result.parcels)
    by = write(tmp_path / "v.gpkg", halves, crs=4326, name=["west", "east"])
    cut = deliver(result.folder, by=by)
    assert cut.parcels["area_ha"].sum() == pytest.approx(result.parcels["area_ha"].sum(), rel=1e-6)
    assert set(cut.parcels["region"]) == {"west", "east"} and len(cut.parcels) > len(result.parcels)
    assert {kind for kind, count in cut.topology.counts().items() if count} <= {"spike", "tiny ring"}
    assert not [name for name in cut.parcels if name.startswith(("metrics:", "determination:"))], "of no office"


def test_the_order_of_the_parcels_does_not_matter(tmp_path: Path):
    shapes, villages = cells(80, seed=8), write(tmp_path / "v.gpkg", cells(6, seed=9), name=[*"abcdef"])
    order = np.random.default_rng(0).permutation(len(shapes))
    found = []
    for name, chosen in (("one", np.arange(len(shapes))), ("other", order)):
        path = write(tmp_path / f"{name}.gpkg", shapes[chosen], id=[f"p{number}" for number in chosen])
        found.append(deliver(path, by=villages, min_area_m2=8000).parcels.set_index("id").sort_index())
    one, other = found
    assert one.index.tolist() == other.index.tolist() and one["region"].tolist() == other["region"].tolist()
    assert one["area_m2"].to_numpy() == pytest.approx(other["area_m2"].to_numpy(), rel=1e-9)
    assert one["area_m2"].sum() == pytest.approx(EDGE**2, rel=2e-3)


def test_faults_of_the_file_are_told_with_its_ids(tmp_path: Path):
    bow = shapely.Polygon([(500_000, 4_000_000), (500_100, 4_000_100), (500_100, 4_000_000), (500_000, 4_000_100)])
    shapes = [bow, square(200, 0, 300, 100), square(299, 0, 400, 100), shapely.Point(500_000, 4_000_000)]
    path = tmp_path / "p.geojson"
    gpd.GeoDataFrame({"id": ["a", "b", "c", "d"]}, geometry=shapes, crs=32650).to_file(path)
    done = deliver(path, tmp_path / "d.gpkg")
    told = json.loads((tmp_path / "d_report" / "topology.json").read_text(encoding="utf-8"))["kinds"]
    assert told["invalid"]["count"] == 1 and told["invalid"]["worst"][0]["ids"] == ["a"]
    assert told["overlap"]["worst"][0]["ids"] == ["b", "c"]
    assert done.parcels["id"].tolist() == ["a-1", "a-2", "b", "c"], "what is repaired has two parts"
    assert "without an area, which are left out: 1" in " ".join(done.notes)


def test_ids_that_are_repeated_are_told_and_numbered(tmp_path: Path):
    path = write(tmp_path / "p.gpkg", [square(0, 0, 50, 50), square(60, 0, 99, 50)], id=["7", "7"])
    done = deliver(path)
    assert done.parcels["id"].tolist() == ["1", "2"] and "column id has values that are missing" in done.notes[0]


def test_qgis_opens_the_delivery_in_its_style(tmp_path: Path, parcels: Path):
    deliver(parcels, tmp_path / "DLTB.gpkg")
    found = real_qgis.opened(tmp_path / "DLTB.gpkg", "DLTB")
    assert found["valid"] and found["count"] == 3 and found["default"] and found["first"]["地类"] == "旱地"
    assert found["symbol"]["style"] == "no" and float(found["symbol"]["outline_width"]) == pytest.approx(5)


def test_regions_of_one_name_are_one(tmp_path: Path, parcels: Path):
    halves = [square(0, 0, 150, 100), square(150, 0, 300, 100)]
    by = write(tmp_path / "v.gpkg", halves, name=["a", "a"], 系数=[0.1, 0.2])
    done = deliver(parcels, by=by)
    assert done.parcels["id"].tolist() == ["1", "2", "3"] and done.regions["region"].tolist() == ["a", "total"]
    with pytest.raises(LabelError, match="several values of 系数 for the region a"):
        deliver(parcels, by=by, deduction="系数")


def test_a_delivery_is_not_replaced_unasked(tmp_path: Path, parcels: Path):
    out = tmp_path / "d.gdb"
    deliver(parcels, out)
    with pytest.raises(OutputError, match=r"d\.gdb is there already; give another out= or report=, or overwrite=True"):
        deliver(parcels, out)
    deliver(parcels, out, overwrite=True)
    assert len(pyogrio.read_dataframe(out)) == 3
    with pytest.raises(OutputError, match=r"topology\.json is there already"):
        deliver(parcels, tmp_path / "d.shp", report=tmp_path / "d_report")


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ({"out": "d.kml"}, OutputError, "no format has this suffix; use .shp, .gdb, .gpkg"),
        ({"out": "d.gpkg", "encoding": "GBK"}, OutputError, "always in UTF-8"),
        ({"name": "ZLDWMC"}, InputError, "by="),
        ({"by": "villages.gpkg", "name": "XZQMC"}, LabelError, "no column 'XZQMC'; it has ZLDWMC, 系数"),
        ({"by": "far.gpkg"}, LabelError, "far.gpkg covers none of the 3 parcels"),
        ({"by": "nowhere.gpkg"}, LabelError, "nowhere.gpkg has no coordinate reference system"),
        (
            {"by": "villages.gpkg", "deduction": "KC"},
            LabelError,
            "deduction='KC' is no number and no column",
        ),
        ({"deduction": "1.5"}, InputError, "deduction='1.5' is no factor of 0 to 1"),
        ({"deduction": "面积"}, LabelError, "there are id, KCXS, 地类"),
        ({"min_area_m2": 1, "min_area_mu": 1}, InputError, "give one of them"),
        ({"rename": {"KCXS": "地类"}}, InputError, "two columns would be called 地类"),
        ({"code": ["DLBM"]}, InputError, "wants NAME=VALUE"),
        ({"drop": ["面积"]}, InputError, "drop='面积': there is no such column"),
        ({"report": "parcels.gpkg", "out": "d.gpkg"}, OutputError, "is a file; give a folder as report="),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, parcels: Path, villages: Path, how: dict, kind: type, message: str, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write(Path("far.gpkg"), FAR, crs=4490, name=["far"])
    write(Path("nowhere.gpkg"), [square(0, 0, 9, 9)], crs=None)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(kind, match=message):
        deliver(parcels, **how)
    assert sorted(tmp_path.iterdir()) == before


def test_parcels_and_frames_that_cannot_be_used(tmp_path: Path, villages: Path):
    with pytest.raises(LabelError, match="has no coordinate reference system"):
        deliver(write(tmp_path / "p.gpkg", [square(0, 0, 9, 9)], crs=None))
    with pytest.raises(LabelError, match="is not there"):
        deliver(tmp_path / "none.gpkg")
    old = write(tmp_path / "old.gpkg", [square(0, 0, 9, 9)], crs=2349)  # Xi'an 1980
    with pytest.raises(GridError, match="may be off by about 100 m"):
        deliver(old, by=villages)
    wrong = write(tmp_path / "wrong.gpkg", [square(0, 0, 9, 9)], KCXS=[8.5])
    with pytest.raises(LabelError, match=r"KCXS of wrong\.gpkg has values .*: 8\.5; write 6\.5 % as"):
        deliver(wrong, deduction="KCXS")


def test_a_delivery_can_be_delivered_again(tmp_path: Path, parcels: Path, villages: Path):
    deliver(parcels, tmp_path / "one.gpkg", by=villages, name="ZLDWMC", deduction=0.5)
    with pytest.raises(InputError, match="column region already; leave it out with drop='region'"):
        deliver(tmp_path / "one.gpkg", by=villages)
    again = deliver(tmp_path / "one.gpkg", by=villages, name="ZLDWMC", drop=["region"])
    assert again.parcels["id"].tolist() == ["1", "2-1", "2-2", "3"]
    assert "net_m2" not in again.parcels, "of a factor that nobody gave this time"
