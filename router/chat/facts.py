"""From a `ChatRequest` and its caller to `Facts`, under a policy's vocabulary.

What a caller declares becomes a fact only where the policy lists it; else it is OTHER or `unknown`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from router.errors import InvalidRequest
from router.policy.dialects import KNOWN_FIELDS
from router.policy.facts import (
    HEADER_PREFIX,
    METADATA_PREFIX,
    SENSITIVITY_HEADER,
    TIER_HEADER,
    Facts,
)
from router.policy.values import ABSENT, OTHER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.chat.request import ChatRequest
    from router.policy.document import Policy
    from router.policy.keys import Key
    from router.policy.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and how: the key, the `x-router-*` headers by name, and when (epoch seconds).

    `secret` keys the hash of the user and of the bucket.
    """

    key: Key
    headers: Mapping[str, str] = field(repr=False)
    received_at: float
    secret: bytes = field(repr=False)


def facts_of(chat: ChatRequest, caller: Caller, policy: Policy) -> Facts:
    """Return the facts of a request under a policy's vocabulary.

    InvalidRequest where `x-router-sensitivity` or `x-router-tier` names no label or tier.
    """
    values: dict[str, Value] = {
        "request.model": _model(chat.model, policy),
        "request.input": chat.input,
        "request.output": chat.output,
        "request.tools": "tools" in chat.needs,
        "request.json": chat.json,
        "request.stream": chat.stream,
        "request.needs": chat.needs,
        "request.fields": _known_fields(chat.fields, policy),
        "input_tokens_estimated": chat.tokens_estimated,
        "received_at": caller.received_at,
    }
    if chat.thinking is not None:
        values["request.thinking"] = chat.thinking
    if chat.max_output is not None:
        values["request.max_output"] = chat.max_output
    if chat.answers > 1:
        values["request.n"] = chat.answers
    values |= key_facts(caller.key)
    values |= _declared(chat, caller, policy)
    values |= _sticky(chat, caller)
    return Facts(values)


def key_facts(key: Key) -> dict[str, Value]:
    """Return the facts that a key brings; an attribute that it has not is ABSENT."""
    given: dict[str, Value | None] = {
        "key.id": key.id,
        "key.product": key.product,
        "key.team": key.team,
        "key.group": key.group,
        "key.tier": key.tier,
        "key.max_tier": key.max_tier,
        "key.min_label": key.min_label,
        "key.media_label": key.media_label,
        "key.models": key.models,
    }
    return {name: value for name, value in given.items() if value is not None}


def _model(model: str, policy: Policy) -> str:
    known = model in policy.aliases or model in policy.targets
    return model if known else "unknown"


def _known_fields(fields: frozenset[str], policy: Policy) -> frozenset[str]:
    known = KNOWN_FIELDS | policy.pass_fields
    names = fields & known
    for stranger in fields - known:
        prefix, dot, _ = stranger.partition(".")
        inner = dot and prefix in {"messages", "parts"}
        names |= {prefix + ".unknown" if inner else "unknown"}
    return names - {"messages", "model", "stream"}


def _declared(chat: ChatRequest, caller: Caller, policy: Policy) -> dict[str, Value]:
    """Return the declared facts: headers and metadata, by the policy's vocabulary."""
    values: dict[str, Value] = {}
    scales = ((SENSITIVITY_HEADER, policy.labels), (TIER_HEADER, policy.tiers))
    for name, scale in scales:
        header = name.removeprefix("header.")
        value = caller.headers.get(header)
        if value is None:
            continue
        if value not in scale.ranks:
            raise InvalidRequest(
                f"The header {header} must be one of {', '.join(scale.order)}.", param=header
            )
        values[name] = value
    metadata = chat.tree.get("metadata") or {}
    for name, vocabulary in policy.names.items():
        if name.startswith(HEADER_PREFIX):
            sent = caller.headers.get(name.removeprefix("header."), ABSENT)
        elif name.startswith(METADATA_PREFIX):
            sent = metadata.get(name.removeprefix(METADATA_PREFIX), ABSENT)
        else:
            continue
        values[name] = sent if sent in vocabulary or sent is ABSENT else OTHER
    return values


def _sticky(chat: ChatRequest, caller: Caller) -> dict[str, Value]:
    """Return the trusted user, hashed, where the key may assert one; and the bucket, 0 to 99."""
    user = chat.tree.get("user") if caller.key.may_assert_user else None
    values: dict[str, Value] = {}
    who = caller.key.id
    if isinstance(user, str):
        who = values["request.user"] = _keyed(caller.secret, "user", user).hex()[:16]
    values["request.bucket"] = int.from_bytes(_keyed(caller.secret, "bucket", who)) % 100
    return values


def _keyed(secret: bytes, purpose: str, text: str) -> bytes:
    key = hashlib.blake2b(secret, digest_size=32, person=purpose.encode()).digest()
    return hashlib.blake2b(text.encode(), key=key, digest_size=8).digest()
