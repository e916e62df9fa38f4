"""Steps of cropland's training, as in `cropland.training.train`: what they take, and what they take without the loader.

The chips of all steps are in memory before the first one is timed, as they are from the second epoch on.
"""

import copy
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from cropland.data.batches import Batch, Sampler, batches
from cropland.data.chips import open_chips
from cropland.model import build_network
from cropland.recipe import parse_recipe
from cropland.training.memory import keep_memory, place_batch, place_network
from cropland.training.optimizer import (
    make_optimizer,
    recipe_objective,
    require_finite,
    set_rate,
    take_step,
    update_average,
)
from told import multiply_adds, tell

PEAK = 8192  # rows and columns of the matrices

job = json.loads(sys.argv[1])
recipe, device, warm, steps = parse_recipe(job["recipe"]), torch.device(job["device"]), job["warm"], job["steps"]
training = recipe.training.model_copy(update={"chips_per_epoch": (warm + steps) * job["batch"]})
recipe = recipe.model_copy(update={"training": training})
torch.set_num_threads(job["threads"])
keep_memory(device)
sampler = Sampler(open_chips(Path(job["chips"])).where(split="train"), recipe)
network = place_network(build_network(recipe), device, layout=training.layout).train()
average, optimizer, objective = copy.deepcopy(network), make_optimizer(network, training), recipe_objective(recipe)


def step(batch: Batch, number: int) -> None:
    """What the training does with each batch."""
    set_rate(optimizer, training, 0.3)
    here = place_batch(batch, device, layout=training.layout)
    how = {"clip": training.clip, "precision": training.precision}
    losses, _norm = take_step(network, optimizer, here, objective, **how)
    require_finite(losses, here.chips)  # it reads the losses, so that a GPU is waited for
    update_average(average, network, decay=training.ema, step=number)


def timed(prepared: Iterator[Batch]) -> tuple[float, float, float]:
    """Seconds of the steps, of all cores, and of waiting for batches, after the first `warm` steps."""
    waiting, begun, cores = 0.0, 0.0, 0.0
    for number in range(warm + steps):
        if number == warm:
            waiting, begun, cores = 0.0, time.perf_counter(), time.process_time()
        asked = time.perf_counter()
        batch = next(prepared)
        waiting += time.perf_counter() - asked
        step(batch, number)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun, time.process_time() - cores, waiting


def peak_flops() -> float:
    """The best rate at which the GPU multiplies matrices in bfloat16, additions and multiplications per second."""
    one, other = (torch.randn(PEAK, PEAK, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        one @ other
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2 * PEAK**3 / best


ready = list(batches(sampler, 0))
cores = time.process_time()
for index in range(2 * job["batch"]):
    sampler.crop(0, index)
crop = (time.process_time() - cores) / (2 * job["batch"])
with_loader = timed(batches(sampler, 0))
alone, _, _ = timed(iter(ready))
image = ready[0].image[:1].to(device)
tell(
    with_loader[0],
    cpu=with_loader[1],
    waiting=with_loader[2],
    ready=alone,
    crop_cpu=crop,
    chips=steps * job["batch"],
    multiply_adds=multiply_adds(network, image),
    peak_flops=peak_flops() if device.type == "cuda" else None,
)
