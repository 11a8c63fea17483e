r"""A scripted upstream: a real HTTP server on loopback that does what a test says, byte by byte.

    async with scripted(Answer.json({"choices": [...]})) as server:
        ...                              # send something to server.url
        assert server.requests[0].json == {...}

Every request takes the next answer of the script; the last one is given again and again. An answer
is a list of steps, so anything that a server can do on the wire can be written down:

    Answer.stream(chunk, chunk, DONE)                 # one frame a packet, then a proper end
    Answer.stream(chunk, steps=[Stall()])             # one frame, then silence
    Answer.raw(Send(b"HTTP/1.1 200 OK\r\n"), HangUp())  # half a head
    Answer.error(503, {"error": {...}}, headers={"Retry-After": "3"})
    Answer.redirect("http://elsewhere/")
    Answer.json(body, steps=[HangUp()])               # keep-alive promised, connection closed

`server.requests` tells what came: method, path, headers, body, on which connection, and whether the
client had gone by the time (`await request.gone(within_s)`). `server.connections` counts sockets,
also those on which nothing was ever sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

DONE = "[DONE]"


@dataclass(frozen=True)
class Send:
    """Write these bytes as one packet."""

    data: bytes


@dataclass(frozen=True)
class Wait:
    """Say nothing for some seconds."""

    seconds: float


@dataclass(frozen=True)
class Stall:
    """Say nothing until the client goes."""


@dataclass(frozen=True)
class HangUp:
    """Close the connection."""


@dataclass(frozen=True)
class Reset:
    """Cut the connection off, without a goodbye."""


@dataclass(frozen=True)
class Do:
    """Call this with the request, wait until it is done, and go on."""

    act: Callable[[Seen], Awaitable[None]]


Step = Send | Wait | Stall | HangUp | Reset | Do


@dataclass(frozen=True)
class Answer:
    """What the server does with one request."""

    steps: tuple[Step, ...]

    @staticmethod
    def raw(*steps: Step) -> Answer:
        """Do exactly this."""
        return Answer(steps)

    @staticmethod
    def body(
        status: int,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        steps: Iterable[Step] = (),
    ) -> Answer:
        """Answer with these bytes, then go on with `steps`."""
        sent = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        return Answer((Send(head(status, sent | (headers or {})) + body), *steps))

    @staticmethod
    def json(
        body: Any,
        *,
        headers: dict[str, str] | None = None,
        steps: Iterable[Step] = (),
    ) -> Answer:
        """Answer 200 with a JSON body."""
        return Answer.body(200, json.dumps(body).encode(), headers=headers, steps=steps)

    @staticmethod
    def error(status: int, body: Any, *, headers: dict[str, str] | None = None) -> Answer:
        """Answer with an error status and a JSON body."""
        return Answer.body(status, json.dumps(body).encode(), headers=headers)

    @staticmethod
    def redirect(to: str, status: int = 307) -> Answer:
        """Send the client elsewhere."""
        return Answer.body(status, b"", headers={"Location": to})

    @staticmethod
    def stream(*events: Any, steps: Iterable[Step] | None = None) -> Answer:
        """Send each event as one SSE frame in one packet, and end properly or with `steps`.

        An event is a chunk (sent as JSON), or a text (sent as it is).
        """
        frames = [
            f"data: {e if isinstance(e, str) else json.dumps(e)}\n\n".encode() for e in events
        ]
        return Answer.packets(*frames, steps=steps)

    @staticmethod
    def packets(*packets: bytes, steps: Iterable[Step] | None = None) -> Answer:
        """Send an SSE body cut into exactly these packets, and end properly or with `steps`."""
        start = head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
        sent = (Send(b"%x\r\n%b\r\n" % (len(packet), packet)) for packet in packets)
        end = (Send(b"0\r\n\r\n"),) if steps is None else tuple(steps)
        return Answer((Send(start), *sent, *end))


def head(status: int, headers: dict[str, str]) -> bytes:
    """Return a response head."""
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    _left: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    async def gone(self, within_s: float = 1.0) -> bool:
        """Tell whether the client closes the connection within so many seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._left.wait(), within_s)
        return self._left.is_set()


class Scripted:
    """The running server. Its script may be replaced at any time."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self.script: list[Answer] = list(answers)
        self.requests: list[Seen] = []
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._came = asyncio.Event()

    @property
    def url(self) -> str:
        """The address, as a target's `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def first(self) -> Seen:
        """Return the first request, once it has come."""
        await self._came.wait()
        return self.requests[0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.append(writer)
        self.connections += 1
        number = self.connections
        try:
            while (request := await _read(reader, number)) is not None:
                self.requests.append(request)
                self._came.set()
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if not await _play(answer, request, reader, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the server stops
        finally:
            for request in self.requests:
                if request.connection == number:
                    request._left.set()
            writer.close()

    async def stop(self) -> None:
        """End every connection that is still open."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            # Also what is still to be written to a client that reads no more.
            writer.transport.abort()
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def scripted(*answers: Answer, host: str = "127.0.0.1") -> AsyncIterator[Scripted]:
    """Run a server that gives these answers; without any it only listens."""
    script = Scripted(answers or (Answer.raw(Stall()),))
    server = await asyncio.start_server(script.serve, host, 0, limit=2**26)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        await script.stop()


async def _read(reader: asyncio.StreamReader, number: int) -> Seen | None:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = first.split(" ", 2)
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (s.partition(":") for s in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method=method, path=path, headers=headers, body=body, connection=number)


async def _play(
    answer: Answer, request: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Do every step; False where the connection is over."""
    for step in answer.steps:
        match step:
            case Send(data):
                writer.write(data)
                await writer.drain()
                # Let the packet out by itself: the next write must not join it.
                await asyncio.sleep(0)
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Stall():
                await reader.read(1)
                request._left.set()
                return False
            case HangUp():
                return False
            case Reset():
                writer.transport.abort()
                return False
            case Do(act):
                await act(request)
    return True
