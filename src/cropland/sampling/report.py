"""The report of an estimate in HTML: figures with their intervals, error matrix, strata and regions, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cropland import __version__
from cropland.geo.area import MU_PER_HA
from cropland.language import language, shown, translated

__all__ = ["page"]


def page(found: Mapping[str, Any], *, shares: Mapping[str, str]) -> str:
    """The report as HTML, from the content of area.json. shares: the titles of the figures that are shares."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals |= {"_": _marked, "area": _area, "percent": _percent, "shown": shown}
    template = environment.from_string((files("cropland.sampling") / "report.html").read_text(encoding="utf-8"))
    return template.render(
        found=found,
        shares=shares,
        mu=MU_PER_HA,
        language=language(),
        title=shown(found["title"]),
        version=__version__,
    )


def _marked(message: str, /, **values: object) -> Markup:
    """A message of the page, which may have tags; its values are escaped."""
    text = Markup(translated(message))
    return text.format(**values) if values else text


def _area(value: float | None) -> str:
    """Hectares or mu with one digit below a thousand, a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def _percent(value: float | None) -> str:
    """A share as percent with one digit, a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"
