"""Which statements of a file a name needs: definitions, imports and constants, followed through the syntax tree; and
what a file offers."""

from __future__ import annotations

import ast
import builtins
import math
import symtable
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cropland.language import Message, _
from cropland.notebooks.cells import Cell, read_cells

BLOCKS = (ast.If, ast.Try, ast.With)  # bind names like a definition, and run whole
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
IMPORTS = (ast.Import, ast.ImportFrom)
BINDING = (*DEFINITIONS, *IMPORTS, ast.Assign, ast.AnnAssign, ast.AugAssign, *BLOCKS)
END = math.inf  # where a function is called that a name was loaded for: after everything
INLINE = {"listcomp", "setcomp", "dictcomp", "genexpr"}  # scopes of their own that run at once


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a file, its place among them, and its cell."""

    index: int
    node: ast.stmt
    cell: Cell

    @property
    def line(self) -> int:
        """The line that a traceback shows."""
        return self.cell.line + self.node.lineno - 1

    @property
    def where(self) -> str:
        """Cell and line, for a person."""
        return _("cell {cell}, line {line}", cell=self.cell.number, line=self.line)

    @property
    def source(self) -> str:
        """Its text."""
        decorators = getattr(self.node, "decorator_list", [])
        first = min([self.node.lineno, *(each.lineno for each in decorators)])
        return "".join(self.cell.lines[first - 1 : self.node.end_lineno]).rstrip("\n")

    @property
    def modules(self) -> list[str]:
        """The modules that it imports, at its top or within."""
        nodes = list(ast.walk(self.node))
        whole = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        return whole + [f"{'.' * n.level}{n.module or ''}" for n in nodes if isinstance(n, ast.ImportFrom)]

    @property
    def is_star(self) -> bool:
        """Whether it is `from module import *`."""
        return isinstance(self.node, ast.ImportFrom) and self.node.names[0].name == "*"

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names that it defines or, by `name.part = ...`, `name[...] = ...` and the like, alters."""
        if not isinstance(self.node, BINDING) or _is_main(self.node):
            return frozenset()
        table = self._table
        bound = {each.get_name() for each in table.get_symbols() if each.is_assigned() or each.is_imported()}
        return frozenset({*bound, *_altered(self.node)})

    @cached_property
    def reads(self) -> frozenset[str]:
        """Names that it reads when it runs."""
        read = {each.get_name() for each in self._table.get_symbols() if each.is_referenced()}
        return frozenset({*read, *_altered(self.node), *self._within(at_once=True)})

    @cached_property
    def reads_later(self) -> frozenset[str]:
        """Names that its functions read when they are called."""
        return frozenset(self._within(at_once=False))

    @cached_property
    def _table(self) -> symtable.SymbolTable:
        return symtable.symtable(ast.unparse(self.node), "statement", "exec")

    def _within(self, *, at_once: bool) -> set[str]:
        found = set[str]()
        scopes = [(child, _runs_at_once(child)) for child in self._table.get_children()]
        while scopes:
            table, now = scopes.pop()
            if now == at_once:
                found |= _globals(table)
            scopes += [(child, now and _runs_at_once(child)) for child in table.get_children()]
        return found


def statements(cells: Iterable[Cell]) -> list[Statement]:
    """The statements of all cells, in order."""
    nodes = ((node, cell) for cell in cells for node in ast.parse(cell.source).body)
    return [Statement(index, node, cell) for index, (node, cell) in enumerate(nodes)]


def needed(name: str, among: Sequence[Statement], *, at: float = END) -> list[Statement]:
    """The statements that must run so that `name` is what a run from the top makes it, in order; none if none binds it.

    A name that is read at once is what it was by then, one that a function reads is what it is at its call: then, when
    a later statement calls it, and at the end.
    """
    found: set[tuple[int, float]] = set()
    wanted = [(statement, at) for statement in binders(name, among, at)]
    while wanted:
        statement, when = wanted.pop()
        if (statement.index, when) in found:
            continue
        found.add((statement.index, when))
        for read in statement.reads:
            wanted += [(each, float(statement.index)) for each in binders(read, among, statement.index)]
        for moment in {when, at}:
            for read in statement.reads_later:
                wanted += [(each, moment) for each in binders(read, among, moment)]
        wanted.append((statement, at))
    return [among[index] for index in sorted({index for index, _ in found})]


def binders(name: str, among: Sequence[Statement], before: float) -> list[Statement]:
    """The last statement before a place that defines a name, and those that alter it from there on.

    Where none does and it is no builtin, the imports of everything of a module (`import *`).
    """
    earlier = [statement for statement in among if statement.index < before]
    binding = [statement for statement in earlier if name in statement.binds]
    last = next((n for n in reversed(range(len(binding))) if _defines(binding[n], name)), None)
    if last is not None:
        altered = isinstance(binding[last].node, IMPORTS)  # to set an option of a library is not to make the name
        return binding[last : last + 1] if altered else binding[last:]
    return [] if hasattr(builtins, name) else [statement for statement in earlier if statement.is_star]


def defined(among: Iterable[Statement]) -> dict[str, Statement]:
    """Every function and class by name; of two of one name the last."""
    return {each.node.name: each for each in among if isinstance(each.node, DEFINITIONS)}


def constants(among: Iterable[Statement]) -> set[str]:
    """Names that are given a literal."""
    return {
        name
        for each in among
        if isinstance(each.node, ast.Assign) and _is_literal(each.node.value)
        for name in each.binds
    }


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


def _defines(statement: Statement, name: str) -> bool:
    return not isinstance(statement.node, ast.AugAssign) and name not in _altered(statement.node)


def _altered(node: ast.stmt) -> Iterator[str]:
    """Names of which a part is given a value, and those that `+=` changes."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    for target in targets:
        inner = target
        while isinstance(inner, ast.Attribute | ast.Subscript):
            inner = inner.value
        if isinstance(inner, ast.Name) and (inner is not target or isinstance(node, ast.AugAssign)):
            yield inner.id


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and any(
        isinstance(each, ast.Name) and each.id == "__name__" for each in ast.walk(node.test)
    )


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def _runs_at_once(table: symtable.SymbolTable) -> bool:
    return table.get_type() == "class" or table.get_name() in INLINE


def _globals(table: symtable.SymbolTable) -> set[str]:
    """Names of the file that a scope reads; in a class also those that it then binds itself (`width = width`)."""
    own = table.get_type() == "class"
    return {
        each.get_name()
        for each in table.get_symbols()
        if each.is_referenced() and (each.is_global() or (own and each.is_assigned()))
    }


def _candidate(name: str, plan: list[Statement], is_network: bool) -> Candidate:
    is_class = any(isinstance(each.node, ast.ClassDef) and each.node.name == name for each in plan)
    kind = Message("network") if is_network else Message("class") if is_class else Message("function")
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
