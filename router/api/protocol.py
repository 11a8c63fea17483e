"""What a connection may do before a request reaches an app: how long, how many, which headers.

uvicorn's protocol waits for ever for a first head, and takes a trailer for a header.
"""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from router.api.answers import JSON, encoded
from router.api.door import request_id
from router.errors import InvalidRequest

if TYPE_CHECKING:
    import asyncio


class Bounded(HttpToolsProtocol):
    """One client's connection; `bounded` makes the class that has its bounds."""

    # INVARIANT: while a connection waits for a head, a timer of ours or uvicorn's own keep-alive
    # timer runs: nobody holds a descriptor by sending nothing, or little.
    head_s: ClassVar[float]
    max_connections: ClassVar[int | None]
    _timer: asyncio.TimerHandle | None = None
    _head_complete = False

    def connection_made(  # type: ignore[override]  # as uvicorn's own
        self, transport: asyncio.Transport
    ) -> None:
        """Close a connection too many, start the timer of any other."""
        super().connection_made(transport)
        if self.max_connections is not None and len(self.connections) > self.max_connections:
            transport.close()
        else:
            self._wait_for_a_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; what begins no request has its time, too."""
        super().data_received(data)
        # uvicorn ends its keep-alive timer at any byte: a line end, or the rest of a body that has
        # been answered already.
        if self._timer is None and not self._answering():
            self._wait_for_a_head()

    def on_message_begin(self) -> None:
        """Start the time of this head."""
        super().on_message_begin()
        self._head_complete = False
        self._wait_for_a_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes after the head is a trailer, and says nothing."""
        # INVARIANT: a front proxy that filters `authorization` or `x-router-*` filters heads.
        if not self._head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer: the head came in time."""
        self._head_complete = True
        self._stop_waiting()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP in the shape of every error, and close; `msg` is uvicorn's."""
        if self.pipeline or (self._answering() and self.cycle.response_started):
            self.transport.close()  # inside another answer it would be read as part of that one
            return
        body = encoded(InvalidRequest(msg))
        headers = [
            *self.server_state.default_headers,
            (b"content-type", JSON),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id(self.headers or ()).encode("ascii")),
            (b"connection", b"close"),
        ]
        lines = [b"%b: %b\r\n" % header for header in headers]
        self.transport.write(b"".join((STATUS_LINE[400], *lines, b"\r\n", body)))
        self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_a_head(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(self.head_s, self._too_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        if self._answering():
            self._wait_for_a_head()  # the next request is late, not the one that is answered
        else:
            self.transport.close()


def bounded(*, head_s: float, max_connections: int | None) -> type[Bounded]:
    """Return the protocol of one port; without `max_connections` it takes every connection."""
    return type("Bounded", (Bounded,), {"head_s": head_s, "max_connections": max_connections})


def raise_descriptors() -> None:
    """Let this process open as many descriptors as it may; it goes on where that is refused."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connections_of(asked: int) -> int:
    """Return how many connections a port may have: half of the descriptors at most.

    The other half is for upstreams, files and the admin port.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return asked if soft == resource.RLIM_INFINITY else min(asked, soft // 2)
