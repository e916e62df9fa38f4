"""From a scene to a map: probability, mask, parcels, picture. The only tiler in the package is reached from here."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import rasterio
from cyclopts import Parameter
from geopandas import GeoDataFrame, GeoSeries
from rich.console import Console
from shapely.geometry.base import BaseGeometry

from cropland.data.statistics import Statistics
from cropland.engines import Engine, default_engine
from cropland.errors import InputError
from cropland.geo.area import pixel_area_m2
from cropland.geo.scene import Scene, open_scene, parse_bands
from cropland.geo.tiles import Tile, Window
from cropland.mapping.clean import MU_M2, by_threshold, clean_mask, default_min_area_m2
from cropland.mapping.overview import overview
from cropland.mapping.own_grid import write_probability
from cropland.mapping.parcels import parcels
from cropland.mapping.place import check_room, whole_folder
from cropland.mapping.progress import progress_bar
from cropland.mapping.radiometry import choose_statistics, read_statistics
from cropland.mapping.record import record
from cropland.mapping.working import Plane, cut_tiles, fill_plane
from cropland.model import Model, WorkingPixel, default_model
from cropland.writers.cog import write_cog
from cropland.writers.geopackage import write_geopackage
from cropland.writers.geoparquet import write_geoparquet
from cropland.writers.qgis import write_qgis

__all__ = ["MapOptions", "MapResult", "command", "map_scene"]

SAME_PIXEL = 0.02  # a working pixel this near to the scene's is taken as the scene's: nothing is resampled


@dataclass(frozen=True)
class MapOptions:
    """What a person may decide. Areas in m2, lengths in metres; None: the model's or the scene's."""

    statistics: Statistics | None = None
    threshold: float | None = None
    min_area_m2: float | None = None
    out_pixel_m: float | None = None
    tile: int | None = None  # working pixels; for tests, since a size is computed


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
        return (
            f"{self.scene.name}: {self.area_ha:,.1f} ha of cropland ({self.area_ha * 15:,.0f} mu), {self.share:.1%} of "
            f"{self.known_ha:,.1f} ha, {self.parcels:,} parcels; {self.seconds:.1f} s, {speed:.2f} Mpx/s"
        )


def command(
    *scenes: Annotated[Path, Parameter(required=True)],
    out: Path,
    model: Path | None = None,
    sensor: str | None = None,
    bands: str | None = None,
    nodata: float | None = None,
    crs: str | None = None,
    pixel_m: float | None = None,
    shift: bool = False,
    statistics: Path | None = None,
    threshold: float | None = None,
    min_area_m2: float | None = None,
    min_area_mu: float | None = None,
    out_pixel: float | None = None,
    trust: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    tile: int | None = None,
) -> None:
    """Map the cropland of scenes: probability, mask, parcels and a picture.

    Example:
        cropland map my_scene.tif --out my_map

    Parameters
    ----------
    scenes
        Images, or folders with one file per band; each is mapped into a folder of its name if there are several.
    out
        The folder to write.
    model
        A model file; the one that ships if not given.
    sensor
        The sensor whose bands these are.
    bands
        Numbers of the bands, as in red=3,green=2,blue=1.
    nodata
        The value that stands for no data.
    crs
        The CRS of scenes that do not say it, as EPSG:32650.
    pixel_m
        Pixel size in metres of scenes without a CRS.
    shift
        Accept a datum shift that is only roughly known.
    statistics
        The map.json of an earlier map whose stretch is used again, so that a crop maps as its scene.
    threshold
        Probability from which a pixel is cropland, 0..1; the model's if not given.
    min_area_m2
        Least area of cropland and of a hole in it, in m2; 400 or ten pixels if not given.
    min_area_mu
        The same in mu (1 mu is 10000/15 m2).
    out_pixel
        Pixel size of the map in metres; the scene's own grid if not given.
    trust
        Run the code that the model file names.
    overwrite
        Replace a map.
    threads
        Threads of the network; all if not given.
    tile
        Edge of a tile in working pixels; as large as fits if not given.
    """
    if min_area_m2 is not None and min_area_mu is not None:
        raise InputError("--min-area-m2 and --min-area-mu say the same; give one of them")
    trained = Model.load(model or default_model(), trust=trust)
    options = MapOptions(
        statistics=read_statistics(statistics) if statistics else None,
        threshold=threshold,
        min_area_m2=min_area_m2 if min_area_mu is None else min_area_mu * MU_M2,
        out_pixel_m=out_pixel,
        tile=tile,
    )
    opening: dict[str, Any] = {"sensor": sensor, "bands": parse_bands(bands) if bands else None, "nodata": nodata}
    opened = [open_scene(path, **opening, crs=crs, pixel_m=pixel_m, shift=shift) for path in scenes]
    folders = _folders(out, opened)
    engine = _open_engine(trained, threads)
    results = []
    for scene, folder in zip(opened, folders, strict=True):
        results.append(map_scene(scene, trained, folder, engine=engine, options=options, overwrite=overwrite))
        _tell(results[-1])
    if len(results) > 1:
        write_geopackage(_index(results), out / "index.gpkg", layer="scenes")


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
    check_room(out, plan.pixels + scene.shape[0] * scene.shape[1])
    with whole_folder(out, overwrite=overwrite) as folder:
        flat = folder / ".flat.tif"
        _write_probability(scene, model, plan, flat, engine=engine, statistics=statistics)
        computed = time.monotonic() - began
        write_cog(flat, folder / "probability.tif", overviews="average")
        mask = folder / "mask.tif"
        classify = by_threshold(plan.threshold)
        clean_mask(flat, mask, classify=classify, min_area_m2=plan.min_area_m2, unit_m=scene.unit_m)
        flat.unlink()
        area_ha, known_ha = _areas(mask, scene, plan.out_ratio)
        found = parcels(mask, probability=folder / "probability.tif", unit_m=scene.unit_m)
        _write_for_people(scene, folder, found, statistics=statistics, area_ha=area_ha, known_ha=known_ha)
        seconds = time.monotonic() - began
        outcome = {"area_ha": area_ha, "known_ha": known_ha, "parcels": len(found)}
        timings = {"seconds": round(seconds, 3), "seconds_network": round(computed, 3)}
        said = record(scene, model, statistics=statistics, options=plan.said, found={**outcome, **timings})
        (folder / "map.json").write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")
    notes = (*scene.notes, *plan.notes)
    return MapResult(scene, out, area_ha, known_ha, len(found), seconds, scene.shape[0] * scene.shape[1] / 1e6, notes)


@dataclass(frozen=True)
class _Plan:
    """The working pixel, the working and the product's pixel as multiples of the scene's, tiles, threshold, least area."""

    pixel: WorkingPixel
    ratio: float
    out_ratio: float
    tiles: tuple[Tile, ...]
    threshold: float
    min_area_m2: float
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the working grid."""
        last = self.tiles[-1].core
        return last.row + last.height, last.col + last.width

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
    height, width = scene.working_grid(ratio).shape
    return _Plan(
        pixel,
        ratio,
        out_ratio,
        tuple(cut_tiles((int(height), int(width)), model, size=options.tile)),
        pixel.threshold if options.threshold is None else options.threshold,
        default_min_area_m2(scene.pixel_m) if options.min_area_m2 is None else options.min_area_m2,
        _pixel_note(scene, pixel, ratio),
    )


