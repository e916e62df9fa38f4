"""Sentinel-2's radiometric offset: since processing baseline 04.00 numbers are shifted by 1000 to keep dark ones."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

from cropland.errors import SceneError
from cropland.geo.remote import ImageFile, Remote
from cropland.geo.sensor import load_sensor
from cropland.geo.sources import Source
from cropland.language import _

__all__ = ["added_to"]

SHIFT = -1000.0
SINCE = 4.0  # processing baseline
LEVELS_UP = 5  # from a band's file to the product's folder


def added_to(source: Source, *, band: str, is_sentinel2: bool) -> float:
    """What to add to a band's numbers: the offset that tags, product metadata or the product's name declare, else 0.

    Source: ESA, Sentinel-2 Products Specification Document, RADIO_ADD_OFFSET (L1C) and BOA_ADD_OFFSET (L2A).
    """
    if source.dtype not in ("uint16", "int16"):  # true colour pictures and reflectances have it applied
        return 0.0
    declared = _from_tags(source.tags)
    if declared is None and is_sentinel2:
        declared = SHIFT if round(source.step) == SHIFT else _from_product(source.path, band)
    return declared or 0.0


def _from_tags(tags: Mapping[str, str]) -> float | None:
    for key, value in tags.items():
        number = re.search(r"-?\d+(\.\d+)?", value)
        if number and re.fullmatch(r"(BOA|RADIO)_ADD_OFFSET(_\w+)?", key.upper()):
            return float(number[0])
    baseline = re.match(r"N?(\d\d)\.?(\d\d)", tags.get("PROCESSING_BASELINE", ""))
    return _shift_of(baseline)


def _from_product(path: ImageFile, band: str) -> float | None:
    if isinstance(path, Remote):
        return None  # a STAC item says it in a tag
    for folder in list(path.absolute().parents)[:LEVELS_UP]:
        for metadata in sorted(folder.glob("MTD_MSIL*.xml")):
            return _from_metadata(metadata).get(band, 0.0)
        if folder.suffix.upper() == ".SAFE":
            return _shift_of(re.search(r"_N(\d\d)(\d\d)_", folder.name))
    return None


def _shift_of(baseline: re.Match[str] | None) -> float | None:
    if baseline is None:
        return None
    return SHIFT if float(f"{baseline[1]}.{baseline[2]}") >= SINCE else 0.0


@lru_cache(maxsize=64)
def _from_metadata(path: Path) -> Mapping[str, float]:
    bands = [band.name for band in load_sensor("sentinel2_l1c").bands]
    offsets = {}
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise SceneError(
            _(
                "{path}, which says what offset the bands have, is damaged ({error}); get it again",
                path=path,
                error=error,
            )
        ) from error
    for element in root.iter():
        if element.tag.endswith("_ADD_OFFSET") and element.text:
            offsets[bands[int(element.get("band_id", "0"))]] = float(element.text)
    return offsets
