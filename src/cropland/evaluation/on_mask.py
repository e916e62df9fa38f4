"""A mask against labels, block by block, so that memory holds one block whatever the size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8
from pyproj import CRS

from cropland.data.labels import Draw, LabelOptions, Labels, PolygonLabels
from cropland.errors import LabelError, SceneError
from cropland.evaluation.confusion import UNKNOWN
from cropland.evaluation.score import Part, Picture, Score, score
from cropland.geo.grid import pixel_edges_m
from cropland.geo.scene import Scene
from cropland.geo.vectors import read_polygons
from cropland.geo.window import Tile, Window, tiles
from cropland.language import _, said

__all__ = ["Regions", "blocks", "on_mask", "read_regions"]

BLOCK = 1024
Regions = tuple[tuple[str, ...], PolygonLabels]


def read_regions(labels: LabelOptions, column: str, *, shift: bool = False) -> Regions:
    """The values of a column, and its polygons drawn as their numbers: the --inside area's, else the labels' own.

    Raises `LabelError` if the column is missing, or has more than 254 values.
    """
    if labels.inside:
        path, frame = labels.inside, read_polygons(labels.inside)
    elif labels.labels and not labels.classes:
        path, selection = labels.labels, {"layer": labels.layer, "where": labels.where, "encoding": labels.encoding}
        frame = read_polygons(path, **selection)
    else:
        raise LabelError(_("--by needs polygons that have the column: give them as --inside AREA"))
    if column not in frame:
        raise LabelError(
            _(
                "{name} has no column '{column}'; it has {columns}",
                name=path.name,
                column=column,
                columns=", ".join(map(str, frame.columns)),
            )
        )
    names = frame[column].astype(str)
    values = tuple(sorted(set(names)))
    if len(values) > UNKNOWN:
        raise LabelError(
            _(
                "{name}: column '{column}' has {count} values; take one with at most {unknown}",
                name=path.name,
                column=column,
                count=len(values),
                unknown=UNKNOWN,
            )
        )
    layers = tuple((number, frame[names == value]) for number, value in enumerate(values))
    return values, PolygonLabels(layers, UNKNOWN, path.name, shift)


def blocks(mask: Scene) -> int:
    """How many blocks a mask is judged in."""
    return math.prod(-(-length // BLOCK) for length in mask.shape)


def on_mask(
    mask: Scene, labels: Labels, *, tolerances_m: Sequence[float], regions: Regions | None = None
) -> Iterator[Part]:
    """The score of every block that has known pixels.

    Raises `SceneError` if the mask holds other values than 0, 1 and no data, `LabelError` if labels do not meet it.
    """
    true, halo = labels.on(mask), math.ceil(max(tolerances_m) / min(pixel_sides_m(mask))) + 1
    values, numbers = (regions[0], regions[1].on(mask)) if regions else ((), None)
    for tile in tiles(mask.shape, size=BLOCK, halo=halo, stride=1):
        part = _part(mask, true, tile, tolerances_m=tolerances_m, values=values, numbers=numbers)
        if part.total.counts.total:
            yield part


def pixel_sides_m(scene: Scene) -> tuple[float, float]:
    """Height and width of a scene's pixel in metres at its centre."""
    if scene.grid.crs is None:
        return scene.pixel_m, scene.pixel_m
    row, col = (length / 2 for length in scene.shape)
    along, down = pixel_edges_m(scene.grid.affine, CRS.from_user_input(str(scene.grid.crs)), row=row, col=col)
    return down, along


def _part(
    mask: Scene, true: Draw, tile: Tile, *, tolerances_m: Sequence[float], values: Sequence[str], numbers: Draw | None
) -> Part:
    called, truth = _read(mask, tile.padded), true(tile.padded)
    core = tile.inner.slices

    def judged(known: UInt8[np.ndarray, "height width"]) -> Score:
        return score(called, known, pixel_m=pixel_sides_m(mask), tolerances_m=tolerances_m, core=core)

    number = numbers(tile.padded) if numbers else np.full(truth.shape, UNKNOWN, np.uint8)
    here = [int(n) for n in np.unique(number[core]) if n != UNKNOWN]
    groups = {values[n]: judged(np.where(number == n, truth, np.uint8(UNKNOWN))) for n in here}
    name = said("row {row}, column {col}", row=tile.core.row, col=tile.core.col)
    return Part(name, judged(truth), groups, name, lambda: Picture(None, _read(mask, tile.core), true(tile.core)))


def _read(mask: Scene, window: Window) -> UInt8[np.ndarray, "height width"]:
    image = mask.read(window, bands=mask.bands)
    values = np.where(image.valid, image.values[0], UNKNOWN)
    foreign = sorted({float(value) for value in np.unique(values)} - {0, 1, UNKNOWN})
    if foreign:
        shown = ", ".join(f"{value:g}" for value in foreign[:8])
        raise SceneError(
            _(
                "{files} holds the values {shown}; a mask is 1 cropland, 0 not cropland, 255 no data",
                files=mask.files[0],
                shown=shown,
            )
        )
    return values.astype(np.uint8)
