"""How much a map changes when its images do: another light, air, focus, pixel or stretch, or a step to the side.

Every perturbation is a small pure function of a chip in units of its stretch, and `perturbations` is the table of all:
another one is a function and a line there. A perturbation has one number, the share of the known pixels whose class
changes, averaged over its steps, as Hendrycks and Dietterich (2019, arXiv:1903.12261) average over the severities of a
corruption.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from importlib.resources import files
from statistics import fmean
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from jinja2 import Environment, StrictUndefined
from rich.table import Table
from scipy.ndimage import gaussian_filter

from cropland.errors import InputError
from cropland.evaluation.bootstrap import differences, intervals
from cropland.evaluation.counts import UNKNOWN, Counts, count, ratio
from cropland.evaluation.judge import Judge, only_bands
from cropland.evaluation.score import figures
from cropland.geo.resample import resample, resampled_length, taps
from cropland.geo.scene import Image
from cropland.geo.sensor import sensors
from cropland.geo.statistics import HIGH, LOW
from cropland.language import Message, _, shown
from cropland.page import percent
from cropland.probability import classes
from cropland.progress import progress_bar

if TYPE_CHECKING:
    from cropland.data.chips import Chip, ChipFolder

__all__ = [
    "ChipEffects",
    "Effect",
    "Perturbation",
    "Robustness",
    "Stretched",
    "compared",
    "perturbations",
    "robustness",
]

BLUE_UM = 0.48  # the wavelength at which a haze has its named strength
HAZY = 0.7  # exponent of the wavelength in a hazy atmosphere
Amount = TypeVar("Amount")
Mask = UInt8[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False)
class Stretched:
    """A chip in units of the stretch that the network sees: 0 at the low percentile of a band, 1 at the high one.

    Values outside 0..1 are kept; normalisation clips them to -0.5..1.5 after the perturbation.
    """

    values: Float64[np.ndarray, "band height width"]
    valid: Bool[np.ndarray, "height width"]
    bands: tuple[str, ...]
    pixel_m: float
    id: str


# The perturbations. v is a value in units of the stretch.


def shift(chip: Stretched, by: tuple[int, int]) -> Stretched:
    """The image moved by (rows, columns), down and right if positive; its edge is repeated where nothing moves in."""
    height, width = chip.valid.shape
    rows = np.clip(np.arange(height) - by[0], 0, height - 1)
    cols = np.clip(np.arange(width) - by[1], 0, width - 1)
    return replace(chip, values=chip.values[:, rows][:, :, cols], valid=chip.valid[rows][:, cols])


def shift_back(mask: Mask, by: tuple[int, int], *, shape: tuple[int, int]) -> Mask:
    """The mask of a shifted image where it belongs; 255 where that has moved out of the image."""
    height, width = shape
    rows, cols = np.arange(height) + by[0], np.arange(width) + by[1]
    there = np.logical_and.outer((rows >= 0) & (rows < height), (cols >= 0) & (cols < width))
    return np.where(there, mask[np.ix_(rows.clip(0, height - 1), cols.clip(0, width - 1))], np.uint8(UNKNOWN))


def turn(chip: Stretched, by: tuple[int, bool]) -> Stretched:
    """The image turned by so many quarters counter-clockwise, then mirrored left to right if asked."""
    return replace(chip, values=_turned(chip.values, by), valid=_turned(chip.valid, by))


def turn_back(mask: Mask, by: tuple[int, bool], *, shape: tuple[int, int]) -> Mask:
    """The inverse of `turn` for a mask."""
    quarters, mirrored = by
    back = np.rot90(mask[:, ::-1] if mirrored else mask, -quarters)
    assert back.shape == shape, "a chip that is turned back has its shape again"
    return back


def _turned(pixels: np.ndarray, by: tuple[int, bool]) -> np.ndarray:
    quarters, mirrored = by
    turned = np.rot90(pixels, quarters, axes=(-2, -1))
    return turned[..., ::-1] if mirrored else turned


def brightness(chip: Stretched, gain: float) -> Stretched:
    """v' = gain v: the same ground in more or less light."""
    return replace(chip, values=chip.values * gain)


