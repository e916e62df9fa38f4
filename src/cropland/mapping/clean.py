"""Cleaning: a mask without specks and holes that are too small to be a field or a gap in one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np
import rasterio
from jaxtyping import Bool
from odc.geo.geobox import GeoBox
from rasterio.io import DatasetReader

from cropland.geo.area import pixel_area_m2
from cropland.mapping.regions import CORNERS, EDGES, Classify, RasterStrips, Strip, find_regions, label_strips
from cropland.writers.cog import write_cog

__all__ = ["MU_M2", "by_threshold", "by_value", "clean_mask", "default_min_area_m2", "grid_of"]

MU_M2 = 10_000 / 15
COLOURS = {0: (233, 228, 214, 255), 1: (84, 140, 47, 255), 255: (255, 255, 255, 0)}


class Source(Protocol):
    """Strips from top to bottom, as often as they are asked for."""

    def __iter__(self) -> Iterator[Strip]: ...


def default_min_area_m2(pixel_m: float) -> float:
    """The least area that is mapped: 400 m2, or ten pixels where these are more.

    400 m2 is the least area of agricultural land in China's third land survey. Source: TD/T 1055-2019.
    """
    return max(400.0, 10 * pixel_m**2)


def by_threshold(threshold: float) -> Classify:
    """Classes of a probability raster (uint8 0..254 = p x 254, 255 = no data): cropland where p >= threshold."""
    classes = (np.arange(256) / 254 >= threshold).astype(np.uint8)
    classes[255] = 255
    return lambda values: classes[values]


def by_value(value: float, *, nodata: float | None) -> Classify:
    """Classes of a raster of classes: `value` is cropland, 255 and `nodata` are no data, the rest is not cropland.

    A `nodata` of 0 is taken for not cropland: many masks declare it only to be drawn transparent.
    """
    absent = [255] if nodata in (0, None) else [255, nodata]
    return lambda values: np.where(values == value, 1, np.where(np.isin(values, absent), 255, 0)).astype(np.uint8)


def clean_mask(
    raster: Path,
    out: Path,
    *,
    classify: Classify,
    min_area_m2: float,
    unit_m: float | None = None,
    block: int = 256,
) -> None:
    """Write the mask of a raster without regions smaller than `min_area_m2` (m2 on the ellipsoid), as a COG.

    First specks vanish: cropland connected by edges and smaller than that. Then holes are filled: what is not cropland,
    connected by edges or corners, smaller than that. No data stays no data; it counts into the area of a hole, since it
    may be anything, so that slivers along no data are left. Slivers are thus given to whatever surrounds them.

    classify: `by_threshold` or `by_value`. unit_m: metres per unit of coordinates, without a CRS. block: rows in memory
    (width x block x 40 bytes); the bytes written do not depend on it. Raises `GridError` without CRS and `unit_m`.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".mask-") as folder, rasterio.open(raster) as source:
        areas = _Areas(grid_of(source), unit_m)
        strips: Source = RasterStrips(source, classify, block)
        if min_area_m2 > 0:
            specks = _small(strips, CROPLAND, areas, min_area_m2=min_area_m2)
            strips = _Replaced(strips, CROPLAND, specks)
            if not specks[1:].all():  # else nothing is left that could have holes
                strips = _Replaced(strips, OTHER, _small(strips, OTHER, areas, min_area_m2=min_area_m2))
        flat = Path(folder) / "mask.tif"
        _write(strips, source, flat)
        write_cog(flat, out, overviews="mode")


def grid_of(source: DatasetReader) -> GeoBox:
    """The grid of an open raster; its CRS is None in pixel space."""
    return GeoBox(source.shape, source.transform, source.crs.to_wkt() if source.crs else None)


@dataclass(frozen=True)
class _Kind:
    """Regions of which class, how they connect, what those that are too small become."""

    member: Callable[[np.ndarray], Bool[np.ndarray, "height width"]]
    structure: np.ndarray
    becomes: int


CROPLAND = _Kind(lambda classes: classes == 1, EDGES, 0)
# Corners connect what is not cropland, since they do not connect cropland: a diagonal track is one region.
OTHER = _Kind(lambda classes: classes != 1, CORNERS, 1)


@dataclass(frozen=True)
class _Areas:
    grid: GeoBox
    unit_m: float | None

    def __call__(self, strip: Strip) -> list[np.ndarray]:
        """Areas of the pixels in whole mm2, row by row that in the middle of the raster.

        Sums of whole numbers are exact up to 9,000 km2, far beyond any least area.
        """
        middle = strip.window._replace(col=strip.window.width // 2, width=1)
        rows = np.rint(pixel_area_m2(self.grid, middle, unit_m=self.unit_m) * 1e6)
        return [np.broadcast_to(rows, strip.classes.shape)]


@dataclass(frozen=True)
class _Replaced:
    strips: Source
    kind: _Kind
    small: Bool[np.ndarray, "label"]

    def __iter__(self) -> Iterator[Strip]:
        for strip, labels, before in label_strips(self.strips, self.kind.member, structure=self.kind.structure):
            small = self.small[before : before + int(labels.max()) + 1].copy()
            small[0] = False  # no region; in the slice it is the last label of the strip above
            changed = small[labels] & (strip.classes != 255)
            yield strip._replace(classes=np.where(changed, np.uint8(self.kind.becomes), strip.classes))


def _small(strips: Source, kind: _Kind, areas: _Areas, *, min_area_m2: float) -> Bool[np.ndarray, "label"]:
    """Which labels belong to regions that are too small."""
    regions = find_regions(label_strips(strips, kind.member, structure=kind.structure), areas)
    small: np.ndarray = (regions.sums[0] < min_area_m2 * 1e6)[regions.of_label]
    return small


def _write(strips: Source, like: DatasetReader, out: Path) -> None:
    grid = {"height": like.height, "width": like.width, "crs": like.crs, "transform": like.transform}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "DEFLATE", "zlevel": 1}
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "BIGTIFF": "IF_SAFER"}
    with rasterio.open(out, "w", **profile, **grid, **layout) as target:
        target.write_colormap(1, COLOURS)
        target.set_band_description(1, "cropland")
        for strip in strips:
            fresh = strip.classes[strip.fresh]
            stop = strip.window.row + strip.window.height
            target.write(fresh, 1, window=rasterio.windows.Window(0, stop - len(fresh), like.width, len(fresh)))
