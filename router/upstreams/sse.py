"""Server-sent events, read as they come: bytes in, the data of whole events out. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

Two deliberate differences. Data stays bytes: a character cut in half by a packet is whole again by
the time its event is. And the data of an event that the body's end cut off is handed out by
`end()`: several model servers leave out the last blank line, and half an event is no valid JSON.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 8 * 1024 * 1024
BOM = b"\xef\xbb\xbf"


class EventTooLargeError(Exception):
    """One event is larger than MAX_EVENT_BYTES."""


class Events:
    """An incremental parser of one stream."""

    __slots__ = ("_after_cr", "_held", "_size", "_started")

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0
        self._started = False
        self._after_cr = False

    def feed(self, packet: bytes) -> list[bytes]:
        """Return the data of every event that is complete now; events without data are left out.

        EventTooLargeError where one event does not end.
        """
        if not self._started:
            packet = self._without_bom(packet)
        if self._after_cr or b"\r" in packet:
            packet = self._with_one_line_end(packet)
        if b"\n" not in packet:
            self._hold(packet)
            return []
        if self._held:
            packet = b"".join((*self._held, packet))
            self._held.clear()
            self._size = 0
        *blocks, rest = packet.split(b"\n\n")
        self._hold(rest)
        events = []
        for block in blocks:
            # The one shape that every model server sends: a single line of data.
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(block[6:])
            elif (data := _data(block)) is not None:
                events.append(data)
        return events

    def end(self) -> bytes | None:
        """Return the data of an event that lacks its blank line, None where there is none."""
        block = b"".join(self._held)
        self._held.clear()
        return _data(block)

    def _hold(self, rest: bytes) -> None:
        if rest:
            self._held.append(rest)
            self._size += len(rest)
            if self._size > MAX_EVENT_BYTES:
                raise EventTooLargeError

    def _without_bom(self, packet: bytes) -> bytes:
        start = b"".join((*self._held, packet))
        self._held.clear()
        self._size = 0
        if len(start) < len(BOM) and BOM.startswith(start):
            self._hold(start)
            return b""
        self._started = True
        return start.removeprefix(BOM)

    def _with_one_line_end(self, packet: bytes) -> bytes:
        r"""Return the packet with each \r\n and \r as \n; its end may cut such a pair in two."""
        if not packet:
            return packet
        if self._after_cr and packet.startswith(b"\n"):
            packet = packet[1:]
        self._after_cr = packet.endswith(b"\r")
        return packet.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data(block: bytes) -> bytes | None:
    """Return an event's data lines joined by newlines, None where it has none."""
    lines = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None
