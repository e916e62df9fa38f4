"""The code of a notebook or script, cell by cell, as Python: magics and shell lines are emptied, lines keep their
place."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from cropland.errors import RecipeError
from cropland.language import Message

SUFFIXES = (".ipynb", ".py", ".md")
PERCENT = re.compile(r"^# ?%%(?!%)(?P<rest>.*)$")  # a cell of jupytext's percent format
FENCE = re.compile(r"^(?P<ticks>`{3,}|~{3,})\s*(?:\{code-cell\}.*|(?:python|ipython)[23]?\b.*)$", re.IGNORECASE)
MAGIC = re.compile(r"^\s*(?:[%!?]|.*\?\s*(?:#.*)?$|[\w\s,.\[\]]+=\s*[%!])")
ASSIGNED = re.compile(r"^(?P<indent>\s*)(?P<names>[\w\s,]+?)=\s*[%!]")
TIMERS = {"%%time", "%%timeit", "%%capture", "%%prun"}  # run their cell, so what it defines counts


@dataclass(frozen=True)
class Cell:
    """A cell with code: its number among the cells, from 1; its Python; the name and line that a traceback shows; how
    many lines of code lie before it in a notebook, where lines are counted by the cell; its text as it was written.

    `fault` says why it is no Python, where it is none: it then defines nothing.
    """

    number: int
    source: str
    place: str
    line: int = 1
    before: int = 0
    text: str = ""
    fault: str = ""

    @property
    def lines(self) -> list[str]:
        """Its lines, ends kept."""
        return self.source.splitlines(keepends=True)


def read_cells(path: Path) -> tuple[Cell, ...]:
    """The cells with code of a notebook (.ipynb, nbformat 4), or of a script or Markdown file as jupytext pairs them.

    Raises `RecipeError` for a file that is missing, not UTF-8, not a notebook (with the byte and what was expected) or
    in another language.
    """
    if path.suffix not in SUFFIXES:
        endings = ", ".join(SUFFIXES)
        raise RecipeError("{path} is not code: expected a file ending in {endings}", path=path, endings=endings)
    text = _text(path)
    found = {".ipynb": _notebook, ".py": _script, ".md": _markdown}[path.suffix](text, path)
    return tuple(_as_python(cell) for cell in found)


def _text(path: Path) -> str:
    if not path.is_file():
        raise RecipeError("no file {path}; name it relative to the file that names it, or in full", path=path)
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            "{path}: byte {byte} is not UTF-8; save the file as UTF-8", path=path, byte=error.start
        ) from error


def _notebook(text: str, path: Path) -> Iterator[Cell]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise RecipeError(
            "{path} is a broken notebook: byte {byte}: {error}; save it again in Jupyter",
            path=path,
            byte=len(text[: error.pos].encode()),
            error=error.msg,
        ) from error
    before = 0
    for number, cell in enumerate(_known_format(values, path), 1):
        if cell.get("cell_type") == "code":
            source = "".join(cell.get("source", ""))  # a string or a list of lines
            place = Message("{path}, cell {number}", path=path, number=number)
            yield Cell(number, source if source.endswith("\n") else f"{source}\n", place, 1, before)
            before += len(source.splitlines()) or 1


def _known_format(values: Any, path: Path) -> list[dict[str, Any]]:
    if not isinstance(values, dict) or "nbformat" not in values:
        raise RecipeError("{path} is JSON, but no notebook: expected 'nbformat' and 'cells'", path=path)
    if values["nbformat"] != 4:
        came = values["nbformat"]
        raise RecipeError(
            "{path} is of nbformat {came}, expected 4: `jupyter nbconvert --to notebook`", path=path, came=came
        )
    metadata = values.get("metadata", {})
    told = (metadata.get("kernelspec", {}).get("language"), metadata.get("language_info", {}).get("name"))
    if language := next((each for each in told if each and each.lower() not in ("python", "ipython")), None):
        raise RecipeError("{path} is a notebook in {language}; expected Python", path=path, language=language)
    cells = values.get("cells")
    if not isinstance(cells, list) or not all(isinstance(cell, dict) for cell in cells):
        raise RecipeError("{path} has no list of cells: expected 'cells' as nbformat 4 has them", path=path)
    return cells


def _script(text: str, path: Path) -> Iterator[Cell]:
    """The cells between `# %%`; a script without them is one cell."""
    lines = text.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if PERCENT.match(line.rstrip())]
    ends = [0, *starts, len(lines)]
    number = 0
    for first, last in pairwise(ends):
        source = "".join(lines[first:last])
        head = PERCENT.match(lines[first].rstrip()) if first < last else None
        number += bool(head or source.strip())
        if source.strip() and not (head and re.match(r".*\[(markdown|md|raw)\]", head["rest"])):
            yield Cell(number, source, str(path), first + 1)


def _markdown(text: str, path: Path) -> Iterator[Cell]:
    """The fenced blocks of Python."""
    number, fence, held, first = 0, "", list[str](), 0
    for place, line in enumerate(text.splitlines(keepends=True), 1):
        if not fence and (opened := FENCE.match(line.rstrip())):
            number, fence, held, first = number + 1, opened["ticks"], [], place + 1
        elif fence and line.strip() == fence:
            yield Cell(number, "".join(held), str(path), first)
            fence = ""
        elif fence:
            held.append(line)


def _as_python(cell: Cell) -> Cell:
    """Empty the lines that only IPython understands, one after the other, until Python understands the rest."""
    lines = cell.lines
    if (head := next((n for n, line in enumerate(lines) if line.strip()), None)) is not None:
        word = lines[head].split()[0]
        if word.startswith("%%"):
            lines = ["\n" if n == head or word not in TIMERS else line for n, line in enumerate(lines)]
    while True:
        source = "".join(lines)
        try:
            ast.parse(source)
            return replace(cell, source=source, text=cell.source)
        except (SyntaxError, ValueError) as error:
            number = (getattr(error, "lineno", None) or 1) - 1
            if number >= len(lines) or not MAGIC.match(lines[number]):
                line, cause = cell.line + number, getattr(error, "msg", error)
                fault = Message("{place}, line {line}: {error}", place=cell.place, line=line, error=cause)
                return replace(cell, source="", text=cell.source, fault=fault)
            goes_on = number
            while lines[goes_on].rstrip().endswith("\\") and goes_on + 1 < len(lines):
                goes_on += 1
            lines[number : goes_on + 1] = [_emptied(lines[number]), *["\n"] * (goes_on - number)]


def _emptied(line: str) -> str:
    """A statement that does nothing, or for `names = !command` and `names = %magic` one that says so when it is run."""
    if assigned := ASSIGNED.match(line):
        reason = f"{line.strip()} is a line for IPython, which is not run"
        return f"{assigned['indent']}{assigned['names'].strip()} = (_ for _ in ()).throw(RuntimeError({reason!r}))\n"
    return line[: len(line) - len(line.lstrip())] + "pass\n"
