"""The OpenAI SDK, unchanged, against a gateway over the stand-ins: base_url, key and model."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from router.cli.standins import stand_in
from tests.gateways import KEYS, PAID_KEY, completion, gateway
from tests.scripted import Answer, scripted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.gateways import Running

PREMIUM = {"x-router-tier": "premium"}
QUESTION: Any = [{"role": "user", "content": "What is the weather in 杭州?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA"
    "60e6kgAAAABJRU5ErkJggg=="
)


class Weather(BaseModel):
    """What a parsed answer must be."""

    city: str
    degrees: int
    rain: bool


@contextlib.asynccontextmanager
async def over_stand_ins(folder: Path) -> AsyncIterator[Running]:
    """Run a gateway with keys over both stand-ins."""
    async with (
        stand_in("vllm") as own,
        stand_in("dashscope", key=PAID_KEY) as paid,
        gateway(folder, own=own.url, paid=paid.url, auth="on") as running,
    ):
        yield running


@contextlib.asynccontextmanager
async def sdk(running: Running, key: str = "shop", **how: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """Return the asynchronous client of one key."""
    async with openai.AsyncOpenAI(
        base_url=f"{running.url}/v1",
        api_key=KEYS.get(key, key),
        http_client=httpx.AsyncClient(trust_env=False),
        **how,
    ) as client:
        yield client


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """Run a gateway with keys over both stand-ins."""
    async with over_stand_ins(tmp_path) as running:
        yield running


@pytest.fixture
async def client(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    """Return the client of the key `shop`."""
    async with sdk(running) as client:
        yield client


async def test_the_synchronous_client(running: Running) -> None:
    """A plain answer and a stream, with the client that most programs use."""

    def ask() -> tuple[str | None, str]:
        with openai.OpenAI(
            base_url=f"{running.url}/v1",
            api_key=KEYS["shop"],
            http_client=httpx.Client(trust_env=False),
        ) as client:
            whole = client.chat.completions.create(model="auto", messages=QUESTION)
            stream = client.chat.completions.create(model="auto", messages=QUESTION, stream=True)
            pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
            return whole.choices[0].message.content, "".join(pieces)

    whole, streamed = await asyncio.to_thread(ask)

    assert whole == streamed
    assert whole is not None
    assert whole.startswith("This is a stand-in for Qwen/Qwen3.6-27B")


@pytest.mark.parametrize(("headers", "target"), [({}, "own"), (PREMIUM, "paid")])
async def test_a_plain_answer(client: openai.AsyncOpenAI, headers: Any, target: str) -> None:
    """The answer, its usage, and who gave it: in `model` and in the headers."""
    raw = await client.chat.completions.with_raw_response.create(
        model="auto", messages=QUESTION, extra_headers=headers
    )
    answer = raw.parse()

    assert answer.model == raw.headers["x-router-target"] == target
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.system_fingerprint == "stand-in: no real model ran"
    assert raw.headers["x-router-decision-id"].startswith("dec_")
    assert raw.headers["x-router-label"] == "internal"
    assert answer._request_id == raw.headers["x-request-id"]


@pytest.mark.parametrize("headers", [{}, PREMIUM])
@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream(client: openai.AsyncOpenAI, headers: Any, *, asked: bool) -> None:
    """Chunks as the SDK reads them; a usage chunk only where it was asked for, and then last."""
    options: Any = {"stream_options": {"include_usage": True}} if asked else {}
    stream = await client.chat.completions.create(
        model="auto", messages=QUESTION, stream=True, extra_headers=headers, **options
    )
    chunks = [chunk async for chunk in stream]
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    told = [chunk for chunk in chunks if chunk.choices]

    assert "".join(c.choices[0].delta.content or "" for c in told).startswith("This is a stand-in")
    assert told[-1].choices[0].finish_reason == "stop"
    assert {chunk.model for chunk in chunks} == {"paid" if headers else "own"}
    assert len(usages) == int(asked)
    assert (chunks[-1].choices == []) is asked


async def test_a_conversation_with_tools_that_alternates(client: openai.AsyncOpenAI) -> None:
    """Own → paid → own in one conversation: calls, results and reasoning are understood by both."""
    messages: list[Any] = list(QUESTION)
    targets = []
    for turn, headers in enumerate(({}, PREMIUM, {}, PREMIUM)):
        raw = await client.chat.completions.with_raw_response.create(
            model="auto",
            messages=messages,
            tools=[WEATHER],
            extra_headers=headers,
            extra_body={"enable_thinking": True},
        )
        targets.append(raw.headers["x-router-target"])
        message = raw.parse().choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        if turn % 2:
            assert not message.tool_calls
            messages.append({"role": "user", "content": "And tomorrow?"})
            continue
        assert message.tool_calls is not None
        (call,) = message.tool_calls
        assert call.type == "function"
        assert call.function.name == "weather"
        messages.append({"role": "tool", "tool_call_id": call.id, "content": '{"degrees": 21}'})

    assert targets == ["own", "paid", "own", "paid"]
    assert all(m["reasoning_content"] for m in messages if m["role"] == "assistant")


@pytest.mark.parametrize("headers", [{}, PREMIUM])
async def test_a_streamed_tool_call(client: openai.AsyncOpenAI, headers: Any) -> None:
    """The SDK's own accumulator puts the call together."""
    async with client.chat.completions.stream(
        model="auto", messages=QUESTION, tools=[WEATHER], extra_headers=headers
    ) as stream:
        final = await stream.get_final_completion()
    (call,) = list(final.choices[0].message.tool_calls or ())

    assert final.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert "city" in call.function.arguments


