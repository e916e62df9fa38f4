"""Memory capacity: the largest batch of a training step, and what its size is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from cropland.lab.chapters.separable.layer import LAYERS, PER_WEIGHT, kept_per_image, layers
from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, Times, exactly, interleave, quartiles
from cropland.lab.trials import small_recipe
from cropland.model import build_network
from cropland.training.memory import SHARE, free_bytes

__all__ = ["separable_memory"]

ORDINARY, SEPARABLE = LAYERS
GIGABYTES = (1.0, 2.0, 4.0, 8.0)
BATCHES = (1, 2, 4, 8, 16)  # throughput is taken for flat beyond
ROUNDS = 5
BLOCKS = {ORDINARY: "convolution", SEPARABLE: "separable"}


def separable_memory(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """What fits, then how fast it is."""
    yield _fits(device, budget)
    yield _throughput(device, budget)


def largest_batch(memory: float, network: nn.Module, kept: float) -> int:
    """Images whose kept bytes fit in a memory beside weights, gradients and moments; 0 where not even one does."""
    weights = PER_WEIGHT * sum(weight.numel() for weight in network.parameters())
    return max(0, int((memory - weights) // kept))


def _fits(device: torch.device, budget: Budget) -> Finding:
    layer, ready = layers(device, budget, training=True)
    chip = torch.randn(1, 3, budget.size, budget.size, device=device)
    networks = {name: _network(block).to(device) for name, block in BLOCKS.items()}
    contenders = {f"one layer, {name}": (ready[name], layer) for name in LAYERS}
    contenders |= {f"small U-Net, {name}": (networks[name], chip) for name in LAYERS}
    kept = {name: kept_per_image(network, image) for name, (network, image) in contenders.items()}
    free = free_bytes(device)
    memories = sorted({*GIGABYTES, round(free / 1e9, 1)})
    numbers = {
        "larger": exactly(kept[f"one layer, {ORDINARY}"] / kept[f"one layer, {SEPARABLE}"]),
        "larger_network": exactly(kept[f"small U-Net, {ORDINARY}"] / kept[f"small U-Net, {SEPARABLE}"]),
        "free_gb": exactly(free / 1e9),
        **{
            f"{key}_{name}": exactly(largest_batch(free, contenders[f"{label}, {name}"][0], kept[f"{label}, {name}"]))
            for key, label in (("layer", "one layer"), ("network", "small U-Net"))
            for name in LAYERS
        },
    }
    pictures = []
    for what in ("one layer", "small U-Net"):
        curves = {
            name: [
                exactly(largest_batch(memory * 1e9, contenders[f"{what}, {name}"][0], kept[f"{what}, {name}"]))
                for memory in memories
            ]
            for name in LAYERS
        }
        title = f"Largest batch of a training step, {what}"
        pictures.append(Lines(title, "memory in GB", "images", memories, curves, log_x=True, log_y=True))
    return Finding("separable_memory.batch", numbers, pictures)


def _network(block: str) -> nn.Module:
    settings = (f"network.options.convolution={block}", f"network.options.encoder_options.convolution={block}")
    return build_network(small_recipe(*settings)).train()


def _throughput(device: torch.device, budget: Budget) -> Finding:
    image, ready = layers(device, budget, training=True)
    kept = {name: kept_per_image(each, image) for name, each in ready.items()}
    fits = {name: largest_batch(GIGABYTES[0] * 1e9, each, kept[name]) for name, each in ready.items()}
    at = {name: min(max(1, batch), BATCHES[-1]) for name, batch in fits.items()}
    wanted = sorted({1, *budget.sweep(BATCHES), *at.values()})
    possible = max(1, int(SHARE * free_bytes(device) / max(kept.values())))
    batches = [batch for batch in wanted if batch <= possible]
    times = {batch: _steps(device, budget, ready, image, batch) for batch in batches}
    curves = {name: [quartiles(rates(times, name, batch)) for batch in batches] for name in LAYERS}
    best = max(batches, key=lambda batch: quartiles(rates(times, SEPARABLE, batch)).value)
    numbers = {
        "lost": lost(times, {name: min(batch, batches[-1]) for name, batch in at.items()}),
        "batch_ordinary": exactly(fits[ORDINARY]),
        "batch_separable": exactly(fits[SEPARABLE]),
        "best": exactly(best),
        "gained": compared(times, best, 1),
    }
    picture = Lines("Forward and backward", "batch size", "images per second", batches, curves, log_x=True)
    notes = [f"batches above {batches[-1]} left out: memory"] if batches != wanted else []
    return Finding("separable_memory.capacity", numbers, [picture], notes)


def _steps(
    device: torch.device, budget: Budget, ready: Mapping[str, nn.Module], image: Tensor, batch: int
) -> dict[str, Times]:
    """Forward and backward of each layer within a network: its input needs a gradient too."""
    images = image.expand(batch, -1, -1, -1).contiguous(memory_format=torch.channels_last).requires_grad_()
    runs = {name: lambda name=name: torch.autograd.backward(ready[name](images).mean()) for name in LAYERS}
    return interleave(runs, device, rounds=min(ROUNDS, budget.rounds), warm=1)


def rates(times: Mapping[int, Mapping[str, Times]], layer: str, batch: int) -> list[float]:
    """Images per second, round by round."""
    return [batch / seconds for seconds in times[batch][layer].samples]


def compared(times: Mapping[int, Mapping[str, Times]], batch: int, other: int) -> Number:
    """The separable layer's throughput in one batch over that in another, round by round."""
    pairs = zip(rates(times, SEPARABLE, batch), rates(times, SEPARABLE, other), strict=True)
    return quartiles(a / b for a, b in pairs)


def lost(times: Mapping[int, Mapping[str, Times]], at: Mapping[str, int]) -> Number:
    """The share of throughput that the separable layer loses in its largest batch against the ordinary one's."""
    kept = compared(times, at[SEPARABLE], at[ORDINARY])
    return Number(1 - kept.value, 1 - kept.high, 1 - kept.low)
