"""Rasters that are written for a test."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

UTM50 = Affine(10, 0, 500_000, 0, -10, 4_000_000)


def write_raster(path: Path, values: np.ndarray, *, names: tuple[str, ...] = (), **profile: object) -> Path:
    """A GeoTIFF of one band (rows, columns) or of several; in UTM 50N at 10 m unless the profile says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = values if values.ndim == 3 else values[None]
    shape = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    place = {"crs": "EPSG:32650", "transform": UTM50}
    with rasterio.open(path, "w", **{"driver": "GTiff", **shape, **place, **profile}) as file:
        file.write(bands)
        if names:
            file.descriptions = names
    return path
