"""The stand-in models, through our own upstreams: both dialects, and what they refuse."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio

from router.cli.standin_answers import sample
from router.cli.standins import Model, stand_in
from router.policy.targets import Credential
from router.upstreams.call import Fault
from tests.upstreams.calls import call, capabilities, failure, streamed, target

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.cli.standins import StandIn
    from router.policy.targets import Target
    from router.upstreams.outlets import Upstreams

MODELS = {
    "seeing": Model(input=frozenset({"text", "image"})),
    "reading": Model(),
    "short": Model(context=50),
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["city", "days"],
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "kind": {"enum": ["a", "b"]}},
    "required": ["name", "kind"],
    "additionalProperties": False,
}


@pytest_asyncio.fixture(params=["vllm", "dashscope"])
async def served(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, StandIn]]:
    """Run a stand-in of each dialect, one at a time."""
    monkeypatch.setenv("STAND_IN_KEY", "stand-in")
    async with stand_in(request.param, models=MODELS) as server:
        yield request.param, server


def stood_in(served: tuple[str, StandIn], model: str = "reading") -> Target:
    """Return the target for one of the stand-ins' models."""
    dialect, server = served
    return target(
        server.url,
        upstream=dialect,
        model=model,
        api_key=Credential(env="STAND_IN_KEY"),
        can=capabilities(input=MODELS[model].input),
    )


