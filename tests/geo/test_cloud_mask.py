"""A cloud mask: what it marks is no data in whatever is read of the scene, and nothing else is."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

import cropland
from cropland.cli import main
from cropland.errors import CroplandError, InputError, SceneError
from cropland.geo import cloud_mask
from cropland.geo.map_folder import MapFolder, imagery_of
from cropland.geo.scene import Scene, open_scene, open_scenes
from cropland.geo.window import Window
from range_server import serving
from rasters import write_raster

RGB = ("red", "green", "blue")
UTM50 = Affine(10, 0, 500_000, 0, -10, 4_000_000)
AROUND = Affine.translation(495_000, 4_004_000) @ Affine.rotation(20) @ Affine.scale(10, -10)
TURNED = Affine.translation(500_000, 4_000_000) @ Affine.rotation(20) @ Affine.scale(10, -10)
SCL = (0, 1, 3, 8, 9, 10, 11)  # of Sentinel-2: no data, saturated, cloud shadow, cloud, cirrus, snow


@pytest.fixture
def scene(write: Callable[..., Path], picture: np.ndarray) -> Path:
    """40 x 60 pixels of 10 m."""
    return write("scene.tif", picture, names=RGB)


def mask(path: Path, values: np.ndarray, *, size: float = 10, affine: Affine = UTM50, **profile: object) -> Path:
    return write_raster(path, values, transform=affine @ Affine.scale(size / 10), **profile)


def classes(shape: tuple[int, int], *, seed: int = 0) -> np.ndarray:
    """Classes as those of Sentinel-2, 0 to 11."""
    return np.random.default_rng(seed).integers(0, 12, shape).astype(np.uint8)


def test_coarse_pixels_hide_all_fine_ones_on_their_ground(scene: Path, tmp_path: Path, picture: np.ndarray):
    """As Sentinel-2's classes of 20 m under bands of 10 m."""
    coarse = classes((20, 30))
    opened = open_scene(scene, mask=mask(tmp_path / "T50_SCL_20m.tif", coarse, size=20))
    expected = ~np.isin(np.kron(coarse, np.ones((2, 2), np.uint8)), SCL)
    image = opened.read()
    np.testing.assert_array_equal(image.valid, expected)
    np.testing.assert_array_equal(image.values, np.where(expected, picture, 0))
    np.testing.assert_array_equal(opened.read_valid(Window(3, 7, 20, 31)), expected[3:23, 7:38])
    (note,) = opened.notes
    assert f"(Sentinel-2 scene classification) is 0, 1, 3, 8, 9, 10, 11: some {1 - expected.mean():.1%} of the" in note


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 40), st.integers(0, 40), st.booleans(), st.booleans())
def test_the_mask_pixel_under_the_middle_decides(tmp_path_factory, size, pixel, south, east, is_flipped, in_parts):
    """Any two sizes, any shift, the first row in the north or in the south, read at once or in parts."""
    folder = tmp_path_factory.mktemp("mask")
    values = np.arange(80 * 80).reshape(80, 80) % 5
    place = UTM50 @ Affine.translation(-east, -south) @ Affine.scale(size)
    if is_flipped:
        values, place = values[::-1], place @ Affine.translation(0, 80) @ Affine.scale(1, -1)
    hiding = write_raster(folder / "m.tif", values.astype(np.uint8), transform=place)
    shape = tuple(max(1, min(30, (80 * size - start) // pixel)) for start in (south, east))
    path = write_raster(folder / "s.tif", np.ones((3, *shape), np.uint8), transform=UTM50 @ Affine.scale(pixel))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloud_mask, "AT_ONCE", 40 if in_parts else 1 << 24)
        scene = open_scene(path, mask=hiding, mask_values=[0, 3])
        valid = scene.read().valid
    # On an edge in whole numbers: twice the middle, in the mask's pixels.
    rows, cols = (
        (2 * start + pixel * (2 * np.arange(length) + 1)) // (2 * size)
        for start, length in zip((south, east), shape, strict=True)
    )
    whole = values[::-1] if is_flipped else values
    np.testing.assert_array_equal(valid, ~np.isin(whole[np.ix_(rows, cols)], [0, 3]))


def test_statistics_are_those_of_the_pixels_that_are_left(scene: Path, tmp_path: Path, picture: np.ndarray):
    hidden = classes((40, 60), seed=1)
    found = open_scene(scene, mask=mask(tmp_path / "m.tif", hidden), mask_values="3,8").statistics()
    left = picture[:, ~np.isin(hidden, [3, 8])]
    assert found.low == pytest.approx(np.percentile(left, 2, axis=1), abs=0.5)
    assert found.high == pytest.approx(np.percentile(left, 98, axis=1), abs=0.5)
    bright = np.where(hidden == 8, 255, picture).astype(np.uint8)
    clouded = write_raster(tmp_path / "clouded.tif", bright, names=RGB)
    again = open_scene(clouded, mask=tmp_path / "m.tif", mask_values="3,8").statistics()
    assert again.low == found.low and again.high == found.high


def test_a_decimated_look_hides_the_same_ground(tmp_path: Path):
    """A cloud over the left half, seen in one of four pixels."""
    hidden = np.zeros((400, 600), np.uint8)
    hidden[:, :300] = 9
    path = write_raster(tmp_path / "s.tif", np.full((3, 400, 600), 80, np.uint8), names=RGB)
    image = open_scene(path, mask=mask(tmp_path / "scl.tif", hidden + 4 * (hidden == 0))).read_decimated(
        bands=RGB, max_pixels=60_000
    )
    assert image.valid.shape == (200, 300) and not image.valid[:, :150].any() and image.valid[:, 150:].all()


def test_flags_are_bits(scene: Path, tmp_path: Path):
    """Landsat's 21824 is clear and 22280 a cloud (USGS, LSDS-1619, table of QA_PIXEL values); 1 is fill."""
    flags = np.full((40, 60), 21824, np.uint16)
    flags[:10], flags[10:20], flags[20:25] = 22280, 1, 23888  # the last: cloud shadow
    opened = open_scene(scene, mask=mask(tmp_path / "LC09_QA_PIXEL.TIF", flags))
    np.testing.assert_array_equal(opened.read().valid[:, 0], np.arange(40) >= 25)
    some = open_scene(scene, mask=tmp_path / "LC09_QA_PIXEL.TIF", mask_bits="4")
    np.testing.assert_array_equal(some.read().valid[:, 0], (np.arange(40) < 20) | (np.arange(40) >= 25))


def test_fmask_has_classes_and_that_of_hls_bits(scene: Path, tmp_path: Path):
    ramp = np.zeros((40, 60), np.uint8)
    ramp[:, :6] = [0, 1, 2, 3, 4, 255]
    own = open_scene(scene, mask=mask(tmp_path / "L1C_Fmask4.tif", ramp)).read().valid
    assert own[0, :7].tolist() == [True, True, False, False, False, False, True]
    hls = open_scene(scene, mask=mask(tmp_path / "HLS.S30.T50.v2.0.Fmask.tif", ramp)).read().valid
    assert hls[0, :7].tolist() == [True, True, False, False, False, False, True]
    ramp[:, :6] = [64 + 128, 32, 8, 16, 4, 2]  # aerosol, water, shadow, snow, beside a cloud, cloud
    assert open_scene(scene, mask=mask(tmp_path / "HLS.S30.T50.v2.0.Fmask.tif", ramp)).read().valid[0, :7].tolist() == [
        True,
        True,
        *[False] * 4,
        True,
    ]


def test_a_turned_scene_has_a_mask_that_is_turned_alike(tmp_path: Path, picture: np.ndarray):
    path = write_raster(tmp_path / "s.tif", picture, names=RGB, transform=TURNED)
    hidden = classes((20, 30))
    opened = open_scene(path, mask=mask(tmp_path / "scl.tif", hidden, size=20, affine=TURNED))
    np.testing.assert_array_equal(opened.read().valid, ~np.isin(np.kron(hidden, np.ones((2, 2), np.uint8)), SCL))


def test_pixel_space_has_masks_too(tmp_path: Path, picture: np.ndarray):
    nowhere = {"crs": None, "transform": Affine.identity()}
    path = write_raster(tmp_path / "s.tif", picture, names=RGB, **nowhere)
    hidden = write_raster(tmp_path / "scl.tif", classes((40, 60)), **nowhere)
    valid = open_scene(path, mask=hidden, pixel_m=10).read().valid
    np.testing.assert_array_equal(valid, ~np.isin(classes((40, 60)), SCL))


@pytest.mark.parametrize(
    ("name", "values", "how", "said"),
    [
        ("m.tif", np.ones((3, 40, 60), np.uint8), {}, "m.tif has 3 bands; a cloud mask has one: gdal_translate -b NUM"),
        ("m.tif", np.ones((40, 60), np.float32), {}, "holds float32; a cloud mask holds whole numbers"),
        ("m.tif", np.ones((40, 60), np.uint8), {"crs": None}, "but the scene has one.*gdal_edit.py -a_srs EPSG:32650"),
        (
            "m.tif",
            np.ones((40, 60), np.uint8),
            {"crs": "EPSG:32651"},
            r"m\.tif does not meet the scene; give the mask of this place",
        ),
        ("m.tif", np.ones((40, 60), np.uint8), {"affine": TURNED}, "covers 67% of the scene"),
        (
            "m.tif",
            np.ones((900, 900), np.uint8),
            {"affine": AROUND},
            "rotated.*-te 500000 3999600 500600 4000000 -ts 60",
        ),
        ("scl.tif", np.ones((40, 30), np.uint8), {}, "covers 50% of the scene; give a mask that covers all of it"),
        ("m.tif", np.eye(40, 60, dtype=np.uint8), {}, "no mask of a known kind; it holds 0, 1: say .* mask_values="),
        ("scl.tif", np.full((40, 60), 9, np.uint8), {}, "has no pixel that scl.tif leaves.*mask='none'"),
    ],
)
def test_what_is_no_mask_of_the_scene_is_told(scene, tmp_path, name, values, how, said):
    hidden = mask(tmp_path / name, values, **how)
    with pytest.raises(CroplandError, match=said) as caught:
        open_scene(scene, mask=hidden)
    assert caught.value.exit_status == 2 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"mask_values": "3;8"}, "mask_values='3;8' cannot be read; write whole numbers, as in 3,8,9"),
        ({"mask_values": "3,300"}, "mask_values=300 cannot occur in m.tif, which holds uint8"),
        ({"mask_bits": [1, 8]}, "mask_bits=8 cannot occur in m.tif"),
        ({"mask_bits": "1", "mask_values": "3"}, "cannot go together; give one of them"),
    ],
)
def test_numbers_that_do_not_fit_are_told(scene, tmp_path, how, said):
    with pytest.raises(InputError, match=said):
        open_scene(scene, mask=mask(tmp_path / "m.tif", classes((40, 60))), **how)


