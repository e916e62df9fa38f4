"""The names of bands, and the offsets that are added to their numbers.

A band is named by the user, by description or file name, by sensor, or by colour interpretation.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress
from pathlib import Path
from xml.etree import ElementTree

from cropland.errors import BandError, SceneError
from cropland.geo.reading import BandHeader, ImageFile, Remote
from cropland.geo.sensor import Sensor, load_sensor, sensor_names, sensors
from cropland.language import Message

__all__ = ["NamedBands", "added_to", "band_numbers", "name_bands", "of_one_size", "parse_bands"]

WORDS = {
    "blue": ("blue", "b"),
    "green": ("green", "g"),
    "red": ("red", "r"),
    "nir": ("nir", "nir1", "n", "infrared", "nearinfrared"),
}
COMMON = {word: name for name, words in WORDS.items() for word in words}
MEANINGLESS = re.compile(r"(band|layer|channel|raster)?[\s_#-]*\d*", re.IGNORECASE)

SENTINEL2_OFFSET = -1000.0
OFFSET_SINCE = 4.0  # processing baseline
LEVELS_UP = 5  # from a band's file to the product's folder


@dataclass(frozen=True)
class NamedBands:
    """Band names, the headers of the bands, the sensors that these may come from, and notes on what was assumed."""

    names: tuple[str, ...]
    sources: tuple[BandHeader, ...]
    sensors: tuple[Sensor, ...]
    notes: tuple[str, ...] = ()


def parse_bands(text: str) -> dict[str, int]:
    """Numbers of bands by name, from "red=3,green=2,blue=1".

    Raises `BandError` for anything else.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    bands = {name.strip().lower(): number.strip() for name, _, number in pairs}
    are_numbers = all(n.isascii() and n.isdigit() for n in bands.values())
    if not bands or "" in bands or len(bands) < len(pairs) or not are_numbers:
        raise BandError("--bands {text!r} cannot be read; write it as red=3,green=2,blue=1", text=text)
    return {name: int(number) for name, number in bands.items()}


def band_numbers(given: str | Mapping[str, int] | Sequence[str] | None, count: int) -> Mapping[str, int] | None:
    """Numbers by name, from a text as in `parse_bands`, or from the names of all `count` bands in their order.

    Raises `BandError` for a text of something else, and for more or fewer names.
    """
    if isinstance(given, str):
        return parse_bands(given)
    if given is None or isinstance(given, Mapping):
        return given
    numbers = {name: number for number, name in enumerate(given, start=1)}
    if not len(numbers) == len(given) == count:
        raise BandError(
            "{many} different names were given for {count} bands; name each band once", many=len(numbers), count=count
        )
    return numbers


def name_bands(found: Sequence[BandHeader], *, sensor: str | None, bands: Mapping[str, int] | None) -> NamedBands:
    """Name the bands of a scene.

    Raises `BandError` when nothing names them, when two have one name, or for a number that is not there.
    """
    known = load_sensor(sensor) if sensor else None
    if bands:
        return NamedBands(tuple(bands), _numbered(found, bands), (known,) if known else ())
    colours = [s for s in found if s.color != "alpha"]
    named = _by_label(colours, known) or _by_layout(colours, known) or _by_colour(colours)
    if named is None:
        raise BandError(_advice(colours, known))
    return _distinct(named)


def of_one_size(named: NamedBands) -> NamedBands:
    """The bands with pixels of the size of red (or of the first band): a product's folder holds several sizes."""
    main = named.sources[named.names.index("red") if "red" in named.names else 0]
    fits = [source.shape == main.shape for source in named.sources]
    left = ", ".join(name for name, fit in zip(named.names, fits, strict=True) if not fit)
    if not left:
        return named
    note = Message("Left out because their pixel size differs: {left}.", left=left)
    names, sources = tuple(compress(named.names, fits)), tuple(compress(named.sources, fits))
    return replace(named, names=names, sources=sources, notes=(*named.notes, note))


