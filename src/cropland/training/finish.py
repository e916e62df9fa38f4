"""The end of a training: the model file, scored as saved, with its pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from cropland.data.chips import ChipFolder
from cropland.data.statistics import Statistics
from cropland.model import Model, source_hash
from cropland.recipe import Recipe
from cropland.streaming.receptive_field import field
from cropland.training import pictures
from cropland.training.validate import predictor, validate
from cropland.writers.stac import write_model_item


def finish(network: nn.Module, recipe: Recipe, check: ChipFolder, statistics: Statistics | None, run: Path) -> Model:
    """Save the network in half precision, then score and picture what was saved: figures are of the file, not of the
    training."""
    seen = field(network.cpu().eval(), len(recipe.bands))
    draft = Model(recipe, (), seen.stride, seen.radius, statistics, source_hash=source_hash(recipe))
    saved = draft.save(run / ".draft.safetensors", network.state_dict())
    assert saved.path is not None
    halved = saved.network()
    score = validate(halved, recipe, check, statistics)
    metrics = {"validation_iou": score.iou, "validation_chips": len(check)}
    model = replace(draft, working_pixels=score.pixels, metrics=metrics).save(
        run / "model.safetensors", halved.state_dict()
    )
    saved.path.unlink()
    pictures.examples(predictor(halved), check, model, run)
    write_model_item(model.header(), run / "model.safetensors", run / "model.json")
    return model


def fixed_statistics(learn: ChipFolder, recipe: Recipe) -> Statistics | None:
    """The training set's percentiles, the median over its chips, when the radiometry is fixed."""
    if recipe.radiometry.kind == "scene":
        return None
    order = [learn.bands.index(band) for band in recipe.bands]
    low, high = (np.median(np.stack(learn.index[side].to_list()), axis=0)[order] for side in ("low", "high"))
    return Statistics(recipe.bands, tuple(map(float, low)), tuple(map(float, high)))
