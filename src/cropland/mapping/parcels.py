"""Parcels: polygons of cropland with their area, perimeter and mean probability."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import pandas as pd
import rasterio
from geopandas import GeoDataFrame
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rich.console import Console

from cropland.errors import GridError, InputError, OutputError, SceneError
from cropland.geo.area import area_words, pixel_edge_m
from cropland.language import _
from cropland.mapping.clean import by_value, clean_mask, grid_of
from cropland.mapping.find_parcels import find_parcels
from cropland.mapping.least_area import MU_M2, default_min_area_m2
from cropland.options import ABOVE_0, NOT_NEGATIVE
from cropland.writers.geojson import write_geojson
from cropland.writers.geopackage import write_geopackage
from cropland.writers.geoparquet import write_geoparquet

__all__ = ["command", "parcels"]

WRITERS: dict[str, Callable[[Iterable[GeoDataFrame], Path], None]] = {
    ".parquet": write_geoparquet,
    ".gpkg": write_geopackage,
    ".geojson": write_geojson,
}


def command(
    mask: Path,
    *,
    out: Path | None = None,
    probability: Path | None = None,
    value: float = 1,
    min_area_m2: Annotated[float | None, NOT_NEGATIVE] = None,
    min_area_mu: Annotated[float | None, NOT_NEGATIVE] = None,
    simplify_m: Annotated[float | None, NOT_NEGATIVE] = None,
    pixel_m: Annotated[float | None, ABOVE_0] = None,
) -> None:
    """Turn a mask into parcels: polygons with their area, perimeter and mean probability.

    Specks and holes below the least area are removed first. Edges of parcels are smoothed, never crossing.

    Example:
        cropland parcels mask.tif --out parcels.gpkg --min-area-mu 1

    Parameters
    ----------
    mask
        A raster of classes, 1 for cropland.
    out
        .parquet (GeoParquet), .gpkg or .geojson; MASK_parcels.parquet beside the mask if not given.
    probability
        probability.tif of the same grid, for the mean probability of each parcel.
    value
        The class that is cropland.
    min_area_m2
        Least area of a parcel and of a hole, in m2; 400 or ten pixels if not given, 0 to keep all.
    min_area_mu
        The same in mu (1 mu is 10000/15 m2).
    simplify_m
        How far simplification may go, in metres; one pixel if not given, 0 for none.
    pixel_m
        Edge of a pixel in metres, for a mask without a CRS.
    """
    out = out or mask.with_name(f"{mask.stem}_parcels.parquet")
    write = WRITERS.get(out.suffix.lower())
    if write is None:
        raise OutputError(
            _("{name}: no format of that ending; use {writers}", name=out.name, writers=", ".join(WRITERS))
        )
    with _opened(mask) as source, TemporaryDirectory(prefix="cropland-") as folder:
        _check_classes(source, value)
        unit_m = _unit_m(source, pixel_m)
        least_m2 = _min_area_m2(min_area_m2, min_area_mu, pixel_m=pixel_edge_m(grid_of(source), unit_m=unit_m))
        cleaned = Path(folder) / "mask.tif"
        classify = by_value(value, nodata=source.nodata)
        clean_mask(mask, cleaned, classify=classify, min_area_m2=least_m2, unit_m=unit_m)
        how: dict[str, Any] = {"probability": probability, "simplify_m": simplify_m, "unit_m": unit_m}
        with find_parcels(cleaned, **how, folder=Path(folder)) as found:
            write(found.chunks(), out)
            count, area_ha = len(found), found.area_ha
    console = Console()
    console.print(
        _(
            "{count:,} parcels, {area} (least area {least_m2:g} m2)",
            count=count,
            area=area_words(area_ha, digits=2),
            least_m2=least_m2,
        ),
        highlight=False,
    )
    console.print(out, soft_wrap=True, highlight=False, markup=False)


def parcels(
    mask: Path,
    *,
    probability: Path | None = None,
    simplify_m: float | None = None,
    unit_m: float | None = None,
    observed: datetime | None = None,
) -> GeoDataFrame:
    """All parcels of a clean mask in one table, where memory holds it; see `find_parcels`."""
    how: dict[str, Any] = {"simplify_m": simplify_m, "unit_m": unit_m, "observed": observed}
    with find_parcels(mask, probability=probability, **how) as found:
        return pd.concat(found.chunks(), ignore_index=True)


@contextmanager
def _opened(raster: Path) -> Iterator[DatasetReader]:
    try:
        with rasterio.open(raster) as source:
            yield source
    except RasterioError as error:
        raise SceneError(
            _("{name} cannot be read ({error}); expected a raster of classes", name=raster.name, error=error)
        ) from error


def _unit_m(source: DatasetReader, pixel_m: float | None) -> float | None:
    """Metres per unit of the coordinates for a raster without a CRS."""
    if source.crs:
        return None
    if pixel_m is None:
        raise GridError(
            _(
                "{name} has no CRS, so areas are not known; give the edge of a pixel with --pixel-m",
                name=Path(source.name).name,
            )
        )
    return pixel_m / sqrt(abs(source.transform.determinant))


def _check_classes(source: DatasetReader, value: float) -> None:
    """Refuse a raster that is evidently no mask of `value`, by a look at up to 1000 x 1000 of its pixels."""
    name = Path(source.name).name
    if source.count != 1:
        raise SceneError(
            _(
                "{name} has {count} bands, expected one of classes; make a mask with `cropland map`",
                name=name,
                count=source.count,
            )
        )
    sample = source.read(1, out_shape=tuple(min(1000, length) for length in source.shape))
    others = sorted(set(np.unique(sample).tolist()) - {0, 255, source.nodata})
    if others and value not in others:
        seen = ", ".join(f"{other:g}" for other in others[:8])
        raise SceneError(
            _(
                "{name} has the values {seen} and no {value:g}; say which is cropland with --value",
                name=name,
                seen=seen,
                value=value,
            )
        )


def _min_area_m2(given_m2: float | None, given_mu: float | None, *, pixel_m: float) -> float:
    if given_m2 is not None and given_mu is not None:
        raise InputError(_("the least area came twice; give --min-area-m2 or --min-area-mu"))
    if given_mu is not None:
        return given_mu * MU_M2
    return default_min_area_m2(pixel_m) if given_m2 is None else given_m2
