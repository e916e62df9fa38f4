"""Units partition the grid, whatever its shape, and strips stay as narrow as was asked."""

from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cropland.geo.scene import open_scene
from cropland.geo.window import Window
from cropland.mapping.compute import mean_of_flips
from cropland.mapping.run_folder import RawRaster
from cropland.mapping.units import FLIPS, Cut, Flipped, cut_swaths, cut_tiles
from cropland.model import ModelFile
from large_scene import write_large_scene
from small_model import save_model


def model(tmp_path_factory: object, made: list[ModelFile] = []) -> ModelFile:  # noqa: B006  # made once
    if not made:
        made.append(save_model(tmp_path_factory.mktemp("model") / "m.safetensors"))
    return made[0]


def check(cut: Cut) -> None:
    seen = np.zeros(cut.shape, np.uint8)
    for unit in cut.units:
        seen[unit.core.slices] += 1
        assert unit.padded.col <= unit.core.col and unit.padded.height >= unit.core.height
    assert (seen == 1).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 1500), st.integers(100, 2000))
def test_units_partition_the_grid(tmp_path_factory: object, height: int, width: int, widest: int) -> None:
    small = model(tmp_path_factory)
    swaths = cut_swaths((height, width), small, widest=widest)
    check(swaths)
    assert max(unit.padded.width for unit in swaths.units) <= max(widest, 4 * small.radius + 3 * small.stride)
    check(cut_tiles((height, width), small, at_once=widest**2))


def test_a_run_goes_down_one_strip(tmp_path_factory: object) -> None:
    cut = cut_swaths((9000, 900), model(tmp_path_factory), widest=500)
    strips = len({unit.core.col for unit in cut.units})
    each = len(cut.units) // strips
    assert strips > 1 and each > 2
    everything = list(range(len(cut.units)))
    assert [len(run) for run in cut.runs(everything)] == [each] * strips
    assert cut.runs([0, 1, 3]) == [[0, 1], [3]]
    assert max(len(run) for run in cut.runs(everything, most=2)) == 2


SHAPE = (70, 110)


def test_eight_ways_that_differ() -> None:
    values = np.arange(12).reshape(3, 4)
    assert len({flip(values).tobytes() + bytes(flip(values).shape) for flip in FLIPS}) == 8
    assert all(np.array_equal(flip.back(flip(values)), values) for flip in FLIPS)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(FLIPS), st.data())
def test_a_window_of_the_turned_scene_is_that_of_the_turned_image(
    tmp_path_factory: object, flip: object, data: st.DataObject
) -> None:
    scene = open_scene(_scene(tmp_path_factory))
    whole = flip(scene.read(Window(0, 0, *SHAPE), bands=scene.bands).values)
    height, width = whole.shape[1:]
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
    came = Flipped(scene, flip, SHAPE).read(window, bands=scene.bands)
    assert np.array_equal(came.values, whole[:, *window.slices])


_made: list[Path] = []


def _scene(factory: object) -> Path:
    if not _made:
        _made.append(write_large_scene(factory.mktemp("scene") / "s.tif", SHAPE))
    return _made[0]


def test_the_mean_lies_as_the_scene_does(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).integers(0, 250, (2, 600, 90)).astype(np.uint8)
    truth[:, :5] = 255
    rasters = []
    for number, flip in enumerate(FLIPS):
        laid = flip(truth.astype(int) + (truth < 255) * (number % 2) * 3).astype(np.uint8)
        rasters.append(RawRaster(tmp_path / str(number), laid.shape[1:], 2))
        rasters[-1].write(Window(0, 0, *laid.shape[1:]), laid)
    mean = mean_of_flips(rasters, FLIPS, tmp_path / "mean").rows(0, 600)
    assert np.array_equal(mean, np.where(truth == 255, 255, np.rint(truth + 1.5).astype(np.uint8)))
