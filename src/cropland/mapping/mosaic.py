"""A mosaic: the maps of several scenes as one map, with what is known of how much they differ where they meet.

From top to bottom: the mosaic and its folder, the composition block by block, of scenes and then of dates, the borders
between scenes, the grid.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import combinations
from math import ceil, floor, prod, sqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from affine import Affine
from geopandas import GeoDataFrame
from jaxtyping import Bool, Float32, Int64, UInt8
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject, transform_bounds
from rich.console import Console
from rich.table import Table

from cropland import __version__
from cropland.errors import GridError, InputError, SceneError
from cropland.files import write_json
from cropland.geo.area import MU_PER_HA, default_min_area_m2, pixel_edge_m, pixel_edges_m
from cropland.geo.grid import check_frames, grid_of, user_crs
from cropland.geo.scene import Scene
from cropland.geo.window import Window
from cropland.language import Message, _, shown
from cropland.mapping.picture import PANEL, draw_overview
from cropland.mapping.plan import MapOptions
from cropland.mapping.products import write_products
from cropland.mapping.run_folder import FORMAT, MOSAIC, Journal, Totals, check_room, fingerprint, publish, work_folder
from cropland.model import ModelFile
from cropland.probability import BOUNDARY_DESCRIPTION, DESCRIPTION, NO_DATA, ONE, classes
from cropland.progress import megapixels, progress_bar
from cropland.writers.cog import write_cog
from cropland.writers.qgis import write_qgis

__all__ = [
    "Border",
    "BorderSums",
    "Looks",
    "MapPlace",
    "MergeDates",
    "Mosaic",
    "Overlap",
    "check_mosaic",
    "choose_crs",
    "mosaic",
    "mosaic_grid",
    "place_in",
    "table",
    "write_mosaic",
]

Overlap = Literal["mean", "latest", "most-valid"]
MergeDates = Literal["mean", "any", "all"]
Compose = Callable[[UInt8[np.ndarray, "scene height width"]], tuple[np.ndarray, np.ndarray]]
Join = Callable[[UInt8[np.ndarray, "date height width"]], UInt8[np.ndarray, "height width"]]
Composed = tuple[np.ndarray, np.ndarray, np.ndarray]
BLOCK = 512
EXACT = 0.01  # pixels that a place may be off by where a map is warped
SAME_PLACE = 0.01  # pixels
SAME_PIXEL = 0.02  # sizes so near are one: 10 m is 9.99 m on the ground at another place of a zone
SLACK = 1e-3  # pixels that a footprint may reach over a line of the grid without another pixel
EMPTIEST = 50  # pixels of a mosaic for one of the maps in it
LARGE = 2**28  # pixels; a smaller mosaic may be as empty as it is
LOOKS = "looks.tif"
LOOKS_DESCRIPTION = "number of dates with data"


@dataclass(frozen=True)
class Mosaic:
    """What was found in all scenes together, and how much their maps differ where they meet."""

    folder: Path
    totals: Totals
    borders: tuple[Border, ...]
    notes: tuple[Message, ...]
    looks: Looks | None = None

    @property
    def sentence(self) -> str:
        """One line for a person."""
        return _(
            "mosaic: {area_ha:,.1f} ha of cropland ({area_mu:,.0f} mu), {share:.1%} of {known_ha:,.1f} ha, "
            "parcels: {parcels:,}",
            area_ha=self.totals.area_ha,
            area_mu=self.totals.area_ha * MU_PER_HA,
            share=self.totals.share,
            known_ha=self.totals.known_ha,
            parcels=self.totals.parcels,
        )

    def tell(self) -> None:
        """Print what a person should know."""
        console = Console(highlight=False, soft_wrap=True, markup=False)
        for note in self.notes:
            console.print(shown(note))
        if self.borders:
            console.print(table(self.borders))
        console.print(self.sentence)
        console.print(self.folder / "overview.png")


def mosaic(
    mapped: Sequence[tuple[Scene, Path]],
    model: ModelFile,
    out: Path,
    *,
    overlap: Overlap,
    options: MapOptions,
    merge_dates: MergeDates | None = None,
    crs: str | None = None,
    allow_datum_shift: bool = False,
    overwrite: bool = False,
) -> Mosaic:
    """Put the maps of scenes (each with its folder) together in the folder `out`, which appears whole or not at all.

    overlap, merge_dates: see `write_mosaic`; the boundary of several dates is always their mean. crs: of the mosaic;
    that of most scenes if not given. options: threshold and least area. Raises `GridError` for scenes that have no
    common place, `OutputError` for a folder that cannot be used.
    """
    scenes = [scene for scene, folder in mapped]
    maps = [folder / "probability.tif" for scene, folder in mapped]
    pixel = model.nearest_pixel(min(scene.pixel_m for scene in scenes))  # that of the finest scene
    threshold = pixel.threshold if options.threshold is None else options.threshold
    rule: dict[str, Any] = {
        "overlap": overlap,
        "threshold": threshold,
        "crs": crs,
        "allow_datum_shift": allow_datum_shift,
    }
    dates: dict[str, Any] = {} if merge_dates is None else {"merge_dates": merge_dates}
    with work_folder(out, overwrite=overwrite) as folder:
        flat, whole = folder / "flat.tif", folder / "map"
        journal = Journal.begin(folder, _job(mapped, model, rule | dates, options), anew=overwrite)
        whole.mkdir(exist_ok=True)
        boundary = folder / "flat-boundary.tif" if "boundary" in model.channels else None
        counted = folder / "flat-looks.tif" if merge_dates else None
        borders = write_mosaic(scenes, maps, flat, **rule, **dates, outputs=len(model.channels), looks=counted)
        if boundary:
            lines = [place / "boundary.tif" for _, place in mapped]
            mean: MergeDates | None = "mean" if merge_dates else None
            write_mosaic(scenes, lines, boundary, **rule, merge_dates=mean, description=BOUNDARY_DESCRIPTION)
        looks = None
        if counted:
            journal.once(whole / LOOKS, lambda out: write_cog(counted, out, overviews="nearest"))
            looks = Looks.of(counted, dates=len(set(_days(scenes))))
        made_of: dict[str, Any] = {"threshold": threshold, "options": options, "journal": journal}
        made_of |= {"boundary_threshold": pixel.boundary_threshold}
        totals = _products(flat, boundary, whole, scenes, **made_of)
        files: dict[str, Any] = {"mask": whole / "mask.tif", "parcels": whole / "parcels.gpkg", "home": out.absolute()}
        files["boundary"] = whole / "boundary.tif" if boundary else None
        files["looks"] = (whole / LOOKS, looks.most) if looks else None
        write_qgis(whole / "map.qgs", title=MOSAIC, scene=None, probability=whole / "probability.tif", **files)
        made = Mosaic(out, totals, tuple(borders), _notes(model, options, looks), looks)
        about = _record(made, journal, whole / "mask.tif")
        write_json(whole / "map.json", about)
        publish(whole, out.absolute())
    return made


def _products(
    flat: Path,
    boundary: Path | None,
    folder: Path,
    scenes: Sequence[Scene],
    *,
    threshold: float,
    boundary_threshold: float | None,
    options: MapOptions,
    journal: Journal,
) -> Totals:
    pixel_m = pixel_edge_m(_grid(flat))
    times = {scene.observed for scene in scenes}
    return write_products(
        flat,
        folder,
        boundary=boundary,
        threshold=threshold,
        boundary_threshold=boundary_threshold,
        min_area_m2=default_min_area_m2(pixel_m) if options.min_area_m2 is None else options.min_area_m2,
        unit_m=None,
        observed=times.pop() if len(times) == 1 else None,
        journal=journal,
        draw=partial(_draw, scenes, folder),
    )


def _draw(scenes: Sequence[Scene], folder: Path, totals: Totals, parcels: Iterable[GeoDataFrame]) -> None:
    probability, mask = folder / "probability.tif", folder / "mask.tif"
    grid = _grid(mask)
    figures: dict[str, Any] = {"area_ha": totals.area_ha, "share": totals.share}
    shape = _("mosaic of {count} scenes", count=len(scenes)), pixel_edges_m(grid)[0] * grid.shape[1]
    draw_overview(_picture(scenes, grid), probability, mask, parcels, folder / "overview.png", *shape, **figures)


def _picture(scenes: Sequence[Scene], grid: GeoBox) -> Float32[np.ndarray, "height width 4"]:
    """The scenes for the eye, the first in front, without those that cannot be read any more."""
    factor = max(1.0, sqrt(prod(grid.shape) / PANEL**2))
    height, width = (max(1, round(length / factor)) for length in grid.shape)
    onto = grid.affine @ Affine.scale(grid.shape[1] / width, grid.shape[0] / height)
    picture = np.zeros((4, height, width), np.float32)
    for scene in scenes:
        try:
            seen = scene.rgba(max_pixels=PANEL**2 // 2).transpose(2, 0, 1)
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


def _notes(model: ModelFile, options: MapOptions, looks: Looks | None) -> tuple[Message, ...]:
    notes = [looks.sentence] if looks else []
    if not (model.statistics or options.statistics):
        notes.append(Message("Each scene is stretched by its own statistics; --statistics uses the same for all."))
    return tuple(notes)


def _job(
    mapped: Sequence[tuple[Scene, Path]], model: ModelFile, rule: dict[str, Any], options: MapOptions
) -> dict[str, Any]:
    """All that decides a mosaic."""
    has_boundary = "boundary" in model.channels
    scenes = [
        {
            "name": scene.name,
            "map": folder.name,
            "observed": scene.observed and scene.observed.isoformat(),
            "sha256_sampled": fingerprint(folder / "probability.tif"),
            **({"boundary_sha256_sampled": fingerprint(folder / "boundary.tif")} if has_boundary else {}),
        }
        for scene, folder in mapped
    ]
    outputs = {"outputs": ["cropland", "boundary"]} if has_boundary else {}
    return {
        "cropland": __version__,
        "scenes": scenes,
        "model": {"name": model.name, "sha256": model.digest, "version": model.version, "trained": model.source_hash},
        "options": {**rule, "min_area_m2": options.min_area_m2, **outputs},
    }


def _record(made: Mosaic, journal: Journal, mask: Path) -> dict[str, Any]:
    grid = _grid(mask)
    crs = None if grid.crs is None else grid.crs.to_wkt()
    return {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        **journal.job,
        "grid": {"crs": crs, "transform": list(grid.affine)[:6], "shape": list(map(int, grid.shape))},
        "found": asdict(made.totals),
        "borders": [border.to_json() for border in made.borders],
        **({"looks": {"file": LOOKS, **asdict(made.looks)}} if made.looks else {}),
        "notes": list(made.notes),
    }


@dataclass(frozen=True)
class Looks:
    """At how many of the dates the ground was seen: the mean over the pixels that were seen at all, and the most."""

    dates: int
    mean: float
    most: int

    @staticmethod
    def of(path: Path, *, dates: int) -> Looks:
        """From the raster of their numbers."""
        counts = np.zeros(256, np.int64)
        with rasterio.open(path) as file:
            for _, block in file.block_windows(1):
                counts += np.bincount(file.read(1, window=block).ravel(), minlength=256)
        total = (counts * np.arange(256)).sum()
        return Looks(dates, float(total / max(counts[1:].sum(), 1)), int(np.flatnonzero(counts).max(initial=0)))

    @property
    def sentence(self) -> Message:
        """One line for a person."""
        return Message(
            "{dates} dates: a place was seen at {mean:.1f} of them on average, at {most} at most.",
            dates=self.dates,
            mean=self.mean,
            most=self.most,
        )


@dataclass(frozen=True)
class _Map:
    """The map of a scene; `scene` is its number among those given."""

    path: Path
    scene: int
    place: MapPlace


def check_mosaic(scenes: Sequence[Scene], *, overlap: Overlap, crs: str | None, allow_datum_shift: bool) -> None:
    """Raise what would stop the mosaic, before anything is mapped: `GridError`, or `InputError` for a missing date."""
    grids = [scene.grid for scene in scenes]
    mosaic_grid(
        grids, choose_crs(grids, [scene.name for scene in scenes], crs=crs, allow_datum_shift=allow_datum_shift)
    )
    undated = next((scene.name for scene in scenes if scene.observed is None), None)
    if overlap == "latest" and undated:
        raise InputError(
            "{name} does not say when it was taken, so the latest is not known; use another --overlap", name=undated
        )


def write_mosaic(
    scenes: Sequence[Scene],
    probabilities: Sequence[Path],
    out: Path,
    *,
    overlap: Overlap,
    threshold: float,
    merge_dates: MergeDates | None = None,
    crs: str | None = None,
    allow_datum_shift: bool = False,
    description: str = DESCRIPTION,
    outputs: int = 1,
    looks: Path | None = None,
) -> list[Border]:
    """Write the probability of all scenes as one tiled GeoTIFF; how much they differ where they meet.

    Each map (uint8 0..254 = p x 254, 255 = no data) is taken over pixel by pixel where it lies on the lines of the
    mosaic's grid, and interpolated bilinearly otherwise, without its pixels of no data. Where several know a pixel:

    mean        their mean
    latest      the one that was observed last
    most-valid  the one whose map has the largest share of pixels with data; of equals the one given first

    With merge_dates this joins the scenes of one date only, and the dates that know a pixel are joined after that:

    mean        the mean of their probabilities
    any         the largest: cropland where it is so at any of the dates
    all         the least: cropland where it is so at all of them

    A date is a day of local solar time; a scene that does not say when it was taken is a date of its own. A block of
    512 x 512 pixels of the maps over it is in memory. threshold: of the classes that are compared. description: of the
    band. outputs: rasters that there shall be room for. looks: a file for the number of dates that know each pixel. The
    boundaries of the scenes have data where their probabilities have, so the same rule takes both from the same scenes.
    Of several dates, borders are those between scenes of one: the ground itself changes. Raises `GridError` for maps
    without a common place, `OutputError` for a disk that is too small.
    """
    grids = [_grid(path) for path in probabilities]
    chosen = choose_crs(grids, [scene.name for scene in scenes], crs=crs, allow_datum_shift=allow_datum_shift)
    grid = mosaic_grid(grids, chosen)
    placed = [
        _Map(path, number, place_in(grid, own))
        for number, (path, own) in enumerate(zip(probabilities, grids, strict=True))
    ]
    check_room(out, min(prod(grid.shape), sum(prod(each.place.window.shape) for each in placed)), outputs=outputs)
    maps = [placed[number] for number in _order(scenes, probabilities, overlap)]
    days = _days(scenes) if merge_dates else np.zeros(len(scenes), np.int64)
    compose = partial(_composed, within=_mean if overlap == "mean" else _first, across=ACROSS[merge_dates or "mean"])
    borders = BorderSums(classes(threshold), days)
    files = {out: (_profile(grid), description)}
    if looks:
        files[looks] = (_profile(grid) | {"nodata": None}, LOOKS_DESCRIPTION)
    with (
        ExitStack() as stack,
        progress_bar(out.stem, total=prod(grid.shape), rate=megapixels) as advance,
    ):
        opened = [stack.enter_context(rasterio.open(path, "w", **profile)) for path, (profile, _) in files.items()]
        for file, (_, text) in zip(opened, files.values(), strict=True):
            file.descriptions = (text,)
        for core, layers in _blocks(maps, grid, compose, borders):
            for file, values in zip(opened, layers, strict=False):
                file.write(values, 1, window=core.in_file)
            advance(core.height * core.width)
    return borders.found([scene.name for scene in scenes])


def _days(scenes: Sequence[Scene]) -> Int64[np.ndarray, " scene"]:
    """The day of each scene in local solar time, so that a pass over midnight UTC is one; a number of its own without.

    Source: odc-stac, `groupby="solar_day"`.
    """
    days = []
    for number, scene in enumerate(scenes):
        if scene.observed is None:
            days.append(-number)
            continue
        east = scene.grid.extent.to_crs("EPSG:4326").geom.centroid.x
        days.append((scene.observed + timedelta(hours=east / 15)).toordinal())
    return np.array(days, np.int64)


def _order(scenes: Sequence[Scene], probabilities: Sequence[Path], overlap: Overlap) -> list[int]:
    """Numbers of the scenes, those in front that count where others are valid as well."""
    if overlap == "mean":
        return list(range(len(scenes)))
    if overlap == "latest":
        merit = [scene.observed.timestamp() if scene.observed else 0.0 for scene in scenes]
    else:
        merit = [_valid_share(path) for path in probabilities]
    return sorted(range(len(scenes)), key=lambda number: -merit[number])


def _blocks(
    maps: Sequence[_Map], grid: GeoBox, compose: Callable[..., Composed], borders: BorderSums
) -> Iterator[tuple[Window, UInt8[np.ndarray, "2 height width"]]]:
    """Probability and number of looks, block by block, each read with one more pixel to the right and below: its
    neighbours there."""
    height, width = map(int, grid.shape)
    for row in range(0, height, BLOCK):
        reach = Window(row, 0, min(BLOCK + 1, height - row), width)
        crossing = [each for each in maps if _common(each.place.window, reach)]
        with ExitStack() as stack:
            readers = [(each, stack.enter_context(_opened(each, grid))) for each in crossing]
            for col in range(0, width, BLOCK):
                core = Window(row, col, min(BLOCK, height - row), min(BLOCK, width - col))
                wider = Window(row, col, reach.height, min(BLOCK + 1, width - col))
                yield core, _block(readers, core, wider, compose, borders)


def _block(
    readers: Sequence[tuple[_Map, DatasetReader]],
    core: Window,
    wider: Window,
    compose: Callable[..., Composed],
    borders: BorderSums,
) -> UInt8[np.ndarray, "2 height width"]:
    read = [(each, _read(reader, each.place.window, wider)) for each, reader in readers]
    over = [(each, values) for each, values in read if values is not None]
    if not over:
        return np.stack([np.full(core.shape, level, np.uint8) for level in (NO_DATA, 0)])
    scenes = [each.scene for each, values in over]
    stack = np.stack([values for each, values in over])
    mosaic, used, looks = compose(stack, borders.days[scenes])
    borders.add(scenes, stack, used, mosaic, core.shape)
    return np.stack([mosaic, looks])[:, : core.height, : core.width]


def _composed(
    stack: UInt8[np.ndarray, "scene height width"], days: Int64[np.ndarray, " scene"], *, within: Compose, across: Join
) -> Composed:
    """The scenes of each day joined, then the days; where each scene has a part; how many days know a pixel."""
    used = np.zeros(stack.shape, bool)
    joined = []
    for day in np.unique(days):
        level, used[days == day] = within(stack[days == day])
        joined.append(level)
    seen = np.stack(joined)
    looks = np.minimum((seen != NO_DATA).sum(axis=0), 255).astype(np.uint8)
    return across(seen), used, looks


def _largest(stack: UInt8[np.ndarray, "date height width"]) -> UInt8[np.ndarray, "height width"]:
    known = stack != NO_DATA
    return np.where(known.any(axis=0), np.where(known, stack, 0).max(axis=0), NO_DATA).astype(np.uint8)


def _least(stack: UInt8[np.ndarray, "date height width"]) -> UInt8[np.ndarray, "height width"]:
    least: np.ndarray = stack.min(axis=0)  # no data is larger than all levels
    return least


def _mean(stack: UInt8[np.ndarray, "scene height width"]) -> tuple[np.ndarray, Bool[np.ndarray, "scene height width"]]:
    known = stack != NO_DATA
    count = known.sum(axis=0)
    mean = np.rint(np.where(known, stack, 0).sum(axis=0) / np.maximum(count, 1))
    return np.where(count, mean, NO_DATA).astype(np.uint8), known


def _first(stack: UInt8[np.ndarray, "scene height width"]) -> tuple[np.ndarray, Bool[np.ndarray, "scene height width"]]:
    known = stack != NO_DATA
    first = known.argmax(axis=0)[None]  # 0 where none is known, which is no data as well
    is_first = np.arange(len(stack))[:, None, None] == first
    return np.take_along_axis(stack, first, axis=0)[0], known & is_first


ACROSS: Mapping[MergeDates, Join] = {"mean": lambda stack: _mean(stack)[0], "any": _largest, "all": _least}


@contextmanager
def _opened(each: _Map, grid: GeoBox) -> Iterator[DatasetReader]:
    """A reader of the map on the lines of the mosaic, from the first pixel of its window there."""
    with rasterio.open(each.path) as file:
        if each.place.is_copied:
            yield file
            return
        row, col, height, width = each.place.window
        assert grid.crs is not None
        onto = {"crs": grid.crs.to_wkt(), "transform": grid.affine @ Affine.translation(col, row)}
        onto |= {"height": height, "width": width, "src_nodata": NO_DATA, "nodata": NO_DATA, "tolerance": EXACT}
        with WarpedVRT(file, resampling=Resampling.bilinear, **onto) as warped:
            yield warped


def _read(reader: DatasetReader, place: Window, window: Window) -> UInt8[np.ndarray, "height width"] | None:
    """What a map says in a window of the mosaic; None where it does not reach."""
    common = _common(place, window)
    if common is None:
        return None
    values = np.full(window.shape, NO_DATA, np.uint8)
    values[common.within(window).slices] = reader.read(1, window=common.within(place).in_file)
    return values


def _common(one: Window, other: Window) -> Window | None:
    top, left = max(one.row, other.row), max(one.col, other.col)
    bottom = min(one.row + one.height, other.row + other.height)
    right = min(one.col + one.width, other.col + other.width)
    return Window(top, left, bottom - top, right - left) if bottom > top and right > left else None


def _grid(path: Path) -> GeoBox:
    with rasterio.open(path) as file:
        return grid_of(file)


def _profile(grid: GeoBox) -> dict[str, object]:
    height, width = map(int, grid.shape)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": NO_DATA, "height": height, "width": width}
    profile |= {"crs": None if grid.crs is None else grid.crs.to_wkt(), "transform": grid.affine, "sparse_ok": True}
    profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "bigtiff": "if_safer"}
    return profile


def _valid_share(path: Path) -> float:
    with rasterio.open(path) as file:
        counts = [np.count_nonzero(file.read(1, window=block) != NO_DATA) for _, block in file.block_windows(1)]
        return float(sum(counts) / (file.height * file.width))


@dataclass(frozen=True)
class Border:
    """Two scenes where they meet; None: nothing to measure.

    pixels: that both scenes know. difference: the mean of |p1 - p2| on them. disagreeing: the share of them whose class
    differs. steps: neighbours in the mosaic on either side of the border. seam: the mean of |p(x) - p(y)| over these,
    divided by its mean over neighbours within the two scenes: at 1 the border cannot be told from the inside.
    """

    scenes: tuple[str, str]
    pixels: int
    difference: float | None
    disagreeing: float | None
    steps: int
    seam: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class BorderSums:
    """Sums over the blocks of a mosaic, in whole numbers, so that their order has no part in them.

    A border runs between neighbours (left and right, upper and lower) of which one is made from a scene and not from
    another, and its neighbour from that other. Only scenes of one day are compared.
    """

    def __init__(self, classes: UInt8[np.ndarray, 256], days: Int64[np.ndarray, " scene"]) -> None:
        self.classes = classes  # of each level
        self.days = days
        self.common: defaultdict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(3, np.int64))
        self.across: defaultdict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(2, np.int64))
        self.inside: defaultdict[int, np.ndarray] = defaultdict(lambda: np.zeros(2, np.int64))

    def add(
        self,
        scenes: Sequence[int],
        maps: UInt8[np.ndarray, "scene height width"],
        used: Bool[np.ndarray, "scene height width"],
        mosaic: UInt8[np.ndarray, "height width"],
        core: tuple[int, int],
    ) -> None:
        """Add a block, which may reach one pixel further than its `core` to the right and below.

        maps: what each of these scenes says. used: where it is part of the mosaic.
        """
        inner = maps[:, : core[0], : core[1]]
        known = inner != NO_DATA
        for one, other in self._pairs(scenes):
            both = known[one] & known[other]
            if both.any():
                self.common[_pair(scenes[one], scenes[other])] += self._compared(inner[one][both], inner[other][both])
        for here, there in _neighbours(mosaic, core):
            self._add_steps(scenes, used[:, *here], used[:, *there], _steps(mosaic[here], mosaic[there]))

    def found(self, names: Sequence[str]) -> list[Border]:
        """Every pair of scenes that meet."""
        return [self._border(pair, names) for pair in sorted(self.common.keys() | self.across.keys())]

    def _pairs(self, scenes: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Places of two of these scenes that are of one day."""
        for one, other in combinations(range(len(scenes)), 2):
            if self.days[scenes[one]] == self.days[scenes[other]]:
                yield one, other

    def _compared(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        apart = np.abs(one.astype(np.int64) - other).sum()
        return np.array([one.size, apart, (self.classes[one] != self.classes[other]).sum()])

    def _add_steps(self, scenes: Sequence[int], here: np.ndarray, there: np.ndarray, steps: np.ndarray) -> None:
        """`steps` is -1 where one of the neighbours is unknown."""
        known = steps >= 0
        same = known & (here == there).all(axis=0)
        for place, scene in enumerate(scenes):
            self.inside[scene] += _summed(steps, same & here[place])
        if (same == known).all():
            return
        for one, other in self._pairs(scenes):
            apart = here[one] & ~here[other] & there[other] | here[other] & ~here[one] & there[one]
            apart |= there[one] & ~there[other] & here[other] | there[other] & ~there[one] & here[one]
            if (known & apart).any():
                self.across[_pair(scenes[one], scenes[other])] += _summed(steps, known & apart)

    def _border(self, pair: tuple[int, int], names: Sequence[str]) -> Border:
        pixels, apart, others = map(int, self.common.get(pair, (0, 0, 0)))
        steps, across = map(int, self.across.get(pair, (0, 0)))
        count, inside = map(int, self.inside[pair[0]] + self.inside[pair[1]])
        return Border(
            (names[pair[0]], names[pair[1]]),
            pixels,
            apart / pixels / ONE if pixels else None,
            others / pixels if pixels else None,
            steps,
            (across / steps) / (inside / count) if steps and inside else None,
        )


def table(borders: Sequence[Border]) -> Table:
    """For a person."""
    shown = Table(box=None, pad_edge=False)
    for heading in (_("scene"), _("meets"), _("common pixels"), _("mean difference"), _("other class"), _("seam")):
        shown.add_column(heading, justify="left" if len(shown.columns) < 2 else "right")
    for border in borders:
        difference = "" if border.difference is None else f"{border.difference:.3f}"
        disagreeing = "" if border.disagreeing is None else f"{border.disagreeing:.1%}"
        seam = "" if border.seam is None else f"{border.seam:.2f}"
        shown.add_row(*border.scenes, f"{border.pixels:,}", difference, disagreeing, seam)
    return shown


def _pair(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def _neighbours(mosaic: np.ndarray, core: tuple[int, int]) -> Iterator[tuple[Any, Any]]:
    """Slices of the pixels with a right neighbour and of these; then the same downwards."""
    height, width = min(core[0], mosaic.shape[0]), min(core[1], mosaic.shape[1] - 1)
    yield np.s_[:height, :width], np.s_[:height, 1 : width + 1]
    height, width = min(core[0], mosaic.shape[0] - 1), min(core[1], mosaic.shape[1])
    yield np.s_[:height, :width], np.s_[1 : height + 1, :width]


def _steps(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    steps = np.abs(here.astype(np.int16) - there)
    return np.where((here == NO_DATA) | (there == NO_DATA), np.int16(-1), steps)


def _summed(steps: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.array([np.count_nonzero(where), steps[where].sum(dtype=np.int64)])


@dataclass(frozen=True)
class MapPlace:
    """The window of the mosaic that a map covers; `is_copied` where its pixels are pixels of the mosaic."""

    window: Window
    is_copied: bool


def choose_crs(grids: Sequence[GeoBox], names: Sequence[str], *, crs: str | None, allow_datum_shift: bool) -> CRS:
    """The CRS that was asked for, else that of most maps, of the first where as many have another.

    Raises `GridError` for a map without a CRS, or with one of a frame that PROJ cannot join without
    `allow_datum_shift`.
    """
    for grid, name in zip(grids, names, strict=True):
        if grid.crs is None:
            raise GridError("{name} has no CRS, so it cannot be part of a mosaic; give it with --crs", name=name)
    own = [_crs(grid) for grid in grids]
    chosen = user_crs(crs, option="--out-crs") if crs else Counter(own).most_common(1)[0][0]
    for each in own:
        check_frames(each, chosen, allow_datum_shift=allow_datum_shift)
    return chosen


def mosaic_grid(grids: Sequence[GeoBox], crs: CRS) -> GeoBox:
    """A grid over all of the given ones, with the pixel size of the finest.

    Where maps have the CRS already, it continues the finest of these, so that its pixels, and those of every map on
    the same lines, are taken over as they are. Raises `GridError` for maps that lie too far apart for one raster.
    """
    finest = min(grids, key=pixel_edge_m)
    upright = [grid for grid in grids if _crs(grid) == crs and _is_upright(grid.affine)]
    bounds = [_bounds(grid, crs) for grid in grids]
    if upright:
        anchor = min(upright, key=pixel_edge_m)
        ratio = pixel_edge_m(finest) / pixel_edge_m(anchor)
        affine = anchor.affine @ Affine.scale(1.0 if abs(ratio - 1) < SAME_PIXEL else ratio)
    else:
        size = _pixel_in(crs, finest)
        affine = Affine.scale(size, -size)
    spans = [_span(affine, each) for each in bounds]
    top, left = min(span[0] for span in spans), min(span[1] for span in spans)
    bottom, right = max(span[2] for span in spans), max(span[3] for span in spans)
    covered = sum((span[2] - span[0]) * (span[3] - span[1]) for span in spans)
    if (bottom - top) * (right - left) > max(LARGE, EMPTIEST * covered):
        raise GridError(
            "the scenes lie so far apart that less than {share:.0%} of their mosaic would have data; "
            "make one mosaic for each region",
            share=1 / EMPTIEST,
        )
    return GeoBox((bottom - top, right - left), affine @ Affine.translation(left, top), crs.to_wkt())


def place_in(mosaic: GeoBox, grid: GeoBox) -> MapPlace:
    """Where a map lies in the mosaic."""
    crs = _crs(mosaic)
    top, left, bottom, right = _span(mosaic.affine, _bounds(grid, crs))
    window = Window(top, left, bottom - top, right - left)
    height, width = grid.shape
    relative = ~mosaic.affine @ grid.affine
    corners = [(relative @ (col, row), (left + col, top + row)) for col, row in ((0, 0), (width, height), (width, 0))]
    off = max(abs(a - b) for got, wanted in corners for a, b in zip(got, wanted, strict=True))
    return MapPlace(window, _crs(grid) == crs and off < SAME_PLACE)


def _crs(grid: GeoBox) -> CRS:
    return CRS.from_user_input(str(grid.crs))


def _is_upright(affine: Affine) -> bool:
    return affine.b == affine.d == 0 and affine.a > 0 > affine.e


def _bounds(grid: GeoBox, crs: CRS) -> tuple[float, float, float, float]:
    """West, south, east and north in a CRS, along curved edges as well."""
    box, own = grid.boundingbox, _crs(grid)
    if own == crs:
        return float(box.left), float(box.bottom), float(box.right), float(box.top)
    west, south, east, north = transform_bounds(own.to_wkt(), crs.to_wkt(), *box.bbox, densify_pts=21)
    return west, south, east, north


def _pixel_in(crs: CRS, finest: GeoBox) -> float:
    """The pixel's edge in units of the CRS: the same number where that is the same length, else the same length."""
    height, width = finest.shape
    way = Transformer.from_crs(_crs(finest), crs, always_xy=True)
    x, y = way.transform(*(finest.affine @ (width / 2, height / 2)))
    metre = 1e-5 if crs.is_geographic else 1.0  # or so
    there = GeoBox((1, 1), Affine.translation(x, y) @ Affine.scale(metre), crs.to_wkt())
    number, length = sqrt(abs(finest.affine.determinant)), metre * pixel_edge_m(finest) / pixel_edge_m(there)
    return number if abs(number / length - 1) < SAME_PIXEL else length


def _span(affine: Affine, bounds: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """First row and column, and those after the last, of an upright grid's pixels under some bounds."""
    west, south, east, north = bounds
    (left, top), (right, bottom) = ~affine @ (west, north), ~affine @ (east, south)
    return floor(top + SLACK), floor(left + SLACK), ceil(bottom - SLACK), ceil(right - SLACK)
