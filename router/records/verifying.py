"""Whether recorded chains are whole and every decision has its end.

A *finding* says that something was removed, changed, moved, doubled or forged, and makes the report
not ok. A *note* is what honest running leaves behind: a restart, a torn line, a decision still on
its way, a chain that goes on from a file that was rotated away and is not among those given. Only
the oldest chain of an instance and worker may do that: retention takes files from the front.

What cannot be seen here: that the newest records of a chain were cut off. Compare `heads` with the
metric, or with what the next `chain.started` names.

Memory: about 150 bytes for each decision read.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from router.records.chain import chain_key, fits, fits_rewritten, owner_of
from router.records.reading import Line, read
from router.records.schema import Head

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

EXAMPLES: Final = 100

FindingKind = Literal[
    "wrong_key",  # no record has a mac that fits: another secret
    "rewritten",  # the mac does not fit: edited or forged
    "missing",  # numbers `first` to `last` are not there
    "beginning_missing",  # a chain that does not begin with chain.started
    "predecessor_missing",  # a boot names a head that should be here and is not
    "broken_link",  # a record names another predecessor than the one before it
    "reordered",  # a record stands behind later ones
    "duplicate",  # a record is there twice
    "decided_twice",
    "finished_twice",
    "finish_without_decision",
]
NoteKind = Literal["torn", "alien", "reformatted", "restart", "continues", "unfinished"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing found: where, and of which writer, numbers or decision."""

    kind: FindingKind | NoteKind
    at: str | None = None
    writer: str | None = None
    first: int | None = None
    last: int | None = None
    id: str | None = None


class ChainReport(msgspec.Struct, kw_only=True):
    """One chain: what was read of it. `first` and `head` are numbers and the last mac seen."""

    writer: str
    records: int = 0
    first: int = 0
    head: Head | None = None
    continues: Head | None = None


class Report(msgspec.Struct, kw_only=True):
    """What verifying found. `counts` is complete; of each kind 100 examples are kept."""

    ok: bool
    records: int
    decisions: int
    chains: list[ChainReport]
    counts: dict[str, int]
    findings: list[Finding]
    notes: list[Finding]

    @property
    def heads(self) -> list[Head]:
        """The newest record of every chain."""
        return [chain.head for chain in self.chains if chain.head is not None]


def verify(paths: Iterable[Path], secret: bytes) -> Report:
    """Read the files, oldest first, and check every chain in them. Raises OSError."""
    examination = _Examination(chain_key(secret))
    for line in read(paths):
        examination.take(line)
    return examination.report()


class _Trace:
    """Where the examination of one chain stands."""

    __slots__ = ("gaps", "last_at", "report")

    def __init__(self, writer: str) -> None:
        self.report = ChainReport(writer=writer)
        self.gaps: list[tuple[int, int, str]] = []  # first and last number, and where it was seen
        self.last_at = ""

    def fill(self, seq: int) -> bool:
        """Take a number out of the gaps; False where it is in none."""
        for index, (first, last, at) in enumerate(self.gaps):
            if first <= seq <= last:
                rest = [(first, seq - 1, at), (seq + 1, last, at)]
                self.gaps[index : index + 1] = [gap for gap in rest if gap[0] <= gap[1]]
                return True
        return False


