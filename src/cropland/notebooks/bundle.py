"""Code that travels: what has run of the user's own files, as plain Python, with the packages that it imports."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cropland.errors import ModelError
from cropland.files import write_text
from cropland.notebooks import loaded, opened
from cropland.notebooks.file import CodeFile


def bundle(paths: Iterable[Path]) -> dict[str, Any]:
    """The files at these paths and those beside them that they use: `files` by relative path, `renamed` from the path
    in full to that, `packages` by the name to import as pip's `name==version`, `hash` of the sources."""
    files = list(dict.fromkeys(file for path in paths for file in _reached(loaded(path))))
    root = Path(os.path.commonpath([file.path.parent for file in files]))
    renamed = {str(file.path): str(file.path.relative_to(root).with_suffix(".py").as_posix()) for file in files}
    sources = {renamed[str(file.path)]: _source(file) for file in files}
    return {"files": sources, "renamed": renamed, "packages": _packages(files), "hash": _hash(sources)}


def unpack(packed: Mapping[str, Any], folder: Path) -> Path:
    """Write a bundle's files below a folder, in one of their own, and return that.

    Raises `ModelError` if a package that they import is missing, or a path leads out of the folder.
    """
    missing = [wanted for name, wanted in packed["packages"].items() if find_spec(name) is None]
    if missing:
        raise ModelError(
            "the code of this model imports packages that are missing: pip install {names}", names=" ".join(missing)
        )
    place = folder / _hash(packed["files"])
    for name, source in packed["files"].items():
        path = place / name
        if not path.resolve().is_relative_to(place.resolve()):
            raise ModelError("the code of this model would be written to {path}, out of its folder", path=path)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, source, shared=True)
    return place


def _reached(file: CodeFile) -> Iterator[CodeFile]:
    """A file and those that it has imported, each once."""
    found, wanted = dict[CodeFile, None](), [file]
    while wanted:
        each = wanted.pop()
        if each not in found:
            found[each] = None
            wanted += [other for other in map(opened, each.used) if other]
    return iter(found)


def _source(file: CodeFile) -> str:
    parts, number = list[str](), 0
    for statement in file.ran:
        if statement.cell.number != number:
            number = statement.cell.number
            parts.append(f"# %% cell {number} of {file.path.name}")
        parts.append(statement.source)
    return "\n".join(parts) + "\n"


def _packages(files: Iterable[CodeFile]) -> dict[str, str]:
    named = {module.partition(".")[0] for file in files for each in file.ran for module in each.modules}
    foreign = named - {*sys.stdlib_module_names, "", "cropland"}
    known = packages_distributions()
    return {name: f"{known[name][0]}=={version(known[name][0])}" for name in sorted(foreign) if name in known}


def _hash(sources: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(sources), sort_keys=True).encode()).hexdigest()[:16]