def _write_probability(
    scene: Scene, model: Model, plan: _Plan, out: Path, *, engine: Engine, statistics: Statistics
) -> None:
    plane = Plane(out.with_suffix(".working"), plan.shape)
    with progress_bar(scene.name, total=plan.pixels) as advance:
        fill_plane(plane, scene, plan.tiles, engine=engine, statistics=statistics, ratio=plan.ratio, advance=advance)
    write_probability(plane, scene, out, ratio=plan.ratio, out_ratio=plan.out_ratio)
    plane.path.unlink()


def _write_for_people(
    scene: Scene, folder: Path, found: GeoDataFrame, *, statistics: Statistics, area_ha: float, known_ha: float
) -> None:
    write_geoparquet(found, folder / "parcels.parquet")
    write_geopackage(found, folder / "parcels.gpkg")
    share = area_ha / known_ha if known_ha else 0.0
    rasters = folder / "probability.tif", folder / "mask.tif"
    overview(scene, *rasters, found, folder / "overview.png", area_ha=area_ha, share=share)
    _write_project(scene, folder, statistics)


def _pixel_note(scene: Scene, pixel: WorkingPixel, ratio: float) -> tuple[str, ...]:
    if ratio == 1:
        return ()
    how = "averaged" if ratio > 1 else "interpolated"
    return (
        f"The scene's pixels of {scene.pixel_m:.3g} m are {how} to the model's nearest, {pixel.pixel_m:g} m "
        f"(validation IoU {pixel.iou:.3f}).",
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


def _write_project(scene: Scene, folder: Path, statistics: Statistics) -> None:
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
    )


def _open_engine(model: Model, threads: int | None) -> Engine:
    engine: Callable[..., Engine] = importlib.import_module(f"cropland.engines.{default_engine()}").open_engine
    return engine(model, threads=threads)


def _folders(out: Path, scenes: Sequence[Scene]) -> list[Path]:
    if len(scenes) == 1:
        return [out]
    names = [scene.name for scene in scenes]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError(f"two scenes are called {twice}; map them one at a time, each with its own --out")
    return [out / name for name in names]


def _tell(result: MapResult) -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for note in result.notes:
        console.print(note)
    console.print(result.sentence)
    console.print(result.folder / "overview.png")


def _index(results: Sequence[MapResult]) -> GeoDataFrame:
    columns = {
        "name": [result.scene.name for result in results],
        "area_ha": [result.area_ha for result in results],
        "share": [result.share for result in results],
        "parcels": [result.parcels for result in results],
        "folder": [result.folder.name for result in results],
    }
    return GeoDataFrame(columns, geometry=GeoSeries([_footprint(result.scene) for result in results], crs=4326))


def _footprint(scene: Scene) -> BaseGeometry | None:
    return None if scene.grid.crs is None else scene.grid.extent.to_crs("EPSG:4326").geom