class _Examination:
    """All chains and decisions of one `verify`."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._traces: dict[str, _Trace] = {}
        self._good = 0
        self._counts: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._notes: list[Finding] = []
        self._open: dict[str, str] = {}  # decision id → where it was made
        self._closed: set[str] = set()
        self._decisions = 0
        self._strays: list[Finding] = []

    def take(self, line: Line) -> None:
        """Examine one line."""
        if line.record is None:
            if line.problem:
                self._note(Finding(kind=line.problem, at=line.at))
            return
        record, writer = line.record, str(line.record["writer"])
        trace = self._traces.get(writer)
        if trace is None:
            trace = self._traces[writer] = _Trace(writer)
        trace.report.records += 1
        if fits(self._key, line.raw, record["mac"]):
            self._good += 1
        elif fits_rewritten(self._key, line.raw, record["mac"]):
            self._good += 1
            self._note(Finding(kind="reformatted", at=line.at, writer=writer, first=record["seq"]))
        else:
            self._find(Finding(kind="rewritten", at=line.at, writer=writer, first=record["seq"]))
            self._place_untrusted(trace, record)
            return
        self._place(trace, line, record)
        self._follow_decision(line, record)

    def _place_untrusted(self, trace: _Trace, record: dict[str, Any]) -> None:
        """Let a changed record fill its own place, so that it is not reported as missing too."""
        report, seq = trace.report, record["seq"]
        if report.head is not None and seq == report.head.seq + 1:
            report.head = Head(writer=report.writer, seq=seq, mac=record["mac"])
        elif report.head is None:
            report.first = seq
            report.head = Head(writer=report.writer, seq=seq, mac=record["mac"])

    def _place(self, trace: _Trace, line: Line, record: dict[str, Any]) -> None:
        report, seq = trace.report, record["seq"]
        head = Head(writer=report.writer, seq=seq, mac=record["mac"])

        def found(kind: FindingKind) -> None:
            self._find(Finding(kind=kind, at=line.at, writer=report.writer, first=seq))

        if report.head is None:
            report.first, report.head = seq, head
            self._begin(report, line, record)
        elif seq > report.head.seq + 1:
            trace.gaps.append((report.head.seq + 1, seq - 1, line.at))
            report.head = head
        elif seq == report.head.seq + 1:
            if record["prev"] != report.head.mac:
                found("broken_link")
            report.head = head
        elif trace.fill(seq) or seq < report.first:
            report.first = min(report.first, seq)
            found("reordered")
        else:
            found("duplicate")

    def _begin(self, report: ChainReport, line: Line, record: dict[str, Any]) -> None:
        here = Finding(kind="restart", at=line.at, writer=report.writer, first=report.first)
        if record["event"] != "chain.started":
            self._find(msgspec.structs.replace(here, kind="beginning_missing"))
            return
        report.continues = msgspec.convert(record["previous"], Head | None)
        if report.first == 1:
            self._note(here)

    def _follow_decision(self, line: Line, record: dict[str, Any]) -> None:
        key = record.get("id")
        if not isinstance(key, str):
            return
        if record["event"] == "decision.made":
            self._decisions += 1
            if key in self._open or key in self._closed:
                self._find(Finding(kind="decided_twice", at=line.at, id=key))
            self._open[key] = line.at
        elif record["event"] == "decision.finished":
            if self._open.pop(key, None) is not None:
                self._closed.add(key)
            elif key in self._closed:
                self._find(Finding(kind="finished_twice", at=line.at, id=key))
            else:
                writer = record["writer"]
                self._strays.append(
                    Finding(kind="finish_without_decision", at=line.at, writer=writer, id=key)
                )

    def report(self) -> Report:
        """Close the books."""
        partial = self._check_predecessors()
        for trace in self._traces.values():
            for first, last, at in trace.gaps:
                writer = trace.report.writer
                self._find(Finding(kind="missing", at=at, writer=writer, first=first, last=last))
        for stray in self._strays:
            if stray.id in self._open:
                self._find(msgspec.structs.replace(stray, kind="reordered"))
                self._open.pop(stray.id)
            # Its decision may stand in an earlier file, where one is known to have been.
            elif stray.writer is None or owner_of(stray.writer) not in partial:
                self._find(stray)
        for key, at in self._open.items():
            self._note(Finding(kind="unfinished", at=at, id=key))
        total = sum(trace.report.records for trace in self._traces.values())
        if total and not self._good:
            # Then every record looks rewritten, which says nothing about any of them.
            self._findings.clear()
            self._find(Finding(kind="wrong_key"))
        return Report(
            ok=not self._findings,
            records=total,
            decisions=self._decisions,
            chains=[trace.report for trace in self._traces.values()],
            counts=dict(self._counts),
            findings=self._findings,
            notes=self._notes,
        )

    def _check_predecessors(self) -> set[str]:
        """Check what each chain says that it continues; return owners with something before."""
        seen: set[str] = set()
        partial: set[str] = set()
        for trace in self._traces.values():
            report = trace.report
            owner, before = owner_of(report.writer), report.continues
            oldest = owner not in seen
            seen.add(owner)
            if before is None:
                continue
            known = self._traces.get(before.writer)
            if known is None or known is trace:
                if oldest:
                    partial.add(owner)
                    self._note(Finding(kind="continues", writer=before.writer, last=before.seq))
                    continue
            elif _holds(known.report, before):
                continue
            found = Finding(kind="predecessor_missing", writer=before.writer, last=before.seq)
            self._find(found)
        return partial

    def _find(self, finding: Finding) -> None:
        self._keep(self._findings, finding)

    def _note(self, finding: Finding) -> None:
        self._keep(self._notes, finding)

    def _keep(self, kept: list[Finding], finding: Finding) -> None:
        self._counts[finding.kind] += 1
        if self._counts[finding.kind] <= EXAMPLES:
            kept.append(finding)


def _holds(report: ChainReport, head: Head) -> bool:
    """Tell whether a chain reaches this head. It may go on: two boots can overlap for a while."""
    if report.head is None or report.head.seq < head.seq:
        return False
    return report.head.seq > head.seq or report.head.mac == head.mac
