"""Scenes put together: one map of the maps of several scenes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import prod, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from geopandas import GeoDataFrame
from jaxtyping import Float32
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.warp import reproject

from cropland import __version__
from cropland.errors import SceneError
from cropland.geo.area import pixel_area_m2
from cropland.geo.area_words import MU_PER_HA
from cropland.geo.scene import Scene
from cropland.geo.tiles import Window
from cropland.geo.visible import visible
from cropland.language import Said, _, said
from cropland.mapping.borders import NO_DATA, Border
from cropland.mapping.clean import by_threshold, clean_mask, default_min_area_m2, grid_of
from cropland.mapping.map_scene import MapOptions
from cropland.mapping.overlaps import Overlap, write_mosaic
from cropland.mapping.overview import PANEL, draw_overview
from cropland.mapping.parcels import parcels
from cropland.mapping.place import whole_folder
from cropland.mapping.record import FORMAT
from cropland.model import Model
from cropland.writers.cog import write_cog
from cropland.writers.geopackage import write_geopackage
from cropland.writers.geoparquet import write_geoparquet
from cropland.writers.qgis import write_qgis

__all__ = ["Mosaic", "mosaic"]

NAME = "mosaic"


@dataclass(frozen=True)
class Mosaic:
    """What was found in all scenes together: areas in ha, and how much their maps differ where they meet."""

    folder: Path
    area_ha: float
    known_ha: float
    parcels: int
    borders: tuple[Border, ...]
    notes: tuple[Said, ...]

    @property
    def share(self) -> float:
        """Cropland as a share of the ground with data."""
        return self.area_ha / self.known_ha if self.known_ha else 0.0

    @property
    def sentence(self) -> str:
        """One line for a person."""
        return _(
            "mosaic: {area_ha:,.1f} ha of cropland ({area_mu:,.0f} mu), {share:.1%} of {known_ha:,.1f} ha, "
            "parcels: {parcels:,}",
            area_ha=self.area_ha,
            area_mu=self.area_ha * MU_PER_HA,
            share=self.share,
            known_ha=self.known_ha,
            parcels=self.parcels,
        )


def mosaic(
    mapped: Sequence[tuple[Scene, Path]],
    model: Model,
    out: Path,
    *,
    overlap: Overlap,
    options: MapOptions,
    crs: str | None = None,
    shift: bool = False,
    overwrite: bool = False,
) -> Mosaic:
    """Put the maps of scenes (each with its folder) together in the folder `out`, which appears whole or not at all.

    overlap: see `write_mosaic`. crs: of the mosaic; that of most scenes if not given. options: threshold and least
    area. Raises `GridError` for scenes that have no common place, `OutputError` for a folder that cannot be used.
    """
    scenes = [scene for scene, folder in mapped]
    maps = [folder / "probability.tif" for scene, folder in mapped]
    with whole_folder(out, overwrite=overwrite) as folder:
        flat = folder / f".{NAME}.tif"
        threshold = _threshold(scenes, model, options)
        rule: dict[str, Any] = {"overlap": overlap, "threshold": threshold, "crs": crs, "shift": shift}
        borders = write_mosaic(scenes, maps, flat, **rule)
        found, area_ha, known_ha = _products(flat, folder, scenes, home=out, threshold=threshold, options=options)
        flat.unlink()
        made = Mosaic(out, area_ha, known_ha, len(found), tuple(borders), _notes(model, options))
        about = _record(made, mapped, model, rule, folder / "mask.tif")
        (folder / "map.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    return made


def _threshold(scenes: Sequence[Scene], model: Model, options: MapOptions) -> float:
    """The one of the finest scene, unless it is given."""
    finest = min(scene.pixel_m for scene in scenes)
    return model.nearest_pixel(finest).threshold if options.threshold is None else options.threshold


def _products(
    flat: Path, folder: Path, scenes: Sequence[Scene], *, home: Path, threshold: float, options: MapOptions
) -> tuple[GeoDataFrame, float, float]:
    """All files but map.json; the parcels, and cropland and known ground in ha."""
    probability, mask = folder / "probability.tif", folder / "mask.tif"
    write_cog(flat, probability, overviews="average")
    with rasterio.open(flat) as file:
        grid = grid_of(file)
    pixel_m = _pixel_m(grid)
    least_m2 = default_min_area_m2(pixel_m) if options.min_area_m2 is None else options.min_area_m2
    clean_mask(flat, mask, classify=by_threshold(threshold), min_area_m2=least_m2)
    times = {scene.observed for scene in scenes}
    found = parcels(mask, probability=probability, observed=times.pop() if len(times) == 1 else None)
    write_geoparquet(found, folder / "parcels.parquet")
    write_geopackage(found, folder / "parcels.gpkg")
    area_ha, known_ha = _areas(mask)
    said_of_it: dict[str, Any] = {"area_ha": area_ha, "share": area_ha / known_ha if known_ha else 0.0}
    shape = _("mosaic of {count} scenes", count=len(scenes)), pixel_m * grid.shape[1]
    draw_overview(_picture(scenes, grid), probability, mask, found, folder / "overview.png", *shape, **said_of_it)
    files: dict[str, Any] = {"probability": probability, "mask": mask, "parcels": folder / "parcels.gpkg", "home": home}
    write_qgis(folder / "map.qgs", title=NAME, scene=None, **files)
    return found, area_ha, known_ha


def _areas(mask: Path) -> tuple[float, float]:
    cropland = known = 0.0
    with rasterio.open(mask) as file:
        grid = grid_of(file)
        for _, block in file.block_windows(1):
            classes = file.read(1, window=block)
            if (classes == NO_DATA).all():
                continue
            area = pixel_area_m2(grid, Window(block.row_off, block.col_off, block.height, block.width))
            cropland += float(area[classes == 1].sum())
            known += float(area[classes != NO_DATA].sum())
    return cropland / 1e4, known / 1e4


def _pixel_m(grid: GeoBox) -> float:
    middle = Window(grid.shape[0] // 2, grid.shape[1] // 2, 1, 1)
    return sqrt(float(pixel_area_m2(grid, middle)[0, 0]))


def _picture(scenes: Sequence[Scene], grid: GeoBox) -> Float32[np.ndarray, "height width 4"]:
    """The scenes for the eye, the first in front, without those that cannot be read any more."""
    factor = max(1.0, sqrt(prod(grid.shape) / PANEL**2))
    height, width = (max(1, round(length / factor)) for length in grid.shape)
    onto = grid.affine @ Affine.scale(grid.shape[1] / width, grid.shape[0] / height)
    picture = np.zeros((4, height, width), np.float32)
    for scene in scenes:
        try:
            seen = visible(scene, max_pixels=PANEL**2 // 2).transpose(2, 0, 1)
        except SceneError:  # the maps are there, and all but this picture is made from them
            continue
        own = scene.grid.affine @ Affine.scale(scene.shape[1] / seen.shape[2], scene.shape[0] / seen.shape[1])
        warped = np.zeros_like(picture)
        way = {"src_transform": own, "src_crs": str(scene.grid.crs), "dst_transform": onto, "dst_crs": str(grid.crs)}
        reproject(seen, warped, resampling=Resampling.bilinear, **way)
        fresh = (warped[3] > 0.5) & (picture[3] == 0)
        picture[:, fresh] = warped[:, fresh]
    picture[3] = picture[3] > 0
    return picture.transpose(1, 2, 0)


def _notes(model: Model, options: MapOptions) -> tuple[Said, ...]:
    if model.statistics or options.statistics:
        return ()
    return (said("Each scene is stretched by statistics of its own; --statistics gives all of them the same."),)


def _record(
    made: Mosaic, mapped: Sequence[tuple[Scene, Path]], model: Model, rule: dict[str, Any], mask: Path
) -> dict[str, Any]:
    with rasterio.open(mask) as file:
        grid = grid_of(file)
    return {
        "format": FORMAT,
        "cropland": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "mosaic": {
            "scenes": [
                {"name": scene.name, "map": folder.name, "observed": scene.observed and scene.observed.isoformat()}
                for scene, folder in mapped
            ],
            "crs": None if grid.crs is None else grid.crs.to_wkt(),
            "transform": list(grid.affine)[:6],
            "shape": list(map(int, grid.shape)),
        },
        "model": {"name": model.name, "sha256": model.digest, "version": model.version, "trained": model.source_hash},
        "options": rule,
        "found": {"area_ha": made.area_ha, "known_ha": made.known_ha, "parcels": made.parcels},
        "borders": [border.to_json() for border in made.borders],
        "notes": list(made.notes),
    }
