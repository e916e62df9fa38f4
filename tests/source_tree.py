"""The source as data: modules, functions and their lengths."""

import ast
import io
import tokenize
from collections.abc import Collection, Iterator
from pathlib import Path
from statistics import median, quantiles

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "cropland"


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_line_count(path: Path) -> int:
    """Lines that hold code: no blank ones, comments or docstrings."""
    text = path.read_text(encoding="utf-8")
    tokens = (token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.type not in SILENT)
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def classes(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def imports() -> dict[str, set[str]]:
    """Which modules of the package each module imports, wherever in its text."""
    modules = {module_name(path): path for path in sources()}
    return {name: set(_imported(path, modules)) - {name} for name, path in modules.items()}


def _imported(path: Path, modules: Collection[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in modules:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in modules else node.module


def function_lengths() -> list[int]:
    """Lines of every function from `def` to its end, without its docstring."""
    return [length(node) for path in sources() for node in functions(path)]


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def length(node: ast.FunctionDef) -> int:
    first = node.body[0]
    docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if docstring else 0)


def percentiles() -> tuple[float, float]:
    """The median and the 90th percentile of the lengths."""
    lengths = function_lengths()
    return median(lengths), quantiles(lengths, n=10)[-1]


def summary() -> str:
    """For information: nothing is asserted of it."""
    middle, long = percentiles()
    lines, code = sum(map(line_count, sources())), sum(map(code_line_count, sources()))
    lab = sum(code_line_count(path) for path in sources() if PACKAGE / "lab" in path.parents)
    size = f"src: {lines} lines, {code} of them code ({lab} the lab), in {len(sources())} files"
    return f"{size}; function median {middle:g}, 90th percentile {long:g} lines"
