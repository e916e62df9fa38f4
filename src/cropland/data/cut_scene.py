"""Cut one scene into chips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine

from cropland.data.chips import Place, write_chip
from cropland.data.labels import CROPLAND, OTHER, UNKNOWN, Draw, Labels
from cropland.data.statistics import Statistics, scene_statistics
from cropland.errors import BandError
from cropland.geo.scene import Scene
from cropland.geo.window import Window
from cropland.language import _

__all__ = ["Cutter", "windows"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Cutter:
    """How a scene becomes chips: how it is opened, its labels, the edge of a chip in pixels, the name of its group."""

    open: Callable[[Path], Scene]
    labels: Labels
    size: int
    group: Callable[[Path], str]

    def cut(
        self, path: Path, name: str, *, folder: Path, bands: Sequence[str], advance: Callable[[float], None]
    ) -> tuple[Row, list[Row]]:
        """Write the chips of which something is known; return what the header and the index say of them.

        `advance` is called with the part of the scene that is done. Raises `BandError` if the scene lacks a band.
        """
        scene = self.open(path)
        _check_bands(scene, bands)
        draw = self.labels.on(scene)
        statistics = scene_statistics(scene, bands)
        parts = windows(scene.shape, size=self.size)
        common = {"source": name, "group": self.group(path), "pixel_m": scene.pixel_m}
        rows = []
        for window, footprint in zip(parts, _footprints(scene, parts), strict=True):
            chip = name if len(parts) == 1 else f"{name}_{window.row}_{window.col}"
            if row := _cut_window(scene, window, draw, folder=folder, name=chip, statistics=statistics):
                rows.append(row | common | {"geometry": footprint})
            advance(1 / len(parts))
        return _describe(scene, name), rows


def windows(shape: tuple[int, int], *, size: int) -> list[Window]:
    """Share a grid evenly among chips of at least `size` pixels, or as large as the grid; each pixel is in one."""
    rows, cols = (np.linspace(0, length, max(1, length // size) + 1).astype(int).tolist() for length in shape)
    return [Window(top, left, low - top, right - left) for top, low in pairwise(rows) for left, right in pairwise(cols)]


def _check_bands(scene: Scene, bands: Sequence[str]) -> None:
    if not {*bands} <= {*scene.bands}:
        raise BandError(
            _(
                "{name} has the bands {bands}, the chips of this folder {bands2}: name the scene's "
                "with --bands, or cut into another folder",
                name=scene.name,
                bands=", ".join(scene.bands),
                bands2=", ".join(bands),
            )
        )


def _footprints(scene: Scene, parts: Sequence[Window]) -> list[shapely.Polygon | None]:
    """Outlines in longitude and latitude; None for a scene without a CRS."""
    if scene.grid.crs is None:
        return [None] * len(parts)
    row, col, height, width = (each[:, None] for each in np.array(parts).T)
    corners = scene.grid.affine @ (col + width * [0, 1, 1, 0], row + height * [0, 0, 1, 1])
    outlines = shapely.polygons(np.stack(corners, axis=-1))
    on_earth: list[shapely.Polygon | None] = gpd.GeoSeries(outlines, crs=str(scene.grid.crs)).to_crs(4326).to_list()
    return on_earth


def _cut_window(
    scene: Scene, window: Window, draw: Draw, *, folder: Path, name: str, statistics: Statistics
) -> Row | None:
    """Write one chip; None if nothing is known of it."""
    image = scene.read(window, bands=statistics.bands)
    target = np.where(image.valid, draw(window), np.uint8(UNKNOWN))
    if (target == UNKNOWN).all():
        return None
    dtype = np.result_type(*(layer.dtype for layer in scene.layers))
    paths = write_chip(folder, name, image, target, place=_place(scene, window), bands=statistics.bands, dtype=dtype)
    shares = {"cropland": CROPLAND, "other": OTHER, "unknown": UNKNOWN}
    row = {f"share_{what}": float(np.mean(target == value)) for what, value in shares.items()}
    return row | paths | window._asdict() | {"id": name, "low": statistics.low, "high": statistics.high}


def _place(scene: Scene, window: Window) -> Place:
    """Without a CRS, metres from the scene's lower left corner."""
    if scene.grid.crs is not None:
        return Place(scene.grid[window.slices].affine, _crs(scene))
    edge = scene.pixel_m
    return Place(Affine(edge, 0, window.col * edge, 0, -edge, (scene.shape[0] - window.row) * edge), None)


def _crs(scene: Scene) -> str | None:
    """The short code where there is one."""
    crs = scene.grid.crs
    return None if crs is None else f"EPSG:{crs.epsg}" if crs.epsg else str(crs)


def _describe(scene: Scene, name: str) -> Row:
    files = [path.name for path in scene.files]
    return {
        "name": name,
        "files": files,
        "crs": _crs(scene),
        "pixel_m": scene.pixel_m,
        "notes": scene.notes,
    }
