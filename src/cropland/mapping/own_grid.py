"""From the working grid to the grid of the product, in strips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from jaxtyping import UInt8

from cropland.geo.resample import Taps, resample, taps
from cropland.geo.scene import Scene
from cropland.geo.window import Window
from cropland.mapping.plane import Plane
from cropland.mapping.work import NO_DATA

__all__ = ["write_probability"]

STRIP = 512  # rows: a multiple of the tiles' height


def write_probability(plane: Plane, scene: Scene, out: Path, *, ratio: float, out_ratio: float) -> None:
    """Write the probability as a tiled GeoTIFF on the scene's grid, or with pixels `out_ratio` times as large.

    `ratio` is that of the working grid. Interpolated bilinearly (averaged, where the product is coarser); on the
    scene's own grid a pixel without data stays without.
    """
    grid = scene.working_grid(out_ratio)
    height, width = grid.shape
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": NO_DATA, "height": height, "width": width}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": STRIP, "bigtiff": "if_safer"}
    profile |= {"crs": None if grid.crs is None else grid.crs.to_wkt(), "transform": grid.affine}
    with rasterio.open(out, "w", **profile) as file:
        file.descriptions = ("probability x 254",)
        for start in range(0, height, STRIP):
            window = Window(start, 0, min(STRIP, height - start), width)
            values = _rows(plane, window, out_ratio / ratio)
            if out_ratio == 1 and scene.has_no_data:
                values = np.where(scene.read_valid(window), values, NO_DATA).astype(np.uint8)
            file.write(values, 1, window=rasterio.windows.Window(0, start, width, window.height))


def _rows(plane: Plane, window: Window, ratio: float) -> UInt8[np.ndarray, "height width"]:
    if ratio == 1:
        return plane.rows(window.row, window.height)
    rows, cols = (
        taps(ratio, start=start, count=count, length=length)
        for start, count, length in zip(window[:2], window[2:], plane.shape, strict=True)
    )
    return _interpolated(plane.rows(*rows.span), rows, cols)


def _interpolated(values: UInt8[np.ndarray, "row col"], rows: Taps, cols: Taps) -> UInt8[np.ndarray, "height width"]:
    first, count = cols.span
    part = values[:, first : first + count]
    known = part != NO_DATA
    (probability,), valid = resample(part[None], None if known.all() else known, rows=rows, cols=cols)
    rounded = np.rint(probability)
    return (rounded if valid is None else np.where(valid, rounded, NO_DATA)).astype(np.uint8)
