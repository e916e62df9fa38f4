"""The two subjects of an evaluation, as parts with a score each: a model on chips, and a mask block by block."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8
from scipy.special import expit

from cropland.data.chips import Chip, ChipFolder
from cropland.data.labels import Draw, LabelOptions, PolygonLabels
from cropland.errors import ChipError, LabelError, SceneError
from cropland.evaluation.counts import UNKNOWN
from cropland.evaluation.score import Part, Picture, Score, score
from cropland.geo.area import pixel_edges_m
from cropland.geo.resample import resample, resampled_length, taps
from cropland.geo.scene import Image, Scene
from cropland.geo.statistics import Statistics
from cropland.geo.vectors import Polygons, read_polygons
from cropland.geo.window import Tile, Window, tiles
from cropland.language import Message
from cropland.probability import classes, to_levels

if TYPE_CHECKING:
    from cropland.model import ModelFile

__all__ = [
    "Judge",
    "Predict",
    "blocks",
    "chip_probability",
    "choose_chips",
    "on_chips",
    "on_mask",
    "only_bands",
    "pixel_sides_m",
    "read_regions",
]

BLOCK = 1024  # pixels along the edge of a block of a mask
Regions = tuple[tuple[str, ...], PolygonLabels]
Predict = Callable[[Float32[np.ndarray, "band height width"]], Float32[np.ndarray, "output height width"]]


@dataclass(frozen=True)
class Judge:
    """A model that predicts chips at its working pixel nearest to `working_pixel_m`, or else to each chip's own."""

    model: ModelFile
    predict: Predict
    tolerances_m: Sequence[float]
    working_pixel_m: float | None = None

    def probability(self, chip: Chip) -> tuple[UInt8[np.ndarray, "height width"], float]:
        """The probability on the chip's own grid, and the threshold that goes with it."""
        pixel = self.model.nearest_pixel(self.working_pixel_m or chip.pixel_m)
        statistics = self.model.statistics
        return chip_probability(chip, self.predict, pixel_m=pixel.pixel_m, statistics=statistics), pixel.threshold


def choose_chips(folder: ChipFolder, model: ModelFile, *, split: str, by: str) -> ChipFolder:
    """The chips of a side of the split (or `all`), checked to suit the model.

    Raises `ChipError` if a band or the column `by` is missing, or no chip is left.
    """
    missing = [band for band in model.bands if band not in folder.bands]
    if missing:
        raise ChipError(
            "{path} has bands {bands}; the model also wants {missing}",
            path=folder.path,
            bands=", ".join(folder.bands),
            missing=", ".join(missing),
        )
    if by not in folder.index:
        raise ChipError(
            "{path} has no column '{by}'; it has {columns}",
            path=folder.path,
            by=by,
            columns=", ".join(map(str, folder.index.columns)),
        )
    chosen = folder if split == "all" else folder.where(split=split)
    if not len(chosen):
        sides = ", ".join(f"{count} {side}" for side, count in folder.index["split"].value_counts().items())
        raise ChipError(
            "{path} has no chip of split '{split}' ({sides}); choose with --split",
            path=folder.path,
            split=split,
            sides=sides or Message("it is empty"),
        )
    return chosen


def on_chips(folder: ChipFolder, judge: Judge, *, by: str = "group") -> Iterator[Part]:
    """The score of every chip, in the order of the folder; groups are the values of a column of its index."""
    for number in range(len(folder)):
        row = folder.index.iloc[number]
        yield _chip_part(folder, number, judge, group=str(row[by]), block=f"{row['source']} {row['block']}")


def _chip_part(folder: ChipFolder, number: int, judge: Judge, *, group: str, block: str) -> Part:
    chip = only_bands(folder.read(number), folder.bands, judge.model.bands)
    probability, threshold = judge.probability(chip)
    mask, pixel_m = classes(threshold)[probability], (chip.pixel_m, chip.pixel_m)
    its = score(mask, chip.target, pixel_m=pixel_m, tolerances_m=judge.tolerances_m, probability=probability)
    return Part(chip.id, its, {group: its}, block, lambda: _picture(folder, number, judge))


def _picture(folder: ChipFolder, number: int, judge: Judge) -> Picture:
    chip = folder.read(number)
    probability, threshold = judge.probability(only_bands(chip, folder.bands, judge.model.bands))
    return Picture(chip.image.rgb(chip.low, chip.high), classes(threshold)[probability], chip.target)


def chip_probability(
    chip: Chip, predict: Predict, *, pixel_m: float, statistics: Statistics | None = None
) -> UInt8[np.ndarray, "height width"]:
    """The probability of cropland on the chip's own grid: 0..254 is p x 254, 255 where the chip has no data.

    The chip is predicted whole. `predict` gives the logits of a normalised image, channel 0 cropland; `pixel_m` is the
    model's working pixel. Without `statistics` those of the scene that the chip was cut from are used.
    """
    ratio, shape = pixel_m / chip.pixel_m, chip.image.valid.shape
    image = _at(chip.image, ratio, tuple(resampled_length(length, ratio) for length in shape))
    stretch = statistics or Statistics((), chip.low, chip.high)
    logits = predict(stretch.normalise(image.values, image.valid))[:1]
    probability = _at(Image(expit(logits), np.ones(logits.shape[1:], bool)), 1 / ratio, shape).values[0]
    return to_levels(probability, chip.image.valid)


