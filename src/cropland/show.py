"""What a model file, a network or a recipe is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from cropland.catalog import names, nearest
from cropland.errors import InputError
from cropland.language import Message, _, shown
from cropland.model import ModelFile, build_network
from cropland.notebooks.cells import SUFFIXES as CODE
from cropland.notebooks.names import is_foreign
from cropland.notebooks.needs import listing
from cropland.recipe import Network, Recipe, read_recipe
from cropland.streaming.receptive_field import Field, field

SIZE = 512  # pixels along an edge of the image that is followed through the network
MEASURED = Message("measured when it was trained")
DEPTH = 2  # a module within more than one other is counted with it


@dataclass(frozen=True)
class NetworkPart:
    """A part of a network: `stride` in image pixels per pixel of its output, multiply-adds per image pixel."""

    name: str
    kind: str
    channels: int
    stride: float
    parameters: int
    multiply_adds: float


@dataclass(frozen=True)
class Anatomy:
    """A network in numbers; `radius` is None where the field has no bound, and `reason` says why."""

    parameters: int
    multiply_adds: float
    radius: int | None
    stride: int
    reason: str | None
    layers: tuple[NetworkPart, ...]


def anatomy(network: nn.Module, bands: int, *, known: Field | None = None) -> Anatomy:
    """Follow an image through a network that takes `bands` bands; a `known` field is not computed again.

    Multiply-adds are half the operations that `torch.utils.flop_counter` counts: convolutions and matrix products.
    """
    seen = known or field(network.eval(), bands)
    counter, shapes = _follow(network, bands)
    counts = {
        name.partition(".")[2]: sum(kinds.values()) / 2 / SIZE**2 for name, kinds in counter.get_flop_counts().items()
    }
    layers = tuple(
        NetworkPart(
            name,
            kind=type(part).__name__,
            channels=shapes[name][1],
            stride=SIZE / shapes[name][-1],
            parameters=_parameters(part),
            multiply_adds=counts.get(name, 0.0),
        )
        for name, part in sorted(_parts(network, "", shapes), key=lambda each: list(shapes).index(each[0]))
    )
    total = counter.get_total_flops() / 2 / SIZE**2
    return Anatomy(_parameters(network), total, seen.radius, seen.stride, seen.reason, layers)


def describe(what: str, *, trust: bool = False, trust_all: bool = False) -> dict[str, Any]:
    """What `command` shows, as plain values: a model's or recipe's header and the anatomy of its network."""
    path = Path(what)
    if path.suffix in CODE:
        return {"file": str(path), **asdict(listing(path))}
    if path.suffix == ".safetensors":
        if (told := ModelFile.read(path)).code and not trust:
            return {"model": str(path), **_header(told)}
        model = ModelFile.load(path, trust=trust)
        known = Field(model.radius, model.stride, None if model.radius is not None else MEASURED)
        seen = anatomy(model.network(), len(model.bands), known=known)
        return {"model": str(path), **_header(model), "anatomy": asdict(seen)}
    recipe = read_recipe(path) if path.suffix == ".toml" else recipe_of(what, trust_all=trust_all)
    seen = anatomy(build_network(recipe), len(recipe.bands))
    return {"recipe": recipe.model_dump(mode="json"), "anatomy": asdict(seen)}


def _header(model: ModelFile) -> dict[str, Any]:
    """The header, with numbers on the ground that was trained on in place of its packed outlines."""
    ground = model.trained_on
    return model.header() | ({"trained_on": ground.summary()} if ground else {})


def recipe_of(name: str, *, trust_all: bool = False) -> Recipe:
    """The recipe of a bare network with the options it has by itself."""
    known = names("networks")
    if not is_foreign(name) and name not in known:
        advice = nearest(name, known)
        raise InputError("'{name}' is no .safetensors, no .toml and no network; {advice}", name=name, advice=advice)
    return Recipe(name=name, network=Network(name=name, trust_all=trust_all))


def command(
    what: str,
    /,
    *,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    trust: bool = False,
    trust_all: bool = False,
) -> None:
    """Show what a model file, a network or a recipe is made of.

    Example:

        cropland show model.safetensors
        cropland show unet --json
        cropland show notebook.ipynb

    Parameters
    ----------
    what
        A model (.safetensors), a recipe (.toml), a notebook or script, or a network: `unet`, `notebook.ipynb:Name`,
        `package.module:Name`.
    as_json
        Print JSON for programs instead of tables for people.
    trust
        Run the code that a model file names.
    trust_all
        Run all of a notebook or script, not only what the network needs.
    """
    found = describe(what, trust=trust, trust_all=trust_all)
    print(json.dumps(found, indent=2, ensure_ascii=False)) if as_json else show(found, Console())


def _follow(network: nn.Module, bands: int) -> tuple[FlopCounterMode, dict[str, torch.Size]]:
    """Count operations and note every module's output shape, on the meta device: nothing is computed."""
    shapes: dict[str, torch.Size] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            last = output if isinstance(output, Tensor) else output[-1]
            shapes[name] = last.shape

        return hook

    network.eval()
    shadows = {name: value.to("meta") for name, value in (*network.named_parameters(), *network.named_buffers())}
    hooks = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        functional_call(network, shadows, torch.zeros(1, bands, SIZE, SIZE, device="meta"))
    for hook in hooks:
        hook.remove()
    return counter, shapes


