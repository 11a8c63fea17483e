"""One timer for one call: it closes the reply when the deadline that applies has passed.

A timer is set once and re-armed only when it rings, so a chunk costs two attribute writes and no
timer of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

# After the last event the upstream has this many seconds to end its body properly; then the
# connection is closed instead of kept.
LINGER_S = 0.1


class Watch:
    """The deadlines of one call, in the loop's time.

    `first_s` bounds the time to the first event that commits, None where there is none to wait for.
    `idle_s` bounds each wait after it; only time spent waiting for the upstream counts, so a slow
    client never makes a good upstream look dead. `total_s` bounds everything.
    """

    __slots__ = (
        "_close",
        "_first_due",
        "_handle",
        "_idle_s",
        "_loop",
        "_total_due",
        "expired",
        "lingering",
        "waiting_since",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        first_s: float | None,
        idle_s: float | None,
        total_s: float,
    ) -> None:
        now = loop.time()
        self._loop = loop
        self._first_due = None if first_s is None else now + first_s
        self._idle_s = idle_s
        self._total_due = now + total_s
        self._handle: asyncio.TimerHandle | None = None
        self._close: Callable[[], None] | None = None
        self.waiting_since: float | None = None
        self.expired = False
        self.lingering = False

    @property
    def head_due(self) -> float:
        """When the response head must be there at the latest."""
        return self._total_due if self._first_due is None else min(self._first_due, self._total_due)

    def start(self, close: Callable[[], None]) -> None:
        """Watch from here on; `close` is called at most once, when a deadline has passed."""
        self._close = close
        self._arm()

    def commit(self) -> None:
        """Note the first committing event: from here on idle time counts."""
        if self._first_due is not None:
            self._first_due = None
            self._arm()

    def linger(self) -> None:
        """Note the last event: what is left is the end of the body, which may be cut off."""
        self.lingering = True
        self._first_due = None
        self._total_due = min(self._total_due, self._loop.time() + LINGER_S)
        self._arm()

    def stop(self) -> None:
        """Watch no longer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._close = None

    def _due(self) -> float:
        if self._first_due is not None:
            return min(self._first_due, self._total_due)
        if self._idle_s is None:
            return self._total_due
        since = self._loop.time() if self.waiting_since is None else self.waiting_since
        return min(since + self._idle_s, self._total_due)

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(self._due(), self._ring)

    def _ring(self) -> None:
        self._handle = None
        if self._loop.time() < self._due():
            self._arm()
            return
        self.expired = True
        if self._close is not None:
            self._close()
