"""What map.json says: from what a map was made, how, and what came out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cropland import __version__
from cropland.engines import Described
from cropland.geo.reading import ImageFile, Remote, identity
from cropland.geo.scene import Scene
from cropland.mapping.plan import Plan
from cropland.model import Model

__all__ = ["Found", "fingerprint", "finished", "job", "record"]

FORMAT = 1
SAMPLES, SAMPLE = 64, 1 << 16  # blocks of a file that are hashed, and their bytes


@dataclass(frozen=True)
class Found:
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

    When the file was changed does not count: one that was cut off and copied anew is the same.
    Of a remote one it is that of its address and what the server tells: length, ETag, time of change.
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


def job(scene: Scene, model: Model, plan: Plan, engine: Described) -> dict[str, Any]:
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
        },
        "model": {"name": model.name, "sha256": model.digest, "version": model.version, "trained": model.source_hash},
        "statistics": plan.statistics.to_json(),
        "options": plan.said,
        "engine": dict(engine.about),
    }


def record(
    job: Mapping[str, Any],
    *,
    found: Found,
    seconds: float,
    stages: Mapping[str, float],
    why: str | None,
    resumed: bool,
    notes: Sequence[str],
) -> dict[str, Any]:
    """What map.json says: the job (whose statistics `--statistics` takes again), what was found, notes.

    why: it was computed by that engine. resumed: `seconds` are of the last run alone.
    """
    made = datetime.now(UTC).isoformat(timespec="seconds")
    took = {"seconds": round(seconds, 3), "seconds_by_stage": dict(stages), "resumed": resumed}
    return {
        "format": FORMAT,
        "made": made,
        **job,
        "engine_reason": why,
        "found": {**asdict(found), **took},
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