def _parts(
    module: nn.Module, name: str, shapes: Mapping[str, torch.Size], depth: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """The blocks of a network; a list of modules, which is never called itself, adds no depth."""
    for key, child in module.named_children():
        path, called = f"{name}.{key}".lstrip("."), f"{name}.{key}".lstrip(".") in shapes
        if called and (depth + 1 == DEPTH or _is_block(child)):
            yield path, child
        else:
            yield from _parts(child, path, shapes, depth + called)


def _is_block(module: nn.Module) -> bool:
    own = type(module).__module__.startswith("cropland.blocks")
    return own or isinstance(module, nn.Sequential) or not any(True for _ in module.children())


def _parameters(module: nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def show(found: dict[str, Any], console: Console) -> None:
    """Print a file's names, a network's parts, or the code that a model brings."""
    tables: list[Table | Syntax]
    if "candidates" in found:
        tables = [_candidates(found), _cells(found)]
    elif "anatomy" in found:
        tables = [_facts(found), _layers(found["anatomy"])]
    else:
        tables = [_facts(found), *(Syntax(source, "python") for source in found["code"]["files"].values())]
    for table in tables:
        console.print(table)


def _facts(found: dict[str, Any]) -> Table:
    recipe, seen = found["recipe"], found.get("anatomy")
    table = Table(title=found.get("model", recipe["name"]), show_header=False, box=box.SIMPLE, title_justify="left")
    table.add_row(_("network"), f"{recipe['network']['name']} {recipe['network']['options'] or ''}")
    table.add_row(_("bands"), ", ".join(recipe["bands"]))
    table.add_row(_("outputs"), ", ".join(recipe["outputs"]))
    if seen:
        table.add_row(_("parameters"), f"{seen['parameters']:,}")
        per_pixel = _("{count:,.0f} per pixel of the image, as below", count=seen["multiply_adds"])
        table.add_row(_("multiply-adds"), per_pixel)
        bound = _("{radius} pixels to every side", radius=seen["radius"])
        no_bound = _("unbounded: {reason}", reason=seen["reason"])
        table.add_row(_("receptive field"), no_bound if seen["radius"] is None else bound)
        table.add_row(_("stride"), _("{count} pixels", count=seen["stride"]))
    else:
        table.add_row(_("its own code"), _("see below; --trust runs it and shows the network"))
    for pixel in found.get("working_pixels", ()):
        scored = _("IoU {iou:.4f}, threshold {threshold:.3f}", iou=pixel["iou"], threshold=pixel["threshold"])
        if "field_f1" in pixel:
            scored += "; " + _(
                "fields: F1 {f1:.3f}, boundary threshold {threshold:.3f}",
                f1=pixel["field_f1"],
                threshold=pixel["boundary_threshold"],
            )
        table.add_row(_("at {pixel_m:g} m", pixel_m=pixel["pixel_m"]), scored)
    if "version" in found:
        table.add_row(_("temperature"), _temperature(found))
        table.add_row(_("trained on"), _trained_on(found.get("trained_on")))
        made = _("cropland {version}, sources {hash}", version=found["version"], hash=found["source_hash"])
        table.add_row(_("made by"), made)
    return table


def _temperature(found: Mapping[str, Any]) -> str:
    metrics = found["metrics"]
    if "temperature" not in found:
        return _("none was fitted")
    if "validation_ece" not in metrics:
        return f"{found['temperature']:.3f}"
    return _(
        "{temperature:.3f} (calibration error {before:.2%}, with it {after:.2%})",
        temperature=found["temperature"],
        before=metrics["validation_ece"],
        after=metrics["validation_ece_calibrated"],
    )


def _trained_on(ground: Mapping[str, Any] | None) -> str:
    if ground is None:
        return _("it does not say")
    parts = []
    if ground["area_ha"]:
        parts.append(_("{area_ha:,.0f} ha of ground", area_ha=ground["area_ha"]))
    if ground["images_without_crs"]:
        parts.append(_("images without a CRS: {count:,}", count=ground["images_without_crs"]))
    if not ground["is_complete"]:
        parts.append(_("and what its first weights were trained on, which they do not say"))
    return ", ".join(parts)


def _candidates(found: dict[str, Any]) -> Table:
    headings = (_("name"), _("kind"), _("cells that it needs"))
    table = Table(*headings, box=box.SIMPLE, title=found["file"], title_justify="left")
    table.add_column(_("lines that run"), justify="right")
    for each in found["candidates"]:
        table.add_row(each["name"], shown(each["kind"]), ", ".join(map(str, each["cells"])), str(each["lines"]))
    return table


def _cells(found: dict[str, Any]) -> Table:
    table = Table(_("cell"), _("first line"), _("statements that run for one of them"), box=box.SIMPLE)
    for each in found["cells"]:
        runs = _("{runs} of {statements}", runs=each["runs"], statements=each["statements"])
        table.add_row(str(each["number"]), each["first"][:60], shown(each["fault"]) or runs)
    return table


def _layers(seen: dict[str, Any]) -> Table:
    table = Table(_("layer"), box=box.SIMPLE)
    for name in (_("channels"), _("stride"), _("parameters"), _("multiply-adds")):
        table.add_column(name, justify="right")
    for layer in seen["layers"]:
        numbers = (layer["channels"], layer["stride"], layer["parameters"], round(layer["multiply_adds"]))
        table.add_row(layer["name"], *(f"{number:,.12g}" for number in numbers))
    return table