def contrast(chip: Stretched, gain: float) -> Stretched:
    """v' = 0.5 + gain (v - 0.5), about the middle of the stretch and so the same for every chip."""
    return replace(chip, values=0.5 + gain * (chip.values - 0.5))


def gamma(chip: Stretched, exponent: float) -> Stretched:
    """v' = sign(v) |v|^exponent: 0 and 1 stay; below an exponent of 1 the middle becomes brighter."""
    return replace(chip, values=np.sign(chip.values) * np.abs(chip.values) ** exponent)


def haze(chip: Stretched, strength: float) -> Stretched:
    """v' = (1 - h) v + h: a share h of each band is a white veil, more in blue than in red.

    h = strength (wavelength / 0.48 um)^-0.7, with the exponent that Chavez (1988, doi:10.1016/0034-4257(88)90019-3)
    gives for a hazy atmosphere; the mixture is that of Koschmieder (1924), see He et al. (2011,
    doi:10.1109/TPAMI.2010.168). The wavelength of a band is that of its common name, the mean of the sensors on the
    shelf; a band that none of them has takes h = strength.
    """
    lengths_um = [wavelength_um(band) or BLUE_UM for band in chip.bands]
    share = np.minimum(strength * (np.array(lengths_um) / BLUE_UM) ** -HAZY, 1)[:, None, None]
    return replace(chip, values=(1 - share) * chip.values + share)


@cache
def wavelength_um(band: str) -> float | None:
    """The mean central wavelength of the bands of that common name on the shelf of sensors; None if there is none."""
    centres = [fmean(each.wavelength_um) for sensor in sensors() for each in sensor.bands if each.name == band]
    return fmean(centres) if centres else None


def blur(chip: Stretched, sigma_px: float) -> Stretched:
    """v' = (G * v valid) / (G * valid), with a Gaussian G of `sigma_px` pixels of the chip; no data never bleeds in."""
    weight = gaussian_filter(chip.valid.astype(np.float64), sigma_px, mode="nearest")
    known = [gaussian_filter(np.where(chip.valid, band, 0), sigma_px, mode="nearest") for band in chip.values]
    return replace(chip, values=np.stack(known) / np.where(chip.valid, weight, 1))


def noise(chip: Stretched, amount: tuple[float, int]) -> Stretched:
    """v' = v + deviation n, n ~ N(0, 1) per pixel and band; the amount is (deviation, seed >= 0).

    n follows from the seed and the chip's name alone, so that neither the order of chips nor the deviation changes it.
    """
    deviation, seed = amount
    normal = np.random.default_rng([seed, *chip.id.encode()]).standard_normal(chip.values.shape)
    return replace(chip, values=chip.values + deviation * normal)


def quantise(chip: Stretched, levels: int) -> Stretched:
    """v' = round(v (levels - 1)) / (levels - 1): so many equal levels from 0 to 1, and as dense beyond."""
    return replace(chip, values=np.rint(chip.values * (levels - 1)) / (levels - 1))


def saturate(chip: Stretched, limits: tuple[float, float]) -> Stretched:
    """v' = v clipped to the limits: a picture that was stretched when it was exported has lost what lies outside."""
    return replace(chip, values=chip.values.clip(*limits))


def stretch(chip: Stretched, percents: tuple[float, float]) -> Stretched:
    """v' = (v - a) / (b - a), with a and b two percentiles of the chip's own valid pixels, per band.

    That is what a window shows that is stretched by itself and not with its scene. A band without contrast is only
    moved, as `cropland.geo.statistics.percentiles` does.
    """
    if not chip.valid.any():
        return chip
    low, high = np.percentile(chip.values[:, chip.valid], percents, axis=1)[:, :, None, None]
    return replace(chip, values=(chip.values - low) / np.where(high > low, high - low, 1))


