"""The folder of a map leads back to its scene, also after both were moved together."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from cropland.errors import SceneError
from cropland.geo.map_folder import MapFolder, imagery_of
from cropland.geo.scene import open_scene
from rasters import write_raster


def write_map(folder: Path, imagery: object) -> Path:
    folder.mkdir(parents=True)
    about = {"found": {}, "options": {"threshold": 0.4}, "imagery": imagery, "scene": {"crs": "EPSG:32650"}}
    (folder / "map.json").write_text(json.dumps(about), encoding="utf-8")
    return folder


def scene_of_two_files(folder: Path) -> list[Path]:
    place = {"transform": Affine(10, 0, 400_000, 0, -10, 4_000_000), "crs": "EPSG:32650"}
    folder.mkdir(parents=True)
    return [
        write_raster(folder / "a.tif", np.stack([np.full((4, 5), 1), np.full((4, 5), 2)]).astype(np.uint8), **place),
        write_raster(folder / "b.tif", np.full((4, 5), 3, np.uint8), **place),
    ]


def test_a_map_leads_to_its_scene_also_after_a_move(tmp_path: Path):
    scene = open_scene(scene_of_two_files(tmp_path / "job" / "in"), bands={"red": 3, "green": 2})
    write_map(tmp_path / "job" / "out", imagery_of(scene, tmp_path / "job" / "out"))
    shutil.move(tmp_path / "job", tmp_path / "moved")
    found = MapFolder.find(tmp_path / "moved" / "out" / "mask.tif")
    assert found is not None and found.threshold == 0.4
    again = found.imagery()
    assert again is not None and again.bands == scene.bands
    assert again.read().values[:, 0, 0].tolist() == [3, 2]


def test_a_scene_that_is_gone_is_none(tmp_path: Path):
    scene = open_scene(scene_of_two_files(tmp_path / "in"), bands={"red": 1, "green": 2, "blue": 3})
    folder = write_map(tmp_path / "out", imagery_of(scene, tmp_path / "out"))
    (tmp_path / "in" / "b.tif").unlink()
    found = MapFolder.find(folder)
    assert found is not None and found.imagery() is None
    nowhere = MapFolder.find(write_map(tmp_path / "other", None))
    assert nowhere is not None and nowhere.imagery() is None


def test_a_folder_without_a_map_and_a_damaged_one(tmp_path: Path):
    assert MapFolder.find(tmp_path) is None
    (tmp_path / "map.json").write_text("{", encoding="utf-8")
    with pytest.raises(SceneError, match="map the scene again"):
        MapFolder.find(tmp_path)
