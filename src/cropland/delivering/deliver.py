"""Parcels of a map are handed in to an office, in its own regions, columns and format: `cropland deliver`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import shapely
from cyclopts import Parameter
from geopandas import GeoDataFrame, GeoSeries
from rich.console import Console
from rich.table import Column, Table

from cropland.delivering.columns import FIBOA, M2, MEASURES, arranged, factors, measured, pairs
from cropland.delivering.divide import NOWHERE, divided
from cropland.delivering.slivers import merged
from cropland.delivering.topology import Topology, examined
from cropland.errors import InputError, LabelError, OutputError
from cropland.fact_sheet import fact_sheet
from cropland.files import write_text
from cropland.geo.area import MU_M2, area_words, ellipsoidal_area_m2
from cropland.geo.features import open_layer
from cropland.geo.grid import user_crs
from cropland.geo.map_folder import MapFolder
from cropland.geo.regions import NAMES, named_regions
from cropland.geo.vectors import all_polygons, to_grid_crs, united
from cropland.language import Message, _, shown
from cropland.options import NOT_NEGATIVE
from cropland.progress import progress_bar
from cropland.writers.layer import Encoding, check_format, write_layer
from cropland.writers.qgis import parcels_style

__all__ = ["Delivery", "command", "deliver"]

LONGEST_M = 100.0  # edge of a region that is transformed as one: a curve leaves it by less than a millimetre
LINES = 20  # regions that a terminal shows
FINE = 60  # pixels along the edge of a middling parcel, by which outlines are drawn: three cover a twentieth of it
Notes = tuple[Message, ...]


def command(
    parcels: Path,
    *,
    out: Path,
    by: Path | None = None,
    name: str | None = None,
    min_area_m2: Annotated[float | None, NOT_NEGATIVE] = None,
    min_area_mu: Annotated[float | None, NOT_NEGATIVE] = None,
    min_width_m: Annotated[float, NOT_NEGATIVE] = 0.0,
    deduction: str | None = None,
    code: list[str] | None = None,
    rename: list[str] | None = None,
    drop: list[str] | None = None,
    encoding: Encoding | None = None,
    layer: str | None = None,
    input_encoding: str | None = None,
    crs: str | None = None,
    report: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    allow_datum_shift: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Deliver parcels to an office: cut by regions, with net areas and codes, in its format, and checked.

    Parcels are cut along the borders of --by; what lies in no region is kept and told. Slivers are united with the
    neighbour with which they share the longest edge. Areas are on the ellipsoid, in m2, hectares and mu.

    Beside FILE a folder FILE_report holds regions.csv, the areas of each region; topology.json; and topology.gpkg,
    which shows gaps, overlaps and spikes in QGIS.

    Example: cropland deliver my_map --out DLTB.gpkg --by villages.gpkg --name ZLDWMC --min-area-mu 0.6

    Example: cropland deliver parcels.gpkg --out DLTB.shp --encoding GBK --code DLBM=0103 --rename area_m2=TBMJ

    Parameters
    ----------
    parcels
        A file of polygons, or the folder of a map.
    out
        The file to write: .shp, .gdb (file geodatabase), .gpkg (with its style), .parquet or .geojson.
    by
        Polygons of regions, such as villages, along whose borders parcels are cut.
    name
        The column of the regions that names them; one called name if not given.
    min_area_m2
        Unite pieces of less m2 with a neighbour of their region; none if not given.
    min_area_mu
        The same in mu (1 mu is 10000/15 m2).
    min_width_m
        Unite pieces that are thinner, in metres: 2 x area / perimeter, the width of a long strip.
    deduction
        What is deducted, such as ridges: a column of factors in the parcels, else in the regions; or a factor, 0 to 1.
    code
        A constant column, as in DLBM=0103; may be given several times.
    rename
        Another name for a column, as in area_mu=MJ_MU; may be given several times.
    drop
        A column to leave out; may be given several times.
    encoding
        Of the text of a shapefile, GBK or UTF-8; UTF-8 if not given.
    layer
        The layer of the parcels, where their file has several.
    input_encoding
        Of the text of the parcels and regions (GBK), where their files do not declare it.
    crs
        The CRS to deliver in, as in EPSG:4528; that of the parcels if not given.
    report
        The folder for the report, if not FILE_report.
    overwrite
        Replace an earlier delivery.
    allow_datum_shift
        Allow an approximate datum transformation (errors up to about 100 m).
    """
    done = deliver(
        parcels,
        out,
        by=by,
        name=name,
        min_area_m2=min_area_m2,
        min_area_mu=min_area_mu,
        min_width_m=min_width_m,
        deduction=deduction,
        code=code,
        rename=rename,
        drop=drop or (),
        encoding=encoding,
        layer=layer,
        input_encoding=input_encoding,
        crs=crs,
        report=report,
        overwrite=overwrite,
        allow_datum_shift=allow_datum_shift,
    )
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(done.table())
    console.print(done.topology.table())
    for note in done.notes:
        console.print(shown(note))
    console.print(out, _report_of(out) if report is None else report, sep="\n")


