"""Scenes of every kind of file, read whole, in windows, and at other pixel sizes."""

import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.shutil import copy
from rasterio.shutil import copy as rasterio_copy

from cropland.errors import BandError, SceneError
from cropland.geo.bands import parse_bands
from cropland.geo.scene import Image, open_scene, open_scenes
from cropland.geo.window import Window, tiles

RGB = ("red", "green", "blue")


def everything(scene):
    return Window(0, 0, *scene.shape)


@pytest.mark.parametrize(
    ("name", "driver", "dtype"),
    [
        ("scene.tif", "GTiff", "uint8"),
        ("麦田_二〇二三.tif", "GTiff", "uint16"),
        ("scene.tif", "GTiff", "int16"),
        ("scene.tif", "GTiff", "float32"),
        ("scene.tif", "COG", "uint8"),
        ("scene.img", "HFA", "uint16"),
        ("scene.dat", "ENVI", "int16"),
        ("scene.jp2", "JP2OpenJPEG", "uint16"),
    ],
)
def test_formats_give_the_numbers_as_they_are(write, tmp_path, picture, name, driver, dtype):
    values = picture.astype(dtype)
    if driver in ("COG", "JP2OpenJPEG"):  # made by copying
        source = write("source.tif", values, names=RGB)
        options = {"REVERSIBLE": "YES", "QUALITY": "100"} if driver == "JP2OpenJPEG" else {}
        rasterio_copy(source, tmp_path / name, driver=driver, **options)
    else:
        write(name, values, names=RGB, driver=driver)
    scene = open_scene(tmp_path / name, bands=parse_bands("red=1,green=2,blue=3"))
    image = scene.read(everything(scene), bands=("blue", "red"))
    np.testing.assert_array_equal(image.values, picture[[2, 0]].astype(np.float32))
    assert image.values.dtype == np.float32 and image.valid.all()
    assert scene.shape == (40, 60) and scene.grid.crs.epsg == 32650


@pytest.mark.parametrize(
    ("driver", "name", "world"), [("PNG", "tile.png", "tile.pgw"), ("JPEG", "tile.jpg", "tile.jgw")]
)
def test_a_picture_with_a_world_file(tmp_path, picture, driver, name, world):
    with rasterio.open(tmp_path / name, "w", driver=driver, count=3, height=40, width=60, dtype="uint8") as file:
        file.write(picture)
    (tmp_path / world).write_text("0.00001\n0\n0\n-0.00001\n116\n40\n", encoding="utf-8")
    scene = open_scene(tmp_path / name, crs="EPSG:4326")
    assert scene.bands == RGB
    assert scene.pixel_m == pytest.approx(0.9738, abs=1e-3)
    assert scene.read(everything(scene), bands=RGB).values.shape == (3, 40, 60)


def test_a_vrt_beside_its_file(write, tmp_path, picture):
    write("red.tif", picture[:1])
    (tmp_path / "scene.vrt").write_text(
        '<VRTDataset rasterXSize="60" rasterYSize="40"><SRS>EPSG:32650</SRS>'
        "<GeoTransform>500000,10,0,4000000,0,-10</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><Description>red</Description><SimpleSource>'
        '<SourceFilename relativeToVRT="1">red.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>',
        encoding="utf-8",
    )
    scene = open_scene(tmp_path / "scene.vrt")
    np.testing.assert_array_equal(scene.read(everything(scene), bands=["red"]).values[0], picture[0])


def test_one_file_per_band_as_a_list_and_as_a_folder(write, picture):
    stems = [f"S2/T50SKJ_20230601_B0{n}" for n in (2, 3, 4)]
    paths = [write(f"{stem}.tif", picture[[i]].astype(np.uint16)) for i, stem in enumerate(stems)]
    for given in (paths, paths[0].parent):
        scene = open_scene(given)
        assert scene.bands == ("blue", "green", "red") and scene.name == "T50SKJ_20230601"
        image = scene.read(Window(5, 6, 7, 8), bands=("red", "blue"))
        np.testing.assert_array_equal(image.values, picture[[2, 0], 5:12, 6:14])


