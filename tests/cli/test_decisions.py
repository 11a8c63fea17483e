"""`decisions`: the last records, one by its id, and whether a file is whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.commands import PROGRAM
from tests.records.samples import CHANGED, LOADED, SECRET, finished, made, write_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.commands import Ran, World


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Return a file with two decisions, one of them unfinished, and what else is recorded."""
    file = tmp_path / "records.jsonl"
    write_all(file, [LOADED, made("d-1"), finished("d-1"), CHANGED, made("d-2")])
    return file


def _verify(world: World, file: Path, *arguments: str, secret: bytes = SECRET) -> Ran:
    return world.cli("decisions", "verify", file, *arguments, ROUTER_SECRET=secret.decode())


def test_the_last_records_come_one_a_line(world: World, records: Path) -> None:
    """`tail -n` prints that many, oldest first; JSON lines are the file's own."""
    lines = records.read_text(encoding="utf-8").splitlines()
    ran = world.cli("decisions", "tail", "--records", records, "-n", "3")
    raw = world.cli("decisions", "tail", "--records", records, "-n", "3", "--json")
    every = world.cli("decisions", "tail", "--records", records)
    none = world.cli("decisions", "tail", "--records", records, "-n", "0")

    assert ran.code == 0
    assert [line.split("  ")[1] for line in ran.out.splitlines()] == [
        "d-1",
        "control.changed",
        "d-2",
    ]
    assert "served  qwen-open  414 ms  0.000162 USD" in ran.out
    assert raw.out.splitlines() == lines[-3:]
    assert len(every.out.splitlines()) == len(lines)
    assert none.out == ""


def test_torn_and_foreign_lines_are_passed_over(world: World, records: Path) -> None:
    """What is no record, and a record of another schema, is no crash."""
    strange = {**json.loads(records.read_bytes().splitlines()[1]), "event": "decision.made"}
    for name in ("decision", "facts"):
        strange.pop(name, None)
    with records.open("a", encoding="utf-8") as file:
        file.write("not ours\n" + json.dumps(strange) + '\n{"at":"2026')
    ran = world.cli("decisions", "tail", "--records", records, "-n", "2")

    assert ran.code == 0
    assert "d-2" in ran.out
    assert "another schema" in ran.out


