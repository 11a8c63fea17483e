"""Providers that do not speak OpenAI, through litellm: against a loopback Anthropic Messages API.

The import takes seconds, so these tests share one process-wide import.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import aiohttp
import httpx
import pytest

from router.policy.dialects import LITELLM_PROVIDERS
from router.policy.targets import Credential
from router.upstreams.call import CallFailed, Fault, Usage
from router.upstreams.litellm import _within
from router.upstreams.litellm_door import PASSAGE, Door, Passage, litellm_available, load
from tests.scripted import DONE, Answer, HangUp, Scripted, Send, Stall, head, scripted
from tests.upstreams.calls import (
    USAGE,
    USAGE_CHUNK,
    call,
    capabilities,
    chunk,
    failure,
    streamed,
    target,
    with_deadlines,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from router.policy.targets import Target
    from router.upstreams.outlets import Upstreams

pytestmark = [
    pytest.mark.skipif(not litellm_available(), reason="the litellm extra is not installed"),
    pytest.mark.xdist_group("litellm"),
    # litellm turns this one off itself; pytest turns it on again.
    pytest.mark.filterwarnings("ignore:Item .* on TypedDict class:UserWarning"),
    # litellm reads every attribute of a chunk, the ones that pydantic is about to move too.
    pytest.mark.filterwarnings("ignore:Accessing the 'model_.*:DeprecationWarning"),
]

CANARY = "canary-51c2"
ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x-1",
    "content": [{"type": "text", "text": "hi there"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
TOOL_ANSWER = {
    **ANSWER,
    "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "杭州"}}],
    "stop_reason": "tool_use",
}
EVENTS: list[dict[str, Any]] = [
    {
        "type": "message_start",
        "message": {**ANSWER, "content": [], "usage": {"input_tokens": 3, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi "}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "there"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 2},
    },
    {"type": "message_stop"},
]
COMPLETION = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi there"},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
    "service_tier": "on_demand",
}
CHUNKS = [
    chunk({"role": "assistant", "content": "hi "}),
    chunk({"content": "there"}),
    chunk(finish_reason="stop"),
    USAGE_CHUNK,
    DONE,
]
GENERATED = {
    "candidates": [
        {
            "content": {"role": "model", "parts": [{"text": "hi there"}]},
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
}
OPENAI_SHAPED = ("/chat/completions", COMPLETION, Answer.stream(*CHUNKS))


def frames_of(events: list[dict[str, Any]]) -> list[bytes]:
    """Return the events as Anthropic frames them."""
    return [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


# What each provider let out is asked at, and answers: whole, and as a stream.
PROVIDERS: dict[str, tuple[str, Any, Answer]] = {
    "anthropic": ("/v1/messages", ANSWER, Answer.packets(*frames_of(EVENTS))),
    "gemini": ("/models/m-1:", GENERATED, Answer.stream(GENERATED)),
    "deepseek": OPENAI_SHAPED,
    "fireworks_ai": OPENAI_SHAPED,
    "groq": OPENAI_SHAPED,
    "mistral": OPENAI_SHAPED,
    "openrouter": OPENAI_SHAPED,
    "together_ai": OPENAI_SHAPED,
    "xai": OPENAI_SHAPED,
}


class Dialled:
    """What the process dialled and which names it looked up, as Python's audit events tell."""

    def __init__(self) -> None:
        self.watching = False
        self.seen: list[Any] = []

    def note(self, event: str, args: tuple[Any, ...]) -> None:
        """Note one audit event."""
        if not self.watching:
            return
        if event == "socket.connect":
            self.seen.append(args[1])
        elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
            self.seen.append(args[0])


# One for the process: a hook cannot be taken back.
DIALLED = Dialled()
sys.addaudithook(DIALLED.note)


@pytest.fixture
def dialled() -> Iterator[Dialled]:
    """Return what notes from now on everything that is dialled or looked up."""
    DIALLED.seen.clear()
    DIALLED.watching = True
    yield DIALLED
    DIALLED.watching = False


@pytest.fixture
def key(tmp_path: Path) -> Credential:
    """Return the provider's key, in a file."""
    (tmp_path / "key").write_text("key-1\n")
    return Credential(file=str(tmp_path / "key"))


