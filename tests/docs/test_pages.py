"""The pages keep what they promise: code runs, commands are those of the program, links lead somewhere."""

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio

from cropland.cli import GROUPS, VERBS, _without_language, app, named
from cropland.lab.lab import choose
from cropland.recipe import read_recipe
from notebooks import write_notebook

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for folder in ("how_to", "explanation", "reference") for page in (DOCS / folder).glob("*.md"))
BLOCK = re.compile(r"^ *```(?P<kind>[^\n`]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)]+)\)")
SPAN = re.compile(r"`(cropland [a-z]+ [^`]*)`")
WORDS = "band chip halo label mask model network parcel pixel recipe scene shelf stride tile"
SETTLED = ("receptive field", *WORDS.split(" "))
NETWORK = (
    "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, width=4):\n        super().__init__()\n"
    "        self.layer = nn.Conv2d(3, 1, 3, padding=1)\n    def forward(self, x):\n        return self.layer(x)"
)


def blocks(page: Path, *kinds: str) -> list[str]:
    """The fenced blocks of these kinds."""
    text = page.read_text(encoding="utf-8")
    return [found["text"] for found in BLOCK.finditer(text) if found["kind"].strip() in kinds]


def lines(page: Path) -> list[str]:
    """The command lines that a page shows in blocks."""
    shown = "\n".join(blocks(page, "", "console")).splitlines()
    return [line.strip() for line in shown if line.strip().startswith("cropland ")]


def each(*pages: Path) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", pages, ids=lambda page: f"{page.parent.name}-{page.stem}")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The files of a reader, and English again at the end."""
    monkeypatch.chdir(tmp_path)
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 4, "dtype": "uint16", "crs": "EPSG:32650"}
    with rasterio.open("gf2.tif", "w", transform=rasterio.Affine(4, 0, 0, 0, -4, 0), **profile) as file:
        file.write(np.arange(256, dtype=np.uint16).reshape(4, 8, 8))
    write_notebook(Path("experiments/实验.ipynb"), NETWORK)


def verb_of(words: list[str]) -> tuple[str, list[str]]:
    """The verb of a command line, which may be two words, and what follows it."""
    count = 2 if words[0] in GROUPS else 1
    return " ".join(words[:count]), words[count:]


@each(*PAGES)
def test_python_compiles(page: Path):
    for text in blocks(page, "python", "{code-cell} python"):
        ast.parse(text)


@each(*(page for page in PAGES if blocks(page, "python")))
def test_python_runs(page: Path, desk: None):
    names: dict[str, object] = {}  # no __file__: paths are relative to the folder, as in a console
    for text in blocks(page, "python"):
        exec(compile(text, page.name, "exec"), names)


@each(*(page for page in PAGES if lines(page)))
def test_commands_are_those_of_the_program(page: Path):
    for line in lines(page):
        _, words = _without_language(shlex.split(line, comments=True)[1:])
        if words == ["--help"]:
            continue
        _, given, unknown = app(verb_of(words)[0]).parse_args(words, exit_on_error=False, print_error=False)[:3]
        assert not unknown, line
        if words[0] == "train" and "recipe" in given.arguments:
            read_recipe(ROOT / given.arguments["recipe"], given.arguments.get("set_", ()))
        if words[0] == "lab":
            choose(given.args)


@each(*PAGES)
def test_commands_within_sentences_have_these_options(page: Path):
    for line in SPAN.findall(page.read_text(encoding="utf-8")):
        verb, words = verb_of(line.split()[1:])
        assert verb in VERBS, line
        known = {name for option in named(app(), verb).assemble_argument_collection() for name in option.names}
        assert {word for word in words if word.startswith("--")} <= known | {"--help"}, line


@each(*PAGES, DOCS / "glossary.md")
def test_links_lead_to_files(page: Path):
    prose = BLOCK.sub("", page.read_text(encoding="utf-8"))
    near = [link.partition("#")[0] for link in LINK.findall(prose) if "://" not in link]
    assert [link for link in near if not (page.parent / link).is_file()] == []


def test_every_verb_is_in_the_reference():
    asked = re.findall(r'help_of\("([\w ]+)"\)', (DOCS / "reference" / "commands.md").read_text(encoding="utf-8"))
    assert asked == list(VERBS)


def glossary() -> list[list[str]]:
    rows = re.findall(r"^\| (.*) \|$", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    return [row.split(" | ") for row in rows][1:]


def test_the_glossary_is_whole():
    terms = [row[0] for row in glossary()]
    assert len(terms) >= 80
    assert terms == sorted(set(terms), key=str.lower)
    assert [row for row in glossary() if len(row) != 3 or not row[1] or not row[2].endswith(".")] == []


def test_words_of_the_architecture_are_in_the_glossary():
    architecture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    terms = {row[0] for row in glossary()}
    assert [word for word in SETTLED if word not in architecture] == []
    assert [word for word in SETTLED if word not in terms] == []
