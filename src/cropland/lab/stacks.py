"""Stacks of ordinary and of separable layers: timed in turn, and the same layers executed in several ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import openvino
import torch
from torch import Tensor, nn

from cropland.blocks.convolution import Convolution
from cropland.blocks.separable import Separable
from cropland.lab.charts import Bars
from cropland.lab.measure import Number, Run, Times, interleave, ratio

BLOCKS: dict[str, type[nn.Module]] = {"ordinary": Convolution, "separable": Separable}
Both = Mapping[str, Run]  # of the ordinary stack and of the separable one


@dataclass(frozen=True)
class Case:
    """What is timed: a middle, in which `replace` varies one factor."""

    channels: int
    size: int
    batch: int = 1
    layers: int = 1
    dtype: torch.dtype = torch.float32
    layout: torch.memory_format = torch.channels_last

    @property
    def promised(self) -> float:
        """Multiply-adds of the ordinary layer over those of the separable one: 9 C^2 / (9 C + C^2)."""
        return 9 * self.channels / (9 + self.channels)

    def fitting(self, free: float) -> Case:
        """The same, its size halved until four maps fit into so many bytes: input, two convolved, normalised."""
        live = 4 * self.dtype.itemsize * self.batch * self.channels * self.size**2
        return self if live <= free or self.size < 2 else replace(self, size=self.size // 2).fitting(free)


def stack(block: type[nn.Module], case: Case, device: torch.device) -> nn.Module:
    """So many layers of the block, in evaluation mode."""
    layers = nn.Sequential(*(block(case.channels, case.channels) for _ in range(case.layers))).to(device, case.dtype)
    moved: nn.Module = layers.to(memory_format=case.layout)  # type: ignore[call-overload]  # torch's stub lacks it
    return moved.eval()


def image_of(case: Case, device: torch.device) -> Tensor:
    """A random image (batch, channels, size, size)."""
    shape = (case.batch, case.channels, case.size, case.size)
    return torch.randn(shape, device=device).to(case.dtype).contiguous(memory_format=case.layout)


def forward(block: type[nn.Module], case: Case, device: torch.device) -> Run:
    """A stack of the block on a random image, without gradients."""
    network, image = stack(block, case, device), image_of(case, device)
    return torch.no_grad()(lambda: network(image))


def both(case: Case, device: torch.device) -> dict[str, Run]:
    """The ordinary stack and the separable one, forward."""
    return {name: forward(block, case, device) for name, block in BLOCKS.items()}


def in_turn(ways: Mapping[str, Both], device: torch.device, rounds: int) -> dict[str, dict[str, Times]]:
    """The stacks in every way that they can be run, all interleaved."""
    runs = {f"{way}/{kind}": run for way, its in ways.items() for kind, run in its.items()}
    times = interleave(runs, device, rounds=rounds)
    return {way: {kind: times[f"{way}/{kind}"] for kind in its} for way, its in ways.items()}


def gain(times: Mapping[str, Times]) -> Number:
    """How many times as fast the separable stack is."""
    return ratio(times["ordinary"], times["separable"])


def bars(times: Mapping[str, Mapping[str, Times]], promised: float) -> tuple[Bars, Bars]:
    """What the separable stack gains in every way, and the milliseconds behind it."""
    gains = {way: gain(its) for way, its in times.items()}
    spent = {f"{way}: {kind}": found.ms for way, its in times.items() for kind, found in its.items()}
    unit = "times as fast as ordinary layers; the line: what multiply-adds promise"
    return Bars("What separable layers gain", unit, gains, level=promised), Bars(
        "The time itself", "milliseconds", spent
    )


def folded(block: nn.Module) -> list[nn.Module]:
    """The layers of a block with the norm folded into the last convolution: what remains at inference."""
    block.eval()
    layers = [layer for layer in block.children() if isinstance(layer, nn.Conv2d)]
    norm = next(layer for layer in block.children() if isinstance(layer, nn.BatchNorm2d))
    last = torch.nn.utils.fusion.fuse_conv_bn_eval(layers[-1], norm)
    return [*layers[:-1], last, nn.ReLU(inplace=True)]


def fused(block: Separable) -> Separable:
    """A block of the same weights that is executed in one pass."""
    channels_in, channels_out = block.depthwise.in_channels, block.pointwise.out_channels
    other = Separable(channels_in, channels_out, execution="fused").eval()
    other.load_state_dict(block.state_dict())
    return other


def in_bands(layers: nn.Sequential, image: Tensor, *, band: int) -> Tensor:
    """Depth first: all layers over `band` rows, with a row more on either side per 3 x 3, then the next rows."""
    height, parts = image.shape[2], []
    reach = sum(isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3) for layer in layers)
    for start in range(0, height, band):
        first, last = max(0, start - reach), min(height, start + band + reach)
        rows = image[:, :, first:last]
        for layer in layers:
            rows = layer(rows)
        parts.append(rows[:, :, start - first : start - first + band])
    # Rows at a cut edge see zeros instead of their neighbours; so many layers later they are not among those kept.
    return torch.cat(parts, 2)


def by_openvino(network: nn.Module, image: Tensor) -> openvino.CompiledModel:
    """A network compiled for the CPU in float32; a function of arrays."""
    graph = openvino.convert_model(network, example_input=image)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    return openvino.Core().compile_model(graph, "CPU", settings)