def test_numbers_without_a_mask_and_a_mask_of_an_array_are_told(scene: Path, picture: np.ndarray):
    with pytest.raises(InputError, match="are of a mask; give it with mask=FILE"):
        open_scene(scene, mask_values="3")
    with pytest.raises(SceneError, match="masked array"):
        cropland.open(picture, pixel_m=10.0, mask="scl.tif")


def test_gdalwarp_as_it_is_told_makes_a_mask_that_fits(scene: Path, tmp_path: Path):
    """The command of the error, run by GDAL's own program."""
    import shlex
    import shutil
    import subprocess

    if not shutil.which("gdalwarp"):
        pytest.skip("no gdalwarp: apt install gdal-bin")
    place = {"crs": "EPSG:32651", "affine": Affine(20, 0, -45_000, 0, -20, 4_050_000), "size": 10}
    far = mask(tmp_path / "scl.tif", np.full((5000, 2000), 5, np.uint8), **place)
    with pytest.raises(CroplandError) as caught:
        open_scene(scene, mask=far)
    command = str(caught.value).partition("the scene's: ")[2]
    subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    assert open_scene(scene, mask=tmp_path / "mask.tif", mask_values="8").read().valid.all()


def item(assets: dict[str, dict]) -> dict:
    about = {"datetime": "2024-05-01T10:20:30Z"}
    return {"type": "Feature", "stac_version": "1.1.0", "id": "T50", "properties": about, "assets": assets}


