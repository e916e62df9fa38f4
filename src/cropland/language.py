"""The language in which the program speaks to a person: English, or Chinese from the catalogue.

print(_("{count} scenes", count=3))                    in the language that is spoken here
note = Message("{count} scenes", count=3)              English in a file and as text; `shown(note)` to the person
raise SceneError("{path} is not there", path=path)     so are errors (`cropland.errors`)
with speaking("zh"): ...                               what `_` and `shown` speak within; else CROPLAND_LANG

The first argument is always a literal, so that `recipes/translate.py` finds it.
"""

from __future__ import annotations

import gettext
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

__all__ = [
    "FOLDER",
    "LANGUAGES",
    "Message",
    "Translatable",
    "_",
    "joined",
    "language",
    "shown",
    "speaking",
    "translated",
]

LANGUAGES = ("en", "zh")
FOLDER = Path(__file__).parent / "locale"
_wanted = os.environ.get("CROPLAND_LANG", "").lower()[:2]
_chosen: ContextVar[str] = ContextVar("language", default=_wanted if _wanted in LANGUAGES else "en")


@runtime_checkable
class Translatable(Protocol):
    """A message and the values in its `{places}`, which may be translatable themselves: a `Message` or an error."""

    message: str
    values: Mapping[str, object]


class Message(str):
    """A sentence that is English as text and in files, and that can be shown in another language."""

    message: str
    values: Mapping[str, object]

    def __new__(cls, message: str, /, **values: object) -> Self:
        made = super().__new__(cls, _text(message, values, "en"))
        made.message, made.values = message, values
        return made

    def filled(self, **values: object) -> Message:
        """The same message with other values, where they come later than the literal."""
        return Message(self.message, **values)


def _(message: str, /, **values: object) -> str:
    """A message in the language that is spoken, for what is printed at once."""
    return _text(message, values, language())


def shown(said: object, language: str | None = None) -> str:
    """A message or an error as a person at the command line reads it, in the language that is spoken or in `language`;
    anything else is its own text."""
    if not isinstance(said, Translatable):
        return str(said)
    return _text(said.message, said.values, language or _chosen.get())


def joined(separator: str, parts: Iterable[str]) -> Message:
    """Messages one after the other, each of which is still translated when the whole is shown."""
    values = {f"part{number}": part for number, part in enumerate(parts)}
    return Message(separator.join(f"{{{name}}}" for name in values), **values)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak this language within, and here only.

    It belongs to the context, not to the process, so that a server can answer two people at once. A new thread begins
    in a context of its own, which speaks what CROPLAND_LANG says, else English: threads give messages and errors, and
    who started them shows these.
    """
    before = _chosen.set(language)
    try:
        yield
    finally:
        _chosen.reset(before)


def language() -> str:
    """The language that is spoken here."""
    return _chosen.get()


def translated(message: str) -> str:
    """A message that is no literal where it is spoken, such as a docstring."""
    return _catalogue(language()).gettext(message)


def _text(message: str, values: Mapping[str, object], language: str) -> str:
    text = _catalogue(language).gettext(message)
    if not values:
        return text
    return text.format(
        **{name: shown(value, language) if isinstance(value, Translatable) else value for name, value in values.items()}
    )


@cache
def _catalogue(language: str) -> gettext.NullTranslations:
    return gettext.translation("cropland", FOLDER, [language], fallback=language == "en")
