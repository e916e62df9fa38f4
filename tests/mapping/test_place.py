"""Where a map is put: whole or not at all, and nothing of the user's is lost."""

from pathlib import Path

import pytest

from cropland.errors import OutputError
from cropland.mapping.place import check_room, whole_folder


def write_map(out: Path, words: str, *, overwrite: bool = False) -> None:
    with whole_folder(out, overwrite=overwrite) as folder:
        (folder / "map.json").write_text(words, encoding="utf-8")
        (folder / "mask.tif").write_text(words, encoding="utf-8")


def test_a_folder_appears_whole_with_its_parents(tmp_path: Path) -> None:
    write_map(tmp_path / "new" / "out", "1")
    assert {path.name for path in (tmp_path / "new" / "out").iterdir()} == {"map.json", "mask.tif"}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_an_error_leaves_the_earlier_map(tmp_path: Path) -> None:
    write_map(tmp_path / "out", "1")
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "out", overwrite=True) as folder:
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