def test_following_prints_what_comes_until_ctrl_c(records: Path, world: World) -> None:
    """`--follow` prints the last, then each new record once, and ends with exit code 0."""
    more = world.folder / "more.jsonl"
    write_all(more, [made("d-3"), finished("d-3")])
    coming = more.read_bytes().splitlines(keepends=True)[1:]
    command = [*PROGRAM, "decisions", "tail", "-n", "1", "-f", "--records", str(records)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as following:  # noqa: S603
        assert following.stdout is not None
        seen = [following.stdout.readline()]
        with records.open("ab", buffering=0) as file:
            for line in coming:
                # A record counts once its line is whole.
                file.write(line[:10])
                file.write(line[10:])
                seen.append(following.stdout.readline())
        following.send_signal(signal.SIGINT)
        rest, err = following.communicate(timeout=20)

    assert [line.split()[1] for line in seen] == [b"d-2", b"d-3", b"d-3"]
    assert (following.returncode, rest, err) == (0, b"", b"")


def test_a_decision_is_shown_with_its_end(world: World, records: Path) -> None:
    """`show` tells label, plan, every verdict, and the finish; JSON is both records."""
    ran = world.cli("decisions", "show", "d-1", "--records", records)
    told = world.cli("decisions", "show", "d-1", "--records", records, "--json").json()

    assert ran.code == 0
    assert "ci-never-pays (cost.yaml:2) with key.group = ci" in ran.out
    assert "served" in ran.out
    assert "mac" not in ran.out
    assert told["made"]["id"] == told["finished"]["id"] == "d-1"


def test_an_unfinished_decision_says_so(world: World, records: Path) -> None:
    """A decision that is under way, or was cut off, has no end to show."""
    ran = world.cli("decisions", "show", "d-2", "--records", records)
    told = world.cli("decisions", "show", "d-2", "--records", records, "--json").json()

    assert ran.code == 0
    assert "not finished" in ran.out
    assert told["finished"] is None


def test_a_decision_that_is_not_there_is_a_finding(world: World, records: Path) -> None:
    """An unknown id is exit code 1 and one sentence, JSON too."""
    ran = world.cli("decisions", "show", "d-9", "--records", records)
    told = world.cli("decisions", "show", "d-9", "--records", records, "--json")

    assert (ran.code, ran.out, told.code) == (1, "", 1)
    assert "no decision of that id" in ran.err
    assert "no decision" in told.json()["error"]["message"]


def test_a_whole_file_is_good(world: World, records: Path) -> None:
    """Exit code 0, the number of records, and the decision without a finish as a note."""
    ran, told = _verify(world, records), _verify(world, records, "--json").json()

    assert ran.code == 0
    assert "whole: 6 records, 2 decisions" in ran.out
    assert "d-2: the decision has no finish" in ran.out
    assert told["ok"] is True
    assert told["heads"][0]["seq"] == 6


def _edited(lines: list[bytes]) -> list[bytes]:
    return [*lines[:3], lines[3].replace(b'"served"', b'"failed"'), *lines[4:]]


TAMPERED: dict[str, tuple[Any, str]] = {
    "edited": (_edited, "record 4 was changed or forged [rewritten]"),
    "deleted": (lambda lines: lines[:3] + lines[4:], "records 4 are missing"),
    "swapped": (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "[reordered]"),
    "doubled": (lambda lines: [*lines, lines[-1]], "[duplicate]"),
    "beheaded": (lambda lines: lines[1:], "the beginning of the chain is missing"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_file_that_was_tampered_with_is_a_finding(world: World, records: Path, how: str) -> None:
    """Exit code 1, and a sentence with the place of what was done."""
    tamper, says = TAMPERED[how]
    lines = records.read_bytes().splitlines(keepends=True)
    records.write_bytes(b"".join(tamper(lines)))
    ran, told = _verify(world, records), _verify(world, records, "--json")

    assert (ran.code, told.code) == (1, 1)
    assert "NOT WHOLE" in ran.out
    assert says in ran.out
    assert f"{records}:" in ran.out
    assert told.json()["ok"] is False


def test_a_torn_tail_is_a_note(world: World, records: Path) -> None:
    """Half a line at the end is what a crash leaves, and no finding."""
    with records.open("ab") as file:
        file.write(b'{"at":"2026-11-')
    ran = _verify(world, records)

    assert ran.code == 0
    assert "a torn line" in ran.out


def test_a_wrong_secret_says_nothing_of_the_records(world: World, records: Path) -> None:
    """Another secret is told as that, and not as forty forged records."""
    ran = _verify(world, records, secret=b"another")

    assert ran.code == 1
    assert "give the gateway's own" in ran.out
    assert "forged" not in ran.out
    assert "rewritten" not in ran.out


def test_a_file_without_records_proves_nothing(world: World, tmp_path: Path) -> None:
    """An empty file, or another one, is a finding: nothing in it was verified."""
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    ran = _verify(world, empty)

    assert ran.code == 1
    assert "NO RECORDS" in ran.out


def test_no_secret_is_told_with_what_to_do(world: World, records: Path) -> None:
    """Without a secret nothing can be checked: exit code 2, and both places for one."""
    ran = world.cli("decisions", "verify", records)

    assert ran.code == 2
    assert "ROUTER_SECRET" in ran.err
    assert "--state" in ran.err


def test_the_secret_of_the_state_folder_is_found(world: World, records: Path) -> None:
    """The secret that the gateway keeps does as well as the variable."""
    state = world.folder / "state"
    state.mkdir()
    (state / "secret").write_bytes(SECRET + b"\n")
    ran = world.cli("decisions", "verify", records)
    (state / "secret").chmod(0)
    unreadable = world.cli("decisions", "verify", records)

    assert ran.code == 0
    assert unreadable.code == (0 if os.geteuid() == 0 else 2)
