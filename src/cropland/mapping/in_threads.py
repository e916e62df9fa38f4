"""A `map` on two threads, for work that leaves Python's lock: reading, labelling, outlines."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads"]

THREADS = 2
Each = TypeVar("Each")
Out = TypeVar("Out")


def in_threads(work: Callable[[Each], Out], over: Iterable[Each]) -> Iterator[Out]:
    """`map`, in order, a few ahead of what is asked for."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque[Future[Out]] = deque()
        for each in over:
            waiting.append(pool.submit(work, each))
            if len(waiting) > THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
