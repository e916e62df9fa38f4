"""Where a map is put: a folder that appears whole, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rasterio.errors import RasterioError

from cropland.errors import OutputError
from cropland.language import _

__all__ = ["check_room", "whole_folder"]

BYTES_PER_PIXEL = 4  # probability and mask, flat and as COG, before compression
BESIDES = 20_000_000  # parcels, picture and project


@contextmanager
def whole_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A hidden folder beside `out`, renamed to it at the end; after an error it is gone and `out` is as before.

    Where a map is replaced, files of the user's own beside it stay.
    Raises `OutputError` if `out` holds something and may not be replaced, or cannot be written.
    """
    out = out.absolute()  # "." has no name
    _check_free(out, overwrite=overwrite)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as hidden:
            folder = Path(hidden) / out.name
            folder.mkdir()
            yield folder
            _move(folder, out)
    except (OSError, RasterioError) as error:
        raise OutputError(
            _("{out} cannot be written ({error}); choose another --out or make room", out=out, error=error)
        ) from error


def _move(folder: Path, out: Path) -> None:
    if not out.exists():
        folder.rename(out)
        return
    (out / "map.json").unlink(missing_ok=True)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "map.json"):  # it says that the rest is there
        path.replace(out / path.name)


def check_room(out: Path, pixels: int) -> None:
    """Raise `OutputError` unless the disk holds a map of so many pixels."""
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    needed, free = pixels * BYTES_PER_PIXEL + BESIDES, shutil.disk_usage(existing).free
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


def _check_free(out: Path, *, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(_("{out} is a file, a folder is wanted; choose another --out", out=out))
    holds_map = (out / "map.json").exists()
    if holds_map and not overwrite:
        raise OutputError(_("{out} holds a map; replace it with --overwrite, or choose another --out", out=out))
    if not holds_map and any(out.iterdir()):
        raise OutputError(_("{out} holds files that are no map; choose another --out", out=out))
