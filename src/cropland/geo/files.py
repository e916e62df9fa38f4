"""The files of a scene."""

import os
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

from cropland.errors import SceneError
from cropland.language import _

__all__ = ["is_folder", "scene_files", "scene_name"]

IMAGES = {".tif", ".tiff", ".jp2", ".vrt", ".img", ".png", ".jpg", ".jpeg"}


def scene_files(paths: Path | Sequence[Path]) -> tuple[Path, ...]:
    """The files of a scene from a file, several, or a folder with one file per band.

    Raises `SceneError` when there are none.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files = [file for path in given for file in _expanded(Path(path))]
    if not files:
        raise SceneError(
            _(
                "no images in {value}; give a file or a file per band",
                value=", ".join(map(str, given)) or "an empty list",
            )
        )
    return tuple(dict.fromkeys(files))


def is_folder(paths: Path | Sequence[Path]) -> bool:
    """Whether a scene is given as a folder."""
    return isinstance(paths, str | os.PathLike) and Path(paths).is_dir()


def _expanded(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES) if path.is_dir() else [path]


def scene_name(files: Sequence[Path]) -> str:
    """What the names of the files share, without the part that names the band."""
    if len(files) == 1:
        return files[0].stem
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*(file.stem for file in files), strict=False))
    words = "".join(letters[0] for letters in shared)
    return re.sub(r"[\W_]+[^\W_]*$", "", words) or files[0].absolute().parent.name
