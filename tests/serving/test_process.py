"""The process: starting, being ready, draining, ending; and the gate against too many requests."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx

from tests.gateways import RULES, chunk, completion, gateway, user, write_policy
from tests.scripted import DONE, Answer, scripted
from tests.serving.clients import Gate, asking, assert_error, last, until
from tests.serving.processes import process

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateways import Running

BEGUN = Answer.stream(chunk({"content": "Hel"}), steps=())
ENDING = Answer(Answer.stream(chunk({"content": "lo"}, finish="stop"), DONE).steps[1:])


async def test_a_running_gateway_is_live_started_and_ready(tmp_path: Path) -> None:
    """The three probes answer 200 to anybody, and the metrics name the policy that serves."""
    async with gateway(tmp_path) as running:
        for path in ("/livez", "/startupz", "/readyz"):
            reply = await running.client.get(f"{running.app.admin_url}{path}")
            assert (reply.status_code, reply.text) == (200, "ok\n")
        metrics = (await running.client.get(f"{running.app.admin_url}/metrics")).text

        assert re.search(r'router_policy_info\{digest="sha256:[0-9a-f]{64}"\} 1\.0', metrics)
        assert "router_records_can_write 1.0" in metrics
        assert "router_record_chain_head{" in metrics


async def test_the_metrics_count_requests_decisions_and_contacts(tmp_path: Path) -> None:
    """After one paid request each counter stands at one, and the transport's own count agrees."""
    async with (
        scripted(Answer.json(completion())) as paid,
        gateway(tmp_path, paid=paid.url) as running,
    ):
        await running.post(user("hi", model="paid"))
        await running.post(b"{")
        metrics = (await running.client.get(f"{running.app.admin_url}/metrics")).text

        for line in (
            'router_requests_total{code="none",outcome="served"} 1.0',
            'router_requests_total{code="invalid_request",outcome="undecided"} 1.0',
            'router_decisions_total{label="internal",target="paid"} 1.0',
            'router_attempts_total{fault="none",target="paid"} 1.0',
            'router_external_contacts_total{target="paid"} 1.0',
            'router_tokens_total{direction="output",target="paid"} 5.0',
            "router_in_flight 0.0",
        ):
            assert line in metrics


async def test_more_requests_than_the_gate_takes_are_turned_away(tmp_path: Path) -> None:
    """Beyond the bound a request is a 503 at once; when one has ended the next is served."""
    gate = Gate()
    async with (
        scripted(gate.before(Answer.json(completion()))) as own,
        gateway(tmp_path, own=own.url, max_in_flight=2) as running,
    ):
        first = [asyncio.create_task(running.post(user("hi"))) for _ in range(2)]
        await until(lambda: len(gate.waiting) == 2)
        third = await running.post(user("hi"))
        gate.open()
        replies = await asyncio.gather(*first)
        fourth = await running.post(user("hi"))

        assert_error(third, 503, "server_error", "no_capacity")
        assert 0 < int(third.headers["retry-after"]) <= 60
        assert [reply.status_code for reply in (*replies, fourth)] == [200, 200, 200]
        assert len(own.requests) == 3


async def test_a_drain_lets_open_streams_end(tmp_path: Path) -> None:
    """On SIGTERM it is not ready, takes no new connection, ends its streams, and exits with 0."""
    gate = Gate()
    async with (
        scripted(gate.after(BEGUN, then=ENDING)) as own,
        process(tmp_path, own=own.url) as serving,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        await serving.ready()
        async with asking(serving.public_url, user("hi", stream=True)) as open_stream:
            await open_stream.reader.readuntil(b"Hel")
            assert (await client.get(f"{serving.admin_url}/readyz")).status_code == 200
            serving.signal(signal.SIGTERM)
            await _becomes(client, f"{serving.admin_url}/readyz", 503)
            alive = await client.get(f"{serving.admin_url}/livez")
            new = await _refused(serving.public_url)
            gate.open()
            told = await open_stream.reader.readuntil(b"0\r\n\r\n")
        code = await serving.ended()

    assert (alive.status_code, new, code) == (200, True, 0)
    assert DONE.encode() in told
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_bytes().splitlines()]
    assert [r["outcome"] for r in records if r["event"] == "decision.finished"] == ["served"]


async def _becomes(client: httpx.AsyncClient, url: str, status: int) -> None:
    async with asyncio.timeout(5):
        while (await client.get(url)).status_code != status:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def _refused(url: str) -> bool:
    address = httpx.URL(url)
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection(address.host, address.port)
            except OSError:
                return True
            writer.close()
            await asyncio.sleep(0.02)


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Who asks twice does not wait for open streams."""
    gate = Gate()
    async with (
        scripted(gate.after(BEGUN, then=ENDING)) as own,
        process(tmp_path, own=own.url, drain_s="60") as serving,
    ):
        await serving.ready()
        async with asking(serving.public_url, user("hi", stream=True)) as open_stream:
            await open_stream.reader.readuntil(b"Hel")
            serving.signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            serving.signal(signal.SIGTERM)
            code = await serving.ended(5)

    assert code == 1


async def test_a_bad_policy_does_not_start(tmp_path: Path) -> None:
    """Without a last good policy a bad one ends the process with 1 and file:line."""
    write_policy(tmp_path / "policies", rules=RULES.replace("[hr]", "[hrr]", 1))
    async with process(tmp_path) as serving:
        code = await serving.ended()

    problems = [said["problem"] for said in serving.log if said["event"] == "policy.rejected"]
    assert code == 1
    assert len(problems) == 1
    assert re.search(r'/policies/rules\.yaml:6: .*"hrr".*"hr"', problems[0])
    assert serving.other == []


async def test_a_taken_port_is_said_in_a_sentence(tmp_path: Path) -> None:
    """A port that somebody else has ends the process with 2, and names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with process(tmp_path, "--port", str(port)) as serving:
            code = await serving.ended()

    why = serving.log[-1]["why"]
    assert code == 2
    assert f"127.0.0.1:{port}" in why
    assert "in use" in why
    assert serving.other == []


async def test_damaged_controls_do_not_start(tmp_path: Path) -> None:
    """A process that cannot read what was stopped ends with 2 and says which file it is."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "controls.json").write_text("{")
    async with process(tmp_path) as serving:
        code = await serving.ended()

    assert code == 2
    assert "controls.json" in serving.log[-1]["why"]


async def test_a_policy_watch_that_meets_odd_things_goes_on(tmp_path: Path) -> None:
    """Whatever stands where the policy or the keys should be, a later good edit is loaded."""
    async with gateway(tmp_path, auth="on") as running:
        rules, keys = running.policies / "rules.yaml", tmp_path / "keys.yaml"
        good = rules.read_text(), keys.read_text()
        rules.unlink()
        rules.mkdir()
        keys.unlink()
        keys.symlink_to(keys)
        await until(lambda: last(running, "policy.rejected"))
        rules.rmdir()
        keys.unlink()
        rules.write_text(good[0].replace("id: home", "id: at-home"))
        keys.write_text(good[1])

        await until(lambda: len(_loads(running)) == 2)


def _loads(running: Running) -> list[dict[str, Any]]:
    return [record for record in running.records() if record["event"] == "policy.loaded"]