@dataclass(frozen=True, eq=False, repr=False)
class Delivery:
    """Parcels as they are handed in.

    parcels: a table of single polygons in the CRS of what came, with the columns that were asked for. regions: a row
    for each region in the order of their layer, one for what lies in none, and the total: parcels, gross and net area
    in m2, ha and mu. topology: what a checker would object to. notes: what a person must know.
    """

    parcels: GeoDataFrame
    regions: pd.DataFrame
    topology: Topology
    notes: Notes = field(default=())

    def table(self) -> Table:
        """The regions, for a terminal: the first of them and the total."""
        heads = (_("region"), _("parcels"), _("gross ha"), _("gross mu"), _("net ha"), _("net mu"))
        columns = (Column(head, overflow="fold") for head in heads)  # a narrow terminal cuts no name
        table = Table(*columns, box=None, header_style="dim")
        last = self.regions.iloc[-1:]
        for row in pd.concat([self.regions.iloc[:-1].head(LINES), last]).itertuples():
            areas = (f"{row.gross_ha:,.2f}", f"{row.gross_mu:,.1f}", f"{row.net_ha:,.2f}", f"{row.net_mu:,.1f}")
            table.add_row(shown(row.region), f"{row.parcels:,}", *areas)
        return table

    def save(self, out: str | Path, *, encoding: Encoding | None = None, report: str | Path | None = None) -> Delivery:
        """Write the parcels in the format of the suffix, and the report; with the notes of this format added.

        Raises `OutputError` as `write_layer` does, and where the folder of the report cannot be written.
        """
        out = Path(out)
        folder = _report_of(out) if report is None else Path(report)
        edge = sqrt(float(np.median(shapely.area(self.parcels.geometry.to_numpy()))))
        style = parcels_style(pixel=edge / FINE)
        notes = write_layer(self.parcels, out, layer=out.stem, encoding=encoding, style=style)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # Excel takes a table without this mark for one of the old code page, and its Chinese for rubbish.
            named = self.regions.assign(region=[shown(region) for region in self.regions["region"]])
            write_text(folder / "regions.csv", "\ufeff" + named.to_csv(index=False, float_format="%.6f"))
            self.topology.save(folder)
        except OSError as error:
            raise OutputError(
                "{out} cannot be written ({strerror}); give another --report", out=folder, strerror=error.strerror
            ) from error
        return Delivery(self.parcels, self.regions, self.topology, (*self.notes, *notes))

    def __repr__(self) -> str:
        area = area_words(float(self.regions["gross_ha"].iloc[-1]), digits=2)
        return _("{count:,} parcels, {area}", count=len(self.parcels), area=area)

    def _repr_html_(self) -> str:
        facts = {shown(row.region): area_words(row.gross_ha, digits=2) for row in self.regions.head(LINES).itertuples()}
        return fact_sheet(repr(self), facts)


