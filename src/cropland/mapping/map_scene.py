"""From a scene to a map: probability, mask, parcels, picture. The only tiler in the package is reached from here."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from geopandas import GeoDataFrame

from cropland.data.statistics import Statistics
from cropland.engines import Engine
from cropland.geo.area import pixel_area_m2
from cropland.geo.area_words import MU_PER_HA
from cropland.geo.scene import Scene
from cropland.geo.tiles import Tile, Window
from cropland.language import _, said
from cropland.mapping.clean import by_threshold, clean_mask, default_min_area_m2
from cropland.mapping.overview import overview
from cropland.mapping.own_grid import write_probability
from cropland.mapping.parcels import parcels
from cropland.mapping.place import check_room, whole_folder
from cropland.mapping.progress import progress_bar
from cropland.mapping.radiometry import choose_statistics
from cropland.mapping.record import record
from cropland.mapping.sliding import slide_or_tile
from cropland.mapping.working import Plane, cut_tiles, fill_plane
from cropland.model import Model, WorkingPixel
from cropland.writers.cog import write_cog
from cropland.writers.geopackage import write_geopackage
from cropland.writers.geoparquet import write_geoparquet
from cropland.writers.qgis import write_qgis

__all__ = ["MapOptions", "MapResult", "map_scene"]

SMALL = 2**20  # pixels; a scene up to that is computed at once: to slide, the field must fill and empty
SAME_PIXEL = 0.02  # a working pixel this near to the scene's is taken as the scene's: nothing is resampled


@dataclass(frozen=True)
class MapOptions:
    """What a person may decide. Areas in m2, lengths in metres; None: the model's or the scene's."""

    statistics: Statistics | None = None
    threshold: float | None = None
    min_area_m2: float | None = None
    out_pixel_m: float | None = None
    tiles: bool = False  # overlapping tiles even where the network could slide
    tile: int | None = None  # their size in working pixels, which is computed if not given


@dataclass(frozen=True)
class MapResult:
    """What was found in one scene: areas in ha, the share of the known ground, times in seconds."""

    scene: Scene
    folder: Path
    area_ha: float
    known_ha: float
    parcels: int
    seconds: float
    megapixels: float
    notes: tuple[str, ...] = field(default=())

    @property
    def share(self) -> float:
        """Cropland as a share of the ground with data."""
        return self.area_ha / self.known_ha if self.known_ha else 0.0

    @property
    def sentence(self) -> str:
        """One line for a person."""
        speed = self.megapixels / self.seconds
        return _(
            "{name}: {area_ha:,.1f} ha of cropland ({area_mu:,.0f} mu), {share:.1%} of {known_ha:,.1f} ha, "
            "parcels: {parcels:,}; {seconds:.1f} s, {speed:.2f} Mpx/s",
            name=self.scene.name,
            area_ha=self.area_ha,
            area_mu=self.area_ha * MU_PER_HA,
            share=self.share,
            known_ha=self.known_ha,
            parcels=self.parcels,
            seconds=self.seconds,
            speed=speed,
        )


def map_scene(
    scene: Scene,
    model: Model,
    out: Path,
    *,
    engine: Engine,
    options: MapOptions = MapOptions(),
    overwrite: bool = False,
) -> MapResult:
    """Map one scene into the folder `out`, which appears whole or not at all.

    Raises `InputError` or one of its kinds for bands that are missing, statistics of other bands, a scene without data,
    a folder that cannot be used or a disk that is too small.
    """
    began = time.monotonic()
    statistics = choose_statistics(scene, model, options.statistics)
    plan = _plan(scene, model, options)
    check_room(out, plan.pixels + prod(map(int, scene.working_grid(plan.out_ratio).shape)))
    with whole_folder(out, overwrite=overwrite) as folder:
        flat = folder / ".flat.tif"
        way = _write_probability(scene, model, plan, flat, engine=engine, statistics=statistics)
        computed = time.monotonic() - began
        write_cog(flat, folder / "probability.tif", overviews="average")
        mask = folder / "mask.tif"
        classify = by_threshold(plan.threshold)
        clean_mask(flat, mask, classify=classify, min_area_m2=plan.min_area_m2, unit_m=scene.unit_m)
        flat.unlink()
        area_ha, known_ha = _areas(mask, scene, plan.out_ratio)
        found = parcels(mask, probability=folder / "probability.tif", unit_m=scene.unit_m)
        _write_for_people(scene, folder, found, home=out, statistics=statistics, area_ha=area_ha, known_ha=known_ha)
        seconds = time.monotonic() - began
        outcome = {"area_ha": area_ha, "known_ha": known_ha, "parcels": len(found)}
        timings = {"seconds": round(seconds, 3), "seconds_network": round(computed, 3)}
        notes = (*scene.notes, *plan.notes, *way)
        found_said = {**outcome, **timings}
        said = record(scene, model, statistics=statistics, options=plan.said, found=found_said, notes=notes)
        (folder / "map.json").write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")
    return MapResult(scene, out, area_ha, known_ha, len(found), seconds, scene.shape[0] * scene.shape[1] / 1e6, notes)


@dataclass(frozen=True)
class _Plan:
    """How a scene is mapped; `ratio` and `out_ratio` are the working and the product's pixel over the scene's."""

    pixel: WorkingPixel
    ratio: float
    out_ratio: float
    shape: tuple[int, int]  # of the working grid
    tiles: tuple[Tile, ...]  # none where the network slides
    threshold: float
    min_area_m2: float
    notes: tuple[str, ...]

    @property
    def pixels(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def said(self) -> dict[str, Any]:
        """What map.json says of it."""
        about = {"working_pixel_m": self.pixel.pixel_m, "ratio": self.ratio, "out_ratio": self.out_ratio}
        return {**about, "threshold": self.threshold, "min_area_m2": self.min_area_m2}


def _plan(scene: Scene, model: Model, options: MapOptions) -> _Plan:
    pixel = model.nearest_pixel(scene.pixel_m)
    ratio = pixel.pixel_m / scene.pixel_m
    ratio = 1.0 if abs(ratio - 1) < SAME_PIXEL else ratio
    out_ratio = 1.0 if options.out_pixel_m is None else options.out_pixel_m / scene.pixel_m
    height, width = map(int, scene.working_grid(ratio).shape)
    in_tiles = options.tiles or options.tile or model.radius is None or height * width <= SMALL
    return _Plan(
        pixel,
        ratio,
        out_ratio,
        (height, width),
        tuple(cut_tiles((height, width), model, size=options.tile)) if in_tiles else (),
        pixel.threshold if options.threshold is None else options.threshold,
        default_min_area_m2(scene.pixel_m) if options.min_area_m2 is None else options.min_area_m2,
        _pixel_note(scene, pixel, ratio),
    )


def _write_probability(
    scene: Scene, model: Model, plan: _Plan, out: Path, *, engine: Engine, statistics: Statistics
) -> tuple[str, ...]:
    """Compute it; notes on how."""
    plane = Plane(out.with_suffix(".working"), plan.shape)
    with progress_bar(scene.name, total=plan.pixels) as advance:
        how: dict[str, Any] = {"engine": engine, "statistics": statistics, "ratio": plan.ratio, "advance": advance}
        notes = () if plan.tiles else slide_or_tile(plane, scene, model, **how)
        fill_plane(plane, scene, plan.tiles, **how)
    write_probability(plane, scene, out, ratio=plan.ratio, out_ratio=plan.out_ratio)
    plane.path.unlink()
    return notes


def _write_for_people(
    scene: Scene,
    folder: Path,
    found: GeoDataFrame,
    *,
    home: Path,
    statistics: Statistics,
    area_ha: float,
    known_ha: float,
) -> None:
    write_geoparquet(found, folder / "parcels.parquet")
    write_geopackage(found, folder / "parcels.gpkg")
    share = area_ha / known_ha if known_ha else 0.0
    rasters = folder / "probability.tif", folder / "mask.tif"
    overview(scene, *rasters, found, folder / "overview.png", area_ha=area_ha, share=share)
    _write_project(scene, folder, statistics, home=home)


def _pixel_note(scene: Scene, pixel: WorkingPixel, ratio: float) -> tuple[str, ...]:
    if ratio == 1:
        return ()
    return (
        said(
            "The scene's pixels of {own_m:.3g} m are {how} to the model's nearest, {pixel_m:g} m "
            "(validation IoU {iou:.3f}).",
            own_m=scene.pixel_m,
            how=said("averaged") if ratio > 1 else said("interpolated"),
            pixel_m=pixel.pixel_m,
            iou=pixel.iou,
        ),
    )


def _areas(mask: Path, scene: Scene, out_ratio: float) -> tuple[float, float]:
    """Cropland and ground with data, in ha on the ellipsoid, counted in the mask."""
    grid, cropland, known = scene.working_grid(out_ratio), 0.0, 0.0
    with rasterio.open(mask) as file:
        for _, block in file.block_windows(1):
            window = Window(block.row_off, block.col_off, block.height, block.width)
            classes = file.read(1, window=block)
            area = np.broadcast_to(pixel_area_m2(grid, window, unit_m=scene.unit_m), classes.shape)
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
