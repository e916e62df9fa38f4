"""Parcels of a real map that a person corrected, pixel by pixel, and corrections that belong to something else."""

import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from rasterio.features import rasterize

import cropland
from cropland import cli
from cropland.data.chips import open_chips
from cropland.data.labels import LabelOptions, read_labels
from cropland.demo import TILE
from cropland.errors import InputError, LabelError
from cropland.geo.scene import open_scene
from cropland.geo.window import Window
from cropland.mapping.map import map_scene
from cropland.model import ModelFile, default_model
from rasters import write_raster

STEP = 1e-5  # degrees, about a pixel


@pytest.fixture(scope="module")
def mapped(quarter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its map by the model that ships."""
    return cropland.map(quarter, tmp_path_factory.mktemp("maps") / "my_map").folder


@pytest.fixture
def a_map(mapped: Path, tmp_path: Path) -> Path:
    return shutil.copytree(mapped, tmp_path / "my_map")


def corrected(a_map: Path) -> dict[str, list]:
    """Marks the largest parcel wrong, draws the next again, smaller, and adds one; saves, and gives the outlines."""
    path = a_map / "parcels.gpkg"
    frame = gpd.read_file(path)
    largest = frame.area.sort_values(ascending=False).index
    wrong, redrawn = largest[0], largest[1]
    before = frame.geometry[redrawn]
    west, south, east, north = before.bounds
    drawn = shapely.intersection(before, shapely.box(west, south, (west + east) / 2, north))
    frame.loc[wrong, "status"], frame.loc[redrawn, "status"] = "wrong", "Redrawn "
    frame.loc[redrawn, "geometry"] = drawn
    left, top = frame.total_bounds[0] + 40 * STEP, frame.total_bounds[3] - 40 * STEP
    missing = shapely.box(left, top - 40 * STEP, left + 30 * STEP, top)
    added = gpd.GeoDataFrame({"status": ["missing"]}, geometry=[missing], crs=frame.crs)
    outlines = {"wrong": [frame.geometry[wrong]], "before": [before], "drawn": [drawn, missing]}
    outlines["left"] = frame[frame["status"].isna()].geometry.tolist()
    pd.concat([frame, added], ignore_index=True).to_file(path, layer="parcels")
    return outlines


def drawn(scene: Path, **options: object) -> np.ndarray:
    return read_labels(LabelOptions(**options)).on(open_scene(scene))(Window(0, 0, 512, 512))


def burnt(scene: Path, layers: list[tuple[int, list]], fill: int) -> np.ndarray:
    with rasterio.open(scene) as file:
        shapes = [(shape, value) for value, outlines in layers for shape in outlines]
        return rasterize(shapes, file.shape, fill=fill, transform=file.transform, dtype="uint8")


def test_what_was_not_looked_at_is_unknown(quarter: Path, a_map: Path):
    outlines = corrected(a_map)
    label = drawn(quarter, corrections=a_map / "parcels.gpkg")
    layers = [(0, outlines["before"]), (0, outlines["wrong"]), (1, outlines["drawn"])]
    np.testing.assert_array_equal(label, burnt(quarter, layers, fill=255))
    counts = np.bincount(label.ravel(), minlength=256)
    assert counts[0] > 3000 and counts[1] > 3000 and counts[255] > 10_000


def test_in_an_area_that_was_looked_at_the_rest_of_the_map_is_right(quarter: Path, a_map: Path, tmp_path: Path):
    outlines = corrected(a_map)
    west, south, east, north = open_scene(quarter).grid.extent.boundingbox.bbox
    area = shapely.box(west, south, (west + east) / 2, north)
    gpd.GeoDataFrame(geometry=[area], crs=4326).to_file(tmp_path / "area.geojson")
    label = drawn(quarter, corrections=a_map / "parcels.gpkg", inside=tmp_path / "area.geojson")
    layers = [(1, outlines["left"]), (0, outlines["before"]), (0, outlines["wrong"]), (1, outlines["drawn"])]
    expected = burnt(quarter, layers, fill=0)
    expected[burnt(quarter, [(1, [area])], fill=0) == 0] = 255
    np.testing.assert_array_equal(label, expected)
    assert {*np.unique(label)} == {0, 1, 255}


def test_an_area_without_any_status_is_right_as_it_is(quarter: Path, a_map: Path, tmp_path: Path):
    area = open_scene(quarter).grid.extent.geom
    gpd.GeoDataFrame(geometry=[area], crs=4326).to_file(tmp_path / "area.gpkg")
    label = drawn(quarter, corrections=a_map / "parcels.gpkg", inside=tmp_path / "area.gpkg")
    parcels = gpd.read_parquet(a_map / "parcels.parquet").geometry.tolist()
    np.testing.assert_array_equal(label, burnt(quarter, [(1, parcels)], fill=0))


def test_all_of_the_boundary_of_a_corrected_parcel_is_known(quarter: Path, a_map: Path, tmp_path: Path):
    outlines = corrected(a_map)
    cropland.cut_chips(quarter, None, tmp_path / "chips", corrections=a_map / "parcels.gpkg", size=512, validation=0)
    chip = open_chips(tmp_path / "chips").read(0)
    missing = burnt(quarter, [(1, outlines["drawn"][1:])], fill=0) == 1
    assert missing.sum() > 500 and (chip.target[missing] == 1).all()
    distance = chip.boundary[missing]
    assert distance.min() == 5 and distance.max() > 100 and (distance != 255).all()  # in tenths of a pixel
    rows, cols = np.nonzero(missing)
    inner = np.minimum(rows - rows.min(), rows.max() - rows), np.minimum(cols - cols.min(), cols.max() - cols)
    np.testing.assert_array_equal(distance, 10 * np.minimum(*inner) + 5)


def test_a_part_that_was_cut_off_a_parcel_may_be_wrong(quarter: Path, a_map: Path):
    path = a_map / "parcels.gpkg"
    frame = gpd.read_file(path)
    largest = frame.area.idxmax()
    west, south, east, north = frame.geometry[largest].bounds
    half = frame.geometry[largest].intersection(shapely.box(west, south, (west + east) / 2, north))
    other = frame.geometry[largest].difference(half)
    cut = frame.loc[[largest]].assign(status="wrong", geometry=[half])
    frame.loc[largest, "geometry"], frame.loc[largest, "status"] = other, "redrawn"
    pd.concat([frame, cut], ignore_index=True).to_file(path, layer="parcels")
    label = drawn(quarter, corrections=path)
    np.testing.assert_array_equal(label, burnt(quarter, [(0, [half]), (1, [other])], fill=255))


def test_the_file_may_lie_elsewhere_in_another_format_and_crs(quarter: Path, a_map: Path, tmp_path: Path):
    corrected(a_map)
    expected = drawn(quarter, corrections=a_map / "parcels.gpkg")
    elsewhere = tmp_path / "corrected.geojson"
    gpd.read_file(a_map / "parcels.gpkg").to_crs(32615).to_file(elsewhere)
    with pytest.raises(LabelError, match=r"is not in the folder of a map .*say which map was corrected with map="):
        drawn(quarter, corrections=elsewhere)
    label = drawn(quarter, corrections=elsewhere, map=a_map)
    assert np.mean(label != expected) < 1e-4


def save(a_map: Path, frame: gpd.GeoDataFrame) -> Path:
    frame.to_file(a_map / "parcels.gpkg", layer="parcels")
    return a_map / "parcels.gpkg"


def test_corrections_of_another_map_are_refused(quarter: Path, a_map: Path, tmp_path: Path):
    corrected(a_map)
    other = cropland.map(quarter, tmp_path / "other", threshold=0.8, min_area_m2=4000)
    ids = {*gpd.read_parquet(other.folder / "parcels.parquet")["id"]}
    assert ids < {*gpd.read_parquet(a_map / "parcels.parquet")["id"]}, "ids alone do not tell"
    with pytest.raises(LabelError, match=r"parcels\.gpkg has parcels that are not on the map .*other"):
        drawn(quarter, corrections=a_map / "parcels.gpkg", map=other.folder)
    with pytest.raises(LabelError, match=r"outlines \d+ of its parcels otherwise than the map .*my_map"):
        drawn(quarter, corrections=other.folder / "parcels.gpkg", map=a_map)


def test_the_map_of_another_scene_is_refused(quarter: Path, a_map: Path, tmp_path: Path):
    corrected(a_map)
    with pytest.raises(LabelError, match=r"my_map is of quarter \(512 x 512 pixels\), not of naip_minnesota \(1024"):
        drawn(TILE, corrections=a_map / "parcels.gpkg")
    shutil.copy(quarter, tmp_path / "later.tif")
    with pytest.raises(LabelError, match=r"is of quarter .*, not of later"):
        drawn(tmp_path / "later.tif", corrections=a_map / "parcels.gpkg")
    with rasterio.open(quarter) as file:
        moved = {"crs": file.crs, "transform": file.transform @ rasterio.Affine.translation(1, 0)}
        beside = write_raster(tmp_path / "quarter.tif", file.read(), names=file.descriptions, **moved)
    with pytest.raises(LabelError, match="give the scene that was mapped"):
        drawn(beside, corrections=a_map / "parcels.gpkg")
    about = json.loads((a_map / "map.json").read_text(encoding="utf-8"))
    del about["scene"]
    (a_map / "map.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(LabelError, match="is not the map of one scene, as a mosaic is not"):
        drawn(quarter, corrections=a_map / "parcels.gpkg")


def test_a_status_that_does_not_fit_is_told(quarter: Path, a_map: Path):
    path, frame = a_map / "parcels.gpkg", gpd.read_file(a_map / "parcels.gpkg")
    with pytest.raises(LabelError, match=r"no parcel of parcels\.gpkg has a status: set wrong, missing or redrawn"):
        drawn(quarter, corrections=path)
    save(a_map, frame.assign(status=["wrong", "bad", *[None] * (len(frame) - 2)]))
    with pytest.raises(LabelError, match="has the status bad; expected wrong, missing, redrawn, or nothing"):
        drawn(quarter, corrections=path)
    save(a_map, frame.drop(columns="status"))
    with pytest.raises(LabelError, match=r"has no column 'status'; corrections are the parcels\.gpkg of a map"):
        drawn(quarter, corrections=path)
    added = pd.concat([frame.assign(status="wrong"), frame[:1].assign(id=None, status=None)], ignore_index=True)
    save(a_map, added)
    with pytest.raises(
        LabelError, match=r"not on the map .*\(id NULL\): .*status missing to each parcel that you drew"
    ):
        drawn(quarter, corrections=path)
    largest = frame.area.idxmax()
    frame.loc[largest, "geometry"] = frame.geometry[largest].buffer(-5 * STEP)
    save(a_map, frame)
    with pytest.raises(LabelError, match=rf"\(id {frame['id'][largest]}\): .* the status redrawn to each"):
        drawn(quarter, corrections=path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": "parcels.gpkg"}, "one of the three"),
        ({"whole": "other"}, "one of the three"),
        ({"background": "known"}, "background= does not apply to parcels.gpkg"),
        ({"where": "id = 3"}, "where= does not apply to parcels.gpkg"),
    ],
)
def test_options_of_other_labels_are_refused(a_map: Path, options: dict[str, str], words: str):
    with pytest.raises(LabelError, match=words):
        read_labels(LabelOptions(corrections=a_map / "parcels.gpkg", **options))


def test_map_is_an_option_of_corrections_alone(a_map: Path):
    with pytest.raises(LabelError, match=r"map= does not apply to parcels\.gpkg"):
        read_labels(LabelOptions(a_map / "parcels.gpkg", background="known", map=a_map))
    with pytest.raises(InputError, match="corrections= is for `cropland chips`"):
        cropland.evaluate(a_map, corrections=a_map / "parcels.gpkg")


def test_the_command_line_and_a_map_that_stays_finished(quarter: Path, a_map: Path, tmp_path: Path):
    corrected(a_map)
    edited = (a_map / "parcels.gpkg").read_bytes()
    kept = map_scene(open_scene(quarter), ModelFile.load(default_model()), a_map, keep=True)
    assert kept.how == "kept" and (a_map / "parcels.gpkg").read_bytes() == edited
    corrections = ["--corrections", str(a_map / "parcels.gpkg"), "--split", "train", "--size", "256"]
    assert cli.main(["chips", str(quarter), *corrections, "--out", str(tmp_path / "chips")]) == 0
    (cut,) = open_chips(tmp_path / "chips").header["cuts"]
    assert cut["corrections"] == "parcels.gpkg"
