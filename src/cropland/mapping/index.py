"""Where the scenes of a run lie, and what was found in each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geopandas import GeoDataFrame, GeoSeries
from shapely.geometry.base import BaseGeometry

from cropland.geo.scene import Scene
from cropland.mapping.map_scene import MapResult
from cropland.writers.geopackage import write_geopackage

__all__ = ["write_index"]


def write_index(results: Sequence[MapResult], out: Path) -> None:
    """A GeoPackage with an outline for each scene."""
    write_geopackage([_index(results)], out, layer="scenes")


def _index(results: Sequence[MapResult]) -> GeoDataFrame:
    columns = {
        "name": [result.scene.name for result in results],
        "area_ha": [result.found.area_ha for result in results],
        "share": [result.found.share for result in results],
        "parcels": [result.found.parcels for result in results],
        "folder": [result.folder.name for result in results],
    }
    return GeoDataFrame(columns, geometry=GeoSeries([_footprint(result.scene) for result in results], crs=4326))


def _footprint(scene: Scene) -> BaseGeometry | None:
    return None if scene.grid.crs is None else scene.grid.extent.to_crs("EPSG:4326").geom