def test_a_products_folder_holds_bands_of_other_sizes(write, picture):
    path = write("R10m/T50SKJ_20230601_B04.tif", picture[:1].astype(np.uint16))
    write("R10m/T50SKJ_20230601_B11.tif", picture[:1, :20, :30].astype(np.uint16))
    write("R10m/T50SKJ_20230601_TCI.tif", picture)
    scene = open_scene(path.parent)
    assert scene.bands[0] == "red" and "swir16" not in scene.bands and len(scene.files) == 2
    assert any("pixel size differs: swir16" in note for note in scene.notes)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 2.7, 0.5])
@pytest.mark.parametrize("nodata", [None, 0])
def test_windows_are_parts_of_the_whole(write, picture, ratio, nodata):
    picture[:, 10:20, :15] = 0
    scene = open_scene(write("scene.tif", picture, names=RGB, nodata=nodata))
    shape = tuple(scene.working_grid(ratio).shape)
    whole = scene.read(Window(0, 0, *shape), bands=RGB, ratio=ratio)
    for tile in tiles(shape, size=16, halo=3, stride=2):
        image = scene.read(tile.padded, bands=RGB, ratio=ratio)
        assert np.array_equal(image.values, whole.values[:, *tile.padded.slices])
        assert np.array_equal(image.valid, whole.valid[tile.padded.slices])


def test_a_large_window_is_read_in_pieces_of_the_same_values(write, picture, monkeypatch):
    scene = open_scene(write("scene.tif", picture, names=RGB, nodata=0))
    whole = scene.read(Window(0, 0, 16, 24), bands=RGB, ratio=2.5)
    monkeypatch.setattr("cropland.geo.scene.AT_ONCE", 200)
    np.testing.assert_array_equal(scene.read(Window(0, 0, 16, 24), bands=RGB, ratio=2.5).values, whole.values)


def test_the_working_grid_keeps_the_origin_and_covers_the_scene(write, picture):
    scene = open_scene(write("scene.tif", picture, names=RGB))
    grid = scene.working_grid(2.5)
    assert tuple(grid.shape) == (16, 24) and grid.affine == Affine(25, 0, 500_000, 0, -25, 4_000_000)


def test_decimated_reads_show_the_scene_and_use_overviews(write):
    values = np.add.outer(np.arange(400), np.arange(600))[None].repeat(3, axis=0).astype(np.uint16)
    path = write("scene.tif", values, names=RGB)
    image = open_scene(path).read_decimated(bands=RGB, max_pixels=2400)
    assert image.values.shape == (3, 40, 60)
    np.testing.assert_allclose(image.values[0], values[0, 5::10, 5::10], atol=20)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4, 8], rasterio.enums.Resampling.average)
    np.testing.assert_allclose(
        open_scene(path).read_decimated(bands=RGB, max_pixels=2400).values, image.values, atol=20
    )


def test_a_scene_travels_to_other_processes_and_threads(write, picture):
    scene = pickle.loads(pickle.dumps(open_scene(write("scene.tif", picture, names=RGB))))
    windows = [tile.core for tile in tiles(scene.shape, size=8, halo=0, stride=1)]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda window: scene.read(window, bands=RGB), windows * 5))
    for window, image in zip(windows * 5, images, strict=True):
        np.testing.assert_array_equal(image.values, picture[:, *window.slices])


def test_a_replaced_file_is_read_anew(write, picture):
    path = write("scene.tif", picture, names=RGB)
    assert open_scene(path).read(Window(0, 0, 1, 1), bands=["red"]).values[0, 0, 0] == picture[0, 0, 0]
    write("scene.tif", picture[:, ::-1], names=RGB, compress="deflate")
    assert open_scene(path).read(Window(0, 0, 1, 1), bands=["red"]).values[0, 0, 0] == picture[0, -1, 0]


def test_a_band_that_is_not_there(write, picture):
    scene = open_scene(write("scene.tif", picture, names=RGB))
    with pytest.raises(BandError, match=r"scene has no band nir \(it has red, green, blue\).*bands='nir="):
        scene.read(everything(scene), bands=("red", "nir"))


def test_sentinel2_numbers_lose_their_offset(write, picture):
    values = picture.astype(np.uint16) + 1000
    values[:, 0, 0] = 0
    scene = open_scene(write("s2.tif", values, names=("B04", "B03", "B02"), tags={"PROCESSING_BASELINE": "05.09"}))
    image = scene.read(everything(scene), bands=RGB)
    np.testing.assert_array_equal(image.values[:, 1:], picture[:, 1:])
    assert not image.valid[0, 0] and image.values[0, 0, 0] == 0
    assert any("-1000" in note for note in scene.notes)


