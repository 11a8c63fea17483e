"""From the bytes of a request to what is known of it: body → ChatRequest → Facts. Pure.

The body is parsed once. What is sent upstream is encoded from that same tree, so nothing can be
sent that was not seen here; a body in which the two could differ (a duplicate key) is refused.

Errors name schema fields and indices only: never a value, and never a key that the caller made up.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.errors import InvalidRequest
from router.policy.dialects import KNOWN_FIELDS, MESSAGE_KEYS, PART_KEYS
from router.policy.facts import (
    HEADER_PREFIX,
    METADATA_PREFIX,
    MODALITIES,
    SENSITIVITY_HEADER,
    TIER_HEADER,
    Facts,
)
from router.policy.values import ABSENT, OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from router.policy.document import Policy
    from router.policy.keys import Key
    from router.policy.values import Value

Tree = dict[str, Any]

# Knobs of other gateways that would steer this one: where to send, what to skip, what to invent.
STEERING: Final = frozenset(
    """
    api_base api_key api_version base_url cache caching custom_llm_provider default_headers
    disable_fallbacks extra_body extra_headers extra_query fallbacks context_window_fallbacks
    content_policy_fallbacks guardrails headers max_retries mock_response mock_timeout
    mock_tool_calls model_list no-log num_retries organization provider proxy router_settings
    routing skip_policy timeout transforms models route api_type deployment_id
    """.split()
)
# The modality of each kind of content part. A kind that is not here cannot be read: a file.
PART_MODALITY: Final = {
    "text": "text",
    "refusal": "text",
    "image_url": "image",
    "input_audio": "audio",
    "video_url": "video",
    "video": "video",
    "file": "file",
}
ROLES: Final = frozenset({"developer", "system", "user", "assistant", "tool", "function"})
# Tokens that one part of a kind is taken to hold until it is looked into.
PART_TOKENS: Final = {"image": 1_000, "audio": 1_000, "video": 10_000, "file": 10_000}
CHARS_PER_TOKEN: Final = 4.0
TOKENS_PER_WIDE_CHAR: Final = 0.7


class Function(msgspec.Struct):
    """A called function."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    """A tool call in the history."""

    function: Function | None = None
    id: str | None = None
    type: str | None = None


class Message(msgspec.Struct):
    """The types of a message's known keys."""

    role: str
    content: str | list[dict[str, Any]] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None


class StreamOptions(msgspec.Struct):
    """`stream_options`."""

    include_usage: bool | None = None


class ResponseFormat(msgspec.Struct):
    """`response_format`."""

    type: str


