"""The keyed hash chain: every record names the one before it, and only the key's holder can.

A line is a JSON object with, besides the record's own fields,

    writer  who wrote it: instance/worker/boot. Each boot has a name of its own, so a restart is
            never mistaken for a gap
    seq     1, 2, 3 … of this writer
    prev    the mac of the record before it: `seq` - 1 of the same writer; in the first, the mac of
            the head that `chain.started` names, or zeros
    mac     HMAC-SHA256 (RFC 2104) over the canonical bytes of all the rest, in hex

Canonical bytes are compact JSON in UTF-8 with sorted keys, whole numbers without a point. The line
as written is those bytes with `,"mac":"…"}` at the end, so it verifies as it stands, and also after
another JSON tool has rewritten it with other spaces, escapes or key order. (A whole float of 1e16
or more would not survive such a tool; no field comes near.)

What it shows: a record that was edited, removed, moved, doubled or forged. What it cannot show by
itself: that the newest records were cut off. For that, compare with the head, which is a metric.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.records.schema import Head

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

NOTHING: Final = "0" * 64
CHAIN_KEYS: Final = ("writer", "seq", "prev", "mac")
_PURPOSE: Final = b"qwen-router record chain 1"
_WHOLE_FLOAT: Final = re.compile(rb"\.0[,}\]]")

_encode = msgspec.json.Encoder(order="sorted").encode


def chain_key(secret: bytes) -> bytes:
    """Return the key of the chain: its own, so that no other keyed hash can stand in for a mac."""
    return hmac.digest(secret, _PURPOSE, hashlib.sha256)


def mac_of(key: bytes, canonical_bytes: bytes) -> str:
    """Return the mac in hex."""
    return hmac.digest(key, canonical_bytes, "sha256").hex()


def canonical(record: Mapping[str, Any]) -> bytes:
    """Return the bytes that the mac covers; `record` is without `mac`."""
    encoded = _encode(record)
    if _WHOLE_FLOAT.search(encoded):
        return _encode(_whole(record))
    return encoded


def _whole(value: Any) -> Any:
    """Return the value with whole floats as integers: `5.0` and `5` are one number in JSON."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return value


def fits(key: bytes, raw: bytes, mac: str) -> bool:
    """Tell whether a line, as it was written, carries its own mac."""
    tail = b',"mac":"%b"}' % mac.encode()
    if not raw.endswith(tail):
        return False
    return hmac.compare_digest(mac_of(key, raw[: -len(tail)] + b"}"), mac)


def fits_rewritten(key: bytes, raw: bytes, mac: str) -> bool:
    """Tell the same of a line that another JSON tool may have rewritten without changing it."""
    try:
        # The standard library's parser, because it can refuse doubled keys: two readers may see
        # different values in such a line.
        record = json.loads(raw, object_pairs_hook=_without_doubles)
        record.pop("mac")
        body = canonical(_whole(record))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return False
    return hmac.compare_digest(mac_of(key, body), mac)


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("doubled key")
    return record


class Chain:
    """The chain of one writer. Linking is tentative until the lines are known to be written.

    `link` and `seal` are structlog processors, in this order.
    """

    def __init__(self, secret: bytes, writer: str) -> None:
        self.writer = writer
        self._key = chain_key(secret)
        self._earlier: Head | None = None
        self._written = Head(writer=writer, seq=0, mac=NOTHING)
        self._seq, self._prev = self._written.seq, self._written.mac
        self._tentative: list[str] = []

    @property
    def head(self) -> Head:
        """The last record that was written; `seq` 0 before the first."""
        return self._written

    @property
    def continues(self) -> Head | None:
        """What the next record follows: the head, or that of an earlier boot, or nothing."""
        return self._written if self._written.seq else self._earlier

    def follow(self, previous: Head | None) -> None:
        """Go on from the head of an earlier boot; only before the first record."""
        self._earlier = previous
        self._prev = previous.mac if previous else NOTHING
        self._written = Head(writer=self.writer, seq=0, mac=self._prev)

    def link(self, _logger: Any, _method: str, record: MutableMapping[str, Any]) -> Any:
        """Add writer, number and the mac of the record before."""
        record["writer"] = self.writer
        record["seq"] = self._seq + 1
        record["prev"] = self._prev
        return record

    def seal(self, _logger: Any, _method: str, record: MutableMapping[str, Any]) -> bytes:
        """Return the line: canonical bytes, mac, newline. The next record links to this one."""
        body = canonical(record)
        mac = mac_of(self._key, body)
        self._seq, self._prev = self._seq + 1, mac
        self._tentative.append(mac)
        return b'%b,"mac":"%b"}\n' % (body[:-1], mac.encode())

    def settle(self, lines: int) -> None:
        """Keep the first `lines` of what was sealed since the last time, and forget the rest."""
        # INVARIANT: the chain goes on from what is in the sink, not from what failed to get there.
        if lines:
            seq, mac = self._written.seq + lines, self._tentative[lines - 1]
            self._written = Head(writer=self.writer, seq=seq, mac=mac)
        self._tentative.clear()
        self._seq, self._prev = self._written.seq, self._written.mac


def owner_of(writer: str) -> str:
    """Return the writer without its boot: instance/worker."""
    return writer.rpartition("/")[0]
