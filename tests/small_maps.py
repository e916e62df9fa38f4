"""Maps without a network: a scene of some colours, and any probability on its grid."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer

from cropland.geo.scene import Scene, open_scene

UTM50 = Affine(10, 0, 500_000, 0, -10, 4_000_000)


def save_map(
    folder: Path, levels: np.ndarray, *, affine: Affine = UTM50, crs: str = "EPSG:32650", taken: str | None = None
) -> tuple[Scene, Path]:
    """The scene of the folder's name, and the folder with its probability.tif (levels 0..254, 255 = no data)."""
    folder.mkdir(parents=True)
    height, width = levels.shape
    grid = {"driver": "GTiff", "height": height, "width": width, "dtype": "uint8", "crs": crs, "transform": affine}
    with rasterio.open(folder / "probability.tif", "w", count=1, nodata=255, **grid) as file:
        file.write(levels, 1)
    image = folder.with_name(f"{folder.name}.tif")
    with rasterio.open(image, "w", count=3, photometric="RGB", nodata=0, **grid) as file:
        file.write(np.broadcast_to(np.clip(levels, 1, 250), (3, height, width)))
        if taken:
            file.update_tags(TIFFTAG_DATETIME=taken)
    return open_scene(image), folder


def pattern(shape: tuple[int, int], affine: Affine, crs: str) -> np.ndarray:
    """Levels of a smooth field of waves some 400 m long that belongs to the ground, whatever the grid."""
    col, row = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = affine @ (col, row)
    to_common = Transformer.from_crs(crs, "EPSG:32650", always_xy=True)
    east, north = to_common.transform(x, y)
    return np.rint(127 + 100 * np.sin(east / 63) * np.sin(north / 71)).astype(np.uint8)