def deliver(
    parcels: str | Path,
    out: str | Path | None = None,
    *,
    by: str | Path | None = None,
    name: str | None = None,
    min_area_m2: float | None = None,
    min_area_mu: float | None = None,
    min_width_m: float = 0.0,
    deduction: str | float | None = None,
    code: Sequence[str] | Mapping[str, str] | None = None,
    rename: Sequence[str] | Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    encoding: Encoding | None = None,
    layer: str | None = None,
    input_encoding: str | None = None,
    crs: str | None = None,
    report: str | Path | None = None,
    overwrite: bool = False,
    allow_datum_shift: bool = False,
) -> Delivery:
    """Parcels as an office wants them: cut by regions, without slivers, with net areas, codes and a topology report.

    parcels: a file of polygons, or the folder of a map. out: the file to write, if wanted. by, name: polygons of
    regions, and the column that names them. min_area_m2 or min_area_mu, min_width_m: what is less is united with a
    neighbour, as in `merged`. deduction: a column of the parcels, else of the regions, or a number, 0..1. code:
    constant columns; rename: new names by the old ones; drop: columns to leave out. encoding: of a shapefile. layer: of
    the parcels. input_encoding: of parcels and regions. crs: to deliver in. report: the folder for regions.csv,
    topology.json and topology.gpkg.
    Every polygon is a row, with an `id` of its own; pieces of parcel 12 are 12-1, 12-2. All parcels are in memory.
    Raises `LabelError` for parcels or regions that cannot be used, `GridError` for frames that cannot be joined,
    `InputError` for options that contradict, `OutputError` where `out` cannot be written.
    """
    least_m2 = _least_m2(min_area_m2, min_area_mu)
    codes, names = pairs(code, option="--code"), pairs(rename, option="--rename")
    if name is not None and by is None:
        raise InputError("--name is the column that names regions; give their polygons with --by")
    if out is not None:
        _check_free(Path(out), report, encoding=encoding, overwrite=overwrite)
    given = _read(Path(parcels), layer=layer, encoding=input_encoding)
    frame, regions, notes = given.parcels, None, given.notes
    if crs is not None:
        frame = to_grid_crs(frame, user_crs(crs), allow_datum_shift=allow_datum_shift)
    if by is not None:
        how: dict[str, Any] = {"longest_m": LONGEST_M, "allow_datum_shift": allow_datum_shift}
        regions = named_regions(Path(by), frame.crs.to_wkt(), name=name, encoding=input_encoding, **how)
        if name is None and not {*NAMES} & {*regions.columns}:
            notes += (
                Message(
                    "{name} has no column called name: its regions are numbered. --name takes one of {columns}.",
                    name=Path(by).name,
                    columns=", ".join(map(str, regions.columns.drop(["region", "geometry"]))),
                ),
            )
        regions = _one_of_each_name(regions, deduction, file=Path(by).name)
        if "region" in frame and "region" not in drop:
            raise InputError(
                "the parcels have a column {column} already; leave it out with --drop {column}", column="region"
            )
        if "region" in frame:
            frame, drop = frame.drop(columns="region"), [each for each in drop if each != "region"]
    files = given.name, "" if by is None else Path(by).name
    frame, regions = _with_factors(frame, regions, deduction, files=files)
    is_deducted = deduction is not None
    arrange = partial(arranged, drop=drop, code=codes, rename=names)
    will_have = {"region": regions is not None, "deduction": is_deducted}
    first = frame.iloc[:1].assign(**{column: 0.0 for column, is_there in will_have.items() if is_there})
    arrange(measured(first))  # what can be refused is refused before the work begins
    with progress_bar(total=4 * len(frame), rate=_rate) as bar:
        bar(0, name=_("cut"))
        pieces, doubtful = _pieces(frame, regions, by)
        bar(len(frame), name=_("unite"))
        pieces, slivers = _without_slivers(pieces, least_m2, min_width_m)
        bar(len(frame), name=_("measure"))
        pieces, unknown = _with_areas(pieces, is_deducted=is_deducted)
        bar(len(frame), name=_("check"))
        topology = examined(pieces, pieces["id"].to_numpy(object), invalid=given.invalid)
        bar(len(frame))
    notes = (*notes, *doubtful, *slivers, *unknown)
    done = Delivery(arrange(pieces), _by_region(pieces, regions), topology, notes)
    return done if out is None else done.save(out, encoding=encoding, report=report)


