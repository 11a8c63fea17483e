"""Clients that stall, crowd or cheat below HTTP's surface: each on a bare socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from router.api.protocol import connections_of
from tests.gateways import ADMIN_TOKEN, completion, gateway, user
from tests.scripted import Answer, scripted
from tests.serving.clients import Gate, until
from tests.serving.processes import process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
KEY = b"Authorization: Bearer qr-shop-secret\r\n"
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = json.dumps(user("hi")).encode()
# Far longer than any test waits: what ends before this was ended by another bound.
NEVER_S = 600.0
AT_ONCE_S = 0.2


class Socket:
    """A bare connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def send(self, raw: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(raw)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        """Return status, headers and JSON of the next answer."""
        async with asyncio.timeout(8):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(body)

    async def closed(self) -> bytes:
        """Wait until the gateway has closed the connection; return what came before that."""
        async with asyncio.timeout(8):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def close(self) -> None:
        """Close it from here."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[Socket]:
    """Open a bare connection."""
    address = urlsplit(url)
    made = Socket(*await asyncio.open_connection(address.hostname, address.port))
    try:
        yield made
    finally:
        await made.close()


def chunked(body: bytes, trailers: bytes = b"") -> bytes:
    """Return a body as one chunk, and its trailers."""
    return b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)


@pytest.mark.parametrize(
    "begun", [b"Content-Length: 50\r\n\r\n{", CHUNKED + b"1\r\n{\r\n"], ids=["length", "chunked"]
)
async def test_a_body_that_stalls_gives_its_place_back(tmp_path: Path, begun: bytes) -> None:
    """One byte of a body and then nothing is a 408, and the place in flight is free again."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url, max_in_flight=1, body_s=AT_ONCE_S) as running,
        connected(running.url) as client,
    ):
        await client.send(POST + begun)
        status, headers, body = await client.answer()
        rest = await client.closed()
        reply = await running.post(user("hi"))

    assert (status, body["error"]["code"]) == (408, "request_timeout")
    assert body["error"]["type"] == "invalid_request_error"
    assert (headers["connection"], rest) == ("close", b"")
    assert "x-should-retry" not in headers
    assert reply.status_code == 200


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"POST /v1/chat", POST + b"X-A: b\r\n"])
@pytest.mark.parametrize("port", ["public", "admin"])
async def test_who_sends_no_head_is_closed(tmp_path: Path, port: str, begun: bytes) -> None:
    """A connection with no head, or half of one, is closed on either port."""
    async with gateway(tmp_path, head_s=AT_ONCE_S) as running:
        url = running.url if port == "public" else running.app.admin_url
        async with connected(url) as client:
            await client.send(begun)

            assert await client.closed() == b""


async def test_a_head_that_dribbles_is_closed(tmp_path: Path) -> None:
    """A byte now and then does not begin the head's time anew."""
    async with gateway(tmp_path, head_s=AT_ONCE_S) as running, connected(running.url) as client:
        dribble = asyncio.create_task(_dribble(client, POST))
        try:
            assert await client.closed() == b""
        finally:
            dribble.cancel()
            await asyncio.gather(dribble, return_exceptions=True)


async def _dribble(client: Socket, head: bytes) -> None:
    await client.send(head)
    while True:
        await asyncio.sleep(AT_ONCE_S / 4)
        await client.send(b"a")


@pytest.mark.parametrize("then", [b"\r\n", b"GET /v1"])
async def test_the_next_head_has_its_time_too(tmp_path: Path, then: bytes) -> None:
    """After an answer, what begins no request, or only begins one, keeps no connection."""
    async with gateway(tmp_path, head_s=AT_ONCE_S) as running, connected(running.url) as client:
        await client.send(GET)
        status, _, _ = await client.answer()
        await client.send(then)

        assert (status, await client.closed()) == (200, b"")


async def test_the_rest_of_a_refused_body_keeps_no_connection(tmp_path: Path) -> None:
    """A body that is answered before its end has a head's time to end, whatever it dribbles."""
    async with (
        gateway(tmp_path, auth="on", head_s=AT_ONCE_S) as running,
        connected(running.url) as client,
    ):
        await client.send(POST + b"Content-Length: 50\r\n\r\n{")
        status, _, _ = await client.answer()
        await client.send(b" ")

        assert (status, await client.closed()) == (401, b"")


async def test_a_late_next_head_does_not_cut_an_answer(tmp_path: Path) -> None:
    """Half a head behind a request that is being answered waits for that answer."""
    gate = Gate()
    async with (
        scripted(gate.before(Answer.json(completion()))) as own,
        gateway(tmp_path, own=own.url, head_s=AT_ONCE_S) as running,
        connected(running.url) as client,
    ):
        length = b"Content-Length: %d\r\n\r\n" % len(BODY)
        await client.send(POST + length + BODY + b"GET /v1")
        await until(lambda: gate.waiting)
        await asyncio.sleep(3 * AT_ONCE_S)
        gate.open()
        status, _, _ = await client.answer()

        assert (status, await client.closed()) == (200, b"")


async def test_the_time_of_a_head_ends_with_the_head(tmp_path: Path) -> None:
    """Between two requests a connection has the time of keep-alive, not what a head had left."""
    async with gateway(tmp_path, head_s=AT_ONCE_S) as running, connected(running.url) as client:
        await client.send(GET)
        first, _, _ = await client.answer()
        await asyncio.sleep(3 * AT_ONCE_S)
        await client.send(GET)
        second, _, _ = await client.answer()

    assert (first, second) == (200, 200)


