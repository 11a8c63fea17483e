"""The last check before the socket: P1 and the networks of a cluster target are enforced here.

Everything that goes out passes `GuardedConnector`: a connection is neither taken from the pool nor
made without a permit, and no socket is opened to an address that its target may not be dialled at.
"""

from __future__ import annotations

import socket
from contextvars import ContextVar
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

import aiohttp

from router.upstreams.call import CallFailed, Fault

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp.client import ClientTimeout
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ClientRequest, ConnectionKey
    from aiohttp.connector import AddrInfoType, Connection
    from aiohttp.tracing import Trace

    from router.policy.targets import Target
    from router.upstreams.contacts import Contacts

Network = IPv4Network | IPv6Network


class AddressRefusedError(OSError):
    """The address is outside the networks that a cluster target may be dialled in."""


class Attempt:
    """One try of one request: what the connector must know, and what it tells afterwards.

    `fresh` asks for a new connection instead of a kept one; `reused` says that a kept one was
    taken. `removed` says that the permit was refused, so nothing of the request was sent.
    """

    __slots__ = ("connection", "fresh", "permit", "removed", "reused", "target")

    def __init__(self, target: Target, permit: Callable[[], bool], *, fresh: bool) -> None:
        self.target = target
        self.permit = permit
        self.fresh = fresh
        self.reused = False
        self.removed = False
        self.connection: asyncio.Transport | None = None

    def check(self) -> None:
        """Raise CallFailed(REMOVED) unless the request may still be sent to its target."""
        if not self.permit():
            self.removed = True
            raise CallFailed(Fault.REMOVED)

    def abort(self) -> None:
        """Close the connection at once, dropping what is still to be written."""
        if self.connection is not None:
            self.connection.abort()


# INVARIANT: without an attempt in the context nothing is dialled: reading it raises LookupError.
ATTEMPT: ContextVar[Attempt] = ContextVar("attempt")


def dialable(host: str, networks: tuple[Network, ...]) -> bool:
    """Tell whether a literal address lies in one of the networks.

    An IPv4-mapped IPv6 address counts as the IPv4 address that it reaches. A zone id (RFC 4007)
    selects an interface, which no network can express, and the unspecified address reaches
    whatever the system likes: both are never inside.
    """
    if "%" in host:
        return False
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not address.is_unspecified and any(address in network for network in networks)


class GuardedConnector(aiohttp.TCPConnector):
    """The connector of one target's session."""

    def __init__(
        self, *, networks: tuple[Network, ...], contacts: Contacts, **options: Any
    ) -> None:
        super().__init__(socket_factory=self._socket, limit=0, **options)
        self._networks = networks
        self._contacts = contacts

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        """Take or make a connection; CallFailed(REMOVED) where the permit is gone."""
        attempt = ATTEMPT.get()
        attempt.check()
        self._contacts.count(attempt.target, again=attempt.fresh)
        attempt.reused = True
        connection = await super().connect(req, traces, timeout)
        attempt.connection = connection.transport
        try:
            # INVARIANT: making a connection takes time, in which the target may have been removed.
            # Nothing is awaited between this check and the first byte's way into the transport.
            attempt.check()
        except CallFailed:
            connection.close()
            raise
        return connection

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        if ATTEMPT.get().fresh:
            return None
        while (kept := await super()._get(key, traces)) is not None:
            # INVARIANT: what came on an idle connection is nobody's answer. aiohttp's pool asks
            # only whether it is connected; one with bytes waiting would answer the next caller.
            if kept.protocol is not None and not kept.protocol.should_close:
                return kept
            kept.close()
        return None

    async def _create_connection(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> ResponseHandler:
        ATTEMPT.get().reused = False
        return await super()._create_connection(req, traces, timeout)

    def _socket(self, info: AddrInfoType) -> socket.socket:
        """Open the socket for one resolved address: the very address that is dialled next."""
        attempt = ATTEMPT.get()
        family, kind, protocol, _, address = info
        if not attempt.permit():
            attempt.removed = True
            raise AddressRefusedError
        if attempt.target.location == "cluster" and not dialable(str(address[0]), self._networks):
            self._contacts.count_refused(attempt.target)
            raise AddressRefusedError
        return socket.socket(family=family, type=kind, proto=protocol)
