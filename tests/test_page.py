"""Pages of HTML: shares as percent, values that cannot break out of the text, and pictures inside."""

import base64
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from rasterio.io import MemoryFile

from cropland.page import jpeg_uri, percent, rendered


def test_percent():
    assert [percent(value) for value in (0.9412, 0.0, None)] == ["94.1", "0.0", "–"]


def test_values_are_escaped_and_a_message_may_have_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "with_a_page"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    template = """{{ style }}<p lang="{{ language }}">{{ _("<b>IoU</b> of {name}", name=name) }} {{ name }}</p>"""
    (package / "page.html").write_text(template, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    text = rendered("with_a_page", "page.html", name="rice & <b>")
    sys.modules.pop("with_a_page", None)
    assert text.endswith('<p lang="en"><b>IoU</b> of rice &amp; &lt;b&gt; rice &amp; &lt;b&gt;</p>')
    assert text.startswith(":root {")


def test_a_jpeg_in_a_data_uri_has_the_pixels():
    pixels = np.zeros((16, 24, 3), np.uint8) + np.array([200, 40, 90], np.uint8)
    kind, _, data = jpeg_uri(pixels, quality=85, subsampling=0).partition(";base64,")
    assert kind == "data:image/jpeg"
    with MemoryFile(base64.b64decode(data)) as memory, memory.open() as file:
        assert np.abs(file.read().transpose(1, 2, 0).astype(int) - pixels).max() < 6