def claude(server: Scripted, key: Credential, **changes: Any) -> Target:
    """Return a target on a provider that speaks Anthropic's API."""
    usual: dict[str, Any] = {
        "name": "claude",
        "location": "external",
        "upstream": "litellm",
        "model": "anthropic/claude-x",
        "api_key": key,
        "can": capabilities(thinking="never"),
    }
    return target(server.url.removesuffix("/v1"), **(usual | changes))


async def test_a_whole_answer_in_the_clients_dialect(upstreams: Upstreams, key: Credential) -> None:
    """A Messages answer becomes a completion; what is sent is Anthropic's, with its key."""
    async with scripted(Answer.json(ANSWER)) as server:
        to = claude(server, key)
        whole = await upstreams.of(to).whole(call(to, {"max_tokens": 50}))
        body = json.loads(whole.body)

        assert body["model"] == "auto"
        assert body["choices"][0]["message"]["content"] == "hi there"
        assert body["usage"]["prompt_tokens"] == 3
        assert whole.usage == Usage(input_tokens=3, output_tokens=2)
        assert whole.finish_reason == "stop"
        sent = server.requests[0]
        assert (sent.method, sent.path) == ("POST", "/v1/messages")
        assert sent.headers["x-api-key"] == "key-1"
        assert sent.headers["user-agent"] == "qwen-router"
        assert sent.headers["accept-encoding"] == "identity"
        assert sent.json["model"] == "claude-x"
        assert sent.json["max_tokens"] == 50
        assert dict(upstreams.contacts.external) == {"claude": 1}


async def test_a_tool_call_in_the_clients_dialect(upstreams: Upstreams, key: Credential) -> None:
    """A tool_use block becomes a tool call."""
    async with scripted(Answer.json(TOOL_ANSWER)) as server:
        to = claude(server, key)
        tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
        whole = await upstreams.of(to).whole(call(to, {"tools": tools}))
        function = json.loads(whole.body)["choices"][0]["message"]["tool_calls"][0]["function"]

        assert function["name"] == "weather"
        assert json.loads(function["arguments"]) == {"city": "杭州"}
        assert server.requests[0].json["tools"][0]["name"] == "weather"


@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream_in_the_clients_dialect(
    upstreams: Upstreams, key: Credential, asked: bool
) -> None:
    """Deltas become chunks; usage is one chunk with `choices: []`, where it was asked for."""
    async with scripted(Answer.packets(*frames_of(EVENTS))) as server:
        to = claude(server, key)
        body = {"stream": True, "stream_options": {"include_usage": asked}}
        events = await streamed(upstreams, call(to, body))

    sent = [event.frame for event in events if event.frame is not None]
    chunks = [json.loads(frame[6:]) for frame in sent[:-1]]
    text = "".join(c["delta"].get("content") or "" for k in chunks for c in k["choices"])
    usages = [k for k in chunks if "usage" in k]
    assert sent[-1] == b"data: [DONE]\n\n"
    assert text == "hi there"
    assert {k["model"] for k in chunks} == {"auto"}
    assert [u["choices"] for u in usages] == ([[]] if asked else [])
    assert [e.usage for e in events if e.usage][-1] == Usage(input_tokens=3, output_tokens=2)
    assert [e.finish_reason for e in events if e.finish_reason] == ["stop"]


