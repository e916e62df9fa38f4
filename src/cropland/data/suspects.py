"""Ground where a map and the labels disagree so clearly that the labels may be wrong: fields that nobody drew, and
drawn ground that is none.

A map learnt from many places is a second opinion (confident learning; Northcutt et al. 2021, doi:10.1613/jair.1.12125):
a disagreement counts where the map is as sure as it is, at the median, of labels that it agrees with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from rasterio.warp import transform
from scipy import ndimage

from cropland.data.cut import windows
from cropland.data.finding import DataFinding
from cropland.data.labels import CROPLAND, OTHER, Draw, raster_on
from cropland.errors import SceneError
from cropland.geo.area import area_words
from cropland.geo.map_folder import MapFolder
from cropland.geo.reading import dataset
from cropland.geo.scene import Scene
from cropland.geo.window import Window
from cropland.language import Message
from cropland.probability import DESCRIPTION, NO_DATA, ONE

__all__ = ["suspects"]

SIZE = 1024  # pixels of a window at least
SURE = 0.8, 0.2  # the probability from which a map is sure of cropland, or of none, at least
RIM = 2  # pixels of a border that is drawn inexactly: what is thinner does not count
LEAST_M2, LEAST_PIXELS = 2000.0, 30
WORST = 6  # in the picture
EDGE = 224  # pixels of one picture
COLOURS = {OTHER: (255, 120, 0), CROPLAND: (0, 190, 255)}


@dataclass(frozen=True, eq=False)
class _Region:
    """A connected region that is labelled `label`, of which the map is sure that it is not."""

    label: int
    window: Window
    inside: Bool[np.ndarray, "height width"]

    @property
    def pixels(self) -> int:
        return int(self.inside.sum())


def suspects(scene: Scene, draw: Draw, mapped: Path) -> Iterator[DataFinding]:
    """Findings on ground that is labelled not cropland and looks like cropland, and the other way round.

    mapped: the folder of a map of this scene, or a raster of probabilities (0..1, or p x 254 in a byte). Raises
    `SceneError` for anything else and `LabelError` for a map of other ground.
    """
    read = _probability(mapped, scene)
    parts = windows(scene.shape, size=SIZE)
    sure_of = _limits(parts, read, draw)
    least = max(LEAST_PIXELS, round(LEAST_M2 / scene.pixel_m**2))
    found = [region for part in parts for region in _regions(part, read(part), draw(part), sure_of, least)]
    for label in (OTHER, CROPLAND):
        regions = sorted((each for each in found if each.label == label), key=lambda each: -each.pixels)
        if regions:
            yield _finding(scene, label, regions, sure_of[label])


def _probability(mapped: Path, scene: Scene) -> Callable[[Window], Float64[np.ndarray, "height width"]]:
    folder = MapFolder.find(mapped) if mapped.is_dir() else None
    if mapped.is_dir() and folder is None:
        raise SceneError(
            "{path} is a folder, but not that of a map; give the folder that `cropland map` wrote", path=mapped
        )
    path = mapped if folder is None else folder.probability
    file = dataset(path)
    in_bytes = file.dtypes[0] == "uint8" and (file.descriptions[0] or DESCRIPTION) == DESCRIPTION
    read = raster_on(path, scene, nodata=NO_DATA if in_bytes else file.nodata)
    return lambda window: read(window) / (ONE if in_bytes else 1)


def _limits(
    parts: list[Window], read: Callable[[Window], Float64[np.ndarray, "height width"]], draw: Draw
) -> dict[int, float]:
    """By the label that is doubted: the probability beyond which the map is as sure as of labels of the other class."""
    counts = {OTHER: np.zeros(101), CROPLAND: np.zeros(101)}
    for part in parts:
        level = read(part)
        label, known = draw(part), np.isfinite(level)
        for value, count in counts.items():
            here = known & (label == value)
            count += np.bincount(np.rint(100 * level[here].clip(0, 1)).astype(int), minlength=101)
    median = {value: float(np.searchsorted(count.cumsum(), count.sum() / 2)) / 100 for value, count in counts.items()}
    return {OTHER: max(SURE[0], median[CROPLAND]), CROPLAND: min(SURE[1], median[OTHER])}


def _regions(
    part: Window,
    level: Float64[np.ndarray, "height width"],
    label: UInt8[np.ndarray, "height width"],
    sure_of: dict[int, float],
    least: int,
) -> Iterator[_Region]:
    with np.errstate(invalid="ignore"):
        doubted = {
            OTHER: (label == OTHER) & (level >= sure_of[OTHER]),
            CROPLAND: (label == CROPLAND) & (level <= sure_of[CROPLAND]),
        }
    for value, where in doubted.items():
        opened = ndimage.binary_opening(where, np.ones((3, 3)), iterations=RIM)
        numbered, _count = ndimage.label(opened)
        for number, place in enumerate(ndimage.find_objects(numbered), start=1):
            inside = numbered[place] == number
            if inside.sum() >= least:
                rows, cols = place
                yield _Region(value, Window(part.row + rows.start, part.col + cols.start, *inside.shape), inside)


def _finding(scene: Scene, label: int, regions: list[_Region], limit: float) -> DataFinding:
    total = sum(each.pixels for each in regions) * scene.pixel_m**2 / 1e4
    values = {
        "count": len(regions),
        "area": area_words(total, digits=1),
        "limit": limit,
        "largest": area_words(regions[0].pixels * scene.pixel_m**2 / 1e4, digits=1),
        "place": _place(scene, regions[0].window),
    }
    if label == OTHER:
        evidence = Message(
            "{count} regions ({area}) are labelled not cropland where the map is sure of cropland (at least "
            "{limit:.0%}); the largest, {largest}, is at {place}",
            **values,
        )
        remedy = Message(
            "Look at the picture: draw the fields that are missing, or give --background unknown, or --inside AREA"
        )
    else:
        evidence = Message(
            "{count} regions ({area}) are labelled cropland where the map is sure that there is none (at most "
            "{limit:.0%}); the largest, {largest}, is at {place}",
            **values,
        )
        remedy = Message("Look at the picture: take out what is no field, or make it unknown with --unknown-where")
    return DataFinding(
        "warning",
        "unlabelled" if label == OTHER else "mislabelled",
        scene.name,
        evidence,
        remedy,
        _sheet(scene, regions),
    )


def _place(scene: Scene, window: Window) -> str:
    """The middle of a window, in degrees; without a CRS its row and column."""
    row, col = window.row + window.height / 2, window.col + window.width / 2
    if scene.grid.crs is None:
        return Message("row {row:.0f}, column {col:.0f}", row=row, col=col)
    x, y = scene.grid.affine @ (col, row)
    (east,), (north,) = transform(str(scene.grid.crs), "EPSG:4326", [x], [y])
    return f"{north:.5f}, {east:.5f}"


def _sheet(scene: Scene, regions: list[_Region]) -> UInt8[np.ndarray, "height width 3"]:
    """The largest regions, outlined on the imagery, side by side."""
    statistics = scene.statistics()
    pictures = [_picture(scene, each, statistics.low, statistics.high) for each in regions[:WORST]]
    rows = [pictures[at : at + 3] for at in range(0, len(pictures), 3)]
    blank = np.full((EDGE, EDGE, 3), 255, np.uint8)
    wide = min(3, len(pictures))
    return np.concatenate([np.concatenate(row + [blank] * (wide - len(row)), axis=1) for row in rows])


def _picture(
    scene: Scene, region: _Region, low: tuple[float, ...], high: tuple[float, ...]
) -> UInt8[np.ndarray, "height width 3"]:
    window = region.window
    edge = max(window.height, window.width, EDGE // 2)
    around = window.widened(max(8, (edge - min(window.shape)) // 2, edge // 4), shape=scene.shape)
    drawn = scene.read(around).rgb(low, high)
    inside = np.zeros(around.shape, bool)
    inside[window.within(around).slices] = region.inside
    rows, cols = (np.arange(EDGE) * max(around.shape) // EDGE for _ in range(2))
    whole = np.full((max(around.shape),) * 2 + (3,), 255, np.uint8)
    mask = np.zeros(whole.shape[:2], bool)
    whole[: around.height, : around.width], mask[: around.height, : around.width] = drawn, inside
    picture, mask = whole[np.ix_(rows, cols)], mask[np.ix_(rows, cols)]
    picture[mask ^ ndimage.binary_erosion(mask, np.ones((3, 3)))] = COLOURS[region.label]
    picture[-2:] = picture[:, -2:] = 255
    return picture
