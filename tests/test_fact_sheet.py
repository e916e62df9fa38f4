"""Things show themselves in a notebook without asking anything of a network."""

import dataclasses
import re

from cropland.demo import TILE
from cropland.fact_sheet import fact_sheet
from cropland.geo.scene import open_scene
from cropland.model import ModelFile, default_model


def test_what_is_shown_is_text_not_markup():
    shown = fact_sheet("<a>", {"b & c": "<script>"})
    assert "&lt;a&gt;" in shown and "b &amp; c" in shown and "<script>" not in shown


def test_a_scene_shows_its_picture_and_its_facts():
    scene = dataclasses.replace(open_scene(TILE), name="影像 <1>")
    shown = scene._repr_html_()
    assert "影像 &lt;1&gt;" in shown and "red, green, blue" in shown and "EPSG" in shown
    assert "data:image/png;base64,iVBOR" in shown
    assert len(shown) < 300_000


def test_a_model_shows_what_it_is():
    model = ModelFile.load(default_model())
    shown = model._repr_html_()
    assert all(f"{pixel.pixel_m:g} m" in shown for pixel in model.working_pixels)
    assert f"{model.radius} pixels" in shown


def test_nothing_is_fetched():
    for thing in (open_scene(TILE), ModelFile.load(default_model())):
        assert not re.search(r"https?:|src=(?!'data:)|<link|<script|@import", thing._repr_html_())
