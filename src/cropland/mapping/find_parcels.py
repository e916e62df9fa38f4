"""From a clean mask to its parcels, cell by cell: memory holds a row of cells and the parcels that it cuts."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import shapely
from geopandas import GeoDataFrame, GeoSeries
from odc.geo.geobox import GeoBox
from rasterio.io import DatasetReader

from cropland.errors import GridError
from cropland.geo.area import ellipsoidal_area_m2, ellipsoidal_length_m, pixel_edge_m
from cropland.geo.window import Window, tiles
from cropland.language import _
from cropland.mapping.clean import grid_of
from cropland.mapping.outlines import Traced, trace_cell
from cropland.mapping.seams import Regions, join_cells
from cropland.mapping.spill import Spill
from cropland.progress import each as timed
from cropland.progress import in_threads

__all__ = ["CELL", "Parcels", "Spread", "find_parcels"]

CELL = 1024  # pixels between two lines of the lattice, on which outlines are held: a part of the result
ROWS = 8192  # of a chunk of the table, which is what a reader of a place skips or reads
Spread = Callable[[Callable[[Window], Traced], Iterable[Window]], Iterator[Traced]]


@dataclass(frozen=True)
class Parcels:
    """Parcels in the order of a Hilbert curve, so that neighbours on the ground are neighbours in a file.

    Columns are those of fiboa: id, area (ha on the ellipsoid), perimeter (m, with holes), determination_method,
    determination_datetime (the time of the image, UTC) and mean_probability (0..1, over the pixels of the mask; missing
    without a probability). Source: github.com/fiboa/specification, version 0.2.0.
    """

    spill: Spill
    crs: Any
    observed: datetime | None

    def __len__(self) -> int:
        return len(self.spill)

    @property
    def area_ha(self) -> float:
        """The area of all of them."""
        return float(self.spill.figures("area").sum(dtype=np.float64))

    def chunks(self, rows: int = ROWS) -> Iterator[GeoDataFrame]:
        """The table in pieces of so many rows; one without rows if there is no parcel."""
        order = np.argsort(self.spill.figures("place"), kind="stable")
        figures = {name: self.spill.figures(name)[order] for name in ("area", "perimeter", "mean_probability")}
        for start in range(0, max(len(order), 1), rows):
            numbers = order[start : start + rows]
            here = {name: values[start : start + rows] for name, values in figures.items()}
            yield self._frame(start, self.spill.polygons(numbers), here)

    def _frame(self, start: int, polygons: np.ndarray, figures: dict[str, np.ndarray]) -> GeoDataFrame:
        count = len(polygons)
        columns = {
            "id": pd.Series([str(number) for number in range(start + 1, start + count + 1)], dtype="str"),
            "area": figures["area"],
            "perimeter": figures["perimeter"],
            "determination_method": pd.Series(["auto-imagery"] * count, dtype="str"),
            "determination_datetime": pd.Series([pd.Timestamp(self.observed)] * count, dtype="datetime64[ms, UTC]"),
            "mean_probability": figures["mean_probability"],
        }
        return GeoDataFrame(columns, geometry=GeoSeries(polygons, crs=self.crs), crs=self.crs)


@contextmanager
def find_parcels(
    mask: Path,
    *,
    probability: Path | None = None,
    simplify_m: float | None = None,
    unit_m: float | None = None,
    observed: datetime | None = None,
    folder: Path | None = None,
    cell: int = CELL,
    spread: Spread = in_threads,
) -> Iterator[Parcels]:
    """The parcels of a clean mask (0, 1, 255) of any size, in its own CRS.

    Polygons are valid and do not overlap; they depend on the mask and on `cell` alone. simplify_m: one pixel if not
    given. unit_m: metres per unit of the coordinates, without a CRS. folder: for a temporary file as large as the
    parcels. spread: a `map` that may work on many cells at a time. Raises `GridError` where areas cannot be known or
    the two rasters do not fit.
    """
    with rasterio.open(mask) as source, TemporaryFile(dir=folder) as file:
        grid = grid_of(source)
        if probability is not None:
            _check_grid(probability, source)
        tolerance = 1.0 if simplify_m is None else simplify_m / pixel_edge_m(grid, unit_m=unit_m)
        trace = partial(trace_cell, mask, probability, tolerance=tolerance)
        cells = [tile.core for tile in tiles(source.shape, size=cell, halo=0, stride=1)]
        traced = zip(cells, spread(trace, cells), strict=True)
        rows = ([each for _, each in row] for _, row in groupby(traced, key=lambda pair: pair[0].row))
        spill = Spill(file)
        for regions in timed("seams", join_cells(timed("outlines", rows))):
            _measure(regions, grid, source.crs, spill, unit_m=unit_m)
        yield Parcels(spill, source.crs, observed)


def _check_grid(probability: Path, mask: DatasetReader) -> None:
    with rasterio.open(probability) as source:
        if source.shape != mask.shape or not source.transform.almost_equals(mask.transform, 1e-6):
            raise GridError(
                _(
                    "{name} is not on the grid of the mask; give the one that the mask was made from",
                    name=probability.name,
                )
            )


def _measure(regions: Regions, grid: GeoBox, crs: Any, spill: Spill, *, unit_m: float | None) -> None:
    """Put regions with their figures into the spill."""
    shapes = GeoSeries(_placed(regions.polygons, grid), crs=crs)
    known, levels = regions.sums
    middle = grid.affine @ (grid.shape[1] / 2, grid.shape[0] / 2)
    means = np.divide(levels, known * 254, out=np.full(len(known), np.nan), where=known > 0)
    some = len(shapes) > 0
    area = ellipsoidal_area_m2(shapes, unit_m=unit_m, middle=middle) / 1e4 if some else np.zeros(0)
    perimeter = ellipsoidal_length_m(shapes, unit_m=unit_m) if some else np.zeros(0)
    bounds = grid.boundingbox.bbox
    figures: dict[str, Any] = {
        "place": shapes.hilbert_distance(total_bounds=bounds).to_numpy() if some else np.zeros(0, np.uint32),
        "area": np.float32(area),
        "perimeter": np.float32(perimeter),
        "mean_probability": np.float32(means),
    }
    spill.add(shapes.to_numpy(), figures)


def _placed(polygons: np.ndarray, grid: GeoBox) -> np.ndarray:
    """Polygons in the coordinates of the grid's CRS, shells counterclockwise."""
    a, b, c, d, e, f = grid.affine[:6]
    matrix, origin = np.array([[a, d], [b, e]]), np.array([c, f])
    placed: np.ndarray = shapely.orient_polygons(shapely.transform(polygons, lambda points: points @ matrix + origin))
    return placed
