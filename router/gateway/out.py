"""Where an answer goes, and the headers that it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from router.errors import ApiError
    from router.gateway.exchange import Exchange


class Out(Protocol):
    """Where an answer goes: one client's connection."""

    async def whole(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send a complete answer."""

    async def start(self, headers: dict[str, str]) -> None:
        """Send the head of a stream: status 200."""

    async def frame(self, frame: bytes) -> None:
        """Send one event of a stream."""

    async def end(self) -> None:
        """End the stream."""

    async def error(self, error: ApiError, headers: dict[str, str]) -> None:
        """Send an error as the complete answer."""

    async def broken(self, error: ApiError) -> None:
        """End a stream that has begun with an error event."""


def headers_of(exchange: Exchange) -> dict[str, str]:
    """Return the headers that every answer to a decided request carries."""
    headers = {
        "x-router-decision-id": exchange.id,
        "x-router-label": exchange.decision.label.value,
        "x-router-policy": short(exchange.decision.policy),
    }
    if exchange.target:
        headers["x-router-target"] = exchange.target.name
        if exchange.degraded():
            headers["x-router-degraded"] = ",".join(exchange.degraded())
    return headers


def short(digest: str) -> str:
    """Return the first 12 hex digits of a digest, for people."""
    return digest.removeprefix("sha256:")[:12]
