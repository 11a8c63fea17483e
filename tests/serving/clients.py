"""What the tests of the running gateway share: waiting, gates, errors, a client that leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.scripted import Answer, Do

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from tests.gateways import Running
    from tests.scripted import Seen

# What is forbidden for everybody, with a message, and what anybody may be refused by.
MOODY = """
forbid:
  - {id: bad-mood, when: {header.x-router-team-mood: {eq: bad}}, targets: all, message: Cheer up.}
"""


async def until(condition: Callable[[], Any], within_s: float = 8.0) -> Any:
    """Wait until the condition holds and return what it said."""
    ends_at = asyncio.get_running_loop().time() + within_s
    while not (said := condition()):
        assert asyncio.get_running_loop().time() < ends_at, "it never came to hold"
        await asyncio.sleep(0.01)
    return said


class Gate:
    """Holds an upstream's answer back until the test opens it."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self.waiting: list[Seen] = []

    def open(self) -> None:
        """Let the answer out."""
        self._opened.set()

    def before(self, answer: Answer) -> Answer:
        """Return the answer, held back."""
        return Answer((Do(self._wait), *answer.steps))

    def after(self, *begun: Answer, then: Answer) -> Answer:
        """Return answers joined, the last of them held back."""
        steps = tuple(step for answer in begun for step in answer.steps)
        return Answer((*steps, Do(self._wait), *then.steps))

    async def _wait(self, request: Seen) -> None:
        self.waiting.append(request)
        await self._opened.wait()


def assert_error(
    reply: httpx.Response, status: int, kind: str, code: str, param: str | None = None
) -> str:
    """Check an error in OpenAI's shape, with a request id; return its message."""
    body = reply.json()
    expected = {"type": kind, "param": param, "code": code}
    told = {name: value for name, value in body["error"].items() if name != "message"}

    assert (reply.status_code, told) == (status, expected), body
    assert body.keys() == {"error"}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    message: str = body["error"]["message"]
    assert message
    return message


async def finished(running: Running, decision_id: str) -> dict[str, Any]:
    """Return the record of a decision's end, as soon as it is in the file."""
    return await until(lambda: _of(running, "decision.finished", decision_id))  # type: ignore[no-any-return]


def made(running: Running, decision_id: str) -> dict[str, Any]:
    """Return the record of a decision; None where it is not in the file."""
    return _of(running, "decision.made", decision_id)  # type: ignore[return-value]


def _of(running: Running, event: str, decision_id: str) -> dict[str, Any] | None:
    found = (r for r in running.records() if r["event"] == event and r["id"] == decision_id)
    return next(found, None)


def last(running: Running, event: str) -> dict[str, Any] | None:
    """Return the last record of a kind."""
    found = [record for record in running.records() if record["event"] == event]
    return found[-1] if found else None


class Leaver:
    """A client on a bare socket, which can leave at any moment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def leave(self) -> None:
        """Close the connection."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def asking(url: str, body: dict[str, Any], **headers: str) -> AsyncIterator[Leaver]:
    """Send a chat request and do not wait for an answer; leave at the end."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    raw = json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {address.netloc}\r\n{more}"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    writer.write(head.encode() + raw)
    await writer.drain()
    client = Leaver(reader, writer)
    try:
        yield client
    finally:
        await client.leave()
