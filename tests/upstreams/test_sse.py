"""The event parser: every shape that servers send, cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.upstreams.sse import MAX_EVENT_BYTES, Events, EventTooLargeError


def parsed(*packets: bytes) -> list[bytes]:
    """Return the data of every event of a body that came in these packets."""
    events = Events()
    found = [data for packet in packets for data in events.feed(packet)]
    last = events.end()
    return found if last is None else [*found, last]


BODIES = {
    "one event": (b"data: a\n\n", [b"a"]),
    "two events": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "no space": (b"data:a\n\n", [b"a"]),
    "two spaces": (b"data:  a\n\n", [b" a"]),
    "a colon inside": (b'data: {"a": 1}\n\n', [b'{"a": 1}']),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "CR": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "mixed ends": (b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"]),
    "comments": (b": keep-alive\n\n: x\ndata: a\n\n", [b"a"]),
    "other fields": (b"event: ping\nid: 7\nretry: 1\ndata: a\n\n", [b"a"]),
    "a field without data": (b"event: ping\n\ndata: a\n\n", [b"a"]),
    "many lines": (b"data: a\ndata: b\n\n", [b"a\nb"]),
    "a bare field": (b"data\n\n", [b""]),
    "empty data": (b"data:\n\n", [b""]),
    "blank lines": (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [b"a", b"b"]),
    "a byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    "no last blank line": (b"data: a\n\ndata: [DONE]\n", [b"a", b"[DONE]"]),
    "no last line end": (b"data: a\n\ndata: [DONE]", [b"a", b"[DONE]"]),
    "not a field": (b"database: a\n\n", []),
    "nothing": (b"", []),
    "UTF-8": ("data: 你好🙂\n\n".encode(), ["你好🙂".encode()]),
}


@pytest.mark.parametrize("name", BODIES)
def test_each_shape_is_read(name: str) -> None:
    """A body in one packet, and the same body byte by byte."""
    body, expected = BODIES[name]

    assert parsed(body) == expected
    assert parsed(*(body[i : i + 1] for i in range(len(body)))) == expected


@given(
    st.sampled_from(sorted(BODIES)), st.sampled_from(sorted(BODIES)), st.lists(st.integers(0, 200))
)
def test_where_a_body_is_cut_makes_no_difference(one: str, two: str, cuts: list[int]) -> None:
    """Any split into packets, empty ones too, gives the same events."""
    body = BODIES[one][0] + BODIES[two][0]
    places = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    packets = [body[i:j] for i, j in itertools.pairwise(places)]

    assert parsed(*packets, b"") == parsed(body)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"))))
def test_what_is_sent_is_read(texts: list[str]) -> None:
    """One frame for each text gives each text back, whatever it holds."""
    body = b"".join(b"data: %b\n\n" % text.encode() for text in texts)

    assert parsed(body) == [text.encode() for text in texts]


@pytest.mark.parametrize("packet", [b"x" * 65_536, b"data: " + b"x" * 65_536 + b"\n"])
def test_an_event_without_end_is_refused(packet: bytes) -> None:
    """Memory is bounded, whether lines end or not."""
    events = Events()
    for _ in range(MAX_EVENT_BYTES // len(packet)):
        events.feed(packet)

    with pytest.raises(EventTooLargeError):
        events.feed(packet)


def test_an_event_is_handed_out_as_soon_as_it_ends() -> None:
    """Nothing waits for the packet after it, not even where a CR ends it."""
    assert Events().feed(b"data: a\n\nda") == [b"a"]
    assert Events().feed(b"data: a\r\r") == [b"a"]
    assert Events().feed(b"data: a\r\n\r\n") == [b"a"]
