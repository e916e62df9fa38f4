"""Training: chips per second against a plain loop over a public library's network of equal cost, and what the loader
leaves of the time to the step.

    python benchmarks/training.py [CHIPS]

Both train on chips of one folder, in batches and crops of one size, on the same two cores. CHIPS is the folder that the
shipped model was trained on; without it, and without runs/chips, the sample that ships is cut into chips. The networks
have the same encoder and as many multiply-adds. Where there is a GPU, a step is also compared with the best rate at
which it multiplies matrices.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

import cropland
import environments
from cropland.data.batches import Sampler
from cropland.data.chips import INDEX, open_chips
from cropland.demo import FIELDS, TILE
from cropland.recipe import Recipe, read_recipe
from goals import TRAINING, TRAINING_LOOP
from places import QUICK, ROOT, ROUNDS, THREADS, WORK
from processes import ChildError, ask
from results import save

WARM, STEPS = (1, 2) if QUICK else (2, 6)
OWN_FLOAT32 = "cropland, float32"
DECODER = (80, 48, 24, 16, 8)  # the widths at which its U-Net takes as many multiply-adds as that of the recipe
Figures = dict[str, Any]


def measure(chips: Path = ROOT / "runs" / "chips") -> Figures:
    """By contender what each run told, in turn; and of a GPU, if there is one."""
    recipe = own_recipe(is_sample=not (chips / INDEX).exists())
    chips = chips if (chips / INDEX).exists() else sample_chips()
    print(f"Training on {chips}, {ROUNDS} rounds of {STEPS} steps")
    job = {"chips": str(chips), "warm": WARM, "steps": STEPS, "threads": THREADS, "batch": recipe.training.batch}
    contenders = {
        TRAINING: partial(train_own, job, recipe),
        OWN_FLOAT32: partial(train_own, job, _changed(recipe, precision="float32")),
        TRAINING_LOOP: partial(_peer, job, recipe, chips),
    }
    found = _in_turn(contenders)
    return {
        "contenders": found,
        "batch": recipe.training.batch,
        "crop": recipe.sampling.crop,
        "steps": STEPS,
        "is_sample": chips == WORK / "chips",
        "version": environments.SHOWN["smp"] if "missing" in found[TRAINING_LOOP] else environments.version("smp"),
        "gpu": _on_gpu(job, recipe) if torch.cuda.is_available() else None,
    }


def _in_turn(contenders: dict[str, Callable[[], Figures]]) -> dict[str, Figures]:
    """Round after round, so that what disturbs the machine disturbs all of them; each figure as a list."""
    found: dict[str, list[Figures]] = {name: [] for name in contenders}
    missing: dict[str, str] = {}
    for number in range(ROUNDS):
        for name, run in contenders.items():
            if name not in missing:
                try:
                    found[name].append(run())
                except ChildError as error:
                    missing[name] = str(error)
                told = missing.get(name) or _told(found[name][-1])
                print(f"  {number + 1}/{ROUNDS} {name:42} {told}", flush=True)
    return {
        name: {"missing": missing[name]} if name in missing else {key: [run[key] for run in runs] for key in runs[0]}
        for name, runs in found.items()
    }


def _told(run: Figures) -> str:
    return (
        f"{run['chips'] / run['seconds']:6.2f} chips/s, {run['cpu'] / run['chips']:.3f} s of CPU per chip, "
        f"waiting {run['waiting'] / run['seconds']:.1%}, {run['multiply_adds'] / 1e9:.3f} G multiply-adds per chip"
    )


def train_own(job: Figures, recipe: Recipe, device: str = "cpu") -> Figures:
    """What `children/train_chips.py` tells."""
    words = {**job, "recipe": recipe.model_dump(mode="json"), "device": device}
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "0") if device == "cuda" else ""
    return ask("train_chips.py", json.dumps(words), gpus=gpus)


def _peer(job: Figures, recipe: Recipe, chips: Path) -> Figures:
    """The chips that it reads are drawn by the weights of the recipe."""
    sampler = Sampler(open_chips(chips).where(split="train"), recipe)
    numbers = np.random.default_rng(recipe.training.seed).choice(
        len(sampler.base), (WARM + STEPS) * job["batch"], p=sampler.base
    )
    rows = sampler.folder.index.iloc[numbers]
    training = {"rate": recipe.training.learning_rate, "decay": recipe.training.weight_decay}
    words = {
        **job,
        **training,
        "size": recipe.sampling.crop,
        "decoder": DECODER,
        "images": [str(chips / path) for path in rows["image"]],
        "labels": [str(chips / path) for path in rows["label"]],
        "bands": [band + 1 for band in sampler.order],
        "low": [low[sampler.order].tolist() for low in rows["low"]],
        "high": [high[sampler.order].tolist() for high in rows["high"]],
    }
    path = WORK / "training.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(words), encoding="utf-8")
    return ask("with_smp_training.py", str(path), python=str(environments.environment("smp")))


def _on_gpu(job: Figures, recipe: Recipe) -> Figures:
    """The best of several runs, and its operations as a share of what the GPU multiplies in that time."""
    run = min(
        (train_own({**job, "steps": 4 * STEPS}, recipe, "cuda") for _ in range(ROUNDS)), key=lambda each: each["ready"]
    )
    # A backward pass takes twice the multiply-adds of a forward pass: for the image and for the weights.
    flops = 3 * 2 * run["multiply_adds"] * run["chips"] / run["ready"]
    return {**run, "name": torch.cuda.get_device_name(), "flops": flops, "reached": flops / run["peak_flops"]}


def own_recipe(*, is_sample: bool) -> Recipe:
    """That of the shipped model, from random weights; without its groups where their chips are not there."""
    recipe = read_recipe(ROOT / "recipes" / "cropland_rgb.toml")
    network = recipe.network.model_copy(update={"start": None})
    no_groups = {"groups": {}, "paste_groups": {}, "scales": {}, "one_radiometry": ()} if is_sample else {}
    sampling = recipe.sampling.model_copy(update=no_groups)
    return recipe.model_copy(update={"network": network, "sampling": sampling})


def _changed(recipe: Recipe, **values: object) -> Recipe:
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=values)})


def sample_chips(chips: Path = WORK / "chips") -> Path:
    """The sample that ships and its fields, as chips."""
    if not (chips / INDEX).exists():
        cropland.cut_chips(TILE, FIELDS, chips, background="known")
    return chips


if __name__ == "__main__":
    kept = save("training", partial(measure, *map(Path, sys.argv[1:2])))["figures"]["contenders"]
    for name, its in kept.items():
        print(f"{name:42} {its.get('missing') or median(its['seconds'])}")
