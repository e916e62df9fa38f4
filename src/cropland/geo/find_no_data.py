"""The rule for no data of a scene, from what its files declare or show."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cropland.errors import SceneError
from cropland.geo.band_names import NamedBands
from cropland.geo.collar import find_collar
from cropland.geo.layers import Layer
from cropland.geo.nodata import NoData
from cropland.geo.sources import Source, has_mask, is_lossy, representable
from cropland.geo.tiles import Window
from cropland.language import _, said

__all__ = ["check_any_data", "find_no_data", "nodata_value"]

DECIDING = ("blue", "green", "red", "nir")  # few, so that validity is one thing whichever bands are read
JPEG_NOISE = 6  # of 255: what JPEG makes of a flat black beside a picture
LOOK = 256  # pixels


def nodata_value(source: Source, named: NamedBands, given: float | None) -> float | None:
    """The no-data value of a band: given, declared, or its sensor's.

    Raises `SceneError` for a value that its type cannot hold.
    """
    if given is not None:
        value = representable(given, source.dtype)
        if value is None and not np.isnan(given):
            raise SceneError(
                _(
                    "--nodata {given:g} cannot occur in {name}, which holds {dtype}",
                    given=given,
                    name=source.path.name,
                    dtype=source.dtype,
                )
            )
        return value
    usual = {sensor.nodata for sensor in named.sensors}
    is_number = not source.dtype.startswith("float") and len(usual) == 1
    return source.nodata if source.nodata is not None or not is_number else usual.pop()


def find_no_data(
    layers: Sequence[Layer], named: NamedBands, found: Sequence[Source], *, shape: tuple[int, int]
) -> tuple[NoData, tuple[str, ...]]:
    """The rule, and a note on what was found. A collar is looked for where nothing is declared."""
    by_name = dict(zip(named.names, layers, strict=True))
    deciding = tuple(by_name[name] for name in DECIDING if name in by_name) or tuple(layers[:4])
    alphas = tuple(Layer(s.path, s.index, s.dtype) for s in found if s.color == "alpha" and s not in named.sources)
    masks = tuple(path for path in dict.fromkeys(s.path for s in found) if has_mask(path))
    no_data = NoData(deciding, alphas, masks)
    declared = alphas or masks or any(layer.nodata is not None for layer in layers)
    if declared or len(layers) < 2:  # a single band of 0 and 1 is a mask, and 0 is no collar there
        return no_data, ()
    noise = JPEG_NOISE if any(is_lossy(s.path) for s in named.sources) else 0
    collar = find_collar(no_data, shape, tolerance=noise)
    if collar is None:
        return no_data, ()
    colour = said("black") if collar.value == 0 else said("white")
    note = said(
        "A {colour} collar ({value:g} in every band, connected to the border) is taken as no data.",
        colour=colour,
        value=collar.value,
    )
    return replace(no_data, collar=collar), (note,)


def check_any_data(no_data: NoData, shape: tuple[int, int], *, name: str) -> None:
    """Refuse a scene without a valid pixel: a look at its middle, then at single pixels all over.

    Raises `SceneError`.
    """
    height, width = shape
    size = min(LOOK, height), min(LOOK, width)
    middle = Window((height - size[0]) // 2, (width - size[1]) // 2, *size)
    if not no_data.is_possible or no_data.valid(middle).any():
        return
    valid = no_data.valid(Window(0, 0, height, width), shape=(min(height, 4 * LOOK), min(width, 4 * LOOK)))
    if not valid.any():
        raise SceneError(_("{name} is all no data; give another scene, or another value with --nodata", name=name))
