"""Parcels of a clean mask: polygons of cropland with their area, perimeter and mean probability."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from math import nan, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from threading import Lock
from typing import Annotated, Any, BinaryIO

import numpy as np
import pandas as pd
import rasterio
import shapely
from geopandas import GeoDataFrame, GeoSeries
from jaxtyping import Int64
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rich.console import Console

from cropland.errors import GridError, InputError, OutputError, SceneError
from cropland.geo.area import (
    MU_M2,
    MU_PER_HA,
    area_words,
    default_min_area_m2,
    ellipsoidal_area_m2,
    ellipsoidal_length_m,
    pixel_edge_m,
)
from cropland.geo.grid import grid_of
from cropland.geo.window import tiles
from cropland.language import _
from cropland.options import ABOVE_0, NOT_NEGATIVE, SHARE
from cropland.parcels.clean import by_value, clean_mask
from cropland.parcels.instances import GAP_M, FieldRule, find_fields
from cropland.parcels.outlines import Regions, join_cells, trace_cell, trace_fields
from cropland.probability import BOUNDARY_DESCRIPTION, ONE
from cropland.progress import prefetch, timed, timed_each
from cropland.writers.qgis import write_style
from cropland.writers.vector import write_geojson, write_geopackage, write_geoparquet

__all__ = ["CELL", "THRESHOLD_TAG", "PolygonStore", "command", "find_parcels", "parcels"]

CELL = 1024  # pixels between two lines of the lattice, on which outlines are held: a part of the result
BOUNDARY_THRESHOLD = 0.1  # of the probability of a boundary, where neither model nor file says which
THRESHOLD_TAG = "boundary_threshold"  # of boundary.tif, which has the one of its model
ROWS = 8192  # of a chunk of the table: a reader of an area reads or skips whole chunks
Spread = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]


def command(
    mask: Path,
    *,
    out: Path | None = None,
    probability: Path | None = None,
    boundary: Path | None = None,
    boundary_threshold: Annotated[float | None, SHARE] = None,
    gap_m: Annotated[float, NOT_NEGATIVE] = GAP_M,
    value: float = 1,
    min_area_m2: Annotated[float | None, NOT_NEGATIVE] = None,
    min_area_mu: Annotated[float | None, NOT_NEGATIVE] = None,
    simplify_m: Annotated[float | None, NOT_NEGATIVE] = None,
    pixel_m: Annotated[float | None, ABOVE_0] = None,
) -> None:
    """Turn a mask into parcels: polygons with their area, perimeter and mean probability.

    Patches and holes below the minimum area are removed first. Edges of parcels are smoothed and never cross.
    Parcels are connected regions of the mask; with --boundary they are fields, which share their edges.

    Example:
        cropland parcels mask.tif --out parcels.gpkg --min-area-mu 1

    Example:
        cropland parcels my_map/mask.tif --boundary my_map/boundary.tif --out fields.gpkg

    Parameters
    ----------
    mask
        A raster of classes, 1 for cropland.
    out
        .parquet (GeoParquet), .gpkg or .geojson; MASK_parcels.parquet beside the mask if not given.
    probability
        probability.tif of the same grid, for the mean probability of each parcel.
    boundary
        boundary.tif of the same grid, the probability of field boundaries x 254: fields that touch become parcels of
        their own.
    boundary_threshold
        The probability from which on a pixel is of a boundary, 0 to 1; a lower one finds more boundaries. That of the
        model, which boundary.tif keeps, if not given; 0.1 for a raster of another program.
    gap_m
        How wide a gap in a boundary may be, in metres, without uniting the fields beside it; half of it is rounded to
        whole pixels.
    value
        The class that is cropland.
    min_area_m2
        Minimum area of a parcel and of a hole, in m2; the larger of 400 m2 and ten pixels if not given, 0 to keep all.
    min_area_mu
        The same in mu (1 mu is 10000/15 m2).
    simplify_m
        How far simplification may move an edge, in metres; one pixel if not given, 0 for none.
    pixel_m
        Edge of a pixel in metres, for a mask without a CRS.
    """
    out = out or mask.with_name(f"{mask.stem}_parcels.parquet")
    write = WRITERS.get(out.suffix.lower())
    if write is None:
        raise OutputError("{name}: no format has this suffix; use {writers}", name=out.name, writers=", ".join(WRITERS))
    with _opened(mask) as source, TemporaryDirectory(prefix="cropland-") as folder:
        _check_classes(source, value)
        if boundary is not None:
            _check_boundary(boundary, source)
        unit_m = _unit_m(source, pixel_m)
        least_m2 = _min_area_m2(min_area_m2, min_area_mu, pixel_m=pixel_edge_m(grid_of(source), unit_m=unit_m))
        cleaned = Path(folder) / "mask.tif"
        classify = by_value(value, nodata=source.nodata)
        clean_mask(mask, cleaned, classify=classify, min_area_m2=least_m2, unit_m=unit_m)
        how: dict[str, Any] = {"probability": probability, "simplify_m": simplify_m, "unit_m": unit_m}
        how |= {"boundary": boundary, "boundary_threshold": boundary_threshold, "gap_m": gap_m, "min_area_m2": least_m2}
        with find_parcels(cleaned, **how, folder=Path(folder)) as found:
            write(found, out)
            count, area_ha = len(found), found.area_ha
    console = Console()
    console.print(
        _(
            "{parcels}, {area} (minimum area {least_m2:g} m2)",
            parcels=_("1 parcel") if count == 1 else _("{count:,} parcels", count=count),
            area=area_words(area_ha, digits=2),
            least_m2=least_m2,
        ),
        highlight=False,
    )
    console.print(out, soft_wrap=True, highlight=False, markup=False)


def _write_geopackage(parcels: Parcels, out: Path) -> None:
    """With the style beside it in which QGIS opens it, unless somebody has put one there."""
    write_geopackage(parcels.chunks(), out)
    style = out.with_suffix(".qml")
    if not style.exists():
        write_style(style, pixel=parcels.pixel)


WRITERS: dict[str, Callable[[Parcels, Path], None]] = {
    ".parquet": lambda parcels, out: write_geoparquet(parcels.chunks(), out),
    ".gpkg": _write_geopackage,
    ".geojson": lambda parcels, out: write_geojson(parcels.chunks(), out),
}


@contextmanager
def _opened(raster: Path) -> Iterator[DatasetReader]:
    try:
        with rasterio.open(raster) as source:
            yield source
    except RasterioError as error:
        raise SceneError(
            "{name} cannot be read ({error}); expected a raster of classes", name=raster.name, error=error
        ) from error


def _unit_m(source: DatasetReader, pixel_m: float | None) -> float | None:
    """Metres per unit of the coordinates for a raster without a CRS."""
    if source.crs:
        return None
    if pixel_m is None:
        raise GridError(
            "{name} has no CRS, so areas are not known; give the edge of a pixel with --pixel-m",
            name=Path(source.name).name,
        )
    return pixel_m / sqrt(abs(source.transform.determinant))


def _check_classes(source: DatasetReader, value: float) -> None:
    """Refuse a raster that is evidently no mask of `value`, by up to 1000 x 1000 of its pixels."""
    name = Path(source.name).name
    if source.count != 1:
        raise SceneError(
            "{name} has {count} bands, expected one band of classes; make a mask with `cropland map`",
            name=name,
            count=source.count,
        )
    sample = source.read(1, out_shape=tuple(min(1000, length) for length in source.shape))
    others = sorted(set(np.unique(sample).tolist()) - {0, 255, source.nodata})
    if others and value not in others:
        seen = ", ".join(f"{other:g}" for other in others[:8])
        raise SceneError(
            "{name} has the values {seen} and no {value:g}; say which is cropland with --value",
            name=name,
            seen=seen,
            value=value,
        )


def _min_area_m2(given_m2: float | None, given_mu: float | None, *, pixel_m: float) -> float:
    if given_m2 is not None and given_mu is not None:
        raise InputError("--min-area-m2 and --min-area-mu mean the same; give one of them")
    if given_mu is not None:
        return given_mu * MU_M2
    return default_min_area_m2(pixel_m) if given_m2 is None else given_m2


def parcels(
    mask: Path,
    *,
    boundary: Path | None = None,
    probability: Path | None = None,
    boundary_threshold: float | None = None,
    gap_m: float = GAP_M,
    min_area_m2: float | None = None,
    simplify_m: float | None = None,
    unit_m: float | None = None,
    observed: datetime | None = None,
) -> GeoDataFrame:
    """All parcels of a clean mask in one table, where memory holds it: fields, where a boundary is given.

    Arguments, columns and errors are those of `find_parcels` and `Parcels`.
    """
    how: dict[str, Any] = {"simplify_m": simplify_m, "unit_m": unit_m, "observed": observed}
    how |= {"boundary_threshold": boundary_threshold, "gap_m": gap_m, "min_area_m2": min_area_m2}
    with find_parcels(mask, boundary=boundary, probability=probability, **how) as found:
        return pd.concat(found.chunks(), ignore_index=True)


@contextmanager
def find_parcels(
    mask: Path,
    *,
    boundary: Path | None = None,
    probability: Path | None = None,
    boundary_threshold: float | None = None,
    gap_m: float = GAP_M,
    min_area_m2: float | None = None,
    simplify_m: float | None = None,
    unit_m: float | None = None,
    observed: datetime | None = None,
    folder: Path | None = None,
    cell: int = CELL,
    spread: Spread | None = None,
) -> Iterator[Parcels]:
    """The parcels of a clean mask (0, 1, 255) of any size, in its own CRS.

    Polygons are valid and do not overlap; they depend on the rasters and on `cell` alone. Without a boundary they are
    the connected regions of the mask. With one, they are fields: neighbours share their edges exactly, and their union
    is that of these regions: with a simplify_m of 0 exactly, but for half a pixel where cropland meets at a corner.

    boundary: uint8 on the grid of the mask, p x 254 of being in the rim of a field, 255 no data. boundary_threshold:
    0..1, of p; that of the file's tag, or 0.1, if not given. gap_m: up to which a gap in a boundary unites no fields.
    min_area_m2: fields whose core, inside of the boundary, is smaller are united with a neighbour; as for masks if not
    given. simplify_m: one pixel if not given. unit_m: metres per unit of the coordinates, without a CRS. folder: for
    temporary files, of the size of the parcels, and with a boundary of 8 bytes a pixel. spread: a `map` over cells; two
    threads if not given.
    Raises `GridError` where areas cannot be computed or the rasters are not on one grid, `SceneError` for a boundary of
    other values, and `InputError` for a threshold or a gap that is none.
    """
    spread = spread or partial(prefetch, threads=2)
    with rasterio.open(mask) as source, TemporaryFile(dir=folder) as file, ExitStack() as held:
        grid = grid_of(source)
        if probability is not None:
            _check_grid(probability, source)
        pixel_m = pixel_edge_m(grid, unit_m=unit_m)
        tolerance = 1.0 if simplify_m is None else simplify_m / pixel_m
        trace = partial(trace_cell, mask, probability, tolerance=tolerance)
        if boundary is not None:
            _check_boundary(boundary, source)
            fields = Path(held.enter_context(TemporaryDirectory(dir=folder, prefix=".fields-"))) / "fields.tif"
            least_m2 = default_min_area_m2(pixel_m) if min_area_m2 is None else min_area_m2
            threshold = _threshold_of(boundary, boundary_threshold)
            if not gap_m >= 0:
                raise InputError("gap_m is {gap_m}, expected 0 or more metres", gap_m=gap_m)
            rule = FieldRule.of(threshold, gap_m=gap_m, pixel_m=pixel_m, min_area_m2=least_m2)
            with timed("fields"):
                find_fields(mask, boundary, fields, rule=rule, unit_m=unit_m, cell=cell, spread=spread)
            trace = partial(trace_fields, fields, probability, tolerance=tolerance)
        cells = [tile.core for tile in tiles(source.shape, size=cell, halo=0, stride=1)]
        traced = zip(cells, spread(trace, cells), strict=True)
        rows = ([each for _, each in row] for _, row in groupby(traced, key=lambda pair: pair[0].row))
        store = PolygonStore(file)
        for regions in timed_each("seams", join_cells(timed_each("outlines", rows))):
            _measure(regions, grid, source.crs, store, unit_m=unit_m)
        yield Parcels(store, source.crs, source.res[0], observed)


def _check_grid(probability: Path, mask: DatasetReader) -> None:
    with rasterio.open(probability) as source:
        if source.shape != mask.shape or not source.transform.almost_equals(mask.transform, 1e-6):
            raise GridError(
                "{name} is not on the grid of the mask; give the one that the mask was made from", name=probability.name
            )


def _check_boundary(boundary: Path, mask: DatasetReader) -> None:
    with _opened(boundary) as source:
        if source.count != 1 or source.dtypes[0] != "uint8":
            raise SceneError(
                "{name} has {count} bands of {dtype}, expected one band of uint8: the probability of a field boundary "
                "times 254, and 255 for no data; give the boundary.tif of a map",
                name=boundary.name,
                count=source.count,
                dtype=source.dtypes[0],
            )
        same_crs = source.crs == mask.crs or not (source.crs and mask.crs)
        if source.shape != mask.shape or not source.transform.almost_equals(mask.transform, 1e-6) or not same_crs:
            raise GridError(
                "{boundary} is not on the grid of {mask}; give the boundary.tif of the same map, or resample it to that"
                " grid with gdalwarp",
                boundary=boundary.name,
                mask=Path(mask.name).name,
            )
        sample = source.read(1, out_shape=tuple(min(1000, length) for length in source.shape))
        if source.descriptions[0] != BOUNDARY_DESCRIPTION and set(np.unique(sample).tolist()) - {0, 255} == {1}:
            raise SceneError(
                "{name} has the values 0 and 1 only, like a mask, expected the probability of a field boundary times "
                "254; give the boundary.tif of a map",
                name=boundary.name,
            )


def _threshold_of(boundary: Path, given: float | None) -> float:
    with _opened(boundary) as source:
        told = source.tags().get(THRESHOLD_TAG, BOUNDARY_THRESHOLD) if given is None else given
    try:
        threshold = float(told)
    except ValueError:
        threshold = nan
    if not 0 <= threshold <= 1:
        raise InputError(
            "boundary_threshold is {threshold}, expected a probability of 0 to 1; give one that is", threshold=told
        )
    return threshold


def _measure(regions: Regions, grid: GeoBox, crs: Any, store: PolygonStore, *, unit_m: float | None) -> None:
    """Add regions with their figures to the store."""
    shapes = GeoSeries(_placed(regions.polygons, grid), crs=crs)
    known, levels = regions.sums
    means = np.divide(levels, known * ONE, out=np.full(len(known), np.nan), where=known > 0)
    some = len(shapes) > 0
    area = ellipsoidal_area_m2(shapes, unit_m=unit_m) / 1e4 if some else np.zeros(0)
    perimeter = ellipsoidal_length_m(shapes, unit_m=unit_m) if some else np.zeros(0)
    bounds = grid.boundingbox.bbox
    figures: dict[str, Any] = {
        "place": shapes.hilbert_distance(total_bounds=bounds).to_numpy() if some else np.zeros(0, np.uint32),
        "area": np.float32(area),
        "perimeter": np.float32(perimeter),
        "mean_probability": np.float32(means),
    }
    store.add(shapes.to_numpy(), figures)


def _placed(polygons: np.ndarray, grid: GeoBox) -> np.ndarray:
    """Polygons in the coordinates of the grid's CRS, shells counterclockwise."""
    a, b, c, d, e, f = grid.affine[:6]
    matrix, origin = np.array([[a, d], [b, e]]), np.array([c, f])
    placed: np.ndarray = shapely.orient_polygons(shapely.transform(polygons, lambda points: points @ matrix + origin))
    return placed


