"""The same layers executed in several ways."""

from __future__ import annotations

import openvino
import torch
from torch import Tensor, nn

from cropland.blocks.separable import Separable


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
