"""One notebook or script as a module whose names come to be when they are asked for, and what its imports find beside
it."""

from __future__ import annotations
import __future__

import ast
import builtins
import copy
import hashlib
import linecache
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from cropland.errors import RecipeError
from cropland.language import Message, _, joined
from cropland.notebooks.cells import Cell, read_cells
from cropland.notebooks.needs import END, Statement, constants, defined, needed, statements

Open = Callable[[Path], ModuleType]
IMPORTABLE = (".py", ".ipynb")  # a script comes first, as it does for Python
_NOTHING = object()
_running: list[tuple[CodeFile, Statement]] = []  # over all files: one that comes up twice is a cycle


class MissingNameError(AttributeError):
    """A name that a file does not define."""


class CodeFile:
    """A file's statements, those that have run, and what each of them made.

    Names are asked for in any order, statements depend on the order of the file. So every statement runs in the state
    that those before it in the file have made, and afterwards the state is that of the end of the file.
    """

    def __init__(self, path: Path, name: str, cells: tuple[Cell, ...], digest: str) -> None:
        self.path, self.cells, self.digest = path, cells, digest
        self.statements = statements(cells)
        self.used: set[ModuleType] = set()  # modules beside it that it imported
        self.module = ModuleType(name, f"{path}, as far as it was asked for.")
        self.module.__spec__ = ModuleSpec(name, None, origin=str(path))
        self._names: dict[str, Any] = vars(self.module)
        self._names.update(__file__=str(path), __getattr__=self.get, __dir__=self.names)
        self._own = frozenset(self._names) | {"__builtins__"}
        self._made: dict[int, dict[str, Any]] = {}
        self._moment = END
        self._futures = [each for each in self.statements if each.modules == ["__future__"]]

    @staticmethod
    def open(path: Path, name: str, importer: Callable[[CodeFile], Callable[..., Any]]) -> CodeFile:
        """Read a file; nothing of it runs. `importer` makes what its import statements call."""
        file = CodeFile(path, name, read_cells(path), _digest(path))
        file._names["__builtins__"] = {**vars(builtins), "__import__": importer(file)}
        _show_lines(path, file.cells)
        return file

    @property
    def ran(self) -> list[Statement]:
        """The statements that have run, in the order of the file."""
        return [each for each in self.statements if each.index in self._made]

    @property
    def faults(self) -> list[str]:
        """Why some cells are no Python."""
        return [cell.fault for cell in self.cells if cell.fault]

    def has_changed(self) -> bool:
        """Whether the file is another one than was read."""
        return not self.path.is_file() or _digest(self.path) != self.digest

    def names(self) -> list[str]:
        """All that the file binds, whether it has run or not."""
        return sorted({name for each in self.statements for name in each.binds})

    def public(self) -> list[str]:
        """What `import *` brings: functions, classes and literals, unless the file says otherwise."""
        return sorted(n for n in {*defined(self.statements), *constants(self.statements)} if not n.startswith("_"))

    def get(self, name: str) -> Any:
        """What a name is at the end of the file; runs what it needs. Raises `MissingNameError` if nothing binds it."""
        if plan := needed(name, self.statements):
            self.run([*self._futures, *plan])
        elif name == "__all__":
            return self.public()
        state = self._state(END)
        if name not in state:
            raise MissingNameError(self._lacks(name))
        return state[name]

    def _lacks(self, name: str) -> Message:
        told = {"path": self.path, "name": name, "names": ", ".join(self.public()) or Message("nothing")}
        if not self.faults:
            return Message("{path} defines no '{name}'; it defines {names}", **told)
        faults = joined("; ", self.faults)
        return Message(
            "{path} defines no '{name}'; it defines {names}; cells that are no Python: {faults}", faults=faults, **told
        )

    def run(self, plan: Iterable[Statement]) -> None:
        """Run statements that have not run yet, each in the state of its place in the file."""
        before = self._moment
        try:
            for statement in plan:
                self._check_cycle(statement)
                if statement.index not in self._made:
                    self._stand_at(statement.index)
                    self._run(statement)
        finally:
            self._stand_at(before)

    def _check_cycle(self, statement: Statement) -> None:
        if (self, statement) in _running:
            ring = [*_running[_running.index((self, statement)) :], (self, statement)]
            steps = _(" needs ").join(f"{file.path.name} {each.where}" for file, each in ring)
            raise RecipeError("{steps}: a circular import; move what both need to a third file", steps=steps)

    def _run(self, statement: Statement) -> None:
        names = (alias.name for each in self._futures for alias in each.node.names)  # type: ignore[attr-defined]
        flags = sum(getattr(__future__, name).compiler_flag for name in names)
        node = ast.increment_lineno(copy.deepcopy(statement.node), statement.cell.line - 1)
        code = compile(ast.Module([node], []), str(statement.cell.place), "exec", flags, dont_inherit=True)
        before = dict(self._names)
        _running.append((self, statement))
        try:
            exec(code, self._names)
        finally:
            _running.pop()
        if isinstance(node, ast.ClassDef):
            _tell_line(self._names[node.name], statement.cell)
        made = {name: value for name, value in self._names.items() if value is not before.get(name, _NOTHING)}
        self._made[statement.index] = made | {
            name: self._names[name] for name in statement.binds if name in self._names
        }

    def _stand_at(self, moment: float) -> None:
        """Let every name be what the statements before a place in the file have made of it."""
        state = self._state(moment)
        for name in [name for name in self._names if name not in self._own and name not in state]:
            del self._names[name]
        self._names.update(state)
        self._moment = moment

    def _state(self, moment: float) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for index in sorted(index for index in self._made if index < moment):
            state |= self._made[index]
        return state


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _show_lines(path: Path, cells: tuple[Cell, ...]) -> None:
    """Give tracebacks and `inspect.getsource` the lines: a function's by its cell, a class's by its module's file."""
    if path.suffix == ".py":
        return
    places: dict[str, list[str]] = {str(path): []}
    for cell in cells:
        whole, own = places[str(path)], places.setdefault(str(cell.place), [])
        whole += ["\n"] * (cell.before + cell.line - 1 - len(whole)) + cell.lines
        if own is not whole:
            own += cell.lines
    for place, lines in places.items():
        linecache.cache[place] = (sum(map(len, lines)), None, lines, place)


def _tell_line(made: Any, cell: Cell) -> None:
    """Since Python 3.13 a class knows its line, which `inspect` looks for in the module's file."""
    if isinstance(made, type) and "__firstlineno__" in vars(made):
        made.__firstlineno__ += cell.before  # type: ignore[attr-defined]


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
    files = (folder / f"{name}{suffix}" for suffix in IMPORTABLE)
    if found := next((file for file in files if file.is_file()), None):
        return found
    inner = folder / name
    return inner if name and inner.is_dir() and any(each.suffix in IMPORTABLE for each in inner.iterdir()) else None


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
