"""Whether the numbers of an image are what its bands and its sensor promise: band order, offset, range of values.

Every rule is one that land cannot break. Plants are bright in near infrared and dark in red, bare soil rises from blue
to red (Bowker et al. 1985, NASA RP-1139), and Sentinel-2 sees shadow and water in red and near infrared far below 0.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from cropland.data.finding import DataFinding
from cropland.language import Message

__all__ = ["Numbers", "radiometry_findings"]

# Near infrared in the place of red. Of 170 images 0.001 of the pixels are so at most; with the two exchanged, 0.1 to 1.
REDDER, SHARE_REDDER = 1.5, 0.05
# A false-colour picture (near infrared, red, green) in place of red, green, blue; 0.02 of a true one at most are so.
BRIGHTER, SHARE_FALSE = 1.3, 0.1
# Red and blue exchanged: red varies less than blue, and soil is less red than plants are.
VARIES_LESS, SOIL_LESS_RED = 0.85, -0.03
QUARTERS = 25, 75  # percent: the barest and the greenest pixels

OFFSET = 1000.0  # of Sentinel-2 since baseline 04.00
SENTINEL2_M = 9.0, 21.0  # metres of a pixel of its bands
DARKEST = 0.5  # percent
BELOW_0 = 0.1  # share of pixels below 0 from which an offset was taken off twice

CLIPPED = 0.02  # least share of pixels at 255 in one band
WRAPPED, SPREAD = 0.3, 50.0  # neighbours' correlation, standard deviation of 255: whole turns of 256 were thrown away
EXTREME = 0.5  # share of pixels at the least or the largest value
EIGHT_BIT = 255

Named = Mapping[str, Float64[np.ndarray, " pixel"]]


@dataclass(frozen=True, eq=False)
class Numbers:
    """Pixels of an image, and what is known of them.

    values: in the sensor's units, of one or more windows. dtype: of the file. added: to its numbers, on reading.
    is_sentinel2: whether the names or the user say so; else the size of the pixel decides.
    """

    name: str
    bands: tuple[str, ...]
    windows: Sequence[tuple[Float32[np.ndarray, "band height width"], Bool[np.ndarray, "height width"]]]
    dtype: np.dtype
    pixel_m: float
    added: float = 0.0
    is_sentinel2: bool = False


def radiometry_findings(numbers: Numbers) -> Iterator[DataFinding]:
    """What is wrong with the numbers of an image, if anything is."""
    valid = [values[:, valid] for values, valid in numbers.windows]
    values = np.concatenate(valid, axis=1).astype(np.float64) if valid else np.zeros((len(numbers.bands), 0))
    if values.shape[1] < 1000:
        return
    yield from _range(numbers, values)
    by_name = dict(zip(numbers.bands, values, strict=True))
    yield from _offset(numbers, by_name)
    yield from _order(numbers, by_name)


def _range(numbers: Numbers, values: Float64[np.ndarray, "band pixel"]) -> Iterator[DataFinding]:
    """Numbers that were cut off at 255, or wrapped around there, or that are mostly one extreme."""
    is_byte, whole = numbers.dtype.itemsize == 1, numbers.dtype.kind in "iu"
    at_255 = (values == EIGHT_BIT).mean(axis=1)
    worst = int(at_255.argmax())
    if whole and values.max() == EIGHT_BIT and at_255[worst] > CLIPPED:
        yield DataFinding(
            "warning" if is_byte else "error",
            "range",
            numbers.name,
            Message(
                "{share:.0%} of the pixels of {band} are 255, the largest number of 8 bits: brighter ones were cut off",
                share=float(at_255[worst]),
                band=numbers.bands[worst],
            ),
            Message(
                "Convert the original again, stretched: gdal_translate -ot Byte -scale LOW HIGH 0 255, or keep 16 bits"
            ),
        )
    elif whole and not is_byte and values.max() <= EIGHT_BIT and values.max() > 1:
        yield DataFinding(
            "note",
            "range",
            numbers.name,
            Message(
                "the file holds {dtype}, but no number is above {largest:.0f}: a picture of 8 bits, not measurements",
                dtype=numbers.dtype.name,
                largest=values.max(),
            ),
            Message("Use the original if there is one; do not mix such scenes with measurements of the same sensor"),
        )
    related, spread = _neighbours(numbers), values.std(axis=1)
    noisy = int(np.argmin(related))
    if is_byte and related[noisy] < WRAPPED and spread[noisy] > SPREAD:
        yield DataFinding(
            "error",
            "range",
            numbers.name,
            Message(
                "neighbouring pixels of {band} are hardly related (correlation {related:.2f}): numbers of 16 bits were "
                "written into 8 without a stretch",
                band=numbers.bands[noisy],
                related=float(related[noisy]),
            ),
            Message(
                "Convert the original again, stretched: gdal_translate -ot Byte -scale LOW HIGH 0 255, or keep 16 bits"
            ),
        )
    for band, pixels in zip(numbers.bands, values, strict=True):
        for extreme in dict.fromkeys((pixels.min(), pixels.max())):
            if (share := float((pixels == extreme).mean())) > EXTREME:
                yield DataFinding(
                    "warning",
                    "range",
                    numbers.name,
                    Message(
                        "{share:.0%} of the pixels of {band} are {value:g}, its extreme",
                        share=share,
                        band=band,
                        value=float(extreme),
                    ),
                    Message("If this is no data, say so with --nodata {value:g}", value=float(extreme)),
                )
                return


def _neighbours(numbers: Numbers) -> Float64[np.ndarray, " band"]:
    """The correlation of each pixel with its right neighbour, per band, in the window with most valid pixels."""
    values, valid = max(numbers.windows, key=lambda window: int(window[1].sum()))
    both = valid[:, 1:] & valid[:, :-1]
    left, right = (part[:, both].astype(np.float64) for part in (values[:, :, :-1], values[:, :, 1:]))
    left, right = (part - part.mean(axis=1, keepdims=True) for part in (left, right))
    size = np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    related: np.ndarray = np.divide((left * right).sum(axis=1), size, out=np.ones(len(values)), where=size > 0)
    return related


def _offset(numbers: Numbers, by_name: Named) -> Iterator[DataFinding]:
    """Sentinel-2's offset of baseline 04.00: still in the numbers, or taken off twice."""
    seen = [by_name[band] for band in ("green", "red", "nir") if band in by_name]
    may_be = numbers.is_sentinel2 or SENTINEL2_M[0] < numbers.pixel_m < SENTINEL2_M[1]
    if not seen or not may_be or numbers.dtype.itemsize != 2:
        return
    darkest = [float(np.percentile(band, DARKEST)) for band in seen]
    below = float(max((band < 0).mean() for band in seen))
    if numbers.added == 0 and OFFSET <= min(darkest) < 1.3 * OFFSET:
        yield DataFinding(
            "error",
            "offset",
            numbers.name,
            Message(
                "the darkest pixels of all bands are at {darkest:.0f}, none lies below 1000: numbers of Sentinel-2 "
                "since baseline 04.00, whose offset was not taken off",
                darkest=min(darkest),
            ),
            Message(
                "Open the product with its MTD_MSIL*.xml, or write the offset into the file: "
                "gdal_edit.py -mo BOA_ADD_OFFSET=-1000 FILE"
            ),
        )
    elif below > BELOW_0:
        yield DataFinding(
            "error",
            "offset",
            numbers.name,
            Message("{share:.0%} of the pixels are below 0: the offset of Sentinel-2 was taken off twice", share=below),
            Message("Take the tag out of a file whose numbers have no offset: gdal_edit.py -unsetmd FILE"),
        )


