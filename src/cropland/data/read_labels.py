"""Labels as somebody has them, and the options that say what they mean."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from cyclopts import Parameter

from cropland.data.labels import CROPLAND, OTHER, UNKNOWN, Labels, WholeLabels
from cropland.data.polygon_labels import Inside, PolygonLabels
from cropland.data.raster_labels import RasterLabels, parse_classes
from cropland.errors import LabelError, SceneError
from cropland.geo.reading import dataset
from cropland.geo.vectors import fields, read_polygons, said_fields
from cropland.language import _

__all__ = ["PRESETS", "LabelOptions", "Preset", "read_labels"]

MEANINGS = ("layer", "where", "preset", "encoding", "background", "inside", "unknown_where", "classes")
VALUES = {"cropland": CROPLAND, "other": OTHER, "known": OTHER, "unknown": UNKNOWN}


class Preset(NamedTuple):
    """A survey's own codes: their field, and as SQL which polygons are cropland and which are known to be it or not."""

    field: str
    cropland: str
    known: str


PRESETS = {
    # China's third national land survey, GB/T 21010-2017: 0101 paddy, 0102 irrigated, 0103 dry land. Orchards (02),
    # grass (04) and land that could be turned back into cropland (a K behind the code) count as what they are today.
    "dlbm": Preset("DLBM", "DLBM IN ('0101', '0102', '0103')", known="DLBM IS NOT NULL AND DLBM <> ''")
}


@Parameter(name="*")
@dataclass(frozen=True)
class LabelOptions:
    """Where labels come from and what they mean.

    Parameters
    ----------
    labels
        Polygons in any format and CRS, a raster, or a folder of rasters named as the scenes are.
    layer
        The layer of a file with several, such as a .gdb.
    where
        SQL that selects the polygons that are cropland, as in "crop = 'rice'"; without it all are.
    preset
        In place of --where, a survey's own codes. dlbm: China's land survey; DLBM 0101, 0102, 0103 are cropland, every
        other DLBM is not.
    encoding
        Of the attributes, where a shapefile does not say it, as GBK.
    background
        What lies outside the polygons: known (it is not cropland) or unknown (nobody looked).
    inside
        Polygons of the area that was looked at; outside it everything is unknown.
    unknown_where
        SQL that selects polygons of which nothing is known.
    classes
        What a raster's values mean: 1 cropland, 0 not cropland, 255 unknown, as in "50=1,100=255,*=0".
    whole
        In place of --labels: every pixel of these scenes is cropland, or is something other.
    """

    labels: Path | None = None
    layer: str | None = None
    where: str | None = None
    preset: str | None = None
    encoding: str | None = None
    background: Literal["known", "unknown"] | None = None
    inside: Path | None = None
    unknown_where: str | None = None
    classes: str | None = None
    whole: Literal["cropland", "other"] | None = None

    def given(self, *names: str) -> str:
        """Those of these options that have a value, as they are typed."""
        return ", ".join(f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None)


def read_labels(options: LabelOptions, *, shift: bool = False) -> Labels:
    """Polygons, a raster, a folder of rasters, or one word for whole scenes, as labels that can be laid on a scene.

    `shift` accepts a datum shift that is only roughly known. Raises `LabelError` if an option is missing or does not go
    with these labels, or if no polygon is left; what lies outside polygons is never assumed.
    """
    if options.labels and not options.whole:
        return _from_file(options.labels, options, shift=shift)
    if options.labels or not options.whole:
        raise LabelError(_("give --labels FILE, or --whole cropland or --whole other for every pixel; one of the two"))
    _refuse(options, *MEANINGS)
    return WholeLabels(VALUES[options.whole])


def _from_file(path: Path, options: LabelOptions, *, shift: bool) -> Labels:
    labels = _raster(path, options) if _is_raster(path) else _polygons(path, options, shift=shift)
    if options.inside is None:
        return labels
    area = ((CROPLAND, read_polygons(options.inside)),)
    return Inside(labels, PolygonLabels(area, OTHER, options.inside.name, shift))


def _raster(path: Path, options: LabelOptions) -> Labels:
    _refuse(options, "layer", "where", "preset", "encoding", "background", "unknown_where")
    return RasterLabels(path, None if options.classes is None else parse_classes(options.classes))


def _polygons(path: Path, options: LabelOptions, *, shift: bool) -> Labels:
    _refuse(options, "classes", *(["where"] if options.preset else []))
    if options.background is None:
        raise LabelError(
            _(
                "what lies outside the polygons of {name}? Give --background known (it is not "
                "cropland) or --background unknown (nobody looked); --inside AREA limits it to the "
                "area that was looked at",
                name=path.name,
            )
        )
    layers = tuple(
        (value, read_polygons(path, layer=options.layer, where=sql, encoding=options.encoding))
        for value, sql in _selections(path, options)
    )
    return PolygonLabels(layers, VALUES[options.background], path.name, shift)


def _selections(path: Path, options: LabelOptions) -> list[tuple[int, str | None]]:
    """Values and the SQL of their polygons; later ones cover earlier ones."""
    selections: list[tuple[int, str | None]] = [(CROPLAND, options.where)]
    if options.preset is not None:
        if options.preset not in PRESETS:
            raise LabelError(
                _(
                    "--preset {preset} is not known; there is {presets}",
                    preset=options.preset,
                    presets=", ".join(PRESETS),
                )
            )
        preset = PRESETS[options.preset]
        known = fields(path, layer=options.layer, encoding=options.encoding)
        if preset.field.upper() not in map(str.upper, known):
            raise LabelError(
                _(
                    "--preset {preset} reads the field {field}, and {has}; "
                    "say with --where which polygons are cropland",
                    preset=options.preset,
                    field=preset.field,
                    has=said_fields(path, known),
                )
            )
        selections = [(OTHER, preset.known), (CROPLAND, preset.cropland)]
    return selections + ([(UNKNOWN, options.unknown_where)] if options.unknown_where else [])


def _is_raster(path: Path) -> bool:
    if not path.exists():
        raise LabelError(_("{path} is not there; --labels takes polygons, a raster, or a folder of rasters", path=path))
    if path.is_dir():
        return path.suffix.lower() != ".gdb"
    try:
        dataset(path)
    except SceneError:
        return False
    return True


def _refuse(options: LabelOptions, *names: str) -> None:
    if given := options.given(*names):
        source = options.labels.name if options.labels else f"--whole {options.whole}"
        raise LabelError(
            _(
                "{given} says nothing about {source}: leave it out (polygons take --where or "
                "--preset and --background, a raster takes --classes, --whole takes neither)",
                given=given,
                source=source,
            )
        )
