"""Labels from polygons and rasters: 1 cropland, 0 not cropland, 255 unknown.

Labels are matched to a scene once and then drawn window by window: memory holds one chip, whatever the scene's size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from cyclopts import Parameter
from jaxtyping import Float64, Int32, UInt8
from odc.geo.geobox import GeoBox
from pandas.api.types import is_numeric_dtype
from rasterio.features import rasterize
from rasterio.io import DatasetReader
from rasterio.warp import Resampling, reproject

from cropland.data.corrections import read_corrections
from cropland.errors import LabelError, Option, SceneError
from cropland.geo.features import open_layer
from cropland.geo.map_folder import MapFolder
from cropland.geo.reading import Layer, dataset, read_layers
from cropland.geo.vectors import Notes, Polygons, describe_fields, fields, open_polygons
from cropland.geo.window import Window
from cropland.language import Message

__all__ = [
    "CROPLAND",
    "OTHER",
    "UNKNOWN",
    "Draw",
    "LabelOptions",
    "Labels",
    "Placed",
    "PolygonLabels",
    "RasterLabels",
    "cropland_polygons",
    "is_raster",
    "raster_on",
    "read_labels",
]

CROPLAND, OTHER, UNKNOWN = 1, 0, 255
MEANINGS = ("layer", "where", "preset", "encoding", "background", "inside", "unknown_where", "classes")
SAME_PLACE = 1e-3  # pixels between two grids that are the same
VALUES = {"cropland": CROPLAND, "other": OTHER, "known": OTHER, "unknown": UNKNOWN}

DONE = "done"  # the column of windows in which a person ticks those that are labelled
# Of rasters of labels. No JPEG: its values are not those that somebody drew.
SUFFIXES = (".tif", ".tiff", ".png", ".img", ".vrt", ".jp2", ".bmp", ".gif")
ENTRY = re.compile(r"(\*|[-+]?\d+(?:\.\d+)?)=(0|1|255)")

Geometries = np.ndarray  # of shapely geometries
Values = Float64[np.ndarray, "height width"]
Label = UInt8[np.ndarray, "height width"]
Fields = Int32[np.ndarray, "height width"]


@dataclass(frozen=True)
class Draw:
    """Draws the label of a window of a scene's own grid. notes: what was left out, in sentences.

    fields: draws the number of the field that a pixel lies in, 0 for none; None where only a mask is known.
    is_outlined: the outlines of fields are known boundaries also where unknown ground lies beyond them.
    """

    paint: Callable[[Window], Label]
    notes: tuple[str, ...] = ()
    fields: Callable[[Window], Fields] | None = None
    is_outlined: bool = False

    def __call__(self, window: Window) -> Label:
        return self.paint(window)


class Placed(Protocol):
    """What lies on a grid and has a name: a scene, or a grid alone."""

    @property
    def name(self) -> str:
        """What errors call it, and the name of its raster in a folder of labels."""

    @property
    def grid(self) -> GeoBox:
        """Where its pixels lie."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""


class Labels(Protocol):
    """Labels that can be drawn on the grid of any scene that they meet."""

    def on(self, scene: Placed) -> Draw:
        """The function that draws the label of a window of the scene's own grid.

        Raises `LabelError` if the labels do not meet the scene.
        """


class Preset(NamedTuple):
    """A survey's own codes: their field, and SQL for the polygons of cropland and for those of known cover."""

    field: str
    cropland: str
    known: str


PRESETS = {
    # China's third national land survey, GB/T 21010-2017: 0101 paddy, 0102 irrigated, 0103 dry land. Orchards (02),
    # grass (04) and land that could be turned back into cropland (a K behind the code) count as what they are today.
    "dlbm": Preset("DLBM", "DLBM IN ('0101', '0102', '0103')", known="DLBM IS NOT NULL AND DLBM <> ''")
}


