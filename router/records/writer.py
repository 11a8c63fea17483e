"""The writer: a bounded queue, and one thread that hands what is in it to the journal.

    await writer.written(record)   returns when write(2) has returned: before anything leaves
    writer.accept(record)          returns at once: the record waits in the bounded queue

While the sink fails it is tried again every quarter of a second, and what waits is written in order
once it works. Only a record that somebody awaits is not kept: its waiter hears `Unwritten` and it
is dropped, so that nothing claims later that it happened. `can_write` is false from a failed write
until one succeeds, which needs no traffic.

The queue counts decisions: when `capacity` of them wait, `QueueFull`. What follows a decision (its
finish) or is no request (a change, a policy) finds room up to four times that many records in all;
so many wait only when nothing could be written for long, and then it is `QueueFull` too.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from router.records.journal import Journal
from router.records.schema import DecisionMade, Head, as_plain

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from router.records.journal import Written
    from router.records.schema import Record

    Waiter = asyncio.Future[None]

RETRY_S: Final = 0.25
BATCH: Final = 128
LINGER_S: Final = 0.005
RECORDS_PER_DECISION: Final = 4


class RecordError(Exception):
    """A record could not be taken or written."""


class QueueFull(RecordError):
    """Too many records wait already."""


class Unwritten(RecordError):
    """The record is not in the sink of record. The message is the name of an errno."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """One record in the queue, and who waits for it (None: nobody)."""

    plain: dict[str, Any]
    waiter: Waiter | None
    is_decision: bool


class RecordWriter:
    """Writes the records of one process to a file, or to a stream where there is none.

    `secret` keys the chain; `owner` is instance/worker; with a `file`, the descriptor `stdout` gets
    copies that never hold the file up, without one it is the sink of record; `capacity` is in
    decisions; a file that was renamed or removed is opened anew after `rotation_check_s` seconds.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        owner: str,
        file: Path | None,
        stdout: int | None,
        capacity: int,
        rotation_check_s: float = 1.0,
    ) -> None:
        self._journal = Journal(
            secret=secret,
            owner=owner,
            file=file,
            stdout=stdout,
            rotation_check_s=rotation_check_s,
        )
        self._capacity = capacity
        self._queue: deque[_Item] = deque()
        self._decisions = 0
        self._urgent = False
        self._closing = False
        self._over = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="record-writer", daemon=True)
        self.can_write = False
        self.fault: str | None = None
        self.failed_writes = 0
        self.unencodable = 0

    # The gateway's side: any thread for `accept`, an event loop for `written`.

    def start(self) -> None:
        """Open the sink, write `chain.started` and start the thread; then look at `can_write`.

        A sink that cannot be opened or written is no error here: it is tried again.
        """
        self._attempt()
        self._thread.start()

    def accept(self, record: Record) -> None:
        """Put the record in the queue and return at once.

        Raises QueueFull; Malformed where the record does not fit its type; Unwritten once closed.
        """
        self._put(record, None)

    async def written(self, record: Record) -> None:
        """Return when the record is in the sink of record.

        Raises Unwritten where it could not be written (the record is then dropped), QueueFull and
        Malformed. A caller that is cancelled leaves the record in the queue, as `accept` would.
        """
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._put(record, waiter)
        await waiter

    def close(self, within_s: float) -> int:
        """Write what waits for at most `within_s` seconds; return how many records did not make it.

        Blocks: in a running event loop, call it through `asyncio.to_thread`. The copies get what is
        left of the time.
        """
        ends_at = time.monotonic() + within_s
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(within_s)
        with self._wake:
            self._over = True
            self._wake.notify()
            left = len(self._queue)
            waiters = [item.waiter for item in self._queue]
        _tell(waiters, "ECANCELED")
        if not self._thread.is_alive():  # else it is stuck in a write, on a descriptor of its own
            self._journal.close(max(0.0, ends_at - time.monotonic()))
        return left

    @property
    def depth(self) -> int:
        """The number of records that wait."""
        return len(self._queue)

    @property
    def dropped_copies(self) -> int:
        """The number of lines that the copy on the stream lacks."""
        return self._journal.dropped_copies

    @property
    def head(self) -> Head:
        """The last record that was written; `seq` 0 before the first."""
        return self._journal.head

    def _put(self, record: Record, waiter: Waiter | None) -> None:
        is_decision = type(record) is DecisionMade
        item = _Item(plain=as_plain(record), waiter=waiter, is_decision=is_decision)
        with self._wake:
            if self._closing or self._over:
                raise Unwritten("ESHUTDOWN")
            full = len(self._queue) >= self._capacity * RECORDS_PER_DECISION
            if full or (is_decision and self._decisions >= self._capacity):
                raise QueueFull
            self._queue.append(item)
            self._decisions += is_decision
            if waiter is not None:
                self._urgent = True
            if waiter is not None or len(self._queue) in {1, BATCH}:
                self._wake.notify()

    # The thread's side.

    def _run(self) -> None:
        try:
            while self._wait():
                self._attempt()
        finally:
            # Also where a defect of ours ends the thread: nobody may wait for it or trust it.
            with self._wake:
                self.can_write = False
                self._over = True
                waiters = [item.waiter for item in self._queue]
            _tell(waiters, "ECANCELED")

    def _wait(self) -> bool:
        """Wait until there is something to do; False when there never will be again."""
        with self._wake:
            if not self.can_write:
                self._wake.wait_for(lambda: self._over, RETRY_S)
            while self.can_write and not self._queue and not self._closing:
                self._wake.wait()
            if self.can_write and not self._rushed():
                # Nobody waits: a moment later there are more, and one write carries them all.
                self._wake.wait_for(self._rushed, LINGER_S)
            return not self._over and (bool(self._queue) or not self._closing)

    def _rushed(self) -> bool:
        return self._urgent or self._closing or len(self._queue) >= BATCH

    def _attempt(self) -> None:
        """Write the front of the queue; while the sink fails, try it with no record at stake."""
        with self._wake:
            self._urgent = False
            batch = list(islice(self._queue, BATCH if self.can_write else 0))
        result = self._journal.write([item.plain for item in batch])
        waiters = [item.waiter for item in batch[: result.records]]
        with self._wake:
            for _ in range(result.records):
                self._decisions -= self._queue.popleft().is_decision
            self.can_write = result.fault is None
            lost = self._lost(result)
        self._journal.unwritten += len(lost)
        self.failed_writes += result.fault is not None
        self.fault = result.fault
        _tell(waiters, None)
        _tell(lost, result.fault or "EILSEQ")

    def _lost(self, result: Written) -> list[Waiter | None]:
        """Drop what is not kept for another try, and return who waited for it."""
        if result.unencodable:
            item = self._queue.popleft()
            self._decisions -= item.is_decision
            self.unencodable += 1
            return [item.waiter]
        if result.fault is None:
            return []
        # INVARIANT: a waiter hears Unwritten only of a record that is dropped in the same breath.
        kept: list[_Item] = []
        lost: list[Waiter | None] = []
        for item in self._queue:
            if item.waiter is None or item.waiter.cancelled():
                kept.append(item)
            else:
                lost.append(item.waiter)
                self._decisions -= item.is_decision
        self._queue = deque(kept)
        return lost


def _tell(waiters: Iterable[Waiter | None], fault: str | None) -> None:
    """Wake those who wait, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Waiter]] = {}
    for waiter in waiters:
        if waiter is not None:
            by_loop.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, theirs in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_settle, theirs, fault)


def _settle(waiters: list[Waiter], fault: str | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if fault is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(Unwritten(fault))
