"""The report in HTML: metrics, groups, charts and the best and worst pictures in one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from cropland.evaluation.counts import UNKNOWN
from cropland.evaluation.score import Part, Picture, figures
from cropland.evaluation.viewer import FALSE, MISSED, RIGHT, Place, Sheet, viewer
from cropland.geo.area import area_words
from cropland.language import _, shown
from cropland.page import jpeg_uri, percent, rendered

__all__ = ["best_and_worst", "field_names", "figure_name", "image", "names", "page", "verdict"]

SHOWN = 6
LONGEST = 512  # pixels of a picture's edge
JPEG = {"quality": 85, "subsampling": 0}
PLACES = 12  # worst ones to fly to
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


def page(
    found: Mapping[str, Any],
    parts: Sequence[Part],
    sheets: Sequence[Sheet] = (),
    sections: Sequence[Markup] = (),
) -> str:
    """The report as HTML: the content of metrics.json, pictures of parts, sheets to zoom in, and further sections."""
    examples = best_and_worst(parts)
    return rendered(
        "cropland.evaluation",
        "report.html",
        finest=_finest,
        median=median,
        found=found,
        title=shown(found["title"]),
        subtitle=shown(found["subtitle"]),
        parts=_("chips") if found["part"] == "chip" else _("blocks"),
        names=names(),
        both=("iou", "f1", "precision", "recall", "false_alarm"),
        cards=_cards(found["pooled"], found["all_cropland"]),
        viewer=viewer(sheets, places=_places(parts, sheets)) if sheets else "",
        differences=_differences(found["against"]["difference"]) if "against" in found else [],
        second=found["against"]["file"] if "against" in found else "",
        sections=Markup("").join(sections),
        examples={title: [*map(_figure, shown_)] for title, shown_ in examples.items()},
    )


def _places(parts: Sequence[Part], sheets: Sequence[Sheet]) -> list[Place]:
    """Where most pixels are wrong, in the sheets."""
    numbers = {sheet.name: number for number, sheet in enumerate(sheets)}
    found = [(wrong, part, window) for part in parts if part.source in numbers for window, wrong in part.worst if wrong]
    places = []
    for wrong, part, window in sorted(found, key=lambda each: -each[0])[:PLACES]:
        number = numbers[part.source]
        height, width = sheets[number].pixel_m
        place = _("row {row}, column {col}", row=window.row, col=window.col)
        name = f"{part.source}: {place}" if len(sheets) > 1 else place
        area = area_words(wrong * height * width / 1e4, digits=2)
        share = wrong / (window.height * window.width)
        places.append(Place(name, number, window, _("{area} wrong, {share:.0%} of this place", area=area, share=share)))
    return places


def _differences(difference: Mapping[str, Mapping[str, Any]]) -> list[dict[str, str]]:
    """The rows of a comparison, as text; figures that are undefined on a side are left out."""
    rows = []
    for name, its in difference.items():
        if its["difference"] is None:
            continue
        is_length = "distance_m" in name or "shift_m" in name
        text = "{:.2f}".format if is_length else percent
        signed = "{:+.2f}".format if is_length else (lambda value: f"{100 * value:+.1f}")
        low, high = its["interval"] or (None, None)
        decided = low is not None and low * high > 0
        better = its["difference"] < 0 if _is_better_small(name) else its["difference"] > 0
        rows.append(
            {
                "name": figure_name(name),
                "first": text(its["first"]),
                "second": text(its["second"]),
                "difference": signed(its["difference"]),
                "interval": "–" if low is None else f"{signed(low)} … {signed(high)}",
                "sign": ("plus" if better else "minus") if decided else "",
            }
        )
    return rows


def field_names() -> dict[str, str]:
    """The figures of fields, with their names in the person's language."""
    return {
        "f1": _("F1 of fields"),
        "f1_50_95": _("F1 of fields, IoU 0.5–0.95"),
        "precision": _("Precision of fields"),
        "recall": _("Recall of fields"),
        "precision_50_95": _("Precision of fields, IoU 0.5–0.95"),
        "recall_50_95": _("Recall of fields, IoU 0.5–0.95"),
        "missed": _("Missed fields"),
        "false": _("False fields"),
        "over_segmentation": _("Over-segmentation"),
        "under_segmentation": _("Under-segmentation"),
        "segmentation_error": _("Segmentation error D"),
        "location_shift_m": _("Shift of fields, m"),
    }


def figure_name(key: str) -> str:
    """The name of a figure that has an interval, as `score.intervals` keys it."""
    kind, _space, rest = key.partition(" ")
    if kind == "fields":
        return field_names()[rest]
    if kind == "boundary_f1":
        return _("Boundary F1 within {metres} m", metres=rest)
    if kind == "boundary_distance_m":
        return _("Mean distance of boundaries within {metres} m, m", metres=rest)
    return names()[key]


def _is_better_small(key: str) -> bool:
    errors = ("false_alarm", "distance", "missed", "fields false", "segmentation", "shift")
    return any(each in key for each in errors)


def _cards(pooled: Mapping[str, Any], trivial: Mapping[str, Any]) -> list[tuple[str, float | None, list[str]]]:
    """Title, value and notes of each card; figures that are undefined have none."""
    cards: list[tuple[str, float | None, list[str]]] = []
    for name, title in names().items():
        if name != "accuracy" and pooled[name] is not None:
            whole = [] if trivial[name] is None else [_("all cropland {value}", value=percent(trivial[name]))]
            cards.append((title, pooled[name], [*_between(pooled, name), *whole]))
    metres, value = _finest(pooled["boundary_f1"])
    if value is not None:
        wider = [f"{m} m {percent(f1)}" for m, f1 in pooled["boundary_f1"].items() if f1 is not None and m != metres]
        notes = [*_between(pooled, f"boundary_f1 {metres}"), _("within {metres} m", metres=metres), " · ".join(wider)]
        cards.append((_("Boundary F1"), value, notes))
    fields = pooled["fields"] or {"f1": None, "recall": None}
    if fields["f1"] is not None:
        wide = _("IoU 0.5–0.95: {value}", value=percent(fields["f1_50_95"]))
        cards.insert(1, (_("F1 of fields"), fields["f1"], [*_between(pooled, "fields f1"), wide]))
    elif fields["recall"] is not None:
        cards.append((_("Recall of fields"), fields["recall"], _between(pooled, "fields recall")))
    return cards


def _between(pooled: Mapping[str, Any], name: str) -> list[str]:
    interval = pooled["intervals"].get(name)
    return (
        []
        if interval is None
        else [_("95 % interval: {low} to {high}", low=percent(interval[0]), high=percent(interval[1]))]
    )


def _finest(boundary: Mapping[str, float | None]) -> tuple[str, float | None]:
    return next(((metres, value) for metres, value in boundary.items() if value is not None), ("", None))


def _first(its: Mapping[str, float | None]) -> str:
    """The first two figures that are defined."""
    return " · ".join([f"{title} {percent(its[n])}" for n, title in names().items() if its[n] is not None][:2])


def _figure(part: Part) -> dict[str, Any]:
    """One part for the page: its pictures, names and first two metrics."""
    picture = part.draw()
    return {
        "name": shown(part.name),
        "group": ", ".join(name for name in part.groups if name != part.name),
        "images": [jpeg_uri(each, **JPEG) for each in (image(picture), verdict(picture)) if each is not None],
        "first": _first(figures(part.total.counts)),
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


def _small(pixels: np.ndarray) -> np.ndarray:
    step = -(-max(pixels.shape[:2]) // LONGEST)
    return pixels[::step, ::step]
