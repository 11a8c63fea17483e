"""Full disks, stuck pipes, killed processes, rotation and restarts, on real files and pipes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from router.records.reading import read, records
from router.records.verifying import Report, verify
from router.records.writer import QueueFull, RecordWriter, Unwritten
from tests.records.samples import CHANGED, SECRET, finished, made, write_all, writer

ROOT = Path(__file__).parents[2]
FULL = "/dev/full"


def events(file: Path) -> list[str]:
    """Return the events in a file, in order."""
    return [record["event"] for record in records([file])]


def ids(file: Path) -> list[str]:
    """Return the ids of the decisions made, in the file's order."""
    return [record["id"] for record in records([file]) if record["event"] == "decision.made"]


async def until_it_can_write(one: RecordWriter) -> None:
    """Wait until a writer has healed, without giving it anything to write."""
    while not one.can_write:  # noqa: ASYNC110 - a property, which nothing signals
        await asyncio.sleep(0.01)


def checked(*files: Path) -> Report:
    """Return the report on the files, which must be ok."""
    report = verify(files, SECRET)
    assert report.findings == []
    return report


def child(script: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process that has this repository on its path."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.records.samples import made, writer

async def main():
    one = writer(Path(sys.argv[1]))
    one.start()
    async def task(name):
        number = 0
        while True:
            key = f"{name}-{number}"
            await one.written(made(key))
            print(key, flush=True)
            number += 1
    await asyncio.gather(*(task(name) for name in range(8)))

asyncio.run(main())
"""


def test_a_killed_process_loses_nothing_that_it_said_was_written(tmp_path: Path) -> None:
    """A SIGKILL: every record whose `written` had returned is in the file, in one whole chain."""
    file = tmp_path / "r.jsonl"
    process = child(KILLED, file)
    assert process.stdout is not None

    said = [process.stdout.readline().strip() for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.read().splitlines()
    process.stdout.close()
    process.wait()

    assert set(said) <= set(ids(file))
    assert checked(file).decisions >= 300


SHORT = """
import asyncio, resource, sys
from pathlib import Path
from router.records.writer import Unwritten
from tests.records.samples import finished, made, writer

async def main():
    file = Path(sys.argv[1])
    one = writer(file)
    one.start()
    await one.written(made("d-0"))
    # Room for so many more records, less one byte.
    size = len(file.read_bytes().splitlines(keepends=True)[-1])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = int(size * float(sys.argv[2])) - 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + room, hard))
    outcomes = await asyncio.gather(
        *(one.written(made(f"d-{n}")) for n in range(1, 4)), return_exceptions=True
    )
    print([str(outcome) for outcome in outcomes], one.can_write, one.fault, flush=True)
    one.accept(finished("d-0"))
    one.accept(finished("d-1"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    while not one.can_write:
        await asyncio.sleep(0.01)
    await one.written(made("d-4"))
    print(one.close(10), one.failed_writes >= 1, flush=True)

asyncio.run(main())
"""


def test_a_write_that_stops_within_a_record(tmp_path: Path) -> None:
    """Whole lines count, the torn one stands alone, its waiter hears, and the chain is whole."""
    file = tmp_path / "r.jsonl"
    process = child(SHORT, file, 1.5)

    said, _ = process.communicate()

    assert said.splitlines() == ["['None', 'EFBIG', 'EFBIG'] False EFBIG", "0 True"]
    report = checked(file)
    assert report.counts == {"restart": 1, "torn": 1, "unfinished": 1}
    assert ids(file) == ["d-0", "d-1", "d-4"]
    recovery = next(r for r in records([file]) if r.get("cause") == "recovery")
    assert recovery["unwritten"] == 2


def test_a_write_that_stops_before_a_newline(tmp_path: Path) -> None:
    """A record that lacks its newline alone is there: it is neither lost nor written twice."""
    file = tmp_path / "r.jsonl"
    process = child(SHORT, file, 2)

    said, _ = process.communicate()

    assert said.splitlines() == ["['None', 'None', 'EFBIG'] False EFBIG", "0 True"]
    assert checked(file).counts == {"restart": 1, "unfinished": 2}
    assert ids(file) == ["d-0", "d-1", "d-2", "d-4"]


async def test_a_full_disk(tmp_path: Path) -> None:
    """Nothing can be written: durable records are refused, others wait until the queue is full."""
    file = tmp_path / "r.jsonl"
    file.symlink_to(FULL)
    one = writer(file, capacity=2)

    one.start()
    assert not one.can_write
    with pytest.raises(Unwritten, match="ENOSPC"):
        await one.written(made("d-0"))
    one.accept(made("d-1"))
    one.accept(made("d-2"))
    with pytest.raises(QueueFull):
        one.accept(made("d-3"))
    one.accept(finished("d-1"))

    assert (one.depth, one.fault) == (3, "ENOSPC")
    file.unlink()
    await until_it_can_write(one)
    assert await asyncio.to_thread(one.close, 10) == 0
    assert events(file) == ["chain.started", *["decision.made"] * 2, "decision.finished"]
    assert ids(file) == ["d-1", "d-2"]
    checked(file)


async def test_it_fails_and_heals_without_traffic(tmp_path: Path) -> None:
    """A disk that fills up and is freed again: `can_write` follows by itself, in one chain."""
    file, other = tmp_path / "r.jsonl", tmp_path / "full"
    one = writer(file, rotation_check_s=0)
    one.start()
    await one.written(made("d-0"))
    aside = file.rename(tmp_path / "aside")
    other.symlink_to(FULL)
    other.rename(file)

    with pytest.raises(Unwritten, match="ENOSPC"):
        await one.written(made("d-1"))
    assert not one.can_write
    aside.rename(file)
    await until_it_can_write(one)
    await one.written(made("d-2"))
    aside = file.rename(tmp_path / "aside")
    await one.written(made("d-3"))
    one.close(5)

    assert ids(aside) == ["d-0", "d-2"]
    assert checked(aside, file).counts == {"restart": 1, "unfinished": 3}
    assert [r["unwritten"] for r in records([aside, file]) if "unwritten" in r] == [0, 1, 0]


async def test_a_place_that_is_not_there_yet(tmp_path: Path) -> None:
    """A folder that is mounted later is found, and an earlier boot in it is continued."""
    later = tmp_path / "later"
    later.mkdir()
    write_all(later / "r.jsonl", [CHANGED])
    one = writer(tmp_path / "mount" / "r.jsonl")

    one.start()
    with pytest.raises(Unwritten, match="ENOENT"):
        await one.written(made())
    later.rename(tmp_path / "mount")
    await until_it_can_write(one)
    one.close(5)

    assert checked(tmp_path / "mount" / "r.jsonl").counts == {"restart": 2}


async def test_a_stuck_copy_never_holds_up_the_file(tmp_path: Path) -> None:
    """Nobody reads standard output: every record is in the file, and copies are dropped."""
    file = tmp_path / "r.jsonl"
    outlet, inlet = os.pipe()
    one = writer(file, stdout=inlet)
    one.start()

    for number in range(3000):
        one.accept(made(f"d-{number}"))
    await one.written(made("d-last"))
    one.close(0)

    assert len(ids(file)) == 3001
    assert one.dropped_copies > 0
    os.close(outlet)  # ends the copying thread's write
    os.close(inlet)


def test_copies_are_the_same_lines(tmp_path: Path) -> None:
    """What a reader of standard output sees is what the file has."""
    file, copy = tmp_path / "r.jsonl", tmp_path / "stdout"
    with copy.open("wb") as stdout:
        write_all(file, [made(), finished()], stdout=stdout.fileno())

    assert file.read_bytes() == copy.read_bytes()


async def test_a_copy_that_is_closed_is_counted(tmp_path: Path) -> None:
    """A reader of standard output that leaves costs copies, not records."""
    file = tmp_path / "r.jsonl"
    outlet, inlet = os.pipe()
    os.close(outlet)
    one = writer(file, stdout=inlet)
    one.start()

    await one.written(made("d-1"))
    one.close(5)
    os.close(inlet)

    assert ids(file) == ["d-1"]
    assert one.dropped_copies == 2


async def test_a_stuck_stream_of_record_is_a_failed_write() -> None:
    """Nobody reads the sink of record: callers hear so, and reading heals it."""
    outlet, inlet = os.pipe()
    one = writer(None, stdout=inlet)
    one.start()
    taken = bytearray()

    def drain() -> None:
        while piece := os.read(outlet, 65_536):
            taken.extend(piece)

    reader = threading.Thread(target=drain)

    with pytest.raises(Unwritten, match="EAGAIN"):
        await asyncio.gather(*(one.written(made(f"d-{number}")) for number in range(100)))
    one.accept(made("d-kept"))
    reader.start()
    await until_it_can_write(one)
    assert await asyncio.to_thread(one.close, 10) == 0
    os.close(inlet)
    reader.join()
    os.close(outlet)

    decided = [json.loads(line) for line in taken.splitlines() if line.endswith(b'"}')]
    assert decided[-1]["id"] == "d-kept"


async def test_rotation_by_renaming(tmp_path: Path) -> None:
    """A renamed file is let go of; the new one begins with what it continues."""
    file, old = tmp_path / "r.jsonl", tmp_path / "r.jsonl.1"
    one = writer(file, rotation_check_s=0)
    one.start()

    await one.written(made("d-0"))
    file.rename(old)
    await one.written(made("d-1"))
    one.close(5)

    assert (ids(old), ids(file)) == (["d-0"], ["d-1"])
    assert next(records([file]))["cause"] == "rotation"
    assert checked(old, file).counts == {"restart": 1, "unfinished": 2}
    assert checked(file).counts == {"continues": 1, "unfinished": 1}


async def test_rotation_by_emptying(tmp_path: Path) -> None:
    """A file that was copied and emptied begins anew with what it continues."""
    file, old = tmp_path / "r.jsonl", tmp_path / "r.jsonl.1"
    one = writer(file, rotation_check_s=0)
    one.start()

    await one.written(made("d-0"))
    await one.written(made("d-1"))
    old.write_bytes(file.read_bytes())
    os.truncate(file, 0)
    await one.written(made("d-2"))
    one.close(5)

    assert checked(old, file).counts == {"restart": 1, "unfinished": 3}
    assert checked(file).counts == {"continues": 1, "unfinished": 1}


async def test_a_removed_file_is_made_anew(tmp_path: Path) -> None:
    """A file that was removed does not swallow what comes."""
    file = tmp_path / "r.jsonl"
    one = writer(file, rotation_check_s=0)
    one.start()

    await one.written(made("d-0"))
    file.unlink()
    await one.written(made("d-1"))
    one.close(5)

    assert ids(file) == ["d-1"]


def test_a_restart_names_what_it_continues(tmp_path: Path) -> None:
    """Three boots are three chains, each named by the next, so none can go missing between."""
    file = tmp_path / "r.jsonl"
    for boot in range(3):
        write_all(file, [made(f"d-{boot}")])

    started = [record for record in records([file]) if record["event"] == "chain.started"]
    made_macs = [record["mac"] for record in records([file]) if "decision" in record]

    assert [s["previous"] and s["previous"]["mac"] for s in started] == [None, *made_macs[:2]]
    assert len({s["writer"] for s in started}) == 3
    assert checked(file).counts == {"restart": 3, "unfinished": 3}


@pytest.mark.parametrize("gone", [(2, 3), (3,), (2,)], ids=["a boot", "its end", "its start"])
def test_what_is_gone_before_a_restart_shows(tmp_path: Path, gone: tuple[int, ...]) -> None:
    """A boot between two others cannot be taken out, and none can lose its end unseen."""
    file = tmp_path / "r.jsonl"
    for boot in range(3):
        write_all(file, [made(f"d-{boot}")])
    lines = file.read_bytes().splitlines(keepends=True)

    file.write_bytes(b"".join(line for index, line in enumerate(lines) if index not in gone))

    kinds = {finding.kind for finding in verify([file], SECRET).findings}
    assert kinds & {"predecessor_missing", "beginning_missing"}


def test_a_head_that_was_changed_is_not_the_one_that_is_named(tmp_path: Path) -> None:
    """The next boot knows the mac of the record before it."""
    file = tmp_path / "r.jsonl"
    for boot in range(2):
        write_all(file, [made(f"d-{boot}")])
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:-5] + (b"0" if lines[1][-5:-4] != b"0" else b"1") + lines[1][-4:]

    file.write_bytes(b"".join(lines))

    kinds = [finding.kind for finding in verify([file], SECRET).findings]
    assert kinds == ["rewritten", "predecessor_missing"]


def test_a_restart_behind_half_a_line(tmp_path: Path) -> None:
    """A line that a crash tore stays alone, and the chain before it is continued."""
    file = tmp_path / "r.jsonl"
    write_all(file, [made("d-0"), made("d-1")])
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])

    write_all(file, [made("d-2")])

    report = verify([file], SECRET)
    assert report.ok
    assert report.counts == {"restart": 2, "torn": 1, "unfinished": 2}
    assert ids(file) == ["d-0", "d-2"]
    assert [line.number for line in read([file])] == [1, 2, 3, 4, 5]


def test_workers_share_a_file(tmp_path: Path) -> None:
    """Each worker has a chain of its own, also in one file."""
    file = tmp_path / "r.jsonl"
    writers = [writer(file, owner=f"gw/{number}") for number in range(3)]

    for one in writers:
        one.start()
    for number in range(300):
        writers[number % 3].accept(made(f"d-{number}"))
    for one in writers:
        one.close(10)

    report = checked(file)
    assert [chain.records for chain in report.chains] == [101, 101, 101]
    assert [line.problem for line in read([file]) if line.problem] == []