def _report_of(out: Path) -> Path:
    return out.with_name(f"{out.stem}_report")


def _rate(speed: float) -> str:
    return _("{count:,.0f} parcels/s", count=speed)


def _least_m2(given_m2: float | None, given_mu: float | None) -> float:
    if given_m2 is not None and given_mu is not None:
        raise InputError("--min-area-m2 and --min-area-mu mean the same; give one of them")
    if given_mu is not None:
        return given_mu * MU_M2
    return given_m2 or 0.0


def _check_free(out: Path, report: str | Path | None, *, encoding: Encoding | None, overwrite: bool) -> None:
    check_format(out, encoding)
    folder = _report_of(out) if report is None else Path(report)
    if folder.exists() and not folder.is_dir():
        raise OutputError("{out} is a file; give a folder as --report", out=folder)
    for there in (out, folder / "topology.json"):
        if there.exists() and not overwrite:
            raise OutputError("{out} is there already; give another --out or --report, or --overwrite", out=there)


class _ReadParcels(NamedTuple):
    """What was read. invalid: the polygons that were repaired, by their id, and what GEOS says of them."""

    parcels: GeoDataFrame
    name: str
    invalid: Sequence[tuple[str, str]]
    notes: Notes


def _read(path: Path, *, layer: str | None, encoding: str | None) -> _ReadParcels:
    """The polygons of a file or a map, valid, with a text `id` that no two of them share."""
    found = MapFolder.find(path) if path.is_dir() else None
    opened = open_layer(found.parcels if found else path, layer=layer, encoding=encoding)
    features = opened.read()
    attributes, notes = features.attributes, tuple[Message, ...]()
    ids = attributes["id"].astype(str) if "id" in attributes else None
    if ids is None or attributes["id"].isna().any() or ids.duplicated().any():
        if ids is not None:
            notes = (Message("The column id has values that are missing or repeated; parcels are numbered instead."),)
        ids = pd.Series(range(1, len(attributes) + 1), attributes.index).astype(str)
    columns = [name for name in attributes if name != "id"]
    attributes = pd.concat([ids.rename("id"), attributes[columns]], axis=1)
    frame, broken = all_polygons(opened, features._replace(attributes=attributes), encoding=encoding)
    if count := len(features.wkb) - len(frame):
        notes += broken or (Message("Features without an area, which are left out: {count}.", count=count),)
    raw = shapely.from_wkb(features.wkb, on_invalid="ignore")
    wrong = np.flatnonzero(~shapely.is_valid(raw) & ~shapely.is_missing(raw) & (shapely.get_dimensions(raw) == 2))
    invalid = list(zip(ids.to_numpy()[wrong], shapely.is_valid_reason(raw[wrong]), strict=True))
    return _ReadParcels(frame, opened.path.name, invalid, notes)


