"""What is measured: the map in a mask, a probability, a file of parcels, or the folder of a map, on its grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor, log10, sqrt
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

import numpy as np
import rasterio
from cyclopts import Parameter
from geopandas import GeoDataFrame, GeoSeries
from jaxtyping import Bool, Float, UInt8
from odc.geo.geobox import GeoBox
from pandas import concat
from pyproj import CRS, Transformer
from shapely import box

from cropland.data.labels import Draw, LabelOptions, PolygonLabels, is_raster, raster_on
from cropland.errors import GridError, InputError, SceneError
from cropland.evaluation.counts import UNKNOWN
from cropland.geo.area import pixel_edges_m
from cropland.geo.features import open_layer
from cropland.geo.grid import crs_name, grid_of
from cropland.geo.map_folder import MapFolder
from cropland.geo.mask import mask_classes
from cropland.geo.reading import read_header
from cropland.geo.scene import Scene, open_scene
from cropland.geo.vectors import Polygons, open_polygons
from cropland.geo.window import Window, tiles
from cropland.language import Message
from cropland.options import ABOVE_0, SHARE
from cropland.parcels.parcels import find_parcels
from cropland.probability import DESCRIPTION, classes, to_levels
from cropland.writers.vector import write_geoparquet

__all__ = [
    "BLOCK",
    "NamedGrid",
    "Read",
    "Subject",
    "SubjectOptions",
    "connected_regions",
    "decimated",
    "imagery_on",
    "known_where",
    "laid_on",
    "open_subjects",
]

BLOCK = 1024  # pixels along the edge of a block
MOSAIC = "mosaic"  # a folder of maps holds it beside those of its scenes
PIXELS_ACROSS = 20  # of a field of the median area, where nothing else says how fine a grid must be
Mask = UInt8[np.ndarray, "height width"]
Read = Callable[[Window], Mask]
Values = Float[np.ndarray, "height width"]


@Parameter(name="*")
@dataclass(frozen=True)
class SubjectOptions:
    """How to read the map that is measured.

    Parameters
    ----------
    threshold
        Where a probability is measured, the value (0..1) from which on a pixel is cropland. Default: that of the
        map.json beside it, else 0.5.
    imagery
        The scene that the pictures of the report show. Default: the one that the map.json beside the map names.
    crs
        The CRS of a mask or probability whose file names none.
    pixel_m
        Edge of a pixel in metres: of a mask without a CRS, or of the grid on which parcels are counted.
    allow_datum_shift
        Allow an approximate datum transformation (errors up to about 100 m).
    """

    threshold: Annotated[float | None, SHARE] = None
    imagery: Path | None = None
    crs: str | None = None
    pixel_m: Annotated[float | None, ABOVE_0] = None
    allow_datum_shift: Annotated[bool, Parameter(negative="")] = False


@dataclass(frozen=True, eq=False)
class NamedGrid:
    """A grid with a name. unit_m: metres per unit of the coordinates, without a CRS."""

    name: str
    grid: GeoBox
    unit_m: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.grid.shape[0]), int(self.grid.shape[1])

    @property
    def pixel_sides_m(self) -> tuple[float, float]:
        """Height and width in metres of the pixel in the middle."""
        along, down = pixel_edges_m(self.grid, unit_m=self.unit_m)
        return down, along


@dataclass(frozen=True, eq=False)
class Subject:
    """A map on a grid: its classes, window by window, and what else is known of it.

    mask: 1 cropland, 0 not, 255 no data. elsewhere: the same on another grid, with the notes that then hold. files:
    those that were read. probability: levels of `cropland.probability`; None without one. threshold: what made the mask
    from it. fields: its polygons, None for the connected regions of the mask. model: the SHA-256 of the model, where a
    map.json names it.
    """

    ground: NamedGrid
    mask: Read
    elsewhere: Callable[[NamedGrid], Draw]
    files: tuple[Path, ...]
    probability: Read | None = None
    threshold: float | None = None
    fields: Polygons | None = None
    imagery: Scene | None = None
    model: str | None = None
    notes: tuple[str, ...] = ()


def open_subjects(path: Path, options: SubjectOptions, *, labels: LabelOptions) -> list[Subject]:
    """The maps at a path: one, or those in a folder of maps.

    labels: what they will be compared with, on whose ground parcels without a grid are counted. Raises `SceneError` or
    `LabelError` for what is no map.
    """
    if not path.exists():
        raise SceneError(
            "{path}: there is no such file; give a mask, a probability, parcels or the folder of a map", path=path
        )
    if path.is_dir() and path.suffix.lower() != ".gdb":
        return _of_folder(path, options)
    found = MapFolder.find(path)
    opened = _of_raster(path, options, found) if is_raster(path) else _of_parcels(path, options, found, labels=labels)
    return [_with_imagery(opened, options, found)]


def _of_folder(path: Path, options: SubjectOptions) -> list[Subject]:
    if (found := MapFolder.find(path)) is not None:
        return [_of_map(found, options)]
    inside = [each for each in sorted(path.iterdir()) if each.is_dir() and each.name != MOSAIC]
    maps = [found for each in inside if (found := MapFolder.find(each)) is not None]
    if not maps:
        raise SceneError("{path} holds no map; give the folder of a map, or a folder of such folders", path=path)
    if options.imagery:
        raise InputError(
            "--imagery is one scene and {path} holds {count} maps; measure one of them", path=path, count=len(maps)
        )
    subjects = [_of_map(each, options) for each in maps]
    if len({each.ground.name for each in subjects}) == len(subjects):
        return subjects
    # Maps of one scene, or of scenes of one name: their folders tell them apart.
    return [
        replace(each, ground=replace(each.ground, name=found.path.name))
        for each, found in zip(subjects, maps, strict=True)
    ]


def _of_map(found: MapFolder, options: SubjectOptions) -> Subject:
    """The mask, with the probability and the parcels that belong to it."""
    if options.threshold is not None:
        raise InputError("{path} has a mask of its own; to use --threshold, give its probability.tif", path=found.path)
    mask = _of_raster(found.mask, options, None)
    both = _of_raster(found.probability, options, found)
    if both.ground.grid != mask.ground.grid:
        raise GridError(
            "{name} is not on the grid of the mask; give the one that the mask was made from", name=found.probability
        )
    has_fields = mask.ground.grid.crs is not None
    whole = replace(
        mask,
        ground=replace(mask.ground, name=found.scene),
        files=(found.mask, found.probability, *([found.parcels] if has_fields else [])),
        probability=both.probability,
        threshold=both.threshold,
        fields=_fields(found.parcels) if has_fields else None,
        model=found.model,
    )
    return _with_imagery(whole, options, found)


def _fields(parcels: Path) -> Polygons:
    """The parcels of a map, of which there may be none."""
    layer = open_layer(parcels)
    if len(layer.table([])):
        return open_polygons(parcels)
    return Polygons.of(GeoDataFrame(geometry=[], crs=layer.crs))


def _with_imagery(subject: Subject, options: SubjectOptions, found: MapFolder | None) -> Subject:
    if options.imagery is None:
        return replace(subject, imagery=found.imagery() if found else None)
    imagery, grid = open_scene(options.imagery, crs=options.crs, pixel_m=options.pixel_m), subject.ground.grid
    if not _meet(imagery.grid, grid):
        raise SceneError(
            "--imagery {imagery} does not meet {name}; give the scene that was mapped",
            imagery=options.imagery.name,
            name=subject.ground.name,
        )
    return replace(subject, imagery=imagery)


def _meet(one: GeoBox, other: GeoBox) -> bool:
    if one.crs is None or other.crs is None:
        return one.crs == other.crs and one.extent.geom.intersects(other.extent.geom)
    return bool(one.extent.to_crs(other.crs).geom.intersects(other.extent.geom))


def _of_raster(path: Path, options: SubjectOptions, found: MapFolder | None) -> Subject:
    """A mask, or a probability with the mask that a threshold makes of it."""
    header = read_header(path)
    if len(header.bands) != 1:
        raise SceneError(
            "{name} has {count} bands, expected one: a mask or a probability", name=path.name, count=len(header.bands)
        )
    (band,) = header.bands
    is_levels = band.label == DESCRIPTION
    is_fraction = not is_levels and np.issubdtype(np.dtype(band.dtype), np.floating) and _has_fractions(path)
    has_probability = is_levels or is_fraction
    # Naming the band and the no data value keeps a mask of few values from being taken for imagery with a collar.
    scene = open_scene(
        path,
        bands={"mask": 1},
        nodata=None if is_fraction else UNKNOWN,
        crs=options.crs,
        pixel_m=options.pixel_m,
        allow_datum_shift=options.allow_datum_shift,
    )
    if options.threshold is not None and not has_probability:
        raise SceneError("{name} is a mask; --threshold is for a probability", name=path.name)
    known = found.threshold if found else None
    given = options.threshold if options.threshold is not None else known
    threshold = 0.5 if given is None else given
    assumed = Message(
        "{name}: a pixel is cropland from a probability of 0.5 on; --threshold changes that", name=path.name
    )
    notes = (assumed,) if has_probability and given is None else ()
    table = classes(threshold)

    def levels(values: Values, valid: Bool[np.ndarray, "height width"]) -> Mask:
        return to_levels(_fractions(values, path), valid) if is_fraction else _bytes(values, valid)

    def mask(values: Values, valid: Bool[np.ndarray, "height width"]) -> Mask:
        return table[levels(values, valid)] if has_probability else mask_classes(values, valid, path=path)

    def own(window: Window) -> tuple[Values, Bool[np.ndarray, "height width"]]:
        image = scene.read(window)
        return image.values[0], image.valid

    def elsewhere(ground: NamedGrid) -> Draw:
        read = raster_on(path, ground, nodata=band.nodata if is_fraction else UNKNOWN)
        moved = Message("{name} is resampled to the grid of the first map (nearest neighbour)", name=path.stem)

        def paint(window: Window) -> Mask:
            known = np.isfinite(values := read(window))
            return mask(np.where(known, values, 0), known)

        return Draw(paint, (*notes, moved))

    subject = Subject(
        NamedGrid(path.stem, scene.grid, scene.unit_m),
        lambda window: mask(*own(window)),
        elsewhere,
        files=(path,),
        notes=notes,
    )
    if not has_probability:
        return subject
    return replace(subject, probability=lambda window: levels(*own(window)), threshold=threshold)


def _has_fractions(path: Path) -> bool:
    """Whether up to 1000 x 1000 of its pixels hold something other than 0, 1 and 255."""
    with rasterio.open(path) as source:
        sample = source.read(1, out_shape=tuple(min(1000, length) for length in source.shape), masked=True)
    known = sample.compressed()
    return bool(np.setdiff1d(known[np.isfinite(known)], [0, 1, UNKNOWN]).size)


def _fractions(values: Values, path: Path) -> Values:
    if values.size and (values.min() < 0 or values.max() > 1):
        raise SceneError(
            "{name} holds values from {low:g} to {high:g}; a probability lies between 0 and 1",
            name=path.name,
            low=float(values.min()),
            high=float(values.max()),
        )
    return values


def _bytes(values: Values, valid: Bool[np.ndarray, "height width"]) -> Mask:
    return np.where(valid, values, UNKNOWN).astype(np.uint8)


def _of_parcels(path: Path, options: SubjectOptions, found: MapFolder | None, *, labels: LabelOptions) -> Subject:
    """Polygons of cropland; no polygon is not cropland. Pixels are counted on the grid of their mask where it is known,
    and only where that has data; else on the grid of a reference raster, or on one as fine as their sizes ask for."""
    if options.threshold is not None:
        raise SceneError("{name} holds polygons; --threshold is for a probability", name=path.name)
    polygons = open_polygons(path)
    drawn = PolygonLabels(((1, polygons),), 0, path.name, options.allow_datum_shift)
    if found is not None and path.stem == found.parcels.stem:
        mask = _of_raster(found.mask, options, None)
        ground = replace(mask.ground, name=path.stem)
        own = known_where(drawn.on(ground), [mask.mask])
        files: tuple[Path, ...] = (path, found.mask)

        def elsewhere(there: NamedGrid) -> Draw:
            return known_where(drawn.on(there), [mask.elsewhere(there)])

        return Subject(ground, own, elsewhere, files, fields=polygons, notes=own.notes)
    grid = _grid_of(labels.labels) if labels.labels and is_raster(labels.labels) and labels.labels.is_file() else None
    notes: tuple[str, ...] = ()
    if grid is None or grid.crs is None:
        grid = _fitting(polygons, labels.inside, options.pixel_m)
        notes = (
            Message(
                "pixels of {name} are counted on a grid of {pixel_m:g} m in {crs} over {area}; --pixel-m and --inside "
                "change that",
                name=path.name,
                pixel_m=grid.affine.a,
                crs=crs_name(CRS.from_user_input(str(grid.crs))),
                area=labels.inside.name if labels.inside else Message("the box around the parcels"),
            ),
        )
    ground = NamedGrid(path.stem, grid)
    own = drawn.on(ground)
    return Subject(ground, own, drawn.on, (path,), fields=polygons, notes=(*notes, *own.notes))


def laid_on(ground: NamedGrid, other: Subject) -> Subject:
    """A map on another grid, by the nearest pixel; there its probability is not known."""
    if other.ground.grid == ground.grid:
        return replace(other, ground=ground)
    drawn = other.elsewhere(ground)
    return replace(other, ground=ground, mask=drawn, probability=None, notes=drawn.notes)


def known_where(draw: Draw, masks: Sequence[Read]) -> Draw:
    """What is drawn, unknown where one of the masks has no data."""

    def paint(window: Window) -> Mask:
        known = np.logical_and.reduce([mask(window) != UNKNOWN for mask in masks])
        return np.where(known, draw(window), np.uint8(UNKNOWN))

    return replace(draw, paint=paint)


def _grid_of(raster: Path) -> GeoBox:
    with rasterio.open(raster) as source:
        return grid_of(source)


def _fitting(polygons: Polygons, inside: Path | None, pixel_m: float | None) -> GeoBox:
    """A grid in metres over the area that was looked at, or over the box around the parcels."""
    area = open_polygons(inside) if inside else polygons
    bounds = GeoSeries([box(*area.bounds())], crs=area.crs)
    crs = polygons.crs if polygons.crs.is_projected and _in_metres(polygons.crs) else bounds.estimate_utm_crs()
    west, south, east, north = bounds.to_crs(crs).total_bounds
    if pixel_m is None:
        near, _notes = polygons.near(polygons.bounds())
        pixel_m = _round_below(sqrt(float(np.median(near.to_crs(crs).area))) / PIXELS_ACROSS)
    shape = max(1, ceil(float(north - south) / pixel_m)), max(1, ceil(float(east - west) / pixel_m))
    return GeoBox(shape, rasterio.Affine(pixel_m, 0, west, 0, -pixel_m, north), crs.to_wkt())


def _in_metres(crs: CRS) -> bool:
    return crs.axis_info[0].unit_conversion_factor == 1


def _round_below(length: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not longer."""
    unit: float = 10.0 ** floor(log10(length))
    return max(step * unit for step in (1, 2, 5) if step * unit <= length)


