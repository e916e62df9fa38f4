"""Code that travels with a model."""

from pathlib import Path

import pytest

from cropland.errors import ModelError
from cropland.notebooks import get
from cropland.notebooks.bundle import bundle, unpack
from notebooks import write_notebook


def test_what_ran_travels_with_what_it_uses_beside_it(tmp_path: Path):
    home = tmp_path / "home"
    write_notebook(
        home / "lib" / "parts.ipynb", "secret = 'never'", "import numpy\ndef part(): return numpy.ones(2).sum()"
    )
    path = write_notebook(
        home / "实 验.ipynb", "from lib.parts import part", "raise SystemExit", "def net(): return part()"
    )
    assert get(path, "net")() == 2
    packed = bundle([path])
    assert set(packed["files"]) == {"实 验.py", "lib/parts.py"}
    assert packed["packages"]["numpy"].startswith("numpy==")
    assert packed["renamed"][str(path)] == "实 验.py"
    assert "secret" not in str(packed["files"]) and "SystemExit" not in str(packed["files"])
    place = unpack(packed, tmp_path / "elsewhere")
    assert get(place / "实 验.py", "net")() == 2
    assert unpack(packed, tmp_path / "elsewhere") == place


def test_a_package_that_is_missing_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match=r"pip install No-Such==1\.0"):
        unpack({"files": {}, "packages": {"no_such_package": "No-Such==1.0"}}, tmp_path)


def test_nothing_is_written_outside(tmp_path: Path):
    with pytest.raises(ModelError, match="out of its folder"):
        unpack({"files": {"../../evil.py": "x"}, "packages": {}}, tmp_path / "cache")
    assert not list(tmp_path.rglob("evil.py"))
