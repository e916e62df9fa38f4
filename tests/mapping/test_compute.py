"""Filling a plane: only what is missing is computed, and what cannot be read costs only itself."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from cropland.engines import Engine
from cropland.engines.openvino import open_engine
from cropland.errors import ReadError
from cropland.geo.scene import Image, Scene, open_scene
from cropland.geo.window import Window
from cropland.mapping import units as cut_module
from cropland.mapping.compute import Serial, UnitResult, Work, fill
from cropland.mapping.run_folder import Journal, RawRaster
from cropland.mapping.units import Cut, cut_swaths, cut_tiles
from cropland.model import ModelFile
from large_scene import write_large_scene
from small_model import save_model

SHAPE = (1300, 600)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return save_model(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return open_scene(write_large_scene(tmp_path_factory.mktemp("scene") / "s.tif", SHAPE))


@pytest.fixture(scope="module")
def engine(model: ModelFile) -> Engine:
    return open_engine(model, precision="f32")


@pytest.fixture(params=["slide", "tiles"])
def cut(model: ModelFile, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cut:
    monkeypatch.setattr(cut_module, "SWATH", 100 * 300)
    return cut_swaths(SHAPE, model, widest=400) if request.param == "slide" else cut_tiles(SHAPE, model, size=200)


class Stopped(Serial):
    """Stops after some units, as by Ctrl-C."""

    after = 7

    def __call__(self, work: Work, cut: Cut, wanted: Sequence[int]) -> Iterator[UnitResult]:
        for count, done in enumerate(super().__call__(work, cut, wanted)):
            if count == self.after:
                raise KeyboardInterrupt
            yield done


class Counted(Serial):
    """Remembers what it was asked for."""

    wanted: Sequence[int] = ()

    def __call__(self, work: Work, cut: Cut, wanted: Sequence[int]) -> Iterator[UnitResult]:
        object.__setattr__(self, "wanted", wanted)
        return super().__call__(work, cut, wanted)


def filled(folder: Path, work: Work, cut: Cut, executor: Serial) -> tuple[np.ndarray, list[ReadError]]:
    raster, journal = RawRaster(folder / "raster", SHAPE), Journal.begin(folder, {})
    failed = fill(raster, "p", work, cut, executor=executor, journal=journal, advance=lambda _: None)
    return raster.rows(0, SHAPE[0])[0], failed


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(
    scene: Scene, model: ModelFile, engine: Engine, cut: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cropland.mapping.compute.AT_ONCE", 1)
    work = Work(scene, scene.statistics(model.bands), 1.0, model.radius)
    (tmp_path / "whole").mkdir(), (tmp_path / "part").mkdir()
    expected, _ = filled(tmp_path / "whole", work, cut, Serial(engine))
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "part", work, cut, Stopped(engine))
    counted = Counted(engine)
    came, failed = filled(tmp_path / "part", work, cut, counted)
    assert 0 < len(counted.wanted) <= len(cut.units) - Stopped.after + 1 and not failed
    assert np.array_equal(came, expected)


class Torn:
    """A scene some of whose rows cannot be read."""

    def __init__(self, scene: Scene, rows: range) -> None:
        self.scene, self.rows = scene, rows

    def read(self, window: Window, *, bands: Sequence[str], ratio: float = 1.0) -> Image:
        if window.row < self.rows.stop and self.rows.start < window.row + window.height:
            raise ReadError("{window} cannot be read", path="scene.tif", window=window, cause="torn")
        return self.scene.read(window, bands=bands, ratio=ratio)


def test_what_cannot_be_read_costs_only_what_sees_it(
    scene: Scene, model: ModelFile, engine: Engine, cut: Cut, tmp_path: Path
) -> None:
    statistics = scene.statistics(model.bands)
    (tmp_path / "whole").mkdir(), (tmp_path / "part").mkdir()
    expected, _ = filled(tmp_path / "whole", Work(scene, statistics, 1.0, model.radius), cut, Serial(engine))
    torn = Work(Torn(scene, range(700, 720)), statistics, 1.0, model.radius)
    came, failed = filled(tmp_path / "part", torn, cut, Serial(engine))
    assert 0 < len(failed) < len(cut.units) / 2
    far = np.r_[0:400, 1000:1300]
    assert np.array_equal(came[far], expected[far]) and not np.array_equal(came, expected)
    counted = Counted(engine)
    came, failed_again = filled(tmp_path / "part", Work(scene, statistics, 1.0, model.radius), cut, counted)
    assert len(counted.wanted) == len(failed) and not failed_again
    assert np.array_equal(came, expected)
