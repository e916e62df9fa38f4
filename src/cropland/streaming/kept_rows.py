"""Which rows a map holds above its new ones, and whether these are kept from the step before or computed again.

To keep rows is to copy the whole band, since the new ones must stand behind them. To compute them again costs the
operations that lead to them, for these few rows more. So rows are kept where maps are narrow, or bands low.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, prod

from torch import Tensor
from torch.fx import Node

from cropland.streaming.flow import Flow, above
from cropland.streaming.program import argument, name_of, shape
from cropland.streaming.row_rules import SAME, Interpolation, Rule, Transposed

__all__ = ["Overlaps"]


PRODUCTS = 20  # multiply-adds in the time that it takes to copy a number: of the shipped model, in OpenVINO on a CPU


class Overlaps:
    """For each map: `rows` above its new ones, and whether they are `kept`; and what a join lets wait in a queue."""

    def __init__(self, flows: Mapping[Node, Flow], band: int) -> None:
        self._flows, self._new = flows, {node: int(band / flow.scale) for node, flow in flows.items()}
        self._numbers = {
            node: prod(shape(node)) / shape(node)[flow.axis] for node, flow in flows.items() if _is_map(node)
        }
        self._work = {node: self._work_of(node) for node in flows}
        self._costs: dict[Node, list[float]] = {}
        self.rows, self.kept = dict.fromkeys(flows, 0), dict.fromkeys(flows, False)
        for node in flows:
            self._costs[node] = [self._cost(node, rows) for rows in range(self._new[node] + 1)]
        for node, flow in reversed(list(flows.items())):
            rows = self.rows[node]
            self.kept[node] = rows > 0 and self._keeping(node, rows) <= self._computing(node, rows)
            for source in flow.rules:
                self.rows[source] = max(self.rows[source], self._wish(node, source, self.made(node)))

    @property
    def largest(self) -> float:
        """Numbers in the largest map of a step."""
        return max(each * (self._new[node] + self.rows[node]) for node, each in self._numbers.items())

    def made(self, node: Node) -> int:
        """Rows above the new ones that an operation computes."""
        return 0 if self.kept[node] else self.rows[node]

    def _is_queued(self, node: Node, source: Node) -> bool:
        """Whether a join needs a source as it was a band ago, or more."""
        flow = self._flows[node]
        return flow.rules[source] == SAME and flow.delay - self._flows[source].delay >= self._new[source]

    def _wish(self, node: Node, source: Node, rows: int) -> int:
        if self._is_queued(node, source):
            return 0
        flow = self._flows[node]
        return max(0, above(flow, source, self._flows[source].delay, rows)) + flow.spare

    def _cost(self, node: Node, rows: int) -> float:
        """Of a map and all that lead to it, in numbers that could be copied meanwhile."""
        if node in self._costs and rows < len(self._costs[node]):
            return self._costs[node][rows]
        return min(self._computing(node, rows), self._keeping(node, rows) if rows else inf)

    def _keeping(self, node: Node, rows: int) -> float:
        if not _is_map(node):
            return inf
        return self._numbers[node] * (self._new[node] + rows) + self._cost(node, 0)

    def _computing(self, node: Node, rows: int) -> float:
        flow = self._flows[node]
        if rows > (self._new[node] if flow.rules and _is_map(node) else 0):
            return inf
        shares = (  # each that reads a source pays a share of it
            self._cost(source, self._wish(node, source, rows)) / sum(user in self._flows for user in source.users)
            for source in flow.rules
        )
        return self._work[node] * rows + sum(shares)

    def _work_of(self, node: Node) -> float:
        """Of a row more; what is computed together with the operation before costs nothing."""
        flow, weight = self._flows[node], argument(node, "weight")
        if isinstance(weight, Node) and len(shape(weight)) > 1:
            is_transposed = isinstance(next(iter(flow.rules.values())), Transposed)
            one = next(iter(flow.rules)) if is_transposed else node
            products = prod(shape(one)) * prod(shape(weight)[1:]) / shape(node)[flow.axis]
            return self._numbers[node] + products / PRODUCTS
        is_written = name_of(node) == "cat" or any(_looks_around(rule) for rule in flow.rules.values())
        return self._numbers[node] if is_written else 0


def _is_map(node: Node) -> bool:
    """Whether it is one map, not several."""
    return isinstance(node.meta["val"], Tensor)


def _looks_around(rule: Rule) -> bool:
    return isinstance(rule, Interpolation) or rule.kernel > 1
