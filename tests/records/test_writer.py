"""The writer: what `accept` and `written` promise, order, bounds, and the end."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from router.records.reading import records
from router.records.schema import Malformed
from router.records.verifying import verify
from router.records.writer import RECORDS_PER_DECISION, QueueFull, Unwritten
from tests.records.samples import CHANGED, SECRET, finished, made, write_all, writer

if TYPE_CHECKING:
    from pathlib import Path

FULL = "/dev/full"


def ids(file: Path) -> list[str]:
    """Return the ids of the decisions made, in the file's order."""
    return [r["id"] for r in records([file]) if r["event"] == "decision.made"]


async def test_written_means_in_the_file(tmp_path: Path) -> None:
    """When `written` returns, the file has the record."""
    file = tmp_path / "r.jsonl"
    one = writer(file)
    one.start()

    await one.written(made("d-7"))

    assert ids(file) == ["d-7"]
    one.close(5)


async def test_nothing_is_opened_before_start(tmp_path: Path) -> None:
    """Making a writer touches no file."""
    file = tmp_path / "r.jsonl"

    one = writer(file)

    assert not file.exists()
    assert not one.can_write
    assert one.close(1) == 0


async def test_the_file_is_for_its_owner_only(tmp_path: Path) -> None:
    """A new file has mode 0600."""
    file = tmp_path / "r.jsonl"

    write_all(file, [CHANGED])

    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_many_tasks_one_chain(tmp_path: Path) -> None:
    """10,000 records from 50 tasks: each task's in its order, none lost, one whole chain."""
    file = tmp_path / "r.jsonl"
    one = writer(file)
    one.start()

    async def task(name: int) -> None:
        for number in range(100):
            key = f"{name}-{number}"
            if number % 10 == 0:
                await one.written(made(key))
            else:
                one.accept(made(key))
            one.accept(finished(key))

    await asyncio.gather(*(task(name) for name in range(50)))
    left = one.close(30)

    report = verify([file], SECRET)
    assert (left, report.ok, report.records, report.decisions) == (0, True, 10_001, 5_000)
    assert report.counts == {"restart": 1}
    assert report.heads == [one.head]
    by_task: dict[str, list[int]] = {}
    for key in ids(file):
        name, number = key.split("-")
        by_task.setdefault(name, []).append(int(number))
    assert all(numbers == list(range(100)) for numbers in by_task.values())


