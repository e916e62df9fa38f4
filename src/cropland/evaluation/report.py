"""The page that a person reads: figures, groups, charts and the best and worst pictures in one file."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from jaxtyping import UInt8

from cropland import __version__
from cropland.evaluation.counts import UNKNOWN
from cropland.evaluation.score import Part, Picture, figures
from cropland.language import _, language, shown

__all__ = ["as_uri", "best_and_worst", "image", "page", "verdict"]


SHOWN = 6


def _names() -> dict[str, str]:
    """The figures that are shown, by their names for a person."""
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

    Worst is by accuracy, of every group one before a second; best by IoU, among those with both classes.
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
    """The report as HTML, from what metrics.json holds."""
    template = Template((files("cropland.evaluation") / "report.html").read_text(encoding="utf-8"))
    parts = _("chips") if found["part"] == "chip" else _("blocks")
    return template.substitute(
        title=escape(shown(found["title"])),
        subtitle=escape(shown(found["subtitle"])),
        parts=parts,
        version=__version__,
        language=language(),
        explained=_explained(parts),
        sentence=_sentence(found["pooled"]),
        cards=_cards(found["pooled"], found["all_cropland"]),
        groups=_groups(found["groups"], parts),
        charts=_strip(found["parts"], parts) + _curve(found["thresholds"]),
        pictures=_gallery(examples),
    )


def percent(value: float | None) -> str:
    """A share as percent with one digit, a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"


def _sentence(pooled: Mapping[str, Any]) -> str:
    said = [
        (pooled["precision"], _("Of 100 ha called cropland, {} are.")),
        (pooled["recall"], _("Of 100 ha of cropland, {} are found.")),
        (pooled["false_alarm"], _("Of 100 ha of other land, {} are called cropland.")),
    ]
    return "<br>".join(sentence.format(f"<b>{percent(value)}</b>") for value, sentence in said if value is not None)


def _cards(pooled: Mapping[str, Any], trivial: Mapping[str, Any]) -> str:
    rows = [
        (title, pooled[name], _("all cropland {value}", value=percent(trivial[name])))
        for name, title in _names().items()
    ]
    metres, value = _finest(pooled["boundary_f1"])
    wider = [f"{m} m {percent(f1)}" for m, f1 in pooled["boundary_f1"].items() if f1 is not None and m != metres]
    within = _("within {metres} m", metres=metres)
    rows.append((_("Boundary F1"), value, f"{within}<br>{' · '.join(wider)}"))
    if interval := pooled["iou_interval"]:
        low, high = map(percent, interval)
        certain = _("{low} to {high} with 95 %", low=low, high=high)
        rows[0] = (*rows[0][:2], f"{certain}<br>{rows[0][2]}")
    return "".join(f"<div><dt>{n}</dt><dd>{percent(v)}</dd><small>{note}</small></div>" for n, v, note in rows)


def _finest(boundary: Mapping[str, float | None]) -> tuple[str, float | None]:
    return next(((metres, value) for metres, value in boundary.items() if value is not None), ("any", None))


def _groups(groups: Mapping[str, Any], parts: str) -> str:
    if len(groups) < 2:
        return ""
    names = (_("Group"), parts.title(), *_names().values(), _("Boundary F1"))
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(_group(name, its) for name, its in groups.items())
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<h2>{_("By group")}</h2><div class="scroll">{table}</div>'


def _group(name: str, its: Mapping[str, Any]) -> str:
    cells = "".join(_cell(its[each], "alarm" if each == "false_alarm" else "") for each in _names())
    metres, boundary = _finest(its["boundary_f1"])
    at = f" <small>{metres} m</small>" if boundary is not None else ""
    return f"<tr><td>{escape(name)}</td><td>{its['parts']:,}</td>{cells}<td>{percent(boundary)}{at}</td></tr>"


def _cell(value: float | None, kind: str) -> str:
    return "<td>–</td>" if value is None else f'<td class="{kind}" style="--v:{100 * value:.1f}">{percent(value)}</td>'


