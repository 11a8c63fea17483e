"""Verifying: whatever is done to a written file shows, except that its newest lines are gone."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.records.chain import Chain
from router.records.schema import as_plain
from router.records.verifying import EXAMPLES, Report, verify
from tests.records.samples import CHANGED, LOADED, SECRET, finished, made, write_all

SIZE = 9


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """Return the lines of a written file: a start, four decisions and their ends."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "r.jsonl"
        records = [kind(f"d-{number}") for number in range(4) for kind in (made, finished)]
        write_all(file, records)
        return file.read_bytes().splitlines(keepends=True)


def verified(lines: list[bytes], secret: bytes = SECRET) -> Report:
    """Return the report on a file of these lines."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "r.jsonl"
        file.write_bytes(b"".join(lines))
        return verify([file], secret)


def test_as_written_it_is_whole(lines: list[bytes]) -> None:
    """Nothing is found in a file as it was written."""
    report = verified(lines)

    assert len(lines) == SIZE
    assert report.ok
    assert (report.records, report.decisions, report.findings) == (SIZE, 4, [])
    assert [head.seq for head in report.heads] == [SIZE]


@given(index=st.integers(0, SIZE - 2))
def test_a_missing_line_shows(lines: list[bytes], index: int) -> None:
    """Any line but the last cannot be taken out."""
    report = verified([*lines[:index], *lines[index + 1 :]])

    assert not report.ok
    assert report.counts.keys() & {"missing", "beginning_missing"}


@given(count=st.integers(1, SIZE - 1))
def test_a_cut_end_shows_in_the_head_alone(lines: list[bytes], count: int) -> None:
    """Without its newest lines a file is whole; only the head tells."""
    report = verified(lines[:-count])

    assert report.heads[0].seq == SIZE - count
    assert report.ok == (count % 2 == 0 or report.counts["unfinished"] == 1)
    assert report.findings == []
    assert report.heads != verified(lines).heads


@given(index=st.integers(0, SIZE - 1), data=st.data())
def test_an_edited_line_shows(lines: list[bytes], index: int, data: st.DataObject) -> None:
    """No byte of any line can be changed without a finding, or a note where it says the same."""
    line = lines[index].rstrip(b"\n")
    place = data.draw(st.integers(0, len(line) - 1))
    byte = data.draw(st.integers(32, 126).filter(lambda value: value != line[place]))
    edited = line[:place] + bytes((byte,)) + line[place + 1 :] + b"\n"

    report = verified([*lines[:index], edited, *lines[index + 1 :]])

    assert not report.ok or report.counts.keys() & {"torn", "alien", "reformatted"}
    same = _parsed(edited) == _parsed(line)
    assert same or not report.ok or index == SIZE - 1


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


@given(
    index=st.integers(1, SIZE - 1),
    key=st.sampled_from(["at", "event", "id", "writer", "seq", "prev", "mac", "schema"]),
)
def test_an_edited_value_shows(lines: list[bytes], index: int, key: str) -> None:
    """No value can be changed, written as any JSON tool writes it."""
    record = json.loads(lines[index])
    record[key] = record[key] + 1 if isinstance(record[key], int) else record[key] + "0"

    report = verified([*lines[:index], json.dumps(record).encode() + b"\n", *lines[index + 1 :]])

    assert not report.ok
    assert report.counts["rewritten"] == 1
    assert ("missing" in report.counts) == (key in {"writer", "seq"} and index < SIZE - 1)


@given(places=st.lists(st.integers(0, SIZE - 1), min_size=2, max_size=2, unique=True))
def test_swapped_lines_show(lines: list[bytes], places: list[int]) -> None:
    """Two lines of a writer cannot change places."""
    one, other = places
    swapped = list(lines)
    swapped[one], swapped[other] = lines[other], lines[one]

    report = verified(swapped)

    assert not report.ok
    assert "reordered" in report.counts
    assert "missing" not in report.counts


@given(index=st.integers(0, SIZE - 1), behind=st.integers(0, SIZE))
def test_a_doubled_line_shows(lines: list[bytes], index: int, behind: int) -> None:
    """No line can be there twice."""
    at = max(behind, index + 1)

    report = verified([*lines[:at], lines[index], *lines[at:]])

    assert not report.ok
    assert report.counts["duplicate"] == 1


@given(index=st.integers(0, SIZE - 2), data=st.data())
def test_a_truncated_line_shows(lines: list[bytes], index: int, data: st.DataObject) -> None:
    """Half a line within a file is reported, and its number as missing."""
    kept = data.draw(st.integers(1, len(lines[index]) - 2))

    report = verified([*lines[:index], lines[index][:kept] + b"\n", *lines[index + 1 :]])

    assert not report.ok
    assert report.counts.keys() & {"torn", "alien"}


@given(kept=st.integers(8, 300))
def test_a_truncated_last_line_is_noted(lines: list[bytes], kept: int) -> None:
    """Half a line at the end is what a crash leaves: noted, and no finding."""
    report = verified([*lines[:-1], lines[-1][:kept]])

    assert report.findings == []
    assert report.counts == {"restart": 1, "torn": 1, "unfinished": 1}


@given(index=st.integers(1, SIZE - 1))
def test_a_glued_line_is_read(lines: list[bytes], index: int) -> None:
    """Half a record of another writer in front of a line spoils nothing."""
    glued = b'{"at":"2026-11-21T23:54:19.123Z","decision":{"order":{"at":"x.yaml:3"' + lines[index]

    report = verified([*lines[:index], glued, *lines[index + 1 :]])

    assert report.ok
    assert report.counts == {"restart": 1, "torn": 1}


def test_other_lines_in_between_are_noted(lines: list[bytes]) -> None:
    """A capture of standard output may hold other logs."""
    others = [
        b"starting\n",
        b'{"level":"info","rule":{"at":"x"}}\n',
        b"\n",
        b"\xff\xfe\n",
        b"[1]\n",
    ]

    report = verified([other + line for line, other in zip(lines, others * 2, strict=False)])

    assert report.ok
    assert report.records == SIZE


def test_lines_behind_a_collector_prefix_are_read(lines: list[bytes]) -> None:
    """A container runtime's prefix does not hide a record."""
    prefixed = [b"2026-11-21T23:54:19Z stdout F " + line for line in lines]

    report = verified(prefixed)

    assert report.ok
    assert report.counts == {"restart": 1, "alien": SIZE}


