"""Lines back into records: whole files, the newest as they come, one decision by its id.

Files may be captures of standard output with other lines in between, and may hold torn lines from a
crash or a full disk. Nothing here raises for what a line holds; OSError comes through.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, Literal

import msgspec

from router.records.chain import CHAIN_KEYS, owner_of
from router.records.schema import Head

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# Keys are sorted and every record has a time, so this begins each line and no string inside one.
OPENING: Final = b'{"at":"'
BLOCK_BYTES: Final = 256 * 1024
LONGEST_LINE: Final = 16 * 1024 * 1024
FIND_BYTES: Final = 64 * 1024 * 1024

Plain = dict[str, Any]
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a file: a record, or why it is none.

    `number` counts from 1; `raw` is without the newline. `problem` is `torn` for a piece of one of
    our records and `alien` for anything else; null for a record.
    """

    path: Path
    number: int
    raw: bytes
    record: Plain | None
    problem: Literal["torn", "alien"] | None

    @property
    def at(self) -> str:
        """The place, file:line."""
        return f"{self.path}:{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One decision as recorded: how it was made and how it ended; null for what was not found."""

    made: Plain | None
    finished: Plain | None


def read(paths: Iterable[Path]) -> Iterator[Line]:
    """Yield every line of the files, in order; blank ones are left out."""
    for path in paths:
        with path.open("rb") as file:
            yield from _lines(path, file)


def _lines(path: Path, file: IO[bytes]) -> Iterator[Line]:
    number = 0
    while raw := file.readline(LONGEST_LINE):
        number += 1
        yield from parsed(path, number, raw)


def parsed(path: Path, number: int, raw: bytes) -> Iterator[Line]:
    """Yield what one line of a file holds: a record, a piece of one, both, or something alien.

    A record may stand behind half of another one, whose writer could not finish it, or behind the
    prefix that a log collector puts in front.
    """
    raw = raw.rstrip(b"\r\n")
    if not raw.strip():
        return
    record = _record(raw)
    if record is not None:
        yield Line(path=path, number=number, raw=raw, record=record, problem=None)
        return
    start = first = raw.find(OPENING)
    while start >= 0 and (record := _record(raw[start:])) is None:
        start = raw.find(OPENING, start + 1)
    front = raw if start < 0 else raw[:start]
    if front:
        problem: Literal["torn", "alien"] = "torn" if 0 <= first < len(front) else "alien"
        yield Line(path=path, number=number, raw=front, record=None, problem=problem)
    if record is not None:
        yield Line(path=path, number=number, raw=raw[start:], record=record, problem=None)


def _record(raw: bytes) -> Plain | None:
    """Return the record that the bytes are, None where they are none of ours."""
    try:
        plain = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(plain, dict) or not isinstance(plain.get("event"), str):
        return None
    seq = plain.get("seq")
    links = isinstance(seq, int) and not isinstance(seq, bool) and seq > 0
    names = all(isinstance(plain.get(key), str) for key in CHAIN_KEYS if key != "seq")
    return plain if links and names else None


def records(paths: Iterable[Path]) -> Iterator[Plain]:
    """Yield the records alone."""
    for line in read(paths):
        if line.record is not None:
            yield line.record


def joined(found: Iterable[Plain]) -> Iterator[DecisionRecord]:
    """Join decisions with their ends: each when it ends, those without an end last, in order."""
    waiting: dict[str, Plain] = {}
    for record in found:
        key = str(record.get("id"))
        if record["event"] == "decision.made":
            waiting[key] = record
        elif record["event"] == "decision.finished":
            yield DecisionRecord(made=waiting.pop(key, None), finished=record)
    for made in waiting.values():
        yield DecisionRecord(made=made, finished=None)


