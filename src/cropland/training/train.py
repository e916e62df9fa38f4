"""Training: chips become a model; the loop from top to bottom."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter
from rich.console import Console
from torch import Tensor, nn

from cropland.contract import check_network
from cropland.data.batches import Batch, Sampler, batches
from cropland.data.chips import ChipFolder, open_chips
from cropland.data.doctor import quick_findings
from cropland.data.ground import TrainingGround
from cropland.errors import ChipError, IncompleteError, ModelError, RecipeError
from cropland.geo.statistics import Statistics
from cropland.language import _
from cropland.model import ModelFile, build_network, read_weights
from cropland.notebooks import forget_changed
from cropland.options import bytes_of
from cropland.progress import progress_bar
from cropland.recipe import Recipe, Training, change_recipe, read_recipe
from cropland.training import pictures, run_folder
from cropland.training.distributed import Processes, processes
from cropland.training.memory import (
    FullMemoryError,
    checkpointed,
    choose_device,
    keep_memory,
    place_batch,
    place_network,
)
from cropland.training.optimizer import (
    Objective,
    make_optimizer,
    mixed,
    recipe_objective,
    require_finite,
    set_frozen,
    set_rate,
    take_step,
    update_average,
)
from cropland.training.plan import BatchPlan, Chips, make_plan, table
from cropland.training.run_folder import Checkpoint, finish, fixed_statistics
from cropland.training.tuning import named_model, replayed, tuning_recipe
from cropland.training.validate import ValidationScore, is_one_class, predictor, validate

SAVE_EVERY_S = 60.0
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
TRAINED = ("cropland",), ("cropland", "boundary")  # the outputs that chips have labels for, in order


def command(
    recipe: Path | None = None,
    *,
    chips: Path,
    tune: str | None = None,
    out: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", consume_multiple=True)] = None,
    device: str | None = None,
    memory: str | None = None,
    plan: bool = False,
    trust: bool = False,
    trust_all: bool = False,
) -> None:
    """Train a model from a folder of chips.

    The same command resumes a run that was killed, and ends at the same weights.

    Example: cropland train recipes/small.toml --chips my_chips --set training.epochs=10
    Example: cropland train --tune cropland_rgb --chips my_chips --out my_run

    Parameters
    ----------
    recipe
        A .toml file with all that decides the model; outputs = ["cropland", "boundary"] in it makes fields come apart.
    chips
        A folder made by `cropland chips`.
    tune
        In place of a recipe: a model that goes on learning from these chips, for minutes; cropland_rgb ships.
    out
        The run folder: journal, curves, pictures and model.safetensors. Default: runs/NAME.
    set_
        A value that replaces the recipe's, as in --set training.epochs=3.
    device
        cpu or cuda; default: cuda where there is one.
    memory
        What the training may take of the device's memory, as in 4GB. Default: most of what is free at the first start.
    plan
        Only show how a batch is computed within the memory, each way with its memory and time, and stop.
    trust
        Run the code that the file of --tune names.
    trust_all
        Run all of a notebook or script that the recipe names, not only what the network needs.
    """
    settings = (set_ or []) + ["network.trust_all=true"] * trust_all
    limit, folder = None if memory is None else bytes_of(memory), open_chips(chips)
    if (recipe is None) == (tune is None):
        raise RecipeError("give a recipe, or --tune MODEL to go on from a model; one of the two")
    if recipe is not None:
        whole = read_recipe(recipe, settings)
    else:
        whole = tuning_recipe(named_model(str(tune), trust=trust), folder, settings)
    if plan:
        show_plan(whole, folder, device=device, memory=limit)
        return
    model = train(whole, folder, out, device=device, memory=limit)
    if int(os.environ.get("RANK", "0")):
        return  # the first process of several says it
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
    memory: int | None = None,
) -> ModelFile:
    """Train a network on the training chips of a folder into the run folder `out`, or go on where that stopped.

    out: runs/NAME if not given. set: settings that replace those of the recipe, as in `["training.epochs=3"]`. device:
    cpu or cuda; cuda where there is one if not given. memory: bytes that the training may take of it; most of what is
    free if not given. Returns the saved model.
    Raises `RecipeError` for a recipe that cannot be read or that the run folder was not begun with, `ChipError` if a
    side of the split is empty or a band is missing, `ModelError` if the network breaks its contract, `InputError` if
    one chip does not fit into the memory.
    """
    recipe = change_recipe(recipe, set) if isinstance(recipe, Recipe) else read_recipe(Path(recipe), set)
    folder = chips if isinstance(chips, ChipFolder) else open_chips(chips)
    run = Path(out or Path("runs") / recipe.name)
    start = _start_of(recipe)
    mix = start if recipe.training.mix else None
    keep_memory(torch.device("cpu"))
    with processes(choose_device(device)) as among:
        learn, check = _sides(folder, recipe)
        among.part(recipe.training.batch)
        among.require_same(recipe.model_dump_json() + learn.index[["id", "block", "low", "high"]].to_csv())
        if among.is_first:
            _begin(run, recipe, folder, (learn, check), device=device, memory=memory, among=among)
        among.wait()
        recipe, plan, threads = run_folder.read_plan(run)
        # A run may go on elsewhere: on another device that is named, or where that of the plan is not there.
        there = plan.device == "cpu" or torch.cuda.is_available()
        where = choose_device(device or (plan.device if there else None))
        torch.set_num_threads(threads)
        torch.manual_seed(recipe.training.seed)
        network = place_network(_fresh_network(recipe), where, layout=recipe.training.layout)
        known = None
        if start and recipe.training.replay:
            if among.is_first:
                replayed(start, predictor(network), run / "replay")
            among.wait()
            known = replayed(start, predictor(network), run / "replay")
        sampler, statistics = Sampler(learn, recipe, replay=known), fixed_statistics(learn, recipe)
        with run_folder.watched(run) if among.is_first else nullcontext(lambda: None) as stepped:
            average = _loop(run, sampler, check, network, statistics, mix=mix, plan=plan, among=among, stepped=stepped)
            if among.is_first:
                finish(average, recipe, check, statistics, run, trained_on=_ground(sampler), start=mix)
        among.wait()
    return ModelFile.load(run / "model.safetensors", trust=True)


def tune(
    model: str | Path | ModelFile,
    chips: str | Path | ChipFolder,
    out: str | Path | None = None,
    *,
    set: Sequence[str] = (),
    device: str | None = None,
    memory: int | None = None,
) -> ModelFile:
    """Let a model go on learning from a few chips of one's own, for minutes, by `tuning_recipe`.

    model: a file, or the name of one that ships. out: runs/NAME_tuned if not given. Other arguments and errors are
    those of `train`.
    """
    folder = chips if isinstance(chips, ChipFolder) else open_chips(chips)
    return train(tuning_recipe(named_model(model), folder, set), folder, out, device=device, memory=memory)


def show_plan(recipe: Recipe, chips: ChipFolder, *, device: str | None = None, memory: int | None = None) -> BatchPlan:
    """Print every way to compute a batch with its memory and time, the one that a training would take marked, and
    return that."""
    sides, batch = _sides(chips, recipe), recipe.training.batch
    plan, every = make_plan(recipe, sides, device=device, memory=memory, share=batch, measure=True)
    print(table(every, plan, steps=_steps(recipe.training)))
    print(plan)
    return plan


def _begin(
    run: Path,
    recipe: Recipe,
    folder: ChipFolder,
    chips: Chips,
    *,
    device: str | None,
    memory: int | None,
    among: Processes,
) -> None:
    """At the first start say what is wrong with the chips and freeze the plan.

    Later, cut the micro-batch where the last start died for want of memory.
    """
    if run_folder.is_begun(run, recipe, chips[0]):
        _recipe, plan, _threads = run_folder.read_plan(run)
        if run_folder.died_for_memory(run) and plan.micro_batch > 1:
            run_folder.change_plan(run, plan.halved())
            print(_("the last start ended for want of memory; this one computes half as many chips at a time"))
        return
    for finding in quick_findings(folder):
        print(finding)
    one_kind = device or (choose_device(None).type if among.count > 1 else None)
    share = recipe.training.batch // among.count
    plan, _every = make_plan(recipe, chips, device=one_kind, memory=memory, share=share)
    run_folder.write_plan(run, recipe, chips[0], plan)
    if said := str(plan):
        print(said)


def _loop(
    run: Path,
    sampler: Sampler,
    check: ChipFolder,
    network: nn.Module,
    statistics: Statistics | None,
    *,
    mix: ModelFile | None,
    plan: BatchPlan,
    among: Processes,
    stepped: Callable[[], None],
) -> nn.Module:
    """Train until the last epoch, or that at which patience ends; returns the network with the averaged weights.

    mix: the model that the weights are mixed with at the end. stepped: called after each step.
    """
    recipe, training, where = sampler.recipe, sampler.recipe.training, next(network.parameters()).device
    objective, average, optimizer = recipe_objective(recipe), copy.deepcopy(network), make_optimizer(network, training)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    # A few chips move the weights; a threshold that they chose could be anywhere.
    threshold = mix.working_pixels[0].threshold if mix else None
    place = _resume(run, network, average, optimizer, where)
    if plan.checkpointing:
        checkpointed(network.train(), bands=len(recipe.bands))
    steps = _steps(training)
    total_steps, done = training.epochs * steps, place.epoch * steps + place.step

    def rate_of(speed: float) -> str:
        return _("{rate:.1f} chips/s", rate=speed * training.batch)

    with progress_bar(_("starting"), total=total_steps, done=done, rate=rate_of, silent=not among.is_first) as bar:
        for epoch in range(place.epoch, training.epochs):
            if epoch - place.best_epoch > training.patience:
                break
            network.train()
            begun, saved, total = time.monotonic(), time.monotonic(), place.loss
            for step, batch in enumerate(
                batches(sampler, epoch, first=place.step, part=among.part(training.batch)), place.step
            ):
                progress = (epoch * steps + step) / total_steps
                rate = set_rate(optimizer, training, progress)
                set_frozen(network, training, progress)
                here = place_batch(batch, where, layout=training.layout)
                plan, losses, norm = _step(run, network, optimizer, here, objective, training, plan=plan, among=among)
                require_finite(losses, here.chips)
                stepped()
                update_average(average, network, decay=training.ema, step=epoch * steps + step)
                among.average([losses])
                loss = float(losses.mean())
                total += loss
                at = _("epoch {epoch}/{epochs} loss {loss:.3f}", epoch=epoch + 1, epochs=training.epochs, loss=loss)
                bar(name=at)
                if among.is_first and time.monotonic() - saved > SAVE_EVERY_S:
                    place = place.at(epoch=epoch, step=step + 1, loss=total)
                    run_folder.save_state(run, _state(network, average, optimizer, place))
                    saved = time.monotonic()
            score = validate(average, recipe, check, statistics, threshold=threshold, among=among)
            row = {"epoch": epoch, "loss": total / steps, "rate": rate, "gradient": float(norm), **score.row()}
            place = place.after(epoch, score, average)
            if among.is_first:
                run_folder.append(run, {**row, "seconds": round(time.monotonic() - begun, 1)})
                run_folder.show(row, run)
                run_folder.save_state(run, _state(network, average, optimizer, place))
                rows = run_folder.read(run)
                pictures.curves(rows, run)
                bar.tell(_sentence(rows, score))
    if training.keep == "best":
        average.load_state_dict(place.best)
    if training.mix and among.is_first:
        _mix(average, before, recipe, check, statistics, threshold)
    return average


def _step(
    run: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    objective: Objective,
    training: Training,
    *,
    plan: BatchPlan,
    among: Processes,
) -> tuple[BatchPlan, Tensor, Tensor]:
    """One step; where memory is full the same again with smaller micro-batches, which the plan keeps.

    Raises `IncompleteError` where what is freed lies in pieces, as on the CPU: a new start has room.
    """
    statistics = [(value, value.clone()) for value in network.buffers()]
    how: dict[str, Any] = {"clip": training.clip, "among": among}
    while True:
        try:
            micro, precision = plan.micro_batch, plan.precision
            losses, norm = take_step(network, optimizer, batch, objective, micro=micro, precision=precision, **how)
        except FullMemoryError as error:
            plan, in_pieces = plan.halved(), error.in_pieces
        else:
            return plan, losses, norm
        # Only here are the activations of the step gone, which the error held.
        if among.is_first:
            run_folder.change_plan(run, plan)
        if in_pieces:
            raise IncompleteError(
                "memory was full; the same command goes on from the last minute, with {micro} chips at a time",
                micro=plan.micro_batch,
            )
        torch.cuda.empty_cache()
        optimizer.zero_grad(set_to_none=True)
        for value, before in statistics:
            value.copy_(before)
        if among.is_first:
            print(_("memory was full; from here {micro} chips are computed at a time", micro=plan.micro_batch))


def _mix(
    network: nn.Module,
    start: Mapping[str, Tensor],
    recipe: Recipe,
    check: ChipFolder,
    statistics: Statistics | None,
    threshold: float | None,
) -> None:
    """Give the network the weights between its start and its training that validate best."""
    trained = {name: value.clone() for name, value in network.state_dict().items()}
    scores = {}
    for share in MIXES:
        network.load_state_dict(mixed(start, trained, share))
        scores[share] = validate(network, recipe, check, statistics, threshold=threshold).iou
    best = max(scores, key=lambda share: scores[share])
    network.load_state_dict(mixed(start, trained, best))
    print(
        _(
            "validation IoU {before:.4f} before, {after:.4f} now; {share:.0%} of the change is kept",
            before=scores[0.0],
            after=scores[best],
            share=best,
        )
    )


def _start_of(recipe: Recipe) -> ModelFile | None:
    """The model to start from, where a training keeps something of it: a share of its weights, or its answers."""
    wants = [key for key in ("mix", "replay") if getattr(recipe.training, key)]
    if not wants:
        return None
    start = recipe.network.start or ""
    if not start.endswith(".safetensors"):
        raise RecipeError("training.{key} wants a model to start from: set network.start to its file", key=wants[0])
    return ModelFile.read(Path(start))


def _steps(training: Training) -> int:
    """Steps of an epoch."""
    return max(1, training.chips_per_epoch // training.batch)


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
        theirs, ours = ModelFile.read(Path(start)), network.state_dict()
        weights = read_weights(Path(start))  # of a network with code of its own, too: none of it runs
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
    """The ground of the chips that are drawn from, and of those that the weights to start from were trained on.

    What is replayed has no labels but the model's own, so that it may still measure it.
    """
    used = TrainingGround.of(sampler.folder.index[sampler.draws])
    start = sampler.recipe.network.start or ""
    return used.joined(ModelFile.read(Path(start)).trained_on) if start.endswith(".safetensors") else used


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
