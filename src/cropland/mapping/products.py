"""From the probability of a grid to all that a person gets: mask, parcels, picture, project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox

from cropland.data.statistics import Statistics
from cropland.geo.area import pixel_area_m2
from cropland.geo.scene import Scene
from cropland.geo.tiles import Window
from cropland.mapping.clean import by_threshold, clean_mask
from cropland.mapping.find_parcels import find_parcels
from cropland.mapping.journal import Journal
from cropland.mapping.overview import overview
from cropland.mapping.stages import stage
from cropland.writers.cog import write_cog
from cropland.writers.geopackage import write_geopackage
from cropland.writers.geoparquet import write_geoparquet
from cropland.writers.qgis import write_qgis

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
    scene: Scene,
    *,
    threshold: float,
    min_area_m2: float,
    statistics: Statistics,
    home: Path,
    journal: Journal,
) -> Found:
    """Write the products of a probability raster into `folder`, which will be moved to `home`.

    What the journal says was made is not made again. threshold: 0..1. min_area_m2: of cropland and of holes.
    """
    probability, mask, unit_m = folder / "probability.tif", folder / "mask.tif", scene.unit_m
    classify = by_threshold(threshold)
    with stage("probability.tif"):
        journal.once(probability, lambda out: write_cog(flat, out, overviews="average"))
    with stage("mask.tif"):
        journal.once(mask, lambda out: clean_mask(flat, out, classify=classify, min_area_m2=min_area_m2, unit_m=unit_m))
    with stage("areas"):
        areas = _areas_ha(mask, unit_m)
    with stage("parcels"), find_parcels(mask, probability=probability, unit_m=unit_m, folder=folder) as parcels:
        with stage("parcels.parquet"):
            write_geoparquet(parcels.chunks(), folder / "parcels.parquet")
        with stage("parcels.gpkg"):
            write_geopackage(parcels.chunks(), folder / "parcels.gpkg")
        found, picture = Found(*areas, len(parcels)), folder / "overview.png"
        with stage("overview.png"):
            shown = {"area_ha": found.area_ha, "share": found.share}
            overview(scene, probability, mask, parcels.chunks(), picture, **shown)
    _write_project(scene, folder, statistics, home=home)
    return found


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


def _write_project(scene: Scene, folder: Path, statistics: Statistics, *, home: Path) -> None:
    numbers = [scene.bands.index(band) + 1 for band in statistics.bands[:3]]
    shown = (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else numbers[0]
    write_qgis(
        folder / "map.qgs",
        title=scene.name,
        scene=scene.files[0],
        bands=shown,
        limits=list(zip(statistics.low, statistics.high, strict=True))[:3],
        probability=folder / "probability.tif",
        mask=folder / "mask.tif",
        parcels=folder / "parcels.gpkg",
        home=home,
    )
