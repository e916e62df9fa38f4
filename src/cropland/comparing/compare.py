"""Polygons that somebody holds, compared with a map or with two: `cropland compare`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import chain, count
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

from cropland.comparing.changes import GAIN, LOSS, Before, Rule, changes
from cropland.comparing.figures import DISAGREES, figures, insurance
from cropland.comparing.polygons import HeldPolygons, PolygonOptions, hold_polygons
from cropland.comparing.report import Pictures, page
from cropland.data.labels import LabelOptions
from cropland.errors import GridError, InputError, OutputError, SceneError
from cropland.evaluation.subject import Subject, SubjectOptions, laid_on, open_subjects
from cropland.fact_sheet import fact_sheet
from cropland.files import replacing_folder, write_json, write_text
from cropland.geo.area import MU_M2, area_words, default_min_area_m2, pixel_edge_m
from cropland.geo.map_folder import MapFolder
from cropland.geo.vectors import areas_of
from cropland.language import Message, _, shown
from cropland.options import NOT_NEGATIVE
from cropland.writers.qgis import comparison_styles, how_drawn, write_comparison_project
from cropland.writers.vector import write_geopackage, write_geoparquet

__all__ = ["Comparison", "command", "compare"]

FORMAT = 1  # of comparison.json
SUMMED = ("ground_ha", "cropland_ha", "unknown_ha", "gain_ha", "loss_ha")  # columns that add up
INSURED = ("insured_ha", "over_insured_ha", "insured_not_cropland_ha", "uninsured_neighbour_ha")
WORDS = np.array(["other", "cropland", *[None] * 254], object)  # of what a code says


def command(
    polygons: Path,
    map: Path,
    later_map: Path | None = None,
    *,
    out: Path = Path("comparison"),
    options: PolygonOptions = PolygonOptions(),  # noqa: B008 - frozen
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
        Replace an earlier comparison, with all verdicts in it.
    """
    if min_area_m2 is not None and min_area_mu is not None:
        raise InputError("--min-area-m2 and --min-area-mu mean the same; give one of them")
    least = min_area_m2 if min_area_mu is None else min_area_mu * MU_M2
    how: dict[str, Any] = {"min_area_m2": least, "min_width_m": min_width_m, "overwrite": overwrite}
    done = compare(polygons, map, later_map, out=out, options=options, reading=reading, **how)
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
    _imagery: Mapping[str, Any] | None
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
        with _appearing(Path(out), overwrite=overwrite) as folder:
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)
            _write_project(folder, self.figures, self._imagery, home=Path(out))
        return replace(self, folder=Path(out), _temporary=None)

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
    options: PolygonOptions | None = None,
    min_area_m2: float | None = None,
    min_width_m: float | None = None,
    overwrite: bool = False,
    reading: SubjectOptions | None = None,
) -> Comparison:
    """Compare polygons with a map, or with two, and write what was found into the folder `out`, if wanted.

    options: what is known of the polygons. min_area_m2, min_width_m: of a gain or a loss. reading: how to read the
    maps. Raises `LabelError` for polygons that cannot be used, `SceneError` for what is no map, `GridError` for frames
    that cannot be joined, `OutputError` for a folder that cannot be used.
    """
    how: dict[str, Any] = {"least_m2": min_area_m2, "width_m": min_width_m, "reading": reading or SubjectOptions()}
    maps = [Path(path) for path in (map, later_map) if path is not None]
    if out is None:
        temporary = TemporaryDirectory(prefix="cropland-", ignore_cleanup_errors=True)
        folder = Path(temporary.name)
        about, imagery = _compared(Path(polygons), maps, folder, options=options or PolygonOptions(), **how)
        return Comparison(folder, about, imagery, temporary)
    with _appearing(Path(out), overwrite=overwrite) as folder:
        about, imagery = _compared(Path(polygons), maps, folder, options=options or PolygonOptions(), **how)
        _write_project(folder, about, imagery, home=Path(out))
    return Comparison(Path(out), about, imagery)


