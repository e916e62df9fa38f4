"""The files that a scene is made of, as a path, a pattern, a folder or a STAC Item names them, and their metadata."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from glob import has_magic
from itertools import accumulate, chain, takewhile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cropland.errors import SceneError
from cropland.geo.cloud_mask import MaskFile
from cropland.geo.reading import ImageFile, Remote, dataset, fetch, folder_name, image_file, parse_time, read_header
from cropland.geo.sensor import Sensor, load_sensor
from cropland.language import Message

__all__ = ["Given", "Imagery", "every_imagery", "given_imagery", "is_stac", "located", "scene_name", "stac_imagery"]

IMAGES = {".tif", ".tiff", ".jp2", ".vrt", ".img", ".png", ".jpg", ".jpeg"}
LEAST_BANDS = 3  # of an image that is a scene by itself
NOT_DATA = {"thumbnail", "overview", "visual", "metadata"}  # roles of STAC assets

Given = str | os.PathLike[str] | Remote
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Imagery:
    """What a scene is made of, before any file is opened.

    of_one_size: bands whose pixels have another size than red are left out, as from a product's folder. bands: numbers
    by name, counted from 1 through all files. sensor: a name on the shelf. tags: metadata beside those of the files.
    clouds: the cloud mask that a STAC item names.
    """

    files: tuple[ImageFile, ...]
    name: str
    of_one_size: bool = False
    bands: Mapping[str, int] | None = None
    sensor: str | None = None
    observed: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    clouds: MaskFile | None = None


def every_imagery(file: ImageFile) -> list[Imagery]:
    """The scenes that one path or address stands for: an image, a pattern, a folder, a STAC Item or ItemCollection."""
    if is_stac(file):
        return stac_imagery(file)
    if isinstance(file, Path):
        if file.is_dir():
            return [given_imagery(path) for path in _scenes_in(file)]
        if has_magic(str(file)) and not file.exists():
            return [imagery for path in _matching(file) for imagery in every_imagery(path)]
    return [given_imagery(file)]


def _scenes_in(folder: Path) -> list[Path]:
    images = _images_in(folder)
    if not images:
        return sorted(path for path in folder.iterdir() if path.is_dir() and _images_in(path)) or [folder]
    counts = {dataset(path).count for path in images}
    return images if len(images) > 1 and len(counts) == 1 and min(counts) >= LEAST_BANDS else [folder]


def _images_in(folder: Path) -> list[Path]:
    """The images of a folder, by name, without hidden ones (macOS writes ._scene.tif beside scene.tif)."""
    return sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in IMAGES)


def _matching(pattern: Path) -> list[Path]:
    """The files that match a pattern, without those that only accompany images."""
    root = Path(pattern.anchor)
    found = sorted(path for path in root.glob(os.fspath(pattern.relative_to(root))) if not path.name.startswith("."))
    if not found:
        raise SceneError("no file fits {pattern}; give the path of an image", pattern=pattern)
    return [path for path in found if path.is_dir() or path.suffix.lower() in IMAGES or is_stac(path)] or found


def given_imagery(paths: Given | Sequence[Given] | Imagery) -> Imagery:
    """The files of a scene from a file, several, a folder with one file per band, or a STAC Item.

    Raises `SceneError` when there are none, or an ItemCollection has several scenes.
    """
    if isinstance(paths, Imagery):
        return paths
    given = [paths] if isinstance(paths, str | os.PathLike | Remote) else list(paths)
    named = [image_file(path) for path in given]
    if len(named) == 1 and is_stac(named[0]):
        items = stac_imagery(named[0])
        if len(items) != 1:
            raise SceneError("{path} holds {count} scenes; give one item", path=named[0], count=len(items))
        return items[0]
    lists = [_images_in(file) if isinstance(file, Path) and file.is_dir() else [file] for file in named]
    files = tuple(dict.fromkeys(chain.from_iterable(lists)))
    if not files:
        raise SceneError(
            "no images in {value}; give a file or a file per band", value=", ".join(map(str, given)) or "an empty list"
        )
    is_folder = isinstance(paths, str | os.PathLike) and Path(paths).is_dir()
    return Imagery(files, scene_name(files), of_one_size=is_folder)


def scene_name(files: Sequence[ImageFile]) -> str:
    """The common part of the names of the files, without what names the band."""
    if len(files) == 1:
        return files[0].stem
    shared = takewhile(lambda letters: len(set(letters)) == 1, zip(*(file.stem for file in files), strict=False))
    words = "".join(letters[0] for letters in shared)
    return re.sub(r"[\W_]+[^\W_]*$", "", words) or folder_name(files[0])


def is_stac(file: ImageFile) -> bool:
    """Whether a file is named as STAC is: .json, .geojson, or an address of a STAC API."""
    of_an_api = isinstance(file, Remote) and file.is_http and "/items" in urlsplit(file.address).path
    return file.suffix.lower() in (".json", ".geojson") or (of_an_api and file.suffix.lower() not in IMAGES)


def stac_imagery(file: ImageFile) -> list[Imagery]:
    """The scene of an Item or the scenes of an ItemCollection; relative references start at the file itself.

    Bands are named by `bands` (STAC 1.1) or `eo:bands` (1.0); the first asset that has a band gives it, previews
    aside. Raises `SceneError` for a file of something else or one page of many. Source: STAC 1.1.0; eo extension 2.0.
    """
    content = _content(file)
    items = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    if any(link.get("rel") == "next" for link in content.get("links") or ()):
        raise SceneError("{path} is one page of a longer list; save all of its items in one file", path=file)
    try:
        return [_item_imagery(item, file) for item in items or ()]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _no_items(file, f"{type(error).__name__}: {error}") from error


def _content(file: ImageFile) -> Json:
    try:
        content = json.loads(fetch(file) if isinstance(file, Remote) else file.read_bytes())
    except FileNotFoundError as error:
        raise SceneError("{path} is not there; give the path of an image", path=file) from error
    except ValueError as error:
        raise _no_items(file, error) from error
    if not isinstance(content, dict) or content.get("type") not in ("Feature", "FeatureCollection"):
        raise _no_items(file, Message("no Feature"))
    return content


def _no_items(file: ImageFile, cause: object) -> SceneError:
    return SceneError(
        "{path} is no STAC item with images ({cause}); give an Item, an ItemCollection or an image",
        path=file,
        cause=cause,
    )


def _item_imagery(item: Json, home: ImageFile) -> Imagery:
    about = item.get("properties") or {}
    sensor = _sensor(item, about)
    masks = {key: _as_mask(key, asset, home) for key, asset in item["assets"].items() if _is_raster(asset)}
    assets = [item["assets"][key] for key, mask in masks.items() if mask is None]
    data = [asset for asset in assets if not NOT_DATA & set(asset.get("roles") or ())] or assets
    if not data:
        raise _no_items(home, Message("{name} has none", name=item.get("id")))
    named = _first_of_each(data, sensor)
    chosen = _as_large_as_red(named, about) or data[:1]
    places = {id(asset): located(asset["href"], home) for asset in chosen}
    files = tuple(dict.fromkeys(places.values()))
    first = _first_numbers(files) if named else {}
    bands = {n: first[places[id(asset)]] + at for n, (asset, at) in named.items() if id(asset) in places}
    name = re.sub(r"[^\w.-]+", "_", str(item.get("id") or "")).strip(".") or scene_name(files)
    observed = parse_time(about.get("datetime") or about.get("start_datetime"))
    clouds = next(filter(None, masks.values()), None)
    return Imagery(files, name, True, bands or None, sensor.name if sensor else None, observed, _tags(about), clouds)


def _as_mask(key: str, asset: Json, home: ImageFile) -> MaskFile | None:
    """The cloud mask that an asset is, by its key, title, band or file; None for imagery."""
    bands = asset.get("bands") or asset.get("eo:bands") or ()
    names = [key, str(asset.get("title") or ""), *(str(band.get("name")) for band in bands[:1])]
    mask = MaskFile.of(located(asset["href"], home), *names, is_own=True)
    is_imagery = len(bands) > 1 or NOT_DATA & set(asset.get("roles") or ())
    return None if mask.kind is None or is_imagery else mask


def _is_raster(asset: Json) -> bool:
    kind = asset.get("type")
    suffix = PurePosixPath(urlsplit(asset["href"]).path).suffix.lower()
    return kind.startswith("image/") if isinstance(kind, str) else suffix in IMAGES


def _first_of_each(assets: Sequence[Json], sensor: Sensor | None) -> dict[str, tuple[Json, int]]:
    """For each band the first asset that has it, and its number in there."""
    named: dict[str, tuple[Json, int]] = {}
    for asset in assets:
        for number, band in enumerate(asset.get("bands") or asset.get("eo:bands") or (), start=1):
            own = str(band.get("name") or f"band_{number}")
            common = band.get("eo:common_name") or band.get("common_name")
            named.setdefault(common or (sensor.aliases.get(own.lower(), own) if sensor else own), (asset, number))
    return named


def _as_large_as_red(named: Mapping[str, tuple[Json, int]], about: Json) -> list[Json]:
    """The assets without those that declare pixels of another size: they need not be opened."""

    def shape(asset: Json) -> object:
        return asset.get("proj:shape") or about.get("proj:shape")

    main = shape(named["red"][0]) if "red" in named else None
    return [asset for asset, _ in named.values() if main is None or shape(asset) in (None, main)]


def _first_numbers(files: Sequence[ImageFile]) -> dict[ImageFile, int]:
    """How many bands come before each file's, by the headers of the files."""
    counts = [len(read_header(file).bands) for file in files]
    return dict(zip(files, accumulate(counts, initial=0), strict=False))


def located(href: str, home: ImageFile) -> ImageFile:
    """The file of a reference in a STAC item, which may be relative to the item itself."""
    if href.startswith("file://"):
        return Path(url2pathname(urlsplit(href).path))
    found = image_file(href)
    if isinstance(found, Remote):
        return found
    return Remote(home.beside(href)) if isinstance(home, Remote) else home.parent / found


def _sensor(item: Json, about: Json) -> Sensor | None:
    """The sensor of Sentinel-2 and of Landsat 8 and 9, whose numbers need it."""
    platform = f"{about.get('constellation')} {about.get('platform')}".lower()
    if "sentinel-2" in platform:
        return load_sensor("sentinel2_l1c" if "l1c" in str(item.get("collection")).lower() else "sentinel2_l2a")
    return load_sensor("landsat_oli") if re.search("landsat-[89]", platform) else None


def _tags(about: Json) -> dict[str, str]:
    """The tags that Sentinel-2's offset depends on, as its own files have them."""
    if about.get("earthsearch:boa_offset_applied"):
        return {"BOA_ADD_OFFSET": "0"}
    baseline = about.get("s2:processing_baseline")
    return {"PROCESSING_BASELINE": str(baseline)} if baseline else {}