def resize(chip: Stretched, ratio: float) -> Stretched:
    """The image at pixels `ratio` times as large: area means to coarser pixels, bilinear to finer ones."""
    shape = chip.valid.shape
    rows, cols = (taps(ratio, start=0, count=resampled_length(each, ratio), length=each) for each in shape)
    values, valid = resample(chip.values, chip.valid, rows=rows, cols=cols)
    assert valid is not None
    return replace(chip, values=values.astype(np.float64), valid=valid, pixel_m=chip.pixel_m * ratio)


def resize_back(mask: Mask, ratio: float, *, shape: tuple[int, int]) -> Mask:
    """The class of the pixel that the centre of each pixel of the chip lies in."""
    rows, cols = (
        np.minimum((np.arange(length) + 0.5) / ratio, resized - 1).astype(np.int64)
        for length, resized in zip(shape, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, cols)]


def missing_band(chip: Stretched, band: str) -> Stretched:
    """v' = 0 in one band.

    That is what a file with an empty band shows: its percentiles are equal, and every value is normalised to 0. The
    mean of the other bands would need others, and would bring in what the file does not have.
    """
    is_missing = np.array([each == band for each in chip.bands])[:, None, None]
    return replace(chip, values=np.where(is_missing, 0, chip.values))


def as_it_is(mask: Mask, _amount: object, *, shape: tuple[int, int]) -> Mask:
    """The mask of a perturbation that leaves every pixel in its place."""
    assert mask.shape == shape
    return mask


@dataclass(frozen=True)
class Perturbation(Generic[Amount]):
    """Its steps by name, each with the amount that `change` takes, and how a mask comes back to the chip's grid."""

    name: str
    change: Callable[[Stretched, Amount], Stretched]
    steps: Mapping[str, Amount]
    back: Callable[..., Mask] = as_it_is


def perturbations(bands: Sequence[str], *, seed: int = 0) -> tuple[Perturbation[Any], ...]:
    """Every perturbation, for a model of these bands; lengths are in pixels of the chip, amounts in its stretch."""
    return (
        Perturbation(
            Message("shift by one pixel"),
            shift,
            {Message("up"): (-1, 0), Message("down"): (1, 0), Message("left"): (0, -1), Message("right"): (0, 1)},
            shift_back,
        ),
        Perturbation(
            Message("flips and turns"),
            turn,
            {
                Message("left to right"): (0, True),
                Message("top to bottom"): (2, True),
                **{f"{90 * quarters}°": (quarters, False) for quarters in (1, 2, 3)},
            },
            turn_back,
        ),
        Perturbation(Message("brightness"), brightness, {"-20 %": 0.8, "+20 %": 1.2}),
        Perturbation(Message("contrast"), contrast, {"-20 %": 0.8, "+20 %": 1.2}),
        Perturbation("gamma", gamma, {"0.8": 0.8, "1.25": 1.25}),
        Perturbation(Message("haze"), haze, {"10 %": 0.1, "20 %": 0.2, "30 %": 0.3}),
        Perturbation(Message("blur"), blur, {"0.5 px": 0.5, "1 px": 1.0, "2 px": 2.0}),
        Perturbation(Message("noise"), noise, {"1 %": (0.01, seed), "2 %": (0.02, seed), "5 %": (0.05, seed)}),
        Perturbation(Message("fewer levels"), quantise, {"256": 256, "64": 64}),
        Perturbation(Message("saturation"), saturate, {"0..1": (0.0, 1.0)}),
        Perturbation(Message("pixel size"), resize, {"x0.5": 0.5, "x0.7": 0.7, "x1.4": 1.4, "x2": 2.0}, resize_back),
        Perturbation(
            Message("stretch of the window"),
            stretch,
            {f"{low}..{high} %": (low, high) for low, high in ((LOW, HIGH), (1, 99), (5, 95))},
        ),
        Perturbation(Message("missing band"), missing_band, {band: band for band in bands}),
    )


# The measurement.


@dataclass(frozen=True)
class Effect:
    """What a step changes, on the pixels that are known in the reference and in both masks: add two to pool them.

    changed: pixels of another class than without the step. before, after: the counts against the reference.
    """

    changed: int = 0
    before: Counts = field(default_factory=Counts)
    after: Counts = field(default_factory=Counts)

    def __add__(self, other: Effect) -> Effect:
        return Effect(self.changed + other.changed, self.before + other.before, self.after + other.after)


