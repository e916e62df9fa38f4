"""Find a thing by its name: a name on a shelf is the name of a file, and anything of the user's own is `place:Name`."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from cropland import notebooks
from cropland.errors import RecipeError
from cropland.language import Message
from cropland.notebooks.names import IN_FILE, is_foreign


def names(shelf: str) -> list[str]:
    """The names on a shelf, sorted."""
    package = importlib.import_module(f"cropland.{shelf}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def find(shelf: str, name: str, *, whole: bool = False) -> Any:
    """The one public name of `cropland/<shelf>/<name>.py`, or the user's own `file.py:Name`, `notebook.ipynb:Name` or
    `package.module:Name`; of a file runs what the name needs, or the `whole`.

    Raises `RecipeError` naming the nearest name on the shelf.
    """
    if is_foreign(name):
        return _foreign(name, whole)
    known = names(shelf)
    if name not in known:
        raise RecipeError(
            "no '{name}' among the {shelf}; {advice}", name=name, shelf=shelf, advice=nearest(name, known)
        )
    module = importlib.import_module(f"cropland.{shelf}.{name}")
    (public,) = module.__all__
    return getattr(module, public)


def nearest(name: str, known: list[str]) -> Message:
    """A short piece of advice: the nearest known name, or all of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return (
        Message("did you mean '{name}'?", name=close[0])
        if close
        else Message("there are: {names}", names=", ".join(known))
    )


def _foreign(name: str, whole: bool) -> Any:
    if found := IN_FILE.fullmatch(name):
        return notebooks.get(Path(found["path"]), found["name"], whole=whole)
    place, attribute = name.rsplit(":", 1)
    module = _import(place)
    if not hasattr(module, attribute):
        raise RecipeError(
            "{place} has no '{name}'; name something that it defines, as in '{place}:Name'", place=place, name=attribute
        )
    return getattr(module, attribute)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise RecipeError(
            "cannot import '{name}' ({error}); install it, or name a file as in 'file.py:Name'", name=name, error=error
        ) from error
