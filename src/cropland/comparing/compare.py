"""Polygons that somebody holds, compared with a map or with two: `cropland compare`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Annotated, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from cyclopts import Parameter
from geopandas import GeoDataFrame
from rich.console import Console
from rich.table import Table

from cropland.comparing.changes import GAIN, LOSS, changes, rule_of, windows_along
from cropland.comparing.figures import figures, insurance
from cropland.comparing.polygons import HeldPolygons, PolygonOptions, hold_polygons
from cropland.comparing.report import Pictures, page
from cropland.data.labels import LabelOptions
from cropland.errors import GridError, InputError, OutputError, SceneError
from cropland.evaluation.subject import Subject, SubjectOptions, laid_on, open_subjects
from cropland.fact_sheet import fact_sheet
from cropland.files import replacing_folder, write_json, write_text
from cropland.geo.area import MU_M2, area_words, default_min_area_m2
from cropland.geo.map_folder import MapFolder
from cropland.geo.vectors import areas_of
from cropland.language import Message, _, shown
from cropland.options import NOT_NEGATIVE
from cropland.writers.qgis import comparison_styles, how_drawn, write_comparison_project
from cropland.writers.vector import write_geopackage, write_geoparquet

__all__ = ["Comparison", "command", "compare"]

FORMAT = 1  # of comparison.json
ADDED = ("ground_ha", "cropland_ha", "unknown_ha", "gain_ha", "loss_ha")  # columns that add up
INSURED = ("insured_ha", "over_insured_ha", "insured_not_cropland_ha", "uninsured_neighbour_ha")
HALF = 0.5  # from which disagreement on more of a polygon is something else than what its code says
WORDS = np.array(["other", "cropland", *[None] * 254], object)  # of what a code says


def command(
    polygons: Path,
    map: Path,
    later_map: Path | None = None,
    *,
    out: Path = Path("comparison"),
    held: PolygonOptions = PolygonOptions(),  # noqa: B008 - frozen
    min_area_m2: Annotated[float | None, NOT_NEGATIVE] = None,
    min_area_mu: Annotated[float | None, NOT_NEGATIVE] = None,
    min_width_m: Annotated[float | None, NOT_NEGATIVE] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    reading: SubjectOptions = SubjectOptions(),  # noqa: B008 - frozen
) -> None:
    """Compare polygons, as of a land survey or of insured plots, with a map or with two.

    Of every polygon: how much of it is cropland, how much is unknown, the fields in it, what was gained and lost, and
    how surely the map disagrees with its code. Gains and losses are polygons of their own. Without a later map they are
    those against the polygons, with one those between the maps.

    Writes polygons.gpkg, .parquet and .csv in the order of the file and with all its columns, changes.gpkg and
    .parquet, report.html with pictures, and compare.qgs, in which QGIS shows all of them.

    Example: cropland compare survey.gpkg my_map --out comparison

    Example: cropland compare plots.shp map_2023 map_2024 --insured-mu 投保面积 --owner 农户 --by 村 保险公司

    Parameters
    ----------
    polygons
        Polygons in any format and CRS.
    map
        The folder of a map, a mask or a probability.
    later_map
        A later map of the same place.
    out
        The folder to write.
    min_area_m2
        Minimum area of a gain or a loss, in m2; the larger of 400 m2 and ten pixels if not given.
    min_area_mu
        The same in mu (1 mu is 10000/15 m2).
    min_width_m
        Minimum width of a gain or a loss, in metres; the shift that was measured and two pixels if not given.
    overwrite
        Replace an earlier comparison.
    """
    if min_area_m2 is not None and min_area_mu is not None:
        raise InputError("--min-area-m2 and --min-area-mu mean the same; give one of them")
    least = min_area_m2 if min_area_mu is None else min_area_mu * MU_M2
    how: dict[str, Any] = {"min_area_m2": least, "min_width_m": min_width_m, "overwrite": overwrite}
    done = compare(polygons, map, later_map, out=out, held=held, reading=reading, **how)
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(done.table())
    for note in done["notes"]:
        console.print(shown(note))
    console.print(out / "report.html", out / "compare.qgs", sep="\n")


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What maps say of polygons, in a folder: its tables, and the content of comparison.json as `comparison["total"]`.

    The folder is a temporary one unless it was asked for; `save` keeps it.
    """

    folder: Path
    figures: Mapping[str, Any]
    _project: Mapping[str, Any]
    _temporary: TemporaryDirectory[str] | None = None

    @property
    def polygons(self) -> GeoDataFrame:
        """The polygons in the order of their file, with all its columns and the figures; see `figures.figures`."""
        return gpd.read_parquet(self.folder / "polygons.parquet")

    @property
    def changes(self) -> GeoDataFrame:
        """Gains and losses as polygons; see `changes.changes`."""
        return gpd.read_parquet(self.folder / "changes.parquet")

    def by(self, column: str) -> pd.DataFrame:
        """The sums by the values of a column that was named in `by`."""
        return pd.DataFrame(self.figures["by"][column])

    def __getitem__(self, name: str) -> Any:
        return self.figures[name]

    def save(self, out: str | Path, *, overwrite: bool = False) -> Comparison:
        """Keep all files in the folder `out`, which appears whole, with a project of QGIS.

        Raises `OutputError` if the folder holds something and may not be replaced, or cannot be written.
        """
        out = Path(out)
        _check_free(out, overwrite=overwrite)
        try:
            with replacing_folder(out) as folder:
                shutil.copytree(self.folder, folder, dirs_exist_ok=True)
                files: dict[str, Any] = {name: folder / f"{name}.gpkg" for name in ("polygons", "changes")}
                write_comparison_project(folder / "compare.qgs", **files, **self._project, home=out.absolute())
        except OSError as error:
            raise OutputError(
                "{out} cannot be written ({strerror}); give another --out", out=out, strerror=error.strerror
            ) from error
        return replace(self, folder=out, _temporary=None)

    def table(self) -> Table:
        """The sums, for a terminal."""
        table = Table(box=None, show_header=False)
        for title, value in _shown(self.figures).items():
            table.add_row(title, value)
        return table

    def __repr__(self) -> str:
        return shown(self["title"])

    def _repr_html_(self) -> str:
        return fact_sheet(repr(self), _shown(self.figures))


