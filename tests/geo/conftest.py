"""A small real raster file, written as a test asks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

UTM = Affine(10, 0, 500_000, 0, -10, 4_000_000)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(name, values, names=..., colors=..., tags=..., mask=..., **profile) -> path; UTM 50N at 10 m by default."""

    def write(name, values, *, names=(), colors=(), tags=None, mask=None, scale=None, **profile):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        bands, height, width = values.shape
        place = {"crs": "EPSG:32650", "transform": UTM} | profile
        shape = {"count": bands, "height": height, "width": width, "dtype": values.dtype}
        with rasterio.open(path, "w", **{"driver": "GTiff"} | shape | place) as file:
            file.write(values)
            for index, label in enumerate(names, start=1):
                file.set_band_description(index, label)
            if colors:
                file.colorinterp = colors
            if scale:
                file.scales, file.offsets = ([s] * bands for s in scale)
            if mask is not None:
                file.write_mask(mask)
            file.update_tags(**(tags or {}))
        return path

    return write


@pytest.fixture
def picture() -> np.ndarray:
    """Three bands of 40 x 60 numbers between 30 and 220, none of them flat."""
    return np.random.default_rng(7).integers(30, 220, (3, 40, 60)).astype(np.uint8)
