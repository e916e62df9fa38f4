"""A small real scene, 128 x 192 pixels of 10 m in three bands, and polygons on it."""

from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine

HEIGHT, WIDTH, PIXEL = 128, 192, 10.0
LEFT, TOP, CRS = 400_000.0, 4_000_000.0, "EPSG:32650"
RICE, WHEAT, FOREST, PERHAPS = (0, 0, 64, 64), (0, 64, 64, 64), (128, 0, 64, 128), (64, 0, 16, 16)


def box(col: float, row: float, width: float, height: float) -> shapely.Polygon:
    """A rectangle given in pixels of the scene."""
    left, top = LEFT + col * PIXEL, TOP - row * PIXEL
    return shapely.box(left, top - height * PIXEL, left + width * PIXEL, top)


def fields() -> gpd.GeoDataFrame:
    """Two fields in the west, a forest in the east, and a field of which nobody is sure."""
    return gpd.GeoDataFrame(
        {"crop": ["rice", "wheat", "forest", "perhaps"], "DLBM": ["0101", "0103", "0301", None]},
        geometry=[box(*each) for each in (RICE, WHEAT, FOREST, PERHAPS)],
        crs=CRS,
    )


def write_raster(
    path: Path,
    values: np.ndarray | None = None,
    *,
    bands: tuple[str, ...] = ("red", "green", "blue"),
    shape: tuple[int, int] = (HEIGHT, WIDTH),
    dtype: str = "uint8",
    offset: tuple[float, float] = (0, 0),
    **profile: object,
) -> Path:
    """Write a raster `offset` (columns, rows) from the scene's corner; without values its pixels are noise, 1..203."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        noise = np.random.default_rng(1).integers(1, 200, shape)
        values = np.stack([noise + number for number in range(len(bands))])
    count, height, width = values.shape
    transform = Affine(PIXEL, 0, LEFT + offset[0] * PIXEL, 0, -PIXEL, TOP - offset[1] * PIXEL)
    base = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": dtype}
    with rasterio.open(path, "w", **{**base, "crs": CRS, "transform": transform, **profile}) as file:
        file.write(values.astype(dtype))
        if file.driver == "GTiff":
            file.descriptions = bands
    return path
