"""From the probability of a grid to what follows from it alone: mask, areas, parcels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import rasterio
from geopandas import GeoDataFrame
from odc.geo.geobox import GeoBox

from cropland.geo.area import pixel_area_m2
from cropland.geo.tiles import Window
from cropland.mapping.clean import by_threshold, clean_mask
from cropland.mapping.journal import Journal
from cropland.mapping.parcels import parcels
from cropland.mapping.stages import stage
from cropland.writers.cog import write_cog
from cropland.writers.geopackage import write_geopackage
from cropland.writers.geoparquet import write_geoparquet

__all__ = ["Found", "write_products"]


@dataclass(frozen=True)
class Found:
    """What a map holds: areas in ha on the ellipsoid, cropland and the ground with data; the number of parcels."""

    area_ha: float
    known_ha: float
    parcels: int

    @property
    def share(self) -> float:
        """Cropland as a share of the ground with data."""
        return self.area_ha / self.known_ha if self.known_ha else 0.0


def write_products(
    flat: Path,
    folder: Path,
    *,
    threshold: float,
    min_area_m2: float,
    unit_m: float | None,
    observed: datetime | None,
    journal: Journal,
) -> tuple[Found, GeoDataFrame]:
    """Write probability, mask and parcels of a probability raster into `folder`; the parcels too.

    What the journal says was made is not made again. threshold: 0..1. min_area_m2: of cropland and of holes. unit_m:
    metres per unit of the coordinates, without a CRS. observed: when the image was taken.
    """
    probability, mask = folder / "probability.tif", folder / "mask.tif"
    classify = by_threshold(threshold)
    with stage("probability.tif"):
        journal.once(probability, lambda out: write_cog(flat, out, overviews="average"))
    with stage("mask.tif"):
        journal.once(mask, lambda out: clean_mask(flat, out, classify=classify, min_area_m2=min_area_m2, unit_m=unit_m))
    with stage("areas"):
        areas = _areas_ha(mask, unit_m)
    with stage("parcels"):
        table = parcels(mask, probability=probability, unit_m=unit_m, observed=observed)
        write_geoparquet(table, folder / "parcels.parquet")
        write_geopackage(table, folder / "parcels.gpkg")
    return Found(*areas, len(table)), table


def _areas_ha(mask: Path, unit_m: float | None) -> tuple[float, float]:
    """Cropland and ground with data, counted in the mask."""
    cropland, known = 0.0, 0.0
    with rasterio.open(mask) as file:
        grid = GeoBox(file.shape, file.transform, file.crs.to_wkt() if file.crs else None)
        for _, block in file.block_windows(1):
            window = Window(block.row_off, block.col_off, block.height, block.width)
            classes = file.read(1, window=block)
            area = np.broadcast_to(pixel_area_m2(grid, window, unit_m=unit_m), classes.shape)
            cropland += float(area[classes == 1].sum())
            known += float(area[classes != 255].sum())
    return cropland / 1e4, known / 1e4
