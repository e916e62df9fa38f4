"""From a scene to a map: probability, boundary, mask, parcels, picture. The only tiler in the package is reached from
here."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import rasterio
from cyclopts import Parameter
from jaxtyping import UInt8
from odc.geo.geobox import GeoBox
from rich.console import Console

from cropland.engines import Precision
from cropland.errors import IncompleteError, InputError, ReadError
from cropland.fact_sheet import fact_sheet
from cropland.files import write_json
from cropland.geo.area import MU_M2, MU_PER_HA, area_words
from cropland.geo.grid import grid_of
from cropland.geo.map_folder import MapFolder, imagery_of
from cropland.geo.scene import Image, Scene, SceneOptions
from cropland.geo.statistics import Statistics
from cropland.language import _, shown
from cropland.mapping.compute import Executor, Serial, Work, fill, mean_of_flips
from cropland.mapping.plan import MapOptions, Plan, make_plan, read_statistics
from cropland.mapping.run_folder import (
    MOSAIC,
    Journal,
    RawRaster,
    Totals,
    check_free,
    check_room,
    finished,
    job,
    publish,
    record,
    work_folder,
)
from cropland.model import ModelFile, default_model
from cropland.options import ABOVE_0, COUNT, NOT_NEGATIVE, SHARE, bytes_of
from cropland.probability import NO_DATA, from_levels
from cropland.progress import megapixels, progress_bar, seconds_by_stage, timed

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["MapResult", "command", "map_in_memory", "map_scene", "open_executor"]


@dataclass(frozen=True)
class MapResult:
    """The map of one scene: areas in ha on the ellipsoid, and what its folder holds; seconds in all and by stage.

    how: `resumed` after what an earlier run had done, or `kept` from one that had done all.
    """

    scene: Scene
    folder: Path
    totals: Totals
    seconds: float
    stages: Mapping[str, float]
    notes: tuple[str, ...] = ()
    how: Literal["new", "resumed", "kept"] = "new"
    _temporary: TemporaryDirectory[str] | None = field(default=None, repr=False, compare=False)  # goes with the result

    @staticmethod
    def earlier(scene: Scene, folder: Path, about: Mapping[str, Any]) -> MapResult:
        """Of a map that was made before, from what its map.json says."""
        found = about["found"]
        totals = Totals(found["area_ha"], found["known_ha"], found["parcels"])
        took = found["seconds"], found["seconds_by_stage"]
        return MapResult(scene, folder, totals, *took, tuple(about["notes"]), "kept")

    @property
    def area_ha(self) -> float:
        """Cropland in hectares on the ellipsoid."""
        return self.totals.area_ha

    @property
    def mask(self) -> Image:
        """One band, `cropland`, of 1 (cropland) and 0 (not cropland); not valid where there is no data."""
        levels, grid = self._read("mask.tif")
        return Image((levels == 1).astype(np.float32)[None], levels != NO_DATA, grid, ("cropland",))

    @property
    def probability(self) -> Image:
        """One band, `cropland`, of the probability, 0..1; not valid where there is no data."""
        return self._probability("probability.tif", "cropland")

    @property
    def boundary(self) -> Image | None:
        """One band, `boundary`, of the probability of a rim of a field, 0..1; not valid where there is no data.

        None where the model has no such output.
        """
        found = MapFolder.find(self.folder)
        if found is None or found.boundary is None:
            return None
        return self._probability("boundary.tif", "boundary")

    @property
    def parcels(self) -> GeoDataFrame:
        """Polygons in the scene's CRS, a row each: area_ha, area_mu, mean_probability, and the columns of fiboa 0.3."""
        from geopandas import read_parquet  # takes half a second, which the network does not wait for

        return read_parquet(self.folder / "parcels.parquet")

    def save(self, out: str | Path, *, overwrite: bool = False) -> MapResult:
        """Copy the map to a folder, which appears whole; returns the map that lies there.

        Raises `OutputError` if the folder holds something and may not be replaced, or cannot be written.
        """
        from cropland.mapping.products import write_project

        out = Path(out)
        with work_folder(out, overwrite=overwrite) as folder:
            shutil.copytree(self.folder, folder / "map")
            about = json.loads((self.folder / "map.json").read_text(encoding="utf-8"))
            write_json(folder / "map" / "map.json", about | {"imagery": imagery_of(self.scene, out)})
            write_project(self.scene, Statistics.from_json(about["statistics"]), folder / "map", home=out.absolute())
            publish(folder / "map", out.absolute())
        return replace(self, folder=out, _temporary=None)

    @property
    def sentence(self) -> str:
        """One line for a person."""
        return _(
            "{name}: {area_ha:,.1f} ha of cropland ({area_mu:,.0f} mu), {share:.1%} of {known_ha:,.1f} ha, "
            "parcels: {parcels:,}; {took}",
            name=self.scene.name,
            area_ha=self.totals.area_ha,
            area_mu=self.totals.area_ha * MU_PER_HA,
            share=self.totals.share,
            known_ha=self.totals.known_ha,
            parcels=self.totals.parcels,
            took=self._took,
        )

    @property
    def _took(self) -> str:
        if self.how == "kept":
            return _("mapped before")
        if self.how == "resumed":
            return _("{seconds:.1f} s, resuming an earlier run", seconds=self.seconds)
        speed = self.scene.shape[0] * self.scene.shape[1] / 1e6 / self.seconds
        return _("{seconds:.1f} s, {speed:.2f} Mpx/s", seconds=self.seconds, speed=speed)

    def _probability(self, name: str, band: str) -> Image:
        levels, grid = self._read(name)
        return Image(np.nan_to_num(from_levels(levels))[None], levels != NO_DATA, grid, (band,))

    def _read(self, name: str) -> tuple[UInt8[np.ndarray, "height width"], GeoBox]:
        with rasterio.open(self.folder / name) as file:
            return file.read(1), grid_of(file)

    def _repr_html_(self) -> str:
        facts = {
            _("cropland"): area_words(self.area_ha, digits=1),
            _("share of the ground with data"): f"{self.totals.share:.1%}",
            _("parcels"): f"{self.totals.parcels:,}",
            _("folder"): _("temporary; .save() keeps it") if self._temporary else str(self.folder),
        }
        return fact_sheet(self.scene.name, facts, (self.folder / "overview.png").read_bytes())


