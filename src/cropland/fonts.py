"""Letters of pictures: a font of this machine that has Chinese ones, and English words where there is none."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cropland.language import language, speaking

__all__ = ["FAMILIES", "drawable", "lettering"]

LATIN = "DejaVu Sans"  # matplotlib brings it
# Simplified Chinese: what Linux, Windows and macOS come with. The last ones have its letters in another country's form.
FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti SC",
    "STHeiti",
    "HarmonyOS Sans SC",
    "Noto Serif CJK SC",
    "Source Han Serif SC",
    "SimSun",
    "Songti SC",
    "Droid Sans Fallback",
    "AR PL UMing CN",
    "Arial Unicode MS",
    "Noto Sans CJK JP",
    "Source Han Sans",
)


@contextmanager
def lettering() -> Iterator[None]:
    """Words that are drawn within come in the person's language and in fonts that have its letters, else in English."""
    from matplotlib import rc_context

    spoken, chinese = language(), _chinese()
    families = [LATIN] if chinese is None else [chinese, LATIN] if spoken == "zh" else [LATIN, chinese]
    with rc_context({"font.family": families}), speaking(spoken if chinese else "en"), _without_advice():
        yield


@contextmanager
def _without_advice() -> Iterator[None]:
    """matplotlib warns of a family that has no bold letters, and takes its others."""
    log = logging.getLogger("matplotlib.font_manager")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def drawable(text: str) -> str:
    """A name with a question mark for every letter that no font of the pictures has."""
    from matplotlib.font_manager import findfont, get_font

    families = [family for family in (LATIN, _chinese()) if family]
    fonts = [get_font(findfont(family)) for family in families]
    return "".join(letter if any(font.get_char_index(ord(letter)) for font in fonts) else "?" for letter in text)


def _chinese() -> str | None:
    """The first family that is installed."""
    from matplotlib.font_manager import fontManager

    known = set(fontManager.get_font_names())
    if known.isdisjoint(FAMILIES):
        _look_again()
        known = set(fontManager.get_font_names())
    return next((family for family in FAMILIES if family in known), None)


def _look_again() -> None:
    """Add what was installed since matplotlib made its list, which it keeps for ever."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    for path in set(findSystemFonts()) - {font.fname for font in fontManager.ttflist}:
        with suppress(OSError, RuntimeError):  # a file that is no font
            fontManager.addfont(path)
