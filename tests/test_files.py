"""A file or a folder appears whole or not at all, also when the process is killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from cropland.files import replacing, replacing_folder, write_json, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from cropland.files import replacing
with replacing(Path(sys.argv[1])) as hidden:
    hidden.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    out = tmp_path / "map.tif"
    write_text(out, "old")
    with pytest.raises(RuntimeError), replacing(out) as hidden:
        hidden.write_text("half", encoding="utf-8")
        raise RuntimeError
    assert out.read_text(encoding="utf-8") == "old" and names(tmp_path) == ["map.tif"]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_kill_leaves_the_old_file_and_the_next_try_nothing_of_it(tmp_path):
    out = tmp_path / "map.tif"
    write_text(out, "old")
    assert subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False).returncode < 0
    assert out.read_text(encoding="utf-8") == "old" and len(names(tmp_path)) == 2
    write_text(out, "new", durable=True)
    assert out.read_text(encoding="utf-8") == "new" and names(tmp_path) == ["map.tif"]


def test_the_suffix_is_kept_for_drivers(tmp_path):
    for shared in (False, True):
        with replacing(tmp_path / "map.gpkg", shared=shared) as hidden:
            assert hidden.suffix == ".gpkg" and hidden.name.startswith(".")
            hidden.touch()


def test_json_is_utf_8(tmp_path):
    write_json(tmp_path / "map.json", {"name": "耕地"})
    assert "耕地" in (tmp_path / "map.json").read_text(encoding="utf-8")


def test_a_folder_takes_the_place_of_another_or_is_gone(tmp_path):
    out = tmp_path / "chips"
    for name in ("one", "two"):
        with replacing_folder(out) as hidden:
            (hidden / name).touch()
    assert names(out) == ["two"]
    with pytest.raises(RuntimeError), replacing_folder(out) as hidden:
        (hidden / "three").touch()
        raise RuntimeError
    assert names(out) == ["two"] and names(tmp_path) == ["chips"]
