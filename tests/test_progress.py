"""Seconds by stage."""

import time

from cropland.progress import each, stage, taken


def test_a_stage_within_another_is_counted_once() -> None:
    taken()
    with stage("outer"):
        time.sleep(0.02)
        for _ in each("inner", range(2)):
            with stage("inmost"):
                time.sleep(0.05)
    seconds = taken()
    assert 0.015 < seconds["outer"] < 0.06 and seconds["inner"] < 0.03 and 0.09 < seconds["inmost"] < 0.2
    assert taken() == {}