@Parameter(name="*")
@dataclass(frozen=True)
class LabelOptions:
    """Where labels come from and what they mean.

    Parameters
    ----------
    labels
        Polygons in any format and CRS, a raster, or a folder of rasters named as the scenes are.
    layer
        The layer of a file with several, such as a .gdb.
    where
        SQL that selects the polygons that are cropland, as in "crop = 'rice'"; without it all are.
    preset
        A survey's own codes, in place of --where. dlbm: China's land survey; DLBM 0101, 0102, 0103 are cropland, every
        other DLBM is not.
    encoding
        The encoding of the attributes of a shapefile that names none, as in GBK.
    background
        What lies outside the polygons: known (it is not cropland) or unknown (nobody looked).
    inside
        Polygons of the area that was looked at; outside it everything is unknown. Of those with a column `done`, as of
        the windows of `cropland suggest`, only the ones that are done count.
    unknown_where
        SQL that selects polygons whose class is unknown.
    classes
        What a raster's values mean: 1 cropland, 0 not cropland, 255 unknown, as in "50=1,100=255,*=0".
    whole
        In place of --labels: every pixel of these scenes is cropland, or none is.
    corrections
        In place of --labels: the parcels.gpkg of a map of the scene, with wrong (it is not cropland), missing (drawn by
        a person) or redrawn (outlined by a person) in the column status of the parcels that are so. Parcels without a
        status are unknown; with --inside, parcels there without a status are right, and the rest is not cropland.
    map
        The folder of the map that was corrected; the one that the corrections lie in if not given.
    """

    labels: Path | None = None
    layer: str | None = None
    where: str | None = None
    preset: str | None = None
    encoding: str | None = None
    background: Literal["known", "unknown"] | None = None
    inside: Path | None = None
    unknown_where: str | None = None
    classes: str | None = None
    whole: Literal["cropland", "other"] | None = None
    corrections: Path | None = None
    map: Path | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "inside", "corrections", "map"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(path))  # a notebook gives text

    @staticmethod
    def of(labels: str | Path | LabelOptions | None, *, background: Literal["known", "unknown"] | None) -> LabelOptions:
        """Options from a path, or the options themselves; `background` replaces theirs where it is given."""
        options = labels if isinstance(labels, LabelOptions) else LabelOptions(labels)  # type: ignore[arg-type]
        return replace(options, background=background or options.background)

    def given(self, *names: str) -> str:
        """Those of the named options that have a value, as they are typed."""
        return ", ".join(f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None)


def read_labels(options: LabelOptions, *, allow_datum_shift: bool = False) -> Labels:
    """The labels of polygons, a raster, a folder of rasters, or one word for whole scenes.

    allow_datum_shift: allow an approximate datum transformation. Raises `LabelError` if an option is missing or does
    not suit these labels, or if no polygon is left; what lies outside polygons is never assumed.
    """
    path = options.labels
    if [path, options.whole, options.corrections].count(None) != 2:
        raise LabelError(
            "give --labels FILE, or --whole cropland or --whole other for every pixel, or --corrections FILE; one of "
            "the three"
        )
    labels: Labels
    if options.whole:
        _refuse(options, *MEANINGS, "map")
        return WholeLabels(VALUES[options.whole])
    if path is None:
        _refuse(options, *(name for name in MEANINGS if name not in ("layer", "encoding", "inside")))
        labels = _corrected(options)
    elif is_raster(path):
        _refuse(options, "layer", "where", "preset", "encoding", "background", "unknown_where", "map")
        labels = RasterLabels(path, None if options.classes is None else parse_classes(options.classes))
    else:
        labels = _polygons(path, options, allow_datum_shift=allow_datum_shift)
    if options.inside is None:
        return labels
    where, notes = _done(options.inside)
    area = ((CROPLAND, open_polygons(options.inside, where=where)),)
    return Inside(labels, PolygonLabels(area, OTHER, options.inside.name, allow_datum_shift), notes)


def _done(area: Path) -> tuple[str | None, tuple[str, ...]]:
    """SQL for what was looked at of windows that a person ticks when they are done, and a note on how many are."""
    opened = open_layer(area)
    if DONE not in opened.fields:
        return None, ()
    done = opened.table([DONE])[DONE]
    if not is_numeric_dtype(done.dropna().infer_objects()):  # as true and false are
        return None, ()  # it means something else there
    count = int((done == 1).sum())
    if not count:
        raise LabelError(
            "none of the {total} windows of {name} is done; tick `done` of each whose fields are all drawn",
            total=len(done),
            name=area.name,
        )
    return f"{DONE} = 1", (
        Message(
            "{count} of {total} windows of {name} are done; all other ground is unknown",
            count=count,
            total=len(done),
            name=area.name,
        ),
    )


