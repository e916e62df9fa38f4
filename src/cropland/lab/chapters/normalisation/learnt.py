"""What a batch normalisation learns, what it tracks, and what eval() freezes; and what that does in mapping."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cropland.blocks.convolution import Convolution
from cropland.geo.window import tiles
from cropland.lab import sample_tile
from cropland.lab.charts import Bars, Chart, Lines, Panel, Panels, Stack, heat, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Budget, exactly, interleave, ratio
from cropland.model import ModelFile, default_model
from cropland.networks.unet import UNet
from cropland.streaming.receptive_field import field
from cropland.training.memory import place_network

__all__ = ["normalisation", "normalisation_mapping"]

WINDOW = 64  # pixels; at stride 32 four values per channel are left, and train() needs more than one
STEPS = 3
BINS = np.linspace(-4, 4, 33)

NORMS = ("batch_norm", "channel_norm", "group_norm")
PIXEL_M = 2.0  # of the image
NONE = "torch.nn:Identity"


def normalisation(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """What is learnt and what tracked; what eval() freezes."""
    network = ModelFile.load(default_model()).network().to(device)
    image = sample_tile.normalised(2 * budget.size)[None].to(device)
    yield _learnt(network, image)
    yield _frozen(network, image[..., :WINDOW, :WINDOW])


@cache
def moved(network: nn.Module, act: Callable[[], object]) -> tuple[float, float]:
    """The shares of the network's parameter tensors and of its tensors of running statistics that `act` changes."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    act()
    learnt = {name for name, _ in network.named_parameters()}
    shares = []
    for names in (learnt, {name for name in before if name.endswith(("running_mean", "running_var"))}):
        shares.append(fmean(not torch.equal(network.state_dict()[name], before[name]) for name in names))
    return shares[0], shares[1]


def _learnt(network: nn.Module, image: Tensor) -> Finding:
    trained = copy.deepcopy(network).train()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-3, weight_decay=0.0)
    passed = moved(trained, lambda: torch.autograd.backward(trained(image[..., :WINDOW, :WINDOW]).square().mean()))
    stepped = moved(trained, optimizer.step)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    each = sum(norm.num_features for norm in norms)
    rest = sum(weight.numel() for weight in network.parameters()) - 2 * each
    numbers = {"norms": len(norms), "gamma": each, "learnt": 2 * each, "tracked": 2 * each, "rest": rest}
    shares = {"moved_by_forward": passed[1], "moved_by_optimizer": stepped[1], "learnt_by_optimizer": stepped[0]}
    kinds = {
        "learnt, by gradients": {"gamma": each / 1e3, "beta": each / 1e3},
        "tracked, in the forward pass": {"running means": each / 1e3, "running variances": each / 1e3},
    }
    who = {
        "forward and backward: weights, gamma, beta": passed[0],
        "forward and backward: running statistics": passed[1],
        "optimizer step: weights, gamma, beta": stepped[0],
        "optimizer step: running statistics": stepped[1],
    }
    charts = (
        Stack("What the norms of the network that ships keep", "thousand numbers", kinds),
        Bars("Who changes what, in train()", "share that changes", {n: exactly(v) for n, v in who.items()}),
        *_one_channel(network, image),
    )
    return Finding("normalisation.learnt", {n: exactly(v) for n, v in (numbers | shares).items()}, charts)


