"""The picture of the model's card: ground on which the model that ships errs most, with its errors.

    python recipes/where_it_fails.py [MODEL]    writes docs/where_it_fails.jpg

Needs the chips that recipes/cropland_rgb.py cuts into runs/chips, all of places that validate.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from cropland.data.chips import Chip, open_chips
from cropland.evaluation.judge import chip_probability, only_bands
from cropland.model import ModelFile, default_model
from cropland.probability import classes
from cropland.training.validate import predictor

SHOWN = {
    "north_dakota_20170827": "Dark fields, August 2017 (NAIP, 5 m)",
    "amazon_test_6": "Dry season in Brazil (Sentinel-2, 10 m)",
    "dollard_undated": "A mud flat (Sentinel-2, 10 m)",
    "ucmerced_golfcourse_validation_0": "Golf courses (aerial, 0.3 m)",
}
MISSED, FALSE, UNKNOWN = (0.1, 0.35, 1.0), (1.0, 0.15, 0.1), (0.5, 0.5, 0.5)


def main(path: Path) -> None:
    model, folder = ModelFile.load(path), open_chips("runs/chips").where(split="validation")
    predict, numbers = predictor(model.network()), dict(zip(folder.index["id"], range(len(folder)), strict=True))
    figure, axes = plt.subplots(2, len(SHOWN), figsize=(3.6 * len(SHOWN), 7.4), layout="constrained")
    for (name, title), (above, below) in zip(SHOWN.items(), axes.T, strict=True):
        chip = only_bands(folder.read(numbers[name]), folder.bands, model.bands)
        pixel = model.nearest_pixel(chip.pixel_m)
        levels = chip_probability(chip, predict, pixel_m=pixel.pixel_m, statistics=model.statistics)
        image = rgb(chip)
        for axis, values in ((above, image), (below, errors(image, chip.target, classes(pixel.threshold)[levels]))):
            axis.imshow(values, interpolation="nearest")
            axis.axis("off")
        above.set_title(title, fontsize=10)
    figure.supxlabel(
        "Below: cropland that is missed, blue; other land called cropland, red; unknown, grey", fontsize=10
    )
    figure.savefig("docs/where_it_fails.jpg", dpi=100, pil_kwargs={"quality": 85})


def rgb(chip: Chip) -> np.ndarray:
    """Between the percentiles of its scene."""
    low, high = (np.array(edge)[:, None, None] for edge in (chip.low, chip.high))
    return ((chip.image.values - low) / np.maximum(high - low, 1e-6)).clip(0, 1).transpose(1, 2, 0)


def errors(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image, paler, with what is wrong in colours."""
    shown = 0.5 + 0.5 * image
    for wrong, colour in (((target == 1) & (mask == 0), MISSED), ((target == 0) & (mask == 1), FALSE)):
        shown[wrong] = 0.35 * shown[wrong] + 0.65 * np.array(colour)
    shown[target == 255] = 0.6 * shown[target == 255] + 0.4 * np.array(UNKNOWN)
    return shown


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default_model())
