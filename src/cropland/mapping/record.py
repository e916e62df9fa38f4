"""What map.json says: from what a map was made, how, and what came out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cropland import __version__
from cropland.data.statistics import Statistics
from cropland.geo.remote import ImageFile, Remote, identity
from cropland.geo.scene import Scene
from cropland.model import Model

__all__ = ["fingerprint", "record"]

FORMAT = 1
SAMPLES, SAMPLE = 16, 1 << 16  # blocks of a file that are hashed, and their bytes


def fingerprint(path: ImageFile) -> str:
    """SHA-256 of a file's size and of blocks at even distances, the header among them: quick at any size.

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


def record(
    scene: Scene,
    model: Model,
    *,
    statistics: Statistics,
    found: Mapping[str, Any],
    options: Mapping[str, Any],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Plain values: inputs, model, statistics (which `--statistics` takes again), options, what was found, notes."""
    return {
        "format": FORMAT,
        "cropland": __version__,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
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
        "statistics": statistics.to_json(),
        "options": dict(options),
        "found": dict(found),
        "notes": list(notes),
    }


def _file(path: ImageFile) -> dict[str, Any]:
    if isinstance(path, Remote):
        return {"name": path.name, "address": path.address, "sha256_told": fingerprint(path)}
    about = path.stat()
    changed = datetime.fromtimestamp(about.st_mtime, UTC).isoformat(timespec="seconds")
    return {"name": path.name, "bytes": about.st_size, "changed": changed, "sha256_sampled": fingerprint(path)}
