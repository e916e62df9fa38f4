"""How far every part of a network sees, exactly: what is not a number spreads to all that it can touch.

One row of the image is NaN; wherever a map is NaN, it depends on that row. This holds for any network, exported or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LARGEST = 4096  # rows of the first probe; a field that reaches its edge counts as without bound
WIDTH = 32  # columns of the probe: one of a map of stride 32
AT_ONCE = 8  # probes in a batch

Follow = Callable[[Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Reach:
    """In image pixels: the rows that one pixel of a map sees (`window`), and how far from its own place (`radius`)."""

    stride: float
    window: int
    radius: int


@torch.no_grad()
def reach(follow: Follow, bands: int) -> list[Reach | None]:
    """The reach of every map that `follow` makes of images, on the CPU; None where it has no bound.

    The coarsest map must be among them: a first probe finds how tall the others must be, and these are at as many
    neighbouring rows as its pixel is wide, so that every position between coarse and fine is met.
    """
    strides = [LARGEST / y.shape[2] for y in follow(torch.zeros(1, bands, LARGEST, WIDTH))]
    period = int(max(strides))
    rough = _touched(follow, bands, LARGEST, strides, rows=1)
    bounded = [_radius(its) + 2 * period < LARGEST // 2 for its in rough]
    widest = max((_radius(its) for its, ends in zip(rough, bounded, strict=True) if ends), default=0)
    height = 2 * period * (widest // period + 3)
    exact = _touched(follow, bands, height, strides, rows=period)
    parts = zip(exact, strides, bounded, strict=True)
    return [Reach(stride, _window(its), _radius(its)) if ends else None for its, stride, ends in parts]


def _touched(follow: Follow, bands: int, height: int, strides: Sequence[float], *, rows: int) -> list[Tensor]:
    """Per map, how far each touched row of it lies from the row that touches it; probes from the middle on."""
    seen: list[list[Tensor]] = [[] for _ in strides]
    for first in range(height // 2, height // 2 + rows, AT_ONCE):
        probes = torch.arange(first, min(first + AT_ONCE, height // 2 + rows))
        images = torch.zeros(len(probes), bands, height, WIDTH)
        images[torch.arange(len(probes)), :, probes] = torch.nan
        for number, y in enumerate(follow(images)):
            probe, row = y.isnan().any(3).any(1).nonzero().T
            seen[number].append(probes[probe] - (row * strides[number]).long())
    return [torch.cat(each) for each in seen]


def _window(offsets: Tensor) -> int:
    return int(offsets.max() - offsets.min()) + 1


def _radius(offsets: Tensor) -> int:
    return int(offsets.abs().max())


def maps_of(network: nn.Module, names: Sequence[str]) -> Follow:
    """A function from images to what the named modules of a network give, by hooks."""

    def follow(images: Tensor) -> list[Tensor]:
        found: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda _module, _inputs, output: found.update({name: last(output)})

        hooks = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
        network(images)
        for hook in hooks:
            hook.remove()
        return [found[name] for name in names]

    return follow


def last(output: Tensor | Sequence[Tensor]) -> Tensor:
    """What a module gives; of several maps the last."""
    return output if isinstance(output, Tensor) else output[-1]
