"""The area of cropland, with its interval, from a mask and what people saw at the points of a sample:
`cropland area estimate`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from cyclopts import Parameter
from jaxtyping import Float64, Int64
from rich.console import Console
from rich.table import Table

from cropland.errors import InputError, LabelError, OutputError
from cropland.fact_sheet import fact_sheet
from cropland.files import write_json, write_text
from cropland.geo.area import MU_PER_HA, area_words, ellipsoidal_area_m2
from cropland.geo.mask import Mask
from cropland.language import Message, _, shown
from cropland.options import ABOVE_0
from cropland.sampling.answers import UNKNOWN, UNSEEN
from cropland.sampling.estimator import Figure, StratifiedSample, mean, ratio
from cropland.sampling.sample_file import Points, Reference, SampleFile
from cropland.sampling.strata import Census, Strata, census
from cropland.writers import replacing

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["AreaEstimate", "command", "estimate_area", "figures"]

FORMAT = 1  # of area.json
Values = Float64[np.ndarray, " point"]
Numbers = Int64[np.ndarray, " point"]


def command(
    mask: Path,
    *,
    sample: Path,
    answers: Annotated[list[Path] | None, Parameter(consume_multiple=True)] = None,
    resolved: Path | None = None,
    by: Path | None = None,
    name: str | None = None,
    probability: Path | None = None,
    out: Path = Path("area"),
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    crs: str | None = None,
    pixel_m: Annotated[float | None, ABOVE_0] = None,
    allow_datum_shift: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Estimate the area of cropland and the accuracy of a mask from a sample, with 95 % intervals.

    Writes report.html, one file for any browser, area.json and area.csv; with --by also regions.csv and
    regions.parquet.

    Example: cropland area estimate mask.tif --sample area_sample/sample.gpkg

    Example: cropland area estimate mask.tif --sample area_sample/sample.gpkg --answers li.csv wang.csv --by towns.gpkg

    Parameters
    ----------
    mask
        The mask that the sample was drawn on, or the folder of its map.
    sample
        The sample.gpkg of `cropland area design`; or any layer of random points with a column `reference`: 1 cropland,
        0 not cropland, 255 cannot tell.
    answers
        Tables that the sheet saved, one of each interpreter.
    resolved
        A table like these, which decides where interpreters differ.
    by
        Polygons of regions, to estimate each of them too.
    name
        The column of the polygons that names a region.
    probability
        The probability.tif that the strata were made of; the one beside the mask if not given.
    out
        The folder to write to.
    overwrite
        Replace an earlier estimate.
    crs
        The CRS of a mask whose file names none.
    pixel_m
        Pixel size in metres of a mask without a CRS.
    allow_datum_shift
        Allow an approximate datum transformation (errors up to about 100 m).
    """
    done = estimate_area(
        mask,
        sample=sample,
        answers=answers or (),
        resolved=resolved,
        by=by,
        name=name,
        probability=probability,
        out=out,
        overwrite=overwrite,
        crs=crs,
        pixel_m=pixel_m,
        allow_datum_shift=allow_datum_shift,
    )
    console = Console()
    console.print(done.table())
    for note in (*done["notes"], *done["warnings"]):
        print(shown(note))
    console.print(out / "report.html", soft_wrap=True, highlight=False, markup=False)


