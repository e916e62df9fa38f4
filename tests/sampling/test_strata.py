"""Strata of a mask against brute force, what is counted of them, and the hash of a mask."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from affine import Affine

from cropland.errors import GridError, InputError, SceneError
from cropland.geo.mask import UNMAPPED, Mask
from cropland.geo.window import Window
from cropland.sampling import strata
from cropland.sampling.strata import census, make_strata
from rasters import write_raster
from sampling.small_sample import SHAPE, mask_of, truth, write_mask


def numbers(mask: Mask, kind: str, **how: object) -> np.ndarray:
    """The strata of a whole mask."""
    made, found = make_strata(mask, kind, **how), np.empty(mask.shape, np.uint8)
    for tile in made.blocks(mask):
        found[tile.core.slices] = made.read(mask, tile)[0]
    return found


def test_the_ground_along_edges_is_a_stratum_on_either_side(tmp_path: Path):
    values = np.zeros((9, 20), np.uint8)
    values[:, 10:] = 1
    mask = Mask.open(write_raster(tmp_path / "mask.tif", values))
    assert numbers(mask, "edge")[4].tolist() == [0] * 8 + [1] * 4 + [2] * 8
    assert numbers(mask, "edge", edge_m=10)[4].tolist() == [0] * 9 + [1] * 2 + [2] * 9


def test_edges_are_the_same_whatever_block_they_are_found_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mask = Mask.open(write_mask(tmp_path / "mask.tif"))
    whole = numbers(mask, "edge", edge_m=43)
    monkeypatch.setattr(strata, "BLOCK", 16)
    assert (numbers(mask, "edge", edge_m=43) == whole).all()
    values = mask_of(truth())
    rows, cols = np.indices(SHAPE)
    for row, col in [(30, 40), (60, 70), (90, 20), (5, 100), (110, 140)]:
        others = values == 1 - values[row, col]
        nearest = 10 * np.hypot(rows - row, cols - col)[others].min() - 5
        assert whole[row, col] == (1 if nearest <= 43 else 2 * values[row, col])


def test_no_data_is_no_edge(tmp_path: Path):
    values = np.ones((6, 6), np.uint8)
    values[:, :3] = 255
    mask = Mask.open(write_raster(tmp_path / "mask.tif", values))
    assert np.unique(numbers(mask, "edge")).tolist() == [2, UNMAPPED]


def test_bands_of_the_probability(tmp_path: Path):
    mask = write_raster(tmp_path / "mask.tif", np.array([[0, 0, 0, 1, 1, 1, 1, 255]], np.uint8))
    levels = np.array([[0, 25, 26, 127, 228, 229, 255, 0]], np.uint8)
    levels_file = write_raster(tmp_path / "probability.tif", levels)
    # 25 / 254 is below 0.1, 127 / 254 is 0.5, 228 / 254 is below 0.9; a mapped pixel without probability is apart
    found = numbers(Mask.open(mask), "probability", probability=levels_file)
    assert found.tolist() == [[0, 0, 1, 2, 2, 3, 4, UNMAPPED]]


def test_what_is_counted_is_all_there_is(tmp_path: Path):
    wide = {"crs": "EPSG:4326", "transform": Affine(0.01, 0, 116, 0, -0.01, 40)}
    mask = Mask.open(write_mask(tmp_path / "mask.tif", **wide))
    counted = census(mask, make_strata(mask, "mask"))
    values, area = mask_of(truth()), mask.area_m2(Window(0, 0, *SHAPE))
    assert counted.pixels.tolist() == [(values == 0).sum(), (values == 1).sum()]
    assert counted.area_m2 == pytest.approx(np.diag([area[values == 0].sum(), area[values == 1].sum()]))
    assert counted.unmapped_m2 == pytest.approx(area[values == 255].sum())


def test_the_mean_probability_of_a_stratum(tmp_path: Path):
    mask = Mask.open(write_raster(tmp_path / "mask.tif", np.array([[0, 0, 1, 1, 255]], np.uint8)))
    levels = write_raster(tmp_path / "p.tif", np.array([[0, 127, 254, 255, 9]], np.uint8))
    assert census(mask, make_strata(mask, "mask"), probability=levels).probability.tolist() == [0.25, 1]


def digest(path: Path) -> str:
    mask = Mask.open(path)
    return census(mask, make_strata(mask, "mask")).digest


def test_a_copy_that_is_stored_otherwise_is_the_same_mask(tmp_path: Path):
    tiled = {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"}
    assert digest(write_mask(tmp_path / "a.tif")) == digest(write_mask(tmp_path / "b.tif", **tiled))


def test_another_value_place_or_shape_is_another_mask(tmp_path: Path):
    values = mask_of(truth())
    changed = values.copy()
    changed[50, 50] = 1 - changed[50, 50]
    elsewhere = {"transform": Affine(10, 0, 500_010, 0, -10, 4_000_000)}
    masks = [
        write_raster(tmp_path / "a.tif", values),
        write_raster(tmp_path / "b.tif", changed),
        write_raster(tmp_path / "c.tif", values, **elsewhere),
        write_raster(tmp_path / "d.tif", values, crs="EPSG:32651"),
        write_raster(tmp_path / "e.tif", values.reshape(SHAPE[1], SHAPE[0])),
    ]
    assert len({digest(path) for path in masks}) == len(masks)


def test_a_mask_without_data_has_nothing_to_draw_from(tmp_path: Path):
    empty = write_raster(tmp_path / "mask.tif", np.full((8, 8), 255, np.uint8))
    with pytest.raises(SceneError, match="all no data"):
        digest(empty)


def test_strata_that_cannot_be_made(tmp_path: Path):
    mask = Mask.open(write_mask(tmp_path / "mask.tif"))
    with pytest.raises(InputError, match=r"no probability\.tif beside it"):
        make_strata(mask, "probability")
    small = write_raster(tmp_path / "small.tif", np.zeros((5, 5), np.uint8))
    with pytest.raises(GridError, match="not on the grid of the mask"):
        make_strata(mask, "probability", probability=small)
    with pytest.raises(SceneError, match="cannot be read"):
        make_strata(mask, "probability", probability=tmp_path / "none.tif")
    with pytest.raises(InputError, match=r"edge_m= is the width of the stratum along edges; the strata 'mask'"):
        make_strata(mask, "mask", edge_m=5)


def test_names_say_the_limits_of_the_bands(tmp_path: Path):
    mask = write_raster(tmp_path / "mask.tif", np.zeros((2, 2), np.uint8))
    made = make_strata(Mask.open(mask), "probability", probability=mask)
    bounds = [0, 0.1, 0.5, 0.9, 1]
    assert [*made.names[:-1]] == [f"probability {low:g} to {high:g}" for low, high in pairwise(bounds)]