def _shown(found: Mapping[str, Any]) -> dict[str, str]:
    """The first figures, with their titles."""
    total, change = found["total"], found["changes"]

    def area(value: float) -> str:
        return area_words(value, digits=1)

    def several(kind: str) -> str:
        return _("{area} in {count:,} polygons", area=area(change[kind]["area_ha"]), count=change[kind]["count"])

    facts = {
        _("Polygons"): f"{total['polygons']:,}",
        _("Ground"): area(total["ground_ha"]),
        _("Cropland in them"): area(total["cropland_ha"]),
        _("Unknown ground in them"): area(total["unknown_ha"]),
        _("Polygons that disagree"): f"{total['disagreeing']:,}",
        _("Gained"): several(GAIN),
        _("Lost"): several(LOSS),
    }
    insured = {
        _("Insured"): "insured_ha",
        _("Insured beyond the cropland"): "over_insured_ha",
        _("Insured, and not cropland"): "insured_not_cropland_ha",
        _("Cropland left without insurance beside insured plots"): "uninsured_neighbour_ha",
    }
    return facts | {title: area(total[name]) for title, name in insured.items() if name in total}


def compare(
    polygons: str | Path,
    map: str | Path,
    later_map: str | Path | None = None,
    *,
    out: str | Path | None = None,
    held: PolygonOptions | None = None,
    min_area_m2: float | None = None,
    min_width_m: float | None = None,
    overwrite: bool = False,
    reading: SubjectOptions | None = None,
) -> Comparison:
    """Compare polygons with a map, or with two, and write what was found into the folder `out`, if wanted.

    held: what is known of the polygons. min_area_m2, min_width_m: of a gain or a loss. reading: how to read the maps.
    Raises `LabelError` for polygons that cannot be used, `SceneError` for what is no map, `GridError` for frames that
    cannot be joined, `OutputError` for a folder that cannot be used.
    """
    options, reading = held or PolygonOptions(), reading or SubjectOptions()
    if out is not None:
        _check_free(Path(out), overwrite=overwrite)
    paths = [Path(path) for path in (map, later_map) if path is not None]
    *before, last = (_opened(path, reading) for path in paths)
    earlier = laid_on(last.ground, before[0]) if before else None
    dates = (*([None] if not before else []), *(_date(path) for path in paths))
    temporary = TemporaryDirectory(prefix="cropland-", ignore_cleanup_errors=True)
    folder, work = Path(temporary.name) / "comparison", Path(temporary.name) / "work"
    folder.mkdir()
    work.mkdir()
    with TemporaryFile(dir=work) as file:
        ours = hold_polygons(
            Path(polygons), last.ground, file, options=options, allow_datum_shift=reading.allow_datum_shift
        )
        table = figures(ours, last, earlier=earlier)
        if ours.insured_ha is not None:
            table = table.join(insurance(ours, table, last.ground))
        was = ours.draw if earlier is None else earlier.mask
        pixel_m = float(np.sqrt(np.prod(last.ground.pixel_sides_m)))
        least_m2 = default_min_area_m2(pixel_m) if min_area_m2 is None else min_area_m2
        along = windows_along(was, last.ground)
        rule = rule_of(was, last, width_m=min_width_m, min_area_m2=least_m2, along=along)
        changed = changes(was, last, ours, rule, folder=work, dates=(dates[0], dates[-1]))
        write_geoparquet([changed], folder / "changes.parquet", is_fiboa=False)
        styles = comparison_styles()
        write_geopackage(
            [changed], folder / "changes.gpkg", layer="changes", geometry_type="Polygon", style=styles["changes"]
        )
        notes = [*ours.notes, *(earlier.notes if earlier else ()), *rule.notes]
        notes += _write_polygons(ours, table, folder, style=styles["polygons"])
        sums = {column: _sums(table, ours.keys[column]) for column in options.by}
        about = {
            "format": FORMAT,
            "title": Message("{polygons} against {map}", polygons=Path(polygons).name, map=last.ground.name),
            "polygons": Path(polygons).name,
            "maps": [
                {"name": _name(path), "date": None if day is None else day.isoformat()}
                for path, day in zip(paths, dates[-len(paths) :], strict=True)
            ],
            "rule": {"min_width_m": rule.width_m, "min_area_m2": rule.min_area_m2},
            "shift": None
            if rule.shift is None
            else {"right_px": rule.shift.right, "down_px": rule.shift.down, "is_measured": rule.shift.is_measured},
            "total": _sums(table, None)[0],
            "by": sums,
            "changes": {
                kind: {"count": len(its), "area_ha": float(its["area_ha"].sum())}
                for kind, its in ((kind, changed[changed["kind"] == kind]) for kind in (GAIN, LOSS))
            },
            "notes": [*dict.fromkeys(notes)],
        }
        write_json(folder / "comparison.json", about)
        for column, rows in sums.items():
            text = pd.DataFrame(rows).rename(columns={"value": column}).to_csv(index=False)
            write_text(folder / f"by_{column}.csv", "\ufeff" + text)
        pictures = Pictures(last, before[0] if before else None, ours, table, changed)
        write_text(folder / "report.html", page(about, pictures))
    shutil.rmtree(work)
    imagery = None if last.imagery is None else how_drawn(last.imagery)
    done = Comparison(folder, about, {"title": about["title"], "imagery": imagery}, temporary)
    return done if out is None else done.save(out, overwrite=overwrite)


