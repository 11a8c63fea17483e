"""Walking a sealed plan: what moves on, what ends it, and what the client is told."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, NamedTuple

import pytest
import pytest_asyncio

from tests.gateways import TARGETS, chunk, completion, gateway, user
from tests.scripted import DONE, Answer, HangUp, Reset, Send, Stall, scripted
from tests.serving.clients import Gate, asking, assert_error, finished, made, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.gateways import Running
    from tests.scripted import Scripted, Step

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Each target gives up early, and a plan of both has longer than the first of it.
HASTY = re.sub("first_token_s: 5, idle_s: 5", "first_token_s: 0.5, idle_s: 0.5", TARGETS)
HASTY = re.sub("total_s: 10", "total_s: 0.5", HASTY, count=1).replace("total_s: 10", "total_s: 1.2")
HEAD, OWN, PAID, ALIASES = re.split("(?=\n  own:|\n  paid:|\naliases:)", HASTY)
# Beside each target one that is like it, and whose address refuses connections.
CATALOG = "".join(
    (
        HEAD,
        OWN,
        OWN.replace("own:", "own-down:").replace("${OWN}", "http://127.0.0.1:9/v1"),
        PAID,
        PAID.replace("paid:", "paid-down:").replace("${PAID}", "http://127.0.0.1:9/v1"),
        ALIASES.replace("auto: {}", "auto: {only: [own, paid]}"),
        "  own-down-first: {only: [own-down, paid]}\n",
        "  paid-down-last: {only: [own, paid-down]}\n",
        "  all-down: {only: [own-down, paid-down]}\n",
    )
).replace("best: {", "best: {only: [own, paid], ")
GOOD = Answer.json(completion("Second."))
STREAM = Answer.stream(chunk({"content": "Second."}, finish="stop"), chunk(None), DONE)
WHOLE_FAULTS: dict[str, tuple[Answer | None, str]] = {
    "refused connection": (None, "unreachable"),
    "500": (Answer.error(500, {"error": {"message": "CANARY"}}), "broken"),
    "502 of a proxy": (Answer.body(502, b"<html>CANARY"), "broken"),
    "503": (Answer.error(503, {}), "full"),
    "429": (Answer.error(429, {}, headers={"Retry-After": "7"}), "throttled"),
    "our key is bad": (Answer.error(401, {"error": {"message": "CANARY"}}), "account"),
    "no such model": (Answer.error(404, {"error": {"message": "CANARY"}}), "catalog"),
    "too long there": (
        Answer.error(
            400, {"error": {"message": "maximum context length is 5", "param": "input_tokens"}}
        ),
        "too_long",
    ),
    "a redirect": (Answer.redirect("http://127.0.0.1:9/"), "lied"),
    "garbage": (Answer.body(200, b"CANARY"), "lied"),
    "an empty object": (Answer.json({}), "lied"),
    "no choices": (Answer.json(completion() | {"choices": []}), "lied"),
    "no HTTP": (Answer.raw(Send(b"CANARY\r\n\r\n"), HangUp()), "lied"),
    "half a head": (Answer.raw(Send(b"HTTP/1.1 200 OK\r\n"), HangUp()), "broken"),
    "a hang-up": (Answer.raw(HangUp()), "broken"),
    "a reset": (Answer.raw(Reset()), "broken"),
    "half a body": (Answer.json({}, headers={"Content-Length": "99"}, steps=[HangUp()]), "broken"),
    "silence": (Answer.raw(Stall()), "timeout"),
}


class Served(NamedTuple):
    """The gateway of this module and its two upstreams."""

    gateway: Running
    own: Scripted
    paid: Scripted


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everything(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Run one gateway for all tests of this module."""
    folder = tmp_path_factory.mktemp("walk")
    async with (
        scripted() as own,
        scripted() as paid,
        gateway(folder, own=own.url, paid=paid.url, policy={"targets": CATALOG}) as running,
    ):
        yield Served(running, own, paid)


