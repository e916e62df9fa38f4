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
from geopandas import GeoSeries
from jaxtyping import Float64, Int64, UInt8
from pyproj import CRS
from rasterio import Affine
from rasterio.features import rasterize

from cropland.errors import InputError, LabelError
from cropland.evaluation.subject import NamedGrid
from cropland.geo.area import MU_PER_HA, ellipsoidal_area_m2
from cropland.geo.coverage import in_pixels
from cropland.geo.features import VectorLayer, open_layer
from cropland.geo.grid import check_frames
from cropland.geo.vectors import areas_of, check_columns, crs_of, only_areas
from cropland.geo.window import Window
from cropland.language import Message
from cropland.parcels.parcels import PolygonStore

__all__ = ["CROPLAND", "OTHER", "UNKNOWN", "HeldPolygons", "PolygonOptions", "hold_polygons"]

CROPLAND, OTHER, UNKNOWN = 1, 0, 255
# China's land survey, GB/T 21010-2017: 0101 paddy, 0102 irrigated, 0103 dry land.
FIELD, CODES = "DLBM", ("0101", "0102", "0103")
PIECE = {True: 0.01, False: 1000.0}  # longest edge in degrees or metres that is nearly straight in another CRS
FARTHEST = {True: 400.0, False: 1e8}  # coordinate that a place can have, in degrees or metres
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
        object.__setattr__(self, "by", tuple(dict.fromkeys(self.by)))
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
        survey = next((name for name in layer.fields if name.upper() == FIELD), None)
        column = options.code or survey
        if column is None and options.cropland_codes:
            raise InputError("--cropland-codes are values of a column; name it with --code COLUMN")
        if column not in (None, survey) and not options.cropland_codes:
            raise InputError(
                "which values of {column} are cropland? Give them with --cropland-codes, as in 0101 0102", column=column
            )
        codes = tuple(each for given in options.cropland_codes or CODES for each in str(given).split(","))
        return Coding(column, codes, OTHER if options.background == "known" else UNKNOWN)

    def classes(self, values: pd.Series) -> UInt8[np.ndarray, " polygon"]:
        """1 cropland, 0 not, 255 without a code. Numbers are compared as numbers: 101 is the code 0101."""
        text = as_text(values)
        is_crop = text.isin(self.codes)
        if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype):
            is_crop = pd.to_numeric(text, errors="coerce").isin(
                pd.to_numeric(pd.Series(self.codes), errors="coerce").dropna()
            )
        return np.where(text == "", UNKNOWN, np.where(is_crop, CROPLAND, OTHER)).astype(np.uint8)


def as_text(values: pd.Series) -> pd.Series:
    """Values as text without blanks around it, "" where there is none; whole numbers without a point."""
    whole = values.convert_dtypes() if pd.api.types.is_float_dtype(values.dtype) else values
    return whole.astype("string").fillna("").str.strip().astype(object)


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

    def over(self, window: Window) -> Int64[np.ndarray, " polygon"]:
        """The numbers of the polygons whose bounds meet a window."""
        row, col, height, width = window
        return self.near((col, row, col + width, row + height))

    def draw(self, window: Window, *, outside: int | None = None) -> UInt8[np.ndarray, "height width"]:
        """What the polygons say of every pixel of a window, by its centre; cropland lies over everything else.

        outside: what lies in no polygon, if not as the coding says.
        """
        fill, numbers = self.coding.outside if outside is None else outside, self.over(window)
        numbers = numbers[np.argsort(DRAW_ORDER[self.coded[numbers]], kind="stable")]
        if not len(numbers):
            return np.full(window.shape, fill, np.uint8)
        pairs = zip(self.store.polygons(numbers), self.coded[numbers].tolist(), strict=True)
        place = Affine.translation(window.col, window.row)
        drawn: np.ndarray = rasterize(pairs, window.shape, fill=fill, transform=place, dtype="uint8")
        return drawn


DRAW_ORDER = np.zeros(256, np.uint8)
DRAW_ORDER[[OTHER, UNKNOWN, CROPLAND]] = 0, 1, 2


