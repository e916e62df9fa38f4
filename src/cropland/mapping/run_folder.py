"""The folder in which a map is made: hidden, held by one run, and moved to its place as a whole.

A journal in it says what is done, each thing with its checksum, so that a run that was killed goes on. A job says all
that decides the map: the folder goes on with the same job only, and map.json begins with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import UInt8
from rasterio.errors import RasterioError

from cropland import __version__
from cropland.engines import Described
from cropland.errors import IncompleteError, OutputError, SceneError
from cropland.files import sync, write_json
from cropland.geo.map_folder import MapFolder
from cropland.geo.reading import ImageFile, Remote, identity
from cropland.geo.scene import Scene
from cropland.geo.window import Window
from cropland.language import Message, joined
from cropland.mapping.plan import Plan
from cropland.mapping.units import Cut
from cropland.model import ModelFile

__all__ = [
    "MOSAIC",
    "Journal",
    "RawRaster",
    "Totals",
    "check_free",
    "check_room",
    "fingerprint",
    "finished",
    "job",
    "publish",
    "record",
    "work_folder",
]


FORMAT = 1  # of map.json
MOSAIC = "mosaic"  # the folder of a mosaic, beside those of its scenes
BYTES_PER_PIXEL = 2  # of each raster, flat and as COG, before compression
FIELDS_BYTES_PER_PIXEL = 8  # more, while fields are made of a boundary
BESIDES = 20_000_000  # parcels, picture and project
SHORT = 30  # letters of a value that an error repeats
SAMPLES, SAMPLE = 64, 1 << 16  # blocks of a file that are hashed, and their bytes


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
            except OutputError as error:  # a writer's: the disk is full, and what was done is kept
                if isinstance(error.__cause__, Exception) and (folder / "journal.jsonl").exists():
                    raise _unwritable(out, folder, error.__cause__) from error
                raise
            finally:
                if not (folder / "journal.jsonl").exists():
                    shutil.rmtree(folder, ignore_errors=True)
    except (OSError, RasterioError) as error:
        raise _unwritable(out, folder, error) from error


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
            "{out} is being made by {holder}; wait for it, or choose another --out", out=out, holder=_said(holder)
        ) from error


def _said(holder: Path) -> Message:
    try:
        about = json.loads(holder.read_text(encoding="utf-8"))
        return Message("process {process} on {host} since {since}", **about)
    except (OSError, ValueError, TypeError, KeyError):  # it is just being written
        return Message("another run")


def _unwritable(out: Path, folder: Path, error: Exception) -> OutputError | IncompleteError:
    if folder.exists():
        return IncompleteError(
            "{out} cannot be written ({error}); what is done is kept: free some disk space, and the same command "
            "resumes",
            out=out,
            error=error,
        )
    return OutputError(
        "{out} cannot be written ({error}); choose another --out or free some disk space", out=out, error=error
    )


def check_room(out: Path, pixels: int, *, outputs: int = 1, work: Path | None = None) -> None:
    """Raise `OutputError` unless the disk holds the mask, the `outputs` and the fields of a map of so many pixels.

    work: a folder that may hold a part of it already.
    """
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    done = sum(path.stat().st_size for path in work.rglob("*")) if work else 0
    per_pixel = BYTES_PER_PIXEL * (outputs + 1) + FIELDS_BYTES_PER_PIXEL * (outputs > 1)
    needed, free = pixels * per_pixel + BESIDES - done, shutil.disk_usage(existing).free
    if free < needed:
        raise OutputError(
            "the map may need {needed:,.0f} MB and {existing} has {free:,.0f} MB free; free some disk space, choose "
            "another --out, or a larger --out-pixel",
            needed=needed / 1000000.0,
            existing=existing,
            free=free / 1000000.0,
        )


def check_free(out: Path, *, overwrite: bool) -> None:
    """Raise `OutputError` unless a map may be put there."""
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    holds_map = (out / "map.json").exists()
    if holds_map and not overwrite:
        raise OutputError("{out} holds a map; delete it, replace it with --overwrite, or choose another --out", out=out)
    if not holds_map and any(out.iterdir()):
        raise OutputError("{out} holds files that are not a map; choose another --out", out=out)


def publish(folder: Path, out: Path) -> None:
    """Move a finished map to its place; where one is replaced, files of the user's own beside it stay.

    The boundary and the looks of the earlier map go where the new one has none.
    """
    if not out.exists():
        folder.rename(out)
        sync(out.parent)
        return
    try:
        earlier = MapFolder.find(out)
    except SceneError:  # its map.json is damaged
        earlier = None
    (out / "map.json").unlink(missing_ok=True)
    for left in (earlier.boundary, earlier.looks) if earlier else ():
        if left:
            left.unlink(missing_ok=True)
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "map.json"):  # it says that the rest is there
        path.replace(out / path.name)


class Journal:
    """What is done of the job of a folder: units of rasters and whole files, each with its CRC-32."""

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
            shutil.rmtree(folder / "map", ignore_errors=True)
            write_json(folder / "job.json", plain, durable=True)
        elif first != plain:
            raise OutputError(
                "{folder} holds an unfinished map with other settings ({what}); continue with those, discard it with "
                "--overwrite, or choose another --out",
                folder=folder,
                what=joined(", ", _differences(first, plain)),
            )
        return Journal(folder, plain)

    def missing(self, name: str, cut: Cut, raster: RawRaster) -> list[int]:
        """The units of a raster, `name` in the journal, that are not on disk as they were written."""
        kept = {number: self._sums.get(f"{name} {number}") for number in range(len(cut.units))}
        return [
            number
            for number, checksum in kept.items()
            if checksum is None or zlib.crc32(raster.read(cut.units[number].core).data) != checksum
        ]

    def note(self, sums: Mapping[str, int]) -> None:
        """Note things that are on the disk, each with its checksum."""
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
        yield Message("{name} {before}, now {value}", name=name, before=both[0], value=both[1]) if is_short else name


def _begun(folder: Path) -> Any:
    """The job that the folder was begun with, if it was."""
    try:
        return json.loads((folder / "job.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a job is written before all else: without one nothing was done
        return None


def _read(path: Path) -> dict[str, int]:
    """The last checksum of each thing; a line that a kill cut off is skipped."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return {row["done"]: row["crc32"] for row in rows}


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            found = zlib.crc32(block, found)
    return found