def _one_of_each_name(regions: GeoDataFrame, deduction: str | float | None, *, file: str) -> GeoDataFrame:
    """The regions, those of one name united: an office has one of each."""
    number, names = pd.factorize(regions["region"])
    if len(names) == len(regions):
        return regions
    several = regions.groupby("region")[deduction].nunique(dropna=False) > 1 if deduction in regions else pd.Series()
    if several.any():
        raise LabelError(
            "{file} has several values of {column} for the region {name}; give each part a name of its own",
            file=file,
            column=deduction,
            name=several.idxmax(),
        )
    order = np.argsort(number, kind="stable")
    shapes = united(regions.geometry.to_numpy()[order], number[order])
    first = regions.drop_duplicates("region").reset_index(drop=True)
    return first.set_geometry(GeoSeries(shapes, crs=regions.crs))


def _with_factors(
    frame: GeoDataFrame,
    regions: GeoDataFrame | None,
    deduction: str | float | None,
    *,
    files: tuple[str, str],
) -> tuple[GeoDataFrame, GeoDataFrame | None]:
    """Parcels or regions with the factor of deduction in a column `deduction`; without what is measured again."""
    plain = frame.drop(columns=[name for name in frame if name in MEASURES or str(name).startswith(FIBOA)])
    if deduction is None:
        return plain, regions
    if deduction in frame:
        values = factors(frame[deduction], name=str(deduction), file=files[0])
        return plain.drop(columns=deduction, errors="ignore").assign(deduction=values), regions
    if regions is not None and deduction in regions:
        values = factors(regions[deduction], name=str(deduction), file=files[1])
        return plain, regions.assign(deduction=values)
    try:
        factor = float(deduction)
    except ValueError:
        known = [str(name) for name in frame.columns if name != "geometry"]
        more = [] if regions is None else [str(name) for name in regions.columns if name not in ("region", "geometry")]
        raise LabelError(
            "--deduction {column} is no number and no column; there are {columns}",
            column=deduction,
            columns=", ".join(dict.fromkeys([*known, *more])),
        ) from None
    if not 0 <= factor <= 1:
        raise InputError("--deduction {factor} is no factor of 0 to 1; write 6.5 % as 0.065", factor=deduction)
    return plain.assign(deduction=factor), regions


def _pieces(
    frame: GeoDataFrame, regions: GeoDataFrame | None, layer: str | Path | None = None
) -> tuple[GeoDataFrame, Notes]:
    """A row for each polygon, cut by the regions of a layer; `region` is None for what lies in none of them."""
    notes: Notes = ()
    shapes, parent = shapely.get_parts(frame.geometry.to_numpy(), return_index=True)
    region = None
    if regions is not None:
        pieces, parcel, region, doubtful = divided(GeoSeries(shapes, crs=frame.crs), regions.geometry)
        if layer is not None and (region == NOWHERE).all():
            raise LabelError(
                "{name} covers none of the {count} parcels; give regions of this place",
                name=Path(layer).name,
                count=len(frame),
            )
        shapes, parent = pieces, parent[parcel]
        if len(doubtful):
            notes = (
                Message(
                    "Pieces in several regions, which overlap: {count} ({area:.2f} ha); they are given to the first.",
                    count=len(doubtful),
                    area=_area_ha(shapes[doubtful], frame.crs),
                ),
            )
    table = frame.iloc[parent].reset_index(drop=True).set_geometry(GeoSeries(shapes, crs=frame.crs))
    table["id"] = _piece_ids(frame["id"].to_numpy(object), parent)
    if regions is None or region is None:
        return table, notes
    known = region != NOWHERE
    names = np.array([*regions["region"], None], object)[region]
    table.insert(1, "region", pd.Series(names, dtype=object))
    if "deduction" in regions:
        values = regions["deduction"].to_numpy(np.float64)
        table["deduction"] = np.where(known, values[region], np.nan)
    return table, notes