@pytest_asyncio.fixture(loop_scope="module")
async def served(everything: Served) -> Served:
    """Forget what came before."""
    for server in (everything.own, everything.paid):
        server.script = [GOOD]
        server.requests.clear()
    return everything


def named(first: Answer | None, second: Answer | None) -> str:
    """Return the model whose plan is the first and the second target, down where None is."""
    if first is None:
        return "own-down-first" if second else "all-down"
    return "auto" if second else "paid-down-last"


@pytest.mark.parametrize("name", WHOLE_FAULTS)
async def test_a_failing_target_is_followed_by_the_next_of_the_plan(
    served: Served, name: str
) -> None:
    """However the first target fails, the second of the plan answers, and both are on record."""
    answer, fault = WHOLE_FAULTS[name]
    running = served.gateway
    served.own.script = [answer or GOOD]

    reply = await running.post(user("hi", model=named(answer, GOOD)))

    end = await finished(running, reply.headers["x-router-decision-id"])
    first = "own" if answer else "own-down"
    assert reply.json()["choices"][0]["message"]["content"] == "Second."
    assert reply.headers["x-router-target"] == "paid"
    assert [(a["target"], a["fault"]) for a in end["attempts"]] == [(first, fault), ("paid", None)]
    assert (end["outcome"], end["target"], end["sent_model"]) == ("served", "paid", "qwen3.7-max")
    assert "CANARY" not in json.dumps(running.records())


STREAM_FAULTS: dict[str, tuple[Answer, str]] = {
    "503": (Answer.error(503, {}), "full"),
    "silence": (Answer.raw(Stall()), "timeout"),
    "silence after the head": (Answer.packets(b": hi\n\n", steps=[Stall()]), "timeout"),
    "an error event first": (Answer.stream({"error": {"message": "CANARY"}}), "broken"),
    "a role, then an error event": (
        Answer.stream(
            chunk({"role": "assistant", "content": ""}),
            {"error": {"message": "CANARY", "code": 500}},
        ),
        "broken",
    ),
    "a role, then a hang-up": (
        Answer.stream(chunk({"role": "assistant", "content": ""}), steps=[HangUp()]),
        "broken",
    ),
    "a role, then silence": (
        Answer.stream(chunk({"role": "assistant", "content": ""}), steps=[Stall()]),
        "timeout",
    ),
    "nothing and an end": (Answer.stream(), "broken"),
    "nothing but DONE": (Answer.stream(DONE), "lied"),
    "no JSON": (Answer.stream("CANARY"), "lied"),
    "no stream": (GOOD, "lied"),
}


@pytest.mark.parametrize("name", STREAM_FAULTS)
async def test_before_the_commit_point_a_stream_moves_on(served: Served, name: str) -> None:
    """What fails before its first content is followed by the next, and none of it is passed on."""
    answer, fault = STREAM_FAULTS[name]
    served.own.script, served.paid.script = [answer], [STREAM]

    reply = await served.gateway.post(user("hi", stream=True))

    end = await finished(served.gateway, reply.headers["x-router-decision-id"])
    frames = reply.text.strip().split("\n\n")
    assert len(frames) == 2
    assert json.loads(frames[0].removeprefix("data: "))["model"] == "paid"
    assert frames[1] == f"data: {DONE}"
    assert reply.headers["x-router-target"] == "paid"
    assert [a["fault"] for a in end["attempts"]] == [fault, None]
    assert end["first_token_ms"] > 0


async def test_the_head_of_a_stream_waits_for_the_commit_point(served: Served) -> None:
    """No byte goes to the client before the first content; then everything held back does."""
    gate = Gate()
    role = Answer.stream(chunk({"role": "assistant", "content": ""}), steps=())
    served.own.script = [gate.after(role, then=Answer(STREAM.steps[1:]))]
    async with asking(served.gateway.url, user("hi", stream=True)) as client:
        await until(lambda: gate.waiting)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.reader.read(1)
        gate.open()
        told = await client.reader.readuntil(b"0\r\n\r\n")

    assert told.index(b"HTTP/1.1 200") < told.index(b'"role"') < told.index(b"Second.")


