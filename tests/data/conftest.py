"""The small scene and its polygons, as files."""

from pathlib import Path

import pytest
import small_scene


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return small_scene.write_raster(tmp_path / "scene.tif")


@pytest.fixture
def fields_path(tmp_path: Path) -> Path:
    path = tmp_path / "fields.gpkg"
    small_scene.fields().to_file(path)
    return path