def _numbered(found: Sequence[BandHeader], bands: Mapping[str, int]) -> tuple[BandHeader, ...]:
    for name, number in bands.items():
        if not 1 <= number <= len(found):
            raise BandError(
                "--bands {name}={number}: the scene has bands 1 to {count}", name=name, number=number, count=len(found)
            )
    return tuple(found[number - 1] for number in bands.values())


def _by_label(found: Sequence[BandHeader], sensor: Sensor | None) -> NamedBands | None:
    if not any(s.label for s in found):
        return None
    labels = _distinguishing([s.label for s in found])
    fitting = (sensor,) if sensor else _fitting(found, labels)
    names = [_agreed(label, fitting) or _word(label) for label in labels]
    if not any(names):
        return None
    named = NamedBands(_filled(names, found), tuple(found), fitting)
    if sensor or not fitting or all(_word(label) == name for label, name in zip(labels, named.names, strict=True)):
        return named
    titles = " / ".join(each.title for each in fitting)
    return replace(named, notes=(Message("Band names read as those of {fitting}.", fitting=titles),))


def _distinguishing(labels: Sequence[str]) -> list[str]:
    """Labels in lower case, without colours that all of them name (a scene of the Red River)."""
    words = [_tokens(label.lower()) for label in labels]
    shared = set.intersection(*map(set, words)) & set(COMMON) if len(words) > 1 else set()
    return ["_".join(word for word in own if word not in shared) for own in words]


def _fitting(found: Sequence[BandHeader], labels: Sequence[str]) -> tuple[Sensor, ...]:
    """Sensors whose files have such names, or else those that know all labels, by the longest matches.

    SR_B4 is Landsat's alone, B4 is the name of a band of many sensors.
    """
    shelf = sensors()
    names = {source.path.stem for source in found}
    marked = tuple(s for s in shelf if s.file_names and all(re.search(s.file_names, name) for name in names))
    if marked:
        return marked
    codes = {sensor: [_code(label, sensor) for label in labels if label] for sensor in shelf}
    known = {sensor: len("".join(filter(None, own))) for sensor, own in codes.items() if all(own)}
    return tuple(sensor for sensor, length in known.items() if length == max(known.values()))


def _code(label: str, sensor: Sensor) -> str | None:
    """The longest of the sensor's names for a band that stands in a text such as t33uxp_20170101_b04_10m."""
    codes = [code for code in sensor.aliases if f"_{code}_" in f"_{label}_"]
    return max(codes, key=len, default=None)


def _agreed(label: str, sensors: Sequence[Sensor]) -> str | None:
    codes = [(sensor, _code(label, sensor)) for sensor in sensors]
    meant = {sensor.aliases[code] if code else None for sensor, code in codes}
    return meant.pop() if len(meant) == 1 else None


def _word(label: str) -> str | None:
    """The common name that a text holds, if it holds just one."""
    text = re.sub(r"near_?infra_?red", "nir", re.sub("red_edge", "rededge", label))
    hits = {COMMON[token] for token in _tokens(text) if token in COMMON}
    return hits.pop() if len(hits) == 1 else None


def _tokens(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text)


def _by_layout(found: Sequence[BandHeader], sensor: Sensor | None) -> NamedBands | None:
    layout = sensor.layout(len(found)) if sensor else None
    if sensor is None or layout is None:
        return None
    note = Message("Bands taken in the order of {title}: {layout}.", title=sensor.title, layout=", ".join(layout))
    return NamedBands(layout, tuple(found), (sensor,), (note,))


def _by_colour(found: Sequence[BandHeader]) -> NamedBands | None:
    colours = [s.color for s in found]
    if {"red", "green", "blue"} <= set(colours):
        names = [c if c in ("red", "green", "blue", "nir") else None for c in colours]
        return NamedBands(_filled(names, found), tuple(found), ())
    if len(found) == 3 and all(s.dtype == "uint8" for s in found):
        note = Message("Bands 1, 2, 3 taken as red, green, blue.")
        return NamedBands(("red", "green", "blue"), tuple(found), (), (note,))
    return None