def cropland_polygons(options: LabelOptions, *, columns: Sequence[str] = ()) -> Polygons | None:
    """The polygons of cropland, each a field, with these attributes; None where the labels are no polygons.

    Raises `LabelError` as `read_labels` does, and for a column that is not there.
    """
    path = options.labels
    if path is None or is_raster(path):
        return None
    (where,) = (sql for value, sql in _selections(path, options) if value == CROPLAND)
    return open_polygons(path, layer=options.layer, where=where, encoding=options.encoding, columns=columns)


def is_raster(path: Path) -> bool:
    """Whether a file of labels is a raster, or a folder of rasters. Raises `LabelError` if it is not there."""
    if not path.exists():
        raise LabelError("{path} is not there; --labels takes polygons, a raster, or a folder of rasters", path=path)
    if path.is_dir():
        return path.suffix.lower() != ".gdb"
    if path.suffix.lower() == ".csv":
        return False  # GDAL takes points on a lattice for pixels
    try:
        dataset(path)
    except SceneError:
        return False
    return True


def _polygons(path: Path, options: LabelOptions, *, allow_datum_shift: bool) -> Labels:
    _refuse(options, "classes", "map", *(["where"] if options.preset else []))
    if (
        options.inside
        and options.background == "known"
        and not len(open_layer(path, layer=options.layer, encoding=options.encoding).read(limit=1).wkb)
    ):
        # Somebody looked there and had nothing to draw.
        note = Message(
            "{name} holds no polygon: nothing within {inside} is cropland",
            name=path.name,
            inside=options.inside.name,
        )
        return WholeLabels(OTHER, (note,))
    if options.background is None:
        raise LabelError(
            "what lies outside the polygons of {name}? Give --background known (it is not "
            "cropland) or --background unknown (nobody looked); --inside AREA limits it to the "
            "area that was looked at",
            name=path.name,
        )
    layers = tuple(
        (value, open_polygons(path, layer=options.layer, where=sql, encoding=options.encoding))
        for value, sql in _selections(path, options)
    )
    return PolygonLabels(layers, VALUES[options.background], path.name, allow_datum_shift)


def _corrected(options: LabelOptions) -> OfMap:
    """Corrections as layers of polygons: what a person drew lies over what the map had there."""
    path = options.corrections
    assert path is not None, "one of the three is given"
    found = read_corrections(path, options.map, layer=options.layer, encoding=options.encoding)
    is_whole = options.inside is not None  # everything there was looked at, so what has no status is right
    if not is_whole and not len(found.wrong) + len(found.drawn):
        raise LabelError(
            "no parcel of {name} has a status: set wrong, missing or redrawn to those that are, or give --inside AREA "
            "where all of them are right",
            name=path.name,
        )
    layers = [(OTHER, found.before), (OTHER, found.wrong)]
    layers += [(CROPLAND, found.left)] if is_whole else []
    layers += [(CROPLAND, found.drawn)]
    polygons = tuple((value, Polygons.of(frame)) for value, frame in layers if len(frame))
    return OfMap(PolygonLabels(polygons, OTHER if is_whole else UNKNOWN, path.name, is_outlined=True), found.map)


def _selections(path: Path, options: LabelOptions) -> list[tuple[int, str | None]]:
    """The values and the SQL that selects the polygons of each; later ones cover earlier ones."""
    selections: list[tuple[int, str | None]] = [(CROPLAND, options.where)]
    if options.preset is not None:
        if options.preset not in PRESETS:
            raise LabelError(
                "--preset {preset} is not known; known are {presets}", preset=options.preset, presets=", ".join(PRESETS)
            )
        preset = PRESETS[options.preset]
        known = fields(path, layer=options.layer, encoding=options.encoding)
        if preset.field.upper() not in map(str.upper, known):
            raise LabelError(
                "--preset {preset} reads the field {field}, and {has}; say with --where which polygons are cropland",
                preset=options.preset,
                field=preset.field,
                has=describe_fields(path, known),
            )
        selections = [(OTHER, preset.known), (CROPLAND, preset.cropland)]
    return selections + ([(UNKNOWN, options.unknown_where)] if options.unknown_where else [])


