"""Files that are no scenes: one line that says what came and what to do."""

import pickle

import numpy as np
import pytest
from rasterio.shutil import copy

from cropland.errors import ReadError, SceneError
from cropland.geo import datasets
from cropland.geo.scene import open_scene
from cropland.geo.tiles import Window


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


@pytest.fixture
def cut_off(write):
    """A scene opened while it was whole, its file cut off since; and the whole content."""
    values = np.random.default_rng(0).integers(1, 255, (3, 800, 400)).astype(np.uint8)
    path = write("a.tif", values, names=("red", "green", "blue")).with_name("scene.tif")
    copy(path.with_name("a.tif"), path, driver="COG", blocksize=128, overviews="none")  # its directory comes first
    scene, content = open_scene(path), path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return scene, path, content, values


END = Window(700, 300, 100, 100)


def test_a_file_that_is_still_being_copied_is_waited_for(cut_off, monkeypatch):
    scene, path, content, values = cut_off
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            path.write_bytes(content)

    monkeypatch.setattr(datasets.time, "sleep", sleep)
    image = scene.read(END, bands=("red", "green", "blue"))
    np.testing.assert_array_equal(image.values, values[:, *END.slices])
    assert waited == [0.5, 2.0]


def test_a_window_that_is_lost_is_told_and_the_rest_is_there(cut_off, monkeypatch):
    scene, path, _content, values = cut_off
    monkeypatch.setattr(datasets, "WAITS", ())
    with pytest.raises(
        ReadError, match=r"scene.tif cannot be read in rows 700 to 799, columns 300 to 399 \("
    ) as caught:
        scene.read(END, bands=("red",))
    assert caught.value.path == path and caught.value.window == END and caught.value.exit_status == 3
    again = pickle.loads(pickle.dumps(type(caught.value)(*caught.value.args)))  # without what caused it
    assert (str(again), again.window) == (str(caught.value), END)
    np.testing.assert_array_equal(scene.read(Window(0, 0, 9, 9), bands=("red",)).values, values[:1, :9, :9])
    path.unlink()
    with pytest.raises(ReadError, match="No such file"):
        scene.read(END, bands=("red",))


def test_what_is_damaged_at_the_first_look_is_no_scene(cut_off, monkeypatch):
    scene, path, *_ = cut_off
    monkeypatch.setattr(datasets, "WAITS", ())
    for look in (lambda: open_scene(path), lambda: scene.read_decimated(bands=("red",))):
        with pytest.raises(SceneError, match=r"scene.tif is damaged or cut off"):
            look()
