"""Three classes are learnt from the crops of a recipe: background, the interior of fields, and their boundary.

The loss is that of Fields of The World: cross-entropy, weighted by class. All else is the recipe's, as in cropland's
own training: crops, augmentation, batches, optimizer, rates, average of the weights. Writes weights.pt into the run
folder; the same command goes on where it was stopped.
"""

import copy
import json
import sys
import time
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from cropland.data.batches import Batch, Sampler, batches
from cropland.data.chips import open_chips
from cropland.files import replacing
from cropland.progress import progress_bar
from cropland.recipe import Recipe, parse_recipe
from cropland.training.memory import choose_device, keep_memory, place_batch, place_network
from cropland.training.optimizer import make_optimizer, require_finite, set_rate, take_step, update_average
from cropland.training.run_folder import load_state, save_state
from three_class_unet import BACKGROUND, BOUNDARY, INTERIOR, start_from_imagenet, three_class_unet

# Of background, interior and boundary. Source: configs/release/3_class/full-ftw.yaml of fieldsoftheworld/ftw-baselines,
# the code of Kerner et al. 2024, arXiv:2409.16252.
WEIGHTS = (0.04, 0.08, 0.88)
UNKNOWN = -100
SAVE_EVERY_S = 60.0


def classes_of(batch: Batch) -> Int64[Tensor, "batch height width"]:
    """The rim along boundaries is the boundary, other cropland interior; unknown unless mask and rim are both known."""
    cropland, rim = batch.target[:, 0] > 0.5, batch.target[:, 1] > 0.5
    classes = torch.where(cropland, INTERIOR, BACKGROUND).masked_fill(rim, BOUNDARY)
    return classes.masked_fill(~batch.valid[:, :2].all(1), UNKNOWN)


def weighted_cross_entropy(logits: Float[Tensor, "batch 3 height width"], batch: Batch) -> Float[Tensor, " batch"]:
    """One loss per chip, whose mean is the weighted mean over all known pixels of the batch, as PyTorch defines it.

    loss = sum_i w(c_i) * -log p_i(c_i) / sum_i w(c_i), with p the softmax of the logits and c the class.
    """
    weight, classes = torch.tensor(WEIGHTS, device=logits.device), classes_of(batch)
    losses = F.cross_entropy(logits.float(), classes, weight, ignore_index=UNKNOWN, reduction="none").sum((1, 2))
    known = classes != UNKNOWN
    return losses * len(losses) / weight[classes[known]].sum().clamp(min=1e-6)


def train(recipe: Recipe, chips: Path, run: Path) -> None:
    """All steps of the recipe, the last average of the weights kept; the state is on disk once a minute."""
    training, device = recipe.training, choose_device(None)
    keep_memory(device)
    torch.manual_seed(training.seed)
    network = three_class_unet(len(recipe.bands))
    start_from_imagenet(network)
    network = place_network(network, device, layout=training.layout).train()
    average, optimizer = copy.deepcopy(network), make_optimizer(network, training)
    steps = max(1, training.chips_per_epoch // training.batch)
    done, total = 0, training.epochs * steps
    if state := load_state(run, device):
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["done"]
    sampler, saved = Sampler(open_chips(chips).where(split="train"), recipe), time.monotonic()
    rate = "{:.1f} chips/s".format
    with progress_bar("starting", total=total, done=done, rate=lambda speed: rate(speed * training.batch)) as bar:
        while done < total:
            epoch, first = divmod(done, steps)
            for batch in batches(sampler, epoch, first=first):
                set_rate(optimizer, training, done / total)
                here = place_batch(batch, device, layout=training.layout)
                how = {"clip": training.clip, "precision": training.precision}
                losses, _ = take_step(network, optimizer, here, weighted_cross_entropy, **how)
                require_finite(losses, here.chips)
                update_average(average, network, decay=training.ema, step=done)
                done += 1
                bar(name=f"epoch {epoch + 1}/{training.epochs} loss {float(losses.mean()):.3f}")
                if time.monotonic() - saved > SAVE_EVERY_S or done == total:
                    weights = {"network": network.state_dict(), "average": average.state_dict()}
                    save_state(run, {**weights, "optimizer": optimizer.state_dict(), "done": done})
                    saved = time.monotonic()
                    bar.tell(f"  {done:,} of {total:,} steps, loss {float(losses.mean()):.3f}")
    with replacing(run / "weights.pt") as hidden:
        torch.save({name: value.cpu() for name, value in average.state_dict().items()}, hidden)


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    train(parse_recipe(job["recipe"]), Path(job["chips"]), Path(job["run"]))
