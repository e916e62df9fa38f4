"""`cropland chips` from files to a folder that trains: real scenes, real labels, real errors."""

import json
import os
import shutil

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from small_scene import CRS, FOREST, HEIGHT, RICE, WHEAT, WIDTH, write_raster

from cropland.cli import main
from cropland.data.chips import open_chips
from cropland.data.cut import cut_chips, windows
from cropland.data.labels import LabelOptions
from cropland.errors import ChipError
from cropland.geo.scene import SceneOptions, open_scene


@pytest.fixture
def chips(tmp_path, capsys):
    """Runs `cropland chips` and returns its status and what it said."""

    def run(*words):
        status = main(["chips", *map(str, words), "--out", str(tmp_path / "chips")])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return status, said.out + said.err

    run.out = tmp_path / "chips"
    return run


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_chips_hold_the_scene_and_its_labels(chips, scene, fields_path):
    status, said = chips(scene, "--labels", fields_path, "--preset", "dlbm", "--background", "unknown", "--size", 32)
    assert (status, "chips train" in said) == (0, True)
    folder = open_chips(chips.out)
    whole = open_scene(scene)
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    for value, (col, row, width, height) in ((0, FOREST), (1, RICE), (1, WHEAT)):
        expected[row : row + height, col : col + width] = value
    for number, row in enumerate(folder.index.itertuples()):
        chip = folder.read(number)
        part = np.s_[row.row : row.row + row.height, row.col : row.col + row.width]
        np.testing.assert_array_equal(chip.target, expected[part])
        with rasterio.open(scene) as file:
            np.testing.assert_array_equal(chip.image.values, file.read()[:, part[0], part[1]])
        assert row.share_cropland == pytest.approx((chip.target == 1).mean())
        assert row.share_cropland + row.share_other + row.share_unknown == pytest.approx(1)
        assert row.share_unknown < 1  # a chip of which nothing is known is not written
    assert folder.bands == whole.bands == ("red", "green", "blue")
    assert {*folder.index["pixel_m"]} == {whole.pixel_m}
    assert {*folder.index["source"]} == {*folder.index["group"]} == {"scene"}
    assert {*folder.index["split"]} == {"train", "validation"}


def test_under_a_cloud_mask_nothing_is_known(chips, scene, tmp_path):
    hidden = np.zeros((1, HEIGHT, WIDTH))
    hidden[:, :40] = 7
    mask = write_raster(tmp_path / "clouds.tif", hidden, bands=("clouds",))
    words = ["--whole", "cropland", "--size", 32, "--split", "train", "--mask", mask, "--mask-values", 7]
    assert chips(scene, *words)[0] == 0
    folder = open_chips(chips.out)
    for number, row in enumerate(folder.index.itertuples()):
        expected = np.where(np.arange(row.row, row.row + row.height) < 40, 255, 1)
        np.testing.assert_array_equal(
            folder.read(number).target, np.broadcast_to(expected[:, None], (row.height, row.width))
        )
    (cut,) = json.loads((chips.out / "chips.json").read_text(encoding="utf-8"))["cuts"]
    assert (cut["mask"], cut["mask_values"]) == ("clouds.tif", "7")


def test_footprints_lie_where_the_chips_lie(chips, scene):
    chips(scene, "--whole", "other", "--size", 32, "--split", "train")
    index = open_chips(chips.out).index
    assert index.crs.to_epsg() == 4326
    area = index.to_crs(CRS).geometry
    assert area.area.sum() == pytest.approx(HEIGHT * WIDTH * 100, rel=1e-6)
    assert area.union_all().area == pytest.approx(area.area.sum(), rel=1e-6)


def test_a_footprint_across_the_180th_meridian_is_cut_there(chips, tmp_path):
    """A scene of Fiji (17 S): chips of 0.003 degrees, none around the Earth; those on it touch both neighbours."""
    x, y = Transformer.from_crs(4326, 32760, always_xy=True).transform(180, -17)
    scene = write_raster(tmp_path / "a.tif", crs="EPSG:32760", transform=Affine(10, 0, x - 1055, 0, -10, y))
    assert chips(scene, "--whole", "other", "--size", 32, "--split", "train")[0] == 0
    parts = open_chips(chips.out).index.geometry.explode()
    width = parts.bounds["maxx"] - parts.bounds["minx"]
    assert len(parts) == 24 + 4 and width.max() < 0.0031 and parts.is_valid.all()
    geod = Geod(ellps="WGS84")
    area = sum(abs(geod.geometry_area_perimeter(part)[0]) for part in parts)
    assert area == pytest.approx(HEIGHT * WIDTH * 100, rel=2e-3)  # the projection's scale
    status, said = chips(scene.rename(tmp_path / "b.tif"), "--whole", "other", "--size", 32, "--append")
    assert status == 0 and "left out" in said


