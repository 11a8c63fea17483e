"""The one way out: every request to every target goes through `Transport`.

It follows no redirect, reads no proxy, credential or netrc from the environment, keeps no cookie,
sends no header of the client's, and talks to no address but the target's own `base_url`.
"""

from __future__ import annotations

import asyncio
import functools
import io
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import aiohttp
from yarl import URL

from router.upstreams.call import CallFailed, Fault
from router.upstreams.connector import ATTEMPT, Attempt, GuardedConnector, Network
from router.upstreams.contacts import Contacts
from router.upstreams.faults import library_fault
from router.upstreams.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from router.policy.targets import Target

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
MAX_ERROR_BYTES: Final = 64 * 1024
KEEPALIVE_S: Final = 30.0
# aiohttp warns of larger bodies given as bytes: it would write them in one go.
MAX_BYTES_AT_ONCE: Final = 1024 * 1024
FIXED_HEADERS: Final = {
    "User-Agent": "qwen-router",
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One request as it goes out.

    `headers` are the upstream's own (its credential, what it accepts); `total_s` is the time that
    is left in all, in seconds. Without a `url` it goes to chat completions under `base_url`; with
    one, that must have the scheme, host and port of `base_url`.
    """

    target: Target
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    permit: Callable[[], bool]
    total_s: float
    stream: bool
    url: str | None = field(default=None, repr=False)
    method: str = "POST"


class Reply:
    """A response whose head has come. Close it; that ends the call at once, wherever it is."""

    __slots__ = ("_attempt", "_content", "_line", "_response", "headers", "status", "watch")

    def __init__(
        self, response: aiohttp.ClientResponse, attempt: Attempt, watch: Watch, line: _Line
    ) -> None:
        self._line: _Line | None = line
        line.calls += 1
        self._response = response
        self._attempt = attempt
        self._content = response.content
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.watch = watch
        watch.start(self._cut)

    async def next(self) -> bytes:
        """Return the next bytes of the body, empty at its end; CallFailed where it breaks."""
        watch = self.watch
        watch.waiting_since = asyncio.get_running_loop().time()
        try:
            return await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            fault = library_fault(error) or Fault.BROKEN
        finally:
            watch.waiting_since = None
        if watch.lingering:
            return b""
        # Raised here and not in the handler: a library's error holds our headers, the key too.
        raise CallFailed(Fault.TIMEOUT if watch.expired else fault, status=self.status)

    async def read(self, limit: int = MAX_BODY_BYTES) -> bytes:
        """Return the whole body; CallFailed(LIED) where it is larger than `limit` bytes."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.next():
            size += len(piece)
            if size > limit:
                raise CallFailed(Fault.LIED, status=self.status)
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """End the call. The connection is kept only if the body has been read to its end."""
        self.watch.stop()
        self._cut()
        if self._line is not None:
            self._line.calls -= 1
            self._line = None

    def _cut(self) -> None:
        # INVARIANT: after the body's end the connection may already serve another call.
        if not self._content.is_eof():
            # A close would first flush what is still to be written, which a stuck upstream never
            # reads.
            self._attempt.abort()
        self._response.close()


class Transport:
    """All connections to all targets. `networks` are those in which cluster targets may be dialled.

    One session for each way of reaching a target, opened at its first use.
    """

    def __init__(self, networks: tuple[Network, ...]) -> None:
        self._networks = networks
        self._lines: dict[tuple[str, ...], _Line] = {}
        self._left: list[_Line] = []
        self.contacts = Contacts()

    async def open(self, sending: Sending) -> Reply:
        """Send, and return the reply with its head read; CallFailed where none came.

        A request on a kept connection that died before a single byte of an answer is sent once
        more on a fresh one, with a new check of the permit.
        """
        deadlines, loop = sending.target.deadlines, asyncio.get_running_loop()
        watch = Watch(
            loop,
            first_s=deadlines.first_token_s if sending.stream else None,
            idle_s=deadlines.idle_s if sending.stream else None,
            total_s=min(deadlines.total_s, sending.total_s),
        )
        line = self._line(sending.target)
        attempt = Attempt(sending.target, sending.permit, fresh=False)
        reply = await self._try(sending, line, attempt, watch)
        if reply is None:
            attempt = Attempt(sending.target, sending.permit, fresh=True)
            reply = await self._try(sending, line, attempt, watch)
        if reply is None:
            raise CallFailed(Fault.BROKEN)
        return reply

    async def keep_only(self, targets: Iterable[Target]) -> None:
        """Forget the connections to every target that is not among these; calls under way go on.

        What such a call leaves open is closed here at the next time, and by its keep-alive limit.
        """
        kept = {_key(target) for target in targets}
        self._left += [self._lines.pop(key) for key in self._lines.keys() - kept]
        idle = [line for line in self._left if not line.calls]
        self._left = [line for line in self._left if line.calls]
        for line in idle:
            await line.session.close()

    async def close(self) -> None:
        """Close every connection."""
        lines = [*self._lines.values(), *self._left]
        self._lines.clear()
        self._left.clear()
        for line in lines:
            await line.session.close()

    def _line(self, target: Target) -> _Line:
        key = _key(target)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(target, self._networks, self.contacts)
        return line

    async def _try(
        self, sending: Sending, line: _Line, attempt: Attempt, watch: Watch
    ) -> Reply | None:
        """Return the reply, None where a kept connection was already dead; else CallFailed."""
        token = ATTEMPT.set(attempt)
        fault: Fault | None
        line.calls += 1
        try:
            async with asyncio.timeout_at(watch.head_due):
                response = await line.request(sending)
            return Reply(response, attempt, watch, line)
        except CallFailed:
            raise
        except BaseException as error:
            attempt.abort()
            fault = library_fault(error)
            if fault is None:
                raise
            dead = attempt.reused and not attempt.fresh and _died_unanswered(error)
        finally:
            ATTEMPT.reset(token)
            line.calls -= 1
        if attempt.removed:
            raise CallFailed(Fault.REMOVED)
        if dead:
            return None
        raise CallFailed(fault)


class _Line:
    """The session to one address."""

    __slots__ = ("_base", "_chat", "_proxy", "calls", "session")

    def __init__(self, target: Target, networks: tuple[Network, ...], contacts: Contacts) -> None:
        self._base = _base_of(target)
        self._proxy = target.proxy if target.location == "external" else None
        self._chat = self._base.joinpath("chat/completions")
        self.calls = 0
        secure = "https" in {self._base.scheme, URL(self._proxy or "").scheme}
        self.session = aiohttp.ClientSession(
            connector=GuardedConnector(
                networks=networks,
                contacts=contacts,
                keepalive_timeout=KEEPALIVE_S,
                ssl=_trust() if secure else True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers=FIXED_HEADERS,
        )

    async def request(self, sending: Sending) -> aiohttp.ClientResponse:
        """Send, and return the response with its head read; the libraries' own errors."""
        body = sending.body
        deadlines = sending.target.deadlines
        return await self.session.request(
            sending.method,
            self._url(sending.url),
            data=body if len(body) <= MAX_BYTES_AT_ONCE else io.BytesIO(body),
            headers=sending.headers,
            allow_redirects=False,
            proxy=self._proxy,
            timeout=aiohttp.ClientTimeout(total=None, connect=deadlines.connect_s),
        )

    def _url(self, url: str | None) -> URL:
        """Return the address; CallFailed(CATALOG) where it is not the target's own."""
        if url is None:
            return self._chat
        address = URL(url, encoded=True)
        if address.user or address.password or address.origin() != self._base.origin():
            raise CallFailed(Fault.CATALOG)
        return address


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return what a TLS target is judged by: its host name, and the system's authorities.

    Python's own default would also obey SSLKEYLOGFILE, which writes a connection's keys to disk.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _key(target: Target) -> tuple[str, ...]:
    return (target.name, target.location, target.base_url, target.proxy or "")


def _base_of(target: Target) -> URL:
    """Return the base address; CallFailed(CATALOG) where it is none, or holds a credential."""
    try:
        base = URL(target.base_url)
    except ValueError:
        base = URL()
    if base.scheme not in {"http", "https"} or not base.host or base.user or base.password:
        raise CallFailed(Fault.CATALOG)
    return base


def _died_unanswered(error: BaseException) -> bool:
    """Tell whether a connection ended before the first byte of an answer."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        # The message is the half-read head where there is one.
        return isinstance(error.message, str)
    return isinstance(error, aiohttp.ClientOSError) and not isinstance(
        error, aiohttp.ClientConnectorError
    )
