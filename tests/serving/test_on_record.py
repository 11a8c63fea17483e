"""Every decision is on record before a byte leaves (P2), and what happens where that fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from router.records.verifying import verify
from tests.gateways import chunk, completion, gateway, user
from tests.scripted import DONE, Answer, Do, scripted
from tests.serving.clients import Gate, asking, assert_error, finished, last, made, until
from tests.serving.processes import SECRET, process

if TYPE_CHECKING:
    from tests.scripted import Seen
    from tests.serving.processes import Process

FULL = Path("/dev/full")
STREAMED = Answer.stream(chunk({"content": "Hi"}, finish="stop"), DONE)


class Witness:
    """Notes what stands in the records file at the moment an upstream sees a request."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seen: list[list[dict[str, Any]]] = []

    def before(self, answer: Answer) -> Answer:
        """Return the answer with a look at the file before it."""
        return Answer((Do(self._look), *answer.steps))

    async def _look(self, _: Seen) -> None:
        lines = self._file.read_bytes().splitlines()
        self.seen.append([r for r in map(json.loads, lines) if r["event"] == "decision.made"])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_paid_target_sees_a_request_whose_decision_is_in_the_file(
    tmp_path: Path, stream: bool
) -> None:
    """At the moment an external target sees a request, its decision has been written."""
    witness = Witness(tmp_path / "records.jsonl")
    answer = STREAMED if stream else Answer.json(completion())
    async with (
        scripted(witness.before(answer)) as paid,
        gateway(tmp_path, paid=paid.url) as running,
    ):
        for _ in range(5):
            reply = await running.post(user("hi", model="paid", stream=stream))
            assert witness.seen[-1][-1]["id"] == reply.headers["x-router-decision-id"]
            assert witness.seen[-1][-1]["decision"]["plan"] == ["paid"]


async def test_a_plan_that_only_ends_outside_is_written_first_too(tmp_path: Path) -> None:
    """A plan that holds an external target anywhere is written before its first call."""
    witness = Witness(tmp_path / "records.jsonl")
    async with (
        scripted(witness.before(Answer.json(completion()))) as own,
        gateway(tmp_path, own=own.url) as running,
    ):
        for _ in range(5):
            reply = await running.post(user("hi"))
            assert witness.seen[-1][-1]["id"] == reply.headers["x-router-decision-id"]
            assert witness.seen[-1][-1]["decision"]["plan"] == ["own", "paid"]


@pytest.mark.parametrize("level", ["confidential", "no-such-label"])
async def test_a_high_label_is_written_first_even_at_home(tmp_path: Path, level: str) -> None:
    """At or above the level in settings a decision is written first, wherever it goes.

    A level that the policy does not have counts as the lowest.
    """
    witness = Witness(tmp_path / "records.jsonl")
    async with (
        scripted(witness.before(Answer.json(completion()))) as own,
        gateway(tmp_path, own=own.url, durable_label=level) as running,
    ):
        for _ in range(5):
            reply = await running.post(user("hi"), x_router_sensitivity="confidential")
            assert witness.seen[-1][-1]["id"] == reply.headers["x-router-decision-id"]
            assert witness.seen[-1][-1]["decision"]["plan"] == ["own"]


async def test_a_refusal_is_on_record(tmp_path: Path) -> None:
    """A refused request has a decision and a finish, with a verdict for every target."""
    async with gateway(tmp_path) as running:
        reply = await running.post(user("hi", model="paid"), x_router_sensitivity="restricted")
        decision_id = reply.headers["x-router-decision-id"]
        end = await finished(running, decision_id)

        assert (end["outcome"], end["code"], end["attempts"]) == ("refused", "policy_refused", [])
        assert made(running, decision_id)["decision"]["targets"].keys() == {"own", "paid"}


