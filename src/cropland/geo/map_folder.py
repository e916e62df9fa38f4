"""The folder of a finished map, as other verbs read it: its rasters, parcels and threshold, and the scene it shows."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cropland.errors import SceneError
from cropland.geo.reading import ImageFile, Remote, read_header
from cropland.geo.scene import Scene, open_scene

__all__ = ["MapFolder", "imagery_of"]


@dataclass(frozen=True)
class MapFolder:
    """A folder with mask.tif, probability.tif, perhaps boundary.tif and looks.tif, parcels.parquet, and map.json, whose
    content is `about`."""

    path: Path
    about: Mapping[str, Any]

    @staticmethod
    def find(path: Path) -> MapFolder | None:
        """The map in a folder, or the one that a file lies in; None if there is none.

        Raises `SceneError` for a map.json that cannot be read.
        """
        folder = path if path.is_dir() else path.parent
        try:
            about = json.loads((folder / "map.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SceneError(
                "{path} cannot be read ({error}); map the scene again", path=folder / "map.json", error=error
            ) from error
        return MapFolder(folder, about) if isinstance(about, dict) and "found" in about else None

    @property
    def mask(self) -> Path:
        """1 cropland, 0 not cropland, 255 no data."""
        return self.path / "mask.tif"

    @property
    def probability(self) -> Path:
        """p x 254 in a byte, 255 no data."""
        return self.path / "probability.tif"

    @property
    def boundary(self) -> Path | None:
        """The probability of a rim of a field, as `probability`; None for the map of a model without this output."""
        outputs = (self.about.get("options") or {}).get("outputs", ())
        return self.path / "boundary.tif" if "boundary" in outputs else None

    @property
    def looks(self) -> Path | None:
        """At how many dates each pixel was seen; None for a map that joins no dates."""
        looks = self.about.get("looks")
        return self.path / looks["file"] if looks else None

    @property
    def parcels(self) -> Path:
        """Polygons of cropland, in the CRS of the mask."""
        return self.path / "parcels.parquet"

    @property
    def threshold(self) -> float | None:
        """The probability (0..1) from which on a pixel is cropland."""
        return (self.about.get("options") or {}).get("threshold")

    @property
    def scene(self) -> str:
        """The name of the scene that was mapped, or of the folder."""
        return str((self.about.get("scene") or {}).get("name", self.path.name))

    @property
    def model(self) -> str | None:
        """The SHA-256 of the model."""
        return (self.about.get("model") or {}).get("sha256")

    def imagery(self) -> Scene | None:
        """The scene that was mapped, for pictures; None if it is unknown or no longer where it was."""
        known = self.about.get("imagery")
        if not known:
            return None
        files = [self._file(each) for each in known["files"]]
        mask = known.get("mask")
        masks = [self._file(mask)] if mask else []
        if not all(isinstance(each, Remote) or each.exists() for each in (*files, *masks)):
            return None
        counts = [len(read_header(each).bands) for each in files]
        bands = {name: sum(counts[:file]) + index for name, file, index in known["bands"]}
        scene = self.about["scene"]
        hidden = {"mask": masks[0], "mask_values": mask.get("values"), "mask_bits": mask.get("bits")} if mask else {}
        pixel_m = None if scene["crs"] else scene["pixel_m"]
        return open_scene(files, bands=bands, crs=scene["crs"], pixel_m=pixel_m, **hidden)

    def _file(self, about: Mapping[str, str]) -> ImageFile:
        return Remote(about["address"]) if "address" in about else self.path / about["path"]


def imagery_of(scene: Scene, home: Path) -> dict[str, Any] | None:
    """Where the bands of a scene lie, by paths relative to the map's folder, for map.json; None for an array."""
    if scene.is_temporary:
        return None
    files = list(dict.fromkeys(layer.path for layer in scene.layers))
    bands = [
        [name, files.index(layer.path), layer.index] for name, layer in zip(scene.bands, scene.layers, strict=True)
    ]
    clouds = scene.no_data.clouds
    mask = {} if clouds is None else {"mask": _place(clouds.layer.path, home) | clouds.hiding}
    return {"files": [_place(path, home) for path in files], "bands": bands, **mask}


def _place(path: ImageFile, home: Path) -> dict[str, str]:
    if isinstance(path, Remote):
        return {"address": path.address}
    try:
        return {"path": Path(os.path.relpath(path.absolute(), home.absolute())).as_posix()}
    except ValueError:  # another drive of Windows has no relative path
        return {"path": path.absolute().as_posix()}
