"""What of a request reaches an upstream, and what of an answer reaches the client."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import pytest_asyncio

from tests.gateways import PAID_KEY, TARGETS, chunk, completion, gateway, user
from tests.scripted import DONE, Answer, Scripted, scripted
from tests.serving.clients import assert_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateways import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAIN = user("hello")
OPTED_IN = TARGETS.replace(
    "    clearance: internal\n",
    "    clearance: internal\n    pass_fields: [enable_search, messages.partial]\n",
)


class Served(NamedTuple):
    """The gateway of this module and its two upstreams."""

    gateway: Running
    own: Scripted
    paid: Scripted


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Run one gateway for all tests of this module."""
    async with (
        scripted() as own,
        scripted() as paid,
        gateway(
            tmp_path_factory.mktemp("fields"),
            own=own.url,
            paid=paid.url,
            policy={"targets": OPTED_IN},
        ) as running,
    ):
        yield Served(running, own, paid)


@pytest_asyncio.fixture(loop_scope="module")
async def served(everything: Served) -> Served:
    """Give both upstreams a plain answer, and forget what came before."""
    for server in (everything.own, everything.paid):
        server.script = [Answer.json(completion())]
        server.requests.clear()
    return everything


FUNCTION = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "Schaut nach — 看一看 🔍",
        "parameters": {"type": "object", "properties": {"深": {"type": "integer"}}},
        "strict": None,
    },
}
# What vLLM takes as it is, by field.
TAKEN: dict[str, list[Any]] = {
    "frequency_penalty": [0.5, 1, 1.0, -2, None],
    "presence_penalty": [0, 0.0, None],
    "temperature": [0, 0.0, 1, 1.0, 1e-7, 0.1, 0.30000000000000004, None],
    "top_p": [1, 0.95],
    "logit_bias": [{"50256": -100, "1": 1.0}, {}, None],
    "logprobs": [True, False, None],
    "top_logprobs": [5, None],
    "n": [1, 2, None],
    "seed": [0, -1, 2**53 + 1, 2**63, 2**64, 10**30 + 7, None],
    "stop": ["\n", ["a", "结束", "\u2028", "\x00"], [], None],
    "tools": [[FUNCTION], None],
    "tool_choice": ["auto", "none", "required", {"type": "function", "function": {"name": "look"}}],
    "parallel_tool_calls": [True, False, None],
    "response_format": [
        {"type": "text"},
        {"type": "json_schema", "json_schema": {"name": "x", "schema": {"maximum": 2**70}}},
    ],
    "reasoning_effort": ["low"],
    "modalities": [["text"], None],
    "max_tokens": [7],
    "max_completion_tokens": [7],
}
CASES = [(name, value) for name, values in TAKEN.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES)
async def test_a_known_field_arrives_value_for_value(
    served: Served, name: str, value: object
) -> None:
    """Every known field arrives as it was sent: integers, fractions, nulls and any script."""
    reply = await served.gateway.post(PLAIN | {"model": "own", name: value})

    assert reply.status_code == 200, reply.text
    sent = served.own.requests[0].json
    # As text, because 1 == 1.0 == True in Python and not in JSON.
    assert json.dumps(sent[name]) == json.dumps(value)
    assert sent["messages"] == PLAIN["messages"]


MESSAGES: dict[str, list[dict[str, Any]]] = {
    "scripts": [{"role": "user", "content": 'naïve 😀 \u200b\u202e \x7f \\ " / é e\u0301 你好'}],
    "system and name": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": ""},
    ],
    "text parts": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]}
    ],
    "an image": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what?"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"},
                },
            ],
        }
    ],
    "tools in history": [
        {"role": "user", "content": "look"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"深": 12345678901234567890}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "found"},
    ],
}


@pytest.mark.parametrize("name", MESSAGES)
async def test_messages_arrive_value_for_value(served: Served, name: str) -> None:
    """Messages arrive as they were sent, key by key and null by null."""
    reply = await served.gateway.post({"model": "own", "messages": MESSAGES[name]})

    assert reply.status_code == 200, reply.text
    assert served.own.requests[0].json["messages"] == MESSAGES[name]


DROPPED = {
    "metadata": {"purpose": "eval"},
    "store": True,
    "user": "u-1",
    "safety_identifier": "s-1",
    "service_tier": "flex",
    "prediction": {"type": "content", "content": "x"},
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
}


