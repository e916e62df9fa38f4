"""A finding for a notebook, and the report in a browser: `apt install chromium`, or name one in CROPLAND_CHROMIUM."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page

from cropland.lab import report
from cropland.lab.charts import Bars, Box, Lines, Panel, Panels, Stack, raster
from cropland.lab.claim import Finding
from cropland.lab.measure import Number, exactly
from cropland.lab.results import Results, this_machine


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np

    curve = [Number(1.0, 0.9, 1.1), None, Number(4.0, 3.5, 4.5)]
    picture = raster(np.zeros((8, 8, 3), np.uint8))
    charts = [
        Lines(
            "milliseconds", "channels", "milliseconds", [16, 32, 64], {"ordinary": curve}, {"times": 2.0}, log_x=True
        ),
        Bars("times", "times", {"ordinary": Number(2, 1, 3), "depthwise": exactly(-1)}, level=1.5),
        Stack("seconds", "seconds", {"ordinary": {"loss": 1.0, "share": 2.0}}),
        Panels("memory", [Panel("ordinary", picture, "x = relu(x)", "1 x 8", [Box("depthwise", 0.5, 0.5, 0.25)])]),
    ]
    numbers = {"error": exactly(1e-16), "filled": exactly(0.05)}
    findings = (Finding("transposed.transpose", numbers, charts, ["image reduced from 256 to 128 pixels: memory"]),)
    shown = Results(this_machine(torch.device("cpu")), "quick", findings)
    return report.write([shown], tmp_path_factory.mktemp("report"))


@pytest.fixture(params=[(1200, 900), (360, 740)], ids=["wide", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, path: Path) -> Iterator[Page]:
    width, height = request.param
    page = browser.new_page(viewport={"width": width, "height": height})
    page.faults = []
    page.on("console", lambda message: page.faults.append(message.text))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or page.faults.append(asked.url))
    page.goto(path.as_uri())
    yield page
    assert page.faults == []
    page.close()


def test_one_language_at_a_time(page: Page):
    assert page.get_by_role("heading", name="The lab").is_visible()
    assert not page.get_by_text("实验室").is_visible()
    page.get_by_role("button", name="中文").click()
    assert page.get_by_role("heading", name="实验室").is_visible()
    assert page.get_by_text("影像由 256 缩小到 128 像元").is_visible()
    assert page.locator(".en:visible").count() == 0


def test_charts_are_drawn_and_can_be_read_off(page: Page):
    figures = page.locator("figure")
    assert figures.count() == 4
    for number in range(4):
        box = figures.nth(number).locator("svg").first.bounding_box()
        assert box and box["width"] > 80 and box["height"] > 25
    assert page.locator("circle title").first.text_content() == "1.00 (0.900 – 1.10)"
    assert page.locator("svg .level").count() == 2
    assert page.locator("rect.box").count() == 1


def test_nothing_is_wider_than_the_screen(page: Page):
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_numbers_are_shown_by_their_words(page: Page):
    page.locator("details", has_text="all numbers").last.locator("summary").click()
    shown = page.locator("article table").inner_text()
    assert "largest difference of the two results\t1.0e−16" in shown
    assert "share of the matrix that is not zero\t5.00 %" in shown
    assert page.get_by_text("Deciding number: largest difference of the two results.").count() == 1
    page.get_by_role("button", name="中文").click()
    assert "矩阵中非零元素的比例\t5.00 %" in page.locator("article table").inner_text()


def test_words_in_pictures_do_not_leave_them(page: Page):
    outside = page.evaluate("""() => [...document.querySelectorAll("svg text")].filter(text => {
        const box = text.getBoundingClientRect(), svg = text.closest("svg").getBoundingClientRect();
        return box.width && (box.left < svg.left - 1 || box.right > svg.right + 1);
    }).map(text => text.textContent)""")
    assert outside == []


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_the_report_that_is_kept_fits_a_phone(browser: Browser, language: str):
    kept = Path(__file__).parents[2] / "docs" / "lab" / "report.html"
    page = browser.new_page(viewport={"width": 390, "height": 800}, locale=language)
    page.goto(kept.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def results():
    numbers = {name: exactly(0.0) for name in ("error", "larger", "slower")}
    return Results({"device": "a machine"}, "quick", (Finding("convolution.product", numbers),))


@pytest.mark.parametrize(("language", "verdict"), [("en", "*holds*"), ("zh", "*成立*")])
def test_claim_verdict_and_answer_in_either_language(language, verdict):
    claim, _, answer = report.as_markdown(results(), "convolution.product", language).splitlines()
    assert verdict in claim and "0" in answer


def test_what_was_not_measured_is_an_error():
    with pytest.raises(KeyError):
        report.as_markdown(results(), "convolution.fast", "en")
