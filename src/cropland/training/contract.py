"""What a network must do to be trained and mapped with."""

from __future__ import annotations

import torch
from torch import nn

from cropland.errors import ModelError
from cropland.language import _
from cropland.recipe import Recipe

PROBES = ((64, 64), (75, 90))  # a round size and an odd one


def check_network(network: nn.Module, recipe: Recipe) -> None:
    """Raise `ModelError`, saying what came, unless (1, bands, h, w) gives (1, outputs, h, w) at any h and w."""
    network.eval()
    for height, width in PROBES:
        given = (1, len(recipe.bands), height, width)
        expected = (1, len(recipe.outputs), height, width)
        came = _output(network, given)
        if came != expected:
            raise ModelError(
                _(
                    "network {name}: an input of {given} gave {came}, expected {expected} (one logit "
                    "per pixel and output, at any height and width)",
                    name=recipe.network.name,
                    given=given,
                    came=came,
                    expected=expected,
                )
            )


@torch.no_grad()
def _output(network: nn.Module, shape: tuple[int, ...]) -> object:
    try:
        y = network(torch.zeros(shape))
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ModelError(
            _(
                "the network fails on an input of {shape}: {splitlines}",
                shape=shape,
                splitlines=str(error).splitlines()[0],
            )
        ) from error
    return tuple(y.shape) if torch.is_tensor(y) else f"a {type(y).__name__}"
