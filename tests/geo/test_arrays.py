"""Arrays open as the files that hold the same, and leave nothing behind."""

import gc
import pickle
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS

from cropland import api
from cropland.errors import BandError, GridError, SceneError
from cropland.geo.arrays import is_labelled, open_array, open_labelled_array
from cropland.geo.scene import open_scene

RGB = ("red", "green", "blue")
UTM = Affine(10, 0, 500_000, 0, -10, 4_000_000)
WKT = CRS("EPSG:32650").to_wkt()


@dataclass
class Labelled:
    """What `cropland` uses of an xarray.DataArray."""

    values: np.ndarray
    dims: tuple[str, ...]
    coords: dict[str, Any]
    attrs: dict[str, Any] = field(default_factory=dict)
    name: str | None = None


def labelled(values, *, bands=None, **more):
    """As rioxarray writes it: x and y are centres of pixels."""
    height, width = values.shape[-2:]
    coords = {
        "y": Labelled(4_000_000 - 10 * (np.arange(height) + 0.5), ("y",), {}),
        "x": Labelled(500_000 + 10 * (np.arange(width) + 0.5), ("x",), {}),
        "spatial_ref": Labelled(np.array(0), (), {}, {"crs_wkt": WKT}),
    }
    if bands is not None:
        coords["band"] = Labelled(np.array(bands), ("band",), {})
    return Labelled(values, ("band", "y", "x")[-values.ndim :], coords, **more)


def test_an_array_reads_as_the_file_that_holds_it(write, picture):
    filed = open_scene(write("array.tif", picture, names=RGB))
    scene = open_array(picture, transform=UTM, crs="EPSG:32650", bands=RGB)
    assert (scene.name, scene.bands, scene.grid, scene.pixel_m) == ("array", RGB, filed.grid, filed.pixel_m)
    for ratio in (1.0, 2.5):
        np.testing.assert_array_equal(scene.read(ratio=ratio).values, filed.read(ratio=ratio).values)


@pytest.mark.parametrize("crs", ["EPSG:32650", 32650, CRS(32650), WKT])
def test_a_crs_is_anything_that_names_one(picture, crs):
    assert open_array(picture, transform=UTM, crs=crs, bands=RGB).grid.crs.epsg == 32650
    with pytest.raises(GridError, match="is not known"):
        open_array(picture, transform=UTM, crs="EPSG:1", bands=RGB)


@pytest.mark.parametrize("bands", [("a", "b", "c"), {"b": 2, "a": 1}, "b=2, a=1"])
def test_bands_are_names_or_numbers(write, picture, bands):
    for scene in (
        api.open(picture, transform=UTM, crs=32650, bands=bands),
        api.open(write("s.tif", picture), bands=bands),
    ):
        assert set(scene.bands) == set(bands if not isinstance(bands, str) else "ab")
        np.testing.assert_array_equal(scene.read(bands=["b"]).values[0], picture[1])


def test_more_or_fewer_names_than_bands(write, picture):
    for given in (("red",), ("red", "red", "blue"), ("red", "green", "blue", "nir")):
        with pytest.raises(BandError, match=r"different names were given for 3 bands"):
            open_array(picture, transform=UTM, crs=32650, bands=given)


def test_a_sensor_names_them_and_a_fourth_band_of_bytes_is_no_opacity(picture):
    four = np.concatenate([picture, np.zeros_like(picture[:1])])
    scene = open_array(four, transform=UTM, crs=32650, sensor="gaofen2")
    assert scene.bands == ("blue", "green", "red", "nir") and scene.read().valid.all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint64", "uint32", "bool"])
