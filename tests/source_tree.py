"""The source as data: modules, functions and their lengths."""

import ast
from collections.abc import Iterator
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
    middle, long = percentiles()
    lines = sum(map(line_count, sources()))
    return f"src: {lines} lines in {len(sources())} files; function median {middle:g}, 90th percentile {long:g} lines"
