"""Where the time of a map goes: seconds by stage, of the thread that leads and of those that run behind it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["each", "stage", "taken"]

T = TypeVar("T")
_seconds: defaultdict[str, float] = defaultdict(float)
_lock = threading.Lock()
_inner = threading.local()  # seconds that stages within the present one took, which are not its own


@contextmanager
def stage(name: str) -> Iterator[None]:
    """What runs inside counts for that stage, but for stages within it."""
    begun, around = time.perf_counter(), getattr(_inner, "seconds", 0.0)
    _inner.seconds = 0.0
    try:
        yield
    finally:
        spent = time.perf_counter() - begun
        with _lock:
            _seconds[name] += spent - _inner.seconds
        _inner.seconds = around + spent


def each(name: str, items: Iterable[T]) -> Iterator[T]:
    """The items; what it takes to get them counts for that stage."""
    iterator = iter(items)
    while True:
        with stage(name):
            item = next(iterator, None)
        if item is None:
            return
        yield item


def taken() -> dict[str, float]:
    """The seconds since this was asked the last time."""
    with _lock:
        seconds = {name: round(spent, 3) for name, spent in _seconds.items()}
        _seconds.clear()
    return seconds
