"""How answers are read, how far interpreters agree, and what counts where they do not."""

from math import isnan
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cropland.errors import InputError
from cropland.sampling.answers import UNKNOWN, UNSEEN, Agreement, Answers, combine, read_answers, read_points
from sampling.small_sample import write_answers

IDS = np.array([1, 2, 3, 4])
ANSWER = st.sampled_from([0, 1, UNKNOWN, UNSEEN])


def answers(*values: int) -> Answers:
    return Answers("li", np.array(values))


def points(path: Path, **columns: list[object]) -> Path:
    count = len(next(iter(columns.values())))
    gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(range(count), range(count)), crs=32650).to_file(path)
    return path


def test_a_table_of_the_sheet_is_read_by_id(tmp_path: Path):
    table = write_answers(tmp_path / "li.csv", "abc", {4: "?", 1: "1", 2: "0"})
    found = read_answers(table, ids=IDS, sample="abc")
    assert found.interpreter == "li" and found.values.tolist() == [1, 0, UNSEEN, UNKNOWN]


def test_a_table_without_names_has_that_of_its_file(tmp_path: Path):
    table = write_answers(tmp_path / "wang.csv", "abc", {1: "1"}, interpreter="")
    assert read_answers(table, ids=IDS, sample="abc").interpreter == "wang"


def test_a_table_that_a_spreadsheet_has_saved(tmp_path: Path):
    table = tmp_path / "li.csv"
    rows = ["sample;id;reference;interpreter;Spalte1", '"abc";1;1;"李; 三"', 'abc;2;?;"李; 三";', ";;;;"]
    table.write_bytes("\r\n".join(rows).encode("utf-8-sig"))
    found = read_answers(table, ids=IDS, sample="abc")
    assert found.interpreter == "李; 三" and found.values.tolist() == [1, UNKNOWN, UNSEEN, UNSEEN]
    table.write_bytes("sample,id,reference,interpreter\nabc,1,1,李\n".encode("gbk"))
    with pytest.raises(InputError, match="is not in UTF-8; save it as the sheet does"):
        read_answers(table, ids=IDS, sample="abc")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sample,id,reference,interpreter\nother,1,1,li\n", "answers to the sample other, not to abc"),
        ("sample,id,reference,interpreter\nabc,9,1,li\n", "the point 9 twice, or the sample has none"),
        ("sample,id,reference,interpreter\nabc,1,1,li\nabc,1,0,li\n", "the point 1 twice"),
        ("sample,id,reference,interpreter\nabc,1,maize,li\n", "has the reference 'maize'; expected 1 cropland"),
        ("id,reference\n1,1\n", "has no column sample, interpreter"),
        ("", "has no column sample, id, reference, interpreter"),
        (None, "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_used(text, told, tmp_path: Path):
    table = tmp_path / "li.csv"
    if text is not None:
        table.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=told):
        read_answers(table, ids=IDS, sample="abc")


def test_a_layer_is_read_with_what_is_missing(tmp_path: Path):
    sample = points(tmp_path / "p.gpkg", reference=[1, 0, 255, None])
    assert read_points(sample)["reference"].tolist() == [1, 0, UNKNOWN, UNSEEN]
    texts = points(tmp_path / "t.gpkg", reference=["1", "0", "?", ""])
    assert read_points(texts)["reference"].tolist() == [1, 0, UNKNOWN, UNSEEN]


def test_a_layer_that_cannot_be_used(tmp_path: Path):
    with pytest.raises(InputError, match="has no column 'reference'"):
        read_points(points(tmp_path / "a.gpkg", truth=[1, 0]))
    with pytest.raises(InputError, match="has the reference '2'; expected 1 cropland"):
        read_points(points(tmp_path / "b.gpkg", reference=[1, 2]))
    with pytest.raises(InputError, match="cannot be read"):
        read_points(tmp_path / "none.gpkg")
    polygons = gpd.read_file(points(tmp_path / "c.gpkg", reference=[1]))
    polygons.set_geometry(polygons.buffer(1)).to_file(tmp_path / "d.gpkg")
    with pytest.raises(InputError, match="has no layer of points"):
        read_points(tmp_path / "d.gpkg")


def test_kappa_of_a_textbook_table():
    """Cohen (1960) by hand: 20 and 15 of 50 agreed on, 25 and 30 said yes: (0.70 - 0.50) / (1 - 0.50)."""
    one = np.repeat([1, 1, 0, 0], [20, 5, 10, 15])
    other = np.repeat([1, 0, 1, 0], [20, 5, 10, 15])
    found = Agreement.of(("a", "b"), one, other)
    assert (found.both, found.same) == (50, 35) and found.kappa == pytest.approx(0.4)


def test_kappa_of_one_answer_only_is_not_defined():
    found = Agreement.of(("a", "b"), np.ones(5, np.int64), np.ones(5, np.int64))
    assert found.same == 5 and isnan(found.kappa)
    assert Agreement.of(("a", "b"), np.array([1, UNSEEN]), np.array([UNSEEN, 1])).both == 0


def test_differences_are_decided_by_the_table_then_by_the_layer():
    layer = np.array([UNSEEN, 0, UNSEEN, 1, UNSEEN, 1])
    one, other = answers(1, 1, 1, 1, UNSEEN, UNSEEN), answers(1, 0, 0, 0, 0, UNSEEN)
    found, pairs, differences = combine(layer, [one, other])
    assert found.tolist() == [1, 0, UNKNOWN, 1, 0, 1]
    assert (differences.points, differences.by_table, differences.by_layer, differences.open) == (3, 0, 2, 1)
    assert [(each.both, each.same) for each in pairs] == [(4, 1)]
    resolved = answers(UNSEEN, UNSEEN, 0, 0, UNSEEN, UNSEEN)
    found, _, differences = combine(layer, [one, other], resolved=resolved)
    assert found.tolist() == [1, 0, 0, 0, 0, 1]
    assert (differences.by_table, differences.by_layer, differences.open) == (2, 1, 0)


@given(st.lists(st.tuples(ANSWER, ANSWER, ANSWER), min_size=1, max_size=12))
def test_what_all_say_counts_and_order_does_not_matter(rows):
    layer, one, other = (np.array(column) for column in zip(*rows, strict=True))
    found, _, differences = combine(layer, [answers(*one), answers(*other)])
    swapped, _, again = combine(layer, [answers(*other), answers(*one)])
    assert found.tolist() == swapped.tolist() and differences == again
    for value, column, a, b in zip(found, layer, one, other, strict=True):
        said = {int(each) for each in (a, b)} - {UNSEEN}
        assert value == (said.pop() if len(said) == 1 else UNKNOWN if said and column == UNSEEN else column)


def test_without_tables_the_layer_counts():
    layer = np.array([1, UNSEEN, UNKNOWN])
    found, pairs, differences = combine(layer, [])
    assert found.tolist() == layer.tolist() and pairs == () and differences.points == 0
