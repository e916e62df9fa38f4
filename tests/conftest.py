"""What every test finds: the data folder, quiet surroundings, and a line on the state of the source."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import source_tree

os.environ["MPLBACKEND"] = "Agg"
os.environ["CROPLAND_LANG"] = "en"  # what the tests read, also on a Chinese desktop
# As `cropland.engines` does: a test that imports OpenVINO before would report each conversion, a process at a time.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how a module is made missing
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the workers share the cores

# Examples are drawn the same way every time; `make soak` draws more, at random.
settings.register_profile("cropland", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=1000)
settings.load_profile("cropland")


def pytest_report_header() -> str:
    return source_tree.summary()


# Long tests that share nothing but their parameter: they fill the last minute of both workers.
BY_PARAMETER = ("test_tutorials.py", "test_understand.py", "test_chapters.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a file run in one worker, which makes their fixtures once."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        # pytest 9.2 took away what xdist's own `loadgroup` writes its groups into: there every test is a group.
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            return f"{file}[{test.partition('[')[2]}" if file.endswith(BY_PARAMETER) else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: `CROPLAND_DATA`, or `../shared/data` beside the project."""
    path = Path(os.environ.get("CROPLAND_DATA", source_tree.ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no data at {path}; CROPLAND_DATA names another place")
    return path


CHROMIUM = os.environ.get("CROPLAND_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real browser for pages."""
    from playwright.sync_api import sync_playwright

    if not CHROMIUM:
        pytest.skip("no Chromium: apt install chromium, or set CROPLAND_CHROMIUM")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)


@pytest.fixture(scope="session")
def quarter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quarter of the sample, to read only: fields, woods and a road."""
    import rasterio

    from cropland.demo import TILE
    from cropland.geo.window import Window
    from rasters import write_raster

    with rasterio.open(TILE) as file:
        part = Window(256, 256, 512, 512).in_file
        place = {"crs": file.crs, "transform": file.window_transform(part)}
        folder = tmp_path_factory.mktemp("scene")
        return write_raster(folder / "quarter.tif", file.read(window=part), names=file.descriptions, **place)