def _filled(names: Sequence[str | None], found: Sequence[BandHeader]) -> tuple[str, ...]:
    """Names where they are known, else the description, else the number."""
    labels = ["" if MEANINGLESS.fullmatch(s.label) else s.label for s in found]
    return tuple(n or label or f"band_{i}" for i, (n, label) in enumerate(zip(names, labels, strict=True), start=1))


def _distinct(named: NamedBands) -> NamedBands:
    for name in named.names:
        places = [str(i) for i, other in enumerate(named.names, start=1) if other == name]
        if len(places) > 1:
            which = ", ".join(places)
            raise BandError(
                "bands {which} are all called {name}; choose with --bands {name}={places},...",
                which=which,
                name=name,
                places=places[0],
            )
    return named


def _advice(found: Sequence[BandHeader], sensor: Sensor | None) -> Message:
    name, count = found[0].path.name, len(found)
    one = Message("{name} has 1 band without a name", name=name)
    nameless = one if count == 1 else Message("{name} has {count} bands without names", name=name, count=count)
    if sensor:
        return Message(
            "{nameless}, {sensor} has {count}; name them with --bands red=3,green=2,blue=1",
            nameless=nameless,
            sensor=sensor.name,
            count=len(sensor.bands),
        )
    return Message(
        "{nameless}; name them with --bands red=3,green=2,blue=1 or --sensor ({sensors})",
        nameless=nameless,
        sensors=", ".join(sensor_names()),
    )


def added_to(source: BandHeader, *, band: str, is_sentinel2: bool) -> float:
    """What to add to a band's numbers: the offset that tags, product metadata or the product's name declare, else 0.

    Source: ESA, Sentinel-2 Products Specification Document, RADIO_ADD_OFFSET (L1C) and BOA_ADD_OFFSET (L2A).
    """
    if source.dtype not in ("uint16", "int16"):  # true colour pictures and reflectances have it applied
        return 0.0
    declared = _from_tags(source.tags)
    if declared is None and is_sentinel2:
        declared = SENTINEL2_OFFSET if round(source.step) == SENTINEL2_OFFSET else _from_product(source.path, band)
    return declared or 0.0


def _from_tags(tags: Mapping[str, str]) -> float | None:
    for key, value in tags.items():
        number = re.search(r"-?\d+(\.\d+)?", value)
        if number and re.fullmatch(r"(BOA|RADIO)_ADD_OFFSET(_\w+)?", key.upper()):
            return float(number[0])
    baseline = re.match(r"N?(\d\d)\.?(\d\d)", tags.get("PROCESSING_BASELINE", ""))
    return _offset_of(baseline)


def _from_product(path: ImageFile, band: str) -> float | None:
    if isinstance(path, Remote):
        return None  # a STAC item says it in a tag
    for folder in list(path.absolute().parents)[:LEVELS_UP]:
        for metadata in sorted(folder.glob("MTD_MSIL*.xml")):
            return _from_metadata(metadata).get(band, 0.0)
        if folder.suffix.upper() == ".SAFE":
            return _offset_of(re.search(r"_N(\d\d)(\d\d)_", folder.name))
    return None


def _offset_of(baseline: re.Match[str] | None) -> float | None:
    if baseline is None:
        return None
    return SENTINEL2_OFFSET if float(f"{baseline[1]}.{baseline[2]}") >= OFFSET_SINCE else 0.0


@lru_cache(maxsize=64)
def _from_metadata(path: Path) -> Mapping[str, float]:
    bands = [band.name for band in load_sensor("sentinel2_l1c").bands]
    offsets = {}
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise SceneError(
            "{path}, which says what offset the bands have, is damaged ({error}); get it again", path=path, error=error
        ) from error
    for element in root.iter():
        if element.tag.endswith("_ADD_OFFSET") and element.text:
            offsets[bands[int(element.get("band_id", "0"))]] = float(element.text)
    return offsets
