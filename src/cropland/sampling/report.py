"""The report of an estimate in HTML: figures with their intervals, error matrix, strata and regions, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cropland.geo.area import MU_PER_HA
from cropland.language import shown
from cropland.page import rendered

__all__ = ["page"]


def page(found: Mapping[str, Any], *, shares: Mapping[str, str]) -> str:
    """The report as HTML, from the content of area.json. shares: the titles of the figures that are shares."""
    title = shown(found["title"])
    return rendered(
        "cropland.sampling", "report.html", found=found, shares=shares, mu=MU_PER_HA, title=title, area=_area
    )


def _area(value: float | None) -> str:
    """Hectares or mu with one digit below a thousand, a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"
