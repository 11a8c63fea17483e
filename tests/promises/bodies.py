"""Chat requests with a canary in every place that can hold text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.promises.canaries import Canaries

Body = dict[str, Any]


def conversation(c: Canaries, where: str, *, image: bool) -> list[Body]:
    """Return a conversation with tools, and with an image where asked, full of canaries."""
    text: Body = {"type": "text", "text": c(f"{where}: text part")}
    parts = [text]
    if image:
        media = {"url": f"data:image/png;base64,{c(f'{where}: media')}"}
        parts.append({"type": "image_url", "image_url": media})
    call_id = c(f"{where}: tool call id")
    function = {
        "name": c(f"{where}: called tool"),
        "arguments": json.dumps({c(f"{where}: argument name"): c(f"{where}: argument")}),
    }
    return [
        {"role": "system", "content": c(f"{where}: system text")},
        {"role": "user", "content": parts, "name": c(f"{where}: user name")},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": c(f"{where}: reasoning"),
            "tool_calls": [{"id": call_id, "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": call_id, "content": c(f"{where}: tool result")},
        {"role": "user", "content": c(f"{where}: user text")},
    ]


def full(c: Canaries, where: str, *, image: bool = False, **fields: Any) -> Body:
    """Return a request that a target takes, full of canaries."""
    schema = {"type": "object", "properties": {c(f"{where}: schema key"): {"type": "string"}}}
    tool = {
        "name": c(f"{where}: tool name"),
        "description": c(f"{where}: tool description"),
        "parameters": schema,
    }
    return {
        "model": "auto",
        "messages": conversation(c, where, image=image),
        "tools": [{"type": "function", "function": tool}],
        "stop": [c(f"{where}: stop")],
        **fields,
    }


def labels(c: Canaries, where: str) -> Body:
    """Return the fields that identify or label a request; no target needs them."""
    return {
        "user": c(f"unsent {where}: user"),
        "metadata": {
            "purpose": c(f"unsent {where}: metadata value"),
            c(f"unsent {where}: metadata key"): "x",
        },
        "safety_identifier": c(f"unsent {where}: safety identifier"),
        "prompt_cache_key": c(f"unsent {where}: cache key"),
    }


def schema_format(c: Canaries, where: str) -> Body:
    """Return a response format whose names are canaries."""
    properties = {c(f"{where}: format key"): {"type": "string"}}
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    named = {"name": c(f"{where}: format name"), "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def headers(c: Canaries, where: str) -> dict[str, str]:
    """Return request headers that hold canaries and are no reason to refuse."""
    return {
        "x_request_id": f"{c(f'unsent {where}: request id')}/not-well-formed",
        "x_router_team_mood": c(f"unsent {where}: declared header"),
        f"x_router_{c(f'unsent {where}: header name')}": c(f"unsent {where}: header value"),
        "cookie": c(f"unsent {where}: cookie"),
        "user_agent": c(f"unsent {where}: user agent"),
        "traceparent": c(f"unsent {where}: traceparent"),
        "x_other": c(f"unsent {where}: other header"),
    }


def user(content: Any, **fields: Any) -> Body:
    """Return the smallest request around a content."""
    return {"model": "auto", "messages": [{"role": "user", "content": content}], **fields}


def refused(c: Canaries) -> Iterator[tuple[str, Body, dict[str, str]]]:
    """Yield (code, body, headers) of requests that a stage of the decision refuses."""
    yield "model_not_found", user(c("text"), model=c("model name")), {}
    unknown = {c("top-level key"): c("top-level value")}
    yield "unsupported_capability", user(c("text"), **unknown), {}
    in_message = user(c("text"))
    in_message["messages"][0][c("message key")] = c("message value")
    yield "unsupported_capability", in_message, {}
    part = {"type": "text", "text": c("text"), c("part key"): c("part value")}
    yield "unsupported_capability", user([part]), {}
    strange = {"type": c("part type"), c("unknown part key"): c("unknown part value")}
    yield "unsupported_capability", user([strange]), {}
    file = {"filename": c("file name"), "file_data": f"data:text/plain;base64,{c('file')}"}
    yield "unsupported_capability", user([{"type": "file", "file": file}]), {}
    sound = {"data": c("sound"), "format": c("sound format")}
    yield "unsupported_capability", user([{"type": "input_audio", "input_audio": sound}]), {}
    remote = {"url": f"http://127.0.0.1:9/{c('remote media')}"}
    yield "unsupported_capability", user([{"type": "image_url", "image_url": remote}]), {}
    template = {c("template key"): c("template value")}
    yield "unsupported_capability", user(c("text"), chat_template_kwargs=template), {}
    yield "unsupported_capability", user(c("text"), service_tier="x", verbosity=c("verbosity")), {}
    long = f"{c('long text')} {'word ' * 220_000}"
    yield "context_length_exceeded", user(long, model="own"), {}
    confidential = {"x_router_sensitivity": "confidential"}
    yield "policy_refused", user(c("text"), model="paid", **labels(c, "refused")), confidential


def malformed(c: Canaries) -> Iterator[tuple[bytes, dict[str, str]]]:
    """Yield (body, headers) of requests that are answered 400 before there is a decision."""
    for raw in _unreadable(c):
        yield raw, {}
    for body in _mistyped(c):
        yield json.dumps(body).encode(), {}
    yield json.dumps(user(c("text"))).encode(), {"x_router_sensitivity": c("label name")}
    yield json.dumps(user(c("text"))).encode(), {"x_router_tier": c("tier name")}


def _unreadable(c: Canaries) -> Iterator[bytes]:
    good = json.dumps(user("?")).encode()
    yield b'{"%b": nonsense}' % c("broken JSON").encode()
    yield b'["%b"]' % c("array").encode()
    yield b'"%b"' % c("string").encode()
    yield c("no JSON").encode()
    yield b'{"%b": "\xff%b"}' % (c("bad UTF-8 key").encode(), c("bad UTF-8").encode())
    key = c("duplicate key").encode()
    yield good[:-1] + b', "%b": 1, "%b": 2}' % (key, key)
    yield b'{"%b": %b' % (c("deep").encode(), b"[" * 100_000)
    yield good[:-1] + b', "%b": 1e999}' % c("huge number").encode()
    yield b'{"model": "%b", "messages": [{"content": "\\ud800"}]}' % c("surrogate").encode()


def _mistyped(c: Canaries) -> Iterator[Any]:
    yield {c("no model"): c("value")}
    yield {"model": {c("model key"): c("model object")}, "messages": []}
    yield {"model": c("empty"), "messages": []}
    yield {"model": "auto", "messages": c("messages text")}
    yield {"model": "auto", "messages": {c("messages key"): 1}}
    yield {"model": "auto", "messages": [c("message text")]}
    yield {"model": "auto", "messages": [{"role": c("role"), "content": "?"}]}
    yield {"model": "auto", "messages": [{c("role missing"): c("value")}]}
    yield user({c("content key"): c("content object")})
    yield user([c("part text")])
    yield user([{"type": {c("type key"): 1}}])
    yield user([{"type": "text", "text": {c("text key"): c("text object")}}])
    for name in (
        "stream",
        "temperature",
        "top_p",
        "n",
        "seed",
        "max_tokens",
        "max_completion_tokens",
    ):
        yield user("?", **{name: c(f"{name} as text")})
    for name in ("tools", "metadata", "logit_bias", "stream_options", "modalities", "user", "stop"):
        yield user("?", **{name: {c(f"{name} key"): {c("inner key"): c(f"{name} value")}}})
    yield user("?", stream=True, stream_options={"include_usage": c("include_usage")})
    yield user("?", stream_options={"include_usage": True, c("option"): c("option value")})
    yield user("?", modalities=[c("modality")])
    yield user("?", response_format={"type": c("format type")})
    yield user("?", response_format={c("format"): c("format value")})
    yield user("?", enable_thinking=c("thinking"))
    yield user("?", chat_template_kwargs={"enable_thinking": c("nested thinking")})
    for name in ("fallbacks", "api_base", "mock_response", "extra_headers", "api_key"):
        yield user(c("text"), **{name: c(f"knob {name}")})
    call = {"id": 7, "function": {"name": c("call name"), "arguments": {c("args key"): 1}}}
    yield {"model": "auto", "messages": [{"role": "assistant", "tool_calls": [call]}]}
