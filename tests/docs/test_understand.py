"""The chapters run, and neither language falls behind the other."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "understand"
ENGLISH = sorted((FOLDER / "en").glob("*.py"))
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]*)\)")


class _Plain(ast.NodeTransformer):
    """Code without its words."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.JoinedStr:
        return ast.JoinedStr([self.visit(part) for part in node.values if isinstance(part, ast.FormattedValue)])


def parts(path: Path) -> tuple[list[str], list[int], list[str], list[str]]:
    """Kinds of cells, levels of headings, pictures, code."""
    cells = jupytext.read(path, fmt="py:percent").cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose, re.MULTILINE)]
    code = [ast.dump(_Plain().visit(ast.parse(cell.source))) for cell in cells if cell.cell_type == "code"]
    return [cell.cell_type for cell in cells], levels, PICTURE.findall(prose), code


def test_both_languages_have_the_nine_chapters():
    names = [path.name for path in ENGLISH]
    assert len(names) == 9
    assert names == [path.name for path in sorted((FOLDER / "zh").glob("*.py"))]


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: path.stem)
def test_both_say_the_same(path: Path):
    for one, other in zip(parts(path), parts(FOLDER / "zh" / path.name), strict=True):
        assert one == other


@pytest.mark.parametrize("path", [*ENGLISH, FOLDER / "zh" / "3_atrous.py"], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_it_runs(path: Path, tmp_path: Path):
    environment = {**os.environ, "MPLBACKEND": "Agg", "TMPDIR": str(tmp_path)}
    text = path.read_text(encoding="utf-8")  # given as a console is, so that paths are relative to the folder
    command = [sys.executable, "-X", "utf8", "-"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, input=text, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
