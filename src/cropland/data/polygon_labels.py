"""Labels from polygons: a pixel belongs to the polygon that holds its centre."""

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import UInt8
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from cropland.data.labels import CROPLAND, UNKNOWN, Draw, Labels
from cropland.errors import LabelError
from cropland.geo.scene import Scene
from cropland.geo.vectors import to_grid_crs
from cropland.geo.window import Window
from cropland.language import _

__all__ = ["Inside", "PolygonLabels"]

Geometries = np.ndarray  # of shapely geometries


@dataclass(frozen=True, eq=False)
class PolygonLabels:
    """Polygons, each layer with the value it stands for, a later one over an earlier one; `background` elsewhere."""

    layers: tuple[tuple[int, gpd.GeoDataFrame], ...]
    background: int
    source: str
    shift: bool = False

    def on(self, scene: Scene) -> Draw:
        """Lay them on a scene. Raises `LabelError` if none meets it or it has no CRS."""
        if scene.grid.crs is None:
            raise LabelError(
                _(
                    "{name} has no CRS to lay polygons on: give --crs, or a raster of its size as labels",
                    name=scene.name,
                )
            )
        parts = [_meeting(frame, scene, shift=self.shift) for _, frame in self.layers]
        if not any(map(len, parts)):
            frame = self.layers[-1][1]
            here = _place(scene.grid.extent.geom, scene.grid.crs)
            there = _place(shapely.box(*frame.total_bounds), frame.crs)
            raise LabelError(
                _(
                    "no polygon of {source} meets {name}, at {here}; they lie at {there}: check the CRS of both",
                    source=self.source,
                    name=scene.name,
                    here=here,
                    there=there,
                )
            )
        values = np.repeat([value for value, _ in self.layers], [len(part) for part in parts])
        return _burning(scene.grid, np.concatenate(parts), values, fill=self.background)


@dataclass(frozen=True, eq=False)
class Inside:
    """Other labels, unknown outside the area that was looked at."""

    labels: Labels
    area: PolygonLabels

    def on(self, scene: Scene) -> Draw:
        """Lay both on a scene. Raises `LabelError` if one of them does not meet it."""
        draw, looked_at = self.labels.on(scene), self.area.on(scene)
        return lambda window: np.where(looked_at(window) == CROPLAND, draw(window), np.uint8(UNKNOWN))


def _meeting(frame: gpd.GeoDataFrame, scene: Scene, *, shift: bool) -> Geometries:
    """The geometries that meet the scene, in its CRS."""
    extent = scene.grid.extent
    box = shapely.box(*extent.to_crs(frame.crs).boundingbox.bbox)
    # Widened, because an edge that is straight in one CRS is curved in the other.
    near = frame.sindex.intersection(box.buffer(0.02 * box.length).bounds)
    moved: Geometries = to_grid_crs(frame.iloc[np.sort(near)], scene.grid.crs, shift=shift).geometry.to_numpy()
    meeting: Geometries = moved[shapely.intersects(moved, extent.geom)]
    return meeting


def _burning(grid: GeoBox, shapes: Geometries, values: UInt8[np.ndarray, " shape"], *, fill: int) -> Draw:
    tree = shapely.STRtree(shapes)

    def draw(window: Window) -> UInt8[np.ndarray, "height width"]:
        here = grid[window.slices]
        met = np.sort(tree.query(here.extent.geom))
        if not len(met):
            return np.full(window.shape, fill, np.uint8)
        pairs = zip(shapes[met], values[met].tolist(), strict=True)  # burnt in this order
        label: np.ndarray = rasterize(pairs, window.shape, fill=fill, transform=here.affine, dtype="uint8")
        return label

    return draw


def _place(geometry: shapely.Geometry, crs: object) -> str:
    west, south, east, north = gpd.GeoSeries([geometry], crs=str(crs)).to_crs(4326).total_bounds
    return f"{west:.3f}..{east:.3f} E {south:.3f}..{north:.3f} N"
