"""Seconds by stage."""

import time

from cropland.progress import seconds_by_stage, timed, timed_each


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