async def asked(
    upstreams: Upstreams, to: Target, body: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Return the first choice's message and its finish reason."""
    whole = await upstreams.of(to).whole(call(to, body))
    tree = json.loads(whole.body)
    assert "stand-in" in tree["system_fingerprint"]
    return tree["choices"][0]["message"], tree["choices"][0]["finish_reason"]


async def test_an_answer_says_that_no_model_ran(
    upstreams: Upstreams, served: tuple[str, StandIn]
) -> None:
    """It names the model and the input tokens, and its reasoning has the client's name."""
    message, reason = await asked(upstreams, stood_in(served), {})

    assert message["content"].startswith("This is a stand-in for reading: no real model ran.")
    assert "input tokens" in message["content"]
    assert "no real model ran" in message["reasoning_content"]
    assert reason == "stop"


async def test_thinking_can_be_switched_off(
    upstreams: Upstreams, served: tuple[str, StandIn]
) -> None:
    """Each dialect by its own switch."""
    message, _ = await asked(upstreams, stood_in(served), {"enable_thinking": False})

    assert "reasoning_content" not in message


async def test_a_stream_says_the_same(upstreams: Upstreams, served: tuple[str, StandIn]) -> None:
    """The pieces make the whole, with usage at the end."""
    to = stood_in(served)
    whole, _ = await asked(upstreams, to, {})
    events = await streamed(upstreams, call(to, {"stream": True}))
    frames = [json.loads(e.frame[6:]) for e in events if e.frame and b"[DONE]" not in e.frame]
    deltas = [choice["delta"] for frame in frames for choice in frame["choices"]]

    assert "".join(d.get("content") or "" for d in deltas) == whole["content"]
    assert "".join(d.get("reasoning_content") or "" for d in deltas) == whole["reasoning_content"]
    assert all(e.usage.input_tokens > 0 for e in events if e.usage)
    assert any(e.usage for e in events)
    assert events[-1].frame == b"data: [DONE]\n\n"


async def test_a_tool_is_called_with_fitting_arguments(
    upstreams: Upstreams, served: tuple[str, StandIn]
) -> None:
    """The first tool, once: with its result there, the answer is text."""
    to = stood_in(served)
    message, reason = await asked(upstreams, to, {"tools": [TOOL]})
    called = message["tool_calls"][0]
    arguments = json.loads(called["function"]["arguments"])
    history = [
        {"role": "user", "content": "hello"},
        message,
        {"role": "tool", "tool_call_id": called["id"], "content": "18 °C"},
    ]
    then, reason_then = await asked(upstreams, to, {"tools": [TOOL], "messages": history})

    assert called["function"]["name"] == "weather"
    assert arguments.keys() == {"city", "days"}
    assert "stand-in" in arguments["city"]
    assert arguments["days"] == 1
    assert (reason, reason_then) == ("tool_calls", "stop")
    assert "tool_calls" not in then


async def test_json_satisfies_its_schema(upstreams: Upstreams, served: tuple[str, StandIn]) -> None:
    """And still says that it is a stand-in."""
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    message, _ = await asked(upstreams, stood_in(served), {"response_format": wanted})

    given = json.loads(message["content"])
    assert given.keys() == {"name", "kind"}
    assert "stand-in" in given["name"]
    assert given["kind"] == "a"


async def test_json_without_a_schema_is_an_object(
    upstreams: Upstreams, served: tuple[str, StandIn]
) -> None:
    """With the word json in the conversation."""
    body = {
        "messages": [{"role": "user", "content": "json, please"}],
        "response_format": {"type": "json_object"},
    }
    message, _ = await asked(upstreams, stood_in(served), body)

    assert "stand-in" in json.loads(message["content"])["stand_in"]


async def test_what_is_too_long_is_refused(
    upstreams: Upstreams, served: tuple[str, StandIn]
) -> None:
    """In the dialect's own words, which our upstream understands."""
    long = {"messages": [{"role": "user", "content": "word " * 100}]}
    failed = await failure(upstreams, call(stood_in(served, "short"), long))

    assert failed.fault is Fault.TOO_LONG


async def test_a_picture_for_a_reader_is_refused(upstreams: Upstreams) -> None:
    """As vLLM does; DashScope's upstream sends a text-only model no lists at all."""
    part = {"type": "image_url", "image_url": {"url": "data:,"}}
    async with stand_in("vllm", models=MODELS) as server:
        to = target(server.url, model="reading")
        asked_for = call(to, {"messages": [{"role": "user", "content": [part]}]})
        failed = await failure(upstreams, asked_for)

    assert failed.fault is Fault.CALLER


@pytest.mark.parametrize("name", ["model", "key"])
async def test_a_wrong_model_and_a_wrong_key_are_ours(
    upstreams: Upstreams,
    served: tuple[str, StandIn],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """A catalog that is wrong, and an account that is; vLLM's stand-in asks for no key."""
    dialect, server = served
    if name == "key":
        monkeypatch.setenv("STAND_IN_KEY", "wrong")
    to = target(
        server.url,
        upstream=dialect,
        model="none" if name == "model" else "reading",
        api_key=Credential(env="STAND_IN_KEY"),
    )
    if (name, dialect) == ("key", "vllm"):
        await upstreams.of(to).whole(call(to))
        return
    failed = await failure(upstreams, call(to))

    assert failed.fault is (Fault.CATALOG if name == "model" else Fault.ACCOUNT)


REFUSED_BY_DASHSCOPE: dict[str, dict[str, Any]] = {
    "developer role": {"messages": [{"role": "developer", "content": "x"}]},
    "tool_choice required": {"tools": [TOOL], "tool_choice": "required"},
    "a named tool while thinking": {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
    },
    "list content on a text-only model": {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    },
    "json without the word": {
        "response_format": {"type": "json_object"},
        "enable_thinking": False,
    },
    "json while thinking": {
        "messages": [{"role": "user", "content": "json"}],
        "response_format": {"type": "json_object"},
    },
    "stream_options without stream": {"stream_options": {"include_usage": True}},
    "no messages": {"messages": []},
}


@pytest.mark.parametrize("case", REFUSED_BY_DASHSCOPE)
async def test_dashscopes_refusals(case: str) -> None:
    """What the provider refuses, its stand-in refuses, in the provider's shape."""
    usual = {"model": "reading", "messages": [{"role": "user", "content": "hello"}]}
    async with (
        stand_in("dashscope", models=MODELS, key="k") as server,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        answer = await client.post(
            server.url + "/chat/completions",
            json=usual | REFUSED_BY_DASHSCOPE[case],
            headers={"Authorization": "Bearer k"},
        )

    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"code", "message", "param", "type"}
    assert answer.json()["request_id"]


async def test_the_shipped_models_are_there() -> None:
    """Without a list of its own, a stand-in serves what the shipped policies name."""
    async with stand_in("dashscope") as server, httpx.AsyncClient(trust_env=False) as client:
        models = (await client.get(server.url + "/models")).json()["data"]

    assert "qwen3.7-max" in [model["id"] for model in models]


async def test_models_and_health() -> None:
    """What a probe asks for."""
    async with (
        stand_in("vllm", models=MODELS) as server,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        models = await client.get(server.url + "/models")
        health = await client.get(server.url.removesuffix("/v1") + "/health")

    assert [model["id"] for model in models.json()["data"]] == list(MODELS)
    assert health.status_code == 200


NESTED = {"$defs": {"a": {"type": "boolean"}}, "properties": {"x": {"$ref": "#/$defs/a"}}}
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "a stand-in"),
        ({"type": "string", "minLength": 12}, "a stand-in.."),
        ({"type": "string", "maxLength": 3}, "a s"),
        ({"type": "integer"}, 0),
        ({"type": "integer", "minimum": 7}, 7),
        ({"type": "number", "exclusiveMinimum": 7}, 8),
        ({"type": "integer", "maximum": -7}, -7),
        ({"type": "integer", "exclusiveMaximum": -7}, -8),
        ({"type": "boolean"}, False),
        ({"type": "null"}, None),
        ({"type": ["integer", "null"]}, 0),
        ({"const": {"a": 1}}, {"a": 1}),
        ({"enum": [3]}, 3),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 3}, [0, 0, 0]),
        ({"type": "array", "maxItems": 0}, []),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, False),
        (NESTED, {"x": False}),
        ({"$defs": {"node": NODE}, "$ref": "#/$defs/node"}, {}),
        (SCHEMA, {"name": "a stand-in", "kind": "a"}),
    ],
)
def test_a_sample_satisfies_its_schema(schema: dict[str, Any], expected: Any) -> None:
    """For the keywords that clients use, recursion included."""
    assert sample(schema, "a stand-in") == expected
