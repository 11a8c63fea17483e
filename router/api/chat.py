"""POST /v1/chat/completions: a plain ASGI endpoint, without per-request framework machinery."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from router.api.answers import EVENTS, JSON, encoded, error_headers, raw
from router.api.door import request_id
from router.errors import ApiError, InternalError, NoCapacity, RequestTimeout, RequestTooLarge
from router.telemetry import log

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Receive, Scope, Send

    from router.api.door import Door
    from router.gateway.gateway import Gateway
    from router.telemetry import Metrics

# How long a client that is turned away because we are full or draining is asked to wait, seconds.
FULL_RETRY_AFTER_S = 2


class Gone(Exception):
    """The client left before its body was complete."""


class Connection:
    """One client's connection as the gateway's `Out`."""

    def __init__(self, send: Send, asked_id: str) -> None:
        """Take where to send, and the request id that every answer carries."""
        self._send = send
        self.request_id = asked_id
        self.started = self.ended = False

    async def whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send a complete answer."""
        self.started = self.ended = True
        await self._head(status, {**headers, "content-length": str(len(body))}, JSON)
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, headers: dict[str, str]) -> None:
        """Send the head of a stream."""
        self.started = True
        await self._head(200, {**headers, "cache-control": "no-cache"}, EVENTS)

    async def frame(self, frame: bytes) -> None:
        """Send one event of a stream."""
        await self._send({"type": "http.response.body", "body": frame, "more_body": True})

    async def end(self) -> None:
        """End the stream."""
        self.ended = True
        await self._send({"type": "http.response.body", "body": b""})

    async def error(self, error: ApiError, headers: dict[str, str]) -> None:
        """Send an error as the complete answer."""
        await self.whole(error.status, {**headers, **error_headers(error)}, encoded(error))

    async def broken(self, error: ApiError) -> None:
        """End a stream that has begun with an error event, and without `[DONE]`."""
        await self.frame(b"data: " + msgspec.json.encode(error.body()) + b"\n\n")
        await self.end()

    async def _head(self, status: int, headers: dict[str, str], content_type: bytes) -> None:
        named = {**headers, "x-request-id": self.request_id}
        await self._send(
            {"type": "http.response.start", "status": status, "headers": raw(named, content_type)}
        )


class ChatRoute:
    """The endpoint: body limit, in-flight gate, key, and a watch on the client."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        door: Door,
        metrics: Metrics,
        max_body_bytes: int,
        max_in_flight: int,
        body_s: float,
    ) -> None:
        """Take the parts and the bounds; `body_s` is how long a whole body may take."""
        self._gateway = gateway
        self._door = door
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes
        self._max_in_flight = max_in_flight
        self._body_s = body_s
        self._in_flight = 0
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever fails is answered and logged here, at the outermost edge."""
        out = Connection(send, request_id(scope["headers"]))
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            await self._answer(scope, receive, out)
        except Gone:
            pass
        except ApiError as error:
            self._metrics.requests.labels("undecided", error.code).inc()
            await out.error(error, {})
        except Exception as error:  # noqa: BLE001 - the outermost edge: logged and answered
            log().error("request.crashed", exc_info=error)
            ours = InternalError("The gateway failed; the operators have the cause.")
            if not out.ended:
                await (out.broken(ours) if out.started else out.error(ours, {}))
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)

    async def _answer(self, scope: Scope, receive: Receive, out: Connection) -> None:
        if self.draining or self._in_flight > self._max_in_flight:
            raise NoCapacity("The gateway is full; try again.", retry_after_s=FULL_RETRY_AFTER_S)
        caller = self._door.caller(scope["headers"])
        try:
            # A client that stalls would keep its place in flight for ever.
            async with asyncio.timeout(self._body_s):
                body = await self._body(scope, receive)
        except TimeoutError:
            raise RequestTimeout(f"The body took longer than {self._body_s:g} seconds.") from None
        await _while_connected(receive, self._gateway.answer(body, caller, out.request_id, out))

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        too_large = RequestTooLarge(f"The body is larger than {self._max_body_bytes} bytes.")
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value or b"0") > self._max_body_bytes:
                raise too_large
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Gone
            part = message.get("body", b"")
            size += len(part)
            if size > self._max_body_bytes:
                raise too_large
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


async def _while_connected(receive: Receive, story: Coroutine[None, None, None]) -> None:
    """Run the story until its end, or cancel it as soon as the client leaves, in either mode.

    A plain awaited handler would not notice: uvicorn tells of a disconnect only to a `receive()`.
    """
    task = asyncio.ensure_future(story)
    watch = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    if not task.cancelled():
        task.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
