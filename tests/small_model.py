"""A small model with biases and batch statistics that are not zero, as a file."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from cropland.model import ModelFile, WorkingPixel, build_network
from cropland.recipe import parse_recipe
from cropland.streaming.receptive_field import field

SMALL = {"width": 4, "encoder_options": {"width": 4, "depth": 2}}


def save_model(
    path: Path,
    *,
    options: dict[str, Any] | None = None,
    pixel_m: float = 10.0,
    name: str = "unet",
    bands: tuple[str, ...] = ("red", "green", "blue"),
    **values: Any,
) -> ModelFile:
    """A model with random weights whose logits spread over both classes."""
    torch.manual_seed(0)
    recipe = parse_recipe(
        {"bands": bands, "network": {"name": name, "options": SMALL if options is None else options}, **values}
    )
    network = shaken(build_network(recipe))
    found = field(network, len(bands))
    model = ModelFile(recipe, (WorkingPixel(pixel_m, 0.9, 0.5),), found.stride, found.radius)
    return model.save(path, network.state_dict())


@torch.no_grad()
def shaken(network: nn.Module) -> nn.Module:
    """The network in evaluation mode with biases and statistics drawn anew."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.3, 1.5)
        if getattr(module, "bias", None) is not None:
            module.bias.normal_(0, 0.3)
    return network.eval()
