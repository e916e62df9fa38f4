"""QGIS: projects of a map and of a sample, styled, which still open after their folder was moved."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent, tostring

import rasterio
from pyogrio import read_info
from rasterio.crs import CRS
from rasterio.io import DatasetReader

from cropland.geo.reading import ImageFile, Remote, reading
from cropland.geo.scene import COLOURS, Scene
from cropland.language import Message, shown
from cropland.probability import ONE
from cropland.writers import replacing

__all__ = [
    "comparison_styles",
    "faults_style",
    "how_drawn",
    "parcels_style",
    "write_comparison_project",
    "write_qgis",
    "write_sample_project",
    "write_style",
    "write_suggestions_project",
]

VERSION = "3.22.0"  # the oldest that is known to open it
RAMP = {0: "#f7f3e8", 64: "#e3d9a7", 127: "#b5c46b", 190: "#5f9a3a", ONE: "#1c5c2a"}
LOOKS_ENDS = "#fff7bc", "#8c2d04"  # seen once, and as often as any place
BOUNDARY_RAMP = {0: "#f7f3e8", 64: "#ecc9a0", 127: "#d9894f", 190: "#a8492b", ONE: "#5c1a1a"}
CLASSES = {0: ("#e9e4d6", Message("not cropland")), 1: ("#548c2f", Message("cropland"))}
OUTLINE = "255,196,0,255"
WIDEST = 3  # pixels of the map that an outline covers at most
EMPTY = "{2839923C-8B7D-419E-B84B-CA2FE9B80EC7}"  # by this a value map of QGIS means NULL (QgsValueMapFieldFormatter)
# What stands in `reference` of a sample: how it is drawn, as filling and ring, and its words.
REFERENCES = {
    None: ("0,0,0,0", "255,221,0,255", Message("not judged yet")),
    1: ("84,140,47,255", "255,255,255,255", Message("cropland")),
    0: ("139,90,43,255", "255,255,255,255", Message("not cropland")),
    255: ("128,128,128,255", "255,255,255,255", Message("cannot tell")),
}
# What a person says of a parcel: the value of `status` as `cropland chips` reads it, and its words.
STATUSES = {
    None: Message("not looked at, or right"),
    "wrong": Message("wrong: not cropland"),
    "missing": Message("missing: I drew it"),
    "redrawn": Message("redrawn: I changed its outline"),
}
# Of faults in parcels, one kind after the other.
FAULTS = ("214,39,40,255", "148,0,211,255", "255,127,14,255", "31,119,180,255", "227,26,140,255", "23,160,160,255")
# Of suggested windows: which they are, the colour of their outlines, and their words.
DONE = (
    ('"done"', "84,140,47,255", Message("done")),
    ('"done" IS NULL OR NOT "done"', "255,255,255,255", Message("to do")),
)
# Of polygons that were compared with a map, and of changes: which, filling, outline, and their words.
DISAGREEMENTS = (
    (
        '"coded" = \'cropland\' AND "disagreement" > 0.5',
        "213,94,0,110",
        "213,94,0,255",
        Message("cropland by its code, not on the map"),
    ),
    (
        '"coded" = \'other\' AND "disagreement" > 0.5',
        "86,180,233,110",
        "86,180,233,255",
        Message("cropland on the map, not by its code"),
    ),
    ("ELSE", "0,0,0,0", "255,255,255,160", Message("the map agrees, or does not know")),
)
KINDS = (
    ("\"kind\" = 'gain'", "0,114,178,90", "0,114,178,255", Message("cropland gained")),
    ("\"kind\" = 'loss'", "204,51,17,90", "204,51,17,255", Message("cropland lost")),
)
# What a person decides of a polygon on which a map disagrees, and of a change.
VERDICTS = {
    None: Message("not judged yet"),
    "map": Message("the map is right"),
    "polygon": Message("the polygon is right"),
    "unclear": Message("cannot tell"),
}


def write_qgis(
    out: Path,
    *,
    title: str,
    scene: ImageFile | None,
    bands: tuple[int, int, int] | int = 1,
    limits: Sequence[tuple[float, float]] = (),
    probability: Path,
    boundary: Path | None = None,
    looks: tuple[Path, int] | None = None,
    mask: Path,
    parcels: Path,
    home: Path | None = None,
) -> None:
    """Write a QGIS 3 project (.qgs) that shows the files of a map by relative paths, a remote scene by its address.

    scene: None to leave it out. bands, limits: of the scene, counted from 1, and the values drawn darkest and
    brightest. boundary: None to leave it out. looks: at how many dates places were seen, and the most. parcels: a
    GeoPackage. home: the folder that the project will be moved to with probability, boundary, mask and parcels beside
    it, if not its own. Raises `OutputError` where `out` cannot be written.
    """
    home = home or out.parent
    with rasterio.open(mask) as grid:
        crs, bounds = grid.crs, tuple(grid.bounds)
        layers = [
            _parcels(parcels, crs, pixel=grid.res[0]),
            _raster("mask", f"./{mask.name}", crs, _palette()),
            *([_raster("boundary", f"./{boundary.name}", crs, _ramp(BOUNDARY_RAMP))] if boundary else []),
            _raster("probability", f"./{probability.name}", crs, _ramp(RAMP)),
            *([_raster("looks", f"./{looks[0].name}", crs, _counts(looks[1]))] if looks else []),
        ]
    if scene is not None:
        layers.append(_scene(scene, crs, bands, limits, home=home))
    _write_project(out, layers, title=title, crs=crs, bounds=bounds, visible=("parcels", "scene"))


def write_sample_project(
    out: Path,
    *,
    title: str,
    sample: Path,
    scene: ImageFile | None,
    bands: tuple[int, int, int] | int = 1,
    limits: Sequence[tuple[float, float]] = (),
) -> None:
    """Write a QGIS 3 project (.qgs) in which the points of a sample are judged, over the scene where there is one.

    sample: a GeoPackage in the folder of `out` with a layer `sample` of points, whose `reference` is empty, 1 cropland,
    0 not cropland or 255 cannot tell: points are coloured by it, and the form offers these answers in words. bands,
    limits: as in `write_qgis`.
    Raises `OutputError` where `out` cannot be written.
    """
    about = read_info(sample, layer="sample", force_total_bounds=True)
    crs = CRS.from_user_input(about["crs"]) if about["crs"] else None
    layers = [_sample(f"./{sample.name}|layername=sample", crs)]
    if scene is not None:
        layers.append(_scene(scene, crs, bands, limits, home=out.parent))
    _write_project(out, layers, title=title, crs=crs, bounds=about["total_bounds"], visible=("sample", "scene"))


def write_suggestions_project(
    out: Path,
    *,
    title: str,
    windows: Path,
    labels: Path,
    probability: Path,
    scene: ImageFile | None,
    bands: tuple[int, int, int] | int = 1,
    limits: Sequence[tuple[float, float]] = (),
    home: Path | None = None,
) -> None:
    """Write a QGIS 3 project (.qgs) in which the fields of suggested windows are drawn, over the scene where it has a
    file.

    windows: a GeoPackage in the folder of `out` with a layer `windows`, whose `rank` is shown and whose `done` a person
    ticks; its other columns are locked. labels: one with an empty layer `labels` of polygons. bands, limits, home: as
    in `write_qgis`. Raises `OutputError` where `out` cannot be written.
    """
    about = read_info(windows, layer="windows", force_total_bounds=True)
    crs = CRS.from_user_input(about["crs"])
    layers = [
        _labels(f"./{labels.name}|layername=labels", crs),
        _windows(f"./{windows.name}|layername=windows", crs, fields=about["fields"]),
        _raster("probability", f"./{probability.name}", crs, _ramp(RAMP)),
    ]
    if scene is not None:
        layers.append(_scene(scene, crs, bands, limits, home=home or out.parent))
    visible = ("labels", "windows", "scene")
    _write_project(out, layers, title=title, crs=crs, bounds=about["total_bounds"], visible=visible)


def write_comparison_project(
    out: Path,
    *,
    title: str,
    polygons: Path,
    changes: Path,
    imagery: Mapping[str, Any] | None,
    home: Path | None = None,
) -> None:
    """Write a QGIS 3 project (.qgs) of polygons that were compared with a map, and of the changes that were found.

    polygons, changes: GeoPackages in the folder of `out` with a layer of that name, in whose column `verdict` a person
    says who is right; their other columns are locked. imagery: as `how_drawn` says, None to leave it out. home: as in
    `write_qgis`. Raises `OutputError` where `out` cannot be written.
    """
    about = {path.stem: read_info(path, layer=path.stem, force_total_bounds=True) for path in (changes, polygons)}
    crs = CRS.from_user_input(about["polygons"]["crs"])
    layers = []
    for name, renderer in (("changes", _by_kind()), ("polygons", _by_disagreement())):
        own = CRS.from_user_input(about[name]["crs"])
        layer = _layer(name, f"./{name}.gpkg|layername={name}", own, provider="ogr", type="vector", geometry="Polygon")
        layer.append(renderer)
        _widget(SubElement(layer, "fieldConfiguration"), "verdict", "ValueMap").append(_choices(VERDICTS))
        _lock(layer, ("fid", *(field for field in about[name]["fields"] if field != "verdict")))
        layers.append(layer)
    if imagery is not None and imagery["scene"] is not None:
        shown_as = imagery["scene"], crs, imagery["bands"], imagery["limits"]
        layers.append(_scene(*shown_as, home=home or out.parent))
    bounds = about["polygons"]["total_bounds"]
    _write_project(out, layers, title=title, crs=crs, bounds=bounds, visible=("polygons", "changes", "scene"))


def comparison_styles() -> dict[str, str]:
    """The look of the layers `polygons` and `changes` of a comparison, each as the content of a style (.qml)."""
    return {"polygons": _style(_by_disagreement()), "changes": _style(_by_kind())}


def how_drawn(imagery: Scene) -> dict[str, Any]:
    """How a project draws imagery: in its colours where it has them, else its first band in grey."""
    chosen = COLOURS if set(COLOURS) <= set(imagery.bands) else imagery.bands[:1]
    numbers, found = [imagery.bands.index(band) + 1 for band in chosen], imagery.statistics(chosen)
    return {
        "scene": None if imagery.is_temporary else imagery.files[0],
        "bands": tuple(numbers) if len(numbers) == 3 else numbers[0],
        "limits": list(zip(found.low, found.high, strict=True)),
    }


def _write_project(
    out: Path,
    layers: Sequence[Element],
    *,
    title: str,
    crs: CRS | None,
    bounds: Sequence[float],
    visible: Sequence[str],
) -> None:
    qgis = Element("qgis", projectname=title, version=VERSION)
    _text(qgis, "title", title)
    _crs(SubElement(qgis, "projectCrs"), crs)
    _tree(qgis, layers, visible=visible)
    _canvas(qgis, crs, bounds)
    SubElement(qgis, "projectlayers").extend(layers)
    properties = SubElement(qgis, "properties")
    SubElement(SubElement(properties, "Paths"), "Absolute", type="bool").text = "false"
    SubElement(SubElement(properties, "SpatialRefSys"), "ProjectionsEnabled", type="int").text = "1"
    indent(qgis)
    with replacing(out) as hidden:
        ElementTree(qgis).write(hidden, encoding="utf-8", xml_declaration=True)


def parcels_style(*, pixel: float) -> str:
    """The look of parcels in the project as the content of a style (.qml).

    pixel: edge of a pixel of the mask in units of the CRS; an outline covers at most three of them.
    """
    return _style(_outline(pixel))


def _style(renderer: Element) -> str:
    style = Element("qgis", version=VERSION, styleCategories="Symbology")
    style.append(renderer)
    indent(style)
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{tostring(style, encoding='unicode')}\n"


def faults_style(words_of: Mapping[str, str]) -> str:
    """The look of points by their column `kind` as the content of a style (.qml); words_of: each kind in words."""
    renderer = Element("renderer-v2", type="RuleRenderer")
    rules, symbols = SubElement(renderer, "rules", key="faults"), SubElement(renderer, "symbols")
    for number, (kind, words) in enumerate(words_of.items()):
        rule = {
            "filter": f"\"kind\" = '{kind}'",
            "symbol": str(number),
            "label": shown(words),
            "key": f"fault_{number}",
        }
        SubElement(rules, "rule", rule)
        _marker(symbols, str(number), filling=FAULTS[number % len(FAULTS)], ring="255,255,255,255")
    return _style(renderer)


def write_style(out: Path, *, pixel: float) -> None:
    """Write `parcels_style` as a file, in which QGIS opens a file of that name beside it.

    Not as a table in the GeoPackage of a map: that would be a second layer, of which geopandas warns and which GDAL
    cannot convert with the first. Raises `OutputError` where `out` cannot be written.
    """
    with replacing(out) as hidden:
        hidden.write_text(parcels_style(pixel=pixel), encoding="utf-8")


def _scene(
    scene: ImageFile,
    crs: CRS | None,
    bands: tuple[int, int, int] | int,
    limits: Sequence[tuple[float, float]],
    *,
    home: Path,
) -> Element:
    with reading(scene) as image:
        return _raster("scene", _relative(scene, home), image.crs or crs, _stretched(image, bands, limits))


def _relative(path: ImageFile, home: Path) -> str:
    if isinstance(path, Remote):
        return path.gdal
    try:
        return Path(os.path.relpath(path, home)).as_posix()
    except ValueError:  # another drive of Windows has no relative path
        return path.absolute().as_posix()


def _text(parent: Element, tag: str, text: object) -> None:
    SubElement(parent, tag).text = str(text)


def _crs(parent: Element, crs: CRS | None) -> None:
    system = SubElement(parent, "spatialrefsys")
    if crs:
        code = crs.to_epsg()
        _text(system, "wkt", crs.to_wkt())
        _text(system, "authid", f"EPSG:{code}" if code else "")


def _tree(qgis: Element, layers: Sequence[Element], *, visible: Sequence[str]) -> None:
    """The list of layers, the topmost first."""
    group = SubElement(qgis, "layer-tree-group")
    for layer in layers:
        number, name, provider = (layer.findtext(tag, "") for tag in ("id", "layername", "provider"))
        checked = "Qt::Checked" if name in visible else "Qt::Unchecked"
        SubElement(group, "layer-tree-layer", id=number, name=name, providerKey=provider, checked=checked, expanded="0")


def _canvas(qgis: Element, crs: CRS | None, bounds: Sequence[float]) -> None:
    canvas = SubElement(qgis, "mapcanvas", name="theMapCanvas")
    extent = SubElement(canvas, "extent")
    for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True):
        _text(extent, tag, value)
    _crs(SubElement(canvas, "destinationsrs"), crs)


def _layer(name: str, source: str, crs: CRS | None, *, provider: str, **attributes: str) -> Element:
    layer = Element("maplayer", attributes)
    # QGIS gives a layer another id where it has fewer than ten letters, and then misses it in the tree.
    for tag, text in (("id", f"cropland_{name}"), ("datasource", source), ("layername", name)):
        _text(layer, tag, text)
    _crs(SubElement(layer, "srs"), crs)
    SubElement(layer, "provider", encoding="UTF-8").text = provider
    return layer


def _raster(name: str, source: str, crs: CRS | None, renderer: Element) -> Element:
    layer = _layer(name, source, crs, provider="gdal", type="raster")
    SubElement(layer, "pipe").append(renderer)
    return layer


def _renderer(kind: str, **attributes: str) -> Element:
    return Element("rasterrenderer", {"type": kind, "opacity": "1", "alphaBand": "-1", **attributes})


def _palette() -> Element:
    renderer = _renderer("paletted", band="1")
    palette = SubElement(renderer, "colorPalette")
    for value, (colour, label) in CLASSES.items():
        SubElement(palette, "paletteEntry", value=str(value), color=colour, label=shown(label), alpha="255")
    return renderer


def _ramp(colours: Mapping[int, str]) -> Element:
    return _interpolated({value: (colour, f"{value / ONE:.0%}") for value, colour in colours.items()})


def _counts(most: int) -> Element:
    """Of what was never seen nothing is drawn: `clip` leaves out what lies below the ramp."""
    few, many = LOOKS_ENDS
    return _interpolated({1: (few, "1"), max(most, 2): (many, str(max(most, 2)))}, clip=True)


def _interpolated(items: Mapping[int, tuple[str, str]], *, clip: bool = False) -> Element:
    """A ramp between values, each with its colour and label."""
    low, high = str(min(items)), str(max(items))
    renderer = _renderer("singlebandpseudocolor", band="1", classificationMin=low, classificationMax=high)
    range_of = {
        "minimumValue": low,
        "maximumValue": high,
        "colorRampType": "INTERPOLATED",
        "classificationMode": "1",
    }
    shader = SubElement(SubElement(renderer, "rastershader"), "colorrampshader", range_of, clip=str(int(clip)))
    for value, (colour, label) in items.items():
        SubElement(shader, "item", value=str(value), color=colour, label=label, alpha="255")
    return renderer


def _stretched(
    image: DatasetReader, bands: tuple[int, int, int] | int, limits: Sequence[tuple[float, float]]
) -> Element:
    """Three bands as red, green and blue, or one in grey; the first band in grey where each has a file of its own."""
    numbers = (bands,) if isinstance(bands, int) else bands
    if len(numbers) == 1 or max(numbers) > image.count:
        renderer = _renderer("singlebandgray", grayBand=str(min(numbers[0], image.count)), gradient="BlackToWhite")
        _enhancement(renderer, "contrastEnhancement", limits[0])
        return renderer
    colours = ("red", "green", "blue")
    numbered = {f"{colour}Band": str(number) for colour, number in zip(colours, numbers, strict=True)}
    renderer = _renderer("multibandcolor", **numbered)
    for colour, between in zip(colours, limits, strict=True):
        _enhancement(renderer, f"{colour}ContrastEnhancement", between)
    return renderer


def _enhancement(renderer: Element, tag: str, limits: tuple[float, float]) -> None:
    enhancement = SubElement(renderer, tag)
    values = (*limits, "StretchToMinimumMaximum")
    for name, value in zip(("minValue", "maxValue", "algorithm"), values, strict=True):
        _text(enhancement, name, value)


def _parcels(parcels: Path, crs: CRS | None, *, pixel: float) -> Element:
    source = f"./{parcels.name}|layername=parcels"
    layer = _layer("parcels", source, crs, provider="ogr", type="vector", geometry="Polygon")
    layer.append(_outline(pixel))
    configuration = SubElement(layer, "fieldConfiguration")
    _widget(configuration, "status", "ValueMap").append(_choices(STATUSES))
    _lock(layer, ("fid", *(name for name in read_info(parcels)["fields"] if name != "status")))
    return layer


def _outline(pixel: float) -> Element:
    """Outlines of 0.4 mm, at small scales thinner: they cover at most `WIDEST` pixels."""
    renderer = Element("renderer-v2", type="singleSymbol")
    width = {"outline_width": str(WIDEST * pixel), "outline_width_unit": "MapUnit"}
    width["outline_width_map_unit_scale"] = "3x:0,0,0,0,1,0.4"
    _fill(SubElement(renderer, "symbols"), "0", style="no", outline_color=OUTLINE, **width)
    return renderer


def _sample(source: str, crs: CRS | None) -> Element:
    layer = _layer("sample", source, crs, provider="ogr", type="vector", geometry="Point")
    layer.append(_by_reference())
    configuration = SubElement(layer, "fieldConfiguration")
    _widget(configuration, "reference", "ValueMap").append(
        _choices({value: words for value, (_, _, words) in REFERENCES.items()})
    )
    _widget(configuration, "note", "TextEdit")
    _lock(layer, ("fid", "id"))
    return layer


def _lock(layer: Element, fields: Iterable[str]) -> None:
    """Let nobody change these fields in the form."""
    editable = SubElement(layer, "editable")
    for name in fields:
        SubElement(editable, "field", name=name, editable="0")


def _labels(source: str, crs: CRS | None) -> Element:
    layer = _layer("labels", source, crs, provider="ogr", type="vector", geometry="Polygon")
    renderer = SubElement(layer, "renderer-v2", type="singleSymbol")
    _fill(SubElement(renderer, "symbols"), "0", color="255,196,0,50", style="solid", outline_color=OUTLINE)
    return layer


def _windows(source: str, crs: CRS | None, *, fields: Iterable[str]) -> Element:
    """Outlines by what is done, with the rank in each."""
    layer = _layer("windows", source, crs, provider="ogr", type="vector", geometry="Polygon", labelsEnabled="1")
    renderer = SubElement(layer, "renderer-v2", type="RuleRenderer")
    rules, symbols = SubElement(renderer, "rules", key="windows"), SubElement(renderer, "symbols")
    for number, (condition, colour, words) in enumerate(DONE):
        about = {"filter": condition, "symbol": str(number), "label": shown(words), "key": f"done_{number}"}
        SubElement(rules, "rule", about)
        _fill(symbols, str(number), style="no", outline_color=colour, outline_width="0.8", outline_width_unit="MM")
    settings = SubElement(SubElement(layer, "labeling", type="simple"), "settings")
    text = {"fieldName": "rank", "isExpression": "0", "fontSize": "14", "fontSizeUnit": "Point", "fontWeight": "75"}
    style = SubElement(settings, "text-style", {**text, "textColor": "255,255,255,255", "textOpacity": "1"})
    halo = {"bufferDraw": "1", "bufferSize": "1", "bufferSizeUnits": "MM", "bufferOpacity": "1"}
    SubElement(style, "text-buffer", {**halo, "bufferColor": "35,48,31,255"})
    SubElement(settings, "placement", placement="1", centroidInside="1")  # over the middle of the window
    _widget(SubElement(layer, "fieldConfiguration"), "done", "CheckBox")
    _lock(layer, ("fid", *(name for name in fields if name != "done")))
    return layer


def _by_disagreement() -> Element:
    return _rules("polygons", DISAGREEMENTS)


def _by_kind() -> Element:
    return _rules("changes", KINDS)


def _rules(name: str, looks: Iterable[tuple[str, str, str, str]]) -> Element:
    """A rule for each condition: filling, outline and words."""
    renderer = Element("renderer-v2", type="RuleRenderer")
    rules, symbols = SubElement(renderer, "rules", key=name), SubElement(renderer, "symbols")
    for number, (condition, filling, ring, words) in enumerate(looks):
        about = {"filter": condition, "symbol": str(number), "label": shown(words), "key": f"{name}_{number}"}
        SubElement(rules, "rule", about)
        style = {"style": "solid", "color": filling, "outline_color": ring}
        _fill(symbols, str(number), **style, outline_width="0.4", outline_width_unit="MM")
    return renderer


def _fill(symbols: Element, name: str, **look: str) -> None:
    """A symbol of that name for polygons."""
    symbol = SubElement(symbols, "symbol", type="fill", name=name, alpha="1")
    fill = SubElement(symbol, "layer", {"class": "SimpleFill"}, enabled="1", locked="0")
    for key, value in {"outline_style": "solid", "joinstyle": "round", **look}.items():
        SubElement(fill, "prop", k=key, v=value)


def _by_reference() -> Element:
    """One rule per value. Categories would not do: in them an empty value is also all that have no category."""
    renderer = Element("renderer-v2", type="RuleRenderer")
    rules, symbols = SubElement(renderer, "rules", key="sample"), SubElement(renderer, "symbols")
    for number, (value, (filling, ring, words)) in enumerate(REFERENCES.items()):
        condition = '"reference" IS NULL' if value is None else f'"reference" = {value}'
        about = {"filter": condition, "symbol": str(number), "label": shown(words), "key": f"reference_{value}"}
        SubElement(rules, "rule", about)
        _marker(symbols, str(number), filling=filling, ring=ring)
    return renderer


def _marker(symbols: Element, name: str, *, filling: str, ring: str) -> None:
    """A symbol of that name for points."""
    symbol = SubElement(symbols, "symbol", type="marker", name=name, alpha="1")
    marker = SubElement(symbol, "layer", {"class": "SimpleMarker"}, enabled="1", locked="0")
    look = {"name": "circle", "color": filling, "outline_color": ring, "outline_width": "0.6", "size": "3.4"}
    for key, of in {**look, "outline_width_unit": "MM", "size_unit": "MM"}.items():
        SubElement(marker, "prop", k=key, v=of)


def _widget(configuration: Element, field: str, kind: str) -> Element:
    widget = SubElement(SubElement(configuration, "field", name=field), "editWidget", type=kind)
    return SubElement(widget, "config")


def _choices(words_of: Mapping[Any, str]) -> Element:
    """The words of a form and the value that each stands for, in their order."""
    options = Element("Option", type="Map")
    choices = SubElement(options, "Option", name="map", type="List")
    for value, words in words_of.items():
        option = SubElement(choices, "Option", type="Map")
        SubElement(option, "Option", name=shown(words), type="QString", value=EMPTY if value is None else str(value))
    return options