def test_a_file_cut_off_in_the_middle(write, picture):
    path = write("scene.tif", np.tile(picture, (1, 20, 20)), names=RGB, compress="deflate", nodata=0, tiled=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SceneError, match="damaged or cut off"):
        scene = open_scene(path)
        scene.read(everything(scene), bands=RGB)


@pytest.mark.parametrize("folder", ["scenes/s2_delmarva", "s2_korea/images"])
def test_real_scenes(shared_data: Path, folder):
    scene = open_scene(min((shared_data / folder).glob("*.tif")))
    assert set(RGB) <= set(scene.bands) and scene.pixel_m == pytest.approx(10, rel=2e-3)
    assert scene.read(Window(100, 100, 64, 64), bands=RGB, ratio=2.0).valid.all()


def test_the_halves_of_a_decimated_scene_show_the_pixels_of_the_whole(tmp_path):
    """They are read in threads of their own where height and rows are even."""
    values = np.random.default_rng(0).integers(0, 9999, (1, 618, 413)).astype(np.uint16)
    values[:, :40, :90] = 0
    profile = {"driver": "GTiff", "count": 1, "height": 618, "width": 413, "dtype": "uint16", "nodata": 0}
    with rasterio.open(
        tmp_path / "s.tif", "w", crs="EPSG:32650", transform=Affine(9, 0, 0, 0, -9, 0), **profile
    ) as file:
        file.write(values)
    scene = open_scene(tmp_path / "s.tif", bands={"red": 1})
    for pixels in range(5000, 9000, 97):
        image = scene.read_decimated(bands=["red"], max_pixels=pixels)
        expected, valid = scene.no_data.read(scene.layers, Window(0, 0, 618, 413), shape=image.valid.shape)
        assert np.array_equal(image.values, np.where(valid, expected, 0)) and np.array_equal(image.valid, valid)


RGB_of_scenes = ("red", "green", "blue")


def names(*given: object, **options: object) -> list[str]:
    return [scene.name for scene in open_scenes(given, **options)]


def test_a_pattern_that_no_shell_expanded(write, picture, tmp_path, monkeypatch):
    for name in ("b", "a", "c/d"):
        write(f"tiles/{name}.tif", picture, names=RGB_of_scenes)
    (tmp_path / "tiles" / "a.tif.aux.xml").write_text("<PAMDataset/>", encoding="utf-8")
    (tmp_path / "tiles" / "._a.tif").write_bytes(b"of macOS")
    assert names(str(tmp_path / "tiles" / "*")) == ["a", "b", "d"]  # c is a folder of one image
    assert names(str(tmp_path / "tiles" / "**" / "*.tif")) == ["a", "b", "d"]
    monkeypatch.chdir(tmp_path)
    assert names("tiles/[ab].tif", Path("tiles/c/d.tif")) == ["a", "b", "d"]
    with pytest.raises(SceneError, match=r"no file fits tiles/\*\.jp2"):
        names("tiles/*.jp2")


def test_a_name_may_have_brackets(write, picture):
    assert names(write("scene[1].tif", picture, names=RGB_of_scenes)) == ["scene[1]"]


def test_a_folder_of_bands_is_one_scene_and_of_images_several(write, picture, tmp_path):
    for name, band in zip(RGB_of_scenes, picture, strict=True):
        write(f"bands/T50_{name}.tif", band[None])
    write("images/x.tif", picture, names=RGB_of_scenes)
    write("images/y.tif", picture, names=RGB_of_scenes)
    assert names(tmp_path / "bands", tmp_path / "images") == ["T50", "x", "y"]
    write("bands/T50_TCI.tif", picture)  # a preview among the bands
    assert len(names(tmp_path / "bands", bands={"red": 1, "green": 2, "blue": 3})) == 1


def test_a_folder_of_folders(write, picture, tmp_path):
    for date in ("2020", "2021"):
        for name, band in zip(RGB_of_scenes, picture, strict=True):
            write(f"years/{date}/{name}.tif", band[None])
    assert names(tmp_path / "years") == ["2020", "2021"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneError, match="no images in"):
        names(tmp_path / "empty")