@dataclass(frozen=True)
class Parcels:
    """Parcels in the order of a Hilbert curve, so that neighbours on the ground are neighbours in a file.

    Columns are those of fiboa: id, metrics:area (m2 on the ellipsoid), metrics:perimeter (m, with holes),
    determination:method and determination:datetime (the time of the image, UTC); and area_ha, area_mu and
    mean_probability (0..1, over the pixels of the mask; missing without a probability).
    Source: fiboa.org/specification, version 0.3.0.
    """

    store: PolygonStore
    crs: Any
    pixel: float  # edge of a pixel of the mask in units of the CRS
    observed: datetime | None

    def __len__(self) -> int:
        return len(self.store)

    @property
    def area_ha(self) -> float:
        """The area of all parcels, in hectares."""
        return float(self.store.figures("area").sum(dtype=np.float64))

    def chunks(self, rows: int = ROWS) -> Iterator[GeoDataFrame]:
        """The table in chunks of `rows` rows; one chunk without rows if there is no parcel."""
        order = np.argsort(self.store.figures("place"), kind="stable")
        figures = {name: self.store.figures(name)[order] for name in ("area", "perimeter", "mean_probability")}
        for start in range(0, max(len(order), 1), rows):
            numbers = order[start : start + rows]
            here = {name: values[start : start + rows] for name, values in figures.items()}
            yield self._frame(start, self.store.polygons(numbers), here)

    def _frame(self, start: int, polygons: np.ndarray, figures: dict[str, np.ndarray]) -> GeoDataFrame:
        count, area_ha = len(polygons), np.float64(figures["area"])
        columns = {
            "id": pd.Series([str(number) for number in range(start + 1, start + count + 1)], dtype="str"),
            "area_ha": np.float32(area_ha),
            "area_mu": np.float32(area_ha * MU_PER_HA),
            "mean_probability": figures["mean_probability"],
            "metrics:area": np.float32(area_ha * 1e4),
            "metrics:perimeter": figures["perimeter"],
            "determination:method": pd.Series(["auto-imagery"] * count, dtype="str"),
            "determination:datetime": pd.Series([pd.Timestamp(self.observed)] * count, dtype="datetime64[ms, UTC]"),
        }
        return GeoDataFrame(columns, geometry=GeoSeries(polygons, crs=self.crs), crs=self.crs)