@dataclass(frozen=True, eq=False, repr=False)
class AreaEstimate:
    """How much cropland there is, how well it is known, and how right the mask is.

    figures: the content of area.json, also as `estimate["strata"]`. regions: a table of them, where they are asked for.
    """

    figures: Mapping[str, Any]
    regions: GeoDataFrame | None = None

    @property
    def area_ha(self) -> float | None:
        """The estimated area of cropland in hectares; None where a stratum has no answer."""
        return self.figures["area_ha"]["value"]  # type: ignore[no-any-return]

    @property
    def se_ha(self) -> float | None:
        """Its standard error; None where a stratum has fewer than two answers."""
        return self.figures["area_ha"]["se"]  # type: ignore[no-any-return]

    @property
    def interval_ha(self) -> tuple[float, float] | None:
        """Its 95 % interval; None where there is no standard error."""
        low, high = self.figures["area_ha"]["low"], self.figures["area_ha"]["high"]
        return None if low is None else (low, high)

    def __getitem__(self, name: str) -> Any:
        return self.figures[name]

    def save(self, out: str | Path) -> None:
        """Write area.json, area.csv, report.html and the tables of regions into a folder, each complete or not at all.

        Raises `OutputError` where they cannot be written.
        """
        folder, html = Path(out), page(self.figures)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "area.json", self.figures)
            write_text(folder / "area.csv", pd.DataFrame(_rows(self.figures)).to_csv(index=False))
            if self.regions is not None:
                write_text(folder / "regions.csv", self.regions.drop(columns="geometry").to_csv(index=False))
                with replacing(folder / "regions.parquet") as hidden:
                    self.regions.to_parquet(hidden, index=False)
            write_text(folder / "report.html", html)
        except OSError as error:
            raise OutputError(
                "{out} cannot be written ({strerror}); give another --out", out=out, strerror=error.strerror
            ) from error

    def table(self) -> Table:
        """The figures with their intervals, for a terminal."""
        table = Table("", _("estimate"), _("standard error"), _("95 % interval"), box=None, header_style="dim")
        for title, each, digits, unit in shown_figures(self.figures):
            table.add_row(title, *(f"{text} {unit}" if text != "–" else text for text in numbers(each, digits)))
        return table

    def __repr__(self) -> str:
        area, interval = self.area_ha, self.interval_ha
        if area is None:
            return _("area of cropland: not known")
        words = _("area of cropland: {area}", area=area_words(area, digits=1))
        if interval is None:
            return words
        low, high = interval
        return _("{words} (95 %: {low:,.1f} to {high:,.1f} ha)", words=words, low=low, high=high)

    def _repr_html_(self) -> str:
        facts = {}
        for title, each, digits, unit in shown_figures(self.figures):
            value, _error, interval = numbers(each, digits)
            facts[title] = f"{value} {unit} ({interval})"
        return fact_sheet(shown(self["title"]), facts)


def share_titles() -> dict[str, str]:
    """The title of each figure that is a share, by its name in area.json."""
    return {
        "share": _("Share of cropland"),
        "overall": _("Overall accuracy"),
        "user": _("User's accuracy of cropland"),
        "producer": _("Producer's accuracy of cropland"),
        "user_other": _("User's accuracy of other land"),
        "producer_other": _("Producer's accuracy of other land"),
    }


def shown_figures(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], int, str]]:
    """Title, figure, digits and unit of what is shown first; shares are in percent."""
    percent = [
        (title, {key: None if part is None else 100 * part for key, part in found[name].items()}, 1, "%")
        for name, title in share_titles().items()
    ]
    areas = [
        (_("Area of cropland"), found["area_ha"], 1, _("ha")),
        (_("Area of cropland in mu"), found["area_mu"], 0, _("mu")),
    ]
    return [*areas, *percent]


def numbers(figure: Mapping[str, Any], digits: int) -> tuple[str, str, str]:
    """Value, standard error and interval as text; a dash for what is not known."""
    if figure["value"] is None:
        return "–", "–", "–"
    value = f"{figure['value']:,.{digits}f}"
    if figure["se"] is None:
        return value, "–", "–"
    low, high = (f"{figure[end]:,.{digits}f}" for end in ("low", "high"))
    return value, f"{figure['se']:,.{digits}f}", _("{low} to {high}", low=low, high=high)


def page(found: Mapping[str, Any]) -> str:
    """The report as HTML, from the content of area.json."""
    from cropland.page import rendered  # jinja2, which an estimate alone does without

    values = {"found": found, "shares": share_titles(), "mu": MU_PER_HA, "title": shown(found["title"])}
    return rendered("cropland.sampling", "report.html", area=_area, **values)