async def test_one_connection_too_many_is_closed(tmp_path: Path) -> None:
    """Above the cap a connection is closed at once; the admin port has none, and goes on."""
    async with gateway(tmp_path, max_connections=2, head_s=NEVER_S) as running:
        async with connected(running.url) as first, connected(running.url) as second:
            await first.send(GET)
            assert (await first.answer())[0] == 200
            await second.send(GET)
            assert (await second.answer())[0] == 200
            async with connected(running.url) as third:
                assert await third.closed() == b""
            async with contextlib.AsyncExitStack() as idle:
                for _ in range(4):
                    await idle.enter_async_context(connected(running.app.admin_url))
                told = await running.admin("POST", "/admin/suspend/paid")
        async with asyncio.timeout(8):
            while not await _served(running.url):  # noqa: ASYNC110 - two that left are noticed
                await asyncio.sleep(0.01)

    assert told.json()["suspended"] == ["paid"]


async def _served(url: str) -> bool:
    async with connected(url) as client:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await client.send(GET)
            return (await client.answer())[0] == 200
    return False


@contextlib.contextmanager
def descriptors(most: int) -> Iterator[int]:
    """Let this process, and what it starts, open so many; yields the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        yield hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_process_may_open_as_many_descriptors_as_it_is_let(tmp_path: Path) -> None:
    """`serve` raises its soft limit to the hard one, and says nothing of it."""
    async with contextlib.AsyncExitStack() as stack:
        with descriptors(200) as hard:
            serving = await stack.enter_async_context(process(tmp_path))
        await serving.ready()

        assert resource.prlimit(serving._process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
        assert "descriptors" not in str(serving.log)


def test_connections_take_half_of_the_descriptors_at_most() -> None:
    """Whatever is asked for, the other half is left to upstreams, files and the admin port."""
    with descriptors(400):
        assert (connections_of(10_000), connections_of(20)) == (200, 20)


@pytest.mark.parametrize(
    "trailer", [b"X-Router-Sensitivity: secret\r\n", b"X-Router-Tier: gold\r\n"]
)
async def test_a_trailer_says_nothing(tmp_path: Path, trailer: bytes) -> None:
    """`x-router-*` in trailers, which a proxy's filter of heads never saw, is not read."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url) as running,
        connected(running.url) as client,
    ):
        # In one piece, so that all of it is parsed before the app looks at the headers.
        await client.send(POST + CHUNKED + chunked(BODY, trailer))
        status, headers, _ = await client.answer()

    assert (status, headers["x-router-label"]) == (200, "internal")


async def test_a_key_in_a_trailer_opens_nothing(tmp_path: Path) -> None:
    """A trailer is no credential: not of its own request, nor of the next on the connection."""
    async with (
        scripted(Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url, auth="on") as running,
        connected(running.url) as client,
    ):
        await client.send(POST + CHUNKED + chunked(BODY, KEY) + GET)
        first, _, _ = await client.answer()
        second, _, _ = await client.answer()
        # The key of a head is one.
        await client.send(POST + KEY + CHUNKED + chunked(BODY, b"X-Router-Sensitivity: x\r\n"))
        third, _, _ = await client.answer()

    assert (first, second, third) == (401, 401, 200)
    assert len(own.requests) == 1


async def test_explain_joins_doubled_headers_as_a_request_does(tmp_path: Path) -> None:
    """A doubled `x-router-sensitivity` is the same refusal in an explanation as in a request."""
    doubled = b"X-Router-Sensitivity: restricted\r\nX-Router-Sensitivity: public\r\n"
    rest = b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    token = f"Authorization: Bearer {ADMIN_TOKEN}\r\n".encode()
    async with gateway(tmp_path) as running:
        async with connected(running.url) as client:
            await client.send(POST + doubled + rest)
            asked = await client.answer()
        async with connected(running.app.admin_url) as client:
            head = b"POST /admin/explain HTTP/1.1\r\nHost: x\r\n"
            await client.send(head + token + doubled + rest)
            explained = await client.answer()

    assert asked[0] == explained[0] == 400
    assert asked[2] == explained[2]
    assert asked[2]["error"]["param"] == "x-router-sensitivity"


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9\r\n\r\n", POST + CHUNKED + b"zz\r\n"],
    ids=["TLS", "version", "chunk"],
)
async def test_what_is_no_http_is_answered_as_every_error(tmp_path: Path, sent: bytes) -> None:
    """Below the apps, too, an error has OpenAI's shape and a request id, and ends it."""
    async with gateway(tmp_path) as running, connected(running.url) as client:
        await client.send(sent)
        status, headers, body = await client.answer()
        rest = await client.closed()

    assert (status, headers["content-type"], rest) == (400, "application/json", b"")
    assert headers["x-request-id"].startswith("req_")
    error = body["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")


async def test_no_error_is_written_into_another_answer(tmp_path: Path) -> None:
    """Garbage behind a request that is being streamed ends the connection, and adds nothing."""
    gate = Gate()
    begun = Answer.stream({"choices": [{"index": 0, "delta": {"content": "Hel"}}]})
    async with (
        scripted(gate.after(Answer(begun.steps[:-1]), then=Answer(begun.steps[-1:]))) as own,
        gateway(tmp_path, own=own.url) as running,
        connected(running.url) as client,
    ):
        body = json.dumps(user("hi", stream=True)).encode()
        await client.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        async with asyncio.timeout(8):
            await client.reader.readuntil(b"Hel")
        await client.send(b"\x00garbage\r\n\r\n")

        assert b"HTTP/1.1" not in await client.closed()
