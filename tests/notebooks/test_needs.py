"""What runs for a name: enough, and no more."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cropland.notebooks.cells import Cell
from cropland.notebooks.file import CodeFile
from cropland.notebooks.needs import constants, defined, listing, needed, statements
from notebooks import write_notebook


def plan(text: str, name: str) -> list[str]:
    return [each.source for each in needed(name, statements([Cell(1, text, "x")]))]


def test_imports_constants_and_functions_that_are_called():
    text = "import math\nimport os\nk = 2\ndef f(x): return math.sqrt(x) * k\ndef g(x): return f(x)\nprint(g(1))\n"
    assert plan(text, "g") == ["import math", "k = 2", "def f(x): return math.sqrt(x) * k", "def g(x): return f(x)"]


def test_the_last_definition_wins_and_what_is_read_at_once_is_what_it_was():
    text = "w = 1\nclass A: v = w\nw = 2\ndef f(): return w\n"
    assert plan(text, "A") == ["w = 1", "class A: v = w"]
    assert plan(text, "f") == ["w = 2", "def f(): return w"]


def test_a_class_derived_from_what_it_replaces():
    text = "class A: pass\nclass A(A): pass\n"
    assert plan(text, "A") == ["class A: pass", "class A(A): pass"]


def test_a_function_that_is_called_on_the_way_reads_what_was_then():
    text = "w = 1\ndef f(): return w\ny = f()\nw = 2\n"
    assert plan(text, "y") == ["w = 1", "def f(): return w", "y = f()", "w = 2"]  # f may be called again later


def test_what_alters_a_thing_is_of_it_but_not_of_a_library():
    text = "import torch\ntorch.x = 1\nclass A: pass\nA.f = 1\nt = {}\nt['a'] = 1\nt2 = 1\nt2 += 1\n"
    assert plan(text, "A") == ["class A: pass", "A.f = 1"]
    assert plan(text, "t") == ["t = {}", "t['a'] = 1"]
    assert plan(text, "t2") == ["t2 = 1", "t2 += 1"]
    assert plan(text, "torch") == ["import torch"]


def test_loops_calls_and_main_do_not_run():
    text = "a = 1\nfor i in range(3): a = i\nprint(a)\nif __name__ == '__main__':\n    a = 5\n"
    assert plan(text, "a") == ["a = 1"]
    assert plan(text, "i") == []


def test_decorators_defaults_and_annotations_are_read_at_once():
    text = "d = lambda f: f\nk = 1\nT = int\n@d\ndef f(x: T = k): return x\nd = k = T = None\n"
    assert plan(text, "f")[:3] == ["d = lambda f: f", "k = 1", "T = int"]
    assert "d = k = T = None" not in plan(text, "f")


def test_conditional_imports_and_everything_of_a_module():
    maybe, star, f = (
        "try:\n    import a\nexcept ImportError:\n    a = None",
        "from m import *",
        "def f(): return a, x, len",
    )
    assert plan("\n".join([maybe, star, f]), "f") == [maybe, star, f]


def test_a_name_of_a_class_that_is_its_own_outer_name():
    assert plan("w = 1\nclass A:\n    w = w\n", "A") == ["w = 1", "class A:\n    w = w"]


def test_comprehensions_run_at_once_and_lambdas_later():
    text = "k = 1\nxs = [k for _ in range(2)]\nf = lambda: k\nk = 2\n"
    assert plan(text, "xs") == ["k = 1", "xs = [k for _ in range(2)]"]
    assert plan(text, "f") == ["f = lambda: k", "k = 2"]


def test_candidates_and_constants():
    every = statements([Cell(1, "a = 1\nb = print\ndef f(): pass\nclass A: pass\n", "x")])
    assert set(defined(every)) == {"f", "A"}
    assert constants(every) == {"a"}


NAMES = st.sampled_from("abc")
LINES = st.one_of(
    st.builds("{} = {}".format, NAMES, st.integers(0, 9)),
    st.builds("{} = ({}, 1)".format, NAMES, NAMES),
    st.builds("{} = {}()".format, NAMES, st.sampled_from("fg")),
    st.builds("def {}(): return {}".format, st.sampled_from("fg"), NAMES),
    st.builds("def {}(): return {}()".format, st.just("f"), st.just("g")),
    st.builds("class {0}:\n    {0} = {0}\n    v = {1}".format, NAMES, NAMES),
    st.builds("{} = [{} for _ in range(2)]".format, NAMES, NAMES),
)


FIRST = "a = 'a'\nb = 'b'\nc = 'c'\ndef g(): return a\ndef f(): return b\n"


def plain(value: object) -> object:
    """What can be compared: a class by what it holds, a function by what it gives."""
    if isinstance(value, type):
        return {name: plain(each) for name, each in vars(value).items() if not name.startswith("__")}
    if callable(value):
        return "gives", plain(value())
    return [plain(each) for each in value] if isinstance(value, tuple | list) else value


@given(st.lists(LINES, max_size=8), st.permutations("abcfg"))
def test_names_asked_for_in_any_order_are_what_a_run_from_the_top_makes(lines: list[str], names: list[str]):
    text = FIRST + "\n".join(lines) + "\n"
    whole: dict[str, object] = {}
    exec(text, whole)
    file = CodeFile(Path("x.py"), "x", (Cell(1, text, "x"),), "")
    for name in names:
        assert plain(file.get(name)) == plain(whole[name]), name


def test_candidates_with_the_cells_that_they_need(tmp_path: Path):
    path = write_notebook(
        tmp_path / "a.ipynb",
        "#md words",
        "!ls\nimport torch.nn as nn\nwidth = 8",
        "def helper(x):\n    return width * x",
        "class Plain:\n    pass",
        "class Net(nn.Module):\n    def forward(self, x):\n        return helper(x)",
        "print(Net())\n",
        "broken (",
        "class Wider(Net): pass",
    )
    told = listing(path)
    assert [(each.name, each.kind, each.cells, each.lines) for each in told.candidates] == [
        ("Net", "network", (2, 3, 5), 7),
        ("Wider", "network", (2, 3, 5, 8), 8),
        ("Plain", "class", (4,), 2),
        ("helper", "function", (2, 3), 3),
    ]
    uses = {each.number: each for each in told.cells}
    assert (uses[2].first, uses[2].runs, uses[2].statements) == ("!ls", 2, 3)
    assert (uses[6].runs, uses[6].statements) == (0, 1)
    assert "cell 7, line 1" in uses[7].fault
