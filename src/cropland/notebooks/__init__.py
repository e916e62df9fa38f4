"""Load a name from a notebook or script anywhere: only the definitions that it needs run::

    from cropland.notebooks import importable, load
    Net = load("../other folder/实验.ipynb", "Net")
    with importable("../other folder"):
        from 实验 import Net

A file is one module, `cropland.notebooks.<path>`, whose names come to be when they are asked for. Its objects can be
pickled: a worker process imports this module, and with it the file, by that name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from cropland.errors import RecipeError
from cropland.notebooks.file import CodeFile, Folder, MissingNameError, beside, importer

WHOLE = "whole:"  # before the path of a file that is run from top to bottom
OURS = {*sys.stdlib_module_names, "cropland"}  # names that no folder takes over
_loaded: dict[str, CodeFile] = {}


def load(path: str | Path, name: str, *, reload: bool = False, trust_all: bool = False) -> Any:
    """What `name` is in a notebook or script; of the file only what the name needs runs.

    A relative path is relative to the file that calls, or, in a notebook or console, to the working folder. `reload`
    reads all files again if one has changed; `trust_all` runs the whole file. Raises `RecipeError` for a file that
    cannot be read or a name that it does not define; what its code raises comes as it is.
    """
    if reload:
        forget_changed()
    return get(_caller_folder() / path, name, whole=trust_all)


@contextmanager
def importable(folder: str | Path) -> Iterator[None]:
    """While it lasts, `import` finds the notebooks, scripts and folders of a folder before all else; `sys.path` stays
    as it is.

    Modules of the same names that were imported before are set aside and come back at the end.
    """
    place = (_caller_folder(3) / folder).resolve()  # contextlib stands between
    if not place.is_dir():
        raise RecipeError("no folder {path}; name it relative to the file that names it, or in full", path=place)
    finder = _Beside(place)
    known = finder.take_out()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        finder.take_out()
        sys.modules.update(known)


def get(path: Path, name: str, *, whole: bool = False) -> Any:
    """What a name is in a file. Raises `RecipeError` if the file cannot be read or does not define it."""
    file = open_file(path, whole=whole)
    try:
        return file.get(name)
    except MissingNameError as error:
        raise RecipeError(error.args[0]) from error


def open_file(path: Path, *, whole: bool = False) -> CodeFile:
    """A file, read once. Raises `RecipeError` if it cannot be read."""
    name = module_name(path.resolve(), whole=whole)
    if name not in _loaded:
        file = CodeFile.open(path.resolve(), name, partial(importer, open_file=_module))
        sys.modules[name], _loaded[name] = file.module, file
        if whole:
            file.run(file.statements)
    return _loaded[name]


def loaded(path: Path) -> CodeFile:
    """The file at a path as it was opened: whole, or for some of its names."""
    return _loaded.get(module_name(path.resolve(), whole=True)) or open_file(path)


def opened(module: ModuleType) -> CodeFile | None:
    """The file of a module, if it is one of a file."""
    return _loaded.get(module.__name__)


def forget_changed() -> None:
    """Forget every file if one of them has changed: others may hold what it defined."""
    if any(file.has_changed() for file in _loaded.values()):
        for name in _loaded:
            sys.modules.pop(name, None)
        _loaded.clear()


def module_name(path: Path, *, whole: bool = False) -> str:
    """The name of a file's module; dots are quoted, since to `import` they mean packages."""
    return f"{__name__}.{WHOLE if whole else ''}{str(path).replace('%', '%25').replace('.', '%2E')}"


def _module(path: Path) -> ModuleType:
    return open_file(path).module


def _caller_folder(depth: int = 2) -> Path:
    """The folder of the file that calls, where it is one; else the working folder."""
    file = sys._getframe(depth).f_globals.get("__file__")
    return Path(file).parent if file else Path()


class _ByPath(MetaPathFinder, Loader):
    """Finds `cropland.notebooks.<path>`, as a worker process asks for it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name.startswith(f"{__name__}.") else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        quoted = spec.name.removeprefix(f"{__name__}.")
        path = quoted.removeprefix(WHOLE).replace("%2E", ".").replace("%25", "%")
        return open_file(Path(path), whole=quoted.startswith(WHOLE)).module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: its names come to be when they are asked for."""


class _Beside(_ByPath):
    """Finds what lies in a folder, by its name there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if self.has(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module: ModuleType = Folder(self.folder, _module)
        for part in spec.name.split("."):
            module = getattr(module, part)
        return module

    def has(self, name: str) -> bool:
        """Whether a module of this name is one of the folder's."""
        first = name.partition(".")[0]
        return first not in OURS and beside(self.folder, first) is not None

    def take_out(self) -> dict[str, ModuleType]:
        """Take the modules of the folder's names out of the imported ones."""
        return {name: sys.modules.pop(name) for name in [*filter(self.has, sys.modules)]}


sys.meta_path.append(_ByPath())
