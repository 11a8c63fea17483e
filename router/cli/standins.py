"""Stand-in models on loopback, for the demo and the tests: no real model, and they say so.

They speak two dialects as their servers do, refusals included: vLLM 0.32's and DashScope's. What
those are is tabulated in `router/upstreams/vllm.py` and `router/upstreams/dashscope.py`.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from aiohttp import web

from router.cli.standin_answers import Reply, input_tokens, reply_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

Tree = dict[str, Any]

MAX_BODY_BYTES: Final = 256 * 1024 * 1024
FINGERPRINT: Final = "stand-in: no real model ran"
CREATED: Final = 1_790_000_000
MEDIA: Final = {"image_url": "image", "input_audio": "audio", "video_url": "video"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a stand-in pretends to be: its context in tokens, what it reads, whether it thinks."""

    context: int = 262_144
    input: frozenset[str] = frozenset({"text"})
    thinks: bool = True


SEES: Final = frozenset({"text", "image", "video"})
# The models that the shipped policies name, by the dialect that serves them.
SHIPPED: Final[Mapping[str, Mapping[str, Model]]] = {
    "vllm": {"Qwen/Qwen3.6-27B": Model(input=SEES), "Qwen/Qwen3.6-35B-A3B": Model(input=SEES)},
    "dashscope": {
        "qwen3.7-max": Model(context=991_808),
        "qwen3.7-plus": Model(context=991_808, input=SEES),
        "qwen3.6-plus": Model(context=1_000_000, input=SEES),
    },
}


class Refused(Exception):
    """A request that the real server would refuse, with its status, code and words."""

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs: the reasoning's name, how thinking is switched, what is refused and how."""

    reasoning: str
    needs_key: bool

    def thinks(self, body: Tree) -> bool:
        """Tell whether a request leaves thinking on, its default in both."""
        switch: Any = body if self.needs_key else body.get("chat_template_kwargs") or {}
        return switch.get("enable_thinking") is not False

    def error(self, refused: Refused) -> Tree:
        """Return the error body in this server's shape."""
        error: Tree = {"message": refused.message, "type": refused.code, "param": refused.param}
        if self.needs_key:
            return {"error": {**error, "code": refused.code}, "request_id": "stand-in"}
        return {"error": {**error, "code": refused.status}}


DIALECTS: Final = {
    "vllm": Dialect(reasoning="reasoning", needs_key=False),
    "dashscope": Dialect(reasoning="reasoning_content", needs_key=True),
}


def _refuse_everywhere(body: Tree, model: Model, dialect: Dialect) -> None:
    code = "invalid_parameter_error" if dialect.needs_key else "BadRequestError"
    if not body.get("messages"):
        raise Refused(400, code, "messages must not be empty")
    if body.get("stream_options") and not body.get("stream"):
        raise Refused(400, code, "stream_options is only allowed when stream is true")
    contents = [message.get("content") for message in body["messages"]]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    kinds = {MEDIA[part["type"]] for part in parts if part.get("type") in MEDIA}
    if kinds - model.input:
        raise Refused(400, code, f"{body['model']} is not a multimodal model")
    tokens = input_tokens(body)
    if tokens <= model.context:
        return
    if dialect.needs_key:
        message = f"Range of input length should be [1, {model.context}]"
        raise Refused(400, code, message)
    message = f"This model's maximum context length is {model.context} tokens, not {tokens}."
    raise Refused(400, code, message, "input_tokens")


def _refuse_as_dashscope(body: Tree, model: Model, *, thinking: bool) -> None:
    """Refuse what DashScope does: https://www.alibabacloud.com/help/en/model-studio/error-code."""
    wanted = (body.get("response_format") or {}).get("type", "text")
    choice = body.get("tool_choice")
    said = json.dumps(body["messages"], ensure_ascii=False)
    lists = any(isinstance(message.get("content"), list) for message in body["messages"])
    refusals = {
        "developer is not one of ['system', 'assistant', 'user', 'tool', 'function']": any(
            message.get("role") == "developer" for message in body["messages"]
        ),
        "tool_choice is one of the strings that should be ['none', 'auto']": choice == "required",
        "The tool_choice parameter does not support being set to required or object in thinking "
        "mode": thinking and isinstance(choice, dict),
        "'messages' must contain the word 'json' to use 'response_format' of type "
        "'json_object'": wanted == "json_object" and "json" not in said.lower(),
        "Json mode response is not supported when enable_thinking is true": wanted != "text"
        and thinking,
        "Input should be a valid string: messages.content": lists and model.input == {"text"},
    }
    for message, refused in refusals.items():
        if refused:
            raise Refused(400, "invalid_parameter_error", message)