def _opened(path: Path, reading: SubjectOptions) -> Subject:
    """The one map at a path, with a CRS."""
    found = open_subjects(path, reading, labels=LabelOptions())
    if len(found) != 1:
        raise SceneError("{path} holds {count} maps; compare with one of them", path=path, count=len(found))
    if found[0].ground.grid.crs is None:
        raise GridError("{name} has no CRS, so polygons cannot be placed on it; give --crs", name=path.name)
    return found[0]


def _name(path: Path) -> str:
    """The name of the scene that was mapped where that is known, since the mask of every map is mask.tif."""
    found = MapFolder.find(path)
    return path.name if found is None else found.scene


def _date(path: Path) -> date | None:
    """When the scene of a map was taken, where that is known."""
    found = MapFolder.find(path)
    told = found and (found.about.get("scene") or {}).get("observed")
    return datetime.fromisoformat(told).date() if told else None


def _write_polygons(held: HeldPolygons, table: pd.DataFrame, folder: Path, *, style: str) -> tuple[str, ...]:
    """The polygons in three formats, in their order, with their own columns and the figures; notes on other names."""
    names = {name.lower() for name in (*table.columns, "coded", "verdict", "fid", "geometry")}
    taken = {name: f"{name}_given" for name in held.layer.fields if name.lower() in names}

    def chunks() -> Iterator[GeoDataFrame]:
        for attributes, wkb in held.layer.batches():
            rows = table.iloc[attributes.index]  # the numbers of the features are those of the rows
            areas = areas_of(wkb)[0]
            single = shapely.get_type_id(areas) == shapely.GeometryType.POLYGON
            areas[single] = shapely.multipolygons(areas[single][:, None])  # as a layer holds one kind
            coded = pd.Series(WORDS[held.coded[attributes.index]], rows.index, dtype="str")
            verdict = pd.Series([None] * len(rows), rows.index, dtype="str")
            own = attributes.rename(columns=taken).assign(coded=coded).join(rows).assign(verdict=verdict)
            yield GeoDataFrame(own.reset_index(drop=True), geometry=areas, crs=held.layer.crs)

    write_geoparquet(chunks(), folder / "polygons.parquet", is_fiboa=False)
    about = {"layer": "polygons", "geometry_type": "MultiPolygon", "style": style}
    write_geopackage(chunks(), folder / "polygons.gpkg", **about)
    with (folder / "polygons.csv").open("w", encoding="utf-8-sig", newline="") as file:  # Excel wants the mark
        for chunk in chunks():
            chunk.drop(columns="geometry").to_csv(file, index=False, header=file.tell() == 0)
    if not taken:
        return ()
    return (Message("Columns with names of figures are called {names} here.", names=", ".join(taken.values())),)


def _sums(table: pd.DataFrame, by: pd.Categorical | None) -> list[dict[str, Any]]:
    """The sums over all polygons, or by value: polygons, hectares, and how many disagree with their code."""
    parts = table[[name for name in (*ADDED, *INSURED) if name in table]].assign(
        polygons=1, disagreeing=(table["disagreement"] > HALF).astype(int)
    )
    if by is None:
        return [parts.sum().to_dict() | {"polygons": len(parts), "disagreeing": int(parts["disagreeing"].sum())}]
    found = parts.groupby(np.asarray(by, object), sort=True).sum()
    rows: list[dict[str, Any]] = json.loads(found.rename_axis("value").reset_index().to_json(orient="records"))
    return rows


def _check_free(out: Path, *, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    if out.exists() and any(out.iterdir()):
        if not (out / "comparison.json").exists():
            raise OutputError("{out} holds files that are no comparison; choose another --out", out=out)
        if not overwrite:
            raise OutputError("{out} holds a comparison already; give another --out, or --overwrite", out=out)
