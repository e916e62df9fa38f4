"""A model against the labels of a chip folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cropland.data.chips import Chip, ChipFolder
from cropland.data.statistics import Statistics
from cropland.errors import ChipError
from cropland.evaluation.confusion import UNKNOWN
from cropland.evaluation.predict import Predict, chip_probability, only_bands
from cropland.evaluation.score import Part, Picture, score
from cropland.language import _
from cropland.model import Model

__all__ = ["Judge", "choose_chips", "on_chips"]


@dataclass(frozen=True)
class Judge:
    """A model at work on chips: `working_pixel_m` stands in for each chip's own in the choice of the working pixel."""

    model: Model
    predict: Predict
    tolerances_m: Sequence[float]
    working_pixel_m: float | None = None

    def probability(self, chip: Chip) -> tuple[UInt8[np.ndarray, "height width"], float]:
        """The probability on the chip's own grid, and the threshold that goes with it."""
        pixel = self.model.nearest_pixel(self.working_pixel_m or chip.pixel_m)
        return chip_probability(
            chip, self.predict, pixel_m=pixel.pixel_m, statistics=self.model.statistics
        ), pixel.threshold


def choose_chips(folder: ChipFolder, model: Model, *, split: str, by: str) -> ChipFolder:
    """The chips of a side of the split (or `all`), checked to suit the model.

    Raises `ChipError` if a band or the column `by` is missing, or no chip is left.
    """
    missing = [band for band in model.bands if band not in folder.bands]
    if missing:
        raise ChipError(
            _(
                "{path} has bands {bands}; the model also wants {missing}",
                path=folder.path,
                bands=", ".join(folder.bands),
                missing=", ".join(missing),
            )
        )
    if by not in folder.index:
        raise ChipError(
            _(
                "{path} has no column '{by}'; it has {columns}",
                path=folder.path,
                by=by,
                columns=", ".join(map(str, folder.index.columns)),
            )
        )
    chosen = folder if split == "all" else folder.where(split=split)
    if not len(chosen):
        sides = ", ".join(f"{count} {side}" for side, count in folder.index["split"].value_counts().items())
        raise ChipError(
            _(
                "{path} has no chip of split '{split}' ({sides}); choose with --split",
                path=folder.path,
                split=split,
                sides=sides or _("it is empty"),
            )
        )
    return chosen


def on_chips(folder: ChipFolder, judge: Judge, *, by: str = "group") -> Iterator[Part]:
    """The score of every chip, in the order of the folder; groups are the values of a column of its index."""
    for number in range(len(folder)):
        row = folder.index.iloc[number]
        yield _part(folder, number, judge, group=str(row[by]), block=f"{row['source']} {row['block']}")


def _part(folder: ChipFolder, number: int, judge: Judge, *, group: str, block: str) -> Part:
    chip = only_bands(folder.read(number), folder.bands, judge.model.bands)
    probability, threshold = judge.probability(chip)
    pixel_m = (chip.pixel_m, chip.pixel_m)
    its = score(
        _mask(probability, threshold),
        chip.target,
        pixel_m=pixel_m,
        tolerances_m=judge.tolerances_m,
        probability=probability,
    )
    return Part(chip.id, its, {group: its}, block, lambda: _picture(folder, number, judge))


def _mask(probability: UInt8[np.ndarray, "height width"], threshold: float) -> UInt8[np.ndarray, "height width"]:
    return np.where(probability == UNKNOWN, UNKNOWN, probability / np.float64(254) >= threshold).astype(np.uint8)


def _picture(folder: ChipFolder, number: int, judge: Judge) -> Picture:
    chip = folder.read(number)
    said = _mask(*judge.probability(only_bands(chip, folder.bands, judge.model.bands)))
    colours = ("red", "green", "blue")
    shown = only_bands(chip, folder.bands, colours if set(colours) <= set(folder.bands) else folder.bands[:1] * 3)
    stretched = Statistics((), shown.low, shown.high).normalise(shown.image.values, shown.image.valid)
    rgb = (stretched.clip(0, 1) * 255).astype(np.uint8)
    return Picture(rgb.transpose(1, 2, 0), said, chip.target)
