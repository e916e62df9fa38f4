"""A page in a real browser: what it asks for and what it complains of are faults."""

from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page


def opened(browser: Browser, path: Path, **options: object) -> Iterator[Page]:
    page = browser.new_page(**{"viewport": {"width": 1000, "height": 800}, "reduced_motion": "reduce", **options})
    page.faults = []
    page.on("console", lambda message: page.faults.append(message.text))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("dialog", lambda dialog: page.faults.append(dialog.message))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or page.faults.append(asked.url))
    page.goto(path.as_uri())
    yield page
    assert page.faults == []
    page.close()
