"""A `map` over cells in another order, each sent as to another machine."""

import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def shuffled(seed: int) -> Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]:
    """Work and results are pickled; the results come back in the order of the cells."""

    def spread(work: Callable[[Any], Any], over: Iterable[Any]) -> Iterator[Any]:
        cells = list(over)
        sent = pickle.dumps(work)
        order = random.Random(seed).sample(range(len(cells)), len(cells))
        done = {number: pickle.dumps(pickle.loads(sent)(cells[number])) for number in order}
        return (pickle.loads(done[number]) for number in range(len(cells)))

    return spread
