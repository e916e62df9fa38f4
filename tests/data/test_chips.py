"""The folder format: what is written is read back, and what is broken is said."""

import json
import shutil

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from cropland.data.chips import open_chips, write_chip, write_index
from cropland.errors import ChipError
from cropland.geo.scene import Image

BANDS = ("red", "nir")
SHAPE = (20, 30)


def chip(dtype, *, valid=True):
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 250, (2, *SHAPE)).astype(dtype).astype(np.float32)
    mask = np.ones(SHAPE, bool)
    mask[:5] = valid
    return Image(np.where(mask, values, np.float32(0)), mask), rng.choice([0, 1, 255], SHAPE).astype(np.uint8)


@pytest.fixture
def write(tmp_path):
    """Writes a folder of one chip."""

    def write_folder(dtype="uint8", *, valid=True):
        folder = tmp_path / "chips"
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True)
        image, target = chip(dtype, valid=valid)
        grid = GeoBox(SHAPE, Affine.scale(10, -10), "EPSG:32650")
        how = {"boundary": target[::-1], "bands": BANDS, "dtype": np.dtype(dtype)}
        paths = write_chip(folder, "a", image, target, grid=grid, **how)
        about = {"id": "a", "source": "s", "group": "g", "split": "train", "block": "s/0/0", "pixel_m": 10.0}
        window = {"row": 0, "col": 0, "height": SHAPE[0], "width": SHAPE[1]}
        shares = {"share_cropland": 0.3, "share_other": 0.3, "share_unknown": 0.4}
        row = {**about, **paths, **window, **shares, "low": (1.0, 2.0), "high": (3.0, 4.0), "geometry": None}
        write_index(folder, gpd.GeoDataFrame([row], geometry="geometry", crs=4326), {"bands": BANDS})
        return folder, image, target

    return write_folder


@pytest.mark.parametrize("valid", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_a_chip_is_read_as_it_was_written(write, dtype, valid):
    folder, image, target = write(dtype, valid=valid)
    chips = open_chips(folder)
    read, own = chips.read(0), chips.read(0, dtype=None)
    assert read.image.values.dtype == np.float32 and own.image.values.dtype == dtype
    np.testing.assert_array_equal(own.image.values, image.values)
    np.testing.assert_array_equal(read.image.values, image.values)
    np.testing.assert_array_equal(read.image.valid, image.valid)
    np.testing.assert_array_equal(read.target, target)
    np.testing.assert_array_equal(read.boundary, target[::-1])
    assert (read.id, read.group, read.pixel_m, read.low, read.high) == ("a", "g", 10.0, (1.0, 2.0), (3.0, 4.0))
    assert (len(chips), chips.bands) == (1, BANDS)


def test_the_files_are_ordinary_geotiffs(write):
    folder, _, _ = write("uint16", valid=False)
    with rasterio.open(folder / "images" / "a.tif") as file:
        assert file.descriptions == BANDS
        assert (file.dtypes, file.crs.to_epsg(), file.transform.a) == (("uint16", "uint16"), 32650, 10)
        assert (file.dataset_mask()[:5] == 0).all() and (file.dataset_mask()[5:] == 255).all()
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["a.tif"] * 2 + [
        "chips.json",
        "index.parquet",
    ]
    assert len(gpd.read_parquet(folder / "index.parquet")) == 1


def test_a_value_below_an_unsigned_type_becomes_its_lowest(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    image = Image(np.full((1, 2, 2), -7, np.float32), np.ones((2, 2), bool))
    grid = GeoBox((2, 2), Affine.scale(1, -1), None)
    zero = np.zeros((2, 2), np.uint8)
    write_chip(tmp_path, "a", image, zero, boundary=zero, grid=grid, bands=["red"], dtype=np.dtype("uint16"))
    with rasterio.open(tmp_path / "images" / "a.tif") as file:
        assert (file.read() == 0).all()


def test_where_selects_rows(write):
    chips = open_chips(write()[0])
    assert len(chips.where(split="train", group="g")) == 1
    assert len(chips.where(split="validation")) == 0


def spoil_header(folder, **changes):
    header = json.loads((folder / "chips.json").read_text(encoding="utf-8"))
    (folder / "chips.json").write_text(json.dumps(header | changes), encoding="utf-8")


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda folder: shutil.rmtree(folder), "is not a chip folder"),
        (lambda folder: (folder / "index.parquet").unlink(), "is not a chip folder"),
        (lambda folder: (folder / "index.parquet").write_bytes(b"PAR1 nonsense"), "is damaged"),
        (lambda folder: (folder / "chips.json").write_text("{", encoding="utf-8"), "is damaged"),
        (lambda folder: (folder / "chips.json").write_text("[]", encoding="utf-8"), "is not a chip folder: cut one"),
        (lambda folder: spoil_header(folder, format="other"), "is not a chip folder: cut one"),
        (lambda folder: spoil_header(folder, version=3), r"version 3, expected 2 or less: update"),
        (lambda folder: spoil_header(folder, version="x"), "is not a chip folder: cut one"),
        (lambda folder: spoil_header(folder, bands=7), "is not a chip folder: cut one"),
    ],
)
def test_a_folder_that_is_not_sound_is_said(write, spoil, words):
    folder, _, _ = write()
    spoil(folder)
    with pytest.raises(ChipError, match=words):
        open_chips(folder)


@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_chip_that_is_missing_damaged_or_foreign_is_named(write, part):
    folder, _, _ = write()
    path = folder / part / "a.tif"
    chips = open_chips(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ChipError, match=r"a\.tif is missing or damaged"):
        chips.read(0)
    path.unlink()
    with pytest.raises(ChipError, match=r"a\.tif is missing or damaged"):
        chips.read(0)
    profile = {"driver": "GTiff", "count": 1, "height": 3, "width": 3, "dtype": "uint8", "transform": Affine.scale(2)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.zeros((1, 3, 3), np.uint8))
    with pytest.raises(ChipError, match="the index says"):
        chips.read(0)