def _order(numbers: Numbers, by_name: Named) -> Iterator[DataFinding]:
    """Bands that look like others."""
    if not {"red", "green", "blue"} <= {*by_name}:
        return
    red, green, blue, infrared = (by_name.get(name) for name in ("red", "green", "blue", "nir"))
    assert red is not None and green is not None and blue is not None, "checked above"
    if infrared is not None:
        share = float(np.mean((red > REDDER * infrared) & (red > BRIGHTER * green)))
        if share > SHARE_REDDER:
            yield _exchanged(numbers, "red", "nir", share)
            return
    share = float(np.mean((red > BRIGHTER * np.maximum(green, blue)) & (green <= blue)))
    if share > SHARE_FALSE:
        yield DataFinding(
            "error",
            "bands",
            numbers.name,
            Message(
                "{share:.0%} of the pixels are far brighter in red than in green and blue, as plants are in near "
                "infrared: this looks like a picture in false colour (near infrared, red, green)",
                share=share,
            ),
            Message("If it is one, name the bands: --bands nir=1,red=2,green=3 (numbers as in your file)"),
        )
        return
    # What separates plants from soil is nearly the same if red and blue change places.
    greenness = 2 * green - red - blue if infrared is None else infrared - red
    greenness = greenness / np.maximum(red + green + blue if infrared is None else infrared + red, 1e-6)
    bare, green_most = np.percentile(greenness, QUARTERS)
    redness = np.log((red.clip(0) + 1) / (blue.clip(0) + 1))
    soil_red = float(np.median(redness[greenness <= bare]) - np.median(redness[greenness >= green_most]))
    steadiness = float(red.std() / max(blue.std(), 1e-9))
    if steadiness < VARIES_LESS and soil_red < SOIL_LESS_RED:
        yield DataFinding(
            "warning",
            "bands",
            numbers.name,
            Message(
                "red varies {steadiness:.2f} times as much as blue, and bare ground is bluer than plants: red and blue "
                "look exchanged",
                steadiness=steadiness,
            ),
            Message("Look at the scene in true colour; if soil is blue, name the bands: --bands red=3,green=2,blue=1"),
        )


def _exchanged(numbers: Numbers, one: str, other: str, share: float) -> DataFinding:
    return DataFinding(
        "error",
        "bands",
        numbers.name,
        Message(
            "{share:.0%} of the pixels are more than 1.5 times as bright in red as in near infrared, which no land is: "
            "the two look exchanged",
            share=share,
        ),
        Message(
            "Name the bands: --bands {one}={first},{other}={second},... (numbers as in your file)",
            one=one,
            first=numbers.bands.index(other) + 1,
            other=other,
            second=numbers.bands.index(one) + 1,
        ),
    )
