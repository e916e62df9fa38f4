"""Where a map is put: whole or not at all, and nothing of the user's is lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cropland.errors import OutputError
from cropland.mapping.place import check_room, publish, work_folder


def write_map(out: Path, words: str, *, overwrite: bool = False) -> None:
    with work_folder(out, overwrite=overwrite) as folder:
        whole = folder / "map"
        whole.mkdir()
        (whole / "map.json").write_text(words, encoding="utf-8")
        (whole / "mask.tif").write_text(words, encoding="utf-8")
        publish(whole, out.absolute())


def test_a_folder_appears_whole_with_its_parents(tmp_path: Path) -> None:
    write_map(tmp_path / "new" / "out", "1")
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {"map.json", "mask.tif"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_an_error_leaves_the_earlier_map(tmp_path: Path) -> None:
    write_map(tmp_path / "out", "1")
    with pytest.raises(ZeroDivisionError), work_folder(tmp_path / "out", overwrite=True) as folder:
        (folder / "mask.tif").write_text("2", encoding="utf-8")
        _ = 1 / 0
    assert (tmp_path / "out" / "mask.tif").read_text(encoding="utf-8") == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_replacing_a_map_keeps_files_of_the_users_own(tmp_path: Path) -> None:
    write_map(tmp_path / "out", "1")
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="--overwrite"):
        write_map(tmp_path / "out", "2")
    write_map(tmp_path / "out", "2", overwrite=True)
    assert (tmp_path / "out" / "mask.tif").read_text(encoding="utf-8") == "2"
    assert (tmp_path / "out" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_here_is_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write_map(Path(), "1")
    assert (tmp_path / "here" / "mask.tif").exists()


def test_places_that_cannot_be_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        write_map(tmp_path / "file", "1")
    with pytest.raises(OutputError, match="cannot be written"):
        write_map(tmp_path / "file" / "below", "1")
    with pytest.raises(OutputError, match="make room"):
        check_room(tmp_path / "not" / "yet", 10**15)


def test_work_that_was_begun_stays_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), work_folder(tmp_path / "out", overwrite=False) as folder:
        (folder / "journal.jsonl").touch()
        raise KeyboardInterrupt
    with work_folder(tmp_path / "out", overwrite=False) as folder:
        assert (folder / "journal.jsonl").exists()
    assert not any(tmp_path.iterdir())


def test_only_one_run_makes_a_map(tmp_path: Path) -> None:
    """The second, in a process of its own, is told who is at it, and lets go without harm."""
    code = (
        "import sys; from pathlib import Path; from cropland.mapping.place import work_folder\n"
        "with work_folder(Path(sys.argv[1]), overwrite=True): pass"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "out")]
    with work_folder(tmp_path / "out", overwrite=False) as folder:
        done = subprocess.run(words, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 1 and f"is being made by process {os.getpid()}" in done.stderr
        assert folder.exists()
    assert subprocess.run(words).returncode == 0
