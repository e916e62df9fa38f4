"""The folder of a training run: its state for going on after a kill, its journal and pictures, and its model.

RUN/plan.json           recipe and chips of the first start and how batches are computed; later starts go on by it
RUN/running.json        there while a training runs, and after one that was killed
RUN/state.pt            weights, optimizer and checkpoint of the last minute
RUN/journal.jsonl       a line per epoch; events of TensorBoard beside it where that is installed
RUN/curves.png          loss and validation IoU
RUN/validation.png      validation chips from worst to best
RUN/model.safetensors   the model, with model.json for catalogues of STAC
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
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
from cropland.recipe import Recipe, parse_recipe, with_norm
from cropland.streaming.receptive_field import field
from cropland.training import pictures
from cropland.training.field_threshold import with_boundary_thresholds
from cropland.training.plan import BatchPlan
from cropland.training.validate import ValidationScore, predictor, validate
from cropland.writers.stac import write_model_item

PLAN, RUNNING = "plan.json", "running.json"


def is_begun(run: Path, recipe: Recipe, learn: ChipFolder) -> bool:
    """Whether the run was begun. Raises `RecipeError` if that was with another recipe or other chips."""
    if not (run / PLAN).exists():
        return False
    first, now = _read_plan(run), _begun_with(recipe, learn)
    for key, value in now.items():
        if first[key] != json.loads(json.dumps(value)):
            raise RecipeError(
                "{run} was begun with another {key}; continue with the same, or give another --out", run=run, key=key
            )
    return True


def write_plan(run: Path, recipe: Recipe, learn: ChipFolder, plan: BatchPlan) -> None:
    """Begin a run: keep what every later start goes on by."""
    run.mkdir(parents=True, exist_ok=True)
    about = {"threads": torch.get_num_threads(), "torch": torch.__version__}
    write_json(run / PLAN, {**_begun_with(recipe, learn), **vars(plan), **about})


def read_plan(run: Path) -> tuple[Recipe, BatchPlan, int]:
    """The recipe of a run with its normalisation decided, how its batches are computed, and by how many threads."""
    first = _read_plan(run)
    known = {field.name for field in fields(BatchPlan)}
    plan = BatchPlan(**{name: value for name, value in first.items() if name in known})
    recipe = parse_recipe(first["recipe"])
    training = recipe.training.model_copy(update={"frozen_norm": recipe.training.frozen_norm or plan.frozen_norm})
    recipe = recipe.model_copy(update={"training": training})
    return with_norm(recipe, plan.norm) if plan.norm else recipe, plan, first["threads"]


def change_plan(run: Path, plan: BatchPlan) -> None:
    """Keep that batches are computed otherwise from here on."""
    write_json(run / PLAN, {**_read_plan(run), **vars(plan)})


def _begun_with(recipe: Recipe, learn: ChipFolder) -> dict[str, Any]:
    groups = sorted(set(learn.index["group"].astype(str)))
    return {"recipe": recipe.model_dump(mode="json"), "chips": {"count": len(learn), "groups": groups}}


def _read_plan(run: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run / PLAN).read_text(encoding="utf-8"))
    # Keys that were added to recipes since then get their defaults.
    values["recipe"] = parse_recipe(values["recipe"], source=str(run / PLAN)).model_dump(mode="json")
    return values


@contextmanager
def watched(run: Path) -> Iterator[Callable[[], None]]:
    """A training runs within; what is given is called after each step. A process that is killed leaves running.json."""
    about = {"out_of_memory_kills": _kills(), "stepped": False}
    write_json(run / RUNNING, about)
    left = [True]

    def stepped() -> None:
        if left:
            left.clear()
            write_json(run / RUNNING, {**about, "stepped": True})

    try:
        yield stepped
    finally:
        (run / RUNNING).unlink()


def died_for_memory(run: Path) -> bool:
    """Whether the last start seems to have ended because memory was full.

    That is so if it died before its first step was done, or if Linux has killed a process for memory since it began.
    """
    path = run / RUNNING
    if not path.exists():
        return False
    last, kills = json.loads(path.read_text(encoding="utf-8")), _kills()
    return not last["stepped"] or (kills is not None and kills > (last["out_of_memory_kills"] or 0))


def _kills() -> int | None:
    """How many processes Linux has killed for their memory since it started; None elsewhere."""
    counters = Path("/proc/vmstat")
    if not counters.exists():
        return None
    lines = (line.split() for line in counters.read_text("utf-8").splitlines())
    return next((int(count) for name, count in lines if name == "oom_kill"), None)


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
    start: ModelFile | None = None,
) -> ModelFile:
    """Save the network in half precision, then score and draw the saved model: the metrics are those of the file.

    start: the model whose thresholds are kept, if any.
    """
    seen = field(network.cpu().eval(), len(recipe.bands))
    draft = ModelFile(recipe, (), seen.stride, seen.radius, statistics, source_hash=source_hash(recipe))
    saved = draft.save(run / ".draft.safetensors", network.state_dict())
    assert saved.path is not None
    halved = saved.network()
    threshold = start.working_pixels[0].threshold if start else None
    score = validate(halved, recipe, check, statistics, threshold=threshold)
    metrics = {"validation_iou": score.iou, "validation_chips": len(check), **score.calibration_errors}
    whole = replace(
        draft,
        working_pixels=score.pixels,
        metrics=metrics,
        temperature=score.temperature,
        trained_on=trained_on,
    )
    if "boundary" in recipe.outputs:
        old = start.working_pixels if start else ()
        kept = {pixel.pixel_m: pixel.boundary_threshold for pixel in old if pixel.boundary_threshold is not None}
        found = with_boundary_thresholds(replace(whole, path=saved.path), check, kept=kept)
        whole = replace(whole, working_pixels=found)
    model = whole.save(run / "model.safetensors", halved.state_dict())
    saved.path.unlink()
    pictures.examples(predictor(halved), check, model, run)
    write_model_item(model.header(), run / "model.safetensors", run / "model.json")
    return model
