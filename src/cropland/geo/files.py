"""The files of a scene, and what is known of it besides them."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from pathlib import Path

from cropland.errors import SceneError
from cropland.geo.remote import ImageFile, Remote, image_file
from cropland.language import _

__all__ = ["IMAGES", "Given", "Imagery", "given_imagery", "images_in", "scene_name"]

IMAGES = {".tif", ".tiff", ".jp2", ".vrt", ".img", ".png", ".jpg", ".jpeg"}
Given = str | os.PathLike[str] | Remote


@dataclass(frozen=True)
class Imagery:
    """What a scene is made of.

    of_one_size: bands whose pixels have another size than red are left out, as from a product's folder. bands: numbers
    by name, counted from 1 through all files. sensor: a name on the shelf. tags: metadata beside those of the files.
    """

    files: tuple[ImageFile, ...]
    name: str
    of_one_size: bool = False
    bands: Mapping[str, int] | None = None
    sensor: str | None = None
    observed: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def given_imagery(paths: Given | Sequence[Given] | Imagery) -> Imagery:
    """The files of a scene from a file, several, or a folder with one file per band.

    Raises `SceneError` when there are none.
    """
    if isinstance(paths, Imagery):
        return paths
    given = [paths] if isinstance(paths, str | os.PathLike | Remote) else list(paths)
    files = tuple(dict.fromkeys(file for path in given for file in _expanded(image_file(path))))
    if not files:
        raise SceneError(
            _(
                "no images in {value}; give a file or a file per band",
                value=", ".join(map(str, given)) or "an empty list",
            )
        )
    is_folder = isinstance(paths, str | os.PathLike) and Path(paths).is_dir()
    return Imagery(files, scene_name(files), of_one_size=is_folder)


def images_in(folder: Path) -> list[Path]:
    """The images of a folder, by name, without hidden ones (macOS writes ._scene.tif beside scene.tif)."""
    return sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in IMAGES)


def _expanded(path: ImageFile) -> Sequence[ImageFile]:
    return images_in(path) if isinstance(path, Path) and path.is_dir() else [path]


def scene_name(files: Sequence[ImageFile]) -> str:
    """What the names of the files share, without the part that names the band."""
    if len(files) == 1:
        return files[0].stem
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*(file.stem for file in files), strict=False))
    words = "".join(letters[0] for letters in shared)
    return re.sub(r"[\W_]+[^\W_]*$", "", words) or _folder_name(files[0])


def _folder_name(file: ImageFile) -> str:
    return file.folder_name if isinstance(file, Remote) else file.absolute().parent.name
