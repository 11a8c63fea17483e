"""The chain: bytes, links, and what other JSON tools may do to a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.records.chain import (
    CHAIN_KEYS,
    NOTHING,
    Chain,
    canonical,
    chain_key,
    fits,
    fits_rewritten,
)
from router.records.reading import read
from router.records.schema import Head
from tests.records.samples import EVERY, SECRET, write_all

if TYPE_CHECKING:
    from pathlib import Path

KEY = chain_key(SECRET)
numbers = st.integers(-(2**53), 2**53) | st.floats(-1e15, 1e15, allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def sealed(chain: Chain, record: dict[str, Any]) -> bytes:
    """Return the line of one record, without its newline."""
    return chain.seal(None, "info", chain.link(None, "info", dict(record))).rstrip(b"\n")


@given(st.dictionaries(texts.filter(lambda key: key not in CHAIN_KEYS), values, max_size=4))
def test_a_rewritten_line_still_fits(record: dict[str, Any]) -> None:
    """Other spaces, escapes, key order or ways to write a number do not break a mac."""
    raw = sealed(Chain(SECRET, "gw/0/ab"), record)
    parsed = json.loads(raw)
    mac = parsed["mac"]
    respaced = json.dumps(dict(reversed(parsed.items())), indent=1).encode()
    # JavaScript has one kind of number: whole ones are written without a point.
    javascript = json.dumps(_like_javascript(parsed), ensure_ascii=False).encode()

    assert fits(KEY, raw, mac)
    assert fits_rewritten(KEY, raw, mac)
    assert fits_rewritten(KEY, respaced, mac)
    assert fits_rewritten(KEY, javascript, mac)


def _like_javascript(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _like_javascript(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_like_javascript(part) for part in value]
    return value


@pytest.mark.parametrize("event", EVERY)
def test_what_is_written_fits_as_it_stands(event: str, tmp_path: Path) -> None:
    """Each kind of record verifies on its bytes, and again after another tool wrote it."""
    write_all(tmp_path / "r.jsonl", [EVERY[event]])

    *_, line = read([tmp_path / "r.jsonl"])

    assert line.record is not None
    assert line.record["event"] == event
    assert fits(KEY, line.raw, line.record["mac"])
    assert fits_rewritten(KEY, json.dumps(line.record).encode(), line.record["mac"])


def test_a_doubled_key_does_not_fit() -> None:
    """A line in which a key stands twice may read differently elsewhere, so it never fits."""
    raw = sealed(Chain(SECRET, "gw/0/ab"), {"event": "x", "label": "internal"})
    mac = json.loads(raw)["mac"]
    doubled = raw.replace(b'"label":', b'"label":"public","label":')

    assert json.loads(raw) == json.loads(doubled)
    assert not fits_rewritten(KEY, doubled, mac)


def test_each_record_names_the_one_before() -> None:
    """Numbers run from 1 and `prev` is the mac before, or zeros at the very beginning."""
    chain = Chain(SECRET, "gw/0/ab")

    first, second = (json.loads(sealed(chain, {"event": "x"})) for _ in range(2))

    assert (first["seq"], first["prev"]) == (1, NOTHING)
    assert (second["seq"], second["prev"]) == (2, first["mac"])


def test_the_chain_goes_on_from_what_was_written() -> None:
    """Lines that were sealed and not written leave no gap and no link."""
    chain = Chain(SECRET, "gw/0/ab")
    first = json.loads(sealed(chain, {"event": "x"}))
    sealed(chain, {"event": "y"})
    chain.settle(1)

    again = json.loads(sealed(chain, {"event": "z"}))

    assert chain.head == Head(writer="gw/0/ab", seq=1, mac=first["mac"])
    assert (again["seq"], again["prev"]) == (2, first["mac"])


def test_the_key_is_derived() -> None:
    """The secret itself keys other hashes, so the chain's key is another."""
    assert chain_key(SECRET) != SECRET
    assert chain_key(SECRET) != chain_key(SECRET + b".")


def test_canonical_bytes_are_sorted_and_whole() -> None:
    """Keys are sorted at every depth and a whole float is a whole number."""
    record = {"b": {"y": 2.0, "x": [1.5, 3.0]}, "a": "é"}

    assert '{"a":"é","b":{"x":[1.5,3],"y":2}}'.encode() == canonical(record)
