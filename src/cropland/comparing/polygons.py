"""The polygons of a survey or of an insurer, in their own order, on the grid of a map: what is kept of each while they
are compared, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import numpy as np
import pandas as pd
import shapely
from cyclopts import Parameter
from geopandas import GeoDataFrame
from jaxtyping import Float64, Int64, UInt8
from rasterio import Affine
from rasterio.features import rasterize

from cropland.errors import InputError, LabelError
from cropland.evaluation.subject import NamedGrid
from cropland.geo.area import MU_PER_HA, ellipsoidal_area_m2
from cropland.geo.coverage import in_pixels
from cropland.geo.features import VectorLayer, open_layer
from cropland.geo.vectors import areas_of, to_grid_crs
from cropland.geo.window import Window
from cropland.language import Message
from cropland.parcels.parcels import PolygonStore

__all__ = ["CROPLAND", "OTHER", "UNKNOWN", "HeldPolygons", "PolygonOptions", "as_text", "hold_polygons"]

CROPLAND, OTHER, UNKNOWN = 1, 0, 255
# China's land survey, GB/T 21010-2017: 0101 paddy, 0102 irrigated, 0103 dry land.
FIELD, CODES = "DLBM", ("0101", "0102", "0103")
SHOWN = 20  # values that an error lists


@Parameter(name="*")
@dataclass(frozen=True)
class PolygonOptions:
    """What is known of the polygons.

    Parameters
    ----------
    layer
        The layer of a file with several, such as a .gdb.
    encoding
        The encoding of the attributes of a shapefile that names none, as in GBK.
    code
        The column that says what the ground of a polygon is. Default: DLBM where there is one, as in China's land
        survey; without a column, all polygons are cropland.
    cropland_codes
        The codes of cropland; 0101 0102 0103 for DLBM if not given.
    background
        What lies in no polygon: known (it is not cropland) or unknown, the default (nobody says what it is).
    id
        A column of distinct values by which the report names a polygon; its number in the file if not given.
    by
        Columns to add up by, as of regions.
    insured_ha
        The column of the insured area in hectares, 0 or empty where nothing is insured.
    insured_mu
        The same in mu (15 to the hectare).
    owner
        The column of the owner, to find the plots that the owner of an insured plot left without insurance.
    """

    layer: str | None = None
    encoding: str | None = None
    code: str | None = None
    cropland_codes: Annotated[tuple[str, ...] | None, Parameter(consume_multiple=True)] = None
    background: Literal["known", "unknown"] | None = None
    id: str | None = None
    by: Annotated[tuple[str, ...], Parameter(consume_multiple=True)] = ()
    insured_ha: str | None = None
    insured_mu: str | None = None
    owner: str | None = None

    def __post_init__(self) -> None:
        for name in ("cropland_codes", "by"):
            if isinstance(one := getattr(self, name), str):  # a notebook gives a single one
                object.__setattr__(self, name, (one,))
        if self.insured_ha and self.insured_mu:
            raise InputError("--insured-ha and --insured-mu name the same area; give one of them")
        if self.owner and not self.insured:
            raise InputError("--owner finds plots without insurance; name the insured area with --insured-ha COLUMN")

    @property
    def insured(self) -> str | None:
        """The column of the insured area."""
        return self.insured_ha or self.insured_mu


@dataclass(frozen=True)
class Coding:
    """What polygons say of their ground: the column of codes, None where all are cropland, and the codes of cropland.

    outside: ground in no polygon, `OTHER` or `UNKNOWN`.
    """

    column: str | None
    codes: tuple[str, ...]
    outside: int

    @staticmethod
    def of(options: PolygonOptions, layer: VectorLayer) -> Coding:
        """As the options say, else as the layer does. Raises `InputError` for codes without a column, and for a column
        other than DLBM without codes."""
        column = options.code or (FIELD if FIELD in layer.fields else None)
        if column is None and options.cropland_codes:
            raise InputError("--cropland-codes are values of a column; name it with --code COLUMN")
        if column not in (None, FIELD) and not options.cropland_codes:
            raise InputError(
                "which values of {column} are cropland? Give them with --cropland-codes, as in 0101 0102", column=column
            )
        codes = tuple(each for given in options.cropland_codes or CODES for each in str(given).split(","))
        return Coding(column, codes, OTHER if options.background == "known" else UNKNOWN)

    def classes(self, values: pd.Series) -> UInt8[np.ndarray, " polygon"]:
        """1 cropland, 0 not, 255 without a code. Numbers are compared as numbers: 101 is the code 0101."""
        if pd.api.types.is_numeric_dtype(values.dtype):
            numbers = {float(code) for code in self.codes if code.lstrip("0").replace(".", "", 1).isdigit()}
            is_crop, is_empty = values.astype("Float64").isin(numbers), values.isna()
        else:
            text = as_text(values)
            is_crop, is_empty = text.isin(self.codes), text == ""
        return np.where(is_empty, UNKNOWN, np.where(is_crop, CROPLAND, OTHER)).astype(np.uint8)


def as_text(values: pd.Series) -> pd.Series:
    """Values as text without blanks around it, "" where there is none; whole numbers without a point."""
    return values.convert_dtypes().astype("string").fillna("").str.strip().astype(object)


@dataclass(frozen=True, eq=False)
class HeldPolygons:
    """The polygons of a layer in its order, number 0 first; those without an area are there too, and meet nothing.

    bounds: columns and rows of the grid, not a number without an area. area_m2: on the ellipsoid. coded: 1 cropland,
    0 not, 255 nothing. keys: the text of the columns of codes, ids, owners and of those to add up by.
    """

    layer: VectorLayer
    store: PolygonStore
    bounds: Float64[np.ndarray, "polygon 4"]
    area_m2: Float64[np.ndarray, " polygon"]
    coded: UInt8[np.ndarray, " polygon"]
    keys: Mapping[str, pd.Categorical]
    insured_ha: Float64[np.ndarray, " polygon"] | None
    options: PolygonOptions
    coding: Coding
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.area_m2)

    def near(self, box: Sequence[float]) -> Int64[np.ndarray, " polygon"]:
        """The numbers of the polygons whose bounds meet a box: first column and row, last column and row."""
        west, north, east, south = self.bounds.T
        return np.flatnonzero((west <= box[2]) & (east >= box[0]) & (north <= box[3]) & (south >= box[1]))

    def draw(self, window: Window) -> UInt8[np.ndarray, "height width"]:
        """What the polygons say of every pixel of a window, by its centre; cropland lies over everything else."""
        row, col, height, width = window
        numbers = self.near((col, row, col + width, row + height))
        numbers = numbers[np.argsort(RANK[self.coded[numbers]], kind="stable")]
        if not len(numbers):
            return np.full(window.shape, self.coding.outside, np.uint8)
        pairs = zip(self.store.polygons(numbers), self.coded[numbers].tolist(), strict=True)
        drawn: np.ndarray = rasterize(
            pairs, window.shape, fill=self.coding.outside, transform=Affine.translation(col, row), dtype="uint8"
        )
        return drawn


RANK = np.zeros(256, np.uint8)
RANK[[OTHER, UNKNOWN, CROPLAND]] = 0, 1, 2  # drawn in this order


def hold_polygons(
    path: Path, ground: NamedGrid, file: BinaryIO, *, options: PolygonOptions, allow_datum_shift: bool
) -> HeldPolygons:
    """Read the polygons of a layer once, onto the grid of a map; `file` holds them.

    Raises `LabelError` for a column that is not there, ids that are not distinct, an area that is no number, no code of
    cropland, and a layer that does not meet the grid; `GridError` for a frame that PROJ cannot join with that of the
    map.
    """
    opened = open_layer(path, layer=options.layer, encoding=options.encoding)
    if opened.crs is None:
        raise LabelError(
            "{name} has no coordinate reference system; write it into the file: ogr2ogr -a_srs "
            "EPSG:CODE {stem}_crs.gpkg {path}",
            name=path.name,
            stem=path.stem,
            path=path,
        )
    coding = Coding.of(options, opened)
    keys = [*dict.fromkeys(each for each in (coding.column, options.id, options.owner, *options.by) if each)]
    needed = [*dict.fromkeys([*keys, *([options.insured] if options.insured else [])])]
    if missing := [name for name in needed if name not in opened.fields]:
        raise LabelError(
            "{name} has no column '{column}'; it has {columns}",
            name=path.name,
            column=missing[0],
            columns=", ".join(opened.fields),
        )
    store, parts, tables, repaired, without = PolygonStore(file), [], [], 0, 0
    for attributes, wkb in opened.batches(needed):
        areas, mended = areas_of(wkb)
        shapes = GeoDataFrame(geometry=areas, crs=opened.crs)
        placed = to_grid_crs(shapes, ground.grid.crs, allow_datum_shift=allow_datum_shift, exact=True).geometry
        pixels = in_pixels(placed.fillna(shapely.Polygon()).to_numpy(), ground.grid.affine)
        far = ~np.isfinite(shapely.bounds(pixels)).all(axis=1)  # none, or where the CRS of the map does not reach
        pixels[far] = shapely.Polygon()
        store.add(pixels, {})
        parts.append((shapely.bounds(pixels), ellipsoidal_area_m2(shapes.geometry.fillna(shapely.Polygon()))))
        tables.append(attributes)
        repaired, without = repaired + mended, without + int((areas == None).sum())  # noqa: E711 - of each
    if not tables:
        raise LabelError("{name} has no feature; give a layer of polygons", name=path.name)
    table = pd.concat(tables, ignore_index=True)
    bounds, area_m2 = (np.concatenate(each) for each in zip(*parts, strict=True))
    _check_ids(table, options.id, path)
    height, width = ground.shape
    held = HeldPolygons(
        opened,
        store,
        bounds,
        area_m2,
        coding.classes(table[coding.column]) if coding.column else np.full(len(table), CROPLAND, np.uint8),
        {name: pd.Categorical(as_text(table[name])) for name in keys},
        _insured_ha(table, options, path),
        options,
        coding,
        tuple(_notes(path, coding, repaired=repaired, without=without)),
    )
    if not len(held.near((0, 0, width, height))):
        raise LabelError(
            "no polygon of {name} lies on the map {map}; give the map of this place", name=path.name, map=ground.name
        )
    if coding.column and not (held.coded == CROPLAND).any():
        raise LabelError(
            "no polygon of {name} has one of the codes {codes} in {column}, which has {values}; give those of cropland "
            "with --cropland-codes",
            name=path.name,
            codes=", ".join(coding.codes),
            column=coding.column,
            values=", ".join(map(str, held.keys[coding.column].categories[:SHOWN])),
        )
    return held


def _check_ids(table: pd.DataFrame, column: str | None, path: Path) -> None:
    if column is None:
        return
    ids = as_text(table[column])
    if (twice := ids[ids.duplicated()]).any():
        raise LabelError(
            "{name} has {column} {ids} more than once; give another --id, or make them distinct",
            name=path.name,
            column=column,
            ids=", ".join([*dict.fromkeys(each or "NULL" for each in twice)][:SHOWN]),
        )


def _insured_ha(table: pd.DataFrame, options: PolygonOptions, path: Path) -> Float64[np.ndarray, " polygon"] | None:
    """The insured hectares of every polygon, 0 where there are none."""
    if options.insured is None:
        return None
    given = as_text(table[options.insured])
    found = pd.to_numeric(given.where(given != "", "0"), errors="coerce").to_numpy(np.float64)
    if (foreign := given[~(found >= 0)]).size:
        raise LabelError(
            "{name} has {values} in {column}, expected areas of 0 or more",
            name=path.name,
            values=", ".join(foreign.unique()[:SHOWN]),
            column=options.insured,
        )
    insured: np.ndarray = found / (MU_PER_HA if options.insured_mu else 1)
    return insured


def _notes(path: Path, coding: Coding, *, repaired: int, without: int) -> Iterator[str]:
    if repaired:
        yield Message("{count} polygons of {name} were not valid and are repaired.", count=repaired, name=path.name)
    if without:
        yield Message("{count} features of {name} have no area and no figures.", count=without, name=path.name)
    if coding.column:
        yield Message(
            "Polygons with {codes} in {column} are cropland, those with another code are not.",
            codes=", ".join(coding.codes),
            column=coding.column,
        )
    else:
        yield Message("All polygons of {name} are taken as cropland; --code names a column of codes.", name=path.name)