@pytest.mark.parametrize("model", ["own", "paid"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_field_that_changes_no_answer_is_left_out(
    served: Served, model: str, stream: bool
) -> None:
    """Fields that a dialect may drop neither stop the request nor leave."""
    server = served.own if model == "own" else served.paid
    if stream:
        server.script = [Answer.stream(chunk({"content": "Hi"}, finish="stop"), DONE)]

    reply = await served.gateway.post(PLAIN | DROPPED | {"model": model, "stream": stream})

    assert reply.status_code == 200, reply.text
    assert not DROPPED.keys() & server.requests[0].json.keys()


async def test_a_null_is_no_field(served: Served) -> None:
    """A null for a field that a target does not take removes nothing and is not sent."""
    reply = await served.gateway.post(
        PLAIN | {"model": "paid", "frequency_penalty": None, "audio": None, "whatever": None}
    )

    assert reply.status_code == 200, reply.text
    sent = served.paid.requests[0].json
    assert not {"frequency_penalty", "audio", "whatever"} & sent.keys()


async def test_a_field_that_the_first_target_does_not_take_goes_to_another(
    served: Served,
) -> None:
    """A field removes the targets that do not take it, rather than being dropped in silence."""
    plain = await served.gateway.post(PLAIN | {"model": "best"})
    biased = await served.gateway.post(PLAIN | {"model": "best", "logit_bias": {"1": 2}})

    assert plain.headers["x-router-target"] == "paid"
    assert biased.headers["x-router-target"] == "own"
    assert biased.headers["x-router-degraded"] == "tier"
    assert "x-router-degraded" not in plain.headers
    assert served.own.requests[0].json["logit_bias"] == {"1": 2}


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("paid", {"frequency_penalty": 0.1}),
        ("auto", {"audio": {"voice": "x", "format": "wav"}}),
        ("own", {"enable_search": True}),
        ("own", {"kv_transfer_params": {"do_remote_decode": True}}),
        ("auto", {"chat_template": "{{ x }}"}),
        ("auto", {"chat_template_kwargs": {"add_generation_prompt": False}}),
        ("auto", {"guided_json": {}}),
    ],
)
async def test_a_field_that_no_target_takes_is_refused(
    served: Served, model: str, fields: dict[str, Any]
) -> None:
    """A field that no allowed target takes is a 400, and nothing is sent."""
    reply = await served.gateway.post(PLAIN | {"model": model} | fields)

    assert_error(reply, 400, "invalid_request_error", "unsupported_capability")
    assert served.own.requests == served.paid.requests == []


async def test_a_new_knob_is_opt_in_by_policy(served: Served) -> None:
    """What a target's `pass_fields` names reaches that target, at the top and in messages."""
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "y", "partial": True},
    ]

    reply = await served.gateway.post(
        {"model": "auto", "messages": messages, "enable_search": {"强": [1, 1.0, None]}}
    )

    assert reply.headers["x-router-target"] == "paid"
    assert served.paid.requests[0].json["messages"] == messages
    assert json.dumps(served.paid.requests[0].json["enable_search"]) == json.dumps(
        {"强": [1, 1.0, None]}
    )
    assert served.own.requests == []


async def test_a_duplicate_of_a_value_is_not_a_duplicate_key(served: Served) -> None:
    """White space, escapes and key order of the client do not matter."""
    raw = b'{ "messages" : [ {"content":"\\u4f60\\u597d \\/", "role":"user"} ],\n"model":"own" }'

    reply = await served.gateway.post(raw)

    assert reply.status_code == 200
    assert served.own.requests[0].json["messages"] == [{"role": "user", "content": "你好 /"}]


async def test_nothing_of_the_client_but_its_request_is_sent(served: Served) -> None:
    """No header of the client goes upstream; a paid target gets our key, our own gets none."""
    sent = {
        "cookie": "a=b",
        "authorization": "Bearer qr-shop-secret",
        "x-router-team-mood": "good",
        "x-api-key": "sk-client",
        "x-forwarded-for": "10.0.0.1",
        "traceparent": "00-1-2-03",
        "user-agent": "canary",
        "openai-organization": "org",
        "accept-language": "de",
    }
    for model in ("own", "paid"):
        await served.gateway.post(PLAIN | {"model": model}, **sent)

    expected = {"host", "user-agent", "accept", "accept-encoding", "content-type", "content-length"}
    ours, theirs = served.own.requests[0].headers, served.paid.requests[0].headers
    assert ours.keys() == expected
    assert theirs.keys() == expected | {"authorization"}
    assert theirs["authorization"] == f"Bearer {PAID_KEY}"
    assert ours["user-agent"] == "qwen-router"


