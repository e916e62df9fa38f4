"""The contract of a network: (batch, band, height, width) in, one logit per pixel and output out, at any height and
width. A network of the user's own is fitted to it, and every network is checked before it is trained.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cropland.errors import ModelError
from cropland.language import _
from cropland.recipe import Recipe

BASE = 64  # pixels; what divides it is no longer needed to divide an image
DIVISORS = (1, 2, 4, 8, 16, 32, 64)
SMALLEST = 1e-7  # a probability: below, its logarithm means nothing in float32
PROBES = ((64, 64), (75, 90))  # a round size and an odd one
Read = Callable[[Tensor], Tensor]


def check_network(network: nn.Module, recipe: Recipe) -> None:
    """Raise `ModelError`, saying what came, unless (1, bands, h, w) gives (1, outputs, h, w) at any h and w."""
    network.eval()
    for size in PROBES:
        given, expected = (1, len(recipe.bands), *size), (1, len(recipe.outputs), *size)
        y = _probe(network, given, recipe.network.name)
        came = tuple(y.shape) if isinstance(y, Tensor) else f"a {type(y).__name__}"
        if came != expected:
            raise ModelError(
                "network {name}: an input of {given} gave {came}, expected {expected} (one logit "
                "per pixel and output, at any height and width)",
                name=recipe.network.name,
                given=given,
                came=came,
                expected=expected,
            )


def build_own(found: Any, name: str, options: Mapping[str, Any], *, bands: int, outputs: int) -> nn.Module:
    """The network that a class or function makes with these options, or that a name holds already, adapted.

    The option "None" stands for None, which TOML cannot say. Raises `ModelError` for options that it does not take, and
    for what is no network.
    """
    options = {key: None if value == "None" else value for key, value in options.items()}
    try:
        built = copy.deepcopy(found) if isinstance(found, nn.Module) and not options else found(**options)
    except TypeError as error:
        raise ModelError("network {name} does not take these options: {error}", name=name, error=error) from error
    if not isinstance(built, nn.Module):
        raise ModelError("{name} makes a {kind}, expected a torch.nn.Module", name=name, kind=type(built).__name__)
    return adapt(built, name, bands=bands, outputs=outputs)


def adapt(network: nn.Module, name: str, *, bands: int, outputs: int) -> nn.Module:
    """The network itself where it keeps the contract, else within what makes it keep it.

    A missing axis of classes is added; two classes become one logit, their difference, which is exact for a softmax;
    probabilities become logits; images are padded to a size that the network can halve. Raises `ModelError` with the
    shapes that came for everything else.
    """
    network.eval()
    shape = (2, bands, BASE, BASE)
    y = _probe(network, shape, name, take=_tensor)
    if y.shape[-2:] != shape[-2:]:
        raise _unfit(name, shape, y)
    read = _reading(network, y, shape, outputs, name)
    divisor = _divisor(network, bands, name)
    fits = read is _as_it_is and divisor == 1 and isinstance(_probe(network, shape, name), Tensor)
    return network if fits else Adapted(network, read, divisor)


class Adapted(nn.Module):
    """A network, its output read as logits, on images whose size `divisor` divides."""

    def __init__(self, network: nn.Module, read: Read, divisor: int) -> None:
        super().__init__()
        self.network, self.read, self.divisor = network, read, divisor

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if self.divisor > 1:
            x = functional.pad(x, (0, -width % self.divisor, 0, -height % self.divisor))
        return self.read(_tensor(self.network(x)))[..., :height, :width]


def _as_it_is(y: Tensor) -> Tensor:
    return y


def _added_axis(y: Tensor) -> Tensor:
    return y[:, None]


def _difference(y: Tensor) -> Tensor:
    """Of two classes: log(p1 / p0), where p is the softmax."""
    return y[:, 1:2] - y[:, 0:1]


def _log_ratio(y: Tensor) -> Tensor:
    """Of two classes that have been through a softmax already."""
    return _difference(y.clamp_min(SMALLEST).log())


def _logit(y: Tensor) -> Tensor:
    """Of what has been through a sigmoid already."""
    return torch.logit(y, eps=SMALLEST)


def _reading(network: nn.Module, y: Tensor, given: tuple[int, ...], outputs: int, name: str) -> Read:
    """How the output is read; whether it holds probabilities is seen with an image that logits would answer wildly."""
    loud = _probe(network, given, name, take=_tensor, scale=30.0)
    between = bool(loud.min() >= 0 and loud.max() <= 1 and loud.min() < loud.max())
    if y.dim() == 4 and y.shape[1] == outputs:
        return _logit if between else _as_it_is
    if y.dim() == 4 and y.shape[1] == 2 and outputs == 1:
        sums_to_one = torch.allclose(loud.sum(1), torch.ones(()), atol=1e-4)
        return _log_ratio if between and sums_to_one else _difference
    if y.dim() == 3 and outputs == 1:
        return (lambda value: _logit(_added_axis(value))) if between else _added_axis
    raise _unfit(name, given, y)


def _divisor(network: nn.Module, bands: int, name: str) -> int:
    """The least number that must divide height and width."""
    for divisor in DIVISORS:
        odd = max(1, BASE // divisor) | 1  # odd: that the size is divided by more is no help
        shape = (2, bands, divisor * odd, divisor * (odd + 2))
        try:
            if _probe(network, shape, name, take=_tensor).shape[-2:] == shape[-2:]:
                return divisor
        except ModelError:
            continue
    raise ModelError(
        "network {name} takes images of {size} x {size} pixels, but not of other sizes", name=name, size=BASE
    )


@torch.no_grad()
def _probe(
    network: nn.Module, shape: tuple[int, ...], name: str, *, take: Callable[[Any], Any] = _as_it_is, scale: float = 1.0
) -> Any:
    """What is taken of the output for a random image. Raises `ModelError` where the network or `take` fails."""
    image = scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    try:
        return take(network(image))
    except Exception as error:  # somebody else's code may raise anything
        raise ModelError(
            "network {name} fails on an image of {shape} (batch, bands, height, width): {kind}: {error}",
            name=name,
            shape=shape,
            kind=type(error).__name__,
            error=(str(error).splitlines() or [""])[0],
        ) from error


def _tensor(y: Any) -> Tensor:
    """The one tensor in an output: itself, `out` or `logits` of a mapping, the only item of a sequence."""
    if isinstance(y, dict):
        y = y.get("out", y.get("logits"))
    if isinstance(y, list | tuple) and len(y) == 1:
        (y,) = y
    if not isinstance(y, Tensor):
        raise TypeError(_("its output is a {kind}, expected a tensor of one logit per pixel", kind=type(y).__name__))
    return y


def _unfit(name: str, given: tuple[int, ...], y: Tensor) -> ModelError:
    return ModelError(
        "network {name}: an image of {given} gave {came}, expected (batch, 1, height, width) logits, "
        "(batch, height, width), or two classes",
        name=name,
        given=given,
        came=tuple(y.shape),
    )
