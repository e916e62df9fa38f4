"""The last steps of a map of one scene: products, picture, project."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from geopandas import GeoDataFrame

from cropland.data.statistics import Statistics
from cropland.geo.scene import Scene
from cropland.mapping.journal import Journal
from cropland.mapping.overview import overview
from cropland.mapping.plan import Plan
from cropland.mapping.products import write_products
from cropland.mapping.record import Found
from cropland.writers.qgis import write_qgis

__all__ = ["finish"]


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