def _refuse(options: LabelOptions, *names: str) -> None:
    if given := options.given(*names):
        path = options.labels or options.corrections
        source = path.name if path else Option(f"--whole {options.whole}")
        raise LabelError(
            "{given} does not apply to {source}: leave it out (polygons take --where or --preset and --background, a "
            "raster takes --classes, corrections take --map, --whole takes none)",
            given=Option(given),
            source=source,
        )


@dataclass(frozen=True)
class WholeLabels:
    """Image-level labels: every pixel of the scene is cropland, or none is."""

    value: int
    notes: tuple[str, ...] = ()

    def on(self, scene: Placed) -> Draw:
        """The function that fills a window with the one value."""
        return Draw(lambda window: np.full(window.shape, self.value, np.uint8), self.notes)


@dataclass(frozen=True, eq=False)
class PolygonLabels:
    """Polygons in layers, each of one value, later ones over earlier ones; `background` elsewhere."""

    layers: tuple[tuple[int, Polygons], ...]
    background: int
    source: str
    allow_datum_shift: bool = False
    is_outlined: bool = False  # of each field all of its boundary is known

    def on(self, scene: Placed) -> Draw:
        """As in `Labels`. Raises `LabelError` if no polygon meets the scene or it has no CRS."""
        if scene.grid.crs is None:
            raise LabelError(
                "{name} has no CRS, so polygons cannot be placed on it: give --crs, or a raster of its size as labels",
                name=scene.name,
            )
        extent, shift = scene.grid.extent, self.allow_datum_shift
        found = [each.meeting(extent, allow_datum_shift=shift) for _, each in self.layers]
        parts = [part.geometry.to_numpy() for part, _ in found]
        notes = tuple(dict.fromkeys(note for _, said in found for note in said))
        if not any(map(len, parts)):
            raise self._nothing(scene, notes)
        values = np.repeat([value for value, _ in self.layers], [len(part) for part in parts])
        draw = _burning(scene.grid, np.concatenate(parts), values, fill=self.background, notes=notes)
        return replace(draw, is_outlined=self.is_outlined)

    def _nothing(self, scene: Placed, notes: Notes) -> LabelError:
        """Why no polygon meets a scene."""
        polygons = self.layers[-1][1]
        bounds = polygons.bounds()
        if notes or not np.isfinite(bounds).all():
            why = notes[0] if notes else Message("{source} has no polygon with finite coordinates", source=self.source)
            return LabelError("{why}; repair the file", why=why)
        return LabelError(
            "no polygon of {source} meets {name}, at {here}; they lie at {there}: check the CRS of both",
            source=self.source,
            name=scene.name,
            here=_place(scene.grid.extent.geom, scene.grid.crs),
            there=_place(shapely.box(*bounds), polygons.crs),
        )


@dataclass(frozen=True, eq=False)
class Inside:
    """Other labels, unknown outside the area that was looked at."""

    labels: Labels
    area: PolygonLabels
    notes: tuple[str, ...] = ()

    def on(self, scene: Placed) -> Draw:
        """As in `Labels`. Raises `LabelError` if the labels or the area do not meet the scene."""
        draw, looked_at = self.labels.on(scene), self.area.on(scene)

        def paint(window: Window) -> Label:
            return np.where(looked_at(window) == CROPLAND, draw(window), np.uint8(UNKNOWN))

        return replace(draw, paint=paint, notes=(*draw.notes, *looked_at.notes, *self.notes))