class StandIn:
    """One running stand-in server; `url` is a target's `base_url`."""

    def __init__(self, dialect: Dialect, models: Mapping[str, Model], key: str) -> None:
        self._dialect = dialect
        self._models = models
        self._key = key
        self.url = ""

    def app(self) -> web.Application:
        """Return the server's routes."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _list(self, _: web.Request) -> web.Response:
        models = [
            {"id": name, "object": "model", "max_model_len": model.context}
            for name, model in self._models.items()
        ]
        return web.json_response({"object": "list", "data": models})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await self._accepted(request)
        except Refused as refused:
            return web.json_response(self._dialect.error(refused), status=refused.status)
        thinking = self._models[body["model"]].thinks and self._dialect.thinks(body)
        reply = reply_to(body, thinking=thinking)
        if not body.get("stream"):
            return web.json_response(self._whole(body, reply))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in self._chunks(body, reply):
            await response.write(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _accepted(self, request: web.Request) -> Tree:
        """Return the body; Refused where the real server would refuse it."""
        dashscope = self._dialect.needs_key
        if dashscope and request.headers.get("Authorization") != f"Bearer {self._key}":
            raise Refused(401, "invalid_api_key", "Incorrect API key provided.")
        try:
            body: Tree = await request.json()
        except ValueError:
            raise Refused(400, "BadRequestError", "The body is no JSON.") from None
        model = self._models.get(body.get("model", ""))
        if model is None:
            code = "model_not_found" if dashscope else "NotFoundError"
            raise Refused(404, code, "The model does not exist.", "model")
        _refuse_everywhere(body, model, self._dialect)
        if dashscope:
            thinking = model.thinks and self._dialect.thinks(body)
            _refuse_as_dashscope(body, model, thinking=thinking)
        return body

    def _envelope(self, body: Tree, kind: str) -> Tree:
        return {
            "id": "chatcmpl-stand-in",
            "object": kind,
            "created": CREATED,
            "model": body["model"],
            "system_fingerprint": FINGERPRINT,
        }

    def _whole(self, body: Tree, reply: Reply) -> Tree:
        message: Tree = {"role": "assistant", "content": reply.content}
        if reply.reasoning:
            message[self._dialect.reasoning] = reply.reasoning
        if reply.tool_call:
            message["tool_calls"] = [reply.tool_call]
        choice = {"message": message, "logprobs": None, "finish_reason": reply.finish_reason}
        choices = [{"index": index, **choice} for index in range(body.get("n") or 1)]
        envelope = self._envelope(body, "chat.completion")
        return {**envelope, "choices": choices, "usage": _usage(reply)}

    def _chunks(self, body: Tree, reply: Reply) -> list[Tree]:
        deltas: list[Tree] = [{"role": "assistant", "content": ""}]
        if reply.reasoning:
            deltas += [{self._dialect.reasoning: piece} for piece in _pieces(reply.reasoning)]
        deltas += [{"content": piece} for piece in _pieces(reply.content)]
        if reply.tool_call:
            deltas.append({"tool_calls": [{"index": 0, **reply.tool_call}]})
        envelope = self._envelope(body, "chat.completion.chunk")
        chunks = [
            {**envelope, "choices": [{"index": index, "delta": delta, "finish_reason": reason}]}
            for index in range(body.get("n") or 1)
            for delta, reason in [*((d, None) for d in deltas), ({}, reply.finish_reason)]
        ]
        if (body.get("stream_options") or {}).get("include_usage"):
            chunks.append({**envelope, "choices": [], "usage": _usage(reply)})
        return chunks


def _pieces(text: str) -> list[str]:
    """Cut a text as a tokenizer might: after each space."""
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:]


def _usage(reply: Reply) -> Tree:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }


@contextlib.asynccontextmanager
async def stand_in(
    dialect: Literal["vllm", "dashscope"],
    *,
    models: Mapping[str, Model] | None = None,
    key: str = "stand-in",
    port: int = 0,
) -> AsyncIterator[StandIn]:
    """Run a stand-in server on loopback; only DashScope's asks for the key.

    `models` are by name; without them, those that the shipped policies name.
    """
    server = StandIn(DIALECTS[dialect], models or SHIPPED[dialect], key)
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        await runner.cleanup()