def _piece_ids(ids: np.ndarray, parent: np.ndarray) -> np.ndarray:
    """The id of a parcel that is whole; with -1, -2 behind it for pieces. Numbers, where two would be the same."""
    order = np.argsort(parent, kind="stable")
    counts = np.bincount(parent)
    number = np.empty(len(parent), np.int64)
    number[order] = np.arange(len(parent)) - np.repeat(np.cumsum(counts) - counts, counts)
    several = counts[parent] > 1
    made: np.ndarray = ids[parent]
    made[several] += np.array([f"-{count + 1}" for count in number[several]], object)
    return made if len(set(made)) == len(made) else np.arange(1, len(made) + 1).astype(str).astype(object)


def _without_slivers(pieces: GeoDataFrame, least_m2: float, least_m: float) -> tuple[GeoDataFrame, Notes]:
    if not (least_m2 or least_m):
        return pieces, ()
    named = pieces["region"].fillna("").to_numpy(object) if "region" in pieces else np.zeros(len(pieces))
    kept = merged(pieces.geometry, pd.factorize(named)[0], min_area_m2=least_m2, min_width_m=least_m)
    table = pieces.iloc[kept.kept].reset_index(drop=True).set_geometry(GeoSeries(kept.shapes, crs=pieces.crs))
    alone = len(kept.alone)
    note = Message(
        "Slivers united with a neighbour: {count}; slivers that have none in their region and stay: {alone} "
        "({area:.4f} ha).",
        count=len(pieces) - len(table),
        alone=alone,
        area=_area_ha(kept.shapes[kept.alone], pieces.crs),
    )
    return table, (note,)


def _area_ha(shapes: np.ndarray, crs: Any) -> float:
    return float(ellipsoidal_area_m2(GeoSeries(shapes, crs=crs)).sum()) / 1e4 if len(shapes) else 0.0


def _with_areas(pieces: GeoDataFrame, *, is_deducted: bool) -> tuple[GeoDataFrame, Notes]:
    """The pieces with their areas, and what a person must know of those without a region or a factor."""
    unknown = pieces["deduction"].isna() if is_deducted else pd.Series(False, pieces.index)
    table = measured(pieces.assign(deduction=pieces["deduction"].fillna(0.0)) if is_deducted else pieces)
    notes: Notes = ()
    if "region" in table and (lost := table["region"].isna()).any():
        notes += (
            Message(
                "Pieces in no region: {count} ({area:.2f} ha); they are in the file, with an empty name.",
                count=int(lost.sum()),
                area=float(table.loc[lost, "area_ha"].sum()),
            ),
        )
    if unknown.any():
        notes += (
            Message(
                "Pieces without a factor of deduction: {count} ({area:.2f} ha); nothing is deducted from them.",
                count=int(unknown.sum()),
                area=float(table.loc[unknown, "area_ha"].sum()),
            ),
        )
    return table, notes


def _by_region(pieces: GeoDataFrame, regions: GeoDataFrame | None) -> pd.DataFrame:
    """Number and areas of each region, of what lies in none, and of all."""
    names: list[str] = [] if regions is None else [*regions["region"]]
    nowhere = len(names)  # the row behind the regions
    if regions is None:
        row = np.full(len(pieces), nowhere)
    else:
        row = pd.Index(names).get_indexer(pieces["region"])
        row[row < 0] = nowhere
    net = "net" if "net_m2" in pieces else "area"
    sums = {"parcels": np.bincount(row, minlength=nowhere + 1)}
    for kind, column in (("gross", "area"), ("net", net)):
        for unit in M2:
            sums[f"{kind}_{unit}"] = np.bincount(row, pieces[f"{column}_{unit}"], minlength=nowhere + 1)
    table = pd.DataFrame(sums)
    total = table.sum().to_frame().T.astype(table.dtypes)
    is_needed = regions is not None and sums["parcels"][nowhere] > 0
    table = pd.concat([table if is_needed else table.iloc[:nowhere], total], ignore_index=True)
    heads = [*names, *([Message("in no region")] if is_needed else []), Message("total")]
    table.insert(0, "region", pd.Series(heads, dtype=object))  # as they are: messages stay messages
    return table
