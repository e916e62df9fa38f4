"""How a thing shows itself in a notebook: a small table, and a picture that lies within it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape


def fact_sheet(title: str, facts: Mapping[str, str], picture: bytes | None = None) -> str:
    """HTML that asks nothing of a network; `picture` is a PNG."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(fact)}</td></tr>"
        for name, fact in facts.items()
    )
    image = f"<img alt='' src='data:image/png;base64,{b64encode(picture).decode()}'>" if picture else ""
    return (
        f"<div style='display:flex;gap:1em;align-items:flex-start;flex-wrap:wrap'>{image}"
        f"<table><caption style='text-align:left'><b>{escape(title)}</b></caption>{rows}</table></div>"
    )