@dataclass(frozen=True, eq=False)
class OfMap:
    """Labels that follow from the map of one scene, and hold for that scene alone."""

    labels: Labels
    map: MapFolder

    def on(self, scene: Placed) -> Draw:
        """As in `Labels`. Raises `LabelError` for another scene than the one that was mapped."""
        about = self.map.about.get("scene")
        if about is None:
            raise LabelError(
                "{folder} is not the map of one scene, as a mosaic is not; give the map of {name}",
                folder=self.map.path,
                name=scene.name,
            )
        there = GeoBox(tuple(about["shape"]), Affine(*about["transform"]), about["crs"])
        here, mapped = scene.grid, (about["name"], there.shape, there.crs)
        near = here.affine.almost_equals(there.affine, SAME_PLACE * sqrt(abs(there.affine.determinant)))
        if (scene.name, here.shape, here.crs) != mapped or not near:
            raise LabelError(
                "the map {folder} is of {mapped} ({height} x {width} pixels), not of {name} ({height2} x {width2}): "
                "give the scene that was mapped, or the corrections of a map of this one",
                folder=self.map.path,
                mapped=about["name"],
                height=there.height,
                width=there.width,
                name=scene.name,
                height2=here.height,
                width2=here.width,
            )
        return self.labels.on(scene)


def _burning(
    grid: GeoBox, shapes: Geometries, values: UInt8[np.ndarray, " shape"], *, fill: int, notes: tuple[str, ...]
) -> Draw:
    tree = shapely.STRtree(shapes)
    numbers = np.where(values == CROPLAND, np.arange(1, len(values) + 1), 0)

    def burn(window: Window, burnt: np.ndarray, *, fill: int, dtype: str) -> np.ndarray:
        here = grid[window.slices]
        met = np.sort(tree.query(here.extent.geom))
        if not len(met):
            return np.full(window.shape, fill, dtype)
        pairs = zip(shapes[met], burnt[met].tolist(), strict=True)  # burnt in this order
        return rasterize(pairs, window.shape, fill=fill, transform=here.affine, dtype=dtype)  # type: ignore[no-any-return]

    return Draw(
        partial(burn, burnt=values, fill=fill, dtype="uint8"),
        notes,
        partial(burn, burnt=numbers, fill=0, dtype="int32"),
    )


def _place(geometry: shapely.Geometry, crs: object) -> str:
    west, south, east, north = gpd.GeoSeries([geometry], crs=str(crs)).to_crs(4326).total_bounds
    return f"{west:.3f}..{east:.3f} E {south:.3f}..{north:.3f} N"


@dataclass(frozen=True)
class ValueTable:
    """The label that each value of a raster stands for; `rest` is that of every value not named."""

    meaning: Mapping[float, int]
    rest: int | None = None

    def __call__(self, values: Values, source: str) -> UInt8[np.ndarray, "height width"]:
        """The labels of values; NaN, which is no data, is unknown. Raises `LabelError` for a value not in the table."""
        found, place = np.unique(values, return_inverse=True)
        meant = [UNKNOWN if np.isnan(value) else self.meaning.get(value, self.rest) for value in found]
        foreign = [f"{value:g}" for value, means in zip(found, meant, strict=True) if means is None]
        if foreign:
            raise LabelError(
                '{source} has the values {foreign}: give --classes "1=1,*=0" ({table_help})',
                source=source,
                foreign=", ".join(foreign[:12]),
                table_help=_table_help(),
            )
        return np.array(meant, np.uint8)[place].reshape(values.shape)


PLAIN = ValueTable({0: OTHER, 1: CROPLAND, 255: UNKNOWN})


def parse_classes(text: str) -> ValueTable:
    """Read a table such as `50=1,100=255,*=0`. Raises `LabelError` for anything else."""
    entries = [ENTRY.fullmatch(entry) for entry in text.replace(" ", "").split(",")]
    if not all(entries):
        raise LabelError(
            '--classes "{text}" cannot be read: give pairs such as "50=1,100=255,*=0" ({table_help})',
            text=text,
            table_help=_table_help(),
        )
    meaning = {entry[1]: int(entry[2]) for entry in entries if entry}
    rest = meaning.pop("*", None)
    return ValueTable({float(value): target for value, target in meaning.items()}, rest)


