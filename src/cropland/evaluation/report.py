"""The report in HTML: metrics, groups, charts and the best and worst pictures in one file."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from statistics import median
from typing import Any

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cropland import __version__
from cropland.evaluation.counts import UNKNOWN
from cropland.evaluation.score import Part, Picture, figures
from cropland.language import _, language, shown, translated

__all__ = ["as_uri", "best_and_worst", "image", "names", "page", "percent", "verdict"]

SHOWN = 6
LONGEST = 512  # pixels of a picture's edge
# Okabe and Ito (2008), which every kind of colour vision can tell apart; report.html explains them in the same colours.
RIGHT, FALSE, MISSED = (0, 158, 115), (213, 94, 0), (86, 180, 233)
RGB = UInt8[np.ndarray, "height width 3"]


def names() -> dict[str, str]:
    """The metrics that are shown, with their names in the person's language."""
    return {
        "iou": "IoU",
        "false_alarm": _("False alarm"),
        "precision": _("Precision"),
        "recall": _("Recall"),
        "f1": "F1",
        "kappa": "Kappa",
        "accuracy": _("Accuracy"),
    }


def best_and_worst(parts: Sequence[Part]) -> dict[str, Sequence[Part]]:
    """The parts to show under each title: all if they are few.

    The worst are chosen by accuracy, one of every group before a second; the best by IoU, of those with both classes.
    """
    if len(parts) <= SHOWN // 2:
        return {_("Pictures"): parts}
    rank: Counter[str] = Counter()
    order = {}
    for part in sorted(parts, key=lambda part: part.total.counts.accuracy):
        group = min(part.groups, default="")
        order[part.name] = rank[group]
        rank[group] += 1
    worst = sorted(parts, key=lambda part: (order[part.name], part.total.counts.accuracy))[:SHOWN]
    mixed = [part for part in parts if figures(part.total.counts)["iou"] is not None and part not in worst]
    return {_("Worst"): worst, _("Best"): sorted(mixed, key=lambda part: -part.total.counts.iou)[: SHOWN // 2]}


def page(found: Mapping[str, Any], examples: Mapping[str, Sequence[Part]]) -> str:
    """The report as HTML, from the content of metrics.json."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals |= {"_": _marked, "percent": percent, "finest": _finest, "median": median}
    template = environment.from_string((files("cropland.evaluation") / "report.html").read_text(encoding="utf-8"))
    return template.render(
        found=found,
        title=shown(found["title"]),
        subtitle=shown(found["subtitle"]),
        parts=_("chips") if found["part"] == "chip" else _("blocks"),
        names=names(),
        cards=_cards(found["pooled"], found["all_cropland"]),
        examples={title: [*map(_figure, parts)] for title, parts in examples.items()},
        language=language(),
        version=__version__,
    )


def _marked(message: str, /, **values: object) -> Markup:
    """A message of the page, which may have tags; its values are escaped."""
    text = Markup(translated(message))
    return text.format(**values) if values else text


def percent(value: float | None) -> str:
    """A share as percent with one digit, a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"


def _cards(pooled: Mapping[str, Any], trivial: Mapping[str, Any]) -> list[tuple[str, float | None, list[str]]]:
    """Title, value and notes of each card."""
    cards = [
        (title, pooled[name], [_("all cropland {value}", value=percent(trivial[name]))])
        for name, title in names().items()
    ]
    if interval := pooled["iou_interval"]:
        low, high = map(percent, interval)
        cards[0][2].insert(0, _("95 % interval: {low} to {high}", low=low, high=high))
    metres, value = _finest(pooled["boundary_f1"])
    wider = [f"{m} m {percent(f1)}" for m, f1 in pooled["boundary_f1"].items() if f1 is not None and m != metres]
    return [*cards, (_("Boundary F1"), value, [_("within {metres} m", metres=metres), " · ".join(wider)])]


def _finest(boundary: Mapping[str, float | None]) -> tuple[str, float | None]:
    return next(((metres, value) for metres, value in boundary.items() if value is not None), ("any", None))


def _figure(part: Part) -> dict[str, Any]:
    """One part for the page: its pictures, names and first two metrics."""
    picture, its = part.draw(), figures(part.total.counts)
    return {
        "name": shown(part.name),
        "group": ", ".join(name for name in part.groups if name != part.name),
        "images": [as_uri(each) for each in (image(picture), verdict(picture)) if each is not None],
        "first": " · ".join([f"{title} {percent(its[n])}" for n, title in names().items() if its[n] is not None][:2]),
    }


def image(picture: Picture) -> RGB | None:
    """The image alone, at most 512 pixels long; None for a mask without imagery."""
    return None if picture.rgb is None else _small(picture.rgb)


def verdict(picture: Picture) -> RGB:
    """The image in grey, right cropland in green, false alarm in orange, missed in blue; hatched where unknown."""
    prediction, reference = _small(picture.prediction), _small(picture.reference)
    grey = np.full(prediction.shape, 210.0) if picture.rgb is None else _small(picture.rgb).mean(axis=2) * 0.7 + 60
    hatch = np.add.outer(*map(np.arange, prediction.shape)) % 8 < 2
    drawn = np.repeat(grey[:, :, None], 3, axis=2)
    for colour, where, strength in (
        (RIGHT, (prediction == 1) & (reference == 1), 0.35),
        (FALSE, (prediction == 1) & (reference == 0), 0.8),
        (MISSED, (prediction == 0) & (reference == 1), 0.8),
        ((40, 40, 40), hatch & ((prediction == UNKNOWN) | (reference == UNKNOWN)), 0.5),
    ):
        drawn[where] += (np.array(colour) - drawn[where]) * strength
    return drawn.astype(np.uint8)


def as_uri(pixels: RGB) -> str:
    """The pixels as a JPEG in a data URI."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, pixels, format="jpg", pil_kwargs={"quality": 85, "subsampling": 0})
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _small(pixels: np.ndarray) -> np.ndarray:
    step = -(-max(pixels.shape[:2]) // LONGEST)
    return pixels[::step, ::step]
