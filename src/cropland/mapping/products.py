"""From the probability of a grid to what follows from it alone: mask, areas, parcels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from geopandas import GeoDataFrame
from jaxtyping import UInt8

from cropland.data.statistics import Statistics
from cropland.geo.area import pixel_area_m2
from cropland.geo.grid import grid_of
from cropland.geo.resample import Taps, resample, taps
from cropland.geo.scene import Scene
from cropland.geo.window import Window
from cropland.mapping.picture import overview
from cropland.mapping.plan import Plan
from cropland.mapping.run_folder import Found, Journal, Plane
from cropland.parcels.clean import by_threshold, clean_mask
from cropland.parcels.parcels import find_parcels
from cropland.probability import DESCRIPTION, NO_DATA
from cropland.progress import timed
from cropland.writers.cog import write_cog
from cropland.writers.qgis import write_qgis
from cropland.writers.vector import write_geopackage, write_geoparquet

__all__ = ["finish", "write_probability", "write_products"]


FEW = 2048  # parcels in memory, where a file does not gain by more


def write_products(
    flat: Path,
    folder: Path,
    *,
    threshold: float,
    min_area_m2: float,
    unit_m: float | None,
    observed: datetime | None,
    journal: Journal,
    draw: Callable[[Found, Iterable[GeoDataFrame]], None],
) -> Found:
    """Write probability, mask and parcels of a probability raster into `folder`.

    What the journal says was made is not made again. threshold: 0..1. min_area_m2: of cropland and of holes. unit_m:
    metres per unit of the coordinates, without a CRS. observed: when the image was taken.
    draw: makes the picture, of what was found and tables of parcels.
    """
    probability, mask = folder / "probability.tif", folder / "mask.tif"
    classify = by_threshold(threshold)
    about: dict[str, Any] = {"unit_m": unit_m, "observed": observed}
    with ThreadPoolExecutor(1) as beside:  # to compress leaves a core to what follows
        compressed = beside.submit(_compress, flat, probability, journal)
        with timed("mask.tif"):
            journal.once(
                mask, lambda out: clean_mask(flat, out, classify=classify, min_area_m2=min_area_m2, unit_m=unit_m)
            )
        areas = beside.submit(_areas_ha, mask, unit_m)
        with timed("parcels"), find_parcels(mask, probability=flat, **about, folder=folder) as parcels:
            with timed("parcels.parquet"):
                write_geoparquet(parcels.chunks(), folder / "parcels.parquet")
            with timed("parcels.gpkg"):
                write_geopackage(parcels.chunks(FEW), folder / "parcels.gpkg")
            with timed("waiting for probability.tif"):
                compressed.result()
            found = Found(*areas.result(), len(parcels))
            with timed("overview.png"):
                draw(found, parcels.chunks(FEW))
    return found


def _compress(flat: Path, out: Path, journal: Journal) -> None:
    with timed("probability.tif"):
        journal.once(out, lambda out: write_cog(flat, out, overviews="average"))


def _areas_ha(mask: Path, unit_m: float | None) -> tuple[float, float]:
    """Cropland and ground with data, counted in the mask."""
    sums = np.zeros(256)
    with timed("areas"), rasterio.open(mask) as file:
        grid = grid_of(file)
        for _, block in file.block_windows(1):
            area = pixel_area_m2(grid, Window(block.row_off, block.col_off, block.height, block.width), unit_m=unit_m)
            sums += np.bincount(file.read(1, window=block).ravel(), area.ravel(), minlength=256)
    return float(sums[1]) / 1e4, float(sums[:255].sum()) / 1e4


def finish(scene: Scene, plan: Plan, flat: Path, folder: Path, *, home: Path, journal: Journal) -> Found:
    """Write all but map.json into `folder`, which will be moved to `home`, from the probability on its own grid."""
    folder.mkdir(exist_ok=True)
    found = write_products(
        flat,
        folder,
        threshold=plan.threshold,
        min_area_m2=plan.min_area_m2,
        unit_m=scene.unit_m,
        observed=scene.observed,
        journal=journal,
        draw=partial(_draw, scene, folder),
    )
    _write_project(scene, plan.statistics, folder, home=home)
    return found


def _draw(scene: Scene, folder: Path, found: Found, parcels: Iterable[GeoDataFrame]) -> None:
    rasters, picture = (folder / "probability.tif", folder / "mask.tif"), folder / "overview.png"
    overview(scene, *rasters, parcels, picture, area_ha=found.area_ha, share=found.share)


def _write_project(scene: Scene, statistics: Statistics, folder: Path, *, home: Path) -> None:
    """For the folder that this one will be moved to."""
    numbers = [scene.bands.index(band) + 1 for band in statistics.bands[:3]]
    write_qgis(
        folder / "map.qgs",
        title=scene.name,
        scene=scene.files[0],
        bands=(numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else numbers[0],
        limits=list(zip(statistics.low, statistics.high, strict=True))[:3],
        probability=folder / "probability.tif",
        mask=folder / "mask.tif",
        parcels=folder / "parcels.gpkg",
        home=home,
    )


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
        file.descriptions = (DESCRIPTION,)
        for start in range(0, height, STRIP):
            window = Window(start, 0, min(STRIP, height - start), width)
            values = _rows(plane, window, out_ratio / ratio)
            if out_ratio == 1 and scene.has_no_data:
                values = np.where(scene.read_valid(window), values, NO_DATA).astype(np.uint8)
            file.write(values, 1, window=window.in_file)


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