def _strip(parts: Sequence[Mapping[str, Any]], name: str) -> str:
    both = [part["iou"] for part in parts if part["iou"] is not None]
    if len(both) < 2:
        return ""
    ticks = "".join(f'<path class="tick" d="M{20 + 560 * iou:.1f} 14v34"/>' for iou in both)
    middle = percent(sorted(both)[len(both) // 2])
    title = _("Every one of the {parts}", parts=name)
    about = _(
        "IoU of the {count:,} {parts} with both classes, in percent; half of them lie above {middle}.",
        count=len(both),
        parts=name,
        middle=middle,
    )
    return f'<h2>{title}</h2><p class="soft">{about}</p><svg viewBox="0 0 600 72">{ticks}{_axis(58)}</svg>'


def _curve(thresholds: Mapping[str, Any] | None) -> str:
    if not thresholds:
        return ""
    line = " ".join(f"{20 + 560 * at:.1f},{170 - 150 * iou:.1f}" for at, iou in thresholds["curve"])
    about = _(
        "Pooled IoU if every probability from a threshold on were called cropland. Best here: {best:.2f} with {iou}.",
        best=thresholds["best"],
        iou=percent(thresholds["best_iou"]),
    )
    return (
        f'<h2>{_("By threshold")}</h2><p class="soft">{about}</p>'
        '<svg viewBox="0 0 600 195">'
        f'<path class="axis" d="M20 20h560M20 95h560"/><text x="24" y="16">100</text><text x="24" y="91">50</text>'
        f'<polyline class="curve" points="{line}"/>{_axis(182, scale=0.01)}</svg>'
    )


def _axis(y: int, *, scale: float = 1) -> str:
    marks = (
        f'<text x="{20 + 5.6 * at}" y="{y + 9}" text-anchor="middle">{at * scale:g}</text>' for at in range(0, 101, 20)
    )
    return f'<path class="axis" d="M20 {y - 8}h560"/>' + "".join(marks)


def _gallery(examples: Mapping[str, Sequence[Part]]) -> str:
    key = (("right", _("cropland found")), ("false", _("false alarm")), ("missed", _("cropland missed")))
    legend = "".join(f'<span><i style="background:var(--{name})"></i>{meaning}</span>' for name, meaning in key)
    return "".join(
        f'<h2>{title}</h2><p class="soft key">{legend}<span><i class="unknown"></i>{_("not known")}</span></p>'
        f'<div class="gallery">{"".join(map(_figure, parts))}</div>'
        for title, parts in examples.items()
        if parts
    )


def _figure(part: Part) -> str:
    picture = part.draw()
    seen = [each for each in (image(picture), verdict(picture)) if each is not None]
    images = "".join(f'<img alt="{escape(shown(part.name))}" src="{as_uri(each)}">' for each in seen)
    said = figures(part.total.counts)
    first = [f"{title} {percent(said[name])}" for name, title in _names().items() if said[name] is not None][:2]
    group = escape(", ".join(name for name in part.groups if name != part.name))
    about = f"{escape(shown(part.name))} <small>{group}</small><br>{' · '.join(first)}"
    return f"<figure><div>{images}</div><figcaption>{about}</figcaption></figure>"


def _explained(parts: str) -> str:
    """What the figures mean, as HTML."""
    return _(
        "<b>IoU</b> intersection over union of cropland. <b>Precision</b> the share of the cropland said that is "
        "cropland, <b>recall</b> the share of the cropland that was found, <b>F1</b> their harmonic mean. "
        "<b>Kappa</b> agreement beyond chance (Cohen 1960). <b>False alarm</b> the share of the known "
        "non-cropland that was called cropland. <b>Boundary F1</b> the F1 of boundary pixels that have a "
        "counterpart within so many metres (Csurka et al. 2013), at the smallest tolerance that the pixels allow. "
        "Pooled figures add up the pixels of all {parts}; unknown pixels and pixels without data count nowhere; a "
        "dash stands where a figure says nothing. All figures: <code>metrics.json</code>.",
        parts=parts,
    )


LONGEST = 512
# Okabe and Ito (2008): told apart by every kind of colour vision; report.html explains them in the same colours.
RIGHT, FALSE, MISSED = (0, 158, 115), (213, 94, 0), (86, 180, 233)
RGB = UInt8[np.ndarray, "height width 3"]


def image(picture: Picture) -> RGB | None:
    """The image alone, at most 512 pixels long; None for a mask without imagery."""
    return None if picture.rgb is None else _small(picture.rgb)


def verdict(picture: Picture) -> RGB:
    """The image in grey with cropland found in green, false alarm in orange, missed in blue; hatched where unknown."""
    said, true = _small(picture.said), _small(picture.true)
    grey = np.full(said.shape, 210.0) if picture.rgb is None else _small(picture.rgb).mean(axis=2) * 0.7 + 60
    drawn = np.repeat(grey[:, :, None], 3, axis=2)
    for colour, where, strength in (
        (RIGHT, (said == 1) & (true == 1), 0.35),
        (FALSE, (said == 1) & (true == 0), 0.8),
        (MISSED, (said == 0) & (true == 1), 0.8),
        ((40, 40, 40), _hatch(said.shape) & ((said == UNKNOWN) | (true == UNKNOWN)), 0.5),
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


def _hatch(shape: tuple[int, ...]) -> np.ndarray:
    return np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 8 < 2
