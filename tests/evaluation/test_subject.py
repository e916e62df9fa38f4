"""What is measured: every kind of map gives the same mask, and what is no map is refused in one line."""

import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine

from cropland.data.labels import LabelOptions
from cropland.errors import CroplandError, GridError, InputError, LabelError, SceneError
from cropland.evaluation.subject import NamedGrid, Subject, SubjectOptions, connected_regions, open_subjects
from cropland.geo.window import Window
from cropland.probability import DESCRIPTION
from evaluation.small_evaluation import CRS, LEFT, TOP, field, write_map, write_mask, write_polygons
from rasters import write_raster

VALUES = np.zeros((60, 80), np.uint8)
VALUES[10:30, 10:40], VALUES[50:] = 1, 255
WHOLE = Window(0, 0, 60, 80)
LABELS = LabelOptions(whole="other")


def opened(path: Path, *, labels: LabelOptions = LABELS, **options: object) -> Subject:
    (subject,) = open_subjects(path, SubjectOptions(**options), labels=labels)
    return subject


def fractions(path: Path, no_data: float, **profile: object) -> Path:
    values = np.where(VALUES == 255, no_data, np.where(VALUES == 1, 0.7, 0.2)).astype(np.float32)
    return write_mask(path, values, **profile)


@pytest.mark.parametrize(
    ("no_data", "profile"), [(np.nan, {}), (-9999, {"nodata": -9999}), (0, {"nodata": 0}), (np.inf, {})]
)
def test_a_probability_of_fractions_with_any_no_data(tmp_path: Path, no_data: float, profile: dict[str, float]):
    subject = opened(fractions(tmp_path / "p.tif", no_data, **profile))
    assert np.array_equal(subject.mask(WHOLE), VALUES) and subject.threshold == 0.5
    assert "a probability of 0.5 on" in subject.notes[0]
    assert subject.probability is not None and set(np.unique(subject.probability(WHOLE))) == {51, 178, 255}
    finer = NamedGrid("finer", subject.ground.grid.zoom_out(0.5))
    assert np.array_equal(subject.elsewhere(finer)(Window(0, 0, 120, 160)), np.kron(VALUES, np.ones((2, 2))))


def test_a_threshold_cuts_a_probability_and_silences_the_note(tmp_path: Path):
    subject = opened(fractions(tmp_path / "p.tif", np.nan), threshold=0.71)
    assert not (subject.mask(WHOLE) == 1).any() and subject.notes == () and subject.threshold == 0.71


def test_levels_are_known_by_the_name_of_their_band_and_cut_as_their_map_was(tmp_path: Path):
    levels = np.where(VALUES == 255, 255, np.where(VALUES == 1, 150, 40)).astype(np.uint8)
    alone = write_raster(tmp_path / "p.tif", levels, names=(DESCRIPTION,))
    assert np.array_equal(opened(alone).mask(WHOLE), VALUES)
    folder = write_map(tmp_path / "map", VALUES, [field(10, 10, 30, 20)])
    shutil.copy(alone, folder / "probability.tif")
    subject = opened(folder / "probability.tif")  # 150 / 254 is below the 0.6 of map.json
    assert subject.threshold == 0.6 and not (subject.mask(WHOLE) == 1).any() and subject.notes == ()


def test_a_mask_in_floats_with_nan_is_a_mask(tmp_path: Path):
    path = write_mask(tmp_path / "m.tif", np.where(VALUES == 255, np.nan, VALUES).astype(np.float32))
    subject = opened(path)
    assert subject.probability is None and np.array_equal(subject.mask(WHOLE), VALUES)


def test_the_folder_of_a_map_has_its_probability_and_its_parcels(tmp_path: Path):
    subject = opened(write_map(tmp_path / "map", VALUES, [field(10, 10, 30, 20)], name="the scene"))
    assert subject.ground.name == "the scene" and subject.model == "abc" and subject.threshold == 0.6
    assert subject.fields is not None and len(subject.fields.near(subject.fields.bounds())[0]) == 1
    assert [path.name for path in subject.files] == ["mask.tif", "probability.tif", "parcels.parquet"]


def test_a_map_without_cropland_has_no_field(tmp_path: Path):
    subject = opened(write_map(tmp_path / "map", np.zeros_like(VALUES), []))
    assert subject.fields is not None
    assert len(subject.fields.meeting(subject.ground.grid.extent)[0]) == 0
    found = connected_regions(subject.mask, subject.ground, tmp_path)
    assert len(found.meeting(subject.ground.grid.extent)[0]) == 0


def test_a_folder_of_maps_leaves_the_mosaic_out_and_tells_maps_of_one_scene_apart(tmp_path: Path):
    for name in ("a", "b", "mosaic"):
        write_map(tmp_path / name, VALUES, [field(10, 10, 30, 20)], name="same")
    (tmp_path / "notes").mkdir()
    assert [each.ground.name for each in open_subjects(tmp_path, SubjectOptions(), labels=LABELS)] == ["a", "b"]


@pytest.mark.parametrize("suffix", [".parquet", ".gpkg"])
def test_parcels_beside_their_mask_are_counted_where_it_has_data(tmp_path: Path, suffix: str):
    folder = write_map(tmp_path / "map", VALUES, [field(10, 10, 30, 20)])
    if suffix == ".gpkg":
        gpd.read_parquet(folder / "parcels.parquet").to_file(folder / "parcels.gpkg")
    subject = opened(folder / f"parcels{suffix}")
    assert np.array_equal(subject.mask(WHOLE), VALUES) and subject.notes == ()
    finer = NamedGrid("finer", subject.ground.grid.zoom_out(0.5))
    assert np.array_equal(subject.elsewhere(finer)(Window(0, 0, 120, 160)), np.kron(VALUES, np.ones((2, 2))))