@dataclass(frozen=True, eq=False)
class ChipEffects:
    """One chip: its counts without a perturbation, and the effect of every step by the names of perturbation and step.

    Chips of one `block` lie on the same ground and are not independent of each other.
    """

    id: str
    group: str
    block: str
    unchanged: Counts
    effects: Mapping[tuple[str, str], Effect]


def robustness(folder: ChipFolder, judge: Judge, *, seed: int = 0, most: int = 200) -> Robustness:
    """Measure how much the model's map of each chip changes under every step of `perturbations`.

    The perturbations act on the chip in units of the stretch of its scene, or of the model where its radiometry is
    fixed: a change of the light before a scene's own percentiles would be undone by these. At most `most` chips are
    measured, spread evenly over the groups and, within a group, over the folder. `seed` (>= 0) is that of the noise.

    Raises `InputError` for a negative seed or fewer than one chip, `ChipError` for a damaged chip.
    """
    if seed < 0:
        raise InputError("the seed of the noise is {seed}; give 0 or more", seed=seed)
    if most < 1:
        raise InputError("{most} chips are to be measured; give 1 or more", most=most)
    chosen, table = _spread(folder.index["group"].to_list(), most), perturbations(judge.model.bands, seed=seed)
    maps = 1 + sum(len(perturbation.steps) for perturbation in table)
    parts = []
    with progress_bar(_("robustness"), total=maps * len(chosen), rate="{:.1f}/s".format, counted=True) as bar:
        for number in chosen:
            row, chip = folder.index.iloc[number], folder.read(number)
            unchanged, effects = _effects(only_bands(chip, folder.bands, judge.model.bands), judge, table, done=bar)
            parts.append(ChipEffects(chip.id, chip.group, f"{row['source']} {row['block']}", unchanged, effects))
    return Robustness(judge.model.name, seed, len(folder), tuple(parts), table)


