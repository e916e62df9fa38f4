"""`cropland map --mosaic`: real scenes of two zones, from files, folders and a server, become one map."""

import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS

from cropland.cli import main
from cropland.errors import GridError, InputError
from cropland.geo.area import pixel_area_m2
from cropland.geo.scene import open_scene
from cropland.geo.window import Window
from cropland.mapping import mosaic as overlaps
from cropland.mapping.map import MapOptions, map_scene
from cropland.mapping.mosaic import (
    Border,
    BorderSums,
    MapPlace,
    check_mosaic,
    choose_crs,
    mosaic,
    mosaic_grid,
    place_in,
    table,
    write_mosaic,
)
from cropland.model import ModelFile
from cropland.parcels.clean import by_threshold, grid_of
from range_server import serving
from rasters import write_raster
from small_maps import UTM50, pattern, save_map
from small_model import save_model

WEST, EAST = Affine(10, 0, 770_000, 0, -10, 4_000_000), Affine(10, 0, 231_500, 0, -10, 4_000_500)
TABLES = {"parcels.parquet", "parcels.gpkg", "parcels.qml"}
PRODUCTS = {"probability.tif", "mask.tif", *TABLES, "overview.png", "map.json", "map.qgs"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_model(tmp_path_factory.mktemp("model") / "small.safetensors", pixel_m=10.0)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """A folder of two scenes, each of its own zone and date."""
    for name, affine, crs, date in (
        ("west", WEST, "EPSG:32650", "2020:05:01 00:00:00"),
        ("east", EAST, "EPSG:32651", "2021:05:01 00:00:00"),
    ):
        save_map(tmp_path / "tiles" / name, pattern((150, 200), affine, crs), affine=affine, crs=crs, taken=date)
    return tmp_path / "tiles"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_map_of_two_maps(tiles: Path, model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["map", str(tiles / "*.tif"), "--model", str(model.path), "--out", str(out)]
    assert main([*words, "--mosaic", "--overlap", "latest"]) == 0
    assert {path.name for path in out.iterdir()} == {"east", "west", "mosaic", "index.gpkg"}
    assert {path.name for path in (out / "mosaic").iterdir()} == PRODUCTS
    told = capsys.readouterr().out
    assert "Each scene is stretched by its own statistics" in told and "common pixels" in told and "mosaic:" in told
    about = read(out / "mosaic" / "map.json")
    assert [scene["observed"][:4] for scene in about["scenes"]] == ["2021", "2020"]
    (border,) = about["borders"]
    assert border["scenes"] == ["east", "west"] and border["pixels"] > 1000 and 0 <= border["difference"] < 0.5
    with rasterio.open(out / "mosaic" / "mask.tif") as mask, rasterio.open(out / "mosaic" / "probability.tif") as file:
        assert mask.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        classes, grid = mask.read(1), grid_of(mask)
        assert ((classes == 255) == (file.read(1) == 255)).all()
    area = np.broadcast_to(pixel_area_m2(grid, Window(0, 0, *classes.shape)), classes.shape)
    assert about["found"]["area_ha"] == pytest.approx(area[classes == 1].sum() / 1e4)
    assert len(gpd.read_parquet(out / "mosaic" / "parcels.parquet")) == about["found"]["parcels"]
    project = ElementTree.parse(out / "mosaic" / "map.qgs")
    sources = [str(layer.text).partition("|")[0] for layer in project.iter("datasource")]
    assert len(sources) == 3 and all((out / "mosaic" / source).exists() for source in sources)


def test_a_folder_of_scenes_and_an_item_from_a_server(tiles: Path, model: ModelFile, tmp_path: Path) -> None:
    bands = [{"eo:common_name": name} for name in ("red", "green", "blue")]
    asset = {"href": "tiles/east.tif", "type": "image/tiff", "bands": bands}
    item = {"type": "Feature", "id": "E", "assets": {"data": asset}, "properties": {"datetime": "2022-01-01T00:00:00Z"}}
    (tmp_path / "e.json").write_text(json.dumps(item), encoding="utf-8")
    words = ["--model", str(model.path), "--mosaic", "--out"]
    assert main(["map", str(tiles), *words, str(tmp_path / "here")]) == 0
    with serving(tmp_path) as server:
        given = f"{server.address}/e.json", f"{server.address}/tiles/west.tif"
        assert main(["map", *given, *words, str(tmp_path / "far")]) == 0
        project = (tmp_path / "far" / "E" / "map.qgs").read_text(encoding="utf-8")
        assert f"/vsicurl/{server.address}/tiles/east.tif" in project
    (file,) = read(tmp_path / "far" / "E" / "map.json")["scene"]["files"]
    assert file["address"] == f"{server.address}/tiles/east.tif" and len(file["sha256_told"]) == 64
    pixels = []
    for place, first in (("here", "east"), ("far", "E")):
        assert (tmp_path / place / first / "mask.tif").exists()
        with rasterio.open(tmp_path / place / "mosaic" / "probability.tif") as raster:
            pixels.append(raster.read(1))
    np.testing.assert_array_equal(*pixels)


def test_options_that_do_not_fit_are_told_before_anything_is_mapped(
    tiles: Path, model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_map(tiles / "mosaic", pattern((50, 50), WEST, "EPSG:32650"), affine=WEST)
    given = ["map", str(tiles / "west.tif"), str(tiles / "mosaic.tif"), "--model", str(model.path)]
    for words, said in (
        (["--overlap", "mean"], "give --mosaic as well"),
        (["--merge-dates", "any"], "give --mosaic as well"),
        (["--mosaic", "--merge-dates", "most"], "most"),
        (["--mosaic"], "a scene is called mosaic"),
        (["--mosaic", "--overlap", "latest"], "mosaic does not say when it was taken"),
        (["--mosaic", "--overlap", "best"], "best"),
        (["--mosaic", "--out-crs", "EPSG:1"], "EPSG:1"),
    ):
        assert main([*given, *words, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("overlap", ["mean", "latest", "most-valid"])
def test_the_boundary_of_a_mosaic_follows_the_rule_of_its_probability(
    tmp_path: Path, overlap: overlaps.Overlap
) -> None:
    """Three scenes, one of them warped, whose boundaries are the reverse of their probabilities."""
    made = []
    for number, (affine, crs) in enumerate(((WEST, "EPSG:32650"), (EAST, "EPSG:32651"), (WEST, "EPSG:32650"))):
        levels = pattern((150, 200), affine, crs)
        levels[: 40 * number] = 255
        levels[-20:] -= 20 * number
        taken = f"202{number}:05:01 00:00:00"
        made.append(save_map(tmp_path / f"s{number}", levels, affine=affine, crs=crs, taken=taken))
        with (
            rasterio.open(made[-1][1] / "probability.tif") as file,
            rasterio.open(made[-1][1] / "boundary.tif", "w", **file.profile) as out,
        ):
            out.write(np.where(levels == 255, 255, 254 - levels).astype(np.uint8), 1)
    two = save_model(tmp_path / "two.safetensors", pixel_m=10.0, outputs=("cropland", "boundary"))
    mosaic(made, two, tmp_path / "out", overlap=overlap, options=MapOptions(threshold=0.5))
    assert {path.name for path in (tmp_path / "out").iterdir()} == PRODUCTS | {"boundary.tif"}
    with (
        rasterio.open(tmp_path / "out" / "probability.tif") as one,
        rasterio.open(tmp_path / "out" / "boundary.tif") as other,
    ):
        levels, boundary = one.read(1).astype(int), other.read(1)
        assert other.descriptions == ("boundary probability x 254",)
    np.testing.assert_array_equal(boundary == 255, levels == 255)
    assert np.abs(254 - levels - boundary)[boundary < 255].max() <= 1  # means and warps of a reverse are rounded
    about = read(tmp_path / "out" / "map.json")
    assert about["options"]["outputs"] == ["cropland", "boundary"]
    assert all(len(scene["boundary_sha256_sampled"]) == 64 for scene in about["scenes"])
    project = (tmp_path / "out" / "map.qgs").read_text(encoding="utf-8")
    assert "./boundary.tif" in project


def test_the_boundary_of_several_dates_is_their_mean(tmp_path: Path) -> None:
    """Whatever the rule of the probability, and with data at the same pixels."""
    made, lines = [], []
    for number, level in enumerate((40, 100, 190)):
        levels = np.full((40, 50), level, np.uint8)
        levels[: 10 * number] = 255
        made.append(save_map(tmp_path / f"s{number}", levels, taken=f"202{number}:05:01 00:00:00"))
        lines.append(np.where(levels == 255, 255, 20 * number).astype(np.uint8))
        with (
            rasterio.open(made[-1][1] / "probability.tif") as file,
            rasterio.open(made[-1][1] / "boundary.tif", "w", **file.profile) as out,
        ):
            out.write(lines[-1], 1)
    two = save_model(tmp_path / "two.safetensors", pixel_m=10.0, outputs=("cropland", "boundary"))
    mosaic(made, two, tmp_path / "out", overlap="mean", merge_dates="all", options=MapOptions(threshold=0.5))
    with rasterio.open(tmp_path / "out" / "boundary.tif") as file:
        np.testing.assert_array_equal(file.read(1)[[0, 10, 20]][:, 0], [0, 10, 20])
    with rasterio.open(tmp_path / "out" / "probability.tif") as file:
        assert (file.read(1) == 40).all()


def test_one_scene_that_is_gone_since_is_a_mosaic_too(model: ModelFile, tmp_path: Path) -> None:
    levels = pattern((60, 70), WEST, "EPSG:32650")
    made = save_map(tmp_path / "only", levels, affine=WEST, taken="2020:05:01 00:00:00")
    (tmp_path / "only.tif").unlink()
    found = mosaic([made], model, tmp_path / "out", overlap="most-valid", options=MapOptions(threshold=0.5))
    assert found.borders == () and 0 < found.totals.share < 1 and "mosaic: " in found.sentence
    with rasterio.open(tmp_path / "out" / "probability.tif") as file:
        np.testing.assert_array_equal(file.read(1), levels)
    times = gpd.read_parquet(tmp_path / "out" / "parcels.parquet")["determination:datetime"]
    assert len(times) and set(times.dt.year) == {2020}


RULES = ("mean", "latest", "most-valid")
DATES = ("2020:01:01 00:00:00", "2022:01:01 00:00:00", "2021:01:01 00:00:00")


def put_together(folder: Path, maps, overlap: str, **how) -> tuple[np.ndarray, list[Border]]:
    scenes, paths = zip(*((scene, place / "probability.tif") for scene, place in maps), strict=True)
    borders = write_mosaic(scenes, paths, folder / "out.tif", overlap=overlap, threshold=0.5, **how)
    with rasterio.open(folder / "out.tif") as file:
        assert file.nodata == 255 and file.block_shapes == [(512, 512)]
        return file.read(1), borders


@settings(max_examples=20)
@given(
    st.integers(20, 60),
    st.integers(20, 60),
    st.floats(0.2, 0.8),
    st.integers(0, 15),
    st.booleans(),
    st.sampled_from(RULES),
    st.integers(0, 2**32),
)
def test_a_map_cut_in_two_is_the_map(tmp_path_factory, height, width, cut, shared, upright, rule, seed):
    """Apart or overlapping, side by side or one above the other: the same numbers, nothing is interpolated."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("cut")
    whole = rng.integers(0, 255, (height, width)).astype(np.uint8)
    whole[rng.random(whole.shape) < 0.1] = 255
    at = round(cut * whole.shape[upright])
    parts = [slice(0, at + shared), slice(at, None)]
    maps = []
    for number, part in enumerate(parts):
        levels = whole[:, part] if upright else whole[part]
        moved = UTM50 @ (Affine.translation(part.start, 0) if upright else Affine.translation(0, part.start))
        maps.append(save_map(folder / f"{number}", levels, affine=moved, taken=DATES[number]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlaps, "BLOCK", 16)
        patch.setattr(overlaps, "_profile", lambda grid, own=overlaps._profile: own(grid) | {"tiled": False})
        scenes, paths = zip(*((scene, place / "probability.tif") for scene, place in maps), strict=True)
        borders = write_mosaic(scenes, paths, folder / "out.tif", overlap=rule, threshold=0.5)
    with rasterio.open(folder / "out.tif") as file:
        np.testing.assert_array_equal(file.read(1), whole)
        assert file.transform == UTM50
    assert all(border.difference in (0, None) and border.disagreeing in (0, None) for border in borders)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("mean", [10, 15, 30, 30, 255]), ("latest", [10, 20, 20, 20, 255]), ("most-valid", [10, 20, 40, 40, 255])],
)
def test_rules(tmp_path, rule, expected):
    """Of a, b and c, b is the latest; c has no pixel without data, b one of four, a two of four."""
    maps = []
    rows = [10, 10, 255, 255], [20, 20, 20, 255], [40, 40]
    for name, row, start, date in zip("abc", rows, (0, 1, 2), DATES, strict=True):
        moved = UTM50 @ Affine.translation(start, 0)
        maps.append(save_map(tmp_path / name, np.array([row] * 3, np.uint8), affine=moved, taken=date))
    found, borders = put_together(tmp_path, maps, rule)
    np.testing.assert_array_equal(found, [expected] * 3)
    common = {border.scenes: border.pixels for border in borders if border.pixels}
    assert common == {("a", "b"): 3, ("b", "c"): 6}


SEEN = {"a": [10, 200, 255, 255], "b": [30, 100, 50, 255], "c": [90, 120, 255, 255]}
DAYS = {"a": "2024:05:01 10:00:00", "b": "2024:05:01 10:00:20", "c": "2024:06:01 10:00:00"}  # a and b of one pass


@pytest.mark.parametrize(
    ("within", "rule", "expected"),
    [
        ("mean", "mean", [55, 135, 50, 255]),  # a and b joined: 20, 150, 50
        ("mean", "any", [90, 150, 50, 255]),
        ("mean", "all", [20, 120, 50, 255]),
        ("latest", "any", [90, 120, 50, 255]),  # of one pass b is the latest: 30, 100, 50
        ("most-valid", "all", [30, 100, 50, 255]),
    ],
)
def test_scenes_of_a_date_are_joined_before_the_dates(tmp_path, within, rule, expected):
    maps = [save_map(tmp_path / name, np.array([row] * 3, np.uint8), taken=DAYS[name]) for name, row in SEEN.items()]
    found, borders = put_together(tmp_path, maps, within, merge_dates=rule, looks=tmp_path / "looks.tif")
    np.testing.assert_array_equal(found, [expected] * 3)
    with rasterio.open(tmp_path / "looks.tif") as file:
        assert file.nodata is None
        np.testing.assert_array_equal(file.read(1), [[2, 2, 1, 0]] * 3)
    assert [border.scenes for border in borders] == [("a", "b")]  # the ground itself changes between dates


@settings(max_examples=25)
@given(st.integers(1, 5), st.integers(0, 254), st.integers(0, 2**32))
def test_cropland_at_any_date_and_at_all_dates(tmp_path_factory, count, level, seed):
    """Over the dates with data only: the law of the two rules, at any threshold."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("dates")
    levels = rng.integers(0, 255, (count, 7, 9)).astype(np.uint8)
    levels[rng.random(levels.shape) < 0.4] = 255
    known = levels != 255
    taken = [f"2024:0{number + 1}:01 10:00:00" for number in range(count)]
    maps = [save_map(folder / taken[n][:7].replace(":", ""), levels[n], taken=taken[n]) for n in range(count)]
    for rule, over in (("any", np.any), ("all", np.all)):
        found, _ = put_together(folder, maps, "mean", merge_dates=rule, looks=folder / "looks.tif")
        crop = [over(column[seen] >= level) for column, seen in zip(_columns(levels), _columns(known), strict=True)]
        seen = known.any(axis=0)
        np.testing.assert_array_equal(found == 255, ~seen)
        np.testing.assert_array_equal((found >= level)[seen], np.reshape(crop, seen.shape)[seen])
    with rasterio.open(folder / "looks.tif") as file:
        np.testing.assert_array_equal(file.read(1), known.sum(axis=0))


def _columns(stack: np.ndarray) -> np.ndarray:
    """What all dates say of each pixel."""
    return stack.reshape(len(stack), -1).T


def test_a_date_is_a_day_where_the_scene_lies(tmp_path):
    """Near 177 degrees east a pass at half past ten crosses midnight UTC; undated scenes are dates of their own."""
    east = Affine(10, 0, 500_000, 0, -10, 4_000_000)
    taken = "2024:05:01 23:59:50", "2024:05:02 00:00:10", "2024:05:02 23:59:50", None, None
    maps = [
        save_map(tmp_path / f"s{number}", np.full((4, 4), 9, np.uint8), affine=east, crs="EPSG:32760", taken=each)
        for number, each in enumerate(taken)
    ]
    put_together(tmp_path, maps, "mean", merge_dates="mean", looks=tmp_path / "looks.tif")
    with rasterio.open(tmp_path / "looks.tif") as file:
        assert (file.read(1) == 4).all()


def test_the_map_of_several_dates(model: ModelFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Three dates of one ground, each with a cloud of its own, from an ItemCollection: the files, and what they say."""
    levels = pattern((150, 200), WEST, "EPSG:32650")
    items = []
    for number in range(3):
        save_map(tmp_path / f"d{number}", levels, affine=WEST)
        scl = np.full(levels.shape, 4, np.uint8)
        scl[:, 40 * number : 40 * number + 60] = 9
        write_raster(tmp_path / f"d{number}_SCL.tif", scl, transform=WEST, crs="EPSG:32650")
        bands = [{"name": name, "common_name": name} for name in ("red", "green", "blue")]
        assets = {
            "image": {"href": f"d{number}.tif", "type": "image/tiff", "eo:bands": bands},
            "scl": {"href": f"d{number}_SCL.tif", "type": "image/tiff"},
        }
        about = {"datetime": f"2024-0{number + 5}-01T10:00:00Z"}
        items.append({"type": "Feature", "id": f"D{number}", "properties": about, "assets": assets})
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}), encoding="utf-8")
    words = ["map", str(tmp_path / "items.json"), "--model", str(model.path), "--mosaic", "--out"]
    assert main([*words, str(tmp_path / "out"), "--merge-dates", "any"]) == 0
    told = capsys.readouterr().out
    assert told.count("The item names this mask") == 3 and "3 dates: a place was seen at 2.1 of them" in told
    out = tmp_path / "out" / "mosaic"
    assert {path.name for path in out.iterdir()} == PRODUCTS | {"looks.tif"}
    about = read(out / "map.json")
    assert about["options"]["merge_dates"] == "any" and about["borders"] == []
    assert about["looks"] == {"file": "looks.tif", "dates": 3, "mean": pytest.approx(2.1), "most": 3}
    with rasterio.open(out / "looks.tif") as file, rasterio.open(out / "probability.tif") as probability:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and file.dtypes == ("uint8",)
        looks, found = file.read(1), probability.read(1)
    expected = [sum(not 40 * n <= col < 40 * n + 60 for n in range(3)) for col in range(200)]
    np.testing.assert_array_equal(looks[:, :200], [expected] * 150)
    np.testing.assert_array_equal(looks == 0, found == 255)
    parts = []
    for number in range(3):
        with rasterio.open(tmp_path / "out" / f"D{number}" / "probability.tif") as file:
            parts.append(np.where(file.read(1) == 255, 0, file.read(1)))
    np.testing.assert_array_equal(found, np.max(parts, axis=0))
    project = ElementTree.parse(out / "map.qgs")
    assert "looks" in [layer.findtext("layername") for layer in project.iter("maplayer")]
    # Without dates the looks of the earlier map go.
    assert main([*words, str(tmp_path / "out"), "--overwrite"]) == 0
    assert {path.name for path in out.iterdir()} == PRODUCTS and "looks" not in read(out / "map.json")


def test_most_valid_counts_what_masks_leave(model: ModelFile, tmp_path: Path) -> None:
    """The first scene has a large cloud, the second a small one, each told by a mask alone."""
    levels, parts = pattern((150, 200), WEST, "EPSG:32650"), []
    for name, edge in (("first", 120), ("second", 20)):
        scene, _ = save_map(tmp_path / name / "in", levels, affine=WEST)
        scl = np.full(levels.shape, 4, np.uint8)
        scl[:edge] = 9
        mask = write_raster(tmp_path / name / "scl.tif", scl, transform=WEST, crs="EPSG:32650")
        scene = dataclasses.replace(open_scene(scene.files[0], mask=mask), name=name)
        map_scene(scene, model, tmp_path / name / "out")
        parts.append((scene, tmp_path / name / "out"))
    mosaic(parts, model, tmp_path / "out", overlap="most-valid", options=MapOptions(threshold=0.5))
    with rasterio.open(tmp_path / "out" / "probability.tif") as file:
        found = file.read(1)
    with rasterio.open(tmp_path / "second" / "out" / "probability.tif") as file:
        np.testing.assert_array_equal(found[20:], file.read(1)[20:])
    assert (found[:20] == 255).all()


def test_the_latest_needs_dates(tmp_path):
    maps = [
        save_map(tmp_path / name, np.ones((4, 4), np.uint8), taken=date)
        for name, date in (("a", DATES[0]), ("b", None))
    ]
    scenes = [scene for scene, folder in maps]
    with pytest.raises(InputError, match="b does not say when it was taken"):
        check_mosaic(scenes, overlap="latest", crs=None, allow_datum_shift=False)
    check_mosaic(scenes, overlap="mean", crs=None, allow_datum_shift=False)


def zones(folder: Path, *, brighter: int = 0):
    """One pattern of the ground in two zones: in 50 east of its middle, in 51, tilted, to the east of that."""
    west, east = Affine(10, 0, 770_000, 0, -10, 4_000_000), Affine(10, 0, 231_500, 0, -10, 4_000_500)
    shape = (300, 300)
    one = save_map(folder / "west", pattern(shape, west, "EPSG:32650"), affine=west, taken=DATES[0])
    levels = pattern(shape, east, "EPSG:32651") + np.uint8(brighter)
    return [one, save_map(folder / "east", levels, affine=east, crs="EPSG:32651", taken=DATES[1])]


@pytest.mark.parametrize("rule", RULES)
def test_scenes_of_two_zones_fit(tmp_path, rule):
    found, (border,) = put_together(tmp_path, zones(tmp_path), rule)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs.to_epsg() == 32650 and file.res == (10, 10)
        wanted = pattern(found.shape, file.transform, "EPSG:32650")
    known = found != 255
    assert known.sum() > 1.3 * 300 * 300 and border.pixels > 2000
    off = np.abs(found.astype(int) - wanted)[known]
    assert (off <= 2).mean() > 0.99 and off.max() <= 8  # half a pixel of the steepest slope, along the edge
    assert border.difference < 1 / 254 and border.seam == pytest.approx(1, abs=0.25)


def test_a_brighter_scene_is_measured(tmp_path):
    _, (border,) = put_together(tmp_path, zones(tmp_path, brighter=20), "latest")
    assert border.difference == pytest.approx(20 / 254, abs=0.002) and border.disagreeing > 0.05 and border.seam > 1.5


def test_no_data_does_not_spread_into_what_is_interpolated(tmp_path):
    levels = np.full((40, 40), 200, np.uint8)
    levels[10:20, 10:20] = 255
    half = save_map(tmp_path / "half", levels, affine=UTM50 @ Affine.translation(0.5, 0.5))
    found, _ = put_together(tmp_path, [save_map(tmp_path / "other", levels[:5, :5]), half], "mean")
    assert set(np.unique(found)) == {200, 255} and (found == 255).sum() <= 100 + 82


def test_any_crs(tmp_path):
    found, borders = put_together(tmp_path, zones(tmp_path), "mean", crs="EPSG:4490")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs.to_epsg() == 4490
        wanted = pattern(found.shape, file.transform, "EPSG:4326")
    known = found != 255
    off = np.abs(found.astype(int) - wanted)[known]
    assert (off <= 2).mean() > 0.99 and off.max() <= 8 and borders[0].difference < 2 / 254


CLASSES = by_threshold(0.5)(np.arange(256, dtype=np.uint8))
NAMES = ("a", "b", "c")
ONE_DAY = np.zeros(3, int)


def measured(maps, used=None, mosaic=None, *, core=None, scenes=(0, 1)):
    maps = np.array(maps, np.uint8)
    borders = BorderSums(CLASSES, ONE_DAY)
    used = maps != 255 if used is None else np.array(used, bool)
    mosaic = maps.min(axis=0) if mosaic is None else np.array(mosaic, np.uint8)
    borders.add(scenes, maps, used, mosaic, core or mosaic.shape)
    return borders.found(NAMES)


def test_an_overlap_is_compared_pixel_by_pixel():
    first, second = [[100, 200, 0, 255]], [[110, 100, 255, 9]]
    (border,) = measured([first, second])
    assert border.scenes == ("a", "b") and border.pixels == 2
    assert border.difference == pytest.approx((10 + 100) / 2 / 254)
    assert border.disagreeing == 0.5  # 200 against 100, of which one is below 127


def test_a_border_is_compared_with_the_inside():
    """Steps of 2 within either scene, of 10 between them; downwards 0: no step is left out."""
    row = [10, 12, 14, 24, 26, 28]
    mosaic = [row, row]
    first = [[10, 12, 14, 255, 255, 255]] * 2
    second = [[255, 255, 255, 24, 26, 28]] * 2
    (border,) = measured([first, second], mosaic=mosaic)
    inside = (8 * 2 + 6 * 0) / 14
    assert (border.pixels, border.difference, border.disagreeing, border.steps) == (0, None, None, 2)
    assert border.seam == pytest.approx(10 / inside)


def test_a_mean_has_its_border_where_the_second_begins():
    first, second = [[10, 11, 12, 13]], [[255, 255, 22, 23]]
    (border,) = measured([first, second], mosaic=[[10, 11, 17, 18]])
    assert border.steps == 1 and border.seam == pytest.approx(6 / 1)


def test_what_does_not_meet_is_no_border():
    assert measured([[[1, 2, 255, 255, 255]], [[255, 255, 255, 4, 5]]]) == []


def test_blocks_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 256, (3, 20, 30)).astype(np.uint8)
    maps[rng.random(maps.shape) < 0.4] = 255
    used, mosaic = maps != 255, maps.min(axis=0)
    whole, parts = BorderSums(CLASSES, ONE_DAY), BorderSums(CLASSES, ONE_DAY)
    whole.add((0, 1, 2), maps, used, mosaic, (20, 30))
    for row in range(0, 20, 7):
        for col in range(0, 30, 8):
            block = np.s_[..., row : row + 8, col : col + 9]
            core = min(7, 20 - row), min(8, 30 - col)
            order = [2, 0, 1]  # blocks may count scenes in any order
            parts.add(order, maps[block][order], used[block][order], mosaic[block], core)
    assert parts.found(NAMES) == whole.found(NAMES) and len(whole.found(NAMES)) == 3


def test_the_table_says_what_there_is():
    shown = table([Border(("a", "b"), 0, None, None, 5, 1.25), Border(("a", "c"), 1200, 0.0625, 0.5, 0, None)])
    assert [list(column.cells) for column in shown.columns] == [
        ["a", "a"],
        ["b", "c"],
        ["0", "1,200"],
        ["", "0.062"],
        ["", "50.0%"],
        ["1.25", ""],
    ]


UTM = "EPSG:32650"


def grid(shape, *, x=500_000.0, y=4_000_000.0, pixel=10.0, crs=UTM, affine=None):
    return GeoBox(shape, affine or Affine(pixel, 0, x, 0, -pixel, y), crs)


def test_neighbours_on_the_same_lines_are_copied():
    west, east = grid((40, 60)), grid((30, 50), x=500_600, y=4_000_100)
    mosaic = mosaic_grid([west, east], CRS(UTM))
    assert mosaic.shape == (50, 110) and mosaic.affine == Affine(10, 0, 500_000, 0, -10, 4_000_100)
    assert place_in(mosaic, west) == MapPlace(Window(10, 0, 40, 60), is_copied=True)
    assert place_in(mosaic, east) == MapPlace(Window(0, 60, 30, 50), is_copied=True)


@pytest.mark.parametrize("other", [grid((9, 9), x=500_004), grid((9, 9), pixel=10.5), grid((9, 9), crs="EPSG:32651")])
def test_others_are_warped(other):
    first = grid((40, 60))
    mosaic = mosaic_grid([first, other], CRS(UTM))
    assert place_in(mosaic, first).is_copied and not place_in(mosaic, other).is_copied


def test_the_finest_decides_the_pixel():
    coarse, fine = grid((40, 60)), grid((100, 100), x=500_003, pixel=2.0)
    mosaic = mosaic_grid([coarse, fine], CRS(UTM))
    assert place_in(mosaic, fine).is_copied and mosaic.affine.a == 2
    east, beyond = grid((40, 60), x=770_000), grid((100, 100), x=230_000, pixel=2.0, crs="EPSG:32651")
    assert mosaic_grid([east, beyond], CRS(UTM)).affine.a == pytest.approx(2.0, rel=0.01)


def test_pixels_of_neighbouring_zones_are_one_size():
    """10 m are 9.99 m on the ground near the edge of a zone."""
    mosaic = mosaic_grid([grid((40, 60)), grid((40, 60), x=200_000, crs="EPSG:32651")], CRS(UTM))
    assert mosaic.affine.a == 10


def test_a_crs_that_no_map_has():
    """0.001 degrees at 36 degrees north are 100 m, the geometric mean of 90 m and 111 m."""
    mosaic = mosaic_grid([grid((40, 60), pixel=100.0)], CRS("EPSG:4326"))
    assert mosaic.affine.a == pytest.approx(0.001, rel=0.01) and mosaic.affine.e == -mosaic.affine.a
    place = place_in(mosaic, grid((40, 60), pixel=100.0))
    assert not place.is_copied and place.window == Window(0, 0, *mosaic.shape)


def test_pixels_are_as_long_in_another_projection():
    """10 m at 60 degrees north are nearly 20 m in Mercator, whose number would make four pixels of each."""
    mosaic = mosaic_grid([grid((40, 60), y=6_651_000.0)], CRS(3857))
    assert mosaic.affine.a == pytest.approx(19.95, rel=0.01)


def test_a_map_around_the_pole_has_its_pixel():
    mosaic = mosaic_grid([grid((40, 60), x=-300, y=200, crs="EPSG:3413")], CRS(3571))
    assert mosaic.affine.a == pytest.approx(10 / 0.97, rel=0.01)


def test_a_rotated_map_is_within():
    turned = grid((40, 60), affine=Affine.translation(5e5, 4e6) @ Affine.rotation(30) @ Affine.scale(10, -10))
    mosaic = mosaic_grid([turned], CRS(UTM))
    inside, outside = mosaic.boundingbox, turned.boundingbox
    assert inside.left <= outside.left and inside.top >= outside.top and inside.right >= outside.right
    assert mosaic.affine.a == pytest.approx(10) and mosaic.affine.b == 0 and not place_in(mosaic, turned).is_copied


def test_most_decide_the_crs():
    grids = [grid((9, 9), crs=crs) for crs in ("EPSG:32651", UTM, UTM)]
    assert choose_crs(grids, "abc", crs=None, allow_datum_shift=False) == CRS(UTM)
    assert choose_crs(grids[:2], "ab", crs=None, allow_datum_shift=False) == CRS("EPSG:32651")
    assert choose_crs(grids, "abc", crs="EPSG:4490", allow_datum_shift=False) == CRS("EPSG:4490")  # CGCS2000 is WGS 84


def test_what_has_no_place_is_told():
    with pytest.raises(GridError, match="b has no CRS"):
        choose_crs([grid((9, 9)), grid((9, 9), crs=None)], "ab", crs=None, allow_datum_shift=False)
    xian = [grid((9, 9)), grid((9, 9), x=500_000, crs="EPSG:2383")]
    with pytest.raises(GridError, match="different frames"):
        choose_crs(xian, "ab", crs=None, allow_datum_shift=False)
    assert choose_crs(xian, "ab", crs=None, allow_datum_shift=True) == CRS(UTM)


def test_far_apart_there_is_no_mosaic():
    with pytest.raises(GridError, match="so far apart"):
        mosaic_grid([grid((100, 100)), grid((100, 100), x=600_000, y=3_000_000)], CRS(UTM))
    mosaic_grid([grid((100, 100)), grid((100, 100), x=507_000)], CRS(UTM))