def packet(text: bytes) -> Send:
    """Return one SSE frame as a step, in HTTP's chunked coding."""
    return Send(b"%x\r\n%b\r\n" % (len(text), text))


BREAKS: dict[str, tuple[tuple[Step, ...], str, str]] = {
    "a hang-up": ((HangUp(),), "upstream_error", "broken"),
    "a reset": ((Reset(),), "upstream_error", "broken"),
    "silence": ((Stall(),), "upstream_timeout", "timeout"),
    "an error event": (
        (packet(b'data: {"error": {"message": "CANARY"}}\n\n'), Stall()),
        "upstream_error",
        "broken",
    ),
    "garbage": ((packet(b"data: CANARY\n\n"), Stall()), "upstream_error", "lied"),
}


@pytest.mark.parametrize("name", BREAKS)
async def test_a_stream_that_breaks_ends_with_an_error_event(served: Served, name: str) -> None:
    """After the commit point a failure is an error event without `[DONE]`; nobody else is asked."""
    steps, code, fault = BREAKS[name]
    running = served.gateway
    served.own.script = [Answer.stream(chunk({"content": "Hel"}), steps=steps)]

    reply = await running.post(user("hi", stream=True))

    decision_id = reply.headers["x-router-decision-id"]
    end = await finished(running, decision_id)
    first, second = reply.text.strip().split("\n\n")
    error = json.loads(second.removeprefix("data: "))["error"]
    assert "Hel" in first
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert decision_id in error["message"]
    assert DONE not in reply.text
    assert "CANARY" not in reply.text + json.dumps(running.records())
    assert (end["outcome"], end["code"], end["attempts"][0]["fault"]) == ("failed", code, fault)
    assert served.paid.requests == []


