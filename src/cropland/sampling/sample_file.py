"""The sample of an estimate: its points, the design that they were drawn by, and what was answered at each of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int64
from pyproj import CRS

from cropland.errors import InputError
from cropland.geo.grid import check_frames
from cropland.geo.mask import UNMAPPED, Mask
from cropland.geo.window import Window
from cropland.language import Message
from cropland.sampling.answers import Agreement, Answers, combine, read_answers, read_points
from cropland.sampling.strata import Census, Strata, make_strata

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

__all__ = ["Points", "Reference", "SampleFile"]

Numbers = Int64[np.ndarray, " point"]


@dataclass(frozen=True, eq=False)
class Reference:
    """The answer at every point of a sample, and what is told of how it came about."""

    values: Numbers
    about: dict[str, Any]
    notes: tuple[Message, ...]


@dataclass(frozen=True, eq=False)
class Points:
    """Points that have a stratum: that, their map class, and what was answered."""

    rows: Numbers
    cols: Numbers
    stratum: Numbers
    mapped: Numbers
    reference: Numbers

    def __getitem__(self, which: Any) -> Points:
        return Points(*(each[which] for each in (self.rows, self.cols, self.stratum, self.mapped, self.reference)))

    @property
    def answered(self) -> Points:
        return self[(self.reference == 0) | (self.reference == 1)]


@dataclass(frozen=True, eq=False)
class SampleFile:
    """The points of a file, with the design that they were drawn by, where there is one."""

    path: Path
    layer: GeoDataFrame
    design: Mapping[str, Any] | None
    ids: Numbers
    rows: Numbers
    cols: Numbers

    @staticmethod
    def read(path: Path, mask: Mask, *, allow_datum_shift: bool) -> SampleFile:
        layer = read_points(path)
        design = _design(path)
        if design is None:
            rows, cols = _pixels(layer, mask, allow_datum_shift=allow_datum_shift)
            _check_random(path, layer, rows, mask)
            return SampleFile(path, layer, None, np.arange(1, len(layer) + 1), rows, cols)
        if "id" not in layer or sorted(layer["id"]) != list(range(1, len(design["pixels"]) + 1)):
            raise InputError(
                "{path} has not the points 1 to {count} of its design.json, each of them once; take the sample as it "
                "was drawn",
                path=path,
                count=len(design["pixels"]),
            )
        rows, cols, _ = np.array(design["pixels"], np.int64).T
        layer = layer.sort_values("id", ignore_index=True)
        return SampleFile(path, layer, design, layer["id"].to_numpy(np.int64), rows, cols)

    def with_answers(self, answers: Sequence[Path], resolved: Path | None) -> Reference:
        column = self.layer["reference"].to_numpy(np.int64)
        if (answers or resolved) and self.design is None:
            raise InputError(
                "--answers are of a sample of `cropland area design`, and {path} has no design.json beside it",
                path=self.path,
            )
        if resolved and not answers:
            raise InputError("--resolved is for points on which interpreters differ; give their tables with --answers")
        sample = "" if self.design is None else str(self.design["sample"])
        tables = [read_answers(each, ids=self.ids, sample=sample) for each in answers]
        _check_one_each(answers, tables)
        decided = read_answers(resolved, ids=self.ids, sample=sample) if resolved else None
        reference, pairs, differences = combine(column, tables, resolved=decided)
        if not np.isin(reference, (0, 1)).any():
            raise InputError(
                "{path} has no reference values yet; fill the column reference with 1 or 0, or give the tables of the "
                "sheet with --answers",
                path=self.path,
            )
        notes = [_agreement_words(pair) for pair in pairs]
        if differences.points:
            notes.append(
                Message(
                    "They differ on {points} points: {by_table} are decided by --resolved, {by_layer} by the column "
                    "reference, {open} are left unknown.",
                    **asdict(differences),
                    open=differences.open,
                )
            )
        about = {
            "tables": [
                {"file": path.name, "interpreter": each.interpreter} for path, each in zip(answers, tables, strict=True)
            ],
            "agreement": [asdict(pair) | {"kappa": pair.kappa if isfinite(pair.kappa) else None} for pair in pairs],
            "differences": asdict(differences) | {"open": differences.open},
            "resolved": None if resolved is None else resolved.name,
        }
        return Reference(reference, about, tuple(notes))

    def strata(self, mask: Mask, probability: Path | None) -> Strata:
        """As the design made them; the classes of the mask without a design."""
        if self.design is None:
            return make_strata(mask, "mask")
        options = self.design["options"]
        levels = None
        if options["strata"] == "probability":
            levels = probability or mask.path.with_name(options["probability"])
        return make_strata(mask, options["strata"], probability=levels, edge_m=options["edge_m"])

    def check(self, mask: Mask, counted: Census, *, allow_datum_shift: bool) -> None:
        """Raise `InputError` for another mask than that of the design, other strata, or points that were moved."""
        if self.design is None:
            return
        own = self.design["mask"]
        if own["sha256"] != counted.digest:
            raise InputError(
                "{mask} ({digest}) is not the mask that the sample was drawn on: that is {name} ({own}), of {shape} "
                "pixels; give that one",
                mask=mask.path,
                digest=counted.digest[:12],
                name=own["name"],
                own=own["sha256"][:12],
                shape=" x ".join(map(str, own["shape"])),
            )
        if [each["pixels"] for each in self.design["strata"]] != counted.pixels.tolist():
            raise InputError(
                "the strata are not those of the sample: the probability is another one; give that of the map with "
                "--probability FILE"
            )
        rows, cols = _pixels(self.layer, mask, allow_datum_shift=allow_datum_shift)
        moved = self.ids[(rows != self.rows) | (cols != self.cols)].tolist()
        if moved:
            raise InputError(
                "{count} points of {path} are no longer in the pixels that were drawn (id {shown}), so other ground "
                "was looked at; take the sample as it was drawn",
                count=len(moved),
                path=self.path,
                shown=", ".join(map(str, moved[:8])),
            )

    def placed(self, mask: Mask, strata: Strata, reference: Numbers) -> Points:
        """The points on mapped ground."""
        pairs = zip(self.rows.tolist(), self.cols.tolist(), strict=True)
        mapped = np.array([int(mask.read(Window(row, col, 1, 1))[0, 0]) for row, col in pairs])
        stratum = mapped if self.design is None else np.array(self.design["pixels"], np.int64)[:, 2]
        return Points(self.rows, self.cols, stratum, mapped, reference)[mapped != UNMAPPED]


def _design(sample: Path) -> dict[str, Any] | None:
    path = sample.with_name("design.json")
    if not path.exists():
        return None
    try:
        design: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {"sample", "mask", "options", "strata", "pixels"} <= design.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(
            "{path} cannot be read ({error}); take the sample as it was drawn", path=path, error=error
        ) from error
    if not known:
        raise InputError("{path} is no design of a sample; take the sample as it was drawn", path=path)
    return design


def _pixels(layer: GeoDataFrame, mask: Mask, *, allow_datum_shift: bool) -> tuple[Numbers, Numbers]:
    """The pixels of points in any CRS; -1 outside of the mask."""
    crs = mask.scene.grid.crs
    if crs is not None and layer.crs is not None:
        check_frames(layer.crs, crs.proj, allow_datum_shift=allow_datum_shift)
        layer = layer.to_crs(CRS(crs.to_wkt()))
    return mask.pixels(layer.geometry.x.to_numpy(), layer.geometry.y.to_numpy())


def _check_random(path: Path, layer: GeoDataFrame, rows: Numbers, mask: Mask) -> None:
    """Raise `InputError` for points outside of the mask, or in one place: a copy is no second look at the ground."""
    if (rows < 0).any():
        raise InputError(
            "{count} of {total} points of {path} lie outside of {mask}; give the mask of these points, or leave "
            "them out",
            count=int((rows < 0).sum()),
            total=len(rows),
            path=path.name,
            mask=mask.path.name,
        )
    copies = int(layer.geometry.to_wkb().duplicated().sum())
    if copies:
        raise InputError(
            "{count} of {total} points of {path} lie exactly where another one does; keep one point in each place",
            count=copies,
            total=len(layer),
            path=path.name,
        )


def _check_one_each(files: Sequence[Path], tables: Sequence[Answers]) -> None:
    """Raise `InputError` for two tables of one interpreter, who would agree with himself."""
    first: dict[str, Path] = {}
    for path, table in zip(files, tables, strict=True):
        if table.interpreter in first:
            raise InputError(
                "{path} and {path2} are both by {name}; give one table of each interpreter",
                path=first[table.interpreter],
                path2=path,
                name=table.interpreter,
            )
        first[table.interpreter] = path


def _agreement_words(pair: Agreement) -> Message:
    one, other = pair.interpreters
    if not pair.both:
        return Message("{one} and {other} answered no point in common.", one=one, other=other)
    return Message(
        "{one} and {other} agree on {same} of {both} points ({percent:.0f} %, kappa {kappa}).",
        one=one,
        other=other,
        same=pair.same,
        both=pair.both,
        percent=100 * pair.same / pair.both,
        kappa=f"{pair.kappa:.2f}" if isfinite(pair.kappa) else "–",
    )
