"""What a notebook or script offers, and which of its cells each name needs; nothing of it runs."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from cropland.code.cells import read_cells
from cropland.code.needs import Statement, defined, needed, statements
from cropland.language import said


@dataclass(frozen=True)
class Candidate:
    """A class or function; `kind` is network, class or function, `cells` those that it needs, `lines` their lines that
    run."""

    name: str
    kind: str
    cells: tuple[int, ...]
    lines: int


@dataclass(frozen=True)
class CellUse:
    """A cell: its first line, and how many of its statements run for some candidate; `fault` says why it is no
    Python."""

    number: int
    first: str
    runs: int
    statements: int
    fault: str


@dataclass(frozen=True)
class Listing:
    """What a file offers."""

    candidates: tuple[Candidate, ...]
    cells: tuple[CellUse, ...]


def listing(path: Path) -> Listing:
    """What a file offers, networks first. Raises `RecipeError` if it cannot be read."""
    cells = read_cells(path)
    every = statements(cells)
    plans = {name: needed(name, every) for name in defined(every)}
    networks = _networks(every)
    offers = [_candidate(name, plan, name in networks) for name, plan in plans.items()]
    runs = {statement.index for plan in plans.values() for statement in plan}
    uses = []
    for cell in cells:
        own = [statement for statement in every if statement.cell is cell]
        first = next((line.strip() for line in cell.text.splitlines() if line.strip()), "")
        uses.append(CellUse(cell.number, first, sum(s.index in runs for s in own), len(own), cell.fault))
    order = ("network", "class", "function")
    return Listing(tuple(sorted(offers, key=lambda each: order.index(each.kind))), tuple(uses))


def _candidate(name: str, plan: list[Statement], is_network: bool) -> Candidate:
    is_class = any(isinstance(each.node, ast.ClassDef) and each.node.name == name for each in plan)
    kind = said("network") if is_network else said("class") if is_class else said("function")
    cells = tuple(dict.fromkeys(statement.cell.number for statement in plan))
    return Candidate(name, kind, cells, sum(statement.source.count("\n") + 1 for statement in plan))


def _networks(every: list[Statement]) -> set[str]:
    """Classes that are derived from something called Module, or from such a class."""
    found = {"Module", "LightningModule"}
    for each in every:
        if isinstance(each.node, ast.ClassDef):
            bases = {ast.unparse(base).rpartition(".")[2] for base in each.node.bases}
            found |= {each.node.name} if bases & found else set()
    return found
