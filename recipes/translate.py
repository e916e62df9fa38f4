"""Bring the catalogue of translations up to date with the source: new messages in, old ones out, compiled.

python recipes/translate.py [PART.po...]    (translations from other files are taken over)

Messages are what stands in `_("...")`, also in the templates of pages, in `Message("...")` and in `SceneError("...")`
or another error of the package, the first line and the docstring of every command, and the docstrings of the classes
that hold options of several commands. Untranslated ones are listed, and the exit status is then 1.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment, nodes

from cropland import errors
from cropland.cli import GROUPS, VERBS
from cropland.language import FOLDER

ERRORS = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, Exception)}
PACKAGE = FOLDER.parent
PO = FOLDER / "zh" / "LC_MESSAGES" / "cropland.po"
MO = PO.with_suffix(".mo")


def main(parts: list[str]) -> int:
    """Update, compile, and say what is missing."""
    known = {message.id: message.string for path in [PO, *map(Path, parts)] for message in read(path)}
    catalog = Catalog(locale="zh", project="cropland", fuzzy=False, charset="utf-8")
    for text, places in sorted(messages().items()):
        catalog.add(text, known.get(text, ""), locations=[(place, None) for place in places])
    PO.parent.mkdir(parents=True, exist_ok=True)
    PO.write_bytes(as_po(catalog))
    MO.write_bytes(compiled(catalog))
    missing = [message.id for message in catalog if message.id and not message.string]
    print(f"{len(messages())} messages, {len(missing)} without a translation")
    print("\n".join(f"  {text.splitlines()[0]}" for text in missing))
    return 1 if missing else 0


def messages() -> dict[str, list[str]]:
    """Every message of the source, with the files that hold it."""
    found: dict[str, list[str]] = {}

    def note(path: Path, *texts: str) -> None:
        for text in texts:
            places = found.setdefault(text, [])
            if (place := path.relative_to(PACKAGE.parent).as_posix()) not in places:
                places.append(place)

    for path in sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "language.py"}):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        note(path, *_called(tree), *_documented(tree, is_cli=path.name == "cli.py"))
    for path in sorted(PACKAGE.rglob("*.html")):
        note(path, *_called_in_page(path.read_text(encoding="utf-8")))
    return found


def read(path: Path) -> Catalog:
    """A catalogue; an empty one where there is no file."""
    return read_po(BytesIO(path.read_bytes()), locale="zh") if path.exists() else Catalog(locale="zh")


def as_po(catalog: Catalog) -> bytes:
    """As text, without times and line numbers that would change with every commit."""
    out = BytesIO()
    write_po(out, catalog, width=100, omit_header=True, include_lineno=False)
    header = 'msgid ""\nmsgstr ""\n"Language: zh\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n'
    return header.encode() + out.getvalue()


def compiled(catalog: Catalog) -> bytes:
    """As gettext reads it, without the times that Babel writes."""
    never = datetime.fromtimestamp(0, UTC)
    plain = Catalog(locale="zh", fuzzy=False, charset="utf-8", creation_date=never, revision_date=never)
    for message in catalog:
        if message.id and message.string:
            plain.add(message.id, message.string)
    out = BytesIO()
    write_mo(out, plain)
    return out.getvalue()


def _called(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"_", "Message", *ERRORS}:
            message = node.args[0]
            if isinstance(message, ast.Constant):
                yield str(message.value)
            elif node.func.id not in ERRORS or isinstance(message, ast.JoinedStr | ast.BinOp):
                raise SystemExit(f"{node.func.id}() at line {node.lineno} wants a literal: {ast.unparse(node)}")


def _called_in_page(text: str) -> Iterator[str]:
    for call in Environment().parse(text).find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "_":
            yield call.args[0].as_const()


def _documented(tree: ast.Module, *, is_cli: bool) -> Iterator[str]:
    if is_cli:
        yield from (summary for _, summary in VERBS.values())
        yield from GROUPS.values()
    for node in tree.body:
        is_command = isinstance(node, ast.FunctionDef) and node.name == "command"
        is_options = isinstance(node, ast.ClassDef) and "Parameter" in "".join(map(ast.unparse, node.decorator_list))
        if (is_command or is_options) and (text := ast.get_docstring(node)):
            yield inspect.cleandoc(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