async def test_a_parsed_answer(client: openai.AsyncOpenAI) -> None:
    """`json_schema` from a pydantic model, parsed back into it; only our own target takes it."""
    answer = await client.chat.completions.parse(
        model="auto", messages=QUESTION, response_format=Weather, extra_headers=PREMIUM
    )

    assert isinstance(answer.choices[0].message.parsed, Weather)
    assert answer.model == "own"


async def test_a_json_object(client: openai.AsyncOpenAI) -> None:
    """`json_object` at the paid API, which refuses it while thinking: so it does not think."""
    answer = await client.chat.completions.create(
        model="best",
        messages=[{"role": "user", "content": "Answer in JSON."}],
        response_format={"type": "json_object"},
    )

    assert answer.model == "paid"
    assert (answer.choices[0].message.content or "").startswith('{"stand_in": ')


async def test_an_image(client: openai.AsyncOpenAI) -> None:
    """A data URL is media: labelled restricted here, so it stays at home whatever is wished."""
    parts: Any = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    raw = await client.chat.completions.with_raw_response.create(
        model="best", messages=[{"role": "user", "content": parts}]
    )

    assert raw.parse().model == "own"
    assert raw.headers["x-router-label"] == "restricted"
    assert raw.headers["x-router-degraded"] == "tier"


@pytest.mark.parametrize("headers", [{}, PREMIUM])
@pytest.mark.parametrize("thinks", [True, False])
async def test_thinking(client: openai.AsyncOpenAI, headers: Any, *, thinks: bool) -> None:
    """One switch and one name for the reasoning, whichever dialect answers, in either mode."""
    how: Any = {"extra_headers": headers, "extra_body": {"enable_thinking": thinks}}
    whole = await client.chat.completions.create(model="auto", messages=QUESTION, **how)
    stream = await client.chat.completions.create(
        model="auto", messages=QUESTION, stream=True, **how
    )
    deltas = [chunk.choices[0].delta.model_extra or {} async for chunk in stream if chunk.choices]
    streamed = "".join(delta.get("reasoning_content") or "" for delta in deltas)
    message = whole.choices[0].message.model_extra or {}

    assert message.get("reasoning_content") == (streamed or None)
    assert bool(streamed) is thinks
    assert "reasoning" not in message