ERRORS = [
    (400, "invalid_request_error", "messages: at least one", Fault.CALLER),
    (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", Fault.TOO_LONG),
    (401, "authentication_error", "invalid x-api-key", Fault.ACCOUNT),
    (403, "permission_error", "no", Fault.ACCOUNT),
    (404, "not_found_error", "model: claude-x", Fault.CATALOG),
    (413, "request_too_large", "too large", Fault.CALLER),
    (429, "rate_limit_error", "slow down", Fault.THROTTLED),
    (500, "api_error", "oops", Fault.BROKEN),
    (503, "api_error", "oops", Fault.FULL),
    (529, "overloaded_error", "Overloaded", Fault.FULL),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("status", "kind", "text", "expected"), ERRORS)
async def test_an_error_has_its_fault(
    upstreams: Upstreams,
    key: Credential,
    status: int,
    kind: str,
    text: str,
    expected: Fault,
    stream: bool,
) -> None:
    """The provider's status and kind decide, its own text is kept for the caller's faults only."""
    body = {"type": "error", "error": {"type": kind, "message": text}}
    script = Answer.error(status, body, headers={"Retry-After": "9"})
    async with scripted(script) as server:
        to = claude(server, key)
        seen = await failed(upstreams, to, stream=stream)

        assert (seen.fault, seen.status, seen.retry_after_s) == (expected, status, 9)
        told = expected in {Fault.CALLER, Fault.TOO_LONG}
        assert seen.message == (text if told else None)
        assert len(server.requests) == 1


async def failed(
    upstreams: Upstreams, to: Target, *, stream: bool = False, **rest: Any
) -> CallFailed:
    """Return how a plain call fails."""
    return await failure(upstreams, call(to, {"stream": stream}, **rest))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_redirect_is_not_followed(
    upstreams: Upstreams, key: Credential, stream: bool
) -> None:
    """Not by litellm's own clients either."""
    async with (
        scripted() as elsewhere,
        scripted(Answer.redirect(elsewhere.url)) as server,
    ):
        seen = await failed(upstreams, claude(server, key), stream=stream)

        assert seen.fault is Fault.LIED
        assert elsewhere.connections == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_a_removed_target_is_not_dialled(
    upstreams: Upstreams, key: Credential, stream: bool
) -> None:
    """The permit is asked under litellm as everywhere."""
    async with scripted() as server:
        seen = await failed(upstreams, claude(server, key), stream=stream, permit=lambda: False)

        assert seen.fault is Fault.REMOVED
        assert server.connections == 0


async def test_a_lost_connection_is_not_tried_again(upstreams: Upstreams, key: Credential) -> None:
    """Litellm makes a new client after a lost connection; it reaches nothing."""
    async with scripted(Answer.raw(HangUp())) as server:
        seen = await failed(upstreams, claude(server, key))

        assert seen.fault is Fault.BROKEN
        assert server.connections == 1


async def test_without_a_call_of_ours_litellm_reaches_nothing() -> None:
    """Its own clients, asynchronous and synchronous, lead nowhere, whoever makes them."""
    litellm = load()
    async with scripted(Answer.json(ANSWER)) as server:
        arguments = {
            "model": "anthropic/claude-x",
            "messages": [{"role": "user", "content": "x"}],
            "api_base": server.url.removesuffix("/v1"),
            "api_key": "k",
            "num_retries": 0,
        }
        with pytest.raises(Exception, match="removed"):
            await litellm.acompletion(**arguments)
        with pytest.raises(Exception, match="removed"):
            await asyncio.to_thread(litellm.completion, **arguments)
        with pytest.raises(Exception, match=r"removed|Connection"):
            await litellm.acompletion(**{**arguments, "model": "openai/gpt"})

        assert server.connections == 0


async def test_another_host_is_refused(upstreams: Upstreams, key: Credential) -> None:
    """Whatever address litellm makes up, only the target's own is dialled."""
    async with scripted() as elsewhere, scripted() as server:
        for url in (elsewhere.url, server.url.replace("127.0.0.1", "localhost")):
            token = PASSAGE.set(Passage(call(claude(server, key)), upstreams._transport))
            async with httpx.AsyncClient(transport=Door()) as client:
                with pytest.raises(CallFailed) as caught:
                    await client.post(url, json={})
                assert caught.value.fault is Fault.CATALOG
            PASSAGE.reset(token)

        assert (elsewhere.connections, server.connections) == (0, 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["anthropic", "gemini"])
async def test_media_is_not_fetched(
    upstreams: Upstreams, key: Credential, dialled: Dialled, provider: str, stream: bool
) -> None:
    """Litellm downloads a picture that a provider does not take by address; not through us.

    It does not look up its host either: a name can tell as much as a request.
    """
    async with scripted() as elsewhere, scripted(Answer.json(ANSWER)) as server:
        to = claude(server, key, model=f"{provider}/m-1")
        address = elsewhere.url.replace("127.0.0.1", "localhost") + "/a.png"
        part = {"type": "image_url", "image_url": {"url": address}}
        body = {"messages": [{"role": "user", "content": [part]}], "stream": stream}
        dialled.seen.clear()
        seen = await failure(upstreams, call(to, body))

        assert seen.fault is Fault.CALLER
        assert dialled.seen == []
        assert (elsewhere.connections, server.connections) == (0, 0)


def test_every_provider_let_out_is_shown() -> None:
    """The table of the next test is the list by which the loader judges."""
    assert PROVIDERS.keys() == LITELLM_PROVIDERS


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", sorted(PROVIDERS))
async def test_a_provider_makes_one_request_and_through_us(
    upstreams: Upstreams, key: Credential, dialled: Dialled, provider: str, stream: bool
) -> None:
    """One contact counted, one request seen, with the key, and nothing else dialled."""
    path, answer, events = PROVIDERS[provider]
    async with scripted(events if stream else Answer.json(answer)) as server:
        to = claude(server, key, model=f"{provider}/m-1")
        asked = call(to, {"stream": stream, "max_tokens": 50})
        dialled.seen.clear()
        if stream:
            told = await streamed(upstreams, asked)
            chunks = [json.loads(e.frame[6:]) for e in told[:-1] if e.frame is not None]
            text = "".join(c["delta"].get("content") or "" for k in chunks for c in k["choices"])
        else:
            whole = await upstreams.of(to).whole(asked)
            text = json.loads(whole.body)["choices"][0]["message"]["content"]

        assert text == "hi there"
        assert [path in request.path for request in server.requests] == [True]
        assert "key-1" in str(server.requests[0].headers)
        assert dict(upstreams.contacts.external) == {"claude": 1}
        port = httpx.URL(server.url).port
        assert set(dialled.seen) <= {("127.0.0.1", port)}
        assert server.connections == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_with_sessions_of_its_own_is_barred(
    upstreams: Upstreams, key: Credential, stream: bool
) -> None:
    """`aiohttp_openai` would dial past the transport: it fails, and nothing is dialled."""
    async with scripted(Answer.json(COMPLETION)) as server:
        to = claude(server, key, model="aiohttp_openai/m-1")
        seen = await failed(upstreams, to, stream=stream)

        assert seen.fault is Fault.CATALOG
        assert server.connections == 0


async def test_no_session_of_litellms_dials() -> None:
    """Its transport over aiohttp sends nothing, and its httpx clients get none of their own."""
    load()
    from litellm.llms.custom_httpx.aiohttp_transport import (  # noqa: PLC0415
        LiteLLMAiohttpTransport,
    )
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler  # noqa: PLC0415

    async with (
        scripted(Answer.json(COMPLETION)) as server,
        aiohttp.ClientSession() as session,
        httpx.AsyncClient(transport=LiteLLMAiohttpTransport(client=session)) as client,
    ):
        with pytest.raises(CallFailed):
            await client.get(server.url)
        with pytest.raises(CallFailed):
            AsyncHTTPHandler._create_async_transport()

        assert server.connections == 0


@pytest.fixture
def inventor() -> Iterator[str]:
    """Return a model of a provider that answers without asking anybody."""
    litellm: Any = load()

    class Inventor(litellm.CustomLLM):  # type: ignore[misc]
        async def acompletion(self, *_: Any, model_response: Any, **__: Any) -> Any:
            model_response.choices[0].message.content = "made up"
            return model_response

        async def astreaming(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
            piece = {"text": "made up", "is_finished": True, "finish_reason": "stop", "index": 0}
            yield {**piece, "tool_use": None, "usage": None}

    litellm.custom_provider_map = [{"provider": "inventor", "custom_handler": Inventor()}]
    yield "inventor/m-1"
    litellm.custom_provider_map = []
    litellm.provider_list.remove("inventor")
    litellm._custom_providers.remove("inventor")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_by_no_reply_of_ours_is_a_lie(
    upstreams: Upstreams, key: Credential, inventor: str, stream: bool
) -> None:
    """Whatever way an answer came that no request of ours brought, it is not given out."""
    async with scripted() as server:
        seen = await failed(upstreams, claude(server, key, model=inventor), stream=stream)

        assert seen.fault is Fault.LIED
        assert server.connections == 0


@pytest.mark.parametrize("first", [Answer.json(ANSWER), Answer.raw(HangUp())])
async def test_a_second_request_of_one_call_is_refused(
    upstreams: Upstreams, key: Credential, first: Answer
) -> None:
    """Also where the first one had no reply: it may have been worked on all the same."""
    async with scripted(first, Answer.json(ANSWER)) as server:
        passage = Passage(call(claude(server, key)), upstreams._transport)
        request = httpx.Request("POST", server.url, json={})
        with contextlib.suppress(CallFailed):
            await passage.open(request)
        with pytest.raises(CallFailed):
            await passage.open(request)
        passage.close()

        assert dict(upstreams.contacts.external) == {"claude": 1}
        assert server.connections == 1


async def test_a_stream_that_breaks_says_so(upstreams: Upstreams, key: Credential) -> None:
    """Litellm takes a lost connection for the end of the answer; we do not."""
    cut = Answer.packets(*frames_of(EVENTS[:3]), steps=[HangUp()])
    async with scripted(cut) as server:
        seen = await failed(upstreams, claude(server, key), stream=True)

        assert seen.fault is Fault.BROKEN


async def test_a_failure_that_litellm_swallows_is_still_one(
    upstreams: Upstreams, key: Credential
) -> None:
    """An end that follows a failure of ours is no end of an answer."""
    async with scripted() as server:
        passage = Passage(call(claude(server, key)), upstreams._transport)

        async def swallow() -> None:
            passage.failure = CallFailed(Fault.BROKEN)

        with pytest.raises(CallFailed):
            await _within(passage, swallow())


async def test_deadlines_hold_under_litellm(upstreams: Upstreams, key: Credential) -> None:
    """A stream that stalls after its first word ends at the idle deadline."""
    stalls = Answer.packets(*frames_of(EVENTS[:3]), steps=[Stall()])
    async with scripted(stalls) as server:
        to = with_deadlines(claude(server, key), idle_s=0.2)
        seen = await failed(upstreams, to, stream=True)

        assert seen.fault is Fault.TIMEOUT


@pytest.mark.parametrize("moment", ["head", "stream"])
async def test_a_cancelled_call_closes_its_connection(
    upstreams: Upstreams, key: Credential, moment: str
) -> None:
    """The provider sees the client go within a second."""
    script = {
        "head": Answer.raw(Stall()),
        "stream": Answer.packets(*frames_of(EVENTS[:3]), steps=[Stall()]),
    }[moment]
    async with scripted(script) as server:
        to = claude(server, key)
        task = asyncio.create_task(streamed(upstreams, call(to, {"stream": True})))
        await server.first()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await server.requests[0].gone(within_s=1)


async def test_half_an_answer_is_none(upstreams: Upstreams, key: Credential) -> None:
    """A body that breaks off, or is no JSON, is not an answer."""
    half = Answer.raw(Send(head(200, {"Content-Length": "99"}) + b"{"), HangUp())
    async with scripted(half, Answer.body(200, b"<html>")) as server:
        to = claude(server, key)
        first = await failed(upstreams, to)
        second = await failed(upstreams, to)

        assert first.fault is Fault.BROKEN
        assert second.fault in {Fault.BROKEN, Fault.LIED}


async def test_nothing_of_a_prompt_is_logged_or_printed(
    upstreams: Upstreams,
    key: Credential,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No answer and no error leaves a trace of the prompt, the key or the provider's text."""
    caplog.set_level(logging.DEBUG)
    errors = {"type": "error", "error": {"type": "api_error", "message": CANARY}}
    async with scripted(Answer.json(ANSWER), Answer.error(500, errors)) as server:
        to = claude(server, key)
        body = {"messages": [{"role": "user", "content": CANARY}]}
        await upstreams.of(to).whole(call(to, body))
        with pytest.raises(CallFailed) as caught:
            await upstreams.of(to).whole(call(to, body))
        await asyncio.sleep(0.1)

    printed = capfd.readouterr()
    for text in (caplog.text, printed.out, printed.err, repr(caught.value)):
        assert CANARY not in text
        assert "key-1" not in text
    assert caught.value.__context__ is None


async def test_the_clients_tree_is_not_changed(upstreams: Upstreams, key: Credential) -> None:
    """Litellm rewrites messages in place; ours are a copy."""
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    async with scripted(Answer.json(ANSWER)) as server:
        to = claude(server, key)
        asked = call(to, {"messages": messages})
        await upstreams.of(to).whole(asked)

        assert asked.chat.tree["messages"] == messages
