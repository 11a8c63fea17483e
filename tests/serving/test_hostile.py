"""Upstreams, files and callers that mean no good, or are just half done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from router.settings import kept_secret
from tests.gateways import RULES, completion, gateway, user
from tests.scripted import Answer, Send, Wait, head, scripted

if TYPE_CHECKING:
    from pathlib import Path

ANSWER = Answer.json(completion())


async def test_what_comes_on_an_idle_connection_is_nobodys_answer(tmp_path: Path) -> None:
    """A second answer that an upstream sends unasked is not given to the next caller."""
    mine = completion("Mine.")
    stray = Answer.json(completion("Somebody else's.")).steps
    script = (Answer.json(mine, steps=[Wait(0.2), *stray]), Answer.json(completion("Yours.")))
    async with scripted(*script) as own, gateway(tmp_path, own=own.url) as running:
        assert (await running.post(user("a"))).json()["choices"][0]["message"]["content"] == "Mine."
        await asyncio.sleep(0.5)

        answer = await running.post(user("b"))

        assert answer.json()["choices"][0]["message"]["content"] == "Yours."
        assert len(own.requests) == 2


async def test_a_stream_that_never_begins_is_given_up(tmp_path: Path) -> None:
    """What comes before the first token is held in memory, so it is bounded."""
    empty = (
        b"data: " + b'{"choices":[{"index":0,"delta":{"x":"' + b"a" * 300_000 + b'"}}]}' + b"\n\n"
    )
    start = Send(head(200, {"Content-Type": "text/event-stream"}))
    lies = Answer.raw(start, *[Send(empty)] * 8, Wait(5))
    async with scripted(lies) as own, gateway(tmp_path, own=own.url) as running:
        answer = await running.post(user("a", stream=True), x_router_sensitivity="restricted")

        assert answer.status_code == 502


async def test_a_half_written_policy_is_not_taken(tmp_path: Path) -> None:
    """A file that is still being written is left alone until it stays as it is."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url) as running,
    ):
        file = running.policies / "rules.yaml"
        with file.open("w") as writing:
            for line in RULES.splitlines(keepends=True):
                writing.write(line)
                writing.flush()
                await asyncio.sleep(0.1)
        await asyncio.sleep(2)

        assert [r for r in running.records() if r["event"].startswith("policy.")][1:] == []


@pytest.mark.parametrize("text", ["", "short\n"])
def test_an_empty_secret_is_no_secret(tmp_path: Path, text: str) -> None:
    """A secret file that a crash left empty is refused, rather than used."""
    file = tmp_path / "secret"
    file.write_text(text)
    file.chmod(0o600)

    with pytest.raises(OSError, match="holds no secret"):
        kept_secret(file)


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """The chain's key is for the gateway alone."""
    file = tmp_path / "secret"
    file.write_text("a" * 43)
    file.chmod(0o644)

    with pytest.raises(OSError, match="chmod 600"):
        kept_secret(file)


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """Whoever comes second gets what the first made, and nothing half made is left."""
    first = kept_secret(tmp_path / "secret")

    assert kept_secret(tmp_path / "secret") == first
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


async def test_looking_for_old_decisions_holds_nobody_up(tmp_path: Path) -> None:
    """However many look for what is not there, requests are served and most are told to wait."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url) as running,
    ):
        with (running.folder / "records.jsonl").open("ab") as file:
            file.write(b'{"at":"x"}\n' * 2_000_000)
        lookups = [asyncio.create_task(running.get(f"/v1/decisions/dec_{n}")) for n in range(40)]

        assert (await running.post(user("a"))).status_code == 200

        codes = {(await lookup).status_code for lookup in lookups}
        assert codes == {404, 503}
