"""Pages of HTML: shares as percent, and values that cannot break out of the text."""

import importlib
import sys
from pathlib import Path

import pytest

from cropland.page import percent, rendered


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
