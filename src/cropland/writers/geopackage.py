"""GeoPackage: one file that every GIS opens and edits."""

from pathlib import Path

import pyogrio
from geopandas import GeoDataFrame

from cropland.writers import replacing

__all__ = ["write_geopackage"]


def write_geopackage(frame: GeoDataFrame, out: Path, *, layer: str = "parcels") -> None:
    """Write a table as the only layer of a GeoPackage, with a spatial index.

    Raises `OutputError` where `out` cannot be written. Source: OGC 12-128r19, 2024.
    """
    with replacing(out) as hidden:
        pyogrio.write_dataframe(frame, hidden, layer=layer, driver="GPKG")