def only_bands(chip: Chip, has: Sequence[str], wants: Sequence[str]) -> Chip:
    """The chip with the bands `wants`, in that order; `has` names its own."""
    order = [list(has).index(band) for band in wants]
    low, high = (tuple(limits[band] for band in order) for limits in (chip.low, chip.high))
    image = Image(chip.image.values[order], chip.image.valid, chip.image.grid, tuple(wants))
    return replace(chip, image=image, low=low, high=high)


def _at(image: Image, ratio: float, shape: tuple[int, ...]) -> Image:
    """The image at pixels `ratio` times as large, resampled as `Scene.read` does a whole scene."""
    if ratio == 1:
        return image
    rows, cols = (
        taps(ratio, start=0, count=count, length=length) for count, length in zip(shape, image.valid.shape, strict=True)
    )
    values, valid = resample(image.values, None if image.valid.all() else image.valid, rows=rows, cols=cols)
    return Image(values, np.ones(values.shape[1:], bool) if valid is None else valid)


def blocks(mask: Scene) -> int:
    """The number of blocks of a mask."""
    return math.prod(-(-length // BLOCK) for length in mask.shape)


def on_mask(
    mask: Scene, draw: Draw, *, tolerances_m: Sequence[float], regions: Regions | None = None
) -> Iterator[Part]:
    """The score of every block that has known pixels; `draw` is that of the labels on the mask.

    Raises `SceneError` if the mask holds other values than 0, 1 and no data, `LabelError` if no region meets it.
    """
    halo = math.ceil(max(tolerances_m) / min(pixel_sides_m(mask))) + 1
    values, numbers = (regions[0], regions[1].on(mask)) if regions else ((), None)
    for tile in tiles(mask.shape, size=BLOCK, halo=halo, stride=1):
        part = _tile_part(mask, draw, tile, tolerances_m=tolerances_m, values=values, numbers=numbers)
        if part.total.counts.total:
            yield part


def _tile_part(
    mask: Scene, draw: Draw, tile: Tile, *, tolerances_m: Sequence[float], values: Sequence[str], numbers: Draw | None
) -> Part:
    prediction, reference = _read(mask, tile.padded), draw(tile.padded)
    core = tile.inner.slices

    def against(known: UInt8[np.ndarray, "height width"]) -> Score:
        return score(prediction, known, pixel_m=pixel_sides_m(mask), tolerances_m=tolerances_m, core=core)

    number = numbers(tile.padded) if numbers else np.full(reference.shape, UNKNOWN, np.uint8)
    here = [int(n) for n in np.unique(number[core]) if n != UNKNOWN]
    groups = {values[n]: against(np.where(number == n, reference, np.uint8(UNKNOWN))) for n in here}
    name = Message("row {row}, column {col}", row=tile.core.row, col=tile.core.col)
    return Part(name, against(reference), groups, name, lambda: Picture(None, _read(mask, tile.core), draw(tile.core)))


def _read(mask: Scene, window: Window) -> UInt8[np.ndarray, "height width"]:
    image = mask.read(window, bands=mask.bands)
    values = np.where(image.valid, image.values[0], UNKNOWN)
    foreign = sorted({float(value) for value in np.unique(values)} - {0, 1, UNKNOWN})
    if foreign:
        shown = ", ".join(f"{value:g}" for value in foreign[:8])
        raise SceneError(
            "{files} holds the values {shown}; a mask is 1 cropland, 0 not cropland, 255 no data",
            files=mask.files[0],
            shown=shown,
        )
    return values.astype(np.uint8)


def pixel_sides_m(scene: Scene) -> tuple[float, float]:
    """Height and width of a scene's pixel in metres at its centre."""
    along, down = pixel_edges_m(scene.grid, unit_m=scene.unit_m)
    return down, along


def read_regions(labels: LabelOptions, column: str, *, allow_datum_shift: bool = False) -> Regions:
    """The values of a column of polygons, and the polygons as labels of the numbers of these values.

    The polygons are those of the --inside area, else those of the labels.

    Raises `LabelError` if the column is missing, or has more than 254 values.
    """
    if labels.inside:
        path, frame = labels.inside, read_polygons(labels.inside)
    elif labels.labels and not labels.classes:
        path, selection = labels.labels, {"layer": labels.layer, "where": labels.where, "encoding": labels.encoding}
        frame = read_polygons(path, **selection)
    else:
        raise LabelError("--by needs polygons that have the column: give them as --inside AREA")
    if column not in frame:
        raise LabelError(
            "{name} has no column '{column}'; it has {columns}",
            name=path.name,
            column=column,
            columns=", ".join(map(str, frame.columns)),
        )
    names = frame[column].astype(str)
    values = tuple(sorted(set(names)))
    if len(values) > UNKNOWN:
        raise LabelError(
            "{name}: column '{column}' has {count} values; take one with at most {unknown}",
            name=path.name,
            column=column,
            count=len(values),
            unknown=UNKNOWN,
        )
    layers = tuple((number, Polygons.of(frame[names == value])) for number, value in enumerate(values))
    return values, PolygonLabels(layers, UNKNOWN, path.name, allow_datum_shift)