def hold_polygons(
    path: Path, ground: NamedGrid, file: BinaryIO, *, options: PolygonOptions, allow_datum_shift: bool
) -> HeldPolygons:
    """Read the polygons of a layer once, onto the grid of a map; `file` holds them.

    Raises `LabelError` for a column that is not there, ids that are not distinct, an area that is no number, no code of
    cropland, and a layer that does not meet the grid; `GridError` for a frame that PROJ cannot join with that of the
    map.
    """
    opened = open_layer(path, layer=options.layer, encoding=options.encoding)
    crs, coding = crs_of(opened), Coding.of(options, opened)
    keys = [*dict.fromkeys(each for each in (coding.column, options.id, options.owner, *options.by) if each)]
    needed = [*dict.fromkeys([*keys, *([options.insured] if options.insured else [])])]
    check_columns(opened, needed, encoding=options.encoding)
    check_frames(crs, CRS.from_user_input(str(ground.grid.crs)), allow_datum_shift=allow_datum_shift)
    store, parts, tables, repaired, without = PolygonStore(file), [], [], 0, 0
    for attributes, wkb in opened.batches(needed):
        areas, mended = areas_of(wkb)
        shapes = _on_earth(areas, crs)
        pixels = _in_pixels(shapes, ground)
        store.add(pixels, {})
        parts.append((shapely.bounds(pixels), ellipsoidal_area_m2(shapes)))
        tables.append(attributes)
        repaired, without = repaired + mended, without + int(shapes.is_empty.sum())
    if not tables:
        raise LabelError("{name} has no feature; give a layer of polygons", name=path.name)
    table = pd.concat(tables, ignore_index=True)
    if without == len(table):
        raise LabelError("{name} has no polygon with an area; give a layer of polygons", name=path.name)
    bounds, area_m2 = (np.concatenate(each) for each in zip(*parts, strict=True))
    _check_ids(table, options.id, path)
    coded = coding.classes(table[coding.column]) if coding.column else np.full(len(table), CROPLAND, np.uint8)
    told = {"repaired": repaired, "without": without, "uncoded": int((coded == UNKNOWN).sum())}
    held = HeldPolygons(
        opened,
        store,
        bounds,
        area_m2,
        coded,
        {name: pd.Categorical(as_text(table[name])) for name in keys},
        _insured_ha(table, options, path),
        options,
        coding,
        tuple(_notes(opened, coding, **told)),
    )
    if not len(held.over(Window(0, 0, *ground.shape))):
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
            values=", ".join(each or "NULL" for each in held.keys[coding.column].categories[:SHOWN]),
        )
    return held


def _on_earth(areas: np.ndarray, crs: CRS) -> GeoSeries:
    """The polygons; empty for those that have no area, or coordinates that are nowhere on the Earth."""
    found = areas.copy()
    far = FARTHEST[crs.is_geographic]
    found[~(np.abs(shapely.bounds(found)) < far).all(axis=1)] = shapely.Polygon()
    west, south, east, north = shapely.bounds(GeoSeries(found, crs=crs).to_crs(4326).to_numpy()).T
    is_there = np.isfinite(west) & np.isfinite(east) & (np.abs(south) <= 90.001) & (np.abs(north) <= 90.001)
    found[~is_there] = shapely.Polygon()
    return GeoSeries(found, crs=crs)


def _in_pixels(shapes: GeoSeries, ground: NamedGrid) -> np.ndarray:
    """The polygons in columns and rows of a grid, valid there too, and empty where they are nowhere near it."""
    placed = _moved(shapes, ground)
    lost = ~np.isfinite(shapely.bounds(placed)).all(axis=1) & ~shapes.is_empty.to_numpy()
    if lost.any():  # they reach to where the CRS of the map does not
        box = shapely.box(*ground.grid.extent.to_crs(shapes.crs).boundingbox.bbox)
        placed[lost] = _moved(shapes[lost].intersection(box.buffer(0.02 * box.length)), ground)
    placed[~np.isfinite(shapely.bounds(placed)).all(axis=1)] = shapely.Polygon()
    pixels = in_pixels(placed, ground.grid.affine)
    broken = ~shapely.is_valid(pixels)  # two edges that touch in one CRS may cross in another
    pixels[broken] = only_areas(shapely.make_valid(pixels[broken]))
    return pixels


def _moved(shapes: GeoSeries, ground: NamedGrid) -> np.ndarray:
    target = CRS.from_user_input(str(ground.grid.crs))
    fine = shapes if shapes.crs == target else shapes.segmentize(PIECE[shapes.crs.is_geographic])
    moved: np.ndarray = fine.to_crs(target).to_numpy()
    return moved.copy()


def _check_ids(table: pd.DataFrame, column: str | None, path: Path) -> None:
    if column is None:
        return
    ids = as_text(table[column])
    if len(twice := ids[ids.duplicated()]):
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
    if (foreign := given[~((found >= 0) & np.isfinite(found))]).size:
        raise LabelError(
            "{name} has {values} in {column}, expected areas of 0 or more",
            name=path.name,
            values=", ".join(foreign.unique()[:SHOWN]),
            column=options.insured,
        )
    insured: np.ndarray = found / (MU_PER_HA if options.insured_mu else 1)
    return insured


def _notes(layer: VectorLayer, coding: Coding, *, repaired: int, without: int, uncoded: int) -> Iterator[str]:
    path = layer.path
    if layer.left_out:
        yield Message(
            "Columns of {name} that hold lists or other structures are left out: {names}.",
            name=path.name,
            names=", ".join(layer.left_out),
        )
    if repaired:
        yield Message("{count} polygons of {name} were not valid and are repaired.", count=repaired, name=path.name)
    if without:
        yield Message(
            "{count} features of {name} have no area on the Earth, and no figures.", count=without, name=path.name
        )
    if uncoded:
        yield Message(
            "{count} polygons of {name} have no code: they are measured, and not ranked.", count=uncoded, name=path.name
        )
    if coding.column:
        yield Message(
            "Polygons with {codes} in {column} are cropland, those with another code are not.",
            codes=", ".join(coding.codes),
            column=coding.column,
        )
    else:
        yield Message("All polygons of {name} are taken as cropland; --code names a column of codes.", name=path.name)
