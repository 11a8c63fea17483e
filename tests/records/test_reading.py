"""Reading back: whole files, from the end, and as lines come."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from router.records.reading import (
    DecisionRecord,
    Tail,
    backwards,
    find,
    follow,
    joined,
    last_head,
    read,
    records,
)
from router.records.verifying import verify
from tests.records.samples import CHANGED, SECRET, finished, made, write_all, writer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_lines_know_their_place(tmp_path: Path) -> None:
    """Every line has its file, its number and what is wrong with it."""
    file = tmp_path / "r.jsonl"
    write_all(file, [CHANGED])
    whole = file.read_bytes()
    file.write_bytes(b"hello\n\n" + whole + whole[:60])

    found = [(line.at, line.problem) for line in read([file])]

    places = [f"{file}:{number}" for number in (1, 3, 4, 5)]
    assert list(zip(places, ["alien", None, None, "torn"], strict=True)) == found


def test_records_of_another_kind_are_alien(tmp_path: Path) -> None:
    """JSON without the chain's fields, or with others in their place, is no record of ours."""
    file = tmp_path / "r.jsonl"
    chained = '"prev":"0","mac":"0","writer":"gw/0/ab"'
    file.write_text(
        '{"event":"x"}\n{"event":"x","seq":true,'
        + chained
        + '}\n{"event":1,"seq":1,'
        + chained
        + '}\n{"event":"x","seq":"1",'
        + chained
        + '}\n"text"\n{"event":"x","seq":1,'
        + chained
        + "}\n"
    )

    assert [line.problem for line in read([file])] == [*["alien"] * 5, None]


def test_decisions_are_joined_with_their_ends() -> None:
    """A decision comes with its end when that comes, those without one last."""
    one, two = ({"event": "decision.made", "id": key} for key in "ab")
    end, stray = ({"event": "decision.finished", "id": key} for key in "bc")

    found = list(joined([one, two, {"event": "policy.loaded"}, stray, end]))

    assert found == [
        DecisionRecord(made=None, finished=stray),
        DecisionRecord(made=two, finished=end),
        DecisionRecord(made=one, finished=None),
    ]


@given(st.binary(max_size=300).map(lambda data: data.replace(b"a", b"\n")), st.integers(1, 40))
def test_backwards_is_forwards_reversed(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, block: int
) -> None:
    """Whatever a file holds and however it falls into blocks, its lines come last first."""
    file = tmp_path_factory.mktemp("b") / "f"
    file.write_bytes(data)

    found = list(backwards(file, len(data) + 1, block_bytes=block))

    assert data.split(b"\n")[::-1] == (found or [b""])


def test_backwards_stops_at_its_limit(tmp_path: Path) -> None:
    """Only whole lines within the last bytes are read."""
    file = tmp_path / "f"
    file.write_bytes(b"one\ntwo\nthree\n")

    assert list(backwards(file, 8)) == [b"", b"three"]


def test_a_decision_is_found(tmp_path: Path) -> None:
    """By its id, with its end, without reading what is older."""
    file = tmp_path / "r.jsonl"
    write_all(file, [made("d-1"), made("d-2"), finished("d-2"), made("d-3")])

    whole, opened, none = (find([file], key) for key in ("d-2", "d-3", "d-4"))

    assert whole is not None
    assert whole.made is not None
    assert whole.finished is not None
    assert (whole.made["request_id"], whole.finished["outcome"]) == ("r-d-2", "served")
    assert opened is not None
    assert opened.finished is None
    assert none is None


def test_a_decision_is_found_across_files(tmp_path: Path) -> None:
    """Its end may stand in the newer file, and the newest decision of an id is meant."""
    old, new = tmp_path / "old", tmp_path / "new"
    write_all(old, [made("d-1")])
    write_all(new, [finished("d-1")])

    found = find([new, old], "d-1")

    assert found is not None
    assert found.made is not None
    assert found.finished is not None


