"""Every tutorial runs, in its short form, in a process and a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.py"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path):
    environment = {**os.environ, "CROPLAND_SHORT": "1", "TMPDIR": str(tmp_path), "CROPLAND_LANG": "en"}
    text = path.read_text(encoding="utf-8")  # given as a console is, so that paths are relative to the folder
    command = [sys.executable, "-X", "utf8", "-"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, input=text, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-3000:]