def test_a_vrt_and_the_virtual_file_systems(write, picture, tmp_path):
    path = write("north.tif", picture, names=RGB_of_scenes, tiled=True, blockxsize=16, blockysize=16)
    copy(path, tmp_path / "all.vrt", driver="VRT")
    assert names(tmp_path / "all.vrt", f"/vsisubfile/0_{path.stat().st_size},{path}") == ["all", "north"]


def test_the_time_of_the_image(write, picture):
    path = write("t.tif", picture, names=RGB_of_scenes, tags={"TIFFTAG_DATETIME": "2024:05:01 10:20:30"})
    assert open_scenes([path])[0].observed == datetime(2024, 5, 1, 10, 20, 30, tzinfo=UTC)
    assert open_scenes([write("u.tif", picture, names=RGB_of_scenes)])[0].observed is None


def test_an_image_knows_its_bands_and_its_place(write, picture):
    scene = open_scene(write("scene.tif", picture, names=RGB))
    image = scene.read(Window(6, 4, 10, 20), bands=("red", "blue"), ratio=2.0)
    assert image.bands == ("red", "blue") and tuple(image.grid.shape) == (10, 20)
    assert image.grid.affine == Affine(20, 0, 500_080, 0, -20, 3_999_880) and image.grid.crs == scene.grid.crs
    small = scene.read_decimated(bands=RGB, max_pixels=600)
    assert small.grid.boundingbox == scene.grid.boundingbox and tuple(small.grid.shape) == small.valid.shape


@pytest.mark.parametrize("ratio", [1.0, 2.5])
def test_without_a_window_all_of_a_scene_is_read(write, picture, ratio):
    scene = open_scene(write("scene.tif", picture, names=RGB))
    image = scene.read(ratio=ratio)
    assert image.bands == RGB and tuple(image.grid.shape) == tuple(scene.working_grid(ratio).shape)
    np.testing.assert_array_equal(
        image.values, scene.read(Window(0, 0, *image.valid.shape), bands=RGB, ratio=ratio).values
    )


def test_the_picture_of_an_image_is_red_green_and_blue_whatever_their_order():
    values = np.arange(4 * 6, dtype=np.float32).reshape(4, 2, 3)
    valid = np.ones((2, 3), bool)
    valid[0, 0] = False
    image = Image(values, valid, bands=("blue", "green", "red", "nir"))
    shown = image.rgb((0, 0, 0, 0), (255, 255, 51, 1))
    assert shown[1, 2].tolist() == [17 * 5, 11, 5] and shown[0, 0].tolist() == [127, 127, 127]
    seen = image.rgba()
    assert seen.shape == (2, 3, 4) and seen[0, 0, 3] == 0 and seen[1, 2].tolist() == [1, 1, 1, 1]
    one = Image(values[:1], valid, bands=("nir",)).rgb((0,), (5,))
    assert (one == one[:, :, :1]).all() and one[1, 2, 0] == 255


def test_an_image_shows_itself(write, picture):
    shown = open_scene(write("scene.tif", picture, names=RGB)).read()._repr_html_()
    assert "red, green, blue" in shown and "60 x 40 pixels" in shown
    assert "data:image/png;base64,iVBOR" in shown
    alone = Image(np.zeros((1, 900, 4), np.float32), np.zeros((900, 4), bool))._repr_html_()
    assert "4 x 900 pixels<" in alone and "none" in alone


def test_a_scene_that_nobody_holds_is_forgotten(write, picture):
    scene = open_scene(write("scene.tif", picture, names=RGB))
    assert scene.read_decimated(bands=RGB) is scene.read_decimated(bands=RGB)
    gone = weakref.ref(scene)
    del scene
    gc.collect()
    assert gone() is None


def test_statistics_are_the_percentiles_of_valid_pixels(write, picture):
    picture[:, :, :7] = 0
    picture[1, :, 7:] = 90
    statistics = open_scene(write("scene.tif", picture, names=RGB, nodata=0)).statistics(("blue", "green"))
    low, high = np.percentile(picture[2, :, 7:], (2, 98))
    assert statistics.bands == ("blue", "green")
    assert (statistics.low, statistics.high) == (pytest.approx((low, 90)), pytest.approx((high, 91)))
