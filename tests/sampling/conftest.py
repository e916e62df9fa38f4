"""A sample that is drawn once for all tests of a file."""

from pathlib import Path

import pytest

from cropland.sampling.design import design_sample
from sampling.small_sample import look_at, truth, write_mask


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A mask, and the sample.gpkg of a sample of it that nobody has looked at; leave them as they are."""
    folder = tmp_path_factory.mktemp("drawn")
    mask = write_mask(folder / "mask.tif")
    design_sample(mask, folder / "sample", n=200, strata="edge")
    return mask, folder / "sample" / "sample.gpkg"


@pytest.fixture
def looked_at(tmp_path: Path) -> tuple[Path, Path]:
    """A mask, and the sample.gpkg of a sample of it with the truth in it."""
    mask = write_mask(tmp_path / "mask.tif")
    design_sample(mask, tmp_path / "sample", n=200)
    look_at(tmp_path / "sample" / "sample.gpkg", truth())
    return mask, tmp_path / "sample" / "sample.gpkg"
