"""What a person gives: files, patterns, folders of bands, of images, of folders."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from rasterio.shutil import copy

from cropland.errors import SceneError
from cropland.geo.scenes import open_scenes

RGB = ("red", "green", "blue")


def names(*given: object, **options: object) -> list[str]:
    return [scene.name for scene in open_scenes(given, **options)]


def test_a_pattern_that_no_shell_expanded(write, picture, tmp_path, monkeypatch):
    for name in ("b", "a", "c/d"):
        write(f"tiles/{name}.tif", picture, names=RGB)
    (tmp_path / "tiles" / "a.tif.aux.xml").write_text("<PAMDataset/>", encoding="utf-8")
    (tmp_path / "tiles" / "._a.tif").write_bytes(b"of macOS")
    assert names(str(tmp_path / "tiles" / "*")) == ["a", "b", "d"]  # c is a folder of one image
    assert names(str(tmp_path / "tiles" / "**" / "*.tif")) == ["a", "b", "d"]
    monkeypatch.chdir(tmp_path)
    assert names("tiles/[ab].tif", Path("tiles/c/d.tif")) == ["a", "b", "d"]
    with pytest.raises(SceneError, match=r"no file fits tiles/\*\.jp2"):
        names("tiles/*.jp2")


def test_a_name_may_have_brackets(write, picture):
    assert names(write("scene[1].tif", picture, names=RGB)) == ["scene[1]"]


def test_a_folder_of_bands_is_one_scene_and_of_images_several(write, picture, tmp_path):
    for name, band in zip(RGB, picture, strict=True):
        write(f"bands/T50_{name}.tif", band[None])
    write("images/x.tif", picture, names=RGB)
    write("images/y.tif", picture, names=RGB)
    assert names(tmp_path / "bands", tmp_path / "images") == ["T50", "x", "y"]
    write("bands/T50_TCI.tif", picture)  # a preview among the bands
    assert len(names(tmp_path / "bands", bands={"red": 1, "green": 2, "blue": 3})) == 1


def test_a_folder_of_folders(write, picture, tmp_path):
    for date in ("2020", "2021"):
        for name, band in zip(RGB, picture, strict=True):
            write(f"years/{date}/{name}.tif", band[None])
    assert names(tmp_path / "years") == ["2020", "2021"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneError, match="no images in"):
        names(tmp_path / "empty")


def test_a_vrt_and_the_virtual_file_systems(write, picture, tmp_path):
    path = write("north.tif", picture, names=RGB, tiled=True, blockxsize=16, blockysize=16)
    copy(path, tmp_path / "all.vrt", driver="VRT")
    assert names(tmp_path / "all.vrt", f"/vsisubfile/0_{path.stat().st_size},{path}") == ["all", "north"]


def test_the_time_of_the_image(write, picture):
    path = write("t.tif", picture, names=RGB, tags={"TIFFTAG_DATETIME": "2024:05:01 10:20:30"})
    assert open_scenes([path])[0].observed == datetime(2024, 5, 1, 10, 20, 30, tzinfo=UTC)
    assert open_scenes([write("u.tif", picture, names=RGB)])[0].observed is None
