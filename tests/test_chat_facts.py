"""From a request to its facts: the policy's vocabulary, keyed hashes, and no text anywhere."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.chat.facts import Caller, facts_of
from router.chat.request import parse
from router.errors import InvalidRequest
from router.policy.account import facts_account, facts_from
from router.policy.keys import ANONYMOUS, Key
from router.policy.values import ABSENT, OTHER
from tests.policy.builders import OWN, policy

if TYPE_CHECKING:
    from router.policy.facts import Facts

POLICY = policy()
CANARY = "cNaRy7f3a"
TRUSTED = Key(id="k", may_assert_user=True)


def caller(
    headers: dict[str, str] | None = None, key: Key = ANONYMOUS, secret: bytes = b"secret"
) -> Caller:
    """Build a caller."""
    return Caller(key=key, headers=headers or {}, received_at=1.5, secret=secret)


def facts(who: Caller | None = None, **changes: Any) -> Facts:
    """Return the facts of a small body."""
    tree = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]} | changes
    return facts_of(parse(msgspec.json.encode(tree)), who or caller(), POLICY)


def test_facts_of_a_plain_question() -> None:
    """A plain question without a key says what was measured, and nothing of the rest."""
    seen = facts(max_tokens=5, n=2, enable_thinking=False)

    assert dict(seen.values) == {
        "key.id": "anonymous",
        "request.model": "auto",
        "request.input": frozenset({"text"}),
        "request.output": frozenset({"text"}),
        "request.tools": False,
        "request.json": False,
        "request.stream": False,
        "request.thinking": False,
        "request.max_output": 5,
        "request.n": 2,
        "request.needs": frozenset({"thinking_off"}),
        "request.fields": frozenset({"max_tokens", "n"}),
        "request.bucket": seen.get("request.bucket"),
        "request.metadata.purpose": ABSENT,
        "header.x-router-app": ABSENT,
        "input_tokens_estimated": 2,
        "received_at": 1.5,
    }


def test_facts_of_a_key() -> None:
    """Every attribute of a key that steers is a fact."""
    key = Key(
        id="k",
        product="shop",
        team="t",
        group="ci",
        min_label="public",
        media_label="internal",
        tier="basic",
        max_tier="premium",
        models=frozenset({"auto"}),
    )
    seen = facts(caller(key=key))
    expected = {
        "key.id": "k",
        "key.product": "shop",
        "key.team": "t",
        "key.group": "ci",
        "key.min_label": "public",
        "key.media_label": "internal",
        "key.tier": "basic",
        "key.max_tier": "premium",
        "key.models": frozenset({"auto"}),
    }

    assert expected == {name: seen.get(name) for name in expected}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("auto", "auto"),
        ("own", "own"),
        ("preview", "preview"),
        (CANARY, "unknown"),
        ("", "unknown"),
    ],
)
def test_a_model_is_a_name_of_the_catalog(model: str, expected: str) -> None:
    """A name that is no alias and no target is `unknown`."""
    assert facts(model=model).get("request.model") == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [({}, ABSENT), ({"purpose": "eval"}, "eval"), ({"purpose": CANARY}, OTHER),
     ({"purpose": "ABSENT"}, OTHER), ({CANARY: "eval"}, ABSENT)],
)  # fmt: skip
def test_metadata_by_the_vocabulary(sent: dict[str, str], expected: str) -> None:
    """Declared metadata has a declared value, OTHER or ABSENT; what is not declared is dropped."""
    seen = facts(metadata=sent)

    assert seen.get("request.metadata.purpose") == expected
    assert not any(CANARY in name for name in seen.values)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({}, ABSENT), ({"x-router-app": "web"}, "web"), ({"x-router-app": CANARY}, OTHER),
     ({f"x-router-{CANARY}": "web"}, ABSENT)],
)  # fmt: skip
def test_headers_by_the_vocabulary(headers: dict[str, str], expected: str) -> None:
    """A declared header has a declared value, OTHER or ABSENT."""
    assert facts(caller(headers)).get("header.x-router-app") == expected


@pytest.mark.parametrize("name", ["x-router-sensitivity", "x-router-tier"])
@pytest.mark.parametrize("value", [CANARY, "", "Public", "UNKNOWN"])
def test_an_unknown_label_or_tier_is_refused(name: str, value: str) -> None:
    """A label or tier that does not exist is a 400 that lists the ones that do."""
    with pytest.raises(InvalidRequest) as caught:
        facts(caller({name: value}))

    assert caught.value.param == name
    assert CANARY not in caught.value.message


def test_a_known_label_and_tier_are_facts() -> None:
    """Both headers are facts by their names."""
    seen = facts(caller({"x-router-sensitivity": "restricted", "x-router-tier": "basic"}))

    assert seen.get("header.x-router-sensitivity") == "restricted"
    assert seen.get("header.x-router-tier") == "basic"


def test_a_user_is_hashed_where_the_key_may_assert_one() -> None:
    """Only a key that may assert a user has one, and only as a keyed hash."""
    hashed = facts(caller(key=TRUSTED), user=CANARY).get("request.user")
    other = facts(caller(key=TRUSTED, secret=b"another"), user=CANARY).get("request.user")

    assert facts(user=CANARY).get("request.user") == ABSENT
    assert facts(caller(key=TRUSTED)).get("request.user") == ABSENT
    assert isinstance(hashed, str)
    assert len(hashed) == 16
    assert hashed != other
    assert CANARY not in hashed


def test_the_bucket_sticks_and_spreads() -> None:
    """A user or a key keeps its bucket, and a thousand users fill nearly all hundred."""
    who = caller(key=TRUSTED)
    buckets = [facts(who, user=f"u{i}").get("request.bucket") for i in range(1000)]
    again = [facts(who, user=f"u{i}", temperature=1).get("request.bucket") for i in range(50)]

    assert buckets[:50] == again
    assert len(set(buckets)) > 90
    assert set(buckets) <= set(range(100))
    assert facts(user="a").get("request.bucket") == facts(user="b").get("request.bucket")


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"temperature": 1}, {"temperature"}),
        ({CANARY: 1}, {"unknown"}),
        ({"messages": [{"role": "user", "content": "a", CANARY: 1}]}, {"messages.unknown"}),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "", CANARY: 1}]}]},
            {"parts.unknown"},
        ),
        ({"messages": [{"role": "user", "content": "", f"{CANARY}.x": 1}]}, {"messages.unknown"}),
    ],
)
def test_fields_are_known_names(changes: dict[str, Any], fields: set[str]) -> None:
    """A field that the schema does not know is counted, never named."""
    assert fields == facts(**changes).names("request.fields")


def test_passed_fields_are_named() -> None:
    """A field that a target of the policy passes is known by its name."""
    passing = policy(OWN, targets={"own": _passing("enable_search", "parts.fps")})
    part = {"type": "text", "text": "", "fps": 2}
    raw = msgspec.json.encode(
        {
            "model": "auto",
            "messages": [{"role": "user", "content": [part]}],
            "enable_search": True,
        }
    )

    assert facts_of(parse(raw), caller(), passing).names("request.fields") == {
        "enable_search",
        "parts.fps",
    }


def _passing(*fields: str) -> Any:
    return replace(OWN, pass_fields=frozenset(fields))


def _everywhere() -> dict[str, Any]:
    """Return a good body with the canary in every place that takes text."""
    call = {"id": CANARY, "type": CANARY, "function": {"name": CANARY, "arguments": CANARY}}
    part = {"type": "image_url", "image_url": {"url": CANARY, CANARY: CANARY}, CANARY: CANARY}
    return {
        "model": CANARY,
        "messages": [
            {"role": "system", "content": CANARY, "name": CANARY, CANARY: CANARY},
            {"role": "user", "content": [{"type": "text", "text": CANARY}, part]},
            {"role": "user", "content": [{"type": CANARY, CANARY: {CANARY: [CANARY]}}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": CANARY, "tool_call_id": CANARY},
        ],
        "metadata": {CANARY: CANARY, "purpose": CANARY},
        "user": CANARY,
        "stop": [CANARY],
        "tools": [{"type": CANARY, "function": {"name": CANARY, CANARY: CANARY}}],
        "tool_choice": CANARY,
        "logit_bias": {CANARY: 1},
        "service_tier": CANARY,
        "reasoning_effort": CANARY,
        "response_format": {"type": "json_schema", "json_schema": {"name": CANARY}},
        "chat_template_kwargs": {CANARY: CANARY},
        CANARY: CANARY,
    }


def test_no_text_is_in_a_fact_or_a_repr() -> None:
    """The canary is in every string, key and header, and in no fact, account or `repr`."""
    chat = parse(msgspec.json.encode(_everywhere()))
    who = caller({"x-router-app": CANARY, f"x-router-{CANARY}": CANARY}, TRUSTED, CANARY.encode())
    seen = facts_of(chat, who, POLICY)

    assert CANARY not in repr(seen)
    assert CANARY not in repr(facts_account(seen))
    assert CANARY not in repr(chat)
    assert CANARY not in repr(who)
    assert facts_from(facts_account(seen)) == seen


def _complaint(raw: bytes) -> str:
    """Return everything that is said of a refused body, its traceback included."""
    try:
        parse(raw)
    except InvalidRequest as error:
        return f"{error!r}{error.body()}" + "".join(traceback.format_exception(error))
    return ""


def _broken(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of a tree with another value at a path."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = _broken(copy[path[0]], path[1:], value)
    return copy


def _paths(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = [path]
    for key, value in items if isinstance(tree, dict | list) else ():
        found += _paths(value, (*path, key)) if isinstance(value, dict | list) else [(*path, key)]
    return found


@settings(max_examples=200)
@given(
    st.sampled_from(_paths(_everywhere())),
    st.sampled_from([CANARY, 1, 1.5, None, True, [CANARY], {CANARY: CANARY}, {}, [], [[CANARY]]]),
)
def test_no_text_is_in_an_error(path: tuple[Any, ...], value: Any) -> None:
    """Whatever is broken, the error names the schema's places: no value or key of the caller."""
    raw = msgspec.json.encode(_broken(_everywhere(), path, value))
    for sent in (raw, raw[:-1], raw.replace(b":", b": "), raw[:-1] + b"," + raw[1:]):
        assert CANARY not in _complaint(sent)


@pytest.mark.parametrize("value", [CANARY, 1, [CANARY]])
@pytest.mark.parametrize(
    "name", ["stream", "n", "stop", "metadata", "logit_bias", "tools", "modalities", "messages"]
)
def test_no_text_is_in_a_type_error(name: str, value: Any) -> None:
    """A field of a wrong type is refused without its value."""
    tree = {"model": CANARY, "messages": [{"role": "user", "content": CANARY}], name: value}

    assert CANARY not in _complaint(msgspec.json.encode(tree))
