"""What people answered at the points of a sample: in its layer, in tables of one or more interpreters, or both."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan
from pathlib import Path

import numpy as np
import pyogrio
from geopandas import GeoDataFrame
from jaxtyping import Int64
from pyogrio.errors import DataLayerError, DataSourceError

from cropland.errors import InputError, first_line

__all__ = ["UNKNOWN", "UNSEEN", "Agreement", "Answers", "combine", "read_answers", "read_points"]

UNKNOWN = 255  # somebody looked, and could not tell
UNSEEN = -1  # nobody has looked yet
VALUES = {"1": 1, "0": 0, "?": UNKNOWN, "255": UNKNOWN, "": UNSEEN}
HEADER = ("sample", "id", "reference", "interpreter")
Values = Int64[np.ndarray, " point"]


@dataclass(frozen=True)
class Agreement:
    """How far two interpreters agree at the points that both answered; "cannot tell" is an answer too.

    same: of `both` points. kappa: nan where it is not defined.
    """

    interpreters: tuple[str, str]
    both: int
    same: int
    kappa: float

    @staticmethod
    def of(interpreters: tuple[str, str], one: Values, other: Values) -> Agreement:
        """Percent agreement and kappa of two rows of answers.

            kappa = (p_o - p_e) / (1 - p_e)    with p_e = sum_k p_k q_k, shares of answer k
        Source: Cohen (1960), doi:10.1177/001316446002000104.
        """
        seen = (one != UNSEEN) & (other != UNSEEN)
        a, b = one[seen], other[seen]
        if not len(a):
            return Agreement(interpreters, 0, 0, nan)
        observed = float((a == b).mean())
        chance = sum(float((a == k).mean() * (b == k).mean()) for k in (0, 1, UNKNOWN))
        kappa = (observed - chance) / (1 - chance) if chance < 1 else nan
        return Agreement(interpreters, len(a), int((a == b).sum()), kappa)


@dataclass(frozen=True, eq=False)
class Answers:
    """The answers of a table by the points of a sample, in their order: 1, 0, `UNKNOWN` or `UNSEEN`."""

    interpreter: str
    values: Values


@dataclass(frozen=True)
class Differences:
    """Points on which interpreters differ: how many, and how many of them the resolved table and the layer decided."""

    points: int = 0
    by_table: int = 0
    by_layer: int = 0

    @property
    def open(self) -> int:
        """Points that nobody decided, which count as unknown."""
        return self.points - self.by_table - self.by_layer


def read_points(path: Path) -> GeoDataFrame:
    """The points of a sample: the layer `sample` of a file, or its first one, with `reference` as 1, 0, 255 or -1.

    Raises `InputError` for a file that cannot be read, has no such column, other values in it, or no points.
    """
    try:
        layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
        frame = pyogrio.read_dataframe(path, layer="sample" if "sample" in layers else layers[0])
    except (DataSourceError, DataLayerError, OSError, LookupError) as error:
        raise InputError(
            "{path} cannot be read ({error}); expected the sample.gpkg of `cropland area design`, or a layer of points",
            path=path,
            error=first_line(error),
        ) from error
    if not isinstance(frame, GeoDataFrame) or not len(frame) or set(frame.geom_type) != {"Point"}:
        raise InputError("{path} has no layer of points; give the sample.gpkg of `cropland area design`", path=path)
    if "reference" not in frame:
        raise InputError(
            "{path} has no column 'reference' (it has {columns}); it holds 1 cropland, 0 not cropland, 255 cannot tell",
            path=path,
            columns=", ".join(map(str, frame.columns)),
        )
    texts = frame["reference"].astype(object).where(frame["reference"].notna(), "").map(_plain)
    return frame.assign(reference=_values(texts.tolist(), path))


def read_answers(path: Path, *, ids: Values, sample: str) -> Answers:
    """The answers of a table that the sheet saved: sample, id, reference (1, 0 or ?), interpreter.

    ids: of the points of the sample, in their order. sample: its hash.
    Raises `InputError` for a table that cannot be read, or is of another sample.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        # Where the comma is the decimal sign, spreadsheets put semicolons between the cells.
        separator = next((each for each in ";\t" if each in "".join(lines[:1])), ",")
        reader = csv.DictReader(lines, delimiter=separator, restval="")
        columns, rows = reader.fieldnames or (), list(reader)
    except UnicodeDecodeError as error:
        raise InputError(
            "{path} is not in UTF-8; save it as the sheet does, or from a spreadsheet as 'CSV UTF-8'", path=path
        ) from error
    except (OSError, csv.Error) as error:
        raise InputError(
            "{path} cannot be read ({error}); give a table that the sheet saved", path=path, error=error
        ) from error
    missing = [name for name in HEADER if name not in columns]
    if missing:
        raise InputError(
            "{path} has no column {missing}; give a table that the sheet saved, with the columns {header}",
            path=path,
            missing=", ".join(missing),
            header=",".join(HEADER),
        )
    rows = [row for row in rows if any(row[name] for name in HEADER)]  # a spreadsheet leaves empty ones at the end
    others = {row["sample"] for row in rows} - {sample}
    if others:
        raise InputError(
            "{path} has answers to the sample {other}, not to {sample}; give those of this sample",
            path=path,
            other=min(map(str, others)),
            sample=sample,
        )
    order = {str(number): place for place, number in enumerate(ids.tolist())}
    values = np.full(len(ids), UNSEEN, np.int64)
    given = _values([_plain(row["reference"]) for row in rows], path)
    seen: set[str] = set()
    for row, value in zip(rows, given.tolist(), strict=True):
        number = _plain(row["id"])
        if number not in order or number in seen:
            raise InputError(
                "{path} has the point {number} twice, or the sample has none of this number; give a table that the "
                "sheet saved",
                path=path,
                number=number,
            )
        seen.add(number)
        values[order[number]] = value
    names = sorted({str(row["interpreter"]) for row in rows} - {""})
    return Answers(", ".join(names) or path.stem, values)


