"""A scene that is large enough to be slid down, made in a moment."""

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin


def write_large_scene(path: Path, shape: tuple[int, int], *, seed: int = 0) -> Path:
    """Three bands of smooth fields of 10 m pixels, with no data (0) in wedges at the left and in a band of rows."""
    rng = np.random.default_rng(seed)
    rough = rng.integers(40, 220, (3, -(-shape[0] // 20), -(-shape[1] // 20)), np.uint8)
    values = np.kron(rough, np.ones((1, 20, 20), np.uint8))[:, : shape[0], : shape[1]]
    values[:, np.arange(shape[0])[:, None] % 3000 // 8 > np.arange(shape[1]) + 40] = 0
    values[:, shape[0] // 2 : shape[0] // 2 + 70] = 0
    profile = {"driver": "GTiff", "count": 3, "height": shape[0], "width": shape[1], "dtype": "uint8", "nodata": 0}
    place = {"crs": "EPSG:32650", "transform": from_origin(4e5, 4e6, 10, 10), "photometric": "RGB"}
    with rasterio.open(path, "w", **profile, **place, tiled=True, compress="deflate") as file:
        file.write(values)
    return path
