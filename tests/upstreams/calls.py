"""Targets and calls for the tests of the upstreams."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from router.chat.request import parse
from router.policy.decision import Shaped
from router.policy.targets import Capabilities, Deadlines, Target
from router.upstreams.call import Call, CallFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.upstreams.call import Event
    from router.upstreams.outlets import Upstreams

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
PATIENT = Deadlines(connect_s=5, first_token_s=10, idle_s=10, total_s=20)


def capabilities(**changes: Any) -> Capabilities:
    """Return what an able target can do, with changes."""
    able: dict[str, Any] = {
        "input": frozenset({"text", "image"}),
        "tools": True,
        "json_object": True,
        "json_schema": True,
        "thinking": "switchable",
        "context": 32_768,
        "max_output": 8_192,
    }
    return Capabilities(**(able | changes))


def target(base_url: str, **changes: Any) -> Target:
    """Return a target in the cluster that speaks vLLM, with changes."""
    usual: dict[str, Any] = {
        "name": "near",
        "location": "cluster",
        "upstream": "vllm",
        "base_url": base_url,
        "model": "Qwen/Qwen3.6-27B",
        "clearance": "restricted",
        "tier": {"text": "standard"},
        "can": capabilities(),
        "price": None,
        "marginal": None,
        "deadlines": PATIENT,
    }
    return Target(**(usual | changes))


def call(
    to: Target,
    body: dict[str, Any] | None = None,
    *,
    shaped: Shaped | None = None,
    permit: Callable[[], bool] = lambda: True,
    total_s: float = 20,
) -> Call:
    """Return a call as the gateway makes it: a client's body, shaped by its own wishes only."""
    usual = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}
    chat = parse(msgspec.json.encode(usual | (body or {})))
    return Call(
        target=to,
        chat=chat,
        shaped=shaped or Shaped(thinking=chat.thinking, max_output=chat.max_output),
        permit=permit,
        answer_model="auto",
        total_s=total_s,
    )


def with_deadlines(to: Target, **changes: float) -> Target:
    """Return the target with some deadlines changed, in seconds."""
    return dataclasses.replace(to, deadlines=dataclasses.replace(to.deadlines, **changes))


async def streamed(upstreams: Upstreams, asked: Call) -> list[Event]:
    """Return all events of a stream."""
    return [event async for event in upstreams.of(asked.target).stream(asked)]


async def made(upstreams: Upstreams, asked: Call) -> None:
    """Make a call in the mode that its body asks for, to its end."""
    if asked.chat.stream:
        await streamed(upstreams, asked)
    else:
        await upstreams.of(asked.target).whole(asked)


async def failure(upstreams: Upstreams, asked: Call) -> CallFailed:
    """Return how a call fails."""
    with pytest.raises(CallFailed) as caught:
        await made(upstreams, asked)
    return caught.value


def chunk(delta: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    """Return one chunk as vLLM sends it."""
    reason = rest.pop("finish_reason", None)
    return {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "Qwen/Qwen3.6-27B",
        "choices": [{"index": 0, "delta": delta or {}, "finish_reason": reason}],
        **rest,
    }


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
USAGE_CHUNK = {**chunk(), "choices": [], "usage": USAGE}


def answer(**rest: Any) -> dict[str, Any]:
    """Return a whole answer as vLLM gives it."""
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "Qwen/Qwen3.6-27B",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi"},
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
        **rest,
    }
