"""Where the gradient of a batch points, compared with that of all chips."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from cropland.data.batches import Batch
from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, quartiles
from cropland.lab.trials import batches_of, short_recipe
from cropland.model import build_network
from cropland.training.device import place_network
from cropland.training.objective import make_objective

__all__ = ["batch_gradient"]

SIZES = (1, 2, 4, 8, 16, 32)
BATCHES = 16  # of eight chips: their mean gradient stands for that of all
DRAWS = 40
NORM = "channel_norm"  # statistics of the batch would make a chip's gradient depend on its neighbours


def batch_gradient(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Direction, and the batch beyond which it hardly improves."""
    gradients = _gradients(device, budget)
    whole = gradients.mean(0)
    known = [size for size in SIZES if size <= len(gradients) // 2]
    sizes = sorted({known[0], *budget.sweep(known)})
    cosines = {size: quartiles(_cosines(gradients, whole, size)) for size in sizes}
    scale = noise_scale(gradients)
    expected = [exactly(1 / math.sqrt(1 + scale / size)) for size in sizes]
    lines = Lines(
        "Cosine between a batch's gradient and that of all chips",
        "batch size",
        "cosine",
        sizes,
        {"measured": [*cosines.values()], "from the noise scale": expected},
        log_x=True,
    )
    first, last = cosines[sizes[0]], cosines[sizes[-1]]
    gain = Number(last.value - first.value, last.low - first.high, last.high - first.low)
    numbers = {"gain": gain, "first": first, "last": last, "batch": exactly(sizes[-1]), "scale": exactly(scale)}
    yield Finding("batch_gradient.direction", numbers, [lines])
    yield _spread(gradients, sizes)


def _gradients(device: torch.device, budget: Budget) -> Tensor:
    """The gradient of every chip (chip, weight), at the weights that training starts from."""
    torch.manual_seed(0)
    recipe = short_recipe(NORM, 0.01, 0)
    network, objective = place_network(build_network(recipe), device), make_objective(recipe.loss)
    count = BATCHES if budget.steps == 0 or budget.steps > BATCHES else budget.steps
    chips = (part for batch in batches_of(budget.chips, 0, count) for part in _chips(batch.to(device)))
    return torch.stack([_gradient(network, objective(network(chip.image), chip).sum()) for chip in chips])


def _chips(batch: Batch) -> Iterator[Batch]:
    return (batch.part(number, number + 1) for number in range(len(batch.image)))


def _gradient(network: nn.Module, loss: Tensor) -> Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, [*network.parameters()])])


def _cosines(gradients: Tensor, whole: Tensor, size: int) -> list[float]:
    draw = torch.Generator().manual_seed(size)
    picks = (torch.randperm(len(gradients), generator=draw)[:size] for _ in range(DRAWS))
    return [float(torch.cosine_similarity(gradients[pick.to(gradients.device)].mean(0), whole, 0)) for pick in picks]


def noise_scale(gradients: Tensor) -> float:
    """The variance of a chip's gradient over the squared length of the true one: the batch at which both are equal.

    McCandlish et al. 2018, arXiv:1812.06162, eq. 2.8; the length without the bias that the chips' own noise adds.
    """
    count, mean = len(gradients), gradients.mean(0)
    variance = float((gradients - mean).square().sum()) / (count - 1)
    return variance / max(float(mean.square().sum()) - variance / count, 1e-30)


def _spread(gradients: Tensor, sizes: Sequence[int]) -> Finding:
    """How the noise of a batch's gradient falls with its size: the exponent of a line through the logarithms."""
    whole, draw = gradients.mean(0), torch.Generator().manual_seed(0)
    noises = {}
    for size in sizes:
        picks = (torch.randint(len(gradients), (size,), generator=draw) for _ in range(DRAWS))  # with replacement
        noises[size] = quartiles(
            float((gradients[p.to(gradients.device)].mean(0) - whole).norm() / whole.norm()) for p in picks
        )
    exponent = _slope(sizes, [noise.value for noise in noises.values()])
    lines = Lines(
        "Noise of a batch's gradient, in lengths of the true one",
        "batch size",
        "noise",
        sizes,
        {"measured": [*noises.values()]},
        log_x=True,
        log_y=True,
    )
    numbers = {"exponent": exactly(exponent), "off": exactly(abs(exponent + 0.5))}
    return Finding("batch_gradient.noise", numbers, [lines])


def _slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    x, y = (torch.tensor([math.log(value) for value in each]).double() for each in (sizes, values))
    x, y = x - x.mean(), y - y.mean()
    return float((x @ y) / (x @ x))
