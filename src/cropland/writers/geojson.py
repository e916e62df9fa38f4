"""GeoJSON: parcels for the web, in longitude and latitude."""

from pathlib import Path

import pyogrio
from geopandas import GeoDataFrame

from cropland.errors import GridError
from cropland.language import _
from cropland.writers import replacing

__all__ = ["write_geojson"]


def write_geojson(frame: GeoDataFrame, out: Path) -> None:
    """Write parcels as GeoJSON in EPSG:4326, seven decimals, shells counterclockwise, cut at the 180th meridian.

    Raises `GridError` without a CRS, `OutputError` where `out` cannot be written.
    Source: Butler et al., The GeoJSON Format, RFC 7946, 2016.
    """
    if frame.crs is None:
        raise GridError(
            _("GeoJSON is in longitude and latitude, and these parcels have no CRS; write .gpkg or .parquet")
        )
    with replacing(out) as hidden:
        pyogrio.write_dataframe(
            frame, hidden, layer=out.stem, driver="GeoJSON", RFC7946="YES", COORDINATE_PRECISION="7"
        )