async def test_where_nothing_can_be_written_nothing_leaves(tmp_path: Path) -> None:
    """While records cannot be written external targets are removed, own ones serve; it heals."""
    records = tmp_path / "records.jsonl"
    records.symlink_to(FULL)
    async with (
        scripted(Answer.json(completion())) as own,
        scripted(Answer.json(completion())) as paid,
        gateway(tmp_path, own=own.url, paid=paid.url) as running,
    ):
        fallen = await running.post(user("hi", model="best"))
        refused = await running.post(user("hi", model="paid"))

        assert fallen.headers["x-router-target"] == "own"
        assert fallen.headers["x-router-degraded"] == "tier"
        assert_error(refused, 503, "server_error", "no_capacity")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        path = f"/v1/decisions/{refused.headers['x-router-decision-id']}"
        found = (await running.get(path)).json()
        reasons = found["decision"]["targets"]["paid"]["reasons"]
        assert ("state", "unrecorded") in {(r["stage"], r["code"]) for r in reasons}
        assert paid.connections == 0
        assert (await running.admin("GET", "/admin/status")).json()["can_record"] is False

        records.unlink()
        await until(lambda: running.app._writer.can_write)
        healed = await running.post(user("hi", model="paid"))

        assert healed.headers["x-router-target"] == "paid"
        for reply in (fallen, refused, healed):
            await finished(running, reply.headers["x-router-decision-id"])


async def test_the_writer_may_break_under_the_very_decision(tmp_path: Path) -> None:
    """Where a decision cannot be written it is made again without the external targets."""
    records = tmp_path / "records.jsonl"
    async with (
        scripted(Answer.json(completion())) as own,
        scripted(Answer.json(completion())) as paid,
        gateway(tmp_path, own=own.url, paid=paid.url) as running,
    ):
        records.rename(tmp_path / "records.old")
        records.symlink_to(FULL)
        await asyncio.sleep(1.1)  # the writer looks for rotation once a second
        assert running.app._writer.can_write

        fallen = await running.post(user("hi", model="best"))

        assert fallen.headers["x-router-target"] == "own"
        assert paid.connections == 0
        records.unlink()
        end = await finished(running, fallen.headers["x-router-decision-id"])
        assert [attempt["target"] for attempt in end["attempts"]] == ["own"]
        told = [record for record in running.records() if record["event"] == "decision.made"]
        assert [record["state"]["unrecorded"] for record in told] == [True]


async def test_a_high_label_is_refused_where_it_cannot_be_written(tmp_path: Path) -> None:
    """What must be written first and cannot be is not sent, not even home."""
    (tmp_path / "records.jsonl").symlink_to(FULL)
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url, durable_label="confidential") as running,
    ):
        reply = await running.post(user("hi"), x_router_sensitivity="confidential")
        public = await running.post(user("hi"), x_router_sensitivity="public")

        assert_error(reply, 503, "server_error", "no_capacity")
        assert int(reply.headers["retry-after"]) > 0
        assert public.status_code == 200
        assert len(own.requests) == 1
        (tmp_path / "records.jsonl").unlink()


async def test_a_full_queue_is_a_503(tmp_path: Path) -> None:
    """When the bounded queue is full nothing is decided on, and nothing is sent."""
    (tmp_path / "records.jsonl").symlink_to(FULL)
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url, record_queue=2) as running,
    ):
        replies = [await running.post(user("hi")) for _ in range(4)]

        assert [reply.status_code for reply in replies] == [200, 200, 503, 503]
        assert_error(replies[2], 503, "server_error", "no_capacity")
        assert int(replies[2].headers["retry-after"]) > 0
        assert len(own.requests) == 2
        (tmp_path / "records.jsonl").unlink()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_finish_that_finds_no_room_spoils_no_answer(tmp_path: Path, stream: bool) -> None:
    """Where even the finish finds no room the answer stands, and is counted."""
    gate = Gate()
    answer = STREAMED if stream else Answer.json(completion())
    (tmp_path / "records.jsonl").symlink_to(FULL)
    async with (
        scripted(gate.before(answer)) as own,
        gateway(tmp_path, own=own.url, record_queue=1) as running,
        asking(
            running.url, user("hi", stream=stream), x_router_sensitivity="confidential"
        ) as client,
    ):
        await until(lambda: gate.waiting)
        for _ in range(4):
            await running.admin("POST", "/admin/suspend/paid")
        gate.open()
        head = await client.reader.readuntil(b"\r\n\r\n")
        await until(lambda: b"router_in_flight 0" in _metrics(running))

        (tmp_path / "records.jsonl").unlink()
        assert head.startswith(b"HTTP/1.1 200")
        assert b'router_requests_total{code="none",outcome="served"} 1' in _metrics(running)


