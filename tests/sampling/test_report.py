"""The page of an estimate: it holds the figures, needs no network, and survives figures that are not known."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
import shapely

from cropland.language import speaking
from cropland.sampling.estimate import estimate_area, share_titles
from cropland.sampling.report import page
from sampling.test_estimate import CENTRE, towns


class Tags(HTMLParser):
    """Tags that are open, to see that each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "path", "circle", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("path", "circle"):
            assert self.open.pop() == tag


@pytest.fixture
def found(looked_at, tmp_path):
    boxes = shapely.box(500_000, 3_998_800, 501_500, 4_000_000), CENTRE.buffer(30)
    return dict(estimate_area(looked_at[0], sample=looked_at[1], by=towns(tmp_path / "towns.gpkg", *boxes)).figures)


def test_the_page_holds_the_figures_and_asks_nothing_of_a_network(found):
    text = page(found, shares=share_titles())
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    for part in (f"{found['area_ha']['value']:,.1f}", "town 0", "too few points", found["mask"]["sha256"], "Wilson"):
        assert part in text
    assert not re.search(r"(src|href)=|https?://", text)


def test_the_picture_of_an_interval_is_where_the_figure_is(found):
    text = page(found, shares=share_titles())
    share = found["share"]
    ends = [f"{4 + 192 * share[name]:.2f}" for name in ("low", "high", "value")]
    assert f'd="M{ends[0]} 10H{ends[1]}"/><circle class="at" r="4" cx="{ends[2]}"' in text


def test_names_of_files_are_escaped(found):
    found["mask"] = {**found["mask"], "file": "<b>.tif"}
    assert "&lt;b&gt;.tif" in page(found, shares=share_titles())


def test_a_page_of_figures_that_are_not_known(found):
    nothing = dict.fromkeys(("value", "se", "low", "high"))
    names = ("area_ha", "area_mu", "share", "overall", "user", "producer", "user_other", "producer_other")
    found |= dict.fromkeys(names, nothing) | {"matrix": np.full((2, 2), nothing).tolist(), "regions": None}
    found["mapped"] = {**found["mapped"], "difference_ha": None}
    assert "a stratum has no answer" in page(found, shares=share_titles())


def test_the_page_speaks_the_language_of_the_person(found):
    with speaking("zh"):
        assert '<html lang="zh">' in page(found, shares=share_titles())
