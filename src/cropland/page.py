"""A page of HTML from a template, in the person's language and in one look, and pictures as text within it."""

from __future__ import annotations

import io
from base64 import b64encode
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from cropland import __version__
from cropland.language import language, shown, translated

__all__ = ["encoded", "jpeg_uri", "percent", "rendered"]


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


def jpeg_uri(pixels: np.ndarray, **options: Any) -> str:
    """Red, green and blue in bytes as a JPEG in a data URI; the options are those of Pillow's encoder."""
    return "data:image/jpeg;base64," + encoded(pixels, "jpeg", **options)


def encoded(pixels: np.ndarray, kind: str, *, palette: bytes = b"", **options: Any) -> str:
    """The pixels in the format of that name, in base64; palette: red, green, blue, of each value of one band."""
    from PIL import Image  # matplotlib needs it, so it is there

    picture, buffer = Image.fromarray(pixels), io.BytesIO()
    if palette:
        picture.putpalette(palette)
    picture.save(buffer, kind, **options)
    return b64encode(buffer.getvalue()).decode("ascii")


def _marked(message: str, /, **values: object) -> Markup:
    """A message of the page, which may have tags; its values are escaped."""
    text = Markup(translated(message))
    return text.format(**values) if values else text
