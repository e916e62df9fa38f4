"""Names from notebooks and scripts in other folders."""

import inspect
import pickle
import subprocess
import sys
import textwrap
import traceback
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from cropland.errors import RecipeError
from cropland.notebooks import importable, load
from notebooks import write_notebook

TRAPS = (
    "#md # 实验",
    "%matplotlib inline\n!pip install \\\n  nothing\nimport math\nfrom 助手 import double",
    "width = 8\nclass Base:\n    w = width",
    "1 / 0",
    "width = 16\nfiles = !ls\ndef scaled(x):\n    from 助手 import triple\n    return width * x + triple(x)\n"
    "now = scaled(1)",
    "class Net(Base):\n    def forward(self, x):\n        return scaled(x) + self.w + double(x)\n\n"
    "    def fail(self):\n        raise ValueError('on purpose')",
    "for epoch in range(10**9):\n    print(epoch)",
    "class Net(Net):\n    pass\nNet.extra = 5",
    "plt.plot(width)\nplt.show()",
    "width = 32",
)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    write_notebook(
        tmp_path / "其他 folder" / "助手.ipynb", "1 / 0", "double = lambda x: 2 * x\ndef triple(x): return 3 * x"
    )
    return write_notebook(tmp_path / "其他 folder" / "实 验.ipynb", *TRAPS)


def test_a_notebook_with_traps(notebook: Path):
    net = load(notebook, "Net")
    assert (net.w, net.extra, net().forward(1)) == (8, 5, 32 + 3 + 8 + 2)
    assert load(notebook, "now") == 16 + 3
    assert load(notebook, "width") == 32
    assert load(notebook, "Net") is net


def test_tracebacks_and_sources_are_those_of_the_cell(notebook: Path):
    net = load(notebook, "Net")
    assert inspect.getsource(net.forward).startswith("    def forward(self, x):\n        return scaled(x)")
    assert inspect.getsource(net).startswith("class Net")
    assert inspect.getsource(load(notebook, "Base")) == "class Base:\n    w = width\n"
    with pytest.raises(ValueError, match="on purpose") as caught:
        net().fail()
    told = "".join(traceback.format_exception(caught.value))
    assert f'{notebook}, cell 6", line 6, in fail' in told
    assert "raise ValueError('on purpose')" in told


def test_what_it_does_not_define_and_what_only_ipython_can_make(notebook: Path):
    with pytest.raises(RecipeError, match=r"defines no 'Nett'; it defines Base, Net, scaled, width"):
        load(notebook, "Nett")
    with pytest.raises(RuntimeError, match="line for IPython"):
        load(notebook, "files")


def test_an_import_statement_for_any_python(notebook: Path):
    before = list(sys.path), list(sys.meta_path)
    with importable(notebook.parent):
        from 助手 import double  # type: ignore[import-not-found]
    assert double(4) == 8
    assert (list(sys.path), list(sys.meta_path)) == before
    assert "助手" not in sys.modules
    with pytest.raises(ModuleNotFoundError):
        import 助手  # noqa: F401


def test_modules_of_the_same_name_come_back(tmp_path: Path):
    import rich

    (tmp_path / "rich.py").write_text("mine = 1\n", encoding="utf-8")
    (tmp_path / "json.py").write_text("mine = 1\n", encoding="utf-8")
    with importable(tmp_path):
        import json

        from rich import mine  # type: ignore[attr-defined]
    assert mine == 1
    assert sys.modules["rich"] is rich
    assert json.loads("1") == 1  # the standard library is nobody's to replace


def test_folders_are_packages(tmp_path: Path):
    (tmp_path / "models" / "deep").mkdir(parents=True)
    (tmp_path / "models" / "unet.py").write_text(
        "from .deep.parts import part\nfrom . import other\nnet = part + other.k\n", "utf-8"
    )
    (tmp_path / "models" / "other.py").write_text("k = 10\n", encoding="utf-8")
    (tmp_path / "models" / "deep" / "parts.py").write_text("from ..other import k\npart = k + 1\n", encoding="utf-8")
    notebook = write_notebook(
        tmp_path / "a.ipynb", "from models.unet import net\nimport models.other\nx = net + models.other.k"
    )
    assert load(notebook, "x") == 31


def test_everything_of_a_neighbour(tmp_path: Path):
    (tmp_path / "blocks.py").write_text(
        "import os\nk = 1\n_hidden = 2\ndef f(): return k\nx = 1 / 0\n", encoding="utf-8"
    )
    notebook = write_notebook(tmp_path / "a.ipynb", "from blocks import *", "y = f()")
    assert load(notebook, "y") == 1


def test_a_circle_is_told_with_its_cells(tmp_path: Path):
    write_notebook(tmp_path / "a.ipynb", "from b import g\nf = g")
    write_notebook(tmp_path / "b.ipynb", "from a import f\ng = f")
    with pytest.raises(
        RecipeError, match=r"a\.ipynb cell 1.* needs b\.ipynb cell 1.* needs a\.ipynb cell 1.*circular import"
    ):
        load(tmp_path / "a.ipynb", "f")


def test_two_files_that_import_each_other_without_a_circle(tmp_path: Path):
    write_notebook(tmp_path / "a.ipynb", "from b import g\ny = g()\nk = 3")
    write_notebook(tmp_path / "b.ipynb", "from a import k\ndef g(): return k")
    assert load(tmp_path / "a.ipynb", "y") == 3


def test_reload_sees_what_changed_and_else_nothing_is_read_again(tmp_path: Path):
    path = tmp_path / "a.py"
    path.write_text("k = 1\n", encoding="utf-8")
    assert load(path, "k") == 1
    path.write_text("k = 2\n", encoding="utf-8")
    assert load(path, "k") == 1
    assert load(path, "k", reload=True) == 2


def test_the_whole_file_runs_when_it_is_trusted(tmp_path: Path):
    path = write_notebook(tmp_path / "a.ipynb", "k = []", "for i in range(3):\n    k.append(i)")
    assert load(path, "k") == []
    assert load(path, "k", trust_all=True) == [0, 1, 2]


def test_postponed_annotations_hold_for_the_file(tmp_path: Path):
    path = write_notebook(tmp_path / "a.ipynb", "from __future__ import annotations", "def f(x: Missing): return x")
    assert load(path, "f")(1) == 1


def test_objects_travel_to_worker_processes(notebook: Path):
    net = load(notebook, "Net")()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert pool.submit(type(net).forward, net, 1).result(60) == 45


def test_objects_travel_to_a_process_that_knows_nothing(notebook: Path):
    sent = pickle.dumps(load(notebook, "Net")())
    script = f"import pickle; print(pickle.loads({sent!r}).forward(1))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8")
    assert (done.stdout, done.stderr) == ("45\n", "")


def test_paths_are_relative_to_the_file_that_names_them(notebook: Path, tmp_path: Path):
    script = tmp_path / "scripts" / "use.py"
    script.parent.mkdir()
    text = """
        from cropland.notebooks import importable, load
        print(load("../其他 folder/实 验.ipynb", "Net").w)
        with importable("../其他 folder"):
            from 助手 import double
        print(double(2))
    """
    script.write_text(textwrap.dedent(text), encoding="utf-8")
    environment = {"PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, encoding="utf-8", cwd="/", env=environment
    )
    assert (done.stdout, done.stderr) == ("8\n4\n", "")
