"""GeoJSON: parcels for the web, in longitude and latitude."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from geopandas import GeoDataFrame

from cropland.errors import GridError
from cropland.language import _
from cropland.writers import replacing, write_layer

__all__ = ["write_geojson"]


def write_geojson(chunks: Iterable[GeoDataFrame], out: Path) -> None:
    """Write parcels as GeoJSON in EPSG:4326, seven decimals, shells counterclockwise, cut at the 180th meridian.

    chunks: at least one, of the same columns. Raises `GridError` without a CRS, `OutputError` where `out` cannot be
    written. Source: Butler et al., The GeoJSON Format, RFC 7946, 2016.
    """
    chunks = iter(chunks)
    first = next(chunks)
    if first.crs is None:
        raise GridError(
            _("GeoJSON is in longitude and latitude, and these parcels have no CRS; write .gpkg or .parquet")
        )
    options = {"RFC7946": "YES", "COORDINATE_PRECISION": "7"}
    with replacing(out) as hidden:
        write_layer(chain([first], chunks), hidden, driver="GeoJSON", layer=out.stem, **options)
