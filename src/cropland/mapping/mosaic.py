"""Scenes put together: one map of the maps of several scenes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
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
from rich.console import Console

from cropland import __version__
from cropland.errors import SceneError
from cropland.geo.area import MU_PER_HA, pixel_edge_m
from cropland.geo.scene import Scene, visible
from cropland.language import Said, _, said, spoken
from cropland.mapping.borders import Border, table
from cropland.mapping.journal import Journal
from cropland.mapping.map_scene import MapOptions
from cropland.mapping.overlaps import Overlap, write_mosaic
from cropland.mapping.overview import PANEL, draw_overview
from cropland.mapping.place import MOSAIC, publish, work_folder
from cropland.mapping.products import write_products
from cropland.mapping.record import FORMAT, Found, fingerprint
from cropland.model import Model
from cropland.parcels.clean import default_min_area_m2, grid_of
from cropland.writers.qgis import write_qgis

__all__ = ["Mosaic", "mosaic"]


@dataclass(frozen=True)
class Mosaic:
    """What was found in all scenes together, and how much their maps differ where they meet."""

    folder: Path
    found: Found
    borders: tuple[Border, ...]
    notes: tuple[Said, ...]

    @property
    def sentence(self) -> str:
        """One line for a person."""
        return _(
            "mosaic: {area_ha:,.1f} ha of cropland ({area_mu:,.0f} mu), {share:.1%} of {known_ha:,.1f} ha, "
            "parcels: {parcels:,}",
            area_ha=self.found.area_ha,
            area_mu=self.found.area_ha * MU_PER_HA,
            share=self.found.share,
            known_ha=self.found.known_ha,
            parcels=self.found.parcels,
        )

    def tell(self) -> None:
        """Print what a person should know."""
        console = Console(highlight=False, soft_wrap=True, markup=False)
        for note in self.notes:
            console.print(spoken(note))
        if self.borders:
            console.print(table(self.borders))
        console.print(self.sentence)
        console.print(self.folder / "overview.png")


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
    threshold = _threshold(scenes, model, options)
    rule: dict[str, Any] = {"overlap": overlap, "threshold": threshold, "crs": crs, "shift": shift}
    with work_folder(out, overwrite=overwrite) as folder:
        flat, whole = folder / "flat.tif", folder / "map"
        whole.mkdir(exist_ok=True)
        journal = Journal.begin(folder, _job(mapped, model, rule, options), anew=overwrite)
        borders = write_mosaic(scenes, maps, flat, **rule)
        found = _products(flat, whole, scenes, threshold=threshold, options=options, journal=journal)
        files: dict[str, Any] = {"mask": whole / "mask.tif", "parcels": whole / "parcels.gpkg", "home": out.absolute()}
        write_qgis(whole / "map.qgs", title=MOSAIC, scene=None, probability=whole / "probability.tif", **files)
        made = Mosaic(out, found, tuple(borders), _notes(model, options))
        about = _record(made, journal, whole / "mask.tif")
        (whole / "map.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
        publish(whole, out.absolute())
    return made


def _threshold(scenes: Sequence[Scene], model: Model, options: MapOptions) -> float:
    """The one of the finest scene, unless it is given."""
    finest = min(scene.pixel_m for scene in scenes)
    return model.nearest_pixel(finest).threshold if options.threshold is None else options.threshold


def _products(
    flat: Path, folder: Path, scenes: Sequence[Scene], *, threshold: float, options: MapOptions, journal: Journal
) -> Found:
    with rasterio.open(flat) as file:
        pixel_m = pixel_edge_m(grid_of(file))
    times = {scene.observed for scene in scenes}
    return write_products(
        flat,
        folder,
        threshold=threshold,
        min_area_m2=default_min_area_m2(pixel_m) if options.min_area_m2 is None else options.min_area_m2,
        unit_m=None,
        observed=times.pop() if len(times) == 1 else None,
        journal=journal,
        draw=partial(_draw, scenes, folder),
    )


def _draw(scenes: Sequence[Scene], folder: Path, found: Found, parcels: Iterable[GeoDataFrame]) -> None:
    probability, mask = folder / "probability.tif", folder / "mask.tif"
    with rasterio.open(mask) as file:
        grid = grid_of(file)
    said_of_it: dict[str, Any] = {"area_ha": found.area_ha, "share": found.share}
    shape = _("mosaic of {count} scenes", count=len(scenes)), pixel_edge_m(grid) * grid.shape[1]
    draw_overview(_picture(scenes, grid), probability, mask, parcels, folder / "overview.png", *shape, **said_of_it)


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


def _job(
    mapped: Sequence[tuple[Scene, Path]], model: Model, rule: dict[str, Any], options: MapOptions
) -> dict[str, Any]:
    """All that decides a mosaic."""
    scenes = [
        {
            "name": scene.name,
            "map": folder.name,
            "observed": scene.observed and scene.observed.isoformat(),
            "sha256_sampled": fingerprint(folder / "probability.tif"),
        }
        for scene, folder in mapped
    ]
    return {
        "cropland": __version__,
        "scenes": scenes,
        "model": {"name": model.name, "sha256": model.digest, "version": model.version, "trained": model.source_hash},
        "options": {**rule, "min_area_m2": options.min_area_m2},
    }


def _record(made: Mosaic, journal: Journal, mask: Path) -> dict[str, Any]:
    with rasterio.open(mask) as file:
        grid = grid_of(file)
    crs = None if grid.crs is None else grid.crs.to_wkt()
    return {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        **journal.job,
        "grid": {"crs": crs, "transform": list(grid.affine)[:6], "shape": list(map(int, grid.shape))},
        "found": asdict(made.found),
        "borders": [border.to_json() for border in made.borders],
        "notes": list(made.notes),
    }
