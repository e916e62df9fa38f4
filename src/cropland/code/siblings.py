"""What the import statements of a file find: first the notebooks, scripts and folders beside it."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from cropland.code.file import CodeFile
from cropland.language import _

Open = Callable[[Path], ModuleType]
SUFFIXES = (".py", ".ipynb")  # a script comes first, as it does for Python


class Folder(ModuleType):
    """A folder with code as a package: its names are those of its `__init__.py`, and what lies in it."""

    def __init__(self, path: Path, open_file: Open) -> None:
        super().__init__(path.name)
        self.__path__: list[str] = []
        self._path, self._open = path, open_file

    def __getattr__(self, name: str) -> Any:
        start = self._path / "__init__.py"
        if start.is_file() and name in dir(first := self._open(start)):
            return getattr(first, name)
        if place := beside(self._path, name):
            return module_at(place, self._open)
        raise AttributeError(_("no '{name}' in {path}", name=name, path=self._path))


def beside(folder: Path, name: str) -> Path | None:
    """The script, notebook or folder with code that a folder has under a name."""
    files = (folder / f"{name}{suffix}" for suffix in SUFFIXES)
    if found := next((file for file in files if file.is_file()), None):
        return found
    inner = folder / name
    return inner if name and inner.is_dir() and any(each.suffix in SUFFIXES for each in inner.iterdir()) else None


def module_at(place: Path, open_file: Open) -> ModuleType:
    """The module of a file or folder."""
    return Folder(place, open_file) if place.is_dir() else open_file(place)


def importer(file: CodeFile, open_file: Open) -> Callable[..., Any]:
    """What stands in for `__import__` in a file, and in nothing else; it notes in the file what was opened."""

    def noted(path: Path) -> ModuleType:
        module = open_file(path)
        file.used.add(module)
        return module

    def import_(
        name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
    ) -> ModuleType:
        folder = file.path.parents[level - 1] if level else file.path.parent
        first, *rest = name.split(".")
        place = folder if level and not name else beside(folder, first)
        if place is None and not level:
            found: ModuleType = builtins.__import__(name, globals, locals, fromlist or (), level)
            return found
        if place is None:
            raise ImportError(_("no '{name}' beside {path}", name=first, path=file.path), name=name)
        module = module_at(place, noted)
        try:
            last = reduce(getattr, rest, module)
        except AttributeError as error:
            raise ImportError(str(error), name=name) from error
        return last if fromlist else module

    return import_
