"""Files that are no scenes: one line that says what came and what to do."""

import numpy as np
import pytest

from cropland.errors import SceneError
from cropland.geo import datasets
from cropland.geo.scene import open_scene


def message(path, content=None):
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SceneError) as caught:
        open_scene(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing(tmp_path):
    assert "no.tif is not there; give the path of an image" in message(tmp_path / "no.tif")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\n<!DOCTYPE html><html>404</html>", "is a web page, not an image"),
        (b"", "is empty"),
        (b"II*\0\x08\0\0\0", "is damaged or cut off"),
        (b"name,value\n1,2\n", "is not an image that GDAL can read; give a GeoTIFF"),
    ],
)
def test_not_an_image(tmp_path, content, expected):
    assert expected in message(tmp_path / "scene.tif", content)


def test_an_empty_folder(tmp_path):
    assert "no images in" in message(tmp_path)


def test_complex_numbers(write):
    assert "holds complex numbers" in message(write("radar.tif", np.ones((1, 4, 4), np.complex64)))


def test_few_files_stay_open(write, picture):
    paths = [write(f"{i}.tif", picture, names=("red", "green", "blue")) for i in range(datasets.KEPT + 5)]
    for path in paths:
        open_scene(path)
    assert len(datasets._kept()) <= datasets.KEPT
