"""Pictures as data; `draw.py` makes them visible. Their texts are English labels that the chapters translate."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cropland.lab.measure import Number

EXACT, EDGE = 128, 448  # pixels along the longer edge


@dataclass(frozen=True)
class Lines:
    """Curves over a number. `levels` are horizontal lines, such as a bound. Axes may be logarithmic."""

    title: str
    x: str
    y: str
    at: Sequence[float]
    curves: Mapping[str, Sequence[Number | None]]
    levels: Mapping[str, float] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Bars:
    """One bar per label, with its interval. `level` is a line across them, such as what was expected."""

    title: str
    unit: str
    bars: Mapping[str, Number]
    level: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Stack:
    """Bars of parts that add up, such as a time and its causes."""

    title: str
    unit: str
    bars: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Box:
    """A square drawn over a picture: centre and edge as shares of the picture's width."""

    label: str
    x: float
    y: float
    edge: float


@dataclass(frozen=True)
class Panel:
    """A raster picture (WebP, base64) with its caption; `code` is the line that made it, `shape` what came out."""

    caption: str
    image: str
    code: str = ""
    shape: str = ""
    boxes: Sequence[Box] = ()


@dataclass(frozen=True)
class Panels:
    """Raster pictures side by side, in reading order."""

    title: str
    panels: Sequence[Panel]


Chart = Lines | Bars | Stack | Panels
KINDS: dict[str, type[Chart]] = {kind.__name__.lower(): kind for kind in (Lines, Bars, Stack, Panels)}


def to_plain(chart: Chart) -> dict[str, Any]:
    """As JSON holds it."""
    return {"kind": type(chart).__name__.lower(), **asdict(chart)}


def from_plain(plain: Mapping[str, Any]) -> Chart:
    """From what JSON holds."""
    values = {key: value for key, value in plain.items() if key != "kind"}
    match plain["kind"]:
        case "lines":
            values["curves"] = {n: [v and Number(**v) for v in curve] for n, curve in values["curves"].items()}
        case "bars":
            values["bars"] = {name: Number(**number) for name, number in values["bars"].items()}
        case "panels":
            values["panels"] = [_panel(panel) for panel in values["panels"]]
    return KINDS[plain["kind"]](**values)


def _panel(plain: Mapping[str, Any]) -> Panel:
    return Panel(**{**plain, "boxes": [Box(**box) for box in plain["boxes"]]})


def raster(rgb: UInt8[np.ndarray, "height width 3"]) -> str:
    """An RGB picture as base64 WebP: a small one pixel by pixel, a large one as a photograph of at most `EDGE`."""
    from PIL import Image as Picture  # matplotlib needs it, so it is there

    picture, buffer = Picture.fromarray(rgb), BytesIO()
    small = max(picture.size) <= EXACT
    if not small:
        picture.thumbnail((EDGE, EDGE))
    picture.save(buffer, "webp", lossless=small, quality=80)
    return base64.b64encode(buffer.getvalue()).decode()


def heat(values: np.ndarray, *, low: float | None = None, high: float | None = None, colours: str = "viridis") -> str:
    """A map of numbers (height, width) as a raster picture, `low` to `high` from dark to light."""
    import matplotlib

    low, high = float(np.min(values)) if low is None else low, float(np.max(values)) if high is None else high
    scaled = (np.asarray(values, float) - low) / (high - low or 1.0)
    return raster((matplotlib.colormaps[colours](scaled.clip(0, 1))[..., :3] * 255).astype(np.uint8))