def combine(
    layer: Values, tables: Sequence[Answers], *, resolved: Answers | None = None
) -> tuple[Values, tuple[Agreement, ...], Differences]:
    """One answer per point, how far each two interpreters agree, and what became of their differences.

    What all interpreters who looked at a point say counts. Where they differ, or none of them looked, the resolved
    table decides, then the column of the layer; differences that are left are unknown.
    """
    rows = np.array([each.values for each in tables], np.int64).reshape(len(tables), len(layer))
    seen = rows != UNSEEN
    lowest = np.where(seen, rows, UNKNOWN + 1).min(axis=0, initial=UNKNOWN + 1)
    highest = np.where(seen, rows, UNSEEN).max(axis=0, initial=UNSEEN)
    agreed, differ = lowest == highest, lowest < highest
    table = resolved.values if resolved is not None else np.full_like(layer, UNSEEN)
    decided = np.where(table != UNSEEN, table, layer)
    left = np.where(differ & (decided == UNSEEN), UNKNOWN, decided)
    by_table, by_layer = differ & (table != UNSEEN), differ & (table == UNSEEN) & (layer != UNSEEN)
    pairs = tuple(
        Agreement.of((one.interpreter, other.interpreter), one.values, other.values)
        for one, other in combinations(tables, 2)
    )
    differences = Differences(int(differ.sum()), int(by_table.sum()), int(by_layer.sum()))
    return np.where(agreed, lowest, left), pairs, differences


def _plain(value: object) -> str:
    """A value of a table as text, a whole number without its point."""
    text = str(value).strip()
    return text.removesuffix(".0")


def _values(texts: Sequence[str], path: Path) -> Values:
    foreign = sorted({text for text in texts if text not in VALUES})
    if foreign:
        raise InputError(
            "{path} has the reference {shown}; expected 1 cropland, 0 not cropland, or ? (255) where nobody can tell",
            path=path,
            shown=", ".join(repr(text) for text in foreign[:8]),
        )
    return np.array([VALUES[text] for text in texts], np.int64)
