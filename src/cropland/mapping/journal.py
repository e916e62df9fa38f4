"""What was done so far, on disk: a run that was killed goes on from here, and ends at the same bytes.

Order of writing, each step on the disk before the next begins (fsync): the values of a unit, then the line of the
journal that gives their checksum. The job, which decides the bytes, is written before all others. What stands in the
journal therefore is there; a unit whose checksum does not hold all the same (a cut-off file) is computed again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cropland.errors import OutputError
from cropland.language import _
from cropland.mapping.cut import Cut
from cropland.mapping.plane import Plane, sync

__all__ = ["Journal"]

SHORT = 30  # letters of a value that is told


class Journal:
    """The journal of the work in a folder."""

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self._folder = folder
        self.job: Mapping[str, Any] = job
        self.goes_on = (folder / "journal.jsonl").exists()
        self._sums = _read(folder / "journal.jsonl")

    @staticmethod
    def begin(folder: Path, job: Mapping[str, Any], *, anew: bool = False) -> Journal:
        """A new journal, or the one to go on with.

        anew: throw another job away. Raises `OutputError` if the folder holds another job otherwise.
        """
        first, plain = _begun(folder), json.loads(json.dumps(job))
        if first is None or (anew and first != plain):
            (folder / "journal.jsonl").unlink(missing_ok=True)
            _write(folder / "job.json", json.dumps(plain, indent=1, ensure_ascii=False))
        elif first != plain:
            raise OutputError(
                _(
                    "an unfinished map lies in {folder}, begun otherwise ({what}); go on as it was begun, throw it "
                    "away with --overwrite, or choose another --out",
                    folder=folder,
                    what=", ".join(_differences(first, plain)),
                )
            )
        return Journal(folder, plain)

    def missing(self, name: str, cut: Cut, plane: Plane) -> list[int]:
        """The units of the plane `name` that are not on disk as they were written."""
        kept = {number: self._sums.get(f"{name} {number}") for number in range(len(cut.units))}
        return [
            number
            for number, checksum in kept.items()
            if checksum is None or zlib.crc32(plane.read(cut.units[number].core).data) != checksum
        ]

    def note(self, sums: Mapping[str, int]) -> None:
        """Things that are on the disk, each with its checksum."""
        path = self._folder / "journal.jsonl"
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps({"done": key, "crc32": value}) + "\n" for key, value in sums.items()))
            file.flush()
            os.fsync(file.fileno())
        self._sums.update(sums)

    def once(self, path: Path, make: Callable[[Path], None]) -> None:
        """Make a file, unless it was made before and is as it was."""
        if self._sums.get(path.name) == (_checksum(path) if path.exists() else None) and path.exists():
            return
        make(path)
        sync(path)
        self.note({path.name: _checksum(path)})


def _differences(first: Mapping[str, Any], now: Mapping[str, Any], *, under: str = "") -> Iterator[str]:
    """What was otherwise, with both values where they are short: options.threshold 0.4, now 0.5."""
    for key, value in now.items():
        before, name = first.get(key), f"{under}{key}"
        if before == value:
            continue
        if isinstance(before, dict) and isinstance(value, dict):
            yield from _differences(before, value, under=f"{name}.")
            continue
        both = [json.dumps(each, ensure_ascii=False) for each in (before, value)]
        is_short = max(map(len, both)) <= SHORT
        yield _("{name} {before}, now {value}", name=name, before=both[0], value=both[1]) if is_short else name


def _begun(folder: Path) -> Any:
    """The job that the folder was begun with, if it was."""
    try:
        return json.loads((folder / "job.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a job is written before all else: without one nothing was done
        return None


def _read(path: Path) -> dict[str, int]:
    """The last word on each thing; a line cut off by a kill is passed over."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return {row["done"]: row["crc32"] for row in rows}


def _write(path: Path, text: str) -> None:
    hidden = path.with_name(f".{path.name}.part")
    hidden.write_text(text, encoding="utf-8")
    sync(hidden)
    hidden.replace(path)
    sync(path.parent)


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            found = zlib.crc32(block, found)
    return found