@pytest.fixture
def home(tmp_path: Path, picture: np.ndarray) -> Path:
    """A folder with three bands and their classes."""
    for name, band in zip(RGB, picture, strict=True):
        write_raster(tmp_path / f"{name}.tif", band)
    mask(tmp_path / "a.tif", classes((20, 30)), size=20)
    return tmp_path


BANDS = {
    name: {"href": f"{name}.tif", "type": "image/tiff", "eo:bands": [{"name": name, "common_name": name}]}
    for name in RGB
}


def save(home: Path, assets: dict[str, dict]) -> Path:
    path = home / "item.json"
    path.write_text(json.dumps(item(assets)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("key", "asset"),
    [
        ("scl", {"title": "Scene classification map (SCL)", "roles": ["data", "reflectance"]}),  # Earth Search
        ("SCL_20m", {"roles": ["data", "sampling:original"], "gsd": 20}),  # Copernicus Data Space
        ("classes", {"bands": [{"name": "SCL"}]}),
        ("mask", {"title": "scene classification (SCL)"}),
    ],
)
def test_an_item_names_its_mask(home: Path, key: str, asset: dict):
    path = save(home, {key: {"href": "a.tif", "type": "image/tiff", **asset}, **BANDS})
    (scene,) = open_scenes([path])
    assert set(scene.bands) == set(RGB) and "The item names this mask" in scene.notes[-1]
    expected = ~np.isin(np.kron(classes((20, 30)), np.ones((2, 2), np.uint8)), SCL)
    np.testing.assert_array_equal(scene.read().valid, expected)
    np.testing.assert_array_equal(cropland.open(path).read().valid, expected)
    assert cropland.open(path, mask="none").read().valid.all()
    with serving(home) as server:
        np.testing.assert_array_equal(open_scene(f"{server.address}/item.json").read().valid, expected)


def test_a_preview_is_no_mask(home: Path):
    (scene,) = open_scenes(
        [save(home, {"scl": {"href": "a.tif", "type": "image/tiff", "roles": ["thumbnail"]}, **BANDS})]
    )
    assert not scene.has_no_data


def test_a_mask_that_an_item_names_in_vain_is_told(home: Path):
    path = save(home, {"scl": {"href": "gone.tif", "type": "image/tiff"}, **BANDS})
    with pytest.raises(SceneError, match=r"the mask of the item T50 cannot be used \(.*gone.tif.*mask='none'"):
        cropland.open(path)


def test_a_map_leads_to_its_scene_with_the_mask(scene: Path, tmp_path: Path):
    hidden = mask(tmp_path / "m.tif", classes((40, 60)))
    for how in ({"mask_values": [3, 8]}, {"mask_bits": [0]}):
        opened: Scene = open_scene(scene, mask=hidden, **how)
        about = {"found": {}, "imagery": imagery_of(opened, tmp_path), "scene": {"crs": "EPSG:32650"}}
        again = MapFolder(tmp_path, json.loads(json.dumps(about))).imagery()
        assert again is not None
        np.testing.assert_array_equal(again.read().valid, opened.read().valid)
    hidden.unlink()
    assert MapFolder(tmp_path, about).imagery() is None


def test_the_command_line_says_what_is_wrong(scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    hidden = mask(tmp_path / "m.tif", classes((40, 60)))
    assert main(["map", str(scene), "--mask", str(hidden), "--out", str(tmp_path / "out")]) == 2
    assert "say which of these hide the ground with --mask-values" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
