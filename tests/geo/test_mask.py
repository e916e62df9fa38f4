"""A mask is read as it is, and what is none is refused."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from cropland.errors import SceneError
from cropland.geo.mask import Mask, mask_classes
from cropland.geo.window import Window
from rasters import write_raster


def test_pixels_and_their_centres(tmp_path: Path):
    turned = Affine.translation(500_000, 4_000_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    mask = Mask.open(write_raster(tmp_path / "mask.tif", np.zeros((120, 150), np.uint8), transform=turned))
    rows, cols = np.array([0, 7, 119]), np.array([0, 149, 3])
    assert [each.tolist() for each in mask.pixels(*mask.coordinates(rows, cols))] == [rows.tolist(), cols.tolist()]
    assert [each.tolist() for each in mask.pixels(np.array([0.0]), np.array([0.0]))] == [[-1], [-1]]


def test_a_probability_is_no_mask(tmp_path: Path):
    levels = write_raster(tmp_path / "probability.tif", np.arange(200, dtype=np.uint8).reshape(10, 20))
    with pytest.raises(SceneError, match=r"holds the values 2, 3, 4, .*; a mask is 1 cropland, 0 not cropland"):
        Mask.open(levels).read(Window(0, 0, 10, 20))


def test_what_is_not_valid_is_no_data():
    values, valid = np.array([[0.0, 1.0, 255.0, 7.0]]), np.array([[True, True, True, False]])
    assert mask_classes(values, valid, path=Path("mask.tif")).tolist() == [[0, 1, 255, 255]]


def test_a_mask_of_a_map_is_called_by_its_scene(tmp_path: Path):
    path = write_raster(tmp_path / "map" / "mask.tif", np.ones((2, 2), np.uint8))
    assert Mask.open(path).title == "mask.tif"
    (path.parent / "map.json").write_text('{"found": {}, "scene": {"name": "north"}}', encoding="utf-8")
    assert Mask.open(path.parent).title == "north" and Mask.open(path.parent).path == path
