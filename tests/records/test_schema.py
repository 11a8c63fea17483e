"""What a record may hold, and that the golden records are still what is written."""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest

from router.records import schema
from router.records.schema import Malformed, Record, as_plain, time_text, typed
from tests.records.samples import EVERY, LOADED, finished, made

GOLDEN = Path(__file__).parent / "golden"
ID_LIKE = (
    schema.Time,
    schema.Id,
    schema.Name,
    schema.EnumName,
    schema.Revision,
    schema.Place,
    schema.Mac,
    schema.Usd,
)
NUMBERS = (schema.Count, schema.Ms, int, float, bool, type(None))
# Accounts are made by router.policy.account of what the policy lists; facts likewise.
ACCOUNTS = {("facts", schema.Facts), ("state", schema.Account), ("decision", schema.Account)}


class Inner(msgspec.Struct):
    """A type as no record may have it."""

    message: str


class Outer(msgspec.Struct):
    """A type with one such inside."""

    parts: list[Inner]


def fields_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the annotations of a record type, with their constraints."""
    return typing.get_type_hints(struct, include_extras=True)


def could_hold_text(name: str, kind: Any) -> list[str]:
    """Return the paths of fields whose type is no enum, id, number or account."""
    if kind in NUMBERS or kind in ID_LIKE or (name, kind) in ACCOUNTS:
        return []
    if get_origin(kind) is Literal:
        return []
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        parts = fields_of(kind).items()
        return [f"{name}.{path}" for part, its in parts for path in could_hold_text(part, its)]
    if inner := get_args(kind):
        return [path for part in inner for path in could_hold_text(name, part)]
    return [name]


@pytest.mark.parametrize("kind", get_args(Record), ids=lambda kind: kind.__name__)
def test_no_field_could_hold_text(kind: type[msgspec.Struct]) -> None:
    """Every field of every record is an enum, an id, a number or an account of listed values."""
    assert could_hold_text(kind.__name__, kind) == []


def test_the_walk_sees_free_text() -> None:
    """The walk above objects to a plain string, also deep inside."""
    assert could_hold_text("Outer", Outer) == ["Outer.parts.message"]


@pytest.mark.parametrize("kind", ID_LIKE)
def test_an_id_is_no_sentence(kind: Any) -> None:
    """No id-like type takes a sentence."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert("tell me a secret", kind)


@pytest.mark.parametrize("event", EVERY)
def test_golden(event: str) -> None:
    """Each record is written exactly as its golden file says."""
    expected = (GOLDEN / f"{event}.json").read_text()

    plain = json.dumps(as_plain(EVERY[event]), indent=2, sort_keys=True, default=str) + "\n"

    assert expected == plain


@pytest.mark.parametrize("event", EVERY)
def test_typed_again(event: str) -> None:
    """A record read back as JSON is the record that was written."""
    read_back = json.loads(msgspec.json.encode(as_plain(EVERY[event])))

    assert EVERY[event] == typed(read_back | {"writer": "gw/0/ab", "seq": 1, "later_field": 1})


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        (msgspec.structs.replace(made(), id="tell me"), "$.id"),
        (msgspec.structs.replace(made(), request_id="x" * 65), "$.request_id"),
        (msgspec.structs.replace(made(), id="line\n"), "$.id"),
        (msgspec.structs.replace(made(), facts={"key.id": {"text": "tell me"}}), "$.facts[...]"),
        (msgspec.structs.replace(finished(), outcome="tell me"), "$.outcome"),
        (msgspec.structs.replace(finished(), finish_reason="tell_me"), "$.finish_reason"),
        (msgspec.structs.replace(finished(), served_model="tell me"), "$.served_model"),
        (msgspec.structs.replace(finished(), code="Tell"), "$.code"),
        (msgspec.structs.replace(finished(), cost_usd="much"), "$.cost_usd"),
        (msgspec.structs.replace(finished(), duration_ms=-1), "$.duration_ms"),
        (msgspec.structs.replace(LOADED, origin="tell me"), "$.from"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_misfits_are_named_not_quoted(changed: Record, path: str) -> None:
    """A record that does not fit its type is refused by the path alone."""
    with pytest.raises(Malformed) as refused:
        as_plain(changed)

    assert f"{type(changed).__name__}: {path} does not fit the type" == str(refused.value)


def test_alien_json_is_not_typed() -> None:
    """What is no record of ours is refused, again by path alone."""
    with pytest.raises(Malformed, match=r"^\$\.event does not fit the type$"):
        typed({"event": "tell me"})


def test_time_is_utc_with_milliseconds() -> None:
    """`at` is ISO 8601 in UTC."""
    assert time_text(1_763_769_259.0567) == "2025-11-21T23:54:19.056Z"
