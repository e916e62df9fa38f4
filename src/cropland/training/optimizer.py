"""Optimization: the objective, AdamW with its schedule, one step, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cropland.catalog import find
from cropland.data.batches import Batch
from cropland.errors import CroplandError
from cropland.recipe import Precision, Recipe, Training
from cropland.training.distributed import Processes
from cropland.training.memory import FullMemoryError, autocast, is_out_of_memory

Objective = Callable[[Tensor, Batch], Float[Tensor, " batch"]]


def make_objective(
    loss: Mapping[str, float], *, boundary: float | None = None, label_smoothing: float = 0.0
) -> Objective:
    """A function of (logits, batch) that returns one loss per chip, from names and weights of the `losses` shelf.

    boundary: the weight of the loss of the second output, if there is one. Label smoothing s turns the labels 0 and 1
    into s / 2 and 1 - s / 2 (Szegedy et al. 2016, arXiv:1512.00567).
    """
    terms = [(find("losses", name), weight) for name, weight in loss.items()]
    outputs = (1.0,) if boundary is None else (1.0, boundary)

    def objective(logits: Tensor, batch: Batch) -> Tensor:
        target = batch.target * (1 - label_smoothing) + label_smoothing / 2
        return torch.stack(
            [
                share * weight * each(logits[:, channel].float(), target[:, channel], batch.valid[:, channel])
                for channel, share in enumerate(outputs)
                for each, weight in terms
            ]
        ).sum(0)

    return objective


def recipe_objective(recipe: Recipe) -> Objective:
    """The objective of a recipe."""
    boundary = recipe.boundary.weight if "boundary" in recipe.outputs else None
    return make_objective(recipe.loss, boundary=boundary, label_smoothing=recipe.training.label_smoothing)


def make_optimizer(network: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW; weight decay on matrices only, or on norms and biases too; the encoder at its own multiple of the rate.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, weight in network.named_parameters():
        scale = training.encoder_rate if name.startswith("encoder.") else 1.0
        decay = training.weight_decay if training.decay_all or weight.dim() > 1 else 0.0
        groups.setdefault((scale, decay), []).append(weight)
    return torch.optim.AdamW(
        [{"params": weights, "scale": scale, "weight_decay": decay} for (scale, decay), weights in groups.items()],
        lr=training.learning_rate,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, training: Training, progress: float) -> float:
    """Set and return the learning rate at `progress` 0..1: linear warm-up, then half a cosine to zero, or constant.

    Source: Loshchilov and Hutter 2017, arXiv:1608.03983; the warm-up Goyal et al. 2017, arXiv:1706.02677.
    """
    if progress < training.warmup:
        factor = progress / training.warmup
    elif training.schedule == "constant":
        factor = 1.0
    else:
        factor = 0.5 * (1 + math.cos(math.pi * (progress - training.warmup) / (1 - training.warmup + 1e-9)))
    rate = training.learning_rate * max(factor, 1e-3)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    return rate


def set_frozen(network: nn.Module, training: Training, progress: float) -> None:
    """Let the weights of the encoder and the statistics of batch normalisation learn, or not, at `progress` 0..1.

    What a network calls `encoder` stays as it is during the share `frozen` of a training, its statistics too. With
    `frozen_norm` those of all layers stay.
    """
    encoder: nn.Module = getattr(network, "encoder", nn.Module())
    still = progress < training.frozen
    held = {*(network if training.frozen_norm else encoder).modules()} if still or training.frozen_norm else set()
    if training.frozen:  # else a network may hold weights of its own still
        encoder.requires_grad_(not still)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (training.frozen or training.frozen_norm):
            module.train(module not in held)


def take_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    objective: Objective,
    *,
    micro: int | None = None,
    clip: float = 0.0,
    precision: Precision = "float32",
    among: Processes = Processes(),  # noqa: B008 - frozen
) -> tuple[Float[Tensor, " batch"], Float[Tensor, ""]]:
    """Take one step by the gradient of the mean loss over the batch; returns the losses and the norm of the gradient.

    micro: chips that are in memory at a time, all if not given; the result depends on it only by rounding and the
    statistics of batch normalisation. clip: the largest norm of the gradient; 0 for no limit. among: the processes that
    each have a part of the batch; gradients and statistics are averaged over them.
    Raises `FullMemoryError` in every process if one has too little memory.
    """
    full = 0
    try:
        losses = accumulate(network, batch, objective, micro=micro or len(batch.image), precision=precision)
    except FullMemoryError as error:
        full = 1 + error.in_pieces
    if full := among.most(full):
        raise FullMemoryError(in_pieces=full > 1)
    gradients = (weight.grad for weight in network.parameters() if weight.grad is not None)
    among.average([*gradients, *(value for value in network.buffers() if value.is_floating_point())])
    return losses, update_weights(network, optimizer, clip=clip)


def update_weights(network: nn.Module, optimizer: torch.optim.Optimizer, *, clip: float) -> Float[Tensor, ""]:
    """Move the weights by their gradients, which are then gone; returns the norm that these had. clip: the largest norm
    allowed; 0 for no limit."""
    norm = nn.utils.clip_grad_norm_(network.parameters(), clip or math.inf)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def accumulate(
    network: nn.Module, batch: Batch, objective: Objective, *, micro: int, precision: Precision = "float32"
) -> Float[Tensor, " batch"]:
    """Add the gradient of the mean loss over the batch to the weights', `micro` chips at a time; returns the losses.

    Raises `FullMemoryError` if there is too little memory; the gradients are then worth nothing.
    """
    losses = []
    try:
        for start in range(0, len(batch.image), micro):
            part = batch.part(start, start + micro)
            with autocast(part.image.device, precision):
                logits = network(part.image)
            loss = objective(logits, part)
            torch.autograd.backward(loss.sum() / len(batch.image))
            losses.append(loss.detach())
    except Exception as error:
        if is_out_of_memory(error):
            raise FullMemoryError(in_pieces=not isinstance(error, torch.OutOfMemoryError)) from error
        raise
    return torch.cat(losses)


def require_finite(losses: Float[Tensor, " batch"], chips: tuple[str, ...]) -> None:
    """Raise, naming the chips, if a loss is not finite."""
    bad = [chip for chip, loss in zip(chips, losses.tolist(), strict=True) if not abs(loss) < float("inf")]
    if bad:
        raise CroplandError(
            "the loss is not finite on chip {bad}; look at its values, or lower training.learning_rate",
            bad=", ".join(bad),
        )


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Update the moving average of weights and statistics; early steps are averaged over fewer steps.

    Source: Polyak and Juditsky 1992, doi:10.1137/0330046.
    """
    decay = min(decay, (1 + step) / (10 + step))
    pairs = [*zip(average.state_dict().values(), network.state_dict().values(), strict=True)]
    kept, new = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    torch._foreach_lerp_([*kept], [*new], 1 - decay)
    for one, other in pairs:
        if not one.is_floating_point():
            one.copy_(other)


@torch.no_grad()
def mixed(start: Mapping[str, Tensor], trained: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The weights between those of a start and those that were trained from there; share: of the trained ones, 0..1.

    Such a mean keeps more of what the start knew, and often scores higher on both.
    Source: Wortsman et al. 2022, arXiv:2109.01903.
    """
    return {
        name: torch.lerp(start[name], weight, share) if weight.is_floating_point() else weight
        for name, weight in trained.items()
    }
