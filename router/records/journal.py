"""The journal of one process: records in, chained lines in the sink of record, copies beside it.

Records go through structlog: its processors link and seal them (`chain`), its logger is the batch.
The journal knows no queue and no thread; the writer calls it from one thread at a time.
"""

from __future__ import annotations

import errno
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import structlog

from router.records.chain import Chain
from router.records.reading import last_head
from router.records.schema import ChainStarted, Head, as_plain, time_text
from router.records.sinks import Copies, FileSink, Sink, StreamSink

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_OWNER: Final = re.compile(r"[A-Za-z0-9._-]{1,64}/[A-Za-z0-9._-]{1,64}")

Cause = Literal["boot", "rotation", "recovery"]


class Written(NamedTuple):
    """How many of the records are in the sink, and what stopped the rest.

    `fault` is the errno name of a failed write. `unencodable` means that the first record that is
    not written never can be: it is no JSON.
    """

    records: int
    fault: str | None = None
    unencodable: bool = False


class _Batch:
    """The logger that structlog hands rendered lines to."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def info(self, line: bytes) -> None:
        """Take a line."""
        self.lines.append(line)


class Journal:
    """One chain, its sink of record (the file if there is one, else the stream) and its copies.

    `owner` is instance/worker; `stdout` is a descriptor, None for none; `rotation_check_s` is how
    long a file that was renamed or removed may go on being written to.
    """

    def __init__(
        self,
        *,
        secret: bytes,
        owner: str,
        file: Path | None,
        stdout: int | None,
        rotation_check_s: float,
    ) -> None:
        if _OWNER.fullmatch(owner) is None:
            raise ValueError("owner must be instance/worker, each of [A-Za-z0-9._-]{1,64}")
        self._owner = owner
        self._file = file
        self._sink = _sink_of_record(file, stdout)
        self._copy_to = stdout if file is not None else None
        self._copies: Copies | None = None
        self._chain = Chain(secret, f"{owner}/{secrets.token_hex(4)}")
        self._batch = _Batch()
        self._log = structlog.wrap_logger(
            self._batch,
            processors=[self._chain.link, self._chain.seal],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            context_class=dict,
        ).bind()
        self._due: Cause | None = "boot"
        self._open = False
        self._rotation_check_s = rotation_check_s
        self._checked_at = 0.0
        self.unwritten = 0  # durable records lost since the last good write; the writer counts

    @property
    def head(self) -> Head:
        """The last record that was written; `seq` 0 before the first."""
        return self._chain.head

    @property
    def dropped_copies(self) -> int:
        """The number of lines that the copy lacks."""
        return self._copies.dropped if self._copies is not None else 0

    def write(self, records: Sequence[dict[str, Any]]) -> Written:
        """Put the records in the sink with one call, behind `chain.started` where one is due.

        Never raises for a sink that fails. With no records it is a probe: after a failure a
        `chain.started` is always due.
        """
        if self._copy_to is not None and self._copies is None:
            self._copies = Copies(self._copy_to)
        try:
            self._look_at_the_sink()
        except OSError as error:
            return self._failed(error, 0, torn=False)
        announced = self._due is not None
        if self._due is not None:
            self._log.info(**as_plain(self._announcement(self._due)))
        unencodable = False
        for plain in records:
            try:
                self._log.info(**plain)
            except (TypeError, ValueError, OverflowError, RecursionError):
                unencodable = True
                break
        result = self._flush(int(announced))
        return result if result.fault else result._replace(unencodable=unencodable)

    def close(self, within_s: float) -> None:
        """Close the sink; let copies go out for at most `within_s` seconds."""
        self._sink.close()
        if self._copies is not None:
            self._copies.close(within_s)

    def _look_at_the_sink(self) -> None:
        now = time.monotonic()
        if self._open and now - self._checked_at < self._rotation_check_s:
            return
        self._checked_at = now
        news = self._sink.ready()
        self._open = True
        if news != "new":
            return
        if self._chain.head.seq:
            self._due = "rotation"
        elif self._file is not None:
            self._chain.follow(last_head(self._file, self._owner))

    def _announcement(self, cause: Cause) -> ChainStarted:
        return ChainStarted(
            at=time_text(time.time()),
            cause=cause,
            previous=self._chain.continues,
            unwritten=self.unwritten,
        )

    def _flush(self, announcements: int) -> Written:
        """Write what the batch holds, of which the first `announcements` lines are our own."""
        lines = self._batch.lines
        self._batch.lines = []
        data = memoryview(b"".join(lines))
        done, fault = 0, None
        while done < len(data) and fault is None:
            try:
                done += self._sink.write(data[done:])
            except OSError as error:
                fault = error
        whole, torn = _whole_lines(lines, done) if fault else (len(lines), False)
        self._chain.settle(whole)
        if self._copies is not None and whole:
            self._copies.offer(b"".join(lines[:whole]), whole)
        written = max(0, whole - announcements)
        if announcements and whole:
            self._due, self.unwritten = None, 0
        return self._failed(fault, written, torn=torn) if fault else Written(written)

    def _failed(self, error: OSError, written: int, *, torn: bool) -> Written:
        self._open = False
        self._sink.failed(torn=torn)
        self._due = self._due or "recovery"
        return Written(written, errno.errorcode.get(error.errno or 0, "EIO"))


def _whole_lines(lines: Iterable[bytes], done: int) -> tuple[int, bool]:
    """Return how many lines `done` bytes hold, and whether the sink ends within a line.

    A line that lacks no more than its newline is a record that can be read back.
    """
    whole = 0
    for line in lines:
        if done < len(line) - 1:
            return whole, done > 0
        whole += 1
        done -= len(line)
        if done < 0:
            return whole, True
    return whole, False


def _sink_of_record(file: Path | None, stdout: int | None) -> Sink:
    if file is not None:
        return FileSink(file)
    if stdout is not None:
        return StreamSink(stdout)
    raise ValueError("decision records need a file or standard output")
