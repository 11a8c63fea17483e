"""The last decisions of this process, for the callers who ask after their own."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from router.records.schema import DecisionFinished, DecisionMade


class Recent:
    """A bounded memory of decisions, the oldest dropped first. Kept encoded: it is seldom read."""

    def __init__(self, capacity: int = 2_000) -> None:
        """Take how many decisions to remember."""
        self._capacity = capacity
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._finished: dict[str, bytes] = {}

    def made(self, record: DecisionMade) -> None:
        """Remember a decision."""
        self._made[record.id] = msgspec.json.encode(record)
        while len(self._made) > self._capacity:
            dropped, _ = self._made.popitem(last=False)
            self._finished.pop(dropped, None)

    def finished(self, record: DecisionFinished) -> None:
        """Remember how a decision ended, if the decision is still remembered."""
        if record.id in self._made:
            self._finished[record.id] = msgspec.json.encode(record)

    def find(self, decision_id: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        """Return a decision's two records as plain values; the second is None while it runs."""
        made = self._made.get(decision_id)
        if made is None:
            return None
        finished = self._finished.get(decision_id)
        return msgspec.json.decode(made), msgspec.json.decode(finished) if finished else None