@torch.no_grad()
def _one_channel(network: nn.Module, image: Tensor) -> tuple[Chart, ...]:
    """The channel of middling gamma in the first norm: as it comes, standardised, with gamma and beta."""
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    seen: list[Tensor] = []
    with norm.register_forward_hook(lambda _, given, made: seen.extend((given[0].clone(), made.clone()))):
        network(image)
    channel = int(norm.weight.abs().argsort()[norm.num_features // 2])
    given, made = (values[0, channel] for values in seen)
    plain = (made - norm.bias[channel]) / norm.weight[channel]
    stages = {"from the convolution": given, "less mean, over deviation": plain, "times gamma, plus beta": made}
    arrays = {name: values.cpu().numpy() for name, values in stages.items()}
    panels = [Panel(n, heat(v, low=-3, high=3, colours="RdBu")) for n, v in arrays.items()]
    panels.append(
        Panel("after the rectifier", heat(arrays["times gamma, plus beta"].clip(0), low=-3, high=3, colours="RdBu"))
    )
    shares = {n: [exactly(c / v.size) for c in np.histogram(v, BINS)[0]] for n, v in arrays.items()}
    middles = [float(edge) for edge in (BINS[1:] + BINS[:-1]) / 2]
    return (
        Panels("One channel on its way through the first norm, -3 red to 3 blue", panels),
        Lines("The same channel's values", "value", "share of the pixels", middles, shares),
    )


def _frozen(network: nn.Module, image: Tensor) -> Finding:
    found = {}
    for mode in ("train()", "eval()"):
        for learns in (True, False):
            other = copy.deepcopy(network).train(mode == "train()").requires_grad_(learns)
            name = f"{mode}" if learns else f"{mode}, requires_grad_(False)"
            found[name] = moved(other, partial(_steps, other, image))
    evaluated = copy.deepcopy(network).eval()
    torch.autograd.backward(evaluated(image).square().mean())
    gradients = [weight.grad for weight in evaluated.parameters()]
    numbers = {
        "frozen": 1 - found["eval()"][0],
        "with_gradient": fmean(gradient is not None and bool(gradient.any()) for gradient in gradients),
        "statistics": found["eval()"][1],
        "learning": found["train()"][0],
        "converse": found["train(), requires_grad_(False)"][1],
    }
    charts = [
        Bars(f"{what} moved by # steps".replace("#", str(STEPS)), "share", {n: exactly(v[i]) for n, v in found.items()})
        for i, what in enumerate(("Weights", "Running statistics"))
    ]
    return Finding("normalisation.frozen", {n: exactly(v) for n, v in numbers.items()}, charts)


def _steps(network: nn.Module, image: Tensor) -> None:
    """A few steps of AdamW on any loss; where no parameter takes gradients, forward passes alone."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0) if weights else None
    for _ in range(STEPS):
        loss = network(image).square().mean()
        if optimizer:
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()


@torch.no_grad()
def normalisation_mapping(device: torch.device, budget: Budget) -> Iterator[Finding]:
    """What eval() changes in a map, which norms leave tiles equal to the whole, what folding gives."""
    model, image = (
        ModelFile.load(default_model()),
        sample_tile.normalised(2 * budget.size)[None].to(device),
    )
    network = model.network().to(device)
    yield _map(network, image, threshold=model.nearest_pixel(PIXEL_M).threshold)
    yield _tiles(image)
    yield _fold(network, image, budget)


def _map(network: nn.Module, image: Tensor, *, threshold: float) -> Finding:
    forgotten = copy.deepcopy(network).train()
    right, alone = _probability(network, image), _probability(forgotten, image)
    for window in image.unfold(2, WINDOW, WINDOW).unfold(3, WINDOW, WINDOW).flatten(2, 3).unbind(2):
        forgotten(window)
    spoilt = _probability(forgotten.eval(), image)
    numbers = {
        "other_class": exactly(((right > threshold) != (alone > threshold)).mean()),
        "spoilt": exactly(((right > threshold) != (spoilt > threshold)).mean()),
    }
    shown = {"eval()": right, "train(), eval() forgotten": alone, "eval() again, after windows in train()": spoilt}
    panels = [_picture(image), *(Panel(n, heat(p, low=0, high=1)) for n, p in shown.items())]
    return Finding("normalisation_mapping.map", numbers, [Panels("Probability of cropland, 0 dark to 1 light", panels)])


def _probability(network: nn.Module, image: Tensor) -> np.ndarray:
    probability: np.ndarray = network(image)[0, 0].sigmoid().cpu().numpy()
    return probability


def _tiles(image: Tensor) -> Finding:
    differences, numbers = {}, {}
    for norm in NORMS:
        network = _prepared(norm, image)
        whole = network(image)[0, 0]
        tiled = in_tiles(network, image, size=image.shape[-1] // 2)
        differences[norm] = ((tiled - whole).abs() / whole.std()).cpu().numpy()
        numbers[f"difference_{norm}"] = exactly(differences[norm].max())
        numbers[f"other_side_{norm}"] = exactly(((tiled > whole.median()) != (whole > whole.median())).double().mean())
    shown = [Panel(norm, heat(difference, low=0, high=0.5)) for norm, difference in differences.items()]
    title = "Tiles less the whole image, 0 dark to half a standard deviation light"
    return Finding("normalisation_mapping.tiles", numbers, [Panels(title, [_picture(image), *shown])])


def _picture(image: Tensor) -> Panel:
    rgb = (image[0].permute(1, 2, 0).clamp(0, 1).cpu().numpy() * 255).astype(np.uint8)
    return Panel("the image", raster(rgb))


def _prepared(norm: str, image: Tensor) -> nn.Module:
    """A small U-Net of fresh weights whose running statistics, if it has some, are those of the image."""
    torch.manual_seed(0)
    network = UNet(3, width=8, encoder_options={"width": 8, "depth": 2}, norm=norm).to(image.device).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean of all passes, of which there is one
    network(image)
    return network.eval()


def in_tiles(network: nn.Module, image: Tensor, *, size: int) -> Tensor:
    """The first output of (1, band, height, width), tile by tile, with the halo of the same network with batch norm."""
    seen = field(UNet(3, width=8, encoder_options={"width": 8, "depth": 2}).eval(), 3)
    assert seen.radius is not None
    made = torch.empty_like(image[0, 0])
    for tile in tiles((len(made), made.shape[1]), size=size, halo=seen.radius, stride=seen.stride):
        part = network(image[(..., *tile.padded.slices)])[0, 0]
        made[tile.core.slices] = part[tile.inner.slices]
    return made


def _fold(network: nn.Module, image: Tensor, budget: Budget) -> Finding:
    device, network = image.device, place_network(network, image.device)
    values = image.contiguous(memory_format=torch.channels_last)
    lighter = fold(network)
    error = (lighter(values).sigmoid() - network(values).sigmoid()).abs().max()
    pair = {"as trained": network, "folded": lighter}
    runs = {name: partial(each, values) for name, each in pair.items()}
    whole = interleave(runs, device, rounds=budget.rounds)
    x = torch.randn(1, budget.channels, budget.size, budget.size, device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    kinds: dict[str, nn.Module] = {
        norm: Convolution(budget.channels, budget.channels, norm=norm) for norm in (*NORMS, NONE)
    }
    blocks = {name: place_network(block, device).eval() for name, block in kinds.items()}
    blocks = {"batch_norm": blocks["batch_norm"], "folded": fold(blocks["batch_norm"]), **blocks}
    layer = interleave({name: partial(block, x) for name, block in blocks.items()}, device, rounds=budget.rounds)
    numbers = {
        "error": exactly(float(error)),
        "norms": exactly(sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())),
        "left": exactly(sum(isinstance(module, nn.BatchNorm2d) for module in lighter.modules())),
        "speedup": ratio(whole["as trained"], whole["folded"]),
        "block_speedup": ratio(layer["batch_norm"], layer["folded"]),
        "channel_norm_times": ratio(layer["channel_norm"], layer["folded"]),
    }
    names = {name.replace(NONE, "no norm"): times.ms for name, times in layer.items()}
    charts = (
        Bars("The network that ships, one image", "milliseconds", {name: t.ms for name, t in whole.items()}),
        Bars("One block: convolution, norm, rectifier", "milliseconds", names),
    )
    return Finding("normalisation_mapping.fold", numbers, charts)


def fold(network: nn.Module) -> nn.Module:
    """A copy in which a batch norm that follows a convolution is part of its weights (in evaluation mode)."""
    lighter = copy.deepcopy(network)
    for module in [*lighter.modules()]:
        for (name, before), (after, norm) in pairwise([*module.named_children()]):
            if isinstance(before, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(before, norm))
                setattr(module, after, nn.Identity())
    return lighter