def test_reformatted_lines_are_noted(lines: list[bytes]) -> None:
    """Lines that another tool wrote anew are whole, and said to be reformatted."""
    report = verified(
        [json.dumps(json.loads(line), indent=None).encode() + b"\n" for line in lines]
    )

    assert report.ok
    assert report.counts == {"restart": 1, "reformatted": SIZE}


def test_a_wrong_secret_says_so(lines: list[bytes]) -> None:
    """With another secret nothing fits, and that is the one thing that is said."""
    report = verified(lines, b"another")

    assert not report.ok
    assert [finding.kind for finding in report.findings] == ["wrong_key"]


def test_a_forged_line_shows(lines: list[bytes]) -> None:
    """Without the secret nobody can add a record."""
    forger = Chain(b"a guess", json.loads(lines[0])["writer"])
    forged = forger.seal(None, "info", forger.link(None, "info", as_plain(CHANGED)))

    report = verified([*lines, forged])

    assert report.counts == {"restart": 1, "rewritten": 1}
    assert not report.ok


def test_an_authentic_record_with_another_predecessor_shows(lines: list[bytes]) -> None:
    """Two histories of one writer cannot be spliced."""
    fork = Chain(SECRET, json.loads(lines[0])["writer"])
    others = [fork.seal(None, "i", fork.link(None, "i", as_plain(LOADED))) for _ in range(3)]

    report = verified([*lines[:2], others[2]])

    assert [finding.kind for finding in report.findings] == ["broken_link"]


def test_decisions_and_ends_are_paired(tmp_path: Path) -> None:
    """Ends without a decision, and second ends or decisions, are findings; missing ends notes."""
    file = tmp_path / "r.jsonl"
    write_all(
        file,
        [
            *(made("whole"), finished("whole")),
            made("open"),
            finished("stray"),
            *(made("twice"), finished("twice"), finished("twice")),
            *(made("again"), finished("again"), made("again"), finished("again")),
        ],
    )

    report = verify([file], SECRET)

    found = {(finding.kind, finding.id) for finding in report.findings}
    assert found == {
        ("finish_without_decision", "stray"),
        ("finished_twice", "twice"),
        ("decided_twice", "again"),
    }
    assert [note.id for note in report.notes if note.kind == "unfinished"] == ["open"]


def test_an_end_whose_decision_was_rotated_away_is_no_finding(tmp_path: Path) -> None:
    """Where something is known to have been before, an end may belong to it."""
    file = tmp_path / "r.jsonl"
    write_all(file, [made("d-1")])
    file.rename(tmp_path / "old")
    file.write_bytes((tmp_path / "old").read_bytes())
    write_all(file, [finished("d-1")])
    both = file.read_bytes().splitlines(keepends=True)

    report = verified(both[2:])

    assert report.ok
    assert report.counts == {"continues": 1, "restart": 1}


def test_a_place_is_named(lines: list[bytes], tmp_path: Path) -> None:
    """A finding says file:line."""
    file = tmp_path / "r.jsonl"
    file.write_bytes(b"".join([*lines[:3], *lines[4:]]))

    report = verify([file], SECRET)

    missing = next(finding for finding in report.findings if finding.kind == "missing")
    assert (missing.at, missing.first, missing.last) == (f"{file}:4", 4, 4)


def test_examples_are_bounded_and_counts_are_not(lines: list[bytes]) -> None:
    """A file full of other lines does not fill the memory."""
    report = verified([*lines, *[b"alien\n"] * (EXAMPLES + 50)])

    assert report.counts["alien"] == EXAMPLES + 50
    assert len([note for note in report.notes if note.kind == "alien"]) == EXAMPLES


def test_a_huge_number_costs_nothing(lines: list[bytes]) -> None:
    """A forged number far away is no list of everything between."""
    record = json.loads(lines[3]) | {"seq": 10**18}

    report = verified([*lines, json.dumps(record).encode() + b"\n"])

    assert report.counts == {"restart": 1, "rewritten": 1}
