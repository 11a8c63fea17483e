"""From the bytes of a body to a `ChatRequest`.

The body is parsed once. What is sent upstream is encoded from that same tree, so nothing can be
sent that was not seen here; a body in which the two could differ (a duplicate key) is refused.

Errors name schema fields and indices only: never a value, and never a key that the caller made up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from router.chat.parts import modalities
from router.chat.schema import ROLES, Body, Tree
from router.chat.strangers import content_strangers, has_strangers
from router.chat.tokens import tokens_estimated
from router.errors import InvalidRequest
from router.policy.facts import MODALITIES

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


# Far beyond any conversation, also one full of code: what only an attack sends.
MOST_CONTAINERS: Final = 500_000
MOST_ITEMS: Final = 2_000_000
MOST_ANSWERS: Final = 128  # OpenAI's own bound of n


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


def parse(raw: bytes) -> ChatRequest:
    """Parse a body; InvalidRequest where it is no chat request or could be read in two ways."""
    tree = decoded(raw)
    body = _typed(tree)
    _refuse_steering(tree)
    if body.stream_options and not body.stream:
        raise InvalidRequest("stream_options needs stream: true.", param="stream_options")
    fields = {_outer(name) for name, value in tree.items() if value is not None}
    if has_strangers(tree):
        fields.add("unknown")
    fields |= content_strangers(tree["messages"])
    kinds, needs = modalities(tree["messages"])
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
        tokens_estimated=tokens_estimated(tree),
    )


def decoded(raw: bytes) -> Tree:
    """Return the JSON object of a body; InvalidRequest where it is none, or has a key twice."""
    if raw.count(b"{") + raw.count(b"[") > MOST_CONTAINERS or raw.count(b",") > MOST_ITEMS:
        # Counted before parsing: an object takes thirty times the memory of its two bytes.
        raise InvalidRequest("The body has too many objects, lists or items.")
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


def _outer(name: str) -> str:
    """Return a top-level field's name; a dot would make it look like an inner one."""
    return "unknown" if "." in name else name


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
    if isinstance(body.tool_choice, dict):
        return needs | {"tool_choice_named"}
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
    if body.n is not None and body.n > MOST_ANSWERS:
        raise InvalidRequest(f"n must be at most {MOST_ANSWERS}.", param="n")
    if body.n is not None and body.n < 1:
        raise InvalidRequest("n must be at least 1.", param="n")
    return body.n or 1
