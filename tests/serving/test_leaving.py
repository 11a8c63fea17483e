"""A client that leaves at any moment: the upstream is closed within a second, in either mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.gateways import chunk, completion, gateway, user
from tests.scripted import DONE, Answer, Scripted, Send, Stall, scripted
from tests.serving.clients import asking, last, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateways import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROLE = chunk({"role": "assistant", "content": ""})
PHASES: dict[str, tuple[bool, Answer, bytes]] = {
    "before the head of a whole answer": (False, Answer.raw(Stall()), b""),
    "within a whole answer": (
        False,
        Answer.raw(Send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"), Stall()),
        b"",
    ),
    "before the head of a stream": (True, Answer.raw(Stall()), b""),
    "before the commit point": (True, Answer.stream(ROLE, steps=[Stall()]), b""),
    "in the middle of a stream": (
        True,
        Answer.stream(ROLE, chunk({"content": "Hel"}), steps=[Stall()]),
        b"Hel",
    ),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Running, Scripted, Scripted]]:
    """Run one gateway for all phases."""
    async with (
        scripted() as own,
        scripted(Answer.json(completion())) as paid,
        gateway(tmp_path_factory.mktemp("leaving"), own=own.url, paid=paid.url) as running,
    ):
        yield running, own, paid


@pytest.mark.parametrize("name", PHASES)
async def test_a_client_that_leaves_ends_the_upstreams_work(
    served: tuple[Running, Scripted, Scripted], name: str
) -> None:
    """In every phase the upstream is closed within a second, nobody else is asked: abandoned."""
    running, own, paid = served
    stream, answer, seen = PHASES[name]
    own.script = [answer]
    before = len(own.requests)
    async with asking(running.url, user("hi", stream=stream), x_request_id="leaver") as client:
        await until(lambda: len(own.requests) > before)
        if seen:
            await client.reader.readuntil(seen)
        await client.leave()
        gone = await own.requests[-1].gone(1.0)

        assert gone
    decided = await until(lambda: last(running, "decision.made"))
    end = await until(
        lambda: (
            (found := last(running, "decision.finished")) and found["id"] == decided["id"] and found
        )
    )
    assert end["outcome"] == "abandoned"
    assert [attempt["target"] for attempt in end["attempts"]] == ["own"]
    assert end["attempts"][0]["contacted"] is True
    assert paid.connections == 0
    text = (await running.client.get(f"{running.app.admin_url}/metrics")).text
    assert "router_in_flight 0.0" in text


async def test_a_client_that_leaves_before_its_body_is_complete_has_no_decision(
    served: tuple[Running, Scripted, Scripted],
) -> None:
    """Half a request is decided by nobody, and holds no place."""
    running, own, _ = served
    before = len(own.requests), len(running.records())
    async with asking(running.url, user("hi"), expect="nothing", content_length="9999") as client:
        await client.leave()
    other = await running.client.get(f"{running.app.admin_url}/metrics")

    assert (len(own.requests), len(running.records())) == before
    assert "router_in_flight 0.0" in other.text


async def test_a_client_that_stays_gets_all(
    served: tuple[Running, Scripted, Scripted],
) -> None:
    """A connection that is kept alive serves one request after the other, streams between."""
    running, own, _ = served
    own.script = [
        Answer.json(completion()),
        Answer.stream(ROLE, chunk({"content": "Hi"}, finish="stop"), DONE),
        Answer.json(completion()),
    ]

    replies = [await running.post(user("hi", stream=stream)) for stream in (False, True, False)]

    assert [reply.status_code for reply in replies] == [200, 200, 200]
    assert replies[1].text.endswith("data: [DONE]\n\n")
