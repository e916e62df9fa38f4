"""Scenes as a person gives them: files, patterns, folders, STAC items, addresses."""

import os
from collections.abc import Mapping, Sequence
from glob import has_magic
from pathlib import Path

from cropland.errors import SceneError
from cropland.geo.datasets import dataset
from cropland.geo.files import IMAGES, Given, Imagery, given_imagery, images_in
from cropland.geo.remote import ImageFile, Remote, image_file
from cropland.geo.scene import Scene, open_scene
from cropland.geo.stac_items import is_stac, stac_imagery
from cropland.language import _

__all__ = ["open_scenes"]

LEAST = 3  # bands of an image that is a scene by itself


def open_scenes(
    given: Sequence[Given],
    *,
    sensor: str | None = None,
    bands: Mapping[str, int] | None = None,
    nodata: float | None = None,
    crs: str | None = None,
    pixel_m: float | None = None,
    shift: bool = False,
) -> list[Scene]:
    """Look at all scenes that are given, in their order, by name where one of them stands for several.

    Each is an image (a VRT, an address); a pattern such as tiles/*.tif; a STAC Item or ItemCollection; or a folder. A
    folder whose images have three bands or more each, and as many, is so many scenes, one of folders of images is as
    many as these; any other is one scene with a file per band.
    The rest is as in `open_scene`. Raises the same errors.
    """
    return [
        open_scene(imagery, sensor=sensor, bands=bands, nodata=nodata, crs=crs, pixel_m=pixel_m, shift=shift)
        for each in given
        for imagery in _imagery(image_file(each))
    ]


def _imagery(file: ImageFile) -> list[Imagery]:
    if is_stac(file):
        return stac_imagery(file)
    if isinstance(file, Remote):
        return [given_imagery(file)]
    if file.is_dir():
        return [given_imagery(path) for path in _in_folder(file)]
    if has_magic(str(file)) and not file.exists():
        return [imagery for path in _fitting(file) for imagery in _imagery(path)]
    return [given_imagery(file)]


def _in_folder(folder: Path) -> list[Path]:
    images = images_in(folder)
    if not images:
        return sorted(path for path in folder.iterdir() if path.is_dir() and images_in(path)) or [folder]
    counts = {dataset(path).count for path in images}
    return images if len(images) > 1 and len(counts) == 1 and min(counts) >= LEAST else [folder]


def _fitting(pattern: Path) -> list[Path]:
    """What fits, without files that only go with images."""
    root = Path(pattern.anchor)
    found = sorted(path for path in root.glob(os.fspath(pattern.relative_to(root))) if not path.name.startswith("."))
    if not found:
        raise SceneError(_("no file fits {pattern}; give the path of an image", pattern=pattern))
    return [path for path in found if path.is_dir() or path.suffix.lower() in IMAGES or is_stac(path)] or found
