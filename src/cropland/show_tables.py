"""What `cropland show` found, as tables for people."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table


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
    table.add_row("network", f"{recipe['network']['name']} {recipe['network']['options'] or ''}")
    table.add_row("bands", ", ".join(recipe["bands"]))
    table.add_row("outputs", ", ".join(recipe["outputs"]))
    if seen:
        table.add_row("parameters", f"{seen['parameters']:,}")
        table.add_row("multiply-adds", f"{seen['multiply_adds']:,.0f} per pixel of the image, as below")
        table.add_row("receptive field", _field(seen))
        table.add_row("stride", f"{seen['stride']} pixels")
    else:
        table.add_row("its own code", "below; what it makes is shown with --trust, which runs it")
    for pixel in found.get("working_pixels", ()):
        table.add_row(f"at {pixel['pixel_m']:g} m", f"IoU {pixel['iou']:.4f}, threshold {pixel['threshold']:.3f}")
    if "version" in found:
        table.add_row("made by", f"cropland {found['version']}, sources {found['source_hash']}")
    return table


def _candidates(found: dict[str, Any]) -> Table:
    table = Table("name", "kind", "cells that it needs", box=box.SIMPLE, title=found["file"], title_justify="left")
    table.add_column("lines that run", justify="right")
    for each in found["candidates"]:
        table.add_row(each["name"], each["kind"], ", ".join(map(str, each["cells"])), str(each["lines"]))
    return table


def _cells(found: dict[str, Any]) -> Table:
    table = Table("cell", "first line", "statements that run for one of them", box=box.SIMPLE)
    for each in found["cells"]:
        runs = f"{each['runs']} of {each['statements']}"
        table.add_row(str(each["number"]), each["first"][:60], each["fault"] or runs)
    return table


def _field(seen: dict[str, Any]) -> str:
    if seen["radius"] is None:
        return f"no bound: {seen['reason']}"
    return f"{seen['radius']} pixels to every side"


def _layers(seen: dict[str, Any]) -> Table:
    table = Table("layer", box=box.SIMPLE)
    for name in ("channels", "stride", "parameters", "multiply-adds"):
        table.add_column(name, justify="right")
    for layer in seen["layers"]:
        numbers = (layer["channels"], layer["stride"], layer["parameters"], round(layer["multiply_adds"]))
        table.add_row(layer["name"], *(f"{number:,.12g}" for number in numbers))
    return table
