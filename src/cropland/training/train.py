"""Training: chips become a model; the loop from top to bottom."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter
from rich.console import Console
from torch import nn

from cropland.contract import check_network
from cropland.data.batches import Sampler, batches
from cropland.data.chips import ChipFolder, open_chips
from cropland.data.ground import TrainingGround
from cropland.errors import ChipError, ModelError, RecipeError
from cropland.language import _
from cropland.model import ModelFile, build_network
from cropland.notebooks import forget_changed
from cropland.progress import progress_bar
from cropland.recipe import Recipe, change_recipe, read_recipe
from cropland.training import pictures, run_folder
from cropland.training.memory import choose_device, keep_memory, micro_batch, place_batch, place_network
from cropland.training.optimizer import (
    make_optimizer,
    recipe_objective,
    require_finite,
    set_rate,
    take_step,
    update_average,
)
from cropland.training.run_folder import Checkpoint, finish, fixed_statistics
from cropland.training.validate import ValidationScore, is_one_class, validate

SAVE_EVERY_S = 60.0
TRAINED = ("cropland",), ("cropland", "boundary")  # the outputs that chips have labels for, in order


def command(
    recipe: Path,
    *,
    chips: Path,
    out: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)] = None,
    device: str | None = None,
    trust_all: bool = False,
) -> None:
    """Train a model from a folder of chips.

    The same command resumes a run that was killed, and ends at the same weights.

    Example: cropland train recipes/small.toml --chips my_chips --set training.epochs=10

    Parameters
    ----------
    recipe
        A .toml file with all that decides the model; outputs = ["cropland", "boundary"] in it makes fields come apart.
    chips
        A folder made by `cropland chips`.
    out
        The run folder: journal, curves, pictures and model.safetensors. Default: runs/NAME.
    set_
        A value that replaces the recipe's, as in --set training.epochs=3.
    device
        cpu or cuda; default: cuda where there is one.
    trust_all
        Run all of a notebook or script that the recipe names, not only what the network needs.
    """
    settings = (set_ or []) + ["network.trust_all=true"] * trust_all
    model = train(recipe, chips, out, set=settings, device=device)
    assert model.path is not None
    console = Console()
    for pixel in model.working_pixels:
        console.print(
            _(
                "at {pixel_m:g} m: validation IoU {iou:.4f}, threshold {threshold:.3f}",
                pixel_m=pixel.pixel_m,
                iou=pixel.iou,
                threshold=pixel.threshold,
            )
        )
    console.print(f"{model.path}\n{model.path.with_name('curves.png')}")


def train(
    recipe: str | Path | Recipe,
    chips: str | Path | ChipFolder,
    out: str | Path | None = None,
    *,
    set: Sequence[str] = (),
    device: str | None = None,
) -> ModelFile:
    """Train a network on the training chips of a folder into the run folder `out`, or go on where that stopped.

    out: runs/NAME if not given. set: settings that replace those of the recipe, as in `["training.epochs=3"]`. device:
    cpu or cuda; cuda where there is one if not given. Returns the saved model.
    Raises `RecipeError` for a recipe that cannot be read or that the run folder was not begun with, `ChipError` if a
    side of the split is empty or a band is missing, `ModelError` if the network breaks its contract.
    """
    recipe = change_recipe(recipe, set) if isinstance(recipe, Recipe) else read_recipe(Path(recipe), set)
    folder = chips if isinstance(chips, ChipFolder) else open_chips(chips)
    run = Path(out or Path("runs") / recipe.name)
    training, where = recipe.training, choose_device(device)
    keep_memory(where)
    learn, check = _sides(folder, recipe)
    torch.manual_seed(training.seed)
    network = place_network(_fresh_network(recipe), where, layout=training.layout)
    plan = _plan(recipe, learn, run, network)
    torch.set_num_threads(plan["threads"])
    sampler, objective = Sampler(learn, recipe), recipe_objective(recipe)
    statistics = fixed_statistics(learn, recipe)
    average = copy.deepcopy(network)
    optimizer = make_optimizer(network, training)
    place = _resume(run, network, average, optimizer, where)
    steps = max(1, training.chips_per_epoch // training.batch)
    total_steps, done = training.epochs * steps, place.epoch * steps + place.step
    how: dict[str, Any] = {"clip": training.clip, "precision": training.precision}

    def rate_of(speed: float) -> str:
        return _("{rate:.1f} chips/s", rate=speed * training.batch)

    with progress_bar(_("starting"), total=total_steps, done=done, rate=rate_of) as bar:
        for epoch in range(place.epoch, training.epochs):
            if epoch - place.best_epoch > training.patience:
                break
            network.train()
            begun, saved, total = time.monotonic(), time.monotonic(), place.loss
            for step, batch in enumerate(batches(sampler, epoch, first=place.step), place.step):
                rate = set_rate(optimizer, training, (epoch * steps + step) / (training.epochs * steps))
                here = place_batch(batch, where, layout=training.layout)
                losses, norm = take_step(network, optimizer, here, objective, micro=plan["micro_batch"], **how)
                require_finite(losses, here.chips)
                update_average(average, network, decay=training.ema, step=epoch * steps + step)
                loss = float(losses.mean())
                total += loss
                at = _("epoch {epoch}/{epochs} loss {loss:.3f}", epoch=epoch + 1, epochs=training.epochs, loss=loss)
                bar(name=at)
                if time.monotonic() - saved > SAVE_EVERY_S:
                    place = place.at(epoch=epoch, step=step + 1, loss=total)
                    run_folder.save_state(run, _state(network, average, optimizer, place))
                    saved = time.monotonic()
            score = validate(average, recipe, check, statistics)
            row = {"epoch": epoch, "loss": total / steps, "rate": rate, "gradient": float(norm), **score.row()}
            run_folder.append(run, {**row, "seconds": round(time.monotonic() - begun, 1)})
            run_folder.show(row, run)
            place = place.after(epoch, score, average)
            run_folder.save_state(run, _state(network, average, optimizer, place))
            rows = run_folder.read(run)
            pictures.curves(rows, run)
            bar.tell(_sentence(rows, score))
    if training.keep == "best":
        average.load_state_dict(place.best)
    return finish(average, recipe, check, statistics, run, trained_on=_ground(sampler))


def _sides(folder: ChipFolder, recipe: Recipe) -> tuple[ChipFolder, ChipFolder]:
    missing = [band for band in recipe.bands if band not in folder.bands]
    if missing:
        raise ChipError(
            "{path} has bands {bands}; the recipe also wants {missing}",
            path=folder.path,
            bands=", ".join(folder.bands),
            missing=", ".join(missing),
        )
    if recipe.outputs not in TRAINED:
        raise RecipeError(
            "outputs = {outputs}: chips teach {known} only; take one of these",
            outputs=[*recipe.outputs],
            known=", ".join(str([*names]) for names in TRAINED),
        )
    if "boundary" in recipe.outputs and not folder.has_boundary:
        raise ChipError(
            "{path} was cut before chips kept the boundaries of fields, and the recipe has the output boundary: cut it "
            'again, or take outputs = ["cropland"]',
            path=folder.path,
        )
    learn, check = folder.where(split="train"), folder.where(split="validation")
    if not len(learn) or not len(check):
        raise ChipError(
            "{path} has {training} training and {validation} validation chips; both are needed, cut "
            "with --split validation=0.2",
            path=folder.path,
            training=len(learn),
            validation=len(check),
        )
    return learn, check


def _fresh_network(recipe: Recipe) -> nn.Module:
    forget_changed()  # from here on a notebook may be edited: this run has its code
    network = build_network(recipe)
    check_network(network, recipe)
    if recipe.network.start:
        _start(network, recipe.network.start)
    return network


def _start(network: nn.Module, start: str) -> None:
    """Load the weights of another model's file, or those that the encoder knows by name.

    Of outputs that the other model lacks, the weights of the last layer stay as they are.
    """
    encoder = getattr(network, "encoder", None)
    if start.endswith(".safetensors"):
        theirs, ours = ModelFile.load(Path(start)), network.state_dict()
        weights = theirs.network().state_dict()
        for name, weight in weights.items():
            fresh = ours.get(name, weight)
            if weight.shape[:1] == (len(theirs.outputs),) and weight.shape[1:] == fresh.shape[1:]:
                weights[name] = torch.cat([weight, fresh[len(weight) :]])
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise ModelError(
                "start = '{start}': that model has another network; name a model of the same recipe", start=start
            ) from error
    elif encoder is not None and hasattr(encoder, "start"):
        encoder.start(start)
    else:
        raise ModelError("start = '{start}': this network's encoder has no such weights; remove start", start=start)


def _ground(sampler: Sampler) -> TrainingGround:
    """The ground of the chips that are drawn from, and of those that the weights to start from were trained on."""
    used = TrainingGround.of(sampler.folder.index[sampler.draws])
    start = sampler.recipe.network.start or ""
    return used.joined(ModelFile.read(Path(start)).trained_on) if start.endswith(".safetensors") else used


def _plan(recipe: Recipe, learn: ChipFolder, run: Path, network: nn.Module) -> dict[str, Any]:
    run.mkdir(parents=True, exist_ok=True)
    device = next(network.parameters()).device
    chip = torch.zeros(1, len(recipe.bands), recipe.sampling.crop, recipe.sampling.crop, device=device)
    micro = micro_batch(network.train(), chip, batch=recipe.training.batch)
    return run_folder.frozen_plan(
        run,
        {
            "recipe": recipe.model_dump(mode="json"),
            "chips": {"count": len(learn), "groups": sorted(set(learn.index["group"].astype(str)))},
            "micro_batch": micro,
            "accumulation": recipe.training.batch // micro,
            "threads": torch.get_num_threads(),
            "device": device.type,
            "torch": torch.__version__,
        },
    )


def _state(
    network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, place: Checkpoint
) -> dict[str, Any]:
    return {
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "place": vars(place),
    }


def _resume(
    run: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> Checkpoint:
    state = run_folder.load_state(run, device)
    if state is None:
        return Checkpoint(0, 0, 0.0, 0, -math.inf, average.state_dict())
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return Checkpoint(**state["place"])


def _sentence(rows: Sequence[Mapping[str, Any]], score: ValidationScore) -> str:
    """A sentence on the last epoch, with the warning of a model that predicts one class only for two epochs."""
    last = {"epoch": rows[-1]["epoch"] + 1, "loss": rows[-1]["loss"], "iou": score.iou}
    sentence = _("epoch {epoch}: loss {loss:.4f}, validation IoU {iou:.4f}", **last)
    twice = len(rows) > 1 and all(is_one_class(row["share"]) for row in rows[-2:])
    return f"{sentence}\n{score.warning}" if twice else sentence