def map_in_memory(
    scene: Scene, model: ModelFile, *, executor: Executor | None = None, options: MapOptions | None = None
) -> MapResult:
    """Map one scene into a temporary folder, which goes when the result goes. Raises as `map_scene`."""
    temporary = TemporaryDirectory(prefix="cropland-", ignore_cleanup_errors=True)
    result = map_scene(scene, model, Path(temporary.name) / scene.name, executor=executor, options=options)
    return replace(result, _temporary=temporary)


def map_scene(
    scene: Scene,
    model: ModelFile,
    out: Path,
    *,
    executor: Executor | None = None,
    options: MapOptions | None = None,
    overwrite: bool = False,
    keep: bool = False,
) -> MapResult:
    """Map one scene into the folder `out`, which appears whole; a run that was stopped goes on where it was.

    executor: what computes the units; this process, with the engine for this machine, if not given. keep: leave a
    finished map that was made from the same scene in the same way, as it is.
    Raises `InputError` or one of its kinds for bands that are missing, statistics of other bands, a scene without data,
    a folder that cannot be used, a disk that is too small, unfinished work of another kind; `IncompleteError` where
    files failed on the way.
    """
    began, _before = time.monotonic(), seconds_by_stage()
    executor = executor or Serial.open(model)
    with timed("planning"):
        plan = make_plan(scene, model, options or MapOptions(), engine=executor.engine, prepare=executor.prepare)
        task = job(scene, model, plan, executor.engine)
        earlier = finished(out, task) if keep else None
    if earlier:
        return MapResult.earlier(scene, out, earlier)
    with work_folder(out, overwrite=overwrite) as folder:
        check_room(out, plan.pixels, outputs=len(plan.channels), work=folder)
        journal = Journal.begin(folder, task, anew=overwrite)
        raster = _probabilities(scene, plan, folder, executor=executor, journal=journal)
        from cropland.mapping.products import finish  # what makes parcels takes as long to import as all before

        whole = folder / "map"
        totals = finish(scene, plan, raster, whole, home=out.absolute(), journal=journal)
        notes, resumed = (*scene.notes, *plan.notes), journal.goes_on
        result = MapResult(
            scene, out, totals, time.monotonic() - began, seconds_by_stage(), notes, "resumed" if resumed else "new"
        )
        took: dict[str, Any] = {"seconds": result.seconds, "stages": result.stages, "resumed": resumed}
        imagery = imagery_of(scene, out)
        about = record(journal.job, imagery=imagery, totals=totals, notes=notes, why=executor.why, **took)
        write_json(whole / "map.json", about)
        publish(whole, out.absolute())
    return result


