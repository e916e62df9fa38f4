"""Tuning: the recipe by which a model goes on learning from a few labels of one's own, and chips of what it knew."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
import rasterio
from jaxtyping import UInt8

from cropland.data.chips import Chip, ChipFolder, open_chips
from cropland.data.cut import cut_chips
from cropland.data.labels import CROPLAND, OTHER, UNKNOWN, LabelOptions
from cropland.errors import ChipError
from cropland.evaluation.judge import Judge, Predict, only_bands
from cropland.files import replacing_folder
from cropland.geo.scene import open_scene
from cropland.model import ModelFile
from cropland.probability import NO_DATA, ONE
from cropland.recipe import Recipe, change_recipe, parse_recipe

__all__ = ["named_model", "replayed", "tuning_recipe"]

SCALE = (0.7, 1.4)  # times the pixel of a chip: one's own imagery has one pixel size
RATE, FROZEN, REPLAY = 5e-4, 1.0, 0.4
EPOCHS, CHIPS = 4, 400
# One's own imagery has one sensor and few dates: weaker than what prepares a model for any scene.
AUGMENTATION = {
    "gamma": 0.3,
    "band_gain": 0.1,
    "haze": 0.1,
    "blur": 0.5,
    "window_percentiles": 0.2,
    "fields": 0.0,
    "colour": 0.0,
    "swap": 0.0,
}
LEAST = 32  # pixels: what the coarsest map of an encoder halves to one
SAMPLES = Path(str(files("cropland") / "sample"))
NEAR = 2.5  # times the pixel of a sample: a working pixel at which it still shows what it shows
UNSURE = 0.1  # of probability on either side of the threshold


def named_model(given: str | Path | ModelFile, *, trust: bool = False) -> ModelFile:
    """The model of a file, or one that ships by its name, such as cropland_rgb.

    trust: run the code that the file names. Raises `ModelError` as `ModelFile.load` does.
    """
    if isinstance(given, ModelFile):
        return given
    shipped = Path(str(files("cropland") / "models" / f"{given}.safetensors"))
    return ModelFile.load(shipped if shipped.exists() else Path(given), trust=trust)


def tuning_recipe(model: ModelFile, chips: ChipFolder, set: Sequence[str] = ()) -> Recipe:
    """The recipe of the model, changed for a short training that starts from it on chips of one's own.

    The rate is low, and the encoder and the statistics of batch normalisation, which a few chips would make worse, stay
    as they are. So that little of what the model knew is forgotten, it learns its own answers on the samples beside the
    chips, and at the end the weights are a mean of the model's and the new ones, in the shares that are best on the
    validation chips. set: settings that replace those of the recipe. Raises `ChipError` if the chips lack a band of the
    model.
    """
    if missing := [band for band in model.bands if band not in chips.bands]:
        raise ChipError(
            "{path} has the bands {bands}, and the model {name} also wants {missing}; cut chips with these bands, or "
            "train a model of your own from a recipe",
            path=chips.path,
            bands=", ".join(chips.bands),
            name=model.name,
            missing=", ".join(missing),
        )
    values = model.recipe.model_dump(mode="json")
    values["name"] = f"{model.name}_tuned"
    values["network"]["start"] = str(model.path)
    # A crop that is larger than its chip would be filled with mirror images.
    edge = int(chips.index[["height", "width"]].median().min())
    values["sampling"]["crop"] = max(LEAST, min(values["sampling"]["crop"], edge // LEAST * LEAST))
    # Groups of the model's own chips are not there.
    values["sampling"] |= {"scale": SCALE, "scales": {}, "groups": {}, "paste": 0.0, "paste_groups": {}}
    values["sampling"] |= {"one_radiometry": ()}
    values["augmentation"] |= AUGMENTATION
    values["training"] |= {"epochs": EPOCHS, "chips_per_epoch": CHIPS, "learning_rate": RATE}
    values["training"] |= {"frozen": FROZEN, "frozen_norm": True, "replay": REPLAY, "mix": True}
    values["training"] |= {"keep": "best", "ema": 0.98, "patience": 1000}
    pixels = {model.nearest_pixel(pixel_m).pixel_m for pixel_m in chips.index["pixel_m"].unique()}
    values["validation"] = {"working_pixels": sorted(pixels)}
    return change_recipe(parse_recipe(values), set)


def replayed(start: ModelFile, predict: Predict, out: Path) -> ChipFolder | None:
    """Chips of the samples that ship, labelled as a model maps them; None if it would map neither, because of their
    bands, their pixels or a radiometry that is fixed.

    Where the model is unsure the label is unknown. A network that goes on learning from its own answers keeps them.
    predict: the network of the model. out: the folder that they lie in, or come to lie in.
    Source: Robins 1995, doi:10.1080/09540099550039318 (pseudorehearsal).
    """
    scenes = [open_scene(path) for path in sorted(SAMPLES.glob("*.tif"))]
    usable = [
        scene
        for scene in scenes
        if {*start.bands} <= {*scene.bands}
        and 1 / NEAR <= start.nearest_pixel(scene.pixel_m).pixel_m / scene.pixel_m <= NEAR
    ]
    if not usable or start.statistics:
        return None
    if not out.exists():
        with replacing_folder(out) as hidden:
            cut_chips(usable, LabelOptions(whole="other"), hidden / "chips", validation=0)
            chips = open_chips(hidden / "chips")
            for number, path in enumerate(chips.index["label"]):
                mask = _sure_mask(only_bands(chips.read(number), chips.bands, start.bands), start, predict)
                with rasterio.open(chips.path / path, "r+") as file:
                    file.write(np.stack([mask, np.full_like(mask, UNKNOWN)]))  # it tells no boundary
    return open_chips(out / "chips")


def _sure_mask(chip: Chip, model: ModelFile, predict: Predict) -> UInt8[np.ndarray, "height width"]:
    """The mask of a chip, unknown where the model is unsure."""
    probability, threshold = Judge(model, predict, ()).probability(chip)
    over = probability / ONE - threshold
    unsure = (np.abs(over) < UNSURE) | (probability == NO_DATA)
    mask: np.ndarray = np.where(unsure, UNKNOWN, np.where(over > 0, CROPLAND, OTHER)).astype(np.uint8)
    return mask
