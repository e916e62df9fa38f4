"""Pictures of a training: curves, and validation chips from worst to best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cropland.data.chips import Chip, ChipFolder
from cropland.evaluation.counts import count
from cropland.evaluation.judge import Predict, chip_probability, only_bands
from cropland.evaluation.report import verdict
from cropland.evaluation.score import Picture
from cropland.files import replacing
from cropland.fonts import drawable, lettering
from cropland.language import _
from cropland.model import ModelFile
from cropland.probability import NO_DATA, ONE, classes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 6  # chips in validation.png


@lettering()
def curves(rows: Sequence[dict[str, Any]], run: Path) -> None:
    """Loss and validation IoU by epoch, into curves.png."""
    figure, (left, right) = _figure(1, 2, width=9, height=3.4)
    epochs = [row["epoch"] + 1 for row in rows]
    left.plot(epochs, [row["loss"] for row in rows], color="#1b5e20")
    left.set(title=_("training loss"), xlabel=_("epoch"))
    for number, pixel in enumerate(rows[0]["pixels"]):
        right.plot(epochs, [row["pixels"][number]["iou"] for row in rows], label=f"{pixel['pixel_m']:g} m")
    right.set(title=_("validation IoU"), xlabel=_("epoch"))
    right.legend(title=_("working pixel"), frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(run / "curves.png") as hidden:
        figure.savefig(hidden, dpi=110)


@lettering()
def examples(predict: Predict, chips: ChipFolder, model: ModelFile, run: Path) -> None:
    """Validation chips from worst to best with label, probability and errors, into validation.png."""
    own = (only_bands(chips.read(number), chips.bands, model.bands) for number in range(len(chips)))
    judged = sorted((_judge(predict, chip, model) for chip in own), key=lambda each: each[0])
    places = np.unique(np.linspace(0, len(judged) - 1, min(SHOWN, len(judged))).round().astype(int))
    figure, axes = _figure(len(places), 4, width=12, height=3 * len(places))
    for row, (right, chip, probability, mask) in zip(np.atleast_2d(axes), (judged[i] for i in places), strict=True):
        _show(row, chip, probability, mask, right)
    with replacing(run / "validation.png") as hidden:
        figure.savefig(hidden, dpi=80)


def _judge(predict: Predict, chip: Chip, model: ModelFile) -> tuple[float, Chip, np.ndarray, np.ndarray]:
    pixel = model.nearest_pixel(chip.pixel_m)
    probability = chip_probability(chip, predict, pixel_m=pixel.pixel_m, statistics=model.statistics)
    mask = classes(pixel.threshold)[probability]
    return count(mask, chip.target).accuracy, chip, probability, mask


def _show(row: Sequence[Axes], chip: Chip, probability: np.ndarray, mask: np.ndarray, right: float) -> None:
    rgb = chip.image.rgb(chip.low, chip.high)
    row[0].imshow(rgb)
    row[1].imshow(np.ma.masked_equal(chip.target, 255), vmin=0, vmax=1, cmap="YlGn", interpolation="nearest")
    row[2].imshow(np.ma.masked_equal(probability, NO_DATA), vmin=0, vmax=ONE, cmap="magma")
    row[3].imshow(verdict(Picture(rgb, mask, chip.target)), interpolation="nearest")
    judged = _("correct {share:.1%}; orange: false alarm, blue: missed", share=right)
    titles = (drawable(chip.id), _("label"), _("probability"), judged)
    for axes, title in zip(row, titles, strict=True):
        axes.set_title(title, fontsize=8, loc="left")
        axes.axis("off")


def _figure(rows: int, columns: int, *, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns)
