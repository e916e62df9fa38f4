"""From a scene to a map: probability, mask, parcels, picture. The only tiler in the package is reached from here."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from geopandas import GeoDataFrame, GeoSeries
from pydantic import ByteSize, TypeAdapter, ValidationError
from rich.console import Console
from shapely.geometry.base import BaseGeometry

from cropland.errors import IncompleteError, InputError, ReadError
from cropland.files import write_json
from cropland.geo.area import MU_M2, MU_PER_HA
from cropland.geo.scene import Scene, open_scenes, parse_bands
from cropland.language import _, shown
from cropland.mapping.compute import Executor, Running, Serial, Work, fill, mean_of_turns
from cropland.mapping.plan import MapOptions, Plan, make_plan, read_statistics
from cropland.mapping.products import write_probability
from cropland.mapping.run_folder import (
    MOSAIC,
    Found,
    Journal,
    Plane,
    check_free,
    check_room,
    finished,
    job,
    publish,
    record,
    work_folder,
)
from cropland.model import Model
from cropland.options import ABOVE_0, COUNT, NOT_NEGATIVE, SHARE
from cropland.progress import megapixels, progress_bar, seconds_by_stage, timed
from cropland.writers.vector import write_geopackage

__all__ = ["MapOptions", "MapResult", "command", "map_scene", "write_index"]


@dataclass(frozen=True)
class MapResult:
    """What was found in one scene; seconds in all and by stage.

    how: `resumed` after what an earlier run had done, or `kept` from one that had done all.
    """

    scene: Scene
    folder: Path
    found: Found
    seconds: float
    stages: Mapping[str, float]
    notes: tuple[str, ...] = field(default=())
    how: Literal["new", "resumed", "kept"] = "new"

    @staticmethod
    def earlier(scene: Scene, folder: Path, about: Mapping[str, Any]) -> MapResult:
        """Of a map that was made before, from what its map.json says."""
        found = about["found"]
        counted = Found(found["area_ha"], found["known_ha"], found["parcels"])
        took = found["seconds"], found["seconds_by_stage"]
        return MapResult(scene, folder, counted, *took, tuple(about["notes"]), "kept")

    @property
    def sentence(self) -> str:
        """One line for a person."""
        return _(
            "{name}: {area_ha:,.1f} ha of cropland ({area_mu:,.0f} mu), {share:.1%} of {known_ha:,.1f} ha, "
            "parcels: {parcels:,}; {took}",
            name=self.scene.name,
            area_ha=self.found.area_ha,
            area_mu=self.found.area_ha * MU_PER_HA,
            share=self.found.share,
            known_ha=self.found.known_ha,
            parcels=self.found.parcels,
            took=self._took,
        )

    @property
    def _took(self) -> str:
        if self.how == "kept":
            return _("mapped before")
        if self.how == "resumed":
            return _("{seconds:.1f} s, after what an earlier run had done", seconds=self.seconds)
        speed = self.scene.shape[0] * self.scene.shape[1] / 1e6 / self.seconds
        return _("{seconds:.1f} s, {speed:.2f} Mpx/s", seconds=self.seconds, speed=speed)


def map_scene(
    scene: Scene,
    model: Model,
    out: Path,
    *,
    executor: Executor,
    options: MapOptions | None = None,
    overwrite: bool = False,
    keep: bool = False,
) -> MapResult:
    """Map one scene into the folder `out`, which appears whole; a run that was stopped goes on where it was.

    keep: leave a finished map that was made from the same scene in the same way, as it is.
    executor: what computes the units. Raises `InputError` or one of its kinds for bands that
    are missing, statistics of other bands, a scene without data, a folder that cannot be used, a disk that is too
    small, unfinished work of another kind; `IncompleteError` where files failed on the way.
    """
    began, _before = time.monotonic(), seconds_by_stage()
    with timed("planning"):
        plan = make_plan(scene, model, options or MapOptions(), engine=executor.engine, prepare=executor.prepare)
        task = job(scene, model, plan, executor.engine)
        earlier = finished(out, task) if keep else None
    if earlier:
        return MapResult.earlier(scene, out, earlier)
    with work_folder(out, overwrite=overwrite) as folder:
        check_room(out, plan.pixels, work=folder)
        journal = Journal.begin(folder, task, anew=overwrite)
        flat = folder / "flat.tif"
        _fill(scene, plan, flat, executor=executor, journal=journal)
        from cropland.mapping.products import finish

        whole = folder / "map"
        found = finish(scene, plan, flat, whole, home=out.absolute(), journal=journal)
        notes, resumed = (*scene.notes, *plan.notes), journal.goes_on
        result = MapResult(
            scene, out, found, time.monotonic() - began, seconds_by_stage(), notes, "resumed" if resumed else "new"
        )
        took: dict[str, Any] = {"seconds": result.seconds, "stages": result.stages, "resumed": resumed}
        about = record(journal.job, found=found, notes=notes, why=executor.why, **took)
        write_json(whole / "map.json", about)
        publish(whole, out.absolute())
    return result


def _fill(scene: Scene, plan: Plan, out: Path, *, executor: Executor, journal: Journal) -> None:
    """Compute the probability, in every direction that is asked for, and write it on the grid of the product."""
    failed: list[ReadError] = []
    planes = []
    with progress_bar(scene.name, total=len(plan.passes) * plan.working_pixels, rate=megapixels) as advance:
        for each in plan.passes:
            work = Work(each.readable, plan.statistics, plan.ratio, plan.radius)
            planes.append(Plane(out.with_name(each.name), each.cut.shape))
            failed += fill(planes[-1], each.name, work, each.cut, executor=executor, journal=journal, advance=advance)
    if failed:
        first = failed[0]
        raise ReadError(
            "{count} parts of {name} could not be read ({error}); the rest is kept, and the same command fills in "
            "what is missing",
            count=len(failed),
            name=scene.name,
            error=first,
            path=first.path,
            window=first.window,
            cause=first.cause,
        )
    with timed("own grid"):
        plane = mean_of_turns(planes, plan.turns, out.with_name("mean"))
        write_probability(plane, scene, out, ratio=plan.ratio, out_ratio=plan.out_ratio)


def command(
    *scenes: Annotated[str, Parameter(required=True)],
    out: Path,
    model: Path | None = None,
    sensor: str | None = None,
    bands: str | None = None,
    nodata: float | None = None,
    crs: str | None = None,
    pixel_m: Annotated[float | None, ABOVE_0] = None,
    shift: bool = False,
    statistics: Path | None = None,
    threshold: Annotated[float | None, SHARE] = None,
    min_area_m2: Annotated[float | None, NOT_NEGATIVE] = None,
    min_area_mu: Annotated[float | None, NOT_NEGATIVE] = None,
    out_pixel: Annotated[float | None, ABOVE_0] = None,
    mosaic: bool = False,
    overlap: Literal["mean", "latest", "most-valid"] | None = None,
    out_crs: str | None = None,
    trust: bool = False,
    overwrite: bool = False,
    threads: Annotated[int | None, COUNT] = None,
    engine: str | None = None,
    precision: Literal["fastest", "f32"] = "fastest",
    memory: str | None = None,
    average: Literal[1, 2, 4, 8] = 1,
    executor: str = "serial",
    profile: Path | None = None,
    tiles: bool = False,
    tile: Annotated[int | None, COUNT] = None,
) -> None:
    """Map the cropland of scenes: probability, mask, parcels and a picture.

    Example:
        cropland map my_scene.tif --out my_map

    Parameters
    ----------
    scenes
        Images, folders with one file per band or of whole images, patterns as in "tiles/*.tif", STAC items, or
        addresses of these (https://...); each scene is mapped into a folder of its name if there are several.
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
        The map.json of an earlier map whose stretch is used again, so that a crop maps as its scene, but for a
        rim along the cut.
    threshold
        Probability from which a pixel is cropland, 0..1; the model's if not given.
    min_area_m2
        Least area of cropland and of a hole in it, in m2; 400 or ten pixels if not given.
    min_area_mu
        The same in mu (1 mu is 10000/15 m2).
    out_pixel
        Pixel size of the map in metres; the scene's own grid if not given.
    mosaic
        Put the maps of all scenes together in OUT/mosaic, and say how much they differ where they meet.
    overlap
        What counts in a mosaic where scenes overlap: their mean probability (the default), the latest, or the one
        with the largest share of valid pixels.
    out_crs
        The CRS of the mosaic, as EPSG:4490; that of most scenes if not given.
    trust
        Run the code that the model file names.
    overwrite
        Replace a map.
    threads
        Threads of the network; all if not given, one for each task of Dask.
    engine
        What runs the network: openvino or torch; torch where CUDA is, else openvino, if not given.
    precision
        fastest: bfloat16 where the processor computes it, half precision on CUDA; or f32 for single precision.
    memory
        What the network and what it keeps may take, as in 2GB; a map does not depend on it beyond its last digits.
    average
        Take the mean of the scene laid in 2, 4 or 8 ways (turned and mirrored); as many times as long. The model's
        threshold was chosen without it.
    executor
        serial; dask for worker processes on this machine; dask:tcp://HOST:8786 for a cluster.
    profile
        A file for the seconds that each stage took (JSON).
    tiles
        Compute overlapping tiles where the network could slide down the scene; the same map, more slowly.
    tile
        The same with tiles of that edge, in working pixels.
    """
    if min_area_m2 is not None and min_area_mu is not None:
        raise InputError("--min-area-m2 and --min-area-mu say the same; give one of them")
    if profile and not profile.absolute().parent.is_dir():
        raise InputError("--profile {profile}: that folder is not there; make it first", profile=profile)
    running = Running.of(model, trust=trust, engine=engine, threads=threads, precision=precision)
    trained = running.load()
    options = MapOptions(
        statistics=read_statistics(statistics) if statistics else None,
        threshold=threshold,
        min_area_m2=min_area_m2 if min_area_mu is None else min_area_mu * MU_M2,
        out_pixel_m=out_pixel,
        tiles=tiles,
        tile=tile,
        memory=None if memory is None else _bytes(memory),
        average=average,
    )
    opening: dict[str, Any] = {"sensor": sensor, "bands": parse_bands(bands) if bands else None, "nodata": nodata}
    opened = open_scenes(scenes, **opening, crs=crs, pixel_m=pixel_m, shift=shift)
    joining: dict[str, Any] = {"overlap": overlap or "mean", "crs": out_crs, "shift": shift}
    if mosaic:
        from cropland.mapping.mosaic import check_mosaic

        check_mosaic(opened, **joining)
        check_free(out / MOSAIC, overwrite=overwrite)  # before any scene is mapped
    elif overlap or out_crs:
        raise InputError("--overlap and --out-crs are of a mosaic; give --mosaic as well")
    folders = _folders(out, opened, mosaic=mosaic)
    with _executor(executor, running) as by:
        work = list(zip(opened, folders, strict=True))
        results = _map_each(work, trained, executor=by, options=options, overwrite=overwrite)
    if profile:
        write_json(profile, {result.scene.name: dict(result.stages) for result in results})
    if len(results) > 1:
        from cropland.mapping.map import write_index

        write_index(results, out / "index.gpkg")
    if mosaic:
        from cropland.mapping.mosaic import mosaic as put_together

        put_together(work, trained, out / MOSAIC, options=options, overwrite=overwrite, **joining).tell()


def _map_each(
    work: Sequence[tuple[Scene, Path]], model: Model, *, executor: Executor, options: MapOptions, overwrite: bool
) -> list[MapResult]:
    """Of several, those that an earlier run of the same command has finished are left as they are, and one that cannot
    be read on the way does not keep the others waiting; then `IncompleteError` is raised at the end."""
    results, failed = [], 0
    settings: dict[str, Any] = {"overwrite": overwrite, "keep": len(work) > 1 and not overwrite}
    for scene, folder in work:
        try:
            results.append(map_scene(scene, model, folder, executor=executor, options=options, **settings))
            _tell(results[-1])
        except ReadError as error:
            if len(work) == 1:
                raise
            failed += 1
            Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(shown(error))
    if failed:
        raise IncompleteError(
            "{count} of {total} scenes are incomplete; the same command fills in what is missing",
            count=failed,
            total=len(work),
        )
    return results


def _executor(spec: str, running: Running) -> AbstractContextManager[Executor]:
    """What computes the units. Raises `InputError` for what there is not."""
    kind, _colon, address = spec.partition(":")
    if spec == "serial":
        return nullcontext(Serial(running.open(), running.why))
    if kind != "dask" or (address and "://" not in address):
        raise InputError(
            "--executor {spec}: there is none of that name; give serial, dask or dask:tcp://HOST:8786", spec=spec
        )
    try:
        from cropland.mapping.dask import connected
    except ImportError as error:
        raise InputError("--executor dask needs a package: pip install 'cropland[dask]'") from error
    return connected(address or None, running if running.threads else replace(running, threads=1))


def _bytes(text: str) -> int:
    """2GB, 500 MiB."""
    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError as error:
        raise InputError("--memory {text} is no amount of memory; give one as in 2GB", text=text) from error


def _folders(out: Path, scenes: Sequence[Scene], *, mosaic: bool) -> list[Path]:
    if len(scenes) == 1 and not mosaic:
        return [out]
    names = [scene.name for scene in scenes]
    if mosaic and MOSAIC in names:
        raise InputError("a scene is called {name}, as the folder of the mosaic is; rename it", name=MOSAIC)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise InputError("two scenes are called {twice}; map them one at a time, each with its own --out", twice=twice)
    return [out / name for name in names]


def _tell(result: MapResult) -> None:
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for note in result.notes:
        console.print(shown(note))
    console.print(result.sentence)
    console.print(result.folder / "overview.png")


def write_index(results: Sequence[MapResult], out: Path) -> None:
    """A GeoPackage with an outline for each scene."""
    write_geopackage([_index(results)], out, layer="scenes")


def _index(results: Sequence[MapResult]) -> GeoDataFrame:
    columns = {
        "name": [result.scene.name for result in results],
        "area_ha": [result.found.area_ha for result in results],
        "share": [result.found.share for result in results],
        "parcels": [result.found.parcels for result in results],
        "folder": [result.folder.name for result in results],
    }
    return GeoDataFrame(columns, geometry=GeoSeries([_footprint(result.scene) for result in results], crs=4326))


def _footprint(scene: Scene) -> BaseGeometry | None:
    return None if scene.grid.crs is None else scene.grid.extent.to_crs("EPSG:4326").geom
