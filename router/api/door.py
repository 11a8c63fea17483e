"""Who asks: the request id, the key and the `x-router-*` headers, read from the ASGI scope.

Authorisation looks at the scope's headers and the matched route only, never at a URL rebuilt from
the Host header.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, Final

from router.chat.facts import Caller
from router.errors import InvalidApiKey
from router.policy.keys import ANONYMOUS, Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.loading import Live

Headers = "Iterable[tuple[bytes, bytes]]"
WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Door:
    """Lets callers in by key, or everybody as `anonymous` where authentication is off."""

    def __init__(self, *, live: Live, auth: bool, secret: bytes) -> None:
        """Take where the keys are; `secret` keys the hashes of users and buckets."""
        self._live = live
        self._auth = auth
        self._secret = secret

    def caller(self, headers: Sequence[tuple[bytes, bytes]]) -> Caller:
        """Return who asks; InvalidApiKey where the key is missing, unknown or expired."""
        credentials = [value for name, value in headers if name == b"authorization"]
        now_s = time.time()
        return Caller(
            key=self._key(credentials, now_s),
            headers=router_headers(headers),
            received_at=now_s,
            secret=self._secret,
        )

    def _key(self, credentials: list[bytes], now_s: float) -> Key:
        if not self._auth:
            return ANONYMOUS
        if len(credentials) == 1:
            scheme, _, secret = credentials[0].partition(b" ")
            if scheme.lower() == b"bearer":
                found = self._live.current.keyring.find(secret.strip().decode("latin-1"), now_s)
                if found is not None:
                    return found
        raise InvalidApiKey("Send a valid key as Authorization: Bearer KEY.")


def router_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the `x-router-*` headers, by name.

    A header sent twice counts as both: no label is named "a,b", so it is refused or OTHER, never
    silently the one that an attacker put first or last.
    """
    ours: dict[str, str] = {}
    for name, value in headers:
        if name.startswith(b"x-router-"):
            key = name.decode("latin-1")
            text = value.decode("latin-1")
            ours[key] = f"{ours[key]},{text}" if key in ours else text
    return ours


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the client's `x-request-id` if it is well formed, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and WELL_FORMED.fullmatch(value):
            return value.decode("ascii")
    return f"req_{secrets.token_hex(12)}"