class Body(msgspec.Struct):
    """The types of the known top-level fields of OpenAI's create-chat-completion schema."""

    model: str
    messages: list[Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    n: int | None = None
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    store: bool | None = None
    modalities: list[str] | None = None
    reasoning_effort: str | None = None
    service_tier: str | None = None
    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    chat_template_kwargs: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One parsed request. `tree` is what is sent, and is never changed.

    `fields` are the keys that the caller sent, as they are: they are matched, and never recorded.
    `max_output` (for each of the `answers`) and `tokens_estimated` are in tokens.
    """

    tree: Tree = field(repr=False)
    model: str = field(repr=False)
    stream: bool
    include_usage: bool
    input: frozenset[str]
    output: frozenset[str]
    needs: frozenset[str]
    fields: frozenset[str] = field(repr=False)
    json: bool
    thinking: bool | None
    max_output: int | None
    answers: int
    tokens_estimated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and how: the key, the `x-router-*` headers by name, and when (epoch seconds).

    `secret` keys the hash of the user and of the bucket.
    """

    key: Key
    headers: Mapping[str, str] = field(repr=False)
    received_at: float
    secret: bytes = field(repr=False)


def parse(raw: bytes) -> ChatRequest:
    """Parse a body; InvalidRequest where it is no chat request or could be read in two ways."""
    tree = decoded(raw)
    body = _typed(tree)
    _refuse_steering(tree)
    if body.stream_options and not body.stream:
        raise InvalidRequest("stream_options needs stream: true.", param="stream_options")
    fields = {_outer(name) for name, value in tree.items() if value is not None}
    # A tool that is no function runs on the vendor's side: a knob of its own.
    if any(tool.get("type") != "function" for tool in body.tools or ()):
        fields.add("unknown")
    fields |= _inner_keys(tree["messages"])
    kinds, needs = _parts(tree["messages"])
    thinking = _thinking(body)
    if set(body.chat_template_kwargs or ()) <= {"enable_thinking"}:
        fields.discard("chat_template_kwargs")
    json_needs = _json_needs(body, tree)
    return ChatRequest(
        tree=tree,
        model=body.model,
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        input=kinds | {"text"},
        output=_output(body),
        needs=frozenset(
            needs | json_needs | _tool_needs(body) | _thinking_needs(thinking=thinking)
        ),
        fields=frozenset(fields - {"enable_thinking"}),
        json=bool(json_needs),
        thinking=thinking,
        max_output=_max_output(body),
        answers=_answers(body),
        tokens_estimated=_tokens_estimated(tree),
    )


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


def decoded(raw: bytes) -> Tree:
    """Return the JSON object of a body; InvalidRequest where it is none, or has a key twice."""
    try:
        tree = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidRequest("The body is not valid JSON.") from error
    if not isinstance(tree, dict):
        raise InvalidRequest("The body must be a JSON object.")
    # Strategy: a body that encodes back to its own bytes has no duplicate key, and clients that
    # send compact JSON (the OpenAI SDKs do) pay one encoding for it. Others are read once more.
    if msgspec.json.encode(tree) != raw:
        try:
            json.loads(raw, object_pairs_hook=_once)
        except (RecursionError, ValueError) as error:
            raise InvalidRequest(
                "The body is nested too deeply or has a number too long."
            ) from error
    return tree


def _once(pairs: list[tuple[str, Any]]) -> Tree:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidRequest("An object in the body has a duplicate key; send each key once.")
    return result


def _typed(tree: Tree) -> Body:
    try:
        body = msgspec.convert(tree, Body)
    except msgspec.ValidationError as error:
        text = str(error)  # names types and paths of the schema; unknown keys are shown as [...]
        param = text.rpartition("`$")[2].strip("`.") if "`$" in text else ""
        raise InvalidRequest(f"The body has a wrong type: {text}.", param=param or None) from None
    if not body.messages:
        raise InvalidRequest("messages must hold at least one message.", param="messages")
    for index, message in enumerate(body.messages):
        if message.role not in ROLES:
            raise InvalidRequest(
                f"messages[{index}].role must be one of {', '.join(sorted(ROLES))}.",
                param=f"messages[{index}].role",
            )
    return body


def _refuse_steering(tree: Tree) -> None:
    steering = sorted(STEERING & tree.keys())
    if steering:
        raise InvalidRequest(
            f"{steering[0]} is not taken: where a request goes is decided by policy.",
            param=steering[0],
        )


def _content_parts(messages: list[Tree]) -> Iterator[tuple[str, Tree]]:
    """Yield every content part with its place, `messages[2].content[0]`."""
    for i, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            for j, part in enumerate(content):
                yield f"messages[{i}].content[{j}]", part


def _outer(name: str) -> str:
    """Return a top-level field's name; a dot would make it look like an inner one."""
    return "unknown" if "." in name else name


def _inner_keys(messages: list[Tree]) -> set[str]:
    """Return the keys of messages and parts that the schema does not know, with a prefix."""
    found: set[str] = set()
    for message in messages:
        found.update("messages." + key for key in message.keys() - MESSAGE_KEYS)
    for _, part in _content_parts(messages):
        found.update("parts." + key for key in part.keys() - PART_KEYS)
    return found


def _parts(messages: list[Tree]) -> tuple[frozenset[str], set[str]]:
    """Return the modalities of all parts, and what they need beyond that."""
    kinds: set[str] = set()
    needs: set[str] = set()
    for place, part in _content_parts(messages):
        kind = part.get("type")
        if not isinstance(kind, str):
            raise InvalidRequest(f"{place}.type must be a string.", param=f"{place}.type")
        if kind == "text" and not isinstance(part.get("text"), str):
            raise InvalidRequest(f"{place}.text must be a string.", param=f"{place}.text")
        modality = PART_MODALITY.get(kind)
        if modality is None:
            needs.add("unknown_part")
        kinds.add(modality or "file")
        # A key that belongs to another kind of part would be scanned and sent all the same, but a
        # server may act on it: every part's media is looked at, whatever its type says.
        if any(_is_remote(text) for text in _media_texts(part)):
            needs.add("media_url")
        kinds.update(PART_MODALITY[key] for key in part.keys() & PART_MODALITY.keys() - {"text"})
    if any(message.get("audio") is not None for message in messages):
        kinds.add("audio")
    return frozenset(kinds), needs


def _media_texts(part: Tree) -> Iterator[tuple[str, str]]:
    """Yield (key path's last key, text) of every string in a part's media."""
    stack: list[tuple[str, Any]] = [
        (key, value) for key, value in part.items() if key not in {"type", "text", "refusal"}
    ]
    while stack:
        key, value = stack.pop()
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, dict):
            stack.extend(value.items())
        elif isinstance(value, list):
            stack.extend((key, item) for item in value)