def test_types_of_numbers(picture, dtype):
    values = (picture // 2).astype(dtype)
    scene = open_array(values, transform=UTM, crs=32650, bands=RGB)
    np.testing.assert_array_equal(scene.read().values, values.astype(np.float32))


def test_no_data(picture):
    place = {"transform": UTM, "crs": 32650, "bands": RGB}
    gap = np.zeros((40, 60), bool)
    gap[3:9, 10:30] = True
    for values, more in (
        (np.where(gap, np.nan, picture), {}),
        (np.where(gap, np.nan, picture).astype(np.float16), {}),
        (np.where(gap, -9999, picture.astype(np.int16)), {"nodata": -9999}),
        (np.ma.masked_array(picture, np.broadcast_to(gap, picture.shape)), {}),
        (picture, {"valid": ~gap}),
    ):
        image = open_array(values, **place, **more).read()
        np.testing.assert_array_equal(image.valid, ~gap)
        np.testing.assert_array_equal(image.values, np.where(gap, 0, picture))
    with pytest.raises(SceneError, match=r"-9999 cannot occur in array\.tif, which holds uint8"):
        open_array(picture, **place, nodata=-9999)


def test_what_is_no_image(picture):
    for values in (picture[0, 0], picture[None], picture.astype(complex), picture[:0], np.array([[["a"]]])):
        with pytest.raises(SceneError, match=r"the array is .*; expected numbers as \(band, height, width\)"):
            open_array(values, transform=UTM, crs=32650)
    with pytest.raises(SceneError, match=r"bands last; give array.transpose\(2, 0, 1\)"):
        open_array(picture.transpose(1, 2, 0), transform=UTM, crs=32650)


def test_without_a_place(picture):
    scene = api.open(picture, bands=RGB, pixel_m=2)
    assert scene.grid.crs is None and scene.pixel_m == 2
    with pytest.raises(SceneError, match=r"has no position; give transform="):
        api.open(picture, bands=RGB)
    with pytest.raises(SceneError, match="transform= is for arrays"):
        api.open("scene.tif", transform=UTM)


def test_its_file_goes_with_the_last_copy_of_the_scene(picture):
    scene = open_array(picture, transform=UTM, crs=32650, bands=RGB)
    (path,) = scene.files
    scene.read_decimated(bands=RGB)
    copy = replace(scene, name="other")
    del scene
    gc.collect()
    np.testing.assert_array_equal(copy.read().values, picture)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(copy)).read().values, picture)
    del copy
    gc.collect()
    assert not path.parent.exists()


def test_a_labelled_array_says_it_all(picture):
    array = labelled(picture, bands=("B04", "B03", "B02"), name="S2 / May")
    assert is_labelled(array) and not is_labelled(picture)
    scene = api.open(array)
    assert (scene.name, scene.bands, scene.grid.affine) == ("S2_May", RGB, UTM)
    assert scene.grid.crs.epsg == 32650
    np.testing.assert_array_equal(scene.read().values, picture)
    assert api.open(array, crs="EPSG:32651", bands=("a", "b", "c")).bands == ("a", "b", "c")


def test_other_orders_names_and_single_entries(picture):
    array = labelled(picture, bands=(1, 2, 3), attrs={"long_name": RGB})
    place = {"latitude": array.coords["y"], "longitude": array.coords["x"], "band": array.coords["band"]}
    turned = Labelled(
        picture.transpose(1, 2, 0)[None],
        ("time", "latitude", "longitude", "band"),
        place,
        {"long_name": RGB, "crs": "EPSG:32650"},
    )
    scene = open_labelled_array(turned)
    assert scene.bands == RGB and scene.grid.affine == UTM
    np.testing.assert_array_equal(scene.read().values, picture)
    flat = open_labelled_array(labelled(picture[0]), bands=("red",))
    np.testing.assert_array_equal(flat.read().values[0], picture[0])


def test_its_no_data(picture):
    picture[:, :5] = 255
    array = labelled(picture, bands=RGB, attrs={"_FillValue": 255})
    assert not open_labelled_array(array).read().valid[:5].any()
    assert open_labelled_array(replace(array, attrs={"_FillValue": -9999.0})).read().valid[5:].all()


def test_labelled_arrays_of_something_else(picture):
    array = labelled(picture, bands=RGB)
    for dims in (("time", "y", "x"), ("band", "row", "col")):
        with pytest.raises(SceneError, match=r"the array has the dimensions .*expected y"):
            open_labelled_array(replace(array, dims=dims))
    uneven = {**array.coords, "y": Labelled(np.arange(40.0) ** 2, ("y",), {})}
    with pytest.raises(GridError, match="not at even distances"):
        open_labelled_array(replace(array, coords=uneven))


def test_an_array_of_xarray(picture):
    xarray = pytest.importorskip("xarray")
    ours = labelled(picture)
    coords = {axis: ours.coords[axis].values for axis in "yx"}
    array = xarray.DataArray(picture, coords={"band": list(RGB), **coords}, dims=("band", "y", "x"), name="tile")
    array = array.assign_coords(spatial_ref=xarray.DataArray(0, attrs={"crs_wkt": WKT}))
    scene = api.open(array[:, 4:, 6:])
    assert scene.name == "tile" and scene.bands == RGB and scene.grid.crs.epsg == 32650
    assert scene.grid.affine == UTM @ Affine.translation(6, 4)
    np.testing.assert_array_equal(scene.read().values, picture[:, 4:, 6:])
    with pytest.raises(SceneError):
        api.open(xarray.DataArray(picture))
