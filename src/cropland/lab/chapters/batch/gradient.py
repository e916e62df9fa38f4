"""When weights change, what accumulation equals, what a batch costs, and where its gradient points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile

import torch
from torch import Tensor, nn

from cropland.data.batches import Batch
from cropland.lab.charts import Bars, Lines
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, Number, exactly, interleave, quartiles, quotient
from cropland.lab.roofline import roofline
from cropland.lab.trials import batches_of, short_recipe, small_recipe
from cropland.model import build_network
from cropland.show import anatomy
from cropland.training.memory import SHARE, free_bytes, kept_bytes, place_network
from cropland.training.optimizer import make_objective

__all__ = ["batch", "batch_gradient"]

NORMS = {"batch norm": "batch_norm", "channel norm": "channel_norm", "group norm": "group_norm"}
EQUAL = 1e-4  # of the gradient's length: far above rounding, far below a difference that matters
SIZES = (1, 2, 4, 8, 16, 32)
CHIPS, STEPS = 8, 6
BACKWARD = 3  # forward and backward pass cost about as much as three forward passes

BATCHES = 16  # of eight chips: their mean gradient stands for that of all
DRAWS = 40
NORM = "channel_norm"  # statistics of the batch would make a chip's gradient depend on its neighbours


def batch(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Steps and epochs, accumulation, throughput."""
    yield _when(device)
    yield _accumulation(device)
    yield from _cost(device, budget)


def _when(device: torch.device) -> Finding:
    """Two epochs of six steps, with the distance that the weights have moved after each chip."""
    network = _network("batch_norm", device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    start, moved = _flat(network), [0.0]
    for _ in range(2 * STEPS):
        torch.autograd.backward(_loss(network, torch.randn(2, 3, 32, 32, device=device)))
        optimizer.step()
        optimizer.zero_grad()
        moved.append(float((_flat(network) - start).norm()))
    changes = sum(a != b for a, b in pairwise(moved))
    picture = Lines(
        f"How far the weights have moved, two epochs of {STEPS} steps",
        "step",
        "distance from the start",
        [*range(len(moved))],
        {"weights": [exactly(distance) for distance in moved]},
    )
    numbers = {"changes": exactly(changes / 2), "steps": exactly(STEPS)}
    return Finding("batch.when", numbers, [picture])


def _accumulation(device: torch.device) -> Finding:
    """The gradient of eight chips at once against that summed over parts of two."""
    errors = {}
    for name, norm in NORMS.items():
        network, image = _network(norm, device), torch.randn(CHIPS, 3, 32, 32, device=device)
        whole = gradient(network, image, micro=CHIPS)
        errors[name] = exactly(float((gradient(network, image, micro=2) - whole).norm() / whole.norm()))
    share = sum(error.value < EQUAL for error in errors.values()) / len(errors)
    numbers = {"share": exactly(share), **{NORMS[name]: error for name, error in errors.items()}}
    bars = Bars("Difference between accumulated and whole gradient", "share", errors, log=True)
    return Finding("batch.accumulation", numbers, [bars])


def gradient(network: nn.Module, image: Tensor, *, micro: int) -> Tensor:
    """The gradient of the mean loss over the images, `micro` at a time, as one vector."""
    network.zero_grad()
    for part in torch.split(image, micro):
        torch.autograd.backward(_loss(network, part) * len(part) / len(image))
    return torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])


def _cost(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Forward and backward pass of the small network against the number of chips."""
    network, edge = _network("batch_norm", device), budget.size
    kept = kept_bytes(network, torch.zeros(1, 3, edge, edge, device=device))
    fits = SHARE * free_bytes(device)
    sizes = list(takewhile(lambda size: size * kept < fits or size == 1, sorted({1, *budget.sweep(SIZES)})))
    images = {size: torch.randn(size, 3, edge, edge, device=device) for size in sizes}
    runs = {
        str(size): (lambda image=image: torch.autograd.backward(_loss(network, image)))
        for size, image in images.items()
    }
    times = interleave(runs, device, rounds=budget.rounds, warm=1)
    rates = {size: _rate(size, times[str(size)].number) for size in sizes}
    yield Finding("batch.throughput", *_throughput(rates))
    work = 2 * BACKWARD * anatomy(_network("batch_norm", torch.device("cpu")), 3).multiply_adds * edge**2
    peak = roofline(device, budget.rounds).peak()
    shares = {size: rate.times(work / peak) for size, rate in rates.items()}
    memory = {size: exactly(size * kept / 1e6) for size in sizes}
    pictures = [
        Lines("Share of the best matrix rate", "batch size", "share", sizes, {"small network": [*shares.values()]}),
        Lines(
            "Activations kept for the backward pass",
            "batch size",
            "megabytes",
            sizes,
            {"small network": [*memory.values()]},
        ),
    ]
    numbers = {"share": max(shares.values(), key=lambda share: share.value), "first": shares[sizes[0]]}
    numbers |= {"kept": exactly(kept / 1e6), "largest": memory[sizes[-1]], "batch": exactly(sizes[-1])}
    yield Finding("batch.peak", numbers, pictures)


def _rate(size: int, seconds: Number) -> Number:
    return Number(size / seconds.value, size / seconds.high, size / seconds.low)


def _throughput(rates: dict[int, Number]) -> tuple[dict[str, Number], list[Lines]]:
    best = max(rates, key=lambda size: rates[size].value)
    numbers = {
        "gain": quotient(rates[max(rates)], rates[min(rates)]),
        "least": exactly(min(rates)),
        "largest": exactly(max(rates)),
        "best": exactly(best),
    }
    title = "Chips per second, forward and backward"
    return numbers, [
        Lines(title, "batch size", "chips per second", [*rates], {"small network": [*rates.values()]}, log_x=True)
    ]


def _network(norm: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    return place_network(build_network(small_recipe(f"network.options.norm={norm}")), device).train()


def _loss(network: nn.Module, image: Tensor) -> Tensor:
    logits: Tensor = network(image)
    return nn.functional.softplus(-logits).mean()  # of chips that are cropland everywhere


def _flat(network: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()]).clone()


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
