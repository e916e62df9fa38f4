"""The picture has four panels of the scene's shape, in ground and out of it, for few bands and many parcels."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from scipy import ndimage

from cropland.geo.scene import open_scene
from cropland.mapping.picture import _round_below, _visible_lines, overview
from cropland.parcels.clean import by_threshold, clean_mask
from cropland.parcels.parcels import parcels
from rasters import write_raster


def picture(folder: Path, shape: tuple[int, int], *, bands: int = 3, share: float = 0.5) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 5)
    levels = np.clip(127 + 3000 * noise + 254 * (share - 0.5), 0, 254).astype(np.uint8)
    levels[:5] = 255
    scene = np.stack([levels * (number + 1) for number in range(bands)]).astype(np.uint16)
    names = ("red", "green", "blue", "nir")[:bands] if bands >= 3 else ()
    opened = open_scene(write_raster(folder / "田.tif", scene, names=names), bands=None if names else {"gray": 1})
    probability = write_raster(folder / "probability.tif", levels, nodata=255)
    clean_mask(probability, folder / "mask.tif", classify=by_threshold(0.5), min_area_m2=1000)
    found = parcels(folder / "mask.tif")
    overview(opened, probability, folder / "mask.tif", [found], folder / "o.png", area_ha=12.3, share=0.5)
    with rasterio.open(folder / "o.png") as image:
        return image.read()[:3]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("shape", "bands", "columns"), [((200, 210), 4, 4), ((100, 300), 3, 2), ((40, 40), 1, 4)])
def test_four_panels(tmp_path: Path, shape: tuple[int, int], bands: int, columns: int) -> None:
    pixels = picture(tmp_path, shape, bands=bands)
    height, width = pixels.shape[1:]
    assert 1500 < width < 3000
    assert (width / height > 2.4) == (columns == 4)
    for colour in ((84, 140, 47), (233, 228, 214), (255, 196, 0)):
        assert (pixels == np.reshape(colour, (3, 1, 1))).all(axis=0).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.tif", "o.png", "probability.tif", "田.tif"]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_map_without_parcels_is_drawn(tmp_path: Path) -> None:
    assert picture(tmp_path, (60, 60), share=-9).shape[0] == 3


def test_the_scale_is_round() -> None:
    assert [_round_below(length) for length in (0.3, 1.0, 4.9, 5.0, 999.0, 2400.0)] == [0.2, 1, 2, 5, 500, 2000]


def test_what_cannot_be_seen_is_not_drawn() -> None:
    places = shapely.points(*np.mgrid[:100:20, :100:20].reshape(2, -1))
    circles = np.concatenate([shapely.buffer(places, 8, quad_segs=500), shapely.buffer(places, 0.2)])
    fine, coarse = (_visible_lines(circles, rasterio.Affine.identity(), step) for step in (0.01, 1.0))
    assert [np.isnan(line[:, 0]).sum() + 1 for line in (fine, coarse)] == [50, 25]
    assert len(coarse) < len(fine) / 10
    rings = np.split(coarse, np.flatnonzero(np.isnan(coarse[:, 0])))
    assert all(np.ptp(ring[~np.isnan(ring[:, 0])], axis=0).min() > 15 for ring in rings)
    assert len(_visible_lines(circles[:0], rasterio.Affine.identity(), 1.0)) == 0
