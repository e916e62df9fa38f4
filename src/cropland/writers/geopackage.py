"""GeoPackage: one file that every GIS opens and edits."""

from collections.abc import Iterable
from pathlib import Path

from geopandas import GeoDataFrame

from cropland.writers import replacing, write_layer

__all__ = ["write_geopackage"]


def write_geopackage(chunks: Iterable[GeoDataFrame], out: Path, *, layer: str = "parcels") -> None:
    """Write a table as the only layer of a GeoPackage, with a spatial index.

    chunks: at least one, of the same columns. Raises `OutputError` where `out` cannot be written.
    Source: OGC 12-128r19, 2024.
    """
    with replacing(out) as hidden:
        write_layer(chunks, hidden, driver="GPKG", layer=layer)