@contextmanager
def _appearing(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder that takes its place at the end. Raises `OutputError` if it holds something that may not be replaced, or
    cannot be written."""
    if out.exists() and not out.is_dir():
        raise OutputError("{out} is a file; give a folder as --out", out=out)
    if out.exists() and any(out.iterdir()):
        if not (out / "comparison.json").exists():
            raise OutputError("{out} holds files that are no comparison; choose another --out", out=out)
        if not overwrite:
            raise OutputError("{out} holds a comparison already; give another --out, or --overwrite", out=out)
    try:
        with replacing_folder(out) as folder:
            yield folder
    except OSError as error:
        raise OutputError(
            "{out} cannot be written ({strerror}); give another --out", out=out, strerror=error.strerror
        ) from error


def _write_project(folder: Path, about: Mapping[str, Any], imagery: Mapping[str, Any] | None, *, home: Path) -> None:
    polygons, changes = folder / "polygons.gpkg", folder / "changes.gpkg"
    how: dict[str, Any] = {"title": about["title"], "imagery": imagery, "home": home.absolute()}
    write_comparison_project(folder / "compare.qgs", polygons=polygons, changes=changes, **how)


def _compared(
    polygons: Path,
    maps: Sequence[Path],
    folder: Path,
    *,
    options: PolygonOptions,
    least_m2: float | None,
    width_m: float | None,
    reading: SubjectOptions,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Write all files but the project into a folder; the content of comparison.json, and how the imagery is drawn."""
    *first, last = (_opened(path, reading) for path in maps)
    earlier = laid_on(last.ground, first[0]) if first else None
    with TemporaryDirectory(dir=folder, prefix=".work-") as work, TemporaryFile(dir=work) as file:
        shift = reading.allow_datum_shift
        held = hold_polygons(polygons, last.ground, file, options=options, allow_datum_shift=shift)
        table = figures(held, last, earlier=earlier)
        if held.insured_ha is not None:
            table = table.join(insurance(held, table, last.ground))
        if least_m2 is None:
            least_m2 = default_min_area_m2(pixel_edge_m(last.ground.grid))
        before = Before.of(held, earlier)
        rule = Rule.of(before, last, width_m=width_m, min_area_m2=least_m2)
        days = [None, *map(_date, maps)][-2:]
        changed = changes(before, last, held, rule, folder=Path(work), dates=(days[0], days[1]))
        styles = comparison_styles()
        write_geoparquet([changed], folder / "changes.parquet", is_fiboa=False)
        how: dict[str, Any] = {"layer": "changes", "geometry_type": "Polygon", "style": styles["changes"]}
        write_geopackage([changed], folder / "changes.gpkg", **how)
        notes = [*held.notes, *(earlier.notes if earlier else ()), *rule.notes(before)]
        notes += _write_polygons(held, table, folder, style=styles["polygons"])
        about: dict[str, Any] = {
            "format": FORMAT,
            "title": Message("{polygons} against {map}", polygons=polygons.name, map=last.ground.name),
            "polygons": polygons.name,
            "maps": [{"name": name, "date": _day(_date(path))} for name, path in zip(_names(maps), maps, strict=True)],
            "rule": {"min_width_m": rule.width_m, "min_area_m2": rule.min_area_m2},
            "shift": rule.to_json(),
            "total": {name: value for name, value in _sums(table, changed)[0].items() if name != "value"},
            "by": {column: _sums(table, changed, held.keys[column]) for column in options.by},
            "changes": {kind: _count(changed[changed["kind"] == kind]) for kind in (GAIN, LOSS)},
            "notes": [*dict.fromkeys(notes)],
        }
        write_json(folder / "comparison.json", about)
        _write_sums(about["by"], folder)
        pictures = Pictures(last, first[0] if first else None, held, table, changed)
        write_text(folder / "report.html", page(about, pictures))
    return about, None if last.imagery is None else how_drawn(last.imagery)


def _opened(path: Path, reading: SubjectOptions) -> Subject:
    """The one map at a path, with a CRS."""
    found = open_subjects(path, reading, labels=LabelOptions())
    if len(found) != 1:
        raise SceneError("{path} holds {count} maps; compare with one of them", path=path, count=len(found))
    if found[0].ground.grid.crs is None:
        raise GridError("{name} has no CRS, so polygons cannot be placed on it; give --crs", name=path.name)
    return found[0]


def _names(maps: Sequence[Path]) -> list[str]:
    """The names of the scenes that were mapped, or those of the files where they are not known or the same."""
    found = [MapFolder.find(path) for path in maps]
    names = [path.name if each is None else each.scene for each, path in zip(found, maps, strict=True)]
    return names if len(set(names)) == len(names) else [path.name for path in maps]


def _date(path: Path) -> date | None:
    """When the scene of a map was taken, where that is known."""
    found = MapFolder.find(path)
    told = found and (found.about.get("scene") or {}).get("observed")
    return datetime.fromisoformat(told).date() if told else None


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _count(changed: GeoDataFrame) -> dict[str, Any]:
    return {"count": len(changed), "area_ha": float(changed["area_ha"].sum())}


def _write_sums(by: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> None:
    """A table for each column. What no file name may hold becomes a line, and names that are then alike get numbers."""
    names = set[str]()
    for column, rows in by.items():
        plain = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", column)
        name = next(each for each in chain([plain], (f"{plain}_{n}" for n in count(2))) if each.lower() not in names)
        names.add(name.lower())
        text = pd.DataFrame(rows).rename(columns={"value": column}).to_csv(index=False)
        write_text(folder / f"by_{name}.csv", f"\ufeff{text}")  # Excel wants the mark


def _write_polygons(held: HeldPolygons, table: pd.DataFrame, folder: Path, *, style: str) -> tuple[str, ...]:
    """The polygons in three formats, in their order, with their own columns and the figures; notes on other names."""
    ours = [*table.columns, "coded", "verdict", "fid", "geometry", "geom", "bbox"]  # and names that formats use
    renamed = _renamed(held.layer.fields, ours)

    def chunks() -> Iterator[GeoDataFrame]:
        for attributes, wkb in held.layer.batches():
            rows = table.iloc[attributes.index]  # the numbers of the features are those of the rows
            areas = areas_of(wkb)[0]
            single = shapely.get_type_id(areas) == shapely.GeometryType.POLYGON
            areas[single] = shapely.multipolygons(areas[single][:, None])  # as a layer holds one kind
            coded = pd.Series(WORDS[held.coded[attributes.index]], rows.index, dtype="str")
            verdict = pd.Series([None] * len(rows), rows.index, dtype="str")
            own = attributes.rename(columns=renamed).assign(coded=coded).join(rows).assign(verdict=verdict)
            yield GeoDataFrame(own.reset_index(drop=True), geometry=areas, crs=held.layer.crs)

    with (folder / "polygons.csv").open("w", encoding="utf-8-sig", newline="") as file:  # Excel wants the mark

        def with_csv() -> Iterator[GeoDataFrame]:
            for chunk in chunks():
                chunk.drop(columns="geometry").to_csv(file, index=False, header=file.tell() == 0)
                yield chunk

        write_geoparquet(with_csv(), folder / "polygons.parquet", is_fiboa=False)
    about = {"layer": "polygons", "geometry_type": "MultiPolygon", "style": style}
    write_geopackage(chunks(), folder / "polygons.gpkg", **about)
    if not renamed:
        return ()
    return (Message("Columns with names of figures are called {names} here.", names=", ".join(renamed.values())),)


def _renamed(fields: Sequence[str], ours: Sequence[str]) -> dict[str, str]:
    """New names of columns of a layer that have one of ours, or each other's: some formats do not tell cases apart."""
    taken, found = {name.lower() for name in ours}, {}
    for field in fields:
        names = chain([field, f"{field}_given"], (f"{field}_given{number}" for number in count(2)))
        name = next(each for each in names if each.lower() not in taken)
        taken.add(name.lower())
        if name != field:
            found[field] = name
    return found


def _sums(table: pd.DataFrame, changed: GeoDataFrame, by: pd.Categorical | None = None) -> list[dict[str, Any]]:
    """The sums over all polygons, or for each value, and last for the ground in no polygon (its value is None).

    gained_ha and lost_ha are those of the polygons of changes; gain_ha and loss_ha are within the polygons, of any
    width.
    """
    parts = table[[name for name in (*SUMMED, *INSURED) if name in table]].assign(
        polygons=1, disagreeing=(table["disagreement"] > DISAGREES).astype(int)
    )
    values = pd.Series(np.asarray(by, object) if by is not None else "", table.index)
    under = values.reindex(changed["polygon_fid"].fillna(0).astype(int) - 1).fillna("\0" if by is not None else "")
    gains = {
        name: changed["area_ha"].where(changed["kind"] == kind, 0.0).groupby(under.to_numpy()).sum()
        for name, kind in (("gained_ha", GAIN), ("lost_ha", LOSS))
    }
    found = parts.groupby(values).sum().join(pd.DataFrame(gains), how="outer").fillna(0.0)
    found = found.astype({"polygons": int, "disagreeing": int}).sort_index()
    outside = found.index == "\0"
    rows = pd.concat([found[~outside], found[outside]]).rename_axis("value").reset_index()
    rows["value"] = rows["value"].where(rows["value"] != "\0", None)
    plain: list[dict[str, Any]] = json.loads(rows.to_json(orient="records", double_precision=12))
    return plain
