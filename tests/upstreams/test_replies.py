"""What the client reads: one dialect, whoever answered; on the wire and by itself."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.upstreams.call import CallFailed, Fault, Usage
from router.upstreams.replies import Chunks, usage_of, whole_of
from router.upstreams.sse import Events
from router.upstreams.vllm import judge
from tests.scripted import DONE, Answer, HangUp, Reset, Stall, scripted
from tests.upstreams.calls import (
    USAGE,
    USAGE_CHUNK,
    answer,
    call,
    chunk,
    streamed,
    target,
)

if TYPE_CHECKING:
    from router.upstreams.call import Event
    from router.upstreams.outlets import Upstreams

CONTENT = chunk({"content": "hi"})
END = chunk(finish_reason="stop")


def frames(events: list[Event]) -> list[Any]:
    """Return what the client gets: chunks as JSON, [DONE] as text."""
    sent = []
    for event in events:
        if event.frame is None:
            continue
        assert event.frame.startswith(b"data: ")
        assert event.frame.endswith(b"\n\n")
        assert event.frame.count(b"\n") == 2
        text = event.frame[6:-2]
        sent.append(DONE if text == b"[DONE]" else json.loads(text))
    return sent


def as_read(body: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk as the client reads it."""
    return {**body, "model": "auto"}


async def relayed(
    upstreams: Upstreams, script: Answer, body: dict[str, Any] | None = None
) -> list[Event]:
    """Return the events of a stream that a script gives."""
    async with scripted(script) as server:
        asked = call(target(server.url), {"stream": True, **(body or {})})
        return await streamed(upstreams, asked)


async def broken(upstreams: Upstreams, script: Answer) -> tuple[list[Event], CallFailed]:
    """Return what a stream gave before it failed, and how it failed."""
    events = []
    async with scripted(script) as server:
        asked = call(target(server.url), {"stream": True})
        try:
            async for event in upstreams.of(asked.target).stream(asked):
                events.append(event)  # noqa: PERF401 - what came before the failure counts
        except CallFailed as failure:
            return events, failure
    pytest.fail("the stream ended as if it were whole")


async def test_a_whole_answer_names_our_model_and_keeps_the_rest(upstreams: Upstreams) -> None:
    """Only the model's name changes; fields that nobody knows pass through."""
    given_answer = answer(
        prompt_logprobs=None, kv_transfer_params={"a": 1.5}, system_fingerprint="f"
    )
    async with scripted(Answer.json(given_answer)) as server:
        whole = await upstreams.of(target(server.url)).whole(call(target(server.url)))

    assert json.loads(whole.body) == {**given_answer, "model": "auto"}
    assert whole.served_model == "Qwen/Qwen3.6-27B"
    assert whole.finish_reason == "stop"
    assert whole.usage == Usage(input_tokens=3, output_tokens=2)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"reasoning": "why"}, {"reasoning_content": "why"}),
        ({"reasoning": None}, {"reasoning_content": None}),
        ({"reasoning_content": "why"}, {"reasoning_content": "why"}),
        ({"reasoning": "b", "reasoning_content": "a"}, {"reasoning_content": "a"}),
        ({"content": "x"}, {"content": "x"}),
    ],
)
def test_reasoning_has_one_name(message: dict[str, Any], expected: dict[str, Any]) -> None:
    """In messages and in deltas, the client reads `reasoning_content`."""
    whole = whole_of({"choices": [{"message": dict(message)}]}, "auto")
    event = _chunks().chunk(chunk(dict(message)))

    assert json.loads(whole.body)["choices"][0]["message"] == expected
    assert frames([event])[0]["choices"][0]["delta"] == expected


def _chunks(body: dict[str, Any] | None = None) -> Chunks:
    return Chunks(call(target("http://127.0.0.1:1"), {"stream": True, **(body or {})}), judge)


async def test_a_stream_is_relayed_frame_by_frame(upstreams: Upstreams) -> None:
    """Each chunk becomes one frame; usage is read and, unasked, not sent on."""
    role = chunk({"role": "assistant", "content": ""})
    events = await relayed(upstreams, Answer.stream(role, CONTENT, END, USAGE_CHUNK, DONE))

    assert frames(events) == [as_read(role), as_read(CONTENT), as_read(END), DONE]
    assert [event.commits for event in events] == [False, True, True, False, True]
    assert [event.usage for event in events if event.usage] == [
        Usage(input_tokens=3, output_tokens=2)
    ]
    assert [event.finish_reason for event in events if event.finish_reason] == ["stop"]
    assert events[0].served_model == "Qwen/Qwen3.6-27B"


async def test_usage_that_was_asked_for_is_one_chunk_without_choices(upstreams: Upstreams) -> None:
    """The client gets it once, with `choices: []`."""
    events = await relayed(
        upstreams,
        Answer.stream(CONTENT, END, USAGE_CHUNK, DONE),
        {"stream_options": {"include_usage": True}},
    )

    assert frames(events)[-2:] == [as_read(USAGE_CHUNK), DONE]


