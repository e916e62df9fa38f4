"""The probability of several maps as one: block by block on one grid, overlaps by a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from affine import Affine
from jaxtyping import Bool, UInt8
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from cropland.errors import InputError
from cropland.geo.scene import Scene
from cropland.geo.window import Window
from cropland.language import _
from cropland.mapping.borders import NO_DATA, Border, Borders
from cropland.mapping.mosaic_grid import Place, choose_crs, mosaic_grid, place_in
from cropland.mapping.place import check_room
from cropland.parcels.clean import by_threshold, grid_of
from cropland.progress import progress_bar

__all__ = ["Overlap", "check_mosaic", "write_mosaic"]

BLOCK = 512
EXACT = 0.01  # pixels that a place may be off by where a map is warped

Overlap = Literal["mean", "latest", "most-valid"]
Compose = Callable[[UInt8[np.ndarray, "scene height width"]], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class _Map:
    """The map of a scene; `scene` is its number among those given."""

    path: Path
    scene: int
    place: Place


def check_mosaic(scenes: Sequence[Scene], *, overlap: Overlap, crs: str | None, shift: bool) -> None:
    """Raise what would stop the mosaic, before anything is mapped: `GridError`, or `InputError` for a missing date."""
    grids = [scene.grid for scene in scenes]
    mosaic_grid(grids, choose_crs(grids, [scene.name for scene in scenes], crs=crs, shift=shift))
    undated = next((scene.name for scene in scenes if scene.observed is None), None)
    if overlap == "latest" and undated:
        raise InputError(
            _("{name} does not say when it was taken, so the latest is not known; use another --overlap", name=undated)
        )


def write_mosaic(
    scenes: Sequence[Scene],
    probabilities: Sequence[Path],
    out: Path,
    *,
    overlap: Overlap,
    threshold: float,
    crs: str | None = None,
    shift: bool = False,
) -> list[Border]:
    """Write the probability of all scenes as one tiled GeoTIFF; how much they differ where they meet.

    Each map (uint8 0..254 = p x 254, 255 = no data) is taken over pixel by pixel where it lies on the lines of the
    mosaic's grid, and interpolated bilinearly otherwise, without its pixels of no data. Where several know a pixel:

    mean        their mean
    latest      the one that was observed last
    most-valid  the one whose map has the largest share of pixels with data; of equals the one given first

    A block of 512 x 512 pixels of the maps over it is in memory. threshold: of the classes that are compared.
    Raises `GridError` for maps without a common place, `OutputError` for a disk that is too small.
    """
    grids = [_grid(path) for path in probabilities]
    chosen = choose_crs(grids, [scene.name for scene in scenes], crs=crs, shift=shift)
    grid = mosaic_grid(grids, chosen)
    placed = [
        _Map(path, number, place_in(grid, own))
        for number, (path, own) in enumerate(zip(probabilities, grids, strict=True))
    ]
    check_room(out, min(prod(grid.shape), sum(prod(each.place.window.shape) for each in placed)))
    maps = [placed[number] for number in _order(scenes, probabilities, overlap)]
    compose = _mean if overlap == "mean" else _first
    borders = Borders(by_threshold(threshold)(np.arange(256, dtype=np.uint8)))
    with rasterio.open(out, "w", **_profile(grid)) as file, progress_bar(out.stem, total=prod(grid.shape)) as advance:
        file.descriptions = ("probability x 254",)
        for core, values in _blocks(maps, grid, compose, borders):
            file.write(values, 1, window=_file_window(core))
            advance(core.height * core.width)
    return borders.found([scene.name for scene in scenes])


def _order(scenes: Sequence[Scene], probabilities: Sequence[Path], overlap: Overlap) -> list[int]:
    """Numbers of the scenes, those in front that count where others are valid as well."""
    if overlap == "mean":
        return list(range(len(scenes)))
    if overlap == "latest":
        merit = [scene.observed.timestamp() if scene.observed else 0.0 for scene in scenes]
    else:
        merit = [_valid_share(path) for path in probabilities]
    return sorted(range(len(scenes)), key=lambda number: -merit[number])


def _blocks(
    maps: Sequence[_Map], grid: GeoBox, compose: Compose, borders: Borders
) -> Iterator[tuple[Window, UInt8[np.ndarray, "height width"]]]:
    """Block by block, each read with one more pixel to the right and below: its neighbours there."""
    height, width = map(int, grid.shape)
    for row in range(0, height, BLOCK):
        reach = Window(row, 0, min(BLOCK + 1, height - row), width)
        crossing = [each for each in maps if _common(each.place.window, reach)]
        with ExitStack() as stack:
            readers = [(each, stack.enter_context(_opened(each, grid))) for each in crossing]
            for col in range(0, width, BLOCK):
                core = Window(row, col, min(BLOCK, height - row), min(BLOCK, width - col))
                wider = Window(row, col, reach.height, min(BLOCK + 1, width - col))
                yield core, _block(readers, core, wider, compose, borders)


def _block(
    readers: Sequence[tuple[_Map, DatasetReader]], core: Window, wider: Window, compose: Compose, borders: Borders
) -> UInt8[np.ndarray, "height width"]:
    found = [(each, _read(reader, each.place.window, wider)) for each, reader in readers]
    over = [(each, values) for each, values in found if values is not None]
    if not over:
        return np.full(core.shape, NO_DATA, np.uint8)
    stack = np.stack([values for each, values in over])
    mosaic, used = compose(stack)
    borders.add([each.scene for each, values in over], stack, used, mosaic, core.shape)
    return mosaic[: core.height, : core.width]


def _mean(stack: UInt8[np.ndarray, "scene height width"]) -> tuple[np.ndarray, Bool[np.ndarray, "scene height width"]]:
    known = stack != NO_DATA
    count = known.sum(axis=0)
    mean = np.rint(np.where(known, stack, 0).sum(axis=0) / np.maximum(count, 1))
    return np.where(count, mean, NO_DATA).astype(np.uint8), known


def _first(stack: UInt8[np.ndarray, "scene height width"]) -> tuple[np.ndarray, Bool[np.ndarray, "scene height width"]]:
    known = stack != NO_DATA
    first = known.argmax(axis=0)[None]  # 0 where none is known, which is no data as well
    is_first = np.arange(len(stack))[:, None, None] == first
    return np.take_along_axis(stack, first, axis=0)[0], known & is_first


@contextmanager
def _opened(each: _Map, grid: GeoBox) -> Iterator[DatasetReader]:
    """A reader of the map on the lines of the mosaic, from the first pixel of its window there."""
    with rasterio.open(each.path) as file:
        if each.place.is_copied:
            yield file
            return
        row, col, height, width = each.place.window
        assert grid.crs is not None
        onto = {"crs": grid.crs.to_wkt(), "transform": grid.affine @ Affine.translation(col, row)}
        onto |= {"height": height, "width": width, "src_nodata": NO_DATA, "nodata": NO_DATA, "tolerance": EXACT}
        with WarpedVRT(file, resampling=Resampling.bilinear, **onto) as warped:
            yield warped


def _read(reader: DatasetReader, place: Window, window: Window) -> UInt8[np.ndarray, "height width"] | None:
    """What a map says in a window of the mosaic; None where it does not reach."""
    common = _common(place, window)
    if common is None:
        return None
    values = np.full(window.shape, NO_DATA, np.uint8)
    values[common.within(window).slices] = reader.read(1, window=_file_window(common.within(place)))
    return values


def _common(one: Window, other: Window) -> Window | None:
    top, left = max(one.row, other.row), max(one.col, other.col)
    bottom = min(one.row + one.height, other.row + other.height)
    right = min(one.col + one.width, other.col + other.width)
    return Window(top, left, bottom - top, right - left) if bottom > top and right > left else None


def _file_window(window: Window) -> rasterio.windows.Window:
    return rasterio.windows.Window(window.col, window.row, window.width, window.height)


def _grid(path: Path) -> GeoBox:
    with rasterio.open(path) as file:
        return grid_of(file)


def _profile(grid: GeoBox) -> dict[str, object]:
    height, width = map(int, grid.shape)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": NO_DATA, "height": height, "width": width}
    profile |= {"crs": None if grid.crs is None else grid.crs.to_wkt(), "transform": grid.affine, "sparse_ok": True}
    profile |= {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "bigtiff": "if_safer"}
    return profile


def _valid_share(path: Path) -> float:
    with rasterio.open(path) as file:
        counts = [np.count_nonzero(file.read(1, window=block) != NO_DATA) for _, block in file.block_windows(1)]
        return float(sum(counts) / (file.height * file.width))