@dataclass(frozen=True)
class RasterLabels:
    """A raster of classes, or a folder that holds one for each scene under the scene's name.

    Without a table its values are labels: 0, 1 and 255. A raster on another grid is resampled to the nearest pixel.
    """

    path: Path
    table: ValueTable | None = None

    def on(self, scene: Placed) -> Draw:
        """As in `Labels`. Raises `LabelError` if there is no raster for the scene, or it does not meet the scene."""
        path = _named_as(scene, self.path) if self.path.is_dir() else self.path
        read, table = raster_on(path, scene, nodata=self._nodata(dataset(path))), self.table or PLAIN
        moved = Message(
            "{source} is resampled to the grid of {name}, by the nearest pixel", source=path.name, name=scene.name
        )
        notes = () if _aligned(dataset(path), scene) else (moved,)
        return Draw(lambda window: table(read(window), path.name), notes)

    def _nodata(self, labels: DatasetReader) -> float | None:
        """The value of no data; a value that the table names is a class, whatever the file declares."""
        if self.table is None and labels.nodata in (0, 1):
            raise LabelError(
                "{name} declares its value {nodata:g} to be no data: say what it is, --classes "
                '"1=1,0=0" or --classes "1=1,0=255" ({table_help})',
                name=Path(labels.name).name,
                nodata=labels.nodata,
                table_help=_table_help(),
            )
        return None if self.table and labels.nodata in self.table.meaning else labels.nodata


def raster_on(path: Path, scene: Placed, *, nodata: float | None = None) -> Callable[[Window], Values]:
    """Reads the first band of a raster in windows of a scene's grid, by the nearest pixel; NaN where there is no data.

    nodata: its value of no data. Raises `LabelError` if the raster does not meet the scene.
    """
    read = _read_window if _aligned(dataset(path), scene) else _read_warped
    return lambda window: read(path, scene, window, nodata)


def _named_as(scene: Placed, folder: Path) -> Path:
    for path in sorted(folder.iterdir()):
        if path.stem == scene.name and path.suffix.lower() in SUFFIXES:
            return path
    raise LabelError(
        "{folder} has no raster for the scene {name}; expected {name} with {suffixes}",
        folder=folder,
        name=scene.name,
        suffixes=", ".join(SUFFIXES),
    )


def _aligned(labels: DatasetReader, scene: Placed) -> bool:
    """Whether the raster is on the scene's grid. Raises `LabelError` if the two cannot be matched."""
    grid = scene.grid
    same_shape = labels.shape == scene.shape
    if same_shape and (labels.crs is None or grid.crs is None):
        return True
    name = f"{Path(labels.name).name} ({labels.height} x {labels.width} pixels)"
    other = f"{scene.name} ({grid.height} x {grid.width})"
    if labels.crs is None or grid.crs is None:
        raise LabelError(
            "{name} cannot be aligned with {other}: expected a CRS on both, or the same size", name=name, other=other
        )
    extent = grid.extent.to_crs(labels.crs).boundingbox
    if rasterio.coords.disjoint_bounds(tuple(extent), labels.bounds):
        raise LabelError("{name} does not meet {other}: check the CRS of both", name=name, other=other)
    same_place = labels.transform.almost_equals(grid.affine, precision=1e-3 * abs(grid.affine.a))
    return bool(same_shape and same_place and grid.crs == labels.crs)


def _read_window(path: Path, scene: Placed, window: Window, nodata: float | None) -> Values:
    (values,) = read_layers([Layer(path, 1, "float64")], window).astype(float)
    return values if nodata is None else np.where(values == nodata, np.nan, values)


def _read_warped(path: Path, scene: Placed, window: Window, nodata: float | None) -> Values:
    values = np.full(window.shape, np.nan)
    reproject(
        rasterio.band(dataset(path), 1),
        values,
        src_nodata=nodata,
        dst_transform=scene.grid[window.slices].affine,
        dst_crs=str(scene.grid.crs),
        dst_nodata=np.nan,
        resampling=Resampling.nearest,
    )
    return values


def _table_help() -> Message:
    return Message("VALUE=1 is cropland, VALUE=0 is not, VALUE=255 is unknown, * is every other value")
