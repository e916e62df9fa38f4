"""Seconds by stage, and what is prepared while something else is done."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cropland.language import language, speaking
from cropland.progress import prefetch, progress_bar, seconds_by_stage, timed, timed_each


def test_a_stage_within_another_is_counted_once() -> None:
    seconds_by_stage()
    with timed("outer"):
        time.sleep(0.02)
        for _ in timed_each("inner", range(2)):
            with timed("inmost"):
                time.sleep(0.05)
    seconds = seconds_by_stage()
    assert 0.015 < seconds["outer"] < 0.06 and seconds["inner"] < 0.03 and 0.09 < seconds["inmost"] < 0.2
    assert seconds_by_stage() == {}


def test_what_comes_next_is_prepared_in_order_and_no_more_than_that() -> None:
    asked, given = [], []

    def items() -> Iterator[int]:
        for item in range(10):
            asked.append(item)
            yield item

    for result in prefetch(lambda item: item * item, items(), threads=2, ahead=3):
        given.append(result)
        assert len(asked) <= len(given) + 3
    assert given == [item * item for item in range(10)]


def test_an_error_in_a_thread_is_raised_where_its_result_would_come() -> None:
    results = prefetch(lambda item: 1 // item, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_bar_speaks_the_language_of_who_made_it_in_every_thread() -> None:
    said = []

    def rate(_speed: float) -> str:
        said.append(language())
        return ""

    with speaking("zh"), progress_bar(total=10, rate=rate) as bar:
        bar()
        time.sleep(0.01)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(bar, [1] * 6))
    assert said and set(said) == {"zh"}


def test_a_program_reads_the_progress_in_lines(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROPLAND_PROGRESS", "lines")
    with progress_bar(total=300, done=90, rate=str) as bar:
        for amount in (1, 1, 1, 150, 57):
            bar(amount)
    with progress_bar(total=1, rate=str, silent=True) as bar:
        bar()
    assert capfd.readouterr().err.splitlines() == ["31%", "81%", "100%"]
