"""What normalisation does to the signal on its way forward and to the gradient on its way back, and how much the scale
of the first weights matters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor, nn

from cropland.blocks.convolution import Convolution
from cropland.data.batches import Batch, Sampler, batches
from cropland.lab import sample_tile
from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, quartiles
from cropland.lab.trials import chip_folder, small_recipe
from cropland.networks.unet import UNet
from cropland.recipe import Recipe
from cropland.training.optimizer import make_objective, take_step

__all__ = ["normalisation_gradients", "normalisation_initialisation"]

NORMS = {"no norm": "torch.nn:Identity", "batch norm": "batch_norm", "channel norm": "channel_norm"}
DEPTH = 20  # blocks, about as many as the convolutions on the way through a U-Net of four levels
DRAWS = 5  # of the first weights
CROP = 48  # pixels
TINY = 1e-45  # the smallest float32 beside zero

SCALES = (0.1, 0.18, 0.32, 0.56, 1.0, 1.8, 3.2, 5.6, 10.0)
SCALED_DRAWS = 3  # of the first weights
STEPS = 8
LEARNT = 0.9  # of a coin toss's loss: below, something has been learnt
CEILING = 10.0  # a loss of more coin tosses, or none at all, is drawn there


def normalisation_gradients(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Signal and gradient by depth."""
    image = crops(sample_tile.normalised(2 * CROP)[None]).to(device)
    yield _depth(image, width=max(8, budget.channels // 4))


def crops(image: Tensor) -> Tensor:
    """The four quarters of (1, band, height, width) as a batch."""
    height, width = image.shape[-2] // 2, image.shape[-1] // 2
    parts = image.unfold(2, height, height).unfold(3, width, width)
    return parts.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def _depth(image: Tensor, *, width: int) -> Finding:
    signals: dict[str, list[Number]] = {}
    gradients: dict[str, list[Number]] = {}
    numbers: dict[str, Number] = {}
    for name, norm in NORMS.items():
        drawn = [signal_and_gradient(_stack(norm, width, seed, image.device), image) for seed in range(DRAWS)]
        forward, backward = ([pair[way] for pair in drawn] for way in (0, 1))
        signals[name], gradients[name] = _by_layer(forward), _by_layer(backward)
        numbers[f"orders_signal_{name}".replace(" ", "_")] = quartiles(map(orders, forward))
        numbers[f"orders_{name}".replace(" ", "_")] = quartiles(map(orders, backward))
    unet = {name: _of_unet(norm, image) for name, norm in NORMS.items()}
    layers = [float(layer) for layer in range(1, DEPTH + 1)]
    charts = (
        Lines("Forward: how large the signal is", "layer", "standard deviation", layers, signals, log_y=True),
        Lines(
            "Backward: how much gradient arrives, of the last layer's", "layer", "share", layers, gradients, log_y=True
        ),
        Lines(
            "A U-Net's gradients, first convolution to last",
            "convolution",
            "norm of the gradient over norm of the weights",
            [float(n) for n in range(1, len(unet["no norm"]) + 1)],
            unet,
            log_y=True,
        ),
    )
    return Finding("normalisation_gradients.depth", numbers, charts)


def _stack(norm: str, width: int, seed: int, device: torch.device) -> list[nn.Module]:
    torch.manual_seed(seed)
    ends = (3, *[width] * DEPTH)
    return [Convolution(a, b, norm=norm).to(device).train() for a, b in pairwise(ends)]


def signal_and_gradient(layers: Sequence[nn.Module], image: Tensor) -> tuple[list[float], list[float]]:
    """Per layer the deviation of its output, and the norm of the loss's gradient there as a share of the last one's.

    The loss pulls the last output in a random direction, so that its own gradient has the same size whatever the norm.
    """
    y, maps = image, list[Tensor]()
    for layer in layers:
        y = layer(y)
        y.retain_grad()
        maps.append(y)
    torch.autograd.backward((y * torch.randn_like(y)).mean())
    gradients = [float(each.grad.norm()) for each in maps if each.grad is not None]
    return [float(each.detach().std()) for each in maps], [gradient / gradients[-1] for gradient in gradients]


def _of_unet(norm: str, image: Tensor) -> list[Number]:
    """Relative gradients of the convolutions of 3 x 3, in the order of computation."""
    drawn = []
    for seed in range(DRAWS):
        network = small_unet(norm, seed, image.device)
        y = network(image)
        torch.autograd.backward((y * torch.randn_like(y)).mean())
        weights = [module.convolution.weight for module in network.modules() if isinstance(module, Convolution)]
        drawn.append([float(w.grad.norm() / w.detach().norm()) for w in weights if w.grad is not None])
    return [quartiles(values) for values in zip(*drawn, strict=True)]


def small_unet(norm: str, seed: int, device: torch.device) -> nn.Module:
    """A U-Net of four levels, 8 channels wide at the finest, of PyTorch's own first weights."""
    torch.manual_seed(seed)
    return UNet(3, width=8, encoder_options={"width": 8}, norm=norm).to(device).train()


def _by_layer(drawn: Sequence[Sequence[float]]) -> list[Number]:
    return [quartiles(values) for values in zip(*drawn, strict=True)]


def orders(values: Sequence[float]) -> float:
    """Orders of magnitude between the largest and the smallest."""
    return math.log10(max(values) / max(min(values), TINY))


def normalisation_initialisation(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Dependence on the first weights."""
    scales = budget.sweep(SCALES)
    recipe = small_recipe(f"sampling.crop={CROP}", "training.batch=4")
    batch = next(batches(Sampler(chip_folder(budget.chips).where(split="train"), recipe), 0)).to(device)
    left = {
        name: [
            [left_over(norm, batch, recipe, scale=scale, seed=seed) for scale in scales] for seed in range(SCALED_DRAWS)
        ]
        for name, norm in NORMS.items()
    }
    curves = {name: [quartiles(values) for values in zip(*by_seed, strict=True)] for name, by_seed in left.items()}
    numbers = {}
    for name, by_seed in left.items():
        key = name.replace(" ", "_")
        numbers[f"evenness_{key}"] = quartiles(evenness(values) for values in by_seed)
        numbers[f"learns_{key}"] = quartiles(fmean(value <= LEARNT for value in values) for values in by_seed)
    picture = Lines(
        f"Loss after {STEPS} steps against the scale of the first weights",
        "first weights times",
        "loss, in those of a coin toss",
        scales,
        curves,
        levels={"a coin toss": 1.0},
        log_x=True,
        log_y=True,
    )
    yield Finding("normalisation_initialisation.scale", numbers, [picture])


def left_over(norm: str, batch: Batch, recipe: Recipe, *, scale: float, seed: int) -> float:
    """The loss that a few steps on one batch leave, as a share of that of logits of zero, at most `CEILING`.

    All weights of the U-Net's convolutions start `scale` times as large as PyTorch draws them.
    """
    network = scaled(small_unet(norm, seed, batch.image.device), scale)
    objective = make_objective(recipe.loss)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.training.learning_rate)
    for _ in range(STEPS):
        take_step(network, optimizer, batch, objective)
    with torch.no_grad():
        coin, loss = (objective(y, batch).mean() for y in (torch.zeros_like(batch.target), network(batch.image)))
    return min(float(loss.nan_to_num(math.inf) / coin), CEILING)


@torch.no_grad()
def scaled(network: nn.Module, scale: float) -> nn.Module:
    """The same network, every convolution's weights times `scale`."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.mul_(scale)
    return network


def evenness(left: Sequence[float]) -> float:
    """How far the loss fell at the worst of several scales, as a share of how far it fell at the best one; 0 to 1."""
    return max(0.0, 1 - max(left)) / max(1 - min(left), 1e-9)