@pytest.mark.parametrize("asked", [True, False])
async def test_usage_on_ordinary_chunks_is_taken_off(upstreams: Upstreams, asked: bool) -> None:
    """A server that tells usage with its text gets it moved to the end, or out."""
    some = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    events = await relayed(
        upstreams,
        Answer.stream({**CONTENT, "usage": some}, {**END, "usage": USAGE}, DONE),
        {"stream_options": {"include_usage": asked}},
    )
    sent = frames(events)

    assert sent[:2] == [as_read(CONTENT), as_read(END)]
    assert sent[2:] == ([as_read(USAGE_CHUNK), DONE] if asked else [DONE])
    assert [event.usage for event in events if event.usage][-1] == Usage(
        input_tokens=3, output_tokens=2
    )


async def test_an_empty_usage_is_left_out(upstreams: Upstreams) -> None:
    """`usage: null` on every chunk is noise."""
    events = await relayed(
        upstreams, Answer.stream({**CONTENT, "usage": None}, {**END, "usage": None}, DONE)
    )

    assert frames(events) == [as_read(CONTENT), as_read(END), DONE]


async def test_a_chunk_without_choices_that_is_no_usage_passes(upstreams: Upstreams) -> None:
    """What is not known here is the client's business."""
    filters = {**chunk(), "choices": [], "prompt_filter_results": [{"a": 1}]}
    events = await relayed(upstreams, Answer.stream(filters, CONTENT, END, DONE))

    assert frames(events)[0] == as_read(filters)
    assert not events[0].commits


async def test_comments_ids_and_event_names_are_not_relayed(upstreams: Upstreams) -> None:
    """The SDKs choke on them."""
    body = (
        b": keep-alive\n\nid: 1\nevent: message\ndata: %b\n\n: x\n\n" % json.dumps(CONTENT).encode()
    )
    events = await relayed(
        upstreams, Answer.packets(body, b"data: " + json.dumps(END).encode() + b"\n\n")
    )

    assert frames(events) == [as_read(CONTENT), as_read(END)]


@pytest.mark.parametrize(
    ("delta", "commits"),
    [
        ({"content": "a"}, True),
        ({"reasoning": "a"}, True),
        ({"reasoning_content": "a"}, True),
        ({"refusal": "a"}, True),
        ({"tool_calls": [{"index": 0}]}, True),
        ({"function_call": {"name": "f"}}, True),
        ({"audio": {"data": "x"}}, True),
        ({"role": "assistant"}, False),
        ({"content": ""}, False),
        ({"content": None, "reasoning": None, "tool_calls": []}, False),
        ({}, False),
    ],
)
def test_what_an_answer_cannot_be_taken_back_after(delta: dict[str, Any], commits: bool) -> None:
    """Content, reasoning, refusal, a tool call or audio commits; a role does not."""
    assert _chunks().chunk(chunk(delta)).commits is commits


def test_the_end_of_an_empty_answer_commits() -> None:
    """A finish reason is an answer, even one without a word."""
    assert _chunks().chunk(chunk(finish_reason="stop")).commits


async def test_an_end_without_done_after_a_finish_reason_is_quiet(upstreams: Upstreams) -> None:
    """[DONE] is forwarded only where the upstream sent it."""
    events = await relayed(upstreams, Answer.stream(CONTENT, END))

    assert frames(events) == [as_read(CONTENT), as_read(END)]


async def test_what_follows_done_is_not_relayed(upstreams: Upstreams) -> None:
    """The answer is over when its upstream says so."""
    events = await relayed(upstreams, Answer.stream(CONTENT, END, DONE, CONTENT))

    assert frames(events) == [as_read(CONTENT), as_read(END), DONE]


CUT = {
    "a proper end without a finish reason": (Answer.stream(CONTENT), Fault.BROKEN),
    "a connection that closes": (Answer.stream(CONTENT, steps=[HangUp()]), Fault.BROKEN),
    "a connection that is reset": (Answer.stream(CONTENT, steps=[Reset()]), Fault.BROKEN),
    "half an event": (
        Answer.packets(b"data: " + json.dumps(CONTENT).encode() + b"\n\n", b'data: {"cho'),
        Fault.BROKEN,
    ),
    "an error": (
        Answer.stream(CONTENT, {"error": {"message": "x", "code": 503}}, DONE),
        Fault.FULL,
    ),
    "content refused": (
        Answer.stream(CONTENT, {"error": {"message": "x", "code": 400}}),
        Fault.CALLER,
    ),
    "no JSON": (Answer.stream(CONTENT, "<html>"), Fault.LIED),
    "no object": (Answer.stream(CONTENT, [1]), Fault.LIED),
    "no choices": (Answer.stream(CONTENT, {"a": 1}), Fault.LIED),
    "no choice": (Answer.stream(CONTENT, {"choices": [1]}), Fault.LIED),
    "no UTF-8": (
        Answer.packets(
            b"data: " + json.dumps(CONTENT).encode() + b"\n\n",
            b'data: {"choices":["\xff"]}\n\n',
        ),
        Fault.LIED,
    ),
    "an event without end": (
        Answer.packets(
            b"data: " + json.dumps(CONTENT).encode() + b"\n\n",
            *[b"data: " + b"x" * (1 << 20)] * 9,
            steps=[Stall()],
        ),
        Fault.LIED,
    ),
}


