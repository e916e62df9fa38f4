"""From the probability of a grid to what follows from it alone: mask, areas, parcels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from geopandas import GeoDataFrame

from cropland.geo.area import pixel_area_m2
from cropland.geo.window import Window
from cropland.mapping.journal import Journal
from cropland.mapping.record import Found
from cropland.parcels.clean import by_threshold, clean_mask, grid_of
from cropland.parcels.parcels import find_parcels
from cropland.progress import stage
from cropland.writers.cog import write_cog
from cropland.writers.geopackage import write_geopackage
from cropland.writers.geoparquet import write_geoparquet

__all__ = ["write_products"]

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
        with stage("mask.tif"):
            journal.once(
                mask, lambda out: clean_mask(flat, out, classify=classify, min_area_m2=min_area_m2, unit_m=unit_m)
            )
        areas = beside.submit(_areas_ha, mask, unit_m)
        with stage("parcels"), find_parcels(mask, probability=flat, **about, folder=folder) as parcels:
            with stage("parcels.parquet"):
                write_geoparquet(parcels.chunks(), folder / "parcels.parquet")
            with stage("parcels.gpkg"):
                write_geopackage(parcels.chunks(FEW), folder / "parcels.gpkg")
            with stage("waiting for probability.tif"):
                compressed.result()
            found = Found(*areas.result(), len(parcels))
            with stage("overview.png"):
                draw(found, parcels.chunks(FEW))
    return found


def _compress(flat: Path, out: Path, journal: Journal) -> None:
    with stage("probability.tif"):
        journal.once(out, lambda out: write_cog(flat, out, overviews="average"))


def _areas_ha(mask: Path, unit_m: float | None) -> tuple[float, float]:
    """Cropland and ground with data, counted in the mask."""
    sums = np.zeros(256)
    with stage("areas"), rasterio.open(mask) as file:
        grid = grid_of(file)
        for _, block in file.block_windows(1):
            area = pixel_area_m2(grid, Window(block.row_off, block.col_off, block.height, block.width), unit_m=unit_m)
            sums += np.bincount(file.read(1, window=block).ravel(), area.ravel(), minlength=256)
    return float(sums[1]) / 1e4, float(sums[:255].sum()) / 1e4
