"""The folder of a training run: its state for going on after a kill, its journal and pictures, and its model.

RUN/plan.json           recipe, chips and memory of the first start, by which every later start goes on
RUN/state.pt            weights, optimizer and checkpoint of the last minute
RUN/journal.jsonl       a line per epoch; events of TensorBoard beside it where that is installed
RUN/curves.png          loss and validation IoU
RUN/validation.png      validation chips from worst to best
RUN/model.safetensors   the model, with model.json for catalogues of STAC
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cropland.data.chips import ChipFolder
from cropland.data.ground import TrainingGround
from cropland.errors import RecipeError
from cropland.files import replacing, write_json
from cropland.geo.statistics import Statistics
from cropland.model import ModelFile, source_hash
from cropland.recipe import Recipe, parse_recipe
from cropland.streaming.receptive_field import field
from cropland.training import pictures
from cropland.training.field_threshold import with_boundary_thresholds
from cropland.training.validate import ValidationScore, predictor, validate
from cropland.writers.stac import write_model_item


def frozen_plan(run: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of the first start; a second start with another recipe or other chips is refused."""
    path = run / "plan.json"
    if not path.exists():
        write_json(path, plan)
        return dict(plan)
    first: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    # Keys that were added to recipes since then get their defaults.
    first["recipe"] = parse_recipe(first["recipe"], source=str(path)).model_dump(mode="json")
    for key in ("recipe", "chips"):
        if first[key] != json.loads(json.dumps(plan[key])):
            raise RecipeError(
                "{run} was begun with another {key}; continue with the same, or give another --out", run=run, key=key
            )
    return first


@dataclass(frozen=True)
class Checkpoint:
    """How far a run has come: the next epoch and step, the loss summed within the epoch, the best weights so far."""

    epoch: int
    step: int
    loss: float
    best_epoch: int
    best_score: float
    best: Mapping[str, Tensor]

    def at(self, *, epoch: int, step: int, loss: float) -> Checkpoint:
        """Within an epoch."""
        return replace(self, epoch=epoch, step=step, loss=loss)

    def after(self, epoch: int, score: ValidationScore, average: nn.Module) -> Checkpoint:
        """After an epoch, with its weights if they are the best."""
        if score.iou > self.best_score:
            weights = {name: value.clone() for name, value in average.state_dict().items()}
            return Checkpoint(epoch + 1, 0, 0.0, epoch, score.iou, weights)
        return self.at(epoch=epoch + 1, step=0, loss=0.0)


def save_state(run: Path, state: Mapping[str, Any]) -> None:
    """Write the state to go on from; a kill leaves the old state or the new one, never a part."""
    with replacing(run / "state.pt") as hidden:
        torch.save(dict(state), hidden)


def load_state(run: Path, device: torch.device) -> dict[str, Any] | None:
    """The state to go on from, if there is one."""
    path = run / "state.pt"
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def append(run: Path, row: Mapping[str, Any]) -> None:
    """Add one line to the journal."""
    with (run / "journal.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read(run: Path) -> list[dict[str, Any]]:
    """The rows of the journal, the last one of each epoch; a line that a kill cut off is skipped."""
    path = run / "journal.jsonl"
    if not path.exists():
        return []
    rows: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.endswith("}"):
            row = json.loads(line)
            rows[row["epoch"]] = row
    return list(rows.values())


def show(row: Mapping[str, Any], run: Path) -> None:
    """Add one row of the journal to the run folder's event files; nothing where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run)) as writer:
        for name in ("loss", "rate", "gradient", "iou"):
            writer.add_scalar(name, row[name], row["epoch"])


def fixed_statistics(learn: ChipFolder, recipe: Recipe) -> Statistics | None:
    """The training set's percentiles, the median over its chips, when the radiometry is fixed."""
    if recipe.radiometry.kind == "scene":
        return None
    order = [learn.bands.index(band) for band in recipe.bands]
    low, high = (np.median(np.stack(learn.index[side].to_list()), axis=0)[order] for side in ("low", "high"))
    return Statistics(recipe.bands, tuple(map(float, low)), tuple(map(float, high)))


def finish(
    network: nn.Module,
    recipe: Recipe,
    check: ChipFolder,
    statistics: Statistics | None,
    run: Path,
    *,
    trained_on: TrainingGround,
) -> ModelFile:
    """Save the network in half precision, then score and draw the saved model: the metrics are those of the file."""
    seen = field(network.cpu().eval(), len(recipe.bands))
    draft = ModelFile(recipe, (), seen.stride, seen.radius, statistics, source_hash=source_hash(recipe))
    saved = draft.save(run / ".draft.safetensors", network.state_dict())
    assert saved.path is not None
    halved = saved.network()
    score = validate(halved, recipe, check, statistics)
    metrics = {"validation_iou": score.iou, "validation_chips": len(check), **score.calibration_errors}
    whole = replace(
        draft,
        working_pixels=score.pixels,
        metrics=metrics,
        temperature=score.temperature,
        trained_on=trained_on,
    )
    if "boundary" in recipe.outputs:
        whole = replace(whole, working_pixels=with_boundary_thresholds(replace(whole, path=saved.path), check))
    model = whole.save(run / "model.safetensors", halved.state_dict())
    saved.path.unlink()
    pictures.examples(predictor(halved), check, model, run)
    write_model_item(model.header(), run / "model.safetensors", run / "model.json")
    return model
