"""Tuning: the recipe by which a model goes on learning from a few labels of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from cropland.data.chips import ChipFolder
from cropland.errors import ChipError
from cropland.model import ModelFile
from cropland.recipe import Recipe, change_recipe, parse_recipe

__all__ = ["named_model", "tuning_recipe"]

SCALE = (0.7, 1.4)  # times the pixel of a chip: one's own imagery has one pixel size
RATE, ENCODER_RATE, FROZEN = 5e-4, 0.3, 0.3
EPOCHS, CHIPS = 4, 400
LEAST = 32  # pixels: what the coarsest map of an encoder halves to one


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

    Rates are low, the encoder stays as it is at first, and batch normalisation keeps its statistics, which a few chips
    would make worse. At the end the weights are a mean of the model's and the new ones, in the shares that are best on
    the validation chips, so that little of what the model knew is forgotten. set: settings that replace those of the
    recipe. Raises `ChipError` if the chips lack a band of the model.
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
    values["training"] |= {"epochs": EPOCHS, "chips_per_epoch": CHIPS, "learning_rate": RATE}
    values["training"] |= {"encoder_rate": ENCODER_RATE, "frozen": FROZEN, "frozen_norm": True, "mix": True}
    values["training"] |= {"keep": "best", "ema": 0.98, "patience": 1000}
    pixels = {model.nearest_pixel(pixel_m).pixel_m for pixel_m in chips.index["pixel_m"].unique()}
    values["validation"] = {"working_pixels": sorted(pixels)}
    return change_recipe(parse_recipe(values), set)
