"""The language in which the program speaks to a person: English, or Chinese from the catalogue.

from cropland.language import _
raise SceneError(_("{path} has {count} bands", path=path, count=3))
"""

from __future__ import annotations

import gettext
import locale
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cropland.errors import InputError

LANGUAGES = ("en", "zh")
FOLDER = Path(__file__).parent / "locale"
_spoken: gettext.NullTranslations = gettext.NullTranslations()


def _(message: str, /, **values: object) -> str:
    """A message in the language of the person, with values in its `{places}`; always a literal, so that it is found."""
    text = _spoken.gettext(message)
    return text.format(**{name: spoken(value) for name, value in values.items()}) if values else text


class Said(str):
    """A sentence in English, as files hold it, that can also be spoken to the person."""

    message: str
    values: Mapping[str, object]

    @property
    def spoken(self) -> str:
        """In the language of the person."""
        return _(self.message, **self.values)


def said(message: str, /, **values: object) -> Said:
    """A sentence that goes into a file and to the person; its message is a literal, as that of `_`."""
    sentence = Said(message.format(**values) if values else message)
    sentence.message, sentence.values = message, values
    return sentence


def spoken(value: Any) -> Any:
    """What was `said`, in the language of the person; anything else as it is."""
    return value.spoken if isinstance(value, Said) else value


def translated(message: str) -> str:
    """A message that is no literal where it is spoken, such as a docstring."""
    return _spoken.gettext(message)


def speak(language: str) -> None:
    """Speak this language from now on, in this process."""
    global _spoken
    _spoken = gettext.translation("cropland", FOLDER, [language], fallback=language == "en")


def language() -> str:
    """The language that is spoken."""
    return _spoken.info().get("language", "en")


def choose(asked: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The language by `--lang`, else by `CROPLAND_LANG`, else by the locale; English where that is neither.

    Raises `InputError` if one is asked for that there is not.
    """
    wanted = environment.get("CROPLAND_LANG") or None if asked is None else asked
    if wanted is not None:
        short = wanted.lower().replace("_", "-").partition("-")[0].partition(".")[0]
        if short not in LANGUAGES:
            raise InputError(f"no language '{wanted}'; there are: {', '.join(LANGUAGES)}")
        return short
    told = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "zh" if (told or _of_the_system()).lower().startswith(("zh", "chinese")) else "en"


def _of_the_system() -> str:
    """Where no variable says so, as on Windows."""
    return locale.getlocale()[0] or ""