def _metrics(running: Any) -> bytes:
    from prometheus_client import generate_latest  # noqa: PLC0415 - one test needs it

    return generate_latest(running.app.metrics.registry)


async def test_a_stop_writes_what_waits(tmp_path: Path) -> None:
    """After a stop every decision has its end in the file, and the chain is whole."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url) as running,
    ):
        for _ in range(10):
            await running.post(user("hi"), x_router_sensitivity="confidential")
        records = await running.settled()

    assert [r["event"] for r in records].count("decision.finished") == 10
    assert verify([tmp_path / "records.jsonl"], SECRET.encode()).ok


class Killer:
    """Kills a process at the moment an upstream sees the request of a given number."""

    def __init__(self, victim: Process, number: int) -> None:
        self._victim = victim
        self._left = number

    async def kill(self, _: Seen) -> None:
        """Count a request, and kill at the last one; there may be more on their way."""
        self._left -= 1
        if self._left == 0:
            self._victim.signal(signal.SIGKILL)
        await asyncio.sleep(0.01)


async def test_a_kill_loses_no_record_of_an_external_contact(tmp_path: Path) -> None:
    """Whatever an external target has seen when the process is killed is on record.

    Once when the connections are warm and nothing else waits to be written, so that a request is
    out sooner than a record would be that nobody waits for; and once in the middle of many.
    """
    chance = random.Random(7)  # noqa: S311 - when to kill, nothing secret
    rounds = ((1, 8), (100, chance.randrange(5, 60)))
    async with scripted() as paid, httpx.AsyncClient(trust_env=False, timeout=20) as client:
        for at_once, number in rounds:
            async with process(tmp_path, paid=paid.url) as serving:
                await serving.ready()
                killer = Killer(serving, number)
                paid.script = [Answer((Do(killer.kill), *Answer.json(completion()).steps))]
                await asyncio.gather(
                    *(_ask(client, serving.public_url, f"r{at_once}-{n}") for n in range(at_once))
                )
                if at_once == 1:
                    for n in range(1, number):
                        await asyncio.sleep(0.02)
                        await _ask(client, serving.public_url, f"r1-{n}")
                assert await serving.ended() == -signal.SIGKILL
    seen = {request.json["messages"][0]["content"] for request in paid.requests}
    lines = (tmp_path / "records.jsonl").read_bytes().splitlines()
    records = [json.loads(line) for line in lines if line.endswith(b"}")]
    decided = {r["request_id"]: r["id"] for r in records if r["event"] == "decision.made"}

    assert seen
    assert seen <= decided.keys()
    report = verify([tmp_path / "records.jsonl"], SECRET.encode())
    ends = {r["id"] for r in records if r["event"] == "decision.finished"}
    assert report.findings == []
    assert report.counts.get("unfinished", 0) == len(set(decided.values()) - ends)
    assert {note.kind for note in report.notes} <= {"unfinished", "restart", "torn"}


async def _ask(client: httpx.AsyncClient, url: str, name: str) -> None:
    with contextlib.suppress(httpx.HTTPError):  # killed under it
        await client.post(
            f"{url}/v1/chat/completions",
            json=user(name, model="paid"),
            headers={"x-request-id": name},
        )


async def test_the_last_record_says_why_a_control_was_not_heard(tmp_path: Path) -> None:
    """A suspension is on record as a change of control."""
    async with gateway(tmp_path) as running:
        await running.admin("POST", "/admin/suspend/paid")

        told = await until(lambda: last(running, "control.changed"))
        assert (told["action"], told["name"]) == ("suspend", "paid")