async def test_the_list_of_models(running: Running, client: openai.AsyncOpenAI) -> None:
    """A key sees what it may put in `model`, and can look one up."""
    every = [model.id async for model in client.models.list()]
    async with sdk(running, "ci") as other:
        some = [model.id async for model in other.models.list()]
        with pytest.raises(openai.NotFoundError):
            await other.models.retrieve("paid")

    assert every == ["auto", "best", "own-only", "own", "paid"]
    assert some == ["auto", "own"]
    assert (await client.models.retrieve("paid")).owned_by == "qwen-router"


async def test_each_error_is_the_sdks_own_class(running: Running) -> None:
    """Status and body make the SDK raise what its users catch, with code and param."""
    audio: Any = [{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}]
    sound: Any = [{"role": "user", "content": audio}]
    cases: list[tuple[str, type[openai.APIStatusError], str, dict[str, Any]]] = [
        ("sk-wrong", openai.AuthenticationError, "invalid_api_key", {}),
        ("shop", openai.NotFoundError, "model_not_found", {"model": "gpt-5"}),
        ("ci", openai.NotFoundError, "model_not_found", {"model": "paid"}),
        ("hr", openai.PermissionDeniedError, "policy_refused", {"model": "paid"}),
        ("shop", openai.BadRequestError, "unsupported_capability", {"messages": sound}),
        ("shop", openai.BadRequestError, "invalid_request", {"temperature": "hot"}),
        ("shop", openai.BadRequestError, "invalid_request", {"extra_body": {"fallbacks": []}}),
    ]
    for key, kind, code, fields in cases:
        async with sdk(running, key) as client:
            with pytest.raises(kind) as raised:
                await client.chat.completions.create(
                    **({"model": "auto", "messages": QUESTION} | fields)
                )
        assert raised.value.code == code
        assert raised.value.request_id is not None


async def test_the_sdk_does_not_repeat_what_we_have_tried(tmp_path: Path) -> None:
    """A 502 says that trying again is no use: one request of the SDK's, and no more upstream."""
    broken = Answer.error(500, {"error": {"message": "no"}})
    async with scripted(broken) as own, gateway(tmp_path, own=own.url) as running:
        async with sdk(running, max_retries=2) as client:
            with pytest.raises(openai.InternalServerError) as raised:
                await client.chat.completions.create(model="own", messages=QUESTION)
        made = [r for r in await running.settled() if r["event"] == "decision.made"]

        assert raised.value.status_code == 502
        assert raised.value.response.headers["x-should-retry"] == "false"
        assert len(made) == 1
        assert len(own.requests) == 1


async def test_the_sdk_waits_as_it_is_asked(tmp_path: Path) -> None:
    """A full target is worth another try: the SDK comes back after Retry-After, and is served."""
    full = Answer.error(503, {}, headers={"Retry-After": "0"})
    async with (
        scripted(full, Answer.json(completion())) as own,
        gateway(tmp_path, own=own.url) as running,
        sdk(running, max_retries=2) as client,
    ):
        answer = await client.chat.completions.create(model="own", messages=QUESTION)

        assert answer.choices[0].message.content == "Hello."
        assert len(own.requests) == 2


async def test_a_stream_that_breaks_is_an_error_of_the_sdk(tmp_path: Path) -> None:
    """After the commit point the failure comes as an event, which the SDK raises."""
    began = {"choices": [{"index": 0, "delta": {"content": "Once "}}], "id": "1", "model": "x"}
    async with (
        scripted(Answer.stream(began, {"error": {"message": "no", "code": 500}})) as own,
        gateway(tmp_path, own=own.url) as running,
        sdk(running) as client,
    ):
        stream = await client.chat.completions.create(model="own", messages=QUESTION, stream=True)
        pieces = []

        async def read() -> None:
            async for chunk in stream:
                pieces.append(chunk.choices[0].delta.content)  # noqa: PERF401 - it raises

        with pytest.raises(openai.APIError) as raised:
            await read()

        assert pieces == ["Once "]
        assert raised.value.code == "upstream_error"
