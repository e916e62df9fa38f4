"""Evaluation of a model on chips, or of a map against labels: pixels, boundaries and fields, and a report where a
folder is given."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import numpy as np
import shapely
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from cropland.data.labels import Draw, LabelOptions, cropland_polygons, read_labels
from cropland.errors import InputError, LabelError, OutputError
from cropland.evaluation.calibration import calibration_figures
from cropland.evaluation.counts import UNKNOWN
from cropland.evaluation.report import figure_name, names, page, percent
from cropland.evaluation.score import Part, add_up, compared, metrics
from cropland.evaluation.subject import (
    Ground,
    Subject,
    SubjectOptions,
    connected_regions,
    decimated,
    imagery_on,
    open_subjects,
)
from cropland.evaluation.viewer import Sheet, assembled
from cropland.fact_sheet import fact_sheet
from cropland.files import write_json, write_text
from cropland.geo.area import pixel_edge_m
from cropland.geo.vectors import Polygons
from cropland.geo.window import Window
from cropland.language import Message, _, shown
from cropland.options import ABOVE_0
from cropland.progress import progress_bar

if TYPE_CHECKING:
    from cropland.data.chips import ChipFolder
    from cropland.evaluation.measure import Regions
    from cropland.evaluation.robustness import Robustness
    from cropland.model import ModelFile

__all__ = ["Evaluation", "command", "evaluate"]

TOLERANCES_M = (2.0, 5.0, 10.0, 20.0)
CUT = Message(
    "fields on chips are connected regions of the labels, cut off at the edges of the chips; their figures cannot be "
    "compared with those of a map and polygons"
)
OUTLINES = 20_000  # fields of a map that are drawn in the report, at most
TRAINED = 0.005  # share of the ground from which on it is told
SHEETS = 24  # scenes of chips in the report, at most


def command(
    subject: Path,
    *,
    chips: Path | None = None,
    split: str = "validation",
    labels: LabelOptions = LabelOptions(),  # noqa: B008 - frozen
    against: Path | None = None,
    by: str | None = None,
    robustness: Annotated[bool, Parameter(negative="")] = False,
    out: Path = Path("evaluation"),
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    tolerance_m: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    working_pixel_m: Annotated[float | None, ABOVE_0] = None,
    trust: Annotated[bool, Parameter(negative="")] = False,
    allow_training_chips: Annotated[bool, Parameter(negative="")] = False,
    reading: SubjectOptions = SubjectOptions(),  # noqa: B008 - frozen
) -> None:
    """Measure a model on chips, or a map against labels: pixels, boundaries and fields.

    Writes report.html, one file for any browser, and metrics.json.

    Example: cropland evaluate model.safetensors --chips my_chips

    Example: cropland evaluate my_map --labels fields.gpkg --background known

    Example: cropland evaluate my_map --against other_map --labels fields.gpkg --background known

    Parameters
    ----------
    subject
        A model (.safetensors); or a map: its folder, a folder of maps, a mask (1 cropland, 0 not cropland, 255 no
        data), a probability, or a file of parcels.
    chips
        A folder made by `cropland chips`; with a model.
    split
        Which chips: validation, train or all.
    against
        A second model or map, measured on the same ground; the report gives the differences with their intervals.
    by
        A column to group figures by: of the chips' index (default: group), of the --inside polygons, or of the label
        polygons (the figures are then those of each kind of cropland).
    robustness
        Also measure how much the map of a model changes when its images are shifted, brighter, blurred and so on.
    out
        The folder to write to.
    overwrite
        Replace an earlier evaluation.
    tolerance_m
        How far off a boundary may be, in metres. Default: 2 5 10 20.
    working_pixel_m
        Run the model at its working pixel nearest to this, instead of the one nearest to each chip's.
    trust
        Run code that the model file names.
    allow_training_chips
        Measure a model also on chips that it was trained on.
    """
    found = evaluate(
        subject,
        chips=chips,
        labels=labels,
        against=against,
        out=out,
        overwrite=overwrite,
        split=split,
        by=by,
        robustness=robustness,
        tolerance_m=tolerance_m or TOLERANCES_M,
        working_pixel_m=working_pixel_m,
        trust=trust,
        allow_training_chips=allow_training_chips,
        reading=reading,
    )
    for note in found.figures["notes"]:
        print(shown(note))
    console = Console()
    for table in found.tables():
        console.print(table)
    console.print(out / "report.html", soft_wrap=True, highlight=False, markup=False)


def evaluate(
    what: str | Path | ModelFile,
    *,
    chips: str | Path | ChipFolder | None = None,
    labels: str | Path | LabelOptions | None = None,
    background: Literal["known", "unknown"] | None = None,
    against: str | Path | ModelFile | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    split: str = "validation",
    by: str | None = None,
    robustness: bool = False,
    tolerance_m: Sequence[float] = TOLERANCES_M,
    working_pixel_m: float | None = None,
    trust: bool = False,
    allow_training_chips: bool = False,
    reading: SubjectOptions = SubjectOptions(),  # noqa: B008 - frozen
) -> Evaluation:
    """Measure a model, or its file, on `chips`; or a map against `labels`.

    A map is the folder of one, a folder of maps, or the file of a mask (1 cropland, 0 not cropland, 255 no data), of a
    probability or of parcels. labels: polygons or rasters by their path, or `LabelOptions`. background: what lies
    outside the polygons, known (not cropland) or unknown. against: a second model or map, for the differences. out: a
    folder for metrics.json and report.html; without it nothing is written. overwrite: replace what is there. split:
    which chips, validation, train or all. by: a column to report figures by. robustness: also change the chips and see
    how the map changes. tolerance_m: how far off a boundary may be, in metres. working_pixel_m: run the model at its
    working pixel nearest to this, instead of the one nearest to each chip's. trust: run code that the model's file
    names. allow_training_chips: measure on those too. reading: how the map is to be read.

    Raises `InputError` or one of its kinds for what cannot be measured, `OutputError` where `out` cannot be used.
    """
    tolerances_m = tuple(sorted(tolerance_m))
    if tolerances_m[0] <= 0:
        raise InputError("--tolerance-m {tolerances_m:g}: give metres above 0", tolerances_m=tolerances_m[0])
    sides = [Path(each) if isinstance(each, str | Path) else each for each in (what, against) if each is not None]
    options = LabelOptions.of(labels, background=background)
    for side in sides:
        _check(side, options, on_chips=chips is not None)
    if robustness and chips is None:
        raise InputError("--robustness changes images: it goes with a model and --chips DIR")
    if out is not None:
        _check_free(Path(out), overwrite=overwrite)
    if chips is not None:
        how: dict[str, Any] = {"split": split, "by": by or "group", "robustness": robustness, "trust": trust}
        how |= {"working_pixel_m": working_pixel_m, "allow_training_chips": allow_training_chips}
        measured = _on_chips(sides, chips, tolerances_m=tolerances_m, **how)
    else:
        maps = [side for side in sides if isinstance(side, Path)]
        measured = _on_labels(maps, options, by=by, tolerances_m=tolerances_m, reading=reading)
    found = Evaluation(measured.figures(tolerances_m), tuple(measured.sides[0]), measured.sheets, measured.robustness)
    if out is not None:
        found.save(out)
    return found


@dataclass(frozen=True, eq=False)
class Measured:
    """What was found: the parts of one side, or of two on the same ground, and what is said of them."""

    about: Mapping[str, Any]
    sides: Sequence[Sequence[Part]]
    complete: bool  # the labels hold all fields
    pixels: int  # of all ground that was looked at
    sheets: tuple[Sheet, ...] = ()
    robustness: tuple[Robustness, ...] = ()

    def figures(self, tolerances_m: Sequence[float]) -> dict[str, Any]:
        """The content of metrics.json."""
        how: dict[str, Any] = {"tolerances_m": tolerances_m, "complete": self.complete}
        first, *others = (metrics(parts, **how) for parts in self.sides)
        levels, known = add_up(part.total for part in self.sides[0]).levels, first["pooled"]["known"]
        trust = {"threshold": self.about["threshold"], "temperature": self.about["temperature"]}
        counted = {"known_pixels": known, "unknown_share": 1 - known / self.pixels}
        second = {"file": self.about["second"], "pooled": others[0]["pooled"]} if others else {}
        return {
            **self.about,
            "computed_on": {**self.about["computed_on"], **counted},
            "tolerances_m": tolerances_m,
            "complete": self.complete,
            **first,
            "calibration": calibration_figures(levels, **trust) if levels.any(axis=1).all() else None,
            **({"against": {**second, "difference": compared(*self.sides, **how)}} if others else {}),
            **({"robustness": [each.figures for each in self.robustness]} if self.robustness else {}),
        }


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The metrics of a model or a map.

    figures: the content of metrics.json, also as `evaluation["groups"]`. parts: the chips, or the blocks of the map.
    sheets: the pictures of the report. robustness: of the model, and of the one that it is compared with, where asked.
    """

    figures: Mapping[str, Any]
    parts: tuple[Part, ...]
    sheets: tuple[Sheet, ...] = ()
    robustness: tuple[Robustness, ...] = ()

    @property
    def iou(self) -> float | None:
        """Intersection over union of cropland over all pixels, 0..1; None where one class only is known."""
        return self.figures["pooled"]["iou"]  # type: ignore[no-any-return]

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall over all pixels, 0..1; None where one class only is known."""
        return self.figures["pooled"]["f1"]  # type: ignore[no-any-return]

    @property
    def field_f1(self) -> float | None:
        """F1 of fields at an IoU of 0.5, 0..1; None where the labels do not hold all fields."""
        fields = self.figures["pooled"]["fields"]
        return fields and fields["f1"]  # type: ignore[no-any-return]

    def __getitem__(self, name: str) -> Any:
        return self.figures[name]

    def keys(self) -> KeysView[str]:
        """The names in `figures`; `dict(evaluation)` is a copy of all of them."""
        return self.figures.keys()

    def save(self, out: str | Path) -> None:
        """Write metrics.json and report.html into a folder, each complete or not at all.

        Raises `OutputError` where they cannot be written.
        """
        folder, html = Path(out), page(self.figures, self.parts, self.sheets, self.robustness)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "metrics.json", self.figures)
            write_text(folder / "report.html", html)
        except OSError as error:
            raise OutputError(
                "{out} cannot be written ({strerror}); give another --out", out=out, strerror=error.strerror
            ) from error

    def tables(self) -> list[Table]:
        """For a terminal: pixels and fields, over all and of each group; and what a comparison or robustness found."""
        found = [_pixel_table(self.figures)]
        if self["pooled"]["fields"]:
            found.append(_field_table(self.figures))
        if "against" in self.figures:
            found.append(_difference_table(self["against"]["difference"]))
        if len(self.robustness) == 2:
            from cropland.evaluation.robustness import compared as compared_robustness

            found.append(compared_robustness(*self.robustness))
        return found + [each.table() for each in self.robustness]

    def __repr__(self) -> str:
        pooled = (f"{title} {percent(self['pooled'][name])}" for name, title in names().items())
        return f"{shown(self['title'])}: {', '.join(pooled)}"

    def _repr_html_(self) -> str:
        pooled = self["pooled"]
        facts = {title: f"{percent(pooled[name])} %" for name, title in names().items() if pooled[name] is not None}
        if interval := pooled["intervals"].get("iou"):
            facts[_("interval of the IoU")] = " – ".join(f"{percent(bound)} %" for bound in interval)
        if self.field_f1 is not None:
            facts[_("F1 of fields")] = f"{percent(self.field_f1)} %"
        if self["notes"]:
            facts[_("notes")] = " ".join(map(shown, self["notes"]))
        return fact_sheet(shown(self["title"]), facts)


def _rows(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {_("pooled"): found["pooled"], **found["groups"]}


def _pixel_table(found: Mapping[str, Any]) -> Table:
    columns = {"iou": "IoU", "f1": "F1", "precision": _("precision"), "recall": _("recall")}
    columns |= {"false_alarm": _("false alarm")}
    table = Table(_("pixels, %"), *columns.values(), box=None, header_style="dim")
    for name, its in (_rows(found) | {_("all cropland"): found["all_cropland"]}).items():
        table.add_row(name, *(percent(its[column]) for column in columns))
    return table


def _field_table(found: Mapping[str, Any]) -> Table:
    columns = {"f1": "F1", "f1_50_95": "F1 0.5–0.95", "precision": _("precision"), "recall": _("recall")}
    columns |= {"over_segmentation": _("over-segmentation"), "under_segmentation": _("under-segmentation")}
    table = Table(_("fields, %"), _("count"), *columns.values(), box=None, header_style="dim")
    rows = _rows(found) | {shown(each["name"]): each for each in found["field_sizes"]}
    for name, its in rows.items():
        if its["fields"]:
            table.add_row(
                name, f"{its['fields']['reference']:,}", *(percent(its["fields"][column]) for column in columns)
            )
    return table


def _difference_table(difference: Mapping[str, Any]) -> Table:
    table = Table(
        _("difference"), _("first"), _("second"), _("first − second"), _("95 % interval"), box=None, header_style="dim"
    )
    for name, its in difference.items():
        if its["difference"] is not None:
            low_high = "–" if its["interval"] is None else "{:+.3f} … {:+.3f}".format(*its["interval"])
            table.add_row(
                figure_name(name),
                *(f"{its[key]:.3f}" for key in ("first", "second")),
                f"{its['difference']:+.3f}",
                low_high,
            )
    return table


def _check(subject: Path | ModelFile, labels: LabelOptions, *, on_chips: bool) -> None:
    against = labels.given("labels", "whole")
    if on_chips == bool(against):
        raise InputError("say what to measure against: --chips DIR with a model, or --labels FILE with a map")
    if isinstance(subject, Path) and not subject.exists():
        raise InputError("{subject}: there is no such file; give a model (.safetensors) or a map", subject=subject)
    is_model = not isinstance(subject, Path) or subject.suffix == ".safetensors"
    if on_chips and not is_model:
        raise InputError(
            "{subject} is not a model (.safetensors); a map is measured with --labels FILE", subject=subject
        )
    if against and is_model:
        raise InputError(
            "{subject} is a model; measure it with --chips DIR, or map a scene and measure the map",
            subject=subject if isinstance(subject, Path) else subject.name,
        )


def _check_free(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    if (out / "metrics.json").exists() and not overwrite:
        raise OutputError("{out} holds an evaluation already; give another --out, or --overwrite", out=out)


def _on_chips(
    sides: Sequence[Path | ModelFile],
    chips: str | Path | ChipFolder,
    *,
    split: str,
    by: str,
    tolerances_m: Sequence[float],
    working_pixel_m: float | None,
    trust: bool,
    allow_training_chips: bool,
    robustness: bool,
) -> Measured:
    # Here, so that a map is measured without them.
    from cropland.data.chips import INDEX, open_chips
    from cropland.engines.openvino import open_engine
    from cropland.evaluation.measure import Judge, choose_chips, on_chips
    from cropland.evaluation.robustness import robustness as changed_by
    from cropland.evaluation.training_chips import refuse_training_chips
    from cropland.model import ModelFile

    whole = open_chips(chips) if isinstance(chips, str | Path) else chips
    models = [ModelFile.load(side, trust=trust) if isinstance(side, Path) else side for side in sides]
    parts, changed, notes = [], [], [CUT]
    for model in models:
        folder = choose_chips(whole, model, split=split, by=by)
        notes += refuse_training_chips(folder, model, allow=allow_training_chips)
        judge = Judge(model, partial(_logits, open_engine(model)), tolerances_m, working_pixel_m)
        parts.append(_watched(on_chips(folder, judge, by=by), total=len(folder)))
        if robustness:
            changed.append(changed_by(folder, judge))
    model, *_ = models
    assert model.path is not None, "a model is measured once it is saved"
    about = {
        "kind": "model",
        "part": "chip",
        "title": Message("{model} on {chips}", model=model.name, chips=folder.path.name),
        "subtitle": Message(
            "{model}, {count:,} chips ({split})", model=model.path.name, count=len(folder), split=split
        ),
        "subject": {"name": model.name, "file": model.path.name, "sha256": model.digest, "version": model.version},
        "reference": {"chips": folder.path.name, "split": split, "by": by, "working_pixel_m": working_pixel_m},
        "computed_on": {
            "files": [_hashed(path) for path in (*(each.path for each in models if each.path), folder.path / INDEX)]
        },
        "threshold": model.nearest_pixel(working_pixel_m or float(folder.index["pixel_m"].median())).threshold,
        "temperature": model.temperature,
        "second": models[-1].name,
        "notes": notes,
    }
    pixels = int((folder.index["height"] * folder.index["width"]).sum())
    sheets = tuple(_chip_sheets(parts[0], float(folder.index["pixel_m"].median())))
    return Measured(about, parts, complete=True, pixels=pixels, sheets=sheets, robustness=tuple(changed))


def _logits(engine: Any, values: np.ndarray) -> np.ndarray:
    logits: np.ndarray = engine(values[None])[0]
    return logits


def _chip_sheets(parts: Sequence[Part], pixel_m: float) -> Iterator[Sheet]:
    """A picture of every scene that gave chips, the chips where they lie in it; first those with most wrong pixels."""
    sources: dict[str, list[Part]] = defaultdict(list)
    for part in parts:
        sources[part.source].append(part)
    wrong = {name: sum(part.total.counts.fp + part.total.counts.fn for part in its) for name, its in sources.items()}
    for name in sorted(sources, key=lambda name: -wrong[name])[:SHEETS]:
        yield assembled(name, [(part.window, part.draw) for part in sources[name]], pixel_m=(pixel_m, pixel_m))


def _on_labels(
    paths: Sequence[Path],
    labels: LabelOptions,
    *,
    by: str | None,
    tolerances_m: Sequence[float],
    reading: SubjectOptions,
) -> Measured:
    from cropland.evaluation.measure import read_regions

    shift = reading.allow_datum_shift
    subjects, *others = (open_subjects(path, reading, labels=labels) for path in paths)
    truth = read_labels(labels, allow_datum_shift=shift)
    regions = read_regions(labels, by, allow_datum_shift=shift) if by else None
    column = by if by and not labels.inside else None
    sides: list[list[Part]] = [[] for _ in paths]
    sheets, notes, measured = list[Sheet](), list[str](), list[Subject]()
    for pair in _pairs(subjects, *others):
        subject, *_rest = pair
        try:
            draw = truth.on(subject.ground)
        except LabelError as error:
            if len(subjects) == 1:
                raise
            notes.append(Message("{name} is left out: {error}", name=subject.ground.name, error=error))
            continue
        draw = _where_all_know(draw, pair)
        notes += [*draw.notes, *(note for each in pair for note in each.notes)]
        for side, each in zip(sides, pair, strict=True):
            how: dict[str, Any] = {"regions": regions, "column": column, "tolerances_m": tolerances_m, "by": by}
            found = _map_parts(each, draw, labels, **how, allow_datum_shift=shift, is_one=len(subjects) == 1)
            side += found.parts
            notes += found.notes
            if each is subject:
                sheets.append(_map_sheet(subject, draw, found.outlines))
        measured.append(subject)
    if not sides[0]:
        raise InputError(
            "{name} and its labels have no known pixel in common; check no data and --inside", name=paths[0].name
        )
    used = {name: getattr(value, "name", value) for name, value in asdict(labels).items() if value is not None}
    shapes = [each.ground.shape for each in measured]
    (height, width), count = shapes[0], len(shapes)
    read = [path for each in (*measured, *(other for some in others for other in some)) for path in each.files]
    one = Message(
        "{height:,} × {width:,} pixels of {pixel_m:.3g} m",
        height=height,
        width=width,
        pixel_m=pixel_edge_m(measured[0].ground.grid, unit_m=measured[0].ground.unit_m),
    )
    about = {
        "kind": "map",
        "part": "block",
        "title": Message("{mask} against {labels}", mask=paths[0].name, labels=used.get("labels", labels.whole)),
        "subtitle": one if count == 1 else Message("{count} maps", count=count),
        "subject": {"file": paths[0].name, "model": measured[0].model},
        "reference": used | {"by": by},
        "computed_on": {
            "files": [
                _hashed(path)
                for path in dict.fromkeys([*read, *([labels.labels] if labels.labels else [])])
                if path.is_file()
            ]
        },
        "threshold": measured[0].threshold,
        "temperature": None,
        "second": paths[-1].name,
        "notes": list(dict.fromkeys([*notes, *_on_trained_ground(measured)])),
    }
    complete = labels.background != "unknown"
    return Measured(about, sides, complete, sum(rows * columns for rows, columns in shapes), tuple(sheets))


def _on_trained_ground(subjects: Sequence[Subject]) -> list[Message]:
    """A note if maps of the model that ships lie on ground that it was trained on."""
    from cropland.model import ModelFile, default_model

    model = ModelFile.read(default_model())
    known = [each for each in subjects if each.model == model.digest and each.ground.grid.crs]
    if model.trained_on is None or not known:
        return []
    shares = [model.trained_on.share_of(each.ground.grid.extent.to_crs(4326).geom) for each in known]
    share = sum(shares) / len(subjects)
    return [Message("{share:.0%} of the mapped ground was trained on", share=share)] if share >= TRAINED else []


def _pairs(subjects: Sequence[Subject], others: Sequence[Subject] | None = None) -> list[list[Subject]]:
    """Each map alone, or with the one that it is compared with, laid on its grid: by name, where there are several."""
    if others is None:
        return [[subject] for subject in subjects]
    by_name = {other.ground.name: other for other in others}
    if len(subjects) == len(others) == 1:
        by_name[subjects[0].ground.name] = others[0]
    missing = [subject.ground.name for subject in subjects if subject.ground.name not in by_name]
    if missing:
        raise InputError("--against has no map of {names}; give maps of the same scenes", names=", ".join(missing))
    return [[subject, _laid_on(subject.ground, by_name[subject.ground.name])] for subject in subjects]


def _laid_on(ground: Ground, other: Subject) -> Subject:
    if other.ground.grid == ground.grid:
        return replace(other, ground=ground)
    note = Message("{name} is resampled to the grid of the first map, by the nearest pixel", name=other.ground.name)
    return replace(other, ground=ground, mask=other.elsewhere(ground), probability=None, notes=(*other.notes, note))


def _where_all_know(draw: Draw, maps: Sequence[Subject]) -> Draw:
    """The labels, unknown where one of several maps has no data, so that all are measured on the same ground."""
    if len(maps) == 1:
        return draw

    def paint(window: Window) -> np.ndarray:
        known = np.logical_and.reduce([each.mask(window) != UNKNOWN for each in maps])
        return np.where(known, draw(window), np.uint8(UNKNOWN))

    return replace(draw, paint=paint)


class MapParts(NamedTuple):
    """The blocks of a map, notes, and the predicted and the reference fields in pixels."""

    parts: list[Part]
    notes: tuple[str, ...]
    outlines: tuple[np.ndarray, np.ndarray]


def _map_parts(
    subject: Subject,
    draw: Draw,
    labels: LabelOptions,
    *,
    regions: Regions | None,
    column: str | None,
    by: str | None,
    tolerances_m: Sequence[float],
    allow_datum_shift: bool,
    is_one: bool,
) -> MapParts:
    """The blocks of a map with their fields; grouped by map if it is one of several and nothing else groups them."""
    from cropland.evaluation.measure import blocks, fields_on, on_subject, with_fields

    parts = _watched(
        on_subject(subject, draw, tolerances_m=tolerances_m, regions=regions), total=blocks(subject.ground)
    )
    notes, outlines = tuple[str, ...](), (np.empty(0, object), np.empty(0, object))
    if parts and not labels.whole:
        with TemporaryDirectory(prefix="cropland-") as folder:
            ours = subject.fields or connected_regions(subject.mask, subject.ground, Path(folder))
            drawn = cropland_polygons(labels, columns=[column] if column else [])
            theirs = drawn or connected_regions(draw, subject.ground, Path(folder))
            how: dict[str, Any] = {"column": column, "regions": None if column else regions}
            sums = fields_on(subject, draw, (ours, theirs), **how, allow_datum_shift=allow_datum_shift)
            outlines = _outlines(ours, subject.ground), _outlines(theirs, subject.ground)
        parts, notes = with_fields(parts, sums), sums.notes
    if by is None and not is_one:
        parts = [replace(part, groups={part.source: part.total}) for part in parts]
    return MapParts(parts, notes, outlines)


def _outlines(polygons: Polygons, ground: Ground) -> np.ndarray:
    """The polygons in columns and rows of the grid; none where there are too many to be drawn in a page."""
    found = polygons.meeting(ground.grid.extent, allow_datum_shift=True)[0].geometry.to_numpy()
    if len(found) > OUTLINES:
        return np.empty(0, object)
    inverse = ~ground.grid.affine
    moved: np.ndarray = shapely.transform(found, lambda points: np.column_stack(inverse @ tuple(points.T)))
    return moved


def _map_sheet(subject: Subject, draw: Draw, outlines: tuple[np.ndarray, np.ndarray]) -> Sheet:
    """The picture of a map on its imagery."""
    ours, theirs = outlines
    shown = None if subject.imagery is None else imagery_on(subject.imagery, subject.ground)

    def read(window: Window, step: int) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
        rgb = None if shown is None else shown(window, step)
        return rgb, decimated(subject.mask, window, step), decimated(draw, window, step)

    return Sheet(
        subject.ground.name, subject.ground.shape, subject.ground.pixel_sides_m, read, list(ours), list(theirs)
    )


def _hashed(path: Path) -> dict[str, Any]:
    """Name, bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        return {
            "name": path.name,
            "bytes": path.stat().st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _watched(parts: Iterable[Part], *, total: int) -> list[Part]:
    done = []
    with progress_bar(total=total, rate="{:.1f}/s".format, counted=True) as bar:
        for part in parts:
            done.append(part)
            bar()
    return done
