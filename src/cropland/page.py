"""A page of HTML from a template, in the person's language and in one look."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cropland import __version__
from cropland.language import language, shown, translated

__all__ = ["percent", "rendered"]


def rendered(package: str, page: str, /, **values: Any) -> str:
    """The template of that name in a package, with these values and functions, and `_`, `shown` and `percent`.

    What is not `Markup` is escaped. `style` is what pages have in common.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals |= {"_": _marked, "percent": percent, "shown": shown}
    template = environment.from_string((files(package) / page).read_text(encoding="utf-8"))
    style = Markup((files("cropland") / "page.css").read_text(encoding="utf-8"))
    return template.render(style=style, language=language(), version=__version__, **values)


def percent(value: float | None) -> str:
    """A share as percent with one digit, a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"


def _marked(message: str, /, **values: object) -> Markup:
    """A message of the page, which may have tags; its values are escaped."""
    text = Markup(translated(message))
    return text.format(**values) if values else text