def _spread(groups: Sequence[str], most: int) -> list[int]:
    """At most so many rows, as even as possible over the groups; those of a group lie evenly in the folder."""
    rows: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        rows.setdefault(group, []).append(number)
    chosen, left = [], most
    smallest_first = sorted(rows.values(), key=len)
    for others, its in zip(range(len(rows), 0, -1), smallest_first, strict=True):
        share = min(len(its), left // others)
        left -= share
        chosen += [its[(2 * each + 1) * len(its) // (2 * share)] for each in range(share)]
    return sorted(chosen)


def _effects(
    chip: Chip, judge: Judge, table: Sequence[Perturbation[Any]], *, done: Callable[[], None]
) -> tuple[Counts, dict[tuple[str, str], Effect]]:
    limits = judge.model.statistics or chip
    low, high = (np.array(edge)[:, None, None] for edge in (limits.low, limits.high))
    # In double precision, so that a value comes back to the same bits.
    values, shape = (chip.image.values.astype(np.float64) - low) / (high - low), chip.target.shape
    stretched = Stretched(values, chip.image.valid, chip.image.bands, chip.pixel_m, chip.id)

    def mapped(image: Image, pixel_m: float) -> Mask:
        probability, threshold = judge.probability(replace(chip, image=image, pixel_m=pixel_m))
        done()
        its: Mask = classes(threshold)[probability]
        return its

    def perturbed(perturbation: Perturbation[Any], amount: object) -> Mask:
        its = perturbation.change(stretched, amount)
        image = Image((its.values * (high - low) + low).astype(np.float32), its.valid, bands=its.bands)
        back: Mask = perturbation.back(mapped(image, its.pixel_m), amount, shape=shape)
        return back

    mask = mapped(chip.image, chip.pixel_m)
    effects = {
        (perturbation.name, step): effect(perturbed(perturbation, amount), mask, chip.target)
        for perturbation in table
        for step, amount in perturbation.steps.items()
    }
    return count(mask, chip.target), effects


def effect(perturbed: Mask, mask: Mask, reference: Mask) -> Effect:
    """The effect of a step from the mask with it, the mask without it and the reference, all 0, 1 or 255."""
    known = (perturbed != UNKNOWN) & (mask != UNKNOWN) & (reference != UNKNOWN)
    changed = int(np.count_nonzero(perturbed[known] != mask[known]))
    return Effect(changed, count(mask[known], reference[known]), count(perturbed[known], reference[known]))


# The result.


@dataclass(frozen=True, eq=False, repr=False)
class Robustness:
    """How much a model's map changes under every perturbation.

    model: its name or file. of: how many chips there were to choose from. parts: the chips that were measured.
    """

    model: str
    seed: int
    of: int
    parts: tuple[ChipEffects, ...]
    perturbations: tuple[Perturbation[Any], ...]

    def pooled(self, perturbation: str, step: str) -> Effect:
        """The effect of a step over all chips."""
        return sum((part.effects[perturbation, step] for part in self.parts), Effect())

    @cached_property
    def figures(self) -> dict[str, Any]:
        """Everything as plain values for metrics.json; None where a figure is not defined.

        Of a perturbation: `changed`, its one number (0..1), and the 95 % interval of that. Of a step: the share of the
        known pixels that change, the counts, IoU and F1 against the reference, the difference of the IoU to that of the
        same pixels without the step, and the relative change of the mapped area.
        """
        unchanged = sum((part.unchanged for part in self.parts), Counts())
        return {
            "model": self.model,
            "chips": len(self.parts),
            "of_chips": self.of,
            "seed": self.seed,
            "unchanged": _counted(unchanged),
            "perturbations": {
                perturbation.name: {
                    "changed": self.changed(perturbation),
                    "interval": intervals(self.sums(perturbation), _rates).get("changed"),
                    "steps": {step: _of_step(self.pooled(perturbation.name, step)) for step in perturbation.steps},
                }
                for perturbation in self.perturbations
            },
        }

    def changed(self, perturbation: Perturbation[Any]) -> float | None:
        """The one number of a perturbation: the share of known pixels that change, averaged over its steps."""
        shares = [_share_changed(self.pooled(perturbation.name, step)) for step in perturbation.steps]
        known = [share for share in shares if share is not None]
        return fmean(known) if known else None

    def sums(self, perturbation: Perturbation[Any]) -> Float64[np.ndarray, "block column"]:
        """Of every block of ground the changed pixels of each step, then the known ones; the blocks are in order."""
        blocks = sorted({part.block for part in self.parts})
        sums = np.zeros((len(blocks), 2 * len(perturbation.steps)))
        for part in self.parts:
            its = [part.effects[perturbation.name, step] for step in perturbation.steps]
            sums[blocks.index(part.block)] += [each.changed for each in its] + [each.before.total for each in its]
        return sums

    def worst(self, perturbation: str) -> tuple[str, dict[str, Any]] | None:
        """The step of a perturbation that changes most, with its figures; None if no pixel is known."""
        steps = self.figures["perturbations"][perturbation]["steps"].items()
        return max(
            (item for item in steps if item[1]["changed"] is not None),
            key=lambda item: item[1]["changed"],
            default=None,
        )

    @property
    def note(self) -> Message:
        """On how many chips this was measured, and how they were chosen."""
        return Message(
            "Measured on {chips:,} of {of:,} chips, spread evenly over the groups.", chips=len(self.parts), of=self.of
        )

    def table(self) -> Table:
        """For a terminal, a row for each perturbation: its number in percent, and its worst step."""
        columns = [_("changed"), _("95 % interval"), _("worst step"), _("changed"), "IoU", _("difference")]
        table = Table(_("in percent"), *columns, box=None, header_style="dim")
        table.add_row(_("unchanged"), "", "", "", "", percent(self.figures["unchanged"]["iou"]), "")
        for perturbation, its in self.figures["perturbations"].items():
            row = [shown(perturbation), percent(its["changed"]), _range(its["interval"])]
            if worst := self.worst(perturbation):
                step, there = worst
                row += [
                    shown(step),
                    *(percent(there[name]) for name in ("changed", "iou")),
                    signed(there["iou_difference"]),
                ]
            table.add_row(*row)
        return table

    def svg(self) -> str:
        """The figure as SVG, for a page or a file: a row for each perturbation, the largest first."""
        return str(_template().module.figure(self._rows()))

    def section(self) -> str:
        """The part of the report as HTML: the figure, what it says, and a table of all steps."""
        html: str = _template().render(found=self.figures, note=shown(self.note), rows=self._rows())
        return html

    def _rows(self) -> list[dict[str, Any]]:
        """The perturbations with their figures and worst step, most sensitive first."""
        rows = [
            {"name": perturbation, "worst": worst, **its}
            for perturbation, its in self.figures["perturbations"].items()
            if (worst := self.worst(perturbation)) is not None
        ]
        return sorted(rows, key=lambda row: -row["changed"])


def compared(first: Robustness, second: Robustness) -> Table:
    """For a terminal, two models on the same chips: both numbers of each perturbation in percent, and their difference,
    the first less the second.

    The interval is that of the paired difference (`bootstrap.differences`); where it holds 0, these chips do not tell
    the models apart.

    Raises `InputError` if the chips are not the same.
    """
    mine, others = ([part.id for part in each.parts] for each in (first, second))
    if mine != others:
        raise InputError(
            "{first} was measured on {mine} chips and {second} on {others} chips that are not the same; "
            "measure both on one chip folder",
            first=first.model,
            mine=len(mine),
            second=second.model,
            others=len(others),
        )
    columns = [_("first − second"), _("95 % interval")]
    table = Table(_("changed, in percent"), first.model, second.model, *columns, box=None, header_style="dim")
    for its, other in zip(first.perturbations, second.perturbations, strict=True):
        numbers = first.changed(its), second.changed(other)
        difference = None if None in numbers else numbers[0] - numbers[1]  # type: ignore[operator]
        interval = differences(first.sums(its), second.sums(other), _rates).get("changed")
        table.add_row(shown(its.name), *map(percent, numbers), signed(difference), _range(interval))
    return table


def _across(share: float) -> float:
    """Where a share stands on the figure's scale, 0..1: logarithmic from 0.1 to 100 %, the same for every model."""
    return 1 + math.log10(max(share, 0.001)) / 3


def _of_step(pooled: Effect) -> dict[str, Any]:
    after, before = _counted(pooled.after), figures(pooled.before)["iou"]
    mapped_before, mapped = (each.tp + each.fp for each in (pooled.before, pooled.after))
    return {
        "changed": _share_changed(pooled),
        **after,
        "iou_difference": None if before is None or after["iou"] is None else after["iou"] - before,
        "area_change": mapped / mapped_before - 1 if mapped_before else None,
    }


def _counted(counts: Counts) -> dict[str, Any]:
    metrics = figures(counts)
    return {"known": counts.total, **asdict(counts), "iou": metrics["iou"], "f1": metrics["f1"]}


def _share_changed(pooled: Effect) -> float | None:
    return pooled.changed / pooled.before.total if pooled.before.total else None


def _rates(sums: Float64[np.ndarray, "draw column"]) -> dict[str, Float64[np.ndarray, " draw"]]:
    """The one number of a perturbation, from sums as `Robustness.sums` lays them out."""
    changed, known = np.split(sums, 2, axis=1)
    return {"changed": ratio(changed, known).mean(axis=1)}


def _range(interval: Sequence[float] | None) -> str:
    return "–" if interval is None else _("{low} to {high}", low=percent(interval[0]), high=percent(interval[1]))


def signed(difference: float | None) -> str:
    """A difference as percent with its sign and one digit, a dash for None."""
    return "–" if difference is None else f"{round(100 * difference, 1) + 0:+.1f}"  # + 0: never -0.0


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals |= {"_": _, "shown": shown, "percent": percent, "signed": signed, "across": _across}
    page = (files("cropland.evaluation") / "robustness.html").read_text(encoding="utf-8")
    return environment.from_string(page)