@pytest.mark.parametrize("crs", [32650, 4326])
def test_foreign_parcels_are_counted_on_a_grid_in_metres_that_is_told(tmp_path: Path, crs: int):
    gpd.GeoDataFrame(geometry=[field(10, 10, 30, 20)], crs=CRS).to_crs(crs).to_file(tmp_path / "p.gpkg")
    area = write_polygons(tmp_path / "area.gpkg", geometry=[field(0, 0, 80, 50)])
    subject = opened(tmp_path / "p.gpkg", labels=LabelOptions(whole="other", inside=area), pixel_m=10.0)
    assert subject.ground.shape == (50, 80) and subject.ground.grid.crs == CRS
    assert np.array_equal(subject.mask(Window(0, 0, 50, 80)), VALUES[:50])
    assert "a grid of 10 m in WGS 84 / UTM zone 50N (EPSG:32650) over area.gpkg" in subject.notes[0]
    assert opened(tmp_path / "p.gpkg").ground.grid.affine.a == 10  # a twentieth of the width, rounded down
    raster = write_mask(tmp_path / "labels.tif", VALUES)
    on_raster = opened(tmp_path / "p.gpkg", labels=LabelOptions(labels=raster), pixel_m=3.0)
    assert on_raster.ground.shape == (60, 80) and on_raster.notes == ()


def test_a_mask_without_a_crs_has_its_pixel_from_the_user(tmp_path: Path):
    path = write_raster(tmp_path / "m.tif", VALUES, nodata=255, crs=None, transform=Affine.identity())
    subject = opened(path, pixel_m=4.0)
    assert subject.ground.pixel_sides_m == (4, 4) and np.array_equal(subject.mask(WHOLE), VALUES)
    (tmp_path / "work").mkdir()
    frame, _ = connected_regions(subject.mask, subject.ground, tmp_path / "work").meeting(subject.ground.grid.extent)
    assert len(frame) == 1 and frame.geometry.iloc[0].area == pytest.approx(600, rel=0.02)
    with pytest.raises(GridError, match="pixel_m"):
        opened(path)


def test_imagery_that_does_not_meet_the_map_is_told(tmp_path: Path):
    mask = write_mask(tmp_path / "m.tif", VALUES)
    rgb = np.random.default_rng(0).integers(1, 255, (3, 60, 80)).astype(np.uint8)
    here = write_mask(tmp_path / "here.tif", rgb, names=("red", "green", "blue"))
    away = write_mask(
        tmp_path / "away.tif", rgb, names=("red", "green", "blue"), transform=Affine(10, 0, LEFT + 9000, 0, -10, TOP)
    )
    assert opened(mask, imagery=here).imagery is not None
    with pytest.raises(SceneError, match="does not meet m; give the scene that was mapped"):
        opened(mask, imagery=away)


def two_bands(folder: Path) -> Path:
    return write_mask(folder / "two.tif", np.stack([VALUES, VALUES]))


def percent(folder: Path) -> Path:
    return write_mask(folder / "percent.tif", np.where(VALUES == 1, 80, 20).astype(np.float32))


def mask(folder: Path) -> Path:
    return write_mask(folder / "m.tif", VALUES)


def a_map(folder: Path) -> Path:
    return write_map(folder / "map", VALUES, [field(10, 10, 30, 20)])


def of_another_grid(folder: Path) -> Path:
    write_mask(a_map(folder) / "probability.tif", VALUES[:20, :30], names=(DESCRIPTION,))
    return folder / "map"


def broken_json(folder: Path) -> Path:
    (a_map(folder) / "map.json").write_text("{no", encoding="utf-8")
    return folder / "map"


def without_a_mask(folder: Path) -> Path:
    (a_map(folder) / "mask.tif").unlink()
    return folder / "map"


def no_map(folder: Path) -> Path:
    (folder / "list").mkdir()
    (folder / "list" / "map.json").write_text(json.dumps([1]), encoding="utf-8")
    return folder / "list"


def two_maps(folder: Path) -> Path:
    a_map(folder / "maps")
    return folder / "maps"


def parcels(folder: Path) -> Path:
    return write_polygons(folder / "p.gpkg", geometry=[field(0, 0, 9, 9)])


def text(folder: Path) -> Path:
    (folder / "notes.txt").write_text("hello", encoding="utf-8")
    return folder / "notes.txt"


@pytest.mark.parametrize(
    ("make", "options", "error", "line"),
    [
        (two_bands, {}, SceneError, "two.tif has 2 bands, expected one"),
        (percent, {}, SceneError, "holds values from 20 to 80; a probability lies between 0 and 1"),
        (mask, {"threshold": 0.5}, SceneError, "m.tif is a mask; threshold"),
        (a_map, {"threshold": 0.5}, InputError, "has a mask of its own"),
        (parcels, {"threshold": 0.5}, SceneError, "p.gpkg holds polygons; threshold"),
        (of_another_grid, {}, GridError, "probability.tif is not on the grid of the mask"),
        (broken_json, {}, SceneError, "map.json cannot be read"),
        (without_a_mask, {}, SceneError, "mask.tif is not there"),
        (no_map, {}, SceneError, "holds no map"),
        (two_maps, {"imagery": Path("any.tif")}, InputError, "imagery= is one scene and .* holds 1 maps"),
        (mask, {"imagery": Path("nowhere.tif")}, CroplandError, "nowhere.tif is not there"),
        (text, {}, LabelError, "notes.txt is not a vector file"),
    ],
)
def test_what_is_no_map_is_refused(tmp_path: Path, make, options, error, line):
    with pytest.raises(error, match=line):
        for subject in open_subjects(make(tmp_path), SubjectOptions(**options), labels=LABELS):
            subject.mask(Window(0, 0, *subject.ground.shape))