def connected_regions(mask: Read, ground: NamedGrid, folder: Path) -> Polygons:
    """The connected regions of a mask as polygons: in a file of their own in `folder`, in memory if the grid has no CRS
    or there are none."""
    own = Path(mkdtemp(dir=folder))  # the polygons of another mask may still be read from the same folder
    raster, table = own / "mask.tif", own / "regions.parquet"
    height, width = ground.shape
    crs = None if ground.grid.crs is None else str(ground.grid.crs)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": UNKNOWN, "compress": "deflate", "zlevel": 1}
    blocks = {"tiled": True, "blockxsize": 512, "blockysize": 512, "BIGTIFF": "IF_SAFER"}
    with rasterio.open(
        raster, "w", height=height, width=width, crs=crs, transform=ground.grid.affine, **profile, **blocks
    ) as target:
        for tile in tiles(ground.shape, size=BLOCK, halo=0, stride=1):
            target.write(mask(tile.core), 1, window=tile.core.in_file)
    with find_parcels(raster, unit_m=ground.unit_m, folder=own) as found:
        if crs is None or not len(found):
            return Polygons.of(concat(found.chunks(), ignore_index=True))
        write_geoparquet(found.chunks(), table)
    return open_polygons(table)


def decimated(read: Read, window: Window, step: int) -> Mask:
    """Every `step`-th row and column of a window, read in parts."""
    side = max(1, BLOCK // step) * step
    rows, cols = (range(0, length, side) for length in window.shape)
    parts = [
        [
            read(
                Window(
                    window.row + row, window.col + col, min(side, window.height - row), min(side, window.width - col)
                )
            )[::step, ::step]
            for col in cols
        ]
        for row in rows
    ]
    return np.block(parts)


def imagery_on(imagery: Scene, ground: NamedGrid) -> Callable[[Window, int], UInt8[np.ndarray, "height width 3"]]:
    """The imagery in red, green and blue, in windows of another grid of which every `step`-th pixel is shown.

    It is stretched as a whole scene, and taken at the nearest pixel, averaged over the step; grey where it has no data.
    """
    bands = ("red", "green", "blue") if {"red", "green", "blue"} <= set(imagery.bands) else imagery.bands[:1]
    stretch = imagery.statistics(bands)
    crs, own = ground.grid.crs, imagery.grid.crs
    move = (
        None if crs is None or own is None or crs == own else Transformer.from_crs(crs.proj, own.proj, always_xy=True)
    )
    ratio = (
        max(1.0, sqrt(abs(ground.grid.affine.determinant / imagery.grid.affine.determinant))) if move is None else 1.0
    )

    def picture(window: Window, step: int) -> UInt8[np.ndarray, "height width 3"]:
        rows = np.arange(window.row, window.row + window.height, step) + step / 2
        cols = np.arange(window.col, window.col + window.width, step) + step / 2
        col, row = np.meshgrid(cols, rows)
        x, y = ground.grid.affine @ (col, row)
        if move is not None:
            x, y = move.transform(x, y)
        col, row = ~imagery.grid.affine @ (x, y)
        scale = ratio * step
        at = [np.floor(np.where(np.isfinite(each), each, -1) / scale).astype(np.int64) for each in (row, col)]
        height, width = imagery.working_grid(scale).shape
        inside = (at[0] >= 0) & (at[0] < height) & (at[1] >= 0) & (at[1] < width)
        shown = np.full((*inside.shape, 3), 127, np.uint8)
        if inside.any():
            (top, bottom), (left, right) = ((int(each[inside].min()), int(each[inside].max())) for each in at)
            read = imagery.read(Window(top, left, bottom - top + 1, right - left + 1), bands=bands, ratio=scale)
            shown[inside] = read.rgb(stretch.low, stretch.high)[at[0][inside] - top, at[1][inside] - left]
        return shown

    return picture
