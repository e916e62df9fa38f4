"""The ground that a model was trained on, which its file keeps: a figure that was measured there says little.

Chips with a CRS are known by their place, whatever their files are called; chips without one by source and window.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from jaxtyping import Bool, Float64, Shaped

from cropland.geo.area import ellipsoidal_area_m2
from cropland.geo.window import Window

if TYPE_CHECKING:  # half a second, which a map does without
    from geopandas import GeoDataFrame

__all__ = ["TrainingGround"]

GRID = (
    2.0**-22
)  # degrees, at most 3 cm, to which corners are rounded; of a power of two few digits are left to compress
TOUCHING = 0.01  # of a chip's area: chips that only touch share less, however their corners are rounded
CORNERS = 100  # of a piece of ground
APART = 1e8  # pixels between sources that are laid out in one plane

Shapes = Shaped[np.ndarray, " shape"]  # shapely geometries


@dataclass(frozen=True)
class TrainingGround:
    """Where the chips lie that a model was trained on.

    footprints: the union of their outlines in longitude and latitude. windows: pixels of sources without a CRS, by the
    source's name. is_complete: false where the training began with the weights of a model that does not say what it was
    trained on itself.
    """

    footprints: shapely.Geometry
    windows: Mapping[str, tuple[Window, ...]]
    is_complete: bool = True

    @staticmethod
    def of(index: GeoDataFrame) -> TrainingGround:
        """The ground of the chips in the rows of an index; their order does not matter."""
        windows = defaultdict(set)
        for source, window in _windows(index[index.geometry.isna()]):
            windows[source].add(window)
        return TrainingGround(
            _union(index.geometry), {source: tuple(sorted(windows[source])) for source in sorted(windows)}
        )

    def joined(self, other: TrainingGround | None) -> TrainingGround:
        """This ground and that of the model whose weights the training began with, None if it does not say."""
        if other is None:
            return TrainingGround(self.footprints, self.windows, is_complete=False)
        both = {source: {*self.windows.get(source, ()), *other.windows.get(source, ())} for source in self.windows}
        windows = {**other.windows, **{source: tuple(sorted(each)) for source, each in both.items()}}
        return TrainingGround(
            _union([self.footprints, other.footprints]),
            {source: windows[source] for source in sorted(windows)},
            self.is_complete and other.is_complete,
        )

    def overlaps(self, index: GeoDataFrame) -> Bool[np.ndarray, " chip"]:
        """Which chips of an index share more than 1 % of their area with this ground; chips that only touch it do not.

        A chip without a CRS shares pixels with the windows of the source that has its name.
        """
        outlines = index.geometry.to_numpy()
        found = _shares(outlines, _pieces(self.footprints)) > TOUCHING
        numbers = {source: number for number, source in enumerate(self.windows)}
        here = shapely.is_missing(outlines) & index["source"].isin(numbers).to_numpy()
        asked = [(numbers[source], window) for source, window in _windows(index[here])]
        trained = [(numbers[source], window) for source, windows in self.windows.items() for window in windows]
        found[here] = _shares(_in_one_plane(asked), _in_one_plane(trained)) > TOUCHING
        return found

    def share_of(self, place: shapely.Geometry) -> float:
        """The share of a place, in longitude and latitude, that is this ground: 0 to 1, by areas on the ellipsoid."""
        from geopandas import GeoSeries

        shared, whole = ellipsoidal_area_m2(GeoSeries([shapely.intersection(place, self.footprints), place], crs=4326))
        return float(shared / whole) if whole else 0.0

    def summary(self) -> dict[str, Any]:
        """Plain values for a person: hectares on the ellipsoid, west, south, east and north in degrees."""
        from geopandas import GeoSeries

        area_m2 = float(ellipsoidal_area_m2(GeoSeries([self.footprints], crs=4326))[0])
        return {
            "area_ha": area_m2 / 10_000,
            "bounds": None if self.footprints.is_empty else list(self.footprints.bounds),
            "images_without_crs": len(self.windows),
            "is_complete": self.is_complete,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values for the model file: WKB and JSON, each compressed (zlib) and written in base64."""
        alike = defaultdict(list)  # thousands of small images have the same window
        for source in sorted(self.windows):
            alike[self.windows[source]].append(source)
        packed = {
            "footprints": _pack(shapely.to_wkb(self.footprints)),
            "windows": _pack(json.dumps([*alike.items()], ensure_ascii=False).encode()),
        }
        return packed if self.is_complete else {**packed, "is_complete": False}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> TrainingGround:
        """The inverse of `to_json`. Raises `ValueError` for values that are damaged."""
        try:
            footprints = shapely.from_wkb(_unpack(values["footprints"]))
            alike = json.loads(_unpack(values["windows"]))
        except (zlib.error, shapely.errors.ShapelyError) as error:
            raise ValueError(error) from error
        windows: dict[str, tuple[Window, ...]] = {}
        for its, sources in alike:
            windows |= dict.fromkeys(sources, tuple(Window(*each) for each in its))
        return TrainingGround(footprints, windows, values.get("is_complete", True))


def _windows(index: GeoDataFrame) -> list[tuple[str, Window]]:
    rows = index[["source", *Window._fields]].itertuples(index=False)
    return [(source, Window(*map(int, window))) for source, *window in rows]


def _union(shapes: Iterable[shapely.Geometry | None]) -> shapely.Geometry:
    """One geometry whatever the order of the shapes, its corners on the grid."""
    return shapely.normalize(shapely.union_all(list(shapes), grid_size=GRID))


def _pieces(shape: shapely.Geometry) -> Shapes:
    """A shape in pieces that do not overlap, each of few corners: a chip is then compared with what is near to it."""
    todo, done = list(shapely.get_parts(shape)), []
    while todo:
        if shapely.get_num_coordinates(piece := todo.pop()) <= CORNERS:
            done.append(piece)
            continue
        west, south, east, north = piece.bounds
        across, up = (west + east) / 2, (south + north) / 2
        halves = (west, south, across, north), (across, south, east, north)
        if north - south > east - west:
            halves = (west, south, east, up), (west, up, east, north)
        todo += shapely.get_parts(shapely.intersection(piece, [shapely.box(*half) for half in halves])).tolist()
    return np.array(done, object)


def _in_one_plane(windows: Iterable[tuple[int, Window]]) -> Shapes:
    """Windows as boxes in pixels, those of each numbered source far from the others."""
    sides = [(col + APART * number, row, height, width) for number, (row, col, height, width) in windows]
    left, top, height, width = np.array(sides, float).reshape(-1, 4).T
    boxes: Shapes = shapely.box(left, top, left + width, top + height)
    return boxes


def _shares(shapes: Shapes, parts: Shapes) -> Float64[np.ndarray, " shape"]:
    """The share of each shape that lies in `parts`, which do not overlap; 0 where a shape is missing."""
    shape, part = shapely.STRtree(parts).query(shapes, predicate="intersects")
    shared = np.bincount(
        shape, weights=shapely.area(shapely.intersection(shapes[shape], parts[part])), minlength=len(shapes)
    )
    area = shapely.area(shapes)
    shares: np.ndarray = np.divide(shared, area, out=np.zeros(len(shapes)), where=area > 0)
    return shares


def _pack(data: bytes) -> str:
    return b64encode(zlib.compress(data, 9)).decode()


def _unpack(text: str) -> bytes:
    return zlib.decompress(b64decode(text))
