"""The types of a chat request's known fields, after OpenAI's create-chat-completion schema."""

from __future__ import annotations

from typing import Any, Final

import msgspec

# A JSON object as it was parsed; never changed.
Tree = dict[str, Any]

ROLES: Final = frozenset({"developer", "system", "user", "assistant", "tool", "function"})


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
    function_call: Function | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    audio: dict[str, Any] | None = None
    annotations: list[dict[str, Any]] | None = None


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
