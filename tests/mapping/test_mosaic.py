"""`cropland map --mosaic`: real scenes of two zones, from files, folders and a server, become one map."""

import json
from pathlib import Path
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine

from cropland.cli import main
from cropland.geo.area import pixel_area_m2
from cropland.geo.window import Window
from cropland.mapping.map_scene import MapOptions
from cropland.mapping.mosaic import mosaic
from cropland.model import Model
from cropland.parcels.clean import grid_of
from range_server import serving
from small_maps import pattern, save_map
from small_model import save_model

WEST, EAST = Affine(10, 0, 770_000, 0, -10, 4_000_000), Affine(10, 0, 231_500, 0, -10, 4_000_500)
PRODUCTS = {"probability.tif", "mask.tif", "parcels.parquet", "parcels.gpkg", "overview.png", "map.json", "map.qgs"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
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


def test_the_map_of_two_maps(tiles: Path, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["map", str(tiles / "*.tif"), "--model", str(model.path), "--out", str(out)]
    assert main([*words, "--mosaic", "--overlap", "latest"]) == 0
    assert {path.name for path in out.iterdir()} == {"east", "west", "mosaic", "index.gpkg"}
    assert {path.name for path in (out / "mosaic").iterdir()} == PRODUCTS
    told = capsys.readouterr().out
    assert "Each scene is stretched by statistics of its own" in told and "common pixels" in told and "mosaic:" in told
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


def test_a_folder_of_scenes_and_an_item_from_a_server(tiles: Path, model: Model, tmp_path: Path) -> None:
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
    tiles: Path, model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_map(tiles / "mosaic", pattern((50, 50), WEST, "EPSG:32650"), affine=WEST)
    given = ["map", str(tiles / "west.tif"), str(tiles / "mosaic.tif"), "--model", str(model.path)]
    for words, said in (
        (["--overlap", "mean"], "give --mosaic as well"),
        (["--mosaic"], "a scene is called mosaic"),
        (["--mosaic", "--overlap", "latest"], "mosaic does not say when it was taken"),
        (["--mosaic", "--overlap", "best"], "best"),
        (["--mosaic", "--out-crs", "EPSG:1"], "EPSG:1"),
    ):
        assert main([*given, *words, "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_scene_that_is_gone_since_is_a_mosaic_too(model: Model, tmp_path: Path) -> None:
    levels = pattern((60, 70), WEST, "EPSG:32650")
    made = save_map(tmp_path / "only", levels, affine=WEST, taken="2020:05:01 00:00:00")
    (tmp_path / "only.tif").unlink()
    found = mosaic([made], model, tmp_path / "out", overlap="most-valid", options=MapOptions(threshold=0.5))
    assert found.borders == () and 0 < found.found.share < 1 and "mosaic: " in found.sentence
    with rasterio.open(tmp_path / "out" / "probability.tif") as file:
        np.testing.assert_array_equal(file.read(1), levels)
    times = gpd.read_parquet(tmp_path / "out" / "parcels.parquet")["determination_datetime"]
    assert len(times) and set(times.dt.year) == {2020}
