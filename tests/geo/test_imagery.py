"""The name of a scene is what its files share."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cropland.errors import SceneError
from cropland.geo.imagery import is_stac, scene_name, stac_imagery
from cropland.geo.reading import Remote
from cropland.geo.scene import open_scene, open_scenes
from cropland.geo.window import Window
from cropland.writers.stac import write_model_item
from range_server import serving


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["a/GF2_PMS1.tif"], "GF2_PMS1"),
        (["a/LC09_L2SP_SR_B2.TIF", "a/LC09_L2SP_SR_B5.TIF"], "LC09_L2SP_SR"),
        (["field/red.tif", "field/nir.tif"], "field"),
        (["x/麦田_红.tif", "x/麦田_绿.tif"], "麦田"),
    ],
)
def test_names(files, name):
    assert scene_name([Path(file) for file in files]) == name


RGB = ("red", "green", "blue")
WHOLE = Window(0, 0, 40, 60)
MOMENT = "2024-05-01T10:20:30Z"


def item(assets: dict[str, Any], *, name: str = "S2A_T50", **properties: Any) -> dict[str, Any]:
    about = {"datetime": MOMENT, **properties}
    return {"type": "Feature", "stac_version": "1.1.0", "id": name, "properties": about, "links": [], "assets": assets}


def save(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def bands(write: Callable[..., Path], picture: np.ndarray) -> dict[str, Path]:
    """Files of one band each, and one of another size."""
    numbers = picture.astype(np.uint16) * 10 + 1000
    files = {
        name: write(f"T50/{code}.tif", numbers[[at]]) for at, (name, code) in enumerate(zip(RGB, "abc", strict=True))
    }
    return files | {"swir16": write("T50/d.tif", numbers[[0], :20, :30])}


def one_of_1_0(files: dict[str, Path]) -> dict[str, Any]:
    """As Earth Search writes it: an asset per band with eo:bands, a preview of three, a thumbnail."""
    assets: dict[str, Any] = {"thumbnail": {"href": "t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}}
    preview = [{"name": name, "common_name": name} for name in RGB]
    assets["visual"] = {"href": "TCI.tif", "type": "image/tiff", "eo:bands": preview, "roles": ["visual"]}
    for name, path in files.items():
        band = {"name": path.stem, "common_name": name}
        assets[name] = {"href": f"T50/{path.name}", "type": "image/tiff; application=geotiff", "eo:bands": [band]}
    return assets | {"red-jp2": {"href": "no.jp2", "type": "image/jp2", "eo:bands": [{"common_name": "red"}]}}


def one_of_1_1(path: Path) -> dict[str, Any]:
    """One asset of all bands, in an order of its own."""
    return {"data": {"href": path.name, "bands": [{"name": f"x{n}", "eo:common_name": n} for n in RGB[::-1]]}}


def test_an_asset_per_band(bands, tmp_path, picture):
    (scene,) = open_scenes([save(tmp_path / "item.json", item(one_of_1_0(bands)))])
    assert scene.name == "S2A_T50" and scene.observed == datetime(2024, 5, 1, 10, 20, 30, tzinfo=UTC)
    assert set(scene.bands) == set(RGB)  # without the one of other pixels, and a note says so
    assert any("swir16" in note for note in scene.notes)
    np.testing.assert_array_equal(scene.read(WHOLE, bands=RGB).values, picture.astype(np.float32) * 10 + 1000)


def test_files_said_to_have_other_pixels_are_not_opened(bands, tmp_path):
    assets = one_of_1_0(bands)
    for name in RGB:
        assets[name]["proj:shape"] = [40, 60]
    assets["swir16"] |= {"proj:shape": [20, 30], "href": "far_away.tif"}
    assert set(open_scenes([save(tmp_path / "item.json", item(assets))])[0].bands) == set(RGB)


def test_one_asset_of_many_bands_and_a_collection(write, tmp_path, picture):
    files = [write(f"{name}.tif", picture[::-1] + number) for number, name in enumerate("ab")]
    items = [item(one_of_1_1(path), name=f"scene {path.stem}/1") for path in files]
    scenes = open_scenes([save(tmp_path / "all.geojson", {"type": "FeatureCollection", "features": items})])
    assert [scene.name for scene in scenes] == ["scene_a_1", "scene_b_1"]
    for number, scene in enumerate(scenes):
        np.testing.assert_array_equal(scene.read(WHOLE, bands=RGB).values, picture + number)


def test_an_alpha_band_within_does_not_shift_the_numbers(write, tmp_path, picture):
    first = write("first.tif", np.concatenate([picture[:1], np.full_like(picture[:1], 255)]))
    assets = {"red": {"href": first.name, "bands": [{"eo:common_name": "red"}]}}
    second = write("second.tif", picture[1:])
    assets["rest"] = {"href": second.name, "bands": [{"eo:common_name": "green"}, {"eo:common_name": "blue"}]}
    (scene,) = open_scenes([save(tmp_path / "item.json", item(assets))])
    np.testing.assert_array_equal(scene.read(WHOLE, bands=RGB).values, picture)


def test_names_of_a_sensor_and_its_offset(bands, tmp_path, picture):
    codes = {"red": "B04", "green": "B03", "blue": "B02"}
    assets = {c: {"href": str(bands[n]), "type": "image/tiff", "bands": [{"name": c}]} for n, c in codes.items()}
    about = {"constellation": "sentinel-2", "s2:processing_baseline": "05.09"}
    for more, added in (({}, 0), ({"earthsearch:boa_offset_applied": True}, 1000)):
        (scene,) = open_scenes([save(tmp_path / "item.json", item(assets, **about, **more))])
        expected = picture.astype(np.float32) * 10 + added
        np.testing.assert_array_equal(scene.read(WHOLE, bands=RGB).values, expected)


def test_bands_may_be_unnamed(write, tmp_path, picture):
    path = write("c.tif", picture, names=RGB)
    assets = {"image": {"href": path.as_uri(), "type": "image/tiff"}}
    assert open_scenes([save(tmp_path / "item.json", item(assets))])[0].bands == RGB


def test_an_item_on_a_server_and_its_files(bands, tmp_path, picture):
    save(tmp_path / "item.json", item(one_of_1_0(bands)))
    save(tmp_path / "S2A_T50", item(one_of_1_0(bands)))  # as an API answers
    with serving(tmp_path) as server:
        (scene,) = open_scenes([f"{server.address}/item.json"])
        assert scene.files[0] == Remote(f"{server.address}/T50/a.tif")
        np.testing.assert_array_equal(scene.read(WHOLE, bands=RGB).values[1], picture[1] * 10.0 + 1000)
    assert is_stac(Remote("https://x.org/v1/collections/s2/items/S2A_T50")) and not is_stac(
        Remote("https://x.org/a.tif")
    )


def test_a_local_item_of_remote_files(bands, tmp_path):
    with serving(tmp_path) as server:
        assets = one_of_1_0(bands)
        for name in RGB:
            assets[name]["href"] = f"{server.address}/{assets[name]['href']}"
        (scene,) = open_scenes([save(tmp_path / "item.json", item(assets))])
        assert all(isinstance(file, Remote) for file in scene.files) and scene.read(WHOLE, bands=RGB).valid.all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"type": "Polygon"}, "is no STAC item with images"),
        ([1], "is no STAC item"),
        ({"type": "Feature", "properties": {}}, "is no STAC item"),
        ({"type": "FeatureCollection", "features": [{"type": "Feature", "assets": 3}]}, "is no STAC item"),
        (item({"meta": {"href": "a.xml", "type": "application/xml"}}), "S2A_T50 has none"),
        ({"type": "FeatureCollection", "features": [], "links": [{"rel": "next"}]}, "one page of a longer list"),
        (item({"red": {"href": "gone.tif", "bands": [{"eo:common_name": "red"}]}}), "gone.tif is not there"),
    ],
)
def test_what_is_no_item_is_told(tmp_path, content, said):
    with pytest.raises(SceneError, match=said) as caught:
        open_scenes([save(tmp_path / "x.json", content)])
    assert "\n" not in str(caught.value)


def test_a_model_is_no_scene(tmp_path):
    """The item that this program writes is one of a model."""
    weights = tmp_path / "m.safetensors"
    weights.write_bytes(b"0")
    header = {"recipe": {"name": "m", "bands": ["red"], "outputs": ["cropland"], "network": {"name": "unet"}}}
    header |= {"statistics": None, "version": "1", "stride": 1, "radius": 1, "working_pixels": [], "metrics": {}}
    write_model_item(header, weights, tmp_path / "m.json")
    with pytest.raises(SceneError, match="no STAC item with images"):
        stac_imagery(tmp_path / "m.json")


def test_no_json(tmp_path):
    (tmp_path / "x.json").write_text("<html>", encoding="utf-8")
    with pytest.raises(SceneError, match="is no STAC item"):
        open_scenes([tmp_path / "x.json"])
    with pytest.raises(SceneError, match="not there"):
        open_scenes([tmp_path / "y.json"])


def test_a_scene_by_hand_keeps_its_options(write, picture):
    path = write("c.tif", picture, names=RGB)
    assert open_scenes([path], bands={"red": 2})[0].bands == open_scene(path, bands={"red": 2}).bands == ("red",)
