"""How a scene is mapped: pixel sizes, statistics, threshold, and the cut into units; the same at every start."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

from cropland.engines import Described
from cropland.errors import InputError
from cropland.geo.area import default_min_area_m2
from cropland.geo.scene import Scene
from cropland.geo.statistics import Statistics
from cropland.language import Message
from cropland.mapping.units import FLIPS, LEAST_CORE, Cut, Flip, Flipped, Readable, cut_swaths, cut_tiles, least_width
from cropland.model import ModelFile, WorkingPixel

__all__ = ["MapOptions", "Pass", "Plan", "check_statistics", "make_plan", "read_statistics"]


SMALL = 2**20  # pixels; a scene up to that is computed at once: to slide, the field must fill and empty
BYTES_PER_PIXEL = 420  # that the network takes in tiles: measured with the shipped model
SAME_PIXEL = 0.02  # a working pixel this near to the scene's is taken as the scene's: nothing is resampled


@dataclass(frozen=True)
class MapOptions:
    """What a person may decide. Areas in m2, lengths in metres; None: the model's or the scene's."""

    statistics: Statistics | None = None
    threshold: float | None = None
    min_area_m2: float | None = None
    out_pixel_m: float | None = None
    tiles: bool = False  # overlapping tiles even where the network could slide
    tile: int | None = None  # their size in working pixels, which is computed if not given
    memory: int | None = None  # bytes that the network and what it keeps may take
    flips: int = 1  # of how many of the eight flips and rotations the mean is taken


@dataclass(frozen=True)
class Pass:
    """The scene, flipped in one way, and how it is cut."""

    name: str
    readable: Readable
    cut: Cut


@dataclass(frozen=True)
class Plan:
    """All that decides a map; `ratio` and `out_ratio` are the working and the product's pixel over the scene's.

    statistics: those given, else the model's own where its radiometry is fixed, else the scene's from a decimated pass.
    """

    pixel: WorkingPixel
    ratio: float
    out_ratio: float
    grid: GeoBox  # of the product
    statistics: Statistics
    threshold: float
    min_area_m2: float
    radius: int | None
    boundary_threshold: float | None  # of the model; None: that of `find_parcels`
    channels: Mapping[str, int]  # of the network, by what the map holds of them: cropland, and boundary if there is one
    flips: tuple[Flip, ...]
    passes: tuple[Pass, ...]
    notes: tuple[Message, ...]

    @property
    def working_pixels(self) -> int:
        """Of one pass."""
        return prod(self.passes[0].cut.shape)

    @property
    def pixels(self) -> int:
        """Of all passes and the product, for each output."""
        return len(self.passes) * self.working_pixels + prod(map(int, self.grid.shape))

    @property
    def said(self) -> dict[str, Any]:
        """What map.json says of it."""
        cut = self.passes[0].cut
        return {
            "working_pixel_m": self.pixel.pixel_m,
            "ratio": self.ratio,
            "out_ratio": self.out_ratio,
            "threshold": self.threshold,
            "min_area_m2": self.min_area_m2,
            "average": len(self.flips),
            "way": cut.way,
            "units": len(cut.units),
            "unit": list(cut.units[0].core.shape),
            # Unnamed where it is cropland alone, so that such a map is what it was before there was more.
            **(
                {"outputs": list(self.channels), "boundary_threshold": self.boundary_threshold}
                if len(self.channels) > 1
                else {}
            ),
        }


def make_plan(
    scene: Scene,
    model: ModelFile,
    options: MapOptions,
    *,
    engine: Described,
    prepare: Callable[[Cut], None] = lambda _: None,
) -> Plan:
    """The plan of a scene.

    prepare: is told the first cut before the scene is read for its statistics. Raises `BandError` or `InputError` for
    what does not fit, `ModelError` for a network that looks at the whole image and a scene that is too large for it.
    """
    pixel = model.nearest_pixel(scene.pixel_m)
    ratio = pixel.pixel_m / scene.pixel_m
    ratio = 1.0 if abs(ratio - 1) < SAME_PIXEL else ratio
    out_ratio = 1.0 if options.out_pixel_m is None else options.out_pixel_m / scene.pixel_m
    height, width = map(int, scene.working_grid(ratio).shape)
    flips = FLIPS[: options.flips]
    cuts, notes = _cuts((height, width), flips, model, options, engine)
    prepare(cuts[0])
    if ratio != 1:
        resampled = Message(
            "The scene's pixels of {own_m:.3g} m are {how} to the model's nearest, {pixel_m:g} m "
            "(validation IoU {iou:.3f}).",
            own_m=scene.pixel_m,
            how=Message("averaged") if ratio > 1 else Message("interpolated"),
            pixel_m=pixel.pixel_m,
            iou=pixel.iou,
        )
        notes = (resampled, *notes)
    channels = model.channels
    if ignored := [name for name in model.outputs[1:] if name not in channels]:
        notes = (*notes, Message("The map leaves out these outputs of the model: {names}.", names=", ".join(ignored)))
    return Plan(
        pixel,
        ratio,
        out_ratio,
        scene.working_grid(out_ratio),
        check_statistics(options.statistics or model.statistics or scene.statistics(model.bands), model),
        pixel.threshold if options.threshold is None else options.threshold,
        default_min_area_m2(scene.pixel_m) if options.min_area_m2 is None else options.min_area_m2,
        model.radius,
        pixel.boundary_threshold,
        channels,
        flips,
        tuple(
            Pass(f"raster-{number}", Flipped(scene, flip, (height, width)) if number else scene, cut)
            for number, (flip, cut) in enumerate(zip(flips, cuts, strict=True))
        ),
        notes,
    )


def _cuts(
    shape: tuple[int, int], flips: tuple[Flip, ...], model: ModelFile, options: MapOptions, engine: Described
) -> tuple[list[Cut], tuple[Message, ...]]:
    """How each pass is cut; a note where the network should slide and cannot."""
    shapes = [flip.shape(shape) for flip in flips]
    in_tiles = options.tiles or options.tile or model.radius is None or prod(shape) <= SMALL
    why_not = None if in_tiles else engine.no_slide
    if in_tiles or why_not:
        _check_memory(options, _least_tile(shape, model), BYTES_PER_PIXEL)
        at_once = None if options.memory is None else options.memory // BYTES_PER_PIXEL
        notes = (Message("Mapped in overlapping tiles because the network cannot slide: {why}.", why=why_not),)
        return [cut_tiles(each, model, size=options.tile, at_once=at_once) for each in shapes], notes if why_not else ()
    _check_memory(options, least_width(shape[1], model), engine.bytes_per_column)
    widest = None if options.memory is None else options.memory // engine.bytes_per_column
    return [cut_swaths(each, model, widest=widest) for each in shapes], ()


def _least_tile(shape: tuple[int, int], model: ModelFile) -> int:
    """Pixels that the network must see at once: the scene, or the smallest core with its halo."""
    return prod(shape) if model.radius is None else min(prod(shape), (LEAST_CORE + 2 * model.radius) ** 2)


def _check_memory(options: MapOptions, many: int, bytes_each: int) -> None:
    least = many * bytes_each / 1e6
    if options.memory is not None and options.tile is None and options.memory / 1e6 < least:
        raise InputError(
            "--memory of {memory:,.1f} MB is too little: the network needs at least {least:,.0f} MB here",
            memory=options.memory / 1e6,
            least=least,
        )


def check_statistics(given: Statistics, model: ModelFile) -> Statistics:
    """The same. Raises `InputError` for those of other bands than the model's."""
    if given.bands != model.bands:
        raise InputError(
            "the statistics are of {bands}, the model takes {bands2}; use the map.json of a map made with this model",
            bands=", ".join(given.bands),
            bands2=", ".join(model.bands),
        )
    return given


def read_statistics(path: Path) -> Statistics:
    """The statistics that an earlier map used, from its map.json."""
    try:
        return Statistics.from_json(json.loads(path.read_text(encoding="utf-8"))["statistics"])
    except FileNotFoundError as error:
        raise InputError("no file {path}; give the map.json of an earlier map", path=path) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("{path} holds no statistics; give the map.json of an earlier map", path=path) from error