VAIN: dict[str, tuple[Answer | None, Answer | None, int, str]] = {
    "both are down": (None, None, 503, "no_capacity"),
    "both are full": (Answer.error(503, {}), Answer.error(429, {}), 503, "no_capacity"),
    "one is too short, one is down": (
        Answer.error(400, {"error": {"message": "maximum context length is 5"}}),
        None,
        503,
        "no_capacity",
    ),
    "both are silent": (Answer.raw(Stall()), Answer.raw(Stall()), 504, "upstream_timeout"),
    "one is silent, one is down": (Answer.raw(Stall()), None, 504, "upstream_timeout"),
    "both break": (Answer.error(500, {}), Answer.raw(HangUp()), 502, "upstream_error"),
    "one lies, one is down": (Answer.body(200, b"CANARY"), None, 502, "upstream_error"),
    "our account is dead": (
        None,
        Answer.error(400, {"error": {"code": "Arrearage", "message": "CANARY"}}),
        502,
        "upstream_error",
    ),
    "both are too short": (
        Answer.error(400, {"error": {"message": "maximum context length is 5"}}),
        Answer.error(
            400,
            {
                "error": {
                    "code": "invalid_parameter_error",
                    "message": "Range of input length should be [1, 5]",
                }
            },
        ),
        400,
        "context_length_exceeded",
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", VAIN)
async def test_a_plan_that_was_walked_in_vain(served: Served, name: str, stream: bool) -> None:
    """Where every target failed the answer says whether trying again can help."""
    first, second, status, code = VAIN[name]
    served.own.script, served.paid.script = [first or GOOD], [second or GOOD]

    reply = await served.gateway.post(user("hi", stream=stream, model=named(first, second)))

    end = await finished(served.gateway, reply.headers["x-router-decision-id"])
    kind = "invalid_request_error" if status == 400 else "server_error"
    assert_error(reply, status, kind, code)
    assert ("retry-after" in reply.headers) is (status == 503)
    assert reply.headers.get("x-should-retry") == ("false" if status in {502, 504} else None)
    assert "x-router-target" not in reply.headers
    assert "CANARY" not in reply.text
    assert (end["outcome"], end["http_status"], end["code"]) == ("failed", status, code)
    assert len(end["attempts"]) == 2


async def test_the_wait_that_an_upstream_asks_for_is_passed_on(served: Served) -> None:
    """Retry-After is the upstreams' own, at most a minute."""
    served.own.script = [Answer.error(429, {}, headers={"Retry-After": "17"})]
    served.paid.script = [Answer.error(503, {}, headers={"Retry-After": "4000"})]

    short = await served.gateway.post(user("hi", model="own"))
    long = await served.gateway.post(user("hi", model="paid"))

    assert short.headers["retry-after"] == "17"
    assert long.headers["retry-after"] == "60"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_callers_fault_is_told_to_the_caller_alone(served: Served, stream: bool) -> None:
    """A 400 for the caller's fault ends the walk; its words reach the caller and no record."""
    complaint = {"error": {"message": "top_p CANARY must be below 1", "type": "x", "code": 400}}
    served.own.script = [Answer.error(400, complaint)]

    reply = await served.gateway.post(user("hi", stream=stream))

    end = await finished(served.gateway, reply.headers["x-router-decision-id"])
    message = assert_error(reply, 400, "invalid_request_error", "invalid_request")
    assert "top_p CANARY must be below 1" in message
    assert served.paid.requests == []
    assert "CANARY" not in json.dumps(served.gateway.records())
    assert (end["outcome"], end["attempts"][0]["fault"]) == ("failed", "caller")


async def test_content_that_a_provider_refuses_is_tried_nowhere_else(served: Served) -> None:
    """A provider's inspection is final, and has a code of its own."""
    complaint = {"error": {"message": "inappropriate", "code": "data_inspection_failed"}}
    served.paid.script = [Answer.error(400, complaint)]

    reply = await served.gateway.post(user("hi", model="best"))

    assert_error(reply, 400, "invalid_request_error", "content_filter")
    assert served.own.requests == []


@pytest.mark.parametrize("stream", [False, True])
async def test_a_fall_to_a_lower_tier_is_told(served: Served, stream: bool) -> None:
    """An answer of a lower tier than was asked for says so, streaming or not."""
    served.own.script, served.paid.script = [STREAM if stream else GOOD], [Answer.error(503, {})]

    reply = await served.gateway.post(user("hi", model="best", stream=stream))

    assert reply.headers["x-router-target"] == "own"
    assert reply.headers["x-router-degraded"] == "tier"
    found = made(served.gateway, reply.headers["x-router-decision-id"])
    assert found["decision"]["degraded"] == []


async def test_the_record_of_a_served_request_says_what_it_took(served: Served) -> None:
    """Models asked, sent and served, tokens, list price and times are in the finish."""
    running = served.gateway
    served.paid.script = [Answer.json(completion(model="qwen3.7-max"))]

    reply = await running.post(user("hi", model="paid"), x_request_id="r-1")

    decision_id = reply.headers["x-router-decision-id"]
    end, begin = await finished(running, decision_id), made(running, decision_id)
    assert (begin["request_id"], begin["facts"]["request.model"]) == ("r-1", "paid")
    assert (end["sent_model"], end["served_model"]) == ("qwen3.7-max", "qwen3.7-max")
    assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"]) == (10, 5)
    assert float(end["cost_usd"]) == pytest.approx((10 * 2.5 + 5 * 7.5) / 1e6)
    assert end["finish_reason"] == "stop"
    assert end["duration_ms"] >= end["overhead_ms"] >= 0


async def test_an_upstreams_invented_words_are_in_no_record(served: Served) -> None:
    """What an upstream calls its model or its reason to stop is mapped to what we know."""
    told = completion(model="CANARY model")
    told["choices"][0]["finish_reason"] = "CANARY"
    served.own.script = [Answer.json(told)]

    reply = await served.gateway.post(user("hi"))

    end = await finished(served.gateway, reply.headers["x-router-decision-id"])
    assert (end["served_model"], end["finish_reason"]) == ("other", "other")
    assert reply.json()["choices"][0]["finish_reason"] == "CANARY"
