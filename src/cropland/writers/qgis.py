"""QGIS: a project with scene, probability, mask and parcels, styled, which still opens after the folder was moved."""

import os
from collections.abc import Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent, tostring

import rasterio
from rasterio.crs import CRS
from rasterio.io import DatasetReader

from cropland.geo.reading import ImageFile, Remote, reading
from cropland.language import Message, shown
from cropland.probability import ONE
from cropland.writers import replacing

__all__ = ["write_qgis", "write_style"]

VERSION = "3.22.0"  # the oldest that is known to open it
RAMP = {0: "#f7f3e8", 64: "#e3d9a7", 127: "#b5c46b", 190: "#5f9a3a", ONE: "#1c5c2a"}
CLASSES = {0: ("#e9e4d6", Message("not cropland")), 1: ("#548c2f", Message("cropland"))}
OUTLINE = "255,196,0,255"
WIDEST = 3  # pixels of the map that an outline covers at most


def write_qgis(
    out: Path,
    *,
    title: str,
    scene: ImageFile | None,
    bands: tuple[int, int, int] | int = 1,
    limits: Sequence[tuple[float, float]] = (),
    probability: Path,
    mask: Path,
    parcels: Path,
    home: Path | None = None,
) -> None:
    """Write a QGIS 3 project (.qgs) that shows the files of a map by relative paths, a remote scene by its address.

    scene: None to leave it out. bands, limits: of the scene, counted from 1, and the values drawn darkest and
    brightest. parcels: a GeoPackage. home: the folder that the project will be moved to with probability, mask and
    parcels beside it, if not its own.
    Raises `OutputError` where `out` cannot be written.
    """
    home = home or out.parent
    with rasterio.open(mask) as grid:
        qgis = Element("qgis", projectname=title, version=VERSION)
        _text(qgis, "title", title)
        _crs(SubElement(qgis, "projectCrs"), grid.crs)
        layers = [
            _parcels(f"./{parcels.name}|layername=parcels", grid.crs, pixel=grid.res[0]),
            _raster("mask", f"./{mask.name}", grid.crs, _palette()),
            _raster("probability", f"./{probability.name}", grid.crs, _ramp()),
        ]
        if scene is not None:
            layers.append(_scene(scene, grid.crs, bands, limits, home=home))
        _tree(qgis, layers, visible=("parcels", "scene"))
        _canvas(qgis, grid)
    SubElement(qgis, "projectlayers").extend(layers)
    properties = SubElement(qgis, "properties")
    SubElement(SubElement(properties, "Paths"), "Absolute", type="bool").text = "false"
    SubElement(SubElement(properties, "SpatialRefSys"), "ProjectionsEnabled", type="int").text = "1"
    indent(qgis)
    with replacing(out) as hidden:
        ElementTree(qgis).write(hidden, encoding="utf-8", xml_declaration=True)


def write_style(out: Path, *, pixel: float) -> None:
    """Write the look of parcels in the project as a style (.qml), in which QGIS opens a file of that name beside it.

    Not as a table in the GeoPackage: that would be a second layer, of which geopandas warns and which GDAL cannot
    convert with the first. pixel: edge of a pixel of the mask in units of the CRS.
    Raises `OutputError` where `out` cannot be written.
    """
    style = Element("qgis", version=VERSION, styleCategories="Symbology")
    style.append(_outline(pixel))
    indent(style)
    text = tostring(style, encoding="unicode")
    with replacing(out) as hidden:
        hidden.write_text(f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}\n", encoding="utf-8")


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


def _canvas(qgis: Element, grid: DatasetReader) -> None:
    canvas = SubElement(qgis, "mapcanvas", name="theMapCanvas")
    extent = SubElement(canvas, "extent")
    for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), grid.bounds, strict=True):
        _text(extent, tag, value)
    _crs(SubElement(canvas, "destinationsrs"), grid.crs)


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


def _ramp() -> Element:
    renderer = _renderer("singlebandpseudocolor", band="1", classificationMin="0", classificationMax=str(ONE))
    range_of = {
        "minimumValue": "0",
        "maximumValue": str(ONE),
        "colorRampType": "INTERPOLATED",
        "classificationMode": "1",
    }
    shader = SubElement(SubElement(renderer, "rastershader"), "colorrampshader", range_of, clip="0")
    for value, colour in RAMP.items():
        SubElement(shader, "item", value=str(value), color=colour, label=f"{value / ONE:.0%}", alpha="255")
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


def _parcels(source: str, crs: CRS | None, *, pixel: float) -> Element:
    layer = _layer("parcels", source, crs, provider="ogr", type="vector", geometry="Polygon")
    layer.append(_outline(pixel))
    return layer


def _outline(pixel: float) -> Element:
    """Outlines of 0.4 mm, at small scales thinner: they cover at most `WIDEST` pixels."""
    renderer = Element("renderer-v2", type="singleSymbol")
    symbol = SubElement(SubElement(renderer, "symbols"), "symbol", type="fill", name="0", alpha="1")
    fill = SubElement(symbol, "layer", {"class": "SimpleFill"}, enabled="1", locked="0")
    width = {"outline_width": str(WIDEST * pixel), "outline_width_unit": "MapUnit"}
    width["outline_width_map_unit_scale"] = "3x:0,0,0,0,1,0.4"
    style = {"style": "no", "outline_color": OUTLINE, "outline_style": "solid", "joinstyle": "round"}
    for key, value in {**style, **width}.items():
        SubElement(fill, "prop", k=key, v=value)
    return renderer