def _area(value: float | None) -> str:
    """Hectares or mu with one digit below a thousand, a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.1f}" if abs(value) < 1000 else f"{value:,.0f}"


def _rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"figure": name, **found[name]} for name in ("area_ha", "area_mu", *share_titles())]


def estimate_area(
    mask: str | Path,
    *,
    sample: str | Path,
    answers: Sequence[str | Path] = (),
    resolved: str | Path | None = None,
    by: str | Path | None = None,
    name: str | None = None,
    probability: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    crs: str | None = None,
    pixel_m: float | None = None,
    allow_datum_shift: bool = False,
) -> AreaEstimate:
    """Estimate the area of cropland and the accuracy of a mask from the answers at the points of a sample.

    sample: the sample.gpkg of a design with its design.json beside it; or another layer of points with a column
    `reference` (1, 0, 255), which is taken as a simple random sample and poststratified by the classes of the mask.
    answers, resolved: tables of interpreters, and one that decides where these differ. by, name: polygons of regions
    and the column that names them. probability: the raster that the strata were made of. out: a folder for the files.
    crs, pixel_m, allow_datum_shift: of the mask, as in `open_scene`; the last also of points and regions.
    Raises `InputError` or one of its kinds for what cannot be used, `OutputError` where `out` cannot be used.
    """
    if name is not None and by is None:
        raise InputError("--name is the column that names regions; give their polygons with --by")
    if out is not None:
        _check_free(Path(out), overwrite=overwrite)
    opened = Mask.open(Path(mask), crs=crs, pixel_m=pixel_m, allow_datum_shift=allow_datum_shift)
    drawn = SampleFile.read(Path(sample), opened, allow_datum_shift=allow_datum_shift)
    reference = drawn.with_answers([*map(Path, answers)], None if resolved is None else Path(resolved))
    strata = drawn.strata(opened, None if probability is None else Path(probability))
    # Whatever can be refused is refused before the mask is read.
    regions = None
    if by is not None:
        from cropland.sampling.regions import read_regions

        regions = read_regions(Path(by), opened, name=name, allow_datum_shift=allow_datum_shift)
    counted = census(opened, strata)
    drawn.check(opened, counted, allow_datum_shift=allow_datum_shift)
    points = drawn.placed(opened, strata, reference.values)
    found = _about(opened, drawn, strata, counted, points, reference)
    table = None
    if regions is not None:
        table = _of_regions(regions, opened, strata, counted, points, layer=Path(by or ""))
        found["regions"] = {
            "file": Path(by or "").name,
            "rows": json.loads(table.drop(columns="geometry").to_json(orient="records")),
        }
    done = AreaEstimate(found, table)
    if out is not None:
        done.save(out)
    return done


def figures(
    mapped: Numbers, reference: Numbers, sample: StratifiedSample
) -> tuple[dict[str, Figure], list[list[Figure]]]:
    """The shares and accuracies of a two-class map, and the error matrix in proportions (rows map, columns reference).

    mapped, reference: 0 or 1 at every point. A stratum in which all points are alike is not taken as known; see
    `estimator`. Source: Stehman (2014), doi:10.1080/01431161.2014.930207.
    """
    other = 1 - reference  # what each answer was not

    def of(first: Any, second: Any) -> tuple[Values, Values]:
        """An indicator, and what it would be with the other answer."""
        return np.asarray(first, np.float64), np.asarray(second, np.float64)

    def part(i: int, j: int) -> tuple[Values, Values]:
        return of((mapped == i) & (reference == j), (mapped == i) & (other == j))

    def share(y: tuple[Values, Values]) -> Figure:
        return mean(y[0], sample, otherwise=y[1])

    def quotient(y: tuple[Values, Values], x: tuple[Values, Values]) -> Figure:
        return ratio(y[0], x[0], sample, otherwise=(y[1], x[1]))

    found = {"share": share(of(reference, other)), "overall": share(of(mapped == reference, mapped == other))}
    for kind, suffix in ((1, ""), (0, "_other")):
        right = part(kind, kind)
        found[f"user{suffix}"] = quotient(right, of(mapped == kind, mapped == kind))
        found[f"producer{suffix}"] = quotient(right, of(reference == kind, other == kind))
    return found, [[share(part(i, j)) for j in (0, 1)] for i in (0, 1)]


def _about(
    mask: Mask, drawn: SampleFile, strata: Strata, counted: Census, points: Points, reference: Reference
) -> dict[str, Any]:
    """The content of area.json."""
    area_m2, answered = counted.area_m2.sum(axis=1), points.answered
    sample = StratifiedSample(answered.stratum, area_m2, counted.pixels)
    found, matrix = figures(answered.mapped, answered.reference, sample)
    mapped_ha, ground_ha = float(counted.area_m2[:, 1].sum()) / 1e4, float(area_m2.sum()) / 1e4
    bounds = _bounds(points, area_m2, counted.pixels)
    value = found["share"].value
    design = (
        {"kind": "simple random", "id": None}
        if drawn.design is None
        else {"kind": strata.kind, "id": drawn.design["sample"]}
    )
    notes, rows = [*reference.notes], _strata_rows(strata, counted, points)
    total, unknown = len(reference.values), int((points.reference == UNKNOWN).sum())
    unseen, outside = int((points.reference == UNSEEN).sum()), total - len(points.rows)
    if drawn.design is None:
        notes.insert(
            0,
            Message(
                "{name} has no design.json beside it: its points are taken as a simple random sample, poststratified "
                "by the classes of the mask.",
                name=drawn.path.name,
            ),
        )
    if outside:
        notes.append(Message("{count} points lie on ground without data and are left out.", count=outside))
    if unknown or unseen:
        low, high = (None if not isfinite(each) else each * ground_ha for each in bounds)
        notes.append(
            Message(
                "{unknown} points are unknown and {unseen} not answered; they are left out. With none or all of them "
                "cropland the area would be {low} to {high} ha.",
                unknown=unknown,
                unseen=unseen,
                low="–" if low is None else f"{low:,.1f}",
                high="–" if high is None else f"{high:,.1f}",
            )
        )
    if counted.unmapped_m2:
        notes.append(
            Message(
                "{area:,.1f} ha of the raster have no data (such as cloud); no figure includes them.",
                area=counted.unmapped_m2 / 1e4,
            )
        )
    return {
        "format": FORMAT,
        "title": Message("Area of cropland in {mask}", mask=mask.title),
        "mask": {"file": mask.path.name, "sha256": counted.digest, "shape": list(mask.shape)},
        "sample": {
            "file": drawn.path.name,
            **design,
            "points": total,
            "answered": len(answered.rows),
            "unknown": unknown,
            "unanswered": unseen,
            "without_data": outside,
            "share_unknown": (total - len(answered.rows)) / total,
        },
        "answers": reference.about,
        "area_ha": _scaled(found["share"], ground_ha),
        "area_mu": _scaled(found["share"], ground_ha * MU_PER_HA),
        **{name: _scaled(each, 1) for name, each in found.items()},
        "matrix": [[_scaled(each, 1) for each in row] for row in matrix],
        "mapped": {
            "cropland_ha": mapped_ha,
            "cropland_mu": mapped_ha * MU_PER_HA,
            "difference_ha": _plain(mapped_ha - value * ground_ha),
            "ground_ha": ground_ha,
            "unmapped_ha": counted.unmapped_m2 / 1e4,
        },
        "bounds_ha": [_plain(each * ground_ha) for each in bounds],
        "strata": rows,
        "notes": notes,
        "warnings": _warnings(rows),
        "regions": None,
    }


def _bounds(
    points: Points, area_m2: Float64[np.ndarray, " stratum"], pixels: Int64[np.ndarray, " stratum"]
) -> tuple[float, float]:
    """The share of cropland if no point without an answer is cropland, and if all of them are."""
    sample = StratifiedSample(points.stratum, area_m2, pixels)
    low = mean((points.reference == 1).astype(np.float64), sample)
    return low.value, mean((points.reference != 0).astype(np.float64), sample).value


def _strata_rows(strata: Strata, counted: Census, points: Points) -> list[dict[str, Any]]:
    answered, area_m2 = points.answered, counted.area_m2.sum(axis=1)
    rows = []
    for h in np.flatnonzero(counted.pixels):
        its = answered.reference[answered.stratum == h]
        rows.append(
            {
                "name": strata.names[h],
                "pixels": int(counted.pixels[h]),
                "area_ha": float(area_m2[h]) / 1e4,
                "weight": float(area_m2[h] / area_m2.sum()),
                "points": int((points.stratum == h).sum()),
                "answered": len(its),
                "cropland": int(its.sum()),
            }
        )
    return rows


def _warnings(rows: Sequence[Mapping[str, Any]]) -> list[Message]:
    found = []
    for row in rows:
        if row["answered"] < 2 and row["answered"] < row["pixels"]:
            found.append(
                Message(
                    "The stratum {name} has {count} answered points; figures have no standard error with fewer than "
                    "two.",
                    name=row["name"],
                    count=row["answered"],
                )
            )
        elif row["cropland"] in (0, row["answered"]) and row["answered"] < row["pixels"]:
            found.append(
                Message(
                    "All {count} answers in the stratum {name} are the same. This does not mean that there is no other "
                    "ground in it: the interval reaches as far as Wilson's for 0 of {count}.",
                    name=row["name"],
                    count=row["answered"],
                )
            )
    return found


def _of_regions(
    regions: GeoDataFrame, mask: Mask, strata: Strata, counted: Census, points: Points, *, layer: Path
) -> GeoDataFrame:
    """Areas of every region and, where it has two answered points in each of its strata, an estimate of its cropland.

    The points of a region and stratum are a random sample of the ground of both, so the region is poststratified by the
    known areas of strata in it. Source: Särndal, Swensson and Wretman (1992), sections 7.6 and 10.3,
    doi:10.1007/978-1-4612-4378-6.
    """
    from cropland.sampling.regions import areas_within, placed, points_within

    shapes, answered = placed(regions, mask), points.answered
    parts = areas_within(shapes, mask, strata)
    if not parts[:, :-1].any():
        raise LabelError(
            "{name} covers no mapped ground of {mask}; give regions of this place", name=layer.name, mask=mask.path.name
        )
    ground_m2 = ellipsoidal_area_m2(regions.geometry, unit_m=mask.scene.unit_m)
    pixel_m2 = counted.area_m2.sum() / counted.pixels.sum()
    rows = []
    for part, ground, inside in zip(parts, ground_m2, points_within(shapes, answered.rows, answered.cols), strict=True):
        area_m2, here = part[:-1].sum(axis=1), answered[inside]
        pixels = np.ceil(area_m2 / pixel_m2).astype(np.int64)
        sample = StratifiedSample(here.stratum, area_m2, pixels)
        mapped_m2 = float(area_m2.sum())
        enough = mapped_m2 > 0 and bool((sample.counts >= 2)[area_m2 > 0].all())
        found = figures(here.mapped, here.reference, sample)[0]["share"] if enough else None
        estimate = _scaled(found, mapped_m2 / 1e4) if found else dict.fromkeys(("value", "se", "low", "high"))
        rows.append(
            {
                "ground_ha": ground / 1e4,
                "mapped_ha": mapped_m2 / 1e4,
                "unmapped_ha": max(0.0, ground - mapped_m2) / 1e4,
                "mapped_cropland_ha": float(part[:-1, 1].sum()) / 1e4,
                "points": len(here.rows),
                **{f"cropland_ha{'' if key == 'value' else '_' + key}": each for key, each in estimate.items()},
                "cropland_mu": None if estimate["value"] is None else estimate["value"] * MU_PER_HA,
                "enough_points": enough,
            }
        )
    table = pd.DataFrame(rows)
    floats = [column for column in table if column not in ("points", "enough_points")]
    return regions.assign(**table.astype(dict.fromkeys(floats, "float64")))


def _scaled(figure: Figure, factor: float) -> dict[str, float | None]:
    """Value, standard error and the ends of the interval in another unit, None for what is not known."""
    low, high = figure.interval if isfinite(figure.se) else (None, None)
    ends = {"low": low, "high": high}
    return {
        "value": _plain(figure.value * factor),
        "se": _plain(figure.se * factor),
        **{name: None if end is None else end * factor for name, end in ends.items()},
    }


def _plain(value: float) -> float | None:
    return value if isfinite(value) else None


def _check_free(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    if (out / "area.json").exists() and not overwrite:
        raise OutputError("{out} holds an estimate already; give another --out, or --overwrite", out=out)
