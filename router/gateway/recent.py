"""Decisions found again, for the callers who ask after their own: in memory, else in the file."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from router.errors import NoCapacity
from router.records.reading import find

if TYPE_CHECKING:
    from pathlib import Path

    from router.records.schema import DecisionFinished, DecisionMade


# Searches of the file that may wait for their turn.
MOST_SEARCHES = 8


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


class Archive:
    """Where decisions are found again: in memory, then at the end of the records file."""

    def __init__(self, *, recent: Recent, file: Path | None) -> None:
        """Take both places."""
        self._recent = recent
        self._file = file
        # One thread of its own: a search reads much, and whoever asks for what is not there must
        # not hold up policy loading and name resolution, which share the loop's threads.
        self._searcher = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self._searches = 0

    async def find(self, decision_id: str) -> tuple[dict[str, Any], dict[str, Any] | None] | None:
        """Return the records of a decision and of its finish; None where it is not known.

        NoCapacity where too many look in the file already.
        """
        found = self._recent.find(decision_id)
        if found is not None or self._file is None or not self._file.exists():
            return found
        if self._searches >= MOST_SEARCHES:
            raise NoCapacity("Too many look-ups of old decisions; try again.", retry_after_s=1)
        self._searches += 1
        try:
            loop = asyncio.get_running_loop()
            kept = await loop.run_in_executor(self._searcher, find, [self._file], decision_id)
        finally:
            self._searches -= 1
        return None if kept is None or kept.made is None else (kept.made, kept.finished)

    def close(self) -> None:
        """End the thread once its search is over."""
        self._searcher.shutdown(wait=False, cancel_futures=True)