def test_accept_from_many_threads(tmp_path: Path) -> None:
    """`accept` may be called from any thread."""
    file = tmp_path / "r.jsonl"
    one = writer(file)
    one.start()

    def accept(name: int) -> None:
        for number in range(100):
            one.accept(made(f"{name}-{number}"))

    threads = [threading.Thread(target=accept, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.close(30)

    assert len(set(ids(file))) == 400
    assert verify([file], SECRET).ok


async def test_the_queue_counts_decisions(tmp_path: Path) -> None:
    """When `capacity` decisions wait there is no room for another, but for their ends there is."""
    one = writer(tmp_path / "r.jsonl", capacity=3)  # not started: nothing leaves the queue

    for number in range(3):
        one.accept(made(f"d-{number}"))
    with pytest.raises(QueueFull):
        one.accept(made("d-3"))
    with pytest.raises(QueueFull):
        await one.written(made("d-3"))
    for number in range(3):
        one.accept(finished(f"d-{number}"))

    assert one.depth == 6


async def test_even_ends_are_bounded(tmp_path: Path) -> None:
    """Records that are no decision are refused at four times the capacity."""
    one = writer(tmp_path / "r.jsonl", capacity=2)

    for _ in range(2 * RECORDS_PER_DECISION):
        one.accept(CHANGED)
    with pytest.raises(QueueFull):
        one.accept(finished())


async def test_room_comes_back(tmp_path: Path) -> None:
    """What is written no longer counts."""
    one = writer(tmp_path / "r.jsonl", capacity=1)
    one.start()

    for number in range(5):
        await one.written(made(f"d-{number}"))

    assert one.depth == 0
    one.close(5)


async def test_a_cancelled_caller_leaves_its_record(tmp_path: Path) -> None:
    """A decision whose request was cancelled meanwhile is written all the same."""
    file = tmp_path / "r.jsonl"
    one = writer(file)
    waiting = asyncio.create_task(one.written(made("d-1")))
    await asyncio.sleep(0)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    one.start()
    one.accept(finished("d-1"))
    one.close(5)

    assert verify([file], SECRET).counts == {"restart": 1}
    assert ids(file) == ["d-1"]


async def test_a_cancelled_caller_leaves_its_record_in_a_failing_writer(tmp_path: Path) -> None:
    """Then its record is tried again like any that nobody waits for."""
    file = tmp_path / "r.jsonl"
    file.symlink_to(FULL)
    one = writer(file)
    waiting = asyncio.create_task(one.written(made("d-1")))
    await asyncio.sleep(0)

    waiting.cancel()
    one.start()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    file.unlink()
    one.close(10)

    assert ids(file) == ["d-1"]


async def test_misfits_are_refused_at_the_door(tmp_path: Path) -> None:
    """A record with something else than an id in it is not accepted, and the next one is."""
    file = tmp_path / "r.jsonl"
    one = writer(file)
    one.start()

    with pytest.raises(Malformed):
        one.accept(made("tell me a secret"))
    with pytest.raises(Malformed):
        await one.written(made("tell me a secret"))
    await one.written(made("d-1"))

    one.close(5)
    assert ids(file) == ["d-1"]


async def test_what_is_no_json_is_dropped_alone(tmp_path: Path) -> None:
    """A record that cannot be encoded fails by itself, is counted, and leaves no gap."""
    file = tmp_path / "r.jsonl"
    one = writer(file)
    one.start()
    spoiled = made("d-2")
    spoiled.decision["label"]["value"] = "\ud800"

    outcomes = await asyncio.gather(
        one.written(made("d-1")),
        one.written(spoiled),
        one.written(made("d-3")),
        return_exceptions=True,
    )
    one.close(5)

    assert [type(outcome) for outcome in outcomes] == [type(None), Unwritten, type(None)]
    assert one.unencodable == 1
    assert ids(file) == ["d-1", "d-3"]
    assert verify([file], SECRET).ok


async def test_closed_is_closed(tmp_path: Path) -> None:
    """After `close` nothing is accepted, and whoever still waits hears so."""
    one = writer(tmp_path / "r.jsonl")
    waiting = asyncio.create_task(one.written(made()))
    await asyncio.sleep(0)

    left = await asyncio.to_thread(one.close, 0)

    with pytest.raises(Unwritten, match="ECANCELED"):
        await waiting
    with pytest.raises(Unwritten, match="ESHUTDOWN"):
        one.accept(made())
    assert left == 1


def test_close_flushes(tmp_path: Path) -> None:
    """`close` writes what waits."""
    file = tmp_path / "r.jsonl"
    one = writer(file)
    one.start()

    for number in range(1000):
        one.accept(made(f"d-{number}"))

    assert one.close(30) == 0
    assert len(ids(file)) == 1000


def test_without_a_place_to_write_there_is_no_writer() -> None:
    """A writer needs a file or a stream, and an owner whose id can be read back."""
    with pytest.raises(ValueError, match="file or standard output"):
        writer(None)
    with pytest.raises(ValueError, match="instance/worker"):
        writer(None, owner="gateway one")


async def test_a_stream_as_the_sink_of_record() -> None:
    """Without a file the stream is the sink of record, and it is left open."""
    outlet, inlet = os.pipe()
    one = writer(None, stdout=inlet)
    one.start()

    await one.written(made("d-1"))
    one.close(5)
    os.close(inlet)

    with os.fdopen(outlet, "rb") as reader:
        lines = reader.read().splitlines()
    assert [b"chain.started" in line for line in lines] == [True, False]