def test_the_folder_is_complete_in_itself(chips, scene, fields_path, tmp_path):
    chips(scene, "--labels", fields_path, "--background", "known", "--size", 32)
    moved = tmp_path / "elsewhere" / "chips"
    shutil.copytree(chips.out, moved)
    for gone in (scene, fields_path):
        gone.unlink()
    shutil.rmtree(chips.out)
    folder = open_chips(moved)
    assert all(folder.read(number).target.size for number in range(len(folder)))
    assert str(tmp_path) not in (moved / "chips.json").read_text(encoding="utf-8")
    expected = {"chips.json", "index.parquet", *folder.index["image"], *folder.index["label"]}
    assert {*files(moved)} == expected


@settings(max_examples=settings.default.max_examples // 25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(-150, 150), st.floats(-150, 150)), min_size=1, max_size=3), st.integers(24, 40))
def test_chips_of_overlapping_scenes_that_touch_are_on_one_side(tmp_path_factory, offsets, size):
    tmp_path = tmp_path_factory.mktemp("overlap")
    paths = [
        write_raster(tmp_path / f"s{number}.tif", np.full((1, 96, 80), 9), bands=("red",), offset=offset)
        for number, offset in enumerate([(0, 0), *offsets])
    ]
    whole, opening = LabelOptions(whole="other"), SceneOptions(bands="red=1")
    try:
        cut_chips(paths, whole, tmp_path / "chips", size=size, validation=0.25, opening=opening)
    except ChipError as error:  # of scenes that coincide there is too little ground for two sides
        assert "cannot be split" in str(error) and not (tmp_path / "chips").exists()
        return
    ground = open_chips(tmp_path / "chips").index.to_crs(CRS)
    train, validation = (ground[ground["split"] == side].geometry.union_all() for side in ("train", "validation"))
    assert train.distance(validation) > 0.4 * size * 10


@settings(max_examples=settings.default.max_examples // 4)
@given(st.tuples(st.integers(1, 90), st.integers(1, 90)), st.integers(1, 40))
def test_windows_share_a_grid_without_overlap_or_rest(shape, size):
    count = np.zeros(shape, int)
    for window in windows(shape, size=size):
        count[window.slices] += 1
        assert all(min(size, length) <= edge < 2 * size for edge, length in zip(window.shape, shape, strict=True))
    assert (count == 1).all()


def test_invalid_pixels_are_masked_and_unknown(chips, tmp_path):
    values = np.random.default_rng(0).integers(1, 200, (3, HEIGHT, WIDTH))
    values[:, 40:60, 30:50] = 0
    path = write_raster(tmp_path / "holes.tif", values, nodata=0)
    chips(path, "--whole", "cropland", "--split", "train", "--size", 500)
    chip = open_chips(chips.out).read(0)
    np.testing.assert_array_equal(chip.image.valid, (values != 0).all(axis=0))
    np.testing.assert_array_equal(chip.target, np.where(chip.image.valid, 1, 255))


def test_sixteen_bits_stay_sixteen_bits_and_the_percentiles_are_the_scenes(chips, tmp_path):
    values = np.random.default_rng(0).integers(1, 9000, (4, HEIGHT, WIDTH))
    path = write_raster(tmp_path / "影像.tif", values, bands=("blue", "green", "red", "nir"), dtype="uint16")
    status, _ = chips(path, "--whole", "other", "--size", 64, "--split", "train")
    folder = open_chips(chips.out)
    assert (status, folder.bands) == (0, ("blue", "green", "red", "nir"))
    with rasterio.open(chips.out / folder.index["image"][0]) as file:
        assert file.dtypes == ("uint16",) * 4
    expected = np.percentile(values.reshape(4, -1), (2, 98), axis=1)
    for row in folder.index.itertuples():
        np.testing.assert_allclose([row.low, row.high], expected)


def test_two_lines_in_a_notebook_do_the_same_as_the_command(chips, scene, fields_path, tmp_path):
    chips(scene, "--labels", fields_path, "--background", "known", "--size", 32)
    for number, one in enumerate((str(scene), [scene], open_scene(scene))):
        out = tmp_path / f"again_{number}"
        report = cut_chips(one, str(fields_path), str(out), background="known", size=32)
        assert files(out) == files(chips.out) and " chips train, " in repr(report)
        for name in files(out):
            assert (out / name).read_bytes() == (chips.out / name).read_bytes(), name
    with pytest.raises(ChipError, match="no scene to cut"):
        cut_chips([], fields_path, tmp_path / "none", background="known")


def test_labels_say_all_that_the_command_can_say(chips, scene, fields_path, tmp_path):
    chips(scene, "--labels", fields_path, "--background", "known", "--where", "crop = 'rice'", "--split", "train")
    labels = LabelOptions(str(fields_path), where="crop = 'rice'")
    cut_chips(scene, labels, tmp_path / "again", background="known", validation=0)
    assert (tmp_path / "again" / "chips.json").read_bytes() == (chips.out / "chips.json").read_bytes()


def test_many_small_images_with_one_word_each(chips, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("sea", "forest"):
        for number in range(12):
            pixels = rng.integers(1, 200, (3, 64, 64))
            write_raster(tmp_path / name / f"{name}_{number}.png", pixels, driver="PNG", crs=None, transform=None)
    sea, forest = (sorted((tmp_path / name).glob("*.png")) for name in ("sea", "forest"))
    status, said = chips(*sea, "--whole", "other", "--pixel-m", 10)
    assert status == 0
    assert said.count("No coordinate reference system") == 1  # what many scenes share is said once
    assert chips(*forest, "--whole", "other", "--pixel-m", 10, "--append", "--split", "validation")[0] == 0
    index = open_chips(chips.out).index
    assert index.groupby(["group", "split"]).size().to_dict() == {
        ("forest", "validation"): 12,
        ("sea", "train"): 10,
        ("sea", "validation"): 2,
    }
    assert index.geometry.isna().all() and {*index["pixel_m"]} == {10.0} and {*index["share_other"]} == {1.0}
    with rasterio.open(chips.out / index["image"][0]) as file:
        assert file.crs is None and file.transform == Affine(10, 0, 0, 0, -10, 640)  # metres from the lower left


def test_scenes_are_added_with_the_bands_of_the_folder(chips, tmp_path):
    first = write_raster(tmp_path / "a.tif")
    second = write_raster(tmp_path / "b.tif", bands=("blue", "green", "red", "nir"), offset=(400, 0))
    third = write_raster(tmp_path / "c.tif", bands=("red", "nir"), offset=(800, 0))
    common = ("--whole", "other", "--size", 64, "--split", "train")
    assert chips(first, *common, "--group", "one")[0] == 0
    before = files(chips.out)
    status, said = chips(third, *common, "--append")
    assert status == 2 and "c has the bands red, nir, the chips of this folder red, green, blue" in said
    assert files(chips.out) == before
    assert chips(second, *common, "--group", "two", "--append")[0] == 0
    folder = open_chips(chips.out)
    assert folder.index.groupby("group").size().to_dict() == {"one": 6, "two": 6}
    header = json.loads((chips.out / "chips.json").read_text(encoding="utf-8"))
    assert [scene["name"] for scene in header["scenes"]] == ["a", "b"] and len(header["cuts"]) == 2
    with rasterio.open(second) as file:
        np.testing.assert_array_equal(folder.read(6).image.values, file.read([3, 2, 1])[:, :64, :64])
    status, said = chips(second, *common, "--append")
    assert status == 2 and "b is given twice" in said


@pytest.mark.parametrize("first, second", [("train", "validation"), ("validation", "train")])
def test_scenes_on_the_ground_of_the_other_side_are_named_and_nothing_is_written(chips, tmp_path, first, second):
    old, west, east = (write_raster(tmp_path / f"{name}.tif") for name in ("old", "west", "east"))
    beside = write_raster(tmp_path / "beside.tif", offset=(WIDTH, 0))
    away = write_raster(tmp_path / "away.tif", offset=(3 * WIDTH, 0))
    common = ("--whole", "other", "--size", 128)
    assert chips(old, away, *common, "--split", first)[0] == 0
    before = {path: (chips.out / path).read_bytes() for path in files(chips.out)}
    for scenes, names in (((west, east), "east, west"), ((beside,), "beside")):
        status, said = chips(*scenes, *common, "--split", second, "--append")
        assert status == 2 and said.count("\n") == 1
        assert f"no chip of {names} can be added, since all touch chips of old on the other side" in said
    assert {path: (chips.out / path).read_bytes() for path in files(chips.out)} == before
    assert chips(west, *common, "--split", first, "--append")[0] == 0


def test_the_chip_of_a_scene_never_takes_the_place_of_one_that_is_there(chips, scene, tmp_path):
    alike = write_raster(tmp_path / "scene_0_64.tif", offset=(3 * WIDTH, 0))
    assert chips(scene, "--whole", "other", "--size", 64, "--split", "train")[0] == 0
    before = {path: (chips.out / path).read_bytes() for path in files(chips.out)}
    status, said = chips(alike, "--whole", "cropland", "--size", 500, "--split", "train", "--append")
    assert status == 2 and "scene_0_64 is given twice" in said
    assert {path: (chips.out / path).read_bytes() for path in files(chips.out)} == before


@pytest.mark.parametrize(
    "given, said",
    [({"size": 0}, "size=0"), ({"validation": 1.5}, "1.5, expected 0 to 1"), ({"validation": np.nan}, "nan, expected")],
)
def test_limits_of_numbers_hold_in_python_too(scene, tmp_path, given, said):
    with pytest.raises(ChipError, match=said):
        cut_chips(scene, LabelOptions(whole="other"), tmp_path / "chips", **given)
    assert not (tmp_path / "chips").exists()


def test_scenes_of_one_name_are_told_apart_by_their_folders(chips, tmp_path):
    paths = [write_raster(tmp_path / day / "scene.tif") for day in ("may", "july")]
    assert chips(*paths, "--whole", "other", "--split", "train")[0] == 0
    assert [*open_chips(chips.out).index["source"]] == ["july_scene", "may_scene"]


@pytest.mark.parametrize(
    "words, said",
    [
        ((), "what lies outside the polygons of fields.gpkg? Give --background known"),
        (("--background", "known", "--split", "half"), "give train, validation, or a share"),
        (("--background", "known", "--size", "0"), "size"),
        (("--background", "known", "--size", "100", "--split", "validation=0.2"), "cannot be split"),
        (("--background", "maybe"), "background"),
        (("--background", "unknown", "--where", "crop = 'tea'"), "rice"),
        (("--background", "known", "--sensor", "hubble"), "hubble"),
        (("--background", "known", "--bands", "red=9"), "9"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_left_behind(chips, scene, fields_path, tmp_path, words, said):
    before = files(tmp_path)
    status, line = chips(scene, "--labels", fields_path, *words)
    assert status == 2 and said in line and line.count("\n") == 1
    assert files(tmp_path) == before and not chips.out.exists()


def test_scenes_that_cannot_be_read_are_one_line(chips, scene, tmp_path):
    (tmp_path / "web.tif").write_text("<html>", encoding="utf-8")
    (tmp_path / "cut.tif").write_bytes(scene.read_bytes()[:3000])
    for name in ("missing.tif", "web.tif", "cut.tif"):
        status, line = chips(scene, tmp_path / name, "--whole", "other")
        assert status == 2 and name in line and line.count("\n") == 1
    assert not chips.out.exists() and not [*tmp_path.glob(".chips*")]


def test_a_folder_that_is_there_is_kept(chips, scene):
    chips(scene, "--whole", "other", "--split", "train")
    before = {path: (chips.out / path).read_bytes() for path in files(chips.out)}
    status, line = chips(scene, "--whole", "cropland")
    assert status == 2 and "add to it with --append" in line
    assert {path: (chips.out / path).read_bytes() for path in files(chips.out)} == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_said(chips, scene, tmp_path):
    tmp_path.chmod(0o500)
    status, line = chips(scene, "--whole", "other")
    assert status == 2 and "cannot be written" in line


def test_nothing_known_is_said(chips, scene, tmp_path):
    blank = write_raster(tmp_path / "blank.tif", np.full((1, HEIGHT, WIDTH), 255), bands=("class",))
    status, line = chips(scene, "--labels", blank)
    assert status == 2 and "nothing is known of any pixel" in line


def test_polygons_and_raster_of_a_real_tile_say_the_same(shared_data, tmp_path):
    tile = shared_data / "naip_us" / "images" / "naip_35.png"
    labels = {"polygons": ["fields.gpkg", "--background", "known"], "raster": ["masks"]}
    targets = []
    for name, (file, *words) in labels.items():
        out = tmp_path / name
        options = ["--labels", shared_data / "naip_us" / file, *words, "--crs", "EPSG:4326", "--split", "train"]
        assert main(["chips", str(tile), *map(str, options), "--size", "1024", "--out", str(out)]) == 0
        targets.append(open_chips(out).read(0).target)
    assert (targets[0] == targets[1]).mean() > 0.98  # the masks hold the pixels that an edge crosses, too
