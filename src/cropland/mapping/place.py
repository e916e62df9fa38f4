"""Where a map is put: work in a hidden folder beside it, which one run holds; then the folder itself, whole."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from rasterio.errors import RasterioError

from cropland.errors import IncompleteError, OutputError
from cropland.language import _
from cropland.mapping.plane import sync

__all__ = ["MOSAIC", "check_free", "check_room", "publish", "work_folder"]

MOSAIC = "mosaic"  # the folder of a mosaic, beside those of its scenes
BYTES_PER_PIXEL = 4  # probability and mask, flat and as COG, before compression
BESIDES = 20_000_000  # parcels, picture and project


@contextmanager
def work_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """The hidden folder beside `out` where its map is made, for this run alone.

    It is gone at the end, and after an error if nothing was done in it (it holds no journal); else it stays, for the
    same command to go on. Raises `OutputError` if `out` holds something and may not be replaced, cannot be written, or
    is being made by another run; `IncompleteError` where the disk fails on the way.
    """
    out = out.absolute()  # "." has no name
    check_free(out, overwrite=overwrite)
    folder = out.parent / f".{out.name}.unfinished"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _held(folder, out):
            try:
                yield folder
                shutil.rmtree(folder)
            finally:
                if not (folder / "journal.jsonl").exists():
                    shutil.rmtree(folder, ignore_errors=True)
    except (OSError, RasterioError) as error:
        raise _unwritable(out, folder, error) from error


def publish(folder: Path, out: Path) -> None:
    """Move a finished map to its place; where one is replaced, files of the user's own beside it stay."""
    if not out.exists():
        folder.rename(out)
        sync(out.parent)
        return
    (out / "map.json").unlink(missing_ok=True)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "map.json"):  # it says that the rest is there
        path.replace(out / path.name)


def check_room(out: Path, pixels: int, *, work: Path | None = None) -> None:
    """Raise `OutputError` unless the disk holds a map of so many pixels, of which `work` may hold a part already."""
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    done = sum(path.stat().st_size for path in work.rglob("*")) if work else 0
    needed, free = pixels * BYTES_PER_PIXEL + BESIDES - done, shutil.disk_usage(existing).free
    if free < needed:
        raise OutputError(
            _(
                "the map may need {needed:,.0f} MB and {existing} has {free:,.0f} MB free; make "
                "room, choose another --out, or a larger --out-pixel",
                needed=needed / 1000000.0,
                existing=existing,
                free=free / 1000000.0,
            )
        )


def check_free(out: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` unless a map may be put there."""
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(_("{out} is a file, a folder is wanted; choose another --out", out=out))
    holds_map = (out / "map.json").exists()
    if holds_map and not overwrite:
        raise OutputError(
            _("{out} holds a map; delete it, replace it with --overwrite, or choose another --out", out=out)
        )
    if not holds_map and any(out.iterdir()):
        raise OutputError(_("{out} holds files that are no map; choose another --out", out=out))


@contextmanager
def _held(folder: Path, out: Path) -> Iterator[None]:
    """Hold the folder, which the system lets go of when the process ends, however it ends."""
    holder = folder / "holder.json"
    try:
        with FileLock(folder / "lock", timeout=0):
            about = {"process": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M}"}
            holder.write_text(json.dumps(about), encoding="utf-8")
            yield
    except Timeout as error:
        raise OutputError(
            _("{out} is being made by {holder}; wait for it, or choose another --out", out=out, holder=_said(holder))
        ) from error


def _said(holder: Path) -> str:
    try:
        about = json.loads(holder.read_text(encoding="utf-8"))
        return _("process {process} on {host} since {since}", **about)
    except (OSError, ValueError, TypeError, KeyError):  # it is just being written
        return _("another run")


def _unwritable(out: Path, folder: Path, error: Exception) -> OutputError | IncompleteError:
    if folder.exists():
        return IncompleteError(
            _(
                "{out} cannot be written ({error}); what was done is kept: make room, then the same command goes on",
                out=out,
                error=error,
            )
        )
    return OutputError(_("{out} cannot be written ({error}); choose another --out or make room", out=out, error=error))
