"""The picture of the model's card: ground on which the model that ships errs most, with its errors.

    python recipes/where_it_fails.py [MODEL]    writes docs/where_it_fails.jpg

Needs the chips that recipes/cropland_rgb.py cuts into runs/chips, all of places that validate.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from cropland.data.chips import open_chips
from cropland.evaluation.judge import Judge, only_bands
from cropland.evaluation.report import verdict
from cropland.evaluation.score import Picture
from cropland.model import ModelFile, default_model
from cropland.probability import classes
from cropland.training.validate import predictor

SHOWN = {
    "north_dakota_20170827": "Dark fields, August 2017 (NAIP, 5 m)",
    "north_dakota_20190904": "Lakes, September 2019 (NAIP, 5 m)",
    "amazon_test_6": "Dry season in Brazil (Sentinel-2, 10 m)",
    "ucmerced_golfcourse_validation_0": "Golf courses (aerial, 0.3 m)",
}


def main(path: Path) -> None:
    model, folder = ModelFile.load(path), open_chips("runs/chips").where(split="validation")
    judge = Judge(model, predictor(model.network()), ())
    numbers = dict(zip(folder.index["id"], range(len(folder)), strict=True))
    figure, axes = plt.subplots(2, len(SHOWN), figsize=(3.6 * len(SHOWN), 7.4), layout="constrained")
    for (name, title), (above, below) in zip(SHOWN.items(), axes.T, strict=True):
        chip = only_bands(folder.read(numbers[name]), folder.bands, model.bands)
        levels, threshold = judge.probability(chip)
        image = chip.image.rgb(chip.low, chip.high)
        judged = verdict(Picture(image, classes(threshold)[levels], chip.target))
        for axis, values in ((above, image), (below, judged)):
            axis.imshow(values, interpolation="nearest")
            axis.axis("off")
        above.set_title(title, fontsize=10)
    colours = "cropland that is found, green, and missed, blue; other land called cropland, orange; unknown, hatched"
    figure.supxlabel(f"Below: {colours}", fontsize=10)
    figure.savefig("docs/where_it_fails.jpg", dpi=100, pil_kwargs={"quality": 85})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default_model())
