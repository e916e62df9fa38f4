"""Names of the user's own code in plain values: `file.py:Name`, `notebook.ipynb:Name`, `package.module:Name`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

FOREIGN = re.compile(r"(?P<place>\S.*):(?P<name>[^\W\d]\w*)")
IN_FILE = re.compile(r"(?P<path>.+\.(?:py|ipynb|md)):(?P<name>[^\W\d]\w*)")


def is_foreign(name: str) -> bool:
    """Whether a name points at code outside the shelves."""
    return FOREIGN.fullmatch(name) is not None


def foreign_names(values: Any) -> Iterator[str]:
    """Every name of the user's own code in a tree of plain values, keys too."""
    if isinstance(values, str):
        yield from [values] if is_foreign(values) else []
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from (*foreign_names(key), *foreign_names(value))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from foreign_names(value)


def files_of(values: Any) -> list[Path]:
    """The files that names in a tree of plain values point into."""
    found = (IN_FILE.fullmatch(name) for name in foreign_names(values))
    return list(dict.fromkeys(Path(each["path"]) for each in found if each))


def with_paths(values: Any, change: Callable[[str], str]) -> Any:
    """The tree with the path of every such name changed."""
    if isinstance(values, str):
        found = IN_FILE.fullmatch(values)
        return f"{change(found['path'])}:{found['name']}" if found else values
    if isinstance(values, dict):
        return {with_paths(key, change): with_paths(value, change) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [with_paths(value, change) for value in values]
    return values


def anchored(values: Any, folder: Path) -> Any:
    """The tree with relative paths taken from a folder."""
    return with_paths(values, lambda path: str((folder / path).resolve()))