def find(
    paths: Iterable[Path], decision_id: str, *, limit_bytes: int = FIND_BYTES
) -> DecisionRecord | None:
    """Return the newest decision with this id, None where there is none.

    Files are searched in the given order (give the newest first), each from its end, through at
    most `limit_bytes` in all.
    """
    needle = b'"' + decision_id.encode() + b'"'
    finished: Plain | None = None
    for path in paths:
        for raw in backwards(path, limit_bytes):
            limit_bytes -= len(raw) + 1
            if needle not in raw:
                continue
            for line in parsed(path, 1, raw):
                record = line.record
                if record is None or record.get("id") != decision_id:
                    continue
                if record["event"] == "decision.made":
                    return DecisionRecord(made=record, finished=finished)
                if record["event"] == "decision.finished" and finished is None:
                    finished = record
    return DecisionRecord(made=None, finished=finished) if finished else None


def backwards(path: Path, limit_bytes: int, *, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Yield the lines of a file from the last to the first, through at most `limit_bytes`."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        stop = max(0, end - limit_bytes)
        carried: list[bytes] = []  # the end of a line whose start lies in an earlier block
        while end > stop:
            start = max(stop, end - block_bytes)
            file.seek(start)
            block = file.read(end - start)
            end = start
            first, newline, rest = block.partition(b"\n")
            if newline:
                lines = rest.split(b"\n")
                lines[-1] += b"".join(reversed(carried))
                yield from reversed(lines)
                carried = [first]
            else:
                carried.append(block)
        if stop == 0:
            yield b"".join(reversed(carried))


def last_head(path: Path, owner: str, *, limit_bytes: int = FIND_BYTES) -> Head | None:
    """Return the head of the newest chain that `owner` (instance/worker) has in the file.

    None where there is none, or where the file cannot be read.
    """
    needle = b'"' + owner.encode() + b"/"
    with suppress(OSError):
        if not path.is_file():
            return None
        for raw in backwards(path, limit_bytes):
            if needle not in raw:
                continue
            for line in parsed(path, 1, raw):
                record = line.record
                if record is not None and owner_of(record["writer"]) == owner:
                    with suppress(msgspec.ValidationError):
                        return msgspec.convert(record, Head)
    return None


class Tail:
    """The lines that are appended to a file, across rotation.

    From its present end, or its start. A line counts when its newline is there.
    """

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._number = 0
        self._part = b""
        with suppress(FileNotFoundError):
            self._file = path.open("rb")
            if not from_start:
                self._skip(self._file)

    def _skip(self, file: IO[bytes]) -> None:
        while raw := file.readline(LONGEST_LINE):
            self._number += raw.endswith(b"\n")
            self._part = b"" if raw.endswith(b"\n") else raw

    def poll(self) -> list[Line]:
        """Return what has come since the last time; the old file's rest before the new one's."""
        found: list[Line] = []
        if self._file is not None:
            found += self._come(self._file)
            if not self._rotated(self._file):
                return found
            found += self._come(self._file)
            found += parsed(self._path, self._number + 1, self._part)
            self.close()
        with suppress(FileNotFoundError):
            self._file = self._path.open("rb")
            self._number, self._part = 0, b""
            found += self._come(self._file)
        return found

    def _come(self, file: IO[bytes]) -> list[Line]:
        found: list[Line] = []
        while raw := file.readline(LONGEST_LINE):
            self._part += raw
            if not raw.endswith(b"\n") and len(self._part) < LONGEST_LINE:
                continue
            self._number += 1
            found += parsed(self._path, self._number, self._part)
            self._part = b""
        return found

    def _rotated(self, file: IO[bytes]) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False  # the new file is not there yet
        here = os.fstat(file.fileno())
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            return True
        return there.st_size < file.tell()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def follow(
    path: Path, stop: threading.Event, *, from_start: bool = False, poll_s: float = 0.2
) -> Iterator[Line]:
    """Yield lines as they come until `stop` is set, looking every `poll_s` seconds."""
    tail = Tail(path, from_start=from_start)
    try:
        while not stop.is_set():
            found = tail.poll()
            yield from found
            if not found:
                stop.wait(poll_s)
    finally:
        tail.close()