@pytest.mark.parametrize("case", CUT)
async def test_a_stream_that_breaks_says_so(upstreams: Upstreams, case: str) -> None:
    """What came before is relayed as it came; then the call fails, with its fault."""
    script, expected = CUT[case]
    events, failure = await broken(upstreams, script)

    assert frames(events) == [as_read(CONTENT)]
    assert failure.fault is expected


NOT_STREAMS = {
    "a whole answer": (Answer.json(answer()), Fault.LIED),
    "an error in JSON": (Answer.json({"error": {"message": "x", "code": 503}}), Fault.FULL),
    "a page": (Answer.body(200, b"<html>", headers={"Content-Type": "text/html"}), Fault.LIED),
    "nothing": (Answer.stream(), Fault.BROKEN),
    "only comments": (Answer.packets(b": a\n\n"), Fault.BROKEN),
    "only [DONE]": (Answer.stream(DONE), Fault.LIED),
    "only an error": (
        Answer.stream({"error": {"message": "x", "code": 503}}, DONE),
        Fault.FULL,
    ),
}


@pytest.mark.parametrize("case", NOT_STREAMS)
async def test_what_is_no_stream_is_told_apart(upstreams: Upstreams, case: str) -> None:
    """Nothing is relayed, and the next target may still answer."""
    script, expected = NOT_STREAMS[case]
    events, failure = await broken(upstreams, script)

    assert events == []
    assert failure.fault is expected


async def test_a_partial_answer_of_dashscope_is_none(upstreams: Upstreams) -> None:
    """What the provider cut off at its own time limit is not passed off as an answer."""
    script = Answer.json(answer(), headers={"x-dashscope-partialresponse": "true"})
    async with scripted(script) as server:
        far = target(server.url, upstream="dashscope")
        with pytest.raises(CallFailed) as caught:
            await upstreams.of(far).whole(call(far))

    assert caught.value.fault is Fault.TIMEOUT


BODY = b"".join(
    b"data: %b\n\n" % json.dumps(c, ensure_ascii=False).encode()
    for c in (chunk({"reasoning": "想"}), chunk({"content": "你好 🙂"}), END, USAGE_CHUNK)
)


@given(st.lists(st.integers(0, len(BODY)), max_size=12))
@settings(max_examples=60)
def test_packet_boundaries_make_no_difference(cuts: list[int]) -> None:
    """However the network cuts a stream, characters in half too, the client reads the same."""
    places = sorted({0, len(BODY), *cuts})
    chunks, events = _chunks(), Events()
    sent = [
        event
        for i, j in itertools.pairwise(places)
        for data in events.feed(BODY[i:j])
        for event in chunks.take(data)
    ]

    assert [f["choices"][0]["delta"] for f in frames(sent)] == [
        {"reasoning_content": "想"},
        {"content": "你好 🙂"},
        {},
    ]


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (USAGE, Usage(input_tokens=3, output_tokens=2)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "prompt_tokens_details": {"cached_tokens": 7},
                "completion_tokens_details": {"reasoning_tokens": 6},
            },
            Usage(input_tokens=9, output_tokens=8, cached_input_tokens=7, reasoning_tokens=6),
        ),
        (
            {"prompt_tokens": 1, "completion_tokens": 0, "prompt_tokens_details": None},
            Usage(input_tokens=1, output_tokens=0),
        ),
        ({"prompt_tokens": 1}, None),
        ({"prompt_tokens": "1", "completion_tokens": 2}, None),
        ({"prompt_tokens": True, "completion_tokens": 2}, None),
        ({"prompt_tokens": -1, "completion_tokens": 2}, None),
        ({"prompt_tokens": 10**30, "completion_tokens": 2}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_read_or_unknown(tree: Any, expected: Usage | None) -> None:
    """Counts that are not there, or no counts, are unknown and never 0."""
    assert usage_of(tree) == expected


def test_usage_that_lacks_a_count_gets_it() -> None:
    """The SDKs require three counts; one that has them is not touched."""
    lacking = whole_of(answer(usage={"prompt_tokens": 3, "completion_tokens": 2, "x": 1}), "auto")
    full = whole_of(answer(usage={**USAGE, "total_tokens": 7}), "auto")

    assert json.loads(lacking.body)["usage"] == {**USAGE, "x": 1}
    assert json.loads(full.body)["usage"] == {**USAGE, "total_tokens": 7}
