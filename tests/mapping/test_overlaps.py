"""Maps as one: parts of a map give it back, rules decide overlaps, grids that differ are interpolated."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from cropland.errors import InputError
from cropland.mapping import overlaps
from cropland.mapping.borders import Border
from cropland.mapping.overlaps import check_mosaic, write_mosaic
from small_maps import UTM50, pattern, save_map

RULES = ("mean", "latest", "most-valid")
DATES = ("2020:01:01 00:00:00", "2022:01:01 00:00:00", "2021:01:01 00:00:00")


def put_together(folder: Path, maps, overlap: str, **how) -> tuple[np.ndarray, list[Border]]:
    scenes, paths = zip(*((scene, place / "probability.tif") for scene, place in maps), strict=True)
    borders = write_mosaic(scenes, paths, folder / "out.tif", overlap=overlap, threshold=0.5, **how)
    with rasterio.open(folder / "out.tif") as file:
        assert file.nodata == 255 and file.block_shapes == [(512, 512)]
        return file.read(1), borders


@settings(max_examples=20)
@given(
    st.integers(20, 60),
    st.integers(20, 60),
    st.floats(0.2, 0.8),
    st.integers(0, 15),
    st.booleans(),
    st.sampled_from(RULES),
    st.integers(0, 2**32),
)
def test_a_map_cut_in_two_is_the_map(tmp_path_factory, height, width, cut, shared, upright, rule, seed):
    """Apart or overlapping, side by side or one above the other: the same numbers, nothing is interpolated."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("cut")
    whole = rng.integers(0, 255, (height, width)).astype(np.uint8)
    whole[rng.random(whole.shape) < 0.1] = 255
    at = round(cut * whole.shape[upright])
    parts = [slice(0, at + shared), slice(at, None)]
    maps = []
    for number, part in enumerate(parts):
        levels = whole[:, part] if upright else whole[part]
        moved = UTM50 @ (Affine.translation(part.start, 0) if upright else Affine.translation(0, part.start))
        maps.append(save_map(folder / f"{number}", levels, affine=moved, taken=DATES[number]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlaps, "BLOCK", 16)
        patch.setattr(overlaps, "_profile", lambda grid, own=overlaps._profile: own(grid) | {"tiled": False})
        scenes, paths = zip(*((scene, place / "probability.tif") for scene, place in maps), strict=True)
        borders = write_mosaic(scenes, paths, folder / "out.tif", overlap=rule, threshold=0.5)
    with rasterio.open(folder / "out.tif") as file:
        np.testing.assert_array_equal(file.read(1), whole)
        assert file.transform == UTM50
    assert all(border.difference in (0, None) and border.disagreeing in (0, None) for border in borders)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [("mean", [10, 15, 30, 30, 255]), ("latest", [10, 20, 20, 20, 255]), ("most-valid", [10, 20, 40, 40, 255])],
)
def test_rules(tmp_path, rule, expected):
    """Of a, b and c, b is the latest; c has no pixel without data, b one of four, a two of four."""
    maps = []
    rows = [10, 10, 255, 255], [20, 20, 20, 255], [40, 40]
    for name, row, start, date in zip("abc", rows, (0, 1, 2), DATES, strict=True):
        moved = UTM50 @ Affine.translation(start, 0)
        maps.append(save_map(tmp_path / name, np.array([row] * 3, np.uint8), affine=moved, taken=date))
    found, borders = put_together(tmp_path, maps, rule)
    np.testing.assert_array_equal(found, [expected] * 3)
    common = {border.scenes: border.pixels for border in borders if border.pixels}
    assert common == {("a", "b"): 3, ("b", "c"): 6}


def test_the_latest_needs_dates(tmp_path):
    maps = [
        save_map(tmp_path / name, np.ones((4, 4), np.uint8), taken=date)
        for name, date in (("a", DATES[0]), ("b", None))
    ]
    scenes = [scene for scene, folder in maps]
    with pytest.raises(InputError, match="b does not say when it was taken"):
        check_mosaic(scenes, overlap="latest", crs=None, shift=False)
    check_mosaic(scenes, overlap="mean", crs=None, shift=False)


def zones(folder: Path, *, brighter: int = 0):
    """One pattern of the ground in two zones: in 50 east of its middle, in 51, tilted, to the east of that."""
    west, east = Affine(10, 0, 770_000, 0, -10, 4_000_000), Affine(10, 0, 231_500, 0, -10, 4_000_500)
    shape = (300, 300)
    one = save_map(folder / "west", pattern(shape, west, "EPSG:32650"), affine=west, taken=DATES[0])
    levels = pattern(shape, east, "EPSG:32651") + np.uint8(brighter)
    return [one, save_map(folder / "east", levels, affine=east, crs="EPSG:32651", taken=DATES[1])]


@pytest.mark.parametrize("rule", RULES)
def test_scenes_of_two_zones_fit(tmp_path, rule):
    found, (border,) = put_together(tmp_path, zones(tmp_path), rule)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs.to_epsg() == 32650 and file.res == (10, 10)
        wanted = pattern(found.shape, file.transform, "EPSG:32650")
    known = found != 255
    assert known.sum() > 1.3 * 300 * 300 and border.pixels > 2000
    off = np.abs(found.astype(int) - wanted)[known]
    assert (off <= 2).mean() > 0.99 and off.max() <= 8  # half a pixel of the steepest slope, along the edge
    assert border.difference < 1 / 254 and border.seam == pytest.approx(1, abs=0.25)


def test_a_brighter_scene_is_measured(tmp_path):
    _, (border,) = put_together(tmp_path, zones(tmp_path, brighter=20), "latest")
    assert border.difference == pytest.approx(20 / 254, abs=0.002) and border.disagreeing > 0.05 and border.seam > 1.5


def test_no_data_does_not_spread_into_what_is_interpolated(tmp_path):
    levels = np.full((40, 40), 200, np.uint8)
    levels[10:20, 10:20] = 255
    half = save_map(tmp_path / "half", levels, affine=UTM50 @ Affine.translation(0.5, 0.5))
    found, _ = put_together(tmp_path, [save_map(tmp_path / "other", levels[:5, :5]), half], "mean")
    assert set(np.unique(found)) == {200, 255} and (found == 255).sum() <= 100 + 82


def test_any_crs(tmp_path):
    found, borders = put_together(tmp_path, zones(tmp_path), "mean", crs="EPSG:4490")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs.to_epsg() == 4490
        wanted = pattern(found.shape, file.transform, "EPSG:4326")
    known = found != 255
    off = np.abs(found.astype(int) - wanted)[known]
    assert (off <= 2).mean() > 0.99 and off.max() <= 8 and borders[0].difference < 2 / 254