def test_finding_is_bounded(tmp_path: Path) -> None:
    """What lies further back than the limit is not looked for."""
    file = tmp_path / "r.jsonl"
    write_all(file, [made("d-1"), *(made(f"e-{number}") for number in range(50))])

    assert find([file], "d-1", limit_bytes=10_000) is None
    assert find([file], "e-49", limit_bytes=10_000) is not None


def test_the_last_head_is_that_of_the_owner(tmp_path: Path) -> None:
    """The newest record of an instance and worker counts, not another's, and not a torn one."""
    file = tmp_path / "r.jsonl"
    write_all(file, [CHANGED], owner="gw/0")
    named = msgspec.structs.replace(CHANGED, name="gw/0/x")
    write_all(file, [CHANGED, named], owner="gw/01")
    file.write_bytes(file.read_bytes() + b'{"at":"2026","writer":"gw/0/ab"')

    mine, other, none = (last_head(file, owner) for owner in ("gw/0", "gw/01", "gw/2"))

    assert mine is not None
    assert other is not None
    assert (mine.seq, other.seq, none) == (2, 3, None)
    assert last_head(tmp_path / "missing", "gw/0") is None
    assert last_head(tmp_path, "gw/0") is None


def test_a_tail_gives_what_comes(tmp_path: Path) -> None:
    """Only whole new lines, each once, with its number."""
    file = tmp_path / "r.jsonl"
    write_all(file, [CHANGED])
    tail = Tail(file)
    whole = file.read_bytes().splitlines(keepends=True)[1]

    with file.open("ab") as out:
        nothing = tail.poll()
        out.write(whole[:20])
        out.flush()
        half = tail.poll()
        out.write(whole[20:] + whole)
        out.flush()
        both = tail.poll()
    tail.close()

    assert (nothing, half) == ([], [])
    assert [line.number for line in both] == [3, 4]
    assert [line.raw + b"\n" for line in both] == [whole, whole]


def test_a_tail_goes_on_across_rotation(tmp_path: Path) -> None:
    """The old file's rest comes before the new file's lines, also when it was emptied."""
    file = tmp_path / "r.jsonl"
    tail = Tail(file, from_start=True)
    one = writer(file, rotation_check_s=0)

    assert tail.poll() == []
    one.start()
    first = tail.poll()
    file.rename(tmp_path / "old")
    with (tmp_path / "old").open("ab") as out:
        out.write(b"late\nhalf")
    missing = tail.poll()
    one.accept(CHANGED)
    one.close(5)
    second = tail.poll()
    file.write_bytes(b"anew\n")
    third = tail.poll()
    tail.close()

    assert [line.record and line.record["event"] for line in first] == ["chain.started"]
    assert [line.raw for line in missing] == [b"late"]
    assert [line.raw for line in second if line.problem] == [b"half"]
    assert [line.record["event"] for line in second if line.record] == [
        "chain.started",
        "control.changed",
    ]
    assert [(line.number, line.raw) for line in third] == [(1, b"anew")]


def test_following_ends_when_told(tmp_path: Path) -> None:
    """`follow` yields what a running writer writes until it is stopped."""
    file = tmp_path / "r.jsonl"
    stop = threading.Event()
    one = writer(file)
    one.start()
    seen: list[str] = []

    for line in follow(file, stop, from_start=True, poll_s=0.01):
        assert line.record is not None
        seen.append(line.record["event"])
        if len(seen) == 1:
            one.accept(made())
        if len(seen) == 2:
            stop.set()
    one.close(5)

    assert seen == ["chain.started", "decision.made"]


def test_records_leaves_out_the_rest(tmp_path: Path) -> None:
    """`records` yields records alone, in the order of files and lines."""
    one, two = tmp_path / "1", tmp_path / "2"
    write_all(one, [made("d-1")])
    write_all(two, [made("d-2")])
    one.write_bytes(b"alien\n" + one.read_bytes())

    assert [r["id"] for r in records([one, two]) if "id" in r] == ["d-1", "d-2"]
    assert verify([one, two], SECRET).ok