def _probabilities(scene: Scene, plan: Plan, folder: Path, *, executor: Executor, journal: Journal) -> RawRaster:
    """Of each output of the map, on the working grid: the mean of all flips that are asked for."""
    failed: list[ReadError] = []
    rasters = []
    with progress_bar(scene.name, total=len(plan.passes) * plan.working_pixels, rate=megapixels) as advance:
        for each in plan.passes:
            work = Work(each.readable, plan.statistics, plan.ratio, plan.radius, tuple(plan.channels.values()))
            rasters.append(RawRaster(folder / each.name, each.cut.shape, len(plan.channels)))
            failed += fill(rasters[-1], each.name, work, each.cut, executor=executor, journal=journal, advance=advance)
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
    return mean_of_flips(rasters, plan.flips, folder / "mean")


def command(
    *scenes: Annotated[str, Parameter(required=True)],
    out: Path,
    model: Path | None = None,
    opening: SceneOptions = SceneOptions(),  # noqa: B008 - frozen
    statistics: Path | None = None,
    threshold: Annotated[float | None, SHARE] = None,
    min_area_m2: Annotated[float | None, NOT_NEGATIVE] = None,
    min_area_mu: Annotated[float | None, NOT_NEGATIVE] = None,
    out_pixel: Annotated[float | None, ABOVE_0] = None,
    mosaic: bool = False,
    overlap: Literal["mean", "latest", "most-valid"] | None = None,
    merge_dates: Literal["mean", "any", "all"] | None = None,
    out_crs: str | None = None,
    trust: bool = False,
    overwrite: bool = False,
    threads: Annotated[int | None, COUNT] = None,
    engine: str | None = None,
    precision: Literal["fastest", "f32"] = "fastest",
    memory: str | None = None,
    flips: Literal[1, 2, 4, 8] = 1,
    executor: str = "serial",
    profile: Path | None = None,
    tiles: bool = False,
    tile: Annotated[int | None, COUNT] = None,
) -> None:
    """Map the cropland of scenes: probability, mask, parcels and a picture.

    A model with the output boundary also gives boundary.tif, and fields that touch are parcels of their own.

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
    statistics
        The map.json of an earlier map whose stretch is used again, so that a crop maps as its whole scene does, but
        for a rim along the cut.
    threshold
        Probability from which a pixel is cropland, 0..1; the model's if not given.
    min_area_m2
        Minimum area of cropland and of a hole in it, in m2; the larger of 400 m2 and ten pixels if not given.
    min_area_mu
        The same in mu (1 mu is 10000/15 m2).
    out_pixel
        Pixel size of the map in metres; the scene's own grid if not given.
    mosaic
        Join the maps of all scenes in OUT/mosaic, and print how much they differ where they meet.
    overlap
        What a mosaic takes where scenes overlap: their mean probability (the default), the latest scene, or the scene
        with the largest share of valid pixels.
    merge_dates
        How a mosaic joins the dates that see a place: the mean of their probabilities, cropland at any of them, or at
        all of them. --overlap then joins the scenes of one date. looks.tif has the number of dates.
    out_crs
        The CRS of the mosaic, as in EPSG:4490; that of most scenes if not given.
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
        Memory for the network and the rows that it keeps, as in 2GB; the map depends on it in its last digits only.
    flips
        Average over 2, 4 or 8 flips and rotations; takes that many times as long. The model's threshold was chosen
        without it.
    executor
        serial; dask for worker processes on this machine; dask:tcp://HOST:8786 for a cluster.
    profile
        A file for the seconds that each stage took (JSON).
    tiles
        Compute overlapping tiles even where the network could slide down the scene: the same map, more slowly.
    tile
        The same with tiles of this edge length, in working pixels.
    """
    if min_area_m2 is not None and min_area_mu is not None:
        raise InputError("--min-area-m2 and --min-area-mu mean the same; give one of them")
    if profile and not profile.absolute().parent.is_dir():
        raise InputError("--profile {profile}: that folder does not exist; create it first", profile=profile)
    trained = ModelFile.load(model or default_model(), trust=trust)
    options = MapOptions(
        statistics=read_statistics(statistics) if statistics else None,
        threshold=threshold,
        min_area_m2=min_area_m2 if min_area_mu is None else min_area_mu * MU_M2,
        out_pixel_m=out_pixel,
        tiles=tiles,
        tile=tile,
        memory=None if memory is None else bytes_of(memory),
        flips=flips,
    )
    opened = opening.open(scenes)
    joining: dict[str, Any] = {
        "overlap": overlap or "mean",
        "crs": out_crs,
        "allow_datum_shift": opening.allow_datum_shift,
    }
    if mosaic:
        from cropland.mapping.mosaic import check_mosaic

        check_mosaic(opened, **joining)
        check_free(out / MOSAIC, overwrite=overwrite)  # before any scene is mapped
    elif overlap or merge_dates or out_crs:
        raise InputError("--overlap, --merge-dates and --out-crs are for a mosaic; give --mosaic as well")
    folders = _folders(out, opened, mosaic=mosaic)
    computing: dict[str, Any] = {"engine": engine, "threads": threads, "precision": precision}
    with open_executor(executor, trained, **computing) as by:
        work = list(zip(opened, folders, strict=True))
        results = _map_each(work, trained, executor=by, options=options, overwrite=overwrite)
    if profile:
        write_json(profile, {result.scene.name: dict(result.stages) for result in results})
    if len(results) > 1:
        from cropland.mapping.products import write_index

        write_index([(each.scene, each.folder, each.totals) for each in results], out / "index.gpkg")
    if mosaic:
        from cropland.mapping.mosaic import mosaic as put_together

        joining |= {"merge_dates": merge_dates, "options": options, "overwrite": overwrite}
        put_together(work, trained, out / MOSAIC, **joining).tell()


