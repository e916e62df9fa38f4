"""What normalisation does to the signal on its way forward and to the gradient on its way back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from cropland.blocks.convolution import Convolution
from cropland.lab.charts import Lines
from cropland.lab.claim import Finding
from cropland.lab.experiments.normalisation import tile_image
from cropland.lab.measure import Budget, Number, quartiles
from cropland.networks.unet import UNet

__all__ = ["normalisation_gradients"]

NORMS = {"no norm": "torch.nn:Identity", "batch norm": "batch_norm", "channel norm": "channel_norm"}
DEPTH = 20  # blocks, about as many as the convolutions on the way through a U-Net of four levels
DRAWS = 5  # of the first weights
CROP = 48  # pixels
TINY = 1e-45  # the smallest float32 beside zero


def normalisation_gradients(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """Signal and gradient by depth."""
    image = crops(tile_image(2 * CROP)).to(device)
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
