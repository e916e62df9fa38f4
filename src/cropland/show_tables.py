"""What `cropland show` found, as tables for people."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table

from cropland.language import _, spoken


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
        table.add_row(_("receptive field"), _field(seen))
        table.add_row(_("stride"), _("{count} pixels", count=seen["stride"]))
    else:
        table.add_row(_("its own code"), _("below; what it makes is shown with --trust, which runs it"))
    for pixel in found.get("working_pixels", ()):
        scored = _("IoU {iou:.4f}, threshold {threshold:.3f}", iou=pixel["iou"], threshold=pixel["threshold"])
        table.add_row(_("at {pixel_m:g} m", pixel_m=pixel["pixel_m"]), scored)
    if "version" in found:
        made = _("cropland {version}, sources {hash}", version=found["version"], hash=found["source_hash"])
        table.add_row(_("made by"), made)
    return table


def _candidates(found: dict[str, Any]) -> Table:
    headings = (_("name"), _("kind"), _("cells that it needs"))
    table = Table(*headings, box=box.SIMPLE, title=found["file"], title_justify="left")
    table.add_column(_("lines that run"), justify="right")
    for each in found["candidates"]:
        table.add_row(each["name"], spoken(each["kind"]), ", ".join(map(str, each["cells"])), str(each["lines"]))
    return table


def _cells(found: dict[str, Any]) -> Table:
    table = Table(_("cell"), _("first line"), _("statements that run for one of them"), box=box.SIMPLE)
    for each in found["cells"]:
        runs = _("{runs} of {statements}", runs=each["runs"], statements=each["statements"])
        table.add_row(str(each["number"]), each["first"][:60], spoken(each["fault"]) or runs)
    return table


def _field(seen: dict[str, Any]) -> str:
    if seen["radius"] is None:
        return _("no bound: {reason}", reason=seen["reason"])
    return _("{radius} pixels to every side", radius=seen["radius"])


def _layers(seen: dict[str, Any]) -> Table:
    table = Table(_("layer"), box=box.SIMPLE)
    for name in (_("channels"), _("stride"), _("parameters"), _("multiply-adds")):
        table.add_column(name, justify="right")
    for layer in seen["layers"]:
        numbers = (layer["channels"], layer["stride"], layer["parameters"], round(layer["multiply_adds"]))
        table.add_row(layer["name"], *(f"{number:,.12g}" for number in numbers))
    return table
