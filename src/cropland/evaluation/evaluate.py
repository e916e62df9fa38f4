"""Evaluation of a model on chips, or of a map against labels: pixels, boundaries and fields, and a report where a
folder is given."""

from __future__ import annotations

import math
from collections.abc import KeysView, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter
from markupsafe import Markup
from rich.console import Console
from rich.table import Table

from cropland.data.labels import LabelOptions
from cropland.errors import InputError, Option, OutputError
from cropland.evaluation.map_on_labels import maps_on_labels
from cropland.evaluation.report import figure_name, names, page
from cropland.evaluation.score import Part
from cropland.evaluation.subject import SubjectOptions
from cropland.evaluation.viewer import Sheet
from cropland.fact_sheet import fact_sheet
from cropland.files import write_json, write_text
from cropland.language import Message, _, shown
from cropland.options import ABOVE_0
from cropland.page import percent

if TYPE_CHECKING:
    from cropland.data.chips import ChipFolder
    from cropland.evaluation.robustness import Robustness
    from cropland.model import ModelFile

__all__ = ["Evaluation", "command", "evaluate"]

TOLERANCES_M = (2.0, 5.0, 10.0, 20.0)


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
        A folder made by `cropland chips`, to measure a model.
    split
        Which chips: validation, train or all.
    against
        A second model or map, measured on the same ground; the report gives the differences with their intervals.
    by
        A column whose values form groups: of the index of the chips (default: group), of the --inside polygons, or of
        the label polygons (each group is then one kind of cropland).
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
    names. allow_training_chips: measure on those too. reading: how to read the map.

    Raises `InputError` or one of its kinds for what cannot be measured, `OutputError` where `out` cannot be used.
    """
    tolerances_m = tuple(sorted(set(tolerance_m)))
    if wrong := [metres for metres in tolerances_m if not 0 < metres < math.inf]:
        raise InputError("--tolerance-m {tolerances_m:g}: give metres above 0", tolerances_m=wrong[0])
    sides = [Path(each) if isinstance(each, str | Path) else each for each in (what, against) if each is not None]
    options = LabelOptions.of(labels, background=background)
    for side in sides:
        _check(side, options, on_chips=chips is not None)
    _refuse_useless((options, reading) if chips is not None else (), None if chips is not None else working_pixel_m)
    if robustness and chips is None:
        raise InputError("--robustness changes images; use it with a model and --chips DIR")
    if out is not None:
        _check_free(Path(out), overwrite=overwrite)
    if chips is not None:
        how: dict[str, Any] = {"split": split, "by": by or "group", "robustness": robustness, "trust": trust}
        how |= {"working_pixel_m": working_pixel_m, "allow_training_chips": allow_training_chips}
        from cropland.evaluation.model_on_chips import model_on_chips  # so that a map is measured without its imports

        measured = model_on_chips(sides, chips, tolerances_m=tolerances_m, **how)
    else:
        maps = [side for side in sides if isinstance(side, Path)]
        measured = maps_on_labels(maps, options, by=by, tolerances_m=tolerances_m, reading=reading)
    found = Evaluation(measured.figures(tolerances_m), tuple(measured.sides[0]), measured.sheets, measured.robustness)
    if out is not None:
        found.save(out)
    return found


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
        folder, html = (
            Path(out),
            page(self.figures, self.parts, self.sheets, [Markup(each.section()) for each in self.robustness]),
        )
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
    if given := labels.given("corrections", "map"):
        raise InputError("{given} is for `cropland chips`, which makes labels of it; leave it out", given=Option(given))
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


def _refuse_useless(of_maps: Sequence[LabelOptions | SubjectOptions], of_chips: float | None) -> None:
    """Refuse what was given and would change nothing."""
    given = [each.name for of in of_maps for each in fields(of) if getattr(of, each.name) != each.default]
    if given or of_chips is not None:
        name = given[0] if given else "working_pixel_m"
        raise InputError(
            "{given} does not go with {what}; leave it out",
            given=Option(f"--{name.replace('_', '-')}"),
            what=Message("a model on chips") if given else Message("a map"),
        )


def _check_free(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    if (out / "metrics.json").exists() and not overwrite:
        raise OutputError("{out} holds an evaluation already; give another --out, or --overwrite", out=out)
