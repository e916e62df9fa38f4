"""One layer, ordinary against separable: parameters, multiply-adds, bytes moved, milliseconds, and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from cropland.blocks.convolution import Convolution
from cropland.blocks.separable import Separable
from cropland.lab.charts import Bars, Stack
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly, interleave, ratio
from cropland.training.memory import kept_bytes

__all__ = ["separable_layer"]

LAYERS = ORDINARY, SEPARABLE = "ordinary", "separable"
PER_WEIGHT = 4 * 4  # bytes in training: itself, its gradient, two moments


def separable_layer(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """The waterfall, then what is kept for training."""
    yield _waterfall(device, budget)
    yield _kept(device, budget)


def layers(
    device: torch.device, budget: Budget, *, training: bool = False, planes: bool = False
) -> tuple[Tensor, dict[str, nn.Module]]:
    """One image and both layers at the budget's middle; channels last unless `planes`."""
    order = torch.contiguous_format if planes else torch.channels_last
    image = torch.randn(1, budget.channels, budget.size, budget.size, device=device).contiguous(memory_format=order)
    pair = {ORDINARY: Convolution, SEPARABLE: Separable}
    ready: dict[str, Any] = {name: block(budget.channels, budget.channels) for name, block in pair.items()}
    moved = {name: each.to(device, memory_format=order) for name, each in ready.items()}
    return image, {name: each.train(training) for name, each in moved.items()}


def convolutions(ready: Mapping[str, Any]) -> dict[str, nn.Conv2d]:
    """The three convolutions in the two layers."""
    return {
        "ordinary": ready[ORDINARY].convolution,
        "depthwise": ready[SEPARABLE].depthwise,
        "pointwise": ready[SEPARABLE].pointwise,
    }


@torch.no_grad()
def multiply_adds(layer: nn.Module, image: Tensor) -> float:
    """Multiplications with an addition in one forward pass; PyTorch counts them as two operations."""
    with FlopCounterMode(display=False) as counter:
        layer(image)
    return float(counter.get_total_flops()) / 2


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes that each operation reads and writes, as if no cache kept them for the next."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.moved += sum(each.nbytes for each in tree_leaves((args, kwargs, out)) if isinstance(each, Tensor))
        return out


@torch.no_grad()
def bytes_moved(layer: nn.Module, image: Tensor) -> float:
    """Bytes read and written by the operations of one forward pass."""
    with Traffic() as traffic:
        layer(image)
    return float(traffic.moved)


@torch.no_grad()
def _waterfall(device: torch.device, budget: Budget) -> Finding:
    image, ready = layers(device, budget)
    times = interleave({n: lambda n=n: ready[n](image) for n in ready}, device, rounds=budget.rounds)  # type: ignore[misc]
    counts = {
        "parameters": {n: float(sum(w.numel() for w in each.parameters())) for n, each in ready.items()},
        "multiply-adds": {n: multiply_adds(each, image) for n, each in ready.items()},
        "bytes moved": {n: bytes_moved(each, image) for n, each in ready.items()},
    }
    fewer = {name: exactly(its[ORDINARY] / its[SEPARABLE]) for name, its in counts.items()}
    faster = ratio(times[ORDINARY], times[SEPARABLE])
    numbers = {
        "parameters": fewer["parameters"],
        "multiply_adds": fewer["multiply-adds"],
        "moved": fewer["bytes moved"],
        "faster": faster,
        "reached": faster.times(1 / fewer["multiply-adds"].value),
        "ordinary_ms": times[ORDINARY].ms,
        "separable_ms": times[SEPARABLE].ms,
    }
    picture = Bars(
        "How many times less the separable layer needs (dashed: as much)",
        "times",
        {**fewer, "milliseconds": faster},
        level=1,
    )
    return Finding("separable_layer.waterfall", numbers, [picture])


def kept_per_image(network: nn.Module, image: Tensor) -> int:
    """Bytes that one image more keeps for the backward pass: the weights, kept once, drop out."""
    one, two = (image.repeat(batch, 1, 1, 1).requires_grad_() for batch in (1, 2))
    return kept_bytes(network, two) - kept_bytes(network, one)


def _kept(device: torch.device, budget: Budget) -> Finding:
    """Bytes that a training step holds on to: activations for the backward pass, and what belongs to the weights."""
    image, ready = layers(device, budget, training=True)
    weights = {n: PER_WEIGHT * sum(w.numel() for w in each.parameters()) for n, each in ready.items()}
    kept = {n: kept_per_image(each, image) for n, each in ready.items()}
    between = {ORDINARY: 0, SEPARABLE: image.nbytes}  # what the depthwise convolution hands to the pointwise one
    parts = {
        n: {
            "weights, gradients, moments": weights[n] / 1e6,
            "intermediate activation": between[n] / 1e6,
            "other activations kept": (kept[n] - between[n]) / 1e6,
        }
        for n in LAYERS
    }
    whole = {n: sum(its.values()) for n, its in parts.items()}
    numbers = {
        "saved": exactly(whole[ORDINARY] / whole[SEPARABLE]),
        "ordinary_mb": exactly(whole[ORDINARY]),
        "separable_mb": exactly(whole[SEPARABLE]),
        "intermediate_mb": exactly(between[SEPARABLE] / 1e6),
        "weights_ordinary_mb": exactly(weights[ORDINARY] / 1e6),
        "weights_separable_mb": exactly(weights[SEPARABLE] / 1e6),
    }
    picture = Stack("Memory that one layer holds in training, one image", "megabytes", parts)
    return Finding("separable_layer.kept", numbers, [picture])