def _is_remote(text: tuple[str, str]) -> bool:
    """Tell whether a media string makes a server fetch: any address that is not inline `data:`."""
    key, value = text
    start = value.lstrip()[:64].lower()
    if start.startswith("data:"):
        return False
    addresses = key in {"url", "image_url", "video_url", "video", "file_id"}
    return addresses or "://" in start or start.startswith(("file:", "//"))


def _thinking(body: Body) -> bool | None:
    nested = (body.chat_template_kwargs or {}).get("enable_thinking")
    if nested is not None and not isinstance(nested, bool):
        raise InvalidRequest(
            "chat_template_kwargs.enable_thinking must be true or false.",
            param="chat_template_kwargs.enable_thinking",
        )
    if nested is not None and body.enable_thinking not in (None, nested):
        raise InvalidRequest(
            "enable_thinking and chat_template_kwargs.enable_thinking disagree; send one.",
            param="enable_thinking",
        )
    return nested if body.enable_thinking is None else body.enable_thinking


def _thinking_needs(*, thinking: bool | None) -> set[str]:
    return set() if thinking is None else {"thinking_on" if thinking else "thinking_off"}


def _tool_needs(body: Body) -> set[str]:
    needs = {"tools"} if body.tools else set()
    return needs | {"tool_choice_required"} if body.tool_choice == "required" else needs


def _json_needs(body: Body, tree: Tree) -> set[str]:
    kind = body.response_format.type if body.response_format else "text"
    if kind == "text":
        return set()
    if kind == "json_schema":
        return {"json_schema"}
    if kind == "json_object":
        # OpenAI and DashScope both refuse json_object unless the conversation says "json".
        word = b"json" in msgspec.json.encode(tree["messages"]).lower()
        return {"json_object"} if word else {"json_object", "json_without_word"}
    raise InvalidRequest(
        "response_format.type must be text, json_object or json_schema.",
        param="response_format.type",
    )


def _output(body: Body) -> frozenset[str]:
    if body.modalities is None:
        return frozenset({"text"})
    if not body.modalities or not set(body.modalities) <= set(MODALITIES):
        raise InvalidRequest(
            f"modalities must list some of {', '.join(MODALITIES)}.", param="modalities"
        )
    return frozenset(body.modalities)


def _max_output(body: Body) -> int | None:
    asked = [n for n in (body.max_tokens, body.max_completion_tokens) if n is not None]
    if any(n < 1 for n in asked):
        raise InvalidRequest(
            "max_completion_tokens must be at least 1.", param="max_completion_tokens"
        )
    return min(asked, default=None)


def _answers(body: Body) -> int:
    """Return how many answers are asked for: each is paid for."""
    if body.n is not None and body.n < 1:
        raise InvalidRequest("n must be at least 1.", param="n")
    return body.n or 1


def _tokens_estimated(tree: Tree) -> int:
    """Estimate the input tokens: text by its script, media by a flat count a part."""
    total = 0.0
    for message in tree["messages"]:
        content = message.get("content")
        if isinstance(content, str):
            total += tokens_of(content)
        if calls := message.get("tool_calls"):
            total += tokens_of(msgspec.json.encode(calls).decode())
    for _, part in _content_parts(tree["messages"]):
        modality = PART_MODALITY.get(part["type"], "file")
        text = part.get("text")
        total += PART_TOKENS.get(modality, 0) + (tokens_of(text) if isinstance(text, str) else 0)
    for schema in (tree.get("tools"), tree.get("response_format")):
        if schema:
            total += tokens_of(msgspec.json.encode(schema).decode())
    return int(total) + 1


def tokens_of(text: str) -> float:
    """Estimate the tokens of a text: four narrow characters a token, a wide one 0.7 tokens."""
    if text.isascii():
        return len(text) / CHARS_PER_TOKEN
    # A CJK character is three bytes of UTF-8, so this counts it once, a Cyrillic one half.
    wide = (len(text.encode()) - len(text)) / 2
    return max(len(text) - wide, 0) / CHARS_PER_TOKEN + wide * TOKENS_PER_WIDE_CHAR


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
