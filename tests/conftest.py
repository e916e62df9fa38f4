"""What every test finds: the data folder, quiet surroundings, and a line on the state of the source."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

import source_tree

os.environ["MPLBACKEND"] = "Agg"
os.environ["CROPLAND_LANG"] = "en"  # what the tests read, also on a Chinese desktop
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported: the workers share the cores

# Examples are drawn the same way every time; `make soak` draws more, at random.
settings.register_profile("cropland", deadline=None, derandomize=True)
settings.register_profile("soak", deadline=None, max_examples=1000)
settings.load_profile("cropland")


def pytest_report_header() -> str:
    return source_tree.summary()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data: `CROPLAND_DATA`, or `../shared/data` beside the project."""
    path = Path(os.environ.get("CROPLAND_DATA", source_tree.ROOT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"no data at {path}; CROPLAND_DATA names another place")
    return path