@pytest.mark.parametrize("model", ["own", "paid"])
async def test_unknown_fields_of_an_answer_reach_the_client(served: Served, model: str) -> None:
    """What an upstream says beyond the schema passes; its headers do not."""
    told = completion(model="Qwen/Qwen3.6-27B") | {"x_new": {"a": [1, 1.0, None]}, "provider": "p"}
    told["choices"][0]["message"]["annotations"] = [{"type": "url_citation"}]
    told["choices"][0]["token_ids"] = [2**53 + 1]
    told["usage"]["prompt_tokens_details"] = {"cached_tokens": 3, "new": "n"}
    server = served.own if model == "own" else served.paid
    server.script = [
        Answer.json(told, headers={"X-Request-Id": "theirs", "Set-Cookie": "a=b", "Server": "s"})
    ]

    reply = await served.gateway.post(PLAIN | {"model": model})

    assert reply.json() == told | {"model": model}
    assert reply.headers["x-request-id"].startswith("req_")
    assert not {"set-cookie", "server"} & reply.headers.keys()


async def test_unknown_fields_of_a_stream_reach_the_client(served: Served) -> None:
    """What a chunk says beyond the schema passes; the model is named as the target."""
    first = chunk({"role": "assistant", "content": "", "x": 1}) | {"system_fingerprint": "f"}
    second = chunk({"content": "Hé 你", "novel": {"a": 1.0}})
    third = chunk({}, finish="stop")
    third["choices"][0]["stop_reason"] = 151645
    served.own.script = [Answer.stream(first, second, third, chunk(None), DONE)]

    reply = await served.gateway.post(
        PLAIN | {"model": "own", "stream": True, "stream_options": {"include_usage": True}}
    )

    frames = [frame.removeprefix("data: ") for frame in reply.text.strip().split("\n\n")]
    expected = [c | {"model": "own"} for c in (first, second, third, chunk(None))]
    assert [json.loads(frame) for frame in frames[:-1]] == expected
    assert frames[-1] == DONE
    assert reply.headers["content-type"].startswith("text/event-stream")


async def test_usage_is_always_asked_for_and_told_to_who_asked(served: Served) -> None:
    """Usage is asked for upstream in every stream, and the client gets it only where it asked."""
    served.own.script = [Answer.stream(chunk({"content": "Hi"}, finish="stop"), chunk(None), DONE)]

    without = await served.gateway.post(PLAIN | {"model": "own", "stream": True})
    with_it = await served.gateway.post(
        PLAIN | {"model": "own", "stream": True, "stream_options": {"include_usage": True}}
    )

    asked = [request.json["stream_options"] for request in served.own.requests]
    assert asked == [{"include_usage": True}, {"include_usage": True}]
    assert '"usage"' not in without.text
    assert '"choices":[],"usage":{' in with_it.text
    ids = [reply.headers["x-router-decision-id"] for reply in (without, with_it)]
    for decision_id in ids:
        found = (await served.gateway.get(f"/v1/decisions/{decision_id}")).json()
        assert found["finish"]["usage"]["input_tokens"] == 10


async def test_two_dialects_one_conversation(served: Served) -> None:
    """A history of reasoning and tool calls is replayed to either target in its own dialect."""
    served.own.script = [Answer.json(_thought("reasoning"))]
    served.paid.script = [Answer.json(_thought("reasoning_content"))]
    history: list[dict[str, Any]] = [{"role": "user", "content": "Look."}]

    for turn, model in enumerate(("own", "paid", "own", "paid")):
        reply = await served.gateway.post(
            {"model": model, "messages": history, "tools": [FUNCTION]}
        )
        assert reply.status_code == 200, reply.text
        said = reply.json()["choices"][0]["message"]
        assert said["reasoning_content"] == "Hm."
        assert "reasoning" not in said
        history += [said, {"role": "tool", "tool_call_id": "call_1", "content": f"found {turn}"}]

    to_own, to_paid = served.own.requests[-1].json, served.paid.requests[-1].json
    assert [m.get("reasoning") for m in to_own["messages"] if m["role"] == "assistant"] == [
        "Hm.",
        "Hm.",
    ]
    assert all("reasoning_content" not in message for message in to_own["messages"])
    assert [
        m.get("reasoning_content") for m in to_paid["messages"] if m["role"] == "assistant"
    ] == ["Hm.", "Hm.", "Hm."]
    assert all("reasoning" not in message for message in to_paid["messages"])
    calls = [m["tool_calls"] for m in to_paid["messages"] if m["role"] == "assistant"]
    assert calls == [_thought("x")["choices"][0]["message"]["tool_calls"]] * 3


def _thought(name: str) -> dict[str, Any]:
    told = completion()
    told["choices"][0]["message"] = {
        "role": "assistant",
        "content": None,
        name: "Hm.",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "look", "arguments": '{"深":1}'},
            }
        ],
    }
    return told
