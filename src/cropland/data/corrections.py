"""What a person found when looking through the parcels of a map: a column `status` of wrong, missing and redrawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from pandas import Series

from cropland.errors import LabelError
from cropland.geo.features import open_layer
from cropland.geo.map_folder import MapFolder
from cropland.geo.vectors import read_polygons

__all__ = ["MISSING", "REDRAWN", "WRONG", "Corrections", "read_corrections"]

WRONG, MISSING, REDRAWN = "wrong", "missing", "redrawn"
SAME = 0.01  # share of a parcel's area by which its outline may differ from the map's and still be the same
SHOWN = 8  # ids that an error lists


@dataclass(frozen=True, eq=False)
class Corrections:
    """The polygons of a map after a person looked at them, each in the map's CRS.

    wrong: parcels that are not cropland. before: the outlines on the map of those that were redrawn. drawn: cropland as
    the person drew it, which the map missed or outlined otherwise. left: parcels without a status.
    """

    wrong: gpd.GeoDataFrame
    before: gpd.GeoDataFrame
    drawn: gpd.GeoDataFrame
    left: gpd.GeoDataFrame
    map: MapFolder


def read_corrections(
    path: Path, folder: Path | None, *, layer: str | None = None, encoding: str | None = None
) -> Corrections:
    """The corrections in a file of parcels, of the map in `folder`, or of the one that the file lies in.

    The map's parcels.parquet, which nobody edits, says how its parcels were outlined. Raises `LabelError` for a file
    without a map, of another map, or with a status that is none of the three.
    """
    found = MapFolder.find(folder or path)
    if found is None:
        raise LabelError(
            "{path} is not in the folder of a map (it has no map.json); say which map was corrected with --map FOLDER",
            path=path if folder is None else folder,
        )
    edited = read_polygons(path, layer=layer, encoding=encoding)
    if missing := [column for column in ("id", "status") if column not in edited]:
        raise LabelError(
            "{name} has no column '{column}'; corrections are the parcels.gpkg of a map, with `wrong`, `missing` or "
            "`redrawn` in its column status",
            name=path.name,
            column=missing[0],
        )
    status = edited["status"].fillna("").astype(str).str.strip().str.lower()
    if foreign := sorted({*status} - {"", WRONG, MISSING, REDRAWN}):
        raise LabelError(
            "{name} has the status {foreign}; expected wrong, missing, redrawn, or nothing",
            name=path.name,
            foreign=", ".join(foreign[:SHOWN]),
        )
    opened = open_layer(found.parcels)
    features = opened.read(columns=["id"])
    parcels = gpd.GeoDataFrame(features.attributes, geometry=shapely.from_wkb(features.wkb), crs=opened.crs)
    edited = edited.to_crs(parcels.crs).assign(id=_as_text(edited["id"]), status=status)
    _check_map(edited[status != MISSING], parcels.set_index("id"), path, found)
    return Corrections(
        wrong=edited[status == WRONG],
        before=parcels[parcels["id"].isin(edited["id"][status == REDRAWN])],
        drawn=edited[status.isin([MISSING, REDRAWN])],
        left=edited[status == ""],
        map=found,
    )


def _as_text(ids: Series) -> Series:
    """Ids as they are on the map; some formats give numbers."""
    whole = ids.convert_dtypes()  # 3.0 is 3, where a missing id made numbers of the others
    return whole.astype("string").fillna("").astype(object)


def _check_map(edited: gpd.GeoDataFrame, parcels: gpd.GeoDataFrame, path: Path, found: MapFolder) -> None:
    """Raise `LabelError` unless the edited parcels are those of the map.

    Ids alone do not tell, since every map counts from 1: a parcel without a status has the outline that it has on the
    map, and one that is wrong lies within it, as a part of it may that somebody cut off.
    """
    names = {"name": path.name, "folder": found.path}
    if (unknown := ~edited["id"].isin(parcels.index)).any():
        raise LabelError(
            "{name} has parcels that are not on the map {folder} (id {ids}): give the corrections of this map, and the "
            "status missing to each parcel that you drew",
            ids=_listed(edited["id"][unknown]),
            **names,
        )
    known = parcels.geometry.loc[edited["id"]].to_numpy()
    shapes = edited.geometry.to_numpy()
    is_wrong = (edited["status"] == WRONG).to_numpy()
    beyond = shapely.area(shapely.difference(shapes, known))
    short = np.where(is_wrong, 0, shapely.area(shapely.difference(known, shapes)))
    moved = (beyond + short > SAME * shapely.area(known)) & (edited["status"] != REDRAWN).to_numpy()
    if moved.any():
        raise LabelError(
            "{name} outlines {count} of its parcels otherwise than the map {folder} (id {ids}): give the corrections "
            "of this map, and the status redrawn to each parcel whose outline you changed",
            count=int(moved.sum()),
            ids=_listed(edited["id"][moved]),
            **names,
        )


def _listed(ids: Series) -> str:
    distinct = [*dict.fromkeys(each or "NULL" for each in ids)]
    return ", ".join(distinct[:SHOWN]) + ("…" if len(distinct) > SHOWN else "")
