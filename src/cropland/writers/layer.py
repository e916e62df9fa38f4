"""Any table of polygons as one layer for an office, in the format of the suffix, with what that format can hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import pyogrio
from geopandas import GeoDataFrame

from cropland.errors import OutputError
from cropland.language import Message
from cropland.writers import replacing, replacing_all
from cropland.writers.vector import write_geopackage, write_with_gdal

__all__ = ["SUFFIXES", "Encoding", "check_format", "write_layer"]

SUFFIXES = (".shp", ".gdb", ".gpkg", ".parquet", ".geojson")
Encoding = Literal["GBK", "UTF-8"]
NAME_BYTES = 10  # of a field in a .dbf. Source: dBASE III+, as in ESRI (1998), Shapefile Technical Description
TEXT_BYTES = 254  # of a text in a .dbf
GDB_LETTERS = 64  # of a name in a file geodatabase
SHOWN = 5  # names or values that a note lists
# What belongs to a shapefile: an index that was left of an earlier one would find other polygons.
PARTS = (".shp", ".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".idm", ".ind", ".shp.xml", ".qmd")
Notes = tuple[Message, ...]


def write_layer(
    frame: GeoDataFrame, out: Path, *, layer: str, encoding: Encoding | None = None, style: str | None = None
) -> Notes:
    """Write single polygons with their attributes as .shp, .gdb, .gpkg, .parquet or .geojson; notes say what changed.

    layer: its name, where the format has one. encoding: of the text of a shapefile, which a .cpg beside it names; UTF-8
    if not given. style: the content of a .qml, for a GeoPackage. A shapefile holds names of ten bytes and texts of 254:
    longer ones are cut between two letters. GeoJSON is in longitude and latitude.
    Raises `OutputError` for another suffix, for an encoding that is not for this format or lacks a letter, and where
    `out` cannot be written.
    """
    check_format(out, encoding)
    suffix = out.suffix.lower()
    if suffix == ".shp":
        return _write_shapefile(frame, out, encoding=encoding or "UTF-8")
    if suffix == ".gdb":
        return _write_geodatabase(frame, out, layer=layer)
    if suffix == ".gpkg":
        keys = {"FID": _free("fid", frame), "GEOMETRY_NAME": _free("geom", frame)}
        write_geopackage([frame], out, layer=layer, geometry_type="Polygon", style=style, **keys)
    elif suffix == ".parquet":
        with replacing(out) as hidden:
            frame.to_parquet(hidden, index=False, schema_version="1.1.0", write_covering_bbox=True, compression="zstd")
    else:
        options = {"RFC7946": "YES", "COORDINATE_PRECISION": "7"}
        with replacing(out) as hidden:
            write_with_gdal([frame], hidden, driver="GeoJSON", layer=layer, geometry_type="Polygon", **options)
    return ()


def check_format(out: Path, encoding: Encoding | None) -> None:
    """Raise `OutputError` for a suffix that no format has, and an encoding that is not for this one."""
    if out.suffix.lower() not in SUFFIXES:
        raise OutputError(
            "{name}: no format has this suffix; use {writers}", name=out.name, writers=", ".join(SUFFIXES)
        )
    if encoding not in (None, *get_args(Encoding)):
        raise OutputError("--encoding {encoding} is not known; use GBK or UTF-8", encoding=encoding)
    if encoding is not None and out.suffix.lower() != ".shp":
        raise OutputError("{name} is always in UTF-8; --encoding is for shapefiles, leave it out", name=out.name)


def _write_geodatabase(frame: GeoDataFrame, out: Path, *, layer: str) -> Notes:
    named = _renamed(frame, lambda name: name[:GDB_LETTERS])
    # Older programs of Esri know no integers of 64 bits: GDAL would write them as fractions.
    numbers = [name for name, column in named.items() if column.dtype == "int64" and column.abs().max() < 2**31]
    named = named.astype(dict.fromkeys(numbers, "int32"))
    keys = {"FID": _free("OBJECTID", frame), "GEOMETRY_NAME": _free("SHAPE", frame)}
    with replacing_all(out) as hidden:
        write_with_gdal([named], hidden, driver="OpenFileGDB", layer=layer, geometry_type="Polygon", **keys)
        about = pyogrio.read_info(hidden)  # GDAL changes what begins with a digit or is a word of SQL
    notes = _told(frame, about["fields"], out=out)
    if about["layer_name"] != layer:
        notes += (Message("The layer of {name} is called {layer}.", name=out.name, layer=about["layer_name"]),)
    return notes


def _write_shapefile(frame: GeoDataFrame, out: Path, *, encoding: Encoding) -> Notes:
    named = _renamed(frame, lambda name: _cut(name, NAME_BYTES, encoding))
    notes = _told(frame, named.columns.drop("geometry"), out=out)
    texts, cut = {}, {}
    for name, column in named.drop(columns="geometry").items():
        if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
            column = column.map(lambda time: time.isoformat(), na_action="ignore").astype(object)
        if not (pd.api.types.is_string_dtype(column) or column.dtype == object):
            continue
        texts[name] = [text if not isinstance(text, str) else _cut(text, TEXT_BYTES, encoding) for text in column]
        if count := sum(old != new for old, new in zip(column, texts[name], strict=True) if isinstance(old, str)):
            cut[name] = count
    if cut:
        told = ", ".join(f"{name} ({count})" for name, count in cut.items())
        notes += (
            Message(
                "Texts of more than {bytes} bytes were cut, which is all that a shapefile holds: {columns}.",
                bytes=TEXT_BYTES,
                columns=told,
            ),
        )
    table = named.assign(**{name: pd.Series(values, named.index, dtype="str") for name, values in texts.items()})
    with replacing_all(out, suffixes=PARTS) as hidden:
        write_with_gdal(
            [table], hidden, driver="ESRI Shapefile", layer=out.stem, geometry_type="Polygon", encoding=encoding
        )
        hidden.with_suffix(".cpg").write_text(encoding, encoding="ascii")
    return notes


def _renamed(frame: GeoDataFrame, cut: Callable[[str], str]) -> GeoDataFrame:
    """The table with names that the format can hold, each another whatever its case."""
    names = [str(name) for name in frame.columns if name != "geometry"]
    plain = {name: re.sub(r"\W", "_", name) for name in names}
    # What fits keeps its name, whoever comes first; of two that differ by case alone the first.
    fitting = {name.upper(): name for name in reversed(names) if cut(plain[name]) == name}
    short = {name: name for name in fitting.values()}
    taken = set(fitting)
    for name in names:
        number, text = 0, cut(plain[name])
        while name not in short and text.upper() in taken:
            number += 1
            end = f"_{number}"
            text = next(
                made for letters in range(len(plain[name]), -1, -1) if cut(made := plain[name][:letters] + end) == made
            )
        short.setdefault(name, text)
        taken.add(short[name].upper())
    return frame.rename(columns=short)


def _told(frame: GeoDataFrame, names: Iterable[str], *, out: Path) -> Notes:
    """A note on the columns that have other names in the file."""
    pairs = zip(frame.columns.drop("geometry"), names, strict=True)
    changed = ", ".join(f"{name} → {new}" for name, new in pairs if name != new)
    return (Message("{name} holds other names of columns: {names}.", name=out.name, names=changed),) if changed else ()


def _cut(text: str, most: int, encoding: Encoding) -> str:
    """The longest beginning of at most so many bytes. Raises `OutputError` for a letter that the encoding lacks."""
    try:
        encoded = text.encode(encoding)
    except UnicodeEncodeError as error:
        raise OutputError(
            "{encoding} has no letter '{letter}' (in '{text}'); give --encoding UTF-8",
            encoding=encoding,
            letter=text[error.start],
            text=text[:40],
        ) from error
    return encoded[:most].decode(encoding, errors="ignore")


def _free(name: str, frame: GeoDataFrame) -> str:
    """A name for a column of the driver's own that no column has, whatever its case."""
    taken = {str(each).upper() for each in frame.columns}
    while name.upper() in taken:
        name += "_"
    return name
