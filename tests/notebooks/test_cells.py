"""Cells of notebooks, scripts and Markdown."""

import json
from pathlib import Path

import pytest

from cropland.errors import RecipeError
from cropland.notebooks.cells import read_cells
from notebooks import write_notebook


@pytest.mark.parametrize("minor", range(6))
def test_every_minor_of_nbformat_4(tmp_path: Path, minor: int):
    path = write_notebook(tmp_path / "实 验.ipynb", "#md words", "a = 1\nb = 2", minor=minor)
    (cell,) = read_cells(path)
    assert (cell.number, cell.source, cell.place) == (2, "a = 1\nb = 2\n", f"{path}, cell 2")


def test_source_as_one_string_and_no_language_at_all(tmp_path: Path):
    path = write_notebook(tmp_path / "a.ipynb", "a = 1", language=None)
    values = json.loads(path.read_text(encoding="utf-8"))
    values["cells"][0]["source"] = "b = 2"
    path.write_text(json.dumps(values), encoding="utf-8")
    assert [cell.source for cell in read_cells(path)] == ["b = 2\n"]


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("%matplotlib inline\na = 1\n", "pass\na = 1\n"),
        ("if True:\n    !ls 'a b'\n    a = 1\n", "if True:\n    pass\n    a = 1\n"),
        ("!pip install \\\n  torch\na = 1\n", "pass\n\na = 1\n"),
        ("%%time\na = 1\n", "\na = 1\n"),
        ("%%bash\nfor i in a; do echo; done\n", "\n\n"),
        ("torch.nn?\na = 1\n", "pass\na = 1\n"),
        ("?torch\n", "pass\n"),
        ("s = '''\n%not a magic\n'''\n", "s = '''\n%not a magic\n'''\n"),
        ("a = 7 \\\n  % 4\n", "a = 7 \\\n  % 4\n"),
    ],
)
def test_lines_for_ipython_are_emptied_and_the_rest_keeps_its_place(tmp_path: Path, text: str, python: str):
    (cell,) = read_cells(write_notebook(tmp_path / "a.ipynb", text))
    assert (cell.source, cell.text, cell.fault) == (python, text, "")


def test_a_name_that_a_shell_line_makes_says_so_when_it_is_wanted(tmp_path: Path):
    (cell,) = read_cells(write_notebook(tmp_path / "a.ipynb", "files = !ls"))
    with pytest.raises(RuntimeError, match="line for IPython"):
        exec(cell.source, {})


def test_a_cell_that_is_no_python_says_why_and_defines_nothing(tmp_path: Path):
    cell, other = read_cells(write_notebook(tmp_path / "a.ipynb", "a = (1,\nb c\n", "d = 1"))
    assert cell.source == "" and "cell 1, line" in cell.fault
    assert other.source == "d = 1\n"


def test_percent_scripts(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text("# ---\n# jupyter: x\n# ---\n# %%\na = 1\n# %% [markdown]\n# words\n# %% title\nb = 2\n", "utf-8")
    assert [(cell.line, cell.source.split("\n")[1]) for cell in read_cells(path)][1:] == [(4, "a = 1"), (8, "b = 2")]


def test_markdown(tmp_path: Path):
    path = tmp_path / "a.md"
    text = (
        "---\njupytext: 1\n---\n# Title\n```python\na = 1\n```\n```bash\nls\n```\n```{code-cell} ipython3\nb = 2\n```\n"
    )
    path.write_text(text, encoding="utf-8")
    assert [(cell.number, cell.line, cell.source) for cell in read_cells(path)] == [
        (1, 6, "a = 1\n"),
        (2, 12, "b = 2\n"),
    ]


@pytest.mark.parametrize("suffix", ["py:percent", "md", "md:myst"])
def test_what_jupytext_writes_is_read_alike(tmp_path: Path, suffix: str):
    jupytext, nbformat = pytest.importorskip("jupytext"), pytest.importorskip("nbformat")
    cells = ["import math", "def f(x):\n\n    return math.sqrt(x)", "y = f(2)"]
    path = write_notebook(tmp_path / "a.ipynb", "#md Words", *cells)
    out = tmp_path / f"b.{suffix.partition(':')[0]}"
    jupytext.write(nbformat.read(path, as_version=4), out, fmt=suffix)
    found = [cell.source for cell in read_cells(out)]
    assert [each for each in cells if any(each in text for text in found)] == cells


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"nbformat": 4, "cells": [}', "byte 26: Expecting value"),
        ('{"名": }'.encode(), "byte 8"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"[]", "expected 'nbformat'"),
        (b'{"nbformat": 3, "worksheets": []}', "nbformat 3, expected 4"),
        (b'{"nbformat": 4, "metadata": {}}', "list of cells"),
        (b'{"nbformat": 4, "metadata": {"kernelspec": {"language": "R"}}, "cells": []}', "notebook in R"),
    ],
)
def test_what_is_no_notebook_is_said_with_the_byte(tmp_path: Path, content: bytes, said: str):
    path = tmp_path / "a.ipynb"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=said):
        read_cells(path)


def test_what_is_missing_and_what_is_no_code(tmp_path: Path):
    with pytest.raises(RecipeError, match="no file"):
        read_cells(tmp_path / "a.py")
    with pytest.raises(RecipeError, match=r"\.ipynb, \.py, \.md"):
        read_cells(tmp_path / "a.txt")