@dataclass(frozen=True)
class RawRaster:
    """Bands of uint8 in a plain file, one after the other, each row by row, without a header.

    It is written by seeking: a full disk then raises, where a memory map would crash. The bands share a file, so that
    a unit of the journal has one checksum and is done in all of them or in none.
    """

    path: Path
    shape: tuple[int, int]
    bands: int = 1

    def start(self, band: int) -> int:
        """The byte with which a band begins, counted from 0."""
        return band * self.shape[0] * self.shape[1]

    def write(self, window: Window, values: UInt8[np.ndarray, "band height width"]) -> None:
        """Write a window; the file grows as needed."""
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            for place, part in self._parts(window, values):
                file.seek(place)
                file.write(np.ascontiguousarray(part).data)

    def read(self, window: Window) -> UInt8[np.ndarray, "band height width"]:
        """A window; what was never written is 0, also beyond the end of the file."""
        values = np.zeros((self.bands, *window.shape), np.uint8)
        if self.path.exists():
            with self.path.open("rb") as file:
                for place, part in self._parts(window, values):
                    file.seek(place)
                    file.readinto(part.data)
        return values

    def _parts(self, window: Window, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """What lies in one piece in the file, and the byte with which it begins."""
        for band, plane in enumerate(values):
            if window.width == self.shape[1]:
                yield self.start(band) + window.row * window.width, plane
                continue
            for row, line in enumerate(plane, window.row):
                yield self.start(band) + row * self.shape[1] + window.col, line

    def rows(self, start: int, count: int) -> UInt8[np.ndarray, "band rows width"]:
        """Some whole rows."""
        return self.read(Window(start, 0, count, self.shape[1]))


@dataclass(frozen=True)
class Totals:
    """What a map holds: areas in ha on the ellipsoid, cropland and the ground with data; the number of parcels."""

    area_ha: float
    known_ha: float
    parcels: int

    @property
    def share(self) -> float:
        """Cropland as a share of the ground with data."""
        return self.area_ha / self.known_ha if self.known_ha else 0.0


def fingerprint(path: ImageFile) -> str:
    """SHA-256 of a file's size and of blocks at even distances, the header among them: quick at any size.

    The time of change does not count: a file that is copied again is the same. For a remote file it is that of its
    address and of what the server says: length, ETag, time of change.
    """
    if isinstance(path, Remote):
        return hashlib.sha256(repr(identity(path)).encode()).hexdigest()
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(SAMPLES):
            file.seek(max(0, size - SAMPLE) * number // (SAMPLES - 1))
            digest.update(file.read(SAMPLE))
    return digest.hexdigest()


def job(scene: Scene, model: ModelFile, plan: Plan, engine: Described) -> dict[str, Any]:
    """Plain values of all that decides a map: two runs with the same job give the same bytes."""
    return {
        "cropland": __version__,
        "scene": {
            "name": scene.name,
            "files": [_file(path) for path in scene.files],
            "bands": list(scene.bands),
            "crs": None if scene.grid.crs is None else scene.grid.crs.to_wkt(),
            "transform": list(scene.grid.affine)[:6],
            "shape": list(scene.shape),
            "pixel_m": scene.pixel_m,
            "observed": None if scene.observed is None else scene.observed.isoformat(),
            # Unnamed where there is none, so that such a map is what it was before there were any.
            **({} if (clouds := scene.no_data.clouds) is None else {"mask": _file(clouds.layer.path) | clouds.hiding}),
        },
        "model": {"name": model.name, "sha256": model.digest, "version": model.version, "trained": model.source_hash},
        "statistics": plan.statistics.to_json(),
        "options": plan.said,
        "engine": dict(engine.about),
    }


def record(
    job: Mapping[str, Any],
    *,
    imagery: Mapping[str, Any] | None,
    totals: Totals,
    seconds: float,
    stages: Mapping[str, float],
    why: str | None,
    resumed: bool,
    notes: Sequence[str],
) -> dict[str, Any]:
    """What map.json says: the job (whose statistics `--statistics` takes again), what was found, notes.

    imagery: where the scene lies, as `imagery_of` says. why: it was computed by that engine. resumed: `seconds` are of
    the last run alone.
    """
    made = datetime.now(UTC).isoformat(timespec="seconds")
    took = {"seconds": round(seconds, 3), "seconds_by_stage": dict(stages), "resumed": resumed}
    return {
        "format": FORMAT,
        "made": made,
        **job,
        "engine_reason": why,
        "imagery": imagery,
        "found": {**asdict(totals), **took},
        "notes": list(notes),
    }


def finished(folder: Path, job: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the map.json of a folder says, if a map of this very job is in it."""
    try:
        about: dict[str, Any] = json.loads((folder / "map.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    plain = json.loads(json.dumps(job))
    return about if {key: about.get(key) for key in plain} == plain else None


def _file(path: ImageFile) -> dict[str, Any]:
    if isinstance(path, Remote):
        return {"name": path.name, "address": path.address, "sha256_told": fingerprint(path)}
    return {"name": path.name, "bytes": path.stat().st_size, "sha256_sampled": fingerprint(path)}