class PolygonStore:
    """Polygons in a file, read in any order, also by several threads; some 12 bytes of each stay in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reading = Lock()
        self._lengths: list[np.ndarray] = []
        self._columns: dict[str, list[np.ndarray]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._lengths))

    def add(self, polygons: np.ndarray, figures: Mapping[str, np.ndarray]) -> None:
        """Append polygons and their figures, which have the same names each time."""
        records = shapely.to_wkb(polygons)
        self._file.seek(0, 2)
        self._file.writelines(records)
        self._lengths.append(np.fromiter(map(len, records), np.int32, len(records)))
        for name, values in figures.items():
            self._columns.setdefault(name, []).append(values)

    def figures(self, name: str) -> np.ndarray:
        """One figure of all polygons, in the order in which they were added."""
        return np.concatenate(self._columns[name])

    def polygons(self, numbers: Int64[np.ndarray, polygon]) -> np.ndarray:
        """The polygons of these numbers (0 for the first that was added)."""
        lengths = np.concatenate(self._lengths)
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        records = np.empty(len(numbers), object)
        with self._reading:
            for place in np.argsort(numbers):  # forward through the file
                self._file.seek(starts[numbers[place]])
                records[place] = self._file.read(lengths[numbers[place]])
        found: np.ndarray = shapely.from_wkb(records)
        return found