def _map_each(
    work: Sequence[tuple[Scene, Path]], model: ModelFile, *, executor: Executor, options: MapOptions, overwrite: bool
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


def open_executor(
    spec: str, model: ModelFile, *, engine: str | None, threads: int | None, precision: Precision
) -> AbstractContextManager[Executor]:
    """What computes the units. Raises `InputError` for what there is not."""
    kind, _colon, address = spec.partition(":")
    if spec == "serial":
        return nullcontext(Serial.open(model, engine=engine, threads=threads, precision=precision))
    if kind != "dask" or (address and "://" not in address):
        raise InputError("--executor {spec} is not known; give serial, dask or dask:tcp://HOST:8786", spec=spec)
    try:
        from cropland.mapping.dask import EngineSpec, connected
    except ImportError as error:
        raise InputError("--executor dask needs a package: pip install 'cropland[dask]'") from error
    return connected(address or None, EngineSpec.of(model, engine=engine, threads=threads or 1, precision=precision))


def _folders(out: Path, scenes: Sequence[Scene], *, mosaic: bool) -> list[Path]:
    if len(scenes) == 1 and not mosaic:
        return [out]
    names = [scene.name for scene in scenes]
    if mosaic and MOSAIC in names:
        raise InputError("a scene is called {name}, like the folder of the mosaic; rename the scene", name=MOSAIC)
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
